import { sql, type Transaction } from 'kysely';
import type { Schema } from '../../store/index.ts';
import type { AccountId, ImRefusal, ImResult } from '../../wire/index.ts';
import type { Actor, GroupDraft, Groups } from '../group-services.ts';
import type { Account } from '../model.ts';
import { checkGroupId, checkGroupTexts, newGroupId } from './check-fields.ts';
import { askBefore, checkWords, findAccounts, findGroup, type GroupContext, standingOf } from './context.ts';
import type { GroupTypeRow } from './group-types.ts';
import { closeAllRequests } from './open-request.ts';
import { mayCreate, mayDismiss } from './rights.ts';
import { customFieldFault, dayOf, groupsPerDayOf, memberFieldFault, typeFault } from './settings.ts';

/** Ids that are tried before a new one counts as not to be had. */
const maxIds = 5;

/** The beginning and end of groups (G1–G7). */
export function createLifecycle(context: GroupContext): Pick<Groups, 'create' | 'dismiss'> {
  const { apps, changes, clock, random, db } = context;

  return {
    async create(actor, draft) {
      const { sdkAppId } = actor.account;
      const app = apps.get(sdkAppId);
      if (app === undefined) return { ok: false, error: 'APP_UNKNOWN' };
      const fault = typeFault(app, draft.type);
      if (fault !== undefined) return fault;
      const type = context.typeOf(sdkAppId, draft.type);
      const isImport = draft.importedSec !== undefined;
      // Who makes one for himself owns it.
      const owned = actor.authority === 'self' ? { ...draft, owner: actor.account.identifier } : draft;
      const refusal =
        mayCreate(type, actor.authority) ??
        checkDraft(owned, type, isImport) ??
        checkGroupTexts(draft) ??
        (draft.groupId === undefined ? undefined : checkGroupId(draft.groupId)) ??
        customFieldFault(app, draft.type, draft.custom, standingOf(actor, 'Owner')) ??
        (draft.members ?? [])
          .map(({ custom }, index) => {
            const at = { standing: standingOf(actor, 'Owner'), isSelf: false };
            const fault = memberFieldFault(app, draft.type, custom, at);
            return fault === undefined ? undefined : { ...fault, field: `MemberList[${index}].${fault.field ?? ''}` };
          })
          .find((fault) => fault !== undefined) ??
        checkWords(context, sdkAppId, {
          Name: draft.name,
          Introduction: draft.introduction,
          Notification: draft.notification,
        });
      if (refusal !== undefined) return refusal;
      const people = await findPeople(actor, draft);
      if (!people.ok) return people;
      const { owner, members } = people.value;
      if (!isImport) {
        const asked = await askBefore(context, actor, 'Group.CallbackBeforeCreateGroup', draft.groupId, {
          Operator_Account: actor.account.identifier,
          Owner_Account: owner?.identifier ?? '',
          Type: draft.type,
          Name: draft.name,
          CreatedNum: owner === undefined ? 0 : await ownedGroups(owner, draft.type),
          MemberList: members.map(({ account }) => ({ Member_Account: account.identifier })),
        });
        if (!asked.ok) return asked;
      }
      for (let attempt = 1; ; attempt++) {
        const groupId = draft.groupId ?? newGroupId(random);
        const done = await make(actor, draft, { groupId, type, owner, members });
        if (done.ok || draft.groupId !== undefined || attempt === maxIds) return done;
        if (done.error !== 'GROUP_ID_TAKEN' && done.error !== 'GROUP_ID_OWN') return done;
      }
    },

    async dismiss(actor, groupId) {
      const found = await findGroup(context, actor, groupId);
      if (!found.ok) return found;
      return changes.run(found.value.roster.group.conversationId, async (change) => {
        const { group, type, tx } = change;
        const everybody = await change.everybody();
        const self = everybody.find(({ no }) => no === actor.account.no);
        const refusal = mayDismiss(type, standingOf(actor, self?.role));
        if (refusal !== undefined) return refusal;
        const owner = everybody.find(({ no }) => no === group.owner)?.account ?? '';
        change.notice(
          everybody.map(({ no }) => no),
          { kind: 'destroyed', operator: actor.account.identifier },
        );
        change.callback(
          'Group.CallbackAfterGroupDestroyed',
          {
            GroupId: group.groupId,
            Type: group.type,
            Owner_Account: owner,
            Name: group.name,
            MemberList: everybody.map(({ account }) => ({ Member_Account: account })),
          },
          actor,
        );
        await change.dismiss();
        await closeAllRequests(change);
        if (type.quota === 'daily') await countDismissed(tx, group.sdkAppId);
        return { ok: true, value: undefined };
      });
    },
  };

  async function make(
    actor: Actor,
    draft: GroupDraft,
    facts: {
      groupId: string;
      type: GroupTypeRow;
      owner: Account | undefined;
      members: readonly { account: Account; isAdmin: boolean; custom?: Readonly<Record<string, string>> }[];
    },
  ): Promise<ImResult<{ groupId: string }>> {
    const { groupId, type, owner, members } = facts;
    const { sdkAppId } = actor.account;
    const isImport = draft.importedSec !== undefined;
    const group = {
      sdkAppId,
      groupId,
      type: draft.type,
      name: draft.name,
      introduction: draft.introduction ?? '',
      notification: draft.notification ?? '',
      faceUrl: draft.faceUrl ?? '',
      owner: owner?.no,
      maxMembers: draft.maxMembers ?? type.maxMembers ?? unlimitedMembers,
      applyOption: type.apply === 'never' ? 'DisableApply' : (draft.applyOption ?? type.defaultApplyOption),
      isHidden: type.isHiddenAtFirst && owner !== undefined && !isImport,
      custom: draft.custom ?? {},
      createdSec: draft.importedSec ?? Math.floor(clock() / 1_000),
    } as const;
    return changes.make(group, async (change) => {
      const over = await overQuota(change.tx, sdkAppId, draft.type, type);
      if (over !== undefined) return over;
      await change.join([
        ...(owner === undefined ? [] : [{ account: owner, role: 'Owner' as const }]),
        ...members.map(({ account, isAdmin, custom = {} }) => ({
          account,
          role: isAdmin ? ('Admin' as const) : ('Member' as const),
          custom,
        })),
      ]);
      if (isImport) return { ok: true, value: { groupId } };
      const { identifier: operator } = actor.account;
      if (owner !== undefined) change.notice([owner.no], { kind: 'created', operator });
      if (!group.isHidden)
        change.notice(
          members.map(({ account }) => account.no),
          { kind: 'pulledIn', operator },
        );
      change.callback(
        'Group.CallbackAfterCreateGroup',
        {
          GroupId: groupId,
          Operator_Account: operator,
          Owner_Account: owner?.identifier ?? '',
          Type: draft.type,
          Name: draft.name,
          MemberList: members.map(({ account }) => ({ Member_Account: account.identifier })),
          UserDefinedDataList: Object.entries(group.custom).map(([Key, Value]) => ({ Key, Value })),
        },
        actor,
      );
      return { ok: true, value: { groupId } };
    });
  }

  async function findPeople(
    actor: Actor,
    draft: GroupDraft,
  ): Promise<
    ImResult<{
      owner: Account | undefined;
      members: { account: Account; isAdmin: boolean; custom?: Readonly<Record<string, string>> }[];
    }>
  > {
    const { sdkAppId } = actor.account;
    let owner = actor.authority === 'self' ? actor.account : undefined;
    if (actor.authority === 'administrator' && draft.owner !== undefined) {
      owner = await context.accounts.find(sdkAppId, draft.owner);
      if (owner === undefined) {
        return { ok: false, error: 'GROUP_PARAMETER', field: 'Owner_Account', reason: 'is no account of the app' };
      }
    }
    const given = draft.members ?? [];
    const accounts = await findAccounts(
      context,
      sdkAppId,
      given.map(({ account }) => account),
      'MemberList',
    );
    if (!accounts.ok) return accounts;
    const isOwnerAdmin = given.some(({ account, isAdmin }) => account === owner?.identifier && isAdmin === true);
    if (isOwnerAdmin) {
      return { ok: false, error: 'GROUP_PARAMETER', field: 'MemberList', reason: 'has the owner as an admin' };
    }
    const members = new Map(
      given.flatMap(({ account: name, isAdmin = false, custom }) => {
        const account = accounts.value.get(name);
        if (account === undefined || account.no === owner?.no) return [];
        return [[account.no, { account, isAdmin, ...(custom === undefined ? {} : { custom }) }] as const];
      }),
    );
    return { ok: true, value: { owner, members: [...members.values()] } };
  }

  async function ownedGroups(owner: Account, type: string): Promise<number> {
    const { rows } = await db.pool.query<{ count: number }>(
      'select count(*) as count from chat_group where owner_id = $1 and type = $2 and dismissed_sec is null',
      [owner.no, type],
    );
    return rows[0]?.count ?? 0;
  }

  /** Counts the group towards its quota (G4), under the quota's lock. */
  async function overQuota(
    tx: Transaction<Schema>,
    sdkAppId: number,
    name: string,
    { quota }: GroupTypeRow,
  ): Promise<ImRefusal | undefined> {
    if (quota !== 'daily') {
      await sql`select pg_advisory_xact_lock(${quotaLock}, ${sdkAppId % 2_147_483_647}::integer)`.execute(tx);
      const { rows } = await sql<{ count: number }>`
        select count(*) as count from chat_group where sdk_app_id = ${sdkAppId} and type = ${name} and dismissed_sec is null`.execute(
        tx,
      );
      return (rows[0]?.count ?? 0) > quota.perApp
        ? { ok: false, error: 'GROUP_QUOTA', reason: `the app has ${quota.perApp} groups of this type already` }
        : undefined;
    }
    const app = apps.get(sdkAppId);
    const limit = app === undefined ? 0 : groupsPerDayOf(app);
    const { rows } = await sql<{ net: number }>`
      insert into group_quota as q (sdk_app_id, day, created) values (${sdkAppId}, ${app === undefined ? 0 : dayOf(app, clock())}, 1)
      on conflict (sdk_app_id, day) do update set created = q.created + 1
      returning greatest(0, q.created - 1 - q.dismissed) as net`.execute(tx);
    return limit > 0 && (rows[0]?.net ?? 0) >= limit
      ? { ok: false, error: 'GROUP_QUOTA', reason: `${limit} groups a day, those that were dismissed taken off` }
      : undefined;
  }

  async function countDismissed(tx: Transaction<Schema>, sdkAppId: number): Promise<void> {
    const app = apps.get(sdkAppId);
    if (app === undefined) return;
    await sql`
      insert into group_quota as q (sdk_app_id, day, dismissed) values (${sdkAppId}, ${dayOf(app, clock())}, 1)
      on conflict (sdk_app_id, day) do update set dismissed = q.dismissed + 1`.execute(tx);
  }
}

