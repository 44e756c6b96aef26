import type { AppStore } from '../store/index.ts';
import type { SdkAppId } from '../wire/index.ts';
import type { Handle } from './answer.ts';
import { findApp } from './app-lookup.ts';
import type { Asking } from './database-away.ts';

/** What the rate limit of a group dropped lately, on this process; undefined: the app has no such group. */
export type GroupDrops = (sdkAppId: SdkAppId, groupId: string) => Promise<object | undefined>;

/** What operators see of groups (G31): whose messages were dropped, of which priority, and why. */
export function createGroupCommands({
  apps,
  groupDrops,
  asking,
}: {
  apps: AppStore;
  groupDrops: GroupDrops;
  asking: Asking;
}): { dropped: Handle } {
  return {
    dropped: asking(async ({ sdkAppId, query }) => {
      const found = await findApp(apps, sdkAppId);
      if (!found.ok) return found;
      const { group } = query as Record<string, unknown>;
      if (typeof group !== 'string' || group === '') {
        return { ok: false, code: 'INVALID_FIELD', field: 'group', reason: 'is missing', allowed: 'the id of a group' };
      }
      const view = await groupDrops(found.value.settings.sdkAppId, group);
      if (view === undefined) {
        return { ok: false, code: 'NOT_FOUND', field: 'group', reason: 'the app has no such group' };
      }
      return { ok: true, value: { status: 200, body: view } };
    }),
  };
}
