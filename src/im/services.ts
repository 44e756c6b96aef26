import type { AccountId, CallbackOrigin, ImRefusal, ImResult, SdkAppId } from '../wire/index.ts';
import type { Account, AccountNo, ConversationId, StoredMessage, Visibility } from './model.ts';

/**
 * What the edges (rest/, link/) call. Everything here speaks of accounts and conversations, not of frames or fields.
 * Methods reject only when the database does not answer in time; every expected refusal is a result.
 */

/** The accounts of the apps. Reads come from memory where they can; changes are committed when they resolve. */
export interface Accounts {
  /** The account of that name; undefined: there is none. */
  find(sdkAppId: SdkAppId, identifier: AccountId): Promise<Account | undefined>;
  findMany(sdkAppId: SdkAppId, identifiers: readonly AccountId[]): Promise<Map<AccountId, Account>>;
  /** The account of that name, made if there is none (a first login, I1). */
  ensure(sdkAppId: SdkAppId, identifier: AccountId): Promise<Account>;
  /** Makes accounts that are missing and sets what is given of nick and face URL (I1). */
  importMany(
    sdkAppId: SdkAppId,
    entries: readonly { identifier: AccountId; nick?: string; faceUrl?: string }[],
  ): Promise<void>;
  /** Ends accounts; gives back those that did exist. Their links, sessions and conversations end; what terminals stored stays. */
  delete(sdkAppId: SdkAppId, identifiers: readonly AccountId[]): Promise<Set<AccountId>>;
  /** Ends the account's links and sessions and every UserSig issued until now (I4). False: there is none. */
  kick(sdkAppId: SdkAppId, identifier: AccountId): Promise<boolean>;
  /** Names of accounts by number, deleted ones included. */
  names(numbers: readonly AccountNo[]): Promise<Map<AccountNo, AccountId>>;
}

/** A message to be sent, its fields checked. */
export interface Draft {
  /** MsgBody as it was checked: an array of elements. */
  readonly body: readonly unknown[];
  readonly msgSeq?: number;
  /** MsgSeq where the sender gave none: messages to several receivers share one. Never part of what makes a repeat one. */
  readonly ownMsgSeq?: number;
  /** Also part of what makes a repeat one (M13), unless there is a client id. */
  readonly random: number;
  /** The sender's own name for it: a repeat within 24 h is the same message. */
  readonly clientId?: string;
  /** Seconds that it waits for an offline receiver; 0: for terminals that are online now alone, not stored. */
  readonly lifetimeSec: number;
  readonly visibility: Visibility;
  /** Whether the sender's terminals that are online are told (SyncOtherMachine 1, and every client's send). */
  readonly tellSender: boolean;
  /** Whether it counts as unread. */
  readonly counts: boolean;
  readonly push?: object;
  readonly custom?: string;
  /** Imported: its original time, Unix seconds. Nobody is asked or told by callback or push (I3). */
  readonly importedTime?: number;
}

/** Who sends: an administrator over REST is not asked about relations (M3). */
export type SendAuthority = 'self' | 'administrator';

export interface SendInput {
  readonly from: Account;
  readonly to: Account;
  readonly draft: Draft;
  readonly authority: SendAuthority;
  /** Where it came from, for callbacks. */
  readonly origin: CallbackOrigin;
  /** The link that sends: it gets its answer and not the event. */
  readonly linkId?: string;
  /**
   * Why this message has no callback: its caller forbids it (ForbidCallbackControl), or messages of its kind have none (B3).
   * Pushes go on.
   */
  readonly withoutBefore?: 'forbidden' | 'kind';
  readonly withoutAfter?: 'forbidden' | 'kind';
  /**
   * Its place behind what its terminal sent before it to the same conversation (M15): it is asked about meanwhile, and stored once
   * this resolves. False: it is not to be stored any more.
   */
  readonly turn?: Promise<boolean>;
  /** When the command has to be answered. */
  readonly deadline: AbortSignal;
}

export interface Sent {
  /** 0: an online-only message, which has none. */
  readonly seq: number;
  readonly time: number;
  readonly msgSeq: number;
  readonly random: number;
  readonly isRepeat: boolean;
  /** The seq before it that the sender sees; undefined of a repeat, and of an online-only one. */
  readonly prev?: number;
}

export interface Messages {
  /** Resolves when the message is committed (M16), or for online-only ones handed on. */
  send(input: SendInput): Promise<ImResult<Sent>>;
  /** Empties a message for everybody. `by: 'self'`: only one's own, and only for a while. */
  recall(input: {
    account: Account;
    peer: Account;
    message: { seq: number } | { msgSeq: number; random: number; time: number };
    by: SendAuthority;
  }): Promise<ImResult<{ seq: number; recallNo: number }>>;
}

