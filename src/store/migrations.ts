import { type Kysely, sql } from 'kysely';
import { type Migration, Migrator } from 'kysely/migration';
import type { Logger } from '../observe/index.ts';
import * as apps from './migrations/0001-apps.ts';
import * as cacheGeneration from './migrations/0002-cache-generation.ts';
import * as messaging from './migrations/0003-messaging.ts';
import * as presence from './migrations/0004-presence.ts';
import * as callbacks from './migrations/0005-callbacks.ts';
import * as groups from './migrations/0006-groups.ts';
import * as push from './migrations/0007-push.ts';
import * as campaigns from './migrations/0008-campaigns.ts';
import type { Schema } from './schema.ts';
import { codeOf, StoreError } from './store-error.ts';

/**
 * The schema's history. A migration expands first and contracts one release later, so that processes of the release
 * before run beside it: a program written for schema N works with N and N+1. There is no way down.
 */
const migrations: Record<string, Migration> = {
  '0001-apps': apps,
  '0002-cache-generation': cacheGeneration,
  '0003-messaging': messaging,
  '0004-presence': presence,
  '0005-callbacks': callbacks,
  '0006-groups': groups,
  '0007-push': push,
  '0008-campaigns': campaigns,
};

/** N: the schema that this program was written for. */
export const schemaVersion = Object.keys(migrations).length;

/** The number of the newest migration that the database has; 0: none yet. */
export async function readSchemaVersion(db: Kysely<Schema>): Promise<number> {
  try {
    const { rows } = await sql<{ name: string }>`
      select name from kysely_migration order by name desc limit 1`.execute(db);
    return Number.parseInt(rows[0]?.name ?? '0', 10);
  } catch (error) {
    if (codeOf(error) === '42P01') return 0;
    throw error;
  }
}

/** Whether this program works with a database of that schema version; throws SCHEMA_VERSION with what to do. Pure. */
export function checkSchemaVersion(found: number, remedyIfOlder: string): void {
  if (found === schemaVersion || found === schemaVersion + 1) return;
  const state = `the database has schema ${found}; this program works with ${schemaVersion} and ${schemaVersion + 1}`;
  const remedy =
    found < schemaVersion
      ? remedyIfOlder
      : 'it was migrated by a newer release: run that release, or one at most one schema older';
  throw new StoreError('SCHEMA_VERSION', `${state}; ${remedy}`);
}

/**
 * Brings the schema up to N; leaves one that is newer alone. Each migration either happens whole or not at all, and
 * processes that migrate at once wait for one another: Kysely runs all in one transaction under an advisory lock.
 */
export async function migrateSchema(
  db: Kysely<Schema>,
  deps: { logger: Logger },
): Promise<{ from: number; to: number }> {
  const from = await readSchemaVersion(db);
  if (from >= schemaVersion) return { from, to: from };
  const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } });
  const { error, results } = await migrator.migrateToLatest();
  for (const result of results ?? []) {
    if (result.status === 'Success') deps.logger.info({ migration: result.migrationName }, 'store.schema.migrated');
  }
  if (error !== undefined) throw error;
  return { from, to: schemaVersion };
}
