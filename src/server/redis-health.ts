import type { HealthReporter, Logger } from '../observe/index.ts';
import { checkRedis, type RedisFinding } from '../store/index.ts';

/**
 * Asks Redis now and every five seconds whether it answers and is set up for queues, and reports that. The start does not
 * wait for it: what is to be done waits in the database, and nothing is lost without Redis. A setting that is wrong has one
 * line in the log, and another one when it was right in between.
 */
export function watchRedis(
  deps: { url: string; reporter: HealthReporter; logger: Logger },
  { intervalMs = 5_000 }: { intervalMs?: number } = {},
): { close(): Promise<void> } {
  const { url, reporter, logger } = deps;
  const told = new Set<RedisFinding['setting']>();
  let asking: Promise<void> | undefined;

  const ask = async (): Promise<void> => {
    const report = await checkRedis(url);
    if (!report.isReachable) {
      reporter.failing(report.reason);
      return;
    }
    const { findings } = report;
    for (const { setting, reason, remedy, isFatal } of findings) {
      if (told.has(setting)) continue;
      told.add(setting);
      logger[isFatal ? 'error' : 'warn']({ setting, reason, remedy }, 'redis.setting.wrong');
    }
    for (const setting of told) if (!findings.some((finding) => finding.setting === setting)) told.delete(setting);
    const fatal = findings.find(({ isFatal }) => isFatal);
    if (fatal === undefined) reporter.ok();
    else reporter.failing(fatal.reason);
  };
  const run = (): void => {
    asking ??= ask().finally(() => {
      asking = undefined;
    });
  };
  run();
  const timer = setInterval(run, intervalMs);
  timer.unref();
  return {
    async close() {
      clearInterval(timer);
      await asking;
    },
  };
}
