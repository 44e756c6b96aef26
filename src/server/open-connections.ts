import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import { Server as HttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** How a listener's connections ended when it closed. */
export interface CloseCounts {
  /** Closed at once, as no request was in progress. */
  idle: number;
  /** Ended by themselves within the grace. */
  finished: number;
  /** Cut at the deadline, tracked sockets included. */
  destroyed: number;
}

/** What HTTP has made of one connection. */
interface Connection {
  upgraded: boolean;
  /** The newest response. HTTP/1 answers in order: once it is closed, all before it are. */
  last: ServerResponse | undefined;
  /** What had been read when the last response closed; more means that the next request is on its way. */
  bytesReadWhenIdle: number;
}

export interface OpenConnections {
  /** Makes a request handler's responses known; every handler of requests of the server must be wrapped. */
  tracked(handler: RequestListener): RequestListener;
  /** Says that the connection speaks another protocol from now on: it is left alone until the deadline. */
  upgraded(request: IncomingMessage): void;
  /** Has a stream that the server did not accept itself end with the server at the latest. */
  trackSocket(socket: Duplex): void;
  /** See `Listener.close`. */
  close(graceMs: number): Promise<CloseCounts>;
}

/**
 * Knows a server's open connections and closes them without losing an answer.
 * Node's own `server.close()` does not do: it destroys a connection whose response has been ended but not yet sent
 * (`finished`, not `writableFinished`), which cuts what a slow reader is still reading, and it leaves connections open
 * that have never sent a byte.
 *
 * @param bytesAnswered how much had been read of a connection when it was last answered without a response of Node's
 */
export function createOpenConnections(
  server: Server,
  bytesAnswered: (socket: Socket) => number = () => 0,
): OpenConnections {
  /** Each accepted TCP connection, in the middle of the TLS handshake too. */
  const accepted = new Set<Socket>();
  /** Those on which HTTP is spoken: the same sockets, or their TLS sockets. */
  const connections = new Map<Socket, Connection>();
  const others = new Set<Duplex>();
  let closing: Promise<CloseCounts> | undefined;
  let deadline: { atMs: number; timer: NodeJS.Timeout } | undefined;
  let destroyed = 0;

  server.on('connection', (socket: Socket) => {
    if (closing !== undefined) return void socket.destroy();
    accepted.add(socket);
    socket.once('close', () => accepted.delete(socket));
  });
  server.on(server instanceof HttpsServer ? 'secureConnection' : 'connection', (socket: Socket) => {
    if (closing !== undefined) return void socket.destroy();
    connections.set(socket, { upgraded: false, last: undefined, bytesReadWhenIdle: 0 });
    socket.once('close', () => connections.delete(socket));
  });

  function onResponseClose(this: ServerResponse) {
    const { socket } = this.req;
    const connection = connections.get(socket);
    if (connection?.last !== this) return;
    connection.last = undefined;
    connection.bytesReadWhenIdle = socket.bytesRead;
    if (closing !== undefined && !connection.upgraded) socket.destroySoon();
  }

  function closeIdle(): number {
    const speaking = new Set([...connections.keys()].map(peerOf));
    let idle = 0;
    for (const socket of accepted) {
      // Still in the TLS handshake: no request can be lost.
      if (speaking.has(peerOf(socket))) continue;
      socket.destroy();
      idle += 1;
    }
    for (const [socket, { upgraded, last, bytesReadWhenIdle }] of connections) {
      if (last !== undefined && !last.headersSent) last.shouldKeepAlive = false;
      const answered = Math.max(bytesReadWhenIdle, bytesAnswered(socket));
      if (upgraded || last !== undefined || socket.bytesRead !== answered) continue;
      socket.destroy();
      idle += 1;
    }
    return idle;
  }

  function destroyAll() {
    destroyed += accepted.size + others.size;
    // A reset, so that an answer to the end of the connection does not look complete. TLS says its own goodbye, or not.
    for (const socket of accepted) {
      if (server instanceof HttpsServer) socket.destroy();
      else socket.resetAndDestroy();
    }
    for (const socket of others) socket.destroy();
  }

  function setDeadline(graceMs: number) {
    const atMs = performance.now() + graceMs;
    if (deadline !== undefined && deadline.atMs <= atMs) return;
    clearTimeout(deadline?.timer);
    deadline = { atMs, timer: setTimeout(destroyAll, graceMs) };
  }

  async function closeAll(): Promise<CloseCounts> {
    const before = accepted.size + others.size;
    const ended = new Promise((resolve) => server.once('close', resolve));
    server.closeIdleConnections = () => undefined;
    server.close();
    const idle = closeIdle();
    await ended;
    await Promise.all([...others].map((socket) => new Promise((resolve) => socket.once('close', resolve))));
    clearTimeout(deadline?.timer);
    return { idle, finished: before - idle - destroyed, destroyed };
  }

  return {
    tracked: (handler) => (request, response) => {
      const connection = connections.get(request.socket);
      if (connection !== undefined) {
        connection.last = response;
        response.on('close', onResponseClose);
        if (closing !== undefined) response.shouldKeepAlive = false;
      }
      handler(request, response);
    },
    upgraded(request) {
      const connection = connections.get(request.socket);
      if (connection !== undefined) connection.upgraded = true;
    },
    trackSocket(socket) {
      if (socket.destroyed) return;
      others.add(socket);
      socket.once('close', () => others.delete(socket));
    },
    close(graceMs) {
      setDeadline(graceMs);
      closing ??= closeAll();
      return closing;
    },
  };
}

/** Tells a TLS socket's TCP socket: Node shows no public way from one to the other. */
function peerOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`;
}
