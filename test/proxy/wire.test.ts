import fc from 'fast-check';
import t, { type Test } from 'tap';
import type { AccountId, ErrorBody } from '../../src/wire/index.ts';
import { openAccess, testApp, testAppId } from '../support/access.ts';
import {
  openClient,
  openOrigin,
  readMessage,
  readResponse,
  respond,
  sendAlone,
  splitMessages,
  statusOf,
} from '../support/wire.ts';

/**
 * What a hostile client can put on the wire, byte by byte. Each case is one of three:
 * refused: one error answer, the connection closed behind it, and the origin saw nothing of it;
 * cut: the head was right and had gone on when the body broke: the origin saw one request that never became complete;
 * forwarded: the origin saw exactly one request, and of QAL-* and forwarding fields exactly ours.
 * `forged` and `SMUGGLED` mark what no origin may ever see, `smuggled` a request behind the one that is refused.
 */

const origin = await openOrigin({
  onHead(wire, head) {
    if (head.start.includes('/early')) wire.send(respond('too large', '', '413 Content Too Large'));
  },
  onRequest(wire, request) {
    if (!request.start.includes('/early')) wire.send(respond('ok'));
  },
});
// The limits on heads are those of `testOptions`: 16,384 bytes, 100 fields, a URL of 8,192 bytes.
const access = await openAccess([testApp([origin.url])]);
t.teardown(async () => {
  await access.close();
  await origin.close();
});

const smuggled = 'GET /SMUGGLED HTTP/1.1\r\nHost: a\r\n\r\n';
const get = (fields = '', target = '/x') => `GET ${target} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;
const post = (fields: string, body: string) => `POST /x HTTP/1.1\r\nHost: a\r\n${fields}\r\n${body}`;
const chunked = (body: string) => post('Transfer-Encoding: chunked\r\n', body);

/** What the origin has received since `mark`, one entry a connection; the serial number is not compared. */
function seenSince(mark: number[]): string[] {
  return origin.connections.map((wire, i) => wire.received.slice(mark[i] ?? 0)).filter((bytes) => bytes !== '');
}
const markOrigin = (): number[] => origin.connections.map((wire) => wire.received.length);

function assertErrorAnswer(t: Test, received: string, statuses: readonly number[]): void {
  const [answer, ...more] = splitMessages(received);
  if (answer === undefined) {
    t.fail('there is no answer', { received });
    return;
  }
  t.equal(answer.raw, received, 'one answer and nothing behind it');
  t.ok(statuses.includes(statusOf(answer)), `${answer.start} is one of ${statuses}`);
  const { error } = JSON.parse(answer.body) as ErrorBody;
  t.match(error.requestId, /^\d+$/);
  t.equal(more.length, 0);
}

async function assertRefused(t: Test, bytes: string, ...statuses: number[]): Promise<void> {
  const mark = markOrigin();
  const { received } = await sendAlone(access.port, bytes);
  assertErrorAnswer(t, received, statuses.length === 0 ? [400] : statuses);
  t.strictSame(seenSince(mark), [], 'the origin saw nothing');
}

async function assertCut(t: Test, bytes: string, ...statuses: number[]): Promise<void> {
  const mark = markOrigin();
  const { received } = await sendAlone(access.port, bytes);
  assertErrorAnswer(t, received, statuses.length === 0 ? [400] : statuses);
  await assertIncomplete(t, mark);
}

/** The origin saw one request at most, not the end of it, and its connection was closed. */
async function assertIncomplete(t: Test, mark: number[]): Promise<void> {
  const seen = seenSince(mark);
  t.ok(seen.length <= 1, 'one request at most');
  for (const bytes of seen) {
    t.equal(readMessage(bytes), undefined, 'which is not complete');
    t.equal(bytes.match(/HTTP\/1\.1\r\n/g)?.length ?? 0, 1);
  }
  await origin.until('its connection closed', () =>
    origin.connections.every((wire, i) => wire.received.length === (mark[i] ?? 0) || wire.ended !== 'no'),
  );
}

const anonymousLines = `QAL-SDK-APP-Id: ${testAppId}\r\n`;

/** Sends a request and holds what the origin got against `head` and `body`, byte by byte. */
async function assertForwarded(
  t: Test,
  bytes: string,
  head: string,
  { body = '', via = '1.1', qal = anonymousLines, connection = 'Connection: keep-alive\r\n', isHead = false } = {},
): Promise<void> {
  const mark = markOrigin();
  const client = await openClient(access.port);
  client.send(bytes);
  const answer = await readResponse(client, { noBody: isHead });
  client.socket.destroy();
  t.equal(statusOf(answer), 200);
  const seen = seenSince(mark).map((bytes) => bytes.replace(/QAL-Req-Seq-No: \d+\r\n/, 'QAL-Req-Seq-No: #\r\n'));
  t.strictSame(seen, [
    `${head}${connection}Via: ${via} qalgate\r\n${qal}X-Forwarded-For: 127.0.0.1\r\nQAL-Req-Seq-No: #\r\n\r\n${body}`,
  ]);
}

t.test('[A11] Content-Length with Transfer-Encoding, in any order, is refused', async (t) => {
  const cases: Record<string, string> = {
    'length first': 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n',
    'coding first': 'Transfer-Encoding: chunked\r\nContent-Length: 5\r\n',
    'length 0': 'Content-Length: 0\r\nTransfer-Encoding: chunked\r\n',
    'coding between two lengths': 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n',
    'lower case': 'content-length: 5\r\ntransfer-encoding: chunked\r\n',
    'coding that is not chunked': 'Content-Length: 5\r\nTransfer-Encoding: identity\r\n',
    'unknown coding': 'Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n',
    'empty coding': 'Content-Length: 5\r\nTransfer-Encoding:\r\n',
    'coding named by Connection':
      'Connection: Transfer-Encoding\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n',
    'length named by Connection': 'Connection: Content-Length\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n',
    'bare LF before the coding': 'Content-Length: 5\r\nX: y\nTransfer-Encoding: chunked\r\n',
    'bare CR before the coding': 'Content-Length: 5\r\nX: y\rTransfer-Encoding: chunked\r\n',
    'space before the colon': 'Content-Length: 5\r\nTransfer-Encoding : chunked\r\n',
    'tab before the colon': 'Content-Length: 5\r\nTransfer-Encoding\t: chunked\r\n',
    'NUL in the name': 'Content-Length: 5\r\nTransfer-Encoding\0: chunked\r\n',
    '0xA0 behind the name': 'Content-Length: 5\r\nTransfer-Encoding\xa0: chunked\r\n',
    'in a folded line': 'Content-Length: 5\r\nX: y\r\n Transfer-Encoding: chunked\r\n',
    'folded behind its name': 'Content-Length: 5\r\nTransfer-Encoding:\r\n chunked\r\n',
  };
  for (const [name, fields] of Object.entries(cases)) {
    await t.test(name, (t) => assertRefused(t, post(fields, `0\r\n\r\n${smuggled}`), 400, 501));
  }
});

