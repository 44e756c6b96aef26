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

/** Names under which a secret might reach a log line by mistake. Bodies are never logged in the first place. */
const secretFields = ['secret', 'secrets', 'token', 'password', 'userSig', 'session', 'masterKey', 'authorization'];

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
    redact: { paths: secretFields.flatMap((name) => [name, `*.${name}`]), censor: '[redacted]' },
  };
  return options.destination === undefined ? pino(settings) : pino(settings, options.destination);
}
