import { BlockList, type Socket } from 'node:net';
import { addTrusted, createHeldCounter, isTrusted, networkOf, normalizeAddress } from '../auth/index.ts';
import type { Metrics } from '../observe/index.ts';

export interface ConnectionLimitOptions {
  /** Connections at once, of REST and links together. */
  connections: number;
  /** Of one address (IPv6: one /64) that is no trusted proxy; 0: no limit. */
  connectionsPerAddress: number;
  trustedProxies: readonly string[];
}

/** For a listener's `connection`: cuts what is beyond the limits before a byte of it is read. */
export function createConnectionLimit(
  { metrics }: { metrics: Metrics },
  { connections, connectionsPerAddress, trustedProxies }: ConnectionLimitOptions,
): (socket: Socket) => void {
  const held = createHeldCounter(connections, connectionsPerAddress);
  const trusted = new BlockList();
  for (const entry of trustedProxies) addTrusted(trusted, entry);
  metrics.gaugeOf('qalgate_im_connections', 'Connections to the im listener, links included', () => held.size);
  const cut = metrics.counter('qalgate_im_connections_cut_total', 'Connections beyond a limit, by which', ['limit']);

  return (socket) => {
    const peer = normalizeAddress(socket.remoteAddress ?? '') ?? '';
    // A trusted proxy brings many users.
    const address = isTrusted(trusted, peer) ? undefined : networkOf(peer);
    const taken = held.take(address);
    if (taken !== 'ok') {
      cut.inc({ limit: taken === 'total' ? 'connections' : 'connections-per-address' });
      socket.destroy();
      return;
    }
    socket.once('close', () => held.give(address));
  };
}
