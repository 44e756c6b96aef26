import ipaddr from 'ipaddr.js';
import type { AppSettings } from './app-settings.ts';
import { findGroupFault } from './group-rules.ts';
import { findPushGap } from './push-keys.ts';
import type { Refusal } from './result.ts';

/** What must hold over apps and cannot be said in their schema. Pure. */

/** What an app lacks by itself, whatever others there are; undefined: nothing. */
export function findAppGap(app: AppSettings): Refusal | undefined {
  return findUnstorableText(app) ?? findCallbackGap(app) ?? findPushGap(app) ?? findGroupFault(app);
}

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

/** The refusal of callbacks that lack what they need; undefined: none. */
export function findCallbackGap({ callbacks }: AppSettings): Refusal | undefined {
  const { url, secret, commands, clientCertFile, clientKeyFile, allowPrivateNetwork } = callbacks;
  const urls = [url, ...commands.map((one) => one.url)].filter((one) => one !== undefined);
  if (urls.length > 0 && secret === undefined) {
    const reason = 'is missing: every callback is signed (K5)';
    return { ok: false, code: 'INVALID_FIELD', field: 'callbacks.secret', reason, allowed: signingSecretForm };
  }
  if (urls.some((one) => !URL.canParse(one))) {
    return {
      ok: false,
      code: 'INVALID_FIELD',
      field: 'callbacks.url',
      reason: 'is not a URL',
      allowed: 'http://… or https://…',
    };
  }
  if ((clientCertFile === undefined) !== (clientKeyFile === undefined)) {
    const missing = clientCertFile === undefined ? 'clientCertFile' : 'clientKeyFile';
    const reason = 'is missing: a certificate and its key go together';
    return { ok: false, code: 'INVALID_FIELD', field: `callbacks.${missing}`, reason, allowed: 'both, or neither' };
  }
  const networks = typeof allowPrivateNetwork === 'boolean' ? [] : allowPrivateNetwork;
  const network = networks.findIndex((one) => !isNetwork(one));
  if (network >= 0) {
    const field = `callbacks.allowPrivateNetwork[${network}]`;
    const allowed = 'an IP address or a CIDR block such as 10.1.0.0/16';
    return { ok: false, code: 'INVALID_FIELD', field, reason: 'is no address', allowed };
  }
  const twice = commands.findIndex(
    (one, index) => commands.findIndex(({ command }) => command === one.command) < index,
  );
  if (twice >= 0) {
    const field = `callbacks.commands[${twice}].command`;
    return { ok: false, code: 'INVALID_FIELD', field, reason: 'stands twice', allowed: 'one entry a command' };
  }
  return undefined;
}

/** Only what cannot be read in two ways: `10/8` and `010.0.0.1` would allow nothing, or something else than was meant. */
function isNetwork(text: string): boolean {
  const [address = '', bits] = text.split('/');
  if (!address.includes(':') && !ipaddr.IPv4.isValidFourPartDecimal(address)) return false;
  if (bits === undefined) return ipaddr.isValid(address);
  if (!ipaddr.isValidCIDR(text)) return false;
  const parsed = ipaddr.parse(address);
  // A block of mapped addresses that is larger than all of IPv4.
  return !(parsed instanceof ipaddr.IPv6 && parsed.isIPv4MappedAddress() && Number(bits) < 96);
}

const signingSecretForm = '`whsec_` and 24 to 64 random bytes in base64';

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
