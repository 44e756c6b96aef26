import type { AccountId } from '../../wire/index.ts';
import type { Account, ConversationId, StoredMessage } from '../model.ts';

/** A message as the queries of the mailbox select it, alias `x` for the message and `s` for its sender's account. */
export interface MessageRow {
  conversation_id: ConversationId;
  seq: number;
  sender: AccountId;
  msg_time: number;
  msg_seq: number;
  msg_random: number;
  dedup_key: string | null;
  body: string;
  push: string | null;
  custom_data: string | null;
  extra: string | null;
  recall_no: number;
}

export const messageColumns = `x.conversation_id, x.seq, s.identifier as sender, x.msg_time, x.msg_seq, x.msg_random, x.dedup_key,
  x.body, x.push, x.custom_data, x.extra, x.recall_no`;

/** Which messages the account `$1` sees; needs the message as `x`. */
export const isVisible = '(x.visible_to = 0 or (x.visible_to = 1) = (x.sender_id = $1))';

/**
 * Up to where the account `$1` cleared conversation `$2`. A query of its own and no join, so that it is known before messages are
 * looked for: as a bound of their index, not a filter on all of a long conversation.
 */
export const clearedThrough =
  '(select m.cleared_through from member m where m.account_id = $1 and m.conversation_id = $2 and m.to_seq is null)';

/** The side's newest seq and its time; needs the conversation as `c` and the account as `$1`. */
export const sideSeq = 'case when c.account_a = $1 then c.a_last_seq else c.b_last_seq end';
export const sideTime = 'case when c.account_a = $1 then c.a_last_time else c.b_last_time end';
/** The other account of the conversation. */
export const otherSide = 'case when c.account_a = $1 then c.account_b else c.account_a end';

/**
 * Unread of the account `$1` in conversation `c` by its member row `m`, `$2` being the time of the oldest message that is
 * still there. The counters say it, unless unread messages may have expired: then, rarely, rows are counted (M14).
 */
export const unreadCount = `
  case
    when c.counted - m.read_counted - m.uncounted_after_read <= 0 then 0
    when m.read_time >= $2 then c.counted - m.read_counted - m.uncounted_after_read
    when ${sideTime} < $2 then 0
    else (
      select count(*) from message x
      where x.conversation_id = c.id and x.seq > m.read_seq and x.day between $2 / 86400 and c.last_day
        and x.counts and x.sender_id <> $1 and x.recall_no = 0 and x.msg_time >= $2
    )
  end`;

/** The message as the account sees it: the terminal's own name for it is the sender's business. */
export function toMessage(row: MessageRow, viewer: Account): StoredMessage {
  const isOwn = row.sender === viewer.identifier;
  return {
    conversationId: row.conversation_id,
    seq: row.seq,
    from: row.sender,
    time: row.msg_time,
    msgSeq: row.msg_seq,
    random: row.msg_random,
    body: row.body,
    ...(row.push === null ? {} : { push: row.push }),
    ...(row.custom_data === null ? {} : { custom: row.custom_data }),
    ...(row.extra === null ? {} : { extra: row.extra }),
    ...(isOwn && row.dedup_key?.startsWith('c') === true ? { clientId: row.dedup_key.slice(1) } : {}),
    recalled: row.recall_no > 0,
  };
}
