import t from 'tap';
import type { GroupMessages, Groups } from '../../src/im/group-services.ts';
import type { GroupMember } from '../../src/im/groups/model.ts';
import { createLocalBus } from '../../src/im/local-bus.ts';
import type { Account } from '../../src/im/model.ts';
import type { GroupDecision, GroupQuestion } from '../../src/im/ports.ts';
import type { LinkEvent } from '../../src/im/services.ts';
import type { AccountId } from '../../src/wire/index.ts';
import { makeTestLogger, openTestDatabase } from '../support/database.ts';
import { imAppId, openIm } from '../support/im.ts';
import { ok, openEdge, type Refusal, refuses, snapshot, text, tooLongName } from '../support/rest.ts';

t.setTimeout(60_000);
const database = await openTestDatabase(t);
const bus = createLocalBus({ logger: makeTestLogger().logger });
const asked: GroupQuestion[] = [];
const service = await openIm(t, {
  database,
  deps: {
    bus,
    ports: {
      beforeGroup: {
        wants: (_, command) => command === 'Group.CallbackBeforeSendMsg',
        ask: async (question): Promise<GroupDecision> => {
          asked.push(question);
          const said = JSON.stringify(question.fields.MsgBody);
          if (said.includes('my own code')) return { kind: 'refuse', code: 10_117, reason: 'come back at noon' };
          if (said.includes('refuse me')) return { kind: 'refuse', reason: 'not today' };
          if (said.includes('drop me')) return { kind: 'drop' };
          return { kind: 'allow', outcome: 'allowed' };
        },
      },
      consumers: () => 3,
    },
  },
});
const events: { to: number; event: LinkEvent }[] = [];
bus.subscribe((to, event) => void events.push({ to, event }));
await service.call('im_open_login_svc/multiaccount_import', { Accounts: ['lin', 'mo', 'zed', 'kay'] });
await service.call('openim_dirty_words/add', { DirtyWordsList: ['coffee'] });

const svc = 'group_open_http_svc';
const call = (command: string, body: object) => service.call(`${svc}/${command}`, body);
const done = async (command: string, body: object) => {
  const answer = await call(command, body);
  if (answer.ErrorCode !== 0) throw new Error(`${command}: ${answer.ErrorCode} ${answer.ErrorInfo}`);
  return answer;
};
const refused = (command: string, valid: object, refusals: readonly Refusal[]) =>
  refuses(t, service, `${svc}/${command}`, valid, refusals);
const account = async (name: string) => (await service.im.accounts.find(imAppId, name as AccountId)) as Account;

const member = (...names: string[]) => names.map((Member_Account) => ({ Member_Account }));
async function make(fields: object = {}): Promise<string> {
  const { GroupId } = await done('create_group', {
    Type: 'Public',
    Name: 'Tea club',
    Owner_Account: 'lin',
    MemberList: member('mo'),
    ...fields,
  });
  return String(GroupId);
}
const live = (Type: 'AVChatRoom' | 'BChatRoom') =>
  make({ Type, MemberList: undefined, ...(Type === 'BChatRoom' ? { Owner_Account: undefined } : {}) });

let random = 0;
const message = (GroupId: string, fields: object = {}) => ({
  GroupId,
  From_Account: 'lin',
  Random: ++random,
  MsgBody: [text('tea at five')],
  ...fields,
});
const send = (GroupId: string, fields: object = {}) => done('send_group_msg', message(GroupId, fields));

interface Item {
  From_Account: string;
  IsPlaceMsg: number;
  MsgBody: { MsgContent: { Text: string } }[];
  MsgPriority?: number;
  MsgRandom: number;
  MsgSeq: number;
  MsgTimeStamp: number;
}
async function history(GroupId: string, fields: object = {}): Promise<Item[]> {
  return (await done('group_msg_get_simple', { GroupId, ReqMsgNumber: 20, ...fields })).RspMsgList as Item[];
}
const textsOf = (items: readonly Item[]) => items.map(({ MsgBody }) => MsgBody[0]?.MsgContent.Text);
async function unread(GroupId: string, Member_Account: string): Promise<number | undefined> {
  const { GroupIdList } = await done('get_joined_group_list', {
    Member_Account,
    ResponseFilter: { SelfInfoFilter: ['UnreadMsgNum'] },
  });
  const list = GroupIdList as { GroupId: string; SelfInfo: { UnreadMsgNum: number } }[];
  return list.find((one) => one.GroupId === GroupId)?.SelfInfo.UnreadMsgNum;
}

