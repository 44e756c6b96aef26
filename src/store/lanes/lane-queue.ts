import { setTimeout as delay } from 'node:timers/promises';
import type { Job, Queue, Worker } from 'bullmq';
import pg from 'pg';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { Database } from '../connection.ts';
import { redisOptions } from '../redis.ts';

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
  | { readonly again: 'after'; readonly delayMs: number; readonly settled?: (waits: boolean) => void };

/** `L`: what tells which lane a job is of; plain data. */
export interface LaneQueue<L> {
  /** BullMQ's own, for looking into. */
  readonly queue: Queue;
  /**
   * Has lanes run: once, however often they are woken; one that is running runs again after. A lane that waits for its time goes on
   * waiting, unless `now`. With `delayMs` they wait for so long, also those that wait already. Rejects when the backend does not take
   * it: then somebody has to wake them later.
   */
  wake(lanes: readonly L[], options?: { now?: boolean; delayMs?: number }): Promise<void>;
  /** Begins to run lanes, each by one worker of all processes at a time. */
  start(run: (lane: L, signal: AbortSignal) => Promise<RunResult>): void;
  /** Lanes that wait to be run, those that wait for their time aside. */
  waiting(): Promise<number>;
  close(): Promise<void>;
}

/** One worker of BullMQ. */
interface RunningWorker {
  /** It could not be begun, and remembers that: another one has to take its place. */
  hasFailed(): boolean;
  /** Whether it has its hands full: then it is not idle. */
  isFull(): boolean;
  /** Takes nothing new; runs under way get their time, are told to stop after it, and are left alone then. */
  end(): Promise<void>;
}

export interface LaneQueueOptions<L> {
  /** Names the queue, its metrics (`qalgate_<name>_…`) and its lines in the log. */
  readonly name: string;
  /** Names a lane in the queue; never an account's or group's own name. */
  laneId(lane: L): string;
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
  /** How long runs under way may still take when it closes; default 5 s. */
  readonly closeMs?: number;
}

/** Loaded by whoever has a queue: commands have none, and should not wait for it. */
async function loadBullmq<L>() {
  const { createPostgresBackend, DelayedError, Queue, runMigrations, Worker } = await import('bullmq');
  return {
    createPostgresBackend,
    DelayedError,
    runMigrations,
    // BullMQ types the connection by the backend, which is known at run time only.
    AnyQueue: Queue as unknown as new (name: string, options: object, backend?: unknown) => Queue,
    AnyWorker: Worker as unknown as new (
      name: string,
      process: (job: Job<L>, token: string, signal: AbortSignal) => Promise<void>,
      options: object,
      backend?: unknown,
    ) => Worker<L>,
  };
}

/** Connections to PostgreSQL; a worker has one more, on which it listens. */
const poolSizes = { producer: 2, worker: 4 };
/**
 * Nothing waits for the disk, unless the connection says so itself: a commit for each move of each job costs more than all else. A
 * server that crashes forgets the queue's last half second: lanes whose wake it forgets the sweep finds, and those that it takes for
 * running still come again when their lock has run out. The outbox is as durable as ever.
 */
const sessionDefaults = { application_name: 'qalgate queue', options: '-c synchronous_commit=off' };
/** One command or add to the backend, at most. */
const answerMs = 10_000;
/** How long the start waits for the backend. */
const readyMs = 5_000;
/** Lanes that go to the backend in one call. */
const maxBulk = 500;
/** Errors in a row after which a worker rests, and how long. */
const manyErrors = 5;
const restMs = 500;
const settleMs = 200;

/**
 * Makes or renews BullMQ's tables in our database. Processes that do it at once wait for one another.
 *
 * Rows of no queue keep the table of deduplication from ever being empty: a connection that has planned for an empty table reads the
 * whole of it for each lane that is woken, however many wait by then.
 */
export async function migrateQueues(client: pg.ClientBase): Promise<void> {
  const { runMigrations } = await loadBullmq();
  await runMigrations(client as Parameters<typeof runMigrations>[0]);
  await client.query(
    `insert into bullmq.dedup (queue, dedup_id, job_id) select 'none', n::text, '' from generate_series(1, 2000) as n
     on conflict do nothing`,
  );
}

/**
 * BullMQ has connections between two statements that nobody listens to: one that the server ends just then would end the process. The next
 * statement hears of it.
 */
class HeardClient extends pg.Client {
  constructor(config?: pg.ClientConfig) {
    super(config);
    this.on('error', () => {});
  }
}

