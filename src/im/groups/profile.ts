import { sql } from 'kysely';
import type { AccountId, ImResult } from '../../wire/index.ts';
import type { Actor, GroupChangeFields, Groups, MemberChangeFields } from '../group-services.ts';
import type { Account } from '../model.ts';
import { checkGroupTexts, checkNameCard } from './check-fields.ts';
import { checkWords, findAccounts, findGroup, type GroupContext, namesOf, standingOf } from './context.ts';
import type { OpenChange } from './group-change.ts';
import type { CustomFields, GroupMember } from './model.ts';
import { mayEditMember, mayEditProfile, mayMute, maySetRole, mayTransfer, seesProfile } from './rights.ts';
import { customFieldFault, customFieldsOf, memberFieldFault, readableFields } from './settings.ts';

/** For ever. */
const endlessMuteSec = 4_294_967_295;

/** Profiles of groups and of their members (G6, G8–G11, G26, G27). */
export function createGroupProfiles(
  context: GroupContext,
): Pick<Groups, 'view' | 'modify' | 'transfer' | 'modifyMember' | 'mute' | 'muted'> {
  const { apps, changes, db, clock } = context;

  async function targetOf(actor: Actor, name: AccountId, field: string): Promise<ImResult<Account>> {
    const found = await findAccounts(context, actor.account.sdkAppId, [name], field);
    if (!found.ok) return found;
    const account = found.value.get(name);
    return account === undefined ? { ok: false, error: 'GROUP_ACCOUNT_UNKNOWN', field } : { ok: true, value: account };
  }

  return {
    async view(actor, groupId) {
      const found = await findGroup(context, actor, groupId);
      if (!found.ok) return found;
      const { roster, type, standing } = found.value;
      const sees = seesProfile(type, standing);
      if (sees === 'nothing') return { ok: false, error: 'GROUP_UNKNOWN' };
      const { owner: no } = roster.group;
      const [owner] = no === undefined ? [] : await namesOf(context, [no]);
      const app = apps.get(actor.account.sdkAppId);
      const custom =
        standing === 'administrator' || app === undefined
          ? roster.group.custom
          : readableFields(app, roster.group.type, roster.group.custom, standing);
      const group = { ...roster.group, custom };
      return { ok: true, value: { group, sees, ...(owner === undefined ? {} : { owner }) } };
    },

    async modify(actor, groupId, fields) {
      const app = apps.get(actor.account.sdkAppId);
      const found = await findGroup(context, actor, groupId);
      if (!found.ok) return found;
      if (app === undefined) return { ok: false, error: 'APP_UNKNOWN' };
      const { name: Name, introduction: Introduction, notification: Notification } = fields;
      const refusal =
        checkGroupTexts(fields) ?? checkWords(context, app.sdkAppId, { Name, Introduction, Notification });
      if (refusal !== undefined) return refusal;
      return changes.run(found.value.roster.group.conversationId, async (change) => {
        const { group, type } = change;
        const self = (await change.members([actor.account.no])).get(actor.account.no);
        const standing = standingOf(actor, self?.role);
        const { custom, ...others } = fields;
        // What stays as it is needs no right of its own, but the right to change the profile at all.
        const { custom: _, ...differing } = changedFields(group, others);
        const fault =
          (Object.keys(others).length > 0 || custom === undefined
            ? mayEditProfile(type, standing, Object.keys(differing))
            : undefined) ??
          customFieldFault(app, group.type, custom, standing) ??
          boundFault(change, fields);
        if (fault !== undefined) return fault;
        const changed = changedFields(group, fields);
        if (Object.keys(changed).length === 0) return { ok: true, value: undefined };
        await change.setGroup(changed);
        const told = pick(changed, ['name', 'introduction', 'notification', 'faceUrl']);
        if (Object.keys(told).length > 0) {
          change.tip(actor.account, { kind: 'modifyInfo', operator: actor.account.identifier, changed: told });
        }
        const declared = customFieldsOf(app, group.type, 'group');
        const customChanged = Object.entries(custom ?? {}).filter(
          ([key, value]) => (group.custom[key] ?? '') !== value && declared.get(key)?.callback === true,
        );
        if (Object.keys(told).length > 0 || customChanged.length > 0) {
          change.callback(
            'Group.CallbackAfterGroupInfoChanged',
            {
              GroupId: group.groupId,
              Type: group.type,
              Operator_Account: actor.account.identifier,
              ...(told.name === undefined ? {} : { Name: told.name }),
              ...(told.introduction === undefined ? {} : { Introduction: told.introduction }),
              ...(told.notification === undefined ? {} : { Notification: told.notification }),
              ...(told.faceUrl === undefined ? {} : { FaceUrl: told.faceUrl }),
              ...(customChanged.length === 0
                ? {}
                : { UserDefinedDataList: customChanged.map(([Key, Value]) => ({ Key, Value })) }),
            },
            actor,
          );
        }
        return { ok: true, value: undefined };
      });
    },

    async transfer(actor, groupId, to) {
      const found = await findGroup(context, actor, groupId);
      if (!found.ok) return found;
      const target = await targetOf(actor, to, 'NewOwner_Account');
      if (!target.ok) return target;
      return changes.run(found.value.roster.group.conversationId, async (change) => {
        const { group, type } = change;
        const owner = group.owner === undefined ? [] : [group.owner];
        const members = await change.members([actor.account.no, target.value.no, ...owner]);
        const refusal = mayTransfer(type, standingOf(actor, members.get(actor.account.no)?.role));
        if (refusal !== undefined) return refusal;
        if (!members.has(target.value.no)) {
          return {
            ok: false,
            error: 'GROUP_PARAMETER',
            field: 'NewOwner_Account',
            reason: 'is no member of the group',
          };
        }
        if (group.owner === target.value.no) return { ok: true, value: undefined };
        for (const no of owner) if (members.has(no)) await change.setMember(no, { role: 'Member' });
        await change.setMember(target.value.no, { role: 'Owner' });
        await change.setGroup({ owner: target.value.no });
        change.tip(actor.account, {
          kind: 'modifyInfo',
          operator: actor.account.identifier,
          changed: { owner: target.value.identifier },
        });
        return { ok: true, value: undefined };
      });
    },

    async modifyMember(actor, groupId, name, fields) {
      const app = apps.get(actor.account.sdkAppId);
      const found = await findGroup(context, actor, groupId);
      if (!found.ok) return found;
      if (app === undefined) return { ok: false, error: 'APP_UNKNOWN' };
      const target = await targetOf(actor, name, 'Member_Account');
      if (!target.ok) return target;
      const refusal =
        (fields.nameCard === undefined ? undefined : checkNameCard(fields.nameCard)) ??
        checkWords(context, app.sdkAppId, { NameCard: fields.nameCard });
      if (refusal !== undefined) return refusal;
      return changes.run(found.value.roster.group.conversationId, async (change) => {
        const members = await change.members([actor.account.no, target.value.no]);
        const member = members.get(target.value.no);
        const standing = standingOf(actor, members.get(actor.account.no)?.role);
        const isSelf = actor.authority === 'self' && target.value.no === actor.account.no;
        const forbidden = mayEditMember(change.type, standing, member?.role ?? 'none', {
          isSelf,
          fields: Object.keys(fields),
        });
        // First of all: whoever is no member hears nothing of who is one.
        if (forbidden !== undefined) return forbidden;
        if (member === undefined) {
          return { ok: false, error: 'GROUP_PARAMETER', field: 'Member_Account', reason: 'is no member of the group' };
        }
        const fault =
          (fields.role === undefined ? undefined : maySetRole(change.type, standing, member.role)) ??
          (fields.muteSec === undefined ? undefined : mayMute(change.type, standing, member.role)) ??
          memberFieldFault(app, change.group.type, fields.custom, { standing, isSelf });
        if (fault !== undefined) return fault;
        await applyToMember(change, actor.account, member, fields);
        return { ok: true, value: undefined };
      });
    },

    async mute(actor, groupId, names, seconds) {
      const found = await findGroup(context, actor, groupId);
      if (!found.ok) return found;
      const accounts = await findAccounts(context, actor.account.sdkAppId, names, 'Members_Account');
      if (!accounts.ok) return accounts;
      return changes.run(found.value.roster.group.conversationId, async (change) => {
        const targets = [...accounts.value.values()];
        const members = await change.members([actor.account.no, ...targets.map(({ no }) => no)]);
        const standing = standingOf(actor, members.get(actor.account.no)?.role);
        for (const { no } of targets) {
          const refusal = mayMute(change.type, standing, members.get(no)?.role ?? 'none');
          if (refusal !== undefined) return refusal;
        }
        await muteSome(
          change,
          actor.account,
          targets.map(({ no, identifier }) => ({ no, account: identifier, isMember: members.has(no) })),
          seconds,
        );
        return { ok: true, value: undefined };
      });
    },

    async muted(actor, groupId) {
      const found = await findGroup(context, actor, groupId);
      if (!found.ok) return found;
      const refusal = mayMute(found.value.type, found.value.standing, 'none');
      if (refusal !== undefined) return refusal;
      const { rows } = await db.pool.query<{ account: AccountId; until_sec: number }>({
        name: 'im_group_muted',
        text: `
          select a.identifier as account, u.until_sec from group_mute u join account a on a.id = u.account_id
          where u.conversation_id = $1 and u.until_sec > $2 order by u.until_sec, a.identifier`,
        values: [found.value.roster.group.conversationId, Math.floor(clock() / 1_000)],
      });
      return { ok: true, value: rows.map(({ account, until_sec }) => ({ account, untilSec: until_sec })) };
    },
  };
}

