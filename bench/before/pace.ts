/** Calls `fn` so many times, so many a second, whether the ones before have ended or not; resolves when all have. */
export async function openLoop(count: number, perSec: number, fn: (n: number) => Promise<void>): Promise<void> {
  const calls: Promise<void>[] = [];
  const startedMs = performance.now();
  await new Promise<void>((resolve, reject) => {
    const tick = (): void => {
      const due = Math.min(count, 1 + Math.floor(((performance.now() - startedMs) * perSec) / 1_000));
      while (calls.length < due) {
        const call = fn(calls.length);
        call.catch(reject);
        calls.push(call);
      }
      if (calls.length === count) resolve();
      else setTimeout(tick, 1);
    };
    tick();
  });
  await Promise.all(calls);
}

/** Keeps the event loop of this process busy until the returned function is called. */
export function loadLoop({ busyMs, everyMs }: { busyMs: number; everyMs: number }): () => void {
  const timer = setInterval(() => {
    const untilMs = performance.now() + busyMs;
    while (performance.now() < untilMs);
  }, everyMs);
  return () => clearInterval(timer);
}

/** The value that a share of all is not above. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}
