import t from 'tap';
import type { GroupPage, GroupSendInput } from '../../../src/im/group-services.ts';
import { createGroupSync } from '../../../src/im/groups/group-sync.ts';
import { groupTypeOf, groupTypes } from '../../../src/im/groups/group-types.ts';
import { newest } from '../../../src/im/groups/messages/history.ts';
import { createPlaces } from '../../../src/im/groups/messages/place.ts';
import type { Group, MsgFlag } from '../../../src/im/groups/model.ts';
import type { Account } from '../../../src/im/model.ts';
import type { AccountId, ImResult } from '../../../src/wire/index.ts';
import { openTestDatabase } from '../../support/database.ts';
import { actorOf, groupSend, openGroups, type TestGroups } from '../../support/groups.ts';
import { imAppId } from '../../support/im.ts';
import { textBody } from '../../support/im-draft.ts';

// More than it needs, on a machine that does other things, too.
t.setTimeout(240_000);
const database = await openTestDatabase(t);
const service = await openGroups(t, database);
const admin = actorOf(await service.account('admin'), {
  authority: 'administrator',
  origin: { platform: 'RESTAPI', address: '' },
});
let serial = 0;

async function trio(): Promise<[Account, Account, Account]> {
  serial++;
  const names = ['alice', 'bob', 'carol'];
  return (await Promise.all(names.map((name) => service.account(`${name}-${serial}`)))) as [Account, Account, Account];
}

function got<T>(result: ImResult<T>): T {
  if (!result.ok) throw new Error(`${result.error} ${result.reason ?? ''}`);
  return result.value;
}

/** Says that many things; gives the seq of the last. */
async function say(from: Account, group: Group, count = 1, of: TestGroups = service): Promise<number> {
  let seq = 0;
  for (let i = 0; i < count; i++) ({ seq } = got(await of.send(from, group)));
  return seq;
}

/** `5 4- 3r`: seqs, of holes with what they are. */
function shape({ messages }: GroupPage): string {
  return messages
    .map(({ seq, message, recalled }) => {
      if (message?.seq !== seq) return `${seq}?`;
      const hole = message.body === '[]' ? '-' : '';
      return `${seq}${recalled && message.recalled ? 'r' : hole}`;
    })
    .join(' ');
}

async function historyOf(
  account: Account | 'admin',
  group: Group,
  upTo?: number,
  limit = 20,
  of: TestGroups = service,
) {
  const actor = account === 'admin' ? admin : actorOf(account);
  const page = await of.messages.history(actor, group.groupId, { limit, ...(upTo === undefined ? {} : { upTo }) });
  return page.ok ? shape(page.value) : page.error;
}

/** By the counters, of what has not expired. */
async function unreadOf(account: Account, { conversationId }: Group): Promise<number> {
  const { rows } = await database.db.pool.query<{ unread: number }>(
    `select greatest(0, c.counted - m.read_counted - m.uncounted_after_read) as unread
     from member m join conversation c on c.id = m.conversation_id
     where m.account_id = $1 and c.id = $2 and m.to_seq is null`,
    [account.no, conversationId],
  );
  return rows[0]?.unread ?? -1;
}

t.test('the newest seqs of descending ranges', async (t) => {
  t.strictSame(newest([[1, 10]], undefined, 3), [[8, 10]]);
  t.strictSame(newest([[1, 10]], 5, 20), [[1, 5]]);
  t.strictSame(newest([[8, 9], [5, 4], [1, 3]], undefined, 4), [[8, 9], [2, 3]]); // biome-ignore format: as it reads
  t.strictSame(newest([[8, 9], [1, 3]], 6, 2), [[2, 3]]); // biome-ignore format: as it reads
  t.strictSame(newest([[1, 3]], 0, 2), []);
  t.strictSame(newest([], 5, 2), []);
});

