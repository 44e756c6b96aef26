import t from 'tap';
import { parseApnsFault } from '../../src/push/sandbox/apns-faults.ts';
import { openTestDatabase, until } from '../support/database.ts';
import type { TestLink } from '../support/im.ts';
import { metricOf } from '../support/metrics.ts';
import { openPushWorld } from '../support/push-world.ts';

t.setTimeout(240_000);
const database = await openTestDatabase(t);
const { pool } = database.db;
/** What Apple says to the next pushes of a token, instead of taking them. */
const faults = new Map<string, string[]>();
/** Those whose messages nobody else sees. */
const swallowed = new Set<string>();
const world = await openPushWorld(t, database, {
  options: { tuning: { lookMs: 200 } },
  ports: { relations: async ({ identifier }) => (swallowed.has(identifier) ? 'sender-only' : 'pass') },
  apns: {
    fault: ({ token }) => {
      const text = faults.get(token)?.shift();
      const fault = text === undefined ? undefined : parseApnsFault(text);
      return fault?.word === 'Unregistered' ? { ...fault, timestampMs: Date.now() } : fault;
    },
  },
});
const { im, apns, items } = world;

let made = 0;
const name = (prefix: string) => `${prefix}${++made}`;
const newToken = () => (++made).toString(16).padStart(64, 'a');
const text = (words: string) => [{ MsgType: 'TIMTextElem', MsgContent: { Text: words } }];
let clientIds = 0;
const said = (words: string, more: object = {}) => ({ clientId: `id-${++clientIds}`, body: text(words), ...more });

interface Phone {
  readonly account: string;
  readonly token: string;
  readonly link: TestLink;
}

/** Somebody with a phone that was there, and is in the background by now. */
async function phoneOf(account: string, unread = 0): Promise<Phone> {
  const link = await im.link(account, { platform: 'iOS' });
  const token = newToken();
  await link.ok('setToken', { channel: 'apns', token });
  await link.ok('report', { state: 'background', unread });
  return { account, token, link };
}

/** What the phone shows, oldest first. */
const shown = ({ token }: Phone) =>
  apns.shown(token).map(({ body }) => JSON.parse(body) as { aps: { alert?: string; badge?: number }; ext?: string });
const alerts = (phone: Phone) => shown(phone).map(({ aps }) => aps.alert);

const c2c = (phone: { account: string }) => ({ conversation: `c2c:${phone.account}` });
/** Every push of the account has ended, this many of them. */
const ended = (account: string, count: number) =>
  until(async () => {
    const all = await items(account);
    return all.length === count && all.every(({ done_ms }) => done_ms !== null) && all;
  });
/** So many have been looked at, whatever came of it. */
const seen = (account: string, count: number) => until(async () => (await items(account)).length === count);
/** All messages have been looked at. */
const looked = () =>
  until(
    async () => (await pool.query('select 1 from outbox where consumer = 2 and done_ms is null')).rows.length === 0,
  );
/** Somebody waits for a lock with such a statement; gives back the process that does it. */
const waitsWith = (statement: string) =>
  until(async () => {
    const { rows } = await pool.query<{ pid: number }>(
      "select pid from pg_stat_activity where wait_event_type = 'Lock' and query like $1",
      [`${statement}%`],
    );
    return rows[0]?.pid;
  });

t.test('[S1][S2][S3] a phone in the background rings, with the right words and badge', async (t) => {
  const alice = await im.link(name('alice'));
  await alice.ok('setProfile', { fields: { nick: 'Alice' } });
  const bob = await phoneOf(name('bob'), 3);
  await alice.ok('send', { ...c2c(bob), ...said('see you') });
  await until(() => shown(bob).length === 1);
  t.match(shown(bob)[0], { aps: { alert: 'Alice: see you', badge: 4 } });
  await alice.ok('send', { ...c2c(bob), ...said('at noon') });
  await until(() => shown(bob).length === 2);
  t.same(
    shown(bob).map(({ aps }) => aps.badge),
    [4, 5],
  );
  t.match(await ended(bob.account, 2), [
    { outcome: 'accepted', attempts: 1, status: 200, counted: true, provider_id: /./ },
    { outcome: 'accepted', attempts: 1, status: 200 },
  ]);
});

