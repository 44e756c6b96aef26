import t, { type Test } from 'tap';
import type { Account, PendingMessage, SendDecision } from '../../src/im/index.ts';
import { createAsking } from '../../src/im/messages/asking.ts';
import type { Draft, LinkEvent } from '../../src/im/services.ts';
import { createMetrics } from '../../src/observe/index.ts';
import { type AccountId, unpackCallbackNotes } from '../../src/wire/index.ts';
import { openTestDatabase, until } from '../support/database.ts';
import { imAppId, openIm, type TestIm } from '../support/im.ts';
import { asks, sendInput, textBody } from '../support/im-draft.ts';

// More than it needs, on a machine that does other things, too.
t.setTimeout(240_000);
const database = await openTestDatabase(t);
const service = await openIm(t, { database });
let serial = 0;

/** Accounts of a test's own. */
async function accounts(...names: string[]): Promise<Account[]> {
  serial++;
  return Promise.all(names.map((name) => service.im.accounts.ensure(imAppId, `${name}-${serial}` as AccountId)));
}

async function pair(): Promise<[Account, Account]> {
  return (await accounts('alice', 'bob')) as [Account, Account];
}

async function send(from: Account, to: Account, draft: Partial<Draft> = {}, of: TestIm = service) {
  const sent = await of.im.messages.send(sendInput(from, to, draft));
  if (!sent.ok) throw new Error(`${sent.error} ${sent.reason ?? ''}`);
  return sent.value;
}

async function texts(account: Account, peer: Account): Promise<string[]> {
  const { messages } = await service.im.mailbox.history(account, peer, { limit: 100 });
  return messages.map(({ body }) => JSON.parse(body)[0]?.MsgContent.Text ?? 'recalled');
}

t.test('[M13] a repeated send is one message, on any process, and repeats the first answer', async (t) => {
  const [alice, bob] = await pair();
  const other = await openIm(t, { database });
  const first = await send(alice, bob, { random: 7 });
  const again = await send(alice, bob, { random: 7, body: textBody('another text') }, other);
  t.match(again, { seq: first.seq, time: first.time, msgSeq: first.msgSeq, random: 7, isRepeat: true });
  t.strictSame(await texts(bob, alice), ['hello'], 'content is no part of what makes it one');

  const numbered = await send(alice, bob, { random: 7, msgSeq: 1 });
  t.equal(numbered.isRepeat, false, 'a MsgSeq that was sent is part of it');
  t.equal((await send(alice, bob, { random: 7, msgSeq: 1 }, other)).seq, numbered.seq);
  t.equal((await send(alice, bob, { random: 7, msgSeq: 2 })).isRepeat, false);
  t.equal((await send(bob, alice, { random: 7 })).isRepeat, false, 'the sender is part of it');

  const [carol] = await accounts('carol');
  t.equal((await send(alice, carol as Account, { random: 7 })).isRepeat, false, 'the conversation is part of it');
});

t.test('[M13] many at once on two processes are one', async (t) => {
  const [alice, bob] = await pair();
  const other = await openIm(t, { database });
  for (let round = 0; round < 20; round++) {
    const random = 1_000 + round;
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, index) => send(alice, bob, { random }, index % 2 === 0 ? service : other)),
    );
    t.equal(new Set(answers.map(({ seq }) => seq)).size, 1);
    t.equal(new Set(answers.map(({ time, msgSeq }) => `${time}/${msgSeq}`)).size, 1);
    t.equal(answers.filter(({ isRepeat }) => !isRepeat).length, 1);
  }
  t.equal((await texts(bob, alice)).length, 20);
});

t.test('[M13] the window is 120 s by MsgRandom and 24 h by client id', async (t) => {
  const moved = await openIm(t, { database });
  const [alice, bob] = await pair();
  await send(alice, bob, { random: 1 }, moved);
  await send(alice, bob, { random: 2, clientId: 'one' }, moved);
  moved.clock.advance(118);
  t.equal((await send(alice, bob, { random: 1 }, moved)).isRepeat, true);
  moved.clock.advance(4);
  t.equal((await send(alice, bob, { random: 1 }, moved)).isRepeat, false);
  t.equal((await send(alice, bob, { random: 3, clientId: 'one' }, moved)).isRepeat, true);
  moved.clock.advance(86_300 - 122);
  t.equal((await send(alice, bob, { random: 4, clientId: 'one' }, moved)).isRepeat, true, 'also over midnight');
  moved.clock.advance(200);
  t.equal((await send(alice, bob, { random: 5, clientId: 'one' }, moved)).isRepeat, false);
});

