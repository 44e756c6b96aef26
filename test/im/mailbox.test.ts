import t, { type Test } from 'tap';
import type { Account } from '../../src/im/index.ts';
import type { Draft } from '../../src/im/services.ts';
import type { AccountId } from '../../src/wire/index.ts';
import { openTestDatabase, until } from '../support/database.ts';
import { imAppId, openIm, type TestIm, type TestImOptions } from '../support/im.ts';
import { sendInput, textBody } from '../support/im-draft.ts';

const database = await openTestDatabase(t);
let serial = 0;

interface World extends TestIm {
  alice: Account;
  bob: Account;
  say(from: Account, to: Account, text: string, draft?: Partial<Draft>): Promise<number>;
  texts(account: Account, peer: Account): Promise<string[]>;
  offline(account: Account): Promise<string[]>;
  /** Recent contacts with their unread and last text. */
  recents(account: Account): Promise<[string, number, string | undefined][]>;
  acknowledged(account: Account, peer: Account, seq: number): Promise<void>;
}

const textOf = (body: string): string => JSON.parse(body)[0]?.MsgContent.Text ?? 'recalled';

/** A service with a clock of its own and two accounts nobody else has. */
async function open(t: Test, settings: Omit<TestImOptions, 'database'> = {}): Promise<World> {
  const service = await openIm(t, { database, ...settings });
  const { mailbox, messages, accounts } = service.im;
  serial++;
  const make = (name: string) => accounts.ensure(imAppId, `${name}-${serial}` as AccountId);
  const world: World = {
    ...service,
    alice: await make('alice'),
    bob: await make('bob'),
    async say(from, to, text, draft = {}) {
      const sent = await messages.send(sendInput(from, to, { body: textBody(text), ...draft }));
      if (!sent.ok) throw new Error(sent.error);
      return sent.value.seq;
    },
    async texts(account, peer) {
      return (await mailbox.history(account, peer, { limit: 100 })).messages.map(({ body }) => textOf(body));
    },
    async offline(account) {
      const texts: string[] = [];
      let after: string | undefined;
      do {
        const page = await mailbox.offline(account, after);
        texts.push(...page.messages.map(({ body }) => textOf(body)));
        after = page.after;
      } while (after !== undefined);
      return texts;
    },
    async recents(account) {
      const views = await mailbox.recents(account);
      return views.map(({ peer, unread, last }) => [peer.replace(/-\d+$/, ''), unread, last && textOf(last.body)]);
    },
    async acknowledged(account, peer, seq) {
      mailbox.acknowledge(account, [[peer, seq]]);
      await until(async () => {
        const views = await mailbox.recents(account);
        return views.some((view) => view.peer === peer.identifier && view.deliveredSeq >= seq);
      });
    },
  };
  return world;
}

t.test('[M14] unread counts what others wrote and was not read; one’s own never counts', async (t) => {
  const { alice, bob, say, im } = await open(t);
  const unread = async (account: Account, peer: Account) => (await im.mailbox.unread(account, [peer]))[0];
  await say(alice, bob, '1');
  await say(bob, alice, '2');
  await say(alice, bob, '3');
  await say(alice, bob, 'not counted', { counts: false });
  await say(bob, alice, '5');
  t.equal(await unread(bob, alice), 2);
  t.equal(await unread(alice, bob), 2);
  t.match(await im.mailbox.read(bob, alice, { seq: 1 }), { readSeq: 1, unread: 1 });
  t.match(await im.mailbox.read(bob, alice, { seq: 1 }), { readSeq: 1, unread: 1 }, 'reported twice');
  t.match(await im.mailbox.read(bob, alice, {}), { readSeq: 5, unread: 0 });
  t.match(await im.mailbox.read(bob, alice, { seq: 2 }), { readSeq: 5, unread: 0 }, 'never backwards');
  await say(bob, alice, 'own after reading');
  t.equal(await unread(bob, alice), 0);
  await say(alice, bob, 'new');
  t.equal(await unread(bob, alice), 1);
  t.match(await im.mailbox.read(alice, bob, { seq: 99 }), { unread: 0 }, 'beyond the end is the end');
});

