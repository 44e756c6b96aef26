import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BlockList } from 'node:net';
import { networkOf } from '../auth/index.ts';
import type { Logger } from '../observe/index.ts';
import type { ErrorCode } from '../wire/index.ts';
import { logAccess } from './access-log.ts';
import type { Admissions } from './admission.ts';
import { clientAddress } from './client-address.ts';
import type { ClientConnection, Job } from './client-connection.ts';
import type { Deadlines, Timed } from './deadlines.ts';
import { cut, isUpstreamError, sendError } from './error-response.ts';
import type { FieldClasses } from './header-fields.ts';
import type { Limits, RateLimiter } from './limits.ts';
import type { ProxyMetrics } from './proxy-metrics.ts';
import { parseRequestHead, type RequestHead } from './request-head.ts';
import { filterTrailers } from './response-head.ts';
import { ResponseRelay } from './response-relay.ts';
import type { RouteEntry } from './router.ts';
import type {
  BodyFraming,
  ExchangeEvents,
  ExchangeFailure,
  OriginPool,
  RouteUpstreams,
  UpstreamConnection,
  Waiter,
} from './upstream/index.ts';
import { upstreamHead } from './upstream-head.ts';

/** What all exchanges share. */
export interface ExchangeContext {
  classes: FieldClasses;
  admissions: Admissions;
  deadlines: Deadlines;
  limits: Limits;
  requestRate: RateLimiter;
  /** Gives QAL-Req-Seq-No (A4). */
  nextSerial: () => string;
  trusted: BlockList;
  metrics: ProxyMetrics;
  logger: Logger;
  accessLog: boolean;
  /** Answers `/.qal/…`; the request's target is already in origin form. */
  serveOwn(req: IncomingMessage, res: ServerResponse, facts: { address: string; requestId: string }): void;
}

/** Waits that have a deadline, by what is waited for. */
type Phase = 'own' | 'connect' | 'send' | 'head' | 'body' | 'flush' | 'linger' | 'done';

/** An upload that nobody reads any more is tolerated for this long after its answer, then cut. */
const lingerMs = 2_000;

/**
 * One request of a client and its answer: checks it, finds an upstream, forwards head and body both ways.
 *
 * Back-pressure: whichever side does not take bytes stops the other side's reading, so memory holds a few buffers an
 * exchange. A client that leaves ends the upstream exchange. Nothing is repeated upstream once a byte of the request
 * may have left; a failed connect goes on to the next origin of the route, under the same serial number (A4).
 */
export class Exchange implements Job, Timed, ExchangeEvents, Waiter {
  #context: ExchangeContext;
  #client: ClientConnection;
  #req: IncomingMessage;
  #res: ServerResponse;
  #relay: ResponseRelay;
  #head: RequestHead | undefined;
  #requestId = '';
  #address = '';
  #account: string | undefined;
  #entry: RouteEntry<RouteUpstreams> | undefined;
  #qalLines = '';
  #pool: OriginPool | undefined;
  #tried: Set<OriginPool> | undefined;
  #connection: UpstreamConnection | undefined;
  #phase: Phase = 'connect';
  #deadlineMs = Number.POSITIVE_INFINITY;
  #totalDeadlineMs = Number.POSITIVE_INFINITY;
  #startedMs = 0;
  #bytesIn = 0;
  #continued = false;
  #uploadPaused = false;
  #error: ErrorCode | undefined;
  #reason: string | undefined;

  constructor(context: ExchangeContext, client: ClientConnection, req: IncomingMessage, res: ServerResponse) {
    this.#context = context;
    this.#client = client;
    this.#req = req;
    this.#res = res;
    this.#relay = new ResponseRelay(context.classes, req, res, () => this.#onClientResumed());
  }

  /** Has the whole request arrived? Then malformed bytes that follow belong to the next one. */
  get requestComplete(): boolean {
    return this.#req.complete;
  }

  start(): void {
    try {
      this.#start();
    } catch (error) {
      // A mistake of ours costs this request, not the process.
      this.#context.logger.error({ err: error, requestId: this.#requestId }, 'proxy.exchange.failed');
      this.#fail('INTERNAL');
    }
  }

