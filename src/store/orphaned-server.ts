import { readdir, readFile, readlink, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../observe/index.ts';
import { codeOf, StoreError } from './store-error.ts';

/**
 * A server outlives a qalgate that was killed. The next one, holding the instance lock, stops it before it starts its own.
 *
 * postmaster.pid is a hint and no proof: after a restart of the machine or container its number belongs to anyone. A
 * process is ours when it runs a program named postgres with our cluster as working directory, the directory compared
 * by device and inode. Everything else is left alone.
 */
export async function stopOrphanedServer(clusterDir: string, deps: { logger: Logger }): Promise<void> {
  const postmaster = await readPostmasterPid(clusterDir);
  if (process.platform !== 'linux') return refuseIfAlive(postmaster, clusterDir);
  for (const [signal, waitMs] of steps) {
    const pids = await findServerProcesses(clusterDir);
    if (pids.length === 0) break;
    // The postmaster ends its children in order; children alone notice that it is gone, or are told.
    const targets = postmaster !== undefined && pids.includes(postmaster) && signal !== 'SIGKILL' ? [postmaster] : pids;
    deps.logger.warn({ pids: targets, signal }, 'store.postgres.orphan.stopped');
    for (const pid of targets) sendSignal(pid, signal);
    await waitUntilGone(clusterDir, waitMs);
  }
  const left = await findServerProcesses(clusterDir);
  if (left.length > 0) {
    throw new StoreError('POSTGRES_UNUSABLE', `processes ${left.join(', ')} still run on ${clusterDir}: end them`);
  }
  // Nothing runs there: what its files say of pids would only make the new server take a stranger for its predecessor.
  for (const name of leftovers) {
    await unlink(path.join(clusterDir, name)).catch((error: unknown) => {
      if (codeOf(error) !== 'ENOENT') throw error;
    });
  }
}

/** Fast shutdown with a checkpoint; shutdown without one, its log is replayed at the next start; the same by force. */
const steps = [
  ['SIGINT', 800],
  ['SIGQUIT', 500],
  ['SIGKILL', 5_000],
] as const;
const pollMs = 20;
const leftovers = ['postmaster.pid', '.s.PGSQL.5432', '.s.PGSQL.5432.lock'];

/** The pids of all processes that run PostgreSQL on that cluster. */
export async function findServerProcesses(clusterDir: string): Promise<number[]> {
  const cluster = await stat(clusterDir);
  const names = (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name));
  const checks = names.map(async (name) => {
    try {
      const cwd = await stat(`/proc/${name}/cwd`);
      if (cwd.ino !== cluster.ino || cwd.dev !== cluster.dev) return undefined;
      const program = path.basename(await readlink(`/proc/${name}/exe`));
      // The kernel marks a program whose file was replaced since, by an upgrade.
      return program === 'postgres' || program === 'postgres (deleted)' ? Number(name) : undefined;
    } catch {
      // It ended meanwhile, or belongs to someone else and so is not ours.
      return undefined;
    }
  });
  return (await Promise.all(checks)).filter((pid) => pid !== undefined);
}

async function waitUntilGone(clusterDir: string, limitMs: number): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (performance.now() < deadline) {
    if ((await findServerProcesses(clusterDir)).length === 0) return;
    await delay(pollMs);
  }
}

async function readPostmasterPid(clusterDir: string): Promise<number | undefined> {
  try {
    const [first] = (await readFile(path.join(clusterDir, 'postmaster.pid'), 'utf8')).split('\n');
    const pid = Number(first);
    return Number.isInteger(pid) && pid > 1 ? pid : undefined;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function sendSignal(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/** Without /proc nothing tells whose process a pid is, so a person has to. */
function refuseIfAlive(pid: number | undefined, clusterDir: string): void {
  if (pid === undefined || !sendSignal(pid, 0)) return;
  throw new StoreError(
    'POSTGRES_UNUSABLE',
    `process ${pid} may be a PostgreSQL that still runs on ${clusterDir}: end it; or, if it is something else, remove ` +
      path.join(clusterDir, 'postmaster.pid'),
  );
}
