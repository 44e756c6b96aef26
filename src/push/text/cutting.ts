/** Cutting texts where a reader sees their characters end (S8). Pure. */

/** What stands where something was cut off; three bytes. */
export const cutMark = '…';
export const cutMarkBytes = 3;

/** Grapheme clusters are the same in every language. */
const segmenter = new Intl.Segmenter('en', { granularity: 'grapheme' });

export interface TextLimit {
  /** Characters as people count them: grapheme clusters, the mark included. 1 at least. */
  readonly maxClusters?: number;
  /** Bytes within a JSON string, the mark included. 3 at least. */
  readonly maxBytes: number;
}

/**
 * A text within its limits: whole if it fits, else as much of it as leaves room for `…`, up to a bound of grapheme clusters: never inside
 * of a family, a flag, a skin tone or a combining mark. A cluster that is too long goes as a whole. Lone surrogates become U+FFFD.
 *
 * Looks at `maxBytes` UTF-16 units at most, however long the text is.
 */
export function cutText(
  text: string,
  { maxClusters = Number.POSITIVE_INFINITY, maxBytes }: TextLimit,
): { readonly text: string; readonly isCut: boolean } {
  const isLonger = text.length > maxBytes;
  const looked = (isLonger ? text.slice(0, maxBytes) : text).toWellFormed();
  if (!isLonger && looked.length <= maxClusters && jsonBytes(looked) <= maxBytes) return { text: looked, isCut: false };

  let clusters = 0;
  let bytes = 0;
  let end = 0;
  let keptEnd = 0;
  let fits = true;
  for (const { segment } of segmenter.segment(looked)) {
    clusters += 1;
    bytes += jsonBytes(segment);
    end += segment.length;
    fits = clusters <= maxClusters && bytes <= maxBytes;
    if (!fits) break;
    // A bound depends on what is in front of it and on the code point behind it: in what was looked at, three units at least are.
    if (clusters < maxClusters && bytes + cutMarkBytes <= maxBytes) keptEnd = end;
  }
  return fits && !isLonger ? { text: looked, isCut: false } : { text: looked.slice(0, keptEnd) + cutMark, isCut: true };
}

/** Bytes that a well-formed text takes in UTF-8 within a JSON string, as `JSON.stringify` writes it. */
export function jsonBytes(text: string): number {
  let bytes = 0;
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    if (unit < 0x20) bytes += unit === 0x0a || unit === 0x0d || unit === 0x09 || unit === 0x08 || unit === 0x0c ? 2 : 6;
    else if (unit < 0x80) bytes += unit === 0x22 || unit === 0x5c ? 2 : 1;
    // Half of a pair that takes four bytes.
    else if (unit < 0x800 || (unit >= 0xd800 && unit <= 0xdfff)) bytes += 2;
    else bytes += 3;
  }
  return bytes;
}
