import { hasPragmaNoCache, parseResponseDirectives, type ResponseDirectives } from './directives.ts';
import { isEntityTag } from './entity-tags.ts';
import { parseHttpDate } from './http-date.ts';
import { parseQalFields, type QalFields } from './qal-fields.ts';
import { firstOf, type RawFields, splitList, valuesOf } from './raw-fields.ts';
import { parseVary, type Vary } from './vary.ts';

/** What a response says to caches, read once. */
export interface ResponseFacts {
  readonly status: number;
  readonly directives: ResponseDirectives;
  readonly qal: QalFields;
  readonly pragmaNoCache: boolean;
  readonly dateMs: number | undefined;
  /** Age field in seconds; 0 when absent or invalid (RFC 9111 §5.1). */
  readonly ageSec: number;
  readonly expires: { readonly at: number } | 'invalid' | undefined;
  readonly etag: string | undefined;
  readonly lastModifiedMs: number | undefined;
  /** As it was sent, for If-Modified-Since; only when it is a date. */
  readonly lastModified: string | undefined;
  readonly vary: Vary;
  readonly setsCookie: boolean;
}

/** @param nowMs when it was received: which century a year of two digits is in */
export function parseResponse(status: number, raw: RawFields, nowMs: number): ResponseFacts {
  const date = firstOf(raw, 'date');
  const etag = firstOf(raw, 'etag');
  const lastModified = firstOf(raw, 'last-modified');
  const lastModifiedMs = lastModified === undefined ? undefined : parseHttpDate(lastModified, nowMs);
  return {
    status,
    directives: parseResponseDirectives(raw),
    qal: parseQalFields(raw, nowMs),
    pragmaNoCache: hasPragmaNoCache(raw),
    dateMs: date === undefined ? undefined : parseHttpDate(date, nowMs),
    ageSec: parseAge(firstOf(raw, 'age')),
    expires: parseExpires(valuesOf(raw, 'expires'), nowMs),
    etag: etag !== undefined && isEntityTag(etag) ? etag : undefined,
    lastModifiedMs,
    lastModified: lastModifiedMs === undefined ? undefined : lastModified,
    vary: parseVary(raw),
    setsCookie: firstOf(raw, 'set-cookie') !== undefined,
  };
}

function parseAge(value: string | undefined): number {
  if (value === undefined) return 0;
  const [first = ''] = splitList(value);
  return /^[0-9]+$/.test(first) ? Math.min(Number(first), 2_147_483_648) : 0;
}

/** Two that differ leave open which one holds: that counts as stale (RFC 9111 §4.2.1). */
function parseExpires(values: string[], nowMs: number): ResponseFacts['expires'] {
  const [first] = values;
  if (first === undefined) return undefined;
  if (values.some((value) => value !== first)) return 'invalid';
  const at = parseHttpDate(first, nowMs);
  return at === undefined ? 'invalid' : { at };
}
