import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { Terms } from '../../src/im/audience/terms.ts';
import { createPace } from '../../src/im/campaigns/pace.ts';
import { createRunner } from '../../src/im/campaigns/runner.ts';
import { type Account, type CampaignChange, createCampaignAdmin } from '../../src/im/index.ts';
import { createLocalBus } from '../../src/im/local-bus.ts';
import { createCommitTimes } from '../../src/im/messages/commit-times.ts';
import { createMetrics } from '../../src/observe/index.ts';
import type { AccountId, ImResult } from '../../src/wire/index.ts';
import { packCallbackNotes } from '../../src/wire/index.ts';
import { completeApp } from '../support/app-settings.ts';
import { makeTestLogger, openTestDatabase, until } from '../support/database.ts';
import { imAppId, openIm, type TestIm, type TestImOptions } from '../support/im.ts';
import { textBody } from '../support/im-draft.ts';
import { metricOf } from '../support/metrics.ts';

t.setTimeout(120_000);

const database = await openTestDatabase(t);
const { db } = database;
const everybody: Terms = { and: [], or: [] };
let randoms = 0;

/** The service on the file's database, with so many accounts of this test alone, and campaigns of no limit. */
async function open(t: Test, count: number, settings: TestImOptions = {}) {
  await db.pool.query(
    'truncate account, conversation, member, message, outbox, campaign, terminal, task_lease cascade',
  );
  const service = await openIm(t, { ...settings, database, app: { campaignPerSec: 0, ...settings.app } });
  const { im } = service;
  const names = Array.from({ length: count }, (_, i) => `a${i}` as AccountId);
  // The sender's number is among theirs, not below or above all of them.
  const half = Math.ceil(count / 2);
  const make = (some: AccountId[]) =>
    im.accounts.importMany(
      imAppId,
      some.map((identifier) => ({ identifier })),
    );
  await make(names.slice(0, half));
  const sender = await im.accounts.ensure(imAppId, 'admin' as AccountId);
  await make(names.slice(half));
  const accounts = [...(await im.accounts.findMany(imAppId, names)).values()].sort((a, b) => a.no - b.no);

  const start = async (more: object = {}): Promise<string> => {
    // So that they are more than a second apart.
    service.clock.advance(2);
    const started: ImResult<{ taskId: string }> = await im.campaigns.start({
      app: service.app,
      admin: sender,
      from: sender,
      condition: undefined,
      terms: everybody,
      body: textBody('sale'),
      push: undefined,
      random: ++randoms,
      lifetimeSec: 600,
      ...more,
    });
    if (!started.ok) throw new Error(started.error);
    return started.value.taskId;
  };
  const report = async (taskId: string) => {
    const found = await im.campaigns.report(imAppId, [taskId]);
    const [one] = found.ok ? found.value : [];
    if (one === undefined) throw new Error('no report');
    return one;
  };
  const ended = (taskId: string) =>
    until(async () => {
      const one = await report(taskId);
      return one.state === 'done' || one.state === 'cancelled' ? one : undefined;
    }, 20_000);
  return { ...service, accounts, sender, start, report, ended };
}

/** How many messages each account got, of all campaigns or the one of that MsgRandom. */
async function received(): Promise<Map<number, number>> {
  const { rows } = await db.pool.query<{ account: number; count: number }>(
    `select case when c.account_a = m.sender_id then c.account_b else c.account_a end as account, count(*) as count
     from message m join conversation c on c.id = m.conversation_id group by 1`,
  );
  return new Map(rows.map(({ account, count }) => [account, count]));
}

const isMessage = (event: Record<string, unknown>) => event.on === 'message';

