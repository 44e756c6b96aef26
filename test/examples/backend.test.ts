import { type ChildProcess, spawn } from 'node:child_process';
import { on, once } from 'node:events';
import { request as httpRequest, type IncomingMessage, type RequestOptions, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { WebSocket } from 'undici';
import { decodeQalValue, headersPage } from '../../examples/backend/page.ts';
import { createBackend } from '../../examples/backend/server.ts';

const program = fileURLToPath(new URL('../../examples/backend/server.ts', import.meta.url));

async function start(t: Test): Promise<number> {
  const server: Server = createBackend();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return (server.address() as AddressInfo).port;
}

interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  body: Buffer;
  trailers: IncomingMessage['trailers'];
  hints: number;
}

async function send(port: number, options: RequestOptions & { body?: Buffer | string } = {}): Promise<Answer> {
  const { body: content, ...rest } = options;
  const request = httpRequest({ host: '127.0.0.1', port, agent: false, ...rest });
  let hints = 0;
  request.on('information', () => {
    hints += 1;
  });
  request.end(content);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const parts: Buffer[] = [];
  for await (const part of response) parts.push(part as Buffer);
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    body: Buffer.concat(parts),
    trailers: response.trailers,
    hints,
  };
}

t.test('/headers shows every field just as it came, repeated ones and trailers too', async (t) => {
  const port = await start(t);
  const socket = connect(port, '127.0.0.1');
  socket.end(
    'PATCH /headers?x=1 HTTP/1.1\r\nHost: a\r\nqAl-Os: iOS\r\nX-A: 1\r\nX-A: 2\r\n' +
      'Connection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nabc\r\n0\r\nX-T: end\r\n\r\n',
  );
  const text = await readAll(socket);
  t.match(text, /^HTTP\/1\.1 200 /);
  const json = /\{.*\}/s.exec(text)?.[0] ?? '';
  t.same(JSON.parse(json), {
    method: 'PATCH',
    url: '/headers?x=1',
    headers: [
      ['Host', 'a'],
      ['qAl-Os', 'iOS'],
      ['X-A', '1'],
      ['X-A', '2'],
      ['Connection', 'close'],
      ['Transfer-Encoding', 'chunked'],
      ['Trailer', 'X-T'],
    ],
    trailers: [['X-T', 'end']],
  });
});

