import { createHmac, timingSafeEqual } from 'node:crypto';
import { deflateSync, inflateSync } from 'node:zlib';
import type { SdkAppId } from '../wire/index.ts';

/**
 * UserSig v2 ("TLSSigAPIv2"), API reference §1.4:
 * `urlBase64(zlibDeflate(utf8(JSON)))`, urlBase64 being padded base64 with `+`→`*`, `/`→`-`, `=`→`_`.
 */

/** A UserSig longer than this is refused unread; the vendor's are under 600 characters. */
export const maxUserSigChars = 8_192;
/** Cap of the inflated document: a few kilobytes of zlib can hold megabytes. */
const maxInflatedBytes = 4_096;

const urlBase64Pattern = /^(?:[A-Za-z0-9*-]{4})+$|^(?:[A-Za-z0-9*-]{4})*(?:[A-Za-z0-9*-]{2}__|[A-Za-z0-9*-]{3}_)$/;
const base64Pattern = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const controlPattern = /[\u0000-\u001f\u007f-\u009f]/u;

/** The fields of a UserSig document that count, read and checked. */
interface UserSigDocument {
  identifier: string;
  sdkAppId: SdkAppId;
  timeSec: number;
  expireSec: number;
  /** Standard base64 of the privilege buffer, as it was signed. */
  userbuf?: string;
  sig: Buffer;
}

export interface SignUserSigInput {
  sdkAppId: SdkAppId;
  identifier: string;
  /** UserSig key of the app, used as text. */
  secret: string;
  /** Life in seconds from issuedAtSec. */
  expireSec: number;
  /** Unix seconds. */
  issuedAtSec: number;
  /** Binary privilege buffer of audio/video rooms; carried, signed, not interpreted by us. */
  userbuf?: Uint8Array;
}

/** Makes a UserSig as the vendor's server packages do. */
export function signUserSig(input: SignUserSigInput): string {
  const userbuf = input.userbuf === undefined ? undefined : Buffer.from(input.userbuf).toString('base64');
  const text = signedText(input.identifier, input.sdkAppId, input.issuedAtSec, input.expireSec, userbuf);
  const document = {
    'TLS.ver': '2.0',
    'TLS.identifier': input.identifier,
    'TLS.sdkappid': input.sdkAppId,
    'TLS.time': input.issuedAtSec,
    'TLS.expire': input.expireSec,
    ...(userbuf === undefined ? {} : { 'TLS.userbuf': userbuf }),
    'TLS.sig': mac(input.secret, text).toString('base64'),
  };
  return deflateSync(JSON.stringify(document))
    .toString('base64')
    .replaceAll('+', '*')
    .replaceAll('/', '-')
    .replaceAll('=', '_');
}

export interface VerifyUserSigInput {
  sdkAppId: SdkAppId;
  identifier: string;
  /** UserSig keys of the app; several while rotating. */
  secrets: readonly string[];
  /** Unix seconds. */
  nowSec: number;
}

/** What can be wrong with a UserSig by itself; each catalogue of errors has these names. */
export type UserSigFault =
  | 'USERSIG_EMPTY'
  | 'USERSIG_MALFORMED'
  | 'USERSIG_IDENTIFIER_MISMATCH'
  | 'USERSIG_APP_MISMATCH'
  | 'USERSIG_KEY_MISMATCH'
  | 'USERSIG_EXPIRED';

export type VerifyUserSigResult =
  | {
      ok: true;
      /** Unix seconds; a kick at or after this second makes the UserSig invalid (I4), which the caller checks. */
      issuedAtSec: number;
      /** Unix seconds. */
      expiresAtSec: number;
      /** Which of the secrets it was made with. */
      secretIndex: number;
    }
  | { ok: false; code: UserSigFault };

/**
 * Checks a UserSig in the order of API reference §1.4, steps 1–6: empty, malformed, identifier, app, key, expiry.
 * Total: any input gives a result. The verdict on the kick (step 7) needs the database and is the caller's.
 */
