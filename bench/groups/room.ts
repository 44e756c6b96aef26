import type { Decoded, RoomTerminal } from './room-terminal.ts';

/** The run at hand, as a group's members tell it. */
export interface RoomRun {
  /** A member has it, a sender its own. */
  delivered(number: number): void;
  fail(reason: string): void;
}

interface Member {
  terminal: RoomTerminal | undefined;
  /** How many of the group's messages it has. */
  at: number;
  /** How many frames it got. */
  frames: number;
  /** Of who sends and is answered: what it has, in any order. */
  seen: Set<number> | undefined;
}

/**
 * What the members of a group get: each message once, all in the same order. Those who listen alone get the same bytes, so these are
 * read once and then compared, or the reading would cost more than what is measured.
 */
export class Room {
  readonly #members: Member[];
  readonly #echoes: boolean;
  readonly #decode: (payload: Buffer) => Decoded;
  /** Messages in the order of whoever got them first. */
  #order: number[] = [];
  #frames: { bytes: Buffer; received: number[] }[] = [];
  run: RoomRun | undefined;

  constructor(size: number, { echoes, decode }: { echoes: boolean; decode(payload: Buffer): Decoded }) {
    this.#members = Array.from({ length: size }, () => ({ terminal: undefined, at: 0, frames: 0, seen: undefined }));
    this.#echoes = echoes;
    this.#decode = decode;
  }

  join(index: number, terminal: RoomTerminal): void {
    this.#at(index).terminal = terminal;
  }

  beat(): void {
    for (const { terminal } of this.#members) terminal?.beat();
  }

  send(index: number, number: number): void {
    this.#at(index).terminal?.send(number);
  }

  /** Before a run; `senders`: the first so many may send in it. */
  begin(run: RoomRun, senders: number): void {
    this.run = run;
    this.#order = [];
    this.#frames = [];
    for (const [index, member] of this.#members.entries()) {
      member.at = 0;
      member.frames = 0;
      member.seen = index < senders && !this.#echoes ? new Set() : undefined;
    }
  }

  frame(index: number, payload: Buffer): void {
    const member = this.#at(index);
    const place = member.frames;
    member.frames += 1;
    const known = member.seen === undefined ? this.#frames[place] : undefined;
    if (known?.bytes.equals(payload)) {
      for (const number of known.received) this.#ordered(member, number);
      return;
    }
    let decoded: Decoded;
    try {
      decoded = this.#decode(payload);
    } catch (error) {
      this.run?.fail(`member ${index}: ${(error as Error).message}`);
      return;
    }
    const { received, accepted } = decoded;
    if (member.seen === undefined && this.#frames.length === place) {
      this.#frames.push({ bytes: Buffer.from(payload), received });
    }
    for (const number of received) this.received(index, number);
    for (const number of accepted) this.received(index, number);
  }

  received(index: number, number: number): void {
    const member = this.#at(index);
    const { seen } = member;
    if (seen === undefined) this.#ordered(member, number);
    else if (seen.has(number)) this.run?.fail(`member ${index}: message ${number} came again`);
    else {
      seen.add(number);
      this.run?.delivered(number);
    }
  }

  #ordered(member: Member, number: number): void {
    const place = member.at;
    member.at += 1;
    if (place === this.#order.length) this.#order.push(number);
    else if (this.#order[place] !== number) {
      this.run?.fail(`message ${number} came again, or in another order, for ${this.#order[place]}`);
      return;
    }
    this.run?.delivered(number);
  }

  #at(index: number): Member {
    const member = this.#members[index];
    if (member === undefined) throw new Error(`no member ${index}`);
    return member;
  }
}
