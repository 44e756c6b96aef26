import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** What a process has used, as it says itself. */
export interface Usage {
  /** User and system time since its start, all threads. */
  cpuMicros: number;
  rssBytes: number;
  /** Highest value since the last question, sampled. */
  peakRssBytes: number;
}

/** A process whose parent reads its resource use over IPC. */
export interface MeasuredProcess<S> {
  pid: number;
  /** What it said once it was ready. */
  started: S;
  usage(): Promise<Usage>;
  /** Asks its `answer` function (see {@link serveParent}). One question at a time. */
  ask<R>(question: object): Promise<R>;
  close(): Promise<void>;
}

/**
 * Starts a script that calls {@link serveParent}; it ends with its parent at the latest.
 * @throws Error when the script ends before it has answered
 */
export async function startMeasured<S>(script: URL, options: object): Promise<MeasuredProcess<S>> {
  const child = fork(fileURLToPath(script), [JSON.stringify(options)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const ended = once(child, 'exit');
  const receive = async <R>(): Promise<R> => {
    const early = ended.then(([code]) => {
      throw new Error(`${script.pathname.split('/').at(-1)} ended with ${code} without an answer`);
    });
    const [message] = await Promise.race([once(child, 'message'), early]);
    return message as R;
  };
  const started = await receive<S>();
  const ask = <R>(question: object): Promise<R> => {
    const answer = receive<R>();
    child.send(question);
    return answer;
  };
  return {
    pid: child.pid ?? 0,
    started,
    ask,
    usage: () => ask<Usage>({ usage: true }),
    async close() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      await ended;
    },
  };
}

/** The options that the parent gave. */
export function parentOptions<O>(): O {
  return JSON.parse(process.argv[2] ?? '{}') as O;
}

const sampleEveryMs = 10;

/**
 * The child's side: tells that it is ready, then answers the parent's questions; ends when the parent is gone.
 * @param answer for questions other than that for the resource use
 */
export function serveParent(started: object, answer?: (question: unknown) => Promise<object>): void {
  let peakRssBytes = 0;
  const sample = (): number => {
    const rssBytes = process.memoryUsage.rss();
    peakRssBytes = Math.max(peakRssBytes, rssBytes);
    return rssBytes;
  };
  setInterval(sample, sampleEveryMs);
  const usage = (): Usage => {
    const { user, system } = process.cpuUsage();
    const rssBytes = sample();
    const result = { cpuMicros: user + system, rssBytes, peakRssBytes };
    peakRssBytes = 0;
    return result;
  };
  process.on('message', async (question: object) => {
    process.send?.('usage' in question || answer === undefined ? usage() : await answer(question));
  });
  process.on('disconnect', () => process.exit(0));
  process.send?.(started);
}
