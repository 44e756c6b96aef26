import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import type { ErrorBody, ErrorCode } from '../../src/wire/index.ts';
import { testApp } from '../support/access.ts';
import { createCertificate } from '../support/certificates.ts';
import { until } from '../support/database.ts';
import { freePort } from '../support/free-port.ts';
import { openProxied, type Proxied } from '../support/proxied.ts';
import {
  fieldOf,
  hasEnded,
  type Message,
  openClient,
  openOrigin,
  readMessage,
  readResponse,
  respond,
  splitMessages,
  statusOf,
  type Wire,
} from '../support/wire.ts';

const get = (target = '/', fields = '') => `GET ${target} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;
const pathOf = (request: Message) => request.start.split(' ')[1] ?? '';
const serialOf = (request: Message) => fieldOf(request, 'QAL-Req-Seq-No') ?? '';

/** One request on a connection of its own; its answer. */
async function ask(proxied: Proxied, bytes = get()): Promise<Message> {
  const wire = await proxied.client();
  wire.send(bytes);
  const answer = await readResponse(wire, { noBody: bytes.startsWith('HEAD') });
  wire.socket.destroy();
  return answer;
}

function assertError(t: Test, answer: Message, status: number, code: ErrorCode): void {
  t.equal(statusOf(answer), status);
  t.match(fieldOf(answer, 'Content-Type'), /^application\/json/);
  t.equal(fieldOf(answer, 'Cache-Control'), 'no-store');
  const { error } = JSON.parse(answer.body) as ErrorBody;
  t.equal(error.code, code);
  t.match(error.requestId, /^\d+$/);
}

/** Sends a request whose answer breaks off: the client must not be able to take what it got for a complete message. */
async function assertBrokenOff(t: Test, proxied: Proxied, request = get()): Promise<string> {
  const wire = await proxied.client();
  wire.send(request);
  t.equal(await wire.end(), 'reset', 'the connection is cut');
  const { received } = wire;
  if (request.includes('HTTP/1.1\r\n')) t.equal(readMessage(received), undefined, 'what came is no complete message');
  return received;
}

t.test('an origin that refuses connections: 502', async (t) => {
  const proxied = await openProxied(t, {}, { route: { upstream: [`http://127.0.0.1:${await freePort()}`] } });
  assertError(t, await ask(proxied), 502, 'UPSTREAM_CONNECT_FAILED');
  assertError(
    t,
    await ask(proxied, 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello'),
    502,
    'UPSTREAM_CONNECT_FAILED',
  );
  t.equal((await ask(proxied, 'HEAD / HTTP/1.1\r\nHost: a\r\n\r\n')).raw.includes('\r\n\r\n'), true);
});

t.test('an origin whose name is not known: 502', async (t) => {
  const proxied = await openProxied(t, {}, { route: { upstream: ['http://no-such-host.invalid:80'] } });
  assertError(t, await ask(proxied), 502, 'UPSTREAM_CONNECT_FAILED');
});

t.test('an origin that takes connections and never gets ready: 504 after the connect time', async (t) => {
  // The handshake of TLS belongs to connecting; nobody answers it here.
  const silent = await openOrigin({ paused: true });
  t.teardown(silent.close);
  const proxied = await openProxied(
    t,
    {},
    { route: { upstream: [`https://127.0.0.1:${silent.port}`] }, timeouts: { connectMs: 200 } },
  );
  const startedMs = performance.now();
  assertError(t, await ask(proxied), 504, 'UPSTREAM_CONNECT_TIMEOUT');
  t.ok(performance.now() - startedMs >= 140, 'not before its time');
  await silent.until('the connection given up', () =>
    silent.connections.every((wire) => {
      wire.socket.resume();
      return wire.closed;
    }),
  );
});

