import { once } from 'node:events';
import { createServer as createHttp } from 'node:http';
import type { ServerOptions } from 'node:https';
import { createServer as createHttps } from 'node:https';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTls } from 'node:tls';
import { Worker } from 'node:worker_threads';
import { gzipSync } from 'node:zlib';
import type { Test } from 'tap';
import { createCertificate, type TestCertificate } from './certificates.ts';
import { freePort } from './free-port.ts';

/** A request as it came. */
export interface GotRequest {
  /** Path and query. */
  readonly target: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** Names in lower case. */
  readonly fields: Readonly<Record<string, string>>;
  readonly body: Buffer;
  readonly json: Record<string, unknown>;
  /** `performance.now()` at its last byte. */
  readonly atMs: number;
  readonly socket: Socket;
}

/** A backend that does as it is told, by a handler. */
export interface Backend {
  readonly url: string;
  readonly port: number;
  /** All requests so far, in the order in which they were complete. */
  readonly requests: GotRequest[];
  /** Connections that were made so far. */
  readonly connections: number;
  /** Resolves when that many requests have come; rejects after 10 s. */
  received(count: number): Promise<GotRequest[]>;
  close(): Promise<void>;
}

export interface BackendAnswer {
  readonly status?: number;
  readonly fields?: Record<string, string>;
  /** Text is sent as it stands, anything else as JSON; by default a plain OK. */
  readonly body?: unknown;
}

export type BackendHandler = (request: GotRequest) => BackendAnswer | undefined | Promise<BackendAnswer | undefined>;

export const okAnswer = '{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":""}';

/** An app's backend on a real socket, closed after the test. A handler that never resolves never answers. */
export async function createBackend(
  t: Pick<Test, 'teardown'>,
  handler: BackendHandler = () => undefined,
  tls?: ServerOptions,
): Promise<Backend> {
  const requests: GotRequest[] = [];
  const waiting = new Set<() => void>();
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = tls === undefined ? createHttp() : createHttps(tls);
  server.on('connection', (socket: Socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('tlsClientError', () => {});
  server.on('request', async (incoming, response) => {
    const chunks: Buffer[] = [];
    incoming.on('error', () => {});
    for await (const chunk of incoming.on('data', () => {})) chunks.push(chunk as Buffer);
    const request = readRequest(
      incoming.url ?? '',
      incoming.headers as Record<string, string>,
      Buffer.concat(chunks),
      incoming.socket,
    );
    requests.push(request);
    for (const wake of waiting) wake();
    const { status = 200, fields = {}, body = okAnswer } = (await handler(request)) ?? {};
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    response.writeHead(status, { 'content-type': 'application/json', ...fields }).end(text);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const close = async (): Promise<void> => {
    if (!server.listening) return;
    server.close();
    for (const socket of sockets) socket.destroy();
    await once(server, 'close');
  };
  t.teardown(close);
  return {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    port,
    requests,
    get connections() {
      return connections;
    },
    async received(count) {
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`${requests.length} of ${count} requests came`)), 10_000);
        const check = () => {
          if (requests.length < count) return;
          clearTimeout(timer);
          waiting.delete(check);
          resolve();
        };
        waiting.add(check);
        check();
      });
      return requests;
    },
    close,
  };
}

/** What a connection suffers before anything is said on it. */
const connectionFaults = [
  /** Nobody listens. */
  'refused',
  /** The machine does not take the connection: its first packet is not answered. */
  'unaccepted',
  /** Takes the connection, and is silent from then on. https alone. */
  'slow-tls',
  /** Ends the connection instead of a handshake. https alone. */
  'no-tls',
  /** https alone: signed by nobody known, for another name, out of date. */
  'bad-certificate',
  'wrong-host',
  'expired',
] as const;

