import type { Attempt } from './exchange.ts';

/** What waits for a stream: what was sent already and not looked at goes first, then what came first. */
export class Waiting {
  readonly #fresh = new Set<Attempt>();
  #again: Attempt[] = [];

  get size(): number {
    return this.#fresh.size + this.#again.length;
  }

  add(attempt: Attempt): void {
    this.#fresh.add(attempt);
  }

  addAgain(attempt: Attempt): void {
    this.#again.push(attempt);
  }

  /** What {@link take} gave and could not be sent: it is the next again. */
  putBack(attempt: Attempt): void {
    this.#again.unshift(attempt);
  }

  take(): Attempt | undefined {
    const again = this.#again.shift();
    if (again !== undefined) return again;
    const [first] = this.#fresh;
    if (first !== undefined) this.#fresh.delete(first);
    return first;
  }

  /** Gives back those that waited. */
  remove(which: (attempt: Attempt) => boolean): Attempt[] {
    const removed = [...this.#again, ...this.#fresh].filter(which);
    for (const attempt of removed) this.#fresh.delete(attempt);
    if (removed.length > 0) this.#again = this.#again.filter((attempt) => !which(attempt));
    return removed;
  }
}
