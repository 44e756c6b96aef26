import type { AppLookup } from '../../auth/index.ts';
import type { Logger, Metrics } from '../../observe/index.ts';
import type { AppSettings, ControlBus, Database } from '../../store/index.ts';
import type { AccountNo, Clock } from '../model.ts';
import type { ImPorts } from '../ports.ts';
import type { KickedBy, LinkEnd, LoginInput, LoginResult, Platform, Presence } from '../services.ts';
import { createLinkCheck } from './link-check.ts';
import { createNodeEnds } from './node-end.ts';
import { createOwnLinks } from './own-links.ts';
import { createQuery } from './query.ts';
import { createStateEvents } from './state-events.ts';
import { conflictsOf, pushOnlineMs, stateWithLink, stateWithoutLink } from './terminal-state.ts';
import { startUpkeep, type UpkeepOptions } from './upkeep.ts';

export interface PresenceDeps {
  db: Database;
  bus: ControlBus;
  apps: AppLookup & { list(): AppSettings[] };
  ports: Pick<ImPorts, 'consumers' | 'written'>;
  /** Names this process; another one at each start. */
  nodeId: string;
  clock: Clock;
  logger: Logger;
  metrics: Metrics;
}

export interface PresenceOptions extends UpkeepOptions {
  /** A terminal that was not heard of for so long is offline. */
  offlineMs: number;
}

const defaults: PresenceOptions = { leaseMs: 15_000, renewMs: 5_000, orphansMs: 60_000, offlineMs: 400_000 };

interface LoginRow {
  what: 'login' | 'resumed' | 'away' | 'no-account' | 'revoked' | 'kicked' | 'replaced';
  platform: Platform | null;
  node_id: string | null;
  link_id: string | null;
  by_platform: string | null;
  at_ms: number | null;
}

/** How a message on the control bus says that a link has to end. */
interface LinkMessage {
  nodeId: string;
  linkId: string;
  accountNo: AccountNo;
  end: LinkEnd;
  platform?: string;
  at?: number;
}

const linkEnds: readonly LinkEnd[] = ['kicked', 'kicked-by-admin', 'account-deleted', 'replaced'];

/**
 * Terminals and their links, over all processes. The table `terminal` is the truth: a link has its terminal's place while the row
 * names it, and every change of a place is one statement there. The control bus only tells sooner what {@link createLinkCheck}
 * finds anyway. Nothing is written for a heartbeat: a process vouches for all its links with one lease.
 *
 * Rejects when the database does not answer at the start.
 */
