import { type CallbackCommand, callbackFields } from '../../wire/index.ts';
import type { CallbackEvent } from './events.ts';
import { findHeader, type HeadersLike } from './header-lookup.ts';
import { matchesAny, readKey, signatureOf } from './signature.ts';

export interface VerifyInput {
  /** `whsec_…` as configured for the app; several while rotating, in any order. */
  secret: string | readonly string[];
  headers: HeadersLike;
  /** The body as it came, before any parser. */
  body: string | Uint8Array;
  /** How far our clock and the service's may be apart, either way; default 300 s. */
  toleranceSec?: number;
  /** Milliseconds since the epoch; default `Date.now`. */
  now?: () => number;
}

/**
 * Why a callback is not to be believed:
 * - `SECRET_MALFORMED`: a secret is not `whsec_` and base64, or there is none: our own mistake
 * - `BODY_NOT_RAW`: the body is neither text nor bytes: most often a parser was there first
 * - `HEADER_MISSING`, `HEADER_MALFORMED`: of `webhook-id`, `webhook-timestamp` or `webhook-signature`
 * - `SIGNATURE_MISMATCH`: signed with another key, or id, time or body were changed
 * - `TIMESTAMP_TOO_OLD`, `TIMESTAMP_TOO_NEW`: rightly signed, but too long ago or ahead: a clock is wrong, or somebody repeats it
 * - `BODY_MALFORMED`: rightly signed, but no JSON with a `CallbackCommand`
 */
export type VerifyFailure =
  | 'SECRET_MALFORMED'
  | 'BODY_NOT_RAW'
  | 'HEADER_MISSING'
  | 'HEADER_MALFORMED'
  | 'SIGNATURE_MISMATCH'
  | 'TIMESTAMP_TOO_OLD'
  | 'TIMESTAMP_TOO_NEW'
  | 'BODY_MALFORMED';

export type Verified =
  | {
      readonly ok: true;
      /** `webhook-id`: the same for each repeat of an event. */
      readonly id: string;
      /** When it was sent, Unix seconds; a repeat has its own. */
      readonly timestamp: number;
      /** A newer service may send a command that this release does not know: leave such a one alone. */
      readonly command: CallbackCommand;
      readonly event: CallbackEvent;
    }
  | Refused;

export interface Refused {
  readonly ok: false;
  readonly code: VerifyFailure;
  /** A sentence for a log; holds no secret. */
  readonly reason: string;
}

const maxIdChars = 256;
/** Two keys while rotating, and then some. */
const maxSignatures = 20;

/**
 * Tells whether a callback is qalgate's, unchanged and of now: by Standard Webhooks, so any library of that standard says the
 * same. Never throws, whatever came.
 *
 * ```js
 * const verified = verifyCallback({ secret: process.env.CALLBACK_SECRET, headers: request.headers, body: rawBody });
 * if (!verified.ok) return response.writeHead(401).end(verified.reason);
 * ```
 */
export function verifyCallback(input: VerifyInput): Verified {
  const { secret, headers, body, toleranceSec = 300, now = Date.now } = input;
  const keys = [secret].flat().map(readKey);
  if (keys.length === 0 || keys.includes(undefined)) {
    return refused('SECRET_MALFORMED', 'a secret is not `whsec_` and base64, or there is none');
  }
  if (typeof body !== 'string' && !(body instanceof Uint8Array)) {
    return refused('BODY_NOT_RAW', `the body is ${describe(body)}: give the bytes as they came, before any parser`);
  }

  const fields: string[] = [];
  for (const name of [callbackFields.id, callbackFields.timestamp, callbackFields.signature]) {
    const found = findHeader(headers, name);
    if ('missing' in found) return refused('HEADER_MISSING', `there is no header field ${name}`);
    if ('malformed' in found) return refused('HEADER_MALFORMED', `${name} ${found.malformed}`);
    fields.push(found.value);
  }
  const [id = '', time = '', signatures = ''] = fields;
  if (id === '' || id.length > maxIdChars) {
    return refused('HEADER_MALFORMED', `${callbackFields.id} must have 1 to ${maxIdChars} characters`);
  }
  if (!/^[0-9]{1,12}$/.test(time)) return refused('HEADER_MALFORMED', `${callbackFields.timestamp} is no Unix time`);
  const given = signatures.split(' ').filter((text) => text.startsWith('v1,'));
  if (given.length === 0) return refused('HEADER_MALFORMED', `${callbackFields.signature} has no signature of v1`);
  if (given.length > maxSignatures) {
    return refused('HEADER_MALFORMED', `${callbackFields.signature} has more than ${maxSignatures} signatures`);
  }

  const expected = keys.map((key) => signatureOf(key as Buffer, id, time, body));
  if (!matchesAny(given, expected)) {
    return refused('SIGNATURE_MISMATCH', 'no signature fits: another key signed, or id, time or body were changed');
  }
  const timestamp = Number(time);
  // Not `age > toleranceSec`: a tolerance that is no number must not let everything in.
  const ageSec = Math.floor(now() / 1_000) - timestamp;
  if (!(ageSec <= toleranceSec)) return refused('TIMESTAMP_TOO_OLD', `it was sent ${ageSec} s ago by our clock`);
  if (!(-ageSec <= toleranceSec)) return refused('TIMESTAMP_TOO_NEW', `it was sent ${-ageSec} s ahead of our clock`);

  const event = parse(body);
  if (event === undefined) return refused('BODY_MALFORMED', 'the body is no JSON object with a CallbackCommand');
  return { ok: true, id, timestamp, command: event.CallbackCommand, event };
}

function parse(body: string | Uint8Array): CallbackEvent | undefined {
  try {
    const text = typeof body === 'string' ? body : new TextDecoder('utf-8', { fatal: true }).decode(body);
    const value: unknown = JSON.parse(text);
    const isEvent = typeof value === 'object' && value !== null && 'CallbackCommand' in value;
    return isEvent && typeof value.CallbackCommand === 'string' ? (value as CallbackEvent) : undefined;
  } catch {
    return undefined;
  }
}

function describe(body: unknown): string {
  if (body === null || body === undefined) return 'missing';
  return typeof body === 'object' ? 'an object' : `a ${typeof body}`;
}

function refused(code: VerifyFailure, reason: string): Refused {
  return { ok: false, code, reason };
}
