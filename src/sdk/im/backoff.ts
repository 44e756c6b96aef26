export interface BackoffLimits {
  /** The first attempt comes within this; it doubles with each that fails. */
  readonly backoffMs: number;
  readonly maxBackoffMs: number;
}

/** The longest that a service's `reconnectMs` holds us off. */
const maxHoldMs = 600_000;

/**
 * Milliseconds to wait before connecting again: full jitter, so that a million terminals which lost the same service do not
 * come back as one; and not before the service asked for it.
 *
 * @param attempt 0 for the first
 * @param random 0 … 1
 */
export function reconnectDelayMs(
  attempt: number,
  random: number,
  { backoffMs, maxBackoffMs }: BackoffLimits,
  reconnectMs = 0,
): number {
  const jitter = random * Math.min(maxBackoffMs, backoffMs * 2 ** attempt);
  return Math.max(jitter, Math.min(reconnectMs, maxHoldMs));
}
