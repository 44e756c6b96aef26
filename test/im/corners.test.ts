import t, { type Test } from 'tap';
import type { Account } from '../../src/im/index.ts';
import type { Draft, LinkEvent } from '../../src/im/services.ts';
import { createLogger } from '../../src/observe/index.ts';
import type { Database } from '../../src/store/index.ts';
import type { AccountId } from '../../src/wire/index.ts';
import { openTestDatabase, until } from '../support/database.ts';
import { imAppId, openIm, type TestIm, type TestImOptions } from '../support/im.ts';
import { sendInput, textBody } from '../support/im-draft.ts';

/** Rules of one-to-one messages where things meet: clocks, sides, and what comes in between. */

const database = await openTestDatabase(t);
let serial = 0;

interface World extends TestIm {
  alice: Account;
  bob: Account;
  /** What the bus carried so far. */
  told: { to: Account; event: LinkEvent }[];
  /** Lines of the log so far. */
  log: string[];
  say(from: Account, to: Account, text: string, draft?: Partial<Draft>): Promise<number>;
  texts(account: Account, peer: Account): Promise<string[]>;
  offline(account: Account): Promise<string[]>;
}

const textOf = (body: string): string => JSON.parse(body)[0]?.MsgContent.Text ?? 'recalled';
/** By the administrator: nobody asks about relations. */
const input = (from: Account, to: Account, draft: Partial<Draft>) =>
  sendInput(from, to, draft, { authority: 'administrator' });

async function open(t: Test, settings: Omit<TestImOptions, 'database'> = {}): Promise<World> {
  const told: World['told'] = [];
  const log: string[] = [];
  serial++;
  const service = await openIm(t, {
    database,
    ...settings,
    deps: {
      logger: createLogger({ level: 'debug', destination: { write: (line) => void log.push(line) } }),
      bus: {
        publish: (to, event) => void told.push({ to: to === alice.no ? alice : bob, event }),
        publishMany: () => {},
        subscribe: () => () => {},
        onGap: () => () => {},
      },
      ...settings.deps,
    },
  });
  const { mailbox, messages, accounts } = service.im;
  const make = (name: string) => accounts.ensure(imAppId, `${name}-${serial}` as AccountId);
  const alice = await make('alice');
  const bob = await make('bob');
  return {
    ...service,
    alice,
    bob,
    told,
    log,
    async say(from, to, text, draft = {}) {
      const sent = await messages.send(input(from, to, { body: textBody(text), ...draft }));
      if (!sent.ok) throw new Error(sent.error);
      return sent.value.seq;
    },
    async texts(account, peer) {
      return (await mailbox.history(account, peer, { limit: 100 })).messages.map(({ body }) => textOf(body));
    },
    async offline(account) {
      return (await mailbox.offline(account)).messages.map(({ body }) => textOf(body));
    },
  };
}

interface Answered {
  name: string;
  text: string;
  values: unknown[];
  rows: unknown[];
}

/** The same database; `onAnswer` hears of each named statement of the pool before its caller does. */
function watched(db: Database, onAnswer: (answered: Answered) => Promise<void> | void): { db: Database } {
  const query = db.pool.query.bind(db.pool) as (...all: unknown[]) => Promise<{ rows: unknown[] }>;
  const pool = Object.assign(Object.create(db.pool) as typeof db.pool, {
    async query(...all: unknown[]) {
      const result = await query(...all);
      const { name, text, values } = Object(all[0]) as Partial<Answered>;
      if (name !== undefined) await onAnswer({ name, text: text ?? '', values: values ?? [], rows: result.rows });
      return result;
    },
  });
  return { db: { ...db, pool } };
}

/** A clock that stands still until it is moved, back too. */
function createStoppedClock(atMs: number) {
  let nowMs = atMs;
  return Object.assign(() => nowMs, {
    advance(sec: number) {
      nowMs += sec * 1_000;
    },
  });
}

