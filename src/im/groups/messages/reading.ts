import { sql } from 'kysely';
import type { AppLookup } from '../../../auth/index.ts';
import type { Database } from '../../../store/index.ts';
import type { Actor, GroupMessages } from '../../group-services.ts';
import type { AccountNo, Clock, ConversationId } from '../../model.ts';
import type { Accounts, Bus } from '../../services.ts';
import { groupRoamingSince } from './history.ts';
import { administratorOnly, type createPlaces } from './place.ts';

export interface ReadingDeps {
  db: Database;
  apps: AppLookup;
  accounts: Pick<Accounts, 'find'>;
  bus: Bus;
  placeOf: ReturnType<typeof createPlaces>;
  clock: Clock;
}

interface ReadState {
  readonly readSeq: number;
  readonly unread: number;
}

/** How far members have read, and what is unread (M14). Of types that count nothing it is always 0. */
export function createReading(deps: ReadingDeps): Pick<GroupMessages, 'read' | 'setUnread'> {
  const { db, apps, accounts, bus, placeOf, clock } = deps;

  const sinceOf = ({ account }: Actor, type: string) => groupRoamingSince(apps, account.sdkAppId, type, clock());

  return {
    async read(actor, groupId, seq) {
      const found = await placeOf({ ...actor, authority: 'self' }, groupId);
      if (!found.ok) return found;
      const { conversationId, type, isDiscarding } = found.value;
      const { account, linkId } = actor;
      const { rows } = await db.pool.query<{ moved: boolean; read_seq: number; read_time: number; unread: number }>({
        name: 'im_read',
        text: 'select * from im_read($1, $2, $3)',
        values: [conversationId, account.no, seq],
      });
      const [row] = rows;
      // It has left since it was looked for, or the group is no more.
      if (row === undefined) {
        const now = await placeOf({ ...actor, authority: 'self' }, groupId);
        return now.ok ? { ok: false, error: 'GROUP_FORBIDDEN', reason: 'the caller is no member of the group' } : now;
      }
      const since = sinceOf(actor, type);
      // Where messages may have expired unread, the counters alone do not say it.
      const isCounted = !isDiscarding && row.unread > 0;
      const unread =
        isCounted && row.read_time < since
          ? await countUnread(db, { conversationId, no: account.no, after: row.read_seq, since })
          : isCounted
            ? row.unread
            : 0;
      const state: ReadState = { readSeq: row.read_seq, unread };
      if (row.moved) bus.publish(account.no, { kind: 'group-read', groupId, ...state }, linkId);
      return { ok: true, value: state };
    },

    async setUnread(actor, groupId, name, unread) {
      const refusal = administratorOnly(actor);
      if (refusal !== undefined) return refusal;
      const { sdkAppId } = actor.account;
      const account = await accounts.find(sdkAppId, name);
      if (account === undefined) return { ok: false, error: 'GROUP_ACCOUNT_UNKNOWN', field: 'Member_Account' };
      const found = await placeOf({ ...actor, account, authority: 'self' }, groupId);
      if (!found.ok) {
        // A group that is hidden from others than its owner is not from the administrator.
        const whole = await placeOf(actor, groupId);
        if (!whole.ok) return whole;
        const reason = `${JSON.stringify(name)} is no member of the group`;
        return { ok: false, error: 'GROUP_FORBIDDEN', field: 'Member_Account', reason };
      }
      const { conversationId, type, row, isDiscarding } = found.value;
      if (!row.countsUnread) return { ok: true, value: undefined };
      const state = await setUnreadOf(conversationId, account.no, unread, {
        since: sinceOf(actor, type),
        showsEarlier: row.showsEarlier,
      });
      if (state !== undefined) {
        const { readSeq } = state;
        bus.publish(account.no, { kind: 'group-read', groupId, readSeq, unread: isDiscarding ? 0 : state.unread });
      }
      return { ok: true, value: undefined };
    },
  };

  /** Has the account have read all up to before the newest so many that count in its stay (G39), or as many as there are. */
  async function setUnreadOf(
    id: ConversationId,
    no: AccountNo,
    unread: number,
    { since, showsEarlier }: { since: number; showsEarlier: boolean },
  ): Promise<ReadState | undefined> {
    return db.kysely.transaction().execute(async (tx) => {
      const { rows: heads } = await sql<{ last_seq: number; last_time: number; counted: number }>`
        select last_seq, last_time, counted from conversation where id = ${id} for update`.execute(tx);
      const [head] = heads;
      if (head === undefined) return undefined;
      const { rows: newest } = await sql<{ seq: number; msg_time: number; counted_no: number }>`
        select seq, msg_time, counted_no from message
        where conversation_id = ${id} and day >= ${since} / 86400 and counts and sender_id <> ${no} and recall_no = 0
          and msg_time >= ${since} and (${showsEarlier} or seq >= (
            select max(from_seq) from member where account_id = ${no} and conversation_id = ${id} and to_seq is null
          ))
        order by seq desc limit ${unread}`.execute(tx);
      const first = newest.at(-1);
      const set =
        first === undefined
          ? { readSeq: head.last_seq, time: head.last_time, counted: head.counted, uncounted: 0 }
          : {
              readSeq: first.seq - 1,
              time: first.msg_time,
              counted: first.counted_no - 1,
              // Those behind that count, but not for this account.
              uncounted: head.counted - (first.counted_no - 1) - newest.length,
            };
      await sql`
        update member set read_seq = ${set.readSeq}, read_time = ${set.time}, read_counted = ${set.counted},
          uncounted_after_read = ${set.uncounted}
        where account_id = ${no} and conversation_id = ${id} and to_seq is null and role is not null`.execute(tx);
      return { readSeq: set.readSeq, unread: newest.length };
    });
  }
}

async function countUnread(
  db: Database,
  { conversationId, no, after, since }: { conversationId: ConversationId; no: AccountNo; after: number; since: number },
): Promise<number> {
  const { rows } = await db.pool.query<{ count: number }>({
    name: 'im_group_unread_count',
    text: `
      select count(*) as count from message
      where conversation_id = $1 and seq > $2 and day >= $3 / 86400 and counts and sender_id <> $4 and recall_no = 0
        and msg_time >= $3`,
    values: [conversationId, after, since, no],
  });
  return rows[0]?.count ?? 0;
}

/** After an import: everybody has read everything. */
export async function readAll(db: Database, id: ConversationId): Promise<void> {
  await db.kysely.transaction().execute(async (tx) => {
    await sql`select from conversation where id = ${id} for update`.execute(tx);
    await sql`
      update member m set read_seq = c.last_seq, read_time = c.last_time, read_counted = c.counted, uncounted_after_read = 0
      from conversation c where c.id = ${id} and m.conversation_id = ${id} and m.to_seq is null`.execute(tx);
  });
}
