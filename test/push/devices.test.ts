import { generateKeyPairSync } from 'node:crypto';
import t, { type Test } from 'tap';
import { createMetrics } from '../../src/observe/index.ts';
import { createDevices } from '../../src/push/index.ts';
import { createUpkeep } from '../../src/push/queue/upkeep.ts';
import { completeApp } from '../support/app-settings.ts';
import { makeTestLogger, openTestDatabase, until } from '../support/database.ts';
import { createMovableClock, imAppId, openIm, type TestIm } from '../support/im.ts';
import { metricOf } from '../support/metrics.ts';
import { openPushWorld } from '../support/push-world.ts';

t.setTimeout(240_000);
const database = await openTestDatabase(t);
const { pool } = database.db;

const key = generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey.export({ type: 'pkcs8', format: 'pem' });
const app = completeApp({
  sdkAppId: imAppId,
  secret: 'a secret of sixteen or more',
  im: { commandPerSec: 0, appPerSec: 0, multiTerminal: 'all' },
  push: { apns: { key: String(key), keyId: 'ABCDEFGHIJ', teamId: 'TEAMTEAMID', topic: 'com.example.chat' } },
});

async function open(t: Test): Promise<TestIm> {
  const apps = { get: (sdkAppId: number) => (sdkAppId === imAppId ? app : undefined), list: () => [app] };
  const devices = createDevices({ db: database.db, apps, clock: Date.now, metrics: createMetrics() });
  return openIm(t, { database, apps: [app], deps: { ports: { devices } } });
}

let made = 0;
const name = (prefix: string) => `${prefix}${++made}`;
const token = () => (++made).toString(16).padStart(64, '0');

async function deviceOf(account: string): Promise<Record<string, unknown> | undefined> {
  const { rows } = await pool.query(
    'select d.* from push_device d join account a on a.id = d.account_id where a.identifier = $1',
    [account],
  );
  return rows[0];
}

t.test('[S9] a token is of the account that set it last, at that moment', async (t) => {
  const im = await open(t);
  const [alice, bob] = [name('alice'), name('bob')];
  const shared = token();
  const a = await im.link(alice, { platform: 'iOS' });
  await a.ok('setToken', { channel: 'apns', token: shared, language: 'zh-CN' });
  t.match(await deviceOf(alice), { token: shared, channel: 'apns', environment: 'production', language: 'zh-CN' });
  const b = await im.link(bob, { platform: 'iPad' });
  await b.ok('setToken', { channel: 'apns', token: shared, environment: 'sandbox' });
  t.equal(await deviceOf(alice), undefined);
  t.match(await deviceOf(bob), { token: shared, environment: 'sandbox', platform: 'iPad', language: null });

  // At the same moment: one of them has it, and nobody is refused.
  for (let round = 0; round < 10; round++) {
    await Promise.all([a, b].map((link) => link.ok('setToken', { channel: 'apns', token: shared })));
    const owners = [await deviceOf(alice), await deviceOf(bob)].filter((device) => device?.token === shared);
    t.equal(owners.length, 1);
  }
  await b.ok('removeToken');
  t.equal(await deviceOf(bob), undefined);
});

t.test('a terminal reports of itself, and takes its own token back', async (t) => {
  const im = await open(t);
  const alice = name('alice');
  const [phone, tablet] = [await im.link(alice, { platform: 'iOS' }), await im.link(alice, { platform: 'iPad' })];
  for (const link of [phone, tablet]) await link.ok('setToken', { channel: 'apns', token: token() });
  await phone.ok('report', { state: 'background', unread: 3 });
  await tablet.ok('report', { state: 'background', unread: 5 });
  const badges = async () =>
    (
      await pool.query(
        'select d.platform, d.badge from push_device d join account a on a.id = d.account_id where a.identifier = $1 order by d.platform',
        [alice],
      )
    ).rows;
  const ofTablet = { platform: 'iPad', badge: 5 };
  t.same(await badges(), [{ platform: 'iOS', badge: 3 }, ofTablet]);
  await phone.ok('removeToken');
  t.same(await badges(), [ofTablet]);
});

t.test('a token of a terminal is bound to its login', async (t) => {
  const im = await open(t);
  const alice = name('alice');
  const first = await im.link(alice, { platform: 'iOS' });
  await first.ok('setToken', { channel: 'apns', token: token() });
  const before = await deviceOf(alice);
  const again = await im.link(alice, { platform: 'iOS' });
  t.match(await first.closed, { code: 4100 }, 'kicked by the login of the same kind');
  const { rows } = await pool.query('select generation from terminal where account_id = $1', [before?.account_id]);
  t.ok(Number(rows[0].generation) > Number(before?.generation), 'the login after it has another number');
  const next = token();
  await again.ok('setToken', { channel: 'apns', token: next });
  t.match(await deviceOf(alice), { token: next, generation: rows[0].generation, id: before?.id });
});

