import Type from 'typebox';
import { describeRefusal, type ImRefusal } from '../../wire/index.ts';
import type { GroupChangeFields, GroupDraft } from '../group-services.ts';
import { checkGroupIdForm } from '../groups/check-fields.ts';
import { withoutAbsent } from '../without-absent.ts';
import { type Call, type Command, defineCommand, type RestServices } from './command.ts';
import type { Fields } from './envelope.ts';
import { draftErrors, draftFields, draftOf, memberNumber } from './group-draft.ts';
import {
  actorOf,
  answerTooLong,
  anyGroupId,
  applyOption,
  type BaseFilter,
  baseAnswer,
  baseFilter,
  baseInfoOf,
  boundedAnswer,
  createAnswerMeter,
  customFilter,
  customOf,
  emptyAnswer,
  groupCustom,
  groupCustomAnswer,
  groupId,
  groupIdErrors,
  groupName,
  listErrors,
  type MemberFilter,
  maxAccounts,
  memberAnswer,
  memberCustom,
  memberFilter,
  memberInfoOf,
  noFields,
  profileFields,
  readCustom,
  service,
} from './group-fields.ts';
import { accountName, answerList, integer, list, oneOf, text } from './schema.ts';
import { errorCode } from './service-table.ts';

/** Groups as such: their beginning and end, and their profile. */

const createGroup = defineCommand({
  service,
  name: 'create_group',
  permission: 'im.group.create',
  generation: '2018',
  summary: 'Makes a group, with its owner and up to 500 members.',
  notes:
    'Types without initial members (AVChatRoom, BChatRoom) take no MemberList. The app’s backend may refuse it (Group.CallbackBeforeCreateGroup) and hears of it (Group.CallbackAfterCreateGroup).',
  rate: 1,
  aliases: { MaxMemberNum: 'MaxMemberCount' },
  request: Type.Object({
    ...draftFields,
    MemberList: Type.Optional(
      Type.Array(
        Type.Object({
          Member_Account: accountName('The member.'),
          Role: Type.Optional(oneOf('Admin: it is made an admin.', 'Admin')),
          AppMemberDefinedData: Type.Optional(memberCustom()),
        }),
        { description: 'Members besides the owner.', maxItems: maxAccounts },
      ),
    ),
  }),
  response: Type.Object({ GroupId: Type.String({ description: 'Its id.' }) }),
  fieldErrors: { GroupId: groupIdErrors, MemberList: listErrors },
  errors: [...draftErrors, 'GROUP_ACCOUNT_UNKNOWN', 'GROUP_REFUSED_BY_CALLBACK'],
  // G1
  async handle(call, { groups }) {
    const draft = draftOf(call.body);
    if (!draft.ok) return draft;
    const members: NonNullable<GroupDraft['members']>[number][] = [];
    for (const [i, { Member_Account, Role, AppMemberDefinedData }] of (call.body.MemberList ?? []).entries()) {
      const custom = readCustom(AppMemberDefinedData, `MemberList[${i}].AppMemberDefinedData`);
      if (!custom.ok) return custom;
      members.push({
        account: Member_Account,
        ...(Role === undefined ? {} : { isAdmin: true }),
        ...withoutAbsent({ custom: custom.value }),
      });
    }
    const created = await groups.create(actorOf(call), {
      ...draft.value,
      ...(members.length === 0 ? {} : { members }),
    });
    return created.ok ? { ok: true, answer: { GroupId: created.value.groupId } } : created;
  },
});

const filterSchema = () =>
  Type.Optional(
    Type.Object(
      {
        GroupBaseInfoFilter: baseFilter(),
        MemberInfoFilter: memberFilter(),
        AppDefinedDataFilter_Group: customFilter('Custom fields of the group.'),
        AppDefinedDataFilter_GroupMember: customFilter('Custom fields of its members.'),
      },
      { description: 'What is to come back; absent: everything.' },
    ),
  );

interface InfoFilter {
  readonly GroupBaseInfoFilter?: readonly BaseFilter[];
  readonly MemberInfoFilter?: readonly MemberFilter[];
  readonly AppDefinedDataFilter_Group?: readonly string[];
  readonly AppDefinedDataFilter_GroupMember?: readonly string[];
}

