import Type from 'typebox';
import type { GroupPage } from '../group-services.ts';
import type { Priority } from '../groups/model.ts';
import { withoutAbsent } from '../without-absent.ts';
import { senderOf } from './account-names.ts';
import { type Command, defineCommand } from './command.ts';
import { asField, doesCount, readContent, withoutCallbacks } from './draft.ts';
import { actorOf, createAnswerMeter, emptyAnswer, groupId, groupIdErrors, noFields, service } from './group-fields.ts';
import {
  accountName,
  answerList,
  customData,
  forbidControl,
  integer,
  list,
  maxU32,
  messageBody,
  oneOf,
  pushInfo,
  sendControl,
  text,
  u32,
} from './schema.ts';

/** What is said in groups. */

/** Names of priorities, those of the 2018 web SDK included (API reference §4.15). */
const priorities = {
  High: 'High',
  Normal: 'Normal',
  Low: 'Low',
  Lowest: 'Lowest',
  COMMON: 'Normal',
  REDPACKET: 'High',
  LOVEMSG: 'Lowest',
} as const satisfies Record<string, Priority>;
const priorityNames = Object.keys(priorities) as (keyof typeof priorities)[];

const sendMsg = defineCommand({
  service,
  name: 'send_group_msg',
  permission: 'im.group.message.send',
  generation: '2018',
  summary: 'Sends a message to a group, in the name of any account, also of one that is no member.',
  notes:
    'The same sender, group and Random within 300 seconds are one message: the answer is the first one’s. MsgSeq is 0 of a message that OnlineOnlyFlag keeps out of the history, and of one that was dropped: by the limits of the group (`im.groupRate`; with `im.groupTellsDropped` it is refused with 10023) or by the app’s backend, which may also refuse it with a number of its own, 10100 … 10200, and its own ErrorInfo (Group.CallbackBeforeSendMsg). Mutes and membership are not asked about. To_Account, for some members alone, is not there: a call with it is refused.',
  rate: 1,
  request: Type.Object({
    GroupId: groupId(),
    Random: u32('Random number: what makes a repeat one.'),
    MsgPriority: Type.Optional(
      oneOf(
        'Which messages go first where there are too many; Normal unless given. COMMON is Normal, REDPACKET High, LOVEMSG Lowest.',
        ...priorityNames,
      ),
    ),
    MsgBody: messageBody(),
    From_Account: Type.Optional(accountName('The sender; absent: the calling administrator.')),
    OfflinePushInfo: Type.Optional(pushInfo()),
    ForbidCallbackControl: Type.Optional(forbidControl()),
    OnlineOnlyFlag: Type.Optional(
      integer('Above 0: for members who are online now, not stored. Not for AVChatRoom and BChatRoom.', 0, maxU32),
    ),
    SendMsgControl: Type.Optional(sendControl()),
    CloudCustomData: Type.Optional(customData()),
    To_Account: Type.Optional(
      Type.Array(Type.String(), { description: 'Not there: must be empty or absent.', maxItems: 0 }),
    ),
  }),
  response: Type.Object({
    MsgTime: integer('Time of the message, Unix seconds.'),
    MsgSeq: integer('Its number in the group; 0: it has none.'),
  }),
  fieldErrors: { GroupId: groupIdErrors },
  errors: [
    'BODY_NOT_ARRAY',
    'BODY_ELEMENT',
    'OFFLINE_PUSH_INFO',
    'MESSAGE_TOO_LONG',
    'GROUP_UNKNOWN',
    'GROUP_FORBIDDEN',
    'GROUP_REFUSED_BY_CALLBACK',
    // Where the app has senders told of it (`im.groupTellsDropped`).
    'GROUP_RATE',
    'GROUP_ACCOUNT_UNKNOWN',
    'DIRTY_WORD',
  ],
  // G22
  async handle(call, services) {
    const { app, body, deadline } = call;
    const content = readContent(body, app.im.messageBytes);
    if (!content.ok) return content;
    const from = await senderOf(call, services.accounts, body.From_Account, 'GROUP_ACCOUNT_UNKNOWN');
    if (!from.ok) return from;
    const sent = await services.groupMessages.send({
      actor: actorOf(call),
      from: from.value,
      groupId: body.GroupId,
      draft: {
        ...content.value,
        random: body.Random,
        priority: priorities[body.MsgPriority ?? 'Normal'],
        isOnlineOnly: (body.OnlineOnlyFlag ?? 0) > 0,
        counts: doesCount(body),
      },
      ...withoutCallbacks(body.ForbidCallbackControl),
      deadline,
    });
    if (!sent.ok) return asField(sent);
    return { ok: true, answer: { MsgTime: sent.value.time, MsgSeq: sent.value.seq } };
  },
});