/** Noon of tomorrow, UTC: partitions for the days around it are there. */
const noonMs = (Math.floor(Date.now() / 86_400_000) + 1) * 86_400_000 + 43_200_000;
const midnightMs = noonMs + 43_200_000;

t.test('[M15] a clock that goes back hides nothing and changes no order', async (t) => {
  const clock = createStoppedClock(midnightMs + 1_000);
  const { alice, bob, say, texts, offline, im } = await open(t, { deps: { clock } });
  await say(alice, bob, 'one');
  await say(alice, bob, 'two');
  clock.advance(-60);
  await say(alice, bob, 'three');
  t.strictSame(await texts(bob, alice), ['one', 'two', 'three']);
  t.strictSame(await offline(bob), ['one', 'two', 'three']);
  const { messages } = await im.mailbox.sync(bob, alice, { since: 0, recallNo: 0, limit: 10 });
  t.strictSame(
    messages.map(({ body }) => textOf(body)),
    ['one', 'two', 'three'],
  );
  t.equal((await im.mailbox.recents(bob))[0]?.last?.seq, 3);
});

t.test('[M13] a repeat by a process whose clock is behind is one message, over midnight too', async (t) => {
  const ahead = await open(t, { deps: { clock: createStoppedClock(midnightMs + 50) } });
  const behind = await open(t, { deps: { clock: createStoppedClock(midnightMs - 50) } });
  const { alice, bob } = ahead;
  const seq = await ahead.say(alice, bob, 'once', { random: 7 });
  t.equal(await behind.say(alice, bob, 'once', { random: 7 }), seq);
  t.strictSame(await ahead.texts(bob, alice), ['once']);
});

t.test('a message whose time is ahead of the day it was stored on is recalled by its key', async (t) => {
  const clock = createStoppedClock(midnightMs - 10_000);
  const { alice, bob, im, texts } = await open(t, { deps: { clock } });
  const importedTime = midnightMs / 1_000 + 20;
  const sent = await im.messages.send(input(alice, bob, { importedTime, random: 5, msgSeq: 6 }));
  t.match(sent, { ok: true, value: { time: importedTime } });
  const message = { msgSeq: 6, random: 5, time: importedTime };
  t.match(await im.messages.recall({ account: alice, peer: bob, message, by: 'administrator' }), { ok: true });
  t.strictSame(await texts(bob, alice), ['recalled']);
});

t.test('[M4] who writes to himself is the receiver, whatever SyncOtherMachine says', async (t) => {
  for (const draft of [
    { visibility: 'both', tellSender: false },
    { visibility: 'receiver', tellSender: false },
    { visibility: 'both', tellSender: true },
  ] as const) {
    const { alice, say, texts, told, im } = await open(t);
    await say(alice, alice, 'note', draft);
    t.strictSame(await texts(alice, alice), ['note']);
    t.equal(await im.mailbox.unreadTotal(alice), 0, '[M14]');
    t.match(await im.mailbox.recents(alice), [{ peer: alice.identifier, seq: 1, unread: 0 }]);
    t.strictSame(
      told.map(({ to, event }) => [to.no, event.kind]),
      [[alice.no, 'message']],
      'its terminals are told, once',
    );
    told.length = 0;
    await say(alice, alice, 'now', { ...draft, lifetimeSec: 0 });
    t.equal(told.length, 1, 'online-only too');
  }
});

t.test('[M14] what comes while a conversation is cleared is unread, and there', async (t) => {
  const { alice, bob, say, texts, im, db } = await open(t);
  await say(alice, bob, 'old');
  // Comes once the read position has moved, before the conversation is cleared.
  let isWaiting = true;
  const between = await openIm(t, {
    database: watched(db, async ({ name }) => {
      if (!isWaiting || name !== 'im_read') return;
      isWaiting = false;
      await say(alice, bob, 'new');
    }),
  });
  await between.im.mailbox.hide(bob, alice, { clear: true });
  t.equal(isWaiting, false);
  t.strictSame(await texts(bob, alice), ['new']);
  t.equal(await im.mailbox.unreadTotal(bob), 1);
  t.match(await im.mailbox.recents(bob), [{ seq: 2, unread: 1 }]);
});

