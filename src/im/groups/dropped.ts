import type { AccountId } from '../../wire/index.ts';
import type { ConversationId } from '../model.ts';
import type { Priority } from './model.ts';

/**
 * Why the rate limit dropped a message. `total`: the cycle in which it was to be served had no place for it (G29). `priority`: it had,
 * but its priority had none (G30). `evicted`: more waited than may. `deadline`: whoever sent it waits no longer. `closed`: the service ends.
 */
export type DropReason = 'total' | 'priority' | 'evicted' | 'deadline' | 'closed';

/** Messages of one sender and priority that were dropped for one reason. */
export interface DroppedLine {
  readonly sender: AccountId;
  readonly priority: Priority;
  readonly reason: DropReason;
  readonly messages: number;
  /** Milliseconds since the epoch. */
  readonly firstMs: number;
  readonly lastMs: number;
}

/** What was dropped of a group's messages lately. */
export interface DroppedView {
  /** Since when it counts, milliseconds since the epoch; undefined: nothing was dropped. */
  readonly sinceMs: number | undefined;
  /** All since then, those included of which there is no line any more. */
  readonly messages: number;
  /** The one that was added to last comes first. */
  readonly lines: readonly DroppedLine[];
}

interface Line {
  sender: AccountId;
  priority: Priority;
  reason: DropReason;
  messages: number;
  firstMs: number;
  lastMs: number;
}

interface GroupRecord {
  readonly sinceMs: number;
  messages: number;
  lastMs: number;
  /** By what they are about; the one that was added to last is the last. */
  readonly lines: Map<string, Line>;
}

/** What was dropped, by group, for people to see. Its times are those of a clock that does not go back. */
export interface Dropped {
  /** Of how many groups something is known. */
  readonly size: number;
  /** When `forget` has something to do; undefined: nothing is known. */
  readonly forgetMs: number | undefined;
  add(group: ConversationId, nowMs: number, about: { sender: AccountId; priority: Priority; reason: DropReason }): void;
  /** @param epochMs the time of day at `nowMs` */
  view(group: ConversationId, nowMs: number, epochMs: number): DroppedView;
  /** A group of which nothing was dropped for `keepMs` begins anew. */
  forget(nowMs: number): void;
}

/**
 * Keeps a line a sender, priority and reason. Bounded: of more than `maxGroups` groups, or `maxLines` lines of one, those go that were
 * not added to for longest.
 */
export function createDropped({ maxGroups = 1_000, maxLines = 100, keepMs = 600_000 } = {}): Dropped {
  // The one that was added to last is the last.
  const records = new Map<ConversationId, GroupRecord>();

  function dropOldest<Key>(map: Map<Key, unknown>, max: number): void {
    if (map.size <= max) return;
    const [oldest] = map.keys();
    map.delete(oldest as Key);
  }

  return {
    get size() {
      return records.size;
    },

    get forgetMs() {
      const [oldest] = records.values();
      return oldest === undefined ? undefined : oldest.lastMs + keepMs;
    },

    add(group, nowMs, { sender, priority, reason }) {
      const record = records.get(group) ?? { sinceMs: nowMs, messages: 0, lastMs: nowMs, lines: new Map() };
      records.delete(group);
      records.set(group, record);
      record.messages += 1;
      record.lastMs = nowMs;
      // The name comes last: it may hold anything.
      const key = `${priority}/${reason}/${sender}`;
      const line = record.lines.get(key) ?? { sender, priority, reason, messages: 0, firstMs: nowMs, lastMs: nowMs };
      record.lines.delete(key);
      record.lines.set(key, line);
      line.messages += 1;
      line.lastMs = nowMs;
      dropOldest(record.lines, maxLines);
      dropOldest(records, maxGroups);
    },

    view(group, nowMs, epochMs) {
      const record = records.get(group);
      if (record === undefined) return { sinceMs: undefined, messages: 0, lines: [] };
      const toEpoch = (ms: number) => Math.round(epochMs - (nowMs - ms));
      const lines = [...record.lines.values()].reverse();
      return {
        sinceMs: toEpoch(record.sinceMs),
        messages: record.messages,
        lines: lines.map((line) => ({ ...line, firstMs: toEpoch(line.firstMs), lastMs: toEpoch(line.lastMs) })),
      };
    },

    forget(nowMs) {
      for (const [group, { lastMs }] of records) {
        if (nowMs - lastMs < keepMs) return;
        records.delete(group);
      }
    },
  };
}
