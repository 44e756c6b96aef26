import { createHash, randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { countBytes, floodBytes, kernelBytes, pour, standstill } from '../support/flood.ts';
import { openProxied, originHead } from '../support/proxied.ts';
import {
  fieldOf,
  hasEnded,
  type Message,
  openClient,
  readResponse,
  readResponses,
  respond,
  splitMessages,
  statusOf,
  type Wire,
} from '../support/wire.ts';

const get = (path = '/', fields = '') => `GET ${path} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;
const post = (fields: string, body = '') => `POST / HTTP/1.1\r\nHost: a\r\n${fields}\r\n${body}`;
const digest = (bytes: string) => createHash('sha256').update(bytes, 'latin1').digest('hex');
const randomText = (bytes: number) => randomBytes(bytes).toString('latin1');
const pathOf = (request: Message) => request.start.split(' ')[1] ?? '';

/** Frames a body in chunks of the given sizes, taken in turn. */
function frame(body: string, sizes: number[], trailers = ''): string {
  let framed = '';
  for (let at = 0, i = 0; at < body.length; i += 1) {
    const piece = body.slice(at, at + (sizes[i % sizes.length] ?? 1));
    framed += `${piece.length.toString(16)}\r\n${piece}\r\n`;
    at += piece.length;
  }
  return `${framed}0\r\n${trailers}\r\n`;
}

/** Answers with what the test put behind the path. */
function answering(answers: Record<string, string>) {
  return {
    onRequest(wire: Wire, request: Message) {
      wire.send(answers[pathOf(request)] ?? respond('ok'));
    },
  };
}

t.test('[A1] a request arrives as it was sent: method, target, fields in case, order and number', async (t) => {
  const { origin, client } = await openProxied(t);
  const lines = [
    'Accept: */*',
    'x-lower: 1',
    'X-UPPER: 2',
    'x-LoWeR: 3',
    'Cookie: a=1',
    'Cookie: b=2',
    'X-Empty:',
    'X-Latin: \xe4\xf6\xfc \xa0.',
    'X-Colon: a: b:c',
    'Authorization: Bearer abc',
    'User-Agent: test/1.0 (x; y)',
    'If-None-Match: "a", W/"b"',
    'Via: 1.0 other',
    'Date: Mon, 23 Nov 2026 00:00:00 GMT',
    'X-Lower: 4',
  ];
  const wire = await client();
  wire.send(`REPORT /a%2Fb/../c;d?e=f&e=g HTTP/1.1\r\nHost: A.Example:80\r\n${lines.join('\r\n')}\r\n\r\n`);
  t.equal((await readResponse(wire)).body, 'ok');
  const [request] = origin.requests;
  t.equal(request?.start, 'REPORT /a%2Fb/../c;d?e=f&e=g HTTP/1.1');
  const received = (request?.raw ?? '').split('\r\n').slice(1);
  // An empty value is written with the usual space.
  t.strictSame(received.slice(0, lines.length + 1), [
    'Host: A.Example:80',
    ...lines.map((line) => (line === 'X-Empty:' ? 'X-Empty: ' : line)),
  ]);
  t.strictSame(received.slice(lines.length + 1, lines.length + 3), ['Connection: keep-alive', 'Via: 1.1 qalgate']);
});

t.test('[A1] an answer arrives as it was sent: status, reason, fields in case, order and number', async (t) => {
  const fields = [
    'content-TYPE: text/plain',
    'Set-Cookie: a=1; Path=/',
    'set-cookie: b=2',
    'Set-Cookie: c=3',
    'X-Latin: \xe4\xa0.',
    'Vary: A',
    'Vary: B',
    'Server: x',
    'Via: 1.1 inner',
    'QAL-Cache-Control: max-stale-age=5',
    'WWW-Authenticate: Basic realm="x"',
    'X-Empty: ',
  ];
  const statuses = [
    '200 OK',
    '200 ',
    '201 Made',
    '203 ',
    '226 IM Used',
    '299 Miscellaneous  Warning',
    '302 Found',
    '404 Nicht gefunden \xfc',
    '418 ',
    '451 x',
    '500 Oops',
    '599 Odd',
    '600 ',
    '799 Odder',
    '999 Last',
  ];
  const { client } = await openProxied(
    t,
    answering(
      Object.fromEntries(
        statuses.map((status, i) => [
          `/${i}`,
          `HTTP/1.1 ${status}\r\n${fields.join('\r\n')}\r\nContent-Length: 2\r\n\r\nhi`,
        ]),
      ),
    ),
  );
  const wire = await client();
  for (const [i, status] of statuses.entries()) {
    const skip = wire.receivedBytes;
    wire.send(get(`/${i}`));
    const answer = await readResponse(wire, { skip });
    t.strictSame(originHead(answer), [`HTTP/1.1 ${status}`, ...fields, 'Content-Length: 2'], status);
    t.equal(answer.body, 'hi');
  }
  await t.test('a status line without a space behind the status', async (t) => {
    const { client } = await openProxied(t, answering({ '/': 'HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi' }));
    const wire = await client();
    wire.send(get());
    t.equal((await readResponse(wire)).start, 'HTTP/1.1 200 ');
  });
});

t.test('[A1] Date: added where it is missing, kept where it is there', async (t) => {
  const date = 'Thu, 01 Jan 1998 00:00:00 GMT';
  const { client } = await openProxied(
    t,
    answering({ '/dated': respond('', `date: ${date}\r\n`), '/undated': respond('') }),
  );
  const wire = await client();
  wire.send(get('/dated') + get('/undated'));
  const [dated, undated] = (await readResponses(wire, 2)) as [Message, Message];
  t.strictSame(
    dated.fields.filter(([name]) => name.toLowerCase() === 'date'),
    [['date', date]],
  );
  const ageMs = Date.now() - Date.parse(fieldOf(undated, 'Date') ?? '');
  t.ok(ageMs > -2_000 && ageMs < 60_000, 'now');
});

t.test(
  '[A1] bodies of any size go through both ways, by length, in chunks and to the end of the connection',
  async (t) => {
    const { origin, client } = await openProxied(t, {
      onRequest(wire, request) {
        // Sends the body back, framed as the path says.
        const { body } = request;
        if (pathOf(request) === '/length') wire.send(respond(body));
        else if (pathOf(request) === '/chunked') {
          wire.send(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${frame(body, [1, 7, 4_096, 70_000, 13])}`);
        } else {
          wire.send(`HTTP/1.1 200 OK\r\n\r\n${body}`);
          wire.socket.end();
        }
      },
    });
    const wire = await client();
    for (const bytes of [0, 1, 4_095, 4_096, 65_536, 1_000_000]) {
      const body = randomText(bytes);
      for (const path of ['/length', '/chunked', '/close']) {
        for (const upload of ['length', 'chunked']) {
          const skip = wire.receivedBytes;
          const head = `PUT ${path} HTTP/1.1\r\nHost: a\r\n`;
          wire.send(
            upload === 'length'
              ? `${head}Content-Length: ${bytes}\r\n\r\n${body}`
              : `${head}Transfer-Encoding: chunked\r\n\r\n${frame(body, [3, 100_000, 1_000])}`,
          );
          const answer = await readResponse(wire, { skip });
          const request = origin.requests.at(-1);
          t.equal(digest(request?.body ?? ''), digest(body), `${bytes} bytes up, ${upload}`);
          t.equal(
            fieldOf(request as Message, upload === 'length' ? 'Content-Length' : 'Transfer-Encoding'),
            upload === 'length' ? String(bytes) : 'chunked',
          );
          t.equal(digest(answer.body), digest(body), `${bytes} bytes down, ${path}`);
          t.equal(
            fieldOf(answer, path === '/length' ? 'Content-Length' : 'Transfer-Encoding'),
            path === '/length' ? String(bytes) : 'chunked',
          );
        }
      }
    }
    t.equal(wire.ended, 'no', 'all on one connection of the client');
  },
);

