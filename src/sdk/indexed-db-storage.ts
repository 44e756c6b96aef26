import type { IdbDatabase, IdbFactory, IdbRequest, IdbTransaction } from './indexed-db-types.ts';
import { costOf, defaultStorageBytes, isKept, type QalStorage } from './storage.ts';

export interface IndexedDbStorageOptions {
  /** Name of the database. Default: `qalgate-sdk`. Pages of one origin that use the same name share it. */
  readonly name?: string;
  /** Bytes of keys, values and 256 bytes for each. Default: 50 MiB. What was used longest ago goes first. */
  readonly maxBytes?: number;
}

/** What is known of a value without reading it: its cost, and when it was used last, in milliseconds since the epoch. */
type Meta = readonly [cost: number, usedMs: number];

/** Layout of the database. One that a newer release made cannot be opened, and the client goes on without it. */
const version = 1;
/** A use is written down when the last one that was is this long ago. */
const usedStepMs = 60_000;

/**
 * Keeps everything in the browser's IndexedDB: outlasts the page, and is shared by the tabs of an origin.
 * Each operation is one transaction, so that tabs do not disturb one another's bookkeeping.
 */
export function indexedDbStorage({
  name = 'qalgate-sdk',
  maxBytes = defaultStorageBytes,
}: IndexedDbStorageOptions = {}): QalStorage {
  let opening: Promise<IdbDatabase> | undefined;

  function open(): Promise<IdbDatabase> {
    if (opening !== undefined) return opening;
    const forget = (): void => {
      opening = undefined;
    };
    opening = openDatabase(name).then((database) => {
      // Another tab wants to change the layout, or the user clears the data: in the way we must not be.
      const end = (): void => {
        database.close();
        forget();
      };
      database.onversionchange = end;
      database.onclose = end;
      return database;
    });
    opening.catch(forget);
    return opening;
  }

  /** Runs one transaction; settles when it is committed. */
  async function transact<T>(
    mode: 'readonly' | 'readwrite',
    run: (stores: Stores) => Promise<T> | undefined,
  ): Promise<T | undefined> {
    const transaction = (await open()).transaction(['values', 'meta'], mode);
    const done = completion(transaction);
    const found = run({ values: transaction.objectStore('values'), meta: transaction.objectStore('meta') });
    // What fails within it aborts it.
    const [result] = await Promise.all([found, done]);
    return result;
  }

  /** Gives up what was used longest ago, and a little more than needed: else each further entry would. */
  async function makeRoom({ values, meta }: Stores, added: string): Promise<void> {
    const [keys, metas] = await Promise.all([resultOf(meta.getAllKeys()), resultOf(meta.getAll())]);
    const entries = (keys as string[]).map((key, i) => [key, ...(metas[i] as Meta)] as const);
    let total = entries.reduce((sum, [, cost]) => sum + cost, 0);
    if (total <= maxBytes) return;
    for (const [key, cost] of entries.sort((a, b) => a[2] - b[2])) {
      if (total <= maxBytes * 0.9) return;
      if (isKept(key) || key === added) continue;
      meta.delete(key);
      values.delete(key);
      total -= cost;
    }
  }

  function remove({ values, meta }: Stores, key: string): undefined {
    meta.delete(key);
    values.delete(key);
  }

  return {
    async get(key) {
      return transact('readwrite', async ({ values, meta }) => {
        const [value, known] = await Promise.all([resultOf(values.get(key)), resultOf(meta.get(key))]);
        const [cost, usedMs] = (known ?? []) as Partial<Meta>;
        if (usedMs !== undefined && Date.now() - usedMs > usedStepMs) meta.put([cost, Date.now()], key);
        return value as Uint8Array | undefined;
      });
    },
    async set(key, value) {
      const cost = costOf(key, value);
      await transact('readwrite', (stores) => {
        if (cost > maxBytes) return remove(stores, key);
        stores.values.put(value, key);
        stores.meta.put([cost, Date.now()] satisfies Meta, key);
        return makeRoom(stores, key);
      });
    },
    async delete(key) {
      await transact('readwrite', (stores) => remove(stores, key));
    },
    async keys(prefix) {
      const keys = (await transact('readonly', ({ meta }) => resultOf(meta.getAllKeys()))) as string[];
      return keys.filter((key) => key.startsWith(prefix));
    },
    async close() {
      (await opening?.catch(() => undefined))?.close();
      opening = undefined;
    },
  };
}

type Stores = Record<'values' | 'meta', ReturnType<IdbTransaction['objectStore']>>;

async function openDatabase(name: string): Promise<IdbDatabase> {
  const { indexedDB } = globalThis as unknown as { indexedDB: IdbFactory };
  const request = indexedDB.open(name, version);
  request.onupgradeneeded = () => {
    request.result.createObjectStore('values');
    request.result.createObjectStore('meta');
  };
  return resultOf(request);
}

function resultOf<T>(request: IdbRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function completion(transaction: IdbTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
}
