import type { LookupAddress } from 'node:dns';
import { lookup as systemLookup } from 'node:dns';

/** Resolves a name to all of its addresses, as this machine resolves names; rejects with the system's error. */
export type Lookup = (hostname: string) => Promise<readonly LookupAddress[]>;

/** Look-ups by name, each under way once: the system has four threads for all of them. */
export function createLookups(lookup: Lookup = lookupAll): Lookup {
  const underWay = new Map<string, Promise<readonly LookupAddress[]>>();
  return (hostname) => {
    let found = underWay.get(hostname);
    if (found === undefined) {
      found = lookup(hostname).finally(() => underWay.delete(hostname));
      underWay.set(hostname, found);
    }
    return found;
  };
}

function lookupAll(hostname: string): Promise<readonly LookupAddress[]> {
  return new Promise((resolve, reject) => {
    systemLookup(hostname, { all: true }, (error, addresses) => (error === null ? resolve(addresses) : reject(error)));
  });
}
