import { type Kysely, sql } from 'kysely';

/**
 * The messaging core: accounts, terminals, conversations and their messages, and the functions that change them in one
 * round trip. Times are milliseconds (`_ms`) or, where the API shows them, Unix seconds; `day` is days since 1970 (UTC).
 * Every function takes the time as an argument: the caller's clock rules, so a test can move it.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await tables(db);
  await commitFunction(db);
  await commitOneFunction(db);
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
      -- When the UserSig of its login was issued: a kick ends those of before (I4).
      issued_sec bigint not null default 0,
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
 * The conversation rows are locked first (in order of id, so batches never deadlock); then one statement looks for repeats by
 * their dedup key, compares the authorisation epoch, gives seqs and writes everything. One statement, because a loop
 * over the batch costs three times as much.
 *
 * status: 0 stored, 1 a repeat (the answer is the first one's), 2 authorise again, 3 no such conversation, 4 a repeat within
 * the batch: ask again.
 * prev_a, prev_b: the newest seq that the side saw before, so that whoever follows the conversation notices a hole.
 *
 * Clocks of two processes differ, and a clock may go back: times and days of a conversation never do, so that what is newest is
 * never behind a bound which readers take from them; a message's own day is that of the clock which stored it.
 *
 * The settings: with few rows in the tables the planner would read them whole and keep that plan while they grow, and it
 * would plan anew at each call, because of the partitions, which costs more than the work.
 */
