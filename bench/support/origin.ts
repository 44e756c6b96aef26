/**
 * The origin behind every peer, a process of its own: a raw socket server that answers each request with a prepared
 * response, so that it costs as little of the machine as possible. Knows requests without a body only. Asked by its
 * parent, it says how many requests it has answered.
 */
import { type AddressInfo, createServer } from 'node:net';
import { serveParent } from '../../test/support/measured-process.ts';
import { requestedBytes, responseBytes } from './exchange-bytes.ts';

export interface OriginCount {
  requests: number;
}

/** By the request line; made anew each minute, so that what caches keep is dated rightly. */
const responses = new Map<string, Buffer>();
setInterval(() => responses.clear(), 60_000);
const notFound = Buffer.from('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n');
const endOfHead = Buffer.from('\r\n\r\n');
const lineFeed = 0x0a;
let requests = 0;

function responseTo(line: string): Buffer {
  const prepared = responses.get(line);
  if (prepared !== undefined) return prepared;
  const asked = requestedBytes(line);
  const response = asked === undefined ? notFound : responseBytes(asked.caching, asked.bodyBytes);
  responses.set(line, response);
  return response;
}

const server = createServer({ noDelay: true }, (socket) => {
  let pending: Buffer | undefined;
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    let data = pending === undefined ? chunk : Buffer.concat([pending, chunk]);
    pending = undefined;
    for (let end = data.indexOf(endOfHead); end >= 0; end = data.indexOf(endOfHead)) {
      requests += 1;
      socket.write(responseTo(data.toString('latin1', 0, data.indexOf(lineFeed))));
      data = data.subarray(end + endOfHead.length);
    }
    if (data.length > 0) pending = data;
  });
});

server.listen(0, '127.0.0.1', () =>
  serveParent({ port: (server.address() as AddressInfo).port }, async () => ({ requests }) satisfies OriginCount),
);
