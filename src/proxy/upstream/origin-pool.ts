import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { ErrorCode } from '../../wire/index.ts';
import { UpstreamConnection } from './connection.ts';
import { ConnectionReads, type ReadBuffers } from './read-buffers.ts';

/** Someone who wants a connection. Exactly one of the two calls comes, unless it cancels. */
export interface Waiter {
  onConnection(connection: UpstreamConnection): void;
  onRefused(code: ErrorCode, reason: string): void;
}

export interface OriginOptions {
  /** `http://host:port` or `https://host:port`. */
  origin: string;
  maxConnections: number;
  maxQueued: number;
  connectMs: number;
  /** PEM authorities that vouch for an https origin, instead of the built-in ones. */
  ca?: string;
}

export interface OriginCounters {
  connectionsOpened: number;
  connectionsUnasked: number;
  ejections: number;
}

/** Upstreams close idle connections after five seconds and more; we let go before the usual shortest. */
const idleMs = 4_000;
const idleMarginMs = 1_000;
const maxIdleMs = 60_000;

/** Failures in a row after which an origin is left alone, and for how long (doubling). */
const failuresToEject = 3;
const firstEjectionMs = 1_000;
const longestEjectionMs = 30_000;

/**
 * The connections to one origin: at most `maxConnections`, then a queue of at most `maxQueued`; health by outcome.
 * `now` is a clock in milliseconds that never goes back.
 */
export class OriginPool {
  readonly options: OriginOptions;
  #now: () => number;
  #counters: OriginCounters;
  #idle: UpstreamConnection[] = [];
  #busy = new Set<UpstreamConnection>();
  #connecting = new Set<Socket>();
  #waiting: Waiter[] = [];
  #retired = false;
  #destroyed = false;
  #failures = 0;
  #ejections = 0;
  #ejectedUntilMs = 0;
  #readBuffers: ReadBuffers;
  #host: string;
  #port: number;
  #tls: boolean;

  constructor(
    options: OriginOptions,
    shared: { now: () => number; counters: OriginCounters; readBuffers: ReadBuffers },
  ) {
    this.options = options;
    this.#now = shared.now;
    this.#counters = shared.counters;
    this.#readBuffers = shared.readBuffers;
    const url = new URL(options.origin);
    this.#tls = url.protocol === 'https:';
    this.#host = url.hostname.startsWith('[') ? url.hostname.slice(1, -1) : url.hostname;
    this.#port = url.port === '' ? (this.#tls ? 443 : 80) : Number(url.port);
  }

  /** Host and port as they stand in a Host field. */
  get authority(): string {
    return new URL(this.options.origin).host;
  }

