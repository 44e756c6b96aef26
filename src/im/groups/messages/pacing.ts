import type { AppLookup } from '../../../auth/index.ts';
import type { GroupSendInput, Roster } from '../../group-services.ts';
import type { GroupLimits, Pacer, Verdict } from '../pacer.ts';
import { groupRateOf } from '../settings.ts';
import { perType } from './per-type.ts';

/** Whether a message passes the rate limit of its group (G28–G32). */
export type Admit = (roster: Roster, input: GroupSendInput) => Verdict | Promise<Verdict>;

/** By the limits that the app has set for the type. Without a pacer everything passes. */
export function createAdmit({ apps, pacer }: { apps: AppLookup; pacer: Pick<Pacer, 'admit'> | undefined }): Admit {
  if (pacer === undefined) return () => 'go';
  return ({ group, members }, { actor, from, draft, deadline }) => {
    const app = apps.get(group.sdkAppId);
    if (app === undefined) return 'go';
    const role = members.get(from.no)?.role;
    return pacer.admit(
      group.conversationId,
      limitsOf(app, group.type),
      {
        priority: draft.priority,
        isExempt: actor.authority === 'administrator' || role === 'Owner' || role === 'Admin',
        sender: from.identifier,
      },
      deadline,
    );
  };
}

/** The pacer takes limits that are another object for other ones. */
const limitsOf = perType((app, type): GroupLimits => {
  const { perSec, normalPerSec, lowPerSec, lowestPerSec } = groupRateOf(app, type);
  return {
    perSec: unlimitedAt0(perSec),
    normalPerSec: unlimitedAt0(normalPerSec),
    lowPerSec: unlimitedAt0(lowPerSec),
    lowestPerSec: unlimitedAt0(lowestPerSec),
  };
});

const unlimitedAt0 = (perSec: number): number => (perSec === 0 ? Number.POSITIVE_INFINITY : perSec);
