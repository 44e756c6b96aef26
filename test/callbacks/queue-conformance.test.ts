import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import t, { type Test } from 'tap';
import type { Lane } from '../../src/callbacks/relay/lane.ts';
import { createDrainQueue, type DrainQueue, type DrainQueueOptions } from '../../src/callbacks/relay/queue.ts';
import { createLogger, createMetrics } from '../../src/observe/index.ts';
import { migrateQueues, type QueueBackend, type RunResult, redisOptions } from '../../src/store/index.ts';
import { openTestDatabase, until } from '../support/database.ts';
import { skipWithoutRedis, startRedis } from '../support/redis.ts';
import { openTcpNetwork, type TcpNetwork } from '../support/tcp-network.ts';

/** What the suite needs of a backend besides the queue. */
interface Backend {
  kind: QueueBackend['kind'];
  /** Through a network that can go silent. */
  at: QueueBackend;
  network: TcpNetwork;
  /** Kills it without warning, and sees to it that it comes back. */
  killAndRestart(): Promise<void>;
  /** How much it holds of jobs, whatever their state: rows or keys. */
  held(): Promise<number>;
  /** Entries in its list of events. */
  events(): Promise<number>;
}

async function openPostgres(t: Test): Promise<Backend> {
  const { db, dataDir } = await openTestDatabase(t);
  const client = await db.pool.connect();
  await migrateQueues(client).finally(() => client.release());
  const { target } = db;
  if (!('host' in target)) throw new Error('the embedded database is at a socket');
  const network = await openTcpNetwork(t, { path: `${target.host}/.s.PGSQL.${target.port}` });
  const countOf = async (table: string) =>
    (await db.pool.query<{ count: number }>(`select count(*) from bullmq.${table} where queue = 'callbacks'`)).rows[0]
      ?.count ?? 0;
  const pid = async () => Number((await readFile(path.join(dataDir, 'pg/postmaster.pid'), 'utf8')).split('\n')[0]);
  return {
    kind: 'postgres',
    at: {
      kind: 'postgres',
      connection: {
        ...target,
        host: '127.0.0.1',
        port: network.port,
        ssl: false,
        keepAlive: true,
        connectionTimeoutMillis: 5_000,
        query_timeout: 5_000,
        // Nothing that it has taken is lost when it is killed; nor is it on Redis, below.
        options: '-c synchronous_commit=on',
      },
    },
    network,
    async killAndRestart() {
      const before = await pid();
      process.kill(before, 'SIGKILL');
      await until(async () => (await pid().catch(() => before)) !== before);
      await until(() => db.pool.query('select 1').catch(() => undefined));
    },
    async held() {
      const tables = ['job', 'job_log', 'dedup', 'dedup_next'];
      return (await Promise.all(tables.map(countOf))).reduce((sum, count) => sum + count, 0);
    },
    events: () => countOf('event'),
  };
}

async function openRedis(t: Test): Promise<Backend> {
  const redis = await startRedis(t, { settings: ['appendfsync always'] });
  const network = await openTcpNetwork(t, { host: '127.0.0.1', port: redis.port });
  const client = new Redis(redisOptions(redis.url, 'worker'));
  client.on('error', () => {});
  t.teardown(() => client.disconnect());
  return {
    kind: 'redis',
    at: { kind: 'redis', url: redis.url.replace(`:${redis.port}/`, `:${network.port}/`) },
    network,
    killAndRestart: () => redis.restart(),
    async held() {
      const keys = await client.keys('*');
      // The queue's own few keys, of which each is there once.
      const own = /:(meta|marker|id|events|stalled-check|stalled)$/;
      return keys.filter((key) => !own.test(key)).length;
    },
    events: () => client.xlen('{conformance}:callbacks:events'),
  };
}

const lane = (drainKey: string | number): Lane => ({
  sdkAppId: 1_400_000_000 as Lane['sdkAppId'],
  endpointId: '0123456789abcdef',
  drainKey: String(drainKey),
});
const later = (delayMs: number): RunResult => ({ again: 'after', delayMs });
const done: RunResult = { again: 'when-woken' };

