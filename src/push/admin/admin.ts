import { type RawBuilder, sql } from 'kysely';
import type { AppSettings, Database, PushChannel } from '../../store/index.ts';
import type { SdkAppId } from '../../wire/index.ts';
import { type Pauses, service } from '../pauses.ts';
import type { SenderFigures } from '../provider.ts';
import type { Lane } from '../queue/lane.ts';
import type { DropOrder, PushOrder, PushQuery } from './queries.ts';
import {
  type DeviceRow,
  type DeviceView,
  type ItemRow,
  type PauseView,
  type PushView,
  time,
  viewDevice,
  viewItem,
  viewPause,
} from './views.ts';

/** What operators see and do of an app's pushes (O1–O3). Whoever calls it has found the app, and may do this. Never a text or a whole token. */
export interface PushAdmin {
  /** What waits, what became of those of the last hour, what is stopped and why, at a glance. */
  summary(app: AppSettings): Promise<PushSummary>;
  /** Pushes, the newest first: of a receiver, a message, a campaign, in a state; each with why. */
  list(app: AppSettings, query: PushQuery): Promise<{ pushes: PushView[]; notes: string[]; next: number | undefined }>;
  /** The devices of an account, and whether a message would be pushed to them now. Undefined: no account has this name. */
  devices(app: AppSettings, account: string): Promise<DeviceView[] | undefined>;
  /** Sends again what was given up, with a new deadline; some thousand at a time, `isAll` when there are no more. */
  retry(app: AppSettings, order: PushOrder): Promise<{ retried: number; isAll: boolean }>;
  /** Gives up what waits, or removes what was given up. */
  drop(app: AppSettings, order: DropOrder): Promise<{ dropped: number; isAll: boolean }>;
  pause(app: AppSettings, channel: PushChannel | undefined, actor: string): Promise<PauseView[]>;
  resume(app: AppSettings, channel: PushChannel | undefined): Promise<{ resumed: number; pauses: PauseView[] }>;
}

export interface PushSummary {
  readonly services: readonly PushChannel[];
  readonly devices: readonly { readonly channel: string; readonly devices: number }[];
  readonly waiting: readonly {
    readonly channel: string;
    readonly campaigns: boolean;
    readonly pushes: number;
    readonly oldestAt: string;
  }[];
  /** Of pushes that ended within the last hour. */
  readonly lastHour: readonly { readonly outcome: string; readonly reason: string | null; readonly pushes: number }[];
  readonly dead: number;
  readonly pauses: readonly PauseView[];
  /** Null: this process does not send. */
  readonly senders: readonly (SenderFigures & { readonly channel: string })[] | null;
}

const hourMs = 3_600_000;
const chunkRows = 2_000;

