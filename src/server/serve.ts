import { randomUUID } from 'node:crypto';
import {
  createKeyRing,
  createRevocations,
  createSessionCheck,
  createSessionTokens,
  createTerminals,
  type KeyRing,
  type Revocations,
} from '../auth/index.ts';
import { createCache, createPurges, type Purges } from '../cache/index.ts';
import {
  type Callbacks,
  createAdmin,
  createCallbackChecks,
  createCallbacks,
  createPauses,
  createPoster,
} from '../callbacks/index.ts';
import { createCampaignAdmin, createIm, type Im } from '../im/index.ts';
import {
  createHealth,
  createMetrics,
  createProcessMetrics,
  type Health,
  type Logger,
  type Metrics,
} from '../observe/index.ts';
import { createOps, type OpsDeps } from '../ops/index.ts';
import { createProxy } from '../proxy/index.ts';
import {
  createDevices,
  createPush,
  createPushAdmin,
  createPauses as createPushPauses,
  type Push,
} from '../push/index.ts';
import {
  type AppStore,
  type ControlBus,
  createAppStore,
  createControlBus,
  createSealer,
  createSerials,
  type Database,
  openDatabase,
  type Sealer,
} from '../store/index.ts';
import { type AppRegistry, createAppRegistry } from './app-registry.ts';
import { logCommandChanges } from './command-audit.ts';
import { type Config, checkApp, type Listen, type Role, readMasterKeys } from './config/index.ts';
import { watchDatabase } from './database-health.ts';
import { imPorts } from './im-ports.ts';
import {
  createListenerMetrics,
  type Listener,
  type ListenerMetrics,
  type ListenerOptions,
  openListener,
} from './listeners.ts';
import { queueOptionsOf } from './queue-options.ts';
import { watchRedis } from './redis-health.ts';

/** Where a listener of ours is. */
interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

export interface RunningServer {
  /** Where its listeners really listen, as URLs. */
  addresses: Partial<Record<Role, string>>;
  /** Stops accepting, lets requests in flight finish within the grace, closes everything in reverse order. */
  close(): Promise<void>;
}

export interface ServeOptions {
  roles: readonly Role[];
  version: string;
  logger: Logger;
  /** The configuration in effect with its secrets redacted, for the ops API. */
  shownConfig: object;
}

/** What the roles stand on. */
interface Foundation {
  config: Config;
  shownConfig: object;
  logger: Logger;
  metrics: Metrics;
  listenerMetrics: ListenerMetrics;
  health: Health;
  db: Database;
  sealer: Sealer;
  bus: ControlBus;
  store: AppStore;
  registry: AppRegistry;
  keyRing: KeyRing;
  revocations: Revocations;
  purges: Purges;
  /** Closed in reverse order of what was opened. */
  stack: AsyncDisposableStack;
}

/**
 * The composition root: opens what the roles need, in order, and gives back how to close it. When a part cannot be opened
 * everything before it is closed again and the error says what to do.
 */
