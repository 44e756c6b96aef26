import type { ClientHttp2Stream, IncomingHttpHeaders, IncomingHttpStatusHeader } from 'node:http2';
import type { Outcome, Sendable } from '../provider.ts';
import type { ApnsAnswer } from './answers.ts';
import type { ProviderToken } from './provider-token.ts';

/** One push on its way, over as many streams as it takes until APNs has looked at it. Times are of `performance.now()`. */
export interface Attempt {
  readonly push: Sendable;
  readonly startedMs: number;
  readonly deadlineMs: number;
  /** How often it was sent without being looked at. */
  resent: number;
  /** That it was sent with. */
  token: ProviderToken | undefined;
  resolve(outcome: Outcome): void;
}

type AnswerHead = IncomingHttpHeaders & IncomingHttpStatusHeader;

/** Bytes of an answer that are read; those of APNs have some hundred. */
const maxBodyBytes = 4_096;

/** An attempt on its stream. */
export class Exchange {
  readonly attempt: Attempt;
  readonly stream: ClientHttp2Stream;
  isSettled = false;
  #head: AnswerHead | undefined;
  #body = '';

  constructor(attempt: Attempt, stream: ClientHttp2Stream) {
    this.attempt = attempt;
    this.stream = stream;
  }

  /** The answer begins; true: that is all there is to it. */
  begin(head: AnswerHead): boolean {
    this.#head = head;
    if (head[':status'] === 200) {
      this.stream.resume();
      return true;
    }
    this.stream.setEncoding('utf8').on('data', (text: string) => {
      if (this.#body.length < maxBodyBytes) this.#body += text.slice(0, maxBodyBytes);
    });
    return false;
  }

  /** As far as it has come; undefined: it has not begun. */
  get answer(): ApnsAnswer | undefined {
    const head = this.#head;
    if (head === undefined) return undefined;
    return {
      status: Number(head[':status']),
      id: oneOf(head['apns-id']),
      retryAfter: oneOf(head['retry-after']),
      body: this.#body,
    };
  }
}

function oneOf(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}
