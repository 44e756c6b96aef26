/**
 * What one builds with BullMQ alone, a process of its own: a job an event with its body, POSTed by undici, done when the answer is 2xx. No
 * outbox, so an event whose process ends between its transaction and the job is lost; no order, no signature, no address guard.
 */
import { createPostgresBackend, Queue, runMigrations, Worker } from 'bullmq';
import pg from 'pg';
import { Pool } from 'undici';
import { parentOptions, serveParent } from '../../test/support/measured-process.ts';
import { machineClockOffsetMs } from '../before/machine-clock.ts';
import { bodyOf, chunkEvents, origin, sdkAppId } from './events.ts';
import { type SenderAnswer, type SenderOptions, type SenderQuestion, settle } from './sender.ts';

interface Task {
  path: string;
  body: string;
}

const { url, database, redis, concurrency } = parentOptions<SenderOptions>();
const { origin: server, pathname } = new URL(url);
const posts = new Pool(server, { connections: concurrency });
const headers = { 'content-type': 'application/json' };

const connection = redis === undefined ? database : { host: '127.0.0.1', port: redis.port, maxRetriesPerRequest: null };
if (redis === undefined) {
  const client = new pg.Client(database);
  await client.connect();
  await runMigrations(client as Parameters<typeof runMigrations>[0]);
  await client.end();
}
// BullMQ types the connection by the backend, which is known at run time only.
const AnyQueue = Queue as unknown as new (name: string, options: object, backend?: unknown) => Queue<Task>;
const AnyWorker = Worker as unknown as new (
  name: string,
  process: (job: { data: Task }) => Promise<void>,
  options: object,
  backend?: unknown,
) => Worker<Task>;
const backend = redis === undefined ? createPostgresBackend : undefined;
const queue = new AnyQueue('bench', { connection }, backend);
const worker = new AnyWorker(
  'bench',
  async ({ data: { path, body } }) => {
    const answer = await posts.request({ method: 'POST', path, headers, body });
    await answer.body.dump();
    if (answer.statusCode >= 300) throw new Error(`answered ${answer.statusCode}`);
  },
  { connection, concurrency },
  backend,
);
const fail = (error: unknown): never => {
  console.error(error);
  process.exit(1);
};
worker.on('error', fail);
worker.on('failed', (_job, error) => fail(error));
await queue.waitUntilReady();
await worker.waitUntilReady();

async function send(question: SenderQuestion): Promise<SenderAnswer> {
  const startedMs = performance.now() + machineClockOffsetMs;
  if (question.do === 'send') {
    const { set } = question;
    const path = `${pathname}?SdkAppid=${sdkAppId}&CallbackCommand=${set.command}&contenttype=json&ClientIP=${origin.address}&OptPlatform=${origin.platform}`;
    for (let event = 0; event < set.events; event += chunkEvents) {
      await queue.addBulk(
        Array.from({ length: chunkEvents }, (_, n) => ({
          name: 'post',
          data: { path, body: bodyOf(set, event + n) },
          opts: { removeOnComplete: true, removeOnFail: true },
        })),
      );
    }
  }
  if (question.do === 'settle') {
    await settle(async () => {
      const counts = await queue.getJobCounts();
      return Object.values(counts).reduce((sum, count) => sum + count, 0);
    });
  }
  return { startedMs };
}

serveParent({}, (question) =>
  send(question as SenderQuestion).catch((error: unknown) => ({ problem: String(error), startedMs: 0 })),
);
