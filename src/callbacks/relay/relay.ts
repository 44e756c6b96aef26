import type { AppLookup, Clock } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import {
  type AppSettings,
  createLaneLocks,
  type Database,
  type LaneLocksOptions,
  LocksAway,
  type RunResult,
} from '../../store/index.ts';
import type { AfterCommand, SdkAppId } from '../../wire/index.ts';
import { endpointOf, endpointsOf } from '../endpoint/endpoint.ts';
import type { Poster } from '../endpoint/poster.ts';
import type { Pauses } from '../pauses.ts';
import { type Backlog, type BacklogFigure, createBacklog } from './backlog.ts';
import { createDrain, type DrainOptions } from './drain.ts';
import type { Entry } from './entry.ts';
import { type Circuit, createGate, type GateOptions } from './gate.ts';
import { type Lane, laneId } from './lane.ts';
import { createOutbox, outboxSettings } from './outbox.ts';
import type { DrainQueue } from './queue.ts';
import { createSweep, type SweepOptions } from './sweep.ts';
import type { LaneRun, Waker } from './waker.ts';

export interface RelayDeps {
  db: Database;
  apps: AppLookup & { list(): AppSettings[] };
  queue: DrainQueue;
  waker: Waker;
  poster: Poster;
  pauses: Pauses;
  webhookId(entry: Pick<Entry, 'id' | 'originId'>): string;
  nodeId: string;
  clock: Clock;
  /** 0 … 1. */
  random: () => number;
  logger: Logger;
  metrics: Metrics;
}

export interface RelayOptions extends DrainOptions, LaneLocksOptions {
  /** Lanes that run on this process at once; as many again that had to wait in the queue. */
  readonly concurrency: number;
  readonly gate: GateOptions;
  readonly sweep?: SweepOptions;
  readonly backlogEveryMs?: number;
}

/** Runs of a lane that is woken all the time, before others have their turn. */
const maxRuns = 10;
/** How soon to look again for a lane that runs on another process. */
const elsewhereMs = 100;
/** A pause below that is another lane's turn: the queue is for those that wait. */
const turnMs = 10;

/** Sends what stands in the outbox (DESIGN §7). */
export interface Relay {
  /** Wakes the lane of an entry: it need not wait for its time any more. With `probe` its endpoint is tried even if it counts as dead. */
  wake(sdkAppId: SdkAppId, drainKey: string, command: AfterCommand, options?: { probe: boolean }): void;
  circuits(): Circuit[];
  backlog(): readonly BacklogFigure[];
  /** Looks at the bounds of the backlog now. */
  maintain(): Promise<void>;
  /** Looks for nothing more; runs go on until the queue ends them. */
  stop(): Promise<void>;
  /** Once no lane runs any more. */
  close(): Promise<void>;
}

