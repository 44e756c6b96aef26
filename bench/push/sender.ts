import { serveParent } from '../../test/support/measured-process.ts';
import type { ServiceStarted } from './service.ts';

/** What a process that sends is started with. */
export interface SenderOptions extends ServiceStarted {
  caFile: string;
}

export interface SenderQuestion {
  /** Devices from this number on. */
  first: number;
  count: number;
  atOnce: number;
  /** Whether what its client says is to be sent again is sent again, as a queue does; only where the client says so. */
  again: boolean;
}

export interface SenderAnswer {
  tookMs: number;
  /** Pushes that were not accepted in the end. */
  failed: number;
  /** Why, of one. */
  reason: string;
}

/** What became of one attempt: accepted, or why not; `afterMs`: the client says that it may be sent again then. */
export type Attempted = { ok: true } | { ok: false; reason: string; afterMs?: number };

/** Longest wait before another attempt; a queue keeps to what it is told. */
const maxWaitMs = 1_000;

/** The same for all: keeps so many pushes in flight until all are through. */
export function serveSender(send: (device: number) => Promise<Attempted>): void {
  serveParent({}, async (asked) => {
    const { first, count, atOnce, again } = asked as SenderQuestion;
    let next = first;
    let failed = 0;
    let why = '';
    const run = async (): Promise<void> => {
      while (next < first + count) {
        const device = next;
        next += 1;
        let result = await send(device);
        while (again && !result.ok && result.afterMs !== undefined) {
          const waitMs = Math.min(result.afterMs, maxWaitMs);
          await new Promise((resolve) => setTimeout(resolve, waitMs));
          result = await send(device);
        }
        if (result.ok) continue;
        failed += 1;
        why = result.reason;
      }
    };
    const startedMs = performance.now();
    await Promise.all(Array.from({ length: Math.min(atOnce, count) }, run));
    return { tookMs: performance.now() - startedMs, failed, reason: why } satisfies SenderAnswer;
  });
}