t.test('[M12] a repeat is answered before the backend is asked again; what it says holds', async (t) => {
  const asked: string[] = [];
  let decision: SendDecision = { kind: 'allow', outcome: 'allowed' };
  const asking = await openIm(t, {
    database,
    deps: {
      ports: {
        beforeSend: asks(async ({ body }) => {
          asked.push(JSON.stringify(body));
          return decision;
        }),
      },
    },
  });
  const [alice, bob] = await pair();
  await send(alice, bob, { random: 1 }, asking);
  t.equal((await send(alice, bob, { random: 1 }, asking)).isRepeat, true);
  t.equal(asked.length, 1);

  decision = { kind: 'refuse', code: 120_001, reason: 'not today' };
  t.match(await asking.im.messages.send(sendInput(alice, bob)), { ok: false, error: 'REFUSED_BY_CALLBACK' });
  decision = { kind: 'allow', outcome: 'rewritten', body: textBody('rewritten') };
  await send(alice, bob, {}, asking);
  t.strictSame(await texts(bob, alice), ['hello', 'rewritten']);
});

t.test(
  '[M15] order is the seq; MsgTime never decreases; one process after the other keeps the order sent',
  async (t) => {
    const [alice, bob] = await pair();
    const behind = await openIm(t, {
      database,
      deps: { clock: Object.assign(() => Date.now() - 30_000, { advance() {} }) },
    });
    const first = await send(alice, bob);
    const second = await send(bob, alice, {}, behind);
    t.equal(second.seq, first.seq + 1);
    t.equal(second.time, first.time, 'a clock that is behind does not turn time back');

    const sent = await Promise.all(
      Array.from({ length: 300 }, (_, index) => send(alice, bob, { body: textBody(`${index}`) })),
    );
    t.strictSame(
      sent.map(({ seq }) => seq),
      sent.map((_, index) => second.seq + 1 + index),
    );
  },
);

t.test('[M16] ok comes after the commit: what was answered is there when the process is gone', async (t) => {
  const [alice, bob] = await pair();
  const brief = await openIm(t, { database });
  const sends = Array.from({ length: 200 }, () => send(alice, bob, {}, brief).catch(() => undefined));
  const some = await Promise.all(sends.slice(0, 50));
  await brief.close();
  const { messages } = await service.im.mailbox.sync(bob, alice, { since: 0, recallNo: 0, limit: 200 });
  const stored = new Set(messages.map(({ seq }) => seq));
  t.ok(some.every((sent) => sent === undefined || stored.has(sent.seq)));
});

t.test('[M17] SyncOtherMachine 2 keeps a message from its sender altogether', async (t) => {
  const [alice, bob] = await pair();
  const told: [number, LinkEvent][] = [];
  const spying = await openIm(t, {
    database,
    deps: {
      bus: {
        publish: (to, event) => void told.push([to, event]),
        publishMany: () => {},
        subscribe: () => () => {},
        onGap: () => () => {},
      },
    },
  });
  await send(alice, bob, { visibility: 'receiver', body: textBody('for bob') }, spying);
  t.strictSame(
    told.map(([to]) => to),
    [bob.no],
  );
  t.strictSame(await texts(alice, bob), []);
  t.strictSame(await texts(bob, alice), ['for bob']);
  t.strictSame(await service.im.mailbox.recents(alice), []);
  t.match(await service.im.mailbox.unreadTotal(bob), 1);

  told.length = 0;
  await send(alice, bob, { tellSender: false, body: textBody('quiet') }, spying);
  t.strictSame(
    told.map(([to]) => to),
    [bob.no],
    'without SyncOtherMachine the sender’s terminals are not told',
  );
  t.strictSame(await texts(alice, bob), ['quiet'], 'but it is in his roaming');
  told.length = 0;
  await send(alice, bob, { body: textBody('loud') }, spying);
  t.strictSame(
    told.map(([to]) => to),
    [bob.no, alice.no],
  );
  t.match(told[1]?.[1], { kind: 'message', prev: 2 }, 'prev says what the side saw before');
  t.match(told[0]?.[1], { kind: 'message', prev: 2 });
});

