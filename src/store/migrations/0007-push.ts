import { type Kysely, sql } from 'kysely';
import { patchFunction } from './patch-function.ts';

/** Space of our advisory locks: tokens that are being set. */
const tokenLockSpace = 0x74_6f_6b_6e;

/** Pushes (RULES S): where a device is reached, what is to be pushed to whom and what became of it. Times are milliseconds. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await tables(db);
  await deviceFunction(db);
  await badgeFunctions(db);
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
  // outcome: 'accepted' (by the service), 'skipped' (reason says why it was not to be), 'expired', 'gone' (the token is dead), 'dead' (given
  // up, can be sent again), 'dropped' (by operators or a bound).
  // due_ms: of what was never tried about when its message was stored, so that all goes by age.
  // reason, status, took_ms: of the last attempt, too, while it waits. opened_ms: when the app first said that it was opened by it.
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
      message_day integer,
      campaign_id bigint,
      due_ms bigint not null default 0,
      deadline_ms bigint not null,
      attempts integer not null default 0,
      counted boolean not null default false,
      created_ms bigint not null,
      done_ms bigint,
      outcome text check (outcome in ('accepted', 'skipped', 'expired', 'gone', 'dead', 'dropped')),
      reason text,
      status smallint,
      took_ms integer,
      provider_id text,
      opened_ms bigint,
      primary key (id, day)
    ) partition by range (day)`.execute(db);
  await sql`
    create index push_item_waiting on push_item (sdk_app_id, channel, priority, due_ms) where done_ms is null`.execute(
    db,
  );
  await sql`create index push_item_device on push_item (device_id, conversation_id, seq) where not counted`.execute(db);
  await sql`create index push_item_message on push_item (conversation_id, seq) where conversation_id is not null`.execute(
    db,
  );
  await sql`create index push_item_account on push_item (account_id, id) where account_id is not null`.execute(db);
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

/**
 * push_device_set binds a token to the terminal whose link sets it; from then on it is of nobody else (S9). False: the link has lost its place.
 */
async function deviceFunction(db: Kysely<unknown>): Promise<void> {
  const tokenLock = sql.raw(String(tokenLockSpace));
  await sql`
    create function push_device_set(
      p_app bigint, p_account bigint, p_platform text, p_link text, p_channel text, p_token text, p_environment text, p_language text,
      p_now_ms bigint
    ) returns boolean
    language plpgsql as $$
    declare
      v_generation bigint;
    begin
      -- A login that comes meanwhile waits, and ends what is set here. So does whoever sets another token of this terminal.
      select t.generation into v_generation from terminal t
        where t.account_id = p_account and t.platform = p_platform and t.link_id = p_link and t.node_id is not null
        for no key update;
      if not found then return false; end if;
      -- One after another for a token: nobody else binds it between what is locked here and what is written.
      perform pg_advisory_xact_lock(${tokenLock}, hashtext(p_app || ' ' || p_channel || ' ' || p_token));
      -- In the order of their ids, as all others do.
      perform 1 from push_device d
        where d.sdk_app_id = p_app and d.channel = p_channel and d.token = p_token
          or d.account_id = p_account and d.platform = p_platform
        order by d.id for update;
      delete from push_device d
        where d.sdk_app_id = p_app and d.channel = p_channel and d.token = p_token
          and not (d.account_id = p_account and d.platform = p_platform);
      insert into push_device as d (
        sdk_app_id, account_id, platform, generation, channel, token, environment, language, registered_ms, seen_ms
      ) values (
        p_app, p_account, p_platform, v_generation, p_channel, p_token, p_environment, p_language, p_now_ms, p_now_ms
      )
      on conflict (account_id, platform) do update set
        generation = excluded.generation, channel = excluded.channel, token = excluded.token,
        environment = excluded.environment, language = excluded.language, registered_ms = excluded.registered_ms,
        seen_ms = excluded.seen_ms, not_before_ms = 0,
        badge = case when d.token = excluded.token then d.badge else 0 end;
      return true;
    end $$`.execute(db);
}

/**
 * push_count raises the badges of devices for pushes that are about to be sent, once each. push_read and push_recalled lower them by what was
 * read elsewhere or recalled, in the transaction of that, and have those of iOS told where they are not there.
 *
 * A badge holds what was unread when its app said so (seen_ms), and what was counted since. What came since and was not counted, as it waits,
 * or was not to be pushed, is not in it.
 *
 * Each locks its devices first, in the order of their ids, and looks at everything else after: so none of them waits for another one that
 * waits for it, and each sees what the one before has done.
 */
