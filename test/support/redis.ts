import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { Test } from 'tap';
import type { TestCertificate } from './certificates.ts';
import { freePort } from './free-port.ts';

/** A redis-server of the test's own, set up as we ask operators to: AOF, noeviction, a password. */
export interface TestRedis {
  /** With the password in it; `rediss://` with TLS. */
  url: string;
  port: number;
  password: string;
  /** Kills it without warning and waits until it is gone. */
  kill9(): Promise<void>;
  /** Starts it again, at the same port and on the same data; kills it first where it runs. */
  restart(): Promise<void>;
  /** SIGSTOP: it takes connections and says nothing. SIGCONT ends that. */
  signal(name: 'SIGSTOP' | 'SIGCONT'): void;
}

export interface TestRedisOptions {
  /** Further lines of redis.conf; they win. */
  settings?: string[];
  tls?: TestCertificate;
}

const program = 'redis-server';
const startMs = 10_000;

/**
 * For `t.test(name, { skip: skipWithoutRedis() }, …)`: says that it skips where the machine has no redis-server. In CI
 * nothing is skipped: there the test runs, and fails.
 */
export function skipWithoutRedis(): string | false {
  if (process.env.CI === 'true' || findProgram() !== undefined) return false;
  return `${program} is not there: install the Debian package redis-server`;
}

/** Starts a redis-server on a free port; it and its data are gone after `t`. */
export async function startRedis(t: Test, { settings = [], tls }: TestRedisOptions = {}): Promise<TestRedis> {
  const found = findProgram();
  if (found === undefined) throw new Error(`${program} is missing: install the Debian package redis-server`);
  const dir = await mkdtemp(path.join(tmpdir(), 'qalgate-redis-'));
  const port = await freePort();
  const password = randomBytes(12).toString('hex');
  const files = { cert: path.join(dir, 'cert.pem'), key: path.join(dir, 'key.pem') };
  if (tls !== undefined) {
    await Promise.all([writeFile(files.cert, tls.cert), writeFile(files.key, tls.key, { mode: 0o600 })]);
  }
  const config = [
    'bind 127.0.0.1',
    ...(tls === undefined
      ? [`port ${port}`]
      : [
          'port 0',
          `tls-port ${port}`,
          `tls-cert-file ${files.cert}`,
          `tls-key-file ${files.key}`,
          'tls-auth-clients no',
        ]),
    `requirepass ${password}`,
    `dir ${dir}`,
    'save ""',
    'appendonly yes',
    'appendfsync everysec',
    'maxmemory-policy noeviction',
    ...settings,
  ].join('\n');

  let child: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    const server = spawn(found, ['-'], { stdio: ['pipe', 'pipe', 'inherit'] });
    child = server;
    // One that ends at once says why.
    server.stdin.on('error', () => {});
    server.stdin.end(config);
    const said: string[] = [];
    const { promise: ready, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(() => reject(new Error(`${program} is not ready: ${said.join(' | ')}`)), startMs);
    server.once('exit', () => reject(new Error(`${program} ended: ${said.join(' | ')}`)));
    createInterface({ input: server.stdout }).on('line', (line) => {
      if (said.length < 50) said.push(line);
      if (line.includes('Ready to accept connections')) resolve();
    });
    await ready.finally(() => clearTimeout(timer));
  };
  const kill9 = async (): Promise<void> => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  };
  t.teardown(async () => {
    await kill9();
    await rm(dir, { recursive: true, force: true });
  });
  await start();
  return {
    url: `${tls === undefined ? 'redis' : 'rediss'}://:${password}@127.0.0.1:${port}/0`,
    port,
    password,
    kill9,
    async restart() {
      await kill9();
      await start();
    },
    signal: (name) => void child?.kill(name),
  };
}

function findProgram(): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(path.delimiter), '/usr/bin', '/usr/local/bin'];
  return folders
    .filter((folder) => folder !== '')
    .map((folder) => path.join(folder, program))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}
