import type { Metrics } from '../../observe/index.ts';
import type { Clock, ConversationId } from '../model.ts';
import {
  type Cycle,
  cycleMs,
  firstCycle,
  type GroupLimits,
  isFull,
  type PacedMessage,
  rankOf,
  serve,
  turn,
  type Waiter,
} from './cycle.ts';
import { createDeadlineWatch } from './deadline-watch.ts';
import { createDropped, type DroppedView, type DropReason } from './dropped.ts';
import { Heap } from './heap.ts';

export type { GroupLimits, PacedMessage } from './cycle.ts';

/** `dropped`: not delivered, no seq, not in history, and its sender has success with seq 0 (G31). */
export type Verdict = 'go' | 'dropped';

/**
 * The rate limit of groups (G28–G32), for ordinary messages, of clients and over REST: not for system notifications and member-change
 * notices. A port: this process's memory keeps the limit (`createPacer`), or a store that several processes share.
 */
export interface Pacer {
  /**
   * Decides about a message that is to be stored or handed on now. Where the group has a place for it in this cycle, the answer is
   * there at once, as a rule no promise; else it comes with the next cycle, or with the deadline, if that is sooner. Never rejects.
   *
   * To be asked before a message waits for its turn behind those of the same link: a message that waits here must not keep one of
   * higher priority from competing with it. All that wait in one group are decided about at the same moment, so nobody waits for two.
   */
  admit(
    group: ConversationId,
    limits: GroupLimits,
    message: PacedMessage,
    deadline: AbortSignal,
  ): Verdict | Promise<Verdict>;
  /** What was dropped of the group's messages lately: whose, of which priority, and why. */
  dropped(group: ConversationId): Promise<DroppedView>;
  /** Whoever waits is dropped, and whoever comes. */
  close(): Promise<void>;
}

/** Time as the limit needs it; a test brings its own. */
export interface Timekeeper {
  /** By a clock that does not go back. */
  nowMs(): number;
  /** Calls once, then; may be early or late. Gives what takes it back. */
  callAt(atMs: number, call: () => void): () => void;
}

export interface PacerOptions {
  /** Groups with messages of late, at most; default 100,000. Messages of one more are let through and counted. */
  readonly maxGroups?: number;
  /** Messages that wait, of all groups; default 100,000. Then a group has no more waiting than it has already. */
  readonly maxWaiting?: number;
}

/** Messages of a group that may wait, by its quota: more could not be served, and would only be dropped later. */
const waitingFactor = 4;

const endsSooner = (a: Cycle, b: Cycle) => a.startMs < b.startMs;

/**
 * The rate limit in the memory of one process.
 *
 * A group's cycle is a second. The first begins with the group's first message, the others follow without a gap until a whole one has
 * seen no message: then the group is forgotten, and its next message begins a first cycle again. No cycle has more than `perSec` messages,
 * but a second that lies across two may have as many as both.
 *
 * While the cycle has a place and nobody waits, a message goes at once. Else it waits, and when the next cycle begins all that wait are
 * sorted, by priority and equal ones at random, and have its places in that order; what is left of them is for those who come in it. That
 * is the one full cycle that they compete for. When its places are gone at its beginning, those who have none are told then, not a second
 * later: kept, they could only take room from those who compete for the next, and be passed by lower ones. So nobody waits longer than a cycle.
 *
 * A message for which there is a place, but none of its priority, is dropped at once, and gives its place back: what is dropped costs
 * the others nothing.
 */
