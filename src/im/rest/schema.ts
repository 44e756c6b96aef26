import Type, { type TSchema } from 'typebox';
import { type AccountId, messageTypes } from '../../wire/index.ts';

/**
 * Words of which the request and response schemas are made. JSON Schema as OpenAPI has it, and annotations of ours:
 * `x-max-bytes` (UTF-8), `x-account` (a name as `parseAccountId` takes it), `x-group-id` (an id of a group), `x-any-text` (it is only compared, so it may hold what a
 * database cannot), `x-opaque` (a parser of `wire` looks at it).
 */

export const maxU32 = 4_294_967_295;

/** The name of an account. */
export function accountName(description: string) {
  return Type.Unsafe<AccountId>({ type: 'string', description, minLength: 1, maxLength: 32, 'x-account': true });
}

/** A name that may turn out to be none of an account: it is answered for by itself. */
export function anyName(description: string) {
  return Type.String({ description, 'x-any-text': true });
}

export function accountNames(description: string, maxItems: number) {
  return Type.Array(anyName('Name of an account.'), { description, minItems: 1, maxItems });
}

export function text(description: string, maxBytes: number, minLength = 0) {
  return Type.String({ description, minLength, maxLength: maxBytes, 'x-max-bytes': maxBytes });
}

export function integer(description: string, minimum = 0, maximum = Number.MAX_SAFE_INTEGER) {
  return Type.Integer({ description, minimum, maximum });
}

export function u32(description: string) {
  return integer(description, 0, maxU32);
}

/** One of these values. */
export function oneOf<const V extends string | number>(description: string, ...values: readonly V[]) {
  const type = typeof values[0] === 'number' ? 'integer' : 'string';
  return Type.Unsafe<V>({ type, description, enum: [...values] });
}

/** Some of these values, each at most once of any use. */
export function someOf<const V extends string>(description: string, ...values: readonly V[]) {
  const items = Type.Unsafe<V>({ type: 'string', enum: [...values] });
  return Type.Array(items, { description, maxItems: 20 });
}

/** MsgBody: checked by `parseMessageBody`. */
export function messageBody() {
  return Type.Unsafe<unknown>({
    type: 'array',
    description: 'The elements of the message, in order; one TIMCustomElem at most.',
    minItems: 1,
    items: {
      type: 'object',
      required: ['MsgType', 'MsgContent'],
      properties: {
        MsgType: { type: 'string', enum: messageTypes },
        MsgContent: { type: 'object', description: 'The fields of that type of element.' },
      },
    },
    'x-opaque': true,
  });
}

/** OfflinePushInfo: checked by `parseOfflinePushInfo`. */
export function pushInfo() {
  return Type.Unsafe<unknown>({
    type: 'object',
    description: 'How a push shows the message; at most 3,072 bytes of JSON text.',
    properties: {
      PushFlag: { type: 'integer', enum: [0, 1], description: '1: do not push this message.' },
      Title: { type: 'string' },
      Desc: { type: 'string' },
      Ext: { type: 'string' },
      AndroidInfo: { type: 'object', properties: { Sound: { type: 'string' } } },
      ApnsInfo: {
        type: 'object',
        properties: {
          Sound: { type: 'string' },
          BadgeMode: { type: 'integer', enum: [0, 1] },
          Title: { type: 'string' },
          SubTitle: { type: 'string' },
          Image: { type: 'string' },
          MutableContent: { type: 'integer', enum: [0, 1] },
        },
      },
    },
    'x-opaque': true,
  });
}

/** CloudCustomData: checked by `parseCustomData`. */
export function customData() {
  return Type.Unsafe<unknown>({
    type: 'string',
    description: 'Goes with the message unread; at most 8,000 bytes.',
    maxLength: 8_000,
    'x-opaque': true,
  });
}

/** ForbidCallbackControl: read by `withoutCallbacks`. */
export function forbidControl() {
  return someOf('Callbacks that are not made for it.', 'ForbidBeforeSendMsgCallback', 'ForbidAfterSendMsgCallback');
}

/** SendMsgControl: read by `doesCount`. */
export function sendControl() {
  return someOf(
    'NoUnread: it does not count as unread. NoLastMsg is accepted and makes no difference: the message is the last of its conversation like any other. WithMuteNotifications makes none either: nobody can mute a one-to-one conversation, and who is pushed to in a group its members’ MsgFlag says.',
    'NoUnread',
    'NoLastMsg',
    'WithMuteNotifications',
  );
}

export function list<S extends TSchema>(description: string, items: S, maxItems: number) {
  return Type.Array(items, { description, minItems: 1, maxItems });
}

/** A list in an answer, which has the length that it has. */
export function answerList<S extends TSchema>(description: string, items: S) {
  return Type.Array(items, { description });
}
