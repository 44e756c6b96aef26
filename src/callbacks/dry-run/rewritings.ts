import { isDeepStrictEqual } from 'node:util';
import { type CallbackCommand, callbackCommands } from '../../wire/index.ts';
import { sampleFields } from '../sample.ts';
import { isBase64 } from './base64.ts';

/** How a JSON body gets other bytes on its way through parsers, frameworks and gateways; and back. All pure. */

const bom = Buffer.from('\ufeff');

/** A body that may be what was sent, made from what came. */
export interface Original {
  readonly bytes: Buffer;
  /** What the received body is wrapped in, as a sentence's end; undefined: in nothing. */
  readonly wrapping?: string;
}

const layouts: Readonly<Record<string, (value: unknown) => string>> = {
  '': (value) => JSON.stringify(value),
  'indented by 2 spaces': (value) => JSON.stringify(value, undefined, 2),
  'indented by 4 spaces': (value) => JSON.stringify(value, undefined, 4),
  'indented by tabs': (value) => JSON.stringify(value, undefined, '\t'),
  'with spaces behind commas and colons': (value) =>
    // A line end is never inside of a text.
    JSON.stringify(value, undefined, 1).replace(/,\n */g, ', ').replace(/\n */g, ''),
};

const escapesOf = (character: string, form: (code: string) => string): string =>
  form(character.charCodeAt(0).toString(16).padStart(4, '0'));
const ascii = (text: string): string =>
  text.replace(/[\u0080-\uffff]/g, (one) => escapesOf(one, (code) => `\\u${code}`));
const slashes = (text: string): string => text.replaceAll('/', '\\/');

const escapes: Readonly<Record<string, (json: string) => string>> = {
  '': (json) => json,
  'with non-ASCII characters as \\uXXXX': ascii,
  'with non-ASCII characters as \\uXXXX in upper case': (json) =>
    json.replace(/[\u0080-\uffff]/g, (one) => escapesOf(one, (code) => `\\u${code.toUpperCase()}`)),
  'with / as \\/': slashes,
  'with / as \\/ and non-ASCII characters as \\uXXXX': (json) => slashes(ascii(json)),
  'with <, > and & as \\uXXXX': (json) =>
    json.replace(/[<>&\u2028\u2029]/g, (one) => escapesOf(one, (code) => `\\u${code}`)),
};

/** What may have been sent, the likeliest first; bounded. The first is the received body itself. */
export function originalsOf(received: Buffer): Original[] {
  const originals: Original[] = [];
  const known = new Set<string>();
  const add = (bytes: Buffer, wrapping?: string): void => {
    const key = bytes.toString('latin1');
    if (known.has(key)) return;
    known.add(key);
    originals.push(wrapping === undefined ? { bytes } : { bytes, wrapping });
  };
  const unwrapped = unwrappingsOf(received);
  for (const { bytes, wrapping } of unwrapped) {
    add(bytes, wrapping);
    const value = parse(bytes);
    if (value === undefined) continue;
    add(Buffer.from(compact(value)), wrapping);
    add(Buffer.from(compact(inOrder(value))), wrapping);
  }
  // Whoever else signs may not write compact JSON.
  const value = parse(received);
  if (value !== undefined) {
    for (const layout of Object.values(layouts)) {
      for (const escaped of Object.values(escapes)) {
        const text = escaped(layout(value));
        add(Buffer.from(text));
        add(Buffer.from(`${text}\n`));
      }
    }
  }
  return originals;
}

