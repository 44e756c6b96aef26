import { spawn } from 'node:child_process';
import {
  chmod,
  copyFile,
  link,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { Kysely, PostgresDialect } from 'kysely';
import { Migrator } from 'kysely/migration';
import pg from 'pg';
import t from 'tap';
import { createMetrics } from '../../src/observe/index.ts';
import { askInstance, migrateDatabase, openDatabase, StoreError, schemaVersion } from '../../src/store/index.ts';
import { acquireInstanceLock } from '../../src/store/instance-lock.ts';
import * as apps from '../../src/store/migrations/0001-apps.ts';
import * as generation from '../../src/store/migrations/0002-cache-generation.ts';
import * as messaging from '../../src/store/migrations/0003-messaging.ts';
import * as presence from '../../src/store/migrations/0004-presence.ts';
import { findServerProcesses } from '../../src/store/orphaned-server.ts';
import { clusterLogin } from '../../src/store/postgres-cluster.ts';
import { makeDataDir, makeTestLogger, openTestDatabase } from '../support/database.ts';
import { spawnStore } from '../support/spawn-store.ts';

const { db, dataDir, logger, metrics, events } = await openTestDatabase(t);

/** Leaves the socket of a process that died: bound, nobody listens. */
async function leaveDeadSocket(file: string): Promise<void> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(`${file}.x`, resolve));
  await link(`${file}.x`, file);
  await new Promise((resolve) => server.close(resolve));
}

t.test('[O5] a second serve on a data directory is refused and told the pid', async (t) => {
  const facts = await askInstance(dataDir);
  t.match(facts, { pid: process.pid, use: 'serve', version: /^\d+\.\d+\.\d+/, postgres: { port: 5432 } });
  t.ok(Number.isFinite(Date.parse(facts?.startedAt ?? '')));
  const other = spawnStore(t, dataDir, 'serve');
  const answer = await other.read();
  t.equal(answer.refused, 'DATA_DIR_IN_USE');
  t.match(answer.message, new RegExp(`process ${process.pid} .* stop it first`));
  const { rows } = await db.pool.query('select 1 as one');
  t.same(rows, [{ one: 1 }], 'the first is not disturbed');
});

t.test('a command uses the database of the process that serves', async (t) => {
  const command = await openDatabase(
    { logger, metrics: createMetrics() },
    { dataDir, database: 'embedded', use: 'command' },
  );
  t.equal(command.kind, 'attached');
  const { rows } = await command.pool.query('select pg_postmaster_start_time() as started');
  const mine = await db.pool.query('select pg_postmaster_start_time() as started');
  t.same(rows, mine.rows);
  await command.close();
  await command.close();
  t.ok(await db.pool.query('select 1'));
});

t.test('nobody else can reach the files and the server', async (t) => {
  const modeOf = async (name: string) => ((await stat(path.join(dataDir, name))).mode & 0o777).toString(8);
  t.equal(await modeOf('.'), '700');
  t.equal(await modeOf('pg'), '700');
  t.equal(await modeOf('pg.password'), '600');
  t.equal(await modeOf('instance.sock'), '600');
  t.equal(await modeOf('pg/.s.PGSQL.5432'), '700');
  const shown = async (name: string) => (await db.pool.query(`show ${name}`)).rows[0][name];
  t.equal(await shown('listen_addresses'), '');
  t.equal(await shown('password_encryption'), 'scram-sha-256');
  t.equal(await shown('fsync'), 'on');
  t.equal(await shown('server_encoding'), 'UTF8');
  const { rows } = await db.pool.query(
    'select datlocprovider, datlocale from pg_database where datname = current_database()',
  );
  t.same(rows, [{ datlocprovider: 'b', datlocale: 'C.UTF-8' }]);
  const hba = await db.pool.query('select distinct auth_method from pg_hba_file_rules');
  t.same(hba.rows, [{ auth_method: 'scram-sha-256' }]);
  const [postmaster] = (await readFile(path.join(dataDir, 'pg/postmaster.pid'), 'utf8')).split('\n');
  const { uid } = await stat(`/proc/${postmaster}`);
  t.not(uid, 0, 'the server never runs as root');
  t.same(await readdir(dataDir), ['instance.sock', 'pg', 'pg.password'], 'nothing else is left lying about');
});