t.test('[A1] trailers go through both ways', async (t) => {
  const { origin, client } = await openProxied(
    t,
    answering({
      '/': `HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n${frame('hello', [2], 'X-Sum: 1\r\nx-sum: \xe4\r\nConnection: close\r\nContent-Length: 9\r\n')}`,
      '/none': `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${frame('', [1], 'X-Late: 1\r\n')}`,
    }),
  );
  const wire = await client();
  wire.send(
    post(
      'Trailer: X-Up\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n',
      frame('body', [4], 'X-Up: 1\r\nX-Up: 2\r\n'),
    ),
  );
  const answer = await readResponse(wire);
  t.strictSame(origin.requests[0]?.trailers, [
    ['X-Up', '1'],
    ['X-Up', '2'],
  ]);
  t.equal(fieldOf(origin.requests[0] as Message, 'Trailer'), 'X-Up');
  t.equal(answer.body, 'hello');
  t.equal(fieldOf(answer, 'Trailer'), 'X-Sum');
  t.strictSame(answer.trailers, [
    ['X-Sum', '1'],
    ['x-sum', '\xe4'],
  ]);
  const skip = wire.receivedBytes;
  wire.send(get('/none'));
  const empty = await readResponse(wire, { skip });
  t.equal(empty.body, '');
  t.strictSame(empty.trailers, [['X-Late', '1']]);
});

