/**
 * Text of others for a terminal: characters that move the cursor, change its state or turn the direction of writing stand there as
 * \uXXXX. Line ends and tabs stay. Pure.
 */
export function printable(text: string): string {
  return text
    .toWellFormed()
    .replace(
      /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
      (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
}

/** A body as people read it: JSON indented, anything else as it stands; cut. Pure. */
export function readableBody(text: string, maxChars = 20_000): string {
  let shown = text;
  try {
    shown = JSON.stringify(JSON.parse(text), undefined, 2);
  } catch {
    // Then as it is.
  }
  return printable(shown.length > maxChars ? `${shown.slice(0, maxChars)}… (${shown.length} characters)` : shown);
}

export function indented(text: string, by = '  '): string {
  return text.replace(/^(?=.)/gm, by);
}
