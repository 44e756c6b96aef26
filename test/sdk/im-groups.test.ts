import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import {
  createGroups,
  type GroupNotice,
  type Groups,
  type GroupsOptions,
  groupOf,
  type TipNotice,
  tipOf,
} from '../../src/sdk/im/groups/index.ts';
import {
  createImClient,
  type ImClientOptions,
  type ImMessage,
  type MessagePage,
  textOf,
} from '../../src/sdk/im/index.ts';
import { openTestDatabase } from '../support/database.ts';
import { openIm, type TestIm } from '../support/im.ts';
import { lasting, until, type WatchedClient, watchClient } from '../support/im-client.ts';

/** Groups of `ImClient` against the service itself: real links, a real database. */
t.setTimeout(240_000);
const database = await openTestDatabase(t);
const im: TestIm = await openIm(t, { database, app: { multiTerminal: 'all' } });
let names = 0;
/** Accounts that no other test knows. */
const fresh = (name: string): string => `${name}${++names}`;

interface Watched extends WatchedClient {
  readonly groups: Groups;
  readonly tips: TipNotice[];
  readonly notices: GroupNotice[];
  /** `added @TGS#1`, … */
  readonly changes: string[];
  /** Texts of group messages, in order. */
  readonly said: string[];
}

function watch(t: Test, options: Partial<ImClientOptions> & GroupsOptions = {}): Watched {
  const { maxMissed, ...rest } = options;
  const watched = watchClient(t, { url: im.url, platform: 'Web', random: Math.random, ...rest });
  const groups = createGroups(watched.client, maxMissed === undefined ? {} : { maxMissed });
  const [tips, notices, changes, said]: [TipNotice[], GroupNotice[], string[], string[]] = [[], [], [], []];
  groups.onTip((tip) => {
    tips.push(tip);
    watched.told.push(`tip ${tip.kind} ${tip.accounts.join(',')}`);
  });
  groups.onNotice((notice) => {
    notices.push(notice);
    watched.told.push(`notice ${notice.kind} ${notice.operator}`);
  });
  groups.onChange(({ group, kind }) => {
    changes.push(`${kind} ${group}`);
    watched.told.push(`${kind} ${group}`);
  });
  groups.onMessage((message) => said.push(textOf(message)));
  return { ...watched, groups, tips, notices, changes, said };
}

async function login(
  t: Test,
  account: string,
  options: Partial<ImClientOptions> & GroupsOptions = {},
): Promise<Watched> {
  const watched = watch(t, options);
  await watched.client.login(account, im.userSig(account));
  await watched.until('refresh');
  return watched;
}

/** A group of a type whose members are taken in without being asked; its owner has said `hello`. */
async function groupOfThese(owner: Watched, ...members: Watched[]): Promise<string> {
  const accounts = members.map(({ client }) => client.account ?? '');
  const group = await owner.groups.create({ type: 'Private', name: 'Tea club', members: accounts });
  await owner.groups.conversation(group).sendMessage('hello').done;
  await Promise.all(members.map((one) => until(() => one.said.includes('hello'))));
  return group;
}

const texts = ({ messages }: MessagePage): string[] => messages.map(textOf);
const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

