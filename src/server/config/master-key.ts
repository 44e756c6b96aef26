import { randomBytes } from 'node:crypto';
import { link, mkdir, open, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { StoreError } from '../../store/index.ts';
import type { Config } from './config.ts';
import { parseMasterKey } from './schema.ts';

/** The file of the data folder that keeps the key of an embedded database. */
export function masterKeyFile(dataDir: string): string {
  return join(dataDir, 'master.key');
}

/** Where the embedded database lies in the data folder. */
export function clusterFolder(dataDir: string): string {
  return join(dataDir, 'pg');
}

/**
 * The master keys, newest first: those configured, or with an embedded database the one that its data folder keeps.
 * Makes that file on first use, readable by its owner alone; processes that start at once agree on one key. Whoever
 * gets a key from here finds it on disk after a crash: the file is synced before it has its name.
 * Throws when the file cannot be read, written or understood, and when it is gone although the database is there: a new
 * key could read nothing of that. Never replaces one. So call it before the database is opened for the first time.
 */
export async function readMasterKeys(config: Pick<Config, 'data' | 'database' | 'masterKeys'>): Promise<Buffer[]> {
  if (config.masterKeys.length > 0) return config.masterKeys;
  if (config.database !== 'embedded')
    throw new StoreError('MASTER_KEY', 'masterKey is missing: an external database needs one');
  const file = masterKeyFile(config.data);
  return [(await readKey(file)) ?? (await createKey(config.data, file))];
}

async function readKey(file: string): Promise<Buffer | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new StoreError('MASTER_KEY', `the master key ${file} cannot be read: ${reason}`, { cause });
  }
  const key = parseMasterKey(text.trim());
  if (key === undefined)
    throw new StoreError('MASTER_KEY', `${file} holds no master key: restore it from a backup of the data folder`);
  return key;
}

async function createKey(folder: string, file: string): Promise<Buffer> {
  const cluster = await stat(clusterFolder(folder)).catch(() => undefined);
  if (cluster !== undefined) {
    throw new StoreError(
      'MASTER_KEY',
      `${file} is missing, and without it the secrets in the database are lost: restore it from a backup`,
    );
  }
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const draft = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`;
  try {
    const handle = await open(draft, 'wx', 0o600);
    try {
      await handle.writeFile(`${randomBytes(32).toString('base64')}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    // A link, unlike a rename, fails when another process was first: its key holds.
    await link(draft, file).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'EEXIST') throw cause;
    });
    const parent = await open(folder, 'r');
    await parent.sync().finally(() => parent.close());
  } finally {
    await rm(draft, { force: true });
  }
  const key = await readKey(file);
  if (key === undefined) throw new StoreError('MASTER_KEY', `${file} vanished while it was made`);
  return key;
}
