import { LRUCache } from 'lru-cache';
import type { Logger, Metrics } from '../observe/index.ts';
import { answerFrom, type CachedAnswer, cacheName } from './answers.ts';
import { createCacheMetrics } from './cache-metrics.ts';
import {
  type Audience,
  type Decision,
  decide,
  type Forwarded,
  firstOf,
  formatCacheStatus,
  invalidates,
  isCredentialed,
  namedTargets,
  parseResponse,
  type RawFields,
  type RequestFacts,
} from './core/index.ts';
import type { FetchContext, RegisteredFetch } from './fetch-context.ts';
import type { CacheClient, CacheRequest, Outcome, RouteRules } from './ports.ts';
import { SharedFetch } from './shared-fetch.ts';
import { type Place, Store } from './store.ts';
import { Selector, type StoredResponse } from './stored-response.ts';
import { updateResponse } from './updating.ts';
import { type Purge, purgedPrefix } from './url-key.ts';
import { type Placed, type Plan, Waiter } from './waiter.ts';

export interface CacheOptions {
  /** Memory for stored responses, in bytes. */
  bytes: number;
  /** Of one stored response, in bytes. */
  entryBytes: number;
}

export interface CacheDeps {
  /** Milliseconds since the epoch. */
  clock: () => number;
  logger: Logger;
  metrics: Metrics;
}

/** The shared cache of the access service (C1–C14; DESIGN §5). */
export interface HttpCache {
  /**
   * The answer to a request whose stored response is fresh and not larger than that. Undefined: ask {@link handle}, nothing
   * has been done.
   */
  fresh(request: CacheRequest, maxBodyBytes: number): CachedAnswer | undefined;
  /** Decides what becomes of a request, and answers it at once where that is possible. */
  handle(request: CacheRequest, client: CacheClient): Outcome;
  /**
   * Tells of an origin's answer to a request that was forwarded as it is: an unsafe method ends what is stored for its
   * URL (C14), the answer to a HEAD confirms or ends a stored response (RFC 9111 §4.3.5).
   */
  observe(request: CacheRequest, status: number, raw: RawFields): void;
  /** Ends stored responses, and keeps those that are on their way from being stored. Gives back how many those were. */
  purge(purge: Purge): number;
  /** From now on everything that was stored before is asked about first: a purge may have been missed. */
  distrust(): void;
}

/** How long requests of a kind do not wait for one another after they could not share (DESIGN §5), and how many kinds. */
const hitForMissMs = 60_000;
const maxHitForMiss = 16_384;
const maxHitForMissChars = 8_388_608;
/** The same after what says little of the next answer. */
const passingMs = 1_000;
/** Heads that a request waits for together with others; then it asks for itself. */
const maxWaits = 2;
/** Fetches that go on for the store alone. */
const maxOrphans = 256;
/** Refreshes in the background at once; over that, stale answers are served without. */
const maxRefreshes = 1_024;
/** Share of the memory that responses may take while they arrive, besides that of the stored ones. */
const fillingShare = 0.25;
/** How often a malformed field is warned of. */
const warningIntervalMs = 60_000;
/** Fetches of one URL that a request looks at to find one that it can share. */
const maxLookedAt = 64;