t.test('[G37] history by seq, the newest first, each once, with holes for what is not there any more', async (t) => {
  const [alice, bob] = await trio();
  const group = await service.group('Public', [alice, bob]);
  await say(alice, group, 6);
  got(await service.messages.recall(admin, group.groupId, [3]));
  await say(bob, group);
  got(await service.messages.deleteBySender(admin, group.groupId, bob.identifier));
  await say(alice, group);
  t.equal(await historyOf('admin', group), '8 7- 6 5 4 3r 2 1');
  t.equal(await historyOf('admin', group, 4, 2), '4 3r');
  t.equal(await historyOf('admin', group, 100, 1), '8');
  t.equal(await historyOf('admin', group, 0), '');
  t.equal(await historyOf(bob, group, 2), '2 1');
  const page = got(await service.messages.history(admin, group.groupId, { upTo: 3, limit: 2 }));
  t.equal(page.complete, true);
  t.match(page.messages[0], {
    message: { from: alice.identifier, body: '[]', recalled: true, push: undefined, custom: undefined },
  });
  t.match(page.messages[1], {
    message: { from: alice.identifier, body: JSON.stringify(textBody('hello')), extra: '{"priority":"Normal"}' },
  });
  t.equal(await historyOf('admin', { ...group, groupId: 'nowhere' }), 'GROUP_UNKNOWN');
});

t.test('[G39] members read their stays, whoever has left nothing; ChatRoom shows all; REST reads all', async (t) => {
  const [alice, bob, carol] = await trio();
  const walk = async (type: string) => {
    const group = await service.group(type, [alice]);
    await say(alice, group, 2);
    await service.change(group, (change) => change.join([{ account: bob }]));
    await say(alice, group);
    await service.change(group, (change) => change.leave([bob.no]));
    t.equal(await historyOf(bob, group), 'GROUP_FORBIDDEN', 'after leaving');
    await say(alice, group, 2);
    await service.change(group, (change) => change.join([{ account: bob }]));
    await say(alice, group);
    return group;
  };
  const group = await walk('Public');
  t.equal(await historyOf('admin', group), '6 5 4 3 2 1');
  t.equal(await historyOf(bob, group), '6 3');
  t.equal(await historyOf(bob, group, 5), '3');
  t.equal(await historyOf(bob, group, 6, 1), '6');
  t.equal(await historyOf(carol, group), 'GROUP_FORBIDDEN');
  const room = await walk('ChatRoom');
  t.equal(await historyOf(bob, room), '6 5 4 3 2 1');
  await service.change(room, (change) => change.setMember(bob.no, { msgFlag: 'Discard' }));
  t.equal(await historyOf(bob, room, 2), '2 1', '[G26] explicit history is allowed');

  const hidden = await service.group('Private', [alice, bob], { isHidden: true });
  t.equal(await historyOf(bob, hidden), 'GROUP_UNKNOWN');
  t.equal(await historyOf(alice, hidden), '');
  const live = await service.group('AVChatRoom', [alice]);
  await say(alice, live);
  t.strictSame([await historyOf(alice, live), await historyOf('admin', live)], ['', ''], 'nothing is kept');
  await service.change(group, (change) => change.dismiss());
  t.equal(await historyOf('admin', group), 'GROUP_UNKNOWN');
});

t.test('[G23] history ends where roaming does, by type', async (t) => {
  const [alice] = await trio();
  const moved = await openGroups(t, database, {
    app: { groupTypes: [{ name: 'Brief', base: 'Public', roamingDays: 2 }] },
  });
  const [week, brief] = [await moved.group('Public', [alice]), await moved.group('Brief', [alice])];
  for (let day = 0; day < 4; day++) {
    for (const group of [week, brief]) await say(alice, group, 2, moved);
    moved.clock.advance(86_400);
  }
  moved.clock.advance(43_200);
  t.equal(await historyOf('admin', week, undefined, 20, moved), '8 7 6 5 4 3 2 1');
  t.equal(await historyOf('admin', brief, undefined, 20, moved), '8 7');
  t.equal(await historyOf('admin', brief, 7, 20, moved), '7');
  t.equal(await historyOf(alice, brief, 6, 20, moved), '');
  moved.clock.advance(3 * 86_400);
  t.equal(await historyOf(alice, week, undefined, 20, moved), '8 7 6 5 4 3');
  t.match(await moved.messages.recall(admin, week.groupId, [2, 3]), {
    ok: true,
    value: [
      { seq: 2, code: 10_031 },
      { seq: 3, code: 0 },
    ],
  });
});

