/**
 * How fast messages may go out: smoothly, at most `perMin` a minute, and from nothing to that in no less than a minute, as Google asks for
 * (PUSH §2.3). What is used raises the rate, what is not lets it fall, so that there is always room for twice of what goes on.
 */
export interface Pace {
  /** Messages that may go out now. */
  room(nowMs: number): number;
  /** One goes out. */
  take(nowMs: number): void;
  /** The service found that it is too much. */
  slow(nowMs: number): void;
}

const rampSec = 60;
/** Nobody minds so many a second, whoever starts. */
const leastPerSec = 10;
/** What was not used for so long may go out at once: whoever finds no room looks again a second later. */
const burstSec = 2;

/** Pure: times are arguments, milliseconds that never go back. */
export function createPace(perMin: number): Pace {
  const fullPerSec = perMin / 60;
  const floorPerSec = Math.min(fullPerSec, Math.max(leastPerSec, fullPerSec / rampSec));
  /** Of the full rate, 0 … 1. */
  let level = 0;
  let tokens: number | undefined;
  let atMs = 0;

  const ratePerSec = (): number => Math.max(floorPerSec, fullPerSec * level);
  /** A minute's quota that is less than a message a second still has room for one. */
  const most = (): number => Math.max(1, ratePerSec() * burstSec);

  function pass(nowMs: number): void {
    const sec = Math.max(0, nowMs - atMs) / 1_000;
    atMs = Math.max(atMs, nowMs);
    level = Math.max(0, level - sec / rampSec);
    tokens = tokens === undefined ? Math.max(1, ratePerSec()) : Math.min(most(), tokens + sec * ratePerSec());
  }

  return {
    room(nowMs) {
      pass(nowMs);
      return Math.max(0, Math.floor(tokens ?? 0));
    },
    take(nowMs) {
      pass(nowMs);
      tokens = (tokens ?? 0) - 1;
      // Whoever uses all of it gains as much in a second as that second takes, and as much again.
      level = Math.min(1, level + 2 / (rampSec * ratePerSec()));
    },
    slow(nowMs) {
      pass(nowMs);
      level /= 2;
      tokens = Math.min(tokens ?? 0, 0);
    },
  };
}
