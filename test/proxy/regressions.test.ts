import t from 'tap';
import type { ErrorBody } from '../../src/wire/index.ts';
import { until } from '../support/database.ts';
import { openProxied } from '../support/proxied.ts';
import { type Origin, openClient, readResponse, readResponses, respond, sendAlone, statusOf } from '../support/wire.ts';

/** Mistakes that a review found, each shown by what its client saw. */

const get = (target = '/', version = '1.1') => `GET ${target} HTTP/${version}\r\nHost: a\r\n\r\n`;

t.test('[A1] an interim 100 behind a complete request does not start its body’s time again', async (t) => {
  const bodyIdleTimeoutMs = 200;
  const { access } = await openProxied(
    t,
    {
      onRequest(wire) {
        wire.send('HTTP/1.1 100 Continue\r\n\r\n');
        setTimeout(() => wire.send(respond('done')), 3 * bodyIdleTimeoutMs);
      },
    },
    { limits: { bodyIdleTimeoutMs } },
  );
  const client = await openClient(access.port);
  t.teardown(() => client.socket.destroy());
  client.send('POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab');
  const [interim, answer] = await readResponses(client, 2);
  t.equal(interim?.start, 'HTTP/1.1 100 Continue');
  t.equal(answer?.start, 'HTTP/1.1 200 OK');
  t.equal(answer?.body, 'done');
});

t.test('a client that stops sending within an answer to the end of the connection sees that it was cut', async (t) => {
  const { client } = await openProxied(t, {
    onRequest: (wire) => wire.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n'),
  });
  const wire = await client();
  wire.send(get('/', '1.0'));
  await wire.until('the first piece', () => wire.received.endsWith('hello'));
  wire.socket.end();
  t.equal(await wire.end(), 'reset');
});

t.test('an answer to the end of the connection that a shutdown cuts does not look complete', async (t) => {
  const { access, client } = await openProxied(t, {
    onRequest: (wire) => wire.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n'),
  });
  const wire = await client();
  wire.send(get('/', '1.0'));
  await wire.until('the first piece', () => wire.received.endsWith('hello'));
  const counts = await access.listener.close(50);
  t.equal(await wire.end(), 'reset');
  t.match(counts, { destroyed: 1 });
});

t.test('a request to upgrade that is not forwarded as one: answered, and told that nothing follows', async (t) => {
  // Node's parser stops behind it: what came in the same packet would be lost, what came in the next one answered.
  const { access, origin } = await openProxied(t);
  const upgrades = {
    h2c: 'GET /1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n',
    'a websocket by POST':
      'POST /1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc',
  };
  for (const [name, upgrade] of Object.entries(upgrades)) {
    const before = origin.requests.length;
    const { received, ended } = await sendAlone(access.port, `${upgrade}${get('/2')}`);
    t.match(received, /^HTTP\/1\.1 200 OK\r\n(?:.*\r\n)*Connection: close\r\n/, name);
    t.equal(ended, 'end');
    t.equal(origin.requests.length, before + 1, 'one request went on');
  }
});

t.test('requests that an app cannot answer do not keep everybody else’s from it', async (t) => {
  const script = {
    onRequest(wire: Origin['connections'][number], request: { start: string }) {
      if (request.start.includes('/leaves')) wire.socket.end();
      else wire.send(respond('ok'));
    },
  };
  const { access } = await openProxied(t, [script, script]);
  const statuses = async (target: string, count: number): Promise<number[]> => {
    const seen: number[] = [];
    for (let i = 0; i < count; i += 1) {
      const wire = await openClient(access.port);
      wire.send(get(target));
      seen.push(statusOf(await readResponse(wire)));
      wire.socket.destroy();
    }
    return seen;
  };
  t.ok((await statuses('/leaves', 8)).every((status) => status === 502));
  const ejected = access.logLines.filter(({ event }) => event === 'proxy.upstream.ejected').map(({ origin }) => origin);
  t.equal(new Set(ejected).size, 2, 'both origins were left alone');
  t.same(await statuses('/', 4), [200, 200, 200, 200]);
});