/** One conversation as one account sees it. */
export interface ConversationView {
  readonly conversationId: ConversationId;
  readonly peer: AccountId;
  /** The newest seq that the account sees. */
  readonly seq: number;
  /** Unix seconds of that message. */
  readonly time: number;
  readonly last?: StoredMessage;
  readonly readSeq: number;
  readonly unread: number;
  readonly recallNo: number;
  readonly deliveredSeq: number;
  readonly peerReadSeq: number;
}

export interface MessagePage {
  readonly messages: readonly StoredMessage[];
  /** Everything of the account up to here is in this page or was before it. */
  readonly throughSeq: number;
  readonly more: boolean;
}

/** What one account has: history, offline messages, recent contacts, unread counts. Whatever has expired is not there. */
export interface Mailbox {
  /** The 100 latest conversations, newest first (M9). */
  recents(account: Account): Promise<ConversationView[]>;
  /** What no terminal has acknowledged yet, oldest first, the newest `offlineBytes` of bodies (M5, M6). `after`: where the page before ended. */
  offline(
    account: Account,
    after?: string,
  ): Promise<{ messages: (StoredMessage & { peer: AccountId })[]; after?: string }>;
  /** Messages after `since`, oldest first. */
  sync(
    account: Account,
    peer: Account,
    input: { since: number; recallNo: number; limit: number },
  ): Promise<MessagePage & { recalled: number[]; recallNo: number }>;
  /** Messages before `before` (none: the newest), oldest first; `complete`: there are none before them. */
  history(
    account: Account,
    peer: Account,
    input: { before?: number; limit: number; minTime?: number; maxTime?: number; maxBytes?: number },
  ): Promise<{ messages: StoredMessage[]; complete: boolean }>;
  /** The account's terminals have stored everything of these conversations up to there. Written down within a second. */
  acknowledge(account: Account, items: readonly (readonly [peer: Account, seq: number])[]): void;
  /** Moves the read position forward, to a seq, a time (Unix seconds), or the end (M14). */
  read(
    account: Account,
    peer: Account,
    upTo: { seq?: number; time?: number },
    linkId?: string,
  ): Promise<{ readSeq: number; unread: number }>;
  /** Unread of all conversations together. */
  unreadTotal(account: Account): Promise<number>;
  unread(account: Account, peers: readonly Account[]): Promise<number[]>;
  /** Takes a conversation out of the recent contacts until its next message; `clear`: ends its history for the account, too. */
  hide(account: Account, peer: Account, input: { clear: boolean }): Promise<void>;
}

export const platforms = ['iOS', 'iPad', 'Android', 'Web', 'Windows', 'Mac', 'Linux'] as const;
export type Platform = (typeof platforms)[number];
export type TerminalState = 'online' | 'push-online' | 'offline';
export type StateReason = 'login' | 'logout' | 'link-closed' | 'timeout' | 'kicked';

/** Why the service ends a link. `replaced`: the terminal itself goes on over another one. */
export type LinkEnd = 'kicked' | 'kicked-by-admin' | 'account-deleted' | 'replaced';

export interface LoginInput {
  readonly account: Account;
  readonly platform: Platform;
  /** Names the link, over all processes. */
  readonly linkId: string;
  /** The link that this one goes on from. */
  readonly resume?: string;
  /** When the UserSig was issued, Unix seconds: a kick that came since it was verified refuses it all the same (I4). */
  readonly issuedAtSec?: number;
}

export interface LoggedIn {
  /** Whether `resume` was accepted: no new login, nobody is kicked. */
  readonly isResumed: boolean;
  /** Another terminal ended this one while it could not be told; told once (P5). */
  readonly kickedWhileAway?: KickedBy;
}

/** The login that kicked: its kind of terminal, and when, Unix seconds. */
export interface KickedBy {
  readonly platform: string;
  readonly at: number;
}

export type LoginResult = { ok: true; value: LoggedIn } | (ImRefusal & { by?: KickedBy });

