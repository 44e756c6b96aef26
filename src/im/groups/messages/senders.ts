import { LRUCache } from 'lru-cache';
import type { AppLookup } from '../../../auth/index.ts';
import type { Account, AccountNo } from '../../model.ts';
import { findField } from '../../profiles/index.ts';
import type { Bus, ProfileFields, Profiles } from '../../services.ts';
import type { CustomFields, Group, GroupMember, Priority } from '../model.ts';
import { senderFieldsOf } from '../settings.ts';
import { perType } from './per-type.ts';

/** What group messages say of who sent them, as it was when they were accepted (G25). */
export interface Senders {
  /** The profile of an account, as far as messages show it. */
  profileOf(account: Account): Promise<ProfileFields>;
  /** JSON text of what a message carries besides; `member`: the sender's row, who may be none (G22). */
  extraOf(message: {
    profile: ProfileFields;
    member: GroupMember | undefined;
    group: Group;
    priority: Priority;
  }): string;
  close(): void;
}

/**
 * Profiles are remembered for a while, or there would be a query more a message. A change through `Profiles` shows at once, by its
 * event; one that has none (an import of accounts, a process that the bus does not reach) after `ttlMs`.
 */
export function createSenders(
  deps: { apps: AppLookup; profiles: Pick<Profiles, 'get'>; bus: Pick<Bus, 'subscribe' | 'onGap'> },
  { max = 20_000, ttlMs = 3_000 }: { max?: number; ttlMs?: number } = {},
): Senders {
  const { apps, profiles, bus } = deps;
  const known = new LRUCache<AccountNo, Promise<ProfileFields>>({ max, ttl: ttlMs });
  const leaveBus = bus.subscribe((to, event) => {
    if (event.kind === 'profile') known.delete(to);
  });
  const leaveGaps = bus.onGap(() => known.clear());

  const fieldsOf = perType((app, type) => {
    const { account, ...fields } = senderFieldsOf(app, type);
    return { ...fields, account: profileNamesOf(app, account) };
  });

  async function read(account: Account): Promise<ProfileFields> {
    const app = apps.get(account.sdkAppId);
    const custom = app === undefined ? [] : profileNamesOf(app, app.im.groupSenderFields.account);
    const names = ['nick', 'faceUrl', ...custom.map(([, name]) => name)];
    const found = await profiles.get([account], names, () => 'administrator');
    return (found.ok && found.value.get(account.no)) || {};
  }

  return {
    profileOf(account) {
      const found = known.get(account.no);
      if (found !== undefined) return found;
      const reading = read(account);
      known.set(account.no, reading);
      reading.catch(() => known.delete(account.no));
      return reading;
    },
    extraOf({ profile, member, group, priority }) {
      const app = apps.get(group.sdkAppId);
      const { nick, faceUrl } = profile;
      const extra: Record<string, unknown> = { priority };
      if (nick) extra.nick = nick;
      if (faceUrl) extra.faceUrl = faceUrl;
      if (member?.nameCard) extra.card = member.nameCard;
      if (app !== undefined) {
        const fields = fieldsOf(app, group.type);
        const custom = {
          ...part('account', profile, fields.account),
          ...part('group', group.custom, fields.group.map(twice)),
          ...part('member', member?.custom ?? {}, fields.member.map(twice)),
        };
        if (Object.keys(custom).length > 0) extra.custom = custom;
      }
      return JSON.stringify(extra);
    },
    close() {
      leaveBus();
      leaveGaps();
    },
  };
}

type App = NonNullable<ReturnType<AppLookup['get']>>;
const twice = (key: string): [string, string] => [key, key];

/** Keywords of custom profile fields, and what the fields are called inside; of those that there are. */
function profileNamesOf(app: App, keywords: readonly string[]): [keyword: string, name: string][] {
  return keywords.flatMap((keyword) => {
    const name = findField(app, `Tag_Profile_Custom_${keyword}`)?.name;
    return name === undefined ? [] : [[keyword, name] as [string, string]];
  });
}

/** Those of the fields that are set, under one name; nothing where none is. */
function part(
  name: string,
  values: CustomFields | ProfileFields,
  fields: readonly (readonly [key: string, name: string])[],
): Record<string, object> {
  const some = fields.filter(([, from]) => Object.hasOwn(values, from)).map(([key, from]) => [key, values[from]]);
  return some.length === 0 ? {} : { [name]: Object.fromEntries(some) };
}
