import type { Message } from '../wire.ts';

/**
 * The language of the table: what a case is, and the small things that its reader needs to know to read one.
 *
 * Dates. Wherever a case has text that goes over the wire, `{now}`, `{now+60}`, `{start-100}` stand for HTTP-dates: seconds
 * from the moment at which the text is written or compared, or from the start of the case. `{now+60|rfc850}`, `|asctime`,
 * `|lower`, `|zone` choose another spelling.
 */

export type Mode = 'rfc9111' | 'qal' | 'off';

/** Kinds of proxy that a case can ask for; `impatient` waits for a response head for a moment only. */
export type Setting = 'standard' | 'sharedRoute' | 'impatient';

/**
 * Who asks. `elsewhere` is alice's account on another terminal, `carol` another account on alice's terminal, `guest` a
 * terminal without an account; `android` and `ios` differ in their account, their terminal and their QAL-OS.
 */
export type SessionName = 'alice' | 'bob' | 'elsewhere' | 'carol' | 'guest' | 'android' | 'ios';

/** What the origin answers. */
export interface Answer {
  /** Code and phrase. */
  status?: string;
  /** Field lines; a Date, a Content-Type and the framing are added unless they stand here. */
  fields?: readonly string[];
  /** Default: one that names the case and counts its answers. */
  body?: string;
  noDate?: true;
  framing?: 'length' | 'chunked' | 'close';
  /** Exactly these bytes instead of a response, then the connection is closed. */
  raw?: string;
  /** Seconds that pass until the answer is sent. */
  takesSec?: number;
  /** Sent only when a later step says `release`. */
  hold?: true;
  /** Goes before the answer. */
  interim?: string;
}

/** Field lines of a 200, an answer, no answer at all, or something that depends on the request. */
export type Script = readonly string[] | Answer | 'close' | 'hang' | ((request: Message) => Answer);

/**
 * Where an answer came from.
 * origin: it was asked, and what it said went on to the client; cache: it was not asked; revalidated: it was asked and
 * answered 304, the client got what is stored; fallback: it was asked and failed, the client got what is stored; proxy: it
 * was not asked, and the proxy made an answer of its own; cut: it was asked, and the client's connection was cut.
 */
export type From = 'origin' | 'cache' | 'revalidated' | 'fallback' | 'proxy' | 'cut';

/** Exactly this value (lines joined by `, `), one that matches, or null: the field must not be there. */
export type FieldExpectations = Record<string, string | RegExp | null>;

interface StepFacts {
  /** Seconds that pass before the step. */
  after?: number;
  /** Default GET. */
  method?: string;
  /** Goes behind the case's own path. */
  path?: string;
  /** Default `cache.test`. */
  host?: string;
  /** Sends the request target in absolute form. */
  absolute?: true;
  send?: readonly string[];
  upload?: string;
  session?: SessionName;
  /** What the origin answers from this step on. */
  origin?: Script;
  /** Lets go of the answers that the origin holds. */
  release?: true;

  from: From;
  /** How often the origin was asked, where `from` does not say it; [at least, at most]: it may still be asked later. */
  asked?: number | readonly [number, number];
  /** A refresh in the background: the origin is asked once more, behind the answer. */
  refresh?: true;
  /** Asks again and again until the answer is as it should be: what happens in the background takes a moment. */
  poll?: true;
  /** Default: that of the origin's answer which the client should get. */
  status?: number | readonly number[];
  /** Default: that of the origin's answer which the client should get. */
  body?: string | RegExp;
  /** Which answer of the origin the client should get: its number in the case. Default: the latest full one of the path. */
  answer?: number;
  /** Any answer of the origin after this one will do. */
  newerThan?: number;
  /** Value of Age; null: no such field. */
  age?: number | null;
  /** Parameters of our member of Cache-Status: `hit; ttl=5; !stored`. */
  cs?: string;
  fields?: FieldExpectations;
  /** Fields of the last request that the origin got in this step. */
  saw?: FieldExpectations;
  sawMethod?: string;
}

/** One request and what must become of it; what differs in a mode stands under its name. */
export type Step = StepFacts & { rfc9111?: Partial<StepFacts>; qal?: Partial<StepFacts> };
export type PlainStep = StepFacts;

export interface Case {
  id: string;
  section: string;
  /** Begins with the ids of product rules that it shows, in brackets. */
  name: string;
  /** Default: both. */
  modes?: readonly Mode[];
  setting?: Setting;
  steps: readonly Step[];
}

/** The step as it is in a mode. Where that has another `from`, nothing else that was expected carries over. */
export function stepIn(mode: Mode, step: Step): PlainStep {
  const { rfc9111, qal, ...facts } = step;
  const own = mode === 'rfc9111' ? rfc9111 : mode === 'qal' ? qal : undefined;
  if (own?.from === undefined) return { ...facts, ...own };
  const { after, method, path, host, absolute, send, upload, session, origin, release } = facts;
  const request = { after, method, path, host, absolute, send, upload, session, origin, release };
  const said = Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined));
  return { ...said, from: own.from, ...own };
}

const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const two = (n: number): string => String(n).padStart(2, '0');

