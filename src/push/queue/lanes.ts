import { setTimeout as delay } from 'node:timers/promises';
import type { Logger, Metrics } from '../../observe/index.ts';
import { type LaneLocks, LocksAway, type RunResult, withDeadline } from '../../store/index.ts';
import { type Lane, laneId } from './lane.ts';

/**
 * Has lanes run: here when they are woken here, and through the queue when they wait for their time or were woken where no lanes are run
 * (ADR 0010). What nobody was woken for the look finds.
 */
export interface Lanes {
  /** Something of the lane is due. Synchronous. */
  wake(lane: Lane): void;
  /** Runs a lane that the queue calls, on a place of the queue's. Never rejects. */
  run(lane: Lane, signal: AbortSignal): Promise<RunResult>;
  close(): Promise<void>;
}

interface Active {
  /** Resolves when the lane is woken while it runs. */
  woken: PromiseWithResolvers<void>;
  wasWoken: boolean;
}

/** Lanes that wait for a place. */
const maxPending = 10_000;
const closeMs = 12_000;
/** Another process runs the lane: it is looked at again, should that one have ended before it saw what is new. */
const elsewhereMs = 1_000;
const failureMs = 2_000;

export function createLanes(
  deps: {
    /** Has a lane run after a while, on any process. Rejects when the queue is away. */
    callLater(lane: Lane, delayMs: number): Promise<void>;
    locks: Pick<LaneLocks, 'take'>;
    run(lane: Lane, isLost: () => boolean, woken: () => Promise<void>): Promise<number | undefined>;
    /** Lanes with something due. */
    look(): Promise<Lane[]>;
    clock: () => number;
    logger: Logger;
    metrics: Metrics;
  },
  {
    concurrency,
    lookMs = 1_000,
    turnMs = 10_000,
  }: {
    concurrency: number;
    lookMs?: number;
    /** A lane that runs here for longer goes to the end of the line, if others wait for a place. */
    turnMs?: number;
  },
): Lanes {
  const { callLater, locks, run, look, clock, logger, metrics } = deps;
  const failures = metrics.counter(
    'qalgate_push_lane_failures_total',
    'Runs of lanes, and looks for them, that failed',
    ['part'],
  );
  const active = new Map<string, Active>();
  const pending = new Map<string, Lane>();
  const runs = new Set<Promise<void>>();
  const stop = new AbortController();
  metrics.gaugeOf('qalgate_push_lanes_running', 'Lanes that run on this process', () => active.size);

  /** One run of a lane, wherever it was woken. Never rejects. */
  async function runOnce(lane: Lane, signal: AbortSignal, isTurnOver = () => false): Promise<RunResult> {
    const id = laneId(lane);
    const running = active.get(id);
    if (running !== undefined) {
      running.wasWoken = true;
      running.woken.resolve();
      return { again: 'when-woken' };
    }
    const own: Active = { woken: Promise.withResolvers(), wasWoken: false };
    active.set(id, own);
    try {
      const lock = await locks.take(id);
      if (lock === undefined) return { again: 'after', delayMs: elsewhereMs };
      try {
        for (;;) {
          own.wasWoken = false;
          const isLost = () => lock.isLost() || signal.aborted || stop.signal.aborted || isTurnOver();
          const dueMs = await run(lane, isLost, () => {
            own.woken = Promise.withResolvers();
            return own.woken.promise;
          });
          if (isLost()) return { again: 'after', delayMs: 0 };
          if (own.wasWoken) continue;
          if (dueMs === undefined) return { again: 'when-woken' };
          return { again: 'after', delayMs: Math.max(0, dueMs - clock()) };
        }
      } finally {
        lock.release();
      }
    } catch (error) {
      failures.inc({ part: error instanceof LocksAway ? 'locks' : 'run' });
      logger.warn({ lane: id, reason: error instanceof Error ? error.message : String(error) }, 'push.lane.failed');
      return { again: 'after', delayMs: failureMs };
    } finally {
      active.delete(id);
    }
  }

  async function runHere(lane: Lane): Promise<void> {
    const startedMs = performance.now();
    const isTurnOver = () => pending.size > 0 && performance.now() - startedMs > turnMs;
    const result = await runOnce(lane, stop.signal, isTurnOver);
    if (result.again === 'when-woken' || stop.signal.aborted) return;
    // The look finds it as well, where the queue is away.
    await callLater(lane, result.delayMs).catch(() => failures.inc({ part: 'queue' }));
  }

  function runSome(): void {
    for (const [id, lane] of pending) {
      if (runs.size >= concurrency || stop.signal.aborted) return;
      pending.delete(id);
      const done = runHere(lane).finally(() => {
        runs.delete(done);
        runSome();
      });
      runs.add(done);
    }
  }

  function wake(lane: Lane): void {
    const id = laneId(lane);
    const running = active.get(id);
    if (running !== undefined) {
      running.wasWoken = true;
      running.woken.resolve();
      return;
    }
    if (pending.size < maxPending) pending.set(id, lane);
    runSome();
  }

  async function looking(): Promise<void> {
    while (!stop.signal.aborted) {
      try {
        for (const lane of await look()) if (!active.has(laneId(lane))) wake(lane);
      } catch (error) {
        failures.inc({ part: 'look' });
        logger.warn({ reason: error instanceof Error ? error.message : String(error) }, 'push.look.failed');
      }
      await delay(lookMs, undefined, { signal: stop.signal, ref: false }).catch(() => {});
    }
  }
  const looks = looking();

  return {
    wake,
    run: runOnce,
    async close() {
      stop.abort();
      await withDeadline(Promise.all([looks, ...runs]), closeMs);
    },
  };
}
