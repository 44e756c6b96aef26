import type { AppLookup } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { Database } from '../../store/index.ts';
import type { ImRefusal, SdkAppId } from '../../wire/index.ts';
import type { Account, AccountNo } from '../model.ts';
import type { Bus, ProfileFields, ProfileReader, Profiles, Words } from '../services.ts';
import { customFields, describeType, findField, type ProfileField, standardFields, valueFault } from './fields.ts';

export interface ProfilesDeps {
  db: Pick<Database, 'pool'>;
  apps: Pick<AppLookup, 'get'>;
  words: Pick<Words, 'find'>;
  bus: Pick<Bus, 'publish'>;
  logger: Logger;
  metrics: Metrics;
}

/** A name that nobody knows is shown so far. */
const maxShownChars = 64;

/** The profiles of accounts (U1, U2, U7). Each look reads the database: profiles are asked for by the page, not by the message. */
export function createProfiles(deps: ProfilesDeps): Profiles {
  const { db, apps, words, bus, logger, metrics } = deps;
  const changes = metrics.counter('qalgate_im_profile_changes_total', 'Profiles that were changed, by whom', ['by']);

  return {
    async get(accounts, names, reader) {
      const asked = new Map<SdkAppId, Map<string, ProfileField>>();
      for (const account of accounts) {
        const fields = asked.get(account.sdkAppId) ?? fieldsIn(account.sdkAppId, names);
        if (!(fields instanceof Map)) return fields;
        asked.set(account.sdkAppId, fields);
        const as = reader(account);
        for (const [given, field] of fields) {
          if (mayRead(field, as)) continue;
          const reason = 'may be read by administrators of the app alone';
          return { ok: false, error: 'PROFILE_NO_READ_RIGHT', field: given, reason };
        }
      }
      const { rows } = await db.pool.query<{ id: AccountNo; profile: Record<string, string | number> }>({
        name: 'im_profiles',
        text: 'select id, profile from account where id = any ($1) and deleted_ms is null',
        values: [accounts.map(({ no }) => no)],
      });
      const stored = new Map(rows.map(({ id, profile }) => [id, profile]));
      const profiles = new Map<AccountNo, ProfileFields>();
      for (const { no, sdkAppId } of accounts) {
        const profile = stored.get(no);
        if (profile !== undefined) profiles.set(no, pick(profile, asked.get(sdkAppId)?.values() ?? []));
      }
      return { ok: true, value: profiles };
    },
    async set(account, input, by, linkId) {
      const fields = fieldsIn(account.sdkAppId, Object.keys(input));
      if (!(fields instanceof Map)) return fields;
      const values: [ProfileField, string | number][] = [];
      for (const [given, field] of fields) {
        const value = input[given];
        const refusal = checkWrite(account, given, field, value, by);
        if (refusal !== undefined) return refusal;
        if (values.some(([other]) => other.name === field.name)) {
          return { ok: false, error: 'PROFILE_TAG', field: given, reason: `is named twice: it is ${field.name}` };
        }
        values.push([field, value as string | number]);
      }
      // One statement: all of it or nothing.
      const { rowCount } = await db.pool.query({
        name: 'im_profile_set',
        text: 'update account set profile = profile || $2::jsonb where id = $1 and deleted_ms is null',
        values: [account.no, JSON.stringify(fieldsOf(values))],
      });
      if (rowCount !== 1) return { ok: false, error: 'PROFILE_ACCOUNT_UNKNOWN' };
      changes.inc({ by });
      const { sdkAppId, identifier } = account;
      logger.debug(
        { sdkAppId, account: identifier, fields: values.map(([{ name }]) => name), by },
        'im.profile.changed',
      );
      // Its terminals hear what the account itself may read.
      const visible = fieldsOf(values.filter(([field]) => mayRead(field, 'self')));
      if (Object.keys(visible).length > 0) {
        bus.publish(account.no, { kind: 'profile', account: identifier, fields: visible }, linkId);
      }
      return { ok: true, value: undefined };
    },
  };

  /** The fields of an app by what they were called; refuses what there is not. */
  function fieldsIn(sdkAppId: SdkAppId, names: readonly string[]): Map<string, ProfileField> | ImRefusal {
    const app = apps.get(sdkAppId);
    if (app === undefined) return { ok: false, error: 'APP_UNKNOWN' };
    const found = new Map<string, ProfileField>();
    for (const name of names) {
      const field = findField(app, name);
      if (field === undefined) {
        const all = [...standardFields, ...customFields(app)];
        const allowed = all.map((one) => (name.startsWith('Tag_') ? one.tag : one.name)).join(', ');
        const shown = name.slice(0, maxShownChars).toWellFormed();
        return { ok: false, error: 'PROFILE_TAG', field: shown, reason: 'is no field of profiles', allowed };
      }
      found.set(name, field);
    }
    return found;
  }

  function checkWrite(
    { sdkAppId }: Account,
    given: string,
    field: ProfileField,
    value: unknown,
    by: 'self' | 'administrator',
  ): ImRefusal | undefined {
    if (field.write === 'admin' && by !== 'administrator') {
      const reason = 'may be written by administrators of the app alone';
      return { ok: false, error: 'PROFILE_NO_WRITE_RIGHT', field: given, reason };
    }
    const fault = valueFault(field.type, value);
    if (fault !== undefined) return { ok: false, ...fault, field: given, allowed: describeType(field.type) };
    if (field.isPublicText === true && words.find(sdkAppId, value as string) !== undefined) {
      // Not the word itself: the list is not the caller's to learn.
      return { ok: false, error: 'PROFILE_DIRTY_WORD', field: given };
    }
    return undefined;
  }
}

function mayRead({ read }: ProfileField, reader: ProfileReader): boolean {
  return read === 'app' || reader === 'administrator';
}

function pick(profile: Readonly<Record<string, string | number>>, fields: Iterable<ProfileField>): ProfileFields {
  const picked: ProfileFields = {};
  for (const { name, default: standard } of fields) {
    const value = Object.hasOwn(profile, name) ? profile[name] : standard;
    if (value !== undefined) picked[name] = value;
  }
  return picked;
}

function fieldsOf(values: readonly (readonly [ProfileField, string | number])[]): ProfileFields {
  return Object.fromEntries(values.map(([{ name }, value]) => [name, value]));
}