export function createCache(deps: CacheDeps, options: CacheOptions): HttpCache {
  const { clock } = deps;
  const entryBytes = Math.min(options.entryBytes, options.bytes);
  const maxFillingBytes = Math.max(options.bytes * fillingShare, entryBytes);
  const store = new Store(options);
  const hitForMiss = new LRUCache<string, number>({
    max: maxHitForMiss,
    maxSize: maxHitForMissChars,
    sizeCalculation: (_, kind) => kind.length,
  });
  /** Those under way, by URL. */
  const fetches = new Map<string, Set<SharedFetch>>();
  let fetchCount = 0;
  let refreshCount = 0;
  let orphanCount = 0;
  const orphansOfRoute = new WeakMap<RouteRules, number>();
  let fillingBytes = 0;
  let notBeforeMs = 0;
  const counts = createCacheMetrics(deps.metrics, {
    bytes: () => store.bytes,
    responses: () => store.responses,
    evictions: () => store.evictions,
    fillingBytes: () => fillingBytes,
    fetches: () => fetchCount,
  });

  // ——— where responses are ———

  /** No partition can be taken for another: those of owners begin with a plus sign. */
  function placeOf({ url, route, owner = '' }: CacheRequest, audience: Audience): Place {
    const partition = audience === 'shared' ? '' : audience === 'anonymous' ? '-' : `+${owner}`;
    return { url, key: `${url}\n${route}\n${partition}` };
  }

  /** The newest of the responses that the request's fields select, and all others of its URL (RFC 9111 §4.1). */
  function find(request: CacheRequest): { selected: Placed | undefined; others: Placed[] } {
    const found: { selected: Placed | undefined; others: Placed[] } = { selected: undefined, others: [] };
    lookAt(placeOf(request, 'shared'), request, found);
    // C12: a request that shows a user gets what is for all, or what is his own.
    if (request.owner !== undefined) lookAt(placeOf(request, 'own'), request, found);
    else if (!isCredentialed(request.facts)) lookAt(placeOf(request, 'anonymous'), request, found);
    return found;
  }

  function lookAt(
    place: Place,
    request: CacheRequest,
    found: { selected: Placed | undefined; others: Placed[] },
  ): void {
    const selector = new Selector(request);
    for (const response of store.at(place.key)) {
      const placed = { place, response };
      if (!selector.selects(response)) found.others.push(placed);
      else if (found.selected === undefined || isNewer(response, found.selected.response)) found.selected = placed;
    }
  }

  /** The same as the `selected` of {@link find}, without the rest of it: the hot path. */
  function select(request: CacheRequest): StoredResponse | undefined {
    const { responses, places } = store.look(placeOf(request, 'shared').key);
    const selected = pick(responses, request, undefined);
    // Nobody has anything of his own for this URL.
    if (places.size === 1) return selected;
    if (request.owner !== undefined) return pick(store.at(placeOf(request, 'own').key), request, selected);
    if (isCredentialed(request.facts)) return selected;
    return pick(store.at(placeOf(request, 'anonymous').key), request, selected);
  }

  // ——— requests to origins ———

  const context: FetchContext = {
    now: clock,
    entryBytes,
    reserve(bytes) {
      if (bytes > 0 && fillingBytes + bytes > maxFillingBytes) return false;
      fillingBytes += bytes;
      return true;
    },
    placeOf,
    store(place, response, replaced) {
      if (response.tagsLeftOut > 0) tellMalformed('Cache-Tag', place.url);
      if (replaced !== undefined && replaced.place.key !== place.key) store.remove(replaced.place, replaced.response);
      return store.put(place, response, replaced?.place.key === place.key ? replaced.response : undefined);
    },
    remove: ({ place, response }) => store.remove(place, response),
    isTrusted: ({ policy }) => policy.receivedMs >= notBeforeMs,
    askAlone: (waiter) => askAnew(waiter, undefined),
    askAgain: (waiter, varyNames) => askAnew(waiter, waiter.waits < maxWaits ? varyNames : undefined),
    hitForMiss(request, why) {
      hitForMiss.set(kindOf(request), clock() + (why === 'passing' ? passingMs : hitForMissMs));
    },
    unregister(fetch: RegisteredFetch) {
      const others = fetches.get(fetch.request.url);
      if (others?.delete(fetch as SharedFetch) !== true) return;
      fetchCount -= 1;
      if (fetch.background) refreshCount -= 1;
      if (others.size === 0) fetches.delete(fetch.request.url);
    },
    mayOrphan: ({ rules }) => orphanCount < maxOrphans && (orphansOfRoute.get(rules) ?? 0) < rules.maxOrphans,
    orphans({ rules }, change) {
      orphanCount += change;
      orphansOfRoute.set(rules, (orphansOfRoute.get(rules) ?? 0) + change);
    },
    shares: (request) => void hitForMiss.delete(kindOf(request)),
    collapsed() {
      counts.collapsed += 1;
    },
    served: counts.staleHit,
    revalidated: counts.revalidated,
    notStored: counts.notStored,
    malformed: (field, { url }) => tellMalformed(field, url),
    refreshed: counts.refreshed,
  };

  /** One line a minute and field: a backend sends the same with each answer. The query may carry secrets. */
  const warnedMs = new Map<string, number>();
  function tellMalformed(field: string, url: string): void {
    counts.malformed(field);
    const nowMs = clock();
    if (nowMs - (warnedMs.get(field) ?? Number.NEGATIVE_INFINITY) < warningIntervalMs) return;
    warnedMs.set(field, nowMs);
    const [app, page = ''] = url.split(' ');
    deps.logger.warn({ sdkAppId: Number(app), field, url: page.split('?', 1)[0] }, 'cache.field.malformed');
  }

  function startFetch(fetch: SharedFetch): void {
    const { url } = fetch.request;
    const others = fetches.get(url);
    if (others === undefined) fetches.set(url, new Set([fetch]));
    else others.add(fetch);
    fetchCount += 1;
    if (fetch.background) refreshCount += 1;
    fetch.start();
  }

  /** Requests of one kind may turn out to share: one URL and route, and all with or all without a sign of a user. */
  function kindOf({ url, route, facts }: CacheRequest): string {
    return `${isCredentialed(facts) ? '+' : '-'}${url}\n${route}`;
  }

  function mayWait(request: CacheRequest): boolean {
    const untilMs = hitForMiss.get(kindOf(request));
    return untilMs === undefined || clock() >= untilMs;
  }

  /**
   * Joins a fetch whose answer it may share, or starts one.
   * @param together false: waits for nobody's head
   * @param varyNames by which fields answers are told apart, where that is known
   */
  function ask(waiter: Waiter, together: boolean, varyNames?: readonly string[]): void {
    const { request, plan } = waiter;
    let lookedAt = 0;
    for (const fetch of fetches.get(request.url) ?? []) {
      if (fetch.request.route !== request.route) continue;
      if (fetch.mayRead(request)) {
        fetch.read(waiter);
        return;
      }
      if (together && fetch.mayJoin(request, plan)) {
        fetch.join(waiter);
        return;
      }
      lookedAt += 1;
      if (lookedAt >= maxLookedAt) break;
    }
    const told = varyNames === undefined ? {} : { varyNames };
    startFetch(new SharedFetch(context, { request, plan, leader: waiter, joinable: together, ...told }));
  }

  /** The answer that it waited for is not its own. Something else may be there by now. @param varyNames undefined: alone */
  function askAnew(waiter: Waiter, varyNames: readonly string[] | undefined): void {
    const { request, client } = waiter;
    const { selected, others } = find(request);
    const nowMs = clock();
    const decision = decide(request.facts, selected?.response.policy, nowMs, notBeforeMs);
    if (selected !== undefined && decision.kind === 'fresh') {
      counts.hits += 1;
      client.onAnswer(answerFrom(selected.response, request.facts, hitStatus(decision), nowMs));
      return;
    }
    waiter.plan = planOf(decision, selected, others);
    ask(waiter, varyNames !== undefined, varyNames);
  }

  /** One at a time for each stored response, and none for a while after one that failed. */
  function refresh(request: CacheRequest, selected: Placed, decision: Decision, nowMs: number): void {
    const { facts } = request;
    const { noStore, onlyIfCached } = facts.directives;
    if (nowMs < selected.response.retryAtMs || noStore || onlyIfCached) return;
    for (const { plan } of fetches.get(request.url) ?? []) if (plan.selected?.response === selected.response) return;
    if (refreshCount >= maxRefreshes) {
      counts.refreshed('too-many');
      return;
    }
    const whole = { ...facts, method: 'GET', ifNoneMatch: undefined, ifModifiedSinceMs: undefined, range: undefined };
    const plan = planOf(decision, selected, []);
    const asked = withFacts(request, whole);
    startFetch(new SharedFetch(context, { request: asked, plan, leader: undefined, joinable: true }));
  }

  function outdate(urlPrefix: string, exact: boolean): void {
    for (const fetch of exact ? (fetches.get(urlPrefix) ?? []) : [...fetches.values()].flatMap((set) => [...set])) {
      if (fetch.request.url.startsWith(urlPrefix)) fetch.outdate();
    }
  }

  function forget(url: string): void {
    outdate(url, true);
    counts.purged('unsafe-method', store.removeUrl(url));
  }

  /** RFC 9111 §4.3.5: the fields of a stored GET as a HEAD shows them now; or its end, where they speak of another body. */
  function updateByHead(request: CacheRequest, raw: RawFields): void {
    const asGet = withFacts(request, { ...request.facts, method: 'GET' });
    const { selected } = find(asGet);
    if (selected === undefined) return;
    const { response, place } = selected;
    const nowMs = clock();
    const now = parseResponse(200, raw, nowMs);
    const length = firstOf(raw, 'content-length');
    const { etag, lastModified } = response.facts;
    const same =
      response.facts.status === 200 &&
      (now.etag === undefined || now.etag === etag) &&
      (now.lastModified === undefined || now.lastModified === lastModified) &&
      (length === undefined || Number(length) === response.body.length);
    if (!same) {
      store.remove(place, response);
      return;
    }
    // It was purged, maybe: only an answer with a body or a validator of its own makes it good again.
    if (response.policy.receivedMs < notBeforeMs) return;
    const times = { requestedMs: nowMs, receivedMs: nowMs };
    const isOwn = place.key === placeOf(request, 'own').key;
    const updated = updateResponse(response, raw, { request, times, isOwn });
    // The body came in another answer: what this one says opens it to nobody new.
    if (updated.store === 'no' || placeOf(request, updated.store).key !== place.key) store.remove(place, response);
    else store.put(place, updated.response, response);
  }

  return {
    fresh(request, maxBodyBytes) {
      if (request.overrides) return undefined;
      const selected = select(request);
      if (selected === undefined || selected.body.length > maxBodyBytes) return undefined;
      const nowMs = clock();
      const decision = decide(request.facts, selected.policy, nowMs, notBeforeMs);
      if (decision.kind !== 'fresh') return undefined;
      counts.hits += 1;
      selected.usedAtMs = nowMs;
      return answerFrom(selected, request.facts, hitStatus(decision), nowMs);
    },

    handle(request, client) {
      const { facts } = request;
      if (request.overrides) {
        counts.miss('bypass');
        return { kind: 'forward', status: formatCacheStatus(cacheName, { forwarded: 'bypass', detail: 'override' }) };
      }
      const { selected, others } = find(request);
      const nowMs = clock();
      const decision = decide(facts, selected?.response.policy, nowMs, notBeforeMs);
      if (selected !== undefined && (decision.kind === 'fresh' || decision.kind === 'stale-while-revalidate')) {
        selected.response.usedAtMs = nowMs;
        if (decision.kind === 'fresh') counts.hits += 1;
        else {
          counts.staleHit(decision.rule);
          refresh(request, selected, decision, nowMs);
        }
        return { kind: 'answer', answer: answerFrom(selected.response, facts, hitStatus(decision), nowMs) };
      }
      const plan = planOf(decision, selected, others);
      const status = formatCacheStatus(cacheName, { forwarded: plan.forwarded, detail: plan.rule });
      const mayBeStored = facts.method === 'GET' || facts.method === 'HEAD';
      if (facts.directives.onlyIfCached && mayBeStored) return { kind: 'refused', code: 'CACHE_ONLY_MISS' };
      counts.miss(plan.forwarded);
      if (decision.kind === 'bypass' || facts.method === 'HEAD' || facts.directives.noStore) {
        return { kind: 'forward', status };
      }
      const waiter = new Waiter(client, request, plan);
      ask(waiter, mayWait(request));
      return { kind: 'wait', waiting: waiter };
    },

    observe(request, status, raw) {
      const { method } = request.facts;
      const mayChange = request.overrides && status >= 200 && status <= 399;
      if (mayChange || invalidates(method, status)) {
        forget(request.url);
        for (const target of namedTargets(raw, request.url.slice(request.url.indexOf(' ') + 1))) {
          forget(request.urlOf(target));
        }
      } else if (method === 'HEAD' && status === 200) updateByHead(request, raw);
    },

    purge(purge) {
      const prefix = purgedPrefix(purge);
      outdate(prefix, purge.by === 'url');
      const removed =
        purge.by === 'url'
          ? store.removeUrl(prefix)
          : purge.by === 'tag'
            ? store.removeTag(purge.tag, prefix)
            : store.removePrefix(prefix);
      counts.purged(purge.by, removed);
      return removed;
    },

    distrust() {
      notBeforeMs = clock() + 1;
      outdate('', false);
    },
  };
}

