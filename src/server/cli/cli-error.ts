import { StoreError, type StoreErrorCode } from '../../store/index.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';

/** Ends a command with a message for the operator; each further line is a problem of its own. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

const storeExitCodes: Record<StoreErrorCode, ExitCode> = {
  DATA_DIR_IN_USE: exitCodes.inUse,
  DATA_DIR_UNUSABLE: exitCodes.database,
  POSTGRES_VERSION: exitCodes.database,
  POSTGRES_UNUSABLE: exitCodes.database,
  DATABASE_UNREACHABLE: exitCodes.database,
  SCHEMA_VERSION: exitCodes.database,
  MASTER_KEY: exitCodes.configuration,
};

/** The exit code for whatever a command threw. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CliError) return error.exitCode;
  if (error instanceof StoreError) return storeExitCodes[error.code];
  return exitCodes.failed;
}

/** The message of an error and of what caused it, in one sentence. */
export function explain(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(explain).join('; ');
  if (!(error instanceof Error)) return String(error);
  // Our own messages say all; the cause of any other is most of the story.
  const own = error instanceof CliError || error instanceof StoreError;
  return own || error.cause === undefined ? error.message : `${error.message}: ${explain(error.cause)}`;
}
