import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { Logger } from '../observe/index.ts';
import { withDeadline } from './deadline.ts';
import type { Account } from './postgres-account.ts';
import type { PostgresBinaries } from './postgres-binaries.ts';
import { type Cluster, serverPlace } from './postgres-cluster.ts';
import { collectLines } from './postgres-log.ts';
import { codeOf, reasonOf, StoreError } from './store-error.ts';

/** One run of the PostgreSQL server, from spawn to exit. */
export interface PostgresServer {
  readonly pid: number;
  /** Resolves when the process has ended, with why and the last lines that it printed. */
  readonly ended: Promise<{ reason: string; lines: string[] }>;
  /** Fast shutdown: open transactions are rolled back, then a checkpoint. Harder after 10 s. */
  stop(): Promise<void>;
  /** Asks for a fast shutdown without waiting; does nothing when it has ended. */
  interrupt(): void;
}

/** Replaying a long log after a crash counts as starting. */
const startMs = 120_000;
const pollMs = 10;
/** What a server answers that starts, restarts or is full. Any other answer stays as it is: files are damaged. */
const passing = /^(57P0[123]|53)/;
const stopSteps = [
  ['SIGINT', 10_000],
  ['SIGQUIT', 3_000],
  ['SIGKILL', 3_000],
] as const;

/**
 * Starts the server and waits until it lets us in. `socketDir`: a short name of the cluster's directory.
 * Throws POSTGRES_UNUSABLE with the server's own words; then nothing of it runs any more.
 */
export async function startPostgresServer(
  deps: { logger: Logger },
  options: {
    binaries: PostgresBinaries;
    cluster: Cluster;
    account: Account | undefined;
    socketDir: string;
    /** Gives up starting. */
    signal: AbortSignal;
  },
): Promise<PostgresServer> {
  const { logger } = deps;
  const { binaries, cluster, account, socketDir, signal } = options;
  const { dataDirArgument, ...place } = serverPlace(cluster.directory, account);
  const child = spawn(binaries.postgres, ['-D', dataDirArgument, ...settingArguments(cluster)], {
    ...place,
    stdio: ['ignore', 'ignore', 'pipe'],
    // A session of its own: Ctrl-C at the terminal goes to us, and we stop the server after what needs it.
    detached: true,
  });
  const log = collectLines(child.stderr, (line) => logLine(logger, line));
  const ended = endOf(child).then((reason) => ({ reason, lines: log.recent() }));
  let hasEnded = false;
  void ended.then(() => {
    hasEnded = true;
  });
  const stop = async () => {
    for (const [stopSignal, waitMs] of stopSteps) {
      if (hasEnded) return;
      child.kill(stopSignal);
      if (await withDeadline(ended, waitMs)) return;
      logger.warn({ pid: child.pid, signal: stopSignal, waitMs }, 'store.postgres.stop.late');
    }
  };

  const deadline = performance.now() + startMs;
  let lastReason = '';
  while (!hasEnded && !signal.aborted && performance.now() < deadline) {
    const attempt = await tryLogin(cluster, socketDir);
    if (attempt === undefined) return { pid: child.pid ?? 0, ended, stop, interrupt: () => void child.kill('SIGINT') };
    lastReason = attempt.reason;
    if (attempt.isFinal) break;
    await Promise.race([delay(pollMs), ended]);
  }
  const reason = hasEnded ? (await ended).reason : lastReason;
  await stop();
  const output = log.recent().join('\n  ');
  throw new StoreError('POSTGRES_UNUSABLE', `the embedded PostgreSQL does not start: ${reason}\n  ${output}`);
}

/** Settings on the command line, so that a release can change them; the cluster's own file stays as initdb made it. */
function settingArguments(cluster: Cluster): string[] {
  const settings: Record<string, string | number> = {
    listen_addresses: '',
    port: cluster.port,
    // In the cluster itself, whose mode is 0700; relative, so its path cannot be too long.
    unix_socket_directories: '.',
    unix_socket_permissions: '0700',
    max_connections: 100,
    shared_buffers: '128MB',
    // Durable before acknowledged: these are the defaults, here so that no edited file undoes them.
    fsync: 'on',
    synchronous_commit: 'on',
    full_page_writes: 'on',
    timezone: 'UTC',
    log_destination: 'stderr',
    logging_collector: 'off',
    log_line_prefix: '',
    // Statements may hold what people wrote: never into a log.
    log_statement: 'none',
    log_min_error_statement: 'panic',
    log_min_duration_statement: -1,
    cluster_name: 'qalgate',
    // For people who read `ps`; means nothing to the server.
    'qalgate.directory': cluster.directory,
  };
  return Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

/** Logs in and out again; undefined: it worked. The database is made when it is missing: the cluster is new. */
async function tryLogin(
  cluster: Cluster,
  socketDir: string,
  database: string = cluster.database,
): Promise<{ reason: string; isFinal: boolean } | undefined> {
  const { user, password, port } = cluster;
  const client = new pg.Client({
    host: socketDir,
    port,
    user,
    password,
    database,
    ssl: false,
    connectionTimeoutMillis: 5_000,
    query_timeout: 30_000,
  });
  client.on('error', () => {});
  try {
    await client.connect();
    if (database !== cluster.database) await client.query(`create database ${cluster.database}`);
    return undefined;
  } catch (error) {
    const code = codeOf(error);
    if (code === '3D000' && database === cluster.database) {
      return (await tryLogin(cluster, socketDir, 'postgres')) ?? tryLogin(cluster, socketDir);
    }
    if (code === '28P01') return { reason: 'it does not take the password in pg.password', isFinal: true };
    return { reason: reasonOf(error), isFinal: isSqlState(code) && !passing.test(code) };
  } finally {
    await withDeadline(client.end(), 1_000).catch(() => {});
  }
}

/** Told apart from the codes of system calls, such as ENOENT: the server itself has answered. */
function isSqlState(code: string | undefined): code is string {
  return code !== undefined && /^[0-9A-Z]{5}$/.test(code) && !code.startsWith('E');
}

function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(signal === null ? `exit code ${code}` : `signal ${signal}`));
  });
}

/** Details and contexts quote data: they are kept for errors of the start, never logged. */
function logLine(logger: Logger, line: string): void {
  const [, severity, text] = /^([A-Z]+): +(.*)$/.exec(line) ?? [];
  if (severity === 'PANIC') logger.error({ text }, 'store.postgres.panic');
  else if (severity === 'LOG' || severity === 'WARNING' || severity === 'FATAL') {
    logger.debug({ severity, text }, 'store.postgres.log');
  }
}