t.test('[A11] every Transfer-Encoding but one `chunked` is refused', async (t) => {
  const cases: Record<string, string> = {
    twice: 'Transfer-Encoding: chunked, chunked\r\n',
    'two lines': 'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n',
    'identity and chunked in two lines': 'Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n',
    'chunked and identity in two lines': 'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n',
    identity: 'Transfer-Encoding: identity\r\n',
    'identity, chunked': 'Transfer-Encoding: identity, chunked\r\n',
    'chunked, identity': 'Transfer-Encoding: chunked, identity\r\n',
    gzip: 'Transfer-Encoding: gzip\r\n',
    'gzip, chunked': 'Transfer-Encoding: gzip, chunked\r\n',
    xchunked: 'Transfer-Encoding: xchunked\r\n',
    chunkedx: 'Transfer-Encoding: chunkedx\r\n',
    'cow chunked': 'Transfer-Encoding: cow chunked\r\n',
    'quoted twice': 'Transfer-Encoding: "chunked"\r\n',
    'quoted once': "Transfer-Encoding: 'chunked'\r\n",
    parameter: 'Transfer-Encoding: chunked;q=1\r\n',
    'comma behind': 'Transfer-Encoding: chunked,\r\n',
    'comma before': 'Transfer-Encoding: ,chunked\r\n',
    empty: 'Transfer-Encoding:\r\n',
    'vertical tab before': 'Transfer-Encoding: \x0bchunked\r\n',
    'vertical tab behind': 'Transfer-Encoding: chunked\x0b\r\n',
    'form feed before': 'Transfer-Encoding: \x0cchunked\r\n',
    'NUL behind': 'Transfer-Encoding: chunked\0\r\n',
    '0xA0 before': 'Transfer-Encoding: \xa0chunked\r\n',
    '0xA0 behind': 'Transfer-Encoding: chunked\xa0\r\n',
    'non-ASCII letter': 'Transfer-Encoding: chun\xebked\r\n',
    'folded second value': 'Transfer-Encoding: chunked\r\n , identity\r\n',
  };
  for (const [name, fields] of Object.entries(cases)) {
    await t.test(name, (t) => assertRefused(t, post(fields, `0\r\n\r\n${smuggled}`), 400, 501));
  }
  await t.test('in HTTP/1.0', (t) =>
    assertRefused(t, `POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`),
  );
  // Node's parser gives the value without its tab, but reads on with it: the head has gone by then.
  await t.test('tab behind', (t) => assertCut(t, post('Transfer-Encoding: chunked\t\r\n', `0\r\n\r\n${smuggled}`)));
});

t.test('[A1] chunked in any case and with white space around it is chunked', async (t) => {
  for (const value of [' chunked', 'chunked', ' CHUNKED', ' Chunked', '\tchunked', '  chunked ']) {
    await t.test(JSON.stringify(value), (t) =>
      assertForwarded(
        t,
        post(`Transfer-Encoding:${value}\r\nX: y\r\n`, '3\r\nabc\r\n0\r\n\r\n'),
        'POST /x HTTP/1.1\r\nHost: a\r\nX: y\r\nTransfer-Encoding: chunked\r\n',
        { body: '3\r\nabc\r\n0\r\n\r\n' },
      ),
    );
  }
  await t.test('with GET, and Connection cannot take it away', (t) =>
    assertForwarded(
      t,
      `${get('Connection: Transfer-Encoding, X\r\nX: gone\r\nTransfer-Encoding: chunked\r\n')}3\r\nabc\r\n0\r\n\r\n`,
      'GET /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n',
      { body: '3\r\nabc\r\n0\r\n\r\n' },
    ),
  );
  await t.test('with an underscore it is some other field, and no backend sees it', (t) =>
    assertForwarded(
      t,
      post('Transfer_Encoding: chunked\r\nContent_Length: 99\r\nContent-Length: 3\r\n', 'abc'),
      'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n',
      { body: 'abc' },
    ),
  );
});

t.test('[A11] Content-Length is one plain number or the request is refused', async (t) => {
  const cases: Record<string, string> = {
    'the same twice': 'Content-Length: 5\r\nContent-Length: 5\r\n',
    'the same twice, other case': 'Content-Length: 5\r\ncontent-length: 5\r\n',
    conflicting: 'Content-Length: 5\r\nContent-Length: 6\r\n',
    'conflicting with 0': 'Content-Length: 0\r\nContent-Length: 5\r\n',
    'the same in a list': 'Content-Length: 5, 5\r\n',
    'conflicting in a list': 'Content-Length: 5, 6\r\n',
    'comma behind': 'Content-Length: 5,\r\n',
    plus: 'Content-Length: +5\r\n',
    minus: 'Content-Length: -5\r\n',
    'minus 0': 'Content-Length: -0\r\n',
    hexadecimal: 'Content-Length: 0x5\r\n',
    letters: 'Content-Length: 5a\r\n',
    'space within': 'Content-Length: 5 5\r\n',
    'tab within': 'Content-Length: 5\t5\r\n',
    fraction: 'Content-Length: 5.0\r\n',
    exponent: 'Content-Length: 5e0\r\n',
    parameter: 'Content-Length: 5;x\r\n',
    quoted: 'Content-Length: "5"\r\n',
    'other digits': 'Content-Length: \xb2\r\n',
    empty: 'Content-Length:\r\n',
    'space only': 'Content-Length:  \r\n',
    'vertical tab behind': 'Content-Length: 5\x0b\r\n',
    'NUL behind': 'Content-Length: 5\0\r\n',
    '2^64': 'Content-Length: 18446744073709551616\r\n',
    '2^64 + 5': 'Content-Length: 18446744073709551621\r\n',
    '2^63': 'Content-Length: 9223372036854775808\r\n',
    '2^53': 'Content-Length: 9007199254740992\r\n',
    'thirty digits': `Content-Length: ${'9'.repeat(30)}\r\n`,
    'thirty zeros': `Content-Length: ${'0'.repeat(30)}5\r\n`,
    folded: 'Content-Length:\r\n 5\r\n',
    'folded second digit': 'Content-Length: 5\r\n 0\r\n',
    'space before the colon': 'Content-Length : 5\r\n',
    'tab before the colon': 'Content-Length\t: 5\r\n',
  };
  for (const [name, fields] of Object.entries(cases)) {
    await t.test(name, (t) => assertRefused(t, post(fields, `hello${smuggled}`)));
  }
  await t.test('leading zeros and other case are written anew', (t) =>
    assertForwarded(
      t,
      post('content-LENGTH:  0005 \r\n', 'hello'),
      'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n',
      {
        body: 'hello',
      },
    ),
  );
  await t.test('Connection cannot take it away', (t) =>
    assertForwarded(
      t,
      post('Connection: Content-Length, Host, Via\r\nContent-Length: 5\r\n', 'hello'),
      'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n',
      { body: 'hello' },
    ),
  );
  await t.test('0 with GET', (t) =>
    assertForwarded(t, get('Content-Length: 0\r\n'), 'GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n'),
  );
  await t.test('with GET', (t) =>
    assertForwarded(t, `${get('Content-Length: 4\r\n')}body`, 'GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n', {
      body: 'body',
    }),
  );
  await t.test('in HTTP/1.0', (t) =>
    assertForwarded(
      t,
      'POST /x HTTP/1.0\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody',
      'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n',
      { body: 'body', via: '1.0' },
    ),
  );
});

