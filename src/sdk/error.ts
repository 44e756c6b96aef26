import type { ErrorBody, ErrorCode } from '../wire/index.ts';

/**
 * Why something did not work. Codes of the server pass through as they are (`SESSION_REVOKED`, `USERSIG_EXPIRED`, …; all
 * of them are in docs/reference/errors.md); these are the SDK's own:
 * - `NETWORK`: no answer, or the answer was cut off; `cause` says how
 * - `TIMEOUT`: a deadline passed
 * - `BAD_RESPONSE`: the session endpoint answered with something that is none of its answers
 * - `WRONG_ORIGIN`: the URL, or a redirect, leads to another origin than `baseUrl`
 * - `REDIRECT`: a redirect that may not, or cannot, be followed
 * - `LOGIN_FAILED`: `getUserSig` failed; `cause` is what it threw
 * - `ACCOUNT_CHANGED`: login or logout happened while the request was under way
 * - `INVALID_ARGUMENT`: the caller's mistake
 * - `CLOSED`: the client was closed
 */
export type QalErrorCode =
  | ErrorCode
  | 'NETWORK'
  | 'TIMEOUT'
  | 'BAD_RESPONSE'
  | 'WRONG_ORIGIN'
  | 'REDIRECT'
  | 'LOGIN_FAILED'
  | 'ACCOUNT_CHANGED'
  | 'INVALID_ARGUMENT'
  | 'CLOSED';

export interface QalErrorDetail {
  /** May the same call succeed later, unchanged? */
  readonly retryable?: boolean;
  /** HTTP status of the server's answer. */
  readonly status?: number | undefined;
  /** What the server asks to wait, in milliseconds. */
  readonly retryAfterMs?: number | undefined;
  /** The server's name for the request; its log has it, too. */
  readonly requestId?: string | undefined;
  readonly cause?: unknown;
}

/** The one error that the SDK throws, an abort by the caller aside. Match on `code`; `message` is for people. */
export class QalError extends Error {
  override readonly name = 'QalError';
  /** A newer server may send a code that this release does not know: then it is here all the same. */
  readonly code: QalErrorCode;
  readonly retryable: boolean;
  declare readonly status: number | undefined;
  declare readonly retryAfterMs: number | undefined;
  declare readonly requestId: string | undefined;

  constructor(code: QalErrorCode, message: string, { cause, ...detail }: QalErrorDetail = {}) {
    super(message, { cause });
    this.code = code;
    this.retryable = code === 'NETWORK' || code === 'TIMEOUT';
    Object.assign(this, detail);
  }
}

/** The server's refusal as an error. @param retryAfter the field Retry-After, if any */
export function refusalError(status: number, text: string, retryAfter: string | null): QalError {
  const seconds = Number(retryAfter ?? Number.NaN);
  const { code, message, retryable, requestId, field, reason } = readError(text) ?? {
    code: 'BAD_RESPONSE',
    message: `the session endpoint answered ${status}`,
    retryable: status >= 500,
  };
  return new QalError(code, `${message}${field === undefined ? '' : `: ${field} ${reason}`}`, {
    status,
    retryable,
    requestId,
    retryAfterMs: seconds >= 0 ? seconds * 1_000 : undefined,
  });
}

function readError(text: string): ErrorBody['error'] | undefined {
  try {
    const { error } = JSON.parse(text) as Partial<ErrorBody>;
    return typeof error?.code === 'string' ? error : undefined;
  } catch {
    return undefined;
  }
}

/** The code of an error of ours; of any other something that is none. */
export function codeOf(error: unknown): string {
  return String((error as Partial<QalError> | undefined)?.code);
}
