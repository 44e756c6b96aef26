import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { AppLookup, Clock } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import { withDeadline } from '../../store/index.ts';
import type { AfterCommand, SdkAppId } from '../../wire/index.ts';
import { endpointOf, endpointsOf, urlHash } from '../endpoint/endpoint.ts';
import type { Pauses } from '../pauses.ts';
import { type Lane, laneId } from './lane.ts';

export interface Sweep {
  /**
   * Begins again at the first key, without pause between pages; in this round lanes that wait for their time are woken, too: what
   * they waited for may be over.
   */
  hurry(): void;
  close(): Promise<void>;
}

export interface SweepOptions {
  /** Pause between two looks; default 1 s. */
  readonly everyMs?: number;
  /** Entries younger than this are still being woken by whoever wrote them; default 1.5 s. */
  readonly graceMs?: number;
}

/** What is older than this is woken, however old what is told now may be. */
const maxGraceMs = 60_000;
/** How long a look that is under way is waited for at the end. */
const closeMs = 2_000;
/** Keys of one look. */
const pageKeys = 500;
const betweenPagesMs = 100;
/** Entries of a key that are looked into for the commands that wait. */
const headRows = 1_000;

/** The oldest entry of a key, or of a key and command. */
interface HeadRow {
  drain_key: string;
  event: AfterCommand;
  id: number;
  sdk_app_id: SdkAppId;
  created_ms: number;
  next_attempt_ms: number;
}

/**
 * Finds lanes with entries that nobody was woken for: a process ended between commit and wake, or the queue lost its jobs. So the
 * queue may lose everything at any time (DESIGN §9). Goes round all keys with waiting entries, a page at a time; a lane that has
 * its job already is not woken twice.
 */
