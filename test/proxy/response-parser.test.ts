import http from 'node:http';
import { Duplex } from 'node:stream';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { createFieldClasses } from '../../src/proxy/header-fields.ts';
import { parseRequestHead } from '../../src/proxy/request-head.ts';
import { type BodyFraming, ResponseParser } from '../../src/proxy/upstream/response-parser.ts';

/** What the parser told of one response; pieces of the body are joined, as where they are cut means nothing. */
interface Told {
  interim: { status: number; reason: string; raw: string[] }[];
  head: { status: number; reason: string; raw: string[]; body: BodyFraming } | undefined;
  body: string;
  end: { trailers: string[]; reusable: boolean } | undefined;
  invalid: string | undefined;
  /** Calls that may come once and came again, or came behind the end. */
  excess: string[];
}

function read(pieces: Buffer[], method = 'GET', closes = true): Told {
  const told: Told = { interim: [], head: undefined, body: '', end: undefined, invalid: undefined, excess: [] };
  let over = false;
  const note = (what: string, once: boolean): void => {
    if (over && !(what === 'invalid' && told.end !== undefined && told.invalid === undefined)) told.excess.push(what);
    if (once && what === 'head' && told.head !== undefined) told.excess.push('a second head');
  };
  const parser = new ResponseParser({
    onInformation(status, reason, raw) {
      note('interim', false);
      told.interim.push({ status, reason, raw });
    },
    onHead(status, reason, raw, body) {
      note('head', true);
      told.head = { status, reason, raw, body };
    },
    onBody(chunk) {
      note('body', false);
      told.body += chunk.toString('latin1');
    },
    onEnd(trailers, reusable) {
      note('end', true);
      over = true;
      told.end = { trailers, reusable };
    },
    onInvalid(reason) {
      note('invalid', true);
      over = true;
      told.invalid = reason;
    },
  });
  parser.expect(method);
  for (const piece of pieces) {
    // The parser must not keep what it was given: the memory is used again.
    const lent = Buffer.from(piece);
    parser.execute(lent);
    lent.fill(0x58);
  }
  if (closes) parser.finish();
  return told;
}

/** Cuts bytes at the given places, taken modulo their number. */
function cut(bytes: Buffer, places: number[]): Buffer[] {
  const at = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((start, i) => bytes.subarray(start, at[i] ?? bytes.length));
}

// ——— valid responses, with what they mean ———

