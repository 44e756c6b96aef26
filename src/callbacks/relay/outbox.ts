import type pg from 'pg';
import type { Clock } from '../../auth/index.ts';
import { createBatcher } from '../../store/index.ts';
import type { AfterCommand, SdkAppId } from '../../wire/index.ts';
import {
  type Attempt,
  addresseeOf,
  type Entry,
  type EntryMessage,
  type EntryRow,
  entryColumns,
  type MessageRow,
  maxGap,
  toEntry,
  withAttempt,
} from './entry.ts';

/** What waits in a lane. */
export interface Page {
  /** The oldest first. */
  readonly entries: readonly Entry[];
  /** Ids of those given up since the last that was delivered, comma-separated: the next one tells of them. */
  readonly gap: string | undefined;
}

/** What to read: the entries of a key that go to one endpoint. */
export interface LaneQuery {
  readonly sdkAppId: SdkAppId;
  readonly drainKey: string;
  readonly commands: readonly AfterCommand[];
}

export interface Outbox {
  /** The oldest entries that wait, {@link pageRows} at most. */
  read(query: LaneQuery): Promise<Page>;
  /** The same of entries by id, whatever their key. */
  readMany(ids: readonly number[]): Promise<Entry[]>;
  /** `gap`: what was told with it. */
  delivered(entry: Entry, result: { status: number; tookMs: number; gap: string | undefined }): Promise<void>;
  /** Told by a newer one. */
  superseded(entries: readonly Entry[]): Promise<void>;
  /** An attempt has failed; the next one is due then. */
  failed(entry: Entry, attempt: Attempt, nextAttemptMs: number): Promise<void>;
  /** Gives entries up: dead letters from now on, with the gap noted for what comes after. */
  bury(burials: readonly Burial[]): Promise<void>;
}

/** An entry that is given up, and what operators are to know of it. */
export interface Burial {
  readonly entry: Entry;
  /** A word of a fixed set. */
  readonly reason: string;
  readonly url: string | undefined;
  /** What was sent, or would have been; undefined: it could not be made. */
  readonly requestBody: string | undefined;
  readonly response?: { readonly status?: number; readonly text?: string };
  readonly log: readonly Attempt[];
}

/** Entries of a lane that are read at once. */
export const pageRows = 50;
/** Lanes of one query, entries of one update. */
const maxLanes = 64;
const maxMarks = 500;
/** Between two queries or updates of many. */
const spacingMs = 5;

/** A lane's entry, or what there is to say of a lane without. */
interface LaneRow extends EntryRow {
  position: number;
  gap: string | null;
}

const dayMs = 86_400_000;

/**
 * `done_ms is null` for what is looked up by id. As such the planner would take it for the index of what waits and read all of that:
 * the index was small when the plan was made.
 */
const stillWaits = 'coalesce(o.done_ms, -1) = -1';

/**
 * What the relay's connections are set to. Its few statements look for single rows by key in tables that are cut by day: the plan is
 * always the same, planning anew costs more than the work, and tables that were small when it was made tempt the planner to read them whole.
 */
export const outboxSettings = {
  plan_cache_mode: 'force_generic_plan',
  enable_seqscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
  jit: 'off',
};

/**
 * The outbox as the relay sees it: the queue of record (DESIGN §7). Entries are found by key among those that are not done, in the
 * order of their ids, which is that of their commits within a key; never by paging over ids, which commits do not follow.
 *
 * `pool`: connections with {@link outboxSettings}. `oldestDay`: no entry that waits is of a day before.
 */
