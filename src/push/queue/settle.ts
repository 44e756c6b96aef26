import type { Outcome } from '../provider.ts';
import type { Item, Mark } from './items.ts';

/** What one attempt means for its push, its device and its lane. Pure. */
export interface Settled {
  readonly mark: Mark;
  /** Nothing of the lane goes out for so long. */
  readonly laneRestMs?: number;
  /** Nothing of the lane goes out until somebody has mended that. */
  readonly halt?: string;
}

const longestMs = 300_000;
const deviceRestMs = 60_000;

/**
 * `random` 0 … 1. `isTokenSound`: pushes of the lane get through in general, so a token that is refused is itself at fault; where none do, the
 * settings are (PUSH §1.5), and tokens stay.
 */
export function settle(
  item: Item,
  outcome: Outcome,
  { nowMs, tookMs, random, isTokenSound }: { nowMs: number; tookMs: number; random: number; isTokenSound: boolean },
): Settled {
  const { id, day, device } = item;
  const status = 'status' in outcome ? outcome.status : undefined;
  const attempt = { status, tookMs };
  const of = device === undefined ? undefined : { id: device.device_id, token: device.token };
  switch (outcome.kind) {
    case 'ok':
      return { mark: { id, day, outcome: 'accepted', reason: undefined, attempt: { ...attempt, id: outcome.id } } };
    case 'gone': {
      const { reason, sinceMs, isSure } = outcome;
      if (!isSure && reason === 'BadDeviceToken' && item.reason !== reason && of !== undefined) {
        // A development build's token looks like that to the production side, and the other way round: the other one is asked once.
        const environment = device?.environment === 'sandbox' ? 'production' : 'sandbox';
        return {
          mark: {
            id,
            day,
            outcome: undefined,
            reason,
            dueMs: nowMs,
            attempt,
            device: { ...of, do: 'move', environment },
          },
        };
      }
      const change =
        of === undefined || !(isSure || isTokenSound) ? undefined : ({ ...of, do: 'drop', sinceMs } as const);
      return { mark: { id, day, outcome: 'gone', reason, attempt, device: change } };
    }
    case 'bad':
      return { mark: { id, day, outcome: 'dead', reason: outcome.reason, attempt } };
    case 'halt':
      // It was no attempt of this push: it keeps its place.
      return { mark: { id, day, outcome: undefined, reason: outcome.reason }, halt: outcome.reason };
    case 'retry': {
      const { reason, scope } = outcome;
      const afterMs = (item.reason === reason ? outcome.againMs : undefined) ?? outcome.afterMs;
      const ownMs =
        scope === 'channel' ? 0 : Math.min(longestMs, 1_000 * 2 ** Math.min(item.attempts, 20)) * (0.5 + random / 2);
      const restMs = Math.max(afterMs, afterMs === 0 && item.attempts === 0 ? 0 : ownMs);
      const dueMs = nowMs + (scope === 'device' ? Math.max(restMs, deviceRestMs) : restMs);
      const lane = scope === 'channel' ? { laneRestMs: afterMs } : {};
      if (dueMs >= item.deadlineMs) return { mark: { id, day, outcome: 'expired', reason, attempt }, ...lane };
      const rest =
        scope === 'device' && of !== undefined ? ({ ...of, do: 'rest', untilMs: dueMs } as const) : undefined;
      return { mark: { id, day, outcome: undefined, reason, dueMs, attempt, device: rest }, ...lane };
    }
  }
}
