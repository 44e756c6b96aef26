import type { AppLookup } from '../../auth/index.ts';
import type { Database } from '../../store/index.ts';
import type { Conversations } from '../messages/conversations.ts';
import type { Account, Clock, StoredMessage } from '../model.ts';
import { firstPage, pageBytes } from '../page.ts';
import type { Mailbox } from '../services.ts';
import { clearedThrough, isVisible, type MessageRow, messageColumns, sideSeq, toMessage } from './rows.ts';

export interface HistoryDeps {
  db: Database;
  apps: AppLookup;
  conversations: Pick<Conversations, 'find'>;
  clock: Clock;
}

const daySec = 86_400;
/** Days of a conversation that one query looks at: each is a partition to open. */
const daysAtOnce = 16;
const maxRecalls = 1_000;
const endOfSeqs = Number.MAX_SAFE_INTEGER;

/** The oldest time, Unix seconds, of a one-to-one message that the app's roaming still has (M8). */
export function roamingSince(apps: AppLookup, account: Account, nowMs: number): number {
  const days = apps.get(account.sdkAppId)?.im.roamingDays ?? 7;
  return Math.floor(nowMs / 1_000) - days * daySec;
}

/** The history with a peer, backwards by pages and forwards from a seq. What has expired or was cleared is not there. */
export function createHistory(deps: HistoryDeps): Pick<Mailbox, 'sync' | 'history'> {
  const { db, apps, conversations, clock } = deps;

  async function readPage(account: Account, values: unknown[]): Promise<MessageRow[]> {
    const { rows } = await db.pool.query<MessageRow>({
      name: 'im_history',
      text: `
        select ${messageColumns}
        from message x join account s on s.id = x.sender_id
        where x.conversation_id = $2 and x.day between $4 and $5
          and x.seq > ${clearedThrough} and x.seq < $3 and x.msg_time between $6 and $7 and ${isVisible}
        order by x.seq desc limit $8`,
      values: [account.no, ...values],
    });
    return rows;
  }

  /** The days of a conversation before a seq, newest first. */
  async function daysBefore(conversationId: number, before: number, sinceDay: number): Promise<number[]> {
    const { rows } = await db.pool.query<{ day: number }>({
      name: 'im_conversation_days',
      text: `
        select day from conversation_day where conversation_id = $1 and first_seq < $2 and day >= $3
        order by day desc limit $4`,
      values: [conversationId, before, sinceDay, daysAtOnce + 1],
    });
    return rows.map(({ day }) => day);
  }

  return {
    async history(
      account,
      peer,
      { before = endOfSeqs, limit, minTime = 0, maxTime = endOfSeqs, maxBytes = pageBytes },
    ) {
      const conversation = await conversations.find(account, peer);
      if (conversation === undefined) return { messages: [], complete: true };
      const since = Math.max(roamingSince(apps, account, clock()), minTime);
      const rows: MessageRow[] = [];
      let upTo = before;
      for (;;) {
        const days = await daysBefore(conversation.id, upTo, Math.floor(since / daySec));
        const [newest] = days;
        if (newest === undefined) return page(rows, true);
        const some = days.slice(0, daysAtOnce);
        const oldest = some.at(-1) ?? newest;
        rows.push(
          ...(await readPage(account, [
            conversation.id,
            upTo,
            oldest,
            newest,
            since,
            maxTime,
            limit + 1 - rows.length,
          ])),
        );
        if (rows.length > limit || days.length <= daysAtOnce) return page(rows, rows.length <= limit);
        // On to the days before: everything of them is below the first seq of the oldest day looked at.
        upTo = await firstSeqOf(conversation.id, oldest);
      }

      function page(found: MessageRow[], isAll: boolean): { messages: StoredMessage[]; complete: boolean } {
        const fitting = firstPage(found.slice(0, limit), maxBytes);
        const complete = isAll && fitting.length === found.length;
        return { messages: fitting.reverse().map((row) => toMessage(row, account)), complete };
      }
    },

    async sync(account, peer, { since, recallNo, limit }) {
      const conversation = await conversations.find(account, peer);
      if (conversation === undefined) {
        return { messages: [], throughSeq: 0, more: false, recalled: [], recallNo: 0 };
      }
      const cutoff = roamingSince(apps, account, clock());
      // First what is newest, then the page: a message that comes between the two is news after the page, never a hole in it.
      const { rows: heads } = await db.pool.query<{ seq: number; recall_no: number; last_day: number }>({
        name: 'im_sync_head',
        text: `select ${sideSeq} as seq, c.recall_no, c.last_day from conversation c where c.id = $2`,
        values: [account.no, conversation.id],
      });
      const [head] = heads;
      if (head === undefined) return { messages: [], throughSeq: 0, more: false, recalled: [], recallNo: 0 };
      const { rows } = await db.pool.query<MessageRow>({
        name: 'im_sync',
        text: `
          select ${messageColumns}
          from message x join account s on s.id = x.sender_id
          where x.conversation_id = $2 and x.day between $4 and $5
            and x.seq > $3 and x.seq > ${clearedThrough} and x.seq <= $6 and x.msg_time >= $7 and ${isVisible}
          order by x.seq limit $8`,
        values: [
          account.no,
          conversation.id,
          since,
          Math.floor(cutoff / daySec),
          head.last_day,
          head.seq,
          cutoff,
          limit + 1,
        ],
      });
      const { rows: recalls } =
        head.recall_no <= recallNo
          ? { rows: [] }
          : await db.pool.query<{ seq: number; recall_no: number }>({
              name: 'im_recalls',
              text: `
                select seq, recall_no from message x
                where x.conversation_id = $2 and x.recall_no > $3 and x.recall_no <= $4 and ${isVisible}
                order by x.recall_no limit ${maxRecalls}`,
              values: [account.no, conversation.id, recallNo, head.recall_no],
            });
      const fitting = firstPage(rows.slice(0, limit));
      const more = fitting.length < rows.length;
      return {
        messages: fitting.map((row) => toMessage(row, account)),
        throughSeq: more ? (fitting.at(-1)?.seq ?? since) : Math.max(since, head.seq),
        more,
        recalled: recalls.map(({ seq }) => seq),
        recallNo: recalls.length < maxRecalls ? head.recall_no : (recalls.at(-1)?.recall_no ?? head.recall_no),
      };
    },
  };

  async function firstSeqOf(conversationId: number, day: number): Promise<number> {
    const { rows } = await db.pool.query<{ first_seq: number }>({
      name: 'im_conversation_day',
      text: 'select first_seq from conversation_day where conversation_id = $1 and day = $2',
      values: [conversationId, day],
    });
    return rows[0]?.first_seq ?? 0;
  }
}
