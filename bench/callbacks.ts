import { completeApp } from '../test/support/app-settings.ts';
import { startMeasured } from '../test/support/measured-process.ts';
import type { BackendStarted } from './callbacks/backend.ts';
import { runRounds } from './callbacks/contest.ts';
import { type EntrantOptions, startEntrant } from './callbacks/entrants.ts';
import { chunkEvents, makeEventSets } from './callbacks/events.ts';
import { reportCallbacks } from './callbacks/report.ts';
import { findProgram } from './support/program.ts';
import type { BenchOptions } from './support/question.ts';

/** Question: what does it cost to tell a backend of an event, in order, signed, at least once, against BullMQ and a POST alone? */

/** POSTs of BullMQ alone, conversations of ours, at once. */
const concurrency = 64;

export async function benchCallbacks({ quick, progress }: BenchOptions): Promise<string> {
  await using stack = new AsyncDisposableStack();
  const backend = await startMeasured<BackendStarted>(new URL('callbacks/backend.ts', import.meta.url), {});
  stack.defer(backend.close);
  const url = `http://127.0.0.1:${backend.started.port}/callbacks`;
  const redisFile = findProgram('redis-server') ?? '';
  const hasRedis = redisFile !== '';
  if (!hasRedis) progress('redis-server is not installed: Redis is left out');
  const sets = makeEventSets(chunkEvents * (quick ? 2 : 8));
  const all: EntrantOptions[] = [
    { name: 'BullMQ alone, PostgreSQL', kind: 'plain', queue: 'postgres' },
    { name: 'qalgate, PostgreSQL', kind: 'relay', queue: 'postgres' },
    { name: 'BullMQ alone, Redis', kind: 'plain', queue: 'redis' },
    { name: 'qalgate, Redis', kind: 'relay', queue: 'redis' },
  ];
  const entrants = [];
  for (const options of all.filter(({ queue }) => hasRedis || queue !== 'redis')) {
    progress(`starting ${options.name}`);
    entrants.push(await startEntrant(stack, options, { url, concurrency, redisFile, sets }));
  }
  const rounds = quick ? 2 : 7;
  const results = await runRounds(backend, { entrants, sets, rounds, progress });
  const events = sets[0]?.events ?? 0;
  const perUrl = completeApp({ sdkAppId: 1, secret: 'no secret of any app' }).callbacks.concurrency;
  return reportCallbacks({ quick, rounds, events, concurrency, perUrl, hasRedis, results });
}
