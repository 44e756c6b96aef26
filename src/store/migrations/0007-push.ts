import { type Kysely, sql } from 'kysely';

/** Pushes (RULES S): where a device is reached, what is to be pushed to whom and what became of it. Times are milliseconds. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await tables(db);
}

async function tables(db: Kysely<unknown>): Promise<void> {
  await sql`alter table app add column sealed_push text`.execute(db);

  // Where a terminal is reached while it is not there: one row a kind of terminal of an account.
  // generation: of the login that set it, see terminal. Another login of the account ends it, on whatever device that is, so that
  // nobody's pushes go to a phone that he has given away (S9).
  // badge: what its icon shows, as far as we know. not_before_ms: its service wants no more until then.
  await sql`
    create table push_device (
      id bigint generated always as identity primary key,
      sdk_app_id bigint not null,
      account_id bigint not null references account (id) on delete cascade,
      platform text not null,
      generation bigint not null,
      channel text not null check (channel in ('apns', 'fcm')),
      token text collate "C" not null,
      environment text not null default 'production' check (environment in ('production', 'sandbox')),
      language text,
      badge integer not null default 0,
      registered_ms bigint not null,
      seen_ms bigint not null,
      not_before_ms bigint not null default 0
    ) with (fillfactor = 70)`.execute(db);
  await sql`create unique index push_device_terminal on push_device (account_id, platform)`.execute(db);
  // S9: a token is of one account, the last that set it.
  await sql`create unique index push_device_token on push_device (sdk_app_id, channel, token)`.execute(db);

  // What an account wants of its pushes (S4).
  await sql`
    create table push_settings (
      account_id bigint primary key references account (id) on delete cascade,
      is_on boolean not null default true,
      c2c_sound text,
      group_sound text,
      video_sound text
    )`.execute(db);

  // One push to one device, and why there was none. The queue of record: what waits has no done_ms.
  // kind: 1 of a message, 2 of the badge alone. priority: 0 of people's messages, 5 of campaigns; lower first.
  // device_id is null where the reason is of the message itself. counted: the device's badge was raised for it.
  // outcome: 'accepted' (by the service), 'skipped' (reason says why it was not to be), 'expired', 'dead', 'dropped' (by operators).
  // reason, status, took_ms: of the last attempt, too, while it waits.
  await sql`
    create table push_item (
      id bigint generated always as identity,
      day integer not null,
      sdk_app_id bigint not null,
      channel text not null,
      kind smallint not null check (kind in (1, 2)),
      priority smallint not null default 0,
      device_id bigint,
      account_id bigint,
      platform text,
      conversation_id bigint,
      seq bigint,
      campaign_id bigint,
      due_ms bigint not null default 0,
      deadline_ms bigint not null,
      attempts integer not null default 0,
      counted boolean not null default false,
      created_ms bigint not null,
      done_ms bigint,
      outcome text check (outcome in ('accepted', 'skipped', 'expired', 'dead', 'dropped')),
      reason text,
      status smallint,
      took_ms integer,
      provider_id text,
      primary key (id, day)
    ) partition by range (day)`.execute(db);
  await sql`
    create index push_item_waiting on push_item (sdk_app_id, channel, priority, due_ms) where done_ms is null`.execute(
    db,
  );
  await sql`create index push_item_device on push_item (device_id) where done_ms is null`.execute(db);
  await sql`create index push_item_message on push_item (conversation_id, seq) where conversation_id is not null`.execute(
    db,
  );
  await sql`create index push_item_dead on push_item (sdk_app_id, id) where outcome = 'dead'`.execute(db);
  await sql`create index push_item_campaign on push_item (campaign_id) where campaign_id is not null`.execute(db);
  await sql`create table push_item_default partition of push_item default`.execute(db);

  // What does not go out until it is resumed. channel '': both. actor 'service': its provider said what has to be mended first.
  await sql`
    create table push_pause (
      sdk_app_id bigint not null,
      channel text not null default '',
      reason text not null,
      actor text not null,
      since_ms bigint not null,
      primary key (sdk_app_id, channel)
    )`.execute(db);

  // Provider tokens of APNs, one a team and key for all processes: each that is made too soon after another is refused.
  await sql`
    create table push_provider_token (
      team_id text not null,
      key_id text not null,
      issued_ms bigint not null,
      sealed text not null,
      primary key (team_id, key_id)
    )`.execute(db);
}
