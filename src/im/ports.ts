import type {
  AccountId,
  AfterCommand,
  BeforeCommand,
  BeforeOutcome,
  CallbackOrigin,
  MessageElement,
  SdkAppId,
} from '../wire/index.ts';
import type { Account } from './model.ts';

/**
 * What the messaging core needs of others. `server` plugs in what there is; without a port nobody is asked, nobody is told.
 */

/** A message on its way, for whoever decides about it. */
export interface PendingMessage {
  readonly from: Account;
  readonly to: Account;
  readonly body: readonly unknown[];
  readonly msgSeq: number;
  readonly random: number;
  /** Unix seconds. */
  readonly time: number;
  readonly custom: string | undefined;
  readonly isOnlineOnly: boolean;
  readonly origin: CallbackOrigin;
}

/** What the app's backend said, or what holds because it said nothing (K1, K2). `body`: rewritten, and checked like a sent one. */
export type SendDecision =
  | { readonly kind: 'allow'; readonly outcome: BeforeOutcome; readonly body?: readonly MessageElement[] }
  /** `code`: of the app, 120001 … 130000; absent: the refusal has none of its own. */
  | { readonly kind: 'refuse'; readonly code?: number; readonly reason: string };

/** Asks the app's backend before a message is stored (M12). Decides within 2 seconds, whatever happens; never rejects. */
export interface BeforeSend {
  wants(sdkAppId: SdkAppId): boolean;
  ask(message: PendingMessage): Promise<SendDecision>;
}

/** A question about a group, with its fields by the vendor's names (API reference §10.2). */
export interface GroupQuestion {
  readonly sdkAppId: SdkAppId;
  readonly command: Extract<BeforeCommand, `Group.${string}`>;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly origin: CallbackOrigin;
  readonly groupId: string | undefined;
  readonly from: AccountId;
  /** Of a message: what it is looked up by. */
  readonly messageKey?: string;
}

/** `refusedMembers`: those whom an invitation leaves out. `drop`: the sender gets success, and nothing happens. */
export type GroupDecision =
  | {
      readonly kind: 'allow';
      readonly outcome: BeforeOutcome;
      readonly body?: readonly MessageElement[];
      readonly refusedMembers?: readonly string[];
    }
  | { readonly kind: 'refuse'; readonly code?: number; readonly reason: string }
  | { readonly kind: 'drop' };

/** Asks the app's backend before something is done in a group (K1). Decides within 2 seconds, whatever happens; never rejects. */
export interface BeforeGroup {
  wants(sdkAppId: SdkAppId, command: GroupQuestion['command']): boolean;
  ask(question: GroupQuestion): Promise<GroupDecision>;
}

/** Whether two accounts' relations let a client's message through (M2), or swallow it (M10): `sender-only` stores it for the sender alone. */
export type RelationCheck = (from: Account, to: Account) => Promise<'pass' | 'sender-only' | { refuse: number }>;

/** Who is told of what was done: a bit for each consumer that wants an entry in the outbox. 1: callbacks, 2: push. */
export type Consumers = (sdkAppId: SdkAppId, command: AfterCommand) => number;

/** Entries for callbacks have been committed: whoever sends them need not look for them. Best effort; synchronous. */
export type Written = (sdkAppId: SdkAppId, drainKey: string, command: AfterCommand) => void;

/** What an account wants of its pushes. Sounds: a file of the app, '' for none, null for the app's own. */
export interface DeviceWishes {
  readonly isOn: boolean;
  readonly c2cSound: string | null;
  readonly groupSound: string | null;
  readonly videoSound: string | null;
}

interface TerminalName {
  readonly sdkAppId: SdkAppId;
  readonly accountNo: number;
  readonly platform: string;
}

/** Where terminals are reached while they are not there (S3, S4, S9). */
export interface Devices {
  /** `no-service`: the app has none of that channel; `away`: the link has lost its terminal's place. */
  set(
    terminal: TerminalName & { linkId: string },
    device: {
      readonly channel: 'apns' | 'fcm';
      readonly token: string;
      readonly environment: 'production' | 'sandbox';
      readonly language: string | undefined;
    },
  ): Promise<'set' | 'no-service' | 'away'>;
  remove(terminal: TerminalName): Promise<void>;
  /** What its icon shows. */
  report(terminal: TerminalName, unread: number): Promise<void>;
  wishes(accountNo: number): Promise<DeviceWishes>;
  setWishes(accountNo: number, wishes: Partial<DeviceWishes>): Promise<void>;
  /** The app was opened by the push of a message: of that account, or in that group. */
  opened(
    terminal: TerminalName,
    message: { readonly kind: 'c2c' | 'group'; readonly name: string; readonly seq: number },
  ): Promise<void>;
}

export interface ImPorts {
  beforeSend?: BeforeSend;
  beforeGroup?: BeforeGroup;
  relations?: RelationCheck;
  consumers?: Consumers;
  written?: Written;
  devices?: Devices;
}
