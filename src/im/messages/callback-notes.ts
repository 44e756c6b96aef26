import type { AfterReason, BeforeOutcome } from '../../wire/index.ts';
import type { BeforeSend, Consumers } from '../ports.ts';
import type { SendInput } from '../services.ts';

/** Who is told of a message, a bit each, and why the app's backend is not. */
export interface Told {
  readonly consumers: number;
  readonly after: AfterReason;
}

/** The bit of `Consumers` that stands for callbacks. */
const callbacksBit = 1;

/** Whether the app's backend is asked about a message (M12), or else why not (O3). */
export function askedOf(
  { from, draft, withoutBefore }: SendInput,
  port: Pick<BeforeSend, 'wants'> | undefined,
): 'ask' | BeforeOutcome {
  if (port === undefined) return 'none';
  if (draft.importedTime !== undefined) return 'unasked-kind';
  if (withoutBefore !== undefined) return `unasked-${withoutBefore}`;
  return port.wants(from.sdkAppId) ? 'ask' : 'unasked-off';
}

/** Who is told of a message: nobody of imports (I3), pushes also of those without callbacks (B3). */
export function toldOf({ from, draft, withoutAfter }: SendInput, port: Consumers | undefined): Told {
  if (port === undefined) return { consumers: 0, after: 'none' };
  if (draft.importedTime !== undefined) return { consumers: 0, after: 'kind' };
  const all = port(from.sdkAppId, 'C2C.CallbackAfterSendMsg');
  if (withoutAfter !== undefined) return { consumers: all & ~callbacksBit, after: withoutAfter };
  return { consumers: all, after: wantsCallback(all) ? 'told' : 'off' };
}

export function wantsCallback(consumers: number): boolean {
  return (consumers & callbacksBit) !== 0;
}
