import type { Metrics } from '../observe/index.ts';
import type { DecisionRule, Forwarded, RefusalRule } from './core/index.ts';

/** Why a response was not stored: by its fields, or by what became of it. */
export type NotStored =
  | RefusalRule
  | 'too-large'
  | 'cut-off'
  | 'unmarked-end'
  | 'trailers'
  | 'no-room'
  | 'outdated'
  /** Its clients left, and enough others go on for the store alone. */
  | 'abandoned';

/** What became of a refresh in the background; `too-many`: it was not begun. */
export type RefreshOutcome = 'updated' | 'replaced' | 'not-stored' | 'error' | 'too-many';

/** What the cache counts. Hits are plain numbers: they are the hot path. */
export interface CacheMetrics {
  hits: number;
  collapsed: number;
  staleHit(rule: DecisionRule | 'stale-if-error'): void;
  miss(reason: Forwarded): void;
  revalidated(): void;
  refreshed(outcome: RefreshOutcome): void;
  notStored(reason: NotStored): void;
  malformed(field: string): void;
  purged(kind: string, responses: number): void;
}

export function createCacheMetrics(
  metrics: Metrics,
  read: { bytes(): number; responses(): number; evictions(): number; fillingBytes(): number; fetches(): number },
): CacheMetrics {
  const stale = metrics.counter('qalgate_cache_stale_hits_total', 'Answers from the store that were stale, by rule', [
    'rule',
  ]);
  const misses = metrics.counter('qalgate_cache_misses_total', 'Requests that went on to the origin, by reason', [
    'reason',
  ]);
  const revalidations = metrics.counter('qalgate_cache_revalidations_total', 'Stored answers that a 304 confirmed');
  const refreshes = metrics.counter('qalgate_cache_refreshes_total', 'Refreshes in the background, by outcome', [
    'outcome',
  ]);
  const notStored = metrics.counter('qalgate_cache_not_stored_total', 'Answers that were not stored, by reason', [
    'reason',
  ]);
  const malformed = metrics.counter('qalgate_cache_malformed_fields_total', 'Caching fields that say nothing', [
    'field',
  ]);
  const purged = metrics.counter('qalgate_cache_purged_total', 'Stored answers that were ended, by what ended them', [
    'by',
  ]);
  const counts: CacheMetrics = {
    hits: 0,
    collapsed: 0,
    staleHit: (rule) => stale.inc({ rule }),
    miss: (reason) => misses.inc({ reason }),
    revalidated: () => revalidations.inc(),
    refreshed: (outcome) => refreshes.inc({ outcome }),
    notStored: (reason) => notStored.inc({ reason }),
    malformed: (field) => malformed.inc({ field }),
    purged: (by, responses) => purged.inc({ by }, responses),
  };
  metrics.counterOf('qalgate_cache_hits_total', 'Answers from the store that were fresh', () => counts.hits);
  metrics.counterOf(
    'qalgate_cache_collapsed_total',
    'Requests that were answered by what another one had asked for',
    () => counts.collapsed,
  );
  metrics.gaugeOf('qalgate_cache_bytes', 'Memory of the stored answers', read.bytes);
  metrics.gaugeOf('qalgate_cache_entries', 'Stored answers', read.responses);
  metrics.counterOf('qalgate_cache_evictions_total', 'Stored answers that gave way to others', read.evictions);
  metrics.gaugeOf('qalgate_cache_filling_bytes', 'Memory of answers that are still arriving', read.fillingBytes);
  metrics.gaugeOf('qalgate_cache_fetches', 'Requests of the cache to origins now', read.fetches);
  return counts;
}
