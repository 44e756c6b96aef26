import type { AfterReason, BeforeOutcome } from '../../wire/index.ts';

/** Who is told of a message, a bit each, and why the app's backend is not. */
export interface Told {
  readonly consumers: number;
  readonly after: AfterReason;
}

/** What a send says of its own callbacks. */
export interface CallbackWishes {
  readonly isImport: boolean;
  readonly withoutBefore?: 'forbidden' | 'kind' | undefined;
  readonly withoutAfter?: 'forbidden' | 'kind' | undefined;
}

/** The bits of `Consumers`. */
const callbacksBit = 1;
const pushesBit = 2;

/** Whether the app's backend is asked about a message (M12), or else why not (O3). `wants`: undefined where nobody can be asked. */
export function askedOf(
  { isImport, withoutBefore }: CallbackWishes,
  wants: boolean | undefined,
): 'ask' | BeforeOutcome {
  if (wants === undefined) return 'none';
  if (isImport) return 'unasked-kind';
  if (withoutBefore !== undefined) return `unasked-${withoutBefore}`;
  return wants ? 'ask' : 'unasked-off';
}

/**
 * Who is told of a message: nobody of imports (I3), pushes also of those without callbacks (B3). `consumers`: who would be; undefined
 * where there is nobody.
 */
export function toldOf({ isImport, withoutAfter }: CallbackWishes, consumers: number | undefined): Told {
  if (consumers === undefined) return { consumers: 0, after: 'none' };
  if (isImport) return { consumers: 0, after: 'kind' };
  if (withoutAfter !== undefined) return { consumers: consumers & ~callbacksBit, after: withoutAfter };
  return { consumers, after: wantsCallback(consumers) ? 'told' : 'off' };
}

export function wantsCallback(consumers: number): boolean {
  return (consumers & callbacksBit) !== 0;
}

/** Whether anybody gets an entry in the outbox. */
export function isTold({ consumers }: Pick<Told, 'consumers'>): boolean {
  return consumers !== 0;
}

/** As it was, but that it is pushed to nobody. */
export function unpushed(told: Told): Told {
  return { ...told, consumers: told.consumers & ~pushesBit };
}