export function createRelay(deps: RelayDeps, options: RelayOptions): Relay {
  const { db, apps, queue, waker, poster, pauses, webhookId, nodeId, clock, random, logger, metrics } = deps;
  const own = db.another({ max: 4, statementMs: 10_000, settings: outboxSettings });
  const backlog: Backlog = createBacklog(
    { db, apps, outbox: () => outbox, nodeId, clock, logger, metrics },
    options.backlogEveryMs === undefined ? {} : { everyMs: options.backlogEveryMs },
  );
  const locks = createLaneLocks({ db, logger }, options);
  const runsHere = metrics.counter(
    'qalgate_callbacks_runs_here_total',
    'Runs of lanes without the queue, by how they ended',
    ['outcome'],
  );
  const outbox = createOutbox({ pool: own.pool, oldestDay: backlog.oldestDay, clock });
  const gate = createGate(
    { wake: waker.wakeNow, lookForAll: () => sweep.hurry(), clock, random, metrics },
    options.gate,
  );
  const drain = createDrain(
    { apps, outbox, poster, gate, pauses, webhookId, wake: waker.wakeNow, clock, random, logger, metrics },
    options,
  );
  const sweep = createSweep(
    {
      pool: own.pool,
      oldestDay: backlog.oldestDay,
      apps,
      pauses,
      async wake(lanes, { now }) {
        // So many at once are for all processes; without the queue this one goes on by itself.
        if (now) await queue.wake(lanes, { now }).catch(() => waker.wakeNow(lanes));
        else for (const lane of lanes) waker.wake(lane);
      },
      // Who stays away from an endpoint is called by the gate.
      knows: (lane) => waker.knows(lane) || gate.isParked(lane),
      isDead: gate.isDead,
      lagMs: drain.lagMs,
      isBusy: async () => waker.isBusy() || (await queue.waiting().catch(() => 0)) > 0,
      clock,
      logger,
      metrics,
    },
    options.sweep,
  );
  const unsubscribe = pauses.onChange(() => sweep.hurry());
  // Endpoints that no app has any more.
  const forgetting = setInterval(() => {
    gate.keep(new Set(apps.list().flatMap((app) => [...endpointsOf(app).keys()])));
  }, 60_000);
  forgetting.unref();

  /** Runs a lane until nobody has woken it any more, it has to wait, or others have their turn. */
  async function runLane(lane: Lane, signal: AbortSignal, running: LaneRun): Promise<RunResult> {
    const lock = await locks.take(laneId(lane));
    if (lock === undefined) return { again: 'after', delayMs: Math.round(elsewhereMs * (1 + random())) };
    const mustStop = () => signal.aborted || lock.isLost();
    try {
      for (let runs = 0; runs < maxRuns; runs++) {
        const result = await drain.run(lane, mustStop);
        const woken = running.woken();
        if (woken === 'no' || (woken === 'yes' && result.again === 'after')) return result;
      }
      return { again: 'after', delayMs: 1 };
    } finally {
      lock.release();
    }
  }

  /** A lane that the queue has called. */
  queue.start(async (lane, signal) => {
    if (waker.isRunning(lane)) {
      waker.wake(lane);
      return { again: 'when-woken' };
    }
    const running = waker.begin(lane);
    let result: RunResult | undefined;
    try {
      result = await runLane(lane, signal, running);
      if (result.again !== 'after') return result;
      const { delayMs } = result;
      return { ...result, settled: (waits) => running.end(waits ? delayMs : 0) };
    } finally {
      if (result?.again !== 'after') running.end();
    }
  });

  /** A lane that was woken on this process: the queue hears of it only where it has to wait. */
  waker.runHere(async (lane, signal) => {
    const running = waker.begin(lane);
    let result: RunResult;
    try {
      result = await runLane(lane, signal, running);
    } catch (error) {
      runsHere.inc({ outcome: 'failed' });
      if (error instanceof LocksAway) {
        // So it is for all: they wait, and so does this one.
        waker.rest();
        waker.wake(lane);
      } else {
        // The sweep finds it.
        logger.warn({ lane: laneId(lane), reason: reasonOf(error) }, 'callbacks.lane.failed');
      }
      running.end();
      return undefined;
    }
    runsHere.inc({ outcome: result.again === 'after' ? 'delayed' : 'done' });
    if (result.again === 'when-woken') {
      running.end();
      return undefined;
    }
    const { delayMs } = result;
    if (delayMs < turnMs) {
      waker.wake(lane);
      running.end();
      return undefined;
    }
    return async () => running.end((await waker.callLater(lane, delayMs)) ? delayMs : 0);
  }, options.concurrency);

  return {
    wake(sdkAppId, drainKey, command, { probe } = { probe: false }) {
      const app = apps.get(sdkAppId);
      const endpoint = app === undefined ? undefined : endpointOf(app, command);
      if (endpoint === undefined) return;
      if (probe) gate.probe(endpoint.id);
      waker.wakeNow([{ sdkAppId, endpointId: endpoint.id, drainKey }]);
    },
    circuits: gate.circuits,
    backlog: backlog.figures,
    maintain: backlog.run,
    async stop() {
      unsubscribe();
      clearInterval(forgetting);
      await Promise.all([sweep.close(), backlog.close()]);
    },
    async close() {
      gate.close();
      await Promise.all([locks.close(), own.close()]);
    },
  };
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
