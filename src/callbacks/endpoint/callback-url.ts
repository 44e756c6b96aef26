import type { CallbackCommand, CallbackOrigin, SdkAppId } from '../../wire/index.ts';

/** What the query says of a callback (API reference §10.1). */
export interface CallbackQuery {
  readonly sdkAppId: SdkAppId;
  readonly command: CallbackCommand;
  readonly origin: CallbackOrigin;
  /** The vendor's own signature, where the app has a token for it. */
  readonly sign?: { readonly sign: string; readonly requestTimeSec: number };
}

/** A configured URL, taken apart once. */
export interface CallbackTarget {
  /** `https://host[:port]`; the host of `http://2130706433` is `127.0.0.1`. */
  readonly origin: string;
  readonly isSecure: boolean;
  /** Without the brackets of an IPv6 address. */
  readonly host: string;
  readonly port: number;
  /** Path and query, and what joins a further parameter to them. */
  readonly base: string;
}

/** Takes a configured URL apart, as the URL standard reads it. Throws on what is none. Pure. */
export function parseCallbackUrl(text: string): CallbackTarget {
  const url = new URL(text);
  const isSecure = url.protocol === 'https:';
  if (!isSecure && url.protocol !== 'http:') throw new TypeError('is neither http nor https');
  const { hostname, pathname, search } = url;
  // A bare `?` at the end is no query to the standard, and stands here as the one that we write.
  const joint = search === '' ? '?' : search.endsWith('&') ? '' : '&';
  return {
    origin: url.origin,
    isSecure,
    host: hostname.startsWith('[') ? hostname.slice(1, -1) : hostname,
    port: url.port === '' ? (isSecure ? 443 : 80) : Number(url.port),
    base: `${pathname}${search}${joint}`,
  };
}

/** Path and query of one callback: the configured ones and ours behind them. Pure. */
export function callbackPath({ base }: CallbackTarget, { sdkAppId, command, origin, sign }: CallbackQuery): string {
  const address = origin.address === '' ? '' : encodeURIComponent(origin.address.toWellFormed());
  const path = `${base}SdkAppid=${sdkAppId}&CallbackCommand=${command}&contenttype=json&ClientIP=${address}&OptPlatform=${origin.platform}`;
  return sign === undefined ? path : `${path}&Sign=${sign.sign}&RequestTime=${sign.requestTimeSec}`;
}
