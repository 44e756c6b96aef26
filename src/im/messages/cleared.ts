import type { BeforeOutcome } from '../../wire/index.ts';
import type { SendInput } from '../services.ts';

/** A message whose final content is known, with the numbers that it has from now on. */
export interface Cleared {
  /** As it was sent, of several that are the same message as the first one was. */
  readonly input: SendInput;
  readonly body: readonly unknown[];
  /** Unix seconds. */
  readonly time: number;
  readonly msgSeq: number;
  /** What became of the question to the app's backend. */
  readonly before: BeforeOutcome;
}
