import type { Database } from '../../store/index.ts';
import type { Inbox, Notice } from '../group-services.ts';
import type { Account, Clock } from '../model.ts';
import { firstPage } from '../page.ts';
import type { Bus } from '../services.ts';

/** What is kept of an account's notices (API reference §4.29). */
const maxNotices = 100;
const keptSec = 7 * 86_400;

/** Which notices are still there; needs the message as `x` and its conversation as `c`, `$2` being the oldest time, Unix seconds. */
const isKept = `x.conversation_id = c.id and x.seq > c.last_seq - ${maxNotices} and x.day >= $2 / 86400 and x.msg_time >= $2`;

/** The notices of accounts: conversations of kind 3, which `im_notices` writes. */
export function createInbox({ db, bus, clock }: { db: Database; bus: Bus; clock: Clock }): Inbox {
  const since = () => Math.floor(clock() / 1_000) - keptSec;

  const state: Inbox['state'] = async (account) => {
    const { rows } = await db.pool.query<{ seq: number; read_seq: number; unread: number }>({
      name: 'im_inbox',
      text: `
        select c.last_seq as seq, m.read_seq,
          (select count(*) from message x where ${isKept} and x.seq > m.read_seq) as unread
        from conversation c join member m on m.conversation_id = c.id and m.account_id = $1
        where c.kind = 3 and c.account_a = $1`,
      values: [account.no, since()],
    });
    const { seq = 0, read_seq: readSeq = 0, unread = 0 } = rows[0] ?? {};
    return { seq, readSeq, unread };
  };

  async function lastSeqOf(account: Account): Promise<number> {
    const { rows } = await db.pool.query<{ seq: number }>({
      name: 'im_inbox_head',
      text: 'select last_seq as seq from conversation where kind = 3 and account_a = $1',
      values: [account.no],
    });
    return rows[0]?.seq ?? 0;
  }

  return {
    state,

    async sync(account, { since: after, limit }) {
      // First what is newest, then the page: a notice that comes between the two is news after the page, never a hole in it.
      const head = await lastSeqOf(account);
      if (head <= after) return { notices: [], throughSeq: after, more: false };
      const { rows } = await db.pool.query<{ seq: number; msg_time: number; body: string }>({
        name: 'im_inbox_page',
        text: `
          select x.seq, x.msg_time, x.body from conversation c join message x on ${isKept}
          where c.kind = 3 and c.account_a = $1 and x.seq > $3 and x.seq <= $4
          order by x.seq limit $5`,
        values: [account.no, since(), after, head, limit + 1],
      });
      const page = firstPage(rows.slice(0, limit));
      const notices = page.map(({ seq, msg_time: time, body }): Notice => ({ seq, time, content: body }));
      const more = notices.length < rows.length;
      return { notices, throughSeq: more ? (notices.at(-1)?.seq ?? after) : head, more };
    },

    async read(account, seq, linkId) {
      const { rows } = await db.pool.query({
        name: 'im_inbox_read',
        text: `
          update member m set read_seq = least($2, c.last_seq) from conversation c
          where c.kind = 3 and c.account_a = $1 and m.conversation_id = c.id and m.account_id = $1
            and least($2, c.last_seq) > m.read_seq
          returning 1`,
        values: [account.no, seq ?? Number.MAX_SAFE_INTEGER],
      });
      const { readSeq, unread } = await state(account);
      if (rows.length > 0) bus.publish(account.no, { kind: 'notices-read', readSeq, unread }, linkId);
      return { readSeq, unread };
    },
  };
}