/** Cuts the links of a client without a goodbye, and lets it connect again or not. */
function cuttable() {
  const sockets = new Set<WebSocket>();
  let isDown = false;
  return {
    WebSocket: class extends WebSocket {
      constructor(url: string) {
        super(isDown ? 'ws://127.0.0.1:9' : url);
        sockets.add(this);
      }
    } as unknown as NonNullable<ImClientOptions['WebSocket']>,
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

t.test('[G1][G5][G12][G13][G17][G27] a group from its beginning to its end, as each terminal is told', async (t) => {
  const [a, b, c] = [fresh('alice'), fresh('bob'), fresh('carol')];
  const [alice, other] = [await login(t, a), await login(t, a, { platform: 'Mac' })];
  const [bob, carol] = [await login(t, b), await login(t, c)];

  const group = await alice.groups.create({ type: 'Public', name: 'Tea club', introduction: 'at five' });
  t.match(group, /^@TGS#/, '[G2]');
  for (const one of [alice, other]) {
    await one.until(`notice created ${a}`);
    t.match(one.notices, [{ seq: 1, group, groupName: 'Tea club', operator: a }]);
    t.same(one.changes, [`added ${group}`]);
  }
  t.same(await alice.groups.invite(group, [b, c, a]), [
    { account: b, outcome: 'asked' },
    { account: c, outcome: 'asked' },
    { account: a, outcome: 'was-member' },
  ]);
  await Promise.all([bob.until(`notice invited ${a}`), carol.until(`notice invited ${a}`)]);
  await until(() => bob.groups.unreadNotices === 1);
  const request = bob.notices[0]?.request;
  t.match(request, { kind: 'invitation', group, key: String, auth: String });
  t.match(await bob.groups.requests(), { requests: [{ account: b, inviter: a, ...request }], isComplete: true });
  if (request === undefined) throw new Error('no request');
  await t.rejects(bob.groups.answer({ ...request, auth: 'x' }, { agrees: true }), { code: 'GROUP_PARAMETER' });
  await bob.groups.answer(request, { agrees: true });
  await carol.groups.answer({ ...request, ...carol.notices[0]?.request }, { agrees: false, words: 'no time' });
  for (const one of [alice, other, bob]) await one.until(`tip join ${b}`);
  t.match(alice.tips, [{ group, kind: 'join', accounts: [b], memberCount: 2, message: { seq: 1 } }]);
  t.ok(bob.changes.includes(`added ${group}`));
  t.ok(alice.changes.includes(`members ${group}`));

  const conversation = bob.groups.conversation(group);
  t.match(conversation, { id: `group:${group}`, type: 'group', peer: group });
  const sent = await conversation.sendMessage('hi', { priority: 'High', custom: 'c' }).done;
  t.match(sent, { status: 'sent', seq: 2 });
  for (const one of [alice, other]) {
    await one.until('new hi');
    t.match(one.messages.at(-1), {
      conversation: `group:${group}`,
      seq: 2,
      from: b,
      isSelf: false,
      custom: 'c',
      extra: { priority: 'High' },
    });
    t.same(one.said, ['hi'], 'tips are no messages that somebody wrote');
    t.equal(groupOf(one.messages.at(-1)?.conversation ?? ''), group);
  }
  t.same(bob.said, [], 'who sent it is told nothing new');
  t.same(
    (await alice.client.getConversations()).map(({ id }) => id),
    [`group:${group}`],
  );

  await alice.groups.mute(group, [b], 60);
  await bob.until(`tip modifyMember ${b}`);
  t.match(bob.tips.at(-1), { muted: [{ account: b, seconds: 60 }] });
  t.match(await alice.groups.muted(group), [{ account: b, until: Number }]);
  await t.rejects(conversation.sendMessage('mute').done, { code: 'GROUP_MUTED', number: 10_017, retryable: false });
  await alice.groups.modifyMember(group, { account: b, muteSec: 0, nameCard: 'Bobby', role: 'Admin' });
  await bob.until(`notice madeAdmin ${a}`);
  await conversation.sendMessage('again').done;
  await alice.until('new again');
  t.match(alice.messages.at(-1), { extra: { card: 'Bobby' } }, '[G25]');

  await alice.groups.modify(group, { name: 'Coffee', notification: 'no tea' });
  await bob.until(`profile ${group}`);
  t.match(bob.tips.at(-1), { kind: 'modifyInfo', operator: a, changed: { name: 'Coffee', notification: 'no tea' } });
  t.match(await bob.groups.get(group), {
    group,
    type: 'Public',
    name: 'Coffee',
    owner: a,
    memberCount: 2,
    muted: false,
  });
  t.match(await carol.groups.find(group), { name: 'Coffee', memberCount: 2 });
  await t.rejects(carol.groups.get(group), { code: 'GROUP_FORBIDDEN' });
  t.match(await bob.groups.list(), { total: 1, groups: [{ group, self: { account: b, role: 'Admin' } }] });
  t.match(await bob.groups.members(group, { roles: ['Admin'] }), {
    total: 2,
    members: [{ account: b, nameCard: 'Bobby' }],
  });

  t.equal(await carol.groups.apply(group, { words: 'please' }), 'waiting');
  await alice.until(`notice applied ${c}`);
  const application = alice.notices.at(-1);
  t.match(application, { words: 'please', request: { kind: 'application', group } });
  if (application?.request === undefined) throw new Error('no request');
  await alice.groups.answer(application.request, { agrees: true });
  await carol.until(`added ${group}`);
  await carol.groups.quit(group);
  await carol.until(`gone ${group}`);
  await bob.until(`tip quit ${c}`);

  await alice.groups.remove(group, [b], 'enough');
  await bob.until(`notice kicked ${a}`);
  t.match(bob.notices.at(-1), { group, words: 'enough' });
  t.ok(bob.changes.includes(`gone ${group}`));
  await t.rejects(conversation.sendMessage('x').done, { code: 'GROUP_FORBIDDEN' });
  t.same(
    (await conversation.getMessage()).messages.map(textOf).filter(Boolean),
    ['hi', 'again', 'mute', 'x'],
    'what is here stays',
  );
  await conversation.delete({ messages: true });
  t.same(await bob.client.getConversations(), []);
  await other.until(`tip kick ${b}`);
  await alice.groups.dismiss(group);
  for (const one of [alice, other]) await one.until(`gone ${group}`);
  t.match(await alice.groups.list(), { total: 0, groups: [] });
  for (const one of [alice, other, carol]) t.same(one.events, []);
});

t.test('[H4] cut at any moment: each message once, in the order of the group', async (t) => {
  const cuts = [cuttable(), cuttable(), cuttable()];
  const all: Watched[] = [];
  for (const { WebSocket } of cuts) all.push(await login(t, fresh('cut'), { WebSocket }));
  const [alice, bob, carol] = all as [Watched, Watched, Watched];
  const group = await groupOfThese(alice, bob, carol);
  const sent: Promise<unknown>[] = [];
  for (let i = 1; i <= 30; i += 1) {
    all.forEach((one, who) => {
      sent.push(one.groups.conversation(group).sendMessage(`${who}.${i}`).done);
      if ((i * (who + 1)) % 7 === 0) cuts[who]?.cut();
    });
    if (i % 5 === 0) await new Promise((resolve) => setTimeout(resolve, 3));
  }
  await Promise.all(sent);
  const heard = (one: Watched): string[] => one.said.filter((text) => text !== 'hello');
  await Promise.all(all.map((one) => until(() => heard(one).length >= 60)));
  const ofAll = texts(await alice.groups.conversation(group).getMessage({ count: 200 }));
  const spoken = ofAll.filter((text) => /^\d\.\d+$/.test(text));
  t.equal(spoken.length, 90);
  for (const [who, one] of all.entries()) {
    const others = spoken.filter((text) => !text.startsWith(`${who}.`));
    t.same(heard(one), others, 'others’, in order, each once');
    t.same(
      spoken.filter((text) => text.startsWith(`${who}.`)),
      numbers(1, 30).map((i) => `${who}.${i}`),
      '[M15] each one’s in the order of sending',
    );
    t.same(texts(await one.groups.conversation(group).getMessage({ count: 200 })), ofAll);
    t.same(one.messages.filter(({ seq }) => seq > 0).length, new Set(one.messages.map(({ seq }) => seq)).size);
  }
});

/** A WebSocket that loses, repeats and swaps events of messages and notices, by turns; `calm` ends it. */
function lossy() {
  let count = 0;
  let isCalm = false;
  type Event = { on?: string; conversation?: string };
  const spoil = (frames: Event[]): Event[] =>
    frames.flatMap((frame) => {
      if (isCalm || (frame.on !== 'message' && frame.on !== 'notice')) return frame;
      count += 1;
      if (count % 3 === 0) return [];
      return count % 4 === 0 ? [frame, frame] : frame;
    });
  return {
    calm() {
      isCalm = true;
    },
    WebSocket: class extends WebSocket {
      override set onmessage(handler: ((event: MessageEvent) => void) | null) {
        super.onmessage =
          handler &&
          ((event) => {
            const parsed: unknown = JSON.parse(String(event.data));
            const frames = spoil(Array.isArray(parsed) ? (parsed as Event[]) : [parsed as Event]);
            const data = JSON.stringify(isCalm ? frames : frames.toReversed());
            if (frames.length > 0) handler({ data } as MessageEvent);
          });
      }
    } as unknown as NonNullable<ImClientOptions['WebSocket']>,
  };
}

t.test('[H4] events that are lost, repeated or out of order: each message and notice once, in order', async (t) => {
  const network = lossy();
  const [a, b] = [fresh('alice'), fresh('bob')];
  const alice = await login(t, a);
  const bob = await login(t, b, { WebSocket: network.WebSocket });
  const group = await alice.groups.create({ type: 'Private', name: 'Tea club', members: [b] });
  const toAll = alice.groups.conversation(group);
  await toAll.sendMessage('0').done;
  await until(() => bob.messages.length > 0);
  for (const text of numbers(1, 60)) void toAll.sendMessage(text);
  await toAll.sendMessage('61').done;
  for (let i = 0; i < 7; i += 1) {
    const asked = await alice.groups.create({ type: 'Public', name: `Asked ${i}` });
    await alice.groups.invite(asked, [b]);
  }
  network.calm();
  await toAll.sendMessage('62').done;
  await alice.groups.remove(group, [b]);
  await bob.until(`gone ${group}`);
  await bob.until('new 62');
  t.same(bob.said.slice(bob.said.indexOf('1')), numbers(1, 62));
  t.same(
    bob.notices.map(({ seq }) => seq),
    [1, 2, 3, 4, 5, 6, 7, 8],
  );
  await until(() => bob.groups.unreadNotices === 8);
  t.same(bob.events, []);
});

t.test('[G35][M14] away and back: what was missed comes, unread and read positions agree', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  const alice = await login(t, a);
  const storage = lasting();
  const first = await login(t, b, { storage });
  const group = await groupOfThese(alice, first);
  const toAll = alice.groups.conversation(group);
  await first.client.close();
  for (const text of numbers(1, 150)) void toAll.sendMessage(text);
  await toAll.sendMessage('151').done;

  const second = await login(t, b, { storage });
  t.same(second.said, numbers(1, 151), 'all of it before the refresh');
  const conversation = second.groups.conversation(group);
  t.equal(conversation.unread, 152);
  const phone = await login(t, b, { platform: 'iOS' });
  t.same(phone.said, [], 'a terminal that is new to it begins at the end');
  t.equal(phone.groups.conversation(group).unread, 152);
  t.same(
    (await phone.client.getConversations()).map(({ last }) => last && textOf(last)),
    ['151'],
  );
  t.same(texts(await phone.groups.conversation(group).getMessage({ count: 3 })), numbers(149, 151));
  await conversation.setReadMessage();
  await phone.until(`read group:${group} ${conversation.readSeq} self`);
  t.equal(phone.groups.conversation(group).unread, 0);
  await second.client.close();

  for (const text of numbers(152, 170)) void toAll.sendMessage(text);
  await toAll.sendMessage('171').done;
  await until(() => phone.said.includes('171'));
  t.same(phone.said, numbers(152, 171));
  const third = await login(t, b, { storage, maxMissed: 19 });
  t.same(third.said, [], 'more than it wanted to hear of');
  t.equal(third.groups.conversation(group).unread, 20);
  t.same(texts(await third.groups.conversation(group).getMessage({ count: 25 })), numbers(147, 171), 'without a gap');
  await toAll.sendMessage('172').done;
  await third.until('new 172');
  t.equal(third.groups.conversation(group).unread, 21);
  await third.client.close();
  await toAll.sendMessage('173').done;
  const fourth = await login(t, b, { storage, maxMissed: 1 });
  t.same(fourth.said, ['173'], 'nothing twice after a restart, and as much as it wanted');
  for (const one of [alice, first, second, phone, third, fourth]) t.same(one.events, []);
});

t.test(
  '[G35] what happened while the link was lost: messages, recalls, groups that came and went, notices',
  async (t) => {
    const [a, b] = [fresh('alice'), fresh('bob')];
    const alice = await login(t, a);
    const network = cuttable();
    const bob = await login(t, b, { WebSocket: network.WebSocket });
    const [stays, goes] = [await groupOfThese(alice, bob), await groupOfThese(alice, bob)];
    const conversation = alice.groups.conversation(stays);
    const taken = await conversation.sendMessage('taken back').done;
    await bob.until('new taken back');
    network.cut(true);
    await bob.until('disconnected');
    for (const text of numbers(1, 3)) await conversation.sendMessage(text).done;
    await conversation.recall(taken);
    await alice.groups.remove(goes, [b]);
    const comes = await alice.groups.create({ type: 'Private', name: 'New', members: [b] });
    await alice.groups.conversation(comes).sendMessage('welcome').done;
    const asked = await alice.groups.create({ type: 'Public', name: 'Asked' });
    await alice.groups.invite(asked, [b]);
    network.join();
    await bob.until('refresh', 2);
    t.same(bob.said, ['hello', 'hello', 'taken back', '1', '2', '3']);
    t.ok(bob.told.includes(`recalled group:${stays} ${taken.seq}`));
    t.match(
      (await bob.groups.conversation(stays).getMessage()).messages.find(({ seq }) => seq === taken.seq),
      {
        status: 'recalled',
        body: [],
      },
    );
    t.ok(bob.changes.includes(`gone ${goes}`));
    t.ok(bob.changes.includes(`added ${comes}`));
    t.same(texts(await bob.groups.conversation(comes).getMessage()), ['welcome']);
    t.same(
      bob.notices.map(({ kind, seq }) => [kind, seq]),
      [
        ['kicked', 1],
        ['invited', 2],
      ],
    );
    await until(() => bob.groups.unreadNotices === 2);
    t.match(bob.notices[1]?.request, { kind: 'invitation', group: asked });

    const [third] = (await alice.groups.conversation(stays).getMessage({ count: 1 })).messages;
    network.cut(true);
    await bob.until('disconnected', 2);
    await conversation.recall(third as ImMessage);
    network.join();
    await bob.until('refresh', 3);
    t.ok(bob.told.includes(`recalled group:${stays} ${third?.seq}`), 'a recall alone');
    t.same(bob.events, []);
  },
);

t.test('notices: each once over restarts, unread until they are read on any terminal', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  await login(t, b).then(({ client }) => client.close());
  const alice = await login(t, a);
  const invite = async (): Promise<void> => {
    const group = await alice.groups.create({ type: 'Public', name: 'Asked' });
    await alice.groups.invite(group, [b]);
  };
  await invite();
  await invite();
  const storage = lasting();
  const web = await login(t, b, { storage });
  t.same(
    web.notices.map(({ seq }) => seq),
    [1, 2],
    'what nobody has read',
  );
  t.equal(web.groups.unreadNotices, 2);
  t.same(await web.groups.notices(), web.notices);
  const phone = await login(t, b, { platform: 'iOS' });
  t.same(
    phone.notices.map(({ seq }) => seq),
    [1, 2],
  );
  await web.groups.setNoticesRead();
  t.equal(web.groups.unreadNotices, 0);
  await until(() => phone.groups.unreadNotices === 0);
  await invite();
  await Promise.all([web, phone].map((one) => until(() => one.groups.unreadNotices === 1 && one.notices.length === 3)));
  await web.client.close();
  const again = await login(t, b, { storage });
  t.same(again.notices, [], 'not again after a restart');
  t.equal(again.groups.unreadNotices, 1);
  const late = await login(t, b, { platform: 'Mac' });
  t.same(
    late.notices.map(({ seq }) => seq),
    [3],
    'a new terminal is told of what is unread',
  );
  t.same(await late.client.getConversations(), [], 'they are in no list of conversations');
  for (const one of [web, phone, again, late]) t.same(one.events, []);
});

t.test('[G36][H1] history goes back over what was deleted, however much; with and without a storage', async (t) => {
  const [a, b, z] = [fresh('alice'), fresh('bob'), fresh('zed')];
  const [alice, zed] = [await login(t, a), await login(t, z)];
  await login(t, b).then(({ client }) => client.close());
  const group = await groupOfThese(alice, zed);
  await alice.groups.invite(group, [b]);
  await alice.groups.conversation(group).sendMessage('before').done;
  for (const text of numbers(1, 50)) void zed.groups.conversation(group).sendMessage(text);
  await until(() => alice.said.includes('50'));
  await alice.groups.conversation(group).sendMessage('after').done;
  t.equal(
    (await im.call('group_open_http_svc/delete_group_msg_by_sender', { GroupId: group, Sender_Account: z })).ErrorCode,
    0,
  );
  for (const disableStorage of [false, true]) {
    const bob = await login(t, b, { disableStorage });
    const conversation = bob.groups.conversation(group);
    t.same(texts(await conversation.getMessage()).filter(Boolean), ['before', 'after']);
    const page = await conversation.getMessage({ count: 1 });
    t.same(texts(page), ['after']);
    const older = await conversation.getMessage({ count: 5, before: page.messages[0] ?? 0 });
    t.match(older, { isComplete: true, hasGap: false });
    t.same(texts(older).filter(Boolean), ['before']);
    await bob.client.close();
  }
});

t.test('[G26] who discards is told nothing, and has it in the history all the same', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  const [alice, network] = [await login(t, a), cuttable()];
  const bob = await login(t, b, { WebSocket: network.WebSocket });
  const group = await groupOfThese(alice, bob);
  await bob.groups.modifyMember(group, { receive: 'Discard' });
  await alice.groups.conversation(group).sendMessage('unheard').done;
  network.cut();
  await bob.until('refresh', 2);
  const conversation = bob.groups.conversation(group);
  t.equal(conversation.unread, 0);
  await bob.groups.modifyMember(group, { receive: 'AcceptAndNotify' });
  await alice.groups.conversation(group).sendMessage('heard').done;
  await bob.until('new heard');
  t.same(bob.said, ['hello', 'heard']);
  t.same(texts(await conversation.getMessage()), ['hello', 'unheard', 'heard']);
  await alice.groups.conversation(group).sendMessage('then').done;
  await bob.until('new then');
  network.cut();
  await bob.until('refresh', 3);
  t.same(bob.said, ['hello', 'heard', 'then']);
  await bob.groups.modifyMember(group, { receive: 'Discard' });
  await alice.groups.conversation(group).sendMessage('unheard again').done;
  await bob.groups.modifyMember(group, { receive: 'AcceptNotNotify' });
  await alice.groups.conversation(group).sendMessage('at last').done;
  await bob.until('new at last');
  t.same(bob.said.slice(2), ['then', 'at last']);
  t.same(
    texts(await conversation.getMessage()).slice(-3),
    ['then', 'unheard again', 'at last'],
    'without an interruption',
  );
});

