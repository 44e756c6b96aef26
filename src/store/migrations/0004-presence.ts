import { type Kysely, sql } from 'kysely';

/**
 * What changes terminals in one round trip. Whoever changes several terminals of an account locks them in order of platform;
 * a login holds the account's row besides, so logins of one account follow one another on whatever process (P5).
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await stateEvent(db);
  await login(db);
  await endAll(db);
}

/**
 * im_state_event writes down a terminal's transition for those who want to be told (a bit each, as in im_commit). The
 * drain key keeps an account's transitions in order. Always true, so that it can stand in a select list.
 */
async function stateEvent(db: Kysely<unknown>): Promise<void> {
  await sql`
    create function im_state_event(
      p_consumers integer, p_app bigint, p_account bigint, p_identifier text, p_platform text, p_state text, p_reason text,
      p_now_ms bigint
    ) returns boolean
    language sql as $$
      insert into outbox (day, consumer, sdk_app_id, drain_key, event, body, created_ms)
      select (p_now_ms / 86400000)::integer, bit, p_app, 'a' || p_account, 'state', json_build_object(
          'account', p_identifier, 'platform', p_platform, 'state', p_state, 'reason', p_reason, 'time', p_now_ms / 1000
        )::text, p_now_ms
      from unnest(array[1, 2]::smallint[]) as bit where p_consumers & bit <> 0;
      select true;
    $$`.execute(db);
}

/**
 * im_login gives a link its terminal's place. p_conflicts: kinds of terminals that may not stay beside it, its own among
 * them; p_issued_sec: when its UserSig was issued. A link id is the name of its login, a dot, and what tells the login's
 * links apart: a resume is good while the name in the row is its own.
 *
 * The first row says what became of it: 'login'; 'resumed'; 'away' (another login took the place; told now);
 * 'no-account'; 'revoked'. With 'login' and 'away' by_platform and at_ms say which login had ended it unheard, if one
 * had. A row follows for each link that has to end: 'kicked', or 'replaced' by its own terminal.
 */
