import { sql, type Transaction } from 'kysely';
import type { Database, Schema } from '../../../store/index.ts';
import type { AccountId } from '../../../wire/index.ts';
import type { GroupMessages } from '../../group-services.ts';
import type { AccountNo, Clock, ConversationId } from '../../model.ts';
import type { Accounts } from '../../services.ts';
import { administratorOnly, type createPlaces } from './place.ts';

/** How far back it reaches. */
const newest = 1_000;

/**
 * Blanks what an account has said among a group's newest 1,000 messages (G36): seqs stay, as holes, and recents show the newest that is left.
 * Nobody is told, and nothing is numbered as a recall: what terminals have stored stays there. What is blanked is no longer unread, and
 * pushes of it that wait are dropped. Tips are the group's, whoever caused them. What was said under that name goes, also by accounts that
 * had it and were deleted.
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
    const { sdkAppId } = actor.account;
    const isAccount = (await accounts.find(sdkAppId, sender)) !== undefined;
    const { conversationId: id, row } = found.value;
    const blanked = row.isStored
      ? await db.kysely.transaction().execute((tx) => blank(tx, id, sender))
      : { isSender: false };
    if (isAccount || blanked.isSender) return { ok: true, value: undefined };
    const reason = `${JSON.stringify(sender)} is no account of the app, and nothing of it is there`;
    return { ok: false, error: 'GROUP_ACCOUNT_UNKNOWN', field: 'Sender_Account', reason };
  };

  /** Whether anything is of an account of that name, blanked before or now. */
  async function blank(tx: Transaction<Schema>, id: ConversationId, name: AccountId): Promise<{ isSender: boolean }> {
    const { rows: heads } = await sql<{ last_seq: number }>`
      select last_seq from conversation where id = ${id} for update`.execute(tx);
    const after = (heads[0]?.last_seq ?? 0) - newest;
    const among = sql`
      x.conversation_id = ${id} and x.seq > ${after}
      and x.day >= coalesce((select max(day) - 1 from conversation_day where conversation_id = ${id} and first_seq <= ${after + 1}), 0)`;
    const { rows: senders } = await sql<{ id: AccountNo }>`
      select a.id from account a
      where a.identifier = ${name} and a.id in (select x.sender_id from message x where ${among})`.execute(tx);
    if (senders.length === 0) return { isSender: false };
    const { rows } = await sql<{ seq: number; sender_id: AccountNo; counts: boolean }>`
      update message x set body = '[]', push = null, custom_data = null, recall_no = -1
      where ${among} and x.sender_id = any (${senders.map((one) => one.id)}::bigint[]) and x.recall_no = 0
        and x.extra is distinct from '{"tip":true}'
      returning x.seq, x.sender_id, x.counts`.execute(tx);
    for (const { id: no } of senders) {
      const counted = rows.filter(({ counts, sender_id }) => counts && sender_id === no).map(({ seq }) => seq);
      if (counted.length > 0) await uncount(tx, id, { sender: no, seqs: counted.sort((one, two) => one - two) });
    }
    await sql`
      update outbox set done_ms = ${clock()}, outcome = 'dropped'
      where consumer = 2 and drain_key = ${String(id)} and done_ms is null
        and seq = any (${rows.map(({ seq }) => seq)}::bigint[])`.execute(tx);
    return { isSender: true };
  }
}

/** Those of the ascending `seqs` that members have not read count as unread no more. */
async function uncount(
  tx: Transaction<Schema>,
  id: ConversationId,
  { sender, seqs }: { sender: AccountNo; seqs: readonly number[] },
): Promise<void> {
  await sql`
    update member m set uncounted_after_read = m.uncounted_after_read + ${seqs.length} - width_bucket(m.read_seq, ${seqs}::bigint[])
    where m.conversation_id = ${id} and m.to_seq is null and m.account_id <> ${sender}
      and m.read_seq < ${seqs.at(-1)}`.execute(tx);
}
