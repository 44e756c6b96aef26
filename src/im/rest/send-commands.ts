import Type from 'typebox';
import type { AppSettings } from '../../store/index.ts';
import { type AccountId, type ImErrorName, messageKey } from '../../wire/index.ts';
import type { Draft } from '../services.ts';
import { accountOf, senderOf } from './account-names.ts';
import { sendToMany } from './batch.ts';
import { type Command, defineCommand, type RestServices } from './command.ts';
import { asField, readContent, readDelivery, withoutCallbacks } from './draft.ts';
import {
  accountName,
  accountNames,
  answerList,
  anyName,
  customData,
  forbidControl,
  integer,
  maxU32,
  messageBody,
  oneOf,
  pushInfo,
  sendControl,
  text,
  u32,
} from './schema.ts';

const service = 'openim';

const deliveryFields = {
  SyncOtherMachine: Type.Optional(
    oneOf(
      "1: the sender's terminals are told, too. 2: nothing of it is on the sender's side. Absent: it is in the sender's history.",
      1,
      2,
    ),
  ),
  From_Account: Type.Optional(accountName('The sender; absent: the calling administrator.')),
};
const lifeTime = () =>
  Type.Optional(
    integer(
      'Seconds that it waits for an offline receiver, 604800 unless given; more counts as that. 0: for terminals that are online now, not stored.',
    ),
  );
const msgSeq = () => Type.Optional(u32('Part of what makes a repeat one; absent: the service chooses.'));
const msgRandom = () => u32('Random number: what makes a repeat one.');
const contentFields = {
  MsgBody: messageBody(),
  OfflinePushInfo: Type.Optional(pushInfo()),
  CloudCustomData: Type.Optional(customData()),
};
const contentErrors = {
  MsgBody: 'BODY_NOT_ARRAY',
  OfflinePushInfo: 'OFFLINE_PUSH_INFO',
  MsgRandom: 'MSG_RANDOM',
  MsgSeq: 'MSG_SEQ',
  MsgTimeStamp: 'MSG_TIME_STAMP',
  MsgLifeTime: 'LIFE_TIME',
  SyncOtherMachine: 'SYNC_OTHER_MACHINE',
  From_Account: 'FROM_ACCOUNT',
} as const satisfies Record<string, ImErrorName>;
const contentRefusals = ['BODY_ELEMENT', 'MESSAGE_TOO_LONG'] as const satisfies readonly ImErrorName[];
const sendRefusals = [
  ...contentRefusals,
  'DIRTY_WORD',
  'SENDER_UNKNOWN',
  'BUSY',
] as const satisfies readonly ImErrorName[];
const msgKey = () => text('Names the message: MsgSeq, MsgRandom and MsgTime, with `_` between.', 50);

const sendMsg = defineCommand({
  service,
  name: 'sendmsg',
  permission: 'im.message.send',
  generation: '2018',
  summary: 'Sends a message to one account, in the name of any.',
  notes:
    'Friendship, blacklist and mutes are not asked about. The same sender, receiver and MsgRandom, and MsgSeq where it is given, within 120 seconds are one message: the answer is the first one’s. The app’s backend may refuse it with a number of its own, 120001 … 130000, and its own ErrorInfo (C2C.CallbackBeforeSendMsg).',
  rate: 1,
  request: Type.Object({
    ...deliveryFields,
    To_Account: accountName('The receiver.'),
    MsgLifeTime: lifeTime(),
    MsgSeq: msgSeq(),
    MsgRandom: msgRandom(),
    MsgTimeStamp: Type.Optional(u32("The caller's time, Unix seconds; the message has the service's.")),
    ForbidCallbackControl: Type.Optional(forbidControl()),
    SendMsgControl: Type.Optional(sendControl()),
    ...contentFields,
  }),
  response: Type.Object({
    MsgTime: integer('Time of the message, Unix seconds.'),
    MsgKey: msgKey(),
  }),
  fieldErrors: { ...contentErrors, To_Account: 'TO_ACCOUNT' },
  errors: ['RECEIVER_UNKNOWN', 'REFUSED_BY_CALLBACK', ...sendRefusals],
  async handle({ app, admin, body, origin, deadline }, services) {
    const content = readContent(body, app.im.messageBytes);
    if (!content.ok) return content;
    const from = await senderOf({ app, admin }, services.accounts, body.From_Account, 'FROM_ACCOUNT');
    if (!from.ok) return from;
    const to = await receiverOf(app, body.To_Account, services);
    if (!to.ok) return to;
    const draft: Draft = { ...content.value, ...readDelivery(body), ...seqOf(body), random: body.MsgRandom };
    const sent = await services.messages.send({
      from: from.value,
      to: to.value,
      draft,
      authority: 'administrator', // M3
      ...withoutCallbacks(body.ForbidCallbackControl),
      origin,
      deadline,
    });
    if (!sent.ok) return asField(sent);
    return { ok: true, answer: { MsgTime: sent.value.time, MsgKey: messageKey(sent.value) } };
  },
});

