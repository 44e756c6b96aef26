import type { Dispatcher } from 'undici';
import { failureOf, isEncoded, retryAfterMs, textOf } from './answer.ts';
import type { EndpointPool, Line, LineUser } from './endpoint-pool.ts';
import type { PostFailure, PostOptions, PostResult } from './post.ts';

/** What is written. */
export interface Outgoing {
  readonly path: string;
  /** Names and values in turn. */
  readonly fields: string[];
  readonly body: Buffer;
}

export interface ExchangeLimits {
  /** Of an answer that counts as a whole. */
  readonly wholeBytes: number;
  /**
   * How long a connection may still be made when nobody waits for it any more. A machine that is busy would otherwise throw each away
   * just before it is ready, and never have one.
   */
  readonly connectMs: number;
  /** Of an answer whose status counts: read so far, for this long, that the connection can be used again. */
  readonly restBytes: number;
  readonly restMs: number;
  /** Shown of it. */
  readonly shownBytes: number;
  /** How long a refusal may take to say why. */
  readonly reasonMs: number;
}

/** A request whose time was over before there was a connection. */
class NotSent extends Error {}

type Head = { readonly status: number; readonly isEncoded: boolean; readonly retryAfterMs: number | undefined };

/**
 * One request and its answer, on a line of the pool. Tells its result once: when the answer is there, or at the deadline, or when
 * neither can come any more.
 */
export class Exchange implements LineUser, Dispatcher.DispatchHandler {
  #pool: EndpointPool;
  #outgoing: Outgoing;
  #options: Pick<PostOptions, 'deadline' | 'answer'>;
  #limits: ExchangeLimits;
  #clock: () => number;
  #tell: (result: PostResult) => void;
  #startedAt: number;
  #isTold = false;
  /** The one timer: the deadline, then the end of waiting for a reason, then of the rest. */
  #timer: NodeJS.Timeout | undefined;
  #line: Line | undefined;
  #head: Head | undefined;
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(
    pool: EndpointPool,
    outgoing: Outgoing,
    options: Pick<PostOptions, 'deadline' | 'answer'>,
    limits: ExchangeLimits,
    clock: () => number,
    tell: (result: PostResult) => void,
  ) {
    this.#pool = pool;
    this.#outgoing = outgoing;
    this.#options = options;
    this.#limits = limits;
    this.#clock = clock;
    this.#tell = tell;
    this.#startedAt = performance.now();
  }

