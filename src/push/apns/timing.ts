/** How long what may take; milliseconds. */
export interface ApnsTiming {
  /** From the wish to send a push to its outcome, the connection and everything included. */
  readonly requestMs: number;
  /** Until a new connection may be used. */
  readonly connectMs: number;
  /** Silence after which a connection is asked whether it is alive: where nothing is in flight, and where something is. */
  readonly idleMs: number;
  readonly quietMs: number;
  /** Without an answer to that it is dead. */
  readonly pingMs: number;
  /** Between two looks at all that. */
  readonly tickMs: number;
  /** What is under way when the client is closed. */
  readonly closeMs: number;
}

/** PUSH §1.4; deadlines of 10 s and of PINGs are choices there. */
export const defaultTiming: ApnsTiming = {
  requestMs: 10_000,
  connectMs: 5_000,
  idleMs: 60_000,
  quietMs: 3_000,
  pingMs: 3_000,
  tickMs: 250,
  closeMs: 2_000,
};
