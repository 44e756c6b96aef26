/** Conversations of which a link's newest seq is remembered, at most. */
const maxRemembered = 256;

/**
 * The newest seq that a link was sent, by conversation, since the look before the last one. Nothing is kept of a link that gets
 * nothing. What did not fit counts as not sent: it costs a resync that was not needed.
 */
export class SentSeqs {
  #now: Map<string, number> | undefined;
  #before: Map<string, number> | undefined;

  note(conversation: string, seq: number): void {
    this.#now ??= new Map();
    const known = this.#now.get(conversation);
    if (known === undefined ? this.#now.size < maxRemembered : known < seq) this.#now.set(conversation, seq);
  }

  covers(conversation: string, seq: number): boolean {
    return Math.max(this.#now?.get(conversation) ?? 0, this.#before?.get(conversation) ?? 0) >= seq;
  }

  /** A look was done: what was noted before the one before it is settled. */
  turn(): void {
    this.#before = this.#now;
    this.#now = undefined;
  }
}
