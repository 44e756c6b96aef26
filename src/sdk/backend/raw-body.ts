import type { IncomingMessage } from 'node:http';

/**
 * The body of a request, as its bytes came: what a signature is over. Undefined: it is longer than `maxBytes`; the request is open
 * still, so that the refusal can be said. Rejects when it does not come to its end within `timeoutMs`, or its client goes away.
 */
export async function readRawBody(
  request: IncomingMessage,
  { maxBytes, timeoutMs }: { maxBytes: number; timeoutMs: number },
): Promise<Buffer | undefined> {
  const timer = setTimeout(() => request.destroy(), timeoutMs);
  const parts: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const part of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += part.length;
      if (bytes > maxBytes) return undefined;
      parts.push(part);
    }
    return Buffer.concat(parts);
  } finally {
    clearTimeout(timer);
  }
}
