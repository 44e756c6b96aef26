import { type RawBuilder, sql } from 'kysely';
import { type SdkAppId, unpackCallbackNotes } from '../../wire/index.ts';
import { before, groupBefore } from './chain.ts';
import { boundOf } from './cursor.ts';
import {
  type CallbackEvent,
  type Db,
  dayOf,
  type EventRow,
  eventColumns,
  type MessageFacts,
  messageColumns,
  messageNames,
  nameOf,
  selectMessages,
  toEvents,
} from './events.ts';
import { accountsEver, groupsEver, type Places } from './places.ts';
import type { EventFilter, MessageKey, Page, Range } from './queries.ts';
import { readTraces, type WrittenTrace } from './traces-read.ts';

/** Ranks of sources among what happened at the same time; events have `eventRank` between them. */
export const messageRank = 0;
export const traceRank = 2;
/** A message's entry is written in its transaction: by the same clock, unless that went back. */
const entrySlackMs = 10_000;
/** Questions before a message come right before it; a repeat may come later. */
export const traceSlackMs = 600_000;
export const maxTraces = 20;
/** How far the MsgTime in a key may be from that of the message: a question has the time of the question. */
const keySlackSec = 600;
/** Commits of one conversation at the same moment: as far as its messages may be out of the order of their times. */
const outOfOrder = 100;

export type Search = ReturnType<typeof createSearch>;

