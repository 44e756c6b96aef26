import { createDeadline, type Deadline } from './deadline.ts';
import { QalError } from './error.ts';

export type Fetch = (input: string, init?: RequestInit) => Promise<Response>;

/** A response whose head is there, and its body: with a deadline on each read, and only errors that are ours. */
export interface Exchange {
  readonly response: Response;
  /** Null: it has none. */
  readonly body: ReadableStream<Uint8Array> | null;
  /** Ends it without the rest of the body. */
  abort(): void;
}

/**
 * One request over the network. @param silenceMs how long the server may send nothing
 * @throws QalError `NETWORK` or `TIMEOUT`, or the reason of the caller's signal
 */
export async function exchange(
  fetch: Fetch,
  url: string,
  init: RequestInit,
  silenceMs: number,
  signal: AbortSignal | undefined,
): Promise<Exchange> {
  const deadline = createDeadline(signal);
  deadline.start(silenceMs, 'the answer');
  try {
    deadline.signal.throwIfAborted();
    const response = await fetch(url, { ...init, signal: deadline.signal });
    deadline.stop();
    const body = response.body && readable(response.body, deadline, silenceMs);
    if (body === null) deadline.release();
    return { response, body, abort: () => deadline.abort() };
  } catch (error) {
    deadline.release();
    throw errorOf(error, deadline);
  }
}

function errorOf(cause: unknown, { signal }: Deadline): unknown {
  return signal.aborted ? signal.reason : new QalError('NETWORK', 'the network failed', { cause });
}

/** The body, read only as far as its reader reads. */
function readable(
  source: ReadableStream<Uint8Array>,
  deadline: Deadline,
  silenceMs: number,
): ReadableStream<Uint8Array> {
  const reader = source.getReader();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        deadline.start(silenceMs, 'the answer');
        try {
          const { done, value } = await reader.read();
          deadline.stop();
          if (!done) return controller.enqueue(value);
          controller.close();
        } catch (error) {
          controller.error(errorOf(error, deadline));
        }
        deadline.release();
      },
      async cancel(reason) {
        deadline.abort(reason);
        await reader.cancel(reason).catch(() => {});
      },
    },
    { highWaterMark: 0 },
  );
}

/** Reads a body that is expected to be small. Undefined: it is larger than the limit. */
export async function readSmall(
  body: ReadableStream<Uint8Array> | null,
  maxBytes: number,
): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const reader = (body ?? noBody()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return joined(chunks);
    bytes += value.byteLength;
    if (bytes > maxBytes) {
      await reader.cancel();
      return undefined;
    }
    chunks.push(value);
  }
}

/** What stands for none. */
export function noBody(): ReadableStream<Uint8Array> {
  return new Blob([]).stream();
}

export function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(chunks.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.byteLength;
  }
  return whole;
}