t.test('an origin that is silent or leaves before its answer: one error, one request', async (t) => {
  const cases: [name: string, script: (wire: Wire) => void, status: number, code: ErrorCode][] = [
    ['silent', () => {}, 504, 'UPSTREAM_HEAD_TIMEOUT'],
    ['closes', (wire) => wire.socket.end(), 502, 'UPSTREAM_CLOSED'],
    ['resets', (wire) => wire.socket.resetAndDestroy(), 502, 'UPSTREAM_CLOSED'],
    ['closes within the status line', (wire) => wire.socket.end('HTTP/1.1 20'), 502, 'UPSTREAM_CLOSED'],
    ['closes within the head', (wire) => wire.socket.end('HTTP/1.1 200 OK\r\nContent-Le'), 502, 'UPSTREAM_CLOSED'],
    [
      'closes one byte before the end of the head',
      (wire) => wire.socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r'),
      502,
      'UPSTREAM_CLOSED',
    ],
    [
      'resets within the head',
      (wire) => wire.socket.write('HTTP/1.1 200 OK\r\nContent-Le', () => wire.socket.resetAndDestroy()),
      502,
      'UPSTREAM_CLOSED',
    ],
    ['is silent within the head', (wire) => wire.send('HTTP/1.1 200 OK\r\nX: y\r\n'), 504, 'UPSTREAM_HEAD_TIMEOUT'],
    [
      'closes behind an interim answer',
      (wire) => wire.socket.end('HTTP/1.1 100 Continue\r\n\r\n'),
      502,
      'UPSTREAM_CLOSED',
    ],
    [
      'answers with bare LF and waits',
      (wire) => wire.send('HTTP/1.1 200 OK\nContent-Length: 0\n\n'),
      504,
      'UPSTREAM_HEAD_TIMEOUT',
    ],
  ];
  for (const [name, script, status, code] of cases) {
    await t.test(name, async (t) => {
      const proxied = await openProxied(t, { onRequest: script }, { timeouts: { headMs: 300 } });
      assertError(t, await ask(proxied, 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello'), status, code);
      t.equal(proxied.origin.requests.length, 1, 'nothing was repeated');
      await proxied.origin.until('the connection given up', () => hasEnded(proxied.origin.connections[0]));
    });
  }
});

t.test('[A4] nothing is repeated on a connection that was reused and is closed with the request on it', async (t) => {
  const proxied = await openProxied(t, {
    onRequest(wire, request) {
      if (pathOf(request) === '/closed') wire.socket.destroy();
      else wire.send(respond('ok'));
    },
  });
  t.equal((await ask(proxied)).body, 'ok');
  assertError(t, await ask(proxied, get('/closed')), 502, 'UPSTREAM_CLOSED');
  t.equal((await ask(proxied)).body, 'ok');
  t.strictSame(proxied.origin.requests.map(pathOf), ['/', '/closed', '/']);
  t.equal(proxied.origin.connections.length, 2);
});

t.test('a connection that the origin closed while it was idle is not used again', async (t) => {
  const proxied = await openProxied(t, {
    onRequest: (wire) => wire.socket.end(respond('ok')),
  });
  for (let i = 1; i <= 5; i += 1) {
    t.equal((await ask(proxied)).body, 'ok');
    await proxied.origin.until('our end too', () => proxied.origin.connections[i - 1]?.closed ?? false);
    t.equal(proxied.origin.connections.length, i);
  }
});

t.test('an answer that breaks off cuts the client', async (t) => {
  const head = 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n';
  const cases: Record<string, string> = {
    'by length': `${head}Content-Length: 10\r\n\r\nhello`,
    'by length, no body yet': `${head}Content-Length: 10\r\n\r\n`,
    'chunked, within a chunk': `${head}Transfer-Encoding: chunked\r\n\r\na\r\nhello`,
    'chunked, between chunks': `${head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`,
    'chunked, within a size': `${head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1`,
    'chunked, within the last chunk': `${head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n`,
    'chunked, within the trailers': `${head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n`,
  };
  for (const [name, bytes] of Object.entries(cases)) {
    for (const way of ['closes', 'resets', 'is silent'] as const) {
      await t.test(`${name}; the origin ${way}`, async (t) => {
        const proxied = await openProxied(
          t,
          {
            onRequest(wire) {
              wire.socket.write(bytes, () => {
                if (way === 'closes') wire.socket.end();
                if (way === 'resets') wire.socket.resetAndDestroy();
              });
            },
          },
          { timeouts: { bodyIdleMs: 200 } },
        );
        await assertBrokenOff(t, proxied);
        await assertBrokenOff(t, proxied, 'GET / HTTP/1.0\r\nHost: a\r\n\r\n');
        t.equal(proxied.origin.requests.length, 2, 'nothing was repeated');
      });
    }
  }
  await t.test('to the end of the connection: a reset is no end', async (t) => {
    const proxied = await openProxied(t, {
      onRequest(wire) {
        wire.send(`${head}\r\nhello`);
      },
      onConnection(wire) {
        // Reset only when the client has what came before, for a reset overtakes it.
        wire.socket.on('data', () => void reset(wire));
      },
    });
    let client: Wire | undefined;
    const reset = async (wire: Wire): Promise<void> => {
      await client?.until('the beginning', () => client?.received.includes('hello') ?? false);
      wire.socket.resetAndDestroy();
    };
    for (const version of ['1.1', '1.0']) {
      client = await proxied.client();
      client.send(`GET / HTTP/${version}\r\nHost: a\r\n\r\n`);
      t.equal(await client.end(), 'reset', version);
      t.match(client.received, /hello/);
    }
  });
  await t.test('a chunk that is none', async (t) => {
    for (const rest of [
      'zz\r\nhello\r\n0\r\n\r\n',
      '5\nhello\r\n0\r\n\r\n',
      '5\r\nhello0\r\n\r\n',
      '-5\r\n',
      '0x5\r\n',
      `${'f'.repeat(13)}\r\n`,
      `5;${'a'.repeat(2_000)}\r\n`,
      '0\r\nX y\r\n\r\n',
      '0\r\nX: \0\r\n\r\n',
      '0\r\n X: y\r\n\r\n',
    ]) {
      const proxied = await openProxied(t, {
        onRequest: (wire) => wire.send(`${head}Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n${rest}`),
      });
      await assertBrokenOff(t, proxied);
      await proxied.origin.until('the connection given up', () => hasEnded(proxied.origin.connections[0]));
    }
  });
});

t.test('an exchange that takes too long in all: 504, or cut', async (t) => {
  const proxied = await openProxied(
    t,
    {
      onRequest(wire, request) {
        if (pathOf(request) === '/silent') return;
        wire.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
        const timer = setInterval(() => wire.send('1\r\nx\r\n'), 20);
        wire.socket.on('close', () => clearInterval(timer));
      },
    },
    { route: { timeouts: { totalMs: 400 } } },
  );
  assertError(t, await ask(proxied, get('/silent')), 504, 'UPSTREAM_TOTAL_TIMEOUT');
  await assertBrokenOff(t, proxied);
});

t.test('what is no HTTP answer, or could be read in two ways: 502, and none of it reaches the client', async (t) => {
  const line = 'HTTP/1.1 200 OK\r\n';
  const secret = 'stranger';
  const cases: Record<string, string> = {
    'a greeting of SMTP': '220 mail.example ESMTP\r\n',
    'a greeting of SSH': 'SSH-2.0-OpenSSH_9.2\r\n',
    binary: '\x00\x01\x02\x03\xff\xfe\r\n\r\n',
    'an alert of TLS': '\x15\x03\x03\x00\x02\x02\x28',
    'HTML alone': `<html>${secret}</html>`,
    'a request': `GET /${secret} HTTP/1.1\r\nHost: a\r\n\r\n`,
    'HTTP/0.9, an empty line first': `\r\n\r\n${secret}`,
    'an empty line before the status line': `\r\n${line}Content-Length: 0\r\n\r\n`,
    'HTTP/2': '\x00\x00\x12\x04\x00\x00\x00\x00\x00',
    'HTTP/1.2': 'HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n',
    'HTTP/2.0': 'HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n',
    'lower-case http': 'http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.10': 'HTTP/1.10 200 OK\r\nContent-Length: 0\r\n\r\n',
    'status of two digits': 'HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n',
    'status of four digits': 'HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n',
    'status below 100': 'HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n',
    'status of letters': 'HTTP/1.1 2xx OK\r\nContent-Length: 0\r\n\r\n',
    'two spaces before the status': 'HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n',
    'bare CR in the status line': 'HTTP/1.1 200 OK\rX: y\r\nContent-Length: 0\r\n\r\n',
    'bare LF behind the status line': 'HTTP/1.1 200 OK\nX: y\r\nContent-Length: 0\r\n\r\n',
    'NUL in the reason': 'HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n',
    'folded field': `${line}X: y\r\n z\r\nContent-Length: 0\r\n\r\n`,
    'folded first field': `${line} X: y\r\nContent-Length: 0\r\n\r\n`,
    'NUL in a value': `${line}X: y\0\r\nContent-Length: 0\r\n\r\n`,
    'bare CR in a value': `${line}X: y\rSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n`,
    'bare LF in a value': `${line}X: y\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n`,
    'space in a name': `${line}X Y: z\r\nContent-Length: 0\r\n\r\n`,
    '0xA0 behind a name': `${line}Content-Length\xa0: 0\r\n\r\n`,
    'no name': `${line}: y\r\nContent-Length: 0\r\n\r\n`,
    'no colon': `${line}X\r\nContent-Length: 0\r\n\r\n`,
    'length and coding': `${line}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    'coding and length': `${line}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`,
    'conflicting lengths': `${line}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!`,
    'a list of lengths': `${line}Content-Length: 5, 5\r\n\r\nhello`,
    'length with plus': `${line}Content-Length: +5\r\n\r\nhello`,
    'length with minus': `${line}Content-Length: -5\r\n\r\nhello`,
    'hexadecimal length': `${line}Content-Length: 0x5\r\n\r\nhello`,
    'empty length': `${line}Content-Length:\r\n\r\nhello`,
    'huge length': `${line}Content-Length: ${'9'.repeat(20)}\r\n\r\nhello`,
    'unknown coding': `${line}Transfer-Encoding: gzip\r\n\r\nhello`,
    'two codings': `${line}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
    'chunked twice': `${line}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    identity: `${line}Transfer-Encoding: identity\r\n\r\nhello`,
    'vertical tab before chunked': `${line}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n`,
    'chunked in HTTP/1.0': 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'an upgrade that nobody asked for': 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n',
    'too many interim answers': `${'HTTP/1.1 103 x\r\n\r\n'.repeat(17)}${respond('x')}`,
    'too many fields': `${line}${'X: y\r\n'.repeat(257)}Content-Length: 0\r\n\r\n`,
    'a huge head': `${line}X: ${'y'.repeat(70_000)}\r\nContent-Length: 0\r\n\r\n`,
    'a head that does not end': `${line}X: ${'y'.repeat(200_000)}`,
    'a line that does not end': 'HTTP/1.1 200 '.padEnd(200_000, 'x'),
  };
  let bytes = '';
  const proxied = await openProxied(t, {
    onRequest(wire, request) {
      wire.send(pathOf(request) === '/good' ? respond('good') : bytes);
    },
  });
  for (const [name, answer] of Object.entries(cases)) {
    await t.test(name, async (t) => {
      bytes = answer;
      const mark = proxied.origin.connections.length;
      const wire = await proxied.client();
      wire.send(get());
      await wire.until('the answer', () => splitMessages(wire.received).some((message) => statusOf(message) >= 200));
      const final = splitMessages(wire.received).find((message) => statusOf(message) >= 200) as Message;
      assertError(t, final, 502, 'UPSTREAM_BAD_RESPONSE');
      t.notMatch(final.raw, secret);
      // The client's connection is in order, the origin's is not.
      wire.send(get('/good'));
      await wire.until('the next answer', () => wire.received.endsWith('good'));
      wire.socket.destroy();
      await proxied.origin.until('the connection given up', () =>
        proxied.origin.connections.slice(Math.max(0, mark - 1)).some(({ ended }) => ended !== 'no'),
      );
    });
  }
});

t.test('a space before the colon of an answer is removed; the same length twice counts once', async (t) => {
  const proxied = await openProxied(t, {
    onRequest: (wire) => wire.send('HTTP/1.1 200 OK\r\nX \t: y\r\nContent-Length : 2\r\nContent-Length: 2\r\n\r\nok'),
  });
  const answer = await ask(proxied);
  t.equal(answer.body, 'ok');
  t.strictSame(answer.fields.slice(0, 2), [
    ['X', 'y'],
    ['Content-Length', '2'],
  ]);
});

t.test('no client ever gets bytes of another one’s answer', async (t) => {
  // What the origin sends carries the tag of the request that it stands behind; what comes behind an answer too.
  const stray = (tag: string) => respond(`stray ${tag}`);
  const kinds: Record<string, (wire: Wire, tag: string) => void> = {
    good: (wire, tag) => wire.send(respond(tag)),
    chunked: (wire, tag) =>
      wire.send(
        `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${tag.length.toString(16)}\r\n${tag}\r\n0\r\n\r\n`,
      ),
    'two answers': (wire, tag) => wire.send(respond(tag) + stray(tag)),
    'an answer and garbage': (wire, tag) => wire.send(`${respond(tag)}garbage ${tag}`),
    'an answer and an empty line': (wire, tag) => wire.send(`${respond(tag)}\r\n`),
    'chunks and another answer': (wire, tag) =>
      wire.send(
        `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${tag.length.toString(16)}\r\n${tag}\r\n0\r\n\r\n${stray(tag)}`,
      ),
    '204 with a body': (wire, tag) =>
      wire.send(`HTTP/1.1 204 No Content\r\nContent-Length: 60\r\nX-Tag: ${tag}\r\n\r\n${stray(tag)}`),
    '304 with a body': (wire, tag) => wire.send(`HTTP/1.1 304 Not Modified\r\nX-Tag: ${tag}\r\n\r\n${stray(tag)}`),
    'a body a while behind its head': (wire, tag) => {
      const body = respond(tag);
      wire.send(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
      setTimeout(() => wire.send(body), 2).unref();
    },
    '204 with a body a while behind': (wire, tag) => {
      wire.send(`HTTP/1.1 204 No Content\r\nContent-Length: 60\r\nX-Tag: ${tag}\r\n\r\n`);
      setTimeout(() => wire.send(stray(tag)), 2).unref();
    },
    '304 with a body a while behind': (wire, tag) => {
      wire.send(`HTTP/1.1 304 Not Modified\r\nContent-Length: 60\r\nX-Tag: ${tag}\r\n\r\n`);
      setTimeout(() => wire.send(stray(tag)), 2).unref();
    },
    'an answer longer than it says': (wire, tag) =>
      wire.send(`HTTP/1.1 200 OK\r\nContent-Length: ${tag.length}\r\n\r\n${tag}${stray(tag)}`),
    'a cut answer': (wire, tag) => wire.socket.end(`HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n${tag}`),
    garbage: (wire, tag) => wire.send(`garbage ${tag}\r\n\r\n`),
    'closed at once': (wire) => wire.socket.destroy(),
    'another answer while idle': (wire, tag) => {
      wire.send(respond(tag));
      setTimeout(() => wire.send(stray(tag)), 5).unref();
    },
  };
  const names = Object.keys(kinds);
  const proxied = await openProxied(
    t,
    {
      onRequest(wire, request) {
        const [, kind = '', tag = ''] = pathOf(request).split('/');
        kinds[names[Number(kind)] ?? '']?.(wire, tag);
      },
    },
    { route: { maxConnections: 2 } },
  );
  const seen: Record<string, number> = {};
  // The last kind is only safe while nobody waits for the connection: which of two requests an answer is for, HTTP/1.1 cannot tell.
  const run = async (client: string, kindOf: (i: number) => number, count: number): Promise<void> => {
    for (let i = 0; i < count; i += 1) {
      const kind = kindOf(i);
      const tag = `${client}-${i}`;
      const method = i % 5 === 0 ? 'HEAD' : 'GET';
      const wire = await proxied.client();
      wire.send(`${method} /${kind}/${tag} HTTP/1.1\r\nHost: a\r\n\r\n`);
      await wire.until(
        'an answer or the end',
        () => wire.ended !== 'no' || readMessage(wire.received, { noBody: method === 'HEAD' }) !== undefined,
      );
      wire.socket.destroy();
      const tags = wire.received.match(/(?:one|two|idle)-\d+/g) ?? [];
      for (const other of tags) t.equal(other, tag, names[kind] ?? '');
      t.notMatch(wire.received, /stray|garbage/, names[kind] ?? '');
      const outcome = readMessage(wire.received, { noBody: true })?.start.slice(9, 12) ?? wire.ended;
      seen[`${names[kind]}: ${outcome}`] = (seen[`${names[kind]}: ${outcome}`] ?? 0) + 1;
    }
  };
  const shared = names.length - 1;
  await Promise.all([run('one', (i) => i % shared, 150), run('two', (i) => (i * 7) % shared, 150)]);
  t.ok((seen['good: 200'] ?? 0) > 10 && (seen['two answers: 200'] ?? 0) > 10 && (seen['garbage: 502'] ?? 0) > 10);
  await t.test('an answer that nobody asked for, on an idle connection', async (t) => {
    for (let i = 0; i < 5; i += 1) {
      await run('idle', () => shared, 1);
      await proxied.origin.until('all connections given up', () =>
        proxied.origin.connections.every(({ ended }) => ended !== 'no'),
      );
    }
    t.pass('each time the connection was given up');
  });
});

t.test('bytes that answer nothing end the connection at once and are counted', async (t) => {
  const unasked = async (proxied: Proxied) =>
    /^qalgate_proxy_upstream_unasked_total (\d+)$/m.exec(await proxied.access.metrics.registry.metrics())?.[1];
  const cases: Record<string, (wire: Wire) => void> = {
    'with the answer': (wire) => wire.send(`${respond('ok')}x`),
    'behind the answer': (wire) => {
      wire.send(respond('ok'));
      setTimeout(() => wire.send('x'), 20).unref();
    },
  };
  for (const [name, onRequest] of Object.entries(cases)) {
    await t.test(name, async (t) => {
      const proxied = await openProxied(t, { onRequest });
      const startedMs = performance.now();
      t.equal((await ask(proxied)).body, 'ok');
      await proxied.origin.until('the connection given up', () => hasEnded(proxied.origin.connections[0]));
      t.ok(performance.now() - startedMs < 3_000, 'not only when it had been idle for long');
      t.equal(await unasked(proxied), '1');
    });
  }
});

t.test('[A4] a failed connect goes on to the next origin under the same serial number', async (t) => {
  const dead = `http://127.0.0.1:${await freePort()}`;
  const alive = await openOrigin();
  t.teardown(alive.close);
  const proxied = await openProxied(t, {}, { route: { upstream: [dead, alive.url] } });
  for (let i = 0; i < 20; i += 1) {
    t.equal((await ask(proxied, 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody')).body, 'ok');
  }
  t.equal(alive.requests.length, 20);
  t.ok(alive.requests.every(({ body }) => body === 'body'));
  const serials = alive.requests.map((request) => Number(serialOf(request)));
  t.strictSame(
    serials,
    Array.from({ length: 20 }, (_, i) => (serials[0] ?? 0) + i),
    'one number a request',
  );
  t.strictSame(
    proxied.access.logLines.filter(({ event }) => event === 'proxy.upstream.ejected').map(({ origin }) => origin),
    [dead],
    'after three failures it was left alone',
  );
});

t.test('with all origins failing the last error is told, and they are tried all the same', async (t) => {
  const upstream = [`http://127.0.0.1:${await freePort()}`, `http://127.0.0.1:${await freePort()}`];
  const proxied = await openProxied(t, {}, { route: { upstream } });
  for (let i = 0; i < 6; i += 1) assertError(t, await ask(proxied), 502, 'UPSTREAM_CONNECT_FAILED');
  t.equal(proxied.access.logLines.filter(({ event }) => event === 'proxy.upstream.ejected').length >= 2, true);
});

t.test('an origin that fails is left alone for a while and then tried again, streams on it or not', async (t) => {
  let ill = false;
  const script = (name: string) => ({
    onRequest(wire: Wire, request: Message) {
      if (pathOf(request) === '/stream')
        wire.send(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n${name}\r\n`);
      else if (name === 'A' && ill) wire.socket.destroy();
      else wire.send(respond(name));
    },
  });
  const proxied = await openProxied(t, [script('A'), script('B')]);
  const [a, b] = proxied.origins;
  if (a === undefined || b === undefined) throw new Error('two origins');
  // A stream on each, for as long as the test runs.
  const streams: Wire[] = [];
  while (
    !streams.some(({ received }) => received.includes('\r\nA\r\n')) ||
    !streams.some(({ received }) => received.includes('\r\nB\r\n'))
  ) {
    const wire = await proxied.client();
    wire.send(get('/stream'));
    await wire.until('the stream', () => /\r\n[AB]\r\n/.test(wire.received));
    streams.push(wire);
  }
  ill = true;
  let failed = 0;
  while (failed < 3) if (statusOf(await ask(proxied)) === 502) failed += 1;
  const ejectedMs = performance.now();
  const before = a.requests.length;
  for (let i = 0; i < 10; i += 1) t.equal((await ask(proxied)).body, 'B');
  // Ten requests take some milliseconds; on a machine that stood still meanwhile the trial may already have come.
  if (performance.now() - ejectedMs < 900) t.equal(a.requests.length, before, 'A was left alone');
  ill = false;
  const deadline = performance.now() + 8_000;
  while ((await ask(proxied)).body !== 'A') {
    if (performance.now() > deadline) {
      t.fail('A was never tried again');
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  t.ok(performance.now() - ejectedMs > 900, 'not before a second');
  t.ok(
    streams.every(({ ended }) => ended === 'no'),
    'the streams went on',
  );
});

t.test('the origin with the fewest exchanges under way is chosen', async (t) => {
  const held: { wire: Wire; origin: number }[] = [];
  const script = (origin: number) => ({ onRequest: (wire: Wire) => void held.push({ wire, origin }) });
  const proxied = await openProxied(t, [script(0), script(1), script(2)]);
  const clients: Wire[] = [];
  const send = async (): Promise<void> => {
    const wire = await proxied.client();
    clients.push(wire);
    const count = held.length;
    wire.send(get());
    for (const origin of proxied.origins) void origin;
    while (held.length === count) await new Promise((resolve) => setTimeout(resolve, 2));
  };
  for (let i = 0; i < 9; i += 1) await send();
  t.strictSame(
    [0, 1, 2].map((n) => held.filter(({ origin }) => origin === n).length),
    [3, 3, 3],
  );
  for (const { wire } of held.filter(({ origin }) => origin === 1)) wire.send(respond('ok'));
  while (clients.filter(({ received }) => received !== '').length < 3)
    await new Promise((resolve) => setTimeout(resolve, 2));
  for (let i = 0; i < 3; i += 1) await send();
  t.strictSame(
    held.slice(9).map(({ origin }) => origin),
    [1, 1, 1],
  );
});

t.test('connections and the queue for them are bounded: 503', async (t) => {
  const proxied = await openProxied(
    t,
    { onRequest() {} },
    { route: { maxConnections: 2, maxQueued: 1 }, timeouts: { connectMs: 1_000 } },
  );
  const { origin } = proxied;
  const clients = await Promise.all([1, 2].map(() => proxied.client()));
  for (const wire of clients) wire.send(get());
  await origin.until('two requests', () => origin.requests.length === 2);
  const queued = await proxied.client();
  queued.send(get('/queued'));
  let refused: Message | undefined;
  // The queued one may arrive behind the next: then that one waits in its place, and is refused in the end.
  while (refused === undefined) {
    const wire = await proxied.client();
    wire.send(get('/refused'));
    refused = await readResponse(wire);
  }
  assertError(t, refused, 503, 'UPSTREAM_BUSY');
  t.equal(fieldOf(refused, 'Retry-After'), '1');
  t.equal(origin.connections.length, 2);
  origin.connections[0]?.send(respond('ok'));
  await origin.until('the queued one', () => origin.requests.length === 3);
  t.equal(pathOf(origin.requests[2] as Message), '/queued');
  const late = await proxied.client();
  late.send(get('/late'));
  assertError(t, await readResponse(late), 503, 'UPSTREAM_BUSY');
});

t.test('https origins: by their own authority, and by no other', async (t) => {
  const certificate = createCertificate('origin');
  const directory = await mkdtemp(path.join(tmpdir(), 'qalgate test '));
  t.teardown(() => rm(directory, { recursive: true }));
  const fileOf = async (name: string, text: string) => {
    const file = path.join(directory, name);
    await writeFile(file, text);
    return file;
  };
  const upstreamCaFile = await fileOf('ca.pem', certificate.cert);
  const body = 'x'.repeat(3_000_000);
  const script = {
    tls: certificate,
    onRequest(wire: Wire, request: Message) {
      if (pathOf(request) === '/big') wire.send(respond(body));
      else if (pathOf(request) === '/cut') wire.socket.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello');
      else wire.send(respond(request.body === '' ? 'ok' : String(request.body.length)));
    },
  };
  await t.test('trusted', async (t) => {
    const proxied = await openProxied(t, script, { route: { upstreamCaFile } });
    t.equal((await ask(proxied)).body, 'ok');
    t.equal((await ask(proxied, get('/big'))).body.length, body.length);
    t.equal(
      (await ask(proxied, `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`)).body,
      String(body.length),
    );
    t.equal(proxied.origin.connections.length, 1, 'reused');
    await assertBrokenOff(t, proxied, get('/cut'));
  });
  await t.test('not trusted', async (t) => {
    const other = await fileOf('other.pem', createCertificate('origin').cert);
    for (const route of [{}, { upstreamCaFile: other }, { upstreamCaFile: await fileOf('garbage.pem', 'garbage') }]) {
      const proxied = await openProxied(t, script, { route });
      assertError(t, await ask(proxied), 502, 'UPSTREAM_CONNECT_FAILED');
      t.strictSame(proxied.origin.requests, [], 'nothing was sent to it');
    }
  });
  await t.test('expired', async (t) => {
    const expired = createCertificate('origin', new Date('2021-01-01T00:00:00Z'));
    const proxied = await openProxied(
      t,
      { ...script, tls: expired },
      { route: { upstreamCaFile: await fileOf('expired.pem', expired.cert) } },
    );
    assertError(t, await ask(proxied), 502, 'UPSTREAM_CONNECT_FAILED');
  });
  await t.test('an origin that speaks no TLS', async (t) => {
    const plain = await openOrigin({ onConnection: (wire) => wire.send('220 mail.example ESMTP\r\n') });
    t.teardown(plain.close);
    const proxied = await openProxied(
      t,
      {},
      { route: { upstream: [`https://127.0.0.1:${plain.port}`], upstreamCaFile } },
    );
    assertError(t, await ask(proxied), 502, 'UPSTREAM_CONNECT_FAILED');
  });
});

t.test('when routes change, exchanges under way end in peace and new ones go to the new origin', async (t) => {
  const proxied = await openProxied(t, { onRequest() {} });
  const next = await openOrigin({ onRequest: (wire) => wire.send(respond('new')) });
  t.teardown(next.close);
  const wire = await openClient(proxied.access.port);
  wire.send(get() + get('/second'));
  await proxied.origin.until('the request', () => proxied.origin.requests.length === 1);
  proxied.access.setApps([testApp([next.url])]);
  t.equal((await ask(proxied)).body, 'new');
  proxied.origin.connections[0]?.send(respond('old'));
  await wire.until('both answers', () => splitMessages(wire.received).length === 2);
  t.strictSame(
    splitMessages(wire.received).map(({ body }) => body),
    ['old', 'new'],
  );
  await proxied.origin.until('the old connection let go', () => hasEnded(proxied.origin.connections[0]));
});

t.test('a change of routes refuses nobody who waits for a connection', async (t) => {
  const next = await openOrigin({ onRequest: (wire) => wire.send(respond('new')) });
  t.teardown(next.close);
  const proxied = await openProxied(t, { onRequest() {} }, { route: { maxConnections: 1 } });
  const [first, second] = [await openClient(proxied.access.port), await openClient(proxied.access.port)];
  first.send(get('/first'));
  await proxied.origin.until('the first request', () => proxied.origin.requests.length === 1);
  second.send(get('/second'));
  await until(async () => /qalgate_proxy_upstream_waiting 1/.test(await proxied.access.metrics.registry.metrics()));
  proxied.access.setApps([testApp([next.url])]);
  proxied.origin.connections[0]?.send(respond('old'));
  t.equal((await readResponse(first)).body, 'old');
  await proxied.origin.until('the second request', () => proxied.origin.requests.length === 2);
  proxied.origin.connections.at(-1)?.send(respond('old too'));
  t.equal((await readResponse(second)).body, 'old too');
  await proxied.origin.until('the old connection let go', () => proxied.origin.connections.every(hasEnded));
});
