import Type from 'typebox';
import { imErrorCatalogue } from '../../wire/index.ts';
import { accountOf, accountsByName } from './account-names.ts';
import { type Command, defineCommand } from './command.ts';
import { accountName, accountNames, answerList, anyName, integer } from './schema.ts';

const getUnread = defineCommand({
  service: 'openim',
  name: 'get_c2c_unread_msg_num',
  permission: 'im.unread.read',
  generation: '2021',
  summary: 'Tells how many messages an account has not read, in all or by up to 10 conversations.',
  rate: 1,
  request: Type.Object({
    To_Account: accountName('The account.'),
    Peer_Account: Type.Optional(accountNames('The other sides of the conversations wanted; absent: all together.', 10)),
  }),
  response: Type.Object({
    AllC2CUnreadMsgNum: Type.Optional(integer('Unread messages of all conversations, without Peer_Account.')),
    C2CUnreadMsgNumList: Type.Optional(
      answerList(
        'One entry for each account of Peer_Account.',
        Type.Object({
          Peer_Account: anyName('As in the request.'),
          C2CUnreadMsgNum: integer('Unread messages from it.'),
        }),
      ),
    ),
    ErrorList: Type.Optional(
      answerList(
        'Names that no account has; absent when there are none.',
        Type.Object({ Peer_Account: anyName('As in the request.'), ErrorCode: integer('70107') }),
      ),
    ),
  }),
  fieldErrors: { To_Account: 'TO_ACCOUNT', Peer_Account: { otherwise: 'INVALID_FIELD', many: 'TOO_MANY_ACCOUNTS' } },
  errors: ['ACCOUNT_NOT_REGISTERED'],
  // M14
  async handle({ app, body }, { accounts, mailbox }) {
    const account = await accountOf(accounts, app.sdkAppId, body.To_Account, {
      field: 'To_Account',
      error: 'ACCOUNT_NOT_REGISTERED',
    });
    if (!account.ok) return account;
    if (body.Peer_Account === undefined) {
      return { ok: true, answer: { AllC2CUnreadMsgNum: await mailbox.unreadTotal(account.value) } };
    }
    const names = [...new Set(body.Peer_Account)];
    const found = await accountsByName(accounts, app.sdkAppId, names);
    const peers = names.flatMap((name) => found.get(name) ?? []);
    const counts = await mailbox.unread(account.value, peers);
    const ErrorCode = imErrorCatalogue.ACCOUNT_NOT_REGISTERED.code;
    const ErrorList = names.filter((name) => !found.has(name)).map((name) => ({ Peer_Account: name, ErrorCode }));
    return {
      ok: true,
      answer: {
        C2CUnreadMsgNumList: peers.map(({ identifier }, i) => ({
          Peer_Account: identifier,
          C2CUnreadMsgNum: counts[i] ?? 0,
        })),
        ...(ErrorList.length === 0 ? {} : { ErrorList }),
      },
    };
  },
});

export const unreadCommands: readonly Command[] = [getUnread];
