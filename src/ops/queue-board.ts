import type { Queue } from 'bullmq';

/** What the board says to one request, before it is ours. */
export interface BoardAnswer {
  status: number;
  type: string;
  body: Buffer;
}

export interface QueueBoard {
  /** `path` below the board's, with its query. `acting`: not read-only. */
  ask(request: { method: string; path: string; body?: object }, acting: boolean): Promise<BoardAnswer>;
  close(): Promise<void>;
}

/**
 * Bull Board over these queues, in a server of its own that listens nowhere: whoever may ask what is decided before. It is loaded with
 * the first request, since hardly a process is ever asked.
 */
export function createQueueBoard(queues: readonly Queue[], basePath: string): QueueBoard {
  const boards = new Map<boolean, ReturnType<typeof loadBoard>>();
  return {
    async ask({ method, path, body }, acting) {
      const board = boards.get(acting) ?? loadBoard(queues, { basePath, acting });
      boards.set(acting, board);
      const inner = await board.catch((error: unknown) => {
        // Next time it may be better.
        boards.delete(acting);
        throw error;
      });
      const answer = await inner.inject({
        method: method as 'GET',
        url: `${basePath}/${path}`,
        ...(body === undefined ? {} : { payload: body }),
      });
      const type = answer.headers['content-type'];
      return {
        status: answer.statusCode,
        type: typeof type === 'string' ? type : 'application/octet-stream',
        body: answer.rawPayload,
      };
    },
    async close() {
      await Promise.all([...boards.values()].map(async (board) => (await board.catch(() => undefined))?.close()));
    },
  };
}

async function loadBoard(queues: readonly Queue[], { basePath, acting }: { basePath: string; acting: boolean }) {
  const [{ createBullBoard }, { BullMQAdapter }, { FastifyAdapter }, { fastify }] = await Promise.all([
    import('@bull-board/api'),
    import('@bull-board/api/bullMQAdapter'),
    import('@bull-board/fastify'),
    import('fastify'),
  ]);
  const serverAdapter = new FastifyAdapter();
  serverAdapter.setBasePath(basePath);
  createBullBoard({
    queues: queues.map((queue) => new BullMQAdapter(queue, { readOnlyMode: !acting })),
    serverAdapter,
    options: { uiConfig: { boardTitle: 'qalgate queues', hideDocsLink: true } },
  });
  const inner = fastify({ logger: false });
  await inner.register(serverAdapter.registerPlugin(), { prefix: basePath });
  await inner.ready();
  return inner;
}
