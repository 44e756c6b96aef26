import { createHash, createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { callbackFields } from '../../wire/index.ts';
import { keyFingerprint } from '../key-fingerprint.ts';

const secretPrefix = 'whsec_';
/** Keys that stay decoded. */
const maxKeys = 10_000;

/** Makes the fields of Standard Webhooks; keeps the decoded keys. */
export interface Signer {
  /**
   * The three fields that name, date and sign a body: `v1,` and HMAC-SHA256 of `id.timestamp.body` in base64, one for each
   * secret in their order, which is newest first.
   */
  sign(secrets: readonly string[], id: string, timestampSec: number, body: string | Buffer): Record<string, string>;
  /** Stands for a secret where it must not be shown. */
  fingerprintOf(secret: string): string;
}

export function createSigner(): Signer {
  const keys = new LRUCache<string, { key: KeyObject; fingerprint: string }>({ max: maxKeys });

  const keyOf = (secret: string) => {
    let known = keys.get(secret);
    if (known === undefined) {
      known = { key: createSecretKey(signingKey(secret)), fingerprint: keyFingerprint(secret) };
      keys.set(secret, known);
    }
    return known;
  };

  return {
    sign(secrets, id, timestampSec, body) {
      const head = `${id}.${timestampSec}.`;
      let signature = '';
      for (const secret of secrets) {
        const digest = createHmac('sha256', keyOf(secret).key).update(head).update(body).digest('base64');
        signature += signature === '' ? `v1,${digest}` : ` v1,${digest}`;
      }
      return {
        [callbackFields.id]: id,
        [callbackFields.timestamp]: String(timestampSec),
        [callbackFields.signature]: signature,
      };
    },
    fingerprintOf: (secret) => keyOf(secret).fingerprint,
  };
}

/** The bytes of a secret: base64 behind `whsec_`. Pure. */
export function signingKey(secret: string): Buffer {
  return Buffer.from(secret.startsWith(secretPrefix) ? secret.slice(secretPrefix.length) : secret, 'base64');
}

/** `Sign` of the vendor's own signature, API reference §10.1 (d). Pure. */
export function vendorSign(token: string, requestTimeSec: number): string {
  return createHash('sha256').update(`${token}${requestTimeSec}`).digest('hex');
}
