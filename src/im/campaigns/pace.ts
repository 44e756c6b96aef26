/** When the next receivers of an app may have their turn. Pure but for the clock that it is given. */
export interface Pace {
  /** Receivers of one turn at most. */
  turn(perSec: number): number;
  /** So many had theirs. */
  took(count: number, perSec: number): void;
  /** Until the next turn, in milliseconds. */
  waitMs(): number;
}

/** Turns a second: at a low rate receivers come one by one rather than all at the beginning of a second. */
const turnsPerSec = 4;

/** `maxTurn`: receivers of one transaction. `now`: milliseconds of a clock that never goes back. */
export function createPace(now: () => number, maxTurn: number): Pace {
  let nextMs = Number.NEGATIVE_INFINITY;
  return {
    turn: (perSec) => (perSec === 0 ? maxTurn : Math.min(maxTurn, Math.max(1, Math.ceil(perSec / turnsPerSec)))),
    took(count, perSec) {
      // Time that was not used is not made up for: who was slow does not come in a rush.
      if (perSec > 0) nextMs = Math.max(nextMs, now()) + (count / perSec) * 1_000;
    },
    waitMs: () => Math.max(0, nextMs - now()),
  };
}
