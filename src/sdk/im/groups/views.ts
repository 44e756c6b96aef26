/** Groups as the service tells of them: field for field as in docs/reference/link.md, "Groups". Times are Unix seconds. */

export type GroupRole = 'Owner' | 'Admin' | 'Member';
/** `FreeAccess`: whoever applies is a member; `NeedPermission`: owner or admins answer; `DisableApply`: nobody can apply. */
export type GroupApplyOption = 'FreeAccess' | 'NeedPermission' | 'DisableApply';
/** `AcceptNotNotify`: delivered without push; `Discard`: neither delivered nor unread, in the history alone. */
export type GroupReceive = 'AcceptAndNotify' | 'AcceptNotNotify' | 'Discard';

/** What everybody may know of a group that can be found. */
export interface PublicGroupProfile {
  readonly group: string;
  readonly type: string;
  readonly name: string;
  readonly introduction: string;
  readonly faceUrl: string;
  readonly owner?: string;
  readonly applyOption: GroupApplyOption;
  readonly memberCount: number;
  readonly maxMembers: number;
  readonly createTime: number;
}

/** What its members know. */
export interface GroupProfile extends PublicGroupProfile {
  readonly notification: string;
  /** Only owner and admins speak. */
  readonly muted: boolean;
  readonly custom: Readonly<Record<string, string>>;
  /** Rises with every change. */
  readonly infoSeq: number;
  readonly infoTime: number;
}

export interface GroupMember {
  readonly account: string;
  readonly role: GroupRole;
  readonly joinTime: number;
  readonly lastSendTime: number;
  readonly nameCard: string;
  readonly custom: Readonly<Record<string, string>>;
  /** May not speak before. */
  readonly mutedUntil: number;
  /** Of the account itself alone. */
  readonly receive?: GroupReceive;
  readonly readSeq?: number;
}

/** A group of the account's own. */
export interface JoinedGroup extends GroupProfile {
  readonly self: GroupMember;
  readonly unread: number;
}

export interface GroupDraft {
  /** `Private`, `Public`, `ChatRoom`, …: docs/reference/group-types.md. */
  readonly type: string;
  readonly name: string;
  readonly introduction?: string;
  readonly notification?: string;
  readonly faceUrl?: string;
  readonly maxMembers?: number;
  readonly applyOption?: GroupApplyOption;
  readonly custom?: Readonly<Record<string, string>>;
  /** Besides the account itself. */
  readonly members?: readonly string[];
}

export interface GroupChanges {
  readonly name?: string;
  readonly introduction?: string;
  readonly notification?: string;
  readonly faceUrl?: string;
  readonly maxMembers?: number;
  readonly applyOption?: GroupApplyOption;
  /** Only owner and admins speak. */
  readonly muted?: boolean;
  readonly custom?: Readonly<Record<string, string>>;
}

export interface MemberChanges {
  readonly role?: 'Admin' | 'Member';
  readonly nameCard?: string;
  readonly custom?: Readonly<Record<string, string>>;
  readonly muteSec?: number;
  /** Of the account itself alone. */
  readonly receive?: GroupReceive;
}

/** What became of an account that was invited: `asked`: it has to agree. */
export interface InviteResult {
  readonly account: string;
  readonly outcome: 'added' | 'asked' | 'was-member' | 'failed';
}

/** What an answer to an application or an invitation has to name; in {@link GroupRequest} and in notices. */
export interface RequestName {
  readonly kind: 'application' | 'invitation';
  readonly group: string;
  readonly key: string;
  readonly auth: string;
}

/** An application to a group that the account manages, or an invitation of the account. */
export interface GroupRequest extends RequestName {
  readonly groupName: string;
  /** Who is to become a member. */
  readonly account: string;
  readonly inviter?: string;
  readonly words: string;
  readonly userField: string;
  readonly time: number;
  /** Undefined: it waits. `gone`: the account became a member in another way, or the group is no more. */
  readonly result?: 'agreed' | 'refused' | 'gone';
  readonly handler?: string;
  readonly answer?: string;
}
