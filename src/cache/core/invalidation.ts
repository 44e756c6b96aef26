import { type RawFields, valuesOf } from './raw-fields.ts';

/** Methods of which the registry says that they change nothing (RFC 9110 §9.2.1). */
const safe = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PROPFIND', 'REPORT', 'SEARCH', 'QUERY']);

/** Does an answer to this request end what is stored for its URL (RFC 9111 §4.4)? Also when the method is unknown. */
export function invalidates(method: string, status: number): boolean {
  return !safe.has(method) && status >= 200 && status <= 399;
}

/**
 * URLs of the same origin that a response to an unsafe request names in Location and Content-Location.
 * @param url of the request, absolute
 * @returns paths with their queries
 */
export function namedTargets(raw: RawFields, url: string): string[] {
  if (!URL.canParse(url)) return [];
  const base = new URL(url);
  const targets: string[] = [];
  for (const value of [...valuesOf(raw, 'location'), ...valuesOf(raw, 'content-location')]) {
    if (!URL.canParse(value, base.href)) continue;
    const named = new URL(value, base);
    if (named.origin !== base.origin) continue;
    targets.push(named.pathname + named.search);
    // What is stored goes by the target as it was asked for: also as it is written here, nothing resolved or escaped.
    const written = /^(?:https?:\/\/[^/?#]+)?(\/(?!\/)[^#]*)/i.exec(value)?.[1];
    if (written !== undefined && written !== targets.at(-1)) targets.push(written);
  }
  return targets;
}
