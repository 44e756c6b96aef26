import { type LinkEndName, linkEnds } from '../../wire/index.ts';
import type { Account } from '../model.ts';
import type { Platform } from '../services.ts';
import { FrameRate } from './frame-rate.ts';
import type { LinkSocket } from './link-socket.ts';
import { type ByeFacts, byeText } from './outgoing.ts';
import { SentSeqs } from './sent-seqs.ts';
import type { WaitingFrames } from './waiting-frames.ts';

/** Who it is that a link speaks for, once it has logged in. */
export interface Terminal {
  readonly account: Account;
  readonly platform: Platform;
  /** Acknowledgements end offline delivery (M7). */
  readonly autoReport: boolean;
  /** When its UserSig ends. */
  readonly expiresAtMs: number;
}

/** With so much queued it is written before the turn of the event loop is over. */
const flushChars = 65_536;

/** What links need of the edge; one for all of them. */
export interface LinkHost {
  /** Bytes that may wait for a link; more events are dropped until it has taken them. */
  readonly queueBytes: number;
  /** With what the queue of each link begins. */
  readonly nothingWaits: WaitingFrames;
  /** The link has something to send when this turn of the event loop is over. */
  queued(link: Link): void;
  /** The link is behind from here on. */
  fellBehind(link: Link): void;
  dropped(): void;
  /** It is about to say goodbye. */
  ending(link: Link, name: LinkEndName): void;
  sent(frames: number): void;
}

/**
 * One link. A class with fields, and neither timers nor closures: tens of thousands of them are idle most of the time.
 *
 * `new`: waits for its login; `login`: it is being looked at; `open`; `draining`: no more requests, the answers of the
 * last ones are waited for; `ended`: it has said goodbye, or it is gone.
 */
export class Link {
  state: 'new' | 'login' | 'open' | 'draining' | 'ended' = 'new';
  readonly socket: LinkSocket;
  /** Whose it is, as far as the connection and trusted proxies say it. */
  readonly address: string;
  /** By what it counts towards the limit of links of one address. */
  readonly network: string;
  /** Of the page that opened it; only until its login. */
  origin: string | undefined;
  linkId = '';
  terminal: Terminal | undefined;
  /** When it was opened, on a clock that does not go back. */
  readonly openedMs: number;
  /** When something was heard of it; the clock of the service. */
  heardMs: number;
  /** When it was last looked whether it missed something. */
  lookedMs: number;
  endName: LinkEndName | undefined;
  readonly rate = new FrameRate();
  /** Requests that are being worked on. */
  inFlight = 0;
  /** Frames that came while its login was being looked at. */
  early: Buffer[] | undefined;
  /** The last of the requests that go one after another. */
  chains: Map<string, Promise<void>> | undefined;
  isBehind = false;
  #sentSeqs: SentSeqs | undefined;
  #queue: WaitingFrames | undefined;
  readonly #host: LinkHost;

  constructor(
    host: LinkHost,
    facts: {
      socket: LinkSocket;
      address: string;
      network: string;
      origin: string | undefined;
      openedMs: number;
      heardMs: number;
    },
  ) {
    this.#host = host;
    this.socket = facts.socket;
    this.address = facts.address;
    this.network = facts.network;
    this.origin = facts.origin;
    this.openedMs = facts.openedMs;
    this.heardMs = facts.heardMs;
    this.lookedMs = facts.heardMs;
  }

  get isOpen(): boolean {
    return this.state === 'open' || this.state === 'draining';
  }

  /** Sends a frame with whatever else there is this turn. For answers, which are bounded by what a link may ask. */
  send(text: string): void {
    if (this.state === 'ended') return;
    this.#push(text);
  }

  /** Sends an event, unless more waits for the link than may: then it is dropped, and the link is resynced when it has caught up. */
  sendEvent(text: string): void {
    if (!this.isOpen) return;
    if (
      !this.isBehind &&
      (this.#queue?.chars ?? 0) + text.length + this.socket.bufferedAmount > this.#host.queueBytes
    ) {
      this.#host.fellBehind(this);
    }
    if (this.isBehind) this.#host.dropped();
    else this.#push(text);
  }

  /** Writes what is queued: one frame as it is, several as one array. */
  flush(): void {
    const queue = this.#queue;
    if (queue === undefined) return;
    this.#queue = undefined;
    this.#host.sent(queue.count);
    this.socket.sendReady(queue);
    if (!this.isBehind && this.socket.bufferedAmount > this.#host.queueBytes) this.#host.fellBehind(this);
  }

  /** Says goodbye and closes. Once; whatever comes later finds it ended. */
  end(name: LinkEndName, facts: ByeFacts): void {
    if (this.state === 'ended') return;
    this.endName = name;
    this.#host.ending(this, name);
    this.#push(byeText(name, facts));
    this.state = 'ended';
    this.early = undefined;
    this.flush();
    // What the other side says to it has to be read.
    this.socket.resume();
    this.socket.close(linkEnds[name].code, name);
  }

  /** The newest seq that it has been sent of a conversation, by the name that its terminal has for it. */
  noteSeq(conversation: string, seq: number): void {
    this.#sentSeqs ??= new SentSeqs();
    this.#sentSeqs.note(conversation, seq);
  }

  wasSent(conversation: string, seq: number): boolean {
    return this.#sentSeqs?.covers(conversation, seq) === true;
  }

  /** A look was done. */
  turnSeqs(): void {
    this.#sentSeqs?.turn();
  }

  #push(text: string): void {
    if (this.#queue === undefined) this.#host.queued(this);
    const queue = (this.#queue ?? this.#host.nothingWaits).with(text);
    this.#queue = queue;
    // So that what the kernel can take is not counted as waiting.
    if (queue.chars >= flushChars) this.flush();
  }
}
