import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import t, { type Test } from 'tap';
import { createPurges, type Purge, type PurgesOptions } from '../../src/cache/index.ts';
import { createMetrics } from '../../src/observe/index.ts';
import { createControlBus, type Schema } from '../../src/store/index.ts';
import { openTestDatabase, until } from '../support/database.ts';

const { db, logger } = await openTestDatabase(t);

const awayPool = new pg.Pool({ host: '127.0.0.1', port: 1 });
t.teardown(() => awayPool.end());
const away = new Kysely<Schema>({ dialect: new PostgresDialect({ pool: awayPool }) });

const purge = (name: string): Purge => ({ sdkAppId: 1, by: 'tag', tag: name });

/** What one process has of purges: a bus of its own, whose line can be cut, and what it was told. */
async function openProcess(t: Test, options: PurgesOptions & { apply?: (purge: Purge) => number } = {}) {
  const line = { whole: true, database: true, clients: [] as pg.Client[], reads: 0 };
  const bus = createControlBus(
    {
      ...db,
      createClient() {
        // Nothing listens on port 1.
        const client = line.whole ? db.createClient() : new pg.Client({ host: '127.0.0.1', port: 1 });
        line.clients.push(client);
        return client;
      },
    },
    { logger },
    { keepaliveMs: 20 },
  );
  const metrics = createMetrics();
  const reading = {
    get kysely() {
      line.reads += 1;
      return line.database ? db.kysely : away;
    },
  };
  const purges = createPurges({ db: reading, bus, logger, metrics }, { retryMs: 20, ...options });
  const applied: string[] = [];
  const process = {
    purges,
    metrics,
    bus,
    applied,
    distrusts: 0,
    line,
    /** The line breaks; until it is mended nothing comes through. */
    async cut() {
      line.whole = false;
      await Promise.all(line.clients.splice(0).map((client) => client.end()));
    },
    /** Resolves when it listens again and has looked at the stored generation. */
    async mend() {
      const listening = new Promise<void>((resolve) => {
        const stop = bus.onReconnect(() => {
          stop();
          resolve();
        });
      });
      const { reads } = line;
      line.whole = true;
      await listening;
      await until(() => line.reads > reads);
    },
    reasons: async () => {
      const { values } = (await metrics.registry.getSingleMetric('qalgate_cache_distrusts_total')?.get()) ?? {};
      return Object.fromEntries((values ?? []).map(({ labels, value }) => [labels.reason, value]));
    },
    generation: async () =>
      (await metrics.registry.getSingleMetric('qalgate_cache_generation')?.get())?.values[0]?.value,
  };
  t.teardown(async () => {
    await purges.close();
    await bus.close();
  });
  await bus.ready();
  await purges.listen(
    (one) => {
      if (one.by === 'tag') applied.push(one.tag);
      return options.apply?.(one) ?? applied.length;
    },
    () => {
      process.distrusts += 1;
    },
  );
  return process;
}

/** As if its message had been lost on the way. */
async function purgeUnheard(by = 1): Promise<void> {
  await db.pool.query('update cache_generation set generation = generation + $1', [by]);
}

const stored = async (): Promise<number> =>
  (await db.kysely.selectFrom('cache_generation').select('generation').executeTakeFirstOrThrow()).generation;

t.test(
  '[C14] a purge is applied by every process, once and in order, by its own before it is acknowledged',
  async (t) => {
    const [first, second] = await Promise.all([openProcess(t), openProcess(t)]);
    const before = await stored();
    const one = await first.purges.publish(purge('one'));
    t.same(one, { generation: before + 1, ended: 1 });
    t.same(first.applied, ['one']);
    await until(() => second.applied.length === 1);

    const names = Array.from({ length: 60 }, (_, i) => `p${i}`);
    const published = await Promise.all(
      names.map(async (name, i) => ({ name, ...(await [first, second][i % 2]?.purges.publish(purge(name))) })),
    );
    t.same(new Set(published.map(({ generation }) => generation)).size, 60, 'each has a number of its own');
    t.equal(await stored(), before + 61);
    for (const process of [first, second]) {
      await until(async () => (await process.generation()) === before + 61);
      t.same([...process.applied].sort(), ['one', ...names].sort(), 'each once');
      t.equal(process.distrusts, 0);
    }
    const inOrder = published.filter((_, i) => i % 2 === 1).sort((a, b) => Number(a.generation) - Number(b.generation));
    const told = first.applied.filter((name) => inOrder.some((each) => each.name === name));
    t.same(
      told,
      inOrder.map(({ name }) => name),
      'those of the other process came in the order of their numbers',
    );
  },
);

t.test('[C14] a process that only announces needs no cache', async (t) => {
  const listening = await openProcess(t);
  const bus = createControlBus(db, { logger });
  t.teardown(() => bus.close());
  const command = createPurges({ db, bus, logger, metrics: createMetrics() });
  t.match(await command.publish(purge('by-command')), { ended: undefined });
  await until(() => listening.applied.includes('by-command'));
  await command.close();
});

t.test('[C14] a purge that was missed while the bus was away makes everything older suspect, once', async (t) => {
  const [first, second] = await Promise.all([openProcess(t), openProcess(t)]);
  await second.cut();
  await first.purges.publish(purge('missed'));
  t.equal(second.distrusts, 0, 'it cannot know yet');
  await second.mend();
  await until(() => second.distrusts === 1);
  t.same(await second.reasons(), { missed: 1 });
  await first.purges.publish(purge('heard'));
  await until(() => second.applied.includes('heard'));
  t.same(second.applied, ['heard']);
  t.equal(second.distrusts, 1);
  t.equal(first.distrusts, 0, 'the one that heard everything trusts what it has');
});

