import { type Kysely, sql } from 'kysely';
import { patchFunction } from './patch-function.ts';

/** Callbacks: what a message remembers of its own, what became of each entry of the outbox, and what operators look into. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await tables(db);
  await gapFunction(db);
  await commitFunctions(db);
  await eventFunction(db);
}

async function tables(db: Kysely<unknown>): Promise<void> {
  await sql`alter table app add column sealed_callbacks text`.execute(db);
  // What was told of an account is looked for by its name when it is deleted, too.
  await sql`create index account_deleted on account (sdk_app_id, identifier) where deleted_ms is not null`.execute(db);
  // Who is told and why not, packed as in src/wire/callbacks.ts.
  await sql`alter table message add column callbacks smallint not null default 0`.execute(db);

  // outcome: null while it waits; 'delivered', 'dead', 'dropped', 'superseded' (a newer state of the terminal was told).
  // origin_id: of an entry that is sent again, the id of the first one, so that a receiver sees the same event.
  // status, took_ms: of the last attempt; attempt_log: JSON list of the last failed ones.
  await sql`
    alter table outbox
      add column origin_id bigint,
      add column outcome text check (outcome in ('delivered', 'dead', 'dropped', 'superseded')),
      add column status smallint,
      add column took_ms integer,
      add column attempt_log text`.execute(db);
  // For look-ups by time: rows come in the order of time, so this index costs next to nothing. Pages that it has not summarized yet
  // are read whole at each look: not until the next vacuum. Ranges of 1 MB: PostgreSQL takes up 256 of them a minute, and logs each that is
  // too much.
  await sql`
    create index outbox_created on outbox using brin (created_ms)
    with (pages_per_range = 128, autosummarize = on)`.execute(db);
  // Of what is sent again alone: every other row costs it nothing.
  await sql`create index outbox_origin on outbox (origin_id) where origin_id is not null`.execute(db);

  // What was given up, with all that it takes to send it again. request: what was sent, without secrets.
  await sql`
    create table dead_letter (
      id bigint generated always as identity primary key,
      sdk_app_id bigint not null,
      outbox_id bigint not null,
      origin_id bigint not null,
      command text not null,
      drain_key text not null,
      conversation_id bigint,
      seq bigint,
      reason text not null,
      request_body text,
      origin text,
      url text,
      response_status smallint,
      response_text text,
      attempts integer not null,
      attempt_log text,
      created_ms bigint not null,
      died_ms bigint not null
    )`.execute(db);
  await sql`create index dead_letter_app on dead_letter (sdk_app_id, id)`.execute(db);
  await sql`create index dead_letter_key on dead_letter (drain_key)`.execute(db);
  await sql`create index dead_letter_event on dead_letter (outbox_id)`.execute(db);
  // The same event under a later entry, by which it was sent again: a webhook-id says the first one.
  await sql`create index dead_letter_origin on dead_letter (origin_id)`.execute(db);

  // Events given up since the last that was delivered: the next one to the same URL names them. ids: the last ten, comma-separated.
  await sql`
    create table callback_gap (
      sdk_app_id bigint not null,
      drain_key text not null,
      command text not null,
      ids text not null,
      primary key (sdk_app_id, drain_key, command)
    )`.execute(db);

  // What does not go out until it is resumed. command '' and url_hash '': all of them.
  await sql`
    create table callback_pause (
      sdk_app_id bigint not null,
      command text not null default '',
      url_hash text not null default '',
      reason text not null,
      actor text not null,
      since_ms bigint not null,
      primary key (sdk_app_id, command, url_hash)
    )`.execute(db);

  // What is to be told of actions that left no message: asked about and refused, and before-calls that gave no decision.
  await sql`
    create table callback_trace (
      id bigint generated always as identity primary key,
      sdk_app_id bigint not null,
      at_ms bigint not null,
      command text not null,
      outcome text not null,
      detail text,
      took_ms integer,
      url text,
      from_account text,
      to_account text,
      group_id text,
      message_key text,
      webhook_id text
    )`.execute(db);
  await sql`create index callback_trace_app on callback_trace (sdk_app_id, id)`.execute(db);

  // When a signing key was last used, so that an operator sees when an old one may go.
  await sql`
    create table callback_key_use (
      sdk_app_id bigint not null,
      fingerprint text not null,
      last_used_ms bigint not null,
      primary key (sdk_app_id, fingerprint)
    )`.execute(db);

  // Events that are being sent again. cursor: the last row taken, in the order of (source, id).
  await sql`
    create table callback_replay (
      id bigint generated always as identity primary key,
      sdk_app_id bigint not null,
      source text not null check (source in ('dead', 'outbox')),
      filter text not null,
      per_sec integer not null,
      total bigint not null,
      done bigint not null default 0,
      cursor_id bigint not null default 0,
      through_id bigint not null,
      state text not null check (state in ('running', 'done', 'cancelled')),
      actor text not null,
      created_ms bigint not null,
      finished_ms bigint
    )`.execute(db);
}

/** callback_gap_ids puts more ids to those of a gap, and keeps the last ten. */
async function gapFunction(db: Kysely<unknown>): Promise<void> {
  await sql`
    create function callback_gap_ids(p_ids text, p_more text) returns text
    language sql immutable as $$
      select string_agg(id, ',' order by place) from (
        select id, place from unnest(string_to_array(p_ids || ',' || p_more, ',')) with ordinality as t(id, place)
        order by place desc limit 10
      ) last_ones;
    $$`.execute(db);
}