t.test('[S1] the link alone in the foreground, unless it is not heard of', async (t) => {
  const alice = await im.link(name('alice'));
  const bob = await phoneOf(name('bob'));
  await bob.link.ok('report', { state: 'foreground' });
  const heard = await alice.ok('send', { ...c2c(bob), ...said('heard') });
  await seen(bob.account, 1);
  await bob.link.ok('ack', { items: [[`c2c:${alice.login.account}`, heard.seq]] });
  await until(async () => (await pool.query('select 1 from delivered')).rows.length > 0);
  await alice.ok('send', { ...c2c(bob), ...said('unheard') });
  await seen(bob.account, 2);
  t.match(await items(bob.account), [{ done_ms: null }, { done_ms: null }], 'both wait to be heard of');
  world.clock.advance(11);
  world.push.wake({ sdkAppId: im.app.sdkAppId, channel: 'apns' } as never);
  t.match(await ended(bob.account, 2), [{ outcome: 'skipped', reason: 'delivered' }, { outcome: 'accepted' }]);
  t.match(alerts(bob), ['unheard']);
});

t.test('[S1] whoever locks the phone on which he has just got a message is not rung for it', async (t) => {
  const alice = await im.link(name('alice'));
  const bob = await phoneOf(name('bob'));
  await bob.link.ok('report', { state: 'foreground' });
  const taken = await alice.ok('send', { ...c2c(bob), ...said('taken') });
  await seen(bob.account, 1);
  await bob.link.ok('ack', { items: [[`c2c:${alice.login.account}`, taken.seq]] });
  await until(
    async () =>
      (
        await pool.query('select 1 from delivered d join account a on a.id = d.account_id where a.identifier = $1', [
          bob.account,
        ])
      ).rows.length > 0,
  );
  await bob.link.ok('report', { state: 'background', unread: 1 });
  world.clock.advance(11);
  t.match(await ended(bob.account, 1), [{ outcome: 'skipped', reason: 'delivered', counted: false }]);
  await alice.ok('send', { ...c2c(bob), ...said('not taken') });
  await ended(bob.account, 2);
  t.match(shown(bob), [{ aps: { alert: `not taken`, badge: 2 } }]);
});

t.test('[S1] nobody is pushed to after logout, a kick, or a login elsewhere', async (t) => {
  const alice = await im.link(name('alice'));
  const [out, elsewhere] = [await phoneOf(name('bob')), await phoneOf(name('bob'))];
  await out.link.ask('logout');
  await im.link(elsewhere.account, { platform: 'iOS' });
  const kicked = await phoneOf(name('bob'));
  await im.call('im_open_login_svc/kick', { Identifier: kicked.account });
  const gone = await phoneOf(name('bob'));
  gone.link.socket.terminate();
  await until(async () => {
    const { rows } = await pool.query(
      'select 1 from terminal t join account a on a.id = t.account_id where a.identifier = $1 and t.node_id is null',
      [gone.account],
    );
    return rows.length > 0;
  });
  for (const phone of [out, elsewhere, kicked, gone]) await alice.ok('send', { ...c2c(phone), ...said('hello') });
  t.match(await ended(out.account, 1), [{ outcome: 'skipped', reason: 'logged-out' }]);
  t.match(await ended(elsewhere.account, 1), [{ outcome: 'skipped', reason: 'other-login' }]);
  t.match(await ended(kicked.account, 1), [{ outcome: 'skipped', reason: 'logged-out' }]);
  t.match(await ended(gone.account, 1), [{ outcome: 'accepted' }], 'a link that is lost is no logout');
  t.equal(
    apns.arrivals.filter(({ token }) => [out, elsewhere, kicked].some((phone) => phone.token === token)).length,
    0,
  );
});

