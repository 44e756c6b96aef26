import { keepPrefix, memoryStorage, type QalStorage } from '../index.ts';
import {
  type BlockContent,
  blockOf,
  decodeBlock,
  decodeJson,
  encodeBlock,
  encodeJson,
  insertMessage,
  spanOf,
} from './block.ts';
import { within } from './deadline.ts';
import type { Emit } from './events.ts';
import { fieldsOf, listOf, optionalText } from './frames.ts';
import { decodeHead, encodeHead, type Head, newHead } from './head.ts';
import type { ImLimits } from './limits.ts';
import type { Stored } from './message.ts';
import { addRange, clipRanges, removeRange, subtractRanges } from './ranges.ts';
import { createWriter } from './writer.ts';

/** Layout of what is stored. Any other is taken for nothing. */
const version = 1;

/** A block in memory. */
interface Block {
  readonly head: Head;
  readonly number: number;
  messages: readonly Stored[];
  isDirty: boolean;
  bytes: number;
  /** The write before which it was used last: one that was used since the last write stays. */
  usedAt: number;
}

/** What a terminal keeps of one account: heads in memory, messages in blocks, all of it in a storage. */
export interface ImStore {
  readonly heads: ReadonlyMap<string, Head>;
  /** Which store of the service the seqs belong to. */
  epoch: string | undefined;
  /** Messages that are not sent yet, as the outbox wants them kept. */
  unsent: readonly unknown[];
  /** Keeps no messages, and nothing over a restart (`disableStorage`). */
  readonly isOff: boolean;
  /**
   * Of the conversations that were given up since the start no message is newer, Unix seconds: what is not newer either, of a
   * conversation that is not known, may have been shown.
   */
  readonly forgottenTime: number;
  /** Of a conversation; made if there is none. */
  head(id: string): Head;
  /** Brings the blocks of these seqs into memory: `find` and `put` work on them until the next `await`. */
  load(head: Head, seqs: readonly number[]): Promise<void>;
  find(head: Head, seq: number): Stored | undefined;
  put(head: Head, message: Stored): void;
  remove(head: Head, seq: number): void;
  /**
   * Up to `count` messages of a range that is known, newest first.
   * @returns undefined: some of it is not there any more, and not known now
   */
  read(head: Head, from: number, to: number, count: number): Promise<Stored[] | undefined>;
  /** Writes what has changed. Settles when it is stored; never rejects. */
  commit(): Promise<void>;
  /** Removes all messages of a conversation. */
  clear(head: Head): Promise<void>;
  /** Forgets a conversation. */
  forget(head: Head): Promise<void>;
  /** Forgets everything; `unsent` stays unless `isAll`. */
  reset(isAll: boolean): Promise<void>;
}

export interface ImStoreOptions {
  readonly sdkAppId: number;
  readonly account: string;
  readonly isOff: boolean;
  readonly limits: ImLimits;
}

