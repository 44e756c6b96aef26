import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { Logger, Metrics } from '../observe/index.ts';
import type { AppSettings, Database } from '../store/index.ts';
import { longestRoamingDays } from './groups/settings.ts';
import type { Clock } from './model.ts';

export interface Retention {
  /** Makes the partitions of the coming days, drops those whose messages have all expired, and forgets old requests. Also runs by itself. */
  run(): Promise<void>;
  close(): Promise<void>;
}

export interface RetentionOptions {
  /** Days for which partitions are there ahead of time; default 7. */
  daysAhead?: number;
  /** Pause between two runs; default one hour. */
  everyMs?: number;
  /** How far our clock may be ahead of the database's for anything to be dropped by it; default one day. */
  maxAheadMs?: number;
}

const dayMs = 86_400_000;
/**
 * Offline messages and finished outbox rows stay so long, whatever roaming keeps. Entries of the outbox wait 72 hours at most, until
 * callbacks give them up, so those that point to a message find it.
 */
const leastDays = 7;
/** Imports are stored on the day of the import, live messages on theirs: one day more covers clocks that differ. */
const slackDays = 1;
/** How long a process may take over one run before another may. */
const leaseSec = 60;
/** PostgreSQL's: what `lock_timeout` ends with. */
const lockNotAvailable = '55P03';
const tables = ['message', 'outbox', 'push_item'] as const;
/** Applications to groups and invitations stay so long after they were answered, or made or renewed where nobody answers (G20). */
const requestDays = 30;
/** Rows of one statement that deletes. */
const chunkRows = 1_000;

/**
 * The partitions of messages, outbox and pushes by day: made ahead, dropped whole, never deleted from row by row; and requests to and of
 * groups, which are few. Every process runs it at start; after that one at a time, under a lease.
 */
