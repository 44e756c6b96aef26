import { toImError } from './error.ts';
import type { Emit } from './events.ts';
import { type Fields, listOf, numberOr, optionalNumber } from './frames.ts';
import { type Head, noteUnread } from './head.ts';
import type { ImLimits } from './limits.ts';
import type { Signals } from './signals.ts';
import type { ImStore } from './store.ts';

export type Ask = (what: string, fields?: object) => Promise<Fields>;

export interface ReportsDeps {
  readonly store: ImStore;
  readonly signals: Signals;
  readonly emit: Emit;
  readonly limits: ImLimits;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Undefined: there is no link; what is due then waits for the next. */
  readonly ask: () => Ask | undefined;
}

/** What this terminal tells the service behind the application's back, and what it counts again. */
export interface Reports {
  /** Everything of the conversation up to there is stored (M7). */
  acknowledge(conversation: string, seq: number): void;
  /** The conversation is another one now: what was to be said of its seqs is void. */
  forget(conversation: string): void;
  /** The unread number may be wrong: the service's is fetched. */
  recount(conversation: string): void;
  /** An unread message was shown. Right after the service's number came nobody knows whether it is in it. */
  arrived(head: Head): void;
  /** Tells what is owed: read positions, conversations that were hidden. Settles when it was tried. */
  settle(): Promise<void>;
  /** There is a link again. */
  resume(): void;
  /** Sends what is due now. */
  flush(): Promise<void>;
  close(): void;
}

/** Acknowledgements and counts are collected for so long. */
const collectMs = 200;
/** An event follows its message so soon. */
const unsureMs = 2_000;
/** What the service could not take just now is told again after so many times the first back-off. */
const retryBackoffs = 10;
/** The service takes so many in one request. */
const maxAcks = 200;
const maxCounts = 100;

export function createReports({ store, signals, emit, limits, clock, ask }: ReportsDeps): Reports {
  const acks = new Map<string, number>();
  const counts = new Set<string>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let retryTimer: ReturnType<typeof setTimeout> | undefined;
  let settling: Promise<void> | undefined;
  let isClosed = false;

  function failed(request: string, error: unknown): void {
    const known = toImError(error);
    if (known.code !== 'NETWORK') emit({ type: 'request-failed', request, error: known });
  }

  function schedule(): void {
    if (isClosed || timer !== undefined || ask() === undefined) return;
    timer = setTimeout(() => {
      timer = undefined;
      void flush();
    }, collectMs);
  }

  async function sendAcks(ask: Ask): Promise<void> {
    const items = [...acks].slice(0, maxAcks);
    if (items.length === 0) return;
    for (const [conversation] of items) acks.delete(conversation);
    try {
      await ask('ack', { items });
    } catch (error) {
      failed('ack', error);
      // Refused is refused; what was not answered is said again.
      if (!toImError(error).retryable) return;
      for (const [conversation, seq] of items) acks.set(conversation, Math.max(seq, acks.get(conversation) ?? 0));
    }
    if (acks.size > 0) schedule();
  }

  async function fetchCounts(ask: Ask): Promise<void> {
    const conversations = [...counts].slice(0, maxCounts);
    if (conversations.length === 0) return;
    const seqs = new Map(conversations.map((id) => [id, store.heads.get(id)?.seq]));
    for (const id of conversations) counts.delete(id);
    try {
      const answer = await ask('unread', { conversations });
      for (const pair of listOf(answer.conversations)) {
        const [id, unread] = listOf(pair);
        const head = store.heads.get(String(id));
        if (head === undefined) continue;
        // A message that came meanwhile may be in the number, or not.
        if (head.seq !== seqs.get(head.id)) counts.add(head.id);
        setUnread(head, numberOr(unread, head.unread));
      }
      await store.commit();
    } catch (error) {
      failed('unread', error);
    }
    if (counts.size > 0) schedule();
  }

  function setUnread(head: Head, unread: number): void {
    const isChanged = head.unread !== unread;
    noteUnread(head, unread, clock());
    if (isChanged) signals.onConversation.emit(head.id);
  }

  async function flush(): Promise<void> {
    const now = ask();
    if (now !== undefined) await Promise.all([sendAcks(now), fetchCounts(now)]);
  }

  /** @returns whether the service has been told, or refused to hear it */
  async function tell(request: string, fields: object, done: (answer: Fields) => void): Promise<boolean> {
    const now = ask();
    if (now === undefined) return false;
    try {
      done(await now(request, fields));
    } catch (error) {
      failed(request, error);
      return !toImError(error).retryable;
    }
    return true;
  }

  async function settleHead(head: Head): Promise<void> {
    const { id: conversation, owedHide, owedRead } = head;
    if (owedHide !== undefined) {
      const isTold = await tell('hide', { conversation, clear: owedHide === 'clear' }, () => {});
      if (isTold && head.owedHide === owedHide) head.owedHide = undefined;
    }
    if (owedRead !== undefined) {
      const isTold = await tell('read', { conversation, seq: owedRead }, (answer) => {
        const readSeq = numberOr(answer.readSeq, owedRead);
        head.readSeq = Math.max(head.readSeq, readSeq);
        const unread = optionalNumber(answer.unread);
        // With messages beyond, the number may be from before them.
        if (head.seq > readSeq) recount(conversation);
        else if (unread !== undefined) setUnread(head, unread);
      });
      if (isTold && head.owedRead === owedRead) head.owedRead = undefined;
    }
  }

  async function settleAll(): Promise<void> {
    const isOwed = ({ owedRead, owedHide }: Head): boolean => owedRead !== undefined || owedHide !== undefined;
    const tried = new Set<Head>();
    clearTimeout(retryTimer);
    for (;;) {
      const head = [...store.heads.values()].find((head) => isOwed(head) && !tried.has(head));
      if (head === undefined || ask() === undefined) break;
      const { owedRead, owedHide } = head;
      await settleHead(head);
      // What became due while this was told is told, too.
      if (head.owedRead === owedRead && head.owedHide === owedHide) tried.add(head);
    }
    if (tried.size > 0 && !isClosed) retryTimer = setTimeout(() => void settle(), limits.backoffMs * retryBackoffs);
    await store.commit();
  }

  function settle(): Promise<void> {
    settling ??= settleAll().finally(() => {
      settling = undefined;
    });
    return settling;
  }

  function recount(conversation: string): void {
    counts.add(conversation);
    schedule();
  }

  return {
    acknowledge(conversation, seq) {
      acks.set(conversation, Math.max(seq, acks.get(conversation) ?? 0));
      schedule();
    },
    forget: (conversation) => acks.delete(conversation),
    recount,
    arrived(head) {
      if (clock() - head.countedMs < unsureMs) recount(head.id);
    },
    settle,
    resume() {
      if (acks.size + counts.size > 0) schedule();
    },
    flush,
    close() {
      isClosed = true;
      clearTimeout(timer);
      clearTimeout(retryTimer);
    },
  };
}
