import type { GroupTypeRow, ImRefusal } from '../../wire/index.ts';
import type { ApplyOption, GroupRole } from './model.ts';

/**
 * Who may do what in groups (G8, G11, G12, G15, G17, G18, G22, G39; API reference §4.1): each right is a function of the type's row, of who
 * asks, and of whom it is about; undefined: it may be done. The app's administrator may whatever the type allows at all. Pure.
 */

/** Who asks, as the group sees it; `none`: no member. */
export type Standing = 'administrator' | GroupRole | 'none';

type MayBe = ImRefusal | undefined;

const forbidden = (reason: string): ImRefusal => ({ ok: false, error: 'GROUP_FORBIDDEN', reason });
const noMember = forbidden('the caller is no member of the group');

const isMember = (standing: Standing) => standing !== 'none';
const isManager = (standing: Standing) => standing === 'administrator' || standing === 'Owner' || standing === 'Admin';
const isOwner = (standing: Standing) => standing === 'administrator' || standing === 'Owner';

/** What owner and admins alone may do. */
function managersOnly(standing: Standing): MayBe {
  if (!isMember(standing)) return noMember;
  return isManager(standing) ? undefined : forbidden('only the owner and admins may do this');
}

function ownerOnly(standing: Standing): MayBe {
  if (!isMember(standing)) return noMember;
  return isOwner(standing) ? undefined : forbidden('only the owner may do this');
}

/** Owner and admins act on plain members, the owner on admins, too, no member on the owner (G11). */
function above(standing: Standing, target: GroupRole | 'none'): MayBe {
  const refusal = managersOnly(standing);
  if (refusal !== undefined || standing === 'administrator') return refusal;
  if (target === 'Owner') return forbidden('no member may do this to the owner');
  return target === 'Admin' ? ownerOnly(standing) : undefined;
}

/** Groups of types without an owner are for the app's administrator to make. */
export function mayCreate(type: GroupTypeRow, authority: 'self' | 'administrator'): MayBe {
  if (type.hasOwner || authority === 'administrator') return undefined;
  return forbidden("groups of this type are created by the app's administrator");
}

export function mayImport(type: GroupTypeRow): MayBe {
  return type.canImport ? undefined : forbidden('groups of this type cannot be imported into');
}

export function mayDismiss(type: GroupTypeRow, standing: Standing): MayBe {
  if (type.dismiss === 'nobody' && standing !== 'administrator') {
    return isMember(standing) ? forbidden("groups of this type are dismissed by the app's administrator") : noMember;
  }
  return ownerOnly(standing);
}

/** What members of any role change where the type lets them. */
const textFields: ReadonlySet<string> = new Set(['name', 'introduction', 'notification', 'faceUrl']);

/** `fields`: names of those that change; custom ones have rights of their own. */
export function mayEditProfile(type: GroupTypeRow, standing: Standing, fields: readonly string[]): MayBe {
  if (fields.includes('isMuted') && !type.canMute) return forbidden('groups of this type are not muted');
  const isForAll = type.membersEditProfile && fields.every((field) => textFields.has(field));
  if (isForAll) return isMember(standing) ? undefined : noMember;
  return managersOnly(standing);
}

/** What somebody sees of a group: members and administrators all of it, others what a look-up by its id shows, if it is found at all (G8). */
export function seesProfile(type: GroupTypeRow, standing: Standing): 'all' | 'public' | 'nothing' {
  if (isMember(standing)) return 'all';
  return type.isSearchable ? 'public' : 'nothing';
}

/** Takes others in without asking them (G12). */
export function mayPullIn(type: GroupTypeRow, standing: Standing): MayBe {
  if (type.invite === 'nobody') return forbidden('nobody is taken into groups of this type');
  if (standing === 'administrator') return undefined;
  if (!isMember(standing)) return noMember;
  return type.invite === 'members-pull' ? undefined : forbidden('into groups of this type others are invited');
}

/** Asks others to become members (G12). */
export function mayInvite(type: GroupTypeRow, standing: Standing): MayBe {
  if (type.invite === 'nobody') return forbidden('nobody is invited to groups of this type');
  if (type.invite === 'members-pull') return mayPullIn(type, standing);
  return managersOnly(standing);
}

/** Whether an account may become a member by itself, or ask to (G15). */
export function mayApply(type: GroupTypeRow, standing: Standing, option: ApplyOption): MayBe {
  if (standing !== 'none' && standing !== 'administrator') return { ok: false, error: 'GROUP_ALREADY_MEMBER' };
  if (type.apply === 'never') return forbidden('nobody applies to groups of this type');
  return option === 'DisableApply' ? forbidden('the group takes no applications') : undefined;
}

