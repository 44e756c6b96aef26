import type { AppLookup, Clock } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { Outcome, Sender } from '../provider.ts';
import type { Brake } from './brake.ts';
import type { Item, Items, Mark } from './items.ts';
import { type Lane, laneId, type SkipCounter } from './lane.ts';
import { type Prepared, prepare } from './prepare.ts';
import { quietUntilMs } from './quiet-time.ts';
import { settle } from './settle.ts';

/** Sends what is due of a lane until nothing is. */
export interface LaneRun {
  /**
   * `isLost`: whether another process may run the lane by now, or this one ends; then nothing more is sent. What is under way is always
   * waited for, and written down. `woken` resolves when there may be more than when it was called. Gives back when the lane has something to
   * do again; undefined: when it is woken. Rejects when the database does not answer.
   */
  run(lane: Lane, isLost: () => boolean, woken: () => Promise<void>): Promise<number | undefined>;
}

/** Under way at once: sent, or about to be written down. */
const maxUnderWay = 1_000;
const maxPage = 500;
/** A page is worth a look from so many free places on; where few are under way, from fewer. */
const leastFree = 64;
/** Of all places: people's messages find some at once, however many a campaign has waiting (B5). */
const campaignShare = 0.5;
/** Under way or in turn of one device; others go on past what it has waiting. */
const maxOfDevice = 8;
/** Between two looks for more while something is under way. */
const idleMs = 250;