t.test('what was recalled while one discarded, or was no member, is empty on coming back', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  const [alice, bob] = [await login(t, a), await login(t, b)];
  const group = await alice.groups.create({ type: 'ChatRoom', name: 'Plaza' });
  const conversation = alice.groups.conversation(group);
  await bob.groups.apply(group);
  const taken: ImMessage[] = [];
  for (const text of ['first', 'second', 'third']) taken.push(await conversation.sendMessage(text).done);
  await bob.until('new third');
  const [first, second] = taken as [ImMessage, ImMessage];
  await bob.groups.modifyMember(group, { receive: 'Discard' });
  await conversation.recall(first);
  await conversation.sendMessage('unheard').done;
  await bob.groups.modifyMember(group, { receive: 'AcceptAndNotify' });
  await conversation.sendMessage('heard').done;
  await bob.until(`recalled group:${group} ${first.seq}`);
  await bob.groups.quit(group);
  await bob.until(`gone ${group}`);
  await conversation.recall(second);
  await bob.groups.apply(group);
  await conversation.sendMessage('back').done;
  await bob.until('new back');
  await bob.until(`recalled group:${group} ${second.seq}`);
  t.same(texts(await bob.groups.conversation(group).getMessage()), ['', '', 'third', 'unheard', 'heard', 'back']);
  t.same(bob.said, ['first', 'second', 'third', 'heard', 'back']);
  t.same(bob.events, []);
});

