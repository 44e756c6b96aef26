import type { AccountId, ApplyOption, MsgFlag } from '../../wire/index.ts';
import type { AccountNo, ConversationId } from '../model.ts';

export type { ApplyOption, MsgFlag } from '../../wire/index.ts';

/** The terms of groups (RULES G, API reference §4). */

/** Rights order: the app's administrator, owner, admins, members. */
export type GroupRole = 'Owner' | 'Admin' | 'Member';
/** G28. */
export type Priority = 'High' | 'Normal' | 'Low' | 'Lowest';

/** Values of an app's own fields by key. */
export type CustomFields = Readonly<Record<string, string>>;

/** A group that exists, as it was read. */
export interface Group {
  readonly conversationId: ConversationId;
  readonly sdkAppId: number;
  readonly groupId: string;
  /** One of the standard types, or of the app's own ({@link groupTypeOf}). */
  readonly type: string;
  readonly name: string;
  readonly introduction: string;
  readonly notification: string;
  readonly faceUrl: string;
  readonly owner: AccountNo | undefined;
  readonly maxMembers: number;
  readonly applyOption: ApplyOption;
  /** ShutUpAllMember: only owner, admins and the app's administrator speak. */
  readonly isMuted: boolean;
  /** Its owner has said nothing yet: others do not see it. */
  readonly isHidden: boolean;
  readonly custom: CustomFields;
  readonly memberCount: number;
  readonly infoSeq: number;
  /** Unix seconds. */
  readonly createdSec: number;
  readonly infoSec: number;
  /** Of its conversation: the newest seq, its time, who may send. */
  readonly lastSeq: number;
  readonly lastSec: number;
  readonly authEpoch: number;
}

/** A member, in the stay that goes on. */
export interface GroupMember {
  readonly no: AccountNo;
  readonly account: AccountId;
  readonly role: GroupRole;
  /** Unix seconds; 0: has not sent anything. */
  readonly joinedSec: number;
  readonly lastSentSec: number;
  readonly readSeq: number;
  readonly msgFlag: MsgFlag;
  readonly nameCard: string;
  readonly custom: CustomFields;
  /** Unix seconds; 0: not muted. */
  readonly mutedUntilSec: number;
  /** First seq of the stay. */
  readonly fromSeq: number;
}
