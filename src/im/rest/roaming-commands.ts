import Type from 'typebox';
import { messageKey } from '../../wire/index.ts';
import type { Account, StoredMessage } from '../model.ts';
import type { Mailbox } from '../services.ts';
import { accountOf } from './account-names.ts';
import { type Command, defineCommand } from './command.ts';
import { type MessageKeyParts, parseMessageKey } from './message-key.ts';
import { accountName, answerList, integer, oneOf, text, u32 } from './schema.ts';

const service = 'openim';
const fromError = { field: 'From_Account', error: 'FROM_ACCOUNT' } as const;
const toError = { field: 'To_Account', error: 'TO_ACCOUNT' } as const;
const msgKey = (description: string) => text(description, 50);

const withdraw = defineCommand({
  service,
  name: 'admin_msgwithdraw',
  permission: 'im.message.recall',
  generation: '2020',
  summary: 'Takes a message back: from history, offline messages and terminals, however old it is.',
  rate: 1,
  request: Type.Object({
    From_Account: accountName('Who sent it.'),
    To_Account: accountName('Who got it.'),
    MsgKey: msgKey('Its MsgKey.'),
  }),
  response: Type.Object({}),
  fieldErrors: { From_Account: 'FROM_ACCOUNT', To_Account: 'TO_ACCOUNT', MsgKey: 'MSG_KEY' },
  errors: ['MESSAGE_NOT_FOUND', 'ALREADY_RECALLED'],
  async handle({ app, body }, { accounts, messages }) {
    const message = parseMessageKey(body.MsgKey, 'MsgKey');
    if (!message.ok) return message;
    const from = await accountOf(accounts, app.sdkAppId, body.From_Account, fromError);
    if (!from.ok) return from;
    const to = await accountOf(accounts, app.sdkAppId, body.To_Account, toError);
    if (!to.ok) return to;
    const recalled = await messages.recall({
      account: from.value,
      peer: to.value,
      message: message.value,
      by: 'administrator',
    });
    return recalled.ok ? { ok: true, answer: {} } : recalled;
  },
});

/** Messages of one page, and bytes of the answer's MsgList (API reference §3.4: about 13 KB). */
const maxPage = 100;
const maxPageBytes = 13_312;
/** Bit of MsgFlagBits: the message was withdrawn. */
const withdrawnFlag = 8;

const getRoamMsg = defineCommand({
  service,
  name: 'admin_getroammsg',
  permission: 'im.message.history',
  generation: '2020',
  summary: 'Reads the history of two accounts, backwards by pages.',
  notes:
    'It is the history as From_Account sees it: of a message that is kept on one side only, name the account that has it as From_Account. Within a page the oldest message is first. Until Complete is 1, ask again with MaxTime = LastMsgTime and LastMsgKey as answered: they name the oldest message of the page.',
  rate: 1,
  request: Type.Object({
    From_Account: accountName('Whose history it is.'),
    To_Account: accountName('The other side.'),
    MaxCnt: integer('Messages wanted; a page has 100, or about 13 KB, at most.', 1),
    MinTime: u32('From this time on, Unix seconds.'),
    MaxTime: u32('Until this time.'),
    LastMsgKey: Type.Optional(text('Goes on before this message; empty or absent on the first page.', 50)),
  }),
  response: Type.Object({
    Complete: oneOf('1: there is nothing older.', 0, 1),
    MsgCnt: integer('Messages of this page.'),
    LastMsgTime: integer('Time of the oldest message of the page; 0: it has none.'),
    LastMsgKey: Type.String({ description: 'MsgKey of that message.' }),
    MsgList: answerList(
      'The messages.',
      Type.Object({
        From_Account: Type.String(),
        To_Account: Type.String(),
        MsgSeq: integer('Its MsgSeq.'),
        MsgRandom: integer('Its MsgRandom.'),
        MsgTimeStamp: integer('Its time, Unix seconds.'),
        MsgFlagBits: oneOf('8: it was withdrawn, and MsgBody is empty.', 0, withdrawnFlag),
        MsgKey: msgKey('Its MsgKey.'),
        MsgBody: answerList('The elements.', Type.Object({})),
        CloudCustomData: Type.Optional(Type.String()),
      }),
    ),
  }),
  fieldErrors: { From_Account: 'FROM_ACCOUNT', To_Account: 'TO_ACCOUNT', LastMsgKey: 'MSG_KEY' },
  // R2
  async handle({ app, body }, { accounts, mailbox }) {
    const { MinTime, MaxTime, LastMsgKey = '' } = body;
    if (MinTime > MaxTime) {
      return {
        ok: false,
        error: 'INVALID_FIELD',
        field: 'MinTime',
        reason: 'is after MaxTime',
        allowed: `0 … ${MaxTime}`,
      };
    }
    const after = LastMsgKey === '' ? undefined : parseMessageKey(LastMsgKey, 'LastMsgKey');
    if (after?.ok === false) return after;
    const viewer = await accountOf(accounts, app.sdkAppId, body.From_Account, fromError);
    if (!viewer.ok) return viewer;
    const peer = await accountOf(accounts, app.sdkAppId, body.To_Account, toError);
    if (!peer.ok) return peer;
    const range = { minTime: MinTime, maxTime: MaxTime };
    const before =
      after === undefined ? undefined : await findSeq(mailbox, viewer.value, peer.value, after.value, range);
    if (after !== undefined && before === undefined) {
      return { ok: false, error: 'MSG_KEY', field: 'LastMsgKey', reason: 'names no message of these two' };
    }
    const { messages, complete } = await mailbox.history(viewer.value, peer.value, {
      ...(before === undefined ? {} : { before }),
      ...range,
      limit: Math.min(body.MaxCnt, maxPage),
      maxBytes: maxPageBytes,
    });
    const items = messages.map((message) => itemOf(message, viewer.value, peer.value));
    const dropped = countOver(items, maxPageBytes);
    const [oldest] = messages.slice(dropped);
    return {
      ok: true,
      answer: {
        Complete: complete && dropped === 0 ? 1 : 0,
        MsgCnt: items.length - dropped,
        LastMsgTime: oldest?.time ?? 0,
        LastMsgKey: oldest === undefined ? '' : messageKey(oldest),
        MsgList: items.slice(dropped),
      },
    };
  },
});

