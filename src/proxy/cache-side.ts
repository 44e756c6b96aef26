import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  type CacheClient,
  type CachedAnswer,
  explainAnswer,
  type HttpCache,
  type OriginHead,
  type RawFields,
  type Waiting,
} from '../cache/index.ts';
import type { ErrorCode } from '../wire/index.ts';
import { CachedRelay } from './cached-relay.ts';
import type { CachedRequest } from './cached-request.ts';
import type { UpstreamFetch } from './upstream-fetch.ts';

export interface CacheSideEvents {
  /** The response to the request that the cache made is for this client alone: the rest of it is the exchange's. */
  onTakeOver(fetch: UpstreamFetch): void;
  onCacheFailure(code: ErrorCode, reason: string): void;
  onInformation(status: number, reason: string, raw: string[]): void;
  /** An answer of the cache begins. */
  onCacheAnswer(): void;
  onCachePaused(paused: boolean): void;
  /** It has been handed on. */
  onCacheSent(): void;
}

/** The field of a request that wants to know what the cache decides, and of the answer that says it. */
const debugField = 'QAL-Cache-Debug';

/** What an exchange has to do with the cache. */
export class CacheSide implements CacheClient {
  /** The member of Cache-Status, as the answer has it. */
  status = '';
  #cache: HttpCache;
  #clock: () => number;
  #request: CachedRequest;
  #relay: CachedRelay;
  #events: CacheSideEvents;
  #waiting: Waiting | undefined;
  #debug: boolean;
  #debugText = '';

  constructor(
    { cache, clock }: { cache: HttpCache; clock: () => number },
    request: CachedRequest,
    exchange: { req: IncomingMessage; res: ServerResponse; debug: boolean; events: CacheSideEvents },
  ) {
    const { req, res, debug, events } = exchange;
    this.#cache = cache;
    this.#clock = clock;
    this.#request = request;
    this.#events = events;
    this.#debug = debug;
    this.#relay = new CachedRelay(req, res, {
      onPaused: (paused) => events.onCachePaused(paused),
      onSent: () => events.onCacheSent(),
      onCutOff: (code, reason) => events.onCacheFailure(code, reason),
    });
  }

  /** Asks the cache. `forward`: the request goes to an origin as it is; `waiting`: one of the events follows. */
  start(): 'forward' | 'waiting' {
    const outcome = this.#cache.handle(this.#request, this);
    switch (outcome.kind) {
      case 'answer':
        this.onAnswer(outcome.answer);
        return 'waiting';
      case 'wait':
        this.#waiting = outcome.waiting;
        return 'waiting';
      case 'refused':
        this.#events.onCacheFailure(outcome.code, '');
        return 'waiting';
      default:
        this.status = outcome.status;
        return 'forward';
    }
  }

  /** Our fields of an answer that goes on from an origin. */
  get added(): readonly string[] {
    const fields = this.status === '' ? [] : ['Cache-Status', this.status];
    return this.#debug
      ? [...fields, debugField, this.#debugText === '' ? this.#ruled : `${this.#ruled}; ${this.#debugText}`]
      : fields;
  }

  get #ruled(): string {
    return `mode=${this.#request.rules.mode}`;
  }

  get bytesOut(): number {
    return this.#relay.bytesOut;
  }

  /** Tells the cache of an answer to a request that was forwarded as it is. */
  observe(status: number, raw: RawFields): void {
    this.#cache.observe(this.#request, status, raw);
  }

  onAnswer(answer: CachedAnswer): void {
    this.status = answer.raw[answer.raw.length - 1] ?? '';
    this.#events.onCacheAnswer();
    const shown = this.#debug
      ? { ...answer, raw: [...answer.raw, debugField, `${this.#ruled}; ${explainAnswer(answer, this.#clock())}`] }
      : answer;
    this.#relay.send(shown);
  }

  onMore(): void {
    this.#relay.more();
  }

  onTakeOver(_head: OriginHead, status: string, why: string): void {
    this.status = status;
    this.#debugText = why;
    const fetch = this.#request.lastFetch;
    if (fetch !== undefined) this.#events.onTakeOver(fetch);
  }

  onFailure(code: ErrorCode, reason: string): void {
    this.#events.onCacheFailure(code, reason);
  }

  onInformation(status: number, reason: string, raw: RawFields): void {
    this.#events.onInformation(status, reason, [...raw]);
  }

  /** The exchange is over. */
  close(): void {
    this.#relay.close();
    this.#waiting?.leave();
    this.#waiting = undefined;
  }
}