t.test('[C14] a bus that was away while nobody purged changes nothing', async (t) => {
  const [first, second] = await Promise.all([openProcess(t), openProcess(t)]);
  for (let round = 0; round < 3; round += 1) {
    await second.cut();
    await second.mend();
    await first.purges.publish(purge(`round-${round}`));
    await until(() => second.applied.includes(`round-${round}`));
  }
  t.equal(second.distrusts, 0);
});

t.test('[C14] its own purges a process knows without the bus', async (t) => {
  const process = await openProcess(t);
  await process.cut();
  const { ended } = await process.purges.publish(purge('own'));
  t.equal(ended, 1, 'it holds at once');
  await process.purges.publish(purge('own-too'));
  await process.mend();
  const { generation } = await process.purges.publish(purge('after'));
  await until(async () => (await process.generation()) === generation);
  t.same(process.applied, ['own', 'own-too', 'after'], 'each once');
  t.equal(process.distrusts, 0);

  await process.cut();
  await process.purges.publish(purge('mine'));
  await purgeUnheard();
  await process.mend();
  await until(() => process.distrusts === 1);
  t.same(await process.reasons(), { missed: 1 }, "somebody else's beside them is missed all the same");
});

t.test('[C14] a message that is not the next one says that one is missing', async (t) => {
  const [first, second] = await Promise.all([openProcess(t), openProcess(t)]);
  await purgeUnheard(2);
  await first.purges.publish(purge('behind-a-gap'));
  for (const process of [first, second]) {
    await until(() => process.distrusts === 1 && process.applied.includes('behind-a-gap'));
    t.same(await process.reasons(), { gap: 1 });
  }
});

t.test('[C14] the stored generation is looked at now and then, and messages on their way are waited for', async (t) => {
  const [first, second] = await Promise.all([openProcess(t), openProcess(t, { rereadMs: 1 })]);
  for (let i = 0; i < 100; i += 1) await first.purges.publish(purge(`q${i}`));
  await until(() => second.applied.length === 100);
  const { reads } = second.line;
  await until(() => second.line.reads > reads + 2);
  t.equal(second.distrusts, 0, 'however the looks fell between the purges');

  await purgeUnheard();
  await until(() => second.distrusts === 1);
  t.same(await second.reasons(), { missed: 1 });
  t.equal(await second.generation(), await stored());

  const now = await stored();
  await db.pool.query('update cache_generation set generation = 1');
  await until(() => second.distrusts === 2);
  t.same(await second.reasons(), { missed: 1, rewound: 1 }, 'a database that was set back says nothing any more');
  await db.pool.query('update cache_generation set generation = $1', [now]);
  await until(() => second.distrusts === 3);
});

t.test('[C14] a transaction that is rolled back leaves no gap', async (t) => {
  const [first, second] = await Promise.all([openProcess(t), openProcess(t)]);
  const before = await stored();
  await t.rejects(first.purges.publish(purge('x'.repeat(8_000))), RangeError);
  t.equal(await stored(), before);
  t.match(await first.purges.publish(purge('whole')), { generation: before + 1 });
  await until(() => second.applied.includes('whole'));
  t.equal(first.distrusts + second.distrusts, 0);
});

t.test('[C14] what cannot be read or applied makes everything older suspect, and the rest goes on', async (t) => {
  const refuse = (one: Purge): number => {
    if (one.by === 'tag' && one.tag === 'bad') throw new Error('it does not go');
    return 0;
  };
  const process = await openProcess(t, { apply: refuse });
  const tell = (message: object) => process.bus.publish('cache', message);
  await purgeUnheard();
  await tell({ generation: await stored(), purge: { sdkAppId: 1, by: 'moon' } });
  await until(() => process.distrusts === 1);
  t.same(await process.reasons(), { unreadable: 1 });

  t.match(await process.purges.publish(purge('bad')), { ended: 0 });
  t.same(await process.reasons(), { unreadable: 1, failed: 1 });

  // Nothing of a message can be read: the stored generation tells.
  for (const message of [{}, [], { generation: -1 }, { generation: 'x', purge: purge('a') }]) await tell(message);
  await process.purges.publish(purge('good'));
  await until(() => process.applied.includes('good'));
  t.equal(process.distrusts, 2);
});

t.test('[C14] while the database is away purges are refused, and nothing else changes', async (t) => {
  const process = await openProcess(t, { rereadMs: 5 });
  process.line.database = false;
  await t.rejects(process.purges.publish(purge('lost')), /ECONNREFUSED/);
  const failed = async () =>
    (await process.metrics.registry.getSingleMetric('qalgate_cache_generation_reads_failed_total')?.get())?.values[0]
      ?.value ?? 0;
  await until(async () => (await failed()) >= 2);
  t.same(process.applied, []);
  process.line.database = true;
  await process.purges.publish(purge('back'));
  t.same(process.applied, ['back']);
  t.equal(process.distrusts, 0);

  const bus = createControlBus(db, { logger });
  t.teardown(() => bus.close());
  const late = createPurges({ db: { kysely: away }, bus, logger, metrics: createMetrics() });
  await t.rejects(
    late.listen(
      () => 0,
      () => {},
    ),
    /ECONNREFUSED/,
    'a process that cannot know where it stands does not start',
  );
  await late.close();
});

t.test('[C14] after its end a process hears nothing', async (t) => {
  const [first, second] = await Promise.all([openProcess(t), openProcess(t)]);
  await second.purges.close();
  await second.purges.close();
  await first.purges.publish(purge('unheard'));
  const told = new Promise((resolve) => second.bus.subscribe('cache', resolve));
  await first.purges.publish(purge('still-unheard'));
  await told;
  t.same(second.applied, []);
});
