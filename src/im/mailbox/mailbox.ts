import type { AppLookup } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { Database } from '../../store/index.ts';
import type { AccountId } from '../../wire/index.ts';
import type { Conversations } from '../messages/conversations.ts';
import type { Account, AccountNo, Clock, ConversationId } from '../model.ts';
import type { Bus, ConversationView, Mailbox } from '../services.ts';
import { createAcknowledgements } from './acknowledgements.ts';
import { createHistory, roamingSince } from './history.ts';
import { createOffline } from './offline.ts';
import { type MessageRow, messageColumns, otherSide, sideSeq, sideTime, toMessage, unreadCount } from './rows.ts';

export interface MailboxDeps {
  db: Database;
  apps: AppLookup;
  conversations: Conversations;
  bus: Bus;
  clock: Clock;
  logger: Logger;
  metrics: Metrics;
}

type ViewRow = {
  id: ConversationId;
  peer: AccountId;
  side_seq: number;
  side_time: number;
  read_seq: number;
  unread: number;
  last_recall: number;
  delivered_seq: number;
  peer_read_seq: number;
} & { [K in keyof MessageRow]: MessageRow[K] | null };

/** Recent contacts of an account (M9). */
const maxRecents = 100;

export function createMailbox(deps: MailboxDeps): Mailbox & { close(): Promise<void> } {
  const { db, apps, conversations, bus, clock } = deps;
  const acknowledgements = createAcknowledgements(deps);
  const history = createHistory(deps);
  const since = (account: Account) => roamingSince(apps, account, clock());

  async function unreadOf(account: Account, peers: readonly Account[]): Promise<number[]> {
    const { rows } = await db.pool.query<{ peer: AccountNo; unread: number }>({
      name: 'im_unread',
      text: `
        select ${otherSide} as peer, ${unreadCount} as unread
        from conversation c join member m on m.conversation_id = c.id and m.account_id = $1 and m.to_seq is null
        where c.kind = 1 and (
          (c.account_a = $1 and c.account_b = any ($3)) or (c.account_b = $1 and c.account_a = any ($3))
        )`,
      values: [account.no, since(account), peers.map(({ no }) => no)],
    });
    const counts = new Map(rows.map(({ peer, unread }) => [peer, unread]));
    return peers.map(({ no }) => counts.get(no) ?? 0);
  }

  /** The last seq up to a time. */
  async function seqAt(conversationId: ConversationId, timeSec: number): Promise<number> {
    const { rows } = await db.pool.query<{ seq: number }>({
      name: 'im_seq_at',
      text: 'select seq from message where conversation_id = $1 and msg_time <= $2 order by seq desc limit 1',
      values: [conversationId, timeSec],
    });
    return rows[0]?.seq ?? 0;
  }

  const read: Mailbox['read'] = async (account, peer, upTo, linkId) => {
    const conversation = await conversations.find(account, peer);
    if (conversation === undefined) return { readSeq: 0, unread: 0 };
    const seq = upTo.time === undefined ? upTo.seq : await seqAt(conversation.id, upTo.time);
    const { rows } = await db.pool.query<{ moved: boolean; read_seq: number; read_time: number; unread: number }>({
      name: 'im_read',
      text: 'select * from im_read($1, $2, $3)',
      values: [conversation.id, account.no, seq ?? null],
    });
    const [row] = rows;
    if (row === undefined) return { readSeq: 0, unread: 0 };
    // Where messages may have expired unread, the counters alone do not say it.
    const mayHaveExpired = row.unread > 0 && row.read_time < since(account);
    const unread = mayHaveExpired ? ((await unreadOf(account, [peer]))[0] ?? 0) : row.unread;
    if (row.moved) {
      bus.publish(account.no, { kind: 'read', peer: peer.identifier, readSeq: row.read_seq, unread }, linkId);
      if (peer.no !== account.no) {
        bus.publish(peer.no, { kind: 'read', peer: account.identifier, readSeq: row.read_seq });
      }
    }
    return { readSeq: row.read_seq, unread };
  };

  return {
    ...history,
    offline: createOffline({ ...deps, acknowledgements }),
    read,

    async recents(account) {
      const cutoff = since(account);
      const { rows } = await db.pool.query<ViewRow>({
        name: 'im_recents',
        text: `
          select v.*, ${messageColumns} from (
            select c.id, c.last_day, ${sideSeq} as side_seq, ${sideTime} as side_time, p.identifier as peer, m.read_seq,
              ${unreadCount} as unread, c.recall_no as last_recall, c.last_stored_ms,
              greatest(m.read_seq, coalesce(d.seq, 0)) as delivered_seq, coalesce(pm.read_seq, 0) as peer_read_seq
            from member m
            join conversation c on c.id = m.conversation_id and c.kind = 1
            join account p on p.id = ${otherSide} and p.deleted_ms is null
            left join delivered d on d.account_id = m.account_id and d.conversation_id = c.id
            left join member pm on pm.account_id = p.id and pm.conversation_id = c.id and pm.to_seq is null
            where m.account_id = $1 and m.to_seq is null and ${sideTime} >= $2
              and ${sideSeq} > greatest(m.hidden_through, m.cleared_through)
            order by ${sideTime} desc, c.last_stored_ms desc, c.id desc limit ${maxRecents}
          ) v
          left join message x on x.conversation_id = v.id and x.seq = v.side_seq and x.day between $2 / 86400 and v.last_day
          left join account s on s.id = x.sender_id
          order by v.side_time desc, v.last_stored_ms desc, v.id desc`,
        values: [account.no, cutoff],
      });
      return rows.map((row): ConversationView => {
        const last = isMessage(row) ? toMessage(row, account) : undefined;
        return {
          conversationId: row.id,
          peer: row.peer,
          seq: row.side_seq,
          time: row.side_time,
          ...(last === undefined ? {} : { last }),
          readSeq: row.read_seq,
          unread: row.unread,
          recallNo: row.last_recall,
          deliveredSeq: row.delivered_seq,
          peerReadSeq: row.peer_read_seq,
        };
      });
    },

    acknowledge(account, items) {
      for (const [peer, seq] of items) {
        // Of a message that was just delivered the conversation is in memory; the promise is no detour.
        void conversations.find(account, peer).then(
          (conversation) => conversation && acknowledgements.add(account.no, conversation.id, seq),
          () => {},
        );
      }
    },

    async unreadTotal(account) {
      const { rows } = await db.pool.query<{ total: number }>({
        name: 'im_unread_total',
        text: `
          select coalesce(sum(${unreadCount}), 0)::bigint as total
          from member m join conversation c on c.id = m.conversation_id and c.kind = 1
          join account p on p.id = ${otherSide} and p.deleted_ms is null
          where m.account_id = $1 and m.to_seq is null`,
        values: [account.no, since(account)],
      });
      return rows[0]?.total ?? 0;
    },

    unread: unreadOf,

    async hide(account, peer, { clear }) {
      const conversation = await conversations.find(account, peer);
      if (conversation === undefined) return;
      // What comes between the two statements is neither read nor cleared nor hidden: nobody has seen it.
      const through = clear ? (await read(account, peer, {})).readSeq : null;
      await db.pool.query({
        name: 'im_hide',
        text: `
          update member m set hidden_through = greatest(m.hidden_through, coalesce($3, c.last_seq)),
            cleared_through = greatest(m.cleared_through, coalesce($3, 0))
          from conversation c
          where c.id = m.conversation_id and m.account_id = $1 and m.conversation_id = $2 and m.to_seq is null`,
        values: [account.no, conversation.id, through],
      });
    },

    close: () => acknowledgements.close(),
  };
}

function isMessage(row: ViewRow): row is ViewRow & MessageRow {
  return row.seq !== null;
}
