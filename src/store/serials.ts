import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../observe/index.ts';
import { createBackoff } from './backoff.ts';
import type { Database } from './connection.ts';
import { reasonOf } from './store-error.ts';

/**
 * The sequences and the bit that marks a number made without the database: numbers from the sequence stay below 2^53,
 * so the two kinds never meet. A terminal's serial has to fit 56 bits, a request's 63.
 */
const fallbackBits = { request_serial: 62, terminal_serial: 55 } as const;

export type SerialSequence = keyof typeof fallbackBits;

/**
 * Numbers that never repeat: not over processes, nodes or restarts (A4). A process takes them in blocks of 2^20 from
 * one database sequence: block n is n·2^20 … (n+1)·2^20 − 1, and what is left of it when the process ends is lost. The next block
 * is fetched when half of one is used. When the database is away for longer than that lasts, numbers are random with
 * the fallback bit set, until it is back.
 */
export interface Serials {
  /** The next number, decimal. Never waits, never fails. */
  next(): string;
  nextNumber(): bigint;
  /** Fetches the first block. Rejects if the database does not answer. */
  ready(): Promise<void>;
  close(): Promise<void>;
}

const blockSize = 2 ** 20;

export function createSerials(db: Database, deps: { sequence: SerialSequence; logger: Logger }): Serials {
  const { sequence, logger } = deps;
  const fallbackBit = fallbackBits[sequence];
  const stop = new AbortController();
  const backoff = createBackoff({ minMs: 50, maxMs: 5_000 });
  let current = 0;
  let end = 0;
  let spare: number | undefined;
  let refilling: Promise<void> | undefined;
  let isFallingBack = false;

  async function fetchBlock(): Promise<number> {
    const { rows } = await db.pool.query<{ block: number }>('select nextval($1::regclass) as block', [sequence]);
    const [row] = rows;
    if (row === undefined) throw new Error(`the sequence ${sequence} gave no value`);
    db.metrics.serialBlocks.inc({ sequence });
    return row.block * blockSize;
  }

  /** Ends with a spare block, however long that takes. */
  async function refill(): Promise<void> {
    while (!stop.signal.aborted) {
      try {
        spare ??= await fetchBlock();
        backoff.reset();
        return;
      } catch (error) {
        logger.warn({ sequence, reason: reasonOf(error) }, 'store.serials.fetch.failed');
        await delay(backoff.nextMs(), undefined, { signal: stop.signal }).catch(() => {});
      }
    }
  }

  function startRefill(): void {
    if (spare !== undefined || refilling !== undefined || stop.signal.aborted) return;
    refilling = refill().finally(() => {
      refilling = undefined;
    });
  }

  /** The next number of a block; undefined: there is none. */
  function take(): number | undefined {
    if (current === end) {
      if (spare === undefined) {
        startRefill();
        return undefined;
      }
      current = spare;
      end = spare + blockSize;
      spare = undefined;
      if (isFallingBack) logger.info({ sequence }, 'store.serials.fallback.ended');
      isFallingBack = false;
    }
    const number = current++;
    if (end - current <= blockSize / 2) startRefill();
    return number;
  }

  function fallback(): bigint {
    if (!isFallingBack) logger.error({ sequence }, 'store.serials.fallback.began');
    isFallingBack = true;
    db.metrics.serialFallbacks.inc({ sequence });
    return (1n << BigInt(fallbackBit)) | BigInt.asUintN(fallbackBit, randomBytes(8).readBigUInt64BE());
  }

  return {
    next: () => String(take() ?? fallback()),
    nextNumber() {
      const number = take();
      return number === undefined ? fallback() : BigInt(number);
    },
    async ready() {
      if (current === end) spare ??= await fetchBlock();
    },
    async close() {
      stop.abort();
      await refilling;
    },
  };
}
