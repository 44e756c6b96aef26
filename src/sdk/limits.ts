/** Bounds of everything that waits or grows. Each can be set; these are the defaults. */
export interface QalLimits {
  /** Milliseconds for a call of the session endpoint, its answer included; and for `getUserSig`. */
  readonly sessionTimeoutMs: number;
  /**
   * Milliseconds that a server may send nothing, before the head of an answer or within its body; and for which a request
   * waits for another that asks for the same.
   */
  readonly silenceTimeoutMs: number;
  /** Milliseconds for one operation of the storage. */
  readonly storageTimeoutMs: number;
  /** After the first failure of the session endpoint the next attempt comes within this; it doubles with each. */
  readonly backoffMs: number;
  readonly maxBackoffMs: number;
  /** Largest body that is stored. All that are being received to be stored may together hold four times that. */
  readonly entryBytes: number;
}

export const defaultLimits: QalLimits = {
  sessionTimeoutMs: 10_000,
  silenceTimeoutMs: 30_000,
  storageTimeoutMs: 5_000,
  backoffMs: 1_000,
  maxBackoffMs: 60_000,
  entryBytes: 5 * 1_048_576,
};
