import { type Kysely, sql } from 'kysely';

/** Apps, ended sessions, and the sequences that serial numbers come from. */
export async function up(db: Kysely<unknown>): Promise<void> {
  // One row. The epoch names this store: a copy that was rewound gets another one, so that cursors notice.
  await sql`
    create table meta (
      only_row boolean primary key default true check (only_row),
      store_epoch uuid not null default gen_random_uuid(),
      created_at timestamptz not null default now()
    )`.execute(db);
  await sql`insert into meta default values`.execute(db);

  // settings hold no secret: those are in sealed_secrets, encrypted under the master key.
  await sql`
    create table app (
      sdk_app_id bigint primary key check (sdk_app_id between 1 and 4294967295),
      origin text not null check (origin in ('config', 'api')),
      settings jsonb not null,
      sealed_secrets text not null,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    )`.execute(db);

  // Sessions of a terminal (logout) or account (kick) issued before a moment have ended (A14). A terminal's row may go
  // once every session from before that moment has expired; an account's row also ends UserSigs and stays.
  await sql`
    create table session_revocation (
      sdk_app_id bigint not null,
      scope text not null check (scope in ('terminal', 'account')),
      subject text not null,
      revoked_before timestamptz not null,
      primary key (sdk_app_id, scope, subject)
    )`.execute(db);
  await sql`create index session_revocation_age on session_revocation (scope, revoked_before)`.execute(db);

  // Each value stands for a block of 2^20 numbers; the bound keeps every number below 2^53 (see serials.ts).
  await sql`create sequence request_serial as bigint minvalue 1 maxvalue 8589934591 no cycle`.execute(db);
  await sql`create sequence terminal_serial as bigint minvalue 1 maxvalue 8589934591 no cycle`.execute(db);
}