t.test('nobody is pushed to of a message that only its sender sees, or of his own', async (t) => {
  const bob = await phoneOf(name('bob'));
  const alice = await phoneOf(name('alice'));
  const desktop = await im.link(alice.account, { platform: 'Mac' });
  await desktop.ok('send', { ...c2c(alice), ...said('a note to myself') });
  swallowed.add(alice.account);
  await desktop.ok('send', { ...c2c(bob), ...said('nobody hears me') });
  swallowed.delete(alice.account);
  await looked();
  t.same([...(await items(alice.account)), ...(await items(bob.account))], []);
  await desktop.ok('send', { ...c2c(bob), ...said('but now') });
  await ended(bob.account, 1);
  const { group } = await desktop.ok('createGroup', { type: 'Private', name: 'Tea', members: [bob.account] });
  await desktop.ok('send', { conversation: `group:${group}`, ...said('tea?') });
  await ended(bob.account, 2);
  t.same(await items(alice.account), [], 'nor on another device of the sender');
});

t.test('nobody is pushed to of what was said before he joined the group, or since he left it', async (t) => {
  const alice = await im.link(name('alice'));
  const [bob, carol] = [await phoneOf(name('bob')), await phoneOf(name('carol'))];
  const { group } = await alice.ok('createGroup', { type: 'Private', name: 'Tea', members: [bob.account] });
  const { seq } = await alice.ok('send', { conversation: `group:${group}`, ...said('before') });
  await ended(bob.account, 1);
  await im.call('group_open_http_svc/add_group_member', {
    GroupId: group,
    MemberList: [{ Member_Account: carol.account }],
  });
  await looked();
  // As if nobody had looked at it until now.
  await pool.query(
    `update outbox o set done_ms = null, outcome = null from chat_group g
     where g.group_id = $1 and o.conversation_id = g.conversation_id and o.seq = $2 and o.consumer = 2`,
    [group, seq],
  );
  world.push.written();
  await ended(bob.account, 2);
  t.same(await items(carol.account), []);
  await alice.ok('send', { conversation: `group:${group}`, ...said('after') });
  await ended(carol.account, 1);
  t.match(alerts(carol), [/: after$/]);
  await carol.link.ok('quitGroup', { group });
  await alice.ok('send', { conversation: `group:${group}`, ...said('without her') });
  await ended(bob.account, 4);
  t.equal((await items(carol.account)).length, 1);
});

t.test(
  'nobody is pushed to who has switched pushes off in the profile, or, where the app says so, sits at a computer',
  async (t) => {
    const alice = await im.link(name('alice'));
    const bob = await phoneOf(name('bob'));
    const desktop = await im.link(bob.account, { platform: 'Mac' });
    const send = async (count: number) => {
      await alice.ok('send', { ...c2c(bob), ...said(`no ${count}`) });
      return (await ended(bob.account, count)).at(-1);
    };
    await bob.link.ok('setProfile', { fields: { messageSettings: 1 } });
    t.match(await send(1), { outcome: 'skipped', reason: 'switched-off' });
    await bob.link.ok('setProfile', { fields: { messageSettings: 0 } });
    t.match(await send(2), { outcome: 'accepted' });
    world.setPush(() => ({ notWithDesktop: true }));
    t.match(await send(3), { outcome: 'skipped', reason: 'desktop' });
    await desktop.ok('report', { state: 'background' });
    t.match(await send(4), { outcome: 'accepted' }, 'nobody looks at it');
    world.setPush(() => ({ notWithDesktop: false }));
  },
);

t.test('[S1] a phone whose link was of a process that is dead rings at once', async (t) => {
  const alice = await im.link(name('alice'));
  const bob = await phoneOf(name('bob'));
  await bob.link.ok('report', { state: 'foreground' });
  await pool.query(
    "insert into node (id, started_ms, lease_until) values ('dead', 0, now() - interval '1 s') on conflict do nothing",
  );
  await pool.query(
    "update terminal t set node_id = 'dead' from account a where a.id = t.account_id and a.identifier = $1",
    [bob.account],
  );
  await alice.ok('send', { ...c2c(bob), ...said('are you there?') });
  t.match(await ended(bob.account, 1), [{ outcome: 'accepted' }]);
});

