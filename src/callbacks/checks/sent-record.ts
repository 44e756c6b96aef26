import type { AppSettings, Database } from '../../store/index.ts';
import type { AfterCommand } from '../../wire/index.ts';
import { bodyOf } from '../relay/bodies.ts';
import { addresseeOf, type Entry } from '../relay/entry.ts';

/** What was sent under an id. */
export interface SentRecord {
  readonly id: string;
  /** JSON text. */
  readonly body: string;
}

interface SentRow {
  id: number;
  event: AfterCommand;
  conversation_id: number | null;
  seq: number | null;
  body: string | null;
  created_ms: number;
  from_name: string | null;
  to_name: string | null;
  group_id: string | null;
  group_type: string | null;
  msg_body: string | null;
  msg_seq: number;
  msg_random: number;
  msg_time: number;
  custom_data: string | null;
}

/**
 * What an app was sent as the after-callback of that id: as its dead letter has it, or as it is made of its entry in the outbox.
 * Undefined: it is none of this app or of this database, or gone with its day; before-callbacks and tests leave no record.
 */
export async function readSent(db: Database, app: AppSettings, id: string): Promise<SentRecord | undefined> {
  const [, epoch, digits] = /^cb_([0-9a-f]{8})_([0-9]{1,15})$/.exec(id) ?? [];
  if (epoch === undefined) return undefined;
  const originId = Number(digits);
  const { rows: meta } = await db.pool.query<{ store_epoch: string }>('select store_epoch from meta');
  if (meta[0]?.store_epoch.replaceAll('-', '').startsWith(epoch) !== true) return undefined;
  const { rows: letters } = await db.pool.query<{ request_body: string | null }>(
    `select request_body from dead_letter where sdk_app_id = $1 and origin_id = $2 and request_body is not null
     order by id desc limit 1`,
    [app.sdkAppId, originId],
  );
  const letter = letters[0]?.request_body;
  if (letter !== undefined && letter !== null) return { id, body: letter };
  const { rows } = await db.pool.query<SentRow>(
    `select o.id, o.event, o.conversation_id, o.seq, o.body, o.created_ms, s.identifier as from_name, r.identifier as to_name,
       g.group_id, g.type as group_type, m.body as msg_body, m.msg_seq, m.msg_random, m.msg_time, m.custom_data
     from outbox o
     left join message m on m.conversation_id = o.conversation_id and m.seq = o.seq and m.day = o.day
     left join conversation c on c.id = o.conversation_id
     left join account s on s.id = m.sender_id
     left join account r on r.id = case when c.account_a = m.sender_id then c.account_b else c.account_a end
     left join chat_group g on g.conversation_id = c.id
     where o.id = $1 and o.sdk_app_id = $2 and o.consumer = 1`,
    [originId, app.sdkAppId],
  );
  const told = rows[0] === undefined ? undefined : bodyOf(toEntry(rows[0], app), app.callbacks);
  return told === undefined ? undefined : { id, body: told.body };
}

/** As much of an entry as its body is made of. */
function toEntry(row: SentRow, { sdkAppId }: AppSettings): Entry {
  const { from_name: from, msg_body: body } = row;
  const to = addresseeOf(row);
  return {
    id: row.id,
    day: 0,
    sdkAppId,
    drainKey: '',
    command: row.event,
    conversationId: row.conversation_id,
    seq: row.seq,
    originId: null,
    body: row.body,
    message:
      body === null || from === null || to === undefined
        ? undefined
        : {
            ...{ from, to, body },
            msgSeq: row.msg_seq,
            random: row.msg_random,
            time: row.msg_time,
            custom: row.custom_data,
          },
    createdMs: row.created_ms,
    nextAttemptMs: 0,
    attempts: 0,
    log: [],
  };
}