export function mayAnswerApplications(type: GroupTypeRow, standing: Standing): MayBe {
  if (type.apply === 'never') return forbidden('nobody applies to groups of this type');
  return managersOnly(standing);
}

/**
 * Removes a member (G17); `none`: who is not one, and is left alone. The owner is removed by the administrator alone, and only where a group
 * goes on without one.
 */
export function mayRemove(type: GroupTypeRow, standing: Standing, target: GroupRole | 'none'): MayBe {
  if (type.remove === 'never') {
    return { ok: false, error: 'GROUP_PARAMETER', reason: 'nobody is removed from groups of this type' };
  }
  const refusal = above(standing, target) ?? (type.remove === 'owner' ? ownerOnly(standing) : undefined);
  if (refusal !== undefined) return refusal;
  if (target !== 'Owner' || type.ownerMayQuit) return undefined;
  return forbidden('groups of this type do not go on without their owner');
}

/** G18. `none`: no member. An administrator of the app quits as the member that it is. */
export function mayQuit(type: GroupTypeRow, role: GroupRole | 'none'): MayBe {
  if (!isMember(role)) return noMember;
  return role === 'Owner' && !type.ownerMayQuit ? { ok: false, error: 'GROUP_OWNER_STAYS' } : undefined;
}

/** Hands the group on to another member (G6). */
export function mayTransfer(type: GroupTypeRow, standing: Standing): MayBe {
  if (!type.hasOwner) return forbidden('groups of this type have no owner');
  if (type.isAudience) return forbidden('groups of this type are not handed on');
  return ownerOnly(standing);
}

/** Makes a member an admin, or no longer one (G11). The owner's role changes with a transfer alone. */
export function maySetRole(type: GroupTypeRow, standing: Standing, target: GroupRole): MayBe {
  if (!type.hasAdmins) return forbidden('groups of this type have no admins');
  const refusal = ownerOnly(standing);
  if (refusal !== undefined) return refusal;
  return target === 'Owner' ? forbidden('the owner has no other role') : undefined;
}

/** G27. `none`: who is no member may not speak either, but mutes outlive stays. */
export function mayMute(type: GroupTypeRow, standing: Standing, target: GroupRole | 'none'): MayBe {
  if (!type.canMute) return forbidden('members of groups of this type are not muted');
  return above(standing, target);
}

/**
 * Changes what is noted of a member: `nameCard`, `custom` (beside the rights of each field), `msgFlag`. Role and mute have rights of their
 * own, of which this says nothing.
 */
export function mayEditMember(
  type: GroupTypeRow,
  standing: Standing,
  target: GroupRole | 'none',
  { isSelf, fields }: { isSelf: boolean; fields: readonly string[] },
): MayBe {
  if (!isMember(standing)) return noMember;
  if (type.isAudience && target === 'Member') return forbidden('nothing is noted of members of groups of this type');
  if (isSelf) return undefined;
  if (fields.includes('msgFlag') && standing !== 'administrator') {
    return forbidden('members choose themselves how they receive');
  }
  return fields.includes('nameCard') || fields.includes('custom') ? above(standing, target) : undefined;
}

/** The list of members; how many of them it shows is the type's `listedMembers`. */
export function seesMembers(type: GroupTypeRow, standing: Standing): MayBe {
  if (type.listedMembers === 0) return forbidden('groups of this type have no list of members');
  return isMember(standing) ? undefined : noMember;
}

/** Which role accounts have. */
export function mayAskRoles(type: GroupTypeRow, standing: Standing): MayBe {
  if (type.isAudience) return forbidden('nobody asks for roles in groups of this type');
  return isMember(standing) ? undefined : noMember;
}

/** Whether somebody may send now (G22, G27). `isMuted`: the whole group is; `mutedUntilSec`: the member itself, Unix seconds. */
export function maySpeak(
  type: GroupTypeRow,
  standing: Standing,
  { isMuted, mutedUntilSec, nowSec }: { isMuted: boolean; mutedUntilSec: number; nowSec: number },
): MayBe {
  if (standing === 'administrator') return undefined;
  if (!isMember(standing)) return noMember;
  if (type.isBroadcast) return forbidden("in groups of this type the app's administrator alone speaks");
  if (isMuted && !isManager(standing)) return { ok: false, error: 'GROUP_MUTED', reason: 'all members are muted' };
  return mutedUntilSec > nowSec ? { ok: false, error: 'GROUP_MUTED' } : undefined;
}
