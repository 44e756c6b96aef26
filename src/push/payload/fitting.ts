import type { PushText } from '../message.ts';
import { cutMarkBytes, cutText, jsonBytes } from '../text/cutting.ts';
import { maxPayloadBytes } from '../text/push-text.ts';

/** A request as its service gets it. */
export interface Payload {
  readonly ok: true;
  readonly headers: Readonly<Record<string, string>>;
  /** JSON text. */
  readonly body: string;
  readonly bytes: number;
  /** What was left out so that it fits. */
  readonly cuts: readonly ('content' | 'ext')[];
}

/** What can only be larger than the service takes: `bytes`, even with nothing of the text. */
export interface TooLarge {
  readonly ok: false;
  readonly reason: 'PAYLOAD_TOO_LARGE';
  readonly bytes: number;
  readonly allowedBytes: number;
}

/**
 * Writes a request's body with as much of the text as fits (S8; PUSH §1.2, steps 2, 3 and 5): prefix, titles and all else are there whole,
 * then comes the content. `ext` goes only where the app lets it, and only where beside it nothing of the content would find room.
 */
export function fitPayload(
  { content, ext }: Pick<PushText, 'content' | 'ext'>,
  dropExt: boolean,
  write: (content: string, ext: string | undefined) => string,
): Omit<Payload, 'headers'> | TooLarge {
  const tries = dropExt && ext !== undefined ? [ext, undefined] : [ext];
  let leastBytes = 0;
  for (const keptExt of tries) {
    const fixedBytes = Buffer.byteLength(write('', keptExt));
    // A mark alone, or what is shorter than it.
    leastBytes = fixedBytes + Math.min(cutMarkBytes, jsonBytes(content.slice(0, cutMarkBytes)));
    if (leastBytes > maxPayloadBytes) continue;
    const fitted = cutText(content, { maxBytes: maxPayloadBytes - fixedBytes });
    const body = write(fitted.text, keptExt);
    return {
      ok: true,
      body,
      bytes: Buffer.byteLength(body),
      cuts: [...(fitted.isCut ? (['content'] as const) : []), ...(keptExt === ext ? [] : (['ext'] as const))],
    };
  }
  return { ok: false, reason: 'PAYLOAD_TOO_LARGE', bytes: leastBytes, allowedBytes: maxPayloadBytes };
}