  /** What TLS is told: a name, never an address (RFC 6066 §3). */
  get serverName(): string {
    return isIP(this.#host) === 0 ? this.#host : '';
  }

  /** Exchanges under way and waiting. */
  get outstanding(): number {
    return this.#busy.size + this.#waiting.length;
  }

  get connections(): { idle: number; busy: number; connecting: number; waiting: number } {
    return {
      idle: this.#idle.length,
      busy: this.#busy.size,
      connecting: this.#connecting.size,
      waiting: this.#waiting.length,
    };
  }

  /** Ejected and not yet due for a trial. */
  get unavailable(): boolean {
    return this.#now() < this.#ejectedUntilMs;
  }

  get saturated(): boolean {
    return this.#busy.size + this.#connecting.size >= this.options.maxConnections;
  }

  /** Gives the waiter a connection, at once where one is idle. */
  acquire(waiter: Waiter): void {
    if (this.#destroyed) {
      waiter.onRefused('UPSTREAM_UNAVAILABLE', 'the service is stopping');
      return;
    }
    // One trial at a time; its outcome decides. Where it has none (its client left), the next one may come soon.
    if (this.#ejectedUntilMs !== 0)
      this.#ejectedUntilMs = Math.max(this.#ejectedUntilMs, this.#now() + firstEjectionMs);
    const idle = this.#takeIdle();
    if (idle !== undefined) {
      waiter.onConnection(idle);
      return;
    }
    if (this.saturated && this.#waiting.length >= this.options.maxQueued) {
      waiter.onRefused(
        'UPSTREAM_BUSY',
        `${this.options.maxConnections} connections busy, ${this.#waiting.length} wait`,
      );
      return;
    }
    this.#waiting.push(waiter);
    this.#openWanted();
  }

  /** The waiter no longer wants a connection. */
  cancel(waiter: Waiter): void {
    const at = this.#waiting.indexOf(waiter);
    if (at >= 0) this.#waiting.splice(at, 1);
  }

  /** An exchange got a response head from this origin: it is well. */
  recordSuccess(): void {
    this.#failures = 0;
    this.#ejections = 0;
    this.#ejectedUntilMs = 0;
  }

  /** An exchange failed for this origin's fault. True when that ejected it. */
  recordFailure(): boolean {
    this.#failures += 1;
    const onTrial = this.#ejectedUntilMs !== 0;
    if (this.#failures < failuresToEject && !onTrial) return false;
    this.#ejectedUntilMs = this.#now() + Math.min(longestEjectionMs, firstEjectionMs * 2 ** this.#ejections);
    this.#ejections = Math.min(this.#ejections + 1, 16);
    this.#counters.ejections += 1;
    return true;
  }

  /** Lets go of connections that were idle for long. Call it every second or so. */
  sweep(): void {
    this.#idle = this.#idle.filter((connection) => {
      if (!this.#isStale(connection)) return true;
      connection.destroy();
      return false;
    });
  }

  /** Was it idle for so long that the upstream may be about to close it? */
  #isStale({ keepAliveHintMs: hint, idleSinceMs }: UpstreamConnection): boolean {
    const limit = hint === undefined ? idleMs : Math.min(maxIdleMs, hint - Math.min(idleMarginMs, hint / 2));
    return this.#now() - idleSinceMs >= limit;
  }

  /** Serves those who have or await a connection to their end, and keeps none beyond that. */
  retire(): void {
    this.#retired = true;
    for (const connection of this.#idle.splice(0)) connection.destroy();
  }

  /** Ends everything at once. */
  destroy(): void {
    this.#destroyed = true;
    this.retire();
    for (const waiter of this.#waiting.splice(0)) waiter.onRefused('UPSTREAM_UNAVAILABLE', 'the service is stopping');
    for (const socket of this.#connecting) socket.destroy();
    for (const connection of this.#busy) connection.destroy();
  }

  #takeIdle(): UpstreamConnection | undefined {
    for (;;) {
      const connection = this.#idle.pop();
      if (connection === undefined) return undefined;
      if (connection.socket.writable && !connection.socket.destroyed && !this.#isStale(connection)) {
        this.#busy.add(connection);
        return connection;
      }
      connection.destroy();
    }
  }

  #openWanted(): void {
    while (this.#connecting.size < this.#waiting.length && !this.saturated) this.#open();
  }

  #open(): void {
    let connection: UpstreamConnection | undefined;
    const reads = this.#tls ? undefined : new ConnectionReads(this.#readBuffers);
    const base = { host: this.#host, port: this.#port, noDelay: true, keepAlive: true };
    const socket: Socket = this.#tls
      ? connectTls({
          ...base,
          servername: this.serverName,
          ALPNProtocols: ['http/1.1'],
          ...(this.options.ca === undefined ? {} : { ca: this.options.ca }),
        })
      : connectTcp({
          ...base,
          onread: {
            buffer: () => (reads as ConnectionReads).next(),
            callback: (bytes, buffer) => {
              connection?.onRead((buffer as Buffer).subarray(0, bytes));
              return true;
            },
          },
        });
    this.#connecting.add(socket);
    this.#counters.connectionsOpened += 1;
    const timer = setTimeout(() => {
      socket.destroy(Object.assign(new Error('no connection in time'), { code: 'CONNECT_TIMEOUT' }));
    }, this.options.connectMs);
    let failure: NodeJS.ErrnoException | undefined;
    const onError = (error: Error): void => {
      failure = error;
    };
    const onClose = (): void => {
      clearTimeout(timer);
      reads?.close();
      this.#connecting.delete(socket);
      const waiter = this.#waiting.shift();
      const code = failure?.code === 'CONNECT_TIMEOUT' ? 'UPSTREAM_CONNECT_TIMEOUT' : 'UPSTREAM_CONNECT_FAILED';
      waiter?.onRefused(code, failure?.message ?? 'closed while connecting');
      this.#openWanted();
    };
    socket.on('error', onError);
    socket.on('close', onClose);
    socket.once(this.#tls ? 'secureConnect' : 'connect', () => {
      clearTimeout(timer);
      socket.off('error', onError);
      socket.off('close', onClose);
      this.#connecting.delete(socket);
      connection = new UpstreamConnection(socket, reads, {
        onIdle: (idle) => this.#onIdle(idle),
        onGone: (gone) => {
          this.#busy.delete(gone);
          const at = this.#idle.indexOf(gone);
          if (at >= 0) this.#idle.splice(at, 1);
          this.#openWanted();
        },
        onUnasked: () => {
          this.#counters.connectionsUnasked += 1;
        },
      });
      const ready = connection;
      if (this.#tls) socket.on('data', (data: Buffer) => ready.onRead(data));
      this.#busy.add(ready);
      this.#onIdle(ready);
    });
  }

  #onIdle(connection: UpstreamConnection): void {
    const waiter = this.#waiting.shift();
    if (waiter !== undefined) {
      waiter.onConnection(connection);
      return;
    }
    this.#busy.delete(connection);
    if (this.#retired) {
      connection.destroy();
      return;
    }
    connection.idleSinceMs = this.#now();
    this.#idle.push(connection);
  }
}
