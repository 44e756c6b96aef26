/** Seqs from … to, both included. */
export type Range = readonly [from: number, to: number];

/**
 * A set of seqs: ascending, none of them touching another. Of these seqs a terminal has all that the account can see; what
 * lies between two ranges is a gap, which the service has to be asked about. Never changed in place.
 */
export type Ranges = readonly Range[];

/** @returns the same set when it has them all; an empty range (`from > to`) adds nothing */
export function addRange(ranges: Ranges, from: number, to: number): Ranges {
  const at = rangeAt(ranges, from);
  if (from > to || (at !== undefined && at[1] >= to)) return ranges;
  const before = ranges.filter((range) => range[1] < from - 1);
  const after = ranges.filter((range) => range[0] > to + 1);
  const merged = ranges.slice(before.length, ranges.length - after.length);
  return [...before, [Math.min(from, merged[0]?.[0] ?? from), Math.max(to, merged.at(-1)?.[1] ?? to)], ...after];
}

export function removeRange(ranges: Ranges, from: number, to: number): Ranges {
  if (from > to) return ranges;
  return ranges.flatMap(([a, b]): Range[] => {
    const left: Range[] = a < from ? [[a, Math.min(b, from - 1)]] : [];
    const right: Range[] = b > to ? [[Math.max(a, to + 1), b]] : [];
    return [...left, ...right];
  });
}

/** What of it lies within from … to. */
export function clipRanges(ranges: Ranges, from: number, to: number): Ranges {
  return ranges.filter(([a, b]) => b >= from && a <= to).map(([a, b]): Range => [Math.max(a, from), Math.min(b, to)]);
}

/** What the first has and the second has not. */
export function subtractRanges(ranges: Ranges, taken: Ranges): Ranges {
  return taken.reduce((left, [from, to]) => removeRange(left, from, to), ranges);
}

/** The range that a seq lies in; undefined: it is in none. */
export function rangeAt(ranges: Ranges, seq: number): Range | undefined {
  return ranges.find(([from, to]) => from <= seq && seq <= to);
}

/** The last range that ends before a seq. */
export function rangeBelow(ranges: Ranges, seq: number): Range | undefined {
  return ranges.findLast((range) => range[1] < seq);
}

/** Reads what was stored as JSON; undefined: it is no such set. */
export function readRanges(value: unknown): Ranges | undefined {
  if (!Array.isArray(value)) return undefined;
  let last = -1;
  for (const range of value as unknown[]) {
    if (!Array.isArray(range) || range.length !== 2) return undefined;
    const [from, to] = range as unknown[];
    if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to)) return undefined;
    if ((from as number) <= last || (to as number) < (from as number)) return undefined;
    last = (to as number) + 1;
  }
  return value as Ranges;
}
