import { type Backoff, createBackoff } from '../../store/index.ts';

const backoff = { minMs: 1_000, maxMs: 60_000 };
/** Connections in a row at once, for each that there may be; more only one a second: APNs takes much coming and going for an attack. */
const burst = 4;
const betweenMs = 1_000;

/** When connections may be made. Times are arguments, milliseconds that never go back. */
export class ConnectPace {
  readonly #most: number;
  readonly #backoff: Backoff;
  /** Connections that may be made at once, as of `#atMs`. */
  #credit: number;
  #atMs = 0;
  #notBeforeMs = 0;

  constructor(connections: number, random: () => number) {
    this.#most = connections * burst;
    this.#credit = this.#most;
    this.#backoff = createBackoff(backoff, random);
  }

  /** Until the next one may be made; not above 0: now. */
  waitMs(nowMs: number): number {
    this.#credit = Math.min(this.#credit + (nowMs - this.#atMs) / betweenMs, this.#most);
    this.#atMs = nowMs;
    return Math.ceil(Math.max(this.#notBeforeMs - nowMs, (1 - this.#credit) * betweenMs));
  }

  /** One is made. */
  take(): void {
    this.#credit -= 1;
  }

  /** One was of no use: gives back for how long none is made, longer each time. */
  failed(nowMs: number): number {
    const waitMs = this.#backoff.nextMs();
    this.#notBeforeMs = nowMs + waitMs;
    return waitMs;
  }

  /** One was of use. */
  worked(): void {
    this.#backoff.reset();
  }
}