export function verifyUserSig(userSig: unknown, input: VerifyUserSigInput): VerifyUserSigResult {
  if (userSig === undefined || userSig === null || userSig === '') return { ok: false, code: 'USERSIG_EMPTY' };
  const document = parseUserSig(userSig);
  if (document === undefined) return { ok: false, code: 'USERSIG_MALFORMED' };
  if (document.identifier !== input.identifier) return { ok: false, code: 'USERSIG_IDENTIFIER_MISMATCH' };
  if (document.sdkAppId !== input.sdkAppId) return { ok: false, code: 'USERSIG_APP_MISMATCH' };
  const { identifier, sdkAppId, timeSec, expireSec, userbuf, sig } = document;
  const text = signedText(identifier, sdkAppId, timeSec, expireSec, userbuf);
  const secretIndex = input.secrets.findIndex((secret) => timingSafeEqual(mac(secret, text), sig));
  if (secretIndex === -1) return { ok: false, code: 'USERSIG_KEY_MISMATCH' };
  const expiresAtSec = timeSec + expireSec;
  if (input.nowSec >= expiresAtSec) return { ok: false, code: 'USERSIG_EXPIRED' };
  return { ok: true, issuedAtSec: timeSec, expiresAtSec, secretIndex };
}

/**
 * Short fingerprint of a UserSig key, for session claims: tells that a session was bound by a key that is no longer the
 * app's. Gives away no more than any UserSig does.
 */
export function userSigSecretId(secret: string): string {
  return createHmac('sha256', secret).update('qalgate usersig key id').digest('base64url').slice(0, 12);
}

function signedText(id: string, sdkAppId: number, timeSec: number, expireSec: number, userbuf?: string): string {
  const lines = `TLS.identifier:${id}\nTLS.sdkappid:${sdkAppId}\nTLS.time:${timeSec}\nTLS.expire:${expireSec}\n`;
  return userbuf === undefined ? lines : `${lines}TLS.userbuf:${userbuf}\n`;
}

function mac(secret: string, text: string): Buffer {
  return createHmac('sha256', secret).update(text).digest();
}

/** Decodes and reads the document; undefined if anything about it is wrong. */
function parseUserSig(userSig: unknown): UserSigDocument | undefined {
  if (typeof userSig !== 'string' || userSig.length > maxUserSigChars || !urlBase64Pattern.test(userSig))
    return undefined;
  const base64 = userSig.replaceAll('*', '+').replaceAll('-', '/').replaceAll('_', '=');
  let value: unknown;
  try {
    const inflated = inflateSync(Buffer.from(base64, 'base64'), { maxOutputLength: maxInflatedBytes });
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(inflated));
  } catch {
    return undefined; // not zlib, over the cap, not UTF-8 or not JSON
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const fields = value as Record<string, unknown>;
  const identifier = fields['TLS.identifier'];
  const sdkAppId = parseSdkAppId(fields['TLS.sdkappid']);
  const timeSec = fields['TLS.time'];
  const expireSec = fields['TLS.expire'];
  const userbuf = fields['TLS.userbuf'];
  const sig = fields['TLS.sig'];
  if (fields['TLS.ver'] !== '2.0') return undefined;
  // A line break in the identifier would let one signed text be read in two ways.
  if (typeof identifier !== 'string' || controlPattern.test(identifier)) return undefined;
  if (sdkAppId === undefined || !isSeconds(timeSec) || !isSeconds(expireSec) || timeSec < 0) return undefined;
  if (userbuf !== undefined && !isBase64(userbuf)) return undefined;
  if (!isBase64(sig)) return undefined;
  const sigBytes = Buffer.from(sig, 'base64');
  if (sigBytes.length !== 32) return undefined;
  return { identifier, sdkAppId, timeSec, expireSec, ...(userbuf === undefined ? {} : { userbuf }), sig: sigBytes };
}

/** A number, or as some of the vendor's packages write it, a string of digits. */
function parseSdkAppId(value: unknown): SdkAppId | undefined {
  if (typeof value === 'string') return /^[1-9][0-9]{0,9}$/.test(value) ? Number(value) : undefined;
  return Number.isSafeInteger(value) ? (value as number) : undefined;
}

function isSeconds(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

function isBase64(value: unknown): value is string {
  return typeof value === 'string' && base64Pattern.test(value);
}
