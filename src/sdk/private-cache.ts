import {
  ageOf,
  bypassRule,
  type CacheStatus,
  type Decision,
  decide,
  type Forwarded,
  hasCondition,
  invalidates,
  mayServeOnError,
  namedTargets,
  parseRequest,
  type RequestFacts,
} from '../cache/core/index.ts';
import { answerFromNetwork, answerFromStore } from './answer.ts';
import { within } from './deadline.ts';
import { type CacheCounts, emptyStats, type QalEvent } from './events.ts';
import { type CacheContext, createFill, type Filled, type NetworkAnswer, type Question } from './fill.ts';
import { createFlight, type Flight, type Outcome } from './flight.ts';
import type { QalLimits } from './limits.ts';
import { type ClientRequest, rawFields } from './request.ts';
import { type PrivateRules, plainGet, type Variant, variantId } from './variant.ts';

export interface PrivateCache {
  readonly stats: CacheCounts;
  /** Answers a request from the store or over the network. */
  answer(request: ClientRequest, context: CacheContext): Promise<Response>;
  /** What is under way for these URLs is not stored any more. Without a test: for none. */
  supersede(test?: (url: string) => boolean): void;
  /** Ends what is under way in the background. */
  close(reason: unknown): void;
}

export interface PrivateCacheOptions {
  readonly rules: PrivateRules;
  readonly limits: QalLimits;
  readonly clock: () => number;
  readonly emit: (event: QalEvent) => void;
}

/** A decision of the core, or one that a cache mode of fetch made. */
type Verdict = Omit<Decision, 'rule'> & { readonly rule: string };