t.test('[O5] of processes that start over a dead socket at once exactly one gets the lock', async (t) => {
  const dir = await makeDataDir(t);
  await mkdir(dir);
  const socket = path.join(dir, 'instance.sock');
  for (let round = 0; round < 20; round++) {
    await leaveDeadSocket(socket);
    // A process that died in the middle of removing it, and one that died removing what that one left.
    if (round % 3 > 0) await leaveDeadSocket(`${socket}.takeover-1`);
    if (round % 3 > 1) await leaveDeadSocket(`${socket}.takeover-2`);
    const starts = Array.from({ length: 8 }, () => acquireInstanceLock({ logger }, { dataDir: dir, use: 'serve' }));
    const results = await Promise.all(starts);
    const won = results.flatMap((result) => (result.ok ? [result.lock] : []));
    if (won.length !== 1) t.fail(`${won.length} hold the lock in round ${round}`);
    t.ok(results.every((result) => result.ok || result.holder.pid === process.pid));
    for (const lock of won) {
      t.ok(await lock.isHeld());
      await lock.close();
      await lock.close();
      t.notOk(await lock.isHeld());
    }
    t.same(await readdir(dir), [], 'no socket stays behind');
  }
});

t.test('[O5] of two processes that start at once on a new directory one serves, the other is told', async (t) => {
  const dir = await makeDataDir(t);
  await mkdir(dir);
  await leaveDeadSocket(path.join(dir, 'instance.sock'));
  const both = [spawnStore(t, dir, 'serve'), spawnStore(t, dir, 'serve')] as const;
  const answers = await Promise.all(both.map((one) => one.read()));
  const winner = answers.findIndex((answer) => answer.opened === 'embedded');
  t.ok(winner >= 0);
  const loser = answers[1 - winner];
  t.match(loser, { refused: 'DATA_DIR_IN_USE', message: new RegExp(`process ${both[winner]?.child.pid} `) });

  const command = spawnStore(t, dir, 'command');
  t.same(await command.read(), { opened: 'attached' });
  await command.finish();

  const owner = both[winner]?.child;
  owner?.kill('SIGSTOP');
  const taken = await acquireInstanceLock({ logger }, { dataDir: dir, use: 'serve', answerMs: 200 });
  t.ok(taken.ok, 'who is silent for too long counts as dead');
  if (taken.ok) await taken.lock.close();
  owner?.kill('SIGCONT');
  await both[winner]?.finish();

  const alone = spawnStore(t, dir, 'command');
  t.same(await alone.read(), { opened: 'embedded' }, 'with nobody serving a command starts the server itself');
  const next = spawnStore(t, dir, 'serve');
  await alone.finish();
  t.same(await next.read(), { opened: 'embedded' }, 'and a serve waits for a command to end');
  await next.finish();
});

t.test('[O5] a holder that is taken for dead notices that it lost the lock', async (t) => {
  const dir = await makeDataDir(t);
  await mkdir(dir);
  const first = await acquireInstanceLock({ logger }, { dataDir: dir, use: 'serve' });
  if (!first.ok) throw new Error('not taken');
  await unlink(path.join(dir, 'instance.sock'));
  const second = await acquireInstanceLock({ logger }, { dataDir: dir, use: 'serve' });
  if (!second.ok) throw new Error('not taken');
  t.notOk(await first.lock.isHeld());
  await first.lock.close();
  t.ok(await second.lock.isHeld(), 'and leaves the socket of its successor');
  await second.lock.close();
});

t.test('a data path longer than a socket path may be works', async (t) => {
  const dir = path.join(await makeDataDir(t), 'ä long näme '.repeat(8), 'and a löng one below '.repeat(4));
  const options = { dataDir: dir, database: 'embedded', use: 'serve' } as const;
  const long = await openDatabase({ logger, metrics: createMetrics() }, options);
  t.ok(Buffer.byteLength(dir) > 200);
  t.equal((await askInstance(dir))?.pid, process.pid);
  await t.rejects(openDatabase({ logger, metrics }, options), { code: 'DATA_DIR_IN_USE' });
  const command = await openDatabase({ logger, metrics: createMetrics() }, { ...options, use: 'command' });
  t.equal(command.kind, 'attached');
  await command.close();
  await long.close();
});

t.test('[O5] another major version of PostgreSQL stops the start with what to do', async (t) => {
  const dir = await makeDataDir(t);
  await mkdir(path.join(dir, 'pg'), { recursive: true });
  await writeFile(path.join(dir, 'pg/PG_VERSION'), '17\n');
  const options = { dataDir: dir, database: 'embedded', use: 'serve' } as const;
  const error = await openDatabase({ logger, metrics }, options).catch((thrown: unknown) => thrown);
  t.ok(error instanceof StoreError && error.code === 'POSTGRES_VERSION');
  t.match(error, {
    message: /made by PostgreSQL 17, this release brings PostgreSQL 18.*Nothing was changed.*To begin empty: mv /,
  });
  t.equal(await readFile(path.join(dir, 'pg/PG_VERSION'), 'utf8'), '17\n');
  t.equal(await askInstance(dir), undefined, 'and leaves no lock');
});

