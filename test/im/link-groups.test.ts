import fc from 'fast-check';
import t, { type Test } from 'tap';
import type { Bus } from '../../src/im/index.ts';
import { feedEvents } from '../../src/im/link/event-feed.ts';
import { Link, type LinkHost } from '../../src/im/link/link.ts';
import { createLinkDirectory } from '../../src/im/link/link-directory.ts';
import type { LinkMetrics } from '../../src/im/link/link-metrics.ts';
import type { LinkSocket } from '../../src/im/link/link-socket.ts';
import { type ReadyFrame, WaitingFrames } from '../../src/im/link/waiting-frames.ts';
import type { AccountNo, ConversationId, StoredMessage } from '../../src/im/model.ts';
import type { LinkEvent } from '../../src/im/services.ts';
import type { AccountId } from '../../src/wire/index.ts';
import { openTestDatabase, until } from '../support/database.ts';
import { GroupFollower } from '../support/group-follower.ts';
import { imAppId, openIm, type TestLink } from '../support/im.ts';
import { snapshot } from '../support/rest.ts';

// More than it needs, on a machine that does other things, too.
t.setTimeout(300_000);
const database = await openTestDatabase(t);
const open = (t: Test, settings: Parameters<typeof openIm>[1] = {}) =>
  openIm(t, { database, ...settings, app: { multiTerminal: 'all', ...settings.app } });

let made = 0;
/** A name that no other test has. */
const name = (prefix: string) => `${prefix}${++made}`;
const text = (words: string) => [{ MsgType: 'TIMTextElem', MsgContent: { Text: words } }];
let clientIds = 0;
const said = (words: string, more: object = {}) => ({ clientId: `id-${++clientIds}`, body: text(words), ...more });

type Event = Record<string, unknown>;
const isMessage = (words: string) => (event: Event) =>
  event.on === 'message' && JSON.stringify(event.body) === JSON.stringify(text(words));
const tipOf = (event: Event) => {
  const [element] = event.body as { MsgType: string; MsgContent: Event }[];
  return element?.MsgType === 'TIMGroupTipElem' ? element.MsgContent : undefined;
};
const isTip = (OpType: number) => (event: Event) => event.on === 'message' && tipOf(event)?.OpType === OpType;
const isNotice = (ReportType: number) => (event: Event) =>
  event.on === 'notice' && (event.content as Event).ReportType === ReportType;
const contentOf = (event: Event) => event.content as { MsgKey: string; Authentication: string };

/** Everything that was sent to the link before is there. */
const settled = (link: TestLink) => link.ok('beat');

/** A group with these members, who were asked and agreed where its type asks. */
async function groupOf(type: string, owner: TestLink, members: readonly TestLink[] = []): Promise<string> {
  const accounts = members.map(({ login }) => login.account);
  const { group } = await owner.ok('createGroup', { type, name: 'Tea', members: accounts });
  return String(group);
}

