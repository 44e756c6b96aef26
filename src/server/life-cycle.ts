import type { Logger } from '../observe/index.ts';

/**
 * A terminal's Ctrl-C reaches this process twice when npm runs it: from the terminal and passed on by npm.
 * Signals so close together are one.
 */
const sameSignalMs = 500;
/** SIGHUP too: its default would leave the embedded database running behind a terminal that is gone. */
const stopSignals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/**
 * Runs until SIGTERM, SIGINT or SIGHUP (a terminal that was closed), then closes; a second signal ends the process at once, with code 1. An error that
 * nothing caught leaves the process in a state that nobody knows: it is logged, requests in flight get their grace,
 * and the process ends with code 1, to be started again.
 *
 * @returns the exit code, when everything is closed
 */
export async function runUntilSignal(
  server: { close(): Promise<void> },
  deps: { logger: Logger; process?: NodeJS.Process },
): Promise<number> {
  const { logger, process: target = process } = deps;
  let exitCode = 0;
  let firstMs: number | undefined;
  const { promise: asked, resolve: stop } = Promise.withResolvers<void>();

  const onSignal = (signal: NodeJS.Signals): void => {
    const now = performance.now();
    if (firstMs === undefined) {
      firstMs = now;
      logger.info({ signal }, 'server.stopping');
      stop();
    } else if (now - firstMs > sameSignalMs) {
      logger.warn({ signal }, 'server.stopped_at_once');
      target.exit(1);
    }
  };
  const onParentGone = (): void => onSignal('SIGTERM');
  const onFailure = (error: unknown): void => {
    logger.fatal({ err: error }, 'server.failed');
    exitCode = 1;
    firstMs ??= performance.now();
    stop();
  };
  for (const signal of stopSignals) target.on(signal, onSignal);
  // Whoever started us over a channel (bin/qalgate.js on an older Node) passes signals on; without it none would come.
  if (target.connected) target.on('disconnect', onParentGone);
  target.on('uncaughtException', onFailure);
  target.on('unhandledRejection', onFailure);
  try {
    await asked;
    await server.close();
    logger.info({}, 'server.stopped');
    return exitCode;
  } finally {
    for (const signal of stopSignals) target.off(signal, onSignal);
    target.off('disconnect', onParentGone);
    target.off('uncaughtException', onFailure);
    target.off('unhandledRejection', onFailure);
  }
}