export async function createPresence(deps: PresenceDeps, options: Partial<PresenceOptions> = {}): Promise<Presence> {
  const { db, bus, apps, ports, nodeId, clock, logger, metrics } = deps;
  const { offlineMs, ...upkeepOptions } = { ...defaults, ...options };
  const links = createOwnLinks({ metrics });
  /** Links whose row is being changed by us: a check must not take them for forgotten. */
  const changing = new Map<string, 'login' | 'leave'>();
  /** Logins under way that were ended before they were done. */
  const endedEarly = new Set<string>();
  const listeners = new Set<Parameters<Presence['onEnd']>[0]>();
  const logins = metrics.counter('qalgate_im_logins_total', 'Logins of links by what became of them', ['outcome']);
  const kicks = metrics.counter('qalgate_im_kicks_total', 'Links that were told to end, by why', ['kind']);
  const healed = metrics.counter(
    'qalgate_im_links_healed_total',
    'Links found to have lost their place without having been told',
  );
  const events = createStateEvents({ apps, ports });

  const nodeEnds = createNodeEnds({ db, events, clock });
  const check = createLinkCheck({
    db,
    nodeId,
    links,
    isPending: (linkId) => changing.has(linkId),
    end: endLink,
    events,
    clock,
    logger,
    onHealed: (count) => healed.inc(count),
  });

  /** Ends a link of this process; whoever has it closes it. */
  function endLink(linkId: string, end: LinkEnd, by?: KickedBy): void {
    if (!links.delete(linkId) && changing.get(linkId) === 'login') endedEarly.add(linkId);
    for (const fn of listeners) {
      try {
        fn(linkId, end, by);
      } catch (error) {
        logger.error({ err: error }, 'im.presence.listener.failed');
      }
    }
  }

  /** Tells the process that has the link. Its row says so already, so what is lost here is found by the check. */
  function tellEnd(message: LinkMessage): void {
    kicks.inc({ kind: message.end });
    const { linkId, end, platform, at } = message;
    if (message.nodeId === nodeId) {
      endLink(linkId, end, platform === undefined || at === undefined ? undefined : { platform, at });
      return;
    }
    bus.publish('links', message).catch((error: unknown) => logger.warn({ err: error }, 'im.presence.tell.failed'));
  }

  function onMessage(payload: unknown): void {
    const message = parseMessage(payload);
    if (message === undefined || message.nodeId !== nodeId) return;
    const { linkId, end, platform, at } = message;
    endLink(linkId, end, platform === undefined || at === undefined ? undefined : { platform, at });
  }

  async function claim(input: LoginInput): Promise<LoginResult> {
    const { account, platform, linkId, resume, issuedAtSec } = input;
    const policy = apps.get(account.sdkAppId)?.im.multiTerminal ?? 'single';
    const { rows } = await db.pool.query<LoginRow>({
      name: 'im_login',
      text: 'select * from im_login($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)',
      values: [
        account.no,
        platform,
        linkId,
        resume ?? null,
        nodeId,
        clock(),
        [...conflictsOf(policy, platform)],
        issuedAtSec ?? null,
        events.bitsOf(account.sdkAppId),
        pushOnlineMs,
      ],
    });
    const [outcome, ...ended] = rows;
    if (outcome === undefined) throw new Error('im_login gave no row');
    events.written(account.sdkAppId, account.no);
    logins.inc({ outcome: outcome.what });
    for (const { what, platform: kind, node_id, link_id, at_ms } of ended) {
      if (node_id === null || link_id === null) continue;
      const by = what === 'kicked' ? { platform, at: Math.floor((at_ms ?? 0) / 1_000) } : {};
      const end = what === 'kicked' ? 'kicked' : 'replaced';
      tellEnd({ nodeId: node_id, linkId: link_id, accountNo: account.no, end, ...by });
      logger.info({ sdkAppId: account.sdkAppId, accountNo: account.no, platform: kind, end }, 'im.terminal.ended');
    }
    const by =
      outcome.by_platform === null || outcome.at_ms === null
        ? undefined
        : { platform: outcome.by_platform, at: Math.floor(outcome.at_ms / 1_000) };
    switch (outcome.what) {
      case 'login':
        return { ok: true, value: { isResumed: false, ...(by === undefined ? {} : { kickedWhileAway: by }) } };
      case 'resumed':
        return { ok: true, value: { isResumed: true } };
      case 'away':
        return {
          ok: false,
          error: 'KICKED_WHILE_AWAY',
          field: 'resume',
          ...(by === undefined ? {} : { by }),
        };
      case 'revoked':
        return { ok: false, error: 'USERSIG_REVOKED', field: 'userSig' };
      default:
        return { ok: false, error: 'ACCOUNT_NOT_REGISTERED', field: 'identifier' };
    }
  }

  const upkeep = await startUpkeep({ db, nodeId, check, nodeEnds, clock, logger, metrics }, upkeepOptions);
  const stops = [bus.subscribe('links', onMessage), bus.onReconnect(() => upkeep.checkSoon())];
  let closing: Promise<void> | undefined;

  return {
    async login(input) {
      const { account, platform, linkId } = input;
      changing.set(linkId, 'login');
      try {
        const result = await claim(input);
        // Another login may have taken the place already; the link has heard of it.
        if (result.ok && !endedEarly.has(linkId)) links.add(linkId, { account, platform, isBackground: false });
        return result;
      } finally {
        changing.delete(linkId);
        endedEarly.delete(linkId);
      }
    },

    async leave(account, platform, linkId, reason) {
      changing.set(linkId, 'leave');
      const link = links.get(linkId);
      links.delete(linkId);
      try {
        if (reason === 'kicked') {
          await db.pool.query({
            name: 'im_terminal_told',
            text: `
              update terminal set kicked_ms = null, kicked_by = null, link_id = null
              where account_id = $1 and platform = $2 and link_id = $3 and kicked_ms is not null`,
            values: [account.no, platform, linkId],
          });
          return;
        }
        const nowMs = clock();
        const { rowCount } = await db.pool.query({
          name: 'im_terminal_leave',
          text: `
            with ended as (
              update terminal set node_id = null, state = $4, last_there_ms = $5,
                link_id = case when $6 = 'logout' then null else link_id end
              where account_id = $1 and platform = $2 and link_id = $3 and node_id is not null
              returning account_id
            )
            select im_state_event($7, $8, account_id, $9, $2, $4, $6, $10) from ended where $7 <> 0`,
          values: [
            account.no,
            platform,
            linkId,
            reason === 'logout' ? 'offline' : stateWithoutLink(platform),
            // Nothing was heard of it since then.
            reason === 'timeout' ? nowMs - offlineMs : nowMs,
            reason,
            events.bitsOf(account.sdkAppId),
            account.sdkAppId,
            account.identifier,
            nowMs,
          ],
        });
        if (rowCount !== 0) events.written(account.sdkAppId, account.no);
      } catch (error) {
        // A link that could not log out is still there; the end of one that is gone is written down by the check.
        if (reason === 'logout' && link !== undefined) links.add(linkId, link);
        throw error;
      } finally {
        changing.delete(linkId);
      }
    },

    async report(account, platform, linkId, isBackground) {
      const link = links.get(linkId);
      if (link === undefined || link.isBackground === isBackground) return;
      await db.pool.query({
        name: 'im_terminal_report',
        text: `
          update terminal set is_background = $4, state = $5, last_there_ms = $6
          where account_id = $1 and platform = $2 and link_id = $3 and node_id is not null`,
        values: [account.no, platform, linkId, isBackground, stateWithLink(platform, isBackground), clock()],
      });
      link.isBackground = isBackground;
    },

    query: createQuery({ db, clock }),

    async endAll(account, end, issuedUntilSec) {
      const { rows } = await db.pool.query<{ node_id: string; link_id: string }>({
        name: 'im_end_all',
        text: 'select * from im_end_all($1, $2, $3, $4, $5)',
        values: [account.no, clock(), events.bitsOf(account.sdkAppId), pushOnlineMs, issuedUntilSec ?? null],
      });
      events.written(account.sdkAppId, account.no);
      for (const { node_id, link_id } of rows) {
        tellEnd({ nodeId: node_id, linkId: link_id, accountNo: account.no, end });
      }
    },

    onEnd(fn) {
      listeners.add(fn);
      return () => listeners.delete(fn);
    },

    close() {
      closing ??= (async () => {
        for (const stop of stops) stop();
        await upkeep.close();
        // Whoever comes back resumes: its place is still its own.
        await nodeEnds.end(nodeId).catch((error: unknown) => logger.warn({ err: error }, 'im.presence.close.failed'));
        links.clear();
        listeners.clear();
      })();
      return closing;
    },
  };
}

/** Reads a bus message; undefined for what a later release may send. */
function parseMessage(payload: unknown): LinkMessage | undefined {
  if (typeof payload !== 'object' || payload === null) return undefined;
  const { nodeId, linkId, accountNo, end, platform, at } = payload as Record<string, unknown>;
  if (typeof nodeId !== 'string' || typeof linkId !== 'string' || typeof accountNo !== 'number') return undefined;
  if (!linkEnds.includes(end as LinkEnd)) return undefined;
  return {
    nodeId,
    linkId,
    accountNo: accountNo as AccountNo,
    end: end as LinkEnd,
    ...(typeof platform === 'string' && typeof at === 'number' ? { platform, at } : {}),
  };
}
