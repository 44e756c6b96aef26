/** What several routes need of a request and its answer. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { readRawBody } from '../../src/sdk/backend/index.ts';

const bodyMs = 5_000;

/** Browsers say where a request comes from; what says nothing is no page. */
export function isSameOrigin({ headers }: IncomingMessage): boolean {
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin') return false;
  return headers.origin === undefined || URL.parse(headers.origin)?.host === headers.host;
}

export function isJson({ headers }: IncomingMessage): boolean {
  return /^application\/json\s*(?:;|$)/i.test(headers['content-type'] ?? '');
}

/** Undefined: it is too long. Rejects when it takes too long. */
export function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer | undefined> {
  return readRawBody(request, { maxBytes, timeoutMs: bodyMs });
}

/** A field of a JSON object; undefined: it is none, or has no such field. */
export function fieldOf(body: Buffer, name: string): unknown {
  try {
    const value: unknown = JSON.parse(body.toString());
    return (Object(value) as Record<string, unknown>)[name];
  } catch {
    return undefined;
  }
}

export function sendJson(
  response: ServerResponse,
  status: number,
  value: object,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store', ...headers });
  response.end(`${JSON.stringify(value)}\n`);
}
