import type { ResponseDirectives } from './directives.ts';
import { type CacheRules, isHeuristicallyCacheable, type Policy, policyOf, type ResponseTimes } from './policy.ts';
import type { RequestFacts } from './request-facts.ts';
import type { ResponseFacts } from './response-facts.ts';

/** Why a response is not stored. */
export type RefusalRule =
  | 'method'
  | 'request-no-store'
  | 'status'
  | 'no-store'
  | 'no-cache'
  | 'must-revalidate'
  | 'pragma'
  | 'private'
  | 'authorization'
  | 'cookie'
  | 'set-cookie'
  | 'vary'
  | 'no-lifetime';

/**
 * For whom a response is stored (C12): `shared`, for everybody; `anonymous`, for requests that show no sign of a user, as
 * the one that brought it; `own`, for the terminal and account that asked. A private cache knows only `own`.
 */
export type Audience = 'shared' | 'anonymous' | 'own';

/** Whether a response may be stored. */
export type Storable =
  | { readonly store: Audience; readonly policy: Policy }
  | { readonly store: 'no'; readonly rule: RefusalRule };

/** Final statuses whose caching requirements this cache knows (RFC 9111 §5.2.2.3). */
const understood = (status: number): boolean =>
  isHeuristicallyCacheable(status) || status === 302 || status === 303 || status === 307;

/** Request fields that differ with every request: a response chosen by them suits nobody else (C12). */
const perRequest = new Set(['qal-req-seq-no', 'x-forwarded-for']);

const no = (rule: RefusalRule): Storable => ({ store: 'no', rule });

/**
 * Decides whether to store a response (C2, C12; RFC 9111 §3). Pure.
 * @param routeShared the route serves the same to everybody (`cacheScope: shared`)
 */
export function storable(
  request: RequestFacts,
  response: ResponseFacts,
  rules: CacheRules & { readonly routeShared: boolean },
  times: ResponseTimes,
): Storable {
  const { directives } = response;
  const shared = rules.kind === 'shared';
  if (request.method !== 'GET' || request.hasBody) return no('method');
  if (request.directives.noStore) return no('request-no-store');
  const refused = rules.mode === 'qal' ? refusedByQal(response) : refusedByRfc9111(response);
  if (refused !== undefined) return no(refused);
  if (response.vary === '*' || response.vary.some((name) => perRequest.has(name))) return no('vary');

  const open = isOpen(directives, rules.kind);
  if (shared) {
    if (directives.private) return no('private');
    // RFC 9111 §3.5
    if (request.authorized && !open && !directives.mustRevalidate) return no('authorization');
    // Ours: a cookie shows or makes who somebody is, as a session does; what is for all has to say so.
    if (request.hasCookie && !open && !rules.routeShared) return no('cookie');
    if (response.setsCookie && !open) return no('set-cookie');
  }

  const policy = policyOf(response, rules, times);
  const hasValidator = response.etag !== undefined || response.lastModified !== undefined;
  const usable = hasValidator || (!policy.alwaysRevalidate && Math.max(policy.freshMs, policy.staleIfErrorMs) > 0);
  if (!usable) return no('no-lifetime');
  // RFC 9111 §3, the last condition: something of the response says that it may be kept.
  if (rules.mode === 'rfc9111' && !mayBeKept(response, shared)) return no('no-lifetime');
  return { store: shared ? audienceOf(request, open || rules.routeShared) : 'own', policy };
}

/** Does it say itself that it is for everybody (RFC 9111 §3.5)? An s-maxage that is no number opens nothing. */
export function isOpen({ public: isPublic, sMaxage }: ResponseDirectives, kind: CacheRules['kind']): boolean {
  return isPublic || (kind === 'shared' && typeof sMaxage === 'number');
}

function audienceOf(request: RequestFacts, forAll: boolean): Audience {
  if (forAll) return 'shared';
  if (request.hasSession) return 'own';
  // Authorization came this far with must-revalidate, which opens it to all (RFC 9111 §3.5).
  return request.authorized ? 'shared' : 'anonymous';
}

/** Does it show a sign of a user? Then it is not answered with what was stored for `anonymous`. */
export function isCredentialed({ hasSession, hasCookie, authorized }: RequestFacts): boolean {
  return hasSession || hasCookie || authorized;
}

function refusedByQal({ status, directives, pragmaNoCache }: ResponseFacts): RefusalRule | undefined {
  if (status !== 200) return 'status';
  if (directives.noStore) return 'no-store';
  if (directives.noCache || directives.noCacheFields.length > 0) return 'no-cache';
  if (directives.mustRevalidate) return 'must-revalidate';
  return pragmaNoCache ? 'pragma' : undefined;
}

function refusedByRfc9111({ status, directives }: ResponseFacts): RefusalRule | undefined {
  if (status < 200 || status === 206 || status === 304) return 'status';
  if (directives.mustUnderstand && !understood(status)) return 'status';
  // A cache that knows must-understand looks past the no-store that is for those that do not (§5.2.2.3).
  return directives.noStore && !directives.mustUnderstand ? 'no-store' : undefined;
}

function mayBeKept({ status, directives, expires, qal }: ResponseFacts, shared: boolean): boolean {
  return (
    isHeuristicallyCacheable(status) ||
    directives.public ||
    (directives.private && !shared) ||
    expires !== undefined ||
    directives.maxAge !== undefined ||
    (directives.sMaxage !== undefined && shared) ||
    qal.maxStaleAgeSec !== undefined ||
    qal.staleExpiresMs !== undefined
  );
}
