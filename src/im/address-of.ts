import type { IncomingMessage } from 'node:http';
import { BlockList } from 'node:net';
import { addTrusted, clientAddress, isTrusted, normalizeAddress } from '../auth/index.ts';

/** Whose request it is: the other end of its connection, or whom the trusted proxies before it name. '' where it is not known. */
export function createAddressOf(trustedProxies: readonly string[]): (request: IncomingMessage) => string {
  const trusted = new BlockList();
  for (const entry of trustedProxies) addTrusted(trusted, entry);
  return (request) => {
    const peer = normalizeAddress(request.socket.remoteAddress ?? '') ?? '';
    const forwarded = request.headers['x-forwarded-for'];
    if (forwarded === undefined || peer === '' || !isTrusted(trusted, peer)) return peer;
    return clientAddress(peer, [forwarded].flat(), trusted);
  };
}
