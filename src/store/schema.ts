import type { ColumnType, Generated, GeneratedAlways } from 'kysely';
import type { AccountId, SdkAppId } from '../wire/index.ts';
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
  account: AccountTable;
  node: NodeTable;
  terminal: TerminalTable;
  conversation: ConversationTable;
  member: MemberTable;
  delivered: DeliveredTable;
  message: MessageTable;
  dirty_word: DirtyWordTable;
  task_lease: TaskLeaseTable;
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
  /** Keys of callbacks; null: none. */
  sealed_callbacks: string | null;
  sealed_push: string | null;
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

interface AccountTable {
  id: GeneratedAlways<number>;
  sdk_app_id: SdkAppId;
  identifier: AccountId;
  /** Written as JSON text. */
  profile: ColumnType<Record<string, string | number>, string | undefined, string>;
  login_generation: Generated<number>;
  offline_floor_ms: Generated<number>;
  created_ms: number;
  deleted_ms: number | null;
}

interface NodeTable {
  id: string;
  started_ms: number;
  lease_until: Date;
}

interface TerminalTable {
  account_id: number;
  platform: string;
  generation: number;
  state: 'online' | 'push-online' | 'offline';
  is_background: Generated<boolean>;
  node_id: string | null;
  link_id: string | null;
  last_there_ms: number;
  issued_sec: Generated<number>;
  kicked_ms: number | null;
  kicked_by: string | null;
}

interface ConversationTable {
  id: GeneratedAlways<number>;
  sdk_app_id: SdkAppId;
  kind: 1 | 2 | 3;
  account_a: number | null;
  account_b: number | null;
  last_seq: Generated<number>;
  last_time: Generated<number>;
  last_day: Generated<number>;
  counted: Generated<number>;
  recall_no: Generated<number>;
  auth_epoch: Generated<number>;
  a_last_seq: Generated<number>;
  a_last_time: Generated<number>;
  b_last_seq: Generated<number>;
  b_last_time: Generated<number>;
  last_stored_ms: Generated<number>;
}

interface MemberTable {
  account_id: number;
  conversation_id: number;
  from_seq: Generated<number>;
  to_seq: number | null;
  read_seq: Generated<number>;
  read_time: Generated<number>;
  read_counted: Generated<number>;
  uncounted_after_read: Generated<number>;
  cleared_through: Generated<number>;
  hidden_through: Generated<number>;
}

interface DeliveredTable {
  account_id: number;
  conversation_id: number;
  seq: number;
}

/** Written by `im_commit` and `im_recall` alone. */
interface MessageTable {
  conversation_id: number;
  seq: number;
  day: number;
  sender_id: number;
  stored_ms: number;
  msg_time: number;
  msg_seq: number;
  msg_random: number;
  dedup_key: string | null;
  visible_to: 0 | 1 | 2;
  counts: boolean;
  counted_no: number;
  offline_until: number;
  recall_no: number;
  body: string;
  push: string | null;
  custom_data: string | null;
}

interface DirtyWordTable {
  sdk_app_id: SdkAppId;
  word: string;
  added_ms: number;
}

interface TaskLeaseTable {
  task: string;
  holder: string;
  token: Generated<number>;
  lease_until: Date;
}