const tokenChar = fc.constantFrom(..."!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
const name = fc
  .array(tokenChar, { minLength: 1, maxLength: 20 })
  .map((chars) => chars.join(''))
  .filter(
    (text) =>
      !/^(?:content-length|transfer-encoding|connection|keep-alive|trailer|upgrade|proxy-connection)$/i.test(text),
  );
const valueChar = fc
  .oneof(fc.integer({ min: 0x20, max: 0x7e }), fc.constant(9), fc.integer({ min: 0x80, max: 0xff }))
  .map((code) => String.fromCharCode(code));
const value = fc.array(valueChar, { maxLength: 30 }).map((chars) => chars.join('').replace(/^[ \t]+|[ \t]+$/g, ''));
const field = fc.record({
  name,
  value,
  space: fc.constantFrom('', ' ', '\t', '  '),
  behind: fc.constantFrom('', ' ', '\t'),
});
type Field = { name: string; value: string; space: string; behind: string };
const fields = fc.array(field, { maxLength: 8 });
const lineOf = ({ name, value, space, behind }: Field) => `${name}:${space}${value}${behind}\r\n`;
const rawOf = (list: Field[]) => list.flatMap(({ name, value }) => [name, value]);
const reason = fc.array(valueChar, { maxLength: 12 }).map((chars) => chars.join(''));

interface Sample {
  method: string;
  bytes: Buffer;
  expected: Told;
}

const sample: fc.Arbitrary<Sample> = fc
  .record({
    method: fc.constantFrom('GET', 'GET', 'POST', 'HEAD'),
    minor: fc.constantFrom('1', '1', '1', '0'),
    interim: fc.array(fc.record({ status: fc.constantFrom(100, 102, 103, 199), reason, fields }), { maxLength: 2 }),
    status: fc.oneof(fc.constantFrom(200, 204, 304), fc.integer({ min: 200, max: 999 })),
    reason,
    fields,
    framing: fc.constantFrom('length', 'chunked', 'close'),
    framingCase: fc.constantFrom(
      (text: string) => text,
      (text: string) => text.toLowerCase(),
      (text: string) => text.toUpperCase(),
    ),
    connection: fc.constantFrom('', 'close', 'Keep-Alive', 'x, close', 'x'),
    place: fc.nat(8),
    chunks: fc.array(
      fc.record({
        body: fc.uint8Array({ minLength: 1, maxLength: 40 }),
        extension: fc.constantFrom('', ';a', ';a=b', ' ', '\t;x="y"'),
        zeros: fc.nat(3),
      }),
      { maxLength: 5 },
    ),
    trailers: fields,
  })
  .map((made) => {
    const { method, status } = made;
    // Chunks are of HTTP/1.1.
    const framing = made.minor === '0' && made.framing === 'chunked' ? 'length' : made.framing;
    const bodyBytes = Buffer.concat(made.chunks.map(({ body }) => Buffer.from(body)));
    const bodiless = method === 'HEAD' || status === 204 || status === 304;
    const own: [string, string][] = [];
    if (framing === 'length') own.push([made.framingCase('Content-Length'), String(bodyBytes.length)]);
    if (framing === 'chunked') own.push([made.framingCase('Transfer-Encoding'), made.framingCase('chunked')]);
    if (made.connection !== '') own.push([made.framingCase('Connection'), made.connection]);
    const all: Field[] = [...made.fields];
    all.splice(
      Math.min(made.place, all.length),
      0,
      ...own.map(([name, value]) => ({ name, value, space: ' ', behind: '' })),
    );
    const text = [
      ...made.interim.map(
        (head) => `HTTP/1.1 ${head.status} ${head.reason}\r\n${head.fields.map(lineOf).join('')}\r\n`,
      ),
      `HTTP/1.${made.minor} ${status} ${made.reason}\r\n${all.map(lineOf).join('')}\r\n`,
    ].join('');
    const parts = [Buffer.from(text, 'latin1')];
    if (!bodiless) {
      if (framing === 'chunked') {
        for (const { body, extension, zeros } of made.chunks) {
          parts.push(
            Buffer.from(`${'0'.repeat(zeros)}${body.length.toString(16)}${extension}\r\n`, 'latin1'),
            Buffer.from(body),
            Buffer.from('\r\n'),
          );
        }
        parts.push(Buffer.from(`0\r\n${made.trailers.map(lineOf).join('')}\r\n`, 'latin1'));
      } else parts.push(bodyBytes);
    }
    const announced = framing === 'chunked' || (framing === 'length' && bodyBytes.length > 0);
    const persistent = !made.connection.includes('close') && (made.minor === '1' || made.connection === 'Keep-Alive');
    const body: BodyFraming = bodiless ? 'none' : framing === 'length' ? bodyBytes.length || 'none' : framing;
    return {
      method,
      bytes: Buffer.concat(parts),
      expected: {
        interim: made.interim.map((head) => ({ status: head.status, reason: head.reason, raw: rawOf(head.fields) })),
        head: { status, reason: made.reason, raw: rawOf(all), body },
        body: bodiless ? '' : bodyBytes.toString('latin1'),
        end: {
          trailers: !bodiless && framing === 'chunked' ? rawOf(made.trailers) : [],
          reusable: persistent && (bodiless ? !announced : framing !== 'close'),
        },
        invalid: undefined,
        excess: [],
      },
    };
  });

t.test('[A1] a valid response is told as it is, wherever reads cut it', async (t) => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(sample, fc.array(fc.nat(), { maxLength: 12 }), ({ method, bytes, expected }, places) => {
        if (!isDeepStrictEqual(read([bytes], method), expected)) fail('in one piece', bytes);
        if (!isDeepStrictEqual(read(cut(bytes, places), method), expected)) fail('in pieces', bytes);
      }),
      { numRuns: 400 },
    ),
  );
});

t.test('[A1] and when every byte comes alone', async (t) => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(sample, ({ method, bytes, expected }) => {
        const bytewise = [...bytes].map((byte) => Buffer.of(byte));
        if (!isDeepStrictEqual(read(bytewise, method), expected)) fail('byte by byte', bytes);
      }),
      { numRuns: 100 },
    ),
  );
});

function fail(what: string, bytes: Buffer): never {
  throw new Error(`${what}: ${JSON.stringify(bytes.toString('latin1'))}`);
}