const getGroupInfo = defineCommand({
  service,
  name: 'get_group_info',
  permission: 'im.group.read',
  generation: '2018',
  summary: 'Tells of up to 50 groups: profile, members, custom fields.',
  notes:
    'ErrorCode of the answer is 0 also when none of the groups is there: look at each entry’s. With ResponseFilter an entry has the fields that it names, besides GroupId, ErrorCode and ErrorInfo. MemberList has as many members as groups of the type show (AVChatRoom 300, BChatRoom none).',
  rate: 1,
  request: Type.Object({
    GroupIdList: list('The groups.', anyGroupId(), 50),
    ResponseFilter: filterSchema(),
  }),
  response: Type.Object({
    GroupInfo: answerList(
      'One entry for each of the request.',
      Type.Object({
        GroupId: Type.String({ description: 'As in the request.' }),
        ErrorCode: integer('0, or the error of this group.'),
        ErrorInfo: Type.String({ description: 'What the error means.' }),
        ...baseAnswer(),
        AppDefinedData: groupCustomAnswer(),
        MemberList: Type.Optional(answerList('Its members, in order of joining.', memberAnswer())),
      }),
    ),
  }),
  errors: ['GROUP_UNKNOWN', 'GROUP_ID', 'GROUP_ANSWER_TOO_LONG'],
  async handle(call, services) {
    const { GroupIdList, ResponseFilter } = call.body;
    const fits = createAnswerMeter();
    const GroupInfo: Fields[] = [];
    for (const id of GroupIdList) {
      if (call.deadline.aborted) return { ok: false, error: 'TIMED_OUT' };
      const info = await infoOf(call, services, id, ResponseFilter);
      const entry = info.ok
        ? { GroupId: id, ErrorCode: 0, ErrorInfo: '', ...info.value }
        : { GroupId: id, ErrorCode: errorCode(service, info.error), ErrorInfo: describeRefusal(info) };
      if (!fits(entry)) return answerTooLong;
      GroupInfo.push(entry);
    }
    return { ok: true, answer: { GroupInfo } };
  },
});

async function infoOf(
  call: Pick<Call<unknown>, 'admin' | 'origin'>,
  { groups, clock }: Pick<RestServices, 'groups' | 'clock'>,
  id: string,
  filter: InfoFilter | undefined,
): Promise<{ ok: true; value: Fields } | ImRefusal> {
  const malformed = checkGroupIdForm(id);
  if (malformed !== undefined) return malformed;
  const actor = actorOf(call);
  const view = await groups.view(actor, id);
  if (!view.ok) return view;
  const { custom } = view.value.group;
  const keys = filter?.AppDefinedDataFilter_Group;
  const info = {
    ...baseInfoOf(view.value, filter === undefined ? undefined : (filter.GroupBaseInfoFilter ?? [])),
    ...(filter === undefined || keys !== undefined ? { AppDefinedData: customOf(custom, keys) } : {}),
  };
  const wish = { fields: filter?.MemberInfoFilter, keys: filter?.AppDefinedDataFilter_GroupMember };
  if (filter !== undefined && wish.fields === undefined && wish.keys === undefined) return { ok: true, value: info };
  const page = await groups.members(actor, id, {});
  // Types without a list of members have a profile all the same.
  if (!page.ok) return page.error === 'GROUP_FORBIDDEN' ? { ok: true, value: { ...info, MemberList: [] } } : page;
  const nowSec = Math.floor(clock() / 1_000);
  const MemberList = page.value.members.map((member) => memberInfoOf(member, wish, nowSec));
  return { ok: true, value: { ...info, MemberList } };
}

