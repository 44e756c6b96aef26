import { type GroupTip, type NoticeKind, noticeTypes, tipTypes } from '../../../wire/index.ts';
import { type Fields, fieldsOf, listOf, numberOr, optionalNumber, optionalText } from '../frames.ts';
import type { ImMessage } from '../message.ts';
import type { RequestName } from './views.ts';

const prefix = 'group:';

/** The id of the group that a conversation is; undefined: it is one with an account. */
export function groupOf(conversation: string): string | undefined {
  return conversation.startsWith(prefix) ? conversation.slice(prefix.length) : undefined;
}

export function conversationOf(group: string): string {
  return prefix + group;
}

/** What changed in a group, as its members are told; `message.time` says when. */
export interface TipNotice {
  readonly group: string;
  /** `join`, `quit`, `kick`, `setAdmin`, `cancelAdmin`, `modifyInfo`, `modifyMember` (mutes). */
  readonly kind: GroupTip['kind'];
  /** Who did it. */
  readonly operator: string;
  /** To whom; of `quit` the operator himself. */
  readonly accounts: readonly string[];
  readonly memberCount?: number;
  /** Of `modifyInfo`: what changed alone. */
  readonly changed?: {
    readonly name?: string;
    readonly introduction?: string;
    readonly notification?: string;
    readonly faceUrl?: string;
    readonly owner?: string;
  };
  /** Of `modifyMember`: for how long each may not speak; 0: may again. */
  readonly muted?: readonly { readonly account: string; readonly seconds: number }[];
  /** The message that it came as: with a `seq` it is in the history. */
  readonly message: ImMessage;
}

/** Something about a group that concerns the account. */
export interface GroupNotice {
  /** Its place among the account's notices; 0: it is not kept. */
  readonly seq: number;
  readonly time: number;
  /**
   * `applied`: somebody wants to become a member; `accepted`, `refused`: the account's own application was; `invited`: the account
   * is; `pulledIn`: it is a member now; `kicked`, `quit`, `destroyed`, `created`, `recycled`, `madeAdmin`, `noAdmin`, `custom`
   * (of the app's administrator), `read`; `unknown`: a newer service's.
   */
  readonly kind: NoticeKind | 'unknown';
  readonly group: string;
  readonly groupName: string;
  readonly operator: string;
  /** Of who applies, answers or removes. */
  readonly words: string;
  readonly userField: string;
  /** Of `applied` and `invited`: what `answer` takes. */
  readonly request?: RequestName;
  /** All of it, by the vendor's names. */
  readonly content: Fields;
}

const infoNames = {
  name: 'GroupName',
  introduction: 'GroupIntroduction',
  notification: 'GroupNotification',
  faceUrl: 'GroupFaceUrl',
  owner: 'Owner_Account',
} as const;

/** What a message of a group tells of it; undefined: somebody wrote it, or it is of a kind that this release does not know. */
export function tipOf(message: ImMessage): TipNotice | undefined {
  const group = groupOf(message.conversation);
  if (group === undefined || message.extra?.tip !== true) return undefined;
  const content = fieldsOf(message.body.find(({ MsgType }) => MsgType === 'TIMGroupTipElem')?.MsgContent);
  const kind = nameOf(tipTypes, content.OpType);
  if (kind === undefined) return undefined;
  const operator = textOr(content.Operator_Account);
  const muted = listOf(content.MsgMemberInfo).map((one) => {
    const { User_Account, ShutupTime } = fieldsOf(one);
    return { account: textOr(User_Account), seconds: numberOr(ShutupTime, 0) };
  });
  const accounts = kind === 'quit' ? [operator] : listOf(content.List_Account).map(textOr);
  const memberCount = optionalNumber(content.MemberNum);
  return {
    group,
    kind,
    operator,
    accounts: kind === 'modifyMember' ? muted.map(({ account }) => account) : accounts,
    ...(memberCount !== undefined && { memberCount }),
    ...(kind === 'modifyInfo' && { changed: changedOf(fieldsOf(content.MsgGroupNewInfo)) }),
    ...(kind === 'modifyMember' && { muted }),
    message,
  };
}

function changedOf(info: Fields): NonNullable<TipNotice['changed']> {
  return Object.fromEntries(
    Object.entries(infoNames).flatMap(([name, field]) => {
      const value = optionalText(info[field]);
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

/** A notice as an event or an answer has it. */
export function readNotice({ seq, time, content: value }: Fields): GroupNotice {
  const content = fieldsOf(value);
  const kind = nameOf(noticeTypes, content.ReportType) ?? 'unknown';
  const group = textOr(content.ToGroupId);
  const asked = kind === 'applied' ? 'application' : kind === 'invited' ? 'invitation' : undefined;
  return {
    seq: numberOr(seq, 0),
    time: numberOr(time, 0),
    kind,
    group,
    groupName: textOr(fieldsOf(content.GroupInfo).GroupName),
    operator: textOr(content.Operator_Account),
    words: textOr(content.RemarkInfo),
    userField: textOr(content.UserDefinedField),
    ...(asked !== undefined && {
      request: { kind: asked, group, key: textOr(content.MsgKey), auth: textOr(content.Authentication) },
    }),
    content,
  };
}

function nameOf<K extends string>(numbers: Readonly<Record<K, number>>, value: unknown): K | undefined {
  return (Object.keys(numbers) as K[]).find((name) => numbers[name] === value);
}

function textOr(value: unknown): string {
  return optionalText(value) ?? '';
}
