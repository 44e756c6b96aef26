import { randomUUID } from 'node:crypto';
import type { AppLookup, Clock } from '../auth/index.ts';
import type { Logger, Metrics } from '../observe/index.ts';
import { type AppSettings, type ControlBus, type Database, makeQueueTables, queueBackendOf } from '../store/index.ts';
import { type AfterCommand, isAfterCommand, type SdkAppId } from '../wire/index.ts';
import { createReplays } from './admin/replays.ts';
import { type BeforeCalls, createBeforeCalls } from './before/before-calls.ts';
import { endpointOf } from './endpoint/endpoint.ts';
import { createPoster, type Poster } from './endpoint/poster.ts';
import { createKeyUse } from './key-use.ts';
import { createPauses, type Pauses } from './pauses.ts';
import type { BacklogFigure } from './relay/backlog.ts';
import type { Circuit } from './relay/gate.ts';
import { createDrainQueue, type DrainQueue } from './relay/queue.ts';
import { createRelay, type Relay, type RelayOptions } from './relay/relay.ts';
import { createWaker } from './relay/waker.ts';
import { createTraces, type Traces } from './traces.ts';

export interface CallbacksDeps {
  db: Database;
  control: ControlBus;
  apps: AppLookup & { list(): AppSettings[] };
  /** Where this installation listens: callbacks never go there. */
  ownAddresses: () => readonly { host: string; port: number }[];
  clock: Clock;
  /** 0 … 1. */
  random: () => number;
  logger: Logger;
  metrics: Metrics;
}

export interface CallbacksOptions {
  /** Where BullMQ keeps its jobs: the database, or the Redis of that URL. */
  queue: { readonly kind: 'postgres' } | { readonly kind: 'redis'; readonly url: string };
  /** No other process works on this database: it is ours to migrate, and what the queue holds is left from before. */
  isAlone: boolean;
  /** Whether this process sends after-callbacks; else it only asks before, and wakes those who send. */
  relay: boolean;
  /** Lanes that are run at once. */
  concurrency: number;
  tuning?: Partial<Omit<RelayOptions, 'gate'>> & {
    gate?: Partial<RelayOptions['gate']>;
    lockMs?: number;
    idleMs?: number;
  };
}

export interface Callbacks {
  readonly before: BeforeCalls;
  readonly poster: Poster;
  readonly pauses: Pauses;
  readonly traces: Traces;
  /** Raw jobs, for looking into. */
  readonly queue: DrainQueue['queue'];
  /** Whether the app wants to be told of that: then the action writes an entry into the outbox, in its own transaction. */
  wants(sdkAppId: SdkAppId, command: AfterCommand): boolean;
  /** Such entries have been committed. Synchronous, best effort. */
  written(sdkAppId: SdkAppId, drainKey: string, command: AfterCommand): void;
  /** Of the endpoints that this process sends to; empty where it does not. */
  circuits(): Circuit[];
  backlog(): readonly BacklogFigure[];
  /** Looks at the bounds of the backlog now; by itself every 15 s. */
  maintain(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Callbacks to app backends (RULES K): asks before actions, and tells of everything after, as it stands in the outbox. Rejects when the
 * database does not answer; a queue on Redis that is away is waited for in the background.
 */
export async function createCallbacks(deps: CallbacksDeps, options: CallbacksOptions): Promise<Callbacks> {
  const { db, control, apps, ownAddresses, clock, random, logger, metrics } = deps;
  const { tuning = {} } = options;
  await using stack = new AsyncDisposableStack();
  const epoch = await readEpoch(db);
  const keyUse = createKeyUse({ db, clock, logger, metrics });
  stack.defer(() => keyUse.close());
  const traces = createTraces({ db, logger, metrics });
  stack.defer(() => traces.close());
  const pauses = await createPauses({ db, control, clock, logger, metrics });
  stack.defer(() => pauses.close());
  const poster = createPoster({ clock, ownAddresses, onKeyUsed: keyUse.note, logger, metrics });
  stack.defer(() => poster.close());
  const before = createBeforeCalls({ apps, poster, pauses, traces, clock, logger, metrics });
  let relay: Relay | undefined;
  // After the queue: runs that end with it write down what they did.
  stack.defer(() => relay?.close());
  if (options.queue.kind === 'postgres' && options.isAlone) await makeQueueTables(db);
  const queue = await createDrainQueue({ logger, metrics }, queueBackendOf(db, options.queue), {
    concurrency: options.concurrency,
    prefix: `{qalgate-${epoch}}`,
    isAlone: options.isAlone && options.relay,
    ...(tuning.lockMs === undefined ? {} : { lockMs: tuning.lockMs }),
    ...(tuning.idleMs === undefined ? {} : { idleMs: tuning.idleMs }),
  });
  const waker = createWaker({ queue, logger, metrics }, { handOverMs: options.isAlone ? undefined : 1_000 });
  stack.defer(() => Promise.all([waker.close(), queue.close()]).then(() => {}));
  if (options.relay) {
    const nodeId = randomUUID();
    relay = createRelay(
      {
        db,
        apps,
        queue,
        waker,
        poster,
        pauses,
        webhookId: ({ id, originId }) => `cb_${epoch}_${originId ?? id}`,
        nodeId,
        clock,
        random,
        logger,
        metrics,
      },
      { ...tuning, concurrency: options.concurrency, gate: { concurrency: options.concurrency, ...tuning.gate } },
    );
    stack.defer(() => relay?.stop());
    const replays = createReplays({ db, control, wake: relay.wake, nodeId, clock, logger, metrics });
    stack.defer(() => replays.close());
  }

  const opened = stack.move();
  return {
    before,
    poster,
    pauses,
    traces,
    queue: queue.queue,
    wants(sdkAppId, command) {
      const app = apps.get(sdkAppId);
      return app !== undefined && isAfterCommand(command) && endpointOf(app, command) !== undefined;
    },
    written(sdkAppId, drainKey, command) {
      const app = apps.get(sdkAppId);
      const endpoint = app === undefined ? undefined : endpointOf(app, command);
      if (endpoint !== undefined) waker.wake({ sdkAppId, endpointId: endpoint.id, drainKey });
    },
    circuits: () => relay?.circuits() ?? [],
    backlog: () => relay?.backlog() ?? [],
    maintain: async () => relay?.maintain(),
    close: () => opened.disposeAsync(),
  };
}

/** Eight characters that name this database's history: ids of events made after a rewind are not those of before. */
async function readEpoch(db: Database): Promise<string> {
  const { store_epoch: epoch } = await db.kysely.selectFrom('meta').select('store_epoch').executeTakeFirstOrThrow();
  return epoch.replaceAll('-', '').slice(0, 8);
}
