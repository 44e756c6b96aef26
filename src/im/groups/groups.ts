import type { AppLookup } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { Database } from '../../store/index.ts';
import type { Groups } from '../group-services.ts';
import type { Clock } from '../model.ts';
import type { ImPorts } from '../ports.ts';
import type { Accounts, Bus, Words } from '../services.ts';
import type { GroupContext } from './context.ts';
import { createGroupChanges } from './group-change.ts';
import { groupTypeOf, groupTypes } from './group-types.ts';
import { createLifecycle } from './lifecycle.ts';
import { createGroupLists } from './lists.ts';
import { createMemberImport } from './member-import.ts';
import { createMembership } from './membership.ts';
import { createOnlineCount } from './online-count.ts';
import { createGroupProfiles } from './profile.ts';
import { createRequests } from './requests.ts';
import { createRosters } from './rosters.ts';
import { createTelling } from './telling.ts';

/** The groups of all apps (RULES G), and what messages in them need of that. */
export function createGroups(deps: {
  db: Database;
  apps: AppLookup;
  accounts: Accounts;
  words: Words;
  bus: Bus;
  ports: ImPorts;
  clock: Clock;
  random: () => number;
  logger: Logger;
  metrics: Metrics;
}): { groups: Groups; context: GroupContext } {
  const { db, apps, ports, clock, metrics } = deps;
  // Of a type that the app has no more: what it was is not known, so nothing but the least is allowed.
  const typeOf: GroupContext['typeOf'] = (sdkAppId, type) => {
    const app = apps.get(sdkAppId);
    return (app === undefined ? undefined : groupTypeOf(app, type)) ?? groupTypes.Private;
  };
  const rosters = createRosters({ db, metrics });
  const onChanged = createTelling({ ...deps, rosters, typeOf });
  const changes = createGroupChanges({ db, typeOf, ports, clock, onChanged, metrics });
  const context: GroupContext = { ...deps, changes, rosters, typeOf };
  return {
    groups: {
      ...createLifecycle(context),
      ...createMembership(context),
      ...createGroupProfiles(context),
      ...createRequests(context),
      ...createGroupLists(context),
      ...createMemberImport(context),
      ...createOnlineCount(context),
    },
    context,
  };
}
