/** How much one read of an upstream connection takes at most. */
const readBytes = 65_536;
/** Free buffers kept: up to 16 MiB of warm memory. */
const maxFree = 256;

/**
 * A buffer that a connection reads into and that others may keep for a while without copying. It goes back to the free
 * ones when nobody holds it. A holder that never releases it costs that buffer, nothing else: it is then collected.
 */
export class ReadBuffer {
  readonly bytes: Buffer = Buffer.allocUnsafeSlow(readBytes);
  holders = 1;
  #free: ReadBuffer[];

  constructor(free: ReadBuffer[]) {
    this.#free = free;
  }

  /** Bound, so that it can be handed out as the callback of a write. */
  readonly release = (): void => {
    this.holders -= 1;
    if (this.holders === 0 && this.#free.length < maxFree) this.#free.push(this);
  };
}

export interface ReadBuffers {
  /** A buffer with one holder, the caller. */
  acquire(): ReadBuffer;
}

export function createReadBuffers(): ReadBuffers {
  const free: ReadBuffer[] = [];
  return {
    acquire() {
      const buffer = free.pop();
      if (buffer === undefined) return new ReadBuffer(free);
      buffer.holders = 1;
      return buffer;
    },
  };
}

/**
 * The reading side of one connection: always a buffer that nobody else holds for the next read. Reads are the bulk of
 * what a proxy does; with fresh memory for each, allocation and collection cost more than the copying in the kernel.
 */
export class ConnectionReads {
  #buffers: ReadBuffers;
  #current: ReadBuffer | undefined;

  constructor(buffers: ReadBuffers) {
    this.#buffers = buffers;
  }

  /** The memory for the next read; asked for by the socket before each. */
  next(): Buffer {
    if (this.#current !== undefined && this.#current.holders > 1) this.close();
    this.#current ??= this.#buffers.acquire();
    return this.#current.bytes;
  }

  /** Holds what the last read filled until the function given back is called. */
  hold(): () => void {
    const current = this.#current;
    if (current === undefined) return () => {};
    current.holders += 1;
    return current.release;
  }

  close(): void {
    this.#current?.release();
    this.#current = undefined;
  }
}
