import Type from 'typebox';
import type { Groups, MemberChangeFields } from '../group-services.ts';
import { withoutAbsent } from '../without-absent.ts';
import { accountOf, accountsByName } from './account-names.ts';
import { type Command, defineCommand } from './command.ts';
import {
  accountErrors,
  actorOf,
  type BaseFilter,
  baseAnswer,
  baseFilter,
  baseInfoOf,
  boundedAnswer,
  customFilter,
  emptyAnswer,
  groupId,
  groupIdErrors,
  listErrors,
  maxAccounts,
  memberAnswer,
  memberCustom,
  memberFilter,
  memberInfoOf,
  msgFlag,
  noFields,
  readCustom,
  service,
} from './group-fields.ts';
import { accountName, accountNames, answerList, anyName, integer, oneOf, someOf, text, u32 } from './schema.ts';

/** Who is in groups, and what they are there. */

const getMembers = defineCommand({
  service,
  name: 'get_group_member_info',
  permission: 'im.group.member.read',
  generation: '2018',
  summary: 'Lists the members of a group, in order of joining.',
  notes:
    'Without MemberInfoFilter and AppDefinedDataFilter_GroupMember everything of them; with either what it names. An answer over 1 MB is refused with 10018: ask for less by Limit, or by filters. Of AVChatRoom the first 300, of BChatRoom none.',
  rate: 1,
  request: Type.Object({
    GroupId: groupId(),
    MemberInfoFilter: memberFilter(),
    MemberRoleFilter: Type.Optional(someOf('Members of these roles alone.', 'Owner', 'Admin', 'Member')),
    AppDefinedDataFilter_GroupMember: customFilter('Custom fields of the members.'),
    Limit: Type.Optional(integer('Members of the answer; absent: all.', 1, 10_000)),
    Offset: Type.Optional(integer('How many to leave out before; 0 unless given.')),
  }),
  response: Type.Object({
    MemberNum: integer('Members of the group, whatever was asked for.'),
    MemberList: answerList('The members.', memberAnswer()),
  }),
  fieldErrors: { GroupId: groupIdErrors },
  errors: ['GROUP_UNKNOWN', 'GROUP_FORBIDDEN', 'GROUP_ANSWER_TOO_LONG'],
  // G10
  async handle(call, { groups, clock }) {
    const { GroupId, MemberInfoFilter, MemberRoleFilter, AppDefinedDataFilter_GroupMember, Limit, Offset } = call.body;
    const wanted = withoutAbsent({ roles: MemberRoleFilter, limit: Limit, offset: Offset });
    const page = await groups.members(actorOf(call), GroupId, wanted);
    if (!page.ok) return page;
    const nowSec = Math.floor(clock() / 1_000);
    const wish = { fields: MemberInfoFilter, keys: AppDefinedDataFilter_GroupMember };
    return boundedAnswer({
      MemberNum: page.value.total,
      MemberList: page.value.members.map((member) => memberInfoOf(member, wish, nowSec)),
    });
  },
});

const modifyMember = defineCommand({
  service,
  name: 'modify_group_member_info',
  permission: 'im.group.member.write',
  generation: '2018',
  summary: 'Changes role, receive option, name card, custom fields or mute of a member.',
  notes: 'What is not given stays. Nobody acts on the owner’s role (change_group_owner does).',
  rate: 1,
  aliases: { MuteTime: 'ShutUpTime' },
  request: Type.Object({
    GroupId: groupId(),
    Member_Account: accountName('The member.'),
    Role: Type.Optional(oneOf('Its role.', 'Admin', 'Member')),
    MsgFlag: Type.Optional(msgFlag()),
    NameCard: Type.Optional(text('Its name in the group.', 50)),
    AppMemberDefinedData: Type.Optional(memberCustom()),
    ShutUpTime: Type.Optional(u32('Seconds for which it may not send; 0: it may again.')),
  }),
  response: noFields,
  fieldErrors: { GroupId: groupIdErrors },
  errors: [...accountErrors, 'GROUP_PARAMETER', 'DIRTY_WORD'],
  // G11
  async handle(call, { groups }) {
    const { GroupId, Member_Account, Role, MsgFlag, NameCard, AppMemberDefinedData, ShutUpTime } = call.body;
    const custom = readCustom(AppMemberDefinedData, 'AppMemberDefinedData');
    if (!custom.ok) return custom;
    const fields: MemberChangeFields = withoutAbsent({
      role: Role,
      msgFlag: MsgFlag,
      nameCard: NameCard,
      custom: custom.value,
      muteSec: ShutUpTime,
    });
    return emptyAnswer(await groups.modifyMember(actorOf(call), GroupId, Member_Account, fields));
  },
});

const getRoles = defineCommand({
  service,
  name: 'get_role_in_group',
  permission: 'im.group.member.read',
  generation: '2018',
  summary: 'Tells the roles of up to 500 accounts in a group.',
  notes: 'Not for AVChatRoom and BChatRoom.',
  rate: 1,
  request: Type.Object({ GroupId: groupId(), User_Account: accountNames('The accounts.', maxAccounts) }),
  response: Type.Object({
    UserIdList: answerList(
      'One entry for each of the request.',
      Type.Object({
        Member_Account: anyName('As in the request.'),
        Role: oneOf('NotMember also of what is no account.', 'Owner', 'Admin', 'Member', 'NotMember'),
      }),
    ),
  }),
  fieldErrors: { GroupId: groupIdErrors, User_Account: listErrors },
  errors: ['GROUP_UNKNOWN', 'GROUP_FORBIDDEN'],
  // G10
  async handle(call, { accounts, groups }) {
    const { GroupId, User_Account } = call.body;
    const found = await accountsByName(accounts, call.app.sdkAppId, User_Account);
    const known = [...found.values()].map(({ identifier }) => identifier);
    const roles = await groups.roles(actorOf(call), GroupId, known);
    if (!roles.ok) return roles;
    const byName = new Map<string, string>(roles.value.map(({ account, role }) => [account, role]));
    return {
      ok: true,
      answer: {
        UserIdList: User_Account.map((name) => ({ Member_Account: name, Role: byName.get(name) ?? 'NotMember' })),
      },
    };
  },
});

