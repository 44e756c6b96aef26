import type { Logger, Metrics } from '../../observe/index.ts';
import type { Database } from '../../store/index.ts';
import type { Clock } from '../model.ts';
import type { LinkCheck } from './link-check.ts';
import type { NodeEnds } from './node-end.ts';

export interface UpkeepOptions {
  /** A process that has not renewed its lease for so long is dead. */
  leaseMs: number;
  renewMs: number;
  /** Pause between two looks for terminals whose process has no row. */
  orphansMs: number;
}

export interface Upkeep {
  /** Compares links with the database now: a bus message may have been lost. */
  checkSoon(): void;
  close(): Promise<void>;
}

/**
 * What keeps presence true while processes die (P7): renews this process's lease, by the database's clock, ends the terminals
 * of processes that no longer do, and compares its own links with the rows that name them. Rejects when the first round fails.
 */
export async function startUpkeep(
  deps: {
    db: Database;
    nodeId: string;
    check: LinkCheck;
    nodeEnds: NodeEnds;
    clock: Clock;
    logger: Logger;
    metrics: Metrics;
  },
  { leaseMs, renewMs, orphansMs }: UpkeepOptions,
): Promise<Upkeep> {
  const { db, nodeId, check, nodeEnds, clock, logger, metrics } = deps;
  const expired = metrics.counter(
    'qalgate_im_nodes_expired_total',
    'Processes whose lease ran out and whose terminals this one ended',
  );
  const failures = metrics.counter('qalgate_im_presence_upkeep_failures_total', 'Upkeep of presence that failed', [
    'step',
  ]);
  /** Until then only those are dead whose lease ran out so long ago. */
  let patience = { untilMs: Number.NEGATIVE_INFINITY, expiredMs: 0 };
  let mustCheck = false;
  let checkedAtMs = performance.now();
  let orphansAtMs = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let isAgain = false;
  let isClosed = false;

  /** True: there was no row, so others have ended our terminals, or this is the start. */
  async function renew(): Promise<boolean> {
    const { rows } = await db.pool.query<{ is_new: boolean; lapsed_ms: number | null }>({
      name: 'im_node_renew',
      text: `
        with was as (select lease_until from node where id = $1)
        insert into node (id, started_ms, lease_until)
        values ($1, $2, clock_timestamp() + $3 * interval '1 millisecond')
        on conflict (id) do update set lease_until = excluded.lease_until
        returning xmax = 0 as is_new,
          (select (extract(epoch from clock_timestamp() - lease_until) * 1000)::bigint from was) as lapsed_ms`,
      values: [nodeId, clock(), leaseMs],
    });
    const lapsedMs = rows[0]?.lapsed_ms ?? 0;
    // The database was away from all of us: the others need time to come back, too.
    if (lapsedMs > 0) patience = { untilMs: performance.now() + leaseMs, expiredMs: lapsedMs + leaseMs };
    return rows[0]?.is_new === true;
  }

  async function endDead(): Promise<void> {
    const isPatient = performance.now() < patience.untilMs;
    const ended = await nodeEnds.endExpired(nodeId, isPatient ? patience.expiredMs : 0);
    if (ended.nodes > 0) {
      expired.inc(ended.nodes);
      logger.warn(ended, 'im.presence.nodes.expired');
    }
    if (performance.now() - orphansAtMs < orphansMs) return;
    orphansAtMs = performance.now();
    const terminals = await nodeEnds.endOrphans(nodeId);
    if (terminals > 0) logger.warn({ terminals }, 'im.presence.orphans.ended');
  }

  async function checkLinks(): Promise<void> {
    if (!mustCheck && performance.now() - checkedAtMs < leaseMs) return;
    // Before it, so that what comes meanwhile asks for another.
    mustCheck = false;
    checkedAtMs = performance.now();
    try {
      await check.run();
    } catch (error) {
      mustCheck = true;
      throw error;
    }
  }

  async function round(): Promise<void> {
    await step('renew', async () => {
      if (!(await renew())) return;
      mustCheck = true;
      logger.warn({ nodeId }, 'im.presence.lease.lost');
    });
    await step('expire', endDead);
    await step('check', checkLinks);
  }

  async function step(name: 'renew' | 'expire' | 'check', work: () => Promise<void>): Promise<void> {
    if (isClosed) return;
    try {
      await work();
    } catch (error) {
      failures.inc({ step: name });
      logger.warn({ err: error, step: name }, 'im.presence.upkeep.failed');
    }
  }

  function run(): void {
    clearTimeout(timer);
    if (isClosed) return;
    if (running !== undefined) {
      isAgain = true;
      return;
    }
    running = round().finally(() => {
      running = undefined;
      if (isClosed) return;
      if (isAgain) {
        isAgain = false;
        run();
      } else timer = setTimeout(run, renewMs).unref();
    });
  }

  await renew();
  await endDead();
  timer = setTimeout(run, renewMs).unref();

  return {
    checkSoon() {
      mustCheck = true;
      run();
    },
    async close() {
      isClosed = true;
      clearTimeout(timer);
      await running;
    },
  };
}
