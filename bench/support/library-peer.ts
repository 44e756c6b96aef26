/**
 * A peer of the comparison that is no more than a library on `http.Server`, in a process of its own. Each in the form
 * that its manual recommends for throughput: keep-alive connections to the origin.
 */
import http, { type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Dispatcher } from 'undici';
import { parentOptions, serveParent } from '../../test/support/measured-process.ts';

export type LibraryKind = 'http-proxy' | 'http-proxy-3' | 'undici' | 'undici-cache';

export interface LibraryOptions {
  kind: LibraryKind;
  origin: string;
}

const maxConnections = 256;

async function httpProxy(origin: string): Promise<RequestListener> {
  // It calls util._extend, which Node would warn about on each start.
  process.noDeprecation = true;
  const { default: classic } = await import('http-proxy-classic');
  const agent = new http.Agent({ keepAlive: true, maxSockets: maxConnections, maxFreeSockets: maxConnections });
  const proxy = classic.createProxyServer({ target: origin, agent });
  proxy.on('error', (error: Error) => console.error(error));
  return (req, res) => proxy.web(req, res);
}

async function httpProxy3(origin: string): Promise<RequestListener> {
  const { createProxyServer } = await import('http-proxy');
  const agent = new http.Agent({ keepAlive: true, maxSockets: maxConnections, maxFreeSockets: maxConnections });
  const proxy = createProxyServer({ target: origin, agent });
  proxy.on('error', (error) => console.error(error));
  return (req, res) => void proxy.web(req, res);
}

/** No header is looked at, removed or added, nothing is checked or counted: the floor of what undici can give. */
async function undici(origin: string): Promise<RequestListener> {
  const { Pool } = await import('undici');
  return dispatched(new Pool(origin, { connections: maxConnections, pipelining: 1 }));
}

/** The same behind undici's own cache, in memory, as a shared cache. */
async function undiciCache(origin: string): Promise<RequestListener> {
  const { Pool, interceptors } = await import('undici');
  const pool = new Pool(origin, { connections: maxConnections, pipelining: 1 });
  return dispatched(pool.compose(interceptors.cache()));
}

function dispatched(dispatcher: Dispatcher): RequestListener {
  return (req, res) => {
    const { method = 'GET', url = '/', rawHeaders } = req;
    dispatcher.dispatch(
      { method, path: url, headers: withoutConnection(rawHeaders), body: method === 'GET' ? null : req },
      {
        onRequestStart: () => {},
        onResponseStart(controller, status, _headers, statusText) {
          const raw = (controller.rawHeaders ?? []) as Buffer[];
          res.writeHead(
            status,
            statusText,
            raw.map((field) => field.toString('latin1')),
          );
        },
        onResponseData(controller, chunk) {
          if (res.write(chunk)) return;
          controller.pause();
          res.once('drain', () => controller.resume());
        },
        onResponseEnd: () => void res.end(),
        onResponseError(_controller, error) {
          console.error(error);
          res.destroy();
        },
      },
    );
  };
}

/** The one thing that must be done: undici refuses fields that speak of the connection. */
function withoutConnection(raw: string[]): string[] {
  return raw.some((field) => field.length === 10 && field.toLowerCase() === 'connection')
    ? raw.filter((_, i) => raw[i - (i % 2)]?.toLowerCase() !== 'connection')
    : raw;
}

const kinds: Record<LibraryKind, (origin: string) => Promise<RequestListener>> = {
  'http-proxy': httpProxy,
  'http-proxy-3': httpProxy3,
  undici,
  'undici-cache': undiciCache,
};

const { kind, origin } = parentOptions<LibraryOptions>();
const server = http.createServer({ noDelay: true }, await kinds[kind](origin));
server.listen(0, '127.0.0.1', () => serveParent({ port: (server.address() as AddressInfo).port }));
