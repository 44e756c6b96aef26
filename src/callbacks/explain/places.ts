import { type RawBuilder, sql } from 'kysely';
import type { SdkAppId } from '../../wire/index.ts';
import type { Db } from './events.ts';
import type { EventFilter } from './queries.ts';

/** Numbers of accounts and of the conversation that a filter names. */
export interface Places {
  /** Of the account; undefined: none was named, or there is no such account. */
  readonly accountNo: number | undefined;
  readonly pair: readonly [number, number] | undefined;
  readonly conversationId: number | undefined;
  /** Somebody was named whom there is not. */
  readonly unknown: readonly string[];
}

/** Who there is of those that are named; accounts that were deleted are not found by name any more. */
export async function findPlaces(
  db: Db,
  sdkAppId: SdkAppId,
  { account, pair }: Pick<EventFilter, 'account' | 'pair'>,
): Promise<Places> {
  const names = [...(account === undefined ? [] : [account]), ...(pair ?? [])];
  const numbers = new Map<string, number>();
  if (names.length > 0) {
    const { rows } = await sql<{ id: number; identifier: string }>`
      select id, identifier from account
      where sdk_app_id = ${sdkAppId} and identifier = any (${names}) and deleted_ms is null`.execute(db);
    for (const { id, identifier } of rows) numbers.set(identifier, id);
  }
  const [a, b] = pair?.map((name) => numbers.get(name)) ?? [];
  const both = a === undefined || b === undefined ? undefined : ([a, b] as const);
  let conversationId: number | undefined;
  if (both !== undefined) {
    const { rows } = await sql<{ id: number }>`
      select id from conversation
      where kind = 1 and account_a = ${Math.min(...both)} and account_b = ${Math.max(...both)}`.execute(db);
    conversationId = rows[0]?.id;
  }
  return {
    accountNo: account === undefined ? undefined : numbers.get(account),
    pair: both,
    conversationId,
    unknown: [...new Set(names.filter((name) => !numbers.has(name)))],
  };
}

/** A condition on `column`, a drain key of the outbox or of a dead letter; undefined: nothing can fit. */
export function drainKeyIs(
  column: RawBuilder<unknown>,
  filter: Pick<EventFilter, 'account' | 'pair' | 'groupId'>,
  { accountNo, pair, conversationId }: Places,
): RawBuilder<unknown> | undefined {
  // No group has callbacks yet.
  if (filter.groupId !== undefined) return undefined;
  if (filter.pair !== undefined) {
    if (pair === undefined) return undefined;
    const [a, b] = pair;
    // Events of messages that are stored nowhere have these, where the two have no conversation.
    const keys = [...(conversationId === undefined ? [] : [String(conversationId)]), `p${a}-${b}`, `p${b}-${a}`];
    return sql`${column} = any (${keys})`;
  }
  if (filter.account === undefined) return sql`true`;
  if (accountNo === undefined) return undefined;
  return sql`(
    ${column} = ${`a${accountNo}`} or ${column} like ${`p${accountNo}-%`} or ${column} like ${`p%-${accountNo}`}
    or ${column} in (select m.conversation_id::text from member m where m.account_id = ${accountNo})
  )`;
}
