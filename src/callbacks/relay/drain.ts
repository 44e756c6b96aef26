import type { AppLookup, Clock } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { AppSettings } from '../../store/index.ts';
import { type AfterCommand, afterCommands, callbackFields } from '../../wire/index.ts';
import { type Endpoint, endpointOf, endpointsOf, urlHash } from '../endpoint/endpoint.ts';
import type { Poster, PostResult } from '../endpoint/poster.ts';
import type { Pauses } from '../pauses.ts';
import { bodyOf, statePlatform, type Told } from './bodies.ts';
import type { Gate } from './gate.ts';
import { type Lane, laneId } from './lane.ts';
import { type Attempt, type Burial, type Entry, type Outbox, pageRows, withAttempt } from './outbox.ts';
import type { RunResult } from './queue.ts';
import { judge, retryDelayMs } from './retry.ts';

export interface DrainDeps {
  apps: AppLookup;
  outbox: Outbox;
  poster: Poster;
  gate: Gate;
  pauses: Pauses;
  /** `cb_…` of an entry. */
  webhookId(entry: Pick<Entry, 'id' | 'originId'>): string;
  /** Has lanes run at once. */
  wake(lanes: readonly Lane[]): void;
  clock: Clock;
  /** 0 … 1. */
  random: () => number;
  logger: Logger;
  metrics: Metrics;
}

export interface DrainOptions {
  /** How long a head may fail while others of its endpoint succeed; default 15 min. */
  readonly parkAfterMs?: number;
}

/** Where a lane leads at the moment. */
interface Target {
  readonly app: AppSettings;
  readonly endpoint: Endpoint;
  readonly commands: readonly AfterCommand[];
}

const whenWoken: RunResult = { again: 'when-woken' };
const after = (delayMs: number): RunResult => ({ again: 'after', delayMs: Math.max(1, Math.round(delayMs)) });
/** Pages that a run sends before it lets other lanes go first. */
const maxPages = 4;
/** Accounts whose last told state change is remembered, for the pause between two. */
const maxDebounced = 50_000;

/**
 * Runs one lane: sends its entries one after another, in order, until there are none, one fails, or it is another lane's turn (DESIGN
 * §7). What was delivered is marked while the next is under way, and everything is marked before the run ends: a crash in between
 * repeats some, in order, under the same ids (K6).
 */