t.test('[O5] a directory that is no cluster, and a cluster without its password, are left alone', async (t) => {
  const dir = await makeDataDir(t);
  await mkdir(path.join(dir, 'pg'), { recursive: true });
  await writeFile(path.join(dir, 'pg/diary.txt'), 'dear diary');
  const options = { dataDir: dir, database: 'embedded', use: 'serve' } as const;
  const open = () => openDatabase({ logger, metrics: createMetrics() }, options);
  await t.rejects(open(), { code: 'DATA_DIR_UNUSABLE', message: /holds files but no database/ });
  t.equal(await readFile(path.join(dir, 'pg/diary.txt'), 'utf8'), 'dear diary');

  const fresh = await makeDataDir(t);
  const made = await openDatabase({ logger, metrics: createMetrics() }, { ...options, dataDir: fresh });
  await made.close();
  const passwordFile = path.join(fresh, 'pg.password');
  const password = await readFile(passwordFile, 'utf8');
  await writeFile(passwordFile, 'wrong\n');
  const reopen = () => openDatabase({ logger, metrics: createMetrics() }, { ...options, dataDir: fresh });
  await t.rejects(reopen(), { code: 'POSTGRES_UNUSABLE', message: /does not take the password in pg.password/ });
  await writeFile(passwordFile, password);
  // As a killed initdb leaves it.
  await mkdir(path.join(fresh, 'pg.new/cluster/base'), { recursive: true });
  await (await reopen()).close();
});

t.test('[O5] damaged files end the start with the words of the server', async (t) => {
  const dir = await makeDataDir(t);
  const open = () =>
    openDatabase({ logger, metrics: createMetrics() }, { dataDir: dir, database: 'embedded', use: 'serve' });
  await (await open()).close();
  const cluster = path.join(dir, 'pg');
  const base = path.join(cluster, 'base');
  for (const name of await readdir(base)) await truncate(path.join(base, name, '1259')); // pg_class
  await t.rejects(open(), { code: 'POSTGRES_UNUSABLE', message: /does not start: .*\n.*critical system index/s });
  await rm(base, { recursive: true });
  await t.rejects(open(), { code: 'POSTGRES_UNUSABLE', message: /does not start: database "postgres" does not exist/ });
  t.same(await findServerProcesses(cluster), [], 'no server is left');
  t.equal(await askInstance(dir), undefined, 'and no lock');
});

t.test('[O5] a stranger that has the pid of the dead server is not touched', async (t) => {
  const dir = await makeDataDir(t);
  const options = { dataDir: dir, database: 'embedded', use: 'serve' } as const;
  await (await openDatabase({ logger, metrics: createMetrics() }, options)).close();
  const cluster = path.join(dir, 'pg');
  const { uid, gid } = await stat(cluster);
  const account = process.getuid?.() === 0 ? { uid, gid } : {};
  // One that stands in the cluster but is no server, and one that is called postgres but stands elsewhere.
  const impostor = path.join(await makeDataDir(t), '..', 'postgres');
  await copyFile('/bin/sleep', impostor);
  await chmod(impostor, 0o755);
  const strangers = [
    spawn('/bin/sleep', ['600'], { ...account, cwd: cluster }),
    spawn(impostor, ['600'], { cwd: '/' }),
  ];
  for (const stranger of strangers) {
    t.teardown(() => stranger.kill('SIGKILL'));
    for (const name of ['postmaster.pid', '.s.PGSQL.5432.lock']) {
      await writeFile(path.join(cluster, name), `${stranger.pid}\n${cluster}\n1700000000\n5432\n.\n`);
    }
    const { logger, events } = makeTestLogger();
    const db = await openDatabase({ logger, metrics: createMetrics() }, options);
    t.same((await db.pool.query('select count(*) as n from app')).rows, [{ n: 0 }]);
    t.equal(stranger.exitCode, null);
    t.equal(stranger.signalCode, null);
    t.notOk(events.includes('store.postgres.orphan.stopped'));
    await db.close();
  }
});

