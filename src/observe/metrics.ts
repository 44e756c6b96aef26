import { Counter, Gauge, Histogram, Registry } from 'prom-client';

/**
 * The process's metrics: a registry of its own, so that several instances can live in one process (tests).
 * Names carry the folder as prefix and the unit as suffix: `qalgate_proxy_request_duration_seconds`.
 * Labels must be bounded: never an account, an id or a path.
 */
export interface Metrics {
  readonly registry: Registry;
  counter<L extends string = never>(name: string, help: string, labels?: readonly L[]): Counter<L>;
  gauge<L extends string = never>(name: string, help: string, labels?: readonly L[]): Gauge<L>;
  histogram<L extends string = never>(
    name: string,
    help: string,
    buckets: number[],
    labels?: readonly L[],
  ): Histogram<L>;
  /** A counter whose value is read when the metrics are asked for; for what a hot path counts in a plain number. */
  counterOf(name: string, help: string, read: () => number): void;
  /** A gauge whose value is read when the metrics are asked for. */
  gaugeOf(name: string, help: string, read: () => number): void;
}

export function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  return {
    registry,
    counter: (name, help, labels = []) => new Counter({ name, help, labelNames: [...labels], registers }),
    gauge: (name, help, labels = []) => new Gauge({ name, help, labelNames: [...labels], registers }),
    histogram: (name, help, buckets, labels = []) =>
      new Histogram({ name, help, buckets, labelNames: [...labels], registers }),
    counterOf(name, help, read) {
      new Counter({
        name,
        help,
        registers,
        collect() {
          this.reset();
          this.inc(read());
        },
      });
    },
    gaugeOf(name, help, read) {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    },
  };
}
