import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import t from 'tap';
import { createLocalBus } from '../../src/im/local-bus.ts';
import type { Account } from '../../src/im/model.ts';
import type { GroupDecision, GroupQuestion } from '../../src/im/ports.ts';
import { findFault, type SchemaNode } from '../../src/im/rest/check-body.ts';
import { commonErrorFacts, errorFacts } from '../../src/im/rest/command-facts.ts';
import { commands } from '../../src/im/rest/index.ts';
import type { LinkEvent } from '../../src/im/services.ts';
import type { AccountId } from '../../src/wire/index.ts';
import { makeTestLogger, openTestDatabase, until } from '../support/database.ts';
import { imAppId, openIm } from '../support/im.ts';
import { longestName, ok, type Refusal, refuses, snapshot, text, tooLongName } from '../support/rest.ts';

// More than it needs, on a machine that does other things, too.
t.setTimeout(300_000);
const database = await openTestDatabase(t);
const bus = createLocalBus({ logger: makeTestLogger().logger });
const field = { types: [] as string[], read: 'Member' as const, write: 'Admin' as const };
const asked: GroupQuestion[] = [];
let decide: (question: GroupQuestion) => GroupDecision = () => ({ kind: 'allow', outcome: 'allowed' });
const service = await openIm(t, {
  database,
  app: {
    groupFields: [
      { ...field, key: 'Level', callback: false },
      { ...field, key: 'Room', callback: false },
    ],
    groupMemberFields: [{ ...field, key: 'Seat', selfRead: true, selfWrite: true }],
  },
  deps: {
    bus,
    ports: {
      beforeGroup: {
        wants: () => true,
        ask: async (question) => {
          asked.push(question);
          return decide(question);
        },
      },
    },
  },
});
const events: { to: number; event: LinkEvent }[] = [];
bus.subscribe((to, event) => void events.push({ to, event }));

const people = ['lin', 'mo', 'zed', 'kay', longestName];
const many = Array.from({ length: 501 }, (_, i) => `many-${i}`);
await service.call('im_open_login_svc/multiaccount_import', { Accounts: people });
for (let i = 0; i < many.length; i += 100) {
  await service.call('im_open_login_svc/multiaccount_import', { Accounts: many.slice(i, i + 100) });
}
const account = async (name: string) => (await service.im.accounts.find(imAppId, name as AccountId)) as Account;

const svc = 'group_open_http_svc';
const call = (command: string, body: object) => service.call(`${svc}/${command}`, body);
const done = async (command: string, body: object) => {
  const answer = await call(command, body);
  if (answer.ErrorCode !== 0) throw new Error(`${command}: ${answer.ErrorCode} ${answer.ErrorInfo}`);
  return answer;
};
const refused = (command: string, valid: object, refusals: readonly Refusal[]) =>
  refuses(t, service, `${svc}/${command}`, valid, refusals);

/** A group with an owner and members; gives its id. */
async function make(fields: object = {}): Promise<string> {
  const { GroupId } = await done('create_group', { Type: 'Public', Name: 'Tea club', Owner_Account: 'lin', ...fields });
  return String(GroupId);
}
/** What is so of a group of each of these types, which ends with it: apps have few of some. */
async function ofEach(
  types: readonly string[],
  check: (GroupId: string, type: string) => Promise<void>,
): Promise<void> {
  for (const Type of types) {
    const GroupId = await make({ Type, ...(Type === 'BChatRoom' ? { Owner_Account: undefined } : {}) });
    await check(GroupId, Type);
    await done('destroy_group', { GroupId });
  }
}
const member = (...names: string[]) => names.map((Member_Account) => ({ Member_Account }));
/** The group as get_group_info has it. */
async function info(GroupId: string): Promise<Record<string, unknown>> {
  const { GroupInfo } = await done('get_group_info', { GroupIdList: [GroupId] });
  return (GroupInfo as Record<string, unknown>[])[0] ?? {};
}
async function members(GroupId: string, fields: object = {}): Promise<Record<string, unknown>[]> {
  return (await done('get_group_member_info', { GroupId, ...fields })).MemberList as Record<string, unknown>[];
}
const namesOf = (list: readonly Record<string, unknown>[]) => list.map(({ Member_Account }) => Member_Account);

/** What may not be the id of a group, of every command that names one. */
const wrongIds: readonly Refusal[] = [
  [{ GroupId: undefined }, 10004, 'GroupId'],
  [{ GroupId: 5 }, 10004, 'GroupId'],
  [{ GroupId: null }, 10004, 'GroupId'],
  [{ GroupId: '' }, 10015, 'GroupId'],
  [{ GroupId: 'x'.repeat(49) }, 10015, 'GroupId'],
  [{ GroupId: 'tée' }, 10015, 'GroupId'],
  [{ GroupId: 'a\nb' }, 10015, 'GroupId'],
];
/** What may be no name of an account in a field of one. */
const wrongNames = (name: string, unknown = 10019): readonly Refusal[] => [
  [{ [name]: undefined }, 10004, name],
  [{ [name]: 5 }, 10004, name],
  [{ [name]: '' }, 10004, name],
  [{ [name]: tooLongName }, 10004, name],
  [{ [name]: 'ghost' }, unknown, name],
];

t.test('every command of the API reference (§4.4–4.26) is there, since when it is documented', async (t) => {
  const sections = [
    ['create_group', 'get_group_info', 'get_group_member_info', 'modify_group_base_info', 'add_group_member'],
    ['delete_group_member', 'modify_group_member_info', 'destroy_group', 'get_joined_group_list', 'get_role_in_group'],
    ['forbid_send_msg', 'get_group_shutted_uin', 'send_group_msg', 'send_group_system_notification'],
    ['change_group_owner', 'group_msg_recall', 'import_group', 'import_group_msg', 'import_group_member'],
    ['set_unread_msg_num', 'delete_group_msg_by_sender', 'group_msg_get_simple', 'get_appid_group_list'],
  ].flat();
  const later = ['get_group_muted_account', 'get_online_member_num'];
  const there = commands.filter((one) => one.service === svc);
  const names = (of: readonly (typeof commands)[number][]) => of.map(({ name }) => name).sort();
  t.strictSame(names(there.filter(({ generation }) => generation === '2018')), sections.sort());
  t.strictSame(names(there.filter(({ generation }) => generation !== '2018')), later);
  const reference = await readFile(new URL('../../docs/reference/rest.md', import.meta.url), 'utf8');
  for (const name of [...sections, ...later]) {
    t.match(
      reference,
      new RegExp(`^\\| \\[.\\/v4/${svc}/${name}.\\].* done `, 'm'),
      `${name} in the table of the reference`,
    );
  }
});

