import { type RawBuilder, sql } from 'kysely';
import type { SdkAppId } from '../../wire/index.ts';
import type { Db } from './events.ts';
import type { EventFilter } from './queries.ts';
import { timeText } from './words.ts';

/**
 * Numbers of accounts and of the conversations that a filter names. A name may stand for several accounts: those that were deleted, and
 * the one that has it now.
 */
export interface Places {
  /** Of the account; empty: none was named, or there is no such account. */
  readonly accountNos: readonly number[];
  readonly pairs: readonly (readonly [number, number])[];
  /** Of the pairs; or of the groups of that id, which a group that was dismissed has left to another. */
  readonly conversationIds: readonly number[];
  /** What is to be said of the names: that there is nobody, or was. */
  readonly notes: readonly string[];
}

interface AccountRow {
  id: number;
  identifier: string;
  deleted_ms: number | null;
}

/** Accounts of one name, and groups of one id, that are looked at, the newest. */
const maxAccounts = 5;

/** Both halves have an index of their own. */
export const accountsEver = sql`(
  select id, sdk_app_id, identifier, deleted_ms from account where deleted_ms is null
  union all select id, sdk_app_id, identifier, deleted_ms from account where deleted_ms is not null
)`;

/** The same of groups. */
export const groupsEver = sql`(
  select conversation_id, sdk_app_id, group_id, dismissed_sec from chat_group where dismissed_sec is null
  union all select conversation_id, sdk_app_id, group_id, dismissed_sec from chat_group where dismissed_sec is not null
)`;

/** Who there is, or was, of those that are named. */
export async function findPlaces(
  db: Db,
  sdkAppId: SdkAppId,
  { account, pair, groupId }: Pick<EventFilter, 'account' | 'pair' | 'groupId'>,
): Promise<Places> {
  if (groupId !== undefined) return findGroups(db, sdkAppId, groupId);
  const names = new Set([...(account === undefined ? [] : [account]), ...(pair ?? [])]);
  if (names.size === 0) return { accountNos: [], pairs: [], conversationIds: [], notes: [] };
  const { rows } = await sql<AccountRow>`
    select id, identifier, deleted_ms from ${accountsEver} a
    where a.sdk_app_id = ${sdkAppId} and a.identifier = any (${[...names]})
    order by id desc limit 1000`.execute(db);
  const found = Map.groupBy(rows, ({ identifier }) => identifier);
  const numbersOf = (name: string): number[] => (found.get(name) ?? []).slice(0, maxAccounts).map(({ id }) => id);
  const [from, to] = pair ?? [];
  const pairs =
    from === undefined || to === undefined
      ? []
      : numbersOf(from).flatMap((a) => numbersOf(to).map((b) => [a, b] as const));
  return {
    accountNos: account === undefined ? [] : numbersOf(account),
    pairs,
    conversationIds: await conversationsOf(db, pairs),
    notes: [...names].flatMap((name) => noteOf(name, found.get(name) ?? [])),
  };
}

async function findGroups(db: Db, sdkAppId: SdkAppId, groupId: string): Promise<Places> {
  const { rows } = await sql<{ id: number; dismissed_sec: number | null }>`
    select conversation_id as id, dismissed_sec from ${groupsEver} g
    where g.sdk_app_id = ${sdkAppId} and g.group_id = ${groupId}
    order by conversation_id desc limit ${maxAccounts}`.execute(db);
  const gone = rows.find(({ dismissed_sec: sec }) => sec !== null);
  const isThere = rows.some(({ dismissed_sec: sec }) => sec === null);
  const notes: string[] = [];
  if (rows.length === 0) notes.push(`There is no group ${groupId}.`);
  if (gone !== undefined) {
    const at = timeText((gone.dismissed_sec ?? 0) * 1_000);
    notes.push(
      isThere
        ? `A group ${groupId} was dismissed at ${at}, and another has its id now: both are looked for.`
        : `The group ${groupId} was dismissed at ${at}.`,
    );
  }
  return { accountNos: [], pairs: [], conversationIds: rows.map(({ id }) => id), notes };
}

async function conversationsOf(db: Db, pairs: Places['pairs']): Promise<number[]> {
  if (pairs.length === 0) return [];
  const { rows } = await sql<{ id: number }>`
    select distinct c.id from unnest(
      ${pairs.map((pair) => Math.min(...pair))}::bigint[], ${pairs.map((pair) => Math.max(...pair))}::bigint[]
    ) as k(a, b)
    join conversation c on c.kind = 1 and c.account_a = k.a and c.account_b = k.b`.execute(db);
  return rows.map(({ id }) => id);
}

function noteOf(name: string, accounts: readonly AccountRow[]): string[] {
  if (accounts.length === 0) return [`There is no account ${name}.`];
  const gone = accounts.find(({ deleted_ms: deletedMs }) => deletedMs !== null);
  if (gone === undefined) return [];
  const at = timeText(gone.deleted_ms ?? 0);
  return accounts.some(({ deleted_ms: deletedMs }) => deletedMs === null)
    ? [`An account ${name} was deleted at ${at}, and another has its name now: both are looked for.`]
    : [`The account ${name} was deleted at ${at}.`];
}

/**
 * A condition on `column`, a drain key of the outbox or of a dead letter; undefined: nothing can fit. What happens in an account's groups is
 * the groups': whoever means it names the group.
 */
export function drainKeyIs(
  column: RawBuilder<unknown>,
  filter: Pick<EventFilter, 'account' | 'pair' | 'groupId'>,
  { accountNos, pairs, conversationIds }: Omit<Places, 'notes'>,
): RawBuilder<unknown> | undefined {
  if (filter.groupId !== undefined) {
    return conversationIds.length === 0 ? undefined : sql`${column} = any (${conversationIds.map(String)})`;
  }
  if (filter.pair !== undefined) {
    if (pairs.length === 0) return undefined;
    // Events of messages that are stored nowhere have these, where the two have no conversation.
    const keys = [...conversationIds.map(String), ...pairs.flatMap(([a, b]) => [`p${a}-${b}`, `p${b}-${a}`])];
    return sql`${column} = any (${keys})`;
  }
  if (filter.account === undefined) return sql`true`;
  if (accountNos.length === 0) return undefined;
  return sql`(
    ${column} = any (${accountNos.map((no) => `a${no}`)})
    or ${column} like any (${accountNos.flatMap((no) => [`p${no}-%`, `p%-${no}`])})
    or ${column} in (
      select m.conversation_id::text from member m where m.account_id = any (${[...accountNos]}) and m.role is null
    )
  )`;
}
