import type { Socket } from 'node:net';
import { Client } from 'undici';
import type { CallbackTarget } from './callback-url.ts';
import type { ClientTls } from './client-tls.ts';
import { type ConnectDeps, type Connecting, connect } from './connect.ts';

/** Someone who wants a line. One of the calls comes, unless it cancels. */
export interface LineUser {
  onLine(line: Line): void;
  onNoLine(detail: string): void;
}

export interface EndpointPoolOptions {
  readonly target: CallbackTarget;
  readonly maxLines: number;
  readonly maxWaiting: number;
  readonly maxHeadBytes: number;
  /** How long a connection stays without use; less where the server says so. */
  readonly idleMs: number;
  /** How long a connection is used, so that changed addresses and certificates are noticed. */
  readonly maxAgeMs: number;
}

/** What all pools of a process count together. */
export interface LineCounters {
  opened: number;
  lines: number;
  waiting: number;
}

/** One connection at most, one exchange at a time. It connects when it is used, again where the server closed in between. */
export class Line {
  readonly client: Client;
  #deps: ConnectDeps;
  #target: CallbackTarget;
  #counters: LineCounters;
  #connecting: Connecting | undefined;
  /** When the connection was made, by `performance.now()`, and which files vouched for it. */
  #connectedAtMs = Number.POSITIVE_INFINITY;
  #tlsVersion = 0;

  constructor(
    deps: ConnectDeps,
    options: EndpointPoolOptions,
    counters: LineCounters,
    onDisconnect: (line: Line) => void,
  ) {
    const { target, maxHeadBytes, idleMs } = options;
    this.#deps = deps;
    this.#target = target;
    this.#counters = counters;
    this.client = new Client(target.origin, {
      connect: (_where, done) => this.#connect(done as (error: Error | null, socket: Socket | null) => void),
      allowH2: false,
      pipelining: 1,
      maxHeaderSize: maxHeadBytes,
      // Deadlines are the exchange's.
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: idleMs,
      keepAliveMaxTimeout: idleMs,
      keepAliveTimeoutThreshold: 500,
    });
    this.client.on('disconnect', () => onDisconnect(this));
  }

  /** Whether the connection is too old to be used again. */
  isStale(nowMs: number, maxAgeMs: number, tls: ClientTls): boolean {
    return nowMs - this.#connectedAtMs > maxAgeMs || (this.#target.isSecure && this.#tlsVersion !== tls.version);
  }

  /** What it waits for; undefined: it is connected. */
  get stage(): Connecting['stage'] | undefined {
    return this.#connecting?.stage;
  }

  /** Ends it, whatever it is doing. */
  destroy(): void {
    this.#connecting?.cancel();
    this.client.destroy(null, () => {});
  }

  #connect(done: (error: Error | null, socket: Socket | null) => void): void {
    this.#connecting = connect(this.#deps, this.#target, (error, socket, tlsVersion) => {
      this.#connecting = undefined;
      if (socket !== null) {
        this.#counters.opened += 1;
        this.#connectedAtMs = performance.now();
        this.#tlsVersion = tlsVersion;
      }
      done(error, socket);
    });
  }
}

/**
 * The connections to one endpoint. Not undici's own pool: there a request that waits, or a connection that is being made, cannot be
 * given up when its time is over.
 */
export class EndpointPool {
  readonly options: EndpointPoolOptions;
  readonly tls: ClientTls;
  #deps: ConnectDeps;
  #counters: LineCounters;
  /** The one that was used last is used next; the others run out. */
  #idle: Line[] = [];
  #busy = new Set<Line>();
  /** Their exchange is decided, the rest of an answer is still read; oldest first. */
  #lingering = new Map<Line, () => void>();
  #waiting = new Set<LineUser>();
  #retired = false;

  constructor(deps: ConnectDeps, options: EndpointPoolOptions, counters: LineCounters) {
    this.#deps = deps;
    this.options = options;
    this.tls = deps.tls;
    this.#counters = counters;
  }

  get isUnused(): boolean {
    return this.#idle.length === 0 && this.#busy.size === 0 && this.#waiting.size === 0;
  }

  acquire(user: LineUser): void {
    const line = this.#takeLine();
    if (line !== undefined) {
      user.onLine(line);
    } else if (this.#waiting.size < this.options.maxWaiting) {
      this.#waiting.add(user);
      this.#counters.waiting += 1;
    } else user.onNoLine(`${this.#waiting.size} wait for a connection already`);
  }

  /** The user wants no line any more. */
  cancel(user: LineUser): void {
    if (this.#waiting.delete(user)) this.#counters.waiting -= 1;
  }

  /** The exchange is over, and the connection can be used again. */
  release(line: Line): void {
    this.#lingering.delete(line);
    if (!this.#busy.delete(line)) return;
    if (this.#retired || this.#isStale(line)) this.#drop(line);
    else this.#idle.push(line);
    this.#serveNext();
  }

  /** The exchange is over, and so is the connection. */
  discard(line: Line): void {
    this.#lingering.delete(line);
    if (!this.#busy.delete(line)) return;
    this.#drop(line);
    this.#serveNext();
  }

  /** Nobody waits for what still comes on the line: when it is needed, `giveUp` is called, which discards it. */
  linger(line: Line, giveUp: () => void): void {
    this.#lingering.set(line, giveUp);
  }

  /** No further use after those that have begun; what is idle ends now. */
  retire(): void {
    this.#retired = true;
    for (const line of this.#idle.splice(0)) this.#drop(line);
  }

  /** Ends everything at once; what is under way is told by its line. */
  destroy(): void {
    this.retire();
    for (const user of [...this.#waiting]) {
      this.cancel(user);
      user.onNoLine('closing');
    }
    for (const line of [...this.#busy]) this.discard(line);
  }

  #takeLine(): Line | undefined {
    for (let line = this.#idle.pop(); line !== undefined; line = this.#idle.pop()) {
      if (!this.#isStale(line)) {
        this.#busy.add(line);
        return line;
      }
      this.#drop(line);
    }
    if (this.#busy.size >= this.options.maxLines) {
      const [giveUp] = this.#lingering.values();
      if (giveUp === undefined) return undefined;
      giveUp();
      if (this.#busy.size >= this.options.maxLines) return undefined;
    }
    const line = new Line(this.#deps, this.options, this.#counters, (one) => this.#onDisconnect(one));
    this.#counters.lines += 1;
    this.#busy.add(line);
    return line;
  }

  #serveNext(): void {
    const [user] = this.#waiting;
    if (user === undefined) return;
    const line = this.#takeLine();
    if (line === undefined) return;
    this.cancel(user);
    user.onLine(line);
  }

  #isStale(line: Line): boolean {
    return line.isStale(performance.now(), this.options.maxAgeMs, this.tls);
  }

  /** A line in use connects again by itself or hears of it; an idle one has nothing to wait for. */
  #onDisconnect(line: Line): void {
    const at = this.#idle.indexOf(line);
    if (at < 0) return;
    this.#idle.splice(at, 1);
    this.#drop(line);
  }

  #drop(line: Line): void {
    this.#counters.lines -= 1;
    line.destroy();
  }
}
