import type { Database } from '../../store/index.ts';
import type { Account } from '../model.ts';
import type { Sent } from '../services.ts';
import type { Conversation } from './conversations.ts';

/** The first of a message that is sent again (M13), without the conversation's lock; the commit looks again under it. */
export async function findRepeat(
  db: Database,
  conversation: Conversation | undefined,
  from: Account,
  { dedupKey, dedupWindowMs }: { dedupKey: string; dedupWindowMs: number },
  nowMs: number,
): Promise<Sent | undefined> {
  if (conversation === undefined) return undefined;
  const sinceMs = nowMs - dedupWindowMs;
  const { rows } = await db.pool.query<{ seq: number; msg_time: number; msg_seq: number; msg_random: number }>({
    name: 'im_repeat',
    text: `
      select seq, msg_time, msg_seq, msg_random from message
      where conversation_id = $1 and sender_id = $2 and dedup_key = $3 and day >= $4 and stored_ms > $5`,
    values: [conversation.id, from.no, dedupKey, Math.floor(sinceMs / 86_400_000), sinceMs],
  });
  const [row] = rows;
  if (row === undefined) return undefined;
  return { seq: row.seq, time: row.msg_time, msgSeq: row.msg_seq, random: row.msg_random, isRepeat: true };
}
