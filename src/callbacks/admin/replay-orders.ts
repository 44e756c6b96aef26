import { sql } from 'kysely';
import type { Logger } from '../../observe/index.ts';
import type { AppSettings, Refusal, Result } from '../../store/index.ts';
import type { CallbackCommand, SdkAppId } from '../../wire/index.ts';
import type { Epoch } from '../explain/epoch.ts';
import type { Db } from '../explain/events.ts';
import { timeText } from '../explain/words.ts';
import type { ReplayOrder, ReplaySource, Selection } from './orders.ts';
import { canBeSent, isLastDone, type ReplayFilter } from './replays.ts';
import { entryFits, letterFits, resolveSelection } from './selecting.ts';
import { refusalOfTooMuch } from './too-much.ts';

/** What a replay sends, or would send. */
export interface ReplayAnswer {
  readonly total: number;
  readonly byCommand: Readonly<Record<string, number>>;
  /** When the first and the last of them happened. */
  readonly oldestAt: string | null;
  readonly newestAt: string | null;
  /** Those that were begun: none by a preview, two where ids are of both sources. */
  readonly replays: readonly ReplayView[];
}

export interface ReplayView {
  readonly id: number;
  readonly source: ReplaySource;
  readonly filter: ReplayFilterView;
  readonly perSec: number;
  /** Counted when it began. */
  readonly total: number;
  readonly done: number;
  readonly state: 'running' | 'done' | 'cancelled';
  readonly actor: string;
  readonly createdAt: string;
  readonly finishedAt: string | null;
}

export interface ReplayFilterView {
  readonly ids?: readonly number[];
  readonly command?: CallbackCommand;
  readonly account?: string;
  readonly conversation?: readonly [string, string];
  readonly group?: string;
  readonly since?: string;
  readonly until?: string;
  readonly states?: readonly string[];
}

interface ReplayRow {
  id: number;
  source: ReplaySource;
  filter: string;
  per_sec: number;
  total: number;
  done: number;
  state: ReplayView['state'];
  actor: string;
  created_ms: number;
  finished_ms: number | null;
}

interface Count {
  readonly source: ReplaySource;
  readonly total: number;
  readonly byCommand: ReadonlyMap<string, number>;
  readonly minId: number;
  readonly maxId: number;
  readonly oldestMs: number;
  readonly newestMs: number;
}

/** Replays of one app that go on at once, and finished ones that are remembered. */
const maxRunning = 10;
const maxKept = 100;

