import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import type { AccountId, ErrorBody, ErrorCode, TerminalId } from '../../src/wire/index.ts';
import { testApp, testAppId } from '../support/access.ts';
import { createCertificate } from '../support/certificates.ts';
import { countBytes, floodBytes, kernelBytes, pour, standstill } from '../support/flood.ts';
import { freePort } from '../support/free-port.ts';
import { openProxied, originHead, type ProxiedOptions } from '../support/proxied.ts';
import {
  fieldOf,
  hasEnded,
  type Message,
  openOrigin,
  readMessage,
  readResponse,
  respond,
  sendAlone,
  splitMessages,
  statusOf,
  type Wire,
} from '../support/wire.ts';

/** A backend that speaks WebSocket and sends everything back; it answers other requests 200. */
async function openEcho(t: Test) {
  const server = createServer((_request, response) => response.end('plain'));
  const sockets = new WebSocketServer({
    server,
    handleProtocols: (offered) => [...offered][0] ?? false,
    perMessageDeflate: true,
    maxPayload: 16_000_000,
  });
  const requests: IncomingMessage[] = [];
  const open: WebSocket[] = [];
  sockets.on('connection', (socket, request) => {
    requests.push(request);
    open.push(socket);
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
    socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(async () => {
    for (const socket of open) socket.terminate();
    sockets.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { requests, open, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

async function openEchoed(t: Test, settings: ProxiedOptions = {}) {
  const echo = await openEcho(t);
  const proxied = await openProxied(t, {}, { ...settings, route: { upstream: [echo.url], ...settings.route } });
  const connect = async (
    target = '/',
    options: { headers?: Record<string, string> } = {},
    protocols: string[] = [],
  ) => {
    const socket = new WebSocket(`ws://127.0.0.1:${proxied.access.port}${target}`, protocols, options);
    await once(socket, 'open');
    return socket;
  };
  return { ...proxied, echo, connect };
}

async function exchange(socket: WebSocket, message: string | Buffer): Promise<Buffer> {
  const answer = once(socket, 'message');
  socket.send(message);
  const [data] = await answer;
  return data;
}

const upgrade = (fields = '', target = '/chat', extra = '') =>
  `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
  `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${fields}\r\n${extra}`;
const switching =
  'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-From: \xf6rigin\r\n\r\n';

function assertError(t: Test, received: string, status: number, code: ErrorCode): void {
  const answer = readMessage(received);
  t.equal(answer?.raw, received, 'one answer and nothing behind it');
  t.equal(statusOf(answer as Message), status);
  t.equal((JSON.parse(answer?.body ?? '{}') as ErrorBody).error.code, code);
}

t.test('[A1] WebSocket goes through both ways, with its protocol and extensions', async (t) => {
  const { connect, echo } = await openEchoed(t);
  const socket = await connect('/chat/a%2Fb//c;d?x=y&x=z', { headers: { 'X-Own': 'z' } }, ['chat.v2', 'chat.v1']);
  t.equal(socket.protocol, 'chat.v2');
  t.match(socket.extensions, /permessage-deflate/);
  t.equal(echo.requests[0]?.url, '/chat/a%2Fb//c;d?x=y&x=z');
  t.equal((await exchange(socket, 'grüß 你好')).toString(), 'grüß 你好');
  for (const bytes of [0, 1, 125, 126, 65_535, 65_536, 1_048_576]) {
    const message = Buffer.alloc(bytes, Buffer.from([0, 1, 2, 253, 254, 255, 7]));
    t.ok((await exchange(socket, message)).equals(message), `${bytes} bytes`);
  }
  // Many at once, in order.
  const seen: string[] = [];
  socket.on('message', (data) => seen.push(String(data)));
  const sent = Array.from({ length: 200 }, (_, i) => `${i}`.padEnd(1_000, '.'));
  const all = new Promise<void>((resolve) => socket.on('message', () => seen.length === sent.length && resolve()));
  for (const message of sent) socket.send(message);
  await all;
  t.strictSame(seen, sent);
  socket.close(4_001, 'done');
  const [code, reason] = await once(echo.open[0] as WebSocket, 'close');
  t.equal(code, 4_001);
  t.equal(String(reason), 'done');
});

t.test('[A11] [A4] an upgrade carries our fields exactly, and the client’s as they came', async (t) => {
  const { origin, access, client } = await openProxied(t, { onRequest: (wire) => wire.send(switching) });
  const session = access.session({ account: 'alice' as AccountId, network: { apn: 'wifi' } });
  const wire = await client();
  wire.send(
    upgrade(
      `QAL-Session: ${session}\r\nQAL-Identifier: forged\r\nqal_account: forged\r\nQAL.APN: forged\r\nX-Forwarded-For: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n` +
        'Connection: QAL-Identifier, X-Named\r\nX-Named: gone\r\nKeep-Alive: 5\r\nTE: trailers\r\nX-a: 1\r\nx-A: 2\r\nX-a: 3\r\nVia: 1.0 other\r\nCookie: a=b\r\nX-Latin: \xe4\xa0.\r\nX-Empty:\r\nOrigin: null\r\n',
      '/chat?x=%zz',
    ),
  );
  await wire.until('the switch', () => wire.received === switching.replace(/^(\S+): /gm, (line) => line.toLowerCase()));
  const [request] = origin.requests;
  t.equal(request?.start, 'GET /chat?x=%zz HTTP/1.1');
  t.strictSame(
    request?.fields
      .map(([name, value]) => `${name}: ${value}`)
      .map((line) => line.replace(/Seq-No: \d+/, 'Seq-No: #'))
      .sort(),
    [
      'Connection: Upgrade',
      'Cookie: a=b',
      'Host: a',
      'Origin: null',
      'QAL-APN: wifi',
      'QAL-Account: alice',
      'QAL-Identifier: @v_tls#tarqqnwfrcdx',
      'QAL-Req-Seq-No: #',
      `QAL-SDK-APP-Id: ${testAppId}`,
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      'Sec-WebSocket-Version: 13',
      'Upgrade: websocket',
      'Via: 1.0 other',
      'Via: 1.1 qalgate',
      'X-Empty: ',
      'X-Forwarded-For: 127.0.0.1',
      'X-Latin: \xe4\xa0.',
      'X-a: 1',
      'X-a: 2',
      'X-a: 3',
    ],
  );
  t.notMatch(request?.raw, /forged|6\.6\.6\.6|gone|QAL-Session/i);
  wire.socket.destroy();
  const other = await client();
  other.send(upgrade());
  await origin.until('another one', () => origin.requests.length === 2);
  t.not(fieldOf(origin.requests[1] as Message, 'QAL-Req-Seq-No'), fieldOf(request as Message, 'QAL-Req-Seq-No'));
});

t.test('[A1] bytes that come early go on behind the upgrade, both ways', async (t) => {
  const { origin, client } = await openProxied(t, {
    onRequest: (wire) => wire.send(`${switching}early from the origin`),
  });
  const wire = await client();
  wire.send(upgrade('', '/chat', 'early from the client'));
  await wire.until('the early bytes', () => wire.received.endsWith('\r\n\r\nearly from the origin'));
  await origin.until(
    'the early bytes',
    () => origin.connections[0]?.received.endsWith('\r\n\r\nearly from the client') ?? false,
  );
  // The request was complete without them: they are no body and no second request.
  t.equal(origin.requests.length, 1);
  wire.send('GET /no-request HTTP/1.1\r\n\r\n');
  await origin.until(
    'what looks like a request',
    () => origin.connections[0]?.received.endsWith('/no-request HTTP/1.1\r\n\r\n') ?? false,
  );
  t.equal(origin.connections.length, 1);
});

t.test('[A1] an answer that is no upgrade comes back as it was sent, streamed, and ends the connection', async (t) => {
  const cases: Record<string, [sent: string, head: string[], body: string]> = {
    length: [
      'HTTP/1.1 401 Wer da \xfc\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-Latin: \xe4\r\nConnection: X-Named\r\nX-Named: gone\r\nContent-Length: 5\r\n\r\nhello',
      ['HTTP/1.1 401 Wer da \xfc', 'Set-Cookie: a=1', 'set-cookie: b=2', 'X-Latin: \xe4', 'Content-Length: 5'],
      'hello',
    ],
    chunks: [
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n',
      ['HTTP/1.1 200 OK'],
      'hello',
    ],
    'end of the connection': [
      'HTTP/1.1 426 Upgrade Required\r\nConnection: close\r\n\r\nhello',
      ['HTTP/1.1 426 Upgrade Required'],
      'hello',
    ],
    'no body': ['HTTP/1.1 204 No Content\r\nX: y\r\n\r\n', ['HTTP/1.1 204 No Content', 'X: y'], ''],
  };
  for (const [name, [sent, head, body]] of Object.entries(cases)) {
    await t.test(name, async (t) => {
      const { access, origin } = await openProxied(t, {
        onRequest(wire) {
          wire.send(sent);
          if (name === 'end of the connection') wire.socket.end();
        },
      });
      const { received, ended } = await sendAlone(access.port, upgrade());
      t.equal(ended, 'end');
      const answer = readMessage(received);
      t.equal(answer?.raw, received);
      t.strictSame(originHead(answer as Message), head);
      t.equal(fieldOf(answer as Message, 'Connection'), 'close');
      t.equal(answer?.body, body);
      t.equal(origin.requests.length, 1);
    });
  }
  const broken: Record<string, string> = {
    'by length': 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello',
    'in chunks': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n',
    'a malformed chunk': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n',
  };
  for (const [name, sent] of Object.entries(broken)) {
    await t.test(`broken off, ${name}: cut`, async (t) => {
      const { access } = await openProxied(
        t,
        { onRequest: (wire) => wire.socket.write(sent, () => wire.socket.end()) },
        { timeouts: { bodyIdleMs: 60_000 } },
      );
      const { received, ended } = await sendAlone(access.port, upgrade());
      t.equal(ended, 'reset');
      t.equal(readMessage(received), undefined);
    });
  }
  await t.test('to a client that does not read: the origin is stopped', async (t) => {
    let poured: ReturnType<typeof pour> | undefined;
    const { client } = await openProxied(t, {
      onRequest(wire) {
        wire.send(`HTTP/1.1 200 OK\r\nContent-Length: ${floodBytes}\r\n\r\n`);
        poured = pour(wire, floodBytes);
      },
    });
    const wire = await client();
    wire.socket.pause();
    wire.send(upgrade());
    const taken = await standstill(() => poured?.taken() ?? -2);
    t.ok(taken < kernelBytes, `stopped after ${taken} bytes`);
    await countBytes(wire).until(floodBytes);
  });
});

t.test('an upgraded connection whose one end does not read stops the other', async (t) => {
  const { origin, client } = await openProxied(t, { onRequest: (wire) => wire.send(switching) });
  const wire = await client();
  wire.send(upgrade());
  await wire.until('the switch', () => wire.received.includes('101'));
  const at = origin.connections[0] as Wire;
  for (const [from, to] of [
    [at, wire],
    [wire, at],
  ] as const) {
    to.socket.pause();
    const poured = pour(from, floodBytes);
    const taken = await standstill(poured.taken);
    t.ok(taken < kernelBytes, `stopped after ${taken} bytes`);
    await countBytes(to).until(floodBytes);
  }
});

t.test('an origin that fails an upgrade: an error of ours', async (t) => {
  const cases: [name: string, script: (wire: Wire) => void, status: number, code: ErrorCode][] = [
    ['silent', () => {}, 504, 'UPSTREAM_HEAD_TIMEOUT'],
    ['closes', (wire) => wire.socket.end(), 502, 'UPSTREAM_CLOSED'],
    ['resets', (wire) => wire.socket.resetAndDestroy(), 502, 'UPSTREAM_CLOSED'],
    ['closes within the head', (wire) => wire.socket.end('HTTP/1.1 101 Swi'), 502, 'UPSTREAM_CLOSED'],
    [
      'an upgrade to nothing',
      (wire) => wire.send('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n'),
      502,
      'UPSTREAM_BAD_RESPONSE',
    ],
    ['garbage', (wire) => wire.send('220 mail.example ESMTP\r\n'), 502, 'UPSTREAM_BAD_RESPONSE'],
    [
      'a folded field',
      (wire) => wire.send('HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n y\r\n\r\n'),
      502,
      'UPSTREAM_BAD_RESPONSE',
    ],
  ];
  for (const [name, onRequest, status, code] of cases) {
    await t.test(name, async (t) => {
      const { access, origin } = await openProxied(t, { onRequest }, { timeouts: { headMs: 200, connectMs: 200 } });
      const { received } = await sendAlone(access.port, upgrade());
      assertError(t, received, status, code);
      t.equal(origin.requests.length, 1, 'nothing was repeated');
      await origin.until('the connection given up', () => origin.connections[0]?.closed ?? false);
    });
  }
  await t.test('refuses connections', async (t) => {
    const { access } = await openProxied(t, {}, { route: { upstream: [`http://127.0.0.1:${await freePort()}`] } });
    assertError(t, (await sendAlone(access.port, upgrade())).received, 502, 'UPSTREAM_CONNECT_FAILED');
  });
  await t.test('never gets ready with TLS', async (t) => {
    const silent = await openOrigin({ paused: true });
    t.teardown(silent.close);
    const { access } = await openProxied(
      t,
      {},
      { route: { upstream: [`https://127.0.0.1:${silent.port}`] }, timeouts: { connectMs: 150, headMs: 150 } },
    );
    const { received } = await sendAlone(access.port, upgrade());
    t.match(received, /^HTTP\/1\.1 504 /);
  });
});

t.test('upgrades to an https origin: by its own authority, and by no other', async (t) => {
  const certificate = createCertificate('origin');
  const directory = await mkdtemp(path.join(tmpdir(), 'qalgate test '));
  t.teardown(() => rm(directory, { recursive: true }));
  const upstreamCaFile = path.join(directory, 'ca.pem');
  await writeFile(upstreamCaFile, certificate.cert);
  const script = { tls: certificate, onRequest: (wire: Wire) => wire.send(`${switching}hello`) };
  const trusted = await openProxied(t, script, { route: { upstreamCaFile } });
  const wire = await trusted.client();
  wire.send(upgrade());
  await wire.until('the switch', () => wire.received.endsWith('hello'));
  t.equal(fieldOf(trusted.origin.requests[0] as Message, 'Host'), 'a');
  const untrusted = await openProxied(t, script);
  assertError(t, (await sendAlone(untrusted.access.port, upgrade())).received, 502, 'UPSTREAM_CONNECT_FAILED');
  t.strictSame(untrusted.origin.requests, [], 'nothing was sent to it');
});

t.test('[A13] [A11] an upgrade that is refused: an error, closed, and the origin saw nothing', async (t) => {
  const { access, origin } = await openProxied(t, {}, { access: { sessions: 'required' } });
  const session = `QAL-Session: ${access.session()}\r\n`;
  const cases: Record<string, [bytes: string, status: number, code: ErrorCode]> = {
    'no session': [upgrade(), 401, 'SESSION_REQUIRED'],
    'a bad session': [upgrade('QAL-Session: x\r\n'), 401, 'SESSION_INVALID'],
    'an expired session': [upgrade(`QAL-Session: ${access.session({ expiresAtMs: 1 })}\r\n`), 401, 'SESSION_EXPIRED'],
    'two sessions': [upgrade(session + session), 400, 'BAD_REQUEST'],
    'Host twice': [upgrade(`${session}Host: b\r\n`), 400, 'AMBIGUOUS_HOST'],
    'another host in the target': [upgrade(session, 'http://b/'), 400, 'AMBIGUOUS_HOST'],
    'a fragment': [upgrade(session, '/#x'), 400, 'BAD_TARGET'],
    'an asterisk': [upgrade(session, '*'), 400, 'BAD_TARGET'],
    'a body by length': [upgrade(`${session}Content-Length: 5\r\n`, '/', 'hello'), 400, 'BAD_REQUEST'],
    'a body in chunks': [upgrade(`${session}Transfer-Encoding: chunked\r\n`, '/', '0\r\n\r\n'), 400, 'BAD_REQUEST'],
    'length and coding': [upgrade(`${session}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n`), 400, 'BAD_REQUEST'],
    'an endpoint of ours': [upgrade(session, '/.qal/v1/session'), 404, 'NOT_FOUND'],
    'too many fields': [upgrade(session + 'X: y\r\n'.repeat(100)), 431, 'HEADERS_TOO_LARGE'],
    'too long a target': [upgrade(session, `/${'x'.repeat(9_000)}`), 414, 'URL_TOO_LONG'],
    'a space before a colon': [upgrade(`${session}QAL-Identifier : x\r\n`), 400, 'BAD_REQUEST'],
  };
  for (const [name, [bytes, status, code]] of Object.entries(cases)) {
    await t.test(name, async (t) => assertError(t, (await sendAlone(access.port, bytes)).received, status, code));
  }
  access.setApps([]);
  assertError(t, (await sendAlone(access.port, upgrade(session))).received, 404, 'NO_ROUTE');
  t.strictSame(origin.connections, []);
});

t.test('[A1] other upgrades go on as ordinary requests without them', async (t) => {
  const { origin, client } = await openProxied(t);
  const request = (line: string, fields: string) => `${line}\r\nHost: a\r\nX: y\r\n${fields}\r\n`;
  const cases: Record<string, string> = {
    h2c: request('GET / HTTP/1.1', 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n'),
    'TLS within HTTP': request('OPTIONS * HTTP/1.1', 'Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n'),
    'WebSocket by POST': request(
      'POST / HTTP/1.1',
      'Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n',
    ),
    'WebSocket among others': request('GET / HTTP/1.1', 'Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n'),
    'WebSocket that Connection does not name': request('GET / HTTP/1.1', 'Upgrade: websocket\r\n'),
    'WebSocket in HTTP/1.0': request('GET / HTTP/1.0', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'),
    'Connection alone': request('GET / HTTP/1.1', 'Connection: Upgrade\r\n'),
  };
  for (const [name, bytes] of Object.entries(cases)) {
    await t.test(name, async (t) => {
      const wire = await client();
      wire.send(bytes);
      t.equal((await readResponse(wire)).body, 'ok');
      const names = origin.requests.at(-1)?.fields.map(([name]) => name);
      t.strictSame(
        names?.filter((name) => /upgrade|http2/i.test(name)),
        [],
      );
      t.ok(names?.includes('X'));
      t.equal(fieldOf(origin.requests.at(-1) as Message, 'Connection'), 'keep-alive');
      wire.socket.destroy();
    });
  }
});

t.test('[A1] an upgrade behind answered requests on the same connection', async (t) => {
  const { origin, client } = await openProxied(t, {
    onRequest: (wire, request) =>
      wire.send(fieldOf(request, 'Upgrade') === undefined ? respond('ok') : `${switching}hello`),
  });
  const wire = await client();
  wire.send('GET /1 HTTP/1.1\r\nHost: a\r\n\r\n');
  await wire.until('the answer', () => splitMessages(wire.received).length === 1);
  wire.send(upgrade());
  await wire.until('the switch', () => wire.received.endsWith('hello'));
  t.strictSame(
    origin.requests.map(({ start }) => start),
    ['GET /1 HTTP/1.1', 'GET /chat HTTP/1.1'],
  );
});

t.test('either end that leaves takes the other with it', async (t) => {
  const open = async (t: Test) => {
    const { origin, client } = await openProxied(t, { onRequest: (wire) => wire.send(switching) });
    const wire = await client();
    wire.send(upgrade());
    await wire.until('the switch', () => wire.received.includes('101'));
    return { wire, at: origin.connections[0] as Wire };
  };
  for (const way of ['end', 'reset'] as const) {
    const leave = ({ socket }: Wire) => (way === 'end' ? socket.end('bye') : socket.resetAndDestroy());
    await t.test(`the client, ${way}`, async (t) => {
      const { wire, at } = await open(t);
      leave(wire);
      await at.end();
      if (way === 'end') t.match(at.received, /bye$/, 'what it said last arrived');
      t.ok(at.ended !== 'no');
    });
    await t.test(`the origin, ${way}`, async (t) => {
      const { wire, at } = await open(t);
      leave(at);
      await wire.end();
      if (way === 'end') t.match(wire.received, /bye$/, 'what it said last arrived');
      t.ok(wire.ended !== 'no');
    });
  }
  await t.test('the client, before the answer', async (t) => {
    const { origin, client } = await openProxied(t, { onRequest() {} });
    const wire = await client();
    wire.send(upgrade());
    await origin.until('the request', () => origin.requests.length === 1);
    wire.socket.resetAndDestroy();
    await origin.until('the end', () => hasEnded(origin.connections[0]));
    t.pass('the origin saw it');
  });
});

t.test('an upgraded connection without traffic is closed; traffic of one direction keeps it', async (t) => {
  const { origin, client } = await openProxied(
    t,
    { onRequest: (wire) => wire.send(switching) },
    { timeouts: { bodyIdleMs: 300 } },
  );
  const wire = await client();
  wire.send(upgrade());
  await wire.until('the switch', () => wire.received.includes('101'));
  const at = origin.connections[0] as Wire;
  for (const [from, to] of [
    [at, wire],
    [wire, at],
  ] as const) {
    const startedMs = performance.now();
    const timer = setInterval(() => from.send('x'), 50);
    await to.until('a second of traffic', () => performance.now() - startedMs > 1_000);
    clearInterval(timer);
    t.equal(wire.ended, 'no');
    t.equal(at.ended, 'no');
  }
  const quietMs = performance.now();
  await Promise.all([wire.end(), at.end()]);
  t.ok(performance.now() - quietMs > 200, 'not before its time');
});

t.test('upgrades are limited, in all and by address', async (t) => {
  for (const limits of [{ upgrades: 2 }, { upgradesPerAddress: 2 }]) {
    await t.test(Object.keys(limits).join(), async (t) => {
      const { origin, access, client } = await openProxied(
        t,
        { onRequest: (wire) => wire.send(switching) },
        { limits },
      );
      const open: Wire[] = [];
      for (let i = 0; i < 2; i += 1) {
        const wire = await client();
        wire.send(upgrade());
        await wire.until('the switch', () => wire.received.includes('101'));
        open.push(wire);
      }
      assertError(t, (await sendAlone(access.port, upgrade())).received, 429, 'TOO_MANY_CONNECTIONS');
      t.equal(origin.requests.length, 2);
      open[0]?.socket.destroy();
      await origin.until('its end', () => origin.connections.some(({ closed }) => closed));
      const again = await client();
      again.send(upgrade());
      await again.until('the switch', () => again.received.includes('101'));
      t.equal(origin.requests.length, 3);
    });
  }
  await t.test('requestsPerAddressPerSec', async (t) => {
    const { access, client } = await openProxied(
      t,
      { onRequest: (wire) => wire.send(switching) },
      { limits: { requestsPerAddressPerSec: 0.01, requestBurstPerAddress: 1 } },
    );
    const wire = await client();
    wire.send(upgrade());
    await wire.until('the switch', () => wire.received.includes('101'));
    assertError(t, (await sendAlone(access.port, upgrade())).received, 429, 'RATE_LIMITED');
  });
});

t.test('[A14] an upgraded connection ends with its session, by logout and kick, not by its expiry', async (t) => {
  const { origin, access, client } = await openProxied(
    t,
    { onRequest: (wire) => wire.send(switching) },
    { timeouts: { bodyIdleMs: 60_000 } },
  );
  const open = async (session?: string) => {
    const wire = await client();
    wire.send(upgrade(session === undefined ? '' : `QAL-Session: ${session}\r\n`));
    await wire.until('the switch', () => wire.received.includes('101'));
    return wire;
  };
  const terminal = await open(access.session({ terminalId: 'aaaaaaaaaaaa' as TerminalId }));
  const alice = await open(access.session({ terminalId: 'bbbbbbbbbbbb' as TerminalId, account: 'alice' as AccountId }));
  const bob = await open(access.session({ terminalId: 'cccccccccccc' as TerminalId, account: 'bob' as AccountId }));
  const expiring = await open(
    access.session({ terminalId: 'dddddddddddd' as TerminalId, expiresAtMs: Date.now() + 300 }),
  );
  const guest = await open();
  access.revoke('aaaaaaaaaaaa');
  access.revoke('alice');
  await Promise.all([terminal.end(), alice.end()]);
  await origin.until('the far ends too', () => origin.connections.filter(({ ended }) => ended !== 'no').length >= 2);
  for (const wire of [bob, expiring, guest]) t.equal(wire.ended, 'no');
  access.setApps([{ ...testApp([origin.url]), sdkAppId: 7 }]);
  await Promise.all([bob.end(), expiring.end()]);
  t.equal(guest.ended, 'no', 'without a session there is none to end');
});

t.test('upgraded connections end when the service closes', async (t) => {
  const { origin, access, client } = await openProxied(t, { onRequest: (wire) => wire.send(switching) });
  const wire = await client();
  wire.send(upgrade());
  await wire.until('the switch', () => wire.received.includes('101'));
  await access.close();
  await wire.end();
  await origin.until('the far end', () => hasEnded(origin.connections[0]));
  t.pass('both ended');
});