  #start(): void {
    const context = this.#context;
    const res = this.#res;
    this.#startedMs = performance.now();
    this.#requestId = context.nextSerial();
    this.#address = this.#client.peer;
    res.on('close', () => this.#onClientDone());
    // A client that goes away while a piece is written is told by 'close'; nothing else can fail here.
    res.on('error', ignore);
    context.deadlines.add(this);
    const { requestsPerConnection } = context.limits;
    if (requestsPerConnection > 0 && this.#client.started >= requestsPerConnection) this.#lastOfConnection();

    const req = this.#req;
    const parsed = parseRequestHead(
      {
        method: req.method ?? '',
        url: req.url ?? '',
        httpVersionMajor: req.httpVersionMajor,
        httpVersionMinor: req.httpVersionMinor,
        rawHeaders: req.rawHeaders,
        peerTrusted: this.#client.peerTrusted,
        maxHeaders: context.limits.headerCount,
        maxUrlBytes: context.limits.urlBytes,
      },
      context.classes,
    );
    if (!parsed.ok) {
      // What two parsers could read differently ends the connection, so that nothing behind it counts as a request.
      this.#lastOfConnection();
      this.#fail(parsed.code, parsed.reason);
      return;
    }
    const { head } = parsed;
    this.#head = head;
    if (this.#client.peerTrusted) {
      this.#address = clientAddress(this.#client.peer, head.forwardedFor, context.trusted);
    }
    if (!context.requestRate.take(networkOf(this.#address))) {
      this.#fail('RATE_LIMITED');
      return;
    }
    if (head.target.startsWith('/.qal/')) {
      req.url = head.target;
      this.#wait('own', context.limits.bodyIdleTimeoutMs);
      if (head.expectsContinue) res.writeContinue();
      context.serveOwn(req, res, { address: this.#address, requestId: this.#requestId });
      return;
    }
    const admission = context.admissions.admit(head);
    if (!admission.ok) {
      this.#fail(admission.code);
      return;
    }
    const { bodyBytes } = context.limits;
    if (bodyBytes > 0 && head.contentLength > bodyBytes) {
      this.#fail('BODY_TOO_LARGE', `over ${bodyBytes} bytes`);
      return;
    }
    this.#entry = admission.entry;
    this.#account = admission.claims?.account;
    this.#qalLines = admission.qalLines;
    const { totalMs } = admission.entry.target.timeouts;
    if (totalMs > 0) this.#totalDeadlineMs = context.deadlines.now() + totalMs;
    this.#connect();
  }

  // ——— upstream: finding a connection ———

  #connect(): void {
    const upstreams = (this.#entry as RouteEntry<RouteUpstreams>).target;
    const pool = upstreams.pick(this.#tried ?? none);
    if (pool === undefined) {
      this.#fail(this.#error ?? 'UPSTREAM_UNAVAILABLE', this.#reason);
      return;
    }
    this.#pool = pool;
    this.#wait('connect', upstreams.timeouts.connectMs);
    pool.acquire(this);
  }

  onRefused(code: ErrorCode, reason: string): void {
    const pool = this.#pool as OriginPool;
    if (code !== 'UPSTREAM_BUSY' && code !== 'UPSTREAM_UNAVAILABLE') this.#entry?.target.recordFailure(pool, reason);
    // Nothing has been sent yet: another origin may serve it.
    this.#tried ??= new Set();
    this.#tried.add(pool);
    this.#error = code;
    this.#reason = reason;
    this.#connect();
  }

  onConnection(connection: UpstreamConnection): void {
    const head = this.#head as RequestHead;
    this.#error = undefined;
    this.#reason = undefined;
    this.#connection = connection;
    const hasBody = head.body !== 'none';
    const text = upstreamHead(head, (this.#pool as OriginPool).authority, {
      versionMinor: this.#req.httpVersionMinor,
      qalLines: this.#qalLines,
      address: this.#address,
      requestId: this.#requestId,
    });
    connection.begin(head.method, text, hasBody, this);
    if (hasBody) this.#pumpRequest();
    else this.#wait('head', this.#timeouts.headMs);
  }

  /** The answer closes the connection, and nothing behind this request on it is looked at. */
  #lastOfConnection(): void {
    this.#client.abandon();
    this.#res.shouldKeepAlive = false;
  }

  get #timeouts() {
    return (this.#entry as RouteEntry<RouteUpstreams>).target.timeouts;
  }

  // ——— request body: client → upstream ———

  #pumpRequest(): void {
    const req = this.#req;
    const chunked = (this.#head as RequestHead).body === 'chunked';
    const { bodyBytes, bodyIdleTimeoutMs } = this.#context.limits;
    this.#wait('send', this.#head?.expectsContinue ? this.#timeouts.headMs : bodyIdleTimeoutMs);
    req.on('data', (chunk: Buffer) => {
      this.#bytesIn += chunk.length;
      const connection = this.#connection;
      // The upstream exchange is over: the rest has no reader.
      if (connection === undefined) return;
      if (bodyBytes > 0 && this.#bytesIn > bodyBytes) {
        this.#fail('BODY_TOO_LARGE', `over ${bodyBytes} bytes`);
        return;
      }
      const more = chunked ? connection.writeChunk(chunk) : connection.write(chunk);
      if (!more) {
        this.#uploadPaused = true;
        req.pause();
      }
      if (this.#phase === 'send') this.#wait('send', more ? bodyIdleTimeoutMs : this.#timeouts.headMs);
    });
    req.on('end', () => {
      const connection = this.#connection;
      if (connection === undefined) return;
      if (this.#phase === 'send') this.#wait('head', this.#timeouts.headMs);
      connection.endRequest(chunked ? `0\r\n${filterTrailers(req.rawTrailers, this.#context.classes)}\r\n` : '');
    });
  }

  onDrain(): void {
    if (!this.#uploadPaused) return;
    this.#uploadPaused = false;
    if (this.#phase === 'send') this.#wait('send', this.#context.limits.bodyIdleTimeoutMs);
    this.#req.resume();
  }

  // ——— response: upstream → client ———

  onInformation(status: number, reason: string, rawHeaders: string[]): void {
    if (status === 100) {
      if (this.#head?.expectsContinue && !this.#continued) {
        this.#continued = true;
        this.#res.writeContinue();
        this.#wait('send', this.#context.limits.bodyIdleTimeoutMs);
      }
      return;
    }
    this.#relay.information(status, reason, rawHeaders);
  }

  onHead(status: number, reason: string, rawHeaders: string[], framing: BodyFraming): void {
    this.#pool?.recordSuccess();
    this.#relay.head(status, reason, rawHeaders, framing);
    if (framing !== 'none') this.#wait('body', this.#timeouts.bodyIdleMs);
  }

  onReadDone(): void {
    this.#relay.flushHead();
  }

  onBody(view: Buffer): void {
    const wasPaused = this.#relay.paused;
    this.#relay.body(view, this.#connection);
    if (!this.#relay.paused) this.#wait('body', this.#timeouts.bodyIdleMs);
    else if (!wasPaused) {
      this.#connection?.pause();
      this.#wait('body', this.#context.limits.responseWriteTimeoutMs);
    }
  }

  #onClientResumed(): void {
    this.#res.setTimeout(0);
    this.#connection?.resume();
    if (this.#phase === 'body') this.#wait('body', this.#timeouts.bodyIdleMs);
  }

  onEnd(rawTrailers: string[]): void {
    this.#connection = undefined;
    this.#wait('flush', this.#context.limits.responseWriteTimeoutMs);
    this.#relay.end(rawTrailers);
  }

  onFailure(code: ExchangeFailure, reason: string): void {
    this.#connection = undefined;
    if (code === 'INTERNAL') {
      this.#context.logger.error({ reason, requestId: this.#requestId }, 'proxy.exchange.failed');
      this.#fail(code);
      return;
    }
    if (this.#pool !== undefined && !this.#res.headersSent) this.#entry?.target.recordFailure(this.#pool, reason);
    this.#fail(code, reason);
  }

  // ——— ends ———

  /** What follows the head is no body: its client and its upstream can no longer agree where the request ends. */
  refuseBody(code: ErrorCode): void {
    if (this.#phase === 'flush') return;
    this.#res.shouldKeepAlive = false;
    this.#fail(code, 'the request body is malformed');
  }

  onSweep(nowMs: number): void {
    if (this.#phase === 'linger' && (this.#req.complete || this.#req.socket.destroyed)) this.#over();
    else if (nowMs >= this.#totalDeadlineMs) this.#fail('UPSTREAM_TOTAL_TIMEOUT');
    else if (nowMs >= this.#deadlineMs) this.#onDeadline();
  }

  #onDeadline(): void {
    switch (this.#phase) {
      case 'connect': {
        const pool = this.#pool as OriginPool;
        pool.cancel(this);
        this.onRefused(pool.saturated ? 'UPSTREAM_BUSY' : 'UPSTREAM_CONNECT_TIMEOUT', 'no connection in time');
        break;
      }
      case 'own':
        // Its body is small: all of it must be here by now. What the answer waits for has deadlines of its own.
        if (this.#req.complete) this.#deadlineMs = Number.POSITIVE_INFINITY;
        else this.#fail('REQUEST_TIMEOUT', 'the request body stopped');
        break;
      case 'send':
        if (this.#uploadPaused || (this.#head?.expectsContinue && !this.#continued && this.#bytesIn === 0)) {
          this.#fail('UPSTREAM_HEAD_TIMEOUT', 'the upstream does not take the request');
        } else this.#fail('REQUEST_TIMEOUT', 'the request body stopped');
        break;
      case 'head':
        if (this.#pool !== undefined) this.#entry?.target.recordFailure(this.#pool, 'no response head in time');
        this.#fail('UPSTREAM_HEAD_TIMEOUT');
        break;
      case 'body':
        if (this.#relay.paused) this.#watchClient();
        else this.#fail('UPSTREAM_BODY_TIMEOUT');
        break;
      case 'linger':
        cut(this.#req.socket);
        this.#over();
        break;
      default:
        this.#watchClient();
    }
  }

  /** The client has not taken everything for a while. Only one that takes nothing at all is cut: the socket can tell. */
  #watchClient(): void {
    this.#deadlineMs = Number.POSITIVE_INFINITY;
    this.#res.setTimeout(this.#context.limits.responseWriteTimeoutMs, () => cut(this.#req.socket));
  }

  #wait(phase: Phase, ms: number): void {
    this.#phase = phase;
    this.#deadlineMs = this.#context.deadlines.now() + ms;
  }

  /** Ends the upstream side, then answers the error, or cuts the connection when the head has gone. */
  #fail(code: ErrorCode, reason?: string): void {
    if (this.#phase === 'done' || this.#phase === 'linger') return;
    this.#error = code;
    this.#reason = reason;
    this.#context.metrics.error(code);
    this.#releaseUpstream();
    this.#totalDeadlineMs = Number.POSITIVE_INFINITY;
    this.#wait('flush', this.#context.limits.responseWriteTimeoutMs);
    const res = this.#res;
    if (res.headersSent) {
      cut(this.#req.socket);
      return;
    }
    // What is wrong with an upstream may name internal addresses: that is for the log.
    const shown = isUpstreamError(code) ? undefined : reason;
    sendError(res, code, { requestId: this.#requestId, ...(shown === undefined ? {} : { reason: shown }) });
  }

  #releaseUpstream(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection !== undefined) connection.destroy();
    else this.#pool?.cancel(this);
  }

  /** The answer is out, or the client has gone. */
  #onClientDone(): void {
    const complete = this.#res.writableFinished;
    this.#releaseUpstream();
    if (!complete && this.#error === undefined) this.#context.metrics.clientClosed();
    this.#report(complete);
    this.#totalDeadlineMs = Number.POSITIVE_INFINITY;
    if (this.#req.complete || this.#req.socket.destroyed) {
      this.#over();
      return;
    }
    // The request still comes in. Give it a moment to end, so that its client reads the answer instead of a reset.
    this.#req.resume();
    this.#context.deadlines.add(this);
    this.#wait('linger', lingerMs);
  }

  #over(): void {
    this.#phase = 'done';
    this.#context.deadlines.remove(this);
    this.#client.done();
  }

  #report(complete: boolean): void {
    const { metrics, logger, accessLog } = this.#context;
    const durationMs = performance.now() - this.#startedMs;
    const status = complete || this.#res.headersSent ? this.#res.statusCode : 499;
    metrics.request(status, durationMs / 1_000);
    if (!accessLog) return;
    logAccess(logger, {
      requestId: this.#requestId,
      sdkAppId: this.#entry?.app.sdkAppId,
      address: this.#address,
      account: this.#account,
      method: this.#req.method,
      host: this.#head?.host,
      target: this.#head?.target,
      status,
      complete,
      bytesIn: this.#bytesIn,
      bytesOut: this.#relay.bytesOut,
      startedMs: this.#startedMs,
      upstream: this.#pool?.options.origin,
      error: this.#error,
      reason: this.#reason,
    });
  }
}

const none: ReadonlySet<OriginPool> = new Set();
const ignore = (): void => {};