t.test('[B2] [B3] [B4] everybody gets the message once, by the way of all messages, without callbacks', async (t) => {
  const asked: unknown[] = [];
  const { accounts, im, link, start, ended, sender, clock } = await open(t, 1_203, {
    deps: {
      ports: {
        beforeSend: {
          wants: () => true,
          ask: async (message) => {
            asked.push(message);
            return { kind: 'allow', outcome: 'allowed' };
          },
        },
        consumers: () => 3,
      },
    },
  });
  const terminals = await Promise.all([link('a7'), link('a1200')]);
  // One who has spoken with the sender before, and one who is gone.
  const [, friend, gone] = accounts as [Account, Account, Account];
  await im.messages.send({
    from: friend,
    to: sender,
    draft: { body: textBody('hi'), random: 1, lifetimeSec: 600, visibility: 'both', tellSender: false, counts: true },
    authority: 'administrator',
    withoutBefore: 'kind',
    withoutAfter: 'kind',
    origin: { platform: 'RESTAPI', address: '' },
    deadline: AbortSignal.timeout(10_000),
  });
  await im.accounts.delete(imAppId, [gone.identifier]);

  const random = randoms + 1;
  const taskId = await start({ push: { PushFlag: 0, Title: 'news' } });
  t.equal(taskId, `${imAppId}_admin_${Math.floor(clock() / 1_000)}_${random}`);
  t.match(await ended(taskId), { state: 'done', finished: 1_202, total: 1_202 });

  const { rows } = await db.pool.query<Record<string, unknown>>(
    `select a.identifier, m.seq, m.visible_to, m.counts, m.push, m.callbacks, m.offline_until - m.msg_time as lifetime, m.body
     from message m join conversation c on c.id = m.conversation_id
     join account a on a.id = case when c.account_a = m.sender_id then c.account_b else c.account_a end
     where m.msg_random = $1 and m.sender_id = $2 order by a.id`,
    [random, sender.no],
  );
  t.strictSame(
    rows.map(({ identifier }) => identifier),
    accounts.map(({ identifier }) => identifier).filter((name) => name !== gone.identifier),
    'each once, and nobody who is gone',
  );
  t.strictSame(
    new Set(rows.map(({ identifier: _, seq: __, ...rest }) => JSON.stringify(rest))),
    new Set([
      JSON.stringify({
        visible_to: 2,
        counts: true,
        push: '{"PushFlag":0,"Title":"news"}',
        callbacks: packCallbackNotes({ consumers: 2, before: 'unasked-kind', after: 'kind' }),
        lifetime: 600,
        body: JSON.stringify(textBody('sale')),
      }),
    ]),
  );
  t.equal(rows.find(({ identifier }) => identifier === friend.identifier)?.seq, 2);

  for (const terminal of terminals) {
    t.match(await terminal.event(isMessage), { from: 'admin', seq: 1, prev: 0, random });
    t.equal(terminal.events.filter(isMessage).length, 1);
  }
  const { rows: outgoing } = await db.pool.query<Record<string, unknown>>(
    'select consumer, event, body, count(*)::int as count from outbox group by 1, 2, 3',
  );
  const { rows: campaigns } = await db.pool.query<{ id: number }>('select id from campaign');
  t.match(
    outgoing.filter(({ event, body }) => event !== 'State.StateChange' && body !== null),
    [{ consumer: 2, event: 'C2C.CallbackAfterSendMsg', body: `{"campaign":${campaigns[0]?.id}}`, count: 1_202 }],
    'pushes alone, that say of which campaign they are',
  );
  t.strictSame(asked, []);

  t.strictSame(
    (await im.mailbox.recents(sender)).map(({ peer }) => peer),
    [friend.identifier],
    'nothing at the sender',
  );
  t.strictSame(await im.mailbox.unread(friend, [sender]), [1]);
  t.strictSame(await im.mailbox.unread(sender, [friend]), [1], 'his own messages are not unread');
  for (const account of [friend, accounts[3], accounts[1_201]] as Account[]) {
    t.match(await im.mailbox.offline(account), { messages: [{ random, peer: 'admin' }] });
    t.strictSame(await im.mailbox.unread(account, [sender]), [1]);
  }
  await ended(await start());
  for (const terminal of terminals) {
    t.match(await terminal.event((event) => isMessage(event) && event.random === randoms), { seq: 2, prev: 1 });
  }
});

t.test('[B2] without MsgLifeTime those who are online get it, and nothing is stored', async (t) => {
  const { accounts, link, start, ended, report } = await open(t, 40, { deps: { ports: { consumers: () => 3 } } });
  const there = await Promise.all(['a3', 'a30', 'a31'].map((name) => link(name)));
  const gone = await link('a5');
  await gone.close();
  await until(async () => {
    const { rows } = await db.pool.query('select from terminal where node_id is not null');
    return rows.length === 3;
  });
  const random = randoms + 1;
  const taskId = await start({ lifetimeSec: 0 });
  t.match(await ended(taskId), { state: 'done', finished: 3, total: 3 });
  for (const terminal of there) {
    t.match(await terminal.event(isMessage), { from: 'admin', random, seq: undefined });
    t.equal(terminal.events.filter(isMessage).length, 1);
  }
  t.equal((await received()).size, 0);
  const { rows } = await db.pool.query(`select from outbox where event <> 'State.StateChange'`);
  t.equal(rows.length, 0);
  t.equal((await report(taskId)).total, 3);
  t.equal(accounts.length, 40);
});