function itemOf(message: StoredMessage, viewer: Account, peer: Account) {
  const isFromViewer = message.from === viewer.identifier;
  return {
    From_Account: message.from,
    To_Account: isFromViewer ? peer.identifier : viewer.identifier,
    MsgSeq: message.msgSeq,
    MsgRandom: message.random,
    MsgTimeStamp: message.time,
    MsgFlagBits: message.recalled ? withdrawnFlag : 0,
    MsgKey: messageKey(message),
    MsgBody: JSON.parse(message.body) as unknown[],
    ...(message.custom === undefined ? {} : { CloudCustomData: message.custom }),
  };
}

/** How many of the oldest items have to go so that the rest fits; the newest one stays in any case. */
function countOver(items: readonly object[], maxBytes: number): number {
  let bytes = 0;
  for (let i = items.length - 1; i >= 0; i--) {
    bytes += Buffer.byteLength(JSON.stringify(items[i]));
    if (bytes > maxBytes && i < items.length - 1) return i + 1;
  }
  return 0;
}

/** Messages of one second that are searched for a key. */
const maxSearched = 10_000;

/** The seq of the message with this key, searched among those of its second; undefined: it is not there for the viewer. */
async function findSeq(
  mailbox: Pick<Mailbox, 'history'>,
  viewer: Account,
  peer: Account,
  key: MessageKeyParts,
  range: { minTime: number; maxTime: number },
): Promise<number | undefined> {
  if (key.time < range.minTime) return undefined;
  let before: number | undefined;
  for (let searched = 0; searched < maxSearched; searched += maxPage) {
    const { messages, complete } = await mailbox.history(viewer, peer, {
      ...(before === undefined ? {} : { before }),
      minTime: key.time,
      maxTime: key.time,
      limit: maxPage,
    });
    const found = messages.find(({ msgSeq, random }) => msgSeq === key.msgSeq && random === key.random);
    if (found !== undefined || complete) return found?.seq;
    before = messages[0]?.seq;
  }
  return undefined;
}

const setMsgRead = defineCommand({
  service,
  name: 'admin_set_msg_read',
  permission: 'im.message.read',
  generation: '2021',
  summary: 'Marks a conversation of an account as read.',
  rate: 1,
  request: Type.Object({
    Report_Account: accountName('Who has read.'),
    Peer_Account: accountName('The other side of the conversation.'),
    MsgReadTime: Type.Optional(u32('Messages until this time, Unix seconds; absent: all.')),
  }),
  response: Type.Object({}),
  errors: ['ACCOUNT_NOT_REGISTERED'],
  // M14
  async handle({ app, body }, { accounts, mailbox }) {
    const error = 'ACCOUNT_NOT_REGISTERED';
    const account = await accountOf(accounts, app.sdkAppId, body.Report_Account, { field: 'Report_Account', error });
    if (!account.ok) return account;
    const peer = await accountOf(accounts, app.sdkAppId, body.Peer_Account, { field: 'Peer_Account', error });
    if (!peer.ok) return peer;
    const { MsgReadTime: time } = body;
    await mailbox.read(account.value, peer.value, time === undefined ? {} : { time });
    return { ok: true, answer: {} };
  },
});

export const roamingCommands: readonly Command[] = [withdraw, getRoamMsg, setMsgRead];
