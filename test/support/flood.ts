import type { Wire } from './wire.ts';

/** More bytes than anything between two ends can hold, to see whether a reader that does not read stops the writer. */

/** Twice what the kernel's buffers of both hops can hold: as a rule up to 32 MB to read and 4 MB to write a socket. */
export const floodBytes = 160_000_000;
export const kernelBytes = 80_000_000;

/** Writes `total` bytes as fast as they are taken; gives how many were. */
export function pour(wire: Wire, total: number): { taken(): number; done: Promise<void> } {
  const piece = Buffer.alloc(65_536, 'x');
  let left = total;
  const done = new Promise<void>((resolve) => {
    const more = (): void => {
      while (left > 0) {
        const now = Math.min(left, piece.length);
        left -= now;
        if (!wire.socket.write(piece.subarray(0, now))) break;
      }
      if (left === 0) resolve();
      else wire.socket.once('drain', more);
    };
    more();
  });
  return { taken: () => total - left - wire.socket.writableLength, done };
}

/** Waits until a count has stood still for a while; gives it. */
export async function standstill(count: () => number): Promise<number> {
  let last = -1;
  let since = performance.now();
  for (;;) {
    const now = count();
    if (now !== last) since = performance.now();
    else if (performance.now() - since > 400) return now;
    last = now;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Reads on without keeping anything. */
export function countBytes(wire: Wire): { until(bytes: number): Promise<void> } {
  let count = 0;
  let wanted: { bytes: number; resolve: () => void } | undefined;
  wire.socket.removeAllListeners('data');
  wire.socket.on('data', (chunk: Buffer) => {
    count += chunk.length;
    if (wanted !== undefined && count >= wanted.bytes) wanted.resolve();
  });
  wire.socket.resume();
  return {
    until: (bytes) =>
      new Promise((resolve) => {
        wanted = { bytes, resolve };
        if (count >= bytes) resolve();
      }),
  };
}
