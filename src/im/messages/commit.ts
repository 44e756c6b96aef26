import type { Logger, Metrics } from '../../observe/index.ts';
import type { Database } from '../../store/index.ts';
import type { Clock } from '../model.ts';
import { type CommitInput, commitStatement } from './commit-statement.ts';
import type { CommitTimes } from './commit-times.ts';

export type CommitStatus = 'stored' | 'repeat' | 'authorise-again' | 'no-conversation' | 'ask-again';

export interface Committed {
  readonly status: CommitStatus;
  readonly seq: number;
  /** Unix seconds. */
  readonly time: number;
  readonly msgSeq: number;
  readonly random: number;
  /** The newest seq before it that the account with the lower number, or the higher, sees. */
  readonly prevA: number;
  readonly prevB: number;
}

export interface Committer {
  /**
   * Stores the message. Resolves when its transaction is committed. `onStored` is called before, synchronously and in the
   * order of the conversation's seqs, when it was stored just now.
   * Rejects with QueueFull when too much waits, with TooLate when it was not begun by its deadline; with the database's error when whether it was stored is not known.
   */
  commit(input: CommitInput, onStored: (committed: Committed) => void): Promise<Committed>;
  /** Messages that wait or are being stored. */
  readonly depth: number;
}

/** Too many messages wait for the database. */
export class QueueFull extends Error {
  override readonly name = 'QueueFull';
}

/** The deadline came while the message waited: after an outage nobody gets what was given up long ago. */
export class TooLate extends Error {
  override readonly name = 'TooLate';
}

interface Waiting {
  readonly input: CommitInput;
  readonly onStored: (committed: Committed) => void;
  readonly resolve: (committed: Committed) => void;
  readonly reject: (error: unknown) => void;
}

interface CommitRow {
  status: number;
  seq: number;
  msg_time: number;
  msg_seq: number;
  msg_random: number;
  prev_a: number;
  prev_b: number;
}

const maxBatch = 256;
const statuses: readonly CommitStatus[] = ['stored', 'repeat', 'authorise-again', 'no-conversation', 'ask-again'];
/** Deadlock, serialisation failure: the same batch may succeed. */
const passingStates = new Set(['40001', '40P01']);

/**
 * Group commit: a message that finds nothing in flight goes at once; what comes meanwhile goes together in the next
 * transaction. One is in flight at a time, so the order of arrival is the order of a conversation (M15).
 */
export function createCommitter(
  deps: { db: Database; times?: CommitTimes; clock: Clock; logger: Logger; metrics: Metrics },
  { maxWaiting = 20_000, maxWaitingChars = 67_108_864 }: { maxWaiting?: number; maxWaitingChars?: number } = {},
): Committer {
  const { db, times, clock, logger, metrics } = deps;
  let waiting: Waiting[] = [];
  /** Of the bodies that wait. */
  let waitingChars = 0;
  let inFlight = 0;
  let isDraining = false;
  const batchSizes = metrics.plainHistogram(
    'qalgate_im_commit_batch_messages',
    'Messages of one commit',
    [1, 2, 4, 8, 16, 32, 64, 128, 256],
  );
  const durations = metrics.plainHistogram(
    'qalgate_im_commit_duration_seconds',
    'One commit, from the statement to its answer',
    [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2],
  );
  const failures = metrics.counter('qalgate_im_commit_failures_total', 'Commits that failed', ['kind']);
  metrics.gaugeOf('qalgate_im_commit_waiting', 'Messages that wait for the database', () => waiting.length);

  async function run(batch: readonly Waiting[]): Promise<void> {
    const startedMs = performance.now();
    const { rows } = await db.pool.query<CommitRow>(
      commitStatement(
        batch.map(({ input }) => input),
        clock(),
      ),
    );
    const tookMs = performance.now() - startedMs;
    durations.observe(tookMs / 1_000);
    times?.add(tookMs);
    batchSizes.observe(batch.length);
    batch.forEach((one, index) => {
      const row = rows[index];
      if (row === undefined) one.reject(new Error('im_commit answered too few rows'));
      // The same message twice in a batch: the next one will know it.
      else if (statuses[row.status] === 'ask-again') {
        waiting.unshift(one);
        waitingChars += one.input.body.length;
      } else settle(one, toCommitted(row));
    });
  }

  /** A batch that fails is tried again where that helps, then each message alone: one that is bad fails alone. */
  async function runSafely(batch: readonly Waiting[]): Promise<void> {
    try {
      return await run(batch);
    } catch (error) {
      const state = sqlStateOf(error);
      failures.inc({ kind: state === undefined ? 'connection' : 'statement' });
      logger.warn({ reason: reasonOf(error), sqlState: state, messages: batch.length }, 'im.commit.failed');
      // Not the server's word: whether it was stored is not known, and trying again here would be no better.
      if (state === undefined || batch.length === 1) {
        if (state !== undefined && passingStates.has(state)) return runAlone(batch);
        for (const { reject } of batch) reject(error);
        return;
      }
      if (passingStates.has(state)) {
        try {
          return await run(batch);
        } catch {
          // Each alone, then.
        }
      }
    }
    await runAlone(batch);
  }

  async function runAlone(batch: readonly Waiting[]): Promise<void> {
    for (const one of batch) {
      try {
        await run([one]);
      } catch (error) {
        one.reject(error);
      }
    }
  }

  function settle(one: Waiting, committed: Committed): void {
    if (committed.status === 'stored') {
      try {
        one.onStored(committed);
      } catch (error) {
        logger.error({ err: error }, 'im.commit.listener.failed');
      }
    }
    one.resolve(committed);
  }

  function takeBatch(): Waiting[] {
    const some = waiting.slice(0, maxBatch);
    waiting = waiting.slice(maxBatch);
    for (const { input } of some) waitingChars -= input.body.length;
    return some.filter(({ input, reject }) => {
      if (input.deadline.aborted) reject(new TooLate('its deadline passed before it was stored'));
      return !input.deadline.aborted;
    });
  }

  async function drain(): Promise<void> {
    isDraining = true;
    // A tick later, so that what comes with it goes with it.
    await undefined;
    while (waiting.length > 0) {
      const batch = takeBatch();
      if (batch.length === 0) continue;
      inFlight = batch.length;
      await runSafely(batch);
      inFlight = 0;
    }
    isDraining = false;
  }

  return {
    get depth() {
      return waiting.length + inFlight;
    },
    commit(input, onStored) {
      if (waiting.length >= maxWaiting || waitingChars >= maxWaitingChars) {
        return Promise.reject(new QueueFull(`${waiting.length} messages wait already`));
      }
      return new Promise((resolve, reject) => {
        waiting.push({ input, onStored, resolve, reject });
        waitingChars += input.body.length;
        if (!isDraining) void drain();
      });
    },
  };
}

function toCommitted(row: CommitRow): Committed {
  return {
    status: statuses[row.status] ?? 'no-conversation',
    seq: row.seq,
    time: row.msg_time,
    msgSeq: row.msg_seq,
    random: row.msg_random,
    prevA: row.prev_a,
    prevB: row.prev_b,
  };
}

/** Its message alone: an error's details quote what was to be stored, and pg's error carries them. */
function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The server's five characters; undefined: the connection failed. */
function sqlStateOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  // Class 57: the server goes down or cut us off, so nothing is known either.
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && !code.startsWith('57') && !code.startsWith('08')
    ? code
    : undefined;
}
