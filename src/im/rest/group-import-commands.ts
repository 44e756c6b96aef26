import Type from 'typebox';
import type { Account } from '../model.ts';
import { withoutAbsent } from '../without-absent.ts';
import { senderOf } from './account-names.ts';
import { type Command, defineCommand } from './command.ts';
import { asField, readContent } from './draft.ts';
import { draftErrors, draftFields, draftOf } from './group-draft.ts';
import {
  accountErrors,
  actorOf,
  groupId,
  groupIdErrors,
  listErrors,
  maxAccounts,
  resultList,
  resultsOf,
  service,
} from './group-fields.ts';
import { accountName, answerList, integer, list, maxU32, messageBody, oneOf, u32 } from './schema.ts';
import { errorCode } from './service-table.ts';

/** Groups that there were elsewhere, with what was said in them and who was in them. Nobody is asked or told. */

/** How far in the future a time may be: callers' clocks differ from ours. */
const aheadSec = 60;

const importGroup = defineCommand({
  service,
  name: 'import_group',
  permission: 'im.group.import',
  generation: '2018',
  summary: 'Makes a group that there was elsewhere, with the time when it was made. Nobody is asked or told.',
  notes:
    'Private, Public and ChatRoom, and those of the app’s own types that allow it. Import its messages and members next (import_group_msg, import_group_member).',
  rate: 1,
  aliases: { MaxMemberNum: 'MaxMemberCount' },
  request: Type.Object({
    ...draftFields,
    CreateTime: Type.Optional(
      u32('When it was made, Unix seconds; absent: now. At most a minute ahead of now, which is taken then.'),
    ),
  }),
  response: Type.Object({ GroupId: Type.String({ description: 'Its id.' }) }),
  fieldErrors: { GroupId: groupIdErrors },
  errors: draftErrors,
  // I3
  async handle(call, { groups, clock }) {
    const nowSec = Math.floor(clock() / 1_000);
    const { CreateTime = nowSec } = call.body;
    if (CreateTime > nowSec + aheadSec) {
      const allowed = `0 … ${nowSec}`;
      return { ok: false, error: 'INVALID_FIELD', field: 'CreateTime', reason: 'is in the future', allowed };
    }
    const draft = draftOf(call.body);
    if (!draft.ok) return draft;
    const importedSec = Math.min(CreateTime, nowSec);
    const created = await groups.create(actorOf(call), { ...draft.value, importedSec });
    return created.ok ? { ok: true, answer: { GroupId: created.value.groupId } } : created;
  },
});

type ImportResult = { Result: number; MsgSeq?: number; MsgTime?: number };

const importMsg = defineCommand({
  service,
  name: 'import_group_msg',
  permission: 'im.group.import',
  generation: '2018',
  summary: 'Stores up to 20 messages that there were elsewhere, with their own times. Nobody is asked or told.',
  notes:
    'In order of time, after the group was made and not in the future; each has its Result. Afterwards no member has unread messages (set_unread_msg_num, import_group_member). Not for AVChatRoom and BChatRoom.',
  rate: 1,
  request: Type.Object({
    GroupId: groupId(),
    MsgList: list(
      'The messages.',
      Type.Object({
        From_Account: accountName('The sender.'),
        SendTime: u32('When it was sent, Unix seconds.'),
        Random: Type.Optional(u32('Random number; absent: the service chooses.')),
        MsgBody: messageBody(),
      }),
      20,
    ),
  }),
  response: Type.Object({
    ImportMsgResult: answerList(
      'One entry for each of the request.',
      Type.Object({
        Result: integer('0, or the error of this message.'),
        MsgSeq: Type.Optional(integer('Its number in the group, when Result is 0.')),
        MsgTime: Type.Optional(integer('Its time, when Result is 0.')),
      }),
    ),
  }),
  fieldErrors: { GroupId: groupIdErrors },
  errors: [
    'BODY_NOT_ARRAY',
    'BODY_ELEMENT',
    'GROUP_UNKNOWN',
    'GROUP_FORBIDDEN',
    'GROUP_ACCOUNT_UNKNOWN',
    'GROUP_MESSAGE_TOO_LONG',
    'DIRTY_WORD',
  ],
  // I3
  async handle(call, services) {
    const { app, body } = call;
    const results: ImportResult[] = [];
    const good: { from: Account; sec: number; random: number; body: readonly unknown[]; at: number }[] = [];
    for (const [at, { From_Account, SendTime, Random, MsgBody }] of body.MsgList.entries()) {
      const content = readContent({ MsgBody }, app.im.messageBytes);
      const from = content.ok
        ? await senderOf(call, services.accounts, From_Account, 'GROUP_ACCOUNT_UNKNOWN')
        : content;
      if (content.ok && from.ok) {
        const random = Random ?? Math.floor(services.random() * (maxU32 + 1));
        good.push({ from: from.value, sec: SendTime, random, body: content.value.body, at });
      } else if (!from.ok) {
        const error = from.error === 'MESSAGE_TOO_LONG' ? 'GROUP_MESSAGE_TOO_LONG' : from.error;
        results[at] = { Result: errorCode(service, error) };
      }
    }
    // Also with none: whether the group takes any is said in any case.
    const imported = await services.groupMessages.importMany(
      actorOf(call),
      body.GroupId,
      good.map(({ at: _, ...message }) => message),
    );
    if (!imported.ok) return asField(imported);
    for (const [i, result] of imported.value.entries()) {
      const at = good[i]?.at ?? 0;
      results[at] =
        'error' in result ? { Result: result.error } : { Result: 0, MsgSeq: result.seq, MsgTime: result.sec };
    }
    return { ok: true, answer: { ImportMsgResult: results } };
  },
});

const importMembers = defineCommand({
  service,
  name: 'import_group_member',
  permission: 'im.group.import',
  generation: '2018',
  summary: 'Makes up to 500 accounts members of a group as they were elsewhere. Nobody is asked or told.',
  notes:
    'JoinTime must not be before the group’s CreateTime, nor in the future, or that member fails (Result 0). What was said from then on it can read. An account that is nobody’s refuses the whole call.',
  rate: 1,
  request: Type.Object({
    GroupId: groupId(),
    MemberList: list(
      'The members.',
      Type.Object({
        Member_Account: accountName('The account.'),
        Role: Type.Optional(oneOf('Admin: it is made an admin.', 'Admin')),
        JoinTime: Type.Optional(u32('When it joined, Unix seconds; absent: now.')),
        UnreadMsgNum: Type.Optional(u32('Messages that it has not read; at most as many as it can read.')),
      }),
      maxAccounts,
    ),
  }),
  response: Type.Object({ MemberList: resultList('0: failed. 1: added. 2: was a member.') }),
  fieldErrors: { GroupId: groupIdErrors, MemberList: listErrors },
  errors: [...accountErrors, 'GROUP_PARAMETER', 'GROUP_FULL'],
  // I3
  async handle(call, { groups }) {
    const { GroupId, MemberList } = call.body;
    const imported = await groups.importMembers(
      actorOf(call),
      GroupId,
      MemberList.map(({ Member_Account, Role, JoinTime, UnreadMsgNum }) => ({
        account: Member_Account,
        ...(Role === undefined ? {} : { isAdmin: true }),
        ...withoutAbsent({ joinedSec: JoinTime, unread: UnreadMsgNum }),
      })),
    );
    if (!imported.ok) return imported;
    return { ok: true, answer: { MemberList: resultsOf(imported.value) } };
  },
});

export const groupImportCommands: readonly Command[] = [importGroup, importMsg, importMembers];