  start(): void {
    if (!this.#armDeadline()) return;
    this.#pool.acquire(this);
  }

  onLine(line: Line): void {
    this.#line = line;
    const { path, fields, body } = this.#outgoing;
    line.client.dispatch({ path, method: 'POST', headers: fields, body }, this);
  }

  onNoLine(detail: string): void {
    this.#fail('refused', detail);
  }

  onRequestStart(): void {
    // The connection that was being made at the deadline is there: whoever comes next can have it.
    if (this.#isTold) throw new NotSent();
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    // Informational ones come before the answer.
    if (status < 200 || this.#line === undefined) return;
    const coding = headers['content-encoding'];
    const after = headers['retry-after'];
    this.#head = {
      status,
      isEncoded: coding !== undefined && isEncoded(coding),
      retryAfterMs: after === undefined ? undefined : retryAfterMs(after, this.#clock()),
    };
    if (this.#options.answer === 'whole') {
      const announced = Number(headers['content-length'] ?? 0);
      if (announced > this.#limits.wholeBytes) this.#failTooLarge();
    } else if (status < 300) {
      // What came together with the head is taken along.
      queueMicrotask(() => this.#answerByStatus());
    } else if (this.#options.deadline - performance.now() > this.#limits.reasonMs) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#answerByStatus(), this.#limits.reasonMs);
    }
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#line === undefined) return;
    this.#bytes += chunk.length;
    if (this.#options.answer === 'whole') {
      this.#chunks.push(chunk);
      if (this.#bytes > this.#limits.wholeBytes) this.#failTooLarge();
      return;
    }
    const shownBefore = this.#bytes - chunk.length;
    if (!this.#isTold && shownBefore < this.#limits.shownBytes) {
      this.#chunks.push(chunk);
      if (this.#bytes >= this.#limits.shownBytes) this.#answerByStatus();
    }
    if (this.#bytes > this.#limits.restBytes) {
      this.#answerByStatus();
      this.#discard();
    }
  }

  onResponseEnd(): void {
    const line = this.#line;
    if (line === undefined) return;
    this.#line = undefined;
    if (!this.#isTold)
      this.#answer(this.#options.answer === 'whole' ? this.#limits.wholeBytes : this.#limits.shownBytes);
    clearTimeout(this.#timer);
    this.#pool.release(line);
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    const line = this.#line;
    if (line === undefined) return;
    if (error instanceof NotSent) {
      this.#line = undefined;
      clearTimeout(this.#timer);
      this.#pool.release(line);
      return;
    }
    if (!this.#isTold && this.#head !== undefined && this.#options.answer === 'status') {
      // The status had come, and that is what counts.
      this.#answer(this.#limits.shownBytes);
    }
    const { failure, detail } = failureOf(error, this.#head !== undefined);
    this.#fail(failure, detail);
    clearTimeout(this.#timer);
    this.#discard();
  }

  /** Sets the timer for what is left; false: nothing is, and that has been told. */
  #armDeadline(): boolean {
    const leftMs = this.#options.deadline - performance.now();
    if (leftMs <= 0) {
      if (this.#options.answer === 'status' && this.#head !== undefined) {
        this.#answerByStatus();
        return false;
      }
      this.#fail('timeout', this.#waitedFor());
      this.#pool.cancel(this);
      if (this.#line?.stage === undefined) this.#discard();
      else this.#discardAfter(this.#limits.connectMs);
      return false;
    }
    // A timer may come a millisecond early; the deadline may not.
    this.#timer = setTimeout(() => this.#armDeadline(), Math.ceil(leftMs));
    return true;
  }

  #waitedFor(): string {
    if (this.#line === undefined) return 'no connection was free';
    const { stage } = this.#line;
    if (stage !== undefined) return stage === 'connection' ? 'no connection' : `no answer to the ${stage}`;
    return this.#head === undefined ? 'no answer' : 'no complete answer';
  }

  /** Status mode: enough is known. What still comes is read in the background. */
  #answerByStatus(): void {
    if (this.#isTold || this.#head === undefined) return;
    this.#answer(this.#limits.shownBytes);
    const line = this.#line;
    if (line === undefined) return;
    this.#discardAfter(this.#limits.restMs);
    this.#pool.linger(line, () => this.#discard());
  }

  #answer(maxBytes: number): void {
    const head = this.#head;
    if (head === undefined) return;
    const { status, retryAfterMs } = head;
    const { text, isUtf8 } = textOf(head.isEncoded ? [] : this.#chunks, maxBytes);
    // What decides has to be what was meant: no guess at another encoding.
    const isEncoded = head.isEncoded || (this.#options.answer === 'whole' && !isUtf8);
    const body = isEncoded ? '' : text;
    const tookMs = performance.now() - this.#startedAt;
    const after = retryAfterMs === undefined ? undefined : { retryAfterMs };
    this.#settle({ kind: 'answer', status, body, isEncoded, ...after, tookMs });
  }

  #failTooLarge(): void {
    this.#fail('answer-too-large', `body over ${this.#limits.wholeBytes} bytes`);
    this.#discard();
  }

  #fail(failure: PostFailure, detail: string): void {
    if (!this.#isTold) this.#settle({ kind: 'failed', failure, detail, tookMs: performance.now() - this.#startedAt });
  }

  #settle(result: PostResult): void {
    this.#isTold = true;
    this.#chunks = [];
    clearTimeout(this.#timer);
    this.#tell(result);
  }

  #discardAfter(ms: number): void {
    this.#timer = setTimeout(() => this.#discard(), ms);
    this.#timer.unref();
  }

  #discard(): void {
    clearTimeout(this.#timer);
    const line = this.#line;
    if (line === undefined) return;
    this.#line = undefined;
    this.#pool.discard(line);
  }
}
