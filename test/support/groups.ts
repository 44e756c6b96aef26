import { randomUUID } from 'node:crypto';
import type { Test } from 'tap';
import { createRevocations } from '../../src/auth/index.ts';
import { createAccounts } from '../../src/im/accounts/accounts.ts';
import type { Actor, GroupMessages, GroupSendInput } from '../../src/im/group-services.ts';
import {
  createGroupChanges,
  type GroupChanges,
  type NewGroup,
  type OpenChange,
} from '../../src/im/groups/group-change.ts';
import { groupTypeOf } from '../../src/im/groups/group-types.ts';
import { createGroupMessages } from '../../src/im/groups/messages/group-messages.ts';
import type { Group, GroupRole } from '../../src/im/groups/model.ts';
import type { Pacer } from '../../src/im/groups/pacer.ts';
import { createRosters, type Rosters } from '../../src/im/groups/rosters.ts';
import { createLocalBus } from '../../src/im/local-bus.ts';
import { createCommitter } from '../../src/im/messages/commit.ts';
import type { Account, AccountNo } from '../../src/im/model.ts';
import type { ImPorts } from '../../src/im/ports.ts';
import { createProfiles } from '../../src/im/profiles/index.ts';
import { createRetention } from '../../src/im/retention.ts';
import type { Accounts, Bus, LinkEvent, Profiles, Words } from '../../src/im/services.ts';
import { createWords } from '../../src/im/words/index.ts';
import { createMetrics, type Metrics } from '../../src/observe/index.ts';
import { type AppSettings, createControlBus, type Database } from '../../src/store/index.ts';
import type { AccountId, ImResult } from '../../src/wire/index.ts';
import { completeApp } from './app-settings.ts';
import { makeTestLogger } from './database.ts';
import { createMovableClock, imAppId, type MovableClock } from './im.ts';
import { textBody } from './im-draft.ts';

export interface TestGroupsOptions {
  app?: Record<string, unknown>;
  ports?: ImPorts;
  pacer?: Pick<Pacer, 'admit'>;
  clock?: MovableClock;
}

/** Something that was told to terminals. */
export interface Told {
  readonly to: AccountNo;
  readonly event: LinkEvent;
  readonly exceptLink: string | undefined;
}

/** The parts that carry group messages, as one process has them, on a database that several may share. */
export interface TestGroups {
  readonly db: Database;
  readonly messages: GroupMessages;
  readonly changes: GroupChanges;
  readonly rosters: Rosters;
  readonly accounts: Accounts;
  readonly profiles: Profiles;
  readonly words: Words;
  readonly bus: Bus;
  readonly clock: MovableClock;
  readonly metrics: Metrics;
  /** Everything that was told, in order. */
  readonly told: Told[];
  readonly app: AppSettings;
  account(name: string): Promise<Account>;
  /** A group of that type: its owner first, then members. */
  group(type: string, members: readonly Account[], more?: Partial<NewGroup>): Promise<Group>;
  /** Changes a group, and throws where that is refused. */
  change(group: Group, fn: (change: OpenChange) => Promise<unknown>): Promise<void>;
  send(from: Account, group: Group, draft?: Partial<GroupSendInput['draft']>): ReturnType<GroupMessages['send']>;
}

