import type { ImErrorCode } from './error.ts';
import { type Fields, fieldsOf, listOf, numberOr, optionalNumber, optionalText } from './frames.ts';
import { type ImElement, isElement } from './message.ts';

/** How a message is sent. */
export interface SendOptions {
  /** How long it waits for a receiver that is offline, 0 … 604800 s. Default: 7 days. Groups have no such time. */
  readonly lifetimeSec?: number | undefined;
  /** OfflinePushInfo. */
  readonly push?: object | undefined;
  /** CloudCustomData. */
  readonly custom?: string | undefined;
  /** In a group: over its limit the higher ones go first. Default: Normal. */
  readonly priority?: 'High' | 'Normal' | 'Low' | 'Lowest' | undefined;
}

/** What is sent, as it is stored until it is. */
export interface Letter {
  readonly conversation: string;
  readonly body: readonly ImElement[];
  readonly options: SendOptions;
  /** Only for terminals that are online now: asked for once, and not stored. */
  readonly isOnline: boolean;
}

/** A message that is not sent yet, as it outlasts a restart. */
export interface StoredLetter extends Omit<Letter, 'isOnline'> {
  readonly clientId: string;
  readonly deadlineMs: number;
  /** When it was written, Unix seconds. */
  readonly time: number;
  /** Why it has failed. */
  readonly failure: ImErrorCode | undefined;
}

/** Whether a conversation is one with another account. */
export function isOfTwo(conversation: string): boolean {
  return conversation.startsWith('c2c:');
}

/** What was stored; whatever is no letter is left out. */
export function readLetters(stored: readonly unknown[]): StoredLetter[] {
  return stored.flatMap((one) => readLetter(fieldsOf(one)) ?? []);
}

function readLetter(fields: Fields): StoredLetter | undefined {
  const clientId = optionalText(fields.clientId);
  const conversation = optionalText(fields.conversation);
  const deadlineMs = optionalNumber(fields.deadlineMs);
  if (clientId === undefined || conversation === undefined || deadlineMs === undefined) return undefined;
  return {
    clientId,
    conversation,
    deadlineMs,
    body: listOf(fields.body).filter(isElement),
    options: fieldsOf(fields.options),
    time: numberOr(fields.time, 0),
    failure: optionalText(fields.failure) as ImErrorCode | undefined,
  };
}

/** 128 bits in hexadecimal digits. */
export function makeClientId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
