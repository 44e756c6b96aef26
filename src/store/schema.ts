import type { ColumnType, Generated } from 'kysely';
import type { SdkAppId } from '../wire/index.ts';
import type { AppSettings } from './app-settings.ts';

/**
 * The tables as Kysely sees them. `bigint` columns read as numbers (see `connection.ts`).
 * What a table is for stands in the migration that makes it.
 */
export interface Schema {
  meta: MetaTable;
  app: AppTable;
  session_revocation: SessionRevocationTable;
  cache_generation: CacheGenerationTable;
}

interface MetaTable {
  only_row: Generated<boolean>;
  store_epoch: Generated<string>;
  created_at: Generated<Date>;
}

interface AppTable {
  sdk_app_id: ColumnType<SdkAppId, SdkAppId, never>;
  origin: AppOrigin;
  /** Written as JSON text. */
  settings: ColumnType<Omit<AppSettings, 'secret'>, string, string>;
  sealed_secrets: string;
  created_at: ColumnType<Date, never, never>;
  updated_at: ColumnType<Date, never, Date>;
}

/** Who owns an app: the configuration file, or whoever made it by CLI or ops API. */
export type AppOrigin = 'config' | 'api';

interface SessionRevocationTable {
  sdk_app_id: SdkAppId;
  scope: 'terminal' | 'account';
  /** Terminal id or account identifier. */
  subject: string;
  /** Sessions issued before this end. */
  revoked_before: Date;
}

interface CacheGenerationTable {
  only_row: Generated<boolean>;
  generation: number;
}
