import type { ImRefusal } from '../../wire/index.ts';
import type { Actor } from '../group-services.ts';
import type { Account, ConversationId } from '../model.ts';
import type { GroupContext } from './context.ts';
import type { OpenChange } from './group-change.ts';
import { closeRequests } from './open-request.ts';

/**
 * Takes those in for whom there is room, in the order given, tells of it (G13, G14), and closes what they were asked or asked for besides.
 * How many found none.
 */
export async function takeIn(
  change: OpenChange,
  actor: Pick<Actor, 'origin'>,
  accounts: readonly Account[],
  { operator, how, silent = false }: { operator: Account; how: 'Apply' | 'Invited'; silent?: boolean },
): Promise<{ taken: readonly Account[]; left: readonly Account[] }> {
  const { group, type } = change;
  const room = Math.max(0, group.maxMembers - group.memberCount);
  const taken = accounts.slice(0, room);
  const left = accounts.slice(room);
  await change.join(taken.map((account) => ({ account })));
  await closeRequests(change, taken);
  if (taken.length > 0 && !silent) {
    const memberCount = group.memberCount + taken.length;
    change.tip(operator, {
      kind: 'join',
      operator: operator.identifier,
      members: taken.map(({ identifier }) => identifier),
      memberCount,
    });
    const pulled = taken.filter(({ no }) => no !== operator.no);
    if (how === 'Invited' && type.invite !== 'managers-invite') {
      change.notice(
        pulled.map(({ no }) => no),
        { kind: 'pulledIn', operator: operator.identifier },
      );
    }
  }
  for (const { identifier } of taken) {
    change.callback(
      'Group.CallbackAfterNewMemberJoin',
      {
        GroupId: group.groupId,
        Type: group.type,
        JoinType: how,
        Operator_Account: operator.identifier,
        NewMemberList: [{ Member_Account: identifier }],
      },
      actor,
    );
  }
  if (accounts.length > 0 && taken.length >= room) {
    change.callback('Group.CallbackAfterGroupFull', { GroupId: group.groupId }, actor);
  }
  return { taken, left };
}

/**
 * Refuses for want of room. The backend hears of that, too (K3): in a transaction of its own, as nothing is left of the one that was
 * refused.
 */
export async function refuseFull(
  { changes }: GroupContext,
  actor: Pick<Actor, 'origin'>,
  conversationId: ConversationId,
): Promise<ImRefusal> {
  await changes.run(conversationId, async (change) => {
    change.callback('Group.CallbackAfterGroupFull', { GroupId: change.group.groupId }, actor);
    return { ok: true, value: undefined };
  });
  return { ok: false, error: 'GROUP_FULL' };
}
