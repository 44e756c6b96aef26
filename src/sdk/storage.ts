/**
 * Where the SDK keeps what shall outlast a page or a process: the terminal's identity and the cache. Bytes by key.
 *
 * Give one of these to the client: {@link memoryStorage}, `indexedDbStorage()` in browsers, `directoryStorage(path)` in
 * Node (`qalgate/sdk/node`), or an object of your own.
 *
 * The contract:
 * - `set` replaces as a whole: a reader sees the old value or the new one, whatever happens in between.
 * - It bounds itself, and gives up what was used longest ago when it is full; never what begins with {@link keepPrefix}.
 * - Whatever it cannot do it rejects; the client then goes on without it. It may forget anything at any time.
 */
export interface QalStorage {
  /** Undefined: there is no such key, or its value was damaged. */
  get(key: string): Promise<Uint8Array | undefined>;
  set(key: string, value: Uint8Array): Promise<void>;
  /** A key that is not there is none to complain about. */
  delete(key: string): Promise<void>;
  /** All keys that begin with the prefix. */
  keys(prefix: string): Promise<string[]>;
  close(): Promise<void>;
}

/** Keys that begin with this are not given up for room. There are few of them, and they are small. */
export const keepPrefix = 'keep/';

/** What an entry costs besides its value, roughly; so that a million empty ones are not free. */
export const entryOverheadBytes = 256;

/** Default limit of the storages that last. */
export const defaultStorageBytes = 50 * 1_048_576;

export function isKept(key: string): boolean {
  return key.startsWith(keepPrefix);
}

export function costOf(key: string, value: { readonly byteLength: number }): number {
  return key.length * 2 + value.byteLength + entryOverheadBytes;
}
