import { createHash, randomBytes } from 'node:crypto';
import {
  type FileHandle,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  stat,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { keepPrefix, type QalStorage } from '../index.ts';
import { decodeFile, encodeFile, headBytes, keyOfHead } from './storage-file.ts';

export interface DirectoryStorageOptions {
  /** Bytes of all files together. Default: 50 MiB. What was used longest ago goes first. */
  readonly maxBytes?: number;
}

/** Ours are these two kinds of files; all others in the directory are left alone. */
const fileName = /^[0-9a-f]{40}\.qal$/;
const unfinishedName = /^[0-9a-f]{40}\.[0-9a-f]{16}\.tmp$/;
/** What is still unfinished after this long belongs to a process that ended. */
const unfinishedMs = 10 * 60_000;
/** A use is written down, as the file's time, when the last one that was is this long ago. */
const usedStepMs = 60_000;
/** Files of which the key is read at once. */
const keysAtOnce = 32;

/**
 * Keeps everything in a directory: outlasts the process, and may be shared by several. One file for each key, written
 * beside its place and then renamed, so that no reader ever sees half of one; a checksum finds what a crash left behind.
 * The directory (0700) is made when it is missing; files are 0600.
 *
 * @param path of the directory, for this alone
 */
export function directoryStorage(path: string, options: DirectoryStorageOptions = {}): QalStorage {
  const { maxBytes = 50 * 1_048_576 } = options;
  /** What the files take together, as far as we know; others may write, too. Undefined: not looked at yet. */
  let bytes: number | undefined;
  let sweeping: Promise<void> | undefined;

  const fileOf = (key: string): string =>
    join(path, `${createHash('sha256').update(key).digest('hex').slice(0, 40)}.qal`);

  async function list(): Promise<{ name: string; size: number; usedMs: number }[]> {
    const found: { name: string; size: number; usedMs: number }[] = [];
    for (const name of await readdir(path).catch(orNothing<string[]>([]))) {
      const isUnfinished = unfinishedName.test(name);
      if (!isUnfinished && !fileName.test(name)) continue;
      const stats = await stat(join(path, name)).catch(orNothing(undefined));
      if (stats?.isFile() !== true) continue;
      if (!isUnfinished) found.push({ name, size: stats.size, usedMs: stats.mtimeMs });
      else if (Date.now() - stats.mtimeMs > unfinishedMs) await unlink(join(path, name)).catch(orNothing(undefined));
    }
    return found;
  }

  /** Looks at what is there, and gives up what was used longest ago until a tenth is free. */
  async function sweep(): Promise<void> {
    const files = await list();
    let total = files.reduce((sum, { size }) => sum + size, 0);
    if (total > maxBytes) {
      for (const { name, size } of files.toSorted((a, b) => a.usedMs - b.usedMs)) {
        if (total <= maxBytes * 0.9) break;
        const key = await readKey(join(path, name));
        if (key?.startsWith(keepPrefix) === true) continue;
        await unlink(join(path, name)).catch(orNothing(undefined));
        total -= size;
      }
    }
    bytes = total;
  }

  function sweepOnce(): Promise<void> {
    sweeping ??= sweep().finally(() => {
      sweeping = undefined;
    });
    return sweeping;
  }

  return {
    async get(key) {
      const file = fileOf(key);
      const content = await readFile(file).catch(orNothing(undefined));
      if (content === undefined) return undefined;
      const value = decodeFile(content, key);
      if (value === undefined) {
        await unlink(file).catch(orNothing(undefined));
        return undefined;
      }
      const stats = await stat(file).catch(orNothing(undefined));
      if (stats !== undefined && Date.now() - stats.mtimeMs > usedStepMs) {
        await utimes(file, new Date(), new Date()).catch(() => {});
      }
      return value;
    },
    async set(key, value) {
      const content = encodeFile(key, value);
      const file = fileOf(key);
      // What has no room is forgotten, which is no failure of the storage.
      if (content === undefined || content.byteLength > maxBytes) {
        await unlink(file).catch(orNothing(undefined));
        return;
      }
      if (bytes === undefined) {
        await mkdir(path, { recursive: true, mode: 0o700 });
        await sweepOnce();
      }
      const unfinished = `${file.slice(0, -'.qal'.length)}.${randomBytes(8).toString('hex')}.tmp`;
      try {
        await writeFile(unfinished, content, { mode: 0o600, flag: 'wx' });
        await rename(unfinished, file);
      } catch (error) {
        await unlink(unfinished).catch(() => {});
        // The directory may have been removed: the next one makes it again.
        bytes = undefined;
        throw error;
      }
      // What it replaced is counted, too, until the next look.
      bytes = (bytes ?? 0) + content.byteLength;
      if (bytes > maxBytes) await sweepOnce();
    },
    async delete(key) {
      await unlink(fileOf(key)).catch(orNothing(undefined));
    },
    async keys(prefix) {
      const names = (await list()).map(({ name }) => name);
      const keys: string[] = [];
      for (let i = 0; i < names.length; i += keysAtOnce) {
        const some = names.slice(i, i + keysAtOnce);
        for (const key of await Promise.all(some.map((name) => readKey(join(path, name))))) {
          if (key?.startsWith(prefix) === true) keys.push(key);
        }
      }
      return keys;
    },
    async close() {
      await sweeping;
    },
  };
}

/** For what may not be there, or just not be there any more; whatever else it is goes on. */
function orNothing<T>(nothing: T): (error: unknown) => T {
  return (error) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return nothing;
    throw error;
  };
}

/** The key that is written at the beginning of a file; undefined: it is none of ours, or damaged, or gone. */
async function readKey(file: string): Promise<string | undefined> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(file);
    const head = Buffer.alloc(headBytes);
    const { bytesRead } = await handle.read(head, 0, head.byteLength, 0);
    return keyOfHead(head.subarray(0, bytesRead));
  } catch (error) {
    return orNothing(undefined)(error);
  } finally {
    await handle?.close();
  }
}