t.test('what is wrong with a token is told, and nothing changes', async (t) => {
  const im = await open(t);
  const alice = name('alice');
  const link = await im.link(alice, { platform: 'iOS' });
  const good = { channel: 'apns', token: token() };
  for (const [fields, field] of [
    [{ ...good, channel: 'huawei' }, 'channel'],
    [{ channel: 'apns' }, 'token'],
    [{ ...good, token: 'not hex at all, no' }, 'token'],
    [{ ...good, token: 'ab' }, 'token'],
    [{ ...good, environment: 'beta' }, 'environment'],
    [{ ...good, language: 'a language' }, 'language'],
    [{ channel: 'fcm', token: 'abcdefghijklmnop:qrstuvwxyz' }, 'channel'],
  ] as const) {
    const { error } = await link.ask('setToken', fields);
    t.match(error, { name: 'INVALID_FIELD', field }, JSON.stringify(fields));
  }
  t.equal(await deviceOf(alice), undefined);
});

t.test('[S3] reports set the badge, and say whether the app is in the background', async (t) => {
  const im = await open(t);
  const alice = name('alice');
  const link = await im.link(alice, { platform: 'iOS' });
  await link.ok('setToken', { channel: 'apns', token: token() });
  await link.ok('report', { state: 'background', unread: 7 });
  t.match(await deviceOf(alice), { badge: 7 });
  // Still there, and more has come.
  await link.ok('report', { state: 'background', unread: 9 });
  t.match(await deviceOf(alice), { badge: 9 });
  await link.ok('report', { state: 'background' });
  t.match(await deviceOf(alice), { badge: 9 }, 'nothing is said of it');
  await link.ok('report', { state: 'foreground' });
  t.match(await deviceOf(alice), { badge: 0 });
  const { error } = await link.ask('report', { state: 'background', unread: -1 });
  t.match(error, { name: 'INVALID_FIELD', field: 'unread' });
});

t.test('[S4] what an account wants of its pushes is kept, field by field', async (t) => {
  const im = await open(t);
  const alice = name('alice');
  const link = await im.link(alice);
  t.same(await link.ok('pushSettings'), { isOn: true, c2cSound: null, groupSound: null, videoSound: null });
  await link.ok('setPushSettings', { c2cSound: 'ding.aiff', groupSound: '' });
  await link.ok('setPushSettings', { isOn: false });
  const set = { isOn: false, c2cSound: 'ding.aiff', groupSound: '', videoSound: null };
  t.same(await link.ok('pushSettings'), set);
  for (const [fields, field] of [
    [{}, 'isOn'],
    [{ isOn: 'yes' }, 'isOn'],
    [{ isOn: true, c2cSound: 'x'.repeat(101) }, 'c2cSound'],
    [{ isOn: true, videoSound: 5 }, 'videoSound'],
  ] as const) {
    t.match((await link.ask('setPushSettings', fields)).error, { name: 'INVALID_FIELD', field });
  }
  t.same(await link.ok('pushSettings'), set);
  await link.ok('setPushSettings', { isOn: true, c2cSound: null });
  t.same(await link.ok('pushSettings'), { ...set, isOn: true, c2cSound: null });
});

t.test('[S3] a badge is of its token: another one begins at nothing', async (t) => {
  const im = await open(t);
  const alice = name('alice');
  const link = await im.link(alice, { platform: 'iOS' });
  const [one, two] = [token(), token()];
  await link.ok('setToken', { channel: 'apns', token: one });
  await link.ok('report', { state: 'background', unread: 7 });
  await pool.query('update push_device set not_before_ms = 5 where token = $1', [one]);
  await link.ok('setToken', { channel: 'apns', token: one, language: 'en' });
  t.match(await deviceOf(alice), { badge: 7, language: 'en', not_before_ms: 0 });
  await link.ok('setToken', { channel: 'apns', token: two });
  t.match(await deviceOf(alice), { token: two, badge: 0, language: null });
});

t.test('[S9] a token that moves while pushes wait for its old account: none of them reaches the phone', async (t) => {
  const world = await openPushWorld(t, database, { options: { tuning: { lookMs: 200 } } });
  const { im, push, apns, items } = world;
  const sdkAppId = im.app.sdkAppId as never;
  const [alice, bob, carol] = [name('alice'), name('bob'), name('carol')];
  const sender = await im.link(alice);
  const say = (to: string, text: string) =>
    sender.ok('send', {
      conversation: `c2c:${to}`,
      clientId: `id-${++made}`,
      body: [{ MsgType: 'TIMTextElem', MsgContent: { Text: text } }],
    });
  const old = await im.link(bob, { platform: 'iOS' });
  const shared = token();
  await old.ok('setToken', { channel: 'apns', token: shared });
  await old.ok('report', { state: 'background', unread: 4 });
  await push.pauses.pause({ sdkAppId, channel: undefined, reason: 'operator', actor: 'test' });
  t.teardown(() => push.pauses.resume(sdkAppId));
  for (const text of ['for Bob 1', 'for Bob 2', 'for Bob 3']) await say(bob, text);
  await until(async () => (await items(bob)).length === 3);
  t.match(await items(bob), [{ done_ms: null }, { done_ms: null }, { done_ms: null }]);

  const next = await im.link(carol, { platform: 'iPad' });
  await next.ok('setToken', { channel: 'apns', token: shared });
  await next.ok('report', { state: 'background', unread: 0 });
  await say(carol, 'for Carol');
  await until(async () => (await items(carol)).length === 1);
  await push.pauses.resume(sdkAppId);
  push.wake({ sdkAppId, channel: 'apns' });
  await until(async () => [...(await items(bob)), ...(await items(carol))].every(({ done_ms: ms }) => ms !== null));
  const gone = { outcome: 'skipped', reason: 'no-device', attempts: 0, counted: false };
  t.match(await items(bob), [gone, gone, gone]);
  t.match(await items(carol), [{ outcome: 'accepted' }]);
  const arrived = apns.arrivals.filter((one) => one.token === shared).map(({ body }) => JSON.parse(body).aps);
  t.match(arrived, [{ alert: 'for Carol', badge: 1 }], 'and the badge is not that of the old account');
});

