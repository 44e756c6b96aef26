import t, { type Test } from 'tap';
import { createGroups } from '../../src/sdk/im/groups/index.ts';
import type { ImClientOptions } from '../../src/sdk/im/index.ts';
import { createPush, type Push, pushedMessageOf } from '../../src/sdk/im/push/index.ts';
import { openTestDatabase, until } from '../support/database.ts';
import { until as soon, type WatchedClient, watchClient } from '../support/im-client.ts';
import { openScript, type Script, type ScriptedService } from '../support/link-script.ts';
import { openPushWorld } from '../support/push-world.ts';

/** Pushes of `ImClient` against the service itself, with Apple's on a socket; and against a scripted one, for what goes wrong. */
t.setTimeout(300_000);
const database = await openTestDatabase(t);
const { pool } = database.db;
const world = await openPushWorld(t, database, {
  options: { tuning: { lookMs: 200 } },
  push: { fcm: undefined } as object,
});
const { im, apns, items } = world;

let made = 0;
/** Accounts that no other test knows. */
const fresh = (name: string): string => `${name}${++made}`;
const newToken = () => (++made).toString(16).padStart(64, 'e');

interface Watched extends WatchedClient {
  readonly push: Push;
  /** Until what was missed is there. */
  login(account: string): Promise<void>;
  /** The next refresh of this client. */
  refreshed(): Promise<void>;
  /** Cuts the link without a goodbye; with `andStay` there is no other until `join`. */
  cut(andStay?: boolean): void;
  join(): void;
}

function watch(t: Test, options: Partial<ImClientOptions> = {}): Watched {
  const sockets = new Set<WebSocket>();
  let isDown = false;
  const cuttable = class extends WebSocket {
    constructor(url: string) {
      super(isDown ? 'ws://127.0.0.1:9' : url);
      sockets.add(this);
    }
  } as unknown as NonNullable<ImClientOptions['WebSocket']>;
  let refreshes = 0;
  const watched = watchClient(t, {
    url: im.url,
    platform: 'iOS',
    random: Math.random,
    WebSocket: cuttable,
    ...options,
  });
  const refreshed = () => watched.until('refresh', ++refreshes);
  return {
    ...watched,
    push: createPush(watched.client),
    async login(account) {
      await watched.client.login(account, im.userSig(account));
      await refreshed();
    },
    refreshed,
    cut(andStay = false) {
      isDown = andStay;
      for (const socket of sockets) socket.close();
      sockets.clear();
    },
    join() {
      isDown = false;
    },
  };
}

interface Row {
  token: string;
  channel: string;
  environment: string;
  language: string | null;
  badge: number;
  /** Whether it is of the login that the terminal has now. */
  is_current: boolean;
  registered_ms: number;
}
async function rowOf(account: string): Promise<Row | undefined> {
  const { rows } = await pool.query<Row>(
    `select d.*, d.generation = t.generation and t.link_id is not null as is_current from push_device d
     join account a on a.id = d.account_id join terminal t on t.account_id = d.account_id and t.platform = d.platform
     where a.identifier = $1`,
    [account],
  );
  return rows[0];
}
const isBackground = async (account: string): Promise<boolean | undefined> => {
  const { rows } = await pool.query(
    `select t.is_background from terminal t join account a on a.id = t.account_id
     where a.identifier = $1 and t.node_id is not null`,
    [account],
  );
  return rows[0]?.is_background;
};
/** The device is bound to the login that there is, and says this. */
const bound = (account: string, token: string) =>
  until(async () => {
    const row = await rowOf(account);
    return row?.is_current === true && row.token === token && row;
  });
const failures = ({ events }: WatchedClient) =>
  events.flatMap((event) => (event.type === 'request-failed' ? `${event.request} ${event.error.code}` : []));

