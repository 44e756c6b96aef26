import type { IncomingMessage, ServerResponse } from 'node:http';
import t, { type Test } from 'tap';
import type { QalClient, QalClientOptions } from '../../src/sdk/index.ts';
import { cacheStatus, get, openService, type Service, userSig } from '../support/sdk-service.ts';

type Fields = Record<string, string | string[]>;

/** A backend whose answers count up, `v1`, `v2`, …, with the fields that the test says; 304 to whoever has the current one. */
interface Counting {
  service: Service;
  client: QalClient;
  fields: Fields;
  /** Answered in place of the usual. */
  next: ((request: IncomingMessage, response: ServerResponse) => unknown) | undefined;
  /** The version stays the same from now on. */
  frozen: boolean;
  readonly count: number;
}

async function openCounting(t: Test, fields: Fields, options: Partial<QalClientOptions> = {}): Promise<Counting> {
  let version = 0;
  const service = await openService(t, (request, response) => {
    const { next } = counting;
    if (next !== undefined) {
      counting.next = undefined;
      return next(request, response);
    }
    if (!counting.frozen || version === 0) version += 1;
    for (const [name, value] of Object.entries(counting.fields)) response.setHeader(name, value);
    const noneMatch = request.headers['if-none-match'];
    const isCurrent =
      noneMatch?.split(', ').includes(String(counting.fields.ETag)) ||
      (noneMatch === undefined &&
        request.headers['if-modified-since'] !== undefined &&
        request.headers['if-modified-since'] === counting.fields['Last-Modified']);
    if (isCurrent) return response.writeHead(304).end();
    return response.end(request.method === 'HEAD' ? undefined : `v${version}`);
  });
  const counting: Counting = {
    service,
    client: service.client(options),
    fields,
    next: undefined,
    frozen: false,
    get count() {
      return service.backend.requests.length;
    },
  };
  return counting;
}

const drop = (_: IncomingMessage, response: ServerResponse): void => void response.socket?.destroy();
const fail = (status: number) => (_: IncomingMessage, response: ServerResponse) =>
  response.writeHead(status).end('failed');

t.test('[C5] max-age: within it a hit answers with no request, and says so', async (t) => {
  const c = await openCounting(t, { 'Cache-Control': 'max-age=60', 'X-A': 'b' });
  t.same(await get(c.client, '/a'), ['v1', 'fwd=uri-miss; stored; detail=no-entry']);
  c.service.clock.advance(59);
  const hit = await c.client.fetch('/a');
  t.same([await hit.text(), cacheStatus(hit)], ['v1', 'hit; detail=max-age']);
  t.equal(hit.headers.get('age'), '59', '[C13]');
  t.match(hit.headers.get('cache-status'), /qal-sdk; hit; ttl=1; detail=max-age$/, '[C13]');
  t.same([hit.status, hit.statusText, hit.url, hit.headers.get('x-a')], [200, 'OK', `${c.service.baseUrl}/a`, 'b']);
  t.equal(hit.headers.get('content-length'), '2');
  t.equal(c.count, 1);
  t.same(await c.service.sessions(), { created: 1 });
  c.service.clock.advance(1);
  t.same(await get(c.client, '/a'), ['v2', 'fwd=stale; stored; detail=expired']);
  t.equal((await get(c.client, '/a?other'))[0], 'v3', 'the query is part of the key');
  t.match(c.client.cacheStats(), { hits: 1, misses: 3, stored: 3 });
});

t.test('[C6] Expires: fresh until that date; max-age wins; an invalid date is stale', async (t) => {
  const c = await openCounting(t, {});
  c.fields = { Expires: new Date(c.service.clock() + 30_000).toUTCString() };
  await get(c.client, '/a');
  c.service.clock.advance(29);
  t.same(await get(c.client, '/a'), ['v1', 'hit; detail=expires']);
  c.service.clock.advance(1);
  c.fields = { Expires: '0', ETag: '"e"' };
  t.equal((await get(c.client, '/a'))[0], 'v2');
  t.equal((await get(c.client, '/a'))[1], 'fwd=stale; fwd-status=304; stored; detail=expired');
  c.fields = { Expires: '0', 'Cache-Control': 'max-age=9' };
  await get(c.client, '/b');
  t.equal((await get(c.client, '/b'))[1], 'hit; detail=max-age');
});

