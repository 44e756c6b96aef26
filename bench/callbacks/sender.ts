import type { ClientConfig } from 'pg';
import type { EventSet } from './events.ts';

/** What a process that sends is started with. */
export interface SenderOptions {
  /** Where its POSTs go. */
  url: string;
  /** Its own server. Absent: it needs none. */
  database?: ClientConfig & { host: string; port: number; user: string; password: string; database: string };
  /** Where BullMQ keeps its jobs; absent: in the database. */
  redis?: { port: number };
  /** POSTs, or conversations, at once. */
  concurrency: number;
  /** POSTs at once to one URL; absent: the default. */
  perUrl?: number;
}

/** `prepare`: makes what is there before the events. `settle`: waits until nothing is left to do. */
export type SenderQuestion = { do: 'prepare'; sets: EventSet[] } | { do: 'send'; set: EventSet } | { do: 'settle' };

export interface SenderAnswer {
  problem?: string;
  /** When it began to write events down, by the machine's clock; of `send`. */
  startedMs: number;
}

const settleMs = 60_000;
const pollMs = 50;

/** Asks until nothing is left. */
export async function settle(left: () => Promise<number>): Promise<void> {
  const deadline = performance.now() + settleMs;
  for (;;) {
    const count = await left();
    if (count === 0) return;
    if (performance.now() > deadline) throw new Error(`${count} are left after ${settleMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}