/** Runs that the test lets go. */
function makeRuns(answer: (lane: Lane, count: number) => RunResult = () => done) {
  const started: string[] = [];
  const held = new Map<string, () => void>();
  const runs = {
    started,
    active: 0,
    /** Most that were active at once. */
    peak: 0,
    /** Whether runs wait for `release`. */
    holds: false,
    count: (drainKey: string | number) => started.filter((key) => key === String(drainKey)).length,
    release(drainKey?: string | number) {
      for (const [key, go] of held) if (drainKey === undefined || key === String(drainKey)) go();
    },
    async run(one: Lane): Promise<RunResult> {
      if (held.has(one.drainKey)) throw new Error(`${one.drainKey} runs twice at once`);
      started.push(one.drainKey);
      runs.active += 1;
      runs.peak = Math.max(runs.peak, runs.active);
      const { promise, resolve } = Promise.withResolvers<void>();
      held.set(one.drainKey, resolve);
      if (runs.holds) await promise;
      else await new Promise((go) => setImmediate(go));
      held.delete(one.drainKey);
      runs.active -= 1;
      return answer(one, runs.count(one.drainKey));
    },
  };
  return runs;
}

async function metricOf(metrics: ReturnType<typeof createMetrics>, name: string): Promise<number> {
  const values = (await metrics.registry.getSingleMetric(name)?.get())?.values ?? [];
  return values.reduce((sum, { value }) => sum + value, 0);
}

