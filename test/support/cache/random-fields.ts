import fc from 'fast-check';
import { formatHttpDate, type RawFields } from '../../../src/cache/index.ts';

/** Random caching fields that mean something: of their kinds as the standards write them, now and then malformed. */

export type Fields = Record<string, string>;

const number = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom('0', '1', '5', '10', '15', '30', '60', '100', '99999999999') },
  { weight: 1, arbitrary: fc.constantFrom('', 'x', '-1', '1.5', '1 0') },
);

function directive(names: readonly string[], numbered: readonly string[]): fc.Arbitrary<string> {
  const cased = (name: string): fc.Arbitrary<string> => fc.constantFrom(name, name, name.toUpperCase());
  return fc.oneof(
    fc.constantFrom(...names).chain(cased),
    fc
      .tuple(fc.constantFrom(...numbered).chain(cased), number, fc.boolean())
      .map(([name, value, quoted]) => `${name}=${quoted ? `"${value}"` : value.replace(' ', '')}`),
  );
}

const list = (member: fc.Arbitrary<string>, maxLength: number): fc.Arbitrary<string | undefined> =>
  fc.option(
    fc.array(member, { minLength: 1, maxLength }).map((members) => members.join(', ')),
    { nil: undefined, freq: 4 },
  );

const responseControl = list(
  directive(
    [
      'no-store',
      'no-cache',
      'private',
      'public',
      'must-revalidate',
      'proxy-revalidate',
      'must-understand',
      'immutable',
    ],
    [
      'max-age',
      'max-age',
      'max-age',
      's-maxage',
      'stale-while-revalidate',
      'stale-while-revalidate',
      'stale-if-error',
      'x',
    ],
  ),
  4,
);

const requestControl = list(
  directive(['no-cache', 'no-store', 'max-stale', 'x'], ['max-age', 'max-stale', 'min-fresh', 'stale-if-error']),
  2,
);

const rare = <T>(value: fc.Arbitrary<T>, freq = 1): fc.Arbitrary<T | undefined> =>
  fc.oneof({ weight: 6, arbitrary: fc.constant(undefined) }, { weight: freq, arbitrary: value });

function date(nowMs: number): fc.Arbitrary<string> {
  return fc.oneof(
    {
      weight: 8,
      arbitrary: fc
        .constantFrom(-1_000_000, -1_000, -100, -10, 0, 5, 10, 60, 1_000)
        .map((sec) => formatHttpDate(nowMs + sec * 1_000)),
    },
    { weight: 1, arbitrary: fc.constantFrom('0', '-1', 'yesterday') },
  );
}

const present = (fields: Record<string, string | undefined>): Fields =>
  Object.fromEntries(Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])));

export function responseFields(nowMs: number): fc.Arbitrary<Fields> {
  return fc
    .record({
      'cache-control': responseControl,
      expires: rare(date(nowMs), 3),
      date: fc.oneof(
        { weight: 6, arbitrary: fc.constant(formatHttpDate(nowMs)) },
        { weight: 1, arbitrary: date(nowMs) },
        { weight: 1, arbitrary: fc.constant(undefined) },
      ),
      age: rare(number),
      etag: rare(fc.constantFrom('"1"', 'W/"1"', 'bare', '"a b"'), 3),
      'last-modified': rare(date(nowMs), 3),
      vary: rare(fc.constantFrom('Accept-Language', '*', 'X-Forwarded-For', 'QAL-OS, QAL-Req-Seq-No', 'accept')),
      pragma: rare(fc.constantFrom('no-cache', 'x', 'No-Cache, y')),
      'set-cookie': rare(fc.constant('a=b')),
      'qal-cache-control': rare(
        number.map((value) => `max-stale-age=${value.replace(' ', '')}`),
        3,
      ),
      'qal-stale-expires': rare(date(nowMs), 2),
    })
    .map(present);
}

export function requestFields(): fc.Arbitrary<Fields> {
  return fc
    .record({
      'cache-control': requestControl,
      pragma: rare(fc.constantFrom('no-cache', 'x')),
      authorization: rare(fc.constant('Basic eDp5')),
      cookie: rare(fc.constant('a=b')),
    })
    .map(present);
}

export const rawOf = (fields: Fields): RawFields => Object.entries(fields).flat();
export const linesOf = (fields: Fields): string =>
  Object.entries(fields)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('');

/** Statuses to answer with, most of them plain. */
export const status = fc.oneof(
  { weight: 6, arbitrary: fc.constant(200) },
  { weight: 2, arbitrary: fc.constantFrom(201, 203, 301, 302, 307, 403, 404, 410, 418) },
);