function unwrappingsOf(received: Buffer): Original[] {
  const text = received.toString('utf8');
  const plain = text.startsWith('\ufeff') ? text.slice(1) : text;
  const originals: Original[] = [
    { bytes: received },
    { bytes: Buffer.from(plain) },
    { bytes: Buffer.from(plain.trim()) },
    { bytes: Buffer.from(text.replaceAll('\r\n', '\n')) },
    { bytes: Buffer.from(received.toString('latin1')) },
  ];
  // Characters above U+00FF are no Latin-1: then that is not how it came to be.
  if (/^[\u0000-\u00ff]*$/.test(plain)) originals.push({ bytes: Buffer.from(plain, 'latin1') });
  if (isBase64(plain)) {
    originals.push({ bytes: Buffer.from(plain, 'base64'), wrapping: 'in base64, as some gateways hand bodies on' });
  }
  if (/^%7[Bb]/.test(plain)) {
    const decoded = attempt(() => decodeURIComponent(plain.trim().replaceAll('+', ' ').replace(/=$/, '')));
    if (decoded !== undefined) {
      originals.push({ bytes: Buffer.from(decoded), wrapping: 'percent-encoded: a parser took it for a form' });
    }
  }
  const inner = parse(received);
  if (typeof inner === 'string') {
    originals.push({ bytes: Buffer.from(inner), wrapping: 'a JSON text within a JSON text: it was written twice' });
  }
  return originals;
}

/** What was done to the sent bytes so that they became the received ones; empty: they are the same. */
export function changesBetween(sent: Buffer, received: Buffer): string[] {
  const changes: string[] = [];
  let bytes = received;
  if (bytes.subarray(0, 3).equals(bom) && !sent.subarray(0, 3).equals(bom)) {
    changes.push('a byte order mark was put before it');
    bytes = bytes.subarray(3);
  }
  const sentText = sent.toString('utf8');
  const fromLatin1 = Buffer.from(sentText, 'latin1');
  const twice = Buffer.from(sent.toString('latin1'));
  let text = bytes.toString('utf8');
  if (isAscii(sent)) {
    // Every charset agrees.
  } else if (sameButLayout(bytes, fromLatin1)) {
    changes.push('it was encoded as Latin-1 (ISO 8859-1) instead of UTF-8');
    text = bytes.toString('latin1');
  } else if (sameButLayout(bytes, twice)) {
    changes.push('its UTF-8 was read as Latin-1 (ISO 8859-1), and encoded again');
    text = Buffer.from(text, 'latin1').toString('utf8');
  } else if (text.includes('\ufffd') && !sentText.includes('\ufffd')) {
    changes.push('characters were lost (U+FFFD): its UTF-8 was decoded in pieces, or with another charset');
  }
  if (text === sentText) return changes;
  if (text.includes('\r\n') && !sentText.includes('\r\n')) {
    changes.push('its line ends are CRLF');
    text = text.replaceAll('\r\n', '\n');
    if (text === sentText) return changes;
  }
  const end = blankEndOf(text);
  if (end !== blankEndOf(sentText)) {
    changes.push(end === '\n' ? 'a line end was put behind it' : 'the white space at its end is another');
  }
  if (text.trim() === sentText.trim()) return changes;
  return [...changes, ...changesOfJson(text, sentText)];
}

// Not /\s*$/, which looks at each run of white space from each of its places.
const blankEndOf = (text: string): string => text.slice(text.trimEnd().length);

function changesOfJson(text: string, sentText: string): string[] {
  const [now, before] = [parseText(text), parseText(sentText)];
  if (before === undefined) return ['it is another text'];
  if (now === undefined) {
    const isCut = sentText.startsWith(text.trimEnd());
    return [isCut ? 'it was cut off' : 'it is no JSON any more'];
  }
  if (!isDeepStrictEqual(now, before)) return [`its content is another: ${firstChange(now, before, '')}`];
  const changes: string[] = [];
  if (compact(now) !== compact(before)) {
    changes.push(compact(now) === compact(sorted(before)) ? 'its keys were sorted' : 'its keys stand in another order');
  }
  for (const [layout, write] of Object.entries(layouts)) {
    for (const [name, escaped] of Object.entries(escapes)) {
      if (escaped(write(now)) !== text.trim()) continue;
      const how = [layout, name].filter((one) => one !== '').join(', ');
      return how === '' ? changes : [...changes, `it was written anew ${how}`];
    }
  }
  const hasDecimals = /[:[,]\s*-?[0-9]+\.0+\s*[,}\]]/.test(text) && !/\.0+[,}\]]/.test(sentText);
  changes.push(hasDecimals ? 'whole numbers were written as 1.0' : 'it was written anew, with other spaces or escapes');
  return changes;
}

