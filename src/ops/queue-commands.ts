import type { Queue } from 'bullmq';
import type { Result } from '../store/index.ts';
import type { Answer, Call, Handle } from './answer.ts';
import { type BoardAnswer, createQueueBoard } from './queue-board.ts';
import { queuePage, queuePagePolicy, queuePageScript } from './queue-page.ts';

export interface QueueCommands {
  /** The page and what it is made of; no data in it. */
  page: Handle;
  read: Handle;
  act: Handle;
  close(): Promise<void>;
}

export const queuesPath = '/ops/queues';

/** What the page shows as a page of its own. */
const pages = /^(?:|metrics-history|job-schedulers|queue\/[\w.-]+(?:\/[\w.-]+)?)$/;
const assets = /^static\/[\w-]+(?:[./][\w-]+)*$/;
const reads = /^(?:[\w-]+)(?:\/[\w.-]+)*$/;
/**
 * What may be done to a queue here. Jobs only wake and pace what waits in the outbox: one that is promoted comes early, one that is
 * removed is found again. Not: to pause a queue, which would silently hold up every app, nor to make or change jobs.
 */
const acts = [
  /^queues\/[\w.-]+\/promote$/,
  /^queues\/[\w.-]+\/(?:retry\/[a-z-]+|clean\/(?!active$)[a-z-]+)$/,
  /^queues\/[\w.-]+\/[\w.-]+\/(?:promote|retry|clean)$/,
];

/** The raw queues, as Bull Board shows them. */
export function createQueueCommands({ queues }: { queues: readonly Queue[] }): QueueCommands {
  const board = createQueueBoard(queues, queuesPath);

  async function page({ params }: Call): Promise<Result<Answer>> {
    const path = (params['*'] ?? '').replace(/\/$/, '');
    if (path === 'token.js')
      return sent({ type: 'text/javascript; charset=utf-8', body: Buffer.from(queuePageScript) });
    if (!pages.test(path) && !assets.test(path)) return nothingHere;
    const answer = await board.ask({ method: 'GET', path }, false);
    if (answer.status !== 200) return nothingHere;
    if (!pages.test(path)) return sent(answer);
    const html = queuePage(answer.body.toString(), queuesPath);
    return sent({ type: 'text/html; charset=utf-8', body: Buffer.from(html) });
  }

  async function read({ params, query, role }: Call): Promise<Result<Answer>> {
    const path = params['*'] ?? '';
    if (!reads.test(path)) return nothingHere;
    const search = new URLSearchParams(query as Record<string, string>);
    return told(await board.ask({ method: 'GET', path: `api/${path}?${search}` }, role === 'operator'));
  }

  async function act({ params, body }: Call): Promise<Result<Answer>> {
    const path = params['*'] ?? '';
    if (!acts.some((one) => one.test(path))) {
      const reason =
        'here jobs may be promoted, retried and removed; to hold up callbacks, pause them: docs/reference/callbacks.md';
      return { ok: false, code: 'FORBIDDEN', reason };
    }
    const given = typeof body === 'object' && body !== null ? { body } : {};
    return told(await board.ask({ method: 'PUT', path: `api/${path}`, ...given }, true));
  }

  return { page, read, act, close: () => board.close() };
}

const nothingHere: Result<Answer> = { ok: false, code: 'NOT_FOUND', reason: 'the board has no such page' };

function sent({ type, body }: Pick<BoardAnswer, 'type' | 'body'>): Result<Answer> {
  return {
    ok: true,
    value: { status: 200, headers: { 'Content-Type': type, 'Content-Security-Policy': queuePagePolicy }, body },
  };
}

/** The board's answer as one of ours. */
function told({ status, type, body }: BoardAnswer): Result<Answer> {
  if (status === 204) return { ok: true, value: { status } };
  if (status < 300) return { ok: true, value: { status: 200, headers: { 'Content-Type': type }, body } };
  if (status === 404) return { ok: false, code: 'NOT_FOUND', reason: 'there is no such queue or job' };
  if (status < 500) return { ok: false, code: 'BAD_REQUEST', reason: reasonOf(body) };
  return { ok: false, code: 'DATABASE_UNAVAILABLE', reason: 'the queue does not answer' };
}

function reasonOf(body: Buffer): string {
  try {
    const { message, errorKey } = JSON.parse(body.toString()) as { message?: unknown; errorKey?: unknown };
    return String(message ?? errorKey ?? 'the board refused it').slice(0, 200);
  } catch {
    return 'the board refused it';
  }
}
