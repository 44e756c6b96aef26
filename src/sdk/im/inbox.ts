import type { Delivery, Taken } from './delivery.ts';
import { toImError } from './error.ts';
import { type Arrival, type Fields, numberOr, optionalText, readArrival, seqsOf } from './frames.ts';
import { type Head, isAnew, missedRecalls, moveShown, noteUnread } from './head.ts';
import type { Reports } from './reports.ts';
import type { Signals } from './signals.ts';
import type { ImStore } from './store.ts';

/** Messages that are taken in as one: more of them only hold up the first. */
const maxTogether = 200;

type Item =
  | { readonly kind: 'message'; readonly arrival: Arrival }
  | { readonly kind: 'event'; readonly on: string; readonly fields: Fields }
  | { readonly kind: 'task'; readonly run: () => Promise<void> };

/** Fetches what an event shows to be missing; rejects when it could not. */
export interface HoleFiller {
  /** A message came that does not follow what is here: what lies before it. */
  fill(arrival: Arrival): Promise<void>;
  /** Recalls that were missed. */
  recalls(head: Head): Promise<void>;
  /** What is for an extension. */
  notice(fields: Fields): Promise<void>;
}

export interface InboxDeps {
  readonly store: ImStore;
  readonly delivery: Delivery;
  readonly reports: Reports;
  readonly signals: Signals;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Of the link that there is. */
  readonly sync: () => HoleFiller | undefined;
  readonly onResync: () => void;
  /** What could not be done is done by the next link. */
  readonly onTrouble: (error: Error) => void;
}

/** What came over the link, one after another: nothing overtakes a login or a hole that is being filled. */
export interface Inbox {
  push(on: string, fields: Fields): void;
  /** Has something done after what waits already. */
  run(task: () => Promise<void>): void;
  /** Message events of a conversation that wait, by seq. */
  waiting(conversation: string): Arrival[];
  /** Takes some of the waiting message events out. */
  pull(isMeant: (arrival: Arrival) => boolean): Arrival[];
  /** How many events wait. */
  readonly size: number;
  /** The link is gone: what waits will be fetched. */
  clear(): void;
  /** Settles when nothing is under way. */
  idle(): Promise<void>;
}

export function createInbox(deps: InboxDeps): Inbox {
  const { store, delivery, reports, signals, clock, sync, onResync, onTrouble } = deps;
  let queue: Item[] = [];
  let draining: Promise<void> | undefined;

  function add(item: Item): void {
    queue.push(item);
    draining ??= drain().finally(() => {
      draining = undefined;
    });
  }

  async function drain(): Promise<void> {
    // Whoever pushed is not held up, nor called back from within.
    await undefined;
    while (queue.length > 0) {
      try {
        await step();
      } catch (error) {
        onTrouble(toImError(error));
      }
    }
  }

  async function step(): Promise<void> {
    const [next] = queue;
    if (next?.kind === 'message' && next.arrival.message.seq > 0) {
      await delivery.renew(next.arrival.conversation, next.arrival.message);
    }
    const batch = nextBatch();
    if (batch.length > 0) return delivery.take(batch);
    const item = queue.shift();
    if (item?.kind === 'task') return item.run();
    if (item?.kind === 'event') return onEvent(item.on, item.fields);
    if (item?.kind !== 'message') return;
    const { arrival } = item;
    if (arrival.message.seq === 0) return delivery.show(arrival);
    // There is a hole before it. Without a link the next one will fetch them both.
    const now = sync();
    if (now === undefined) return;
    await now.fill(arrival);
    reports.recount(arrival.conversation);
    moveShown(store.head(arrival.conversation), arrival.prev ?? 0);
    queue.unshift(item);
  }

  /** Messages at the head of the queue that follow what is here without a hole. */
  function nextBatch(): Taken[] {
    const batch: Taken[] = [];
    const reached = new Map<string, number>();
    for (const item of queue) {
      if (item.kind !== 'message' || item.arrival.message.seq === 0 || batch.length === maxTogether) break;
      const { conversation, message, prev = message.seq - 1 } = item.arrival;
      const head = store.head(conversation);
      const shown = reached.get(conversation) ?? head.shown;
      if (prev > shown || isAnew(head, message)) break;
      batch.push({ arrival: item.arrival, since: prev });
      reached.set(conversation, Math.max(shown, message.seq));
    }
    queue.splice(0, batch.length);
    for (const id of reached.keys()) {
      const head = store.head(id);
      // Its number is from another session; unless it had no message then.
      if (!head.isSynced && head.seq > 0) reports.recount(id);
      head.isSynced = true;
    }
    return batch;
  }

  async function onEvent(on: string, fields: Fields): Promise<void> {
    if (on === 'resync') return onResync();
    // Without a link the next one fetches it.
    if (on === 'notice') return sync()?.notice(fields);
    if (on === 'profile') {
      const { account, fields: changed } = fields;
      if (typeof account === 'string') signals.onProfile.emit({ account, fields: Object(changed) });
      return;
    }
    const conversation = optionalText(fields.conversation);
    if (conversation === undefined) return;
    if (on === 'recalled') return onRecalled(conversation, fields);
    if (on === 'read') return onRead(conversation, fields);
  }

  async function onRecalled(conversation: string, fields: Fields): Promise<void> {
    const head = store.head(conversation);
    const seqs = seqsOf(fields.seqs);
    const recallNo = numberOr(fields.recallNo, 0);
    // It was this terminal itself.
    if (recallNo <= head.recallNo) return;
    if (missedRecalls(head, recallNo, seqs.length)) return sync()?.recalls(head);
    head.recallNo = recallNo;
    await delivery.recall(head, seqs);
  }

  async function onRead(conversation: string, fields: Fields): Promise<void> {
    const head = store.head(conversation);
    const readSeq = numberOr(fields.readSeq, 0);
    const isPeer = fields.peer === true;
    if (readSeq <= (isPeer ? head.peerReadSeq : head.readSeq)) return;
    if (isPeer) head.peerReadSeq = readSeq;
    else {
      head.readSeq = readSeq;
      noteUnread(head, numberOr(fields.unread, 0), clock());
      // With messages beyond it, the number may be from before them.
      if (head.seq > readSeq) reports.recount(conversation);
    }
    await store.commit();
    signals.onRead.emit({ conversation, readSeq, by: isPeer ? 'peer' : 'self' });
    signals.onConversation.emit(conversation);
  }

  const messagesIn = (items: readonly Item[]): Arrival[] =>
    items.flatMap((item) => (item.kind === 'message' ? item.arrival : []));

  return {
    push(on, fields) {
      if (on !== 'message') return add({ kind: 'event', on, fields });
      const arrival = readArrival(fields);
      if (arrival !== undefined) add({ kind: 'message', arrival });
    },
    run: (run) => add({ kind: 'task', run }),
    waiting: (conversation) =>
      messagesIn(queue)
        .filter((arrival) => arrival.conversation === conversation && arrival.message.seq > 0)
        .sort((a, b) => a.message.seq - b.message.seq),
    pull(isMeant) {
      const isPulled = (item: Item): boolean =>
        item.kind === 'message' && item.arrival.message.seq > 0 && isMeant(item.arrival);
      const pulled = messagesIn(queue.filter(isPulled));
      queue = queue.filter((item) => !isPulled(item));
      return pulled;
    },
    get size() {
      return queue.length;
    },
    clear() {
      queue = queue.filter(({ kind }) => kind === 'task');
    },
    idle: () => draining ?? Promise.resolve(),
  };
}