t.test('[A11] a chunked body that two readers could end differently never becomes a complete request', async (t) => {
  const rest = `0\r\n\r\n${smuggled}`;
  const cases: Record<string, string> = {
    'size with plus': `+5\r\nhello\r\n${rest}`,
    'size with minus': `-5\r\nhello\r\n${rest}`,
    'size with 0x': `0x5\r\nhello\r\n${rest}`,
    'size with underscore': `1_0\r\nhello\r\n${rest}`,
    'space before the size': ` 5\r\nhello\r\n${rest}`,
    'space behind the size': `5 \r\nhello\r\n${rest}`,
    'tab behind the size': `5\t\r\nhello\r\n${rest}`,
    'no size': `\r\nhello\r\n${rest}`,
    'extension only': `;x\r\nhello\r\n${rest}`,
    'letter that is no digit': `5g\r\nhello\r\n${rest}`,
    fraction: `5.0\r\nhello\r\n${rest}`,
    quoted: `"5"\r\nhello\r\n${rest}`,
    'size over 64 bits': `10000000000000005\r\nhello\r\n${rest}`,
    'size far over 64 bits': `${'f'.repeat(40)}\r\nhello\r\n${rest}`,
    'size over 64 bits behind zeros': `000000000000000000010000000000000005\r\nhello\r\n${rest}`,
    'bare LF behind the size': `5\nhello\r\n${rest}`,
    'bare CR behind the size': `5\rhello\r\n${rest}`,
    'LF CR behind the size': `5\n\rhello\r\n${rest}`,
    'CR CR LF behind the size': `5\r\r\nhello\r\n${rest}`,
    'NUL behind the size': `5\0\r\nhello\r\n${rest}`,
    'bare LF in the extension': `5;a\nhello\r\n${rest}`,
    'bare CR in the extension': `5;a\rb\r\nhello\r\n${rest}`,
    'NUL in the extension': `5;a\0\r\nhello\r\n${rest}`,
    'open quote in the extension': `5;a="\r\nhello\r\n${rest}`,
    'very long extension': `5;${'a'.repeat(20_000)}\r\nhello\r\n${rest}`,
    'no CRLF behind the data': `5\r\nhello${rest}`,
    'LF behind the data': `5\r\nhello\n${rest}`,
    'CR behind the data': `5\r\nhello\r${rest}`,
    'LF CR behind the data': `5\r\nhello\n\r${rest}`,
    'more data than the size': `5\r\nhello, world\r\n${rest}`,
    'less data than the size': `7\r\nhello\r\n${rest}`,
    'bare LF behind the last size': `5\r\nhello\r\n0\n\r\n${smuggled}`,
    'bare LF at the end': `5\r\nhello\r\n0\r\n\n${smuggled}`,
    'CR and no LF at the end': `5\r\nhello\r\n0\r\n\r${smuggled}`,
    'no end behind the last size': `5\r\nhello\r\n0\r\n${smuggled}`,
    'trailer with a space before the colon': `5\r\nhello\r\n0\r\nX : y\r\n\r\n${smuggled}`,
    'folded trailer': `5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n${smuggled}`,
    'trailer without a colon': `5\r\nhello\r\n0\r\nX\r\n\r\n${smuggled}`,
    'NUL in a trailer': `5\r\nhello\r\n0\r\nX: y\0\r\n\r\n${smuggled}`,
    'bare LF in a trailer': `5\r\nhello\r\n0\r\nX: y\nQAL-Identifier: forged\r\n\r\n${smuggled}`,
    'Content-Length in a trailer': `5\r\nhello\r\n0\r\nContent-Length: 4\r\n\r\n${smuggled}`,
    'Transfer-Encoding in a trailer': `5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n${smuggled}`,
    'oversized trailers': `5\r\nhello\r\n0\r\nX: ${'y'.repeat(20_000)}\r\n\r\n${smuggled}`,
  };
  for (const [name, body] of Object.entries(cases)) {
    await t.test(name, (t) => assertCut(t, chunked(body), 400, 431));
  }
});

t.test('[A1] chunk extensions and odd sizes that all readers take alike are written anew', async (t) => {
  const cases: Record<string, string> = {
    extension: '5;a=b\r\nhello\r\n0\r\n\r\n',
    'quoted extension': '5;a="b;c\\"d"\r\nhello\r\n0;x\r\n\r\n',
    'leading zeros': '00005\r\nhello\r\n0000\r\n\r\n',
  };
  for (const [name, body] of Object.entries(cases)) {
    await t.test(name, (t) =>
      assertForwarded(t, chunked(body), 'POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n', {
        body: '5\r\nhello\r\n0\r\n\r\n',
      }),
    );
  }
});

t.test('[A11] bare CR, bare LF, NUL and other controls are refused wherever they stand in a head', async (t) => {
  const cases: Record<string, string> = {
    'LF everywhere': 'GET /x HTTP/1.1\nHost: a\n\n',
    'LF behind the request line': 'GET /x HTTP/1.1\nHost: a\r\n\r\n',
    'LF behind a field': 'GET /x HTTP/1.1\r\nHost: a\nX: y\r\n\r\n',
    'LF at the end of the head': 'GET /x HTTP/1.1\r\nHost: a\r\n\n',
    'LF before the last CRLF': 'GET /x HTTP/1.1\r\nHost: a\n\r\n',
    'LF in a name': get('X\nQAL-Identifier: forged\r\n'),
    'LF in a value': get('X: y\nQAL-Identifier: forged\r\n'),
    'LF in the target': get('', '/x\nQAL-Identifier: forged'),
    'CR behind the request line': 'GET /x HTTP/1.1\rHost: a\r\n\r\n',
    'CR behind a field': 'GET /x HTTP/1.1\r\nHost: a\rX: y\r\n\r\n',
    'CR CR LF at the end of the head': 'GET /x HTTP/1.1\r\nHost: a\r\r\n\r\n',
    'CR and no LF at the end of the head': `GET /x HTTP/1.1\r\nHost: a\r\n\r${smuggled}`,
    'CR in a name': get('X\rQAL-Identifier: forged\r\n'),
    'CR in a value': get('X: y\rQAL-Identifier: forged\r\n'),
    'CR in the target': get('', '/x\rQAL-Identifier: forged'),
    'CR in the method': 'GE\rT /x HTTP/1.1\r\nHost: a\r\n\r\n',
    'CR in the version': 'GET /x HTTP/\r1.1\r\nHost: a\r\n\r\n',
    'NUL in the method': 'GE\0T /x HTTP/1.1\r\nHost: a\r\n\r\n',
    'NUL in the target': get('', '/x\0'),
    'NUL in the version': 'GET /x HTTP/1.1\0\r\nHost: a\r\n\r\n',
    'NUL in a name': get('X\0Y: z\r\n'),
    'NUL in a value': get('X: y\0z\r\n'),
    'NUL before the request': '\0GET /x HTTP/1.1\r\nHost: a\r\n\r\n',
    'escape in a value': get('X: \x1b[31m\r\n'),
    'delete in a value': get('X: \x7f\r\n'),
    'vertical tab in a value': get('X: y\x0bz\r\n'),
    'tab in the target': get('', '/x\ty'),
    'vertical tab in the target': get('', '/x\x0by'),
    'tab behind the method': 'GET\t/x HTTP/1.1\r\nHost: a\r\n\r\n',
    'tab before the version': 'GET /x\tHTTP/1.1\r\nHost: a\r\n\r\n',
  };
  for (const [name, bytes] of Object.entries(cases)) {
    await t.test(name, (t) => assertRefused(t, `${bytes}${smuggled}`));
  }
  for (const [name, blank] of Object.entries({ CRLF: '\r\n', 'many CRLF': '\r\n'.repeat(20), LF: '\n\n' })) {
    await t.test(`${name} before the request line is passed over`, (t) =>
      assertForwarded(t, `${blank}${get()}`, 'GET /x HTTP/1.1\r\nHost: a\r\n'),
    );
  }
});

