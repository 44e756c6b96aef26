import t, { type Test } from 'tap';
import type { GroupSendInput } from '../../../src/im/group-services.ts';
import type { Group } from '../../../src/im/groups/model.ts';
import type { PacedMessage } from '../../../src/im/groups/pacer.ts';
import { createTurns } from '../../../src/im/groups/turns.ts';
import type { Account, AccountNo } from '../../../src/im/model.ts';
import type { GroupDecision, GroupQuestion, ImPorts } from '../../../src/im/ports.ts';
import { type AccountId, unpackCallbackNotes } from '../../../src/wire/index.ts';
import { openTestDatabase, until } from '../../support/database.ts';
import { actorOf, groupSend, openGroups, type TestGroups, type TestGroupsOptions } from '../../support/groups.ts';
import { imAppId } from '../../support/im.ts';
import { textBody } from '../../support/im-draft.ts';

// More than it needs, on a machine that does other things, too.
t.setTimeout(200_000);
const database = await openTestDatabase(t);
const service = await openGroups(t, database);
let serial = 0;

/** Accounts of a test's own. */
async function people(...names: string[]): Promise<Account[]> {
  serial++;
  return Promise.all(names.map((name) => service.account(`${name}-${serial}`)));
}

async function trio(): Promise<[Account, Account, Account]> {
  return (await people('alice', 'bob', 'carol')) as [Account, Account, Account];
}

async function sent(from: Account, group: Group, draft: Partial<GroupSendInput['draft']> = {}, of = service) {
  const result = await of.send(from, group, draft);
  if (!result.ok) throw new Error(`${result.error} ${result.reason ?? ''}`);
  return result.value;
}

interface StoredRow {
  seq: number;
  body: string;
  extra: string;
  counts: boolean;
  callbacks: number;
  push: string | null;
  custom_data: string | null;
}

async function stored({ conversationId }: Group): Promise<StoredRow[]> {
  const { rows } = await database.db.pool.query<StoredRow>(
    'select * from message where conversation_id = $1 order by seq',
    [conversationId],
  );
  return rows;
}

const textsOf = (rows: readonly StoredRow[]) =>
  rows.map(({ body }) => (JSON.parse(body) as ReturnType<typeof textBody>)[0]?.MsgContent.Text);

async function outboxOf({ conversationId }: Group) {
  const { rows } = await database.db.pool.query<{ event: string; seq: number | null; body: string | null }>(
    'select event, seq, body from outbox where drain_key = $1 and consumer = 1 order by id',
    [String(conversationId)],
  );
  return rows.map(({ body, ...row }) => ({ ...row, body: body === null ? null : (JSON.parse(body) as object) }));
}

/** A process whose backend is asked about every message. */
function asking(
  t: Test,
  ask: (question: GroupQuestion) => Promise<GroupDecision>,
  more: TestGroupsOptions = {},
): Promise<TestGroups> {
  const ports: ImPorts = { ...more.ports, beforeGroup: { wants: () => true, ask } };
  return openGroups(t, database, { ...more, ports });
}

t.test('[G34][M15] seqs have no gap and no double, from several processes at once', async (t) => {
  const members = await people('a', 'b', 'c', 'd');
  const group = await service.group('Public', members);
  const other = await openGroups(t, database);
  const answers = await Promise.all(
    Array.from({ length: 400 }, (_, index) =>
      sent(members[index % 4] as Account, group, {}, index % 2 === 0 ? service : other),
    ),
  );
  const seqs = answers.map(({ seq }) => seq).sort((a, b) => a - b);
  t.strictSame(
    seqs,
    seqs.map((_, index) => index + 1),
  );
  t.ok(answers.every(({ seq, prev }) => prev === seq - 1));
  t.equal((await stored(group)).length, 400);
  const [alone, next] = [await sent(members[0] as Account, group), await sent(members[1] as Account, group)];
  t.strictSame([alone.seq, next.seq], [401, 402]);
  t.ok(next.time >= alone.time);
});

t.test('[M13] a repeat within 300 s is the same message, on any process', async (t) => {
  const [alice, bob] = await trio();
  const moved = await openGroups(t, database);
  const group = await service.group('Public', [alice, bob]);
  const first = await sent(alice, group, { random: 7 });
  const again = await sent(alice, group, { random: 7, body: textBody('another text') }, moved);
  t.match(again, { seq: first.seq, time: first.time, random: 7, isRepeat: true });
  t.equal((await sent(bob, group, { random: 7 })).isRepeat, false, 'the sender is part of it');
  t.equal(
    (await sent(alice, await service.group('Public', [alice]), { random: 7 })).isRepeat,
    false,
    'so is the group',
  );
  const named = await sent(alice, group, { random: 8, clientId: 'one' });
  moved.clock.advance(298);
  t.equal((await sent(alice, group, { random: 7 }, moved)).seq, first.seq);
  moved.clock.advance(4);
  t.equal((await sent(alice, group, { random: 7 }, moved)).isRepeat, false);
  t.equal((await sent(alice, group, { random: 9, clientId: 'one' }, moved)).seq, named.seq, '24 h by client id');
  t.strictSame(textsOf(await stored(group)), ['hello', 'hello', 'hello', 'hello']);
});

