import t from 'tap';
import { readRequest } from '../../src/server/cli/message-head.ts';
import type { AccountId } from '../../src/wire/index.ts';
import { testApp, testAppId, testRoute } from '../support/access.ts';
import { until } from '../support/database.ts';
import { openProxied, type Proxied } from '../support/proxied.ts';
import {
  fieldOf,
  type Message,
  type OriginScript,
  openClient,
  readResponse,
  readResponses,
  respond,
} from '../support/wire.ts';

/** What a review of the cache in the proxy found: each of these gave somebody what was not for him. */

/** Answers with the fields that it makes links of, as backends behind a proxy do. */
const linking: OriginScript = {
  onRequest(wire, request) {
    const seen = ['Host', 'X-Forwarded-Host', 'X-Forwarded-Port', 'X-Forwarded-Proto'].map((name) =>
      request.fields
        .filter(([other]) => other.toLowerCase() === name.toLowerCase())
        .map(([, value]) => value)
        .join('+'),
    );
    wire.send(respond(seen.join(' '), 'Cache-Control: public, max-age=100\r\n'));
  },
};

async function get(proxied: Proxied, path: string, ...fields: string[]): Promise<{ body: string; isHit: boolean }> {
  const client = await proxied.client();
  client.send([`GET ${path} HTTP/1.1`, 'Host: a.example', ...fields, '\r\n'].join('\r\n'));
  const [answer] = await readResponses(client, 1);
  client.socket.destroy();
  if (answer === undefined) throw new Error('no answer');
  return { body: answer.body, isHit: /; hit/.test(fieldOf(answer, 'Cache-Status') ?? '') };
}

t.test('[C12] what a trusted proxy says of the connection tells answers apart', async (t) => {
  const proxied = await openProxied(t, linking, {
    access: { cache: 'qal' },
    options: { trustedProxies: ['127.0.0.0/8'] },
  });
  const kinds = [
    [],
    ['X-Forwarded-Host: evil.example'],
    ['X-Forwarded-Host: good.example'],
    ['X-Forwarded-Port: 444'],
    ['X-Forwarded-Proto: https'],
    ['X-Forwarded-Proto: https, http'],
    ['X-Forwarded-Proto: http', 'X-Forwarded-Proto: https'],
    ['X-Forwarded-Proto: https', 'Connection: X-Forwarded-Proto', 'X-Forwarded-Port: 445'],
  ];
  const first: string[] = [];
  for (const fields of kinds) {
    const { body, isHit } = await get(proxied, '/', ...fields);
    t.notOk(isHit, `not another's: ${fields.join(', ')}`);
    first.push(body);
  }
  for (const [i, fields] of kinds.entries()) {
    t.same(await get(proxied, '/', ...fields), { body: first[i], isHit: true }, `its own: ${fields.join(', ')}`);
  }
  const purge = (url: string): number => proxied.access.proxy.purge({ by: 'url', sdkAppId: testAppId, url });
  t.same([purge('http://a.example/'), purge('https://a.example/')], [5, 3], 'a purge of a URL ends them all');
});

t.test('[C12] what anybody else says of it reaches nobody', async (t) => {
  const proxied = await openProxied(t, linking, { access: { cache: 'qal' } });
  const evil = await get(proxied, '/', 'X-Forwarded-Host: evil.example', 'X-Forwarded-Proto: https');
  t.notMatch(evil.body, /evil|https/);
  t.same(await get(proxied, '/'), { body: evil.body, isHit: true });
});

t.test('[C12] what was stored for all is not found once the route is no longer for all', async (t) => {
  const script: OriginScript = {
    onRequest: (wire) => wire.send(respond('x', 'Cache-Control: max-age=100\r\n')),
  };
  const proxied = await openProxied(t, script, { access: { cache: 'qal' }, route: { cacheScope: 'shared' } });
  const upstream = proxied.origins.map(({ url }) => url);
  const session = (name: string): string => `QAL-Session: ${proxied.access.session({ account: name as AccountId })}`;
  await get(proxied, '/', session('alice'));
  t.ok((await get(proxied, '/', session('bob'))).isHit);
  proxied.access.setApps([testApp(upstream, { cache: 'qal', routes: [testRoute(upstream)] })]);
  t.notOk((await get(proxied, '/', session('bob'))).isHit);
  t.notOk((await get(proxied, '/', session('carol'))).isHit);
});

