import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { isIP } from 'node:net';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import type { ApnsAnswer } from './answers.ts';
import { type Attempt, Exchange } from './exchange.ts';
import { Pulse } from './pulse.ts';
import type { ApnsTiming } from './timing.ts';

export interface ConnectionOptionsOf {
  /** `https://host:port` */
  readonly origin: string;
  readonly tls: ConnectionOptions;
  readonly timing: ApnsTiming;
  /** Streams to begin with, until there have been good answers. */
  readonly firstStreams: number;
  /** After so many requests it makes room for another connection: stream ids end at 2³¹. */
  readonly maxRequests: number;
}

export interface ConnectionEvents {
  /** Its SETTINGS have come, or room has come about. */
  onRoom(): void;
  onAnswer(attempt: Attempt, answer: ApnsAnswer): void;
  /** APNs has not looked at it, for certain. */
  onUnseen(attempt: Attempt, reason: 'goaway' | 'refused'): void;
  /** Whether APNs has looked at it is not known. */
  onLost(attempt: Attempt, reason: 'timeout' | 'lost' | 'goaway'): void;
  /** APNs wants no more over it. `reason`: APNs' own word. */
  onGoaway(reason: string | undefined): void;
  /** It is over. `wasGood`: there was a good answer, or nothing was asked. `detail` in a word why, for operators. */
  onEnd(end: { readonly reason: EndReason; readonly detail: string; readonly wasGood: boolean }): void;
}

/** `connect`: it never was. `dead`: no answer to a ping. `goaway`: by the service. `retired`: by us. `lost`: anything else. */
export type EndReason = 'connect' | 'dead' | 'goaway' | 'retired' | 'lost';

/** What a request cannot be sent for: the connection is of no use any more, or no connection would take it. */
export type Unsent = 'connection' | 'malformed';

/** Requests of a connection at once, whatever the other side allows: Node's memory for a session does not bear many more (PUSH §1.4). */
const maxStreams = 500;
const sessionMegabytes = 64;
/** What `request` throws of a session on which nothing more can be asked; anything else it throws is the request's. */
const sessionErrors = ['ERR_HTTP2_INVALID_SESSION', 'ERR_HTTP2_GOAWAY_SESSION', 'ERR_HTTP2_OUT_OF_STREAMS'];

/** One connection to APNs: lets no more through than the other side takes, and finds out when it is dead. */
export class ApnsConnection {
  readonly #session: ClientHttp2Session;
  readonly #socket: TLSSocket;
  readonly #options: ConnectionOptionsOf;
  readonly #events: ConnectionEvents;
  readonly #open = new Set<Exchange>();
  readonly #pulse: Pulse;
  readonly #openedMs = performance.now();
  #state: 'connecting' | 'open' | 'leaving' | 'ended' = 'connecting';
  #isConnected = false;
  /** Of the last SETTINGS; undefined: none have come. */
  #peerLimit: number | undefined;
  /** Grows by one with each answer after the first good one, so that a new connection is not overrun; {@link maxStreams} at most. */
  #window: number;
  #wasGood = false;
  #requests = 0;
  /** Above it the other side has looked at nothing. */
  #lastSeenId = Number.POSITIVE_INFINITY;
  #end: { reason: EndReason; detail: string } | undefined;

