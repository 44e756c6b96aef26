import { type AppSettings, askInstance, type InstanceFacts } from '../../store/index.ts';
import { explain } from './cli-error.ts';
import type { CliContext, ConfigOption, Loaded } from './context.ts';
import type { Check } from './doctor-check.ts';
import { hasDatabase, withStore } from './open-store.ts';

export interface DatabaseFindings {
  check: Check;
  /** The process that has the data folder now, if one has. */
  running: InstanceFacts | undefined;
  /** Apps of the database; empty when it cannot be read. */
  apps: AppSettings[];
  /** How far the database's clock is ahead of ours. */
  skewMs: number | undefined;
}

const goodSkewMs = 2_000;
const badSkewMs = 30_000;
/** No clock is right that is before this program was written. */
const leastTimeMs = Date.UTC(2026, 0, 1);

/** Can the database be opened, does its schema fit, and do the master keys open the secrets in it? */
export async function checkDatabase(
  context: CliContext,
  loaded: Loaded,
  options: ConfigOption,
): Promise<DatabaseFindings> {
  const name = 'database';
  const { data, database } = loaded.config;
  const running = database === 'embedded' ? await askInstance(data).catch(() => undefined) : undefined;
  if (running === undefined && !(await hasDatabase(loaded.config))) {
    const check: Check = { name, state: 'ok', detail: 'the embedded one will be made at the first start' };
    return { check, running, apps: [], skewMs: undefined };
  }
  try {
    return await withStore(context, loaded, options, async ({ db, apps }) => {
      const beforeMs = Date.now();
      const { rows } = await db.pool.query<{ ms: string }>('select extract(epoch from clock_timestamp()) * 1000 as ms');
      const skewMs = Number(rows[0]?.ms) - (beforeMs + Date.now()) / 2;
      const stored = await apps.list();
      const where = running === undefined ? database : `embedded, of the running service (pid ${running.pid})`;
      const detail = `${database === 'embedded' ? where : 'external'}: reachable, schema fits, apps: ${stored.length}`;
      return { check: { name, state: 'ok', detail }, running, apps: stored.map(({ settings }) => settings), skewMs };
    });
  } catch (error) {
    return { check: { name, state: 'fail', detail: explain(error) }, running, apps: [], skewMs: undefined };
  }
}

/** Sessions and UserSigs live by the clock, and every process must agree on it. Pure. */
export function checkClock(nowMs: number, skewMs: number | undefined): Check {
  const name = 'clock';
  const remedy = 'set the clock, and keep it by NTP';
  const detail = new Date(nowMs).toISOString();
  if (nowMs < leastTimeMs) return { name, state: 'fail', detail: `${detail} is long past`, remedy };
  if (skewMs === undefined) return { name, state: 'ok', detail };
  const skewed = `${detail}, ${Math.round(Math.abs(skewMs))} ms ${skewMs > 0 ? 'behind' : 'ahead of'} the database`;
  if (Math.abs(skewMs) > badSkewMs) return { name, state: 'fail', detail: skewed, remedy };
  return Math.abs(skewMs) > goodSkewMs
    ? { name, state: 'warn', detail: skewed, remedy }
    : { name, state: 'ok', detail: skewed };
}