t.test('[O5] an external database is migrated by command only, and used at schema N and N + 1', async (t) => {
  await db.pool.query('create database elsewhere');
  const password = (await readFile(path.join(dataDir, 'pg.password'), 'utf8')).trim();
  const host = encodeURIComponent(path.join(dataDir, 'pg'));
  const url = `postgres://${clusterLogin.user}:${password}@${host}:${clusterLogin.port}/elsewhere`;
  const deps = { logger, metrics: createMetrics() };
  const open = (database = url) => openDatabase(deps, { dataDir, database, use: 'serve' });

  await t.rejects(open(), { code: 'SCHEMA_VERSION', message: /has schema 0.*run: qalgate migrate/ });
  const both = await Promise.all([migrateDatabase(deps, url), migrateDatabase(deps, url)]);
  t.match(both, [{ to: schemaVersion }, { to: schemaVersion }], 'two at once do not collide');
  t.same(await migrateDatabase(deps, url), { from: schemaVersion, to: schemaVersion });

  const external = await open();
  t.equal(external.kind, 'external');
  t.same((await external.pool.query('select current_database() as name')).rows, [{ name: 'elsewhere' }]);
  const pretend = async (version: number) => {
    const name = `${String(version).padStart(4, '0')}-from-the-future`;
    await external.pool.query('insert into kysely_migration (name, timestamp) values ($1, $2)', [name, '2030']);
  };
  await pretend(schemaVersion + 1);
  await (await open()).close();
  t.match(await migrateDatabase(deps, url), { to: schemaVersion + 1 }, 'a newer schema is left alone');
  await pretend(schemaVersion + 2);
  await t.rejects(open(), { code: 'SCHEMA_VERSION', message: /newer release/ });
  await external.close();

  const wrong = url.replace(password, 'wrong-password');
  const error = await open(wrong).catch((thrown: unknown) => thrown);
  t.match(error, { code: 'DATABASE_UNREACHABLE', message: /cannot use elsewhere at .*password authentication failed/ });
  t.notMatch((error as Error).message, /wrong-password/);
  await t.rejects(open('mysql://x'), { code: 'DATABASE_UNREACHABLE', message: /allowed: embedded, or postgres:/ });
  await t.rejects(migrateDatabase(deps, 'postgres://u:p@127.0.0.1:1/x'), {
    code: 'DATABASE_UNREACHABLE',
    message: /cannot use x at 127.0.0.1:1: .*ECONNREFUSED/,
  });
});

t.test('[O5,C14] a database of the release before gets what is new and keeps what it has', async (t) => {
  const dir = await makeDataDir(t);
  const deps = { logger, metrics: createMetrics() };
  const open = () => openDatabase(deps, { dataDir: dir, database: 'embedded', use: 'serve' });
  const first = await open();
  await first.pool.query('create database elsewhere');
  const password = (await readFile(path.join(dir, 'pg.password'), 'utf8')).trim();
  const host = encodeURIComponent(path.join(dir, 'pg'));
  const url = `postgres://${clusterLogin.user}:${password}@${host}:${clusterLogin.port}/elsewhere`;
  await migrateDatabase(deps, url);
  /** As schema 1 left it, with an app. */
  const rewind = async (pool: pg.Pool): Promise<void> => {
    await pool.query("insert into app (sdk_app_id, origin, settings, sealed_secrets) values (7, 'api', '{}', 'x')");
    await pool.query(`do $$ declare made record; begin
      for made in select tablename from pg_tables
        where schemaname = 'public' and tablename <> all (array['meta', 'app', 'session_revocation'])
          and tablename not like 'kysely%'
      loop execute format('drop table if exists %I cascade', made.tablename); end loop;
      for made in select oid::regprocedure as signature from pg_proc where pronamespace = 'public'::regnamespace
      loop execute 'drop function ' || made.signature; end loop;
    end $$`);
    await pool.query('alter table app drop column sealed_callbacks, drop column sealed_push');
    await pool.query("delete from kysely_migration where name > '0002'");
  };
  const check = async (pool: pg.Pool): Promise<void> => {
    t.same((await pool.query('select generation from cache_generation')).rows, [{ generation: 0 }]);
    await t.rejects(pool.query('insert into cache_generation default values'), /duplicate key/, 'there is one row');
    t.same((await pool.query('select sdk_app_id from app')).rows, [{ sdk_app_id: 7 }]);
  };

  const external = await openDatabase(deps, { dataDir: dir, database: url, use: 'serve' });
  await rewind(external.pool);
  await t.rejects(openDatabase(deps, { dataDir: dir, database: url, use: 'serve' }), {
    code: 'SCHEMA_VERSION',
    message: /has schema 1.*run: qalgate migrate/,
  });
  t.same(await migrateDatabase(deps, url), { from: 1, to: schemaVersion });
  await check(external.pool);
  await external.close();

  await rewind(first.pool);
  await first.close();
  const again = await open();
  await check(again.pool);
  await again.close();
});