t.test('[C3] a stored ETag goes back; a 304 refreshes the entry and the body is not sent again', async (t) => {
  const c = await openCounting(t, { ETag: '"one"', 'Cache-Control': 'max-age=10', 'X-A': 'old' });
  await get(c.client, '/a');
  c.service.clock.advance(11);
  c.fields = { ...c.fields, 'X-A': 'new' };
  const refreshed = await c.client.fetch('/a');
  t.equal(c.service.backend.requests[1]?.headers['if-none-match'], '"one"');
  t.same([refreshed.status, await refreshed.text(), refreshed.headers.get('x-a')], [200, 'v1', 'new']);
  t.equal(cacheStatus(refreshed), 'fwd=stale; fwd-status=304; stored; detail=expired');
  c.service.clock.advance(9);
  t.same(await get(c.client, '/a'), ['v1', 'hit; detail=max-age'], 'fresh anew');
  t.equal(c.count, 2);
  t.match(c.client.cacheStats(), { revalidated: 1, hits: 1 });
});

t.test('[C4] a stored Last-Modified goes back as If-Modified-Since', async (t) => {
  const lastModified = 'Tue, 03 Nov 2026 10:00:00 GMT';
  const c = await openCounting(t, { 'Last-Modified': lastModified });
  await get(c.client, '/a');
  t.same(await get(c.client, '/a'), ['v1', 'fwd=stale; fwd-status=304; stored; detail=no-lifetime']);
  t.equal(c.service.backend.requests[1]?.headers['if-modified-since'], lastModified);
  c.fields = { 'Last-Modified': 'Wed, 04 Nov 2026 10:00:00 GMT' };
  t.equal((await get(c.client, '/a'))[0], 'v3', 'and a new one replaces it');
});

t.test('[C2] what may not be stored in mode qal is not', async (t) => {
  const c = await openCounting(t, {});
  for (const [fields, rule] of [
    [{}, 'no-lifetime'],
    [{ 'Cache-Control': 'no-store, max-age=9' }, 'no-store'],
    [{ 'Cache-Control': 'no-cache', ETag: '"a"' }, 'no-cache'],
    [{ 'Cache-Control': 'max-age=9, must-revalidate' }, 'must-revalidate'],
    [{ 'Cache-Control': 'max-age=9', Pragma: 'no-cache' }, 'pragma'],
    [{ 'Cache-Control': 'max-age=9', Vary: '*' }, 'vary'],
    [{ 'Cache-Control': 'max-age=9', Vary: 'Cookie' }, 'vary'],
    [{ 'Cache-Control': 'max-age=nine' }, 'no-lifetime'],
  ] satisfies [Fields, string][]) {
    c.fields = fields;
    t.equal((await get(c.client, '/a'))[1], `fwd=uri-miss; detail=${rule}`);
  }
  c.next = (_, response) => response.writeHead(404, { 'Cache-Control': 'max-age=9' }).end('none');
  t.same(await get(c.client, '/a'), ['none', 'fwd=uri-miss; detail=status']);
  t.match(c.client.cacheStats(), { stored: 0, notStored: 9 });
});

t.test('mode rfc9111 stores what the RFC allows, mode off nothing', async (t) => {
  const c = await openCounting(t, { 'Last-Modified': 'Tue, 03 Nov 2020 10:00:00 GMT' }, { cache: 'rfc9111' });
  await get(c.client, '/a');
  t.same(await get(c.client, '/a'), ['v1', 'hit; detail=heuristic']);
  c.next = (_, response) => response.writeHead(301, { Location: '/a', 'Cache-Control': 'max-age=60' }).end();
  t.equal((await get(c.client, '/moved'))[0], 'v1', 'followed into the cache');
  t.equal((await get(c.client, '/moved'))[0], 'v1');
  t.equal(c.count, 2, 'a redirect is stored under its own URL');
  const off = c.service.client({ cache: 'off' });
  const plain = await off.fetch('/a');
  t.same([await plain.text(), plain.headers.get('cache-status')], ['v2', null]);
  t.match(off.cacheStats(), { hits: 0, misses: 0 });
});

