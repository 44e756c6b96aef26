/** Our relay as in the program, a process of its own, with three apps at three URLs. */
import { randomUUID } from 'node:crypto';
import { createCallbacks } from '../../src/callbacks/index.ts';
import { createRetention } from '../../src/im/retention.ts';
import { createLogger, createMetrics } from '../../src/observe/index.ts';
import { connectDatabase } from '../../src/store/connection.ts';
import { type AppSettings, createControlBus } from '../../src/store/index.ts';
import { storeMetrics } from '../../src/store/metrics.ts';
import { migrateSchema } from '../../src/store/migrations.ts';
import { completeApp } from '../../test/support/app-settings.ts';
import { parentOptions, serveParent } from '../../test/support/measured-process.ts';
import { metricOf } from '../../test/support/metrics.ts';
import { machineClockOffsetMs } from '../before/machine-clock.ts';
import type { BenchDatabase } from '../support/database.ts';
import { apps as appCount, type BeginQuestion, type RelayAnswer, type RelayQuestion } from './events.ts';

export interface RelayOptions {
  port: number;
  database: BenchDatabase['target'];
  concurrency: number;
}

/** Events of a conversation that wait, those of the bad ones aside: more come when they are told. */
const ahead = 2;
const command = 'Group.CallbackAfterSendMsg';
const { port, database, concurrency } = parentOptions<RelayOptions>();
const logger = createLogger({ level: 'warn', destination: { write: () => {} } });
const metrics = createMetrics();
const db = connectDatabase({ logger, metrics: storeMetrics(metrics) }, database);
await migrateSchema(db.kysely, { logger });
let current: AppSettings[] = [];
const apps = { get: (id: number) => current.find(({ sdkAppId }) => sdkAppId === id), list: () => current };
const retention = createRetention({ db, apps, nodeId: randomUUID(), clock: Date.now, logger, metrics });
await retention.run();
const callbacks = await createCallbacks(
  {
    db,
    control: createControlBus(db, { logger }),
    apps,
    ownAddresses: () => [],
    clock: Date.now,
    random: Math.random,
    logger,
    metrics,
  },
  { queue: { kind: 'postgres' }, isAlone: true, relay: true, concurrency },
);
let nextKey = 1;

/** As if nothing had been before it: URLs that nobody knows, nothing that waits. */
async function begin({ run }: BeginQuestion): Promise<RelayAnswer> {
  await db.pool.query(`update outbox set done_ms = 0, outcome = 'dropped' where done_ms is null`);
  await callbacks.queue.obliterate({ force: true });
  current = Array.from({ length: appCount }, (_, n) =>
    completeApp({
      sdkAppId: n + 1,
      secret: 'the key of the benchmark, no secret',
      callbacks: {
        url: `http://127.0.0.1:${port}/${run}/${n + 1}`,
        secret: `whsec_${Buffer.alloc(32, 7).toString('base64')}`,
        events: 'all',
        allowPrivateNetwork: true,
      },
    }),
  );
  await db.pool.query('vacuum analyze outbox');
  return { startedMs: 0 };
}

const delivered = (): Promise<number> =>
  metricOf(metrics, 'qalgate_callbacks_after_total', { command, outcome: 'delivered' });

/** An event of each conversation in turn, as transactions of actions write them. */
async function send({ run, conversations, tellsBad, each }: RelayQuestion): Promise<RelayAnswer> {
  const lanes = conversations.map((one) => ({
    ...one,
    key: String(nextKey++),
    isTold: tellsBad || one.kind === 'healthy',
  }));
  const healthy = conversations.filter(({ kind }) => kind === 'healthy').length;
  const before = await delivered();
  const startedMs = performance.now() + machineClockOffsetMs;
  for (let number = 0; number < each; number += 1) {
    while ((await delivered()) - before < (number - ahead) * healthy) {
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    for (let start = 0; start < lanes.length; start += 100) {
      const some = lanes.slice(start, start + 100);
      const writtenMs = performance.now() + machineClockOffsetMs;
      await db.pool.query({
        name: 'events',
        text: `select outbox_event(t.consumer, t.app, t.key, $1, t.body, $2)
          from unnest($3::bigint[], $4::text[], $5::text[], $6::integer[]) as t(app, key, body, consumer)`,
        values: [
          command,
          Date.now(),
          some.map(({ app }) => app),
          some.map(({ key }) => key),
          some.map(({ key, kind }) => JSON.stringify({ fields: { run, kind, conversation: key, number, writtenMs } })),
          // Of the other consumer the relay knows nothing.
          some.map(({ isTold }) => (isTold ? 1 : 2)),
        ],
      });
      for (const { app, key, isTold } of some) if (isTold) callbacks.written(app, key, command);
    }
  }
  return { startedMs };
}

serveParent({}, (question) =>
  ('conversations' in (question as object) ? send(question as RelayQuestion) : begin(question as BeginQuestion)).catch(
    (error: unknown) => ({ problem: String(error), startedMs: 0 }),
  ),
);