t.test('[S2][S6] a group rings for those who want it, with card and name', async (t) => {
  const alice = await im.link(name('alice'));
  const [bob, quiet, deaf] = [await phoneOf(name('bob')), await phoneOf(name('bob')), await phoneOf(name('bob'))];
  const members = [bob, quiet, deaf].map(({ account }) => account);
  const { group } = await alice.ok('createGroup', { type: 'Private', name: 'Tea', members });
  // It shows itself once its owner has said something.
  await alice.ok('send', { conversation: `group:${group}`, ...said('tea?') });
  await alice.ok('modifyMember', { group, nameCard: 'Ali' });
  await quiet.link.ok('modifyMember', { group, receive: 'AcceptNotNotify' });
  await deaf.link.ok('modifyMember', { group, receive: 'Discard' });
  await alice.ok('send', { conversation: `group:${group}`, ...said('at five') });
  t.match(await ended(bob.account, 2), [{ outcome: 'accepted' }, { outcome: 'accepted' }], 'tips ring for nobody');
  t.match(alerts(bob), [`${alice.login.account}(Tea): tea?`, 'Ali(Tea): at five']);
  t.match((await ended(quiet.account, 2))[1], { outcome: 'skipped', reason: 'receive-option' });
  t.match((await ended(deaf.account, 2))[1], { outcome: 'skipped', reason: 'receive-option' });
});

t.test('[S2] a group shows its members as they were called when they said it', async (t) => {
  const sdkAppId = im.app.sdkAppId as never;
  const alice = await im.link(name('alice'));
  const bob = await phoneOf(name('bob'));
  await alice.ok('setProfile', { fields: { nick: 'Ali' } });
  const { group } = await alice.ok('createGroup', { type: 'Private', name: 'Tea', members: [bob.account] });
  await world.push.pauses.pause({ sdkAppId, channel: 'apns', reason: 'a test', actor: 'tester' });
  await alice.ok('send', { conversation: `group:${group}`, ...said('tea?') });
  await seen(bob.account, 1);
  await alice.ok('setProfile', { fields: { nick: 'Alice' } });
  await world.push.pauses.resume(sdkAppId);
  world.push.wake({ sdkAppId, channel: 'apns' });
  await ended(bob.account, 1);
  t.same(alerts(bob), ['Ali(Tea): tea?']);
});

t.test('[S2] a group of thousands: each device once, whatever page it stands on', async (t) => {
  const sdkAppId = im.app.sdkAppId as never;
  const alice = await im.link(name('alice'));
  const bob = await phoneOf(name('bob'));
  const { group } = await alice.ok('createGroup', { type: 'Private', name: 'Many', members: [bob.account] });
  const prefix = name('many');
  await pool.query(
    'insert into account (sdk_app_id, identifier, created_ms) select $1, $2 || n, 1 from generate_series(1, 1500) n',
    [sdkAppId, `${prefix}-`],
  );
  await pool.query(
    `insert into member (account_id, conversation_id, from_seq, role, msg_flag)
     select a.id, g.conversation_id, 1, 1, 'AcceptNotNotify' from account a, chat_group g where g.group_id = $1 and a.identifier like $2`,
    [group, `${prefix}-%`],
  );
  await pool.query(
    `insert into push_device (sdk_app_id, account_id, platform, generation, channel, token, registered_ms, seen_ms)
     select $1, a.id, p, 1, 'apns', p || a.id, 1, 1 from account a, unnest(array['iOS', 'Android']) p where a.identifier like $2`,
    [sdkAppId, `${prefix}-%`],
  );
  await alice.ok('send', { conversation: `group:${group}`, ...said('all') });
  await ended(bob.account, 1);
  const { rows } = await pool.query(
    `select count(*) as n, count(distinct device_id) as devices from push_item i join chat_group g on g.conversation_id = i.conversation_id
     where g.group_id = $1`,
    [group],
  );
  t.match(rows, [{ n: 3_001, devices: 3_001 }]);
  await pool.query("delete from push_device where token like 'iOS%' or token like 'Android%'");
});

