import {
  firstOf,
  isCredentialed,
  isOpen,
  parseRequest,
  parseResponse,
  parseResponseDirectives,
  type RawFields,
  type RequestFacts,
  type ResponseTimes,
  type Storable,
  storable,
  updatedFields,
} from './core/index.ts';
import type { CacheRequest } from './ports.ts';
import { createStoredResponse, type StoredResponse } from './stored-response.ts';

/** Fields that speak to caches. An answer to one user may change these of what others get, too. */
const ofCaches = new Set([
  'age',
  'cache-control',
  'date',
  'etag',
  'expires',
  'last-modified',
  'pragma',
  'qal-cache-control',
  'qal-stale-expires',
  'vary',
]);

/** A stored response with newer fields, and whether it may be stored so. */
export interface Updated {
  readonly response: StoredResponse;
  readonly store: Storable['store'];
}

/**
 * The stored response as a 304, or the answer to a HEAD, makes it (RFC 9111 §3.2).
 *
 * C12: what came to one user is for others only where it says so itself. Of an answer that does not, only the fields that
 * speak to caches count for a response that others get; and when it sets a cookie, the response is over.
 *
 * @param isOwn the stored response is for nobody but whom this request shows
 */
export function updateResponse(
  stored: StoredResponse,
  update: RawFields,
  { request, times, isOwn }: { request: CacheRequest; times: ResponseTimes; isOwn: boolean },
): Updated {
  const { rules } = request;
  const saysSo = isOpen(parseResponseDirectives(update), rules.kind);
  const forOne =
    !isOwn && !saysSo && isCredentialed(request.facts) && !(rules.routeShared && !request.facts.authorized);
  const endsIt = !saysSo && firstOf(update, 'set-cookie') !== undefined;
  const fields = updatedFields(stored.raw, forOne && !endsIt ? onlyOfCaches(update) : update);
  const age = firstOf(update, 'age');
  const withAge = age === undefined ? fields : [...fields, 'Age', age];
  const facts = parseResponse(stored.facts.status, withAge, times.receivedMs);
  const verdict: Storable = endsIt
    ? { store: 'no', rule: 'set-cookie' }
    : storable(asked(request.facts), facts, rules, times);
  const policy = verdict.store === 'no' ? stored.policy : verdict.policy;
  const { reason, body } = stored;
  const response = createStoredResponse({ facts, policy, reason, raw: fields, body, request }, rules.kind);
  return { response, store: verdict.store };
}

/** A HEAD counts as a GET that says nothing but who asks: it decides of fields, not of the body that was stored. */
function asked(facts: RequestFacts): RequestFacts {
  if (facts.method === 'GET') return facts;
  const { hasSession, hasCookie } = facts;
  return parseRequest('GET', hasCookie && !hasSession ? ['cookie', ''] : [], { hasSession, hasBody: false, nowMs: 0 });
}

function onlyOfCaches(raw: RawFields): string[] {
  const kept: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    if (ofCaches.has((raw[i] as string).toLowerCase())) kept.push(raw[i] as string, raw[i + 1] as string);
  }
  return kept;
}
