import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import t, { type Test } from 'tap';
import { createLaneLocks, type LaneLock, type LaneLocks, queueBackendOf } from '../../src/store/index.ts';
import { makeTestLogger, openTestDatabase, until } from '../support/database.ts';
import { openTcpNetwork } from '../support/tcp-network.ts';

t.setTimeout(240_000);
const { db } = await openTestDatabase(t);
const { target } = db;
if (!('host' in target)) throw new Error('the embedded database is at a socket');
const direct: pg.ClientConfig = { ...target, ssl: false };
const path = `${target.host}/.s.PGSQL.${target.port}`;

const lane = (key: string | number): string => `0123456789abcdef-${key}`;

interface Opened {
  locks: LaneLocks;
  /** Its connections so far. */
  clients: pg.Client[];
  /** What it has logged. */
  events: string[];
}

/** As one process has them. */
function openLocks(t: Test, { lockMs = 15_000, ...config }: { lockMs?: number } & pg.ClientConfig = {}): Opened {
  const { logger, events } = makeTestLogger();
  const clients: pg.Client[] = [];
  const createClient = (): pg.Client => {
    const client = new pg.Client({ ...direct, ...config });
    clients.push(client);
    return client;
  };
  const locks = createLaneLocks({ db: { createClient }, logger }, { lockMs });
  t.teardown(() => locks.close());
  return { locks, clients, events };
}

async function mustTake(locks: LaneLocks, drainKey: string | number): Promise<LaneLock> {
  const lock = await locks.take(lane(drainKey));
  if (lock === undefined) throw new Error(`somebody else has ${drainKey}`);
  return lock;
}

/** Once whoever has it has it no more. */
const takeLater = (locks: LaneLocks, drainKey: string | number, limitMs = 5_000): Promise<LaneLock> =>
  until(() => locks.take(lane(drainKey)), limitMs);

const isFree = async (locks: LaneLocks, drainKey: string | number): Promise<boolean> => {
  const lock = await locks.take(lane(drainKey));
  lock?.release();
  return lock !== undefined;
};

/** Once what was asked before is done: steps go in order. */
const settled = (locks: LaneLocks): Promise<unknown> => locks.take(lane('nobody else'));

/** Ends that connection at the server. */
async function terminate(client: pg.Client | undefined): Promise<void> {
  const pid = (client as unknown as { processID: number }).processID;
  await db.pool.query('select pg_terminate_backend($1)', [pid]);
  await until(async () => {
    const { rows } = await db.pool.query('select from pg_stat_activity where pid = $1', [pid]);
    return rows.length === 0;
  });
}

/** What Node and pg warn of. */
const warnings: string[] = [];
const warn = ({ message }: Error): void => void warnings.push(message);
process.on('warning', warn);

t.test('[K6] what one process has another does not get, and gets after release', async (t) => {
  const [one, two] = [openLocks(t).locks, openLocks(t).locks];
  const first = await mustTake(one, 'a');
  const other = await mustTake(two, 'b');
  t.equal(await two.take(lane('a')), undefined);
  t.equal(await one.take(lane('b')), undefined);
  t.equal(first.isLost(), false);
  t.equal(other.isLost(), false);
  first.release();
  const second = await takeLater(two, 'a');
  t.equal(await isFree(one, 'a'), false);
  second.release();
  const third = await takeLater(one, 'a');
  first.release();
  await settled(one);
  t.equal(await isFree(two, 'a'), false, 'what was released is, once');
  third.release();
  await takeLater(two, 'a');
});

t.test('[K6] lanes that are asked for together get each its own answer', async (t) => {
  const [one, two] = [openLocks(t), openLocks(t)];
  // More than go in one statement.
  const keys = Array.from({ length: 1_200 }, (_, n) => n);
  const isTaken = (n: number) => n % 3 === 0 || n === 1_199;
  const theirs = await Promise.all(keys.filter(isTaken).map((n) => mustTake(two.locks, n)));
  const found = await Promise.all(keys.map((n) => one.locks.take(lane(n))));
  t.strictSame(
    keys.filter((n) => found[n] === undefined),
    keys.filter(isTaken),
  );
  // Together with what goes back.
  for (const lock of theirs) lock.release();
  await settled(two.locks);
  for (const n of [1, 4, 7]) found[n]?.release();
  const mixed = one.locks.take(lane(0));
  found[10]?.release();
  const again = one.locks.take(lane(3));
  t.ok(await mixed);
  t.ok(await again);
  t.strictSame(await Promise.all([0, 1, 2, 3, 4, 5, 6, 7, 10, 11].map((n) => isFree(two.locks, n))), [
    false,
    true,
    false,
    false,
    true,
    false,
    true,
    true,
    true,
    false,
  ]);
  t.equal(one.clients.length, 1, 'all on one connection');
});

