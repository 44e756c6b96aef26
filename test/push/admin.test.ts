import t from 'tap';
import { viewItem } from '../../src/push/admin/views.ts';
import { createPushAdmin, parseChannel, parseDrop, parseOrder, parseQuery } from '../../src/push/index.ts';
import { openTestDatabase, until } from '../support/database.ts';
import { openPushWorld } from '../support/push-world.ts';

t.setTimeout(240_000);
const database = await openTestDatabase(t);
const refused = new Set<string>();
const world = await openPushWorld(t, database, {
  options: { tuning: { lookMs: 200 } },
  apns: { fault: ({ token }) => (refused.has(token) ? { word: 'BadTopic' } : undefined) },
});
const { im, push } = world;
const admin = createPushAdmin({
  db: database.db,
  pauses: push.pauses,
  wake: push.wake,
  clock: world.clock,
  services: push.services,
});
const app = () => world.app();
const asked = (input: object) => {
  const query = parseQuery(input);
  if (!query.ok) throw new Error(query.reason);
  return query.value;
};
const list = (input: object) => admin.list(app(), asked(input));

let made = 0;
const send = (to: string, more: object = {}) =>
  im.call('openim/sendmsg', {
    From_Account: 'alice',
    To_Account: to,
    MsgRandom: ++made,
    MsgBody: [{ MsgType: 'TIMTextElem', MsgContent: { Text: 'a secret' } }],
    ...more,
  });
async function phone(account: string): Promise<string> {
  const link = await im.link(account, { platform: 'iOS' });
  const token = (++made).toString(16).padStart(64, 'c');
  await link.ok('setToken', { channel: 'apns', token });
  await link.ok('report', { state: 'background', unread: 0 });
  return token;
}
await im.link('alice');

t.test('[O3] for each push that did not happen the reason can be looked up, by account and message', async (t) => {
  await phone('bob');
  const { MsgKey } = await send('bob');
  const other = await send('bob', { OfflinePushInfo: { PushFlag: 1 } });
  const got = await until(async () => {
    const { pushes } = await list({ account: 'bob', key: MsgKey as string });
    return pushes[0]?.state === 'accepted' && pushes;
  });
  t.match(got, [
    {
      kind: 'message',
      account: 'bob',
      platform: 'iOS',
      channel: 'apns',
      from: 'alice',
      key: MsgKey,
      why: /^its service took it/,
      attempts: 1,
      status: 200,
    },
  ]);
  t.notMatch(JSON.stringify(got), /a secret|cccc/);
  const [flagged] = await until(async () => {
    const { pushes } = await list({ state: 'skipped' });
    return pushes.length > 0 && pushes;
  });
  t.match(flagged, { key: other.MsgKey, account: 'bob', platform: null, reason: 'push-flag', why: /PushFlag 1/ });
  t.match(await list({ account: 'bob', key: other.MsgKey as string }), { pushes: [{ reason: 'push-flag' }] });

  await im.call('im_open_login_svc/kick', { Identifier: 'bob' });
  const { MsgKey: late } = await send('bob');
  const [why] = await until(async () => {
    const { pushes } = await list({ account: 'bob', key: late as string });
    return pushes.length > 0 && pushes;
  });
  t.match(why, { state: 'skipped', reason: 'logged-out', why: 'not pushed: the terminal had logged out' });
  t.match(await admin.devices(app(), 'bob'), [{ platform: 'iOS', token: /^cccccc…/, terminal: 'logged-out' }]);

  const nobody = await list({ account: 'alice' });
  t.match(nobody, { pushes: [], notes: [/no device of a receiver had a token/] });
  t.equal(await admin.devices(app(), 'nobody'), undefined);
  t.strictSame(await admin.devices(app(), 'alice'), []);
});