t.test('[G24] a notification of the app’s is told to who is online, and is not kept', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  const [alice, bob] = [await login(t, a), await login(t, b)];
  const group = await groupOfThese(alice, bob);
  await im.call('group_open_http_svc/send_group_system_notification', { GroupId: group, Content: 'closed on Monday' });
  await until(() => bob.notices.some(({ kind }) => kind === 'custom'));
  t.match(bob.notices.at(-1), { seq: 0, kind: 'custom', group, groupName: 'Tea club', userField: 'closed on Monday' });
  t.same(
    (await bob.groups.notices()).filter(({ kind }) => kind === 'custom'),
    [],
  );
  t.same(bob.events, []);
});

t.test('a group of the same id is another one, with another history', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  const [alice, network] = [await login(t, a), cuttable()];
  const bob = await login(t, b, { WebSocket: network.WebSocket });
  const id = fresh('club');
  const found = async () => texts(await bob.groups.conversation(id).getMessage()).filter(Boolean);
  /** Within a conversation time never decreases: its seconds tell the two apart. */
  const nextSecond = (sec = Math.floor(Date.now() / 1_000)) => until(() => Date.now() / 1_000 >= sec + 1);
  async function make(): Promise<void> {
    const made = await im.call('group_open_http_svc/create_group', {
      GroupId: id,
      Type: 'Public',
      Name: 'Club',
      Owner_Account: a,
      MemberList: [{ Member_Account: b }],
    });
    t.equal(made.ErrorCode, 0);
  }
  await make();
  const conversation = alice.groups.conversation(id);
  for (const text of ['old 1', 'old 2', 'old 3']) await conversation.sendMessage(text).done;
  await bob.until('new old 3');
  t.same(await found(), ['old 1', 'old 2', 'old 3']);
  network.cut(true);
  await bob.until('disconnected');
  await alice.groups.dismiss(id);
  await nextSecond();
  await make();
  await conversation.sendMessage('new 1').done;
  network.join();
  await bob.until('refresh', 2);
  t.same(await found(), ['new 1'], 'after an interruption');
  await alice.groups.dismiss(id);
  await bob.until(`gone ${id}`, 2);
  await nextSecond();
  await make();
  await conversation.sendMessage('newer 1').done;
  await bob.until('new newer 1');
  t.same(await found(), ['newer 1'], 'live');
});