t.test('[M10] [M17] who never saw a message is not told that it was recalled', async (t) => {
  const { alice, bob, say, told, im } = await open(t);
  const recall = async (visibility: 'sender' | 'receiver' | 'both') => {
    const seq = await say(alice, bob, 'text', { visibility });
    told.length = 0;
    const recalled = await im.messages.recall({ account: alice, peer: bob, message: { seq }, by: 'administrator' });
    t.match(recalled, { ok: true });
    return told.map(({ to, event }) => [to, event.kind]);
  };
  t.strictSame(await recall('sender'), [[alice, 'recalled']]);
  t.strictSame(await recall('receiver'), [[bob, 'recalled']]);
  t.strictSame(await recall('both'), [
    [alice, 'recalled'],
    [bob, 'recalled'],
  ]);
});

t.test('[M6] of a large backlog no more than what is delivered is read into memory', async (t) => {
  const { alice, bob, say, db, offline } = await open(t, { app: { offlineBytes: 1_024 } });
  for (let i = 0; i < 30; i++) await say(alice, bob, `${i} ${'x'.repeat(200)}`);
  let rows = 0;
  const counting = await openIm(t, {
    app: { offlineBytes: 1_024 },
    database: watched(db, (answered) => {
      if (answered.name === 'im_offline') rows += answered.rows.length;
    }),
  });
  const { messages } = await counting.im.mailbox.offline(bob);
  t.equal(messages.length, 4);
  t.ok(rows <= 5, `${rows} rows were read`);
  t.match(messages.at(-1), { seq: 30 });
  await counting.im.mailbox.offline(bob);
  t.equal((await offline(bob)).length, 4, 'what fell out fell out for good, the rest is there');
});

t.test(
  'what a terminal missed costs what it missed, however long the conversation and what was cleared of it',
  async (t) => {
    const { alice, bob, say, db, im } = await open(t);
    await Promise.all(Array.from({ length: 600 }, (_, i) => say(alice, bob, `${i}`)));
    await im.mailbox.hide(alice, bob, { clear: true });
    await say(alice, bob, 'last');
    await db.pool.query('analyze message');
    const costs = new Map<string, number>();
    const watching = await openIm(t, {
      database: watched(db, async ({ name, text, values }) => {
        if (name !== 'im_sync' && name !== 'im_history') return;
        const { rows } = await db.pool.query(`explain (analyze, format json) ${text}`, values);
        costs.set(name, rowsOf(rows[0]['QUERY PLAN'][0].Plan));
      }),
    });
    const { mailbox } = watching.im;
    t.equal((await mailbox.sync(bob, alice, { since: 599, recallNo: 0, limit: 50 })).messages.length, 2);
    t.equal((await mailbox.history(alice, bob, { limit: 50 })).messages.length, 1);
    for (const name of ['im_sync', 'im_history'])
      t.ok((costs.get(name) ?? 1_000) < 50, `${name}: ${costs.get(name)} rows`);
  },
);

/** Rows that a plan looked at on its way, filtered out or not. */
function rowsOf(plan: Record<string, unknown>): number {
  const children = (plan.Plans ?? []) as Record<string, unknown>[];
  const count = (key: string) => Number(plan[key] ?? 0);
  const own = count('Actual Rows') + count('Rows Removed by Filter') + count('Rows Removed by Join Filter');
  return children.reduce((sum, child) => sum + rowsOf(child), own * count('Actual Loops'));
}