async function commitFunction(db: Kysely<unknown>): Promise<void> {
  await sql`
    create function im_commit(
      p_now_ms bigint, p_conversation bigint[], p_sender bigint[], p_epoch integer[], p_dedup text[], p_window_ms bigint[],
      p_time bigint[], p_msg_seq bigint[], p_random bigint[], p_visible smallint[], p_counts boolean[], p_lifetime bigint[],
      p_consumers smallint[], p_body text[], p_push text[], p_custom text[]
    ) returns table (status smallint, seq bigint, msg_time bigint, msg_seq bigint, msg_random bigint, prev_a bigint, prev_b bigint)
    language plpgsql
    set plan_cache_mode = force_generic_plan
    set enable_seqscan = off
    set enable_hashjoin = off
    set enable_mergejoin = off
    set jit = off
    as $$
    #variable_conflict use_column
    declare
      v_day integer := p_now_ms / 86400000;
      v_first_day integer := (p_now_ms - (select max(w) from unnest(p_window_ms) w)) / 86400000;
    begin
      perform 1 from conversation where id = any (p_conversation) order by id for update;
      return query
      with batch as (
        select * from unnest(
          p_conversation, p_sender, p_epoch, p_dedup, p_window_ms, p_time, p_msg_seq, p_random, p_visible, p_counts,
          p_lifetime, p_consumers, p_body, p_push, p_custom
        ) with ordinality as t(
          conversation_id, sender_id, epoch, dedup, window_ms, at_time, msg_seq, random, visible, counts,
          lifetime, consumers, body, push, custom, position
        )
      ),
      looked as (
        select b.*, c.sdk_app_id, c.account_a, c.account_b, c.last_seq, c.last_time, c.last_day, c.last_stored_ms, c.counted,
          c.a_last_seq, c.b_last_seq,
          x.seq as first_seq, x.msg_time as first_time, x.msg_seq as first_msg_seq, x.msg_random as first_random,
          (case
            when c.id is null then 3
            when x.seq is not null then 1
            when c.auth_epoch <> b.epoch then 2
            when row_number() over (partition by b.conversation_id, b.sender_id, b.dedup order by b.position) > 1 then 4
            else 0
          end)::smallint as state
        from batch b
        left join conversation c on c.id = b.conversation_id
        left join lateral (
          -- A day more: the first one may be of a process whose clock is ahead. Not all days, as each is a partition to look into.
          -- There is one at most. Ordered by seq it would be looked for through the conversation, not by its key.
          select x.seq, x.msg_time, x.msg_seq, x.msg_random from message x
          where x.conversation_id = b.conversation_id and x.sender_id = b.sender_id and x.dedup_key = b.dedup
            and x.day between v_first_day and v_day + 1 and x.stored_ms > p_now_ms - b.window_ms
          limit 1
        ) x on true
      ),
      numbered as (
        select l.*,
          l.last_seq + row_number() over so_far as new_seq,
          greatest(l.last_time, max(l.at_time) over so_far) as new_time,
          greatest(l.last_stored_ms, p_now_ms) as new_stored_ms,
          l.counted + sum((l.counts and l.visible <> 1)::integer) over so_far as new_counted,
          l.counts and l.visible <> 1 as does_count,
          -- Which sides of a one-to-one conversation see it.
          l.visible = 0 or (l.account_a = l.sender_id) = (l.visible = 1) or l.account_a = l.account_b as sees_a,
          l.visible = 0 or (l.account_b = l.sender_id) = (l.visible = 1) or l.account_a = l.account_b as sees_b
        from looked l where l.state = 0
        window so_far as (partition by l.conversation_id order by l.position)
      ),
      placed as (
        select n.*,
          greatest(n.a_last_seq, max(n.new_seq) filter (where n.sees_a) over before) as before_a,
          greatest(n.b_last_seq, max(n.new_seq) filter (where n.sees_b) over before) as before_b
        from numbered n
        window before as (
          partition by n.conversation_id order by n.position rows between unbounded preceding and 1 preceding
        )
      ),
      stored as (
        insert into message (
          conversation_id, seq, day, sender_id, stored_ms, msg_time, msg_seq, msg_random, dedup_key, visible_to, counts,
          counted_no, offline_until, body, push, custom_data
        )
        select conversation_id, new_seq, v_day, sender_id, new_stored_ms, new_time, msg_seq, random, dedup, visible, does_count,
          new_counted, new_time + lifetime, body, push, custom
        from placed
      ),
      moved as (
        update conversation c set
          last_seq = t.new_seq,
          last_time = t.new_time,
          last_day = greatest(c.last_day, v_day),
          last_stored_ms = greatest(c.last_stored_ms, p_now_ms),
          counted = t.new_counted,
          a_last_seq = greatest(c.a_last_seq, t.a_seq),
          a_last_time = greatest(c.a_last_time, t.a_time),
          b_last_seq = greatest(c.b_last_seq, t.b_seq),
          b_last_time = greatest(c.b_last_time, t.b_time)
        from (
          select conversation_id, max(new_seq) as new_seq, max(new_time) as new_time, max(new_counted) as new_counted,
            max(new_seq) filter (where sees_a) as a_seq, max(new_time) filter (where sees_a) as a_time,
            max(new_seq) filter (where sees_b) as b_seq, max(new_time) filter (where sees_b) as b_time
          from placed group by conversation_id
        ) t
        where c.id = t.conversation_id
      ),
      -- One's own message is never unread.
      own as (
        update member m set uncounted_after_read = m.uncounted_after_read + t.count
        from (
          select conversation_id, sender_id, count(*) as count from placed where does_count group by conversation_id, sender_id
        ) t
        where m.account_id = t.sender_id and m.conversation_id = t.conversation_id and m.to_seq is null
      ),
      days as (
        insert into conversation_day (conversation_id, day, first_seq)
        select conversation_id, v_day, min(new_seq) from placed where last_day <> v_day group by conversation_id
        on conflict do nothing
      ),
      outgoing as (
        insert into outbox (day, consumer, sdk_app_id, drain_key, event, conversation_id, seq, created_ms)
        select v_day, bit, sdk_app_id, conversation_id::text, 'message', conversation_id, new_seq, p_now_ms
        from placed, unnest(array[1, 2]::smallint[]) as bit
        where consumers & bit <> 0
        order by position
      )
      select l.state, coalesce(p.new_seq, l.first_seq, 0), coalesce(p.new_time, l.first_time, 0),
        coalesce(p.msg_seq, l.first_msg_seq, 0), coalesce(p.random, l.first_random, 0),
        coalesce(p.before_a, 0), coalesce(p.before_b, 0)
      from looked l left join placed p on p.position = l.position
      order by l.position;
    end $$`.execute(db);
}