export async function startServer(config: Config, options: ServeOptions): Promise<RunningServer> {
  const { logger, version, roles } = options;
  const startedMs = performance.now();
  await using stack = new AsyncDisposableStack();
  const metrics = createMetrics();
  metrics.gauge('qalgate_server_info', 'Always 1; the label tells the version', ['version']).set({ version }, 1);
  const processMetrics = createProcessMetrics({ metrics });
  stack.defer(() => processMetrics.close());
  const health = createHealth({ logger, metrics });

  // Before the database: it is never opened for the first time without the key that its secrets are sealed with.
  const masterKeys = await readMasterKeys(config);
  const db = await openDatabase({ logger, metrics }, { dataDir: config.data, database: config.database, use: 'serve' });
  stack.defer(() => db.close());
  const databaseWatch = watchDatabase({ db, reporter: health.check('database') });
  stack.defer(() => databaseWatch.close());
  const bus = createControlBus(db, { logger });
  stack.defer(() => bus.close());
  const sealer = createSealer(masterKeys);
  const store = createAppStore(db, { sealer, bus });
  const applied = await store.applyConfigured(config.apps);
  if (!applied.ok) {
    const { field = 'apps', reason, allowed } = applied;
    throw new Error(`${field}: ${reason}${allowed === undefined ? '' : `; allowed: ${allowed}`}`);
  }
  const registry = await createAppRegistry({ store, bus, logger, metrics });
  stack.defer(() => registry.close());
  const revocations = await createRevocations(
    { db, bus, clock: Date.now, logger, metrics },
    { sessionLifetimeMs: config.sessions.lifetimeSec * 1_000 },
  );
  stack.defer(() => revocations.close());
  const purges = createPurges({ db, bus, logger, metrics });
  stack.defer(() => purges.close());

  const foundation: Foundation = {
    config,
    shownConfig: options.shownConfig,
    logger,
    metrics,
    listenerMetrics: createListenerMetrics(metrics),
    health,
    db,
    sealer,
    bus,
    store,
    registry,
    keyRing: createKeyRing(masterKeys),
    revocations,
    purges,
    stack,
  };
  const queue = queueOptionsOf(config);
  if (queue.kind === 'redis' && roles.some((role) => ['im', 'relay', 'push'].includes(role))) {
    const watch = watchRedis({ url: queue.url, reporter: health.check('redis'), logger });
    stack.defer(() => watch.close());
  }
  const addresses: RunningServer['addresses'] = {};
  // Callbacks may never reach these. A port that the system chooses is known once its listener is open.
  const ownAddresses = Object.values(config.listen as Record<string, Listen>).filter(({ port }) => port !== 0);
  const callbacks =
    roles.includes('im') || roles.includes('relay')
      ? await openCallbacks(foundation, { relay: roles.includes('relay'), ownAddresses: () => ownAddresses })
      : undefined;
  const push =
    roles.includes('im') || roles.includes('push')
      ? await openPush(foundation, { sends: roles.includes('push') })
      : undefined;
  let im: Im | undefined;
  // The ops listener opens first and closes last, so that it can tell of the others.
  if (roles.includes('ops') && config.listen.ops !== undefined)
    addresses.ops = await openOps(foundation, config.listen.ops, {
      callbacks,
      push,
      ownAddresses: () => ownAddresses,
      // It opens later.
      ...(roles.includes('im') ? { groupDrops: async (sdkAppId, groupId) => im?.groupDrops(sdkAppId, groupId) } : {}),
    });
  if (roles.includes('access') && config.listen.access !== undefined) {
    addresses.access = await openAccess(foundation, config.listen.access);
  }
  if (roles.includes('im') && config.listen.im !== undefined) {
    ({ im, url: addresses.im } = await openImListener(foundation, config.listen.im, { callbacks, push }));
  }
  for (const url of Object.values(addresses)) {
    const { hostname, port } = new URL(url);
    // The system never chooses a port that URLs leave out.
    if (port !== '') ownAddresses.push({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) });
  }
  logger.info({ version, roles, addresses, startMs: Math.round(performance.now() - startedMs) }, 'server.started');

  const opened = stack.move();
  let closing: Promise<void> | undefined;
  return {
    addresses,
    close() {
      health.stop();
      closing ??= opened.disposeAsync();
      return closing;
    },
  };
}

/** Opens a listener that reports its health and closes with the stack. */
async function open(
  { config, logger, listenerMetrics, health, stack }: Foundation,
  listen: Listen,
  options: Pick<ListenerOptions, 'name' | 'handlers' | 'server'>,
): Promise<Listener> {
  const { host, port, tls } = listen;
  const reporter = health.check(options.name);
  const listener = await openListener(
    { logger, metrics: listenerMetrics },
    { ...options, address: { host, port }, ...(tls === undefined ? {} : { tls }) },
  );
  stack.defer(async () => void (await listener.close(config.shutdown.graceMs)));
  reporter.ok();
  return listener;
}

async function openAccess(foundation: Foundation, listen: Listen): Promise<string> {
  const { config, logger, metrics, db, registry, keyRing, revocations, purges, stack } = foundation;
  const requestSerials = createSerials(db, { sequence: 'request_serial', logger });
  stack.defer(() => requestSerials.close());
  const terminalSerials = createSerials(db, { sequence: 'terminal_serial', logger });
  stack.defer(() => terminalSerials.close());
  await Promise.all([requestSerials.ready(), terminalSerials.ready()]);

  const tokens = createSessionTokens(
    { keyRing, clock: Date.now },
    { lifetimeSec: config.sessions.lifetimeSec, rotationSec: config.sessions.keyRotationSec },
  );
  const sessionCheck = createSessionCheck(
    { tokens, revocations, apps: registry, clock: Date.now, metrics },
    { maxCached: 50_000, maxCachedBytes: 128 * 1_048_576 },
  );
  const cache = createCache({ clock: Date.now, logger, metrics }, config.cache);
  const proxy = await createProxy(
    {
      apps: registry,
      tokens,
      terminals: createTerminals({ keyRing, serials: terminalSerials }),
      revocations,
      sessionCheck,
      cache,
      nextSerial: requestSerials.next,
      clock: Date.now,
      logger,
      metrics,
    },
    {
      trustedProxies: config.trustedProxies,
      timeouts: config.timeouts,
      limits: config.limits,
      lane: config.cache.lane,
      accessLog: config.log.access,
    },
  );
  stack.defer(() => proxy.close());
  await purges.listen(
    (purge) => proxy.purge(purge),
    () => cache.distrust(),
  );
  const listener = await open(foundation, listen, {
    name: 'access',
    server: proxy.serverOptions,
    handlers: proxy.handlers,
  });
  return listener.url;
}

