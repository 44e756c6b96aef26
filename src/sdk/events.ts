import type { CacheStatus } from '../cache/core/index.ts';
import type { StorageFailure } from './guarded-storage.ts';

/** What happens in the client, for logs and for pages that show it. `url` is absolute. */
export type QalEvent =
  /** A request was answered; `cache` is what its Cache-Status says. Absent where the cache is off. */
  | { readonly type: 'answered'; readonly url: string; readonly status: number; readonly cache: CacheStatus }
  /** A background refresh is over (C7–C10). */
  | {
      readonly type: 'refreshed';
      readonly url: string;
      readonly outcome: 'changed' | 'unchanged' | 'not-stored' | 'failed';
    }
  /** A response was not stored, and why: a rule of the cache's core, or `cut-off`, `too-large`, `redirected`, `superseded`. */
  | { readonly type: 'not-stored'; readonly url: string; readonly rule: string }
  /** The storage failed. No request fails because of it. */
  | ({ readonly type: 'storage-failed' } & StorageFailure);

/** Counters since the client was made. */
export interface CacheStats {
  /** Answered from the store, fresh. */
  hits: number;
  /** Answered from the store at once, stale, and refreshed behind that (C7–C10). */
  staleHits: number;
  /** Answered from the store after the server said that nothing had changed (C3, C4). */
  revalidated: number;
  /** Answered from the store in place of an error. */
  errorHits: number;
  /** Answered by the server. */
  misses: number;
  /** Answered by what another request fetched. */
  collapsed: number;
  /** Not for the cache: other methods, ranges of what is not stored, `no-store`. */
  bypassed: number;
  stored: number;
  notStored: number;
  refreshes: number;
  failedRefreshes: number;
  storageFailures: number;
}

/** What the cache itself counts. */
export type CacheCounts = Omit<CacheStats, 'storageFailures'>;

export function emptyStats(): CacheCounts {
  return {
    hits: 0,
    staleHits: 0,
    revalidated: 0,
    errorHits: 0,
    misses: 0,
    collapsed: 0,
    bypassed: 0,
    stored: 0,
    notStored: 0,
    refreshes: 0,
    failedRefreshes: 0,
  };
}