t.test('[S5] a sender says that it is not pushed, or what it says', async (t) => {
  const bob = await phoneOf(name('bob'));
  const send = (OfflinePushInfo: object | undefined, more: object = {}) =>
    im.call('openim/sendmsg', {
      From_Account: 'admin',
      To_Account: bob.account,
      MsgRandom: ++made,
      MsgBody: text('secret'),
      ...(OfflinePushInfo === undefined ? {} : { OfflinePushInfo }),
      ...more,
    });
  await send({ PushFlag: 1 });
  await send(undefined, { MsgLifeTime: 0 });
  await send({ Desc: 'You have mail', Ext: 'room=7', ApnsInfo: { Sound: 'ding.aiff', BadgeMode: 1 } });
  t.match(
    await ended(bob.account, 2),
    [{ outcome: 'skipped', reason: 'push-flag', device_id: null, channel: '' }, { outcome: 'accepted' }],
    'why nobody was pushed to is written down',
  );
  t.match(shown(bob), [{ aps: { alert: 'You have mail', sound: 'ding.aiff', badge: undefined }, ext: 'room=7' }]);
});

t.test('[S1][S2] an Android phone that is cut off rings through FCM', async (t) => {
  const alice = await im.link(name('alice'));
  await alice.ok('setProfile', { fields: { nick: 'Alice' } });
  const bob = name('bob');
  const link = await im.link(bob, { platform: 'Android' });
  const token = `fcm-token-of-${bob}-0123456789`;
  await link.ok('setToken', { channel: 'fcm', token, language: 'en' });
  await link.ok('report', { state: 'background', unread: 2 });
  link.socket.terminate();
  await alice.ok('send', {
    ...c2c({ account: bob }),
    clientId: `id-${++clientIds}`,
    body: [...text('look '), { MsgType: 'TIMFaceElem', MsgContent: { Index: 1 } }],
  });
  t.match(await ended(bob, 1), [
    { outcome: 'accepted', channel: 'fcm', attempts: 1, status: 200, provider_id: /^projects/ },
  ]);
  t.match(world.fcm.shown(token), [{ title: 'Alice', body: 'look [Face]', count: 3, times: 1 }]);

  const { fcm } = world.app().push;
  world.setPush(() => ({ fcm: undefined }) as never);
  await alice.ok('send', { ...c2c({ account: bob }), ...said('nobody carries this') });
  await looked();
  world.setPush(() => ({ fcm }) as never);
  t.equal((await items(bob)).length, 1, 'of a service that its app has no more');
});

t.test('[S7] what was read elsewhere or recalled while it waited is not pushed', async (t) => {
  const sdkAppId = im.app.sdkAppId as never;
  const alice = await im.link(name('alice'));
  const [reader, other] = [await phoneOf(name('bob')), await phoneOf(name('bob'))];
  const desktop = await im.link(reader.account, { platform: 'Mac' });
  await world.push.pauses.pause({ sdkAppId, channel: 'apns', reason: 'a test', actor: 'tester' });
  const skips = () =>
    Promise.all(
      ['read', 'recalled', 'no-text'].map((reason) =>
        metricOf(world.metrics, 'qalgate_push_skipped_total', { reason }),
      ),
    );
  const before = await skips();
  const first = await alice.ok('send', { ...c2c(reader), ...said('read') });
  const second = await alice.ok('send', { ...c2c(other), ...said('recalled') });
  await alice.ok('send', { ...c2c(other), ...said('stays') });
  await Promise.all([seen(reader.account, 1), seen(other.account, 2)]);
  await desktop.ok('read', { conversation: `c2c:${alice.login.account}`, seq: first.seq });
  await alice.ok('recall', { ...c2c(other), seq: second.seq });
  t.equal(await world.push.pauses.resume(sdkAppId, 'apns'), 1);
  world.push.wake({ sdkAppId, channel: 'apns' });
  t.match(await ended(reader.account, 1), [{ outcome: 'skipped', reason: 'read' }]);
  t.match(await ended(other.account, 2), [{ outcome: 'skipped', reason: 'recalled' }, { outcome: 'accepted' }]);
  t.match(shown(other), [{ aps: { alert: 'stays', badge: 1 } }], 'what was not pushed was not counted');
  const nothing = [{ MsgType: 'TIMCustomElem', MsgContent: { Data: 'x', Desc: '' } }];
  await alice.ok('send', { ...c2c(other), ...said(''), body: nothing });
  t.match((await ended(other.account, 3))[2], { outcome: 'skipped', reason: 'no-text' });
  // Counted once it has been written down.
  await until(async () => (await skips()).every((count, index) => count === (before[index] ?? 0) + 1));
});