/** What becomes of a request. */
const requestFaults = [
  /** ErrorCode 0. */
  'good',
  /** ErrorCode 1. */
  'refuse',
  /** ErrorCode 120001 and a reason. */
  'own-code',
  /** Takes the request, never answers. */
  'silent',
  /** A head that comes a byte every 50 ms, and never ends. */
  'slow-head',
  /** A body that comes a byte every 50 ms. */
  'drip-body',
  /** Gigabytes. */
  'endless-body',
  /** RST before the head, and within the body. */
  'reset-before',
  'reset-within',
  /** FIN before the head, within the head, and within the body. */
  'close-before',
  'close-in-head',
  'close-within',
  /** 302 to `good` of the same server. */
  'redirect',
  '400',
  '404',
  '410',
  /** With `Retry-After: 7`. */
  '429',
  '500',
  /** With a Retry-After that is a date, in 2100. */
  '503',
  'half-json',
  'array',
  'number',
  'string',
  'empty',
  /** 204 without a body. */
  'no-content',
  /** 100 MB of zeros in 100 KB. */
  'gzip-bomb',
  'huge-head',
  /** Bytes that are no HTTP. */
  'garbage',
  /** A hundred informational answers, then a good one. */
  'informational',
  /** An upgrade that nobody asked for. */
  'upgrade',
  /** A good answer without length, which ends with the connection. */
  'until-close',
  /** A good answer in chunks. */
  'chunked',
  /** A good answer that claims to be longer than it is, on a connection that stays open. */
  'short-body',
] as const;

export type ConnectionFault = (typeof connectionFaults)[number];
export type RequestFault = (typeof requestFaults)[number];
export type Fault = ConnectionFault | RequestFault;
export const faults: readonly Fault[] = [...connectionFaults, ...requestFaults];

export interface FaultServer {
  /** Where that fault happens; it is the path, too. */
  url(fault: Fault, protocol?: 'http' | 'https'): string;
  /** PEM: vouches for `https` (but for the certificates that are wrong). */
  readonly ca: string;
  readonly requests: GotRequest[];
  /** Connections that are open now, those in silence too. */
  readonly openSockets: number;
  close(): Promise<void>;
}

/** A server on real sockets that does everything wrong, by the first segment of the path. Closed after the test. */
export async function createFaultServer(t: Pick<Test, 'teardown'>): Promise<FaultServer> {
  const requests: GotRequest[] = [];
  const sockets = new Set<Socket>();
  const servers: Server[] = [];
  const good = createCertificate('faults');
  const elsewhere = createCertificate('elsewhere', undefined, ['elsewhere.example']);
  const old = createCertificate('old', new Date('2021-01-01T00:00:00Z'));
  const onRequest = (socket: Socket, request: GotRequest): void => {
    requests.push(request);
    answer(socket, request);
  };

  const listen = async (server: Server): Promise<number> => {
    servers.push(server);
    server.on('connection', (socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.once('close', () => sockets.delete(socket));
    });
    server.on('tlsClientError', () => {});
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  };
  const speaking = (certificate: TestCertificate): Server =>
    createTls({ key: certificate.key, cert: certificate.cert }, (socket) => serve(socket, onRequest));

  const ports = {
    http: await listen(createServer((socket) => serve(socket, onRequest))),
    https: await listen(speaking(good)),
    // Reads, so that it notices when the other side goes.
    'slow-tls': await listen(createServer((socket) => socket.resume())),
    'no-tls': await listen(createServer((socket) => socket.once('data', () => socket.end()))),
    'bad-certificate': await listen(speaking(createCertificate('somebody'))),
    'wrong-host': await listen(speaking(elsewhere)),
    expired: await listen(speaking(old)),
  };
  const refused = await freePort();
  const unaccepted = await createUnaccepting();

  const portOf = (fault: Fault, protocol: 'http' | 'https'): number => {
    if (fault === 'refused') return refused;
    if (fault === 'unaccepted') return unaccepted.port;
    return fault in ports ? ports[fault as keyof typeof ports] : ports[protocol];
  };
  const close = async (): Promise<void> => {
    await Promise.all(
      servers.splice(0).map(async (server) => {
        const closed = once(server, 'close');
        server.close();
        for (const socket of sockets) socket.destroy();
        await closed;
      }),
    );
    await unaccepted.close();
  };
  t.teardown(close);
  return {
    url: (fault, protocol = 'http') => `${protocol}://127.0.0.1:${portOf(fault, protocol)}/${fault}`,
    // The wrong host and the old one are known; what is wrong with them is something else.
    ca: good.cert + elsewhere.cert + old.cert,
    requests,
    get openSockets() {
      return sockets.size;
    },
    close,
  };
}