t.test('[B5] paused, resumed, cancelled; what operators see', async (t) => {
  const { app, start, report, ended, setApps } = await open(t, 120, { app: { campaignPerSec: 10 } });
  const admin = createCampaignAdmin({ db, clock: Date.now });
  const change = async (taskId: string, what: CampaignChange) => {
    const changed = await admin.change(imAppId, taskId, what, 'oncall');
    if (changed === undefined) throw new Error('no campaign');
    return changed;
  };
  const fast = () => setApps([{ ...app, im: { ...app.im, campaignPerSec: 0 } }]);

  const taskId = await start();
  await until(async () => (await report(taskId)).finished > 0);
  t.match(await change(taskId, 'pause'), { ok: true, value: { state: 'paused', actor: 'oncall', endedAt: null } });
  const { finished } = await report(taskId);
  t.ok(finished > 0 && finished < 120, `${finished} had theirs`);
  t.match(await change(taskId, 'pause'), { ok: false, code: 'CONFLICT', allowed: 'waiting, running' });
  // Another goes on meanwhile, to its end.
  fast();
  const other = await start();
  t.match(await ended(other), { state: 'done', finished: 120 });
  t.match(await report(taskId), { state: 'paused', finished, total: 120 }, 'nobody more');
  t.match(await change(taskId, 'resume'), { ok: true, value: { state: 'running' } });
  t.match(await change(taskId, 'resume'), { ok: false, code: 'CONFLICT', allowed: 'paused' });
  t.match(await ended(taskId), { state: 'done', finished: 120, total: 120 });
  t.strictSame(new Set((await received()).values()), new Set([2]), 'both, once each');
  t.match(await change(taskId, 'cancel'), { ok: false, code: 'CONFLICT', reason: /is done cannot be cancelled/ });

  setApps([app]);
  const third = await start({ condition: { TagsOr: ['x'] } });
  await until(async () => (await report(third)).finished > 0);
  t.match(await change(third, 'cancel'), { ok: true, value: { state: 'cancelled', endedAt: /Z$/ } });
  const { finished: before } = await report(third);
  fast();
  t.match(await ended(await start()), { state: 'done' });
  t.match(await report(third), { state: 'cancelled', finished: before, total: 120 });
  t.match(await change(third, 'resume'), { ok: false, code: 'CONFLICT' });

  // Paused before any process has taken it up: it begins when it is resumed.
  setApps([]);
  const waiting = await start();
  t.match(await report(waiting), { state: 'waiting', startedMs: undefined, total: 0 });
  t.match(await change(waiting, 'pause'), { ok: true, value: { state: 'paused', startedAt: null } });
  t.match(await change(waiting, 'resume'), { ok: true, value: { state: 'waiting' } });
  fast();
  t.match(await ended(waiting), { state: 'done', finished: 120 });

  const list = await admin.list(imAppId, { state: undefined, before: undefined, limit: 2 });
  t.match(list, { campaigns: [{ taskId: waiting, state: 'done' }, { state: 'done' }], next: Number });
  t.match(await admin.list(imAppId, { state: 'cancelled', before: undefined, limit: 2 }), {
    campaigns: [{ taskId: third, condition: { TagsOr: ['x'] }, admin: 'admin', from: 'admin' }],
    next: undefined,
  });
  const next = await admin.list(imAppId, { state: undefined, before: list.next, limit: 50 });
  t.equal(next.campaigns.length, 3);
  t.equal((await admin.list(imAppId + 1, { state: undefined, before: undefined, limit: 9 })).campaigns.length, 0);

  const [{ id = 0 } = {}] = list.campaigns;
  const day = Math.floor(Date.now() / 86_400_000);
  const outcomes = [null, null, 'accepted', 'dead', 'dead', 'dead', 'expired'];
  await db.pool.query(
    `insert into push_item (day, sdk_app_id, channel, kind, campaign_id, deadline_ms, created_ms, outcome, reason, done_ms)
     select $1, $2, 'apns', 1, $3, 0, 0, o, case when o = 'dead' then 'BadTopic' end, case when o is not null then 1 end
     from unnest($4::text[]) as o`,
    [day, imAppId, id, outcomes],
  );
  t.match(await admin.read(imAppId, String(id)), {
    taskId: waiting,
    pushes: {
      queued: 2,
      accepted: 1,
      others: [
        { outcome: 'dead', reason: 'BadTopic', count: 3 },
        { outcome: 'expired', reason: '', count: 1 },
      ],
    },
  });
  t.match(await admin.read(imAppId, waiting), { id });
  for (const name of ['none', '0', '\0', String(id + 1), `${waiting}x`]) {
    t.equal(await admin.read(imAppId, name), undefined);
    t.equal(await admin.change(imAppId, name, 'cancel', 'oncall'), undefined);
  }
  t.equal(await admin.read(imAppId + 1, String(id)), undefined, 'of another app');
});

