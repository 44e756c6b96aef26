import type { ErrorCode } from '../wire/index.ts';
import { type Arriving, answerFrom, answerFromArriving, cacheName } from './answers.ts';
import type { NotStored } from './cache-metrics.ts';
import {
  ageOf,
  type CacheStatus,
  type Decision,
  type DecisionRule,
  decide,
  type Forwarded,
  fieldsToStore,
  firstOf,
  formatCacheStatus,
  formatHttpDate,
  hasCondition,
  hasValidators,
  isCredentialed,
  isOpen,
  malformedFields,
  mayServeOnError,
  parseResponse,
  parseResponseDirectives,
  type RawFields,
  type ResponseFacts,
  type ResponseTimes,
  type Storable,
  selectFor304,
  storable,
  updatedFields,
  type Validators,
  validatorsFor,
} from './core/index.ts';
import { FillingBody } from './filling-body.ts';
import type { CacheClient, CacheRequest, FetchEvents, FetchHandle, OriginHead, Waiting } from './ports.ts';
import type { Place } from './store.ts';
import { createStoredResponse, type StoredResponse, selectorOf } from './stored-response.ts';

/** A stored response and where it is. */
export interface Placed {
  readonly place: Place;
  readonly response: StoredResponse;
}

/** What a request found when it was decided to ask the origin. */
export interface Plan {
  /** What key and Vary select. */
  readonly selected: Placed | undefined;
  /** Other responses of the same URL, which may turn out to suit. */
  readonly others: readonly Placed[];
  readonly forwarded: Forwarded;
  readonly rule: DecisionRule;
}

/** Somebody who waits for the answer to a request; the fetch that he waits for may change. */
export class Waiter implements Waiting {
  readonly client: CacheClient;
  readonly request: CacheRequest;
  plan: Plan;
  fetch: SharedFetch | undefined;

  constructor(client: CacheClient, request: CacheRequest, plan: Plan) {
    this.client = client;
    this.request = request;
    this.plan = plan;
  }

  leave(): void {
    this.fetch?.leave(this);
    this.fetch = undefined;
  }
}

/** What fetches share: the cache behind them. */
export interface FetchContext {
  now(): number;
  readonly entryBytes: number;
  /** Memory of all bodies that are arriving; false when there is none left. */
  reserve(bytes: number): boolean;
  placeOf(request: CacheRequest, audience: 'shared' | 'anonymous' | 'own'): Place;
  store(place: Place, response: StoredResponse, replaced: Placed | undefined): boolean;
  remove(placed: Placed): void;
  /** False: a purge of it may have been missed. */
  isTrusted(response: StoredResponse): boolean;
  /** Asks for a waiter by himself: the answer that he waited for is not his to share. */
  askAlone(waiter: Waiter): void;
  /** Requests of this kind do not wait for one another for a while. */
  hitForMiss(request: CacheRequest): void;
  /** Nobody can join any more, or nothing is left to do. */
  unregister(fetch: SharedFetch): void;
  /** May one more fetch go on for nobody but the store? */
  mayOrphan(): boolean;
  orphans(change: 1 | -1): void;
  collapsed(): void;
  served(rule: DecisionRule | 'stale-if-error'): void;
  revalidated(): void;
  notStored(reason: NotStored): void;
  malformed(field: string, request: CacheRequest): void;
  refreshed(outcome: 'updated' | 'replaced' | 'not-stored' | 'error'): void;
}

/** More than a reader may lag behind a body that is too large to be stored. */
const windowBytes = 1_048_576;
/** Refreshes that fail are tried again no sooner than this, doubling. */
const firstRetryMs = 1_000;
const longestRetryMs = 30_000;

/** Statuses for which a stored answer may stand in (RFC 5861 §4). */
const isOutage = (status: number): boolean => status >= 500 && status <= 504 && status !== 501;

/**
 * One request of the cache to an origin, and all who wait for it (C11).
 *
 * They wait for the head only. When the response may be stored and suits them, they read it from the store's buffer, each
 * at his own pace; otherwise they ask for themselves at once. The fetch goes on when its first client leaves, as long as
 * somebody waits or the store wants it.
 */
