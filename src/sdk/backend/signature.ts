import { createHmac, timingSafeEqual } from 'node:crypto';

/** Standard Webhooks, symmetric signatures: HMAC-SHA256 of `id.timestamp.body`, in base64 behind `v1,`. */

const secretForm = /^(?:whsec_)?([A-Za-z0-9+/]+)={0,2}$/;

/** The key that a secret stands for; undefined: it is none. Total: any input. */
export function readKey(secret: unknown): Buffer | undefined {
  const digits = typeof secret === 'string' ? secretForm.exec(secret)?.[1] : undefined;
  // One digit over four is no byte.
  return digits === undefined || digits.length % 4 === 1 ? undefined : Buffer.from(digits, 'base64');
}

export function signatureOf(key: Buffer, id: string, timestamp: string, body: string | Uint8Array): string {
  const hmac = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body);
  return `v1,${hmac.digest('base64')}`;
}

/** Whether one of the given signatures is one of the expected. How long it takes depends on their numbers alone. */
export function matchesAny(given: readonly string[], expected: readonly string[]): boolean {
  const wanted = expected.map((text) => Buffer.from(text));
  let matches = false;
  for (const text of given) {
    const bytes = Buffer.from(text);
    for (const one of wanted) {
      // Lengths are no secret. As text: base64 can be written in several ways, and only one of them is signed.
      if (bytes.length === one.length && timingSafeEqual(bytes, one)) matches = true;
    }
  }
  return matches;
}
