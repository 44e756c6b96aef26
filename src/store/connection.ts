import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import type { Logger } from '../observe/index.ts';
import { withDeadline } from './deadline.ts';
import type { StoreMetrics } from './metrics.ts';
import type { Schema } from './schema.ts';
import { reasonOf } from './store-error.ts';

/** An open database: one bounded pool, seen raw (`pool`) and through Kysely. */
export interface Database {
  readonly pool: pg.Pool;
  readonly kysely: Kysely<Schema>;
  readonly metrics: StoreMetrics;
  /** For libraries that open connections of their own. Holds the password. */
  readonly target: ConnectionTarget;
  /** The same database over another pool, with limits and settings of its own. Whoever asks for it closes it. */
  another(limits: PoolLimits): Database;
  /** A connection of its own, not yet connected: for LISTEN. Whoever asks for it ends it. */
  createClient(): pg.Client;
  /** Ends the pool; queries in flight have 5 s. */
  close(): Promise<void>;
}

/** Where the database is: a URL, or a unix socket's directory with a login. */
export type ConnectionTarget =
  | { connectionString: string }
  | { host: string; port: number; user: string; password: string; database: string };

export interface PoolLimits {
  /** Connections at most. */
  max: number;
  /** Longest run of one statement; the server ends it. */
  statementMs: number;
  /** Settings of the server for each connection. */
  settings?: Readonly<Record<string, string>>;
}

const poolLimits: PoolLimits = { max: 10, statementMs: 10_000 };
const connectMs = 5_000;
const closeMs = 5_000;
const int8Oid = 20;

/** Opens a pool on that target. Nothing connects before the first query. */
export function connectDatabase(
  deps: { logger: Logger; metrics: StoreMetrics },
  target: ConnectionTarget,
  limits: PoolLimits = poolLimits,
): Database {
  const { logger, metrics } = deps;
  const config: pg.ClientConfig = {
    ...('host' in target ? { ssl: false, ...target } : target),
    application_name: 'qalgate',
    types: { getTypeParser } as pg.CustomTypesConfig,
    connectionTimeoutMillis: connectMs,
    keepAlive: true,
    // Past the server's own limit: for a server that no longer answers at all.
    query_timeout: limits.statementMs + 2_000,
  };
  const pool = new pg.Pool({
    ...config,
    max: limits.max,
    idleTimeoutMillis: 30_000,
    statement_timeout: limits.statementMs,
    idle_in_transaction_session_timeout: limits.statementMs + 5_000,
    ...(limits.settings === undefined
      ? {}
      : {
          options: Object.entries(limits.settings)
            .flatMap(([name, value]) => ['-c', `${name}=${value}`])
            .join(' '),
        }),
  });
  // A connection that the server ends is not the end of us: the pool drops it and makes another. The listener is the
  // client's, as the pool listens to idle ones only, and an error event that nobody hears ends the process.
  pool.on('connect', (client) => {
    client.on('error', (error) => {
      // pool.end() does not wait for its connections: the server's own end may reach one first.
      if (pool.ending) return;
      metrics.poolErrors.inc();
      logger.warn({ reason: reasonOf(error) }, 'store.pool.connection.lost');
    });
  });
  pool.on('error', () => {});
  // A query that ran into query_timeout leaves its connection waiting for a server that does not answer; given to the
  // next caller it would fail him too.
  pool.on('release', (_error, client) => {
    if (isWaiting(client)) void (client as unknown as pg.Client).end();
  });
  let closed: Promise<void> | undefined;
  return {
    pool,
    kysely: new Kysely<Schema>({ dialect: new PostgresDialect({ pool }) }),
    metrics,
    target,
    another: (own) => connectDatabase(deps, target, own),
    createClient() {
      // One that the server ends between two statements: the next one says so, and whoever listens hears of it at once.
      return new pg.Client(config).on('error', () => {});
    },
    close() {
      closed ??= withDeadline(pool.end(), closeMs).then((ended) => {
        if (!ended) logger.warn({ connections: pool.totalCount }, 'store.pool.close.late');
      });
      return closed;
    },
  };
}

/** Makes the gauge of connections show that database's. */
export function showPool({ pool, metrics }: Pick<Database, 'pool' | 'metrics'>): void {
  Object.assign(metrics.poolConnections, {
    collect() {
      metrics.poolConnections.set({ state: 'total' }, pool.totalCount);
      metrics.poolConnections.set({ state: 'idle' }, pool.idleCount);
      metrics.poolConnections.set({ state: 'waiting' }, pool.waitingCount);
    },
  });
}

/** bigint as number: every one of ours stays below 2^53; one that does not is an error, never a rounded number. */
function getTypeParser(oid: number, format?: 'text' | 'binary'): unknown {
  return oid === int8Oid && format !== 'binary' ? parseInt8 : pg.types.getTypeParser(oid, format as 'text');
}

function parseInt8(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError(`bigint ${text} from the database is beyond 2^53`);
  return value;
}

function isWaiting(client: unknown): boolean {
  // pg has no public name for "has a query in flight".
  return Boolean((client as { _getActiveQuery?: () => unknown })._getActiveQuery?.());
}