  constructor(options: ConnectionOptionsOf, events: ConnectionEvents) {
    this.#options = options;
    this.#events = events;
    this.#window = options.firstStreams;
    this.#pulse = new Pulse(options.timing, (onAnswer) => this.#ping(onAnswer));
    const socket = openSocket(options.origin, options.tls);
    const session = connect(options.origin, {
      createConnection: () => socket,
      maxSessionMemory: sessionMegabytes,
      settings: { enablePush: false },
    });
    this.#socket = socket;
    this.#session = session;
    session.on('connect', () => {
      this.#isConnected = true;
      this.#begin();
    });
    session.on('remoteSettings', ({ maxConcurrentStreams }) => {
      this.#peerLimit = maxConcurrentStreams ?? maxStreams;
      this.#pulse.heard();
      this.#begin();
      this.#events.onRoom();
    });
    session.on('goaway', (code, lastStreamId, data) => this.#goaway(code, lastStreamId, data));
    session.on('error', (error: NodeJS.ErrnoException) => {
      this.#end ??= { reason: this.#isConnected ? 'lost' : 'connect', detail: error.code ?? error.name };
    });
    session.on('close', () => this.#closed());
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  get isConnecting(): boolean {
    return this.#state === 'connecting';
  }

  get inFlight(): number {
    return this.#open.size;
  }

  /** Streams that it may have at once. */
  get limit(): number {
    return this.#state === 'open' ? Math.min(this.#window, this.#peerLimit ?? 0) : 0;
  }

  /** Streams that may be opened now. */
  get free(): number {
    return Math.max(this.limit - this.#open.size, 0);
  }

  /** Undefined: it is on its way. Only where there is something {@link free}. */
  send(attempt: Attempt, headers: OutgoingHttpHeaders): Unsent | undefined {
    let stream: ClientHttp2Stream;
    try {
      stream = this.#session.request(headers);
    } catch (error) {
      const isSessions = sessionErrors.includes((error as NodeJS.ErrnoException).code ?? '');
      if (isSessions) this.retire('session');
      return isSessions ? 'connection' : 'malformed';
    }
    const exchange = new Exchange(attempt, stream);
    this.#open.add(exchange);
    stream.on('response', (head) => {
      this.#pulse.heard();
      if (exchange.begin(head)) this.#answered(exchange);
    });
    stream.on('end', () => {
      if (!exchange.isSettled) this.#answered(exchange);
    });
    stream.on('error', () => {});
    stream.on('close', () => this.#over(exchange));
    stream.end(attempt.push.body);
    this.#requests += 1;
    if (this.#requests >= this.#options.maxRequests) this.retire('requests');
    return undefined;
  }

  /** Nothing new goes over it; it ends when what is in flight is answered. */
  retire(detail: string): void {
    if (this.#state === 'leaving' || this.#state === 'ended') return;
    this.#end ??= { reason: 'retired', detail };
    if (this.#state === 'connecting') {
      this.#session.destroy();
      return;
    }
    this.#state = 'leaving';
    this.#closeIfDone();
  }

  destroy(reason: EndReason, detail: string): void {
    if (this.#state === 'ended') return;
    this.#end = { reason, detail };
    this.#session.destroy();
    this.#socket.destroy();
  }

  /** To be called every {@link ApnsTiming.tickMs}: deadlines, and whether it is alive. */
  tick(nowMs: number): void {
    const { timing } = this.#options;
    if (this.#state === 'ended') return;
    if (this.#state === 'connecting') {
      if (nowMs - this.#openedMs >= timing.connectMs) this.destroy('connect', 'timeout');
      return;
    }
    if (this.#state === 'leaving' && this.#open.size === 0) {
      // Node would wait until the other side closes it, too.
      this.#socket.destroy();
      return;
    }
    for (const exchange of this.#open) {
      if (nowMs < exchange.attempt.deadlineMs - timing.tickMs) continue;
      const { answer } = exchange;
      if (answer !== undefined) this.#settle(exchange, (attempt) => this.#events.onAnswer(attempt, answer));
      else this.#settle(exchange, (attempt) => this.#events.onLost(attempt, 'timeout'));
      // Of one that has its answer, too: where the other side does not end it, it would hold its place for ever.
      if (!exchange.stream.closed) exchange.stream.close(constants.NGHTTP2_CANCEL);
    }
    if (!this.#pulse.look(nowMs, this.#open.size > 0)) this.destroy('dead', 'ping');
  }

  #begin(): void {
    if (this.#state !== 'connecting' || !this.#isConnected || this.#peerLimit === undefined) return;
    this.#state = 'open';
  }

  #ping(onAnswer: () => void): void {
    try {
      this.#session.ping((error) => {
        if (error === null) onAnswer();
      });
    } catch {
      // It has ended just now: its streams say so themselves.
    }
  }

  #goaway(code: number, lastStreamId: number, data: Readonly<NodeJS.ArrayBufferView> | undefined): void {
    this.#lastSeenId = Math.min(this.#lastSeenId, lastStreamId);
    if (this.#end === undefined) {
      const reason = readReason(data);
      this.#end = { reason: 'goaway', detail: reason ?? `code-${code}` };
      this.#events.onGoaway(reason);
    }
    // Node itself takes care that those below the last id are answered, as long as the code is that of a friendly end.
    if (this.#state === 'open') this.#state = 'leaving';
  }

  #answered(exchange: Exchange): void {
    const { answer } = exchange;
    // The stream ended without an answer: `close` says why.
    if (answer === undefined) return;
    if (answer.status === 200) this.#wasGood = true;
    if (this.#wasGood && answer.status < 500) this.#window = Math.min(this.#window + 1, maxStreams);
    this.#settle(exchange, (attempt) => this.#events.onAnswer(attempt, answer));
  }

  /** The stream is closed, its place free. */
  #over(exchange: Exchange): void {
    if (!this.#open.delete(exchange)) return;
    if (!exchange.isSettled) this.#missed(exchange);
    this.#closeIfDone();
    this.#events.onRoom();
  }

  /** Not sooner: Node would drop what it was given just now. */
  #closeIfDone(): void {
    if (this.#state === 'leaving' && this.#open.size === 0) this.#session.close();
  }

  #missed(exchange: Exchange): void {
    const { stream, answer } = exchange;
    const { id, rstCode } = stream;
    const isRefused = rstCode === constants.NGHTTP2_REFUSED_STREAM;
    this.#settle(exchange, (attempt) => {
      if (answer !== undefined) this.#events.onAnswer(attempt, answer);
      else if (id === undefined || id > this.#lastSeenId) this.#events.onUnseen(attempt, 'goaway');
      else if (isRefused) {
        // It had more than it wants, whatever it said.
        this.#window = Math.max(1, Math.min(this.#window, this.#open.size));
        this.#events.onUnseen(attempt, 'refused');
      } else this.#events.onLost(attempt, this.#end?.reason === 'goaway' ? 'goaway' : 'lost');
    });
  }

  /** Once each. */
  #settle(exchange: Exchange, tell: (attempt: Attempt) => void): void {
    if (exchange.isSettled) return;
    exchange.isSettled = true;
    tell(exchange.attempt);
  }

  #closed(): void {
    const wasConnecting = this.#state === 'connecting';
    this.#state = 'ended';
    const { reason, detail } = this.#end ?? { reason: wasConnecting ? 'connect' : 'lost', detail: 'closed' };
    for (const exchange of this.#open) this.#over(exchange);
    const wasIdle = this.#requests === 0 && !wasConnecting;
    this.#events.onEnd({ reason, detail, wasGood: this.#wasGood || wasIdle });
  }
}

function openSocket(origin: string, tls: ConnectionOptions): TLSSocket {
  const { hostname, port } = new URL(origin);
  const host = hostname.replace(/^\[|\]$/g, '');
  return connectTls({
    ...tls,
    host,
    port: port === '' ? 443 : Number(port),
    ALPNProtocols: ['h2'],
    minVersion: 'TLSv1.2',
    ...(isIP(host) === 0 ? { servername: host } : {}),
  });
}

/** The debug data of a GOAWAY may hold `{"reason":…}`. */
function readReason(data: Readonly<NodeJS.ArrayBufferView> | undefined): string | undefined {
  if (data === undefined || data.byteLength > 1_024) return undefined;
  try {
    const text = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString();
    const { reason } = JSON.parse(text) as { reason?: unknown };
    return typeof reason === 'string' && /^[A-Za-z]{1,64}$/.test(reason) ? reason : undefined;
  } catch {
    return undefined;
  }
}
