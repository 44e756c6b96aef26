import { setTimeout as delay } from 'node:timers/promises';

/** Puts together what is asked for while a batch is under way: one round trip for many. */
export interface Batcher<T, R> {
  add(item: T): Promise<R>;
}

/**
 * Natural batching: an item that finds nothing under way goes at once (with what comes in the same turn), what comes meanwhile goes
 * together next, at most `max` at a time, and `spacingMs` after the one before unless they are so many: a database that is quick would
 * otherwise get hardly two at once. `run` gives a result for each item, in order; when it rejects, so do all of its items. Its users
 * wait for their item before the next, so what waits is bounded by them.
 */
export function createBatcher<T, R>(
  run: (items: readonly T[]) => Promise<readonly R[]>,
  { max, spacingMs }: { max: number; spacingMs: number },
): Batcher<T, R> {
  interface Waiting {
    readonly item: T;
    readonly resolve: (result: R) => void;
    readonly reject: (error: unknown) => void;
  }
  let waiting: Waiting[] = [];
  let isRunning = false;
  let lastMs = Number.NEGATIVE_INFINITY;

  async function drain(): Promise<void> {
    isRunning = true;
    while (waiting.length > 0) {
      // A turn later, so that what comes with it goes with it.
      await new Promise<void>((resolve) => setImmediate(resolve));
      const leftMs = lastMs + spacingMs - performance.now();
      if (leftMs > 0 && waiting.length < max) await delay(leftMs);
      lastMs = performance.now();
      const batch = waiting.slice(0, max);
      waiting = waiting.slice(max);
      try {
        const results = await run(batch.map(({ item }) => item));
        for (const [index, { resolve }] of batch.entries()) resolve(results[index] as R);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    isRunning = false;
  }

  return {
    add: (item) =>
      new Promise((resolve, reject) => {
        waiting.push({ item, resolve, reject });
        if (!isRunning) void drain();
      }),
  };
}
