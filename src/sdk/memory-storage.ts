import { costOf, isKept, type QalStorage } from './storage.ts';

/**
 * Keeps everything in memory, for as long as it lives: the default.
 * @param options.maxBytes of keys, values and 256 bytes for each; default 20 MiB. What was used longest ago goes first.
 */
export function memoryStorage({ maxBytes = 20 * 1_048_576 }: { maxBytes?: number } = {}): QalStorage {
  /** In the order of use, the latest last. */
  const values = new Map<string, Uint8Array>();
  let bytes = 0;

  function remove(key: string): void {
    const value = values.get(key);
    if (value === undefined) return;
    values.delete(key);
    bytes -= costOf(key, value);
  }

  return {
    async get(key) {
      const value = values.get(key);
      if (value === undefined) return undefined;
      values.delete(key);
      values.set(key, value);
      return value;
    },
    async set(key, value) {
      remove(key);
      const cost = costOf(key, value);
      if (cost > maxBytes) return;
      values.set(key, value);
      bytes += cost;
      for (const oldest of values.keys()) {
        if (bytes <= maxBytes) break;
        if (!isKept(oldest)) remove(oldest);
      }
    },
    async delete(key) {
      remove(key);
    },
    async keys(prefix) {
      return [...values.keys()].filter((key) => key.startsWith(prefix));
    },
    async close() {
      values.clear();
      bytes = 0;
    },
  };
}
