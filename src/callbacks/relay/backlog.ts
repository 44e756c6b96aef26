import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { AppSettings, Database } from '../../store/index.ts';
import type { AfterCommand, SdkAppId } from '../../wire/index.ts';
import { endpointOf } from '../endpoint/endpoint.ts';
import { bodyOf } from './bodies.ts';
import type { Entry } from './entry.ts';
import type { Burial, Outbox } from './outbox.ts';

/** What waits of an app, of one command. */
export interface BacklogFigure {
  readonly sdkAppId: SdkAppId;
  readonly command: AfterCommand;
  readonly rows: number;
  readonly oldestMs: number;
}

export interface Backlog {
  /** As it was at the last look. */
  figures(): readonly BacklogFigure[];
  /** The day of the oldest entry that waits, or today, as days since 1970. */
  oldestDay(): number;
  /** Looks, and ends what is too much or too old. Also by itself. */
  run(): Promise<void>;
  close(): Promise<void>;
}

export interface BacklogOptions {
  /** Pause between two looks; default 15 s. */
  readonly everyMs?: number;
}

interface CountRow {
  sdk_app_id: SdkAppId;
  event: AfterCommand;
  rows: number;
  oldest: number;
  day: number;
}

const buryRows = 500;
/** Given up in one run at most: the rest in the next ones, so that a run ends. */
const maxBuried = 50_000;
const letterDays = 30;
/** How long entries of an app that there is not are kept. */
const orphanHours = 72;
const task = 'callbacks-backlog';
const leaseSec = 60;
const closeMs = 1_000;
const hourMs = 3_600_000;

/**
 * Keeps what waits within its bounds (K7): beyond `backlogRows` or `backlogHours` of an app the oldest become dead letters, and of
 * those the oldest go. Every process counts for its metrics; one at a time, under a lease, does away with anything.
 */
