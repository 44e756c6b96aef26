import { type Fields, fieldsOf, listOf, numbersOf, optionalNumber, type Recent, seqsOf } from './frames.ts';
import { emptied, type Stored } from './message.ts';
import { addRange, type Ranges, rangeAt, readRanges } from './ranges.ts';

/**
 * What a terminal knows of one conversation, its messages aside: small, kept in memory for all conversations, and stored
 * in one piece. The functions of this file are all that changes it by what the service tells; none of them does I/O.
 */
export interface Head {
  readonly id: string;
  /**
   * Every message up to this seq has been given to `onNewMessage` or, by M5, never will be.
   */
  shown: number;
  /** What {@link shown} was when the login began: what came since may arrive a little out of order. Not stored. */
  base: number;
  /**
   * Whether {@link shown} is where this session began or later. If not, there may be messages beyond it of which nobody has to
   * be told, because other terminals had them. Not stored.
   */
  isSynced: boolean;
  /** Newest seq that the account sees, and its time in Unix seconds. */
  seq: number;
  time: number;
  unread: number;
  /** The service's number of unread messages, which {@link unread} began with, was for this seq. */
  countedTo: number;
  /** When that number came without a seq, milliseconds since the epoch. Not stored. */
  countedMs: number;
  readSeq: number;
  peerReadSeq: number;
  /** Recalls up to this number are known here. */
  recallNo: number;
  /** The service has nothing before this seq. */
  floor: number;
  /** Seqs of which everything is stored here. */
  known: Ranges;
  /** Seqs that the user deleted here. */
  deleted: Ranges;
  /** Blocks that are stored, ascending, and how many messages each holds. */
  blocks: readonly (readonly [block: number, count: number])[];
  isHidden: boolean;
  /** What the service has to be told yet. */
  owedRead?: number | undefined;
  owedHide?: 'hide' | 'clear' | undefined;
  /** The newest message. Not stored: its block has it. */
  last?: Stored | undefined;
  /** Seqs beyond {@link shown} that this terminal sent itself: nobody has to be told of them. */
  ownAhead: readonly number[];
  /** Seqs beyond {@link shown} that were recalled before they arrived. Not stored. */
  recalledAhead: readonly number[];
}

/** Each of the lists beyond `shown` is bounded: what falls out costs a look-up, no message. */
const maxAhead = 256;
const maxRanges = 256;

export function newHead(id: string): Head {
  return {
    id,
    shown: 0,
    base: 0,
    isSynced: false,
    seq: 0,
    time: 0,
    unread: 0,
    countedTo: 0,
    countedMs: 0,
    readSeq: 0,
    peerReadSeq: 0,
    recallNo: 0,
    floor: 0,
    known: [],
    deleted: [],
    blocks: [],
    isHidden: false,
    ownAhead: [],
    recalledAhead: [],
  };
}

export function isKnown(head: Head, seq: number): boolean {
  return rangeAt(head.known, seq) !== undefined;
}

/**
 * Whether a message shows that the conversation began anew: the peer's account was deleted, and is there again. Within one,
 * time never decreases (M15), so an earlier seq with a later time is none of it.
 */
export function isAnew(head: Head, { seq, time }: Stored): boolean {
  return seq < head.seq ? time > head.time : seq === head.seq && time !== head.time;
}

/** Whether `onNewMessage` has not had it (H4): it is beyond what was shown, or came late into what the login left out. */
export function isNew(head: Head, seq: number): boolean {
  return seq > head.shown || (seq > head.base && !isKnown(head, seq));
}

/** Everything from … to is here now. */
export function know(head: Head, from: number, to: number): void {
  head.known = addRange(head.known, from, to).slice(-maxRanges);
}

/** Everything up to there has been shown, or need not be; and what this terminal sent itself right behind it. */
export function moveShown(head: Head, seq: number): void {
  let shown = Math.max(head.shown, seq);
  for (const own of head.ownAhead.toSorted((a, b) => a - b)) if (own === shown + 1) shown = own;
  head.shown = shown;
  const isAhead = (one: number): boolean => one > shown;
  head.ownAhead = head.ownAhead.filter(isAhead);
  head.recalledAhead = head.recalledAhead.filter(isAhead);
}

