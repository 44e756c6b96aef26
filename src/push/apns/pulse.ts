import type { ApnsTiming } from './timing.ts';

/** Whether a connection is alive: by what is heard of it, and where nothing is, by a PING (PUSH §1.4). */
export class Pulse {
  readonly #timing: ApnsTiming;
  /** Sends a PING; calls back when it is answered. */
  readonly #ping: (onAnswer: () => void) => void;
  #heardMs = performance.now();
  /**
   * Looks since the ping that is not answered yet. Counted, not timed: when this process itself has stood still, there has been none, and the
   * answer may lie here unread.
   */
  #looks: number | undefined;

  constructor(timing: ApnsTiming, ping: (onAnswer: () => void) => void) {
    this.#timing = timing;
    this.#ping = ping;
  }

  heard(): void {
    this.#heardMs = performance.now();
  }

  /** To be called every {@link ApnsTiming.tickMs}; false: it is dead. */
  look(nowMs: number, isBusy: boolean): boolean {
    const { quietMs, idleMs, pingMs, tickMs } = this.#timing;
    if (this.#looks !== undefined) {
      this.#looks += 1;
      return this.#looks * tickMs < pingMs;
    }
    // Where something is in flight, sooner than the first of it times out; one that does while others are answered says nothing against it.
    if (nowMs - this.#heardMs >= (isBusy ? quietMs : idleMs)) {
      this.#looks = 0;
      this.#ping(() => {
        this.#looks = undefined;
        this.heard();
      });
    }
    return true;
  }
}
