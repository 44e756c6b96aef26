/** What can stand in one heap at a time. The heap keeps its place there. */
export interface HeapItem {
  /** -1: stands in none. */
  heapAt: number;
}

/** A binary heap that gives back its first item, and any other that is named, in O(log n). */
export class Heap<T extends HeapItem> {
  readonly #items: T[] = [];
  readonly #isBefore: (a: T, b: T) => boolean;

  constructor(isBefore: (a: T, b: T) => boolean) {
    this.#isBefore = isBefore;
  }

  get size(): number {
    return this.#items.length;
  }

  get first(): T | undefined {
    return this.#items[0];
  }

  add(item: T): void {
    this.#items.push(item);
    this.#rise(item, this.#items.length - 1);
  }

  /** One that does not stand in it is left alone. */
  remove(item: T): void {
    const at = item.heapAt;
    if (this.#items[at] !== item) return;
    item.heapAt = -1;
    const last = this.#items.pop() as T;
    if (last === item) return;
    // The last one takes its place, and belongs above or below it.
    this.#rise(last, at);
    this.#sink(last, last.heapAt);
  }

  takeFirst(): T | undefined {
    const first = this.#items[0];
    if (first !== undefined) this.remove(first);
    return first;
  }

  /** Takes all out, the first first. */
  takeAll(): T[] {
    const all = this.#items.splice(0);
    for (const item of all) item.heapAt = -1;
    return all.sort((a, b) => (this.#isBefore(a, b) ? -1 : this.#isBefore(b, a) ? 1 : 0));
  }

  #rise(item: T, from: number): void {
    let at = from;
    while (at > 0) {
      const above = (at - 1) >> 1;
      const other = this.#items[above] as T;
      if (!this.#isBefore(item, other)) break;
      this.#put(other, at);
      at = above;
    }
    this.#put(item, at);
  }

  #sink(item: T, from: number): void {
    let at = from;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= this.#items.length) break;
      const right = below + 1;
      if (right < this.#items.length && this.#isBefore(this.#items[right] as T, this.#items[below] as T)) below = right;
      const other = this.#items[below] as T;
      if (!this.#isBefore(other, item)) break;
      this.#put(other, at);
      at = below;
    }
    this.#put(item, at);
  }

  #put(item: T, at: number): void {
    this.#items[at] = item;
    item.heapAt = at;
  }
}
