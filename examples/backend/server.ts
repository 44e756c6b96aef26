/**
 * An app's backend, small but real, to run behind qalgate: `node examples/backend/server.ts --port 9000`.
 * It shows what it receives (`/`, `/headers`, `/echo`, `/ws`, `/callbacks/`) and misbehaves when asked to (`/slow`, `/fail`, …).
 * Node's own modules and qalgate's SDK only. README.md beside this file lists the routes.
 */
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { serveCacheDemo } from './cache-demo.ts';
import { type CallbackSettings, type Callbacks, createCallbacks } from './callbacks.ts';
import { type Chat, createChat } from './chat.ts';
import type { ChatSettings } from './chat-login.ts';
import { headerPairs, headersPage } from './page.ts';
import { serveFile } from './static-files.ts';
import { acceptWebSocketEcho, refuse } from './websocket.ts';

const publicFolder = fileURLToPath(new URL('./public', import.meta.url));

type Handler = (request: IncomingMessage, response: ServerResponse, url: URL) => Promise<void> | void;

const routes: Record<string, Handler> = {
  '/': showPage,
  '/headers': showHeaders,
  '/echo': echo,
  '/slow': slow,
  '/fail': fail,
  '/stream': stream,
  '/bytes': bytes,
  '/early-hints': earlyHints,
};

/** A query parameter that is not what the route needs; the client gets 400 with the text. */
class BadParameter extends Error {}

interface Parts {
  chat: Chat;
  callbacks: Callbacks;
}

/** Makes the server; it does not listen yet. Its `close()` also ends WebSocket connections and pages that watch. */
export function createBackend({
  chat = createChat(),
  callbacks = createCallbacks(publicFolder),
}: Partial<Parts> = {}): Server {
  const parts = { chat, callbacks };
  const server = createServer((request, response) => {
    void answer(request, response, parts).catch((error: unknown) => {
      if (error instanceof BadParameter) return sendText(response, 400, `${error.message}\n`);
      // What remains is a client that went away in the middle. Nobody is left to tell.
      response.destroy();
    });
  });

  const stopping = new AbortController();
  server.on('upgrade', (request: IncomingMessage, socket, head: Buffer) => {
    if (URL.parse(request.url ?? '/', 'http://backend')?.pathname !== '/ws') {
      return refuse(socket, 404, 'there is a WebSocket at /ws only');
    }
    const stop = (): void => void socket.destroy();
    stopping.signal.addEventListener('abort', stop);
    socket.once('close', () => stopping.signal.removeEventListener('abort', stop));
    const greeting = JSON.stringify({ url: request.url, headers: headerPairs(request.rawHeaders) });
    acceptWebSocketEcho(request, socket, head, { greeting, maxMessageBytes: 65_536, idleMs: 600_000 });
  });

  const close = server.close.bind(server);
  server.close = (callback) => {
    stopping.abort();
    callbacks.close();
    return close(callback);
  };
  return server;
}

async function answer(request: IncomingMessage, response: ServerResponse, { chat, callbacks }: Parts): Promise<void> {
  const url = URL.parse(request.url ?? '/', 'http://backend');
  if (url === null) return sendText(response, 400, 'the target is not a path\n');
  if (url.pathname.startsWith('/files/')) {
    return serveFile(request, response, publicFolder, url.pathname.slice('/files/'.length));
  }
  if (url.pathname.startsWith('/cache/')) {
    return serveCacheDemo(request, response, url.pathname.slice('/cache/'.length));
  }
  if (url.pathname === '/chat') return void response.writeHead(301, { Location: `/chat/${url.search}` }).end();
  if (url.pathname.startsWith('/chat/')) return chat.serve(request, response, url.pathname.slice('/chat/'.length));
  if (url.pathname === '/callbacks') return void response.writeHead(301, { Location: '/callbacks/' }).end();
  if (url.pathname.startsWith('/callbacks/')) {
    return callbacks.serve(request, response, url.pathname.slice('/callbacks/'.length));
  }
  const handler = Object.hasOwn(routes, url.pathname) ? routes[url.pathname] : undefined;
  if (handler === undefined) {
    return sendText(
      response,
      404,
      `no such page; there are ${Object.keys(routes).join(' ')} /files/hello.txt /cache/ /chat/ /callbacks/ /ws\n`,
    );
  }
  await handler(request, response, url);
}

function showPage(request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(200, {
    'Content-Type': 'text/html; charset=utf-8',
    'Content-Security-Policy': "default-src 'none'; style-src 'self'",
    'Cache-Control': 'no-store',
  });
  response.end(headersPage(request.method ?? '', request.url ?? '', request.rawHeaders));
}

