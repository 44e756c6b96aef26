import type { Outcome } from '../provider.ts';
import { longestAskedMs, retryAfterMs } from '../retry-after.ts';

/** What the answers of FCM HTTP v1 mean (PUSH §2.2). Pure. */

/** An answer as it came; of a body that is longer than anybody would write, nothing. */
export interface FcmAnswer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly body: string;
}

/** What the table needs to know besides. */
export interface Circumstances {
  readonly nowMs: number;
  /** 0 … 1. */
  readonly random: number;
  /** The wait of the channel, which doubles from 10 s on while the service does not get better; whoever asks for it uses it. */
  channelMs(): number;
  /** Whether nothing but failures has come for a while: then it is not this push that the service cannot deal with. */
  readonly isRow: boolean;
}

/** `reauthorize`: the access token has ended, or does not fit. */
export type FcmJudgement = Outcome | { readonly kind: 'reauthorize'; readonly status: number };

/** Google asks for no less between two attempts. */
export const leastRetryMs = 10_000;
const leastQuotaMs = 60_000;

export function judge(answer: FcmAnswer, circumstances: Circumstances): FcmJudgement {
  const { status, body } = answer;
  const value = parse(body);
  if (status >= 200 && status < 300) {
    const name = value?.name;
    // Whatever else says 200 (a proxy, a sign-in page) has not taken it, or we cannot know.
    return typeof name === 'string' && name !== ''
      ? { kind: 'ok', id: name, status }
      : failure('malformed', answer, circumstances);
  }
  const error = readError(value);
  switch (error.code ?? error.status) {
    case 'UNREGISTERED':
      return { kind: 'gone', reason: 'UNREGISTERED', status, sinceMs: undefined, isSure: true };
    case 'SENDER_ID_MISMATCH':
      // Of another project: the token is, or the service account.
      return { kind: 'gone', reason: 'SENDER_ID_MISMATCH', status, sinceMs: undefined, isSure: false };
    case 'INVALID_ARGUMENT':
      return isOfToken(error)
        ? { kind: 'gone', reason: 'INVALID_ARGUMENT', status, sinceMs: undefined, isSure: true }
        : { kind: 'bad', reason: 'INVALID_ARGUMENT', status };
    case 'QUOTA_EXCEEDED':
    case 'RESOURCE_EXHAUSTED':
      return quota('QUOTA_EXCEEDED', error, answer, circumstances);
    case 'UNAVAILABLE':
      return unavailable('UNAVAILABLE', answer, circumstances, error.retryMs);
    case 'INTERNAL':
      return failure('INTERNAL', answer, circumstances);
    case 'THIRD_PARTY_AUTH_ERROR':
      return { kind: 'halt', reason: 'THIRD_PARTY_AUTH_ERROR', status };
    case 'UNAUTHENTICATED':
      return { kind: 'reauthorize', status };
    case 'PERMISSION_DENIED':
      return { kind: 'halt', reason: 'PERMISSION_DENIED', status };
    case 'NOT_FOUND':
      // Without FCM's own code: the project or the path is not there. A token that was dropped for that would be gone for nothing.
      return { kind: 'halt', reason: 'NOT_FOUND', status };
    case 'UNSPECIFIED_ERROR':
      return { kind: 'bad', reason: 'UNSPECIFIED_ERROR', status };
  }
  return byStatus(error, answer, circumstances);
}

/** No code that we know: a page of something in front of the service, or a word of tomorrow. */
function byStatus(error: FcmError, answer: FcmAnswer, circumstances: Circumstances): FcmJudgement {
  const { status } = answer;
  const reason = error.code ?? error.status ?? `http-${status}`;
  if (status === 401) return { kind: 'reauthorize', status };
  if (status === 429) return quota(reason, error, answer, circumstances);
  if (status === 503) return unavailable(reason, answer, circumstances, error.retryMs);
  if ([408, 409, 499].includes(status) || status >= 500) return failure(reason, answer, circumstances);
  // A wrong endpoint, or somebody in between; nothing that is said of a message.
  if (status === 403 || status === 404 || status === 405 || status === 407) return { kind: 'halt', reason, status };
  if (status >= 400) return { kind: 'bad', reason, status };
  return unavailable(reason, answer, circumstances, undefined);
}

function quota(reason: string, error: FcmError, answer: FcmAnswer, { nowMs, random }: Circumstances): Outcome {
  const saidMs = saidOf(answer, error.retryMs, nowMs);
  const afterMs = spread(saidMs ?? leastQuotaMs, random);
  const scope = error.isOfDevice ? 'device' : 'channel';
  return { kind: 'retry', reason, status: answer.status, afterMs, scope, isSure: true };
}