const notify = defineCommand({
  service,
  name: 'send_group_system_notification',
  permission: 'im.group.notify',
  generation: '2018',
  summary: 'Tells members who are online now something of the app’s own. It is kept nowhere.',
  notes: 'Terminals get it as a system notice of type 255. The limits of messages do not count it.',
  rate: 1,
  request: Type.Object({
    GroupId: groupId(),
    Content: text('What they are told.', 8_000, 1),
    ToMembers_Account: Type.Optional(
      Type.Array(accountName('Name of an account.'), {
        description:
          'The members; absent or empty: all. Others that it names get nothing. Not for AVChatRoom and BChatRoom, where everybody is told.',
        maxItems: 500,
      }),
    ),
  }),
  response: noFields,
  fieldErrors: { GroupId: groupIdErrors, ToMembers_Account: { otherwise: 'INVALID_FIELD', many: 'GROUP_TOO_MANY' } },
  errors: ['GROUP_UNKNOWN', 'GROUP_FORBIDDEN', 'GROUP_ACCOUNT_UNKNOWN'],
  // G24
  async handle(call, { groups }) {
    const { GroupId, Content, ToMembers_Account } = call.body;
    return emptyAnswer(await groups.notify(actorOf(call), GroupId, Content, ToMembers_Account));
  },
});

const maxRecalled = 10;

const recall = defineCommand({
  service,
  name: 'group_msg_recall',
  permission: 'im.group.message.recall',
  generation: '2018',
  summary: 'Takes up to 10 messages of a group back: from history and terminals.',
  notes: 'As long as the group keeps them. Each has its RetCode.',
  rate: 1,
  request: Type.Object({
    GroupId: groupId(),
    MsgSeqList: list('The messages.', Type.Object({ MsgSeq: u32('Its MsgSeq.') }), maxRecalled),
  }),
  response: Type.Object({
    RecallRetList: answerList(
      'One entry for each of the request.',
      Type.Object({
        MsgSeq: integer('As in the request.'),
        RetCode: integer(
          '0: taken back. 10030: not there. 10031: too old. 10032: not to be taken back. 10033: groups of this type take nothing back.',
        ),
      }),
    ),
  }),
  fieldErrors: { GroupId: groupIdErrors },
  errors: [
    'GROUP_UNKNOWN',
    'GROUP_MESSAGE_UNKNOWN',
    'GROUP_RECALL_TOO_LATE',
    'GROUP_NOT_RECALLABLE',
    'GROUP_TYPE_NOT_RECALLABLE',
  ],
  async handle(call, { groupMessages }) {
    const { GroupId, MsgSeqList } = call.body;
    const seqs = MsgSeqList.map(({ MsgSeq }) => MsgSeq);
    const recalled = await groupMessages.recall(actorOf(call), GroupId, seqs);
    if (!recalled.ok) return recalled;
    return {
      ok: true,
      answer: { RecallRetList: recalled.value.map(({ seq, code }) => ({ MsgSeq: seq, RetCode: code })) },
    };
  },
});

/** Messages of one page at most (API reference §4.24). */
const maxPage = 20;

const getHistory = defineCommand({
  service,
  name: 'group_msg_get_simple',
  permission: 'im.group.message.history',
  generation: '2018',
  summary: 'Reads the history of a group, the newest message first, at most 20 at once.',
  notes:
    'Every MsgSeq is there: what has expired, was deleted or recalled is a hole, with IsPlaceMsg 1 and an empty MsgBody; with WithRecalledMsg 1 a recalled one has IsPlaceMsg 2. Of what has expired it is not known any more whose it was and when: From_Account is empty, MsgRandom and MsgTimeStamp are 0. Ask on with ReqMsgSeq = the smallest MsgSeq of the answer − 1. AVChatRoom and BChatRoom keep nothing: the list is empty.',
  rate: 1,
  request: Type.Object({
    GroupId: groupId(),
    ReqMsgNumber: integer('Messages wanted; 20 at most come.', 1, maxU32),
    ReqMsgSeq: Type.Optional(u32('Messages up to this MsgSeq; absent: the newest.')),
    WithRecalledMsg: Type.Optional(oneOf('1: tell recalled messages from other holes.', 0, 1)),
  }),
  response: Type.Object({
    GroupId: Type.String({ description: 'The group.' }),
    IsFinished: oneOf(
      '1: this is all that was asked for. 0: there is more. 2: there is more, but all of it has expired.',
      0,
      1,
      2,
    ),
    RspMsgList: answerList(
      'The messages.',
      Type.Object({
        From_Account: Type.String({ description: 'The sender; empty: it is not known any more.' }),
        IsPlaceMsg: oneOf('1: a hole. 2: recalled, with WithRecalledMsg.', 0, 1, 2),
        MsgBody: answerList('The elements.', Type.Object({})),
        MsgPriority: Type.Optional(oneOf('1 High, 2 Normal, 3 Low, 4 Lowest.', 1, 2, 3, 4)),
        MsgRandom: integer('Its Random.'),
        MsgSeq: integer('Its number in the group.'),
        MsgTimeStamp: integer('Its time, Unix seconds.'),
        CloudCustomData: Type.Optional(Type.String()),
      }),
    ),
  }),
  fieldErrors: { GroupId: groupIdErrors },
  errors: ['GROUP_UNKNOWN', 'GROUP_FORBIDDEN'],
  // G37
  async handle(call, { groupMessages }) {
    const { GroupId, ReqMsgNumber, ReqMsgSeq: upTo, WithRecalledMsg = 0 } = call.body;
    const page = await groupMessages.history(actorOf(call), GroupId, {
      ...withoutAbsent({ upTo }),
      // One more says what there is behind the page.
      limit: Math.min(ReqMsgNumber, maxPage + 1),
    });
    if (!page.ok) return page;
    const { messages, expired = [], complete } = page.value;
    const fits = createAnswerMeter();
    const wanted = messages.slice(0, maxPage).map((one) => itemOf(one, WithRecalledMsg === 1));
    const cut = wanted.findIndex((item) => !fits(item));
    const RspMsgList = cut === -1 ? wanted : wanted.slice(0, cut);
    if (cut !== -1 || !complete) return { ok: true, answer: { GroupId, IsFinished: 0, RspMsgList } };
    const holes = expired.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, i) => last - i));
    const room = maxPage - RspMsgList.length;
    const isCut = messages.length + holes.length > maxPage;
    const IsFinished = !isCut ? 1 : holes.length > room ? 2 : 0;
    RspMsgList.push(...holes.slice(0, room).map((seq) => itemOf({ seq }, false)));
    return { ok: true, answer: { GroupId, IsFinished, RspMsgList } };
  },
});

