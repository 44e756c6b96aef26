import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import type { TestCertificate } from './certificates.ts';

/**
 * HTTP/1.1 by hand, after varnishtest: a scripted client, and a scripted origin that keeps the exact bytes of each
 * connection. Text is one character a byte (latin1) everywhere, so that no byte is lost or changed on its way to an assertion.
 */

const waitLimitMs = 10_000;

/** One end of a connection, and all that came over it. */
export interface Wire {
  readonly socket: Socket;
  /** All bytes received so far. */
  readonly received: string;
  readonly receivedBytes: number;
  /** How the other side ended the connection: in order (`end`), by a reset or by an error of TLS (`reset`). */
  readonly ended: 'no' | 'end' | 'reset';
  /** Both directions are over. */
  readonly closed: boolean;
  send(bytes: string | Buffer): void;
  /** Waits until `done` holds; it is asked again whenever bytes come or the connection ends. */
  until(what: string, done: () => boolean): Promise<void>;
  /** Waits until the other side has ended the connection, in whatever way. */
  end(): Promise<'end' | 'reset'>;
}

function createWire(socket: Socket): Wire {
  const chunks: Buffer[] = [];
  let joined = '';
  let receivedBytes = 0;
  let ended: Wire['ended'] = 'no';
  let closed = false;
  const waiters = new Set<() => void>();
  const wake = (): void => {
    for (const waiter of [...waiters]) waiter();
  };
  socket.on('data', (chunk) => {
    chunks.push(chunk);
    receivedBytes += chunk.length;
    wake();
  });
  socket.on('end', () => {
    if (ended === 'no') ended = 'end';
    wake();
  });
  socket.on('error', () => {
    if (ended === 'no') ended = 'reset';
    wake();
  });
  socket.on('close', () => {
    closed = true;
    if (ended === 'no') ended = 'reset';
    wake();
  });
  const wire: Wire = {
    socket,
    get received() {
      if (chunks.length > 0) joined += Buffer.concat(chunks.splice(0)).toString('latin1');
      return joined;
    },
    get receivedBytes() {
      return receivedBytes;
    },
    get ended() {
      return ended;
    },
    get closed() {
      return closed;
    },
    send(bytes) {
      if (socket.writable) socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
    },
    until(what, done) {
      return waitFor(waiters, done, () => `${what}; received so far: ${JSON.stringify(wire.received.slice(-2_000))}`);
    },
    async end() {
      await wire.until('the end of the connection', () => ended !== 'no');
      return ended === 'end' ? 'end' : 'reset';
    },
  };
  return wire;
}

function waitFor(waiters: Set<() => void>, done: () => boolean, what: () => string): Promise<void> {
  if (done()) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const check = (): void => {
      if (!done()) return;
      clearTimeout(timer);
      waiters.delete(check);
      resolve();
    };
    const timer = setTimeout(() => {
      waiters.delete(check);
      reject(new Error(`waited in vain for ${what()}`));
    }, waitLimitMs);
    waiters.add(check);
  });
}

/** Is it there, and has its other side ended it? */
export const hasEnded = (wire: Wire | undefined): boolean => wire !== undefined && wire.ended !== 'no';

/** Connects to a port of this machine. */
export async function openClient(port: number, tls?: { ca: string }): Promise<Wire> {
  const socket =
    tls === undefined
      ? connect({ host: '127.0.0.1', port, noDelay: true })
      : connectTls({ host: '127.0.0.1', port, ca: tls.ca });
  const wire = createWire(socket);
  await once(socket, tls === undefined ? 'connect' : 'secureConnect');
  return wire;
}

/** A message as its reader took it apart: without judgement, so that a test sees what a lenient backend would see. */
export interface Message {
  /** Request line or status line. */
  start: string;
  fields: [name: string, value: string][];
  body: string;
  trailers: [name: string, value: string][];
  /** Exactly what the message was read from. */
  raw: string;
}

export interface ReadOptions {
  /** The message answers HEAD, or has no body for its status. */
  noBody?: boolean;
  /** The connection has ended: a response of unsaid length is complete. */
  ended?: boolean;
}

export function fieldOf(message: Message, name: string): string | undefined {
  return message.fields.find(([other]) => other.toLowerCase() === name.toLowerCase())?.[1];
}

/** Status of a response. */
export function statusOf(message: Message): number {
  return Number(message.start.slice(9, 12));
}

/** Reads the first message in `text`; undefined when it is not complete. */
export function readMessage(text: string, options: ReadOptions = {}): Message | undefined {
  const headEnd = text.indexOf('\r\n\r\n');
  if (headEnd < 0) return undefined;
  const [start = '', ...lines] = text.slice(0, headEnd).split('\r\n');
  const fields = lines.map(splitField);
  const bodyAt = headEnd + 4;
  const isResponse = start.startsWith('HTTP/');
  const status = Number(start.slice(9, 12));
  const of = (name: string) => fields.find(([other]) => other.toLowerCase() === name)?.[1];
  const message = (body: string, end: number, trailers: Message['trailers'] = []): Message => ({
    start,
    fields,
    body,
    trailers,
    raw: text.slice(0, end),
  });
  if (options.noBody === true || (isResponse && (status < 200 || status === 204 || status === 304))) {
    return message('', bodyAt);
  }
  if (of('transfer-encoding') !== undefined) {
    const chunked = readChunked(text, bodyAt);
    return chunked === undefined ? undefined : message(chunked.body, chunked.end, chunked.trailers);
  }
  const length = of('content-length');
  if (length !== undefined) {
    const end = bodyAt + Number(length);
    return text.length < end ? undefined : message(text.slice(bodyAt, end), end);
  }
  if (!isResponse) return message('', bodyAt);
  return options.ended === true ? message(text.slice(bodyAt), text.length) : undefined;
}

