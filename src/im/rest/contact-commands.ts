import Type from 'typebox';
import { accountOf } from './account-names.ts';
import { type Command, defineCommand } from './command.ts';
import { contactsPage } from './contacts-page.ts';
import { accountName, answerList, integer, oneOf, u32 } from './schema.ts';

const service = 'recentcontact';
const fromError = { field: 'From_Account', error: 'ACCOUNT_NOT_REGISTERED' } as const;

const cursorFields = () => ({
  TimeStamp: integer('Cursor.'),
  StartIndex: integer('Cursor.'),
  TopTimeStamp: integer('Cursor of pinned contacts, of which there are none: 0.'),
  TopStartIndex: integer('Likewise.'),
});

const getList = defineCommand({
  service,
  name: 'get_list',
  permission: 'im.contacts.read',
  generation: '2021',
  summary: 'Lists the recent contacts of an account, newest first, at most 100.',
  notes:
    'Begin with all four cursors 0; while CompleteFlag is 0 ask again with those of the answer. There are no pinned contacts and no contacts without messages, so AssistFlags makes no difference.',
  rate: 1,
  request: Type.Object({
    From_Account: accountName('Whose contacts.'),
    TimeStamp: Type.Optional(u32('Cursor, 0 on the first page.')),
    StartIndex: Type.Optional(integer('Cursor, 0 on the first page.')),
    TopTimeStamp: Type.Optional(u32('Cursor of pinned contacts, 0 on the first page.')),
    TopStartIndex: Type.Optional(u32('Cursor of pinned contacts, 0 on the first page.')),
    AssistFlags: Type.Optional(u32('Bits: 1 the caller knows pinned contacts, 2 empty ones, 4 pages of pinned ones.')),
  }),
  response: Type.Object({
    SessionItem: answerList(
      'The contacts.',
      Type.Object({
        Type: oneOf('1: one-to-one.', 1),
        To_Account: Type.String({ description: 'The other side.' }),
        MsgTime: integer('Time of the last message, Unix seconds.'),
        TopFlag: oneOf('Pinned: never.', 0),
      }),
    ),
    CompleteFlag: oneOf('1: this was the last page.', 0, 1),
    ...cursorFields(),
  }),
  errors: ['ACCOUNT_NOT_REGISTERED'],
  // M9
  async handle({ app, body }, { accounts, mailbox, clock, contactsPerPage }) {
    const account = await accountOf(accounts, app.sdkAppId, body.From_Account, fromError);
    if (!account.ok) return account;
    const page = contactsPage(
      await mailbox.recents(account.value),
      { timeStamp: body.TimeStamp ?? 0, startIndex: body.StartIndex ?? 0 },
      { limit: contactsPerPage, nowSec: Math.floor(clock() / 1_000) },
    );
    return {
      ok: true,
      answer: {
        SessionItem: page.items.map(({ peer, time }) => ({ Type: 1, To_Account: peer, MsgTime: time, TopFlag: 0 })),
        CompleteFlag: page.complete ? 1 : 0,
        TimeStamp: page.next.timeStamp,
        StartIndex: page.next.startIndex,
        TopTimeStamp: 0,
        TopStartIndex: 0,
      },
    };
  },
});

const deleteContact = defineCommand({
  service,
  name: 'delete',
  permission: 'im.contacts.delete',
  generation: '2021',
  summary: "Takes a conversation out of an account's recent contacts, until its next message.",
  rate: 1,
  request: Type.Object({
    From_Account: accountName('Whose contacts.'),
    Type: oneOf('1: one-to-one.', 1),
    To_Account: accountName('The other side.'),
    ClearRamble: Type.Optional(oneOf("1: ends the account's history of it, too.", 0, 1)),
  }),
  response: Type.Object({}),
  errors: ['ACCOUNT_NOT_REGISTERED'],
  async handle({ app, body }, { accounts, mailbox }) {
    const account = await accountOf(accounts, app.sdkAppId, body.From_Account, fromError);
    if (!account.ok) return account;
    const peer = await accountOf(accounts, app.sdkAppId, body.To_Account, { ...fromError, field: 'To_Account' });
    if (!peer.ok) return peer;
    await mailbox.hide(account.value, peer.value, { clear: body.ClearRamble === 1 });
    return { ok: true, answer: {} };
  },
});

export const contactCommands: readonly Command[] = [getList, deleteContact];
