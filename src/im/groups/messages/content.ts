import type { AppLookup } from '../../../auth/index.ts';
import type { ImRefusal } from '../../../wire/index.ts';
import type { Words } from '../../services.ts';
import type { Cleared } from './message.ts';

/** Refuses a final content that is too long, or holds a dirty word (D1). */
export function checkContent(
  { apps, words }: { apps: AppLookup; words: Pick<Words, 'findInBody'> },
  { group: { sdkAppId }, body, text }: Pick<Cleared, 'group' | 'body' | 'text'>,
): ImRefusal | undefined {
  const most = apps.get(sdkAppId)?.im.messageBytes ?? 0;
  const bytes = Buffer.byteLength(text);
  if (bytes > most) {
    const reason = `is ${bytes} bytes long as JSON`;
    return { ok: false, error: 'MESSAGE_TOO_LONG', field: 'body', reason, allowed: `at most ${most} bytes` };
  }
  // Not the word itself: the list is not the sender's to learn.
  return words.findInBody(sdkAppId, body) === undefined ? undefined : { ok: false, error: 'DIRTY_WORD', field: 'body' };
}
