import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger, Metrics } from '../observe/index.ts';
import { type ConnectionTarget, connectDatabase, type Database, showPool } from './connection.ts';
import { attachEmbeddedPostgres, startEmbeddedPostgres } from './embedded.ts';
import { acquireInstanceLock, type InstanceFacts, type InstanceLock, type InstanceUse } from './instance-lock.ts';
import { type StoreMetrics, storeMetrics } from './metrics.ts';
import { checkSchemaVersion, migrateSchema, readSchemaVersion, schemaVersion } from './migrations.ts';
import { clusterLogin } from './postgres-cluster.ts';
import { reasonOf, StoreError } from './store-error.ts';

export interface DatabaseOptions {
  /** The data directory; made if missing, mode 0700. */
  dataDir: string;
  /** `embedded`, or the URL of a PostgreSQL server. */
  database: string;
  /** `serve`: the process owns the data directory. `command`: it is a guest for seconds. */
  use: InstanceUse;
}

export interface OpenedDatabase extends Database {
  /** `embedded`: our own server; `attached`: that of the process which serves from the directory. */
  readonly kind: 'embedded' | 'attached' | 'external';
}

interface Deps {
  logger: Logger;
  metrics: Metrics;
}

type StoreDeps = { logger: Logger; metrics: StoreMetrics };

/** A command waits so long for a serve that is starting, and anyone for a command that has the directory. */
const holderMs = 30_000;
const holderPollMs = 50;
/** A migration may take as long as rewriting a table does. */
const migrationLimits = { max: 2, statementMs: 3_600_000 };

/**
 * Opens the store's database.
 *
 * - `embedded`, `serve`: takes the instance lock, starts the server (recovering what a crash left), migrates.
 * - `embedded`, `command`: uses the server of the process that has the lock, or else does the same for its short life.
 * - a URL: connects, and checks that the schema is N or N+1; `migrateDatabase` migrates.
 *
 * Throws a StoreError whose message says what to do. Nothing is left running or locked then.
 */
export async function openDatabase(deps: Deps, options: DatabaseOptions): Promise<OpenedDatabase> {
  const storeDeps = { logger: deps.logger, metrics: storeMetrics(deps.metrics) };
  if (options.database !== 'embedded') return await openExternal(storeDeps, options.database);
  const dataDir = path.resolve(options.dataDir);
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new StoreError('DATA_DIR_UNUSABLE', `cannot make the data directory ${dataDir}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
  const deadline = performance.now() + holderMs;
  for (;;) {
    const taken = await acquireInstanceLock(deps, { dataDir, use: options.use });
    if (taken.ok) return await openOwned(storeDeps, dataDir, taken.lock);
    const { holder } = taken;
    if (holder.use === 'serve') {
      if (options.use === 'serve') throw inUse(dataDir, holder);
      if (holder.postgres !== undefined) return await openAttached(storeDeps, dataDir);
    }
    // Its server stops with it, so a command's is of no use to us; a serve that starts will be ready soon.
    if (performance.now() > deadline) throw inUse(dataDir, holder);
    await delay(holderPollMs);
  }
}

/** Brings an external database to this program's schema: `qalgate migrate`. A newer schema is left alone. */
export async function migrateDatabase(deps: Deps, url: string): Promise<{ from: number; to: number }> {
  const storeDeps = { logger: deps.logger, metrics: storeMetrics(deps.metrics) };
  const db = connectDatabase(storeDeps, targetOf(url), migrationLimits);
  try {
    await readVersionAt(db);
    return await migrateSchema(db.kysely, deps);
  } finally {
    await db.close();
  }
}

async function openOwned(deps: StoreDeps, dataDir: string, lock: InstanceLock): Promise<OpenedDatabase> {
  const closers = [() => lock.close()];
  const close = closeOnce(async () => {
    for (const closeNext of closers.reverse()) await closeNext();
  });
  try {
    const server = await startEmbeddedPostgres(deps, { dataDir, isOwner: () => lock.isHeld() });
    closers.push(() => server.close());
    const db = connectDatabase(deps, server.target);
    closers.push(() => db.close());
    const found = await readSchemaVersion(db.kysely);
    const version = found < schemaVersion ? await migrateEmbedded(deps, server.target) : found;
    checkSchemaVersion(version, 'qalgate serve');
    lock.setReady(clusterLogin);
    return opened(db, 'embedded', close);
  } catch (error) {
    await close();
    throw error;
  }
}

async function migrateEmbedded(deps: StoreDeps, target: ConnectionTarget): Promise<number> {
  const db = connectDatabase(deps, target, migrationLimits);
  try {
    return (await migrateSchema(db.kysely, deps)).to;
  } finally {
    await db.close();
  }
}

async function openAttached(deps: StoreDeps, dataDir: string): Promise<OpenedDatabase> {
  const server = await attachEmbeddedPostgres(dataDir);
  const db = connectDatabase(deps, server.target);
  const close = closeOnce(async () => {
    await db.close();
    await server.close();
  });
  try {
    const restart = 'stop the running qalgate and start this release, which migrates';
    checkSchemaVersion(await readSchemaVersion(db.kysely), restart);
    return opened(db, 'attached', close);
  } catch (error) {
    await close();
    throw error;
  }
}

async function openExternal(deps: StoreDeps, url: string): Promise<OpenedDatabase> {
  const db = connectDatabase(deps, targetOf(url));
  try {
    const version = await readVersionAt(db);
    checkSchemaVersion(version, 'run: qalgate migrate');
    return opened(db, 'external', db.close);
  } catch (error) {
    await db.close();
    throw error;
  }
}

function opened(db: Database, kind: OpenedDatabase['kind'], close: () => Promise<void>): OpenedDatabase {
  showPool(db);
  return { ...db, kind, close };
}

function targetOf(url: string): ConnectionTarget {
  if (/^postgres(ql)?:/.test(url)) return { connectionString: url };
  // Without the value: it may hold a password.
  throw new StoreError(
    'DATABASE_UNREACHABLE',
    'database: not a URL of PostgreSQL; allowed: embedded, or postgres://user:password@host:port/name',
  );
}

async function readVersionAt(db: Database): Promise<number> {
  try {
    return await readSchemaVersion(db.kysely);
  } catch (error) {
    const { database, host, port } = db.createClient();
    throw new StoreError(
      'DATABASE_UNREACHABLE',
      `database: cannot use ${database} at ${host}:${port}: ${reasonOf(error)}; check that the server runs, and that ` +
        'the login of the URL may use it',
      { cause: error },
    );
  }
}

function inUse(dataDir: string, holder: InstanceFacts): StoreError {
  const who = `process ${holder.pid} (qalgate ${holder.version}, ${holder.use} since ${holder.startedAt})`;
  return new StoreError(
    'DATA_DIR_IN_USE',
    `${who} uses the data directory ${dataDir}: stop it first, or give this one another \`data\` directory`,
  );
}

function closeOnce(close: () => Promise<void>): () => Promise<void> {
  let closed: Promise<void> | undefined;
  return () => {
    closed ??= close();
    return closed;
  };
}
