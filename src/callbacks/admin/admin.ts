import { type RawBuilder, sql } from 'kysely';
import type { Logger } from '../../observe/index.ts';
import { type AppSettings, type ControlBus, callbackSecrets, type Database, type Result } from '../../store/index.ts';
import { type AfterCommand, type CallbackCommand, callbackCommands } from '../../wire/index.ts';
import type { Circuit as BeforeCircuit } from '../before/before-calls.ts';
import { endpointOf, endpointsOf, urlHash } from '../endpoint/endpoint.ts';
import { formatCursor } from '../explain/cursor.ts';
import { createEpoch } from '../explain/epoch.ts';
import { type EventRow, eventColumns, eventRank, scanEvents, toEvents } from '../explain/events.ts';
import { createExplain, type Explain, type Explained } from '../explain/explain.ts';
import type { EventName } from '../explain/fields.ts';
import { readLetters } from '../explain/letters.ts';
import { drainKeyIs, findPlaces } from '../explain/places.ts';
import type { EventFilter, ListQuery } from '../explain/queries.ts';
import { readRelay, whyWaiting } from '../explain/waiting.ts';
import { timeText } from '../explain/words.ts';
import { keyFingerprint } from '../key-fingerprint.ts';
import type { Pause, Pauses } from '../pauses.ts';
import type { Circuit } from '../relay/gate.ts';
import { createChanges, type Dropped, type Retried } from './changes.ts';
import type { DropOrder, PauseOrder, ReplayOrder, Selection } from './orders.ts';
import { createReplayOrders, type ReplayAnswer, type ReplayView } from './replay-orders.ts';
import {
  type AttemptView,
  type EventView,
  type LetterView,
  viewAttempt,
  viewEvent,
  viewLetter,
  withoutQuery,
} from './views.ts';

/** What operators see and do of an app's callbacks (O2, O3). Whoever calls it has found the app, and may do this. */
export interface CallbackAdmin extends Explain {
  /** Settings, keys, what waits, what is stopped and why, at a glance. */
  summary(app: AppSettings): Promise<Summary>;
  /** Events of a time range, the newest first; those that wait, the oldest first. */
  list(app: AppSettings, query: ListQuery): Promise<{ events: EventView[]; next: string | undefined }>;
  /** Dead letters, the newest first, without their content. */
  letters(app: AppSettings, query: ListQuery): Promise<{ letters: LetterView[]; next: string | undefined }>;
  /** One event with its attempts, its chain and its dead letter, if it is one; undefined: nothing is known of it. */
  show(app: AppSettings, event: EventName): Promise<Shown | undefined>;
  /** The dead letter of an event, with its content. */
  letter(app: AppSettings, event: EventName): Promise<LetterView | undefined>;
  /** Begins to send events again, or counts them only. */
  replay(app: AppSettings, order: ReplayOrder, actor: string): Promise<Result<ReplayAnswer>>;
  replays(app: AppSettings): Promise<ReplayView[]>;
  /** Ends a replay; what it has sent again stays. NOT_FOUND: there is none of that number that runs. */
  cancel(app: AppSettings, replayId: number): Promise<Result>;
  /** Gives up what waits, and removes dead letters: so many as fit into a few seconds. */
  drop(app: AppSettings, order: DropOrder, actor: string): Promise<Dropped>;
  /** Has events that wait for their next attempt tried now. */
  retry(app: AppSettings, selection: Selection): Promise<Retried>;
  pause(app: AppSettings, order: PauseOrder, actor: string): Promise<PauseView[]>;
  /** Gives back how many pauses ended, and those of the app that still hold. */
  resume(app: AppSettings, order: PauseOrder): Promise<{ resumed: number; pauses: PauseView[] }>;
}

export interface AdminDeps {
  db: Pick<Database, 'kysely'>;
  control: Pick<ControlBus, 'publish'>;
  pauses: Pauses;
  clock: () => number;
  logger: Logger;
  /** What this process knows of endpoints, if it asks or sends. */
  circuits?: () => { after: readonly Circuit[]; before: readonly BeforeCircuit[] };
}

