/**
 * The origin behind every peer, a process of its own: a raw socket server that answers each request with a prepared
 * response, so that it costs as little of the machine as possible. Knows requests without a body only.
 */
import { type AddressInfo, createServer } from 'node:net';
import { serveParent } from '../../test/support/measured-process.ts';
import { requestedBytes, responseBytes } from './exchange-bytes.ts';

const responses = new Map<number, Buffer>();
const endOfHead = Buffer.from('\r\n\r\n');

const server = createServer({ noDelay: true }, (socket) => {
  let pending: Buffer | undefined;
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    let data = pending === undefined ? chunk : Buffer.concat([pending, chunk]);
    pending = undefined;
    for (let end = data.indexOf(endOfHead); end >= 0; end = data.indexOf(endOfHead)) {
      const size = requestedBytes(data.toString('latin1', 0, 32));
      let response = responses.get(size);
      if (response === undefined) {
        response = responseBytes(size);
        responses.set(size, response);
      }
      socket.write(response);
      data = data.subarray(end + endOfHead.length);
    }
    if (data.length > 0) pending = data;
  });
});

server.listen(0, '127.0.0.1', () => serveParent({ port: (server.address() as AddressInfo).port }));
