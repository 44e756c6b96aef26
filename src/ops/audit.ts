import type { FastifyRequest } from 'fastify';
import { changedCampaign } from './campaign-commands.ts';

/** On what a change acts, as the audit log says it. All of it is what the caller wrote: so cut, and perhaps wrong. */

const maxChars = 200;
/** What changes of callbacks and pushes say. A URL may carry a key, and is left out. */
const shownFields = [
  'source',
  'state',
  'command',
  'channel',
  'campaign',
  'account',
  'from',
  'to',
  'group',
  'urlHash',
  'since',
  'until',
  'all',
  'preview',
];

/** `1400000000`, `1400000000/alice`, `1400000000/tag product-17`, `1400000000/drop state=waiting`. */
export function targetOf(request: FastifyRequest): string {
  const { body } = request;
  const { sdkAppId } = request.params as { sdkAppId?: string };
  return joined([sdkAppId || (hasField(body, 'sdkAppId') ? body.sdkAppId : ''), ...partsOf(request)]);
}

function partsOf({ body, url, params, routeOptions }: FastifyRequest): unknown[] {
  const account = hasField(body, 'account') ? body.account : '';
  switch (routeOptions.config.command) {
    case 'ops.callback.write':
    case 'ops.push.write':
      return [saidOf(/\/(?:callbacks|pushes)\/([a-z/0-9-]*)/.exec(url)?.[1] ?? '', body)];
    case 'ops.campaign.write':
      return changedCampaign(params, url);
    case 'ops.cache.purge':
      return [account, ...purgedOf(body)];
    case 'ops.callback.test':
      return [account, hasField(body, 'url') ? `to ${withoutSecrets(String(body.url))}` : ''];
    case 'ops.queue.write':
      return [hasField(params, '*') ? params['*'] : ''];
    default:
      return [account];
  }
}

/** The same of a change by the command line: `drop`, and the fields that it was called with. */
export function commandTarget(sdkAppId: number, change: string, fields: object): string {
  return joined([sdkAppId, saidOf(change, fields)]);
}

/** `drop state=waiting ids=17,18`. */
function saidOf(change: string, fields: unknown): string {
  const values =
    typeof fields === 'object' && fields !== null ? new Map<string, unknown>(Object.entries(fields)) : new Map();
  const ids: unknown = values.get('ids');
  const said = shownFields.flatMap((name) => {
    const value: unknown = values.get(name);
    return ['string', 'number', 'boolean'].includes(typeof value) ? `${name}=${String(value).slice(0, 48)}` : [];
  });
  const named = Array.isArray(ids) ? `ids=${ids.slice(0, 5).map(String).join(',')}${ids.length > 5 ? ',…' : ''}` : [];
  return [change, ...said, named].flat().join(' ');
}

/** What a purge is to end. */
function purgedOf(body: unknown): string[] {
  if (hasField(body, 'all')) return ['all'];
  return ['url', 'prefix', 'tag'].flatMap((name) => {
    const value = hasField(body, name) ? body[name] : undefined;
    return typeof value === 'string' ? `${name} ${name === 'tag' ? value : withoutSecrets(value)}` : [];
  });
}

/** A URL without query and user name. */
function withoutSecrets(url: string): string {
  return url.replace(/[?#].*/s, '').replace(/\/\/[^/]*@/, '//');
}

function joined(parts: readonly unknown[]): string {
  return parts
    .filter((part) => (typeof part === 'string' && part !== '') || typeof part === 'number')
    .join('/')
    .slice(0, maxChars);
}

export function hasField<K extends string>(value: unknown, name: K): value is Record<K, unknown> {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name);
}
