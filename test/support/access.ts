import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import {
  createKeyRing,
  createSessionCheck,
  createSessionTokens,
  createTerminals,
  type Revocations,
  type SessionClaims,
  type SessionTokens,
} from '../../src/auth/index.ts';
import { type CacheOptions, createCache, type HttpCache } from '../../src/cache/index.ts';
import { createLogger, createMetrics, type Metrics } from '../../src/observe/index.ts';
import { type AccessProxy, createProxy, type ProxyOptions } from '../../src/proxy/index.ts';
import { createListenerMetrics, type Listener, openListener } from '../../src/server/listeners.ts';
import type { AppSettings, Route } from '../../src/store/index.ts';
import type { TerminalId } from '../../src/wire/index.ts';
import { completeApp } from './app-settings.ts';

/** Limits wide enough not to matter, and time limits short enough to be waited for. */
export const testOptions: ProxyOptions = {
  trustedProxies: [],
  timeouts: { connectMs: 2_000, headMs: 5_000, bodyIdleMs: 5_000, totalMs: 0 },
  limits: {
    headerBytes: 16_384,
    headerCount: 100,
    urlBytes: 8_192,
    bodyBytes: 0,
    connections: 10_000,
    connectionsPerAddress: 0,
    requestsPerAddressPerSec: 0,
    requestBurstPerAddress: 1,
    sessionsPerAddressPerMin: 0,
    headersTimeoutMs: 5_000,
    bodyIdleTimeoutMs: 5_000,
    keepAliveTimeoutMs: 5_000,
    responseWriteTimeoutMs: 5_000,
    requestsPerConnection: 0,
    upgrades: 1_000,
    upgradesPerAddress: 0,
  },
  lane: true,
  accessLog: false,
};

/** What a test may set besides: the clock, and the size of the cache. */
export interface AccessOptions extends Partial<ProxyOptions> {
  /** Milliseconds since the epoch; for sessions and the cache. */
  clock?: () => number;
  cache?: Partial<CacheOptions>;
}

export interface Access {
  cache: HttpCache;
  /** Where it listens. */
  port: number;
  proxy: AccessProxy;
  listener: Listener;
  metrics: Metrics;
  tokens: SessionTokens;
  /** A token for a terminal of the app, with what the test says of it. */
  session(claims?: Partial<SessionClaims>): string;
  /** Ends all sessions issued so far of the terminal or account. */
  revoke(subject: string): void;
  setApps(apps: AppSettings[]): void;
  /** Lines logged so far. */
  logLines: Record<string, unknown>[];
  close(): Promise<void>;
}

export const testAppId = 1_400_000_000;

/** A route for everything. */
export function testRoute(upstream: string[], settings: Partial<Route> = {}): Route {
  return {
    host: '*',
    prefix: '/',
    upstream,
    maxConnections: 256,
    maxQueued: 1_024,
    cacheScope: 'standard',
    cacheSortQuery: false,
    cacheDropParams: [],
    ...settings,
  };
}

/** An app that sends everything to the given origins. */
export function testApp(upstream: string[], access: Partial<AppSettings['access']> = {}): AppSettings {
  return completeApp({
    sdkAppId: testAppId,
    secret: 'a secret of sixteen or more',
    access: { cache: 'off', routes: [testRoute(upstream)], ...access },
  });
}

/**
 * The access service on a free loopback port, on real sockets, with its apps in memory. What needs the database
 * (serials, revocations over processes) is counted and kept in memory here; test/server runs the whole product.
 */
export async function openAccess(apps: AppSettings[], options: AccessOptions = {}): Promise<Access> {
  const logLines: Record<string, unknown>[] = [];
  const logger = createLogger({
    level: 'info',
    destination: { write: (line) => void logLines.push(JSON.parse(line)) },
  });
  const metrics = createMetrics();
  const clock = options.clock ?? Date.now;
  const cache = createCache({ clock, logger, metrics }, { bytes: 67_108_864, entryBytes: 8_388_608, ...options.cache });
  const keyRing = createKeyRing([randomBytes(32)]);
  const tokens = createSessionTokens({ keyRing, clock }, { lifetimeSec: 900, rotationSec: 86_400 });
  let serial = 0n;
  let terminalSerial = 0n;
  const revoked = new Set<string>();
  const revocations: Revocations = {
    isRevoked: (claims) =>
      revoked.has(claims.terminalId) || (claims.account !== undefined && revoked.has(claims.account)),
    revokeTerminal: async (_, id) => void revoked.add(id),
    revokeAccount: async (_, account) => void revoked.add(account),
    accountRevokedBeforeMs: async () => undefined,
    terminalRevokedBeforeMs: () => undefined,
    onAccountRevoked: () => () => {},
    close: async () => {},
  };
  let current = apps;
  const watchers = new Set<() => void>();
  const lookup = {
    get: (sdkAppId: number) => current.find((app) => app.sdkAppId === sdkAppId),
    list: () => current,
    onChange(fn: () => void) {
      watchers.add(fn);
      return () => void watchers.delete(fn);
    },
  };
  const sessionCheck = createSessionCheck(
    { tokens, revocations, apps: lookup, clock, metrics },
    { maxCached: 1_000, maxCachedBytes: 10_000_000 },
  );
  const proxy = await createProxy(
    {
      apps: lookup,
      tokens,
      terminals: createTerminals({ keyRing, serials: { nextNumber: () => terminalSerial++ } }),
      revocations,
      sessionCheck,
      cache,
      nextSerial: () => String(serial++),
      clock,
      logger,
      metrics,
    },
    { ...testOptions, ...options, limits: { ...testOptions.limits, ...options.limits } },
  );
  const listener = await openListener(
    { logger, metrics: createListenerMetrics(metrics) },
    {
      name: 'access',
      address: { host: '127.0.0.1', port: 0 },
      server: proxy.serverOptions,
      handlers: proxy.handlers,
    },
  );
  return {
    port: (listener.server.address() as AddressInfo).port,
    cache,
    proxy,
    listener,
    metrics,
    tokens,
    logLines,
    session: (claims = {}) =>
      tokens.issue({
        sdkAppId: testAppId,
        terminalId: 'tarqqnwfrcdx' as TerminalId,
        issuedAtMs: clock(),
        expiresAtMs: clock() + 900_000,
        device: {},
        network: {},
        ...claims,
      }),
    revoke: (subject) => void revoked.add(subject),
    setApps(apps) {
      current = apps;
      for (const watcher of watchers) watcher();
    },
    async close() {
      await listener.close(0);
      await proxy.close();
    },
  };
}
