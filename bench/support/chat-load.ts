/** What the load generators of services that carry messages have in common; each is a process of its own. */
import { serveParent } from '../../test/support/measured-process.ts';

/** An app of qalgate. */
export interface LinkApp {
  sdkAppId: number;
  secret: string;
}

export interface LoadOptions {
  protocol: 'link' | 'xmpp' | 'bare';
  port: number;
  /** For `link`. */
  app?: LinkApp;
}

/** From a message's sending until it is done. */
export interface Latencies {
  p50Ms: number;
  p99Ms: number;
}

export interface LoadAnswer extends Latencies {
  elapsedMs: number;
  /** Why the first thing that was wrong was wrong; then the figures mean nothing. */
  problem?: string;
}

/** No message may take longer. */
export const stallMs = 30_000;
export const openAtOnce = 32;
/** Of the open loop: that of a timer. */
const tickMs = 1;

export function latenciesOf(tookMs: Float64Array): Latencies {
  const sorted = tookMs.toSorted();
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  return { p50Ms: at(0.5), p99Ms: at(0.99) };
}

/** Runs `work` for 0 … count - 1, some of them at once. */
export async function forEach(count: number, atOnce: number, work: (n: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      next += 1;
      await work(next - 1);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

/** The open loop: calls `sendUpTo` with how many are due by now, until it is ended. */
export function pace(perSec: number, sendUpTo: (due: number) => void): NodeJS.Timeout {
  const startedMs = performance.now();
  return setInterval(() => sendUpTo(Math.floor(((performance.now() - startedMs) * perSec) / 1_000)), tickMs);
}

/** Answers the parent's questions. @param problemOf what went wrong where nobody waited for it */
export function serveLoad<Question>(
  answer: (question: Question) => Promise<Latencies>,
  problemOf: () => string | undefined,
): void {
  serveParent({}, async (question): Promise<LoadAnswer> => {
    const startedMs = performance.now();
    try {
      const figures = await answer(question as Question);
      const problem = problemOf();
      if (problem !== undefined) throw new Error(problem);
      return { ...figures, elapsedMs: performance.now() - startedMs };
    } catch (error) {
      return { elapsedMs: 0, p50Ms: 0, p99Ms: 0, problem: (error as Error).message };
    }
  });
}