/** As {@link migrateQueues}, on a connection of its own. */
export async function makeQueueTables(db: Pick<Database, 'pool'>): Promise<void> {
  const client = await db.pool.connect();
  try {
    await migrateQueues(client);
  } finally {
    client.release();
  }
}

/** Queues on the database that is there anyway, or on the Redis of that URL. */
export function queueBackendOf(
  { target }: Pick<Database, 'target'>,
  where: { readonly kind: 'postgres' } | { readonly kind: 'redis'; readonly url: string },
): QueueBackend {
  if (where.kind === 'redis') return where;
  // For BullMQ's own connections: our limits, and its way to read numbers.
  const connection = {
    ...('host' in target ? { ssl: false, ...target } : target),
    keepAlive: true,
    connectionTimeoutMillis: 5_000,
    statement_timeout: 10_000,
    query_timeout: 12_000,
    // For its pools.
    Client: HeardClient,
  };
  return { kind: 'postgres', connection };
}

/**
 * BullMQ as the engine that wakes and paces lanes, on PostgreSQL or Redis (DESIGN §7, §8). A job means "run this lane"; what there
 * is to send stands in the database alone, so a queue that loses its jobs loses nothing.
 *
 * BullMQ's deduplication makes a lane's job one: `keepLastIfActive` has it run again when it is woken while it runs.
 */
