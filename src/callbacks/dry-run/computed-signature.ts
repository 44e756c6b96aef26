import { createHmac } from 'node:crypto';
import { signingKey } from '../endpoint/signing.ts';

/** What a backend that computed this signed, and how; undefined: none of the usual ways leads there. Pure. */
export interface ComputedBy {
  /** The secret that was used. */
  readonly secret: string;
  /** What is not as it should be, each the end of a sentence; empty: it is the right signature. */
  readonly mistakes: readonly string[];
}

export interface ComputedOf {
  readonly id: string;
  readonly timestamp: string;
  readonly body: Buffer;
  readonly secrets: readonly string[];
}

/** Finds out how a backend came to the signature that it computed itself. @param computed as it noted it down */
export function explainComputed(
  computed: string,
  { id, timestamp, body, secrets }: ComputedOf,
): ComputedBy | undefined {
  const given = computed.trim().replace(/^v1[,=]/, '');
  const hex = /^[0-9A-F]+$/.test(given) ? given.toLowerCase() : given;
  const prefix = (text: string) => Buffer.from(text);
  const payloads: [string | undefined, Buffer][] = [
    [undefined, prefix(`${id}.${timestamp}.`)],
    ['the id is missing in what was signed', prefix(`${timestamp}.`)],
    ['id and time are missing in what was signed', prefix('')],
    ['the time is missing in what was signed', prefix(`${id}.`)],
    ['time and id are the wrong way round in what was signed', prefix(`${timestamp}.${id}.`)],
    ['the dots are missing in what was signed', prefix(`${id}${timestamp}`)],
    ['the time is in milliseconds in what was signed', prefix(`${id}.${timestamp}000.`)],
  ];
  for (const secret of secrets) {
    const bare = secret.replace(/^whsec_/, '');
    const keys: [string | undefined, Buffer][] = [
      [undefined, signingKey(secret)],
      ['the secret was used as text: what stands behind `whsec_` is base64 and has to be decoded', Buffer.from(bare)],
      [
        'the secret was used as text, `whsec_` included: what stands behind it is base64 and has to be decoded',
        Buffer.from(secret),
      ],
      ['`whsec_` was decoded as if it were base64, too', Buffer.from(secret, 'base64')],
    ];
    for (const [ofKey, key] of keys) {
      for (const [ofPayload, head] of payloads) {
        for (const algorithm of ofPayload === undefined ? ['sha256', 'sha1', 'sha512'] : ['sha256']) {
          const digest = createHmac(algorithm, key).update(head).update(body).digest();
          const encodings: [string | undefined, string][] = [
            [undefined, digest.toString('base64')],
            ['it is in hexadecimal instead of base64', digest.toString('hex')],
            ['it is in the base64 for URLs', digest.toString('base64url')],
            ['the `=` at the end of the base64 is missing', digest.toString('base64').replace(/=+$/, '')],
            ['it is base64 of the hexadecimal text', Buffer.from(digest.toString('hex')).toString('base64')],
          ];
          const found = encodings.find(([, text]) => text === given || text === hex);
          if (found === undefined) continue;
          const ofAlgorithm =
            algorithm === 'sha256' ? undefined : `it is HMAC-${algorithm.toUpperCase()} instead of HMAC-SHA256`;
          const mistakes = [ofKey, ofPayload, ofAlgorithm, found[0]].filter((one) => one !== undefined);
          return { secret, mistakes };
        }
      }
    }
  }
  return undefined;
}
