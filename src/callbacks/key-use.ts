import type { Logger, Metrics } from '../observe/index.ts';
import type { Database } from '../store/index.ts';
import type { SdkAppId } from '../wire/index.ts';

/** When each key last signed a callback, so that an operator sees when an old one may go (K5). */
export interface KeyUse {
  /** A key has signed; costs a look into memory. `fingerprint`: as `keyFingerprint` makes it. Never throws. */
  note(sdkAppId: SdkAppId, fingerprint: string): void;
  close(): Promise<void>;
}

/** Keys in memory: of far more apps than there are. */
const maxKeys = 50_000;

/** Writes down at most once in `everyMs` that an app's key was used, of many at a time. */
export function createKeyUse(
  deps: { db: Pick<Database, 'pool'>; clock: () => number; logger: Logger; metrics: Metrics },
  { everyMs = 60_000, flushMs = 1_000 }: { everyMs?: number; flushMs?: number } = {},
): KeyUse {
  const { db, clock, logger, metrics } = deps;
  const failures = metrics.counter(
    'qalgate_callbacks_key_use_failures_total',
    'Times that the use of signing keys could not be written down',
  );
  /** When a use was last taken up, by app and fingerprint; the oldest first. */
  const taken = new Map<string, number>();
  const pending = new Map<string, { sdkAppId: SdkAppId; fingerprint: string; usedMs: number }>();
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> | undefined;
  let isClosed = false;

  async function write(): Promise<void> {
    const uses = [...pending.values()];
    pending.clear();
    if (uses.length === 0) return;
    try {
      await db.pool.query({
        name: 'callback_key_use',
        text: `
          insert into callback_key_use as k (sdk_app_id, fingerprint, last_used_ms)
          select * from unnest($1::bigint[], $2::text[], $3::bigint[]) as t(app, fingerprint, used) order by app, fingerprint
          on conflict (sdk_app_id, fingerprint) do update
          set last_used_ms = greatest(k.last_used_ms, excluded.last_used_ms)`,
        values: [
          uses.map(({ sdkAppId }) => sdkAppId),
          uses.map(({ fingerprint }) => fingerprint),
          uses.map(({ usedMs }) => usedMs),
        ],
      });
    } catch (error) {
      // The next use tries again.
      for (const { sdkAppId, fingerprint } of uses) taken.delete(`${sdkAppId} ${fingerprint}`);
      failures.inc();
      logger.warn({ err: error }, 'callbacks.key_use.write.failed');
    }
  }

  function flush(): Promise<void> {
    timer = undefined;
    writing = (writing ?? Promise.resolve()).then(write);
    return writing;
  }

  return {
    note(sdkAppId, fingerprint) {
      const key = `${sdkAppId} ${fingerprint}`;
      const nowMs = Math.trunc(clock());
      const lastMs = taken.get(key);
      if (isClosed || (lastMs !== undefined && Math.abs(nowMs - lastMs) < everyMs)) return;
      taken.delete(key);
      taken.set(key, nowMs);
      if (taken.size > maxKeys) taken.delete(taken.keys().next().value as string);
      pending.set(key, { sdkAppId, fingerprint, usedMs: nowMs });
      timer ??= setTimeout(() => void flush(), flushMs).unref();
    },

    async close() {
      isClosed = true;
      clearTimeout(timer);
      await flush();
    },
  };
}