t.test('[G1] create_group: as documented', async (t) => {
  const answer = await call('create_group', {
    Type: 'Public',
    Name: 'Tea club',
    Owner_Account: 'lin',
    MaxMemberCount: 300,
    MemberList: [{ Member_Account: 'mo', Role: 'Admin' }, { Member_Account: 'zed' }],
  });
  t.match(answer, { ...ok, GroupId: /^@TGS#/ }, '[G2]');
  t.strictSame(Object.keys(answer), ['ActionStatus', 'ErrorCode', 'ErrorInfo', 'GroupId']);
  const nowSec = Math.floor(service.clock() / 1_000);
  const group = await info(String(answer.GroupId));
  t.match(group, {
    GroupId: answer.GroupId,
    ErrorCode: 0,
    ErrorInfo: '',
    Type: 'Public',
    Name: 'Tea club',
    Introduction: '',
    Notification: '',
    FaceUrl: '',
    Owner_Account: 'lin',
    LastMsgTime: 0,
    NextMsgSeq: 1,
    MemberNum: 3,
    MaxMemberNum: 300,
    ApplyJoinOption: 'NeedPermission',
    ShutUpAllMember: 'Off',
    AppDefinedData: [],
    MemberList: [
      { Member_Account: 'lin', Role: 'Owner' },
      { Member_Account: 'mo', Role: 'Admin' },
      { Member_Account: 'zed', Role: 'Member' },
    ],
  });
  for (const time of ['CreateTime', 'LastInfoTime']) t.ok(Math.abs(Number(group[time]) - nowSec) < 10, time);
});

t.test('[G3] create_group with an id of its own, and everything that a group can have', async (t) => {
  const own = ' ~club!'.padEnd(48, 'x');
  const GroupId = await make({
    GroupId: own,
    Name: 'é'.repeat(15),
    Introduction: 'é'.repeat(120),
    Notification: 'é'.repeat(150),
    FaceUrl: 'f'.repeat(100),
    ApplyJoinOption: 'FreeAccess',
    AppDefinedData: [
      { Key: 'Level', Value: 'é'.repeat(256) },
      { Key: 'Room', Value: '' },
    ],
    MemberList: [
      { Member_Account: longestName, AppMemberDefinedData: [{ Key: 'Seat', Value: 'x'.repeat(64) }] },
      { Member_Account: 'lin' },
    ],
  });
  t.equal(GroupId, own);
  t.match(await info(own), {
    Name: 'é'.repeat(15),
    Introduction: 'é'.repeat(120),
    Notification: 'é'.repeat(150),
    FaceUrl: 'f'.repeat(100),
    ApplyJoinOption: 'FreeAccess',
    MaxMemberNum: 2_000,
    MemberNum: 2,
    AppDefinedData: [{ Key: 'Level', Value: 'é'.repeat(256) }],
    MemberList: [
      { Member_Account: 'lin', Role: 'Owner', AppMemberDefinedData: [] },
      {
        Member_Account: longestName,
        Role: 'Member',
        AppMemberDefinedData: [{ Key: 'Seat', Value: 'x'.repeat(64) }],
      },
    ],
  });
  const taken = { Type: 'Public', Name: 'Another', GroupId: own };
  t.match(await call('create_group', { ...taken, Owner_Account: 'mo' }), { ErrorCode: 10021 });
  t.match(await call('create_group', { ...taken, Owner_Account: 'lin' }), { ErrorCode: 10025 }, 'the owner has it');

  const ownerless = await info(
    await make({ Owner_Account: undefined, MaxMemberNum: 7, MemberList: [], AppDefinedData: [] }),
  );
  t.match(ownerless, { Owner_Account: '', MemberNum: 0, MemberList: [], MaxMemberNum: 7 }, 'the later name');
  const full = await make({ MemberList: member(...many.slice(0, 500)) });
  t.equal((await info(full)).MemberNum, 501, '500 members and the owner');
});

t.test('create_group refuses what is wrong', async () => {
  const custom = (Key: unknown, Value: unknown) => ({ AppDefinedData: [{ Key, Value }] });
  const first = (fields: object) => ({ MemberList: [{ Member_Account: 'mo', ...fields }] });
  await refused('create_group', { Type: 'Public', Name: 'Tea club', Owner_Account: 'lin' }, [
    [{ Type: undefined }, 10004, 'Type'],
    [{ Type: 5 }, 10004, 'Type'],
    [{ Type: '' }, 10004, 'Type'],
    [{ Type: 'public' }, 10004, 'Type'],
    [{ Name: undefined }, 10004, 'Name'],
    [{ Name: '' }, 10004, 'Name'],
    [{ Name: 'é'.repeat(16) }, 10004, 'Name'],
    [{ Name: 'a\0' }, 10004, 'Name'],
    [{ Introduction: `${'é'.repeat(120)}x` }, 10004, 'Introduction'],
    [{ Introduction: 5 }, 10004, 'Introduction'],
    [{ Notification: `${'é'.repeat(150)}x` }, 10004, 'Notification'],
    [{ FaceUrl: 'f'.repeat(101) }, 10004, 'FaceUrl'],
    ...wrongIds.slice(1),
    [{ GroupId: '@TGS#mine' }, 10015, 'GroupId'],
    ...wrongNames('Owner_Account', 10004).slice(1),
    [{ MaxMemberCount: 0 }, 10004, 'MaxMemberCount'],
    [{ MaxMemberCount: '300' }, 10004, 'MaxMemberCount'],
    [{ MaxMemberCount: 2_001 }, 10004, 'MaxMemberCount'],
    [{ MaxMemberCount: 5, MaxMemberNum: 6 }, 10004, 'MaxMemberNum'],
    [{ MaxMemberCount: 2_147_483_648 }, 10004, 'MaxMemberCount'],
    [{ MaxMemberCount: 1, ...first({}) }, 10004, 'MemberList'],
    [{ ApplyJoinOption: 'freeAccess' }, 10004, 'ApplyJoinOption'],
    [{ ApplyJoinOption: 1 }, 10004, 'ApplyJoinOption'],
    [{ AppDefinedData: {} }, 10004, 'AppDefinedData'],
    [{ AppDefinedData: Array.from({ length: 21 }, () => ({ Key: 'a', Value: '' })) }, 10004, 'AppDefinedData'],
    [custom(undefined, 'x'), 10004, 'AppDefinedData[0].Key'],
    [custom('Level', undefined), 10004, 'AppDefinedData[0].Value'],
    [custom('Level', 5), 10004, 'AppDefinedData[0].Value'],
    [custom('Level', 'é'.repeat(257)), 10004, 'AppDefinedData[0].Value'],
    [custom('x'.repeat(17), 'x'), 10004, 'AppDefinedData[0].Key'],
    [custom('a b', 'x'), 10004, 'AppDefinedData[0].Key'],
    [custom('Unknown', 'x'), 10004, 'AppDefinedData'],
    [custom('__proto__', 'x'), 10004, 'AppDefinedData'],
    [
      {
        AppDefinedData: [
          { Key: 'Level', Value: '1' },
          { Key: 'Level', Value: '2' },
        ],
      },
      10004,
      'AppDefinedData[1].Key',
    ],
    [{ MemberList: 'mo' }, 10004, 'MemberList'],
    [{ MemberList: ['mo'] }, 10004, 'MemberList[0]'],
    [{ MemberList: member(...many) }, 10005, 'MemberList'],
    [first({ Member_Account: undefined }), 10004, 'MemberList[0].Member_Account'],
    [first({ Member_Account: tooLongName }), 10004, 'MemberList[0].Member_Account'],
    [first({ Member_Account: 'ghost' }), 10019, 'MemberList'],
    [first({ Role: 'Owner' }), 10004, 'MemberList[0].Role'],
    [first({ Role: 'Member' }), 10004, 'MemberList[0].Role'],
    [first({ Member_Account: 'lin', Role: 'Admin' }), 10004, 'MemberList'],
    [{ Type: 'Private', ...first({ Role: 'Admin' }) }, 10004, 'MemberList'],
    [{ Type: 'AVChatRoom', ...first({}) }, 10007, 'MemberList'],
    [{ Type: 'BChatRoom', Owner_Account: undefined, ...first({}) }, 10007, 'MemberList'],
    [
      first({ AppMemberDefinedData: [{ Key: 'Seat', Value: 'x'.repeat(65) }] }),
      10004,
      'MemberList[0].AppMemberDefinedData[0].Value',
    ],
    [first({ AppMemberDefinedData: [{ Key: 'a-b', Value: '' }] }), 10004, 'MemberList[0].AppMemberDefinedData[0].Key'],
    [
      first({ AppMemberDefinedData: Array.from({ length: 6 }, () => ({ Key: 'a', Value: '' })) }),
      10004,
      'MemberList[0].AppMemberDefinedData',
    ],
    [first({ AppMemberDefinedData: [{ Key: 'Unknown', Value: 'x' }] }), 10004, 'MemberList[0].AppMemberDefinedData'],
  ]);
});

t.test('[K1] create_group and add_group_member: what the app’s backend decides', async (t) => {
  t.teardown(() => {
    decide = () => ({ kind: 'allow', outcome: 'allowed' });
  });
  const before = await snapshot(service.db);
  decide = () => ({ kind: 'refuse', reason: 'not today' });
  const club = { Type: 'Public', Name: 'Tea club', Owner_Account: 'lin' };
  t.match(await call('create_group', club), { ActionStatus: 'FAIL', ErrorCode: 10016, ErrorInfo: 'not today' });
  decide = () => ({ kind: 'refuse', code: 10_100, reason: 'come back at noon' });
  t.strictSame(await call('create_group', club), {
    ActionStatus: 'FAIL',
    ErrorCode: 10_100,
    ErrorInfo: 'come back at noon',
  });
  t.equal(await snapshot(service.db), before);
  t.match(asked.at(-1), {
    command: 'Group.CallbackBeforeCreateGroup',
    origin: { platform: 'RESTAPI' },
    from: 'admin',
    fields: { Owner_Account: 'lin', Type: 'Public', Name: 'Tea club' },
  });

  decide = () => ({ kind: 'allow', outcome: 'allowed' });
  const GroupId = await make();
  decide = () => ({ kind: 'allow', outcome: 'allowed', refusedMembers: ['mo'] });
  t.strictSame((await done('add_group_member', { GroupId, MemberList: member('mo', 'zed') })).MemberList, [
    { Member_Account: 'mo', Result: 0 },
    { Member_Account: 'zed', Result: 1 },
  ]);
  decide = () => ({ kind: 'refuse', reason: 'nobody' });
  t.match(await call('add_group_member', { GroupId, MemberList: member('mo') }), {
    ErrorCode: 10016,
    ErrorInfo: 'nobody',
  });
});

t.test('[D1] dirty words in what groups and members are called', async (t) => {
  await service.call('openim_dirty_words/add', { DirtyWordsList: ['coffee'] });
  t.teardown(() => service.call('openim_dirty_words/delete', { DirtyWordsList: ['coffee'] }));
  const GroupId = await make({ MemberList: member('mo') });
  const club = { Type: 'Public', Name: 'Tea club', Owner_Account: 'lin' };
  const words = (...names: string[]) => names.map((name): Refusal => [{ [name]: 'Coffee' }, 80001, name]);
  await refused('create_group', club, words('Name', 'Introduction', 'Notification'));
  await refused('import_group', club, words('Name', 'Introduction', 'Notification'));
  await refused('modify_group_base_info', { GroupId }, words('Name', 'Introduction', 'Notification'));
  await refused('modify_group_member_info', { GroupId, Member_Account: 'mo' }, words('NameCard'));
});

t.test('get_group_info: as documented; with a filter only what it names', async (t) => {
  const club = await make({
    GroupId: 'club',
    MemberList: member('mo'),
    AppDefinedData: [{ Key: 'Level', Value: '1' }],
  });
  const answer = await call('get_group_info', {
    GroupIdList: [club, 'none', 'tée', ''],
    ResponseFilter: { GroupBaseInfoFilter: ['Name', 'MemberNum'], MemberInfoFilter: ['Account', 'Role'] },
  });
  t.strictSame(answer, {
    ...ok,
    GroupInfo: [
      {
        GroupId: 'club',
        ErrorCode: 0,
        ErrorInfo: '',
        Name: 'Tea club',
        MemberNum: 2,
        MemberList: [
          { Member_Account: 'lin', Role: 'Owner' },
          { Member_Account: 'mo', Role: 'Member' },
        ],
      },
      { GroupId: 'none', ErrorCode: 10010, ErrorInfo: 'there is no such group' },
      ...(answer.GroupInfo as object[]).slice(2),
    ],
  });
  t.match((answer.GroupInfo as object[]).slice(2), [
    { GroupId: 'tée', ErrorCode: 10015, ErrorInfo: /^GroupId: / },
    { GroupId: '', ErrorCode: 10015, ErrorInfo: /^GroupId: / },
  ]);
  const filtered = async (ResponseFilter: object) => {
    const { GroupInfo } = await done('get_group_info', { GroupIdList: [club], ResponseFilter });
    const { GroupId, ErrorCode, ErrorInfo, ...rest } = (GroupInfo as [Record<string, unknown>])[0];
    return rest;
  };
  t.strictSame(await filtered({}), {});
  t.strictSame(await filtered({ GroupBaseInfoFilter: ['MemberCount', 'MaxMemberCount', 'GroupId'] }), {
    MemberNum: 2,
    MaxMemberNum: 2_000,
  });
  const all = [
    'Type',
    'Introduction',
    'Notification',
    'FaceUrl',
    'Owner_Account',
    'CreateTime',
    'InfoSeq',
    'LastInfoTime',
  ];
  const more = ['LastMsgTime', 'NextMsgSeq', 'MaxMemberNum', 'ApplyJoinOption', 'ShutUpAllMember', 'Name', 'MemberNum'];
  const base = await filtered({ GroupBaseInfoFilter: [...all, ...more] });
  t.strictSame(Object.keys(base).sort(), [...all, ...more].sort());
  t.strictSame(await filtered({ AppDefinedDataFilter_Group: ['Level', 'Room', 'Unknown'] }), {
    AppDefinedData: [{ Key: 'Level', Value: '1' }],
  });
  t.strictSame(await filtered({ AppDefinedDataFilter_GroupMember: ['Seat'] }), {
    MemberList: [
      { Member_Account: 'lin', AppMemberDefinedData: [] },
      { Member_Account: 'mo', AppMemberDefinedData: [] },
    ],
  });
  const whole = (await info(club)).MemberList as object[];
  const memberFields = [
    'Member_Account',
    'Role',
    'JoinTime',
    'MsgSeq',
    'MsgFlag',
    'LastSendMsgTime',
    'ShutUpUntil',
    'NameCard',
  ];
  t.strictSame(Object.keys(whole[0] ?? {}), [...memberFields, 'AppMemberDefinedData']);

  const fifty = Array.from({ length: 50 }, () => 'none');
  t.equal(((await done('get_group_info', { GroupIdList: fifty })).GroupInfo as object[]).length, 50);
  const filter = (fields: object) => ({ ResponseFilter: fields });
  await refused('get_group_info', { GroupIdList: [club] }, [
    [{ GroupIdList: undefined }, 10004, 'GroupIdList'],
    [{ GroupIdList: club }, 10004, 'GroupIdList'],
    [{ GroupIdList: [] }, 10004, 'GroupIdList'],
    [{ GroupIdList: [5] }, 10004, 'GroupIdList[0]'],
    [{ GroupIdList: [...fifty, 'none'] }, 10004, 'GroupIdList'],
    [filter([]), 10004, 'ResponseFilter'],
    [filter({ GroupBaseInfoFilter: 'Name' }), 10004, 'ResponseFilter.GroupBaseInfoFilter'],
    [filter({ GroupBaseInfoFilter: ['name'] }), 10004, 'ResponseFilter.GroupBaseInfoFilter[0]'],
    [filter({ MemberInfoFilter: ['Role', 'Name'] }), 10004, 'ResponseFilter.MemberInfoFilter[1]'],
    [filter({ AppDefinedDataFilter_Group: [''] }), 10004, 'ResponseFilter.AppDefinedDataFilter_Group[0]'],
    [filter({ AppDefinedDataFilter_GroupMember: [1] }), 10004, 'ResponseFilter.AppDefinedDataFilter_GroupMember[0]'],
  ]);
});

t.test('when members last sent something, and what live groups have', async (t) => {
  const GroupId = await make({ MemberList: member('mo') });
  const sent = await done('send_group_msg', { GroupId, From_Account: 'lin', Random: 1, MsgBody: [text('tea')] });
  t.match(await members(GroupId, { MemberRoleFilter: ['Owner'] }), [{ LastSendMsgTime: sent.MsgTime }]);
  t.match(await info(GroupId), { NextMsgSeq: 2, LastMsgTime: sent.MsgTime });

  await ofEach(['BChatRoom'], async (broadcast) => {
    t.match(await info(broadcast), { ErrorCode: 0, Type: 'BChatRoom', MemberList: [] });
    t.match(await call('get_group_member_info', { GroupId: broadcast }), { ErrorCode: 10007 });
  });
});

t.test('[G10] get_group_member_info: as documented, by pages, roles and filters', async (t) => {
  const GroupId = await make({
    MemberList: [{ Member_Account: 'mo', Role: 'Admin' }, ...member('zed', 'kay')],
  });
  const sent = await done('send_group_msg', { GroupId, From_Account: 'lin', Random: 1, MsgBody: [text('tea')] });
  const answer = await call('get_group_member_info', { GroupId, Limit: 1, Offset: 0, MemberRoleFilter: ['Owner'] });
  const [{ JoinTime, MsgSeq }] = answer.MemberList as [Record<string, unknown>];
  t.ok(Math.abs(Number(JoinTime) - service.clock() / 1_000) < 10);
  t.strictSame(answer, {
    ...ok,
    MemberNum: 4,
    MemberList: [
      {
        Member_Account: 'lin',
        Role: 'Owner',
        JoinTime,
        MsgSeq,
        MsgFlag: 'AcceptAndNotify',
        LastSendMsgTime: sent.MsgTime,
        ShutUpUntil: 0,
        NameCard: '',
        AppMemberDefinedData: [],
      },
    ],
  });
  const all = namesOf(await members(GroupId));
  t.strictSame([...all].sort(), ['kay', 'lin', 'mo', 'zed']);
  const pages = [];
  for (let Offset = 0; Offset < 6; Offset += 2) pages.push(namesOf(await members(GroupId, { Limit: 2, Offset })));
  t.strictSame(pages, [all.slice(0, 2), all.slice(2), []]);
  t.strictSame(namesOf(await members(GroupId, { MemberRoleFilter: ['Admin', 'Owner'] })).sort(), ['lin', 'mo']);
  t.strictSame(await members(GroupId, { MemberRoleFilter: ['Admin'], MemberInfoFilter: ['Role', 'NameCard'] }), [
    { Member_Account: 'mo', Role: 'Admin', NameCard: '' },
  ]);
  t.strictSame(await members(GroupId, { MemberRoleFilter: ['Admin'], AppDefinedDataFilter_GroupMember: ['Seat'] }), [
    { Member_Account: 'mo', AppMemberDefinedData: [] },
  ]);
  t.equal((await members(GroupId, { Limit: 10_000 })).length, 4);
  t.match(await call('get_group_member_info', { GroupId: 'none' }), { ErrorCode: 10010 });
  await refused('get_group_member_info', { GroupId }, [
    ...wrongIds,
    [{ Limit: 0 }, 10004, 'Limit'],
    [{ Limit: 10_001 }, 10004, 'Limit'],
    [{ Limit: '5' }, 10004, 'Limit'],
    [{ Offset: -1 }, 10004, 'Offset'],
    [{ Offset: 1.5 }, 10004, 'Offset'],
    [{ MemberInfoFilter: 'Role' }, 10004, 'MemberInfoFilter'],
    [{ MemberInfoFilter: ['role'] }, 10004, 'MemberInfoFilter[0]'],
    [{ MemberRoleFilter: ['NotMember'] }, 10004, 'MemberRoleFilter[0]'],
    [{ AppDefinedDataFilter_GroupMember: 'Seat' }, 10004, 'AppDefinedDataFilter_GroupMember'],
  ]);
});

t.test('[G9] modify_group_base_info: as documented', async (t) => {
  const GroupId = await make({ MemberList: member('mo'), AppDefinedData: [{ Key: 'Room', Value: '5' }] });
  const before = await info(GroupId);
  t.strictSame(
    await call('modify_group_base_info', {
      GroupId,
      Notification: 'no coffee',
      ShutUpAllMember: 'On',
      AppDefinedData: [{ Key: 'Level', Value: '3' }],
    }),
    ok,
  );
  const custom = [
    { Key: 'Level', Value: '3' },
    { Key: 'Room', Value: '5' },
  ];
  const changed = await info(GroupId);
  t.match(changed, { Name: 'Tea club', Notification: 'no coffee', ShutUpAllMember: 'On', MaxMemberNum: 2_000 });
  t.strictSame(
    (changed.AppDefinedData as { Key: string }[]).sort((a, b) => (a.Key < b.Key ? -1 : 1)),
    custom,
  );
  t.equal(changed.InfoSeq, Number(before.InfoSeq) + 1);
  await done('modify_group_base_info', {
    GroupId,
    Name: 'x'.repeat(30),
    Introduction: 'i',
    FaceUrl: 'f',
    MaxMemberNum: 1_999,
    ApplyJoinOption: 'DisableApply',
    ShutUpAllMember: 'Off',
    AppDefinedData: [{ Key: 'Level', Value: '' }],
  });
  t.match(await info(GroupId), {
    Name: 'x'.repeat(30),
    Introduction: 'i',
    Notification: 'no coffee',
    FaceUrl: 'f',
    MaxMemberNum: 1_999,
    ApplyJoinOption: 'DisableApply',
    ShutUpAllMember: 'Off',
    AppDefinedData: [{ Key: 'Room', Value: '5' }],
  });
  await done('modify_group_base_info', { GroupId, MaxMemberCount: 50, MuteAllMember: 'On' });
  t.match(await info(GroupId), { MaxMemberNum: 50, ShutUpAllMember: 'On' }, 'later names');
  t.strictSame(await call('modify_group_base_info', { GroupId }), ok, 'nothing');
  t.match(await call('modify_group_base_info', { GroupId: 'none', Name: 'x' }), { ErrorCode: 10010 });
  await refused('modify_group_base_info', { GroupId }, [
    ...wrongIds,
    [{ Name: '' }, 10004, 'Name'],
    [{ Name: 'x'.repeat(31) }, 10004, 'Name'],
    [{ Introduction: 'x'.repeat(241) }, 10004, 'Introduction'],
    [{ Notification: 'x'.repeat(301) }, 10004, 'Notification'],
    [{ FaceUrl: 'x'.repeat(101) }, 10004, 'FaceUrl'],
    [{ MaxMemberNum: 0 }, 10004, 'MaxMemberNum'],
    [{ MaxMemberNum: 2_001 }, 10004, 'MaxMemberNum'],
    [{ MaxMemberNum: 10, MaxMemberCount: 11 }, 10004, 'MaxMemberCount'],
    [{ ApplyJoinOption: '' }, 10004, 'ApplyJoinOption'],
    [{ ShutUpAllMember: 'on' }, 10004, 'ShutUpAllMember'],
    [{ ShutUpAllMember: true }, 10004, 'ShutUpAllMember'],
    [{ AppDefinedData: [{ Key: 'Unknown', Value: 'x' }] }, 10004, 'AppDefinedData'],
    [{ Name: 'fine', AppDefinedData: [{ Key: 'Level' }] }, 10004, 'AppDefinedData[0].Value'],
  ]);
});

t.test('[G12] add_group_member: as documented', async (t) => {
  const GroupId = await make();
  const add = (...names: string[]) => call('add_group_member', { GroupId, MemberList: member(...names) });
  t.strictSame(await add('mo', 'lin'), {
    ...ok,
    MemberList: [
      { Member_Account: 'mo', Result: 1 },
      { Member_Account: 'lin', Result: 2 },
    ],
  });
  t.strictSame(namesOf(await members(GroupId)).sort(), ['lin', 'mo']);
  const [five, six] = [many.slice(0, 500), many];
  t.match(await call('add_group_member', { GroupId, MemberList: member(...six) }), { ErrorCode: 10005 });
  t.match(await add(...five), { ...ok, MemberList: five.map((name) => ({ Member_Account: name, Result: 1 })) });
  t.equal((await info(GroupId)).MemberNum, 502);

  const small = await make({ MaxMemberCount: 2 });
  const fill = await done('add_group_member', { GroupId: small, MemberList: member('mo', 'zed') });
  t.strictSame(fill.MemberList, [
    { Member_Account: 'mo', Result: 1 },
    { Member_Account: 'zed', Result: 0 },
  ]);
  t.match(await call('add_group_member', { GroupId: small, MemberList: member('zed') }), { ErrorCode: 10014 });
  const there = await done('add_group_member', { GroupId: small, MemberList: member('mo') });
  t.strictSame(there.MemberList, [{ Member_Account: 'mo', Result: 2 }], 'a full group refuses none of its members');
  const twice = await done('add_group_member', { GroupId: await make(), MemberList: member('mo', 'zed', 'mo') });
  t.strictSame(
    (twice.MemberList as { Result: number }[]).map(({ Result }) => Result),
    [1, 1, 2],
    'who is named twice is added once',
  );
  await ofEach(['AVChatRoom', 'BChatRoom'], async (live, type) => {
    t.match(await call('add_group_member', { GroupId: live, MemberList: member('mo') }), { ErrorCode: 10007 }, type);
  });
  t.match(await call('add_group_member', { GroupId: 'none', MemberList: member('mo') }), { ErrorCode: 10010 });
  await refused('add_group_member', { GroupId, MemberList: member('zed') }, [
    ...wrongIds,
    [{ Silence: 2 }, 10004, 'Silence'],
    [{ Silence: true }, 10004, 'Silence'],
    [{ MemberList: undefined }, 10004, 'MemberList'],
    [{ MemberList: [] }, 10004, 'MemberList'],
    [{ MemberList: ['zed'] }, 10004, 'MemberList[0]'],
    [{ MemberList: member('zed', '') }, 10004, 'MemberList[1].Member_Account'],
    [{ MemberList: member('zed', tooLongName) }, 10004, 'MemberList[1].Member_Account'],
    [{ MemberList: member('zed', 'ghost') }, 10019, 'MemberList'],
    [{ MemberList: member(...many) }, 10005, 'MemberList'],
  ]);
});

t.test('[G13][G17] Silence: nobody is told of who comes and goes', async (t) => {
  const GroupId = await make({ MemberList: member('mo') });
  const told = async (command: string, fields: object) => {
    events.length = 0;
    await done(command, { GroupId, ...fields });
    return events.length;
  };
  t.equal(await told('add_group_member', { MemberList: member('zed'), Silence: 1 }), 0);
  t.ok((await told('add_group_member', { MemberList: member('kay'), Silence: 0 })) > 0);
  t.equal(await told('delete_group_member', { MemberToDel_Account: ['zed'], Silence: 1 }), 0);
  t.ok((await told('delete_group_member', { MemberToDel_Account: ['kay'], Reason: 'spam' })) > 0);
  const notices = events.flatMap(({ event }) => (event.kind === 'notice' ? [JSON.parse(event.body)] : []));
  t.match(notices, [{ ReportType: 4, ToGroupId: GroupId, RemarkInfo: 'spam' }], 'the reason is told');
});

t.test('[G17] delete_group_member: as documented', async (t) => {
  const GroupId = await make({ MemberList: member('mo', 'zed', 'kay') });
  const remove = (fields: object) => call('delete_group_member', { GroupId, ...fields });
  t.strictSame(await remove({ Silence: 1, Reason: 'spam', MemberToDel_Account: ['zed'] }), ok);
  t.strictSame(namesOf(await members(GroupId)).sort(), ['kay', 'lin', 'mo']);
  t.strictSame(await remove({ MemberToDel_Account: ['zed', 'ghost', tooLongName] }), ok, 'who is no member');
  t.strictSame(await remove({ MemberToDel_Account: many.slice(0, 500) }), ok);
  t.strictSame(await remove({ MemberToDel_Account: ['kay', 'kay', 'zed'] }), ok);
  t.strictSame(namesOf(await members(GroupId)).sort(), ['lin', 'mo']);
  t.match(await remove({ MemberToDel_Account: ['lin'] }), { ErrorCode: 10007 }, 'the owner');
  const crew = await make({ Type: 'Private' });
  t.strictSame(await call('delete_group_member', { GroupId: crew, MemberToDel_Account: ['lin'] }), ok);
  t.match(await info(crew), { Owner_Account: '', MemberNum: 0 }, 'such a group goes on without');
  await ofEach(['AVChatRoom', 'BChatRoom'], async (live, type) => {
    t.match(
      await call('delete_group_member', { GroupId: live, MemberToDel_Account: ['mo'] }),
      { ErrorCode: 10004 },
      type,
    );
  });
  t.match(await call('delete_group_member', { GroupId: 'none', MemberToDel_Account: ['mo'] }), { ErrorCode: 10010 });
  await refused('delete_group_member', { GroupId, MemberToDel_Account: ['mo'] }, [
    ...wrongIds,
    [{ Silence: -1 }, 10004, 'Silence'],
    [{ Reason: 5 }, 10004, 'Reason'],
    [{ Reason: 'x'.repeat(1_001) }, 10004, 'Reason'],
    [{ MemberToDel_Account: undefined }, 10004, 'MemberToDel_Account'],
    [{ MemberToDel_Account: 'mo' }, 10004, 'MemberToDel_Account'],
    [{ MemberToDel_Account: [] }, 10004, 'MemberToDel_Account'],
    [{ MemberToDel_Account: ['mo', 5] }, 10004, 'MemberToDel_Account[1]'],
    [{ MemberToDel_Account: many }, 10005, 'MemberToDel_Account'],
  ]);
});

t.test('[G11] modify_group_member_info: as documented', async (t) => {
  const GroupId = await make({ MemberList: member('mo', 'zed') });
  const of = async (name: string) => (await members(GroupId)).find(({ Member_Account }) => Member_Account === name);
  const modify = (fields: object) => call('modify_group_member_info', { GroupId, Member_Account: 'mo', ...fields });
  t.strictSame(await modify({ Role: 'Admin', NameCard: 'Mo, teapot keeper' }), ok);
  t.match(await of('mo'), { Role: 'Admin', NameCard: 'Mo, teapot keeper', MsgFlag: 'AcceptAndNotify' });
  await modify({ Role: 'Member', MsgFlag: 'Discard', AppMemberDefinedData: [{ Key: 'Seat', Value: '7' }] });
  t.match(await of('mo'), {
    Role: 'Member',
    NameCard: 'Mo, teapot keeper',
    MsgFlag: 'Discard',
    AppMemberDefinedData: [{ Key: 'Seat', Value: '7' }],
  });
  await modify({ NameCard: 'é'.repeat(25), AppMemberDefinedData: [{ Key: 'Seat', Value: '' }], ShutUpTime: 600 });
  const muted = await of('mo');
  t.match(muted, { NameCard: 'é'.repeat(25), AppMemberDefinedData: [] });
  t.ok(Math.abs(Number(muted?.ShutUpUntil) - service.clock() / 1_000 - 600) < 10);
  await modify({ MuteTime: 0 });
  t.equal((await of('mo'))?.ShutUpUntil, 0, 'the later name');
  t.strictSame(await modify({}), ok, 'nothing');
  t.match(await call('modify_group_member_info', { GroupId: 'none', Member_Account: 'mo' }), { ErrorCode: 10010 });
  t.match(await modify({ Member_Account: 'lin', Role: 'Member' }), { ErrorCode: 10007 }, 'the owner stays owner');
  const crew = await make({ Type: 'Private', MemberList: member('mo') });
  t.match(await modify({ GroupId: crew, Role: 'Admin' }), { ErrorCode: 10007 }, 'a type without admins');
  t.match(await modify({ GroupId: crew, ShutUpTime: 5 }), { ErrorCode: 10007 }, 'and without mutes');
  await refused('modify_group_member_info', { GroupId, Member_Account: 'mo' }, [
    ...wrongIds,
    ...wrongNames('Member_Account'),
    [{ Member_Account: 'kay', NameCard: 'x' }, 10004, 'Member_Account'],
    [{ Role: 'Owner' }, 10004, 'Role'],
    [{ Role: 'admin' }, 10004, 'Role'],
    [{ MsgFlag: 'discard' }, 10004, 'MsgFlag'],
    [{ NameCard: `${'é'.repeat(25)}x` }, 10004, 'NameCard'],
    [{ NameCard: null }, 10004, 'NameCard'],
    [{ AppMemberDefinedData: [{ Key: 'Seat', Value: 'x'.repeat(65) }] }, 10004, 'AppMemberDefinedData[0].Value'],
    [{ AppMemberDefinedData: [{ Key: 'Unknown', Value: 'x' }] }, 10004, 'AppMemberDefinedData'],
    [{ ShutUpTime: -1 }, 10004, 'ShutUpTime'],
    [{ ShutUpTime: 4_294_967_296 }, 10004, 'ShutUpTime'],
    [{ ShutUpTime: 1, MuteTime: 2 }, 10004, 'MuteTime'],
  ]);
});

t.test('get_role_in_group: as documented', async (t) => {
  const GroupId = await make({ MemberList: [{ Member_Account: 'mo', Role: 'Admin' }, { Member_Account: 'zed' }] });
  const ask = (User_Account: unknown, id = GroupId) => call('get_role_in_group', { GroupId: id, User_Account });
  t.strictSame(await ask(['lin', 'ghost', 'mo', 'zed', 'kay', tooLongName, 'lin']), {
    ...ok,
    UserIdList: [
      { Member_Account: 'lin', Role: 'Owner' },
      { Member_Account: 'ghost', Role: 'NotMember' },
      { Member_Account: 'mo', Role: 'Admin' },
      { Member_Account: 'zed', Role: 'Member' },
      { Member_Account: 'kay', Role: 'NotMember' },
      { Member_Account: tooLongName, Role: 'NotMember' },
      { Member_Account: 'lin', Role: 'Owner' },
    ],
  });
  t.equal(((await ask(many.slice(0, 500))).UserIdList as object[]).length, 500);
  t.match(await ask(['lin'], 'none'), { ErrorCode: 10010 });
  await ofEach(['AVChatRoom', 'BChatRoom'], async (live, type) => {
    t.match(await ask(['lin'], live), { ErrorCode: 10007 }, type);
  });
  await refused('get_role_in_group', { GroupId, User_Account: ['lin'] }, [
    ...wrongIds,
    [{ User_Account: undefined }, 10004, 'User_Account'],
    [{ User_Account: 'lin' }, 10004, 'User_Account'],
    [{ User_Account: [] }, 10004, 'User_Account'],
    [{ User_Account: ['lin', {}] }, 10004, 'User_Account[1]'],
    [{ User_Account: many }, 10005, 'User_Account'],
  ]);
});

t.test('[G19] get_joined_group_list: as documented', async (t) => {
  await service.call('im_open_login_svc/account_import', { Identifier: 'joiner' });
  const club = await make({ Owner_Account: 'joiner', GroupId: 'joined-club' });
  const room = await make({ Type: 'ChatRoom', MemberList: member('joiner') });
  await make({ Type: 'AVChatRoom', Owner_Account: 'joiner' });
  const joined = (fields: object = {}) => call('get_joined_group_list', { Member_Account: 'joiner', ...fields });
  const ids = async (fields: object = {}) => {
    const { TotalCount, GroupIdList } = await joined(fields);
    return [TotalCount, (GroupIdList as { GroupId: string }[]).map(({ GroupId }) => GroupId).sort()];
  };
  t.strictSame(await ids(), [2, [club, room].sort()], 'without live groups');
  t.strictSame(await joined({ GroupType: 'Public' }), { ...ok, TotalCount: 1, GroupIdList: [{ GroupId: club }] });
  t.strictSame(await ids({ GroupType: 'Private' }), [0, []]);
  await done('send_group_msg', { GroupId: club, From_Account: 'lin', Random: 1, MsgBody: [text('tea')] });
  const filtered = await joined({
    Limit: 1,
    Offset: 0,
    ResponseFilter: { GroupBaseInfoFilter: ['Type', 'NextMsgSeq'], SelfInfoFilter: ['Role', 'UnreadMsgNum'] },
  });
  t.strictSame(filtered, {
    ...ok,
    TotalCount: 2,
    GroupIdList: [{ GroupId: club, Type: 'Public', NextMsgSeq: 2, SelfInfo: { Role: 'Owner', UnreadMsgNum: 1 } }],
  });
  const [one, two] = [await joined({ Limit: 1 }), await joined({ Limit: 1, Offset: 1 })];
  const all = [one, two].flatMap(({ GroupIdList }) =>
    (GroupIdList as { GroupId: string }[]).map(({ GroupId }) => GroupId),
  );
  t.strictSame(all.sort(), [club, room].sort(), 'by pages');
  const whole = await joined({
    GroupType: 'Public',
    ResponseFilter: {
      GroupBaseInfoFilter: ['MemberNum', 'Owner_Account'],
      SelfInfoFilter: ['Role', 'JoinTime', 'MsgFlag', 'UnreadMsgNum', 'MsgSeq'],
    },
  });
  t.match(whole.GroupIdList, [
    {
      MemberNum: 1,
      MemberCount: 1,
      Owner_Account: 'joiner',
      SelfInfo: { Role: 'Owner', JoinTime: Number, MsgFlag: 'AcceptAndNotify', UnreadMsgNum: 1, MsgSeq: 0 },
    },
  ]);
  await refused('get_joined_group_list', { Member_Account: 'joiner' }, [
    ...wrongNames('Member_Account'),
    [{ Limit: 0 }, 10004, 'Limit'],
    [{ Limit: 5_001 }, 10004, 'Limit'],
    [{ Offset: '0' }, 10004, 'Offset'],
    [{ GroupType: '' }, 10004, 'GroupType'],
    [{ GroupType: 1 }, 10004, 'GroupType'],
    [{ ResponseFilter: 'Type' }, 10004, 'ResponseFilter'],
    [{ ResponseFilter: { GroupBaseInfoFilter: ['type'] } }, 10004, 'ResponseFilter.GroupBaseInfoFilter[0]'],
    [{ ResponseFilter: { SelfInfoFilter: ['NameCard'] } }, 10004, 'ResponseFilter.SelfInfoFilter[0]'],
  ]);
});

t.test('[G27] forbid_send_msg, get_group_shutted_uin and their later names', async (t) => {
  const GroupId = await make({ MemberList: member('mo', 'zed') });
  const nowSec = () => Math.floor(service.clock() / 1_000);
  t.strictSame(await call('get_group_shutted_uin', { GroupId }), { ...ok, GroupId, ShuttedUinList: [] });
  t.strictSame(await call('forbid_send_msg', { GroupId, Members_Account: ['mo'], ShutUpTime: 600 }), ok);
  const shutted = await call('get_group_shutted_uin', { GroupId });
  const [{ ShuttedUntil }] = shutted.ShuttedUinList as [{ ShuttedUntil: number }];
  t.ok(Math.abs(ShuttedUntil - nowSec() - 600) < 10);
  t.strictSame(shutted, { ...ok, GroupId, ShuttedUinList: [{ Member_Account: 'mo', ShuttedUntil }] });
  t.strictSame(await call('get_group_muted_account', { GroupId }), {
    ...ok,
    GroupId,
    MutedAccountList: [{ Member_Account: 'mo', MutedUntil: ShuttedUntil, ShuttedUntil }],
  });
  await done('forbid_send_msg', { GroupId, Members_Account: ['kay'], MuteTime: 4_294_967_295 });
  const names = async () =>
    ((await done('get_group_shutted_uin', { GroupId })).ShuttedUinList as { Member_Account: string }[])
      .map(({ Member_Account }) => Member_Account)
      .sort();
  t.strictSame(await names(), ['kay', 'mo'], 'also who is no member; for ever');
  await done('add_group_member', { GroupId, MemberList: member('kay') });
  const [kay] = (await members(GroupId)).filter(({ Member_Account }) => Member_Account === 'kay');
  t.equal(kay?.ShutUpUntil, 4_294_967_295);
  await done('forbid_send_msg', { GroupId, Members_Account: ['mo', 'kay'], ShutUpTime: 0 });
  t.strictSame(await names(), []);
  await done('forbid_send_msg', { GroupId, Members_Account: ['mo'], ShutUpTime: 1 });
  service.clock.advance(2);
  t.strictSame(await names(), [], 'one that has ended is none');
  const ended = (await members(GroupId)).map(({ ShutUpUntil }) => ShutUpUntil);
  t.strictSame(ended, [0, 0, 0, 0]);
  t.strictSame(await call('forbid_send_msg', { GroupId, Members_Account: many.slice(0, 500), ShutUpTime: 1 }), ok);
  for (const command of ['forbid_send_msg', 'get_group_shutted_uin', 'get_group_muted_account']) {
    const fields = { Members_Account: ['lin'], ShutUpTime: 5 };
    t.match(await call(command, { GroupId: 'none', ...fields }), { ErrorCode: 10010 }, command);
    await ofEach(['Private', 'BChatRoom'], async (other, type) => {
      t.match(await call(command, { GroupId: other, ...fields }), { ErrorCode: 10007 }, `${command} of ${type}`);
    });
  }
  await refused('forbid_send_msg', { GroupId, Members_Account: ['mo'], ShutUpTime: 5 }, [
    ...wrongIds,
    [{ Members_Account: undefined }, 10004, 'Members_Account'],
    [{ Members_Account: [] }, 10004, 'Members_Account'],
    [{ Members_Account: 'mo' }, 10004, 'Members_Account'],
    [{ Members_Account: ['mo', ''] }, 10004, 'Members_Account[1]'],
    [{ Members_Account: ['mo', 'ghost'] }, 10019, 'Members_Account'],
    [{ Members_Account: many }, 10005, 'Members_Account'],
    [{ ShutUpTime: undefined }, 10004, 'ShutUpTime'],
    [{ ShutUpTime: -1 }, 10004, 'ShutUpTime'],
    [{ ShutUpTime: '5' }, 10004, 'ShutUpTime'],
    [{ ShutUpTime: 4_294_967_296 }, 10004, 'ShutUpTime'],
  ]);
  await refused('get_group_shutted_uin', { GroupId }, wrongIds);
  await refused('get_group_muted_account', { GroupId }, wrongIds);
});

t.test('[G6] change_group_owner: as documented', async (t) => {
  const GroupId = await make({ MemberList: member('mo') });
  t.strictSame(await call('change_group_owner', { GroupId, NewOwner_Account: 'mo' }), ok);
  t.match(await info(GroupId), { Owner_Account: 'mo' });
  t.strictSame(await members(GroupId, { MemberInfoFilter: ['Role'], MemberRoleFilter: ['Owner'] }), [
    { Member_Account: 'mo', Role: 'Owner' },
  ]);
  t.strictSame(await call('change_group_owner', { GroupId, NewOwner_Account: 'mo' }), ok, 'again');
  const ownerless = await make({ Owner_Account: undefined, MemberList: member('mo') });
  t.strictSame(
    await call('change_group_owner', { GroupId: ownerless, NewOwner_Account: 'mo' }),
    ok,
    'one without owner',
  );
  t.match(await info(ownerless), { Owner_Account: 'mo' });
  t.match(await call('change_group_owner', { GroupId: 'none', NewOwner_Account: 'mo' }), { ErrorCode: 10010 });
  await ofEach(['AVChatRoom', 'BChatRoom'], async (live, type) => {
    t.match(await call('change_group_owner', { GroupId: live, NewOwner_Account: 'lin' }), { ErrorCode: 10007 }, type);
  });
  await refused('change_group_owner', { GroupId, NewOwner_Account: 'lin' }, [
    ...wrongIds,
    ...wrongNames('NewOwner_Account'),
    [{ NewOwner_Account: 'kay' }, 10004, 'NewOwner_Account'],
  ]);
});

t.test('[G7] destroy_group: as documented', async (t) => {
  const GroupId = await make({ MemberList: member('mo') });
  await refused('destroy_group', { GroupId }, wrongIds);
  events.length = 0;
  t.strictSame(await call('destroy_group', { GroupId }), ok);
  const told = events.flatMap(({ to, event }) =>
    event.kind === 'notice' ? [[to, JSON.parse(event.body).ReportType]] : [],
  );
  const [lin, mo] = [await account('lin'), await account('mo')];
  t.strictSame(
    told.sort(),
    [
      [lin.no, 5],
      [mo.no, 5],
    ].sort(),
    'its members are told',
  );
  t.match(await info(GroupId), { ErrorCode: 10010 });
  t.match(await call('destroy_group', { GroupId }), { ErrorCode: 10010 }, 'again');
  const crew = await make({ Type: 'Private', GroupId: 'mine' });
  t.strictSame(await call('destroy_group', { GroupId: crew }), ok, 'also what its owner may not dismiss');
  t.equal(await make({ GroupId: 'mine' }), 'mine', 'its id is free');
});

t.test('[G21] get_appid_group_list: all groups of the app, by pages', async (t) => {
  const other = await openIm(t);
  await other.call('im_open_login_svc/account_import', { Identifier: 'lin' });
  const list = (body: object = {}) => other.call(`${svc}/get_appid_group_list`, body);
  t.strictSame(await list(), { ...ok, TotalCount: 0, GroupIdList: [], Next: 0 });
  const make = async (Type: string, GroupId: string) =>
    other.call(`${svc}/create_group`, { Type, Name: 'x', GroupId, Owner_Account: 'lin' });
  for (const [Type, id] of [
    ['Public', 'a'],
    ['Private', 'b'],
    ['Public', 'c'],
    ['ChatRoom', 'd'],
    ['Public', 'e'],
  ] as const) {
    t.match(await make(Type, id), ok);
  }
  const ids = ({ GroupIdList }: Record<string, unknown>) =>
    (GroupIdList as { GroupId: string }[]).map(({ GroupId }) => GroupId);
  t.strictSame(ids(await list()), ['a', 'b', 'c', 'd', 'e']);
  const pages: string[][] = [];
  for (let Next = 0; ; ) {
    const page = await list({ Limit: 2, Next });
    t.equal(page.TotalCount, 5);
    pages.push(ids(page));
    Next = Number(page.Next);
    if (Next === 0) break;
  }
  t.strictSame(pages, [['a', 'b'], ['c', 'd'], ['e']]);
  t.match(await list({ GroupType: 'Public', Limit: 3 }), { TotalCount: 3, Next: 0 });
  t.strictSame(ids(await list({ GroupType: 'Public', Limit: 10_000 })), ['a', 'c', 'e']);
  t.strictSame(await list({ GroupType: 'Nothing' }), { ...ok, TotalCount: 0, GroupIdList: [], Next: 0 });
  await refuses(t, other, `${svc}/get_appid_group_list`, {}, [
    [{ Limit: 0 }, 10004, 'Limit'],
    [{ Limit: 10_001 }, 10004, 'Limit'],
    [{ Limit: '2' }, 10004, 'Limit'],
    [{ Next: -1 }, 10004, 'Next'],
    [{ Next: 'a' }, 10004, 'Next'],
    [{ GroupType: '' }, 10004, 'GroupType'],
    [{ GroupType: {} }, 10004, 'GroupType'],
  ]);
});

t.test('[I3] import_group: as documented', async (t) => {
  asked.length = 0;
  events.length = 0;
  const crew = { Type: 'Private', Name: 'Old crew', GroupId: 'crew', Owner_Account: 'lin', CreateTime: 1_500_000_000 };
  t.strictSame(await call('import_group', crew), { ...ok, GroupId: 'crew' });
  t.match(await info('crew'), { CreateTime: 1_500_000_000, Owner_Account: 'lin', MemberNum: 1, MaxMemberNum: 200 });
  t.strictSame([asked.length, events.length], [0, 0], 'nobody is asked or told');
  const { GroupId } = await done('import_group', { Type: 'ChatRoom', Name: 'Old room', MaxMemberCount: 10_000 });
  t.match(GroupId, /^@TGS#/);
  const room = await info(String(GroupId));
  t.match(room, { MaxMemberNum: 10_000 });
  t.ok(Math.abs(Number(room.CreateTime) - service.clock() / 1_000) < 10, 'made now unless told');
  const nowSec = Math.floor(service.clock() / 1_000);
  const soon = await done('import_group', { Type: 'Public', Name: 'x', CreateTime: nowSec + 30 });
  t.ok(Number((await info(String(soon.GroupId))).CreateTime) <= nowSec + 10, 'clocks differ');
  t.match(await call('import_group', { ...crew, Owner_Account: 'mo' }), { ErrorCode: 10021 });
  await refused('import_group', { ...crew, GroupId: 'crew-2' }, [
    ...wrongIds.slice(1),
    [{ GroupId: '@TGS#old' }, 10015, 'GroupId'],
    [{ Type: undefined }, 10004, 'Type'],
    [{ Type: 'Nothing' }, 10004, 'Type'],
    [{ Type: 'AVChatRoom' }, 10007, 'Type'],
    [{ Type: 'BChatRoom', Owner_Account: undefined }, 10007, 'Type'],
    [{ Name: '' }, 10004, 'Name'],
    [{ MaxMemberCount: 201 }, 10004, 'MaxMemberCount'],
    [{ CreateTime: '1' }, 10004, 'CreateTime'],
    [{ CreateTime: nowSec + 120 }, 10004, 'CreateTime'],
    [{ AppDefinedData: [{ Key: 'Unknown', Value: 'x' }] }, 10004, 'AppDefinedData'],
    ...wrongNames('Owner_Account', 10004).slice(1),
  ]);
});

t.test('[I3] import_group_member: as documented', async (t) => {
  await done('import_group', {
    Type: 'Public',
    Name: 'Old crew',
    GroupId: 'crew-m',
    Owner_Account: 'lin',
    CreateTime: 1_500_000_000,
  });
  const nowSec = Math.floor(service.clock() / 1_000);
  const said = (SendTime: number, Text: string) => ({ From_Account: 'lin', SendTime, MsgBody: [text(Text)] });
  const times = [nowSec - 3_000, nowSec - 2_000, nowSec - 1_000];
  await done('import_group_msg', { GroupId: 'crew-m', MsgList: times.map((time, i) => said(time, `m${i + 1}`)) });
  events.length = 0;
  asked.length = 0;
  const entries = [
    { Member_Account: 'mo', JoinTime: nowSec - 2_500, UnreadMsgNum: 1 },
    { Member_Account: 'zed', Role: 'Admin', JoinTime: 1_500_000_000, UnreadMsgNum: 9 },
    { Member_Account: 'kay' },
    { Member_Account: 'lin' },
    { Member_Account: 'mo' },
    { Member_Account: longestName, JoinTime: 1_499_999_999 },
    { Member_Account: longestName, JoinTime: nowSec + 500 },
  ];
  const imported = await call('import_group_member', { GroupId: 'crew-m', MemberList: entries });
  t.strictSame(imported, {
    ...ok,
    MemberList: [1, 1, 1, 2, 2, 0, 0].map((Result, i) => ({ Member_Account: entries[i]?.Member_Account, Result })),
  });
  t.equal(asked.length, 0);
  t.strictSame(events, [], 'nobody is told');
  const found = await members('crew-m', { MemberInfoFilter: ['Role', 'JoinTime', 'MsgSeq'] });
  t.strictSame(
    found.find(({ Member_Account }) => Member_Account === 'mo'),
    { Member_Account: 'mo', Role: 'Member', JoinTime: nowSec - 2_500, MsgSeq: 2 },
  );
  t.match(
    found.find(({ Member_Account }) => Member_Account === 'zed'),
    { Role: 'Admin', JoinTime: 1_500_000_000, MsgSeq: 0 },
  );
  const unread = async (Member_Account: string) => {
    const { GroupIdList } = await done('get_joined_group_list', {
      Member_Account,
      ResponseFilter: { SelfInfoFilter: ['UnreadMsgNum'] },
    });
    const list = GroupIdList as { GroupId: string; SelfInfo: { UnreadMsgNum: number } }[];
    return list.find(({ GroupId }) => GroupId === 'crew-m')?.SelfInfo.UnreadMsgNum;
  };
  t.strictSame(
    [await unread('mo'), await unread('zed'), await unread('kay')],
    [1, 3, 0],
    'at most as many as there are',
  );

  /** What a member may read (G39). */
  const readable = async (name: string) => {
    const actor = {
      account: await account(name),
      authority: 'self',
      origin: { platform: 'Android', address: '192.0.2.1' },
    } as const;
    const page = await service.im.groupMessages.history(actor, 'crew-m', { limit: 20 });
    return page.ok ? page.value.messages.map(({ seq }) => seq) : page;
  };
  t.strictSame(await readable('mo'), [3, 2], 'what was said from his joining on');
  t.strictSame(await readable('zed'), [3, 2, 1]);
  t.strictSame(await readable('kay'), []);

  // Behind an earlier stay, of which the new one takes nothing.
  await done('delete_group_member', { GroupId: 'crew-m', MemberToDel_Account: ['mo', 'kay'], Silence: 1 });
  const again = member('mo', 'kay').map((one) => ({ ...one, JoinTime: nowSec - 2_500 }));
  t.match(await call('import_group_member', { GroupId: 'crew-m', MemberList: again }), {
    MemberList: [{ Result: 1 }, { Result: 1 }],
  });
  t.strictSame(await readable('mo'), [3, 2], 'each seq once');
  t.strictSame(await readable('kay'), [3, 2]);

  const small = await done('import_group', { Type: 'Public', Name: 'x', MaxMemberCount: 1 });
  const fill = (...names: string[]) =>
    call('import_group_member', { GroupId: small.GroupId, MemberList: member(...names) });
  t.match(await fill('mo', 'zed'), { ...ok, MemberList: [{ Result: 1 }, { Result: 0 }] });
  t.match(await fill('zed'), { ErrorCode: 10014 });
  t.match(await call('import_group_member', { GroupId: 'none', MemberList: member('mo') }), { ErrorCode: 10010 });
  const live = await make({ Type: 'AVChatRoom' });
  t.match(await call('import_group_member', { GroupId: live, MemberList: member('mo') }), { ErrorCode: 10007 });
  const crew = await done('import_group', { Type: 'Private', Name: 'x' });
  const one = (fields: object) => ({ MemberList: [{ Member_Account: longestName, ...fields }] });
  await refused('import_group_member', { GroupId: 'crew-m', MemberList: member(longestName) }, [
    ...wrongIds,
    [{ MemberList: undefined }, 10004, 'MemberList'],
    [{ MemberList: [] }, 10004, 'MemberList'],
    [{ MemberList: ['kay'] }, 10004, 'MemberList[0]'],
    [{ MemberList: member(...many) }, 10005, 'MemberList'],
    [one({ Member_Account: '' }), 10004, 'MemberList[0].Member_Account'],
    [one({ Member_Account: 'ghost' }), 10019, 'MemberList'],
    [one({ Role: 'Owner' }), 10004, 'MemberList[0].Role'],
    [one({ JoinTime: 'now' }), 10004, 'MemberList[0].JoinTime'],
    [one({ UnreadMsgNum: -1 }), 10004, 'MemberList[0].UnreadMsgNum'],
    [{ GroupId: crew.GroupId, ...one({ Role: 'Admin' }) }, 10004, 'MemberList[0].Role'],
  ]);
  t.match(
    await call('import_group_member', {
      GroupId: (await done('import_group', { Type: 'Public', Name: 'x' })).GroupId,
      MemberList: member(...many.slice(0, 500)),
    }),
    { MemberList: { length: 500 } },
  );
});

t.test('get_online_member_num: of live groups, at most 10 seconds old', async (t) => {
  const GroupId = await make({ Type: 'AVChatRoom' });
  for (const name of ['mo', 'zed', 'kay']) {
    const actor = {
      account: await account(name),
      authority: 'self',
      origin: { platform: 'Android', address: '192.0.2.1' },
    } as const;
    t.match(await service.im.groups.apply(actor, GroupId, {}), { ok: true, value: 'joined' });
  }
  const count = async () => (await done('get_online_member_num', { GroupId })).OnlineMemberNum;
  t.strictSame(await call('get_online_member_num', { GroupId }), { ...ok, OnlineMemberNum: 0 });
  const mo = await service.link('mo');
  const second = await service.link('mo', { platform: 'Web' });
  const zed = await service.link('zed');
  t.equal(await count(), 0, 'remembered');
  service.clock.advance(10);
  t.equal(await count(), 2, 'accounts, not terminals');
  await zed.close();
  service.clock.advance(10);
  await until(async () => {
    service.clock.advance(10);
    return (await count()) === 1;
  });
  await mo.close();
  await second.close();
  t.match(await call('get_online_member_num', { GroupId: 'none' }), { ErrorCode: 10010 });
  await ofEach(['Private', 'Public', 'ChatRoom', 'BChatRoom'], async (other, type) => {
    t.match(
      await call('get_online_member_num', { GroupId: other }),
      { ErrorCode: 10007, ErrorInfo: /^GroupId: / },
      type,
    );
  });
  await refused('get_online_member_num', { GroupId }, wrongIds);
});

/** A body of the schema, in which now and then something is missing or is anything else. */
function bodyOf(node: SchemaNode, field = ''): fc.Arbitrary<unknown> {
  const { properties, required = [], items = {}, type, minimum = 0, maximum = 9 } = node;
  const right = (): fc.Arbitrary<unknown> => {
    if (field === 'MsgBody') return fc.constantFrom([text('x')], [text('x\u0000')], [{ MsgType: 'TIMNoElem' }]);
    if (field === 'OfflinePushInfo') return fc.record({ PushFlag: fc.constantFrom(0, 1, 2), Title: fc.string() });
    if (field === 'Type' || field === 'GroupType') return fc.constantFrom(...fuzzTypes, 'Club');
    if (field === 'Key') return fc.constantFrom('Level', 'Seat', '__proto__');
    if (/Account/.test(field) && type === 'string') return fc.constantFrom('lin', 'mo', 'zed', 'ghost');
    if (/^GroupId/.test(field) && type === 'string') return fc.constantFrom(...fuzzTypes.map(idOf), 'fresh', 'none');
    if (node.enum !== undefined) return fc.constantFrom(...node.enum);
    if (type === 'array') return fc.array(bodyOf(items, field), { maxLength: 3 });
    if (type === 'integer') return fc.constantFrom(minimum, minimum + 1, maximum, Math.floor(Date.now() / 1_000));
    if (type !== 'object') return fc.constantFrom('x', 'é', 'Level', 'x'.repeat(node['x-max-bytes'] ?? 9));
    const fields = Object.entries(properties ?? {}).map(([name, one]) => [name, bodyOf(one, name)]);
    const record: Record<string, fc.Arbitrary<unknown>> = Object.fromEntries(fields);
    return fc.oneof(
      { weight: 9, arbitrary: fc.record(record, { requiredKeys: [...required] }) },
      { weight: 1, arbitrary: fc.record(record, { requiredKeys: [] }) },
    );
  };
  const odd = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom('', 'x\u0000', '\ud800', -1, 0.5, 2 ** 53, 'x'.repeat(9_000), Array(501).fill('lin')),
  );
  return field === '' ? right() : fc.oneof({ weight: 20, arbitrary: right() }, { weight: 1, arbitrary: odd });
}
const fuzzTypes = ['Private', 'Public', 'ChatRoom', 'AVChatRoom', 'BChatRoom'];
const idOf = (type: string) => `fuzz ${type}`;

t.test('whatever a body holds, it is answered by its schema, and what is refused changes nothing', async (t) => {
  const refill = async () => {
    for (const Type of fuzzTypes) {
      const owner = Type === 'BChatRoom' ? {} : { Owner_Account: 'lin' };
      await call('create_group', { Type, GroupId: idOf(Type), Name: 'x', ...owner });
    }
  };
  await refill();
  const calls = commands
    .filter((one) => one.service === svc)
    .map((command) => bodyOf(command.request).map((body) => ({ command, body })));
  // A name that nobody can have is answered as it came.
  const examples = commands
    .filter(({ name }) => name === 'get_role_in_group')
    .map((command): [{ command: (typeof commands)[number]; body: unknown }] => [
      { command, body: { GroupId: idOf('Private'), User_Account: ['\ud800'] } },
    ]);
  const commonCodes = commonErrorFacts().map(({ codes }) => codes[svc] ?? 0);
  decide = () => ({ kind: 'allow', outcome: 'allowed' });
  await fc.assert(
    fc.asyncProperty(fc.oneof(...calls), async ({ command, body }) => {
      const before = await snapshot(service.db);
      const { ActionStatus, ErrorCode, ErrorInfo, ...answer } = await call(command.name, body as object);
      if (ErrorCode === 0) {
        const fault = findFault(command.response, answer);
        if (fault !== undefined) throw new Error(`${command.name}: ${JSON.stringify(fault)}`);
        if (command.name === 'destroy_group') await refill();
        return;
      }
      const documented = [...commonCodes, ...errorFacts(command).map(({ code }) => code)];
      const isExpected = ActionStatus === 'FAIL' && ErrorCode !== 10002 && documented.includes(Number(ErrorCode));
      if (!isExpected || ErrorInfo === '') throw new Error(`${command.name}: ${ErrorCode} ${ErrorInfo}`);
      if ((await snapshot(service.db)) !== before) {
        throw new Error(`${command.name}: ${ErrorCode}, and changed all the same`);
      }
    }),
    { numRuns: 300, endOnFailure: true, examples },
  );
  t.pass('300 calls');
});
