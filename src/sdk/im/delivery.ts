import type { Emit } from './events.ts';
import type { Arrival } from './frames.ts';
import { countMessage, type Head, isAnew, isKnown, isNew, know, moveShown, noteMessage, noteRecalled } from './head.ts';
import { isOfTwo } from './letter.ts';
import { emptied, type ImMessage, type Stored, showMessage } from './message.ts';
import type { Outbox } from './outbox.ts';
import { rangeAt } from './ranges.ts';
import type { Reports } from './reports.ts';
import type { Signals } from './signals.ts';
import type { ImStore } from './store.ts';

/** A message that came, and what came with it: all that the account sees after `since` and up to it is here now. */
export interface Taken {
  readonly arrival: Arrival;
  readonly since: number;
}

export interface DeliveryDeps {
  readonly account: string;
  readonly store: ImStore;
  readonly outbox: Outbox;
  readonly reports: Reports;
  readonly signals: Signals;
  readonly emit: Emit;
}

export interface Delivery {
  /**
   * Takes messages in: stores them, then shows those that are new, then acknowledges them. A crash before it is stored has it
   * come again; after that `getMessage` has it, and it is not shown a second time (H4, M16).
   */
  take(messages: readonly Taken[]): Promise<void>;
  /** Forgets a conversation that a message shows to have begun anew. */
  renew(conversation: string, message: Stored): Promise<void>;
  /** One for terminals that are online alone: shown, and that is all. */
  show(arrival: Arrival): void;
  /** Empties messages that were recalled. */
  recall(head: Head, seqs: readonly number[]): Promise<void>;
}

export function createDelivery({ account, store, outbox, reports, signals, emit }: DeliveryDeps): Delivery {
  /** @returns what has to be shown, if it has to be */
  function takeOne({ arrival, since }: Taken): ImMessage | undefined {
    const { conversation, message, isUncounted } = arrival;
    const { seq, from } = message;
    const head = store.head(conversation);
    const isOwn = from === account;
    // What this terminal sent itself is no news.
    const isOurs = isOwn && (outbox.settle(conversation, message) || head.ownAhead.includes(seq));
    const wasKnown = isKnown(head, seq);
    const stored = noteMessage(head, message);
    // It may be from before a recall of which nothing was to be done while it was not here.
    if (!wasKnown && seq <= head.shown) head.recallNo = 0;
    const shows = isNew(head, seq) && !isOurs && stored.recalled !== true;
    if (shows && !isOwn && !isUncounted) {
      countMessage(head, seq);
      reports.arrived(head);
    }
    const isDeleted = rangeAt(head.deleted, seq) !== undefined;
    if (!isDeleted && (!wasKnown || stored.recalled === true)) store.put(head, stored);
    know(head, since + 1, seq);
    moveShown(head, seq);
    return shows ? showMessage(conversation, stored, account) : undefined;
  }

  return {
    async take(messages) {
      if (messages.length === 0) return;
      const seqs = Map.groupBy(messages, ({ arrival }) => arrival.conversation);
      await Promise.all(
        [...seqs].map(([id, some]) =>
          store.load(
            store.head(id),
            some.map(({ arrival }) => arrival.message.seq),
          ),
        ),
      );
      // From here to the commit nothing comes between.
      const shown = messages.map(takeOne);
      await store.commit();
      for (const message of shown) if (message !== undefined) signals.onNewMessage.emit(message);
      for (const { arrival } of messages) {
        // Nothing of a group waits for it.
        if (isOfTwo(arrival.conversation)) reports.acknowledge(arrival.conversation, arrival.message.seq);
      }
      for (const id of seqs.keys()) signals.onConversation.emit(id);
    },
    async renew(conversation, message) {
      const head = store.heads.get(conversation);
      if (head === undefined || !isAnew(head, message)) return;
      emit({ type: 'conversation-restarted', conversation });
      reports.forget(conversation);
      await store.forget(head);
    },
    show({ conversation, message }) {
      signals.onNewMessage.emit(showMessage(conversation, message, account));
    },
    async recall(head, all) {
      // What is not here, and will not come, is of the history: it is empty there.
      const seqs = all.filter((seq) => isKnown(head, seq) || seq > head.shown);
      if (seqs.length === 0) return;
      await store.load(
        head,
        seqs.filter((seq) => isKnown(head, seq)),
      );
      for (const seq of seqs) {
        const message = store.find(head, seq);
        if (message !== undefined) store.put(head, emptied(message));
        noteRecalled(head, seq);
      }
      if (seqs.some((seq) => seq > head.readSeq)) reports.recount(head.id);
      await store.commit();
      signals.onRecalled.emit({ conversation: head.id, seqs });
      signals.onConversation.emit(head.id);
    },
  };
}