t.test('an account after another, and one that is in many groups', async (t) => {
  const [a, b, c] = [fresh('alice'), fresh('bob'), fresh('carol')];
  const alice = await login(t, a);
  const one = await login(t, b);
  const room = await alice.groups.create({ type: 'ChatRoom', name: 'Plaza' });
  await one.groups.apply(room);
  await one.client.login(c, im.userSig(c));
  await one.until('refresh', 2);
  await one.groups.apply(room);
  await one.until(`members ${room}`, 2);
  const joined = [`added ${room}`, `members ${room}`];
  t.same(one.changes, [...joined, ...joined], 'of each account');

  const many: string[] = [];
  for (let i = 0; i < 101; i += 1) {
    many.push(await alice.groups.create({ type: 'Public', name: `Group ${i}` }));
  }
  for (const group of [many[0], many[100]]) await alice.groups.conversation(group ?? '').sendMessage('hi').done;
  const other = await login(t, a, { platform: 'Mac' });
  t.same(
    (await other.client.getConversations()).map(({ peer }) => peer).sort(),
    [many[0], many[100]].sort(),
    'also those of the last page',
  );
});

t.test('[G39] who joins is told what is said from then on, and finds what was said before', async (t) => {
  const [alice, bob] = [await login(t, fresh('alice')), await login(t, fresh('bob'))];
  const room = await alice.groups.create({ type: 'ChatRoom', name: 'Plaza' });
  await alice.groups.conversation(room).sendMessage('early').done;
  t.equal(await bob.groups.apply(room), 'joined');
  await alice.groups.conversation(room).sendMessage('late').done;
  await bob.until('new late');
  t.same(bob.said, ['late']);
  t.same(texts(await bob.groups.conversation(room).getMessage()), ['early', 'late']);
  t.equal(bob.groups.conversation(room).unread, 0, 'nothing counts as unread there');
});

