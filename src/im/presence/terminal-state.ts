import type { MessagingSettings } from '../../store/index.ts';
import { type Platform, platforms, type TerminalState } from '../services.ts';

/** For so long since it was last there an iOS terminal without a link is PushOnline (P4). */
export const pushOnlineMs = 7 * 86_400_000;

const computers: readonly Platform[] = ['Windows', 'Mac', 'Linux', 'Web'];
const phones: readonly Platform[] = ['iOS', 'iPad', 'Android'];
/** Terminals that the system itself wakes for a push, so they are reachable without a link. */
export const pushPlatforms: readonly Platform[] = ['iOS', 'iPad'];

/** The kinds of terminals that a login of this kind ends, its own among them (P5). */
export function conflictsOf(policy: MessagingSettings['multiTerminal'], platform: Platform): readonly Platform[] {
  if (policy === 'single') return platforms;
  if (policy === 'all') return [platform];
  return computers.includes(platform) ? computers : phones;
}

/** What is stored of a terminal, as far as its state follows from it. */
export interface TerminalFacts {
  readonly platform: Platform;
  readonly state: TerminalState;
  readonly isLinked: boolean;
  /** The process that has its link renews its lease. */
  readonly isNodeAlive: boolean;
  readonly lastThereMs: number;
}

/** The state of a terminal at that time (P1, P4); the lapse of PushOnline is written down by nobody. */
export function stateOf(facts: TerminalFacts, nowMs: number): TerminalState {
  const { platform, state, isLinked, isNodeAlive, lastThereMs } = facts;
  if (isLinked && isNodeAlive) return state;
  // Its process is dead and has not been found yet: the link is closed all the same.
  const left = isLinked ? stateWithoutLink(platform) : state;
  if (left === 'push-online' && nowMs - lastThereMs >= pushOnlineMs) return 'offline';
  return left;
}

/** The state of a terminal whose link lives. */
export function stateWithLink(platform: Platform, isBackground: boolean): TerminalState {
  return isBackground && pushPlatforms.includes(platform) ? 'push-online' : 'online';
}

/** The state of a terminal whose link closed or was heard of no more. */
export function stateWithoutLink(platform: Platform): TerminalState {
  return pushPlatforms.includes(platform) ? 'push-online' : 'offline';
}

const ranks: readonly TerminalState[] = ['offline', 'push-online', 'online'];

/** The state of an account is that of its best terminal (P2). */
export function bestOf(states: readonly TerminalState[]): TerminalState {
  return ranks[Math.max(0, ...states.map((state) => ranks.indexOf(state)))] ?? 'offline';
}
