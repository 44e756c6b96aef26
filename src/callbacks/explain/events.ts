import { type Kysely, type RawBuilder, sql } from 'kysely';
import type { Schema } from '../../store/index.ts';
import {
  type AccountId,
  type AfterCommand,
  type BeforeOutcome,
  beforeOutcomes,
  messageKey,
  type SdkAppId,
} from '../../wire/index.ts';
import type { Attempt } from '../relay/entry.ts';
import { boundOf, type Cursor } from './cursor.ts';
import type { EventState, Range } from './queries.ts';

/** An entry of the outbox for callbacks, as operators see it: no content. */
export interface CallbackEvent {
  readonly id: number;
  readonly day: number;
  /** Of the first entry, where this one is sent again: the receiver sees the same event. */
  readonly originId: number;
  readonly command: AfterCommand;
  readonly drainKey: string;
  readonly state: EventState;
  readonly createdMs: number;
  /** When the next attempt may be; undefined: at once. */
  readonly nextAttemptMs: number | undefined;
  readonly attempts: number;
  /** Failed attempts, the first and the last ones. */
  readonly log: readonly LoggedAttempt[];
  readonly doneMs: number | undefined;
  /** Of the last attempt. */
  readonly status: number | undefined;
  readonly tookMs: number | undefined;
  readonly message: { readonly conversationId: number; readonly seq: number } | undefined;
  readonly about: About;
}

/** A failed attempt, or what an operator did. */
export interface LoggedAttempt extends Attempt {
  readonly by?: string;
}

/** Whom an event is about. */
export interface About {
  readonly from?: string;
  readonly to?: string;
  readonly account?: string;
  readonly groupId?: string;
  readonly key?: string;
  /** Of a state event: `Android went offline`. */
  readonly what?: string;
  /** What the answer to the question before it was; of an action that is stored nowhere. */
  readonly before?: BeforeOutcome;
  /** Of a message that was not stored: what its sender was answered. */
  readonly result?: number;
}

export interface EventRow {
  id: number;
  day: number;
  origin_id: number | null;
  event: AfterCommand;
  drain_key: string;
  conversation_id: number | null;
  seq: number | null;
  body: string | null;
  created_ms: number;
  next_attempt_ms: number;
  attempts: number;
  done_ms: number | null;
  outcome: Exclude<EventState, 'waiting'> | null;
  status: number | null;
  took_ms: number | null;
  attempt_log: string | null;
}

/** What is read of the outbox `o`; the bodies only of what is no stored message, which say whom it is about. */
export const eventColumns = sql`
  o.id, o.day, o.origin_id, o.event, o.drain_key, o.conversation_id, o.seq,
  case when o.conversation_id is null then o.body end as body, o.created_ms, o.next_attempt_ms, o.attempts, o.done_ms, o.outcome,
  o.status, o.took_ms, o.attempt_log`;

export type Db = Kysely<Schema>;

const dayMs = 86_400_000;
/** The first piece of time that is looked through; each further one is longer, while that takes no time to speak of. */
const firstWindowMs = 60_000;
const maxWindowMs = dayMs;
const quickMs = 250;
const slowMs = 1_000;

export const dayOf = (ms: number): number => Math.floor(ms / dayMs);

/** Rank of the outbox among the sources of a page. */
export const eventRank = 1;

export interface Scan {
  readonly sdkAppId: SdkAppId;
  readonly range: Range;
  readonly after: Cursor | undefined;
  /** Further conditions on the outbox `o`. */
  readonly where?: RawBuilder<unknown>;
  readonly limit: number;
  /** By `performance.now()`: when to leave the rest to the next page. */
  readonly deadline: number;
}

/**
 * Events of a time range, the newest first. Goes back in time piece by piece, so that a busy app costs no more than a quiet one;
 * `throughMs`: everything since then has been seen, also where that is less than was asked for.
 */
