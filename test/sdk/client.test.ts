import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { createQalClient, QalError } from '../../src/sdk/index.ts';
import { directoryStorage } from '../../src/sdk/node/index.ts';
import { testAppId } from '../support/access.ts';
import { type Handler, openBackend, openService, userSig } from '../support/sdk-service.ts';

/** Shows what the backend got. */
const showHeaders: Handler = (request, response) => {
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify(request.headers));
};

async function headersOf(response: Response): Promise<Record<string, string>> {
  return (await response.json()) as Record<string, string>;
}

t.test('[A13] many requests at once make one anonymous session, and none before the first', async (t) => {
  const service = await openService(t, showHeaders, { sessions: 'required' });
  const client = service.client({
    device: { os: 'iOS', device: 'iPhone', appVersion: '3.2.1' },
    network: { apn: 'cmnet', rat: 'LTE' },
  });
  t.same(await service.sessions(), {});
  const answers = await Promise.all(
    Array.from({ length: 20 }, async (_, n) => headersOf(await client.fetch(`/?${n}`))),
  );
  t.same(await service.sessions(), { created: 1 });
  const [first = {}] = answers;
  t.match(first['qal-identifier'], /^@v_tls#[a-z]{12}$/);
  t.match(first, {
    'qal-os': 'iOS',
    'qal-device': 'iPhone',
    'qal-app-version': '3.2.1',
    'qal-sdk-version': '0.1.0',
    'qal-rat': 'LTE',
    'qal-apn': 'cmnet',
  });
  t.equal(first['qal-session'], undefined);
  t.equal(first['qal-account'], undefined);
  t.equal(new Set(answers.map((answer) => answer['qal-identifier'])).size, 1);
  t.equal((await client.session()).qalIdentifier, first['qal-identifier']);
});

t.test('[A11] a caller cannot send what is the access service’s or the platform’s', async (t) => {
  const service = await openService(t, showHeaders);
  const client = service.client();
  const answer = await headersOf(
    await client.fetch('/', {
      headers: { 'QAL-Identifier': 'x', qal_device: 'x', 'QAL-Session': 'x', Host: 'evil', 'X-Mine': 'yes', Via: 'x' },
    }),
  );
  t.notMatch(JSON.stringify(answer), /"x"|evil/);
  t.equal(answer['x-mine'], 'yes');
  t.equal(answer['cache-control'] ?? '', '', 'the caches on the way are not told to stand aside');
  t.equal(answer.pragma ?? '', '');
});

t.test('requests arrive as fetch sends them: method, query, body, from a Request, too', async (t) => {
  const service = await openService(t, async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    response.setHeader('X-Seen', `${request.method} ${request.url} ${request.headers['content-type']}`);
    response.statusCode = 201;
    response.end(body);
  });
  const { fetch } = service.client();
  const posted = await fetch('/a?b=c#d', {
    method: 'post',
    body: JSON.stringify({ a: 1 }),
    headers: { 'Content-Type': 'a/b' },
  });
  t.same([posted.status, posted.ok, posted.statusText], [201, true, 'Created']);
  t.equal(posted.url, `${service.baseUrl}/a?b=c`);
  t.equal(posted.headers.get('x-seen'), 'POST /a?b=c a/b');
  t.same(await posted.json(), { a: 1 });
  const request = new Request(`${service.baseUrl}/r`, { method: 'PUT', body: 'text' });
  const put = await fetch(request);
  t.equal(put.headers.get('x-seen'), 'PUT /r text/plain;charset=UTF-8');
  t.equal(await put.text(), 'text');
  const streamed = await fetch(new URL('/s', service.baseUrl), {
    method: 'POST',
    body: new Blob(['str', 'eam']).stream(),
    duplex: 'half',
  });
  t.equal(await streamed.text(), 'stream');
  const form = await fetch('/f', { method: 'POST', body: new URLSearchParams({ a: 'b' }) });
  t.match(form.headers.get('x-seen'), /POST \/f application\/x-www-form-urlencoded/);
});