/** It says that it did not look at the message. */
function unavailable(
  reason: string,
  answer: FcmAnswer,
  { nowMs, random, channelMs }: Circumstances,
  retryMs: number | undefined,
): Outcome {
  const saidMs = saidOf(answer, retryMs, nowMs);
  const afterMs = saidMs === undefined ? channelMs() : spread(saidMs, random);
  return { kind: 'retry', reason, status: answer.status, afterMs, scope: 'channel', isSure: true };
}

/** Something went wrong over there, maybe behind the point where it took the message. */
function failure(reason: string, answer: FcmAnswer, circumstances: Circumstances): Outcome {
  return uncertain(reason, answer.status, circumstances, saidOf(answer, undefined, circumstances.nowMs));
}

/** It may have been taken. One alone is the push's own matter, a row of them the service's. */
export function uncertain(
  reason: string,
  status: number | undefined,
  { random, channelMs, isRow }: Circumstances,
  saidMs?: number,
): Outcome {
  const ownMs = isRow ? channelMs() : spread(leastRetryMs, random);
  const afterMs = Math.max(ownMs, saidMs ?? 0);
  return { kind: 'retry', reason, status, afterMs, scope: isRow ? 'channel' : 'push', isSure: false };
}

/** Up to a tenth later, so that processes do not come back all at once. */
function spread(ms: number, random: number): number {
  return Math.round(ms * (1 + random / 10));
}

/** When to come again, by the field and by the details of the error. */
function saidOf({ retryAfter }: FcmAnswer, retryMs: number | undefined, nowMs: number): number | undefined {
  const fieldMs = retryAfterMs(retryAfter, nowMs);
  if (fieldMs === undefined && retryMs === undefined) return undefined;
  return Math.min(longestAskedMs, Math.max(1_000, fieldMs ?? 0, retryMs ?? 0));
}

interface FcmError {
  /** FCM's own, of the details. */
  readonly code: string | undefined;
  /** Google's, in words. */
  readonly status: string | undefined;
  readonly message: string;
  /** Fields that it finds fault with. */
  readonly fields: readonly string[];
  /** Whether the quota is that of one device. */
  readonly isOfDevice: boolean;
  /** Of `RetryInfo`. */
  readonly retryMs: number | undefined;
}

function readError(value: Record<string, unknown> | undefined): FcmError {
  const error = isMap(value?.error) ? value.error : {};
  const details = (Array.isArray(error.details) ? error.details : []).filter(isMap);
  const of = (name: string) => details.filter((detail) => String(detail['@type']).endsWith(`.${name}`));
  const listOf = (detail: Record<string, unknown>, name: string): Record<string, unknown>[] =>
    (Array.isArray(detail[name]) ? (detail[name] as unknown[]) : []).filter(isMap);
  const message = text(error.message) ?? '';
  const violations = of('QuotaFailure').flatMap((detail) => listOf(detail, 'violations'));
  const [, seconds] = /^([0-9]{1,6}(?:\.[0-9]{1,9})?)s$/.exec(text(of('RetryInfo')[0]?.retryDelay) ?? '') ?? [];
  return {
    code: word(of('FcmError')[0]?.errorCode),
    status: word(error.status),
    message,
    fields: of('BadRequest').flatMap((detail) =>
      listOf(detail, 'fieldViolations').map(({ field }) => text(field) ?? ''),
    ),
    isOfDevice: violations.some(({ subject, description }) => /\bdevice\b/i.test(`${subject} ${description}`)),
    retryMs: seconds === undefined ? undefined : Math.ceil(Number(seconds) * 1_000),
  };
}

/**
 * Whether it is the token that is no argument. A request that we wrote wrongly is refused with the very same code, and whoever took
 * it for the token's fault would delete all of them.
 */
function isOfToken({ fields, message }: FcmError): boolean {
  if (fields.length > 0) return fields.every((field) => field === 'message.token');
  return /\bregistration token is not a valid\b|\bnot a valid FCM registration token\b/i.test(message);
}

const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);

/** A code: what goes into tables and metrics is a word, whoever answered. */
function word(value: unknown): string | undefined {
  return typeof value === 'string' && /^[A-Z][A-Z_]{0,63}$/.test(value) ? value : undefined;
}

function parse(body: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body);
    return isMap(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
