import Type, { type Static } from 'typebox';
import { type AccountId, imErrorCatalogue, parseAccountId } from '../../wire/index.ts';
import { accountsByName, namesOf } from './account-names.ts';
import { type Command, defineCommand } from './command.ts';
import type { CommandResult } from './envelope.ts';
import { accountName, accountNames, answerList, anyName, integer, list, oneOf, text } from './schema.ts';

const service = 'im_open_login_svc';
const noFields = Type.Object({});
const nick = () => text('Nickname of the profile.', 500);
const faceUrl = () => text('URL of the profile image.', 500);
const notRegistered = {
  ResultCode: imErrorCatalogue.ACCOUNT_NOT_REGISTERED.code,
  ResultInfo: 'Err_TLS_PT_Open_Login_Account_Not_Exist',
};
const done = { ResultCode: 0, ResultInfo: '' };

const accountImport = defineCommand({
  service,
  name: 'account_import',
  permission: 'im.account.import',
  generation: '2018',
  summary: 'Makes an account, or sets nickname and face URL of one that there is.',
  rate: 1,
  aliases: { UserID: 'Identifier' },
  request: Type.Object({
    Identifier: accountName('Name of the account.'),
    Nick: Type.Optional(nick()),
    FaceUrl: Type.Optional(faceUrl()),
    Type: Type.Optional(oneOf('0 person, 1 robot; makes no difference.', 0, 1)),
  }),
  response: noFields,
  // I1
  async handle({ app, body }, { accounts }) {
    await accounts.importMany(app.sdkAppId, [entryOf(body.Identifier, body.Nick, body.FaceUrl)]);
    return { ok: true, answer: {} };
  },
});

const multiRequest = Type.Object({
  Accounts: Type.Optional(accountNames('Names of the accounts.', 100)),
  AccountList: Type.Optional(
    list(
      'The accounts with their profiles, instead of Accounts.',
      Type.Object({
        UserID: anyName('Name of the account.'),
        Nick: Type.Optional(nick()),
        FaceUrl: Type.Optional(faceUrl()),
      }),
      100,
    ),
  ),
});

const multiAccountImport = defineCommand({
  service,
  name: 'multiaccount_import',
  permission: 'im.account.import',
  generation: '2018',
  summary: 'Makes up to 100 accounts.',
  notes:
    'FailAccounts names those that were not made because theirs can be no name of an account. Anything else that is wrong refuses the whole call.',
  rate: 0.1,
  request: multiRequest,
  response: Type.Object({
    FailAccounts: answerList('What can be no name of an account.', Type.String()),
  }),
  handle: ({ app, body }, { accounts }) => importList(app.sdkAppId, body, accounts.importMany),
});

async function importList(
  sdkAppId: number,
  body: Static<typeof multiRequest>,
  importAll: (sdkAppId: number, entries: ReturnType<typeof entryOf>[]) => Promise<void>,
): Promise<CommandResult> {
  const { Accounts, AccountList } = body;
  if ((Accounts === undefined) === (AccountList === undefined)) {
    const reason = Accounts === undefined ? 'is missing' : 'cannot go with AccountList';
    return { ok: false, error: 'INVALID_FIELD', field: 'Accounts', reason, allowed: 'one of Accounts and AccountList' };
  }
  const wanted = AccountList ?? (Accounts ?? []).map((UserID) => ({ UserID, Nick: undefined, FaceUrl: undefined }));
  const failed: string[] = [];
  const entries = wanted.flatMap(({ UserID, Nick, FaceUrl }) => {
    const name = parseAccountId(UserID);
    if (name.ok) return [entryOf(name.value, Nick, FaceUrl)];
    failed.push(UserID);
    return [];
  });
  if (entries.length > 0) await importAll(sdkAppId, entries);
  return { ok: true, answer: { FailAccounts: failed } };
}

function entryOf(identifier: AccountId, nickname: string | undefined, image: string | undefined) {
  return {
    identifier,
    ...(nickname === undefined ? {} : { nick: nickname }),
    ...(image === undefined ? {} : { faceUrl: image }),
  };
}

const kick = defineCommand({
  service,
  name: 'kick',
  permission: 'im.account.kick',
  generation: '2018',
  summary: 'Ends the links and sessions of an account, and every UserSig that was issued until now.',
  notes: 'The account needs a UserSig of a later second to log in again.',
  rate: 10,
  aliases: { UserID: 'Identifier' },
  request: Type.Object({ Identifier: accountName('Name of the account.') }),
  response: noFields,
  errors: ['ACCOUNT_NOT_REGISTERED'],
  // I4
  async handle({ app, body }, { accounts }) {
    if (await accounts.kick(app.sdkAppId, body.Identifier)) return { ok: true, answer: {} };
    return { ok: false, error: 'ACCOUNT_NOT_REGISTERED', field: 'Identifier' };
  },
});

const itemsOf = (what: string) => list(what, Type.Object({ UserID: anyName('Name of the account.') }), 100);
const itemResult = {
  UserID: Type.String({ description: 'As in the request.' }),
  ResultCode: integer('0, or the error of this account.'),
  ResultInfo: Type.String({ description: 'What the error means.' }),
};

const accountDelete = defineCommand({
  service,
  name: 'account_delete',
  permission: 'im.account.delete',
  generation: '2020',
  summary: 'Deletes up to 100 accounts.',
  notes:
    'Their links and sessions end, their names become free; messages that they sent stay with those who got them. Any app may do this.',
  rate: 1,
  request: Type.Object({ DeleteItem: itemsOf('The accounts.') }),
  response: Type.Object({ ResultItem: answerList('One entry for each of the request.', Type.Object(itemResult)) }),
  errors: ['ACCOUNT_NOT_REGISTERED'],
  async handle({ app, body }, { accounts }) {
    const names = body.DeleteItem.map(({ UserID }) => UserID);
    const deleted: ReadonlySet<string> = await accounts.delete(app.sdkAppId, namesOf(names));
    return {
      ok: true,
      answer: {
        ResultItem: names.map((name) => ({ ...(deleted.has(name) ? done : notRegistered), UserID: name })),
      },
    };
  },
});

const accountCheck = defineCommand({
  service,
  name: 'account_check',
  permission: 'im.account.check',
  generation: '2020',
  summary: 'Tells of up to 100 names whether there are accounts.',
  rate: 1,
  request: Type.Object({ CheckItem: itemsOf('The names.') }),
  response: Type.Object({
    ResultItem: answerList(
      'One entry for each of the request.',
      Type.Object({ ...itemResult, AccountStatus: oneOf('Whether there is one.', 'Imported', 'NotImported') }),
    ),
  }),
  async handle({ app, body }, { accounts }) {
    const names = body.CheckItem.map(({ UserID }) => UserID);
    const found = await accountsByName(accounts, app.sdkAppId, names);
    const statusOf = (name: string) => (found.has(name) ? 'Imported' : 'NotImported');
    return {
      ok: true,
      answer: { ResultItem: names.map((name) => ({ UserID: name, ...done, AccountStatus: statusOf(name) })) },
    };
  },
});

export const accountCommands: readonly Command[] = [
  accountImport,
  multiAccountImport,
  kick,
  accountDelete,
  accountCheck,
];
