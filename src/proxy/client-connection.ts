import type { BlockList, Socket } from 'node:net';
import { isTrusted, normalizeAddress } from './client-address.ts';

/** One message at a time on a client connection: something that answers a request and says when it is over. */
export interface Job {
  start(): void;
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
  #current: Job | undefined;
  #waiting: Job[] = [];
  #closed = false;

  constructor(socket: Socket, trusted: BlockList) {
    this.peer = normalizeAddress(socket.remoteAddress ?? '') ?? '0.0.0.0';
    this.peerTrusted = isTrusted(trusted, this.peer);
  }

  /** The request being answered. */
  get current(): Job | undefined {
    return this.#current;
  }

  /** Starts the job when those before it are over. False: too many wait, or nothing more is answered here. */
  run(job: Job): boolean {
    if (this.#closed) return false;
    if (this.#current === undefined) {
      this.#current = job;
      job.start();
      return true;
    }
    if (this.#waiting.length >= maxPipelined) return false;
    this.#waiting.push(job);
    return true;
  }

  /** The current job is over; the next one starts. */
  done(): void {
    this.#current = this.#waiting.shift();
    this.#current?.start();
  }

  /** Nothing more is answered on this connection: it is gone, or what follows on it cannot be believed. */
  abandon(): void {
    this.#closed = true;
    this.#waiting = [];
  }
}