t.test('[M10] what relations hide is stored for its sender alone', async (t) => {
  const [alice, bob] = await pair();
  const hiding = await openIm(t, { database, deps: { ports: { relations: async () => 'sender-only' } } });
  await send(alice, bob, { body: textBody('into the void') }, hiding);
  t.strictSame(await texts(alice, bob), ['into the void']);
  t.strictSame(await texts(bob, alice), []);
  t.strictSame(await service.im.mailbox.recents(bob), []);
  t.strictSame(await service.im.mailbox.offline(bob), { messages: [] });
  t.equal(await service.im.mailbox.unreadTotal(bob), 0);
  t.equal(await service.im.mailbox.unreadTotal(alice), 0);
  const asAdministrator = sendInput(alice, bob, { body: textBody('by REST') }, { authority: 'administrator' });
  t.match(await hiding.im.messages.send(asAdministrator), { ok: true });
  t.strictSame(await texts(bob, alice), ['by REST'], '[M3] relations do not hold for the administrator');
});

t.test('[M16] an online-only message is handed on and not stored', async (t) => {
  const [alice, bob] = await pair();
  const sent = await send(alice, bob, { lifetimeSec: 0 });
  t.equal(sent.seq, 0);
  t.strictSame(await texts(bob, alice), []);
  t.strictSame(await service.im.mailbox.recents(bob), []);
});

t.test('[I3] imported messages keep their time and their order, and tell nobody', async (t) => {
  const [alice, bob] = await pair();
  const told: LinkEvent[] = [];
  const spying = await openIm(t, {
    database,
    deps: {
      bus: {
        publish: (_, event) => void told.push(event),
        publishMany: () => {},
        subscribe: () => () => {},
        onGap: () => () => {},
      },
      ports: {
        beforeSend: asks(async () => ({ kind: 'refuse', reason: 'never asked' })),
        consumers: () => 3,
      },
    },
  });
  const nowSec = Math.floor(service.clock() / 1_000);
  for (const [text, ago, counts] of [
    ['old', 86_400, false],
    ['newer', 3_600, true],
  ] as const) {
    const draft = { body: textBody(text), importedTime: nowSec - ago, counts };
    const sent = await spying.im.messages.send(sendInput(alice, bob, draft, { authority: 'administrator' }));
    t.match(sent, { ok: true, value: { time: nowSec - ago } });
  }
  t.strictSame(await texts(bob, alice), ['old', 'newer']);
  t.equal(await service.im.mailbox.unreadTotal(bob), 1, 'history does not count, a live import does');
  t.strictSame(told, []);
  const { rows } = await service.db.pool.query('select count(*) as count from outbox');
  t.equal(rows[0].count, 0);
});

interface Entry {
  consumer: number;
  drain_key: string;
  event: string;
  conversation_id: number | null;
  seq: number | null;
  body: string | null;
}

/** What the outbox has been given since the last look, and what callbacks were told of it. */
async function entries(): Promise<Entry[]> {
  const { rows } = await service.db.pool.query<Entry>(
    'delete from outbox returning id, consumer, drain_key, event, conversation_id, seq, body',
  );
  return rows.toSorted((a, b) => Number((a as { id?: number }).id) - Number((b as { id?: number }).id));
}

async function notesOf(seq: number, from: Account, to: Account) {
  const pair = [from.no, to.no].sort((a, b) => a - b);
  const { rows } = await service.db.pool.query<{ callbacks: number }>(
    `select callbacks from message m join conversation c on c.id = m.conversation_id
     where c.account_a = $1 and c.account_b = $2 and m.seq = $3`,
    [...pair, seq],
  );
  return unpackCallbackNotes(rows[0]?.callbacks ?? -1);
}

/** A service with an app's backend: what it was asked, what it says, who is told. */
async function withBackend(t: Test) {
  const backend = {
    asked: [] as PendingMessage[],
    decide: async (_: PendingMessage): Promise<SendDecision> => ({ kind: 'allow', outcome: 'allowed' }),
    wants: true,
    consumers: 1,
    written: [] as string[],
  };
  const asking = await openIm(t, {
    database,
    deps: {
      ports: {
        beforeSend: {
          wants: () => backend.wants,
          ask(message) {
            backend.asked.push(message);
            return backend.decide(message);
          },
        },
        consumers: () => backend.consumers,
        written: (_, drainKey, command) => void backend.written.push(`${drainKey} ${command}`),
      },
    },
  });
  await entries();
  return {
    backend,
    asking,
    submit: (...args: Parameters<typeof sendInput>) => asking.im.messages.send(sendInput(...args)),
  };
}