t.test('[A1] interim answers go through at once and in order', async (t) => {
  const { client } = await openProxied(t, {
    onRequest(wire, request) {
      wire.send(
        'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nlink: </b>\r\nConnection: x\r\nX: y\r\nContent-Length: 5\r\n\r\n',
      );
      wire.send('HTTP/1.1 102 \r\n\r\n');
      // Nobody asked for it: it ends here.
      wire.send('HTTP/1.1 100 Continue\r\n\r\n');
      wire.send('HTTP/1.1 199 Odd\r\nA: b\r\n\r\n');
      if (pathOf(request) !== '/held') wire.send(respond('done'));
    },
  });
  const wire = await client();
  wire.send(get('/held'));
  const interim = await readResponses(wire, 3);
  t.strictSame(
    interim.map((message) => message.raw),
    [
      'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nlink: </b>\r\n\r\n',
      'HTTP/1.1 102 \r\n\r\n',
      'HTTP/1.1 199 Odd\r\nA: b\r\n\r\n',
    ],
    'before the final answer is there',
  );
  const other = await client();
  other.send(get('/'));
  t.strictSame((await readResponses(other, 4)).map(statusOf), [103, 102, 199, 200]);
  const old = await client();
  old.send('GET / HTTP/1.0\r\n\r\n');
  t.strictSame((await readResponses(old, 1)).map(statusOf), [200], 'HTTP/1.0 knows none');
});

t.test('[A1] Expect: 100-continue is between client and origin', async (t) => {
  const expecting = (path: string) =>
    `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n`;
  const script = {
    onHead(wire: Wire, head: Message) {
      if (pathOf(head) === '/refused') wire.send(respond('no', '', '417 Expectation Failed'));
      if (pathOf(head) === '/stopped') wire.send('HTTP/1.1 100 Continue\r\n\r\n');
    },
    onRequest(wire: Wire, request: Message) {
      if (pathOf(request) === '/stopped-late') wire.send('HTTP/1.1 100 Continue\r\n\r\n');
      else if (pathOf(request) !== '/refused') wire.send(respond(`got ${request.body}`));
    },
  };
  const { origin, client, access } = await openProxied(t, script, {
    timeouts: { headMs: 300 },
    limits: { bodyIdleTimeoutMs: 300 },
  });

  await t.test('the origin says when to go on', async (t) => {
    const wire = await client();
    wire.send(expecting('/'));
    await origin.until('the head', () => origin.connections.some(({ received }) => received.includes('POST / ')));
    const at = origin.connections.find(({ received }) => received.includes('POST / '));
    t.match(at?.received, /\r\nExpect: 100-continue\r\n/);
    t.equal(wire.received, '', 'we do not say it in its place');
    at?.send('HTTP/1.1 100 Continue\r\n\r\n');
    await wire.until('100', () => wire.received !== '');
    t.equal(wire.received, 'HTTP/1.1 100 Continue\r\n\r\n');
    wire.send('hello');
    t.strictSame(
      (await readResponses(wire, 2)).map(({ start, body }) => [start, body]),
      [
        ['HTTP/1.1 100 Continue', ''],
        ['HTTP/1.1 200 OK', 'got hello'],
      ],
    );
  });
  await t.test(
    'a final answer without 100 ends the exchange, and the connection, for the body may still come',
    async (t) => {
      const wire = await client();
      wire.send(expecting('/refused'));
      const answer = await readResponse(wire);
      t.equal(answer.start, 'HTTP/1.1 417 Expectation Failed');
      t.equal(fieldOf(answer, 'Connection'), 'close');
      await wire.end();
    },
  );
  await t.test('a client that does not wait is not held up', async (t) => {
    const wire = await client();
    wire.send(`${expecting('/')}hello`);
    t.equal((await readResponse(wire)).body, 'got hello');
  });
  await t.test('a client that never goes on: 408', async (t) => {
    const wire = await client();
    wire.send(expecting('/stopped'));
    t.strictSame((await readResponses(wire, 2)).map(statusOf), [100, 408]);
    await wire.end();
  });
  await t.test('an origin that says nothing: 504', async (t) => {
    const wire = await client();
    wire.send(expecting('/'));
    const answer = await readResponse(wire);
    t.equal(statusOf(answer), 504);
    t.match(answer.body, /UPSTREAM_HEAD_TIMEOUT/);
  });
  await t.test('a client that did not wait, and an origin that says 100 and nothing more: 504', async (t) => {
    const wire = await client();
    wire.send(`${expecting('/stopped-late')}hello`);
    const answer = await readResponse(wire, { skip: 'HTTP/1.1 100 Continue\r\n\r\n'.length });
    t.equal(statusOf(answer), 504);
  });
  await t.test('without a body there is nothing to wait for', async (t) => {
    const wire = await client();
    wire.send(get('/', 'Expect: 100-continue\r\n'));
    t.equal((await readResponse(wire)).body, 'got ');
    t.notMatch(origin.requests.at(-1)?.raw, /Expect/);
  });
  await t.test('HTTP/1.0 knows no expectations', async (t) => {
    const wire = await client();
    wire.send('POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello');
    t.equal((await readResponse(wire)).body, 'got hello');
    t.notMatch(origin.requests.at(-1)?.raw, /Expect/);
  });
  await t.test('our own endpoints go on by themselves', async (t) => {
    const wire = await openClient(access.port);
    wire.send(
      'POST /.qal/v1/session HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 25\r\nExpect: 100-continue\r\n\r\n',
    );
    await wire.until('100', () => wire.received !== '');
    wire.send('{"sdkAppId":1400000000  }');
    t.strictSame((await readResponses(wire, 2)).map(statusOf), [100, 200]);
  });
});