t.test('an answer to a request to upgrade', async (t) => {
  const upgrade =
    'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n';

  await t.test('[A1] its fields come byte by byte', async (t) => {
    const { client } = await openProxied(t, {
      onRequest: (wire) =>
        wire.send('HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Name: \xe9\xff\r\n\r\n'),
    });
    const wire = await client();
    wire.send(upgrade);
    await wire.until('the head', () => wire.received.endsWith('\r\n\r\n'));
    t.match(wire.received, /^HTTP\/1\.1 101 (?:.*\r\n)+x-name: \xe9\xff\r\n/i);
    wire.socket.destroy();
  });

  await t.test('a 101 that switches to nothing is none', async (t) => {
    const { access } = await openProxied(t, { onRequest: (wire) => wire.send('HTTP/1.1 101 Switching\r\n\r\n') });
    const { received } = await sendAlone(access.port, upgrade);
    t.match(received, /^HTTP\/1\.1 502 Bad Gateway\r\n/);
    const { error } = JSON.parse(received.slice(received.indexOf('{'))) as ErrorBody;
    t.equal(error.code, 'UPSTREAM_BAD_RESPONSE');
  });
});

t.test('every request that was answered has its line in the access log', async (t) => {
  const { access } = await openProxied(
    t,
    { onRequest: (wire) => wire.send(respond('ok')) },
    { options: { accessLog: true } },
  );
  const requestIdOf = async (bytes: string): Promise<string> => {
    const client = await openClient(access.port);
    t.teardown(() => client.socket.destroy());
    client.send(bytes);
    const answer = await readResponse(client);
    return (JSON.parse(answer.body) as ErrorBody).error.requestId ?? '';
  };
  const post = (json: string) =>
    `POST /.qal/v1/session HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: ${json.length}\r\n\r\n${json}`;
  const cases: [bytes: string, line: object][] = [
    [
      'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
      { status: 400, error: 'AMBIGUOUS_HOST', method: 'GET', path: '/' },
    ],
    ['GET / HTTP/1.1\r\nHost : a\r\n\r\n', { status: 400, error: 'BAD_REQUEST' }],
    ['CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n', { status: 405, error: 'METHOD_NOT_ALLOWED', method: 'CONNECT' }],
    [
      'GET /.qal/x?secret HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
      { status: 404, error: 'NOT_FOUND', method: 'GET', path: '/.qal/x' },
    ],
    [
      get().replace('\r\n\r\n', '\r\nQAL-Session: none\r\n\r\n'),
      { status: 401, error: 'SESSION_INVALID', method: 'GET', path: '/', address: '127.0.0.1' },
    ],
    [
      post('{"sdkAppId":1400000000,"device":{"os":"BeOS"}}'),
      { status: 400, error: 'INVALID_FIELD', reason: /device\.os/, method: 'POST', path: '/.qal/v1/session' },
    ],
    [
      post('{"sdkAppId":1400000000,"identifier":"alice","userSig":"?"}'),
      { status: 401, error: 'USERSIG_MALFORMED', method: 'POST', sdkAppId: 1_400_000_000 },
    ],
  ];
  for (const [bytes, line] of cases) {
    const requestId = await requestIdOf(bytes);
    t.match(requestId, /^[0-9]+$/);
    await until(() => access.logLines.some((one) => one.requestId === requestId));
    t.match(
      access.logLines.find((one) => one.requestId === requestId),
      { event: 'access', ...line },
      bytes.slice(0, 40),
    );
  }
});

t.test('a type without a body is no body to wait for', async (t) => {
  const { client, access } = await openProxied(t);
  const wire = await client();
  const fields = `Host: a\r\nContent-Type: application/json\r\nQAL-Session: ${access.session()}\r\n`;
  wire.send(`DELETE /.qal/v1/session HTTP/1.1\r\n${fields}\r\n`);
  t.equal(statusOf(await readResponse(wire)), 204);
  const other = await client();
  other.send('POST /.qal/v1/session HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\r\n');
  const answer = await readResponse(other);
  t.equal(statusOf(answer), 400);
  t.match(JSON.parse(answer.body), { error: { code: 'INVALID_FIELD', field: 'body' } });
});