t.test('[S3] a badge goes down by what is read elsewhere, or recalled, and says so alone', async (t) => {
  const alice = await im.link(name('alice'));
  const bob = await phoneOf(name('bob'), 10);
  const desktop = await im.link(bob.account, { platform: 'Mac' });
  const sent = [];
  for (const words of ['one', 'two', 'three']) sent.push(await alice.ok('send', { ...c2c(bob), ...said(words) }));
  await ended(bob.account, 3);
  t.equal(shown(bob).at(-1)?.aps.badge, 13);
  await alice.ok('recall', { ...c2c(bob), seq: sent[2]?.seq });
  await ended(bob.account, 4);
  t.strictSame(JSON.parse(apns.arrivals.at(-1)?.body ?? ''), { aps: { badge: 12 } });
  await desktop.ok('read', { conversation: `c2c:${alice.login.account}`, seq: sent[1]?.seq });
  await ended(bob.account, 5);
  t.strictSame(
    JSON.parse(apns.arrivals.at(-1)?.body ?? ''),
    { aps: { badge: 10 } },
    'what was recalled is not read as well',
  );
  // Its own app shows what it likes.
  await bob.link.ok('report', { state: 'foreground' });
  await alice.ok('send', { ...c2c(bob), ...said('four') });
  await desktop.ok('read', { conversation: `c2c:${alice.login.account}`, seq: 4 });
  await seen(bob.account, 6);
  t.match(
    (await items(bob.account)).map(({ kind }) => kind),
    [1, 1, 1, 2, 2, 1],
  );
});

t.test('[S7][S3] a failure that passes is tried again, under the same name, and counted once', async (t) => {
  const alice = await im.link(name('alice'));
  const bob = await phoneOf(name('bob'), 1);
  faults.set(bob.token, ['ServiceUnavailable', 'InternalServerError']);
  await alice.ok('send', { ...c2c(bob), ...said('patience') });
  await until(() => faults.get(bob.token)?.length === 1);
  const waits = () => until(async () => (await items(bob.account)).every(({ reason }) => reason !== null));
  await waits();
  world.clock.advance(60);
  await until(() => faults.get(bob.token)?.length === 0);
  await until(async () => (await items(bob.account))[0]?.reason === 'InternalServerError');
  world.clock.advance(1_000);
  t.match(await ended(bob.account, 1), [{ outcome: 'accepted', attempts: 3 }]);
  t.match(shown(bob), [{ aps: { alert: 'patience', badge: 2 } }]);
  const ids = apns.arrivals
    .filter(({ token }) => token === bob.token)
    .map(({ headers }) => headers['apns-collapse-id']);
  t.equal(new Set(ids).size, 1);
  t.ok(ids.length >= 2);
});

t.test('[S7] a dead token is dropped, one that was set anew since is not', async (t) => {
  const alice = await im.link(name('alice'));
  const [dead, renewed] = [await phoneOf(name('bob')), await phoneOf(name('bob'))];
  const deviceOf = async ({ account }: Phone) =>
    (
      await pool.query(
        'select d.token from push_device d join account a on a.id = d.account_id where a.identifier = $1',
        [account],
      )
    ).rows[0];
  faults.set(dead.token, ['Unregistered']);
  faults.set(renewed.token, ['Unregistered']);
  await pool.query('update push_device set registered_ms = 1 where token = $1', [dead.token]);
  await pool.query('update push_device set registered_ms = 9000000000000 where token = $1', [renewed.token]);
  for (const phone of [dead, renewed]) await alice.ok('send', { ...c2c(phone), ...said('anybody?') });
  t.match(await ended(dead.account, 1), [{ outcome: 'gone', reason: 'Unregistered', status: 410 }]);
  t.match(await ended(renewed.account, 1), [{ outcome: 'gone' }]);
  t.equal(await deviceOf(dead), undefined);
  t.match(await deviceOf(renewed), { token: renewed.token });
});