export function createSweep(
  deps: {
    pool: pg.Pool;
    oldestDay: () => number;
    apps: AppLookup;
    pauses: Pick<Pauses, 'find'>;
    wake(lanes: readonly Lane[], options: { now: boolean }): Promise<void>;
    /** Whether the lane runs here already, or will without being woken. */
    knows(lane: Lane): boolean;
    /** Whether there is no use in waking lanes of that endpoint. */
    isDead(endpointId: string): boolean;
    /** How old events are that are told now: others of about that age only wait for their turn. */
    lagMs(): number;
    /** Whether lanes wait for their turn. */
    isBusy(): Promise<boolean>;
    clock: Clock;
    logger: Logger;
    metrics: Metrics;
  },
  { everyMs = 1_000, graceMs = 1_500 }: SweepOptions = {},
): Sweep {
  const { pool, oldestDay, apps, pauses, wake, knows, isDead, lagMs, isBusy, clock, logger, metrics } = deps;
  const failures = metrics.counter('qalgate_callbacks_sweep_failures_total', 'Looks for waiting lanes that failed');
  const found = metrics.counter('qalgate_callbacks_swept_lanes_total', 'Lanes that a look found and woke');
  const stop = new AbortController();
  let cursor = '';
  let isHurried = true;
  /** A hurried round that is under way has to begin again. */
  let restart = false;
  let wakeUp = new AbortController();

  /** The oldest entry of each key after `from`. Keys are found by jumping along the index of waiting entries. */
  async function headsAfter(from: string, days: readonly [number, number]): Promise<HeadRow[]> {
    const { rows } = await pool.query<HeadRow>({
      name: 'callbacks_sweep',
      text: `
        with recursive keys as (
          (
            select drain_key from outbox
            where consumer = 1 and done_ms is null and drain_key > $1 and day between $2 and $3 order by drain_key limit 1
          )
          union all
          select (
            select o.drain_key from outbox o
            where o.consumer = 1 and o.done_ms is null and o.drain_key > k.drain_key and o.day between $2 and $3
            order by o.drain_key limit 1
          )
          from keys k where k.drain_key is not null
        )
        select k.drain_key, h.*
        from (select drain_key from keys where drain_key is not null limit ${pageKeys}) k
        cross join lateral (
          select event, id, sdk_app_id, created_ms, next_attempt_ms from outbox o
          where o.consumer = 1 and o.done_ms is null and o.drain_key = k.drain_key and o.day between $2 and $3
          order by o.id limit 1
        ) h
        order by k.drain_key`,
      values: [from, ...days],
    });
    return rows;
  }

  /** The oldest entry of each command of those keys: where an app has several URLs, others may wait behind the head. */
  async function headsOf(keys: readonly string[], days: readonly [number, number]): Promise<HeadRow[]> {
    if (keys.length === 0) return [];
    const { rows } = await pool.query<HeadRow>({
      name: 'callbacks_sweep_commands',
      text: `
        select k.drain_key, h.*
        from unnest($1::text[]) as k(drain_key)
        cross join lateral (
          select distinct on (event) event, id, sdk_app_id, created_ms, next_attempt_ms
          from (
            select id, sdk_app_id, created_ms, next_attempt_ms, event from outbox o
            where o.consumer = 1 and o.done_ms is null and o.drain_key = k.drain_key and o.day between $2 and $3
            order by o.id limit ${headRows}
          ) oldest
          order by event, id
        ) h`,
      values: [keys, ...days],
    });
    return rows;
  }

  function hasSeveralUrls({ sdk_app_id: sdkAppId }: HeadRow): boolean {
    const app = apps.get(sdkAppId);
    return app !== undefined && endpointsOf(app).size > 1;
  }

  /** The lanes that have something to do, of all that the rows show. */
  function lanesOf(rows: readonly HeadRow[], leastMs: number, isHurry: boolean): Lane[] {
    const nowMs = clock();
    const heads = new Map<string, { lane: Lane; head: HeadRow }>();
    for (const head of rows) {
      const app = apps.get(head.sdk_app_id);
      const endpoint = app === undefined ? undefined : endpointOf(app, head.event);
      if (endpoint === undefined || isDead(endpoint.id)) continue;
      if (pauses.find(head.sdk_app_id, head.event, urlHash(endpoint.url)) !== undefined) continue;
      const lane = { sdkAppId: head.sdk_app_id, endpointId: endpoint.id, drainKey: head.drain_key };
      const known = heads.get(laneId(lane));
      if (known === undefined || head.id < known.head.id) heads.set(laneId(lane), { lane, head });
    }
    return [...heads.values()]
      .filter(({ head }) => head.created_ms <= nowMs - leastMs && (isHurry || head.next_attempt_ms <= nowMs))
      .map(({ lane }) => lane)
      .filter((lane) => isHurry || !knows(lane));
  }

  async function look(): Promise<void> {
    const isHurry = isHurried;
    const days = [oldestDay(), Math.floor(clock() / 86_400_000) + 1] as const;
    const rows = await headsAfter(cursor, days);
    const more = await headsOf(
      rows.filter(hasSeveralUrls).map(({ drain_key }) => drain_key),
      days,
    );
    const turnMs = Math.min(2 * lagMs(), maxGraceMs);
    // Where the queue has nothing, nothing waits for its turn: it has lost what it had.
    const leastMs = turnMs > graceMs && (await isBusy()) ? turnMs : graceMs;
    const lanes = lanesOf([...rows, ...more], leastMs, isHurry);
    if (lanes.length > 0) {
      await wake(lanes, { now: isHurry });
      found.inc(lanes.length);
    }
    // Another round may have been asked for meanwhile.
    if (isHurry && restart) {
      restart = false;
      cursor = '';
      return;
    }
    cursor = rows.length < pageKeys ? '' : (rows.at(-1)?.drain_key ?? '');
    if (cursor === '') isHurried = false;
  }

  async function loop(): Promise<void> {
    while (!stop.signal.aborted) {
      try {
        await look();
      } catch (error) {
        failures.inc();
        isHurried = false;
        logger.warn({ reason: error instanceof Error ? error.message : String(error) }, 'callbacks.sweep.failed');
      }
      if (isHurried) continue;
      wakeUp = new AbortController();
      const signal = AbortSignal.any([stop.signal, wakeUp.signal]);
      // In the middle of a round there is more to find.
      const pauseMs = cursor === '' ? everyMs : Math.min(everyMs, betweenPagesMs);
      await delay(pauseMs, undefined, { signal, ref: false }).catch(() => {});
    }
  }
  const looping = loop();

  return {
    hurry() {
      if (isHurried) restart = true;
      cursor = '';
      isHurried = true;
      wakeUp.abort();
    },
    async close() {
      stop.abort();
      await withDeadline(looping, closeMs);
    },
  };
}
