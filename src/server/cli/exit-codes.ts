/** What the process's exit code says; part of the CLI's contract, documented in docs/reference/cli.md. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  configuration: 3,
  inUse: 4,
  database: 5,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

export const exitCodeMeanings: Record<ExitCode, string> = {
  0: 'ok',
  1: 'the operation failed',
  2: 'wrong usage of the command line',
  3: 'the configuration or the master key is invalid',
  4: 'another process serves from the data folder',
  5: 'the database is unavailable, or its schema does not fit',
};
