import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BodyReader, CachedAnswer } from '../cache/index.ts';
import type { ErrorCode } from '../wire/index.ts';

/** Bodies up to this go in one write; of larger ones no more is handed on than the client takes. */
const pieceBytes = 262_144;

export interface CachedRelayEvents {
  /** The client does not take bytes, or takes them again. */
  onPaused(paused: boolean): void;
  /** All has been handed on. */
  onSent(): void;
  /** The body was cut off on its way to us: what the client has is not the whole, and must not look so. */
  onCutOff(code: ErrorCode, reason: string): void;
}

/** Sends an answer of the cache to its client, at the client's pace; its body may still be arriving. */
export class CachedRelay {
  bytesOut = 0;
  #req: IncomingMessage;
  #res: ServerResponse;
  #events: CachedRelayEvents;
  #reader: Pick<BodyReader, 'next' | 'state' | 'trailers' | 'failure' | 'close'> | undefined;
  #trailersPass = false;
  #paused = false;
  #over = false;

  constructor(req: IncomingMessage, res: ServerResponse, events: CachedRelayEvents) {
    this.#req = req;
    this.#res = res;
    this.#events = events;
  }

  send({ status, reason, raw, body, reader, lengthKnown }: CachedAnswer): void {
    const res = this.#res;
    res.writeHead(status, reason, raw as string[]);
    if (reader === undefined && (body === undefined || body.length <= pieceBytes)) {
      this.bytesOut = body?.length ?? 0;
      this.#end(body);
      return;
    }
    this.#reader = reader ?? new WholeReader(body as Buffer);
    this.#trailersPass = !lengthKnown && this.#req.httpVersionMinor >= 1;
    res.on('drain', () => {
      if (!this.#paused) return;
      this.#paused = false;
      this.#events.onPaused(false);
      this.more();
    });
    // The head goes with the first piece of the body, which may be part of what is being taken apart right now.
    this.#pump();
  }

  /** There may be more to send, or the end; or a while to wait, and then the head goes alone. */
  more(): void {
    this.#pump();
    if (this.#reader?.state === 'open' && !this.#over) this.#res.flushHeaders();
  }

  #pump(): void {
    const reader = this.#reader;
    if (reader === undefined || this.#paused || this.#over) return;
    for (;;) {
      if (reader.state === 'failed') {
        this.#over = true;
        const { code = 'UPSTREAM_CLOSED', reason = '' } = reader.failure ?? {};
        this.#events.onCutOff(code, reason);
        return;
      }
      const piece = reader.next();
      if (piece === undefined) break;
      if (!this.#write(piece)) return;
    }
    if (reader.state === 'complete') this.#end(undefined);
  }

  /** False: nothing more is to be sent now. */
  #write(piece: Buffer): boolean {
    this.bytesOut += piece.length;
    const last = this.#reader?.state === 'complete';
    if (last) {
      this.#end(piece);
      return false;
    }
    if (this.#res.write(piece)) return true;
    this.#paused = true;
    this.#events.onPaused(true);
    return false;
  }

  #end(piece: Buffer | undefined): void {
    this.#over = true;
    const trailers = this.#reader?.trailers ?? [];
    if (this.#trailersPass && trailers.length > 0) {
      const pairs: [string, string][] = [];
      for (let i = 0; i < trailers.length; i += 2) pairs.push([trailers[i] as string, trailers[i + 1] as string]);
      this.#res.addTrailers(pairs);
    }
    this.#res.end(piece);
    this.#events.onSent();
  }

  /** The client has gone, or has everything. */
  close(): void {
    this.#over = true;
    this.#reader?.close();
  }
}

/** Reads a body that is all there. */
class WholeReader {
  readonly failure = undefined;
  readonly trailers: readonly string[] = [];
  #body: Buffer;
  #position = 0;

  constructor(body: Buffer) {
    this.#body = body;
  }

  get state(): 'open' | 'complete' | 'failed' {
    return this.#position >= this.#body.length ? 'complete' : 'open';
  }

  next(): Buffer | undefined {
    if (this.#position >= this.#body.length) return undefined;
    const piece = this.#body.subarray(this.#position, this.#position + pieceBytes);
    this.#position += piece.length;
    return piece;
  }

  close(): void {}
}