export async function openGroups(
  t: Test,
  { db }: { db: Database },
  { app: settings = {}, ports = {}, pacer, clock = createMovableClock() }: TestGroupsOptions = {},
): Promise<TestGroups> {
  const { logger } = makeTestLogger();
  const metrics = createMetrics();
  const app = completeApp({ sdkAppId: imAppId, secret: 'a secret of sixteen or more', im: settings });
  const apps = { get: (sdkAppId: number) => (sdkAppId === imAppId ? app : undefined), list: () => [app] };
  const control = createControlBus(db, { logger });
  await control.ready();
  const revocations = await createRevocations(
    { db, bus: control, clock, logger, metrics },
    { sessionLifetimeMs: 900_000 },
  );
  const retention = createRetention(
    { db, apps, nodeId: randomUUID(), clock, logger, metrics },
    { maxAheadMs: Number.POSITIVE_INFINITY },
  );
  await retention.run();
  const bus = createLocalBus({ logger });
  const told: Told[] = [];
  bus.subscribe((to, event, exceptLink) => void told.push({ to, event, exceptLink }));
  const accounts = createAccounts({
    db,
    bus: control,
    revocations,
    endLinks: async () => {},
    clock,
    logger,
    metrics,
  });
  const words = await createWords({ db, bus: control, apps, clock, logger, metrics }, { wordLists: [] });
  const profiles = createProfiles({ db, apps, words, bus, logger, metrics });
  const rosters = createRosters({ db, metrics });
  const typeOf = (_: number, type: string) => {
    const row = groupTypeOf(app, type);
    if (row === undefined) throw new Error(`no type ${type}`);
    return row;
  };
  const changes = createGroupChanges({ db, typeOf, ports, clock, onChanged: (news) => rosters.apply(news), metrics });
  const messages = createGroupMessages({
    db,
    apps,
    accounts,
    profiles,
    words,
    rosters,
    changes,
    committer: createCommitter({ db, clock, logger, metrics }),
    ...(pacer === undefined ? {} : { pacer }),
    bus,
    ports,
    typeOf,
    clock,
    metrics,
  });
  t.teardown(async () => {
    messages.close();
    await words.close();
    await accounts.close();
    await revocations.close();
    await retention.close();
    await control.close();
  });

  const change: TestGroups['change'] = async (group, fn) => {
    const done = await changes.run(group.conversationId, async (open) => {
      await fn(open);
      return { ok: true, value: undefined };
    });
    if (!done.ok) throw new Error(done.error);
  };

  return {
    ...{ db, messages, changes, rosters, accounts, profiles, words, bus, clock, metrics, told, app },
    account: (name) => accounts.ensure(imAppId, name as AccountId),
    async group(type, members, more = {}) {
      const [owner] = members;
      const nowSec = Math.floor(clock() / 1_000);
      const made: ImResult<Group> = await changes.make(
        {
          sdkAppId: imAppId,
          groupId: `g${++serial}`,
          type,
          name: 'Tea club',
          introduction: '',
          notification: '',
          faceUrl: '',
          owner: owner?.no,
          maxMembers: 10_000,
          applyOption: 'FreeAccess',
          isHidden: false,
          custom: {},
          createdSec: nowSec,
          ...more,
        },
        async (open) => {
          await open.join(
            members.map((account): { account: Account; role: GroupRole } => ({
              account,
              role: account === owner ? 'Owner' : 'Member',
            })),
          );
          return { ok: true, value: open.group };
        },
      );
      if (!made.ok) throw new Error(made.error);
      return made.value;
    },
    change,
    send: (from, group, draft = {}) => messages.send(groupSend(from, group, draft)),
  };
}

let serial = 0;

/** Who does something: from a link as itself, or as the app's administrator. */
export function actorOf(account: Account, more: Partial<Actor> = {}): Actor {
  return { account, authority: 'self', origin: { platform: 'Android', address: '' }, ...more };
}

/** A send as a member's terminal would make it, with a Random of its own. */
export function groupSend(
  from: Account,
  { groupId }: Pick<Group, 'groupId'>,
  draft: Partial<GroupSendInput['draft']> = {},
  more: Partial<GroupSendInput> = {},
): GroupSendInput {
  return {
    actor: actorOf(from),
    from,
    groupId,
    draft: {
      body: textBody('hello'),
      random: Math.floor(Math.random() * 4_294_967_296),
      priority: 'Normal',
      isOnlineOnly: false,
      ...draft,
    },
    deadline: AbortSignal.timeout(10_000),
    ...more,
  };
}
