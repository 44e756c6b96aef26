import type pg from 'pg';
import type { Logger } from '../../observe/index.ts';
import { type Database, withDeadline } from '../../store/index.ts';
import { createBatcher } from './batcher.ts';
import { type Lane, laneId } from './lane.ts';

/** One run of a lane of all processes at a time (K6). */
export interface LaneLocks {
  /** Undefined: it runs on another process. Rejects when the database does not answer. */
  take(lane: Lane): Promise<LaneLock | undefined>;
  close(): Promise<void>;
}

export interface LaneLock {
  /** Whether another process may run the lane by now. */
  isLost(): boolean;
  release(): void;
}

export interface LaneLocksOptions {
  /** How long a process may stay without a sign of life before others get its lanes; default 15 s. */
  readonly lockMs?: number;
}

/** A connection, which holds the locks as long as it lives. */
interface Session {
  readonly client: pg.Client;
  answeredMs: number;
  isOver: boolean;
}

interface Step {
  readonly id: string;
  /** Undefined: the lock is taken, in whichever session there is. */
  readonly releaseIn: Session | undefined;
}

/** Space of our advisory locks: lanes. */
const lockSpace = 0x6c_61_6e_65;
const maxSteps = 500;
const spacingMs = 5;
const endMs = 1_000;

/**
 * Locks as advisory locks of PostgreSQL, which cost a microsecond, stand in no table, and go with their connection: a process that is
 * killed leaves none behind. One that has stopped, or that the network has lost, is found by its silence: the server ends a session
 * that says nothing for `lockMs`, and a process that has not had an answer for so long counts its own locks as lost.
 *
 * Two lanes of one name in hash share a lock: on one process both get it, on two the second waits a moment.
 */
export function createLaneLocks(
  deps: { db: Pick<Database, 'createClient'>; logger: Logger },
  { lockMs = 15_000 }: LaneLocksOptions = {},
): LaneLocks {
  const { db, logger } = deps;
  let opening: Promise<Session> | undefined;
  let isClosed = false;

  function end(session: Session): void {
    if (session.isOver) return;
    session.isOver = true;
    opening = undefined;
    void withDeadline(session.client.end(), endMs).catch(() => {});
  }

  async function open(): Promise<Session> {
    const session: Session = { client: db.createClient(), answeredMs: performance.now(), isOver: false };
    session.client.on('error', (error) => {
      if (!session.isOver) logger.warn({ reason: error.message }, 'callbacks.locks.lost');
      end(session);
    });
    session.client.on('end', () => end(session));
    try {
      await session.client.connect();
      await session.client.query(`set idle_session_timeout = ${lockMs}`);
    } catch (error) {
      end(session);
      throw error;
    }
    session.answeredMs = performance.now();
    return session;
  }

  function current(): Promise<Session> {
    if (isClosed) return Promise.reject(new Error('the locks are closed'));
    opening ??= open().catch((error) => {
      opening = undefined;
      throw error;
    });
    return opening;
  }

  const steps = createBatcher<Step, { session: Session; isDone: boolean }>(
    async (items) => {
      const session = await current();
      const askedMs = performance.now();
      try {
        const { rows } = await session.client.query<{ done: boolean }>({
          name: 'callbacks_locks',
          text: `
          select case
            when k.taken then pg_try_advisory_lock(${lockSpace}, hashtext(k.id))
            else pg_advisory_unlock(${lockSpace}, hashtext(k.id))
          end as done
          from unnest($1::text[], $2::boolean[]) as k(id, taken)`,
          // Those of a session that is over went with it.
          ...valuesOf(items.filter(({ releaseIn }) => releaseIn === undefined || releaseIn === session)),
        });
        session.answeredMs = askedMs;
        let row = 0;
        return items.map(({ releaseIn }) => {
          const isAsked = releaseIn === undefined || releaseIn === session;
          return { session, isDone: isAsked && rows[row++]?.done === true };
        });
      } catch (error) {
        // Nobody knows which locks it holds.
        end(session);
        throw error;
      }
    },
    { max: maxSteps, spacingMs },
  );

  // Silence would end the session.
  const living = setInterval(() => {
    void opening
      ?.then(async (session) => {
        const askedMs = performance.now();
        try {
          await session.client.query('select 1');
          session.answeredMs = askedMs;
        } catch {
          end(session);
        }
      })
      .catch(() => {});
  }, lockMs / 3);
  living.unref();

  return {
    async take(lane) {
      const id = laneId(lane);
      const { session, isDone } = await steps.add({ id, releaseIn: undefined });
      if (!isDone) return undefined;
      let isReleased = false;
      return {
        isLost: () => session.isOver || performance.now() - session.answeredMs > lockMs,
        release() {
          if (isReleased || session.isOver) return;
          isReleased = true;
          steps.add({ id, releaseIn: session }).catch(() => {});
        },
      };
    },
    async close() {
      isClosed = true;
      clearInterval(living);
      const session = await opening?.catch(() => undefined);
      if (session === undefined || session.isOver) return;
      session.isOver = true;
      await withDeadline(session.client.end(), endMs).catch(() => {});
    },
  };
}

function valuesOf(steps: readonly Step[]): { values: [string[], boolean[]] } {
  return { values: [steps.map(({ id }) => id), steps.map(({ releaseIn }) => releaseIn === undefined)] };
}
