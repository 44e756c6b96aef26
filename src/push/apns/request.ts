import type { Sendable } from '../provider.ts';
import type { ProviderToken } from './provider-token.ts';

/** As all tokens are; another one is for APNs to judge, but must not become another path. */
const plainToken = /^[0-9A-Za-z]+$/;

/** The fields of a request to APNs (PUSH §1.1); undefined: they cannot be sent as they are. `token` undefined: a certificate says who we are. Pure. */
export function headersOf(
  { token: device, headers }: Sendable,
  token: ProviderToken | undefined,
): Record<string, string> | undefined {
  // Node would send other text as something else.
  for (const name in headers) if (/[^\x20-\x7e]/.test(headers[name] as string)) return undefined;
  return {
    ':method': 'POST',
    ':path': `/3/device/${plainToken.test(device) ? device : encodeURIComponent(device.toWellFormed())}`,
    ...(token === undefined ? {} : { authorization: `bearer ${token.text}` }),
    ...headers,
  };
}