t.test('[B5] two processes: an app is one’s at a time, and the other goes on where it ended', async (t) => {
  const settings = { app: { campaignPerSec: 200 }, options: { campaigns: { lookMs: 50 } } };
  const first = await open(t, 400, settings);
  const second = await openIm(t, { ...settings, database, deps: { clock: first.clock } });
  const receivers = (metrics: TestIm['metrics']) => metricOf(metrics, 'qalgate_im_campaign_receivers_total');
  const taskId = await first.start();
  // By then the other one has looked many times.
  await until(async () => (await first.report(taskId)).finished >= 150);
  const working = (await receivers(first.metrics)) > 0 ? first : second;
  const other = working === first ? second : first;
  t.equal(await receivers(other.metrics), 0);
  // As if the process were killed: its connections end, and it does not come back.
  const closing = working.close();
  await until(async () => (await receivers(other.metrics)) > 0);
  await closing;
  t.match(await other.im.campaigns.report(imAppId, [taskId]), { ok: true, value: [{ total: 400 }] });
  await until(async () => {
    const found = await other.im.campaigns.report(imAppId, [taskId]);
    return found.ok && found.value[0]?.state === 'done';
  });
  const all = await received();
  t.equal(all.size, 400);
  t.strictSame(new Set(all.values()), new Set([1]));
  const sums = [await receivers(first.metrics), await receivers(second.metrics)];
  t.ok(sums.every((sum) => sum > 0));
  t.equal(
    sums.reduce((a, b) => a + b, 0),
    400,
  );
});

t.test('[B5] a turn that comes late does nothing', async (t) => {
  const { accounts, start, ended, sender, setApps } = await open(t, 30);
  const taskId = await start();
  await ended(taskId);
  // From here on the service leaves it alone.
  setApps([]);
  const store = async (after: number, next: number, numbers: number[]) => {
    const { rows } = await db.pool.query('select * from im_campaign_store($1, $2, $3, $4, 2::smallint, $5)', [
      (await db.pool.query<{ id: number }>('select id from campaign')).rows[0]?.id,
      after,
      next,
      numbers,
      Date.now(),
    ]);
    return rows;
  };
  const numbers = accounts.map(({ no }) => no);
  const last = numbers.at(-1) ?? 0;
  await db.pool.query(`update campaign set state = 'running', through_id = $1, cursor_id = $2`, [last + 100, last]);
  t.strictSame(await store(last - 1, last + 100, numbers), [], 'the cursor has moved on');
  await db.pool.query(`update campaign set state = 'paused'`);
  t.strictSame(await store(last, last + 100, numbers), [], 'it was paused');
  await db.pool.query(`update campaign set state = 'running'`);

  // Of those that it names, one is deleted, and the conversation of another is being written to.
  const [gone = 0, busy = 0] = numbers;
  await db.pool.query('update account set deleted_ms = 1 where id = $1', [gone]);
  const { rows } = await db.pool.query<{ id: number }>(
    'select id from conversation where account_a = least($1::bigint, $2::bigint) and account_b = greatest($1::bigint, $2::bigint)',
    [busy, sender.no],
  );
  const client = await db.pool.connect();
  await client.query('begin');
  await client.query('select from conversation where id = $1 for update', [rows[0]?.id]);
  const storing = store(last, last + 100, numbers);
  await until(async () => {
    const { rows } = await db.pool.query(`select from pg_stat_activity where wait_event_type = 'Lock'`);
    return rows.length > 0;
  });
  // Who may send there has changed meanwhile: the message is stored by what holds then.
  await client.query('update conversation set auth_epoch = auth_epoch + 1 where id = $1', [rows[0]?.id]);
  await client.query('commit');
  client.release();
  t.strictSame(
    (await storing).map(({ account_id }) => account_id),
    numbers.slice(1),
  );
  const { rows: state } = await db.pool.query('select state, finished::int, cursor_id::int from campaign');
  t.match(
    state,
    [{ state: 'running', finished: 30 + 29, cursor_id: last + 100 }].map((row) => ({ ...row, state: 'done' })),
  );
});

