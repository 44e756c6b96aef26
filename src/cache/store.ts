import { LRUCache } from 'lru-cache';
import type { StoredResponse } from './stored-response.ts';

/**
 * Where a response is kept: its URL (app, scheme, host, path and query), its route, and for whom. Texts that hold no
 * line end, so that none can pass for two.
 */
export interface Place {
  readonly url: string;
  /** `url`, route and partition, joined: the key of the table. */
  readonly key: string;
}

export interface StoreOptions {
  /** Of all responses together. */
  bytes: number;
}

/** Several responses of one place differ by Vary. */
interface Slot {
  readonly url: string;
  responses: StoredResponse[];
  /** Keys of all places of its URL. */
  places: ReadonlySet<string>;
}

/** Variants of one place at most; the one used least recently gives way. */
const maxVariants = 64;

/**
 * The responses, in memory, bounded in bytes; what was used least recently gives way, with all variants of its place.
 * Tables beside it find the places of a URL and of a tag, so that invalidation and purges need not search.
 */
export class Store {
  evictions = 0;
  #slots: LRUCache<string, Slot>;
  #byUrl = new Map<string, Set<string>>();
  #byTag = new Map<string, Set<string>>();
  #responses = 0;

  constructor({ bytes }: StoreOptions) {
    this.#slots = new LRUCache<string, Slot>({
      maxSize: Math.max(1, bytes),
      dispose: (slot, key, reason) => {
        // A slot that is set anew was forgotten already.
        if (reason === 'set') return;
        if (reason === 'evict') this.evictions += slot.responses.length;
        this.#forget(key, slot);
      },
    });
  }

  get bytes(): number {
    return this.#slots.calculatedSize;
  }

  get responses(): number {
    return this.#responses;
  }

  /** The variants of a place; using them keeps them longer. */
  at(key: string): readonly StoredResponse[] {
    return this.#slots.get(key)?.responses ?? none;
  }

  /** The variants of a place, and whether its URL has nothing in other places. */
  look(key: string): { readonly responses: readonly StoredResponse[]; readonly places: { readonly size: number } } {
    return this.#slots.get(key) ?? nothing;
  }

  /** Stores a response in the place of the one with the same Vary, or of `replaced`. False: it does not fit. */
  put(place: Place, response: StoredResponse, replaced?: StoredResponse): boolean {
    const slot = this.#slots.get(place.key) ?? { url: place.url, responses: [], places: nothing.places };
    const others = slot.responses.filter(
      (other) => other !== replaced && (other.varyKey !== response.varyKey || other.varyText !== response.varyText),
    );
    if (others.length >= maxVariants) {
      const oldest = others.reduce((one, other) => (other.usedAtMs < one.usedAtMs ? other : one));
      others.splice(others.indexOf(oldest), 1);
      this.evictions += 1;
    }
    return this.#set(place, slot, [...others, response]);
  }

  remove(place: Place, response: StoredResponse): void {
    const slot = this.#slots.get(place.key);
    if (slot === undefined || !slot.responses.includes(response)) return;
    this.#set(
      place,
      slot,
      slot.responses.filter((other) => other !== response),
    );
  }

  #set({ url, key }: Place, before: Slot, responses: StoredResponse[]): boolean {
    this.#forget(key, before);
    if (responses.length === 0) {
      this.#slots.delete(key);
      return true;
    }
    // A new object: lru-cache takes one that it has for unchanged, and keeps the size that it had.
    const slot: Slot = { url, responses, places: nothing.places };
    this.#remember(key, slot);
    let size = 2 * (key.length + url.length);
    for (const { bytes } of responses) size += bytes;
    this.#slots.set(key, slot, { size });
    // A slot over the whole bound is not kept; lru-cache then drops what was there before, too.
    if (this.#slots.peek(key) === slot) return true;
    this.#forget(key, slot);
    return false;
  }

  #remember(key: string, slot: Slot): void {
    this.#responses += slot.responses.length;
    slot.places = addTo(this.#byUrl, slot.url, key);
    for (const { tags } of slot.responses) for (const tag of tags) addTo(this.#byTag, tag, key);
  }

  #forget(key: string, slot: Slot): void {
    this.#responses -= slot.responses.length;
    removeFrom(this.#byUrl, slot.url, key);
    for (const { tags } of slot.responses) for (const tag of tags) removeFrom(this.#byTag, tag, key);
    slot.responses = [];
  }

  /** Ends everything that is stored for a URL, for whomever. Gives back how many responses that were. */
  removeUrl(url: string): number {
    return this.#removeAll([...(this.#byUrl.get(url) ?? [])]);
  }

  /** Ends all responses that have the tag, in places whose URL begins so. */
  removeTag(tag: string, urlPrefix: string): number {
    const places = [...(this.#byTag.get(tag) ?? [])];
    let removed = 0;
    for (const key of places) {
      const slot = this.#slots.peek(key);
      if (slot === undefined || !slot.url.startsWith(urlPrefix)) continue;
      for (const response of slot.responses.filter(({ tags }) => tags.includes(tag))) {
        this.remove({ url: slot.url, key }, response);
        removed += 1;
      }
    }
    return removed;
  }

  /** Ends all responses of URLs that begin so. */
  removePrefix(urlPrefix: string): number {
    const keys: string[] = [];
    for (const [url, places] of this.#byUrl) if (url.startsWith(urlPrefix)) keys.push(...places);
    return this.#removeAll(keys);
  }

  #removeAll(keys: readonly string[]): number {
    let removed = 0;
    for (const key of keys) {
      removed += this.#slots.peek(key)?.responses.length ?? 0;
      this.#slots.delete(key);
    }
    return removed;
  }
}

const none: readonly StoredResponse[] = [];
const nothing = { responses: none, places: new Set<string>() } as const;

function addTo(index: Map<string, Set<string>>, name: string, key: string): ReadonlySet<string> {
  let keys = index.get(name);
  if (keys === undefined) {
    keys = new Set();
    index.set(name, keys);
  }
  keys.add(key);
  return keys;
}

function removeFrom(index: Map<string, Set<string>>, name: string, key: string): void {
  const keys = index.get(name);
  if (keys === undefined) return;
  keys.delete(key);
  if (keys.size === 0) index.delete(name);
}
