import type { AccountId, CallbackOrigin, ImResult, SdkAppId } from '../wire/index.ts';
import type { ApplyOption, CustomFields, Group, GroupMember, GroupRole, MsgFlag, Priority } from './groups/model.ts';
import type { Account, AccountNo, StoredMessage } from './model.ts';
import type { SendAuthority, Sent } from './services.ts';

/**
 * Groups as the edges call them (RULES G, API reference §4). Names of accounts and ids of groups are checked for their form before.
 * Methods reject only when the database does not answer in time; every expected refusal is a result, with the vendor's number.
 */

/** Who does something. An administrator over REST may whatever the group's type allows at all (M3). */
export interface Actor {
  readonly account: Account;
  readonly authority: SendAuthority;
  /** Where it came from, for callbacks. */
  readonly origin: CallbackOrigin;
  /** The link that asks: it gets its answer and not the event. */
  readonly linkId?: string;
}

/** What a group is made of. What is absent has the default of its type. */
export interface GroupDraft {
  readonly type: string;
  readonly name: string;
  /** An id of the app's own (REST alone); absent: the service gives one that begins with `@TGS#` (G2, G3). */
  readonly groupId?: string;
  /** Absent: over REST there is none, over a link it is who asks. */
  readonly owner?: AccountId;
  readonly introduction?: string;
  readonly notification?: string;
  readonly faceUrl?: string;
  readonly maxMembers?: number;
  readonly applyOption?: ApplyOption;
  readonly custom?: CustomFields;
  readonly members?: readonly {
    readonly account: AccountId;
    readonly isAdmin?: boolean;
    readonly custom?: CustomFields;
  }[];
  /** Imported: when it was made, Unix seconds; neither callbacks nor notices (API reference §4.19). */
  readonly importedSec?: number;
}

export type GroupChangeFields = Partial<
  Pick<Group, 'name' | 'introduction' | 'notification' | 'faceUrl' | 'maxMembers' | 'applyOption' | 'isMuted'>
> & {
  /** Values by key; '' removes one. */
  readonly custom?: CustomFields;
};

export interface MemberChangeFields {
  readonly role?: 'Admin' | 'Member';
  readonly msgFlag?: MsgFlag;
  readonly nameCard?: string;
  readonly custom?: CustomFields;
  /** Seconds; 0: may send again. */
  readonly muteSec?: number;
}

/** What became of each account that was to become a member. */
export type AddOutcome = 'failed' | 'added' | 'was-member' | 'asked';

/** A group as somebody sees it. */
export interface GroupView {
  readonly group: Group;
  readonly owner?: AccountId;
  /** `public`: who asks is no member, and sees what a look-up by id may show (G8). */
  readonly sees: 'all' | 'public';
}

/** A group that an account is in. */
export interface JoinedGroup extends GroupView {
  readonly self: GroupMember;
  readonly unread: number;
}

/** An application or an invitation. */
export interface GroupRequest {
  readonly kind: 'application' | 'invitation';
  readonly groupId: string;
  readonly groupName: string;
  /** Who is to become a member. */
  readonly account: AccountId;
  readonly inviter?: AccountId;
  readonly wording: string;
  readonly userField: string;
  /** What an answer has to give back. */
  readonly key: string;
  readonly auth: string;
  /** Unix seconds. */
  readonly sec: number;
  readonly result?: 'agreed' | 'refused' | 'gone';
  readonly handler?: AccountId;
  readonly answer?: string;
}