export async function createLaneQueue<L>(
  deps: { logger: Logger; metrics: Metrics },
  backend: QueueBackend,
  options: LaneQueueOptions<L>,
): Promise<LaneQueue<L>> {
  const { logger, metrics } = deps;
  const { name, laneId, concurrency, prefix, isAlone, idleMs = 10_000, lockMs = 15_000, closeMs = 5_000 } = options;
  /** What is left to do when runs have ended, or have been told to. */
  const endMs = Math.min(closeMs, 2_000);
  const { AnyQueue, AnyWorker, createPostgresBackend, DelayedError } = await loadBullmq<L>();
  const factory = backend.kind === 'postgres' ? createPostgresBackend : undefined;
  const base = (role: 'producer' | 'worker') =>
    backend.kind === 'postgres'
      ? { connection: { ...sessionDefaults, ...backend.connection, max: poolSizes[role] } }
      : { connection: redisOptions(backend.url, role), prefix };

  const jobs = metrics.counter(`qalgate_${name}_jobs_total`, 'Runs of lanes by how they ended', ['outcome']);
  const errors = metrics.counter(`qalgate_${name}_queue_errors_total`, 'Errors of the queue, by part', ['part']);
  const rebuilt = metrics.counter(
    `qalgate_${name}_workers_replaced_total`,
    'Workers that started nothing while lanes waited',
  );

  const queueOptions = {
    ...base('producer'),
    skipWaitingForReady: false,
    defaultJobOptions: { removeOnComplete: true, removeOnFail: true, attempts: 1 },
  };
  const queue = new AnyQueue(name, queueOptions, factory);
  const onError = (part: string) => (error: Error) => {
    errors.inc({ part });
    logger.debug({ reason: error.message, part }, `${name}.queue.error`);
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
    logger.warn({ reason: error instanceof Error ? error.message : String(error) }, `${name}.queue.away`);
  }

  let worker: RunningWorker | undefined;
  /** Of the worker before. */
  let ending: Promise<void> | undefined;
  let watching: NodeJS.Timeout | undefined;
  let lastStartMs = performance.now();
  /** When lanes were first seen waiting that have not all been begun since. */
  let waitingSinceMs: number | undefined;
  let closing = false;

  function build(run: (lane: L, signal: AbortSignal) => Promise<RunResult>): RunningWorker {
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
      // Begun once it is connected, below.
      autorun: false,
    };
    let active = 0;
    let errorsInRow = 0;
    let noneActive = Promise.withResolvers<void>();
    noneActive.resolve();
    const process = async (job: Job<L>, token: string, signal: AbortSignal): Promise<void> => {
      lastStartMs = performance.now();
      errorsInRow = 0;
      if (active === 0) noneActive = Promise.withResolvers();
      active += 1;
      let result: RunResult;
      try {
        result = await run(job.data, signal);
      } finally {
        active -= 1;
        if (active === 0) noneActive.resolve();
      }
      if (result.again === 'when-woken') {
        jobs.inc({ outcome: 'done' });
        return;
      }
      let waits = false;
      try {
        await within(job.moveToDelayed(Math.round(Date.now() + result.delayMs), token), answerMs);
        waits = true;
      } finally {
        result.settled?.(waits);
      }
      jobs.inc({ outcome: 'delayed' });
      throw new DelayedError();
    };
    const made = new AnyWorker(name, process, workerOptions, factory);
    let hasBegun = false;
    let hasFailed = false;
    let hasEnded = false;
    let resting: NodeJS.Timeout | undefined;
    /** After several errors in a row: what fails at once BullMQ tries again at once, and nothing else gets its turn. */
    const rest = (): void => {
      if (!hasBegun || resting !== undefined || hasEnded) return;
      made.pause(true).catch(onError('worker'));
      resting = setTimeout(() => {
        resting = undefined;
        if (!hasEnded) made.resume().catch(onError('worker'));
      }, restMs);
      resting.unref();
    };
    made.on('error', (error) => {
      onError('worker')(error);
      errorsInRow += 1;
      if (errorsInRow >= manyErrors) rest();
    });
    made
      .waitUntilReady()
      .then(() => {
        if (hasEnded) return undefined;
        hasBegun = true;
        return made.run();
      })
      .catch((error) => {
        hasFailed = true;
        onError('worker')(error);
      });
    made.on('failed', (job, error) => {
      jobs.inc({ outcome: 'failed' });
      logger.warn(
        { lane: job === undefined ? undefined : laneId(job.data), reason: error.message },
        `${name}.lane.failed`,
      );
    });
    // Somebody else may run the lane by now: this one must not send any more.
    made.on('lockRenewalFailed', (ids) => {
      for (const id of ids) made.cancelJob(id);
    });
    return {
      hasFailed: () => hasFailed,
      isFull: () => active >= concurrency,
      async end() {
        hasEnded = true;
        await within(made.pause(true), endMs).catch(() => {});
        await within(noneActive.promise, closeMs).catch(() => {
          made.cancelAllJobs();
          return within(noneActive.promise, endMs).catch(() => {});
        });
        // What has just ended is being recorded. Not by close(false), which waits for a backend that is away for ever.
        if (made.isRunning()) await delay(settleMs);
        made.cancelAllJobs();
        // Else it may begin to wait for a job, for up to an hour, on a connection that is closed.
        await within(made.getBackend().disconnectBlocking(true), endMs).catch(() => {});
        await within(made.close(true), endMs).catch(() => {});
      },
    };
  }

  async function waiting(): Promise<number> {
    const counts = await within(queue.getJobCounts('waiting', 'prioritized'), answerMs);
    return (counts.waiting ?? 0) + (counts.prioritized ?? 0);
  }

  /** Lanes wait, and have for a while, and in all that time it began none of them though it has hands free. */
  async function isStuck(one: RunningWorker): Promise<boolean> {
    const lookedMs = performance.now();
    // What has come only now does not count.
    waitingSinceMs = (await waiting()) === 0 ? undefined : (waitingSinceMs ?? lookedMs);
    if (waitingSinceMs === undefined || one.isFull()) return false;
    return performance.now() - Math.max(waitingSinceMs, lastStartMs) >= idleMs;
  }

  return {
    queue,

    async wake(lanes, { now = false, delayMs } = {}) {
      if (closing) throw new Error('the queue is closed');
      for (let start = 0; start < lanes.length; start += maxBulk) {
        const some = lanes.slice(start, start + maxBulk).map((lane) => ({
          name: 'drain',
          data: lane,
          opts: {
            deduplication: {
              id: laneId(lane),
              keepLastIfActive: true,
              ...(now || delayMs !== undefined ? { reschedule: true } : {}),
            },
            // PostgreSQL takes whole numbers alone.
            ...(delayMs === undefined ? {} : { delay: Math.round(delayMs) }),
          },
        }));
        await within(queue.addBulk(some), answerMs);
      }
    },

    start(run) {
      worker = build(run);
      // A worker can be connected and take nothing, after a fail-over for instance; or never have been connected.
      const watch = async (): Promise<void> => {
        if (closing || worker === undefined) return;
        if (!worker.hasFailed() && !(await isStuck(worker))) return;
        if (closing) return;
        const old = worker;
        rebuilt.inc();
        logger.error({ idleMs: Math.round(performance.now() - lastStartMs) }, `${name}.worker.replaced`);
        lastStartMs = performance.now();
        waitingSinceMs = undefined;
        worker = build(run);
        ending = old.end();
        await ending;
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
      await Promise.all([worker?.end(), ending]);
      await within(queue.close(), endMs).catch(() => within(queue.disconnect(), endMs).catch(() => {}));
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
