import { sessionHeader } from '../wire/index.ts';
import type { Identity } from './identity.ts';
import type { QalLimits } from './limits.ts';
import type { ClientRequest } from './request.ts';
import type { Sessions } from './sessions.ts';
import { type Exchange, exchange, type Fetch } from './transport.ts';

/** Sends a request with the session of an identity. */
export type Send = (
  identity: Identity,
  request: ClientRequest,
  fields: Record<string, string | undefined>,
) => Promise<Exchange>;

export function createSender(
  deps: { readonly fetch: Fetch; readonly sessions: Sessions },
  options: Pick<QalLimits, 'silenceTimeoutMs'> & { readonly isSameOriginPage: boolean },
): Send {
  const { fetch, sessions } = deps;
  const { silenceTimeoutMs, isSameOriginPage } = options;

  return async (identity, request, fields) => {
    const { signal } = request;
    for (let attempt = 1; ; attempt += 1) {
      const token = await sessions.token(identity, signal);
      const init = initOf(request, { ...fields, [sessionHeader]: token.value }, isSameOriginPage);
      const sent = await exchange(fetch, request.url, init, silenceTimeoutMs, signal);
      // The access service's own 401, by which it names the way to authenticate (RFC 9110 §11.6.1), is about the session.
      const { status, headers } = sent.response;
      if (status !== 401 || headers.get('www-authenticate') !== sessionHeader) return sent;
      sessions.reject(identity, token.value, attempt === 2);
      if (attempt === 2 || request.sendsOnce) return sent;
      // It refuses before it forwards: nothing has happened yet, so even a POST may be sent again.
      sent.abort();
    }
  };
}

function initOf(
  request: ClientRequest,
  fields: Record<string, string | undefined>,
  isSameOriginPage: boolean,
): RequestInit {
  const headers = new Headers(request.headers);
  for (const [name, value] of Object.entries(fields)) if (value) headers.set(name, value);
  if (!headers.has('cache-control')) {
    // `no-store` below makes browsers and Node add `Cache-Control: no-cache`, which would have every cache on the way ask
    // the backend, unless the field is there: empty, it says nothing.
    headers.set('Cache-Control', /^no-|reload/.test(request.cacheMode) ? 'no-cache' : '');
    if (!headers.has('pragma')) headers.set('Pragma', '');
  }
  return {
    ...request.init,
    method: request.method,
    headers,
    body: request.body ?? null,
    // Ours is the cache.
    cache: 'no-store',
    // QAL-Session must not follow a redirect elsewhere: a page of the same origin leaves them to the browser, which then stays
    // within it; else they are refused.
    ...(isSameOriginPage ? { mode: 'same-origin', redirect: request.redirect } : { redirect: 'manual' }),
  };
}