export async function scanEvents(db: Db, scan: Scan): Promise<{ rows: EventRow[]; throughMs: number }> {
  const { sdkAppId, range, after, where = sql`true`, limit, deadline } = scan;
  const bound = boundOf(after, eventRank, range.untilMs);
  const [id = 0] = bound.ids;
  const rows: EventRow[] = [];
  let [highMs, windowMs] = [bound.atMs, firstWindowMs];
  while (highMs >= range.sinceMs) {
    const lowMs = Math.max(highMs - windowMs, range.sinceMs);
    const startedMs = performance.now();
    const found = await sql<EventRow>`
      select ${eventColumns} from outbox o
      where o.consumer = 1 and o.sdk_app_id = ${sdkAppId}
        and o.day between ${dayOf(lowMs)} and ${dayOf(highMs)} and o.created_ms between ${lowMs} and ${highMs}
        and (o.created_ms < ${bound.atMs} or ${bound.all} or o.id < ${id}) and ${where}
      order by o.created_ms desc, o.id desc limit ${limit - rows.length}`.execute(db);
    rows.push(...found.rows);
    highMs = lowMs - 1;
    const tookMs = performance.now() - startedMs;
    if (tookMs < quickMs) windowMs = Math.min(windowMs * 4, maxWindowMs);
    else if (tookMs > slowMs) windowMs = Math.max(windowMs / 4, firstWindowMs);
    if (rows.length >= limit || performance.now() > deadline) break;
  }
  return { rows, throughMs: Math.max(highMs + 1, range.sinceMs) };
}

/** Makes events of rows; reads whom they are about. */
export async function toEvents(db: Db, rows: readonly EventRow[]): Promise<CallbackEvent[]> {
  const messages = await readMessages(
    db,
    rows.flatMap(({ conversation_id, seq, day, origin_id }) =>
      conversation_id === null || seq === null
        ? []
        : // An entry that is sent again stands on the day of that, its message does not.
          { conversationId: conversation_id, seq, day: origin_id === null ? day : undefined },
    ),
  );
  return rows.map((row) => {
    const { conversation_id: conversationId, seq } = row;
    const message = conversationId === null || seq === null ? undefined : { conversationId, seq };
    const found = message === undefined ? undefined : messages.get(nameOf(message));
    const about =
      found !== undefined ? aboutMessage(found) : message !== undefined ? {} : aboutBody(row.event, row.body);
    return {
      id: row.id,
      day: row.day,
      originId: row.origin_id ?? row.id,
      command: row.event,
      drainKey: row.drain_key,
      state: row.done_ms === null ? 'waiting' : (row.outcome ?? 'delivered'),
      createdMs: row.created_ms,
      nextAttemptMs: row.next_attempt_ms === 0 ? undefined : row.next_attempt_ms,
      attempts: row.attempts,
      log: readLog(row.attempt_log),
      doneMs: row.done_ms ?? undefined,
      status: row.status ?? undefined,
      tookMs: row.took_ms ?? undefined,
      message,
      about,
    };
  });
}

/** A stored message, without content. */
export interface MessageFacts {
  readonly conversationId: number;
  readonly seq: number;
  readonly day: number;
  readonly from: AccountId;
  /** The receiver; of a group message it is the group's. */
  readonly to: AccountId | undefined;
  readonly groupId: string | undefined;
  readonly key: string;
  readonly msgSeq: number;
  readonly random: number;
  readonly storedMs: number;
  /** As `unpackCallbackNotes` reads it. */
  readonly notes: number;
  readonly isRecalled: boolean;
  /** What a group says of its changes; `from` is who made them. */
  readonly isTip: boolean;
  readonly seenBy: 'both' | 'sender' | 'receiver';
}

interface MessageRow {
  conversation_id: number;
  seq: number;
  day: number;
  sender: AccountId;
  receiver: AccountId | null;
  group_id: string | null;
  msg_seq: number;
  msg_random: number;
  msg_time: number;
  stored_ms: number;
  callbacks: number;
  recall_no: number;
  is_tip: boolean;
  visible_to: 0 | 1 | 2;
}

/** Of the message `x` in conversation `c`. */
export const messageColumns = sql`
  x.conversation_id, x.seq, x.day, s.identifier as sender, r.identifier as receiver, g.group_id, x.msg_seq, x.msg_random, x.msg_time,
  x.stored_ms, x.callbacks, x.recall_no, coalesce(x.extra = '{"tip":true}', false) as is_tip, x.visible_to`;
export const messageNames = sql`
  join account s on s.id = x.sender_id
  left join account r on r.id = case when c.account_a = x.sender_id then c.account_b else c.account_a end
  left join chat_group g on g.conversation_id = c.id`;