t.test('[A11] field lines: folded, without a name, with spaces where none belong: refused', async (t) => {
  const cases: Record<string, string> = {
    'folded with a space': get('X: y\r\n z\r\n'),
    'folded with a tab': get('X: y\r\n\tz\r\n'),
    'folded to nothing': get('X: y\r\n \r\n'),
    'folded into a trusted name': get('X: y\r\n QAL-Identifier: forged\r\n'),
    'folded trusted field': get('QAL-Identifier:\r\n forged\r\n'),
    'space before the first field': 'GET /x HTTP/1.1\r\n Host: a\r\n\r\n',
    'tab before the first field': 'GET /x HTTP/1.1\r\n\tX: y\r\nHost: a\r\n\r\n',
    'space before the colon': get('X : y\r\n'),
    'tab before the colon': get('X\t: y\r\n'),
    'space in the name': get('X Y: z\r\n'),
    'no name': get(': y\r\n'),
    'no colon': get('X\r\n'),
    'a name in parentheses': get('(X): y\r\n'),
    'a quoted name': get('"X": y\r\n'),
    'a non-ASCII name': get('\xdcber: y\r\n'),
    'a name with a slash': get('X/Y: z\r\n'),
  };
  for (const [name, bytes] of Object.entries(cases)) {
    await t.test(name, (t) => assertRefused(t, `${bytes}${smuggled}`));
  }
});

t.test('[A11] Host names one host or the request is refused', async (t) => {
  const cases: Record<string, string> = {
    missing: 'X: y\r\n',
    'twice the same': 'Host: a\r\nHost: a\r\n',
    'twice, differing': 'Host: a\r\nHost: b\r\n',
    'twice, other case': 'Host: a\r\nhost: a\r\n',
    'twice, one empty': 'Host: a\r\nHost:\r\n',
    'twice, far apart': 'Host: a\r\nX: y\r\nY: z\r\nHost: b\r\n',
    list: 'Host: a, b\r\n',
    path: 'Host: a/b\r\n',
    query: 'Host: a?b\r\n',
    fragment: 'Host: a#b\r\n',
    userinfo: 'Host: user@a\r\n',
    'userinfo with a password': 'Host: user:pw@a\r\n',
    scheme: 'Host: http://a\r\n',
    space: 'Host: a b\r\n',
    tab: 'Host: a\tb\r\n',
    'vertical tab': 'Host: a\x0b\r\n',
    backslash: 'Host: a\\b\r\n',
    quote: 'Host: "a"\r\n',
    'non-ASCII': 'Host: \xe4\r\n',
    'port of letters': 'Host: a:http\r\n',
    'port too long': 'Host: a:123456\r\n',
    'two ports': 'Host: a:80:80\r\n',
    'negative port': 'Host: a:-80\r\n',
    'open bracket': 'Host: [::1\r\n',
    'text behind the bracket': 'Host: [::1]b\r\n',
    'name in brackets': 'Host: [a.example]\r\n',
    'space before the colon': 'Host : a\r\n',
    folded: 'Host: a\r\n b\r\n',
  };
  for (const [name, fields] of Object.entries(cases)) {
    await t.test(name, (t) => assertRefused(t, `GET /x HTTP/1.1\r\n${fields}\r\n${smuggled}`));
  }
  for (const host of ['a', 'A.Example', 'a:8080', 'a:', '127.0.0.1', '[::1]', '[::1]:80', 'a_b', 'xn--4ca']) {
    await t.test(`${host} is forwarded as it is`, (t) =>
      assertForwarded(t, `GET /x HTTP/1.1\r\nHost: ${host}\r\n\r\n`, `GET /x HTTP/1.1\r\nHost: ${host}\r\n`),
    );
  }
  await t.test('empty, or missing in HTTP/1.0, becomes the origin', async (t) => {
    const host = `127.0.0.1:${origin.port}`;
    await assertForwarded(t, 'GET /x HTTP/1.1\r\nHost:\r\n\r\n', `GET /x HTTP/1.1\r\nHost: ${host}\r\n`);
    await assertForwarded(t, 'GET /x HTTP/1.0\r\n\r\n', `GET /x HTTP/1.1\r\nHost: ${host}\r\n`, { via: '1.0' });
  });
  await t.test('Host_ and other spellings are no Host', (t) =>
    assertForwarded(t, get('X-Host: b\r\n'), 'GET /x HTTP/1.1\r\nHost: a\r\nX-Host: b\r\n'),
  );
});