/**
 * im_commit_one does for one message what im_commit does for many, by the same rules: a quiet service stores most messages
 * alone, and the one statement of the batch costs more to begin than five small ones. A test holds the two to one another.
 */
async function commitOneFunction(db: Kysely<unknown>): Promise<void> {
  await sql`
    create function im_commit_one(
      p_now_ms bigint, p_conversation bigint, p_sender bigint, p_epoch integer, p_dedup text, p_window_ms bigint,
      p_time bigint, p_msg_seq bigint, p_random bigint, p_visible smallint, p_counts boolean, p_lifetime bigint,
      p_consumers smallint, p_body text, p_push text, p_custom text,
      out status smallint, out seq bigint, out msg_time bigint, out msg_seq bigint, out msg_random bigint,
      out prev_a bigint, out prev_b bigint
    )
    language plpgsql
    set plan_cache_mode = force_generic_plan
    set enable_seqscan = off
    as $$
    #variable_conflict use_column
    declare
      v_day integer := p_now_ms / 86400000;
      v_first_day integer := (p_now_ms - p_window_ms) / 86400000;
      v_counts boolean := p_counts and p_visible <> 1;
      c conversation%rowtype;
      d record;
      v_seq bigint;
      v_time bigint;
      v_a boolean;
      v_b boolean;
    begin
      status := 0; seq := 0; msg_time := 0; msg_seq := 0; msg_random := 0; prev_a := 0; prev_b := 0;
      select * into c from conversation where id = p_conversation for update;
      if not found then
        status := 3; return;
      end if;
      select x.seq, x.msg_time, x.msg_seq, x.msg_random into d from message x
        where x.conversation_id = p_conversation and x.sender_id = p_sender and x.dedup_key = p_dedup
          and x.day between v_first_day and v_day + 1 and x.stored_ms > p_now_ms - p_window_ms
        limit 1;
      if found then
        status := 1; seq := d.seq; msg_time := d.msg_time; msg_seq := d.msg_seq; msg_random := d.msg_random; return;
      end if;
      if c.auth_epoch <> p_epoch then
        status := 2; return;
      end if;
      v_seq := c.last_seq + 1;
      v_time := greatest(c.last_time, p_time);
      v_a := p_visible = 0 or (c.account_a = p_sender) = (p_visible = 1) or c.account_a = c.account_b;
      v_b := p_visible = 0 or (c.account_b = p_sender) = (p_visible = 1) or c.account_a = c.account_b;
      update conversation set
        last_seq = v_seq,
        last_time = v_time,
        last_day = greatest(c.last_day, v_day),
        last_stored_ms = greatest(c.last_stored_ms, p_now_ms),
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
        c.id, v_seq, v_day, p_sender, greatest(c.last_stored_ms, p_now_ms), v_time, p_msg_seq, p_random, p_dedup, p_visible,
        v_counts, c.counted + v_counts::integer, v_time + p_lifetime, p_body, p_push, p_custom
      );
      if c.last_day <> v_day then
        insert into conversation_day (conversation_id, day, first_seq) values (c.id, v_day, v_seq) on conflict do nothing;
      end if;
      if v_counts then
        update member set uncounted_after_read = uncounted_after_read + 1
        where account_id = p_sender and conversation_id = c.id and to_seq is null;
      end if;
      if p_consumers <> 0 then
        insert into outbox (day, consumer, sdk_app_id, drain_key, event, conversation_id, seq, created_ms)
        select v_day, bit, c.sdk_app_id, c.id::text, 'message', c.id, v_seq, p_now_ms
        from unnest(array[1, 2]::smallint[]) as bit where p_consumers & bit <> 0;
      end if;
      seq := v_seq; msg_time := v_time; msg_seq := p_msg_seq; msg_random := p_random;
      prev_a := c.a_last_seq; prev_b := c.b_last_seq;
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
    language plpgsql set plan_cache_mode = force_generic_plan as $$
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
    language plpgsql set plan_cache_mode = force_generic_plan as $$
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
