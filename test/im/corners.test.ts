import t, { type Test } from 'tap';
import type { Account } from '../../src/im/index.ts';
import type { Draft, LinkEvent, SendInput } from '../../src/im/services.ts';
import type { AccountId } from '../../src/wire/index.ts';
import { openTestDatabase } from '../support/database.ts';
import { imAppId, openIm, type TestIm, type TestImOptions } from '../support/im.ts';

/** Rules of one-to-one messages where things meet: clocks, sides, and what comes in between. */

const database = await openTestDatabase(t);
let serial = 0;

interface World extends TestIm {
  alice: Account;
  bob: Account;
  /** What the bus carried so far. */
  told: { to: Account; event: LinkEvent }[];
  say(from: Account, to: Account, text: string, draft?: Partial<Draft>): Promise<number>;
  texts(account: Account, peer: Account): Promise<string[]>;
  offline(account: Account): Promise<string[]>;
}

const textOf = (body: string): string => JSON.parse(body)[0]?.MsgContent.Text ?? 'recalled';
const textBody = (text: string) => [{ MsgType: 'TIMTextElem', MsgContent: { Text: text } }];

function input(from: Account, to: Account, draft: Partial<Draft>): SendInput {
  return {
    from,
    to,
    draft: {
      body: textBody('hello'),
      random: Math.floor(Math.random() * 4_294_967_296),
      lifetimeSec: 604_800,
      visibility: 'both',
      tellSender: true,
      counts: true,
      ...draft,
    },
    authority: 'administrator',
    deadline: AbortSignal.timeout(10_000),
  };
}

async function open(t: Test, settings: Omit<TestImOptions, 'database'> = {}): Promise<World> {
  const told: World['told'] = [];
  serial++;
  const service = await openIm(t, {
    database,
    ...settings,
    deps: {
      bus: {
        publish: (to, event) => void told.push({ to: to === alice.no ? alice : bob, event }),
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
  const query = db.pool.query.bind(db.pool);
  let isWaiting = true;
  const pool = Object.assign(Object.create(db.pool) as typeof db.pool, {
    async query(...values: Parameters<typeof query>) {
      const result = await (query as (...all: unknown[]) => Promise<unknown>)(...values);
      if (isWaiting && (values[0] as unknown as { name?: string }).name === 'im_read') {
        isWaiting = false;
        await say(alice, bob, 'new');
      }
      return result;
    },
  });
  const between = await openIm(t, { database: { db: { ...db, pool } } });
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
