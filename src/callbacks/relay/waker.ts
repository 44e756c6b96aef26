import { setTimeout as delay } from 'node:timers/promises';
import type { Logger, Metrics } from '../../observe/index.ts';
import { withDeadline } from '../../store/index.ts';
import { type Lane, laneId } from './lane.ts';
import type { DrainQueue } from './queue.ts';

/**
 * Has lanes run: here, where this process runs any, in the order in which they were woken; elsewhere through the queue, many at a time.
 * A lane that is woken and run on one process costs the queue nothing.
 */
export interface Waker {
  /** Something was written for the lane. Synchronous, best effort: what does not get through the sweep finds. */
  wake(lane: Lane): void;
  /** The lanes need not wait for their time any more. */
  wakeNow(lanes: readonly Lane[]): void;
  /** Has the queue call the lane after a while, whatever it has of it. Whether it could: if not, the sweep finds the lane. */
  callLater(lane: Lane, delayMs: number): Promise<boolean>;
  /** Whether the lane waits here for its turn, runs here, or waits in the queue for its time: then a wake would change nothing. */
  knows(lane: Lane): boolean;
  /** Whether the lane runs on this process. */
  isRunning(lane: Lane): boolean;
  /** Whether lanes wait here for their turn. */
  isBusy(): boolean;
  /**
   * From now on lanes are run here, `max` at once. `run` begins with `begin`, and never rejects; the signal ends what takes too long. What
   * it gives back is left to do for the lane when another one has its place.
   */
  runHere(run: (lane: Lane, signal: AbortSignal) => Promise<(() => Promise<void>) | undefined>, max: number): void;
  /** Nothing begins here for a moment: what every lane needs is away. */
  rest(): void;
  /** A lane begins to run. Wakes that come until it ends do not go to the queue, in whose job it is already: the run hears of them. */
  begin(lane: Lane): LaneRun;
  close(): Promise<void>;
}

export interface LaneRun {
  /** Whether the lane was woken since it was asked last; `now`: it need not wait for its time either. */
  woken(): Woken;
  /** Once the queue has it as waiting for its time, so long; or before it hears that there is nothing to wait for. */
  end(delayMs?: number): void;
}

export interface WakerOptions {
  /** How long lanes wait here for their turn before other processes may have them; undefined: there are none. */
  readonly handOverMs?: number | undefined;
  /** How long runs under way may still take when it closes; default 5 s. */
  readonly closeMs?: number;
}

type Woken = 'no' | 'yes' | 'now';

/** Lanes that wait to be handed over. */
const maxPending = 50_000;
/** Lanes that are known to wait for their time; of more the queue is asked. */
const maxWaiting = 50_000;
/** How long that is believed: another process may have run the lane since, and left its job behind. */
const maxWaitingMs = 30_000;
/** Lanes with something left to do when their run is over; with more they keep their places. */
const maxEnding = 1_000;
const restMs = 250;
const maxBatch = 500;
/** Between two attempts to hand over what need not wait any more. */
const retryMs = 500;
/** What is left to do when runs have been told to end. */
const stopMs = 2_000;