t.test('[S3][S9] a token is told to every login, and to none that was resumed', async (t) => {
  const account = fresh('alice');
  const token = newToken();
  const first = watch(t);
  t.equal(
    await first.push.setToken({ channel: 'apns', token, environment: 'sandbox', language: 'zh-CN' }),
    false,
    'there is nobody yet whose it could be',
  );
  await first.login(account);
  t.match(await bound(account, token), { channel: 'apns', environment: 'sandbox', language: 'zh-CN' });

  const before = await rowOf(account);
  first.cut();
  await first.refreshed();
  await first.push.foreground();
  const { registered_ms, is_current } = { ...before };
  t.match(await rowOf(account), { registered_ms, is_current, token }, 'resumed: it holds, and is not told again');

  const second = watch(t);
  await second.login(account);
  await first.until('forced KICKED');
  t.equal((await rowOf(account))?.is_current, false, 'the login that kicked it has told none');
  await first.login(account);
  t.match(await bound(account, token), { environment: 'sandbox', language: 'zh-CN' });

  const next = newToken();
  t.equal(await first.push.setToken({ channel: 'apns', token: next }), true);
  t.match(await rowOf(account), { token: next, environment: 'production', language: null, is_current: true });
  await first.client.logout();
  await first.login(account);
  await bound(account, next);
  t.same(failures(first), []);
});

t.test('[S9] whoever logs in next has the token; a logout takes nothing else away', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  const token = newToken();
  const { push, login, client } = watch(t);
  await login(a);
  t.equal(await push.setToken({ channel: 'apns', token }), true);
  await push.setSettings({ groupSound: '' });
  await client.logout();
  const sender = await im.link(fresh('carol'));
  const body = [{ MsgType: 'TIMTextElem', MsgContent: { Text: 'hi' } }];
  await sender.ok('send', { conversation: `c2c:${a}`, clientId: 'x', body });
  t.match(await until(async () => typeof (await items(a))[0]?.done_ms === 'number' && (await items(a))), [
    { outcome: 'skipped', reason: 'logged-out' },
  ]);
  await login(b);
  await bound(b, token);
  t.equal(await rowOf(a), undefined);
  await login(a);
  await bound(a, token);
  t.equal(await rowOf(b), undefined);
  t.match(await push.settings(), { isOn: true, groupSound: '' });
});

t.test('a token that is refused says why, and keeps nobody from logging in', async (t) => {
  const account = fresh('alice');
  const watched = watch(t);
  const { push, login } = watched;
  await push.setToken({ channel: 'fcm', token: 'a-token-of-fcm:0123456789' });
  await login(account);
  await soon(() => failures(watched).length > 0);
  t.match(watched.events, [
    { type: 'request-failed', request: 'setToken', error: { code: 'INVALID_FIELD', field: 'channel' } },
  ]);
  await t.rejects(push.setToken({ channel: 'fcm', token: 'a-token-of-fcm:0123456789' }), {
    code: 'INVALID_FIELD',
    field: 'channel',
    retryable: false,
    message: 'the app has no credentials for this service',
  });
  await t.rejects(push.setToken({ channel: 'apns', token: 'none' }), {
    code: 'INVALID_FIELD',
    field: 'token',
    allowed: /hexadecimal/,
  });
  await t.rejects(push.setToken({ channel: 'apns', token: newToken(), language: '?' }), {
    code: 'INVALID_FIELD',
    field: 'language',
  });
  t.same(failures(watched), ['setToken INVALID_FIELD'], 'what is thrown is not told twice');
  t.equal(await rowOf(account), undefined);
  t.equal(await push.background(), true, 'and nothing is owed');
  t.same(failures(watched), ['setToken INVALID_FIELD']);
});

t.test('removeToken: this device is pushed to no more, also by the next login', async (t) => {
  const account = fresh('alice');
  const watched = watch(t);
  const { push, login, client } = watched;
  await push.setToken({ channel: 'apns', token: newToken() });
  await login(account);
  await until(async () => (await rowOf(account))?.is_current === true);
  t.equal(await push.removeToken(), true);
  t.equal(await rowOf(account), undefined);
  await client.logout();
  await login(account);
  await push.foreground();
  t.equal(await rowOf(account), undefined);

  await push.setToken({ channel: 'apns', token: newToken() });
  watched.cut(true);
  await watched.until('disconnected', 2);
  t.equal(await push.removeToken(), false, 'it cannot be told now');
  t.ok(await rowOf(account));
  watched.join();
  await until(async () => (await rowOf(account)) === undefined);
});