for (const [title, fields, staleAt, goneAt, rule] of [
  [
    '[C7] max-age with stale-while-revalidate (as RFC 5861 has it)',
    { 'Cache-Control': 'max-age=10, stale-while-revalidate=20' },
    10,
    30,
    'stale-while-revalidate',
  ],
  ['[C8] max-stale-age alone', { 'QAL-Cache-Control': 'max-stale-age=15' }, 0, 15, 'max-stale-age'],
  [
    '[C9] max-age=15 with max-stale-age=60',
    { 'Cache-Control': 'max-age=15', 'QAL-Cache-Control': 'max-stale-age=60' },
    15,
    60,
    'max-stale-age',
  ],
  ['[C10] QAL-Stale-Expires', { 'Cache-Control': 'max-age=5', 'QAL-Stale-Expires': '' }, 5, 25, 'stale-expires'],
] satisfies [string, Fields, number, number, string][]) {
  t.test(`${title}: stale answers at once, with one refresh behind it`, async (t) => {
    const c = await openCounting(t, fields);
    if ('QAL-Stale-Expires' in fields) {
      c.fields = { ...fields, 'QAL-Stale-Expires': new Date(c.service.clock() + 25_000).toUTCString() };
    }
    await get(c.client, '/a');
    if (staleAt > 0) {
      c.service.clock.advance(staleAt - 1);
      t.match((await get(c.client, '/a'))[1], /^hit/);
      t.equal(c.count, 1);
      c.service.clock.advance(1);
    }
    // The refresh is held: nobody waits for it, and nobody begins a second one.
    const held = Promise.withResolvers<void>();
    c.next = async (_, response) => {
      await held.promise;
      for (const [name, value] of Object.entries(c.fields)) response.setHeader(name, value);
      response.end('refreshed');
    };
    const answers = await Promise.all(Array.from({ length: 30 }, () => get(c.client, '/a')));
    t.same([...new Set(answers.flat())], ['v1', `hit; detail=${rule}`]);
    await c.service.backend.until(2);
    t.same(await get(c.client, '/a'), ['v1', `hit; detail=${rule}`]);
    held.resolve();
    await c.service.event('refreshed');
    t.equal(c.count, 2, 'exactly one');
    t.equal((await get(c.client, '/a'))[0], 'refreshed', 'the next one gets the new one');
    // With no time to be fresh in, that one began another refresh.
    const extra = staleAt > 0 ? 0 : 1;
    await c.service.event('refreshed', 1 + extra);
    t.match(c.client.cacheStats(), { refreshes: 1 + extra, failedRefreshes: 0, staleHits: 31 + extra });

    const d = await openCounting(t, c.fields);
    await get(d.client, '/a');
    d.service.clock.advance(goneAt);
    t.equal((await get(d.client, '/a'))[1], cacheDetail(fields), 'past its end it is asked for');
    t.equal(d.count, 2);
  });
}

function cacheDetail(fields: Fields): string {
  return 'Cache-Control' in fields ? 'fwd=stale; stored; detail=expired' : 'fwd=stale; stored; detail=no-lifetime';
}

t.test('[C11] a refresh that fails, or is slow, takes no usable answer away', async (t) => {
  const c = await openCounting(t, { 'QAL-Cache-Control': 'max-stale-age=100', 'Cache-Control': 'max-age=1' });
  await get(c.client, '/a');
  c.service.clock.advance(2);
  for (const [i, next] of [drop, fail(500), fail(503)].entries()) {
    c.next = next;
    t.match(await get(c.client, '/a'), ['v1', /^hit/]);
    await c.service.event('refreshed', i + 1);
  }
  t.match(c.client.cacheStats(), { refreshes: 3, failedRefreshes: 3 });
  t.match((await get(c.client, '/a'))[1], /^hit/);
  await c.service.event('refreshed', 4);
  t.equal((await get(c.client, '/a'))[0], 'v2');
});

