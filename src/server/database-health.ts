import type { HealthReporter } from '../observe/index.ts';
import type { Database } from '../store/index.ts';

const intervalMs = 2_000;
const answerMs = 3_000;

/** Asks the database every two seconds whether it answers, and reports that. */
export function watchDatabase(deps: { db: Database; reporter: HealthReporter }): { close(): Promise<void> } {
  const { db, reporter } = deps;
  let asking: Promise<void> | undefined;

  const ask = async (): Promise<void> => {
    const late = AbortSignal.timeout(answerMs);
    const expired = new Promise<never>((_, reject) => {
      late.addEventListener('abort', () => reject(new Error(`no answer within ${answerMs} ms`)));
    });
    try {
      await Promise.race([db.pool.query('select 1'), expired]);
      reporter.ok();
    } catch (error) {
      reporter.failing(error instanceof Error ? error.message : String(error));
    }
  };
  const run = (): void => {
    asking ??= ask().finally(() => {
      asking = undefined;
    });
  };
  reporter.ok();
  const timer = setInterval(run, intervalMs);
  timer.unref();
  return {
    async close() {
      clearInterval(timer);
      await asking;
    },
  };
}
