import type { AccountId, ImResult } from '../../wire/index.ts';
import type { Actor, AddOutcome, Groups } from '../group-services.ts';
import type { Account } from '../model.ts';
import { askBefore, type Found, findAccounts, findGroup, type GroupContext, standingOf } from './context.ts';
import { refuseFull, takeIn } from './joining.ts';
import { letGo } from './leaving.ts';
import { openRequest } from './open-request.ts';
import { mayInvite, mayPullIn, mayQuit, mayRemove } from './rights.ts';

/** Who comes into groups and goes out of them (G12–G18). */
export function createMembership(context: GroupContext): Pick<Groups, 'add' | 'remove' | 'quit'> {
  const { changes } = context;

  /** Without asking them. */
  function pullIn(
    actor: Actor,
    { roster }: Found,
    accounts: readonly Account[],
    silent: boolean,
  ): Promise<ImResult<Map<AccountId, AddOutcome>>> {
    return changes.run(roster.group.conversationId, async (change) => {
      const members = await change.members([actor.account.no, ...accounts.map(({ no }) => no)]);
      const refusal = mayPullIn(change.type, standingOf(actor, members.get(actor.account.no)?.role));
      if (refusal !== undefined) return refusal;
      const fresh = accounts.filter(({ no }) => !members.has(no));
      const { taken, left } = await takeIn(change, actor, fresh, { operator: actor.account, how: 'Invited', silent });
      if (taken.length === 0 && left.length > 0) return { ok: false, error: 'GROUP_FULL' };
      const added = new Set(taken);
      return {
        ok: true,
        value: new Map(
          accounts.map((account): [AccountId, AddOutcome] => [
            account.identifier,
            added.has(account) ? 'added' : members.has(account.no) ? 'was-member' : 'failed',
          ]),
        ),
      };
    });
  }

  /** They have to agree. */
  function invite(
    actor: Actor,
    { roster }: Found,
    accounts: readonly Account[],
  ): Promise<ImResult<Map<AccountId, AddOutcome>>> {
    return changes.run(roster.group.conversationId, async (change) => {
      const members = await change.members([actor.account.no, ...accounts.map(({ no }) => no)]);
      const refusal = mayInvite(change.type, standingOf(actor, members.get(actor.account.no)?.role));
      if (refusal !== undefined) return refusal;
      if (change.group.isHidden) {
        const reason = 'nobody is invited before the owner has said something: until then the group is hidden';
        return { ok: false, error: 'GROUP_FORBIDDEN', field: 'GroupId', reason };
      }
      const asked = accounts.filter(({ no }) => !members.has(no));
      await change.hold(asked.map(({ no }) => no));
      for (const account of asked) {
        await openRequest(context, change, { kind: 'invitation', account, inviter: actor.account });
      }
      const outcomeOf = ({ no }: Account): AddOutcome => (members.has(no) ? 'was-member' : 'asked');
      return { ok: true, value: new Map(accounts.map((account) => [account.identifier, outcomeOf(account)])) };
    });
  }

  return {
    async add(actor, groupId, names, { silent = false } = {}) {
      const found = await findGroup(context, actor, groupId);
      if (!found.ok) return found;
      const { roster, type, standing } = found.value;
      const isPull = standing === 'administrator' || type.invite === 'members-pull';
      const refusal = isPull ? mayPullIn(type, standing) : mayInvite(type, standing);
      if (refusal !== undefined) return refusal;
      const accounts = await findAccounts(context, actor.account.sdkAppId, names, 'MemberList');
      if (!accounts.ok) return accounts;
      const { group } = roster;
      const asked = await askBefore(context, actor, 'Group.CallbackBeforeInviteJoinGroup', groupId, {
        GroupId: groupId,
        Type: group.type,
        Operator_Account: actor.account.identifier,
        DestinationMembers: [...accounts.value.keys()].map((Member_Account) => ({ Member_Account })),
      });
      if (!asked.ok) return asked;
      const wanted = [...accounts.value.values()].filter(({ identifier }) => !asked.value.has(identifier));
      const done = isPull ? await pullIn(actor, found.value, wanted, silent) : await invite(actor, found.value, wanted);
      if (!done.ok) return done.error === 'GROUP_FULL' ? refuseFull(context, actor, group.conversationId) : done;
      const outcomes = done.value;
      return {
        ok: true,
        value: names.map((account) => {
          const outcome = outcomes.get(account) ?? 'failed';
          // Whoever is named again is a member by then.
          if (outcome === 'added') outcomes.set(account, 'was-member');
          return { account, outcome };
        }),
      };
    },

    async remove(actor, groupId, names, { silent, reason } = {}) {
      const found = await findGroup(context, actor, groupId);
      if (!found.ok) return found;
      const accounts = await findAccounts(context, actor.account.sdkAppId, names, 'MemberToDel_Account');
      if (!accounts.ok) return accounts;
      return changes.run(found.value.roster.group.conversationId, async (change) => {
        const nos = [...accounts.value.values()].map(({ no }) => no);
        const members = await change.members([actor.account.no, ...nos]);
        const standing = standingOf(actor, members.get(actor.account.no)?.role);
        const gone = nos.flatMap((no) => members.get(no) ?? []);
        const refusal =
          gone.map(({ role }) => mayRemove(change.type, standing, role)).find((one) => one !== undefined) ??
          mayRemove(change.type, standing, 'Member');
        if (refusal !== undefined) return refusal;
        await letGo(change, actor, gone, 'kick', { ...(silent === undefined ? {} : { silent }), reason });
        return { ok: true, value: undefined };
      });
    },

    async quit(actor, groupId) {
      const found = await findGroup(context, actor, groupId);
      if (!found.ok) return found;
      return changes.run(found.value.roster.group.conversationId, async (change) => {
        const self = (await change.members([actor.account.no])).get(actor.account.no);
        const refusal = mayQuit(change.type, self?.role ?? 'none');
        if (refusal !== undefined) return refusal;
        if (self !== undefined) await letGo(change, actor, [self], 'quit');
        return { ok: true, value: undefined };
      });
    },
  };
}
