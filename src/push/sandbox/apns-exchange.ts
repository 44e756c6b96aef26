import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { ApnsFault } from './apns-faults.ts';
import { type ApnsRequest, type ApnsVerdict, tokenOfPath } from './apns-rules.ts';

/** A request of APNs off its stream, and an answer onto it. */

const maxBodyBytes = 65_536;

/** Calls back when all of it has come; of a body that is too long, with its beginning. */
export function readRequest(
  stream: ServerHttp2Stream,
  { headers, raw, connection }: { headers: IncomingHttpHeaders; raw: readonly string[]; connection: number },
  clock: () => number,
  then: (request: ApnsRequest) => void,
): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= maxBodyBytes) chunks.push(chunk);
  });
  stream.once('end', () => {
    const fields: Record<string, string> = {};
    for (const [name, value] of Object.entries(headers)) {
      if (!name.startsWith(':') && value !== undefined) fields[name] = String(value);
    }
    const names = raw.filter((_, i) => i % 2 === 0);
    const path = headers[':path'] ?? '';
    then({
      connection,
      stream: stream.id ?? 0,
      method: headers[':method'] ?? '',
      path,
      token: tokenOfPath(path),
      headers: fields,
      repeated: names.filter((name, i) => names.indexOf(name) < i),
      body: Buffer.concat(chunks).toString(),
      atMs: clock(),
    });
  });
}

export function answer(
  stream: ServerHttp2Stream,
  { headers }: ApnsRequest,
  { status, reason }: ApnsVerdict,
  { amount, timestampMs = 0 }: Partial<ApnsFault> = {},
): void {
  const fields = {
    ':status': status,
    'apns-id': (headers['apns-id'] ?? randomUUID()).toUpperCase(),
    ...(amount === undefined ? {} : { 'retry-after': String(amount) }),
  };
  const body =
    reason === undefined ? '' : JSON.stringify(status === 410 ? { reason, timestamp: timestampMs } : { reason });
  respond(stream, fields, body);
}

/** As of something in front of the service. */
export function answerPage(stream: ServerHttp2Stream, status: number): void {
  const page = `<html><head><title>Error ${status}</title></head><body>${'<p>Sorry.</p>'.repeat(1_000)}</body></html>`;
  respond(stream, { ':status': status, 'content-type': 'text/html' }, page);
}

function respond(stream: ServerHttp2Stream, fields: Record<string, string | number>, body: string): void {
  // Its other side may have gone meanwhile.
  if (stream.closed || stream.destroyed) return;
  if (body === '') stream.respond(fields, { endStream: true });
  else {
    stream.respond(fields);
    stream.end(body);
  }
}
