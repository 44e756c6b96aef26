import { connect, createServer, type Socket } from 'node:net';
import { type ListenAt, listen } from './listener.ts';

/** A way to a server on which what is open can fall silent, as behind a firewall that forgets: nobody is told. */
export interface Relay {
  readonly port: number;
  /** Nothing gets through any more on what is open, nothing ends; what is opened later works. Gives back how many it were. */
  silence(): number;
  close(): Promise<void>;
}

export async function openRelay(target: ListenAt, at: ListenAt): Promise<Relay> {
  const pairs = new Set<readonly [Socket, Socket]>();
  const fars = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(target).setNoDelay();
    far.on('error', () => {});
    const pair = [near, far] as const;
    pairs.add(pair);
    fars.add(far);
    near.pipe(far).pipe(near);
    // What is silent is no pair any more: its other end does not hear of it.
    near.once('close', () => pairs.delete(pair) && far.destroy());
    far.once('close', () => {
      fars.delete(far);
      if (pairs.delete(pair)) near.destroy();
    });
  });
  const listener = await listen(server, at);
  return {
    port: listener.address.port,
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
      for (const far of fars) far.destroy();
      await listener.close();
    },
  };
}
