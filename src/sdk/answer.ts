import { ageOf, type CacheStatus, formatCacheStatus } from '../cache/core/index.ts';
import type { NetworkAnswer } from './fill.ts';
import { type ClientRequest, headersOf } from './request.ts';
import type { Variant } from './variant.ts';

/** Our name in Cache-Status (RFC 9211 §2). */
const cacheName = 'qal-sdk';

/** Statuses that a Response must be made without a body for. */
const isBodyless = (status: number): boolean => status === 204 || status === 205 || status === 304;

function makeResponse(
  { url }: ClientRequest,
  body: RequestInit['body'],
  status: number,
  statusText: string,
  headers: Headers,
  network?: Response,
): Response {
  const response = new Response(isBodyless(status) ? null : (body ?? null), { status, statusText, headers });
  // What the constructor gives no way to set.
  return Object.defineProperties(response, {
    url: { value: network?.url || url },
    redirected: { value: network?.redirected === true, configurable: true },
  });
}

function addStatus(headers: Headers, status: CacheStatus): void {
  headers.append('Cache-Status', formatCacheStatus(cacheName, status));
}

/** The network's answer, with its body as we read it, and why it comes from there (C13). */
export function answerFromNetwork(
  { exchange: { response, body }, captured }: NetworkAnswer,
  request: ClientRequest,
  status: CacheStatus | undefined,
): Response {
  // An answer that the browser hides, or that a Response cannot be made for: as it is.
  if (response.status < 200 || response.status > 599) return response;
  const headers = new Headers(response.headers);
  if (status !== undefined) addStatus(headers, status);
  return makeResponse(request, captured ?? body, response.status, response.statusText, headers, response);
}

/** A stored response as the answer to a request: whole, or its head (C1). */
export function answerFromStore(
  { body, raw, policy, status: code, statusText }: Variant,
  request: ClientRequest,
  status: CacheStatus,
  nowMs: number,
): Response {
  const headers = headersOf(raw);
  headers.set('Age', String(Math.floor(ageOf(policy, nowMs) / 1_000)));
  addStatus(headers, status);
  if (!headers.has('content-encoding') && !isBodyless(code)) headers.set('Content-Length', String(body.byteLength));
  // The constructor copies: nobody can change what is stored.
  const whole = request.method === 'HEAD' ? null : (body as Uint8Array<ArrayBuffer>);
  return makeResponse(request, whole, code, statusText, headers);
}
