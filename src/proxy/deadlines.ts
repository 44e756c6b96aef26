/** Something that may wait too long. The sweep asks it; it keeps its own deadlines. */
export interface Timed {
  onSweep(nowMs: number): void;
}

export interface Deadlines {
  /** A clock in milliseconds, read once a sweep: cheap, and late by at most {@link sweepMs}. */
  now(): number;
  add(timed: Timed): void;
  remove(timed: Timed): void;
  close(): void;
}

/** How late a deadline may strike. */
export const sweepMs = 50;

/**
 * One timer for all exchanges: a deadline that moves with every piece of a body is then a number that is written,
 * not a timer that is set. The set is bounded by the connection limits.
 */
export function createDeadlines(): Deadlines {
  const all = new Set<Timed>();
  let now = Math.floor(performance.now());
  const timer = setInterval(() => {
    now = Math.floor(performance.now());
    for (const timed of all) timed.onSweep(now);
  }, sweepMs);
  timer.unref();
  return {
    now: () => now,
    add: (timed) => all.add(timed),
    remove: (timed) => all.delete(timed),
    close: () => clearInterval(timer),
  };
}
