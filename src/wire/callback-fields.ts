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