/** This terminal sent it itself; `prev` is the seq before it. */
export function noteOwn(head: Head, seq: number, prev: number): void {
  head.ownAhead = [...head.ownAhead, seq].slice(-maxAhead);
  moveShown(head, prev <= head.shown ? seq : 0);
}

/** Takes a message into the conversation, as it is stored. @returns it, emptied if it was recalled before it came */
export function noteMessage(head: Head, arrived: Stored): Stored {
  const message = head.recalledAhead.includes(arrived.seq) ? emptied(arrived) : arrived;
  const { seq, time } = message;
  if (seq > head.seq) {
    Object.assign(head, { seq, time: Math.max(head.time, time), last: message, isHidden: false, owedHide: undefined });
  }
  return message;
}

/** A message of somebody else was shown: it is unread, unless it is in the number already. */
export function countMessage(head: Head, seq: number): void {
  if (seq > head.countedTo && seq > head.readSeq) head.unread += 1;
}

/** The service's number, of about now. */
export function noteUnread(head: Head, unread: number, nowMs: number): void {
  head.countedTo = Math.max(head.countedTo, head.seq);
  head.countedMs = nowMs;
  head.unread = unread;
}

/** The service's own numbers of a conversation. */
export function noteRecent(head: Head, recent: Recent): void {
  const { seq, last, unread, readSeq, peerReadSeq } = recent;
  head.readSeq = Math.max(head.readSeq, readSeq);
  head.peerReadSeq = Math.max(head.peerReadSeq, peerReadSeq);
  // A new message brings a conversation back.
  if (seq > head.seq) head.owedHide = undefined;
  head.isHidden = head.owedHide !== undefined;
  // What was read here and is not reported yet is read.
  head.unread = (head.owedRead ?? 0) >= seq ? 0 : unread;
  head.countedTo = seq;
  // Without it the seq has no time; and an older one says nothing of what is newest.
  if (last !== undefined && seq >= head.seq) Object.assign(head, { seq, time: last.time, last });
}

/** Where nothing is here and nothing is on its way, nothing was recalled of it. */
export function skipRecalls(head: Head, recallNo: number): void {
  if (head.known.length === 0) head.recallNo = Math.max(head.recallNo, recallNo);
}

/** Whether recalls happened of which this terminal does not know. @param count how many it is being told of */
export function missedRecalls(head: Head, recallNo: number, count: number): boolean {
  return recallNo - count > head.recallNo;
}

/** A message was recalled; where it is not here yet it will be empty when it comes. */
export function noteRecalled(head: Head, seq: number): void {
  if (head.last?.seq === seq) head.last = emptied(head.last);
  if (!isKnown(head, seq)) head.recalledAhead = [...head.recalledAhead, seq].slice(-maxAhead);
}

/** For storing. */
export function encodeHead(head: Head): Fields {
  const { base: _, isSynced: _synced, countedMs: _ms, last: _last, recalledAhead: _recalled, ...stored } = head;
  return stored;
}

const storedNumbers = [
  'shown',
  'seq',
  'time',
  'unread',
  'countedTo',
  'readSeq',
  'peerReadSeq',
  'recallNo',
  'floor',
] as const;

/** What was stored; undefined: it is none of ours. */
export function decodeHead(value: unknown): Head | undefined {
  const fields = fieldsOf(value);
  const known = readRanges(fields.known);
  const deleted = readRanges(fields.deleted);
  if (typeof fields.id !== 'string' || known === undefined || deleted === undefined) return undefined;
  const head = newHead(fields.id);
  const { owedHide } = fields;
  return {
    ...head,
    ...numbersOf(fields, storedNumbers),
    known,
    deleted,
    blocks: readBlocks(fields.blocks),
    ownAhead: seqsOf(fields.ownAhead),
    isHidden: fields.isHidden === true,
    owedRead: optionalNumber(fields.owedRead),
    owedHide: owedHide === 'hide' || owedHide === 'clear' ? owedHide : undefined,
  };
}

function readBlocks(value: unknown): Head['blocks'] {
  const pairs = listOf(value).filter(
    (pair): pair is [number, number] => Array.isArray(pair) && pair.every((n) => optionalNumber(n) !== undefined),
  );
  return pairs.sort((a, b) => a[0] - b[0]);
}
