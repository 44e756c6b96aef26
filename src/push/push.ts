import type { AppLookup, Clock } from '../auth/index.ts';
import type { Logger, Metrics } from '../observe/index.ts';
import {
  type AppSettings,
  createLaneLocks,
  createLaneQueue,
  type Database,
  type LaneQueue,
  makeQueueTables,
  pushChannels,
  queueBackendOf,
  type Sealer,
} from '../store/index.ts';
import type { SdkAppId } from '../wire/index.ts';
import { createApnsSender, createProviderTokens } from './apns/index.ts';
import { createFcmSender } from './fcm/index.ts';
import { createPauses, type Pauses, service } from './pauses.ts';
import type { SenderFigures } from './provider.ts';
import { type Brake, createBrake } from './queue/brake.ts';
import { createExpand } from './queue/expand.ts';
import { createExpander, type Expander } from './queue/expander.ts';
import { createItems, queueSettings } from './queue/items.ts';
import { type Lane, laneId } from './queue/lane.ts';
import { createLanes, type Lanes } from './queue/lanes.ts';
import { createLaneRun } from './queue/run.ts';
import { type Backlog, createUpkeep, type Upkeep } from './queue/upkeep.ts';
import { createSenders, type Senders } from './senders.ts';

export interface PushDeps {
  db: Database;
  apps: AppLookup & { list(): AppSettings[] };
  sealer: Sealer;
  clock: Clock;
  /** 0 … 1. */
  random: () => number;
  logger: Logger;
  metrics: Metrics;
}

export interface PushOptions {
  /** Where BullMQ keeps its jobs: the database, or the Redis of that URL. */
  queue: { readonly kind: 'postgres' } | { readonly kind: 'redis'; readonly url: string };
  /** No other process works on this database: it is ours to migrate, and what the queue holds is left from before. */
  isAlone: boolean;
  /** Whether this process sends pushes; else it only wakes those who do. */
  sends: boolean;
  /** Lanes (an app's service each) that run at once. */
  concurrency: number;
  tuning?: { lookMs?: number; upkeepMs?: number; lockMs?: number };
}

export interface Push {
  readonly pauses: Pauses;
  /** Raw jobs, for looking into. */
  readonly queue: LaneQueue<Job>['queue'];
  /** Whether messages of the app are pushed: then each that is stored gets an entry in the outbox. */
  wants(sdkAppId: SdkAppId): boolean;
  /** Such entries have been committed. Synchronous, best effort. */
  written(): void;
  /** Something waits in the lane, or waits no longer for an operator. */
  wake(lane: Lane): void;
  /** Clients of services, on this process. */
  services(): (Lane & SenderFigures)[];
  backlog(): readonly Backlog[];
  /** Looks at what waits now; by itself every 15 s. */
  maintain(): Promise<void>;
  close(): Promise<void>;
}

/** What a job of the queue asks for. */
type Job = { readonly kind: 'expand' } | ({ readonly kind: 'send' } & Lane);

/** Between two jobs that ask for the same of other processes. */
const spacingMs = 100;

/**
 * The push gateway (RULES S): turns stored messages into pushes for devices that are not there, and gets them to APNs and FCM. Rejects when
 * the database does not answer; a queue on Redis that is away is waited for in the background.
 */