const afterSend = 'C2C.CallbackAfterSendMsg';

t.test('[M12] who asked for it gets a row in the outbox, in the transaction of the message', async (t) => {
  const [alice, bob] = await pair();
  const { backend, submit } = await withBackend(t);
  backend.consumers = 3;
  const origin = { platform: 'iOS', address: '2001:db8::1' } as const;
  t.match(await submit(alice, bob, { random: 1 }, { origin }), { ok: true, value: { seq: 1 } });
  const [forCallbacks, forPush, ...more] = await entries();
  t.match(forCallbacks, { consumer: 1, event: afterSend, seq: 1, body: JSON.stringify(origin) });
  t.match(forPush, { consumer: 2, event: afterSend, seq: 1, conversation_id: forCallbacks?.conversation_id });
  t.equal(forCallbacks?.drain_key, String(forCallbacks?.conversation_id));
  t.strictSame(more, []);
  t.strictSame(backend.written, [`${forCallbacks?.drain_key} ${afterSend}`], 'whoever sends it is told of it');

  t.match(await submit(alice, bob, { random: 1 }, { origin }), { ok: true, value: { isRepeat: true } });
  t.strictSame([await entries(), backend.written.length], [[], 1], '[M13] a repeat changes nothing');
  backend.consumers = 2;
  await submit(alice, bob);
  t.match(await entries(), [{ consumer: 2, body: null }], 'nothing of where it came from where nobody is told');
  t.equal(backend.written.length, 2, 'whoever pushes it is told of it');
});

t.test('[O3] a message remembers why its callbacks were made, and why not', async (t) => {
  const [alice, bob] = await pair();
  const { backend, submit } = await withBackend(t);
  const notes = async (draft: Partial<Draft> = {}, more: Parameters<typeof sendInput>[3] = {}) => {
    const sent = await submit(alice, bob, draft, more);
    return sent.ok ? await notesOf(sent.value.seq, alice, bob) : sent;
  };
  t.strictSame(await notes(), { consumers: 1, before: 'allowed', after: 'told' });
  for (const outcome of ['timeout', 'error', 'circuit-open', 'unasked-paused'] as const) {
    backend.decide = async () => ({ kind: 'allow', outcome });
    t.strictSame(await notes({ random: 77, clientId: outcome }), { consumers: 1, before: outcome, after: 'told' });
    backend.decide = async () => ({ kind: 'allow', outcome: 'allowed' });
    t.match(await notes({ random: 77, clientId: outcome }), { before: outcome }, '[M13] a repeat changes nothing');
  }
  backend.decide = async () => ({ kind: 'allow', outcome: 'rewritten', body: textBody('other') });
  t.match(await notes(), { before: 'rewritten' });
  backend.consumers = 3;
  backend.asked.length = 0;
  const forbidden = { withoutBefore: 'forbidden', withoutAfter: 'forbidden' } as const;
  t.strictSame(await notes({}, forbidden), { consumers: 2, before: 'unasked-forbidden', after: 'forbidden' });
  const batch = { withoutBefore: 'kind', withoutAfter: 'kind' } as const;
  t.strictSame(await notes({}, batch), { consumers: 2, before: 'unasked-kind', after: 'kind' }, '[B3]');
  const importedTime = Math.floor(service.clock() / 1_000) - 5;
  t.strictSame(await notes({ importedTime }), { consumers: 0, before: 'unasked-kind', after: 'kind' }, '[I3]');
  backend.wants = false;
  backend.consumers = 2;
  t.strictSame(await notes(), { consumers: 2, before: 'unasked-off', after: 'off' });
  t.strictSame(backend.asked, [], 'nobody was asked');
  const { seq } = await send(alice, bob);
  t.strictSame(await notesOf(seq, alice, bob), { consumers: 0, before: 'none', after: 'none' });
});

