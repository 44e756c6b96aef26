import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';

export interface PeerOptions {
  /** Counts from 1. */
  readonly number: number;
  /** Below its TLS. */
  readonly raw: Socket;
  /** Streams that its first SETTINGS allow. */
  readonly limit: number;
  /** What the certificate that it showed may push to; undefined: that is none of those that are known. */
  readonly topics: readonly string[] | undefined;
  readonly hasCertificate: boolean;
}

/** One connection to APNs: what it may do, and how it ends. */
export class ApnsPeer {
  readonly number: number;
  readonly raw: Socket;
  readonly topics: readonly string[] | undefined;
  readonly hasCertificate: boolean;
  readonly inFlight = new Set<ServerHttp2Stream>();
  /** After one that changed its provider token too often. */
  isBlocked = false;
  readonly #session: ServerHttp2Session;
  /** Ids of the newest stream that was looked at, and of the last that will be. */
  #seenId = 0;
  #lastId = Number.POSITIVE_INFINITY;
  /** By its last SETTINGS. */
  #limit: number;

  constructor(session: ServerHttp2Session, { number, raw, limit, topics, hasCertificate }: PeerOptions) {
    this.#session = session;
    this.#limit = limit;
    this.number = number;
    this.raw = raw;
    this.topics = topics;
    this.hasCertificate = hasCertificate;
  }

  get limit(): number {
    return this.#limit;
  }

  /** A stream begins; false: it is one more than SETTINGS allow. */
  begin(stream: ServerHttp2Stream): boolean {
    this.inFlight.add(stream);
    stream.once('close', () => this.inFlight.delete(stream));
    return this.inFlight.size <= this.#limit;
  }

  /** Whether a request is looked at. After a farewell those above its last id are not, though they have been read: they would show twice. */
  sees(stream: ServerHttp2Stream): boolean {
    const { id = 0 } = stream;
    if (stream.closed || stream.destroyed || id > this.#lastId) return false;
    this.#seenId = Math.max(this.#seenId, id);
    return true;
  }

  /** Streams that it may have from now on. */
  allow(count: number): void {
    const session = this.#session;
    if (session.destroyed || session.closed) return;
    // A lower limit binds the other side when it has it, a higher one at once.
    if (count > this.#limit) this.#limit = count;
    session.settings({ maxConcurrentStreams: count }, () => {
      this.#limit = count;
    });
  }

  /** Wants no more than the first `answered` of what is in flight; by default than what was looked at. Ends when those are answered. */
  goaway(answered = 0, { code = constants.NGHTTP2_NO_ERROR, reason }: { code?: number; reason?: string } = {}): void {
    const ids = [...this.inFlight].map(({ id }) => id ?? 0).toSorted((a, b) => a - b);
    const id = answered === 0 ? 0 : (ids.at(Math.min(answered, ids.length) - 1) ?? 0);
    // What was looked at is never above it.
    this.#lastId = Math.min(this.#lastId, Math.max(id, this.#seenId));
    this.#session.goaway(code, this.#lastId, Buffer.from(reason === undefined ? '' : JSON.stringify({ reason })));
    // After a farewell Node reads no more, and would not hear that the other side has gone.
    setImmediate(() => this.#session.close());
  }
}