t.test(
  '[S3] background tells what is unread, so that the badge goes on from there; foreground ends pushes',
  async (t) => {
    const [a, b, c] = [fresh('alice'), fresh('bob'), fresh('carol')];
    const token = newToken();
    const watched = watch(t);
    const { push, login, client } = watched;
    const groups = createGroups(client);
    await login(a);
    await push.setToken({ channel: 'apns', token });
    const [bob, carol] = [await im.link(b), await im.link(c)];
    const say = (link: typeof bob, text: string, conversation = `c2c:${a}`) =>
      link.ok('send', {
        conversation,
        clientId: `id-${++made}`,
        body: [{ MsgType: 'TIMTextElem', MsgContent: { Text: text } }],
      });
    const { group } = await bob.ok('createGroup', { type: 'Private', name: 'Tea club', members: [a] });
    await say(bob, '1');
    await say(bob, '2');
    await say(carol, '3');
    await say(bob, '4', `group:${group}`);
    await watched.until('new 4');
    await soon(() => client.getConversation(`group:${group}`).unread > 0);
    const unread = [b, c, `group:${group}`].reduce((sum, one) => sum + client.getConversation(one).unread, 0);
    t.ok(unread >= 4);
    // What is in no list is on no icon.
    const { group: other } = await bob.ok('createGroup', { type: 'Public', name: 'Coffee club' });
    await bob.ok('inviteMembers', { group: other, accounts: [a] });
    const dora = fresh('dora');
    await say(await im.link(dora), 'hidden');
    await watched.until('new hidden');
    await soon(() => groups.unreadNotices > 0 && client.getConversation(dora).unread === 1);
    await client.getConversation(dora).delete();
    t.equal(client.getConversation(dora).unread, 1);
    t.equal(await push.background(), true);
    t.match(await rowOf(a), { badge: unread });
    t.equal(await isBackground(a), true);
    await say(carol, '5');
    const shown = () => apns.shown(token).map(({ body }) => JSON.parse(body).aps);
    await until(async () => shown().at(-1)?.alert === '5');
    t.match(shown().at(-1), { badge: unread + 1 });
    t.equal(await push.background(9), true);
    t.match(await rowOf(a), { badge: 9 }, 'a number of the app');

    watched.cut();
    await watched.refreshed();
    // What a new connection does not know is told to it.
    await until(() => isBackground(a));
    t.match(await rowOf(a), { badge: 9 }, 'and the badge is as it was');
    t.equal(await push.foreground(), true);
    t.equal(await isBackground(a), false);
    t.match(await rowOf(a), { badge: 0 });
    watched.cut();
    await watched.refreshed();
    await client.getProfiles([a], ['nick']);
    t.equal(await isBackground(a), false);

    watched.cut(true);
    await watched.until('disconnected', 4);
    t.equal(await push.background(3), false, 'there is no connection to tell it over');
    watched.join();
    await until(async () => (await rowOf(a))?.badge === 3);
    await until(() => isBackground(a));
    t.same(failures(watched), []);
  },
);

t.test('opened: the message of a push is found in what the system hands over, and told', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  const token = newToken();
  const watched = watch(t);
  const { push, login, client } = watched;
  await login(a);
  await push.setToken({ channel: 'apns', token });
  await push.background(0);
  const bob = await im.link(b);
  const say = () =>
    bob.ok('send', {
      conversation: `c2c:${a}`,
      clientId: `id-${++made}`,
      body: [{ MsgType: 'TIMTextElem', MsgContent: { Text: 'hi' } }],
    });
  for (const count of [1, 2, 3]) {
    await say();
    await until(async () => apns.shown(token).length === count);
  }
  const [first, second, third] = apns.shown(token).map(({ body }) => JSON.parse(body) as unknown);
  const openedOf = async () => (await items(a)).map(({ opened_ms: ms }) => ms !== null);
  t.same(push.opened(first), { conversation: `c2c:${b}`, seq: 1 });
  await until(async () => (await openedOf())[0]);
  t.same(await openedOf(), [true, false, false]);
  t.equal(push.opened({ aps: { alert: 'of somebody else' } }), undefined);

  // By what the app was started with: nobody is logged in yet.
  await client.logout();
  const { seq } = push.opened({ data: second }) ?? {};
  t.equal(seq, 2);
  await login(a);
  await until(async () => (await openedOf())[1]);

  watched.cut(true);
  await watched.until('disconnected', 3);
  push.opened(third);
  await client.logout();
  watched.join();
  const c = fresh('carol');
  await login(c);
  await login(a);
  await push.foreground();
  t.same(await openedOf(), [true, true, false], 'it was of the account that was there then, and went with it');
  t.same(failures(watched), []);
});

