import type { CacheRequest, TargetRules } from '../cache/index.ts';
import type { AppSettings, Route } from '../store/index.ts';

/** Where a request goes: an app, one of its routes, and what the caller keeps with the route (its upstreams). */
export interface RouteEntry<T> {
  readonly app: AppSettings;
  readonly route: Route;
  readonly target: T;
  /** How the cache treats it. */
  readonly caching: RouteCaching;
}

/** What the cache has to know of a route. */
export interface RouteCaching {
  readonly mode: AppSettings['access']['cache'];
  /** What names the route among those of its app, and by which rules it stores. */
  readonly route: string;
  readonly rules: CacheRequest['rules'];
  readonly target: TargetRules;
}

function cachingOf({ access }: AppSettings, route: Route): RouteCaching {
  const mode = access.cache;
  return {
    mode,
    // What was stored under other rules is not found any more: it may have been stored for more people than it is now for.
    route: `${route.host.toLowerCase()}${route.prefix} ${mode} ${route.cacheScope}`,
    rules: {
      mode: mode === 'off' ? 'qal' : mode,
      kind: 'shared',
      routeShared: route.cacheScope === 'shared',
      maxOrphans: Math.floor(route.maxConnections / 4),
    },
    target: { sortQuery: route.cacheSortQuery, dropParams: route.cacheDropParams },
  };
}

export interface Router<T> {
  /**
   * @param host   host of the request as received, port included or not; '' when it has none
   * @param target request target in origin form (path and query), or `*`
   */
  match(host: string, target: string): RouteEntry<T> | undefined;
}

/** Host without port, in lower case; `a.example.` is `a.example`. */
export function hostName(host: string): string {
  if (host.startsWith('[')) return host.slice(0, host.indexOf(']') + 1).toLowerCase();
  const colon = host.indexOf(':');
  const name = (colon < 0 ? host : host.slice(0, colon)).toLowerCase();
  return name.endsWith('.') ? name.slice(0, -1) : name;
}

/**
 * A path as those backends read it that resolve the most (and as nginx matches locations): percent-encoded ASCII decoded
 * once, backslashes and repeated slashes as one slash, `.` and `..` segments resolved.
 */
function resolvePath(path: string): string {
  const decoded = path.replaceAll(/%([0-7][0-9a-f])/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
  const out = [''];
  let segment = '';
  for (segment of decoded.replaceAll('\\', '/').split('/')) {
    if (segment === '..') {
      if (out.length > 1) out.pop();
    } else if (segment !== '.' && segment !== '') out.push(segment);
  }
  // A dot segment at the end leaves the slash before it (RFC 3986 §5.2.4).
  if (segment === '' || segment === '.' || segment === '..') out.push('');
  return out.join('/') || '/';
}

/**
 * The path by which a target is routed: nobody reaches the backend of one route past its rules by spelling its path
 * differently under another. The target itself is forwarded as it came (A1).
 */
function routingPath(target: string): string {
  const query = target.indexOf('?');
  const path = query < 0 ? target : target.slice(0, query);
  return /\/[./]|[%\\]/.test(path) ? resolvePath(path) : path;
}

function servesPath(prefix: string, path: string): boolean {
  if (!path.startsWith(prefix)) return false;
  return prefix.endsWith('/') || path.length === prefix.length || path[prefix.length] === '/';
}

/**
 * Builds the routing table of all apps: exact host before wildcard (the longer one first) before `*`; within a host
 * the longest prefix. Pure; a change of apps makes a new table.
 *
 * @param targetOf what to keep with each route
 */
export function createRouter<T>(
  apps: readonly AppSettings[],
  targetOf: (app: AppSettings, route: Route) => T,
): Router<T> {
  const exact = new Map<string, RouteEntry<T>[]>();
  const wildcard = new Map<string, RouteEntry<T>[]>();
  const any: RouteEntry<T>[] = [];
  for (const app of apps) {
    for (const route of app.access.routes) {
      const entry = { app, route, target: targetOf(app, route), caching: cachingOf(app, route) };
      const host = route.host.toLowerCase();
      if (host === '*') any.push(entry);
      else {
        const [table, key] = host.startsWith('*.') ? [wildcard, host.slice(1)] : [exact, host];
        const list = table.get(key);
        if (list === undefined) table.set(key, [entry]);
        else list.push(entry);
      }
    }
  }
  const suffixes = [...wildcard.keys()].sort((a, b) => b.length - a.length);
  for (const list of [...exact.values(), ...wildcard.values(), any]) {
    list.sort((a, b) => b.route.prefix.length - a.route.prefix.length);
  }
  const find = (list: RouteEntry<T>[] | undefined, path: string): RouteEntry<T> | undefined =>
    list?.find((entry) => servesPath(entry.route.prefix, path));

  return {
    match(host, target) {
      const path = target === '*' ? '/' : routingPath(target);
      if (exact.size > 0 || suffixes.length > 0) {
        const name = hostName(host);
        const found = find(exact.get(name), path);
        if (found !== undefined) return found;
        for (const suffix of suffixes) {
          if (name.endsWith(suffix) && name.length > suffix.length) {
            const below = find(wildcard.get(suffix), path);
            if (below !== undefined) return below;
          }
        }
      }
      return find(any, path);
    },
  };
}
