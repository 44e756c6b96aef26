import type { Socket } from 'node:net';
import { type CachedAnswer, wireBodyBytes } from '../cache/index.ts';
import { logAccess } from './access-log.ts';
import { CachedRequest } from './cached-request.ts';
import type { ClientConnection } from './client-connection.ts';
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
  if (socket.writableLength > 0) waitForClient(context, client, socket, over);
  else {
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
  const inWire = body === undefined || body.length <= wireBodyBytes;
  let wire = head?.wire;
  if (wire === undefined) {
    wire = toWire(answer, context.limits.keepAliveTimeoutMs, inWire);
    if (head !== undefined) head.wire = wire;
  }
  if (inWire) socket.write(wire);
  else {
    socket.cork();
    socket.write(wire);
    socket.write(body);
    socket.uncork();
  }
}

/** The bytes of an answer on a connection that stays open: what Node would make of it. */
function toWire({ status, reason, raw, body }: CachedAnswer, keepAliveTimeoutMs: number, withBody: boolean): Buffer {
  let text = `HTTP/1.1 ${status} ${reason}\r\n`;
  for (let i = 0; i < raw.length; i += 2) text += `${raw[i]}: ${raw[i + 1]}\r\n`;
  text += `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(keepAliveTimeoutMs / 1_000)}\r\n\r\n`;
  const head = Buffer.from(text, 'latin1');
  return withBody && body !== undefined ? Buffer.concat([head, body]) : head;
}

/** What comes next waits until the client has taken this; one that takes nothing at all is cut. */
function waitForClient(
  context: ExchangeContext,
  client: ClientConnection,
  socket: Socket,
  over: (complete: boolean) => void,
): void {
  const { responseWriteTimeoutMs, keepAliveTimeoutMs } = context.limits;
  const onTimeout = (): void => cut(socket);
  // Before Node's own listener, which would end the connection in order.
  socket.prependListener('timeout', onTimeout);
  const watch = (): void => void socket.setTimeout(responseWriteTimeoutMs);
  // Node ends a connection's time-out with each request that comes.
  client.run({ start: watch, onQueued: watch });
  socket.write('', (error) => {
    socket.off('timeout', onTimeout);
    // Nothing that waits behind it may still be done for a client that is gone.
    if (error) client.abandon();
    else socket.setTimeout(keepAliveTimeoutMs);
    over(!error);
    client.done();
  });
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
