import { constants, type Http2ServerRequest, type Http2ServerResponse, type Http2Session } from 'node:http2';
import { type FcmRefusal, fcmRefusals, type SandboxAnswer } from './fcm-answers.ts';

/** What becomes of a message besides a refusal in words. */
export const fcmBreaks = [
  /** Never answers. */
  'silent',
  /** Takes it after so many milliseconds. */
  'slow',
  /** The connection ends: before the message was looked at; after it was taken; within the answer to a message that was taken. */
  'reset',
  'lost',
  'half',
  /** Answers 200 with a page; and with one that does not end. */
  'garbage',
  'endless',
  /** Takes it, and wants no more requests on this connection: those on their way are not looked at. */
  'goaway',
  /** HTTP/2: the stream is refused. */
  'refused',
] as const;
export type FcmBreak = (typeof fcmBreaks)[number];

/** `amount`: of a refusal its `Retry-After` in seconds, of `slow` the milliseconds. */
export interface FcmFault {
  readonly word: FcmRefusal | FcmBreak;
  readonly amount?: number;
}

const isRefusal = (word: string): word is FcmRefusal => (fcmRefusals as readonly string[]).includes(word);
const isBreak = (word: string): word is FcmBreak => (fcmBreaks as readonly string[]).includes(word);

/** `UNAVAILABLE`, `UNAVAILABLE:30` (its Retry-After), `slow:5000`, `502`…; undefined: it names none. Pure. */
export function parseFcmFault(text: string): FcmFault | undefined {
  if (isRefusal(text)) return { word: text };
  if (isBreak(text)) return text === 'slow' ? undefined : { word: text };
  const [, word = '', digits] = /^(.+):([0-9]{1,6})$/.exec(text) ?? [];
  if (isRefusal(word) || word === 'slow') return { word, amount: Number(digits) };
  return undefined;
}

/** The refusal that a fault is; undefined: it is something else. Pure. */
export function refusalOf(
  fault: FcmFault | undefined,
): { word: FcmRefusal; retryAfterSec: number | undefined } | undefined {
  return fault !== undefined && isRefusal(fault.word) ? { word: fault.word, retryAfterSec: fault.amount } : undefined;
}

export function write(response: Http2ServerResponse, { status, headers, body }: SandboxAnswer): void {
  if (response.writableEnded || response.destroyed) return;
  response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

/** The end of the request's connection, or of its stream where there is no answer at all. */
export function breakOff(
  fault: FcmBreak,
  request: Http2ServerRequest,
  response: Http2ServerResponse,
  answer: SandboxAnswer,
): void {
  const session: Http2Session | undefined = request.stream?.session;
  const cut = () => {
    // An RST, which no answer that still waits gets past.
    session?.destroy();
    request.socket?.destroy();
  };
  switch (fault) {
    case 'reset':
    case 'lost':
      cut();
      break;
    case 'half':
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': 1_000 });
      // What was written has to leave first.
      response.write(answer.body, () => void setTimeout(cut, 20));
      break;
    case 'garbage':
      write(response, { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>Welcome!</html>' });
      break;
    case 'endless': {
      response.writeHead(200, { 'content-type': 'application/json' });
      const more = (): void => {
        while (!response.destroyed && response.write(' '.repeat(16_384)));
      };
      response.on('drain', more);
      more();
      break;
    }
    case 'refused':
      if (request.stream === undefined) cut();
      else request.stream.close(constants.NGHTTP2_REFUSED_STREAM);
      break;
    case 'goaway':
      if (session === undefined) response.setHeader('connection', 'close');
      else session.goaway(constants.NGHTTP2_NO_ERROR, request.stream.id);
      write(response, answer);
      break;
    default:
    // Silence.
  }
}
