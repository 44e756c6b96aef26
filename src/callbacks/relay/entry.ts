import type { AfterCommand, SdkAppId } from '../../wire/index.ts';

/** A failed attempt, as operators see it. */
export interface Attempt {
  readonly atMs: number;
  readonly tookMs: number;
  /** Of an answer. */
  readonly status?: number;
  /** Why there was none. */
  readonly failure?: string;
  readonly detail?: string;
}

/** The stored message of an entry. */
export interface EntryMessage {
  readonly from: string;
  /** The receiver, or the group. */
  readonly to: string | { readonly groupId: string; readonly type: string };
  /** JSON text of MsgBody. */
  readonly body: string;
  readonly msgSeq: number;
  readonly random: number;
  readonly time: number;
  readonly custom: string | null;
}

/** An event that waits to be told. */
export interface Entry {
  readonly id: number;
  readonly day: number;
  readonly sdkAppId: SdkAppId;
  readonly drainKey: string;
  readonly command: AfterCommand;
  readonly conversationId: number | null;
  readonly seq: number | null;
  /** Of the first entry, where this is one that is sent again. */
  readonly originId: number | null;
  readonly body: string | null;
  /** Undefined: it is no stored message, or that has expired. */
  readonly message: EntryMessage | undefined;
  readonly createdMs: number;
  readonly nextAttemptMs: number;
  readonly attempts: number;
  /** The first failed attempt and the last ones. */
  readonly log: readonly Attempt[];
}

/** Failed attempts that an entry remembers, the first among them. */
const maxLog = 8;
/** Events given up that the next one names, the last ones; as in the database's callback_gap_ids. */
export const maxGap = 10;

/** An entry as the database has it. */
export interface EntryRow {
  id: number;
  day: number;
  sdk_app_id: SdkAppId;
  drain_key: string;
  event: AfterCommand;
  conversation_id: number | null;
  seq: number | null;
  origin_id: number | null;
  body: string | null;
  created_ms: number;
  next_attempt_ms: number;
  attempts: number;
  attempt_log: string | null;
}

/** Those of `outbox o`. */
export const entryColumns = `o.id, o.day, o.sdk_app_id, o.drain_key, o.event, o.conversation_id, o.seq, o.origin_id, o.body, o.created_ms,
    o.next_attempt_ms, o.attempts, o.attempt_log`;

/** The stored message of an entry, as the database has it. */
export interface MessageRow {
  position: number;
  from_name: string;
  to_name: string | null;
  group_id: string | null;
  group_type: string | null;
  body: string;
  msg_seq: number;
  msg_random: number;
  msg_time: number;
  custom_data: string | null;
}

/** The receiver of a message, or its group; undefined: it has neither. Pure. */
export function addresseeOf({
  to_name: to,
  group_id: groupId,
  group_type: type,
}: Pick<MessageRow, 'to_name' | 'group_id' | 'group_type'>): EntryMessage['to'] | undefined {
  return groupId === null || type === null ? (to ?? undefined) : { groupId, type };
}

/** The log with one more: the first stays, for how long it has been failing, and the last ones. Pure. */
export function withAttempt(log: readonly Attempt[], attempt: Attempt): Attempt[] {
  const all = [...log, attempt];
  const [first] = all;
  return all.length <= maxLog || first === undefined ? all : [first, ...all.slice(1 - maxLog)];
}

/** One more that was given up. Pure. */
export function withGap(gap: string | undefined, { id, originId }: Pick<Entry, 'id' | 'originId'>): string {
  const ids = gap === undefined ? [] : gap.split(',');
  return [...ids, String(originId ?? id)].slice(-maxGap).join(',');
}

/** What is no attempt is left out: a row that somebody has damaged must not hold up those that are read with it. */
function readLog(text: string | null): Attempt[] {
  if (text === null) return [];
  try {
    const log: unknown = JSON.parse(text);
    return Array.isArray(log) ? log.filter((one: Partial<Attempt> | null) => typeof one?.atMs === 'number') : [];
  } catch {
    return [];
  }
}

/** Pure. */
export function toEntry(row: EntryRow, message: EntryMessage | undefined): Entry {
  return {
    id: row.id,
    day: row.day,
    sdkAppId: row.sdk_app_id,
    drainKey: row.drain_key,
    command: row.event,
    conversationId: row.conversation_id,
    seq: row.seq,
    originId: row.origin_id,
    body: row.body,
    message,
    createdMs: row.created_ms,
    nextAttemptMs: row.next_attempt_ms,
    attempts: row.attempts,
    log: readLog(row.attempt_log),
  };
}
