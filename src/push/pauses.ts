import type { Database } from '../store/index.ts';
import type { SdkAppId } from '../wire/index.ts';
import type { Lane } from './queue/lane.ts';

/** What of an app does not go out until it is resumed; without a channel: nothing does. It waits meanwhile, and may expire. */
export interface Pause {
  readonly sdkAppId: SdkAppId;
  readonly channel: Lane['channel'] | undefined;
  readonly reason: string;
  /** Who did it; `service`: the service itself said what has to be mended first. */
  readonly actor: string;
  readonly sinceMs: number;
}

/** The pauses, in the database alone: whoever sends asks for them with what is due. */
export interface Pauses {
  /** What is paused already stays as it is, but an operator's word replaces a service's. */
  pause(pause: Omit<Pause, 'sinceMs'>): Promise<void>;
  /** Ends the pause of that channel, or, without one, all of the app. Gives back how many. */
  resume(sdkAppId: SdkAppId, channel?: Lane['channel']): Promise<number>;
  /** Ends what the service of a lane had asked for. */
  mended(lane: Lane): Promise<void>;
  /** Ends all that services had asked for. */
  mendedAll(): Promise<void>;
  list(sdkAppId?: SdkAppId): Promise<Pause[]>;
}

interface PauseRow {
  sdk_app_id: SdkAppId;
  channel: '' | Lane['channel'];
  reason: string;
  actor: string;
  since_ms: number;
}

export const service = 'service';

export function createPauses({ db, clock }: { db: Pick<Database, 'pool'>; clock: () => number }): Pauses {
  return {
    async pause({ sdkAppId, channel, reason, actor }) {
      await db.pool.query(
        `insert into push_pause (sdk_app_id, channel, reason, actor, since_ms) values ($1, $2, $3, $4, $5)
         on conflict (sdk_app_id, channel) do update set reason = excluded.reason, actor = excluded.actor
         where push_pause.actor = '${service}' and excluded.actor <> '${service}'`,
        [sdkAppId, channel ?? '', reason, actor, clock()],
      );
    },
    async resume(sdkAppId, channel) {
      const { rowCount } = await db.pool.query(
        'delete from push_pause where sdk_app_id = $1 and ($2::text is null or channel = $2)',
        [sdkAppId, channel ?? null],
      );
      return rowCount ?? 0;
    },
    async mended({ sdkAppId, channel }) {
      await db.pool.query(`delete from push_pause where sdk_app_id = $1 and channel = $2 and actor = '${service}'`, [
        sdkAppId,
        channel,
      ]);
    },
    async mendedAll() {
      await db.pool.query(`delete from push_pause where actor = '${service}'`);
    },
    async list(sdkAppId) {
      const { rows } = await db.pool.query<PauseRow>(
        'select * from push_pause where $1::bigint is null or sdk_app_id = $1 order by sdk_app_id, channel',
        [sdkAppId ?? null],
      );
      return rows.map(({ sdk_app_id, channel, reason, actor, since_ms }) => ({
        sdkAppId: sdk_app_id,
        channel: channel === '' ? undefined : channel,
        reason,
        actor,
        sinceMs: since_ms,
      }));
    },
  };
}
