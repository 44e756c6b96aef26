import { Command } from 'commander';
import { createMetrics } from '../../observe/index.ts';
import { migrateDatabase } from '../../store/index.ts';
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
      const { from, to } = await migrateDatabase(
        { logger: commandLogger(context, options), metrics: createMetrics() },
        config.database,
      );
      context.print(
        from === to ? `the database has schema ${to} already` : `the database went from schema ${from} to ${to}`,
      );
    });
}
