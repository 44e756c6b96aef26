import type { SdkAppId } from '../../wire/index.ts';

/** The order of events: those of one conversation or account to one endpoint go one after another. */
export interface Lane {
  readonly sdkAppId: SdkAppId;
  readonly endpointId: string;
  /** The outbox's: a conversation's number, or `a` and an account's. */
  readonly drainKey: string;
}

/** Names a lane in the queue; never an account's or group's own name. */
export function laneId({ endpointId, drainKey }: Lane): string {
  return `${endpointId}-${drainKey}`;
}
