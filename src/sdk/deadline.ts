import { QalError } from './error.ts';

/** A signal that fires when the caller's does, or when a step takes too long. */
export interface Deadline {
  readonly signal: AbortSignal;
  /** From now on this much time is left; replaces an earlier one. */
  start(ms: number, what: string): void;
  /** No time limit until the next start. */
  stop(): void;
  /** The end of it, for this reason. */
  abort(reason?: unknown): void;
  /** The end of it: stops, and lets go of the caller's signal. */
  release(): void;
}

export function createDeadline(outer?: AbortSignal | null): Deadline {
  const controller = new AbortController();
  const { signal } = controller;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stop = (): void => clearTimeout(timer);
  const follow = (): void => controller.abort(outer?.reason);
  const release = (): void => {
    stop();
    outer?.removeEventListener('abort', follow);
  };
  if (outer?.aborted === true) follow();
  else outer?.addEventListener('abort', follow);
  return {
    signal,
    start(ms, what) {
      stop();
      timer = setTimeout(() => controller.abort(new QalError('TIMEOUT', `${what} took more than ${ms} ms`)), ms);
    },
    stop,
    abort(reason) {
      release();
      controller.abort(reason);
    },
    release,
  };
}

/** Waits for the promise, but no longer than the signal allows. What the promise does later is looked past. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop);
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

/** Does something with a signal that fires when it takes too long, or when the caller's does; and waits no longer than that. */
export async function within<T>(
  ms: number,
  what: string,
  signal: AbortSignal | undefined,
  run: (signal: AbortSignal) => T | Promise<T>,
): Promise<T> {
  const deadline = createDeadline(signal);
  deadline.start(ms, what);
  try {
    return await abortable((async () => run(deadline.signal))(), deadline.signal);
  } finally {
    deadline.release();
  }
}
