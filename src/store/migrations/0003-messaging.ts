import { type Kysely, sql } from 'kysely';

/**
 * The messaging core: accounts, terminals, conversations and their messages, and the functions that change them in one
 * round trip. Times are milliseconds (`_ms`) or, where the API shows them, Unix seconds; `day` is days since 1970 (UTC).
 * Every function takes the time as an argument: the caller's clock rules, so a test can move it.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await tables(db);
  await commitFunction(db);
  await readFunction(db);
  await recallFunction(db);
}

async function tables(db: Kysely<unknown>): Promise<void> {
  // An account that was deleted keeps its row, so that its peers' messages still say who sent them; its name is free.
  // login_generation numbers its logins over all terminals (P5). What was stored before offline_floor_ms fell out of its
  // offline delivery (M6).
  await sql`
    create table account (
      id bigint generated always as identity primary key,
      sdk_app_id bigint not null,
      identifier text collate "C" not null,
      profile jsonb not null default '{}',
      login_generation bigint not null default 0,
      offline_floor_ms bigint not null default 0,
      created_ms bigint not null,
      deleted_ms bigint
    ) with (fillfactor = 80)`.execute(db);
  await sql`create unique index account_identifier on account (sdk_app_id, identifier) where deleted_ms is null`.execute(
    db,
  );

  // A process that holds links. One whose lease has run out is dead: another ends its terminals (P7).
  await sql`
    create table node (
      id text primary key,
      started_ms bigint not null,
      lease_until timestamptz not null
    )`.execute(db);

  // One row a kind of terminal of an account: where its link is, or why there is none.
  await sql`
    create table terminal (
      account_id bigint not null references account (id) on delete cascade,
      platform text not null,
      generation bigint not null,
      state text not null check (state in ('online', 'push-online', 'offline')),
      is_background boolean not null default false,
      node_id text,
      link_id text,
      last_there_ms bigint not null,
      -- Set when another login ended it while it could not be told: told once, at its next login.
      kicked_ms bigint,
      kicked_by text,
      primary key (account_id, platform)
    ) with (fillfactor = 70)`.execute(db);
  await sql`create index terminal_node on terminal (node_id) where node_id is not null`.execute(db);

  // kind: 1 one-to-one (account_a <= account_b), 2 group, 3 an account's own inbox (account_a).
  // counted: messages so far that somebody besides their sender can see and that count as unread.
  // a_/b_last_seq, _time: the newest message that this side of a one-to-one conversation sees.
  // auth_epoch rises whenever who may send here changes; recall_no with each recall.
  // No index on what a send changes, and room in the page: updates stay in place.
  await sql`
    create table conversation (
      id bigint generated always as identity primary key,
      sdk_app_id bigint not null,
      kind smallint not null check (kind in (1, 2, 3)),
      account_a bigint,
      account_b bigint,
      last_seq bigint not null default 0,
      last_time bigint not null default 0,
      last_day integer not null default 0,
      counted bigint not null default 0,
      recall_no bigint not null default 0,
      auth_epoch integer not null default 0,
      a_last_seq bigint not null default 0,
      a_last_time bigint not null default 0,
      b_last_seq bigint not null default 0,
      b_last_time bigint not null default 0,
      last_stored_ms bigint not null default 0
    ) with (fillfactor = 50)`.execute(db);
  await sql`create unique index conversation_pair on conversation (account_a, account_b) where kind = 1`.execute(db);
  await sql`create index conversation_pair_b on conversation (account_b) where kind = 1`.execute(db);
  await sql`create unique index conversation_inbox on conversation (account_a) where kind = 3`.execute(db);

  // A row a stay (from_seq … to_seq) of an account in a conversation; one-to-one and inbox have one, from 0.
  // unread = max(0, conversation.counted - read_counted - uncounted_after_read), see im_read.
  await sql`
    create table member (
      account_id bigint not null,
      conversation_id bigint not null,
      from_seq bigint not null default 0,
      to_seq bigint,
      read_seq bigint not null default 0,
      -- Time of the message at read_seq, Unix seconds: when it is older than roaming keeps, unread ones may have expired.
      read_time bigint not null default 0,
      read_counted bigint not null default 0,
      uncounted_after_read bigint not null default 0,
      -- The account cleared its history up to here, and hid the conversation from its recent contacts up to there.
      cleared_through bigint not null default 0,
      hidden_through bigint not null default 0,
      primary key (account_id, conversation_id, from_seq)
    ) with (fillfactor = 50)`.execute(db);
  await sql`create index member_conversation on member (conversation_id)`.execute(db);

  // Up to where an account's terminals have stored what it was sent (M7). Apart from member, whose rows are changed under
  // the conversation's lock: acknowledgements are written many at a time, in order of their key.
  await sql`
    create table delivered (
      account_id bigint not null,
      conversation_id bigint not null,
      seq bigint not null,
      primary key (account_id, conversation_id)
    ) with (fillfactor = 50)`.execute(db);

  // visible_to: 0 both, 1 the sender alone, 2 everybody but the sender. dedup_key: what makes a repeated send one (M13).
  // counted_no: conversation.counted once it was stored. offline_until: Unix seconds, end of its offline delivery.
  // body: JSON text of MsgBody; '[]' after a recall.
  await sql`
    create table message (
      conversation_id bigint not null,
      seq bigint not null,
      day integer not null,
      sender_id bigint not null,
      stored_ms bigint not null,
      msg_time bigint not null,
      msg_seq bigint not null,
      msg_random bigint not null,
      dedup_key text collate "C",
      visible_to smallint not null,
      counts boolean not null,
      counted_no bigint not null,
      offline_until bigint not null,
      recall_no bigint not null default 0,
      body text not null,
      push text,
      custom_data text,
      primary key (conversation_id, seq, day)
    ) partition by range (day)`.execute(db);
  await sql`
    create index message_dedup on message (conversation_id, sender_id, dedup_key) where dedup_key is not null`.execute(
    db,
  );
  await sql`create index message_recall on message (conversation_id, recall_no) where recall_no > 0`.execute(db);
  // Where rows go whose day has no partition yet; a row in it is an alarm (README of src/im).
  await sql`create table message_default partition of message default`.execute(db);

  // On which days a conversation has messages: reads then look into those partitions only.
  await sql`
    create table conversation_day (
      conversation_id bigint not null,
      day integer not null,
      first_seq bigint not null,
      primary key (conversation_id, day)
    )`.execute(db);
  await sql`create index conversation_day_day on conversation_day (day)`.execute(db);

  // What others are to be told of, in the transaction of its cause. consumer: 1 callbacks, 2 push.
  // drain_key orders the rows of one consumer; body is empty where conversation and seq say it.
  await sql`
    create table outbox (
      id bigint generated always as identity,
      day integer not null,
      consumer smallint not null,
      sdk_app_id bigint not null,
      drain_key text not null,
      event text not null,
      conversation_id bigint,
      seq bigint,
      body text,
      created_ms bigint not null,
      next_attempt_ms bigint not null default 0,
      attempts integer not null default 0,
      done_ms bigint,
      primary key (id, day)
    ) partition by range (day)`.execute(db);
  await sql`create index outbox_waiting on outbox (consumer, drain_key, id) where done_ms is null`.execute(db);
  await sql`create table outbox_default partition of outbox default`.execute(db);

  // One row a periodic task: who may do it until when. token rises with each holder.
  await sql`
    create table task_lease (
      task text primary key,
      holder text not null,
      token bigint not null default 1,
      lease_until timestamptz not null
    )`.execute(db);

  await sql`
    create table dirty_word (
      sdk_app_id bigint not null,
      word text collate "C" not null,
      added_ms bigint not null,
      primary key (sdk_app_id, word)
    )`.execute(db);
}

/**
 * im_commit stores a batch of messages, in the order given, in one transaction: an acknowledgement after it means stored.
 * Per message: the conversation row is locked (all of a batch in order of id, so batches never deadlock), a repeat is
 * found by its dedup key, the authorisation epoch compared, the next seq given.
 *
 * status: 0 stored, 1 a repeat (the answer is the first one's), 2 authorise again, 3 no such conversation.
 * prev_a, prev_b: the newest seq that the side saw before, so that whoever follows the conversation notices a hole.
 */
