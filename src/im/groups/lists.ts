import { type AccountId, noticeContent } from '../../wire/index.ts';
import type { Groups, JoinedGroup } from '../group-services.ts';
import type { AccountNo } from '../model.ts';
import { findAccounts, findGroup, type GroupContext } from './context.ts';
import type { GroupMember } from './model.ts';
import { mayAskRoles, seesMembers } from './rights.ts';
import {
  type GroupRow,
  groupColumns,
  isMember,
  type MemberRow,
  memberColumns,
  memberTables,
  toGroup,
  toMember,
} from './rows.ts';
import { readableFields, readableMemberFields, unlistedTypesOf } from './settings.ts';
import { keptSince, sinceByType, unreadSince } from './unread.ts';

/** Who is in a group, and in which groups somebody is (G8, G10, G19, G21); and what reaches those who are online now alone (G24). */
export function createGroupLists(
  context: GroupContext,
): Pick<Groups, 'find' | 'members' | 'joined' | 'roles' | 'list' | 'notify'> {
  const { apps, rosters, db, bus, clock } = context;

  return {
    async find(sdkAppId, groupId) {
      return (await rosters.current(sdkAppId, groupId))?.group;
    },

    async members(actor, groupId, { roles, offset = 0, limit, accounts }) {
      const found = await findGroup(context, actor, groupId);
      if (!found.ok) return found;
      const { roster, type, standing } = found.value;
      const refusal = seesMembers(type, standing);
      if (refusal !== undefined) return refusal;
      const wanted = accounts === undefined ? undefined : new Set<AccountId>(accounts);
      const listed = [...roster.members.values()]
        .sort((a, b) => a.joinedSec - b.joinedSec || a.no - b.no)
        .slice(0, type.listedMembers)
        .filter(({ role, account }) => (roles?.includes(role) ?? true) && (wanted?.has(account) ?? true));
      const page = listed.slice(offset, limit === undefined ? undefined : offset + limit);
      const members = await fresh(roster.group.conversationId, page);
      const app = apps.get(actor.account.sdkAppId);
      if (standing === 'administrator' || app === undefined) {
        return { ok: true, value: { total: roster.group.memberCount, members } };
      }
      const shown = members.map((member) => {
        const who = { standing, isSelf: member.no === actor.account.no };
        return { ...member, custom: readableMemberFields(app, roster.group.type, member.custom, who) };
      });
      return { ok: true, value: { total: roster.group.memberCount, members: shown } };
    },

    async joined(account, { type, offset = 0, limit = 5_000 }) {
      const app = apps.get(account.sdkAppId);
      const values = [account.no, app === undefined ? [] : unlistedTypesOf(app), type ?? null];
      const condition = `m.account_id = $1 and ${isMember} and g.dismissed_sec is null and (not g.is_hidden or g.owner_id = $1)
        and g.type <> all ($2) and ($3::text is null or g.type = $3)`;
      const tables = `${memberTables} join chat_group g on g.conversation_id = m.conversation_id
        join conversation c on c.id = m.conversation_id`;
      const [{ rows }, { rows: counts }] = await Promise.all([
        db.pool.query<
          GroupRow &
            MemberRow & { owner: AccountId | null; group_custom: string; member_custom: string; unread: number }
        >({
          name: 'im_groups_joined',
          text: `
            select ${groupColumns}, ${memberColumns}, g.custom as group_custom, m.custom as member_custom, o.identifier as owner,
              ${unreadSince('r.since')} as unread
            from ${tables} cross join ${keptSince('$6')} left join account o on o.id = g.owner_id
            where ${condition} order by c.last_stored_ms desc, g.conversation_id desc offset $4 limit $5`,
          values: [...values, offset, limit, sinceByType(apps, account.sdkAppId, clock())],
        }),
        db.pool.query<{ count: number }>({
          name: 'im_groups_joined_count',
          text: `select count(*) as count from ${tables} where ${condition}`,
          values,
        }),
      ]);
      const groups = rows.map((row): JoinedGroup => {
        // Both have a column of that name.
        const whole = toGroup({ ...row, custom: row.group_custom });
        const self = toMember({ ...row, custom: row.member_custom });
        const custom = app === undefined ? {} : readableFields(app, whole.type, whole.custom, self.role);
        const group = { ...whole, custom };
        return {
          group,
          sees: 'all',
          self,
          unread: row.unread,
          ...(row.owner === null ? {} : { owner: row.owner }),
        };
      });
      return { total: counts[0]?.count ?? 0, groups };
    },

    async roles(actor, groupId, names) {
      const found = await findGroup(context, actor, groupId);
      if (!found.ok) return found;
      const { roster, type, standing } = found.value;
      const refusal = mayAskRoles(type, standing);
      if (refusal !== undefined) return refusal;
      const accounts = await findAccounts(context, actor.account.sdkAppId, names, 'User_Account');
      if (!accounts.ok) return accounts;
      const roleOf = (name: AccountId) => roster.members.get(accounts.value.get(name)?.no as AccountNo)?.role;
      return { ok: true, value: names.map((account) => ({ account, role: roleOf(account) ?? 'NotMember' })) };
    },

    async list(sdkAppId, { type, limit, next }) {
      const condition = `sdk_app_id = $1 and dismissed_sec is null and ($2::text is null or type = $2)`;
      const [{ rows }, { rows: counts }] = await Promise.all([
        db.pool.query<{ conversation_id: number; group_id: string }>({
          name: 'im_groups_list',
          text: `select conversation_id, group_id from chat_group where ${condition} and conversation_id > $3
            order by conversation_id limit $4`,
          values: [sdkAppId, type ?? null, next, limit + 1],
        }),
        db.pool.query<{ count: number }>({
          name: 'im_groups_count',
          text: `select count(*) as count from chat_group where ${condition}`,
          values: [sdkAppId, type ?? null],
        }),
      ]);
      const page = rows.slice(0, limit);
      return {
        total: counts[0]?.count ?? 0,
        groupIds: page.map(({ group_id }) => group_id),
        next: rows.length > limit ? (page.at(-1)?.conversation_id ?? 0) : 0,
      };
    },

    async notify(actor, groupId, content, to = []) {
      const found = await findGroup(context, actor, groupId);
      if (!found.ok) return found;
      if (actor.authority !== 'administrator') {
        return { ok: false, error: 'GROUP_FORBIDDEN', reason: 'only the administrator sends system notifications' };
      }
      if (to.length > 0 && found.value.type.isAudience) {
        const reason = 'in groups of this type everybody is told';
        return { ok: false, error: 'GROUP_FORBIDDEN', field: 'ToMembers_Account', reason, allowed: 'absent or empty' };
      }
      const { group, members } = found.value.roster;
      const accounts = await findAccounts(context, actor.account.sdkAppId, to, 'ToMembers_Account');
      if (!accounts.ok) return accounts;
      const receivers =
        to.length === 0
          ? members.keys()
          : [...accounts.value.values()].map(({ no }) => no).filter((no) => members.has(no));
      const notice = {
        kind: 'custom',
        groupId: group.groupId,
        groupName: group.name,
        operator: actor.account.identifier,
        userField: content,
      } as const;
      bus.publishMany(receivers, {
        kind: 'notice',
        seq: 0,
        time: Math.floor(clock() / 1_000),
        body: JSON.stringify(noticeContent(notice)),
      });
      return { ok: true, value: undefined };
    },
  };

  /** What changes with each message and read report is not in memory. */
  async function fresh(conversationId: number, members: readonly GroupMember[]): Promise<GroupMember[]> {
    if (members.length === 0) return [];
    const { rows } = await db.pool.query<MemberRow>({
      name: 'im_group_members_fresh',
      text: `select ${memberColumns} from ${memberTables}
        where m.conversation_id = $1 and m.account_id = any ($2) and ${isMember}`,
      values: [conversationId, members.map(({ no }) => no)],
    });
    const byNo = new Map(rows.map((row) => [row.account_id, toMember(row)]));
    return members.map((member) => byNo.get(member.no) ?? member);
  }
}
