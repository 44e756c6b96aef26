import { LRUCache } from 'lru-cache';

/** Counts messages by minutes of the clock, of the project and of each device. */
export function createMinuteQuota(perMin: number, perDeviceMin: number, maxDevices: number) {
  let minute = 0;
  let all = 0;
  const byDevice = new LRUCache<string, number>({ max: maxDevices });
  return {
    count(token: string | undefined, nowMs: number): 'QUOTA_EXCEEDED' | 'QUOTA_EXCEEDED:device' | undefined {
      const now = Math.floor(nowMs / 60_000);
      if (now !== minute) {
        minute = now;
        all = 0;
        byDevice.clear();
      }
      all += 1;
      if (all > perMin) return 'QUOTA_EXCEEDED';
      if (token === undefined) return undefined;
      const ofDevice = (byDevice.get(token) ?? 0) + 1;
      byDevice.set(token, ofDevice);
      return ofDevice > perDeviceMin ? 'QUOTA_EXCEEDED:device' : undefined;
    },
  };
}