/** Groups, their members and profiles. Changes are committed when they resolve, with all that they cause. */
export interface Groups {
  /** The group of that id, as it stands; undefined: there is none. */
  find(sdkAppId: SdkAppId, groupId: string): Promise<Group | undefined>;
  create(actor: Actor, draft: GroupDraft): Promise<ImResult<{ groupId: string }>>;
  dismiss(actor: Actor, groupId: string): Promise<ImResult>;
  /** The group as the actor may see it: members and administrators whole, others by exact id its public profile (G8). */
  view(actor: Actor, groupId: string): Promise<ImResult<GroupView>>;
  modify(actor: Actor, groupId: string, fields: GroupChangeFields): Promise<ImResult>;
  transfer(actor: Actor, groupId: string, to: AccountId): Promise<ImResult>;
  /** In order of joining. `total`: of the group, whatever was asked for. */
  members(
    actor: Actor,
    groupId: string,
    input: { roles?: readonly GroupRole[]; offset?: number; limit?: number; accounts?: readonly AccountId[] },
  ): Promise<ImResult<{ total: number; members: GroupMember[] }>>;
  /** Takes accounts in, or invites them, as the type has it (G12). In the order given. */
  add(
    actor: Actor,
    groupId: string,
    accounts: readonly AccountId[],
    options?: { silent?: boolean },
  ): Promise<ImResult<{ account: AccountId; outcome: AddOutcome }[]>>;
  /** Whoever is no member is left alone. */
  remove(
    actor: Actor,
    groupId: string,
    accounts: readonly AccountId[],
    options?: { silent?: boolean; reason?: string },
  ): Promise<ImResult>;
  quit(actor: Actor, groupId: string): Promise<ImResult>;
  modifyMember(actor: Actor, groupId: string, account: AccountId, fields: MemberChangeFields): Promise<ImResult>;
  mute(actor: Actor, groupId: string, accounts: readonly AccountId[], seconds: number): Promise<ImResult>;
  muted(actor: Actor, groupId: string): Promise<ImResult<{ account: AccountId; untilSec: number }[]>>;
  /** The account's groups, of a type, newest first by their last message. */
  joined(
    account: Account,
    input: { type?: string; offset?: number; limit?: number },
  ): Promise<{ total: number; groups: JoinedGroup[] }>;
  roles(
    actor: Actor,
    groupId: string,
    accounts: readonly AccountId[],
  ): Promise<ImResult<{ account: AccountId; role: GroupRole | 'NotMember' }[]>>;
  /** All groups of the app, by pages: `next` 0 begins, and ends. */
  list(
    sdkAppId: SdkAppId,
    input: { type?: string; limit: number; next: number },
  ): Promise<{ total: number; groupIds: string[]; next: number }>;
  apply(
    actor: Actor,
    groupId: string,
    input: { wording?: string; userField?: string },
  ): Promise<ImResult<'joined' | 'waiting'>>;
  answerApplication(actor: Actor, answer: RequestAnswer): Promise<ImResult>;
  answerInvitation(actor: Actor, answer: RequestAnswer): Promise<ImResult>;
  /** Applications to groups that the account manages, and invitations of it, newest first. */
  requests(account: Account, input: { before?: number; limit: number }): Promise<GroupRequest[]>;
  /**
   * Members as they were elsewhere (API reference §4.21): nobody is asked or told. What was said since they joined (Unix seconds) they can
   * read; the newest `unread` of it, or as many as there are, they have not. One whose time is before the group's or in the future fails.
   */
  importMembers(
    actor: Actor,
    groupId: string,
    members: readonly { account: AccountId; isAdmin?: boolean; joinedSec?: number; unread?: number }[],
  ): Promise<ImResult<{ account: AccountId; outcome: AddOutcome }[]>>;
  /** Members who are online, in groups of which a list shows but some of them; at most 10 s old (API reference §4.26). */
  onlineCount(actor: Actor, groupId: string): Promise<ImResult<number>>;
  /** A system notification to members who are online now (G24); `to` absent or empty: all. */
  notify(actor: Actor, groupId: string, content: string, to?: readonly AccountId[]): Promise<ImResult>;
}

export interface RequestAnswer {
  readonly groupId: string;
  readonly key: string;
  readonly auth: string;
  readonly agrees: boolean;
  readonly words?: string;
}

/** A group message to be sent, its fields checked. */
export interface GroupMessageDraft {
  readonly body: readonly unknown[];
  /** What makes a repeat one, within 300 s (M13), unless there is a client id. */
  readonly random: number;
  readonly clientId?: string;
  readonly priority: Priority;
  /** To members who are online now, not stored. */
  readonly isOnlineOnly: boolean;
  /** False: nobody has it unread; absent: as groups of the type count. */
  readonly counts?: boolean;
  readonly push?: object;
  readonly custom?: string;
}

export interface GroupSendInput {
  readonly actor: Actor;
  /** In whose name; may be no member where an administrator sends (G22). */
  readonly from: Account;
  readonly groupId: string;
  readonly draft: GroupMessageDraft;
  readonly withoutBefore?: 'forbidden';
  readonly withoutAfter?: 'forbidden';
  /** As in {@link SendInput}. */
  readonly turn?: Promise<boolean>;
  readonly deadline: AbortSignal;
}

