/**
 * The load generator, a process of its own: a fixed number of requests over keep-alive connections, one at a time on
 * each, on raw sockets. Why not wrk: a fixed number makes CPU time per request comparable, every response can be
 * checked, and it is there wherever Node is.
 */
import { connect, type Socket } from 'node:net';
import { serveParent } from '../../test/support/measured-process.ts';
import { type Caching, firstByte, lastByte, requestBytes } from './exchange-bytes.ts';

export interface LoadOptions {
  port: number;
  connections: number;
  /** The session token that each connection sends, in their order; those without one send none. */
  sessions: readonly string[];
  requests: number;
  caching: Caching;
  bodyBytes: number;
}

export interface LoadResult {
  elapsedMs: number;
  /** Why the first wrong response was wrong; then the figures mean nothing. */
  problem?: string;
}

const stallMs = 20_000;

/** Checks the responses of one connection: status, length, and both ends of every body. */
class ResponseCheck {
  #bodyBytes: number;
  #head = '';
  /** -1: still in the head. */
  #left = -1;

  constructor(bodyBytes: number) {
    this.#bodyBytes = bodyBytes;
  }

  /** Takes what was read: the response goes on, is complete, or is wrong for the reason given. */
  read(data: Buffer): 'more' | 'complete' | { problem: string } {
    let at = 0;
    if (this.#left < 0) {
      const end = data.indexOf('\r\n\r\n', 0, 'latin1');
      this.#head += data.toString('latin1', 0, end < 0 ? data.length : end + 2);
      if (end < 0) return 'more';
      if (!this.#head.startsWith('HTTP/1.1 200 ')) return { problem: `status line ${this.#head.slice(0, 20)}` };
      const length = Number(/\r\ncontent-length: *(\d+)\r\n/i.exec(this.#head)?.[1]);
      if (length !== this.#bodyBytes) return { problem: `length ${length} where ${this.#bodyBytes} was asked for` };
      this.#left = length;
      at = end + 4;
    }
    if (at === data.length) return 'more';
    if (this.#left === this.#bodyBytes && data[at] !== firstByte) return { problem: 'the body begins wrongly' };
    this.#left -= data.length - at;
    if (this.#left > 0) return 'more';
    if (this.#left < 0) return { problem: 'more bytes than the response has' };
    if (data[data.length - 1] !== lastByte) return { problem: 'the body ends wrongly' };
    this.#head = '';
    this.#left = -1;
    return 'complete';
  }
}

function load({ port, connections, sessions, requests, caching, bodyBytes }: LoadOptions): Promise<LoadResult> {
  return new Promise((resolve) => {
    // One for all connections: what is read is looked at within the call.
    const readBuffer = Buffer.allocUnsafe(262_144);
    const clients: { socket: Socket; request: Buffer }[] = [];
    let connected = 0;
    let toSend = requests;
    let answered = 0;
    let over = false;
    let startedMs = 0;

    const finish = (problem?: string): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      for (const { socket } of clients) socket.destroy();
      resolve({ elapsedMs: performance.now() - startedMs, ...(problem === undefined ? {} : { problem }) });
    };
    const timer = setTimeout(() => finish(`${answered} of ${requests} answers in ${stallMs} ms`), stallMs);
    const send = ({ socket, request }: { socket: Socket; request: Buffer }): void => {
      if (toSend === 0) return;
      toSend -= 1;
      socket.write(request);
    };

    for (let n = 0; n < connections; n += 1) {
      const check = new ResponseCheck(bodyBytes);
      const socket = connect({
        host: '127.0.0.1',
        port,
        noDelay: true,
        onread: {
          buffer: readBuffer,
          callback(bytes, buffer) {
            if (over) return false;
            const state = check.read((buffer as Buffer).subarray(0, bytes));
            if (state === 'complete') {
              answered += 1;
              if (answered === requests) finish();
              else send(client);
            } else if (state !== 'more') finish(state.problem);
            return !over;
          },
        },
      });
      const client = { socket, request: requestBytes(caching, bodyBytes, sessions[n]) };
      clients.push(client);
      socket.on('error', (error) => finish(error.message));
      socket.on('close', () => finish('a connection was closed'));
      socket.on('connect', () => {
        connected += 1;
        if (connected < connections) return;
        startedMs = performance.now();
        for (const each of clients) send(each);
      });
    }
  });
}

serveParent({}, (question) => load(question as LoadOptions));
