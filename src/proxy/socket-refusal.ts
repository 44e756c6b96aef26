import type { Socket } from 'node:net';
import type { Logger } from '../observe/index.ts';
import { type ErrorCode, errorCatalogue } from '../wire/index.ts';
import { type AccessFacts, logAccess } from './access-log.ts';
import { sendRawError } from './error-response.ts';
import type { ProxyMetrics } from './proxy-metrics.ts';

/** What is known of a request that never became an exchange. */
export type RefusedFacts = Pick<
  AccessFacts,
  'requestId' | 'address' | 'sdkAppId' | 'method' | 'host' | 'target' | 'reason'
>;

/** Refuses on a bare socket, which then closes; counted, and a line in the access log like any other request. */
export type RefuseSocket = (socket: Socket, code: ErrorCode, facts: RefusedFacts) => void;

export function createSocketRefusals(deps: {
  metrics: ProxyMetrics;
  logger: Logger;
  accessLog: boolean;
}): RefuseSocket {
  const { metrics, logger, accessLog } = deps;
  return (socket, code, facts) => {
    metrics.error(code);
    const { requestId, reason } = facts;
    sendRawError(socket, code, { requestId, ...(reason === undefined ? {} : { reason }) });
    if (!accessLog) return;
    logAccess(logger, { ...facts, status: errorCatalogue[code].status, startedMs: performance.now(), error: code });
  };
}