const selfFields = ['Role', 'JoinTime', 'MsgFlag', 'UnreadMsgNum', 'MsgSeq'] as const;
type JoinedGroup = Awaited<ReturnType<Groups['joined']>>['groups'][number];

function selfOf({ self, unread }: JoinedGroup, wanted: readonly string[]) {
  const all = {
    Role: self.role,
    JoinTime: self.joinedSec,
    MsgFlag: self.msgFlag,
    UnreadMsgNum: unread,
    MsgSeq: self.readSeq,
  } as const satisfies Record<(typeof selfFields)[number], string | number>;
  return Object.fromEntries(Object.entries(all).filter(([name]) => wanted.includes(name)));
}

/** MemberNum has two names here, as the vendor's samples have the other one. */
function joinedInfoOf(group: JoinedGroup, filter: readonly BaseFilter[]) {
  const info = baseInfoOf(group, filter);
  return Object.hasOwn(info, 'MemberNum') ? { ...info, MemberCount: info.MemberNum } : info;
}

const getJoined = defineCommand({
  service,
  name: 'get_joined_group_list',
  permission: 'im.group.list',
  generation: '2018',
  summary: 'Lists the groups that an account is in, those with the newest messages first.',
  notes:
    'Without ResponseFilter the ids alone. AVChatRoom and BChatRoom are left out, and so are groups that are not to be seen yet: WithHugeGroups and WithNoActiveGroups make no difference.',
  rate: 1,
  request: Type.Object({
    Member_Account: accountName('The account.'),
    Limit: Type.Optional(integer('Groups of the answer, 5000 unless given.', 1, 5_000)),
    Offset: Type.Optional(integer('How many to leave out before; 0 unless given.')),
    GroupType: Type.Optional(text('Groups of this type alone.', 30, 1)),
    ResponseFilter: Type.Optional(
      Type.Object(
        {
          GroupBaseInfoFilter: baseFilter(),
          SelfInfoFilter: Type.Optional(someOf('What the account is in the group.', ...selfFields)),
        },
        { description: 'What is to come back of each group.' },
      ),
    ),
  }),
  response: Type.Object({
    TotalCount: integer('Groups that the account is in, or those of the type.'),
    GroupIdList: answerList(
      'The groups.',
      Type.Object({
        GroupId: Type.String(),
        ...baseAnswer(),
        MemberCount: Type.Optional(integer('The same as MemberNum.')),
        SelfInfo: Type.Optional(
          Type.Object({
            Role: Type.Optional(oneOf('Its role.', 'Owner', 'Admin', 'Member')),
            JoinTime: Type.Optional(integer('When it joined, Unix seconds.')),
            MsgFlag: Type.Optional(msgFlag()),
            UnreadMsgNum: Type.Optional(integer('Messages that it has not read.')),
            MsgSeq: Type.Optional(integer('MsgSeq up to which it has read.')),
          }),
        ),
      }),
    ),
  }),
  errors: ['GROUP_ACCOUNT_UNKNOWN', 'GROUP_ANSWER_TOO_LONG'],
  // G19
  async handle({ app, body }, { accounts, groups }) {
    const { Member_Account, Limit, Offset, GroupType, ResponseFilter = {} } = body;
    const account = await accountOf(accounts, app.sdkAppId, Member_Account, {
      field: 'Member_Account',
      error: 'GROUP_ACCOUNT_UNKNOWN',
    });
    if (!account.ok) return account;
    const page = await groups.joined(account.value, {
      ...withoutAbsent({ type: GroupType, offset: Offset }),
      limit: Limit ?? 5_000,
    });
    const { GroupBaseInfoFilter = [], SelfInfoFilter } = ResponseFilter;
    return boundedAnswer({
      TotalCount: page.total,
      GroupIdList: page.groups.map((joined) => ({
        GroupId: joined.group.groupId,
        ...joinedInfoOf(joined, GroupBaseInfoFilter),
        ...(SelfInfoFilter === undefined ? {} : { SelfInfo: selfOf(joined, SelfInfoFilter) }),
      })),
    });
  },
});

const countOnline = defineCommand({
  service,
  name: 'get_online_member_num',
  permission: 'im.group.member.read',
  generation: '2021',
  summary: 'Tells how many members of a live group are online.',
  notes: 'For groups whose member list shows only some of them (AVChatRoom). It is at most 10 seconds old.',
  rate: 1,
  request: Type.Object({ GroupId: groupId() }),
  response: Type.Object({ OnlineMemberNum: integer('Members that are online.') }),
  fieldErrors: { GroupId: groupIdErrors },
  errors: ['GROUP_UNKNOWN', 'GROUP_FORBIDDEN'],
  async handle(call, { groups }) {
    const online = await groups.onlineCount(actorOf(call), call.body.GroupId);
    return online.ok ? { ok: true, answer: { OnlineMemberNum: online.value } } : online;
  },
});

export const groupMemberCommands: readonly Command[] = [getMembers, modifyMember, getRoles, getJoined, countOnline];