t.test('the page explains the QAL headers and lets nothing that was sent act in it', async (t) => {
  const port = await start(t);
  const answer = await send(port, {
    path: '/?<script>1</script>',
    headers: { 'QAL-Device': "UTF-8''%E5%B0%8F%E7%B1%B3%3Cb%3E", 'X-Evil': '<script>alert("1")</script>' },
  });
  const page = answer.body.toString();
  t.equal(answer.status, 200);
  t.match(answer.headers['content-security-policy'], /default-src 'none'/);
  t.match(page, '小米&#60;b&#62;', 'a device name is decoded, then escaped');
  t.match(page, 'Device model.');
  t.notMatch(page, /<script/i);
  t.notMatch(headersPage('<i>', '/', ["x'y", '"']), /<i>|x'y|>"</);
});

t.test('values are decoded only behind the mark', async (t) => {
  t.equal(decodeQalValue('100% LTE'), '100% LTE');
  t.equal(decodeQalValue("UTF-8''%25%20%F0%9F%93%B1"), '% 📱');
  t.equal(decodeQalValue("UTF-8''%ff"), "UTF-8''%ff", 'what is no UTF-8 stays as it is');
});

t.test('/echo sends any body back, streamed', async (t) => {
  const port = await start(t);
  const body = Buffer.alloc(3_000_001, 'abc');
  const answer = await send(port, { path: '/echo', method: 'PUT', headers: { 'Content-Type': 'x/y' }, body });
  t.equal(answer.headers['x-echo-method'], 'PUT');
  t.equal(answer.headers['content-type'], 'x/y');
  t.ok(answer.body.equals(body));

  const request = httpRequest({ host: '127.0.0.1', port, path: '/echo', method: 'POST', agent: false });
  request.write('first');
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const [first] = (await once(response, 'data')) as [Buffer];
  t.equal(first.toString(), 'first', 'the start comes back before the end was sent');
  request.end('last');
  const [last] = (await once(response, 'data')) as [Buffer];
  t.equal(last.toString(), 'last');
});

t.test('/slow, /fail, /stream, /bytes and /early-hints do as they are asked', async (t) => {
  const port = await start(t);
  const startedMs = performance.now();
  t.equal((await send(port, { path: '/slow?ms=60' })).status, 200);
  t.ok(performance.now() - startedMs >= 55);

  for (const status of [200, 204, 304, 404, 503, 599, 799]) {
    t.equal((await send(port, { path: `/fail?status=${status}` })).status, status);
  }
  const streamed = await send(port, { path: '/stream?chunks=5&bytes=7&ms=1' });
  t.equal(streamed.body.toString(), '......\n'.repeat(5));
  t.equal(streamed.trailers['x-chunks'], '5');
  t.equal(streamed.headers['transfer-encoding'], 'chunked');

  const bytes = await send(port, { path: '/bytes?n=200001' });
  t.equal(bytes.headers['content-length'], '200001');
  t.equal(bytes.body.length, 200_001);
  t.equal((await send(port, { path: '/bytes?n=10', method: 'HEAD' })).headers['content-length'], '10');

  const hinted = await send(port, { path: '/early-hints' });
  t.same([hinted.status, hinted.hints], [200, 1]);

  for (const path of ['/slow?ms=-1', '/slow?ms=1e3', '/fail?status=101', '/bytes?n=x', '/stream?bytes=0']) {
    const refused = await send(port, { path });
    t.equal(refused.status, 400, path);
    t.match(refused.body.toString(), /must be a whole number from \d+ to \d+/);
  }
  t.equal((await send(port, { path: '/constructor' })).status, 404);
});

t.test('a client that leaves a slow or endless answer leaves nothing running', async (t) => {
  const server = createBackend();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  for (const path of ['/slow?ms=600000', '/bytes?n=99999999999', '/stream?chunks=1000000&ms=600000']) {
    const answering = once(server, 'request');
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    const [, response] = (await answering) as [IncomingMessage, NodeJS.EventEmitter];
    socket.destroy();
    await once(response, 'close');
  }
  const closed = once(server, 'close');
  server.close();
  await closed;
  t.equal(server.listening, false);
});

t.test('/cache/ has a page, answers for caches, and the sources that it needs, nothing else', async (t) => {
  const port = await start(t);
  const page = await send(port, { path: '/cache/', headers: { 'QAL-SDK-APP-Id': '1400000000' } });
  t.match(page.headers['content-security-policy'], /script-src 'self'/);
  t.match(page.body.toString(), '<body data-app="1400000000">');
  const forged = await send(port, { path: '/cache/', headers: { 'QAL-SDK-APP-Id': '"><script>' } });
  t.match(forged.body.toString(), '<body data-app="">');

  const first = await send(port, { path: '/cache/answer/etag' });
  t.same([first.status, JSON.parse(first.body.toString()).answer], [200, 1]);
  const again = await send(port, {
    path: '/cache/answer/etag',
    headers: { 'If-None-Match': first.headers.etag ?? '' },
  });
  t.same([again.status, again.headers['x-asked'], again.body.length], [304, '2', 0]);
  t.equal((await send(port, { path: '/cache/answer/max-stale-age' })).headers['qal-cache-control'], 'max-stale-age=60');

  const source = await send(port, { path: '/cache/src/sdk/index.ts' });
  t.match(source.headers['content-type'], /^text\/javascript/);
  t.match(source.body.toString(), "from './client.ts'");
  t.notMatch(source.body.toString(), 'export type', 'the types are gone');
  t.equal((await send(port, { path: '/cache/src/cache/core/index.ts' })).status, 200);
  for (const path of [
    '/cache/src/server/main.ts',
    '/cache/src/sdk/../server/main.ts',
    '/cache/src/sdk/%2e%2e/server/main.ts',
    '/cache/src/sdk/node/index.ts',
    '/cache/src/sdk/none.ts',
    '/cache/answer/none',
    '/cache/answer/constructor',
    '/cache/x',
  ]) {
    t.equal((await send(port, { path })).status, 404, path);
  }
});

t.test('/files serves the folder with validators and nothing beside it', async (t) => {
  const port = await start(t);
  const first = await send(port, { path: '/files/hello.txt' });
  const { etag, 'last-modified': lastModified } = first.headers;
  t.equal(first.body.toString(), 'Hello from the example backend.\n');
  t.equal(first.headers['content-type'], 'text/plain; charset=utf-8');
  t.match(etag, /^"[\w-]{22}"$/);

  const status = async (headers: Record<string, string>, method = 'GET'): Promise<number> =>
    (await send(port, { path: '/files/hello.txt', method, headers })).status;
  t.equal(await status({ 'If-None-Match': etag ?? '' }), 304);
  t.equal(await status({ 'If-None-Match': `"other", W/${etag}` }), 304);
  t.equal(
    await status({ 'If-None-Match': '"other"', 'If-Modified-Since': lastModified ?? '' }),
    200,
    'the tag decides',
  );
  t.equal(await status({ 'If-Modified-Since': lastModified ?? '' }), 304);
  t.equal(await status({ 'If-Modified-Since': 'Thu, 01 Jan 2015 00:00:00 GMT' }), 200);
  t.equal(await status({}, 'POST'), 405);
  t.equal((await send(port, { path: '/files/hello.txt', method: 'HEAD' })).body.length, 0);

  for (const path of [
    '/files/../server.ts',
    '/files/%2e%2e/server.ts',
    '/files/..%2fserver.ts',
    '/files/%2Fetc/passwd',
    '/files//etc/passwd',
    '/files/..%5cserver.ts',
    '/files/hello.txt%00',
    '/files/%ff',
    '/files/',
    '/files/.',
    '/files/none.txt',
  ]) {
    t.equal((await send(port, { path })).status, 404, path);
  }
});

t.test('/ws greets with the headers that it saw, then echoes', async (t) => {
  const port = await start(t);
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws?a=b`, { headers: { 'QAL-OS': 'iOS' } });
  socket.binaryType = 'arraybuffer';
  const messages = on(socket, 'message') as AsyncIterableIterator<[{ data: string | ArrayBuffer }]>;
  const next = async (): Promise<string | ArrayBuffer> => {
    const { value } = await messages.next();
    return value[0].data;
  };
  const greeting = JSON.parse(String(await next())) as { url: string; headers: [string, string][] };
  t.equal(greeting.url, '/ws?a=b');
  t.ok(greeting.headers.some(([name, value]) => name.toLowerCase() === 'qal-os' && value === 'iOS'));

  for (const text of ['', 'hello', '你好'.repeat(40), 'x'.repeat(65_536)]) {
    socket.send(text);
    t.equal(await next(), text);
  }
  socket.send(Buffer.from([0, 255, 1]));
  t.same(new Uint8Array((await next()) as ArrayBuffer), new Uint8Array([0, 255, 1]));
  const closed = once(socket, 'close') as Promise<[{ code: number }]>;
  socket.close(1000);
  t.equal((await closed)[0].code, 1000);
});

t.test('/ws answers pings, joins fragments, and takes frames in any pieces', async (t) => {
  const port = await start(t);
  const socket = await handshake(port, '/ws', '13');
  const mask = [1, 2, 3, 4];
  const masked = (text: string): number[] => [...Buffer.from(text)].map((byte, i) => byte ^ (mask[i % 4] ?? 0));
  const frames = [
    [0x01, 0x82, ...mask, ...masked('ab')],
    [0x89, 0x81, ...mask, ...masked('p')], // a ping may come between fragments
    [0x8a, 0x80, ...mask], // a pong that nobody asked for
    [0x80, 0x82, ...mask, ...masked('cd')],
    [0x88, 0x80, ...mask],
  ].flat();
  for (const byte of frames) socket.write(Buffer.from([byte]));
  const answer = await readAll(socket, 'latin1');
  t.ok(answer.endsWith('\x8a\x01p' + '\x81\x04abcd' + '\x88\x02\x03\xe8'));
});

t.test('/ws ends a connection that breaks the protocol with the code for it', async (t) => {
  const port = await start(t);
  const mask = [1, 2, 3, 4];
  const cases: [name: string, frame: number[], code: number][] = [
    ['unmasked', [0x81, 1, 65], 1002],
    ['reserved bit', [0xc1, 0x80, ...mask], 1002],
    ['unknown opcode', [0x83, 0x80, ...mask], 1002],
    ['long ping', [0x89, 0xfe, 0, 126], 1002],
    ['fragmented ping', [0x09, 0x80, ...mask], 1002],
    ['continuation of nothing', [0x80, 0x80, ...mask], 1002],
    ['text within a fragmented text', [0x01, 0x80, ...mask, 0x81, 0x80, ...mask], 1002],
    ['text that is not UTF-8', [0x81, 0x81, 0, 0, 0, 0, 0xff], 1007],
    ['message over the limit, announced', [0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0], 1009],
    ['ordinary close', [0x88, 0x80, ...mask], 1000],
  ];
  for (const [name, frame, code] of cases) {
    const socket = await handshake(port, '/ws', '13');
    socket.end(Buffer.from(frame));
    const answer = await readAll(socket, 'latin1');
    t.match(answer, /^HTTP\/1\.1 101 /);
    const closeAt = answer.lastIndexOf('\x88');
    t.equal(Buffer.from(answer.slice(closeAt + 2, closeAt + 4), 'latin1').readUInt16BE(), code, name);
  }
  t.match(await readAll(await handshake(port, '/ws', '8')), /^HTTP\/1\.1 426 .*Sec-WebSocket-Version: 13/s);
  t.match(await readAll(await handshake(port, '/other', '13')), /^HTTP\/1\.1 404 /);
  t.match(await readAll(await handshake(port, '/ws', '13', 'c2hvcnQ=')), /^HTTP\/1\.1 400 /);
});

t.test('the program says where it listens, and ends with code 0 on SIGTERM or with its parent', async (t) => {
  const parent = (child: ChildProcess): Promise<[number | null]> => once(child, 'exit') as Promise<[number | null]>;
  const child = spawn(process.execPath, [program, '--port', '0'], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
  t.teardown(() => child.kill('SIGKILL'));
  const [message] = (await once(child, 'message')) as [{ url: string }];
  const answer = await send(Number(new URL(message.url).port), { path: '/' });
  t.equal(answer.status, 200);
  const socket = new WebSocket(`${message.url.replace('http', 'ws')}/ws`);
  await once(socket, 'message');
  const lost = once(socket, 'close');
  const exit = parent(child);
  child.kill('SIGTERM');
  t.same((await exit)[0], 0);
  await lost;

  const orphan = spawn(process.execPath, [program, '--port', '0'], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  t.teardown(() => orphan.kill('SIGKILL'));
  await once(orphan, 'message');
  const orphanExit = parent(orphan);
  orphan.disconnect();
  t.same((await orphanExit)[0], 0);
});

async function handshake(port: number, path: string, version: string, key?: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write(
    `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      `Sec-WebSocket-Version: ${version}\r\nSec-WebSocket-Key: ${key ?? 'dGhlIHNhbXBsZSBub25jZQ=='}\r\n\r\n`,
  );
  return socket;
}

/** Everything until the other side ends; at most 5 s. */
async function readAll(socket: Socket, encoding: BufferEncoding = 'utf8'): Promise<string> {
  const parts: Buffer[] = [];
  socket.on('data', (part) => parts.push(part));
  const late = new AbortController();
  const timeout = sleep(5_000, 'timeout', { signal: late.signal }).catch(() => 'closed');
  if ((await Promise.race([once(socket, 'close'), timeout])) === 'timeout')
    throw new Error('the connection stays open');
  late.abort();
  return Buffer.concat(parts).toString(encoding);
}
