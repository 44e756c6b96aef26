import type { Counter, Gauge } from 'prom-client';
import type { Metrics } from '../../observe/index.ts';
import type { Outcome } from '../provider.ts';

/** What all clients of FCM of a process count together. */
export interface FcmMetrics {
  readonly inFlight: Gauge;
  /** An attempt that ended. */
  outcome(outcome: Outcome): void;
  readonly tokens: Counter<'event'>;
  readonly replaced: Counter<'reason'>;
}

/** What may stand in a label: whoever answers in the service's place may say anything. */
const reasons = new Set([
  'UNREGISTERED',
  'INVALID_ARGUMENT',
  'SENDER_ID_MISMATCH',
  'QUOTA_EXCEEDED',
  'UNAVAILABLE',
  'INTERNAL',
  'THIRD_PARTY_AUTH_ERROR',
  'UNAUTHENTICATED',
  'PERMISSION_DENIED',
  'NOT_FOUND',
  'UNSPECIFIED_ERROR',
  'malformed',
  'timeout',
  'connect',
  'tls',
  'refused',
  'reset',
  'clock-off',
  'service-account',
]);

/** Those of the registry: an app's client is made anew whenever its settings change. */
export function fcmMetrics({ registry, counter, gauge }: Metrics): FcmMetrics {
  const once = <T>(name: string, make: (name: string) => T): T =>
    (registry.getSingleMetric(name) as T | undefined) ?? make(name);
  const answers = once('qalgate_push_fcm_answers_total', (name) =>
    counter(name, 'Attempts through FCM, by what was said or went wrong', ['reason']),
  );
  return {
    inFlight: once('qalgate_push_fcm_in_flight', (name) => gauge(name, 'Pushes under way to FCM')),
    tokens: once('qalgate_push_fcm_access_tokens_total', (name) =>
      counter(name, 'Access tokens for FCM: made, failed, refused by the service', ['event']),
    ),
    replaced: once('qalgate_push_fcm_connections_replaced_total', (name) =>
      counter(name, 'Times that the connections to FCM were given up, by why', ['reason']),
    ),
    outcome(outcome) {
      answers.inc({ reason: outcome.kind === 'ok' ? 'ok' : labelOf(outcome.reason) });
    },
  };
}

function labelOf(reason: string): string {
  if (reasons.has(reason)) return reason;
  if (reason.startsWith('token-')) return 'token';
  return reason.startsWith('http-') ? `http-${reason.charAt(5)}xx` : 'other';
}
