import type { RawFields } from '../cache/core/index.ts';
import { QalError } from './error.ts';

export type CacheMode = 'default' | 'no-store' | 'reload' | 'no-cache' | 'force-cache' | 'only-if-cached';

/** A request as the caller means it, read once; nothing in it is used up by sending it. */
export interface ClientRequest {
  readonly method: string;
  /** Absolute, of the origin of `baseUrl`, without fragment. */
  readonly url: string;
  /** The caller's, without those that are not the caller's to send. */
  readonly headers: Headers;
  /** The same as names and values. */
  readonly raw: RawFields;
  readonly body: NonNullable<RequestInit['body']> | undefined;
  /** The body is a stream: it can be sent once. */
  readonly sendsOnce: boolean;
  readonly cacheMode: CacheMode;
  readonly redirect: 'follow' | 'error' | 'manual';
  readonly signal: AbortSignal | undefined;
  /** What the underlying fetch gets besides. */
  readonly init: RequestInit;
}

/**
 * What a caller cannot set: what begins with QAL is the server's to write, in whatever spelling (A11), and what frames the
 * message is the platform's. Browsers leave out more of what the Fetch standard forbids by themselves; Node lets it pass.
 */
const forbidden =
  /^(?:qal[-_].*|proxy-.*|connection|content-length|expect|host|keep-alive|te|trailer|transfer-encoding|upgrade|via)$/;

/**
 * Reads the arguments of `client.fetch`.
 * @throws QalError `WRONG_ORIGIN` or `INVALID_ARGUMENT`; TypeError for malformed headers, as fetch does
 */
export async function readRequest(
  input: string | URL | Request,
  init: RequestInit = {},
  baseUrl: URL,
): Promise<ClientRequest> {
  const request = input instanceof Request ? input : undefined;
  const { href: url } = resolveUrl(request?.url ?? String(input), baseUrl);
  const method = init.method ?? request?.method ?? 'GET';
  const headers = new Headers(init.headers ?? request?.headers);
  for (const name of [...headers.keys()]) if (forbidden.test(name)) headers.delete(name);
  let body = init.body ?? undefined;
  // A Request can be read once: what is in it is kept, in case that it has to be sent again.
  if (body === undefined && request !== undefined && request.body !== null) body = await request.blob();
  return {
    // As fetch does it.
    method: /^(?:delete|get|head|options|post|put)$/i.test(method) ? method.toUpperCase() : method,
    url,
    headers,
    raw: rawFields(headers),
    body,
    sendsOnce: body instanceof ReadableStream || Symbol.asyncIterator in Object(body),
    cacheMode: init.cache ?? request?.cache ?? 'default',
    redirect: init.redirect ?? request?.redirect ?? 'follow',
    signal: init.signal ?? request?.signal ?? undefined,
    init: { credentials: request?.credentials ?? 'same-origin', ...init },
  };
}

/** The absolute URL, without its fragment. @throws QalError */
export function resolveUrl(input: string, baseUrl: URL): URL {
  const url = URL.parse(input, baseUrl.href);
  if (url === null || url.username + url.password !== '') {
    throw new QalError('INVALID_ARGUMENT', `not a URL to fetch: ${input}`);
  }
  if (url.origin !== baseUrl.origin) {
    throw new QalError('WRONG_ORIGIN', `not of ${baseUrl.origin}: ${url.origin}`);
  }
  url.hash = '';
  return url;
}

/** The fields as names and values, in lower case. */
export function rawFields(headers: Headers): string[] {
  const raw: string[] = [];
  headers.forEach((value, name) => {
    raw.push(name, value);
  });
  return raw;
}

/** The other way round. @throws TypeError for what no field can be */
export function headersOf(raw: RawFields): Headers {
  const headers = new Headers();
  for (let i = 0; i < raw.length; i += 2) headers.append(raw[i] ?? '', raw[i + 1] ?? '');
  return headers;
}

/**
 * A redirect that nobody has followed, and that the caller did not ask to see. @throws QalError
 * Only the browser follows them, within the page's origin (sender.ts); and `qalgate/sdk/node`.
 */
export function refuseRedirect({ redirect, url }: ClientRequest, response: Response): void {
  const { type, status, headers } = response;
  const isOne = type === 'opaqueredirect' || (status >= 301 && status <= 308 && headers.has('location'));
  if (!isOne || redirect === 'manual') return;
  response.body?.cancel();
  throw new QalError('REDIRECT', `${url} redirects`);
}