t.test('[B5] nobody gets what a late turn brings of a sender who is gone', async (t) => {
  const { accounts, im, start, ended, sender, setApps } = await open(t, 12);
  await ended(await start());
  setApps([]);
  const numbers = accounts.map(({ no }) => no);
  const last = Math.max(...numbers, sender.no);
  const store = async (receivers: number[]) => {
    const { rows } = await db.pool.query(
      `select * from im_campaign_store((select id from campaign), $1, $2, $3, 2::smallint, $4)`,
      [last, last + 100, receivers, Date.now()],
    );
    return rows;
  };
  await db.pool.query(`update campaign set state = 'running', through_id = $1, cursor_id = $2`, [last + 100, last]);

  // It waits for a conversation, as the sender is deleted.
  const client = await db.pool.connect();
  await client.query('begin');
  await client.query('select from conversation where account_a = any ($1) or account_b = any ($1) for update', [
    [numbers[3]],
  ]);
  const storing = store(numbers);
  await until(async () => {
    const { rows } = await db.pool.query(`select from pg_stat_activity where wait_event_type = 'Lock'`);
    return rows.length > 0;
  });
  await client.query('update account set deleted_ms = 1 where id = $1', [sender.no]);
  await client.query('commit');
  client.release();
  t.strictSame(await storing, []);

  const stranger = await im.accounts.ensure(imAppId, 'stranger' as AccountId);
  t.strictSame(await store([...numbers, stranger.no]), []);
  const { rows } = await db.pool.query<{ count: number }>('select count(*) as count from conversation');
  t.match(rows, [{ count: 12 }], 'no conversation with somebody who is gone is made');
  const { rows: state } = await db.pool.query('select state, cursor_id from campaign');
  t.match(state, [{ state: 'running', cursor_id: last }], 'the next look ends it');
});

t.test('[B5] the sender is deleted, an app is away, and a database that fails for a while', async (t) => {
  const { app, im, start, report, ended, setApps, events } = await open(t, 60, { app: { campaignPerSec: 10 } });
  const from = await im.accounts.ensure(imAppId, 'shop' as AccountId);
  const taskId = await start({ from });
  await until(async () => (await report(taskId)).finished > 0);
  await im.accounts.delete(imAppId, [from.identifier]);
  t.match(await ended(taskId), { state: 'cancelled' });
  t.ok(events.includes('im.campaign.sender.deleted'));

  const second = await start();
  await until(async () => (await report(second)).finished > 0);
  setApps([]);
  const { finished } = await report(second);
  setApps([{ ...app, im: { ...app.im, campaignPerSec: 0 } }]);
  t.match(await ended(second), { state: 'done', finished: 60, total: 60 }, `went on behind ${finished}`);

  setApps([app]);
  const third = await start();
  await until(async () => (await report(third)).finished > 0);
  await db.pool.query('alter function im_campaign_store rename to im_campaign_away');
  await until(() => events.includes('im.campaigns.failed'));
  await db.pool.query('alter function im_campaign_away rename to im_campaign_store');
  setApps([{ ...app, im: { ...app.im, campaignPerSec: 0 } }]);
  t.match(await ended(third), { state: 'done', finished: 60 });
  // Those that cannot be carried out hold up no other, however many they are.
  setApps([]);
  const broken = await start();
  await db.pool.query(`update campaign set terms = 'x' where task_id = $1`, [broken]);
  await db.pool.query(
    `insert into campaign (sdk_app_id, task_id, admin, sender_id, random, msg_seq, day, terms, body, lifetime_sec, created_ms)
     select sdk_app_id, 'broken' || i, admin, sender_id, random, msg_seq, day, terms, body, lifetime_sec, created_ms
     from campaign, generate_series(1, 24) as i where task_id = $1`,
    [broken],
  );
  setApps([{ ...app, im: { ...app.im, campaignPerSec: 0 } }]);
  t.match(await ended(await start({ lifetimeSec: 0 })), { state: 'done' });
  t.match(await report(broken), { state: 'waiting' });
  await db.pool.query(`delete from campaign where task_id like 'broken%'`);
  await db.pool.query(`update campaign set terms = $2 where task_id = $1`, [broken, JSON.stringify(everybody)]);
  t.match(await ended(broken), { state: 'done', finished: 60 });
  const counts = [...(await received()).values()];
  t.ok(
    counts.every((one) => one === 3 || one === 4),
    'once each of those that ended, and of the first not all',
  );

  // Who goes before his turn is no receiver any more.
  setApps([app]);
  const last = await start();
  await until(async () => (await report(last)).finished > 0);
  t.match(await report(last), { total: 60 });
  await im.accounts.delete(imAppId, ['a59' as AccountId]);
  setApps([{ ...app, im: { ...app.im, campaignPerSec: 0 } }]);
  t.match(await ended(last), { state: 'done', finished: 59, total: 59 });
});

