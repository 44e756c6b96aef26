import { once } from 'node:events';
import { type AddressInfo, isIPv6, type Server, type Socket } from 'node:net';

/** Where a sandbox listens. */
export interface ListenAt {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

/** A server that is open, and its connections. */
export interface Listener {
  readonly address: AddressInfo;
  readonly connections: number;
  /** The connection below one of TLS, which alone can be reset; undefined: it has ended. */
  below(secured: Pick<Socket, 'remoteAddress' | 'remotePort'>): Socket | undefined;
  /** Resets every connection. */
  close(): Promise<void>;
}

/** Rejects when it cannot listen there. Errors of connections end those alone. */
export async function listen(server: Server, { host, port }: ListenAt): Promise<Listener> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket.setNoDelay());
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('sessionError', () => {});
  server.on('tlsClientError', () => {});
  server.listen(port, host);
  await once(server, 'listening');
  // Of a connection that could not be accepted, as where this process has too many files open.
  server.on('error', () => {});
  return {
    address: server.address() as AddressInfo,
    get connections() {
      return sockets.size;
    },
    below: ({ remoteAddress, remotePort }) =>
      [...sockets].find((socket) => socket.remotePort === remotePort && socket.remoteAddress === remoteAddress),
    async close() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.resetAndDestroy();
      await closed;
    },
  };
}

/** The name by which clients on this machine reach what listens there. */
export function reachedAt(host: string): string {
  return { '0.0.0.0': '127.0.0.1', '::': '::1' }[host] ?? host;
}

export function urlOf(host: string, port: number): string {
  const name = reachedAt(host);
  return `https://${isIPv6(name) ? `[${name}]` : name}:${port}`;
}