t.test('[A1] HEAD, 204 and 304 have no body, and the connection serves on', async (t) => {
  const { origin, client } = await openProxied(
    t,
    answering({
      '/length': 'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nX: y\r\n\r\n',
      '/chunked': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
      '/unsaid': 'HTTP/1.1 200 OK\r\n\r\n',
      '/204': 'HTTP/1.1 204 No Content\r\nX: y\r\n\r\n',
      '/304': 'HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: "x"\r\n\r\n',
      '/205': 'HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n',
    }),
  );
  const wire = await client();
  const cases: [method: string, path: string, lines: string[]][] = [
    ['HEAD', '/length', ['HTTP/1.1 200 OK', 'Content-Length: 1000', 'X: y']],
    ['HEAD', '/chunked', ['HTTP/1.1 200 OK']],
    ['HEAD', '/unsaid', ['HTTP/1.1 200 OK']],
    ['GET', '/204', ['HTTP/1.1 204 No Content', 'X: y']],
    ['HEAD', '/204', ['HTTP/1.1 204 No Content', 'X: y']],
    ['GET', '/304', ['HTTP/1.1 304 Not Modified', 'Content-Length: 1000', 'ETag: "x"']],
    ['GET', '/205', ['HTTP/1.1 205 Reset Content', 'Content-Length: 0']],
  ];
  for (const [method, path, lines] of cases) {
    const skip = wire.receivedBytes;
    wire.send(`${method} ${path} HTTP/1.1\r\nHost: a\r\n\r\n${get('/next')}`);
    await wire.until('the next answer', () => wire.received.endsWith('\r\n\r\nok') && wire.receivedBytes > skip);
    const received = wire.received.slice(skip);
    const head = received.slice(0, received.indexOf('\r\n\r\n') + 4);
    t.strictSame(originHead({ raw: head } as Message), lines, `${method} ${path}`);
    t.match(
      received.slice(head.length),
      /^HTTP\/1\.1 200 OK\r\nContent-Length: 2\r\n/,
      'nothing between the two answers',
    );
  }
  // Three of them announced a body, which this origin might have sent behind: those connections carry nothing more.
  t.equal(origin.connections.length, 1 + 3);
});

