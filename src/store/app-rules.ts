import type { AppSettings } from './app-settings.ts';
import type { Refusal } from './result.ts';

/** What must hold over apps and cannot be said in their schema. Pure. */

/** The refusal of an app that claims a route which it or another app has already; undefined: none. */
export function findRouteClash(app: AppSettings, others: readonly AppSettings[]): Refusal | undefined {
  const owners = new Map<string, AppSettings>();
  for (const other of others) {
    if (other.sdkAppId === app.sdkAppId) continue;
    for (const route of other.access.routes) owners.set(routeKey(route), other);
  }
  for (const [index, route] of app.access.routes.entries()) {
    const owner = owners.get(routeKey(route));
    owners.set(routeKey(route), app);
    if (owner === undefined) continue;
    const whose = owner === app ? 'this app names it twice' : `app ${nameOf(owner)} has it`;
    return {
      ok: false,
      code: owner === app ? 'INVALID_FIELD' : 'CONFLICT',
      field: `access.routes[${index}]`,
      reason: `the route of host ${route.host} and prefix ${route.prefix} can belong to one app once, and ${whose}`,
      allowed: 'another host or prefix',
    };
  }
  return undefined;
}

/** The refusal of text that PostgreSQL cannot store: U+0000 and halves of surrogate pairs; undefined: none. */
export function findUnstorableText(value: unknown, field = ''): Refusal | undefined {
  if (typeof value === 'string') {
    if (value.isWellFormed() && !value.includes('\0')) return undefined;
    const reason = 'holds U+0000 or half of a surrogate pair';
    return { ok: false, code: 'INVALID_FIELD', field, reason, allowed: 'well-formed Unicode without U+0000' };
  }
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [name, part] of Object.entries(value)) {
    const path = Array.isArray(value) ? `${field}[${name}]` : field === '' ? name : `${field}.${name}`;
    const found = findUnstorableText(part, path);
    if (found !== undefined) return found;
  }
  return undefined;
}

function routeKey(route: { host: string; prefix: string }): string {
  return `${route.host.toLowerCase()} ${route.prefix}`;
}

function nameOf(app: AppSettings): string {
  return app.name === undefined ? String(app.sdkAppId) : `${app.sdkAppId} (${app.name})`;
}
