import type { GroupRequest, GroupView, JoinedGroup } from '../group-services.ts';
import type { GroupMember } from '../groups/model.ts';

/** Groups, members and requests as terminals see them (docs/reference/link.md). */

/** What whoever has its id may know of a group (G8). */
export function publicView({ group, owner }: GroupView): object {
  const { groupId, type, name, introduction, faceUrl, applyOption, memberCount, maxMembers, createdSec } = group;
  return {
    group: groupId,
    type,
    name,
    introduction,
    faceUrl,
    owner,
    applyOption,
    memberCount,
    maxMembers,
    createTime: createdSec,
  };
}

/** What its members know. */
export function groupView(view: GroupView): object {
  const { notification, isMuted, custom, infoSeq, infoSec } = view.group;
  return { ...publicView(view), notification, muted: isMuted, custom, infoSeq, infoTime: infoSec };
}

export function joinedView(joined: JoinedGroup): object {
  return { ...groupView(joined), self: memberView(joined.self, true), unread: joined.unread };
}

/** @param isSelf its receive option and read position are the member's own business (G10) */
export function memberView(member: GroupMember, isSelf: boolean): object {
  const { account, role, joinedSec, lastSentSec, nameCard, custom, mutedUntilSec, msgFlag, readSeq } = member;
  return {
    account,
    role,
    joinTime: joinedSec,
    lastSendTime: lastSentSec,
    nameCard,
    custom,
    mutedUntil: mutedUntilSec,
    ...(isSelf ? { receive: msgFlag, readSeq } : {}),
  };
}

export function requestView(request: GroupRequest): object {
  const { kind, groupId, groupName, account, inviter, wording, userField, key, auth, sec } = request;
  const { result, handler, answer } = request;
  return {
    kind,
    group: groupId,
    groupName,
    account,
    inviter,
    words: wording,
    userField,
    key,
    auth,
    time: sec,
    result,
    handler,
    answer,
  };
}
