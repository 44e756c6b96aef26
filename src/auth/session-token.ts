import { createHmac, timingSafeEqual } from 'node:crypto';
import type { AccountId, DeviceReport, NetworkReport, SdkAppId, TerminalId } from '../wire/index.ts';
import type { KeyRing } from './key-ring.ts';

/** Milliseconds since the epoch; `Date.now` in production. */
export type Clock = () => number;

/** What a session says of the one who holds it. Shared by all requests of the session: never changed. */
export interface SessionClaims {
  readonly sdkAppId: SdkAppId;
  readonly terminalId: TerminalId;
  /** The account that it is bound to; absent for an anonymous session (A13). */
  readonly account?: AccountId;
  /** Fingerprint of the UserSig key that it was bound by; there if and only if account is. */
  readonly secretId?: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  readonly device: DeviceReport;
  readonly network: NetworkReport;
}

export type SessionTokenResult =
  | { ok: true; claims: SessionClaims }
  | { ok: false; code: 'SESSION_INVALID' | 'SESSION_EXPIRED' };

export interface SessionTokens {
  /** Longest life of a session from its issue. */
  readonly lifetimeMs: number;
  /** Makes the token of these claims: `[0-9a-z]+.base64url.base64url`, at most 4 KiB, safe in headers and URLs. */
  issue(claims: SessionClaims): string;
  /** Checks a token; total and cheap: bad input costs at most one HMAC for each master key. */
  verify(token: unknown): SessionTokenResult;
}

export interface SessionTokensOptions {
  lifetimeSec: number;
  /** Life of a key generation; not less than lifetimeSec, so that a token outlives its generation by one at most. */
  rotationSec: number;
}

/** Longer tokens are refused before any work. The largest claims that the session endpoint accepts make under 3.2 KB. */
export const maxTokenChars = 4_096;

/** Base64url characters of an HMAC-SHA256; a token ends with them. */
export const macChars = 43;
const invalid = { ok: false, code: 'SESSION_INVALID' } as const;
const expired = { ok: false, code: 'SESSION_EXPIRED' } as const;

/**
 * Session tokens: `generation.claims.mac`. Claims can be read by their holder, not changed.
 *
 * Keys come from the key ring, one set a generation (clock / rotationSec). A token names its generation; valid are those
 * within one of the clock's, so processes whose clocks differ agree, and a key is out of use two rotations after its birth.
 */
export function createSessionTokens(
  deps: { keyRing: KeyRing; clock: Clock },
  options: SessionTokensOptions,
): SessionTokens {
  const lifetimeMs = options.lifetimeSec * 1_000;
  const rotationMs = options.rotationSec * 1_000;
  if (!(lifetimeMs > 0 && rotationMs >= lifetimeMs)) {
    throw new RangeError('rotationSec must be at least lifetimeSec, and both positive');
  }
  /** Keys by generation; at most the three around the clock's. */
  const keysByGeneration = new Map<number, Buffer[]>();

  function generationNow(): number {
    return Math.floor(deps.clock() / rotationMs);
  }

  function keysOf(generation: number, current: number): Buffer[] {
    const known = keysByGeneration.get(generation);
    if (known !== undefined) return known;
    for (const old of keysByGeneration.keys()) if (Math.abs(old - current) > 1) keysByGeneration.delete(old);
    const keys = deps.keyRing.derive('session-token', generation);
    keysByGeneration.set(generation, keys);
    return keys;
  }

  return {
    lifetimeMs,

    issue(claims) {
      const generation = generationNow();
      const [key] = keysOf(generation, generation);
      if (key === undefined) throw new Error('the key ring is empty');
      const signed = `${generation.toString(36)}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
      return `${signed}.${macOf(key, signed).toString()}`;
    },

    verify(token) {
      if (typeof token !== 'string' || token.length > maxTokenChars) return invalid;
      const macAt = token.length - macChars;
      const claimsAt = token.indexOf('.') + 1;
      if (claimsAt < 2 || claimsAt > 12 || macAt <= claimsAt || token[macAt - 1] !== '.') return invalid;
      const generation = Number.parseInt(token.slice(0, claimsAt - 1), 36);
      const current = generationNow();
      // Written so that NaN is refused.
      if (!(Math.abs(generation - current) <= 1)) return invalid;
      const signed = token.slice(0, macAt - 1);
      // Compared as text: base64url leaves two bits of its last letter unread, and those may not be changed either.
      const mac = Buffer.from(token.slice(macAt));
      if (mac.length !== macChars) return invalid;
      if (!keysOf(generation, current).some((key) => timingSafeEqual(macOf(key, signed), mac))) return invalid;
      // We made it, so it reads back as what `issue` was given.
      const claims = JSON.parse(Buffer.from(signed.slice(claimsAt), 'base64url').toString()) as SessionClaims;
      return deps.clock() >= claims.expiresAtMs ? expired : { ok: true, claims };
    },
  };
}

function macOf(key: Buffer, signed: string): Buffer {
  return Buffer.from(createHmac('sha256', key).update(signed).digest('base64url'));
}