t.test('[I1] an account that is deleted while it is looked up is not remembered', async (t) => {
  const { alice, bob, db, im } = await open(t);
  let isWaiting = false;
  const slow = await openIm(t, {
    database: watched(db, async ({ name, rows }) => {
      if (!isWaiting || name !== 'im_accounts' || rows.length === 0) return;
      isWaiting = false;
      await im.accounts.delete(imAppId, [alice.identifier, bob.identifier]);
      // What the bus says is heard before the answer to the look-up arrives: this one was remembered until then.
      await until(async () => (await slow.im.accounts.find(imAppId, alice.identifier)) === undefined);
    }),
  });
  t.ok(await slow.im.accounts.find(imAppId, alice.identifier));
  isWaiting = true;
  await slow.im.accounts.find(imAppId, bob.identifier);
  t.equal(isWaiting, false);
  t.equal(await slow.im.accounts.find(imAppId, bob.identifier), undefined);
  const again = await im.accounts.ensure(imAppId, bob.identifier);
  t.strictSame(await slow.im.accounts.find(imAppId, bob.identifier), again);
});

t.test('[M16] what a failed commit was to store is not in the log', async (t) => {
  const { alice, bob, db, im, log } = await open(t);
  await db.pool.query(`alter table message add constraint short check (body not like '%forbidden%')`);
  const sending = im.messages.send(input(alice, bob, { body: textBody('forbidden text') }));
  await t.rejects(sending, { code: '23514' });
  await db.pool.query('alter table message drop constraint short');
  t.match(log.join(''), 'im.commit.failed');
  t.notMatch(log.join(''), 'forbidden');
});

t.test('[M16] after an outage nobody gets what its sender was told had timed out before it was begun', async (t) => {
  const { alice, bob, say, texts, im, db } = await open(t);
  await say(alice, bob, 'before');
  const blocker = await db.pool.connect();
  await blocker.query('begin');
  await blocker.query('select 1 from conversation where account_b = $1 for update', [Math.max(alice.no, bob.no)]);
  const begun = say(alice, bob, 'begun');
  await until(async () => {
    const { rows } = await db.pool.query(`select 1 from pg_stat_activity where wait_event_type = 'Lock'`);
    return rows.length > 0;
  });
  const waiting = input(alice, bob, { body: textBody('given up') });
  const sent = await im.messages.send({ ...waiting, deadline: AbortSignal.timeout(20) });
  t.match(sent, { ok: false, error: 'TIMED_OUT' });
  await blocker.query('rollback');
  blocker.release();
  await begun;
  await say(alice, bob, 'after');
  t.strictSame(await texts(bob, alice), ['before', 'begun', 'after']);
});

t.test('[M8] a process starts while somebody holds the partitions; upkeep makes up for it later', async (t) => {
  const day = Math.floor(Date.now() / 86_400_000) + 7;
  const { db, im } = await open(t);
  await db.pool.query(`drop table message_${day}`);
  const backup = await db.pool.connect();
  await backup.query('begin');
  await backup.query('lock table message_default in access share mode');
  const { alice, bob, say, texts, log } = await open(t);
  t.match(log.join(''), 'im.partition.held');
  await say(alice, bob, 'meanwhile');
  t.strictSame(await texts(bob, alice), ['meanwhile']);
  await backup.query('rollback');
  backup.release();
  await im.maintain();
  const { rows } = await db.pool.query(`select to_regclass('message_${day}') as name`);
  t.equal(rows[0].name, `message_${day}`);
});

t.test('[M14] unread messages of which some have expired are counted without those that were recalled', async (t) => {
  const clock = createStoppedClock(noonMs);
  const { alice, bob, say, im } = await open(t, { app: { roamingDays: 1 }, deps: { clock } });
  await say(alice, bob, 'expires');
  clock.advance(50_000);
  const recalled = await say(alice, bob, 'recalled');
  await say(alice, bob, 'stays');
  await say(bob, alice, 'own');
  await im.messages.recall({ account: alice, peer: bob, message: { seq: recalled }, by: 'administrator' });
  t.equal(await im.mailbox.unreadTotal(bob), 2);
  clock.advance(50_000);
  t.equal(await im.mailbox.unreadTotal(bob), 1);
  t.strictSame(await im.mailbox.unread(bob, [alice]), [1]);
  t.match(await im.mailbox.recents(bob), [{ unread: 1 }]);
  t.match(await im.mailbox.read(bob, alice, { seq: 1 }), { unread: 1 });
  clock.advance(50_000);
  t.equal(await im.mailbox.unreadTotal(bob), 0);
  t.strictSame(await im.mailbox.recents(bob), []);
});

