import t from 'tap';
import { openTestDatabase, until } from '../support/database.ts';
import type { TestLink } from '../support/im.ts';
import { openPushWorld } from '../support/push-world.ts';

t.setTimeout(240_000);
const database = await openTestDatabase(t);
const { pool } = database.db;
const world = await openPushWorld(t, database, { options: { tuning: { lookMs: 200 } } });
const { im, apns } = world;
const sdkAppId = im.app.sdkAppId as never;

/** The same numbers every time. */
function createRandom(seed: number) {
  let state = seed;
  return (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return Math.floor((state / 0x80000000) * below);
  };
}

interface Message {
  readonly seq: number;
  readonly from: TestLink;
  isRecalled: boolean;
}

/** A conversation of Bob's, as he and others name it, and what is said in it. */
interface Talk {
  readonly names: { readonly bob: string; readonly others: string };
  readonly speakers: readonly TestLink[];
  readonly isQuiet: boolean;
  readonly messages: Message[];
  readSeq: number;
}

let ids = 0;
const said = () => ({
  clientId: `id-${++ids}`,
  body: [{ MsgType: 'TIMTextElem', MsgContent: { Text: `no ${ids}` } }],
});

t.test('[S3] badges are what is unread, whatever is read, recalled, held back and sent at once', async (t) => {
  const [bob, alice, carol] = ['bob', 'alice', 'carol'];
  const [phone, android, desktop] = await Promise.all(
    ['iOS', 'Android', 'Mac'].map((platform) => im.link(bob, { platform })),
  );
  const token = 'ab'.repeat(32);
  const fcmToken = 'a-token-of-fcm-0123456789';
  if (phone === undefined || android === undefined || desktop === undefined) throw new Error('no links');
  await phone.ok('setToken', { channel: 'apns', token });
  await android.ok('setToken', { channel: 'fcm', token: fcmToken });
  for (const link of [phone, android]) await link.ok('report', { state: 'background', unread: 0 });
  const others = [await im.link(alice), await im.link(carol)];
  const talks: Talk[] = others.map((link) => ({
    names: { bob: `c2c:${link.login.account}`, others: `c2c:${bob}` },
    speakers: [link, link, desktop],
    isQuiet: false,
    messages: [],
    readSeq: 0,
  }));
  for (const isQuiet of [false, true]) {
    const { group } =
      (await others[0]?.ok('createGroup', { type: 'Private', name: 'Tea', members: [bob, carol] })) ?? {};
    const name = `group:${group}`;
    const { seq } = (await others[0]?.ok('send', { conversation: name, ...said() })) ?? {};
    if (isQuiet) await desktop.ok('modifyMember', { group, receive: 'AcceptNotNotify' });
    const first = { seq: seq as number, from: others[0] as TestLink, isRecalled: false };
    talks.push({
      names: { bob: name, others: name },
      speakers: [...others, desktop],
      isQuiet,
      messages: [first],
      readSeq: 0,
    });
  }

  const unread = (): number =>
    talks
      .filter(({ isQuiet }) => !isQuiet)
      .flatMap(({ messages, readSeq }) =>
        messages.filter(({ seq, from, isRecalled }) => seq > readSeq && from !== desktop && !isRecalled),
      ).length;
  const settled = () =>
    until(async () => (await pool.query('select 1 from push_item where done_ms is null')).rows.length === 0, 20_000);
  /** Every message has been looked at. */
  const looked = () =>
    until(
      async () => (await pool.query('select 1 from outbox where consumer = 2 and done_ms is null')).rows.length === 0,
    );
  const badges = async () =>
    (await pool.query<{ badge: number }>('select badge from push_device order by channel')).rows.map(
      ({ badge }) => badge,
    );

  for (const seed of [1, 2, 3, 4, 5, 6]) {
    const random = createRandom(seed);
    const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T;
    await looked();
    await settled();
    for (const link of [phone, android]) await link.ok('report', { state: 'background', unread: unread() });
    for (let round = 0; round < 8; round++) {
      const isHeld = random(3) === 0;
      if (isHeld) await world.push.pauses.pause({ sdkAppId, channel: undefined, reason: 'a test', actor: 'tester' });
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          const talk = pick(talks);
          const what = random(10);
          const some = pick([...talk.messages, undefined]);
          const from = pick(talk.speakers);
          if (what < 6 || some === undefined) {
            const conversation = from === desktop ? talk.names.bob : talk.names.others;
            const { seq } = await from.ok('send', { conversation, ...said() });
            talk.messages.push({ seq: seq as number, from, isRecalled: false });
          } else if (what < 8) {
            await desktop.ok('read', { conversation: talk.names.bob, seq: some.seq });
            talk.readSeq = Math.max(talk.readSeq, some.seq);
          } else {
            some.isRecalled = true;
            const conversation = some.from === desktop ? talk.names.bob : talk.names.others;
            await some.from.ask('recall', { conversation, seq: some.seq });
          }
        }),
      );
      if (isHeld) {
        await world.push.pauses.resume(sdkAppId);
        world.push.wake({ sdkAppId, channel: 'apns' });
      }
      if (random(2) === 0) continue;
      await looked();
      await settled();
      const is = unread();
      t.same(await badges(), [is, is], `seed ${seed}, round ${round}`);
      const shown = apns.arrivals.filter((one) => one.token === token).at(-1);
      const { badge } = (JSON.parse(shown?.body ?? '{"aps":{}}') as { aps: { badge?: number } }).aps;
      if (badge !== undefined) t.equal(badge, is, `and the phone shows so: seed ${seed}, round ${round}`);
    }
  }
});