async function applyToMember(
  change: OpenChange,
  operator: Account,
  member: GroupMember,
  { role, msgFlag, nameCard, custom, muteSec }: MemberChangeFields,
): Promise<void> {
  const isNewRole = role !== undefined && role !== member.role;
  await change.setMember(member.no, {
    ...(isNewRole ? { role } : {}),
    ...(msgFlag === undefined ? {} : { msgFlag }),
    ...(nameCard === undefined ? {} : { nameCard }),
    ...(custom === undefined ? {} : { custom: merged(member.custom, custom) }),
  });
  // What came while nothing was to be delivered is no news, and is not synced later (G26).
  if (msgFlag !== undefined && msgFlag !== 'Discard' && member.msgFlag === 'Discard') {
    await sql`
      update member m set read_seq = c.last_seq, read_time = ${change.nowSec}, read_counted = c.counted, uncounted_after_read = 0,
        cleared_through = c.last_seq
      from conversation c
      where c.id = ${change.group.conversationId} and m.conversation_id = c.id and m.account_id = ${member.no}
        and m.to_seq is null`.execute(change.tx);
  }
  if (isNewRole) {
    const { identifier } = operator;
    const isAdmin = role === 'Admin';
    change.tip(operator, {
      kind: isAdmin ? 'setAdmin' : 'cancelAdmin',
      operator: identifier,
      members: [member.account],
    });
    change.notice([member.no], { kind: isAdmin ? 'madeAdmin' : 'noAdmin', operator: identifier });
  }
  if (muteSec !== undefined) {
    await muteSome(change, operator, [{ no: member.no, account: member.account, isMember: true }], muteSec);
  }
}