const wrongIds: readonly Refusal[] = [
  [{ GroupId: undefined }, 10004, 'GroupId'],
  [{ GroupId: {} }, 10004, 'GroupId'],
  [{ GroupId: '' }, 10015, 'GroupId'],
  [{ GroupId: 'x'.repeat(49) }, 10015, 'GroupId'],
];
const wrongNames = (name: string): readonly Refusal[] => [
  [{ [name]: undefined }, 10004, name],
  [{ [name]: ['lin'] }, 10004, name],
  [{ [name]: '' }, 10004, name],
  [{ [name]: tooLongName }, 10004, name],
  [{ [name]: 'ghost' }, 10019, name],
];

t.test('[G22] send_group_msg: as documented', async (t) => {
  await make({ GroupId: 'club' });
  const first = await call('send_group_msg', {
    GroupId: 'club',
    From_Account: 'lin',
    Random: 90_211,
    MsgPriority: 'High',
    MsgBody: [text('tea at five'), { MsgType: 'TIMFaceElem', MsgContent: { Index: 3, Data: 'cup' } }],
  });
  t.strictSame(first, { ...ok, MsgTime: first.MsgTime, MsgSeq: 1 });
  t.ok(Math.abs(Number(first.MsgTime) - service.clock() / 1_000) < 10);
  t.match(asked.at(-1), {
    command: 'Group.CallbackBeforeSendMsg',
    origin: { platform: 'RESTAPI' },
    fields: { GroupId: 'club', From_Account: 'lin', Operator_Account: 'admin', Random: 90_211 },
  });
  t.match(await send('club', { From_Account: undefined }), { MsgSeq: 2 }, 'the administrator itself');
  t.match(await send('club', { From_Account: 'kay', CloudCustomData: 'mine' }), { MsgSeq: 3 }, 'no member');
  t.match(await history('club'), [
    { From_Account: 'kay', MsgSeq: 3, CloudCustomData: 'mine', MsgPriority: 2 },
    { From_Account: 'admin', MsgSeq: 2 },
    { From_Account: 'lin', MsgSeq: 1, MsgRandom: 90_211, MsgPriority: 1, MsgBody: [{}, { MsgType: 'TIMFaceElem' }] },
  ]);
  const again = message('club');
  const sent = await call('send_group_msg', again);
  t.strictSame(await call('send_group_msg', { ...again, MsgBody: [text('other words')] }), sent, '[M13] a repeat');
});

t.test('[G28] send_group_msg: priorities by all their names', async (t) => {
  const GroupId = await make();
  const names = ['High', 'Normal', 'Low', 'Lowest', 'COMMON', 'REDPACKET', 'LOVEMSG', undefined];
  for (const MsgPriority of names) await send(GroupId, { MsgPriority });
  t.strictSame((await history(GroupId)).map(({ MsgPriority }) => MsgPriority).reverse(), [1, 2, 3, 4, 2, 1, 4, 2]);
});

t.test('send_group_msg: online only, callbacks, and what becomes of it', async (t) => {
  const GroupId = await make();
  const before = (await history(GroupId)).length;
  events.length = 0;
  t.match(await send(GroupId, { OnlineOnlyFlag: 1 }), { ...ok, MsgSeq: 0 });
  t.match(
    events.filter(({ event }) => event.kind === 'group-message'),
    [{ event: { message: { seq: 0 } } }, { event: { message: { seq: 0 } } }],
  );
  t.equal((await history(GroupId)).length, before);
  t.match(await send(GroupId, { OnlineOnlyFlag: 0 }), { MsgSeq: Number });
  t.equal((await history(GroupId)).length, before + 1);

  const [forbidBefore, forbidAfter] = ['ForbidBeforeSendMsgCallback', 'ForbidAfterSendMsgCallback'];
  const told = async (fields: object) => {
    asked.length = 0;
    const count = async () => {
      const { rows } = await service.db.pool.query(
        "select count(*) as n from outbox where event = 'Group.CallbackAfterSendMsg' and consumer = 1",
      );
      return Number(rows[0].n);
    };
    const had = await count();
    await send(GroupId, fields);
    return [asked.length, (await count()) - had];
  };
  t.strictSame(await told({}), [1, 1]);
  t.strictSame(await told({ ForbidCallbackControl: [forbidBefore] }), [0, 1]);
  t.strictSame(await told({ ForbidCallbackControl: [forbidAfter] }), [1, 0]);
  t.strictSame(await told({ ForbidCallbackControl: [forbidBefore, forbidAfter] }), [0, 0]);
  t.strictSame(await told({ ForbidCallbackControl: [], SendMsgControl: ['NoUnread', 'NoLastMsg'] }), [1, 1]);

  const says = (content: string) => call('send_group_msg', message(GroupId, { MsgBody: [text(content)] }));
  const seqs = async () => (await history(GroupId)).length;
  const had = await seqs();
  t.match(await says('refuse me'), { ActionStatus: 'FAIL', ErrorCode: 10016, ErrorInfo: 'not today' });
  t.match(await says('my own code'), { ErrorCode: 10_117, ErrorInfo: 'come back at noon' });
  t.match(await says('drop me'), { ...ok, MsgSeq: 0 }, '[K1] dropped: success with MsgSeq 0');
  t.match(await says('COFFEE'), { ErrorCode: 80001, ErrorInfo: /^MsgBody: / });
  t.equal(await seqs(), had);
  await done('forbid_send_msg', { GroupId, Members_Account: ['lin'], ShutUpTime: 60 });
  t.match(await says('muted, and it is no matter'), ok, '[M3]');
});

