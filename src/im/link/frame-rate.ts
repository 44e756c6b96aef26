/** How many frames a link may send: on average over these seconds, and how much more ends it. */
const windowSec = 4;
const floodFactor = 3;

export type FrameVerdict = 'ok' | 'limited' | 'flood';

/**
 * Two token buckets of one link: what the first does not hold is refused, what the second does not hold either ends the
 * link. They are full at the start.
 */
export class FrameRate {
  #tokens = Number.POSITIVE_INFINITY;
  #floodTokens = Number.POSITIVE_INFINITY;
  #atMs = 0;

  /** @param nowMs a clock that does not go back */
  take(nowMs: number, perSec: number): FrameVerdict {
    const passedSec = (nowMs - this.#atMs) / 1_000;
    this.#atMs = nowMs;
    this.#tokens = Math.min(perSec * windowSec, this.#tokens + passedSec * perSec);
    const flood = perSec * floodFactor;
    this.#floodTokens = Math.min(flood * windowSec, this.#floodTokens + passedSec * flood);
    if (this.#floodTokens < 1) return 'flood';
    this.#floodTokens -= 1;
    if (this.#tokens < 1) return 'limited';
    this.#tokens -= 1;
    return 'ok';
  }
}
