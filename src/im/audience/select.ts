import { CompiledQuery, sql } from 'kysely';
import type { Database } from '../../store/index.ts';
import type { SdkAppId } from '../../wire/index.ts';
import type { AccountNo } from '../model.ts';
import type { Term, Terms } from './terms.ts';

/** Of whom to find receivers. */
export interface Selection {
  readonly sdkAppId: SdkAppId;
  readonly terms: Terms;
  /** Who has a link at the moment alone. */
  readonly isOnline: boolean;
  /** Never a receiver; undefined: nobody is left out. */
  readonly sender: AccountNo | undefined;
  /** The last account that is looked at. */
  readonly through: number;
}

export interface Receivers {
  readonly accounts: readonly AccountNo[];
  /** Everybody up to here has been looked at. */
  readonly next: number;
}

/** For {@link nextReceivers}: with few rows the planner would read tables whole, and keep that plan while they grow. */
export const selectionSettings = {
  plan_cache_mode: 'force_generic_plan',
  enable_seqscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
  jit: 'off',
} as const;

// $1 app, $2 sender, $3 through, $4 after, $5 how many, $6 and $7 the terms of `and`, $8 and $9 those of `or`.
const range = (column: string) => `${column} > $4::bigint and ${column} <= $3::bigint`;

/**
 * Where candidates come from, in order of their number, so many of them: from the index that leaves fewest, however many accounts there
 * are. What else has to hold is looked up of each.
 */
const drivers = {
  everybody: `
    select a.id as account_id from account a
    where a.sdk_app_id = $1 and a.deleted_ms is null and ${range('a.id')} order by a.id limit $5::bigint`,
  online: `
    select distinct t.account_id from terminal t
    where t.node_id is not null and ${range('t.account_id')} order by t.account_id limit $5::bigint`,
  and: `
    select m.account_id from audience_mark m
    where m.sdk_app_id = $1 and m.slot = ($6::smallint[])[1] and m.value = ($7::text[])[1] and ${range('m.account_id')}
    order by m.account_id limit $5::bigint`,
  // The first ones of all together are among the first ones of each.
  or: `
    select distinct x.account_id from unnest($8::smallint[], $9::text[]) as t(slot, value)
    cross join lateral (
      select m.account_id from audience_mark m
      where m.sdk_app_id = $1 and m.slot = t.slot and m.value = t.value and ${range('m.account_id')}
      order by m.account_id limit $5::bigint
    ) x
    order by x.account_id limit $5::bigint`,
};
type Driver = keyof typeof drivers;

/** The account of each candidate. */
const accountOf = 'cross join lateral (select * from account a where a.id = c.account_id offset 0) a';

// Queries of their own and no joins: so each is one step of an index, whatever the planner believes of the tables.
const has = `(
  select true from audience_mark m where m.account_id = a.id and m.slot = t.slot and m.value = t.value
)`;
const hasAll = `not exists (select from unnest($6::smallint[], $7::text[]) as t(slot, value) where ${has} is null)`;
const hasOne = `exists (select from unnest($8::smallint[], $9::text[]) as t(slot, value) where ${has})`;
const hasLink = 'exists (select from terminal t where t.account_id = a.id and t.node_id is not null)';

function driverOf({ terms, isOnline }: Selection): Driver {
  if (terms.and.length > 0) return 'and';
  if (terms.or.length > 0) return 'or';
  return isOnline ? 'online' : 'everybody';
}

/** Which candidates are receivers, of `a`, the account. Names all parameters, so that PostgreSQL knows their types. */
function fits({ terms, isOnline }: Selection): string {
  return [
    'a.sdk_app_id = $1 and a.deleted_ms is null and a.id is distinct from $2::bigint',
    '$5::bigint is distinct from -1 and coalesce($6::smallint[], $8::smallint[]) is not null and coalesce($7::text[], $9::text[]) is not null',
    ...(terms.and.length > 0 ? [hasAll] : []),
    ...(terms.or.length > 0 ? [hasOne] : []),
    ...(isOnline ? [hasLink] : []),
  ].join(' and ');
}

function valuesOf({ sdkAppId, sender, through, terms }: Selection, after: number, limit: number): unknown[] {
  return [
    sdkAppId,
    sender ?? null,
    through,
    after,
    limit,
    terms.and.map(({ slot }) => slot),
    terms.and.map(({ value }) => value),
    terms.or.map(({ slot }) => slot),
    terms.or.map(({ value }) => value),
  ];
}

/**
 * The next receivers behind `after`, in order of their number. Looks at so many candidates: there may be fewer receivers among them, or
 * none, and still more behind. Of a database with {@link selectionSettings}.
 */
export async function nextReceivers(
  db: Pick<Database, 'pool'>,
  selection: Selection,
  { after, limit }: { after: number; limit: number },
): Promise<Receivers> {
  const driver = driverOf(selection);
  const { terms, isOnline, through } = selection;
  const { rows } = await db.pool.query<{ looked: number; last: number | null; accounts: AccountNo[] | null }>({
    name: `im_audience_${driver}${terms.or.length > 0 ? '_or' : ''}${isOnline ? '_online' : ''}`,
    text: `
      select count(*) as looked, max(c.account_id) as last,
        json_agg(c.account_id order by c.account_id) filter (where ${fits(selection)}) as accounts
      from (${drivers[driver]}) c ${accountOf}`,
    values: valuesOf(selection, after, limit),
  });
  const [row] = rows;
  const next = row === undefined || row.looked < limit ? through : (row.last ?? through);
  return { accounts: row?.accounts ?? [], next };
}

/**
 * How many receivers there are. Reads all of them: seconds, where there are millions. By joins of whole sets: asked one account after
 * another, a million would take half a minute.
 */
export async function countReceivers(db: Pick<Database, 'kysely'>, selection: Selection): Promise<number> {
  const { sdkAppId, terms, isOnline, sender, through } = selection;
  const values: unknown[] = [];
  const given = (value: unknown, type: string) => `$${values.push(value)}::${type}`;
  const app = given(sdkAppId, 'bigint');
  const hasMark = ({ slot, value }: Term) =>
    `(m.slot = ${given(slot, 'smallint')} and m.value = ${given(value, 'text')})`;
  const hasOneOf = (some: readonly Term[]) =>
    `a.id in (select m.account_id from audience_mark m where m.sdk_app_id = ${app} and (${some.map(hasMark).join(' or ')}))`;
  const conditions = [
    `a.sdk_app_id = ${app} and a.deleted_ms is null and a.id <= ${given(through, 'bigint')}`,
    `a.id is distinct from ${given(sender ?? null, 'bigint')}`,
    ...terms.and.map((term) => hasOneOf([term])),
    ...(terms.or.length > 0 ? [hasOneOf(terms.or)] : []),
    ...(isOnline ? ['a.id in (select t.account_id from terminal t where t.node_id is not null)'] : []),
  ];
  return await db.kysely.transaction().execute(async (trx) => {
    // Whatever it believes of tables that have just been filled: a nested loop over a million takes minutes.
    await sql`
      select set_config(name, setting, true) from (values
        ('enable_seqscan', 'on'), ('enable_hashjoin', 'on'), ('enable_mergejoin', 'on'), ('enable_nestloop', 'off'),
        ('plan_cache_mode', 'force_custom_plan')
      ) as t(name, setting)`.execute(trx);
    const { rows } = await trx.executeQuery<{ count: number }>(
      CompiledQuery.raw(`select count(*) as count from account a where ${conditions.join(' and ')}`, values),
    );
    return rows[0]?.count ?? 0;
  });
}
