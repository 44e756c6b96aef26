const encoder = new TextEncoder();

/** How many bytes a text takes in UTF-8. */
export function utf8Bytes(text: string): number {
  return encoder.encode(text).length;
}

/** Whether a text takes at most that many bytes of UTF-8. Encodes only where its length does not say it already. */
export function fitsUtf8(text: string, maxBytes: number): boolean {
  // One UTF-16 unit stands for one to three bytes.
  if (text.length * 3 <= maxBytes) return true;
  return text.length <= maxBytes && utf8Bytes(text) <= maxBytes;
}