async function login(db: Kysely<unknown>): Promise<void> {
  await sql`
    create function im_login(
      p_account bigint, p_platform text, p_link text, p_resume text, p_node text, p_now_ms bigint, p_conflicts text[],
      p_issued_sec bigint, p_consumers integer, p_push_online_ms bigint
    ) returns table (what text, platform text, node_id text, link_id text, by_platform text, at_ms bigint)
    language plpgsql as $$
    #variable_conflict use_column
    declare
      a account%rowtype;
      t terminal%rowtype;
      v_own terminal%rowtype;
      v_has_own boolean;
      v_generation bigint;
    begin
      select * into a from account where id = p_account and deleted_ms is null for no key update;
      if not found then what := 'no-account'; return next; return; end if;
      -- A kick writes this row before it ends links, so a login that it overtook either sees the row here or is ended by it.
      perform 1 from session_revocation r
        where r.sdk_app_id = a.sdk_app_id and r.scope = 'account' and r.subject = a.identifier
          and p_issued_sec <= floor(extract(epoch from r.revoked_before));
      if found then what := 'revoked'; return next; return; end if;

      perform 1 from terminal x where x.account_id = p_account order by x.platform for update;
      select * into v_own from terminal x where x.account_id = p_account and x.platform = p_platform;
      v_has_own := found;

      if p_resume is not null and v_own.link_id is not null then
        if split_part(v_own.link_id, '.', 1) <> split_part(p_resume, '.', 1) then
          what := 'away'; by_platform := p_platform; at_ms := v_own.last_there_ms; return next; return;
        end if;
        if v_own.kicked_ms is not null then
          update terminal x set link_id = null, kicked_ms = null, kicked_by = null
            where x.account_id = p_account and x.platform = p_platform;
          what := 'away'; by_platform := v_own.kicked_by; at_ms := v_own.kicked_ms; return next; return;
        end if;
        update terminal x set state = 'online', is_background = false, node_id = p_node, link_id = p_link,
            last_there_ms = p_now_ms, issued_sec = coalesce(p_issued_sec, 0)
          where x.account_id = p_account and x.platform = p_platform;
        what := 'resumed'; return next;
        if v_own.node_id is not null then
          what := 'replaced'; platform := p_platform; node_id := v_own.node_id; link_id := v_own.link_id; return next;
        elsif p_consumers <> 0 then
          -- Its end was told, so its return is.
          perform im_state_event(p_consumers, a.sdk_app_id, p_account, a.identifier, p_platform, 'online', 'login', p_now_ms);
        end if;
        return;
      end if;

      update account set login_generation = login_generation + 1 where id = p_account
        returning login_generation into v_generation;
      what := 'login'; by_platform := v_own.kicked_by; at_ms := v_own.kicked_ms; return next;
      by_platform := p_platform; at_ms := p_now_ms;
      for t in
        select * from terminal x where x.account_id = p_account and x.platform = any (p_conflicts) order by x.platform
      loop
        if p_consumers <> 0 and (
          t.node_id is not null or (t.state = 'push-online' and t.last_there_ms > p_now_ms - p_push_online_ms)
            and t.platform <> p_platform
        ) then
          perform im_state_event(p_consumers, a.sdk_app_id, p_account, a.identifier, t.platform, 'offline', 'kicked', p_now_ms);
        end if;
        if t.node_id is not null then
          what := 'kicked'; platform := t.platform; node_id := t.node_id; link_id := t.link_id; return next;
        end if;
        -- One of another kind that is not logged out is to be told, by its link or at its next login. Its link id stays,
        -- so that its resume is known.
        if t.platform <> p_platform and t.link_id is not null then
          update terminal x set state = 'offline', node_id = null,
              kicked_ms = coalesce(x.kicked_ms, p_now_ms), kicked_by = coalesce(x.kicked_by, p_platform)
            where x.account_id = p_account and x.platform = t.platform;
        end if;
      end loop;
      if v_has_own then
        update terminal x set generation = v_generation, state = 'online', is_background = false, node_id = p_node,
            link_id = p_link, last_there_ms = p_now_ms, issued_sec = coalesce(p_issued_sec, 0), kicked_ms = null,
            kicked_by = null
          where x.account_id = p_account and x.platform = p_platform;
      else
        insert into terminal (account_id, platform, generation, state, node_id, link_id, last_there_ms, issued_sec)
          values (p_account, p_platform, v_generation, 'online', p_node, p_link, p_now_ms, coalesce(p_issued_sec, 0));
      end if;
      if p_consumers <> 0 then
        perform im_state_event(p_consumers, a.sdk_app_id, p_account, a.identifier, p_platform, 'online', 'login', p_now_ms);
      end if;
    end $$`.execute(db);
}

/**
 * im_end_all ends all terminals of an account whose UserSig was issued until then (p_issued_until, Unix seconds; null: all), and
 * gives a row for each link of them that lives.
 */
async function endAll(db: Kysely<unknown>): Promise<void> {
  await sql`
    create function im_end_all(
      p_account bigint, p_now_ms bigint, p_consumers integer, p_push_online_ms bigint, p_issued_until bigint
    )
    returns table (node_id text, link_id text)
    language plpgsql as $$
    #variable_conflict use_column
    declare
      a account%rowtype;
      t terminal%rowtype;
    begin
      -- Waits for logins of the account that are under way, and sees them then.
      select * into a from account where id = p_account for no key update;
      for t in
        select * from terminal x
        where x.account_id = p_account and (p_issued_until is null or x.issued_sec <= p_issued_until)
        order by x.platform for update
      loop
        if p_consumers <> 0 and (
          t.node_id is not null or (t.state = 'push-online' and t.last_there_ms > p_now_ms - p_push_online_ms)
        ) then
          perform im_state_event(p_consumers, a.sdk_app_id, p_account, a.identifier, t.platform, 'offline', 'kicked', p_now_ms);
        end if;
        if t.node_id is not null then
          node_id := t.node_id; link_id := t.link_id; return next;
        end if;
      end loop;
      update terminal x set state = 'offline', node_id = null, link_id = null, kicked_ms = null, kicked_by = null
        where x.account_id = p_account and (p_issued_until is null or x.issued_sec <= p_issued_until);
    end $$`.execute(db);
}
