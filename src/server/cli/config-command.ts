import { Command } from 'commander';
import { printConfig } from '../config/index.ts';
import { type CliContext, type ConfigOption, loadOrFail, withConfig } from './context.ts';

export function configCommand(context: CliContext): Command {
  const command = new Command('config').description('Check or print the configuration.');
  withConfig(command.command('check'))
    .description('Check the configuration: file, environment and the files that they name. Lists all problems.')
    .addHelpText('after', '\nExample:\n  $ qalgate config check --config qalgate.yaml')
    .action((options: ConfigOption) => {
      const { file, config } = loadOrFail(context, options);
      const apps = config.apps.length === 1 ? '1 app' : `${config.apps.length} apps`;
      context.print(`${file ?? 'the configuration (no file)'} is valid: ${apps}`);
    });
  withConfig(command.command('print'))
    .description('Print the configuration that holds, secrets hidden, and where each value came from.')
    .addHelpText('after', '\nExample:\n  $ QALGATE_LOG_LEVEL=debug qalgate config print --config qalgate.yaml')
    .action((options: ConfigOption) => {
      const { settings, sources } = loadOrFail(context, options);
      context.print(printConfig(settings, sources).trimEnd());
    });
  return command;
}
