import type { Delivery, Taken } from './delivery.ts';
import { toImError } from './error.ts';
import type { Emit } from './events.ts';
import {
  type Arrival,
  type Fields,
  listOf,
  numberOr,
  optionalText,
  type Recent,
  readArrivals,
  readRecents,
  seqsOf,
} from './frames.ts';
import { type Head, isKnown, know, moveShown, noteRecent, noteUnread, skipRecalls } from './head.ts';
import type { HoleFiller, Inbox } from './inbox.ts';
import { isOfTwo } from './letter.ts';
import { readRanges, subtractRanges } from './ranges.ts';
import type { Ask } from './reports.ts';
import type { Signals } from './signals.ts';
import type { ImStore } from './store.ts';

const pageMessages = 100;
/** As many as the service tells of (M9). */
const maxRecents = 100;
/** Messages of a conversation that was not known which are looked through for new ones. */
const maxLookedThrough = 2_000;

export interface SyncDeps {
  readonly store: ImStore;
  readonly delivery: Delivery;
  readonly inbox: Inbox;
  readonly signals: Signals;
  readonly emit: Emit;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Over one link: what it began ends with the link. */
  readonly ask: Ask;
  /** When this session began, by the service's clock, Unix seconds. */
  readonly startedAt: number;
  readonly withRecents: boolean;
  readonly extension: Extension | undefined;
}

/** What an extension fetches with, over one link. */
export interface SyncTools extends SyncDeps {
  /** Everything after what was shown. */
  follow(head: Head): Promise<void>;
  recallsOf(recent: Recent): Promise<void>;
  /** What the service refuses for good is told of and left; whatever else goes wrong is thrown. */
  forgive(request: string, run: () => Promise<void>): Promise<void>;
}

/**
 * What another part of the SDK adds to a client: conversations that are none of two people. Its methods run in the order of
 * events: nothing that came later overtakes them. What they throw ends the link, and the next one begins anew.
 */
export interface Extension {
  /** Fetches what did not come by itself: after a login (`isFirst`), and after each interruption. */
  sync(tools: SyncTools, isFirst: boolean): Promise<void>;
  /** The service tells the account something that is no message. */
  notice(tools: SyncTools, fields: Fields): Promise<void>;
}

/** Fetches what did not come by itself, over one link. Rejects when the link ends, or the service cannot answer just now. */
export interface Sync extends HoleFiller {
  /** After a login: offline messages, then the last messages of recent contacts (M5). */
  signIn(): Promise<void>;
  /** After an interruption: everything that came meanwhile (H4). */
  catchUp(): Promise<void>;
}

