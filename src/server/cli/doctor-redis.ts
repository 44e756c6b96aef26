import { checkRedis as askRedis } from '../../store/index.ts';
import type { Config } from '../config/index.ts';
import type { Check } from './doctor-check.ts';

/** Can the Redis be reached, and is it set up for queues? Its credentials are never shown. */
export async function checkRedis({ redis }: Pick<Config, 'redis'>): Promise<Check[]> {
  if (redis === 'none') return [];
  const name = 'redis';
  const where = new URL(redis).host;
  const report = await askRedis(redis);
  if (!report.isReachable) {
    const remedy = 'start it, or correct `redis`; callbacks wait in the database meanwhile';
    return [{ name, state: 'fail', detail: `${where} cannot be used (${report.reason})`, remedy }];
  }
  const { product, findings } = report;
  if (findings.length === 0) return [{ name, state: 'ok', detail: `${where} answers: ${product}` }];
  return findings.map(({ isFatal, reason, remedy }) => ({
    name,
    state: isFatal ? 'fail' : 'warn',
    detail: `${where} (${product}): ${reason}`,
    remedy,
  }));
}