t.test('[O2] what was given up is sent again, or dropped; what waits is paused, resumed, dropped', async (t) => {
  const token = await phone('carol');
  refused.add(token);
  for (let n = 0; n < 3; n++) await send('carol');
  const dead = await until(async () => {
    const { pushes } = await list({ account: 'carol', state: 'dead' });
    return pushes.length === 3 && pushes;
  });
  t.match(dead[0], { reason: 'BadTopic', why: 'given up: BadTopic; retry sends it again' });
  t.equal((await admin.summary(app())).dead, 3);
  refused.delete(token);
  t.strictSame(await admin.retry(app(), { ids: [dead[0]?.id as number], channel: undefined, campaign: undefined }), {
    retried: 1,
    isAll: true,
  });
  await until(async () => (await list({ account: 'carol', state: 'accepted' })).pushes.length === 1);
  const all = { ids: undefined, channel: undefined, campaign: undefined };
  t.strictSame(await admin.drop(app(), { ...all, state: 'dead' }), { dropped: 2, isAll: true });
  t.match((await list({ account: 'carol', state: 'dropped' })).pushes, [
    { reason: 'operator' },
    { reason: 'operator' },
  ]);

  t.match(await admin.pause(app(), 'apns', 'oncall'), [{ channel: 'apns', reason: 'operator', actor: 'oncall' }]);
  await send('carol');
  const [waiting] = await until(async () => {
    const { pushes } = await list({ account: 'carol', state: 'waiting' });
    return pushes.length > 0 && pushes;
  });
  t.match(waiting, { why: 'waits: pushes of the app are paused' });
  t.match(await admin.summary(app()), {
    services: ['apns', 'fcm'],
    waiting: [{ channel: 'apns', campaigns: false, pushes: 1 }],
    pauses: [{ actor: 'oncall' }],
    senders: [{ channel: 'apns', trouble: undefined }],
  });
  t.strictSame(await admin.drop(app(), { ...all, channel: 'fcm', state: 'waiting' }), { dropped: 0, isAll: true });
  t.match(await admin.resume(app(), undefined), { resumed: 1, pauses: [] });
  await until(async () => (await list({ account: 'carol', state: 'accepted' })).pushes.length === 2);
  t.match((await list({ account: 'carol', limit: 2 })).next, Number);
});

t.test('[O2] what is named is changed, and nothing else; lists have pages, the last hour has an end', async (t) => {
  const hourMs = 3_600_000;
  const nowMs = world.clock();
  const add = async (reason: string, { campaign, ageMs = 0 }: { campaign?: number; ageMs?: number } = {}) => {
    const { rows } = await database.db.pool.query<{ id: number }>(
      `insert into push_item (day, sdk_app_id, channel, kind, campaign_id, deadline_ms, created_ms, done_ms, outcome, reason)
       values ($1, $2, 'fcm', 1, $3, $4, $5, $5, 'dead', $6) returning id`,
      [Math.floor(nowMs / 86_400_000), app().sdkAppId, campaign ?? null, nowMs + hourMs, nowMs - ageMs, reason],
    );
    return rows[0]?.id;
  };
  const ids = [
    await add('a', { campaign: 901 }),
    await add('b', { campaign: 902 }),
    await add('c', { ageMs: 2 * hourMs }),
  ];
  const lastHour = (await admin.summary(app())).lastHour.map(({ reason }) => reason);
  t.ok(lastHour.includes('b'));
  t.notOk(lastHour.includes('c'));
  const first = await list({ state: 'dead', limit: 2 });
  t.same([first.pushes.map(({ id }) => id), first.next], [[ids[2], ids[1]], ids[1]]);
  t.match((await list({ state: 'dead', limit: 2, before: first.next })).pushes, [{ id: ids[0] }]);
  const of = { ids: undefined, channel: undefined };
  t.match(await admin.retry(app(), { ...of, campaign: 901 }), { retried: 1 });
  t.match(await admin.drop(app(), { ...of, campaign: 902, state: 'dead' }), { dropped: 1 });
  t.match((await list({ state: 'dead' })).pushes, [{ id: ids[2] }]);
  t.match(await admin.drop(app(), { ...of, campaign: undefined, ids: [ids[2] as number], state: 'dead' }), {
    dropped: 1,
  });
});

