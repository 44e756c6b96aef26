import type { AppSettings, Database, Result } from '../../store/index.ts';
import type { SdkAppId } from '../../wire/index.ts';
import { createAudience } from '../audience/audience.ts';
import { countReceivers } from '../audience/select.ts';
import { parseCondition } from '../audience/terms.ts';
import type { Clock } from '../model.ts';
import { type CampaignState, campaignStates } from './campaign.ts';
import { totalOf } from './campaigns.ts';

/** A campaign as operators see it: never what is sent. Times are ISO 8601. */
export interface CampaignView {
  readonly id: number;
  readonly taskId: string;
  readonly state: CampaignState;
  readonly admin: string;
  readonly from: string;
  /** As it was given; null: everybody. */
  readonly condition: unknown;
  readonly lifetimeSec: number;
  /** Receivers as it began, those that got it, and of how many that is. */
  readonly selected: number;
  readonly finished: number;
  readonly total: number;
  readonly createdAt: string;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  /** Who paused, resumed or cancelled it last. */
  readonly actor: string | null;
}

/** What became of the pushes of a campaign's messages, one a device. */
export interface CampaignPushes {
  readonly queued: number;
  readonly accepted: number;
  /** By which apps were opened, as those said. */
  readonly opened: number;
  /** The others, by outcome and reason, the most first. */
  readonly others: readonly { readonly outcome: string; readonly reason: string; readonly count: number }[];
}

export type CampaignChange = 'pause' | 'resume' | 'cancel';

export interface CampaignQuery {
  readonly state: CampaignState | undefined;
  /** Those with a lower number. */
  readonly before: number | undefined;
  readonly limit: number;
}

/** What operators see and do of campaigns (O1, O2). Every change is committed when it resolves. */
export interface CampaignAdmin {
  /** The newest first. */
  list(sdkAppId: SdkAppId, query: CampaignQuery): Promise<{ campaigns: CampaignView[]; next: number | undefined }>;
  /** By its number or its TaskId. */
  read(sdkAppId: SdkAppId, name: string): Promise<(CampaignView & { pushes: CampaignPushes }) | undefined>;
  /** Undefined: there is none. What is not sent yet is not sent from then on. */
  change(
    sdkAppId: SdkAppId,
    name: string,
    change: CampaignChange,
    actor: string,
  ): Promise<Result<CampaignView> | undefined>;
  /** How many receivers a push to many would have now. */
  dryRun(app: AppSettings, order: { condition: unknown; isOnline: boolean }): Promise<Result<{ accounts: number }>>;
}

interface Row {
  id: number;
  task_id: string;
  state: CampaignState;
  admin: string;
  sender: string;
  condition: string | null;
  lifetime_sec: number;
  selected: number;
  finished: number;
  created_ms: number;
  started_ms: number | null;
  ended_ms: number | null;
  actor: string | null;
}

const columns = `k.id, k.task_id, k.state, k.admin, s.identifier as sender, k.condition, k.lifetime_sec, k.selected, k.finished,
  k.created_ms, k.started_ms, k.ended_ms, k.actor`;
/** Of a state, what a change makes of it; others it cannot change. */
const changes: Record<CampaignChange, { from: readonly CampaignState[]; to: string }> = {
  pause: { from: ['waiting', 'running'], to: `'paused'` },
  resume: { from: ['paused'], to: `case when started_ms is null then 'waiting' else 'running' end` },
  cancel: { from: ['waiting', 'running', 'paused'], to: `'cancelled'` },
};
/** Lines of outcomes and reasons of pushes. */
const maxLines = 50;