t.test('[G1][G5][G12][G13][G17][G27] a group from its beginning to its end, as each terminal sees it', async (t) => {
  const im = await open(t);
  const [alice, bob, carol] = [name('alice'), name('bob'), name('carol')];
  const [a, a2] = [await im.link(alice), await im.link(alice, { platform: 'Web' })];
  const [b, b2] = [await im.link(bob), await im.link(bob, { platform: 'Web' })];
  const c = await im.link(carol);

  const { group } = await a.ok('createGroup', { type: 'Public', name: 'Tea', introduction: 'at five' });
  t.match(group, /^@TGS#/, '[G2]');
  const conversation = `group:${group}`;
  for (const link of [a, a2]) {
    t.match(await link.event(isNotice(6)), {
      conversation: 'system',
      seq: 1,
      prev: 0,
      content: { ToGroupId: group, GroupInfo: { GroupName: 'Tea' }, Operator_Account: alice },
    });
  }

  t.same(await a.ok('inviteMembers', { group, accounts: [bob, carol, alice] }), {
    results: [
      [bob, 'asked'],
      [carol, 'asked'],
      [alice, 'was-member'],
    ],
  });
  const { MsgKey: key, Authentication: auth } = contentOf(await b.event(isNotice(12)));
  t.match(await b2.event(isNotice(12)), { content: { MsgKey: key } }, 'all terminals of who is invited');
  t.match(await b.ok('groupRequests'), {
    requests: [{ kind: 'invitation', group, groupName: 'Tea', account: bob, inviter: alice, key, auth }],
    complete: true,
  });
  t.match((await b.ask('answerInvitation', { group, key, auth: 'x', agrees: true })).error, {
    name: 'GROUP_PARAMETER',
    field: 'key',
  });
  t.match((await b.ask('send', { conversation, ...said('too soon') })).error, { name: 'GROUP_FORBIDDEN', code: 10007 });
  await b.ok('answerInvitation', { group, key, auth, agrees: true });
  t.match((await b.ask('answerInvitation', { group, key, auth, agrees: true })).error, {
    name: 'GROUP_REQUEST_HANDLED',
  });
  for (const link of [a, a2, b, b2]) {
    const tip = await link.event(isTip(1));
    t.match(tip, { conversation, seq: 1, prev: 0, extra: { tip: true } }, '[G33] strong: with a seq');
    t.match(tipOf(tip), { List_Account: [bob], MemberNum: 2 });
  }
  const invitation = contentOf(await c.event(isNotice(12)));
  const refused = { group, key: invitation.MsgKey, auth: invitation.Authentication, agrees: false, words: 'no time' };
  await c.ok('answerInvitation', refused);
  t.match(await c.ok('groupRequests'), { requests: [{ result: 'refused', handler: carol, answer: 'no time' }] });

  const answer = await b.ok('send', {
    conversation,
    ...said('hi', { clientId: 'mine', priority: 'High', custom: 'c' }),
  });
  t.match(answer, { seq: 2, prev: 1, time: Number, random: Number });
  t.notOk('key' in answer || 'msgSeq' in answer);
  const shown = {
    conversation,
    seq: 2,
    prev: 1,
    from: bob,
    body: text('hi'),
    custom: 'c',
    extra: { priority: 'High' },
  };
  t.match(await b2.event(isMessage('hi')), { ...shown, clientId: 'mine' }, 'another terminal of the sender');
  for (const link of [a, a2]) {
    const event = await link.event(isMessage('hi'));
    t.match(event, shown);
    t.notOk('clientId' in event || 'msgSeq' in event || 'uncounted' in event);
  }
  await settled(b);
  t.notOk(b.events.some(isMessage('hi')), 'who sent it has its answer');
  t.notOk(
    c.events.some(({ on }) => on === 'message'),
    'who is no member hears nothing',
  );
  const again = await b.ok('send', { conversation, ...said('hi', { clientId: 'mine' }) });
  t.match(again, { seq: 2, repeat: true, prev: undefined }, '[M13]');

  await a.ok('muteMembers', { group, accounts: [bob], seconds: 60 });
  t.match(tipOf(await b.event(isTip(7))), { MsgMemberInfo: [{ User_Account: bob, ShutupTime: 60 }] });
  t.match((await b.ask('send', { conversation, ...said('mute') })).error, { name: 'GROUP_MUTED', code: 10017 });
  t.match(await a.ok('mutedMembers', { group }), { members: [[bob, Number]] });
  t.match((await b.ask('mutedMembers', { group })).error, { name: 'GROUP_FORBIDDEN' });
  await a.ok('modifyMember', { group, account: bob, muteSec: 0, nameCard: 'Bobby' });
  await b.ok('send', { conversation, ...said('again') });
  t.match(await a.event(isMessage('again')), { extra: { card: 'Bobby' } }, '[G25]');

  await a.ok('modifyGroup', { group, name: 'Coffee', muted: true });
  t.match(tipOf(await b.event(isTip(6))), { MsgGroupNewInfo: { GroupName: 'Coffee' } }, '[G9]');
  t.match(await b.ok('group', { group }), {
    group,
    type: 'Public',
    name: 'Coffee',
    introduction: 'at five',
    notification: '',
    owner: alice,
    memberCount: 2,
    muted: true,
    custom: {},
    applyOption: 'NeedPermission',
  });
  await a.ok('modifyGroup', { group, muted: false });

  await a.ok('removeMembers', { group, accounts: [bob], reason: 'enough' });
  for (const link of [b, b2]) {
    t.match(await link.event(isNotice(4)), {
      content: { ToGroupId: group, Operator_Account: alice, RemarkInfo: 'enough' },
    });
  }
  const kick = await a2.event(isTip(3));
  t.match(tipOf(kick), { List_Account: [bob] });
  for (const what of ['sync', 'history', 'read', 'send'] as const) {
    const { error } = await b.ask(what, { conversation, since: 0, ...said('x') });
    t.match(error, { name: 'GROUP_FORBIDDEN' }, `[G39] ${what}`);
  }
  await settled(b);
  t.notOk(b.events.some(isTip(3)), 'who was removed has his notice');

  await a.ok('dismissGroup', { group });
  for (const link of [a, a2]) t.match(await link.event(isNotice(5)), { content: { ToGroupId: group } }, '[G7]');
  t.match((await a.ask('send', { conversation, ...said('x') })).error, { name: 'GROUP_UNKNOWN', code: 10010 });
  t.match((await a.ask('sync', { conversation, since: 0 })).error, { name: 'GROUP_UNKNOWN' });
  t.match(await a.ok('groups'), { total: 0, groups: [] });
});

t.test('[G8][G15][G16] found by its id, applied to, answered', async (t) => {
  const im = await open(t);
  const [alice, bob, carol] = [name('alice'), name('bob'), name('carol')];
  const [a, b, c] = [await im.link(alice), await im.link(bob), await im.link(carol)];
  const group = await groupOf('Public', a);
  const found = await b.ok('findGroup', { group });
  t.match(found, { group, type: 'Public', name: 'Tea', owner: alice, memberCount: 1, applyOption: 'NeedPermission' });
  t.notOk('notification' in found || 'custom' in found, 'what is for members');
  t.ok(Math.abs(Number(found.createTime) - im.clock() / 1_000) < 60);
  t.match((await b.ask('group', { group })).error, { name: 'GROUP_FORBIDDEN' });
  t.match((await b.ask('groupMembers', { group })).error, { name: 'GROUP_FORBIDDEN' });
  const secret = await groupOf('Private', a);
  t.match((await b.ask('findGroup', { group: secret })).error, { name: 'GROUP_UNKNOWN' });
  t.match((await b.ask('findGroup', { group: 'nowhere' })).error, { name: 'GROUP_UNKNOWN' });
  t.match((await b.ask('applyToGroup', { group: secret })).error, { name: 'GROUP_UNKNOWN' });

  const asking = { words: 'please', userField: 'by the poster' };
  t.match(await b.ok('applyToGroup', { group, ...asking }), { result: 'waiting' });
  const notice = await a.event(isNotice(1));
  t.match(notice, {
    content: { RemarkInfo: 'please', UserDefinedField: 'by the poster', Operator_Account: bob },
  });
  t.match(await a.ok('groupRequests'), { requests: [{ account: bob, ...asking }] });
  const { MsgKey: key, Authentication: auth } = contentOf(notice);
  await c.ok('applyToGroup', { group });
  t.match(await a.ok('groupRequests', { limit: 2 }), { requests: { length: 2 }, complete: true });
  const listed = await a.ok('groupRequests', { limit: 1 });
  t.match(listed, { requests: [{ kind: 'application', account: carol }], complete: false });
  const [{ key: before }] = listed.requests as [{ key: string }];
  t.match(await a.ok('groupRequests', { before }), {
    requests: [{ account: bob, words: 'please', key, auth }],
    complete: true,
  });
  t.match((await b.ask('answerApplication', { group, key, auth, agrees: true })).error, { name: 'GROUP_FORBIDDEN' });
  await a.ok('answerApplication', { group, key, auth, agrees: true, words: 'come in' });
  t.match(await b.event(isNotice(2)), { content: { RemarkInfo: 'come in', Operator_Account: alice } });
  await b.event(isTip(1));
  t.match(await b.ok('groupMembers', { group }), {
    total: 2,
    members: [
      { account: alice, role: 'Owner' },
      { account: bob, role: 'Member', receive: 'AcceptAndNotify', readSeq: Number },
    ],
  });
  const [first] = (await b.ok('groupMembers', { group, limit: 1 })).members as object[];
  t.notOk('receive' in (first ?? {}), '[G10] of others not how they receive');
  t.match(await b.ok('groupMembers', { group, roles: ['Member'] }), { total: 2, members: [{ account: bob }] });
  t.match(await b.ok('groupMembers', { group, accounts: [alice], offset: 0 }), { members: [{ account: alice }] });

  await a.ok('modifyMember', { group, account: bob, role: 'Admin' });
  await b.event(isNotice(9));
  t.match(tipOf(await a.event(isTip(4))), { List_Account: [bob] });
  t.match((await b.ask('transferGroup', { group, to: bob })).error, { name: 'GROUP_FORBIDDEN' });
  t.match((await a.ask('transferGroup', { group, to: carol })).error, { name: 'GROUP_PARAMETER', field: 'to' });
  await a.ok('transferGroup', { group, to: bob });
  t.match(await a.ok('group', { group }), { owner: bob }, '[G6]');
  t.match((await b.ask('quitGroup', { group })).error, { name: 'GROUP_OWNER_STAYS' });
  await a.ok('quitGroup', { group });
  await a.event(isNotice(8));
  t.match(tipOf(await b.event(isTip(2))), { Operator_Account: alice, MemberNum: 1 }, '[G18]');
});

t.test('[G35][G39] what a terminal begins with, and how it catches up', async (t) => {
  const im = await open(t);
  const [alice, bob, carol] = [name('alice'), name('bob'), name('carol')];
  const [a, b] = [await im.link(alice), await im.link(bob)];
  await im.link(carol);
  const group = await groupOf('Private', a, [b]);
  const conversation = `group:${group}`;
  t.same((await b.ok('groupStates')).conversations, [], 'it hides until its owner has said something');
  for (const words of ['one', 'two']) await a.ok('send', { conversation, ...said(words) });
  const state = { conversation, seq: 2, readSeq: 0, unread: 2, recallNo: 0, receive: 'AcceptAndNotify' };
  t.match(await b.ok('groupStates'), {
    conversations: [{ ...state, last: { conversation, seq: 2, from: alice, body: text('two') } }],
    system: { seq: 0, readSeq: 0, unread: 0 },
  });
  t.match(await b.ok('groups'), {
    total: 1,
    groups: [{ group, owner: alice, self: { account: bob, role: 'Member' }, unread: 2 }],
  });
  t.match(await b.ok('unread', { conversations: [conversation, 'system', `c2c:${alice}`] }), {
    conversations: [
      [conversation, 2],
      ['system', 0],
      [`c2c:${alice}`, 0],
    ],
  });
  t.match(await b.ok('unread'), { total: 2 });
  await b.ok('ack', {
    items: [
      [conversation, 2],
      ['system', 1],
      [`c2c:${alice}`, 0],
    ],
  });

  const b2 = await im.link(bob, { platform: 'Web' });
  t.match(await b.ok('read', { conversation, seq: 1 }), { readSeq: 1, unread: 1 });
  t.same(await b2.event(({ on }) => on === 'read'), { on: 'read', conversation, readSeq: 1, unread: 1 });
  t.match(await b.ok('read', { conversation }), { readSeq: 2, unread: 0 }, 'all of it');
  await settled(a);
  t.notOk(
    a.events.some(({ on }) => on === 'read'),
    'members do not hear of it',
  );

  t.match(await b.ok('sync', { conversation, since: 0 }), {
    messages: [{ seq: 1, body: text('one') }, { seq: 2 }],
    holes: [],
    throughSeq: 2,
    more: false,
    recalled: [],
    recallNo: 0,
  });
  t.match(await b.ok('sync', { conversation, since: 0, limit: 1 }), {
    messages: [{ seq: 1 }],
    throughSeq: 1,
    more: true,
  });
  t.match(await b.ok('sync', { conversation, since: 9 }), { messages: [], holes: [], throughSeq: 9, more: false });

  // Two stays with something in between: seqs 3 … 6 are carol's joining, a message, her quitting, and one without her.
  const stays = await im.link(carol, { platform: 'Web' });
  await a.ok('inviteMembers', { group, accounts: [carol] });
  await a.ok('send', { conversation, ...said('four') });
  await stays.event(isMessage('four'));
  await stays.ok('quitGroup', { group });
  await a.ok('send', { conversation, ...said('six') });
  await a.ok('inviteMembers', { group, accounts: [carol] });
  const page = await stays.ok('sync', { conversation, since: 0 });
  t.same(
    (page.messages as { seq: number }[]).map(({ seq }) => seq),
    [3, 4, 7],
  );
  t.same(page.holes, [
    [1, 2],
    [5, 6],
  ]);
  t.equal(page.throughSeq, 7);
  const back = await stays.ok('history', { conversation });
  t.same(
    (back.messages as { seq: number }[]).map(({ seq }) => seq),
    [3, 4, 7],
  );
  t.match(back, { holes: [[5, 6]], complete: true });
  t.match(await b.ok('history', { conversation, before: 3, limit: 1 }), { messages: [{ seq: 2 }], complete: Boolean });

  const sent = await b.ok('send', { conversation, ...said('oops') });
  t.same(await b.ok('recall', { conversation, seq: sent.seq }), {});
  for (const link of [a, b, b2]) {
    t.same(await link.event(({ on }) => on === 'recalled'), {
      on: 'recalled',
      conversation,
      seqs: [sent.seq],
      recallNo: 1,
    });
  }
  t.match((await b.ask('recall', { conversation, seq: sent.seq })).error, {
    name: 'GROUP_MESSAGE_UNKNOWN',
    field: 'seq',
  });
  t.match((await b.ask('recall', { conversation, seq: 1 })).error, { code: 10007 }, 'of another');
  t.match(await a.ok('sync', { conversation, since: 7, recallNo: 0 }), {
    messages: [{ seq: 8, recalled: true, body: [] }],
    holes: [],
    recalled: [8],
    recallNo: 1,
  });
  t.match(
    (await stays.ok('groupStates')).conversations,
    [{ seq: 8, recallNo: 1, last: { seq: 7 } }],
    'the last that is there',
  );

  t.match(await b.ok('send', { conversation, ...said('now', { online: true }) }), { time: Number, random: Number });
  const online = await a.event(isMessage('now'));
  t.notOk('seq' in online || 'prev' in online);
  t.match(await a.ok('sync', { conversation, since: 8 }), { messages: [], throughSeq: 8 }, 'stored nowhere');
});

t.test(
  '[G36] history of a group, backwards by pages; what was blanked is a hole, what was recalled says so',
  async (t) => {
    const im = await open(t);
    const [a, b] = [await im.link(name('alice')), await im.link(name('bob'))];
    const group = await groupOf('ChatRoom', a);
    await b.ok('applyToGroup', { group });
    const conversation = `group:${group}`;
    const seqs: number[] = [];
    for (const link of [a, b, a, b, a]) seqs.push(Number((await link.ok('send', { conversation, ...said('x') })).seq));
    const page = async (fields: object) => {
      const { messages, holes, complete } = await a.ok('history', { conversation, ...fields });
      const shown = (messages as { seq: number; recalled?: true }[]).map(({ seq, recalled }) => [
        seq,
        recalled ?? false,
      ]);
      return { shown, holes, complete };
    };
    const [one = 0, two = 0, three = 0, four = 0, five = 0] = seqs;
    const last = { shown: [four, five].map((seq) => [seq, false]), holes: [], complete: false };
    t.strictSame(await page({ limit: 2 }), last);
    const middle = { shown: [two, three].map((seq) => [seq, false]), holes: [], complete: false };
    t.strictSame(await page({ limit: 2, before: four }), middle);
    t.strictSame(await page({ limit: 2, before: two }), { shown: [[one, false]], holes: [], complete: true });
    t.strictSame(await page({ before: one }), { shown: [], holes: [], complete: true });
    await a.ok('recall', { conversation, seq: three });
    const blanked = { GroupId: group, Sender_Account: b.login.account };
    t.match(await im.call('group_open_http_svc/delete_group_msg_by_sender', blanked), { ErrorCode: 0 });
    t.strictSame(await page({ limit: 4 }), {
      shown: [
        [three, true],
        [five, false],
      ],
      holes: [
        [two, two],
        [four, four],
      ],
      complete: false,
    });
  },
);

t.test('[G26] who discards gets nothing, and begins where he switches back', async (t) => {
  const im = await open(t);
  const [alice, bob] = [name('alice'), name('bob')];
  const [a, b] = [await im.link(alice), await im.link(bob)];
  const group = await groupOf('Private', a, [b]);
  const conversation = `group:${group}`;
  await a.ok('send', { conversation, ...said('one') });
  await b.ok('modifyMember', { group, receive: 'Discard' });
  await a.ok('send', { conversation, ...said('two') });
  const states = (await b.ok('groupStates')).conversations as Event[];
  t.match(states, [{ conversation, receive: 'Discard', unread: 0 }]);
  t.notOk('last' in (states[0] ?? {}));
  t.match(await b.ok('sync', { conversation, since: 1 }), { messages: [], holes: [[2, 2]], throughSeq: 2 });
  t.match(await b.ok('history', { conversation }), { messages: [{ seq: 1 }, { seq: 2 }] }, 'history may be looked at');
  await b.ok('modifyMember', { group, receive: 'AcceptNotNotify' });
  t.match((await b.ok('groupStates')).conversations, [{ unread: 0, receive: 'AcceptNotNotify' }]);
  await a.ok('send', { conversation, ...said('three') });
  await b.event(isMessage('three'));
  t.notOk(b.events.some(isMessage('two')));
  t.match(await b.ok('sync', { conversation, since: 1 }), { messages: [{ seq: 3 }], holes: [[2, 2]], throughSeq: 3 });
  t.match((await b.ok('groupStates')).conversations, [{ unread: 1 }]);
});

t.test('[M14][G23] what has expired is neither unread nor there; the types that keep less say so', async (t) => {
  const im = await open(t, {
    app: { groupTypes: [{ name: 'Short', base: 'Private', roamingDays: 1 }] },
  });
  const [alice, bob] = [name('alice'), name('bob')];
  const [a, b] = [await im.link(alice), await im.link(bob)];
  const [long, short] = [await groupOf('Private', a, [b]), await groupOf('Short', a, [b])];
  for (const group of [long, short]) await a.ok('send', { conversation: `group:${group}`, ...said('old') });
  im.clock.advance(2 * 86_400);
  const [late, other] = [await im.link(bob), await im.link(alice)];
  const unread = async () => {
    const { conversations } = await late.ok('groupStates');
    const { groups } = await late.ok('groups');
    const states = (conversations as Event[]).map((state) => [state.conversation, state.unread, 'last' in state]);
    const listed = (groups as Event[]).map(({ group, unread }) => [`group:${group}`, unread]);
    return { states, listed: listed.sort() };
  };
  t.same(await unread(), {
    states: [
      [`group:${long}`, 1, true],
      [`group:${short}`, 0, false],
    ],
    listed: [
      [`group:${long}`, 1],
      [`group:${short}`, 0],
    ].sort(),
  });
  t.match(await late.ok('unread'), { total: 1 });
  await other.ok('send', { conversation: `group:${short}`, ...said('new') });
  t.match((await unread()).states, [
    [`group:${long}`, 1],
    [`group:${short}`, 1, true],
  ]);
  const conversation = `group:${short}`;
  t.match(await late.ok('sync', { conversation, since: 0 }), {
    messages: [{ seq: 2 }],
    holes: [[1, 1]],
    throughSeq: 2,
  });
});

t.test('[G33][G38] an audience: what is said is for those who are online', async (t) => {
  const im = await open(t);
  const [alice, bob, carol] = [name('alice'), name('bob'), name('carol')];
  const [a, b, c] = [await im.link(alice), await im.link(bob), await im.link(carol)];
  const { group } = await a.ok('createGroup', { type: 'AVChatRoom', name: 'Live' });
  const conversation = `group:${group}`;
  t.match(await b.ok('applyToGroup', { group }), { result: 'joined' });
  const tip = await a.event(isTip(1));
  t.match(tipOf(tip), { List_Account: [bob] });
  t.notOk('seq' in tip, 'weak');
  for (const notification of ['now', 'later']) await a.ok('modifyGroup', { group, notification });
  await settled(b);
  const changes = b.events.filter(isTip(6));
  t.equal(changes.length, 2);
  t.equal(new Set(changes.map(({ random }) => random)).size, 2, 'two of one second are told apart');
  t.match((await a.ask('inviteMembers', { group, accounts: [carol] })).error, { name: 'GROUP_FORBIDDEN' });
  await c.ok('applyToGroup', { group });
  t.match(await b.ok('send', { conversation, ...said('wow') }), { seq: 1, prev: 0 });
  for (const link of [a, c]) t.match(await link.event(isMessage('wow')), { seq: 1, prev: 0, uncounted: true });
  t.same((await b.ok('groupStates')).conversations, [], 'nothing to catch up with');
  t.match(await b.ok('groups'), { total: 0 });
  t.match(await b.ok('sync', { conversation, since: 0 }), { messages: [], holes: [[1, 1]], throughSeq: 1 });
  t.match(await b.ok('history', { conversation }), { messages: [], complete: true });
  t.match((await b.ask('recall', { conversation, seq: 1 })).error, { name: 'GROUP_TYPE_NOT_RECALLABLE' });
});

t.test('a group that its owner has said nothing in is not there for others', async (t) => {
  const im = await open(t);
  const [alice, bob] = [name('alice'), name('bob')];
  const [a, b] = [await im.link(alice), await im.link(bob)];
  const group = await groupOf('Private', a, [b]);
  const conversation = `group:${group}`;
  await a.ok('modifyGroup', { group, name: 'Coffee' });
  t.match(await a.event(isTip(6)), { seq: 1 });
  for (const what of ['group', 'findGroup', 'groupMembers', 'quitGroup']) {
    t.match((await b.ask(what, { group })).error, { name: 'GROUP_UNKNOWN' }, what);
  }
  for (const what of ['sync', 'history', 'read', 'send']) {
    t.match((await b.ask(what, { conversation, since: 0, ...said('x') })).error, { name: 'GROUP_UNKNOWN' }, what);
  }
  im.clock.advance(61);
  await settled(b);
  await a.ok('send', { conversation, ...said('hello') });
  await b.event(isMessage('hello'));
  t.match(await b.ok('sync', { conversation, since: 0 }), { messages: [{ seq: 1 }, { seq: 2 }] });
  t.same(
    b.events.map(({ on, seq }) => [on, seq]),
    [['message', 2]],
    'nothing before, and no resync',
  );
});

t.test('[G10][G11] fields of the app: each sees and writes what it may', async (t) => {
  const im = await open(t, {
    app: {
      groupFields: [
        { key: 'plan', types: [], read: 'Admin', write: 'Admin', callback: false },
        { key: 'topic', types: [], read: 'Member', write: 'Member', callback: false },
      ],
      groupMemberFields: [
        { key: 'mark', types: [], read: 'Admin', write: 'Admin', selfRead: false, selfWrite: false },
        { key: 'mood', types: [], read: 'Member', write: 'Admin', selfRead: true, selfWrite: true },
      ],
    },
  });
  const [alice, bob] = [name('alice'), name('bob')];
  const [a, b] = [await im.link(alice), await im.link(bob)];
  const custom = { plan: 'tea', topic: 'cups' };
  const { group } = await a.ok('createGroup', { type: 'Private', name: 'Tea', custom, members: [bob] });
  await a.ok('send', { conversation: `group:${group}`, ...said('hello') });
  t.same((await a.ok('group', { group })).custom, custom);
  t.same((await b.ok('group', { group })).custom, { topic: 'cups' });
  const [listed] = (await b.ok('groups')).groups as { custom: object }[];
  t.same(listed?.custom, { topic: 'cups' });
  t.match((await b.ask('modifyGroup', { group, custom: { plan: 'x' } })).error, {
    name: 'GROUP_FORBIDDEN',
    field: 'custom.plan',
    allowed: /Admin/,
  });
  await b.ok('modifyGroup', { group, custom: { topic: '' } });
  t.same((await a.ok('group', { group })).custom, { plan: 'tea' });

  await a.ok('modifyMember', { group, account: bob, custom: { mark: 'good' } });
  await b.ok('modifyMember', { group, custom: { mood: 'fine' } });
  t.match((await b.ask('modifyMember', { group, custom: { mark: 'x' } })).error, { field: 'custom.mark' });
  t.match((await b.ask('modifyMember', { group, custom: { size: 'x' } })).error, {
    code: 10004,
    field: 'custom',
    allowed: 'mark, mood',
  });
  const customOf = async (link: TestLink) => {
    const { members } = await link.ok('groupMembers', { group, accounts: [bob] });
    return (members as { custom: object }[])[0]?.custom;
  };
  t.same(await customOf(a), { mark: 'good', mood: 'fine' });
  t.same(await customOf(b), { mood: 'fine' });
  const [own] = (await b.ok('groups')).groups as { self: { custom: object } }[];
  t.same(own?.self.custom, { mood: 'fine' });
});

t.test('notices: the newest 100 of 7 days, read by any terminal for all', async (t) => {
  const im = await open(t);
  const [alice, bob] = [name('alice'), name('bob')];
  const [a, b] = [await im.link(alice), await im.link(bob)];
  t.same(await b.ok('sync', { conversation: 'system', since: 0 }), { notices: [], throughSeq: 0, more: false });
  t.match(await b.ok('read', { conversation: 'system' }), { readSeq: 0, unread: 0 });
  const first = await groupOf('ChatRoom', a, [b]);
  t.match(await b.event(isNotice(7)), {
    conversation: 'system',
    seq: 1,
    prev: 0,
    time: Number,
    content: { ToGroupId: first },
  });
  const groups = 102;
  for (let i = 1; i < groups; i++) await groupOf('ChatRoom', a, [b]);
  const b2 = await im.link(bob, { platform: 'Web' });
  const page = await b.ok('sync', { conversation: 'system', since: 0, limit: 60 });
  const seqs = (notices: unknown) => (notices as { seq: number }[]).map(({ seq }) => seq);
  t.same(
    seqs(page.notices),
    Array.from({ length: 60 }, (_, i) => i + 3),
    'what is beyond 100 is gone',
  );
  t.match(page, { more: true, throughSeq: 62 });
  const rest = await b.ok('sync', { conversation: 'system', since: 62 });
  t.same(
    seqs(rest.notices),
    Array.from({ length: 40 }, (_, i) => i + 63),
  );
  t.match(rest, { more: false, throughSeq: groups });
  t.match((await b.ok('groupStates')).system, { seq: groups, readSeq: 0, unread: 100 });
  t.same(await b.ok('read', { conversation: 'system', seq: 100 }), { readSeq: 100, unread: 2 });
  t.same(await b2.event(({ on }) => on === 'read'), { on: 'read', conversation: 'system', readSeq: 100, unread: 2 });
  t.same(await b.ok('read', { conversation: 'system', seq: 7 }), { readSeq: 100, unread: 2 }, 'never back');
  im.clock.advance(7 * 86_400 + 1);
  const late = await im.link(bob);
  t.match(await late.ok('sync', { conversation: 'system', since: 0 }), { notices: [], throughSeq: groups });
  t.match((await late.ok('groupStates')).system, { seq: groups, unread: 0 });
});

/** A bus that loses events while it is told to. */
function lossyBus(): Bus & { isLossy: boolean } {
  const subscribers = new Set<Parameters<Bus['subscribe']>[0]>();
  const bus: Bus & { isLossy: boolean } = {
    isLossy: false,
    publish(to, event, exceptLink) {
      if (!bus.isLossy) for (const fn of subscribers) fn(to, event, exceptLink);
    },
    publishMany(to, event, exceptLink) {
      for (const account of to) bus.publish(account, event, exceptLink);
    },
    subscribe(fn) {
      subscribers.add(fn);
      return () => subscribers.delete(fn);
    },
    onGap: () => () => {},
  };
  return bus;
}

t.test('a lost wake of a group or of notices heals with a heartbeat; what was not lost costs no resync', async (t) => {
  const bus = lossyBus();
  const im = await open(t, { deps: { bus } });
  const [alice, bob, carol] = [name('alice'), name('bob'), name('carol')];
  const [a, b, c] = [await im.link(alice), await im.link(bob), await im.link(carol)];
  const group = await groupOf('Private', a, [b, c]);
  const conversation = `group:${group}`;
  const other = `group:${await groupOf('Private', a, [b])}`;
  await a.ok('send', { conversation, ...said('seen') });
  await b.event(isMessage('seen'));
  await c.ok('modifyMember', { group, receive: 'Discard' });
  const links = [a, b, c];
  const resyncs = () => links.map((link) => link.events.filter(({ on }) => on === 'resync').length);
  const looks = async () => {
    const found = await im.metrics.registry.getSingleMetric('qalgate_im_link_resyncs_total')?.get();
    return found?.values.reduce((sum, { value }) => sum + value, 0);
  };
  /** A beat of all a period later. */
  const beat = async () => {
    im.clock.advance(61);
    await Promise.all(links.map((link) => link.ok('beat')));
  };
  await beat();
  bus.isLossy = true;
  await a.ok('send', { conversation, ...said('lost') });
  bus.isLossy = false;
  await beat();
  await until(() => resyncs()[1] === 1);
  t.same(resyncs(), [0, 1, 0], 'who sent it has its answer, who discards does not want it');
  const state = ((await b.ok('groupStates')).conversations as Event[])[0];
  t.match(state, { conversation, seq: 2 });
  t.match(await b.ok('sync', { conversation, since: 1 }), {
    messages: [{ seq: 2, body: text('lost') }],
    throughSeq: 2,
  });

  // What was lost and is fetched before the look for it is there.
  bus.isLossy = true;
  await a.ok('send', { conversation: other, ...said('fetched') });
  await groupOf('ChatRoom', a, [c]);
  bus.isLossy = false;
  await b.ok('sync', { conversation: other, since: 0 });
  for (const link of [a, c]) await link.ok('sync', { conversation: 'system', since: 0 });

  // Nothing is lost: a message, a tip and notices.
  await beat();
  await a.ok('send', { conversation, ...said('fine') });
  await a.ok('modifyGroup', { group, name: 'Coffee' });
  await b.event(isTip(6));
  await groupOf('ChatRoom', a, [b]);
  await b.event(isNotice(7));
  await beat();
  // The looks before this one are over when this one is.
  bus.isLossy = true;
  await groupOf('ChatRoom', a, [c]);
  bus.isLossy = false;
  await beat();
  await until(() => resyncs()[2] === 1);
  t.equal(resyncs()[1], 1, 'nothing of what came was looked for');
  await until(() => resyncs()[0] === 1);
  t.equal(await looks(), 3, 'its own notice of the group that it made was lost, too');
  t.match((await c.ok('groupStates')).system, { seq: 2, unread: 2 });
});

t.test('[G34] whoever follows a group has each seq once and nothing else, whatever is lost on the way', async (t) => {
  const bus = lossyBus();
  const im = await open(t, { deps: { bus } });
  const owner = await im.link(name('owner'));
  const accounts = Array.from({ length: 4 }, () => name('f'));
  for (const account of accounts) await (await im.link(account)).close();
  const { group } = await owner.ok('createGroup', { type: 'Private', name: 'Tea', members: accounts });
  const conversation = `group:${group}`;
  await owner.ok('send', { conversation, ...said('first') });
  const followers = accounts.map((account) => new GroupFollower(im, account, conversation));
  for (const follower of followers) await follower.connect();
  let state = 42;
  const chance = (share: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648 < share;
  };
  for (let step = 0; step < 120; step++) {
    bus.isLossy = chance(0.3);
    const { seq } = await owner.ok('send', { conversation, ...said(`w${step}`) });
    if (chance(0.2)) await owner.ok('recall', { conversation, seq });
    if (chance(0.1)) await owner.ok('modifyGroup', { group, name: `Tea ${step}` });
    bus.isLossy = false;
    for (const follower of followers) {
      if (chance(0.1)) await follower.cut();
      if (!follower.isConnected && chance(0.4)) await follower.connect();
      if (chance(0.5)) await follower.settle();
    }
  }
  for (const follower of followers) {
    if (!follower.isConnected) await follower.connect();
    await follower.settle();
    // The last events may have been lost; a period later the link says so.
    await follower.catchUp();
  }
  const { rows } = await im.db.pool.query<{ seq: number; body: string; recall_no: number }>(
    `select x.seq, x.body, x.recall_no from message x join chat_group g on g.conversation_id = x.conversation_id
     where g.group_id = $1 order by x.seq`,
    [group],
  );
  t.ok(rows.length > 120 && rows.some(({ recall_no }) => recall_no > 0));
  t.same(
    rows.map(({ seq }) => seq),
    rows.map((_, i) => i + 1),
    'no gap',
  );
  const stored = rows.map(({ seq, body, recall_no }) => [seq, recall_no > 0 ? '' : JSON.stringify(JSON.parse(body))]);
  for (const { held } of followers)
    t.same(
      [...held].sort(([x], [y]) => x - y),
      stored,
    );
});

t.test('[DESIGN §6] a message to a group is written once, for whoever is online in it', async (t) => {
  const directory = createLinkDirectory();
  const sent: string[][] = [];
  const host: LinkHost = {
    queueBytes: 1e6,
    nothingWaits: new WaitingFrames(),
    queued() {},
    fellBehind() {},
    dropped() {},
    ending() {},
    sent() {},
  };
  const writes = new Set<Buffer>();
  const members = 1_000;
  for (let no = 1; no <= members; no++) {
    const frames: string[] = [];
    sent.push(frames);
    const sendReady = ({ text, bytes }: ReadyFrame) => {
      frames.push(text);
      writes.add(bytes);
    };
    const socket = { bufferedAmount: 0, sendReady } as unknown as LinkSocket;
    const facts = { socket, address: '', network: '', origin: undefined, openedMs: 0, heardMs: 0 };
    const link = new Link(host, facts);
    link.state = 'open';
    link.linkId = `link ${no}`;
    const account = { no: no as AccountNo, sdkAppId: imAppId, identifier: `m${no}` as AccountId };
    link.terminal = { account, platform: 'Web', autoReport: true, expiresAtMs: 0 };
    directory.add(link);
    directory.opened(link);
  }
  const subscribers: Parameters<Bus['subscribe']>[0][] = [];
  const bus = {
    subscribe(fn: (typeof subscribers)[0]) {
      subscribers.push(fn);
      return () => {};
    },
    onGap: () => () => {},
  };
  const metrics = { event() {}, resync() {} } as unknown as LinkMetrics;
  const stop = feedEvents({ bus: bus as unknown as Bus, directory, metrics });
  let written = 0;
  const message: StoredMessage = {
    conversationId: 1 as ConversationId,
    seq: 5,
    from: 'm7' as AccountId,
    time: 1,
    msgSeq: 0,
    random: 1,
    get body() {
      written += 1;
      return '[]';
    },
    clientId: 'mine',
    recalled: false,
  };
  const event: LinkEvent = { kind: 'group-message', groupId: 'g', message };
  for (let no = 1; no <= members; no++) subscribers[0]?.(no as AccountNo, event, 'link 3');
  for (const link of directory.all) link.flush();
  stop();
  t.equal(written, 2, 'once for all, and once for its sender');
  t.equal(writes.size, 3, 'and so are the bytes, but once more behind its sender');
  t.equal(sent.filter((frames) => frames.length === 1).length, members - 1, 'but for the link that has its answer');
  t.match(JSON.parse(sent[6]?.[0] ?? ''), { seq: 5, prev: 4, clientId: 'mine' });
  t.notOk('clientId' in JSON.parse(sent[7]?.[0] ?? ''));
  t.equal(
    [...directory.all].every((link) => link.linkId === 'link 3' || link.wasSent('group:g', 5)),
    true,
  );
});

t.test('a group of 1,000: what is said in one turn leaves in one write a member', async (t) => {
  const im = await open(t);
  const count = 1_000;
  const owner = name('owner');
  const a = await im.link(owner);
  const accounts = Array.from({ length: count - 1 }, () => name('m'));
  for (let at = 0; at < accounts.length; at += 100) {
    await im.call('im_open_login_svc/multiaccount_import', { Accounts: accounts.slice(at, at + 100) });
  }
  const { group } = await a.ok('createGroup', { type: 'ChatRoom', name: 'all', members: accounts.slice(0, 500) });
  const added = await im.call('group_open_http_svc/add_group_member', {
    GroupId: group,
    MemberList: accounts.slice(500).map((Member_Account) => ({ Member_Account })),
  });
  t.match(added, { ErrorCode: 0 });
  const links: TestLink[] = [];
  for (let at = 0; at < accounts.length; at += 50) {
    links.push(...(await Promise.all(accounts.slice(at, at + 50).map((account) => im.link(account)))));
  }
  t.match(await a.ok('group', { group }), { memberCount: count });
  const speakers = links.slice(0, 30);
  const listeners = links.slice(30);
  const frames = listeners.map(() => 0);
  listeners.forEach(({ socket }, index) => {
    socket.on('message', () => {
      frames[index] = (frames[index] ?? 0) + 1;
    });
  });
  const conversation = `group:${group}`;
  await Promise.all(
    speakers.map(async (link, i) => {
      const fields = { conversation, ...said(`w${i}`, { priority: 'High' }) };
      for (let isSent = false; !isSent; ) {
        const { ok, error } = await link.ask('send', fields);
        isSent = ok !== undefined;
        // What took too long is sent again as it was, and stays one message (M13).
        if (!isSent && (error as { retryable?: boolean }).retryable !== true) throw new Error(JSON.stringify(error));
      }
    }),
  );
  const inOrder = speakers.map((_, i) => [i, i + 1]);
  await Promise.all(listeners.map((link) => link.event(({ on, seq }) => on === 'message' && seq === speakers.length)));
  const seqsOf = ({ events }: TestLink) =>
    events.filter(({ on }) => on === 'message').map(({ prev, seq }) => [prev, seq]);
  t.same(
    listeners.filter((link) => JSON.stringify(seqsOf(link)) !== JSON.stringify(inOrder)),
    [],
    'each of them, in order',
  );
  const most = Math.max(...frames);
  t.ok(most <= speakers.length / 2, `${speakers.length} messages came in up to ${most} writes`);
});

t.test(
  '[G8][G10][G11][G22][G39] no member, too low a role, dismissed meanwhile: each request says so, and does nothing',
  async (t) => {
    const im = await open(t);
    const names = ['owner', 'admin', 'plain', 'other', 'stranger'].map(name);
    const links = await Promise.all(names.map((one) => im.link(one)));
    const [owner, admin, plain, , stranger] = links as [TestLink, TestLink, TestLink, TestLink, TestLink];
    const [, adminName, , other] = names;
    const made = async () => {
      const group = await groupOf('Public', owner);
      const MemberList = names.slice(1, 4).map((Member_Account) => ({ Member_Account }));
      await im.call('group_open_http_svc/add_group_member', { GroupId: group, MemberList, Silence: 1 });
      await owner.ok('modifyMember', { group, account: adminName, role: 'Admin' });
      await owner.ok('send', { conversation: `group:${group}`, ...said('first') });
      return group;
    };
    const group = await made();
    const dismissed = await made();
    await owner.ok('dismissGroup', { group: dismissed });

    const accounts = [other];
    const answer = { key: '1', auth: 'x', agrees: true };
    /** Of a request, who gets it: 'all': each member. Of the conversation those that name it. */
    type Row = [what: string, fields: object, who: 'all' | 'managers' | 'owner' | 'nobody'];
    const ofGroup: Row[] = [
      ['group', {}, 'all'],
      ['groupMembers', {}, 'all'],
      ['mutedMembers', {}, 'managers'],
      ['modifyGroup', { name: 'New' }, 'managers'],
      ['modifyGroup', { muted: true }, 'managers'],
      ['inviteMembers', { accounts }, 'managers'],
      ['removeMembers', { accounts }, 'managers'],
      ['muteMembers', { accounts, seconds: 5 }, 'managers'],
      ['removeMembers', { accounts: [adminName] }, 'owner'],
      ['muteMembers', { accounts: [adminName], seconds: 5 }, 'owner'],
      ['modifyMember', { account: other, nameCard: 'x' }, 'managers'],
      ['modifyMember', { account: other, role: 'Admin' }, 'owner'],
      ['modifyMember', { account: other, receive: 'Discard' }, 'nobody'],
      ['modifyMember', { nameCard: 'me' }, 'all'],
      ['modifyMember', { receive: 'AcceptNotNotify' }, 'all'],
      ['transferGroup', { to: other }, 'owner'],
      ['dismissGroup', {}, 'owner'],
      ['quitGroup', {}, 'all'],
    ];
    const ofConversation: Row[] = [
      ['send', said('x'), 'all'],
      ['recall', { seq: 1 }, 'managers'],
      ['read', { seq: 1 }, 'all'],
      ['sync', { since: 0 }, 'all'],
      ['history', {}, 'all'],
    ];
    const rows = [
      ...ofGroup.map(([what, fields, who]) => ({ what, who, of: (id: string) => ({ group: id, ...fields }) })),
      ...ofConversation.map(([what, fields, who]) => ({
        what,
        who,
        of: (id: string) => ({ conversation: `group:${id}`, ...fields }),
      })),
    ];
    const before = await snapshot(im.db);
    for (const { what, who, of } of rows) {
      const title = `${what} ${JSON.stringify(of('x')).slice(0, 80)}`;
      const [no, gone] = [await stranger.ask(what, of(group)), await owner.ask(what, of(dismissed))];
      t.match(
        no.error,
        { code: 10007, name: 'GROUP_FORBIDDEN', reason: /is no member of the group/ },
        `${title}: no member`,
      );
      t.notOk((no.error as { field?: string }).field, 'it is about no field');
      t.match(gone.error, { code: 10010, name: 'GROUP_UNKNOWN' }, `${title}: dismissed`);
      const low = who === 'all' ? [] : who === 'managers' ? [plain] : [plain, admin];
      // Others' messages are an admin's to recall, so a plain member is told of that message.
      const code = what === 'recall' ? 10032 : 10007;
      for (const link of low) t.match((await link.ask(what, of(group))).error, { code }, `${title}: too low`);
      if (who === 'nobody') t.match((await owner.ask(what, of(group))).error, { code }, `${title}: not even its owner`);
    }
    for (const [what, of] of [
      ['findGroup', { group: dismissed }],
      ['applyToGroup', { group: dismissed }],
      ['answerApplication', { group: dismissed, ...answer }],
      ['answerInvitation', { group: dismissed, ...answer }],
    ] as const) {
      t.match((await stranger.ask(what, of)).error, { code: 10010, name: 'GROUP_UNKNOWN' }, what);
    }
    t.equal(await snapshot(im.db), before, 'nothing was changed');
  },
);

t.test('every request of groups says which field is wrong, why, and what would be right', async (t) => {
  const im = await open(t);
  const [alice, bob] = [name('alice'), name('bob')];
  const [a, b] = [await im.link(alice), await im.link(bob)];
  const group = await groupOf('Public', a);
  const room = await groupOf('AVChatRoom', a);
  const conversation = `group:${group}`;
  const good = said('x');
  const tooMany = Array.from({ length: 501 }, (_, i) => `many-${i}`);
  const cases: [string, object, object][] = [
    ['createGroup', { name: 'x' }, { field: 'type', reason: 'is missing' }],
    ['createGroup', { type: 'Public' }, { field: 'name', reason: 'is missing' }],
    ['createGroup', { type: 'Club', name: 'x' }, { code: 10004, field: 'type', allowed: /Public/ }],
    ['createGroup', { type: 'Public', name: 'x'.repeat(31) }, { code: 10004, field: 'name', allowed: /30 bytes/ }],
    ['createGroup', { type: 'Public', name: 'é'.repeat(16) }, { code: 10004, field: 'name', allowed: /30 bytes/ }],
    ['createGroup', { type: 'Public', name: 'x', introduction: `${'é'.repeat(120)}x` }, { field: 'introduction' }],
    ['createGroup', { type: 'Public', name: 'x', notification: `${'é'.repeat(150)}x` }, { field: 'notification' }],
    ['createGroup', { type: 'Public', name: 'a\u0000b' }, { field: 'name', reason: /U\+0000/ }],
    ['createGroup', { type: 'Public', name: '\ud800' }, { field: 'name', reason: /well-formed/ }],
    ['createGroup', { type: 'Public', name: 7 }, { field: 'name', reason: 'must be a string' }],
    ['createGroup', { type: 'Public', name: 'x', members: [bob, ''] }, { field: 'members[1]' }],
    ['createGroup', { type: 'Public', name: 'x', members: ['nobody at all'] }, { code: 10019, field: 'members' }],
    [
      'createGroup',
      { type: 'Public', name: 'x', members: tooMany },
      { field: 'members', reason: 'has 501 entries', allowed: 'at most 500' },
    ],
    ['createGroup', { type: 'Public', name: 'x', members: 'x' }, { field: 'members', allowed: 'at most 500 entries' }],
    ['createGroup', { type: 'Public', name: 'x', maxMembers: 0 }, { field: 'maxMembers', allowed: '1 … 1000000' }],
    ['createGroup', { type: 'Public', name: 'x', maxMembers: 2_001 }, { code: 10004, field: 'maxMembers' }],
    ['createGroup', { type: 'Public', name: 'x', applyOption: 'no' }, { field: 'applyOption', allowed: /FreeAccess/ }],
    ['createGroup', { type: 'Public', name: 'x', custom: [] }, { field: 'custom', reason: 'must be an object' }],
    [
      'createGroup',
      { type: 'Public', name: 'x', custom: { k: 1 } },
      { field: 'custom', allowed: '{"key": "value", …}' },
    ],
    ['createGroup', { type: 'Public', name: 'x', custom: { k: 'v' } }, { field: /^custom/ }],
    ['group', {}, { field: 'group', reason: 'is missing' }],
    ['group', { group: 'é' }, { code: 10015, field: 'group', allowed: /1 … 48 characters/ }],
    ['findGroup', { group: 'x'.repeat(49) }, { code: 10015, field: 'group', reason: 'has 49 characters' }],
    ['modifyGroup', { group }, { reason: 'names nothing to be changed', allowed: /muted/ }],
    ['modifyGroup', { group, muted: 1 }, { field: 'muted', allowed: 'true, false' }],
    ['modifyGroup', { group, name: '' }, { code: 10004, field: 'name' }],
    ['modifyGroup', { group, faceUrl: 'x'.repeat(101) }, { code: 10004, field: 'faceUrl' }],
    ['transferGroup', { group }, { field: 'to', reason: 'is missing' }],
    ['transferGroup', { group, to: 'nobody at all' }, { code: 10019, field: 'to' }],
    ['groupMembers', { group, roles: ['King'] }, { field: 'roles[0]', allowed: 'Owner, Admin, Member' }],
    ['groupMembers', { group, limit: 201 }, { field: 'limit', allowed: '1 … 200' }],
    ['groupMembers', { group, accounts: [7] }, { field: 'accounts[0]' }],
    ['inviteMembers', { group, accounts: tooMany }, { field: 'accounts', allowed: 'at most 500' }],
    ['inviteMembers', { group }, { field: 'accounts', reason: 'is missing' }],
    ['inviteMembers', { group, accounts: [] }, { field: 'accounts', reason: 'is empty' }],
    ['inviteMembers', { group, accounts: ['nobody at all'] }, { code: 10019, field: 'accounts' }],
    ['removeMembers', { group, accounts: tooMany }, { field: 'accounts', allowed: 'at most 500' }],
    ['removeMembers', { group, accounts: [bob], reason: 7 }, { field: 'reason', reason: 'must be a string' }],
    [
      'removeMembers',
      { group, accounts: [bob], reason: 'é'.repeat(501) },
      { field: 'reason', reason: 'is too long', allowed: 'at most 1000 bytes of UTF-8' },
    ],
    ['modifyMember', { group }, { reason: 'names nothing to be changed' }],
    ['modifyMember', { group, receive: 'Sometimes' }, { field: 'receive', allowed: /Discard/ }],
    ['modifyMember', { group, role: 'Owner' }, { field: 'role', allowed: 'Admin, Member' }],
    ['modifyMember', { group, nameCard: 'x'.repeat(51) }, { code: 10004, field: 'nameCard' }],
    ['modifyMember', { group, nameCard: `${'é'.repeat(25)}x` }, { code: 10004, field: 'nameCard' }],
    ['modifyMember', { group, custom: { Unknown: 'x' } }, { code: 10004, field: 'custom', reason: /"Unknown"/ }],
    ['modifyMember', { group, account: bob, nameCard: 'x' }, { code: 10004, field: 'account' }],
    ['muteMembers', { group, accounts: tooMany, seconds: 1 }, { field: 'accounts', allowed: 'at most 500' }],
    ['muteMembers', { group, accounts: [bob] }, { field: 'seconds', reason: 'is missing' }],
    ['muteMembers', { group, accounts: [bob], seconds: -1 }, { field: 'seconds', allowed: '0 … 4294967295' }],
    [
      'applyToGroup',
      { group, words: `${'é'.repeat(120)}x` },
      { field: 'words', allowed: 'at most 240 bytes of UTF-8' },
    ],
    ['applyToGroup', { group, words: 'x'.repeat(241) }, { field: 'words', allowed: 'at most 240 bytes of UTF-8' }],
    [
      'answerApplication',
      { group, key: 'x', auth: 'x', agrees: true },
      { field: 'key', allowed: 'the `key` of a request' },
    ],
    ['answerApplication', { group, key: '1', agrees: true }, { field: 'auth', reason: 'is missing' }],
    ['answerInvitation', { group, key: '1', auth: 'x' }, { field: 'agrees', reason: 'is missing' }],
    [
      'answerInvitation',
      { group, key: '1', auth: 'x', agrees: 'yes' },
      { field: 'agrees', reason: 'must be a boolean' },
    ],
    ['groupRequests', { before: 5 }, { field: 'before' }],
    ['groupRequests', { limit: 0 }, { field: 'limit', allowed: '1 … 100' }],
    ['groups', { limit: 0 }, { field: 'limit', allowed: '1 … 200' }],
    ['groups', { type: 7 }, { field: 'type' }],
    ['groupStates', { after: 'x' }, { field: 'after', allowed: '1 … 2^53 - 1' }],
    ['send', { conversation: 'group:', ...good }, { code: 10015, field: 'conversation', allowed: /48/ }],
    ['send', { conversation: 'group:nowhere', ...good }, { name: 'GROUP_UNKNOWN', field: 'conversation' }],
    [
      'send',
      { conversation, ...good, priority: 'Highest' },
      { field: 'priority', allowed: 'High, Normal, Low, Lowest' },
    ],
    ['send', { conversation, ...good, online: 1 }, { field: 'online' }],
    [
      'send',
      { conversation: `group:${room}`, ...good, online: true },
      { code: 10007, field: 'online', allowed: 'absent' },
    ],
    ['send', { conversation, ...good, lifetimeSec: 5 }, { field: 'lifetimeSec', reason: /one-to-one/ }],
    ['send', { conversation, ...good, clientId: '' }, { field: 'clientId' }],
    ['send', { conversation, ...good, body: [] }, { field: 'body' }],
    [
      'send',
      { conversation: 'system', ...good },
      { field: 'conversation', allowed: 'c2c: and an account; group: and the id of a group' },
    ],
    ['recall', { conversation, seq: 0 }, { field: 'seq', allowed: '1 … 2^53 - 1' }],
    ['recall', { conversation, seq: 99 }, { name: 'GROUP_MESSAGE_UNKNOWN', code: 10030, field: 'seq' }],
    ['sync', { conversation }, { field: 'since', reason: 'is missing' }],
    ['sync', { conversation: 'group:nowhere', since: 0 }, { name: 'GROUP_UNKNOWN', field: 'conversation' }],
    ['history', { conversation: 'group:nowhere' }, { name: 'GROUP_UNKNOWN', field: 'conversation' }],
    ['recall', { conversation: 'group:nowhere', seq: 1 }, { name: 'GROUP_UNKNOWN', field: 'conversation' }],
    ['sync', { conversation, since: 0, limit: 201 }, { field: 'limit', allowed: '1 … 200' }],
    ['sync', { conversation: 'system', since: -1 }, { field: 'since' }],
    ['history', { conversation, before: 0 }, { field: 'before' }],
    ['history', { conversation: 'system' }, { field: 'conversation', reason: 'is none that `history` is for' }],
    ['hide', { conversation }, { field: 'conversation', allowed: 'c2c: and an account' }],
    ['read', { conversation, seq: -1 }, { field: 'seq' }],
    [
      'read',
      { conversation: 'room:x' },
      { reason: 'is no conversation that there is', allowed: /c2c: .*group: .*system/ },
    ],
    ['read', { conversation: 'systems' }, { field: 'conversation', reason: 'is no conversation that there is' }],
    ['read', {}, { field: 'conversation', reason: 'is missing' }],
    ['unread', { conversations: ['group:'] }, { field: 'conversations[0]' }],
    ['unread', { conversations: ['room:x'] }, { field: 'conversations[0]', allowed: /system/ }],
    ['ack', { items: [['group:', 1]] }, { field: 'items[0][0]' }],
  ];
  for (const [what, fields, error] of cases) {
    const answer = await a.ask(what, fields);
    t.match(
      answer.error,
      { code: Number, name: String, retryable: false, ...error },
      `${what} ${JSON.stringify(fields).slice(0, 80)}`,
    );
  }
  t.match(await a.ok('groups'), { total: 1, groups: [{ group, name: 'Tea', memberCount: 1 }] }, 'nothing was done');
  t.same(b.events, []);
});

t.test('whatever a request of groups holds, it is answered, and what is refused changes nothing', async (t) => {
  const im = await open(t, {
    app: { groupFields: [{ key: 'Level', types: [], read: 'Member', write: 'Member', callback: true }] },
  });
  const [alice, bob] = [name('alice'), name('bob')];
  const [a, b] = [await im.link(alice), await im.link(bob)];
  const groups: string[] = [];
  for (const type of ['Private', 'Public', 'ChatRoom', 'AVChatRoom']) {
    groups.push(await groupOf(type, a, type === 'AVChatRoom' ? [] : [b]));
  }
  const odd = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom('', 'x\u0000', '\ud800', -1, 0.5, 2 ** 53, 'x'.repeat(9_000), Array(501).fill(alice)),
  );
  const [group, account, number, words] = [
    fc.constantFrom(...groups, 'nowhere'),
    fc.constantFrom(alice, bob, 'nobody at all'),
    fc.constantFrom(0, 1, 2, 3, 100, 2 ** 31, Number.MAX_SAFE_INTEGER),
    fc.constantFrom('x', '', 'é'.repeat(20), 'x'.repeat(300)),
  ];
  const accounts = fc.array(account, { maxLength: 3 });
  const conversation = fc.oneof(
    group.map((id) => `group:${id}`),
    fc.constantFrom('system', 'group:', 'group'),
  );
  const profile = {
    ...{ name: words, introduction: words, notification: words, faceUrl: words, maxMembers: number },
    applyOption: fc.constantFrom('FreeAccess', 'NeedPermission', 'DisableApply'),
    custom: fc.dictionary(fc.constantFrom('Level', 'none', '__proto__'), words, { maxKeys: 2 }),
  };
  const answer = { group, key: fc.constantFrom('1', '2', '3'), auth: words, agrees: fc.boolean(), words };
  const page = { offset: number, limit: number };
  const requests: Record<string, Record<string, fc.Arbitrary<unknown>>> = {
    createGroup: { type: fc.constantFrom('Public', 'Private', 'BChatRoom', 'Club'), ...profile, members: accounts },
    modifyGroup: { group, ...profile, muted: fc.boolean() },
    transferGroup: { group, to: account },
    ...{ dismissGroup: { group }, quitGroup: { group }, group: { group }, findGroup: { group } },
    ...{ mutedMembers: { group }, groups: { type: words, ...page }, groupStates: { after: number } },
    groupMembers: { group, roles: fc.array(fc.constantFrom('Owner', 'King')), accounts, ...page },
    ...{ inviteMembers: { group, accounts }, removeMembers: { group, accounts, reason: words } },
    modifyMember: {
      ...{ group, account, role: fc.constantFrom('Admin', 'Member'), nameCard: words, custom: profile.custom },
      ...{ receive: fc.constantFrom('Discard', 'AcceptAndNotify'), muteSec: number },
    },
    muteMembers: { group, accounts, seconds: number },
    ...{ applyToGroup: { group, words, userField: words }, answerApplication: answer, answerInvitation: answer },
    groupRequests: { before: answer.key, limit: number },
    send: { conversation, body: fc.constant(text('x')), clientId: words, priority: words, online: fc.boolean() },
    ...{ recall: { conversation, seq: number }, read: { conversation, seq: number } },
    sync: { conversation, since: number, recallNo: number, limit: number },
    history: { conversation, before: number, limit: number },
  };
  const oneOf = Object.entries(requests).map(([what, fields]) => {
    const some = Object.entries(fields).map(([field, right]): [string, fc.Arbitrary<unknown>] => {
      return [field, fc.oneof({ weight: 12, arbitrary: right }, { weight: 1, arbitrary: odd })];
    });
    const whole = Object.fromEntries(some);
    const given = fc.oneof(fc.record(whole), fc.record(whole, { requiredKeys: [] }));
    return given.map((one) => ({ what, fields: one, names: Object.keys(fields) }));
  });
  await fc.assert(
    fc.asyncProperty(fc.oneof(...oneOf), fc.constantFrom(a, b), async ({ what, fields, names }, link) => {
      const before = await snapshot(im.db);
      const { ok, error } = await link.ask(what, fields);
      if (ok !== undefined) return;
      const { name: refusal, field } = error as { name: string; field?: string };
      if (['INTERNAL', 'DATABASE_UNAVAILABLE', 'TIMED_OUT'].includes(refusal)) throw new Error(JSON.stringify(error));
      if ((await snapshot(im.db)) !== before) throw new Error(`changed all the same: ${JSON.stringify(error)}`);
      if (field !== undefined && !names.includes(/^[A-Za-z]*/.exec(field)?.[0] ?? '')) {
        throw new Error(`names a field that ${what} does not have: ${JSON.stringify(error)}`);
      }
    }),
    { numRuns: 300, endOnFailure: true },
  );
  t.pass('300 requests');
});
