import type { Logger, Metrics } from '../../observe/index.ts';
import { type Lane, laneId } from './lane.ts';
import type { DrainQueue } from './queue.ts';

/** Hands lanes to the queue, many at a time. */
export interface Waker {
  /** Something was written for the lane. Synchronous, best effort: what does not get through the sweep finds. */
  wake(lane: Lane): void;
  /** The lanes need not wait for their time any more. */
  wakeNow(lanes: readonly Lane[]): void;
  /**
   * Runs a lane. Wakes that come meanwhile do not go to the queue, in whose job it is already: the result tells of them. `now`: it
   * need not wait for its time either.
   */
  running<T>(lane: Lane, run: () => Promise<T>): Promise<{ result: T; woken: 'no' | 'yes' | 'now' }>;
  close(): Promise<void>;
}

/** Lanes that wait to be handed over. */
const maxPending = 50_000;
const maxBatch = 500;

export function createWaker(deps: { queue: Pick<DrainQueue, 'wake'>; logger: Logger; metrics: Metrics }): Waker {
  const { queue, logger, metrics } = deps;
  const lost = metrics.counter('qalgate_callbacks_wakes_lost_total', 'Wakes that did not reach the queue', ['reason']);
  const pending = new Map<string, { lane: Lane; now: boolean }>();
  /** Lanes that run on this process; whether they were woken since. */
  const active = new Map<string, 'no' | 'yes' | 'now'>();
  let flushing: Promise<void> | undefined;
  let isClosed = false;

  async function flush(): Promise<void> {
    // A turn later: what comes in one turn goes together.
    await new Promise<void>((resolve) => setImmediate(resolve));
    while (pending.size > 0) {
      const some = [...pending].slice(0, maxBatch);
      for (const [id] of some) pending.delete(id);
      try {
        const lanes = some.map(([, one]) => one);
        const later = lanes.filter(({ now }) => !now).map(({ lane }) => lane);
        const now = lanes.filter((one) => one.now).map(({ lane }) => lane);
        if (later.length > 0) await queue.wake(later);
        if (now.length > 0) await queue.wake(now, { now: true });
      } catch (error) {
        lost.inc({ reason: 'queue-away' }, some.length);
        logger.debug({ reason: error instanceof Error ? error.message : String(error) }, 'callbacks.wake.failed');
      }
    }
    flushing = undefined;
  }

  function add(lane: Lane, now: boolean): void {
    const id = laneId(lane);
    const woken = active.get(id);
    if (woken !== undefined) {
      active.set(id, now || woken === 'now' ? 'now' : 'yes');
      return;
    }
    if (isClosed) return;
    if (pending.size >= maxPending && !pending.has(id)) {
      lost.inc({ reason: 'full' });
      return;
    }
    pending.set(id, { lane, now: now || pending.get(id)?.now === true });
    flushing ??= flush();
  }

  return {
    wake: (lane) => add(lane, false),
    wakeNow(lanes) {
      for (const lane of lanes) add(lane, true);
    },
    async running(lane, run) {
      const id = laneId(lane);
      active.set(id, 'no');
      try {
        const result = await run();
        return { result, woken: active.get(id) ?? 'no' };
      } finally {
        active.delete(id);
      }
    },
    async close() {
      isClosed = true;
      await flushing;
    },
  };
}