t.test('another origin, a URL with a password and nonsense are refused without a request', async (t) => {
  const service = await openService(t, showHeaders);
  const client = service.client();
  const codeOf = (input: string, init?: RequestInit): Promise<unknown> =>
    client.fetch(input, init).then(
      () => 'none',
      (error: unknown) => (error instanceof QalError ? error.code : error),
    );
  t.equal(await codeOf('https://example.com/'), 'WRONG_ORIGIN');
  t.equal(await codeOf('//example.com/'), 'WRONG_ORIGIN');
  t.equal(await codeOf(service.baseUrl.replace('//', '//a:b@')), 'INVALID_ARGUMENT');
  t.equal(await codeOf('http://'), 'INVALID_ARGUMENT');
  await t.rejects(client.fetch('/', { headers: { 'a b': 'c' } }), TypeError, 'as fetch does');
  t.equal(service.backend.requests.length, 0);
  t.throws(() => createQalClient({ baseUrl: '/x', sdkAppId: 1 }), { code: 'INVALID_ARGUMENT' });
  t.throws(() => createQalClient({ baseUrl: 'ftp://a', sdkAppId: 1 }), { code: 'INVALID_ARGUMENT' });
});

t.test('a session is renewed before it ends, behind a request that does not wait', async (t) => {
  const service = await openService(t, showHeaders);
  const client = service.client();
  await client.fetch('/1');
  service.clock.advance(700);
  await client.fetch('/2');
  t.same(await service.sessions(), { created: 1 }, '700 of 900 seconds: not yet');
  service.clock.advance(25);
  await client.fetch('/3');
  await client.fetch('/4');
  await until(async () => ((await service.sessions()).resumed ?? 0) > 0);
  t.same(await service.sessions(), { created: 1, resumed: 1 }, 'and the terminal stays the same');
  service.clock.advance(899);
  await client.fetch('/5');
  t.same(await service.sessions(), { created: 1, resumed: 2 }, 'one that has ended is not sent');
});

async function until(done: () => Promise<boolean>): Promise<void> {
  const deadline = AbortSignal.timeout(10_000);
  while (!(await done())) {
    deadline.throwIfAborted();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

t.test('[A14] a revoked session is renewed once, and the request is sent again with its body', async (t) => {
  const service = await openService(t, async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    response.end(`${request.method} ${body}`);
  });
  const client = service.client();
  await client.fetch('/');
  const { qalIdentifier } = await client.session();
  const terminal = qalIdentifier.replace('@v_tls#', '');
  service.access.revoke(terminal);
  // This service’s terminals stay revoked: the second 401 is the answer.
  const again = await client.fetch('/', { method: 'POST', body: 'once' });
  t.equal(again.status, 401);
  t.match(await again.json(), { error: { code: 'SESSION_REVOKED' } }, 'its body is whole');
  t.same(await service.sessions(), { created: 1, resumed: 1 });
  t.equal(service.backend.requests.length, 1, 'the backend saw nothing of it');
});

t.test('a request whose session the server does not know any more arrives once', async (t) => {
  const service = await openService(t, async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    response.end(`${request.method} ${body}`);
  });
  let spoil = true;
  const client = service.client({
    fetch(input, init) {
      const headers = new Headers(init?.headers);
      if (spoil && headers.has('qal-session')) {
        spoil = false;
        headers.set('qal-session', 'spoilt');
      }
      return fetch(input, { ...init, headers });
    },
  });
  const answers = await Promise.all([client.fetch('/', { method: 'POST', body: 'once' }), client.fetch('/other')]);
  t.same(await Promise.all(answers.map((answer) => answer.text())), ['POST once', 'GET ']);
  t.equal(service.backend.requests.length, 2);
  t.same(await service.sessions(), { created: 1, resumed: 1 });

  spoil = true;
  const stream = await client.fetch('/', { method: 'POST', body: new Blob(['x']).stream(), duplex: 'half' });
  t.equal(stream.status, 401, 'a stream cannot be sent again');
  t.equal((await client.fetch('/next')).status, 200, 'but what comes next has a new session');
});

t.test('a 401 of the backend is the backend’s', async (t) => {
  const service = await openService(t, (_, response) => {
    response.writeHead(401, { 'Content-Type': 'application/json' });
    response.end('{"error":{"code":"NOT_OURS"}}');
  });
  const client = service.client();
  const answer = await client.fetch('/');
  t.same([answer.status, await answer.text()], [401, '{"error":{"code":"NOT_OURS"}}']);
  t.same(await service.sessions(), { created: 1 });
});