t.test('a page holds at most so many bytes', async (t) => {
  const [alice] = await trio();
  const big = await openGroups(t, database, { app: { messageBytes: 24_576 } });
  const group = await big.group('Public', [alice]);
  for (let i = 0; i < 12; i++) got(await big.send(alice, group, { body: textBody('x'.repeat(24_000)) }));
  const page = got(await big.messages.history(admin, group.groupId, { limit: 20 }));
  t.equal(shape(page), '12 11 10 9 8 7 6 5 4 3');
  t.equal(page.complete, false);
});

t.test('recall: one’s own within the time, the administrator any; what cannot be says why', async (t) => {
  const [alice, bob, carol] = await trio();
  const moved = await openGroups(t, database);
  const group = await moved.group('Public', [alice, bob]);
  await moved.change(group, async (change) =>
    change.tip(alice, { kind: 'modifyInfo', operator: alice.identifier, changed: { name: 'Tea' } }),
  );
  await say(bob, group, 3, moved);
  moved.told.length = 0;
  const recall = async (actor: Parameters<TestGroups['messages']['recall']>[0], ...seqs: number[]) => {
    const result = await moved.messages.recall(actor, group.groupId, seqs);
    return result.ok ? result.value.map(({ seq, code }) => `${seq}:${code}`).join(' ') : result.error;
  };
  t.equal(await recall(actorOf(bob), 2, 2, 99, 0, 1), '2:0 2:10030 99:10030 0:10030 1:10032');
  t.equal(await recall(actorOf(alice), 3), '3:10007', 'the owner takes back his own');
  t.equal(await recall(actorOf(carol), 3), 'GROUP_FORBIDDEN');
  const recalled = { kind: 'group-recalled', groupId: group.groupId } as const;
  t.strictSame(
    moved.told.map(({ to, event }) => ({ to, event })).sort((a, b) => a.to - b.to),
    [alice, bob]
      .map(({ no }) => ({ to: no, event: { ...recalled, seqs: [2], recallNo: 1 } }))
      .sort((a, b) => a.to - b.to),
  );
  moved.clock.advance(121);
  t.equal(await recall(actorOf(bob), 3), '3:10031');
  moved.told.length = 0;
  t.equal(await recall(admin, 3, 4), '3:0 4:0');
  t.match(moved.told[0]?.event, { ...recalled, seqs: [3, 4], recallNo: 3 });
  const live = await moved.group('AVChatRoom', [alice]);
  t.match(await moved.messages.recall(admin, live.groupId, [1]), { ok: true, value: [{ seq: 1, code: 10_033 }] });
});

t.test(
  '[G36] what a sender said among the newest 1,000 is blanked: no longer unread, nor pushed; nobody is told',
  async (t) => {
    const [alice, bob, carol] = await trio();
    const pushing = await openGroups(t, database, { ports: { consumers: () => 3 } });
    const group = await pushing.group('Public', [alice, bob, carol]);
    await say(bob, group, 2, pushing);
    await Promise.all(Array.from({ length: 999 }, () => pushing.send(alice, group)));
    await say(bob, group, 1, pushing);
    got(await pushing.messages.recall(admin, group.groupId, [2]));
    got(await pushing.messages.read(actorOf(carol), group.groupId, 1_000));
    await pushing.change(group, async (change) =>
      change.tip(bob, { kind: 'join', operator: bob.identifier, members: [], memberCount: 3 }),
    );
    await say(bob, group, 2, pushing);
    pushing.told.length = 0;
    t.equal(await unreadOf(carol, group), 5);
    got(await pushing.messages.deleteBySender(admin, group.groupId, bob.identifier));
    t.equal(pushing.told.length, 0);
    t.equal(await historyOf('admin', group, 1_005, 5), '1005- 1004- 1003 1002- 1001');
    t.equal(await historyOf('admin', group, 2), '2r 1', 'what is further back stays');
    t.strictSame([await unreadOf(carol, group), await unreadOf(bob, group)], [2, 999], 'the tip and one of alice');
    const read = got(await pushing.messages.read(actorOf(carol), group.groupId, 1_001));
    t.strictSame(read, { readSeq: 1_001, unread: 1 }, 'also after a report in between');
    const { rows } = await database.db.pool.query<{ consumer: number; outcome: string | null }>(
      'select consumer, outcome from outbox where conversation_id = $1 and seq > 1001 and seq <> 1003 order by seq, consumer',
      [group.conversationId],
    );
    t.strictSame(
      rows.map(({ consumer, outcome }) => `${consumer} ${outcome}`),
      ['1 null', '2 dropped', '1 null', '2 dropped', '1 null', '2 dropped'],
      'pushes of it are cancelled, callbacks are not',
    );
    t.match(await pushing.messages.recall(admin, group.groupId, [1_004]), { value: [{ code: 10_030 }] });
    t.equal(await unreadOf(carol, group), 1);
    t.match(await pushing.messages.deleteBySender(admin, group.groupId, 'nobody' as AccountId), {
      ok: false,
      error: 'GROUP_ACCOUNT_UNKNOWN',
      field: 'Sender_Account',
    });
    t.match(await pushing.messages.deleteBySender(actorOf(alice), group.groupId, bob.identifier), {
      ok: false,
      error: 'GROUP_FORBIDDEN',
    });
    const live = await pushing.group('AVChatRoom', [alice]);
    t.match(await pushing.messages.deleteBySender(admin, live.groupId, alice.identifier), { ok: true });
  },
);

