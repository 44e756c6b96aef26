import { type Kysely, sql } from 'kysely';
import { patchFunction } from './patch-function.ts';

const messagesAtOnce = 125;

/** Pushes to many (RULES B): tags and attributes of accounts, and campaigns, which send one message to all or some of them. Times are milliseconds. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await tables(db);
  await storeFunction(db);
  await waitingPushes(db);
}

async function tables(db: Kysely<unknown>): Promise<void> {
  // Names of an app's attributes, by slot. Values stand by slot: a name can be changed.
  await sql`
    create table audience_attribute (
      sdk_app_id bigint not null,
      slot smallint not null check (slot between 0 and 9),
      name text collate "C" not null,
      primary key (sdk_app_id, slot)
    )`.execute(db);

  // What accounts are found by: slot -1, a tag; 0 to 9, the value of that attribute, of which an account has one.
  await sql`
    create table audience_mark (
      account_id bigint not null references account (id) on delete cascade,
      slot smallint not null check (slot between -1 and 9),
      value text collate "C" not null,
      sdk_app_id bigint not null,
      primary key (account_id, slot, value)
    )`.execute(db);
  await sql`create unique index audience_mark_attribute on audience_mark (account_id, slot) where slot >= 0`.execute(
    db,
  );
  // Those of a tag in order of the account, from any of them on: that is how campaigns go through them.
  await sql`create index audience_mark_accounts on audience_mark (sdk_app_id, slot, value, account_id)`.execute(db);
  await sql`create index account_app on account (sdk_app_id, id) where deleted_ms is null`.execute(db);
  await sql`create index terminal_linked on terminal (account_id) where node_id is not null`.execute(db);

  // By both accounts, too: a planner that took it for one of them alone would read all conversations of an account that has many.
  await sql`drop index conversation_pair_b`.execute(db);
  await sql`create index conversation_pair_b on conversation (account_b, account_a) where kind = 1`.execute(db);

  // One push to many (B2, B5, B6). Its receivers are the accounts up to through_id (null: not begun) that fit the terms; those up to
  // cursor_id have been seen to. selected: how many there were as it began; finished: how many got it.
  // day: of the app's time zone. condition: as it was given, null: everybody; terms: the same with attributes by slot.
  // random, msg_seq: of all its messages. lifetime_sec 0: for those who are online, and stored nowhere.
  // state: 'waiting' until a process takes it up. actor: who paused, resumed or cancelled it last.
  await sql`
    create table campaign (
      id bigint generated always as identity primary key,
      sdk_app_id bigint not null,
      task_id text collate "C" not null,
      admin text not null,
      sender_id bigint not null,
      random bigint not null,
      msg_seq bigint not null,
      day integer not null,
      condition text,
      terms text not null,
      body text not null,
      push text,
      lifetime_sec bigint not null,
      state text not null default 'waiting' check (state in ('waiting', 'running', 'paused', 'done', 'cancelled')),
      through_id bigint,
      cursor_id bigint not null default 0,
      selected bigint not null default 0,
      finished bigint not null default 0,
      created_ms bigint not null,
      started_ms bigint,
      ended_ms bigint,
      actor text
    ) with (fillfactor = 70)`.execute(db);
  await sql`create unique index campaign_task on campaign (sdk_app_id, task_id)`.execute(db);
  await sql`create index campaign_app on campaign (sdk_app_id, id)`.execute(db);
  await sql`create index campaign_open on campaign (id) where state in ('waiting', 'running')`.execute(db);
}

/**
 * im_campaign_store sends a campaign's message to some of its receivers: conversations are made where there are none, the messages are
 * stored by im_commit, and the campaign moves on from p_after to p_next, all in one transaction. Nothing is done unless the campaign runs
 * and stands at p_after: whoever comes late, or goes on after others took over, sends to nobody twice.
 *
 * Gives the messages that were stored. prev: the seq before it that the receiver sees. Accounts that were deleted get none; where the
 * sender was, nobody does, and the campaign stays where it is.
 *
 * Locks the campaign, then the conversations in order of id, as everybody does. The settings are those of im_commit, for the same reasons.
 */
