/** How long commits of people's messages took lately: work that can wait gives way to them. */
export interface CommitTimes {
  add(tookMs: number): void;
  /** Of the commits of the last seconds, how long all but one of a hundred took; 0 while there are too few to tell. */
  p99Ms(): number;
}

/** Keeps the last `max` at most. `now`: milliseconds of a clock that never goes back. */
export function createCommitTimes(
  now: () => number = () => performance.now(),
  { windowMs = 5_000, max = 1_000, least = 20 }: { windowMs?: number; max?: number; least?: number } = {},
): CommitTimes {
  const tookMs = new Float64Array(max);
  const atMs = new Float64Array(max).fill(Number.NEGATIVE_INFINITY);
  let place = 0;
  return {
    add(took) {
      tookMs[place] = took;
      atMs[place] = now();
      place = (place + 1) % max;
    },
    p99Ms() {
      const sinceMs = now() - windowMs;
      const lately = tookMs.filter((_, i) => (atMs[i] ?? 0) >= sinceMs).sort();
      return lately.length < least ? 0 : (lately[Math.ceil(lately.length * 0.99) - 1] ?? 0);
    },
  };
}
