import fc from 'fast-check';
import t from 'tap';
import {
  decide,
  explain,
  fieldsToStore,
  isNotModified,
  mayServeOnError,
  namedTargets,
  parseRequest,
  parseResponse,
  type RawFields,
  selectFor304,
  selectRanges,
  storable,
  updatedFields,
  validatorsFor,
} from '../../src/cache/core/index.ts';
import { comparedTarget } from '../../src/cache/index.ts';
import { createStoredResponse } from '../../src/cache/stored-response.ts';
import { openLive, request, until } from '../support/cache/live.ts';
import { splitMessages, statusOf, type Wire } from '../support/wire.ts';

/** Any bytes in any caching field: nothing crashes, nothing is stored that must not be, every answer is HTTP. */

const nowMs = Date.UTC(2026, 10, 1, 12);

const requestNames = [
  'Cache-Control',
  'Pragma',
  'If-None-Match',
  'If-Modified-Since',
  'If-Match',
  'If-Unmodified-Since',
  'If-Range',
  'Range',
  'Authorization',
  'Cookie',
  'Accept-Language',
  'QAL-Cache-Control',
];
const responseNames = [
  'Cache-Control',
  'Cache-Control',
  'QAL-Cache-Control',
  'QAL-Stale-Expires',
  'Expires',
  'Date',
  'Age',
  'ETag',
  'Last-Modified',
  'Vary',
  'Pragma',
  'Cache-Tag',
  'Surrogate-Key',
  'Set-Cookie',
  'Content-Range',
  'Location',
  'Cache-Status',
  'Warning',
];

/** Pieces of what these fields are made of, which random bytes would hardly ever be. */
const pieces = [
  'no-store',
  'No-Store',
  'private',
  'PRIVATE',
  'public',
  'max-age',
  's-maxage',
  'no-cache',
  'must-revalidate',
  'max-stale',
  'min-fresh',
  'only-if-cached',
  'stale-while-revalidate',
  'stale-if-error',
  'max-stale-age',
  '=',
  '=60',
  '="60"',
  '60',
  '0',
  ', ',
  ',',
  ' ',
  '\t',
  '"',
  '\\',
  '"a"',
  'W/"a"',
  '*',
  ';',
  'bytes=',
  '0-',
  '-5',
  '1-3',
  '-',
  '99999999999999999999',
  'Sun, 01 Nov 2026 12:00:00 GMT',
  'Sunday, 01-Nov-26 12:00:00 GMT',
  'Sun Nov  1 12:00:00 2026',
  'GMT',
  ':',
  '\xff',
  '\xa0',
  '\x80',
  'accept',
  'qal-os',
  '__proto__',
  'constructor',
  '%',
  '[',
  '(',
  '$1',
  '-0',
  '1e3',
  '0x10',
  '+1',
];
const soup = fc.oneof(
  {
    weight: 3,
    arbitrary: fc
      .array(
        fc.array(fc.constantFrom(...pieces.slice(0, 24), 'max-age="60', 'x="a\\'), { minLength: 1, maxLength: 2 }),
        { maxLength: 4 },
      )
      .map((members) => members.map((parts) => parts.join('')).join(', ')),
  },
  { weight: 5, arbitrary: fc.array(fc.constantFrom(...pieces), { maxLength: 8 }).map((parts) => parts.join('')) },
  {
    weight: 1,
    arbitrary: fc.string({
      unit: fc
        .integer({ min: 32, max: 255 })
        .filter((c) => c !== 127)
        .map((c) => String.fromCharCode(c)),
      maxLength: 40,
    }),
  },
);
const fieldsOf = (names: readonly string[]): fc.Arbitrary<string[]> =>
  fc
    .array(
      fc.tuple(fc.constantFrom(...names), fc.constantFrom(0, 0, 1, 2), soup).map(([name, casing, value]) => {
        const cased = casing === 1 ? name.toLowerCase() : casing === 2 ? name.toUpperCase() : name;
        return [cased, value.replace(/^[ \t]+|[ \t]+$/g, '')];
      }),
      { maxLength: 7 },
    )
    .map((pairs) => pairs.flat());

