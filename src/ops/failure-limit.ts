import { LRUCache } from 'lru-cache';

export interface FailureLimit {
  /** Seconds until the address may try again; 0 when it may now. */
  waitSec(address: string): number;
  fail(address: string): void;
  /** Addresses remembered. */
  readonly size: number;
}

export interface FailureLimitOptions {
  maxFailures: number;
  windowMs: number;
  /** Addresses remembered, the least recently used forgotten first. */
  maxAddresses: number;
}

/**
 * Counts failed attempts by address in windows that begin with an address's first failure. The limit holds until the
 * window ends, for a right credential too: else a guess would still be answered.
 */
export function createFailureLimit(
  { now }: { now: () => number },
  { maxFailures, windowMs, maxAddresses }: FailureLimitOptions,
): FailureLimit {
  const windows = new LRUCache<string, { count: number; endsAtMs: number }>({ max: maxAddresses });

  const current = (address: string) => {
    const window = windows.get(address);
    return window !== undefined && window.endsAtMs > now() ? window : undefined;
  };

  return {
    waitSec(address) {
      const window = current(address);
      return window === undefined || window.count < maxFailures ? 0 : Math.ceil((window.endsAtMs - now()) / 1_000);
    },
    fail(address) {
      const window = current(address);
      if (window === undefined) windows.set(address, { count: 1, endsAtMs: now() + windowMs });
      else window.count += 1;
    },
    get size() {
      return windows.size;
    },
  };
}
