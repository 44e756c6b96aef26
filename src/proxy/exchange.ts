import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Timeouts } from '../store/index.ts';
import type { ErrorCode } from '../wire/index.ts';
import { logAccess } from './access-log.ts';
import type { Admitted } from './admission.ts';
import { CacheSide, type CacheSideEvents } from './cache-side.ts';
import { CachedRequest } from './cached-request.ts';
import type { ClientConnection, Job } from './client-connection.ts';
import type { Timed } from './deadlines.ts';
import type { Entry } from './entrance.ts';
import { cut, isUpstreamError, sendError } from './error-response.ts';
import type { ExchangeContext } from './exchange-context.ts';
import { OriginSearch, type SearchEvents } from './origin-search.ts';
import type { RequestHead } from './request-head.ts';
import { RequestRelay } from './request-relay.ts';
import { ResponseRelay } from './response-relay.ts';
import type { OwnFacts } from './session-endpoints.ts';
import type {
  BodyFraming,
  ExchangeEvents,
  ExchangeFailure,
  RouteUpstreams,
  UpstreamConnection,
} from './upstream/index.ts';
import type { UpstreamFetch } from './upstream-fetch.ts';
import { upstreamHead } from './upstream-head.ts';

/** Waits that have a deadline, by what is waited for. */
type Phase = 'own' | 'cache' | 'connect' | 'send' | 'head' | 'body' | 'flush' | 'linger' | 'done';

/** An upload that nobody reads any more is tolerated for this long after its answer, then cut. */
const lingerMs = 2_000;

/**
 * One request of a client and its answer: checks it, finds an upstream, forwards head and body both ways.
 *
 * Back-pressure: whichever side does not take bytes stops the other side's reading, so memory holds a few buffers an
 * exchange. A client that leaves ends the upstream exchange. Nothing is repeated upstream once a byte of the request
 * may have left; a failed connect goes on to the next origin of the route, under the same serial number (A4).
 */
export class Exchange implements Job, Timed, ExchangeEvents, SearchEvents, CacheSideEvents {
  #context: ExchangeContext;
  #client: ClientConnection;
  #req: IncomingMessage;
  #res: ServerResponse;
  #upload: RequestRelay;
  #download: ResponseRelay;
  #entry: Entry | undefined;
  #head: RequestHead | undefined;
  #requestId = '';
  #address = '';
  #admission: Admitted | undefined;
  readonly #noted: OwnFacts = {};
  #search: OriginSearch | undefined;
  #cache: CacheSide | undefined;
  #connection: UpstreamConnection | undefined;
  /** Where the cache found the connection that this exchange took over. */
  #takenFrom: OriginSearch | undefined;
  #phase: Phase = 'connect';
  #deadlineMs = Number.POSITIVE_INFINITY;
  #totalDeadlineMs = Number.POSITIVE_INFINITY;
  #startedMs = 0;
  #continued = false;
  #error: ErrorCode | undefined;
  #reason: string | undefined;

  /** @param entry what the way in has said already, if it has been asked */
  constructor(
    context: ExchangeContext,
    client: ClientConnection,
    req: IncomingMessage,
    res: ServerResponse,
    entry: Entry | undefined,
  ) {
    this.#entry = entry;
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

    const entry = this.#entry ?? context.entrance.enter(this.#client, this.#req);
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
        // A type without a body, which clients send with DELETE: its reader would wait for one.
        if (entry.head.body === 'none') delete this.#req.headers['content-type'];
        this.#wait('own', context.limits.bodyIdleTimeoutMs);
        if (entry.head.expectsContinue) res.writeContinue();
        context.serveOwn(this.#req, res, { address: entry.address, requestId: this.#requestId, noted: this.#noted });
        break;
      case 'admitted': {
        this.#admission = entry.admission;
        const { totalMs } = this.#timeouts;
        if (totalMs > 0) this.#totalDeadlineMs = context.deadlines.now() + totalMs;
        if (entry.admission.entry.caching.mode === 'off' || this.#askCache(entry.head, entry.admission) === 'forward') {
          this.#connect();
        }
      }
    }
  }

