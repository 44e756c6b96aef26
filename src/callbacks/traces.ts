import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { Logger, Metrics } from '../observe/index.ts';
import type { Database } from '../store/index.ts';
import type { CallbackCommand, SdkAppId } from '../wire/index.ts';

/** Something that explain has to know and that no message or outbox entry remembers. */
export interface Trace {
  readonly sdkAppId: SdkAppId;
  readonly atMs: number;
  readonly command: CallbackCommand;
  /** An outcome of a before-call, or why an action caused no callback: a word of a fixed set. */
  readonly outcome: string;
  /** For people, no content of messages: `HTTP 503`, `no answer within 2000 ms`, `code 120001`. */
  readonly detail?: string;
  readonly tookMs?: number;
  readonly url?: string;
  readonly from?: string;
  readonly to?: string;
  readonly groupId?: string;
  readonly messageKey?: string;
  readonly webhookId?: string;
}

export interface Traces {
  /** Written down within a second, in batches; bounded: what is too much is counted and left out. Never throws. */
  write(trace: Trace): void;
  close(): Promise<void>;
}

export interface TracesOptions {
  /** Pause before what has come is written, so that it goes many at a time. */
  flushMs?: number;
  /** Pause after a write that failed. */
  retryMs?: number;
  /** Traces in memory that are not written yet, at most. */
  maxWaiting?: number;
  /** Traces of an app that are kept, about a tenth more between two trims. */
  kept?: number;
  /** How long closing may still write. */
  closeMs?: number;
}

const maxBatch = 500;
const maxApps = 20_000;
const columns = [
  'sdk_app_id',
  'at_ms',
  'command',
  'outcome',
  'detail',
  'took_ms',
  'url',
  'from_account',
  'to_account',
  'group_id',
  'message_key',
  'webhook_id',
] as const;

export function createTraces(
  { db, logger, metrics }: { db: Pick<Database, 'pool'>; logger: Logger; metrics: Metrics },
  { flushMs = 250, retryMs = 1_000, maxWaiting = 10_000, kept = 10_000, closeMs = 2_000 }: TracesOptions = {},
): Traces {
  const lost = metrics.counter('qalgate_callbacks_traces_lost_total', 'Traces for explain that were not written down');
  const waiting: Trace[] = [];
  metrics.gaugeOf(
    'qalgate_callbacks_traces_waiting',
    'Traces for explain that wait to be written down',
    () => waiting.length,
  );
  const stop = new AbortController();
  /** Traces of an app that were written since it was last trimmed. */
  const sinceTrim = new Map<SdkAppId, number>();
  const trimEvery = Math.max(1, Math.ceil(kept / 10));
  let isAway = false;
  let running: Promise<void> | undefined;

  const pause = (ms: number) => delay(ms, undefined, { signal: stop.signal, ref: false }).catch(() => {});

  /** Until nothing waits; a batch that the database did not take is tried again, and waits in the queue meanwhile. */
  async function run(): Promise<void> {
    await pause(flushMs);
    while (waiting.length > 0 && !stop.signal.aborted) {
      if (!(await writeBatch())) await pause(retryMs);
      else if (waiting.length < maxBatch) await pause(flushMs);
    }
    running = undefined;
  }

  async function writeBatch(): Promise<boolean> {
    const batch = waiting.slice(0, maxBatch);
    try {
      await insert(batch);
      isAway = false;
    } catch (error) {
      // One of them is what no table takes: the others must not wait behind it for ever.
      const isRefused = error instanceof pg.DatabaseError && /^2[23]/.test(error.code ?? '');
      if (!isAway || isRefused) logger.error({ err: error, traces: batch.length }, 'callbacks.traces.write.failed');
      isAway = !isRefused;
      if (!isRefused) return false;
      lost.inc(batch.length);
    }
    waiting.splice(0, batch.length);
    await trim(batch);
    return true;
  }

  async function insert(batch: readonly Trace[]): Promise<void> {
    const rows = batch.map((trace) => [
      trace.sdkAppId,
      Math.trunc(trace.atMs),
      trace.command,
      textFor(trace.outcome, 40),
      textFor(trace.detail, 500),
      trace.tookMs === undefined ? null : Math.min(Math.max(Math.round(trace.tookMs), 0), 2_147_483_647),
      textFor(trace.url, 2_000),
      textFor(trace.from, 200),
      textFor(trace.to, 200),
      textFor(trace.groupId, 200),
      textFor(trace.messageKey, 100),
      textFor(trace.webhookId, 100),
    ]);
    await db.pool.query({
      name: 'callback_traces',
      text: `
        insert into callback_trace (${columns.join(', ')})
        select * from unnest(
          $1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::text[], $8::text[], $9::text[],
          $10::text[], $11::text[], $12::text[]
        )`,
      values: columns.map((_, column) => rows.map((row) => row[column])),
    });
  }

  /** Keeps the newest ones of each app: at the first write of this process, then once in a tenth of what is kept. */
  async function trim(batch: readonly Trace[]): Promise<void> {
    // Where an app's entry is lost it is only trimmed too early.
    if (sinceTrim.size > maxApps) sinceTrim.clear();
    const counts = new Map<SdkAppId, number>();
    for (const { sdkAppId } of batch) counts.set(sdkAppId, (counts.get(sdkAppId) ?? 0) + 1);
    for (const [sdkAppId, count] of counts) {
      const written = (sinceTrim.get(sdkAppId) ?? trimEvery) + count;
      sinceTrim.set(sdkAppId, written < trimEvery ? written : 0);
      if (written < trimEvery) continue;
      try {
        await db.pool.query(
          `delete from callback_trace where sdk_app_id = $1 and id <= (
             select id from callback_trace where sdk_app_id = $1 order by id desc offset $2 limit 1)`,
          [sdkAppId, kept],
        );
      } catch (error) {
        logger.warn({ err: error, sdkAppId }, 'callbacks.traces.trim.failed');
      }
    }
  }

  return {
    write(trace) {
      if (waiting.length >= maxWaiting || stop.signal.aborted) {
        lost.inc();
        return;
      }
      waiting.push(trace);
      running ??= run();
    },

    async close() {
      if (stop.signal.aborted) return;
      stop.abort();
      const rest = async () => {
        await running;
        while (waiting.length > 0 && (await writeBatch()));
      };
      await Promise.race([rest(), delay(closeMs, undefined, { ref: false })]);
      lost.inc(waiting.length);
    },
  };
}

/** As the database takes it: cut, well-formed, without U+0000. */
function textFor(text: string | undefined, maxLength: number): string | null {
  return text === undefined ? null : text.slice(0, maxLength).toWellFormed().replaceAll('\0', '\uFFFD');
}
