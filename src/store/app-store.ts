import { isDeepStrictEqual } from 'node:util';
import { type Kysely, type RawBuilder, type Selectable, sql } from 'kysely';
import Type from 'typebox';
import { Default } from 'typebox/value';
import type { SdkAppId } from '../wire/index.ts';
import { findAppGap, findRouteClash } from './app-rules.ts';
import { AppSchema, type AppSettings } from './app-settings.ts';
import type { Database } from './connection.ts';
import type { ControlBus } from './control-bus.ts';
import { joinPushKeys, type PushKeys, splitPushKeys } from './push-keys.ts';
import { done, type Refusal, type Result } from './result.ts';
import type { AppOrigin, Schema } from './schema.ts';
import type { Sealer } from './sealer.ts';

export interface StoredApp {
  settings: AppSettings;
  /** `config`: the configuration file owns it; `api`: made by CLI or ops API. */
  origin: AppOrigin;
  createdAt: Date;
  updatedAt: Date;
}

/**
 * The apps in the database, their secrets sealed. Settings have been checked against the schema before they come here.
 * Every change is told on the control bus, topic `apps`, as `{ sdkAppIds }`, in the transaction that makes it.
 *
 * Methods reject when the database does not answer, and with a StoreError MASTER_KEY when a secret does not open.
 */
export interface AppStore {
  /** All apps, by number. */
  list(): Promise<StoredApp[]>;
  get(sdkAppId: SdkAppId): Promise<StoredApp | undefined>;
  /** CONFLICT when the app exists or one of its routes belongs to another. */
  create(app: AppSettings): Promise<Result>;
  /** Replaces an app's settings. APP_UNKNOWN when there is none; CONFLICT when the configuration file owns it. */
  set(app: AppSettings, condition?: AppCondition): Promise<Result>;
  /** Ends an app and what is stored of it. APP_UNKNOWN, CONFLICT as above. */
  delete(sdkAppId: SdkAppId, condition?: AppCondition): Promise<Result>;
  /**
   * Makes the apps of the configuration file the stored ones of origin `config`: adds, replaces, and deletes
   * those that are gone from it. CONFLICT when an app made by CLI or API has the number or a route of one of them. All or nothing. Also seals
   * anew what an older master key sealed, so that the older one can go after a start with both.
   */
  applyConfigured(apps: readonly AppSettings[]): Promise<Result>;
}

/** A change that is made only to the app as it was read: else PRECONDITION_FAILED. */
export interface AppCondition {
  ifUpdatedAt?: Date;
}

type AppRow = Selectable<Schema['app']>;

const StoredSchema = Type.Omit(AppSchema, ['secret']);

/** Rows of an app that goes which one look finds, and one statement ends. */
const roundRows = 100_000;
const chunkRows = 5_000;

/** Settings as they are stored, and what is sealed of them. */
function split({ secret, callbacks, push, ...settings }: AppSettings) {
  const { secret: signing, signToken, ...openCallbacks } = callbacks;
  const { open: openPush, keys: pushKeys } = splitPushKeys(push);
  return {
    settings: { ...settings, callbacks: openCallbacks, push: openPush },
    secret,
    callbackKeys: { secret: signing, signToken },
    pushKeys,
  };
}

/** The time of a change tells it from the one before: it moves on even where the clock does not. */
const laterThanBefore = sql<Date>`greatest(clock_timestamp(), app.updated_at + interval '1 millisecond')`;

