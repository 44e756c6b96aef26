import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { createProxyServer } from 'http-proxy';
import { createHeldCounter, networkOf, type SessionClaims } from '../auth/index.ts';
import type { ErrorCode } from '../wire/index.ts';
import { logAccess } from './access-log.ts';
import type { Admitted } from './admission.ts';
import { closeLater, cut, sendRawError } from './error-response.ts';
import type { ExchangeContext } from './exchange-context.ts';
import type { RequestHead } from './request-head.ts';
import { filterResponseHead, responseHasBody } from './response-head.ts';
import type { RefuseSocket } from './socket-refusal.ts';
import type { OriginPool } from './upstream/index.ts';
import { injectedLines } from './upstream-head.ts';

/** How often open connections are held against the sessions that opened them. */
const sessionCheckMs = 2_000;

/** One upgraded (or upgrading) connection. */
interface Upgrade {
  head: RequestHead;
  admission: Admitted;
  pool: OriginPool;
  requestId: string;
  address: string;
  startedMs: number;
  client: Socket;
  request?: ClientRequest;
  headTimer?: NodeJS.Timeout;
  /** The upstream has upgraded. */
  open: boolean;
  /** The upstream has answered something else. */
  relaying: boolean;
  error?: ErrorCode;
}

export interface Upgrades {
  /** Forwards an upgrade that was parsed and admitted; answers the rest of the protocol by itself. */
  forward(
    req: IncomingMessage,
    socket: Socket,
    early: Buffer,
    facts: Pick<Upgrade, 'head' | 'admission' | 'requestId' | 'address'>,
  ): void;
  readonly size: number;
  /** Ends all. */
  close(): void;
}

/** `Name: value` lines → their values in order, by name in lower case; `name` is spelled as it came first. */
function fieldsOf(lines: string): Map<string, { name: string; values: string[] }> {
  const fields = new Map<string, { name: string; values: string[] }>();
  for (const line of lines.split('\r\n')) {
    const colon = line.indexOf(': ');
    if (colon < 0) continue;
    const name = line.slice(0, colon);
    const field = fields.get(name.toLowerCase());
    if (field === undefined) fields.set(name.toLowerCase(), { name, values: [line.slice(colon + 2)] });
    else field.values.push(line.slice(colon + 2));
  }
  return fields;
}

/**
 * WebSocket connections through to the backend, by the http-proxy line. The request head is ours to the byte: the
 * library's own copy of the client's fields is replaced (A11). A connection ends with the session that opened it (A14).
 */
