import type { ErrorCode } from '../wire/index.ts';

/** An expected refusal: which error of the catalogue, and where it is about a field: which, why, and what would be right. */
export interface Refusal {
  ok: false;
  code: ErrorCode;
  field?: string;
  reason: string;
  allowed?: string;
}

export type Result<T = void> = { ok: true; value: T } | Refusal;

export const done: Result = { ok: true, value: undefined };
