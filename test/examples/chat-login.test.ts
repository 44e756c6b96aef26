import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { type Chat, createChat } from '../../examples/backend/chat.ts';
import { type ChatSettings, createLoginRate, linkUrl } from '../../examples/backend/chat-login.ts';
import { createBackend } from '../../examples/backend/server.ts';
import { signUserSig } from '../../examples/backend/user-sig.ts';
import { signUserSig as signAsQalgate, verifyUserSig } from '../../src/auth/index.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const secret = 'a secret of sixteen or more';
const settings: ChatSettings = {
  sdkAppId: 1_400_000_000,
  secret,
  administrators: ['admin'],
  // Nobody listens there: what the backend tells by REST fails, and logins do not need it.
  imUrl: 'http://127.0.0.1:9',
};

interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  text: string;
}

async function start(t: Test, chat: Chat): Promise<(options: RequestOptions & { body?: string }) => Promise<Answer>> {
  const server = createBackend({ chat });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  return async ({ body, ...options }) => {
    const request = httpRequest({ host: '127.0.0.1', port, agent: false, ...options });
    request.end(body);
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    let text = '';
    for await (const part of response) text += part;
    return { status: response.statusCode ?? 0, headers: response.headers, text };
  };
}

async function configured(t: Test, given = settings): Promise<Awaited<ReturnType<typeof start>>> {
  const chat = createChat();
  await t.rejects(chat.configure(given), 'there is no service to tell of accounts');
  return await start(t, chat);
}

const json = { 'Content-Type': 'application/json' };
const login = (name: unknown, headers: Record<string, string> = {}): RequestOptions & { body: string } => ({
  method: 'POST',
  path: '/chat/login',
  headers: { ...json, ...headers },
  body: JSON.stringify({ name }),
});

t.test('a name becomes a UserSig that qalgate accepts', async (t) => {
  const send = await configured(t);
  const nowSec = Math.floor(Date.now() / 1_000);
  for (const [name, identifier] of [
    ['alice', 'alice'],
    ['  李娜 ', '李娜'],
    ['e\u0301mile', 'émile'],
    ['n'.repeat(32), 'n'.repeat(32)],
    ['名'.repeat(10), '名'.repeat(10)],
  ]) {
    const { status, headers, text } = await send(login(name));
    t.equal(status, 200);
    t.equal(headers['cache-control'], 'no-store');
    const answer = JSON.parse(text);
    t.match(answer, { sdkAppId: 1_400_000_000, identifier, url: 'ws://127.0.0.1:9/im/v1/link' });
    const verified = verifyUserSig(answer.userSig, {
      sdkAppId: 1_400_000_000,
      identifier: identifier ?? '',
      secrets: [secret],
      nowSec,
    });
    t.match(verified, { ok: true, expiresAtSec: answer.expires });
    t.ok(answer.expires - nowSec <= 86_401, 'for a day');
  }
  const input = { sdkAppId: 7, identifier: 'bob', secret, expireSec: 60, issuedAtSec: 1_795_391_080 };
  t.equal(signUserSig(input), signAsQalgate(input), 'the few lines of the example do what qalgate does');
});

t.test('names that are none, and those of administrators, are refused', async (t) => {
  const send = await configured(t);
  for (const [name, error] of [
    [undefined, /must be a text/],
    [7, /must be a text/],
    ['\ud800', /must be a text/],
    ['', /is needed/],
    ['   ', /is needed/],
    ['n'.repeat(33), /too long/],
    ['名'.repeat(11), /too long/],
    ['a\nb', /control characters/],
    ['admin', /administrator/],
    [' admin ', /administrator/],
  ] as const) {
    const { status, text } = await send(login(name));
    t.equal(status, 400, JSON.stringify(name));
    t.match(JSON.parse(text), { error });
  }
  for (const body of ['', 'name=alice', 'null', '[]']) {
    t.equal((await send({ ...login(''), body })).status, 400, body);
  }
});

t.test('what is not the page itself gets no login', async (t) => {
  const send = await configured(t);
  const host = 'chat.example:8080';
  const from = async (headers: Record<string, string>) =>
    (await send(login('alice', { Host: host, ...headers }))).status;
  t.equal(await from({ Origin: `http://${host}`, 'Sec-Fetch-Site': 'same-origin' }), 200);
  t.equal(await from({ Origin: `https://${host}` }), 200, 'behind a proxy that speaks TLS');
  t.equal(await from({ Origin: 'http://evil.example' }), 403);
  t.equal(await from({ Origin: 'http://chat.example:9090' }), 403, 'another port is another origin');
  t.equal(await from({ Origin: 'null' }), 403);
  t.equal(await from({ 'Sec-Fetch-Site': 'cross-site' }), 403);
  t.equal(await from({ 'Sec-Fetch-Site': 'same-site' }), 403);
  t.equal(await from({ 'Content-Type': 'text/plain' }), 415, 'what a form of any page can send');
  const asked = await send({
    method: 'OPTIONS',
    path: '/chat/login',
    headers: { Origin: 'http://evil.example', 'Access-Control-Request-Method': 'POST' },
  });
  t.equal(asked.status, 405);
  t.notOk(asked.headers['access-control-allow-origin']);
  t.equal((await send({ path: '/chat/login' })).status, 405);
});

