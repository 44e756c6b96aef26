import { setTimeout as delay } from 'node:timers/promises';
import type { AppLookup } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import { createLaneLocks, type Database, type LaneLock, LocksAway } from '../../store/index.ts';
import { packCallbackNotes, type SdkAppId } from '../../wire/index.ts';
import { countReceivers, nextReceivers, type Selection, selectionSettings } from '../audience/select.ts';
import { askedOf, toldOf } from '../messages/callback-notes.ts';
import type { CommitTimes } from '../messages/commit-times.ts';
import type { AccountNo, Clock, ConversationId, StoredMessage } from '../model.ts';
import type { ImPorts } from '../ports.ts';
import type { Bus } from '../services.ts';
import { type OpenCampaign, type OpenRow, openCampaigns, toOpenCampaign } from './campaign.ts';
import { createPace, type Pace } from './pace.ts';

/** Carries campaigns out. */
export interface Runner {
  /** One has been started here: it need not wait for the next look. Synchronous. */
  wake(): void;
  /** Whatever is being stored is stored. */
  close(): Promise<void>;
}

export interface RunnerOptions {
  /** Pause between two looks for campaigns that nobody carries out; default one second. */
  lookMs?: number;
  /** Receivers of one transaction; default 500. */
  maxTurn?: number;
  /** Commits of people's messages that take longer have campaigns wait; default 50 ms. */
  yieldAboveMs?: number;
  /** But so long at most before each turn: a database that is always slow holds up none for good. Default 5 s. */
  maxYieldMs?: number;
}

/** Looks while commits are slow. */
const yieldStepMs = 50;
/** Of counting receivers, which are millions: nobody waits for it. */
const statementMs = 60_000;

/**
 * Carries campaigns out (B5). Those of an app are one process's at a time, under a lock that goes with its connection: when it is killed
 * another one, or the same started again, goes on within a look. Nothing hangs on that lock but speed: a turn moves the campaign's cursor and
 * stores the messages in one transaction, and does nothing where the cursor has been moved meanwhile. So nobody gets a message twice.
 *
 * Several campaigns of an app have turns one after another, and share its `im.campaignPerSec`. Between turns they give way to people's
 * messages.
 */
