import type { ControlBus } from '../../store/index.ts';
import type { AfterCommand, SdkAppId } from '../../wire/index.ts';

/** Somebody has changed what waits for these keys: whoever sends callbacks looks at them now. */
export interface Wakes {
  readonly sdkAppId: SdkAppId;
  readonly keys: readonly { readonly drainKey: string; readonly command: AfterCommand }[];
  /** Whether their endpoints are to be tried even if they count as dead. */
  readonly probe: boolean;
}

/** Keys of one message, which has to stay small; and of one change: the relay finds the others by itself within seconds. */
const maxKeys = 50;
const maxMessages = 20;

/** Tells the processes that send. Best effort; rejects when the database does not answer. */
export async function publishWakes(
  control: Pick<ControlBus, 'publish'>,
  { sdkAppId, keys, probe }: Wakes,
): Promise<void> {
  const distinct = [...new Map(keys.map((key) => [`${key.drainKey} ${key.command}`, key])).values()];
  for (let at = 0; at < Math.min(distinct.length, maxKeys * maxMessages); at += maxKeys) {
    const wake = distinct.slice(at, at + maxKeys).map(({ drainKey, command }) => [drainKey, command]);
    await control.publish('callbacks', { sdkAppId, wake, probe });
  }
}

/** What such a message says; undefined: it says something else. */
export function readWakes(payload: unknown): Wakes | undefined {
  const { sdkAppId, wake, probe } = payload as { sdkAppId?: unknown; wake?: unknown; probe?: unknown };
  if (!Number.isSafeInteger(sdkAppId) || !Array.isArray(wake)) return undefined;
  const keys = wake.flatMap((pair) => {
    const [drainKey, command] = Array.isArray(pair) ? (pair as unknown[]) : [];
    return typeof drainKey === 'string' && typeof command === 'string'
      ? { drainKey, command: command as AfterCommand }
      : [];
  });
  return { sdkAppId: sdkAppId as SdkAppId, keys, probe: probe === true };
}
