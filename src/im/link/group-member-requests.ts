import type { ImResult } from '../../wire/index.ts';
import type { MemberChangeFields } from '../group-services.ts';
import type { GroupRole, MsgFlag } from '../groups/model.ts';
import { type FieldReader, parseAccount } from './field-reader.ts';
import { actorOf, answerOf, readCustom } from './group-fields.ts';
import { maxAccounts, withoutAbsent } from './group-requests.ts';
import { memberView } from './group-views.ts';
import { emptyOk, okJson, type RequestDeps, type RequestHandler } from './request.ts';

const roles: readonly GroupRole[] = ['Owner', 'Admin', 'Member'];
const msgFlags: readonly MsgFlag[] = ['AcceptAndNotify', 'AcceptNotNotify', 'Discard'];
/** The longest mute is for ever. */
const muteBounds = { min: 0, max: 4_294_967_295 };
const maxListed = 200;

/** `groupMembers`, `inviteMembers`, `removeMembers`, `quitGroup`, `modifyMember`, `muteMembers`, `mutedMembers`: who is in a group. */
export function groupMemberRequests({ groups }: Pick<RequestDeps, 'groups'>): Record<string, RequestHandler> {
  return {
    groupMembers: {
      permission: 'im.link.group.read',
      order: 'page',
      async run(request) {
        const { fields, terminal } = request;
        const group = fields.group();
        const wanted = fields.raw('roles') === undefined ? undefined : fields.list('roles', roles.length, readRole);
        const accounts =
          fields.raw('accounts') === undefined ? undefined : fields.list('accounts', maxListed, parseAccount);
        const offset = fields.optionalInteger('offset', { min: 0, max: 1_000_000 }) ?? 0;
        const limit = fields.optionalInteger('limit', { min: 1, max: maxListed }) ?? 100;
        if (fields.refusal !== undefined) return fields.refusal;
        const found = await groups.members(actorOf(request), group, {
          ...(wanted === undefined ? {} : { roles: wanted }),
          ...(accounts === undefined ? {} : { accounts }),
          offset,
          limit,
        });
        const { identifier } = terminal.account;
        return answerOf(found, ({ total, members }) =>
          okJson({ total, members: members.map((member) => memberView(member, member.account === identifier)) }),
        );
      },
    },

    inviteMembers: {
      permission: 'im.link.group.write',
      order: 'parallel',
      async run(request) {
        const { fields } = request;
        const group = fields.group();
        const accounts = readAccounts(fields);
        if (fields.refusal !== undefined) return fields.refusal;
        const added = await groups.add(actorOf(request), group, accounts);
        return answerOf(
          added,
          (outcomes) => okJson({ results: outcomes.map(({ account, outcome }) => [account, outcome]) }),
          listed,
        );
      },
    },

    removeMembers: {
      permission: 'im.link.group.write',
      order: 'parallel',
      async run(request) {
        const { fields } = request;
        const group = fields.group();
        const accounts = readAccounts(fields);
        const reason = fields.optionalPlain('reason');
        if (fields.refusal !== undefined) return fields.refusal;
        const options = reason === undefined ? {} : { reason };
        return answerOf(await groups.remove(actorOf(request), group, accounts, options), () => emptyOk, {
          Reason: 'reason',
        });
      },
    },

    quitGroup: {
      permission: 'im.link.group.write',
      order: 'parallel',
      async run(request) {
        const { fields } = request;
        const group = fields.group();
        if (fields.refusal !== undefined) return fields.refusal;
        return answerOf(await groups.quit(actorOf(request), group), () => emptyOk);
      },
    },

    modifyMember: {
      permission: 'im.link.group.write',
      order: 'parallel',
      async run(request) {
        const { fields, terminal } = request;
        const group = fields.group();
        const account = fields.raw('account') === undefined ? terminal.account.identifier : fields.account('account');
        const changes = readChanges(fields);
        if (fields.refusal !== undefined) return fields.refusal;
        return answerOf(await groups.modifyMember(actorOf(request), group, account, changes), () => emptyOk);
      },
    },

    muteMembers: {
      permission: 'im.link.group.write',
      order: 'parallel',
      async run(request) {
        const { fields } = request;
        const group = fields.group();
        const accounts = readAccounts(fields);
        const seconds = fields.integer('seconds', muteBounds);
        if (fields.refusal !== undefined) return fields.refusal;
        return answerOf(await groups.mute(actorOf(request), group, accounts, seconds), () => emptyOk, {
          ShutUpTime: 'seconds',
        });
      },
    },

    mutedMembers: {
      permission: 'im.link.group.read',
      order: 'page',
      async run(request) {
        const { fields } = request;
        const group = fields.group();
        if (fields.refusal !== undefined) return fields.refusal;
        return answerOf(await groups.muted(actorOf(request), group), (muted) =>
          okJson({ members: muted.map(({ account, untilSec }) => [account, untilSec]) }),
        );
      },
    },
  };
}

function readRole(value: unknown, field: string): ImResult<GroupRole> {
  const role = roles.find((one) => one === value);
  if (role !== undefined) return { ok: true, value: role };
  const reason = 'has a value that there is not';
  return { ok: false, error: 'INVALID_FIELD', field, reason, allowed: roles.join(', ') };
}

const listed = { MemberList: 'accounts' };

function readAccounts(fields: FieldReader) {
  const accounts = fields.list('accounts', maxAccounts, parseAccount);
  if (accounts.length === 0) {
    fields.refuse({
      error: 'INVALID_FIELD',
      field: 'accounts',
      reason: 'is empty',
      allowed: `1 … ${maxAccounts} accounts`,
    });
  }
  return accounts;
}

function readChanges(fields: FieldReader): MemberChangeFields {
  const given = {
    role: fields.optionalWord('role', ['Admin', 'Member'] as const),
    msgFlag: fields.optionalWord('receive', msgFlags),
    nameCard: fields.optionalPlain('nameCard'),
    custom: readCustom(fields),
    muteSec: fields.optionalInteger('muteSec', muteBounds),
  };
  const changes = withoutAbsent(given);
  if (Object.keys(changes).length === 0) {
    const allowed = 'role, receive, nameCard, custom, muteSec';
    fields.refuse({ error: 'INVALID_FIELD', field: 'role', reason: 'names nothing to be changed', allowed });
  }
  return changes;
}