export async function selectMessages(db: Db, query: RawBuilder<unknown>): Promise<MessageFacts[]> {
  const { rows } = await (query as RawBuilder<MessageRow>).execute(db);
  return rows.map((row) => ({
    conversationId: row.conversation_id,
    seq: row.seq,
    day: row.day,
    from: row.sender,
    to: row.receiver ?? undefined,
    groupId: row.group_id ?? undefined,
    key: messageKey({ msgSeq: row.msg_seq, random: row.msg_random, time: row.msg_time }),
    msgSeq: row.msg_seq,
    random: row.msg_random,
    storedMs: row.stored_ms,
    notes: row.callbacks,
    isRecalled: row.recall_no > 0,
    isTip: row.is_tip,
    seenBy: (['both', 'sender', 'receiver'] as const)[row.visible_to],
  }));
}

/** The messages of those places, by `nameOf`. `day`: of the message, where it is known. */
export async function readMessages(
  db: Db,
  places: readonly { conversationId: number; seq: number; day: number | undefined }[],
): Promise<Map<string, MessageFacts>> {
  if (places.length === 0) return new Map();
  const messages = await selectMessages(
    db,
    sql`
      select ${messageColumns}
      from unnest(
        ${places.map(({ conversationId }) => conversationId)}::bigint[], ${places.map(({ seq }) => seq)}::bigint[],
        ${places.map(({ day }) => day ?? null)}::integer[]
      ) as k(conversation_id, seq, day)
      cross join lateral (
        select * from message x
        where x.conversation_id = k.conversation_id and x.seq = k.seq and (k.day is null or x.day = k.day) limit 1
      ) x
      join conversation c on c.id = x.conversation_id ${messageNames}`,
  );
  return new Map(messages.map((message) => [nameOf(message), message]));
}

export const nameOf = ({ conversationId, seq }: { conversationId: number; seq: number }): string =>
  `${conversationId}/${seq}`;

export function aboutMessage({ from, to, groupId, key }: MessageFacts): About {
  return withoutUndefined<About>({ from, to, groupId, key });
}

/** As people know it: group messages have no key. */
export function shown<T extends About>({ key, ...about }: T): Omit<T, 'key'> & { key?: string } {
  return key === undefined || about.groupId !== undefined ? about : { ...about, key };
}

/** Whom the body of an entry is about, as far as it says; never content. Pure. */
export function aboutBody(command: AfterCommand, text: string | null): About {
  const body = parseMap(text);
  // A dead letter that is sent again has the whole body of the callback.
  const fields = typeof body.raw === 'string' ? parseMap(body.raw) : isMap(body.fields) ? body.fields : body;
  const info = isMap(fields.Info) ? fields.Info : {};
  const before = beforeOutcomes.find((outcome) => outcome === body.before);
  const account = textOf(fields.account) ?? textOf(info.To_Account);
  const what =
    command === 'State.StateChange'
      ? [fields.platform, fields.state ?? info.Action, fields.reason ?? info.Reason]
          .filter((part) => textOf(part))
          .join(' ')
      : '';
  return withoutUndefined({
    from: textOf(fields.From_Account),
    to: textOf(fields.To_Account),
    account,
    groupId: textOf(fields.GroupId),
    key: textOf(fields.MsgKey) ?? groupKeyOf(fields),
    what: what === '' ? undefined : what,
    before,
    result: typeof fields.SendMsgResult === 'number' ? fields.SendMsgResult : undefined,
  });
}

/** Group messages have no MsgKey; they are looked up by one as if their MsgSeq were 0. */
function groupKeyOf({ GroupId: groupId, Random: random, MsgTime: time }: Record<string, unknown>): string | undefined {
  return typeof groupId === 'string' && typeof random === 'number' && typeof time === 'number'
    ? messageKey({ msgSeq: 0, random, time })
    : undefined;
}

/** What is no attempt is left out: a row that somebody has damaged must not hide the others. */
export function readLog(text: string | null): readonly LoggedAttempt[] {
  const log: unknown = parse(text);
  return Array.isArray(log)
    ? log.filter((one: Partial<LoggedAttempt> | null): one is LoggedAttempt => Number.isSafeInteger(one?.atMs))
    : [];
}

function parse(text: string | null): unknown {
  try {
    return text === null ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

function parseMap(text: string | null): Record<string, unknown> {
  const value = parse(text);
  return isMap(value) ? value : {};
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value.slice(0, 200) : undefined;
}

/** Without the fields that are undefined. */
export function withoutUndefined<T extends object>(value: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(value).filter(([, part]) => part !== undefined)) as T;
}
