import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../observe/index.ts';
import { createBackoff } from './backoff.ts';
import type { ConnectionTarget } from './connection.ts';
import type { StoreMetrics } from './metrics.ts';
import { stopOrphanedServer } from './orphaned-server.ts';
import { findAccount } from './postgres-account.ts';
import { findPostgresBinaries, reachableBinaries } from './postgres-binaries.ts';
import { clusterDirOf, clusterLogin, openCluster, readClusterPassword } from './postgres-cluster.ts';
import { type PostgresServer, startPostgresServer } from './postgres-server.ts';
import { openSocketDirectory } from './socket-directory.ts';
import { reasonOf } from './store-error.ts';

/** The PostgreSQL of this process, kept running until `close`. */
export interface EmbeddedPostgres {
  readonly target: ConnectionTarget;
  close(): Promise<void>;
}

/** A server that ran this long was healthy: its death starts the waits anew. */
const healthyMs = 60_000;

/**
 * Starts the embedded PostgreSQL of a data directory: makes the cluster the first time, checks its version, stops a
 * server that a killed process left. When the server dies later it is started again, with growing waits, for as long as
 * `isOwner` says that the directory is ours; meanwhile queries fail, and the pool connects anew by itself.
 */
export async function startEmbeddedPostgres(
  deps: { logger: Logger; metrics: StoreMetrics },
  options: { dataDir: string; isOwner: () => Promise<boolean> },
): Promise<EmbeddedPostgres> {
  const { logger, metrics } = deps;
  const { dataDir } = options;
  const found = await findPostgresBinaries();
  const account = await findAccount(clusterDirOf(dataDir), deps);
  const binaries = account === undefined ? found : await reachableBinaries(found, account, deps);
  const cluster = await openCluster(deps, { dataDir, binaries, account });
  const sockets = await openSocketDirectory(cluster.directory);
  const stopping = new AbortController();
  const backoff = createBackoff({ minMs: 50, maxMs: 10_000 });

  async function start(): Promise<PostgresServer> {
    const startedAtMs = performance.now();
    await stopOrphanedServer(cluster.directory, deps);
    const socketDir = sockets.shortPath;
    const { signal } = stopping;
    const server = await startPostgresServer(deps, { binaries, cluster, account, socketDir, signal });
    metrics.postgresUp.set(1);
    const durationMs = Math.round(performance.now() - startedAtMs);
    logger.info({ pid: server.pid, durationMs }, 'store.postgres.started');
    return server;
  }

  /** Watches one server after the other; ends when we stop. */
  async function watch(): Promise<void> {
    let upSinceMs = performance.now();
    for (;;) {
      const { reason, lines } = await server.ended;
      metrics.postgresUp.set(0);
      if (stopping.signal.aborted) return;
      logger.error({ pid: server.pid, reason, lines }, 'store.postgres.died');
      if (performance.now() - upSinceMs > healthyMs) backoff.reset();
      const next = await restart();
      if (next === undefined) return;
      server = next;
      upSinceMs = performance.now();
    }
  }

  async function restart(): Promise<PostgresServer | undefined> {
    while (!stopping.signal.aborted) {
      await delay(backoff.nextMs(), undefined, { signal: stopping.signal }).catch(() => {});
      if (stopping.signal.aborted) return undefined;
      if (!(await options.isOwner())) {
        logger.fatal({ dataDir }, 'store.instance.lost');
        return undefined;
      }
      try {
        const next = await start();
        metrics.postgresRestarts.inc();
        if (!stopping.signal.aborted) return next;
        await next.stop();
      } catch (error) {
        if (!stopping.signal.aborted) logger.error({ reason: reasonOf(error) }, 'store.postgres.restart.failed');
      }
    }
    return undefined;
  }

  let server: PostgresServer;
  try {
    server = await start();
  } catch (error) {
    await sockets.close();
    throw error;
  }
  // An end of the process that skips `close` (an uncaught error) should not leave a server behind.
  const stopAtExit = () => server.interrupt();
  process.once('exit', stopAtExit);
  const watching = watch();
  let closed: Promise<void> | undefined;

  return {
    target: { host: sockets.shortPath, password: cluster.password, ...clusterLogin },
    close() {
      closed ??= (async () => {
        stopping.abort();
        await server.stop();
        await watching;
        process.off('exit', stopAtExit);
        await sockets.close();
      })();
      return closed;
    },
  };
}

/** How to reach the server that another process runs on that data directory. */
export async function attachEmbeddedPostgres(
  dataDir: string,
): Promise<{ target: ConnectionTarget; close(): Promise<void> }> {
  const password = await readClusterPassword(dataDir);
  const sockets = await openSocketDirectory(clusterDirOf(dataDir));
  return { target: { host: sockets.shortPath, password, ...clusterLogin }, close: () => sockets.close() };
}
