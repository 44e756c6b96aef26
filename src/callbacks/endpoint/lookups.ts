import { type LookupAddress, lookup as systemLookup } from 'node:dns';
import { LRUCache } from 'lru-cache';
import { codeOf } from './error-code.ts';

/** Resolves a name to all of its addresses, as this machine resolves names; rejects with the system's error. */
export type Lookup = (hostname: string) => Promise<readonly LookupAddress[]>;

export interface LookupsDeps {
  lookup?: Lookup;
  /** Milliseconds that never go back. */
  now(): number;
}

/** An answer is good for connections that are made at the same time. */
const freshMs = 1_000;
/** How long a look-up may take before the last answer is used again, and how old that may be. */
const patienceMs = 250;
const keepMs = 600_000;
const maxNames = 1_000;
const maxAddresses = 16;

/**
 * Look-ups of names, each under way once. The system has two threads for all of them, and a name server that does not answer holds one for
 * many seconds: so that it harms nobody else (K7), a name that was found before is used on while it cannot be found again. What the
 * addresses are is judged at each connection, however old they are (K8).
 */
export function createLookups({ lookup = lookupAll, now }: LookupsDeps): Lookup {
  const underWay = new Map<string, Promise<readonly LookupAddress[]>>();
  const found = new LRUCache<string, { addresses: readonly LookupAddress[]; atMs: number }>({ max: maxNames });

  const start = (hostname: string): Promise<readonly LookupAddress[]> => {
    if (underWay.size >= maxNames) return Promise.reject(new Error('too many look-ups'));
    const work = lookup(hostname)
      .then((all) => {
        const addresses = all.slice(0, maxAddresses);
        found.set(hostname, { addresses, atMs: now() });
        return addresses;
      })
      .finally(() => underWay.delete(hostname));
    underWay.set(hostname, work);
    return work;
  };

  return async (hostname) => {
    const last = found.get(hostname);
    const ageMs = last === undefined ? Number.POSITIVE_INFINITY : now() - last.atMs;
    if (last !== undefined && ageMs < freshMs) return last.addresses;
    const work = underWay.get(hostname) ?? start(hostname);
    if (last === undefined || ageMs > keepMs) return work;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<readonly LookupAddress[]>((resolve) => {
      timer = setTimeout(() => resolve(last.addresses), patienceMs);
    });
    // That there is no such name is an answer; that nobody could say is none.
    const asked = work.catch((error: unknown) => {
      if (codeOf(error) === 'EAI_AGAIN') return last.addresses;
      throw error;
    });
    try {
      return await Promise.race([asked, late]);
    } finally {
      clearTimeout(timer);
    }
  };
}

function lookupAll(hostname: string): Promise<readonly LookupAddress[]> {
  return new Promise((resolve, reject) => {
    systemLookup(hostname, { all: true }, (error, addresses) => (error === null ? resolve(addresses) : reject(error)));
  });
}