async function muteSome(
  change: OpenChange,
  operator: Account,
  targets: readonly { no: GroupMember['no']; account: AccountId; isMember: boolean }[],
  seconds: number,
): Promise<void> {
  const untilSec = seconds === 0 ? 0 : seconds >= endlessMuteSec ? endlessMuteSec : change.nowSec + seconds;
  await change.mute(
    targets.map(({ no }) => no),
    untilSec,
  );
  const muted = targets.filter(({ isMember }) => isMember).map(({ account }) => ({ member: account, seconds }));
  if (muted.length > 0) change.tip(operator, { kind: 'modifyMember', operator: operator.identifier, muted });
}

function boundFault(change: OpenChange, { maxMembers }: GroupChangeFields) {
  const most = change.type.maxMembers;
  if (maxMembers === undefined || most === undefined || maxMembers <= most) return undefined;
  return {
    ok: false,
    error: 'GROUP_PARAMETER',
    field: 'MaxMemberNum',
    reason: 'is more than groups of this type can have',
    allowed: `at most ${most}`,
  } as const;
}

/** What is not as it was. '' takes a custom field away. */
function changedFields(
  group: OpenChange['group'],
  { custom, ...fields }: GroupChangeFields,
): Partial<OpenChange['group']> {
  const changed = Object.fromEntries(
    Object.entries(fields).filter(([key, value]) => value !== undefined && group[key as keyof typeof fields] !== value),
  );
  const all = custom === undefined ? group.custom : merged(group.custom, custom);
  return JSON.stringify(all) === JSON.stringify(group.custom) ? changed : { ...changed, custom: all };
}

function merged(old: CustomFields, more: CustomFields): CustomFields {
  return Object.fromEntries(Object.entries({ ...old, ...more }).filter(([, value]) => value !== ''));
}

function pick<T extends object, K extends keyof T>(value: T, keys: readonly K[]): Partial<Pick<T, K>> {
  return Object.fromEntries(keys.filter((key) => value[key] !== undefined).map((key) => [key, value[key]])) as Partial<
    Pick<T, K>
  >;
}
