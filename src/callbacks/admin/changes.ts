import { sql } from 'kysely';
import type { Logger } from '../../observe/index.ts';
import type { AppSettings, ControlBus } from '../../store/index.ts';
import type { AfterCommand, SdkAppId } from '../../wire/index.ts';
import type { Epoch } from '../explain/epoch.ts';
import type { Db } from '../explain/events.ts';
import type { DropOrder, Selection } from './orders.ts';
import { entryFits, letterFits, type Resolved, resolveSelection } from './selecting.ts';
import { publishWakes } from './wakes.ts';

/** What was dropped; `isAll`: nothing that fits is left. */
export interface Dropped {
  readonly waiting: number;
  readonly dead: number;
  readonly isAll: boolean;
}

export interface Retried {
  readonly retried: number;
  readonly isAll: boolean;
}

interface Key {
  drain_key: string;
  event: AfterCommand;
}

/** Entries that one look finds: each has to go through all that wait. */
const foundRows = 50_000;
/** Entries that one statement ends. */
const chunk = 1_000;
/** `done_ms is null` of entries by id: as such the planner might take it for the index of what waits, and read all of that. */
const stillWaits = sql`coalesce(o.done_ms, -1) = -1`;
/** One call does what it can in that time: whoever waits for it waits for 10 s. */
const callMs = 6_000;
/** Lanes that one call of retry wakes. */
const maxRetried = 1_000;

/** Changes of what waits and of what was given up. */
export function createChanges({
  db,
  epoch,
  control,
  clock,
  logger,
}: {
  db: Db;
  epoch: Epoch;
  control: Pick<ControlBus, 'publish'>;
  clock: () => number;
  logger: Logger;
}) {
  /** Drops what fits until the deadline; true: nothing that fits is left. */
  async function dropWaiting(
    sdkAppId: SdkAppId,
    resolved: Resolved,
    { actor, deadline, onDropped }: { actor: string; deadline: number; onDropped: (count: number) => void },
  ): Promise<boolean> {
    const fits = entryFits(resolved);
    if (fits === undefined) return true;
    while (performance.now() < deadline) {
      // By the sum, as the index of ids leads through all that are done.
      const { rows } = await sql<{ id: number; day: number }>`
        select o.id, o.day from outbox o
        where o.consumer = 1 and o.done_ms is null and o.sdk_app_id = ${sdkAppId} and ${fits}
        order by o.id + 0 limit ${foundRows}`.execute(db);
      for (const [day, some] of Map.groupBy(rows, (row) => row.day)) {
        for (let at = 0; at < some.length; at += chunk) {
          if (performance.now() > deadline) return false;
          const ids = some.slice(at, at + chunk).map(({ id }) => id);
          const keys = await end(sdkAppId, { day, ids }, actor);
          onDropped(keys.length);
          // What stood behind them may go now.
          await publishWakes(control, {
            sdkAppId,
            keys: keys.map(({ drain_key: drainKey, event: command }) => ({ drainKey, command })),
            probe: false,
          });
        }
      }
      if (rows.length < foundRows) return true;
    }
    return false;
  }

  /** An entry that the relay is sending meanwhile may be delivered all the same. */
  async function end(
    sdkAppId: SdkAppId,
    { day, ids }: { day: number; ids: readonly number[] },
    actor: string,
  ): Promise<Key[]> {
    const nowMs = Math.trunc(clock());
    const note = JSON.stringify({ atMs: nowMs, tookMs: 0, by: actor.slice(0, 100) });
    // The log is put together as text: what a backend's words have made of it need not be JSON to the database.
    const { rows } = await sql<Key>`
      with ended as (
        update outbox o set done_ms = ${nowMs}, outcome = 'dropped',
          attempt_log = case when o.attempt_log like '[{%}]' then left(o.attempt_log, -1) || ',' else '[' end || ${note}::text || ']'
        where o.day = ${day} and o.id = any (${[...ids]}) and ${stillWaits}
        returning o.id, coalesce(o.origin_id, o.id) as origin_id, o.drain_key, o.event
      ),
      -- The next event that gets through says that these did not (K6).
      gaps as (
        insert into callback_gap as gap (sdk_app_id, drain_key, command, ids)
        select ${sdkAppId}, drain_key, event, string_agg(origin_id::text, ',' order by id) from (
          select *, row_number() over (partition by drain_key, event order by id desc) as place from ended
        ) t where place <= 10 group by drain_key, event
        on conflict (sdk_app_id, drain_key, command) do update
        set ids = callback_gap_ids(gap.ids, excluded.ids)
      )
      select drain_key, event from ended`.execute(db);
    return rows;
  }

  async function dropLetters({ sdkAppId }: AppSettings, resolved: Resolved): Promise<number> {
    const fits = letterFits(resolved);
    if (fits === undefined) return 0;
    const { numAffectedRows = 0n } = await sql`
      delete from dead_letter where id in (
        select d.id from dead_letter d where d.sdk_app_id = ${sdkAppId} and ${fits} order by d.id limit ${chunk}
      )`.execute(db);
    return Number(numAffectedRows);
  }

  return {
    async drop(app: AppSettings, { state, selection }: DropOrder, actor: string): Promise<Dropped> {
      const { sdkAppId } = app;
      const deadline = performance.now() + callMs;
      const resolved = await resolveSelection({ db, epoch }, sdkAppId, selection);
      const counts = { waiting: 0, dead: 0 };
      let isAll = true;
      try {
        if (state !== 'dead') {
          const onDropped = (count: number) => {
            counts.waiting += count;
          };
          isAll = await dropWaiting(sdkAppId, resolved, { actor, deadline, onDropped });
        }
        while (state !== 'waiting' && isAll) {
          const count = await dropLetters(app, resolved);
          counts.dead += count;
          if (count < chunk) break;
          isAll = performance.now() < deadline;
        }
      } finally {
        // Also where the database went away in between: so much is gone.
        logger.info({ sdkAppId, actor, ...counts }, 'callbacks.dropped');
      }
      return { ...counts, isAll };
    },

    async retry({ sdkAppId }: AppSettings, selection: Selection): Promise<Retried> {
      const fits = entryFits(await resolveSelection({ db, epoch }, sdkAppId, selection));
      if (fits === undefined) return { retried: 0, isAll: true };
      const { rows } = await sql<Key>`
        with chosen as (
          select o.id, o.day from outbox o
          where o.consumer = 1 and o.done_ms is null and o.sdk_app_id = ${sdkAppId} and o.next_attempt_ms > 0 and ${fits}
          order by o.id + 0 limit ${maxRetried}
        )
        update outbox o set next_attempt_ms = 0 from chosen c
        where o.id = c.id and o.day = c.day and ${stillWaits} returning o.drain_key, o.event`.execute(db);
      await publishWakes(control, {
        sdkAppId,
        keys: rows.map(({ drain_key: drainKey, event: command }) => ({ drainKey, command })),
        probe: true,
      });
      logger.info({ sdkAppId, events: rows.length }, 'callbacks.retried');
      return { retried: rows.length, isAll: rows.length < maxRetried };
    },
  };
}