t.test('[M9] of contacts with messages of one second the latest is first', async (t) => {
  const clock = createStoppedClock(noonMs);
  const { alice, bob, say, im } = await open(t, { deps: { clock } });
  const carol = await im.accounts.ensure(imAppId, `carol-${serial}` as AccountId);
  await say(alice, bob, 'one');
  clock.advance(0.01);
  await say(alice, carol, 'two');
  clock.advance(0.01);
  await say(alice, bob, 'three');
  t.match(await im.mailbox.recents(alice), [{ peer: bob.identifier }, { peer: carol.identifier }]);
});

t.test('[M14] reading up to a time takes in what was sent in that second', async (t) => {
  const clock = createStoppedClock(noonMs);
  const { alice, bob, say, im } = await open(t, { deps: { clock } });
  for (const text of ['one', 'two', 'three']) {
    await say(alice, bob, text);
    clock.advance(1);
  }
  t.strictSame(await im.mailbox.read(bob, alice, { time: noonMs / 1_000 - 1 }), { readSeq: 0, unread: 3 });
  t.strictSame(await im.mailbox.read(bob, alice, { time: noonMs / 1_000 + 1 }), { readSeq: 2, unread: 1 });
});

t.test('[M15] messages of one commit say each what its side saw before', async (t) => {
  const { alice, bob, say, told } = await open(t);
  await say(alice, bob, 'first');
  told.length = 0;
  // The first goes by itself, the others together.
  const sides = ['both', 'both', 'sender', 'receiver', 'both', 'receiver', 'both'] as const;
  await Promise.all(sides.map((visibility) => say(alice, bob, 'text', { visibility })));
  for (const account of [alice, bob]) {
    let seen = 1;
    for (const { to, event } of told) {
      if (to !== account || event.kind !== 'message') continue;
      t.equal(event.prev, seen, `${account.identifier}: before ${event.message.seq}`);
      seen = event.message.seq;
    }
    t.equal(seen, 8);
  }
});

t.test(
  '[M14] a recalled message counts no more, wherever the read position is moved to; nothing of it stays',
  async (t) => {
    const { alice, bob, say, im } = await open(t);
    for (const text of ['one', 'two', 'three']) {
      await say(alice, bob, text, { push: { Title: 'title' }, custom: 'custom' });
    }
    await im.messages.recall({ account: alice, peer: bob, message: { seq: 2 }, by: 'administrator' });
    t.match(await im.mailbox.read(bob, alice, { seq: 1 }), { readSeq: 1, unread: 1 });
    t.equal(await im.mailbox.unreadTotal(bob), 1);
    const { messages } = await im.mailbox.history(bob, alice, { limit: 10 });
    t.match(messages[0], { push: /title/, custom: 'custom', recalled: false });
    t.match(messages[1], { body: '[]', push: undefined, custom: undefined, recalled: true });
  },
);

t.test('[M7] an acknowledgement of less than is acknowledged changes nothing', async (t) => {
  const { alice, bob, say, offline, im } = await open(t);
  await say(alice, bob, 'one');
  await say(alice, bob, 'two');
  im.mailbox.acknowledge(bob, [[alice, 2]]);
  await until(async () => (await offline(bob)).length === 0);
  im.mailbox.acknowledge(bob, [[alice, 1]]);
  await until(async () => (await im.mailbox.recents(bob))[0]?.deliveredSeq === 2);
  t.strictSame(await offline(bob), []);
});

