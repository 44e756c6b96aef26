import Type from 'typebox';
import type { ImErrorName } from '../../wire/index.ts';
import { type Command, defineCommand } from './command.ts';
import {
  accountErrors,
  actorOf,
  boundedAnswer,
  emptyAnswer,
  groupId,
  groupIdErrors,
  listErrors,
  maxAccounts,
  noFields,
  service,
} from './group-fields.ts';
import { accountName, answerList, integer, list, u32 } from './schema.ts';

/** Who may not speak in groups. */

const mute = defineCommand({
  service,
  name: 'forbid_send_msg',
  permission: 'im.group.mute',
  generation: '2018',
  summary: 'Mutes up to 500 accounts in a group for a time, or no longer.',
  notes: 'Also accounts that are no members now: a mute outlives leaving and joining. Not for Private and BChatRoom.',
  rate: 1,
  aliases: { MuteTime: 'ShutUpTime' },
  request: Type.Object({
    GroupId: groupId(),
    Members_Account: list('The accounts.', accountName('Name of an account.'), maxAccounts),
    ShutUpTime: u32('Seconds; 0: they may send again. 4294967295: for ever.'),
  }),
  response: noFields,
  fieldErrors: { GroupId: groupIdErrors, Members_Account: listErrors },
  errors: accountErrors,
  // G27
  async handle(call, { groups }) {
    const { GroupId, Members_Account, ShutUpTime } = call.body;
    return emptyAnswer(await groups.mute(actorOf(call), GroupId, Members_Account, ShutUpTime));
  },
});

const mutedRequest = Type.Object({ GroupId: groupId() });
const mutedErrors = ['GROUP_UNKNOWN', 'GROUP_FORBIDDEN'] as const satisfies readonly ImErrorName[];

const getMuted = defineCommand({
  service,
  name: 'get_group_shutted_uin',
  permission: 'im.group.member.read',
  generation: '2018',
  summary: 'Lists who is muted in a group.',
  rate: 1,
  request: mutedRequest,
  response: Type.Object({
    GroupId: Type.String({ description: 'The group.' }),
    ShuttedUinList: answerList(
      'Who is muted.',
      Type.Object({ Member_Account: Type.String(), ShuttedUntil: integer('Until when, Unix seconds.') }),
    ),
  }),
  fieldErrors: { GroupId: groupIdErrors },
  errors: mutedErrors,
  // G27
  async handle(call, { groups }) {
    const muted = await groups.muted(actorOf(call), call.body.GroupId);
    if (!muted.ok) return muted;
    const list = muted.value.map(({ account, untilSec }) => ({ Member_Account: account, ShuttedUntil: untilSec }));
    return boundedAnswer({ GroupId: call.body.GroupId, ShuttedUinList: list });
  },
});

const getMutedAccount = defineCommand({
  service,
  name: 'get_group_muted_account',
  permission: 'im.group.member.read',
  generation: '2021',
  summary: 'Lists who is muted in a group: the later name of get_group_shutted_uin.',
  rate: 1,
  request: mutedRequest,
  response: Type.Object({
    GroupId: Type.String({ description: 'The group.' }),
    MutedAccountList: answerList(
      'Who is muted.',
      Type.Object({
        Member_Account: Type.String(),
        MutedUntil: integer('Until when, Unix seconds.'),
        ShuttedUntil: integer('The same.'),
      }),
    ),
  }),
  fieldErrors: { GroupId: groupIdErrors },
  errors: mutedErrors,
  // G27
  async handle(call, { groups }) {
    const muted = await groups.muted(actorOf(call), call.body.GroupId);
    if (!muted.ok) return muted;
    const list = muted.value.map(({ account, untilSec }) => ({
      Member_Account: account,
      MutedUntil: untilSec,
      ShuttedUntil: untilSec,
    }));
    return boundedAnswer({ GroupId: call.body.GroupId, MutedAccountList: list });
  },
});

export const groupMuteCommands: readonly Command[] = [mute, getMuted, getMutedAccount];
