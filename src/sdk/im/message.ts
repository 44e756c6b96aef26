import type { ImError } from './error.ts';

/**
 * One element of a message's body: `{MsgType: 'TIMTextElem', MsgContent: {Text: 'hi'}}`. The types and their fields are those of
 * the API reference; a newer service may deliver others.
 */
export interface ImElement {
  readonly MsgType: string;
  readonly MsgContent: Readonly<Record<string, unknown>>;
}

/**
 * - `sending`: on its way, also while there is no connection
 * - `sent`: the service has it; received ones are all `sent`
 * - `failed`: refused, or not answered until its deadline; can be sent again
 * - `recalled`: its sender, or an administrator, took it back; `body` is empty
 */
export type ImMessageStatus = 'sending' | 'sent' | 'failed' | 'recalled';

/** A message as it is now; a change makes a new object. */
export interface ImMessage {
  /** `c2c:` and the other account, or `group:` and the group's id. */
  readonly conversation: string;
  /** Its place in the conversation, from 1; 0 while the service has not stored it, and for online ones. */
  readonly seq: number;
  readonly from: string;
  readonly isSelf: boolean;
  /** Unix seconds: by the service's clock once it has it. */
  readonly time: number;
  readonly body: readonly ImElement[];
  readonly status: ImMessageStatus;
  /** What REST and callbacks call it: MsgKey. Empty while the service has not stored it. In a group it is known here alone: there `seq` names it. */
  readonly key: string;
  /** CloudCustomData. */
  readonly custom?: string;
  /** Of a message of a group: its `priority`, and `nick`, `faceUrl`, `card`, `custom` of its sender as they were. `tip`: the service tells what changed. */
  readonly extra?: Readonly<Record<string, unknown>>;
  /** The sending terminal's own name for it; stands in own messages alone. */
  readonly clientId?: string;
  /** Only for terminals that were online: nobody has it in a history. */
  readonly isOnline?: true;
  /** Why it has failed. */
  readonly error?: ImError;
}

/** A message that this client sends. Its fields follow what happens to it. */
export interface ImOutgoing extends ImMessage {
  readonly clientId: string;
  /**
   * Settles when it is sent, or has failed for now; need not be looked at.
   * @throws ImError what the service said, `TIMEOUT`, `NETWORK`, `BUSY`: too many wait
   */
  readonly done: Promise<ImMessage>;
}

/** As the service tells it and as it is stored; short, because there are many. */
export interface Stored {
  readonly seq: number;
  readonly from: string;
  readonly time: number;
  readonly msgSeq: number;
  readonly random: number;
  readonly body: readonly ImElement[];
  readonly custom?: string;
  readonly extra?: Readonly<Record<string, unknown>>;
  readonly clientId?: string;
  readonly recalled?: true;
}

export function showMessage(conversation: string, stored: Stored, account: string): ImMessage {
  const { seq, from, time, body, custom, extra, clientId, recalled } = stored;
  return {
    conversation,
    seq,
    from,
    isSelf: from === account,
    time,
    body,
    status: recalled === true ? 'recalled' : 'sent',
    key: keyOf(stored),
    ...(custom !== undefined && { custom }),
    ...(extra && { extra }),
    ...(clientId !== undefined && { clientId }),
    ...(seq === 0 && { isOnline: true as const }),
  };
}

/** MsgKey; a group's messages have no number of their sender's. */
export function keyOf({ seq, msgSeq, random, time }: Stored): string {
  return `${msgSeq || seq}_${random}_${time}`;
}

/** What is left of a message that was taken back. */
export function emptied({ custom: _, ...stored }: Stored): Stored {
  return { ...stored, body: [], recalled: true };
}

export function isElement(value: unknown): value is ImElement {
  const { MsgType, MsgContent } = Object(value) as Partial<ImElement>;
  return typeof MsgType === 'string' && typeof MsgContent === 'object' && MsgContent !== null;
}

/** A text, or elements, as a body of its own: what the caller does to his later does not change it. */
export function toBody(content: string | readonly ImElement[]): readonly ImElement[] | undefined {
  if (typeof content === 'string') return [{ MsgType: 'TIMTextElem', MsgContent: { Text: content } }];
  try {
    const copy: unknown = JSON.parse(JSON.stringify(content));
    return Array.isArray(copy) && copy.every(isElement) ? copy : undefined;
  } catch {
    return undefined; // it refers to itself
  }
}

/** The text elements of a message, one after another. */
export function textOf({ body }: { readonly body: readonly ImElement[] }): string {
  return body.map(({ MsgType, MsgContent }) => (MsgType === 'TIMTextElem' ? String(MsgContent.Text) : '')).join('');
}
