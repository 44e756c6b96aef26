import type { AccountId, SdkAppId } from '../wire/index.ts';

type Brand<T, B extends string> = T & { readonly __brand: B };

/** Our own number of an account: never shown, never reused. */
export type AccountNo = Brand<number, 'AccountNo'>;
/** Our own number of a conversation. */
export type ConversationId = Brand<number, 'ConversationId'>;

/** An account that exists. */
export interface Account {
  readonly no: AccountNo;
  readonly sdkAppId: SdkAppId;
  readonly identifier: AccountId;
}

/** Milliseconds since the epoch. */
export type Clock = () => number;

/** Who sees a message: both sides, the sender alone, or everybody but the sender (SyncOtherMachine 2, M17). */
export type Visibility = 'both' | 'sender' | 'receiver';

/** One message as it was stored, seen from one side. */
export interface StoredMessage {
  readonly conversationId: ConversationId;
  readonly seq: number;
  readonly from: AccountId;
  /** Unix seconds; never decreases within a conversation (M15). */
  readonly time: number;
  readonly msgSeq: number;
  readonly random: number;
  /** JSON text of MsgBody; `[]` when it was recalled. */
  readonly body: string;
  /** JSON text of OfflinePushInfo. */
  readonly push?: string;
  /** CloudCustomData. */
  readonly custom?: string;
  /** JSON text of what a group message carries besides: priority, and its sender as it was then; or that it is a tip. */
  readonly extra?: string;
  /** The name that the sender's terminal gave it; for the sender's own eyes. */
  readonly clientId?: string;
  readonly recalled: boolean;
}