t.test(
  'stale-if-error: a stored answer stands in for errors and for silence, not for other answers (RFC 5861 §4)',
  async (t) => {
    const c = await openCounting(
      t,
      { 'Cache-Control': 'max-age=1, stale-if-error=60' },
      { limits: { silenceTimeoutMs: 80 } },
    );
    await get(c.client, '/a');
    c.service.clock.advance(5);
    c.next = fail(503);
    t.same(await get(c.client, '/a'), ['v1', 'fwd=stale; fwd-status=503; detail=stale-if-error']);
    c.next = drop;
    // The proxy makes a 502 of it.
    t.same(await get(c.client, '/a'), ['v1', 'fwd=stale; fwd-status=502; detail=stale-if-error']);
    c.next = () => {};
    t.same(await get(c.client, '/a'), ['v1', 'fwd=stale; detail=stale-if-error']);
    c.next = fail(404);
    t.same(await get(c.client, '/a'), ['failed', 'fwd=stale; detail=status']);
    c.next = fail(503);
    t.same(await get(c.client, '/a'), ['failed', 'fwd=uri-miss; detail=status'], 'the 404 ended it');
    await get(c.client, '/b');
    c.service.clock.advance(100);
    c.next = fail(503);
    t.same(await get(c.client, '/b'), ['failed', 'fwd=stale; detail=status'], 'not longer than it says');
  },
);

t.test('offline, what is stored is served without a session', async (t) => {
  const c = await openCounting(t, { 'Cache-Control': 'max-age=60, stale-if-error=600' });
  await get(c.client, '/a');
  await c.service.access.close();
  t.same(await get(c.client, '/a'), ['v1', 'hit; detail=max-age']);
  c.service.clock.advance(2_000 - 1_500);
  t.same(await get(c.client, '/a'), ['v1', 'fwd=stale; detail=stale-if-error']);
  await t.rejects(c.client.fetch('/b'), { code: 'NETWORK' });
});

t.test('[C11] identical requests at once are one request; each gets all of it', async (t) => {
  const c = await openCounting(t, { 'Cache-Control': 'max-age=60' });
  const held = Promise.withResolvers<void>();
  c.next = async (_, response) => {
    response.setHeader('Cache-Control', 'max-age=60');
    response.write('x'.repeat(100_000));
    await held.promise;
    response.end('end');
  };
  const all = Promise.all(Array.from({ length: 50 }, () => get(c.client, '/a')));
  const other = get(c.client, '/a', { headers: { 'X-Other': 'words' } });
  await c.service.backend.until(2);
  held.resolve();
  const answers = await all;
  t.equal(new Set(answers.map(([text]) => text)).size, 1);
  t.equal(answers[0]?.[0].length, 100_003);
  t.equal(answers.filter(([, status]) => status.includes('collapsed')).length, 49);
  t.equal((await other)[0], 'v1', 'what is asked in other words is another request');
  t.equal(c.count, 2);
  t.match(c.client.cacheStats(), { collapsed: 49 });
});

t.test('[C11] who cannot share goes at once; a leader that gives up, or fails, harms nobody', async (t) => {
  const c = await openCounting(t, { 'Cache-Control': 'no-store' });
  const answers = await Promise.all(Array.from({ length: 5 }, () => get(c.client, '/own')));
  t.same(new Set(answers.map(([text]) => text)).size, 5, 'not stored: each has its own');

  c.fields = { 'Cache-Control': 'max-age=60' };
  const held = Promise.withResolvers<void>();
  c.next = async (_, response) => {
    await held.promise;
    response.setHeader('Cache-Control', 'max-age=60');
    response.end('shared');
  };
  const leaving = new AbortController();
  const reason = new Error('left');
  const leader = t.rejects(c.client.fetch('/left', { signal: leaving.signal }), reason);
  await c.service.backend.until(6);
  const followers = Promise.all([get(c.client, '/left'), get(c.client, '/left')]);
  await new Promise((resolve) => setImmediate(resolve));
  leaving.abort(reason);
  await leader;
  const texts = (await followers).map(([text]) => text);
  held.resolve();
  t.same(texts, ['v6', 'v6']);
  t.equal(c.count, 7, 'one of those that waited asked, the other waited for that one');

  c.fields = { 'Cache-Control': 'max-age=1, stale-if-error=60' };
  await get(c.client, '/fails');
  c.service.clock.advance(10);
  c.next = fail(503);
  const stale = await Promise.all([get(c.client, '/fails'), get(c.client, '/fails')]);
  t.same(
    stale.map(([text]) => text),
    ['v6', 'v6'].map(() => stale[0]?.[0]),
  );
  t.match(
    stale.map(([, status]) => status),
    [/stale-if-error/, /stale-if-error/],
  );
});

