import { matchesWeakly } from './entity-tags.ts';
import type { RequestFacts } from './request-facts.ts';
import type { ResponseFacts } from './response-facts.ts';

/**
 * Does the client's own condition make the answer a 304 (RFC 9110 §13.2, RFC 9111 §4.3.2)? If-None-Match goes before
 * If-Modified-Since; neither says anything of a response that is no success.
 */
export function isNotModified(request: RequestFacts, stored: ResponseFacts, receivedMs: number): boolean {
  const { ifNoneMatch, ifModifiedSinceMs } = request;
  if (stored.status < 200 || stored.status > 299) return false;
  if (ifNoneMatch !== undefined) {
    if (ifNoneMatch === '*') return true;
    const { etag } = stored;
    return etag !== undefined && ifNoneMatch.some((tag) => matchesWeakly(tag, etag));
  }
  if (ifModifiedSinceMs === undefined) return false;
  return (stored.lastModifiedMs ?? stored.dateMs ?? receivedMs) <= ifModifiedSinceMs;
}

/** The client's own conditions that a cache evaluates. */
export function hasCondition({ ifNoneMatch, ifModifiedSinceMs }: RequestFacts): boolean {
  return ifNoneMatch !== undefined || ifModifiedSinceMs !== undefined;
}

/** What we ask by whether stored responses still hold. */
export interface Validators {
  /** Tags for If-None-Match: of the stored responses, and the client's own. */
  readonly etags: readonly string[];
  /** For If-Modified-Since, as it was sent; undefined: none. */
  readonly lastModified: string | undefined;
}

/** Tags in one If-None-Match at most, and their length: a request head has a limit, too. */
const maxTags = 16;
const maxTagChars = 1_024;

/**
 * The validators of stored responses (C3, C4; RFC 9111 §4.3.1): the tags of all, the one that was selected first; its
 * date only where the request is about that one alone.
 *
 * @param selected the stored response that key and Vary select; undefined: none, but one of the `others` may do
 */
export function validatorsFor(
  selected: ResponseFacts | undefined,
  others: readonly ResponseFacts[],
  request: RequestFacts,
): Validators {
  const etags = new Set<string>();
  let chars = 0;
  const add = (tag: string | undefined): void => {
    if (tag === undefined || etags.has(tag) || etags.size >= maxTags || chars + tag.length > maxTagChars) return;
    etags.add(tag);
    chars += tag.length;
  };
  add(selected?.etag);
  for (const other of others) add(other.etag);
  // A client's own condition can be met by a response that we do not have.
  if (Array.isArray(request.ifNoneMatch)) for (const tag of request.ifNoneMatch) add(tag);
  return { etags: [...etags], lastModified: selected?.lastModified };
}

export function hasValidators({ etags, lastModified }: Validators): boolean {
  return etags.length > 0 || lastModified !== undefined;
}

/**
 * Which of the stored responses a 304 speaks of (RFC 9111 §4.3.4): the one that has its tag, or its date; a 304 without
 * either means the only one that was asked about. Undefined: none.
 *
 * One deviation: `"a"` in a 304 also means the stored `W/"a"`. Servers that compress on the way out (nginx) weaken the tag
 * of a 200 only; by the letter nothing that they compress could ever be confirmed.
 *
 * @param candidates the stored responses that were asked about, the selected one first
 */
export function selectFor304<T extends { readonly facts: ResponseFacts }>(
  fields: Pick<ResponseFacts, 'etag' | 'lastModifiedMs'>,
  candidates: readonly T[],
): T | undefined {
  const { etag, lastModifiedMs } = fields;
  if (etag !== undefined) {
    return candidates.find(({ facts }) => facts.etag !== undefined && matchesWeakly(facts.etag, etag));
  }
  if (lastModifiedMs !== undefined) {
    return candidates.find(({ facts }) => facts.lastModifiedMs === lastModifiedMs);
  }
  return candidates.length === 1 ? candidates[0] : undefined;
}
