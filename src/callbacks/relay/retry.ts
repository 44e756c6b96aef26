import type { PostResult } from '../endpoint/poster.ts';

/** What to make of an attempt to tell. `endpoint`: whether it speaks against the endpoint, or against this event alone. */
export type Verdict =
  | { readonly kind: 'delivered'; readonly status: number }
  | { readonly kind: 'again'; readonly endpoint: boolean; readonly afterMs?: number }
  /** Trying again cannot help. */
  | { readonly kind: 'never'; readonly reason: 'too-large' }
  /** 410: the backend does not want any more. */
  | { readonly kind: 'gone' };

/** Statuses with which something in front of the backend, or all of it, says that it is not there. */
const endpointStatuses = new Set([429, 502, 503, 504]);

/**
 * Any 2xx is an acknowledgement: what the answer to an after-callback says is ignored (API §10.1). Everything else is tried again: a
 * backend that was deployed with a fault answers 4xx, too, and what it missed is not to be lost (K6). Pure.
 */
export function judge(result: PostResult): Verdict {
  if (result.kind === 'failed') return { kind: 'again', endpoint: true };
  const { status, retryAfterMs } = result;
  if (status >= 200 && status < 300) return { kind: 'delivered', status };
  if (status === 410) return { kind: 'gone' };
  if (status === 413) return { kind: 'never', reason: 'too-large' };
  return {
    kind: 'again',
    endpoint: endpointStatuses.has(status),
    ...(retryAfterMs === undefined ? {} : { afterMs: Math.min(retryAfterMs, maxRetryAfterMs) }),
  };
}

const firstDelayMs = 1_000;
const maxDelayMs = 300_000;
/** A backend that asks for more is asked again all the same. */
const maxRetryAfterMs = 3_600_000;

/**
 * How long after the n-th failed attempt in a row the next one is due: 1 s, 2 s, 4 s, … 5 min, each up to a quarter shorter or longer, so
 * that lanes which failed together do not come back together. What the backend asked for is the least. Pure; `random`: 0 … 1.
 */
export function retryDelayMs(failures: number, random: number, askedMs = 0): number {
  const base = Math.min(firstDelayMs * 2 ** Math.min(failures - 1, 20), maxDelayMs);
  return Math.max(Math.round(base * (0.75 + random / 2)), askedMs);
}
