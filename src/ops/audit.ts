import type { FastifyRequest } from 'fastify';
import { auditTarget, changeText } from '../observe/index.ts';
import { changedCampaign } from './campaign-commands.ts';

/** On what a change acts, as the audit log says it. All of it is what the caller wrote: so cut, and perhaps wrong. */

/** `1400000000`, `1400000000/alice`, `1400000000/tag product-17`, `1400000000/drop state=waiting`. */
export function targetOf(request: FastifyRequest): string {
  const { body } = request;
  const { sdkAppId } = request.params as { sdkAppId?: string };
  return auditTarget([sdkAppId || (hasField(body, 'sdkAppId') ? body.sdkAppId : ''), ...partsOf(request)]);
}

function partsOf({ body, url, params, routeOptions }: FastifyRequest): unknown[] {
  const account = hasField(body, 'account') ? body.account : '';
  switch (routeOptions.config.command) {
    case 'ops.callback.write':
    case 'ops.push.write':
      return [changeText(/\/(?:callbacks|pushes)\/([a-z/0-9-]*)/.exec(url)?.[1] ?? '', body)];
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

/** What a purge is to end, without what may be secret in its URL. Pure. */
export function purgedOf(body: unknown): string[] {
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

export function hasField<K extends string>(value: unknown, name: K): value is Record<K, unknown> {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name);
}