const priorityNumbers = { High: 1, Normal: 2, Low: 3, Lowest: 4 } as const satisfies Record<Priority, number>;

function itemOf({ seq, message, recalled }: GroupPage['messages'][number], tellsRecalled: boolean) {
  // Whatever was emptied: no message is sent without an element.
  const isHole = message === undefined || message.body === '[]';
  const isRecalled = recalled === true || message?.recalled === true;
  const priority = message?.extra === undefined ? undefined : priorityOf(message.extra);
  return {
    From_Account: message?.from ?? '',
    IsPlaceMsg: !isHole ? 0 : isRecalled && tellsRecalled ? 2 : 1,
    MsgBody: isHole ? [] : (JSON.parse(message.body) as unknown[]),
    ...(priority === undefined ? {} : { MsgPriority: priorityNumbers[priority] }),
    MsgRandom: message?.random ?? 0,
    MsgSeq: seq,
    MsgTimeStamp: message?.time ?? 0,
    ...(message?.custom === undefined || isHole ? {} : { CloudCustomData: message.custom }),
  };
}

function priorityOf(extra: string): Priority | undefined {
  const { priority } = JSON.parse(extra) as { priority?: unknown };
  return Object.hasOwn(priorityNumbers, String(priority)) ? (priority as Priority) : undefined;
}

const deleteBySender = defineCommand({
  service,
  name: 'delete_group_msg_by_sender',
  permission: 'im.group.message.delete',
  generation: '2018',
  summary: 'Empties what an account has said among the newest 1,000 messages of a group.',
  notes:
    'What terminals have stored stays there. Of AVChatRoom and BChatRoom, which keep nothing, it is accepted and does nothing.',
  rate: 1,
  request: Type.Object({ GroupId: groupId(), Sender_Account: accountName('The account.') }),
  response: noFields,
  fieldErrors: { GroupId: groupIdErrors },
  errors: ['GROUP_UNKNOWN', 'GROUP_ACCOUNT_UNKNOWN'],
  // G36
  async handle(call, { groupMessages }) {
    return emptyAnswer(await groupMessages.deleteBySender(actorOf(call), call.body.GroupId, call.body.Sender_Account));
  },
});

const setUnread = defineCommand({
  service,
  name: 'set_unread_msg_num',
  permission: 'im.group.unread.write',
  generation: '2018',
  summary: 'Sets how many messages of a group a member has not read, at most as many as there are.',
  notes: 'Of ChatRoom, AVChatRoom and BChatRoom, which count nothing, it is accepted and does nothing.',
  rate: 1,
  request: Type.Object({
    GroupId: groupId(),
    Member_Account: accountName('The member.'),
    UnreadMsgNum: u32('How many.'),
  }),
  response: noFields,
  fieldErrors: { GroupId: groupIdErrors },
  errors: ['GROUP_UNKNOWN', 'GROUP_PARAMETER', 'GROUP_FORBIDDEN', 'GROUP_ACCOUNT_UNKNOWN'],
  async handle(call, { groupMessages }) {
    const { GroupId, Member_Account, UnreadMsgNum } = call.body;
    return emptyAnswer(await groupMessages.setUnread(actorOf(call), GroupId, Member_Account, UnreadMsgNum));
  },
});

export const groupMessageCommands: readonly Command[] = [
  sendMsg,
  notify,
  recall,
  getHistory,
  deleteBySender,
  setUnread,
];
