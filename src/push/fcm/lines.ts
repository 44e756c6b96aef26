import { readFile } from 'node:fs/promises';
import { Pool } from 'undici';

/** The connections to one origin. */
export interface Lines {
  /** Those in use now; undefined: the file of authorities cannot be read, the reason is a code. */
  pool(): Promise<{ pool: Pool } | { code: string }>;
  /** Makes new ones: on these nothing comes back any more, or nobody vouches for them. What is under way on them may end. */
  replace(pool: Pool): void;
  readonly count: number;
  /** What is under way on them ends now. */
  close(): Promise<void>;
}

export interface LinesOptions {
  readonly origin: string;
  readonly caFile: string | undefined;
  readonly connections: number;
  readonly connectMs: number;
  /** How long those that were replaced may still be used by what is under way. */
  readonly retireMs: number;
}

/** An idle connection is let go after so long: ways through NAT are forgotten without a word. */
const idleMs = 30_000;

export function createLines({ origin, caFile, connections, connectMs, retireMs }: LinesOptions): Lines {
  let current: Promise<{ pool: Pool } | { code: string }> | undefined;
  const pools = new Set<Pool>();
  let isClosed = false;

  async function open(): Promise<{ pool: Pool } | { code: string }> {
    let ca: string | undefined;
    try {
      if (caFile !== undefined) ca = await readFile(caFile, 'utf8');
    } catch (error) {
      // Looked at again by the next one who comes.
      current = undefined;
      return { code: (error as NodeJS.ErrnoException).code ?? 'unreadable' };
    }
    const pool = new Pool(origin, {
      connections,
      // HTTP/2 where the other side speaks it: a hundred exchanges on one connection instead of one.
      allowH2: true,
      h2Options: { maxConcurrentStreams: 100 },
      keepAliveTimeout: idleMs,
      keepAliveMaxTimeout: idleMs,
      // The exchange has one deadline for all of it.
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: { timeout: connectMs, ...(ca === undefined ? {} : { ca }) },
    });
    pools.add(pool);
    return { pool };
  }

  async function retire(pool: Pool, afterMs: number): Promise<void> {
    const timer = setTimeout(() => void pool.destroy().catch(() => {}), afterMs);
    await pool.close().catch(() => {});
    clearTimeout(timer);
    pools.delete(pool);
  }

  return {
    pool() {
      if (isClosed) return Promise.resolve({ code: 'closed' });
      current ??= open();
      return current;
    },
    replace(pool) {
      if (!pools.has(pool)) return;
      const now = current;
      void now?.then((found) => {
        if (current !== now || !('pool' in found) || found.pool !== pool) return;
        current = undefined;
        void retire(pool, retireMs);
      });
    },
    get count() {
      let count = 0;
      for (const pool of pools) count += pool.stats.connected;
      return count;
    },
    async close() {
      isClosed = true;
      await current;
      await Promise.all([...pools].map((pool) => pool.destroy().catch(() => {})));
      pools.clear();
    },
  };
}
