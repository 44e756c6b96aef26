import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type RawData, type ServerOptions, type WebSocket, WebSocketServer } from 'ws';
import type { Metrics } from '../../observe/index.ts';
import type { AppSettings } from '../../store/index.ts';
import type { Bus, Presence } from '../services.ts';
import { byConversation } from './by-conversation.ts';
import { conversationRequests, peerRequests } from './conversation-requests.ts';
import { createDeadlines } from './deadlines.ts';
import { createDepartures, endNames, kickReason } from './departures.ts';
import { deviceRequests } from './device-requests.ts';
import { createDispatcher } from './dispatcher.ts';
import { createEntrance, type EntranceOptions, type Entry, refuseUpgrade } from './entrance.ts';
import { feedEvents } from './event-feed.ts';
import { maxFrameBytes } from './frame.ts';
import { createFrameHandler } from './frame-handler.ts';
import { groupMemberRequests } from './group-member-requests.ts';
import { groupMessageRequests, groupStateRequests } from './group-message-requests.ts';
import { groupPendingRequests } from './group-pending-requests.ts';
import { groupRequests } from './group-requests.ts';
import { Link, type LinkHost } from './link.ts';
import { createLinkDirectory } from './link-directory.ts';
import { createLinkMetrics } from './link-metrics.ts';
import { LinkSocket } from './link-socket.ts';
import { createLogins, type LoginsDeps } from './login.ts';
import { messageRequests } from './message-requests.ts';
import { createMissedLook } from './missed.ts';
import { pageRequests, peerPageRequests } from './page-requests.ts';
import { profileRequests } from './profile-requests.ts';
import type { RequestDeps } from './request.ts';
import { createSlowReaders } from './slow-readers.ts';
import { systemRequests } from './system-requests.ts';
import { WaitingFrames } from './waiting-frames.ts';

export interface LinkEdgeDeps extends LoginsDeps, Omit<RequestDeps, 'apps' | 'accounts' | 'presence'> {
  apps: LoginsDeps['apps'] & { list(): AppSettings[] };
  accounts: RequestDeps['accounts'];
  presence: Presence;
  bus: Bus;
  metrics: Metrics;
}

export interface LinkEdgeOptions extends EntranceOptions, LinkTimes {
  framesPerSec: number;
  queueBytes: number;
  /** In which a request is answered. */
  commandMs: number;
}

export interface LinkTimes {
  /** How often a terminal shall be heard of. */
  heartbeatSec?: number;
  /** After so long without a frame a terminal is offline (P1). */
  offlineSec?: number;
  /** In which a login must come. */
  loginMs?: number;
  /** A terminal that takes nothing of what waits for it for so long is too slow. */
  stallMs?: number;
  /** Pause between two looks at all links. */
  sweepMs?: number;
}

export interface LinkEdge {
  /** For the listener: a request that wants to become a link. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /**
   * Says goodbye to every link, lets requests in flight be answered for half of the grace, and cuts what is left at its end.
   * Presence is not told link by link: closing it ends all terminals of the process.
   */
  close(graceMs?: number): Promise<void>;
}

/** How long the other side has to confirm a close. */
const closeMs = 5_000;
const defaultGraceMs = 2_000;
/** After a shutdown links come back spread over this much a link, within bounds. */
const spreadPerLinkMs = 2;
const spreadMs = { min: 1_000, max: 30_000 };

