import { fieldsOf, listOf, readStored } from './frames.ts';
import type { Stored } from './message.ts';
import { type Ranges, readRanges } from './ranges.ts';

/**
 * Messages are stored in blocks of consecutive seqs. A block says itself of which seqs it has everything: so whatever becomes
 * of blocks, given up for room, damaged, written by another tab, what is there is never taken for more than it is.
 */
export const blockSeqs = 64;

export interface BlockContent {
  readonly known: Ranges;
  /** Ascending. */
  readonly messages: readonly Stored[];
}

export function blockOf(seq: number): number {
  return Math.floor(seq / blockSeqs);
}

/** The seqs that belong to a block. */
export function spanOf(block: number): readonly [from: number, to: number] {
  return [block * blockSeqs, block * blockSeqs + blockSeqs - 1];
}

/** Puts a message in its place; one with its seq is replaced. */
export function insertMessage(messages: readonly Stored[], message: Stored): Stored[] {
  const isBefore = ({ seq }: Stored): boolean => seq < message.seq;
  const isAfter = ({ seq }: Stored): boolean => seq > message.seq;
  return [...messages.filter(isBefore), message, ...messages.filter(isAfter)];
}

export function encodeBlock(content: BlockContent): Uint8Array {
  return encodeJson(content);
}

/** What was stored; undefined: it is none of ours. */
export function decodeBlock(bytes: Uint8Array | undefined): BlockContent | undefined {
  const fields = fieldsOf(decodeJson(bytes));
  const known = readRanges(fields.known);
  if (known === undefined) return undefined;
  return { known, messages: listOf(fields.messages).flatMap((one) => readStored(fieldsOf(one)) ?? []) };
}

export function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

/** Undefined: there is nothing, or it was damaged. */
export function decodeJson(bytes: Uint8Array | undefined): unknown {
  if (bytes === undefined) return undefined;
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}
