import type { Counter, Gauge } from 'prom-client';
import type { Metrics } from '../observe/index.ts';

/** What the folder counts; each has its line in the README. */
export interface StoreMetrics {
  poolConnections: Gauge<'state'>;
  poolErrors: Counter;
  postgresUp: Gauge;
  postgresRestarts: Counter;
  serialBlocks: Counter<'sequence'>;
  serialFallbacks: Counter<'sequence'>;
  busUp: Gauge;
  busConnects: Counter;
  busMessages: Counter<'direction' | 'topic'>;
}

/** The store's metrics in that registry: made once, shared by every database opened with it. */
export function storeMetrics(metrics: Metrics): StoreMetrics {
  const counter = <L extends string = never>(name: string, help: string, labels: readonly L[] = []): Counter<L> =>
    (metrics.registry.getSingleMetric(name) as Counter<L> | undefined) ?? metrics.counter(name, help, labels);
  const gauge = <L extends string = never>(name: string, help: string, labels: readonly L[] = []): Gauge<L> =>
    (metrics.registry.getSingleMetric(name) as Gauge<L> | undefined) ?? metrics.gauge(name, help, labels);
  return {
    poolConnections: gauge('qalgate_store_pool_connections', 'Pool connections; waiting: callers without one.', [
      'state',
    ]),
    poolErrors: counter('qalgate_store_pool_errors_total', 'Pool connections that the database ended.'),
    postgresUp: gauge('qalgate_store_postgres_up', 'Whether the embedded PostgreSQL of this process runs.'),
    postgresRestarts: counter('qalgate_store_postgres_restarts_total', 'Restarts of the embedded PostgreSQL.'),
    serialBlocks: counter('qalgate_store_serial_blocks_total', 'Blocks of serial numbers taken.', ['sequence']),
    serialFallbacks: counter(
      'qalgate_store_serial_fallbacks_total',
      'Random numbers given because the database was away.',
      ['sequence'],
    ),
    busUp: gauge('qalgate_store_bus_up', 'Whether the control bus listens.'),
    busConnects: counter('qalgate_store_bus_connects_total', 'Times the control bus began to listen.'),
    busMessages: counter('qalgate_store_bus_messages_total', 'Control bus messages.', ['direction', 'topic']),
  };
}