t.test('[M14] a random walk: the counters are what counting says', async (t) => {
  const { alice, bob, say, im, db } = await open(t);
  let next = 1;
  const random = () => {
    next = (next * 48_271) % 2_147_483_647;
    return next / 2_147_483_647;
  };
  const seqs: number[] = [];
  for (let step = 0; step < 400; step++) {
    const [one, two] = random() < 0.5 ? [alice, bob] : [bob, alice];
    const dice = random();
    if (dice < 0.5) {
      const visibility = dice < 0.05 ? 'receiver' : dice < 0.1 ? 'sender' : 'both';
      seqs.push(await say(one, two, `${step}`, { visibility, counts: dice < 0.45 }));
    } else if (dice < 0.8) {
      await im.mailbox.read(one, two, dice < 0.6 ? {} : { seq: Math.ceil(random() * (seqs.at(-1) ?? 1)) });
    } else if (seqs.length > 0) {
      const seq = seqs[Math.floor(random() * seqs.length)] ?? 0;
      await im.messages.recall({ account: one, peer: two, message: { seq }, by: 'self' });
    }
    for (const [account, peer] of [
      [alice, bob],
      [bob, alice],
    ] as const) {
      const { rows } = await db.pool.query(
        `select count(*) as count from message x join member m on m.account_id = $1 and m.conversation_id = x.conversation_id
         where x.seq > m.read_seq and x.counts and x.sender_id <> $1 and x.recall_no = 0 and x.visible_to <> 1
           and x.conversation_id in (select id from conversation where $1 in (account_a, account_b) and $2 in (account_a, account_b))`,
        [account.no, peer.no],
      );
      const [unread] = await im.mailbox.unread(account, [peer]);
      if (unread !== rows[0].count) t.equal(unread, rows[0].count, `step ${step}`);
    }
  }
  t.ok(seqs.length > 150);
});

t.test(
  '[M5][M7] offline messages end for the account once a terminal has acknowledged them, or it read them',
  async (t) => {
    const { alice, bob, say, offline, acknowledged, im } = await open(t);
    await say(alice, bob, 'one');
    await say(bob, alice, 'own');
    await say(alice, bob, 'two');
    t.strictSame(await offline(bob), ['one', 'two']);
    t.strictSame(await offline(bob), ['one', 'two'], 'another terminal still gets them');
    await acknowledged(bob, alice, 1);
    t.strictSame(await offline(bob), ['two']);
    await im.mailbox.read(bob, alice, {});
    t.strictSame(await offline(bob), [], '[M7] an explicit read report ends them');
  },
);

t.test(
  '[M6] at most the newest bytes; what falls out stays in roaming and unread, and is not offered later',
  async (t) => {
    const { alice, bob, say, offline, texts, acknowledged, im } = await open(t, { app: { offlineBytes: 1_024 } });
    const long = 'x'.repeat(300);
    for (const name of ['a', 'b', 'c', 'd', 'e']) await say(alice, bob, `${name}${long}`);
    t.strictSame(
      (await offline(bob)).map((text) => text[0]),
      ['d', 'e'],
      'each is about 350 bytes',
    );
    await acknowledged(bob, alice, 0);
    t.strictSame(
      (await offline(bob)).map((text) => text[0]),
      ['d', 'e'],
    );
    await acknowledged(bob, alice, 5);
    t.strictSame(await offline(bob), [], 'acknowledged ones make no room for what fell out');
    t.equal((await texts(bob, alice)).length, 5);
    t.equal(await im.mailbox.unreadTotal(bob), 5);
  },
);

t.test('[M6] what fell out does not come back when the rest was acknowledged', async (t) => {
  const { alice, bob, say, offline, acknowledged, im } = await open(t, { app: { offlineBytes: 1_024 } });
  const carol = await im.accounts.ensure(imAppId, `carol-${serial}` as AccountId);
  await say(carol, bob, 'c'.repeat(400));
  await new Promise((resolve) => setTimeout(resolve, 2));
  for (const name of ['a', 'b', 'd']) await say(alice, bob, name.repeat(250));
  t.strictSame(
    (await offline(bob)).map((text) => text[0]),
    ['a', 'b', 'd'],
  );
  await acknowledged(bob, alice, 3);
  t.strictSame(await offline(bob), []);
});