export function createLaneRun(deps: {
  items: Omit<Items, 'dueLanes'>;
  apps: AppLookup;
  senderOf(lane: Lane): Sender | undefined;
  brakeOf(lane: Lane): Brake;
  /** Ends what goes out of a lane until somebody resumes it, or its service has other credentials than `by`. */
  halt(lane: Lane, reason: string, by: Sender): Promise<void>;
  skipped: SkipCounter;
  clock: Clock;
  random: () => number;
  logger: Logger;
  metrics: Metrics;
}): LaneRun {
  const { items, apps, senderOf, brakeOf, halt, skipped, clock, random, logger, metrics } = deps;
  const ended = metrics.counter('qalgate_push_ended_total', 'Pushes that ended, by service and how', [
    'channel',
    'outcome',
  ]);
  const attempts = metrics.counter('qalgate_push_attempts_total', 'Attempts, by service and what they came to', [
    'channel',
    'outcome',
  ]);
  const took = metrics.histogram(
    'qalgate_push_attempt_seconds',
    'How long an attempt took',
    [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    ['channel'],
  );
  const lag = metrics.histogram(
    'qalgate_push_lag_seconds',
    'From when a push was written down to the moment when its service had taken it; campaigns aside',
    [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
    ['channel'],
  );

  return {
    async run(lane, isLost, woken) {
      const underWay = new Map<number, Promise<void>>();
      /** Of each device the last push, for which the next waits, so that the badge which comes last is the newest; and how many. */
      const devices = new Map<number, { tail: Promise<void>; count: number }>();
      let queued = 0;
      const brake = brakeOf(lane);
      let halted: { reason: string; by: Sender } | undefined;
      let failure: unknown;
      let fullUntilMs = 0;
      /** Of what is under way. */
      let ofCampaigns = 0;
      let freed = { at: 0, ...Promise.withResolvers<void>() };
      /** Nothing more is sent, also of what has its place already. */
      const isOver = (): boolean =>
        isLost() || halted !== undefined || failure !== undefined || brake.restUntilMs > clock();

      async function write(mark: Mark): Promise<void> {
        await items.mark(mark);
        const { outcome, reason } = mark;
        if (outcome !== undefined) ended.inc({ channel: lane.channel, outcome });
        if (outcome === 'skipped' && reason !== undefined) skipped.inc({ reason });
      }

      /** Has a place until it is written down, whatever happens. */
      function begin({ id, campaignId }: Item, work: () => Promise<void>): void {
        const share = campaignId === undefined ? 0 : 1;
        const done = work()
          .catch((error: unknown) => {
            failure ??= error;
          })
          .finally(() => {
            underWay.delete(id);
            ofCampaigns -= share;
            if (underWay.size <= freed.at) freed.resolve();
          });
        underWay.set(id, done);
        ofCampaigns += share;
      }

      /** Resolves when so much has ended that a look is worth it again. */
      function someEnd(): Promise<void> {
        const count = underWay.size;
        freed = { at: count - Math.ceil(Math.min(leastFree, count / 4)), ...Promise.withResolvers<void>() };
        return freed.promise;
      }

      async function inTurn(deviceId: number, work: () => Promise<void>): Promise<void> {
        const { tail, count } = devices.get(deviceId) ?? { tail: Promise.resolve(), count: 0 };
        queued += 1;
        const turn = tail.then(() => {
          queued -= 1;
          return work();
        });
        const ended = turn
          .catch(() => {})
          .then(() => {
            const now = devices.get(deviceId);
            if (now !== undefined && now.count > 1) now.count -= 1;
            else devices.delete(deviceId);
          });
        devices.set(deviceId, { tail: ended, count: count + 1 });
        await turn;
      }

      async function attempt({ item, build }: Prepared, badge: number): Promise<void> {
        const sender = senderOf(lane);
        // It is due as before.
        if (sender === undefined || isOver()) return;
        const { id, day } = item;
        const built = build(badge);
        if (!built.ok) return write({ id, day, outcome: 'dead', reason: built.reason });
        const startedMs = performance.now();
        const outcome: Outcome = await sender.send(built.sendable);
        const tookMs = performance.now() - startedMs;
        attempts.inc({ channel: lane.channel, outcome: outcome.kind });
        took.observe({ channel: lane.channel }, tookMs / 1_000);
        const nowMs = clock();
        const reason = brake.note(outcome);
        if (reason !== undefined) {
          // Its token is refused like all others: it waits with them until somebody has looked.
          halted ??= { reason, by: sender };
          return write({ id, day, outcome: undefined, reason: item.reason });
        }
        const settled = settle(item, outcome, { nowMs, tookMs, random: random(), isTokenSound: brake.isTokenSound() });
        if (settled.laneRestMs !== undefined)
          brake.restUntilMs = Math.max(brake.restUntilMs, nowMs + settled.laneRestMs);
        if (settled.halt !== undefined) halted ??= { reason: settled.halt, by: sender };
        await write(settled.mark);
        if (outcome.kind === 'ok' && item.campaignId === undefined) {
          lag.observe({ channel: lane.channel }, (nowMs - item.createdMs) / 1_000);
        }
      }

      async function beginPage(page: readonly Item[]): Promise<void> {
        const push = apps.get(lane.sdkAppId)?.push;
        if (push === undefined) return;
        const messages = await items.messages(page);
        const nowMs = clock();
        const prepared: Prepared[] = [];
        const more = new Map<number, number>();
        for (const item of page) {
          const made = prepare(item, messages, push, nowMs);
          if (!made.ok) {
            begin(item, () => write(made.mark));
            continue;
          }
          const deviceId = item.device?.device_id ?? 0;
          const before = more.get(deviceId) ?? devices.get(deviceId)?.count ?? 0;
          if (before >= maxOfDevice) continue;
          more.set(deviceId, before + 1);
          prepared.push(made.prepared);
        }
        const badges = await badgesOf(prepared);
        for (const one of prepared) {
          begin(one.item, () =>
            inTurn(one.item.device?.device_id ?? 0, () => attempt(one, badges.get(one.item.id) ?? 0)),
          );
        }
      }

      /** What each of them shows: those of one device one after another. */
      async function badgesOf(prepared: readonly Prepared[]): Promise<Map<number, number>> {
        const shown = prepared.filter(({ counts, item }) => counts || item.kind === 2);
        const left = await items.count(shown.map(({ item: { id, day } }) => ({ id, day })));
        const badges = new Map<number, number>();
        for (const { counts, item } of shown.toReversed()) {
          const deviceId = item.device?.device_id ?? 0;
          const badge = left.get(deviceId) ?? item.device?.badge ?? 0;
          badges.set(item.id, badge);
          if (counts && !item.isCounted) left.set(deviceId, badge - 1);
        }
        return badges;
      }

      try {
        while (!isOver()) {
          const sender = senderOf(lane);
          // What waits waits for settings, and expires without.
          if (sender === undefined) return undefined;
          const places = Math.min(maxUnderWay - underWay.size, sender.room() - queued);
          const limit = pageOf(places, underWay.size);
          if (limit > 0) {
            const wanted = {
              limit,
              campaigns: pageOf(Math.ceil((places + underWay.size) * campaignShare) - ofCampaigns, ofCampaigns),
              quietUntilMs: quietUntilMs(lane, clock()),
            };
            const more = woken();
            const full = [...devices].filter(([, { count }]) => count >= maxOfDevice).map(([id]) => id);
            const page = await items.due(lane, wanted, [...underWay.keys()], full);
            if (page.length > 0) {
              await beginPage(page);
              continue;
            }
            if (underWay.size === 0) break;
            // Whoever is slow holds up nobody who comes meanwhile.
            const ended = wanted.campaigns === 0 ? someEnd() : Promise.all(underWay.values());
            await within(Promise.race([ended, more]), idleMs);
            continue;
          }
          if (underWay.size === 0) {
            // Its service takes nothing at the moment.
            fullUntilMs = clock() + 1_000;
            break;
          }
          await within(someEnd(), idleMs);
        }
      } finally {
        await Promise.all(underWay.values());
      }
      if (failure !== undefined) throw failure;
      if (halted !== undefined) {
        const { reason, by } = halted;
        // Credentials have changed meanwhile: those that were refused say nothing of the new ones.
        if (senderOf(lane) !== by) return clock();
        await halt(lane, reason, by);
        logger.error({ lane: laneId(lane), reason }, 'push.lane.halted');
        return undefined;
      }
      if (isLost()) return undefined;
      const dueMs = await items.nextDueMs(lane, quietUntilMs(lane, clock()));
      return dueMs === undefined ? undefined : Math.max(dueMs, brake.restUntilMs, fullUntilMs);
    },
  };
}

/** How many to look for where so many places are free, and so many taken: none where it is not worth a look yet. Pure. */
function pageOf(free: number, taken: number): number {
  return free >= Math.min(leastFree, taken / 4) ? Math.min(maxPage, free) : 0;
}

async function within(promise: Promise<unknown>, limitMs: number): Promise<void> {
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(late.resolve, limitMs);
  await Promise.race([promise, late.promise]);
  clearTimeout(timer);
}