export class SharedFetch implements FetchEvents {
  readonly request: CacheRequest;
  readonly plan: Plan;
  /** Others may wait for its head. */
  readonly joinable: boolean;
  #context: FetchContext;
  #leader: Waiter | undefined;
  #followers = new Set<Waiter>();
  /** It refreshes a response that is served meanwhile. */
  readonly background: boolean;
  #validators: Validators | undefined;
  #handle: FetchHandle | undefined;
  #requestedMs = 0;
  #state: 'asking' | 'filling' | 'taken' | 'over' = 'asking';
  #orphan = false;
  /** What it brings is not to be stored any more: the URL was purged or changed meanwhile. */
  #outdated = false;
  #repeated = false;
  #arriving: Arriving | undefined;
  #lengthBytes: number | undefined;
  #verdict: Exclude<Storable, { store: 'no' }> | undefined;
  /** As it came. */
  #raw: RawFields = [];
  #reserved = 0;

  /** @param leader whose request it is; undefined: a refresh in the background */
  constructor(
    context: FetchContext,
    options: { request: CacheRequest; plan: Plan; leader: Waiter | undefined; joinable: boolean },
  ) {
    const { request, plan, leader, joinable } = options;
    this.#context = context;
    this.request = request;
    this.plan = plan;
    this.joinable = joinable;
    this.#leader = leader;
    this.background = leader === undefined;
    if (leader !== undefined) leader.fetch = this;
  }

  start(): void {
    const { selected, others } = this.plan;
    const stored = selected === undefined ? others.map(({ response }) => response.facts) : [];
    const validators = validatorsFor(selected?.response.facts, stored, this.request.facts);
    const known = selected?.response.facts;
    // Tags that are only the client's own go as he sent them.
    const ours = known?.etag !== undefined || known?.lastModified !== undefined || stored.some(({ etag }) => etag);
    this.#ask(ours && !this.#repeated && hasValidators(validators) ? validators : undefined);
  }

