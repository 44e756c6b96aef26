import type { BlockList, Socket } from 'node:net';
import { isTrusted, normalizeAddress } from '../auth/index.ts';

/** One message at a time on a client connection: something that answers a request and says when it is over. */
export interface Job {
  start(): void;
  /** Another one waits behind it. */
  onQueued?(): void;
}

/** Requests that may wait behind the one being answered, on one connection. */
const maxPipelined = 64;

/**
 * What the proxy keeps of a client's connection: whose it is, and the order of its requests.
 *
 * Pipelined requests are answered one after another, so that a later one never overtakes an earlier one at the
 * backend (RFC 9112 §9.3.2 allows less only for safe methods).
 */
export class ClientConnection {
  /** The other end, normalized. */
  readonly peer: string;
  readonly peerTrusted: boolean;
  #socket: Socket;
  /** Requests started so far. */
  started = 0;
  /** What had been read of it when it was last answered outside of Node's responses. */
  bytesAnswered = 0;
  #current: Job | undefined;
  #waiting: Job[] = [];
  #closed = false;

  constructor(socket: Socket, trusted: BlockList) {
    this.#socket = socket;
    this.peer = normalizeAddress(socket.remoteAddress ?? '') ?? '0.0.0.0';
    this.peerTrusted = isTrusted(trusted, this.peer);
  }

  /** The request being answered. */
  get current(): Job | undefined {
    return this.#current;
  }

  /** Nothing is being answered on it, and a request that comes would be. */
  get free(): boolean {
    return this.#current === undefined && !this.#closed;
  }

  /** Nothing more is answered on it. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Starts the job when those before it are over, or drops it where nothing more is answered. False: too many wait. */
  run(job: Job): boolean {
    if (this.#closed) return true;
    if (this.#current === undefined) {
      this.#start(job);
      return true;
    }
    if (this.#waiting.length >= maxPipelined) return false;
    this.#waiting.push(job);
    this.#current.onQueued?.();
    return true;
  }

  /** The current job is over; the next one starts. Where nothing more is answered, the connection ends. */
  done(): void {
    this.#current = undefined;
    const next = this.#waiting.shift();
    if (next !== undefined) this.#start(next);
    else if (this.#closed) this.#socket.destroySoon();
  }

  #start(job: Job): void {
    this.#current = job;
    this.started += 1;
    job.start();
  }

  /**
   * Nothing more is answered on this connection: it is gone, or what follows on it cannot be believed. The answer under
   * way is finished.
   */
  abandon(): void {
    this.#closed = true;
    this.#waiting = [];
  }
}