t.test('send_group_msg takes what is at its limits, and refuses what is beyond', async (t) => {
  const GroupId = await make();
  const frame = JSON.stringify([text('')]).length;
  const fits = text('x'.repeat(8_000 - frame));
  for (const fields of [
    { Random: 0 },
    { Random: 4_294_967_295 },
    { MsgBody: [fits] },
    { CloudCustomData: '', OfflinePushInfo: {} },
    { OnlineOnlyFlag: 4_294_967_295 },
    { To_Account: [], GroupAtInfo: [{ GroupAtAllFlag: 1 }], unknown: true },
  ]) {
    t.match(await call('send_group_msg', message(GroupId, fields)), ok, JSON.stringify(fields).slice(0, 80));
  }
  t.match(await call('send_group_msg', message('none')), { ErrorCode: 10010 });
  for (const type of ['AVChatRoom', 'BChatRoom'] as const) {
    const id = await live(type);
    t.match(await call('send_group_msg', message(id)), ok, type);
    const online = await call('send_group_msg', message(id, { OnlineOnlyFlag: 1 }));
    t.match(online, { ErrorCode: 10007, ErrorInfo: /^OnlineOnlyFlag: / }, type);
  }
  const two = [
    { MsgType: 'TIMCustomElem', MsgContent: { Data: 'a' } },
    { MsgType: 'TIMCustomElem', MsgContent: { Data: 'b' } },
  ];
  await refused('send_group_msg', message(GroupId), [
    ...wrongIds,
    ...wrongNames('From_Account').slice(1),
    [{ Random: undefined }, 10004, 'Random'],
    [{ Random: -1 }, 10004, 'Random'],
    [{ Random: '1' }, 10004, 'Random'],
    [{ Random: 4_294_967_296 }, 10004, 'Random'],
    [{ MsgPriority: 'high' }, 10004, 'MsgPriority'],
    [{ MsgPriority: 1 }, 10004, 'MsgPriority'],
    [{ MsgBody: undefined }, 10004, 'MsgBody'],
    [{ MsgBody: text('x') }, 10004, 'MsgBody'],
    [{ MsgBody: [] }, 10004, 'MsgBody'],
    [{ MsgBody: [text('x'), { MsgType: 'TIMNoElem', MsgContent: {} }] }, 10004, 'MsgBody[1].MsgType'],
    [{ MsgBody: [{ MsgType: 'TIMGroupTipElem', MsgContent: {} }] }, 10004, 'MsgBody[0].MsgType'],
    [{ MsgBody: [{ MsgType: 'TIMTextElem', MsgContent: {} }] }, 10004, 'MsgBody[0].MsgContent.Text'],
    [{ MsgBody: two }, 10004, 'MsgBody[1].MsgType'],
    [{ MsgBody: [text(`x${fits.MsgContent.Text}`)] }, 80002, 'MsgBody'],
    [{ OfflinePushInfo: [] }, 10004, 'OfflinePushInfo'],
    [{ OfflinePushInfo: { PushFlag: 2 } }, 10004, 'OfflinePushInfo.PushFlag'],
    [{ ForbidCallbackControl: 'ForbidBeforeSendMsgCallback' }, 10004, 'ForbidCallbackControl'],
    [{ ForbidCallbackControl: ['x'] }, 10004, 'ForbidCallbackControl[0]'],
    [{ OnlineOnlyFlag: -1 }, 10004, 'OnlineOnlyFlag'],
    [{ OnlineOnlyFlag: true }, 10004, 'OnlineOnlyFlag'],
    [{ SendMsgControl: ['x'] }, 10004, 'SendMsgControl[0]'],
    [{ CloudCustomData: 5 }, 10004, 'CloudCustomData'],
    [{ CloudCustomData: 'x'.repeat(8_001) }, 80002, 'CloudCustomData'],
    [{ To_Account: ['mo'] }, 10004, 'To_Account'],
  ]);
});