t.test('[G26] what came while a member discarded is not synced when it has left and comes back', async (t) => {
  const apps = { get: () => service.app };
  const typeOf = (_: number, type: string) => groupTypeOf(service.app, type) ?? groupTypes.Private;
  const { db, clock } = service;
  const sync = createGroupSync({ db, apps, typeOf, placeOf: createPlaces({ db, typeOf }), clock });
  for (const type of ['Public', 'ChatRoom'] as const) {
    const { showsEarlier } = groupTypes[type];
    const [alice, bob] = await trio();
    const group = await service.group(type, [alice, bob]);
    const seqsOf = async (since = 0) => {
      const { messages, holes } = got(await sync.sync(actorOf(bob), group.groupId, { since, recallNo: 0, limit: 100 }));
      return { seqs: messages.map(({ seq }) => seq), holes };
    };
    const lastOf = async () => (await sync.states(bob, { limit: 10 })).states[0]?.last?.seq;
    const set = (msgFlag: MsgFlag) => service.change(group, (change) => change.setMember(bob.no, { msgFlag }));
    await say(alice, group, 2);
    await set('Discard');
    await say(alice, group, 2);
    await service.change(group, (change) => change.leave([bob.no]));
    await service.change(group, (change) => change.join([{ account: bob }]));
    t.strictSame(await seqsOf(), { seqs: [], holes: [[1, 4]] }, `${type}: of before, nothing`);
    t.equal(await lastOf(), undefined, 'nor is any of it his newest');
    t.equal(await historyOf(bob, group), '4 3 2 1', 'explicit history is allowed');
    await say(alice, group, 1);
    t.strictSame(await seqsOf(), { seqs: [5], holes: [[1, 4]] });
    await service.change(group, (change) => change.leave([bob.no]));
    await say(alice, group, 1);
    await service.change(group, (change) => change.join([{ account: bob }]));
    await say(alice, group, 1);
    t.strictSame(
      await seqsOf(),
      showsEarlier ? { seqs: [5, 6, 7], holes: [[1, 4]] } : { seqs: [5, 7], holes: [[1, 4], [6, 6]] }, // biome-ignore format: as it reads
      'of stays without it, all',
    );
    t.equal(await lastOf(), 7);
  }
});

