import type { MessageElement, OfflinePushInfo } from '../wire/index.ts';

/** A message, as far as its push shows it. */
export interface PushMessage {
  readonly kind: 'c2c' | 'group';
  /** Who sent it; the nickname and, in a group, the name card as they were then. Empty: none. */
  readonly from: { readonly account: string; readonly nick: string; readonly card: string };
  readonly group: { readonly id: string; readonly name: string } | undefined;
  readonly body: readonly MessageElement[];
  readonly info: OfflinePushInfo | undefined;
  /** Names it for the device: a push with the same name replaces the one that is shown. At most 64 bytes. */
  readonly collapseId: string;
}

/** Whom it is for. */
export interface PushReceiver {
  /** The device's, BCP 47; undefined: it told none. */
  readonly language: string | undefined;
  /** What the account chose (S4). `''`: no sound. */
  readonly c2cSound: string | undefined;
  readonly groupSound: string | undefined;
  readonly videoSound: string | undefined;
}

/** What a device shows of a message, before it is cut to a service's limit. */
export interface PushText {
  /** Undefined: one line, `prefix` and `content` together. */
  readonly title: string | undefined;
  readonly subtitle: string | undefined;
  /** Names and separator, in front of the content; capped already, never cut for the content's sake. */
  readonly prefix: string;
  readonly content: string;
  /** The sender's, passed on unread. */
  readonly ext: string | undefined;
  /** Undefined: silence. */
  readonly sound: string | undefined;
  /** Whether it raises the badge. */
  readonly counts: boolean;
  readonly image: string | undefined;
  readonly isMutable: boolean;
  /** Notification channel of Android. */
  readonly channelId: string | undefined;
  /** What belongs together on the screen: the conversation, by the peer's or group's name. */
  readonly thread: string;
}

/** Why a message is pushed to nobody. */
export type NoPush = 'push-flag' | 'no-text';
