import { setTimeout as delay } from 'node:timers/promises';
import { type RawBuilder, sql } from 'kysely';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { ControlBus, Database } from '../../store/index.ts';
import type { AfterCommand, SdkAppId } from '../../wire/index.ts';
import { type Db, dayOf } from '../explain/events.ts';
import type { EventState } from '../explain/queries.ts';
import { relayTasks } from '../explain/waiting.ts';
import type { Relay } from '../relay/relay.ts';
import type { ReplaySource } from './orders.ts';
import { entryFits, letterFits, type Resolved } from './selecting.ts';
import { readWakes } from './wakes.ts';

/** Puts what operators want sent again into the outbox, at the rate that they said. */
export interface Replays {
  /** Does the share of one second; also by itself. */
  run(): Promise<void>;
  close(): Promise<void>;
}

export interface ReplaysOptions {
  /** The pause that the rates mean. */
  everyMs?: number;
  leaseSec?: number;
}

/** What a replay's row remembers of what it is to send. */
export interface ReplayFilter extends Resolved {
  readonly states: readonly EventState[];
}

interface ReplayRow {
  id: number;
  sdk_app_id: SdkAppId;
  source: ReplaySource;
  filter: string;
  per_sec: number;
  cursor_id: number;
  through_id: number;
}

interface Moved {
  id: number;
  drain_key: string;
  command: AfterCommand;
}

const [task] = relayTasks;
/** Replays that go on side by side. */
const maxRunning = 50;
/** Ids of the outbox that one statement looks through: of few matches, most are of others. */
const idsAtOnce = 100_000;
const closeMs = 1_000;
/** How long one replay may look for matches in one turn. */
const turnMs = 300;

/**
 * The mover of replays: one process at a time, under a lease whose token every transaction looks at, so that a process which was
 * stopped and goes on later moves nothing twice. What is moved, its new entry and the cursor are one transaction: a crash in between
 * leaves each event where it was (K6).
 *
 * An entry that is sent again keeps the id of the first one, so that its receiver sees the same event, and its place among the
 * events of its conversation from now on.
 */