export function createRetention(
  deps: {
    db: Database;
    apps: { list(): AppSettings[] };
    /** Names this process in the lease. */
    nodeId: string;
    clock: Clock;
    logger: Logger;
    metrics: Metrics;
  },
  { daysAhead = 7, everyMs = 3_600_000, maxAheadMs = dayMs }: RetentionOptions = {},
): Retention {
  const { db, apps, nodeId, clock, logger, metrics } = deps;
  const stop = new AbortController();
  const astray = metrics.gauge(
    'qalgate_im_messages_without_partition',
    'Messages in the default partition: their day had none of its own',
  );
  const dropped = metrics.counter('qalgate_im_partitions_dropped_total', 'Partitions dropped', ['table']);
  const failures = metrics.counter(
    'qalgate_im_retention_failures_total',
    'Runs that failed, and changes that somebody held up',
  );

  async function withClient(work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
    const client = await db.pool.connect();
    try {
      await work(client);
    } finally {
      client.release();
    }
  }

  /**
   * Each change of its own, and soon or not at all: it holds up everybody who uses the table. False: somebody held the table
   * (a backup does for hours); the next run tries again, and a day without a partition has the default one meanwhile.
   */
  async function change(client: pg.PoolClient, statements: string[]): Promise<boolean> {
    await client.query('begin');
    try {
      await client.query(`set local lock_timeout = '2s'`);
      for (const statement of statements) await client.query(statement);
      await client.query('commit');
      return true;
    } catch (error) {
      await client.query('rollback');
      if ((error as { code?: unknown }).code !== lockNotAvailable) throw error;
      failures.inc();
      logger.warn({ statement: statements.at(-1) }, 'im.partition.held');
      return false;
    }
  }

  async function partitionDays(client: pg.PoolClient, table: string): Promise<Set<number>> {
    const { rows } = await client.query<{ name: string }>(
      'select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = $1::regclass',
      [table],
    );
    return new Set(rows.map(({ name }) => Number(name.slice(table.length + 1))).filter(Number.isInteger));
  }

  async function maintain(client: pg.PoolClient): Promise<void> {
    const nowMs = clock();
    const today = Math.floor(nowMs / dayMs);
    const mayDrop = await isClockGood(client, nowMs);
    const keptDays = Math.max(leastDays, ...apps.list().map(longestRoamingDays)) + slackDays;
    for (const table of tables) {
      const days = await partitionDays(client, table);
      for (let day = today - 1; day <= today + daysAhead; day++) {
        if (days.has(day)) continue;
        const made = await change(client, [
          `create table ${table}_${day} (like ${table} including defaults including constraints)`,
          // What came while the day had no partition.
          `with astray as (delete from ${table}_default where day = ${day} returning *)
           insert into ${table}_${day} select * from astray`,
          `alter table ${table} attach partition ${table}_${day} for values from (${day}) to (${day + 1})`,
        ]);
        // Who holds the table holds it for the next day, too.
        if (!made) break;
      }
      for (const day of days) {
        if (!mayDrop || day >= today - keptDays || (table !== 'message' && (await hasWaiting(client, table, day))))
          continue;
        if (!(await change(client, [`drop table ${table}_${day}`]))) break;
        dropped.inc({ table });
        logger.info({ table, day }, 'im.partition.dropped');
      }
    }
    if (mayDrop) {
      await client.query('delete from conversation_day where day < $1', [today - keptDays]);
      await forgetRequests(client, nowMs - requestDays * dayMs);
    }
    const { rows } = await client.query<{ count: number }>('select count(*) as count from message_default');
    const count = rows[0]?.count ?? 0;
    astray.set(count);
    if (count > 0) logger.error({ messages: count }, 'im.partition.missing');
  }

  /** Some at a time, and those alone that nobody answers just now. */
  async function forgetRequests(client: pg.PoolClient, beforeMs: number): Promise<void> {
    for (let isAll = false; !isAll; ) {
      const { rowCount } = await client.query(
        `delete from group_request where id in (
           select id from group_request where coalesce(handled_ms, created_ms) < $1
           order by coalesce(handled_ms, created_ms) limit ${chunkRows} for update skip locked
         )`,
        [beforeMs],
      );
      isAll = (rowCount ?? 0) < chunkRows;
    }
  }

  /** What a wrong clock drops is gone for good. */
  async function isClockGood(client: pg.PoolClient, nowMs: number): Promise<boolean> {
    const { rows } = await client.query<{ now_ms: number }>(
      'select floor(extract(epoch from clock_timestamp()) * 1000)::bigint as now_ms',
    );
    const aheadMs = nowMs - (rows[0]?.now_ms ?? nowMs);
    if (aheadMs <= maxAheadMs) return true;
    logger.error({ aheadMs }, 'im.retention.clock_ahead');
    return false;
  }

  /** Nothing that somebody still has to be told of is dropped. */
  async function hasWaiting(client: pg.PoolClient, table: string, day: number): Promise<boolean> {
    const { rows } = await client.query(`select 1 from ${table}_${day} where done_ms is null limit 1`);
    return rows.length > 0;
  }

  async function run(): Promise<void> {
    await withClient(async (client) => {
      const { rows } = await client.query(
        `insert into task_lease as t (task, holder, lease_until) values ('retention', $1, now() + make_interval(secs => $2))
         on conflict (task) do update set holder = excluded.holder, token = t.token + 1, lease_until = excluded.lease_until
         where t.lease_until < now() or t.holder = excluded.holder
         returning token`,
        [nodeId, leaseSec],
      );
      // Somebody else is at it.
      if (rows.length === 0) return;
      await maintain(client);
      await client.query(`update task_lease set lease_until = now() where task = 'retention' and holder = $1`, [
        nodeId,
      ]);
    });
  }

  async function loop(): Promise<void> {
    for (;;) {
      await delay(everyMs, undefined, { signal: stop.signal, ref: false }).catch(() => {});
      if (stop.signal.aborted) return;
      await run().catch((error: unknown) => {
        failures.inc();
        logger.error({ err: error }, 'im.retention.failed');
      });
    }
  }
  const looping = loop();

  return {
    run,
    async close() {
      stop.abort();
      await looping;
    },
  };
}