const batchSendMsg = defineCommand({
  service,
  name: 'batchsendmsg',
  permission: 'im.message.send',
  generation: '2018',
  summary: 'Sends a message to up to 500 accounts, without callbacks.',
  notes:
    'ActionStatus is SomeError, with ErrorCode 0, when some of the receivers failed. When all did it is FAIL: with 90012 when none of them is an account. A receiver that is named twice gets it once. Time-outs: send it again with the same MsgRandom, and nobody gets it twice.',
  rate: 1,
  request: Type.Object({
    ...deliveryFields,
    To_Account: accountNames('The receivers, at most 500.', 500),
    MsgLifeTime: lifeTime(),
    MsgSeq: msgSeq(),
    MsgRandom: msgRandom(),
    SendMsgControl: Type.Optional(sendControl()),
    ...contentFields,
  }),
  response: Type.Object({
    MsgKey: Type.Optional(msgKey()),
    ErrorList: Type.Optional(
      answerList(
        'The receivers that did not get it; absent when all did.',
        Type.Object({
          To_Account: anyName('As in the request.'),
          ErrorCode: integer('70107: there is no such account.'),
        }),
      ),
    ),
  }),
  fieldErrors: {
    ...contentErrors,
    To_Account: {
      otherwise: 'TO_ACCOUNT_NOT_ARRAY',
      empty: 'TO_ACCOUNT_EMPTY',
      many: 'TOO_MANY_ACCOUNTS',
      item: 'TO_ACCOUNT',
    },
  },
  errors: ['RECEIVER_UNKNOWN', ...sendRefusals],
  async handle({ app, admin, body, origin, deadline }, services) {
    const content = readContent(body, app.im.messageBytes);
    if (!content.ok) return content;
    const from = await senderOf({ app, admin }, services.accounts, body.From_Account, 'FROM_ACCOUNT');
    if (!from.ok) return from;
    // One MsgSeq for all receivers, so that one MsgKey names the message in all their conversations.
    const ownMsgSeq = Math.floor(services.random() * (maxU32 + 1));
    const draft: Draft = {
      ...content.value,
      ...readDelivery(body),
      ...seqOf(body),
      ownMsgSeq,
      random: body.MsgRandom,
    };
    return await sendToMany({ from: from.value, names: body.To_Account, draft, origin, deadline }, services);
  },
});

/** How far in the future an imported message may be: callers' clocks differ from ours. */
const importAheadSec = 60;

const importMsg = defineCommand({
  service,
  name: 'importmsg',
  permission: 'im.message.import',
  generation: '2018',
  summary: 'Stores a message of before, with its own time.',
  notes:
    'No callback, push or terminal is told. Import a conversation in order: its messages are in the order of their import, and their times never go back. The same message imported again within a day is stored once.',
  rate: 1,
  request: Type.Object({
    SyncFromOldSystem: oneOf('1: it counts as unread. 2: it does not.', 1, 2),
    From_Account: accountName('The sender.'),
    To_Account: accountName('The receiver.'),
    MsgSeq: msgSeq(),
    MsgRandom: msgRandom(),
    MsgTimeStamp: Type.Optional(u32('When it was sent, Unix seconds; absent: now. At most a minute ahead of now.')),
    MsgBody: messageBody(),
    CloudCustomData: Type.Optional(customData()),
  }),
  response: Type.Object({}),
  fieldErrors: { ...contentErrors, SyncFromOldSystem: 'SYNC_FROM_OLD_SYSTEM', To_Account: 'TO_ACCOUNT' },
  errors: ['RECEIVER_UNKNOWN', ...contentRefusals, 'SENDER_UNKNOWN', 'BUSY'],
  // I3
  async handle({ app, admin, body, origin, deadline }, services) {
    const nowSec = Math.floor(services.clock() / 1_000);
    const importedTime = body.MsgTimeStamp ?? nowSec;
    if (importedTime > nowSec + importAheadSec) {
      const allowed = `0 … ${nowSec + importAheadSec}`;
      return { ok: false, error: 'MSG_TIME_STAMP', field: 'MsgTimeStamp', reason: 'is in the future', allowed };
    }
    const content = readContent(body, app.im.messageBytes);
    if (!content.ok) return content;
    const from = await senderOf({ app, admin }, services.accounts, body.From_Account, 'FROM_ACCOUNT');
    if (!from.ok) return from;
    const to = await receiverOf(app, body.To_Account, services);
    if (!to.ok) return to;
    const draft: Draft = {
      ...content.value,
      ...readDelivery({}),
      ...seqOf(body),
      random: body.MsgRandom,
      counts: body.SyncFromOldSystem === 1,
      importedTime,
    };
    const sent = await services.messages.send({
      from: from.value,
      to: to.value,
      draft,
      authority: 'administrator',
      withoutBefore: 'kind',
      withoutAfter: 'kind',
      origin,
      deadline,
    });
    return sent.ok ? { ok: true, answer: {} } : asField(sent);
  },
});

function seqOf({ MsgSeq }: { MsgSeq?: number }): { msgSeq?: number } {
  return MsgSeq === undefined ? {} : { msgSeq: MsgSeq };
}

async function receiverOf(app: AppSettings, name: AccountId, { accounts }: Pick<RestServices, 'accounts'>) {
  return await accountOf(accounts, app.sdkAppId, name, { field: 'To_Account', error: 'RECEIVER_UNKNOWN' });
}

export const sendCommands: readonly Command[] = [sendMsg, batchSendMsg, importMsg];
