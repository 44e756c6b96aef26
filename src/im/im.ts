import { randomUUID } from 'node:crypto';
import type { IncomingMessage, RequestListener, ServerOptions } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type AppLookup, createUserSigCheck, type Revocations } from '../auth/index.ts';
import type { Logger, Metrics } from '../observe/index.ts';
import type { AppSettings, ControlBus, Database } from '../store/index.ts';
import type { SdkAppId } from '../wire/index.ts';
import { createAccounts } from './accounts/accounts.ts';
import { type Audience, createAudience } from './audience/audience.ts';
import { type Campaigns, createCampaigns, createRunner, type RunnerOptions } from './campaigns/index.ts';
import { createConnectionLimit } from './connection-limit.ts';
import type { GroupMessages, Groups } from './group-services.ts';
import type { DroppedView as DroppedMessages } from './groups/dropped.ts';
import { createGroupSync } from './groups/group-sync.ts';
import { createGroups } from './groups/groups.ts';
import { createInbox } from './groups/inbox.ts';
import { keepLeaving, type LeavingOptions, leaveAll } from './groups/leaving.ts';
import { createGroupMessages } from './groups/messages/group-messages.ts';
import { createPlaces } from './groups/messages/place.ts';
import { createPacer } from './groups/pacer.ts';
import { createKicks } from './kicks.ts';
import { createLinkEdge, isLinkUpgrade, type LinkTimes } from './link/index.ts';
import { createLocalBus } from './local-bus.ts';
import { createMailbox } from './mailbox/mailbox.ts';
import { createCommitter } from './messages/commit.ts';
import { createCommitTimes } from './messages/commit-times.ts';
import { createConversations } from './messages/conversations.ts';
import { createMessages } from './messages/messages.ts';
import type { Clock } from './model.ts';
import type { ImPorts } from './ports.ts';
import { createPresence, type PresenceOptions } from './presence/index.ts';
import { createProfiles } from './profiles/index.ts';
import { createRestEdge } from './rest/index.ts';
import { createRetention, type RetentionOptions } from './retention.ts';
import type { Accounts, Bus, Mailbox, Messages, Presence, Profiles, Words } from './services.ts';
import { createWords, type WordList } from './words/index.ts';

export interface ImDeps {
  db: Database;
  /** Tells processes of changes. */
  control: ControlBus;
  apps: AppLookup & { list(): AppSettings[] };
  revocations: Revocations;
  /** Default: {@link createLocalBus}, which serves one process. */
  bus?: Bus;
  ports?: ImPorts;
  clock: Clock;
  /** 0 … 1. */
  random: () => number;
  logger: Logger;
  metrics: Metrics;
}

export interface ImOptions {
  /** Whether other processes use the database, too: then the start warns of one that also has links. */
  isShared?: boolean;
  connections: number;
  connectionsPerAddress: number;
  links: number;
  linksPerAddress: number;
  framesPerSec: number;
  queueBytes: number;
  bodyBytes: number;
  wordLists: readonly WordList[];
  trustedProxies: readonly string[];
  presence?: Partial<PresenceOptions>;
  retention?: RetentionOptions;
  campaigns?: RunnerOptions;
  /** Of deleted accounts, from groups. */
  leaving?: LeavingOptions;
  /** Times of links. */
  link?: LinkTimes;
  /** In which a command is answered, over REST and links; default 2,900. */
  commandMs?: number;
  /** Verified UserSigs in memory; default 50,000. */
  maxUserSigs?: number;
}

export interface Im {
  /** For the im listener: what its HTTP server has to know, and what it does. */
  readonly serverOptions: Pick<ServerOptions, 'shouldUpgradeCallback'>;
  readonly handlers: {
    request: RequestListener;
    upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
    connection(socket: Socket): void;
  };
  readonly accounts: Accounts;
  readonly messages: Messages;
  readonly mailbox: Mailbox;
  readonly presence: Presence;
  readonly profiles: Profiles;
  readonly words: Words;
  readonly groups: Groups;
  readonly groupMessages: GroupMessages;
  readonly audience: Audience;
  readonly campaigns: Campaigns;
  /** What the rate limit of a group dropped lately on this process (G31); undefined: there is no such group. */
  groupDrops(sdkAppId: SdkAppId, groupId: string): Promise<DroppedMessages | undefined>;
  /** Runs partition upkeep now; it also runs by itself. */
  maintain(): Promise<void>;
  /** Says goodbye to every link; before the listener closes, which waits for them. New ones are refused from here on. */
  endLinks(): Promise<void>;
  close(): Promise<void>;
}

/**
 * The messaging core with its two edges: `/v4` REST and the link. Rejects when the database does not answer; then nothing is left
 * open.
 */
