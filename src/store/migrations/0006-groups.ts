import { type Kysely, sql } from 'kysely';
import { patchFunction } from './patch-function.ts';

/**
 * Groups (RULES G): what a group is, who is in it, what is asked of whom; and the functions by which a change of a group and all that it
 * causes are one transaction. Times are Unix seconds (`_sec`) where the API shows them, else milliseconds (`_ms`).
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await tables(db);
  await commitFunctions(db);
  await blankedMessages(db);
  await noticesFunction(db);
}

async function tables(db: Kysely<unknown>): Promise<void> {
  // One row a group; its messages are those of the conversation of that number (kind 2), under whose lock it is changed.
  // is_hidden: not shown to others than its owner until the owner has said something (Private).
  // custom: JSON object of the app's own fields. info_seq rises with each change of the profile.
  // group_id of a group that was dismissed may be given to another one.
  await sql`
    create table chat_group (
      conversation_id bigint primary key,
      sdk_app_id bigint not null,
      group_id text collate "C" not null,
      type text collate "C" not null,
      name text not null,
      introduction text not null default '',
      notification text not null default '',
      face_url text not null default '',
      owner_id bigint,
      max_members integer not null,
      apply_option text not null check (apply_option in ('FreeAccess', 'NeedPermission', 'DisableApply')),
      is_muted boolean not null default false,
      is_hidden boolean not null default false,
      custom text not null default '{}',
      member_count integer not null default 0,
      info_seq bigint not null default 0,
      created_sec bigint not null,
      info_sec bigint not null,
      dismissed_sec bigint
    ) with (fillfactor = 70)`.execute(db);
  await sql`
    create unique index chat_group_name on chat_group (sdk_app_id, group_id) where dismissed_sec is null`.execute(db);
  await sql`create index chat_group_app on chat_group (sdk_app_id, conversation_id) where dismissed_sec is null`.execute(
    db,
  );
  // Operators look for what became of those that are gone, too.
  await sql`create index chat_group_dismissed on chat_group (sdk_app_id, group_id) where dismissed_sec is not null`.execute(
    db,
  );
  await sql`create index chat_group_owner on chat_group (owner_id) where dismissed_sec is null`.execute(db);

  // A stay in a group (role is null in other conversations); the one that goes on has no to_seq.
  // role: 1 member, 2 admin, 3 owner. last_sent_sec: of the account's last message of the stay.
  await sql`
    alter table member
      add column role smallint,
      add column joined_sec bigint,
      add column msg_flag text check (msg_flag in ('AcceptAndNotify', 'AcceptNotNotify', 'Discard')),
      add column name_card text,
      add column custom text,
      add column last_sent_sec bigint`.execute(db);
  await sql`
    create index member_groups on member (account_id) where to_seq is null and role is not null`.execute(db);
  // One stay of an account goes on at a time.
  await sql`
    create unique index member_current on member (conversation_id, account_id) where to_seq is null and role is not null`.execute(
    db,
  );

  // Who may not send until when; outlives stays (G27).
  await sql`
    create table group_mute (
      conversation_id bigint not null,
      account_id bigint not null,
      until_sec bigint not null,
      primary key (conversation_id, account_id)
    )`.execute(db);

  // Applications (kind 1) and invitations (kind 2). account_id: who is to become a member. auth: who answers has to know it.
  // result, once it was handled: 'agreed', 'refused', 'gone' (dismissed, deleted, or a member in another way).
  await sql`
    create table group_request (
      id bigint generated always as identity primary key,
      sdk_app_id bigint not null,
      conversation_id bigint not null,
      kind smallint not null check (kind in (1, 2)),
      account_id bigint not null,
      inviter_id bigint,
      wording text not null default '',
      user_field text not null default '',
      auth text not null,
      created_ms bigint not null,
      handled_ms bigint,
      handler_id bigint,
      result text check (result in ('agreed', 'refused', 'gone')),
      answer text
    )`.execute(db);
  // One open request of a kind: whoever asks again renews it.
  await sql`
    create unique index group_request_open on group_request (conversation_id, account_id, kind) where handled_ms is null`.execute(
    db,
  );
  await sql`create index group_request_account on group_request (account_id, id)`.execute(db);
  await sql`create index group_request_group on group_request (conversation_id, id)`.execute(db);
  // The oldest are forgotten.
  await sql`create index group_request_age on group_request ((coalesce(handled_ms, created_ms)))`.execute(db);

  // Groups made and dismissed on a day of the app's time zone (G4).
  await sql`
    create table group_quota (
      sdk_app_id bigint not null,
      day integer not null,
      created integer not null default 0,
      dismissed integer not null default 0,
      primary key (sdk_app_id, day)
    )`.execute(db);

  // What a group message carries besides: JSON of its priority and its sender as it was when it was accepted (G25), or that it is a tip.
  await sql`alter table message add column extra text`.execute(db);
}

/**
 * im_commit and im_commit_one with one argument more, p_extra. In groups (kind 2) they note when a member sent last (tips are the group's,
 * whoever caused them), and their entries in the outbox have the groups' command. Made from the functions of 0005, which stay for processes
 * of the release before.
 */