t.test('[M13] many at once are one, and asked about once', async (t) => {
  const [alice] = await trio();
  const group = await service.group('Public', [alice]);
  let asked = 0;
  const one = await asking(t, async () => {
    asked++;
    return { kind: 'allow', outcome: 'allowed' };
  });
  for (let round = 1; round <= 10; round++) {
    const answers = await Promise.all(Array.from({ length: 8 }, () => sent(alice, group, { random: round }, one)));
    t.equal(new Set(answers.map(({ seq }) => seq)).size, 1);
    t.equal(answers.filter(({ isRepeat }) => !isRepeat).length, 1);
    t.equal(asked, round);
  }
  t.equal((await sent(alice, group, { random: 1 }, one)).isRepeat, true);
  t.equal(asked, 10, 'nor is one that comes later');
});

t.test('[G22] members send; the administrator does without being one, and in any name', async (t) => {
  const [alice, bob, carol] = await trio();
  const group = await service.group('Public', [alice, bob]);
  t.match(await service.send(carol, group), { ok: false, error: 'GROUP_FORBIDDEN' });
  t.match(await service.send(alice, { ...group, groupId: 'nowhere' }), { ok: false, error: 'GROUP_UNKNOWN' });
  const admin = await service.account('admin');
  const actor = actorOf(admin, { authority: 'administrator' });
  for (const from of [admin, carol]) {
    t.match(await service.messages.send(groupSend(from, group, {}, { actor })), { ok: true });
  }
  const broadcast = await service.group('BChatRoom', [bob], { owner: undefined as never });
  t.match(await service.send(bob, broadcast), { ok: false, error: 'GROUP_FORBIDDEN' });
  t.match(await service.messages.send(groupSend(bob, broadcast, {}, { actor })), { ok: true });
  await service.change(group, (change) => change.dismiss());
  t.match(await service.send(alice, group), { ok: false, error: 'GROUP_UNKNOWN' });
  t.equal((await stored(group)).length, 2);
});

t.test('[G27] who is muted does not speak, alone or with all; the administrator does', async (t) => {
  const [alice, bob, carol] = await trio();
  const group = await service.group('Public', [alice, bob, carol]);
  const nowSec = Math.floor(service.clock() / 1_000);
  await service.change(group, (change) => change.mute([bob.no], nowSec + 600));
  t.match(await service.send(bob, group), { ok: false, error: 'GROUP_MUTED' });
  t.match(await service.send(carol, group), { ok: true });
  const actor = actorOf(await service.account('admin'), { authority: 'administrator' });
  t.match(await service.messages.send(groupSend(bob, group, {}, { actor })), { ok: true });
  await service.change(group, (change) => change.mute([bob.no], nowSec - 1));
  t.match(await service.send(bob, group), { ok: true }, 'it is over');
  await service.change(group, (change) => change.setGroup({ isMuted: true }));
  t.match(await service.send(bob, group), { ok: false, error: 'GROUP_MUTED' });
  t.match(await service.send(alice, group), { ok: true }, 'the owner speaks');
});

t.test('[G22][G27] whoever is removed or muted while the backend is asked does not get it through', async (t) => {
  let meanwhile: () => Promise<unknown> = async () => {};
  let asked = 0;
  const one = await asking(t, async () => {
    asked++;
    await meanwhile();
    return { kind: 'allow', outcome: 'allowed' };
  });
  const other = await openGroups(t, database);
  const farSec = Math.floor(service.clock() / 1_000) + 600;
  const changes: [string, (group: Group, alice: Account, bob: Account, by: TestGroups) => Promise<void>, object][] = [
    ['removed', (group, _, bob, by) => by.change(group, (c) => c.leave([bob.no])), { error: 'GROUP_FORBIDDEN' }],
    ['muted', (group, _, bob, by) => by.change(group, (c) => c.mute([bob.no], farSec)), { error: 'GROUP_MUTED' }],
    [
      'all muted',
      (group, _, __, by) => by.change(group, (c) => c.setGroup({ isMuted: true })),
      { error: 'GROUP_MUTED' },
    ],
    ['dismissed', (group, _, __, by) => by.change(group, (c) => c.dismiss()), { error: 'GROUP_UNKNOWN' }],
    [
      'made anew under its id',
      async (group, alice, bob, by) => {
        await by.change(group, (c) => c.dismiss());
        await by.group('Public', [alice, bob], { groupId: group.groupId });
      },
      { error: 'GROUP_UNKNOWN' },
    ],
    [
      'somebody joins',
      async (group, _, __, by) => {
        const [dave] = await people('dave');
        await by.change(group, (c) => c.join([{ account: dave as Account }]));
      },
      { ok: true },
    ],
  ];
  for (const isOnlineOnly of [false, true]) {
    for (const [name, change, expected] of changes) {
      for (const by of [one, other]) {
        const where = `${name}, ${by === one ? 'here' : 'on another process'}${isOnlineOnly ? ', online-only' : ''}`;
        const [alice, bob] = await trio();
        const group = await service.group('Public', [alice, bob]);
        await sent(bob, group, {}, one);
        asked = 0;
        meanwhile = () => change(group, alice, bob, by);
        t.match(await one.send(bob, group, { isOnlineOnly }), expected, where);
        t.equal(asked, 1, 'the backend is not asked again');
        meanwhile = async () => {};
        const messages = (await stored(group)).filter(({ extra }) => extra !== '{"tip":true}');
        t.equal(messages.length, 'ok' in expected && !isOnlineOnly ? 2 : 1, where);
      }
    }
  }
});