t.test('[A1] hop-by-hop fields end here, both ways', async (t) => {
  const answer = respond(
    'ok',
    'Connection: X-Named, keep-alive\r\nKeep-Alive: timeout=60\r\nX-Named: gone\r\nx-named: gone\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nTE: x\r\nX: kept\r\n',
  );
  const { origin, client } = await openProxied(t, answering({ '/': answer }));
  const wire = await client();
  wire.send(
    get(
      '/',
      'Connection: X-Named, Keep-Alive\r\nConnection: x-other\r\nX-Named: gone\r\nX-NAMED: gone\r\nX-Other: gone\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n' +
        'HTTP2-Settings: AAMAAABkAAQAAP__\r\nTE: gzip\r\nTrailer: X\r\nProxy-Authorization: Basic x\r\nX: kept\r\n',
    ),
  );
  const received = await readResponse(wire);
  t.strictSame(originHead(received), ['HTTP/1.1 200 OK', 'Content-Length: 2', 'X: kept']);
  t.strictSame(fieldOf(received, 'Connection'), 'keep-alive');
  const names = origin.requests[0]?.fields.map(([name]) => name);
  t.strictSame(names, ['Host', 'X', 'Connection', 'Via', 'QAL-SDK-APP-Id', 'X-Forwarded-For', 'QAL-Req-Seq-No']);
  t.equal(fieldOf(origin.requests[0] as Message, 'Connection'), 'keep-alive');
});

