import type { Refusal, Result } from '../store/index.ts';
import type { SdkAppId } from '../wire/index.ts';
import { maxTagChars } from './stored-response.ts';
import type { Purge } from './url-key.ts';

/** Characters of a purge's URL at most, as JSON writes it: it has to fit into a message of the control bus. */
export const maxPurgeUrlChars = 4_096;

const kinds = ['url', 'prefix', 'tag', 'all'] as const;
const allowedKinds = 'exactly one of url, prefix, tag, all';
const allowedUrl = 'an absolute http or https URL, such as https://api.example.com/x?y=1';
const allowedPrefix = 'the beginning of URLs from the scheme to a path, such as https://api.example.com/static/';

/**
 * Reads what to purge: `{ url }`, `{ prefix }`, `{ tag }` or `{ all: true }`, exactly one of them. A URL comes out in the
 * form in which URLs are stored: scheme and host in lower case, no default port, path and query as they are written. Pure.
 */
export function parsePurge(sdkAppId: SdkAppId, input: unknown): Result<Purge> {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    return { ok: false, code: 'INVALID_FIELD', reason: 'what to purge is no object', allowed: allowedKinds };
  }
  const given = Object.keys(input);
  const unknown = given.find((name) => !kinds.some((kind) => kind === name));
  if (unknown !== undefined) return refused(unknown, 'is not a known field', allowedKinds);
  const [kind, second] = kinds.filter((name) => Object.hasOwn(input, name));
  if (kind === undefined) return refused('url', 'is missing, and so are prefix, tag and all', allowedKinds);
  if (second !== undefined) return refused(second, `stands beside ${kind}`, allowedKinds);
  const value: unknown = Reflect.get(input, kind);
  switch (kind) {
    case 'all':
      return value === true ? { ok: true, value: { sdkAppId, by: 'app' } } : refused('all', 'is not true', 'true');
    case 'tag':
      return readTag(sdkAppId, value);
    default:
      return readUrl(sdkAppId, kind, value);
  }
}

function refused(field: string, reason: string, allowed: string): Refusal {
  return { ok: false, code: 'INVALID_FIELD', field, reason, allowed };
}

function readTag(sdkAppId: SdkAppId, tag: unknown): Result<Purge> {
  const allowed = `a tag as Cache-Tag or Surrogate-Key names it: 1 to ${maxTagChars} printable ASCII characters, no comma`;
  if (typeof tag !== 'string') return refused('tag', 'is no text', allowed);
  if (tag.length > maxTagChars) return refused('tag', `is longer than ${maxTagChars} characters`, allowed);
  // A comma, or a space at its end, belongs to no tag: the purge would find nothing, without a word.
  if (!/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(tag) || tag.includes(',')) {
    return refused('tag', 'has characters that a tag cannot have, or none', allowed);
  }
  return { ok: true, value: { sdkAppId, by: 'tag', tag } };
}

function readUrl(sdkAppId: SdkAppId, kind: 'url' | 'prefix', text: unknown): Result<Purge> {
  const allowed = kind === 'url' ? allowedUrl : allowedPrefix;
  if (typeof text !== 'string') return refused(kind, 'is no text', allowed);
  if (JSON.stringify(text).length - 2 > maxPurgeUrlChars) {
    return refused(kind, `is longer than ${maxPurgeUrlChars} characters; quotes and backslashes count twice`, allowed);
  }
  if (!/^[\x21-\x7e]*$/.test(text)) {
    return refused(kind, 'has characters that have to be percent-encoded, such as spaces', allowed);
  }
  const [, scheme, authority = '', rest = ''] = /^(https?):\/\/([^/?#]*)(.*)$/i.exec(text) ?? [];
  if (scheme === undefined) return refused(kind, 'does not begin with http:// or https://', allowed);
  if (rest.includes('#')) return refused(kind, 'has a fragment, which servers never see', allowed);
  if (authority.includes('@')) return refused(kind, 'has a user name, which is no part of what is stored', allowed);
  const origin = originOf(scheme, authority);
  if (origin === undefined) return refused(kind, 'names no host, or a wrong port', allowed);
  // A prefix that ends within the host would end more than anybody means.
  if (kind === 'prefix' && !rest.startsWith('/')) return refused(kind, 'does not reach to the / of the path', allowed);
  // Path and query stay as written: they are stored as clients write them.
  return { ok: true, value: { sdkAppId, by: kind, url: origin + (rest.startsWith('/') ? rest : `/${rest}`) } };
}

function originOf(scheme: string, authority: string): string | undefined {
  const url = `${scheme}://${authority}/`;
  if (authority === '' || !URL.canParse(url)) return undefined;
  const { origin, pathname } = new URL(url);
  return pathname === '/' ? origin : undefined;
}

/** Takes a purge's URL apart, which {@link parsePurge} has read: as stored URLs are, nothing escaped and nothing resolved. */
export function splitPurgeUrl(url: string): { origin: string; host: string; target: string } {
  const hostAt = url.indexOf('//') + 2;
  const targetAt = url.indexOf('/', hostAt);
  return { origin: url.slice(0, targetAt), host: url.slice(hostAt, targetAt), target: url.slice(targetAt) };
}