t.test('[K1] the backend is asked with all that there is to know, and its refusal is the answer', async (t) => {
  const [alice, bob] = await pair();
  const { backend, submit } = await withBackend(t);
  const origin = { platform: 'Web', address: '192.0.2.7' } as const;
  await submit(alice, bob, { random: 3, msgSeq: 4, custom: 'c', body: textBody('asked') }, { origin });
  t.match(backend.asked, [
    { from: alice, to: bob, body: textBody('asked'), msgSeq: 4, random: 3, custom: 'c', isOnlineOnly: false, origin },
  ]);
  t.ok(Math.abs((backend.asked[0]?.time ?? 0) - service.clock() / 1_000) < 20);
  await submit(alice, bob, { lifetimeSec: 0 });
  t.match(backend.asked[1], { isOnlineOnly: true, custom: undefined });
  await entries();
  for (const lifetimeSec of [604_800, 0]) {
    backend.decide = async () => ({ kind: 'refuse', code: 120_017, reason: 'mind the gap' });
    t.strictSame(await submit(alice, bob, { lifetimeSec }), {
      ok: false,
      error: 'REFUSED_BY_CALLBACK',
      code: 120_017,
      reason: 'mind the gap',
    });
    backend.decide = async () => ({ kind: 'refuse', reason: 'no' });
    t.strictSame(await submit(alice, bob, { lifetimeSec }), { ok: false, error: 'REFUSED_BY_CALLBACK', reason: 'no' });
  }
  t.strictSame(await entries(), [], 'it knows that already');
  t.strictSame(await texts(bob, alice), ['asked']);
});

t.test('[M13] of a message that is sent several times at once the backend is asked once', async (t) => {
  const [alice, bob] = await pair();
  const { backend, submit } = await withBackend(t);
  const answers: ((decision: SendDecision) => void)[] = [];
  backend.decide = () => new Promise((resolve) => answers.push(resolve));
  const several = (draft: Partial<Draft>) => [
    submit(alice, bob, { ...draft, body: textBody('first') }),
    submit(alice, bob, { ...draft, body: textBody('second'), counts: false }),
    submit(alice, bob, { ...draft, body: textBody('third') }, { authority: 'administrator' }),
  ];
  const sends = several({ random: 5 });
  await until(() => answers.length === 1);
  const late = submit(alice, bob, { random: 5, body: textBody('fourth') });
  const other = submit(alice, bob, { random: 6, body: textBody('other') });
  await until(() => answers.length === 2);
  answers[0]?.({ kind: 'allow', outcome: 'rewritten', body: textBody('clean') });
  const results = await Promise.all([...sends, late]);
  const values = results.flatMap((result) => (result.ok ? [result.value] : []));
  t.equal(values.length, 4);
  t.equal(new Set(values.map(({ seq, time, msgSeq }) => `${seq} ${time} ${msgSeq}`)).size, 1, 'one answer');
  t.equal(values.filter(({ isRepeat }) => !isRepeat).length, 1);
  answers[1]?.({ kind: 'allow', outcome: 'allowed' });
  await other;
  t.strictSame(await texts(bob, alice), ['clean', 'other'], 'what was asked about, and nothing else');
  t.equal(await service.im.mailbox.unreadTotal(bob), 2, 'as the first one was sent');
  t.equal((await entries()).length, 2);

  const refused = several({ clientId: 'x' });
  await until(() => answers.length === 3);
  answers[2]?.({ kind: 'refuse', code: 120_001, reason: 'no' });
  for (const result of await Promise.all(refused)) t.match(result, { error: 'REFUSED_BY_CALLBACK', code: 120_001 });

  const online = several({ random: 8, lifetimeSec: 0 });
  await until(() => answers.length === 6);
  for (const answer of answers) answer({ kind: 'allow', outcome: 'allowed' });
  t.ok(
    (await Promise.all(online)).every(({ ok }) => ok),
    'what is not stored has no repeats',
  );

  backend.decide = async () => {
    throw new Error('a mistake of ours');
  };
  const failed = await Promise.allSettled(several({ random: 9 }));
  t.ok(failed.every(({ status }) => status === 'rejected'));
  backend.decide = async () => ({ kind: 'allow', outcome: 'allowed' });
  t.match(await submit(alice, bob, { random: 9 }), { ok: true, value: { isRepeat: false } }, 'nothing is left of it');
});