t.test('[G36] what was said by an account that is deleted goes, too, whoever has its name now', async (t) => {
  const [alice, bob, carol] = await trio();
  const group = await service.group('Public', [alice, bob, carol]);
  await say(bob, group, 2);
  await say(alice, group);
  await service.accounts.delete(imAppId, [bob.identifier]);
  t.equal(await unreadOf(carol, group), 3);
  got(await service.messages.deleteBySender(admin, group.groupId, bob.identifier));
  t.equal(await historyOf('admin', group), '3 2- 1-');
  t.equal(await unreadOf(carol, group), 1);
  got(await service.messages.deleteBySender(admin, group.groupId, bob.identifier));
  t.equal(await unreadOf(carol, group), 1, 'once');
  const next = await service.account(bob.identifier);
  t.not(next.no, bob.no);
  await service.change(group, (change) => change.join([{ account: next }]));
  await say(next, group);
  const third = await say(alice, group);
  got(await service.messages.read(actorOf(carol), group.groupId, third));
  await say(next, group, 2);
  await service.accounts.delete(imAppId, [bob.identifier]);
  const last = await service.account(bob.identifier);
  await service.change(group, (change) => change.join([{ account: last }]));
  await say(last, group);
  got(await service.messages.deleteBySender(admin, group.groupId, bob.identifier));
  t.equal(await historyOf('admin', group), '8- 7- 6- 5 4- 3 2- 1-');
  t.strictSame([await unreadOf(carol, group), await unreadOf(last, group)], [0, 0]);
  await service.accounts.delete(imAppId, [bob.identifier]);
  const silent = await service.group('Public', [alice]);
  await say(alice, silent);
  t.match(await service.messages.deleteBySender(admin, silent.groupId, bob.identifier), {
    error: 'GROUP_ACCOUNT_UNKNOWN',
    reason: /nothing of it is there/,
  });
  t.equal(await historyOf('admin', silent), '1');
});

t.test('[M14] unread: reads, own messages, and what is set, at most what there is', async (t) => {
  const [alice, bob, carol] = await trio();
  const group = await service.group('Public', [alice, bob]);
  await say(alice, group, 3);
  service.told.length = 0;
  const actor = actorOf(bob, { linkId: 'link' });
  t.strictSame(got(await service.messages.read(actor, group.groupId, 2)), { readSeq: 2, unread: 1 });
  const event = { kind: 'group-read', groupId: group.groupId };
  t.strictSame(service.told, [{ to: bob.no, event: { ...event, readSeq: 2, unread: 1 }, exceptLink: 'link' }]);
  t.strictSame(got(await service.messages.read(actor, group.groupId, 1)), { readSeq: 2, unread: 1 });
  t.equal(service.told.length, 1, 'it had read that');
  await say(bob, group);
  t.equal(await unreadOf(bob, group), 1, 'one’s own do not count');
  t.strictSame(got(await service.messages.read(actor, group.groupId, 99)), { readSeq: 4, unread: 0 });
  t.match(await service.messages.read(actorOf(carol), group.groupId, 1), { ok: false, error: 'GROUP_FORBIDDEN' });

  const set = (name: string, unread: number, of = group) =>
    service.messages.setUnread(admin, of.groupId, name as AccountId, unread);
  service.told.length = 0;
  got(await set(bob.identifier, 2));
  t.equal(await unreadOf(bob, group), 2);
  t.strictSame(service.told, [{ to: bob.no, event: { ...event, readSeq: 1, unread: 2 }, exceptLink: undefined }]);
  await say(alice, group);
  t.equal(await unreadOf(bob, group), 3);
  t.strictSame(got(await service.messages.read(actor, group.groupId, 3)), { readSeq: 3, unread: 1 });
  got(await set(bob.identifier, 1_000));
  t.equal(await unreadOf(bob, group), 4, 'there are no more');
  got(await set(bob.identifier, 0));
  t.equal(await unreadOf(bob, group), 0);
  t.match(await set('nobody', 1), { ok: false, error: 'GROUP_ACCOUNT_UNKNOWN', field: 'Member_Account' });
  t.match(await set(carol.identifier, 1), { ok: false, error: 'GROUP_FORBIDDEN', field: 'Member_Account' });
  t.match(await service.messages.setUnread(actor, group.groupId, bob.identifier, 1), { error: 'GROUP_FORBIDDEN' });
  t.match(await set(bob.identifier, 1, { ...group, groupId: 'nowhere' }), { ok: false, error: 'GROUP_UNKNOWN' });

  await service.change(group, (change) => change.setMember(bob.no, { msgFlag: 'Discard' }));
  await say(alice, group, 2);
  service.told.length = 0;
  t.strictSame(got(await service.messages.read(actor, group.groupId, 6)), { readSeq: 6, unread: 0 }, '[G26]');
  got(await set(bob.identifier, 2));
  t.match(
    service.told.map(({ event }) => event),
    [
      { readSeq: 6, unread: 0 },
      { readSeq: 5, unread: 0 },
    ],
    'who discards has none',
  );

  const room = await service.group('ChatRoom', [alice, bob]);
  await say(alice, room, 2);
  got(await set(bob.identifier, 2, room));
  t.equal(await unreadOf(bob, room), 0, 'rooms count nothing');
  t.strictSame(got(await service.messages.read(actor, room.groupId, 2)), { readSeq: 2, unread: 0 });
});

