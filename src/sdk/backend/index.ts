/** `qalgate/sdk/backend`: what an app's backend needs to receive callbacks. For Node. */

export {
  type Allow,
  type Answer,
  type Answers,
  allow,
  type Drop,
  drop,
  type Refuse,
  type RefuseFriends,
  type RefuseMembers,
  type Rewrite,
  refuse,
  refuseFriends,
  refuseMembers,
  rewrite,
} from './answers.ts';
export type {
  AfterCommand,
  BeforeCommand,
  CallbackCommand,
  CallbackEvent,
  CallbackEvents,
  MessageElement,
} from './events.ts';
export {
  type CallbackContext,
  type CallbackHandler,
  type CallbackHandlerOptions,
  type CallbackListeners,
  createCallbackHandler,
  type HandledCallback,
  type SeenEvents,
} from './handler.ts';
export type { HeadersLike } from './header-lookup.ts';
export { readRawBody } from './raw-body.ts';
export { type Refused, type Verified, type VerifyFailure, type VerifyInput, verifyCallback } from './verify.ts';
export { type SignFailure, type SignVerified, type VerifySignInput, verifySign } from './verify-sign.ts';