export async function createIm(deps: ImDeps, options: ImOptions): Promise<Im> {
  const { db, control, apps, revocations, clock, random, logger, metrics, ports = {} } = deps;
  const { commandMs = 2_900 } = options;
  const bus = deps.bus ?? createLocalBus({ logger });
  const nodeId = randomUUID();
  await using stack = new AsyncDisposableStack();

  const retention = createRetention({ db, apps, nodeId, clock, logger, metrics }, options.retention);
  stack.defer(() => retention.close());
  await retention.run();

  const presence = await createPresence(
    { db, bus: control, apps, ports, nodeId, clock, logger, metrics },
    options.presence,
  );
  stack.defer(() => presence.close());
  if (options.isShared === true && deps.bus === undefined) await warnOfOthers();
  const accounts = createAccounts({
    db,
    bus: control,
    revocations,
    async endLinks(account, end) {
      // Of a kick only what it made invalid: who has a newer UserSig may be here already.
      await presence.endAll(account, end, end === 'kicked-by-admin' ? Math.floor(clock() / 1_000) : undefined);
      if (end !== 'account-deleted') return;
      await leaveAll(context, account);
    },
    clock,
    logger,
    metrics,
  });
  stack.defer(() => accounts.close());
  const kicks = createKicks({ db, control, accounts, presence, nodeId, logger });
  stack.defer(() => kicks.close());
  /** The bus of one process does not reach another: there a message is found with the next look, not at once. */
  async function warnOfOthers(): Promise<void> {
    const { rows } = await db.pool.query<{ count: number }>(
      'select count(*) as count from node where id <> $1 and lease_until > now()',
      [nodeId],
    );
    const processes = rows[0]?.count ?? 0;
    if (processes > 0) logger.warn({ processes }, 'im.bus.not_shared');
  }
  const words = await createWords({ db, bus: control, apps, clock, logger, metrics }, { wordLists: options.wordLists });
  stack.defer(() => words.close());
  const profiles = createProfiles({ db, apps, words, bus, logger, metrics });
  const conversations = createConversations({ db, clock, metrics });
  const times = createCommitTimes();
  const committer = createCommitter({ db, times, clock, logger, metrics });
  const messages = createMessages({
    db,
    apps,
    accounts,
    conversations,
    committer,
    words,
    bus,
    ports,
    clock,
    random,
    logger,
    metrics,
  });
  const mailbox = createMailbox({ db, apps, conversations, bus, clock, logger, metrics });
  stack.defer(() => mailbox.close());
  const userSigs = createUserSigCheck(
    { apps, revocations, bus: control, clock, metrics },
    { maxCached: options.maxUserSigs ?? 50_000 },
  );
  stack.defer(() => userSigs.close());
  const { groups, context } = createGroups({
    db,
    apps,
    accounts,
    words,
    bus,
    ports,
    clock,
    random,
    logger,
    metrics,
  });
  const leaving = keepLeaving(context, { logger }, options.leaving);
  stack.defer(() => leaving.close());
  const pacer = createPacer({ clock, random, metrics });
  stack.defer(() => pacer.close());
  const groupMessages = createGroupMessages({ ...context, profiles, words, committer, pacer, metrics });
  stack.defer(() => groupMessages.close());
  const groupSync = createGroupSync({ ...context, placeOf: createPlaces(context) });
  const inbox = createInbox({ db, bus, clock });
  const audience = createAudience({ db });
  const runner = createRunner({ db, apps, bus, ports, times, clock, logger, metrics }, options.campaigns);
  stack.defer(() => runner.close());
  const campaigns = createCampaigns({ db, wake: runner.wake, clock, random });
  const services = {
    ...{ apps, accounts, messages, mailbox, presence, profiles, words },
    ...{ groups, groupMessages, audience, campaigns },
  };
  const rest = await createRestEdge(
    { ...services, checkUserSig: userSigs.check, clock, random, logger, metrics },
    { bodyBytes: options.bodyBytes, trustedProxies: options.trustedProxies, commandMs },
  );
  stack.defer(() => rest.close());
  const links = createLinkEdge(
    {
      ...services,
      groupSync,
      inbox,
      devices: ports.devices,
      db,
      verifyLogin: userSigs.check,
      bus,
      clock,
      random,
      logger,
      metrics,
    },
    { ...options, ...options.link, commandMs },
  );
  stack.defer(() => links.close());

  const opened = stack.move();
  return {
    serverOptions: { shouldUpgradeCallback: isLinkUpgrade },
    handlers: {
      request: rest.handler,
      upgrade: links.upgrade,
      connection: createConnectionLimit({ metrics }, options),
    },
    ...services,
    async groupDrops(sdkAppId, groupId) {
      const group = await groups.find(sdkAppId, groupId);
      return group === undefined ? undefined : pacer.dropped(group.conversationId);
    },
    maintain: retention.run,
    endLinks: () => links.close(),
    close: () => opened.disposeAsync(),
  };
}
