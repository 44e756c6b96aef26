import Type from 'typebox';
import type { AppSettings } from '../../store/index.ts';
import { imErrorCatalogue } from '../../wire/index.ts';
import type { Platform, TerminalState } from '../services.ts';
import { accountsByName } from './account-names.ts';
import { type Command, defineCommand, type RestServices } from './command.ts';
import { accountNames, answerList, anyName, integer, oneOf } from './schema.ts';

const stateNames = { online: 'Online', 'push-online': 'PushOnline', offline: 'Offline' } as const satisfies Record<
  TerminalState,
  string
>;
/** Platforms as the API names them; whatever runs on a desk but a Mac is a PC. */
const platformNames = {
  iOS: 'iPhone',
  iPad: 'iPad',
  Android: 'Android',
  Web: 'Web',
  Windows: 'PC',
  Linux: 'PC',
  Mac: 'Mac',
} as const satisfies Record<Platform, string>;

const accountsToAsk = () => accountNames('The accounts, at most 500.', 500);
const toAccountErrors = {
  To_Account: { otherwise: 'TO_ACCOUNT', empty: 'NOT_JSON', many: 'TOO_MANY_ACCOUNTS' },
} as const;
const stateOf = (description: string) => oneOf(description, ...Object.values(stateNames));
const errorList = () =>
  Type.Optional(
    answerList(
      'Names that no account has; absent when there are none.',
      Type.Object({ To_Account: anyName('As in the request.'), ErrorCode: integer('70107') }),
    ),
  );

const queryState = defineCommand({
  service: 'openim',
  name: 'querystate',
  permission: 'im.state.read',
  generation: '2018',
  summary: 'Tells whether up to 500 accounts are online.',
  notes:
    'Online: a live link. PushOnline: an iOS terminal that went to the background or lost its link, for 7 days. Offline: all others.',
  rate: 1,
  request: Type.Object({ To_Account: accountsToAsk() }),
  response: Type.Object({
    QueryResult: answerList(
      'One entry for each account that there is.',
      Type.Object({ To_Account: Type.String(), State: stateOf('Its state.') }),
    ),
    ErrorList: errorList(),
  }),
  fieldErrors: toAccountErrors,
  async handle({ app, body }, services) {
    const { states, unknown } = await ask(app, body.To_Account, services);
    const QueryResult = states.map(({ name, state }) => ({ To_Account: name, State: stateNames[state] }));
    return { ok: true, answer: { QueryResult, ...unknown } };
  },
});

const queryOnlineStatus = defineCommand({
  service: 'openim',
  name: 'query_online_status',
  permission: 'im.state.read',
  generation: '2021',
  summary: 'Tells whether up to 500 accounts are online, and which of their terminals.',
  rate: 1,
  request: Type.Object({
    To_Account: accountsToAsk(),
    IsNeedDetail: Type.Optional(oneOf('1: tell of each terminal, too.', 0, 1)),
  }),
  response: Type.Object({
    QueryResult: answerList(
      'One entry for each account that there is.',
      Type.Object({
        To_Account: Type.String(),
        Status: stateOf('State of its best terminal.'),
        Detail: Type.Optional(
          answerList(
            'Its terminals that are not offline, when IsNeedDetail is 1.',
            Type.Object({
              Platform: oneOf('Kind of terminal.', ...new Set(Object.values(platformNames))),
              Status: stateOf('Its state.'),
            }),
          ),
        ),
      }),
    ),
    ErrorList: errorList(),
  }),
  fieldErrors: toAccountErrors,
  async handle({ app, body }, services) {
    const { states, unknown } = await ask(app, body.To_Account, services);
    const QueryResult = states.map(({ name, state, terminals }) => ({
      To_Account: name,
      Status: stateNames[state],
      ...(body.IsNeedDetail === 1 ? { Detail: detailOf(terminals) } : {}),
    }));
    return { ok: true, answer: { QueryResult, ...unknown } };
  },
});

interface Terminal {
  platform: Platform;
  state: TerminalState;
}

// P2
async function ask(app: AppSettings, names: readonly string[], { accounts, presence }: RestServices) {
  const found = await accountsByName(accounts, app.sdkAppId, names);
  const answers = await presence.query([...found.values()]);
  const states: { name: string; state: TerminalState; terminals: readonly Terminal[] }[] = [];
  const errors: { To_Account: string; ErrorCode: number }[] = [];
  for (const name of new Set(names)) {
    const account = found.get(name);
    const answer = account === undefined ? undefined : answers.get(account.no);
    if (account === undefined) {
      errors.push({ To_Account: name, ErrorCode: imErrorCatalogue.ACCOUNT_NOT_REGISTERED.code });
    } else states.push({ name, state: answer?.state ?? 'offline', terminals: answer?.terminals ?? [] });
  }
  return { states, unknown: errors.length === 0 ? {} : { ErrorList: errors } };
}

/** One entry a platform of the API, of its best terminal. */
function detailOf(terminals: readonly Terminal[]) {
  const best = new Map<string, TerminalState>();
  for (const { platform, state } of terminals) {
    const name = platformNames[platform];
    if (state === 'online' || (state === 'push-online' && best.get(name) !== 'online')) best.set(name, state);
  }
  return [...best].map(([Platform, state]) => ({ Platform, Status: stateNames[state] }));
}

export const stateCommands: readonly Command[] = [queryState, queryOnlineStatus];