/** Of types without a bound: what the column holds. */
const unlimitedMembers = 2_147_483_647;
/** Space of our advisory locks: quotas of types that have one of their own. */
const quotaLock = 0x67_72_70_71;

function checkDraft(draft: GroupDraft, type: GroupTypeRow, isImport: boolean): ImRefusal | undefined {
  const { owner, maxMembers, members = [] } = draft;
  const parameter = (field: string, reason: string): ImRefusal => ({
    ok: false,
    error: 'GROUP_PARAMETER',
    field,
    reason,
  });
  const forbidden = (field: string, reason: string): ImRefusal => ({
    ok: false,
    error: 'GROUP_FORBIDDEN',
    field,
    reason,
  });
  if (isImport && !type.canImport) return forbidden('Type', 'groups of this type cannot be imported');
  if (owner !== undefined && !type.hasOwner) return parameter('Owner_Account', 'groups of this type have no owner');
  if (members.length > 0 && !type.hasInitialMembers) {
    return forbidden('MemberList', 'groups of this type are created without members');
  }
  if (!type.hasAdmins && members.some(({ isAdmin }) => isAdmin === true)) {
    return parameter('MemberList', 'groups of this type have no admins');
  }
  const most = type.maxMembers;
  if (maxMembers !== undefined && most !== undefined && maxMembers > most) {
    return { ...parameter('MaxMemberCount', 'is more than groups of this type can have'), allowed: `at most ${most}` };
  }
  const limit = maxMembers ?? most;
  const count = new Set<AccountId>([...members.map(({ account }) => account), ...(owner === undefined ? [] : [owner])])
    .size;
  if (limit !== undefined && count > limit) {
    return { ...parameter('MemberList', `has ${count} members with the owner`), allowed: `at most ${limit}` };
  }
  return undefined;
}
