import type { IncomingMessage, ServerResponse } from 'node:http';
import { type FieldClasses, isEndToEnd } from './header-fields.ts';
import { filterResponseHead, responseHasBody } from './response-head.ts';
import type { BodyFraming, UpstreamConnection } from './upstream/index.ts';

/** Below this copying a piece of a body costs less than keeping its memory. */
const copyBelowBytes = 4_096;

/** Hands an upstream's response on to its client, framed anew for that connection. */
export class ResponseRelay {
  bytesOut = 0;
  /** The client does not take bytes: nothing more should be read for it. */
  paused = false;
  #classes: FieldClasses;
  #req: IncomingMessage;
  #res: ServerResponse;
  #onResume: () => void;
  #headPending = false;
  #trailersPass = false;
  #listens = false;

  /** @param onResume called when a paused client has taken everything */
  constructor(classes: FieldClasses, req: IncomingMessage, res: ServerResponse, onResume: () => void) {
    this.#classes = classes;
    this.#req = req;
    this.#res = res;
    this.#onResume = onResume;
  }

  /** A 1xx head other than 100. HTTP/1.0 knows none. */
  information(status: number, reason: string, rawHeaders: string[]): void {
    const { socket } = this.#res;
    if (socket === null || this.#req.httpVersionMinor === 0) return;
    let text = `HTTP/1.1 ${status} ${reason}\r\n`;
    const raw = filterResponseHead(rawHeaders, this.#classes, false, status);
    for (let i = 0; i < raw.length; i += 2) text += `${raw[i]}: ${raw[i + 1]}\r\n`;
    socket.write(`${text}\r\n`, 'latin1');
  }

  /** @param added fields of ours that go behind those of the origin */
  head(status: number, reason: string, rawHeaders: string[], framing: BodyFraming, added: readonly string[]): void {
    const hasBody = responseHasBody(this.#req.method ?? '', status);
    const chunked = hasBody && this.#req.httpVersionMinor >= 1 && (framing === 'chunked' || framing === 'close');
    this.#trailersPass = chunked;
    const raw = filterResponseHead(rawHeaders, this.#classes, chunked, status);
    raw.push(...added);
    this.#res.writeHead(status, reason, raw);
    this.#headPending = true;
  }

  /** Node holds a head back for the first piece of its body: when none came with it, it goes alone. */
  flushHead(): void {
    if (this.#headPending) this.#res.flushHeaders();
    this.#headPending = false;
  }

  /** @param view a piece that is valid during the call, or until released by what `connection.hold` gives */
  body(view: Buffer, connection: UpstreamConnection | undefined): void {
    this.bytesOut += view.length;
    this.#headPending = false;
    // The client's socket may keep the bytes for a while: small pieces are copied, of large ones the memory is held.
    const release = view.length < copyBelowBytes ? undefined : connection?.hold();
    const more = release === undefined ? this.#res.write(Buffer.from(view)) : this.#res.write(view, release);
    if (more) return;
    this.paused = true;
    if (this.#listens) return;
    this.#listens = true;
    this.#res.on('drain', () => {
      if (!this.paused) return;
      this.paused = false;
      this.#onResume();
    });
  }

  end(rawTrailers: string[]): void {
    this.#headPending = false;
    if (rawTrailers.length > 0 && this.#trailersPass) {
      const pairs: [string, string][] = [];
      for (let i = 0; i < rawTrailers.length; i += 2) {
        const name = rawTrailers[i] as string;
        if (isEndToEnd(this.#classes.of(name))) pairs.push([name, rawTrailers[i + 1] as string]);
      }
      this.#res.addTrailers(pairs);
    }
    this.#res.end();
  }
}
