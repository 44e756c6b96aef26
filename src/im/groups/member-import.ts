import { sql } from 'kysely';
import type { AccountId } from '../../wire/index.ts';
import type { AddOutcome, Groups } from '../group-services.ts';
import type { Account, AccountNo } from '../model.ts';
import { findAccounts, findGroup, type GroupContext } from './context.ts';
import type { OpenChange } from './group-change.ts';
import { groupRoamingSince } from './messages/history.ts';
import { closeRequests } from './open-request.ts';
import { mayImport } from './rights.ts';

/** Members that a group had elsewhere (I3): nobody is asked or told. */
export function createMemberImport(context: GroupContext): Pick<Groups, 'importMembers'> {
  return {
    async importMembers(actor, groupId, entries) {
      const found = await findGroup(context, actor, groupId);
      if (!found.ok) return found;
      const { roster, type } = found.value;
      const refusal = mayImport(type);
      if (refusal !== undefined) return refusal;
      const admin = type.hasAdmins ? -1 : entries.findIndex(({ isAdmin }) => isAdmin === true);
      if (admin !== -1) {
        const reason = 'groups of this type have no admins';
        return { ok: false, error: 'GROUP_PARAMETER', field: `MemberList[${admin}].Role`, reason };
      }
      const names = entries.map(({ account }) => account);
      const accounts = await findAccounts(context, actor.account.sdkAppId, names, 'MemberList');
      if (!accounts.ok) return accounts;
      return await context.changes.run(roster.group.conversationId, async (change) => {
        const members = await change.members([...accounts.value.values()].map(({ no }) => no));
        const { group, nowSec } = change;
        let room = group.maxMembers - group.memberCount;
        const taken = new Map<AccountNo, { account: Account; isAdmin: boolean; joinedSec: number; unread: number }>();
        let isFull = false;
        const outcomeOf = ({
          account: name,
          isAdmin = false,
          joinedSec = nowSec,
          unread = 0,
        }: (typeof entries)[number]): AddOutcome => {
          const account = accounts.value.get(name);
          if (account === undefined || joinedSec < group.createdSec || joinedSec > nowSec) return 'failed';
          if (members.has(account.no) || taken.has(account.no)) return 'was-member';
          if (room <= 0) {
            isFull = true;
            return 'failed';
          }
          room -= 1;
          taken.set(account.no, { account, isAdmin, joinedSec, unread });
          return 'added';
        };
        const outcomes: { account: AccountId; outcome: AddOutcome }[] = entries.map((entry) => ({
          account: entry.account,
          outcome: outcomeOf(entry),
        }));
        if (taken.size === 0) return isFull ? { ok: false, error: 'GROUP_FULL' } : { ok: true, value: outcomes };
        await change.join(
          [...taken.values()].map(({ account, isAdmin, joinedSec }) => ({
            account,
            joinedSec,
            ...(isAdmin ? { role: 'Admin' as const } : {}),
          })),
        );
        const stays = [...taken.values()];
        await closeRequests(
          change,
          stays.map(({ account }) => account),
        );
        await beginEarlier(
          change,
          stays.filter(({ joinedSec }) => joinedSec < nowSec),
        );
        if (type.countsUnread) {
          const since = groupRoamingSince(context.apps, group.sdkAppId, group.type, nowSec * 1_000);
          await leaveUnread(
            change,
            stays.filter(({ unread }) => unread > 0),
            since,
          );
        }
        return { ok: true, value: outcomes };
      });
    },
  };
}

/** Their stays begin with what was said from their time of joining on, behind earlier stays. */
async function beginEarlier(
  { tx, group }: OpenChange,
  stays: readonly { account: Account; joinedSec: number }[],
): Promise<void> {
  if (stays.length === 0) return;
  const nos = stays.map(({ account }) => account.no);
  const id = group.conversationId;
  // One that ended before anything was said in it has nothing to read, and might have the seq with which the new one begins.
  await sql`
    delete from member where conversation_id = ${id} and account_id = any (${nos}) and to_seq < from_seq`.execute(tx);
  await sql`
    update member m set from_seq = greatest(
      coalesce((select min(seq) from message where conversation_id = ${id} and msg_time >= t.joined_sec), m.from_seq),
      coalesce((
        select max(to_seq) + 1 from member old
        where old.conversation_id = ${id} and old.account_id = m.account_id and old.to_seq is not null
      ), 1)
    )
    from unnest(${nos}::bigint[], ${stays.map(({ joinedSec }) => joinedSec)}::bigint[]) as t(account_id, joined_sec)
    where m.conversation_id = ${id} and m.account_id = t.account_id and m.to_seq is null`.execute(tx);
}

/** They have read all but the newest so many that count, of those that they can read; `since`: Unix seconds, what is older has expired. */
async function leaveUnread(
  { tx, group, type }: OpenChange,
  stays: readonly { account: Account; unread: number }[],
  since: number,
): Promise<void> {
  if (stays.length === 0) return;
  const id = group.conversationId;
  await sql`
    update member m set read_seq = x.seq - 1, read_time = x.msg_time, read_counted = x.counted_no - 1,
      -- Those behind that count, but not for this account.
      uncounted_after_read = c.counted - (x.counted_no - 1) - x.count
    from conversation c,
      unnest(
        ${stays.map(({ account }) => account.no)}::bigint[], ${stays.map(({ unread }) => unread)}::bigint[]
      ) as t(account_id, unread)
      join member s on s.conversation_id = ${id} and s.account_id = t.account_id and s.to_seq is null
      cross join lateral (
        select seq, msg_time, counted_no, count(*) over () as count from (
          select seq, msg_time, counted_no from message
          where conversation_id = ${id} and day >= ${since} / 86400 and msg_time >= ${since} and counts and recall_no = 0
            and sender_id <> t.account_id and (${type.showsEarlier} or seq >= s.from_seq)
          order by seq desc limit t.unread
        ) newest
        order by seq limit 1
      ) x
    where c.id = ${id} and m.conversation_id = ${id} and m.account_id = t.account_id and m.to_seq is null`.execute(tx);
}