t.test('[A1] an upgrade that is not forwarded ends the connection behind its answer', async (t) => {
  const { origin, client } = await openProxied(t);
  const wire = await client();
  // Node's parser may have lost what stands behind such a request, so nothing there is answered.
  wire.send(
    get('/', 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n') + get('/behind'),
  );
  t.equal(await wire.end(), 'end');
  const answers = splitMessages(wire.received);
  t.strictSame(
    answers.map(({ body }) => body),
    ['ok'],
  );
  t.equal(fieldOf(answers[0] as Message, 'Connection'), 'close');
  t.strictSame(origin.requests.map(pathOf), ['/']);
  t.notMatch(origin.requests[0]?.raw, /upgrade|http2/i);
});

t.test(
  '[A1] a client that ends its side within its answer is cut, so that it cannot take the answer for whole',
  async (t) => {
    const { origin, client } = await openProxied(t, {
      onRequest: (wire) => wire.send('HTTP/1.1 200 OK\r\n\r\nhello'),
    });
    for (const version of ['1.1', '1.0']) {
      const wire = await client();
      wire.send(`GET / HTTP/${version}\r\nHost: a\r\n\r\n`);
      await wire.until('the beginning', () => wire.received.includes('hello'));
      wire.socket.end();
      t.equal(await wire.end(), 'reset', version);
    }
    await origin.until('both exchanges ended', () => origin.connections.every(hasEnded));
    t.equal(origin.connections.length, 2);
  },
);

t.test('[A1] HTTP/1.0 clients get what they can read', async (t) => {
  const { origin, client } = await openProxied(
    t,
    answering({
      '/chunked': `HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n${frame('hello', [2], 'X: y\r\n')}`,
      '/length': respond('hello'),
    }),
  );
  const ask = (path: string, fields = '') => `GET ${path} HTTP/1.0\r\nHost: a\r\n${fields}\r\n`;
  await t.test('chunks become a body to the end of the connection', async (t) => {
    const wire = await client();
    wire.send(ask('/chunked', 'Connection: keep-alive\r\n'));
    const answer = await readResponse(wire);
    t.equal(answer.body, 'hello');
    t.equal(fieldOf(answer, 'Transfer-Encoding'), undefined);
    t.equal(fieldOf(answer, 'Trailer'), undefined);
    t.equal(await wire.end(), 'end');
  });
  await t.test('without keep-alive the connection ends', async (t) => {
    const wire = await client();
    wire.send(ask('/length'));
    t.equal((await readResponse(wire)).body, 'hello');
    t.equal(await wire.end(), 'end');
    t.match(
      origin.requests.at(-1)?.raw,
      /\r\nConnection: keep-alive\r\nVia: 1\.0 qalgate\r\n/,
      'the one to the origin does not',
    );
  });
  await t.test('with keep-alive it stays', async (t) => {
    const wire = await client();
    wire.send(ask('/length', 'Connection: keep-alive\r\n'));
    const first = await readResponse(wire);
    t.equal(fieldOf(first, 'Connection'), 'keep-alive');
    wire.send(ask('/length'));
    t.equal((await readResponses(wire, 2)).length, 2);
    t.equal(await wire.end(), 'end');
  });
});

t.test('connections to the origin are reused, unless it says otherwise', async (t) => {
  const { origin, client } = await openProxied(
    t,
    answering({
      '/close': respond('ok', 'Connection: close\r\n'),
      '/old': 'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok',
      '/old-keep': 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok',
      '/hint': respond('ok', 'Keep-Alive: timeout=1\r\n'),
    }),
  );
  const ask = async (path: string): Promise<number> => {
    const wire = await client();
    wire.send(get(path));
    t.equal((await readResponse(wire)).body, 'ok');
    wire.socket.destroy();
    return origin.connections.length;
  };
  t.equal(await ask('/'), 1);
  t.equal(await ask('/'), 1, 'by another client too');
  t.equal(await ask('/old-keep'), 1);
  t.equal(await ask('/close'), 1);
  t.equal(await ask('/old'), 2);
  t.equal(await ask('/'), 3);
  t.equal(await ask('/hint'), 3);
  await origin.until(
    'the idle connection let go before the origin would',
    () => origin.connections[2]?.ended === 'end',
  );
  t.equal(await ask('/'), 4);
});

t.test('[A1] pipelined requests are answered in order, and reach the origin one after another', async (t) => {
  const { origin, client } = await openProxied(t, { onRequest() {} });
  const wire = await client();
  wire.send(get('/1') + post('Content-Length: 3\r\n', 'two') + get('/3'));
  for (const count of [1, 2, 3]) {
    await origin.until(`request ${count}`, () => origin.requests.length === count);
    t.equal(splitMessages(wire.received).length, count - 1);
    origin.connections[0]?.send(respond(`answer ${count}`));
  }
  t.strictSame(
    (await readResponses(wire, 3)).map(({ body }) => body),
    ['answer 1', 'answer 2', 'answer 3'],
  );
  t.strictSame(origin.requests.map(pathOf), ['/1', '/', '/3']);
  t.equal(origin.requests[1]?.body, 'two');
});

t.test('[A1] answers are streamed: the head before the body, each piece before the next', async (t) => {
  const { origin, client } = await openProxied(t, { onRequest() {} });
  for (const [framing, piece] of [
    ['Transfer-Encoding: chunked\r\n', (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`],
    ['Content-Length: 1000\r\n', (text: string) => text],
    ['Connection: close\r\n', (text: string) => text],
  ] as const) {
    const before = origin.requests.length;
    const wire = await client();
    wire.send(get('/'));
    await origin.until('the request', () => origin.requests.length > before);
    const at = origin.connections.at(-1) as Wire;
    at.send(`HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n${framing}\r\n`);
    await wire.until('the head alone', () => wire.received.includes('\r\n\r\n'));
    for (let i = 0; i < 20; i += 1) {
      at.send(piece(`data: ${i}\n\n`));
      await wire.until(`piece ${i}`, () => wire.received.includes(`data: ${i}\n\n`));
    }
    wire.socket.destroy();
    await at.end();
  }
  t.equal(origin.requests.length, 3);
});

t.test('[A1] uploads are streamed: each piece before the next', async (t) => {
  const { origin, client } = await openProxied(t);
  const wire = await client();
  wire.send(post('Transfer-Encoding: chunked\r\n'));
  for (let i = 0; i < 20; i += 1) {
    wire.send(`7\r\npiece${String(i).padStart(2, '0')}\r\n`);
    await origin.until(
      `piece ${i}`,
      () => origin.connections[0]?.received.includes(`7\r\npiece${String(i).padStart(2, '0')}\r\n`) ?? false,
    );
  }
  wire.send('0\r\n\r\n');
  t.equal((await readResponse(wire)).body, 'ok');
});

t.test('[A1] a client that does not read stops the origin, and gets everything when it reads', async (t) => {
  for (const framing of ['length', 'chunked'] as const) {
    await t.test(framing, async (t) => {
      let poured: ReturnType<typeof pour> | undefined;
      const { client } = await openProxied(t, {
        onRequest(wire) {
          if (framing === 'length') {
            wire.send(`HTTP/1.1 200 OK\r\nContent-Length: ${floodBytes}\r\n\r\n`);
          } else {
            // One chunk is as good as many: we frame anew.
            wire.send(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${floodBytes.toString(16)}\r\n`);
          }
          poured = pour(wire, floodBytes);
          if (framing === 'chunked') poured.done.then(() => wire.send('\r\n0\r\n\r\n'));
        },
      });
      const wire = await client();
      wire.socket.pause();
      wire.send(get('/'));
      const taken = await standstill(() => poured?.taken() ?? -2);
      t.ok(taken < kernelBytes, `stopped after ${taken} bytes`);
      const counted = countBytes(wire);
      await counted.until(floodBytes);
      t.pass('everything came');
    });
  }
});

