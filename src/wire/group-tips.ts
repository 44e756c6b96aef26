/**
 * What members and accounts are told of their groups, by the vendor's field names (API reference §4.28, §4.29). Service and SDK share it.
 * Pure.
 */

/** Numbers of what happened, in tips. */
export const tipTypes = {
  join: 1,
  quit: 2,
  kick: 3,
  setAdmin: 4,
  cancelAdmin: 5,
  modifyInfo: 6,
  modifyMember: 7,
} as const;

/** What changed in a group, as its members hear of it. */
export type GroupTip =
  | {
      readonly kind: 'join' | 'kick' | 'setAdmin' | 'cancelAdmin';
      readonly operator: string;
      readonly members: readonly string[];
      readonly memberCount?: number;
    }
  | { readonly kind: 'quit'; readonly operator: string; readonly memberCount: number }
  | {
      readonly kind: 'modifyInfo';
      readonly operator: string;
      /** The fields that changed, and those alone. */
      readonly changed: {
        readonly name?: string;
        readonly introduction?: string;
        readonly notification?: string;
        readonly faceUrl?: string;
        readonly owner?: string;
      };
    }
  | {
      readonly kind: 'modifyMember';
      readonly operator: string;
      /** Seconds for which each may not send; 0: may again. */
      readonly muted: readonly { readonly member: string; readonly seconds: number }[];
    };

/** The content object of a tip. */
export function tipContent(tip: GroupTip): Record<string, unknown> {
  const common = { OpType: tipTypes[tip.kind], Operator_Account: tip.operator };
  switch (tip.kind) {
    case 'join':
    case 'kick':
    case 'setAdmin':
    case 'cancelAdmin':
      return {
        ...common,
        List_Account: tip.members,
        ...(tip.memberCount === undefined ? {} : { MemberNum: tip.memberCount }),
      };
    case 'quit':
      return { ...common, MemberNum: tip.memberCount };
    case 'modifyInfo': {
      const { name, introduction, notification, faceUrl, owner } = tip.changed;
      return {
        ...common,
        MsgGroupNewInfo: {
          ...(name === undefined ? {} : { GroupName: name }),
          ...(introduction === undefined ? {} : { GroupIntroduction: introduction }),
          ...(notification === undefined ? {} : { GroupNotification: notification }),
          ...(faceUrl === undefined ? {} : { GroupFaceUrl: faceUrl }),
          ...(owner === undefined ? {} : { Owner_Account: owner }),
        },
      };
    }
    case 'modifyMember':
      return {
        ...common,
        MsgMemberInfo: tip.muted.map(({ member, seconds }) => ({ User_Account: member, ShutupTime: seconds })),
      };
  }
}

/** A tip as MsgBody: one element that only the service sends. */
export function tipBody(tip: GroupTip): readonly unknown[] {
  return [{ MsgType: 'TIMGroupTipElem', MsgContent: tipContent(tip) }];
}

/** ReportType of what an account is told of a group. */
export const noticeTypes = {
  applied: 1,
  accepted: 2,
  refused: 3,
  kicked: 4,
  destroyed: 5,
  created: 6,
  pulledIn: 7,
  quit: 8,
  madeAdmin: 9,
  noAdmin: 10,
  recycled: 11,
  invited: 12,
  read: 15,
  custom: 255,
} as const;
export type NoticeKind = keyof typeof noticeTypes;

/** Of whom system notices are. */
export const systemAccount = '@TIM#SYSTEM';

/** Something about a group that concerns one account. */
export interface GroupNotice {
  readonly kind: NoticeKind;
  readonly groupId: string;
  readonly groupName: string;
  readonly operator: string;
  /** Words of who applies, invites, answers or removes. */
  readonly remark?: string;
  /** What answers it has to give back. */
  readonly request?: { readonly key: string; readonly auth: string };
  /** Content of a custom notice; whatever the application gave along with a request. */
  readonly userField?: string;
}

/** The content object of a notice. */
export function noticeContent(notice: GroupNotice): Record<string, unknown> {
  const { kind, groupId, groupName, operator, remark, request, userField } = notice;
  return {
    ReportType: noticeTypes[kind],
    ToGroupId: groupId,
    GroupInfo: { GroupName: groupName },
    Operator_Account: operator,
    RemarkInfo: remark ?? '',
    ...(request === undefined ? {} : { MsgKey: request.key, Authentication: request.auth }),
    UserDefinedField: userField ?? '',
  };
}