/** The links of terminals (docs/reference/link.md) on the messaging core. */
export function createLinkEdge(deps: LinkEdgeDeps, options: LinkEdgeOptions): LinkEdge {
  const { presence, clock, random, logger } = deps;
  const { heartbeatSec = 60, offlineSec = 400, loginMs = 5_000, stallMs = 30_000, sweepMs = 1_000 } = options;
  const entrance = createEntrance(deps, options);
  const directory = createLinkDirectory();
  const departures = createDepartures(deps);
  const deadlines = createDeadlines({ afterMs: options.commandMs });
  const now = () => performance.now();
  let isClosing = false;
  let onEmpty: (() => void) | undefined;

  const metrics = createLinkMetrics(deps.metrics, {
    connections: () => entrance.size,
    behind: () => slow.size,
    inFlight: () => dispatcher.inFlight,
  });
  const slow = createSlowReaders({ onResync: () => metrics.resync('slow'), now }, { stallMs });
  const dispatcher = createDispatcher({
    handlers: handlersOf(deps),
    deadlines,
    caughtUp: slow.caughtUp,
    onIdle(link) {
      if (link.state === 'draining') link.end('SHUTDOWN', comeBack());
    },
    metrics,
    logger,
  });
  const missed = createMissedLook(
    { ...deps, onResync: () => metrics.resync('missed') },
    { periodMs: heartbeatSec * 1_000 },
  );
  const logins = createLogins(deps, { heartbeatSec, offlineSec });
  const frames = createFrameHandler(
    { directory, logins, dispatcher, missed, presence, clock, random, logger, metrics },
    options,
  );

  /** Links with something to send when this turn of the event loop is over. */
  let dirty: Link[] = [];
  const host: LinkHost = {
    queueBytes: options.queueBytes,
    nothingWaits: new WaitingFrames(),
    queued(link) {
      if (dirty.push(link) === 1) setImmediate(flushDirty);
    },
    fellBehind: slow.add,
    dropped: metrics.dropped,
    ending(link, name) {
      metrics.ended(name);
      directory.ended(link);
      slow.delete(link);
      departures.ended(link, name);
    },
    sent: metrics.framesOut,
  };

  function flushDirty(): void {
    const links = dirty;
    dirty = [];
    for (const link of links) link.flush();
    host.nothingWaits.forget();
  }

  const comeBack = () => {
    const spread = Math.min(spreadMs.max, Math.max(spreadMs.min, directory.all.size * spreadPerLinkMs));
    return { reconnectMs: Math.round(random() * spread) };
  };

  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: maxFrameBytes,
    // A frame may come in pieces, but not in crumbs.
    maxFragments: 64,
    maxBufferedChunks: 1_024,
    closeTimeout: closeMs,
    handleProtocols: () => false,
    WebSocket: LinkSocket,
  } as ServerOptions<typeof LinkSocket>);

  // One function for all links: what differs is on the socket.
  function onMessage(this: WebSocket, data: RawData, isBinary: boolean): void {
    const { link } = this as LinkSocket<Link>;
    if (link !== undefined) frames.received(link, data as Buffer, isBinary);
  }

  function onPing(this: WebSocket): void {
    const { link } = this as LinkSocket<Link>;
    if (link !== undefined) frames.pinged(link);
  }

  function onClose(this: WebSocket, code: number): void {
    const socket = this as LinkSocket<Link>;
    const { link } = socket;
    socket.link = undefined;
    if (link === undefined || !directory.closed(link)) return;
    entrance.leave(link.network);
    if (link.state !== 'ended') {
      link.state = 'ended';
      link.early = undefined;
      metrics.ended('CLIENT');
      directory.ended(link);
      slow.delete(link);
      if (!isClosing) departures.gone(link);
    } else if (link.endName === 'KICKED' && code !== 1006) {
      // It answered our close frame, so it has read what stood before it.
      departures.confirmed(link);
    }
    if (directory.all.size === 0) onEmpty?.();
  }

  function open(socket: LinkSocket<Link>, { address, network, origin }: Extract<Entry, { ok: true }>): void {
    const link = new Link(host, { socket, address, network, origin, openedMs: now(), heardMs: clock() });
    socket.link = link;
    directory.add(link);
    socket.on('message', onMessage);
    socket.on('ping', onPing);
    // Nobody asked for it, but it costs as much.
    socket.on('pong', onPing);
    socket.on('close', onClose);
    socket.on('error', ignore);
  }

  function sweep(): void {
    const nowMs = now();
    for (const link of directory.awaiting) {
      if (nowMs - link.openedMs < loginMs) break;
      link.end('LOGIN_TIMEOUT', {});
    }
    slow.sweep(nowMs);
    const clockMs = clock();
    const lastHeardMs = clockMs - offlineSec * 1_000;
    for (const link of directory.all) {
      const { terminal } = link;
      if (terminal === undefined || link.state === 'ended') continue;
      if (link.heardMs <= lastHeardMs) link.end('NO_HEARTBEAT', {});
      else if (terminal.expiresAtMs <= clockMs) link.end('USERSIG_EXPIRED', {});
      else if (deps.apps.get(terminal.account.sdkAppId) === undefined) link.end('APP_UNKNOWN', {});
    }
  }

  const sweeper = setInterval(sweep, sweepMs);
  sweeper.unref();
  const stops = [
    feedEvents({ bus: deps.bus, directory, metrics }),
    presence.onEnd((linkId, end, by) => {
      const facts = by === undefined ? {} : { by, reason: kickReason(by) };
      directory.byId(linkId)?.end(endNames[end], facts);
    }),
  ];

  function refuse(socket: Duplex, status: number, reason: string): void {
    metrics.refused(status);
    const isPassing = status === 429 || status === 503;
    refuseUpgrade(socket, status, reason, isPassing ? 1 + Math.floor(random() * 10) : undefined);
  }

  async function closeAll(graceMs: number): Promise<void> {
    isClosing = true;
    const empty = new Promise<void>((resolve) => {
      onEmpty = resolve;
    });
    for (const link of directory.all) {
      if (link.inFlight > 0 && link.state === 'open') {
        link.state = 'draining';
        link.socket.pause();
      } else link.end('SHUTDOWN', comeBack());
    }
    const endRest = setTimeout(() => {
      for (const link of directory.all) link.end('SHUTDOWN', comeBack());
    }, graceMs / 2);
    const cut = setTimeout(() => {
      for (const link of directory.all) link.socket.terminate();
    }, graceMs);
    if (directory.all.size > 0) await empty;
    clearTimeout(endRest);
    clearTimeout(cut);
    clearInterval(sweeper);
    for (const stop of stops) stop();
    missed.close();
    deadlines.close();
  }

  let closing: Promise<void> | undefined;
  return {
    upgrade(request, socket, head) {
      if (isClosing) return refuse(socket, 503, 'the service stops or restarts');
      const entry = entrance.enter(request);
      if (!entry.ok) return refuse(socket, entry.status, entry.reason);
      let isOpen = false;
      server.handleUpgrade(request, socket, head, (webSocket) => {
        isOpen = true;
        open(webSocket as LinkSocket<Link>, entry);
      });
      // A handshake that was not right is answered at once.
      if (!isOpen) entrance.leave(entry.network);
    },
    close(graceMs = defaultGraceMs) {
      closing ??= closeAll(graceMs);
      return closing;
    },
  };
}

function handlersOf(deps: RequestDeps) {
  return {
    ...byConversation({
      c2c: { ...messageRequests(deps), ...peerPageRequests(deps), ...peerRequests(deps) },
      group: groupMessageRequests(deps),
      system: systemRequests(deps),
    }),
    ...pageRequests(deps),
    ...conversationRequests(deps),
    ...profileRequests(deps),
    ...deviceRequests(deps),
    ...groupStateRequests(deps),
    ...groupRequests(deps),
    ...groupMemberRequests(deps),
    ...groupPendingRequests(deps),
  };
}

function ignore(): void {}