t.test('[C11] who leaves alone ends the request', async (t) => {
  const c = await openCounting(t, {});
  const closed = Promise.withResolvers<void>();
  c.next = (_, response) => void response.once('close', closed.resolve);
  const leaving = new AbortController();
  const left = t.rejects(c.client.fetch('/a', { signal: leaving.signal }));
  await c.service.backend.until(1);
  leaving.abort();
  await left;
  await closed.promise;
  const canceled = Promise.withResolvers<void>();
  c.next = (_, response) => {
    response.once('close', canceled.resolve);
    response.setHeader('Cache-Control', 'max-age=9');
    response.write('some');
  };
  const response = await c.client.fetch('/b');
  await response.body?.cancel();
  await canceled.promise;
  await c.service.event('not-stored');
  t.match(c.service.events.filter(({ type }) => type === 'not-stored').at(-1), { rule: 'cancelled' });
  t.match((await get(c.client, '/b'))[1], /^fwd=uri-miss/, 'half a body is no body');
});

t.test('[C0] each account has its own; a change of account drops what the other had', async (t) => {
  const c = await openCounting(t, { 'Cache-Control': 'max-age=60, private' });
  const { client } = c;
  t.equal((await get(client, '/me'))[0], 'v1');
  await client.login('alice', () => userSig('alice'));
  t.same(await get(client, '/me'), ['v2', 'fwd=uri-miss; stored; detail=no-entry']);
  t.match(await get(client, '/me'), ['v2', /^hit/]);
  await client.login('alice', () => userSig('alice'));
  t.match(await get(client, '/me'), ['v2', /^hit/], 'the same account again changes nothing');
  await client.login('bob', () => userSig('bob'));
  t.equal((await get(client, '/me'))[0], 'v3');
  await client.login('alice', () => userSig('alice'));
  t.equal((await get(client, '/me'))[0], 'v4', 'it is dropped, not only out of sight');
  await client.logout();
  t.equal((await client.fetch('/me', { cache: 'only-if-cached' })).status, 504);
});

t.test('[C0] what is under way when the account changes is not stored for the next one', async (t) => {
  const c = await openCounting(t, { 'Cache-Control': 'max-age=60' });
  await c.client.login('alice', () => userSig('alice'));
  const held = Promise.withResolvers<void>();
  c.next = async (_, response) => {
    response.setHeader('Cache-Control', 'max-age=60');
    response.write('for ');
    await held.promise;
    response.end('alice');
  };
  const slow = await c.client.fetch('/me');
  await c.client.login('bob', () => userSig('bob'));
  held.resolve();
  t.equal(await slow.text(), 'for alice', 'who asked gets it');
  t.match((await get(c.client, '/me'))[1], /^fwd=uri-miss/);
  await c.client.login('alice', () => userSig('alice'));
  t.match((await get(c.client, '/me'))[1], /^fwd=uri-miss/);
});

t.test('users whom the app alone tells apart never see one another’s answers', async (t) => {
  const c = await openCounting(t, { 'Cache-Control': 'max-age=60' });
  const as = (name: string): RequestInit => ({ headers: { Authorization: `Bearer ${name}` } });
  t.equal((await get(c.client, '/me', as('one')))[0], 'v1');
  t.equal((await get(c.client, '/me', as('two')))[0], 'v2');
  t.equal((await get(c.client, '/me'))[0], 'v3');
  t.match(await get(c.client, '/me', as('one')), ['v1', /^hit/]);
});

