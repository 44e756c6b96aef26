import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { createLogger, createMetrics } from '../../src/observe/index.ts';
import { laneWorks, openLane } from '../../src/proxy/lane.ts';
import { createListenerMetrics, openListener } from '../../src/server/listeners.ts';
import type { AppSettings } from '../../src/store/index.ts';
import { openAccess, testApp } from '../support/access.ts';
import { createCertificate } from '../support/certificates.ts';
import { until } from '../support/database.ts';
import { openProxied, type ProxiedOptions } from '../support/proxied.ts';
import {
  fieldOf,
  type OriginScript,
  openClient,
  openOrigin,
  readResponses,
  respond,
  statusOf,
  type Wire,
} from '../support/wire.ts';

/** The short way of hits: what comes out, is counted and is logged must be what the usual way makes of it. */

const cacheable = 'Cache-Control: public, max-age=100\r\nETag: "a"\r\n';

async function open(t: Test, lane: boolean, script: OriginScript, settings: ProxiedOptions = {}) {
  return openProxied(t, script, {
    ...settings,
    access: { cache: 'qal', ...settings.access },
    options: { lane, ...settings.options },
  });
}

/** Sends requests one after another over one connection and gives back all answers. */
async function talk(client: Wire, requests: readonly string[]): Promise<string[]> {
  const answers: string[] = [];
  let skip = 0;
  for (const request of requests) {
    client.send(request);
    const noBody = request.startsWith('HEAD');
    const [answer] = await readResponses(client, 1, { skip, noBody });
    const raw = answer?.raw ?? '';
    skip += raw.length;
    answers.push(raw);
  }
  return answers;
}

const get = (path: string, ...fields: string[]): string =>
  [`GET ${path} HTTP/1.1`, 'Host: a.example', ...fields, '\r\n'].join('\r\n');

t.test('the lane works with this Node', async (t) => {
  t.equal(await laneWorks(), true);
  t.equal(await laneWorks(), true, 'again, with a parser that was used before');
});

t.test('[C5] [C13] byte by byte what the usual way answers', async (t) => {
  const nowMs = Date.UTC(2026, 10, 26, 8, 0, 0);
  const clock = (): number => nowMs;
  const script: OriginScript = {
    onRequest(wire, { start }) {
      const path = start.split(' ')[1] ?? '';
      const date = 'Date: Thu, 26 Nov 2026 08:00:00 GMT\r\n';
      if (path === '/empty') wire.send(respond('', `${date}${cacheable}`));
      else if (path === '/large') wire.send(respond('x'.repeat(100_000), `${date}${cacheable}`));
      else if (path === '/vary') wire.send(respond('v', `${date}${cacheable}Vary: Accept-Language\r\n`));
      else if (path === '/chunked') {
        wire.send(`HTTP/1.1 200 OK\r\n${date}${cacheable}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`);
      } else if (path === '/private') wire.send(respond('p', `${date}Cache-Control: private, max-age=9\r\n`));
      else wire.send(respond('small', `${date}${cacheable}Content-Type: text/plain\r\nX-Odd:  \xe9\xff \r\n`));
    },
  };
  const many = Array.from({ length: 40 }, (_, i) => `X-Field-${i}: ${i}`);
  const requests = [
    ...['/small', '/empty', '/large', '/vary', '/chunked', '/private'].flatMap((path) => [
      get(path),
      get(path),
      get(path),
    ]),
    get('/small', 'If-None-Match: "a"'),
    get('/small', 'If-None-Match: "b"'),
    get('/small', 'If-Modified-Since: Thu, 26 Nov 2026 08:00:00 GMT'),
    get('/small', 'Range: bytes=1-2'),
    get('/small', 'Range: bytes=9-'),
    get('/large', 'Range: bytes=0-0, 9-19').replace('Range: bytes=0-0, 9-19', 'Range: bytes=0-0'),
    get('/vary', 'Accept-Language: de'),
    get('/vary', 'Accept-Language: de'),
    get('/small', 'Cache-Control: no-cache'),
    get('/small', 'Cache-Control: only-if-cached'),
    get('/none', 'Cache-Control: only-if-cached'),
    get('/small', ...many),
    'HEAD /small HTTP/1.1\r\nHost: a.example\r\n\r\n',
    'GET /small HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nok',
    get('http://a.example/small'),
    get('/small', 'Cookie: a=b'),
    get('/small'),
    get('/small', 'Connection: close'),
  ];
  const answers: string[][] = [];
  for (const lane of [false, true]) {
    const { client } = await open(t, lane, script, { options: { clock } });
    answers.push(await talk(await client(), requests));
  }
  const [usual = [], quick = []] = answers;
  for (const [i, request] of requests.entries()) {
    // Errors of ours name their request, and carry the wall clock's Date.
    const plain = (raw: string | undefined): string =>
      (raw ?? '').replace(/"requestId":"\d+"/, '').replace(/Date: .*(?=\r\n[\s\S]*CACHE_ONLY_MISS)/, '');
    t.equal(plain(quick[i]), plain(usual[i]), `${request.split('\r\n', 1)[0]} (${i})`);
  }
});

