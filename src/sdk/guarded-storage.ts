import { within } from './deadline.ts';
import { codeOf } from './error.ts';
import { memoryStorage } from './memory-storage.ts';
import type { QalStorage } from './storage.ts';

export interface StorageFailure {
  readonly operation: 'get' | 'set' | 'delete' | 'keys';
  readonly error: unknown;
  /** From now on everything is kept in memory alone. */
  readonly degraded: boolean;
}

/** A storage that never fails. */
export interface GuardedStorage extends QalStorage {
  readonly degraded: boolean;
}

/** So many reads that failed mean that the rest will, too. */
const maxReadFailures = 3;

/**
 * Stands between the client and a storage that may fail in any way: full disk, private window, damaged database, one that
 * never answers. A failed read is a miss. After anything else that fails, or several reads, everything is kept in memory.
 */
export function guardStorage(
  inner: QalStorage,
  timeoutMs: number,
  onFailure: (failure: StorageFailure) => void,
): GuardedStorage {
  let current = inner;
  let readFailures = 0;

  async function run<T>(
    operation: StorageFailure['operation'],
    call: (storage: QalStorage) => Promise<T>,
  ): Promise<T | undefined> {
    const storage = current;
    try {
      return await within(timeoutMs, 'the storage', undefined, () => call(storage));
    } catch (error) {
      if (operation === 'get') readFailures += 1;
      // One that does not answer would hold up every request.
      const isSilent = codeOf(error) === 'TIMEOUT';
      if (current === inner && (operation !== 'get' || isSilent || readFailures >= maxReadFailures)) {
        current = memoryStorage();
      }
      onFailure({ operation, error, degraded: current !== inner });
      return current === storage ? undefined : call(current);
    }
  }

  return {
    get degraded() {
      return current !== inner;
    },
    get: (key) => run('get', (storage) => storage.get(key)),
    set: (key, value) => run('set', (storage) => storage.set(key, value)),
    async delete(key) {
      // What was removed must not come back after a restart.
      if (current !== inner) run('delete', () => inner.delete(key));
      await run('delete', (storage) => storage.delete(key));
    },
    async keys(prefix) {
      // What is in one that failed is still there, and has to be found to be removed.
      const left = current === inner ? [] : await run('keys', () => inner.keys(prefix));
      const found = await run('keys', (storage) => storage.keys(prefix));
      return [left, found].flatMap((keys) => keys ?? []);
    },
    async close() {
      await within(timeoutMs, 'the storage', undefined, () => inner.close()).catch(() => {});
    },
  };
}