async function openCallbacks(
  { config, logger, metrics, db, bus, registry, stack }: Foundation,
  options: { relay: boolean; ownAddresses: () => readonly ListenAddress[] },
): Promise<Callbacks> {
  const callbacks = await createCallbacks(
    {
      db,
      control: bus,
      apps: registry,
      ownAddresses: options.ownAddresses,
      clock: Date.now,
      random: Math.random,
      logger,
      metrics,
    },
    {
      queue: queueOptionsOf(config),
      isAlone: config.database === 'embedded',
      relay: options.relay,
      concurrency: config.callbacks.concurrency,
    },
  );
  stack.defer(() => callbacks.close());
  return callbacks;
}

async function openPush(
  { config, logger, metrics, db, sealer, registry, stack }: Foundation,
  options: { sends: boolean },
): Promise<Push> {
  const push = await createPush(
    { db, apps: registry, sealer, clock: Date.now, random: Math.random, logger, metrics },
    {
      queue: queueOptionsOf(config),
      isAlone: config.database === 'embedded',
      sends: options.sends,
      concurrency: config.push.concurrency,
    },
  );
  stack.defer(() => push.close());
  return push;
}

async function openImListener(
  foundation: Foundation,
  listen: Listen,
  { callbacks, push }: { callbacks: Callbacks | undefined; push: Push | undefined },
): Promise<{ im: Im; url: string }> {
  const { config, logger, metrics, db, bus, registry, revocations, stack } = foundation;
  const devices = createDevices({ db, apps: registry, clock: Date.now, metrics });
  const ports = callbacks === undefined || push === undefined ? {} : imPorts(callbacks, push, devices);
  const im = await createIm(
    { db, control: bus, apps: registry, revocations, ports, clock: Date.now, random: Math.random, logger, metrics },
    { ...config.im, trustedProxies: config.trustedProxies, isShared: config.database !== 'embedded' },
  );
  stack.defer(() => im.close());
  const listener = await open(foundation, listen, {
    name: 'im',
    // A backend's call is small and answered within 3 s; a link leaves HTTP with its upgrade.
    server: {
      ...im.serverOptions,
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      maxHeaderSize: 16_384,
      connectionsCheckingInterval: 1_000,
      keepAliveTimeout: 65_000,
    },
    handlers: im.handlers,
  });
  // Before the listener closes: it waits for what is open.
  stack.defer(() => im.endLinks());
  return { im, url: listener.url };
}

async function openOps(
  foundation: Foundation,
  listen: Listen,
  {
    callbacks,
    push,
    ownAddresses,
    groupDrops,
  }: Pick<OpsDeps, 'groupDrops'> & {
    callbacks: Callbacks | undefined;
    push: Push | undefined;
    ownAddresses: () => readonly ListenAddress[];
  },
): Promise<string> {
  const { config, shownConfig, logger, metrics, health, db, bus, store, revocations, purges, stack } = foundation;
  let poster = callbacks?.poster;
  if (poster === undefined) {
    const own = createPoster({ clock: Date.now, ownAddresses, logger, metrics });
    stack.defer(() => own.close());
    poster = own;
  }
  let pauses = callbacks?.pauses;
  if (pauses === undefined) {
    const own = await createPauses({ db, control: bus, clock: Date.now, logger, metrics });
    stack.defer(() => own.close());
    pauses = own;
  }
  // Whoever looks through a backlog takes no connection from those who add to it, and is told in time that it was too much.
  const lookUps = db.another({ max: 3, statementMs: 6_000 });
  stack.defer(() => lookUps.close());
  const circuits =
    callbacks === undefined
      ? {}
      : { circuits: () => ({ before: callbacks.before.circuits(), after: callbacks.circuits() }) };
  const queues = [callbacks, push].flatMap((one) => (one === undefined ? [] : [one.queue]));
  const ops = await createOps(
    {
      logger,
      metrics,
      health,
      apps: store,
      revocations,
      purges,
      callbackChecks: createCallbackChecks({ db, poster, clock: Date.now, randomUuid: randomUUID }),
      callbackAdmin: createAdmin({ db: lookUps, control: bus, pauses, clock: Date.now, logger, ...circuits }),
      campaignAdmin: createCampaignAdmin({ db: lookUps, clock: Date.now }),
      pushAdmin: createPushAdmin({
        db: lookUps,
        pauses: push?.pauses ?? createPushPauses({ db, clock: Date.now }),
        // Without a queue of this process its own look finds it, on those that send.
        wake: (lane) => push?.wake(lane),
        clock: Date.now,
        ...(push === undefined ? {} : { services: push.services }),
      }),
      checkApp,
      effectiveConfig: () => shownConfig,
      ...(queues.length === 0 ? {} : { queues }),
      ...(groupDrops === undefined ? {} : { groupDrops }),
    },
    { tokens: config.ops.tokens },
  );
  stack.defer(() => ops.close());
  stack.defer(logCommandChanges(bus, logger));
  const listener = await open(foundation, listen, {
    name: 'ops',
    // Small requests only; whoever is slower than this is no operator.
    server: {
      headersTimeout: 10_000,
      requestTimeout: 15_000,
      maxHeaderSize: 16_384,
      connectionsCheckingInterval: 1_000,
    },
    handlers: { request: ops.handler },
  });
  return listener.url;
}
