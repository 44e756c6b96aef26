import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { Clock } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import { type AppSettings, withDeadline } from '../../store/index.ts';
import { type Lane, laneId, priorities } from './lane.ts';

/** What waits in a lane, as it was seen last. */
export interface Backlog {
  readonly lane: Lane;
  readonly waiting: number;
  /** When the oldest of them was made; undefined: none waits. */
  readonly oldestMs: number | undefined;
  /** Of the one whose time is over first. */
  readonly deadlineMs: number;
}

/** Looks after what waits, and after devices that are no more. */
export interface Upkeep {
  backlog(): readonly Backlog[];
  /** Also runs by itself. */
  run(): Promise<void>;
  close(): Promise<void>;
}

/** Pushes of a lane that may wait; beyond that those of campaigns go first, then the oldest. */
const maxWaiting = 2_000_000;
const chunkRows = 5_000;
const dayMs = 86_400_000;
const oldestDays = 8;
/** A token that was not told anew for so long is none any more (PUSH §2.3). */
const forgetDays = 270;
const forgetEveryMs = 3_600_000;
const closeMs = 2_000;

/** `pool`: connections with `queueSettings`. `pauses`: how many are in force. */
export function createUpkeep(
  deps: {
    pool: pg.Pool;
    apps: { list(): AppSettings[] };
    pauses(): Promise<number>;
    clock: Clock;
    logger: Logger;
    metrics: Metrics;
  },
  { everyMs = 15_000, bound = maxWaiting }: { everyMs?: number; bound?: number } = {},
): Upkeep {
  const { pool, apps, pauses, clock, logger, metrics } = deps;
  const ended = metrics.counter('qalgate_push_buried_total', 'Pushes that ended while they waited, by why', ['reason']);
  const forgotten = metrics.counter(
    'qalgate_push_devices_forgotten_total',
    'Devices that had not been heard of for 270 days',
  );
  const failures = metrics.counter('qalgate_push_upkeep_failures_total', 'Looks after what waits that failed');
  const paused = metrics.gauge('qalgate_push_pauses', 'Pauses of pushes in force');
  let seen: Backlog[] = [];
  let forgotMs = Number.NEGATIVE_INFINITY;
  const sums = (value: (one: Backlog) => number) => (): [string, number][] =>
    ['apns', 'fcm'].map((channel) => [
      channel,
      seen.filter(({ lane }) => lane.channel === channel).reduce((sum, one) => sum + value(one), 0),
    ]);
  metrics.gaugesOf(
    'qalgate_push_waiting',
    'Pushes that wait',
    'channel',
    sums(({ waiting }) => waiting),
  );
  metrics.gaugeOf('qalgate_push_oldest_waiting_seconds', 'Age of the oldest push that waits', () =>
    Math.max(0, ...seen.map(({ oldestMs }) => (oldestMs === undefined ? 0 : (clock() - oldestMs) / 1_000))),
  );
  const stop = new AbortController();

  const days = (): [number, number] => {
    const today = Math.floor(clock() / dayMs);
    return [today - oldestDays, today + 1];
  };

  async function look(): Promise<Backlog[]> {
    const { rows } = await pool.query<{
      sdk_app_id: Lane['sdkAppId'];
      channel: Lane['channel'];
      waiting: number;
      oldest_ms: number;
      deadline_ms: number;
    }>({
      name: 'push_backlog',
      text: `
        select sdk_app_id, channel, count(*)::bigint as waiting, min(created_ms) as oldest_ms, min(deadline_ms) as deadline_ms
        from push_item
        where done_ms is null and day between $1 and $2 group by sdk_app_id, channel`,
      values: days(),
    });
    return rows.map(({ sdk_app_id: sdkAppId, channel, waiting, oldest_ms: oldestMs, deadline_ms: deadlineMs }) => ({
      lane: { sdkAppId, channel },
      waiting,
      oldestMs,
      deadlineMs,
    }));
  }

  /** Ends some of what waits in a lane, as `which` says, the oldest first; gives back how many. */
  async function end(lane: Lane, reason: string, outcome: string, which: string, limit: number): Promise<number> {
    const { rowCount } = await pool.query(
      // Not a subquery: a plan that asks it again for each push would find others each time, and end more than the limit.
      `with k as materialized (
         select id, day from push_item
         where sdk_app_id = $1 and channel = $2 and done_ms is null and day between $6 and $7 and ${which} order by due_ms limit $8
         for update skip locked
       )
       update push_item i set done_ms = $3, outcome = $4, reason = $5 from k
       where i.id = k.id and i.day = k.day and i.done_ms is null`,
      [lane.sdkAppId, lane.channel, clock(), outcome, reason, ...days(), limit],
    );
    const count = rowCount ?? 0;
    if (count > 0) {
      ended.inc({ reason }, count);
      logger.warn({ lane: laneId(lane), reason, pushes: count }, 'push.backlog.ended');
    }
    return count;
  }

  async function endAll(lane: Lane, reason: string, outcome: string, which: string): Promise<void> {
    while ((await end(lane, reason, outcome, which, chunkRows)) === chunkRows && !stop.signal.aborted);
  }

  async function run(): Promise<void> {
    seen = await look();
    paused.set(await pauses());
    const known = new Set(apps.list().map(({ sdkAppId }) => sdkAppId));
    for (const { lane, waiting, deadlineMs } of seen) {
      if (!known.has(lane.sdkAppId)) await endAll(lane, 'no-app', 'dropped', 'true');
      // Of a lane that is paused nobody else notices.
      else if (deadlineMs < clock()) await endAll(lane, 'expired', 'expired', `deadline_ms < ${clock()}`);
      let over = waiting - bound;
      for (const priority of Object.values(priorities).toReversed()) {
        while (over > 0 && !stop.signal.aborted) {
          const count = await end(lane, 'backlog', 'dropped', `priority = ${priority}`, Math.min(over, chunkRows));
          if (count === 0) break;
          over -= count;
        }
      }
    }
    if (clock() - forgotMs < forgetEveryMs) return;
    forgotMs = clock();
    // Devices in the order of all who lock several; one that is in use is not forgotten.
    const { rowCount } = await pool.query(
      `delete from push_device where id in (
         select id from push_device where seen_ms < $1 order by id for update skip locked
       )`,
      [clock() - forgetDays * dayMs],
    );
    forgotten.inc(rowCount ?? 0);
  }

  async function loop(): Promise<void> {
    while (!stop.signal.aborted) {
      await run().catch((error: unknown) => {
        failures.inc();
        logger.warn({ reason: error instanceof Error ? error.message : String(error) }, 'push.upkeep.failed');
      });
      await delay(everyMs, undefined, { signal: stop.signal, ref: false }).catch(() => {});
    }
  }
  const looping = loop();

  return {
    backlog: () => seen,
    run,
    async close() {
      stop.abort();
      await withDeadline(looping, closeMs);
    },
  };
}