t.test('[C14] a cache that was off meanwhile, and saw no changes, starts with nothing', async (t) => {
  const script: OriginScript = {
    onRequest: (wire) => wire.send(respond('x', 'Cache-Control: max-age=100\r\n')),
  };
  const proxied = await openProxied(t, script, { access: { cache: 'qal' } });
  const upstream = proxied.origins.map(({ url }) => url);
  await get(proxied, '/');
  t.ok((await get(proxied, '/')).isHit);
  proxied.access.setApps([testApp(upstream, { cache: 'off' })]);
  proxied.access.setApps([testApp(upstream, { cache: 'qal' })]);
  t.notOk((await get(proxied, '/')).isHit);
});

t.test('cache explain prints nothing that a terminal would obey', async (t) => {
  for (const text of ['GET /\x1b[2J', 'GET /\x9b2J', 'X: \x9b31m', 'X: \x7f', 'GET /\x07 HTTP/1.1']) {
    t.equal(readRequest([text]).ok, false, JSON.stringify(text));
  }
  t.equal(readRequest(['GET /é HTTP/1.1\r\nX: a\tb é\xa0']).ok, true);
});

t.test('[C12] a request that may mean another method or URL is not for the cache', async (t) => {
  const { access, origin } = await openProxied(
    t,
    { onRequest: (wire) => wire.send(respond('ok', 'Cache-Control: public, max-age=60\r\n')) },
    { access: { cache: 'qal' } },
  );
  const ask = async (...fields: string[]): Promise<Message> => {
    const wire = await openClient(access.port);
    wire.send(['GET / HTTP/1.1', 'Host: a', ...fields, '\r\n'].join('\r\n'));
    const answer = await readResponse(wire);
    wire.socket.destroy();
    return answer;
  };
  await ask();
  const names = [
    'X-HTTP-Method-Override: DELETE',
    'x-original-url: /admin',
    'X_Rewrite_URL: /admin',
    'X-HTTP-Method: PUT',
  ];
  for (const [i, field] of names.entries()) {
    // The second request of a connection may take the lane.
    const wire = await openClient(access.port);
    const text = (...more: string[]): string => ['GET / HTTP/1.1', 'Host: a', ...more, '\r\n'].join('\r\n');
    wire.send(text());
    const first = await readResponse(wire);
    t.match(fieldOf(first, 'Cache-Status'), /hit/);
    wire.send(text(field));
    const answer = await readResponse(wire, { skip: first.raw.length });
    wire.socket.destroy();
    t.equal(fieldOf(answer, 'Cache-Status'), 'qalgate; fwd=bypass; detail=override', field);
    t.equal(origin.requests.length, 2 + 2 * i);
    t.match(fieldOf(await ask(), 'Cache-Status'), /fwd=uri-miss/, 'it may have changed something');
  }
});

t.test('[C11] clients that left do not hold a route’s connections', async (t) => {
  const { access } = await openProxied(
    t,
    {
      onRequest(wire, { start }) {
        if (start.includes('/now')) wire.send(respond('ok'));
        else wire.send('HTTP/1.1 200 OK\r\nCache-Control: public, max-age=60\r\nContent-Length: 100000\r\n\r\nslow');
      },
    },
    { access: { cache: 'qal' }, route: { maxConnections: 20, maxQueued: 0 } },
  );
  for (let i = 0; i < 60; i += 1) {
    const wire = await openClient(access.port);
    wire.send(`GET /${i} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await wire.until('the head', () => wire.received.includes('slow') || wire.received.includes('503'));
    t.notMatch(wire.received, '503');
    const before = i;
    wire.socket.destroy();
    await until(async () => {
      const fetches = await access.metrics.registry.getSingleMetricAsString('qalgate_cache_fetches');
      return Number(/ (\d+)$/m.exec(fetches)?.[1]) <= Math.min(5, before + 1);
    });
  }
  const wire = await openClient(access.port);
  wire.send('GET /now HTTP/1.1\r\nHost: a\r\n\r\n');
  t.match(await readResponse(wire), { body: 'ok' });
  wire.socket.destroy();
});
