import { sql } from 'kysely';
import type { Logger } from '../../observe/index.ts';
import type { AppSettings, ControlBus } from '../../store/index.ts';
import type { AfterCommand } from '../../wire/index.ts';
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

const chunk = 1_000;
/** One call does what it can in that time: whoever waits for it waits for 10 s. */
const callMs = 6_000;
/** Lanes that one call of retry wakes. */
const maxRetried = 1_000;

/** Changes of what waits and of what was given up. */
export function createChanges({
  db,
  control,
  clock,
  logger,
}: {
  db: Db;
  control: Pick<ControlBus, 'publish'>;
  clock: () => number;
  logger: Logger;
}) {
  /** An entry that the relay is sending meanwhile may be delivered all the same. */
  async function dropWaiting({ sdkAppId }: AppSettings, resolved: Resolved, actor: string): Promise<Key[]> {
    const fits = entryFits(resolved);
    if (fits === undefined) return [];
    const nowMs = Math.trunc(clock());
    const note = JSON.stringify([{ atMs: nowMs, tookMs: 0, by: actor.slice(0, 100) }]);
    const { rows } = await sql<Key>`
      with chosen as (
        select o.id, o.day from outbox o
        where o.consumer = 1 and o.done_ms is null and o.sdk_app_id = ${sdkAppId} and ${fits}
        order by o.id limit ${chunk}
      ),
      ended as (
        update outbox o set done_ms = ${nowMs}, outcome = 'dropped',
          attempt_log = (coalesce(o.attempt_log, '[]')::jsonb || ${note}::jsonb)::text
        from chosen c where o.id = c.id and o.day = c.day and o.done_ms is null
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
      const resolved = await resolveSelection(db, sdkAppId, selection);
      const counts = { waiting: 0, dead: 0 };
      const left = new Set<'waiting' | 'dead'>(state === undefined ? ['waiting', 'dead'] : [state]);
      while (left.size > 0 && performance.now() < deadline) {
        if (left.has('waiting')) {
          const keys = await dropWaiting(app, resolved, actor);
          counts.waiting += keys.length;
          if (keys.length < chunk) left.delete('waiting');
          // What stood behind them may go now.
          await publishWakes(control, {
            sdkAppId,
            keys: keys.map(({ drain_key: drainKey, event: command }) => ({ drainKey, command })),
          });
        }
        if (left.has('dead')) {
          const count = await dropLetters(app, resolved);
          counts.dead += count;
          if (count < chunk) left.delete('dead');
        }
      }
      logger.info({ sdkAppId, actor, ...counts }, 'callbacks.dropped');
      return { ...counts, isAll: left.size === 0 };
    },

    async retry({ sdkAppId }: AppSettings, selection: Selection): Promise<Retried> {
      const fits = entryFits(await resolveSelection(db, sdkAppId, selection));
      if (fits === undefined) return { retried: 0, isAll: true };
      const { rows } = await sql<Key>`
        with chosen as (
          select o.id, o.day from outbox o
          where o.consumer = 1 and o.done_ms is null and o.sdk_app_id = ${sdkAppId} and o.next_attempt_ms > 0 and ${fits}
          order by o.id limit ${maxRetried}
        )
        update outbox o set next_attempt_ms = 0 from chosen c
        where o.id = c.id and o.day = c.day and o.done_ms is null returning o.drain_key, o.event`.execute(db);
      await publishWakes(control, {
        sdkAppId,
        keys: rows.map(({ drain_key: drainKey, event: command }) => ({ drainKey, command })),
      });
      logger.info({ sdkAppId, events: rows.length }, 'callbacks.retried');
      return { retried: rows.length, isAll: rows.length < maxRetried };
    },
  };
}