t.test(
  '[M12] the backend hears of what is not stored: online-only messages, and refusals behind its own word',
  async (t) => {
    const [alice, bob, carol] = (await accounts('alice', 'bob', 'carol')) as [Account, Account, Account];
    const { backend, asking, submit } = await withBackend(t);
    await asking.im.words.add(imAppId, ['cheap pills']);
    t.teardown(() => asking.im.words.remove(imAppId, ['cheap pills']));
    const origin = { platform: 'IPad', address: '192.0.2.9' } as const;
    const online = { lifetimeSec: 0, random: 1, msgSeq: 2, custom: 'c', body: textBody('now') };
    backend.consumers = 3;
    const sent = await submit(alice, bob, online, { origin });
    const time = sent.ok ? sent.value.time : 0;
    const drainKey = `p${alice.no}-${bob.no}`;
    const fields = {
      From_Account: alice.identifier,
      To_Account: bob.identifier,
      MsgSeq: 2,
      MsgRandom: 1,
      MsgTime: time,
      MsgKey: `2_1_${time}`,
      OnlineOnlyFlag: 1,
      MsgBody: textBody('now'),
      CloudCustomData: 'c',
      SendMsgResult: 0,
      ErrorInfo: '',
    };
    const [entry, ...more] = await entries();
    t.match(entry, { consumer: 1, drain_key: drainKey, event: afterSend, conversation_id: null, seq: null });
    t.strictSame(more, [], 'it is pushed to nobody');
    t.strictSame(JSON.parse(entry?.body ?? ''), { fields, origin, before: 'allowed' });
    t.strictSame(backend.written, [`${drainKey} ${afterSend}`]);

    await submit(alice, bob);
    const conversation = (await entries())[0]?.drain_key;
    backend.decide = async () => ({ kind: 'allow', outcome: 'rewritten', body: textBody('CHEAP pills') });
    const dirty = await submit(alice, bob, { random: 7 }, { origin });
    t.match(dirty, { ok: false, error: 'DIRTY_WORD' });
    const [refused, ...none] = await entries();
    t.equal(refused?.drain_key, conversation, 'in order with the messages of its conversation');
    t.match(JSON.parse(refused?.body ?? ''), {
      fields: { OnlineOnlyFlag: 0, MsgBody: textBody('CHEAP pills'), SendMsgResult: 80_001, ErrorInfo: /word/ },
      origin,
      before: 'rewritten',
    });
    t.notMatch(JSON.parse(refused?.body ?? '').fields.ErrorInfo, /pills/i);
    t.strictSame(none, []);
    t.strictSame(backend.written.at(-1), `${conversation} ${afterSend}`);

    const { length } = backend.written;
    backend.wants = false;
    const pills = { body: textBody('cheap pills') };
    t.match(await submit(alice, bob, pills, { withoutAfter: 'forbidden' }), { error: 'DIRTY_WORD' });
    t.match(await submit(alice, bob, pills, { withoutBefore: 'kind', withoutAfter: 'kind' }), { error: 'DIRTY_WORD' });
    backend.consumers = 2;
    t.match(await submit(alice, bob, pills), { error: 'DIRTY_WORD' });
    t.match(await submit(alice, bob, { lifetimeSec: 0 }), { ok: true });
    t.strictSame([await entries(), backend.written.length], [[], length], 'nobody wants it');
    backend.consumers = 1;
    t.match(await submit(carol, carol, pills), { error: 'DIRTY_WORD' });
    t.match(await entries(), [{ drain_key: `p${carol.no}-${carol.no}` }], 'nor is a before-callback needed for it');

    const other = await openIm(t, { database });
    await other.im.accounts.delete(imAppId, [bob.identifier]);
    t.match(await submit(alice, bob, { random: 11 }), { error: 'RECEIVER_UNKNOWN' });
    t.match(JSON.parse((await entries())[0]?.body ?? '').fields, { MsgRandom: 11, SendMsgResult: 90_012 });
  },
);

