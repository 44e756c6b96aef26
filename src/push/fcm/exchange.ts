import { constants } from 'node:http2';
import type { Dispatcher } from 'undici';
import type { FcmAnswer } from './answers.ts';

/** A POST, and all of its answer that is looked at. */
export interface Exchange {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/**
 * `connect`: there was no connection (in time); `tls`: nobody vouches for the other side, or they do not agree; `refused`: the service let
 * the request be; `reset`: the connection ended; `timeout`: no answer in time; `malformed`: what came is no HTTP.
 */
export type ExchangeFailure = 'connect' | 'tls' | 'refused' | 'reset' | 'timeout' | 'malformed';

export type ExchangeResult =
  | { readonly kind: 'answer'; readonly answer: FcmAnswer; readonly date: string | undefined }
  | {
      readonly kind: 'failed';
      readonly failure: ExchangeFailure;
      /** A code, for operators. */
      readonly detail: string;
      /** Whether the other side may have seen it. */
      readonly isSent: boolean;
    };

/** Google's longest answers are a few kilobytes. */
const maxAnswerBytes = 65_536;

/** One exchange, over at `deadline` (by `performance.now()`) whatever happens: connection, request and answer. Never rejects. */
export function exchange(dispatcher: Dispatcher, request: Exchange, deadline: number): Promise<ExchangeResult> {
  return new Promise((resolve) => {
    let controller: Dispatcher.DispatchController | undefined;
    let head: { status: number; retryAfter: string | undefined; date: string | undefined } | undefined;
    let chunks: Buffer[] = [];
    let bytes = 0;
    let isOver = false;

    const settle = (result: ExchangeResult): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      resolve(result);
    };
    const answer = (body: string): void => {
      const { status = 0, retryAfter, date } = head ?? {};
      settle({ kind: 'answer', answer: { status, retryAfter, body }, date });
    };
    const timer = setTimeout(
      () => {
        const isSent = controller !== undefined;
        settle({ kind: 'failed', failure: isSent ? 'timeout' : 'connect', detail: 'deadline', isSent });
        controller?.abort(new Error('deadline'));
      },
      Math.max(0, Math.ceil(deadline - performance.now())),
    );

    const handler: Dispatcher.DispatchHandler = {
      onRequestStart(started) {
        // Its connection came too late: nothing of it goes out any more.
        if (isOver) started.abort(new Error('deadline'));
        else controller = started;
      },
      onResponseStart(_controller, status, headers) {
        // Informational ones come before the answer.
        if (status < 200) return;
        head = { status, retryAfter: first(headers['retry-after']), date: first(headers.date) };
      },
      onResponseData(started, chunk) {
        bytes += chunk.length;
        if (bytes <= maxAnswerBytes) {
          chunks.push(chunk);
          return;
        }
        chunks = [];
        answer('');
        started.abort(new Error('too large'));
      },
      onResponseEnd() {
        answer(Buffer.concat(chunks).toString());
      },
      onResponseError(_controller, error) {
        settle({ kind: 'failed', ...failureOf(error, controller !== undefined) });
      },
    };
    try {
      dispatcher.dispatch({ ...request, method: 'POST' }, handler);
    } catch (error) {
      settle({ kind: 'failed', ...failureOf(error, false) });
    }
  });
}

/** What ended an exchange, by an error of undici's, of the system's or of HTTP/2. */
function failureOf(error: unknown, isStarted: boolean): { failure: ExchangeFailure; detail: string; isSent: boolean } {
  const code = codeOf(error);
  const message = error instanceof Error ? error.message : '';
  if (!isStarted) return { failure: isTls(code) ? 'tls' : 'connect', detail: code, isSent: false };
  // Of HTTP/2: a stream that was refused, or that came behind the last one before a farewell, has not been looked at (RFC 9113 §8.7).
  if (/"GOAWAY"/.test(message) || Object(error).http2ErrorCode === constants.NGHTTP2_REFUSED_STREAM) {
    return { failure: 'refused', detail: code, isSent: false };
  }
  if (code === 'HTTPParserError' || code.startsWith('HPE_'))
    return { failure: 'malformed', detail: code, isSent: true };
  return { failure: 'reset', detail: code, isSent: true };
}

function isTls(code: string): boolean {
  return /^(ERR_TLS|ERR_SSL|EPROTO|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_|INVALID_CA|ERR_OSSL)/.test(code);
}

/** A word for an error: its code, or else its class. Messages of the system may hold anything. */
function codeOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return codeOf(error.errors[0]);
  if (error !== null && typeof error === 'object' && 'code' in error && typeof error.code === 'string')
    return error.code;
  return error instanceof Error ? error.name : 'error';
}

const first = (field: string | string[] | undefined): string | undefined => (Array.isArray(field) ? field[0] : field);