function readRequest(target: string, fields: Record<string, string>, body: Buffer, socket: Socket): GotRequest {
  const { pathname, searchParams } = new URL(target, 'http://backend');
  return {
    target,
    path: pathname,
    query: searchParams,
    fields,
    body,
    get json() {
      return JSON.parse(body.toString()) as Record<string, unknown>;
    },
    atMs: performance.now(),
    socket,
  };
}

/** Requests with a Content-Length, one after the other, as our side sends them; anything else is an error of the test. */
function serve(socket: Socket, onRequest: (socket: Socket, request: GotRequest) => void): void {
  let pending = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('data', (chunk) => {
    pending = Buffer.concat([pending, chunk]);
    for (;;) {
      const end = pending.indexOf('\r\n\r\n');
      if (end < 0) return;
      const [line = '', ...lines] = pending.subarray(0, end).toString('latin1').split('\r\n');
      const pairs = lines.map((one): [string, string] => {
        const colon = one.indexOf(':');
        return [one.slice(0, colon).toLowerCase(), one.slice(colon + 1).trim()];
      });
      const fields = Object.fromEntries(pairs);
      const length = Number(fields['content-length']);
      if (pending.length < end + 4 + length) return;
      const body = Buffer.from(pending.subarray(end + 4, end + 4 + length));
      pending = pending.subarray(end + 4 + length);
      onRequest(socket, readRequest(line.split(' ')[1] ?? '', fields, body, socket));
    }
  });
}

function head(status: string, length: number | undefined, ...fields: string[]): string {
  const all = length === undefined ? fields : [`content-length: ${length}`, ...fields];
  return `HTTP/1.1 ${status}\r\n${all.map((field) => `${field}\r\n`).join('')}\r\n`;
}

function whole(status: string, body: string, ...fields: string[]): string {
  return head(status, Buffer.byteLength(body), 'content-type: application/json', ...fields) + body;
}

const bomb = gzipSync(Buffer.alloc(100 * 1_048_576), { level: 9 });