t.test('[G24] send_group_system_notification: as documented', async (t) => {
  const GroupId = await make({ MemberList: member('mo', 'zed') });
  const [lin, mo, zed] = [await account('lin'), await account('mo'), await account('zed')];
  const told = async (fields: object) => {
    const before = await snapshot(service.db);
    events.length = 0;
    t.strictSame(await call('send_group_system_notification', { GroupId, Content: 'maintenance at 8', ...fields }), ok);
    t.equal(await snapshot(service.db), before, 'it is kept nowhere');
    return events.map(({ to, event }) => {
      t.match(event, { kind: 'notice', seq: 0 });
      const body = event.kind === 'notice' ? JSON.parse(event.body) : undefined;
      t.match(body, { ReportType: 255, UserDefinedField: 'maintenance at 8', ToGroupId: GroupId });
      return to;
    });
  };
  const everybody = [lin.no, mo.no, zed.no].sort();
  t.strictSame((await told({})).sort(), everybody);
  t.strictSame((await told({ ToMembers_Account: [] })).sort(), everybody);
  t.strictSame(await told({ ToMembers_Account: ['mo'] }), [mo.no]);
  t.strictSame(await told({ ToMembers_Account: ['kay', 'zed'] }), [zed.no], 'members alone');
  t.strictSame(await told({ ToMembers_Account: ['kay'] }), [], 'none of them is one');
  t.match(await call('send_group_system_notification', { GroupId: 'none', Content: 'x' }), { ErrorCode: 10010 });
  for (const type of ['AVChatRoom', 'BChatRoom'] as const) {
    const room = { GroupId: await live(type), Content: 'x' };
    t.match(await call('send_group_system_notification', { ...room, ToMembers_Account: [] }), ok, type);
    const some = await call('send_group_system_notification', { ...room, ToMembers_Account: ['lin'] });
    t.match(some, { ErrorCode: 10007, ErrorInfo: /^ToMembers_Account: .*everybody.*empty/ }, type);
  }
  await refused('send_group_system_notification', { GroupId, Content: 'x' }, [
    ...wrongIds,
    [{ Content: undefined }, 10004, 'Content'],
    [{ Content: '' }, 10004, 'Content'],
    [{ Content: {} }, 10004, 'Content'],
    [{ Content: 'x'.repeat(8_001) }, 10004, 'Content'],
    [{ ToMembers_Account: 'mo' }, 10004, 'ToMembers_Account'],
    [{ ToMembers_Account: ['mo', ''] }, 10004, 'ToMembers_Account[1]'],
    [{ ToMembers_Account: ['ghost'] }, 10019, 'ToMembers_Account'],
    [{ ToMembers_Account: Array.from({ length: 501 }, () => 'mo') }, 10005, 'ToMembers_Account'],
  ]);
});

t.test('group_msg_recall: as documented', async (t) => {
  const GroupId = await make();
  for (let i = 0; i < 11; i++) await send(GroupId);
  const recall = (...seqs: number[]) =>
    call('group_msg_recall', { GroupId, MsgSeqList: seqs.map((MsgSeq) => ({ MsgSeq })) });
  t.strictSame(await recall(2, 999), {
    ...ok,
    RecallRetList: [
      { MsgSeq: 2, RetCode: 0 },
      { MsgSeq: 999, RetCode: 10030 },
    ],
  });
  t.match(await recall(1, 3, 4, 5, 6, 7, 8, 9, 10, 11), { ...ok, RecallRetList: { length: 10 } });
  t.match(await history(GroupId, { ReqMsgSeq: 2 }), [
    { From_Account: 'lin', MsgSeq: 2, IsPlaceMsg: 1, MsgBody: [] },
    { MsgSeq: 1, IsPlaceMsg: 1, MsgBody: [] },
  ]);
  t.match(await history(GroupId, { ReqMsgSeq: 1, WithRecalledMsg: 1 }), [{ MsgSeq: 1, IsPlaceMsg: 2, MsgBody: [] }]);
  await done('add_group_member', { GroupId, MemberList: member('zed') });
  t.match(await recall(12), { RecallRetList: [{ MsgSeq: 12, RetCode: 10032 }] }, 'a tip');
  t.match(await call('group_msg_recall', { GroupId: 'none', MsgSeqList: [{ MsgSeq: 1 }] }), { ErrorCode: 10010 });
  const room = await live('AVChatRoom');
  t.match(await call('group_msg_recall', { GroupId: room, MsgSeqList: [{ MsgSeq: 1 }, { MsgSeq: 2 }] }), {
    ...ok,
    RecallRetList: [
      { MsgSeq: 1, RetCode: 10033 },
      { MsgSeq: 2, RetCode: 10033 },
    ],
  });
  const eleven = Array.from({ length: 11 }, (_, i) => ({ MsgSeq: i + 1 }));
  await refused('group_msg_recall', { GroupId, MsgSeqList: [{ MsgSeq: 1 }] }, [
    ...wrongIds,
    [{ MsgSeqList: undefined }, 10004, 'MsgSeqList'],
    [{ MsgSeqList: [] }, 10004, 'MsgSeqList'],
    [{ MsgSeqList: [1] }, 10004, 'MsgSeqList[0]'],
    [{ MsgSeqList: [{ MsgSeq: '1' }] }, 10004, 'MsgSeqList[0].MsgSeq'],
    [{ MsgSeqList: [{ MsgSeq: 1 }, {}] }, 10004, 'MsgSeqList[1].MsgSeq'],
    [{ MsgSeqList: eleven }, 10004, 'MsgSeqList'],
  ]);
});

