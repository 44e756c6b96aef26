import type { AppLookup } from '../../../auth/index.ts';
import type { Metrics } from '../../../observe/index.ts';
import type { Database } from '../../../store/index.ts';
import type { GroupMessages } from '../../group-services.ts';
import type { Committer } from '../../messages/commit.ts';
import type { Clock } from '../../model.ts';
import type { ImPorts } from '../../ports.ts';
import type { Accounts, Bus, Profiles, Words } from '../../services.ts';
import type { GroupChanges } from '../group-change.ts';
import type { GroupTypeRow } from '../group-types.ts';
import type { Pacer } from '../pacer.ts';
import type { Rosters } from '../rosters.ts';
import { createDeleteBySender } from './delete-by-sender.ts';
import { createGroupHistory } from './history.ts';
import { createImporting } from './importing.ts';
import { createAdmit } from './pacing.ts';
import { createPlaces } from './place.ts';
import { createReading } from './reading.ts';
import { createGroupRecall } from './recall.ts';
import { createSenders } from './senders.ts';
import { createSending } from './sending.ts';
import { createStoring } from './storing.ts';

export interface GroupMessagesDeps {
  db: Database;
  apps: AppLookup;
  accounts: Pick<Accounts, 'find'>;
  profiles: Pick<Profiles, 'get'>;
  words: Pick<Words, 'findInBody'>;
  rosters: Pick<Rosters, 'get' | 'current'>;
  changes: Pick<GroupChanges, 'run'>;
  committer: Committer;
  /** The rate limit; without one everything passes. */
  pacer?: Pick<Pacer, 'admit'>;
  bus: Bus;
  ports: ImPorts;
  typeOf(sdkAppId: number, type: string): GroupTypeRow;
  clock: Clock;
  metrics: Metrics;
}

/** Puts the parts together. */
export function createGroupMessages(deps: GroupMessagesDeps): GroupMessages & { close(): void } {
  const senders = createSenders(deps);
  const placeOf = createPlaces(deps);
  const storing = createStoring({ ...deps, senders });
  return {
    send: createSending({ ...deps, storing, admit: createAdmit({ apps: deps.apps, pacer: deps.pacer }) }),
    history: createGroupHistory({ ...deps, placeOf }),
    recall: createGroupRecall({ ...deps, placeOf }),
    deleteBySender: createDeleteBySender({ ...deps, placeOf }),
    ...createReading({ ...deps, placeOf }),
    importMany: createImporting({ ...deps, storing }),
    close: senders.close,
  };
}
