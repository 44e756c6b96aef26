import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { AppLookup, Clock } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { AfterCommand, SdkAppId } from '../../wire/index.ts';
import { endpointOf, urlHash } from '../endpoint/endpoint.ts';
import type { Pauses } from '../pauses.ts';
import { type Lane, laneId } from './lane.ts';

export interface Sweep {
  /** Begins again at the first key, without pause between pages. */
  hurry(): void;
  close(): Promise<void>;
}

export interface SweepOptions {
  /** Pause between two looks; default 1 s. */
  readonly everyMs?: number;
  /** Entries younger than this are still being woken by whoever wrote them; default 1.5 s. */
  readonly graceMs?: number;
}

/** Keys of one look. */
const pageKeys = 500;

interface KeyRow {
  drain_key: string;
  sdk_app_id: SdkAppId;
  created_ms: number;
  next_attempt_ms: number;
  events: AfterCommand[];
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
    wake(lanes: readonly Lane[]): Promise<void>;
    clock: Clock;
    logger: Logger;
    metrics: Metrics;
  },
  { everyMs = 1_000, graceMs = 1_500 }: SweepOptions = {},
): Sweep {
  const { pool, oldestDay, apps, pauses, wake, clock, logger, metrics } = deps;
  const failures = metrics.counter('qalgate_callbacks_sweep_failures_total', 'Looks for waiting lanes that failed');
  const found = metrics.counter('qalgate_callbacks_swept_lanes_total', 'Lanes that a look found and woke');
  const stop = new AbortController();
  let cursor = '';
  let isHurried = true;
  let wakeUp = new AbortController();

  /** The distinct keys after `from`, by jumping along the index of waiting entries. */
  async function keysAfter(from: string): Promise<KeyRow[]> {
    const { rows } = await pool.query<KeyRow>({
      name: 'callbacks_sweep',
      text: `
        with recursive keys as (
          (select drain_key from outbox where consumer = 1 and done_ms is null and drain_key > $1 and day between $2 and $3 order by drain_key limit 1)
          union all
          select (
            select o.drain_key from outbox o
            where o.consumer = 1 and o.done_ms is null and o.drain_key > k.drain_key and o.day between $2 and $3
            order by o.drain_key limit 1
          )
          from keys k where k.drain_key is not null
        )
        select k.drain_key, h.sdk_app_id, h.created_ms, h.next_attempt_ms, h.events
        from (select drain_key from keys where drain_key is not null limit ${pageKeys}) k
        cross join lateral (
          select (array_agg(sdk_app_id))[1] as sdk_app_id, min(created_ms) as created_ms,
            (array_agg(next_attempt_ms order by id))[1] as next_attempt_ms, array_agg(distinct event) as events
          from (
            select id, sdk_app_id, created_ms, next_attempt_ms, event from outbox o
            where o.consumer = 1 and o.done_ms is null and o.drain_key = k.drain_key and o.day between $2 and $3
            order by o.id limit 100
          ) first_ones
        ) h
        where h.sdk_app_id is not null
        order by k.drain_key`,
      values: [from, oldestDay(), Math.floor(clock() / 86_400_000) + 1],
    });
    return rows;
  }

  function lanesOf({ drain_key: drainKey, sdk_app_id: sdkAppId, events }: KeyRow): Lane[] {
    const app = apps.get(sdkAppId);
    if (app === undefined) return [];
    const lanes = events.flatMap((command): Lane[] => {
      const endpoint = endpointOf(app, command);
      if (endpoint === undefined || pauses.find(sdkAppId, command, urlHash(endpoint.url)) !== undefined) return [];
      return [{ sdkAppId, endpointId: endpoint.id, drainKey }];
    });
    return [...new Map(lanes.map((lane) => [laneId(lane), lane])).values()];
  }

  async function look(): Promise<void> {
    const keys = await keysAfter(cursor);
    const nowMs = clock();
    const lanes = keys
      .filter(({ created_ms, next_attempt_ms }) => created_ms <= nowMs - graceMs && next_attempt_ms <= nowMs)
      .flatMap(lanesOf);
    if (lanes.length > 0) {
      await wake(lanes);
      found.inc(lanes.length);
    }
    cursor = keys.length < pageKeys ? '' : (keys.at(-1)?.drain_key ?? '');
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
      await delay(everyMs, undefined, { signal, ref: false }).catch(() => {});
    }
  }
  const looping = loop();

  return {
    hurry() {
      cursor = '';
      isHurried = true;
      wakeUp.abort();
    },
    async close() {
      stop.abort();
      await looping;
    },
  };
}
