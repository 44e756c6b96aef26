import { createPostgresBackend, DelayedError, Queue, runMigrations, Worker } from 'bullmq';
import type pg from 'pg';
import type { Logger, Metrics } from '../../observe/index.ts';
import { redisOptions } from '../../store/index.ts';
import { type Lane, laneId } from './lane.ts';

/** Where BullMQ keeps its jobs. */
export type QueueBackend =
  | { readonly kind: 'postgres'; readonly connection: pg.ClientConfig }
  | { readonly kind: 'redis'; readonly url: string };

/**
 * What a run of a lane says: finished for now, or to be run again after a while. Until the queue has settled that, which it tells, a
 * wake does not shorten the while.
 */
export type RunResult =
  | { readonly again: 'when-woken' }
  | { readonly again: 'after'; readonly delayMs: number; readonly settled?: () => void };

export interface DrainQueue {
  /** BullMQ's own, for looking into. */
  readonly queue: Queue;
  /**
   * Has lanes run: once, however often they are woken; one that is running runs again after. A lane that waits for its time goes on
   * waiting, unless `now`. Rejects when the backend does not take it: then somebody has to wake it later.
   */
  wake(lanes: readonly Lane[], options?: { now?: boolean }): Promise<void>;
  /** Begins to run lanes, each by one worker of all processes at a time. */
  start(run: (lane: Lane, signal: AbortSignal) => Promise<RunResult>): void;
  /** Lanes that wait to be run, those that wait for their time aside. */
  waiting(): Promise<number>;
  close(): Promise<void>;
}

export interface DrainQueueOptions {
  /** Lanes that are run at once on this process. */
  readonly concurrency: number;
  /** Tells installations that share a Redis apart. */
  readonly prefix: string;
  /** No other process has the queue: what it holds is of a run that has ended, and goes. */
  readonly isAlone: boolean;
  /** A worker that starts nothing for so long while lanes wait is replaced; default 10 s. */
  readonly idleMs?: number;
  /** How long a run may stay without a sign of life before another worker takes it; default 15 s. */
  readonly lockMs?: number;
}

const queueName = 'callbacks';
/** Connections to PostgreSQL; a worker has one more, on which it listens. */
const poolSizes = { producer: 2, worker: 4 };
/** One command or add to the backend, at most. */
const answerMs = 10_000;
const closeMs = 5_000;
/** How long the start waits for the backend. */
const readyMs = 5_000;
/** Lanes that go to the backend in one call. */
const maxBulk = 500;

/** Makes or renews BullMQ's tables in our database. Processes that do it at once wait for one another. */
export async function migrateQueues(client: pg.ClientBase): Promise<void> {
  await runMigrations(client as Parameters<typeof runMigrations>[0]);
}

/**
 * BullMQ as the engine that wakes and paces lanes, on PostgreSQL or Redis (DESIGN §7). A job means "run this lane"; what there
 * is to send stands in the outbox alone, so a queue that loses its jobs loses nothing.
 *
 * BullMQ's deduplication makes a lane's job one: `keepLastIfActive` has it run again when it is woken while it runs.
 */
