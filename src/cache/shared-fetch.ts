import type { ErrorCode } from '../wire/index.ts';
import { answerFrom, cacheName } from './answers.ts';
import { ArrivingResponse } from './arriving-response.ts';
import type { NotStored } from './cache-metrics.ts';
import {
  ageOf,
  type CacheStatus,
  firstOf,
  formatCacheStatus,
  formatHttpDate,
  hasValidators,
  isOutage,
  malformedFields,
  mayServeOnError,
  parseResponse,
  type RawFields,
  type ResponseTimes,
  selectFor304,
  storable,
  type Validators,
  validatorsFor,
} from './core/index.ts';
import type { FetchContext, RegisteredFetch } from './fetch-context.ts';
import type { CacheRequest, FetchEvents, FetchHandle, OriginHead } from './ports.ts';
import { sameConditions, sharing } from './sharing.ts';
import { type StoredResponse, selectorOf } from './stored-response.ts';
import { type Updated, updateResponse } from './updating.ts';
import type { Placed, Plan, Waiter } from './waiter.ts';

/** Refreshes that fail are tried again no sooner than this, doubling. */
const firstRetryMs = 1_000;
const longestRetryMs = 30_000;

/** How long a response may take to arrive that nobody waits for. */
const longestAloneMs = 60_000;

/**
 * One request of the cache to an origin, and all who wait for it (C11).
 *
 * They wait for the head only. When the response may be stored and suits them, they read it from the store's buffer, each
 * at his own pace; otherwise they ask for themselves at once. The fetch goes on when its first client leaves, as long as
 * somebody waits or the store wants it.
 */
export class SharedFetch implements FetchEvents, RegisteredFetch {
  readonly request: CacheRequest;
  readonly plan: Plan;
  /** Others may wait for its head. */
  readonly joinable: boolean;
  readonly #varyNames: readonly string[];
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
  #arriving: ArrivingResponse | undefined;