export function createDrain(deps: DrainDeps, { parkAfterMs = 15 * 60_000 }: DrainOptions = {}) {
  const { apps, outbox, poster, gate, pauses, webhookId, wake, clock, random, logger, metrics } = deps;
  const deliveries = metrics.counter('qalgate_callbacks_after_total', 'After-callbacks by command and outcome', [
    'command',
    'outcome',
  ]);
  const failures = metrics.counter('qalgate_callbacks_attempts_failed_total', 'Failed attempts by what came', [
    'reason',
  ]);
  const durations = metrics.histogram(
    'qalgate_callbacks_after_seconds',
    'Time of an attempt',
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  );
  const lags = metrics.histogram(
    'qalgate_callbacks_after_lag_seconds',
    'From the event to its delivery',
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60, 300, 3_600, 86_400],
  );
  /** When the last state change of an account was told. Process-wide: another process knows nothing of it and may tell one more. */
  const lastToldMs = new Map<string, number>();

  function targetOf(lane: Lane): Target | undefined {
    const app = apps.get(lane.sdkAppId);
    const endpoint = app === undefined ? undefined : endpointsOf(app).get(lane.endpointId);
    if (app === undefined || endpoint === undefined) return undefined;
    const commands = afterCommands.filter(
      (command) =>
        endpointOf(app, command)?.id === endpoint.id &&
        pauses.find(app.sdkAppId, command, urlHash(endpoint.url)) === undefined,
    );
    return { app, endpoint, commands };
  }

  /** A lane whose URL has been changed: what waits goes to the new one. */
  function redirect(lane: Lane): void {
    const app = apps.get(lane.sdkAppId);
    if (app === undefined) return;
    wake([...endpointsOf(app).keys()].map((endpointId) => ({ ...lane, endpointId })));
  }

  async function run(lane: Lane, signal: AbortSignal): Promise<RunResult> {
    const target = targetOf(lane);
    if (target === undefined) {
      redirect(lane);
      return whenWoken;
    }
    // Switched off or paused: the sweep finds it when that ends.
    if (target.commands.length === 0) return whenWoken;
    const awayMs = gate.away(target.endpoint, lane);
    if (awayMs !== undefined) return after(awayMs);

    const marks: Promise<void>[] = [];
    try {
      for (let page = 0; page < maxPages; page++) {
        const entries = await outbox.read({
          sdkAppId: lane.sdkAppId,
          drainKey: lane.drainKey,
          commands: target.commands,
        });
        const result = await sendAll(lane, target, entries, marks, signal);
        await Promise.all(marks.splice(0));
        if (result !== undefined) return result;
        if (entries.length < pageRows) return whenWoken;
        // Settings may have changed under a long backlog.
        if (targetOf(lane)?.endpoint.url !== target.endpoint.url) return after(1);
      }
      return after(1);
    } finally {
      await Promise.allSettled(marks);
    }
  }

  /** Undefined: all of them are delivered. */
  async function sendAll(
    lane: Lane,
    target: Target,
    entries: readonly Entry[],
    marks: Promise<void>[],
    signal: AbortSignal,
  ): Promise<RunResult | undefined> {
    const states = await debounce(lane, target, entries);
    if ('again' in states) return states;
    for (const entry of states.entries) {
      if (entry.nextAttemptMs > clock() && !hasRecovered(target, entry)) return after(entry.nextAttemptMs - clock());
      const told = toldOf(target, entry);
      if (told === undefined) {
        // The message has expired under it. There is nothing to send any more, and the others go on.
        await bury({ entry, reason: 'content-gone', url: target.endpoint.url, requestBody: undefined, log: entry.log });
        continue;
      }
      const slot = await gate.enter(target.endpoint);
      if (slot === undefined) return after(gate.away(target.endpoint, lane) ?? 250 * (1 + random()));
      if (signal.aborted) {
        slot.release('alive');
        throw new Error('another worker may run this lane');
      }
      const result = await post(target, entry, told);
      const verdict = judge(result);
      slot.release(
        verdict.kind === 'delivered' ? 'delivered' : verdict.kind === 'again' && verdict.endpoint ? 'dead' : 'alive',
      );
      if (verdict.kind === 'delivered') {
        deliveries.inc({ command: entry.command, outcome: 'delivered' });
        lags.observe(Math.max(0, clock() - entry.createdMs) / 1_000);
        if (entry.command === 'State.StateChange') remember(lane, clock());
        const mark = outbox.delivered(entry, { status: verdict.status, tookMs: result.tookMs });
        // Heard of at the end of the run; until then it is nobody's.
        mark.catch(() => {});
        marks.push(mark);
        continue;
      }
      await Promise.all(marks.splice(0));
      const next = await fail(target, entry, told, result, verdict);
      if (next !== undefined) return next;
    }
    return undefined;
  }

  /** Whether an entry that waits for its time may go now all the same: its endpoint was dead, and answers again. */
  function hasRecovered({ endpoint }: Target, { log }: Entry): boolean {
    const last = log.at(-1);
    return last !== undefined && gate.recoveredMs(endpoint.id) > last.atMs;
  }

  function toldOf({ app }: Target, entry: Entry): Told | undefined {
    try {
      return bodyOf(entry, app.callbacks);
    } catch (error) {
      logger.error({ err: error, entry: entry.id, command: entry.command }, 'callbacks.entry.malformed');
      return undefined;
    }
  }

  async function post(target: Target, entry: Entry, told: Told): Promise<PostResult> {
    const { endpoint } = target;
    const result = await poster.post(
      {
        endpoint,
        command: entry.command,
        webhookId: webhookId(entry),
        origin: told.origin,
        body: told.body,
        ...fieldsOf(entry),
      },
      { deadline: performance.now() + endpoint.timeoutMs, answer: 'status' },
    );
    durations.observe(result.tookMs / 1_000);
    return result;
  }

  function fieldsOf({ gap, originId }: Entry): { fields?: Record<string, string> } {
    if (gap === null && originId === null) return {};
    return {
      fields: {
        ...(gap === null
          ? {}
          : {
              [callbackFields.gap]: gap
                .split(',')
                .filter((id) => /^[0-9]+$/.test(id))
                .map((id) => webhookId({ id: Number(id), originId: null }))
                .join(','),
            }),
        ...(originId === null ? {} : { [callbackFields.replay]: 'true' }),
      },
    };
  }

  /** Undefined: the entry is given up, and those behind it go on. */
  async function fail(
    target: Target,
    entry: Entry,
    told: Told,
    result: PostResult,
    verdict: Exclude<ReturnType<typeof judge>, { kind: 'delivered' }>,
  ): Promise<RunResult | undefined> {
    const { app, endpoint } = target;
    const now = clock();
    const attempt = attemptOf(result, now);
    failures.inc({ reason: result.kind === 'failed' ? result.failure : String(result.status) });
    const log = withAttempt(entry.log, attempt);
    const burial = (reason: string): Burial => ({
      entry,
      reason,
      url: endpoint.url,
      requestBody: told.body,
      response: result.kind === 'answer' ? { status: result.status, text: storable(result.body) } : {},
      log,
    });

    if (verdict.kind === 'gone') {
      await outbox.failed(entry, attempt, 0);
      logger.error({ endpoint: endpoint.id, sdkAppId: app.sdkAppId }, 'callbacks.endpoint.gone');
      await pauses.pause({ sdkAppId: app.sdkAppId, urlHash: urlHash(endpoint.url), reason: 'gone', actor: 'backend' });
      return whenWoken;
    }
    if (verdict.kind === 'never') {
      await bury(burial(verdict.reason));
      return undefined;
    }
    if (!app.callbacks.retry) {
      await bury(burial('retry-off'));
      return undefined;
    }
    const firstMs = log[0]?.atMs ?? now;
    // Others got through since: it is this event that fails, and it has held up its lane for long enough.
    if (now - firstMs >= parkAfterMs && gate.lastSuccessMs(endpoint.id) > firstMs) {
      await bury(burial('failing-alone'));
      return undefined;
    }
    const delayMs = retryDelayMs(entry.attempts + 1, random(), verdict.afterMs);
    await outbox.failed(entry, attempt, now + delayMs);
    logger.debug(
      { endpoint: endpoint.id, entry: entry.id, attempt: entry.attempts + 1, delayMs },
      'callbacks.attempt.failed',
    );
    return after(delayMs);
  }

  async function bury(burial: Burial): Promise<void> {
    await outbox.bury([burial]);
    deliveries.inc({ command: burial.entry.command, outcome: 'dead' });
    logger.warn(
      { entry: burial.entry.id, command: burial.entry.command, reason: burial.reason, sdkAppId: burial.entry.sdkAppId },
      'callbacks.entry.buried',
    );
  }

  /**
   * State changes of an account keep a distance, so that a terminal which comes and goes does not flood its backend: of what happened
   * to a terminal since the last was told, only where it stands now is told (P3).
   */
  async function debounce(
    lane: Lane,
    { app }: Target,
    entries: readonly Entry[],
  ): Promise<{ entries: readonly Entry[] } | RunResult> {
    const pauseMs = app.callbacks.stateDebounceMs;
    if (entries[0]?.command !== 'State.StateChange' || pauseMs === 0) return { entries };
    const toldMs = lastToldMs.get(laneId(lane));
    if (toldMs === undefined) return { entries };
    const untilMs = toldMs + pauseMs;
    if (clock() < untilMs) return after(untilMs - clock());
    const last = new Map(entries.map((entry) => [statePlatform(entry), entry]));
    const superseded = entries.filter((entry) => entry.createdMs < untilMs && last.get(statePlatform(entry)) !== entry);
    if (superseded.length === 0) return { entries };
    await outbox.superseded(superseded);
    deliveries.inc({ command: 'State.StateChange', outcome: 'superseded' }, superseded.length);
    return { entries: entries.filter((entry) => !superseded.includes(entry)) };
  }

  function remember(lane: Lane, nowMs: number): void {
    const id = laneId(lane);
    lastToldMs.delete(id);
    lastToldMs.set(id, nowMs);
    if (lastToldMs.size <= maxDebounced) return;
    const [oldest] = lastToldMs.keys();
    if (oldest !== undefined) lastToldMs.delete(oldest);
  }

  return { run };
}

function attemptOf(result: PostResult, nowMs: number): Attempt {
  const tookMs = Math.round(result.tookMs * 10) / 10;
  return result.kind === 'answer'
    ? { atMs: nowMs, tookMs, status: result.status }
    : { atMs: nowMs, tookMs, failure: result.failure, detail: result.detail };
}

/** What PostgreSQL can store of a text that somebody else wrote. */
function storable(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\uFFFD');
}
