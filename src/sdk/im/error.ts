import type { ImErrorName, LinkEndName } from '../../wire/index.ts';

/**
 * Why something did not work. Refusals of the service pass through by name (`DIRTY_WORD`, `RECALL_TOO_LATE`, …; all of them are
 * in docs/reference/errors.md), and so do the names with which it ends a link (docs/reference/link.md); these are ours:
 * - `NETWORK`: no connection, or it was cut; whether a request was carried out is not known
 * - `TIMEOUT`: a deadline passed
 * - `BAD_RESPONSE`: an answer that is none
 * - `INVALID_ARGUMENT`: the caller's mistake
 * - `CLOSED`: the client was closed, or the account is not logged in any more
 */
export type ImErrorCode =
  | ImErrorName
  | LinkEndName
  | 'NETWORK'
  | 'TIMEOUT'
  | 'BAD_RESPONSE'
  | 'INVALID_ARGUMENT'
  | 'CLOSED';

export interface ImErrorDetail {
  readonly retryable?: boolean;
  /** The vendor's number; of REFUSED_BY_CALLBACK it may be one of the app's own, 120001 … 130000. */
  readonly number?: number | undefined;
  /** The field of the request that is wrong. */
  readonly field?: string | undefined;
  /** What it may be instead. */
  readonly allowed?: string | undefined;
  readonly cause?: unknown;
}

/** The one error that `ImClient` throws. Match on `code`; `message` is for people. */
export class ImError extends Error {
  override readonly name = 'ImError';
  /** A newer service may send a code that this release does not know: then it is here all the same. */
  readonly code: ImErrorCode;
  /** May the same call succeed later, unchanged? */
  readonly retryable: boolean;
  declare readonly number: number | undefined;
  declare readonly field: string | undefined;
  declare readonly allowed: string | undefined;

  constructor(code: ImErrorCode, message: string, { cause, ...detail }: ImErrorDetail = {}) {
    super(message, { cause });
    this.code = code;
    this.retryable = code === 'NETWORK' || code === 'TIMEOUT';
    Object.assign(this, detail);
  }
}

/** What was thrown, as an error of ours. */
export function toImError(error: unknown): ImError {
  return error instanceof ImError ? error : new ImError('INTERNAL', String(error), { cause: error });
}
