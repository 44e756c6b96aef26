import { setTimeout as delay } from 'node:timers/promises';
import type { Logger, Metrics } from '../../observe/index.ts';
import { withDeadline } from '../../store/index.ts';
import type { Expand } from './expand.ts';
import type { Lane } from './lane.ts';

/** Has messages looked at for pushes as soon as they are stored, one batch at a time on this process. */
export interface Expander {
  /** There may be messages. Synchronous. */
  wake(): void;
  close(): Promise<void>;
}

const closeMs = 5_000;
const failureMs = 1_000;

/** `lookMs`: a message that nobody was woken for waits so long at most. */
export function createExpander(
  deps: { expand: Expand; wakeLane(lane: Lane): void; logger: Logger; metrics: Metrics },
  { lookMs = 1_000 }: { lookMs?: number } = {},
): Expander {
  const { expand, wakeLane, logger, metrics } = deps;
  const failures = metrics.counter(
    'qalgate_push_expand_failures_total',
    'Times that messages could not be looked at for pushes',
  );
  const stop = new AbortController();
  let woken = Promise.withResolvers<void>();

  async function loop(): Promise<void> {
    while (!stop.signal.aborted) {
      woken = Promise.withResolvers();
      try {
        await expand.run(stop.signal, wakeLane);
      } catch (error) {
        failures.inc();
        logger.warn({ reason: error instanceof Error ? error.message : String(error) }, 'push.expand.failed');
        await delay(failureMs, undefined, { signal: stop.signal, ref: false }).catch(() => {});
        continue;
      }
      const timer = new AbortController();
      const signal = AbortSignal.any([stop.signal, timer.signal]);
      await Promise.race([woken.promise, delay(lookMs, undefined, { signal, ref: false }).catch(() => {})]);
      timer.abort();
    }
  }
  const looping = loop();

  return {
    wake: () => woken.resolve(),
    async close() {
      stop.abort();
      await withDeadline(looping, closeMs);
    },
  };
}
