import type { CallbackSettings } from '../../store/index.ts';
import { type CallbackOrigin, c2cSendFields, groupSendFields, optPlatformOf } from '../../wire/index.ts';
import type { Entry } from './entry.ts';

/** What an entry says to the backend. `body`: JSON text. */
export interface Told {
  readonly body: string;
  readonly origin: CallbackOrigin;
}

const unknownOrigin: CallbackOrigin = { platform: 'Unkown', address: '' };

/** The callback of an entry; undefined: its message has expired. Throws where the entry is malformed. Pure. */
export function bodyOf(entry: Entry, settings: Pick<CallbackSettings, 'stateNames'>): Told | undefined {
  const { command, body, conversationId } = entry;
  if (conversationId !== null) return messageBody(entry);
  if (body === null) throw new Error('an entry of no message has no body');
  const content = JSON.parse(body) as {
    raw?: string;
    fields?: Record<string, unknown>;
    origin?: CallbackOrigin;
  };
  // A dead letter that is sent again: what was made of it then, to the byte.
  if (content.raw !== undefined) return { body: content.raw, origin: content.origin ?? unknownOrigin };
  if (command === 'State.StateChange') return stateBody(entry, content as StateContent, settings);
  return {
    body: JSON.stringify({ CallbackCommand: command, ...content.fields }),
    origin: content.origin ?? unknownOrigin,
  };
}

function messageBody({ command, seq, body, message }: Entry): Told | undefined {
  if (message === undefined) return undefined;
  const { from, to, random, time } = message;
  const content = JSON.parse(message.body) as unknown[];
  const { operator = from, ...origin }: CallbackOrigin & { operator?: string } =
    body === null ? unknownOrigin : JSON.parse(body);
  const fields =
    typeof to === 'string'
      ? {
          ...c2cSendFields({
            ...{ from, to, random, time },
            msgSeq: message.msgSeq,
            body: content,
            custom: message.custom ?? undefined,
            isOnlineOnly: false,
          }),
          SendMsgResult: 0,
          ErrorInfo: '',
        }
      : groupSendFields({ ...to, from, operator, random, body: content, stored: { seq: seq ?? 0, time } });
  return { body: JSON.stringify({ CallbackCommand: command, ...fields }), origin };
}

interface StateContent {
  account: string;
  platform: string;
  state: 'online' | 'push-online' | 'offline';
  reason: 'login' | 'logout' | 'link-closed' | 'timeout' | 'kicked';
  timeMs: number;
}

/** Action and Reason by what happened (API §10.2; P3). A kick closes the link, and nothing goes on from it. */
const stateNames = {
  '2018': {
    login: ['Login', 'Register'],
    logout: ['Logout', 'Unregister'],
    'link-closed': ['Logout', 'LinkClose'],
    timeout: ['Logout', 'Timeout'],
    kicked: ['Logout', 'LinkClose'],
  },
  '2020': {
    login: ['Login', 'Register'],
    logout: ['Logout', 'Unregister'],
    'link-closed': ['Disconnect', 'LinkClose'],
    timeout: ['Disconnect', 'TimeOut'],
    kicked: ['Logout', 'LinkClose'],
  },
} as const;

function stateBody(
  { command, id, originId }: Entry,
  content: StateContent,
  settings: Pick<CallbackSettings, 'stateNames'>,
): Told {
  const [Action, Reason] = stateNames[settings.stateNames][content.reason];
  return {
    body: JSON.stringify({
      CallbackCommand: command,
      Info: { Action, To_Account: content.account, Reason },
      EventTime: content.timeMs,
      // Rises over all that is told of an account: who gets two out of order knows the newer one.
      Version: originId ?? id,
    }),
    origin: { platform: optPlatformOf(content.platform), address: '' },
  };
}

/** The platform of a state change: changes of one terminal follow one another. */
export function statePlatform({ body }: Entry): string {
  try {
    return (JSON.parse(body ?? '{}') as Partial<StateContent>).platform ?? '';
  } catch {
    // Malformed: each is for itself, and given up in its turn.
    return body ?? '';
  }
}
