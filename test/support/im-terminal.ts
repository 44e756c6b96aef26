import { imAppId, type TestIm, type TestLink } from './im.ts';

interface Held {
  from: string;
  text: string;
  recalled: boolean;
}

interface HeldConversation {
  messages: Map<number, Held>;
  /** It has everything up to here. */
  through: number;
  recallNo: number;
}

interface Frame extends Record<string, unknown> {
  conversation: string;
  seq: number;
  prev: number;
  from: string;
  body: { MsgContent: { Text: string } }[];
  recalled?: boolean;
}

/** A terminal as docs/reference/link.md tells how to make one, in as few lines as can be: holds what it got, by seq. */
export class TestTerminal {
  readonly conversations = new Map<string, HeldConversation>();
  readonly account: string;
  readonly platform: string;
  #im: TestIm;
  #link: TestLink | undefined;
  #lastLink: string | undefined;
  #seen = 0;

  constructor(im: TestIm, account: string, platform: string) {
    this.#im = im;
    this.account = account;
    this.platform = platform;
  }

  get link(): TestLink {
    if (this.#link === undefined) throw new Error('not connected');
    return this.#link;
  }

  get isConnected(): boolean {
    return this.#link !== undefined;
  }

  /** Logs in, and fetches what it does not have yet. */
  async connect({ resume = false } = {}): Promise<void> {
    this.#link = await this.#im.link(this.account, {
      sdkAppId: imAppId,
      userSig: this.#im.userSig(this.account, { ago: 0, life: 10_000_000 }),
      platform: this.platform,
      ...(resume && this.#lastLink !== undefined ? { resume: this.#lastLink } : {}),
    });
    this.#lastLink = String(this.#link.login.link);
    this.#seen = 0;
    await this.resync();
  }

  /** The network is gone: no goodbye. */
  async cut(): Promise<void> {
    const link = this.#link;
    this.#link = undefined;
    link?.socket.terminate();
    await link?.closed;
  }

  conversation(name: string): HeldConversation {
    let held = this.conversations.get(name);
    if (held === undefined) {
      held = { messages: new Map(), through: 0, recallNo: 0 };
      this.conversations.set(name, held);
    }
    return held;
  }

  async resync(): Promise<void> {
    const { conversations } = await this.link.ok('recents');
    for (const { conversation, seq, recallNo } of conversations as Record<string, never>[]) {
      const held = this.conversation(conversation ?? '');
      if (Number(seq) > held.through || Number(recallNo) > held.recallNo) await this.#sync(conversation ?? '');
    }
  }

  async #sync(name: string): Promise<void> {
    const held = this.conversation(name);
    for (;;) {
      const request = { conversation: name, since: held.through, recallNo: held.recallNo };
      const page = await this.link.ok('sync', request);
      for (const message of page.messages as Frame[]) this.#keep(message);
      for (const seq of page.recalled as number[]) this.#recall(name, seq);
      held.through = Number(page.throughSeq);
      held.recallNo = Number(page.recallNo);
      if (page.more !== true) return;
    }
  }

  #keep(message: Frame): void {
    const { conversation, seq, from, body, recalled = false } = message;
    this.conversation(conversation).messages.set(seq, { from, text: body[0]?.MsgContent.Text ?? '', recalled });
  }

  #recall(name: string, seq: number): void {
    const held = this.conversation(name).messages.get(seq);
    if (held !== undefined) Object.assign(held, { text: '', recalled: true });
  }

  /** Takes in the events so far; all that was sent before by whoever has his answer is among them. */
  async settle(): Promise<void> {
    await this.link.ok('beat');
    for (; this.#seen < this.link.events.length; this.#seen++) await this.#take(this.link.events[this.#seen] as Frame);
  }

  async #take(event: Frame): Promise<void> {
    const held = this.conversation(event.conversation);
    if (event.on === 'resync') await this.resync();
    else if (event.on === 'recalled') {
      for (const seq of event.seqs as number[]) this.#recall(event.conversation, seq);
      // One that was missed in between is found by the number.
      if (Number(event.recallNo) === held.recallNo + 1) held.recallNo++;
      else if (Number(event.recallNo) > held.recallNo) await this.#sync(event.conversation);
    } else if (event.on === 'message' && event.seq !== undefined) {
      if (event.seq <= held.through) return;
      if (event.prev === held.through) {
        this.#keep(event);
        held.through = event.seq;
      } else await this.#sync(event.conversation);
    }
  }

  /** Sends, and holds what it sent; gives the answer. */
  async send(name: string, message: { clientId: string; body: Frame['body'] } & Record<string, unknown>) {
    await this.settle();
    const answer = await this.link.ok('send', { conversation: name, ...message });
    const held = this.conversation(name);
    if (answer.seq !== undefined && Number(answer.seq) > held.through) {
      if (answer.prev !== held.through) await this.#sync(name);
      else {
        this.#keep({ ...(answer as Frame), conversation: name, from: this.account, body: message.body });
        held.through = Number(answer.seq);
      }
    }
    return answer;
  }

  /** Tells that it has stored everything of the conversation. */
  async acknowledge(name: string): Promise<number> {
    const { through } = this.conversation(name);
    await this.link.ok('ack', { items: [[name, through]] });
    return through;
  }
}
