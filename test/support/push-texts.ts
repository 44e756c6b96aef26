/** Texts of whatever Unicode has, well-formed or not, from a seed: the same seed makes the same texts. */

export interface TextMaker {
  /** 0 … below - 1 */
  int(below: number): number;
  pick<T>(values: readonly T[]): T;
  /** So many pieces, each of some units. */
  text(pieces: number): string;
}

export function createTextMaker(seed: number): TextMaker {
  // mulberry32
  let state = seed >>> 0;
  const int = (below: number): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000) * below) | 0;
  };
  const pick = <T>(values: readonly T[]): T => values[int(values.length)] as T;
  const within = (first: number, last: number): string => String.fromCodePoint(first + int(last - first + 1));
  const times = (count: number, make: () => string): string => {
    let text = '';
    for (let i = 0; i < count; i += 1) text += make();
    return text;
  };
  const some = (most: number, make: () => string): string => times(int(most + 1), make);

  const person = () => pick(['👨', '👩', '👧', '👦', '🧑', '👶']);
  const skin = () => within(0x1f3fb, 0x1f3ff);
  const region = () => within(0x1f1e6, 0x1f1ff);
  /** How a piece of a text comes about, the common ones first. */
  const makers: readonly (() => string)[] = [
    () => within(0x20, 0x7e),
    () => within(0x4e00, 0x9fff),
    () => within(0xac00, 0xd7a3),
    () => pick(['"', '\\', '/', '<', '&', '…', ': ', '：']),
    // Controls, the escaped ones more often.
    () => within(0, 0x1f),
    () => pick(['\n', '\r\n', '\r', '\t', '\u007f', '\u0085', '\u2028', '\u2029', '\u00ad', '\ufeff']),
    // Everything else, noncharacters, private use and what is not assigned included.
    () => within(0x80, 0xd7ff),
    () => within(0xe000, 0xffff),
    () => within(0x1_0000, 0x10_ffff),
    () => within(0x1_0000, 0x3_ffff),
    // Arabic, Hebrew, what turns directions, and letters that belong to what follows them.
    () => within(0x0590, 0x06ff),
    () => within(0x2066, 0x2069) + within(0x202a, 0x202e),
    () => pick(['\u0600', '\u06dd', '\u070f', '\u0d4e', '\u{110bd}']) + within(0x30, 0x39),
    // Marks, on something or on nothing.
    () => within(0x61, 0x7a) + some(4, () => within(0x300, 0x36f)),
    () => within(0x300, 0x36f),
    // Indic conjuncts, Thai, Tamil, Hangul jamo, Burmese.
    () => within(0x915, 0x939) + some(3, () => `\u094d${pick(['', '\u200d', '\u200c'])}${within(0x915, 0x939)}`),
    () => within(0x0e00, 0x0e5b) + within(0x0b80, 0x0bff),
    () => some(2, () => within(0x1100, 0x115f)) + within(0x1160, 0x11a7) + some(2, () => within(0x11a8, 0x11ff)),
    () => within(0x1000, 0x109f),
    // Emoji: plain, with skin, families, flags whole and half, keycaps, flags of regions by tags, variation selectors.
    () => within(0x1f300, 0x1faff),
    () => person() + skin(),
    () => person() + some(4, () => `\u200d${person()}${pick(['', skin()])}`),
    () => region() + region(),
    region,
    () => `${within(0x30, 0x39)}\ufe0f\u20e3`,
    () => `🏴${some(6, () => within(0xe0061, 0xe007a))}\u{e007f}`,
    () => `❤${pick(['\ufe0f', '\ufe0e', ''])}${pick(['', '\u200d🔥'])}`,
    () => pick(['\u200d', '\u200c', '\u200b', '\u2060', '\ufe0f', skin()]),
    // Halves of pairs.
    () => String.fromCharCode(0xd800 + int(0x400)),
    () => String.fromCharCode(0xdc00 + int(0x400)),
  ];

  return {
    int,
    pick,
    text(pieces) {
      // Most texts are of one or two scripts, so that runs of flags, marks and halves come about.
      const own = [pick(makers), pick(makers)];
      const text = times(pieces, () => (int(8) === 0 ? pick(makers) : pick(own))());
      // Of many marks one cluster.
      return int(120) === 0 ? text + '\u0301'.repeat(int(3_000)) : text;
    },
  };
}
