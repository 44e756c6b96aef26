import { callbackFields } from '../../wire/index.ts';

/** Header fields as somebody noted them down: a map, a map with lists, or pairs. */
export type NotedHeaders =
  | Readonly<Record<string, string | readonly string[] | undefined>>
  | readonly (readonly [name: string, value: string])[];

/** One of the three fields, in whatever form it was noted. */
export interface ReceivedField {
  /** As it is called in the standard. */
  readonly name: string;
  /** All values, as noted; empty: it is not there. */
  readonly values: readonly string[];
  /** The name that it had, where that was another. */
  readonly writtenAs?: string;
}

/** What is read in a value where it is not exactly what it should be; `how` says what was passed over. */
export interface Reading {
  readonly text: string;
  /** Undefined: nothing, it stands there as it should. */
  readonly how?: string;
}

/**
 * The three fields that sign a callback. Names are found in any case, and as gateways and languages write them into environments:
 * `HTTP_WEBHOOK_ID`, `webhook_id`. Pure.
 */
export function readFields(headers: NotedHeaders): Record<'id' | 'timestamp' | 'signature', ReceivedField> {
  const pairs: readonly (readonly [string, string | readonly string[] | undefined])[] = Array.isArray(headers)
    ? headers
    : Object.entries(headers);
  const field = (name: string): ReceivedField => {
    const found = pairs.filter(([key]) => plainName(key) === name);
    const values = found.flatMap(([, value]) => value ?? []);
    const odd = found.find(([key]) => key.toLowerCase() !== name)?.[0];
    return odd === undefined ? { name, values } : { name, values, writtenAs: odd };
  };
  return {
    id: field(callbackFields.id),
    timestamp: field(callbackFields.timestamp),
    signature: field(callbackFields.signature),
  };
}

function plainName(key: string): string {
  return key
    .trim()
    .toLowerCase()
    .replaceAll('_', '-')
    .replace(/^http-/, '');
}

/** What an id can have been before somebody noted it down, as it stands first. Pure. */
export function idReadings(value: string): Reading[] {
  return distinct([
    { text: value },
    { text: value.trim(), how: 'there is white space around it' },
    { text: unquoted(value), how: 'it stands in quotes' },
    { text: first(value), how: 'it stands several times in one field' },
  ]);
}

/** The same of the time; all of them decimal numbers. */
export function timeReadings(value: string): Reading[] {
  const readings: Reading[] = [
    { text: value },
    { text: value.trim(), how: 'there is white space around it' },
    { text: unquoted(value), how: 'it stands in quotes' },
    { text: first(value), how: 'it stands several times in one field' },
  ];
  if (/^[0-9]{13}$/.test(value)) readings.push({ text: value.slice(0, -3), how: 'it is in milliseconds' });
  const dateMs = /[^0-9]/.test(value) ? Date.parse(value) : Number.NaN;
  if (!Number.isNaN(dateMs))
    readings.push({ text: String(Math.floor(dateMs / 1_000)), how: 'it is written as a date' });
  return distinct(readings).filter(({ text }) => /^[0-9]{1,12}$/.test(text));
}

/** The signatures of v1 in a field, by the standard: `v1,` and base64, with one space between two. */
export function signaturesOf(value: string): string[] {
  return value.split(' ').filter((text) => text.startsWith('v1,'));
}

/** Of a signature, and what may stand around it: 44 characters are enough for one. */
const maxSignatureChars = 500;

/** The same where the field was damaged on the way: what can be made good, and how. */
export function mendedSignatures(value: string): { signatures: string[]; how: string[] } {
  const how = new Set<string>();
  const signatures = value.split(/(?=v[0-9]+[a-z]?[,=])/).flatMap((piece) => {
    // One that is far too long is none, and would take long.
    if (!/^v1[,=]/.test(piece) || piece.length > maxSignatureChars) return [];
    let text = piece.slice(3).replace(/[\s,;"']+$/, '');
    if (piece[2] === '=') how.add('`=` stands behind v1 instead of a comma');
    if (/[\s,;"']/.test(piece.slice(3).trimEnd()) && !/^[^\s,;"']+$/.test(piece.slice(3).trim())) {
      how.add('signatures are separated by something else than one space, or are in quotes');
    }
    if (text.includes(' ')) how.add('a `+` of the base64 became a space: something decoded the field as a form');
    text = text.replaceAll(' ', '+');
    if (/%(?:2[BbFf]|3[Dd])/.test(text)) how.add('it is percent-encoded');
    text = text.replace(/%2b/gi, '+').replace(/%2f/gi, '/').replace(/%3d/gi, '=');
    if (/[-_]/.test(text)) how.add('the base64 is in the alphabet for URLs');
    text = text.replaceAll('-', '+').replaceAll('_', '/');
    if (text.length === 43) how.add('the `=` at the end of the base64 is missing');
    return [`v1,${text.padEnd(44, '=')}`];
  });
  if (signatures.length === 0 && /^[A-Za-z0-9+/]{43}=$/.test(value.trim())) {
    return { signatures: [`v1,${value.trim()}`], how: ['`v1,` is missing'] };
  }
  return { signatures, how: [...how] };
}

const first = (value: string): string => value.split(',')[0]?.trim() ?? value;
const unquoted = (value: string): string => value.trim().replace(/^(["'])(.*)\1$/, '$2');

function distinct(readings: Reading[]): Reading[] {
  return readings.filter(({ text }, index) => readings.findIndex((one) => one.text === text) === index);
}