t.test(
  '[O5] [K6] schema 4 with messages in it: they stay, and a program of that release stores more beside us',
  async (t) => {
    await db.pool.query('create database four');
    const password = (await readFile(path.join(dataDir, 'pg.password'), 'utf8')).trim();
    const host = encodeURIComponent(path.join(dataDir, 'pg'));
    const url = `postgres://${clusterLogin.user}:${password}@${host}:${clusterLogin.port}/four`;
    const pool = new pg.Pool({ connectionString: url });
    t.teardown(() => pool.end());
    const before = { '0001-apps': apps, '0002-cache-generation': generation, '0003-messaging': messaging };
    const provider = { getMigrations: async () => ({ ...before, '0004-presence': presence }) };
    const kysely = new Kysely({ dialect: new PostgresDialect({ pool }) });
    const { error } = await new Migrator({ db: kysely, provider }).migrateToLatest();
    if (error !== undefined) throw error;

    await pool.query("insert into app (sdk_app_id, origin, settings, sealed_secrets) values (7, 'api', '{}', 'x')");
    await pool.query("insert into account (sdk_app_id, identifier, created_ms) values (7, 'alice', 0), (7, 'bob', 0)");
    await pool.query('insert into conversation (sdk_app_id, kind, account_a, account_b) values (7, 1, 1, 2)');
    const nowMs = Date.now();
    const nowSec = Math.floor(nowMs / 1_000);
    /** As the release before calls them. */
    const one = async (random: number, more: unknown[] = []) => {
      const values = [
        nowMs,
        1,
        1,
        0,
        `r${random}`,
        120_000,
        nowSec,
        9,
        random,
        0,
        true,
        604_800,
        0,
        '[]',
        null,
        null,
        ...more,
      ];
      const parameters = values.map((_, index) => `$${index + 1}`).join(', ');
      return (await pool.query(`select status, seq from im_commit_one(${parameters})`, values)).rows[0];
    };
    const many = async (randoms: number[], more: unknown[] = []) => {
      const all = <T>(value: T): T[] => randoms.map(() => value);
      const keys = randoms.map((random) => `r${random}`);
      const values = [
        all(1),
        all(1),
        all(0),
        keys,
        all(120_000),
        all(nowSec),
        all(9),
        randoms,
        all(0),
        all(true),
        all(604_800),
      ];
      const rest = [all(0), all('[]'), all(null), all(null), ...more.map(all)];
      const parameters = [nowMs, ...values, ...rest].map((_, index) => `$${index + 1}`).join(', ');
      return (await pool.query(`select status, seq from im_commit(${parameters})`, [nowMs, ...values, ...rest])).rows;
    };
    const states = (bits: number) =>
      pool.query("select im_state_event($1, 7, 1, 'alice', 'Android', 'online', 'login', $2)", [bits, nowMs]);
    t.match([await one(1), ...(await many([2, 3]))], [{ seq: '1' }, { seq: '2' }, { seq: '3' }]);

    t.same(await migrateDatabase({ logger, metrics: createMetrics() }, url), { from: 4, to: schemaVersion });
    t.match([await one(4), ...(await many([5, 6]))], [{ seq: '4' }, { seq: '5' }, { seq: '6' }], 'as before');
    t.match(
      [await one(1, ['{}']), ...(await many([5], ['{}']))],
      [
        { status: 1, seq: '1' },
        { status: 1, seq: '5' },
      ],
    );
    await states(0);
    t.same((await pool.query('select * from outbox')).rows, [], 'nobody is told');
    t.same(
      (await pool.query('select distinct callbacks from message')).rows,
      [{ callbacks: 0 }],
      'and nothing noted of why',
    );
    await states(1);
    t.match((await pool.query('select consumer, drain_key, event, day from outbox')).rows, [
      { consumer: 1, drain_key: 'a1', event: 'State.StateChange', day: Math.floor(nowMs / 86_400_000) },
    ]);
  },
);

t.test('numbers of the database stay exact, and the pool says what it holds', async (t) => {
  t.same((await db.pool.query('select 9007199254740991::bigint as n')).rows, [{ n: 9_007_199_254_740_991 }]);
  await t.rejects(db.pool.query('select 9007199254740993::bigint as n'), /beyond 2\^53/);
  await db.pool.query('select 1');
  t.match(await metrics.registry.metrics(), /qalgate_store_pool_connections\{state="total"\} [1-9]/);
  t.match(await metrics.registry.metrics(), /qalgate_store_postgres_up 1/);
  t.notOk(events.includes('store.pool.connection.lost'), 'and what was closed in order is not reported as lost');
});
