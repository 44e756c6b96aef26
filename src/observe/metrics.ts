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
  /** A counter with one label whose values are read when the metrics are asked for. */
  countersOf<L extends string>(
    name: string,
    help: string,
    label: L,
    read: () => Iterable<[value: string, count: number]>,
  ): void;
  /** A histogram without labels that costs an addition: for a hot path. */
  plainHistogram(name: string, help: string, buckets: readonly number[]): PlainHistogram;
  /** A gauge whose value is read when the metrics are asked for. */
  gaugeOf(name: string, help: string, read: () => number): void;
  /** A gauge with one label whose values are read when the metrics are asked for; a value that is not read again is gone. */
  gaugesOf<L extends string>(
    name: string,
    help: string,
    label: L,
    read: () => Iterable<[value: string, number: number]>,
  ): void;
}

export interface PlainHistogram {
  observe(value: number): void;
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
    countersOf(name, help, label, read) {
      new Counter({
        name,
        help,
        registers,
        labelNames: [label],
        collect() {
          this.reset();
          for (const [value, count] of read()) this.inc({ [label]: value } as Record<typeof label, string>, count);
        },
      });
    },
    plainHistogram(name, help, buckets) {
      const counts = new Float64Array(buckets.length + 1);
      let sum = 0;
      const type = 'histogram';
      const get = async () => ({ name, help, type, aggregator: 'sum', values: valuesOf(name, buckets, counts, sum) });
      // What the registry asks of a metric is little; the library's own histogram looks its labels up at each observation.
      registry.registerMetric({ name, help, type, aggregator: 'sum', get, reset() {} } as unknown as Histogram);
      return {
        observe(value) {
          let at = 0;
          while (at < buckets.length && value > (buckets[at] as number)) at += 1;
          counts[at] = (counts[at] as number) + 1;
          sum += value;
        },
      };
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
    gaugesOf(name, help, label, read) {
      new Gauge({
        name,
        help,
        registers,
        labelNames: [label],
        collect() {
          this.reset();
          for (const [value, number] of read()) this.set({ [label]: value } as Record<typeof label, string>, number);
        },
      });
    },
  };
}

/** The values of a histogram as the text format has them: buckets count what is below them, too. */
function valuesOf(name: string, buckets: readonly number[], counts: Float64Array, sum: number) {
  let below = 0;
  const values: { metricName: string; labels: Record<string, string | number>; value: number }[] = [];
  for (const [i, count] of counts.entries()) {
    below += count;
    values.push({ metricName: `${name}_bucket`, labels: { le: buckets[i] ?? '+Inf' }, value: below });
  }
  values.push({ metricName: `${name}_sum`, labels: {}, value: sum });
  values.push({ metricName: `${name}_count`, labels: {}, value: below });
  return values;
}
