import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { Logger } from '../observe/index.ts';
import { codeOf, reasonOf, StoreError } from './store-error.ts';

/** The OS account that the embedded server runs under when we are root: PostgreSQL refuses to run as root. */
export interface Account {
  uid: number;
  gid: number;
}

const run = promisify(execFile);
const commandMs = 20_000;
/** Ours first; `postgres` where a package has made it. */
const accountNames = ['qalgate', 'postgres'];

/**
 * Which account the server runs under; undefined: our own, as we are not root. A cluster that exists stays with its
 * owner. Else it is the first of `qalgate` and `postgres` that the machine has; where it has neither, `qalgate` is made,
 * a system account without home, shell or password.
 */
export async function findAccount(clusterDir: string, deps: { logger: Logger }): Promise<Account | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const owner = await ownerOf(clusterDir);
  if (owner !== undefined && owner.uid !== 0) return owner;
  for (const name of accountNames) {
    const account = await lookUp(name);
    if (account !== undefined) return account;
  }
  return await createAccount('qalgate', deps.logger);
}

async function ownerOf(directory: string): Promise<Account | undefined> {
  try {
    const { uid, gid } = await stat(directory);
    return { uid, gid };
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Asks the system rather than /etc/passwd: accounts may come from a directory service. */
async function lookUp(name: string): Promise<Account | undefined> {
  try {
    const [uid, gid] = await Promise.all([numberFrom('-u', name), numberFrom('-g', name)]);
    return uid === 0 ? undefined : { uid, gid };
  } catch {
    return undefined;
  }
}

async function numberFrom(flag: string, name: string): Promise<number> {
  const { stdout } = await run('id', [flag, name], { timeout: commandMs });
  const value = Number.parseInt(stdout, 10);
  if (!Number.isInteger(value)) throw new Error(`id ${flag} ${name} printed no number`);
  return value;
}

async function createAccount(name: string, logger: Logger): Promise<Account> {
  let failure: unknown;
  try {
    const home = ['--home-dir', '/nonexistent', '--no-create-home', '--shell', '/usr/sbin/nologin'];
    await run('useradd', ['--system', '--user-group', ...home, name], { timeout: commandMs });
    logger.info({ account: name }, 'store.postgres.account.created');
  } catch (error) {
    // Another process may have been first.
    failure = error;
  }
  const account = await lookUp(name);
  if (account !== undefined) return account;
  throw new StoreError(
    'POSTGRES_UNUSABLE',
    `as root the embedded database runs under an account of its own, and making one failed (${reasonOf(failure)}): ` +
      `add a system account named ${name}, or run qalgate as an ordinary user`,
    { cause: failure },
  );
}