/** The first place where two JSON values differ, in words. */
function firstChange(now: unknown, before: unknown, path: string): string {
  const at = path === '' ? 'the whole' : path;
  if (!isContainer(now) || !isContainer(before) || Array.isArray(now) !== Array.isArray(before)) {
    return typeof now === typeof before ? `${at} differs` : `${at} is a ${kindOf(now)} and was a ${kindOf(before)}`;
  }
  const below = (key: string): string =>
    Array.isArray(before) ? `${path}[${key}]` : path === '' ? key : `${path}.${key}`;
  for (const key of Object.keys(before)) {
    if (!Object.hasOwn(now, key)) return `${below(key)} is missing`;
    if (!isDeepStrictEqual(now[key], before[key])) return firstChange(now[key], before[key], below(key));
  }
  const more = Object.keys(now).find((key) => !Object.hasOwn(before, key));
  return more === undefined ? `${at} differs` : `${below(more)} came in addition`;
}

function isContainer(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function kindOf(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'list' : typeof value;
}

/** Whether two byte strings hold the same JSON, or the same text but for white space at its ends. */
function sameButLayout(a: Buffer, b: Buffer): boolean {
  if (a.equals(b)) return true;
  const [left, right] = [parseText(a.toString('latin1')), parseText(b.toString('latin1'))];
  return left !== undefined && isDeepStrictEqual(left, right);
}

function isAscii(bytes: Buffer): boolean {
  return bytes.every((byte) => byte < 0x80);
}

/** Keys as the service writes them; of what it does not know, as they stand. */
function inOrder(value: unknown): unknown {
  const command = isContainer(value) ? value.CallbackCommand : undefined;
  if (!(callbackCommands as readonly unknown[]).includes(command)) return value;
  return ordered(value, { CallbackCommand: command, ...sampleFields(command as CallbackCommand, 0) });
}

/** As senders mostly write them; the service leaves the order of a message's content to its sender. */
const contents: Readonly<Record<string, readonly string[]>> = {
  TIMLocationElem: ['Desc', 'Latitude', 'Longitude'],
  TIMFaceElem: ['Index', 'Data'],
  TIMCustomElem: ['Data', 'Desc', 'Ext', 'Sound'],
  TIMSoundElem: ['UUID', 'Url', 'Size', 'Second', 'Download_Flag'],
  TIMFileElem: ['UUID', 'Url', 'FileSize', 'FileName', 'Download_Flag'],
  TIMImageElem: ['UUID', 'ImageFormat', 'ImageInfoArray'],
};

function ordered(value: unknown, model: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => ordered(item, Array.isArray(model) ? model[0] : undefined));
  if (!isContainer(value)) return value;
  const fields = isContainer(model) && !Array.isArray(model) ? model : {};
  const type = String(value.MsgType);
  const content = Object.hasOwn(contents, type) ? contents[type] : undefined;
  const models =
    content === undefined ? fields : { ...fields, MsgContent: Object.fromEntries(content.map((key) => [key, 0])) };
  const keys = [...new Set([...Object.keys(models), ...Object.keys(value)])].filter((key) => Object.hasOwn(value, key));
  return Object.fromEntries(keys.map((key) => [key, ordered(value[key], models[key])]));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isContainer(value)) return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, sorted(value[key])]),
  );
}

function compact(value: unknown): string {
  return JSON.stringify(value);
}

function parse(bytes: Buffer): unknown {
  const text = attempt(() => new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  return text === undefined ? undefined : parseText(text);
}

function parseText(text: string): unknown {
  const value = attempt(() => JSON.parse(text) as unknown);
  return isShallow(value, maxDepth) ? value : undefined;
}

/** Far more than any callback has, far less than a stack holds. */
const maxDepth = 64;

function isShallow(value: unknown, depth: number): boolean {
  return !isContainer(value) || (depth > 0 && Object.values(value).every((one) => isShallow(one, depth - 1)));
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}