export function createAppStore(db: Database, deps: { sealer: Sealer; bus: ControlBus }): AppStore {
  const { sealer, bus } = deps;

  const toStored = (row: AppRow): StoredApp => {
    // An app stored by an older release has no value yet for what came later.
    const settings = Default(StoredSchema, row.settings) as Omit<AppSettings, 'secret'>;
    const callbackKeys =
      row.sealed_callbacks === null
        ? {}
        : JSON.parse(sealer.open(row.sealed_callbacks, callbackContextOf(row.sdk_app_id)));
    const pushKeys: PushKeys =
      row.sealed_push === null ? {} : JSON.parse(sealer.open(row.sealed_push, pushContextOf(row.sdk_app_id)));
    return {
      settings: {
        ...settings,
        callbacks: { ...settings.callbacks, ...callbackKeys },
        push: joinPushKeys(settings.push, pushKeys),
        secret: JSON.parse(sealer.open(row.sealed_secrets, contextOf(row.sdk_app_id))),
      },
      origin: row.origin,
      createdAt: row.created_at,
      updatedAt: row.updated_at,
    };
  };

  /**
   * One change of apps at a time, over all processes: routes are unique over apps, which no constraint of the table can
   * say. Readers are not held up.
   */
  function change(work: (trx: Kysely<Schema>) => Promise<{ result: Result; changed: SdkAppId[] }>): Promise<Result> {
    return db.kysely.transaction().execute(async (trx) => {
      await sql`lock table app in share row exclusive mode`.execute(trx);
      const { result, changed } = await work(trx);
      // A list that is too long for one message says "all" by being empty.
      const sdkAppIds = changed.length <= 500 ? changed : [];
      if (changed.length > 0) await bus.publish('apps', { sdkAppIds }, trx);
      return result;
    });
  }

  const refuse = (refusal: Refusal) => ({ result: refusal, changed: [] });

  async function write(trx: Kysely<Schema>, app: AppSettings, origin: AppOrigin): Promise<void> {
    const { settings, secret, callbackKeys, pushKeys } = split(app);
    const hasPushKeys = Object.values(pushKeys).some((key) => key !== undefined);
    const hasCallbackKeys = callbackKeys.secret !== undefined || callbackKeys.signToken !== undefined;
    const values = {
      origin,
      settings: JSON.stringify(settings),
      sealed_secrets: sealer.seal(JSON.stringify(secret), contextOf(app.sdkAppId)),
      sealed_callbacks: hasCallbackKeys
        ? sealer.seal(JSON.stringify(callbackKeys), callbackContextOf(app.sdkAppId))
        : null,
      sealed_push: hasPushKeys ? sealer.seal(JSON.stringify(pushKeys), pushContextOf(app.sdkAppId)) : null,
    };
    await trx
      .insertInto('app')
      .values({ sdk_app_id: app.sdkAppId, ...values })
      .onConflict((conflict) => conflict.column('sdk_app_id').doUpdateSet({ ...values, updated_at: laterThanBefore }))
      .execute();
  }

  /**
   * Ends most of what is stored of an app that is to go, so many rows at a time: a backlog at its bound takes longer than a statement
   * may, and the change that removes the app holds up every other.
   */
  async function clear(sdkAppId: SdkAppId): Promise<void> {
    for (let isAll = false; !isAll; ) {
      const { rows } = await sql<{ id: number; day: number }>`
        select id, day from outbox where sdk_app_id = ${sdkAppId} and done_ms is null limit ${roundRows}`.execute(
        db.kysely,
      );
      isAll = rows.length < roundRows;
      for (const [day, some] of Map.groupBy(rows, (row) => row.day)) {
        for (let at = 0; at < some.length; at += chunkRows) {
          // Not `done_ms is null`, which the planner might take for the index of what waits, and read all of that.
          await sql`
            update outbox set done_ms = 0, outcome = 'dropped'
            where day = ${day} and id = any (${some.slice(at, at + chunkRows).map(({ id }) => id)})
              and coalesce(done_ms, -1) = -1`.execute(db.kysely);
        }
      }
    }
    await inChunks(sql`
      with k as materialized (
        select id, day from push_item where sdk_app_id = ${sdkAppId} and done_ms is null limit ${chunkRows} for update skip locked
      )
      update push_item i set done_ms = 0, outcome = 'dropped' from k where i.id = k.id and i.day = k.day`);
    for (const table of ['push_device', 'dead_letter']) {
      await inChunks(sql`
        delete from ${sql.table(table)} where id in (
          select id from ${sql.table(table)} where sdk_app_id = ${sdkAppId} order by id limit ${chunkRows} for update
        )`);
    }
  }

  /** Repeats a statement that changes `chunkRows` at most until it finds fewer. */
  async function inChunks(statement: RawBuilder<unknown>): Promise<void> {
    for (let isAll = false; !isAll; ) {
      const { numAffectedRows = 0n } = await statement.execute(db.kysely);
      isAll = numAffectedRows < chunkRows;
    }
  }

  /** What has come since it was cleared goes with it. */
  async function remove(trx: Kysely<Schema>, sdkAppId: SdkAppId): Promise<void> {
    await trx.deleteFrom('session_revocation').where('sdk_app_id', '=', sdkAppId).execute();
    // Nobody is told any more; the rows go with their day. Devices and pushes in the order in which all lock several of them.
    await sql`
      with locked as (select id from push_device where sdk_app_id = ${sdkAppId} order by id for update)
      delete from push_device d using locked where d.id = locked.id`.execute(trx);
    await sql`
      with locked as (
        select id, day from push_item where sdk_app_id = ${sdkAppId} and done_ms is null order by id for update
      )
      update push_item i set done_ms = 0, outcome = 'dropped' from locked where i.id = locked.id and i.day = locked.day`.execute(
      trx,
    );
    await sql`update outbox set done_ms = 0, outcome = 'dropped' where sdk_app_id = ${sdkAppId} and done_ms is null`.execute(
      trx,
    );
    // Accounts and messages stay for an app that went by mistake, and so do campaigns: but they go on when somebody says so, not when there
    // is an app of that number again.
    await sql`
      update campaign set state = 'paused', actor = 'app deleted'
      where sdk_app_id = ${sdkAppId} and state in ('waiting', 'running')`.execute(trx);
    for (const table of [
      'dead_letter',
      'callback_gap',
      'callback_pause',
      'callback_trace',
      'callback_key_use',
      'callback_replay',
      'push_pause',
    ]) {
      await sql`delete from ${sql.table(table)} where sdk_app_id = ${sdkAppId}`.execute(trx);
    }
    await trx.deleteFrom('app').where('sdk_app_id', '=', sdkAppId).execute();
  }

  /** Settings without secrets: enough for the rules, and readable whatever the master key. */
  async function readRows(trx: Kysely<Schema>): Promise<Map<SdkAppId, AppRow>> {
    const rows = await trx.selectFrom('app').selectAll().orderBy('sdk_app_id').execute();
    return new Map(rows.map((row) => [row.sdk_app_id, row]));
  }

  function checkRules(app: AppSettings, rows: ReadonlyMap<SdkAppId, AppRow>): Refusal | undefined {
    const others = [...rows.values()].map((row) => ({ ...row.settings, secret: '' }));
    return findAppGap(app) ?? findRouteClash(app, others);
  }

  return {
    async list() {
      const rows = await db.kysely.selectFrom('app').selectAll().orderBy('sdk_app_id').execute();
      return rows.map(toStored);
    },

    async get(sdkAppId) {
      const row = await db.kysely.selectFrom('app').selectAll().where('sdk_app_id', '=', sdkAppId).executeTakeFirst();
      return row === undefined ? undefined : toStored(row);
    },

    create: (app) =>
      change(async (trx) => {
        const rows = await readRows(trx);
        const existing = rows.get(app.sdkAppId);
        if (existing !== undefined)
          return refuse(existing.origin === 'config' ? ownedByFile(app.sdkAppId) : exists(app));
        const refusal = checkRules(app, rows);
        if (refusal !== undefined) return refuse(refusal);
        await write(trx, app, 'api');
        return { result: done, changed: [app.sdkAppId] };
      }),

    set: (app, condition = {}) =>
      change(async (trx) => {
        const rows = await readRows(trx);
        const row = rows.get(app.sdkAppId);
        const refusal = checkOwner(row, app.sdkAppId) ?? checkCondition(row, condition) ?? checkRules(app, rows);
        if (refusal !== undefined) return refuse(refusal);
        await write(trx, app, 'api');
        return { result: done, changed: [app.sdkAppId] };
      }),

    async delete(sdkAppId, condition = {}) {
      const check = async (trx: Kysely<Schema>): Promise<Refusal | undefined> => {
        const row = (await readRows(trx)).get(sdkAppId);
        return checkOwner(row, sdkAppId) ?? checkCondition(row, condition);
      };
      const refused = await check(db.kysely);
      if (refused !== undefined) return refused;
      await clear(sdkAppId);
      return change(async (trx) => {
        const refusal = await check(trx);
        if (refusal !== undefined) return refuse(refusal);
        await remove(trx, sdkAppId);
        return { result: done, changed: [sdkAppId] };
      });
    },

    async applyConfigured(apps) {
      const configured = new Set(apps.map((app) => app.sdkAppId));
      const check = (stored: ReadonlyMap<SdkAppId, AppRow>): Refusal | undefined =>
        checkConfigured(apps, new Map([...stored].filter(([, row]) => row.origin === 'api')));
      const before = await readRows(db.kysely);
      const refused = check(before);
      if (refused !== undefined) return refused;
      for (const { sdk_app_id: sdkAppId, origin } of before.values()) {
        if (origin === 'config' && !configured.has(sdkAppId)) await clear(sdkAppId);
      }
      return change(async (trx) => {
        const stored = await readRows(trx);
        const refusal = check(stored);
        if (refusal !== undefined) return refuse(refusal);

        const changed: SdkAppId[] = [];
        for (const app of apps) {
          const row = stored.get(app.sdkAppId);
          if (row !== undefined && row.origin === 'config' && isSame(app, row)) continue;
          await write(trx, app, 'config');
          changed.push(app.sdkAppId);
        }
        for (const row of stored.values()) {
          if (configured.has(row.sdk_app_id)) continue;
          if (row.origin === 'config') {
            await remove(trx, row.sdk_app_id);
            changed.push(row.sdk_app_id);
          } else if (!isSealedAnew(row)) {
            await write(trx, toStored(row).settings, 'api');
          }
        }
        return { result: done, changed };
      });
    },
  };

  function checkConfigured(apps: readonly AppSettings[], kept: ReadonlyMap<SdkAppId, AppRow>): Refusal | undefined {
    const others: AppSettings[] = [...kept.values()].map((row) => ({ ...row.settings, secret: '' }));
    for (const [index, app] of apps.entries()) {
      if (kept.has(app.sdkAppId)) {
        const reason = `app ${app.sdkAppId} is in the database already, made by command or API`;
        const allowed = 'another number, or the file alone: delete the app in the database first';
        return { ok: false, code: 'CONFLICT', field: `apps[${index}].sdkAppId`, reason, allowed };
      }
      if (others.some((other) => other.sdkAppId === app.sdkAppId)) {
        const reason = `app ${app.sdkAppId} stands twice in the configuration`;
        return {
          ok: false,
          code: 'INVALID_FIELD',
          field: `apps[${index}].sdkAppId`,
          reason,
          allowed: 'one entry an app',
        };
      }
      const refusal = findAppGap(app) ?? findRouteClash(app, others);
      if (refusal !== undefined) return { ...refusal, field: `apps[${index}].${refusal.field}` };
      others.push(app);
    }
    return undefined;
  }

  /** Whether the newest master key sealed all of it: a program of a release before knows nothing of the later keys. */
  function isSealedAnew({ sealed_secrets, sealed_callbacks, sealed_push }: AppRow): boolean {
    return [sealed_secrets, sealed_callbacks, sealed_push].every(
      (sealed) => sealed === null || sealer.isNewest(sealed),
    );
  }

  /** Whether the row holds these settings, under the newest master key. A secret that does not open is replaced. */
  function isSame(app: AppSettings, row: AppRow): boolean {
    if (!isSealedAnew(row)) return false;
    return isDeepStrictEqual(JSON.parse(JSON.stringify(app)), toStored(row).settings);
  }
}

