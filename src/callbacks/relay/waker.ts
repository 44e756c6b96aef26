import type { Logger, Metrics } from '../../observe/index.ts';
import { type Lane, laneId } from './lane.ts';
import type { DrainQueue } from './queue.ts';

/** Hands lanes to the queue, many at a time. */
export interface Waker {
  /** Something was written for the lane. Synchronous, best effort: what does not get through the sweep finds. */
  wake(lane: Lane): void;
  /** The lanes need not wait for their time any more. */
  wakeNow(lanes: readonly Lane[]): void;
  /** Whether the lane waits in the queue for its time, as far as is known here: then a plain wake would change nothing. */
  waits(lane: Lane): boolean;
  /** A lane begins to run. Wakes that come until it ends do not go to the queue, in whose job it is already: the run hears of them. */
  begin(lane: Lane): LaneRun;
  close(): Promise<void>;
}

export interface LaneRun {
  /** Whether the lane was woken since it was asked last; `now`: it need not wait for its time either. */
  woken(): Woken;
  /** Once the queue has it as waiting for its time, so long; or before it hears that there is nothing to wait for. */
  end(delayMs?: number): void;
}

type Woken = 'no' | 'yes' | 'now';

/** Lanes that wait to be handed over. */
const maxPending = 50_000;
/** Lanes that are known to wait for their time; of more the queue is asked. */
const maxWaiting = 50_000;
const maxBatch = 500;

export function createWaker(deps: { queue: Pick<DrainQueue, 'wake'>; logger: Logger; metrics: Metrics }): Waker {
  const { queue, logger, metrics } = deps;
  const lost = metrics.counter('qalgate_callbacks_wakes_lost_total', 'Wakes that did not reach the queue', ['reason']);
  const pending = new Map<string, { lane: Lane; now: boolean }>();
  /** Lanes that run on this process. `runs`: two, where the queue has given up the first. */
  const active = new Map<string, { runs: number; woken: Woken }>();
  /**
   * Lanes that the queue has as waiting for their time, and when that is over. Every event of a conversation that fails wakes its lane:
   * that shall cost nothing. Where it is wrong, as another process has run the lane, the sweep finds it.
   */
  const waiting = new Map<string, number>();
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
    const running = active.get(id);
    if (running !== undefined) {
      running.woken = now || running.woken === 'now' ? 'now' : 'yes';
      return;
    }
    if (isClosed || (!now && waits(id))) return;
    waiting.delete(id);
    if (pending.size >= maxPending && !pending.has(id)) {
      lost.inc({ reason: 'full' });
      return;
    }
    pending.set(id, { lane, now: now || pending.get(id)?.now === true });
    flushing ??= flush();
  }

  function noteWaiting(id: string, delayMs: number): void {
    waiting.set(id, performance.now() + delayMs);
    const [oldest] = waiting.keys();
    if (waiting.size > maxWaiting && oldest !== undefined) waiting.delete(oldest);
  }

  function waits(id: string): boolean {
    const untilMs = waiting.get(id);
    return untilMs !== undefined && untilMs > performance.now();
  }

  return {
    wake: (lane) => add(lane, false),
    waits: (lane) => waits(laneId(lane)),
    wakeNow(lanes) {
      for (const lane of lanes) add(lane, true);
    },
    begin(lane) {
      const id = laneId(lane);
      const running = active.get(id) ?? { runs: 0, woken: 'no' };
      running.runs += 1;
      active.set(id, running);
      waiting.delete(id);
      let isOver = false;
      return {
        woken() {
          const { woken } = running;
          running.woken = 'no';
          return woken;
        },
        end(delayMs = 0) {
          if (isOver) return;
          isOver = true;
          running.runs -= 1;
          if (running.runs > 0) return;
          active.delete(id);
          if (running.woken === 'now') add(lane, true);
          else if (delayMs > 0) noteWaiting(id, delayMs);
        },
      };
    },
    async close() {
      isClosed = true;
      await flushing;
    },
  };
}