t.test('[G37] group_msg_get_simple: as documented, backwards by pages', async (t) => {
  const GroupId = await make();
  for (let i = 1; i <= 45; i++)
    await send(GroupId, { From_Account: i % 2 === 0 ? 'mo' : 'lin', MsgBody: [text(`m${i}`)] });
  const ask = (fields: object) => call('group_msg_get_simple', { GroupId, ReqMsgNumber: 20, ...fields });
  const two = await ask({ ReqMsgNumber: 2, ReqMsgSeq: 42 });
  const [one, other] = two.RspMsgList as [Item, Item];
  t.strictSame(two, {
    ...ok,
    GroupId,
    IsFinished: 1,
    RspMsgList: [
      {
        From_Account: 'mo',
        IsPlaceMsg: 0,
        MsgBody: [text('m42')],
        MsgPriority: 2,
        MsgRandom: one.MsgRandom,
        MsgSeq: 42,
        MsgTimeStamp: one.MsgTimeStamp,
      },
      {
        From_Account: 'lin',
        IsPlaceMsg: 0,
        MsgBody: [text('m41')],
        MsgPriority: 2,
        MsgRandom: other.MsgRandom,
        MsgSeq: 41,
        MsgTimeStamp: other.MsgTimeStamp,
      },
    ],
  });
  t.strictSame(textsOf(await history(GroupId, { ReqMsgNumber: 1 })), ['m45'], 'the newest');
  const read: number[] = [];
  const finished: unknown[] = [];
  for (let ReqMsgSeq = 45; ReqMsgSeq > 0; ) {
    const page = await ask({ ReqMsgNumber: 100, ReqMsgSeq });
    const items = page.RspMsgList as Item[];
    read.push(...items.map(({ MsgSeq }) => MsgSeq));
    finished.push([items.length, page.IsFinished]);
    ReqMsgSeq = (items.at(-1)?.MsgSeq ?? 1) - 1;
  }
  t.strictSame(
    read,
    Array.from({ length: 45 }, (_, i) => 45 - i),
  );
  t.strictSame(finished, [
    [20, 0],
    [20, 0],
    [5, 1],
  ]);
  t.match(
    await ask({ ReqMsgNumber: 21, ReqMsgSeq: 20 }),
    { IsFinished: 1, RspMsgList: { length: 20 } },
    'nothing is before it',
  );
  t.match(await ask({ ReqMsgNumber: 20, ReqMsgSeq: 30 }), { IsFinished: 1, RspMsgList: { length: 20 } });
  t.match(await ask({ ReqMsgSeq: 1_000 }), { RspMsgList: [{ MsgSeq: 45 }] }, 'from the newest on');
  t.match(await ask({ ReqMsgSeq: 0 }), { IsFinished: 1, RspMsgList: [] });
  const empty = await make();
  t.strictSame(await call('group_msg_get_simple', { GroupId: empty, ReqMsgNumber: 5 }), {
    ...ok,
    GroupId: empty,
    IsFinished: 1,
    RspMsgList: [],
  });
  t.match(await call('group_msg_get_simple', { GroupId: 'none', ReqMsgNumber: 5 }), { ErrorCode: 10010 });
  await done('add_group_member', { GroupId: empty, MemberList: member('zed') });
  t.match(await history(empty), [
    { MsgSeq: 1, MsgBody: [{ MsgType: 'TIMGroupTipElem', MsgContent: { OpType: 1, List_Account: ['zed'] } }] },
  ]);
  await refused('group_msg_get_simple', { GroupId, ReqMsgNumber: 5 }, [
    ...wrongIds,
    [{ ReqMsgNumber: undefined }, 10004, 'ReqMsgNumber'],
    [{ ReqMsgNumber: 0 }, 10004, 'ReqMsgNumber'],
    [{ ReqMsgNumber: '5' }, 10004, 'ReqMsgNumber'],
    [{ ReqMsgSeq: -1 }, 10004, 'ReqMsgSeq'],
    [{ ReqMsgSeq: 4_294_967_296 }, 10004, 'ReqMsgSeq'],
    [{ WithRecalledMsg: 2 }, 10004, 'WithRecalledMsg'],
  ]);
});

