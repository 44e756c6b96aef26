import type { Counter, Gauge, Histogram } from 'prom-client';
import type { Metrics } from '../../observe/index.ts';

/** What all clients of APNs of a process count together. */
export interface ApnsMetrics {
  readonly connections: Gauge;
  readonly opened: Counter;
  readonly ended: Counter<'reason'>;
  readonly waiting: Gauge;
  readonly resent: Counter<'reason'>;
  readonly answers: Counter<'reason'>;
  readonly seconds: Histogram;
  readonly tokens: Counter<'event'>;
}

const buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** Those of the registry: an app's client is made anew whenever its settings change. */
export function apnsMetrics({ registry, counter, gauge, histogram }: Metrics): ApnsMetrics {
  const once = <T>(name: string, make: (name: string) => T): T =>
    (registry.getSingleMetric(name) as T | undefined) ?? make(name);
  return {
    connections: once('qalgate_push_apns_connections', (name) =>
      gauge(name, 'Connections to APNs, open or being made'),
    ),
    opened: once('qalgate_push_apns_connections_opened_total', (name) =>
      counter(name, 'Connections to APNs that were tried'),
    ),
    ended: once('qalgate_push_apns_connections_ended_total', (name) =>
      counter(name, 'Connections to APNs that ended, by what ended them', ['reason']),
    ),
    waiting: once('qalgate_push_apns_waiting', (name) => gauge(name, 'Pushes that wait for a stream to APNs')),
    resent: once('qalgate_push_apns_resent_total', (name) =>
      counter(name, 'Pushes that APNs had not looked at and that were sent again at once, by why', ['reason']),
    ),
    answers: once('qalgate_push_apns_answers_total', (name) => counter(name, 'Answers of APNs, by reason', ['reason'])),
    seconds: once('qalgate_push_apns_answer_seconds', (name) =>
      histogram(name, 'From the wish to send a push to the answer of APNs', buckets),
    ),
    tokens: once('qalgate_push_apns_provider_tokens_total', (name) =>
      counter(name, 'Provider tokens: minted, read from the database, called expired, held, failed', ['event']),
    ),
  };
}
