const textFrame = 0x81;
/** Lengths up to there stand in the second byte, up to the other one in two more, else in eight more (RFC 6455 5.2). */
const shortLength = 125;
const mediumLength = 65_535;

/** Something that is ready to be written. */
export interface ReadyFrame {
  /** What the terminal reads. */
  readonly text: string;
  /** All that goes over its connection for it: a WebSocket frame from a server, so without a mask. Not to be changed. */
  readonly bytes: Buffer;
}

/**
 * What waits for a link until it is written: frames, in order. Adding one gives another such list, and adding the same to the same gives
 * the same: so links that wait for the same frames share the list and its bytes, which are made once, however many members of a group get
 * them. Immutable but for what it remembers of that.
 */
export class WaitingFrames implements ReadyFrame {
  readonly #before: WaitingFrames | undefined;
  readonly #last: string;
  readonly count: number;
  readonly chars: number;
  /** What came of adding a frame last. */
  #next: WaitingFrames | undefined;
  #bytes: Buffer | undefined;

  /** Without arguments: nothing waits, where all lists begin that are to be shared. */
  constructor(before?: WaitingFrames, last = '') {
    this.#before = before;
    this.#last = last;
    this.count = before === undefined ? 0 : before.count + 1;
    this.chars = before === undefined ? 0 : before.chars + last.length;
  }

  with(text: string): WaitingFrames {
    const known = this.#next;
    if (known !== undefined && known.#last === text) return known;
    const next = new WaitingFrames(this, text);
    this.#next = next;
    return next;
  }

  /** What is written from now on is shared with nothing that was written before. */
  forget(): void {
    this.#next = undefined;
  }

  /** One frame as it is, several as one array. */
  get text(): string {
    if (this.count === 1) return this.#last;
    const texts: string[] = [];
    for (let list: WaitingFrames = this; list.#before !== undefined; list = list.#before) texts.push(list.#last);
    return `[${texts.reverse().join(',')}]`;
  }

  get bytes(): Buffer {
    this.#bytes ??= toFrame(this.text);
    return this.#bytes;
  }
}

function toFrame(text: string): Buffer {
  const length = Buffer.byteLength(text);
  const head = length <= shortLength ? 2 : length <= mediumLength ? 4 : 10;
  // Not of the pool: a few bytes that a slow reader does not take would keep all of a slab.
  const frame = Buffer.allocUnsafeSlow(head + length);
  frame[0] = textFrame;
  if (head === 2) frame[1] = length;
  else if (head === 4) {
    frame[1] = 126;
    frame.writeUInt16BE(length, 2);
  } else {
    frame[1] = 127;
    frame.writeBigUInt64BE(BigInt(length), 2);
  }
  frame.write(text, head);
  return frame;
}
