import { sql } from 'kysely';
import type { Database } from '../../../store/index.ts';
import type { GroupMessages } from '../../group-services.ts';
import type { Clock } from '../../model.ts';
import type { Accounts } from '../../services.ts';
import { administratorOnly, type createPlaces } from './place.ts';

/** How far back it reaches. */
const newest = 1_000;

/**
 * Blanks what an account has said among a group's newest 1,000 messages (G36): seqs stay, as holes, and recents show the newest that is left.
 * Nobody is told, and nothing is numbered as a recall: what terminals have stored stays there. What is blanked is no longer unread, and
 * pushes of it that wait are dropped. Tips are the group's, whoever caused them.
 *
 * `recall_no` -1: blanked so.
 */
export function createDeleteBySender(deps: {
  db: Database;
  accounts: Pick<Accounts, 'find'>;
  placeOf: ReturnType<typeof createPlaces>;
  clock: Clock;
}): GroupMessages['deleteBySender'] {
  const { db, accounts, placeOf, clock } = deps;
  return async (actor, groupId, sender) => {
    const refusal = administratorOnly(actor);
    if (refusal !== undefined) return refusal;
    const found = await placeOf(actor, groupId);
    if (!found.ok) return found;
    const account = await accounts.find(actor.account.sdkAppId, sender);
    if (account === undefined) return { ok: false, error: 'GROUP_ACCOUNT_UNKNOWN', field: 'Sender_Account' };
    const { conversationId: id, row } = found.value;
    if (!row.isStored) return { ok: true, value: undefined };
    await db.kysely.transaction().execute(async (tx) => {
      const { rows: heads } = await sql<{ last_seq: number }>`
        select last_seq from conversation where id = ${id} for update`.execute(tx);
      const after = (heads[0]?.last_seq ?? 0) - newest;
      const { rows } = await sql<{ seq: number; counts: boolean }>`
        update message set body = '[]', push = null, custom_data = null, recall_no = -1
        where conversation_id = ${id} and seq > ${after} and sender_id = ${account.no} and recall_no = 0
          and day >= coalesce((select max(day) - 1 from conversation_day where conversation_id = ${id} and first_seq <= ${after + 1}), 0)
          and extra is distinct from '{"tip":true}'
        returning seq, counts`.execute(tx);
      if (rows.length === 0) return;
      const counted = rows.filter(({ counts }) => counts).map(({ seq }) => seq);
      await sql`
        update member m set uncounted_after_read = m.uncounted_after_read + t.count
        from (
          select m.account_id, m.from_seq, count(*) as count
          from member m join unnest(${counted}::bigint[]) as s(seq) on s.seq > m.read_seq
          where m.conversation_id = ${id} and m.to_seq is null and m.account_id <> ${account.no}
          group by m.account_id, m.from_seq
        ) t
        where m.conversation_id = ${id} and m.account_id = t.account_id and m.from_seq = t.from_seq`.execute(tx);
      await sql`
        update outbox set done_ms = ${clock()}, outcome = 'dropped'
        where consumer = 2 and drain_key = ${String(id)} and done_ms is null
          and seq = any (${rows.map(({ seq }) => seq)}::bigint[])`.execute(tx);
    });
    return { ok: true, value: undefined };
  };
}
