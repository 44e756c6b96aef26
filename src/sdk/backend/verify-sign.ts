import { createHash, timingSafeEqual } from 'node:crypto';

export interface VerifySignInput {
  /** `callbacks.signToken` as configured for the app; several while it changes. */
  token: string | readonly string[];
  /** Of the URL that was called: `url.searchParams`, its text (`a=1&b=2`, with or without `?`), or what a framework made of it. */
  query: string | URLSearchParams | Readonly<Record<string, unknown>>;
  /** How far our clock and the service's may be apart, either way; default 60 s. */
  toleranceSec?: number;
  /** Milliseconds since the epoch; default `Date.now`. */
  now?: () => number;
}

export type SignFailure =
  | 'TOKEN_MISSING'
  | 'PARAMETER_MISSING'
  | 'PARAMETER_MALFORMED'
  | 'SIGN_MISMATCH'
  | 'TIME_TOO_OLD'
  | 'TIME_TOO_NEW';

export type SignVerified =
  | { readonly ok: true /** Unix seconds. */; readonly requestTime: number }
  | { readonly ok: false; readonly code: SignFailure; readonly reason: string };

/**
 * The vendor's own check, for backends that have it: `Sign` is hex(sha256(token + RequestTime)). It proves that the sender knows
 * the token and says nothing of the body: whoever sees one call can send other bodies for a minute. Prefer `verifyCallback`.
 * Never throws.
 */
export function verifySign({ token, query, toleranceSec = 60, now = Date.now }: VerifySignInput): SignVerified {
  const refused = (code: SignFailure, reason: string): SignVerified => ({ ok: false, code, reason });
  const tokens = [token].flat();
  if (tokens.length === 0 || !tokens.every((one) => typeof one === 'string' && one !== '')) {
    return refused('TOKEN_MISSING', 'there is no token to check with');
  }
  const [sign, time] = [parameter(query, 'Sign'), parameter(query, 'RequestTime')];
  if (sign === undefined) return refused('PARAMETER_MISSING', 'there is no parameter Sign');
  if (time === undefined) return refused('PARAMETER_MISSING', 'there is no parameter RequestTime');
  if (typeof sign !== 'string' || !/^[0-9a-f]{64}$/i.test(sign)) {
    return refused('PARAMETER_MALFORMED', 'Sign must stand once, as 64 hexadecimal digits');
  }
  if (typeof time !== 'string' || !/^[0-9]{1,12}$/.test(time)) {
    return refused('PARAMETER_MALFORMED', 'RequestTime must stand once, as Unix time');
  }
  const given = Buffer.from(sign, 'hex');
  let matches = false;
  for (const one of tokens) {
    const expected = createHash('sha256').update(`${one}${time}`).digest();
    if (timingSafeEqual(given, expected)) matches = true;
  }
  if (!matches) return refused('SIGN_MISMATCH', 'Sign was made with another token, or RequestTime was changed');
  const requestTime = Number(time);
  const ageSec = Math.floor(now() / 1_000) - requestTime;
  if (!(ageSec <= toleranceSec)) return refused('TIME_TOO_OLD', `it was sent ${ageSec} s ago by our clock`);
  if (!(-ageSec <= toleranceSec)) return refused('TIME_TOO_NEW', `it was sent ${-ageSec} s ahead of our clock`);
  return { ok: true, requestTime };
}

/** Total: any input. Several values of one name are no text. */
function parameter(query: unknown, name: string): unknown {
  if (typeof query === 'string') return parameter(new URLSearchParams(query), name);
  if (query instanceof URLSearchParams) {
    const values = query.getAll(name);
    return values.length > 1 ? values : values[0];
  }
  return typeof query === 'object' && query !== null && Object.hasOwn(query, name)
    ? (query as Record<string, unknown>)[name]
    : undefined;
}
