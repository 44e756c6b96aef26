import { createQalClient as createClient, type QalClient, type QalClientOptions, QalError } from '../index.ts';

/** Redirects that one request follows, as the Fetch standard has it. */
const maxRedirects = 20;
/** Fields that go with the body (Fetch standard, request-body-header name). */
const ofBody = ['Content-Encoding', 'Content-Language', 'Content-Location', 'Content-Type'];
/** Of the body of one of them. */
const maxRedirectBytes = 65_536;

/**
 * `createQalClient` of `qalgate/sdk` with a `fetch` that follows redirects within the origin: Node shows where they lead, so
 * that QAL-Session need not go along elsewhere (`WRONG_ORIGIN`). Each hop has its own place in the cache.
 */
export function createQalClient(options: QalClientOptions): QalClient {
  const client = createClient(options);
  return { ...client, fetch: (input, init) => followRedirects(client.fetch, input, init) };
}

async function followRedirects(
  fetch: QalClient['fetch'],
  input: string | URL | Request,
  init: RequestInit | undefined,
): Promise<Response> {
  const request = input instanceof Request ? input : undefined;
  if ((init?.redirect ?? request?.redirect ?? 'follow') !== 'follow') return fetch(input, init);
  let url = String(request?.url ?? input);
  let hop: RequestInit = { ...(request === undefined ? {} : await initOf(request)), ...init, redirect: 'manual' };
  for (let hops = 0; ; hops += 1) {
    const response = await fetch(url, hop);
    const location = response.headers.get('location');
    if (![301, 302, 303, 307, 308].includes(response.status) || location === null) {
      return hops === 0 ? response : Object.defineProperty(response, 'redirected', { value: true });
    }
    // To its end, as it may be being stored; but of what need not be read no more than a page.
    await readUpTo(response.body, maxRedirectBytes);
    const { status } = response;
    const method = (hop.method ?? 'GET').toUpperCase();
    // Fetch standard, HTTP-redirect fetch
    const asGet = status === 303 ? method !== 'HEAD' : status < 303 && method === 'POST';
    const isUsedUp = hop.body instanceof ReadableStream || Symbol.asyncIterator in Object(hop.body);
    if (hops === maxRedirects || (isUsedUp && !asGet) || !URL.canParse(location, response.url)) {
      throw new QalError('REDIRECT', `${response.url} redirects to ${location}`);
    }
    url = new URL(location, response.url).href;
    if (asGet) {
      const headers = new Headers(hop.headers);
      for (const name of ofBody) headers.delete(name);
      hop = { ...hop, method: 'GET', headers, body: null };
    }
  }
}

async function readUpTo(body: ReadableStream<Uint8Array> | null, maxBytes: number): Promise<void> {
  let bytes = 0;
  // Leaving early cancels the rest.
  for await (const piece of body ?? []) {
    bytes += piece.byteLength;
    if (bytes > maxBytes) return;
  }
}

/** What a Request says, for several requests of the same. */
async function initOf(request: Request): Promise<RequestInit> {
  const { method, headers, signal, cache } = request;
  return { method, headers, signal, cache, ...(request.body === null ? {} : { body: await request.blob() }) };
}
