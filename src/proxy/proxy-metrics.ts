import type { Metrics } from '../observe/index.ts';
import type { ErrorCode } from '../wire/index.ts';

/** What the hot path counts. Children are resolved once: counting is then an addition. */
export interface ProxyMetrics {
  /** One exchange is over. */
  request(status: number, durationSec: number): void;
  /** An error of ours was answered (or would have been, when the head had gone). */
  error(code: ErrorCode): void;
  /** A client went away before its answer was complete. */
  clientClosed(): void;
  /** Something was refused at the door, before it was a request. */
  refused(reason: 'connections' | 'connections-per-address' | 'pipelined' | 'malformed'): void;
  upgraded(result: 'open' | 'refused' | 'closed'): void;
}

const buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export function createProxyMetrics(metrics: Metrics): ProxyMetrics {
  const byClass = new Float64Array(10);
  metrics.countersOf('qalgate_proxy_requests_total', 'Requests answered, by class of status', 'class', () =>
    [...byClass].map((count, hundreds) => [`${hundreds}xx`, count]),
  );
  const duration = metrics.plainHistogram(
    'qalgate_proxy_request_duration_seconds',
    'From the request head to the last byte of the answer',
    buckets,
  );
  const errors = metrics.counter('qalgate_proxy_errors_total', 'Errors of ours, by code', ['code']);
  const closed = metrics.counter(
    'qalgate_proxy_client_closed_total',
    'Clients that left before their answer was complete',
  );
  const refused = metrics.counter('qalgate_proxy_refused_total', 'Refused before it was a request, by reason', [
    'reason',
  ]);
  const upgrades = metrics.counter('qalgate_proxy_upgrades_total', 'Upgraded connections, by result', ['result']);
  return {
    request(status, durationSec) {
      const hundreds = (status / 100) | 0;
      byClass[hundreds] = (byClass[hundreds] as number) + 1;
      duration.observe(durationSec);
    },
    error: (code) => errors.inc({ code }),
    clientClosed: () => closed.inc(),
    refused: (reason) => refused.inc({ reason }),
    upgraded: (result) => upgrades.inc({ result }),
  };
}