t.test('[M15] a message is asked about before its turn, and stored after it, unless it is too late', async (t) => {
  const [alice, bob] = await pair();
  const { backend, submit } = await withBackend(t);
  const { promise: turn, resolve } = Promise.withResolvers<boolean>();
  const waiting = submit(alice, bob, { body: textBody('second') }, { turn });
  const online = submit(alice, bob, { lifetimeSec: 0 }, { turn });
  const late = submit(alice, bob, { body: textBody('late') }, { turn, deadline: AbortSignal.timeout(50) });
  const lateOnline = submit(alice, bob, { lifetimeSec: 0 }, { turn, deadline: AbortSignal.timeout(50) });
  t.match([await late, await lateOnline], [{ error: 'TIMED_OUT' }, { error: 'TIMED_OUT' }]);
  await until(() => backend.asked.length === 4);
  t.match(await submit(alice, bob, { body: textBody('first') }), { ok: true });
  t.equal((await entries()).length, 1);
  resolve(true);
  t.match([await waiting, await online], [{ ok: true }, { ok: true }]);
  t.equal((await entries()).length, 2, 'what came too late is not handed on either');
  const gone = submit(alice, bob, { body: textBody('gone') }, { turn: Promise.resolve(false) });
  t.match(await gone, { ok: false, error: 'NOT_LOGGED_IN' }, 'its terminal was kicked');
  t.match(await submit(alice, bob, { body: textBody('third') }), { ok: true });
  t.strictSame(await texts(bob, alice), ['first', 'second', 'third']);
});

t.test('what is asked about is bounded, and forgotten when all have gone on', async (t) => {
  const metrics = createMetrics();
  const size = async () =>
    (await metrics.registry.getSingleMetric('qalgate_im_messages_asking')?.get())?.values[0]?.value;
  const asking = createAsking<number>({ metrics }, { max: 1 });
  let questions = 0;
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const;
  const once = (key: string, gate: Promise<void> = Promise.resolve()) =>
    asking.once(
      key,
      async () => ++questions,
      async (answer) => {
        await gate;
        return answer;
      },
    );
  const [first, second] = [once('a', gates[0].promise), once('a', gates[1].promise)];
  t.strictSame([await once('b'), await once('b')], [2, 3], 'beyond the bound each asks for itself');
  gates[0].resolve();
  t.equal(await first, 1);
  t.equal(await once('a'), 1, 'as long as somebody has not gone on nobody asks again');
  gates[1].resolve();
  t.equal(await second, 1);
  t.equal(await size(), 0);
  t.equal(await once('a'), 4);
  await t.rejects(
    asking.once(
      'a',
      () => Promise.reject(new Error('no')),
      async () => 0,
    ),
  );
  await t.rejects(
    asking.once(
      'a',
      async () => 1,
      () => Promise.reject(new Error('no')),
    ),
  );
  t.equal(await size(), 0);
});

t.test('a receiver that was deleted meanwhile gets nothing, whatever this process remembers', async (t) => {
  const [alice, bob] = await pair();
  const other = await openIm(t, { database });
  await send(alice, bob);
  await send(alice, bob, {}, other);
  await other.im.accounts.delete(imAppId, [bob.identifier]);
  t.match(await service.im.messages.send(sendInput(alice, bob)), { ok: false, error: 'RECEIVER_UNKNOWN' });
  const again = await service.im.accounts.ensure(imAppId, bob.identifier);
  t.not(again.no, bob.no);
  t.equal((await send(alice, again)).seq, 1, 'an account of the same name is another one');
  t.strictSame(await texts(again, alice), ['hello']);
  t.strictSame(
    (await service.im.mailbox.recents(alice)).map(({ peer, seq }) => [peer, seq]),
    [[bob.identifier, 1]],
    'the conversation with the deleted one is gone',
  );
});

t.test('of the first message of two accounts, too, one that is deleted while the backend is asked', async (t) => {
  const [alice, bob, carol] = (await accounts('alice', 'bob', 'carol')) as [Account, Account, Account];
  const { backend, asking, submit } = await withBackend(t);
  const { promise: answer, resolve } = Promise.withResolvers<SendDecision>();
  backend.decide = () => answer;
  const sends = [submit(alice, bob), submit(bob, alice), submit(carol, bob)];
  await until(() => backend.asked.length === 3);
  await asking.im.accounts.delete(imAppId, [bob.identifier]);
  resolve({ kind: 'allow', outcome: 'allowed' });
  t.match(await Promise.all(sends), [
    { error: 'RECEIVER_UNKNOWN' },
    { error: 'SENDER_UNKNOWN' },
    { error: 'RECEIVER_UNKNOWN' },
  ]);
  t.same(
    (await entries()).map(({ body }) => JSON.parse(body ?? '').fields.SendMsgResult).sort(),
    [20_003, 90_012, 90_012],
  );
  t.strictSame(await service.im.mailbox.recents(alice), []);
});

