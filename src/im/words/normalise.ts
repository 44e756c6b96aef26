const ignorable = /\p{Default_Ignorable_Code_Point}/gu;
const ascii = /^[\0-\x7f]*$/;

/**
 * What a text is compared as (D3): without case, whatever the locale, and without width (`ＡＢＣ` is `abc`, `ｶﾞ` is `ガ`).
 * Characters that nothing shows (zero-width spaces, variation selectors) are left out, or every word could be hidden with
 * them. Accents count: `café` is not `cafe`. Pure; its result stays the same when it is normalised again.
 */
export function normalise(text: string): string {
  if (ascii.test(text)) return text.toLowerCase();
  // Upper case first: it opens ß and ligatures, and takes ſ, ς and their like back to the plain letter.
  return text
    .normalize('NFKC')
    .replace(ignorable, '')
    .toUpperCase()
    .toLowerCase()
    .replaceAll('ς', 'σ')
    .normalize('NFKC');
}
