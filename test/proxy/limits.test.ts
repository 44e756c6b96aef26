import t, { type Test } from 'tap';
import type { AccountId, ErrorBody, ErrorCode } from '../../src/wire/index.ts';
import { testAppId } from '../support/access.ts';
import { countBytes, floodBytes, pour } from '../support/flood.ts';
import { openProxied } from '../support/proxied.ts';
import {
  fieldOf,
  hasEnded,
  type Message,
  openClient,
  readMessage,
  readResponse,
  readResponses,
  respond,
  sendAlone,
  splitMessages,
  statusOf,
  type Wire,
} from '../support/wire.ts';

const get = (fields = '', target = '/') => `GET ${target} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;
const post = (fields: string, body = '') => `POST / HTTP/1.1\r\nHost: a\r\n${fields}\r\n${body}`;

function assertError(t: Test, answer: Message, status: number, code: ErrorCode): void {
  t.equal(statusOf(answer), status);
  t.equal((JSON.parse(answer.body) as ErrorBody).error.code, code);
}

/** Sends pieces with pauses between them, until all are sent or the other side ends the connection. */
async function trickle(wire: Wire, pieces: string[], pauseMs: number): Promise<void> {
  for (const piece of pieces) {
    if (wire.ended !== 'no') return;
    wire.send(piece);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

t.test('connections are limited, by address and in all', async (t) => {
  for (const limits of [{ connectionsPerAddress: 2 }, { connections: 2 }]) {
    await t.test(Object.keys(limits).join(), async (t) => {
      const { client, access } = await openProxied(t, {}, { limits });
      const open: Wire[] = [];
      for (let i = 0; i < 2; i += 1) {
        const wire = await client();
        wire.send(get());
        t.equal((await readResponse(wire)).body, 'ok');
        open.push(wire);
      }
      const refused = await openClient(access.port);
      refused.send(get());
      await refused.end();
      t.equal(refused.received, '', 'closed without a word: an answer would cost what the limit saves');
      // Those that are there go on, and when one leaves there is room again.
      open[0]?.socket.destroy();
      for (;;) {
        const again = await client();
        again.send(get());
        await again.until(
          'an answer or the end',
          () => again.ended !== 'no' || readMessage(again.received) !== undefined,
        );
        if (again.received !== '') break;
      }
      open[1]?.send(get());
      t.equal((await readResponses(open[1] as Wire, 2)).length, 2);
    });
  }
  await t.test('a trusted proxy brings many clients', async (t) => {
    const { client } = await openProxied(
      t,
      {},
      { limits: { connectionsPerAddress: 1 }, options: { trustedProxies: ['127.0.0.1'] } },
    );
    for (let i = 0; i < 3; i += 1) {
      const wire = await client();
      wire.send(get());
      t.equal((await readResponse(wire)).body, 'ok');
    }
  });
});

t.test('requests are limited by address: 429, and the connection serves on', async (t) => {
  const { client, origin } = await openProxied(
    t,
    {},
    { limits: { requestsPerAddressPerSec: 4, requestBurstPerAddress: 3 }, options: { trustedProxies: ['127.0.0.1'] } },
  );
  const wire = await client();
  const from = (address: string) => get(`X-Forwarded-For: ${address}\r\n`);
  wire.send(from('1.2.3.4').repeat(6));
  const answers = await readResponses(wire, 6);
  const refused = answers.filter((answer) => statusOf(answer) === 429);
  t.ok(refused.length >= 2 && refused.length <= 3, `${refused.length} of 6 refused`);
  t.strictSame(answers.slice(0, 3).map(statusOf), [200, 200, 200], 'a burst is let through');
  for (const answer of refused) {
    assertError(t, answer, 429, 'RATE_LIMITED');
    t.equal(fieldOf(answer, 'Retry-After'), '1');
  }
  t.equal(origin.requests.length, 6 - refused.length);
  wire.send(from('1.2.3.5'));
  t.equal(statusOf((await readResponses(wire, 7))[6] as Message), 200, 'another address has its own');
  let count = 7;
  do {
    wire.send(from('1.2.3.4'));
    count += 1;
    await wire.until('the next answer', () => splitMessages(wire.received).length === count);
  } while (statusOf(splitMessages(wire.received)[count - 1] as Message) !== 200);
  t.pass('after a while it may again');
});

t.test('bodies are limited, by length and by what comes', async (t) => {
  const { client, access, origin } = await openProxied(t, {}, { limits: { bodyBytes: 1_000 } });
  const ask = async (bytes: string): Promise<Message> => {
    const wire = await client();
    wire.send(bytes);
    const answer = await readResponse(wire);
    wire.socket.destroy();
    return answer;
  };
  t.equal((await ask(post('Content-Length: 1000\r\n', 'x'.repeat(1_000)))).body, 'ok', 'as long as allowed');
  t.equal((await ask(post('Transfer-Encoding: chunked\r\n', `3e8\r\n${'x'.repeat(1_000)}\r\n0\r\n\r\n`))).body, 'ok');
  const count = origin.requests.length;
  const connections = origin.connections.length;
  assertError(t, await ask(post('Content-Length: 1001\r\n', 'x'.repeat(1_001))), 413, 'BODY_TOO_LARGE');
  assertError(t, await ask(post('Content-Length: 1001\r\nExpect: 100-continue\r\n')), 413, 'BODY_TOO_LARGE');
  t.equal(origin.connections.length, connections, 'the origin saw nothing of those');
  const { received } = await sendAlone(
    access.port,
    post('Transfer-Encoding: chunked\r\n', `${'64\r\n'.concat('x'.repeat(100), '\r\n').repeat(11)}`),
  );
  assertError(t, readMessage(received) as Message, 413, 'BODY_TOO_LARGE');
  t.equal(origin.requests.length, count, 'and no complete request of this one');
  await origin.until('its connection cut', () => origin.connections.every(({ ended }) => ended !== 'no'));
});

t.test('a head that comes too slowly: 408 and closed', async (t) => {
  const { client, origin } = await openProxied(t, {}, { limits: { headersTimeoutMs: 300 } });
  const startedMs = performance.now();
  const [one, byOne, silent, second] = await Promise.all([client(), client(), client(), client()]);
  if (one === undefined || byOne === undefined || silent === undefined || second === undefined)
    throw new Error('four connections');
  one.send('GET / HTTP/1.1\r\nHost: a\r\n');
  const dripping = trickle(byOne, [...get('X-Slow: yes\r\n'.repeat(8))], 50);
  second.send(`${get()}GET / HTTP/1.1\r\nHost`);
  await Promise.all([one.end(), byOne.end(), silent.end(), second.end(), dripping]);
  t.ok(performance.now() - startedMs >= 280, 'not before its time');
  for (const wire of [one, byOne]) assertError(t, readMessage(wire.received) as Message, 408, 'REQUEST_TIMEOUT');
  const answers = splitMessages(second.received).map(statusOf);
  t.equal(answers[0], 200, 'the request before it was answered');
  t.ok(answers.length === 1 || answers[1] === 408);
  t.equal(origin.requests.length, 1);
});

t.test('a connection that stays idle between requests is closed', async (t) => {
  const { client } = await openProxied(t, {}, { limits: { keepAliveTimeoutMs: 200 } });
  const wire = await client();
  wire.send(get());
  t.equal((await readResponse(wire)).body, 'ok');
  t.equal(await wire.end(), 'end');
});

t.test('a body that stops: 408 and closed; one that moves may take its time', async (t) => {
  const { client, origin } = await openProxied(t, {}, { limits: { bodyIdleTimeoutMs: 400 } });
  const cases: Record<string, string> = {
    'by length': post('Content-Length: 10\r\n', 'hello'),
    'nothing at all': post('Content-Length: 10\r\n'),
    'in chunks': post('Transfer-Encoding: chunked\r\n', '5\r\nhello\r\n'),
    'to an endpoint of ours':
      'POST /.qal/v1/session HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n{"sdkAppId":',
  };
  await Promise.all(
    Object.entries(cases).map(async ([name, bytes]) => {
      const wire = await client();
      wire.send(bytes);
      await wire.end();
      const answers = splitMessages(wire.received);
      t.equal(answers.length, 1, name);
      assertError(t, answers[0] as Message, 408, 'REQUEST_TIMEOUT');
    }),
  );
  t.strictSame(origin.requests, []);
  await origin.until('all uploads cut', () => origin.connections.every(({ ended }) => ended !== 'no'));
  const slow = await client();
  slow.send(post('Content-Length: 12\r\n'));
  await trickle(slow, [...'take my time'], 60);
  t.equal((await readResponse(slow)).body, 'ok');
  t.equal(origin.requests[0]?.body, 'take my time');
});

t.test('a reader that takes nothing is cut; one that takes a little at a time is not', async (t) => {
  let poured: ReturnType<typeof pour> | undefined;
  const { client, origin } = await openProxied(
    t,
    {
      onRequest(wire, request) {
        const bytes = request.start.includes('/short') ? 30_000_000 : floodBytes;
        wire.send(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n`);
        poured = pour(wire, bytes);
      },
    },
    { limits: { responseWriteTimeoutMs: 500 } },
  );
  await t.test('nothing', async (t) => {
    const wire = await client();
    wire.socket.pause();
    wire.send(get());
    await origin.until('the end of the exchange', () => hasEnded(origin.connections[0]));
    wire.socket.resume();
    t.equal(await wire.end(), 'reset');
    t.ok(wire.receivedBytes < floodBytes);
  });
  await t.test('a little at a time', async (t) => {
    const wire = await client();
    wire.socket.pause();
    wire.send(get('', '/short'));
    // Long pauses, each shorter than the limit, in sum far longer.
    for (let i = 0; i < 6; i += 1) {
      await new Promise((resolve) => setTimeout(resolve, 250));
      const before = wire.receivedBytes;
      wire.socket.resume();
      await wire.until('some bytes more', () => wire.receivedBytes > before + 1_000_000);
      wire.socket.pause();
    }
    t.equal(wire.ended, 'no');
    const rest = 30_000_000 - wire.receivedBytes;
    await countBytes(wire).until(rest);
    t.ok((poured?.taken() ?? 0) === 30_000_000);
  });
});

