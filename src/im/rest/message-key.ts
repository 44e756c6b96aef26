import type { ImRefusal } from '../../wire/index.ts';
import { maxU32 } from './schema.ts';

/** What a MsgKey is made of. */
export interface MessageKeyParts {
  readonly msgSeq: number;
  readonly random: number;
  /** Unix seconds. */
  readonly time: number;
}

/** Reads a MsgKey, `{MsgSeq}_{MsgRandom}_{MsgTime}` (API reference §3.1). */
export function parseMessageKey(text: string, field: string): { ok: true; value: MessageKeyParts } | ImRefusal {
  const parts = /^(\d{1,10})_(\d{1,10})_(\d{1,10})$/.exec(text)?.slice(1).map(Number) ?? [];
  const [msgSeq = Number.NaN, random = Number.NaN, time = Number.NaN] = parts;
  if (msgSeq <= maxU32 && random <= maxU32 && time <= maxU32) return { ok: true, value: { msgSeq, random, time } };
  return {
    ok: false,
    error: 'MSG_KEY',
    field,
    reason: 'has a wrong form',
    allowed: 'MsgSeq_MsgRandom_MsgTime, such as 20481_771231_1543500000',
  };
}
