import type { Command } from 'commander';
import { createLogger, type Logger } from '../../observe/index.ts';
import { formatProblem, type LoadResult, loadConfig } from '../config/index.ts';
import { CliError } from './cli-error.ts';
import { exitCodes } from './exit-codes.ts';

/** What a command may touch of the process. */
export interface CliContext {
  env: Readonly<Record<string, string | undefined>>;
  /** Answers and tables. */
  print(text: string): void;
  /** Errors and hints. */
  warn(text: string): void;
  /** All of standard input, as text. */
  readInput(): Promise<string>;
  /** Columns that help may take; 80 unless given. */
  helpWidth?: number | undefined;
}

export interface ConfigOption {
  config?: string;
  debug?: true;
}

export type Loaded = Extract<LoadResult, { ok: true }>;

/** Adds what every command that reads the configuration takes. */
export function withConfig(command: Command): Command {
  return command
    .option('-c, --config <file>', 'YAML file with the configuration (default: the one QALGATE_CONFIG names, if any)')
    .option('--debug', 'show the log and stack traces on standard error');
}

/** Loads the configuration, or ends the command with all that is wrong with it. */
export function loadOrFail(context: CliContext, { config }: ConfigOption): Loaded {
  const loaded = loadConfig({ file: config, env: context.env });
  if (loaded.ok) return loaded;
  const count = loaded.problems.length;
  throw new CliError(
    exitCodes.configuration,
    [
      `the configuration has ${count === 1 ? 'a problem' : `${count} problems`}:`,
      ...loaded.problems.map(formatProblem),
    ].join('\n  '),
  );
}

/** The log of a command that answers in words: silent unless asked for, then on standard error. */
export function commandLogger(context: CliContext, { debug }: ConfigOption): Logger {
  const destination = { write: (line: string) => context.warn(line.trimEnd()) };
  return createLogger({ level: debug === true ? 'debug' : 'silent', destination });
}