t.test('[I3] imported history waits for nobody, a live import does', async (t) => {
  const { alice, bob, say, texts, offline, clock } = await open(t);
  const importedTime = Math.floor(clock() / 1_000) - 100;
  await say(alice, bob, 'history', { importedTime, counts: false });
  await say(alice, bob, 'live', { importedTime });
  t.strictSame(await offline(bob), ['live']);
  t.strictSame(await texts(bob, alice), ['history', 'live']);
});

t.test('[M12] [B3] rows of the outbox are for those who asked; days with waiting rows are kept', async (t) => {
  const { alice, bob, im, db, clock } = await open(t, { deps: { ports: { consumers: () => 3 } } });
  const day = Math.floor(clock() / 86_400_000);
  await im.messages.send({ ...input(alice, bob, {}), withoutAfter: 'forbidden' });
  const { rows } = await db.pool.query('select consumer, day from outbox');
  t.strictSame(rows, [{ consumer: 2, day }]);
  const days = async () => {
    await im.maintain();
    const found = await db.pool.query(
      `select to_regclass('outbox_${day}') as outbox, to_regclass('message_${day}') as message`,
    );
    return found.rows[0];
  };
  clock.advance(20 * 86_400);
  t.match(await days(), { outbox: `outbox_${day}`, message: null });
  await db.pool.query('update outbox set done_ms = 1');
  t.match(await days(), { outbox: null });
});

t.test('[G23] messages stay as long as those of any type of groups can be fetched', async (t) => {
  const groupTypes = [{ name: 'Class', base: 'Public' as const, roamingDays: 20 }];
  const { alice, bob, say, im, db, clock } = await open(t, { app: { groupTypes } });
  const day = Math.floor(clock() / 86_400_000);
  await say(alice, bob, 'of that day');
  const isThere = async () => {
    await im.maintain();
    return (await db.pool.query(`select to_regclass('message_${day}') is not null as found`)).rows[0].found;
  };
  clock.advance(20 * 86_400);
  t.equal(await isThere(), true);
  clock.advance(2 * 86_400);
  t.equal(await isThere(), false);
});

t.test(
  '[M8] history over more days than are looked at together, without partitions of their own, has no hole',
  async (t) => {
    const clock = createStoppedClock(noonMs);
    const { alice, bob, say, texts, im } = await open(t, { app: { roamingDays: 60 }, deps: { clock } });
    const days = Array.from({ length: 40 }, (_, i) => `${i}`);
    for (const day of days) {
      await say(alice, bob, day);
      clock.advance(86_400);
    }
    t.strictSame(await texts(bob, alice), days);
    const { messages, complete } = await im.mailbox.history(bob, alice, { limit: 17 });
    t.strictSame([messages.length, complete], [17, false]);
    const older = await im.mailbox.history(bob, alice, { limit: 23, before: 24 });
    t.strictSame([older.messages.length, older.complete], [23, true]);
  },
);

t.test('[M5] offline messages come in the order in which they were sent, whoever sent them', async (t) => {
  const { alice, bob, say, offline, im, clock } = await open(t);
  const carol = await im.accounts.ensure(imAppId, `carol-${serial}` as AccountId);
  for (const [i, from] of [alice, carol, alice, carol].entries()) {
    await say(from, bob, `${i}`);
    clock.advance(1);
  }
  t.strictSame(await offline(bob), ['0', '1', '2', '3']);
});

t.test('[M10] what is kept from an account stays so when the conversation goes on', async (t) => {
  const { alice, bob, say, offline, texts, im } = await open(t);
  await say(alice, bob, 'seen');
  await say(alice, bob, 'hidden', { visibility: 'sender' });
  await say(alice, bob, 'seen, too');
  t.strictSame(await offline(bob), ['seen', 'seen, too']);
  t.strictSame(await texts(bob, alice), ['seen', 'seen, too']);
  const { messages } = await im.mailbox.sync(bob, alice, { since: 0, recallNo: 0, limit: 10 });
  t.strictSame(
    messages.map(({ seq }) => seq),
    [1, 3],
  );
  t.equal(await im.mailbox.unreadTotal(bob), 2);
});
