import { parseRequestDirectives, type RequestDirectives } from './directives.ts';
import { parseTagList } from './entity-tags.ts';
import { parseHttpDate } from './http-date.ts';
import { combinedOf, firstOf, type RawFields } from './raw-fields.ts';

/** What a request says to caches, read once. */
export interface RequestFacts {
  readonly method: string;
  readonly directives: RequestDirectives;
  /** Tags of If-None-Match; `*`: any. */
  readonly ifNoneMatch: readonly string[] | '*' | undefined;
  /** A date; an invalid one counts as absent (RFC 9110 §13.1.3). */
  readonly ifModifiedSinceMs: number | undefined;
  /** If-Match or If-Unmodified-Since: for the origin alone to evaluate (RFC 9111 §4.3.2). */
  readonly forOrigin: boolean;
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
  /** Authorization is there. */
  readonly authorized: boolean;
  /** Cookie is there. */
  readonly hasCookie: boolean;
  /** It stands for a session of ours (C12). */
  readonly hasSession: boolean;
  readonly hasBody: boolean;
}

/** The request fields that {@link parseRequest} reads, in lower case. A request with none of them is the usual one. */
export const requestFieldNames = [
  'authorization',
  'cache-control',
  'cookie',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'pragma',
  'range',
] as const;

/**
 * @param raw the request's fields; those of {@link requestFieldNames} are enough
 * @param nowMs which century a year of two digits is in
 */
export function parseRequest(
  method: string,
  raw: RawFields,
  { hasSession, hasBody, nowMs }: { hasSession: boolean; hasBody: boolean; nowMs: number },
): RequestFacts {
  const noneMatch = combinedOf(raw, 'if-none-match');
  const modifiedSince = firstOf(raw, 'if-modified-since');
  return {
    method,
    directives: parseRequestDirectives(raw),
    ifNoneMatch: noneMatch === undefined ? undefined : noneMatch.trim() === '*' ? '*' : parseTagList(noneMatch),
    ifModifiedSinceMs: modifiedSince === undefined ? undefined : parseHttpDate(modifiedSince, nowMs),
    forOrigin: (firstOf(raw, 'if-match') ?? firstOf(raw, 'if-unmodified-since')) !== undefined,
    range: firstOf(raw, 'range'),
    ifRange: firstOf(raw, 'if-range'),
    authorized: firstOf(raw, 'authorization') !== undefined,
    hasCookie: firstOf(raw, 'cookie') !== undefined,
    hasSession,
    hasBody,
  };
}
