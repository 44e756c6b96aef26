import type { Socket } from 'node:net';
import type { ConnectionReads } from './read-buffers.ts';
import { type BodyFraming, ResponseParser } from './response-parser.ts';

export type ExchangeFailure = 'UPSTREAM_CLOSED' | 'UPSTREAM_BAD_RESPONSE' | 'INTERNAL';

/** What happens to one exchange on an upstream connection. Exactly one of onEnd and onFailure comes, last. */
export interface ExchangeEvents {
  onInformation(status: number, reason: string, rawHeaders: string[]): void;
  onHead(status: number, reason: string, rawHeaders: string[], body: BodyFraming): void;
  /** A piece of the body: a view that is valid during the call, or until what {@link UpstreamConnection.hold} gave. */
  onBody(chunk: Buffer): void;
  onEnd(rawTrailers: string[]): void;
  /** What was read is taken apart. More may take a while: what is held back to go out together should go now. */
  onReadDone(): void;
  onFailure(code: ExchangeFailure, reason: string): void;
  /** What was written has left; more may be written. */
  onDrain(): void;
}

export interface ConnectionOwner {
  /** The exchange is over in order and the connection can carry another. */
  onIdle(connection: UpstreamConnection): void;
  /** The connection is gone. Comes once. */
  onGone(connection: UpstreamConnection): void;
  /** An idle connection received bytes: whatever they are, they answer nothing. */
  onUnasked(): void;
}

/**
 * One keep-alive connection to an upstream: one exchange at a time, no pipelining (ADR 0001).
 * A connection is reused only after the request was written and the response was read to their last byte, with nothing
 * behind it.
 */
export class UpstreamConnection {
  readonly socket: Socket;
  /** When it became idle, by the pool's clock. */
  idleSinceMs = 0;
  /** How long the upstream said that it keeps idle connections (`Keep-Alive: timeout=`); undefined: not said. */
  keepAliveHintMs: number | undefined;
  #owner: ConnectionOwner;
  #reads: ConnectionReads | undefined;
  #parser: ResponseParser;
  #exchange: ExchangeEvents | undefined;
  #requestDone = true;
  #responseDone = false;
  #reusable = false;
  #gone = false;

  /** @param reads absent where each read comes in memory of its own (TLS) */
  constructor(socket: Socket, reads: ConnectionReads | undefined, owner: ConnectionOwner) {
    this.socket = socket;
    this.#reads = reads;
    this.#owner = owner;
    this.#parser = new ResponseParser({
      onInformation: (status, reason, raw) => this.#exchange?.onInformation(status, reason, raw),
      onHead: (status, reason, raw, body) => this.#onHead(status, reason, raw, body),
      onBody: (chunk) => this.#exchange?.onBody(chunk),
      onEnd: (trailers, reusable) => {
        this.#responseDone = true;
        this.#reusable = reusable;
        this.#exchange?.onEnd(trailers);
      },
      onInvalid: (reason) => this.#onInvalid(reason),
    });
    socket.on('drain', () => this.#exchange?.onDrain());
    socket.on('end', () => this.#onEof());
    socket.on('error', (error) => this.#fail('UPSTREAM_CLOSED', error.message));
    socket.on('close', () => this.#onClose());
  }

  /** Starts an exchange: writes the head; body pieces follow by {@link write}, then {@link endRequest}. */
  begin(method: string, head: string, hasBody: boolean, exchange: ExchangeEvents): void {
    this.#exchange = exchange;
    this.#requestDone = !hasBody;
    this.#responseDone = false;
    this.#parser.expect(method);
    this.socket.write(head, 'latin1');
  }

  /** From here on the exchange's events go to `exchange`. */
  handOver(exchange: ExchangeEvents): void {
    this.#exchange = exchange;
  }

  /** Writes a piece of the request body. False: wait for onDrain. */
  write(chunk: Buffer): boolean {
    return this.socket.write(chunk);
  }

  /** Writes a piece of a chunked request body, framed. False: wait for onDrain. */
  writeChunk(chunk: Buffer): boolean {
    this.socket.cork();
    this.socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1');
    this.socket.write(chunk);
    const more = this.socket.write('\r\n', 'latin1');
    this.socket.uncork();
    return more;
  }

  /** The request is complete; `tail` is what ends a chunked body. */
  endRequest(tail: string): void {
    if (tail !== '') this.socket.write(tail, 'latin1');
    this.#requestDone = true;
    this.#settle();
  }

  /** Keeps the memory behind a body piece beyond its call, until the function given back is called. */
  hold(): (() => void) | undefined {
    return this.#reads?.hold();
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  /** Takes what was read; `data` is not kept. */
  onRead(data: Buffer): void {
    if (this.#exchange === undefined) {
      if (!this.#gone) this.#owner.onUnasked();
      this.destroy();
      return;
    }
    try {
      this.#parser.execute(data);
      this.#exchange?.onReadDone();
    } catch (error) {
      // A mistake of ours costs this exchange, not the process.
      this.#fail('INTERNAL', error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
    // Only now is it sure that nothing stands behind the response in what was read.
    this.#settle();
  }

  /** Ends the connection at once; its exchange hears no more. */
  destroy(): void {
    this.#exchange = undefined;
    this.#parser.close();
    this.socket.destroy();
  }

  #onHead(status: number, reason: string, raw: string[], body: BodyFraming): void {
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i] as string;
      if (name.length === 10 && name.toLowerCase() === 'keep-alive') {
        const seconds = /timeout=([0-9]{1,6})/i.exec(raw[i + 1] as string)?.[1];
        if (seconds !== undefined) this.keepAliveHintMs = Number(seconds) * 1_000;
      }
    }
    this.#exchange?.onHead(status, reason, raw, body);
  }

  #settle(): void {
    if (!this.#responseDone || this.#exchange === undefined) return;
    // A response may come before its request is complete. Then the rest of the request has no reader.
    this.#exchange = undefined;
    this.#responseDone = false;
    if (this.#requestDone && this.#reusable && !this.#gone && this.socket.writable && !this.socket.readableEnded) {
      if (this.socket.isPaused()) this.socket.resume();
      this.#owner.onIdle(this);
    } else this.destroy();
  }

  #onEof(): void {
    if (this.#parser.finish()) this.#settle();
    this.#fail('UPSTREAM_CLOSED', this.#parser.started ? 'closed within its response' : 'closed before its response');
    this.destroy();
  }

  #onInvalid(reason: string): void {
    // Garbage behind a complete response harms nobody: the response stands, the connection goes.
    if (this.#responseDone) {
      this.#owner.onUnasked();
      this.destroy();
    } else this.#fail('UPSTREAM_BAD_RESPONSE', reason);
  }

  #fail(code: ExchangeFailure, reason: string): void {
    const exchange = this.#exchange;
    this.destroy();
    exchange?.onFailure(code, reason);
  }

  #onClose(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#reads?.close();
    this.#fail('UPSTREAM_CLOSED', 'closed before its response was complete');
    this.#owner.onGone(this);
  }
}
