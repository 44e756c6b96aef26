import { combinedOf, type RawFields, splitList, trimOws, valuesOf } from './raw-fields.ts';

/** A number of seconds, or `malformed`: the directive is there but its value is none. */
export type Seconds = number | 'malformed';

/** What RFC 9111 §1.2.2 has for numbers that are too large to hold. */
const maxSeconds = 2_147_483_648;

/** Cache-Control of a response (RFC 9111 §5.2.2, RFC 5861). Of a directive that is repeated the first one counts (§4.2.1). */
export interface ResponseDirectives {
  readonly maxAge?: Seconds;
  readonly sMaxage?: Seconds;
  readonly staleWhileRevalidate?: Seconds;
  readonly staleIfError?: Seconds;
  readonly noStore?: boolean;
  /** Without a list of fields: of the whole response. */
  readonly noCache?: boolean;
  /** `no-cache="a, b"`: fields in lower case. */
  readonly noCacheFields: readonly string[];
  /** Without a list of fields: of the whole response. */
  readonly private?: boolean;
  readonly privateFields: readonly string[];
  readonly public?: boolean;
  readonly mustRevalidate?: boolean;
  readonly proxyRevalidate?: boolean;
  readonly mustUnderstand?: boolean;
}

/** Cache-Control of a request (RFC 9111 §5.2.1, RFC 5861 §4). A malformed number counts as absent. */
export interface RequestDirectives {
  readonly maxAge?: number;
  /** Infinity: any age. */
  readonly maxStale?: number;
  readonly minFresh?: number;
  readonly staleIfError?: number;
  readonly noCache?: boolean;
  readonly noStore?: boolean;
  readonly onlyIfCached?: boolean;
}

interface Directive {
  /** In lower case. */
  name: string;
  /** Without quotes; undefined: no `=`. */
  value: string | undefined;
}

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

const forbidding = /^(?:no-(?:store|cache)|private)$/;

/** Takes a list of directives apart. A member that is none, such as `=5` or `a b`, is left out. */
export function parseDirectives(value: string): Directive[] {
  const found: Directive[] = [];
  for (const member of splitList(value)) {
    // `no-store; max-age=60` is no directive by the grammar; what it forbids is heard all the same.
    for (const piece of member.toLowerCase().split(';')) {
      const name = trimOws(piece);
      if (forbidding.test(name)) found.push({ name, value: undefined });
    }
    const equals = member.indexOf('=');
    const name = (equals < 0 ? member : member.slice(0, equals)).toLowerCase();
    // `max-age =60` is malformed, and still says that somebody meant max-age.
    const trimmed = trimOws(name);
    if (!token.test(trimmed)) continue;
    if (equals < 0) found.push({ name, value: undefined });
    else found.push({ name: trimmed, value: trimmed === name ? unquote(member.slice(equals + 1)) : '' });
  }
  return found;
}

/** `"a\"b"` → `a"b`. What is no whole quoted string stays as it is, and will be no number. */
function unquote(value: string): string {
  if (value.length < 2 || !value.startsWith('"') || !value.endsWith('"')) return value;
  return value.slice(1, -1).replaceAll(/\\(.)/g, '$1');
}

/** Digits, quoted or not, as RFC 9111 §5.2 asks recipients to take both. */
export function parseSeconds(value: string | undefined): Seconds {
  return value !== undefined && /^[0-9]+$/.test(value) ? Math.min(Number(value), maxSeconds) : 'malformed';
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** Directives that bring a number, and those that bring nothing, by the names of their fields. */
const responseSeconds = ['maxAge', 'sMaxage', 'staleWhileRevalidate', 'staleIfError'] as const;
const responseFlags = ['noStore', 'public', 'mustRevalidate', 'proxyRevalidate', 'mustUnderstand'] as const;

/** The field of a directive: `max-age` → maxAge, where it is one of these. */
function fieldOf<F extends string>(name: string, fields: readonly F[]): F | undefined {
  const field = name.replaceAll(/-./g, (match) => match.slice(1).toUpperCase());
  return fields.find((one) => one === field);
}

export function parseResponseDirectives(raw: RawFields): ResponseDirectives {
  const noCacheFields: string[] = [];
  const privateFields: string[] = [];
  const found: Writable<ResponseDirectives> = { noCacheFields, privateFields };
  for (const { name, value: text } of parseDirectives(combinedOf(raw, 'cache-control') ?? '')) {
    const seconds = fieldOf(name, responseSeconds);
    const flag = fieldOf(name, responseFlags);
    if (seconds !== undefined) found[seconds] ??= parseSeconds(text);
    if (flag !== undefined) found[flag] = true;
    if (name === 'no-cache' || name === 'private') {
      const fields = fieldNames(text);
      (name === 'private' ? privateFields : noCacheFields).push(...fields);
      if (fields.length === 0) found[name === 'private' ? name : 'noCache'] = true;
    }
  }
  return found;
}

/** The names in `no-cache="set-cookie, x-a"`; anything that is not all names means the whole response. */
function fieldNames(value: string | undefined): string[] {
  if (value === undefined) return [];
  const names = splitList(value.toLowerCase());
  return names.every((name) => token.test(name)) ? names : [];
}

const requestSeconds = ['maxAge', 'maxStale', 'minFresh', 'staleIfError'] as const;
const requestFlags = ['noCache', 'noStore', 'onlyIfCached'] as const;

/** Cache-Control of a request; without one, `Pragma: no-cache` counts as no-cache (RFC 9111 §5.4). */
export function parseRequestDirectives(raw: RawFields): RequestDirectives {
  const value = combinedOf(raw, 'cache-control');
  if (value === undefined) {
    return hasPragmaNoCache(raw) ? { noCache: true } : {};
  }
  const found: Writable<RequestDirectives> = {};
  for (const { name, value: text } of parseDirectives(value)) {
    const number = fieldOf(name, requestSeconds);
    const flag = fieldOf(name, requestFlags);
    // Without a number: any age.
    const seconds = name === 'max-stale' && text === undefined ? Number.POSITIVE_INFINITY : parseSeconds(text);
    if (number !== undefined && seconds !== 'malformed') found[number] ??= seconds;
    if (flag !== undefined) found[flag] = true;
  }
  return found;
}

export function hasPragmaNoCache(raw: RawFields): boolean {
  return valuesOf(raw, 'pragma').some((value) => parseDirectives(value).some(({ name }) => name === 'no-cache'));
}
