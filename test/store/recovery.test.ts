import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { performance } from 'node:perf_hooks';
import t, { type Test } from 'tap';
import { createMetrics } from '../../src/observe/index.ts';
import { connectDatabase } from '../../src/store/connection.ts';
import { attachEmbeddedPostgres } from '../../src/store/embedded.ts';
import { createControlBus, createSerials, openDatabase, type Serials } from '../../src/store/index.ts';
import { findServerProcesses } from '../../src/store/orphaned-server.ts';
import { makeDataDir, openTestDatabase, until } from '../support/database.ts';
import { spawnStore } from '../support/spawn-store.ts';

const { db, dataDir, logger, metrics, events } = await openTestDatabase(t);
const blockSize = 2 ** 20;

async function makeSerials(t: Test, sequence: 'request_serial' | 'terminal_serial'): Promise<Serials> {
  const serials = createSerials(db, { sequence, logger });
  t.teardown(() => serials.close());
  await serials.ready();
  return serials;
}

async function postmasterPid(dir: string): Promise<number> {
  return Number((await readFile(path.join(dir, 'pg/postmaster.pid'), 'utf8')).split('\n')[0]);
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

t.test('[A4] serial numbers never repeat over processes and restarts', async (t) => {
  const seen = new Set<string>();
  const take = (serials: Serials, count: number) => {
    for (let n = 0; n < count; n++) seen.add(serials.next());
  };
  const one = await makeSerials(t, 'request_serial');
  const two = await makeSerials(t, 'request_serial');
  for (let n = 0; n < 100; n++) {
    take(one, 50);
    take(two, 50);
  }
  t.equal(seen.size, 10_000);
  await one.close();
  const restarted = await makeSerials(t, 'request_serial');
  take(restarted, 10_000);
  t.equal(seen.size, 20_000, 'what a process had left of its block is never given again');
  for (const text of seen) {
    if (!/^[1-9][0-9]*$/.test(text) || Number(text) >= 2 ** 53) t.fail(text);
  }
});

t.test('[A4] the next block is there before the first has ended', async (t) => {
  const serials = await makeSerials(t, 'request_serial');
  let previous = serials.nextNumber();
  t.equal(previous % BigInt(blockSize), 0n, 'blocks begin at multiples of their size');
  let jumps = 0;
  for (let n = 1; n < 3 * blockSize; n++) {
    const number = serials.nextNumber();
    if (number <= previous || number >= 2n ** 53n) t.fail(`${number} after ${previous}`);
    if (number !== previous + 1n) jumps += 1;
    previous = number;
    // As between requests: what the database answered is taken in.
    if (n % 65_536 === 0) await db.pool.query('select 1');
  }
  t.ok(jumps <= 2);
  t.notOk(events.includes('store.serials.fallback.began'));
});

for (const [sequence, bit] of [
  ['request_serial', 62n],
  ['terminal_serial', 55n],
] as const) {
  t.test(`[A4][O5] ${sequence}: with the database killed numbers stay unique, and it comes back`, async (t) => {
    const serials = await makeSerials(t, sequence);
    const pid = await postmasterPid(dataDir);
    process.kill(pid, 'SIGKILL');
    await until(() => !isRunning(pid));
    const seen = new Set<bigint>();
    let fallbacks = 0;
    // Without a pause, so that no answer of the database gets in between.
    for (let n = 0; n < blockSize + 1_000; n++) {
      const number = serials.nextNumber();
      if (number < 2n ** 53n) continue;
      fallbacks += 1;
      seen.add(number);
      if (number < 1n << bit || number >= 1n << (bit + 1n)) t.fail(`${number} is out of range`);
    }
    t.equal(fallbacks, 1_000);
    t.equal(seen.size, 1_000);
    t.match(
      await metrics.registry.getSingleMetricAsString('qalgate_store_serial_fallbacks_total'),
      `{sequence="${sequence}"} ${fallbacks}`,
    );
    await until(() => serials.nextNumber() < 2n ** 53n);
    t.not(await postmasterPid(dataDir), pid, 'the server was started again');
    t.ok(events.includes('store.postgres.died') && events.includes('store.serials.fallback.ended'));
  });
}

t.test(
  '[O5] the server killed under load: restarted at once, committed rows stay, the bus listens again',
  async (t) => {
    const bus = createControlBus(db, { logger }, { keepaliveMs: 50 });
    t.teardown(() => bus.close());
    const received: unknown[] = [];
    bus.subscribe('apps', (payload) => received.push(payload));
    await bus.ready();
    const committed: string[] = [];
    let running = true;
    const writers = Array.from({ length: 4 }, async (_, writer) => {
      for (let n = 0; running; n++) {
        const subject = `${writer}-${n}`;
        const row = { sdk_app_id: 7, scope: 'terminal', subject, revoked_before: new Date() } as const;
        try {
          await db.kysely.insertInto('session_revocation').values(row).execute();
          committed.push(subject);
        } catch {
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      }
    });
    await until(() => committed.length > 50);
    const pid = await postmasterPid(dataDir);
    const killedAtMs = performance.now();
    process.kill(pid, 'SIGKILL');
    const before = await until(() => events.includes('store.postgres.died') && committed.length);
    await until(() => committed.length > before + 50);
    t.ok(performance.now() - killedAtMs < 3_000);
    running = false;
    await Promise.all(writers);
    const rows = await db.kysely
      .selectFrom('session_revocation')
      .select('subject')
      .where('sdk_app_id', '=', 7)
      .execute();
    const stored = new Set(rows.map((row) => row.subject));
    t.same(
      committed.filter((subject) => !stored.has(subject)),
      [],
    );
    await until(async () => {
      await bus.publish('apps', { after: 'restart' });
      return received.length > 0;
    });
    t.match(await metrics.registry.getSingleMetricAsString('qalgate_store_postgres_restarts_total'), / 3$/m);
    t.match(await metrics.registry.getSingleMetricAsString('qalgate_store_postgres_up'), / 1$/m);
  },
);

t.test('[O5] a connection that the server ends while nobody uses it ends nothing else', async (t) => {
  const client = db.createClient();
  await client.connect();
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  const ended = new Promise<void>((resolve) => client.once('end', () => resolve()));
  t.match(await db.pool.query('select pg_terminate_backend($1) as done', [rows[0]?.pid]), { rows: [{ done: true }] });
  await ended;
  await t.rejects(client.query('select'));
});

t.test('[O5] kill -9 of the process: the next one stops what it left and has the data within 3 s', async (t) => {
  const dir = await makeDataDir(t);
  const cluster = path.join(dir, 'pg');
  let rows = 0;
  // Each way to go leaves something else behind: a server that runs, a dead one, one that does not stop when asked.
  const ends: { end: (server: number) => void; limitMs: number }[] = [
    { end: () => {}, limitMs: 3_000 },
    { end: (server) => process.kill(server, 'SIGKILL'), limitMs: 3_000 },
    { end: (server) => process.kill(server, 'SIGSTOP'), limitMs: 10_000 },
  ];
  for (const { end, limitMs } of ends) {
    const spawnedAtMs = performance.now();
    const owner = spawnStore(t, dir, 'serve');
    t.same(await owner.read(), { opened: 'embedded' });
    // On a machine that has much else to do an ordinary start takes long, too.
    const ordinaryMs = performance.now() - spawnedAtMs;
    for (const inserted of [1, 2]) {
      rows += 1;
      owner.write(`row-${rows}`);
      t.same(await owner.read(), { inserted });
    }
    const server = await postmasterPid(dir);
    await owner.kill();
    t.ok((await findServerProcesses(cluster)).includes(server), 'its server runs on');
    end(server);

    const startedAtMs = performance.now();
    const options = { dataDir: dir, database: 'embedded', use: 'serve' } as const;
    const next = await openDatabase({ logger, metrics: createMetrics() }, options);
    const durationMs = performance.now() - startedAtMs;
    const found = await next.kysely.selectFrom('session_revocation').select('subject').execute();
    t.equal(found.length, rows);
    t.ok(durationMs < Math.max(limitMs, 2 * ordinaryMs), `it took ${Math.round(durationMs)} ms`);
    t.notOk((await findServerProcesses(cluster)).includes(server));
    await next.close();
    t.same(await findServerProcesses(cluster), [], 'close leaves no server behind');
  }
});

t.test('[O5] a server that no longer answers fails queries in time, and they work again after', async (t) => {
  const server = await attachEmbeddedPostgres(dataDir);
  t.teardown(() => server.close());
  const limited = connectDatabase({ logger, metrics: db.metrics }, server.target, { max: 1, statementMs: 200 });
  t.teardown(() => limited.close());
  await t.rejects(limited.pool.query('select pg_sleep(10)'), /statement timeout/);

  const bus = createControlBus(limited, { logger }, { keepaliveMs: 20, answerMs: 200 });
  t.teardown(() => bus.close());
  let listens = 0;
  bus.onReconnect(() => {
    listens += 1;
  });
  await bus.ready();
  const { rows } = await db.pool.query<{ pid: number }>(
    `select pid from pg_stat_activity where datname = 'qalgate' and pid <> pg_backend_pid() and backend_type = 'client backend'`,
  );
  const frozen = [...rows.map((row) => row.pid)];
  t.teardown(() => frozen.forEach((pid) => void (isRunning(pid) && process.kill(pid, 'SIGCONT'))));
  await limited.kysely.selectFrom('app').select('origin').execute();
  const backend = await limited.pool.query<{ pid: number }>('select pg_backend_pid() as pid');
  frozen.push(...backend.rows.map((row) => row.pid));
  for (const pid of frozen) process.kill(pid, 'SIGSTOP');
  await until(() => listens === 2);
  // Kysely gives its connection back after an error; a frozen one must not reach the next caller.
  await t.rejects(limited.kysely.selectFrom('app').select('origin').execute(), /timeout/);
  t.same(await limited.kysely.selectFrom('app').select('origin').execute(), []);
  for (const pid of frozen) process.kill(pid, 'SIGCONT');
});
