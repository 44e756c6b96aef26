import type { AccountId } from '../../wire/index.ts';
import type { ConversationId } from '../model.ts';
import { Heap, type HeapItem } from './heap.ts';
import type { Priority } from './model.ts';

/** Messages of one group a cycle, as its app and type have them (G32). 0: none passes; Infinity: any number. */
export interface GroupLimits {
  /** Of all together (G29). */
  readonly perSec: number;
  /** Of each priority (G30); High has no limit of its own. */
  readonly normalPerSec: number;
  readonly lowPerSec: number;
  readonly lowestPerSec: number;
}

/** What the rate limit has to know of a message. */
export interface PacedMessage {
  readonly priority: Priority;
  /** From the owner, an admin or the app's administrator: the limit of its priority does not hold for it; that of all does. */
  readonly isExempt: boolean;
  /** For the view of what was dropped. */
  readonly sender: AccountId;
}

/** A message that waits for the next cycle. */
export interface Waiter extends HeapItem {
  readonly cycle: Cycle;
  readonly message: PacedMessage;
  readonly rank: number;
  /** Drawn as it comes: among equals the higher one is served, whenever it came. */
  readonly lot: number;
  readonly deadline: AbortSignal;
  readonly resolve: (verdict: 'go' | 'dropped') => void;
}

/** The cycle of a group that runs. */
export interface Cycle extends HeapItem {
  readonly group: ConversationId;
  limits: GroupLimits;
  startMs: number;
  /** Places that are taken, and how many of those count for each priority. */
  served: number;
  servedOf: Record<Priority, number>;
  /** The lowest first. */
  readonly waiting: Heap<Waiter>;
}

export const cycleMs = 1_000;

export const rankOf: Readonly<Record<Priority, number>> = { Lowest: 0, Low: 1, Normal: 2, High: 3 };

const isLower = (a: Waiter, b: Waiter) => (a.rank === b.rank ? a.lot < b.lot : a.rank < b.rank);
const noneServed = (): Record<Priority, number> => ({ High: 0, Normal: 0, Low: 0, Lowest: 0 });

/** The first cycle of a group. */
export function firstCycle(group: ConversationId, limits: GroupLimits, nowMs: number): Cycle {
  const waiting = new Heap(isLower);
  return { heapAt: -1, group, limits, startMs: nowMs, served: 0, servedOf: noneServed(), waiting };
}

/** Makes it the one that runs now, with all its places. `isWaitedFor`: somebody waits for it. */
export function turn(cycle: Cycle, nowMs: number, isWaitedFor: boolean): void {
  const over = Math.floor((nowMs - cycle.startMs) / cycleMs);
  // A whole one was without a message, so this is a first one. Where somebody waits the timer was late, and they stay where they are.
  if (over > 1 && !isWaitedFor) cycle.startMs = nowMs;
  else cycle.startMs += over * cycleMs;
  cycle.served = 0;
  cycle.servedOf = noneServed();
}

export function isFull({ served, limits }: Cycle): boolean {
  return served >= limits.perSec;
}

/** Gives the message a place of a cycle that is not full, unless there is none of its priority. */
export function serve(cycle: Cycle, { priority, isExempt }: PacedMessage): 'go' | 'priority' {
  if (!isExempt) {
    if (cycle.servedOf[priority] >= limitOf(cycle.limits, priority)) return 'priority';
    cycle.servedOf[priority] += 1;
  }
  cycle.served += 1;
  return 'go';
}

function limitOf({ normalPerSec, lowPerSec, lowestPerSec }: GroupLimits, priority: Priority): number {
  if (priority === 'High') return Number.POSITIVE_INFINITY;
  if (priority === 'Normal') return normalPerSec;
  return priority === 'Low' ? lowPerSec : lowestPerSec;
}
