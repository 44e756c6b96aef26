import { type DestinationStream, pino } from 'pino';

/** Structured JSON logger. The event name goes first, ids as fields: `logger.info({ appId }, 'app.created')`. */
export type Logger = import('pino').Logger;

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

export interface LoggerOptions {
  level: LogLevel;
  /** Where lines go; standard output unless given. */
  destination?: DestinationStream;
}

/** Of lines that could not be written yet. */
const maxHeldBytes = 1_048_576;

/** Names under which a secret might reach a log line by mistake. Bodies are never logged in the first place. */
const secretFields = ['secret', 'secrets', 'token', 'password', 'userSig', 'session', 'masterKey', 'authorization'];
/** What PostgreSQL says of a row that it refused is the row: a message's body, an account's profile. */
const rowFields = ['err.detail', 'err.cause.detail'];
/** What Redis refused is a command with all it was given: of AUTH and HELLO the password. */
const commandFields = ['err.command.args', 'err.cause.command.args'];

/**
 * Makes the process's logger: one JSON object a line with `time` (ISO), `level` (word) and `event` (the message).
 */
export function createLogger(options: LoggerOptions): Logger {
  const settings = {
    level: options.level,
    base: null,
    messageKey: 'event',
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: {
      paths: [...secretFields.flatMap((name) => [name, `*.${name}`]), ...rowFields, ...commandFields],
      censor: '[redacted]',
    },
  };
  return pino(settings, options.destination ?? standardOutput());
}

/**
 * Lines are written at once. Where they cannot be (a full disk, a terminal that is gone) the service goes on without:
 * some are held until there is room again, the rest is dropped. A closed pipe ends the log.
 */
function standardOutput(): DestinationStream {
  const stream = pino.destination({ dest: 1, sync: true, maxLength: maxHeldBytes });
  stream.on('error', () => {});
  // Its `flushSync`, which pino calls after a fatal line, would block the process until the line can be written.
  return { write: (line) => void stream.write(line) };
}