t.test('pipelined hits and misses come in the order in which they were asked for', async (t) => {
  const { client, origin } = await open(t, true, {
    onRequest: (wire, { start }) =>
      wire.send(respond(start.split(' ')[1] ?? '', start.includes('miss') ? '' : cacheable)),
  });
  const wire = await client();
  await talk(wire, [get('/hit')]);
  const skip = wire.received.length;
  const paths = ['/hit', '/miss1', '/hit', '/hit', '/miss2', '/miss3', '/hit'];
  wire.send(paths.map((path) => get(path)).join(''));
  const answers = await readResponses(wire, paths.length, { skip });
  t.same(
    answers.map(({ body }) => body),
    paths,
  );
  t.equal(origin.requests.length, 4, 'the hits asked nobody');
});

t.test('a parser that Node uses again answers for its new connection only', async (t) => {
  const { client, access } = await open(t, true, { onRequest: (wire) => wire.send(respond('ok', cacheable)) });
  const old: Wire[] = [];
  // Node keeps up to a thousand parsers; the last one freed is the first one used.
  for (let round = 0; round < 20; round += 1) {
    const wire = await client();
    await talk(wire, [get('/x'), get('/x'), get('/x')]);
    old.push(wire);
    wire.socket.end();
    await wire.end();
  }
  for (const wire of old) t.equal(wire.received.split('\r\n\r\nok').length - 1, 3, 'three answers and not one more');
  t.match(await access.metrics.registry.getSingleMetricAsString('qalgate_cache_hits_total'), / 59$/m);
});

t.test('it is logged, counted and limited as everything else', async (t) => {
  const { client, access } = await open(
    t,
    true,
    { onRequest: (wire) => wire.send(respond('ok', cacheable)) },
    { options: { accessLog: true }, limits: { requestsPerAddressPerSec: 1, requestBurstPerAddress: 4 } },
  );
  const wire = await client();
  const answers = await talk(wire, [
    get('/x?secret=1'),
    get('/x?secret=1'),
    get('/x?secret=1'),
    get('/y'),
    get('/x?secret=1'),
  ]);
  t.same(
    answers.map((raw) => raw.slice(9, 12)),
    ['200', '200', '200', '200', '429'],
    'a request takes one token, whichever way it goes',
  );
  const lines = access.logLines.filter(({ event }) => event === 'access');
  t.match(lines[1], {
    method: 'GET',
    path: '/x',
    status: 200,
    complete: true,
    bytesOut: 2,
    cache: /^qalgate; hit; ttl=/,
  });
  t.match(String(lines[1]?.requestId), /^\d+$/);
  t.notMatch(JSON.stringify(lines), /secret/);
  t.match(await access.metrics.registry.getSingleMetricAsString('qalgate_proxy_requests_total'), /class="2xx"\} 4/);
});

t.test('requests per connection: the last one says so and ends it', async (t) => {
  const { client } = await open(
    t,
    true,
    { onRequest: (wire) => wire.send(respond('ok', cacheable)) },
    { limits: { requestsPerConnection: 3 } },
  );
  const wire = await client();
  const answers = await talk(wire, [get('/x'), get('/x'), get('/x')]);
  t.match(answers[1], /Connection: keep-alive/);
  t.match(answers[2], /Connection: close/);
  t.equal(await wire.end(), 'end');
});

t.test('[C12] a session that ended gets nothing more, on a connection where it just got hits', async (t) => {
  const { client, access } = await open(t, true, {
    onRequest: (wire) => wire.send(respond('mine', 'Cache-Control: max-age=99\r\n')),
  });
  const wire = await client();
  const mine = get('/x', `QAL-Session: ${access.session()}`);
  const answers = await talk(wire, [mine, mine]);
  t.match(answers[1], /Cache-Status: qalgate; hit/);
  access.revoke('tarqqnwfrcdx');
  wire.send(mine);
  const [refused] = await readResponses(wire, 1, { skip: answers.join('').length });
  t.equal(refused === undefined ? 0 : statusOf(refused), 401);
});

t.test('a client that takes nothing of a large hit is cut, one that takes it slowly is not', async (t) => {
  const body = 'x'.repeat(200_000);
  const { client, access } = await open(
    t,
    true,
    { onRequest: (wire) => wire.send(respond(body, cacheable)) },
    { limits: { responseWriteTimeoutMs: 200 } },
  );
  const wire = await client();
  await talk(wire, [get('/x'), get('/x')]);
  wire.socket.pause();
  // More than all buffers on the way hold.
  for (let i = 0; i < 60; i += 1) wire.send(get('/x'));
  const other = await client();
  await talk(other, [get('/x'), get('/x'), get('/x')]);
  t.equal(other.received.split('\r\n\r\nx').length, 4, 'nobody else waits');
  await until(async () =>
    / 1$/m.test(await access.metrics.registry.getSingleMetricAsString('qalgate_proxy_connections')),
  );
  wire.socket.resume();
  t.equal(await wire.end(), 'reset', 'an answer that was cut does not look complete');
});

