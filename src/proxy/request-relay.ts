import type { IncomingMessage } from 'node:http';
import type { FieldClasses } from './header-fields.ts';
import type { RequestHead } from './request-head.ts';
import { filterTrailers } from './response-head.ts';
import type { UpstreamConnection } from './upstream/index.ts';

export interface RequestRelayEvents {
  /** A piece went on; `paused`: no more is read until the upstream has taken it. */
  onPiece(paused: boolean): void;
  /** The body grew over its limit; nothing of the piece went on. */
  onTooLarge(): void;
  /** The body is complete; its last piece goes on after this call. */
  onEnd(): void;
}

/** Hands a client's request body on to the upstream, framed as it came. */
export class RequestRelay {
  bytesIn = 0;
  /** The upstream does not take bytes: nothing more is read from the client. */
  paused = false;
  #classes: FieldClasses;
  #req: IncomingMessage;

  constructor(classes: FieldClasses, req: IncomingMessage) {
    this.#classes = classes;
    this.#req = req;
  }

  /**
   * @param maxBytes 0: no limit
   * @param connection gives the connection while it is the exchange's; a body whose exchange is over has no reader
   */
  start(
    head: RequestHead,
    maxBytes: number,
    connection: () => UpstreamConnection | undefined,
    events: RequestRelayEvents,
  ): void {
    const req = this.#req;
    const chunked = head.body === 'chunked';
    req.on('data', (chunk: Buffer) => {
      this.bytesIn += chunk.length;
      const upstream = connection();
      if (upstream === undefined) return;
      if (maxBytes > 0 && this.bytesIn > maxBytes) {
        events.onTooLarge();
        return;
      }
      const more = chunked ? upstream.writeChunk(chunk) : upstream.write(chunk);
      if (!more) {
        this.paused = true;
        req.pause();
      }
      events.onPiece(this.paused);
    });
    req.on('end', () => {
      const upstream = connection();
      if (upstream === undefined) return;
      events.onEnd();
      upstream.endRequest(chunked ? `0\r\n${filterTrailers(req.rawTrailers, this.#classes)}\r\n` : '');
    });
  }

  /** The upstream has taken everything. */
  resume(): void {
    this.paused = false;
    this.#req.resume();
  }
}
