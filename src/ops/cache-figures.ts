import type { Metrics } from '../observe/index.ts';

/** What the cache of this process holds and has done since its start. */
export interface CacheFigures {
  bytes: number;
  entries: number;
  /** Stored answers that gave way to others. */
  evictions: number;
  hits: number;
  /** Answers that were stale, by the rule that allowed it. */
  staleHits: Record<string, number>;
  /** Requests that went on to an origin, by reason. */
  misses: Record<string, number>;
  /** Of those: answered by what another one had asked for. */
  collapsed: number;
  /**
   * Of the requests that the cache may answer (so none by an unsafe method, or that pass it by), the share that was answered from
   * the store without waiting for an origin; null: there were none.
   */
  hitRatio: number | null;
  /** Number of the last purge that holds here; the same on every process. */
  purgeGeneration: number;
}

/** Reads the cache's metrics; undefined: this process has no cache. */
export async function readCacheFigures({ registry }: Metrics): Promise<CacheFigures | undefined> {
  const name = (short: string): string => `qalgate_cache_${short}`;
  if (registry.getSingleMetric(name('bytes')) === undefined) return undefined;
  const valuesOf = async (short: string) => (await registry.getSingleMetric(name(short))?.get())?.values ?? [];
  const one = async (short: string): Promise<number> => (await valuesOf(short))[0]?.value ?? 0;
  const by = async (short: string, label: string): Promise<Record<string, number>> =>
    Object.fromEntries((await valuesOf(short)).map(({ labels, value }) => [String(labels[label]), value]));

  const hits = await one('hits_total');
  const staleHits = await by('stale_hits_total', 'rule');
  const misses = await by('misses_total', 'reason');
  // What stood in for an error had waited for the origin: it is among the misses, too.
  const answered = hits + sumBut(staleHits, ['stale-if-error']);
  const requests = answered + sumBut(misses, ['method', 'bypass']);
  return {
    bytes: await one('bytes'),
    entries: await one('entries'),
    evictions: await one('evictions_total'),
    hits,
    staleHits,
    misses,
    collapsed: await one('collapsed_total'),
    hitRatio: requests === 0 ? null : Math.round((answered / requests) * 10_000) / 10_000,
    purgeGeneration: await one('generation'),
  };
}

function sumBut(values: Record<string, number>, without: readonly string[]): number {
  return Object.entries(values).reduce((total, [name, value]) => (without.includes(name) ? total : total + value), 0);
}