export function createRunner(
  deps: {
    db: Database;
    apps: AppLookup;
    bus: Pick<Bus, 'publish' | 'publishMany'>;
    ports: Pick<ImPorts, 'beforeSend' | 'consumers'>;
    times: Pick<CommitTimes, 'p99Ms'>;
    clock: Clock;
    logger: Logger;
    metrics: Metrics;
  },
  { lookMs = 1_000, maxTurn = 500, yieldAboveMs = 50, maxYieldMs = 5_000 }: RunnerOptions = {},
): Runner {
  const { apps, bus, ports, times, clock, logger, metrics } = deps;
  // Connections of its own: it takes none from people's messages.
  const db = deps.db.another({ max: 2, statementMs, settings: selectionSettings });
  const locks = createLaneLocks({ db: deps.db, logger });
  const receivers = metrics.counter('qalgate_im_campaign_receivers_total', 'Receivers of pushes to many', ['kind']);
  const yields = metrics.counter(
    'qalgate_im_campaign_yields_total',
    'Turns of pushes to many that waited because messages took long to store',
  );
  const failures = metrics.counter('qalgate_im_campaign_failures_total', 'Turns of pushes to many that failed');
  const durations = metrics.plainHistogram(
    'qalgate_im_campaign_turn_duration_seconds',
    'Storing the messages of one turn of a push to many',
    [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5],
  );
  /** Apps whose campaigns this process works at, or asks whether it may. */
  const working = new Map<SdkAppId, Promise<void>>();
  metrics.gaugeOf('qalgate_im_campaign_apps', 'Apps whose pushes to many this process works at', () => working.size);
  const stop = new AbortController();
  let wakeUp = new AbortController();

  /** Ends early when the process ends, or when `also` says so. */
  async function rest(ms: number, also?: AbortSignal): Promise<void> {
    const signal = also === undefined ? stop.signal : AbortSignal.any([stop.signal, also]);
    await delay(ms, undefined, { signal, ref: false }).catch(() => {});
  }

  async function look(): Promise<void> {
    const { rows } = await db.pool.query<{ sdk_app_id: SdkAppId }>({
      name: 'im_campaign_apps',
      text: `select distinct sdk_app_id from campaign where state in ('waiting', 'running')`,
    });
    for (const { sdk_app_id: sdkAppId } of rows) {
      // An app that is gone may be away by mistake: its campaigns wait.
      if (working.has(sdkAppId) || apps.get(sdkAppId) === undefined || stop.signal.aborted) continue;
      const done = work(sdkAppId)
        .catch((error: unknown) => fail(error, { sdkAppId }))
        .finally(() => working.delete(sdkAppId));
      working.set(sdkAppId, done);
    }
  }

  /** An app's campaigns, until all have ended or wait for somebody. */
  async function work(sdkAppId: SdkAppId): Promise<void> {
    const lock = await locks.take(`campaigns/${sdkAppId}`).catch((error: unknown) => {
      if (error instanceof LocksAway) return undefined;
      throw error;
    });
    // Another process is at it.
    if (lock === undefined) return;
    const pace = createPace(() => performance.now(), maxTurn);
    /** Until when those that failed rest: the others go on. */
    const failed = new Map<number, number>();
    try {
      while (mayGoOn(lock)) {
        const resting = [...failed].filter(([, untilMs]) => untilMs > performance.now()).map(([id]) => id);
        const { rows } = await db.pool.query<OpenRow>({
          name: 'im_campaigns_open',
          text: openCampaigns,
          values: [sdkAppId, resting],
        });
        if (rows.length === 0) {
          if (resting.length === 0) return;
          await rest(lookMs);
        }
        for (const row of rows) {
          if (!mayGoOn(lock)) return;
          try {
            await turn(toOpenCampaign(row), pace);
          } catch (error) {
            fail(error, { sdkAppId, campaign: row.id });
            failed.set(row.id, performance.now() + lookMs);
          }
        }
      }
    } finally {
      lock.release();
    }
  }

  function fail(error: unknown, where: object): void {
    failures.inc();
    logger.warn({ err: error, ...where }, 'im.campaigns.failed');
  }

  function mayGoOn(lock: LaneLock): boolean {
    return !stop.signal.aborted && !lock.isLost();
  }

  async function turn(campaign: OpenCampaign, pace: Pace): Promise<void> {
    const app = apps.get(campaign.sdkAppId);
    if (app === undefined) return rest(lookMs);
    if (campaign.sender.isDeleted) return end(campaign);
    if (campaign.state === 'waiting') return begin(campaign);
    await rest(pace.waitMs());
    await giveWay();
    if (stop.signal.aborted) return;
    const perSec = app.im.campaignPerSec;
    const { cursor: after, lifetimeSec } = campaign;
    // Looks at many however few may have their turn: where one of a million fits, the others are soon passed.
    const found = await nextReceivers(db, selectionOf(campaign), { after, limit: maxTurn });
    const accounts = found.accounts.slice(0, pace.turn(perSec));
    const next = accounts.length < found.accounts.length ? (accounts.at(-1) ?? after) : found.next;
    const count = await (lifetimeSec === 0 || accounts.length === 0
      ? handOn(campaign, accounts, next)
      : store(campaign, accounts, next));
    pace.took(count, perSec);
  }

  /** Waits while people's messages take long to store. */
  async function giveWay(): Promise<void> {
    const untilMs = performance.now() + maxYieldMs;
    if (times.p99Ms() <= yieldAboveMs) return;
    yields.inc();
    while (times.p99Ms() > yieldAboveMs && performance.now() < untilMs && !stop.signal.aborted) await rest(yieldStepMs);
  }

  /** Fixes who may be a receiver: the accounts that there are now. */
  async function begin(campaign: OpenCampaign): Promise<void> {
    const { rows } = await db.pool.query<{ through: number | null }>(
      'select max(id) as through from account where sdk_app_id = $1 and deleted_ms is null',
      [campaign.sdkAppId],
    );
    const through = rows[0]?.through ?? 0;
    const selected = await countReceivers(db, { ...selectionOf(campaign), through });
    await db.pool.query(
      `update campaign set state = case when $2 = 0 then 'done' else 'running' end, through_id = $2, selected = $3,
         started_ms = $4::bigint, ended_ms = case when $2 = 0 then $4::bigint end
       where id = $1 and state = 'waiting'`,
      [campaign.id, through, selected, nowMs()],
    );
    logger.info({ campaign: campaign.id, sdkAppId: campaign.sdkAppId, selected }, 'im.campaign.began');
  }

  /** Nobody sends in the name of an account that is gone. */
  async function end(campaign: OpenCampaign): Promise<void> {
    await db.pool.query(
      `update campaign set state = 'cancelled', ended_ms = $2, actor = 'sender deleted'
       where id = $1 and state in ('waiting', 'running')`,
      [campaign.id, nowMs()],
    );
    logger.warn({ campaign: campaign.id, sdkAppId: campaign.sdkAppId }, 'im.campaign.sender.deleted');
  }

  /** To those who are online. The cursor moves first: who is not told then is not told, but nobody is told twice. */
  async function handOn(campaign: OpenCampaign, accounts: readonly AccountNo[], next: number): Promise<number> {
    const { rowCount } = await db.pool.query({
      name: 'im_campaign_move',
      text: `
        update campaign set cursor_id = $3, finished = finished + $4,
          state = case when $3 >= through_id then 'done' else state end, ended_ms = case when $3 >= through_id then $5::bigint end
        where id = $1 and state = 'running' and cursor_id = $2`,
      values: [campaign.id, campaign.cursor, next, accounts.length, nowMs()],
    });
    if (rowCount === 0) return 0;
    const message = messageOf(campaign, { conversationId: 0, seq: 0, time: Math.floor(clock() / 1_000) });
    bus.publishMany(accounts, { kind: 'message', message, peer: campaign.sender.identifier, prev: 0 });
    receivers.inc({ kind: 'online' }, accounts.length);
    return accounts.length;
  }

  /** The messages of one turn, with all that belongs to them, and the campaign's cursor, in one transaction. */
  async function store(campaign: OpenCampaign, accounts: readonly AccountNo[], next: number): Promise<number> {
    const startedMs = performance.now();
    const { rows } = await db.pool.query<{
      account_id: AccountNo;
      conversation_id: number;
      seq: number;
      msg_time: number;
      prev: number;
    }>({
      name: 'im_campaign_store',
      text: 'select * from im_campaign_store($1, $2, $3, $4, $5, $6)',
      values: [campaign.id, campaign.cursor, next, accounts, notesOf(campaign.sdkAppId), nowMs()],
    });
    durations.observe((performance.now() - startedMs) / 1_000);
    for (const { account_id, conversation_id, seq, msg_time, prev } of rows) {
      const message = messageOf(campaign, { conversationId: conversation_id, seq, time: msg_time });
      bus.publish(account_id, { kind: 'message', message, peer: campaign.sender.identifier, prev });
    }
    receivers.inc({ kind: 'stored' }, rows.length);
    return rows.length;
  }

  /** Pushes, and no callbacks (B3). */
  function notesOf(sdkAppId: SdkAppId): number {
    const wishes = { isImport: false, withoutBefore: 'kind', withoutAfter: 'kind' } as const;
    const before = askedOf(wishes, ports.beforeSend?.wants(sdkAppId));
    return packCallbackNotes({
      ...toldOf(wishes, ports.consumers?.(sdkAppId, 'C2C.CallbackAfterSendMsg')),
      before: before === 'ask' ? 'none' : before,
    });
  }

  const nowMs = () => Math.trunc(clock());

  async function loop(): Promise<void> {
    while (!stop.signal.aborted) {
      wakeUp = new AbortController();
      await look().catch((error: unknown) => {
        failures.inc();
        logger.warn({ err: error }, 'im.campaigns.look.failed');
      });
      await rest(lookMs, wakeUp.signal);
    }
  }
  const looping = loop();

  return {
    wake: () => wakeUp.abort(),
    async close() {
      stop.abort();
      await looping;
      await Promise.all(working.values());
      await locks.close();
      await db.close();
    },
  };
}

function selectionOf({ sdkAppId, terms, lifetimeSec, sender, through }: OpenCampaign): Selection {
  return { sdkAppId, terms, isOnline: lifetimeSec === 0, sender: sender.no, through };
}

function messageOf(
  { sender, msgSeq, random, body, push }: OpenCampaign,
  { conversationId, seq, time }: { conversationId: number; seq: number; time: number },
): StoredMessage {
  return {
    conversationId: conversationId as ConversationId,
    seq,
    from: sender.identifier,
    time,
    msgSeq,
    random,
    body,
    ...(push === undefined ? {} : { push }),
    recalled: false,
  };
}