export function createPushAdmin(deps: {
  db: Pick<Database, 'kysely'>;
  pauses: Pauses;
  /** Something of the lane is due. */
  wake(lane: Lane): void;
  clock: () => number;
  /** Of this process, if it sends. */
  services?: () => (Lane & SenderFigures)[];
}): PushAdmin {
  const { pauses, wake, clock, services } = deps;
  const db = deps.db.kysely;

  const wakeAll = (app: AppSettings, channel?: PushChannel): void => {
    for (const one of servicesOf(app)) {
      if (channel === undefined || channel === one) wake({ sdkAppId: app.sdkAppId as SdkAppId, channel: one });
    }
  };
  const pausesOf = async (app: AppSettings): Promise<PauseView[]> => (await pauses.list(app.sdkAppId)).map(viewPause);

  /** Changes some pushes; gives back how many. */
  async function change(
    app: AppSettings,
    { ids, channel, campaign }: PushOrder,
    which: RawBuilder<unknown>,
    set: RawBuilder<unknown>,
  ): Promise<number> {
    // Not a subquery, see upkeep.
    const { numAffectedRows = 0n } = await sql`
      with k as materialized (
        select id, day from push_item
        where sdk_app_id = ${app.sdkAppId} and ${which}
          ${ids === undefined ? sql`` : sql`and id = any (${ids as number[]})`}
          ${channel === undefined ? sql`` : sql`and channel = ${channel}`}
          ${campaign === undefined ? sql`` : sql`and campaign_id = ${campaign}`}
        order by id limit ${chunkRows} for update
      )
      update push_item i set ${set} from k
      where i.id = k.id and i.day = k.day`.execute(db);
    return Number(numAffectedRows);
  }

  return {
    async summary(app) {
      const { sdkAppId } = app;
      const nowMs = clock();
      const [devices, waiting, lastHour, dead] = await Promise.all([
        sql<{ channel: string; devices: number }>`
          select channel, count(*) as devices from push_device where sdk_app_id = ${sdkAppId} group by channel order by channel`.execute(
          db,
        ),
        sql<{ channel: string; campaigns: boolean; pushes: number; oldest: number }>`
          select channel, priority > 0 as campaigns, count(*) as pushes, min(created_ms) as oldest from push_item
          where sdk_app_id = ${sdkAppId} and done_ms is null group by 1, 2 order by 1, 2`.execute(db),
        sql<{ outcome: string; reason: string | null; pushes: number }>`
          select outcome, reason, count(*) as pushes from push_item
          where sdk_app_id = ${sdkAppId} and day >= ${Math.floor((nowMs - hourMs) / 86_400_000) - 1} and done_ms > ${nowMs - hourMs}
          group by 1, 2 order by 3 desc limit 50`.execute(db),
        sql<{ pushes: number }>`
          select count(*) as pushes from push_item where sdk_app_id = ${sdkAppId} and outcome = 'dead'`.execute(db),
      ]);
      return {
        services: servicesOf(app),
        devices: devices.rows,
        waiting: waiting.rows.map(({ oldest, ...rest }) => ({ ...rest, oldestAt: time(oldest) })),
        lastHour: lastHour.rows,
        dead: dead.rows[0]?.pushes ?? 0,
        pauses: await pausesOf(app),
        senders:
          services === undefined
            ? null
            : services()
                .filter((one) => one.sdkAppId === sdkAppId)
                .map(({ sdkAppId: _, ...figures }) => figures)
                .sort((a, b) => a.channel.localeCompare(b.channel)),
      };
    },

    async list(app, query) {
      const { state, account, key, group, seq, campaign, limit, before } = query;
      const { rows } = await sql<ItemRow>`
        select i.*, a.identifier as account, s.identifier as sender, g.group_id,
          m.msg_seq || '_' || m.msg_random || '_' || m.msg_time as message_key, m.stored_ms, k.state as campaign_state, d.not_before_ms,
          exists (select 1 from push_pause p where p.sdk_app_id = i.sdk_app_id and p.channel in ('', i.channel)) as is_paused
        from push_item i
        left join account a on a.id = i.account_id
        left join message m on m.conversation_id = i.conversation_id and m.seq = i.seq and m.day = i.message_day
        left join account s on s.id = m.sender_id
        left join chat_group g on g.conversation_id = i.conversation_id
        left join campaign k on k.id = i.campaign_id
        left join push_device d on d.id = i.device_id
        where i.sdk_app_id = ${app.sdkAppId}
          ${before === undefined ? sql`` : sql`and i.id < ${before}`}
          ${state === undefined ? sql`` : state === 'waiting' ? sql`and i.done_ms is null` : sql`and i.outcome = ${state}`}
          ${
            account === undefined
              ? sql``
              : sql`and i.account_id in (
                  select id from account where sdk_app_id = ${app.sdkAppId} and identifier = ${account}
                )`
          }
          ${key === undefined ? sql`` : sql`and m.msg_seq || '_' || m.msg_random || '_' || m.msg_time = ${key}`}
          ${
            group === undefined
              ? sql``
              : sql`and i.seq = ${seq} and i.conversation_id in (
                  select conversation_id from chat_group where sdk_app_id = ${app.sdkAppId} and group_id = ${group}
                )`
          }
          ${campaign === undefined ? sql`` : sql`and i.campaign_id = ${campaign}`}
        order by i.id desc limit ${limit}`.execute(db);
      const nowMs = clock();
      const last = rows.at(-1);
      return {
        pushes: rows.map((row) => viewItem(row, nowMs)),
        notes: rows.length > 0 ? [] : notesOf(app, query),
        next: rows.length === limit ? last?.id : undefined,
      };
    },

    async devices(app, account) {
      const { rows } = await sql<DeviceRow>`
        select d.platform, d.channel, d.token, d.environment, d.language, d.badge, d.registered_ms, d.seen_ms, d.not_before_ms,
          t.generation = d.generation as is_of_login, t.link_id is not null as has_login, t.kicked_ms is not null as was_kicked,
          n.id is not null as is_linked, t.is_background, t.last_there_ms
        from account a
        left join push_device d on d.account_id = a.id
        left join terminal t on t.account_id = d.account_id and t.platform = d.platform
        left join node n on n.id = t.node_id and n.lease_until > now()
        where a.sdk_app_id = ${app.sdkAppId} and a.identifier = ${account} and a.deleted_ms is null
        order by d.platform`.execute(db);
      if (rows.length === 0) return undefined;
      const nowMs = clock();
      return rows.flatMap((row) => viewDevice(row, nowMs) ?? []);
    },

    async retry(app, order) {
      const nowMs = clock();
      const retried = await change(
        app,
        order,
        sql`outcome = 'dead'`,
        sql`done_ms = null, outcome = null, attempts = 0, due_ms = ${nowMs}, deadline_ms = ${nowMs + app.push.lifetimeSec * 1_000}`,
      );
      if (retried > 0) wakeAll(app, order.channel);
      return { retried, isAll: retried < chunkRows };
    },

    async drop(app, { state, ...order }) {
      const which = state === 'waiting' ? sql`done_ms is null` : sql`outcome = 'dead'`;
      const dropped = await change(
        app,
        order,
        which,
        sql`done_ms = ${clock()}, outcome = 'dropped', reason = 'operator'`,
      );
      return { dropped, isAll: dropped < chunkRows };
    },

    async pause(app, channel, actor) {
      // Whatever an operator is called: what a service has asked for ends by itself.
      const who = actor === service ? `${actor} (operator)` : actor;
      await pauses.pause({ sdkAppId: app.sdkAppId, channel, reason: 'operator', actor: who });
      return pausesOf(app);
    },

    async resume(app, channel) {
      const resumed = await pauses.resume(app.sdkAppId, channel);
      if (resumed > 0) wakeAll(app, channel);
      return { resumed, pauses: await pausesOf(app) };
    },
  };
}

function servicesOf({ push }: AppSettings): PushChannel[] {
  return (['apns', 'fcm'] as const).filter((channel) => push[channel] !== undefined);
}

/** Why there is nothing to show. */
function notesOf(app: AppSettings, { account, key, group }: PushQuery): string[] {
  if (servicesOf(app).length === 0) return ['the app has no push service: neither push.apns nor push.fcm is set'];
  if (account === undefined && group === undefined) return [];
  return [
    `no push ${key === undefined ? 'of this' : 'of this message to this account'}: no device of a receiver had a token when the message was stored, it was for those online alone, or an import, or it is older than a week; devices show what tokens there are`,
  ];
}
