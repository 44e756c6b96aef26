import { createHmac, timingSafeEqual } from 'node:crypto';
import type { SdkAppId, TerminalId } from '../wire/index.ts';
import type { KeyRing } from './key-ring.ts';

export interface TerminalCredentials {
  /** 12 letters a–z. */
  id: TerminalId;
  /** What the terminal proves itself with (A3): 43 base64url characters. Goes to the terminal alone, never to a log. */
  secret: string;
}

export interface Terminals {
  /** A new terminal of the app, with an id that none had before. */
  issue(sdkAppId: SdkAppId): TerminalCredentials;
  /** Is this the secret that we issued with this id to this app? Total: any input. Constant-time. */
  prove(sdkAppId: SdkAppId, id: unknown, secret: unknown): id is TerminalId;
  /** The credentials of a proven terminal, the secret by the newest master key: so terminals follow its rotation. */
  renew(sdkAppId: SdkAppId, id: TerminalId): TerminalCredentials;
}

/** Where new serial numbers come from: below 2^56, none twice over all processes and restarts. The store's `Serials`. */
export interface TerminalSerials {
  nextNumber(): bigint;
}

const letters = 12;
const halfBits = 28n;
const halfMask = (1 << 28) - 1;
const rounds = 8;
const idPattern = /^[a-z]{12}$/;

/** The value of QAL-Identifier for a terminal: the vendor's form `@v_tls#tarqqnwfrcdx` (A3). */
export function qalIdentifier(id: TerminalId): string {
  return `@v_tls#${id}`;
}

/**
 * Terminals without a table: the id is a keyed permutation of a serial number, so ids are unique by construction and give
 * away neither their order nor their number; the secret is an HMAC of app and id, so it is checked without looking anything up.
 *
 * Under a new master key the permutation is another one. Ids of the old and the new then coincide with a chance of
 * (old ids × new ids) / 2^56; terminals that did not come back before the old key was dropped get a new id anyway.
 */
export function createTerminals(deps: { keyRing: KeyRing; serials: TerminalSerials }): Terminals {
  const [idKey] = deps.keyRing.derive('terminal-id');
  const secretKeys = deps.keyRing.derive('terminal-secret');
  const [newestSecretKey] = secretKeys;
  if (idKey === undefined || newestSecretKey === undefined) throw new Error('the key ring is empty');

  const renew: Terminals['renew'] = (sdkAppId, id) => ({ id, secret: secretOf(newestSecretKey, sdkAppId, id) });

  return {
    issue: (sdkAppId) => renew(sdkAppId, toLetters(permute(idKey, deps.serials.nextNumber()))),
    prove(sdkAppId, id, secret): id is TerminalId {
      if (typeof id !== 'string' || !idPattern.test(id) || typeof secret !== 'string') return false;
      const given = Buffer.from(secret);
      return secretKeys.some((key) => {
        const expected = Buffer.from(secretOf(key, sdkAppId, id));
        return given.length === expected.length && timingSafeEqual(given, expected);
      });
    },
    renew,
  };
}

function secretOf(key: Buffer, sdkAppId: SdkAppId, id: string): string {
  return createHmac('sha256', key).update(`${sdkAppId}:${id}`).digest('base64url');
}

/** A Feistel network of 8 rounds over 2 × 28 bits: a permutation of the numbers below 2^56, whatever the round function. */
function permute(key: Buffer, serial: bigint): bigint {
  if (serial < 0n || serial >> 56n !== 0n) throw new RangeError('a terminal serial must be below 2^56');
  let left = Number(serial >> halfBits);
  let right = Number(serial & BigInt(halfMask));
  const input = Buffer.alloc(5);
  for (let round = 0; round < rounds; round++) {
    input.writeUInt8(round, 0);
    input.writeUInt32BE(right, 1);
    const mixed = createHmac('sha256', key).update(input).digest().readUInt32BE(0) & halfMask;
    [left, right] = [right, left ^ mixed];
  }
  return (BigInt(left) << halfBits) | BigInt(right);
}

/** 26^12 > 2^56, so twelve letters hold every number. */
function toLetters(value: bigint): TerminalId {
  let text = '';
  for (let rest = value, i = 0; i < letters; i++, rest /= 26n) {
    text = String.fromCharCode(97 + Number(rest % 26n)) + text;
  }
  return text as TerminalId;
}
