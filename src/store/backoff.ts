/** Waits that double from `minMs` to `maxMs`, each cut by a random part of up to a half so that processes spread out. */
export interface Backoff {
  /** The next wait in milliseconds. */
  nextMs(): number;
  /** It worked: start again from `minMs`. */
  reset(): void;
}

export function createBackoff(options: { minMs: number; maxMs: number }, random: () => number = Math.random): Backoff {
  let stepMs = options.minMs;
  return {
    nextMs() {
      const waitMs = stepMs * (1 - random() / 2);
      stepMs = Math.min(stepMs * 2, options.maxMs);
      return waitMs;
    },
    reset() {
      stepMs = options.minMs;
    },
  };
}
