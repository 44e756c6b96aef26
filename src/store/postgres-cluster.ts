import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chown, mkdir, open, readdir, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Logger } from '../observe/index.ts';
import type { Account } from './postgres-account.ts';
import type { PostgresBinaries } from './postgres-binaries.ts';
import { collectLines } from './postgres-log.ts';
import { codeOf, reasonOf, StoreError } from './store-error.ts';

/** The files of the embedded server below the data directory. */
export interface Cluster {
  /** `<data>/pg`: PostgreSQL's data directory, mode 0700, owned by the server's account. Its socket is in it too. */
  directory: string;
  password: string;
  user: string;
  database: string;
  port: number;
}

/** For a running server: all but the password can be told over the instance socket. */
export const clusterLogin = { user: 'qalgate', database: 'qalgate', port: 5432 } as const;

const initMs = 120_000;

export const clusterDirOf = (dataDir: string) => path.join(dataDir, 'pg');
const passwordFileOf = (dataDir: string) => path.join(dataDir, 'pg.password');

/** Opens the cluster of that data directory; makes it the first time. The caller holds the instance lock. */
export async function openCluster(
  deps: { logger: Logger },
  options: { dataDir: string; binaries: PostgresBinaries; account: Account | undefined },
): Promise<Cluster> {
  const { dataDir, binaries } = options;
  const directory = clusterDirOf(dataDir);
  const found = await readMajor(directory);
  if (found === undefined) await createCluster(deps, options);
  else checkMajor(found, binaries.major, directory);
  return { directory, password: await readClusterPassword(dataDir), ...clusterLogin };
}

export async function readClusterPassword(dataDir: string): Promise<string> {
  try {
    return (await readFile(passwordFileOf(dataDir), 'utf8')).trim();
  } catch (error) {
    const state = codeOf(error) === 'ENOENT' ? 'is missing' : `cannot be read (${reasonOf(error)})`;
    throw new StoreError(
      'DATA_DIR_UNUSABLE',
      `${passwordFileOf(dataDir)} ${state}, and the embedded database opens only with it: bring it back from a backup ` +
        'of the data directory, and run as the account that owns it',
      { cause: error },
    );
  }
}

/** What `command` and binaries run in. As root, see `serverPlace`. */
export interface ServerPlace {
  cwd: string;
  dataDirArgument: string;
  env: NodeJS.ProcessEnv;
  uid?: number;
  gid?: number;
}

/**
 * How to start a binary on that cluster. As root the server's account owns the cluster but may be unable to walk to it
 * (a checkout below /root, a data directory of mode 0700). It does not have to: we enter the directory before giving up
 * our rights, and it calls its working directory by the name /proc/self/cwd.
 *
 * The environment holds nothing of ours: it has secrets, and PG… variables would change what the server does.
 */
export function serverPlace(directory: string, account: Account | undefined): ServerPlace {
  return {
    cwd: directory,
    dataDirArgument: account === undefined ? directory : '/proc/self/cwd',
    env: { PATH: process.env.PATH, LC_MESSAGES: 'C', TZ: 'UTC' },
    ...account,
  };
}

async function readMajor(directory: string): Promise<string | undefined> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw new StoreError(
      'DATA_DIR_UNUSABLE',
      `cannot read ${directory}: ${reasonOf(error)}; run as the account that owns it`,
      { cause: error },
    );
  }
  if (names.includes('PG_VERSION')) return (await readFile(path.join(directory, 'PG_VERSION'), 'utf8')).trim();
  if (names.length === 0) {
    await rmdir(directory);
    return undefined;
  }
  throw new StoreError(
    'DATA_DIR_UNUSABLE',
    `${directory} holds files but no database (PG_VERSION is missing): choose another \`data\`, or move it away to begin empty`,
  );
}

function checkMajor(found: string, expected: number, directory: string): void {
  if (found === String(expected)) return;
  throw new StoreError(
    'POSTGRES_VERSION',
    `${directory} was made by PostgreSQL ${found}, this release brings PostgreSQL ${expected}, and they cannot read each ` +
      `other's files. Nothing was changed. To keep the data: start the release of qalgate that brought PostgreSQL ${found}, copy ` +
      'its database to a server of your own (pg_dump over the socket in that directory), and give its URL as `database`. ' +
      `To begin empty: mv '${directory}' '${directory}.${found}'`,
  );
}

/** initdb in a directory of another name, which gets the right one when it is whole: a crash leaves nothing half made. */
async function createCluster(
  deps: { logger: Logger },
  options: { dataDir: string; binaries: PostgresBinaries; account: Account | undefined },
): Promise<void> {
  const { dataDir, binaries, account } = options;
  const startedAtMs = performance.now();
  const password = randomBytes(24).toString('base64url');
  const draft = path.join(dataDir, 'pg.new');
  const directory = path.join(draft, 'cluster');
  await rm(draft, { recursive: true, force: true });
  await mkdir(directory, { recursive: true, mode: 0o700 });
  // For initdb, whose account cannot read ours.
  const passwordCopy = path.join(draft, 'password');
  await writeFile(passwordCopy, `${password}\n`, { mode: 0o600, flag: 'wx' });
  if (account !== undefined) {
    for (const file of [draft, directory, passwordCopy]) await chown(file, account.uid, account.gid);
  }

  const { dataDirArgument, ...place } = serverPlace(directory, account);
  await runInitdb(binaries.initdb, place, [
    `--pgdata=${dataDirArgument}`,
    `--username=${clusterLogin.user}`,
    '--pwfile=../password',
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale-provider=builtin',
    '--locale=C.UTF-8',
    '--no-instructions',
  ]);

  // The password first: a cluster without it could never be opened.
  await writeSynced(`${passwordFileOf(dataDir)}.new`, `${password}\n`);
  await rename(`${passwordFileOf(dataDir)}.new`, passwordFileOf(dataDir));
  await rename(directory, clusterDirOf(dataDir));
  await syncDirectory(dataDir);
  await rm(draft, { recursive: true, force: true });
  const durationMs = Math.round(performance.now() - startedAtMs);
  deps.logger.info({ directory: clusterDirOf(dataDir), durationMs }, 'store.postgres.cluster.created');
}

async function runInitdb(initdb: string, place: Omit<ServerPlace, 'dataDirArgument'>, args: string[]): Promise<void> {
  const child = spawn(initdb, args, { ...place, stdio: ['ignore', 'pipe', 'pipe'], timeout: initMs });
  const lines = collectLines(child.stderr);
  child.stdout.resume();
  const reason = await new Promise<string | undefined>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(code === 0 ? undefined : `it ended with ${signal ?? code}`));
  });
  if (reason === undefined) return;
  const output = lines.recent().join('\n  ');
  throw new StoreError('POSTGRES_UNUSABLE', `initdb could not make the embedded database: ${reason}\n  ${output}`);
}

async function writeSynced(file: string, text: string): Promise<void> {
  const handle = await open(file, 'w', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  await handle.sync().finally(() => handle.close());
}