t.test('Vary: over what the SDK sends, and over what the access service adds (C12)', async (t) => {
  const c = await openCounting(t, { 'Cache-Control': 'max-age=60', Vary: 'accept-Language' });
  const speaking = (language: string): RequestInit => ({ headers: { 'Accept-Language': language } });
  t.equal((await get(c.client, '/a', speaking('en')))[0], 'v1');
  t.same(await get(c.client, '/a', speaking('de')), ['v2', 'fwd=vary-miss; stored; detail=no-entry']);
  t.match(await get(c.client, '/a', speaking('en')), ['v1', /^hit/]);
  t.match(await get(c.client, '/a', speaking('de')), ['v2', /^hit/]);
  c.fields = { 'Cache-Control': 'max-age=60', Vary: 'QAL-RAT' };
  await c.client.reportNetwork({ apn: 'wifi' });
  t.equal((await get(c.client, '/net'))[0], 'v3');
  t.match((await get(c.client, '/net'))[1], /^hit/);
  await c.client.reportNetwork({ apn: 'cmnet', rat: 'LTE' });
  t.equal((await get(c.client, '/net'))[0], 'v4');
  await c.client.reportNetwork({ apn: 'wifi' });
  t.equal((await get(c.client, '/net'))[0], 'v3');
  c.fields = { ...c.fields, ETag: '"s"', Vary: 'X-Id' };
  c.frozen = true;
  for (const n of [1, 2, 3, 4, 5, 6]) await get(c.client, '/many', { headers: { 'X-Id': String(n) } });
  t.equal(
    c.service.backend.requests.at(-1)?.headers['if-none-match'],
    '"s"',
    'those that do not match are asked about, too',
  );
});

t.test('request Cache-Control and the cache modes of fetch', async (t) => {
  const c = await openCounting(t, { 'Cache-Control': 'max-age=60', ETag: '"a"' });
  const control = (value: string): RequestInit => ({ headers: { 'Cache-Control': value } });
  t.same((await c.client.fetch('/a', control('only-if-cached'))).status, 504);
  t.same((await c.client.fetch('/a', { cache: 'only-if-cached', mode: 'same-origin' })).status, 504);
  t.equal(c.count, 0);
  await get(c.client, '/a');
  c.service.clock.advance(10);
  t.match((await get(c.client, '/a', control('only-if-cached')))[1], /^hit/);
  t.equal(
    (await get(c.client, '/a', control('no-cache')))[1],
    'fwd=request; fwd-status=304; stored; detail=request-no-cache',
  );
  c.service.clock.advance(10);
  t.equal(
    (await get(c.client, '/a', control('max-age=5')))[1],
    'fwd=request; fwd-status=304; stored; detail=request-max-age',
  );
  t.equal(
    c.service.backend.requests.at(-1)?.headers['cache-control'],
    'max-age=5',
    'the caches on the way get it, too',
  );
  c.service.clock.advance(10);
  t.match((await get(c.client, '/a', control('min-fresh=55')))[1], /request-min-fresh/);
  t.equal(c.count, 4);
  c.service.clock.advance(70);
  t.match((await get(c.client, '/a', { cache: 'force-cache' }))[1], /^hit; detail=force-cache/);
  t.equal(c.count, 4);
  t.equal(
    (await get(c.client, '/a', { cache: 'no-cache' }))[1],
    'fwd=stale; fwd-status=304; stored; detail=request-no-cache',
    'RFC 9211 §2.2: of a fresh one alone the request is the reason',
  );
  t.equal(c.service.backend.requests.at(-1)?.headers['cache-control'], 'no-cache');
  t.equal((await get(c.client, '/a', { cache: 'reload' }))[1], 'fwd=uri-miss; stored; detail=no-entry');
  t.equal(c.service.backend.requests.at(-1)?.headers['cache-control'], 'no-cache');
  const [reloaded] = await get(c.client, '/a');
  t.equal((await get(c.client, '/a', { cache: 'no-store' }))[1], 'fwd=bypass; detail=no-store');
  t.same(await get(c.client, '/a'), [reloaded, 'hit; detail=max-age']);
  c.service.clock.advance(90);
  t.match((await get(c.client, '/a', control('max-stale=60')))[1], /^hit; detail=request-max-stale/);
  await c.service.event('refreshed');
  t.notOk(c.service.backend.requests.at(-1)?.headers['cache-control'], 'a refresh is not for one caller alone');
  await get(c.client, '/never', control('no-store'));
  t.match((await get(c.client, '/never'))[1], /^fwd=uri-miss/);
});

