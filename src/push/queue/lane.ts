import type { PushChannel } from '../../store/index.ts';
import type { SdkAppId } from '../../wire/index.ts';

/** What goes through one service for one app: one process at a time sends it, whatever is due, in order of priority. */
export interface Lane {
  readonly sdkAppId: SdkAppId;
  readonly channel: PushChannel;
}

/** Names a lane in queue and locks. */
export function laneId({ sdkAppId, channel }: Lane): string {
  return `push-${sdkAppId}-${channel}`;
}

/** Pushes that were not to be, by a {@link SkipReason}: when their message was looked at, or when they were about to be sent. */
export interface SkipCounter {
  inc(labels: { readonly reason: string }): void;
}

/** Of people's messages, and of campaigns: the lower goes first. */
export const priorities = { chat: 0, campaign: 5 } as const;