  // ——— upstream: finding a connection ———

  #connect(): void {
    this.#search = new OriginSearch(this.#upstreams, this, () => this.#wait('connect', this.#timeouts.connectMs));
    this.#search.start();
  }

  onExhausted(code: ErrorCode, reason: string | undefined): void {
    this.#fail(code, reason);
  }

  onConnection(connection: UpstreamConnection): void {
    const head = this.#head as RequestHead;
    this.#connection = connection;
    const hasBody = head.body !== 'none';
    const text = upstreamHead(head, this.#search?.pool?.authority ?? '', {
      versionMinor: this.#req.httpVersionMinor,
      qalLines: (this.#admission as Admitted).qalLines,
      address: this.#address,
      requestId: this.#requestId,
    });
    connection.begin(head.method, text, hasBody, this);
    if (hasBody) this.#sendBody(head);
    else this.#wait('head', this.#timeouts.headMs);
  }

  // ——— the cache ———

  #askCache(head: RequestHead, admission: Admitted): 'forward' | 'waiting' {
    const context = this.#context;
    const request = new CachedRequest(
      {
        head,
        admission,
        encrypted: 'encrypted' in this.#req.socket,
        versionMinor: this.#req.httpVersionMinor,
        address: this.#address,
        requestId: this.#requestId,
      },
      context,
      context.clock(),
    );
    // What it waits for has deadlines of its own.
    this.#wait('cache', Number.POSITIVE_INFINITY);
    const debug = head.asksCacheDebug && admission.entry.app.access.cacheDebug;
    this.#cache = new CacheSide(context, request, { req: this.#req, res: this.#res, debug, events: this });
    return this.#cache.start();
  }

  onTakeOver(fetch: UpstreamFetch): void {
    const taken = fetch.handOver(this);
    if (taken === undefined) {
      this.#fail('INTERNAL');
      return;
    }
    this.#takenFrom = fetch.search;
    this.#connection = taken.connection;
    const { status, reason, rawHeaders, framing } = taken.head;
    this.onHead(status, reason, rawHeaders, framing);
  }

  onCacheFailure(code: ErrorCode, reason: string): void {
    this.#fail(code, reason);
  }

  onCacheAnswer(): void {
    this.#wait('cache', Number.POSITIVE_INFINITY);
  }

  onCachePaused(paused: boolean): void {
    if (paused) this.#wait('flush', this.#context.limits.responseWriteTimeoutMs);
    else {
      this.#res.setTimeout(0);
      this.#wait('cache', Number.POSITIVE_INFINITY);
    }
  }

  onCacheSent(): void {
    this.#wait('flush', this.#context.limits.responseWriteTimeoutMs);
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
    this.#search?.pool?.recordSuccess();
    if (this.#search !== undefined) this.#cache?.observe(status, rawHeaders);
    this.#download.head(status, reason, rawHeaders, framing, this.#cache?.added ?? none);
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
    if (!this.#res.headersSent) this.#search?.recordFailure(reason);
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
      case 'connect':
        this.#search?.onDeadline();
        break;
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
        this.#search?.recordFailure('no response head in time');
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
    const detail = { requestId: this.#requestId, ...(shown === undefined || shown === '' ? {} : { reason: shown }) };
    sendError(res, code, detail);
  }

  #releaseUpstream(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection !== undefined) connection.destroy();
    else this.#search?.cancel();
    this.#cache?.close();
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
      bytesOut: this.#download.bytesOut + (this.#cache?.bytesOut ?? 0),
      startedMs: this.#startedMs,
      upstream: (this.#search ?? this.#takenFrom)?.pool?.options.origin,
      cache: this.#cache?.status,
      error: this.#error,
      reason: this.#reason,
      ...this.#noted,
    });
  }
}

const none: readonly string[] = [];
const ignore = (): void => {};