t.test('[M14] unread that has expired is none', async (t) => {
  const [alice, bob] = await trio();
  const moved = await openGroups(t, database);
  const group = await moved.group('Public', [alice, bob]);
  await say(alice, group, 2, moved);
  moved.clock.advance(6 * 86_400);
  await say(alice, group, 2, moved);
  got(await moved.messages.setUnread(admin, group.groupId, bob.identifier, 4));
  moved.clock.advance(2 * 86_400);
  t.strictSame(got(await moved.messages.read(actorOf(bob), group.groupId, 1)), { readSeq: 1, unread: 2 });
  got(await moved.messages.setUnread(admin, group.groupId, bob.identifier, 4));
  t.equal(await unreadOf(bob, group), 2);
});

t.test('[M14] unread is what counting says, whatever happens', async (t) => {
  let state = 20_261_127;
  const below = (limit: number) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % limit;
  };
  const [alice, bob, carol] = await trio();
  const accounts = [alice, bob, carol];
  const group = await service.group('Public', [alice, bob]);
  interface Message {
    seq: number;
    from: Account;
    isGone: boolean;
  }
  const messages: Message[] = [];
  const readSeqs = new Map([
    [alice, 0],
    [bob, 0],
  ]);
  const expected = (account: Account) =>
    messages.filter(({ seq, from, isGone }) => seq > (readSeqs.get(account) ?? 0) && from !== account && !isGone)
      .length;
  for (let step = 0; step < 400; step++) {
    const account = accounts[below(3)] as Account;
    const isMember = readSeqs.has(account);
    const last = messages.length;
    switch (below(8)) {
      case 0:
        if (!isMember || last === 0) break;
        got(await service.messages.read(actorOf(account), group.groupId, 1 + below(last)));
        break;
      case 1: {
        const message = messages[below(Math.max(last, 1))];
        if (message === undefined) break;
        got(await service.messages.recall(admin, group.groupId, [message.seq]));
        message.isGone = true;
        break;
      }
      case 2:
        if (below(4) > 0) break;
        got(await service.messages.deleteBySender(admin, group.groupId, account.identifier));
        for (const message of messages) if (message.from === account) message.isGone = true;
        break;
      case 3:
        if (!isMember) break;
        got(await service.messages.setUnread(admin, group.groupId, account.identifier, below(5)));
        break;
      case 4:
        if (account === alice) break;
        await service.change(group, (change) => (isMember ? change.leave([account.no]) : change.join([{ account }])));
        if (isMember) readSeqs.delete(account);
        else readSeqs.set(account, last);
        break;
      default:
        if (isMember) messages.push({ seq: await say(account, group), from: account, isGone: false });
    }
    const { rows } = await database.db.pool.query<{ account_id: number; read_seq: number }>(
      'select account_id, read_seq from member where conversation_id = $1 and to_seq is null',
      [group.conversationId],
    );
    // Where the position went is the other tests' matter; that it and the count agree is this one's.
    for (const { account_id, read_seq } of rows) {
      const who = accounts.find(({ no }) => no === account_id) as Account;
      readSeqs.set(who, read_seq);
      const unread = await unreadOf(who, group);
      if (unread !== expected(who)) t.equal(unread, expected(who), `step ${step}`);
    }
  }
  t.ok(messages.length > 50);
  t.ok(messages.some(({ isGone }) => isGone));
});

