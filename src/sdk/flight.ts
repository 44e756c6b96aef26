import type { Variant } from './variant.ts';

/** What became of a request that others wait for, too. */
export interface Outcome {
  /** What it stored. Undefined: nothing, each goes its own way. */
  readonly variant?: Variant;
  /** A 304 said that it holds. */
  readonly unchanged?: boolean;
  /** The server or the network failed. */
  readonly failed?: boolean;
  /** Where there was no answer, not even a 5xx. */
  readonly error?: unknown;
  /** Whoever began it gave it up: somebody else may begin it anew. */
  readonly abandoned?: boolean;
}

/** One request on its way to be stored. */
export interface Flight {
  readonly url: string;
  readonly outcome: Promise<Outcome>;
  settle(outcome: Outcome): void;
  /** What it brings was made before something that ended it: a purge, an unsafe method, a change of account. */
  isDoomed: boolean;
}

export function createFlight(url: string): Flight {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  return { url, outcome: promise, settle: resolve, isDoomed: false };
}