/** A date in one of the spellings of RFC 9110 §5.6.7, or in one that a cache still has to read, or must not. */
export function formatDate(ms: number, spelling = 'imf'): string {
  const date = new Date(ms);
  const imf = date.toUTCString();
  const time = imf.slice(17, 25);
  const month = imf.slice(8, 11);
  switch (spelling) {
    case 'imf':
      return imf;
    case 'rfc850':
      return `${days[date.getUTCDay()]}, ${two(date.getUTCDate())}-${month}-${two(date.getUTCFullYear() % 100)} ${time} GMT`;
    case 'asctime':
      return `${imf.slice(0, 3)} ${month} ${String(date.getUTCDate()).padStart(2)} ${time} ${date.getUTCFullYear()}`;
    case 'lower':
      return imf.toLowerCase();
    case 'upper':
      return imf.toUpperCase();
    case 'utc':
      return imf.replace('GMT', 'UTC');
    case 'offset':
      return imf.replace('GMT', '+0000');
    case 'nozone':
      return imf.replace(' GMT', '');
    case 'iso':
      return date.toISOString();
    case 'epoch':
      return String(Math.floor(ms / 1_000));
    default:
      throw new Error(`no spelling ${spelling}`);
  }
}

/** Writes the dates into a text of the table. */
export function expand(text: string, times: { startMs: number; nowMs: number }): string {
  return text.replaceAll(/\{(now|start)([+-]\d+)?(?:\|(\w+))?\}/g, (_, base: string, delta = '0', spelling = 'imf') =>
    formatDate((base === 'now' ? times.nowMs : times.startMs) + Number(delta) * 1_000, spelling),
  );
}

/** Splits at `separator` outside of quoted strings. */
export function splitList(text: string, separator: ',' | ';'): string[] {
  const parts: string[] = [];
  let part = '';
  let quoted = false;
  for (let i = 0; i < text.length; i += 1) {
    const c = text[i] as string;
    if (quoted && c === '\\') {
      part += c + (text[i + 1] ?? '');
      i += 1;
      continue;
    }
    if (c === '"') quoted = !quoted;
    if (c === separator && !quoted) {
      parts.push(part.trim());
      part = '';
    } else part += c;
  }
  return [...parts, part.trim()].filter((part) => part !== '');
}

/** A member of Cache-Status (RFC 9211 §2): who says it, and its parameters; one without a value is `true`. */
export function parseMember(member: string): { cache: string; parameters: Map<string, string> } {
  const [cache = '', ...rest] = splitList(member, ';');
  const parameters = new Map<string, string>();
  for (const parameter of rest) {
    const at = parameter.indexOf('=');
    const value =
      at < 0
        ? 'true'
        : parameter
            .slice(at + 1)
            .replace(/^\?1$/, 'true')
            .replace(/^"(.*)"$/, '$1');
    parameters.set(at < 0 ? parameter : parameter.slice(0, at), value);
  }
  return { cache, parameters };
}

/** All lines of a field, joined. */
export function fieldValue(message: Message, name: string): string | undefined {
  const values = message.fields
    .filter(([other]) => other.toLowerCase() === name.toLowerCase())
    .map(([, value]) => value);
  return values.length === 0 ? undefined : values.join(', ');
}

export function countLines(message: Message, name: string): number {
  return message.fields.filter(([other]) => other.toLowerCase() === name.toLowerCase()).length;
}

/** A 304 of the origin. */
export const notModified = (...fields: string[]): Answer => ({ status: '304 Not Modified', fields });

/** An error of the origin. */
export const failing = (status: string, ...fields: string[]): Answer => ({ status, fields });

/** Fetched, still from the cache a second before `seconds` are over, and from the origin when they are. */
export const freshFor = (seconds: number, origin: Script, age = 0): Step[] => [
  { origin, from: 'origin' },
  { after: seconds - 1, from: 'cache', age: age + seconds - 1, cs: 'hit; ttl=1' },
  { after: 1, from: 'origin' },
];

/** Fetched, and fetched again at once: not stored, or stale from the start and without a validator. */
export const neverFresh = (origin: Script): Step[] => [{ origin, from: 'origin' }, { from: 'origin' }];

/** Not kept at all: nothing of the first answer shows in the second request. */
export const neverStored = (origin: Script, cs = '!stored'): Step[] => [
  { origin, from: 'origin', cs },
  { from: 'origin', saw: { 'If-None-Match': null, 'If-Modified-Since': null } },
];

/** Stored: a second later the cache answers. */
export const stored = (fields: readonly string[], more: Partial<Step> = {}): Step[] => [
  { origin: fields, from: 'origin', cs: 'fwd=uri-miss; stored' },
  { after: 1, from: 'cache', age: 1, ...more },
];

/** Stored with `fields`, stale since a second, and validated by a 304 with `update`. */
export const validated = (fields: readonly string[], update: readonly string[], more: Partial<Step> = {}): Step[] => [
  { origin: fields, from: 'origin' },
  { after: 61, origin: notModified(...update), from: 'revalidated', cs: 'fwd=stale; fwd-status=304', ...more },
];
