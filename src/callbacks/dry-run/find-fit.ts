import { createHmac, createSecretKey, timingSafeEqual } from 'node:crypto';
import { signingKey } from '../endpoint/signing.ts';
import { idReadings, mendedSignatures, type Reading, signaturesOf, timeReadings } from './received-fields.ts';
import { type Original, originalsOf } from './rewritings.ts';

/** What a signature is of. */
export interface Fit {
  /** Place of the key in `secrets`. */
  readonly key: number;
  readonly id: Reading;
  readonly time: Reading;
  readonly original: Original;
  /** How the field of signatures had to be mended. */
  readonly mended: readonly string[];
}

export interface Signed {
  readonly id: string;
  readonly time: string;
  readonly signature: string;
  readonly body: Buffer;
  readonly secrets: readonly string[];
  readonly sent?: { readonly id: string; readonly body: string };
}

/** The first combination of key, id, time and body that a signature fits; what stands there comes first. Pure. */
export function findFit({ id, time, signature, body, secrets, sent }: Signed): Fit | undefined {
  const ids = idReadings(id);
  if (sent !== undefined && !ids.some(({ text }) => text === sent.id)) {
    ids.push({ text: sent.id, how: `${JSON.stringify(sent.id)} was sent` });
  }
  const times = timeReadings(time);
  const strict = bytesOf(signaturesOf(signature));
  const { signatures, how } = mendedSignatures(signature);
  const mended = bytesOf(signatures);
  const keys = secrets.map((secret) => createSecretKey(signingKey(secret)));
  const fitOf = (original: Original, oneId: Reading, oneTime: Reading): Fit | undefined => {
    for (const [key, bytes] of keys.entries()) {
      const hmac = createHmac('sha256', bytes).update(`${oneId.text}.${oneTime.text}.`).update(original.bytes);
      const expected = Buffer.from(`v1,${hmac.digest('base64')}`);
      const found = { key, id: oneId, time: oneTime, original };
      if (strict.some((one) => isEqual(one, expected))) return { ...found, mended: [] };
      if (mended.some((one) => isEqual(one, expected))) return { ...found, mended: how };
    }
    return undefined;
  };
  // Our own record comes last: what is found before it says how the body came to be what it is.
  const originals = originalsOf(body);
  const recorded = sent === undefined ? [] : [{ bytes: Buffer.from(sent.body) }];
  const [firstId] = ids;
  const [firstTime] = times;
  if (firstId === undefined || firstTime === undefined) return undefined;
  for (const original of [...originals, ...recorded]) {
    const fit = fitOf(original, firstId, firstTime);
    if (fit !== undefined) return fit;
  }
  // What was done to id or time is not likely to come with what is rare of a body: all with all would take long.
  for (const original of [...originals.slice(0, 4), ...recorded]) {
    for (const oneId of ids) {
      for (const oneTime of times) {
        const fit = fitOf(original, oneId, oneTime);
        if (fit !== undefined) return fit;
      }
    }
  }
  return undefined;
}

const bytesOf = (texts: readonly string[]): Buffer[] => texts.map((text) => Buffer.from(text));

function isEqual(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