t.test('the endpoint is bounded', async (t) => {
  const send = await configured(t);
  const large = await send({ ...login(''), body: JSON.stringify({ name: 'a', more: 'x'.repeat(2_000) }) });
  t.equal(large.status, 413);
  const address = { 'X-Forwarded-For': '203.0.113.7' };
  let refused: Answer | undefined;
  for (let i = 0; i < 61; i += 1) refused = await send(login('alice', address));
  t.equal(refused?.status, 429);
  t.equal(refused?.headers['retry-after'], '60');
  t.equal((await send(login('alice', { 'X-Forwarded-For': '203.0.113.8' }))).status, 200, 'others can log in');

  const rate = createLoginRate();
  const taken = (nowMs: number): number => {
    let count = 0;
    for (let i = 0; i < 1_000; i += 1) if (rate.take(`203.0.113.${i}`, nowMs)) count += 1;
    return count;
  };
  t.equal(taken(1_000), 600, 'all together');
  t.equal(taken(59_999), 0);
  t.equal(taken(60_000), 600, 'the next minute');
});

t.test('without a messaging service the page says so', async (t) => {
  const send = await start(t, createChat());
  t.equal((await send({ path: '/chat/' })).status, 200);
  const { status, headers, text } = await send(login('alice'));
  t.equal(status, 503);
  t.equal(headers['retry-after'], '1');
  t.match(JSON.parse(text), { error: /not there yet/ });
});

t.test('/chat/ serves the page, the SDK, and nothing else', async (t) => {
  const send = await configured(t);
  const page = await send({ path: '/chat/?as=alice' });
  t.match(page.headers, {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  t.match(
    page.headers['content-security-policy'],
    /^default-src 'none'; script-src 'self'; .*connect-src 'self' ws:\/\/127\.0\.0\.1:9;/,
  );
  t.notMatch(page.headers['content-security-policy'], /unsafe|\*/);
  t.notMatch(page.text, /<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=/, 'nothing inline');
  t.notMatch(page.text, /(?:src|href)="(?:https?:)?\/\//, 'nothing from elsewhere');
  t.equal((await send({ path: '/chat?as=bob' })).headers.location, '/chat/?as=bob');
  t.match((await send({ path: '/chat/main.js' })).headers['content-type'], /^text\/javascript/);

  const module = '/chat/src/sdk/im/index.ts';
  t.equal((await send({ path: '/chat/src/sdk/im/groups/index.ts' })).status, 200);
  const source = await send({ path: module });
  t.match(source.text, "from './client.ts'");
  t.notMatch(source.text, /export type/);
  const etag = source.headers.etag ?? '';
  t.equal((await send({ path: module, headers: { 'If-None-Match': etag } })).status, 304);
  for (const path of [
    '/chat/README.md',
    '/chat/index.html',
    '/chat/none.js',
    '/chat/../backend/server.ts',
    '/chat/%2e%2e/backend/server.ts',
    '/chat/src/sdk/im/node/index.ts',
    '/chat/src/im/index.ts',
    '/chat/src/auth/user-sig.ts',
  ]) {
    t.equal((await send({ path })).status, 404, path);
  }
});

t.test('the page connects to where the im listener is', async (t) => {
  t.equal(linkUrl('http://127.0.0.1:8081', 'localhost:8080'), 'ws://127.0.0.1:8081/im/v1/link');
  t.equal(linkUrl('https://im.example', 'chat.example'), 'wss://im.example/im/v1/link');
  t.equal(linkUrl('http://0.0.0.0:8081', '192.168.1.5:8080'), 'ws://192.168.1.5:8081/im/v1/link');
  t.equal(linkUrl('http://[::]:8081', '[fe80::1]:8080'), 'ws://[fe80::1]:8081/im/v1/link');
  t.equal(
    linkUrl('http://0.0.0.0:8081', 'a.example;x'),
    'ws://0.0.0.0:8081/im/v1/link',
    'no host gets into the policy',
  );
  t.equal(linkUrl('http://0.0.0.0:8081', undefined), 'ws://0.0.0.0:8081/im/v1/link');
});

t.test('the scripts of the page keep to the types of the SDK', async (t) => {
  const tsc = join(root, 'node_modules', 'typescript', 'lib', 'tsc.js');
  execFileSync(process.execPath, [tsc, '-p', join(root, 'test/examples/tsconfig.page.json')], { stdio: 'inherit' });
  t.pass('tsc -p test/examples/tsconfig.page.json');
});
