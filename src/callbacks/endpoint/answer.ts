import { isUtf8 } from 'node:buffer';
import { ConnectError } from './connect.ts';
import { codeOf } from './error-code.ts';
import type { PostFailure } from './post.ts';

/** What an answer's fields and errors say. Pure. */

/** Of `Retry-After`: seconds, or a date as HTTP writes it; undefined where it says neither. */
export function retryAfterMs(field: string | string[] | undefined, nowMs: number): number | undefined {
  const text = (Array.isArray(field) ? field[0] : field)?.trim();
  if (text === undefined) return undefined;
  if (/^[0-9]{1,10}$/.test(text)) return Number(text) * 1_000;
  // No other form: Date.parse would read `-5` and `1.5` as dates.
  if (!/^[A-Z][a-z]{2,8}[, ]/.test(text)) return undefined;
  // The oldest of the three forms leaves out that it is GMT.
  const atMs = Date.parse(text.endsWith(' GMT') ? text : `${text} GMT`);
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - nowMs);
}

export function isEncoded(field: string | string[] | undefined): boolean {
  const codings = Array.isArray(field) ? field.join(',') : (field ?? '');
  return codings.split(',').some((coding) => !['', 'identity'].includes(coding.trim().toLowerCase()));
}

/** What became of an exchange that ended with this error of undici's, the system's or ours. */
export function failureOf(error: unknown, hasHead: boolean): { failure: PostFailure; detail: string } {
  if (error instanceof ConnectError) return { failure: error.failure, detail: error.message };
  const code = codeOf(error);
  if (code === 'UND_ERR_HEADERS_OVERFLOW') return { failure: 'answer-too-large', detail: 'head' };
  if (error instanceof Error && error.name === 'HTTPParserError') return parserFailure(error.message);
  if (code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH') {
    return hasHead
      ? { failure: 'reset', detail: 'closed within the answer' }
      : { failure: 'malformed', detail: 'Content-Length' };
  }
  if (code === 'UND_ERR_SOCKET') {
    const { message } = error as Error;
    if (message.startsWith('bad ')) return { failure: 'malformed', detail: message };
    return { failure: 'reset', detail: hasHead ? 'closed within the answer' : 'closed before the answer' };
  }
  if (code.startsWith('UND_ERR_INVALID_ARG')) return { failure: 'malformed', detail: `not sent: ${code}` };
  // The other side's word on our certificate comes after the handshake (TLS 1.3).
  if (code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_') || code === 'EPROTO') {
    return { failure: 'tls', detail: code };
  }
  return { failure: 'reset', detail: code };
}

/** By the parser's reason, which it gives in brackets; of its codes none arrives. */
function parserFailure(message: string): { failure: PostFailure; detail: string } {
  const reason = /\(([^()]{1,80})\)$/.exec(message)?.[1] ?? 'not HTTP/1.1';
  if (reason === 'Invalid EOF state') return { failure: 'reset', detail: 'closed within the answer' };
  return { failure: 'malformed', detail: reason };
}

/**
 * Bytes as text: UTF-8, without the mark that some put in front of it. `isUtf8`: whether that is what they are; else the text has
 * replacement characters, and is for people alone.
 */
export function textOf(chunks: readonly Buffer[], maxBytes: number): { text: string; isUtf8: boolean } {
  const [first] = chunks;
  if (first === undefined) return { text: '', isUtf8: true };
  const bytes = chunks.length === 1 ? first : Buffer.concat(chunks);
  const text = (bytes.length > maxBytes ? bytes.subarray(0, maxBytes) : bytes).toString();
  return { text: text.startsWith('\ufeff') ? text.slice(1) : text, isUtf8: isUtf8(bytes) };
}
