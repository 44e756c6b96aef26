import { once } from 'node:events';
import { createServer, request as httpRequest } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import type { Duplex } from 'node:stream';

/** A browser's way to everything, which can be cut: what is open breaks, and nothing gets through until it is joined again. */
export interface CuttableNetwork {
  /** For `newContext({ proxy })`. */
  readonly proxy: { readonly server: string; readonly bypass: string };
  cut(): void;
  join(): void;
  close(): Promise<void>;
}

/** A proxy, since a browser's emulated "offline" leaves WebSockets that are open alone. */
export async function openCuttableNetwork(): Promise<CuttableNetwork> {
  const sockets = new Set<Duplex>();
  let isCut = false;
  const keep = (socket: Duplex): void => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
  };
  const server = createServer((request, response) => {
    const { method, headers, url = '' } = request;
    const target = httpRequest(url, { method, headers, agent: false }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
      answer.pipe(response);
    });
    target.on('error', () => response.destroy());
    request.pipe(target);
  });
  server.on('connection', (socket) => {
    keep(socket);
    if (isCut) socket.destroy();
  });
  server.on('connect', (request, client: Duplex, head: Buffer) => {
    const { hostname, port } = new URL(`http://${request.url}`);
    const target = connect(Number(port), hostname, () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n');
      target.write(head);
      client.pipe(target).pipe(client);
    });
    keep(target);
    target.once('close', () => client.destroy());
    client.once('close', () => target.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cutAll = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    proxy: { server: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, bypass: '<-loopback>' },
    cut() {
      isCut = true;
      cutAll();
    },
    join() {
      isCut = false;
    },
    async close() {
      server.close();
      cutAll();
      await once(server, 'close');
    },
  };
}