export async function createPush(deps: PushDeps, options: PushOptions): Promise<Push> {
  const { db, apps, sealer, clock, random, logger, metrics } = deps;
  const { tuning = {} } = options;
  await using stack = new AsyncDisposableStack();
  const pauses = createPauses({ db, clock });
  if (options.queue.kind === 'postgres' && options.isAlone) await makeQueueTables(db);
  // Whoever had mended it meanwhile started us; if not, the services say so again.
  if (options.sends) await pauses.mendedAll();
  const queue = await createLaneQueue<Job>({ logger, metrics }, queueBackendOf(db, options.queue), {
    name: 'push',
    laneId: (job) => (job.kind === 'expand' ? 'expand' : laneId(job)),
    concurrency: options.concurrency + 1,
    prefix: `{qalgate-push-${await readEpoch(db)}}`,
    isAlone: options.isAlone && options.sends,
    ...(tuning.lockMs === undefined ? {} : { lockMs: tuning.lockMs }),
  });
  const caller = createCaller(queue);
  let here: { lanes: Lanes; expander: Expander; upkeep: Upkeep; senders: Senders } | undefined;
  if (options.sends) {
    const own = db.another({ max: 6, statementMs: 10_000, settings: queueSettings });
    stack.defer(() => own.close());
    const locks = createLaneLocks({ db, logger }, tuning.lockMs === undefined ? {} : { lockMs: tuning.lockMs });
    stack.defer(() => locks.close());
    const tokens = createProviderTokens({ db, sealer, clock, logger, metrics });
    const senders = createSenders({
      apps,
      make: {
        apns: (settings) => createApnsSender({ tokens, clock, random, logger, metrics }, settings),
        fcm: (settings) => createFcmSender({ clock, random, logger, metrics }, settings),
      },
      onChange(lane) {
        brakeOf(lane).reset();
        mended.set(laneId(lane), lane);
      },
    });
    stack.defer(() => senders.close());
    /** Lanes whose pauses end with the next look, as their services have new credentials. */
    const mended = new Map<string, Lane>();
    const brakes = new Map<string, Brake>();
    const brakeOf = (lane: Lane): Brake => {
      const brake = brakes.get(laneId(lane)) ?? createBrake();
      brakes.set(laneId(lane), brake);
      return brake;
    };
    async function endMended(): Promise<void> {
      for (const [id, lane] of [...mended]) {
        mended.delete(id);
        try {
          await pauses.mended(lane);
        } catch (error) {
          mended.set(id, lane);
          throw error;
        }
      }
    }
    const skipped = metrics.counter('qalgate_push_skipped_total', 'Pushes that were not to be, by why', ['reason']);
    const items = createItems({ pool: own.pool, clock });
    const laneRun = createLaneRun({
      items,
      apps,
      senderOf: senders.get,
      brakeOf,
      async halt(lane, reason, by) {
        brakeOf(lane).reset();
        await pauses.pause({ ...lane, reason, actor: service });
        // Credentials that were changed meanwhile may have ended pauses before there was this one.
        if (senders.get(lane) !== by) mended.set(laneId(lane), lane);
      },
      skipped,
      clock,
      random,
      logger,
      metrics,
    });
    const lanes = createLanes(
      {
        callLater: (lane, delayMs) => queue.wake([{ kind: 'send', ...lane }], { delayMs }),
        locks,
        run: laneRun.run,
        async look() {
          senders.refresh();
          await endMended();
          return items.dueLanes(lanesOf(apps.list()));
        },
        clock,
        logger,
        metrics,
      },
      { concurrency: options.concurrency, ...tuning },
    );
    stack.defer(() => lanes.close());
    const expand = createExpand({ pool: own.pool, apps, skipped, clock, metrics });
    const expander = createExpander({ expand, wakeLane: lanes.wake, logger, metrics }, tuning);
    stack.defer(() => expander.close());
    const upkeep = createUpkeep(
      { pool: own.pool, apps, pauses: async () => (await pauses.list()).length, clock, logger, metrics },
      tuning.upkeepMs === undefined ? {} : { everyMs: tuning.upkeepMs },
    );
    stack.defer(() => upkeep.close());
    here = { lanes, expander, upkeep, senders };
    queue.start(async (job, signal) => {
      if (job.kind === 'send') return lanes.run({ sdkAppId: job.sdkAppId, channel: job.channel }, signal);
      expander.wake();
      return { again: 'when-woken' };
    });
  }
  stack.defer(() => queue.close());
  stack.defer(async () => caller.close());

  const opened = stack.move();
  return {
    pauses,
    queue: queue.queue,
    wants(sdkAppId) {
      const push = apps.get(sdkAppId)?.push;
      return push !== undefined && (push.apns !== undefined || push.fcm !== undefined);
    },
    written() {
      if (here === undefined) caller.call({ kind: 'expand' });
      else here.expander.wake();
    },
    wake(lane) {
      if (here === undefined) caller.call({ kind: 'send', ...lane });
      else here.lanes.wake(lane);
    },
    services: () => here?.senders.list().map(({ lane, sender }) => ({ ...lane, ...sender.figures() })) ?? [],
    backlog: () => here?.upkeep.backlog() ?? [],
    maintain: async () => here?.upkeep.run(),
    close: () => opened.disposeAsync(),
  };
}

/** The lanes of all apps, one for each service that an app has. */
function lanesOf(apps: readonly AppSettings[]): Lane[] {
  return apps.flatMap(({ sdkAppId, push }) =>
    pushChannels.flatMap((channel) => (push[channel] === undefined ? [] : { sdkAppId: sdkAppId as SdkAppId, channel })),
  );
}

/** Asks other processes, not for every message: the first at once, those that come within a moment together. Lost ones are found by a look. */
function createCaller(queue: Pick<LaneQueue<Job>, 'wake'>) {
  const wanted = new Map<string, Job>();
  let timer: NodeJS.Timeout | undefined;
  const flush = (): void => {
    const jobs = [...wanted.values()];
    wanted.clear();
    timer = jobs.length === 0 ? undefined : setTimeout(flush, spacingMs).unref();
    if (jobs.length > 0) queue.wake(jobs).catch(() => {});
  };
  return {
    call(job: Job): void {
      wanted.set(job.kind === 'expand' ? job.kind : laneId(job), job);
      if (timer === undefined) flush();
    },
    close: () => clearTimeout(timer),
  };
}

/** Names this database's history, so that installations that share a Redis have queues of their own. */
async function readEpoch(db: Database): Promise<string> {
  const { store_epoch: epoch } = await db.kysely.selectFrom('meta').select('store_epoch').executeTakeFirstOrThrow();
  return epoch.replaceAll('-', '').slice(0, 8);
}