/** Finds messages, entries and traces that belong to one another, by queries that are bounded in what they look through. */
export function createSearch(db: Db) {
  /** The entries of those messages, the first ones and those that are sent again. */
  async function eventsOf(
    sdkAppId: SdkAppId,
    messages: readonly MessageFacts[],
    thorough: boolean,
  ): Promise<CallbackEvent[]> {
    const told = messages.filter(({ notes }) => (unpackCallbackNotes(notes).consumers & 1) !== 0);
    if (told.length === 0) return [];
    const windows = windowsOf(told);
    const found = await sql<EventRow>`
      select ${eventColumns}
      from unnest(
        ${windows.map(({ day }) => day)}::integer[], ${windows.map(({ fromMs }) => fromMs)}::bigint[],
        ${windows.map(({ toMs }) => toMs)}::bigint[]
      ) as k(day, from_ms, to_ms)
      cross join lateral (
        select * from outbox o
        where o.consumer = 1 and o.day = k.day and o.created_ms between k.from_ms and k.to_ms
          and o.conversation_id = any (${[...new Set(told.map(({ conversationId }) => conversationId))]})
      ) o`.execute(db);
    const names = new Set(told.map(nameOf));
    const rows = found.rows.filter(
      ({ conversation_id: conversationId, seq }) =>
        conversationId !== null && seq !== null && names.has(nameOf({ conversationId, seq })),
    );
    const missing = told.filter(
      (message) => !rows.some((row) => row.conversation_id === message.conversationId && row.seq === message.seq),
    );
    if (thorough && missing.length > 0) {
      // A clock that went back: then the whole day has to be looked through.
      const [message] = missing;
      const whole = await sql<EventRow>`
        select ${eventColumns} from outbox o
        where o.consumer = 1 and o.day = ${message?.day} and o.conversation_id = ${message?.conversationId} and o.seq = ${message?.seq}
          and o.origin_id is null`.execute(db);
      rows.push(...whole.rows);
    }
    return toEvents(db, [...rows, ...(await againOf(sdkAppId, rows))]);
  }

  /** What was sent again of those entries. */
  async function againOf(sdkAppId: SdkAppId, rows: readonly EventRow[]): Promise<EventRow[]> {
    if (rows.length === 0) return [];
    const known = rows.map(({ id }) => id);
    const origins = [...new Set(rows.map(({ id, origin_id }) => origin_id ?? id))];
    const again = await sql<EventRow>`
      select ${eventColumns} from outbox o
      where o.sdk_app_id = ${sdkAppId} and o.origin_id = any (${origins}) and o.id <> all (${known})
      order by o.id limit 1000`.execute(db);
    return again.rows;
  }

  /** The questions before those messages. Their time in a key may differ from that which the message was stored with. */
  async function tracesOf(sdkAppId: SdkAppId, messages: readonly MessageFacts[]): Promise<WrittenTrace[]> {
    if (messages.length === 0) return [];
    const times = messages.map(({ storedMs }) => storedMs);
    return readTraces(
      db,
      sdkAppId,
      sql`t.command in (${before}, ${groupBefore})
        and t.at_ms between ${Math.min(...times) - traceSlackMs} and ${Math.max(...times) + traceSlackMs}
        and exists (
          select from unnest(
            ${messages.map(({ msgSeq, random }) => `${msgSeq}_${random}_`)}::text[], ${messages.map(({ from }) => from)}::text[],
            ${messages.map(({ to }) => to ?? null)}::text[], ${messages.map(({ groupId }) => groupId ?? null)}::text[]
          ) as k(start, sender, receiver, in_group)
          where starts_with(t.message_key, k.start) and t.from_account = k.sender
            and (t.to_account = k.receiver or t.group_id = k.in_group)
        )`,
      messages.length * maxTraces,
    );
  }

  /** Messages of that key, or nearly: another time, or sent by the other one. */
  const findByKey = (
    conversationIds: readonly number[],
    { msgSeq, random, time }: MessageKey,
  ): Promise<MessageFacts[]> =>
    selectMessages(
      db,
      // Nothing is stored before the day of its time, but for a time a little ahead of the clock that stored it.
      sql`
        select ${messageColumns} from message x join conversation c on c.id = x.conversation_id ${messageNames}
        where x.conversation_id = any (${[...conversationIds]}) and x.day >= ${Math.floor(time / 86_400) - 1}
          and x.msg_time between ${time - keySlackSec} and ${time + keySlackSec}
          and x.msg_seq = ${msgSeq} and x.msg_random = ${random}
        order by x.conversation_id desc, x.seq desc limit 10`,
    );

  /** Messages to groups that were asked about by that key. */
  const findInGroups = (
    sdkAppId: SdkAppId,
    conversationIds: readonly number[],
    from: string,
    { random, time }: MessageKey,
  ): Promise<MessageFacts[]> =>
    selectMessages(
      db,
      sql`
        select ${messageColumns}
        from ${accountsEver} k join message x on x.sender_id = k.id join conversation c on c.id = x.conversation_id ${messageNames}
        where k.sdk_app_id = ${sdkAppId} and k.identifier = ${from}
          and x.conversation_id = any (${[...conversationIds]}) and x.dedup_key is not null
          and x.day >= ${Math.floor(time / 86_400) - 1} and x.msg_time between ${time - keySlackSec} and ${time + keySlackSec}
          and x.msg_random = ${random}
        order by x.conversation_id desc, x.seq desc limit 10`,
    );

  const findBySeq = (conversationIds: readonly number[], seq: number): Promise<MessageFacts[]> =>
    selectMessages(
      db,
      sql`
        select ${messageColumns} from message x join conversation c on c.id = x.conversation_id ${messageNames}
        where x.conversation_id = any (${[...conversationIds]}) and x.seq = ${seq}`,
    );

  /** Messages of an account's one-to-one conversations, or of one conversation or group, the newest first. */
  async function scanMessages(places: Places, range: Range, page: Page, limit: number): Promise<MessageFacts[]> {
    const { accountNos, conversationIds } = places;
    if (accountNos.length === 0 && conversationIds.length === 0) return [];
    const bound = boundOf(page.after, messageRank, range.untilMs);
    const [id = 0, seq = 0] = bound.ids;
    // Of each conversation the newest ones alone, and of conversations that have been quiet since those that spoke last: who writes a
    // million messages a day is answered as quickly as anybody.
    return selectMessages(
      db,
      sql`
        with own as (
          select c.* from conversation c where c.last_stored_ms >= ${range.sinceMs}
            and ${
              accountNos.length === 0
                ? sql`c.id = any (${[...conversationIds]})`
                : sql`c.kind = 1 and c.id in (select m.conversation_id from member m where m.account_id = any (${[...accountNos]}))`
            }
        ),
        near as (
          (select * from own where last_stored_ms <= ${bound.atMs} order by last_stored_ms desc limit ${limit})
          union all select * from own where last_stored_ms > ${bound.atMs}
        )
        select ${messageColumns}
        from near c
        cross join lateral (
          select * from message m
          where m.conversation_id = c.id and m.day between ${dayOf(range.sinceMs) - 1} and ${dayOf(bound.atMs) + 1}
            and m.stored_ms between ${range.sinceMs} and ${bound.atMs}
            and (m.stored_ms < ${bound.atMs} or ${bound.all} or (m.conversation_id, m.seq) < (${id}, ${seq}))
          order by m.seq desc limit ${limit + outOfOrder}
        ) x ${messageNames}
        order by x.stored_ms desc, x.conversation_id desc, x.seq desc limit ${limit}`,
    );
  }

  async function scanTraces(
    sdkAppId: SdkAppId,
    { command, account, pair, groupId }: EventFilter,
    range: Range,
    page: Page,
    limit: number,
  ): Promise<WrittenTrace[]> {
    const bound = boundOf(page.after, traceRank, range.untilMs);
    const [id = 0] = bound.ids;
    const conditions: RawBuilder<unknown>[] = [
      sql`t.at_ms between ${range.sinceMs} and ${bound.atMs} and (t.at_ms < ${bound.atMs} or ${bound.all} or t.id < ${id})`,
      ...(command === undefined ? [] : [sql`t.command = ${command}`]),
      ...(account === undefined ? [] : [sql`(t.from_account = ${account} or t.to_account = ${account})`]),
      ...(pair === undefined ? [] : [sql`t.from_account = any (${pair}) and t.to_account = any (${pair})`]),
      ...(groupId === undefined ? [] : [sql`t.group_id = ${groupId}`]),
    ];
    return readTraces(db, sdkAppId, sql.join(conditions, sql` and `), limit);
  }

  async function findMany(places: readonly { conversationId: number; seq: number }[]): Promise<MessageFacts[]> {
    return selectMessages(
      db,
      sql`
        select distinct on (x.conversation_id, x.seq) ${messageColumns}
        from unnest(
          ${places.map(({ conversationId }) => conversationId)}::bigint[], ${places.map(({ seq }) => seq)}::bigint[]
        ) as k(conversation_id, seq)
        join message x on x.conversation_id = k.conversation_id and x.seq = k.seq
        join conversation c on c.id = x.conversation_id ${messageNames}`,
    );
  }

  async function ofNoMessage(sdkAppId: SdkAppId, traces: readonly WrittenTrace[]): Promise<WrittenTrace[]> {
    const keyed = traces.filter(({ messageKey }) => messageKey !== undefined && /^\d+_\d+_\d+$/.test(messageKey));
    if (keyed.length === 0) return [...traces];
    const parts = keyed.map(({ messageKey = '' }) => messageKey.split('_').map(Number));
    const { rows } = await sql<{ position: number }>`
      select k.position
      from unnest(
        ${keyed.map(({ from }) => from ?? '')}::text[], ${keyed.map(({ to }) => to ?? '')}::text[],
        ${parts.map(([msgSeq]) => msgSeq)}::bigint[], ${parts.map(([, random]) => random)}::bigint[],
        ${parts.map(([, , time]) => time)}::bigint[]
      ) with ordinality as k(sender, receiver, msg_seq, random, time, position)
      join ${accountsEver} s on s.sdk_app_id = ${sdkAppId} and s.identifier = k.sender
      join ${accountsEver} r on r.sdk_app_id = ${sdkAppId} and r.identifier = k.receiver
      join conversation c on c.kind = 1 and c.account_a = least(s.id, r.id) and c.account_b = greatest(s.id, r.id)
      where exists (
        select from message x
        where x.conversation_id = c.id and x.day between k.time / 86400 - 1 and k.time / 86400 + 1
          and x.msg_seq = k.msg_seq and x.msg_random = k.random and x.sender_id = s.id
      )`.execute(db);
    // By their senders: of a group all messages would be too many to look through.
    const { rows: inGroups } = await sql<{ position: number }>`
      select k.position
      from unnest(
        ${keyed.map(({ from }) => from ?? '')}::text[], ${keyed.map(({ groupId }) => groupId ?? null)}::text[],
        ${parts.map(([, random]) => random)}::bigint[], ${parts.map(([, , time]) => time)}::bigint[]
      ) with ordinality as k(sender, group_id, random, time, position)
      join ${groupsEver} g on g.sdk_app_id = ${sdkAppId} and g.group_id = k.group_id
      join ${accountsEver} s on s.sdk_app_id = ${sdkAppId} and s.identifier = k.sender
      where exists (
        select from message x
        where x.conversation_id = g.conversation_id and x.sender_id = s.id and x.dedup_key is not null
          and x.day between k.time / 86400 - 1 and k.time / 86400 + 1
          and x.msg_time between k.time - ${keySlackSec} and k.time + ${keySlackSec} and x.msg_random = k.random
      )`.execute(db);
    const stored = new Set([...rows, ...inGroups].map(({ position }) => keyed[position - 1]?.id));
    return traces.filter(({ id }) => !stored.has(id));
  }

  return {
    eventsOf,
    againOf,
    tracesOf,
    findByKey,
    findInGroups,
    findBySeq,
    findMany,
    scanMessages,
    scanTraces,
    ofNoMessage,
  };
}

/** The times in which entries of those messages were written: near ones together, so that a burst of messages is one look. */
function windowsOf(messages: readonly MessageFacts[]): { day: number; fromMs: number; toMs: number }[] {
  const windows: { day: number; fromMs: number; toMs: number }[] = [];
  for (const { day, storedMs } of messages.toSorted((a, b) => a.storedMs - b.storedMs)) {
    const last = windows.at(-1);
    if (last !== undefined && last.day === day && storedMs - entrySlackMs <= last.toMs) last.toMs = storedMs;
    else windows.push({ day, fromMs: storedMs - entrySlackMs, toMs: storedMs });
  }
  return windows;
}
