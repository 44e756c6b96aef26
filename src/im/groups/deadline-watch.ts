/** Who waits until when. */
export interface DeadlineWatch<T> {
  add(deadline: AbortSignal, waiter: T): void;
  /** It waits no longer. */
  remove(deadline: AbortSignal, waiter: T): void;
}

/**
 * Calls for each waiter whose deadline passes. Many share one deadline (a link edge has one for all requests of 100 ms), and a signal looks
 * through all its listeners for each that is added or removed: so it has one of ours, however many wait.
 */
export function createDeadlineWatch<T>(onPassed: (waiter: T) => void): DeadlineWatch<T> {
  const watched = new Map<AbortSignal, { readonly waiters: Set<T>; readonly onAbort: () => void }>();

  return {
    add(deadline, waiter) {
      let watch = watched.get(deadline);
      if (watch === undefined) {
        const waiters = new Set<T>();
        const onAbort = () => {
          watched.delete(deadline);
          for (const one of waiters) onPassed(one);
        };
        watch = { waiters, onAbort };
        watched.set(deadline, watch);
        deadline.addEventListener('abort', onAbort, { once: true });
      }
      watch.waiters.add(waiter);
    },

    remove(deadline, waiter) {
      const watch = watched.get(deadline);
      if (watch === undefined) return;
      watch.waiters.delete(waiter);
      if (watch.waiters.size > 0) return;
      watched.delete(deadline);
      deadline.removeEventListener('abort', watch.onAbort);
    },
  };
}
