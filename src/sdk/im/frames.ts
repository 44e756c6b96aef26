import { ImError, type ImErrorCode } from './error.ts';
import { isElement, type Stored } from './message.ts';

/**
 * What the service says over a link (docs/reference/link.md), read with care: it may be newer than we, and a proxy in
 * between may send anything. What cannot be read is left out.
 */
export type Fields = Readonly<Record<string, unknown>>;

/** A message with its conversation and, in events, the seq before it. */
export interface Arrival {
  readonly conversation: string;
  readonly message: Stored;
  readonly prev: number | undefined;
  /** It is not among those that count as unread. */
  readonly isUncounted: boolean;
}

export interface Recent {
  readonly conversation: string;
  readonly last: Stored | undefined;
  readonly seq: number;
  readonly readSeq: number;
  readonly unread: number;
  readonly recallNo: number;
  readonly peerReadSeq: number;
}

export interface Bye {
  readonly name: string;
  readonly reason: string;
  readonly isFinal: boolean;
  readonly reconnectMs: number | undefined;
  /** Of the terminal that kicked this one. */
  readonly platform: string | undefined;
}

export type Frame =
  | { readonly kind: 'answer'; readonly id: number; readonly ok: unknown; readonly error: ImError | undefined }
  | { readonly kind: 'event'; readonly on: string; readonly fields: Fields }
  | { readonly kind: 'bye'; readonly bye: Bye };

/** The frames of one WebSocket message; undefined: it is none of this protocol. */
export function readFrames(data: unknown): Frame[] | undefined {
  try {
    const parsed: unknown = JSON.parse(String(data));
    return (Array.isArray(parsed) ? parsed : [parsed]).flatMap((one: unknown) => readFrame(fieldsOf(one)));
  } catch {
    return undefined;
  }
}

function readFrame(frame: Fields): Frame[] {
  const { on, id, ok, error } = frame;
  if (on === 'bye') return [{ kind: 'bye', bye: readBye(frame) }];
  if (typeof on === 'string') return [{ kind: 'event', on, fields: frame }];
  if (typeof id !== 'number') return [];
  return [{ kind: 'answer', id, ok, error: error === undefined ? undefined : readError(error) }];
}

function readBye(frame: Fields): Bye {
  return {
    name: textOr(frame.name, 'NETWORK'),
    reason: textOr(frame.reason, ''),
    isFinal: frame.final === true,
    reconnectMs: optionalNumber(frame.reconnectMs),
    platform: optionalText(frame.platform),
  };
}

function readError(value: unknown): ImError {
  const { name, reason, code, retryable, field, allowed } = fieldsOf(value);
  return new ImError(
    textOr(name, 'BAD_RESPONSE') as ImErrorCode,
    textOr(reason, textOr(name, 'the service refused it')),
    {
      number: optionalNumber(code),
      retryable: retryable === true,
      field: optionalText(field),
      allowed: optionalText(allowed),
    },
  );
}

/** @param conversation of the request, where its answer does not repeat it */
export function readArrival(value: unknown, conversation?: string): Arrival | undefined {
  const fields = fieldsOf(value);
  const name = optionalText(fields.conversation) ?? conversation;
  const message = readStored(fields);
  if (name === undefined || message === undefined) return undefined;
  const prev = optionalNumber(fields.prev);
  return { conversation: name, message, prev, isUncounted: fields.uncounted === true };
}

export function readArrivals(value: unknown, conversation?: string): Arrival[] {
  return listOf(value).flatMap((one) => readArrival(one, conversation) ?? []);
}

/** A message of the service, or one that was stored. */
export function readStored(fields: Fields): Stored | undefined {
  const { from, time, body, custom, extra, clientId, recalled } = fields;
  if (typeof from !== 'string' || typeof time !== 'number') return undefined;
  return {
    ...numbersOf(fields, ['seq', 'msgSeq', 'random']),
    from,
    time,
    body: listOf(body).filter(isElement),
    ...(typeof custom === 'string' && { custom }),
    ...(extra !== undefined && { extra: fieldsOf(extra) }),
    ...(typeof clientId === 'string' && { clientId }),
    ...(recalled === true && { recalled }),
  };
}

const recentNumbers = ['seq', 'readSeq', 'unread', 'recallNo', 'peerReadSeq'] as const;

export function readRecents(value: unknown): Recent[] {
  return listOf(value).flatMap((one) => {
    const fields = fieldsOf(one);
    const { conversation, last } = fields;
    if (typeof conversation !== 'string') return [];
    return {
      conversation,
      last: last === undefined ? undefined : readStored(fieldsOf(last)),
      ...numbersOf(fields, recentNumbers),
    };
  });
}

export function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}

/** The seqs in a list. */
export function seqsOf(value: unknown): number[] {
  return listOf(value).filter((seq): seq is number => optionalNumber(seq) !== undefined);
}

export function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

/** Seqs, counts, times: whole and not negative. */
export function optionalNumber(value: unknown): number | undefined {
  return typeof value === 'number' && value >= 0 && Number.isFinite(value) ? value : undefined;
}

export function numberOr(value: unknown, other: number): number {
  return optionalNumber(value) ?? other;
}

/** Fields that are such numbers; 0 where they are not. */
export function numbersOf<K extends string>(fields: Fields, names: readonly K[]): Record<K, number> {
  return Object.fromEntries(names.map((name) => [name, numberOr(fields[name], 0)])) as Record<K, number>;
}

export function optionalText(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function textOr(value: unknown, other: string): string {
  return optionalText(value) ?? other;
}