export function createUpgrades(
  context: ExchangeContext,
  deps: {
    refuse: RefuseSocket;
    sessionEnded(claims: SessionClaims): boolean;
  },
): Upgrades {
  const { limits, metrics, logger } = context;
  const held = createHeldCounter(limits.upgrades, limits.upgradesPerAddress);
  const upgrades = new Set<Upgrade>();
  const byRequest = new WeakMap<IncomingMessage, Upgrade>();
  const proxy = createProxyServer({});

  proxy.on('proxyReqWs', (proxyReq: ClientRequest, req: IncomingMessage) => {
    const upgrade = byRequest.get(req);
    if (upgrade !== undefined) prepare(proxyReq, upgrade);
  });
  // Errors come through the callback of each call; without a listener a stray one would end the process.
  proxy.on('error', (error) => logger.warn({ reason: error.message }, 'proxy.upgrade.error'));

  const checker = setInterval(() => {
    for (const upgrade of upgrades) {
      const { claims } = upgrade.admission;
      if (claims !== undefined && deps.sessionEnded(claims)) {
        upgrade.error = 'SESSION_REVOKED';
        upgrade.client.destroy();
      }
    }
  }, sessionCheckMs);
  checker.unref();

  function prepare(proxyReq: ClientRequest, upgrade: Upgrade): void {
    const { head, admission, pool, client } = upgrade;
    const { timeouts } = admission.entry.target;
    upgrade.request = proxyReq;
    for (const name of proxyReq.getHeaderNames()) proxyReq.removeHeader(name);
    proxyReq.path = head.target;
    proxyReq.setHeader('Host', head.host === '' ? pool.authority : head.host);
    const lines =
      head.lines +
      injectedLines({
        versionMinor: 1,
        qalLines: admission.qalLines,
        address: upgrade.address,
        requestId: upgrade.requestId,
      });
    for (const { name, values } of fieldsOf(lines).values()) proxyReq.setHeader(name, values);
    proxyReq.setHeader('Connection', 'Upgrade');
    proxyReq.setHeader('Upgrade', 'websocket');
    upgrade.headTimer = setTimeout(() => {
      upgrade.error = 'UPSTREAM_HEAD_TIMEOUT';
      proxyReq.destroy(new Error('no answer to the upgrade in time'));
    }, timeouts.connectMs + timeouts.headMs);
    client.once('close', () => proxyReq.destroy());
    proxyReq.once('upgrade', (_response, upstream: Socket) => {
      clearTimeout(upgrade.headTimer);
      pool.recordSuccess();
      upgrade.open = true;
      // The library writes the answer's head as text: its bytes, not their UTF-8.
      client.setDefaultEncoding('latin1');
      metrics.upgraded('open');
      for (const side of [client, upstream]) {
        side.setTimeout(timeouts.bodyIdleMs, () => {
          client.destroy();
          upstream.destroy();
        });
      }
      // Data of either side counts for both: writing resets the other side's timer.
      client.once('close', () => upstream.destroySoon());
    });
  }

  /** The upstream does not upgrade: its answer goes to the client, and then the connection ends. */
  function relay(answer: IncomingMessage, upgrade: Upgrade): void {
    const { client, pool } = upgrade;
    clearTimeout(upgrade.headTimer);
    upgrade.relaying = true;
    const { statusCode: status = 502, statusMessage = '' } = answer;
    if (status === 101) {
      // Without an Upgrade field it switches to nothing.
      upgrade.error = 'UPSTREAM_BAD_RESPONSE';
      upgrade.admission.entry.target.recordFailure(pool, '101 without an Upgrade field');
      metrics.error(upgrade.error);
      sendRawError(client, upgrade.error, { requestId: upgrade.requestId });
      return;
    }
    pool.recordSuccess();
    metrics.upgraded('refused');
    const chunked = responseHasBody('GET', status) && answer.headers['content-length'] === undefined;
    const raw = filterResponseHead(answer.rawHeaders, context.classes, chunked, status);
    let text = `HTTP/1.1 ${status} ${statusMessage}\r\n`;
    for (let i = 0; i < raw.length; i += 2) text += `${raw[i]}: ${raw[i + 1]}\r\n`;
    client.write(`${text}${chunked ? 'Transfer-Encoding: chunked\r\n' : ''}Connection: close\r\n\r\n`, 'latin1');
    client.resume();
    client.setTimeout(upgrade.admission.entry.target.timeouts.bodyIdleMs, () => cut(client));
    client.on('drain', () => answer.resume());
    answer.on('data', (chunk: Buffer) => {
      if (chunked) client.write(`${chunk.length.toString(16)}\r\n`, 'latin1');
      const more = client.write(chunk);
      if (chunked) client.write('\r\n', 'latin1');
      if (!more) answer.pause();
    });
    answer.on('end', () => {
      client.end(chunked ? '0\r\n\r\n' : '');
      closeLater(client);
    });
    answer.on('error', () => {});
    answer.on('close', () => {
      if (!answer.complete) cut(client);
    });
  }

  function report(upgrade: Upgrade): void {
    if (!context.accessLog) return;
    logAccess(logger, {
      requestId: upgrade.requestId,
      sdkAppId: upgrade.admission.entry.app.sdkAppId,
      address: upgrade.address,
      terminal: upgrade.admission.claims?.terminalId,
      account: upgrade.admission.claims?.account,
      method: 'GET',
      host: upgrade.head.host,
      target: upgrade.head.target,
      upgrade: upgrade.open,
      bytesIn: upgrade.client.bytesRead,
      bytesOut: upgrade.client.bytesWritten,
      startedMs: upgrade.startedMs,
      upstream: upgrade.pool.options.origin,
      error: upgrade.error,
    });
  }

  return {
    forward(req, socket, early, facts) {
      const { requestId, address, head, admission } = facts;
      const { app } = admission.entry;
      const known = { requestId, address, sdkAppId: app.sdkAppId, method: 'GET', host: head.host, target: head.target };
      const pool = admission.entry.target.pick(new Set());
      if (pool === undefined) {
        deps.refuse(socket, 'UPSTREAM_UNAVAILABLE', known);
        return;
      }
      const taken = held.take(networkOf(address));
      if (taken !== 'ok') {
        deps.refuse(socket, 'TOO_MANY_CONNECTIONS', known);
        return;
      }
      const upgrade: Upgrade = {
        ...facts,
        pool,
        client: socket,
        open: false,
        relaying: false,
        startedMs: performance.now(),
      };
      upgrades.add(upgrade);
      byRequest.set(req, upgrade);
      socket.once('close', () => {
        clearTimeout(upgrade.headTimer);
        held.give(networkOf(address));
        upgrades.delete(upgrade);
        if (upgrade.open) metrics.upgraded('closed');
        report(upgrade);
      });
      // The library reads only these; everything else is set in prepare().
      req.headers = { connection: 'Upgrade', upgrade: 'websocket' };
      req.url = '/';
      const { origin, ca } = pool.options;
      proxy.ws(
        req,
        socket,
        early,
        {
          target: new URL(origin),
          ssl: { servername: pool.serverName },
          ...(ca === undefined ? {} : { ca }),
          connectTimeout: admission.entry.target.timeouts.connectMs,
        },
        (error: Error) => {
          clearTimeout(upgrade.headTimer);
          if (upgrade.relaying) cut(socket);
          if (upgrade.open || socket.destroyed) return;
          const code = upgrade.error ?? failureOf(error);
          upgrade.error = code;
          admission.entry.target.recordFailure(pool, error.message);
          metrics.error(code);
          sendRawError(socket, code, { requestId });
        },
      );
      // The library's way with an answer that is no upgrade knows no back-pressure, and no answer that breaks off.
      upgrade.request?.removeAllListeners('response').once('response', (answer) => relay(answer, upgrade));
    },
    get size() {
      return upgrades.size;
    },
    close() {
      clearInterval(checker);
      for (const upgrade of upgrades) upgrade.client.destroy();
      proxy.close();
    },
  };
}

function failureOf(error: Error & { code?: string }): ErrorCode {
  if (error.code === 'ECONNECT_TIMEOUT') return 'UPSTREAM_CONNECT_TIMEOUT';
  if (error.code === 'ECONNRESET') return 'UPSTREAM_CLOSED';
  return error.code?.startsWith('HPE_') ? 'UPSTREAM_BAD_RESPONSE' : 'UPSTREAM_CONNECT_FAILED';
}

/** Is this an upgrade that is forwarded? Others are ordinary requests whose Upgrade field ends here (RFC 9110 §7.8). */
export function isWebSocketUpgrade(req: IncomingMessage): boolean {
  return req.method === 'GET' && req.httpVersionMinor >= 1 && /^websocket$/i.test(req.headers.upgrade ?? '');
}
