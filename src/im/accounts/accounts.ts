import { sql } from 'kysely';
import { LRUCache } from 'lru-cache';
import type { Revocations } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { ControlBus, Database } from '../../store/index.ts';
import type { AccountId, SdkAppId } from '../../wire/index.ts';
import type { Account, AccountNo, Clock } from '../model.ts';
import type { Accounts, LinkEnd } from '../services.ts';

export interface AccountsDeps {
  db: Database;
  bus: ControlBus;
  revocations: Pick<Revocations, 'revokeAccount'>;
  /** Ends the links of an account on every process. */
  endLinks(account: Account, end: LinkEnd): Promise<void>;
  clock: Clock;
  logger: Logger;
  metrics: Metrics;
}

export interface AccountsOptions {
  /** Accounts in memory at most. */
  maxCached: number;
}

const defaults: AccountsOptions = { maxCached: 100_000 };

/**
 * The accounts. An account that was found is remembered until it is deleted: the deletion tells every process, and a process
 * that may have missed it forgets all. A send by a process that has not heard of it yet is stopped by the conversation's
 * `auth_epoch`, which the deletion raises.
 */
export function createAccounts(
  deps: AccountsDeps,
  options: Partial<AccountsOptions> = {},
): Accounts & { close(): void } {
  const { db, bus, revocations, endLinks, clock, logger, metrics } = deps;
  const { maxCached } = { ...defaults, ...options };
  const known = new LRUCache<string, Account>({ max: maxCached });
  const names = new LRUCache<AccountNo, AccountId>({ max: maxCached });
  metrics.gaugeOf('qalgate_im_accounts_cached', 'Accounts in memory', () => known.size);

  /** Times that something was forgotten: what was read before one of them may be gone, and is not remembered. */
  let forgettings = 0;
  const stops = [
    bus.subscribe('accounts', (payload) => {
      forgettings += 1;
      const { sdkAppId, identifiers } = payload as { sdkAppId?: unknown; identifiers?: unknown };
      if (!Array.isArray(identifiers)) return;
      for (const identifier of identifiers) known.delete(keyOf(Number(sdkAppId), identifier));
    }),
    bus.onReconnect(() => {
      forgettings += 1;
      known.clear();
    }),
  ];

  async function look(sdkAppId: SdkAppId, identifiers: readonly AccountId[]): Promise<Account[]> {
    const before = forgettings;
    const { rows } = await db.pool.query<{ id: number; identifier: AccountId }>({
      name: 'im_accounts',
      text: 'select id, identifier from account where sdk_app_id = $1 and identifier = any ($2) and deleted_ms is null',
      values: [sdkAppId, identifiers],
    });
    const accounts = rows.map(({ id, identifier }): Account => ({ no: id as AccountNo, sdkAppId, identifier }));
    for (const account of accounts) {
      names.set(account.no, account.identifier);
      if (forgettings === before) known.set(keyOf(sdkAppId, account.identifier), account);
    }
    return accounts;
  }

  const findMany: Accounts['findMany'] = async (sdkAppId, identifiers) => {
    const found = new Map<AccountId, Account>();
    const missing: AccountId[] = [];
    for (const identifier of identifiers) {
      const account = known.get(keyOf(sdkAppId, identifier));
      if (account === undefined) missing.push(identifier);
      else found.set(identifier, account);
    }
    if (missing.length > 0) for (const account of await look(sdkAppId, missing)) found.set(account.identifier, account);
    return found;
  };

  const importAll: Accounts['importMany'] = async (sdkAppId, entries) => {
    // Of an account named twice the later entry counts, field by field.
    const merged = new Map<AccountId, Record<string, string>>();
    for (const { identifier, nick, faceUrl } of entries) {
      const fields = merged.get(identifier) ?? {};
      if (nick !== undefined) fields.nick = nick;
      if (faceUrl !== undefined) fields.faceUrl = faceUrl;
      merged.set(identifier, fields);
    }
    const rows = [...merged].sort(([a], [b]) => (a < b ? -1 : 1));
    const nowMs = clock();
    for (let i = 0; i < rows.length; i += 500) {
      const some = rows.slice(i, i + 500);
      await db.pool.query(
        `insert into account as a (sdk_app_id, identifier, profile, created_ms)
         select $1, identifier, profile, $4 from unnest($2::text[], $3::jsonb[]) as t(identifier, profile)
         on conflict (sdk_app_id, identifier) where deleted_ms is null
         do update set profile = a.profile || excluded.profile where excluded.profile <> '{}'`,
        [sdkAppId, some.map(([identifier]) => identifier), some.map(([, fields]) => JSON.stringify(fields)), nowMs],
      );
    }
  };

  return {
    findMany,
    async find(sdkAppId, identifier) {
      return known.get(keyOf(sdkAppId, identifier)) ?? (await findMany(sdkAppId, [identifier])).get(identifier);
    },
    async ensure(sdkAppId, identifier) {
      const account = known.get(keyOf(sdkAppId, identifier));
      if (account !== undefined) return account;
      // A deletion that comes between the two is as if it came after both: then the account is new.
      for (;;) {
        const found = (await findMany(sdkAppId, [identifier])).get(identifier);
        if (found !== undefined) return found;
        await importAll(sdkAppId, [{ identifier }]);
      }
    },
    importMany: importAll,
    async delete(sdkAppId, identifiers) {
      const accounts = await db.kysely.transaction().execute(async (transaction) => {
        const { rows } = await sql<{ id: number; identifier: AccountId }>`
          with locked as (
            select id from account
            where sdk_app_id = ${sdkAppId} and identifier = any (${[...identifiers]}) and deleted_ms is null
            order by identifier for no key update
          )
          update account a set deleted_ms = ${clock()}, profile = '{}' from locked where a.id = locked.id
          returning a.id, a.identifier`.execute(transaction);
        if (rows.length === 0) return [];
        const numbers = rows.map(({ id }) => id);
        // In order of id, like everybody who locks several.
        await sql`
          with locked as (
            select id from conversation where kind = 1 and (account_a = any (${numbers}) or account_b = any (${numbers}))
            order by id for update
          )
          update conversation c set auth_epoch = auth_epoch + 1 from locked where c.id = locked.id`.execute(
          transaction,
        );
        // From now on nobody is reached by it (S9), whatever becomes of this process after the commit.
        await sql`
          with locked as (select id from push_device where account_id = any (${numbers}) order by id for update)
          delete from push_device d using locked where d.id = locked.id`.execute(transaction);
        await sql`delete from push_settings where account_id = any (${numbers})`.execute(transaction);
        await sql`delete from audience_mark where account_id = any (${numbers})`.execute(transaction);
        // First: whoever hears of the kick knows by then that it is a deletion.
        await bus.publish('accounts', { sdkAppId, identifiers: rows.map(({ identifier }) => identifier) }, transaction);
        // An account that is gone has no sessions and UserSigs, whatever becomes of this process after the commit.
        for (const { identifier } of rows) await revocations.revokeAccount(sdkAppId, identifier, transaction);
        return rows.map(({ id, identifier }): Account => ({ no: id as AccountNo, sdkAppId, identifier }));
      });
      forgettings += 1;
      for (const { identifier } of accounts) known.delete(keyOf(sdkAppId, identifier));
      for (const account of accounts) {
        await endLinks(account, 'account-deleted');
        logger.info({ sdkAppId, account: account.identifier }, 'im.account.deleted');
      }
      return new Set(accounts.map(({ identifier }) => identifier));
    },
    async kick(sdkAppId, identifier) {
      const account = (await findMany(sdkAppId, [identifier])).get(identifier);
      if (account === undefined) return false;
      // First: a login that comes now is refused, one that came before has a link that ends.
      await revocations.revokeAccount(sdkAppId, identifier);
      await endLinks(account, 'kicked-by-admin');
      return true;
    },
    async names(numbers) {
      const missing = numbers.filter((no) => !names.has(no));
      if (missing.length > 0) {
        const { rows } = await db.pool.query<{ id: AccountNo; identifier: AccountId }>({
          name: 'im_account_names',
          text: 'select id, identifier from account where id = any ($1)',
          values: [missing],
        });
        for (const { id, identifier } of rows) names.set(id, identifier);
      }
      const found = new Map<AccountNo, AccountId>();
      for (const no of numbers) {
        const identifier = names.get(no);
        if (identifier !== undefined) found.set(no, identifier);
      }
      return found;
    },
    close() {
      for (const stop of stops) stop();
    },
  };
}

function keyOf(sdkAppId: SdkAppId, identifier: string): string {
  return `${sdkAppId}/${identifier}`;
}
