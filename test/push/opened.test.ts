import t from 'tap';
import { createCampaignAdmin } from '../../src/im/index.ts';
import { createPushAdmin, parseQuery } from '../../src/push/index.ts';
import { openTestDatabase, until } from '../support/database.ts';
import type { TestLink } from '../support/im.ts';
import { metricOf } from '../support/metrics.ts';
import { openPushWorld } from '../support/push-world.ts';

/** What terminals say of pushes by which their apps were opened. */
t.setTimeout(60_000);
const database = await openTestDatabase(t);
const { pool } = database.db;
const slow = new Set<string>();
const world = await openPushWorld(t, database, {
  options: { tuning: { lookMs: 200 } },
  apns: { fault: ({ token }) => (slow.has(token) ? { word: 'slow', amount: 1_000 } : undefined) },
});
const { im, apns, items, push, clock } = world;
const admin = createPushAdmin({ db: database.db, pauses: push.pauses, wake: push.wake, clock });

let made = 0;
const name = (prefix: string) => `${prefix}${++made}`;
const newToken = () => (++made).toString(16).padStart(64, 'd');

interface Phone {
  readonly account: string;
  readonly token: string;
  readonly link: TestLink;
}
async function phoneOf(account: string, platform = 'iOS'): Promise<Phone> {
  const link = await im.link(account, { platform });
  const token = newToken();
  await link.ok('setToken', { channel: 'apns', token });
  await link.ok('report', { state: 'background', unread: 0 });
  return { account, token, link };
}
const body = [{ MsgType: 'TIMTextElem', MsgContent: { Text: 'hello' } }];
const say = (link: TestLink, conversation: string) =>
  link.ok('send', { conversation, clientId: `id-${++made}`, body }) as Promise<{ seq: number }>;
/** What the phone was handed last. */
const handed = ({ token }: Phone) => JSON.parse(apns.shown(token).at(-1)?.body ?? '{}') as Record<string, unknown>;
const opened = async (account: string) => (await items(account)).map(({ opened_ms: ms }) => ms !== null);
const counted = () => metricOf(world.metrics, 'qalgate_push_opened_total', { channel: 'apns' });
const ended = (account: string, count: number) =>
  until(async () => (await items(account)).filter(({ done_ms: ms }) => ms !== null).length === count);

t.test('a terminal says by which push its app was opened: the first report counts, of its own alone', async (t) => {
  const [a, b] = [name('alice'), name('bob')];
  const alice = await im.link(a);
  const [phone, tablet, other] = [await phoneOf(b), await phoneOf(b, 'iPad'), await phoneOf(name('carol'))];
  const { seq } = await say(alice, `c2c:${b}`);
  await say(alice, `c2c:${other.account}`);
  await ended(b, 2);
  await ended(other.account, 1);
  t.match(handed(phone), { aps: { 'thread-id': `c2c_${a}` }, seq }, 'the push says which message it is of');
  const named = { conversation: `c2c:${a}`, seq };

  await other.link.ok('pushOpened', { ...named, seq: seq + 5 });
  await alice.ok('pushOpened', { conversation: `c2c:${b}`, seq });
  t.same(await opened(b), [false, false], 'who sent it has no push of it');
  t.same(await opened(other.account), [false], 'another message');
  const before = await counted();
  await phone.link.ok('pushOpened', named);
  const [first] = await items(b);
  t.match(
    (await items(b)).map(({ platform, opened_ms: ms }) => [platform, ms !== null]),
    [
      ['iOS', true],
      ['iPad', false],
    ],
    'the other device was not opened by it',
  );
  clock.advance(60);
  await phone.link.ok('pushOpened', named);
  t.equal((await items(b))[0]?.opened_ms, first?.opened_ms, 'once');
  t.equal((await counted()) - before, 1);
  await tablet.link.ok('pushOpened', named);
  t.same(await opened(b), [true, true]);
  t.same(await opened(other.account), [false], 'the same seq of another account');

  const query = parseQuery({ account: b });
  const { pushes } = await admin.list(world.app(), query.ok ? query.value : (undefined as never));
  t.match(pushes, [
    { openedAt: /^20.*Z$/, why: /the app was opened by it$/ },
    { openedAt: new Date(first?.opened_ms as number).toISOString() },
  ]);
});