t.test('an account that is deleted has no tokens, and what waits for it ends', async (t) => {
  const { im, push, apns, items } = await openPushWorld(t, database, { options: { tuning: { lookMs: 200 } } });
  const sdkAppId = im.app.sdkAppId as never;
  const [alice, bob, away] = [name('alice'), name('bob'), name('bob')];
  const sender = await im.link(alice);
  const tokens = new Map([bob, away].map((account) => [account, token()]));
  const links = [];
  for (const [account, its] of tokens) {
    const link = await im.link(account, { platform: 'iOS' });
    await link.ok('setToken', { channel: 'apns', token: its });
    await link.ok('report', { state: 'background', unread: 0 });
    await link.ok('setPushSettings', { groupSound: '' });
    links.push(link);
  }
  links[1]?.socket.terminate();
  await push.pauses.pause({ sdkAppId, channel: undefined, reason: 'operator', actor: 'test' });
  t.teardown(() => push.pauses.resume(sdkAppId));
  for (const account of tokens.keys()) {
    const body = [{ MsgType: 'TIMTextElem', MsgContent: { Text: 'hello' } }];
    await sender.ok('send', { conversation: `c2c:${account}`, clientId: `id-${++made}`, body });
    await until(async () => (await items(account)).length === 1);
  }
  await im.call('im_open_login_svc/account_delete', { DeleteItem: [bob, away].map((UserID) => ({ UserID })) });
  for (const account of tokens.keys()) t.equal(await deviceOf(account), undefined, 'at that moment');
  await push.pauses.resume(sdkAppId);
  push.wake({ sdkAppId, channel: 'apns' });
  for (const account of tokens.keys()) {
    const [item] = await until(async () => {
      const all = await items(account);
      return all[0]?.done_ms !== null && all;
    });
    t.match(item, { outcome: 'skipped', reason: 'no-device', attempts: 0 });
  }
  t.same(
    apns.arrivals.filter((one) => [...tokens.values()].includes(one.token)),
    [],
  );
  const settings = await pool.query(
    'select 1 from push_settings s join account a on a.id = s.account_id where a.identifier = any ($1)',
    [[bob, away]],
  );
  t.equal(settings.rows.length, 0);
});

t.test('a device that was not heard of for 270 days is forgotten; a report, or its token, keeps it', async (t) => {
  const im = await open(t);
  const clock = createMovableClock();
  const metrics = createMetrics();
  const accounts = ['silent', 'set', 'reported', 'new'].map(name) as [string, string, string, string];
  const [silent, set, reported, fresh] = accounts;
  const links = new Map<string, Awaited<ReturnType<TestIm['link']>>>();
  const tokens = new Map(accounts.map((account) => [account, token()]));
  for (const account of accounts) {
    const link = await im.link(account, { platform: 'iOS' });
    await link.ok('setToken', { channel: 'apns', token: tokens.get(account) });
    links.set(account, link);
  }
  const old = accounts.slice(0, 3).map((account) => tokens.get(account));
  await pool.query(
    'update push_device set seen_ms = seen_ms - 271 * 86400000::bigint, registered_ms = 1 where token = any ($1)',
    [old],
  );
  await links.get(set)?.ok('setToken', { channel: 'apns', token: tokens.get(set) });
  await links.get(reported)?.ok('report', { state: 'background', unread: 0 });

  const upkeep = createUpkeep(
    { pool, apps: { list: () => [app] }, pauses: async () => 0, clock, logger: makeTestLogger().logger, metrics },
    { everyMs: 600_000 },
  );
  t.teardown(() => upkeep.close());
  const known = async () => (await Promise.all(accounts.map(deviceOf))).map((device) => device !== undefined);
  await until(async () => (await known())[0] === false);
  t.same(await known(), [false, true, true, true]);
  t.equal(await metricOf(metrics, 'qalgate_push_devices_forgotten_total'), 1);
  t.ok(await deviceOf(fresh));
  t.equal(await deviceOf(silent), undefined);

  clock.advance(269 * 86_400);
  await upkeep.run();
  t.same(await known(), [false, true, true, true]);
  clock.advance(2 * 86_400);
  await upkeep.run();
  t.same(await known(), [false, false, false, false]);
});
