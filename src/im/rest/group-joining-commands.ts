import Type from 'typebox';
import { withoutAbsent } from '../without-absent.ts';
import { namesOf } from './account-names.ts';
import { type Command, defineCommand } from './command.ts';
import {
  accountErrors,
  actorOf,
  emptyAnswer,
  groupId,
  groupIdErrors,
  listErrors,
  maxAccounts,
  noFields,
  resultList,
  resultsOf,
  service,
  silence,
} from './group-fields.ts';
import { accountName, accountNames, list, text } from './schema.ts';

/** Who comes into groups, and goes out of them. */

const addMembers = defineCommand({
  service,
  name: 'add_group_member',
  permission: 'im.group.member.write',
  generation: '2018',
  summary: 'Takes up to 500 accounts into a group, without asking them.',
  notes:
    'An account that is nobody’s refuses the whole call; whom the app’s backend left out (Group.CallbackBeforeInviteJoinGroup) and who found no room have Result 0. Not for AVChatRoom and BChatRoom.',
  rate: 1,
  request: Type.Object({
    GroupId: groupId(),
    Silence: silence(),
    MemberList: list('The accounts.', Type.Object({ Member_Account: accountName('The account.') }), maxAccounts),
  }),
  response: Type.Object({
    MemberList: resultList('0: failed. 1: added. 2: was a member. 3: has to agree first.'),
  }),
  fieldErrors: { GroupId: groupIdErrors, MemberList: listErrors },
  errors: [...accountErrors, 'GROUP_FULL', 'GROUP_REFUSED_BY_CALLBACK'],
  // G12
  async handle(call, { groups }) {
    const { GroupId, Silence, MemberList } = call.body;
    const names = MemberList.map(({ Member_Account }) => Member_Account);
    const added = await groups.add(actorOf(call), GroupId, names, { silent: Silence === 1 });
    return added.ok ? { ok: true, answer: { MemberList: resultsOf(added.value) } } : added;
  },
});

const deleteMembers = defineCommand({
  service,
  name: 'delete_group_member',
  permission: 'im.group.member.write',
  generation: '2018',
  summary: 'Removes up to 500 members from a group.',
  notes: 'Who is no member makes no difference. Not for AVChatRoom and BChatRoom (10004).',
  rate: 1,
  request: Type.Object({
    GroupId: groupId(),
    Silence: silence(),
    Reason: Type.Optional(text('Why; those who are removed are told.', 1_000)),
    MemberToDel_Account: accountNames('The members.', maxAccounts),
  }),
  response: noFields,
  fieldErrors: { GroupId: groupIdErrors, MemberToDel_Account: listErrors },
  errors: ['GROUP_UNKNOWN', 'GROUP_FORBIDDEN', 'GROUP_PARAMETER'],
  // G17
  async handle(call, { accounts, groups }) {
    const { GroupId, Silence, Reason, MemberToDel_Account } = call.body;
    const found = await accounts.findMany(call.app.sdkAppId, namesOf(MemberToDel_Account));
    const options = { silent: Silence === 1, ...withoutAbsent({ reason: Reason }) };
    return emptyAnswer(await groups.remove(actorOf(call), GroupId, [...found.keys()], options));
  },
});

export const groupJoiningCommands: readonly Command[] = [addMembers, deleteMembers];