t.test('[M6] a large backlog comes by pages, oldest first, each once', async (t) => {
  const { alice, bob, say, im } = await open(t, { app: { offlineBytes: 4_000_000, messageBytes: 24_576 } });
  const expected: string[] = [];
  for (let i = 0; i < 40; i++) {
    expected.push(`${i} ${'x'.repeat(20_000)}`);
    await say(alice, bob, expected.at(-1) ?? '');
  }
  const got: string[] = [];
  let pages = 0;
  for (let after: string | undefined; ; ) {
    const page = await im.mailbox.offline(bob, after);
    pages++;
    got.push(...page.messages.map(({ body }) => textOf(body)));
    im.mailbox.acknowledge(
      bob,
      page.messages.map(({ seq }) => [alice, seq] as const),
    );
    if (page.after === undefined) break;
    after = page.after;
  }
  t.strictSame(got, expected);
  t.ok(pages > 2);
});

t.test('[M6] MsgLifeTime and 7 days bound the offline delivery, not the history', async (t) => {
  const { alice, bob, say, offline, texts, clock, im } = await open(t, { app: { roamingDays: 30 } });
  await say(alice, bob, 'a week');
  await say(alice, bob, 'an hour', { lifetimeSec: 3_600 });
  clock.advance(3_601);
  t.strictSame(await offline(bob), ['a week']);
  clock.advance(7 * 86_400);
  await im.maintain();
  t.strictSame(await offline(bob), []);
  t.strictSame(await texts(bob, alice), ['a week', 'an hour']);
});

t.test('[M8] roaming keeps 7 days, or what the app says; unread and recents follow', async (t) => {
  const { alice, bob, say, texts, recents, clock, im } = await open(t);
  await say(alice, bob, 'old');
  clock.advance(4 * 86_400);
  await im.maintain();
  await say(alice, bob, 'newer');
  t.strictSame(await recents(bob), [['alice', 2, 'newer']]);
  clock.advance(3 * 86_400 + 60);
  await im.maintain();
  t.strictSame(await texts(bob, alice), ['newer']);
  t.strictSame(await recents(bob), [['alice', 1, 'newer']], '[M14] what has expired is not unread');
  t.match(await im.mailbox.sync(bob, alice, { since: 0, recallNo: 0, limit: 10 }), { throughSeq: 2, more: false });
  clock.advance(4 * 86_400);
  await im.maintain();
  t.strictSame(await texts(bob, alice), []);
  t.strictSame(await recents(bob), [], '[M9] a contact goes when its last message expires');
  t.equal(await im.mailbox.unreadTotal(bob), 0);
});

t.test('[M8] partitions are made ahead and dropped whole when all has expired', async (t) => {
  const { alice, bob, say, clock, im, db } = await open(t);
  const days = async () => {
    const { rows } = await db.pool.query<{ name: string }>(
      `select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
       where i.inhparent = 'message'::regclass and c.relname <> 'message_default'`,
    );
    return rows.map(({ name }) => Number(name.slice('message_'.length))).sort((a, b) => a - b);
  };
  const today = () => Math.floor(clock() / 86_400_000);
  await im.maintain();
  t.ok((await days()).includes(today() + 7));
  await say(alice, bob, 'today');
  const day = today();
  clock.advance(12 * 86_400);
  await say(alice, bob, 'no partition yet');
  await im.maintain();
  t.notOk((await days()).includes(day), 'the old one is gone');
  t.ok((await days()).includes(today()));
  t.strictSame(
    await im.mailbox.history(bob, alice, { limit: 5 }).then(({ messages }) => messages.map(({ body }) => textOf(body))),
    ['no partition yet'],
  );
  const { rows } = await db.pool.query('select count(*) as count from message_default');
  t.equal(rows[0].count, 0, 'what went astray was put in its place');
});

