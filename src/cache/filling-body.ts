import type { ErrorCode } from '../wire/index.ts';

/** Bytes that a reader is handed at once. */
const maxPieceBytes = 262_144;
/** Memory of a body of unknown length at first. */
export const firstCapacity = 16_384;

/** Where the bytes come from: can be told to wait. */
export interface BodySource {
  pause(): void;
  resume(): void;
}

/**
 * A body that is arriving, and those who read it meanwhile, each at his own pace: nobody waits for another (C11).
 *
 * While it may be stored all of it is kept, so its source never waits either. Once it is `windowed`, because it outgrew
 * what may be stored, only what somebody has still to read is kept; when that is more than the window the source waits
 * for the slowest reader, who has a deadline of his own.
 *
 * Bytes that were handed out never change: a buffer is only appended to, and a larger one is a copy.
 */
export class FillingBody {
  /** Bytes received so far. */
  bytes = 0;
  /** Fields behind the body, once it is complete. */
  trailers: readonly string[] = [];
  state: 'filling' | 'complete' | 'failed' = 'filling';
  /** Why it failed. */
  failure: { readonly code: ErrorCode; readonly reason: string } | undefined;
  #buffer: Buffer;
  /** Position in the body of the buffer's first byte; moves only when windowed. */
  #start = 0;
  #readers = new Set<BodyReader>();
  #window: { bytes: number; source: BodySource; paused: boolean } | undefined;

  /** @param lengthBytes of the whole body, where it is known */
  constructor(lengthBytes: number | undefined) {
    this.#buffer = Buffer.allocUnsafeSlow(lengthBytes ?? firstCapacity);
  }

  /** Memory that it takes now. */
  get capacity(): number {
    return this.#buffer.length;
  }

  get readers(): number {
    return this.#readers.size;
  }

  /** Appends a copy of the piece. Readers are told by {@link wake}. */
  push(piece: Buffer): void {
    if (this.#window !== undefined && this.#readers.size === 0) {
      this.bytes += piece.length;
      this.#start = this.bytes;
      return;
    }
    const used = this.bytes - this.#start;
    if (used + piece.length > this.#buffer.length) this.#makeRoom(piece.length);
    piece.copy(this.#buffer, this.bytes - this.#start);
    this.bytes += piece.length;
    const window = this.#window;
    if (window !== undefined && !window.paused && this.bytes - this.#slowest() > window.bytes) {
      window.paused = true;
      window.source.pause();
    }
  }

  #makeRoom(moreBytes: number): void {
    const from = this.#window === undefined ? 0 : this.#slowest() - this.#start;
    const used = this.bytes - this.#start - from;
    const grown = Buffer.allocUnsafeSlow(Math.max(firstCapacity, 2 ** Math.ceil(Math.log2(used + moreBytes + 1))));
    this.#buffer.copy(grown, 0, from, from + used);
    this.#buffer = grown;
    this.#start += from;
  }

  /** Position up to which everybody has read. */
  #slowest(): number {
    let slowest = this.bytes;
    for (const reader of this.#readers) slowest = Math.min(slowest, reader.position);
    return slowest;
  }

  /** Keeps no more than readers need from here on. */
  limitTo(windowBytes: number, source: BodySource): void {
    this.#window = { bytes: windowBytes, source, paused: false };
  }

  get windowed(): boolean {
    return this.#window !== undefined;
  }

  /** Tells every reader to look. */
  wake(): void {
    for (const reader of this.#readers) reader.onMore();
  }

  /** It is all there. Gives back the whole body in memory of just its size, unless it is windowed. */
  complete(): Buffer | undefined {
    this.state = 'complete';
    if (this.#window !== undefined) return undefined;
    if (this.#buffer.length !== this.bytes) {
      const exact = Buffer.allocUnsafeSlow(this.bytes);
      this.#buffer.copy(exact, 0, 0, this.bytes);
      this.#buffer = exact;
    }
    return this.#buffer;
  }

  /** It was cut off: readers must not take what they have for the whole. */
  fail(code: ErrorCode, reason: string): void {
    if (this.state !== 'filling') return;
    this.state = 'failed';
    this.failure = { code, reason };
  }

  /** A reader from the first byte on. Not for a body that is windowed already. */
  read(onMore: () => void): BodyReader {
    const reader = new BodyReader(this, onMore);
    this.#readers.add(reader);
    return reader;
  }

  /** For {@link BodyReader}: bytes from a position on. */
  sliceFrom(position: number): Buffer | undefined {
    if (position >= this.bytes) return undefined;
    const from = position - this.#start;
    return this.#buffer.subarray(from, Math.min(this.bytes - this.#start, from + maxPieceBytes));
  }

  /** For {@link BodyReader}: it has read on, or left. */
  onProgress(): void {
    const window = this.#window;
    if (window === undefined || !window.paused || this.bytes - this.#slowest() > window.bytes / 2) return;
    window.paused = false;
    window.source.resume();
  }

  /** For {@link BodyReader}. */
  leave(reader: BodyReader): void {
    this.#readers.delete(reader);
    this.onProgress();
  }
}

/** One reader's place in a body. */
export class BodyReader {
  position = 0;
  /** Called when there may be more, or the end. */
  readonly onMore: () => void;
  #body: FillingBody;

  constructor(body: FillingBody, onMore: () => void) {
    this.#body = body;
    this.onMore = onMore;
  }

  /** The next bytes, at most 256 KiB; undefined: none yet, or none any more. Valid for good. */
  next(): Buffer | undefined {
    const piece = this.#body.sliceFrom(this.position);
    if (piece === undefined) return undefined;
    this.position += piece.length;
    this.#body.onProgress();
    return piece;
  }

  /** `open`: more may come; `complete`: everything was read; `failed`: it was cut off. */
  get state(): 'open' | 'complete' | 'failed' {
    if (this.#body.state === 'failed') return 'failed';
    return this.#body.state === 'complete' && this.position >= this.#body.bytes ? 'complete' : 'open';
  }

  /** Fields behind the body; when complete. */
  get trailers(): readonly string[] {
    return this.#body.trailers;
  }

  /** Why the body failed. */
  get failure(): FillingBody['failure'] {
    return this.#body.failure;
  }

  close(): void {
    this.#body.leave(this);
  }
}
