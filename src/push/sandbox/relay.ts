import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A way to a server on which what is open can fall silent, as behind a firewall that forgets: nobody is told. */
export interface Relay {
  readonly port: number;
  /** Nothing gets through any more on what is open, nothing ends; what is opened later works. Gives back how many it were. */
  silence(): number;
  close(): Promise<void>;
}

export async function openRelay(target: { host: string; port: number }, listen: { host: string; port: number }) {
  const pairs = new Set<readonly [Socket, Socket]>();
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(target);
    const pair = [near, far] as const;
    pairs.add(pair);
    near.setNoDelay().pipe(far.setNoDelay()).pipe(near);
    for (const [one, other] of [pair, pair.toReversed()] as [Socket, Socket][]) {
      sockets.add(one);
      one.on('error', () => {});
      one.once('close', () => {
        sockets.delete(one);
        // What is silent is no pair any more: its other end does not hear of it.
        if (pairs.delete(pair)) other.destroy();
      });
    }
  });
  server.listen(listen.port, listen.host);
  await once(server, 'listening');
  server.on('error', () => {});
  const relay: Relay = {
    port: (server.address() as AddressInfo).port,
    silence() {
      const count = pairs.size;
      for (const [near, far] of pairs) {
        near.unpipe(far).resume();
        far.unpipe(near).resume();
      }
      pairs.clear();
      return count;
    },
    async close() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  return relay;
}