/**
 * im_commit and im_commit_one with one argument more, p_origin: JSON of where the message came from, for its entry in the
 * outbox; and with the message remembering p_consumers, which now also says why nobody is told. Made from the functions of 0003,
 * which stay for processes of the release before.
 */
async function commitFunctions(db: Kysely<unknown>): Promise<void> {
  await patchFunction(db, 'im_commit', [
    ['p_custom text[])', 'p_custom text[], p_origin text[])'],
    [
      'p_lifetime, p_consumers, p_body, p_push, p_custom',
      'p_lifetime, p_consumers, p_body, p_push, p_custom, p_origin',
    ],
    ['lifetime, consumers, body, push, custom, position', 'lifetime, consumers, body, push, custom, origin, position'],
    [
      'counted_no, offline_until, body, push, custom_data',
      'counted_no, offline_until, body, push, custom_data, callbacks',
    ],
    ['new_time + lifetime, body, push, custom', 'new_time + lifetime, body, push, custom, consumers'],
    ['conversation_id, seq, created_ms)', 'conversation_id, seq, created_ms, body)'],
    [
      "'message', conversation_id, new_seq, p_now_ms",
      "'C2C.CallbackAfterSendMsg', conversation_id, new_seq, p_now_ms, origin",
    ],
  ]);
  await patchFunction(db, 'im_commit_one', [
    ['p_custom text, ', 'p_custom text, p_origin text, '],
    [
      'counted_no, offline_until, body, push, custom_data',
      'counted_no, offline_until, body, push, custom_data, callbacks',
    ],
    // Why nobody is told is no entry.
    ['if p_consumers <> 0 then', 'if p_consumers & 3 <> 0 then'],
    ['v_time + p_lifetime, p_body, p_push, p_custom', 'v_time + p_lifetime, p_body, p_push, p_custom, p_consumers'],
    ['conversation_id, seq, created_ms)', 'conversation_id, seq, created_ms, body)'],
    ["'message', c.id, v_seq, p_now_ms", "'C2C.CallbackAfterSendMsg', c.id, v_seq, p_now_ms, p_origin"],
  ]);
}

/**
 * outbox_event writes down an event for those who want to be told (a bit each, as in im_commit), with its body: for whatever is
 * no stored message. p_command: a callback command. p_key orders it: a conversation's number, or `a` and an account's. Always
 * true, so that it can stand in a select list.
 */
async function eventFunction(db: Kysely<unknown>): Promise<void> {
  await sql`
    create function outbox_event(
      p_consumers integer, p_app bigint, p_key text, p_command text, p_body text, p_now_ms bigint
    ) returns boolean
    language sql as $$
      insert into outbox (day, consumer, sdk_app_id, drain_key, event, body, created_ms)
      select (p_now_ms / 86400000)::integer, bit, p_app, p_key, p_command, p_body, p_now_ms
      from unnest(array[1, 2]::smallint[]) as bit where p_consumers & bit <> 0;
      select true;
    $$`.execute(db);
  // The same name as before, and the same rows but for the event's name and the time in milliseconds.
  await sql`
    create or replace function im_state_event(
      p_consumers integer, p_app bigint, p_account bigint, p_identifier text, p_platform text, p_state text, p_reason text,
      p_now_ms bigint
    ) returns boolean
    language sql as $$
      select outbox_event(
        p_consumers, p_app, 'a' || p_account, 'State.StateChange', json_build_object(
          'account', p_identifier, 'platform', p_platform, 'state', p_state, 'reason', p_reason, 'timeMs', p_now_ms
        )::text, p_now_ms
      );
    $$`.execute(db);
}
