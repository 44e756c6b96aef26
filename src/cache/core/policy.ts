import type { Seconds } from './directives.ts';
import type { ResponseFacts } from './response-facts.ts';

/** How a cache works: which answers it stores, and for whom. */
export interface CacheRules {
  /** `qal`: C2 as written, no heuristics. `rfc9111`: whatever the standard allows. */
  readonly mode: 'qal' | 'rfc9111';
  /** A shared cache serves many users (the access service), a private one a single user (the SDK). */
  readonly kind: 'shared' | 'private';
}

export type FreshRule = 's-maxage' | 'max-age' | 'expires' | 'heuristic' | 'no-lifetime';
export type StaleRule = 'stale-while-revalidate' | 'max-stale-age' | 'stale-expires';

/**
 * What holds for a stored response, as ages in milliseconds: fresh below `freshMs`, then served stale while it is
 * refreshed up to `staleMs`, and in place of an error up to `staleIfErrorMs`.
 */
export interface Policy {
  readonly freshMs: number;
  readonly freshRule: FreshRule;
  readonly staleMs: number;
  /** Which bound reaches furthest; undefined: none. */
  readonly staleRule: StaleRule | undefined;
  readonly staleIfErrorMs: number;
  /** Why it is never served stale, whoever asks for it (RFC 9111 §4.2.4); undefined: it may be. */
  readonly neverStale: 'no-cache' | 'must-revalidate' | 'proxy-revalidate' | 's-maxage' | undefined;
  /** It is asked about each time (no-cache). */
  readonly alwaysRevalidate: boolean;
  /** Its age when it was received (RFC 9111 §4.2.3). */
  readonly initialAgeMs: number;
  readonly receivedMs: number;
}

/** When a message was asked for and when its head was received, in milliseconds since the epoch. */
export interface ResponseTimes {
  readonly requestedMs: number;
  readonly receivedMs: number;
}

/** Share of the time since the last change that counts as fresh without further word (RFC 9111 §4.2.2), and its limit. */
const heuristicShare = 0.1;
const heuristicLimitMs = 86_400_000;

/** Statuses whose responses may be stored without an explicit lifetime (RFC 9110 §15.1); 206 we never store. */
const heuristicStatuses = new Set([200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501]);

export function isHeuristicallyCacheable(status: number): boolean {
  return heuristicStatuses.has(status);
}

/** Works out for how long a response holds, and in which way (C5–C10; RFC 9111 §4.2, RFC 5861). Pure. */
export function policyOf(facts: ResponseFacts, rules: CacheRules, times: ResponseTimes): Policy {
  const { directives, qal } = facts;
  const { receivedMs } = times;
  const dateMs = facts.dateMs ?? receivedMs;
  const fresh = freshnessOf(facts, rules, dateMs);
  const neverStale = neverStaleRule(facts, rules);

  let staleMs = fresh.ms;
  let staleRule: StaleRule | undefined;
  const consider = (boundMs: number, rule: StaleRule): void => {
    if (boundMs <= staleMs) return;
    staleMs = boundMs;
    staleRule = rule;
  };
  if (neverStale === undefined) {
    const whileRevalidate = secondsOr(directives.staleWhileRevalidate, 0);
    if (whileRevalidate > 0) consider(fresh.ms + whileRevalidate * 1_000, 'stale-while-revalidate');
    if (qal.maxStaleAgeSec !== undefined) consider(qal.maxStaleAgeSec * 1_000, 'max-stale-age');
    if (qal.staleExpiresMs !== undefined) consider(qal.staleExpiresMs - dateMs, 'stale-expires');
  }
  const ifErrorMs = neverStale === undefined ? secondsOr(directives.staleIfError, 0) * 1_000 : 0;
  return {
    freshMs: fresh.ms,
    freshRule: fresh.rule,
    staleMs,
    staleRule,
    // What may be served stale at once may be served so in place of an error, too.
    staleIfErrorMs: ifErrorMs === 0 ? staleMs : Math.max(staleMs, fresh.ms + ifErrorMs),
    neverStale,
    alwaysRevalidate: directives.noCache === true,
    initialAgeMs: initialAge(facts, times),
    receivedMs,
  };
}

function secondsOr(seconds: Seconds | undefined, otherwise: number): number {
  return seconds === undefined || seconds === 'malformed' ? otherwise : seconds;
}

/** The age of what was received at `receivedMs`, now (RFC 9111 §4.2.3). A clock that was set back does not rejuvenate it. */
export function ageOf(policy: Pick<Policy, 'initialAgeMs' | 'receivedMs'>, nowMs: number): number {
  return policy.initialAgeMs + Math.max(0, nowMs - policy.receivedMs);
}

function initialAge({ dateMs, ageSec }: ResponseFacts, { requestedMs, receivedMs }: ResponseTimes): number {
  // Date knows whole seconds: their fraction here is no age.
  const apparentMs = dateMs === undefined ? 0 : Math.max(0, Math.floor(receivedMs / 1_000) * 1_000 - dateMs);
  const correctedMs = ageSec === 0 ? 0 : ageSec * 1_000;
  return Math.max(apparentMs, correctedMs + Math.max(0, receivedMs - requestedMs));
}

function freshnessOf(
  { status, directives, qal, expires, lastModifiedMs }: ResponseFacts,
  { mode, kind }: CacheRules,
  dateMs: number,
): { ms: number; rule: FreshRule } {
  // RFC 9111 §4.2.1: what is there and malformed makes the response stale. Mode qal: it counts as absent (C2).
  const lifetimes: [FreshRule, Seconds | undefined][] = [
    ['s-maxage', kind === 'shared' ? directives.sMaxage : undefined],
    ['max-age', directives.maxAge],
  ];
  for (const [rule, seconds] of lifetimes) {
    if (seconds === undefined || (seconds === 'malformed' && mode === 'qal')) continue;
    return { ms: secondsOr(seconds, 0) * 1_000, rule };
  }
  // C6: a date that is none has passed.
  if (expires !== undefined) {
    return { ms: expires === 'invalid' ? 0 : Math.max(0, expires.at - dateMs), rule: 'expires' };
  }
  const explicit = qal.maxStaleAgeSec !== undefined || qal.staleExpiresMs !== undefined;
  const guessed = mode === 'rfc9111' && !explicit && lastModifiedMs !== undefined && lastModifiedMs < dateMs;
  if (guessed && (isHeuristicallyCacheable(status) || directives.public)) {
    return { ms: Math.min((dateMs - lastModifiedMs) * heuristicShare, heuristicLimitMs), rule: 'heuristic' };
  }
  return { ms: 0, rule: 'no-lifetime' };
}

function neverStaleRule({ directives }: ResponseFacts, { mode, kind }: CacheRules): Policy['neverStale'] {
  if (directives.noCache) return 'no-cache';
  if (directives.mustRevalidate) return 'must-revalidate';
  if (kind === 'private') return undefined;
  if (directives.proxyRevalidate) return 'proxy-revalidate';
  // RFC 9111 §5.2.2.10. In mode qal an explicit bound beside it says otherwise (DESIGN §5).
  return mode === 'rfc9111' && directives.sMaxage !== undefined ? 's-maxage' : undefined;
}
