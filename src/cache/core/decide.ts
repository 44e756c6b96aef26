import { ageOf, type FreshRule, type Policy, type StaleRule } from './policy.ts';
import type { RequestFacts } from './request-facts.ts';

/** Which rule won. Short enough for Cache-Status and for a metric's label. */
export type DecisionRule =
  | FreshRule
  | StaleRule
  | 'no-entry'
  | 'method'
  | 'body'
  | 'origin-precondition'
  | 'range'
  | 'request-no-cache'
  | 'request-max-age'
  | 'request-min-fresh'
  | 'request-max-stale'
  | 'no-cache'
  | 'purged'
  | 'expired';

/**
 * What to do with a request:
 * - `fresh`: answer from the store
 * - `stale-while-revalidate`: answer from the store at once, and refresh it behind that
 * - `revalidate`: ask whether the stored response still holds
 * - `miss`: there is none
 * - `bypass`: not for the cache; forward it as it is
 */
export type Decision = {
  readonly kind: 'fresh' | 'stale-while-revalidate' | 'revalidate' | 'miss' | 'bypass';
  readonly rule: DecisionRule;
  /** Of the stored response; 0 without one. */
  readonly ageMs: number;
  /** How long it stays fresh; negative: for how long it has been stale. */
  readonly ttlMs: number;
};

/** Why a request passes the cache by, whatever is stored; undefined: it does not. */
export function bypassRule(request: RequestFacts): DecisionRule | undefined {
  if (request.method !== 'GET' && request.method !== 'HEAD') return 'method';
  if (request.hasBody) return 'body';
  return request.forOrigin ? 'origin-precondition' : undefined;
}

/**
 * Decides what becomes of a request, given what is stored for it (C5–C10; RFC 9111 §4.2, §5.2.1). Pure.
 *
 * @param stored the policy of the stored response that was selected by key and Vary
 * @param nowMs milliseconds since the epoch
 * @param notBeforeMs what was received earlier must be asked about: a purge may have been missed
 */
export function decide(request: RequestFacts, stored: Policy | undefined, nowMs: number, notBeforeMs = 0): Decision {
  const bypass = bypassRule(request);
  if (bypass !== undefined) return { kind: 'bypass', rule: bypass, ageMs: 0, ttlMs: 0 };
  if (stored === undefined) {
    const partial = request.range !== undefined && request.method === 'GET';
    return { kind: partial ? 'bypass' : 'miss', rule: partial ? 'range' : 'no-entry', ageMs: 0, ttlMs: 0 };
  }
  const ageMs = ageOf(stored, nowMs);
  const ttlMs = stored.freshMs - ageMs;
  const decided = (kind: Decision['kind'], rule: DecisionRule): Decision => ({ kind, rule, ageMs, ttlMs });
  const { noCache, maxAge, minFresh, maxStale } = request.directives;

  if (stored.receivedMs < notBeforeMs) return decided('revalidate', 'purged');
  if (noCache) return decided('revalidate', 'request-no-cache');
  if (stored.alwaysRevalidate) return decided('revalidate', 'no-cache');
  if (maxAge !== undefined && ageMs > maxAge * 1_000) return decided('revalidate', 'request-max-age');
  if (minFresh !== undefined && ttlMs < minFresh * 1_000) return decided('revalidate', 'request-min-fresh');
  if (ttlMs > 0) return decided('fresh', stored.freshRule);
  // §5.2.1.1: who names a highest age wants nothing stale, unless he also says how stale.
  if (maxAge !== undefined && maxStale === undefined) return decided('revalidate', 'request-max-age');
  if (ageMs < stored.staleMs && stored.staleRule !== undefined) {
    return decided('stale-while-revalidate', stored.staleRule);
  }
  if (maxStale !== undefined && stored.neverStale === undefined && -ttlMs <= maxStale * 1_000) {
    return decided('stale-while-revalidate', 'request-max-stale');
  }
  return decided('revalidate', stored.freshRule === 'no-lifetime' ? 'no-lifetime' : 'expired');
}

/**
 * May the stored response stand in for an error of the origin, or for its silence? Whatever else is said of its
 * freshness (RFC 5861 §4), but not where it must never be used without asking.
 */
export function mayServeOnError(request: RequestFacts, stored: Policy, nowMs: number): boolean {
  if (stored.neverStale !== undefined || request.directives.noCache) return false;
  const ageMs = ageOf(stored, nowMs);
  const { staleIfError = 0 } = request.directives;
  return ageMs < Math.max(stored.staleIfErrorMs, stored.freshMs + staleIfError * 1_000);
}

/** Statuses of the origin for which a stored response may stand in (RFC 5861 §4). */
export function isOutage(status: number): boolean {
  return status >= 500 && status <= 504 && status !== 501;
}
