import t, { type Test } from 'tap';
import { openAccess, testApp, testAppId, testRoute } from '../support/access.ts';
import { openProxied, type Proxied, type ProxiedOptions } from '../support/proxied.ts';
import { fieldOf, type Message, openClient, openOrigin, readResponse, respond } from '../support/wire.ts';

/** What is taken for the same, who may share it, and what an answer says of that. */

const startMs = Date.UTC(2026, 10, 26, 8);

/** An origin whose every answer is a new number, with the fields that the request's path stands for. */
async function open(t: Test, fields: string, settings: ProxiedOptions = {}) {
  let count = 0;
  let nowMs = startMs;
  const opened = await openProxied(
    t,
    {
      onRequest(wire) {
        count += 1;
        wire.send(respond(String(count), fields));
      },
    },
    {
      ...settings,
      access: { cache: 'qal', ...settings.access },
      options: { clock: () => nowMs, ...settings.options },
    },
  );
  return {
    ...opened,
    pass: (sec: number) => {
      nowMs += sec * 1_000;
    },
  };
}

async function get(port: number, target: string, ...fields: string[]): Promise<Message> {
  const client = await openClient(port);
  client.send([`GET ${target} HTTP/1.1`, ...withHost(fields), '\r\n'].join('\r\n'));
  const answer = await readResponse(client);
  client.socket.destroy();
  return answer;
}

const withHost = (fields: string[]): string[] =>
  fields.some((field) => field.startsWith('Host:')) ? fields : ['Host: a.example', ...fields];

const body = async (access: Proxied['access'], target: string, ...fields: string[]): Promise<string> =>
  (await get(access.port, target, ...fields)).body;

async function metric(access: Proxied['access'], name: string): Promise<string> {
  return access.metrics.registry.getSingleMetricAsString(name);
}

const shared = 'Cache-Control: public, max-age=60\r\n';

t.test('[C12] host and scheme, path and query make a URL; a default port does not', async (t) => {
  const { access } = await open(t, shared, { options: { trustedProxies: ['127.0.0.1'] } });
  const first = await body(access, '/x?a=1');
  t.equal(await body(access, '/x?a=1', 'Host: A.Example:80'), first, 'case of the host, default port');
  t.equal(await body(access, 'http://a.example/x?a=1'), first, 'absolute form');
  t.not(await body(access, '/x?a=2'), first, 'query');
  t.not(await body(access, '/x'), first, 'no query');
  t.not(await body(access, '/X?a=1'), first, 'case of the path');
  t.not(await body(access, '/x?a=1', 'Host: b.example'), first, 'host');
  t.not(await body(access, '/x?a=1', 'Host: a.example:8080'), first, 'port');
  const secure = await body(access, '/x?a=1', 'X-Forwarded-Proto: https');
  t.not(secure, first, 'scheme, as a trusted proxy tells it');
  t.equal(await body(access, '/x?a=1', 'Host: a.example:443', 'X-Forwarded-Proto: https'), secure);
});

t.test('[C12] a scheme that anybody claims is none', async (t) => {
  const { access } = await open(t, shared);
  const first = await body(access, '/x');
  t.equal(await body(access, '/x', 'X-Forwarded-Proto: https'), first);
});

t.test('[C12] the query in any order, and without parameters that mean nothing, where the route says so', async (t) => {
  const { access, origin } = await open(t, shared, {
    route: { cacheSortQuery: true, cacheDropParams: ['utm_*', 'fbclid'] },
  });
  const first = await body(access, '/x?b=2&a=1&utm_source=mail');
  t.match(origin.requests[0]?.start, '/x?b=2&a=1&utm_source=mail', 'the backend gets it as it came (A1)');
  for (const same of ['/x?a=1&b=2', '/x?fbclid=9&b=2&a=1', '/x?a=1&&b=2&utm_campaign', '/x?utm_x=1&a=1&b=2&']) {
    t.equal(await body(access, same), first, same);
  }
  for (const other of ['/x?a=1', '/x?a=2&b=1', '/x?a=1&b=2&b=2', '/x?a=1&b=2&utm=3', '/x?a=1&b=2&FBCLID=9']) {
    t.not(await body(access, other), first, other);
  }
  t.equal(await body(access, '/y?utm_source=mail'), await body(access, '/y'), 'nothing is left of the query');
});

