import ipaddr from 'ipaddr.js';

/**
 * By what one client is counted where addresses are limited: whoever has one IPv6 address has 2^64 of them.
 * Gives back the first half of an IPv6 address, anything else as it is. Total: any text.
 */
export function networkOf(address: string): string {
  if (!address.includes(':') || !ipaddr.isValid(address)) return address;
  const parsed = ipaddr.process(address);
  return parsed.kind() === 'ipv4' ? parsed.toString() : `${(parsed as ipaddr.IPv6).parts.slice(0, 4).join(':')}::/64`;
}