async function commitFunctions(db: Kysely<unknown>): Promise<void> {
  const command = (kind: string) =>
    `case ${kind} when 2 then 'Group.CallbackAfterSendMsg' else 'C2C.CallbackAfterSendMsg' end`;
  await patchFunction(db, 'im_commit', [
    ['p_origin text[])', 'p_origin text[], p_extra text[])'],
    [
      'p_lifetime, p_consumers, p_body, p_push, p_custom, p_origin',
      'p_lifetime, p_consumers, p_body, p_push, p_custom, p_origin, p_extra',
    ],
    [
      'lifetime, consumers, body, push, custom, origin, position',
      'lifetime, consumers, body, push, custom, origin, extra, position',
    ],
    ['select b.*, c.sdk_app_id,', 'select b.*, c.kind, c.sdk_app_id,'],
    [
      'counted_no, offline_until, body, push, custom_data, callbacks',
      'counted_no, offline_until, body, push, custom_data, callbacks, extra',
    ],
    ['new_time + lifetime, body, push, custom, consumers', 'new_time + lifetime, body, push, custom, consumers, extra'],
    [
      'set uncounted_after_read = m.uncounted_after_read + t.count',
      'set uncounted_after_read = m.uncounted_after_read + t.count, last_sent_sec = coalesce(t.sent, m.last_sent_sec)',
    ],
    [
      'select conversation_id, sender_id, count(*) as count from placed where does_count group by conversation_id, sender_id',
      `select conversation_id, sender_id, count(*) filter (where does_count) as count, max(new_time) filter (where kind = 2) as sent
          from placed where does_count or kind = 2 group by conversation_id, sender_id`,
    ],
    ["'C2C.CallbackAfterSendMsg', conversation_id, new_seq", `${command('kind')}, conversation_id, new_seq`],
  ]);
  await patchFunction(db, 'im_commit_one', [
    ['p_origin text, ', 'p_origin text, p_extra text, '],
    [
      'counted_no, offline_until, body, push, custom_data, callbacks',
      'counted_no, offline_until, body, push, custom_data, callbacks, extra',
    ],
    [
      'v_time + p_lifetime, p_body, p_push, p_custom, p_consumers',
      'v_time + p_lifetime, p_body, p_push, p_custom, p_consumers, p_extra',
    ],
    ['if v_counts then', 'if v_counts or c.kind = 2 then'],
    [
      'set uncounted_after_read = uncounted_after_read + 1',
      `set uncounted_after_read = uncounted_after_read + v_counts::integer,
          last_sent_sec = case when c.kind = 2 and p_extra is distinct from '{"tip":true}' then v_time else last_sent_sec end`,
    ],
    ["'C2C.CallbackAfterSendMsg', c.id, v_seq", `${command('c.kind')}, c.id, v_seq`],
  ]);
}

