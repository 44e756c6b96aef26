import { reconnectDelayMs } from './backoff.ts';
import type { ImError } from './error.ts';
import type { Fields } from './frames.ts';
import type { ImLimits } from './limits.ts';
import { type Link, type LinkEnd, type LinkSocketConstructor, openLink, type Welcome } from './link.ts';

/**
 * - `connecting`: a link is being opened
 * - `connected`: the service knows this terminal as online
 * - `disconnected`: there is no link; the next attempt comes in `retryInMs`, or none at all
 */
export type ConnectionState = 'connecting' | 'connected' | 'disconnected';

export interface ConnectionReason {
  readonly error: ImError;
  /** Milliseconds until the next attempt; undefined: there will be none until `login`. */
  readonly retryInMs: number | undefined;
}

export interface ConnectionHandlers {
  onState(state: ConnectionState, reason: ConnectionReason | undefined): void;
  onWelcome(welcome: Welcome, link: Link): void;
  onEvent(on: string, fields: Fields): void;
  onBadFrame(): void;
  /** There is no link any more. */
  onDown(): void;
  /** It is over for good. */
  onFinal(end: LinkEnd): void;
}

export interface Connection {
  /** The link over which one may ask now. */
  readonly link: Link | undefined;
  /** Connects at once if it waits; tries the link if there is one. */
  hurry(): void;
  close(error: ImError): void;
}

export interface ConnectionOptions {
  readonly url: string;
  readonly WebSocket: LinkSocketConstructor;
  readonly login: { readonly sdkAppId: number; readonly identifier: string; readonly userSig: string };
  readonly platform: string;
  readonly autoReport: boolean;
  readonly limits: ImLimits;
  readonly clock: () => number;
  readonly random: () => number;
}

/** A link that lived so long was no failure: the next attempts begin anew. */
const stableMs = 10_000;

/** Keeps a link open, by the rules of docs/reference/link.md, "Reconnecting" (H4), until it is closed or the service says for good. */
export function openConnection(options: ConnectionOptions, handlers: ConnectionHandlers): Connection {
  const { url, WebSocket, limits, clock, random, platform, autoReport } = options;
  let link: Link | undefined;
  let resume: string | undefined;
  let attempt = 0;
  let upAtMs: number | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isClosed = false;
  /** The service asked not to come back before. */
  let holdUntilMs = 0;
  /** What is being opened, or is open. */
  let current: Link | undefined;

  function connect(): void {
    clearTimeout(timer);
    timer = undefined;
    upAtMs = undefined;
    handlers.onState('connecting', undefined);
    if (isClosed) return;
    const login = { ...options.login, platform, autoReport, resume };
    const isMine = (): boolean => current === mine;
    const mine = openLink(
      { url, WebSocket, limits, login },
      {
        onWelcome(welcome) {
          if (!isMine()) return;
          link = mine;
          resume = welcome.link;
          upAtMs = clock();
          handlers.onWelcome(welcome, mine);
          handlers.onState('connected', undefined);
        },
        onEvent: (on, fields) => isMine() && handlers.onEvent(on, fields),
        onBadFrame: () => isMine() && handlers.onBadFrame(),
        onEnd: (end) => isMine() && ended(end),
      },
    );
    current = mine;
  }

  function ended(end: LinkEnd): void {
    link = current = undefined;
    handlers.onDown();
    if (end.isFinal) {
      isClosed = true;
      handlers.onFinal(end);
      handlers.onState('disconnected', { error: end.error, retryInMs: undefined });
      return;
    }
    if (upAtMs !== undefined && clock() - upAtMs >= stableMs) attempt = 0;
    const retryInMs = Math.round(reconnectDelayMs(attempt, random(), limits, end.reconnectMs));
    attempt += 1;
    holdUntilMs = end.reconnectMs === undefined ? 0 : clock() + retryInMs;
    timer = setTimeout(connect, retryInMs);
    handlers.onState('disconnected', { error: end.error, retryInMs });
  }

  queueMicrotask(() => {
    if (!isClosed) connect();
  });

  return {
    get link() {
      return link;
    },
    hurry() {
      if (isClosed) return;
      if (timer === undefined) link?.probe();
      else if (clock() >= holdUntilMs) connect();
    },
    close(error) {
      if (isClosed) return;
      isClosed = true;
      clearTimeout(timer);
      const old = current;
      link = current = undefined;
      old?.end(error);
      handlers.onDown();
    },
  };
}