export function createReplays(
  deps: {
    db: Database;
    control: Pick<ControlBus, 'subscribe'>;
    wake: Relay['wake'];
    /** Names this process in the lease. */
    nodeId: string;
    clock: () => number;
    logger: Logger;
    metrics: Metrics;
  },
  { everyMs = 1_000, leaseSec = 10 }: ReplaysOptions = {},
): Replays {
  const { db, control, wake, nodeId, clock, logger, metrics } = deps;
  const replayed = metrics.counter('qalgate_callbacks_replayed_total', 'Events put into the outbox again', ['source']);
  const failures = metrics.counter('qalgate_callbacks_replay_failures_total', 'Turns of replays that failed');
  let running = 0;
  metrics.gaugeOf('qalgate_callbacks_replays_running', 'Replays that this process carries out', () => running);
  const stop = new AbortController();
  const unsubscribe = control.subscribe('callbacks', (payload) => {
    const wakes = readWakes(payload);
    if (wakes === undefined) return;
    const { sdkAppId, keys, probe } = wakes;
    for (const { drainKey, command } of keys) wake(sdkAppId, drainKey, command, { probe });
  });

  /** The lease's token, if it is ours. Renewed at half of its time, as each renewal is a write. */
  async function hold(): Promise<number | undefined> {
    const { rows: known } = await db.pool.query<{ holder: string; token: number; left_sec: number }>(
      'select holder, token, extract(epoch from lease_until - now())::float as left_sec from task_lease where task = $1',
      [task],
    );
    const [lease] = known;
    if (lease !== undefined && lease.holder !== nodeId && lease.left_sec > 0) return undefined;
    if (lease !== undefined && lease.holder === nodeId && lease.left_sec > leaseSec / 2) return lease.token;
    const { rows } = await db.pool.query<{ token: number }>(
      `insert into task_lease as t (task, holder, lease_until) values ($1, $2, now() + make_interval(secs => $3))
       on conflict (task) do update set holder = excluded.holder, lease_until = excluded.lease_until,
         token = case when t.holder = excluded.holder and t.lease_until > now() then t.token else t.token + 1 end
       where t.lease_until < now() or t.holder = excluded.holder
       returning token`,
      [task, nodeId, leaseSec],
    );
    return rows[0]?.token;
  }

  async function run(): Promise<void> {
    const token = await hold();
    running = 0;
    if (token === undefined) return;
    const { rows } = await db.pool.query<ReplayRow>(
      `select * from callback_replay where state = 'running' order by id limit ${maxRunning}`,
    );
    running = rows.length;
    for (const row of rows) {
      if (stop.signal.aborted) return;
      await turn(row.id, token);
    }
  }

  /** One replay's share: as many as it may in a second, or as far as it gets. */
  async function turn(id: number, token: number): Promise<void> {
    const endMs = performance.now() + turnMs;
    let left = Number.POSITIVE_INFINITY;
    while (left > 0 && performance.now() < endMs && !stop.signal.aborted) {
      const moved = await db.kysely.transaction().execute((trx) => move(trx, id, token, left));
      if (moved === undefined) return;
      left = moved.left;
      if (moved.rows.length > 0) replayed.inc({ source: moved.replay.source }, moved.rows.length);
      for (const { drain_key, command } of moved.rows) wake(moved.replay.sdk_app_id, drain_key, command);
      if (moved.isDone) {
        logger.info({ replay: id, sdkAppId: moved.replay.sdk_app_id }, 'callbacks.replay.done');
        return;
      }
    }
  }

  async function move(trx: Db, id: number, token: number, most: number) {
    const lease = await sql`
      select from task_lease where task = ${task} and holder = ${nodeId} and token = ${token} and lease_until > now()
      for share`.execute(trx);
    if (lease.rows.length === 0) return undefined;
    const found = await sql<ReplayRow>`
      select * from callback_replay where id = ${id} and state = 'running' for update`.execute(trx);
    const [replay] = found.rows;
    if (replay === undefined) return undefined;
    const limit = Math.min(replay.per_sec, most);
    const filter = JSON.parse(replay.filter) as ReplayFilter;
    const { rows, throughId } = await (replay.source === 'dead' ? moveLetters : copyEntries)(
      trx,
      replay,
      filter,
      limit,
    );
    const cursor = rows.length < limit ? throughId : (rows.at(-1)?.id ?? throughId);
    const isDone = cursor >= replay.through_id;
    await sql`
      update callback_replay set done = done + ${rows.length}, cursor_id = ${cursor},
        state = ${isDone ? 'done' : 'running'}, finished_ms = ${isDone ? nowMs() : null}
      where id = ${id}`.execute(trx);
    return { replay, rows, isDone, left: limit - rows.length };
  }

  const nowMs = () => Math.trunc(clock());

  /** Dead letters become entries again, with the body that was made of them then, to the byte. */
  async function moveLetters(trx: Db, replay: ReplayRow, filter: ReplayFilter, limit: number) {
    const fits = letterFits(filter);
    if (fits === undefined) return { rows: [], throughId: replay.through_id };
    const now = nowMs();
    const { rows } = await sql<Moved>`
      with next as (
        select * from dead_letter d
        where d.sdk_app_id = ${replay.sdk_app_id} and d.id > ${replay.cursor_id} and d.id <= ${replay.through_id}
          and ${canBeSent} and ${fits}
        order by d.id limit ${limit} for update
      ),
      gone as (delete from dead_letter where id in (select id from next)),
      made as (
        insert into outbox (day, consumer, sdk_app_id, drain_key, event, conversation_id, seq, body, created_ms, origin_id)
        select ${dayOf(now)}, 1, sdk_app_id, drain_key, command,
          case when request_body is null then conversation_id end, case when request_body is null then seq end,
          case when request_body is null then origin
            else json_build_object('raw', request_body, 'origin', origin::json)::text end,
          ${now}, origin_id
        from next order by id
      )
      select id, drain_key, command from next order by id`.execute(trx);
    return { rows, throughId: replay.through_id };
  }

  /** Entries that are done are written once more, behind what waits now. */
  async function copyEntries(trx: Db, replay: ReplayRow, filter: ReplayFilter, limit: number) {
    const fits = entryFits(filter);
    if (fits === undefined) return { rows: [], throughId: replay.through_id };
    const now = nowMs();
    const throughId = Math.min(replay.cursor_id + idsAtOnce, replay.through_id);
    const { rows } = await sql<Moved>`
      with next as (
        select o.id, o.sdk_app_id, o.drain_key, o.event, o.conversation_id, o.seq, o.body, o.origin_id from outbox o
        where o.id > ${replay.cursor_id} and o.id <= ${throughId} and ${isLastDone(replay.sdk_app_id, filter, replay.through_id)} and ${fits}
        order by o.id limit ${limit}
      ),
      made as (
        insert into outbox (day, consumer, sdk_app_id, drain_key, event, conversation_id, seq, body, created_ms, origin_id)
        select ${dayOf(now)}, 1, sdk_app_id, drain_key, event, conversation_id, seq, body, ${now}, coalesce(origin_id, id)
        from next order by id
      )
      select id, drain_key, event as command from next order by id`.execute(trx);
    return { rows, throughId };
  }

  async function loop(): Promise<void> {
    while (!stop.signal.aborted) {
      const startedMs = performance.now();
      await run().catch((error: unknown) => {
        failures.inc();
        logger.warn({ err: error }, 'callbacks.replays.failed');
      });
      const restMs = Math.max(50, everyMs - (performance.now() - startedMs));
      await delay(restMs, undefined, { signal: stop.signal, ref: false }).catch(() => {});
    }
  }
  const looping = loop();

  return {
    run,
    async close() {
      stop.abort();
      unsubscribe();
      await looping;
      // Whoever goes on need not wait for the end of the lease; where the database is away, he does.
      const giveBack = db.pool
        .query('update task_lease set lease_until = now() where task = $1 and holder = $2', [task, nodeId])
        .catch(() => {});
      await Promise.race([giveBack, delay(closeMs, undefined, { ref: false })]);
    },
  };
}

/** Of dead letters `d`: whether there is anything to send. */
export const canBeSent: RawBuilder<unknown> = sql`(d.request_body is not null or d.conversation_id is not null)`;

/**
 * Of entries `o`: those of the app's callbacks of which that has become. Of an event that was sent again already only the last one, as
 * far as `throughId` and within the times asked for: or each replay of a time would double what the next one of that time sends.
 */
export function isLastDone(
  sdkAppId: SdkAppId,
  { states, selection: { sinceMs, untilMs } }: ReplayFilter,
  throughId: number = Number.MAX_SAFE_INTEGER,
): RawBuilder<unknown> {
  const isSuch = (entry: RawBuilder<unknown>) =>
    sql`${entry}.consumer = 1 and ${entry}.done_ms is not null and ${entry}.outcome = any (${[...states]})`;
  return sql`o.sdk_app_id = ${sdkAppId} and ${isSuch(sql`o`)} and not exists (
    select from outbox p
    where p.origin_id = coalesce(o.origin_id, o.id) and p.id > o.id and p.id <= ${throughId} and ${isSuch(sql`p`)}
      and p.created_ms between ${sinceMs ?? 0} and ${untilMs ?? Number.MAX_SAFE_INTEGER}
  )`;
}
