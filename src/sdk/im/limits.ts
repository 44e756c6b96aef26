/** Bounds of everything that waits or grows. Each can be set; these are the defaults. */
export interface ImLimits {
  /** Milliseconds until a link is open and its login answered. */
  readonly connectTimeoutMs: number;
  /** Milliseconds for the answer to a request; then the link is tried. */
  readonly requestTimeoutMs: number;
  /** Milliseconds that the service may say nothing after a heartbeat; then the link is taken for dead. */
  readonly beatTimeoutMs: number;
  /** Milliseconds that `login` goes on trying before it says that it does not work; the client tries on. */
  readonly loginTimeoutMs: number;
  /** Milliseconds that a message is sent and sent again before it has failed. */
  readonly sendTimeoutMs: number;
  /** Milliseconds for one operation of the storage. */
  readonly storageTimeoutMs: number;
  /** The first attempt to connect again comes within this; it doubles with each that fails. */
  readonly backoffMs: number;
  readonly maxBackoffMs: number;
  /** Messages of one conversation that are stored; the oldest go, in blocks of 64 seqs. What is older comes from the service. */
  readonly messagesPerConversation: number;
  /** Conversations that are known; the one that was used longest ago goes. */
  readonly conversations: number;
  /** Messages that are on their way or have failed; above it sending fails with `BUSY`, failed ones go first. */
  readonly unsent: number;
  /** Events that wait to be handled; above it the link is made anew, and what is missing fetched. */
  readonly waitingEvents: number;
  /** Bytes of stored messages that are held in memory beside the storage. */
  readonly cacheBytes: number;
}

export const defaultImLimits: ImLimits = {
  connectTimeoutMs: 10_000,
  requestTimeoutMs: 10_000,
  beatTimeoutMs: 10_000,
  loginTimeoutMs: 20_000,
  sendTimeoutMs: 60_000,
  storageTimeoutMs: 5_000,
  backoffMs: 500,
  maxBackoffMs: 30_000,
  messagesPerConversation: 1_000,
  conversations: 1_000,
  unsent: 500,
  waitingEvents: 5_000,
  cacheBytes: 8_388_608,
};