const answers: Record<RequestFault, (socket: Socket) => void> = {
  good: (socket) => socket.write(whole('200 OK', okAnswer)),
  refuse: (socket) => socket.write(whole('200 OK', '{"ActionStatus":"OK","ErrorCode":1,"ErrorInfo":"no"}')),
  'own-code': (socket) =>
    socket.write(whole('200 OK', '{"ActionStatus":"OK","ErrorCode":120001,"ErrorInfo":"not at night"}')),
  silent: () => {},
  'slow-head': (socket) => drip(socket, `HTTP/1.1 200 OK\r\nx-slow: ${'s'.repeat(10_000)}`),
  'drip-body': (socket) => {
    socket.write(head('200 OK', 10_000));
    drip(socket, okAnswer.padEnd(10_000));
  },
  'endless-body': (socket) => {
    socket.write(head('200 OK', undefined, 'transfer-encoding: chunked'));
    const chunk = `4000\r\n${' '.repeat(0x4000)}\r\n`;
    const more = (): void => {
      while (!socket.destroyed && socket.write(chunk));
    };
    socket.on('drain', more);
    more();
  },
  'reset-before': (socket) => reset(socket),
  'reset-within': (socket) => {
    // What was written must have left, or the RST overtakes it.
    socket.write(head('200 OK', 10_000) + okAnswer, () => setTimeout(() => reset(socket), 20));
  },
  'close-before': (socket) => socket.end(),
  'close-in-head': (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-le'),
  'close-within': (socket) => socket.end(head('200 OK', 10_000) + okAnswer),
  redirect: (socket) => socket.write(whole('302 Found', '', 'location: /good')),
  '400': (socket) => socket.write(whole('400 Bad Request', '{"error":"what?"}')),
  '404': (socket) => socket.write(whole('404 Not Found', 'no such page')),
  '410': (socket) => socket.write(whole('410 Gone', '')),
  '429': (socket) => socket.write(whole('429 Too Many Requests', '', 'retry-after: 7')),
  '500': (socket) => socket.write(whole('500 Internal Server Error', 'stack trace')),
  '503': (socket) => socket.write(whole('503 Service Unavailable', '', 'retry-after: Fri, 01 Jan 2100 00:00:00 GMT')),
  'half-json': (socket) => socket.write(whole('200 OK', okAnswer.slice(0, 20))),
  array: (socket) => socket.write(whole('200 OK', '[{"ErrorCode":0}]')),
  number: (socket) => socket.write(whole('200 OK', '0')),
  string: (socket) => socket.write(whole('200 OK', '"OK"')),
  empty: (socket) => socket.write(whole('200 OK', '')),
  'no-content': (socket) => socket.write(head('204 No Content', undefined)),
  'gzip-bomb': (socket) => {
    socket.write(head('200 OK', bomb.length, 'content-encoding: gzip'));
    socket.write(bomb);
  },
  'huge-head': (socket) => socket.write(head('200 OK', 0, `x-huge: ${'h'.repeat(100_000)}`)),
  garbage: (socket) => socket.write('SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n'),
  informational: (socket) =>
    socket.write('HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n'.repeat(100) + whole('200 OK', okAnswer)),
  upgrade: (socket) => socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n'),
  'until-close': (socket) => socket.end(head('200 OK', undefined, 'connection: close') + okAnswer),
  chunked: (socket) => {
    const half = okAnswer.length / 2;
    const chunks = [okAnswer.slice(0, half), okAnswer.slice(half), ''];
    const text = chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join('');
    socket.write(head('200 OK', undefined, 'transfer-encoding: chunked') + text);
  },
  'short-body': (socket) => socket.write(head('200 OK', okAnswer.length + 1) + okAnswer),
};

function answer(socket: Socket, { path }: GotRequest): void {
  const fault = path.split('/')[1] ?? '';
  const act = Object.hasOwn(answers, fault) ? answers[fault as RequestFault] : answers['404'];
  act(socket);
}

function drip(socket: Socket, text: string): void {
  let at = 0;
  const timer = setInterval(() => {
    if (socket.destroyed || at === text.length) clearInterval(timer);
    else socket.write(text[at++] as string);
  }, 50);
  socket.once('close', () => clearInterval(timer));
}

/** RST instead of FIN; a TLS socket has to be asked underneath. */
function reset(socket: Socket): void {
  const { _parent: parent } = socket as Socket & { _parent?: Socket };
  (parent ?? socket).resetAndDestroy();
}

interface Unaccepting {
  port: number;
  close(): Promise<void>;
}

/**
 * A port whose connections nobody accepts: its process is blocked, and the room that the system has for such connections is full.
 * Linux then leaves the first packet of a further one without an answer.
 */
async function createUnaccepting(): Promise<Unaccepting> {
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads');
     const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
       parentPort.postMessage(server.address().port);
       setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
     });`,
    { eval: true },
  );
  const [port] = (await once(worker, 'message')) as [number];
  const filling = Array.from({ length: 4 }, () => connect(port, '127.0.0.1').on('error', () => {}));
  // Two fit; that two did not is what makes it full.
  let connected = 0;
  await new Promise<void>((resolve) => {
    for (const socket of filling) {
      socket.once('connect', () => {
        connected += 1;
        if (connected === 2) resolve();
      });
    }
  });
  return {
    port,
    async close() {
      for (const socket of filling) socket.destroy();
      await worker.terminate();
    },
  };
}