t.test('[C14] a purge of a URL means what its route takes for the same', async (t) => {
  const { access } = await open(t, `${shared}Cache-Tag: a\r\n`, {
    route: { cacheSortQuery: true, cacheDropParams: ['s'] },
  });
  const first = await body(access, '/x?b=2&a=1&s=9');
  const url = 'http://a.example/x?s=1&a=1&b=2';
  t.equal(access.proxy.purge({ by: 'url', sdkAppId: testAppId, url }), 1);
  t.equal(access.proxy.purge({ by: 'url', sdkAppId: testAppId, url }), 0, 'it is gone');
  t.not(await body(access, '/x?b=2&a=1'), first);
});

t.test('[C12] two apps, and two routes of one app, have nothing in common', async (t) => {
  const origin = await openOrigin({ onRequest: (wire, { start }) => wire.send(respond(start, shared)) });
  t.teardown(() => origin.close());
  const route = (host: string, prefix: string) => testRoute([origin.url], { host, prefix });
  const one = testApp([], { cache: 'qal', routes: [route('a.example', '/')] });
  const access = await openAccess([one]);
  t.teardown(() => access.close());
  await get(access.port, '/api/x');
  access.setApps([testApp([], { cache: 'qal', routes: [route('a.example', '/'), route('a.example', '/api')] })]);
  await get(access.port, '/api/x');
  t.equal(origin.requests.length, 2, 'the URL has moved to another route');
  access.setApps([{ ...one, sdkAppId: 7 }]);
  await get(access.port, '/api/x');
  t.equal(origin.requests.length, 3, 'and now to another app');
  access.setApps([one]);
  await get(access.port, '/api/x');
  t.equal(origin.requests.length, 4, 'an app that is gone leaves nothing behind for its number');
});

t.test('[C13] the debug field tells what was compared, to those who ask, where the app allows it', async (t) => {
  const fields =
    'Cache-Control: public, max-age=10\r\nQAL-Cache-Control: max-stale-age=60\r\nVary: Accept-Language\r\n';
  const { access, pass, origin } = await open(t, fields, { access: { cacheDebug: true } });
  const ask = 'QAL-Cache-Debug: 1';
  t.match(
    fieldOf(await get(access.port, '/x', ask), 'QAL-Cache-Debug'),
    /^mode=qal; age=0; fresh-until=10; fresh-by=max-age/,
  );
  t.notMatch(JSON.stringify(origin.requests[0]?.fields), /debug/i, 'it does not reach the backend');
  pass(4);
  t.equal(
    fieldOf(await get(access.port, '/x', ask), 'QAL-Cache-Debug'),
    'mode=qal; age=4; fresh-until=10; fresh-by=max-age; stale-until=60; stale-by=max-stale-age; error-until=60; vary="accept-language"',
  );
  t.equal(fieldOf(await get(access.port, '/x'), 'QAL-Cache-Debug'), undefined, 'nobody asked');
  const missed = await get(access.port, '/x', 'Range: bytes=0-0', 'Accept-Language: de', ask);
  t.equal(fieldOf(missed, 'QAL-Cache-Debug'), 'mode=qal');
});

t.test('[C13] a response that is not stored: the debug field says which rule refused it', async (t) => {
  const { access } = await open(t, 'Cache-Control: private, max-age=10\r\n', { access: { cacheDebug: true } });
  const answer = await get(access.port, '/x', 'QAL-Cache-Debug: 1');
  t.equal(fieldOf(answer, 'QAL-Cache-Debug'), 'mode=qal; not-stored=private');
  t.equal(fieldOf(answer, 'Cache-Status'), 'qalgate; fwd=uri-miss; detail=no-entry');
});

t.test('[C13] without leave there is no debug field, and without a cache no Cache-Status', async (t) => {
  const { access } = await open(t, shared);
  t.equal(fieldOf(await get(access.port, '/x', 'QAL-Cache-Debug: 1'), 'QAL-Cache-Debug'), undefined);
  const off = await open(t, shared, { access: { cache: 'off', cacheDebug: true } });
  const answer = await get(off.access.port, '/x', 'QAL-Cache-Debug: 1');
  t.equal(fieldOf(answer, 'QAL-Cache-Debug'), undefined);
  t.equal(fieldOf(answer, 'Cache-Status'), undefined);
});

