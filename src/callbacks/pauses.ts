import { sql } from 'kysely';
import type { Logger, Metrics } from '../observe/index.ts';
import type { ControlBus, Database } from '../store/index.ts';
import type { CallbackCommand, SdkAppId } from '../wire/index.ts';

/** What of an app does not go out until it is resumed. Without command and URL: everything. */
export interface Pause {
  readonly sdkAppId: SdkAppId;
  readonly command?: CallbackCommand;
  /** `urlHash` of an endpoint's URL. */
  readonly urlHash?: string;
  /** `operator`, or `gone`: the backend answered 410. */
  readonly reason: 'operator' | 'gone';
  /** Who did it. */
  readonly actor: string;
  readonly sinceMs: number;
}

/** The pauses as this process knows them: a copy in memory, renewed within a second of each change on any process. */
export interface Pauses {
  /** The pause that holds up this command to this URL; undefined: none. Synchronous. */
  find(sdkAppId: SdkAppId, command: CallbackCommand, urlHash: string): Pause | undefined;
  list(sdkAppId?: SdkAppId): Pause[];
  /** Resolves once it is committed, and holds here. What is paused already stays as it is, but an operator's word replaces `gone`. */
  pause(pause: Omit<Pause, 'sinceMs'>): Promise<void>;
  /** Ends the pauses of the app that are exactly of that command and URL; without either, all of the app. Gives back how many. */
  resume(sdkAppId: SdkAppId, which?: { command?: CallbackCommand; urlHash?: string }): Promise<number>;
  /** Called after each change, here or elsewhere. */
  onChange(fn: (sdkAppIds: readonly SdkAppId[]) => void): () => void;
  close(): Promise<void>;
}

interface PauseRow {
  sdk_app_id: SdkAppId;
  command: string;
  url_hash: string;
  reason: Pause['reason'];
  actor: string;
  since_ms: number;
}

const keyOf = (command: string, urlHash: string): string => `${command} ${urlHash}`;

/**
 * Reads the pauses, then again when the control bus tells of a change or may have missed one, and every `rereadMs` besides.
 * While the database is away they stay as they were. Rejects when the first reading fails.
 */
