import { type MeasuredProcess, startMeasured } from '../../test/support/measured-process.ts';
import { startDatabase } from '../support/database.ts';
import { cpuMicrosOf } from '../support/process-figures.ts';
import { startRedisServer } from '../support/redis-server.ts';
import type { EventSet } from './events.ts';
import type { SenderAnswer, SenderOptions, SenderQuestion } from './sender.ts';

export type QueueKind = 'postgres' | 'redis';

/** One of those compared. */
export interface EntrantOptions {
  name: string;
  kind: 'relay' | 'plain';
  /** Where BullMQ keeps its jobs. */
  queue: QueueKind;
  perUrl?: number;
}

/** CPU time so far, or for each delivery. */
export interface CpuMicros {
  node: number;
  postgres: number;
  redis: number;
}

export interface Entrant extends EntrantOptions {
  ask(question: SenderQuestion): Promise<SenderAnswer>;
  cpuMicros(): Promise<CpuMicros>;
}

/**
 * Starts a process that sends, and the servers that it needs, for itself alone.
 * @param stack ends them
 */
export async function startEntrant(
  stack: AsyncDisposableStack,
  options: EntrantOptions,
  { url, concurrency, redisFile, sets }: { url: string; concurrency: number; redisFile: string; sets: EventSet[] },
): Promise<Entrant> {
  const { name, kind, queue, perUrl } = options;
  const database = kind === 'relay' || queue === 'postgres' ? await startDatabase() : undefined;
  if (database !== undefined) stack.defer(database.close);
  const redis = queue === 'redis' ? await startRedisServer(redisFile) : undefined;
  if (redis !== undefined) stack.defer(redis.close);
  const sender: MeasuredProcess<object> = await startMeasured(new URL(`${kind}-sender.ts`, import.meta.url), {
    url,
    concurrency,
    ...(database === undefined ? {} : { database: database.target }),
    ...(redis === undefined ? {} : { redis: { port: redis.port } }),
    ...(perUrl === undefined ? {} : { perUrl }),
  } satisfies SenderOptions);
  stack.defer(sender.close);
  const ask = async (question: SenderQuestion): Promise<SenderAnswer> => {
    const answer = await sender.ask<SenderAnswer>(question);
    if (answer.problem !== undefined) throw new Error(`${name}: ${question.do}: ${answer.problem}`);
    return answer;
  };
  await ask({ do: 'prepare', sets });
  return {
    ...options,
    ask,
    cpuMicros: async () => ({
      node: await cpuMicrosOf(sender.pid),
      postgres: (await database?.cpuMicros()) ?? 0,
      redis: (await redis?.cpuMicros()) ?? 0,
    }),
  };
}