/** Changes, removes or adds bytes, with a liking for those that mean something. */
const mutations = fc.array(
  fc.record({
    kind: fc.constantFrom('set', 'remove', 'insert', 'double'),
    at: fc.nat(),
    bytes: fc.oneof(
      fc.constantFrom(
        '\r\n',
        '\n',
        '\r',
        '\0',
        ' ',
        '\t',
        ':',
        ',',
        '0',
        '\r\n\r\n',
        'HTTP/1.1 200 OK\r\n\r\n',
        'Content-Length: 3\r\n',
        'Transfer-Encoding: chunked\r\n',
        '\r\n ',
        '-',
        '+',
        'f',
        ';',
      ),
      fc.nat(255).map((code) => String.fromCharCode(code)),
    ),
  }),
  { minLength: 1, maxLength: 4 },
);

function mutate(bytes: Buffer, list: { kind: string; at: number; bytes: string }[]): Buffer {
  let text = bytes.toString('latin1');
  for (const { kind, at, bytes } of list) {
    const place = at % (text.length + 1);
    const before = text.slice(0, place);
    if (kind === 'set') text = before + bytes + text.slice(place + bytes.length);
    else if (kind === 'remove') text = before + text.slice(place + 1 + (at % 7));
    else if (kind === 'insert') text = before + bytes + text.slice(place);
    else text = before + text.slice(place - (at % 40), place) + text.slice(place);
  }
  return Buffer.from(text, 'latin1');
}

t.test('whatever bytes come: no exception, one response at most, the same wherever they are cut', async (t) => {
  const any = fc.oneof(
    {
      weight: 5,
      arbitrary: fc
        .tuple(sample, mutations)
        .map(([{ method, bytes }, list]) => ({ method, bytes: mutate(bytes, list) })),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(sample, sample)
        .map(([one, two]) => ({ method: one.method, bytes: Buffer.concat([one.bytes, two.bytes]) })),
    },
    {
      weight: 1,
      arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => ({ method: 'GET', bytes: Buffer.from(bytes) })),
    },
  );
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(any, fc.array(fc.nat(), { maxLength: 8 }), ({ method, bytes }, places) => {
        const whole = read([bytes], method);
        if (whole.excess.length > 0) fail(`excess ${whole.excess}`, bytes);
        const pieces = read(cut(bytes, places), method);
        if (pieces.excess.length > 0) fail(`excess ${pieces.excess}`, bytes);
        // A response that has ended, and one that never will, are the same in pieces. What comes of one that is invalid
        // before that is found out may differ: what went on to the client is cut then.
        if (!isDeepStrictEqual([whole.end, whole.invalid !== undefined], [pieces.end, pieces.invalid !== undefined]))
          fail('told differently in pieces', bytes);
        if (whole.end !== undefined && !isDeepStrictEqual(whole, pieces)) fail('different in pieces', bytes);
        if (whole.end?.reusable === true && whole.head?.body === 'close') fail('reusable without an end', bytes);
      }),
      { numRuns: 4_000 },
    ),
  );
});

interface Answer {
  status: number;
  reason: string;
  raw: string[];
  body: string;
  trailers: string[];
}

/** What Node's client makes of the bytes; undefined: it refuses them, or they do not end. */
function readByNode(method: string, bytes: Buffer): Promise<Answer | undefined> {
  return new Promise((resolve) => {
    const stream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
    const request = http.request({ method, host: 'a', createConnection: () => stream, setDefaultHeaders: false });
    request.on('error', () => resolve(undefined));
    request.on('upgrade', () => resolve(undefined));
    request.on('close', () => resolve(undefined));
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', () => resolve(undefined));
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          reason: response.statusMessage ?? '',
          raw: response.rawHeaders,
          body: Buffer.concat(chunks).toString('latin1'),
          trailers: response.rawTrailers,
        }),
      );
    });
    request.end();
    stream.push(bytes);
    stream.push(null);
  });
}

t.test('[A1] a response that both read is the same for Node’s own client', async (t) => {
  let both = 0;
  let strict = 0;
  const compare = async (method: string, bytes: Buffer): Promise<void> => {
    const told = read([bytes], method);
    const node = await readByNode(method, bytes);
    if (told.head === undefined || told.end === undefined || told.invalid !== undefined || node === undefined) {
      if (node !== undefined) strict += 1;
      return;
    }
    both += 1;
    const ours: Answer = {
      status: told.head.status,
      reason: told.head.reason,
      raw: told.head.raw,
      body: told.body,
      trailers: told.end.trailers,
    };
    if (!isDeepStrictEqual(ours, node)) {
      fail(`ours ${JSON.stringify(ours)}, Node's ${JSON.stringify(node)}`, bytes);
    }
  };
  await t.resolves(
    fc.assert(
      fc.asyncProperty(sample, ({ method, bytes }) => compare(method, bytes)),
      { numRuns: 300 },
    ),
  );
  t.ok(both >= 200, `${both} of 300 valid responses were read by both`);
  both = 0;
  await t.resolves(
    fc.assert(
      fc.asyncProperty(sample, mutations, ({ method, bytes }, list) => compare(method, mutate(bytes, list))),
      { numRuns: 600 },
    ),
  );
  t.ok(both >= 50, `${both} of 600 changed responses were read by both; ${strict} only by Node`);
});