export function createPacer(
  deps: {
    clock: Clock;
    /** 0 … 1. */
    random: () => number;
    metrics: Pick<Metrics, 'counter' | 'counterOf' | 'gaugeOf'>;
    time?: Timekeeper;
  },
  { maxGroups = 100_000, maxWaiting = 100_000 }: PacerOptions = {},
): Pacer {
  const { clock, random, metrics, time = realTime } = deps;
  const cycles = new Map<ConversationId, Cycle>();
  /** Those in which messages wait. Others are looked at once a second at most, to be forgotten. */
  const pending = new Heap<Cycle>(endsSooner);
  const dropped = createDropped();
  const deadlines = createDeadlineWatch<Waiter>((waiter) => {
    removeWaiting(waiter);
    drop(waiter, 'deadline');
  });
  let waiting = 0;
  let unpaced = 0;
  let isClosed = false;
  /** When those that are idle are looked for; and when the one timer of all groups strikes. */
  let sweepMs = 0;
  let timer: { readonly atMs: number; readonly cancel: () => void } | undefined;

  const droppedTotal = metrics.counter(
    'qalgate_im_group_messages_dropped_total',
    'Group messages that the rate limit dropped, by why and by their priority',
    ['reason', 'priority'],
  );
  metrics.counterOf(
    'qalgate_im_group_messages_unpaced_total',
    'Group messages let through uncounted, because too many groups were active',
    () => unpaced,
  );
  metrics.gaugeOf('qalgate_im_group_messages_waiting', 'Group messages over their quota that wait', () => waiting);
  metrics.gaugeOf('qalgate_im_groups_paced', 'Groups whose messages are counted', () => cycles.size);
  metrics.gaugeOf(
    'qalgate_im_groups_with_drops',
    'Groups of which it is known what was dropped lately',
    () => dropped.size,
  );

  function note(group: ConversationId, { sender, priority }: PacedMessage, reason: DropReason): void {
    droppedTotal.inc({ reason, priority });
    dropped.add(group, time.nowMs(), { sender, priority, reason });
  }

  /** Tells one that waits no longer. */
  function settle(waiter: Waiter, verdict: Verdict): void {
    deadlines.remove(waiter.deadline, waiter);
    waiter.resolve(verdict);
  }

  function drop(waiter: Waiter, reason: DropReason): void {
    note(waiter.cycle.group, waiter.message, reason);
    settle(waiter, 'dropped');
  }

  /** Gives it a place, where there is one of its priority: the cycle has one. */
  function serveWaiter(waiter: Waiter): void {
    const served = serve(waiter.cycle, waiter.message);
    if (served === 'go') settle(waiter, 'go');
    else drop(waiter, served);
  }

  /** All that wait, the highest first; none of them waits any more. */
  function takeWaiting(cycle: Cycle): Waiter[] {
    pending.remove(cycle);
    waiting -= cycle.waiting.size;
    return cycle.waiting.takeAll().reverse();
  }

  function addWaiting(waiter: Waiter): void {
    const { cycle } = waiter;
    cycle.waiting.add(waiter);
    waiting += 1;
    if (cycle.waiting.size === 1) pending.add(cycle);
  }

  function removeWaiting(waiter: Waiter): void {
    const { cycle } = waiter;
    cycle.waiting.remove(waiter);
    waiting -= 1;
    if (cycle.waiting.size === 0) pending.remove(cycle);
  }

  /** The lowest go while more wait than may. */
  function evict(cycle: Cycle): void {
    let room = cycle.limits.perSec * waitingFactor;
    // Where all have too many waiting, its own lowest one makes room for a message of a group.
    if (waiting > maxWaiting) room = Math.min(room, cycle.waiting.size - 1);
    while (cycle.waiting.size > room) {
      const lowest = cycle.waiting.first as Waiter;
      removeWaiting(lowest);
      drop(lowest, 'evicted');
    }
  }

  /** Begins the cycle that runs now. Its places go first to those who wait. Whether there were any. */
  function begin(cycle: Cycle, nowMs: number): boolean {
    const waiters = takeWaiting(cycle);
    turn(cycle, nowMs, waiters.length > 0);
    for (const waiter of waiters) {
      if (isFull(cycle)) drop(waiter, 'total');
      else serveWaiter(waiter);
    }
    return waiters.length > 0;
  }

  /** More may be served than when they came. */
  function serveMore(cycle: Cycle): void {
    for (const waiter of takeWaiting(cycle)) {
      if (isFull(cycle)) addWaiting(waiter);
      else serveWaiter(waiter);
    }
  }

  function wait(cycle: Cycle, message: PacedMessage, deadline: AbortSignal): Promise<Verdict> {
    return new Promise((resolve) => {
      const waiter = { heapAt: -1, cycle, message, rank: rankOf[message.priority], lot: random(), deadline, resolve };
      deadlines.add(deadline, waiter);
      addWaiting(waiter);
      evict(cycle);
      // When whoever asks knows his promise: those who are served go on in the order of service, he among them.
      if (!isFull(cycle)) queueMicrotask(() => serveMore(cycle));
      arm();
    });
  }

  function strike(): void {
    timer = undefined;
    const nowMs = time.nowMs();
    for (let next = pending.first; next !== undefined && next.startMs + cycleMs <= nowMs; next = pending.first) {
      begin(next, nowMs);
    }
    if (nowMs >= sweepMs) {
      sweepMs = nowMs + cycleMs;
      dropped.forget(nowMs);
      // One for which somebody waits has just begun.
      for (const cycle of cycles.values()) {
        if (nowMs - cycle.startMs >= 2 * cycleMs) cycles.delete(cycle.group);
      }
    }
    arm();
  }

  /** Sets the timer to what comes next. */
  function arm(): void {
    let atMs = Number.POSITIVE_INFINITY;
    if (pending.first !== undefined) atMs = pending.first.startMs + cycleMs;
    if (cycles.size > 0) atMs = Math.min(atMs, sweepMs);
    else if (dropped.forgetMs !== undefined) atMs = Math.min(atMs, Math.max(sweepMs, dropped.forgetMs));
    if (timer !== undefined && timer.atMs <= atMs) return;
    timer?.cancel();
    timer = atMs === Number.POSITIVE_INFINITY ? undefined : { atMs, cancel: time.callAt(atMs, strike) };
  }

  function open(group: ConversationId, limits: GroupLimits, nowMs: number): Cycle {
    const cycle = firstCycle(group, limits, nowMs);
    cycles.set(group, cycle);
    if (cycles.size === 1) {
      sweepMs = nowMs + cycleMs;
      arm();
    }
    return cycle;
  }

  return {
    admit(group, limits, message, deadline) {
      if (isClosed || deadline.aborted) {
        note(group, message, isClosed ? 'closed' : 'deadline');
        // What is noted has to be forgotten again.
        if (!isClosed) arm();
        return 'dropped';
      }
      const nowMs = time.nowMs();
      let cycle = cycles.get(group);
      let isBehindOthers = false;
      if (cycle === undefined) {
        if (cycles.size >= maxGroups) {
          unpaced += 1;
          return 'go';
        }
        cycle = open(group, limits, nowMs);
      } else {
        // The timer may be late.
        if (nowMs - cycle.startMs >= cycleMs) isBehindOthers = begin(cycle, nowMs);
        cycle.limits = limits;
      }
      if (cycle.waiting.size > 0 || isFull(cycle)) return wait(cycle, message, deadline);
      const served = serve(cycle, message);
      if (served !== 'go') note(group, message, served);
      const verdict = served === 'go' ? 'go' : 'dropped';
      // Those who waited go on when this turn of the loop ends; it may not pass them.
      return isBehindOthers ? Promise.resolve(verdict) : verdict;
    },

    async dropped(group) {
      return dropped.view(group, time.nowMs(), clock());
    },

    async close() {
      isClosed = true;
      timer?.cancel();
      timer = undefined;
      for (const cycle of cycles.values()) {
        for (const waiter of takeWaiting(cycle)) drop(waiter, 'closed');
      }
      cycles.clear();
    },
  };
}

const realTime: Timekeeper = {
  nowMs: () => performance.now(),
  callAt(atMs, call) {
    const timer = setTimeout(call, Math.max(1, Math.ceil(atMs - performance.now())));
    timer.unref();
    return () => clearTimeout(timer);
  },
};
