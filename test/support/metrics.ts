import type { Metrics } from '../../src/observe/index.ts';

/** The value of a counter or gauge, summed over the labels that are not given. */
export async function metricOf(
  { registry }: Metrics,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<number> {
  const values = (await registry.getSingleMetric(name)?.get())?.values;
  if (values === undefined) throw new Error(`there is no metric ${name}`);
  return values
    .filter((one) => Object.entries(labels).every(([label, value]) => String(one.labels[label]) === value))
    .reduce((sum, { value }) => sum + value, 0);
}