/** A runner alone with one campaign, of an app that the service of the file does not have. It waits until `slow` says otherwise. */
async function openRunner(t: Test, { maxYieldMs, lifetimeSec = 600 }: { maxYieldMs: number; lifetimeSec?: number }) {
  const { sender, accounts } = await open(t, 25);
  const sdkAppId = imAppId + 1;
  await db.pool.query('update account set sdk_app_id = $1', [sdkAppId]);
  await db.pool.query(
    `insert into campaign (sdk_app_id, task_id, admin, sender_id, random, msg_seq, day, terms, body, lifetime_sec, created_ms)
     values ($1, 't', 'admin', $2, 1, 1, 1, '{"and":[],"or":[]}', '[]', $3, 0)`,
    [sdkAppId, sender.no, lifetimeSec],
  );
  const slow = { p99Ms: 60 };
  const { logger } = makeTestLogger();
  const app = completeApp({ sdkAppId, secret: 'a secret of sixteen or more', im: { campaignPerSec: 0 } });
  const bus = createLocalBus({ logger });
  const told: number[] = [];
  bus.subscribe((to) => told.push(to));
  const runner = createRunner(
    {
      ...{ db, bus, logger, metrics: createMetrics(), ports: {}, clock: Date.now },
      apps: { get: () => app },
      times: { p99Ms: () => slow.p99Ms },
    },
    { maxTurn: 10, maxYieldMs, lookMs: 20 },
  );
  t.teardown(() => runner.close());
  const read = async () => {
    const { rows } = await db.pool.query<{ state: string; finished: number }>('select state, finished from campaign');
    return rows[0];
  };
  const finished = async () => (await read())?.finished;
  const isRunning = async () => (await read())?.state === 'running';
  return { runner, accounts, told, slow, finished, isRunning };
}

t.test('[B5] campaigns give way while people’s messages take long to store', async (t) => {
  let nowMs = 0;
  const times = createCommitTimes(() => nowMs, { windowMs: 5_000, max: 100, least: 20 });
  const add = (count: number, tookMs: number) => {
    for (let i = 0; i < count; i++) times.add(tookMs);
  };
  add(19, 80);
  t.equal(times.p99Ms(), 0, 'too few to tell');
  add(1, 80);
  t.equal(times.p99Ms(), 80);
  add(99, 5);
  t.equal(times.p99Ms(), 5, 'of a hundred one may take long');
  add(2, 90);
  t.equal(times.p99Ms(), 90);
  nowMs = 5_001;
  t.equal(times.p99Ms(), 0, 'what was long ago does not count');

  const { runner, accounts, finished, isRunning, slow } = await openRunner(t, { maxYieldMs: 60_000 });
  await until(isRunning);
  await delay(200);
  t.equal(await finished(), 0);
  slow.p99Ms = 50;
  await until(async () => (await finished()) === accounts.length);
  await runner.close();

  const patient = await openRunner(t, { maxYieldMs: 30 });
  patient.slow.p99Ms = 500;
  await until(async () => (await patient.finished()) === patient.accounts.length, 20_000);
});