t.test('[S7] a token of the other side of Apple is found out', async (t) => {
  const alice = await im.link(name('alice'));
  const bob = await phoneOf(name('bob'));
  faults.set(bob.token, ['BadDeviceToken']);
  await alice.ok('send', { ...c2c(bob), ...said('which side?') });
  t.match(await ended(bob.account, 1), [{ outcome: 'accepted', attempts: 2 }]);
  t.match((await pool.query('select environment from push_device where token = $1', [bob.token])).rows, [
    { environment: 'sandbox' },
  ]);
});

t.test('[S8] what Apple never takes is given up, and kept', async (t) => {
  const alice = await im.link(name('alice'));
  const bob = await phoneOf(name('bob'));
  faults.set(bob.token, ['BadTopic']);
  await alice.ok('send', { ...c2c(bob), ...said('no') });
  t.match(await ended(bob.account, 1), [{ outcome: 'dead', reason: 'BadTopic', attempts: 1 }]);
});

t.test('[S7] what waits past its deadline is not sent', async (t) => {
  const sdkAppId = im.app.sdkAppId as never;
  const alice = await im.link(name('alice'));
  const bob = await phoneOf(name('bob'));
  await world.push.pauses.pause({ sdkAppId, channel: undefined, reason: 'a test', actor: 'tester' });
  await alice.ok('send', { ...c2c(bob), ...said('too late') });
  await seen(bob.account, 1);
  world.clock.advance(86_401);
  await world.push.pauses.resume(sdkAppId);
  world.push.wake({ sdkAppId, channel: 'apns' });
  t.match(await ended(bob.account, 1), [{ outcome: 'expired', attempts: 0 }]);
  t.equal(shown(bob).length, 0);
});

t.test('[S7] what its sender wants delivered within minutes is pushed within minutes', async (t) => {
  const sdkAppId = im.app.sdkAppId as never;
  const bob = await phoneOf(name('bob'));
  await world.push.pauses.pause({ sdkAppId, channel: undefined, reason: 'a test', actor: 'tester' });
  for (const MsgLifeTime of [600, 800]) {
    await im.call('openim/sendmsg', {
      From_Account: 'admin',
      To_Account: bob.account,
      MsgRandom: ++made,
      MsgLifeTime,
      MsgBody: text(`for ${MsgLifeTime} seconds`),
    });
  }
  await seen(bob.account, 2);
  world.clock.advance(601);
  await world.push.pauses.resume(sdkAppId);
  world.push.wake({ sdkAppId, channel: 'apns' });
  t.match(await ended(bob.account, 2), [{ outcome: 'expired', attempts: 0 }, { outcome: 'accepted' }]);
});

t.test('what ails the service stops the lane, nothing is lost, and new credentials have it go on', async (t) => {
  const sdkAppId = im.app.sdkAppId as never;
  const alice = await im.link(name('alice'));
  const bob = await phoneOf(name('bob'));
  faults.set(bob.token, ['InvalidProviderToken']);
  await alice.ok('send', { ...c2c(bob), ...said('hold on') });
  const [pause] = await until(async () => {
    const all = await world.push.pauses.list(sdkAppId);
    return all.length > 0 && all;
  });
  t.match(pause, { channel: 'apns', reason: 'InvalidProviderToken', actor: 'service' });
  t.match(await items(bob.account), [{ done_ms: null, attempts: 0 }]);
  world.setPush(({ apns }) => ({ apns: { ...apns, connections: 3 } as never }));
  t.match(await ended(bob.account, 1), [{ outcome: 'accepted' }]);
  t.strictSame(await world.push.pauses.list(sdkAppId), []);
});

