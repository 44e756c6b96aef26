/** What the load generator sends and the origin answers: sizes and field sets of an ordinary API, the same for every peer. */

const path = (bodyBytes: number): string => `/bytes/${bodyBytes}`;

export function requestBytes(bodyBytes: number, session: string): Buffer {
  return Buffer.from(
    [
      `GET ${path(bodyBytes)} HTTP/1.1`,
      'Host: app.example.com',
      'User-Agent: qal/1.2.0 (Android 8.1.0)',
      'Accept: application/json',
      'Accept-Encoding: gzip, deflate',
      'Accept-Language: zh-CN,zh;q=0.9',
      `QAL-Session: ${session}`,
      '\r\n',
    ].join('\r\n'),
    'latin1',
  );
}

/** The size that a request asks for, read from the start of its head; 0: it asks for nothing known. */
export function requestedBytes(head: string): number {
  return Number(/^GET \/bytes\/(\d{1,7}) /.exec(head)?.[1] ?? 0);
}

/** First and last byte of a body differ from all between, so that a reader can tell a shifted or cut one cheaply. */
export const firstByte = 0x5b;
export const lastByte = 0x5d;

export function responseBytes(bodyBytes: number): Buffer {
  const head = [
    'HTTP/1.1 200 OK',
    'Date: Mon, 02 Nov 2026 08:00:00 GMT',
    'Content-Type: application/json',
    `Content-Length: ${bodyBytes}`,
    'ETag: "5f3c-18b2a4c1"',
    'Cache-Control: private, max-age=0',
    '\r\n',
  ].join('\r\n');
  const body = Buffer.alloc(bodyBytes, 'qal');
  body[0] = firstByte;
  body[bodyBytes - 1] = lastByte;
  return Buffer.concat([Buffer.from(head, 'latin1'), body]);
}
