import { toImError } from './error.ts';
import { readArrivals } from './frames.ts';
import { type Head, know } from './head.ts';
import { type ImMessage, type Stored, showMessage } from './message.ts';
import type { Outbox } from './outbox.ts';
import { rangeAt, rangeBelow, readRanges } from './ranges.ts';
import type { Ask } from './reports.ts';
import type { ImStore } from './store.ts';

/** Some messages of a conversation, oldest first. */
export interface MessagePage {
  readonly messages: ImMessage[];
  /** There are none before these. */
  readonly isComplete: boolean;
  /** Some are missing in between or before, because the service could not be asked. */
  readonly hasGap: boolean;
}

export interface HistoryDeps {
  readonly account: string;
  readonly store: ImStore;
  readonly outbox: Outbox;
}

export interface History {
  /**
   * Up to `count` messages before a seq, those here first; where some are missing the service is asked (H1).
   *
   * @param ask undefined: only what is here
   */
  read(head: Head, before: number | undefined, count: number, ask: Ask | undefined): Promise<MessagePage>;
  /** Finds the last message of a conversation among those that are here. */
  findLast(head: Head): Promise<void>;
}

/** The least and the most that one question asks for. */
const minAsked = 20;
const maxAsked = 100;

export function createHistory({ account, store, outbox }: HistoryDeps): History {
  /**
   * Asks for what is before a seq (undefined: the newest), and stores it. Undefined: there was no answer.
   *
   * @returns the messages, and the seq down to which there are no others
   */
  async function fetch(
    head: Head,
    before: number | undefined,
    count: number,
    ask: Ask,
  ): Promise<{ messages: Stored[]; oldest: number } | undefined> {
    const limit = Math.min(Math.max(count, minAsked), maxAsked);
    try {
      const answer = await ask('history', { conversation: head.id, limit, before });
      const isMeant = ({ seq }: Stored): boolean =>
        seq >= Math.max(head.floor, 1) && (before === undefined || seq < before);
      const messages = readArrivals(answer.messages, head.id)
        .map(({ message }) => message)
        .filter(isMeant);
      // In a group what is before the first message may be a hole.
      let oldest = Math.min(messages[0]?.seq ?? Infinity, readRanges(answer.holes)?.[0]?.[0] ?? Infinity);
      const isSome = oldest < (before ?? Infinity);
      if (isSome) await keep(head, messages, oldest, before);
      else oldest = before ?? newestOf(head) + 1;
      if (answer.complete === true || !isSome) head.floor = Math.max(head.floor, oldest);
      return { messages, oldest };
    } catch (error) {
      // What is here can be shown all the same.
      if (toImError(error).retryable || head.known.length > 0) return undefined;
      throw error;
    }
  }

  async function keep(
    head: Head,
    messages: readonly Stored[],
    oldest: number,
    before: number | undefined,
  ): Promise<void> {
    const last = messages.at(-1);
    const seqs = messages.map(({ seq }) => seq);
    await store.load(head, seqs);
    for (const message of messages) {
      if (message.recalled === true || store.find(head, message.seq) === undefined) store.put(head, message);
    }
    know(head, oldest, before === undefined ? (last?.seq ?? oldest) : before - 1);
    if (last !== undefined && last.seq > head.seq) Object.assign(head, { seq: last.seq, time: last.time, last });
    await store.commit();
  }

  /** What is stored of a range that is known, from a seq downwards. @returns the seq that was reached */
  async function readRange(head: Head, from: number, to: number, count: number, found: Stored[]): Promise<number> {
    const messages = await store.read(head, from, to, count);
    // Something was given up for room: now it is a gap.
    if (messages === undefined) return to + 1;
    found.push(...messages);
    return messages.length < count ? from : (messages.at(-1)?.seq ?? from);
  }

  return {
    async read(head, before, count, ask) {
      const found: Stored[] = [];
      let asking = ask;
      let hasGap = false;
      // What the newest is, the service alone can say while nothing was heard of the conversation.
      const isUnsure = store.isOff || !head.isSynced;
      /** Everything from here on was looked at; undefined: nothing was. */
      let next = before ?? (asking !== undefined && isUnsure ? undefined : newestOf(head) + 1);
      const isVisible = ({ seq }: Stored): boolean => rangeAt(head.deleted, seq) === undefined;

      while (next === undefined || next > 1) {
        const at: number = next === undefined ? Number.POSITIVE_INFINITY : next - 1;
        const range = store.isOff ? undefined : rangeAt(head.known, at);
        const below = (store.isOff ? undefined : rangeBelow(head.known, at)?.[1]) ?? 0;
        if (range === undefined && at < head.floor) {
          next = below + 1;
          continue;
        }
        const missing = count - found.filter(isVisible).length;
        if (missing <= 0) break;
        if (range !== undefined) {
          next = await readRange(head, range[0], at, missing, found);
          continue;
        }
        const page: Awaited<ReturnType<typeof fetch>> = asking && (await fetch(head, next, missing, asking));
        if (page === undefined) {
          asking = undefined;
          hasGap = true;
          next = (next === undefined ? newestOf(head) : below) + 1;
        } else {
          found.push(...page.messages.toReversed());
          next = page.oldest;
        }
      }

      const visible = found.filter(isVisible);
      const shown = visible.slice(0, count).reverse();
      const seqs = new Set(shown.map(({ seq }) => seq));
      const unsent = before === undefined ? outbox.unsent(head.id).filter(({ seq }) => !seqs.has(seq)) : [];
      const messages = [...shown.map((stored) => showMessage(head.id, stored, account)), ...unsent].slice(-count);
      const isComplete = !hasGap && next !== undefined && next <= 1 && visible.length + unsent.length <= count;
      return { messages, isComplete, hasGap };
    },
    async findLast(head) {
      for (const [from, to] of head.known.toReversed()) {
        const [last] = (await store.read(head, from, to, 1)) ?? [];
        if (last === undefined) continue;
        head.last = last;
        return;
      }
      head.last = undefined;
    },
  };
}

function newestOf(head: Head): number {
  return Math.max(head.seq, head.known.at(-1)?.[1] ?? 0);
}