t.test('[S4] settings of the account', async (t) => {
  const account = fresh('alice');
  const { push, login } = watch(t);
  await t.rejects(push.settings(), { code: 'NOT_LOGGED_IN' });
  await login(account);
  t.same(await push.settings(), { isOn: true, c2cSound: null, groupSound: null, videoSound: null });
  await push.setSettings({ c2cSound: 'ding.aiff', videoSound: '' });
  await push.setSettings({ isOn: false, videoSound: null });
  t.same(await push.settings(), { isOn: false, c2cSound: 'ding.aiff', groupSound: null, videoSound: null });
  await t.rejects(push.setSettings({ c2cSound: 'x'.repeat(101) }), { code: 'INVALID_FIELD', field: 'c2cSound' });
  await t.rejects(push.setSettings({}), { code: 'INVALID_FIELD', field: 'isOn' });
});

/** What a scripted service was told of pushes, in order. */
const told = ({ requests }: ScriptedService) =>
  requests
    .filter(({ do: what }) => /Token|report|pushOpened/.test(what))
    .map(({ do: what, fields }) => ({ what, ...fields }));

t.test(
  'what cannot be told now is told with the next connection, the token first, or at the next occasion',
  async (t) => {
    const service = await openScript(t);
    let answer: Script;
    service.script = ({ do: what }) => (/Token|report|pushOpened/.test(what) ? (answer ?? { ok: {} }) : undefined);
    const watched = watch(t, { url: service.url, limits: { requestTimeoutMs: 100 } });
    const { push, client } = watched;
    t.equal(await push.background(2), false);
    t.equal(push.opened({ conversation: 'c2c:bob', seq: 4 })?.seq, 4);
    t.equal(await push.setToken({ channel: 'fcm', token: 'one' }), false);
    t.same(failures(watched), [], 'that there is no connection is no failure');
    await client.login('alice', 'sig');
    await soon(() => told(service).length === 3);
    t.match(told(service), [
      { what: 'setToken', channel: 'fcm', token: 'one' },
      { what: 'report', state: 'background', unread: 2 },
      { what: 'pushOpened', conversation: 'c2c:bob', seq: 4 },
    ]);
    await watched.until('refresh');

    for (const name of ['BUSY', 'INTERNAL']) {
      answer = { error: { name, retryable: name === 'BUSY' } };
      t.equal(await push.setToken({ channel: 'fcm', token: name }), false);
      t.same(failures(watched).at(-1), `setToken ${name}`);
      answer = undefined;
      const before = told(service).length;
      t.equal(await push.background(5), true);
      t.match(told(service).slice(before), [
        { what: 'setToken', token: name },
        { what: 'report', state: 'background', unread: 5 },
      ]);
    }
    answer = 'silence';
    t.equal(await push.foreground(), false);
    t.equal(failures(watched).at(-1), 'report TIMEOUT');
    answer = { error: { name: 'FORBIDDEN' } };
    await t.rejects(push.setToken({ channel: 'fcm', token: 'no' }), { code: 'FORBIDDEN' });
    await soon(() => failures(watched).at(-1) === 'report FORBIDDEN');
    answer = undefined;
    const before = told(service).length;
    t.equal(await push.foreground(), true);
    t.equal(told(service).length, before + 1, 'what was refused for good is not told again');

    // A service that does not say that it was resumed: a token too often is better than none.
    service.links.at(-1)?.cut();
    await watched.until('refresh', 2);
    await soon(() => told(service).length === before + 2);
    t.match(told(service).at(-1), { what: 'setToken', token: 'no' });
  },
);

t.test('what is told while an older one is under way is told, too, and the last one counts', async (t) => {
  const service = await openScript(t);
  const gate = Promise.withResolvers<void>();
  service.script = async ({ do: what, fields }) => {
    if (!/Token|report/.test(what)) return undefined;
    if (fields.token === 'one') await gate.promise;
    return { ok: {} };
  };
  const { push, client } = watch(t, { url: service.url });
  await client.login('alice', 'sig');
  const one = push.setToken({ channel: 'fcm', token: 'one' });
  const state = push.background(1);
  const two = push.setToken({ channel: 'fcm', token: 'two' });
  gate.resolve();
  t.equal(await two, true);
  t.equal(await one, true);
  t.equal(await state, true);
  t.equal(await push.foreground(), true);
  t.match(
    told(service),
    [{ token: 'one' }, { what: 'report' }, { token: 'two' }, { state: 'foreground' }],
    'none twice',
  );
});

