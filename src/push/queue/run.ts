import { setTimeout as delay } from 'node:timers/promises';
import type { AppLookup, Clock } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { Outcome, Sender } from '../provider.ts';
import type { Brake } from './brake.ts';
import type { Item, Items, Mark } from './items.ts';
import { type Lane, laneId } from './lane.ts';
import { type Prepared, prepare } from './prepare.ts';
import { settle } from './settle.ts';

/** Sends what is due of a lane until nothing is. */
export interface LaneRun {
  /**
   * `isLost`: whether another process may run the lane by now, or this one ends; then nothing more is sent. What is under way is always
   * waited for, and written down. `woken` resolves when there may be more. Gives back when the lane has something to do again; undefined:
   * when it is woken. Rejects when the database does not answer.
   */
  run(lane: Lane, isLost: () => boolean, woken: () => Promise<void>): Promise<number | undefined>;
}

/** Under way at once: sent, or about to be written down. */
const maxUnderWay = 1_000;
const maxPage = 500;
/** A page is worth a look from so many free places on. */
const leastFree = 64;
/** Between two looks for more while something is under way. */
const idleMs = 250;

export function createLaneRun(deps: {
  items: Items;
  apps: AppLookup;
  senderOf(lane: Lane): Sender | undefined;
  brakeOf(lane: Lane): Brake;
  /** Ends what goes out of a lane until somebody resumes it. */
  halt(lane: Lane, reason: string): Promise<void>;
  clock: Clock;
  random: () => number;
  logger: Logger;
  metrics: Metrics;
}): LaneRun {
  const { items, apps, senderOf, brakeOf, halt, clock, random, logger, metrics } = deps;
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
    'From the message to the moment when the service had taken its push; campaigns aside',
    [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
    ['channel'],
  );

  return {
    async run(lane, isLost, woken) {
      const underWay = new Map<number, Promise<void>>();
      /** The last push of each device that has one under way: the next waits for it, so that the badge which comes last is the newest. */
      const tails = new Map<number, Promise<void>>();
      let queued = 0;
      const brake = brakeOf(lane);
      let restUntilMs = 0;
      let halted: string | undefined;
      let failure: unknown;
      let freed = Promise.withResolvers<void>();

      async function write(mark: Mark): Promise<void> {
        await items.mark(mark);
        const { outcome } = mark;
        if (outcome !== undefined) ended.inc({ channel: lane.channel, outcome });
      }

      /** Has a place until it is written down, whatever happens. */
      function begin(id: number, work: () => Promise<void>): void {
        const done = work()
          .catch((error: unknown) => {
            failure ??= error;
          })
          .finally(() => {
            underWay.delete(id);
            freed.resolve();
          });
        underWay.set(id, done);
      }

      async function inTurn(deviceId: number, work: () => Promise<void>): Promise<void> {
        const before = tails.get(deviceId);
        queued += 1;
        const turn = (before ?? Promise.resolve()).then(() => {
          queued -= 1;
          return work();
        });
        const tail = turn.catch(() => {});
        tails.set(deviceId, tail);
        try {
          await turn;
        } finally {
          if (tails.get(deviceId) === tail) tails.delete(deviceId);
        }
      }

      async function attempt(sender: Sender, { item, build }: Prepared, badge: number): Promise<void> {
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
          halted ??= reason;
          return write({ id, day, outcome: undefined, reason: item.reason, dueMs: nowMs });
        }
        const settled = settle(item, outcome, { nowMs, tookMs, random: random(), isTokenSound: brake.isTokenSound() });
        if (settled.laneRestMs !== undefined) restUntilMs = Math.max(restUntilMs, nowMs + settled.laneRestMs);
        if (settled.halt !== undefined) halted ??= settled.halt;
        await write(settled.mark);
        if (outcome.kind === 'ok' && item.campaignId === undefined) {
          lag.observe({ channel: lane.channel }, (nowMs - item.createdMs) / 1_000);
        }
      }

      async function beginPage(page: readonly Item[], sender: Sender): Promise<void> {
        const push = apps.get(lane.sdkAppId)?.push;
        if (push === undefined) return;
        const messages = await items.messages(page);
        const nowMs = clock();
        const prepared: Prepared[] = [];
        for (const item of page) {
          const made = prepare(item, messages, push, nowMs);
          if (made.ok) prepared.push(made.prepared);
          else begin(item.id, () => write(made.mark));
        }
        const badges = await badgesOf(prepared);
        for (const one of prepared) {
          begin(one.item.id, () =>
            inTurn(one.item.device?.device_id ?? 0, () => attempt(sender, one, badges.get(one.item.id) ?? 0)),
          );
        }
      }

      /** What each of them shows: those of one device one after another. */
      async function badgesOf(prepared: readonly Prepared[]): Promise<Map<number, number>> {
        const raising = prepared.filter(({ counts, item }) => counts && !item.isCounted);
        const after = await items.count(
          raising.map(({ item: { id, day, device } }) => ({ id, day, deviceId: device?.device_id ?? 0 })),
        );
        const badges = new Map<number, number>();
        const left = new Map(after);
        for (const { item } of raising.toReversed()) {
          const deviceId = item.device?.device_id ?? 0;
          const badge = left.get(deviceId) ?? item.device?.badge ?? 0;
          badges.set(item.id, badge);
          left.set(deviceId, badge - 1);
        }
        for (const { item } of prepared) {
          if (!badges.has(item.id))
            badges.set(item.id, after.get(item.device?.device_id ?? 0) ?? item.device?.badge ?? 0);
        }
        return badges;
      }

      try {
        for (;;) {
          if (isLost() || halted !== undefined || failure !== undefined || restUntilMs > clock()) break;
          const sender = senderOf(lane);
          // What waits waits for settings, and expires without.
          if (sender === undefined) return undefined;
          const free = Math.min(maxPage, maxUnderWay - underWay.size, sender.room() - queued);
          if (free >= leastFree || (free > 0 && underWay.size === 0)) {
            const page = await items.due(lane, free, new Set(underWay.keys()));
            if (page.length > 0) {
              await beginPage(page, sender);
              continue;
            }
            if (underWay.size === 0) break;
            // Whoever is slow holds up nobody who comes meanwhile.
            const all = Promise.all(underWay.values());
            await Promise.race([all, woken(), delay(idleMs, undefined, { ref: false })]);
            continue;
          } else if (underWay.size === 0) {
            // Its service takes nothing at the moment.
            restUntilMs = clock() + 1_000;
            break;
          }
          freed = Promise.withResolvers();
          await freed.promise;
        }
      } finally {
        await Promise.all(underWay.values());
      }
      if (failure !== undefined) throw failure;
      if (halted !== undefined) {
        await halt(lane, halted);
        logger.error({ lane: laneId(lane), reason: halted }, 'push.lane.halted');
        return undefined;
      }
      if (isLost()) return undefined;
      const dueMs = await items.nextDueMs(lane);
      return dueMs === undefined ? undefined : Math.max(dueMs, restUntilMs);
    },
  };
}
