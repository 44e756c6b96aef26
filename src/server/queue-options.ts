import type { Config } from './config/index.ts';

/** On what the queues of this process run. */
export type QueueOptions = { kind: 'postgres' } | { kind: 'redis'; url: string };

/** Queues stand on the database that is there anyway, unless a Redis is configured. Pure. */
export function queueOptionsOf({ redis }: Pick<Config, 'redis'>): QueueOptions {
  return redis === 'none' ? { kind: 'postgres' } : { kind: 'redis', url: redis };
}
