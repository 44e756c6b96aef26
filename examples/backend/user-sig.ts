/** How an app's backend proves to qalgate who its user is: a UserSig ("TLSSigAPIv2"), in a few lines of Node. */
import { createHmac } from 'node:crypto';
import { deflateSync } from 'node:zlib';

export interface UserSigInput {
  sdkAppId: number;
  identifier: string;
  /** The app's secret: it never leaves the backend. */
  secret: string;
  /** How long it is good, in seconds from `issuedAtSec`. */
  expireSec: number;
  /** Unix seconds. */
  issuedAtSec: number;
}

export function signUserSig({ sdkAppId, identifier, secret, expireSec, issuedAtSec }: UserSigInput): string {
  const signed =
    `TLS.identifier:${identifier}\nTLS.sdkappid:${sdkAppId}\n` + `TLS.time:${issuedAtSec}\nTLS.expire:${expireSec}\n`;
  const document = {
    'TLS.ver': '2.0',
    'TLS.identifier': identifier,
    'TLS.sdkappid': sdkAppId,
    'TLS.time': issuedAtSec,
    'TLS.expire': expireSec,
    'TLS.sig': createHmac('sha256', secret).update(signed).digest('base64'),
  };
  const text = deflateSync(JSON.stringify(document)).toString('base64');
  return text.replaceAll('+', '*').replaceAll('/', '-').replaceAll('=', '_');
}