t.test('[G27] a change here does not hide one that another process made before', async (t) => {
  const other = await openGroups(t, database);
  const farSec = Math.floor(service.clock() / 1_000) + 600;
  for (const change of [
    (group: Group, alice: Account) => service.change(group, (c) => c.mute([alice.no], farSec)),
    (group: Group, alice: Account) => service.change(group, (c) => c.setMember(alice.no, { nameCard: 'host' })),
    (group: Group) => service.change(group, (c) => c.setGroup({ notification: 'no coffee' })),
  ]) {
    const [alice, bob] = await trio();
    const group = await service.group('Public', [alice, bob]);
    await sent(bob, group);
    await other.change(group, (c) => c.mute([bob.no], farSec));
    await change(group, alice);
    t.match(await service.send(bob, group), { ok: false, error: 'GROUP_MUTED' });
  }
});

t.test(
  'a second process sends by what has changed on the first, with no news of it: card, options, who is there',
  async (t) => {
    const [alice, bob, carol] = await trio();
    const other = await openGroups(t, database);
    const group = await service.group('Public', [alice, bob]);
    await sent(bob, group, {}, other);
    await service.change(group, (c) => c.setMember(bob.no, { nameCard: 'Bob of tea' }));
    await service.change(group, (c) => c.setMember(alice.no, { msgFlag: 'Discard' }));
    other.told.length = 0;
    await sent(bob, group, {}, other);
    t.match(JSON.parse((await stored(group)).at(-1)?.extra ?? '{}'), { card: 'Bob of tea' }, '[G25]');
    t.strictSame(
      other.told.map(({ to }) => to),
      [bob.no],
      '[G26]',
    );
    t.match(await other.send(carol, group), { ok: false, error: 'GROUP_FORBIDDEN' });
    await service.change(group, (c) => c.join([{ account: carol }]));
    t.match(await other.send(carol, group), { ok: true }, '[G22] who has joined there is no stranger here');
    await service.change(group, (c) => c.setGroup({ isMuted: true }));
    t.match(await other.send(carol, group), { ok: false, error: 'GROUP_MUTED' });
    await service.change(group, (c) => c.setGroup({ isMuted: false }));
    t.match(await other.send(carol, group), { ok: true }, '[G27] nor is anybody muted who is not any more');
    await service.change(group, (c) => c.leave([carol.no]));
    other.told.length = 0;
    t.match(await other.send(carol, group, { isOnlineOnly: true }), { ok: false, error: 'GROUP_FORBIDDEN' });
    t.strictSame(other.told, []);

    const hidden = await service.group('Private', [alice, bob], { isHidden: true });
    t.match(await other.send(bob, hidden), { ok: false, error: 'GROUP_UNKNOWN' });
    await sent(alice, hidden);
    t.match(await other.send(bob, hidden), { ok: true });

    const gone = await service.group('Public', [alice, bob]);
    await sent(bob, gone, {}, other);
    await service.change(gone, (c) => c.dismiss());
    t.match(await other.send(bob, gone), { ok: false, error: 'GROUP_UNKNOWN' });
    t.equal(await other.rosters.get(imAppId, gone.groupId), undefined, 'forgotten: no backend is asked for it again');

    await sent(alice, group, {}, other);
    await service.change(group, (c) => c.dismiss());
    const again = await service.group('Public', [bob], { groupId: group.groupId });
    t.match(await other.rosters.current(imAppId, group.groupId), { group: { conversationId: again.conversationId } });
    t.match(await other.send(bob, again), { ok: true, value: { seq: 1 } });
    await service.change(again, (c) => c.dismiss());
    const third = await service.group('Public', [bob], { groupId: group.groupId });
    t.match(await other.send(bob, third), { ok: true, value: { seq: 1 } }, 'also where nothing has told of it');
  },
);

