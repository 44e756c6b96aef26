import type { PushText } from '../message.ts';
import { collapseIdOf } from './collapse.ts';
import { fitPayload, type Payload, type TooLarge } from './fitting.ts';

/** Requests to Apple's push service (PUSH §1.1, §1.2, §3.3). Pure. */

export interface ApnsAddress {
  /** Bundle id of the app. */
  readonly topic: string;
  readonly collapseId: string;
  /** After that, Apple need not try any more. */
  readonly deadlineMs: number;
}

export interface ApnsPush extends ApnsAddress {
  readonly text: PushText;
  /** The message's in its conversation: the app names it by that when it was opened by the push. */
  readonly seq: number;
  /** What the icon shows from then on; undefined: it stays as it is. Of a message that does not count it is not said. */
  readonly badge?: number | undefined;
  readonly dropExt: boolean;
}

/** A message's: `alert` is one line of plain text, or has a title. */
export function apnsPayload({ text, seq, badge, dropExt, ...address }: ApnsPush): Payload | TooLarge {
  const { title, subtitle, prefix, sound, counts, image, isMutable, thread } = text;
  const fitted = fitPayload(text, dropExt, (content, ext) => {
    const line = prefix + content;
    // Undefined fields are not written.
    return JSON.stringify({
      aps: {
        alert: title === undefined && subtitle === undefined ? line : { title, subtitle, body: line },
        badge: counts ? badge : undefined,
        sound,
        'thread-id': thread,
        'mutable-content': isMutable ? 1 : undefined,
      },
      ext,
      image,
      seq,
    });
  });
  return fitted.ok ? { ...fitted, headers: headersOf(address, 10) } : fitted;
}

/**
 * Corrects the icon's badge, and shows and sounds nothing. It is no `background` push: Apple lets few of those through. Only the last of
 * them matters to a device, so they all replace one another.
 */
export function apnsBadge({
  badge,
  ...address
}: Omit<ApnsAddress, 'collapseId'> & { readonly badge: number }): Payload {
  const body = JSON.stringify({ aps: { badge } });
  const headers = headersOf({ ...address, collapseId: 'badge' }, 5);
  return { ok: true, headers, body, bytes: Buffer.byteLength(body), cuts: [] };
}

function headersOf({ topic, collapseId, deadlineMs }: ApnsAddress, priority: 5 | 10): Record<string, string> {
  return {
    'apns-topic': topic,
    'apns-push-type': 'alert',
    'apns-priority': String(priority),
    'apns-expiration': String(Math.max(0, Math.floor(deadlineMs / 1_000))),
    'apns-collapse-id': collapseIdOf(collapseId),
  };
}