async function storeFunction(db: Kysely<unknown>): Promise<void> {
  // The conversation of the sender with account a; null: none.
  const conversation = sql`(
    select c.id from conversation c
    where c.kind = 1 and c.account_a = least(t.a, k.sender_id) and c.account_b = greatest(t.a, k.sender_id)
  )`;
  await sql`
    create function im_campaign_store(
      p_campaign bigint, p_after bigint, p_next bigint, p_accounts bigint[], p_consumers smallint, p_now_ms bigint
    ) returns table (account_id bigint, conversation_id bigint, seq bigint, msg_time bigint, prev bigint)
    language plpgsql
    set plan_cache_mode = force_generic_plan
    set enable_seqscan = off
    set enable_hashjoin = off
    set enable_mergejoin = off
    set jit = off
    as $$
    #variable_conflict use_column
    declare
      k campaign%rowtype;
      v_accounts bigint[];
      v_conversations bigint[];
      v_epochs integer[];
      v_count integer := 0;
      v_stored integer;
      v_to integer;
      v_n integer[];
    begin
      select * into k from campaign where id = p_campaign and state = 'running' and cursor_id = p_after for update;
      if not found then return; end if;
      if (select x.deleted_ms is not null from account x where x.id = k.sender_id) then return; end if;

      -- Look-ups stand as queries of their own in lists and conditions: as joins, tables without statistics would be read whole for each row.
      with missing as (
        select t.a from unnest(p_accounts) as t(a)
        where ${conversation} is null and (select x.deleted_ms is null from account x where x.id = t.a)
      ),
      made as (
        insert into conversation (sdk_app_id, kind, account_a, account_b)
        select k.sdk_app_id, 1, least(a, k.sender_id), greatest(a, k.sender_id) from missing order by a
        on conflict (account_a, account_b) where kind = 1 do nothing
        returning id, account_a, account_b
      )
      insert into member (account_id, conversation_id, read_time)
      select a, made.id, p_now_ms / 1000 from made, unnest(array[made.account_a, made.account_b]) as a;

      select array_agg(t.a order by t.a), array_agg(t.c order by t.a) into v_accounts, v_conversations
      from (select t.a, ${conversation} as c from unnest(p_accounts) as t(a) offset 0) t where t.c is not null;
      perform 1 from conversation where id = any (v_conversations) order by id for update;
      -- Behind the locks: a deletion raises the epochs of the conversations that it finds.
      if (select x.deleted_ms is not null from account x where x.id = k.sender_id) then return; end if;
      select array_agg(t.a order by t.a), array_agg(t.c order by t.a),
        array_agg((select c.auth_epoch from conversation c where c.id = t.c) order by t.a)
      into v_accounts, v_conversations, v_epochs
      from unnest(v_accounts, v_conversations) as t(a, c)
      where (select x.deleted_ms is null from account x where x.id = t.a);

      -- Some at a time: what im_commit costs a message rises with their number.
      for v_from in 1 .. coalesce(cardinality(v_accounts), 0) by ${sql.raw(String(messagesAtOnce))} loop
        v_to := least(v_from + ${sql.raw(String(messagesAtOnce - 1))}, cardinality(v_accounts));
        v_n := array[v_to - v_from + 1];
        return query
        select r.account, r.conversation, r.seq, r.msg_time,
          case when r.account < k.sender_id then r.prev_a else r.prev_b end
        from rows from (
          im_commit(
            p_now_ms, v_conversations[v_from:v_to], array_fill(k.sender_id, v_n), v_epochs[v_from:v_to],
            array_fill(null::text, v_n), array_fill(0::bigint, v_n), array_fill(p_now_ms / 1000, v_n),
            array_fill(k.msg_seq, v_n), array_fill(k.random, v_n), array_fill(2::smallint, v_n), array_fill(true, v_n),
            array_fill(k.lifetime_sec, v_n), array_fill(p_consumers, v_n), array_fill(k.body, v_n), array_fill(k.push, v_n),
            array_fill(null::text, v_n), array_fill('{"campaign":' || k.id || '}', v_n), array_fill(null::text, v_n)
          ),
          unnest(v_accounts[v_from:v_to], v_conversations[v_from:v_to])
        ) as r(status, seq, msg_time, msg_seq, msg_random, prev_a, prev_b, account, conversation)
        where r.status = 0;
        get diagnostics v_stored = row_count;
        v_count := v_count + v_stored;
      end loop;

      update campaign set
        cursor_id = p_next,
        finished = k.finished + v_count,
        state = case when p_next >= k.through_id then 'done' else k.state end,
        ended_ms = case when p_next >= k.through_id then p_now_ms end
      where id = k.id;
    end $$`.execute(db);
}

/**
 * Messages of campaigns that wait to be looked at for pushes have keys that begin with a letter, behind those of people's messages, which are
 * numbers: whoever takes entries in order of their keys has people's first, however many a campaign has left there.
 */
async function waitingPushes(db: Kysely<unknown>): Promise<void> {
  await patchFunction(db, 'im_commit', [
    [
      'select v_day, bit, sdk_app_id, conversation_id::text,',
      `select v_day, bit, sdk_app_id, case when origin like '{"campaign":%' then 'c' else '' end || conversation_id,`,
    ],
  ]);
  await patchFunction(db, 'push_read', [
    ['o.drain_key = p_conversation::text', `o.drain_key in (p_conversation::text, 'c' || p_conversation)`],
  ]);
}
