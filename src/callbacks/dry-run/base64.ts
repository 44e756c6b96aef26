/**
 * Whether a text is base64, with white space anywhere, with or without `=` at its end, or nothing. In a time that grows with its length
 * alone: it comes from outside. Pure.
 */
export function isBase64(text: string): boolean {
  return /^[A-Za-z0-9+/]*={0,2}$/.test(text.replace(/\s+/g, ''));
}