t.test('[G22] who joins while the group is being read for somebody else is no stranger', async (t) => {
  const [alice, bob, carol] = await trio();
  const group = await service.group('Public', [alice, bob]);
  const cold = await openGroups(t, database);
  // The first message has the members read; the change is committed in between, whichever comes first.
  await Promise.all([
    sent(alice, group, {}, cold),
    sent(bob, group, {}, cold),
    cold.change(group, (c) => c.join([{ account: carol }])),
  ]);
  t.match(await cold.send(carol, group), { ok: true });
});

t.test('what was read of a group before a change does not take the place of what is read after it', async (t) => {
  for (const by of ['get', 'current'] as const) {
    const [alice, bob] = await trio();
    const group = await service.group('Public', [alice, bob]);
    const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
    const done: string[] = [];
    const pool = new Proxy(database.db.pool, {
      get(target, key) {
        if (key !== 'query') return Reflect.get(target, key);
        return async (...given: Parameters<typeof target.query>) => {
          const result = await target.query(...given);
          const { name } = given[0] as unknown as { name: string };
          done.push(name);
          // The answer to the first read of the members comes when the test lets it.
          if (name === 'im_group_members' && done.filter((one) => one === name).length === 1) {
            await answered;
          }
          return result;
        };
      },
    });
    const { rosters } = await openGroups(t, { db: Object.create(database.db, { pool: { value: pool } }) });
    const early = rosters[by](imAppId, group.groupId);
    await until(() => done.includes('im_group_members'));
    await service.change(group, (c) => c.leave([bob.no]));
    const late = rosters.current(imAppId, group.groupId);
    // Of those that read by the same key the later one waits for the answer, too.
    if (by === 'get') await late;
    else await until(() => done.filter((name) => name === 'im_group_head').length === 2);
    answer();
    t.equal((await early)?.members.size, 2, by);
    t.equal((await late)?.members.size, 1, by);
    t.equal(rosters.peek(group.conversationId)?.members.size, 1, by);
  }
});

t.test('[G39] nobody is told live of what was said before he came, however late it is told', async (t) => {
  const [alice, bob, carol] = await trio();
  let answer = Promise.withResolvers<void>();
  const pool = new Proxy(database.db.pool, {
    get(target, key) {
      if (key !== 'query') return Reflect.get(target, key);
      return async (...given: Parameters<typeof target.query>) => {
        const result = await target.query(...given);
        // The answer to a commit comes when the test lets it.
        if (JSON.stringify(given).includes('im_commit')) await answer.promise;
        return result;
      };
    },
  });
  const late = await openGroups(t, { db: Object.create(database.db, { pool: { value: pool } }) });
  for (const type of ['Public', 'ChatRoom']) {
    answer = Promise.withResolvers<void>();
    const group = await late.group(type, [alice, bob]);
    const sending = sent(bob, group, {}, late);
    await until(async () => (await stored(group)).length > 0);
    await late.change(group, (c) => c.join([{ account: carol }]));
    t.equal((await late.rosters.get(imAppId, group.groupId))?.members.size, 3);
    late.told.length = 0;
    answer.resolve();
    const { seq } = await sending;
    t.strictSame(late.told.map(({ to }) => to).sort(), [alice.no, bob.no].sort(), `${type}: message ${seq}`);
    await sent(bob, group, {}, late);
    t.ok(
      late.told.some(({ to }) => to === carol.no),
      'but of what is said from then on',
    );
  }
});

t.test('those who rush into one group leave the connections to others', async (t) => {
  const [alice] = await trio();
  const group = await service.group('ChatRoom', [alice]);
  const waiting: number[] = [];
  await Promise.all(
    Array.from({ length: 60 }, (_, index) =>
      service.change(group, async (change) => {
        waiting.push(database.db.pool.waitingCount);
        if (index % 2 === 0) await change.setGroup({ name: `tea ${index}` });
      }),
    ),
  );
  t.equal(Math.max(...waiting), 0, 'nobody waits for one');
  t.match(
    await service.rosters.get(imAppId, group.groupId),
    { group: { name: 'tea 58' } },
    'in the order in which they came',
  );

  const turns = createTurns<string>({ maxWaiting: 2 });
  const order: string[] = [];
  const work = (name: string) => async () => {
    order.push(name);
    await Promise.resolve();
    if (name === 'b') throw new Error('b');
    return name;
  };
  const taken = ['a', 'b', 'c'].map((name) => turns.take('key', work(name)));
  t.equal(turns.take('key', work('d')), undefined);
  t.equal(turns.waiting, 3);
  const other = turns.take('another', work('e'));
  t.strictSame(
    (await Promise.allSettled([...taken, other])).map((one) => (one.status === 'fulfilled' ? one.value : 'failed')),
    ['a', 'failed', 'c', 'e'],
  );
  t.strictSame(order, ['a', 'e', 'b', 'c']);
  t.equal(turns.waiting, 0);
  t.equal(await turns.take('key', work('f')), 'f');
});