  /** @param leader whose request it is; undefined: a refresh in the background */
  constructor(
    context: FetchContext,
    options: {
      request: CacheRequest;
      plan: Plan;
      leader: Waiter | undefined;
      joinable: boolean;
      /** By which fields those are told apart for whom nothing is stored, where that is known. */
      varyNames?: readonly string[];
    },
  ) {
    const { request, plan, leader, joinable } = options;
    this.#varyNames = options.varyNames ?? plan.others[0]?.response.varyNames ?? [];
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
    return selectorOf(this.#varyNames, request) === selectorOf(this.#varyNames, this.request);
  }

  join(waiter: Waiter): void {
    waiter.fetch = this;
    waiter.waits += 1;
    this.#followers.add(waiter);
    this.#setOrphan(false);
  }

  /** Can this request read along? Its head has come, and the response suits the request. */
  mayRead(request: CacheRequest): boolean {
    return this.#state === 'filling' && !this.#outdated && this.#arriving?.mayBeReadBy(request) === true;
  }

  read(waiter: Waiter): void {
    waiter.fetch = this;
    this.#context.collapsed();
    if (this.#arriving !== undefined) this.#answer(waiter, this.#arriving, false);
  }

  /** For {@link Waiter}. Its reader, if it has one, is closed already. */
  leave(waiter: Waiter): void {
    if (waiter === this.#leader) this.#leader = undefined;
    this.#followers.delete(waiter);
    if (this.#state === 'filling') this.#onReaderGone();
    if (this.#state !== 'asking' || this.background || this.#leader !== undefined || this.#followers.size > 0) return;
    // Nobody waits. What an origin works at already may still be of use.
    if (this.#handle?.sent === true && this.joinable) this.#orphanOrAbort();
    else this.#abort();
  }

  /** Goes on for the store alone, where there are not too many such, and not for ever. */
  #orphanOrAbort(): void {
    if (this.#context.mayOrphan(this.request)) {
      this.#setOrphan(true);
      return;
    }
    this.#context.notStored('abandoned');
    this.#abort();
  }

  #setOrphan(orphan: boolean): void {
    if (this.#orphan === orphan) return;
    this.#orphan = orphan;
    this.#context.orphans(this.request, orphan ? 1 : -1);
    if (this.#state !== 'over') this.#handle?.limit(orphan ? longestAloneMs : undefined);
  }

  /** Somebody who read along has left. A body that is not stored and has no reader has no use. */
  #onReaderGone(): void {
    const body = this.#arriving?.body;
    if (this.#state !== 'filling' || body === undefined || body.readers > 0) return;
    if (body.windowed) this.#abort();
    else if (this.background) this.#handle?.limit(longestAloneMs);
    else this.#orphanOrAbort();
  }

  #abort(): void {
    this.#handle?.destroy();
    this.#over();
  }

  #over(): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.#setOrphan(false);
    this.#arriving?.release();
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
    const refused = verdict.store === 'no' ? verdict.rule : this.#unfit(head);
    if (verdict.store === 'no' || refused !== undefined) {
      this.#refuse(head, raw, refused ?? 'no-room');
      return;
    }
    const arriving = ArrivingResponse.begin(this.#context, this.request, { ...head, raw }, { facts, verdict });
    if (arriving === undefined) this.#refuse(head, raw, 'no-room');
    else this.#fill(arriving);
  }

  /** It is not stored. */
  #refuse(head: OriginHead, raw: RawFields, why: NotStored): void {
    this.#context.notStored(why);
    this.#forgetReplaced(head.status);
    if (this.background) this.#context.refreshed(head.status >= 500 ? 'error' : 'not-stored');
    this.#handOver(head, raw, why);
  }

  #unfit({ raw, lengthBytes, endMarked }: OriginHead): NotStored | undefined {
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
      // An error, or a moment without memory, says little of the next answer.
      this.#context.hitForMiss(this.request, head.status >= 400 || why === 'no-room' ? 'passing' : 'not-theirs');
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
    const verdict = storable(this.request.facts, facts, this.request.rules, times);
    for (const follower of followers) {
      const alike = sameConditions(follower.request, this.request);
      const shared =
        alike && verdict.store !== 'no' && sharing({ ...verdict, facts }, this.request, follower.request) === 'yes';
      if (!shared) {
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
    const { response, store } = this.#update(placed, raw, times);
    this.#context.revalidated();
    if (this.background) this.#context.refreshed('updated');
    const waiters = [...(this.#leader === undefined ? [] : [this.#leader]), ...this.#followers];
    const leader = this.#leader;
    this.#leader = undefined;
    this.#followers.clear();
    this.#state = 'taken';
    this.#over();
    for (const waiter of waiters) {
      if (waiter !== leader && sharing({ ...response, store }, this.request, waiter.request) !== 'yes') {
        this.#context.hitForMiss(this.request, 'not-theirs');
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
  #update(placed: Placed, raw: RawFields, times: ResponseTimes): Updated {
    const { request } = this;
    const isOwn = placed.place.key === this.#context.placeOf(request, 'own').key;
    const updated = updateResponse(placed.response, raw, { request, times, isOwn });
    if (updated.store === 'no' || this.#outdated) {
      this.#context.remove(placed);
      // Those who asked before it became outdated may have it all the same.
      return updated;
    }
    // A response that now also suits other request fields stays for those that it had.
    const replaced = this.plan.selected === undefined ? undefined : placed;
    this.#context.store(this.#context.placeOf(request, updated.store), updated.response, replaced);
    return updated;
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

  #fill(arriving: ArrivingResponse): void {
    this.#state = 'filling';
    this.#arriving = arriving;
    if (this.#leader !== undefined) this.#answer(this.#leader, arriving, true);
    const followers = [...this.#followers];
    this.#followers.clear();
    // What each terminal gets for itself is not waited for again.
    let apart = arriving.store === 'own';
    for (const follower of followers) {
      const shared = arriving.sharing(follower.request);
      if (shared === 'yes') {
        this.#context.collapsed();
        this.#answer(follower, arriving, false);
      } else if (shared === 'vary') this.#context.askAgain(follower, namesOf(arriving));
      else {
        apart = true;
        this.#context.askAlone(follower);
      }
    }
    if (apart) this.#context.hitForMiss(this.request, 'not-theirs');
    else this.#context.shares(this.request);
    if (this.background && arriving.body.readers === 0) this.#handle?.limit(longestAloneMs);
  }

  #answer(waiter: Waiter, arriving: ArrivingResponse, asked: boolean): void {
    const status: CacheStatus = { ...this.#forwardStatus(waiter), stored: asked && !this.#outdated, collapsed: !asked };
    const judged = asked && this.#validators === undefined;
    const onMore = (): void => waiter.client.onMore();
    waiter.client.onAnswer(arriving.answerFor(waiter.request.facts, status, { asked, judged, onMore }));
    if (arriving.body.readers === 0) return;
    this.#setOrphan(false);
    if (this.background) this.#handle?.limit(undefined);
  }

  onBody(piece: Buffer): void {
    const arriving = this.#arriving;
    if (this.#state !== 'filling' || arriving === undefined) return;
    const refused = arriving.push(piece);
    if (refused === undefined) return;
    // Those who read it get the rest, and nobody joins them.
    this.#onNotKept(refused, arriving);
    this.#context.unregister(this);
    arriving.giveUp(this.#handle as FetchHandle);
    this.#onReaderGone();
  }

  #onNotKept(why: NotStored, { facts }: ArrivingResponse): void {
    this.#context.notStored(why);
    this.#forgetReplaced(facts.status);
    if (this.background) this.#context.refreshed('not-stored');
  }

  onReadDone(): void {
    this.#arriving?.body.wake();
  }

  onEnd(trailers: readonly string[]): void {
    const arriving = this.#arriving;
    if (this.#state !== 'filling' || arriving === undefined) return;
    const response = arriving.complete(trailers);
    if (response !== undefined) this.#keep(arriving, response, trailers);
    arriving.body.wake();
    this.#over();
  }

  #keep(arriving: ArrivingResponse, response: StoredResponse, trailers: readonly string[]): void {
    const refused: NotStored | undefined = this.#outdated
      ? 'outdated'
      : trailers.length > 0
        ? 'trailers'
        : response.bytes > this.#context.entryBytes
          ? 'too-large'
          : undefined;
    const place = this.#context.placeOf(this.request, arriving.store);
    const kept = refused === undefined && this.#context.store(place, response, this.plan.selected);
    if (!kept) this.#onNotKept(refused ?? 'no-room', arriving);
    else if (this.background) this.#context.refreshed('replaced');
  }
}

function namesOf({ facts }: ArrivingResponse): readonly string[] {
  return facts.vary === '*' ? [] : facts.vary;
}

/** RFC 9110 §6.6.1: who stores a response without Date gives it the time at which it came. */
function withDate(raw: RawFields, receivedMs: number): RawFields {
  return firstOf(raw, 'date') === undefined ? [...raw, 'Date', formatHttpDate(receivedMs)] : raw;
}
