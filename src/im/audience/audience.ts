import { type Kysely, sql } from 'kysely';
import type { Database, Schema } from '../../store/index.ts';
import type { ImResult, SdkAppId } from '../../wire/index.ts';
import type { Account, AccountNo } from '../model.ts';
import { namesOf, tagSlot } from './terms.ts';

/** Tags an account may have (API reference §8.4). */
export const maxTagsPerAccount = 100;

/** Tags and attributes of accounts, by which pushes to many find their receivers (B6). Changes are committed when they resolve. */
export interface Audience {
  /** The slots of the app's attributes, by name, in the order of the slots. */
  attributes(sdkAppId: SdkAppId): Promise<ReadonlyMap<string, number>>;
  /** Names attributes by slot, or gives them other names; their values stay. Refuses a name that another slot has. */
  nameAttributes(sdkAppId: SdkAppId, names: ReadonlyMap<number, string>): Promise<ImResult>;
  /** The values of accounts by the name of the attribute; of accounts without any an empty map. */
  values(sdkAppId: SdkAppId, accounts: readonly Account[]): Promise<Map<AccountNo, Map<string, string>>>;
  /** By slot. Of a pair that is named twice the later one counts. */
  setValues(entries: readonly (readonly [Account, ReadonlyMap<number, string>])[]): Promise<void>;
  removeValues(entries: readonly (readonly [Account, readonly number[]])[]): Promise<void>;
  tags(accounts: readonly Account[]): Promise<Map<AccountNo, string[]>>;
  /** All of them, or none where an account would have too many: then its place in the list is told. */
  addTags(
    entries: readonly (readonly [Account, readonly string[]])[],
  ): Promise<{ ok: true } | { ok: false; index: number; count: number }>;
  removeTags(entries: readonly (readonly [Account, readonly string[]])[]): Promise<void>;
  removeAllTags(accounts: readonly Account[]): Promise<void>;
}

/** Behind the lock: a deletion takes the marks that it finds, and who found the account before it shall leave none behind. */
const isThere = sql`(select a.deleted_ms is null from account a where a.id = t.account_id)`;
/** Space of our advisory locks: names of attributes, of an app. */
const lockSpace = 0x61_74_74_72;

