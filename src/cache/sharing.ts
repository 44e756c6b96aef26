import { hasCondition, isCredentialed, type Policy, type ResponseFacts, type Storable } from './core/index.ts';
import type { CacheRequest } from './ports.ts';
import { selectorOf } from './stored-response.ts';

/** What may be shared of a response, and how long it holds. */
export interface Shareable {
  readonly store: Storable['store'];
  readonly policy: Policy;
  readonly facts: ResponseFacts;
}

/**
 * May a response that one request brought answer another one that waited for it (C11, C12)? `vary`: it would, but for the
 * request fields that select it.
 */
export function sharing(
  { store, policy, facts }: Shareable,
  asked: CacheRequest,
  other: CacheRequest,
): 'yes' | 'vary' | 'no' {
  if (store === 'no') return 'no';
  if (store === 'own' && (other.owner === undefined || other.owner !== asked.owner)) return 'no';
  if (store === 'anonymous' && isCredentialed(other.facts)) return 'no';
  // Each use of it needs an answer of the origin of its own.
  if (policy.alwaysRevalidate || (policy.neverStale !== undefined && policy.freshMs <= policy.initialAgeMs))
    return 'no';
  const names = facts.vary === '*' ? [] : facts.vary;
  return selectorOf(names, asked) === selectorOf(names, other) ? 'yes' : 'vary';
}

/** Do both ask by the same condition of their own? */
export function sameConditions({ facts: one }: CacheRequest, { facts: other }: CacheRequest): boolean {
  return (
    hasCondition(one) &&
    String(one.ifNoneMatch) === String(other.ifNoneMatch) &&
    one.ifModifiedSinceMs === other.ifModifiedSinceMs
  );
}