export interface Shown {
  readonly event: EventView | undefined;
  readonly log: readonly AttemptView[];
  readonly letter: LetterView | undefined;
  readonly explained: Explained;
}

export interface Summary {
  readonly endpoints: readonly { id: string; url: string; urlHash: string; commands: readonly CallbackCommand[] }[];
  /** Keys that sign, the newest first; and others that signed lately. */
  readonly keys: readonly { fingerprint: string; isCurrent: boolean; lastUsedAt: string | null }[];
  readonly waiting: readonly { command: string; count: number; oldestAt: string }[];
  readonly oldestWaitingAt: string | null;
  readonly deadLetters: { readonly count: number; readonly newestAt: string | null };
  readonly pauses: readonly PauseView[];
  /** Null: this process does not know. */
  readonly circuits: readonly CircuitView[] | null;
  readonly relay: { readonly isRunning: boolean; readonly seenAt: string | null };
  readonly replaysRunning: number;
}

export interface PauseView {
  readonly command: CallbackCommand | null;
  readonly urlHash: string | null;
  readonly reason: Pause['reason'];
  readonly actor: string;
  readonly since: string;
}

export interface CircuitView {
  readonly endpointId: string;
  /** `before`: of questions; `after`: of what is told. */
  readonly of: 'before' | 'after';
  readonly state: string;
  readonly inFlight?: number;
  readonly parkedLanes?: number;
  readonly lastSuccessAt?: string;
}

const scanMs = 3_000;
/** Keys that are not in use any more are shown for so long. */
const oldKeyMs = 90 * 86_400_000;

