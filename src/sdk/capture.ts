import { joined } from './transport.ts';

/** Bytes that are being held for all captures of a client together. */
export interface CaptureBudget {
  bytes: number;
  readonly maxBytes: number;
}

export interface CaptureOptions {
  readonly maxBytes: number;
  /** What Content-Length promised, where it counts the bytes that we see; NaN: nothing. */
  readonly expectedBytes: number;
  readonly budget: CaptureBudget;
  /** Called once, before the reader sees the end: the whole body, or why there is none. */
  onEnd(whole: Uint8Array | undefined, why?: 'cut-off' | 'too-large' | 'cancelled', error?: unknown): Promise<void>;
}

/**
 * Receives a body to keep it, while a reader gets it as it comes. Received at the network's pace, not at the reader's, as
 * others may be waiting for it. One that turns out too large is kept no longer; from there on the reader sets the pace.
 * A reader that leaves ends it.
 *
 * @returns the reader's stream; the body is received even if nobody reads it
 */
export function captureBody(source: ReadableStream<Uint8Array>, options: CaptureOptions): ReadableStream<Uint8Array> {
  const { budget, maxBytes, expectedBytes, onEnd } = options;
  const [own, kept] = source.tee();
  const reader = kept.getReader();
  let hasLeft = false;

  async function receive(): Promise<void> {
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        chunks.push(value);
        bytes += value.byteLength;
        budget.bytes += value.byteLength;
        if (bytes > maxBytes || budget.bytes > budget.maxBytes) {
          // The other branch goes on, at its reader's pace.
          leave(reader);
          return await onEnd(undefined, 'too-large');
        }
      }
      if (hasLeft) return await onEnd(undefined, 'cancelled');
      const isCut = expectedBytes >= 0 && expectedBytes !== bytes;
      return await (isCut ? onEnd(undefined, 'cut-off') : onEnd(joined(chunks)));
    } catch (error) {
      return await onEnd(undefined, 'cut-off', error);
    } finally {
      budget.bytes -= bytes;
    }
  }
  const received = receive();

  const ownReader = own.getReader();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await ownReader.read();
        if (!done) return controller.enqueue(value);
        await received;
        controller.close();
      },
      cancel() {
        hasLeft = true;
        // Each settles only when both branches have been cancelled, and rejects when the source has failed already: whoever
        // leaves does not want to know.
        leave(ownReader);
        leave(reader);
      },
    },
    { highWaterMark: 0 },
  );
}

function leave(reader: ReadableStreamDefaultReader): void {
  reader.cancel().catch(() => {});
}
