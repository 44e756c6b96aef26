/** Our relay as in the program, a process of its own: reads its outbox, signs, guards, keeps the order, marks what was delivered. */
import { randomUUID } from 'node:crypto';
import { createCallbacks } from '../../src/callbacks/index.ts';
import { createRetention } from '../../src/im/retention.ts';
import { createLogger, createMetrics } from '../../src/observe/index.ts';
import { connectDatabase } from '../../src/store/connection.ts';
import { createControlBus } from '../../src/store/index.ts';
import { storeMetrics } from '../../src/store/metrics.ts';
import { migrateSchema } from '../../src/store/migrations.ts';
import { completeApp } from '../../test/support/app-settings.ts';
import { parentOptions, serveParent } from '../../test/support/measured-process.ts';
import { machineClockOffsetMs } from '../before/machine-clock.ts';
import {
  chunkEvents,
  type EventSet,
  fieldsOf,
  msgRandom,
  msgTime,
  origin,
  placeOf,
  receiverOf,
  sdkAppId,
  sender,
  text,
} from './events.ts';
import { type SenderAnswer, type SenderOptions, type SenderQuestion, settle } from './sender.ts';

const { url, database, redis, concurrency, perUrl } = parentOptions<SenderOptions>();
if (database === undefined) throw new Error('the relay needs a database');
const logger = createLogger({ level: 'warn' });
const metrics = createMetrics();
const db = connectDatabase({ logger, metrics: storeMetrics(metrics) }, database);
await migrateSchema(db.kysely, { logger });
const app = completeApp({
  sdkAppId,
  secret: 'the key of the benchmark, no secret',
  callbacks: {
    url,
    secret: `whsec_${Buffer.alloc(32, 7).toString('base64')}`,
    events: 'all',
    allowPrivateNetwork: true,
    ...(perUrl === undefined ? {} : { concurrency: perUrl }),
  },
});
const apps = { get: (id: number) => (id === sdkAppId ? app : undefined), list: () => [app] };
const clock = Date.now;
// Its tables are cut by day, as where messages are.
const retention = createRetention({ db, apps, nodeId: randomUUID(), clock, logger, metrics });
await retention.run();
const callbacks = await createCallbacks(
  {
    db,
    control: createControlBus(db, { logger }),
    apps,
    ownAddresses: () => [],
    clock,
    random: Math.random,
    logger,
    metrics,
  },
  {
    queue: redis === undefined ? { kind: 'postgres' } : { kind: 'redis', url: `redis://127.0.0.1:${redis.port}` },
    isAlone: true,
    relay: true,
    concurrency,
  },
);
/** By event set, in the order of their receivers. */
const conversationIds = new Map<EventSet['name'], number[]>();

/** The accounts, conversations and messages of the events, as if they had been sent. */
async function prepare(set: EventSet): Promise<void> {
  const places = Array.from({ length: set.events }, (_, event) => placeOf(set, event));
  const conversations = set.events / set.perConversation;
  await db.pool.query(
    `insert into account (sdk_app_id, identifier, created_ms) select $1, unnest($2::text[]), $3 on conflict do nothing`,
    [sdkAppId, [sender], clock()],
  );
  await db.pool.query('insert into account (sdk_app_id, identifier, created_ms) select $1, unnest($2::text[]), $3', [
    sdkAppId,
    Array.from({ length: conversations }, (_, conversation) => receiverOf(set, conversation)),
    clock(),
  ]);
  const { rows } = await db.pool.query<{ id: number; receiver: string }>(
    `with made as (
       insert into conversation (sdk_app_id, kind, account_a, account_b, last_seq)
       select $1, 1, s.id, r.id, $3 from account s, account r where s.identifier = $2 and r.identifier = any ($4)
       returning id, account_b
     )
     select made.id, a.identifier as receiver from made join account a on a.id = account_b`,
    [
      sdkAppId,
      sender,
      set.perConversation,
      Array.from({ length: conversations }, (_, conversation) => receiverOf(set, conversation)),
    ],
  );
  const idOf = new Map(rows.map(({ id, receiver }) => [receiver, id]));
  const ids = Array.from({ length: conversations }, (_, conversation) => idOf.get(receiverOf(set, conversation)) ?? 0);
  conversationIds.set(set.name, ids);
  await db.pool.query(
    `insert into message (
       conversation_id, seq, day, sender_id, stored_ms, msg_time, msg_seq, msg_random, visible_to, counts, counted_no,
       offline_until, body
     )
     select t.conversation_id, t.seq, $1, s.id, $2, $3, t.event - 1, $4, 0, true, t.seq, 0, $5
     from unnest($6::bigint[], $7::bigint[]) with ordinality as t(conversation_id, seq, event), account s
     where s.identifier = $8`,
    [
      Math.floor(clock() / 86_400_000),
      clock(),
      msgTime,
      msgRandom,
      JSON.stringify([{ MsgType: 'TIMTextElem', MsgContent: { Text: text } }]),
      places.map(({ conversation }) => ids[conversation]),
      places.map(({ seq }) => seq),
      sender,
    ],
  );
}

/** As the transaction of an action does, many actions together. */
async function write(set: EventSet, events: readonly number[]): Promise<void> {
  const now = clock();
  const places = events.map((event) => placeOf(set, event));
  const ids = places.map(({ conversation }) => conversationIds.get(set.name)?.[conversation] ?? 0);
  if (set.name === 'bodies') {
    await db.pool.query({
      name: 'bodies',
      text: `select outbox_event(1, $1, t.key, $2, t.body, $3) from unnest($4::text[], $5::text[]) as t(key, body)`,
      values: [
        sdkAppId,
        set.command,
        now,
        ids,
        events.map((event) => JSON.stringify({ fields: fieldsOf(set, event), origin })),
      ],
    });
  } else {
    await db.pool.query({
      name: 'messages',
      text: `
        insert into outbox (day, consumer, sdk_app_id, drain_key, event, conversation_id, seq, created_ms, body)
        select $1, 1, $2, t.id::text, $3, t.id, t.seq, $4, $5
        from unnest($6::bigint[], $7::bigint[]) with ordinality as t(id, seq, position) order by position`,
      values: [
        Math.floor(now / 86_400_000),
        sdkAppId,
        set.command,
        now,
        JSON.stringify(origin),
        ids,
        places.map(({ seq }) => seq),
      ],
    });
  }
  for (const id of ids) callbacks.written(sdkAppId, String(id), set.command);
}

async function answer(question: SenderQuestion): Promise<SenderAnswer> {
  const startedMs = performance.now() + machineClockOffsetMs;
  switch (question.do) {
    case 'prepare':
      for (const set of question.sets) await prepare(set);
      await db.pool.query('analyze');
      break;
    case 'send': {
      const { set } = question;
      for (let event = 0; event < set.events; event += chunkEvents) {
        const events = Array.from({ length: chunkEvents }, (_, n) => event + n);
        await write(set, events);
      }
      break;
    }
    case 'settle':
      await settle(async () => {
        const { rows } = await db.pool.query<{ count: number }>(
          'select count(*) as count from outbox where consumer = 1 and done_ms is null',
        );
        const counts = await callbacks.queue.getJobCounts();
        return Object.values(counts).reduce((sum, count) => sum + count, rows[0]?.count ?? 0);
      });
  }
  return { startedMs };
}

serveParent({}, (question) =>
  answer(question as SenderQuestion).catch((error: unknown) => ({ problem: String(error), startedMs: 0 })),
);
