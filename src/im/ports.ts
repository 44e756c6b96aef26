import type { SdkAppId } from '../wire/index.ts';
import type { Account } from './model.ts';

/**
 * What the messaging core needs of others. `server` plugs in what there is; the defaults at the end of this file stand for
 * what is not there: nobody is asked, nobody is told.
 */

/** A message on its way, for whoever decides about it. */
export interface PendingMessage {
  readonly sdkAppId: SdkAppId;
  readonly from: Account;
  readonly to: Account;
  /** JSON text of MsgBody. */
  readonly body: string;
  readonly msgSeq: number;
  readonly random: number;
  /** Unix seconds. */
  readonly time: number;
}

/** What a before-callback said (K1); `rewrite` carries the new MsgBody, which is checked like a sent one. */
export type Verdict =
  | { kind: 'pass' }
  | { kind: 'refuse'; code: number; reason: string }
  | { kind: 'rewrite'; body: unknown };

/** Asks the app's backend before a message is stored (M12). Must answer within the deadline, whatever happens. */
export type BeforeSend = (message: PendingMessage, deadline: AbortSignal) => Promise<Verdict>;

/** Whether two accounts' relations let a client's message through (M2), or swallow it (M10): `sender-only` stores it for the sender alone. */
export type RelationCheck = (from: Account, to: Account) => Promise<'pass' | 'sender-only' | { refuse: number }>;

/** Who is told of what was stored: a bit for each consumer that wants a row in the outbox. 1: callbacks, 2: push. */
export type Consumers = (sdkAppId: SdkAppId, event: 'message' | 'state') => number;

export interface ImPorts {
  beforeSend?: BeforeSend;
  relations?: RelationCheck;
  consumers?: Consumers;
}
