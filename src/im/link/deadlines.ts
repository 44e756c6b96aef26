import { setMaxListeners } from 'node:events';

/** Deadlines that begin within one step of each other are one. */
const stepMs = 100;

export interface Deadlines {
  /** Aborts once `afterMs` have passed, up to a step later. */
  next(): AbortSignal;
  close(): void;
}

/** Deadlines of many requests, a timer a step and not a timer a request. */
export function createDeadlines({ afterMs }: { afterMs: number }): Deadlines {
  const timers = new Set<NodeJS.Timeout>();
  let current: AbortSignal | undefined;
  let startedMs = 0;
  return {
    next() {
      const nowMs = performance.now();
      if (current !== undefined && nowMs - startedMs < stepMs) return current;
      const controller = new AbortController();
      // As many as there are requests in a step.
      setMaxListeners(0, controller.signal);
      const timer = setTimeout(() => {
        timers.delete(timer);
        controller.abort(new DOMException('the deadline has passed', 'TimeoutError'));
      }, afterMs + stepMs);
      timer.unref();
      timers.add(timer);
      current = controller.signal;
      startedMs = nowMs;
      return current;
    },
    close() {
      for (const timer of timers) clearTimeout(timer);
      timers.clear();
    },
  };
}
