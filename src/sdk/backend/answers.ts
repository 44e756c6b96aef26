import type { BeforeCommand, MessageElement } from './events.ts';

/** Answers to callbacks. Only what decides something is more than `allow()`; what each command can be answered is `Answers`. */

interface Base<ErrorCode extends number = number> {
  readonly ActionStatus: 'OK';
  readonly ErrorCode: ErrorCode;
  readonly ErrorInfo: string;
}

/** In types alone: that the answer of one question is not given to another. */
declare const kind: unique symbol;
interface Kind<Name extends string> {
  readonly [kind]?: Name;
}

export type Allow = Base<0> & Kind<'allow'>;
export type Refuse = Base & Kind<'refuse'>;
export type Drop = Base<2> & Kind<'drop'>;
export type Rewrite = Base<0> & Kind<'rewrite'> & { readonly MsgBody: readonly MessageElement[] };
export type RefuseMembers = Base<0> & Kind<'refuse-members'> & { readonly RefusedMembers_Account: readonly string[] };
export type RefuseFriends = Base<0> &
  Kind<'refuse-friends'> & {
    readonly ResultItem: readonly { To_Account: string; ResultCode: number; ResultInfo: string }[];
  };

/** What each question can be answered. */
export interface Answers {
  readonly 'C2C.CallbackBeforeSendMsg': Allow | Refuse | Rewrite;
  readonly 'Group.CallbackBeforeCreateGroup': Allow | Refuse;
  readonly 'Group.CallbackBeforeApplyJoinGroup': Allow | Refuse;
  readonly 'Group.CallbackBeforeInviteJoinGroup': Allow | Refuse | RefuseMembers;
  readonly 'Group.CallbackBeforeSendMsg': Allow | Refuse | Rewrite | Drop;
  readonly 'Sns.CallbackPrevFriendAdd': Allow | RefuseFriends;
  readonly 'Sns.CallbackPrevFriendResponse': Allow | RefuseFriends;
}

export type Answer = Answers[BeforeCommand];

const ok: Base<0> = { ActionStatus: 'OK', ErrorCode: 0, ErrorInfo: '' };

/** Go on; and what to answer after an action. */
export function allow(): Allow {
  return { ...ok };
}

/**
 * Refuse. The caller gets `code` and `info` where `code` is one of the app's own: 120001 … 130000 for C2C, 10100 … 10200 for
 * groups; without one the service's (20006, 10016).
 *
 * @throws {RangeError} for any other code: the service would take it for no answer, and go on
 */
export function refuse(code = 1, info = ''): Refuse {
  const isOwn = (code >= 120_001 && code <= 130_000) || (code >= 10_100 && code <= 10_200);
  if (!Number.isInteger(code) || (code !== 1 && !isOwn)) {
    throw new RangeError(`${code} refuses nothing; allowed: 1, 120001 … 130000 for C2C, 10100 … 10200 for groups`);
  }
  return { ActionStatus: 'OK', ErrorCode: code, ErrorInfo: info };
}

/** Go on with another content. It is checked like a sent one; one that fails counts as no answer. */
export function rewrite(msgBody: readonly MessageElement[]): Rewrite {
  return { ...ok, MsgBody: msgBody };
}

/** Group messages: the sender hears of success, and nobody gets it. */
export function drop(): Drop {
  return { ActionStatus: 'OK', ErrorCode: 2, ErrorInfo: '' };
}

/** Invitations: all but these join. */
export function refuseMembers(accounts: readonly string[]): RefuseMembers {
  return { ...ok, RefusedMembers_Account: accounts };
}

/**
 * Friend requests and responses: these fail with their code, the others go on.
 *
 * @throws {RangeError} for a code outside of 38000 … 39000
 */
export function refuseFriends(items: readonly { account: string; code: number; info?: string }[]): RefuseFriends {
  const wrong = items.find(({ code }) => !(Number.isInteger(code) && code >= 38_000 && code <= 39_000));
  if (wrong !== undefined) throw new RangeError(`${wrong.code} refuses nobody; allowed: 38000 … 39000`);
  const ResultItem = items.map(({ account, code, info = '' }) => ({
    To_Account: account,
    ResultCode: code,
    ResultInfo: info,
  }));
  return { ...ok, ResultItem };
}
