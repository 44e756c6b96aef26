import { stat } from 'node:fs/promises';
import { createMetrics, type Logger, type Metrics } from '../../observe/index.ts';
import {
  type AppSettings,
  type AppStore,
  type ControlBus,
  createAppStore,
  createControlBus,
  createSealer,
  type OpenedDatabase,
  openDatabase,
} from '../../store/index.ts';
import type { SdkAppId } from '../../wire/index.ts';
import { type Config, clusterFolder, readMasterKeys } from '../config/index.ts';
import { CliError } from './cli-error.ts';
import { type CliContext, type ConfigOption, commandLogger, type Loaded } from './context.ts';
import { exitCodes } from './exit-codes.ts';

/** What a command works on: the database of the running service, or one that is started for the command alone. */
export interface CommandStore {
  db: OpenedDatabase;
  apps: AppStore;
  bus: ControlBus;
  logger: Logger;
  metrics: Metrics;
}

/** Is there a database, or would opening one make it? */
export async function hasDatabase({ data, database }: Config): Promise<boolean> {
  if (database !== 'embedded') return true;
  return stat(clusterFolder(data)).then(
    () => true,
    () => false,
  );
}

/**
 * Opens the database for one command and closes it again, whatever happens. Ends a command that would make one: it
 * looks for something in the wrong place.
 */
export async function withStore<T>(
  context: CliContext,
  loaded: Loaded,
  options: ConfigOption,
  work: (store: CommandStore) => Promise<T>,
): Promise<T> {
  const { config } = loaded;
  if (await hasDatabase(config)) return await withNewStore(context, loaded, options, work);
  const remedy = 'correct --config or QALGATE_DATA; or make it with `qalgate serve` or `qalgate app create`';
  throw new CliError(exitCodes.failed, `there is no database in ${config.data} yet: ${remedy}`);
}

/** The same, but makes the database if there is none. */
export async function withNewStore<T>(
  context: CliContext,
  { config }: Loaded,
  options: ConfigOption,
  work: (store: CommandStore) => Promise<T>,
): Promise<T> {
  const logger = commandLogger(context, options);
  const metrics = createMetrics();
  const masterKeys = await readMasterKeys(config);
  const db = await openDatabase(
    { logger, metrics },
    { dataDir: config.data, database: config.database, use: 'command' },
  );
  try {
    const bus = createControlBus(db, { logger });
    try {
      return await work({
        db,
        bus,
        logger,
        metrics,
        apps: createAppStore(db, { sealer: createSealer(masterKeys), bus }),
      });
    } finally {
      await bus.close();
    }
  } finally {
    await db.close();
  }
}

/** An app as the configuration has it, else as the database has it; ends the command when neither does. */
export async function findApp(
  context: CliContext,
  loaded: Loaded,
  options: ConfigOption & { app: SdkAppId },
): Promise<AppSettings> {
  const configured = loaded.config.apps.find(({ sdkAppId }) => sdkAppId === options.app);
  if (configured !== undefined) return configured;
  const stored = await withStore(context, loaded, options, ({ apps }) => apps.get(options.app));
  if (stored === undefined) throw unknownApp(options.app);
  return stored.settings;
}

/** Ends the command when neither the configuration nor the database has the app. */
export async function requireApp({ config }: Loaded, apps: Pick<AppStore, 'get'>, sdkAppId: SdkAppId): Promise<void> {
  const configured = config.apps.some((app) => app.sdkAppId === sdkAppId);
  if (!configured && (await apps.get(sdkAppId)) === undefined) throw unknownApp(sdkAppId);
}

export function unknownApp(sdkAppId: SdkAppId): CliError {
  return new CliError(
    exitCodes.failed,
    `there is no app ${sdkAppId}, neither in the configuration nor in the database; \`qalgate app list\` shows all`,
  );
}