export function createCampaignAdmin({ db, clock }: { db: Database; clock: Clock }): CampaignAdmin {
  const audience = createAudience({ db });

  async function find(sdkAppId: SdkAppId, name: string): Promise<CampaignView | undefined> {
    const isNumber = /^[1-9][0-9]{0,14}$/.test(name);
    const { rows } = await db.pool.query<Row>(
      `select ${columns} from campaign k join account s on s.id = k.sender_id
       where k.sdk_app_id = $1 and ${isNumber ? 'k.id = $2::bigint' : 'k.task_id = $2'}`,
      [sdkAppId, name.replaceAll('\0', '')],
    );
    return rows[0] === undefined ? undefined : viewOf(rows[0]);
  }

  async function readPushes(id: number): Promise<CampaignPushes> {
    const { rows } = await db.pool.query<{ outcome: string | null; reason: string; count: number; opened: number }>(
      `select outcome, coalesce(reason, '') as reason, count(*) as count, count(opened_ms) as opened from push_item where campaign_id = $1
       group by 1, 2 order by 3 desc, 1, 2`,
      [id],
    );
    const sum = (isOne: (outcome: string | null) => boolean) =>
      rows.reduce((total, { outcome, count }) => total + (isOne(outcome) ? count : 0), 0);
    const others = rows.flatMap(({ outcome, reason, count }) =>
      outcome === null || outcome === 'accepted' ? [] : [{ outcome, reason, count }],
    );
    return {
      queued: sum((outcome) => outcome === null),
      accepted: sum((outcome) => outcome === 'accepted'),
      opened: rows.reduce((total, { opened }) => total + opened, 0),
      others: others.slice(0, maxLines),
    };
  }

  return {
    async list(sdkAppId, { state, before, limit }) {
      const { rows } = await db.pool.query<Row>(
        `select ${columns} from campaign k join account s on s.id = k.sender_id
         where k.sdk_app_id = $1 and k.id < $2 and k.state = any ($3) order by k.id desc limit $4`,
        [sdkAppId, before ?? Number.MAX_SAFE_INTEGER, state === undefined ? campaignStates : [state], limit + 1],
      );
      const campaigns = rows.slice(0, limit).map(viewOf);
      return { campaigns, next: rows.length > limit ? campaigns.at(-1)?.id : undefined };
    },

    async read(sdkAppId, name) {
      const campaign = await find(sdkAppId, name);
      return campaign === undefined ? undefined : { ...campaign, pushes: await readPushes(campaign.id) };
    },

    async change(sdkAppId, name, change, actor) {
      const campaign = await find(sdkAppId, name);
      if (campaign === undefined) return undefined;
      const { from, to } = changes[change];
      // Waits for the turn that is being stored.
      const { rowCount } = await db.pool.query(
        `update campaign set state = ${to}, actor = $3, ended_ms = case when $2 = 'cancel' then $4::bigint end
         where id = $1 and state = any ($5)`,
        [campaign.id, change, actor, Math.trunc(clock()), from],
      );
      const now = (await find(sdkAppId, String(campaign.id))) ?? campaign;
      if (rowCount !== 0) return { ok: true, value: now };
      const reason = `a campaign that is ${now.state} cannot be ${{ pause: 'paused', resume: 'resumed', cancel: 'cancelled' }[change]}`;
      return { ok: false, code: 'CONFLICT', reason, allowed: from.join(', ') };
    },

    async dryRun({ sdkAppId }, { condition, isOnline }) {
      const terms = parseCondition(condition ?? undefined, await audience.attributes(sdkAppId));
      if (!terms.ok) {
        const { field = 'Condition', reason = '', allowed } = terms;
        const where = field.replace(/^Condition/, 'condition');
        return {
          ok: false,
          code: 'INVALID_FIELD',
          field: where,
          reason,
          ...(allowed === undefined ? {} : { allowed }),
        };
      }
      const selection = { sdkAppId, terms: terms.value, isOnline, sender: undefined, through: Number.MAX_SAFE_INTEGER };
      return { ok: true, value: { accounts: await countReceivers(db, selection) } };
    },
  };
}

function viewOf(row: Row): CampaignView {
  const at = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());
  return {
    id: row.id,
    taskId: row.task_id,
    state: row.state,
    admin: row.admin,
    from: row.sender,
    condition: row.condition === null ? null : JSON.parse(row.condition),
    lifetimeSec: row.lifetime_sec,
    selected: row.selected,
    finished: row.finished,
    total: totalOf(row),
    createdAt: new Date(row.created_ms).toISOString(),
    startedAt: at(row.started_ms),
    endedAt: at(row.ended_ms),
    actor: row.actor,
  };
}