t.test('[K6] lanes of one hash share a lock: both run on one process, none on another meanwhile', async (t) => {
  const [one, two] = [openLocks(t).locks, openLocks(t).locks];
  const { rows } = await db.pool.query<{ keys: [string, string] }>(
    `select array_agg(n::text) as keys from generate_series(1, 300000) as n
     group by hashtext('0123456789abcdef-' || n) having count(*) = 2 limit 1`,
  );
  const [a, b] = rows[0]?.keys ?? ['', ''];
  t.not(a, b);
  const [first, second] = [await mustTake(one, a), await mustTake(one, b)];
  first.release();
  await settled(one);
  t.strictSame([await isFree(two, a), await isFree(two, b)], [false, false], 'the other one still runs');
  second.release();
  await takeLater(two, a);
});

t.test('[K6] locks whose connection the server ended are lost at once, and others get them', async (t) => {
  const [one, two] = [openLocks(t), openLocks(t)];
  const lost = await mustTake(one.locks, 'a');
  await mustTake(one.locks, 'b');
  await terminate(one.clients[0]);
  // Far below the time after which silence would tell.
  await until(() => lost.isLost(), 2_000);
  t.strictSame(one.events, ['store.locks.lost']);
  await mustTake(two.locks, 'a');
  t.equal(await one.locks.take(lane('a')), undefined);
  t.equal((await mustTake(one.locks, 'b')).isLost(), false, 'and it goes on');
  t.equal(lost.isLost(), true, 'for good');
});

t.test('[K6] a lock of a session that is over does not release a newer one', async (t) => {
  const network = await openTcpNetwork(t, { path });
  const [one, two] = [openLocks(t, { host: '127.0.0.1', port: network.port, query_timeout: 700 }), openLocks(t)];
  const old = await mustTake(one.locks, 'a');
  await terminate(one.clients[0]);
  await until(() => old.isLost(), 2_000);
  const newer = await mustTake(one.locks, 'a');
  old.release();
  await settled(one.locks);
  t.equal(await isFree(two.locks, 'a'), false);
  t.equal(newer.isLost(), false);

  // And where it is over only after the release was asked for.
  await mustTake(two.locks, 'theirs');
  network.silence();
  await terminate(one.clients[1]);
  const unanswered = one.locks.take(lane('b'));
  unanswered.catch(() => {});
  // The step before is under way: these go together, on the next connection.
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  const next = Promise.all(['a', 'theirs', 'c'].map((key) => one.locks.take(lane(key))));
  t.equal(newer.isLost(), false, 'it has heard nothing yet');
  newer.release();
  const after = Promise.all(['theirs', 'd'].map((key) => one.locks.take(lane(key))));
  await t.rejects(unanswered);
  t.equal(newer.isLost(), true);
  t.strictSame(
    [...(await next), ...(await after)].map((lock) => lock !== undefined),
    [true, false, true, false, true],
  );
  t.equal(await isFree(two.locks, 'a'), false);
});

t.test('[K6] a process that lives keeps its locks; one of which nothing is heard loses them, and knows', async (t) => {
  const lockMs = 600;
  const network = await openTcpNetwork(t, { path });
  // It waits for an answer for longer than the test takes.
  const one = openLocks(t, { lockMs, host: '127.0.0.1', port: network.port, query_timeout: 20_000 });
  const two = openLocks(t, { lockMs });
  const lock = await mustTake(one.locks, 'a');
  const takenMs = performance.now();
  let isKept = true;
  await until(async () => {
    if (lock.isLost() || (await isFree(two.locks, 'a'))) isKept = false;
    return !isKept || performance.now() - takenMs > 3 * lockMs;
  });
  t.equal(isKept, true, 'though it asks for nothing');

  network.silence();
  const silentMs = performance.now();
  let knewMs = Number.POSITIVE_INFINITY;
  const theirs = await until(async () => {
    const taken = await two.locks.take(lane('a'));
    if (lock.isLost()) knewMs = Math.min(knewMs, performance.now());
    return taken;
  }, 5_000);
  t.ok(lock.isLost(), 'it knew no later than others had it');
  t.ok(knewMs - silentMs > lockMs / 2, 'not at once');
  t.strictSame(one.events, [], 'it was told nothing');
  t.equal(one.clients.length, 1);
  t.equal(theirs.isLost(), false);
});

