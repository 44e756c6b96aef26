/** What the load generator sends and the origin answers: sizes and field sets of an ordinary API, the same for every peer. */

/** `never`: no cache may answer without the origin. `cacheable`: each may, for an hour, to everyone. */
export type Caching = 'never' | 'cacheable';

/** @param session its token; absent: a request without one */
export function requestBytes(caching: Caching, bodyBytes: number, session?: string): Buffer {
  return Buffer.from(
    [
      `GET ${requestPath(caching, bodyBytes)} HTTP/1.1`,
      'Host: app.example.com',
      'User-Agent: qal/1.2.0 (Android 8.1.0)',
      'Accept: application/json',
      'Accept-Encoding: gzip, deflate',
      'Accept-Language: zh-CN,zh;q=0.9',
      ...(session === undefined ? [] : [`QAL-Session: ${session}`]),
      '\r\n',
    ].join('\r\n'),
    'latin1',
  );
}

export const requestPath = (caching: Caching, bodyBytes: number): string => `/${caching}/${bodyBytes}`;

/** What a request asks for, read from the start of its head. */
export function requestedBytes(head: string): { caching: Caching; bodyBytes: number } | undefined {
  const [, caching, bodyBytes] = /^GET \/(never|cacheable)\/(\d{1,7}) /.exec(head) ?? [];
  return caching === undefined ? undefined : { caching: caching as Caching, bodyBytes: Number(bodyBytes) };
}

/** First and last byte of a body differ from all between, so that a reader can tell a shifted or cut one cheaply. */
export const firstByte = 0x5b;
export const lastByte = 0x5d;

const cacheControl: Record<Caching, string> = { never: 'private, max-age=0', cacheable: 'public, max-age=3600' };

export function responseBytes(caching: Caching, bodyBytes: number): Buffer {
  const head = [
    'HTTP/1.1 200 OK',
    `Date: ${new Date().toUTCString()}`,
    'Content-Type: application/json',
    `Content-Length: ${bodyBytes}`,
    'ETag: "5f3c-18b2a4c1"',
    `Cache-Control: ${cacheControl[caching]}`,
    '\r\n',
  ].join('\r\n');
  const body = Buffer.alloc(bodyBytes, 'qal');
  body[0] = firstByte;
  body[bodyBytes - 1] = lastByte;
  return Buffer.concat([Buffer.from(head, 'latin1'), body]);
}