export function createSync(deps: SyncDeps): Sync {
  const { store, delivery, inbox, signals, emit, clock, ask, startedAt, withRecents, extension } = deps;

  async function offline(): Promise<void> {
    let after: string | undefined;
    do {
      const page = await ask('offline', { after });
      const arrivals = readArrivals(page.messages);
      for (const { conversation, message } of arrivals) await delivery.renew(conversation, message);
      const last = new Map(arrivals.map(({ conversation, message }) => [conversation, message.seq]));
      // Of what came meanwhile, as another terminal of the account sent it, some belongs between.
      const meanwhile = inbox.pull(({ conversation, message }) => message.seq < (last.get(conversation) ?? 0));
      await delivery.take([...arrivals, ...meanwhile].sort(byTime).map(alone));
      const next = optionalText(page.after);
      if (next === after) break;
      after = next;
    } while (after !== undefined);
  }

  /** The last message of each recent contact, unless it is stored or was delivered (M5). */
  async function lasts(): Promise<void> {
    const recents = await askRecents();
    // Some may have come after the login: their events are under way, and come before the answer to another question.
    if (recents.some((recent) => isAhead(recent) && (recent.last?.time ?? 0) >= startedAt)) await ask('beat');
    const shown: Taken[] = [];
    const reached: [Head, number][] = [];
    for (const recent of recents) {
      const { conversation, seq, last } = recent;
      const head = store.head(conversation);
      noteRecent(head, recent);
      head.isSynced = true;
      const first = inbox.waiting(conversation).find(({ message }) => message.seq > head.shown);
      if (first !== undefined && first.message.seq <= seq) {
        // The last message is among those that wait.
        moveShown(head, first.prev ?? first.message.seq - 1);
      } else {
        if (first === undefined) skipRecalls(head, recent.recallNo);
        if (seq > head.shown && last !== undefined && !isKnown(head, last.seq)) {
          shown.push(alone({ conversation, message: last, prev: undefined, isUncounted: true }));
        }
        reached.push([head, seq]);
      }
    }
    await delivery.take(shown);
    for (const [head, seq] of reached) moveShown(head, seq);
    for (const recent of recents) await recallsOf(recent);
  }

  function isAhead({ conversation, seq }: Recent): boolean {
    return seq > store.head(conversation).shown;
  }

  /** Oldest first. */
  async function askRecents(): Promise<Recent[]> {
    const recents = readRecents((await ask('recents')).conversations).reverse();
    for (const { conversation, last } of recents) if (last !== undefined) await delivery.renew(conversation, last);
    return recents;
  }

  async function recallsOf({ conversation, recallNo }: Recent): Promise<void> {
    const head = store.head(conversation);
    if (recallNo > head.recallNo) await forgive('sync', () => recalls(head));
  }

  async function recalls(head: Head): Promise<void> {
    const fields = { conversation: head.id, since: head.seq, recallNo: head.recallNo, limit: 1 };
    await noteRecalls(head, await ask('sync', fields));
  }

  async function noteRecalls(
    head: Head,
    page: { readonly recalled?: unknown; readonly recallNo?: unknown },
  ): Promise<void> {
    await delivery.recall(head, seqsOf(page.recalled));
    head.recallNo = Math.max(head.recallNo, numberOr(page.recallNo, 0));
  }

  /** Everything after what was shown. */
  async function follow(head: Head): Promise<void> {
    for (;;) {
      const since = head.shown;
      const { id: conversation, recallNo } = head;
      const page = await ask('sync', { conversation, since, recallNo, limit: pageMessages });
      const throughSeq = numberOr(page.throughSeq, 0);
      await delivery.take(inRow(readArrivals(page.messages, head.id), since));
      know(head, since + 1, throughSeq);
      // In a group history may have more than is delivered.
      head.known = subtractRanges(head.known, readRanges(page.holes) ?? []);
      moveShown(head, throughSeq);
      await noteRecalls(head, page);
      if (page.more !== true || head.shown === since) return;
    }
  }

  /** Of a conversation whose state at the login is not known: what came since then, before a seq. */
  async function lookBack(head: Head, before?: number): Promise<void> {
    // Of the second of the login itself: what the recent contacts did not tell of came after it. Without them nobody knows.
    const since = Math.max(withRecents ? startedAt - 1 : startedAt, store.forgottenTime);
    const found: Arrival[] = [];
    let next = before;
    for (;;) {
      const page = await ask('history', { conversation: head.id, limit: pageMessages, before: next });
      const arrivals = readArrivals(page.messages, head.id);
      const fresh = arrivals.filter(({ message }) => message.time > since && message.seq > head.shown);
      found.unshift(...fresh);
      next = arrivals[0]?.message.seq;
      const isDone = fresh.length < arrivals.length || page.complete === true || found.length >= maxLookedThrough;
      if (isDone || next === undefined) break;
    }
    const [first] = found;
    if (first !== undefined) await delivery.take(inRow(found, first.message.seq - 1));
    head.isSynced = true;
  }

  /** What the service refuses for good is left, and told of: asking again would not change it. */
  async function forgive(request: string, run: () => Promise<void>): Promise<void> {
    try {
      await run();
    } catch (caught) {
      const error = toImError(caught);
      if (error.retryable || error.code === 'INTERNAL') throw error;
      emit({ type: 'request-failed', request, error });
    }
  }

  async function counts(): Promise<void> {
    const heads = [...store.heads.values()].sort((a, b) => b.time - a.time).slice(0, 100);
    if (heads.length === 0) return;
    const answer = await ask('unread', { conversations: heads.map(({ id }) => id) });
    for (const pair of listOf(answer.conversations)) {
      const [id, unread] = listOf(pair);
      const head = store.heads.get(String(id));
      if (head !== undefined) noteUnread(head, numberOr(unread, head.unread), clock());
    }
  }

  const tools: SyncTools = { ...deps, follow, recallsOf, forgive };

  return {
    async signIn() {
      for (const head of store.heads.values()) Object.assign(head, { base: head.shown, isSynced: false });
      await offline();
      await (withRecents ? lasts() : counts());
      await extension?.sync(tools, true);
      await store.commit();
    },
    async catchUp() {
      const recents = await askRecents();
      // There may be more of them than it tells.
      const isFull = recents.length >= maxRecents && recents.every((recent) => isAhead(recent));
      for (const recent of recents) {
        const head = store.head(recent.conversation);
        noteRecent(head, recent);
        // What is fetched now is as it is now.
        skipRecalls(head, recent.recallNo);
        if (!head.isSynced) await forgive('history', () => lookBack(head));
        else if (recent.seq > head.shown) await forgive('sync', () => follow(head));
        moveShown(head, recent.seq);
        await recallsOf(recent);
        signals.onConversation.emit(head.id);
      }
      if (isFull) await offline();
      await extension?.sync(tools, false);
      await store.commit();
    },
    async fill({ conversation, message }) {
      const head = store.head(conversation);
      if (head.isSynced) return forgive('sync', () => follow(head));
      if (isOfTwo(conversation)) await forgive('history', () => lookBack(head, message.seq));
      // A group that is new here begins with its first message; one that was left may have had recalls meanwhile.
      else if (head.known.length > 0) await forgive('sync', () => recalls(head));
    },
    recalls,
    notice: async (fields) => extension?.notice(tools, fields),
  };
}

function alone(arrival: Arrival): Taken {
  return { arrival, since: arrival.prev ?? arrival.message.seq - 1 };
}

/** The messages of an answer follow one another without holes. */
function inRow(arrivals: readonly Arrival[], since: number): Taken[] {
  return arrivals.map((arrival, i) => ({ arrival, since: arrivals[i - 1]?.message.seq ?? since }));
}

function byTime(a: Arrival, b: Arrival): number {
  const byName = a.conversation < b.conversation ? -1 : Number(a.conversation > b.conversation);
  return a.message.time - b.message.time || byName || a.message.seq - b.message.seq;
}