const contextOf = (sdkAppId: SdkAppId) => `app ${sdkAppId}`;
const callbackContextOf = (sdkAppId: SdkAppId) => `callbacks of app ${sdkAppId}`;
const pushContextOf = (sdkAppId: SdkAppId) => `pushes of app ${sdkAppId}`;

function checkOwner(row: AppRow | undefined, sdkAppId: SdkAppId): Refusal | undefined {
  if (row === undefined) {
    return { ok: false, code: 'APP_UNKNOWN', field: 'sdkAppId', reason: `no app has the number ${sdkAppId}` };
  }
  return row.origin === 'config' ? ownedByFile(sdkAppId) : undefined;
}

function exists(app: AppSettings): Refusal {
  const reason = `app ${app.sdkAppId} exists already`;
  return { ok: false, code: 'CONFLICT', field: 'sdkAppId', reason, allowed: 'a number that no app has' };
}

function ownedByFile(sdkAppId: SdkAppId): Refusal {
  const reason = `app ${sdkAppId} comes from the configuration: change it there and start again`;
  return { ok: false, code: 'CONFLICT', field: 'sdkAppId', reason };
}

function checkCondition(row: AppRow | undefined, { ifUpdatedAt }: AppCondition): Refusal | undefined {
  if (ifUpdatedAt === undefined || row?.updated_at.getTime() === ifUpdatedAt.getTime()) return undefined;
  return { ok: false, code: 'PRECONDITION_FAILED', reason: 'the app has been changed since it was read' };
}