/** Messages of a group that an administrator has blanked (G36) have recall_no -1: they count as unread no more, and cannot be recalled. */
async function blankedMessages(db: Kysely<unknown>): Promise<void> {
  await patchFunction(db, 'im_read', [
    ['x.recall_no > 0', 'x.recall_no <> 0'],
    // Who has left meanwhile reads nothing any more.
    ['x.conversation_id = p_conversation order by', 'x.conversation_id = p_conversation and x.to_seq is null order by'],
  ]);
  await patchFunction(db, 'im_recall', [['if x.recall_no > 0 then', 'if x.recall_no <> 0 then']]);
}

/**
 * im_notices writes system notices into the inboxes of accounts (kind 3), made where there are none; one a row of the arrays. Inboxes are
 * locked in order of id, behind the lock of the group whose change causes them. A notice is a message without a sender.
 */
async function noticesFunction(db: Kysely<unknown>): Promise<void> {
  await sql`
    create function im_notices(p_app bigint, p_accounts bigint[], p_bodies text[], p_now_ms bigint)
    returns table (account_id bigint, conversation_id bigint, seq bigint, msg_time bigint)
    language plpgsql
    set plan_cache_mode = force_generic_plan
    set enable_seqscan = off
    as $$
    #variable_conflict use_column
    declare
      v_day integer := p_now_ms / 86400000;
    begin
      -- A plan for any number is one for few: it goes through all of them for each.
      if cardinality(p_accounts) > 50 then
        set local plan_cache_mode = force_custom_plan;
      end if;
      with made as (
        insert into conversation (sdk_app_id, kind, account_a)
        -- All in one order, or two that make the same ones would wait for each other.
        select p_app, 3, a from (select distinct a from unnest(p_accounts) as a) t
        where not exists (select from conversation c where c.kind = 3 and c.account_a = t.a)
        order by a
        on conflict (account_a) where kind = 3 do nothing
        returning id, account_a
      )
      insert into member (account_id, conversation_id) select account_a, id from made;
      perform 1 from conversation c where c.kind = 3 and c.account_a = any (p_accounts) order by c.id for update;
      return query
      with given as (
        select c.id, c.account_a, c.last_day, t.body,
          c.last_seq + row_number() over (partition by c.id order by t.position) as new_seq,
          greatest(c.last_time, p_now_ms / 1000) as new_time,
          greatest(c.last_stored_ms, p_now_ms) as new_stored_ms
        from unnest(p_accounts, p_bodies) with ordinality as t(account, body, position)
        join conversation c on c.kind = 3 and c.account_a = t.account
      ),
      stored as (
        insert into message (
          conversation_id, seq, day, sender_id, stored_ms, msg_time, msg_seq, msg_random, dedup_key, visible_to, counts,
          counted_no, offline_until, body
        )
        select id, new_seq, v_day, 0, new_stored_ms, new_time, 0, 0, null, 0, false, 0, 0, body from given
      ),
      moved as (
        update conversation c set
          last_seq = t.new_seq,
          last_time = t.new_time,
          last_day = greatest(c.last_day, v_day),
          last_stored_ms = t.new_stored_ms,
          a_last_seq = t.new_seq,
          a_last_time = t.new_time
        from (
          select id, max(new_seq) as new_seq, max(new_time) as new_time, max(new_stored_ms) as new_stored_ms
          from given group by id
        ) t
        where c.id = t.id
      ),
      days as (
        insert into conversation_day (conversation_id, day, first_seq)
        select id, v_day, min(new_seq) from given where last_day <> v_day group by id on conflict do nothing
      )
      select account_a, id, new_seq, new_time from given;
    end $$`.execute(db);
}
