import type pg from 'pg';
import type { Logger } from '../../observe/index.ts';
import type { Database } from '../connection.ts';
import { withDeadline } from '../deadline.ts';
import { createBatcher } from './batcher.ts';

/** One run of a lane of all processes at a time (K6). */
export interface LaneLocks {
  /** Undefined: it runs on another process. Rejects with LocksAway when the database does not answer. */
  take(laneId: string): Promise<LaneLock | undefined>;
  close(): Promise<void>;
}

/** Nobody gets a lock at the moment. */
export class LocksAway extends Error {
  override readonly name = 'LocksAway';
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

type Step =
  /** In whichever session there is. */
  | { readonly kind: 'take'; readonly id: string }
  | { readonly kind: 'release'; readonly id: string; readonly session: Session }
  /** Nothing but a sign of life. */
  | { readonly kind: 'live' };

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
  /** The last one that was. */
  let opened: Session | undefined;
  let isClosed = false;

  const closed = (): Error => new Error('the locks are closed');

  function end(session: Session): void {
    if (session.isOver) return;
    session.isOver = true;
    opening = undefined;
    void withDeadline(session.client.end(), endMs).catch(() => {});
  }

  async function open(): Promise<Session> {
    const session: Session = { client: db.createClient(), answeredMs: performance.now(), isOver: false };
    session.client.on('error', (error) => {
      if (!session.isOver) logger.warn({ reason: error.message }, 'store.locks.lost');
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
    if (isClosed) {
      end(session);
      throw closed();
    }
    session.answeredMs = performance.now();
    opened = session;
    return session;
  }

  function current(): Promise<Session> {
    if (isClosed) return Promise.reject(closed());
    opening ??= open().catch((error) => {
      opening = undefined;
      throw error;
    });
    return opening;
  }

  const steps = createBatcher<Step, { session: Session; isDone: boolean }>(
    async (items) => {
      const session = await current();
      // Those of a session that is over went with it.
      const isAsked = (step: Step): step is Exclude<Step, { kind: 'live' }> =>
        step.kind === 'take' || (step.kind === 'release' && step.session === session);
      const asked = items.filter(isAsked);
      const askedMs = performance.now();
      try {
        const { rows } = await session.client.query<{ done: boolean }>({
          name: 'lane_locks',
          text: `
          select case
            when k.taken then pg_try_advisory_lock(${lockSpace}, hashtext(k.id))
            else pg_advisory_unlock(${lockSpace}, hashtext(k.id))
          end as done
          from unnest($1::text[], $2::boolean[]) as k(id, taken)`,
          values: [asked.map(({ id }) => id), asked.map(({ kind }) => kind === 'take')],
        });
        session.answeredMs = askedMs;
        let row = 0;
        return items.map((step) => ({ session, isDone: isAsked(step) && rows[row++]?.done === true }));
      } catch (error) {
        // Nobody knows which locks it holds.
        end(session);
        throw error;
      }
    },
    { max: maxSteps, spacingMs },
  );

  // Silence would end the session. With the others, as a connection has one statement at a time.
  const living = setInterval(() => {
    if (opening !== undefined) steps.add({ kind: 'live' }).catch(() => {});
  }, lockMs / 3);
  living.unref();

  return {
    async take(id) {
      const { session, isDone } = await steps.add({ kind: 'take', id }).catch((error: unknown) => {
        throw new LocksAway(error instanceof Error ? error.message : String(error), { cause: error });
      });
      if (!isDone) return undefined;
      let isReleased = false;
      return {
        isLost: () => session.isOver || performance.now() - session.answeredMs > lockMs,
        release() {
          if (isReleased || session.isOver) return;
          isReleased = true;
          steps.add({ kind: 'release', id, session }).catch(() => {});
        },
      };
    },
    async close() {
      isClosed = true;
      clearInterval(living);
      // One that is opened later, as nobody answers, ends itself then.
      await withDeadline(Promise.resolve(opening), endMs).catch(() => {});
      if (opened === undefined || opened.isOver) return;
      opened.isOver = true;
      await withDeadline(opened.client.end(), endMs).catch(() => {});
    },
  };
}