/** JSON `{ method, url, headers, trailers }`; headers and trailers are lists of [name, value] just as they came. */
async function showHeaders(request: IncomingMessage, response: ServerResponse): Promise<void> {
  request.resume(); // trailers come after the body
  await finished(request);
  const list = (rawHeaders: string[]): string => {
    const lines = headerPairs(rawHeaders).map(
      ([name, value]) => `\n    [${JSON.stringify(name)}, ${JSON.stringify(value)}]`,
    );
    return lines.length === 0 ? '[]' : `[${lines.join(',')}\n  ]`;
  };
  response.writeHead(200, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
  response.end(
    `{\n  "method": ${JSON.stringify(request.method)},\n  "url": ${JSON.stringify(request.url)},\n` +
      `  "headers": ${list(request.rawHeaders)},\n  "trailers": ${list(request.rawTrailers)}\n}\n`,
  );
}

/** Sends the body back as it comes in. */
async function echo(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const length = request.headers['content-length'];
  response.writeHead(200, {
    'Content-Type': request.headers['content-type'] ?? 'application/octet-stream',
    'X-Echo-Method': request.method ?? '',
    ...(length === undefined ? {} : { 'Content-Length': length }),
  });
  await pipeline(request, response);
}

async function slow(_request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
  const delayMs = integer(url, 'ms', { from: 0, to: 600_000, otherwise: 1_000 });
  await pause(response, delayMs);
  sendText(response, 200, `answered after ${delayMs} ms\n`);
}

function fail(_request: IncomingMessage, response: ServerResponse, url: URL): void {
  const status = integer(url, 'status', { from: 200, to: 999, otherwise: 503 });
  if (status === 204 || status === 304) {
    response.writeHead(status).end();
    return;
  }
  sendText(response, status, `failed with ${status}, as asked\n`);
}

/** Chunks of a chunked answer with pauses in between, and their number in the trailer `X-Chunks`. */
async function stream(_request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
  const chunks = integer(url, 'chunks', { from: 0, to: 1_000_000, otherwise: 10 });
  const chunkBytes = integer(url, 'bytes', { from: 1, to: 1_048_576, otherwise: 64 });
  const pauseMs = integer(url, 'ms', { from: 0, to: 600_000, otherwise: 100 });
  response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8', Trailer: 'X-Chunks' });
  response.addTrailers({ 'X-Chunks': String(chunks) });
  const chunk = `${'.'.repeat(chunkBytes - 1)}\n`;
  async function* parts(): AsyncGenerator<string> {
    for (let sent = 0; sent < chunks; sent += 1) {
      if (sent > 0 && pauseMs > 0) await pause(response, pauseMs);
      yield chunk;
    }
  }
  await pipeline(Readable.from(parts(), { highWaterMark: 1 }), response);
}

/** So many bytes with a Content-Length, no faster than the client reads. */
async function bytes(_request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
  const total = integer(url, 'n', { from: 0, to: 100_000_000_000, otherwise: 1_024 });
  response.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Length': total });
  const piece = Buffer.alloc(65_536, 'qalgate ');
  function* pieces(): Generator<Buffer> {
    for (let left = total; left > 0; left -= piece.length) yield left < piece.length ? piece.subarray(0, left) : piece;
  }
  await pipeline(Readable.from(pieces(), { highWaterMark: 1 }), response);
}

function earlyHints(_request: IncomingMessage, response: ServerResponse): void {
  response.writeEarlyHints({ link: '</files/style.css>; rel=preload; as=style' });
  sendText(response, 200, 'a 103 came before this\n');
}

function sendText(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': Buffer.byteLength(text),
  });
  response.end(text);
}

/** Waits, but not for a client that has gone. */
async function pause(response: ServerResponse, delayMs: number): Promise<void> {
  const gone = new AbortController();
  const abort = (): void => gone.abort();
  response.once('close', abort);
  try {
    await sleep(delayMs, undefined, { signal: gone.signal });
  } finally {
    response.off('close', abort);
  }
}

function integer(url: URL, name: string, range: { from: number; to: number; otherwise: number }): number {
  const text = url.searchParams.get(name);
  if (text === null) return range.otherwise;
  const value = Number(text);
  if (/^[0-9]{1,15}$/.test(text) && value >= range.from && value <= range.to) return value;
  throw new BadParameter(`${name} must be a whole number from ${range.from} to ${range.to}`);
}

/** Runs it by itself. Says where it listens on standard output and, to a parent that forked it, as a message. */
function main(): void {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '9000' },
      host: { type: 'string', default: '127.0.0.1' },
      'callback-secret-file': { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    console.log(
      'node examples/backend/server.ts [--port 9000] [--host 127.0.0.1] [--callback-secret-file F]   (port 0: any free one)',
    );
    return;
  }
  const chat = createChat();
  const callbacks = createCallbacks(publicFolder);
  const secretFile = values['callback-secret-file'];
  if (secretFile !== undefined) callbacks.configure({ secret: readFileSync(secretFile, 'utf8').trim().split(/\s+/) });
  // A parent that forked it tells about its app once qalgate listens. By message: arguments are for everybody on the machine to read.
  process.on('message', (message: { chat?: ChatSettings; callbacks?: CallbackSettings }) => {
    if (message.callbacks !== undefined) callbacks.configure(message.callbacks);
    if (message.chat === undefined) return;
    chat.configure(message.chat).catch((error: unknown) => console.error(`example backend: ${error}`));
  });
  const server = createBackend({ chat, callbacks });
  server.once('error', (error) => {
    console.error(`example backend: ${error.message}`);
    process.exit(1);
  });
  server.listen(Number(values.port), values.host, () => {
    const { address, family, port } = server.address() as AddressInfo;
    const url = `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
    console.log(`example backend: ${url}`);
    process.send?.({ url });
  });

  const stop = (): void => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
    setTimeout(() => process.exit(0), 2_000); // what is still being answered then is cut
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  process.once('disconnect', stop); // a parent that is gone, however it went, takes us with it
}

if (import.meta.main) main();
