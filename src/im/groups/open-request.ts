import { randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import type { Account } from '../model.ts';
import type { GroupContext } from './context.ts';
import type { OpenChange } from './group-change.ts';

/** As the database numbers them. */
export const requestKinds = { application: 1, invitation: 2 } as const;
export type RequestKind = keyof typeof requestKinds;

/** Writes down an application or an invitation of an account that is held, or renews the one that is open, and tells those who answer it (G12, G15). */
export async function openRequest(
  context: GroupContext,
  change: OpenChange,
  request: { kind: RequestKind; account: Account; inviter?: Account; wording?: string; userField?: string },
): Promise<void> {
  const { kind, account, inviter, wording = '', userField = '' } = request;
  const { group, tx } = change;
  const auth = randomBytes(18).toString('base64url');
  const { rows } = await sql<{ id: number }>`
    insert into group_request as r (
      sdk_app_id, conversation_id, kind, account_id, inviter_id, wording, user_field, auth, created_ms
    ) values (
      ${group.sdkAppId}, ${group.conversationId}, ${requestKinds[kind]}, ${account.no}, ${inviter?.no ?? null}, ${wording}, ${userField},
      ${auth}, ${context.clock()}
    )
    on conflict (conversation_id, account_id, kind) where handled_ms is null do update set
      inviter_id = excluded.inviter_id, wording = excluded.wording, user_field = excluded.user_field, auth = excluded.auth,
      created_ms = excluded.created_ms
    returning id`.execute(tx);
  const [row] = rows;
  if (row === undefined) return;
  const to = kind === 'invitation' ? [account.no] : (await change.managers()).map(({ no }) => no);
  change.notice(to, {
    kind: kind === 'invitation' ? 'invited' : 'applied',
    operator: (inviter ?? account).identifier,
    remark: wording,
    request: { key: String(row.id), auth },
    userField,
  });
}

/** Whatever the accounts were asked, or asked for, nobody answers any more (G20): they have become members, or are gone. */
export async function closeRequests({ tx, group, nowSec }: OpenChange, accounts: readonly Account[]): Promise<void> {
  if (accounts.length === 0) return;
  await sql`
    update group_request set handled_ms = ${nowSec * 1_000}, result = 'gone'
    where conversation_id = ${group.conversationId} and account_id = any (${accounts.map(({ no }) => no)})
      and handled_ms is null`.execute(tx);
}

/** Those of all accounts: the group is gone. */
export async function closeAllRequests({ tx, group, nowSec }: OpenChange): Promise<void> {
  await sql`
    update group_request set handled_ms = ${nowSec * 1_000}, result = 'gone'
    where conversation_id = ${group.conversationId} and handled_ms is null`.execute(tx);
}
