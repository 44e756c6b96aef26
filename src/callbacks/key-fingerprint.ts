import { createHmac } from 'node:crypto';

/** Twelve characters that name a key which signs callbacks, and tell nothing of it. */
export function keyFingerprint(secret: string): string {
  return createHmac('sha256', secret).update('qalgate callback key id').digest('base64url').slice(0, 12);
}
