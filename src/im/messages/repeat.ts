import type { Database } from '../../store/index.ts';
import type { Account, ConversationId } from '../model.ts';
import type { SendInput, Sent } from '../services.ts';

/** How long a repeat is the same message: by MsgRandom, and by our SDK's own client id (M13). */
const randomWindowMs = 120_000;
export const clientIdWindowMs = 86_400_000;

/** What makes a repeat one, and for how long. Never the content. */
export interface Dedup {
  readonly dedupKey: string;
  readonly dedupWindowMs: number;
}

export function dedupOf({ draft }: SendInput): Dedup {
  if (draft.clientId !== undefined) return { dedupKey: `c${draft.clientId}`, dedupWindowMs: clientIdWindowMs };
  // An import is repeated by its time, too, whenever it was done before (API §3.3).
  if (draft.importedTime !== undefined) {
    return {
      dedupKey: `i${draft.random}/${draft.msgSeq ?? ''}/${draft.importedTime}`,
      dedupWindowMs: clientIdWindowMs,
    };
  }
  const key = draft.msgSeq === undefined ? `r${draft.random}` : `r${draft.random}/${draft.msgSeq}`;
  return { dedupKey: key, dedupWindowMs: randomWindowMs };
}

/** The first of a message that is sent again (M13), without the conversation's lock; the commit looks again under it. */
export async function findRepeat(
  db: Database,
  conversationId: ConversationId | undefined,
  from: Account,
  { dedupKey, dedupWindowMs }: Dedup,
  nowMs: number,
): Promise<Sent | undefined> {
  if (conversationId === undefined) return undefined;
  const sinceMs = nowMs - dedupWindowMs;
  const { rows } = await db.pool.query<{ seq: number; msg_time: number; msg_seq: number; msg_random: number }>({
    name: 'im_repeat',
    text: `
      select seq, msg_time, msg_seq, msg_random from message
      where conversation_id = $1 and sender_id = $2 and dedup_key = $3 and day >= $4 and stored_ms > $5`,
    values: [conversationId, from.no, dedupKey, Math.floor(sinceMs / 86_400_000), sinceMs],
  });
  const [row] = rows;
  if (row === undefined) return undefined;
  return { seq: row.seq, time: row.msg_time, msgSeq: row.msg_seq, random: row.msg_random, isRepeat: true };
}