export function createBacklog(
  deps: {
    db: Database;
    apps: { list(): AppSettings[] };
    outbox: () => Outbox;
    nodeId: string;
    clock: Clock;
    logger: Logger;
    metrics: Metrics;
  },
  { everyMs = 15_000 }: BacklogOptions = {},
): Backlog {
  const { db, apps, outbox, nodeId, clock, logger, metrics } = deps;
  const stop = new AbortController();
  let figures: BacklogFigure[] = [];
  /** One before today: a commit that began before midnight may end after it, and clocks differ. */
  const today = (): number => Math.floor(clock() / (24 * hourMs)) - 1;
  // Until the first look: as far back as anything may wait.
  let oldestDay = today() - letterDays;
  const failures = metrics.counter('qalgate_callbacks_backlog_failures_total', 'Looks at the backlog that failed');
  const buried = metrics.counter('qalgate_callbacks_buried_total', 'Entries given up because of the bounds', ['bound']);
  const trimmed = metrics.counter('qalgate_callbacks_dead_letters_trimmed_total', 'Dead letters removed', ['bound']);
  const waiting = metrics.gauge('qalgate_callbacks_waiting', 'After-callbacks that wait, by command', ['command']);
  metrics.gaugeOf('qalgate_callbacks_oldest_waiting_seconds', 'Age of the after-callback that waits longest', () =>
    figures.length === 0 ? 0 : Math.max(0, clock() - Math.min(...figures.map(({ oldestMs }) => oldestMs))) / 1_000,
  );

  async function count(): Promise<void> {
    // Before the look: what comes meanwhile is of that day or later.
    const day = today();
    const { rows } = await db.pool.query<CountRow>(
      `select sdk_app_id, event, count(*) as rows, min(created_ms) as oldest, min(day) as day
       from outbox where consumer = 1 and done_ms is null group by sdk_app_id, event`,
    );
    oldestDay = Math.min(day, ...rows.map((row) => row.day));
    figures = rows.map((row) => ({
      sdkAppId: row.sdk_app_id,
      command: row.event,
      rows: row.rows,
      oldestMs: row.oldest,
    }));
    waiting.reset();
    for (const { command, rows: one } of figures) waiting.inc({ command }, one);
  }

  /**
   * What came into the outbox while its app was being deleted: nobody is to be told, and its day could never go. Not at once: an app that
   * was left out of a configuration by mistake has its events still when it is back.
   */
  async function dropOrphans(): Promise<void> {
    const known = new Set(apps.list().map(({ sdkAppId }) => sdkAppId));
    const beforeMs = clock() - orphanHours * hourMs;
    const gone = figures.filter(({ sdkAppId, oldestMs }) => !known.has(sdkAppId) && oldestMs < beforeMs);
    if (gone.length === 0) return;
    const { rowCount } = await db.pool.query(
      `update outbox set done_ms = $1, outcome = 'dropped'
       where consumer = 1 and done_ms is null and sdk_app_id = any ($2) and created_ms < $3`,
      [clock(), gone.map(({ sdkAppId }) => sdkAppId), beforeMs],
    );
    if (!rowCount) return;
    buried.inc({ bound: 'no-app' }, rowCount);
    logger.warn({ entries: rowCount }, 'callbacks.entries.without_app');
  }

  async function bound(): Promise<void> {
    await dropOrphans();
    for (const app of apps.list()) {
      const { backlogRows, backlogHours, deadLetters } = app.callbacks;
      const own = figures.filter(({ sdkAppId }) => sdkAppId === app.sdkAppId);
      const rows = own.reduce((sum, one) => sum + one.rows, 0);
      if (rows > backlogRows) await end(app, 'rows', Math.min(rows - backlogRows, maxBuried), Number.MAX_SAFE_INTEGER);
      const tooOldMs = clock() - backlogHours * hourMs;
      if (own.some(({ oldestMs }) => oldestMs < tooOldMs)) await end(app, 'age', maxBuried, tooOldMs);
      await trim(app.sdkAppId, deadLetters);
    }
  }

  /** The oldest entries of the app become dead letters. */
  async function end(app: AppSettings, why: 'rows' | 'age', most: number, beforeMs: number): Promise<void> {
    let done = 0;
    // All at once: to find the oldest, every entry that waits has to be looked at.
    const { rows } = await db.pool.query<{ id: number }>(
      `select id from outbox where consumer = 1 and done_ms is null and sdk_app_id = $1 and created_ms < $2
       order by created_ms, id limit $3`,
      [app.sdkAppId, beforeMs, most],
    );
    while (done < rows.length && !stop.signal.aborted) {
      const some = rows.slice(done, done + buryRows);
      const entries = await outbox().readMany(some.map(({ id }) => id));
      await outbox().bury(entries.map((entry) => burialOf(app, entry, why === 'rows' ? 'too-many' : 'too-old')));
      done += some.length;
      buried.inc({ bound: why }, entries.length);
    }
    if (done > 0) logger.error({ sdkAppId: app.sdkAppId, bound: why, entries: done }, 'callbacks.backlog.over');
  }

  async function trim(sdkAppId: SdkAppId, keep: number): Promise<void> {
    const old = await db.pool.query('delete from dead_letter where sdk_app_id = $1 and died_ms < $2', [
      sdkAppId,
      clock() - letterDays * 24 * hourMs,
    ]);
    if (old.rowCount) trimmed.inc({ bound: 'age' }, old.rowCount);
    const many = await db.pool.query(
      `delete from dead_letter where sdk_app_id = $1 and id <= (
         select id from dead_letter where sdk_app_id = $1 order by id desc offset $2 limit 1
       )`,
      [sdkAppId, keep],
    );
    if (!many.rowCount) return;
    trimmed.inc({ bound: 'rows' }, many.rowCount);
    logger.error({ sdkAppId, letters: many.rowCount }, 'callbacks.dead_letters.trimmed');
  }

  async function run(): Promise<void> {
    await count();
    const { rows } = await db.pool.query(
      `insert into task_lease as t (task, holder, lease_until) values ($1, $2, now() + make_interval(secs => $3))
       on conflict (task) do update set holder = excluded.holder, token = t.token + 1, lease_until = excluded.lease_until
       where t.lease_until < now() or t.holder = excluded.holder
       returning token`,
      [task, nodeId, leaseSec],
    );
    if (rows.length > 0) await bound();
  }

  async function loop(): Promise<void> {
    while (!stop.signal.aborted) {
      await run().catch((error: unknown) => {
        failures.inc();
        logger.warn({ reason: error instanceof Error ? error.message : String(error) }, 'callbacks.backlog.failed');
      });
      await delay(everyMs, undefined, { signal: stop.signal, ref: false }).catch(() => {});
    }
  }
  const looping = loop();

  return {
    figures: () => figures,
    oldestDay: () => oldestDay,
    run,
    async close() {
      stop.abort();
      await looping;
      // Whoever goes on need not wait for the end of the lease; where the database is away, he does.
      const giveBack = db.pool
        .query('update task_lease set lease_until = now() where task = $1 and holder = $2', [task, nodeId])
        .catch(() => {});
      await Promise.race([giveBack, delay(closeMs, undefined, { ref: false })]);
    },
  };
}

function burialOf(app: AppSettings, entry: Entry, reason: string): Burial {
  let requestBody: string | undefined;
  try {
    requestBody = bodyOf(entry, app.callbacks)?.body;
  } catch {
    // Malformed: then it says so by having none.
  }
  return { entry, reason, url: endpointOf(app, entry.command)?.url, requestBody, log: entry.log };
}