t.test('[G27] changes that are told of out of order leave who is muted as it is', async (t) => {
  const [alice, bob] = await trio();
  const farSec = Math.floor(service.clock() / 1_000) + 600;
  const group = await service.group('Public', [alice, bob]);
  await Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      service.change(group, (c) => c.mute([bob.no], index % 2 === 0 ? farSec : 0)),
    ),
  );
  const { rows } = await database.db.pool.query<{ until_sec: number }>(
    'select until_sec from group_mute where conversation_id = $1 and account_id = $2',
    [group.conversationId, bob.no],
  );
  const isMuted = (rows[0]?.until_sec ?? 0) > 0;
  t.match(await service.send(bob, group), isMuted ? { ok: false, error: 'GROUP_MUTED' } : { ok: true });
});

t.test('[K1][G31] the backend refuses, drops in silence, or rewrites; what it is asked', async (t) => {
  const [alice, bob] = await trio();
  const group = await service.group('Public', [alice, bob]);
  const questions: GroupQuestion[] = [];
  let decision: GroupDecision = { kind: 'refuse', code: 10_100, reason: 'not here' };
  const ports = { consumers: () => 1 };
  const one = await asking(
    t,
    async (question) => {
      questions.push(question);
      return decision;
    },
    { ports },
  );
  t.match(await one.send(bob, group, { random: 5 }), {
    ok: false,
    error: 'GROUP_REFUSED_BY_CALLBACK',
    code: 10_100,
    reason: 'not here',
  });
  t.match(questions, [
    {
      command: 'Group.CallbackBeforeSendMsg',
      fields: {
        GroupId: group.groupId,
        Type: 'Public',
        From_Account: bob.identifier,
        Operator_Account: bob.identifier,
        Random: 5,
        MsgBody: textBody('hello'),
        OnlineOnlyFlag: 0,
      },
      groupId: group.groupId,
      from: bob.identifier,
      origin: { platform: 'Android' },
    },
  ]);
  decision = { kind: 'drop' };
  t.match(await one.send(bob, group), { ok: true, value: { seq: 0, isRepeat: false } });
  t.strictSame([await stored(group), await outboxOf(group)], [[], []]);
  t.equal(one.told.length, 0);

  decision = { kind: 'allow', outcome: 'rewritten', body: textBody('rewritten') };
  t.match(await one.send(bob, group), { ok: true, value: { seq: 1 } });
  t.strictSame(textsOf(await stored(group)), ['rewritten']);
  t.match(one.told[0]?.event, { kind: 'group-message', message: { body: JSON.stringify(textBody('rewritten')) } });

  await one.words.add(imAppId, ['coffee']);
  decision = { kind: 'allow', outcome: 'rewritten', body: textBody('coffee at five') };
  t.match(await one.send(bob, group), { ok: false, error: 'DIRTY_WORD' }, '[D1] the final content is checked');
  decision = { kind: 'allow', outcome: 'rewritten', body: textBody('x'.repeat(9_000)) };
  t.match(await one.send(bob, group), { ok: false, error: 'MESSAGE_TOO_LONG' });
  decision = { kind: 'refuse', reason: 'no' };
  const refusal = await one.send(bob, group, { isOnlineOnly: true });
  t.match(refusal, { ok: false, error: 'GROUP_REFUSED_BY_CALLBACK' });
  t.equal('code' in refusal, false);
  t.match(questions.at(-1), { fields: { OnlineOnlyFlag: 1 } });
  const asked = questions.length;
  t.match(await one.messages.send(groupSend(bob, group, {}, { withoutBefore: 'forbidden' })), { ok: true });
  t.equal(questions.length, asked);
  t.strictSame(
    (await stored(group)).map(({ callbacks }) => unpackCallbackNotes(callbacks)),
    [
      { consumers: 1, before: 'rewritten', after: 'told' },
      { consumers: 1, before: 'unasked-forbidden', after: 'told' },
    ],
    '[O3] a message remembers',
  );
});

