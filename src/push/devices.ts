import type { AppLookup, Clock } from '../auth/index.ts';
import type { Metrics } from '../observe/index.ts';
import type { Database, PushChannel } from '../store/index.ts';
import type { SdkAppId } from '../wire/index.ts';

/** Where accounts are reached while they are not there, and what they want of it (S3, S4, S9). */
export interface Devices {
  /**
   * Binds a token to the terminal whose link this is; whoever had it has it no more (S9). `no-service`: the app has none of that channel;
   * `away`: the link has lost its terminal's place.
   */
  set(terminal: TerminalName & { linkId: string }, device: DeviceInput): Promise<'set' | 'no-service' | 'away'>;
  remove(terminal: TerminalName): Promise<void>;
  /** The app went to the background with so many unread messages (S3), or came to the foreground. */
  report(terminal: TerminalName, unread: number): Promise<void>;
  wishes(accountNo: number): Promise<PushWishes>;
  /** What is not named stays; null takes it back. */
  setWishes(accountNo: number, wishes: Partial<PushWishes>): Promise<void>;
  /** The app was opened by the push of a message. The first report counts, and only of what went to this terminal. */
  opened(terminal: TerminalName, message: MessageName): Promise<void>;
}

/** A message as its receiver names it: the peer's account or the group's id, and its seq. */
export interface MessageName {
  readonly kind: 'c2c' | 'group';
  readonly name: string;
  readonly seq: number;
}

export interface TerminalName {
  readonly sdkAppId: SdkAppId;
  readonly accountNo: number;
  readonly platform: string;
}

export interface DeviceInput {
  readonly channel: PushChannel;
  readonly token: string;
  readonly environment: 'production' | 'sandbox';
  /** BCP 47. */
  readonly language: string | undefined;
}

/** Sounds: a file of the app, '' for none, null for the app's own. */
export interface PushWishes {
  readonly isOn: boolean;
  readonly c2cSound: string | null;
  readonly groupSound: string | null;
  readonly videoSound: string | null;
}

const defaults: PushWishes = { isOn: true, c2cSound: null, groupSound: null, videoSound: null };

export function createDevices(deps: {
  db: Pick<Database, 'pool'>;
  apps: AppLookup;
  clock: Clock;
  metrics: Metrics;
}): Devices {
  const { db, apps, clock, metrics } = deps;
  const sets = metrics.counter('qalgate_push_tokens_set_total', 'Tokens that terminals set, by what became of them', [
    'outcome',
  ]);
  const opens = metrics.counter('qalgate_push_opened_total', 'Pushes by which apps were opened, as those say', [
    'channel',
  ]);

  return {
    async set({ sdkAppId, accountNo, platform, linkId }, { channel, token, environment, language }) {
      if (apps.get(sdkAppId)?.push[channel] === undefined) {
        sets.inc({ outcome: 'no-service' });
        return 'no-service';
      }
      const { rows } = await db.pool.query<{ is_set: boolean }>({
        name: 'push_device_set',
        text: 'select push_device_set($1, $2, $3, $4, $5, $6, $7, $8, $9) as is_set',
        values: [sdkAppId, accountNo, platform, linkId, channel, token, environment, language ?? null, clock()],
      });
      const outcome = rows[0]?.is_set === true ? 'set' : 'away';
      sets.inc({ outcome });
      return outcome;
    },

    async remove({ accountNo, platform }) {
      await db.pool.query({
        name: 'push_device_remove',
        text: 'delete from push_device where account_id = $1 and platform = $2',
        values: [accountNo, platform],
      });
    },

    async report({ accountNo, platform }, unread) {
      await db.pool.query({
        name: 'push_device_report',
        text: 'update push_device set badge = $3, seen_ms = $4 where account_id = $1 and platform = $2',
        values: [accountNo, platform, unread, clock()],
      });
    },

    async wishes(accountNo) {
      const { rows } = await db.pool.query<PushWishes>({
        name: 'push_wishes',
        text: `
          select is_on as "isOn", c2c_sound as "c2cSound", group_sound as "groupSound", video_sound as "videoSound"
          from push_settings where account_id = $1`,
        values: [accountNo],
      });
      return rows[0] ?? defaults;
    },

    async setWishes(accountNo, wishes) {
      const given = (name: keyof PushWishes) => name in wishes;
      await db.pool.query({
        name: 'push_wishes_set',
        text: `
          insert into push_settings as s (account_id, is_on, c2c_sound, group_sound, video_sound)
          values ($1, coalesce($2, true), $3, $4, $5)
          on conflict (account_id) do update set
            is_on = coalesce($2, s.is_on),
            c2c_sound = case when $6 then $3 else s.c2c_sound end,
            group_sound = case when $7 then $4 else s.group_sound end,
            video_sound = case when $8 then $5 else s.video_sound end`,
        values: [
          accountNo,
          wishes.isOn ?? null,
          wishes.c2cSound ?? null,
          wishes.groupSound ?? null,
          wishes.videoSound ?? null,
          given('c2cSound'),
          given('groupSound'),
          given('videoSound'),
        ],
      });
    },

    async opened({ sdkAppId, accountNo, platform }, { kind, name, seq }) {
      const place =
        kind === 'group'
          ? 'select conversation_id as id from chat_group where sdk_app_id = $1 and group_id = $2 and dismissed_sec is null'
          : `select c.id from account a
             join conversation c on c.kind = 1 and c.account_a = least(a.id, $3) and c.account_b = greatest(a.id, $3)
             where a.sdk_app_id = $1 and a.identifier = $2 and a.deleted_ms is null`;
      // What was never tried opens nothing; one that is under way may be on the screen already.
      const { rows } = await db.pool.query<{ channel: string }>({
        name: `push_opened_${kind}`,
        text: `
          update push_item i set opened_ms = $6 from (${place}) k
          where i.conversation_id = k.id and i.seq = $5 and i.account_id = $3 and i.platform = $4
            and i.opened_ms is null and (i.done_ms is null or i.attempts > 0)
          returning i.channel`,
        values: [sdkAppId, name, accountNo, platform, seq, clock()],
      });
      for (const { channel } of rows) opens.inc({ channel });
    },
  };
}