export function createWaker(
  deps: { queue: Pick<DrainQueue, 'wake'>; logger: Logger; metrics: Metrics },
  { handOverMs, closeMs = 5_000 }: WakerOptions = {},
): Waker {
  const { queue, logger, metrics } = deps;
  const lost = metrics.counter('qalgate_callbacks_wakes_lost_total', 'Wakes that did not reach the queue', ['reason']);
  /** Lanes that wait for their turn here. */
  const pending = new Map<string, { readonly lane: Lane; readonly sinceMs: number }>();
  /** The next of them: an iterator of a map goes on with what is added later. */
  let turns = pending.entries();
  /** Lanes that go to the queue. */
  const calls = new Map<string, { readonly lane: Lane; readonly now: boolean }>();
  /** Lanes that run on this process, or have something left to do. */
  const active = new Map<string, { woken: Woken }>();
  /**
   * Lanes that the queue has as waiting for their time, and when that is over. Every event of a conversation that fails wakes its lane:
   * that shall cost nothing.
   */
  const waiting = new Map<string, number>();
  let here: { run: Parameters<Waker['runHere']>[0]; max: number } | undefined;
  let resting: NodeJS.Timeout | undefined;
  /** Nothing waits for its time any more. */
  const closing = new AbortController();
  /** Runs under way end. */
  const stop = new AbortController();
  const runs = new Set<Promise<void>>();
  const endings = new Set<Promise<void>>();
  let flushing: Promise<void> | undefined;
  let isClosed = false;
  metrics.gaugeOf(
    'qalgate_callbacks_pending_lanes',
    'Lanes that wait on this process for their turn',
    () => pending.size,
  );

  async function flush(): Promise<void> {
    // A turn later: what comes in one turn goes together.
    await new Promise<void>((resolve) => setImmediate(resolve));
    while (calls.size > 0) {
      const some = [...calls].slice(0, maxBatch);
      for (const [id] of some) calls.delete(id);
      const later = some.filter(([, { now }]) => !now);
      const now = some.filter(([, one]) => one.now);
      await hand(later, {}).catch((error) => {
        noteLost(error, here === undefined || isClosed ? later.length : 0);
        if (here === undefined || isClosed) return;
        // They have their turn here, then.
        for (const [id, { lane }] of later) if (!active.has(id)) pending.set(id, { lane, sinceMs: performance.now() });
        runSome();
      });
      await hand(now, { now: true }).catch(async (error) => {
        noteLost(error, isClosed ? now.length : 0);
        if (isClosed) return;
        // The queue has them as waiting for their time: nobody else would call them before.
        for (const [id, one] of now) calls.set(id, one);
        await delay(retryMs, undefined, { signal: closing.signal, ref: false }).catch(() => {});
      });
    }
    flushing = undefined;
  }

  async function hand(
    some: readonly (readonly [string, { readonly lane: Lane }])[],
    how: { now?: boolean },
  ): Promise<void> {
    if (some.length > 0)
      await queue.wake(
        some.map(([, { lane }]) => lane),
        how,
      );
  }

  function call(id: string, lane: Lane, now: boolean): void {
    calls.set(id, { lane, now: now || calls.get(id)?.now === true });
    flushing ??= flush();
  }

  function nextTurn(): Lane | undefined {
    let turn = turns.next();
    if (turn.done && pending.size > 0) {
      turns = pending.entries();
      turn = turns.next();
    }
    if (turn.done) return undefined;
    const [id, { lane }] = turn.value;
    pending.delete(id);
    return lane;
  }

  function runSome(): void {
    // Runs of the queue have places of their own, so that neither takes the other's.
    while (here !== undefined && !isClosed && resting === undefined && runs.size < here.max) {
      const lane = nextTurn();
      if (lane === undefined) return;
      const run = runOne(here.run, lane).finally(() => {
        runs.delete(run);
        runSome();
      });
      runs.add(run);
    }
  }

  async function runOne(run: Parameters<Waker['runHere']>[0], lane: Lane): Promise<void> {
    const finish = await run(lane, stop.signal);
    if (finish === undefined) return;
    const ending = finish().finally(() => endings.delete(ending));
    endings.add(ending);
    if (endings.size > maxEnding) await ending;
  }

  /** Other processes may have their hands free. */
  function handOver(afterMs: number): void {
    for (const [id, { lane, sinceMs }] of pending) {
      if (performance.now() - sinceMs < afterMs) return;
      pending.delete(id);
      call(id, lane, false);
    }
  }
  const handingOver =
    handOverMs === undefined ? undefined : setInterval(() => handOver(handOverMs), handOverMs / 4).unref();

  function noteLost(error: unknown, lanes: number): void {
    lost.inc({ reason: 'queue-away' }, lanes);
    logger.debug({ reason: error instanceof Error ? error.message : String(error) }, 'callbacks.wake.failed');
  }

  function add(lane: Lane, now: boolean): void {
    const id = laneId(lane);
    const running = active.get(id);
    if (running !== undefined) {
      running.woken = now || running.woken === 'now' ? 'now' : 'yes';
      return;
    }
    const isInQueue = waits(id);
    if (isClosed || (!now && isInQueue)) return;
    if (pending.has(id)) return;
    if (pending.size + calls.size >= maxPending && !calls.has(id)) {
      lost.inc({ reason: 'full' });
      return;
    }
    waiting.delete(id);
    // Where its job waits in the queue, that is what is called; run here, it would leave it behind.
    if (here === undefined || isInQueue) {
      call(id, lane, now);
      return;
    }
    pending.set(id, { lane, sinceMs: performance.now() });
    runSome();
  }

  function noteWaiting(id: string, delayMs: number): void {
    waiting.set(id, performance.now() + Math.min(delayMs, maxWaitingMs));
    const [oldest] = waiting.keys();
    if (waiting.size > maxWaiting && oldest !== undefined) waiting.delete(oldest);
  }

  function waits(id: string): boolean {
    const untilMs = waiting.get(id);
    return untilMs !== undefined && untilMs > performance.now();
  }

  return {
    wake: (lane) => add(lane, false),
    async callLater(lane, delayMs) {
      try {
        await queue.wake([lane], { delayMs });
        return true;
      } catch (error) {
        noteLost(error, 1);
        return false;
      }
    },
    knows(lane) {
      const id = laneId(lane);
      return pending.has(id) || calls.has(id) || active.has(id) || waits(id);
    },
    isRunning: (lane) => active.has(laneId(lane)),
    isBusy: () => pending.size > 0,
    runHere(run, max) {
      here = { run, max };
      runSome();
    },
    rest() {
      resting ??= setTimeout(() => {
        resting = undefined;
        runSome();
      }, restMs).unref();
    },
    wakeNow(lanes) {
      for (const lane of lanes) add(lane, true);
    },
    begin(lane) {
      const id = laneId(lane);
      const running: { woken: Woken } = { woken: 'no' };
      active.set(id, running);
      waiting.delete(id);
      // What it was woken for this run finds.
      pending.delete(id);
      let isOver = false;
      return {
        woken() {
          const { woken } = running;
          running.woken = 'no';
          return woken;
        },
        end(delayMs = 0) {
          if (isOver) return;
          isOver = true;
          active.delete(id);
          if (delayMs > 0) noteWaiting(id, delayMs);
          // One that waits for its time goes on waiting when there is only more of it.
          if (running.woken !== 'no') add(lane, running.woken === 'now');
        },
      };
    },
    async close() {
      isClosed = true;
      closing.abort();
      clearInterval(handingOver);
      clearTimeout(resting);
      await withDeadline(Promise.all([flushing, ...runs]), closeMs);
      stop.abort();
      await withDeadline(Promise.all([...runs, ...endings]), stopMs);
    },
  };
}
