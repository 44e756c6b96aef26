import { Command, InvalidArgumentError } from 'commander';
import { createLogger } from '../../observe/index.ts';
import { ConfigSchema, type Role, redact, roles } from '../config/index.ts';
import { CliError } from './cli-error.ts';
import { type CliContext, type ConfigOption, loadOrFail, withConfig } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { readVersion } from './version.ts';

interface ServeOptions extends ConfigOption {
  roles?: Role[];
  demo?: true;
}

export function serveCommand(context: CliContext): Command {
  return withConfig(new Command('serve'))
    .description('Run the service until SIGTERM, SIGINT or SIGHUP; a second signal ends it at once.')
    .option('-r, --roles <list>', `what this process does, of ${roles.join(', ')} (default: all)`, parseRoles)
    .option('--demo', 'add a demo app with an example backend and print what to try')
    .addHelpText(
      'after',
      '\nExamples:\n  $ qalgate serve --config /etc/qalgate.yaml\n  $ qalgate serve --roles access\n  $ qalgate serve --demo',
    )
    .action(async (options: ServeOptions) => {
      const { config, settings, file } = loadOrFail(context, options);
      // Loaded here, since the other commands need none of it.
      const { startServer } = await import('../serve.ts');
      const { runUntilSignal } = await import('../life-cycle.ts');
      const logger = createLogger({ level: config.log.level });
      await using stack = new AsyncDisposableStack();
      // Whoever has configured something wants that, not the demo.
      const wantsDemo = options.demo === true && file === undefined && config.apps.length === 0;
      const demo = wantsDemo
        ? await (await import('../demo.ts')).startDemo({ dataDir: config.data, logger })
        : undefined;
      stack.defer(() => demo?.close());
      if (demo !== undefined) config.apps.push(demo.app);
      const server = await startServer(config, {
        roles: options.roles ?? [...roles],
        version: readVersion(),
        logger,
        shownConfig: redact(ConfigSchema, settings) as object,
      });
      if (demo !== undefined) {
        demo.opened(server.addresses);
        context.print(demo.describe(server.addresses));
      }
      const exitCode = await runUntilSignal(server, { logger });
      // Everything of ours is closed. A timer or connection that a library has left behind must not keep the process.
      setTimeout(() => process.exit(), 10_000).unref();
      if (exitCode !== 0) throw new CliError(exitCodes.failed, 'the service ended on an error: the log has it');
    });
}

function parseRoles(text: string): Role[] {
  const names = text.split(',').map((name) => name.trim());
  const known = names.flatMap((name) => roles.find((role) => role === name) ?? []);
  if (known.length === names.length) return [...new Set(known)];
  throw new InvalidArgumentError(`Roles are ${roles.join(', ')}, separated by commas.`);
}