t.test('[A1] an origin that does not read stops the client, and gets everything when it reads', async (t) => {
  for (const framing of ['length', 'chunked'] as const) {
    await t.test(framing, async (t) => {
      const { origin, client } = await openProxied(t, { paused: true });
      const wire = await client();
      wire.send(
        framing === 'length'
          ? post(`Content-Length: ${floodBytes}\r\n`)
          : post('Transfer-Encoding: chunked\r\n', `${floodBytes.toString(16)}\r\n`),
      );
      const poured = pour(wire, floodBytes);
      const taken = await standstill(poured.taken);
      t.ok(taken < kernelBytes, `stopped after ${taken} bytes`);
      const at = origin.connections[0] as Wire;
      const counted = countBytes(at);
      await counted.until(floodBytes);
      if (framing === 'chunked') wire.send('\r\n0\r\n\r\n');
      at.send(respond('ok'));
      t.equal((await readResponse(wire)).body, 'ok');
    });
  }
});

t.test('[A1] a client that leaves ends the exchange with the origin', async (t) => {
  const leave = (wire: Wire, way: string): void => {
    if (way === 'reset') wire.socket.resetAndDestroy();
    else wire.socket.destroy();
  };
  for (const way of ['close', 'reset']) {
    await t.test(`before the answer, ${way}`, async (t) => {
      const { origin, client } = await openProxied(t, { onRequest() {} });
      const wire = await client();
      wire.send(get('/') + get('/behind'));
      await origin.until('the request', () => origin.requests.length === 1);
      leave(wire, way);
      await origin.until('the end', () => hasEnded(origin.connections[0]));
      t.strictSame(origin.requests.map(pathOf), ['/'], 'and what waited behind it is not sent');
    });
    await t.test(`within the answer, ${way}`, async (t) => {
      const { origin, client } = await openProxied(t, {
        onRequest: (wire) => wire.send('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhello'),
      });
      const wire = await client();
      wire.send(get('/'));
      await wire.until('the beginning', () => wire.received.endsWith('hello'));
      leave(wire, way);
      await origin.until('the end', () => hasEnded(origin.connections[0]));
      t.pass('the origin saw it');
    });
    await t.test(`within its upload, ${way}`, async (t) => {
      const { origin, client } = await openProxied(t);
      const wire = await client();
      wire.send(post('Content-Length: 1000\r\n', 'hello'));
      await origin.until('the beginning', () => origin.connections[0]?.received.endsWith('hello') ?? false);
      leave(wire, way);
      await origin.until('the end', () => hasEnded(origin.connections[0]));
      t.strictSame(origin.requests, []);
    });
    await t.test(`while it waits for a connection, ${way}`, async (t) => {
      const { origin, client, access } = await openProxied(t, { onRequest() {} }, { route: { maxConnections: 1 } });
      const first = await client();
      first.send(get('/1'));
      await origin.until('the first', () => origin.requests.length === 1);
      const waiting = await client();
      waiting.send(get('/2'));
      await waitForMetric(t, access, 'qalgate_proxy_upstream_waiting', 1);
      leave(waiting, way);
      await waitForMetric(t, access, 'qalgate_proxy_upstream_waiting', 0);
      const third = await client();
      third.send(get('/3'));
      origin.connections[0]?.send(respond('1'));
      t.equal((await readResponse(first)).body, '1');
      await origin.until('the third', () => origin.requests.length === 2);
      t.strictSame(origin.requests.map(pathOf), ['/1', '/3']);
    });
  }
});

/** Waits until a metric without labels has a value. */
async function waitForMetric(
  t: Test,
  access: { metrics: { registry: { metrics(): Promise<string> } } },
  name: string,
  value: number,
): Promise<void> {
  const deadline = performance.now() + 5_000;
  for (;;) {
    const found = new RegExp(`^${name} (\\S+)$`, 'm').exec(await access.metrics.registry.metrics())?.[1];
    if (Number(found) === value) return;
    if (performance.now() > deadline) {
      t.fail(`${name} is ${found}, not ${value}`);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