t.test('[K3] the backend is told of a stored message by its entry, with whoever sent it in a name', async (t) => {
  const [alice, bob] = await trio();
  const written: string[] = [];
  const one = await openGroups(t, database, {
    ports: { consumers: () => 1, written: (_, key, command) => void written.push(`${key} ${command}`) },
  });
  const group = await one.group('Public', [alice, bob]);
  await sent(bob, group, {}, one);
  const admin = await one.account('admin');
  const actor = actorOf(admin, { authority: 'administrator', origin: { platform: 'RESTAPI', address: '10.0.0.1' } });
  await one.messages.send(groupSend(bob, group, {}, { actor }));
  await one.messages.send(groupSend(bob, group, {}, { withoutAfter: 'forbidden' }));
  const event = 'Group.CallbackAfterSendMsg';
  t.strictSame(await outboxOf(group), [
    { event, seq: 1, body: { platform: 'Android', address: '' } },
    { event, seq: 2, body: { platform: 'RESTAPI', address: '10.0.0.1', operator: 'admin' } },
  ]);
  t.strictSame(written, Array(2).fill(`${group.conversationId} ${event}`));
});

t.test('[G25] a message carries its sender as it was when it was accepted', async (t) => {
  const [alice, bob, carol] = await trio();
  const one = await openGroups(t, database, {
    app: {
      profileFields: [{ keyword: 'Level', type: 'string' }],
      groupFields: [{ key: 'Topic' }],
      groupMemberFields: [{ key: 'Rank' }],
      groupSenderFields: { account: ['Level'], group: ['Topic'], member: ['Rank'] },
    },
  });
  const group = await one.group('Public', [alice, bob], { custom: { Topic: 'tea' } });
  await one.profiles.set(bob, { nick: 'Bob', faceUrl: 'https://example.com/b' }, 'self');
  await one.profiles.set(bob, { Level: '3' }, 'administrator');
  await one.change(group, (change) => change.setMember(bob.no, { nameCard: 'keeper', custom: { Rank: 'high' } }));
  await sent(bob, group, { priority: 'High' }, one);
  await one.profiles.set(bob, { nick: 'Robert' }, 'self');
  await sent(bob, group, {}, one);
  await sent(alice, group, {}, one);
  const actor = actorOf(await one.account('admin'), { authority: 'administrator' });
  await one.messages.send(groupSend(carol, group, { priority: 'Lowest' }, { actor }));
  const custom = { account: { Level: '3' }, group: { Topic: 'tea' }, member: { Rank: 'high' } };
  const bobs = { faceUrl: 'https://example.com/b', card: 'keeper', custom };
  const extras = (await stored(group)).map(({ extra }) => JSON.parse(extra) as object);
  t.strictSame(extras, [
    { priority: 'High', nick: 'Bob', ...bobs },
    { priority: 'Normal', nick: 'Robert', ...bobs },
    { priority: 'Normal', custom: { group: { Topic: 'tea' } } },
    { priority: 'Lowest', custom: { group: { Topic: 'tea' } } },
  ]);
});

t.test('[G26] members are told, the sender on its other terminals, and not who discards', async (t) => {
  const [alice, bob, carol] = await trio();
  const group = await service.group('Public', [alice, bob, carol]);
  await service.change(group, (change) => change.setMember(carol.no, { msgFlag: 'Discard' }));
  service.told.length = 0;
  const actor = actorOf(bob, { linkId: 'link of bob' });
  const draft = { push: { Desc: 'tea' }, custom: 'data', clientId: 'mine', random: 5 };
  t.match(await service.messages.send(groupSend(bob, group, draft, { actor })), { ok: true });
  t.strictSame(
    service.told.map(({ to, exceptLink }) => `${to} ${exceptLink}`).sort(),
    [alice, bob].map(({ no }) => `${no} link of bob`).sort(),
  );
  t.equal(service.told[0]?.event, service.told[1]?.event, 'it is made once');
  t.match(service.told[0]?.event, {
    kind: 'group-message',
    groupId: group.groupId,
    uncounted: undefined,
    message: {
      seq: 1,
      from: bob.identifier,
      random: 5,
      body: JSON.stringify(textBody('hello')),
      push: '{"Desc":"tea"}',
      custom: 'data',
      clientId: 'mine',
      extra: '{"priority":"Normal"}',
      recalled: false,
    },
  });
  const room = await service.group('ChatRoom', [alice]);
  service.told.length = 0;
  await sent(alice, room);
  t.match(service.told, [{ to: alice.no, event: { uncounted: true } }]);
});

t.test('[G31] where the app wants that, the sender hears that a message was dropped', async (t) => {
  const [alice] = await trio();
  const one = await asking(t, async () => ({ kind: 'allow', outcome: 'allowed' }), {
    app: { groupTellsDropped: true },
    pacer: { admit: () => 'dropped' },
  });
  const group = await one.group('Public', [alice]);
  t.match(await one.send(alice, group, { random: 1 }), { ok: false, error: 'GROUP_RATE' });
  t.equal((await stored(group)).length, 0);
});