t.test('[B5] whoever was stopped between looking and telling tells nobody again', async (t) => {
  const { accounts, told, slow, finished, isRunning } = await openRunner(t, { maxYieldMs: 60_000, lifetimeSec: 0 });
  await db.pool.query(
    `insert into terminal (account_id, platform, generation, state, node_id, last_there_ms)
     select id, 'Web', 1, 'online', 'n', 0 from account`,
  );
  await until(isRunning);
  // It has read where the campaign stands, and waits. Another process does a turn meanwhile.
  await delay(200);
  const tenth = accounts[9]?.no ?? 0;
  await db.pool.query('update campaign set cursor_id = $1, finished = 10', [tenth]);
  slow.p99Ms = 0;
  await until(async () => (await finished()) === accounts.length);
  t.strictSame(
    told,
    accounts.slice(10).map(({ no }) => no),
  );
});

t.test('[B5] receivers a second, of all campaigns of the app together', async (t) => {
  const { start, ended } = await open(t, 40, { app: { campaignPerSec: 40 } });
  const startedMs = performance.now();
  const tasks = [await start(), await start()];
  for (const taskId of tasks) t.match(await ended(taskId), { state: 'done', finished: 40 });
  // Of eighty the last ten are due 1,750 ms after the first ten.
  t.ok(performance.now() - startedMs >= 1_700);
});

t.test('[B5] [B6] whoever does not fit costs no turn, however few receivers a second there may be', async (t) => {
  const { accounts, start, ended } = await open(t, 200, { app: { campaignPerSec: 4 } });
  const tag = (value: string) => ({ slot: -1, value });
  const mark = (value: string, numbers: number[]) =>
    db.pool.query(
      'insert into audience_mark (account_id, slot, value, sdk_app_id) select id, -1, $1, $2 from unnest($3::bigint[]) as id',
      [value, imAppId, numbers],
    );
  const numbers = accounts.map(({ no }) => no);
  await mark('gold', numbers);
  await mark('rare', numbers.slice(-2));
  await db.pool.query(`
    create table moves (cursor_id bigint);
    create function note_move() returns trigger language plpgsql as $$ begin
      insert into moves values (new.cursor_id); return null;
    end $$;
    create trigger note after update of cursor_id on campaign for each row execute function note_move()`);
  t.teardown(() => db.pool.query('drop function note_move cascade; drop table moves'));
  t.match(await ended(await start({ terms: { and: [tag('gold'), tag('rare')], or: [] } })), { finished: 2, total: 2 });
  t.strictSame([...(await received()).keys()].sort(), numbers.slice(-2).sort());
  const { rows } = await db.pool.query('select from moves');
  t.ok(rows.length <= 3, `${rows.length} turns`);
});

t.test('[B5] the pace: so many a second, evenly, and no rush behind a pause', async (t) => {
  let nowMs = 0;
  const pace = createPace(() => nowMs, 500);
  t.strictSame([0, 1, 40, 2_000, 1_000_000].map(pace.turn), [500, 1, 10, 500, 500]);
  for (const perSec of [1, 3, 7, 100, 2_000, 9_999]) {
    let count = 0;
    const startMs = nowMs;
    while (nowMs - startMs < 10_000) {
      nowMs += pace.waitMs() + 1;
      const turn = pace.turn(perSec);
      pace.took(turn, perSec);
      count += turn;
    }
    const seconds = (nowMs - startMs) / 1_000;
    t.ok(count / seconds <= perSec * 1.35 + 1, `${count} in ${seconds} s at ${perSec} a second`);
    t.ok(count / seconds >= perSec * 0.5, `${count} in ${seconds} s at ${perSec} a second`);
    nowMs += 60_000;
    t.equal(pace.waitMs(), 0);
    pace.took(pace.turn(perSec), perSec);
    t.ok(pace.waitMs() > 0, 'a minute of rest is not made up for');
  }
  pace.took(500, 0);
  nowMs += 3_600_000;
  t.equal(pace.waitMs(), 0);
});
