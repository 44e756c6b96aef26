import type { RequestHead } from './request-head.ts';

/** What a request head gets from us. */
export interface InjectedFacts {
  /** Minor version of the protocol that the client spoke, for Via. */
  versionMinor: number;
  /** The session's `QAL-*` lines. */
  qalLines: string;
  /** The user's gateway address (A2). */
  address: string;
  /** QAL-Req-Seq-No (A4). */
  requestId: string;
}

/** Our lines. They go last: nothing of the client's can follow or remove them (A11). Pure. */
export function injectedLines({ versionMinor, qalLines, address, requestId }: InjectedFacts): string {
  return `Via: 1.${versionMinor} qalgate\r\n${qalLines}X-Forwarded-For: ${address}\r\nQAL-Req-Seq-No: ${requestId}\r\n`;
}

/**
 * The whole request head for an upstream, framed as the body comes. Pure.
 * @param authority host and port of the upstream, for a client of HTTP/1.0 that named none
 */
export function upstreamHead(head: RequestHead, authority: string, facts: InjectedFacts): string {
  const host = head.host === '' ? authority : head.host;
  let text = `${head.method} ${head.target} HTTP/1.1\r\nHost: ${host}\r\n${head.lines}`;
  if (head.body === 'chunked') text += 'Transfer-Encoding: chunked\r\n';
  else if (head.contentLength >= 0) text += `Content-Length: ${head.contentLength}\r\n`;
  if (head.expectsContinue && head.body !== 'none') text += 'Expect: 100-continue\r\n';
  text += head.acceptsTrailers ? 'Connection: keep-alive, TE\r\nTE: trailers\r\n' : 'Connection: keep-alive\r\n';
  return `${text}${injectedLines(facts)}\r\n`;
}
