import pg from 'pg';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { ImErrorName } from '../../wire/index.ts';
import type { CommandResult } from './envelope.ts';
import type { Exchange } from './exchange.ts';
import { errorCode } from './service-table.ts';

export interface ExchangeReport {
  /** Counts an answer, and logs it when it is a failure: once an exchange. `cause`: what was thrown. */
  answered(exchange: Exchange, result: CommandResult, cause?: unknown): void;
  /** What was thrown after the answer had been due. */
  failedLate(exchange: Exchange, cause: unknown): void;
}

/** Refusals that a caller can have thousands of in a second: counted, not logged. */
const uncounted: ReadonlySet<ImErrorName> = new Set<ImErrorName>(['COMMAND_RATE', 'APP_RATE', 'BUSY']);

export function createExchangeReport({ logger, metrics }: { logger: Logger; metrics: Metrics }): ExchangeReport {
  const requests = metrics.counter(
    'qalgate_im_rest_requests_total',
    'REST requests by command and outcome: ok, partly, or the error.',
    ['command', 'outcome'],
  );
  const durations = metrics.histogram(
    'qalgate_im_rest_duration_seconds',
    'From the head of a REST request to its answer.',
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 2.9],
    ['command'],
  );

  function factsOf({ app, startedMs, ...exchange }: Exchange) {
    return {
      sdkAppId: app?.sdkAppId,
      command: labelOf(exchange),
      durationMs: Math.round(performance.now() - startedMs),
    };
  }

  return {
    answered(exchange, result, cause) {
      const command = labelOf(exchange);
      const outcome = result.ok ? (result.status === 'SomeError' ? 'partly' : 'ok') : result.error;
      requests.inc({ command, outcome });
      durations.observe({ command }, (performance.now() - exchange.startedMs) / 1_000);
      if (result.ok) return;
      const { error, field } = result;
      const facts = {
        ...factsOf(exchange),
        error,
        code: result.code ?? errorCode(exchange.service, error),
        // Deeper than that are names which the caller chose.
        field: field?.split(/[.[]/, 1)[0],
      };
      if (cause !== undefined) logger.error({ ...facts, ...causeOf(cause) }, 'im.rest.failed');
      else if (!uncounted.has(error)) logger.info(facts, 'im.rest.refused');
    },
    failedLate(exchange, cause) {
      logger.error({ ...factsOf(exchange), ...causeOf(cause) }, 'im.rest.failed_late');
    },
  };
}

function labelOf({ command }: Pick<Exchange, 'command'>): string {
  return command === undefined ? 'none' : `${command.service}/${command.name}`;
}

/** Of the database's errors not the details, which may quote what was to be stored. */
function causeOf(cause: unknown): object {
  if (cause instanceof pg.DatabaseError) return { reason: cause.message, sqlState: cause.code };
  return { err: cause };
}
