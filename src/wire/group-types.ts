/**
 * Types of groups (RULES G38, API reference §4.1): what a group of a type is and what may be done in it. Service, settings and SDK share
 * them. Data and pure functions.
 */

export type ApplyOption = 'FreeAccess' | 'NeedPermission' | 'DisableApply';
/** How a member receives (G26). */
export type MsgFlag = 'AcceptAndNotify' | 'AcceptNotNotify' | 'Discard';

/**
 * The rights and properties of a type. Each stands here and nowhere else: code asks the row, never the name of the type. That none of them
 * is recycled goes for all types and needs no column.
 */
export interface GroupTypeRow {
  /** Members at most, and default of MaxMemberCount; undefined: any number. */
  readonly maxMembers: number | undefined;
  /** Whether ApplyJoinOption has a say; `never`: nobody can apply. */
  readonly apply: 'never' | 'by-option';
  readonly defaultApplyOption: ApplyOption;
  /** Who takes others in: any member without asking them; owner and admins, who have to be agreed with; nobody, nor the administrator. */
  readonly invite: 'members-pull' | 'managers-invite' | 'nobody';
  /** Whether it can be created with members. */
  readonly hasInitialMembers: boolean;
  /** Whether plain members may change name, introduction, notification and face URL. */
  readonly membersEditProfile: boolean;
  readonly hasOwner: boolean;
  readonly hasAdmins: boolean;
  /** What becomes of a group whose owner quits: it goes on without, or he may not. */
  readonly ownerMayQuit: boolean;
  /** Who besides the app's administrator may dismiss it. */
  readonly dismiss: 'owner' | 'nobody';
  /** Who besides the app's administrator may remove members; `never`: nobody at all. */
  readonly remove: 'managers' | 'owner' | 'never';
  /** Whether members can be muted: by owner, admins and the app's administrator. */
  readonly canMute: boolean;
  /** Whether only the app's administrator speaks. */
  readonly isBroadcast: boolean;
  /** Whether who is no member finds it by its id. */
  readonly isSearchable: boolean;
  /** How members hear of who comes and goes (G33). With `none` whoever joins hears of that alone, on all his terminals. */
  readonly changeNotice: 'none' | 'weak' | 'strong';
  /** Whether messages are kept. */
  readonly isStored: boolean;
  /** Whether members see what was said before they joined (G39). */
  readonly showsEarlier: boolean;
  readonly countsUnread: boolean;
  readonly defaultMsgFlag: MsgFlag;
  /** Whether it stays hidden from others than its owner until the owner has said something. */
  readonly isHiddenAtFirst: boolean;
  /** Whether who is not logged in may receive. No edge lets anybody in without a login yet, so that apps cannot set it. */
  readonly allowsGuests: boolean;
  /** Whether plain members are an audience: nobody asks for their roles or changes what is noted of them, and it is not handed on. */
  readonly isAudience: boolean;
  /** How many members a list shows; undefined: all. 0: there is no list. */
  readonly listedMembers: number | undefined;
  /** Whether groups, messages and members can be imported. */
  readonly canImport: boolean;
  /** What it counts towards: the app's daily net quota, or so many of the app at all. */
  readonly quota: 'daily' | { readonly perApp: number };
  /** Whether joined groups show it. */
  readonly isInJoinedList: boolean;
}

const durable = {
  apply: 'by-option',
  invite: 'managers-invite',
  hasInitialMembers: true,
  membersEditProfile: false,
  hasOwner: true,
  hasAdmins: true,
  ownerMayQuit: false,
  dismiss: 'owner',
  remove: 'managers',
  canMute: true,
  isBroadcast: false,
  isSearchable: true,
  isStored: true,
  isHiddenAtFirst: false,
  allowsGuests: false,
  isAudience: false,
  listedMembers: undefined,
  canImport: true,
  quota: 'daily',
  isInJoinedList: true,
} as const satisfies Partial<GroupTypeRow>;