/** The client's private cache (C0): the core's decisions carried out. */
export function createPrivateCache({ rules, limits, clock, emit }: PrivateCacheOptions): PrivateCache {
  const stats = emptyStats();
  /** For what runs in the background. */
  const ended = new AbortController();
  /** By what they are for: a text where others may join. */
  const flights = new Map<unknown, Flight>();
  const fill = createFill({
    rules,
    limits,
    budget: { bytes: 0, maxBytes: 4 * limits.entryBytes },
    clock,
    onEnd(url, rule) {
      stats[rule === undefined ? 'stored' : 'notStored'] += 1;
      if (rule !== undefined) emit({ type: 'not-stored', url, rule });
    },
  });

  /** @param key under which others may join; an object: none may */
  function launch(url: string, key: unknown): Flight {
    const flight = createFlight(url);
    flights.set(key, flight);
    void flight.outcome.then(() => {
      flights.delete(flight);
      if (flights.get(key) === flight) flights.delete(key);
    });
    return flight;
  }

  /** The answer, counted and told of. */
  function reply(
    request: ClientRequest,
    counter: keyof CacheCounts,
    source: Variant | NetworkAnswer,
    cache: CacheStatus,
  ): Response {
    stats[counter] += 1;
    const nowMs = clock();
    const isStored = 'policy' in source;
    const shown = isStored ? { ...cache, ttlMs: source.policy.freshMs - ageOf(source.policy, nowMs) } : cache;
    const response = isStored
      ? answerFromStore(source, request, shown, nowMs)
      : answerFromNetwork(source, request, shown);
    emit({ type: 'answered', url: request.url, status: response.status, cache: shown });
    return response;
  }

  /** Goes to the network for one request. @param key as for launch */
  async function lead(question: Question, key: unknown, verdict: Verdict): Promise<Response> {
    const { request, variants } = question;
    const { source, counter, shown } = await fill(launch(request.url, key), question);
    return reply(request, counter, source, {
      forwarded: forwardedFor(verdict, variants),
      detail: verdict.rule,
      ...shown,
    });
  }

  /** C11: lets another request fetch what this one wants. Undefined: it has to go itself. */
  async function join(question: Question, flight: Flight, verdict: Verdict): Promise<Response | undefined> {
    const { request, facts, selected, variants, context } = question;
    const wait = () => flight.outcome;
    const { variant, failed, error, abandoned } = await within(
      limits.silenceTimeoutMs,
      'another request',
      request.signal,
      wait,
    ).catch((): Outcome => {
      request.signal?.throwIfAborted();
      return {};
    });
    if (abandoned === true) return answer(request, context);
    const status = { forwarded: forwardedFor(verdict, variants), collapsed: true };
    if (variant !== undefined && matches(variant, question)) {
      return reply(request, 'collapsed', variant, { ...status, detail: verdict.rule });
    }
    if (failed === true && selected !== undefined && mayServeOnError(facts, selected.policy, clock())) {
      return reply(request, 'errorHits', selected, { ...status, detail: 'stale-if-error' });
    }
    // An answer of the server, even an error, is each one's own to get; where there was none, there is none for anybody.
    if (error !== undefined) throw error;
    return undefined;
  }

  /** C7–C10: one refresh at a time behind an answer that was served stale. */
  async function refreshBehind(question: Question, variant: Variant): Promise<void> {
    const { request, context } = question;
    const key = keyOf(request, variant);
    // A refresh may have ended since the store was read.
    const current = (await context.partition.read(request.url)).find(({ id }) => id === variant.id);
    if (current === undefined || current.times.receivedMs > variant.times.receivedMs || flights.has(key)) return;
    stats.refreshes += 1;
    const headers = new Headers(request.headers);
    // It is not for one caller alone.
    headers.delete('cache-control');
    headers.delete('pragma');
    const raw = rawFields(headers);
    const plain: ClientRequest = {
      ...request,
      method: 'GET',
      headers,
      raw,
      signal: ended.signal,
      cacheMode: 'default',
    };
    const flight = launch(request.url, key);
    // What is stored goes on being served for as long as it may, whatever comes (C11).
    fill(flight, { ...question, request: plain, facts: plainGet(), selected: variant }).then(discard, () => {});
    const { variant: stored, unchanged, failed } = await flight.outcome;
    if (failed === true) stats.failedRefreshes += 1;
    const outcome = stored === undefined ? 'not-stored' : unchanged === true ? 'unchanged' : 'changed';
    emit({ type: 'refreshed', url: request.url, outcome: failed === true ? 'failed' : outcome });
  }

  async function bypass(
    request: ClientRequest,
    facts: RequestFacts,
    context: CacheContext,
    rule: string,
  ): Promise<Response> {
    const exchange = await context.send(request, {});
    const { response } = exchange;
    if (invalidates(facts.method, response.status)) {
      const paths = namedTargets(rawFields(response.headers), request.url);
      const urls = new Set([request.url, ...paths.map((path) => new URL(path, request.url).href)]);
      supersede((url) => urls.has(url));
      await Promise.all([...urls].map((url) => context.partition.update(url, () => [])));
    }
    const forwarded = rule === 'method' ? rule : 'bypass';
    return reply(request, 'bypassed', { exchange }, { forwarded, detail: rule });
  }

  function supersede(test: (url: string) => boolean = () => true): void {
    for (const [key, flight] of flights) {
      if (flight.isDoomed || !test(flight.url)) continue;
      flight.isDoomed = true;
      // Nobody joins it any more.
      flights.delete(key);
      flights.set(flight, flight);
    }
  }

  async function answer(request: ClientRequest, context: CacheContext): Promise<Response> {
    const nowMs = clock();
    const { cacheMode } = request;
    const read = parseRequest(request.method, request.raw, {
      hasSession: true,
      hasBody: request.body !== undefined,
      nowMs,
    });
    const facts = cacheMode === 'no-cache' ? { ...read, directives: { ...read.directives, noCache: true } } : read;
    // Parts are the server's to give, and who brings a condition of his own has an answer of his own.
    const isOwn = facts.range !== undefined || hasCondition(facts);
    const passes = bypassRule(facts) ?? (cacheMode === 'no-store' ? cacheMode : isOwn ? 'request' : undefined);
    if (passes !== undefined) return bypass(request, facts, context, passes);

    const variants = cacheMode === 'reload' ? [] : await context.partition.read(request.url);
    // From here to the look at what is under way nothing is waited for: it is all of the same account (C0).
    context.ended.throwIfAborted();
    const found: Question = { request, facts, selected: undefined, variants, context };
    const selected = variants.find((variant) => matches(variant, found));
    const question = { ...found, selected };
    const decision = decide(facts, selected?.policy, nowMs);
    const verdict = byMode(cacheMode, decision, selected);

    if (selected !== undefined && (verdict.kind === 'fresh' || verdict.kind === 'stale-while-revalidate')) {
      const isFresh = verdict.kind === 'fresh';
      if (!isFresh) void refreshBehind(question, selected);
      return reply(request, isFresh ? 'hits' : 'staleHits', selected, { hit: true, detail: verdict.rule });
    }
    if (cacheMode === 'only-if-cached' || facts.directives.onlyIfCached) {
      const forwarded = forwardedFor(verdict, variants);
      // RFC 9111 §5.2.1.7
      const response = new Response(null, { status: 504, statusText: 'Gateway Timeout' });
      const source = { exchange: { response, body: null, abort() {} } };
      return reply(request, 'misses', source, { forwarded, detail: 'only-if-cached' });
    }
    // Who asks for the newest is not content with what was asked for before.
    const isAlone =
      request.method !== 'GET' || facts.directives.noCache || facts.directives.noStore || cacheMode === 'reload';
    const key = isAlone ? {} : keyOf(request, selected);
    const flight = flights.get(key);
    if (flight === undefined) return lead(question, key, verdict);
    return (await join(question, flight, verdict)) ?? (await lead(question, {}, verdict));
  }

  return {
    stats,
    answer,
    supersede,
    close: (reason) => ended.abort(reason),
  };
}

/** Does the request select this response (RFC 9111 §4.1)? */
function matches(variant: Variant, { request, context }: Question): boolean {
  const { vary } = variant.facts;
  return vary !== '*' && variant.id === variantId(vary, request.raw, context.injected);
}

/** What a flight is for: one stored response, or all that asks for the same in the same words. */
function keyOf(request: ClientRequest, selected: Variant | undefined): string {
  return [request.url, ...(selected === undefined ? request.raw : [selected.id])].join('\n');
}

/** The cache modes of fetch that take a stored response whatever its age (Fetch standard, HTTP-network-or-cache fetch). */
function byMode(cacheMode: ClientRequest['cacheMode'], decision: Decision, selected: Variant | undefined): Verdict {
  const takesAny = cacheMode === 'force-cache' || cacheMode === 'only-if-cached';
  if (!takesAny || selected === undefined || decision.kind === 'fresh') return decision;
  return { ...decision, kind: 'fresh', rule: cacheMode };
}

/** RFC 9211 §2.2 */
function forwardedFor({ kind, rule, ttlMs }: Verdict, variants: readonly Variant[]): Forwarded {
  if (kind === 'miss') return variants.length > 0 ? 'vary-miss' : 'uri-miss';
  return rule.startsWith('request-') && ttlMs > 0 ? 'request' : 'stale';
}

/** An answer that nobody is there to read: its body goes on only where it is being stored. */
function discard({ source }: Filled): void {
  if ('exchange' in source && source.captured === undefined) source.exchange.abort();
}