t.test('[I3] messages are imported with their times, and everybody has read them', async (t) => {
  const [alice, bob, carol] = await trio();
  const nowSec = Math.floor(service.clock() / 1_000);
  const importing = await openGroups(t, database, {
    ports: {
      consumers: () => 3,
      beforeGroup: {
        wants: () => true,
        ask: async () => {
          throw new Error('imports are not asked about');
        },
      },
    },
  });
  const group = await importing.group('Public', [alice, bob], { createdSec: nowSec - 1_000 });
  const message = (sec: number, text: string, random = sec, from = carol) => ({
    ...{ from, sec, random },
    body: textBody(text),
  });
  const first = [message(nowSec - 900, 'one'), message(nowSec - 900, 'two', 2), message(nowSec - 800, 'three')];
  await importing.words.add(imAppId, ['coffee']);
  importing.told.length = 0;
  const results = await importing.messages.importMany(admin, group.groupId, [
    message(nowSec - 1_000, 'before it was made'),
    ...first,
    message(nowSec - 850, 'out of order'),
    message(nowSec - 700, 'coffee'),
    message(nowSec - 600, 'x'.repeat(9_000)),
    message(nowSec + 100, 'tomorrow'),
    message(nowSec - 500, 'four', 4, alice),
  ]);
  t.strictSame(got(results), [
    { error: 10_004 },
    { seq: 1, sec: nowSec - 900 },
    { seq: 2, sec: nowSec - 900 },
    { seq: 3, sec: nowSec - 800 },
    { error: 10_004 },
    { error: 80_001 },
    { error: 10_020 },
    { error: 10_004 },
    { seq: 4, sec: nowSec - 500 },
  ]);
  t.strictSame(
    got(await importing.messages.importMany(admin, group.groupId, [...first, message(nowSec - 550, 'late')])),
    [{ seq: 1, sec: nowSec - 900 }, { seq: 2, sec: nowSec - 900 }, { seq: 3, sec: nowSec - 800 }, { error: 10_004 }],
    'again: the same ones; times ascend over calls',
  );
  t.equal(importing.told.length, 0);
  t.strictSame([await unreadOf(alice, group), await unreadOf(bob, group)], [0, 0]);
  got(await importing.messages.setUnread(admin, group.groupId, bob.identifier, 3));
  t.equal(await unreadOf(bob, group), 3);
  const { rows } = await database.db.pool.query('select from outbox where conversation_id = $1', [
    group.conversationId,
  ]);
  t.equal(rows.length, 0);
  t.equal(await historyOf('admin', group), '4 3 2 1');

  const [one] = first as [(typeof first)[0]];
  const live = await importing.group('AVChatRoom', [alice]);
  t.match(await importing.messages.importMany(admin, live.groupId, [one]), { ok: false, error: 'GROUP_FORBIDDEN' });
  const hidden = await importing.group('Private', [alice, bob], { createdSec: nowSec - 1_000, isHidden: true });
  const owners = message(nowSec - 900, 'of the owner', 9, alice);
  t.match(await importing.messages.importMany(admin, hidden.groupId, [owners]), { ok: true, value: [{ seq: 1 }] });
  t.equal(await historyOf(bob, hidden), 'GROUP_UNKNOWN', 'words of before do not show it');
  t.match(await importing.messages.importMany(actorOf(alice), group.groupId, [one]), { error: 'GROUP_FORBIDDEN' });
  t.match(await importing.messages.importMany(admin, 'nowhere', [one]), { error: 'GROUP_UNKNOWN' });
  t.match(await importing.messages.importMany(admin, group.groupId, Array(21).fill(one)), {
    ok: false,
    error: 'GROUP_PARAMETER',
    field: 'MsgList',
    allowed: 'at most 20',
  });
});

t.test('what an administrator sends in the name of a member counts as that member’s own', async (t) => {
  const [alice, bob, carol] = await trio();
  const group = await service.group('Public', [alice, bob]);
  const input: Partial<GroupSendInput> = { actor: admin };
  got(await service.messages.send(groupSend(bob, group, {}, input)));
  got(await service.messages.send(groupSend(carol, group, {}, input)));
  t.strictSame([await unreadOf(alice, group), await unreadOf(bob, group)], [2, 1]);
  const { rows } = await database.db.pool.query<{ account_id: number; last_sent_sec: number }>(
    'select account_id, last_sent_sec from member where conversation_id = $1 order by account_id',
    [group.conversationId],
  );
  const spoke = rows.filter(({ last_sent_sec }) => last_sent_sec > 0).map(({ account_id }) => account_id);
  t.strictSame(spoke, [bob.no], '[G10] when a member sent last');
});
