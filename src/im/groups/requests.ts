import { timingSafeEqual } from 'node:crypto';
import { sql } from 'kysely';
import type { AccountId, ImRefusal, ImResult } from '../../wire/index.ts';
import type { Actor, GroupRequest, Groups, RequestAnswer } from '../group-services.ts';
import type { Account, AccountNo, ConversationId } from '../model.ts';
import { askBefore, findGroup, type GroupContext, standingOf } from './context.ts';
import type { OpenChange } from './group-change.ts';
import { refuseFull, takeIn } from './joining.ts';
import { openRequest, type RequestKind, requestKinds } from './open-request.ts';
import { mayAnswerApplications, mayApply } from './rights.ts';

interface RequestRow {
  id: number;
  conversation_id: ConversationId;
  kind: number;
  account_id: AccountNo;
  account: AccountId;
  inviter_id: AccountNo | null;
  inviter: AccountId | null;
  auth: string;
  handled_ms: number | null;
}

/** Applications, invitations and their answers (G12, G15, G16, G20). */
export function createRequests(
  context: GroupContext,
): Pick<Groups, 'apply' | 'answerApplication' | 'answerInvitation' | 'requests'> {
  const { db, changes, clock } = context;

  /** Whether the request is the one that the answer names, and still open. Under the group's lock. */
  async function takeRequest(
    change: OpenChange,
    kind: RequestKind,
    answer: RequestAnswer,
    handler: Account,
  ): Promise<ImResult<RequestRow>> {
    const { tx, group } = change;
    const { rows } = await sql<RequestRow>`
      select r.id, r.conversation_id, r.kind, r.account_id, a.identifier as account, r.inviter_id, i.identifier as inviter, r.auth,
        r.handled_ms
      from group_request r join account a on a.id = r.account_id left join account i on i.id = r.inviter_id
      where r.id = ${Number(answer.key)} and r.conversation_id = ${group.conversationId} and r.kind = ${requestKinds[kind]}`.execute(
      tx,
    );
    const [row] = rows;
    if (row === undefined || !isSame(row.auth, answer.auth)) {
      return {
        ok: false,
        error: 'GROUP_PARAMETER',
        field: 'MsgKey',
        reason: 'with Authentication names no request to this group',
      };
    }
    if (row.handled_ms !== null) return { ok: false, error: 'GROUP_REQUEST_HANDLED' };
    await sql`
      update group_request set handled_ms = ${clock()}, handler_id = ${handler.no}, answer = ${answer.words ?? ''},
        result = ${answer.agrees ? 'agreed' : 'refused'}
      where id = ${row.id}`.execute(tx);
    return { ok: true, value: row };
  }

  /** Answers, and takes the account in where that is agreed. */
  async function answerRequest(
    actor: Actor,
    kind: RequestKind,
    answer: RequestAnswer,
    check: (change: OpenChange, request: RequestRow) => Promise<ImRefusal | undefined>,
  ): Promise<ImResult> {
    if (!/^[1-9][0-9]{0,15}$/.test(answer.key)) {
      return { ok: false, error: 'GROUP_PARAMETER', field: 'MsgKey', reason: 'is no key of a request' };
    }
    const found = await findGroup(context, actor, answer.groupId);
    if (!found.ok) return found;
    const { conversationId } = found.value.roster.group;
    const done = await changes.run(conversationId, async (change): Promise<ImResult> => {
      const taken = await takeRequest(change, kind, answer, actor.account);
      if (!taken.ok) return taken;
      const refusal = await check(change, taken.value);
      if (refusal !== undefined) return refusal;
      const { account_id: no, inviter_id: inviterNo, inviter } = taken.value;
      const { sdkAppId } = actor.account;
      const account: Account = { no, sdkAppId, identifier: taken.value.account };
      const isMember = (await change.members([no])).has(no);
      if (answer.agrees && !isMember) {
        const operator =
          kind === 'invitation' && inviterNo !== null && inviter !== null
            ? { no: inviterNo, sdkAppId, identifier: inviter }
            : actor.account;
        const { left } = await takeIn(change, actor, [account], {
          operator,
          how: kind === 'invitation' ? 'Invited' : 'Apply',
        });
        if (left.length > 0) return { ok: false, error: 'GROUP_FULL' };
      }
      if (kind === 'application') {
        change.notice([no], {
          kind: answer.agrees ? 'accepted' : 'refused',
          operator: actor.account.identifier,
          remark: answer.words ?? '',
        });
      }
      return { ok: true, value: undefined };
    });
    return !done.ok && done.error === 'GROUP_FULL' ? refuseFull(context, actor, conversationId) : done;
  }

  return {
    async apply(actor, groupId, { wording, userField }) {
      const found = await findGroup(context, actor, groupId);
      if (!found.ok) return found;
      const { roster, type } = found.value;
      // Also the administrator, as the account that it is.
      const early = mayApply(type, roster.members.get(actor.account.no)?.role ?? 'none', roster.group.applyOption);
      if (early !== undefined) return early;
      const asked = await askBefore(context, actor, 'Group.CallbackBeforeApplyJoinGroup', groupId, {
        GroupId: groupId,
        Type: roster.group.type,
        Requestor_Account: actor.account.identifier,
      });
      if (!asked.ok) return asked;
      const done = await changes.run(
        roster.group.conversationId,
        async (change): Promise<ImResult<'joined' | 'waiting'>> => {
          const self = (await change.members([actor.account.no])).get(actor.account.no);
          const refusal = mayApply(change.type, self?.role ?? 'none', change.group.applyOption);
          if (refusal !== undefined) return refusal;
          if (change.group.applyOption === 'NeedPermission') {
            await change.hold([actor.account.no]);
            await openRequest(context, change, {
              kind: 'application',
              account: actor.account,
              ...(wording === undefined ? {} : { wording }),
              ...(userField === undefined ? {} : { userField }),
            });
            return { ok: true, value: 'waiting' as const };
          }
          const { left } = await takeIn(change, actor, [actor.account], { operator: actor.account, how: 'Apply' });
          return left.length > 0 ? { ok: false, error: 'GROUP_FULL' } : { ok: true, value: 'joined' };
        },
      );
      return !done.ok && done.error === 'GROUP_FULL' ? refuseFull(context, actor, roster.group.conversationId) : done;
    },

    answerApplication: (actor, answer) =>
      answerRequest(actor, 'application', answer, async (change) => {
        const self = (await change.members([actor.account.no])).get(actor.account.no);
        return mayAnswerApplications(change.type, standingOf(actor, self?.role));
      }),

    answerInvitation: (actor, answer) =>
      answerRequest(actor, 'invitation', answer, async (_, { account_id: invited }) =>
        invited === actor.account.no
          ? undefined
          : { ok: false, error: 'GROUP_FORBIDDEN', reason: 'the invitation is of another account' },
      ),

    async requests(account, { before, limit }) {
      const { rows } = await db.pool.query<{
        id: number;
        kind: number;
        group_id: string;
        name: string;
        account: AccountId;
        inviter: AccountId | null;
        wording: string;
        user_field: string;
        auth: string;
        created_ms: number;
        result: 'agreed' | 'refused' | 'gone' | null;
        handler: AccountId | null;
        answer: string | null;
      }>({
        name: 'im_group_requests',
        text: `
          select r.id, r.kind, g.group_id, g.name, a.identifier as account, i.identifier as inviter, r.wording, r.user_field, r.auth,
            r.created_ms, r.result, h.identifier as handler, r.answer
          from (
            select id from group_request where account_id = $1 and kind = 2 and id < $2
            union all
            select q.id from member m
              join group_request q on q.conversation_id = m.conversation_id and q.kind = 1 and q.id < $2
            where m.account_id = $1 and m.to_seq is null and m.role > 1
            order by id desc limit $3
          ) k
          join group_request r on r.id = k.id
          join chat_group g on g.conversation_id = r.conversation_id
          join account a on a.id = r.account_id
          left join account i on i.id = r.inviter_id
          left join account h on h.id = r.handler_id
          order by r.id desc`,
        values: [account.no, before ?? Number.MAX_SAFE_INTEGER, limit],
      });
      return rows.map(
        (row): GroupRequest => ({
          kind: row.kind === requestKinds.application ? 'application' : 'invitation',
          groupId: row.group_id,
          groupName: row.name,
          account: row.account,
          ...(row.inviter === null ? {} : { inviter: row.inviter }),
          wording: row.wording,
          userField: row.user_field,
          key: String(row.id),
          auth: row.auth,
          sec: Math.floor(row.created_ms / 1_000),
          ...(row.result === null ? {} : { result: row.result }),
          ...(row.handler === null ? {} : { handler: row.handler }),
          ...(row.answer === null || row.result === null ? {} : { answer: row.answer }),
        }),
      );
    },
  };
}

function isSame(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