t.test('[A11] request targets: what is no path of the host that Host names is refused', async (t) => {
  const cases: Record<string, [string, number]> = {
    'absolute form, other host': [get('', 'http://b/x'), 400],
    'absolute form, other port': [get('', 'http://a:81/x'), 400],
    'absolute form, userinfo': [get('', 'http://user@a/x'), 400],
    'absolute form, host in the userinfo': [get('', 'http://a@b/x'), 400],
    'absolute form, userinfo in Host too': ['GET http://u@a/x HTTP/1.1\r\nHost: u@a\r\n\r\n', 400],
    'absolute form, userinfo in HTTP/1.0': ['GET http://user:pw@a/x HTTP/1.0\r\n\r\n', 400],
    'absolute form, backslash': [get('', 'http://a\\@b/x'), 400],
    'absolute form, no host': [get('', 'http:///x'), 400],
    'absolute form, empty Host': ['GET http://a/x HTTP/1.1\r\nHost:\r\n\r\n', 400],
    'absolute form, no Host': ['GET http://a/x HTTP/1.1\r\n\r\n', 400],
    'absolute form, fragment': [get('', 'http://a/x#y'), 400],
    'other scheme': [get('', 'ftp://a/x'), 400],
    'websocket scheme': [get('', 'ws://a/x'), 400],
    'one slash': [get('', 'http:/a/x'), 400],
    'authority form': [get('', 'a:80'), 400],
    'a name': [get('', 'x'), 400],
    'a query': [get('', '?x'), 400],
    'asterisk with GET': [get('', '*'), 400],
    'two asterisks with OPTIONS': ['OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    fragment: [get('', '/x#y'), 400],
    'non-ASCII': [get('', '/\xe4'), 400],
    'UTF-8': [get('', '/\xc3\xa4'), 400],
    'no target': ['GET  HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    'a space in it': [get('', '/x y'), 400],
    'CONNECT with authority form': ['CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n', 405],
    'CONNECT without a port': ['CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n', 405],
    'CONNECT with a path': ['CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n', 405],
    'too long': [get('', `/${'x'.repeat(8_192)}`), 414],
    'far too long': [get('', `/${'x'.repeat(40_000)}`), 431],
  };
  for (const [name, [bytes, status]] of Object.entries(cases)) {
    await t.test(name, (t) => assertRefused(t, `${bytes}${smuggled}`, status));
  }
  const forwarded: Record<string, [string, string]> = {
    'absolute form': [get('', 'http://a/x?y'), 'GET /x?y HTTP/1.1'],
    'absolute form, upper case': [get('', 'HTTP://A/x'), 'GET /x HTTP/1.1'],
    'absolute form, https': [get('', 'https://a/x'), 'GET /x HTTP/1.1'],
    'absolute form, no path': [get('', 'http://a'), 'GET / HTTP/1.1'],
    'absolute form, query only': [get('', 'http://a?y'), 'GET /?y HTTP/1.1'],
    'absolute form with OPTIONS': ['OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n', 'OPTIONS * HTTP/1.1'],
    'absolute form with OPTIONS and path': ['OPTIONS http://a/ HTTP/1.1\r\nHost: a\r\n\r\n', 'OPTIONS / HTTP/1.1'],
    'asterisk with OPTIONS': ['OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n', 'OPTIONS * HTTP/1.1'],
    'two spaces before it': ['GET  /x HTTP/1.1\r\nHost: a\r\n\r\n', 'GET /x HTTP/1.1'],
    'two slashes': [get('', '//b/x'), 'GET //b/x HTTP/1.1'],
    'dots and percents': [get('', '/a/../%2e%2E/%00%zz;?#'.slice(0, -1)), 'GET /a/../%2e%2E/%00%zz;? HTTP/1.1'],
    marks: [get('', '/"<>\\^`{|}?a=[b]&c=@'), 'GET /"<>\\^`{|}?a=[b]&c=@ HTTP/1.1'],
    'as long as allowed': [get('', `/${'x'.repeat(8_191)}`), `GET /${'x'.repeat(8_191)} HTTP/1.1`],
  };
  for (const [name, [bytes, start]] of Object.entries(forwarded)) {
    await t.test(name, (t) => assertForwarded(t, bytes, `${start}\r\nHost: a\r\n`));
  }
  await t.test('absolute form in HTTP/1.0 without Host', (t) =>
    assertForwarded(t, 'GET http://b:81/x HTTP/1.0\r\n\r\n', 'GET /x HTTP/1.1\r\nHost: b:81\r\n', { via: '1.0' }),
  );
});

t.test('[A11] methods, versions and what is no HTTP/1 at all', async (t) => {
  const version = (text: string) => `GET /x ${text}\r\nHost: a\r\n\r\n`;
  const cases: Record<string, string> = {
    'lower-case method': 'get /x HTTP/1.1\r\nHost: a\r\n\r\n',
    'mixed-case method': 'Get /x HTTP/1.1\r\nHost: a\r\n\r\n',
    'unknown method': 'FROBNICATE /x HTTP/1.1\r\nHost: a\r\n\r\n',
    'known method with a letter more': 'GETS /x HTTP/1.1\r\nHost: a\r\n\r\n',
    'no method': ' /x HTTP/1.1\r\nHost: a\r\n\r\n',
    'space before the method': ' GET /x HTTP/1.1\r\nHost: a\r\n\r\n',
    'HTTP/0.9 without a version': 'GET /x\r\n\r\n',
    'HTTP/0.9': version('HTTP/0.9'),
    'HTTP/1.2': version('HTTP/1.2'),
    'HTTP/1.9': version('HTTP/1.9'),
    'HTTP/1.10': version('HTTP/1.10'),
    'HTTP/2.0': version('HTTP/2.0'),
    'HTTP/2.0 without Host': 'GET /x HTTP/2.0\r\n\r\n',
    'HTTP/2': version('HTTP/2'),
    'HTTP/3.0': version('HTTP/3.0'),
    'HTTP/1': version('HTTP/1'),
    'HTTP/11': version('HTTP/11'),
    'HTTP/01.1': version('HTTP/01.1'),
    'HTTP/1,1': version('HTTP/1,1'),
    'HTTP/1.1x': version('HTTP/1.1x'),
    'HTTP /1.1': version('HTTP /1.1'),
    'http/1.1': version('http/1.1'),
    'HTTPS/1.1': version('HTTPS/1.1'),
    'space behind the version': version('HTTP/1.1 '),
    'version twice': version('HTTP/1.1 HTTP/1.1'),
    'HTTP/2 preface': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'PRI as HTTP/1.1': 'PRI * HTTP/1.1\r\nHost: a\r\n\r\n',
    'a TLS hello': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n',
    'an SMTP greeting': 'EHLO a\r\n\r\n',
    'a response': respond('x'),
    'a PROXY line': 'PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n',
    'a chunk size': '5\r\nhello\r\n',
  };
  for (const [name, bytes] of Object.entries(cases)) {
    await t.test(name, (t) => assertRefused(t, `${bytes}${smuggled}`));
  }
  for (const method of [
    'GET',
    'POST',
    'PUT',
    'PATCH',
    'DELETE',
    'OPTIONS',
    'HEAD',
    'TRACE',
    'PROPFIND',
    'M-SEARCH',
    'QUERY',
  ]) {
    await t.test(`${method} is forwarded`, (t) =>
      assertForwarded(t, `${method} /x HTTP/1.1\r\nHost: a\r\n\r\n`, `${method} /x HTTP/1.1\r\nHost: a\r\n`, {
        isHead: method === 'HEAD',
      }),
    );
  }
});

t.test('[A11] heads over a limit are refused', async (t) => {
  const fields = (count: number) => Array.from({ length: count }, (_, i) => `X-${i}: y\r\n`).join('');
  // Host is the hundredth.
  await t.test('as many fields as allowed', (t) =>
    assertForwarded(t, get(fields(99)), `GET /x HTTP/1.1\r\nHost: a\r\n${fields(99)}`),
  );
  const cases: Record<string, string> = {
    'one field too many': get(fields(100)),
    'thousands of fields': get('X:\r\n'.repeat(3_000)),
    'an oversized value': get(`X: ${'y'.repeat(16_384)}\r\n`),
    'an oversized name': get(`${'X'.repeat(16_384)}: y\r\n`),
    'a head that never ends': get(`X: ${'y'.repeat(100_000)}`),
    'oversized in sum': get(`X: ${'y'.repeat(1_000)}\r\n`.repeat(17)),
  };
  for (const [name, bytes] of Object.entries(cases)) {
    await t.test(name, (t) => assertRefused(t, `${bytes}${smuggled}`, 431));
  }
  await t.test('an unknown expectation', (t) => assertRefused(t, `${get('Expect: 200-ok\r\n')}${smuggled}`, 417));
});

const claims = {
  account: 'alice' as AccountId,
  device: { os: 'iOS', brand: 'Apple' },
  network: { apn: 'wifi' },
} as const;
const session = access.session(claims);
const sessionLines = [
  'QAL-Identifier: @v_tls#tarqqnwfrcdx',
  `QAL-SDK-APP-Id: ${testAppId}`,
  'QAL-Account: alice',
  'QAL-APN: wifi',
  'QAL-OS: iOS',
  'QAL-Brand: Apple',
  '',
].join('\r\n');

t.test('[A11] no spelling of a trusted field gets through', async (t) => {
  const names = [
    'QAL-Identifier',
    'qal-identifier',
    'QAL-IDENTIFIER',
    'qAL-iDENTIFIER',
    'QAL_Identifier',
    'qal_identifier',
    'QAL_IDENTIFIER',
    'QAL.Identifier',
    'QAL~Identifier',
    'QAL|Identifier',
    'QAL-Account',
    'QAL_Account',
    'QAL-SDK-APP-Id',
    'QAL-SDK_APP_Id',
    'QAL-Req-Seq-No',
    'qal_req_seq_no',
    'QAL-RAT',
    'QAL-RAT-Generation',
    'QAL-IMEI',
    'QAL_IMSI',
    'QAL-Not-Yet-Invented',
    'QAL-',
    'QAL_',
    'QAL_Session',
    'qal.session',
    'QAL-Session-2',
    'X-Forwarded-For',
    'x-forwarded-for',
    'X_Forwarded_For',
    'X-Forwarded_For',
    'X.Forwarded.For',
    'X-Forwarded-Proto',
    'X-Forwarded-Host',
    'X_Forwarded_Host',
    'X-Forwarded-Port',
    'X-Forwarded-Server',
    'Forwarded',
    'FORWARDED',
    'X-Real-IP',
    'x-real-ip',
    'X_Real_IP',
    'Content.Length',
    'HTTP2-Settings',
    'Proxy-Connection',
    'Keep-Alive',
    'Proxy-Authorization',
  ];
  for (const name of names) {
    await t.test(name, async (t) => {
      const forged = `${name}: forged\r\nX: y\r\n${name}: forged too\r\n`;
      await assertForwarded(t, get(forged), 'GET /x HTTP/1.1\r\nHost: a\r\nX: y\r\n');
      await assertForwarded(t, get(`${forged}QAL-Session: ${session}\r\n`), 'GET /x HTTP/1.1\r\nHost: a\r\nX: y\r\n', {
        qal: sessionLines,
      });
    });
  }
  const refused: Record<string, string> = {
    'space behind the name': 'QAL-Identifier : forged\r\n',
    'tab behind the name': 'QAL-Identifier\t: forged\r\n',
    'space before the name': ' QAL-Identifier: forged\r\n',
    '0xA0 behind the name': 'QAL-Identifier\xa0: forged\r\n',
    '0xA0 before the name': '\xa0QAL-Identifier: forged\r\n',
    '0xA0 within the name': 'QAL\xa0Identifier: forged\r\n',
    'soft hyphen': 'QAL\xadIdentifier: forged\r\n',
    'UTF-8 hyphen': 'QAL\xe2\x80\x90Identifier: forged\r\n',
    'NUL within the name': 'QAL\0-Identifier: forged\r\n',
    'space within the name': 'QAL Identifier: forged\r\n',
    'vertical tab behind the name': 'QAL-Identifier\x0b: forged\r\n',
    folded: 'X: y\r\n QAL-Identifier: forged\r\n',
    'two sessions': `QAL-Session: ${session}\r\nQAL-Session: ${session}\r\n`,
    'two sessions, other case': `QAL-Session: ${session}\r\nqal-session: x\r\n`,
  };
  for (const [name, fields] of Object.entries(refused)) {
    await t.test(name, (t) => assertRefused(t, `${get(fields === '' ? '' : `A: b\r\n${fields}`)}${smuggled}`));
  }
  await t.test('what only looks like one is not ours to remove', (t) => {
    const lines = 'X-QAL-Identifier: 1\r\nQALIdentifier: 2\r\nQAL: 3\r\nX-Forwarded: 4\r\nReal-IP: 5\r\n';
    return assertForwarded(t, get(lines), `GET /x HTTP/1.1\r\nHost: a\r\n${lines}`);
  });
});

t.test('[A11] Connection cannot remove ours, trailers and HTTP/1.0 cannot bring theirs', async (t) => {
  for (const [name, spelling] of Object.entries({
    'one name': 'QAL-Identifier',
    'all names':
      'QAL-Identifier, QAL-SDK-APP-Id, QAL-Account, QAL-APN, QAL-OS, QAL-Brand, X-Forwarded-For, QAL-Req-Seq-No, Via, Host',
    'close too': 'keep-alive, qal-identifier',
    'odd commas': ',, QAL_Identifier ,\t,',
  })) {
    await t.test(name, (t) =>
      assertForwarded(
        t,
        get(`Connection: ${spelling}\r\nQAL-Session: ${session}\r\nQAL-Identifier: forged\r\nX: y\r\n`),
        'GET /x HTTP/1.1\r\nHost: a\r\nX: y\r\n',
        { qal: sessionLines },
      ),
    );
  }
  await t.test('trailers', (t) =>
    assertForwarded(
      t,
      post(
        `Trailer: X-Sum, QAL-Identifier\r\nTransfer-Encoding: chunked\r\nQAL-Session: ${session}\r\n`,
        '3\r\nabc\r\n0\r\nX-Sum: 1\r\nQAL-Identifier: forged\r\nqal_account: forged\r\nX-Forwarded-For: forged\r\nForwarded: forged\r\n' +
          'Connection: X-Sum\r\nHost: forged\r\nQAL-Session: forged\r\nx-sum: 2\r\n\r\n',
      ),
      'POST /x HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum, QAL-Identifier\r\nTransfer-Encoding: chunked\r\n',
      { qal: sessionLines, body: '3\r\nabc\r\n0\r\nX-Sum: 1\r\nx-sum: 2\r\n\r\n' },
    ),
  );
  await t.test('HTTP/1.0', (t) =>
    assertForwarded(
      t,
      `GET /x HTTP/1.0\r\nHost: a\r\nQAL-Identifier: forged\r\nQAL-Session: ${session}\r\n\r\n`,
      'GET /x HTTP/1.1\r\nHost: a\r\n',
      { qal: sessionLines, via: '1.0' },
    ),
  );
  await t.test('TE asks for trailers, nothing else, and is asked anew', (t) =>
    assertForwarded(t, get('TE: trailers, gzip;q=0.5\r\nConnection: TE\r\n'), 'GET /x HTTP/1.1\r\nHost: a\r\n', {
      connection: 'Connection: keep-alive, TE\r\nTE: trailers\r\n',
    }),
  );
});

t.test('[A11] pipelined behind what is refused: no request', async (t) => {
  const good = (n: number) => get('', `/${n}`);
  const seenPaths = (mark: number[]) => seenSince(mark).flatMap((bytes) => bytes.match(/^[A-Z]+ \S+/gm) ?? []);

  await t.test('good ones before it are answered in order', async (t) => {
    const mark = markOrigin();
    const client = await openClient(access.port);
    client.send(good(1));
    await readResponse(client);
    client.send(good(2));
    await client.until('two answers', () => splitMessages(client.received).length === 2);
    client.send(`GET /x HTTP/1.1\r\nHost: a\r\nHost: forged\r\n\r\n${smuggled}`);
    await client.end();
    t.strictSame(splitMessages(client.received).map(statusOf), [200, 200, 400]);
    t.strictSame(seenPaths(mark), ['GET /1', 'GET /2']);
  });
  await t.test('in one piece with a good one: that is answered, then the connection ends', async (t) => {
    for (const bad of [
      'GARBAGE\r\n\r\n',
      'GET /x HTTP/1.1\r\nX : y\r\n\r\n',
      'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n',
    ]) {
      const mark = markOrigin();
      const { received } = await sendAlone(access.port, `${good(1)}${bad}${smuggled}`);
      t.strictSame(splitMessages(received).map(statusOf), [200], bad);
      t.strictSame(seenPaths(mark), ['GET /1']);
    }
  });
  await t.test('refused by us, in one piece: a good one before it, none behind it', async (t) => {
    const mark = markOrigin();
    const { received } = await sendAlone(
      access.port,
      `${good(1)}GET * HTTP/1.1\r\nHost: a\r\n\r\n${smuggled}${smuggled}`,
    );
    t.strictSame(splitMessages(received).map(statusOf), [200, 400]);
    t.strictSame(seenPaths(mark), ['GET /1']);
  });
  await t.test('behind Connection: close', async (t) => {
    const mark = markOrigin();
    const { received } = await sendAlone(access.port, `${get('Connection: close\r\n', '/1')}${smuggled}`);
    t.strictSame(splitMessages(received).map(statusOf), [200]);
    t.strictSame(seenPaths(mark), ['GET /1']);
  });
  await t.test(
    'an upgrade or CONNECT behind a request that is being answered: cut, no answer taken for another',
    async (t) => {
      for (const next of [
        'CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n',
        get('Connection: Upgrade\r\nUpgrade: websocket\r\n', '/SMUGGLED'),
      ]) {
        const { received } = await sendAlone(access.port, `${good(1)}${next}`);
        t.ok(
          splitMessages(received).every((answer) => answer.body === 'ok'),
          received,
        );
      }
    },
  );
  await t.test('more than can wait: cut', async (t) => {
    const client = await openClient(access.port);
    client.send(good(1).repeat(500));
    await client.end();
    t.ok(splitMessages(client.received).every((answer) => answer.body === 'ok'));
  });
});

t.test('[A11] our own endpoints keep to the same rules, and to the order of their connection', async (t) => {
  const create = (target: string, framing: string, body: string) =>
    `POST ${target} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n${framing}\r\n${body}`;
  const body = `{"sdkAppId":${testAppId}}`;
  await t.test('pipelined with others', async (t) => {
    const mark = markOrigin();
    const client = await openClient(access.port);
    client.send(
      get('', '/1') +
        create('/.qal/v1/session', `Content-Length: ${body.length}\r\n`, body) +
        create(
          'http://A/.qal/v1/session',
          'Transfer-Encoding: chunked\r\n',
          `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`,
        ) +
        get('Connection: close\r\n', '/2'),
    );
    await client.end();
    const answers = splitMessages(client.received);
    t.strictSame(answers.map(statusOf), [200, 200, 200, 200]);
    t.strictSame([answers[0]?.body, answers[3]?.body], ['ok', 'ok']);
    t.strictSame(Object.keys(JSON.parse(answers[1]?.body ?? '{}')).includes('session'), true);
    t.notMatch(seenSince(mark).join(), /\.qal/);
  });
  const cases: Record<string, string> = {
    'a malformed chunk': create(
      '/.qal/v1/session',
      'Transfer-Encoding: chunked\r\n',
      `5\r\n{"sdk\r\nzz\r\n${smuggled}`,
    ),
    'length and coding': create(
      '/.qal/v1/session',
      'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n',
      `0\r\n\r\n${smuggled}`,
    ),
    'Host twice': create('/.qal/v1/session', 'Host: a\r\nContent-Length: 5\r\n', `hello${smuggled}`),
    'another host': create('http://b/.qal/v1/session', 'Content-Length: 5\r\n', `hello${smuggled}`),
  };
  for (const [name, bytes] of Object.entries(cases)) await t.test(name, (t) => assertRefused(t, bytes));
});

t.test('[A1] [A11] an answer before the body is through ends the request, and its rest is no request', async (t) => {
  const upload = `POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n`;
  await t.test('the client goes on: its rest is swallowed, then the connection serves again', async (t) => {
    const mark = markOrigin();
    const client = await openClient(access.port);
    client.send(`${upload}${smuggled}`);
    const early = await readResponse(client);
    t.equal(statusOf(early), 413);
    t.equal(early.body, 'too large');
    client.send(smuggled.repeat(3_000).slice(0, 100_000 - smuggled.length));
    client.send(get('', '/behind'));
    const [, next] = await (async () => {
      await client.until('the next answer', () => splitMessages(client.received).length === 2 || client.ended !== 'no');
      return splitMessages(client.received);
    })();
    client.socket.destroy();
    t.equal(next?.body, 'ok');
    const seen = seenSince(mark);
    t.ok(seen.some((bytes) => bytes.startsWith('GET /behind HTTP/1.1\r\nHost: a\r\n')));
    const uploads = seen.filter((bytes) => bytes.startsWith('POST /early'));
    t.equal(uploads.length, 1);
    t.equal(readMessage(uploads[0] ?? ''), undefined);
    t.ok(
      origin.connections.every(({ received, ended }) => !received.includes('POST /early') || ended !== 'no'),
      'the connection to the origin was given up: its half request would swallow the next one',
    );
  });
  await t.test('the client stops: the connection is closed', async (t) => {
    const client = await openClient(access.port);
    client.send(`${upload}hello`);
    t.equal(statusOf(await readResponse(client)), 413);
    await client.end();
    t.equal(splitMessages(client.received).length, 1);
  });
  await t.test('malformed chunks behind the answer: closed, no second answer', async (t) => {
    const client = await openClient(access.port);
    client.send('POST /early HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
    t.equal(statusOf(await readResponse(client)), 413);
    client.send(`zz\r\n${smuggled}`);
    await client.end();
    t.equal(splitMessages(client.received).length, 1);
  });
});

t.test('[A11] a body that breaks off never becomes a complete request', async (t) => {
  const cases: Record<string, string> = {
    'by length': post('Content-Length: 10\r\n', 'hello'),
    'by length, nothing sent': post('Content-Length: 10\r\n', ''),
    'chunked, within the data': chunked('a\r\nhello'),
    'chunked, between chunks': chunked('5\r\nhello\r\n'),
    'chunked, within a size': chunked('5\r\nhello\r\n1'),
    'chunked, before the last line': chunked('5\r\nhello\r\n0\r\n'),
    'chunked, within a trailer': chunked('5\r\nhello\r\n0\r\nX: y\r\n'),
  };
  for (const [name, bytes] of Object.entries(cases)) {
    for (const way of ['end', 'reset'] as const) {
      await t.test(`${name}, ${way}`, async (t) => {
        const mark = markOrigin();
        const client = await openClient(access.port);
        client.send(bytes);
        await origin.until('the head', () => seenSince(mark).length > 0);
        if (way === 'end') client.socket.end();
        else client.socket.resetAndDestroy();
        await assertIncomplete(t, mark);
        client.socket.destroy();
        t.notMatch(client.received, /HTTP\/1\.1 2/);
      });
    }
  }
});

t.test('[A4] [A11] over all cases: nothing forged or smuggled, no serial number twice', async (t) => {
  await assertForwarded(t, get('', '/last'), 'GET /last HTTP/1.1\r\nHost: a\r\n');
  // What follows the head of an upload to /early is its body, which was cut and carries the words rightly.
  const all = origin.connections.map((wire) => wire.received.split('POST /early')[0]).join('\n');
  t.notMatch(all, /forged|SMUGGLED/i);
  t.notOk(origin.requests.some(({ start }) => start.includes('SMUGGLED')));
  t.notMatch(all, /QAL-Session/i);
  const serials = all.match(/(?<=QAL-Req-Seq-No: )\d+/g) ?? [];
  t.equal(new Set(serials).size, serials.length);
  const ours = ['Host', 'Via', 'X-Forwarded-For', 'QAL-SDK-APP-Id', 'QAL-Req-Seq-No'].map((name) => name.toLowerCase());
  const odd = origin.requests.filter(({ fields }) => {
    const names = fields.map(([name]) => name.toLowerCase());
    return ours.some((name) => names.indexOf(name) < 0 || names.indexOf(name) !== names.lastIndexOf(name));
  });
  t.strictSame(odd, [], 'each of ours is there once');
});

t.test('[A11] requests with bytes changed at random: what reaches the origin is whole, plain and ours', async (t) => {
  const forged = 'QAL-Identifier: forged\r\nX-Forwarded-For: forged\r\n';
  const bases = [
    get(forged),
    post(`${forged}Content-Length: 40\r\n`, 'GET /SMUGGLED HTTP/1.1\r\nHost: forged\r\n\r\n.'),
    post(`${forged}Transfer-Encoding: chunked\r\n`, '5;x=y\r\nhello\r\n0\r\nQAL-Identifier: forged\r\n\r\n'),
    get('Content-Length: 0\r\n') + post('Content-Length: 5\r\n', 'hello') + get(forged),
    `GET http://a/x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n${get(forged)}`,
  ];
  const marks = [
    '\r\n',
    '\n',
    '\r',
    '\0',
    ' ',
    '\t',
    ':',
    ',',
    ';',
    '\x0b',
    '\xa0',
    '0',
    '5',
    'f',
    '-',
    '_',
    '\r\n\r\n',
    '\r\n ',
    'chunked',
    'Content-Length: 5\r\n',
    'Transfer-Encoding: chunked\r\n',
    'Transfer-Encoding:\x0bchunked\r\n',
    'Connection: close\r\n',
    'Host: b\r\n',
    smuggled,
  ];
  const change = fc.record({
    at: fc.nat(),
    kind: fc.constantFrom('insert', 'set', 'remove'),
    mark: fc.constantFrom(...marks),
  });
  const changed = fc
    .tuple(fc.constantFrom(...bases), fc.array(change, { minLength: 1, maxLength: 3 }))
    .map(([base, changes]) => {
      let bytes = base;
      for (const { at, kind, mark } of changes) {
        const place = at % (bytes.length + 1);
        const behind = kind === 'insert' ? place : place + (kind === 'set' ? mark.length : 1 + (at % 5));
        bytes = bytes.slice(0, place) + (kind === 'remove' ? '' : mark) + bytes.slice(behind);
      }
      return bytes;
    });
  const mark = markOrigin();
  // A request cut short by its client's end must not hang: so each is its connection's last word.
  for (const bytes of fc.sample(changed, 500)) {
    const client = await openClient(access.port);
    client.socket.end(Buffer.from(bytes, 'latin1'));
    await client.end();
    client.socket.destroy();
  }
  t.equal((await sendAlone(access.port, get('Connection: close\r\n', '/behind'))).received.slice(-2), 'ok');
  const injected = /^(?:qal-sdk-app-id|qal-req-seq-no|x-forwarded-for)$/i;
  let count = 0;
  for (const received of seenSince(mark)) {
    const messages = splitMessages(received);
    const rest = received.slice(messages.reduce((sum, { raw }) => sum + raw.length, 0));
    // What is left is the beginning of one request whose client gave up.
    const head = rest.includes('\r\n\r\n') ? readMessage(rest, { noBody: true }) : undefined;
    for (const { raw, start, fields } of head === undefined ? messages : [...messages, head]) {
      count += 1;
      const text = raw.slice(0, raw.indexOf('\r\n\r\n'));
      const names = fields.map(([name]) => name.toLowerCase());
      const problems = [
        /^[A-Z-]+ \S+ HTTP\/1\.1$/.test(start) ? '' : 'request line',
        /[\0\x0b\x0c]|\r(?!\n)|(?<!\r)\n|\n[ \t]/.test(text) ? 'control characters or folding' : '',
        names.filter((name) => name === 'host').length === 1 ? '' : 'host',
        names.filter((name) => name === 'content-length' || name === 'transfer-encoding').length <= 1 ? '' : 'framing',
        names.filter((name) => injected.test(name)).length === 3 ? '' : 'injected fields',
        names.some((name) => /^(?:qal[^a-z0-9]|x[^a-z0-9]forwarded[^a-z0-9])/.test(name) && !injected.test(name))
          ? 'forged fields'
          : '',
        fields.every(([name, value]) => name.toLowerCase() !== 'x-forwarded-for' || value === '127.0.0.1')
          ? ''
          : 'address',
      ].filter((problem) => problem !== '');
      if (problems.length > 0) t.fail(problems.join(), { raw });
    }
  }
  t.ok(count > 50, `${count} requests reached the origin`);
});