t.test('[G39] who comes back is told what is said from then on, however he left and came', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  const [alice, network] = [await login(t, a), cuttable()];
  const bob = await login(t, b, { WebSocket: network.WebSocket });
  const room = await alice.groups.create({ type: 'ChatRoom', name: 'Plaza' });
  const toAll = alice.groups.conversation(room);
  await bob.groups.apply(room);
  await toAll.sendMessage('1').done;
  await bob.until('new 1');
  await bob.groups.quit(room);
  await bob.until(`gone ${room}`);
  for (const text of numbers(2, 4)) await toAll.sendMessage(text).done;
  await bob.groups.apply(room);
  await toAll.sendMessage('5').done;
  await bob.until('new 5');
  t.same(bob.said, ['1', '5']);
  const came = [`added ${room}`, `members ${room}`];
  t.same(bob.changes, [...came, `gone ${room}`, ...came]);
  t.same(texts(await bob.groups.conversation(room).getMessage()), numbers(1, 5), 'the others are in the history');

  await alice.groups.remove(room, [b]);
  await bob.until(`gone ${room}`, 2);
  await toAll.sendMessage('6').done;
  network.cut(true);
  await bob.until('disconnected');
  const joined = await im.call('group_open_http_svc/add_group_member', {
    GroupId: room,
    MemberList: [{ Member_Account: b }],
  });
  t.equal(joined.ErrorCode, 0);
  await toAll.sendMessage('7').done;
  network.join();
  await bob.until('refresh', 2);
  await toAll.sendMessage('8').done;
  await bob.until('new 8');
  t.same(bob.said, ['1', '5', '8'], 'as of a group that is new to the terminal');
  t.same(texts(await bob.groups.conversation(room).getMessage()), numbers(1, 8));
  t.same(bob.events, []);
});

t.test(
  'what is in which groups is told once: live, by the first message to who was added in silence, or after an interruption',
  async (t) => {
    const [a, b] = [fresh('alice'), fresh('bob')];
    const [alice, network] = [await login(t, a), cuttable()];
    const bob = await login(t, b, { WebSocket: network.WebSocket });
    const phone = await login(t, b, { platform: 'iOS' });
    const room = await alice.groups.create({ type: 'ChatRoom', name: 'Plaza' });
    await bob.groups.apply(room);
    await phone.until(`members ${room}`);
    t.same(phone.changes, [`added ${room}`, `members ${room}`], 'on all terminals of who joins, and of nobody else');
    t.match(phone.tips, [{ kind: 'join', accounts: [b] }]);
    t.same(alice.tips, []);
    const quiet = await alice.groups.create({ type: 'ChatRoom', name: 'Quiet' });
    await im.call('group_open_http_svc/add_group_member', {
      GroupId: quiet,
      Silence: 1,
      MemberList: [{ Member_Account: b }],
    });
    for (const text of ['1', '2']) await alice.groups.conversation(quiet).sendMessage(text).done;
    for (const one of [bob, phone]) {
      await one.until('new 2');
      t.same(one.changes.slice(2), [`added ${quiet}`]);
    }

    const live = await alice.groups.create({ type: 'AVChatRoom', name: 'Live' });
    await bob.groups.apply(live);
    const left = await groupOfThese(alice, bob);
    await bob.groups.quit(left);
    await bob.until(`gone ${left}`);
    const told = bob.changes.filter((one) => !one.startsWith('members'));
    t.same(told, [`added ${room}`, `added ${quiet}`, `added ${live}`, `added ${left}`, `gone ${left}`]);
    network.cut();
    await bob.until('refresh', 2);
    t.same(
      bob.changes.filter((one) => !one.startsWith('members')),
      told,
      'nothing of it again, nor that one whose type is not listed is gone',
    );

    const club = await groupOfThese(alice, bob);
    await alice.groups.transfer(club, b);
    await bob.until(`profile ${club}`);
    await bob.until(`members ${club}`);
    t.match(bob.tips.at(-1), { kind: 'modifyInfo', changed: { owner: b } }, 'another owner is another role, too');
    for (const one of [alice, bob, phone]) t.same(one.events, []);
  },
);

t.test('[H2] a group that was taken out of the list stays out when what came after it was deleted', async (t) => {
  const [a, b, z] = [fresh('alice'), fresh('bob'), fresh('zed')];
  const [alice, zed] = [await login(t, a), await login(t, z)];
  await login(t, b).then(({ client }) => client.close());
  const group = await groupOfThese(alice, zed);
  await alice.groups.invite(group, [b]);
  await alice.groups.conversation(group).sendMessage('stays').done;
  await zed.groups.conversation(group).sendMessage('goes').done;
  await im.call('group_open_http_svc/delete_group_msg_by_sender', { GroupId: group, Sender_Account: z });
  const network = cuttable();
  const bob = await login(t, b, { WebSocket: network.WebSocket });
  const listed = async () => (await bob.client.getConversations()).map(({ last }) => last && textOf(last));
  t.same(await listed(), ['stays']);
  await bob.groups.conversation(group).delete();
  t.same(await listed(), []);
  network.cut();
  await bob.until('refresh', 2);
  t.same(await listed(), []);
  await alice.groups.conversation(group).sendMessage('new').done;
  await bob.until('new new');
  t.same(await listed(), ['new']);
});

t.test('[H1][G36] what a terminal was too far behind to be told: getMessage fills it, holes and all', async (t) => {
  const [a, b, z] = [fresh('alice'), fresh('bob'), fresh('zed')];
  const [alice, zed] = [await login(t, a), await login(t, z)];
  const storage = lasting();
  const first = await login(t, b, { storage });
  const group = await groupOfThese(alice, zed, first);
  const toAll = alice.groups.conversation(group);
  await first.client.close();
  for (const text of numbers(1, 130)) {
    void toAll.sendMessage(text);
    if (Number(text) % 10 === 0) await zed.groups.conversation(group).sendMessage('zed').done;
  }
  await until(() => zed.said.includes('130'));
  await im.call('group_open_http_svc/delete_group_msg_by_sender', { GroupId: group, Sender_Account: z });
  const bob = await login(t, b, { storage, maxMissed: 5 });
  const phone = await login(t, b, { platform: 'iOS' });
  t.same(bob.said, []);
  const conversation = bob.groups.conversation(group);
  t.match(await conversation.getLocalMessage(), { hasGap: true }, 'what lies between is known not to be here');
  for (const one of [bob, phone]) {
    const mine = one.groups.conversation(group);
    const all: string[] = [];
    let before: ImMessage | undefined;
    for (;;) {
      const page = await mine.getMessage({ count: 50, ...(before && { before }) });
      t.equal(page.hasGap, false);
      all.unshift(...texts(page).filter(Boolean));
      before = page.messages[0];
      if (page.isComplete || before === undefined) break;
    }
    t.same(all, ['hello', ...numbers(1, 130)], 'each once, in order');
    const here = await mine.getLocalMessage({ count: 200 });
    t.match(here, { hasGap: false, isComplete: true }, 'a hole is no gap, once it is known');
    t.same(texts(here).filter(Boolean), all);
    t.same(one.events, []);
  }
});