const modifyGroup = defineCommand({
  service,
  name: 'modify_group_base_info',
  permission: 'im.group.write',
  generation: '2018',
  summary: 'Changes the profile of a group.',
  notes:
    'What is not given stays. Members are told of a new name, introduction, notice or image, as groups of the type tell of changes, and the app’s backend (Group.CallbackAfterGroupInfoChanged).',
  rate: 1,
  aliases: { MaxMemberCount: 'MaxMemberNum', MuteAllMember: 'ShutUpAllMember' },
  request: Type.Object({
    GroupId: groupId(),
    Name: Type.Optional(groupName()),
    ...profileFields(),
    MaxMemberNum: Type.Optional(memberNumber()),
    ApplyJoinOption: Type.Optional(applyOption()),
    ShutUpAllMember: Type.Optional(oneOf('On: only owner and admins speak.', 'On', 'Off')),
    AppDefinedData: Type.Optional(groupCustom()),
  }),
  response: noFields,
  fieldErrors: { GroupId: groupIdErrors },
  errors: ['GROUP_PARAMETER', 'GROUP_FORBIDDEN', 'GROUP_UNKNOWN', 'DIRTY_WORD'],
  // G9
  async handle(call, { groups }) {
    const { body } = call;
    const custom = readCustom(body.AppDefinedData, 'AppDefinedData');
    if (!custom.ok) return custom;
    const fields: GroupChangeFields = withoutAbsent({
      name: body.Name,
      introduction: body.Introduction,
      notification: body.Notification,
      faceUrl: body.FaceUrl,
      maxMembers: body.MaxMemberNum,
      applyOption: body.ApplyJoinOption,
      isMuted: body.ShutUpAllMember === undefined ? undefined : body.ShutUpAllMember === 'On',
      custom: custom.value,
    });
    return emptyAnswer(await groups.modify(actorOf(call), body.GroupId, fields));
  },
});

const changeOwner = defineCommand({
  service,
  name: 'change_group_owner',
  permission: 'im.group.transfer',
  generation: '2018',
  summary: 'Gives a group to one of its members.',
  notes: 'Also one that has no owner. Its members are told, its app’s backend is not.',
  rate: 1,
  request: Type.Object({ GroupId: groupId(), NewOwner_Account: accountName('The new owner, a member.') }),
  response: noFields,
  fieldErrors: { GroupId: groupIdErrors },
  errors: ['GROUP_PARAMETER', 'GROUP_FORBIDDEN', 'GROUP_UNKNOWN', 'GROUP_ACCOUNT_UNKNOWN'],
  // G6
  async handle(call, { groups }) {
    return emptyAnswer(await groups.transfer(actorOf(call), call.body.GroupId, call.body.NewOwner_Account));
  },
});

const destroyGroup = defineCommand({
  service,
  name: 'destroy_group',
  permission: 'im.group.dismiss',
  generation: '2018',
  summary: 'Dismisses a group.',
  notes: 'Its members are told, and the app’s backend (Group.CallbackAfterGroupDestroyed). Its id is free again.',
  rate: 1,
  request: Type.Object({ GroupId: groupId() }),
  response: noFields,
  fieldErrors: { GroupId: groupIdErrors },
  errors: ['GROUP_FORBIDDEN', 'GROUP_UNKNOWN'],
  // G7
  async handle(call, { groups }) {
    return emptyAnswer(await groups.dismiss(actorOf(call), call.body.GroupId));
  },
});

const maxListed = 10_000;

const listGroups = defineCommand({
  service,
  name: 'get_appid_group_list',
  permission: 'im.group.list',
  generation: '2018',
  summary: 'Lists the groups of the app, by pages of at most 10,000.',
  notes: 'Until Next is 0, ask again with the Next of the answer.',
  rate: 1,
  request: Type.Object({
    Limit: Type.Optional(integer('Groups of a page, 10000 unless given.', 1, maxListed)),
    Next: Type.Optional(integer('Where the page before ended; absent or 0: the first page.')),
    GroupType: Type.Optional(text('Groups of this type alone.', 30, 1)),
  }),
  response: Type.Object({
    TotalCount: integer('Groups of the app, or of the type.'),
    GroupIdList: answerList('The groups.', Type.Object({ GroupId: Type.String() })),
    Next: integer('Where the next page begins; 0: there is none.'),
  }),
  errors: ['GROUP_ANSWER_TOO_LONG'],
  // G21
  async handle({ app, body }, { groups }) {
    const { Limit: limit = maxListed, Next: next = 0, GroupType: type } = body;
    const page = await groups.list(app.sdkAppId, { ...withoutAbsent({ type }), limit, next });
    return boundedAnswer({
      TotalCount: page.total,
      GroupIdList: page.groupIds.map((GroupId) => ({ GroupId })),
      Next: page.next,
    });
  },
});

export const groupCommands: readonly Command[] = [
  createGroup,
  getGroupInfo,
  modifyGroup,
  changeOwner,
  destroyGroup,
  listGroups,
];
