import type { Metrics } from '../../observe/index.ts';
import type { LineCounters } from './endpoint-pool.ts';
import type { PostResult } from './post.ts';

export interface PosterMetrics {
  result(result: PostResult): void;
}

const buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 2.5, 5, 10, 30, 60];

export function createPosterMetrics(metrics: Metrics, counters: LineCounters): PosterMetrics {
  const outcomes = new Map<string, number>();
  metrics.countersOf(
    'qalgate_callbacks_posts_total',
    'Callbacks sent, by class of status or failure',
    'outcome',
    () => outcomes,
  );
  const duration = metrics.plainHistogram(
    'qalgate_callbacks_post_duration_seconds',
    'From the wish to send a callback to its answer or failure',
    buckets,
  );
  metrics.gaugeOf(
    'qalgate_callbacks_connections',
    'Connections to backends, those in the making too',
    () => counters.lines,
  );
  metrics.counterOf(
    'qalgate_callbacks_connections_opened_total',
    'Connections made to backends',
    () => counters.opened,
  );
  metrics.gaugeOf(
    'qalgate_callbacks_connections_waiting',
    'Callbacks that wait for a connection',
    () => counters.waiting,
  );
  return {
    result(result) {
      const outcome = result.kind === 'answer' ? `${(result.status / 100) | 0}xx` : result.failure;
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      duration.observe(result.tookMs / 1_000);
    },
  };
}
