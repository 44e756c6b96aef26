import { LRUCache } from 'lru-cache';

/** Limits of the access listener; all per process. Zero means no limit where the field says so. */
export interface Limits {
  /** Request line and fields together, in bytes. */
  headerBytes: number;
  headerCount: number;
  urlBytes: number;
  /** Request body; 0: no limit. */
  bodyBytes: number;
  connections: number;
  connectionsPerAddress: number;
  /** Requests a second and client address, on average; 0: no limit. */
  requestsPerAddressPerSec: number;
  requestBurstPerAddress: number;
  /** Session creations a minute and client address; 0: no limit. */
  sessionsPerAddressPerMin: number;
  headersTimeoutMs: number;
  bodyIdleTimeoutMs: number;
  keepAliveTimeoutMs: number;
  responseWriteTimeoutMs: number;
  /** Requests on one connection, then it is closed; 0: no limit. */
  requestsPerConnection: number;
  upgrades: number;
  upgradesPerAddress: number;
}

/** Addresses remembered for rates. One that falls out starts with a full bucket again. */
const maxAddresses = 65_536;

export interface RateLimiter {
  /** Takes one token of the key's bucket; false when it is empty. */
  take(key: string): boolean;
}

interface Bucket {
  tokens: number;
  atMs: number;
}

/**
 * Token buckets by key: `ratePerSec` tokens flow in, `burst` fit. A rate of 0 never refuses.
 * @param now clock in milliseconds that never goes back
 */
export function createRateLimiter(ratePerSec: number, burst: number, now: () => number): RateLimiter {
  if (ratePerSec === 0) return { take: () => true };
  const buckets = new LRUCache<string, Bucket>({ max: maxAddresses });
  const perMs = ratePerSec / 1_000;
  return {
    take(key) {
      const at = now();
      let bucket = buckets.get(key);
      if (bucket === undefined) {
        bucket = { tokens: burst, atMs: at };
        buckets.set(key, bucket);
      } else {
        bucket.tokens = Math.min(burst, bucket.tokens + (at - bucket.atMs) * perMs);
        bucket.atMs = at;
      }
      if (bucket.tokens < 1) return false;
      bucket.tokens -= 1;
      return true;
    },
  };
}
