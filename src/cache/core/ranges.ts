import { isEntityTag, matchesStrongly } from './entity-tags.ts';
import { parseHttpDate } from './http-date.ts';
import type { RequestFacts } from './request-facts.ts';
import type { ResponseFacts } from './response-facts.ts';

/** Positions of the first and of the last byte. */
export interface ByteRange {
  readonly first: number;
  readonly last: number;
}

/** More ranges, or ranges that overlap, are how such requests are abused: the whole is sent (RFC 9110 §14.2). */
const maxRanges = 16;

/**
 * Which part of a complete body a request wants (RFC 9110 §14).
 * @returns the ranges in their order; `whole`: no range, or one that does not count here; `unsatisfiable`: answer 416
 */
export function selectRanges(
  request: RequestFacts,
  stored: ResponseFacts,
  bodyBytes: number,
  nowMs: number,
): readonly ByteRange[] | 'whole' | 'unsatisfiable' {
  const { range } = request;
  if (range === undefined || request.method !== 'GET' || stored.status !== 200) return 'whole';
  if (request.ifRange !== undefined && !isUnchanged(request.ifRange, stored, nowMs)) return 'whole';
  const set = /^bytes=(.*)$/i.exec(range)?.[1];
  if (set === undefined) return 'whole';
  const specs = set
    .split(',')
    .map((spec) => spec.trim())
    .filter((spec) => spec !== '');
  if (specs.length === 0 || specs.length > maxRanges) return 'whole';
  const found: ByteRange[] = [];
  for (const spec of specs) {
    const match = /^([0-9]*)-([0-9]*)$/.exec(spec);
    const [, from = '', to = ''] = match ?? [];
    // Malformed as a whole, then.
    if (match === null || (from === '' && to === '') || (from !== '' && to !== '' && Number(to) < Number(from))) {
      return 'whole';
    }
    const first = from === '' ? Math.max(0, bodyBytes - Number(to)) : Number(from);
    const last = from === '' || to === '' ? bodyBytes - 1 : Math.min(Number(to), bodyBytes - 1);
    if (first <= last) found.push({ first, last });
  }
  if (found.length === 0) return 'unsatisfiable';
  const sorted = found.toSorted((a, b) => a.first - b.first);
  const overlap = sorted.some(({ first }, i) => first <= (sorted[i - 1]?.last ?? -1));
  return overlap ? 'whole' : found;
}

/** If-Range (RFC 9110 §13.1.5): compared strongly, so a weak tag never matches, and a date only when it is the same. */
function isUnchanged(ifRange: string, { etag, lastModifiedMs, dateMs }: ResponseFacts, nowMs: number): boolean {
  if (isEntityTag(ifRange)) return etag !== undefined && matchesStrongly(ifRange, etag);
  const date = parseHttpDate(ifRange, nowMs);
  if (date === undefined || date !== lastModifiedMs) return false;
  // A date is a strong validator only when the response was made at least a second later (§8.8.2.2).
  return dateMs !== undefined && dateMs - date >= 1_000;
}

export function contentRange({ first, last }: ByteRange, bodyBytes: number): string {
  return `bytes ${first}-${last}/${bodyBytes}`;
}
