import type { AppLookup, Clock } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { AppSettings, RunResult } from '../../store/index.ts';
import { type AfterCommand, afterCommands, callbackFields } from '../../wire/index.ts';
import { type Endpoint, endpointOf, endpointsOf, urlHash } from '../endpoint/endpoint.ts';
import type { Poster, PostResult } from '../endpoint/poster.ts';
import type { Pauses } from '../pauses.ts';
import { bodyOf, statePlatform, type Told } from './bodies.ts';
import { type Attempt, type Entry, withAttempt, withGap } from './entry.ts';
import type { Gate } from './gate.ts';
import { type Lane, laneId } from './lane.ts';
import { type Burial, type Outbox, type Page, pageRows } from './outbox.ts';
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
  readonly urlHash: string;
  readonly commands: readonly AfterCommand[];
}

/** How far a page was sent: all of it, or what is left of it has to be read anew. */
type Sent = RunResult | 'all' | 'stale';

const whenWoken: RunResult = { again: 'when-woken' };
const after = (delayMs: number): RunResult => ({ again: 'after', delayMs: Math.max(1, Math.round(delayMs)) });
/** Pages that a run sends before it lets other lanes go first. */
const maxPages = 4;
/** Entries that a lane sends on while their marks are not written: where the database is away, as many are sent again. */
const maxUnmarked = 10;
/** How long a page may be sent from: entries may have been dropped since, or given up. */
const pageMs = 2_000;
/** Deliveries over which their age is averaged, roughly, and how long that says anything. */
const lagOf = 8;
const lagForMs = 5_000;
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
  const durations = metrics.plainHistogram(
    'qalgate_callbacks_after_seconds',
    'Time of an attempt',
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  );
  const lags = metrics.plainHistogram(
    'qalgate_callbacks_after_lag_seconds',
    'From the event to its delivery',
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60, 300, 3_600, 86_400],
  );
  /** When the last state change of an account was told. Process-wide: another process knows nothing of it and may tell one more. */
  const lastToldMs = new Map<string, number>();

  /** How old events of late were at their first attempt, and when that was last seen. */
  let lagMs = 0;
  let lagAtMs = Number.NEGATIVE_INFINITY;

  function noteLag({ createdMs, attempts, originId }: Entry): void {
    const nowMs = clock();
    const ageMs = Math.max(0, nowMs - createdMs);
    lags.observe(ageMs / 1_000);
    if (attempts > 0 || originId !== null) return;
    lagMs += (ageMs - lagMs) / lagOf;
    lagAtMs = nowMs;
  }

  function targetOf(lane: Lane): Target | undefined {
    const app = apps.get(lane.sdkAppId);
    const endpoint = app === undefined ? undefined : endpointsOf(app).get(lane.endpointId);
    if (app === undefined || endpoint === undefined) return undefined;
    const hash = urlHash(endpoint.url);
    const commands = afterCommands.filter(
      (command) =>
        endpointOf(app, command)?.id === endpoint.id && pauses.find(app.sdkAppId, command, hash) === undefined,
    );
    return { app, endpoint, urlHash: hash, commands };
  }

  /** Whether the entry still goes there, in that way: settings are replaced when they change. */
  function isCurrent({ app, urlHash }: Target, { command }: Entry): boolean {
    return apps.get(app.sdkAppId) === app && pauses.find(app.sdkAppId, command, urlHash) === undefined;
  }

  /** A lane whose URL has been changed: what waits goes to the new one. */
  function redirect(lane: Lane): void {
    const app = apps.get(lane.sdkAppId);
    if (app === undefined) return;
    wake([...endpointsOf(app).keys()].map((endpointId) => ({ ...lane, endpointId })));
  }

  async function run(lane: Lane, mustStop: () => boolean): Promise<RunResult> {
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
        const { sdkAppId, drainKey } = lane;
        const found = await outbox.read({ sdkAppId, drainKey, commands: target.commands });
        const sent = await sendAll(lane, target, found, marks, mustStop);
        await Promise.all(marks.splice(0));
        if (typeof sent === 'object') return sent;
        if (sent === 'all' && found.entries.length < pageRows) return whenWoken;
      }
      return after(1);
    } finally {
      await Promise.allSettled(marks);
    }
  }

  async function sendAll(
    lane: Lane,
    target: Target,
    page: Page,
    marks: Promise<void>[],
    mustStop: () => boolean,
  ): Promise<Sent> {
    const readMs = performance.now();
    const { entries, isWhole } = await debounce(lane, target, page.entries);
    let { gap } = page;
    for (const entry of entries) {
      // As it was when the run began, or the page was read: under a slow endpoint that may be a while ago.
      if (!isCurrent(target, entry)) return after(1);
      if (performance.now() - readMs > pageMs) return 'stale';
      if (entry.nextAttemptMs > clock() && !hasRecovered(target, entry)) return after(entry.nextAttemptMs - clock());
      const told = toldOf(target, entry);
      if (told === undefined) {
        // The message has expired under it. There is nothing to send any more, and the others go on.
        await bury({ entry, reason: 'content-gone', url: target.endpoint.url, requestBody: undefined, log: entry.log });
        gap = withGap(gap, entry);
        continue;
      }
      const slot = await gate.enter(target.endpoint);
      if (slot === undefined) return after(gate.away(target.endpoint, lane) ?? 250 * (1 + random()));
      if (mustStop()) {
        slot.release('unused');
        throw new Error('another worker may run this lane');
      }
      const result = await post(target, entry, told, gap);
      const verdict = judge(result);
      slot.release(
        verdict.kind === 'delivered' ? 'delivered' : verdict.kind === 'again' && verdict.endpoint ? 'dead' : 'alive',
      );
      if (verdict.kind === 'delivered') {
        deliveries.inc({ command: entry.command, outcome: 'delivered' });
        noteLag(entry);
        if (entry.command === 'State.StateChange') remember(lane, clock());
        const mark = outbox.delivered(entry, { status: verdict.status, tookMs: result.tookMs, gap });
        gap = undefined;
        // Heard of later in the run; until then it is nobody's.
        mark.catch(() => {});
        marks.push(mark);
        if (marks.length > maxUnmarked) await marks.shift();
        continue;
      }
      await Promise.all(marks.splice(0));
      const next = await fail(target, entry, told, result, verdict);
      if (next !== undefined) return next;
      gap = withGap(gap, entry);
    }
    return isWhole ? 'all' : after(pauseLeftMs(lane, target));
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

  async function post(target: Target, entry: Entry, told: Told, gap: string | undefined): Promise<PostResult> {
    const { endpoint } = target;
    const result = await poster.post(
      {
        endpoint,
        command: entry.command,
        webhookId: webhookId(entry),
        origin: told.origin,
        body: told.body,
        ...fieldsOf(entry, gap),
      },
      { deadline: performance.now() + endpoint.timeoutMs, answer: 'status' },
    );
    durations.observe(result.tookMs / 1_000);
    return result;
  }

  function fieldsOf({ originId }: Entry, gap: string | undefined): { fields?: Record<string, string> } {
    if (gap === undefined && originId === null) return {};
    return {
      fields: {
        ...(gap === undefined
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
      response: result.kind === 'answer' ? { status: result.status, text: result.body } : {},
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
   * State changes of an account keep a distance, so that a terminal which comes and goes does not flood its backend (P3). The first
   * is told at once, with what comes of other terminals right behind it. Of what happens to each terminal until the pause is over,
   * only where it stands then is told.
   */
  async function debounce(
    lane: Lane,
    target: Target,
    entries: readonly Entry[],
  ): Promise<{
    /** What may go now. */
    entries: readonly Entry[];
    /** Otherwise the others may when the pause is over. */
    isWhole: boolean;
  }> {
    // What is sent again is what somebody asked for.
    const isState = ({ command, originId }: Entry): boolean => command === 'State.StateChange' && originId === null;
    const states = target.app.callbacks.stateDebounceMs === 0 ? [] : entries.filter(isState);
    if (states.length === 0) return { entries, isWhole: true };
    const leftMs = pauseLeftMs(lane, target);
    if (leftMs > 0) return { entries: entries.slice(0, entries.findIndex(isState)), isWhole: false };
    const untilMs = clock() + leftMs;
    const last = new Map(states.map((entry) => [statePlatform(entry), entry]));
    const superseded = new Set(
      states.filter((entry) => entry.createdMs < untilMs && last.get(statePlatform(entry)) !== entry),
    );
    if (superseded.size > 0) {
      await outbox.superseded([...superseded]);
      deliveries.inc({ command: 'State.StateChange', outcome: 'superseded' }, superseded.size);
    }
    const rest = entries.filter((entry) => !superseded.has(entry));
    const told = new Set<string>();
    const second = rest.findIndex((entry) => {
      if (!isState(entry)) return false;
      const platform = statePlatform(entry);
      return told.has(platform) || !told.add(platform);
    });
    return second < 0 ? { entries: rest, isWhole: true } : { entries: rest.slice(0, second), isWhole: false };
  }

  /** Until the next state change of the account may be told; below 0: since when. */
  function pauseLeftMs(lane: Lane, { app }: Target): number {
    return (lastToldMs.get(laneId(lane)) ?? Number.NEGATIVE_INFINITY) + app.callbacks.stateDebounceMs - clock();
  }

  function remember(lane: Lane, nowMs: number): void {
    const id = laneId(lane);
    lastToldMs.delete(id);
    lastToldMs.set(id, nowMs);
    if (lastToldMs.size <= maxDebounced) return;
    const [oldest] = lastToldMs.keys();
    if (oldest !== undefined) lastToldMs.delete(oldest);
  }

  return {
    run,
    /** How old events are that are told now; 0: none are. */
    lagMs: () => (clock() - lagAtMs < lagForMs ? lagMs : 0),
  };
}

function attemptOf(result: PostResult, nowMs: number): Attempt {
  const tookMs = Math.round(result.tookMs * 10) / 10;
  return result.kind === 'answer'
    ? { atMs: nowMs, tookMs, status: result.status }
    : { atMs: nowMs, tookMs, failure: result.failure, detail: result.detail };
}