/** Opens what is stored for an account (one partition an app and account: another account never sees it). Never rejects. */
export async function openStore(inner: QalStorage, options: ImStoreOptions, emit: Emit): Promise<ImStore> {
  const { isOff, limits } = options;
  const partition = `im/${options.sdkAppId}=${encodeURIComponent(options.account.toWellFormed())}/`;
  const headsKey = `${keepPrefix}${partition}heads`;
  const unsentKey = `${keepPrefix}${partition}unsent`;
  let storage = isOff ? memoryStorage({ maxBytes: 0 }) : inner;
  /** In the order of use, the latest last. */
  const heads = new Map<string, Head>();
  let forgottenTime = 0;
  /** In the order of use, the latest last. */
  const blocks = new Map<string, Block>();
  const loading = new Map<string, Promise<Block>>();
  let writes = 0;
  let storedUnsent: readonly unknown[] = [];

  const keyOf = (head: Head, number: number): string => `${partition}${encodeURIComponent(head.id)}/${number}`;

  /** Calls the storage; when it fails, everything that is in memory goes to one in memory, and stays there. */
  async function call<T>(
    operation: 'get' | 'set' | 'delete' | 'keys',
    run: (storage: QalStorage) => Promise<T>,
  ): Promise<T | undefined> {
    const mine = storage;
    try {
      return await within(limits.storageTimeoutMs, 'the storage', run(mine));
    } catch (error) {
      if (storage === mine) {
        storage = memoryStorage();
        for (const block of blocks.values()) block.isDirty = true;
        storedUnsent = [];
        emit({ type: 'storage-failed', operation, error });
        void commit();
      }
      return undefined;
    }
  }

  async function open(): Promise<void> {
    const [bytes, unsent] = await Promise.all([
      call('get', (storage) => storage.get(headsKey)),
      call('get', (storage) => storage.get(unsentKey)),
    ]);
    const stored = fieldsOf(decodeJson(bytes));
    if (stored.version === version) {
      store.epoch = optionalText(stored.epoch);
      for (const head of listOf(stored.heads).map(decodeHead)) if (head !== undefined) heads.set(head.id, head);
    }
    storedUnsent = store.unsent = listOf(decodeJson(unsent));
  }

  function blockIn(head: Head, number: number, messages: readonly Stored[], bytes: number): Block {
    const block: Block = { head, number, messages, isDirty: false, bytes, usedAt: writes };
    blocks.set(keyOf(head, number), block);
    return block;
  }

  async function fetchBlock(head: Head, number: number): Promise<Block> {
    const span = spanOf(number);
    const claimed = clipRanges(head.known, ...span);
    const isStored = head.blocks.some(([block]) => block === number);
    const bytes = isStored ? await call('get', (storage) => storage.get(keyOf(head, number))) : undefined;
    const content: BlockContent = decodeBlock(bytes) ?? { known: isStored ? [] : claimed, messages: [] };
    // It was given up for room, or another tab wrote it: what it does not have is not known.
    head.known = subtractRanges(head.known, subtractRanges(claimed, content.known));
    setCount(head, number, content.messages.length);
    return blockIn(head, number, content.messages, bytes?.byteLength ?? 0);
  }

  async function loadBlock(head: Head, number: number): Promise<Block> {
    const key = keyOf(head, number);
    const block = blocks.get(key) ?? (await (loading.get(key) ?? startLoading(key, head, number)));
    block.usedAt = writes;
    blocks.delete(key);
    blocks.set(key, block);
    return block;
  }

  function startLoading(key: string, head: Head, number: number): Promise<Block> {
    const promise = fetchBlock(head, number).finally(() => loading.delete(key));
    loading.set(key, promise);
    return promise;
  }

  function setCount(head: Head, number: number, count: number): void {
    const others = head.blocks.filter(([block]) => block !== number);
    head.blocks = count === 0 ? others : [...others, [number, count] as const].sort((a, b) => a[0] - b[0]);
  }

  function change(head: Head, seq: number, edit: (messages: readonly Stored[]) => readonly Stored[]): void {
    const number = blockOf(seq);
    const block = blocks.get(keyOf(head, number)) ?? blockIn(head, number, [], 0);
    block.messages = edit(block.messages);
    block.isDirty = true;
    setCount(head, number, block.messages.length);
  }

  async function drop(head: Head, number: number): Promise<void> {
    blocks.delete(keyOf(head, number));
    setCount(head, number, 0);
    head.known = removeRange(head.known, ...spanOf(number));
    await call('delete', (storage) => storage.delete(keyOf(head, number)));
  }

  async function dropAll(head: Head): Promise<void> {
    for (const [number] of head.blocks) await drop(head, number);
  }

  /** Keeps to the bounds: the oldest blocks of a conversation go, and the conversations that were used longest ago. */
  async function prune(): Promise<void> {
    const { messagesPerConversation, conversations } = limits;
    for (const head of heads.values()) {
      let count = head.blocks.reduce((sum, [, messages]) => sum + messages, 0);
      for (const [number, messages] of head.blocks.slice(0, -1)) {
        if (count <= messagesPerConversation) break;
        count -= messages;
        await drop(head, number);
      }
    }
    for (const head of [...heads.values()].slice(0, Math.max(heads.size - conversations, 0))) {
      heads.delete(head.id);
      forgottenTime = Math.max(forgottenTime, head.time);
      await dropAll(head);
    }
  }

  /** Gives up blocks in memory that the storage has, too. */
  function evict(): void {
    let bytes = 0;
    for (const block of blocks.values()) bytes += block.bytes;
    for (const [key, block] of blocks) {
      if (bytes <= limits.cacheBytes) return;
      if (block.isDirty || block.usedAt >= writes - 1) continue;
      blocks.delete(key);
      bytes -= block.bytes;
    }
  }

  async function write(): Promise<void> {
    await prune();
    writes += 1;
    const dirty = [...blocks.values()].filter(({ isDirty }) => isDirty);
    // First the messages, then the heads that say that they were shown: a crash in between shows one again rather than none.
    await Promise.all(
      dirty.map(async (block) => {
        const { head, number, messages } = block;
        block.isDirty = false;
        const value = encodeBlock({ known: clipRanges(head.known, ...spanOf(number)), messages });
        block.bytes = value.byteLength;
        await call('set', (storage) => storage.set(keyOf(head, number), value));
      }),
    );
    const value = encodeJson({ version, epoch: store.epoch, heads: [...heads.values()].map(encodeHead) });
    await call('set', (storage) => storage.set(headsKey, value));
    if (storedUnsent !== store.unsent) {
      storedUnsent = store.unsent;
      const unsent = encodeJson(store.unsent);
      await call('set', (storage) => storage.set(unsentKey, unsent));
    }
    evict();
  }

  const writer = createWriter(write);
  const commit = (): Promise<void> => (isOff ? Promise.resolve() : writer.write());

  const store: ImStore = {
    heads,
    epoch: undefined,
    unsent: [],
    isOff,
    head(id) {
      const head = heads.get(id) ?? newHead(id);
      heads.delete(id);
      heads.set(id, head);
      return head;
    },
    get forgottenTime() {
      return forgottenTime;
    },
    async load(head, seqs) {
      if (isOff) return;
      await Promise.all([...new Set(seqs.map(blockOf))].map((number) => loadBlock(head, number)));
    },
    find: (head, seq) => blocks.get(keyOf(head, blockOf(seq)))?.messages.find((message) => message.seq === seq),
    put(head, message) {
      if (!isOff) change(head, message.seq, (messages) => insertMessage(messages, message));
    },
    remove(head, seq) {
      head.deleted = addRange(head.deleted, seq, seq);
      if (!isOff) change(head, seq, (messages) => messages.filter((message) => message.seq !== seq));
    },
    async read(head, from, to, count) {
      const found: Stored[] = [];
      for (const [number] of head.blocks.toReversed()) {
        const [first, last] = spanOf(number);
        if (found.length >= count || last < from) break;
        if (first > to) continue;
        const claimed = clipRanges(head.known, Math.max(first, from), Math.min(last, to));
        const { messages } = await loadBlock(head, number);
        if (subtractRanges(claimed, head.known).length > 0) return undefined;
        found.push(...messages.filter(({ seq }) => seq >= from && seq <= to).reverse());
      }
      return found.slice(0, count);
    },
    commit,
    async clear(head) {
      await dropAll(head);
      head.known = [];
      head.deleted = [];
    },
    async forget(head) {
      heads.delete(head.id);
      await dropAll(head);
    },
    async reset(isAll) {
      heads.clear();
      blocks.clear();
      const keys = (await call('keys', (storage) => storage.keys(partition))) ?? [];
      if (isAll) keys.push(headsKey, unsentKey);
      await writer.idle();
      await Promise.all(keys.map((key) => call('delete', (storage) => storage.delete(key))));
      if (!isAll) await commit();
    },
  };
  if (!isOff) await open();
  return store;
}
