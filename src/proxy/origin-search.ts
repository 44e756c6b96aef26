import type { ErrorCode } from '../wire/index.ts';
import type { OriginPool, RouteUpstreams, UpstreamConnection, Waiter } from './upstream/index.ts';

export interface SearchEvents {
  onConnection(connection: UpstreamConnection): void;
  /** No origin of the route could be had; the error is that of the last one. */
  onExhausted(code: ErrorCode, reason: string | undefined): void;
}

/**
 * Finds a connection for one request over the origins of its route. A failed connect goes on to the next origin, as
 * nothing has been sent; what fails later is not the search's.
 */
export class OriginSearch implements Waiter {
  /** The origin being tried, or found. */
  pool: OriginPool | undefined;
  readonly upstreams: RouteUpstreams;
  #events: SearchEvents;
  #tried: Set<OriginPool> | undefined;
  #error: ErrorCode | undefined;
  #reason: string | undefined;
  #onTry: () => void;

  /** @param onTry called before each origin that is tried: its time begins */
  constructor(upstreams: RouteUpstreams, events: SearchEvents, onTry: () => void) {
    this.upstreams = upstreams;
    this.#events = events;
    this.#onTry = onTry;
  }

  start(): void {
    const pool = this.upstreams.pick(this.#tried ?? none);
    if (pool === undefined) {
      this.#events.onExhausted(this.#error ?? 'UPSTREAM_UNAVAILABLE', this.#reason);
      return;
    }
    this.pool = pool;
    this.#onTry();
    pool.acquire(this);
  }

  onRefused(code: ErrorCode, reason: string): void {
    const pool = this.pool as OriginPool;
    if (code !== 'UPSTREAM_BUSY' && code !== 'UPSTREAM_UNAVAILABLE') this.upstreams.recordFailure(pool, reason);
    this.#tried ??= new Set();
    this.#tried.add(pool);
    this.#error = code;
    this.#reason = reason;
    this.start();
  }

  onConnection(connection: UpstreamConnection): void {
    this.#events.onConnection(connection);
  }

  /** The origin being tried gave no connection in time. */
  onDeadline(): void {
    const pool = this.pool as OriginPool;
    pool.cancel(this);
    this.onRefused(pool.saturated ? 'UPSTREAM_BUSY' : 'UPSTREAM_CONNECT_TIMEOUT', 'no connection in time');
  }

  /** Stops waiting for a connection. */
  cancel(): void {
    this.pool?.cancel(this);
  }

  /** The origin that was found failed in what followed. */
  recordFailure(reason: string): void {
    if (this.pool !== undefined) this.upstreams.recordFailure(this.pool, reason);
  }
}

const none: ReadonlySet<OriginPool> = new Set();
