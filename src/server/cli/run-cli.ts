import { Command, CommanderError } from 'commander';
import { appCommand } from './app-command.ts';
import { cacheCommand } from './cache-command.ts';
import { callbacksCommand } from './callbacks-command.ts';
import { exitCodeOf, explain } from './cli-error.ts';
import { configCommand } from './config-command.ts';
import type { CliContext } from './context.ts';
import { doctorCommand } from './doctor-command.ts';
import { type ExitCode, exitCodeMeanings, exitCodes } from './exit-codes.ts';
import { kickCommand } from './kick-command.ts';
import { migrateCommand } from './migrate-command.ts';
import { pushCommand } from './push-command.ts';
import { serveCommand } from './serve-command.ts';
import { userSigCommand } from './usersig-command.ts';
import { readVersion } from './version.ts';

const exitCodeHelp = `
Exit codes:
${Object.entries(exitCodeMeanings)
  .map(([code, meaning]) => `  ${code}  ${meaning}`)
  .join('\n')}`;

/**
 * Runs one `qalgate` command line, `argv` being what follows the program's name. Resolves to the exit code when the
 * command has ended; `serve` ends with its signal. Prints errors itself: one sentence, or with `--debug` the stack.
 */
export async function runCli(argv: readonly string[], context: CliContext): Promise<ExitCode> {
  try {
    await createProgram(context).parseAsync([...argv], { from: 'user' });
    return exitCodes.ok;
  } catch (error) {
    // commander has already said what was wrong, or printed the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    context.warn(`qalgate: ${explain(error)}`);
    if (argv.includes('--debug') && error instanceof Error) context.warn(stackOf(error));
    return exitCodeOf(error);
  }
}

/** The command tree; also what the reference page is made from. */
export function createProgram(context: CliContext): Command {
  const program = new Command('qalgate')
    .description('Self-hosted access and messaging service for mobile apps.')
    .version(readVersion(), '-V, --version', 'print the version')
    .helpCommand('help [command]', 'explain a command')
    .addHelpText('after', exitCodeHelp);
  const commands = [
    serveCommand(context),
    configCommand(context),
    appCommand(context),
    userSigCommand(context),
    kickCommand(context),
    cacheCommand(context),
    callbacksCommand(context),
    pushCommand(context),
    migrateCommand(context),
    doctorCommand(context),
    new Command('version')
      .description('Print the versions of qalgate and Node.')
      .action(() =>
        context.print(`qalgate ${readVersion()}, Node ${process.version}, ${process.platform} ${process.arch}`),
      ),
  ];
  for (const command of commands) program.addCommand(command);
  prepare(program, context);
  return program;
}

/** No command of the tree may end the process, or write past the context. */
function prepare(command: Command, context: CliContext): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => context.print(text.trimEnd()),
    writeErr: (text) => context.warn(text.trimEnd()),
    getOutHelpWidth: () => context.helpWidth ?? 80,
    getErrHelpWidth: () => context.helpWidth ?? 80,
    outputError: (text, write) => write(`qalgate: ${text.replace(/^error: /, '')}`),
  });
  command.helpOption('-h, --help', 'explain this command');
  for (const child of command.commands) prepare(child, context);
}

function stackOf(error: Error): string {
  const cause = error.cause instanceof Error ? `\ncaused by ${stackOf(error.cause)}` : '';
  return `${error.stack ?? error.message}${cause}`;
}
