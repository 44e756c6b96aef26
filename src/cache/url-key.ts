import type { SdkAppId } from '../wire/index.ts';

/** How a route's URLs are compared. */
export interface TargetRules {
  /** The order of query parameters means nothing. */
  readonly sortQuery: boolean;
  /** Names of parameters that mean nothing; with `*` at the end, how such names begin. */
  readonly dropParams: readonly string[];
}

/** A target in the form in which it is compared. It is forwarded as it came. */
export function comparedTarget(target: string, { sortQuery, dropParams }: TargetRules): string {
  if (!sortQuery && dropParams.length === 0) return target;
  const at = target.indexOf('?');
  if (at < 0) return target;
  let params = target.slice(at + 1).split('&');
  if (dropParams.length > 0) params = params.filter((param) => !isDropped(param.split('=', 1)[0] ?? '', dropParams));
  if (sortQuery) params.sort();
  const query = params.filter((param) => param !== '').join('&');
  return query === '' ? target.slice(0, at) : `${target.slice(0, at)}?${query}`;
}

function isDropped(name: string, dropped: readonly string[]): boolean {
  return dropped.some((one) => (one.endsWith('*') ? name.startsWith(one.slice(0, -1)) : name === one));
}

/**
 * The text under which what is stored for a URL is found. Scheme and host are what the client asked for; a default port
 * goes without saying.
 */
export function urlKey(app: SdkAppId, scheme: 'http' | 'https', host: string, target: string): string {
  return `${app} ${originOf(scheme, host)}${target}`;
}

function originOf(scheme: 'http' | 'https', host: string): string {
  const lower = host.toLowerCase();
  const defaultPort = scheme === 'https' ? ':443' : ':80';
  return `${scheme}://${lower.endsWith(defaultPort) ? lower.slice(0, -defaultPort.length) : lower}`;
}

/** What a purge ends (C14). All within one app. */
export type Purge = { readonly sdkAppId: SdkAppId } & (
  | { readonly by: 'url'; readonly url: string }
  | { readonly by: 'prefix'; readonly url: string }
  | { readonly by: 'tag'; readonly tag: string }
  | { readonly by: 'app' }
);

/** The URLs that a purge may concern begin so. */
export function purgedPrefix(purge: Purge): string {
  const app = `${purge.sdkAppId} `;
  return purge.by === 'url' || purge.by === 'prefix' ? app + purge.url : app;
}
