import type { ImResult } from '../../wire/index.ts';
import type { MemberChangeFields } from '../group-services.ts';
import type { GroupRole, MsgFlag } from '../groups/model.ts';
import { withoutAbsent } from '../without-absent.ts';
import { type FieldReader, parseAccount } from './field-reader.ts';
import { readCustom, readTargets, readWords, someOf } from './group-fields.ts';
import { groupHandler, listing, writing } from './group-handler.ts';
import { memberView } from './group-views.ts';
import { okJson, type RequestDeps, type RequestHandler } from './request.ts';

const roles: readonly GroupRole[] = ['Owner', 'Admin', 'Member'];
const msgFlags: readonly MsgFlag[] = ['AcceptAndNotify', 'AcceptNotNotify', 'Discard'];
/** The longest mute is for ever. */
const muteBounds = { min: 0, max: 4_294_967_295 };
const maxListed = 200;
/** Why somebody is removed: as much as over REST. It is kept for each of them. */
const maxReasonBytes = 1_000;

/** `groupMembers`, `inviteMembers`, `removeMembers`, `quitGroup`, `modifyMember`, `muteMembers`, `mutedMembers`: who is in a group. */
export function groupMemberRequests({ groups }: Pick<RequestDeps, 'groups'>): Record<string, RequestHandler> {
  return {
    groupMembers: groupHandler(listing, {
      read: (fields) => ({
        group: fields.group(),
        ...withoutAbsent({
          roles: fields.raw('roles') === undefined ? undefined : fields.list('roles', roles.length, readRole),
          accounts: fields.raw('accounts') === undefined ? undefined : fields.list('accounts', maxListed, parseAccount),
        }),
        offset: fields.optionalInteger('offset', { min: 0, max: 1_000_000 }) ?? 0,
        limit: fields.optionalInteger('limit', { min: 1, max: maxListed }) ?? 100,
      }),
      act: (actor, { group, ...wish }) => groups.members(actor, group, wish),
      show({ total, members }, _, { terminal }) {
        const { identifier } = terminal.account;
        return okJson({ total, members: members.map((member) => memberView(member, member.account === identifier)) });
      },
    }),

    inviteMembers: groupHandler(writing, {
      read: (fields) => ({ group: fields.group(), accounts: readTargets(fields) }),
      act: (actor, { group, accounts }) => groups.add(actor, group, accounts),
      show: (outcomes) => okJson({ results: outcomes.map(({ account, outcome }) => [account, outcome]) }),
      names: { MemberList: 'accounts' },
    }),

    removeMembers: groupHandler(writing, {
      read: (fields) => ({
        group: fields.group(),
        accounts: readTargets(fields),
        why: withoutAbsent({ reason: readWords(fields, 'reason', maxReasonBytes) }),
      }),
      act: (actor, { group, accounts, why }) => groups.remove(actor, group, accounts, why),
    }),

    quitGroup: groupHandler(writing, {
      read: (fields) => fields.group(),
      act: (actor, group) => groups.quit(actor, group),
    }),

    modifyMember: groupHandler(writing, {
      read: (fields, { terminal }) => ({
        group: fields.group(),
        account: fields.raw('account') === undefined ? terminal.account.identifier : fields.account('account'),
        changes: readChanges(fields),
      }),
      act: (actor, { group, account, changes }) => groups.modifyMember(actor, group, account, changes),
    }),

    muteMembers: groupHandler(writing, {
      read: (fields) => ({
        group: fields.group(),
        accounts: readTargets(fields),
        seconds: fields.integer('seconds', muteBounds),
      }),
      act: (actor, { group, accounts, seconds }) => groups.mute(actor, group, accounts, seconds),
    }),

    mutedMembers: groupHandler(listing, {
      read: (fields) => fields.group(),
      act: (actor, group) => groups.muted(actor, group),
      show: (muted) => okJson({ members: muted.map(({ account, untilSec }) => [account, untilSec]) }),
    }),
  };
}

function readRole(value: unknown, field: string): ImResult<GroupRole> {
  const role = roles.find((one) => one === value);
  if (role !== undefined) return { ok: true, value: role };
  const reason = 'has a value that there is not';
  return { ok: false, error: 'INVALID_FIELD', field, reason, allowed: roles.join(', ') };
}

function readChanges(fields: FieldReader): MemberChangeFields {
  const given = {
    role: fields.optionalWord('role', ['Admin', 'Member'] as const),
    msgFlag: fields.optionalWord('receive', msgFlags),
    nameCard: fields.optionalPlain('nameCard'),
    custom: readCustom(fields),
    muteSec: fields.optionalInteger('muteSec', muteBounds),
  };
  return someOf(fields, given, ['role', 'receive', 'nameCard', 'custom', 'muteSec']);
}
