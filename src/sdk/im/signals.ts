import type { ConnectionReason, ConnectionState } from './connection.ts';
import type { ImError } from './error.ts';
import type { Emit } from './events.ts';
import type { ImMessage } from './message.ts';
import { createSignal, type Signal } from './signal.ts';

/** Messages that were taken back. */
export interface RecalledNotice {
  readonly conversation: string;
  readonly seqs: readonly number[];
}

/** Somebody has read. */
export interface ReadNotice {
  readonly conversation: string;
  /** Everything up to this seq. */
  readonly readSeq: number;
  /** `self`: another terminal of the account; `peer`: the other account. */
  readonly by: 'self' | 'peer';
}

/** The account's profile was changed on another terminal. */
export interface ProfileNotice {
  readonly account: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** The login is over, and the client does not connect again until `login`. */
export interface ForcedOffline {
  /** `KICKED`, `KICKED_WHILE_AWAY`: another terminal logged in; `KICKED_BY_ADMIN`: a new UserSig is needed; `ACCOUNT_DELETED`; … */
  readonly error: ImError;
  /** Of the terminal that logged in, where the service says it. */
  readonly platform: string | undefined;
}

/** All that the application can listen to: what its functions are called with. */
interface SignalArguments {
  onNewMessage: [message: ImMessage];
  onRefresh: [];
  onConnection: [state: ConnectionState, reason: ConnectionReason | undefined];
  onForceOffline: [notice: ForcedOffline];
  onUserSigExpired: [error: ImError];
  onRecalled: [notice: RecalledNotice];
  onRead: [notice: ReadNotice];
  onStatus: [message: ImMessage];
  onProfile: [notice: ProfileNotice];
  onConversation: [conversation: string];
}

export type Signals = { readonly [Name in keyof SignalArguments]: Signal<SignalArguments[Name]> };
/** What takes listeners, by name. */
export type Listeners = { readonly [Name in keyof SignalArguments]: Signal<SignalArguments[Name]>['on'] };

const names = [
  'onNewMessage',
  'onRefresh',
  'onConnection',
  'onForceOffline',
  'onUserSigExpired',
  'onRecalled',
  'onRead',
  'onStatus',
  'onProfile',
  'onConversation',
] as const satisfies (keyof Signals)[];

export function createSignals(emit: Emit): Signals {
  return Object.fromEntries(names.map((name) => [name, createSignal(name, emit)])) as unknown as Signals;
}

export function listenersOf(signals: Signals): Listeners {
  return Object.fromEntries(names.map((name) => [name, signals[name].on])) as unknown as Listeners;
}