t.test('[S3] what is read or recalled between two looks is not counted, what a report held is', async (t) => {
  const dora = await im.link('dora');
  const [phone, desktop] = [await im.link('eve', { platform: 'iOS' }), await im.link('eve', { platform: 'Mac' })];
  await phone.ok('setToken', { channel: 'apns', token: 'cd'.repeat(32) });
  const report = (unread: number) => phone.ok('report', { state: 'background', unread });
  await report(5);
  await world.push.pauses.pause({ sdkAppId, channel: undefined, reason: 'a test', actor: 'tester' });
  const of = "join account a on a.id = x.account_id where a.identifier = 'eve'";
  const items = async () =>
    (await pool.query(`select x.id, x.day, x.seq from push_item x ${of} and x.kind = 1 order by x.id`)).rows;
  const badge = async () => (await pool.query(`select x.badge from push_device x ${of}`)).rows[0].badge;
  const send = async () => {
    const before = (await items()).length;
    const { seq } = await dora.ok('send', { conversation: 'c2c:eve', ...said() });
    await until(async () => (await items()).length === before + 1);
    return seq;
  };
  const count = async () => {
    const all = await items();
    await pool.query('select push_count($1, $2)', [all.map(({ id }) => id), all.map(({ day }) => day)]);
  };
  await desktop.ok('read', { conversation: 'c2c:dora', seq: await send() });
  t.equal(await badge(), 5, 'what waits is not in it');
  await count();
  t.equal(await badge(), 5, 'what was read meanwhile');
  await dora.ok('recall', { conversation: 'c2c:eve', seq: await send() });
  await count();
  t.equal(await badge(), 5, 'what was recalled meanwhile');

  const seq = await send();
  const client = await pool.connect();
  await client.query('begin');
  await client.query('delete from push_item where id = $1', [(await items()).at(-1)?.id]);
  const { rows: waiting } = await client.query(
    `update outbox o set done_ms = null from conversation c join account a on a.id in (c.account_a, c.account_b)
     where o.consumer = 2 and o.seq = $1 and o.conversation_id = c.id and a.identifier = 'eve' returning a.id, c.id as conversation`,
    [seq],
  );
  t.equal(waiting.length, 1);
  await client.query('select push_read($1, $2, $3, $4, 1)', [
    waiting[0]?.id,
    waiting[0]?.conversation,
    Number(seq) - 1,
    seq,
  ]);
  const { rows } = await client.query(`select x.badge from push_device x ${of}`);
  await client.query('rollback');
  client.release();
  t.equal(rows[0].badge, 5, 'what was not even looked at');

  await report(1);
  await dora.ok('recall', { conversation: 'c2c:eve', seq });
  t.equal(await badge(), 0, 'its app had counted it');
  const last = await send();
  await report(1);
  await desktop.ok('read', { conversation: 'c2c:dora', seq: last });
  t.equal(await badge(), 0);
});

t.test('[S3] of badges alone one waits for a device, until it is under way', async (t) => {
  const fred = await im.link('fred');
  const [phone, desktop] = [await im.link('gina', { platform: 'iOS' }), await im.link('gina', { platform: 'Mac' })];
  await phone.ok('setToken', { channel: 'apns', token: 'ef'.repeat(32) });
  // Which has no badge of its own.
  const android = await im.link('gina', { platform: 'Android' });
  await android.ok('setToken', { channel: 'fcm', token: 'a-token-of-gina-0123456789' });
  for (const link of [phone, android]) await link.ok('report', { state: 'background', unread: 0 });
  await world.push.pauses.pause({ sdkAppId, channel: undefined, reason: 'a test', actor: 'tester' });
  const items = async (kind: 1 | 2) =>
    (await world.items('gina')).filter((item) => item.kind === kind) as { id: number; day: number }[];
  const count = async (kind: 1 | 2) => {
    const all = await items(kind);
    await pool.query('select push_count($1, $2)', [all.map(({ id }) => id), all.map(({ day }) => day)]);
  };
  const seqs: unknown[] = [];
  for (let n = 0; n < 3; n++) seqs.push((await fred.ok('send', { conversation: 'c2c:gina', ...said() })).seq);
  await until(async () => (await items(1)).length === 6);
  await count(1);
  const read = (seq: unknown) => desktop.ok('read', { conversation: 'c2c:fred', seq });
  await read(seqs[0]);
  await read(seqs[1]);
  t.equal((await items(2)).length, 1, 'it shows what the badge is when it is sent');
  await count(2);
  await read(seqs[2]);
  t.equal((await items(2)).length, 2, 'one that is being sent may show what was before');
});
