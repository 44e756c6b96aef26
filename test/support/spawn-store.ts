import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import readline from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';

export interface StoreProcess {
  child: ChildProcess;
  /** The next line that it prints, as JSON; rejects when it ends first. */
  read(): Promise<Record<string, unknown>>;
  write(line: string): void;
  /** Kills it without warning and waits until it is gone. */
  kill(): Promise<void>;
  /** Lets it close, and waits for that. */
  finish(): Promise<void>;
}

/** Starts `store-process.ts`; killed at the end of the test if it still runs. */
export function spawnStore(t: Test, dataDir: string, use: 'serve' | 'command'): StoreProcess {
  const script = fileURLToPath(new URL('store-process.ts', import.meta.url));
  const child = spawn(process.execPath, [script, dataDir, use], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  // Of one that was killed.
  child.stdin.on('error', () => {});
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  t.teardown(() => child.kill('SIGKILL'));
  return {
    child,
    async read() {
      const { done, value } = await lines.next();
      if (done === true) throw new Error('the process ended without a word');
      return JSON.parse(value);
    },
    write: (line) => child.stdin.write(`${line}\n`),
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
    async finish() {
      child.stdin.end();
      await ended;
    },
  };
}