async function commitFunction(db: Kysely<unknown>): Promise<void> {
  await sql`
    create function im_commit(
      p_now_ms bigint, p_conversation bigint[], p_sender bigint[], p_epoch integer[], p_dedup text[], p_window_ms bigint[],
      p_time bigint[], p_msg_seq bigint[], p_random bigint[], p_visible smallint[], p_counts boolean[], p_until bigint[],
      p_consumers smallint[], p_body text[], p_push text[], p_custom text[]
    ) returns table (status smallint, seq bigint, msg_time bigint, msg_seq bigint, msg_random bigint, prev_a bigint, prev_b bigint)
    language plpgsql as $$
    #variable_conflict use_column
    declare
      v_day integer := p_now_ms / 86400000;
      m record;
      c conversation%rowtype;
      d record;
      v_seq bigint;
      v_time bigint;
      v_counts boolean;
      v_a boolean;
      v_b boolean;
    begin
      perform 1 from conversation where id = any (p_conversation) order by id for update;
      for m in
        select * from unnest(
          p_conversation, p_sender, p_epoch, p_dedup, p_window_ms, p_time, p_msg_seq, p_random, p_visible, p_counts,
          p_until, p_consumers, p_body, p_push, p_custom
        ) with ordinality as t(
          conversation_id, sender_id, epoch, dedup, window_ms, at_time, msg_seq, random, visible, counts,
          until, consumers, body, push, custom, position
        ) order by position
      loop
        seq := 0; msg_time := 0; msg_seq := 0; msg_random := 0; prev_a := 0; prev_b := 0;
        select * into c from conversation where id = m.conversation_id;
        if not found then
          status := 3; return next; continue;
        end if;
        if m.dedup is not null then
          -- There is one at most. Ordered by seq it would be looked for through the conversation, not by its key.
          select x.seq, x.msg_time, x.msg_seq, x.msg_random into d from message x
            where x.conversation_id = m.conversation_id and x.sender_id = m.sender_id and x.dedup_key = m.dedup
              and x.day between ((p_now_ms - m.window_ms) / 86400000)::integer and v_day
              and x.stored_ms > p_now_ms - m.window_ms;
          if found then
            status := 1; seq := d.seq; msg_time := d.msg_time; msg_seq := d.msg_seq; msg_random := d.msg_random;
            return next; continue;
          end if;
        end if;
        if c.auth_epoch <> m.epoch then
          status := 2; return next; continue;
        end if;

        v_seq := c.last_seq + 1;
        v_time := greatest(c.last_time, m.at_time);
        v_counts := m.counts and m.visible <> 1;
        -- Which sides of a one-to-one conversation see it.
        v_a := case m.visible when 0 then true when 1 then c.account_a = m.sender_id
          else c.account_a <> m.sender_id or c.account_a = c.account_b end;
        v_b := case m.visible when 0 then true when 1 then c.account_b = m.sender_id
          else c.account_b <> m.sender_id or c.account_a = c.account_b end;
        update conversation set
          last_seq = v_seq,
          last_time = v_time,
          last_day = v_day,
          last_stored_ms = p_now_ms,
          counted = c.counted + v_counts::integer,
          a_last_seq = case when v_a then v_seq else c.a_last_seq end,
          a_last_time = case when v_a then v_time else c.a_last_time end,
          b_last_seq = case when v_b then v_seq else c.b_last_seq end,
          b_last_time = case when v_b then v_time else c.b_last_time end
        where id = c.id;
        insert into message (
          conversation_id, seq, day, sender_id, stored_ms, msg_time, msg_seq, msg_random, dedup_key, visible_to, counts,
          counted_no, offline_until, body, push, custom_data
        ) values (
          c.id, v_seq, v_day, m.sender_id, p_now_ms, v_time, m.msg_seq, m.random, m.dedup, m.visible, v_counts,
          c.counted + v_counts::integer, v_time + m.until, m.body, m.push, m.custom
        );
        if c.last_day <> v_day then
          insert into conversation_day (conversation_id, day, first_seq) values (c.id, v_day, v_seq)
          on conflict do nothing;
        end if;
        -- One's own message is never unread.
        if v_counts then
          update member set uncounted_after_read = uncounted_after_read + 1
          where account_id = m.sender_id and conversation_id = c.id and to_seq is null;
        end if;
        if m.consumers <> 0 then
          insert into outbox (day, consumer, sdk_app_id, drain_key, event, conversation_id, seq, created_ms)
          select v_day, bit, c.sdk_app_id, c.id::text, 'message', c.id, v_seq, p_now_ms
          from unnest(array[1, 2]::smallint[]) as bit where m.consumers & bit <> 0;
        end if;
        status := 0; seq := v_seq; msg_time := v_time; msg_seq := m.msg_seq; msg_random := m.random;
        prev_a := c.a_last_seq; prev_b := c.b_last_seq;
        return next;
      end loop;
    end $$`.execute(db);
}