/** Directives by name as a careful reader finds them: outside of quotes, and behind a quote that never ends. */
function directivesIn(raw: RawFields): Map<string, string> {
  const lines: string[] = [];
  for (let i = 0; i < raw.length; i += 2)
    if ((raw[i] as string).toLowerCase() === 'cache-control') lines.push(raw[i + 1] as string);
  const bare = lines.join(', ').replace(/"(?:[^"\\]|\\.)*"/g, 'QUOTED');
  const found = new Map<string, string>();
  for (const member of bare.split(',')) {
    const [, name, rest = ''] = /^[ \t]*([^\s=]*)[ \t]*(.*?)[ \t]*$/s.exec(member) ?? [];
    if (name !== undefined && (rest === '' || rest.startsWith('=')) && !found.has(name.toLowerCase())) {
      found.set(name.toLowerCase(), rest);
    }
  }
  return found;
}

function mustNotBeStored(raw: RawFields, mode: 'qal' | 'rfc9111'): string | undefined {
  const found = directivesIn(raw);
  if (found.has('no-store')) return 'no-store';
  if (found.get('private') === '') return 'private';
  if (mode === 'rfc9111') return undefined;
  return ['no-cache', 'must-revalidate'].find((name) => found.has(name));
}

t.test('the core takes anything: no error, no number that is none, nothing stored that must not be', async () => {
  fc.assert(
    fc.property(
      fieldsOf(requestNames),
      fieldsOf(responseNames),
      fieldsOf(responseNames),
      fc.constantFrom('qal' as const, 'rfc9111' as const),
      fc.constantFrom(200, 200, 200, 206, 304, 404, 500, 999),
      fc.boolean(),
      (asked, answered, later, mode, status, hasSession) => {
        const facts = parseRequest('GET', asked, { hasSession, hasBody: false, nowMs });
        const response = parseResponse(status, answered, nowMs);
        const rules = { mode, kind: 'shared' as const, routeShared: false };
        const times = { requestedMs: nowMs, receivedMs: nowMs };
        const verdict = storable(facts, response, rules, times);
        const why = mustNotBeStored(answered, mode);
        if (why !== undefined && verdict.store !== 'no') throw new Error(`stored in spite of ${why}`);
        if (directivesIn(asked).has('no-store') && verdict.store !== 'no') throw new Error('the request said no-store');
        const explained = explain(facts, { status, raw: answered }, rules, times);
        if (verdict.store !== 'no') {
          const { policy } = verdict;
          for (const value of [policy.freshMs, policy.staleMs, policy.staleIfErrorMs, policy.initialAgeMs]) {
            if (!Number.isFinite(value)) throw new Error(`a bound of ${value}`);
          }
          for (const sec of [0, 1, 1e3, 1e9]) {
            const { ageMs, ttlMs } = decide(facts, policy, nowMs + sec * 1_000);
            if (!Number.isFinite(ageMs) || !Number.isFinite(ttlMs)) throw new Error(`${ageMs} ${ttlMs}`);
            mayServeOnError(facts, policy, nowMs + sec * 1_000);
          }
          let end: number | undefined;
          for (const { fromMs, toMs } of explained.steps) {
            if (!(fromMs < toMs) || (end !== undefined && end !== fromMs)) throw new Error('steps do not join');
            end = toMs;
          }
          if (end !== Number.POSITIVE_INFINITY) throw new Error('steps end');
          const body = Buffer.alloc(10);
          const stored = createStoredResponse(
            { facts: response, policy, reason: '', raw: answered, body, request: { fieldOf: () => 'x' } },
            'shared',
          );
          if (!Number.isFinite(stored.bytes)) throw new Error('its size');
        }
        isNotModified(facts, response, nowMs);
        const ranges = selectRanges(facts, response, 10, nowMs);
        if (typeof ranges !== 'string') {
          for (const { first, last } of ranges) {
            if (!(Number.isInteger(first) && Number.isInteger(last) && 0 <= first && first <= last && last < 10)) {
              throw new Error(`range ${first}-${last}`);
            }
          }
        }
        const { etags } = validatorsFor(response, [response], facts);
        if (etags.some((tag) => /[\0-\x20"]/.test(tag.replace(/^(?:W\/)?"|"$/g, ''))))
          throw new Error('a tag that is none');
        selectFor304(parseResponse(304, later, nowMs), [{ facts: response }]);
        const updated = updatedFields(answered, later);
        if (updated.length % 2 !== 0) throw new Error('a field without value');
        fieldsToStore(updated, response.directives, 'shared');
        namedTargets(answered, 'http://a/x');
      },
    ),
    { numRuns: 15_000 },
  );
});

t.test('[C2, C12] no-store and private hide behind nothing', async (t) => {
  for (const said of ['no-store', 'NO-STORE', 'private', 'Private', 'no-store=1', 'no-store="x"']) {
    for (const [before, after] of [
      ['', ''],
      ['max-age=60, ', ', public'],
      ['max-age=60,', ',,'],
      ['max-age="60, ', ''],
      ['x="\\', ''],
      ['x="a\\", ', ''],
      ['x="a", y="b, ', ', z'],
      ['\t,', '\t'],
      ['=, ;, a b, ', ', "'],
      ['x="a, b", ', ''],
    ]) {
      const value = before === 'x="\\' ? `x="\\, ${said}` : `${before}${said}${after}`;
      for (const raw of [
        ['cache-CONTROL', value],
        ['Cache-Control', 'max-age=60', 'Cache-Control', value],
      ]) {
        const facts = parseResponse(200, ['ETag', '"a"', ...raw], nowMs);
        const asked = parseRequest('GET', [], { hasSession: false, hasBody: false, nowMs });
        const rules = { mode: 'rfc9111', kind: 'shared', routeShared: true } as const;
        t.equal(storable(asked, facts, rules, { requestedMs: nowMs, receivedMs: nowMs }).store, 'no', value);
      }
    }
  }
});

t.test('long values cost no more than their length', async (t) => {
  // What costs the square of 32 KiB takes half a minute here; what costs its length, milliseconds.
  const bytes = 32_768;
  const shapes = [
    ',',
    ', ',
    ' ',
    '\t',
    '"',
    '"a',
    '"a,',
    '"a"',
    '"a" ',
    '"a",',
    '"a"x,',
    'W/',
    'W/"',
    'W/"a",',
    'W/"a, ',
    '\\',
    '"\\',
    '\\"',
    '=',
    '=,',
    'a=',
    'a=",',
    'a',
    '0',
    '9',
    '-',
    '0-',
    '0-,',
    '0-0,',
    'bytes=',
    '*',
    '*,',
    ';',
    'no-cache="',
    'no-cache="a",',
    'private="a,b",',
    'max-age=1,',
    'max-age=,',
    'x ',
    'a b,',
    'Sun, ',
    'GMT',
    'Sun, 01 Nov 2026 12:00:00 GMT',
    '\xff',
    '/',
    '?',
    '&',
    'a=b&',
    '&&',
    '%',
    '../',
    ':',
  ];
  const heads = ['', '"', 'bytes=', 'no-cache="'];
  const startMs = performance.now();
  let count = 0;
  for (const shape of shapes) {
    for (const head of heads) {
      const value = (head + shape.repeat(Math.ceil(bytes / shape.length))).slice(0, bytes);
      const asked = parseRequest(
        'GET',
        requestNames.flatMap((name) => [name.toLowerCase(), value]),
        { hasSession: false, hasBody: false, nowMs },
      );
      const facts = parseResponse(
        200,
        responseNames.flatMap((name) => [name.toLowerCase(), value]),
        nowMs,
      );
      parseRequest('GET', ['If-None-Match', value], { hasSession: false, hasBody: false, nowMs });
      isNotModified({ ...asked, ifNoneMatch: ['"b"'] }, facts, nowMs);
      selectRanges({ ...asked, range: value, ifRange: undefined }, facts, 1_000, nowMs);
      selectRanges({ ...asked, range: 'bytes=0-', ifRange: value }, facts, 1_000, nowMs);
      namedTargets(['Location', value], 'http://a/');
      comparedTarget(`/x?${value}`, { sortQuery: true, dropParams: ['utm_*', 'x'] });
      count += 1;
    }
  }
  t.equal(count, shapes.length * heads.length);
  t.ok(performance.now() - startMs < 10_000, `${Math.round(performance.now() - startMs)} ms`);
});

/** Is it one response or several, each by the letter of RFC 9112? */
function findInvalid(bytes: string): string | undefined {
  for (const message of splitMessages(bytes)) {
    const head = message.raw.slice(0, message.raw.indexOf('\r\n\r\n'));
    const [start = '', ...lines] = head.split('\r\n');
    if (!/^HTTP\/1\.1 [1-5][0-9]{2} [\t\x20-\x7e\x80-\xff]*$/.test(start)) return start;
    const wrong = lines.find((line) => !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+: ?[\t\x20-\x7e\x80-\xff]*$/.test(line));
    if (wrong !== undefined) return wrong;
    const count = (name: string): number => message.fields.filter(([other]) => other.toLowerCase() === name).length;
    for (const name of ['content-length', 'transfer-encoding', 'connection'])
      if (count(name) > 1) return `${name} twice`;
    if (count('content-length') + count('transfer-encoding') > 1) return 'framed twice';
  }
  return undefined;
}

for (const mode of ['qal', 'rfc9111'] as const) {
  t.test(`[C2, C12] the live proxy takes anything and gives HTTP (${mode})`, async (t) => {
    const given = new Map<string, string>();
    const asked = new Map<string, number>();
    const live = await openLive(
      t,
      {
        onRequest(wire, message) {
          const target = message.start.split(' ')[1] ?? '';
          asked.set(target, (asked.get(target) ?? 0) + 1);
          wire.send(given.get(target) ?? 'HTTP/1.1 500 Unknown\r\nContent-Length: 0\r\n\r\n');
        },
      },
      { access: { cache: mode }, limits: { headerBytes: 65_536 } },
    );
    given.set('/sentinel', 'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsentinel');
    let wire: Wire = await live.client();
    let count = 0;
    let refused = 0;
    const linesOf = (raw: readonly string[]): string => {
      let lines = '';
      for (let i = 0; i < raw.length; i += 2) lines += `${raw[i]}: ${raw[i + 1]}\r\n`;
      return lines;
    };
    /** Sends it and a request behind it; all that came, up to the answer to that one or the end. */
    const send = async (bytes: string): Promise<string> => {
      if (wire.ended !== 'no' || wire.receivedBytes > 100_000) {
        wire.socket.destroy();
        wire = await live.client();
      }
      const skip = wire.received.length;
      wire.send(bytes + request('/sentinel'));
      await wire.until('the answer', () => wire.received.slice(skip).endsWith('sentinel') || wire.ended !== 'no');
      return wire.received.slice(skip);
    };
    const control = fc.constantFrom('', '', '', '', '', '', '', '', '\0', '\x01', '\x7f', '\r', '\n');
    await fc.assert(
      fc.asyncProperty(
        fieldsOf(requestNames),
        fieldsOf(responseNames),
        fc.constantFrom('200 OK', '200 OK', '200 OK', '206 Part', '304 Not', '404 Not', '503 Down', '299 X', '599 X'),
        control,
        control,
        async (askedFields, answeredFields, statusLine, inRequest, inResponse) => {
          count += 1;
          const target = `/${count}`;
          const bare = statusLine.startsWith('304');
          const spoilt = inResponse === '' ? '' : `X: a${inResponse}b\r\n`;
          given.set(
            target,
            `HTTP/1.1 ${statusLine}\r\n${linesOf(answeredFields)}${spoilt}${bare ? '' : 'Content-Length: 4\r\n'}\r\n${bare ? '' : 'body'}`,
          );
          const lines = linesOf(askedFields) + (inRequest === '' ? '' : `X: a${inRequest}b\r\n`);
          const first = await send(request(target, lines));
          const again =
            inRequest === '' && inResponse === ''
              ? (await send(request(target))) + (await send(request(target, lines)))
              : '';
          for (const received of [first, again]) {
            const invalid = findInvalid(received);
            if (invalid !== undefined) throw new Error(`${JSON.stringify(invalid)} in ${JSON.stringify(received)}`);
          }
          const messages = splitMessages(first);
          if (inRequest !== '') {
            refused += 1;
            if (statusOf(messages[0] as never) !== 400) throw new Error(`not refused: ${JSON.stringify(first)}`);
            return;
          }
          if (messages.length !== 2 || messages[1]?.body !== 'sentinel')
            throw new Error(`not two answers: ${JSON.stringify(first)}`);
          if (inResponse !== '' || again === '') return;
          if (splitMessages(again).length !== 4) throw new Error(`not four answers: ${JSON.stringify(again)}`);
          const why = mustNotBeStored(answeredFields, mode);
          // What a request itself asks (only-if-cached) may keep it from the origin; the plain one in the middle is not.
          const onlyIfCached = directivesIn(askedFields).has('only-if-cached');
          if (why !== undefined && (asked.get(target) ?? 0) !== (onlyIfCached ? 1 : 3)) {
            throw new Error(`${why}, and the origin was asked ${asked.get(target)} times`);
          }
        },
      ),
      { numRuns: 500 },
    );
    t.ok(refused > 50);
    t.strictSame(
      live.access.logLines.filter(({ msg }) => /failed$/.test(String(msg))),
      [],
      'no mistake of ours',
    );
    await until('nothing goes on', async () => (await live.metric('qalgate_cache_fetches')) === 0);
    t.equal(await live.metric('qalgate_cache_filling_bytes'), 0);
    wire.socket.destroy();
  });
}