t.test('[O3] what waits says for what', async (t) => {
  const { pool } = database.db;
  await phone('dave');
  await admin.pause(app(), undefined, 'oncall');
  await send('dave');
  const whyNow = async () => {
    const [one] = (await list({ account: 'dave' })).pushes;
    return one === undefined ? undefined : [one.why, one.dueAt];
  };
  await until(whyNow);
  t.strictSame(await whyNow(), ['waits: pushes of the app are paused', null]);
  const lateMs = world.clock() + 3_600_000;
  const late = new Date(lateMs).toISOString();
  const { rows } = await pool.query(
    `insert into campaign (sdk_app_id, task_id, state, admin, sender_id, random, msg_seq, day, terms, body, lifetime_sec, created_ms)
     select sdk_app_id, 'task', 'paused', 'admin', id, 1, 1, 0, '[]', '[]', 60, 0 from account where identifier = 'alice' returning id`,
  );
  const change = (set: string, values: unknown[]) =>
    pool.query(
      `update push_item i set ${set} from account a where a.id = i.account_id and a.identifier = 'dave'`,
      values,
    );
  await change('campaign_id = $1, due_ms = $2', [rows[0].id, lateMs]);
  await admin.resume(app(), undefined);
  t.strictSame(await whyNow(), ['waits: its campaign is paused', late]);
  await pool.query("update campaign set state = 'running'");
  t.strictSame(await whyNow(), ['waits for its turn', late]);
  await pool.query('update push_device set not_before_ms = $1', [lateMs]);
  t.strictSame(await whyNow(), ['waits: its service wants no more for the device at the moment', late]);
  await change("attempts = 2, reason = 'TooManyRequests'", []);
  t.strictSame(await whyNow(), ['waits for another attempt, after 2; the last came to: TooManyRequests', late]);
  await change('attempts = 0, reason = null', []);
  await pool.query('update push_device set not_before_ms = 0');
  await pool.query(
    `update message m set stored_ms = $1 from push_item i join account a on a.id = i.account_id
     where a.identifier = 'dave' and m.conversation_id = i.conversation_id and m.seq = i.seq and m.day = i.message_day`,
    [lateMs - 10_000],
  );
  t.strictSame(await whyNow(), [
    'waits to see whether the terminal, in the foreground, takes the message itself',
    late,
  ]);

  await pool.query(
    "update push_device d set token = 'abcdefg' from account a where a.id = d.account_id and a.identifier = 'dave'",
  );
  t.match(await admin.devices(app(), 'dave'), [{ token: '…' }], 'most of a short token stays unknown');
});

t.test("[O2] an operator's pause ends only when he says so, whatever he is called", async (t) => {
  t.match(await admin.pause(app(), 'fcm', 'service'), [{ channel: 'fcm', actor: 'service (operator)' }]);
  await push.pauses.mendedAll();
  t.match(await admin.resume(app(), 'fcm'), { resumed: 1, pauses: [] });
});

t.test('wrong input is refused by field, reason and what is allowed', async (t) => {
  const cases: [(input: unknown) => unknown, unknown, string][] = [
    [parseQuery, { state: 'sent' }, 'state'],
    [parseQuery, { account: '' }, 'account'],
    [parseQuery, { account: 'bob', key: '1_2' }, 'key'],
    [parseQuery, { key: '1_2_3' }, 'account'],
    [parseQuery, { group: 'tea' }, 'seq'],
    [parseQuery, { seq: 3 }, 'group'],
    [parseQuery, { limit: 501 }, 'limit'],
    [parseQuery, { limit: 'many' }, 'limit'],
    [parseQuery, { colour: 'red' }, 'colour'],
    [parseOrder, {}, 'all'],
    [parseOrder, { ids: [] }, 'ids'],
    [parseOrder, { ids: [1, -1] }, 'ids'],
    [parseOrder, { ids: Array.from({ length: 1_001 }, (_, n) => n + 1) }, 'ids'],
    [parseOrder, { channel: 'sms' }, 'channel'],
    [parseOrder, { ids: [1], all: true }, 'all'],
    [parseOrder, { ids: [1], channel: 'apns' }, 'channel'],
    [parseDrop, { ids: [1], campaign: 7, state: 'dead' }, 'campaign'],
    [parseDrop, { all: true }, 'state'],
    [parseDrop, { all: 'maybe', state: 'dead' }, 'all'],
    [parseChannel, { channel: 'both' }, 'channel'],
  ];
  for (const [parse, input, field] of cases) {
    t.match(parse(input), { ok: false, field, reason: String, allowed: String }, JSON.stringify(input));
  }
  t.match(parseOrder([]), { ok: false, code: 'BAD_REQUEST' });
  t.match(parseChannel(undefined), { ok: true, value: undefined });
  t.match(parseQuery({ limit: '5', seq: '7', group: '@TGS#1' }), { ok: true, value: { limit: 5, seq: 7 } });
});

t.test('[O1] what waits because it is a quarter of an hour says so', async (t) => {
  const row = { outcome: null, reason: null, attempts: 0, due_ms: 0, created_ms: 0, deadline_ms: 0, done_ms: null };
  const why = (more: object, time: string) =>
    viewItem({ ...row, opened_ms: null, is_paused: false, ...more } as never, Date.parse(`2026-11-26T${time}Z`)).why;
  const sale = { campaign_id: 7, campaign_state: 'running', channel: 'fcm' };
  t.match(why(sale, '09:14:00'), /^waits: campaigns send nothing through FCM within two minutes of /);
  t.equal(why(sale, '09:20:00'), 'waits for its turn');
  t.equal(why({ ...sale, channel: 'apns' }, '09:14:00'), 'waits for its turn');
  t.equal(why({ ...sale, campaign_id: null }, '09:14:00'), 'waits for its turn');
});
