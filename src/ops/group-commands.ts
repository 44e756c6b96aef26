import type { AppStore } from '../store/index.ts';
import { groupIdForm, type SdkAppId } from '../wire/index.ts';
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
      const allowed = `the id of a group: ${groupIdForm.allowed}`;
      if (group === undefined || group === '') {
        return { ok: false, code: 'INVALID_FIELD', field: 'group', reason: 'is missing', allowed };
      }
      if (typeof group !== 'string' || !groupIdForm.pattern.test(group)) {
        return { ok: false, code: 'INVALID_FIELD', field: 'group', reason: 'is no id of a group', allowed };
      }
      const view = await groupDrops(found.value.settings.sdkAppId, group);
      if (view === undefined) {
        return { ok: false, code: 'NOT_FOUND', field: 'group', reason: 'the app has no such group' };
      }
      return { ok: true, value: { status: 200, body: view } };
    }),
  };
}
