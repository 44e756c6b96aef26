import { type ApnsReason, apnsReasons, isApnsReason } from '../apns/reasons.ts';

/** What becomes of a push besides an answer in words. */
const breaks = [
  /** Never answers, and never looks at it. */
  'silent',
  /** Takes it after so many milliseconds. */
  'slow',
  /** The connection ends: before the push was looked at, or after it was taken. */
  'reset',
  'lost',
  /** The stream is refused, as where there are too many. */
  'refused',
  /** The stream is ended by an error of the service. */
  'broken',
  /** An answer that is a page, of this status. */
  'html',
  /** Takes it, and says on this connection that it wants no more. */
  'goaway',
] as const;
type ApnsBreak = (typeof breaks)[number];

/** `amount`: of a refusal its `retry-after` in seconds, of `slow` milliseconds, of `html` the status. */
export interface ApnsFault {
  readonly word: ApnsReason | ApnsBreak;
  readonly amount?: number;
  /** Of 410: since when the token has been dead. */
  readonly timestampMs?: number;
}

const defaults: Partial<Record<ApnsFault['word'], number>> = { slow: 1_000, html: 502 };

/** `Unregistered`, `ServiceUnavailable:30` (its retry-after), `slow:5000`, `html:502`…; undefined: it names none. Pure. */
export function parseApnsFault(text: string): ApnsFault | undefined {
  const [, name = '', digits] = /^([A-Za-z]+)(?::([0-9]{1,6}))?$/.exec(text) ?? [];
  if (!isWord(name)) return undefined;
  const amount = digits === undefined ? defaults[name] : Number(digits);
  return { word: name, ...(amount === undefined ? {} : { amount }) };
}

export const apnsFaultWords: readonly string[] = [...breaks, ...Object.keys(apnsReasons)];

function isWord(word: string): word is ApnsFault['word'] {
  return isApnsReason(word) || (breaks as readonly string[]).includes(word);
}
