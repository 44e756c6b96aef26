import type { Socket } from 'node:net';
import { type CachedAnswer, wireBodyBytes } from '../cache/index.ts';
import { logAccess } from './access-log.ts';
import { CachedRequest } from './cached-request.ts';
import type { ClientConnection, Job } from './client-connection.ts';
import type { Timed } from './deadlines.ts';
import type { Entry } from './entrance.ts';
import { cut } from './error-response.ts';
import type { ExchangeContext } from './exchange-context.ts';
import type { LaneRequest } from './lane.ts';

/** Larger bodies are handed on in pieces, by an exchange. */
const maxBodyBytes = 262_144;

type Admitted = Extract<Entry, { kind: 'admitted' }>;

/**
 * Answers a request from the cache at once, where that is all there is to do: a plain GET whose stored answer is fresh.
 * Most requests are such, so this is the short way: no exchange, no deadline, one write. What comes out, and what is
 * counted and logged, is what an exchange would have made of it.
 *
 * @returns `answered`; or what the way in said, for whoever goes on; or `passed`, and nothing was asked
 */
export function answerQuickly(
  context: ExchangeContext,
  client: ClientConnection,
  socket: Socket,
  request: LaneRequest,
): 'answered' | 'passed' | Entry {
  if (!client.free || socket.writableLength > 0 || isClosing(socket)) return 'passed';
  const { requestsPerConnection } = context.limits;
  if (requestsPerConnection > 0 && client.started + 1 >= requestsPerConnection) return 'passed';
  const startedMs = performance.now();
  const entry = context.entrance.enter(client, request);
  const answer = entry.kind === 'admitted' ? find(context, socket, request, entry) : undefined;
  if (answer === undefined || entry.kind !== 'admitted') return entry;

  const over = (complete: boolean): void => {
    if (!complete) context.metrics.clientClosed();
    context.metrics.request(answer.status, (performance.now() - startedMs) / 1_000);
    if (context.accessLog) log(context, entry, answer, { startedMs, complete });
  };
  write(context, socket, answer);
  client.bytesAnswered = socket.bytesRead;
  if (socket.writableLength > 0) {
    const { head } = answer;
    if (head !== undefined) head.sending += 1;
    const onWritten = (complete: boolean): void => {
      if (head !== undefined) head.sending -= 1;
      over(complete);
    };
    client.run(new PendingHit(context, client, socket, onWritten));
  } else {
    client.started += 1;
    over(true);
  }
  return 'answered';
}

/** The listener stops: answers from here on have to end their connections. */
function isClosing(socket: Socket & { server?: { listening?: boolean } }): boolean {
  return socket.server?.listening === false;
}

function find(
  context: ExchangeContext,
  socket: Socket,
  { httpVersionMinor: versionMinor }: LaneRequest,
  { head, admission, address }: Admitted,
): CachedAnswer | undefined {
  if (admission.entry.caching.mode === 'off' || head.body !== 'none' || versionMinor === 0) return undefined;
  if (head.asksCacheDebug || head.expectsContinue || head.asksToUpgrade) return undefined;
  // What goes to an origin is none of this request's: it has no number.
  const facts = { head, admission, encrypted: 'encrypted' in socket, versionMinor, address, requestId: '' };
  return context.cache.fresh(new CachedRequest(facts, context, context.clock()), maxBodyBytes);
}

function write(context: ExchangeContext, socket: Socket, answer: CachedAnswer): void {
  const { head, body } = answer;
  let wire = head?.wire;
  if (wire === undefined) {
    wire = toWire(answer, context.limits.keepAliveTimeoutMs);
    if (head !== undefined) head.wire = wire;
  }
  const isWhole = body === undefined || body.length <= wireBodyBytes || wire.buffer === head?.room?.buffer.buffer;
  if (isWhole) socket.write(wire);
  else {
    socket.cork();
    socket.write(wire);
    socket.write(body);
    socket.uncork();
  }
}

/**
 * The bytes of an answer on a connection that stays open: what Node would make of it. With the body where that is small or
 * has room in front of it that nobody is sending from; else the head alone.
 */
function toWire({ status, reason, raw, body, head }: CachedAnswer, keepAliveTimeoutMs: number): Buffer {
  let text = `HTTP/1.1 ${status} ${reason}\r\n`;
  for (let i = 0; i < raw.length; i += 2) text += `${raw[i]}: ${raw[i + 1]}\r\n`;
  text += `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(keepAliveTimeoutMs / 1_000)}\r\n\r\n`;
  const bytes = Buffer.from(text, 'latin1');
  if (body === undefined) return bytes;
  if (body.length <= wireBodyBytes) return Buffer.concat([bytes, body]);
  const room = head?.room;
  if (head === undefined || room === undefined || head.sending > 0 || bytes.length > room.bodyAt) return bytes;
  bytes.copy(room.buffer, room.bodyAt - bytes.length);
  return room.buffer.subarray(room.bodyAt - bytes.length);
}

/**
 * An answer that the system has not taken yet, as the job of its connection: what comes next waits. A client that takes
 * nothing at all for long is cut; a large answer is often on its way for a moment only, so the watch begins late.
 */
class PendingHit implements Job, Timed {
  #context: ExchangeContext;
  #client: ClientConnection;
  #socket: Socket;
  #over: (complete: boolean) => void;
  #watched = false;

  constructor(context: ExchangeContext, client: ClientConnection, socket: Socket, over: (complete: boolean) => void) {
    this.#context = context;
    this.#client = client;
    this.#socket = socket;
    this.#over = over;
  }

  start(): void {
    this.#context.deadlines.add(this);
    // Behind all of the answer.
    this.#socket.write('', (error) => this.#onWritten(error));
  }

  onQueued(): void {
    // Node ends a connection's time-out with each request that comes.
    if (this.#watched) this.#socket.setTimeout(this.#context.limits.responseWriteTimeoutMs);
  }

  onSweep(): void {
    if (this.#watched) return;
    this.#watched = true;
    // Before Node's own listener, which would end the connection in order. The socket can tell whether anything is taken.
    this.#socket.prependListener('timeout', this.#onTimeout);
    this.#socket.setTimeout(this.#context.limits.responseWriteTimeoutMs);
  }

  readonly #onTimeout = (): void => cut(this.#socket);

  #onWritten(error: Error | null | undefined): void {
    this.#context.deadlines.remove(this);
    if (this.#watched) {
      this.#socket.off('timeout', this.#onTimeout);
      if (!error) this.#socket.setTimeout(this.#context.limits.keepAliveTimeoutMs);
    }
    // Nothing that waits behind it may still be done for a client that is gone.
    if (error) this.#client.abandon();
    this.#over(!error);
    this.#client.done();
  }
}

function log(
  context: ExchangeContext,
  entry: Admitted,
  { status, raw, body }: CachedAnswer,
  { startedMs, complete }: { startedMs: number; complete: boolean },
): void {
  const { head, admission, address } = entry;
  logAccess(context.logger, {
    requestId: context.nextSerial(),
    sdkAppId: admission.entry.app.sdkAppId,
    terminal: admission.claims?.terminalId,
    account: admission.claims?.account,
    address,
    method: head.method,
    host: head.host,
    target: head.target,
    status,
    complete,
    bytesIn: 0,
    bytesOut: body?.length ?? 0,
    cache: raw.at(-1),
    startedMs,
  });
}