async function badgeFunctions(db: Kysely<unknown>): Promise<void> {
  // A badge alone (kind 2) raises none: it is counted when what it shows has been read from its device.
  await sql`
    create function push_count(p_ids bigint[], p_days integer[]) returns table (id bigint, badge integer)
    language plpgsql as $$
    #variable_conflict use_column
    declare
      v_devices bigint[];
    begin
      select array_agg(distinct i.device_id) into v_devices
        from unnest(p_ids, p_days) as k(id, day) join push_item i on i.id = k.id and i.day = k.day;
      perform 1 from push_device d where d.id = any (v_devices) order by d.id for no key update;
      return query
        with counted as (
          update push_item i set counted = true from unnest(p_ids, p_days) as k(id, day)
          where i.id = k.id and i.day = k.day and not i.counted
            and not exists (
              select 1 from member m where m.account_id = i.account_id and m.conversation_id = i.conversation_id and m.to_seq is null
                and m.read_seq >= i.seq
            )
            and not exists (
              select 1 from message g where g.conversation_id = i.conversation_id and g.seq = i.seq and g.day = i.message_day
                and g.recall_no > 0
            )
          returning i.device_id, i.kind
        ), raised as (
          update push_device d set badge = d.badge + t.more
          from (select device_id, count(*)::integer as more from counted where kind = 1 group by device_id) t
          where d.id = t.device_id
          returning d.id, d.badge
        )
        select d.id, coalesce(r.badge, d.badge) from push_device d left join raised r on r.id = d.id where d.id = any (v_devices);
    end $$`.execute(db);
  // A badge alone is worth little, and the next push has it as well: an hour. It goes by its age, as messages do, on whatever clock.
  // One that is being sent may show what was before.
  const badgeItem = sql.raw(`
    insert into push_item (
      day, sdk_app_id, channel, kind, device_id, account_id, platform, due_ms, deadline_ms, created_ms
    )
    select v_now_ms / 86400000, sdk_app_id, channel, 2, id, account_id, platform, v_now_ms - 10000, v_now_ms + 3600000, v_now_ms
    from lowered
    where channel = 'apns' and not exists (
      select 1 from push_item w where w.device_id = lowered.id and w.done_ms is null and w.kind = 2 and not w.counted
    )`);
  const isAway = sql.raw(`
    not exists (
      select 1 from terminal t where t.account_id = d.account_id and t.platform = d.platform and t.node_id is not null and not t.is_background
    )`);
  await sql`
    create function push_read(p_account bigint, p_conversation bigint, p_from bigint, p_seq bigint, p_less bigint) returns void
    language plpgsql as $$
    declare
      v_now_ms bigint := floor(extract(epoch from clock_timestamp()) * 1000);
    begin
      if p_less <= 0 then return; end if;
      perform 1 from push_device d where d.account_id = p_account and ${isAway} order by d.id for no key update;
      if not found then return; end if;
      with lowered as (
        update push_device d set badge = greatest(0, d.badge - k.less) from (
          select x.id, (p_less - (
            select count(*) from (
              select w.seq, w.message_day as day from push_item w
                where w.device_id = x.id and w.conversation_id = p_conversation and w.seq > p_from and w.seq <= p_seq and not w.counted
              union all
              -- Not even looked at.
              select o.seq, o.day from outbox o
                where o.consumer = 2 and o.drain_key = p_conversation::text and o.done_ms is null and o.seq > p_from and o.seq <= p_seq
            ) w
            join message g on g.conversation_id = p_conversation and g.seq = w.seq and g.day = w.day
            where g.counts and g.sender_id <> p_account and g.recall_no = 0 and g.stored_ms > x.seen_ms
          ))::integer as less
          from push_device x where x.account_id = p_account and x.badge > 0
        ) k
        where d.id = k.id and k.less > 0 and ${isAway}
        returning d.*
      )
      ${badgeItem};
    end $$`.execute(db);
  // Of a day before its message's there is no push of it.
  await sql`
    create function push_recalled(p_conversation bigint, p_seq bigint, p_day integer, p_stored_ms bigint) returns void
    language plpgsql as $$
    declare
      v_now_ms bigint := floor(extract(epoch from clock_timestamp()) * 1000);
      v_devices bigint[];
    begin
      select array_agg(i.device_id) into v_devices from push_item i
        where i.conversation_id = p_conversation and i.seq = p_seq and i.day >= p_day - 1 and i.device_id is not null;
      if v_devices is null then return; end if;
      perform 1 from push_device d where d.id = any (v_devices) and ${isAway} order by d.id for no key update;
      if not found then return; end if;
      with lowered as (
        update push_device d set badge = d.badge - 1 from push_item i
        where i.conversation_id = p_conversation and i.seq = p_seq and i.day >= p_day - 1 and d.id = i.device_id and (i.counted or p_stored_ms <= d.seen_ms)
          and d.badge > 0
          and not exists (
            select 1 from member m where m.account_id = i.account_id and m.conversation_id = p_conversation and m.to_seq is null
              and (m.read_seq >= p_seq or m.role is not null and m.msg_flag <> 'AcceptAndNotify')
          )
          and ${isAway}
        returning d.*
      )
      ${badgeItem};
    end $$`.execute(db);
  await patchFunction(db, 'im_read', [
    [
      'moved := true; read_seq := v_seq;',
      `if m.role is null or m.msg_flag = 'AcceptAndNotify' then
        perform push_read(
          p_account, p_conversation, m.read_seq, v_seq,
          greatest(0, c.counted - m.read_counted - m.uncounted_after_read) - greatest(0, c.counted - v_counted - v_own)
        );
      end if;
      moved := true; read_seq := v_seq;`,
    ],
  ]);
  await patchFunction(db, 'im_recall', [
    [
      'status := 0; recall_no := c.recall_no + 1;',
      'if x.counts then perform push_recalled(p_conversation, p_seq, x.day, x.stored_ms); end if;\n      status := 0; recall_no := c.recall_no + 1;',
    ],
  ]);
}
