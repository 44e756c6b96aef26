import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createHeldCounter, networkOf } from '../../auth/index.ts';
import type { AppSettings } from '../../store/index.ts';
import { linkPath } from '../../wire/index.ts';
import { createAddressOf } from '../address-of.ts';

export type Entry =
  | { ok: true; address: string; network: string; origin: string | undefined }
  | { ok: false; status: 403 | 404 | 429 | 503; reason: string };

export interface Entrance {
  /** Whether a request may become a link; if so one more is held. */
  enter(request: IncomingMessage): Entry;
  /** A link that was let in is gone. */
  leave(network: string): void;
  /** Links that are held. */
  readonly size: number;
}

export interface EntranceOptions {
  links: number;
  /** 0: no limit. */
  linksPerAddress: number;
  trustedProxies: readonly string[];
}

/** How long a refusal may take to be read. */
const refusalMs = 5_000;

/**
 * Is it a request for a WebSocket? Others are ordinary requests whose Upgrade field is passed over (RFC 9110 §7.8): some HTTP
 * clients offer `h2c` with every request.
 */
export function isLinkUpgrade({ headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === 'websocket';
}

/** Whether an app lets pages of that origin open links. */
export function allowsOrigin(app: AppSettings, origin: string): boolean {
  return app.im.origins.some((allowed) => allowed === '*' || allowed.toLowerCase() === origin.toLowerCase());
}

/** The way in, before anything is upgraded: path, origin, and how many links there are already. */
export function createEntrance(
  deps: { apps: { list(): AppSettings[] } },
  { links, linksPerAddress, trustedProxies }: EntranceOptions,
): Entrance {
  const held = createHeldCounter(links, linksPerAddress);
  const addressOf = createAddressOf(trustedProxies);

  return {
    enter(request) {
      const path = (request.url ?? '').split('?', 1)[0];
      if (path !== linkPath) return { ok: false, status: 404, reason: `links are opened at ${linkPath}` };
      const { origin } = request.headers;
      // Which app it is is only known at its login: here it is enough that one allows the page.
      if (origin !== undefined && !deps.apps.list().some((app) => allowsOrigin(app, origin))) {
        return { ok: false, status: 403, reason: 'no app lets pages of this origin open links (im.origins)' };
      }
      const address = addressOf(request);
      const network = networkOf(address);
      const taken = held.take(network);
      if (taken === 'total') return { ok: false, status: 503, reason: 'this process has all the links that it may' };
      if (taken === 'key') return { ok: false, status: 429, reason: 'this address has all the links that it may' };
      return { ok: true, address, network, origin };
    },
    leave: (network) => held.give(network),
    get size() {
      return held.size;
    },
  };
}

/** Answers a request for an upgrade by an error, and closes. */
export function refuseUpgrade(socket: Duplex | Socket, status: number, reason: string, retrySec?: number): void {
  const body = `${reason}\n`;
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Connection: close',
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...(retrySec === undefined ? [] : [`Retry-After: ${retrySec}`]),
  ];
  socket.on('error', () => {});
  if ('setTimeout' in socket) socket.setTimeout(refusalMs, () => socket.destroy());
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy());
}