t.test('[C8] a malformed QAL field is looked past, counted, and warned of once a minute', async (t) => {
  const { access, pass } = await open(
    t,
    'QAL-Cache-Control: max-stale-age=soon\r\nQAL-Stale-Expires: tomorrow\r\nETag: "a"\r\n',
  );
  for (let i = 0; i < 3; i += 1) await get(access.port, `/x/${i}?token=secret`);
  pass(60);
  await get(access.port, '/y');
  const counted = await metric(access, 'qalgate_cache_malformed_fields_total');
  t.match(counted, /field="QAL-Cache-Control"\} 4/);
  t.match(counted, /field="QAL-Stale-Expires"\} 4/);
  const warnings = access.logLines.filter(({ event }) => event === 'cache.field.malformed');
  t.equal(warnings.length, 4, 'two fields, two minutes');
  t.match(warnings[0], { level: 'warn', sdkAppId: testAppId, field: 'QAL-Cache-Control', url: 'http://a.example/x/0' });
  t.notMatch(JSON.stringify(warnings), /secret/);
});

t.test('[C14] tags beyond 64, and longer than 256 characters, are left out, counted, and warned of', async (t) => {
  const numbered = Array.from({ length: 65 }, (_, i) => `tag-${i}`);
  const long = 'x'.repeat(256);
  for (const [tags, kept, leftOut] of [
    [numbered.slice(0, 64), 'tag-63', undefined],
    [[...numbered, numbered[0]], 'tag-63', 'tag-64'],
    [[`${long}x`, long], long, `${long}x`],
  ] as const) {
    const { access } = await open(t, `${shared}Cache-Tag: ${tags.join()}\r\n`);
    await get(access.port, '/x');
    const counted = await metric(access, 'qalgate_cache_malformed_fields_total');
    const warned = access.logLines.filter(({ event }) => event === 'cache.field.malformed');
    if (leftOut === undefined) {
      t.notMatch(counted, /Cache-Tag/);
      t.strictSame(warned, []);
    } else {
      t.match(counted, /field="Cache-Tag"\} 1$/m);
      t.match(warned, [{ level: 'warn', field: 'Cache-Tag', url: 'http://a.example/x' }]);
      t.equal(access.proxy.purge({ sdkAppId: testAppId, by: 'tag', tag: leftOut }), 0);
    }
    t.equal(access.proxy.purge({ sdkAppId: testAppId, by: 'tag', tag: kept }), 1);
  }
});

t.test('[C14] what is stored is bounded: the least recently used gives way, and is counted', async (t) => {
  const origin = await openOrigin({ onRequest: (wire) => wire.send(respond('x'.repeat(20_000), shared)) });
  t.teardown(() => origin.close());
  const access = await openAccess([testApp([origin.url], { cache: 'qal' })], {
    cache: { bytes: 100_000, entryBytes: 50_000 },
  });
  t.teardown(() => access.close());
  for (let i = 0; i < 8; i += 1) await get(access.port, `/x/${i}`);
  t.match(await metric(access, 'qalgate_cache_evictions_total'), / 4$/m);
  t.match(await metric(access, 'qalgate_cache_entries'), / 4$/m);
  const bytes = Number(/ (\d+)$/m.exec(await metric(access, 'qalgate_cache_bytes'))?.[1]);
  t.ok(bytes > 80_000 && bytes <= 100_000, `${bytes} bytes`);
  await get(access.port, '/x/7');
  t.equal(origin.requests.length, 8, 'the newest are there');
  await get(access.port, '/x/0');
  t.equal(origin.requests.length, 9, 'the oldest are not');
});

t.test('[C13] every outcome is counted', async (t) => {
  const { access, pass } = await open(
    t,
    'Cache-Control: public, max-age=10, stale-while-revalidate=10\r\nVary: X-A\r\n',
  );
  await get(access.port, '/x');
  await get(access.port, '/x');
  await get(access.port, '/x', 'X-A: 1');
  await get(access.port, '/x', 'Cache-Control: no-cache');
  await get(access.port, '/x', 'If-Match: "a"');
  pass(15);
  await get(access.port, '/x');
  pass(30);
  await get(access.port, '/x');
  t.match(await metric(access, 'qalgate_cache_hits_total'), / 1$/m);
  t.match(await metric(access, 'qalgate_cache_stale_hits_total'), /rule="stale-while-revalidate"\} 1/);
  const misses = await metric(access, 'qalgate_cache_misses_total');
  for (const reason of ['uri-miss', 'vary-miss', 'request', 'bypass', 'stale'])
    t.match(misses, `reason="${reason}"} 1`);
});
