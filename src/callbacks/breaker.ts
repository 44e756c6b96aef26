/**
 * A circuit breaker: whether to try an endpoint at all (K7).
 *
 * Closed, everything goes. After so many failures in a row it opens: nothing goes but one real call from time to time, as a probe.
 * While one is out the breaker is half-open; it closes by whatever success is told, and stays open by the probe's failure.
 *
 * A call that was sent before the breaker opened, or before its latest probe, may fail long after it; that says nothing new and is
 * passed over. Otherwise the calls that hung when the endpoint died would open the breaker again after it has come back.
 *
 * Pure: no timer, no clock. Times are of one clock that never goes back, `performance.now()`.
 */
export interface Breaker {
  /** Whether a call may go now. Whoever gets `go` or `probe` tells how it ended. */
  admit(nowMs: number): Admission;
  /** There was an answer. */
  succeeded(): void;
  /** @param sentMs when the call that failed was admitted */
  failed(nowMs: number, sentMs?: number): void;
  readonly state: BreakerState;
  /** When the next probe may go; undefined: the breaker is closed. */
  readonly nextProbeMs: number | undefined;
}

export type Admission = 'go' | 'probe' | 'no';
export type BreakerState = 'closed' | 'half-open' | 'open';

export interface BreakerOptions {
  /** Failures in a row that open it, 1 or more; `Infinity`: never. */
  failures: number;
  /** From the opening to the first probe, and from probe to probe. */
  probeEveryMs: number;
  /**
   * How long a probe that has not been told about holds back the next one, at least `probeEveryMs`. Nothing holds back longer: a
   * probe of which nobody ever tells is followed by another one.
   */
  probeForMs?: number;
}

export function createBreaker({ failures, probeEveryMs, probeForMs = probeEveryMs }: BreakerOptions): Breaker {
  const holdMs = Math.max(probeEveryMs, probeForMs);
  let state: BreakerState = 'closed';
  let inRow = 0;
  /** When it opened or, if later, when the latest probe was sent. */
  let turnedMs = Number.NEGATIVE_INFINITY;
  const nextProbeMs = (): number => turnedMs + (state === 'half-open' ? holdMs : probeEveryMs);

  return {
    admit(nowMs) {
      if (state === 'closed') return 'go';
      if (nowMs < nextProbeMs()) return 'no';
      state = 'half-open';
      turnedMs = nowMs;
      return 'probe';
    },
    succeeded() {
      state = 'closed';
      inRow = 0;
    },
    failed(nowMs, sentMs = nowMs) {
      if (sentMs < turnedMs) return;
      if (state !== 'closed') {
        state = 'open';
        return;
      }
      inRow += 1;
      if (inRow < failures) return;
      inRow = 0;
      state = 'open';
      turnedMs = nowMs;
    },
    get state() {
      return state;
    },
    get nextProbeMs() {
      return state === 'closed' ? undefined : nextProbeMs();
    },
  };
}
