import { Command } from 'commander';
import { createMetrics, type Logger, type Metrics } from '../../observe/index.ts';
import { migrateDatabase, migrateQueues, openDatabase } from '../../store/index.ts';
import type { Config } from '../config/index.ts';
import { type CliContext, type ConfigOption, commandLogger, loadOrFail, withConfig } from './context.ts';

export function migrateCommand(context: CliContext): Command {
  return withConfig(new Command('migrate'))
    .description(
      'Bring the schema of an external database up to this version. The service of the version before may run on.',
    )
    .addHelpText(
      'after',
      '\nThe embedded database migrates itself at start.\n\nExample:\n  $ qalgate migrate --config qalgate.yaml',
    )
    .action(async (options: ConfigOption) => {
      const { config } = loadOrFail(context, options);
      if (config.database === 'embedded') {
        context.print('the embedded database migrates itself at start: there is nothing to do');
        return;
      }
      const deps = { logger: commandLogger(context, options), metrics: createMetrics() };
      const { from, to } = await migrateDatabase(deps, config.database);
      await migrateQueueTables(deps, config);
      context.print(
        from === to ? `the database has schema ${to} already` : `the database went from schema ${from} to ${to}`,
      );
    });
}

/** The tables of the queues stand beside ours, also where a Redis is used: it may be given up. */
async function migrateQueueTables(
  deps: { logger: Logger; metrics: Metrics },
  { data, database }: Config,
): Promise<void> {
  const db = await openDatabase({ ...deps, metrics: createMetrics() }, { dataDir: data, database, use: 'command' });
  try {
    const client = await db.pool.connect();
    try {
      await migrateQueues(client);
    } finally {
      client.release();
    }
  } finally {
    await db.close();
  }
}