t.test('[C1] HEAD from a stored GET; conditions and ranges of the caller’s own', async (t) => {
  const c = await openCounting(t, { 'Cache-Control': 'max-age=60', ETag: '"a"' });
  t.match((await c.client.fetch('/a', { method: 'HEAD' })).headers.get('cache-status'), /fwd=uri-miss; detail=method/);
  c.next = (_, response) => {
    response
      .writeHead(200, { 'Cache-Control': 'max-age=60', ETag: '"a"', 'Content-Type': 'text/plain' })
      .end('0123456789');
  };
  await get(c.client, '/a');
  const head = await c.client.fetch('/a', { method: 'HEAD' });
  t.same([await head.text(), head.headers.get('content-length'), cacheStatus(head)], ['', '10', 'hit; detail=max-age']);
  t.equal(c.count, 2);
  // Who has an answer of his own, or wants a part, is for the server; what is stored stays.
  c.next = (_, response) => response.writeHead(304).end();
  const own = await c.client.fetch('/a', { headers: { 'If-None-Match': '"mine"' } });
  t.same([own.status, cacheStatus(own)], [304, 'fwd=bypass; detail=request']);
  t.equal(c.service.backend.requests.at(-1)?.headers['if-none-match'], '"mine"');
  c.next = (_, response) => response.writeHead(206, { 'Content-Range': 'bytes 2-4/10' }).end('234');
  const part = await c.client.fetch('/a', { headers: { Range: 'bytes=2-4' } });
  t.same([part.status, await part.text(), cacheStatus(part)], [206, '234', 'fwd=bypass; detail=request']);
  t.match(await get(c.client, '/a'), ['0123456789', /^hit/]);
});

t.test(
  '[C14] an unsafe method ends what is stored for its URL, and for what its answer names (RFC 9111 §4.4)',
  async (t) => {
    const c = await openCounting(t, { 'Cache-Control': 'max-age=60' });
    const fill = async (): Promise<void> => {
      for (const path of ['/a', '/b', '/c', '/d']) await get(c.client, path);
    };
    const isStored = async (path: string): Promise<boolean> =>
      (await c.client.fetch(path, { cache: 'only-if-cached' })).ok;
    await fill();
    c.next = (_, response) =>
      response.writeHead(201, { Location: '/b?x=1', 'Content-Location': '/c', 'Cache-Control': 'max-age=60' }).end();
    const posted = await c.client.fetch('/a', { method: 'POST', body: 'x' });
    t.equal(cacheStatus(posted), 'fwd=method; detail=method');
    t.same(await Promise.all(['/a', '/b', '/c', '/d'].map(isStored)), [false, true, false, true]);
    await fill();
    c.next = fail(500);
    await c.client.fetch('/a', { method: 'DELETE' });
    t.ok(await isStored('/a'), 'one that failed changed nothing');
    const held = Promise.withResolvers<void>();
    c.next = async (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60');
      response.write('be');
      await held.promise;
      response.end('fore');
    };
    const before = await c.client.fetch('/late');
    c.next = fail(200);
    await c.client.fetch('/late', { method: 'PUT', body: 'x' });
    held.resolve();
    t.equal(await before.text(), 'before');
    t.notOk(await isStored('/late'), 'what was asked before it is not stored after it');
  },
);

t.test('[C14] purge: a URL, a prefix, everything', async (t) => {
  const c = await openCounting(t, { 'Cache-Control': 'max-age=60' });
  for (const path of ['/a/1', '/a/2', '/b/1', '/b/2']) await get(c.client, path);
  t.equal(await c.client.purge('/a/1'), 1);
  t.equal(await c.client.purge('/a/1'), 0);
  t.match((await get(c.client, '/a/2'))[1], /^hit/);
  t.equal(await c.client.purge('/b/*'), 2);
  t.match((await get(c.client, '/b/1'))[1], /^fwd=uri-miss/);
  t.equal(await c.client.purge(), 2);
  t.match((await get(c.client, '/a/2'))[1], /^fwd=uri-miss/);
  await t.rejects(c.client.purge('https://example.com/*'), { code: 'WRONG_ORIGIN' });
});