/** Random numbers that are the same every time (mulberry32). */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** All that a terminal finds in the history of a group, `seq text`; tips and what was recalled without text. */
async function historyOf({ groups }: Watched, group: string): Promise<string[]> {
  const found: string[] = [];
  let before: number | undefined;
  do {
    const page = await groups.conversation(group).getMessage({ count: 30, ...(before !== undefined && { before }) });
    const those = page.messages.filter(({ seq }) => seq > 0);
    found.unshift(...those.map((message) => `${message.seq} ${textOf(message)} ${message.status}`));
    before = page.isComplete ? undefined : page.messages[0]?.seq;
  } while (before !== undefined);
  return found;
}

const seeds = process.env.IM_FUZZ_SEEDS?.split(',').map(Number) ?? [1, 2, 3, 4];
for (const seed of seeds) {
  const type = seed % 2 === 0 ? 'ChatRoom' : 'Private';
  t.test(`[H4][G26][G39] ${type}: coming, going, discarding, recalls, cuts, restarts, seed ${seed}`, async (t) => {
    const random = createRandom(seed);
    const [a, b] = [fresh('alice'), fresh('bob')];
    const alice = await login(t, a);
    const storage = lasting();
    const shown: string[] = [];
    let network = cuttable();
    async function open(): Promise<Watched> {
      network = cuttable();
      const mine = watch(t, { storage, WebSocket: network.WebSocket, maxMissed: 8 });
      // Who comes hears of that by a message without a seq, each time.
      mine.client.onNewMessage(({ conversation, seq }) => seq > 0 && shown.push(`${conversation} ${seq}`));
      await mine.client.login(b, im.userSig(b));
      await mine.until('refresh');
      return mine;
    }
    let bob = await open();
    const group = await alice.groups.create({ type, name: 'Anything', ...(type === 'Private' && { members: [b] }) });
    const sent = [await alice.groups.conversation(group).sendMessage('0').done];
    if (type === 'ChatRoom') await bob.groups.apply(group);
    // What the service refuses, as he is none or one already, and what a cut ends, is part of it.
    const tries = (what: Promise<unknown>): Promise<unknown> => what.catch(() => {});
    for (let step = 1; step <= 90; step += 1) {
      const dice = random();
      const conversation = bob.groups.conversation(group);
      if (dice < 0.5) sent.push(await alice.groups.conversation(group).sendMessage(String(step)).done);
      else if (dice < 0.58) await tries(conversation.sendMessage(`own ${step}`).done);
      else if (dice < 0.64) network.cut();
      else if (dice < 0.7) await tries(bob.groups.quit(group));
      else if (dice < 0.8) {
        await tries(type === 'Private' ? alice.groups.invite(group, [b]) : bob.groups.apply(group));
      } else if (dice < 0.84) await tries(bob.groups.modifyMember(group, { receive: 'Discard' }));
      else if (dice < 0.9) await tries(bob.groups.modifyMember(group, { receive: 'AcceptAndNotify' }));
      else if (dice < 0.93)
        await tries(alice.groups.conversation(group).recall(sent[Math.floor(random() * sent.length)] as ImMessage));
      else if (dice < 0.97) await tries(conversation.getMessage({ count: 1 + Math.floor(random() * 20) }));
      else {
        await bob.client.close();
        bob = await open();
      }
    }
    await until(() => bob.client.connectionState === 'connected');
    await tries(type === 'Private' ? alice.groups.invite(group, [b]) : bob.groups.apply(group));
    await bob.groups.modifyMember(group, { receive: 'AcceptAndNotify' });
    await alice.groups.conversation(group).sendMessage('last').done;
    await until(() => bob.said.includes('last'));
    const other = await login(t, b, { platform: 'iOS' });
    t.equal(new Set(shown).size, shown.length, 'nothing was told twice');
    t.same(await historyOf(bob, group), await historyOf(other, group), 'as a terminal that is new finds it');
    await until(
      () => bob.groups.conversation(group).unread === other.groups.conversation(group).unread,
      () => `${bob.groups.conversation(group).unread}, not ${other.groups.conversation(group).unread} unread`,
    );
  });
}

t.test('[G31][G33] for those alone who are online: messages, and the messages of an audience', async (t) => {
  const [alice, bob] = [await login(t, fresh('alice')), await login(t, fresh('bob'))];
  const group = await groupOfThese(alice, bob);
  const sent = await alice.groups.conversation(group).sendOnlineMessage('now').done;
  t.match(sent, { status: 'sent', seq: 0, isOnline: true });
  await bob.until('new now');
  t.match(bob.messages.at(-1), { seq: 0, isOnline: true });
  t.same(texts(await bob.groups.conversation(group).getMessage()), ['hello']);

  const live = await alice.groups.create({ type: 'AVChatRoom', name: 'Live' });
  t.equal(await bob.groups.apply(live), 'joined');
  t.ok(bob.changes.includes(`added ${live}`));
  await alice.until(`tip join ${bob.client.account}`);
  t.match(alice.tips.at(-1), { message: { seq: 0 } }, 'weak');
  await bob.groups.conversation(live).sendMessage('wow').done;
  await alice.until('new wow');
  t.equal(alice.groups.conversation(live).unread, 0);
  t.same(alice.events, []);
});