export interface GroupPage {
  /** Newest first, each seq once: what is not there any more is a hole. */
  readonly messages: readonly { readonly seq: number; readonly message?: StoredMessage; readonly recalled?: true }[];
  /** Everything that was asked for is here. */
  readonly complete: boolean;
  /** First and last of the seqs that were asked for and have expired, where there are such: all of them come after the messages. */
  readonly expired?: readonly (readonly [first: number, last: number])[];
}

/** Messages of groups. */
export interface GroupMessages {
  /** Resolves when the message is committed, dropped by the rate limit or the app's backend (seq 0, G31), or handed on. */
  send(input: GroupSendInput): Promise<ImResult<Sent>>;
  /** Messages with seqs up to `upTo` (none: the newest), as far as the actor may read them (G39). */
  history(actor: Actor, groupId: string, input: { upTo?: number; limit: number }): Promise<ImResult<GroupPage>>;
  recall(actor: Actor, groupId: string, seqs: readonly number[]): Promise<ImResult<{ seq: number; code: number }[]>>;
  /** Blanks the sender's messages among the group's newest 1,000 (G36). */
  deleteBySender(actor: Actor, groupId: string, sender: AccountId): Promise<ImResult>;
  read(actor: Actor, groupId: string, seq: number): Promise<ImResult<{ readSeq: number; unread: number }>>;
  setUnread(actor: Actor, groupId: string, account: AccountId, unread: number): Promise<ImResult>;
  importMany(
    actor: Actor,
    groupId: string,
    messages: readonly { from: Account; sec: number; random: number; body: readonly unknown[] }[],
  ): Promise<ImResult<({ seq: number; sec: number } | { error: number })[]>>;
}

/** Accounts that are members of a group, for whoever tells them. */
export interface Roster {
  readonly group: Group;
  readonly members: ReadonlyMap<AccountNo, GroupMember>;
}

/** A group as its member's terminals begin with it (G35). */
export interface GroupState {
  readonly groupId: string;
  readonly msgFlag: MsgFlag;
  /** The newest seq of the group, and its time, Unix seconds. */
  readonly seq: number;
  readonly time: number;
  readonly readSeq: number;
  readonly unread: number;
  readonly recallNo: number;
  /** The newest message that is there to be seen; nothing of a group that the member discards. */
  readonly last?: StoredMessage;
}

export interface GroupSyncPage {
  /** Oldest first. */
  readonly messages: readonly StoredMessage[];
  /** First and last of the seqs up to `throughSeq` of which there is none: with them every seq is here. */
  readonly holes: readonly (readonly [first: number, last: number])[];
  readonly throughSeq: number;
  readonly more: boolean;
  /** Recalled after the number that was given. */
  readonly recalled: readonly number[];
  readonly recallNo: number;
}

/** What terminals catch up with in their account's groups. */
export interface GroupSync {
  /** All groups of the account whose messages are kept, by pages. `after`: where the page before ended. */
  states(account: Account, input: { after?: number; limit: number }): Promise<{ states: GroupState[]; after?: number }>;
  /** Messages after `since` that the member may read (G39), and where there is none. Nothing while it discards (G26). */
  sync(
    actor: Actor,
    groupId: string,
    input: { since: number; recallNo: number; limit: number },
  ): Promise<ImResult<GroupSyncPage>>;
  /** In the order given; 0 where the account is no member. */
  unread(account: Account, groupIds: readonly string[]): Promise<number[]>;
  unreadTotal(account: Account): Promise<number>;
}

/** What an account was told of its groups (API reference §4.29). */
export interface Notice {
  /** 0: it is kept nowhere. */
  readonly seq: number;
  /** Unix seconds. */
  readonly time: number;
  /** JSON text. */
  readonly content: string;
}

/** The notices of an account: the newest 100 of the last 7 days. */
export interface Inbox {
  state(account: Account): Promise<{ seq: number; readSeq: number; unread: number }>;
  /** Notices after `since`, oldest first. */
  sync(
    account: Account,
    input: { since: number; limit: number },
  ): Promise<{ notices: Notice[]; throughSeq: number; more: boolean }>;
  /** Moves the read position forward, to a seq or the end. */
  read(account: Account, seq: number | undefined, linkId?: string): Promise<{ readSeq: number; unread: number }>;
}