function splitField(line: string): [string, string] {
  const colon = line.indexOf(':');
  return [line.slice(0, colon), line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '')];
}

function readChunked(text: string, from: number) {
  let at = from;
  let body = '';
  for (;;) {
    const eol = text.indexOf('\r\n', at);
    if (eol < 0) return undefined;
    const size = Number.parseInt(text.slice(at, eol), 16);
    at = eol + 2;
    if (size === 0) break;
    if (text.length < at + size + 2) return undefined;
    body += text.slice(at, at + size);
    at += size + 2;
  }
  const trailers: Message['trailers'] = [];
  for (;;) {
    const eol = text.indexOf('\r\n', at);
    if (eol < 0) return undefined;
    if (eol === at) return { body, end: at + 2, trailers };
    trailers.push(splitField(text.slice(at, eol)));
    at = eol + 2;
  }
}

/** Waits for the next complete responses on a connection, interim ones included; `skip` bytes were looked at before. */
export async function readResponses(
  wire: Wire,
  count: number,
  options: ReadOptions & { skip?: number } = {},
): Promise<Message[]> {
  let messages: Message[] = [];
  await wire.until(`${count} responses`, () => {
    messages = splitMessages(wire.received.slice(options.skip ?? 0), { ended: wire.ended === 'end', ...options });
    return messages.length >= count || wire.ended !== 'no';
  });
  if (messages.length < count) {
    throw new Error(
      `the connection ended (${wire.ended}) before response ${messages.length + 1}: ${JSON.stringify(wire.received)}`,
    );
  }
  return messages;
}

/** Waits for the next final response on a connection. */
export async function readResponse(wire: Wire, options: ReadOptions & { skip?: number } = {}): Promise<Message> {
  const [response] = await readResponses(wire, 1, options);
  return response as Message;
}

/** All complete messages in `text`. */
export function splitMessages(text: string, options: ReadOptions = {}): Message[] {
  const messages: Message[] = [];
  for (let rest = text; rest !== ''; ) {
    const message = readMessage(rest, options);
    if (message === undefined) break;
    messages.push(message);
    rest = rest.slice(message.raw.length);
  }
  return messages;
}

/** Sends bytes on a connection of their own and gives back all that came, once the other side has closed. */
export async function sendAlone(port: number, bytes: string): Promise<{ received: string; ended: 'end' | 'reset' }> {
  const client = await openClient(port);
  client.send(bytes);
  const ended = await client.end();
  client.socket.destroy();
  return { received: client.received, ended };
}

export interface OriginScript {
  /** A connection is there; nothing has been read. */
  onConnection?(wire: Wire): void;
  /** A request's head is complete, its body maybe not. */
  onHead?(wire: Wire, head: Message): void;
  /** A request is complete. Default: answers 200 `ok`. */
  onRequest?(wire: Wire, request: Message): void;
  /** Serve https with this certificate. */
  tls?: TestCertificate;
  /** Leave bytes unread until `wire.socket.resume()`, and keep no record of requests. */
  paused?: boolean;
}

export interface Origin {
  readonly port: number;
  /** `http://127.0.0.1:port` or https */
  readonly url: string;
  /** In the order in which they came. */
  readonly connections: readonly Wire[];
  /** Complete requests of all connections in the order of their completion. */
  readonly requests: readonly Message[];
  /** Waits until `done` holds; it is asked again whenever anything happens at the origin. */
  until(what: string, done: () => boolean): Promise<void>;
  close(): Promise<void>;
}

/** A complete response with a length. */
export function respond(body: string, fields = '', status = '200 OK'): string {
  return `HTTP/1.1 ${status}\r\nContent-Length: ${body.length}\r\n${fields}\r\n${body}`;
}

/** Opens an origin on a free port that does what the script says and remembers what it got. */
export async function openOrigin(script: OriginScript = {}): Promise<Origin> {
  const connections: Wire[] = [];
  const requests: Message[] = [];
  const waiters = new Set<() => void>();
  const wake = (): void => {
    for (const waiter of [...waiters]) waiter();
  };
  const onRequest = script.onRequest ?? ((wire) => wire.send(respond('ok')));

  const accept = (socket: Socket): void => {
    const wire = createWire(socket);
    connections.push(wire);
    let read = 0;
    let headAt = -1;
    if (script.paused === true) socket.pause();
    else {
      socket.on('data', () => {
        for (;;) {
          const rest = wire.received.slice(read);
          if (headAt < read) {
            const end = rest.indexOf('\r\n\r\n');
            if (end < 0) break;
            headAt = read + end;
            script.onHead?.(wire, readMessage(rest, { noBody: true }) as Message);
          }
          const request = readMessage(rest);
          if (request === undefined) break;
          read += request.raw.length;
          requests.push(request);
          onRequest(wire, request);
        }
      });
    }
    for (const event of ['data', 'end', 'error', 'close']) socket.on(event, wake);
    script.onConnection?.(wire);
    wake();
  };
  const server: Server =
    script.tls === undefined
      ? createServer({ noDelay: true }, accept)
      : createTlsServer({ ...script.tls, ALPNProtocols: ['http/1.1'] }, accept);
  server.on('tlsClientError', wake);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `${script.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    connections,
    requests,
    until: (what, done) =>
      waitFor(
        waiters,
        done,
        () => `${what}; the origin got ${JSON.stringify(connections.map((wire) => wire.received.slice(-1_000)))}`,
      ),
    async close() {
      const closed = once(server, 'close');
      server.close();
      for (const wire of connections) wire.socket.destroy();
      await closed;
    },
  };
}