t.test(
  '[G37] group_msg_get_simple: what has expired is holes, and IsFinished 2 says that nothing else follows',
  async (t) => {
    const daySec = 86_400;
    const nowSec = Math.floor(service.clock() / 1_000);
    const GroupId = 'aged';
    const group = { Type: 'Public', Name: 'Tea club', GroupId, Owner_Account: 'lin', CreateTime: nowSec - 20 * daySec };
    await done('import_group', group);
    for (const count of [20, 10]) {
      const one = { From_Account: 'lin', SendTime: nowSec - 10 * daySec, MsgBody: [text('old')] };
      await done('import_group_msg', { GroupId, MsgList: Array.from({ length: count }, () => one) });
    }
    for (let i = 31; i <= 35; i++) await send(GroupId);
    const ask = async (ReqMsgNumber: number, ReqMsgSeq?: number) => {
      const { IsFinished, RspMsgList } = await done('group_msg_get_simple', { GroupId, ReqMsgNumber, ReqMsgSeq });
      const items = RspMsgList as Item[];
      const seqs = items.map(({ MsgSeq }) => MsgSeq);
      t.ok(
        seqs.every((seq, i) => seq === (seqs[0] ?? 0) - i),
        'each MsgSeq once',
      );
      for (const { IsPlaceMsg, MsgSeq } of items) t.equal(IsPlaceMsg, MsgSeq <= 30 ? 1 : 0, `MsgSeq ${MsgSeq}`);
      return { IsFinished, from: seqs[0], to: seqs.at(-1), last: items.at(-1) };
    };
    const { last, ...eight } = await ask(8);
    t.strictSame(eight, { IsFinished: 1, from: 35, to: 28 });
    t.strictSame(last, { From_Account: '', IsPlaceMsg: 1, MsgBody: [], MsgRandom: 0, MsgSeq: 28, MsgTimeStamp: 0 });
    t.match(await ask(100), { IsFinished: 2, from: 35, to: 16 }, 'cut, and the rest has expired');
    t.match(await ask(20, 30), { IsFinished: 1, from: 30, to: 11 });
    t.match(await ask(100, 15), { IsFinished: 1, from: 15, to: 1 }, 'that is all');
    for (let i = 36; i <= 50; i++) await send(GroupId);
    t.match(await ask(20), { IsFinished: 1, from: 50, to: 31 });
    t.match(await ask(21), { IsFinished: 2, from: 50, to: 31 });
    await send(GroupId);
    t.match(await ask(21), { IsFinished: 0, from: 51, to: 32 });
  },
);

t.test('[M14] send_group_msg: NoUnread is unread for nobody', async (t) => {
  const GroupId = await make();
  await send(GroupId);
  events.length = 0;
  const { MsgSeq } = await send(GroupId, { SendMsgControl: ['NoLastMsg', 'NoUnread'] });
  t.equal(MsgSeq, 2, 'a message like any other');
  t.match(
    events.map(({ event }) => event),
    [{ uncounted: true }, { uncounted: true }],
  );
  t.equal(await unread(GroupId, 'mo'), 1);
  await send(GroupId, { SendMsgControl: ['WithMuteNotifications'] });
  t.equal(await unread(GroupId, 'mo'), 2);
  await done('set_unread_msg_num', { GroupId, Member_Account: 'mo', UnreadMsgNum: 3 });
  t.equal(await unread(GroupId, 'mo'), 2, 'there are no more');
  await done('set_unread_msg_num', { GroupId, Member_Account: 'mo', UnreadMsgNum: 1 });
  t.equal(await unread(GroupId, 'mo'), 1);
});

t.test('[G36] delete_group_msg_by_sender: as documented', async (t) => {
  const GroupId = await make({ MemberList: member('mo', 'zed') });
  for (const From_Account of ['zed', 'mo', 'zed']) await send(GroupId, { From_Account });
  t.strictSame(await call('delete_group_msg_by_sender', { GroupId, Sender_Account: 'zed' }), ok);
  t.match(await history(GroupId), [
    { MsgSeq: 3, IsPlaceMsg: 1, MsgBody: [] },
    { MsgSeq: 2, IsPlaceMsg: 0, From_Account: 'mo' },
    { MsgSeq: 1, IsPlaceMsg: 1, MsgBody: [] },
  ]);
  t.strictSame(await call('delete_group_msg_by_sender', { GroupId, Sender_Account: 'kay' }), ok, 'who said nothing');
  t.match(await call('delete_group_msg_by_sender', { GroupId: 'none', Sender_Account: 'zed' }), { ErrorCode: 10010 });
  const room = await live('AVChatRoom');
  t.strictSame(await call('delete_group_msg_by_sender', { GroupId: room, Sender_Account: 'zed' }), ok);
  await refused('delete_group_msg_by_sender', { GroupId, Sender_Account: 'mo' }, [
    ...wrongIds,
    ...wrongNames('Sender_Account'),
  ]);
});

