import type { QalErrorCode } from './error.ts';

/** What `getUserSig` is told. */
export interface UserSigContext {
  /** Fires when the answer comes too late to be of use. */
  readonly signal: AbortSignal;
  /** Why the server refused the last one: a new one is needed. Undefined: this is the first time. */
  readonly refused: QalErrorCode | undefined;
}

/** Gets a UserSig for the account from the app's own login server. */
export type GetUserSig = (context: UserSigContext) => string | Promise<string>;

export interface Token {
  readonly value: string;
  readonly qalIdentifier: string;
  readonly usableUntilMs: number;
  /** From then on the next use renews it. */
  readonly renewAtMs: number;
}

/**
 * Whom the client speaks for, from one login or logout to the next, and all that belongs to it. A request keeps the
 * identity that it began with, so that it is never sent, or sent again, in another one's name.
 */
export interface Identity {
  readonly account: string | undefined;
  readonly getUserSig: GetUserSig | undefined;
  /** In memory only. */
  userSig?: string | undefined;
  token?: Token | undefined;
  /** The network that the server knows of. */
  sentNetwork?: unknown;
  renewal?: Promise<Token> | undefined;
  /** What has to be over before a session is asked for. */
  readonly after: Promise<unknown>;
  /** Ends what is under way in its name. */
  readonly ended: AbortController;
  failures: number;
  /** After a failure: until when to leave the server alone, and what to say meanwhile. */
  backoff?: { readonly untilMs: number; readonly error: unknown } | undefined;
}

export function createIdentity(
  account?: { readonly identifier: string; readonly getUserSig: GetUserSig },
  after: Promise<unknown> = Promise.resolve(),
): Identity {
  return {
    account: account?.identifier,
    getUserSig: account?.getUserSig,
    after,
    ended: new AbortController(),
    failures: 0,
  };
}
