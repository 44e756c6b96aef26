import type { TestIm, TestLink } from './im.ts';

type Event = Record<string, unknown>;

/** A terminal that follows a group as docs/reference/link.md says: holds what it got, by seq. Throws when it gets what it must not. */
export class GroupFollower {
  readonly held = new Map<number, string>();
  through = 0;
  recallNo = 0;
  #link: TestLink | undefined;
  #lastLink: string | undefined;
  #seen = 0;
  readonly #im: TestIm;
  readonly #account: string;
  readonly #conversation: string;

  constructor(im: TestIm, account: string, conversation: string) {
    this.#im = im;
    this.#account = account;
    this.#conversation = conversation;
  }

  get isConnected(): boolean {
    return this.#link !== undefined;
  }

  get #open(): TestLink {
    if (this.#link === undefined) throw new Error('not connected');
    return this.#link;
  }

  async connect(): Promise<void> {
    this.#link = await this.#im.link(this.#account, this.#lastLink === undefined ? {} : { resume: this.#lastLink });
    this.#lastLink = String(this.#link.login.link);
    this.#seen = 0;
    await this.catchUp();
  }

  async cut(): Promise<void> {
    const link = this.#link;
    this.#link = undefined;
    link?.socket.terminate();
    await link?.closed;
  }

  async catchUp(): Promise<void> {
    const { conversations } = (await this.#open.ok('groupStates')) as { conversations: Record<string, number>[] };
    const state = conversations.find(({ conversation }) => String(conversation) === this.#conversation);
    if (state === undefined) throw new Error('the group is not there');
    if (Number(state.seq) > this.through || Number(state.recallNo) > this.recallNo) await this.#sync();
  }

  async #sync(): Promise<void> {
    for (;;) {
      const request = { conversation: this.#conversation, since: this.through, recallNo: this.recallNo, limit: 7 };
      const page = (await this.#open.ok('sync', request)) as Event;
      const seqs = (page.messages as Event[]).map(({ seq }) => Number(seq));
      const holes = (page.holes as [number, number][]).flatMap(([first, last]) =>
        Array.from({ length: last - first + 1 }, (_, i) => first + i),
      );
      const through = Number(page.throughSeq);
      const all = Array.from({ length: through - this.through }, (_, i) => this.through + 1 + i);
      if (JSON.stringify([...seqs, ...holes].sort((x, y) => x - y)) !== JSON.stringify(all)) {
        throw new Error(`not dense: ${JSON.stringify(page)}`);
      }
      for (const message of page.messages as Event[]) this.#keep(message);
      for (const seq of page.recalled as number[]) this.#recall(seq);
      this.through = through;
      this.recallNo = Number(page.recallNo);
      if (page.more !== true) return;
    }
  }

  #keep({ seq, body, recalled }: Event): void {
    if (this.held.has(Number(seq)) && recalled !== true) throw new Error(`twice: ${seq}`);
    this.held.set(Number(seq), recalled === true ? '' : JSON.stringify(body));
  }

  #recall(seq: number): void {
    if (this.held.has(seq)) this.held.set(seq, '');
  }

  /** Takes in the events so far. */
  async settle(): Promise<void> {
    if (!this.isConnected) return;
    const link = this.#open;
    await link.ok('beat');
    for (; this.#seen < link.events.length; this.#seen++) {
      const event = link.events[this.#seen] as Event;
      if (event.on === 'resync') await this.catchUp();
      else if (event.conversation !== this.#conversation) continue;
      else if (event.on === 'message' && Number(event.seq) > this.through) {
        if (event.prev !== this.through) await this.#sync();
        else {
          this.#keep(event);
          this.through = Number(event.seq);
        }
      } else if (event.on === 'recalled' && Number(event.recallNo) > this.recallNo) {
        if (event.recallNo !== this.recallNo + 1) await this.#sync();
        else {
          for (const seq of event.seqs as number[]) this.#recall(seq);
          this.recallNo = Number(event.recallNo);
        }
      }
    }
  }
}
