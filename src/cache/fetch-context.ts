import type { NotStored, RefreshOutcome } from './cache-metrics.ts';
import type { Audience, DecisionRule } from './core/index.ts';
import type { CacheRequest } from './ports.ts';
import type { Place } from './store.ts';
import type { StoredResponse } from './stored-response.ts';
import type { Placed, Waiter } from './waiter.ts';

/** What the cache has to know of a fetch under way. */
export interface RegisteredFetch {
  readonly request: CacheRequest;
  readonly background: boolean;
}

/** What fetches share: the cache behind them. */
export interface FetchContext {
  now(): number;
  readonly entryBytes: number;
  /** Memory of all bodies that are arriving; false when there is none left. Negative: it is given back. */
  reserve(bytes: number): boolean;
  placeOf(request: CacheRequest, audience: Audience): Place;
  store(place: Place, response: StoredResponse, replaced: Placed | undefined): boolean;
  remove(placed: Placed): void;
  /** False: a purge of it may have been missed. */
  isTrusted(response: StoredResponse): boolean;
  /** Asks for a waiter by himself: the answer that he waited for is not his to share. */
  askAlone(waiter: Waiter): void;
  /** Asks for a waiter whom only the fields of this Vary keep from sharing, together with those who are like him. */
  askAgain(waiter: Waiter, varyNames: readonly string[]): void;
  /** Requests of this kind do not wait for one another for a while. */
  hitForMiss(request: CacheRequest, why: 'not-theirs' | 'passing'): void;
  /** Requests of this kind share after all. */
  shares(request: CacheRequest): void;
  /** Nobody can join any more, or nothing is left to do. */
  unregister(fetch: RegisteredFetch): void;
  /** May one more fetch go on for nobody but the store? */
  mayOrphan(request: CacheRequest): boolean;
  orphans(request: CacheRequest, change: 1 | -1): void;
  collapsed(): void;
  served(rule: DecisionRule | 'stale-if-error'): void;
  revalidated(): void;
  notStored(reason: NotStored): void;
  malformed(field: string, request: CacheRequest): void;
  refreshed(outcome: RefreshOutcome): void;
}
