/** Why a request went on to the origin (RFC 9211 §2.2). */
export type Forwarded = 'bypass' | 'method' | 'uri-miss' | 'vary-miss' | 'request' | 'stale';

/** What the answer to one request has to say of the cache (C13; RFC 9211). */
export interface CacheStatus {
  /** It came from the store, and nothing was asked. */
  readonly hit?: boolean;
  readonly forwarded?: Forwarded | undefined;
  /** Status of the origin's answer, where it is not that of this one. */
  readonly forwardedStatus?: number | undefined;
  readonly stored?: boolean;
  readonly collapsed?: boolean;
  /** Milliseconds of freshness left; negative: stale for so long. */
  readonly ttlMs?: number | undefined;
  /** The rule that decided, a token. */
  readonly detail?: string | undefined;
}

/** Writes it as a member of the field Cache-Status. */
export function formatCacheStatus(name: string, status: CacheStatus): string {
  let text = name;
  if (status.hit === true) text += '; hit';
  if (status.forwarded !== undefined) text += `; fwd=${status.forwarded}`;
  if (status.forwardedStatus !== undefined) text += `; fwd-status=${status.forwardedStatus}`;
  if (status.ttlMs !== undefined) text += `; ttl=${Math.floor(status.ttlMs / 1_000)}`;
  if (status.stored === true) text += '; stored';
  if (status.collapsed === true) text += '; collapsed';
  if (status.detail !== undefined) text += `; detail=${status.detail}`;
  return text;
}
