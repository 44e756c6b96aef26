import type { AppLookup } from '../../auth/index.ts';
import type { SdkAppId } from '../../wire/index.ts';
import { groupTypeNames } from './group-types.ts';
import { groupRoamingSince } from './messages/history.ts';

/**
 * Unread of the account `$1` in the group's conversation `c` by its stay `m`, `since` being the SQL of the time of the oldest message
 * that is still there: the counters say it, unless unread messages may have expired (M14). Who discards has none (G26).
 */
export const unreadSince = (since: string) => `
  case
    when m.msg_flag = 'Discard' or c.counted - m.read_counted - m.uncounted_after_read <= 0 then 0
    when m.read_time >= ${since} then c.counted - m.read_counted - m.uncounted_after_read
    when c.last_time < ${since} then 0
    else (
      select count(*) from message x
      where x.conversation_id = c.id and x.seq > m.read_seq and x.day between ${since} / 86400 and c.last_day
        and x.counts and x.sender_id <> $1 and x.recall_no = 0 and x.msg_time >= ${since}
    )
  end`;

/** In a query over groups of several types: since when messages of each are kept, as `r`. `types`: SQL of {@link sinceByType}. */
export const keptSince = (types: string) =>
  `lateral (select coalesce((${types}::jsonb ->> g.type)::bigint, 0) as since) r`;

/** JSON of the oldest time, Unix seconds, of messages of each type of the app that are still there (G23). */
export function sinceByType(apps: AppLookup, sdkAppId: SdkAppId, nowMs: number): string {
  const app = apps.get(sdkAppId);
  const types = app === undefined ? [] : groupTypeNames(app);
  return JSON.stringify(
    Object.fromEntries(types.map((type) => [type, groupRoamingSince(apps, sdkAppId, type, nowMs)])),
  );
}
