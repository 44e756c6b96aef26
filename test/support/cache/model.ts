/**
 * A second reading of the rules, to hold the cache's core against: RFC 9111 §3, §4.2, §5.2, RFC 5861, and C2–C12 of
 * RULES.md. Written from those texts; it shares nothing with src/cache. Header sets are plain objects, times are seconds.
 */

export interface ModelInput {
  mode: 'qal' | 'rfc9111';
  kind: 'shared' | 'private';
  routeShared: boolean;
  session: boolean;
  method: string;
  status: number;
  /** By name in lower case. */
  request: Record<string, string>;
  response: Record<string, string>;
  /** Of Date in the response and of its arrival. */
  nowMs: number;
}

export interface ModelVerdict {
  store: 'no' | 'shared' | 'anonymous' | 'own';
  /** Age in seconds on arrival. */
  initialAge: number;
  decide(age: number): 'fresh' | 'stale-while-revalidate' | 'revalidate';
  onError(age: number): boolean;
}

type Directives = Map<string, string | undefined>;

/** Directives, the first of each name. @param isNone leaves one out, as if it were not there */
function read(value = '', isNone: (value: string | undefined) => boolean = () => false): Directives {
  const found: Directives = new Map();
  for (const [, name = '', quoted, plain] of value.matchAll(/([^\s=,"]+)(?:=(?:"([^"]*)"|([^,\s]*)))?/g)) {
    if (!found.has(name.toLowerCase()) && !isNone(quoted ?? plain)) found.set(name.toLowerCase(), quoted ?? plain);
  }
  return found;
}

/** Seconds; undefined: absent; NaN: there, and no number. */
function seconds(directives: Directives, name: string): number | undefined {
  if (!directives.has(name)) return undefined;
  const value = directives.get(name) ?? '';
  return /^\d+$/.test(value) ? Math.min(Number(value), 2 ** 31) : Number.NaN;
}

const orNothing = (value: number | undefined): number => (value === undefined || Number.isNaN(value) ? 0 : value);
const dateOf = (value: string | undefined): number | undefined => {
  const ms = / GMT$/.test(value ?? '') ? Date.parse(value ?? '') : Number.NaN;
  return Number.isNaN(ms) ? undefined : ms / 1_000;
};

const cacheableByDefault = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];
const understood = [...cacheableByDefault, 302, 303, 307];

export function modelOf(input: ModelInput): ModelVerdict {
  const { mode, kind, request, response, status } = input;
  const shared = kind === 'shared';
  const qal = mode === 'qal';
  const cc = read(response['cache-control']);
  // A request's number that is none counts as absent.
  const rcc = read(request['cache-control'], (value) => value !== undefined && !/^\d+$/.test(value));
  const now = input.nowMs / 1_000;
  const date = dateOf(response.date) ?? now;
  const modified = dateOf(response['last-modified']);
  const hasTag = /^(W\/)?"[^"\s]*"$/.test(response.etag ?? '');

  // ——— lifetimes (RFC 9111 §4.2.1; C5–C10) ———
  const maxStaleAge = orNothing(seconds(read(response['qal-cache-control']), 'max-stale-age'));
  const staleExpires = dateOf(response['qal-stale-expires']);
  const hasBound =
    staleExpires !== undefined ||
    !Number.isNaN(seconds(read(response['qal-cache-control']), 'max-stale-age') ?? Number.NaN);
  const said = (value: number | undefined): boolean => value !== undefined && !(qal && Number.isNaN(value));
  const sMaxage = shared ? seconds(cc, 's-maxage') : undefined;
  const maxAge = seconds(cc, 'max-age');
  let fresh = 0;
  if (said(sMaxage)) fresh = orNothing(sMaxage);
  else if (said(maxAge)) fresh = orNothing(maxAge);
  else if (response.expires !== undefined) fresh = Math.max(0, (dateOf(response.expires) ?? date) - date);
  else if (!qal && !hasBound && modified !== undefined && modified < date) {
    if (cacheableByDefault.includes(status) || cc.has('public')) fresh = Math.min((date - modified) / 10, 86_400);
  }

  // ——— what may be done once it is stale (§4.2.4, RFC 5861) ———
  const noCache = cc.has('no-cache') && cc.get('no-cache') === undefined;
  const never =
    noCache ||
    cc.has('must-revalidate') ||
    (shared && cc.has('proxy-revalidate')) ||
    (shared && !qal && cc.has('s-maxage'));
  const stale = never
    ? fresh
    : Math.max(
        fresh,
        fresh + orNothing(seconds(cc, 'stale-while-revalidate')),
        maxStaleAge,
        staleExpires === undefined ? 0 : staleExpires - date,
      );
  const errorBound = never ? -1 : Math.max(stale, fresh + orNothing(seconds(cc, 'stale-if-error')));

  // ——— is it stored, and for whom (§3, §3.5; C2, C12) ———
  const refused = (): boolean => {
    if (input.method !== 'GET' || rcc.has('no-store')) return true;
    if (qal) {
      if (status !== 200 || ['no-cache', 'no-store', 'must-revalidate'].some((name) => cc.has(name))) return true;
      if (read(response.pragma).has('no-cache')) return true;
    } else {
      if (status === 206 || status === 304) return true;
      if (cc.has('must-understand') ? !understood.includes(status) : cc.has('no-store')) return true;
      const kept =
        cacheableByDefault.includes(status) ||
        ['public', 'max-age'].some((name) => cc.has(name)) ||
        (shared ? cc.has('s-maxage') : cc.has('private') && cc.get('private') === undefined) ||
        response.expires !== undefined ||
        hasBound;
      if (!kept) return true;
    }
    const vary = (response.vary ?? '').toLowerCase();
    if (/\*|x-forwarded-for|qal-req-seq-no/.test(vary)) return true;
    if (shared) {
      if (cc.has('private') && cc.get('private') === undefined) return true;
      if (request.authorization !== undefined && !open && !cc.has('must-revalidate')) return true;
      if (request.cookie !== undefined && !open && !input.routeShared) return true;
      if (response['set-cookie'] !== undefined && !open) return true;
    }
    // Of no use: nothing can confirm it, and it can never be served.
    return !hasTag && modified === undefined && (noCache || Math.max(fresh, errorBound) <= 0);
  };
  const open = cc.has('public') || (shared && !Number.isNaN(sMaxage ?? Number.NaN));
  const audience = (): ModelVerdict['store'] => {
    if (!shared) return 'own';
    if (open || input.routeShared) return 'shared';
    if (input.session) return 'own';
    return request.authorization === undefined ? 'anonymous' : 'shared';
  };

  // ——— what becomes of a request (§5.2.1) ———
  const wants = (name: string): number | undefined => {
    const value = seconds(rcc, name);
    return Number.isNaN(value) ? undefined : value;
  };
  const checks =
    rcc.has('no-cache') || (request['cache-control'] === undefined && read(request.pragma).has('no-cache'));
  const anyStale = rcc.has('max-stale') && rcc.get('max-stale') === undefined;
  const maxStale = anyStale ? Number.POSITIVE_INFINITY : wants('max-stale');
  return {
    store: refused() ? 'no' : audience(),
    initialAge: Math.max(0, now - date, /^\d+$/.test(response.age ?? '') ? Math.min(Number(response.age), 2 ** 31) : 0),
    decide(age) {
      if (checks || noCache) return 'revalidate';
      if (age > (wants('max-age') ?? Number.POSITIVE_INFINITY)) return 'revalidate';
      if (fresh - age < (wants('min-fresh') ?? Number.NEGATIVE_INFINITY)) return 'revalidate';
      if (age < fresh) return 'fresh';
      if (wants('max-age') !== undefined && maxStale === undefined) return 'revalidate';
      if (age < stale) return 'stale-while-revalidate';
      return !never && age - fresh <= (maxStale ?? -1) ? 'stale-while-revalidate' : 'revalidate';
    },
    onError: (age) =>
      !never && !checks && age < Math.max(errorBound, fresh + orNothing(seconds(rcc, 'stale-if-error'))),
  };
}
