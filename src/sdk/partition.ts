import { decodeRecord, encodeRecord } from './record.ts';
import type { QalStorage } from './storage.ts';
import { judge, type PrivateRules, type Variant } from './variant.ts';

/** Responses stored for one URL, told apart by Vary. */
const maxVariants = 4;

/** The stored responses of one app and account (C0). */
export interface Partition {
  /** Stored for a URL, the latest first. */
  read(url: string): Promise<readonly Variant[]>;
  /** Changes what is stored for a URL; settles when every later read sees it. Does nothing once the partition is closed. */
  update(url: string, change: (variants: readonly Variant[]) => readonly Variant[]): Promise<unknown>;
  /** @returns how many there were */
  removeAll(isMeant: (url: string) => boolean): Promise<number>;
  /** Waits for what is being written. */
  flush(): Promise<void>;
  /** Nothing is read or written by it any more. */
  close(): void;
}

export function partitionKey(sdkAppId: number, account: string | undefined): string {
  return `${appKey(sdkAppId)}${account === undefined ? '' : `=${encodeURIComponent(account.toWellFormed())}`}/`;
}

export function appKey(sdkAppId: number): string {
  return `cache/${sdkAppId}/`;
}

/** @param prefix of all keys: {@link partitionKey} */
export function openPartition(storage: QalStorage, prefix: string, rules: PrivateRules): Partition {
  /** What is newer than the storage, by URL: bounded by the time that the storage is given for it. */
  const pending = new Map<string, readonly Variant[]>();
  /** The last change of each URL that has one under way. */
  const tails = new Map<string, Promise<void>>();
  let closed = false;

  async function load(url: string): Promise<readonly Variant[]> {
    const bytes = await storage.get(prefix + url);
    if (bytes === undefined) return [];
    const judged = decodeRecord(bytes, url).map((parts) => judge(parts, rules));
    return judged.filter(({ refused }) => refused === undefined).map(({ variant }) => variant);
  }

  async function read(url: string): Promise<readonly Variant[]> {
    const loaded = pending.get(url) ?? (await load(url));
    // Somebody may have stored meanwhile; whoever closes forbids it all.
    return closed ? [] : (pending.get(url) ?? loaded);
  }

  function update(url: string, change: (variants: readonly Variant[]) => readonly Variant[]): Promise<unknown> {
    const before = tails.get(url) ?? Promise.resolve();
    const visible = before.then(async () => {
      const old = await read(url);
      const changed = change(old);
      if (closed || changed === old) return undefined;
      const kept = changed.slice(0, maxVariants);
      pending.set(url, kept);
      return kept;
    });
    const tail = visible
      .then(async (kept) => {
        if (kept === undefined) return;
        await (kept.length === 0 ? storage.delete(prefix + url) : storage.set(prefix + url, encodeRecord(url, kept)));
        pending.delete(url);
      })
      .finally(() => {
        if (tails.get(url) === tail) tails.delete(url);
      });
    tails.set(url, tail);
    return visible;
  }

  async function flush(): Promise<void> {
    while (tails.size > 0) await Promise.all(tails.values());
  }

  return {
    read,
    update,
    async removeAll(isMeant) {
      await flush();
      const urls = (await storage.keys(prefix)).map((key) => key.slice(prefix.length)).filter(isMeant);
      await Promise.all(urls.map((url) => update(url, () => [])));
      return urls.length;
    },
    flush,
    close() {
      closed = true;
    },
  };
}
