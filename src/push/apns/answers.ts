import type { Outcome, Sendable } from '../provider.ts';
import { retryAfterMs } from '../retry-after.ts';

/** What each answer of APNs means for a push (PUSH §1.5). Pure. */

export interface ApnsAnswer {
  readonly status: number;
  /** APNs' name for the push. */
  readonly id: string | undefined;
  /** Text of the header `retry-after`; undefined: there was none. */
  readonly retryAfter: string | undefined;
  readonly body: string;
}

type Retry = Extract<Outcome, { kind: 'retry' }>;
type Scope = Retry['scope'];

/** What of a connection an answer says: it is still good, or nothing more should go over it. */
export type ConnectionState = 'good' | 'spent';

/** Refused because of the token, which may be a mistake of ours for all tokens. */
const doubtful = ['BadDeviceToken', 'DeviceTokenNotForTopic'];
/** Of one side of APNs alone: a credential that is good for the other. */
const ofEnvironment = ['BadCertificateEnvironment', 'BadEnvironmentKeyInToken'];
/** The credential on which the whole connection stands is not accepted; one that is opened later may be. */
const spent = [
  'BadCertificate',
  'BadCertificateEnvironment',
  'BadEnvironmentKeyInToken',
  'Forbidden',
  'IdleTimeout',
  'InvalidProviderToken',
  'MissingProviderToken',
  'ServiceUnavailable',
  'Shutdown',
  'TooManyProviderTokenUpdates',
];

const waits = {
  /** A device that gets too many. */
  deviceMs: 30_000,
  /** Failures of the service, from which on the queue waits ever longer. */
  serviceMs: 1_000,
  /** APNs asks for 15 minutes after an error of its own; the first time is tried sooner (PUSH §1.5). */
  errorMs: 15_000,
  errorAgainMs: 900_000,
  /** No answer of APNs at all, but of something before it. */
  strangerMs: 15_000,
};

/** What one answer comes to, and what it says of its connection. */
export function readAnswer(
  answer: ApnsAnswer,
  environment: Sendable['environment'],
  nowMs: number,
): { outcome: Outcome; reason: string; connection: ConnectionState } {
  const { status, id } = answer;
  if (status === 200) return { outcome: { kind: 'ok', id, status }, reason: 'ok', connection: 'good' };
  const { reason, timestampMs } = readBody(answer.body);
  const afterMs = retryAfterMs(answer.retryAfter, nowMs);
  const outcome =
    reason === undefined
      ? strange(status, afterMs, environment)
      : refusal(status, reason, { timestampMs, afterMs, environment });
  const isSpent = reason === undefined ? status === 503 : spent.includes(reason);
  return { outcome, reason: outcome.kind === 'ok' ? 'ok' : outcome.reason, connection: isSpent ? 'spent' : 'good' };
}

function refusal(
  status: number,
  reason: string,
  facts: { timestampMs: number | undefined; afterMs: number | undefined; environment: Sendable['environment'] },
): Outcome {
  const { timestampMs, afterMs, environment } = facts;
  const retry = (scope: Scope, leastMs: number, isSure: boolean): Retry => ({
    kind: 'retry',
    reason,
    status,
    afterMs: Math.max(afterMs ?? 0, leastMs),
    scope,
    isSure,
  });
  if (status === 410) return { kind: 'gone', reason, status, sinceMs: timestampMs, isSure: true };
  if (doubtful.includes(reason)) return { kind: 'gone', reason, status, sinceMs: undefined, isSure: false };
  if (reason === 'IdleTimeout' || reason === 'ExpiredProviderToken') return retry('push', 0, true);
  // The connection is of no use for a while, another one may be.
  if (reason === 'TooManyProviderTokenUpdates') return retry('push', waits.serviceMs, true);
  // A developer's phone does not halt the pushes of all the others.
  if (environment === 'sandbox' && ofEnvironment.includes(reason)) return { kind: 'bad', reason, status };
  if (status === 403) return { kind: 'halt', reason, status };
  if (status === 429) return retry('device', waits.deviceMs, true);
  if (status === 503) return retry(scopeOf(afterMs, environment), waits.serviceMs, true);
  if (status >= 500) return { ...retry('push', waits.errorMs, false), againMs: waits.errorAgainMs };
  return { kind: 'bad', reason, status };
}

/** Without a reason it is not APNs that speaks: nothing is concluded from it, least of all that a token is dead. */
function strange(status: number, afterMs: number | undefined, environment: Sendable['environment']): Outcome {
  return {
    kind: 'retry',
    reason: `http-${status}`,
    status,
    afterMs: Math.max(afterMs ?? 0, waits.strangerMs),
    scope: scopeOf(afterMs, environment),
    isSure: status === 503 || (status >= 300 && status < 500),
  };
}

/** Whoever names a time means everybody; those of developers' phones hold up nobody else. */
function scopeOf(afterMs: number | undefined, environment: Sendable['environment']): Scope {
  return afterMs === undefined || environment === 'sandbox' ? 'push' : 'channel';
}

function readBody(body: string): { reason: string | undefined; timestampMs: number | undefined } {
  try {
    const { reason, timestamp } = JSON.parse(body) as { reason?: unknown; timestamp?: unknown };
    return {
      reason: typeof reason === 'string' && /^[A-Za-z]{1,64}$/.test(reason) ? reason : undefined,
      timestampMs: typeof timestamp === 'number' && Number.isSafeInteger(timestamp) ? timestamp : undefined,
    };
  } catch {
    return { reason: undefined, timestampMs: undefined };
  }
}
