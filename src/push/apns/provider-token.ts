import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';

/** Provider tokens of APNs (PUSH §1.3): how one is made, and when which is used. Pure. */

/** By which tokens are signed. */
export interface ProviderKey {
  readonly teamId: string;
  readonly keyId: string;
  /** PEM. */
  readonly key: string;
}

export interface ProviderToken {
  /** The JWT. */
  readonly text: string;
  readonly issuedMs: number;
}

/** What is known of a key's token. */
export interface TokenState {
  readonly token: ProviderToken | undefined;
  /** APNs said that tokens change too often: none is made until then. */
  readonly heldUntilMs: number;
}

/** `use` the one that there is, `mint` a new one, or there is none to be had for that long. */
export type TokenStep = 'use' | 'mint' | { readonly waitMs: number };

const minMs = 60_000;
/** APNs takes a token for an hour, and another one of the same key no sooner than after twenty minutes. */
const lifeMs = 60 * minMs;
export const betweenMs = 20 * minMs;
/** 45 ± 2 minutes. Of the token itself, so that all processes change at the same moment. */
const dueFromMs = 43 * minMs;
const dueSpreadMs = 4 * minMs;
/** What clocks of processes differ by; a token from further ahead is of a clock that has been put back. */
const aheadMs = minMs;

/** When it is time for the next one. */
export function dueMs({ issuedMs }: ProviderToken): number {
  return issuedMs + dueFromMs + (issuedMs % dueSpreadMs);
}

/** Whether APNs can be expected to take it. */
export function isUsable({ issuedMs }: ProviderToken, nowMs: number): boolean {
  return nowMs - issuedMs < lifeMs - minMs && issuedMs <= nowMs + aheadMs;
}

/** @param expired text of a token that APNs has called expired */
export function nextStep({ token, heldUntilMs }: TokenState, nowMs: number, expired: string | undefined): TokenStep {
  if (token === undefined || token.issuedMs > nowMs + aheadMs) return 'mint';
  const isGood = token.text !== expired && isUsable(token, nowMs);
  if (isGood && nowMs < dueMs(token)) return 'use';
  // A hold from further ahead is of a clock that has been put back, too.
  const held = heldUntilMs - nowMs > betweenMs ? 0 : heldUntilMs;
  const mayMintMs = Math.max(token.issuedMs + betweenMs, held);
  if (nowMs >= mayMintMs) return 'mint';
  return isGood ? 'use' : { waitMs: mayMintMs - nowMs };
}

/** @throws Error when the key is none of EC */
export function mintProviderToken({ teamId, keyId, key }: ProviderKey, nowMs: number): ProviderToken {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: 'ES256', kid: keyId })}.${part({ iss: teamId, iat: Math.floor(nowMs / 1_000) })}`;
  const signature = sign('sha256', Buffer.from(signed), { key: createPrivateKey(key), dsaEncoding: 'ieee-p1363' });
  return { text: `${signed}.${signature.toString('base64url')}`, issuedMs: nowMs };
}

/** Names the key itself: what another one has signed under the same id is of no use. Tells nothing about it. */
export function keyFingerprint(key: string): string {
  const publicKey: KeyObject = createPublicKey(createPrivateKey(key));
  return createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex')
    .slice(0, 16);
}
