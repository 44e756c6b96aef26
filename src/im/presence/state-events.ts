import type { AppLookup } from '../../auth/index.ts';
import type { AppSettings } from '../../store/index.ts';
import type { AfterCommand, SdkAppId } from '../../wire/index.ts';
import type { AccountNo } from '../model.ts';
import type { ImPorts } from '../ports.ts';

const command: AfterCommand = 'State.StateChange';
/** The bit of `Consumers` that stands for callbacks. */
const callbacksBit = 1;

/** Who is told of transitions of terminals (P3). The statement of each transition writes it down for them (`im_state_event`). */
export interface StateEvents {
  /** The bits of those who are told. */
  bitsOf(sdkAppId: SdkAppId): number;
  /** The same by app; only apps that have one. */
  bits(): { apps: number[]; bits: number[] };
  /** Transitions of the account have been committed, as far as anybody wants to be told. */
  written(sdkAppId: SdkAppId, account: AccountNo): void;
}

export function createStateEvents(deps: {
  apps: AppLookup & { list(): AppSettings[] };
  ports: Pick<ImPorts, 'consumers' | 'written'>;
}): StateEvents {
  const { apps, ports } = deps;
  const bitsOf: StateEvents['bitsOf'] = (sdkAppId) => ports.consumers?.(sdkAppId, command) ?? 0;
  return {
    bitsOf,
    bits() {
      const found: { apps: number[]; bits: number[] } = { apps: [], bits: [] };
      if (ports.consumers === undefined) return found;
      for (const { sdkAppId } of apps.list()) {
        const bits = bitsOf(sdkAppId);
        if (bits === 0) continue;
        found.apps.push(sdkAppId);
        found.bits.push(bits);
      }
      return found;
    },
    written(sdkAppId, account) {
      if ((bitsOf(sdkAppId) & callbacksBit) !== 0) ports.written?.(sdkAppId, `a${account}`, command);
    },
  };
}
