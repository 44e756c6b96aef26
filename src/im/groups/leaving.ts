import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../../observe/index.ts';
import type { Actor } from '../group-services.ts';
import type { Account, ConversationId } from '../model.ts';
import type { GroupContext } from './context.ts';
import type { OpenChange } from './group-change.ts';
import type { GroupMember } from './model.ts';
import { closeRequests } from './open-request.ts';
import { isMember } from './rows.ts';

/** Ends stays and tells of it. */
export async function letGo(
  change: OpenChange,
  actor: Actor,
  gone: readonly GroupMember[],
  how: 'quit' | 'kick',
  { silent = false, reason, isGone = false }: { silent?: boolean; reason?: string | undefined; isGone?: boolean } = {},
): Promise<void> {
  if (gone.length === 0) return;
  const { identifier: operator } = actor.account;
  await change.leave(gone.map(({ no }) => no));
  const isQuit = how === 'quit';
  // Nobody is left who would show it by what he says.
  if (gone.some(({ role }) => role === 'Owner')) await change.setGroup({ owner: undefined, isHidden: false });
  const { group } = change;
  const names = gone.map(({ account }) => account);
  if (!silent) {
    change.tip(
      actor.account,
      isQuit
        ? { kind: 'quit', operator, memberCount: group.memberCount }
        : { kind: 'kick', operator, members: names, memberCount: group.memberCount },
    );
    // An account that is gone reads nothing.
    change.notice(isGone ? [] : gone.map(({ no }) => no), {
      kind: isQuit ? 'quit' : 'kicked',
      operator,
      ...(reason === undefined ? {} : { remark: reason }),
    });
  }
  change.callback(
    'Group.CallbackAfterMemberExit',
    {
      GroupId: group.groupId,
      Type: group.type,
      ExitType: isQuit ? 'Quit' : 'Kicked',
      Operator_Account: operator,
      ExitMemberList: names.map((Member_Account) => ({ Member_Account })),
    },
    actor,
  );
}

/**
 * Takes an account that was deleted out of its groups, as if it had quit them; a group that it owned goes on without an owner. What it
 * asked for, or was asked, is nobody's any more. Nothing of it comes after: whoever takes it in, or asks it, holds it and finds it deleted.
 */
export async function leaveAll({ db, changes }: GroupContext, account: Account): Promise<void> {
  const { rows } = await db.pool.query<{ conversation_id: ConversationId }>(
    `select m.conversation_id from member m where m.account_id = $1 and ${isMember}
     union select conversation_id from group_request where account_id = $1 and handled_ms is null
     order by conversation_id`,
    [account.no],
  );
  const actor: Actor = { account, authority: 'self', origin: { platform: 'RESTAPI', address: '' } };
  for (const { conversation_id: id } of rows) {
    await changes.run(id, async (change) => {
      await closeRequests(change, [account]);
      const self = (await change.members([account.no])).get(account.no);
      if (self !== undefined) await letGo(change, actor, [self], 'quit', { isGone: true });
      return { ok: true, value: undefined };
    });
  }
}

export interface LeavingOptions {
  /** Pause between two looks; default one hour. */
  everyMs?: number;
}

/** Has deleted accounts leave that did not: at once and from time to time, as the database may be away when somebody is deleted. */
export function keepLeaving(
  context: GroupContext,
  { logger }: { logger: Logger },
  { everyMs = 3_600_000 }: LeavingOptions = {},
): { close(): Promise<void> } {
  const stop = new AbortController();
  const { signal } = stop;

  async function loop(): Promise<void> {
    while (!signal.aborted) {
      await leaveForgotten(context, signal).catch((error: unknown) => {
        logger.error({ err: error }, 'im.groups.leave.failed');
      });
      await delay(everyMs, undefined, { signal, ref: false }).catch(() => {});
    }
  }
  const looping = loop();

  return {
    async close() {
      stop.abort();
      await looping;
    },
  };
}

/**
 * Takes those out whose deletion was committed, by a process that ended or failed before they had left. Those that another one is about to
 * take out are no harm: who has left is no member any more.
 */
async function leaveForgotten(context: GroupContext, signal: AbortSignal): Promise<void> {
  const { rows } = await context.db.pool.query<Account>(`
    select a.id as no, a.sdk_app_id as "sdkAppId", a.identifier from account a
    where a.deleted_ms is not null and (
      exists (select from member m where m.account_id = a.id and ${isMember})
      or exists (select from group_request r where r.account_id = a.id and r.handled_ms is null)
    )
    order by a.id`);
  for (const account of rows) {
    if (signal.aborted) return;
    await leaveAll(context, account);
  }
}