/**
 * im_read moves an account's read position forward, to a seq or (p_seq null) to the end, and counts anew from there.
 * moved: false where it was there already.
 */
async function readFunction(db: Kysely<unknown>): Promise<void> {
  await sql`
    create function im_read(p_conversation bigint, p_account bigint, p_seq bigint)
    returns table (moved boolean, read_seq bigint, read_time bigint, unread bigint)
    language plpgsql as $$
    #variable_conflict use_column
    declare
      c conversation%rowtype;
      m member%rowtype;
      v_seq bigint;
      v_time bigint;
      v_counted bigint;
      v_own bigint;
    begin
      select * into c from conversation where id = p_conversation for update;
      if not found then return; end if;
      select * into m from member x
        where x.account_id = p_account and x.conversation_id = p_conversation order by x.from_seq desc limit 1;
      if not found then return; end if;
      v_seq := least(coalesce(p_seq, c.last_seq), c.last_seq);
      if v_seq <= m.read_seq then
        moved := false; read_seq := m.read_seq; read_time := m.read_time;
        unread := greatest(0, c.counted - m.read_counted - m.uncounted_after_read);
        return next; return;
      end if;
      if v_seq = c.last_seq then
        v_counted := c.counted; v_own := 0; v_time := c.last_time;
      else
        select x.counted_no, x.msg_time into v_counted, v_time from message x
          where x.conversation_id = p_conversation and x.seq <= v_seq order by x.seq desc limit 1;
        -- Where the messages up to there are gone, they are counted as read all the same.
        if not found then
          select x.counted_no - x.counts::integer, x.msg_time into v_counted, v_time from message x
            where x.conversation_id = p_conversation and x.seq > v_seq order by x.seq limit 1;
        end if;
        v_counted := coalesce(v_counted, c.counted);
        v_time := coalesce(v_time, c.last_time);
        select count(*) into v_own from message x
          where x.conversation_id = p_conversation and x.seq > v_seq and x.counts
            and (x.sender_id = p_account or x.recall_no > 0);
      end if;
      update member x set
        read_seq = v_seq,
        read_time = v_time,
        read_counted = v_counted,
        uncounted_after_read = v_own
      where x.account_id = p_account and x.conversation_id = p_conversation and x.from_seq = m.from_seq;
      moved := true; read_seq := v_seq; read_time := v_time;
      unread := greatest(0, c.counted - v_counted - v_own);
      return next;
    end $$`.execute(db);
}