t.test('[M8] history pages backwards over days without a hole, and says when it is complete', async (t) => {
  const { alice, bob, say, clock, im } = await open(t, { app: { roamingDays: 100 } });
  const all: string[] = [];
  for (let day = 0; day < 40; day++) {
    for (let i = 0; i < 3; i++) {
      all.push(`${day}.${i}`);
      await say(i % 2 === 0 ? alice : bob, i % 2 === 0 ? bob : alice, `${day}.${i}`);
    }
    clock.advance(86_400);
    if (day % 6 === 0) await im.maintain();
  }
  const pages: string[][] = [];
  for (let before: number | undefined; ; ) {
    const page = await im.mailbox.history(bob, alice, { limit: 7, ...(before === undefined ? {} : { before }) });
    pages.unshift(page.messages.map(({ body }) => textOf(body)));
    before = page.messages[0]?.seq;
    if (page.complete) break;
  }
  t.strictSame(pages.flat(), all);
  t.equal(pages.length, Math.ceil(120 / 7));
  const { messages, complete } = await im.mailbox.history(bob, alice, { limit: 100, before: 31 });
  t.equal(messages.length, 30);
  t.equal(complete, true);
});

t.test('[M9] the 100 latest conversations with their last message, newest first', async (t) => {
  const { alice, say, recents, im, clock } = await open(t);
  for (let i = 0; i < 103; i++) {
    const peer = await im.accounts.ensure(imAppId, `p${i}-${serial}` as AccountId);
    await say(i % 2 === 0 ? alice : peer, i % 2 === 0 ? peer : alice, `text ${i}`);
    clock.advance(1);
  }
  const list = await recents(alice);
  t.equal(list.length, 100);
  t.strictSame(list[0], ['p102', 0, 'text 102']);
  t.strictSame(list[1], ['p101', 1, 'text 101']);
  t.strictSame(list.at(-1), ['p3', 1, 'text 3']);
});

t.test('a hidden conversation comes back with its next message; a cleared one without its history', async (t) => {
  const { alice, bob, say, recents, texts, im, offline } = await open(t);
  await say(alice, bob, 'one');
  await im.mailbox.hide(bob, alice, { clear: false });
  t.strictSame(await recents(bob), []);
  t.strictSame(await texts(bob, alice), ['one']);
  await say(alice, bob, 'two');
  t.strictSame(await recents(bob), [['alice', 2, 'two']]);
  await im.mailbox.hide(bob, alice, { clear: true });
  t.strictSame(await texts(bob, alice), []);
  t.strictSame(await offline(bob), []);
  t.equal(await im.mailbox.unreadTotal(bob), 0);
  t.strictSame(await texts(alice, bob), ['one', 'two'], 'it is the other side’s still');
});

t.test('[M7] an acknowledgement beyond the end counts as the end', async (t) => {
  const { alice, bob, say, offline, acknowledged } = await open(t);
  await say(alice, bob, 'one');
  await acknowledged(bob, alice, 1);
  await say(alice, bob, 'two');
  t.strictSame(await offline(bob), ['two']);
  const carol = await open(t);
  await carol.say(carol.alice, carol.bob, 'one');
  carol.im.mailbox.acknowledge(carol.bob, [[carol.alice, 2 ** 50]]);
  await until(async () => (await carol.offline(carol.bob)).length === 0);
  await carol.say(carol.alice, carol.bob, 'two');
  t.strictSame(await carol.offline(carol.bob), ['two']);
});

t.test('[M8] a clock that is far ahead of the database’s drops nothing', async (t) => {
  const { alice, bob, say, clock, im, db } = await open(t, { options: { retention: {} } });
  await im.maintain();
  await say(alice, bob, 'still wanted');
  const count = async () =>
    (await db.pool.query(`select count(*) as count from message where body like '%still wanted%'`)).rows[0].count;
  clock.advance(30 * 86_400);
  await im.maintain();
  t.equal(await count(), 1);
});