const live = {
  ...durable,
  maxMembers: undefined,
  defaultApplyOption: 'FreeAccess',
  invite: 'nobody',
  hasInitialMembers: false,
  hasAdmins: false,
  remove: 'never',
  isStored: false,
  showsEarlier: false,
  countsUnread: false,
  defaultMsgFlag: 'AcceptNotNotify',
  allowsGuests: true,
  isAudience: true,
  canImport: false,
  isInJoinedList: false,
} as const satisfies Partial<GroupTypeRow>;

/** The types that every app has. Those of its own are made from the same columns (`im.groupTypes`). */
export const groupTypes = {
  Private: {
    ...durable,
    maxMembers: 200,
    apply: 'never',
    defaultApplyOption: 'DisableApply',
    invite: 'members-pull',
    membersEditProfile: true,
    hasAdmins: false,
    ownerMayQuit: true,
    dismiss: 'nobody',
    remove: 'owner',
    canMute: false,
    isSearchable: false,
    changeNotice: 'strong',
    showsEarlier: false,
    countsUnread: true,
    defaultMsgFlag: 'AcceptAndNotify',
    isHiddenAtFirst: true,
  },
  Public: {
    ...durable,
    maxMembers: 2_000,
    defaultApplyOption: 'NeedPermission',
    changeNotice: 'strong',
    showsEarlier: false,
    countsUnread: true,
    defaultMsgFlag: 'AcceptAndNotify',
  },
  ChatRoom: {
    ...durable,
    maxMembers: 10_000,
    defaultApplyOption: 'FreeAccess',
    changeNotice: 'none',
    showsEarlier: true,
    countsUnread: false,
    defaultMsgFlag: 'AcceptNotNotify',
  },
  AVChatRoom: { ...live, changeNotice: 'weak', listedMembers: 300 },
  BChatRoom: {
    ...live,
    hasOwner: false,
    dismiss: 'nobody',
    canMute: false,
    isBroadcast: true,
    isSearchable: false,
    changeNotice: 'none',
    listedMembers: 0,
    quota: { perApp: 5 },
  },
} as const satisfies Record<string, GroupTypeRow>;

export type StandardGroupType = keyof typeof groupTypes;

export const standardGroupTypes = Object.keys(groupTypes) as readonly StandardGroupType[];

export function isStandardGroupType(name: string): name is StandardGroupType {
  return Object.hasOwn(groupTypes, name);
}

/** Columns as an app sets them: those that differ from its type's base. */
export type GroupTypeColumns = Partial<Omit<GroupTypeRow, 'maxMembers' | 'listedMembers' | 'allowsGuests'>> & {
  /** 0: any number. */
  readonly maxMembers?: number;
  readonly listedMembers?: number | 'all';
};

/** The row of a type that is like another but for some columns; may be one that {@link groupTypeFault} refuses. */
export function groupTypeRow(base: StandardGroupType, columns: GroupTypeColumns): GroupTypeRow {
  const { maxMembers, listedMembers, ...others } = columns;
  return {
    ...groupTypes[base],
    ...others,
    ...(maxMembers === undefined ? {} : { maxMembers: maxMembers === 0 ? undefined : maxMembers }),
    ...(listedMembers === undefined ? {} : { listedMembers: listedMembers === 'all' ? undefined : listedMembers }),
  };
}

/** Columns that contradict one another: the one that cannot be so, why, and what it would have to be; undefined: none do. */
export function groupTypeFault(
  row: GroupTypeRow,
): { column: keyof GroupTypeRow; reason: string; allowed: string } | undefined {
  if (!row.isStored) {
    const reason = 'cannot be where messages are not kept (isStored)';
    if (row.countsUnread) return { column: 'countsUnread', reason, allowed: 'false' };
    if (row.changeNotice === 'strong') return { column: 'changeNotice', reason, allowed: 'none, weak' };
    if (row.showsEarlier) return { column: 'showsEarlier', reason, allowed: 'false' };
    if (row.canImport) return { column: 'canImport', reason, allowed: 'false' };
  }
  if (row.isHiddenAtFirst && (!row.isStored || !row.hasOwner || row.isBroadcast)) {
    const reason = 'cannot be where no message of an owner would show it (isStored, hasOwner, isBroadcast)';
    return { column: 'isHiddenAtFirst', reason, allowed: 'false' };
  }
  return undefined;
}