t.test('of pushes by which the app was opened the last twenty wait', async (t) => {
  const service = await openScript(t);
  service.script = ({ do: what }) => (what === 'pushOpened' ? { ok: {} } : undefined);
  const { push, client } = watch(t, { url: service.url });
  for (let seq = 1; seq <= 25; seq += 1) push.opened({ conv: 'c2c_bob', seq: String(seq) });
  push.opened({ conv: 'c2c_bob', seq: '25' });
  await client.login('alice', 'sig');
  await soon(() => told(service).length === 20);
  t.same(
    told(service).map((one) => (one as unknown as { seq: number }).seq),
    Array.from({ length: 20 }, (_, i) => i + 6),
  );
});

t.test('what an account leaves owed goes with it, and nothing is said of what is not known', async (t) => {
  const service = await openScript(t);
  service.script = ({ do: what }) => (/Token|report|pushOpened/.test(what) ? { ok: {} } : undefined);
  const watched = watch(t, { url: service.url });
  const { push, client } = watched;
  t.equal(await push.background(), false);
  await client.login('alice', 'sig');
  await soon(() => told(service).length === 1);
  t.same(told(service), [{ what: 'report', state: 'background' }], 'how much is unread, nobody knew');
  await push.foreground();
  service.stop();
  await watched.until('disconnected');
  push.opened({ conversation: 'c2c:bob', seq: 4 });
  await client.logout();
  service.start();
  push.opened({ conversation: 'c2c:carol', seq: 5 });
  await client.login('dora', 'sig');
  await push.foreground();
  t.match(told(service).slice(2), [{ what: 'pushOpened', seq: 5 }, { state: 'foreground' }]);
  t.equal(told(service).length, 4);
  await client.login('alice', 'sig');
  await push.foreground();
  t.equal(told(service).length, 5);
});

t.test('after close everything says so', async (t) => {
  const service = await openScript(t);
  const { push, client } = watch(t, { url: service.url });
  await client.login('alice', 'sig');
  await client.close();
  const closed = { code: 'CLOSED' };
  await t.rejects(push.setToken({ channel: 'fcm', token: 'one' }), closed);
  await t.rejects(push.background(), closed);
  await t.rejects(push.background(1), closed);
  await t.rejects(push.foreground(), closed);
  await t.rejects(push.settings(), closed);
  t.same(
    push.opened({ conv: 'c2c_bob', seq: '1' }),
    { conversation: 'c2c:bob', seq: 1 },
    'it can be shown all the same',
  );
});

t.test('the message of a push, in whatever form it is handed over', async (t) => {
  const bob = { conversation: 'c2c:bob', seq: 4 };
  const group = { conversation: 'group:@TGS#1', seq: 12 };
  for (const [push, found] of [
    [{ aps: { alert: 'hi', 'thread-id': 'c2c_bob' }, ext: 'x', seq: 4 }, bob],
    [{ aps: { 'thread-id': 'group_@TGS#1' }, seq: 12 }, group],
    [{ data: { aps: { 'thread-id': 'c2c_bob' }, seq: 4 } }, bob],
    [{ conv: 'c2c_bob', seq: '4', ext: 'x', from: '1', 'google.message_id': '0:1' }, bob],
    [{ data: { conv: 'group_@TGS#1', seq: '12' }, notification: { title: 't' } }, group],
    [{ data: 'text', aps: { 'thread-id': 'c2c_bob' }, seq: 4 }, bob],
    [{ ...bob, from: 'bob', body: [] }, bob],
    [
      { aps: { 'thread-id': 'c2c_group_c2c_x' }, seq: 4 },
      { conversation: 'c2c:group_c2c_x', seq: 4 },
    ],
  ] as const) {
    t.same(pushedMessageOf(push), found, JSON.stringify(push));
  }
  for (const push of [
    undefined,
    null,
    'c2c_bob',
    [],
    {},
    { aps: {} },
    { aps: { badge: 2 } },
    { aps: { 'thread-id': 'c2c_bob' } },
    { aps: { 'thread-id': 'c2c_' }, seq: 4 },
    { aps: { 'thread-id': 'news' }, seq: 4 },
    { aps: { 'thread-id': 7 }, seq: 4 },
    { conv: 'c2c_bob', seq: '' },
    { conv: 'c2c_bob', seq: '4.5' },
    { conv: 'c2c_bob', seq: 0 },
    { conv: 'c2c_bob', seq: -1 },
    { conversation: 'system', seq: 4 },
  ]) {
    t.equal(pushedMessageOf(push), undefined, JSON.stringify(push));
  }
});