/**
 * im_recall empties a message for everybody and has it count no longer. status: 0 done, 1 was done before, 2 there is none.
 * recall_no numbers the recalls of the conversation, so that a terminal which was away finds what it missed.
 */
async function recallFunction(db: Kysely<unknown>): Promise<void> {
  await sql`
    create function im_recall(p_conversation bigint, p_seq bigint)
    returns table (status smallint, recall_no bigint)
    language plpgsql as $$
    #variable_conflict use_column
    declare
      c conversation%rowtype;
      x message%rowtype;
    begin
      select * into c from conversation where id = p_conversation for update;
      if not found then status := 2; recall_no := 0; return next; return; end if;
      select * into x from message y where y.conversation_id = p_conversation and y.seq = p_seq;
      if not found then status := 2; recall_no := c.recall_no; return next; return; end if;
      if x.recall_no > 0 then status := 1; recall_no := x.recall_no; return next; return; end if;
      update conversation set recall_no = c.recall_no + 1 where id = p_conversation;
      update message y set recall_no = c.recall_no + 1, body = '[]', push = null, custom_data = null
        where y.conversation_id = p_conversation and y.seq = p_seq and y.day = x.day;
      if x.counts then
        update member set uncounted_after_read = uncounted_after_read + 1
        where conversation_id = p_conversation and read_seq < p_seq and account_id <> x.sender_id and to_seq is null;
      end if;
      status := 0; recall_no := c.recall_no + 1;
      return next;
    end $$`.execute(db);
}