t.test('credentials that change while their pause is written, or while it cannot be ended: pushes go on', async (t) => {
  const sdkAppId = im.app.sdkAppId as never;
  const alice = await im.link(name('alice'));
  const bob = await phoneOf(name('bob'));
  const another = async (connections: number) => {
    world.setPush(({ apns }) => ({ apns: { ...apns, connections } as never }));
  };
  const refuse = async () => {
    faults.set(bob.token, ['InvalidProviderToken']);
    await alice.ok('send', { ...c2c(bob), ...said('hold on') });
  };
  const client = await pool.connect();
  t.teardown(() => client.release());
  await client.query('begin');
  await client.query("insert into push_pause values ($1, 'apns', 'another', 'service', 0)", [sdkAppId]);
  await refuse();
  await waitsWith('insert into push_pause');
  await another(4);
  await until(() => world.push.services().every(({ channel }) => channel !== 'apns'));
  await client.query('rollback');
  t.match(await ended(bob.account, 1), [{ outcome: 'accepted' }]);

  const halts = () => world.events.filter((event) => event === 'push.lane.halted').length;
  const before = halts();
  await refuse();
  await until(() => halts() > before);
  await client.query('begin');
  await client.query('lock table push_pause in access exclusive mode');
  await another(5);
  await client.query('select pg_terminate_backend($1)', [await waitsWith('delete from push_pause')]);
  await client.query('rollback');
  t.match((await ended(bob.account, 2))[1], { outcome: 'accepted' });
  t.strictSame(await world.push.pauses.list(sdkAppId), []);
});

t.test('[S7] what is tried again does not wait for all that came after it', async (t) => {
  const sdkAppId = im.app.sdkAppId as never;
  const alice = await im.link(name('alice'));
  const bob = await phoneOf(name('bob'));
  await world.push.pauses.pause({ sdkAppId, channel: 'apns', reason: 'a test', actor: 'tester' });
  await alice.ok('send', { ...c2c(bob), ...said('old') });
  await seen(bob.account, 1);
  await pool.query('update push_item set attempts = 1, due_ms = $2 where id = $1', [
    (await items(bob.account))[0]?.id,
    world.clock() + 5_000,
  ]);
  world.clock.advance(60);
  await alice.ok('send', { ...c2c(bob), ...said('new') });
  await seen(bob.account, 2);
  await world.push.pauses.resume(sdkAppId);
  world.push.wake({ sdkAppId, channel: 'apns' });
  await ended(bob.account, 2);
  const order = apns.arrivals.filter(({ token }) => token === bob.token).map(({ body }) => JSON.parse(body).aps.alert);
  t.same(order, ['old', 'new']);
  const { rows } = await pool.query(
    `select i.due_ms - m.stored_ms as difference from push_item i
     join message m on m.conversation_id = i.conversation_id and m.seq = i.seq and m.day = i.message_day where i.id = $1`,
    [(await items(bob.account))[1]?.id],
  );
  t.strictSame(rows, [{ difference: -10_000 }], 'due since it was stored, also where clocks differ');
});

t.test('[B5] messages of people go before those of campaigns', async (t) => {
  const sdkAppId = im.app.sdkAppId as never;
  const alice = await im.link(name('alice'));
  const bob = await phoneOf(name('bob'));
  await world.push.pauses.pause({ sdkAppId, channel: 'apns', reason: 'a test', actor: 'tester' });
  for (const words of ['one', 'two', 'three']) await alice.ok('send', { ...c2c(bob), ...said(words) });
  await seen(bob.account, 3);
  await pool.query('update push_item set priority = 5 where id = any ($1)', [
    (await items(bob.account)).slice(0, 2).map(({ id }) => id),
  ]);
  await world.push.pauses.resume(sdkAppId);
  world.push.wake({ sdkAppId, channel: 'apns' });
  await ended(bob.account, 3);
  const order = apns.arrivals.filter(({ token }) => token === bob.token).map(({ body }) => JSON.parse(body).aps.alert);
  t.same(order, ['three', 'one', 'two']);
});

t.test('two processes send nothing twice', async (t) => {
  const other = await world.another();
  const alice = await im.link(name('alice'));
  const phones = await Promise.all(Array.from({ length: 20 }, () => phoneOf(name('bob'))));
  for (let round = 0; round < 10; round++) {
    await Promise.all(phones.map((phone) => alice.ok('send', { ...c2c(phone), ...said(`no ${round}`) })));
    other.written();
  }
  await Promise.all(phones.map(({ account }) => ended(account, 10)));
  for (const phone of phones) {
    t.equal(shown(phone).length, 10);
    t.ok(apns.shown(phone.token).every(({ times }) => times === 1));
    t.same(
      shown(phone).map(({ aps }) => aps.badge),
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    );
  }
});