export function createAdmin(deps: AdminDeps): CallbackAdmin {
  const { control, pauses, clock, logger, circuits } = deps;
  const db = deps.db.kysely;
  const epoch = createEpoch(db);
  const openCircuits = (): ReadonlySet<string> =>
    new Set(circuits?.().after.flatMap(({ state, endpointId }) => (state === 'closed' ? [] : endpointId)) ?? []);
  const waitingDeps = { db, pauses, clock, openCircuits };
  const { explain } = createExplain({ db: deps.db, pauses, clock, openCircuits });
  const changes = createChanges({ db, epoch, control, clock, logger });
  const replayOrders = createReplayOrders({ db, epoch, clock, logger });

  async function viewEvents(app: AppSettings, rows: readonly EventRow[]): Promise<EventView[]> {
    const events = await toEvents(db, rows);
    const waiting = events.filter(({ state }) => state === 'waiting');
    const [cb, reasons] = await Promise.all([epoch.read(), whyWaiting(waitingDeps, app, waiting)]);
    const waits = new Map(waiting.map(({ id }, index) => [id, reasons[index] ?? []]));
    return events.map((event) => viewEvent(event, `cb_${cb}_${event.originId}`, waits.get(event.id)));
  }

  async function conditionOf(app: AppSettings, filter: EventFilter): Promise<RawBuilder<unknown> | undefined> {
    const key = drainKeyIs(sql`o.drain_key`, filter, await findPlaces(db, app.sdkAppId, filter));
    if (key === undefined) return undefined;
    return filter.command === undefined ? key : sql`${key} and o.event = ${filter.command}`;
  }

  /** The oldest first: among the few entries that wait, by an index of these alone. */
  async function listWaiting(app: AppSettings, { range, page }: ListQuery, where: RawBuilder<unknown>) {
    const [afterId = 0] = page.after?.ids ?? [];
    // By the sum, as the index of ids leads through all that are done.
    const { rows } = await sql<EventRow>`
      select ${eventColumns} from outbox o
      where o.consumer = 1 and o.done_ms is null and o.sdk_app_id = ${app.sdkAppId} and o.id > ${afterId}
        and o.created_ms between ${range.sinceMs} and ${range.untilMs} and ${where}
      order by o.id + 0 limit ${page.limit + 1}`.execute(db);
    return rows;
  }

  async function list(app: AppSettings, query: ListQuery) {
    const { filter, state, range, page } = query;
    const where = await conditionOf(app, filter);
    if (where === undefined) return { events: [], next: undefined };
    if (state === 'waiting') {
      const rows = await listWaiting(app, query, where);
      const shown = rows.slice(0, page.limit);
      const last = rows.length > page.limit ? shown.at(-1) : undefined;
      return {
        events: await viewEvents(app, shown),
        next: last === undefined ? undefined : formatCursor({ atMs: 0, rank: eventRank, ids: [last.id] }),
      };
    }
    const { rows, throughMs } = await scanEvents(db, {
      sdkAppId: app.sdkAppId,
      range,
      after: page.after,
      where: state === undefined ? where : sql`${where} and o.outcome = ${state}`,
      limit: page.limit + 1,
      deadline: performance.now() + scanMs,
    });
    const shown = rows.slice(0, page.limit);
    const last = rows.length > page.limit ? shown.at(-1) : undefined;
    const next =
      last !== undefined
        ? formatCursor({ atMs: last.created_ms, rank: eventRank, ids: [last.id] })
        : throughMs > range.sinceMs
          ? formatCursor({ atMs: throughMs - 1, rank: 0, ids: [] })
          : undefined;
    return { events: await viewEvents(app, shown), next };
  }

  async function letters(app: AppSettings, { filter, range, page }: ListQuery) {
    const key = drainKeyIs(sql`d.drain_key`, filter, await findPlaces(db, app.sdkAppId, filter));
    if (key === undefined) return { letters: [], next: undefined };
    const [beforeNo = Number.MAX_SAFE_INTEGER] = page.after?.ids ?? [];
    const [found, cb] = await Promise.all([
      readLetters(
        db,
        app.sdkAppId,
        sql`${key} and d.id < ${beforeNo} and d.died_ms between ${range.sinceMs} and ${range.untilMs}
          and ${filter.command === undefined ? sql`true` : sql`d.command = ${filter.command}`}`,
        page.limit + 1,
      ),
      epoch.read(),
    ]);
    const shown = found.slice(0, page.limit);
    const last = found.length > page.limit ? shown.at(-1) : undefined;
    return {
      letters: shown.map((one) => viewLetter(one, `cb_${cb}_${one.originId}`, false)),
      next: last === undefined ? undefined : formatCursor({ atMs: 0, rank: eventRank, ids: [last.no] }),
    };
  }

  async function letter(app: AppSettings, event: EventName): Promise<LetterView | undefined> {
    if (!(await epoch.isOurs(event))) return undefined;
    const { id } = event;
    const [[found], cb] = await Promise.all([
      // It may be that of a later entry, by which the event was sent again.
      readLetters(db, app.sdkAppId, sql`(d.outbox_id = ${id} or d.origin_id = ${id})`, 1),
      epoch.read(),
    ]);
    return found === undefined ? undefined : viewLetter(found, `cb_${cb}_${found.originId}`, true);
  }

  async function show(app: AppSettings, name: EventName): Promise<Shown | undefined> {
    if (!(await epoch.isOurs(name))) return undefined;
    const { id } = name;
    const { rows } = await sql<EventRow>`
      select ${eventColumns} from outbox o where o.id = ${id} and o.sdk_app_id = ${app.sdkAppId} and o.consumer = 1`.execute(
      db,
    );
    const [dead, events, explained] = await Promise.all([
      letter(app, name),
      viewEvents(app, rows),
      explain(app, { by: 'event', event: name }),
    ]);
    if (rows.length === 0 && dead === undefined && explained.explanations.length === 0) return undefined;
    const [event] = await toEvents(db, rows);
    return { event: events[0], log: (event?.log ?? []).map(viewAttempt), letter: dead, explained };
  }

  const viewPauses = (app: AppSettings): PauseView[] =>
    pauses.list(app.sdkAppId).map(({ command = null, urlHash: hash = null, reason, actor, sinceMs }) => ({
      command,
      urlHash: hash,
      reason,
      actor,
      since: timeText(sinceMs),
    }));

  function viewCircuits(app: AppSettings): CircuitView[] | null {
    const known = circuits?.();
    if (known === undefined) return null;
    const endpoints = endpointsOf(app);
    return [
      ...known.before
        .filter(({ endpointId }) => endpoints.has(endpointId))
        .map(({ endpointId, state }): CircuitView => ({ endpointId, of: 'before', state })),
      ...known.after
        .filter(({ endpointId }) => endpoints.has(endpointId))
        .map(
          ({ endpointId, state, inFlight, parkedLanes, lastSuccessMs }): CircuitView => ({
            endpointId,
            of: 'after',
            state,
            inFlight,
            parkedLanes,
            ...(lastSuccessMs === undefined ? {} : { lastSuccessAt: timeText(lastSuccessMs) }),
          }),
        ),
    ];
  }

  async function readKeys(app: AppSettings): Promise<Summary['keys']> {
    const { rows } = await sql<{ fingerprint: string; last_used_ms: number }>`
      select fingerprint, last_used_ms from callback_key_use
      where sdk_app_id = ${app.sdkAppId} order by last_used_ms desc limit 100`.execute(db);
    const used = new Map(rows.map((row) => [row.fingerprint, row.last_used_ms]));
    const current = callbackSecrets(app).map(keyFingerprint);
    const old = rows.filter((row) => !current.includes(row.fingerprint) && row.last_used_ms > clock() - oldKeyMs);
    const view = (fingerprint: string, isCurrent: boolean) => {
      const usedMs = used.get(fingerprint);
      return { fingerprint, isCurrent, lastUsedAt: usedMs === undefined ? null : timeText(usedMs) };
    };
    return [...current.map((one) => view(one, true)), ...old.map((row) => view(row.fingerprint, false))];
  }

  async function summary(app: AppSettings): Promise<Summary> {
    const { sdkAppId } = app;
    const [keys, backlog, dead, running, relay] = await Promise.all([
      readKeys(app),
      sql<{ event: AfterCommand; count: number; oldest_ms: number }>`
        select event, count(*) as count, min(created_ms) as oldest_ms from outbox
        where consumer = 1 and done_ms is null and sdk_app_id = ${sdkAppId} group by event order by event`.execute(db),
      sql<{ count: number; newest_ms: number | null }>`
        select count(*) as count, max(died_ms) as newest_ms from dead_letter where sdk_app_id = ${sdkAppId}`.execute(
        db,
      ),
      sql<{ count: number }>`
        select count(*) as count from callback_replay where sdk_app_id = ${sdkAppId} and state = 'running'`.execute(db),
      readRelay(db),
    ]);
    const oldestMs = Math.min(...backlog.rows.map((row) => row.oldest_ms));
    const [letters] = dead.rows;
    return {
      endpoints: [...endpointsOf(app).values()].map(({ id, url }) => ({
        id,
        url: withoutQuery(url),
        urlHash: urlHash(url),
        commands: callbackCommands.filter((command) => endpointOf(app, command)?.id === id),
      })),
      keys,
      waiting: backlog.rows.map((row) => ({
        command: row.event,
        count: row.count,
        oldestAt: timeText(row.oldest_ms),
      })),
      oldestWaitingAt: Number.isFinite(oldestMs) ? timeText(oldestMs) : null,
      deadLetters: {
        count: letters?.count ?? 0,
        newestAt: letters === undefined || letters.newest_ms === null ? null : timeText(letters.newest_ms),
      },
      pauses: viewPauses(app),
      circuits: viewCircuits(app),
      relay: { isRunning: relay.isAlive, seenAt: relay.seenMs === undefined ? null : timeText(relay.seenMs) },
      replaysRunning: running.rows[0]?.count ?? 0,
    };
  }

  return {
    explain,
    summary,
    list,
    letters,
    letter,
    show,
    replay: replayOrders.start,
    replays: replayOrders.list,
    cancel: replayOrders.cancel,
    drop: changes.drop,
    retry: changes.retry,

    async pause(app, order, actor) {
      await pauses.pause({ sdkAppId: app.sdkAppId, ...order, reason: 'operator', actor });
      return viewPauses(app);
    },

    async resume(app, order) {
      const resumed = await pauses.resume(app.sdkAppId, order);
      return { resumed, pauses: viewPauses(app) };
    },
  };
}
