import type { IncomingMessage, RequestListener, ServerOptions, ServerResponse } from 'node:http';
import { BlockList, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import Fastify from 'fastify';
import {
  type AppLookup,
  addTrusted,
  type Clock,
  createHeldCounter,
  networkOf,
  type Revocations,
  type SessionCheck,
  type SessionClaims,
  type SessionTokens,
  type Terminals,
} from '../auth/index.ts';
import { comparedTarget, type HttpCache, type Purge, splitPurgeUrl, type TargetRules } from '../cache/index.ts';
import type { Logger, Metrics } from '../observe/index.ts';
import type { AppSettings, Timeouts } from '../store/index.ts';
import type { SdkAppId } from '../wire/index.ts';
import { createAdmissions } from './admission.ts';
import { ClientConnection } from './client-connection.ts';
import { createDeadlines } from './deadlines.ts';
import { createEntrance, type Entry } from './entrance.ts';
import { cut, sendError } from './error-response.ts';
import { Exchange } from './exchange.ts';
import type { ExchangeContext, OwnRequest } from './exchange-context.ts';
import { createFieldClasses } from './header-fields.ts';
import { type LaneRequest, laneWorks, openLane } from './lane.ts';
import { createRateLimiter, type Limits } from './limits.ts';
import { createProxyMetrics } from './proxy-metrics.ts';
import { answerQuickly } from './quick-hit.ts';
import { createRouter, type Router } from './router.ts';
import { registerSessionEndpoints } from './session-endpoints.ts';
import { createSocketRefusals } from './socket-refusal.ts';
import { createUpgrades, isWebSocketUpgrade } from './upgrade.ts';
import { createUpstreams, type RouteUpstreams } from './upstream/index.ts';

export interface ProxyDeps {
  /** Apps as this process knows them; `onChange` is called after each change and gives back how to stop. */
  apps: AppLookup & { list(): AppSettings[]; onChange(fn: () => void): () => void };
  tokens: SessionTokens;
  terminals: Terminals;
  revocations: Revocations;
  sessionCheck: SessionCheck;
  cache: HttpCache;
  /** Gives QAL-Req-Seq-No: unique over processes, nodes and restarts (A4). */
  nextSerial: () => string;
  clock: Clock;
  logger: Logger;
  metrics: Metrics;
}

export interface ProxyOptions {
  trustedProxies: readonly string[];
  timeouts: Timeouts;
  limits: Limits;
  /** Hits may take the lane, where it works. */
  lane: boolean;
  /** One log line a request. */
  accessLog: boolean;
}

/** The access service as handlers of an http or https server; {@link ProxyDeps} and {@link ProxyOptions} say what it needs. */
export interface AccessProxy {
  /** Options that the server must be made with: limits and strictness of Node's parser. */
  readonly serverOptions: ServerOptions;
  /** Listeners for the server's events of these names. */
  readonly handlers: {
    request: RequestListener;
    checkContinue: RequestListener;
    checkExpectation: RequestListener;
    upgrade(req: IncomingMessage, socket: Duplex, early: Buffer): void;
    connect(req: IncomingMessage, socket: Duplex): void;
    clientError(error: Error & { code?: string }, socket: Duplex): void;
    /** For each accepted TCP connection, before its first byte is read. */
    connection(socket: Socket): void;
    /** How much had been read of a connection when it was last answered outside of Node's responses. */
    bytesAnswered(socket: Socket): number;
  };
  /** Ends stored answers of this process (C14). A URL is taken as its route compares URLs. Gives back their number. */
  purge(purge: Purge): number;
  /** Ends upstream connections and upgrades. Close the listener first: requests in flight need them. */
  close(): Promise<void>;
}

const plainTargets: TargetRules = { sortQuery: false, dropParams: [] };

/** Makes the access service (DESIGN §4). */
export async function createProxy(deps: ProxyDeps, options: ProxyOptions): Promise<AccessProxy> {
  const { logger, metrics, apps } = deps;
  const { limits } = options;
  const classes = createFieldClasses();
  const deadlines = createDeadlines();
  const counters = createProxyMetrics(metrics);
  const trusted = new BlockList();
  for (const entry of options.trustedProxies) addTrusted(trusted, entry);
  const upstreams = createUpstreams({ logger, metrics, now: deadlines.now }, options.timeouts);
  const heldConnections = createHeldCounter(limits.connections, limits.connectionsPerAddress);
  metrics.gaugeOf('qalgate_proxy_connections', 'Client connections now', () => heldConnections.size);

  let router: Router<RouteUpstreams>;
  let served = new Set<SdkAppId>();
  const readApps = (): void => {
    const ids = new Set(apps.list().flatMap(({ sdkAppId, access }) => (access.cache === 'off' ? [] : [sdkAppId])));
    // An app whose number is given again later, or whose cache was off meanwhile and saw no changes, starts with nothing stored.
    for (const sdkAppId of served) if (!ids.has(sdkAppId)) deps.cache.purge({ by: 'app', sdkAppId });
    served = ids;
    router = createRouter(apps.list(), (_, route) => upstreams.forRoute(route));
    upstreams.retireUnused();
  };
  readApps();
  const stopWatching = apps.onChange(() => {
    try {
      readApps();
    } catch (error) {
      // For instance an authority file that is gone: what served so far goes on.
      logger.error({ err: error }, 'proxy.routes.failed');
    }
  });

  const facts = new WeakMap<IncomingMessage, OwnRequest>();
  const sessionCreations = createRateLimiter(
    limits.sessionsPerAddressPerMin / 60,
    Math.max(1, limits.sessionsPerAddressPerMin),
    deadlines.now,
  );
  const own = Fastify({
    logger: false,
    exposeHeadRoutes: false,
    // Paths that fastify cannot even route, such as /.qal/%zz.
    frameworkErrors: (_error, request, reply) => {
      reply.hijack();
      sendError(reply.raw, 'BAD_TARGET', { requestId: facts.get(request.raw)?.requestId ?? '' });
    },
  });
  registerSessionEndpoints(own, {
    ...deps,
    clientAddress: (req) => facts.get(req)?.address ?? '',
    requestId: (req) => facts.get(req)?.requestId ?? '',
    note: (req, noted) => Object.assign(facts.get(req)?.noted ?? {}, noted),
    allowSessionCreation: (address) => sessionCreations.take(networkOf(address)),
  });
  await own.ready();

  const hasLane = options.lane && (await laneWorks());
  if (options.lane && !hasLane) logger.warn('proxy.lane.unavailable');
  metrics.gaugeOf('qalgate_proxy_lane', '1 while hits may take the lane', () => (hasLane ? 1 : 0));
  const entrance = createEntrance({
    classes,
    admissions: createAdmissions({ router: () => router, sessions: deps.sessionCheck }),
    limits,
    requestRate: createRateLimiter(limits.requestsPerAddressPerSec, limits.requestBurstPerAddress, deadlines.now),
    trusted,
  });
  const context: ExchangeContext = {
    classes,
    entrance,
    deadlines,
    limits,
    cache: deps.cache,
    clock: deps.clock,
    nextSerial: deps.nextSerial,
    metrics: counters,
    logger,
    accessLog: options.accessLog,
    serveOwn(req, res, fact) {
      facts.set(req, fact);
      own.routing(req, res);
    },
  };
  const refuse = createSocketRefusals(context);
  const upgrades = createUpgrades(context, {
    refuse,
    sessionEnded: (claims: SessionClaims) => deps.sessionCheck.ended(claims),
  });

  metrics.gaugeOf('qalgate_proxy_upgrades', 'Upgraded connections now', () => upgrades.size);

  const connections = new WeakMap<Socket, ClientConnection>();
  const connectionOf = (socket: Socket): ClientConnection => {
    let connection = connections.get(socket);
    if (connection === undefined) {
      connection = new ClientConnection(socket, trusted);
      connections.set(socket, connection);
      const made = connection;
      socket.once('close', () => made.abandon());
      // Before Node's own listener, which ends the connection in order.
      socket.prependOnceListener('end', () => {
        if (made.current instanceof Exchange) made.current.onClientEnd();
      });
    }
    return connection;
  };

  /**
   * A socket that Node has let go of becomes ours. Not where an answer is under way on it, or nothing more is answered:
   * what would be written to it and that answer would mix.
   */
  const takeOver = (socket: Socket): ClientConnection | undefined => {
    const client = connectionOf(socket);
    socket.on('error', () => socket.destroy());
    if (client.current === undefined && !client.closed) return client;
    cut(socket);
    return undefined;
  };

  let entered: { entry: Entry; rawHeaders: readonly string[] } | undefined;

  /** A mistake of ours costs the short way, not the process. */
  const answerGuarded = (client: ClientConnection, socket: Socket, next: LaneRequest): boolean => {
    const bytesBefore = socket.bytesWritten;
    try {
      const result = answerQuickly(context, client, socket, next);
      if (result === 'answered') return true;
      if (result !== 'passed') entered = { entry: result, rawHeaders: next.rawHeaders };
      return false;
    } catch (error) {
      logger.error({ err: error }, 'proxy.quick_hit.failed');
      if (socket.bytesWritten === bytesBefore) return false;
      cut(socket);
      return true;
    }
  };

  const request = (req: IncomingMessage, res: ServerResponse): void => {
    const client = connectionOf(req.socket);
    // The lane has asked the way in already, a moment ago, for this request.
    const entry = entered?.rawHeaders === req.rawHeaders ? entered.entry : undefined;
    entered = undefined;
    if (hasLane && client.started === 0) {
      openLane(req.socket, (next) => answerGuarded(client, req.socket, next));
    }
    if (!client.run(new Exchange(context, client, req, res, entry))) {
      counters.refused('pipelined');
      cut(req.socket);
    }
  };

  const handlers: AccessProxy['handlers'] = {
    request,
    checkContinue: request,
    checkExpectation: request,

    upgrade(req, duplex, early) {
      const socket = duplex as Socket;
      const client = takeOver(socket);
      if (client === undefined) return;
      const requestId = deps.nextSerial();
      const entry = entrance.enter(client, req);
      const { host, target = req.url } = entry.head ?? {};
      const facts = { requestId, address: entry.address, method: req.method, host, target };
      if (entry.kind === 'refused') refuse(socket, entry.code, { ...facts, reason: entry.reason });
      else if (entry.kind === 'own') refuse(socket, 'NOT_FOUND', facts);
      else if (entry.head.body !== 'none') {
        refuse(socket, 'BAD_REQUEST', { ...facts, reason: 'a request to upgrade has no body' });
      } else upgrades.forward(req, socket, early, { ...entry, requestId });
    },

    connect(req, duplex) {
      const socket = duplex as Socket;
      const client = takeOver(socket);
      if (client === undefined) return;
      refuse(socket, 'METHOD_NOT_ALLOWED', {
        requestId: deps.nextSerial(),
        address: client.peer,
        method: req.method,
        target: req.url,
        reason: 'no CONNECT here',
      });
    },

    clientError(error, duplex) {
      const socket = duplex as Socket;
      const current = connections.get(socket)?.current;
      connections.get(socket)?.abandon();
      // A client that left in the middle made no mistake; its exchange, if it had come so far, counts it.
      if (error.code === 'ECONNRESET' || error.code === 'HPE_INVALID_EOF_STATE' || !socket.writable) {
        socket.destroy();
        return;
      }
      counters.refused('malformed');
      const code =
        error.code === 'HPE_HEADER_OVERFLOW'
          ? 'HEADERS_TOO_LARGE'
          : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
            ? 'REQUEST_TIMEOUT'
            : 'BAD_REQUEST';
      if (current instanceof Exchange) {
        // Behind a complete request: an error would be taken for its answer. That comes, then the connection ends.
        if (!current.requestComplete) current.refuseBody(code);
        return;
      }
      // Likewise behind a hit that its client has still to take.
      if (current !== undefined) return;
      refuse(socket, code, { requestId: deps.nextSerial(), address: connectionOf(socket).peer });
    },

    connection(socket) {
      const { peer, peerTrusted } = connectionOf(socket);
      // A trusted proxy brings many users.
      const address = peerTrusted ? undefined : networkOf(peer);
      const taken = heldConnections.take(address);
      if (taken !== 'ok') {
        counters.refused(taken === 'total' ? 'connections' : 'connections-per-address');
        socket.destroy();
        return;
      }
      socket.once('close', () => heldConnections.give(address));
    },

    bytesAnswered: (socket) => connections.get(socket)?.bytesAnswered ?? 0,
  };

  return {
    serverOptions: {
      insecureHTTPParser: false,
      // Missing Host is answered by us, as JSON.
      requireHostHeader: false,
      maxHeaderSize: limits.headerBytes,
      headersTimeout: limits.headersTimeoutMs,
      // Bodies may take as long as they move: each pause has its own limit.
      requestTimeout: 0,
      keepAliveTimeout: limits.keepAliveTimeoutMs,
      connectionsCheckingInterval: Math.min(1_000, limits.headersTimeoutMs),
      noDelay: true,
      optimizeEmptyRequests: true,
      shouldUpgradeCallback: isWebSocketUpgrade,
    },

    handlers,

    purge(purge) {
      if (purge.by !== 'url') return deps.cache.purge(purge);
      const { origin, host, target } = splitPurgeUrl(purge.url);
      const rules = router.match(host, target)?.caching.target ?? plainTargets;
      return deps.cache.purge({ ...purge, url: origin + comparedTarget(target, rules) });
    },

    async close() {
      stopWatching();
      upgrades.close();
      upstreams.close();
      deadlines.close();
      await own.close();
    },
  };
}