t.test(
  '[C14] bounds: an entry that is too large is passed on as it comes, and what is used least goes first',
  async (t) => {
    const c = await openCounting(t, { 'Cache-Control': 'max-age=60' }, { limits: { entryBytes: 10_000 } });
    for (const chunked of [false, true]) {
      const path = `/large${chunked}`;
      c.next = (_, response) => {
        response.setHeader('Cache-Control', 'max-age=60');
        if (!chunked) response.setHeader('Content-Length', 1_000_000);
        for (let i = 0; i < 100; i += 1) response.write('x'.repeat(10_000));
        response.end();
      };
      t.equal((await get(c.client, path))[0].length, 1_000_000);
      t.match((await get(c.client, path))[1], /^fwd=uri-miss/);
      t.ok(c.service.events.some((event) => event.type === 'not-stored' && event.rule === 'too-large'));
    }
    t.equal(c.client.cacheStats().storageFailures, 0);
  },
);

t.test('a body that was cut off is not stored, and its reader is told', async (t) => {
  const c = await openCounting(t, {});
  for (const fields of [{ 'Content-Length': 10 }, {}] as Record<string, number>[]) {
    c.next = (_, response) => {
      response.writeHead(200, { 'Cache-Control': 'max-age=60', ...fields });
      response.write('half.');
      setImmediate(() => response.socket?.destroy());
    };
    const seen = c.service.events.filter(({ type }) => type === 'not-stored').length;
    await t.rejects((async () => (await c.client.fetch('/a')).text())(), { code: 'NETWORK' });
    await c.service.event('not-stored', seen + 1);
    t.match(c.service.events.filter(({ type }) => type === 'not-stored').at(-1), { rule: 'cut-off' });
    t.equal((await c.client.fetch('/a', { cache: 'only-if-cached' })).status, 504);
  }
});

t.test('answers that a server should not give do no harm', async (t) => {
  const c = await openCounting(t, { ETag: '"a"' });
  c.next = (_, response) => response.writeHead(304, { ETag: '"other"' }).end();
  t.equal((await c.client.fetch('/plain')).status, 304, 'a 304 that nobody asked for');
  await get(c.client, '/a');
  c.next = (_, response) => response.writeHead(304, { ETag: '"other"' }).end();
  t.equal((await get(c.client, '/a'))[0], 'v2', 'a 304 for another tag: asked again without condition');
  c.next = (_, response) =>
    response.writeHead(206, { 'Content-Range': 'bytes 0-0/2', 'Cache-Control': 'max-age=60' }).end('0');
  t.equal((await c.client.fetch('/part')).status, 206);
  t.match((await get(c.client, '/part'))[1], /^fwd=uri-miss/, 'a part that nobody asked for is not the whole');
  c.next = (_, response) => response.writeHead(204, { ETag: '"n"' }).end();
  t.equal((await c.client.fetch('/none')).status, 204);
});

t.test('[C13] our member of Cache-Status stands behind the proxy’s', async (t) => {
  const c = await openCounting(t, { 'Cache-Control': 'max-age=60', 'Cache-Status': 'qalgate; hit; ttl=30' });
  const first = await c.client.fetch('/a');
  t.equal(first.headers.get('cache-status'), 'qalgate; hit; ttl=30, qal-sdk; fwd=uri-miss; stored; detail=no-entry');
  await first.text();
  t.match((await c.client.fetch('/a')).headers.get('cache-status'), /^qalgate; hit; ttl=30, qal-sdk; hit; ttl=60/);
});

t.test(
  '[C13] behind the access service’s own cache: both say what they did, and one request reaches the backend',
  async (t) => {
    const service = await openService(
      t,
      (_, response) => {
        response.setHeader('Cache-Control', 'public, max-age=60');
        response.end('text');
      },
      { cache: 'qal' },
    );
    const [one, two] = [service.client(), service.client()];
    const statusOf = async (client: QalClient): Promise<string> => {
      const response = await client.fetch('/a');
      await response.text();
      return (response.headers.get('cache-status') ?? '').replaceAll(/ttl=\d+; /g, '');
    };
    t.match(await statusOf(one), /^qalgate; fwd=uri-miss; .*, qal-sdk; fwd=uri-miss; stored/);
    t.match(
      await statusOf(two),
      /^qalgate; hit; .*, qal-sdk; fwd=uri-miss; stored/,
      'the SDK does not make it stand aside',
    );
    t.match(await statusOf(two), /qal-sdk; hit; detail=max-age$/);
    t.equal(service.backend.requests.length, 1);
  },
);