t.test('of a group, too; and of what may be on the screen though its service has not said so', async (t) => {
  const owner = await im.link(name('alice'));
  const phone = await phoneOf(name('bob'));
  const { group } = await owner.ok('createGroup', { type: 'Private', name: 'Tea club', members: [phone.account] });
  const { seq } = await say(owner, `group:${group}`);
  await until(async () => apns.shown(phone.token).length > 0);
  t.match(handed(phone), { aps: { 'thread-id': `group_${group}` }, seq: Number });
  const named = { conversation: `group:${group}`, seq: handed(phone).seq };
  await phone.link.ok('pushOpened', { ...named, conversation: 'group:another' });
  t.same(new Set(await opened(phone.account)), new Set([false]));
  const { GroupId: again } = await im.call('group_open_http_svc/create_group', {
    Type: 'Private',
    Name: 'Tea',
    GroupId: 'tea-again',
    Owner_Account: owner.login.account,
    MemberList: [{ Member_Account: phone.account }],
  });
  const { seq: old } = await say(owner, `group:${again}`);
  await until(async () => handed(phone).seq === old);
  await im.call('group_open_http_svc/destroy_group', { GroupId: again });
  await im.call('group_open_http_svc/create_group', {
    Type: 'Private',
    Name: 'Tea',
    GroupId: 'tea-again',
    Owner_Account: owner.login.account,
    MemberList: [{ Member_Account: phone.account }],
  });
  await phone.link.ok('pushOpened', { conversation: `group:${again}`, seq: old });
  t.same(new Set(await opened(phone.account)), new Set([false]), 'nor one of a group that had the same id before');

  await phone.link.ok('pushOpened', named);
  const is = async () => (await items(phone.account)).find((item) => item.seq === named.seq)?.opened_ms;
  t.type(await is(), 'number');
  t.ok(seq >= 1);

  const late = await phoneOf(name('bob'));
  slow.add(late.token);
  const { seq: lateSeq } = await say(owner, `c2c:${late.account}`);
  await until(async () => apns.arrivals.some(({ token }) => token === late.token));
  await late.link.ok('pushOpened', { conversation: `c2c:${owner.login.account}`, seq: lateSeq });
  t.same(await opened(late.account), [true], 'while it is under way');
  slow.delete(late.token);

  const out = await phoneOf(name('bob'));
  await out.link.ok('setPushSettings', { isOn: false });
  const { seq: outSeq } = await say(owner, `c2c:${out.account}`);
  await ended(out.account, 1);
  await out.link.ok('pushOpened', { conversation: `c2c:${owner.login.account}`, seq: outSeq });
  t.match(await items(out.account), [{ outcome: 'skipped', opened_ms: null }], 'what was never sent opens nothing');
});

t.test('a campaign shows how many apps were opened by it', async (t) => {
  const sender = await im.link(name('alice'));
  const phones = [await phoneOf(name('bob')), await phoneOf(name('bob'))];
  for (const phone of phones) {
    await say(sender, `c2c:${phone.account}`);
    await ended(phone.account, 1);
  }
  const { rows } = await pool.query(
    `insert into campaign (sdk_app_id, task_id, state, admin, sender_id, random, msg_seq, day, terms, body, lifetime_sec, created_ms)
     select sdk_app_id, 'task', 'done', 'admin', id, 1, 1, 0, '[]', '[]', 60, 0 from account where identifier = $1 returning id`,
    [sender.login.account],
  );
  await pool.query(
    `update push_item i set campaign_id = $1 from account a where a.id = i.account_id and a.identifier = any ($2)`,
    [rows[0].id, phones.map(({ account }) => account)],
  );
  const read = async () =>
    (await createCampaignAdmin({ db: database.db, clock }).read(im.app.sdkAppId as never, 'task'))?.pushes;
  t.match(await read(), { accepted: 2, opened: 0 });
  const [phone] = phones;
  await phone?.link.ok('pushOpened', { conversation: `c2c:${sender.login.account}`, seq: 1 });
  t.match(await read(), { accepted: 2, opened: 1, queued: 0, others: [] });
});

t.test('what is wrong with such a report is told, by field', async (t) => {
  const link = await im.link(name('alice'));
  const good = { conversation: 'c2c:nobody', seq: 1 };
  t.same(await link.ok('pushOpened', good), {}, 'nothing is noted of what was not pushed');
  await link.ok('pushOpened', { ...good, conversation: 'group:nothing' });
  for (const [fields, field] of [
    [{ seq: 1 }, 'conversation'],
    [{ ...good, conversation: 'bob' }, 'conversation'],
    [{ ...good, conversation: 'system' }, 'conversation'],
    [{ ...good, conversation: 'c2c:' }, 'conversation'],
    [{ conversation: good.conversation }, 'seq'],
    [{ ...good, seq: 0 }, 'seq'],
    [{ ...good, seq: '1' }, 'seq'],
    [{ ...good, seq: 1.5 }, 'seq'],
  ] as const) {
    t.match((await link.ask('pushOpened', fields)).error, { name: 'INVALID_FIELD', field }, JSON.stringify(fields));
  }
  t.match((await link.ask('pushOpened', { ...good, conversation: 'system' })).error, {
    reason: 'has no pushes',
    allowed: /^c2c: .*group: /,
  });
});
