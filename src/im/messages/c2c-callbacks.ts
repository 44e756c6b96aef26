import type { BeforeOutcome } from '../../wire/index.ts';
import type { ImPorts } from '../ports.ts';
import type { SendInput } from '../services.ts';
import { askedOf, type CallbackWishes, type Told, toldOf } from './callback-notes.ts';

/** Whether the app's backend is asked about a one-to-one message, or else why not. */
export function c2cAskedOf(input: SendInput, { beforeSend }: Pick<ImPorts, 'beforeSend'>): 'ask' | BeforeOutcome {
  return askedOf(wishesOf(input), beforeSend?.wants(input.from.sdkAppId));
}

/** Who is told of a one-to-one message. */
export function c2cToldOf(input: SendInput, { consumers }: Pick<ImPorts, 'consumers'>): Told {
  return toldOf(wishesOf(input), consumers?.(input.from.sdkAppId, 'C2C.CallbackAfterSendMsg'));
}

function wishesOf({ draft, withoutBefore, withoutAfter }: SendInput): CallbackWishes {
  return { isImport: draft.importedTime !== undefined, withoutBefore, withoutAfter };
}