/** A process that has the lane. */
async function startHolder(t: Test, drainKey: string, lockMs: number) {
  const script = fileURLToPath(new URL('../support/lane-locks-process.ts', import.meta.url));
  const given = JSON.stringify({ connection: direct, lockMs, lane: lane(drainKey) });
  const child = spawn(process.execPath, [script, given], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.on('error', () => {});
  t.teardown(() => child.kill('SIGKILL'));
  const said: unknown[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => said.push(JSON.parse(line)));
  await until(() => said.length === 1);
  t.strictSame(said, [{ has: true }]);
  return {
    child,
    async isLost(): Promise<unknown> {
      const before = said.length;
      child.stdin.write('\n');
      return await until(() => said[before]);
    },
  };
}

t.test('[K6] a process that was killed leaves no lock behind', async (t) => {
  const { locks } = openLocks(t);
  const { child } = await startHolder(t, 'a', 15_000);
  t.equal(await isFree(locks, 'a'), false);
  child.kill('SIGKILL');
  await once(child, 'exit');
  await takeLater(locks, 'a', 5_000);
});

t.test('[K6] a process that stood still for too long has lost its locks when it goes on', async (t) => {
  const lockMs = 600;
  const { locks } = openLocks(t);
  const { child, isLost } = await startHolder(t, 'a', lockMs);
  t.strictSame(await isLost(), { isLost: false });
  const stoppedMs = performance.now();
  child.kill('SIGSTOP');
  await takeLater(locks, 'a', 5_000);
  t.ok(performance.now() - stoppedMs > lockMs / 2, 'not at once');
  child.kill('SIGCONT');
  t.strictSame(await isLost(), { isLost: true });
});

t.test('[K6] no lane is given while the database does not answer; when it does they are again', async (t) => {
  const network = await openTcpNetwork(t, { path });
  const { locks, clients } = openLocks(t, { host: '127.0.0.1', port: network.port, query_timeout: 400 });
  network.cut();
  await t.rejects(locks.take(lane('a')));
  await t.rejects(locks.take(lane('a')), 'nor at the second try');
  network.join();
  const lock = await mustTake(locks, 'a');
  network.cut();
  await until(() => lock.isLost(), 2_000);
  await t.rejects(locks.take(lane('b')));
  network.join();
  const next = await mustTake(locks, 'b');

  network.silence();
  const askedMs = performance.now();
  await t.rejects(Promise.all([locks.take(lane('c')), locks.take(lane('d'))]));
  t.ok(performance.now() - askedMs < 2_000, 'after the time that an answer may take');
  t.equal(next.isLost(), true, 'nobody knows what it has');
  const before = clients.length;
  t.equal((await mustTake(locks, 'e')).isLost(), false);
  t.equal(clients.length, before + 1, 'on another connection');
});

t.test('[K6] who closes gives its locks back, and takes no more', async (t) => {
  const [one, two] = [openLocks(t), openLocks(t)];
  const lock = await mustTake(one.locks, 'a');
  await one.locks.close();
  t.equal(lock.isLost(), true);
  await takeLater(two.locks, 'a', 2_000);
  lock.release();
  await t.rejects(one.locks.take(lane('b')), { message: 'the locks are closed' });
  t.equal(one.clients.length, 1);
  t.strictSame(one.events, [], 'nothing was lost by that');
  await one.locks.close();
  await openLocks(t).locks.close();
});

t.test('it closes in time while nothing answers, and while it connects', async (t) => {
  const network = await openTcpNetwork(t, { path });
  const through = { host: '127.0.0.1', port: network.port, query_timeout: 12_000 };
  const closing = async ({ locks }: Opened): Promise<number> => {
    const startedMs = performance.now();
    await locks.close();
    return performance.now() - startedMs;
  };
  const idle = openLocks(t, through);
  const asking = openLocks(t, through);
  await mustTake(idle.locks, 'a');
  await mustTake(asking.locks, 'b');
  network.silence();
  const unanswered = asking.locks.take(lane('c'));
  unanswered.catch(() => {});
  t.ok((await closing(idle)) < 2_500);
  t.ok((await closing(asking)) < 2_500);
  await t.rejects(unanswered);

  // One that takes connections, and passes them on only later.
  const answers = Promise.withResolvers<void>();
  const slow = createServer((near) => {
    near.on('error', () => {});
    answers.promise.then(() => {
      const far = connect({ path }).on('error', () => {});
      near.pipe(far).pipe(near);
    });
  });
  slow.listen(0, '127.0.0.1');
  await once(slow, 'listening');
  t.teardown(() => slow.close());
  const { port } = slow.address() as AddressInfo;
  const connecting = openLocks(t, { ...through, port, connectionTimeoutMillis: 20_000 });
  const refused = connecting.locks.take(lane('d'));
  refused.catch(() => {});
  await until(() => connecting.clients.length === 1);
  t.ok((await closing(connecting)) < 2_500);
  const ended = once(connecting.clients[0] as pg.Client, 'end');
  answers.resolve();
  await t.rejects(refused, { message: 'the locks are closed' });
  await ended;
});

t.test('signs of life come between the statements, never with them', async (t) => {
  const { locks } = openLocks(t, { lockMs: 60 });
  const startedMs = performance.now();
  let taken = 0;
  await until(async () => {
    (await mustTake(locks, taken++)).release();
    return performance.now() - startedMs > 600;
  });
  process.off('warning', warn);
  t.strictSame(warnings, []);
});

t.test('a connection of the queue that the server ends between two statements ends no process', async (t) => {
  const backend = queueBackendOf(db, { kind: 'postgres' });
  if (backend.kind !== 'postgres') return t.fail('it is of the database');
  const pool = new pg.Pool(backend.connection);
  pool.on('error', () => {});
  t.teardown(() => pool.end());
  const client = await pool.connect();
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  await db.pool.query('select pg_terminate_backend($1)', [rows[0]?.pid]);
  const isBroken = () =>
    client.query('select').then(
      () => false,
      () => true,
    );
  // Not by a statement: it would be the one to hear of it.
  await new Promise((resolve) => client.once('end', resolve));
  t.ok(await isBroken());
  client.release(true);
});
