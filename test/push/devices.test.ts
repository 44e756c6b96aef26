import { generateKeyPairSync } from 'node:crypto';
import t, { type Test } from 'tap';
import { createMetrics } from '../../src/observe/index.ts';
import { createDevices } from '../../src/push/index.ts';
import { completeApp } from '../support/app-settings.ts';
import { openTestDatabase } from '../support/database.ts';
import { imAppId, openIm, type TestIm } from '../support/im.ts';

t.setTimeout(60_000);
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