export function createAudience({ db }: { db: Database }): Audience {
  const { kysely } = db;
  const change = <T>(work: (trx: Kysely<Schema>) => Promise<T>): Promise<T> => kysely.transaction().execute(work);

  /**
   * Whoever changes marks of an account waits for whoever does, and nobody for somebody who waits for him: in order of names, in which
   * accounts are imported and deleted, too.
   */
  async function lock(trx: Kysely<Schema>, numbers: readonly AccountNo[]): Promise<void> {
    await sql`select from account where id = any (${numbers}) order by identifier for no key update`.execute(trx);
  }

  async function readNames(from: Kysely<Schema>, sdkAppId: SdkAppId): Promise<Map<number, string>> {
    const { rows } = await sql<{ slot: number; name: string }>`
      select slot, name from audience_attribute where sdk_app_id = ${sdkAppId} order by slot`.execute(from);
    return new Map(rows.map(({ slot, name }) => [slot, name]));
  }

  async function readMarks(accounts: readonly Account[], lowest: number, highest: number) {
    const { rows } = await db.pool.query<{ account_id: AccountNo; slot: number; value: string }>({
      name: 'im_audience_marks',
      text: `
        select account_id, slot, value from audience_mark
        where account_id = any ($1) and slot between $2 and $3 order by account_id, slot, value`,
      values: [accounts.map(({ no }) => no), lowest, highest],
    });
    return rows;
  }

  return {
    async attributes(sdkAppId) {
      return new Map([...(await readNames(kysely, sdkAppId))].map(([slot, name]) => [name, slot]));
    },

    nameAttributes: (sdkAppId, names) =>
      change(async (trx) => {
        await sql`select pg_advisory_xact_lock(${lockSpace}, hashtext(${String(sdkAppId)}))`.execute(trx);
        const all = new Map([...(await readNames(trx, sdkAppId)), ...names]);
        const slots = new Map<string, number>();
        for (const [slot, name] of all) {
          const other = slots.get(name);
          if (other !== undefined) {
            // Of the two, the one that the caller named.
            const [own, its] = names.has(slot) ? [slot, other] : [other, slot];
            const field = `AttrNames.${own}`;
            return { ok: false, error: 'ATTRIBUTE', field, reason: `is the name of attribute ${its} already` };
          }
          slots.set(name, slot);
        }
        await sql`
          insert into audience_attribute (sdk_app_id, slot, name)
          select ${sdkAppId}, slot, name from unnest(${[...names.keys()]}::smallint[], ${[...names.values()]}::text[]) as t(slot, name)
          on conflict (sdk_app_id, slot) do update set name = excluded.name`.execute(trx);
        return { ok: true, value: undefined };
      }),

    async values(sdkAppId, accounts) {
      const names = await readNames(kysely, sdkAppId);
      const found = new Map(accounts.map(({ no }) => [no, new Map<string, string>()]));
      for (const { account_id, slot, value } of await readMarks(accounts, 0, 9)) {
        const name = names.get(slot);
        if (name !== undefined) found.get(account_id)?.set(name, value);
      }
      return found;
    },

    async setValues(entries) {
      const wanted = new Map<string, readonly [Account, number, string]>();
      for (const [account, values] of entries) {
        for (const [slot, value] of values) wanted.set(`${account.no}/${slot}`, [account, slot, value]);
      }
      const rows = [...wanted.values()];
      const numbers = rows.map(([{ no }]) => no);
      await change(async (trx) => {
        await lock(trx, numbers);
        await sql`
          insert into audience_mark (account_id, slot, value, sdk_app_id)
          select * from unnest(
            ${numbers}::bigint[], ${rows.map(([, slot]) => slot)}::smallint[], ${rows.map(([, , value]) => value)}::text[],
            ${rows.map(([{ sdkAppId }]) => sdkAppId)}::bigint[]
          ) as t(account_id, slot, value, sdk_app_id)
          where ${isThere}
          on conflict (account_id, slot) where slot >= 0 do update set value = excluded.value`.execute(trx);
      });
    },

    async removeValues(entries) {
      const rows = entries.flatMap(([{ no }, slots]) => slots.map((slot) => [no, slot] as const));
      const numbers = rows.map(([no]) => no);
      await change(async (trx) => {
        await lock(trx, numbers);
        await sql`
          delete from audience_mark m
          using unnest(${numbers}::bigint[], ${rows.map(([, slot]) => slot)}::smallint[]) as t(account_id, slot)
          where m.account_id = t.account_id and m.slot = t.slot`.execute(trx);
      });
    },

    async tags(accounts) {
      const found = new Map(accounts.map(({ no }) => [no, [] as string[]]));
      for (const { account_id, value } of await readMarks(accounts, tagSlot, tagSlot)) {
        found.get(account_id)?.push(value);
      }
      return found;
    },

    async addTags(entries) {
      const rows = entries.flatMap(([account, tags]) => tags.map((tag) => [account, tag] as const));
      const numbers = rows.map(([{ no }]) => no);
      try {
        await change(async (trx) => {
          await lock(trx, numbers);
          await sql`
            insert into audience_mark (account_id, slot, value, sdk_app_id)
            select account_id, ${tagSlot}, value, sdk_app_id from unnest(
              ${numbers}::bigint[], ${rows.map(([, tag]) => tag)}::text[], ${rows.map(([{ sdkAppId }]) => sdkAppId)}::bigint[]
            ) as t(account_id, value, sdk_app_id)
            where ${isThere}
            on conflict do nothing`.execute(trx);
          const { rows: full } = await sql<{ account_id: AccountNo; count: number }>`
            select account_id, count(*) as count from audience_mark
            where account_id = any (${numbers}) and slot = ${tagSlot}
            group by account_id having count(*) > ${maxTagsPerAccount} limit 1`.execute(trx);
          if (full[0] !== undefined) throw new TooManyTags(full[0].account_id, full[0].count);
        });
        return { ok: true };
      } catch (error) {
        if (!(error instanceof TooManyTags)) throw error;
        const index = entries.findIndex(([{ no }]) => no === error.account);
        return { ok: false, index, count: error.count };
      }
    },

    async removeTags(entries) {
      const rows = entries.flatMap(([{ no }, tags]) => tags.map((tag) => [no, tag] as const));
      const numbers = rows.map(([no]) => no);
      await change(async (trx) => {
        await lock(trx, numbers);
        await sql`
          delete from audience_mark m
          using unnest(${numbers}::bigint[], ${rows.map(([, tag]) => tag)}::text[]) as t(account_id, value)
          where m.account_id = t.account_id and m.slot = ${tagSlot} and m.value = t.value`.execute(trx);
      });
    },

    async removeAllTags(accounts) {
      const numbers = accounts.map(({ no }) => no);
      await change(async (trx) => {
        await lock(trx, numbers);
        await sql`delete from audience_mark where account_id = any (${numbers}) and slot = ${tagSlot}`.execute(trx);
      });
    },
  };
}

/** Ends the transaction that would give an account too many. */
class TooManyTags extends Error {
  override readonly name = 'TooManyTags';
  readonly account: AccountNo;
  readonly count: number;

  constructor(account: AccountNo, count: number) {
    super('an account would have too many tags');
    this.account = account;
    this.count = count;
  }
}

/** The slot of an attribute that a field names, or the refusal that its absence is. */
export function slotOf(slots: ReadonlyMap<string, number>, name: string, field: string): ImResult<number> {
  const slot = slots.get(name);
  if (slot !== undefined) return { ok: true, value: slot };
  const allowed = namesOf(slots);
  return { ok: false, error: 'ATTRIBUTE_UNKNOWN', field, reason: 'is no attribute of the app', allowed };
}