/** Terminals and their links: who is online, and where. */
export interface Presence {
  /**
   * Takes the terminal's place by the app's policy, and ends the links that may not stay beside it (P5). Refuses with
   * KICKED_WHILE_AWAY a `resume` whose place another login has taken, with USERSIG_REVOKED or ACCOUNT_NOT_REGISTERED what a kick
   * or a deletion overtook.
   */
  login(input: LoginInput): Promise<LoginResult>;
  /**
   * The link is gone. `logout` ends the terminal; after `link-closed` and `timeout` an iOS one is PushOnline (P4). `kicked`: a terminal
   * that was kicked has heard of it, and need not be told again. Nothing when another link took its place.
   */
  leave(account: Account, platform: Platform, linkId: string, reason: Exclude<StateReason, 'login'>): Promise<void>;
  /** The terminal reports that it went to the background, or came back. */
  report(account: Account, platform: Platform, linkId: string, isBackground: boolean): Promise<void>;
  /** States of accounts: that of their best terminal, and each terminal's (P2). */
  query(
    accounts: readonly Account[],
  ): Promise<Map<AccountNo, { state: TerminalState; terminals: { platform: Platform; state: TerminalState }[] }>>;
  /** Ends all links of an account, on every process; with `issuedUntilSec` those whose UserSig was issued until then. */
  endAll(account: Account, end: LinkEnd, issuedUntilSec?: number): Promise<void>;
  /** Calls `fn` for each link of this process that has to end. */
  onEnd(fn: (linkId: string, end: LinkEnd, by?: KickedBy) => void): () => void;
  close(): Promise<void>;
}

/** What goes to terminals that are online, now. Best effort: whoever misses one finds it by sync. */
export type LinkEvent =
  | {
      kind: 'message';
      message: StoredMessage;
      /** Account number of the peer, as the addressee sees the conversation. */
      peer: AccountId;
      /** The seq before it that the addressee sees; 0: none. Online-only messages have seq 0. */
      prev: number;
      /** It is not among those that count as unread. */
      uncounted?: true;
    }
  | { kind: 'recalled'; peer: AccountId; seqs: readonly number[]; recallNo: number }
  | { kind: 'read'; peer: AccountId; readSeq: number; unread?: number }
  | { kind: 'profile'; account: AccountId; fields: Record<string, unknown> }
  | {
      /** Seq 0: for members who are online now alone. Otherwise the one before it has the seq before (G34). */
      kind: 'group-message';
      groupId: string;
      message: StoredMessage;
      uncounted?: true;
    }
  | { kind: 'group-recalled'; groupId: string; seqs: readonly number[]; recallNo: number }
  /** To the account's own terminals. */
  | { kind: 'group-read'; groupId: string; readSeq: number; unread: number }
  /** What concerns the account in a group or among friends (API reference §4.29). Seq 0: it is kept nowhere. `body`: JSON text of its content. */
  | { kind: 'notice'; seq: number; time: number; body: string }
  /** Another terminal of the account has read its notices. */
  | { kind: 'notices-read'; readSeq: number; unread: number };

/** Hands events to the links of an account on every process. */
export interface Bus {
  /** `exceptLink`: the link that caused it and has its answer. */
  publish(to: AccountNo, event: LinkEvent, exceptLink?: string): void;
  /** The same event to many, who all see it in the same way. */
  publishMany(to: Iterable<AccountNo>, event: LinkEvent, exceptLink?: string): void;
  /** Called with everything that is published, here or elsewhere. */
  subscribe(fn: (to: AccountNo, event: LinkEvent, exceptLink?: string) => void): () => void;
  /** Called when events may have been lost: whoever follows has to look again. */
  onGap(fn: () => void): () => void;
}

/** Fields of a profile by name: nick, faceUrl, signature, allowType, …; custom ones by their keyword. */
export type ProfileFields = Record<string, string | number>;
export type ProfileReader = 'self' | 'other' | 'administrator';

export interface Profiles {
  /** The fields asked for of each account, those that were never set left out unless they have a default. By name or tag. */
  get(
    accounts: readonly Account[],
    fields: readonly string[],
    reader: (account: Account) => ProfileReader,
  ): Promise<ImResult<Map<AccountNo, ProfileFields>>>;
  /** All or nothing (U1, U2); the account's terminals are told, but for the one that did it. */
  set(
    account: Account,
    fields: Readonly<Record<string, unknown>>,
    by: 'self' | 'administrator',
    linkId?: string,
  ): Promise<ImResult>;
}

export interface Words {
  list(sdkAppId: SdkAppId): Promise<string[]>;
  add(sdkAppId: SdkAppId, words: readonly string[]): Promise<ImResult>;
  remove(sdkAppId: SdkAppId, words: readonly string[]): Promise<ImResult>;
  /** The first dirty word of the app or its category lists in a text; undefined: none. From memory, synchronous. */
  find(sdkAppId: SdkAppId, text: string): string | undefined;
  /** The same over the elements of a body that are checked (D1, D2). */
  findInBody(sdkAppId: SdkAppId, body: readonly unknown[]): string | undefined;
  close(): Promise<void>;
}
