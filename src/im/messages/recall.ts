import type { AppLookup } from '../../auth/index.ts';
import type { Database } from '../../store/index.ts';
import type { ImResult } from '../../wire/index.ts';
import type { Clock, ConversationId } from '../model.ts';
import type { Bus, Messages } from '../services.ts';
import type { Conversations } from './conversations.ts';

export interface RecallDeps {
  db: Database;
  apps: AppLookup;
  conversations: Pick<Conversations, 'find'>;
  bus: Bus;
  clock: Clock;
}

type RecallInput = Parameters<Messages['recall']>[0];
interface Found {
  seq: number;
  sender_id: number;
  msg_time: number;
  recall_no: number;
  /** 0 both, 1 the sender alone, 2 everybody but the sender. */
  visible_to: number;
}

const daySec = 86_400;

/** Takes a message back from everybody: from history, offline messages and, when they hear of it, terminals. */
export function createRecall({ db, apps, conversations, bus, clock }: RecallDeps): Messages['recall'] {
  async function find(conversationId: ConversationId, message: RecallInput['message']): Promise<Found | undefined> {
    const columns = 'seq, sender_id, msg_time, recall_no, visible_to';
    const { rows } = await ('seq' in message
      ? db.pool.query<Found>({
          name: 'im_message_by_seq',
          text: `select ${columns} from message where conversation_id = $1 and seq = $2`,
          values: [conversationId, message.seq],
        })
      : db.pool.query<Found>({
          name: 'im_message_by_key',
          // Nothing is stored before the day of its time, but for a time a little ahead of the clock that stored it.
          text: `
            select ${columns} from message
            where conversation_id = $1 and day >= $2 and msg_time = $3 and msg_seq = $4 and msg_random = $5
            order by seq desc limit 1`,
          values: [conversationId, Math.floor(message.time / daySec) - 1, message.time, message.msgSeq, message.random],
        }));
    return rows[0];
  }

  return async ({ account, peer, message, by }): Promise<ImResult<{ seq: number; recallNo: number }>> => {
    const conversation = await conversations.find(account, peer);
    const found = conversation === undefined ? undefined : await find(conversation.id, message);
    if (conversation === undefined || found === undefined) return { ok: false, error: 'MESSAGE_NOT_FOUND' };
    // Who recalls is who sent it: the administrator names the sender.
    if (found.sender_id !== account.no) return { ok: false, error: by === 'self' ? 'FORBIDDEN' : 'MESSAGE_NOT_FOUND' };
    const recallSec = apps.get(account.sdkAppId)?.im.recallSec ?? 0;
    if (by === 'self' && clock() / 1_000 - found.msg_time > recallSec) {
      return { ok: false, error: 'RECALL_TOO_LATE', allowed: `within ${recallSec} seconds` };
    }
    const { rows } = await db.pool.query<{ status: number; recall_no: number }>({
      name: 'im_recall',
      text: 'select * from im_recall($1, $2)',
      values: [conversation.id, found.seq],
    });
    const [row] = rows;
    if (row === undefined || row.status === 2) return { ok: false, error: 'MESSAGE_NOT_FOUND' };
    if (row.status === 1) return { ok: false, error: 'ALREADY_RECALLED' };
    const recalled = { kind: 'recalled', seqs: [found.seq], recallNo: row.recall_no } as const;
    // Whoever never saw it is not told that it is gone (M10, M17).
    if (found.visible_to !== 2) bus.publish(account.no, { ...recalled, peer: peer.identifier });
    if (peer.no !== account.no && found.visible_to !== 1)
      bus.publish(peer.no, { ...recalled, peer: account.identifier });
    return { ok: true, value: { seq: found.seq, recallNo: row.recall_no } };
  };
}