t.test('recall and resend are as in conversations of two', async (t) => {
  const [alice, bob] = [await login(t, fresh('alice')), await login(t, fresh('bob'))];
  const group = await groupOfThese(alice, bob);
  const conversation = alice.groups.conversation(group);
  const sent = await conversation.sendMessage('oops').done;
  await bob.until('new oops');
  await conversation.recall(sent);
  for (const one of [alice, bob]) await one.until(`recalled group:${group} ${sent.seq}`);
  t.match((await conversation.getMessage()).messages.at(-1), { status: 'recalled', body: [] });
  await until(() => bob.groups.conversation(group).unread === 1);
  await t.rejects(conversation.recall(sent), { code: 'GROUP_MESSAGE_UNKNOWN' });
  const wrong = conversation.sendMessage('x', { lifetimeSec: 5 });
  await t.rejects(wrong.done, { code: 'INVALID_FIELD', field: 'lifetimeSec' });
  t.equal(conversation.resend(wrong), wrong);
  await t.rejects(wrong.done, { code: 'INVALID_FIELD' });
  await conversation.deleteMessage(wrong);
  t.same(texts(await conversation.getMessage()).filter(Boolean), ['hello']);
});

t.test('a client without groups hears of none; groups are given before the login, and once', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  const alice = await login(t, a);
  const plain = watchClient(t, { url: im.url });
  await plain.client.login(b, im.userSig(b));
  await plain.until('refresh');
  const asked = await alice.groups.create({ type: 'Public', name: 'Asked' });
  await alice.groups.invite(asked, [b]);
  const group = await alice.groups.create({ type: 'Private', name: 'Tea', members: [b] });
  await alice.groups.conversation(group).sendMessage('in the group').done;
  await alice.client.getConversation(b).sendMessage('alone').done;
  await plain.until('new alone');
  t.same(plain.texts(), ['alone']);
  t.same(
    (await plain.client.getConversations()).map(({ id }) => id),
    [`c2c:${a}`],
  );
  t.throws(() => createGroups(plain.client), { code: 'INVALID_ARGUMENT', field: 'client' });
  t.throws(() => createGroups(alice.client), { code: 'INVALID_ARGUMENT', field: 'client' });
  const fresher = createImClient({ url: im.url, sdkAppId: 1, platform: 'Web' });
  t.throws(() => createGroups(fresher, { maxMissed: -1 }), { code: 'INVALID_ARGUMENT', field: 'maxMissed' });
  const groups = createGroups(fresher);
  t.throws(() => createGroups(fresher), { code: 'INVALID_ARGUMENT', field: 'client' });
  t.equal(groups.unreadNotices, 0);
  await t.rejects(groups.list(), { code: 'NOT_LOGGED_IN' });
  t.throws(() => groups.conversation(''), { code: 'INVALID_ARGUMENT', field: 'group' });
  await fresher.close();
});

t.test('the guide’s example does what it says', async (t) => {
  const guide = readFileSync(new URL('../../docs/guide/im-client.md', import.meta.url), 'utf8');
  const [, text = ''] = /## Groups\n\n```js\n(.*?)```/s.exec(guide) ?? [];
  const [a, b] = [fresh('alice'), fresh('bob')];
  const bob = await login(t, b);
  const client = createImClient({ url: im.url, sdkAppId: 1_400_000_000, platform: 'Web' });
  t.teardown(() => client.close());
  const replaced: [string, string][] = [
    ["import { createGroups } from 'qalgate/sdk/im/groups';", ''],
    ["'alice'", `'${a}'`],
    ["'bob'", `'${b}'`],
  ];
  const changed = replaced.reduce((all, [from, to]) => {
    t.ok(all.includes(from), from);
    return all.replace(from, to);
  }, text);
  const AsyncFunction = (async () => {}).constructor as new (
    ...args: string[]
  ) => (...args: unknown[]) => Promise<void>;
  const run = new AsyncFunction('client', 'createGroups', 'textOf', 'userSig', changed);
  await run(client, createGroups, textOf, im.userSig(a));
  await bob.until(`notice invited ${a}`);
  const [notice] = bob.notices;
  t.same(
    (await client.getConversations()).map(({ id, last }) => [id, last && textOf(last)]),
    [[`group:${notice?.group}`, 'hi']],
  );
});

t.test('what cannot be read as a tip is none', async (t) => {
  const message = (more: Partial<ImMessage>): ImMessage => ({
    conversation: 'group:g',
    seq: 1,
    from: 'a',
    isSelf: false,
    time: 1,
    status: 'sent',
    key: '',
    extra: { tip: true },
    body: [],
    ...more,
  });
  const tip = (content: Record<string, unknown>) => [{ MsgType: 'TIMGroupTipElem', MsgContent: content }];
  t.equal(tipOf(message({})), undefined);
  t.equal(tipOf(message({ body: tip({ OpType: 99 }) })), undefined, 'of a newer service');
  t.equal(tipOf(message({ body: tip({ OpType: 1 }), conversation: 'c2c:g' })), undefined);
  t.equal(tipOf(message({ body: tip({ OpType: 1 }), extra: { priority: 'High' } })), undefined, 'somebody wrote it');
  t.match(tipOf(message({ body: tip({ OpType: 1, List_Account: 'x', MemberNum: -1 }) })), {
    kind: 'join',
    operator: '',
    accounts: [],
    memberCount: undefined,
  });
  t.match(tipOf(message({ body: tip({ OpType: 7, MsgMemberInfo: [null, { User_Account: 'b' }] }) })), {
    kind: 'modifyMember',
    accounts: ['', 'b'],
    muted: [{ seconds: 0 }, { account: 'b', seconds: 0 }],
  });
  t.match(tipOf(message({ body: tip({ OpType: 6, MsgGroupNewInfo: { GroupName: 'x', Owner_Account: 7 } }) })), {
    changed: { name: 'x' },
  });
  t.equal(groupOf('c2c:bob'), undefined);
  t.equal(groupOf('group:@TGS#1'), '@TGS#1');
});