t.test('one message that the database refuses fails alone', async (t) => {
  const [alice, bob] = await pair();
  const results = await Promise.allSettled(
    Array.from({ length: 20 }, (_, index) =>
      service.im.messages.send(
        sendInput(alice, bob, {
          body: textBody(index === 7 ? 'NUL \0' : `m${index}`),
          custom: index === 7 ? '\0' : 'c',
        }),
      ),
    ),
  );
  t.strictSame(
    results.map(({ status }) => status),
    results.map((_, index) => (index === 7 ? 'rejected' : 'fulfilled')),
  );
  t.equal((await texts(bob, alice)).length, 19);
});

t.test('the deadline is the answer’s, whatever the database does', async (t) => {
  const [alice, bob] = await pair();
  await send(alice, bob);
  const blocker = await service.db.pool.connect();
  await blocker.query('begin');
  await blocker.query('select 1 from conversation where account_a = $1 for update', [Math.min(alice.no, bob.no)]);
  const sending = service.im.messages.send(
    sendInput(alice, bob, { random: 5 }, { deadline: AbortSignal.timeout(100) }),
  );
  t.match(await sending, { ok: false, error: 'TIMED_OUT' });
  await blocker.query('rollback');
  blocker.release();
  t.equal((await send(alice, bob, { random: 5 })).isRepeat, true, 'it was stored after all, and the repeat finds it');
});

t.test('recall: one’s own within the time, the administrator any; unread follows', async (t) => {
  const recalling = await openIm(t, { database, app: { recallSec: 60 } });
  const [alice, bob] = await pair();
  const first = await send(alice, bob, { body: textBody('one') }, recalling);
  const second = await send(alice, bob, { body: textBody('two') }, recalling);
  const recall = (account: Account, peer: Account, seq: number, by: 'self' | 'administrator') =>
    recalling.im.messages.recall({ account, peer, message: { seq }, by });
  t.match(await recall(bob, alice, first.seq, 'self'), { ok: false, error: 'FORBIDDEN' });
  t.match(await recall(alice, bob, 99, 'self'), { ok: false, error: 'MESSAGE_NOT_FOUND' });
  t.equal(await service.im.mailbox.unreadTotal(bob), 2);
  t.match(await recall(alice, bob, first.seq, 'self'), { ok: true, value: { seq: first.seq, recallNo: 1 } });
  t.match(await recall(alice, bob, first.seq, 'self'), { ok: false, error: 'ALREADY_RECALLED' });
  t.equal(await service.im.mailbox.unreadTotal(bob), 1, 'what was recalled is not unread');
  t.strictSame(await texts(bob, alice), ['recalled', 'two']);
  recalling.clock.advance(61);
  t.match(await recall(alice, bob, second.seq, 'self'), {
    ok: false,
    error: 'RECALL_TOO_LATE',
    allowed: 'within 60 seconds',
  });
  const byKey = await recalling.im.messages.recall({ account: alice, peer: bob, message: second, by: 'administrator' });
  t.match(byKey, { ok: true, value: { recallNo: 2 } });
  t.equal(await service.im.mailbox.unreadTotal(bob), 0);
  t.strictSame(await service.im.mailbox.offline(bob), { messages: [] }, 'nor is it delivered any more');
  t.match(await service.im.mailbox.sync(bob, alice, { since: 2, recallNo: 1, limit: 10 }), {
    recalled: [second.seq],
    recallNo: 2,
  });
});

t.test('[M11] a message says who sent it, and nothing of his profile: that is fetched', async (t) => {
  const [alice, bob] = await pair();
  await service.im.accounts.importMany(imAppId, [{ identifier: alice.identifier, nick: 'Alice in Chains' }]);
  const link = await service.link(bob.identifier);
  await send(alice, bob);
  const event = await link.event(({ on }) => on === 'message');
  t.equal(event.from, alice.identifier);
  t.notMatch(JSON.stringify(event), 'Alice in Chains');
  const { profiles } = await link.ok('profiles', { accounts: [alice.identifier], fields: ['nick'] });
  t.strictSame(profiles, [{ account: alice.identifier, fields: { nick: 'Alice in Chains' } }]);
});
