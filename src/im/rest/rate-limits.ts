import { LRUCache } from 'lru-cache';
import type { SdkAppId } from '../../wire/index.ts';
import type { Clock } from '../model.ts';

export interface RateLimits {
  /** May the app make this call now? Counts it if so. */
  take(input: {
    sdkAppId: SdkAppId;
    command: string;
    /** 0: no limit. */
    commandPerSec: number;
    appPerSec: number;
  }): 'ok' | 'command' | 'app';
}

/** Calls that may still be made, as of a time. */
interface Bucket {
  left: number;
  atMs: number;
}

/**
 * Calls a second of each app and command, of this process: a bucket that holds a second's calls and is filled evenly. A call
 * that one of the two buckets refuses is not taken from the other. Bounded: what was not used for longest is forgotten, and
 * begins full again.
 */
export function createRateLimits({ clock }: { clock: Clock }, { maxBuckets = 50_000 } = {}): RateLimits {
  const buckets = new LRUCache<string, Bucket>({ max: maxBuckets });

  function bucketOf(key: string, perSec: number, nowMs: number): Bucket {
    // A limit below one a second still lets one through now and then.
    const size = Math.max(1, perSec);
    let bucket = buckets.get(key);
    if (bucket === undefined) {
      bucket = { left: size, atMs: nowMs };
      buckets.set(key, bucket);
    }
    const passedMs = Math.max(0, nowMs - bucket.atMs);
    bucket.left = Math.min(size, bucket.left + (passedMs * perSec) / 1_000);
    bucket.atMs = nowMs;
    return bucket;
  }

  return {
    take({ sdkAppId, command, commandPerSec, appPerSec }) {
      const nowMs = clock();
      const ofCommand = commandPerSec === 0 ? undefined : bucketOf(`${sdkAppId}/${command}`, commandPerSec, nowMs);
      const ofApp = appPerSec === 0 ? undefined : bucketOf(`${sdkAppId}`, appPerSec, nowMs);
      // Sums of fractions: 0.9999999 is one.
      if (ofCommand !== undefined && ofCommand.left < 0.999_999) return 'command';
      if (ofApp !== undefined && ofApp.left < 0.999_999) return 'app';
      if (ofCommand !== undefined) ofCommand.left -= 1;
      if (ofApp !== undefined) ofApp.left -= 1;
      return 'ok';
    },
  };
}
