import type { FetchEvents, FetchHandle, RawFields } from '../cache/index.ts';
import type { ErrorCode } from '../wire/index.ts';
import type { Deadlines, Timed } from './deadlines.ts';
import { type FieldClasses, isEndToEnd } from './header-fields.ts';
import { OriginSearch, type SearchEvents } from './origin-search.ts';
import { filterResponseHead } from './response-head.ts';
import type {
  BodyFraming,
  ExchangeEvents,
  ExchangeFailure,
  RouteUpstreams,
  UpstreamConnection,
} from './upstream/index.ts';

/** The head of a response as its connection gave it. */
export interface RawHead {
  status: number;
  reason: string;
  rawHeaders: string[];
  framing: BodyFraming;
}

/**
 * One request without a body that the cache makes: from an origin of the route to the last byte of the answer, which
 * nobody's slowness holds up unless the cache says so. It may be handed over to an exchange once its head is there.
 */
export class UpstreamFetch implements FetchHandle, ExchangeEvents, SearchEvents, Timed {
  sent = false;
  readonly search: OriginSearch;
  #shared: { deadlines: Deadlines; classes: FieldClasses };
  #text: (authority: string) => string;
  #events: FetchEvents;
  #connection: UpstreamConnection | undefined;
  #head: RawHead | undefined;
  #phase: 'connect' | 'head' | 'body' | 'paused' | 'done' = 'connect';
  #deadlineMs = Number.POSITIVE_INFINITY;
  #totalDeadlineMs = Number.POSITIVE_INFINITY;
  /** What the cache allows it. */
  #limitMs = Number.POSITIVE_INFINITY;

  /** @param text makes the whole request head for an origin of that authority */
  constructor(
    shared: { deadlines: Deadlines; classes: FieldClasses },
    upstreams: RouteUpstreams,
    text: (authority: string) => string,
    events: FetchEvents,
  ) {
    this.#shared = shared;
    this.#text = text;
    this.#events = events;
    this.search = new OriginSearch(upstreams, this, () => this.#wait('connect', upstreams.timeouts.connectMs));
    const { totalMs } = upstreams.timeouts;
    if (totalMs > 0) this.#totalDeadlineMs = shared.deadlines.now() + totalMs;
    shared.deadlines.add(this);
  }

  start(): void {
    this.search.start();
  }

  onConnection(connection: UpstreamConnection): void {
    this.#connection = connection;
    this.sent = true;
    this.#wait('head', this.search.upstreams.timeouts.headMs);
    connection.begin('GET', this.#text(this.search.pool?.authority ?? ''), false, this);
  }

  onExhausted(code: ErrorCode, reason: string | undefined): void {
    this.#fail(code, reason ?? '');
  }

  onInformation(status: number, reason: string, rawHeaders: string[]): void {
    if (status !== 100) this.#events.onInformation(status, reason, rawHeaders);
  }

  onHead(status: number, reason: string, rawHeaders: string[], framing: BodyFraming): void {
    this.search.pool?.recordSuccess();
    this.#head = { status, reason, rawHeaders, framing };
    this.#wait('body', this.search.upstreams.timeouts.bodyIdleMs);
    const raw: RawFields = filterResponseHead(rawHeaders, this.#shared.classes, framing === 'chunked', status);
    this.#events.onHead({
      status,
      reason,
      raw,
      lengthBytes: framing === 'none' ? 0 : typeof framing === 'number' ? framing : undefined,
      endMarked: framing !== 'close',
    });
  }

  onBody(piece: Buffer): void {
    if (this.#phase === 'body') this.#wait('body', this.search.upstreams.timeouts.bodyIdleMs);
    this.#events.onBody(piece);
  }

  onReadDone(): void {
    this.#events.onReadDone();
  }

  onEnd(rawTrailers: string[]): void {
    this.#done();
    const trailers: string[] = [];
    for (let i = 0; i < rawTrailers.length; i += 2) {
      const name = rawTrailers[i] as string;
      if (isEndToEnd(this.#shared.classes.of(name))) trailers.push(name, rawTrailers[i + 1] as string);
    }
    this.#events.onEnd(trailers);
  }

  onFailure(code: ExchangeFailure, reason: string): void {
    this.#connection = undefined;
    if (code !== 'INTERNAL' && this.#head === undefined) this.search.recordFailure(reason);
    this.#fail(code, reason);
  }

  onDrain(): void {}

  pause(): void {
    this.#connection?.pause();
    this.#wait('paused', Number.POSITIVE_INFINITY);
  }

  resume(): void {
    this.#connection?.resume();
    if (this.#phase === 'paused') this.#wait('body', this.search.upstreams.timeouts.bodyIdleMs);
  }

  limit(ms: number | undefined): void {
    this.#limitMs = ms === undefined ? Number.POSITIVE_INFINITY : this.#shared.deadlines.now() + ms;
  }

  destroy(): void {
    if (this.#phase === 'done') return;
    const connection = this.#connection;
    this.#done();
    if (connection === undefined) this.search.cancel();
    else connection.destroy();
  }

  /** Lets `exchange` have the rest of the response. Gives back the head, and the connection, which is now its own. */
  handOver(exchange: ExchangeEvents): { head: RawHead; connection: UpstreamConnection } | undefined {
    const connection = this.#connection;
    const head = this.#head;
    if (connection === undefined || head === undefined) return undefined;
    this.#done();
    connection.handOver(exchange);
    return { head, connection };
  }

  onSweep(nowMs: number): void {
    if (nowMs >= Math.min(this.#totalDeadlineMs, this.#limitMs))
      this.#expire('UPSTREAM_TOTAL_TIMEOUT', 'it took too long in all');
    else if (nowMs >= this.#deadlineMs) this.#onDeadline();
  }

  #onDeadline(): void {
    switch (this.#phase) {
      case 'connect':
        this.search.onDeadline();
        break;
      case 'head':
        this.search.recordFailure('no response head in time');
        this.#expire('UPSTREAM_HEAD_TIMEOUT', 'no response head in time');
        break;
      case 'body':
        this.#expire('UPSTREAM_BODY_TIMEOUT', 'the response stopped');
        break;
      default:
    }
  }

  #expire(code: ErrorCode, reason: string): void {
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection === undefined) this.search.cancel();
    else connection.destroy();
    this.#fail(code, reason);
  }

  #fail(code: ErrorCode, reason: string): void {
    if (this.#phase === 'done') return;
    this.#done();
    this.#events.onFailure(code, reason);
  }

  #wait(phase: 'connect' | 'head' | 'body' | 'paused', ms: number): void {
    if (this.#phase === 'done') return;
    this.#phase = phase;
    this.#deadlineMs = this.#shared.deadlines.now() + ms;
  }

  #done(): void {
    this.#phase = 'done';
    this.#connection = undefined;
    this.#shared.deadlines.remove(this);
  }
}
