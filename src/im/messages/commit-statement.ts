import type { QueryConfig } from 'pg';
import type { AccountNo, ConversationId, Visibility } from '../model.ts';

/** A message to be stored; everything about it has been decided. */
export interface CommitInput {
  readonly conversationId: ConversationId;
  readonly sender: AccountNo;
  readonly authEpoch: number;
  /** What makes a repeat one, and for how long (M13). */
  readonly dedupKey: string;
  readonly dedupWindowMs: number;
  /** Unix seconds. */
  readonly time: number;
  readonly msgSeq: number;
  readonly random: number;
  readonly visibility: Visibility;
  readonly counts: boolean;
  readonly lifetimeSec: number;
  /** Bits of those who get a row in the outbox, and why callbacks were or were not made: see `packCallbackNotes`. */
  readonly consumers: number;
  /** JSON text of where it came from, for its callback; undefined where there is none. */
  readonly origin: string | undefined;
  readonly body: string;
  readonly push: string | undefined;
  readonly custom: string | undefined;
  /** JSON text of what a group message carries besides; undefined: it is none. */
  readonly extra: string | undefined;
  /** When its sender has been told that it took too long: what was not begun by then is not stored any more. */
  readonly deadline: AbortSignal;
}

const visibilities: Record<Visibility, number> = { both: 0, sender: 1, receiver: 2 };

/** The columns of a message as both functions of migrations 0003, 0005 and 0006 take them, the time before them. */
const columns: readonly ((input: CommitInput) => unknown)[] = [
  ({ conversationId }) => conversationId,
  ({ sender }) => sender,
  ({ authEpoch }) => authEpoch,
  ({ dedupKey }) => dedupKey,
  ({ dedupWindowMs }) => dedupWindowMs,
  ({ time }) => time,
  ({ msgSeq }) => msgSeq,
  ({ random }) => random,
  ({ visibility }) => visibilities[visibility],
  ({ counts }) => counts,
  ({ lifetimeSec }) => lifetimeSec,
  ({ consumers }) => consumers,
  ({ body }) => body,
  ({ push }) => push ?? null,
  ({ custom }) => custom ?? null,
  ({ origin }) => origin ?? null,
  ({ extra }) => extra ?? null,
];
const parameters = ['$1', ...columns.map((_, index) => `$${index + 2}`)].join(', ');

/** Stores the messages in one transaction, in the order given; a message alone by a function of its own (ADR 0006). */
export function commitStatement(batch: readonly CommitInput[], nowMs: number): QueryConfig {
  const [only] = batch;
  return batch.length === 1 && only !== undefined
    ? {
        name: 'im_commit_one',
        text: `select * from im_commit_one(${parameters})`,
        values: [nowMs, ...columns.map((read) => read(only))],
      }
    : {
        name: 'im_commit',
        text: `select * from im_commit(${parameters})`,
        values: [nowMs, ...columns.map((read) => batch.map(read))],
      };
}