// ——— request heads ———

t.test('[A11] whatever head Node’s parser gives: an answer, and no name of ours in what goes on', async (t) => {
  const classes = createFieldClasses();
  const mark = fc.constantFrom('-', '_', '.', '~');
  const spell = (text: string) =>
    fc
      .tuple(mark, fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }))
      .map(([dash, upper]) =>
        [...text].map((c, i) => (c === '-' ? dash : upper[i % 8] === true ? c.toUpperCase() : c)).join(''),
      );
  const special = fc
    .constantFrom(
      'qal-identifier',
      'qal-session',
      'qal-req-seq-no',
      'qal-',
      'x-forwarded-for',
      'x-forwarded-proto',
      'x-forwarded-x',
      'forwarded',
      'x-real-ip',
      'host',
      'content-length',
      'transfer-encoding',
      'connection',
      'te',
      'expect',
      'trailer',
      'upgrade',
      'keep-alive',
    )
    .chain(spell);
  const values = fc.oneof(
    value,
    fc.constantFrom(
      'a',
      'a:80',
      '5',
      '05',
      '-1',
      'chunked',
      'Chunked',
      'gzip',
      '100-continue',
      'close',
      'QAL-Identifier, x',
      'trailers',
      '1.2.3.4',
      'a@b',
      '[::1]',
      '',
    ),
  );
  const pairs = fc.array(fc.tuple(fc.oneof(special, name), values), { maxLength: 12 });
  const urls = fc.oneof(
    fc.webPath().map((path) => path || '/'),
    fc.webUrl(),
    fc.constantFrom('*', 'a:80', 'http://a/', 'http://u@a/', 'http://A', '//a', '/#', '', 'HTTPS://a?x'),
    fc.string({ unit: 'binary-ascii', maxLength: 20 }),
  );
  let accepted = 0;
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(
        pairs,
        urls,
        fc.constantFrom('GET', 'POST', 'OPTIONS'),
        fc.constantFrom([1, 1], [1, 1], [1, 1], [1, 0], [2, 0], [0, 9]),
        fc.boolean(),
        fc.boolean(),
        (list, url, method, [major = 1, minor = 1], peerTrusted, withHost) => {
          const rawHeaders = [...(withHost ? [['Host', 'a']] : []), ...list].flat() as string[];
          const result = parseRequestHead(
            {
              method,
              url,
              httpVersionMajor: major,
              httpVersionMinor: minor,
              rawHeaders,
              peerTrusted,
              maxHeaders: 100,
              maxUrlBytes: 100,
            },
            classes,
          );
          if (!result.ok) return;
          accepted += 1;
          const { head } = result;
          if (major !== 1) throw new Error('another version');
          if (!(head.target.startsWith('/') || (head.target === '*' && method === 'OPTIONS')))
            throw new Error(`target ${head.target}`);
          if (/[@/\s]/.test(head.host)) throw new Error(`host ${head.host}`);
          const lines = head.lines.split('\r\n').slice(0, -1);
          let from = 0;
          for (const line of lines) {
            const at = line.indexOf(': ');
            const [name, text] = [line.slice(0, at), line.slice(at + 2)];
            // Each line is a field that came, in the order in which they came.
            while (from < rawHeaders.length && !(rawHeaders[from] === name && rawHeaders[from + 1] === text)) from += 2;
            if (from >= rawHeaders.length) throw new Error(`not from the client: ${line}`);
            from += 2;
            const plain = name.toLowerCase().replaceAll(/[^a-z0-9]/g, '-');
            const detail = /^x-forwarded-(?:proto|host|port)$/i.test(name) && peerTrusted;
            const ours =
              /^(?:qal-.*|x-forwarded-.*|forwarded|x-real-ip|host|content-length|transfer-encoding|connection|te|expect|upgrade|keep-alive)$/.test(
                plain,
              );
            if (ours && !detail) throw new Error(`passed on: ${line}`);
          }
        },
      ),
      { numRuns: 5_000 },
    ),
  );
  t.ok(accepted > 300, `${accepted} of 5000 heads were accepted`);
});