export async function createPauses(
  deps: { db: Database; control: ControlBus; clock: () => number; logger: Logger; metrics: Metrics },
  { rereadMs = 30_000, retryMs = 1_000 }: { rereadMs?: number; retryMs?: number } = {},
): Promise<Pauses> {
  const { db, control, clock, logger, metrics } = deps;
  const inForce = metrics.gauge('qalgate_callbacks_pauses', 'Pauses of callbacks in force', ['reason']);
  const failures = metrics.counter(
    'qalgate_callbacks_pause_reads_failed_total',
    'Times that the pauses could not be read from the database',
  );
  const listeners = new Set<(sdkAppIds: readonly SdkAppId[]) => void>();
  let held = new Map<SdkAppId, Map<string, Pause>>();

  async function read(): Promise<void> {
    const { rows } = await db.pool.query<PauseRow>(
      'select * from callback_pause order by sdk_app_id, since_ms, command, url_hash',
    );
    const before = held;
    held = new Map();
    const counts = { operator: 0, gone: 0 };
    for (const row of rows) {
      counts[row.reason] += 1;
      const ofApp = held.get(row.sdk_app_id) ?? new Map<string, Pause>();
      held.set(row.sdk_app_id, ofApp.set(keyOf(row.command, row.url_hash), toPause(row)));
    }
    for (const reason of ['operator', 'gone'] as const) inForce.set({ reason }, counts[reason]);
    const changed = [...new Set([...before.keys(), ...held.keys()])].filter(
      (app) => textOf(before.get(app)) !== textOf(held.get(app)),
    );
    if (changed.length === 0) return;
    for (const fn of listeners) fn(changed);
  }

  let isWanted = false;
  let running: Promise<void> | undefined;
  let retry: NodeJS.Timeout | undefined;
  let isClosed = false;

  async function run(): Promise<void> {
    while (isWanted) {
      isWanted = false;
      try {
        await read();
      } catch (error) {
        if (isClosed) break;
        failures.inc();
        logger.error({ err: error }, 'callbacks.pauses.read.failed');
        clearTimeout(retry);
        retry = setTimeout(() => void refresh(), retryMs);
        retry.unref();
      }
    }
    // At the last look at what is wanted: whoever asks from now on starts another run.
    running = undefined;
  }

  /** Resolves when this process has what was committed before the call, or could not read it. */
  function refresh(): Promise<void> {
    if (isClosed) return Promise.resolve();
    isWanted = true;
    running ??= run();
    return running;
  }

  await read();
  const stops = [
    control.subscribe('callbacks', () => void refresh()),
    // An app that is deleted takes its pauses with it.
    control.subscribe('apps', () => void (held.size > 0 && refresh())),
    control.onReconnect(() => void refresh()),
  ];
  const timer = setInterval(() => void refresh(), rereadMs);
  timer.unref();

  return {
    find(sdkAppId, command, urlHash) {
      const pauses = held.get(sdkAppId);
      if (pauses === undefined) return undefined;
      return (
        pauses.get(keyOf('', '')) ??
        pauses.get(keyOf(command, '')) ??
        pauses.get(keyOf('', urlHash)) ??
        pauses.get(keyOf(command, urlHash))
      );
    },

    list(sdkAppId) {
      const ofApps = sdkAppId === undefined ? [...held.values()] : [held.get(sdkAppId)];
      return ofApps.flatMap((pauses) => [...(pauses?.values() ?? [])]);
    },

    async pause({ sdkAppId, command = '', urlHash = '', reason, actor }) {
      await db.kysely.transaction().execute(async (trx) => {
        await sql`
          insert into callback_pause as p (sdk_app_id, command, url_hash, reason, actor, since_ms)
          values (${sdkAppId}, ${command}, ${urlHash}, ${reason}, ${actor}, ${Math.trunc(clock())})
          on conflict (sdk_app_id, command, url_hash) do update
          set reason = excluded.reason, actor = excluded.actor, since_ms = excluded.since_ms
          where p.reason = 'gone' and excluded.reason = 'operator'`.execute(trx);
        await control.publish('callbacks', { sdkAppId }, trx);
      });
      logger.info({ sdkAppId, command, urlHash, reason, actor }, 'callbacks.paused');
      await refresh();
    },

    async resume(sdkAppId, { command, urlHash } = {}) {
      const isAll = command === undefined && urlHash === undefined;
      const ended = await db.kysely.transaction().execute(async (trx) => {
        const { numAffectedRows = 0n } = await sql`
          delete from callback_pause where sdk_app_id = ${sdkAppId}
          and (${isAll} or (command = ${command ?? ''} and url_hash = ${urlHash ?? ''}))`.execute(trx);
        await control.publish('callbacks', { sdkAppId }, trx);
        return Number(numAffectedRows);
      });
      logger.info({ sdkAppId, command, urlHash, ended }, 'callbacks.resumed');
      await refresh();
      return ended;
    },

    onChange(fn) {
      listeners.add(fn);
      return () => listeners.delete(fn);
    },

    async close() {
      isClosed = true;
      isWanted = false;
      clearInterval(timer);
      clearTimeout(retry);
      for (const stop of stops) stop();
      await running;
    },
  };
}

function toPause({
  sdk_app_id: sdkAppId,
  command,
  url_hash: urlHash,
  reason,
  actor,
  since_ms: sinceMs,
}: PauseRow): Pause {
  return {
    sdkAppId,
    // What an older release does not know matches nothing here.
    ...(command === '' ? {} : { command: command as CallbackCommand }),
    ...(urlHash === '' ? {} : { urlHash }),
    reason,
    actor,
    sinceMs,
  };
}

function textOf(pauses: ReadonlyMap<string, Pause> | undefined): string {
  return JSON.stringify([...(pauses?.values() ?? [])]);
}
