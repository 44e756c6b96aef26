/**
 * A process that runs lanes of the drain queue, for tests that kill it. Its argument is JSON: `{ backend, options }`. Prints
 * `{ ready: true }`, then `{ started: drainKey }` for each run, which never ends.
 */
import { createDrainQueue, type DrainQueueOptions } from '../../src/callbacks/relay/queue.ts';
import { createLogger, createMetrics } from '../../src/observe/index.ts';
import type { QueueBackend } from '../../src/store/index.ts';

const { backend, options } = JSON.parse(process.argv[2] ?? '{}') as {
  backend: QueueBackend;
  options: DrainQueueOptions;
};
const say = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`);

const deps = { logger: createLogger({ level: 'silent' }), metrics: createMetrics() };
const queue = await createDrainQueue(deps, backend, options);
queue.start((lane) => {
  say({ started: lane.drainKey });
  return new Promise(() => {});
});
say({ ready: true });
