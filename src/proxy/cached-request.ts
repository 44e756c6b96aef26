import {
  type CacheRequest,
  comparedTarget,
  type FetchEvents,
  parseRequest,
  type RequestFacts,
  type Upstream,
  urlKey,
} from '../cache/index.ts';
import type { Admitted } from './admission.ts';
import type { Deadlines } from './deadlines.ts';
import type { FieldClasses } from './header-fields.ts';
import type { RequestHead } from './request-head.ts';
import { UpstreamFetch } from './upstream-fetch.ts';
import { upstreamHead } from './upstream-head.ts';

export interface CachedRequestFacts {
  readonly head: RequestHead;
  readonly admission: Admitted;
  /** Of the connection on which it came. */
  readonly encrypted: boolean;
  readonly versionMinor: number;
  readonly address: string;
  readonly requestId: string;
}

const ownConditions = new Set(['if-none-match', 'if-modified-since']);
const ranges = new Set(['range', 'if-range']);

/** A request as the cache sees it, and how the cache asks an origin on its behalf. */
export class CachedRequest implements CacheRequest, Upstream {
  readonly url: string;
  readonly facts: RequestFacts;
  /** The last request that was made on its behalf. */
  lastFetch: UpstreamFetch | undefined;
  #of: CachedRequestFacts;
  #shared: { deadlines: Deadlines; classes: FieldClasses };
  #fields: Map<string, string> | undefined;

  constructor(of: CachedRequestFacts, shared: { deadlines: Deadlines; classes: FieldClasses }, nowMs: number) {
    this.#of = of;
    this.#shared = shared;
    const { head, admission } = of;
    this.url = this.urlOf(head.target);
    this.facts = parseRequest(head.method, head.cacheFields, {
      hasSession: admission.claims !== undefined,
      hasBody: head.body !== 'none',
      nowMs,
    });
  }

  /** What a trusted proxy says of the client's connection tells answers apart as their route does: a purge need not know it. */
  get route(): string {
    const { head, admission } = this.#of;
    return head.forwardedDetail === ''
      ? admission.entry.caching.route
      : admission.entry.caching.route + head.forwardedDetail;
  }

  get rules(): CacheRequest['rules'] {
    return this.#of.admission.entry.caching.rules;
  }

  get owner(): string | undefined {
    const { claims } = this.#of.admission;
    // A terminal's id is letters only: nothing of the account can pass for it.
    return claims === undefined ? undefined : `${claims.terminalId} ${claims.account ?? ''}`;
  }

  get overrides(): boolean {
    return this.#of.head.overrides;
  }

  get upstream(): Upstream {
    return this;
  }

  urlOf(target: string): string {
    const { head, admission, encrypted } = this.#of;
    const scheme = head.forwardedProto ?? (encrypted ? 'https' : 'http');
    const { app, caching } = admission.entry;
    return urlKey(app.sdkAppId, scheme, head.host, comparedTarget(target, caching.target));
  }

  fieldOf(name: string): string | undefined {
    this.#fields ??= this.#readFields();
    return this.#fields.get(name);
  }

  #readFields(): Map<string, string> {
    const { head, admission, versionMinor } = this.#of;
    const fields = new Map<string, string>([['host', head.host]]);
    if (head.acceptsTrailers) fields.set('te', 'trailers');
    for (const line of `${head.lines}Via: 1.${versionMinor} qalgate\r\n${admission.qalLines}`.split('\r\n')) {
      const colon = line.indexOf(':');
      if (colon < 0) continue;
      const name = line.slice(0, colon).toLowerCase();
      const value = line.slice(colon + 1).trim();
      const before = fields.get(name);
      fields.set(name, before === undefined ? value : `${before}, ${value}`);
    }
    return fields;
  }

  fetch(asked: Parameters<Upstream['fetch']>[0], events: FetchEvents): UpstreamFetch {
    const { head, admission, versionMinor, address, requestId } = this.#of;
    const { validators, whole } = asked;
    let { lines } = head;
    if (validators !== undefined) lines = without(lines, ownConditions);
    if (whole) lines = without(lines, ranges);
    if (validators !== undefined && validators.etags.length > 0) {
      lines += `If-None-Match: ${validators.etags.join(', ')}\r\n`;
    }
    if (validators?.lastModified !== undefined) lines += `If-Modified-Since: ${validators.lastModified}\r\n`;
    const text = (authority: string): string =>
      upstreamHead({ ...head, method: 'GET', lines }, authority, {
        versionMinor,
        qalLines: admission.qalLines,
        address,
        requestId,
      });
    const fetch = new UpstreamFetch(this.#shared, admission.entry.target, text, events);
    this.lastFetch = fetch;
    fetch.start();
    return fetch;
  }
}

function without(lines: string, names: ReadonlySet<string>): string {
  return lines
    .split('\r\n')
    .filter((line) => !names.has(line.slice(0, Math.max(0, line.indexOf(':'))).toLowerCase()))
    .join('\r\n');
}
