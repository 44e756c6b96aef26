import { isIP } from 'node:net';

/** Where a listener listens. `host` has no brackets; port 0 lets the system choose one. */
export interface Address {
  host: string;
  port: number;
}

const addressPattern = /^(?:\[([0-9A-Fa-f:.%]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})$/;

/** Reads `host:port` or `[v6]:port`; undefined when the text is neither. */
export function parseAddress(text: string): Address | undefined {
  const match = addressPattern.exec(text);
  if (match === null) return undefined;
  const [, v6, name, digits] = match;
  const port = Number(digits);
  if (port > 65_535) return undefined;
  if (v6 !== undefined) return isIP(v6) === 6 ? { host: v6, port } : undefined;
  return name === undefined ? undefined : { host: name.toLowerCase(), port };
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Is the host reachable from this machine only? */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host) || host.endsWith('.localhost');
}

const isWildcard = (host: string) => host === '0.0.0.0' || host === '::';

/**
 * Would a connection to `target` reach a listener at `listener`? `localHosts` are this machine's own addresses.
 * Names other than localhost are compared as text: nothing is looked up.
 */
export function reaches(target: Address, listener: Address, localHosts: ReadonlySet<string>): boolean {
  if (listener.port === 0 || target.port !== listener.port) return false;
  if (target.host === listener.host) return true;
  if (isWildcard(target.host)) return isWildcard(listener.host) || isLoopback(listener.host);
  if (isWildcard(listener.host)) return isLoopback(target.host) || localHosts.has(target.host);
  const named = (host: string) => host === 'localhost' || host.endsWith('.localhost');
  return (named(target.host) && isLoopback(listener.host)) || (named(listener.host) && isLoopback(target.host));
}