export function createOutbox(deps: { pool: pg.Pool; oldestDay: () => number; clock: Clock }): Outbox {
  const { pool, oldestDay, clock } = deps;

  const reads = createBatcher<LaneQuery, Page>(
    async (queries) => {
      const { rows } = await pool.query<LaneRow>({
        name: 'callbacks_lanes',
        text: `
        select k.position, ${entryColumns}, g.ids as gap
        from unnest($1::bigint[], $2::text[], $3::text[]) with ordinality as k(app, drain_key, commands, position)
        left join lateral (
          select string_agg(g.ids, ',' order by g.command) as ids from callback_gap g
          where g.sdk_app_id = k.app and g.drain_key = k.drain_key and g.command = any (string_to_array(k.commands, ','))
        ) g on true
        cross join lateral (
          select * from outbox o
          where o.consumer = 1 and o.drain_key = k.drain_key and o.done_ms is null and o.day between $4 and $5
            and o.sdk_app_id = k.app and o.event = any (string_to_array(k.commands, ','))
          order by o.id limit ${pageRows}
        ) o
        order by k.position, o.id`,
        values: [
          queries.map(({ sdkAppId }) => sdkAppId),
          queries.map(({ drainKey }) => drainKey),
          queries.map(({ commands }) => commands.join(',')),
          oldestDay(),
          // A day more: whoever wrote it may have a clock that is ahead.
          Math.floor(clock() / dayMs) + 1,
        ],
      });
      const entries = await withMessages(rows);
      const pages = queries.map(() => ({ entries: [] as Entry[], gap: undefined as string | undefined }));
      for (const [index, row] of rows.entries()) {
        const page = pages[row.position - 1];
        if (page === undefined) continue;
        page.entries.push(entries[index] as Entry);
        page.gap = row.gap ?? undefined;
      }
      return pages;
    },
    { max: maxLanes, spacingMs },
  );

  /** The entries of the rows, in order, with the messages that they are of. */
  async function withMessages(rows: readonly EntryRow[]): Promise<Entry[]> {
    // The message of an entry that is sent again may be of any day before.
    const fresh = rows.filter((row) => row.conversation_id !== null && row.origin_id === null);
    const again = rows.filter((row) => row.conversation_id !== null && row.origin_id !== null);
    const days = fresh.map(({ day }) => day);
    const messages = new Map([
      ...(await messagesOf(fresh, Math.min(...days), Math.max(...days))),
      ...(await messagesOf(again, 0, Math.max(...again.map(({ day }) => day)))),
    ]);
    return rows.map((row) => toEntry(row, messages.get(row)));
  }

  async function messagesOf(
    rows: readonly EntryRow[],
    firstDay: number,
    lastDay: number,
  ): Promise<Map<EntryRow, EntryMessage>> {
    const found = new Map<EntryRow, EntryMessage>();
    if (rows.length === 0) return found;
    const { rows: messages } = await pool.query<MessageRow>({
      name: 'callbacks_messages',
      text: `
        select k.position, s.identifier as from_name, r.identifier as to_name, g.group_id, g.type as group_type, m.body, m.msg_seq,
          m.msg_random, m.msg_time, m.custom_data
        from unnest($1::bigint[], $2::bigint[]) with ordinality as k(conversation_id, seq, position)
        cross join lateral (
          select * from message x
          where x.conversation_id = k.conversation_id and x.seq = k.seq and x.day between $3 and $4 limit 1
        ) m
        join conversation c on c.id = k.conversation_id
        join account s on s.id = m.sender_id
        left join account r on r.id = case when c.account_a = m.sender_id then c.account_b else c.account_a end
        left join chat_group g on g.conversation_id = c.id`,
      values: [rows.map((row) => row.conversation_id), rows.map(({ seq }) => seq), firstDay, lastDay],
    });
    for (const message of messages) {
      const row = rows[message.position - 1];
      const to = addresseeOf(message);
      if (row === undefined || to === undefined) continue;
      found.set(row, {
        from: message.from_name,
        to,
        body: message.body,
        msgSeq: message.msg_seq,
        random: message.msg_random,
        time: message.msg_time,
        custom: message.custom_data,
      });
    }
    return found;
  }

  const marks = createBatcher<{ entry: Entry; status: number; tookMs: number; gap: string | undefined }, void>(
    async (items) => {
      const now = clock();
      // A day at a time: the statement then looks into one partition.
      for (const [day, some] of Map.groupBy(items, ({ entry }) => entry.day)) {
        await pool.query({
          name: 'callbacks_delivered',
          text: `
          update outbox o set done_ms = $2, outcome = 'delivered', status = t.status, took_ms = t.took_ms,
            attempts = o.attempts + 1
          from unnest($3::bigint[], $4::smallint[], $5::integer[]) as t(id, status, took_ms)
          where o.day = $1 and o.id = t.id and ${stillWaits}`,
          values: [
            day,
            now,
            some.map(({ entry }) => entry.id),
            some.map(({ status }) => status),
            some.map(({ tookMs }) => Math.round(tookMs)),
          ],
        });
      }
      const gaps = items.filter(({ gap }) => gap !== undefined);
      if (gaps.length > 0) {
        // One that has grown since stays, and is told once more.
        await pool.query(
          `delete from callback_gap g using unnest($1::bigint[], $2::text[], $3::text[]) as t(app, drain_key, told)
         where g.sdk_app_id = t.app and g.drain_key = t.drain_key and position(',' || g.ids || ',' in ',' || t.told || ',') > 0`,
          [
            gaps.map(({ entry }) => entry.sdkAppId),
            gaps.map(({ entry }) => entry.drainKey),
            gaps.map(({ gap }) => gap),
          ],
        );
      }
      return items.map(() => undefined);
    },
    { max: maxMarks, spacingMs },
  );

  return {
    read: (query) => reads.add(query),

    async readMany(ids) {
      if (ids.length === 0) return [];
      const { rows } = await pool.query<EntryRow>(
        `select ${entryColumns} from outbox o where o.id = any ($1) and ${stillWaits} order by o.id`,
        [ids],
      );
      return withMessages(rows);
    },

    delivered: (entry, result) => marks.add({ entry, ...result }),

    async superseded(entries) {
      await pool.query(
        `update outbox o set done_ms = $1, outcome = 'superseded' where id = any ($2) and day = any ($3) and ${stillWaits}`,
        [clock(), entries.map(({ id }) => id), [...new Set(entries.map(({ day }) => day))]],
      );
    },

    async failed(entry, attempt, nextAttemptMs) {
      await pool.query({
        name: 'callbacks_failed',
        text: `
          update outbox o set attempts = attempts + 1, next_attempt_ms = $3, attempt_log = $4, status = $5, took_ms = $6
          where day = $1 and id = $2 and ${stillWaits}`,
        values: [
          entry.day,
          entry.id,
          nextAttemptMs,
          JSON.stringify(withAttempt(entry.log, attempt)),
          attempt.status ?? null,
          Math.round(attempt.tookMs),
        ],
      });
    },

    async bury(burials) {
      const values = burials.map(({ entry, reason, url, requestBody, response, log }) => ({
        outbox_id: entry.id,
        day: entry.day,
        sdk_app_id: entry.sdkAppId,
        origin_id: entry.originId ?? entry.id,
        command: entry.command,
        drain_key: entry.drainKey,
        conversation_id: entry.conversationId,
        seq: entry.seq,
        reason,
        request_body: storable(requestBody),
        origin: originText(entry),
        url: url ?? null,
        response_status: response?.status ?? null,
        response_text: storable(response?.text),
        attempts: log.length > entry.log.length ? entry.attempts + 1 : entry.attempts,
        attempt_log: log.length === 0 ? null : JSON.stringify(log),
        created_ms: entry.createdMs,
      }));
      // One statement: what is a dead letter waits no longer, and the other way round.
      await pool.query(
        `with given as (
           select * from json_to_recordset($1::json) as t(
             outbox_id bigint, day integer, sdk_app_id bigint, origin_id bigint, command text, drain_key text,
             conversation_id bigint, seq bigint, reason text, request_body text, origin text, url text,
             response_status smallint, response_text text, attempts integer, attempt_log text, created_ms bigint
           )
         ),
         ended as (
           update outbox o set done_ms = $2, outcome = 'dead', attempts = g.attempts, attempt_log = g.attempt_log,
             status = g.response_status
           from given g where o.id = g.outbox_id and o.day = g.day and ${stillWaits}
           returning o.id
         ),
         letters as (
           insert into dead_letter (
             sdk_app_id, outbox_id, origin_id, command, drain_key, conversation_id, seq, reason, request_body, origin, url,
             response_status, response_text, attempts, attempt_log, created_ms, died_ms
           )
           select sdk_app_id, outbox_id, origin_id, command, drain_key, conversation_id, seq, reason, request_body, origin, url,
             response_status, response_text, attempts, attempt_log, created_ms, $2
           from given where outbox_id in (select id from ended) order by outbox_id
         )
         insert into callback_gap as gap (sdk_app_id, drain_key, command, ids)
         select sdk_app_id, drain_key, command, string_agg(origin_id::text, ',' order by outbox_id) from (
           select *, row_number() over (partition by sdk_app_id, drain_key, command order by outbox_id desc) as place
           from given where outbox_id in (select id from ended)
         ) t where place <= ${maxGap} group by sdk_app_id, drain_key, command
         on conflict (sdk_app_id, drain_key, command) do update
         set ids = callback_gap_ids(gap.ids, excluded.ids)`,
        [JSON.stringify(values), clock()],
      );
    },
  };
}

/** JSON text of where the action came from: a message's entry has it as its body. Null, too, where that is malformed. */
function originText({ conversationId, body }: Entry): string | null {
  if (body === null) return null;
  try {
    const content = JSON.parse(body) as { origin?: unknown } | null;
    const origin = conversationId === null ? content?.origin : content;
    return storable(JSON.stringify(origin));
  } catch {
    return null;
  }
}

/** What PostgreSQL can store of a text that somebody else wrote. */
function storable(text: string | undefined): string | null {
  return text === undefined ? null : text.toWellFormed().replaceAll('\0', '\uFFFD');
}
