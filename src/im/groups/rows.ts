import type { AccountId } from '../../wire/index.ts';
import type { AccountNo, ConversationId } from '../model.ts';
import type { ApplyOption, CustomFields, Group, GroupMember, GroupRole, MsgFlag } from './model.ts';

/** Groups and members as queries select them. */

export const roleNumbers = { Member: 1, Admin: 2, Owner: 3 } as const satisfies Record<GroupRole, number>;
const roles: readonly GroupRole[] = ['Member', 'Member', 'Admin', 'Owner'];

export interface GroupRow {
  conversation_id: ConversationId;
  sdk_app_id: number;
  group_id: string;
  type: string;
  name: string;
  introduction: string;
  notification: string;
  face_url: string;
  owner_id: AccountNo | null;
  max_members: number;
  apply_option: ApplyOption;
  is_muted: boolean;
  is_hidden: boolean;
  custom: string;
  member_count: number;
  info_seq: number;
  created_sec: number;
  info_sec: number;
  last_seq: number;
  last_time: number;
  auth_epoch: number;
}

/** Needs the group as `g` and its conversation as `c`. */
export const groupColumns = `g.conversation_id, g.sdk_app_id, g.group_id, g.type, g.name, g.introduction, g.notification, g.face_url,
  g.owner_id, g.max_members, g.apply_option, g.is_muted, g.is_hidden, g.custom, g.member_count, g.info_seq, g.created_sec, g.info_sec,
  c.last_seq, c.last_time, c.auth_epoch`;

export function toGroup(row: GroupRow): Group {
  return {
    conversationId: row.conversation_id,
    sdkAppId: row.sdk_app_id,
    groupId: row.group_id,
    type: row.type,
    name: row.name,
    introduction: row.introduction,
    notification: row.notification,
    faceUrl: row.face_url,
    owner: row.owner_id ?? undefined,
    maxMembers: row.max_members,
    applyOption: row.apply_option,
    isMuted: row.is_muted,
    isHidden: row.is_hidden,
    custom: JSON.parse(row.custom) as CustomFields,
    memberCount: row.member_count,
    infoSeq: row.info_seq,
    createdSec: row.created_sec,
    infoSec: row.info_sec,
    lastSeq: row.last_seq,
    lastSec: row.last_time,
    authEpoch: row.auth_epoch,
  };
}

export interface MemberRow {
  account_id: AccountNo;
  identifier: AccountId;
  role: number;
  joined_sec: number;
  last_sent_sec: number;
  read_seq: number;
  msg_flag: MsgFlag;
  name_card: string;
  custom: string;
  muted_until: number | null;
  from_seq: number;
}

/** Needs the stay as `m`, its account as `a`, and its mute, if any, as `u`. */
export const memberColumns = `m.account_id, a.identifier, m.role, m.joined_sec, m.last_sent_sec, m.read_seq, m.msg_flag, m.name_card,
  m.custom, u.until_sec as muted_until, m.from_seq`;
export const memberTables = `member m join account a on a.id = m.account_id
  left join group_mute u on u.conversation_id = m.conversation_id and u.account_id = m.account_id`;
/** Of stays that go on. */
export const isMember = 'm.to_seq is null and m.role is not null';

export function toMember(row: MemberRow): GroupMember {
  return {
    no: row.account_id,
    account: row.identifier,
    role: roles[row.role] ?? 'Member',
    joinedSec: row.joined_sec,
    lastSentSec: row.last_sent_sec,
    readSeq: row.read_seq,
    msgFlag: row.msg_flag,
    nameCard: row.name_card,
    custom: JSON.parse(row.custom) as CustomFields,
    mutedUntilSec: row.muted_until ?? 0,
    fromSeq: row.from_seq,
  };
}
