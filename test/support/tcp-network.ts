import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import type { Test } from 'tap';

/** A way to a server that can go silent or be cut. */
export interface TcpNetwork {
  port: number;
  /** From now on nothing gets through on what is open, and nobody is told; what is opened later works. */
  silence(): void;
  /** What is open and what will be opened ends at once, until it is joined again. Counts what was opened meanwhile. */
  cut(): { tries: number };
  join(): void;
}

/** TCP on a free port, passed on; closed behind the test. */
export async function openTcpNetwork(
  t: Test,
  to: { path: string } | { port: number; host: string },
): Promise<TcpNetwork> {
  /** Of what is open: the two ends of each connection. */
  const pairs = new Set<readonly [Socket, Socket]>();
  const sockets = new Set<Socket>();
  let isCut: { tries: number } | undefined;
  const server = createServer((near) => {
    if (isCut !== undefined) {
      isCut.tries += 1;
      near.destroy();
      return;
    }
    const far = connect(to);
    const pair = [near, far] as const;
    pairs.add(pair);
    near.pipe(far).pipe(near);
    for (const [one, other] of [pair, pair.toReversed()] as [Socket, Socket][]) {
      sockets.add(one);
      one.on('error', () => {});
      one.once('close', () => {
        sockets.delete(one);
        // One that is silent is no pair any more: the other end does not hear of it.
        if (pairs.delete(pair)) other.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const endAll = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  t.teardown(() => {
    endAll();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP server has a port');
  return {
    port: address.port,
    cut() {
      isCut = { tries: 0 };
      endAll();
      return isCut;
    },
    join() {
      isCut = undefined;
    },
    silence() {
      for (const [near, far] of pairs) {
        near.unpipe(far);
        far.unpipe(near);
        // Read and thrown away, so that the sender notices nothing.
        near.resume();
        far.resume();
      }
      pairs.clear();
    },
  };
}