t.test('[G28][G30][G31] the rate limit hears who sends what; what it drops has seq 0 and leaves nothing', async (t) => {
  const [alice, bob, carol] = await trio();
  const paced: { group: number; limits: object; message: PacedMessage }[] = [];
  let verdict: 'go' | 'dropped' = 'go';
  let asked = 0;
  const one = await asking(
    t,
    async () => {
      asked++;
      return { kind: 'allow', outcome: 'allowed' };
    },
    {
      app: { groupRate: { perSec: 30, lowPerSec: 0 } },
      ports: { consumers: () => 1 },
      pacer: {
        admit(group, limits, message) {
          paced.push({ group, limits, message });
          return paced.length % 2 === 0 ? verdict : Promise.resolve(verdict);
        },
      },
    },
  );
  const group = await one.group('Public', [alice, bob, carol]);
  await one.change(group, (change) => change.setMember(carol.no, { role: 'Admin' }));
  const first = await sent(bob, group, { priority: 'Lowest', random: 1 }, one);
  await sent(alice, group, { priority: 'High' }, one);
  await sent(carol, group, { priority: 'Low' }, one);
  const actor = actorOf(await one.account('admin'), { authority: 'administrator' });
  await one.messages.send(groupSend(bob, group, {}, { actor }));
  t.strictSame(
    paced.map(({ message }) => message),
    [
      { priority: 'Lowest', isExempt: false, sender: bob.identifier },
      { priority: 'High', isExempt: true, sender: alice.identifier },
      { priority: 'Low', isExempt: true, sender: carol.identifier },
      { priority: 'Normal', isExempt: true, sender: bob.identifier },
    ],
  );
  t.strictSame(paced[0]?.limits, {
    perSec: 30,
    normalPerSec: 40,
    lowPerSec: Number.POSITIVE_INFINITY,
    lowestPerSec: 40,
  });
  t.ok(paced.every(({ group: no, limits }) => no === group.conversationId && limits === paced[0]?.limits));

  verdict = 'dropped';
  asked = 0;
  one.told.length = 0;
  for (const isOnlineOnly of [false, true]) {
    t.match(await one.send(bob, group, { isOnlineOnly }), { ok: true, value: { seq: 0, isRepeat: false } });
  }
  t.equal(asked, 2, 'the backend was asked before');
  t.equal((await stored(group)).length, 4);
  t.equal((await outboxOf(group)).length, 4, 'and is not told after');
  t.equal(one.told.length, 0);
  const again = groupSend(bob, group, { random: 1 }, { withoutBefore: 'forbidden' });
  t.match(
    await one.messages.send(again),
    { ok: true, value: { seq: first.seq, isRepeat: true } },
    'a repeat passed before',
  );
});

t.test('[M15] what waits for its turn is stored behind it, or not at all', async (t) => {
  const [alice] = await trio();
  const group = await service.group('Public', [alice]);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const second = service.messages.send(groupSend(alice, group, { body: textBody('second') }, { turn: promise }));
  await sent(alice, group, { body: textBody('first') });
  resolve(true);
  t.match(await second, { ok: true, value: { seq: 2 } });
  const gone = groupSend(alice, group, {}, { turn: Promise.resolve(false) });
  t.match(await service.messages.send(gone), { ok: false, error: 'NOT_LOGGED_IN' });
  const late = groupSend(alice, group, {}, { turn: new Promise(() => {}), deadline: AbortSignal.timeout(20) });
  t.match(await service.messages.send(late), { ok: false, error: 'TIMED_OUT' });
  t.strictSame(textsOf(await stored(group)), ['first', 'second']);

  // Its turn comes when who sends has had his answer.
  const { promise: turn, resolve: pass } = Promise.withResolvers<boolean>();
  const ending = new AbortController();
  const both = [false, true].map((isOnlineOnly) =>
    service.messages.send(groupSend(alice, group, { isOnlineOnly }, { turn, deadline: ending.signal })),
  );
  ending.abort();
  for (const one of both) t.match(await one, { ok: false, error: 'TIMED_OUT' });
  service.told.length = 0;
  pass(true);
  for (const text of ['third', 'fourth', 'fifth']) await sent(alice, group, { body: textBody(text) });
  t.equal(service.told.length, 3, 'nobody is told of anything else');
  t.strictSame(textsOf(await stored(group)), ['first', 'second', 'third', 'fourth', 'fifth']);
});