t.test('an answer that somebody is still taking does not change under him when its head is made anew', async (t) => {
  let nowMs = Date.UTC(2026, 10, 26, 8, 0, 0);
  const body = `<${'x'.repeat(199_998)}>`;
  const { client } = await open(
    t,
    true,
    { onRequest: (wire) => wire.send(respond(body, `Date: ${new Date(nowMs).toUTCString()}\r\n${cacheable}`)) },
    { options: { clock: () => nowMs } },
  );
  const slow = await client();
  await talk(slow, [get('/x'), get('/x')]);
  slow.socket.pause();
  const count = 60;
  for (let i = 0; i < count; i += 1) slow.send(get('/x'));
  const ages: (string | undefined)[] = [];
  for (const sec of [1, 9, 10, 100]) {
    nowMs = Date.UTC(2026, 10, 26, 8, 0, 0) + (sec % 100) * 1_000;
    const other = await client();
    const answers = await talk(other, [get('/x'), get('/x'), get('/x')]);
    for (const answer of answers) t.ok(answer.endsWith(`\r\n\r\n${body}`));
    ages.push(/Age: (\d+)/.exec(answers[2] ?? '')?.[1]);
    other.socket.destroy();
  }
  t.same(ages, ['1', '9', '10', '0']);
  slow.socket.resume();
  const all = await readResponses(slow, count + 2);
  t.ok(all.every((answer) => answer.body === body && /^\d+$/.test(fieldOf(answer, 'Age') ?? '0')));
  nowMs += 33_000;
  const [, last] = await talk(await client(), [get('/x'), get('/x')]);
  t.match(last, /Age: 33\r\n/);
  t.ok(last?.endsWith(`\r\n\r\n${body}`));
});

t.test('closing the listener: connections that only had hits end at once, and no answer is lost', async (t) => {
  const origin = await openOrigin({ onRequest: (wire) => wire.send(respond('ok', cacheable)) });
  const apps: AppSettings[] = [testApp([origin.url], { cache: 'qal' })];
  const access = await openAccess(apps);
  t.teardown(() => origin.close());
  const wires = await Promise.all(Array.from({ length: 5 }, () => openClient(access.port)));
  for (const wire of wires) await talk(wire, [get('/x'), get('/x'), get('/x')]);
  const counts = await access.listener.close(60_000);
  await access.proxy.close();
  t.match(counts, { idle: 5, destroyed: 0 });
  for (const wire of wires) t.equal(wire.received.split('\r\n\r\nok').length - 1, 3);
});

t.test('over TLS too, and a scheme of its own', async (t) => {
  const { access, client, origin } = await open(t, true, { onRequest: (wire) => wire.send(respond('ok', cacheable)) });
  const { cert, key } = createCertificate('localhost');
  const folder = t.testdir({ 'cert.pem': cert, 'key.pem': key });
  const listener = await openListener(
    { logger: createLogger({ level: 'silent' }), metrics: createListenerMetrics(createMetrics()) },
    {
      name: 'access',
      address: { host: '127.0.0.1', port: 0 },
      server: access.proxy.serverOptions,
      handlers: access.proxy.handlers,
      tls: { certFile: `${folder}/cert.pem`, keyFile: `${folder}/key.pem` },
    },
  );
  t.teardown(() => listener.close(0));
  const { port } = listener.server.address() as AddressInfo;
  const secure = await openClient(port, { ca: cert });
  const answers = await talk(secure, [get('/x'), get('/x'), get('/x')]);
  t.match(answers[2], /Cache-Status: qalgate; hit/);
  await talk(await client(), [get('/x')]);
  t.equal(origin.requests.length, 2, 'http and https share nothing');
  secure.socket.destroy();
});

t.test('without the lane everything is answered the usual way', async (t) => {
  const { client, access } = await open(t, false, { onRequest: (wire) => wire.send(respond('ok', cacheable)) });
  const answers = await talk(await client(), [get('/x'), get('/x')]);
  t.match(answers[1], /Cache-Status: qalgate; hit/);
  t.match(await access.metrics.registry.getSingleMetricAsString('qalgate_proxy_lane'), / 0$/m);
});

t.test('a socket without the expected parser has no lane', async (t) => {
  const origin = await openOrigin();
  t.teardown(() => origin.close());
  const wire = await openClient(origin.port);
  t.equal(
    openLane(wire.socket, () => true),
    false,
  );
  wire.socket.destroy();
});
