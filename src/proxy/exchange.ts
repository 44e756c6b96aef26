import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Timeouts } from '../store/index.ts';
import type { ErrorCode } from '../wire/index.ts';
import { logAccess } from './access-log.ts';
import type { Admitted } from './admission.ts';
import type { ClientConnection, Job } from './client-connection.ts';
import type { Timed } from './deadlines.ts';
import { cut, isUpstreamError, sendError } from './error-response.ts';
import type { ExchangeContext } from './exchange-context.ts';
import type { RequestHead } from './request-head.ts';
import { RequestRelay } from './request-relay.ts';
import { ResponseRelay } from './response-relay.ts';
import type { OwnFacts } from './session-endpoints.ts';
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
  #upload: RequestRelay;
  #download: ResponseRelay;
  #head: RequestHead | undefined;
  #requestId = '';
  #address = '';
  #admission: Admitted | undefined;
  readonly #noted: OwnFacts = {};
  #pool: OriginPool | undefined;
  #tried: Set<OriginPool> | undefined;
  #connection: UpstreamConnection | undefined;
  #phase: Phase = 'connect';
  #deadlineMs = Number.POSITIVE_INFINITY;
  #totalDeadlineMs = Number.POSITIVE_INFINITY;
  #startedMs = 0;
  #continued = false;
  #error: ErrorCode | undefined;
  #reason: string | undefined;

  constructor(context: ExchangeContext, client: ClientConnection, req: IncomingMessage, res: ServerResponse) {
    this.#context = context;
    this.#client = client;
    this.#req = req;
    this.#res = res;
    this.#upload = new RequestRelay(context.classes, req);
    this.#download = new ResponseRelay(context.classes, req, res, () => this.#onClientResumed());
  }

  /** Has the whole request arrived? Then malformed bytes that follow belong to the next one. */
  get requestComplete(): boolean {
    return this.#req.complete;
  }

  /** The client will send no more, and Node answers that by ending the connection: an answer under way is cut visibly. */
  onClientEnd(): void {
    if (this.#res.headersSent && !this.#res.writableEnded) cut(this.#req.socket);
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

    const entry = context.entrance.enter(this.#client, this.#req);
    this.#address = entry.address;
    this.#head = entry.head;
    // Node's parser stops behind a request to upgrade and drops what it has read of the next one.
    if (entry.head?.asksToUpgrade) this.#lastOfConnection();
    switch (entry.kind) {
      case 'refused':
        if (entry.head === undefined) this.#lastOfConnection();
        this.#fail(entry.code, entry.reason);
        break;
      case 'own':
        this.#req.url = entry.head.target;
        this.#wait('own', context.limits.bodyIdleTimeoutMs);
        if (entry.head.expectsContinue) res.writeContinue();
        context.serveOwn(this.#req, res, { address: entry.address, requestId: this.#requestId, noted: this.#noted });
        break;
      case 'admitted': {
        this.#admission = entry.admission;
        const { totalMs } = this.#timeouts;
        if (totalMs > 0) this.#totalDeadlineMs = context.deadlines.now() + totalMs;
        this.#connect();
      }
    }
  }

  // ——— upstream: finding a connection ———

  #connect(): void {
    const pool = this.#upstreams.pick(this.#tried ?? none);
    if (pool === undefined) {
      this.#fail(this.#error ?? 'UPSTREAM_UNAVAILABLE', this.#reason);
      return;
    }
    this.#pool = pool;
    this.#wait('connect', this.#timeouts.connectMs);
    pool.acquire(this);
  }

  onRefused(code: ErrorCode, reason: string): void {
    const pool = this.#pool as OriginPool;
    if (code !== 'UPSTREAM_BUSY' && code !== 'UPSTREAM_UNAVAILABLE') this.#upstreams.recordFailure(pool, reason);
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
      qalLines: (this.#admission as Admitted).qalLines,
      address: this.#address,
      requestId: this.#requestId,
    });
    connection.begin(head.method, text, hasBody, this);
    if (hasBody) this.#sendBody(head);
    else this.#wait('head', this.#timeouts.headMs);
  }

  /** The answer closes the connection, and nothing behind this request on it is looked at. */
  #lastOfConnection(): void {
    this.#client.abandon();
    this.#res.shouldKeepAlive = false;
  }

  get #upstreams(): RouteUpstreams {
    return (this.#admission as Admitted).entry.target;
  }

  get #timeouts(): Timeouts {
    return this.#upstreams.timeouts;
  }

  // ——— request body: client → upstream ———

  #sendBody(head: RequestHead): void {
    const { bodyBytes, bodyIdleTimeoutMs } = this.#context.limits;
    this.#wait('send', head.expectsContinue ? this.#timeouts.headMs : bodyIdleTimeoutMs);
    this.#upload.start(head, bodyBytes, () => this.#connection, {
      onPiece: (paused) => {
        if (this.#phase === 'send') this.#wait('send', paused ? this.#timeouts.headMs : bodyIdleTimeoutMs);
      },
      onTooLarge: () => this.#fail('BODY_TOO_LARGE', `over ${bodyBytes} bytes`),
      onEnd: () => {
        if (this.#phase === 'send') this.#wait('head', this.#timeouts.headMs);
      },
    });
  }

  onDrain(): void {
    if (!this.#upload.paused) return;
    if (this.#phase === 'send') this.#wait('send', this.#context.limits.bodyIdleTimeoutMs);
    this.#upload.resume();
  }

  // ——— response: upstream → client ———

  onInformation(status: number, reason: string, rawHeaders: string[]): void {
    if (status === 100) {
      if (this.#head?.expectsContinue && !this.#continued) {
        this.#continued = true;
        this.#res.writeContinue();
        // A body that did not wait for it may be complete: then the answer's time runs on.
        if (this.#phase === 'send') this.#wait('send', this.#context.limits.bodyIdleTimeoutMs);
      }
      return;
    }
    this.#download.information(status, reason, rawHeaders);
  }

  onHead(status: number, reason: string, rawHeaders: string[], framing: BodyFraming): void {
    this.#pool?.recordSuccess();
    this.#download.head(status, reason, rawHeaders, framing);
    if (framing !== 'none') this.#wait('body', this.#timeouts.bodyIdleMs);
  }

  onReadDone(): void {
    this.#download.flushHead();
  }

  onBody(view: Buffer): void {
    const wasPaused = this.#download.paused;
    this.#download.body(view, this.#connection);
    if (!this.#download.paused) this.#wait('body', this.#timeouts.bodyIdleMs);
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
    this.#download.end(rawTrailers);
  }

  onFailure(code: ExchangeFailure, reason: string): void {
    this.#connection = undefined;
    if (code === 'INTERNAL') {
      this.#context.logger.error({ reason, requestId: this.#requestId }, 'proxy.exchange.failed');
      this.#fail(code);
      return;
    }
    if (this.#pool !== undefined && !this.#res.headersSent) this.#upstreams.recordFailure(this.#pool, reason);
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
        // Its body is small: all of it must be here by now. What the answer waits for has deadlines of its own; once it
        // is made, its client has to take it.
        if (!this.#req.complete) this.#fail('REQUEST_TIMEOUT', 'the request body stopped');
        else if (this.#res.writableEnded) this.#watchClient();
        else this.#wait('own', this.#context.limits.bodyIdleTimeoutMs);
        break;
      case 'send':
        if (this.#upload.paused || (this.#head?.expectsContinue && !this.#continued && this.#upload.bytesIn === 0)) {
          this.#fail('UPSTREAM_HEAD_TIMEOUT', 'the upstream does not take the request');
        } else this.#fail('REQUEST_TIMEOUT', 'the request body stopped');
        break;
      case 'head':
        if (this.#pool !== undefined) this.#upstreams.recordFailure(this.#pool, 'no response head in time');
        this.#fail('UPSTREAM_HEAD_TIMEOUT');
        break;
      case 'body':
        if (this.#download.paused) this.#watchClient();
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
    if (this.#res.listenerCount('timeout') === 0) this.#res.on('timeout', () => cut(this.#req.socket));
    this.#res.setTimeout(this.#context.limits.responseWriteTimeoutMs);
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
    const claims = this.#admission?.claims;
    logAccess(logger, {
      requestId: this.#requestId,
      sdkAppId: this.#admission?.entry.app.sdkAppId,
      terminal: claims?.terminalId,
      account: claims?.account,
      address: this.#address,
      method: this.#req.method,
      host: this.#head?.host,
      target: this.#head?.target ?? this.#req.url,
      status,
      complete,
      bytesIn: this.#upload.bytesIn,
      bytesOut: this.#download.bytesOut,
      startedMs: this.#startedMs,
      upstream: this.#pool?.options.origin,
      error: this.#error,
      reason: this.#reason,
      ...this.#noted,
    });
  }
}

const none: ReadonlySet<OriginPool> = new Set();
const ignore = (): void => {};
