import type { PushText } from '../message.ts';
import { collapseIdOf } from './collapse.ts';
import { fitPayload, type Payload, type TooLarge } from './fitting.ts';

/** Requests to Google's push service, HTTP v1 (PUSH §2.1). Pure. */

/** Google keeps a message for 28 days at most. */
const maxTtlSec = 28 * 86_400;
/** Google keeps messages of four keys a device, and of more than four it does not say which. */
const collapseKeys = 4;

export interface FcmPush {
  readonly text: PushText;
  /** The message's in its conversation: the app names it by that when it was opened by the push. */
  readonly seq: number;
  readonly token: string;
  /** Messages that the icon tells of; undefined: as many as it shows already, and one. Of a message that does not count it is not said. */
  readonly badge?: number | undefined;
  readonly collapseId: string;
  /** After that, Google need not try any more. */
  readonly deadlineMs: number;
  readonly nowMs: number;
  readonly dropExt: boolean;
}

/** A message's: a notification, which is what high priority is for, and what an app finds when it is opened by it. */
export function fcmPayload({
  text,
  seq,
  token,
  badge,
  collapseId,
  deadlineMs,
  nowMs,
  dropExt,
}: FcmPush): Payload | TooLarge {
  const { title, prefix, sound, counts, channelId, thread } = text;
  const leftSec = Math.floor((deadlineMs - nowMs) / 1_000);
  const fitted = fitPayload(text, dropExt, (content, ext) =>
    // Undefined fields are not written.
    JSON.stringify({
      message: {
        token,
        notification: { title, body: prefix + content },
        // Texts alone, and no names that Google keeps for itself.
        data: { conv: thread, ext, seq: String(seq) },
        android: {
          priority: 'HIGH',
          ttl: `${Math.min(maxTtlSec, Math.max(0, leftSec))}s`,
          collapse_key: collapseKeyOf(thread),
          notification: {
            channel_id: channelId,
            tag: collapseIdOf(collapseId),
            sound,
            // 0 would mean: one more.
            notification_count: counts && badge !== undefined && badge > 0 ? badge : undefined,
          },
        },
      },
    }),
  );
  return fitted.ok ? { ...fitted, headers: {} } : fitted;
}

/** The same for all messages of a conversation. */
function collapseKeyOf(thread: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < thread.length; i += 1) hash = Math.imul(hash ^ thread.charCodeAt(i), 0x01000193);
  return `im${(hash >>> 0) % collapseKeys}`;
}