t.test(
  'requests on one connection are limited: the last one says so, and those behind it are not answered',
  async (t) => {
    const { client, origin } = await openProxied(t, {}, { limits: { requestsPerConnection: 3 } });
    const wire = await client();
    wire.send(get().repeat(5));
    t.equal(await wire.end(), 'end');
    const answers = splitMessages(wire.received);
    t.strictSame(
      answers.map((answer) => fieldOf(answer, 'Connection')),
      ['keep-alive', 'keep-alive', 'close'],
    );
    t.equal(origin.requests.length, 3);
  },
);

t.test('[A11] the access log says what was asked and how it went, and no secrets', async (t) => {
  const { access, client, origin } = await openProxied(
    t,
    {
      onRequest: (wire, request) =>
        request.start.includes('/bad') ? wire.socket.destroy() : wire.send(respond('hello')),
    },
    { options: { accessLog: true } },
  );
  const session = access.session({ account: 'alice' as AccountId });
  const wire = await client();
  wire.send(
    post(`QAL-Session: ${session}\r\nAuthorization: Bearer secret\r\nContent-Length: 3\r\n`, 'abc').replace(
      'POST /',
      'POST /path?token=secret',
    ),
  );
  await readResponse(wire);
  wire.send(get('', '/bad'));
  await readResponses(wire, 2);
  wire.send('GET * HTTP/1.1\r\nHost: a\r\n\r\n');
  await wire.end();
  const lines = access.logLines.filter(({ event }) => event === 'access');
  t.match(lines, [
    {
      requestId: fieldOf(origin.requests[0] as Message, 'QAL-Req-Seq-No'),
      sdkAppId: testAppId,
      address: '127.0.0.1',
      account: 'alice',
      method: 'POST',
      host: 'a',
      path: '/path',
      status: 200,
      complete: true,
      bytesIn: 3,
      bytesOut: 5,
      upstream: origin.url,
    },
    { path: '/bad', status: 502, error: 'UPSTREAM_CLOSED' },
    { status: 400, error: 'BAD_TARGET' },
  ]);
  t.equal(lines.length, 3);
  t.notMatch(JSON.stringify(access.logLines), /secret|Bearer/);
  t.notOk(JSON.stringify(access.logLines).includes(session));
});