  #ask(validators: Validators | undefined): void {
    this.#validators = validators;
    this.#requestedMs = this.#context.now();
    this.#handle = this.request.upstream.fetch({ validators, whole: this.plan.selected !== undefined }, this);
  }

  // ——— those who wait ———

  /** May this request wait for the head? */
  mayJoin(request: CacheRequest, plan: Plan): boolean {
    if (this.#state !== 'asking' || !this.joinable || this.#outdated || this.#repeated) return false;
    if (plan.selected?.response !== this.plan.selected?.response) return false;
    if (plan.selected !== undefined) return plan.selected.place.key === this.plan.selected?.place.key;
    const names = plan.others[0]?.response.varyNames ?? [];
    return selectorOf(names, request) === selectorOf(names, this.request);
  }

  join(waiter: Waiter): void {
    waiter.fetch = this;
    this.#followers.add(waiter);
    this.#setOrphan(false);
  }

  /** Can this request read along? Its head has come, and the response suits the request. */
  mayRead(request: CacheRequest): boolean {
    return (
      this.#state === 'filling' &&
      !this.#outdated &&
      this.#arriving?.body.windowed === false &&
      request.facts.range === undefined &&
      isUsable(decide(request.facts, this.#arriving.policy, this.#context.now())) &&
      this.#suits(request)
    );
  }

  read(waiter: Waiter): void {
    waiter.fetch = this;
    this.#context.collapsed();
    this.#answerArriving(waiter, false);
  }

  /** For {@link Waiter}. Its reader, if it has one, is closed already. */
  leave(waiter: Waiter): void {
    if (waiter === this.#leader) this.#leader = undefined;
    this.#followers.delete(waiter);
    if (this.#state === 'filling') this.#onReaderGone();
    if (this.#state !== 'asking' || this.background || this.#leader !== undefined || this.#followers.size > 0) return;
    // Nobody waits. What an origin works at already may still be of use.
    if (this.#handle?.sent === true && this.joinable && this.#context.mayOrphan()) this.#setOrphan(true);
    else this.#abort();
  }

  #setOrphan(orphan: boolean): void {
    if (this.#orphan === orphan) return;
    this.#orphan = orphan;
    this.#context.orphans(orphan ? 1 : -1);
  }

  /** Somebody who read along has left. A body that is not stored and has no reader has no use. */
  #onReaderGone(): void {
    const body = this.#arriving?.body;
    if (this.#state === 'filling' && body?.windowed === true && body.readers === 0) this.#abort();
  }

  #abort(): void {
    this.#handle?.destroy();
    this.#over();
  }

  #over(): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.#setOrphan(false);
    this.#context.reserve(-this.#reserved);
    this.#reserved = 0;
    this.#context.unregister(this);
  }

  /** What it brings is not stored, and nobody new joins. */
  outdate(): void {
    this.#outdated = true;
  }

  // ——— what the origin answers ———

  onInformation(status: number, reason: string, raw: RawFields): void {
    this.#leader?.client.onInformation(status, reason, raw);
  }

  onHead(head: OriginHead): void {
    const times: ResponseTimes = { requestedMs: this.#requestedMs, receivedMs: this.#context.now() };
    const raw = withDate(head.raw, times.receivedMs);
    if (head.status === 304 && this.#validators !== undefined) {
      this.#on304(head, raw, times);
      return;
    }
    if (isOutage(head.status) && this.#standIn(head.status, () => this.#handOver(head, raw, 'status'))) return;

    const facts = parseResponse(head.status, raw, times.receivedMs);
    for (const field of malformedFields(facts)) this.#context.malformed(field, this.request);
    const verdict = storable(this.request.facts, facts, this.request.rules, times);
    const refused = verdict.store === 'no' ? verdict.rule : this.#noRoomFor(head);
    if (verdict.store === 'no' || refused !== undefined) {
      const why = refused ?? 'no-room';
      this.#context.notStored(why);
      this.#forgetReplaced(head.status);
      if (this.background) this.#context.refreshed(head.status >= 500 ? 'error' : 'not-stored');
      this.#handOver(head, raw, why);
      return;
    }
    this.#fill(head, raw, facts, verdict);
  }

  #noRoomFor({ raw, lengthBytes, endMarked }: OriginHead): NotStored | undefined {
    // What ends with its connection may have been cut off.
    if (!endMarked) return 'unmarked-end';
    if (firstOf(raw, 'trailer') !== undefined) return 'trailers';
    if ((lengthBytes ?? 0) > this.#context.entryBytes) return 'too-large';
    return undefined;
  }

  /** The origin has something else now that is not stored: what was stored before is over, unless that was an error. */
  #forgetReplaced(status: number): void {
    const { selected } = this.plan;
    if (selected === undefined) return;
    if (status < 400 || status === 404 || status === 410) this.#context.remove(selected);
    else if (this.background) this.#retryLater(selected.response);
  }

  #onRefreshFailed(): void {
    this.#context.refreshed('error');
    if (this.plan.selected !== undefined) this.#retryLater(this.plan.selected.response);
  }

  #retryLater(response: StoredResponse): void {
    const delayMs = Math.min(longestRetryMs, firstRetryMs * 2 ** response.failedRefreshes);
    response.failedRefreshes += 1;
    response.retryAtMs = this.#context.now() + delayMs;
  }

  /** The response is its leader's alone; the others ask for themselves, at once, and so do those who come. */
  #handOver(head: OriginHead, raw: RawFields, why: NotStored): void {
    const leader = this.#leader;
    const followers = [...this.#followers];
    this.#followers.clear();
    this.#leader = undefined;
    this.#state = 'taken';
    this.#over();
    if (leader === undefined) this.#handle?.destroy();
    else
      leader.client.onTakeOver(
        { ...head, raw },
        formatCacheStatus(cacheName, this.#forwardStatus(leader)),
        `not-stored=${why}`,
      );
    if (head.status === 304) this.#share304(followers, head, raw);
    else {
      this.#context.hitForMiss(this.request);
      for (const follower of followers) this.#context.askAlone(follower);
    }
  }

  /**
   * A 304 to the leader's own condition: it answers all who asked by the same one, where its fields would let them share
   * the response itself.
   */
  #share304(followers: readonly Waiter[], head: OriginHead, raw: RawFields): void {
    const times = { requestedMs: this.#requestedMs, receivedMs: this.#context.now() };
    const facts = parseResponse(200, raw, times.receivedMs);
    const verdict = storable({ ...this.request.facts }, facts, this.request.rules, times);
    for (const follower of followers) {
      const alike = sameConditions(follower.request, this.request);
      if (verdict.store === 'no' || !alike || !isFor(verdict, facts, this.request, follower.request)) {
        this.#context.askAlone(follower);
        continue;
      }
      this.#context.collapsed();
      const status = formatCacheStatus(cacheName, { ...this.#forwardStatus(follower), collapsed: true });
      const { reason } = head;
      const fields = [...raw, 'Cache-Status', status];
      follower.client.onAnswer({ status: 304, reason, raw: fields, body: undefined, lengthKnown: true });
    }
  }

  #forwardStatus({ plan }: Waiter): CacheStatus {
    return { forwarded: plan.forwarded, detail: plan.rule };
  }

  // ——— 304: what is stored still holds (RFC 9111 §4.3.3, §4.3.4) ———

  #on304(head: OriginHead, raw: RawFields, times: ResponseTimes): void {
    const { selected, others } = this.plan;
    const asked = selected === undefined ? others : [selected];
    const update = parseResponse(304, raw, times.receivedMs);
    const placed = selectFor304(
      update,
      asked.map((each) => ({ facts: each.response.facts, placed: each })),
    )?.placed;
    const own = this.request.facts.ifNoneMatch;
    const onlyClients = (tag: string): boolean => !asked.some(({ response }) => response.facts.etag === tag);
    const mayBeClients = Array.isArray(own) && own.some(onlyClients);
    if (placed === undefined || (mayBeClients && update.etag === undefined)) {
      // It speaks of the response that the client has, where it names one of his tags.
      if (mayBeClients && update.etag !== undefined && own.includes(update.etag)) {
        this.#handOver(head, raw, 'status');
        return;
      }
      this.#repeat();
      return;
    }
    const response = this.#update(placed, raw, times);
    this.#context.revalidated();
    if (this.background) this.#context.refreshed('updated');
    const waiters = [...(this.#leader === undefined ? [] : [this.#leader]), ...this.#followers];
    const leader = this.#leader;
    this.#leader = undefined;
    this.#followers.clear();
    this.#state = 'taken';
    this.#over();
    for (const waiter of waiters) {
      if (waiter !== leader && !isFor(response, response.facts, this.request, waiter.request)) {
        this.#context.hitForMiss(this.request);
        this.#context.askAlone(waiter);
        continue;
      }
      if (waiter !== leader) this.#context.collapsed();
      const nowMs = this.#context.now();
      const status: CacheStatus = {
        forwarded: waiter.plan.forwarded,
        forwardedStatus: 304,
        ttlMs: response.policy.freshMs - ageOf(response.policy, nowMs),
        collapsed: waiter !== leader,
        detail: waiter.plan.rule,
      };
      waiter.client.onAnswer(answerFrom(response, waiter.request.facts, status, nowMs));
    }
  }

  /** The stored response as the 304 makes it; stored again, where its fields still allow that. */
  #update(placed: Placed, raw: RawFields, times: ResponseTimes): StoredResponse & { store: Storable['store'] } {
    const { response } = placed;
    const fields = updatedFields(response.raw, raw);
    const age = firstOf(raw, 'age');
    const withAge = age === undefined ? fields : [...fields, 'Age', age];
    const facts = parseResponse(response.facts.status, withAge, times.receivedMs);
    const { kind } = this.request.rules;
    // C12: a cookie is for others only where the answer that sets it says so itself.
    const isClients = firstOf(raw, 'set-cookie') !== undefined && !isOpen(parseResponseDirectives(raw), kind);
    const verdict: Storable = isClients
      ? { store: 'no', rule: 'set-cookie' }
      : storable(this.request.facts, facts, this.request.rules, times);
    const { request } = this;
    const { reason, body } = response;
    const policy = verdict.store === 'no' ? response.policy : verdict.policy;
    const updated = createStoredResponse({ facts, policy, reason, raw: fields, body, request }, kind);
    if (verdict.store === 'no' || this.#outdated) {
      this.#context.remove(placed);
      // Those who asked before it became outdated may have it all the same.
      return { ...updated, store: verdict.store };
    }
    const place = this.#context.placeOf(this.request, verdict.store);
    // A response that now also suits other request fields stays for those that it had.
    const replaced = this.plan.selected === undefined ? undefined : placed;
    this.#context.store(place, updated, replaced);
    return { ...updated, store: verdict.store };
  }

  /** A 304 that speaks of nothing that we have, or that we cannot tell: ask once more, for the whole. */
  #repeat(): void {
    this.#handle?.destroy();
    this.#repeated = true;
    this.#ask(undefined);
  }

  // ——— errors ———

  /**
   * Lets what is stored stand in for an error, for all who may have that. The others: the leader gets the error by
   * `fail`, the followers ask for themselves. False: it may stand in for nobody.
   */
  #standIn(status: number | undefined, fail: () => void): boolean {
    const { selected } = this.plan;
    if (selected === undefined) return false;
    const { response } = selected;
    if (!this.#context.isTrusted(response)) return false;
    const nowMs = this.#context.now();
    if (this.background) this.#onRefreshFailed();
    const may = (waiter: Waiter): boolean => mayServeOnError(waiter.request.facts, response.policy, nowMs);
    const served = [...this.#followers].filter(may);
    const leader = this.#leader !== undefined && may(this.#leader) ? this.#leader : undefined;
    if (leader === undefined && served.length === 0 && !this.background) return false;
    for (const waiter of served) this.#followers.delete(waiter);
    const ttlMs = response.policy.freshMs - ageOf(response.policy, nowMs);
    const tell = (waiter: Waiter): void => {
      this.#context.served('stale-if-error');
      const cacheStatus: CacheStatus = {
        forwarded: waiter.plan.forwarded,
        ...(status === undefined ? {} : { forwardedStatus: status }),
        ttlMs,
        collapsed: waiter !== leader,
        detail: 'stale-if-error',
      };
      waiter.client.onAnswer(answerFrom(response, waiter.request.facts, cacheStatus, nowMs));
    };
    if (leader === undefined && this.#leader !== undefined) fail();
    else {
      this.#leader = undefined;
      this.#handle?.destroy();
      this.#state = 'taken';
      this.#over();
      for (const follower of this.#followers) this.#context.askAlone(follower);
      this.#followers.clear();
    }
    if (leader !== undefined) tell(leader);
    for (const waiter of served) tell(waiter);
    return true;
  }

  onFailure(code: ErrorCode, reason: string): void {
    if (this.#state === 'filling') {
      this.#context.notStored('cut-off');
      if (this.background) this.#onRefreshFailed();
      this.#arriving?.body.fail(code, reason);
      this.#arriving?.body.wake();
      this.#over();
      return;
    }
    const fail = (): void => {
      const leader = this.#leader;
      const followers = [...this.#followers];
      this.#leader = undefined;
      this.#followers.clear();
      this.#state = 'taken';
      this.#over();
      leader?.client.onFailure(code, reason);
      for (const follower of followers) this.#context.askAlone(follower);
    };
    if (!this.#standIn(undefined, fail)) fail();
  }

  // ——— a response that is stored while it arrives ———

  #fill(head: OriginHead, raw: RawFields, facts: ResponseFacts, verdict: Exclude<Storable, { store: 'no' }>): void {
    const body = new FillingBody(head.lengthBytes);
    if (!this.#account(body)) {
      this.#context.notStored('no-room');
      this.#forgetReplaced(head.status);
      if (this.background) this.#context.refreshed('not-stored');
      this.#handOver(head, raw, 'no-room');
      return;
    }
    const { policy } = verdict;
    this.#state = 'filling';
    this.#verdict = verdict;
    this.#raw = raw;
    this.#lengthBytes = head.lengthBytes;
    const fields = fieldsToStore(raw, facts.directives, this.request.rules.kind);
    this.#arriving = { facts, policy, reason: head.reason, raw: fields, body };
    if (this.#leader !== undefined) this.#answerArriving(this.#leader, true);
    const followers = [...this.#followers];
    this.#followers.clear();
    let strangers = false;
    for (const follower of followers) {
      if (this.#suits(follower.request)) {
        this.#context.collapsed();
        this.#answerArriving(follower, false);
        continue;
      }
      strangers = true;
      this.#context.askAlone(follower);
    }
    // What each terminal gets for itself is not waited for again.
    if (strangers || verdict.store === 'own') this.#context.hitForMiss(this.request);
  }

  #suits(request: CacheRequest): boolean {
    const arriving = this.#arriving;
    return (
      arriving !== undefined &&
      this.#verdict !== undefined &&
      isFor(this.#verdict, arriving.facts, this.request, request)
    );
  }

  #answerArriving(waiter: Waiter, asked: boolean): void {
    const arriving = this.#arriving as Arriving;
    const status: CacheStatus = { ...this.#forwardStatus(waiter), stored: asked && !this.#outdated, collapsed: !asked };
    // Who asked gets it as it came; what only he may have is not for the others.
    const response = asked ? { ...arriving, raw: asCame(this.#raw) } : arriving;
    const answer = answerFromArriving(response, waiter.request.facts, status, {
      nowMs: this.#context.now(),
      lengthBytes: this.#lengthBytes,
      asked,
      judged: asked && this.#validators === undefined,
      onMore: () => waiter.client.onMore(),
    });
    waiter.client.onAnswer(answer);
  }

  onBody(piece: Buffer): void {
    const body = this.#arriving?.body;
    if (this.#state !== 'filling' || body === undefined) return;
    body.push(piece);
    if (body.windowed || (body.bytes <= this.#context.entryBytes && this.#account(body))) return;
    // Too large after all: those who read it get the rest, and nobody joins them.
    this.#context.notStored(body.bytes > this.#context.entryBytes ? 'too-large' : 'no-room');
    const { facts } = this.#arriving as Arriving;
    this.#forgetReplaced(facts.status);
    if (this.background) this.#context.refreshed('not-stored');
    this.#context.unregister(this);
    body.limitTo(windowBytes, this.#handle as FetchHandle);
    this.#onReaderGone();
  }

  /** Counts the memory that the body takes. */
  #account(body: FillingBody): boolean {
    const more = body.capacity - this.#reserved;
    if (more === 0) return true;
    if (!this.#context.reserve(more)) return false;
    this.#reserved = body.capacity;
    return true;
  }

  onReadDone(): void {
    this.#arriving?.body.wake();
  }

  onEnd(trailers: readonly string[]): void {
    const arriving = this.#arriving;
    if (this.#state !== 'filling' || arriving === undefined) return;
    arriving.body.trailers = trailers;
    const whole = arriving.body.complete();
    if (whole !== undefined) this.#keep(arriving, whole, trailers);
    arriving.body.wake();
    this.#over();
  }

  #keep(arriving: Arriving, body: Buffer, trailers: readonly string[]): void {
    const verdict = this.#verdict;
    if (verdict === undefined) return;
    const { facts, policy, reason } = arriving;
    const { request } = this;
    const response = createStoredResponse({ facts, policy, reason, raw: this.#raw, body, request }, request.rules.kind);
    const refused: NotStored | undefined = this.#outdated
      ? 'outdated'
      : trailers.length > 0
        ? 'trailers'
        : response.bytes > this.#context.entryBytes
          ? 'too-large'
          : undefined;
    const place = this.#context.placeOf(this.request, verdict.store);
    const kept = refused === undefined && this.#context.store(place, response, this.plan.selected);
    if (!kept) {
      this.#context.notStored(refused ?? 'no-room');
      this.#forgetReplaced(facts.status);
    }
    if (this.background) this.#context.refreshed(kept ? 'replaced' : 'not-stored');
  }
}

/** May it be answered with at once? A body can take longer to arrive than it is fresh. */
function isUsable({ kind }: Decision): boolean {
  return kind === 'fresh' || kind === 'stale-while-revalidate';
}

/** May a response that one request brought answer another one that waited for it (C11, C12)? */
function isFor(
  { store, policy }: Pick<Exclude<Storable, { store: 'no' }>, 'policy'> & { store: Storable['store'] },
  facts: ResponseFacts,
  asked: CacheRequest,
  other: CacheRequest,
): boolean {
  if (store === 'no') return false;
  if (store === 'own' && (other.owner === undefined || other.owner !== asked.owner)) return false;
  if (store === 'anonymous' && isCredentialed(other.facts)) return false;
  // Each use of it needs an answer of the origin of its own.
  if (policy.alwaysRevalidate || (policy.neverStale !== undefined && policy.freshMs <= policy.initialAgeMs)) {
    return false;
  }
  const names = facts.vary === '*' ? [] : facts.vary;
  return selectorOf(names, asked) === selectorOf(names, other);
}

function sameConditions({ facts: one }: CacheRequest, { facts: other }: CacheRequest): boolean {
  return (
    hasCondition(one) &&
    String(one.ifNoneMatch) === String(other.ifNoneMatch) &&
    one.ifModifiedSinceMs === other.ifModifiedSinceMs
  );
}

/** RFC 9110 §6.6.1: who stores a response without Date gives it the time at which it came. */
function withDate(raw: RawFields, receivedMs: number): RawFields {
  return firstOf(raw, 'date') === undefined ? [...raw, 'Date', formatHttpDate(receivedMs)] : raw;
}

/** As it came, but for what is made anew for each answer. */
function asCame(raw: RawFields): string[] {
  const kept: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] as string).toLowerCase();
    if (name !== 'age' && name !== 'content-length') kept.push(raw[i] as string, raw[i + 1] as string);
  }
  return kept;
}