/** Begins, lists and ends replays; `createReplays` carries them out. */
export function createReplayOrders({
  db,
  epoch,
  clock,
  logger,
}: {
  db: Db;
  epoch: Epoch;
  clock: () => number;
  logger: Logger;
}) {
  async function count(sdkAppId: SdkAppId, source: ReplaySource, filter: ReplayFilter): Promise<Count> {
    const entries = source === 'outbox' ? entryFits(filter) : undefined;
    const letters = source === 'dead' ? letterFits(filter) : undefined;
    const columns = sql`count(*) as count, min(id) as min_id, max(id) as max_id, min(created_ms) as oldest, max(created_ms) as newest`;
    const query =
      entries !== undefined
        ? sql`select event as command, ${columns} from outbox o where ${isLastDone(sdkAppId, filter)} and ${entries} group by event`
        : letters !== undefined
          ? sql`select command, ${columns} from dead_letter d where d.sdk_app_id = ${sdkAppId} and ${canBeSent} and ${letters} group by command`
          : undefined;
    const { rows } = query === undefined ? { rows: [] } : await (query as ReturnType<typeof sql<CountRow>>).execute(db);
    return {
      source,
      total: rows.reduce((sum, row) => sum + row.count, 0),
      byCommand: new Map(rows.map((row) => [row.command, row.count])),
      minId: Math.min(...rows.map((row) => row.min_id)),
      maxId: Math.max(...rows.map((row) => row.max_id)),
      oldestMs: Math.min(...rows.map((row) => row.oldest)),
      newestMs: Math.max(...rows.map((row) => row.newest)),
    };
  }

  async function begin(sdkAppId: SdkAppId, found: Count, filter: ReplayFilter, perSec: number, actor: string) {
    const { rows } = await sql<ReplayRow>`
      insert into callback_replay (
        sdk_app_id, source, filter, per_sec, total, cursor_id, through_id, state, actor, created_ms
      ) values (
        ${sdkAppId}, ${found.source}, ${JSON.stringify(filter)}, ${perSec}, ${found.total}, ${found.minId - 1}, ${found.maxId},
        'running', ${actor.slice(0, 100)}, ${Math.trunc(clock())}
      ) returning *`.execute(db);
    await sql`
      delete from callback_replay where sdk_app_id = ${sdkAppId} and state <> 'running' and id <= (
        select id from callback_replay where sdk_app_id = ${sdkAppId} order by id desc offset ${maxKept} limit 1
      )`.execute(db);
    return rows.map(viewReplay);
  }

  return {
    async start(app: AppSettings, order: ReplayOrder, actor: string): Promise<Result<ReplayAnswer>> {
      const { sdkAppId } = app;
      const { source, states, selection, perSec, preview } = order;
      const filter: ReplayFilter = { ...(await resolveSelection({ db, epoch }, sdkAppId, selection)), states };
      const counts: Count[] = [];
      try {
        for (const one of source === undefined ? (['dead', 'outbox'] as const) : [source]) {
          counts.push(await count(sdkAppId, one, filter));
        }
      } catch (error) {
        const tooMuch = refusalOfTooMuch(error);
        if (tooMuch !== undefined) return tooMuch;
        throw error;
      }
      const some = counts.filter(({ total }) => total > 0);
      const refusal = preview ? undefined : await refusalOf(sdkAppId, selection, some);
      if (refusal !== undefined) return refusal;
      const replays: ReplayView[] = [];
      if (!preview) {
        for (const one of some) replays.push(...(await begin(sdkAppId, one, filter, perSec, actor)));
        logger.info({ sdkAppId, actor, replays: replays.map(({ id }) => id) }, 'callbacks.replay.started');
      }
      const byCommand = new Map<string, number>();
      for (const one of some) {
        for (const [command, n] of one.byCommand) byCommand.set(command, (byCommand.get(command) ?? 0) + n);
      }
      return {
        ok: true,
        value: {
          total: some.reduce((sum, { total }) => sum + total, 0),
          byCommand: Object.fromEntries(byCommand),
          oldestAt: some.length === 0 ? null : timeText(Math.min(...some.map(({ oldestMs }) => oldestMs))),
          newestAt: some.length === 0 ? null : timeText(Math.max(...some.map(({ newestMs }) => newestMs))),
          replays,
        },
      };
    },

    async list({ sdkAppId }: AppSettings): Promise<ReplayView[]> {
      const { rows } = await sql<ReplayRow>`
        select * from callback_replay where sdk_app_id = ${sdkAppId} order by id desc limit ${maxKept}`.execute(db);
      return rows.map(viewReplay);
    },

    async cancel({ sdkAppId }: AppSettings, id: number): Promise<Result> {
      const { numAffectedRows = 0n } = await sql`
        update callback_replay set state = 'cancelled', finished_ms = ${Math.trunc(clock())}
        where sdk_app_id = ${sdkAppId} and id = ${id} and state = 'running'`.execute(db);
      if (numAffectedRows > 0n) return { ok: true, value: undefined };
      return { ok: false, code: 'NOT_FOUND', reason: `app ${sdkAppId} has no replay ${id} that is running` };
    },
  };

  async function refusalOf(
    sdkAppId: SdkAppId,
    { events }: Selection,
    some: readonly Count[],
  ): Promise<Refusal | undefined> {
    if (some.length === 0) {
      const reason = 'nothing that fits can be sent again';
      const allowed =
        'dead letters, or with source outbox events that were told; those that wait can be tried again at once (retry)';
      return { ok: false, code: 'INVALID_FIELD', ...(events === undefined ? {} : { field: 'ids' }), reason, allowed };
    }
    const { rows } = await sql<{ count: number }>`
      select count(*) as count from callback_replay where sdk_app_id = ${sdkAppId} and state = 'running'`.execute(db);
    if ((rows[0]?.count ?? 0) + some.length <= maxRunning) return undefined;
    const reason = `the app has ${rows[0]?.count} replays that are running`;
    return { ok: false, code: 'CONFLICT', reason, allowed: `at most ${maxRunning}; cancel one` };
  }
}

interface CountRow {
  command: string;
  count: number;
  min_id: number;
  max_id: number;
  oldest: number;
  newest: number;
}

function viewReplay(row: ReplayRow): ReplayView {
  const { selection, states } = JSON.parse(row.filter) as ReplayFilter;
  const { ids, filter, sinceMs, untilMs } = selection;
  return {
    id: row.id,
    source: row.source,
    filter: {
      ...(ids === undefined ? {} : { ids }),
      ...(filter.command === undefined ? {} : { command: filter.command }),
      ...(filter.account === undefined ? {} : { account: filter.account }),
      ...(filter.pair === undefined ? {} : { conversation: filter.pair }),
      ...(filter.groupId === undefined ? {} : { group: filter.groupId }),
      ...(sinceMs === undefined ? {} : { since: timeText(sinceMs) }),
      ...(untilMs === undefined ? {} : { until: timeText(untilMs) }),
      ...(row.source === 'outbox' ? { states } : {}),
    },
    perSec: row.per_sec,
    total: row.total,
    done: row.done,
    state: row.state,
    actor: row.actor,
    createdAt: timeText(row.created_ms),
    finishedAt: row.finished_ms === null ? null : timeText(row.finished_ms),
  };
}