t.test('online-only: handed to those who are there, stored nowhere, told to the backend', async (t) => {
  const [alice, bob] = await trio();
  const one = await openGroups(t, database, { ports: { consumers: () => 1 } });
  const group = await one.group('Public', [alice, bob]);
  one.told.length = 0;
  const answer = await sent(bob, group, { isOnlineOnly: true, random: 5, priority: 'High' }, one);
  t.match(answer, { seq: 0, random: 5, isRepeat: false });
  t.strictSame(one.told.map(({ to }) => to).sort(), [alice.no, bob.no].sort());
  const event = { kind: 'group-message', uncounted: true, message: { seq: 0, extra: '{"priority":"High"}' } };
  t.match(one.told, [{ event }, { event }]);
  t.strictSame(await stored(group), []);
  t.match(await outboxOf(group), [
    {
      event: 'Group.CallbackAfterSendMsg',
      seq: null,
      body: {
        fields: {
          GroupId: group.groupId,
          Type: 'Public',
          From_Account: bob.identifier,
          Operator_Account: bob.identifier,
          Random: 5,
          MsgSeq: 0,
          MsgTime: answer.time,
          MsgBody: textBody('hello'),
        },
        origin: { platform: 'Android' },
        before: 'none',
      },
    },
  ]);
  const live = await one.group('AVChatRoom', [alice]);
  t.match(await one.send(alice, live, { isOnlineOnly: true }), { ok: false, error: 'GROUP_FORBIDDEN' });
  t.match(await one.send(alice, live), { ok: true, value: { seq: 1 } });
});

t.test('a hidden group is there for its owner alone, until the owner has said something', async (t) => {
  const [alice, bob] = await trio();
  const other = await openGroups(t, database);
  const group = await service.group('Private', [alice, bob], { isHidden: true });
  t.match(await other.send(bob, group), { ok: false, error: 'GROUP_UNKNOWN' });
  const actor = actorOf(await service.account('admin'), { authority: 'administrator' });
  service.told.length = 0;
  t.match(await service.messages.send(groupSend(bob, group, {}, { actor })), { ok: true });
  t.strictSame(
    service.told.map(({ to }) => to),
    [alice.no],
  );
  service.told.length = 0;
  await sent(alice, group);
  t.strictSame(service.told.map(({ to }) => to).sort(), [alice.no, bob.no].sort());
  t.match(await service.rosters.get(imAppId, group.groupId), { group: { isHidden: false } });
  t.match(await service.send(bob, group), { ok: true });
  const quiet = await service.group('Private', [alice, bob], { isHidden: true });
  service.told.length = 0;
  t.match(await service.send(alice, quiet, { isOnlineOnly: true }), { ok: true });
  t.strictSame(service.told.map(({ to }) => to).sort(), [alice.no, bob.no].sort(), 'also by words that are not kept');
  t.match(await other.send(bob, quiet), { ok: true });
});

t.test('a sender who was deleted meanwhile; words and size without a backend; what is counted', async (t) => {
  const [alice, bob] = await trio();
  const group = await service.group('Public', [alice, bob]);
  await service.words.add(imAppId, ['coffee']);
  t.match(await service.send(bob, group, { body: textBody('coffee') }), { ok: false, error: 'DIRTY_WORD' });
  const long = textBody('x'.repeat(9_000));
  t.match(await service.send(bob, group, { body: long }), {
    ok: false,
    error: 'MESSAGE_TOO_LONG',
    field: 'body',
    allowed: 'at most 8000 bytes',
  });
  const one: TestGroups = await asking(t, async () => {
    await one.accounts.delete(imAppId, [bob.identifier]);
    return { kind: 'allow', outcome: 'allowed' };
  });
  t.match(await one.send(bob, group), { ok: false, error: 'SENDER_UNKNOWN' });
  t.strictSame(await stored(group), []);
  await sent(alice, group, { random: 1 }, service);
  await sent(alice, group, { random: 1 }, service);
  const metric = await service.metrics.registry.getSingleMetric('qalgate_im_group_messages_total')?.get();
  const counted = new Map(metric?.values.map(({ labels, value }) => [labels.outcome, value]));
  for (const outcome of ['stored', 'repeat', 'refused', 'timed-out']) t.ok((counted.get(outcome) ?? 0) > 0, outcome);
});

t.test(
  '[G7] 20,000 members are told that their group is gone, also where the planner knows of one inbox alone',
  async (t) => {
    const fresh = await openTestDatabase(t);
    const crowd = await openGroups(t, fresh);
    const names = Array.from({ length: 20_000 }, (_, index) => `crowd-${index}` as AccountId);
    await crowd.accounts.importMany(
      imAppId,
      names.map((identifier) => ({ identifier })),
    );
    const everybody = [...(await crowd.accounts.findMany(imAppId, names)).values()];
    const group = await crowd.group('AVChatRoom', everybody);
    await crowd.change(group, async (change) =>
      change.notice([everybody[0]?.no as AccountNo], { kind: 'created', operator: 'admin' }),
    );
    await fresh.db.pool.query('analyze');
    await crowd.change(group, async (change) => {
      change.notice(
        (await change.everybody()).map(({ no }) => no),
        { kind: 'destroyed', operator: 'admin' },
      );
      await change.dismiss();
    });
    const { rows } = await fresh.db.pool.query<{ count: number }>(
      `select count(distinct conversation_id) as count from message where body like '%"ReportType":5,%'`,
    );
    t.strictSame(rows, [{ count: 20_000 }]);
  },
);
