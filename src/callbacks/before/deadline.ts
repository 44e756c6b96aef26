/**
 * Calls once `performance.now()` has reached `atMs`, at once if it has. Never before: Node's timers count whole milliseconds of the
 * loop's own clock and may come early. Gives back how to cancel it.
 */
function callAt(atMs: number, fn: () => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  const arm = (): void => {
    const leftMs = atMs - performance.now();
    if (leftMs <= 0) fn();
    else timer = setTimeout(arm, Math.ceil(leftMs));
  };
  arm();
  return () => clearTimeout(timer);
}

/** Resolves when `performance.now()` has reached `atMs`. */
export function sleepUntil(atMs: number): Promise<void> {
  return new Promise((resolve) => {
    callAt(atMs, resolve);
  });
}

/** What the promise gives, or undefined if `performance.now()` reaches `atMs` first. */
export function orUndefinedAt<T>(promise: Promise<T>, atMs: number): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const cancel = callAt(atMs, () => resolve(undefined));
    promise.finally(cancel).then(resolve, reject);
  });
}
