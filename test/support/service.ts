import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../src/server/main.ts', import.meta.url));
/** Long enough for a machine that has much else to do. */
const startMs = 90_000;

export type LogLine = Record<string, unknown> & { event: string };

/** A qalgate process of the test's own. */
export interface Service {
  process: ChildProcess;
  /** URLs of its listeners. */
  access: string;
  im: string;
  ops: string;
  /** Log lines so far. */
  log: LogLine[];
  /** Everything it printed that is no log line. */
  text: string[];
  /** The first line of the event, waiting for it if it has not come yet. */
  logged(event: string): Promise<LogLine>;
  /** Resolves with exit code and signal. */
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

export interface ServiceOptions {
  dataDir: string;
  args?: string[];
  env?: Record<string, string>;
}

function environment({ dataDir, env }: ServiceOptions): NodeJS.ProcessEnv {
  return {
    ...process.env,
    QALGATE_DATA: dataDir,
    QALGATE_LISTEN_ACCESS: '127.0.0.1:0',
    QALGATE_LISTEN_IM: '127.0.0.1:0',
    QALGATE_LISTEN_OPS: '127.0.0.1:0',
    ...env,
  };
}

/** Starts `qalgate serve` and waits until it serves. Rejects with what it said when it ends before. */
export async function spawnService(options: ServiceOptions): Promise<Service> {
  const child = spawn(process.execPath, [main, 'serve', ...(options.args ?? [])], {
    env: environment(options),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const log: LogLine[] = [];
  const text: string[] = [];
  const waiting = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      if (line.startsWith('{')) log.push(JSON.parse(line));
      else text.push(line);
      for (const wake of waiting) wake();
    });
  }
  const exited = once(child, 'exit').then(([code, signal]) => ({ code, signal }));
  const logged = (event: string): Promise<LogLine> =>
    new Promise((resolve, reject) => {
      const done = (): void => {
        waiting.delete(look);
        clearTimeout(timer);
      };
      const look = (): void => {
        const line = log.find((one) => one.event === event);
        if (line === undefined) return;
        done();
        resolve(line);
      };
      const timer = setTimeout(() => {
        done();
        reject(new Error(`no log line ${event}; said: ${text.join(' | ')}`));
      }, startMs);
      waiting.add(look);
      void exited.then(() => {
        look();
        done();
        reject(new Error(`ended before ${event}: ${text.join(' | ')} ${JSON.stringify(log.at(-1))}`));
      });
      look();
    });
  const started = logged('server.started') as Promise<LogLine & { addresses: Pick<Service, 'access' | 'im' | 'ops'> }>;
  // Nobody else would end it, and the test's process waits for it.
  started.catch(() => child.kill('SIGKILL'));
  const { addresses } = await started;
  return { process: child, ...addresses, log, text, logged, exited };
}

/** Runs one CLI command to its end. */
export async function runCommand(
  args: string[],
  options: ServiceOptions,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [main, ...args], {
    env: environment(options),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data) => {
    stdout += data;
  });
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  const [code] = await once(child, 'close');
  return { code, stdout, stderr };
}
