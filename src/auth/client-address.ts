import type { BlockList } from 'node:net';
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

/** `1.2.3.4` for `::ffff:1.2.3.4` however it is written, and IPv6 in lower case; undefined when the text is no address. */
export function normalizeAddress(text: string): string | undefined {
  const lower = text.toLowerCase();
  if (isIP(lower) === 0) return undefined;
  return lower.startsWith('::ffff:') ? ipaddr.process(lower).toString() : lower;
}

export function isTrusted(trusted: BlockList, address: string): boolean {
  return trusted.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}

/** One element of X-Forwarded-For as proxies write it: an address, perhaps quoted, bracketed or with a port. */
function parseHop(element: string): string | undefined {
  let hop = element.trim();
  if (hop.startsWith('"') && hop.endsWith('"')) hop = hop.slice(1, -1);
  if (hop.startsWith('[')) {
    const end = hop.indexOf(']');
    return end < 0 ? undefined : normalizeAddress(hop.slice(1, end));
  }
  const colon = hop.indexOf(':');
  if (colon >= 0 && hop.indexOf(':', colon + 1) < 0) hop = hop.slice(0, colon);
  // A scoped address (fe80::1%eth0) names an interface of somebody else's machine.
  if (hop.includes('%')) return undefined;
  return normalizeAddress(hop);
}

/**
 * The user's gateway address (A2): the rightmost hop that is no trusted proxy.
 *
 * @param peer      normalized address of the connection's other end
 * @param forwarded values of the X-Forwarded-For fields in the order received
 * @param trusted   proxies whose word counts
 * @returns one address; the leftmost one where every hop is trusted. What stands left of an element that is no
 *          address, or of an untrusted hop, was written by someone whom we do not believe.
 */
export function clientAddress(peer: string, forwarded: readonly string[], trusted: BlockList): string {
  let address = peer;
  const hops = forwarded.join(',').split(',');
  for (let i = hops.length - 1; i >= 0 && isTrusted(trusted, address); i -= 1) {
    const hop = parseHop(hops[i] ?? '');
    if (hop === undefined) break;
    address = hop;
  }
  return address;
}

/** Reads addresses and CIDRs, as the configuration has checked them, into a list for {@link clientAddress}. */
export function addTrusted(list: BlockList, entry: string): void {
  const [address = '', prefix] = entry.split('/');
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
  if (prefix === undefined) list.addAddress(address, family);
  else list.addSubnet(address, Number(prefix), family);
}