export async function createDrainQueue(
  deps: { logger: Logger; metrics: Metrics },
  backend: QueueBackend,
  options: DrainQueueOptions,
): Promise<DrainQueue> {
  const { logger, metrics } = deps;
  const { concurrency, prefix, isAlone, idleMs = 10_000, lockMs = 15_000 } = options;
  const factory = backend.kind === 'postgres' ? createPostgresBackend : undefined;
  const base = (role: 'producer' | 'worker') =>
    backend.kind === 'postgres'
      ? { connection: { ...backend.connection, max: poolSizes[role], application_name: 'qalgate queue' } }
      : { connection: redisOptions(backend.url, role), prefix };

  const jobs = metrics.counter('qalgate_callbacks_jobs_total', 'Runs of lanes by how they ended', ['outcome']);
  const errors = metrics.counter('qalgate_callbacks_queue_errors_total', 'Errors of the queue, by part', ['part']);
  const rebuilt = metrics.counter(
    'qalgate_callbacks_workers_replaced_total',
    'Workers that started nothing while lanes waited',
  );

  const queueOptions = {
    ...base('producer'),
    skipWaitingForReady: false,
    defaultJobOptions: { removeOnComplete: true, removeOnFail: true, attempts: 1 },
  };
  // biome-ignore lint/suspicious/noExplicitAny: BullMQ types the connection by the factory, which is known at run time only.
  const queue: Queue = factory ? new (Queue as any)(queueName, queueOptions, factory) : new Queue(queueName, queueOptions as any);
  const onError = (part: string) => (error: Error) => {
    errors.inc({ part });
    logger.debug({ reason: error.message, part }, 'callbacks.queue.error');
  };
  queue.on('error', onError('producer'));
  try {
    await within(queue.waitUntilReady(), readyMs);
    // What a process left that was killed would only be taken up again once its lock has run out.
    if (isAlone) await within(queue.obliterate({ force: true }), 60_000);
  } catch (error) {
    // Of our database an error is one; a Redis that is away is waited for, as nothing stands in it alone.
    if (backend.kind === 'postgres') {
      await within(queue.close(), closeMs).catch(() => {});
      throw error;
    }
    logger.warn({ reason: error instanceof Error ? error.message : String(error) }, 'callbacks.queue.away');
  }

  let worker: Worker | undefined;
  let watching: NodeJS.Timeout | undefined;
  let lastStartMs = performance.now();
  /** Runs under way on this process: a worker that has its hands full is not idle. */
  let active = 0;
  let closing = false;

  function build(run: (lane: Lane, signal: AbortSignal) => Promise<RunResult>): Worker {
    const workerOptions = {
      ...base('worker'),
      concurrency,
      lockDuration: lockMs,
      stalledInterval: lockMs / 2,
      // A lane is never given up because its workers died.
      maxStalledCount: 1_000_000,
      removeOnComplete: { count: 0 },
      removeOnFail: { count: 0 },
      drainDelay: 5,
      // After an error of its connection; it would be 15 s.
      runRetryDelay: 1_000,
    };
    const process = async (job: { data: Lane; moveToDelayed(at: number, token?: string): Promise<unknown> }, token: string, signal: AbortSignal) => {
      lastStartMs = performance.now();
      active += 1;
      let result: RunResult;
      try {
        result = await run(job.data, signal);
      } finally {
        active -= 1;
      }
      if (result.again === 'when-woken') {
        jobs.inc({ outcome: 'done' });
        return;
      }
      try {
        await job.moveToDelayed(Date.now() + result.delayMs, token);
      } finally {
        result.settled?.();
      }
      jobs.inc({ outcome: 'delayed' });
      throw new DelayedError();
    };
    // biome-ignore lint/suspicious/noExplicitAny: as above.
    const made: Worker = factory ? new (Worker as any)(queueName, process, workerOptions, factory) : new Worker(queueName, process as any, workerOptions as any);
    made.on('error', onError('worker'));
    made.on('failed', (job, error) => {
      jobs.inc({ outcome: 'failed' });
      logger.warn({ lane: job === undefined ? undefined : laneId(job.data as Lane), reason: error.message }, 'callbacks.lane.failed');
    });
    // Somebody else may run the lane by now: this one must not send any more.
    made.on('lockRenewalFailed', (ids) => {
      for (const id of ids) made.cancelJob(id);
    });
    return made;
  }

  async function waiting(): Promise<number> {
    const counts = await within(queue.getJobCounts('waiting', 'prioritized'), answerMs);
    return (counts.waiting ?? 0) + (counts.prioritized ?? 0);
  }

  return {
    queue,

    async wake(lanes, { now = false } = {}) {
      for (let start = 0; start < lanes.length; start += maxBulk) {
        const some = lanes.slice(start, start + maxBulk).map((lane) => ({
          name: 'drain',
          data: lane,
          opts: { deduplication: { id: laneId(lane), keepLastIfActive: true, ...(now ? { reschedule: true } : {}) } },
        }));
        await within(queue.addBulk(some), answerMs);
      }
    },

    start(run) {
      worker = build(run);
      // A worker can be connected and take nothing, after a fail-over for instance.
      const watch = async (): Promise<void> => {
        const idleForMs = performance.now() - lastStartMs;
        if (idleForMs < idleMs || active >= concurrency || closing || worker === undefined) return;
        if ((await waiting()) === 0) return;
        const old = worker;
        rebuilt.inc();
        logger.error({ idleMs: Math.round(idleForMs) }, 'callbacks.worker.replaced');
        lastStartMs = performance.now();
        worker = build(run);
        await within(old.close(true), closeMs).catch(() => {});
      };
      const again = (): void => {
        watching = setTimeout(() => {
          watch()
            .catch(onError('watchdog'))
            .finally(() => {
              if (!closing) again();
            });
        }, idleMs / 2);
        watching.unref();
      };
      again();
    },

    waiting,

    async close() {
      closing = true;
      clearTimeout(watching);
      // Runs that are under way end by themselves within their deadlines; what they do not finish is found again.
      await within(worker?.close() ?? Promise.resolve(), closeMs).catch(() => within(worker?.close(true) ?? Promise.resolve(), closeMs).catch(() => {}));
      await within(queue.close(), closeMs).catch(() => {});
    },
  };
}

/** What BullMQ answers, or a rejection when it takes too long. */
async function within<T>(promise: Promise<T>, limitMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the queue did not answer within ${limitMs} ms`)), limitMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
    promise.catch(() => {});
  }
}
