import { requestFieldNames } from '../cache/index.ts';

/**
 * What the proxy does with a request or response field, by its name. Names come from clients, so `_` counts as `-`, and
 * so does everything else that is no letter or digit: many backends read `QAL_Identifier` and `QAL-Identifier` as the
 * same variable, and some CGI gateways `QAL.Identifier` too (A11).
 */
export type FieldClass =
  /** Goes through as it came. */
  | 'end-to-end'
  /** Goes through too; the cache reads it. */
  | 'caching'
  /** Goes through too. Some backends take method or URL from it, so what is answered may be another's. */
  | 'override'
  /** Ends here: it speaks of this connection only (RFC 9110 §7.6.1). */
  | 'hop-by-hop'
  /** `QAL-*` and its spellings, the session aside: only we may set these. */
  | 'qal'
  | 'session'
  /** Says where a request came from; re-issued by us (A2). */
  | 'forwarded'
  /** X-Forwarded-Proto, -Host, -Port: kept when the peer is a trusted proxy. */
  | 'forwarded-detail'
  | 'host'
  | 'content-length'
  | 'transfer-encoding'
  | 'connection'
  | 'te'
  | 'expect'
  | 'trailer';

/** Fields by which frameworks let a client say that it means another method or another URL. */
const overrides = [
  'x-http-method',
  'x-http-method-override',
  'x-method-override',
  'x-original-url',
  'x-original-uri',
  'x-rewrite-url',
];

/** Does it go through as it came? */
export function isEndToEnd(kind: FieldClass): boolean {
  return kind === 'end-to-end' || kind === 'caching' || kind === 'override';
}

const byName: Record<string, FieldClass> = {
  ...Object.fromEntries(requestFieldNames.map((name) => [name, 'caching'] as const)),
  ...Object.fromEntries(overrides.map((name) => [name, 'override'] as const)),
  connection: 'connection',
  'proxy-connection': 'hop-by-hop',
  'keep-alive': 'hop-by-hop',
  upgrade: 'hop-by-hop',
  'http2-settings': 'hop-by-hop',
  'proxy-authorization': 'hop-by-hop',
  'proxy-authenticate': 'hop-by-hop',
  te: 'te',
  trailer: 'trailer',
  'transfer-encoding': 'transfer-encoding',
  'content-length': 'content-length',
  host: 'host',
  expect: 'expect',
  forwarded: 'forwarded',
  'x-real-ip': 'forwarded',
  'x-forwarded-proto': 'forwarded-detail',
  'x-forwarded-host': 'forwarded-detail',
  'x-forwarded-port': 'forwarded-detail',
};

function classify(name: string): FieldClass {
  const lower = name.toLowerCase();
  const exact = byName[lower];
  if (exact !== undefined) return exact;
  if (lower === 'qal-session') return 'session';
  const dashed = lower.replaceAll(/[^a-z0-9]/g, '-');
  if (dashed.startsWith('qal-')) return 'qal';
  // With other marks these are no standard fields, but a backend may take them for such: never pass them on.
  const meant = byName[dashed];
  if (meant === 'override') return meant;
  if (dashed !== lower && meant !== undefined && meant !== 'caching') return 'forwarded';
  if (dashed.startsWith('x-forwarded-')) return 'forwarded';
  return 'end-to-end';
}

/** Spellings seen so far. Bounded, as clients choose them: a full table is emptied rather than grown. */
const maxKnownNames = 4_096;
/** Longer names are not worth their memory. */
const maxKnownChars = 64;

export interface FieldClasses {
  of(name: string): FieldClass;
}

/** Classifies field names; a name seen before costs one map look-up. */
export function createFieldClasses(): FieldClasses {
  const known = new Map<string, FieldClass>();
  return {
    of(name) {
      let found = known.get(name);
      if (found === undefined) {
        found = classify(name);
        if (name.length > maxKnownChars) return found;
        if (known.size >= maxKnownNames) known.clear();
        known.set(name, found);
      }
      return found;
    },
  };
}
