import type { Config } from './config/index.ts';

/** On what the queues of this process run, and how many of their jobs it works at once. */
export type QueueOptions = ({ kind: 'postgres' } | { kind: 'redis'; url: string }) & { concurrency: number };

/** Queues stand on the database that is there anyway, unless a Redis is configured. Pure. */
export function queueOptionsOf({ redis, callbacks }: Pick<Config, 'redis' | 'callbacks'>): QueueOptions {
  const { concurrency } = callbacks;
  return redis === 'none' ? { kind: 'postgres', concurrency } : { kind: 'redis', url: redis, concurrency };
}