function isNewer(
  { facts: one, policy }: StoredResponse,
  { facts: other, policy: otherPolicy }: StoredResponse,
): boolean {
  // Of responses with and without Vary those with it know better whom they suit (RFC 9111 §4.1).
  if (one.vary.length > 0 !== other.vary.length > 0) return one.vary.length > 0;
  const difference = (one.dateMs ?? policy.receivedMs) - (other.dateMs ?? otherPolicy.receivedMs);
  return difference > 0 || (difference === 0 && policy.receivedMs >= otherPolicy.receivedMs);
}

/** The newest that the request selects, of some responses and one that is known. */
function pick(
  responses: readonly StoredResponse[],
  request: CacheRequest,
  known: StoredResponse | undefined,
): StoredResponse | undefined {
  if (responses.length === 0) return known;
  let picked = known;
  const selector = new Selector(request);
  for (const response of responses) {
    if (!selector.selects(response)) continue;
    if (picked === undefined || isNewer(response, picked)) picked = response;
  }
  return picked;
}

function hitStatus({ ttlMs, rule }: Decision): { hit: true; ttlMs: number; detail: string } {
  return { hit: true, ttlMs, detail: rule };
}

function planOf(decision: Decision, selected: Placed | undefined, others: readonly Placed[]): Plan {
  return { selected, others, rule: decision.rule, forwarded: forwardedFor(decision, selected, others) };
}

function forwardedFor(
  { kind, rule, ttlMs }: Decision,
  selected: Placed | undefined,
  others: readonly Placed[],
): Forwarded {
  if (kind === 'bypass') return rule === 'method' ? 'method' : 'bypass';
  if (selected === undefined) return others.length > 0 ? 'vary-miss' : 'uri-miss';
  return rule.startsWith('request-') && ttlMs > 0 ? 'request' : 'stale';
}

/** The same request, with other things said to caches. */
function withFacts(request: CacheRequest, facts: RequestFacts): CacheRequest {
  const { url, route, owner, overrides, rules, upstream } = request;
  return {
    ...{ url, route, owner, overrides, rules, upstream, facts },
    urlOf: (target) => request.urlOf(target),
    fieldOf: (name) => request.fieldOf(name),
  };
}