t.test('[A3] a terminal keeps its id over restarts, and over login and logout', async (t) => {
  const service = await openService(t, showHeaders);
  const folder = mkdtempSync(join(tmpdir(), 'qalgate-sdk-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const first = service.client({ storage: directoryStorage(folder) });
  const { qalIdentifier, account } = await first.session();
  t.equal(account, undefined);
  await first.close();
  const second = service.client({ storage: directoryStorage(folder) });
  t.same(await second.login('alice', () => userSig('alice')), { qalIdentifier, account: 'alice' });
  t.equal((await headersOf(await second.fetch('/')))['qal-account'], 'alice');
  await second.close();
  const third = service.client({ storage: directoryStorage(folder) });
  t.same(await third.session(), { qalIdentifier, account: undefined });
});

t.test('[A13] login binds the account; a UserSig that has expired is asked for again, once', async (t) => {
  const service = await openService(t, showHeaders);
  const client = service.client();
  const asked: unknown[] = [];
  const info = await client.login('alice', ({ refused }) => {
    asked.push(refused);
    return refused === undefined ? userSig('alice', { ago: 100, life: 50 }) : userSig('alice');
  });
  t.equal(info.account, 'alice');
  t.same(asked, [undefined, 'USERSIG_EXPIRED']);
  t.equal((await headersOf(await client.fetch('/')))['qal-account'], 'alice');

  let count = 0;
  const refused = client.login('bob', () => {
    count += 1;
    return userSig('bob', { ago: 100, life: 50 });
  });
  await t.rejects(refused, { name: 'QalError', code: 'USERSIG_EXPIRED', status: 401, retryable: false });
  t.equal(count, 2);
  await t.rejects(client.fetch('/'), { code: 'USERSIG_EXPIRED' }, 'nobody speaks for him without it, nor as alice');
  await t.rejects(
    client.login('carol', () => {
      throw new Error('the login server is away');
    }),
    { code: 'LOGIN_FAILED', retryable: true, cause: { message: 'the login server is away' } },
  );
  await t.rejects(
    client.login('', () => ''),
    { code: 'INVALID_FIELD' },
  );
  await t.rejects(
    client.login('dora', () => userSig('alice')),
    { code: 'USERSIG_IDENTIFIER_MISMATCH' },
  );
});

t.test('[A14] logout ends the session on the server, and the client goes on anonymously', async (t) => {
  const service = await openService(t, showHeaders);
  const client = service.client({ account: { identifier: 'alice', getUserSig: () => userSig('alice') } });
  let used = '';
  const spy = service.client({
    fetch: (input, init) => {
      used = new Headers(init?.headers).get('qal-session') ?? used;
      return fetch(input, init);
    },
    account: { identifier: 'alice', getUserSig: () => userSig('alice') },
  });
  t.equal((await headersOf(await client.fetch('/')))['qal-account'], 'alice');
  await spy.fetch('/');
  const old = used;
  await spy.logout();
  t.match(await service.sessions(), { ended: 1 });
  const replayed = await fetch(service.baseUrl, { headers: { 'QAL-Session': old } });
  t.equal(replayed.status, 401);
  await replayed.text();
});

t.test('a request of one account is never sent again in the name of another', async (t) => {
  const service = await openService(t, showHeaders);
  const held = Promise.withResolvers<void>();
  let spoil = true;
  const client = service.client({
    account: { identifier: 'alice', getUserSig: () => userSig('alice') },
    async fetch(input, init) {
      const headers = new Headers(init?.headers);
      if (!spoil || !headers.has('qal-session')) return fetch(input, init);
      spoil = false;
      await held.promise;
      headers.set('qal-session', 'spoilt');
      return fetch(input, { ...init, headers });
    },
  });
  const asAlice = client.fetch('/transfer', { method: 'POST', body: 'all of it' });
  const refused = t.rejects(asAlice, { code: 'ACCOUNT_CHANGED' });
  await until(async () => !spoil);
  await client.login('bob', () => userSig('bob'));
  held.resolve();
  await refused;
  t.equal(service.backend.requests.length, 0);
});

t.test('[A12] the network can change: before a session it is remembered, then reported, the latest last', async (t) => {
  const service = await openService(t, showHeaders);
  const client = service.client({ network: { apn: 'cmnet' } });
  await client.reportNetwork({ apn: 'wifi', rat: 'LTE' });
  t.same(await service.sessions(), {});
  t.match(await headersOf(await client.fetch('/1')), { 'qal-apn': 'wifi', 'qal-rat': 'LTE' });
  await Promise.all([client.reportNetwork({ apn: 'a' }), client.reportNetwork({ apn: 'b', rat: 'NR' })]);
  const after = await headersOf(await client.fetch('/2'));
  t.match(after, { 'qal-apn': 'b', 'qal-rat': 'NR', 'qal-rat-generation': '5' });
  t.match(await service.sessions(), { created: 1 });
  await t.rejects(client.reportNetwork({ apn: '' }), { code: 'INVALID_FIELD', message: /network|apn/ });
});

t.test('back-off with jitter: a session endpoint that is away is not asked for a while', async (t) => {
  const service = await openService(t, showHeaders);
  let calls = 0;
  let away = true;
  const server = createServer((_, response) => {
    calls += 1;
    if (away) {
      response.writeHead(503, { 'Content-Type': 'application/json', 'Retry-After': '3' });
      response.end('{"error":{"code":"DATABASE_UNAVAILABLE","message":"away","retryable":true,"requestId":"7"}}');
      return;
    }
    response.setHeader('Content-Type', 'application/json');
    const terminal = { id: 'abc', secret: 's' };
    response.end(JSON.stringify({ session: 'a.b.c', qalIdentifier: '@v_tls#abc', terminal, expiresIn: 900 }));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const client = service.client({ baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
  const expected = { code: 'DATABASE_UNAVAILABLE', status: 503, retryable: true, retryAfterMs: 3_000, requestId: '7' };
  await Promise.all([t.rejects(client.fetch('/'), expected), t.rejects(client.fetch('/x'), expected)]);
  t.equal(calls, 1);
  service.clock.advance(2);
  await t.rejects(client.fetch('/'), expected);
  t.equal(calls, 1, 'before Retry-After is over, the same error and no request');
  service.clock.advance(2);
  await t.rejects(client.fetch('/'), expected);
  t.equal(calls, 2);
  service.clock.advance(-10_000);
  away = false;
  t.same(
    await client.session(),
    { qalIdentifier: '@v_tls#abc', account: undefined },
    'a clock set back holds up nothing',
  );
  await t.rejects(service.client({ sdkAppId: testAppId + 1 }).fetch('/'), { code: 'APP_UNKNOWN', status: 404 });
});

t.test('what is no answer of the session endpoint is an error, not a session', async (t) => {
  const clock = undefined;
  for (const [status, body] of [
    [200, 'hello'],
    [200, '{}'],
    [200, '{"session":"a\\r\\nb","qalIdentifier":"x","terminal":{"id":"a","secret":"b"},"expiresIn":900}'],
    [200, '{"session":"a","qalIdentifier":"x","terminal":null,"expiresIn":900}'],
    [200, '{"session":"a","qalIdentifier":"x","terminal":{"id":"a","secret":"b"},"expiresIn":"900"}'],
    [502, '<html>'],
    [200, 'x'.repeat(70_000)],
  ] as const) {
    const backend = await openBackend(t, (_, response) => response.writeHead(status).end(body), clock);
    const client = createQalClient({ baseUrl: backend.url, sdkAppId: 1 });
    await t.rejects(client.fetch('/'), { code: 'BAD_RESPONSE', retryable: status === 502 }, body.slice(0, 40));
    await client.close();
  }
});

t.test(
  'every wait has an end: the head, a body that pauses, the session endpoint, and the caller’s signal',
  async (t) => {
    const service = await openService(t, (request, response) => {
      if (request.url === '/silent') return;
      response.writeHead(200, { 'Content-Length': 10 });
      response.write('half.');
    });
    // Long enough for a head that comes at once.
    const client = service.client({ limits: { silenceTimeoutMs: 1_000 } });
    await client.session();
    await t.rejects(client.fetch('/silent'), { code: 'TIMEOUT', retryable: true });
    const halting = await client.fetch('/halting');
    await t.rejects(halting.text(), { code: 'TIMEOUT' });
    const reason = new Error('the user left');
    await t.rejects(client.fetch('/silent', { signal: AbortSignal.abort(reason) }), reason);
    const abort = new AbortController();
    const patient = service.client();
    const waiting = t.rejects(patient.fetch('/silent', { signal: abort.signal }), reason);
    await service.backend.until(3);
    abort.abort(reason);
    await waiting;
    const later = new AbortController();
    const reading = await patient.fetch('/halting', { signal: later.signal });
    const read = t.rejects(reading.text(), reason);
    later.abort(reason);
    await read;

    const silent = await openBackend(t, () => {});
    const lost = createQalClient({ baseUrl: silent.url, sdkAppId: 1, limits: { sessionTimeoutMs: 60 } });
    await t.rejects(lost.fetch('/'), { code: 'TIMEOUT' });
    await silent.close();
    await t.rejects(createQalClient({ baseUrl: silent.url, sdkAppId: 1 }).fetch('/'), {
      code: 'NETWORK',
      retryable: true,
    });
    const { promise: never } = Promise.withResolvers<string>();
    await t.rejects(
      service.client({ limits: { sessionTimeoutMs: 60 } }).login('alice', () => never),
      { code: 'TIMEOUT' },
    );
  },
);

t.test('redirects are followed within the origin, and QAL-Session never leaves it', async (t) => {
  const elsewhere = await openBackend(t, showHeaders);
  const service = await openService(t, (request, response) => {
    const { url = '', method } = request;
    if (url === '/away') response.writeHead(302, { Location: `${elsewhere.url}/stolen` }).end();
    else if (url === '/loop') response.writeHead(302, { Location: '/loop' }).end();
    else if (url.startsWith('/to/')) response.writeHead(Number(url.slice(4)), { Location: '/end?x=1' }).end();
    else response.end(`${method} ${url}${request.headers['content-type'] ?? ''}`);
  });
  const client = service.client();
  const seen = async (status: number, method: string): Promise<string> =>
    (
      await client.fetch(`/to/${status}`, {
        method,
        ...(method === 'GET' ? {} : { body: 'b', headers: { 'Content-Type': 'a/b' } }),
      })
    ).text();
  t.equal(await seen(301, 'GET'), 'GET /end?x=1');
  t.equal(await seen(302, 'POST'), 'GET /end?x=1');
  t.equal(await seen(303, 'PUT'), 'GET /end?x=1');
  t.equal(await seen(307, 'POST'), 'POST /end?x=1a/b', 'with its body, and the fields of that');
  t.equal(await seen(308, 'PUT'), 'PUT /end?x=1a/b');
  const followed = await client.fetch('/to/302');
  t.same([followed.url, followed.redirected], [`${service.baseUrl}/end?x=1`, true]);
  await t.rejects(client.fetch('/away'), { code: 'WRONG_ORIGIN' });
  t.equal(elsewhere.requests.length, 0);
  await t.rejects(client.fetch('/loop'), { code: 'REDIRECT' });
  await t.rejects(client.fetch('/to/302', { redirect: 'error' }), { code: 'REDIRECT' });
  t.equal((await client.fetch('/to/302', { redirect: 'manual' })).status, 302);
  const request = new Request(`${service.baseUrl}/to/307`, { method: 'POST', body: 'b' });
  t.equal(await (await client.fetch(request)).text(), 'POST /end?x=1text/plain;charset=UTF-8');
  const stream = new Blob(['b']).stream();
  await t.rejects(client.fetch('/to/307', { method: 'POST', body: stream, duplex: 'half' }), { code: 'REDIRECT' });
  const portable = createQalClient({ baseUrl: service.baseUrl, sdkAppId: testAppId });
  await t.rejects(
    portable.fetch('/to/302'),
    { code: 'REDIRECT' },
    'the portable client refuses what it cannot follow safely',
  );
  await portable.close();
});

t.test('a closed client says so, and leaves nothing running', async (t) => {
  const service = await openService(t, showHeaders);
  const client = service.client();
  await client.fetch('/');
  await client.close();
  await client.close();
  const calls: (() => Promise<unknown>)[] = [
    () => client.fetch('/'),
    () => client.session(),
    () => client.login('a', () => ''),
    () => client.logout(),
    () => client.purge(),
    () => client.reportNetwork({}),
  ];
  for (const call of calls) await t.rejects(call() as Promise<void>, { code: 'CLOSED' });
});
