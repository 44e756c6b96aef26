import { sql } from 'kysely';
import type { AppSettings, Database } from '../../store/index.ts';
import type { ImRefusal, ImResult, SdkAppId } from '../../wire/index.ts';
import type { Terms } from '../audience/terms.ts';
import { dayOf } from '../groups/settings.ts';
import type { Account, Clock } from '../model.ts';
import type { CampaignState } from './campaign.ts';

export interface CampaignInput {
  readonly app: AppSettings;
  /** Who calls, and in whose name it is sent. */
  readonly admin: Account;
  readonly from: Account;
  /** As it was given, and as it was understood. */
  readonly condition: unknown;
  readonly terms: Terms;
  readonly body: readonly unknown[];
  readonly push: object | undefined;
  readonly random: number;
  /** Seconds that messages wait for receivers who are offline; 0: for those who are online, and stored nowhere. */
  readonly lifetimeSec: number;
}

/** How far a push to many is. */
export interface CampaignReport {
  readonly taskId: string;
  readonly state: CampaignState;
  /** Of one that was cancelled before it began: when that was. */
  readonly startedMs: number | undefined;
  readonly finished: number;
  readonly total: number;
}

/** Pushes to many, as the app's backend starts and follows them (B2, B6). */
export interface Campaigns {
  /** It goes on by itself once this resolves, whatever becomes of this process (B5). */
  start(input: CampaignInput): Promise<ImResult<{ taskId: string }>>;
  /** In the order asked for; refuses a name that is none of the app's. */
  report(sdkAppId: SdkAppId, taskIds: readonly string[]): Promise<ImResult<CampaignReport[]>>;
}

/** Space of our advisory locks: who may start a campaign, of an app. */
const lockSpace = 0x70_75_73_68;
const spacingMs = 1_000;
const repeatMs = 7 * 86_400_000;
/** How long one that has ended can be looked up. */
const keptMs = 30 * 86_400_000;

export function createCampaigns(deps: {
  db: Database;
  /** One has been started. */
  wake(): void;
  clock: Clock;
  /** 0 … 1. */
  random: () => number;
}): Campaigns {
  const { db, wake, clock, random } = deps;

  return {
    async start(input) {
      const { app, admin, from, condition, terms, body, push, lifetimeSec } = input;
      const { sdkAppId } = app;
      const perDay = app.im.campaignsPerDay;
      if (perDay === 0) return { ok: false, error: 'PUSH_OFF' };
      const result = await db.kysely.transaction().execute(async (trx): Promise<ImResult<{ taskId: string }>> => {
        // Whoever comes at the same moment counts this one.
        await sql`select pg_advisory_xact_lock(${lockSpace}, hashtext(${String(sdkAppId)}))`.execute(trx);
        const nowMs = Math.trunc(clock());
        const day = dayOf(app, nowMs);
        const { rows } = await sql<Before>`
          select count(*) filter (where day = ${day}) as today,
            count(*) filter (where created_ms between ${nowMs - spacingMs} and ${nowMs + spacingMs}) as close,
            count(*) filter (where random = ${input.random} and created_ms > ${nowMs - repeatMs}) as repeats
          from campaign where sdk_app_id = ${sdkAppId}`.execute(trx);
        const refusal = rows[0] === undefined ? undefined : refusalOf(rows[0], perDay);
        if (refusal !== undefined) return refusal;
        const taskId = `${sdkAppId}_${admin.identifier}_${Math.floor(nowMs / 1_000)}_${input.random}`;
        await sql`
          insert into campaign (
            sdk_app_id, task_id, admin, sender_id, random, msg_seq, day, condition, terms, body, push, lifetime_sec, created_ms
          ) values (
            ${sdkAppId}, ${taskId}, ${admin.identifier}, ${from.no}, ${input.random}, ${Math.floor(random() * 4_294_967_296)}, ${day},
            ${condition === undefined ? null : JSON.stringify(condition)}, ${JSON.stringify(terms)}, ${JSON.stringify(body)},
            ${push === undefined ? null : JSON.stringify(push)}, ${lifetimeSec}, ${nowMs}
          )`.execute(trx);
        await sql`
          delete from campaign
          where sdk_app_id = ${sdkAppId} and created_ms < ${nowMs - keptMs} and state in ('done', 'cancelled')`.execute(
          trx,
        );
        return { ok: true, value: { taskId } };
      });
      if (result.ok) wake();
      return result;
    },

    async report(sdkAppId, taskIds) {
      const { rows } = await db.pool.query<{
        task_id: string;
        state: CampaignState;
        started_ms: number | null;
        finished: number;
        selected: number;
      }>({
        name: 'im_campaign_report',
        text: `
          select task_id, state, coalesce(started_ms, ended_ms) as started_ms, finished, selected from campaign
          where sdk_app_id = $1 and task_id = any ($2)`,
        values: [sdkAppId, taskIds],
      });
      const found = new Map(rows.map((row) => [row.task_id, row]));
      const reports: CampaignReport[] = [];
      for (const [i, taskId] of taskIds.entries()) {
        const row = found.get(taskId);
        if (row === undefined) {
          return { ok: false, error: 'TASK_ID', field: `TaskIds[${i}]`, reason: 'is no push to many of the app' };
        }
        reports.push({
          taskId,
          state: row.state,
          startedMs: row.started_ms ?? undefined,
          finished: row.finished,
          total: totalOf(row),
        });
      }
      return { ok: true, value: reports };
    },
  };
}

/** What an app has started before. */
interface Before {
  readonly today: number;
  /** Less than a second from now, either way: clocks of processes differ. One that was set back has some far ahead, which hold up nobody. */
  readonly close: number;
  readonly repeats: number;
}

function refusalOf({ today, close, repeats }: Before, perDay: number): ImRefusal | undefined {
  if (repeats > 0) {
    return { ok: false, error: 'PUSH_REPEATED', field: 'MsgRandom', reason: 'was used within the last 7 days' };
  }
  if (today >= perDay) return { ok: false, error: 'PUSHES_PER_DAY', allowed: `${perDay} a day` };
  if (close > 0) return { ok: false, error: 'PUSH_TOO_SOON' };
  return undefined;
}

/**
 * Of how many `finished` says how many got it. As the campaign began so many fitted; by its end some may have been deleted, or fitted no
 * more, or others have come online.
 */
export function totalOf({
  state,
  finished,
  selected,
}: {
  state: CampaignState;
  finished: number;
  selected: number;
}): number {
  return state === 'done' ? finished : Math.max(selected, finished);
}