t.test('[M14] set_unread_msg_num: as documented', async (t) => {
  const GroupId = await make();
  for (let i = 0; i < 3; i++) await send(GroupId);
  t.equal(await unread(GroupId, 'mo'), 3);
  for (const [UnreadMsgNum, expected] of [
    [1, 1],
    [0, 0],
    [2, 2],
    [4_294_967_295, 3],
  ]) {
    t.strictSame(await call('set_unread_msg_num', { GroupId, Member_Account: 'mo', UnreadMsgNum }), ok);
    t.equal(await unread(GroupId, 'mo'), expected, `${UnreadMsgNum}`);
  }
  for (const Type of ['ChatRoom', 'AVChatRoom'] as const) {
    const room = await make({ Type, MemberList: undefined });
    t.strictSame(await call('set_unread_msg_num', { GroupId: room, Member_Account: 'lin', UnreadMsgNum: 5 }), ok, Type);
  }
  t.match(await call('set_unread_msg_num', { GroupId: 'none', Member_Account: 'mo', UnreadMsgNum: 1 }), {
    ErrorCode: 10010,
  });
  await refused('set_unread_msg_num', { GroupId, Member_Account: 'mo', UnreadMsgNum: 1 }, [
    ...wrongIds,
    ...wrongNames('Member_Account'),
    [{ Member_Account: 'kay' }, 10007, 'Member_Account'],
    [{ UnreadMsgNum: undefined }, 10004, 'UnreadMsgNum'],
    [{ UnreadMsgNum: -1 }, 10004, 'UnreadMsgNum'],
    [{ UnreadMsgNum: '1' }, 10004, 'UnreadMsgNum'],
    [{ UnreadMsgNum: 4_294_967_296 }, 10004, 'UnreadMsgNum'],
  ]);
});

t.test('[I3] import_group_msg: as documented, each with its result', async (t) => {
  await done('import_group', {
    Type: 'Private',
    Name: 'Old crew',
    GroupId: 'crew',
    Owner_Account: 'lin',
    CreateTime: 1_500_000_000,
  });
  const one = (fields: object = {}) => ({
    From_Account: 'lin',
    SendTime: 1_500_000_100,
    Random: 1,
    MsgBody: [text('first')],
    ...fields,
  });
  asked.length = 0;
  events.length = 0;
  const first = await call('import_group_msg', { GroupId: 'crew', MsgList: [one()] });
  t.strictSame(first, { ...ok, ImportMsgResult: [{ Result: 0, MsgSeq: 1, MsgTime: 1_500_000_100 }] });
  t.strictSame([asked.length, events.length], [0, 0], 'nobody is asked or told');
  t.strictSame(await call('import_group_msg', { GroupId: 'crew', MsgList: [one()] }), first, 'a repeat');
  const nowSec = Math.floor(service.clock() / 1_000);
  const frame = JSON.stringify([text('')]).length;
  const mixed = [
    one({ SendTime: nowSec - 500, Random: undefined }),
    one({ SendTime: nowSec - 400, MsgBody: [] }),
    one({ SendTime: nowSec - 400, MsgBody: [text('x'.repeat(8_001 - frame))] }),
    one({ SendTime: nowSec - 400, MsgBody: [text('coffee')] }),
    one({ SendTime: nowSec - 400, From_Account: 'ghost' }),
    one({ SendTime: nowSec - 501 }),
    one({ SendTime: nowSec + 500 }),
    one({ SendTime: nowSec - 300, From_Account: 'kay', MsgBody: [text('last')] }),
  ];
  const { ImportMsgResult: results } = await done('import_group_msg', { GroupId: 'crew', MsgList: mixed });
  t.strictSame(results, [
    { Result: 0, MsgSeq: 2, MsgTime: nowSec - 500 },
    { Result: 10004 },
    { Result: 10020 },
    { Result: 80001 },
    { Result: 10019 },
    { Result: 10004 },
    { Result: 10004 },
    { Result: 0, MsgSeq: 3, MsgTime: nowSec - 300 },
  ]);
  t.match(await history('crew', { ReqMsgNumber: 2 }), [
    { From_Account: 'kay', MsgTimeStamp: nowSec - 300, MsgBody: [text('last')] },
    { From_Account: 'lin', MsgTimeStamp: nowSec - 500 },
  ]);
  t.equal(await unread('crew', 'lin'), 0, 'everybody has read everything');
  const twenty = Array.from({ length: 20 }, (_, i) => one({ SendTime: nowSec - 200 + i, Random: i }));
  t.match(await call('import_group_msg', { GroupId: 'crew', MsgList: twenty }), {
    ...ok,
    ImportMsgResult: { length: 20 },
  });
  t.match(await call('import_group_msg', { GroupId: 'none', MsgList: [one({ MsgBody: [] })] }), { ErrorCode: 10010 });
  t.match(await call('import_group_msg', { GroupId: await live('AVChatRoom'), MsgList: [one()] }), {
    ErrorCode: 10007,
  });
  await refused('import_group_msg', { GroupId: 'crew', MsgList: [one()] }, [
    ...wrongIds,
    [{ MsgList: undefined }, 10004, 'MsgList'],
    [{ MsgList: [] }, 10004, 'MsgList'],
    [{ MsgList: [...twenty, one()] }, 10004, 'MsgList'],
    [{ MsgList: ['x'] }, 10004, 'MsgList[0]'],
    [{ MsgList: [one({ From_Account: undefined })] }, 10004, 'MsgList[0].From_Account'],
    [{ MsgList: [one(), one({ From_Account: tooLongName })] }, 10004, 'MsgList[1].From_Account'],
    [{ MsgList: [one({ SendTime: undefined })] }, 10004, 'MsgList[0].SendTime'],
    [{ MsgList: [one({ SendTime: '1' })] }, 10004, 'MsgList[0].SendTime'],
    [{ MsgList: [one({ Random: -1 })] }, 10004, 'MsgList[0].Random'],
    [{ MsgList: [one({ MsgBody: undefined })] }, 10004, 'MsgList[0].MsgBody'],
  ]);
});

