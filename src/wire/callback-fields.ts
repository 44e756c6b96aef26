import type { OptPlatform } from './callbacks.ts';
import { messageKey } from './message-key.ts';

/** Fields of callbacks by the vendor's names. Pure: who tells of an action later makes the same of it as who asks before it. */

export interface C2cSendFacts {
  readonly from: string;
  readonly to: string;
  readonly msgSeq: number;
  readonly random: number;
  /** Unix seconds. */
  readonly time: number;
  /** MsgBody. */
  readonly body: readonly unknown[];
  readonly custom?: string | undefined;
  readonly isOnlineOnly: boolean;
}

/** What both C2C callbacks say of a message (API reference §10.2); the one after it adds SendMsgResult and ErrorInfo. */
export function c2cSendFields(message: C2cSendFacts): Record<string, unknown> {
  const { from, to, msgSeq, random, time, body, custom, isOnlineOnly } = message;
  return {
    From_Account: from,
    To_Account: to,
    MsgSeq: msgSeq,
    MsgRandom: random,
    MsgTime: time,
    MsgKey: messageKey(message),
    OnlineOnlyFlag: isOnlineOnly ? 1 : 0,
    MsgBody: body,
    ...(custom === undefined ? {} : { CloudCustomData: custom }),
  };
}

export interface GroupSendFacts {
  readonly groupId: string;
  /** Of the group. */
  readonly type: string;
  readonly from: string;
  /** Who sent it: `from`, or who did so in its name. */
  readonly operator: string;
  readonly random: number;
  /** MsgBody. */
  readonly body: readonly unknown[];
  /** Of a message that was accepted; seq 0: it is stored nowhere. `time`: Unix seconds. */
  readonly stored?: { readonly seq: number; readonly time: number };
}

/** What both callbacks of group messages say (API reference §10.2); the one before adds OnlineOnlyFlag, the one after has seq and time. */
export function groupSendFields(message: GroupSendFacts): Record<string, unknown> {
  const { groupId, type, from, operator, random, body, stored } = message;
  return {
    GroupId: groupId,
    Type: type,
    From_Account: from,
    Operator_Account: operator,
    Random: random,
    ...(stored === undefined ? {} : { MsgSeq: stored.seq, MsgTime: stored.time }),
    MsgBody: body,
  };
}

const optPlatforms: Readonly<Record<string, OptPlatform>> = {
  iOS: 'iOS',
  iPad: 'IPad',
  Android: 'Android',
  Web: 'Web',
  Windows: 'Windows',
  Mac: 'Mac',
  Linux: 'Linux',
};

/** A kind of terminal as `OptPlatform`. */
export function optPlatformOf(platform: string): OptPlatform {
  return Object.hasOwn(optPlatforms, platform) ? (optPlatforms[platform] as OptPlatform) : 'Unkown';
}
