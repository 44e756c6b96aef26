import type { Logger } from '../../observe/index.ts';
import type { LinkEndName } from '../../wire/index.ts';
import { failureOf } from '../failure.ts';
import type { KickedBy, LinkEnd, Presence, StateReason } from '../services.ts';
import { createGate } from './gate.ts';
import type { Link } from './link.ts';

/** Ends that ask the database at once: a thousand links that go do not keep messages waiting. */
const maxAtOnce = 4;
const logEveryMs = 1_000;

/**
 * What presence is told when the service ends a link. Undefined: nothing, because it knows (it said so), or tells all of them
 * at once (shutdown).
 */
const reasons: Record<LinkEndName, 'link-closed' | 'timeout' | undefined> = {
  SHUTDOWN: undefined,
  TOO_SLOW: 'link-closed',
  NO_HEARTBEAT: 'timeout',
  LOGIN_TIMEOUT: undefined,
  RATE_LIMITED: 'link-closed',
  UNAVAILABLE: 'link-closed',
  KICKED: undefined,
  KICKED_BY_ADMIN: undefined,
  USERSIG_EXPIRED: 'link-closed',
  USERSIG_INVALID: undefined,
  APP_UNKNOWN: 'link-closed',
  PROTOCOL: 'link-closed',
  FRAME_TOO_BIG: 'link-closed',
  LOGGED_OUT: undefined,
  ACCOUNT_DELETED: undefined,
  REPLACED: undefined,
};

/** How a link ends that presence ends. */
export const endNames: Record<LinkEnd, LinkEndName> = {
  kicked: 'KICKED',
  'kicked-by-admin': 'KICKED_BY_ADMIN',
  'account-deleted': 'ACCOUNT_DELETED',
  replaced: 'REPLACED',
};

export function kickReason({ platform }: KickedBy): string {
  return `a terminal of kind ${platform} logged in that this one may not be online beside`;
}

export interface Departures {
  /** The service ends the link by that name. */
  ended(link: Link, name: LinkEndName): void;
  /** Its terminal closed it, or the network did. */
  gone(link: Link): void;
  /** A kicked terminal has confirmed that it heard of it. */
  confirmed(link: Link): void;
}

/** Tells presence of links that are gone. What cannot be told now, presence finds by itself. */
export function createDepartures(deps: { presence: Pick<Presence, 'leave'>; logger: Logger }): Departures {
  const { presence, logger } = deps;
  const gate = createGate(maxAtOnce);
  let loggedAtMs = Number.NEGATIVE_INFINITY;

  function tell(link: Link, reason: Exclude<StateReason, 'login'>): void {
    const { terminal, linkId } = link;
    if (terminal === undefined) return;
    const { account, platform } = terminal;
    gate(() => presence.leave(account, platform, linkId, reason)).catch((error: unknown) => {
      const nowMs = performance.now();
      if (failureOf(error) !== 'INTERNAL' && nowMs - loggedAtMs < logEveryMs) return;
      loggedAtMs = nowMs;
      logger.warn({ err: error, reason }, 'im.link.leave.failed');
    });
  }

  return {
    ended(link, name) {
      const reason = reasons[name];
      if (reason !== undefined) tell(link, reason);
    },
    gone: (link) => tell(link, 'link-closed'),
    confirmed: (link) => tell(link, 'kicked'),
  };
}