/** A member as the service has it. */
function memberOf(no: number): GroupMember {
  return {
    no: no as GroupMember['no'],
    account: `account-with-a-long-name-${no}` as AccountId,
    role: 'Member',
    joinedSec: 1_543_400_000,
    lastSentSec: 0,
    readSeq: 0,
    msgFlag: 'AcceptAndNotify',
    nameCard: 'a name card',
    custom: {},
    mutedUntilSec: 0,
    fromSeq: 1,
  };
}

t.test('an answer over 1 MB is refused with 10018', async (t) => {
  const crowd = Array.from({ length: 8_000 }, (_, i) => memberOf(i));
  const groups: Groups = {
    ...service.im.groups,
    members: async (_actor, _group, { limit }) => ({
      ok: true,
      value: { total: crowd.length, members: crowd.slice(0, limit) },
    }),
    // Each quote takes two bytes.
    list: async (_app, { limit }) => ({ total: 10_000, groupIds: Array(limit).fill('"'.repeat(48)), next: 0 }),
  };
  const edge = await openEdge(t, service, { deps: { groups } });
  const GroupId = await make();
  const tooLong = { ActionStatus: 'FAIL', ErrorCode: 10018, ErrorInfo: /1 MB/ };
  t.match(await edge.call(`${svc}/get_group_member_info`, { GroupId }), tooLong);
  t.match(await edge.call(`${svc}/get_group_member_info`, { GroupId, Limit: 4_000 }), { ...ok, MemberNum: 8_000 });
  t.match(await edge.call(`${svc}/get_group_member_info`, { GroupId, MemberInfoFilter: ['Role'] }), ok, 'less of each');
  t.match(await edge.call(`${svc}/get_group_info`, { GroupIdList: [GroupId] }), tooLong);
  const names = { MemberInfoFilter: ['Account'] };
  const several = (count: number) => Array.from({ length: count }, () => GroupId);
  t.match(await edge.call(`${svc}/get_group_info`, { GroupIdList: several(2), ResponseFilter: names }), ok);
  t.match(await edge.call(`${svc}/get_group_info`, { GroupIdList: several(5), ResponseFilter: names }), tooLong);
  t.match(await edge.call(`${svc}/get_appid_group_list`, {}), tooLong);
  t.match(await edge.call(`${svc}/get_appid_group_list`, { Limit: 5_000 }), { ...ok, TotalCount: 10_000 });
});

t.test('a page of history that would be over 1 MB is cut', async (t) => {
  const body = JSON.stringify([text('x'.repeat(100_000))]);
  const messages = Array.from({ length: 20 }, (_, i) => ({
    seq: 20 - i,
    message: {
      conversationId: 1,
      seq: 20 - i,
      from: 'lin',
      time: 1_543_400_000,
      msgSeq: 0,
      random: 1,
      body,
      recalled: false,
    },
  }));
  let page: object = { messages, complete: true };
  const groupMessages = {
    ...service.im.groupMessages,
    history: async () => ({ ok: true, value: page }),
  } as unknown as GroupMessages;
  const edge = await openEdge(t, service, { deps: { groupMessages } });
  const answer = await edge.call(`${svc}/group_msg_get_simple`, { GroupId: 'club', ReqMsgNumber: 20 });
  t.match(answer, { ...ok, IsFinished: 0, RspMsgList: { length: 10 } });
  page = { messages: messages.slice(0, 3), complete: false };
  const cut = await edge.call(`${svc}/group_msg_get_simple`, { GroupId: 'club', ReqMsgNumber: 20 });
  t.match(cut, { ...ok, IsFinished: 0, RspMsgList: { length: 3 } }, 'or by whoever read it');
});
