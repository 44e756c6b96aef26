import type { AppLookup } from '../auth/index.ts';
import type { Logger, Metrics } from '../observe/index.ts';
import type { AppSettings, AppStore, ControlBus, StoredApp } from '../store/index.ts';
import type { SdkAppId } from '../wire/index.ts';

/** The apps as this process knows them: a copy of the store's, renewed within a second of each change (A14). */
export interface AppRegistry extends AppLookup {
  list(): AppSettings[];
  /** Calls `fn` after each change; gives back how to stop. */
  onChange(fn: () => void): () => void;
  close(): Promise<void>;
}

/** The safety net under the bus. */
const rereadMs = 30_000;
/** Apps that one line of the log names at most. */
const maxLogged = 100;

/**
 * Reads the apps, then again whenever the control bus says so, has reconnected, or half a minute has passed.
 * An app that did not change keeps its settings object, so that what is derived from it stays good.
 * While the database is away the apps stay as they were. Rejects when the first reading fails.
 */
export async function createAppRegistry(deps: {
  store: AppStore;
  bus: ControlBus;
  logger: Logger;
  metrics: Metrics;
}): Promise<AppRegistry> {
  const { store, bus, logger, metrics } = deps;
  const failures = metrics.counter('qalgate_server_app_reads_failed_total', 'Times that the apps could not be read');
  const watchers = new Set<() => void>();
  let stored = new Map<SdkAppId, StoredApp>();
  metrics.gaugeOf('qalgate_server_apps', 'Apps known to this process', () => stored.size);

  async function read(): Promise<void> {
    const next = new Map<SdkAppId, StoredApp>();
    const changed: SdkAppId[] = [];
    for (const app of await store.list()) {
      const { sdkAppId } = app.settings;
      const known = stored.get(sdkAppId);
      const same = known !== undefined && known.updatedAt.getTime() === app.updatedAt.getTime();
      if (!same) changed.push(sdkAppId);
      next.set(sdkAppId, same ? known : app);
    }
    const removed = [...stored.keys()].filter((sdkAppId) => !next.has(sdkAppId));
    stored = next;
    if (changed.length + removed.length === 0) return;
    // Whoever made the change, a command or another process: from here on it holds in this one.
    logger.info(
      { apps: next.size, changed: changed.slice(0, maxLogged), removed: removed.slice(0, maxLogged) },
      'apps.changed',
    );
    for (const watcher of watchers) watcher();
  }

  let reading: Promise<void> | undefined;
  let again = false;
  /** One reading at a time; a call during one is followed by another, as that one may have missed its cause. */
  function reread(): void {
    if (reading !== undefined) {
      again = true;
      return;
    }
    reading = read()
      .catch((error: unknown) => {
        failures.inc();
        logger.error({ err: error }, 'apps.read.failed');
      })
      .finally(() => {
        reading = undefined;
        if (!again) return;
        again = false;
        reread();
      });
  }

  await read();
  const stops = [bus.subscribe('apps', reread), bus.onReconnect(reread)];
  const timer = setInterval(reread, rereadMs);
  timer.unref();

  return {
    get: (sdkAppId) => stored.get(sdkAppId)?.settings,
    list: () => [...stored.values()].map(({ settings }) => settings),
    onChange(fn) {
      watchers.add(fn);
      return () => void watchers.delete(fn);
    },
    async close() {
      clearInterval(timer);
      for (const stop of stops) stop();
      watchers.clear();
      again = false;
      await reading;
    },
  };
}