function suite(open: (t: Test) => Promise<Backend>) {
  return async (t: Test) => {
    const backend = await open(t);
    const base = { concurrency: 8, prefix: '{conformance}', isAlone: true };
    /** For what waits until a lock has run out; else a slow machine would let some run out that are needed. */
    const shortLock = { lockMs: 1_200 };

    /** An empty queue; with `options.isAlone` false one more process on the same. */
    async function queueOf(t: Test, options: Partial<DrainQueueOptions> = {}, at = backend.at) {
      const lines: { event: string }[] = [];
      const destination = { write: (line: string) => void lines.push(JSON.parse(line)) };
      const logger = createLogger({ level: 'debug', destination });
      const metrics = createMetrics();
      const queue = await createDrainQueue({ logger, metrics }, at, { ...base, ...options });
      t.teardown(() => queue.close());
      return { queue, metrics, lines };
    }
    /** Wakes until the backend takes it, as the sweep does: PostgreSQL may refuse one (deadlock) that comes with others. */
    const wakeForSure = (queue: DrainQueue, lanes: Lane[], options?: { now: boolean }) =>
      until(() =>
        queue.wake(lanes, options).then(
          () => true,
          () => false,
        ),
      );

    await t.test('woken often while it waits: one run', async (t) => {
      const { queue } = await queueOf(t);
      for (let n = 0; n < 10; n++) await queue.wake([lane('a'), lane('b'), lane('a')]);
      t.equal(await queue.waiting(), 2);
      const runs = makeRuns();
      queue.start(runs.run);
      await until(() => runs.started.length >= 2);
      await until(async () => (await backend.held()) === 0);
      t.same(runs.started.toSorted(), ['a', 'b']);
    });

    await t.test('woken often while it runs: exactly one more run, and not at the same time', async (t) => {
      const { queue } = await queueOf(t);
      const runs = makeRuns();
      runs.holds = true;
      queue.start(runs.run);
      await queue.wake([lane('a')]);
      await until(() => runs.count('a') === 1);
      for (let n = 0; n < 10; n++) await queue.wake([lane('a')]);
      await queue.wake([lane('b')]);
      await until(() => runs.count('b') === 1);
      t.equal(runs.count('a'), 1, 'others go on meanwhile');
      runs.release('a');
      await until(() => runs.count('a') === 2);
      runs.holds = false;
      runs.release();
      await until(async () => (await backend.held()) === 0);
      t.equal(runs.count('a'), 2);
    });

    await t.test('a lane that waits for its time goes on waiting when it is woken, unless now', async (t) => {
      const { queue } = await queueOf(t);
      const runs = makeRuns((one, count) => (count > 1 ? done : later(one.drainKey === 'soon' ? 300 : 600_000)));
      queue.start(runs.run);
      const startedMs = performance.now();
      await queue.wake([lane('soon'), lane('long')]);
      // Not a moment earlier: a wake of a lane that still runs would have it run again after.
      await until(async () => (await queue.queue.getDelayedCount()) === 2);
      for (let n = 0; n < 5; n++) await queue.wake([lane('long')]);
      await until(() => runs.count('soon') === 2);
      t.ok(performance.now() - startedMs >= 300, 'not before its time');
      t.equal(runs.count('long'), 1);
      t.equal(await queue.waiting(), 0, 'what waits for its time does not count as waiting');
      await queue.wake([lane('long')], { now: true });
      await until(() => runs.count('long') === 2);
      await until(async () => (await backend.held()) === 0);
      t.equal(runs.started.length, 4);
    });

    await t.test(
      'a lane that is woken for later waits for so long, and no longer for what it waited for',
      async (t) => {
        const { queue } = await queueOf(t);
        const runs = makeRuns();
        const startedMs = new Map<string, number>();
        queue.start((one) => {
          startedMs.set(one.drainKey, performance.now());
          return runs.run(one);
        });
        const callAt = async (key: string, delayMs: number): Promise<number> => {
          const calledMs = performance.now();
          await queue.wake([lane(key)], { delayMs });
          // Jobs have whole milliseconds.
          return calledMs + delayMs - 2;
        };
        await callAt('sooner', 600_000);
        const soonerMs = await callAt('sooner', 300);
        await callAt('later', 400);
        await callAt('later', 600_000);
        const newMs = await callAt('new', 600);
        t.equal(await queue.queue.getDelayedCount(), 3);
        t.equal(await queue.waiting(), 0);
        // More to send is no reason to go earlier.
        await queue.wake([lane('sooner'), lane('new')]);
        await until(() => runs.count('new') === 1);
        t.strictSame(runs.started, ['sooner', 'new']);
        t.ok((startedMs.get('sooner') ?? 0) >= soonerMs, 'not before its time');
        t.ok((startedMs.get('new') ?? 0) >= newMs, 'not before its time');
        t.ok((startedMs.get('new') ?? 0) < newMs + 5_000, 'nor long after it');
        await queue.wake([lane('later')], { now: true });
        await until(async () => (await backend.held()) === 0);
        t.strictSame(runs.started, ['sooner', 'new', 'later']);
      },
    );

    await t.test('a lane that is woken for later while it runs is run once more, after that time', async (t) => {
      const { queue } = await queueOf(t);
      const runs = makeRuns();
      runs.holds = true;
      queue.start(runs.run);
      await queue.wake([lane('a')]);
      await until(() => runs.count('a') === 1);
      const calledMs = performance.now();
      for (let n = 0; n < 3; n++) await queue.wake([lane('a')], { delayMs: 400.25 });
      await queue.wake([lane('b')]);
      await until(() => runs.count('b') === 1);
      t.equal(runs.count('a'), 1);
      runs.holds = false;
      runs.release();
      await until(() => runs.count('a') === 2);
      t.ok(performance.now() - calledMs >= 398, 'not before its time');
      await until(async () => (await backend.held()) === 0);
      t.equal(runs.count('a'), 2);
    });

    await t.test('woken while it runs, and it runs into a failure: it waits for its time, and runs then', async (t) => {
      const { queue } = await queueOf(t);
      const runs = makeRuns((_, count) => (count === 1 ? later(200) : done));
      runs.holds = true;
      queue.start(runs.run);
      await queue.wake([lane('a')]);
      await until(() => runs.count('a') === 1);
      await queue.wake([lane('a')]);
      runs.holds = false;
      const releasedMs = performance.now();
      runs.release();
      await until(() => runs.count('a') >= 2);
      t.ok(performance.now() - releasedMs >= 190, 'not before its time');
      await until(async () => (await backend.held()) === 0);
      t.ok(runs.count('a') <= 3);
    });

    await t.test('a run that throws leaves the queue in order, and the lane can be woken again', async (t) => {
      const { queue, metrics } = await queueOf(t);
      let calls = 0;
      queue.start(async () => {
        calls += 1;
        if (calls === 1) throw new Error('of our own');
        return done;
      });
      await queue.wake([lane('a')]);
      await until(async () => (await backend.held()) === 0 && calls === 1);
      await until(async () => (await metricOf(metrics, 'qalgate_callbacks_jobs_total')) === 1);
      await queue.wake([lane('a')]);
      await until(() => calls === 2);
    });

    await t.test('so many at once and no more; a second process takes its share', async (t) => {
      const first = await queueOf(t, { concurrency: 3 });
      const second = await queueOf(t, { concurrency: 2, isAlone: false });
      const [one, two] = [makeRuns(), makeRuns()];
      one.holds = two.holds = true;
      first.queue.start(one.run);
      second.queue.start(two.run);
      await first.queue.wake(Array.from({ length: 20 }, (_, n) => lane(n)));
      await until(() => one.started.length === 3 && two.started.length === 2);
      t.equal(await first.queue.waiting(), 15);
      one.holds = two.holds = false;
      one.release();
      two.release();
      await until(async () => (await backend.held()) === 0);
      t.same([one.peak, two.peak], [3, 2]);
      t.equal(new Set([...one.started, ...two.started]).size, 20);
      t.equal(one.started.length + two.started.length, 20, 'each was run by one of them, once');
    });

    await t.test('no wake is lost, and no lane runs twice at once, whatever comes together', async (t) => {
      const { queue } = await queueOf(t);
      const second = await queueOf(t, { isAlone: false });
      /** By lane: how many wakes were written, and how many of them a run has seen. */
      const written = new Map<string, number>();
      const seen = new Map<string, number>();
      const running = new Set<string>();
      let together = 0;
      let seed = 42;
      const random = () => {
        seed = (seed * 1_103_515_245 + 12_345) & 0x7fff_ffff;
        return seed / 0x7fff_ffff;
      };
      const run = async ({ drainKey }: Lane): Promise<RunResult> => {
        if (running.has(drainKey)) together += 1;
        running.add(drainKey);
        const now = written.get(drainKey) ?? 0;
        await new Promise((resolve) => setTimeout(resolve, random() * 5));
        const fails = random() < 0.2;
        if (!fails) seen.set(drainKey, now);
        running.delete(drainKey);
        return fails ? later(Math.floor(random() * 20)) : done;
      };
      queue.start(run);
      second.queue.start(run);
      const wakers = Array.from({ length: 8 }, async () => {
        for (let n = 0; n < 60; n++) {
          const key = String(Math.floor(random() * 12));
          written.set(key, (written.get(key) ?? 0) + 1);
          const options = { now: random() < 0.1 };
          await wakeForSure(random() < 0.5 ? queue : second.queue, [lane(key)], options);
          if (random() < 0.3) await new Promise((resolve) => setTimeout(resolve, random() * 10));
        }
      });
      await Promise.all(wakers);
      await until(() => [...written].every(([key, count]) => seen.get(key) === count)).catch(() => {});
      t.same([...seen].toSorted(), [...written].toSorted(), 'each lane ran after it was last woken');
      t.equal(together, 0);
      await until(async () => (await backend.held()) === 0);
    });

    await t.test('finished jobs leave nothing behind', async (t) => {
      const { queue, metrics } = await queueOf(t, { concurrency: 64 });
      // Enough for the list of events, which is cut at about 10,000, four or five a job.
      const count = 2_600;
      let runs = 0;
      queue.start(async () => {
        runs += 1;
        return done;
      });
      await queue.wake(Array.from({ length: count }, (_, n) => lane(n)));
      await until(() => runs === count, 25_000);
      await until(async () => (await backend.held()) === 0);
      t.equal(await metricOf(metrics, 'qalgate_callbacks_jobs_total'), count);
      t.ok((await backend.events()) < 11_000);
    });

    await t.test('a process killed in the middle of runs: others run them again', async (t) => {
      const { queue } = await queueOf(t, shortLock);
      const script = fileURLToPath(new URL('../support/queue-worker.ts', import.meta.url));
      const given = JSON.stringify({ backend: backend.at, options: { ...base, ...shortLock, isAlone: false } });
      const child = spawn(process.execPath, [script, given], { stdio: ['ignore', 'pipe', 'inherit'] });
      t.teardown(() => child.kill('SIGKILL'));
      const said: string[] = [];
      createInterface({ input: child.stdout }).on('line', (line) => said.push(line));
      await until(() => said.length === 1);
      await queue.wake([lane('a'), lane('b')]);
      await until(() => said.length === 3);
      child.kill('SIGKILL');
      await once(child, 'exit');
      // Woken while nobody knows yet that its worker is gone.
      await queue.wake([lane('a')]);
      const runs = makeRuns();
      queue.start(runs.run);
      await until(() => runs.count('a') >= 1 && runs.count('b') >= 1);
      await until(async () => (await backend.held()) === 0);
      t.ok(runs.count('a') <= 2);
    });

    await t.test('the backend killed and restarted: it goes on without our doing', async (t) => {
      const { queue } = await queueOf(t, shortLock);
      const runs = makeRuns();
      runs.holds = true;
      queue.start(runs.run);
      await queue.wake([lane('running'), lane('woken')]);
      await until(() => runs.started.length === 2);
      await queue.wake([lane('woken')]);
      await backend.killAndRestart();
      runs.holds = false;
      runs.release();
      await wakeForSure(queue, [lane('after'), lane('running')]);
      await until(() => runs.count('after') >= 1 && runs.count('running') >= 2 && runs.count('woken') >= 2);
      await until(async () => (await backend.held()) === 0);
      t.pass();
    });

    await t.test(
      'a worker that takes nothing while lanes wait is replaced, one whose hands are full is not',
      async (t) => {
        const idleMs = 500;
        // PostgreSQL answers within this, or its connection is given up; Redis has the like built in.
        const at: QueueBackend =
          backend.at.kind === 'redis'
            ? backend.at
            : { ...backend.at, connection: { ...backend.at.connection, query_timeout: 1_000 } };
        const { queue, metrics, lines } = await queueOf(t, { ...shortLock, idleMs }, at);
        const replaced = () => metricOf(metrics, 'qalgate_callbacks_workers_replaced_total');
        const runs = makeRuns();
        queue.start(runs.run);
        await queue.wake([lane('before')]);
        await until(() => runs.count('before') === 1);
        // As after a fail-over that ends no connection.
        backend.network.silence();
        await wakeForSure(queue, [lane('after')]);
        await until(() => runs.count('after') >= 1, 15_000);
        t.ok((await replaced()) >= 1);
        t.ok(lines.some(({ event }) => event === 'callbacks.worker.replaced'));

        await until(async () => (await backend.held()) === 0);
        const before = await replaced();
        runs.holds = true;
        await queue.wake(Array.from({ length: 20 }, (_, n) => lane(n)));
        await until(() => runs.active === base.concurrency);
        await new Promise((resolve) => setTimeout(resolve, 3 * idleMs));
        t.equal(await replaced(), before);
        runs.holds = false;
        runs.release();
        await until(async () => (await backend.held()) === 0);
      },
    );

    await t.test(
      'a worker begun while the backend is away begins when it is back, and busies nobody meanwhile',
      async (t) => {
        const { queue } = await queueOf(t, { idleMs: 500 });
        const cut = backend.network.cut();
        t.teardown(() => backend.network.join());
        const runs = makeRuns();
        queue.start(runs.run);
        const startedMs = performance.now();
        const busy = process.cpuUsage();
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        t.ok(performance.now() - startedMs < 3_000, 'timers come');
        const { user, system } = process.cpuUsage(busy);
        t.ok(user + system < 700_000, 'the processor is left to others');
        t.ok(cut.tries < 200, 'as is the backend');
        backend.network.join();
        await wakeForSure(queue, [lane('a')]);
        await until(() => runs.count('a') === 1);
      },
    );

    await t.test('it closes in time while the backend is away, begun before or not', async (t) => {
      for (const isBefore of [true, false]) {
        const { queue } = await queueOf(t, { closeMs: 300 });
        const runs = makeRuns();
        if (isBefore) {
          queue.start(runs.run);
          await queue.wake([lane('a')]);
          await until(() => runs.count('a') === 1);
        }
        backend.network.cut();
        if (!isBefore) queue.start(runs.run);
        // As long as it takes for some tries to come back.
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        const startedMs = performance.now();
        await queue.close();
        t.ok(performance.now() - startedMs < 3_000);
        backend.network.join();
      }
    });

    await t.test('it closes in time while nothing answers', async (t) => {
      const { queue } = await queueOf(t, { closeMs: 300 });
      const runs = makeRuns();
      queue.start(runs.run);
      await queue.wake([lane('a')]);
      await until(() => runs.count('a') === 1);
      backend.network.silence();
      const startedMs = performance.now();
      await queue.close();
      t.ok(performance.now() - startedMs < 3_000);
    });

    await t.test('it closes in time, with runs that end late and with one that does not end', async (t) => {
      const { queue } = await queueOf(t, { closeMs: 300 });
      const ended: string[] = [];
      queue.start(async ({ drainKey }, signal) => {
        ended.push(`${drainKey} begins`);
        if (drainKey === 'stuck') await new Promise(() => {});
        if (drainKey === 'heeds') await once(signal, 'abort');
        if (drainKey === 'short') await new Promise((resolve) => setTimeout(resolve, 100));
        ended.push(`${drainKey} ends`);
        return done;
      });
      await queue.wake([lane('stuck'), lane('heeds'), lane('short'), lane('idle')]);
      await until(() => ended.includes('idle ends') && ended.length === 5);
      const startedMs = performance.now();
      await queue.close();
      t.ok(performance.now() - startedMs < 3_000);
      t.same(ended.slice(5), ['short ends', 'heeds ends'], 'the one that takes too long is told to stop');
      await t.rejects(queue.wake([lane('late')]), 'what comes later is refused');
    });
  };
}

t.setTimeout(240_000);
// Both at once: they mostly wait.
t.jobs = 2;
t.test('on PostgreSQL', { buffered: true }, suite(openPostgres));
t.test('on Redis', { buffered: true, skip: skipWithoutRedis() }, suite(openRedis));
