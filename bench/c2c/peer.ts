import type { Entrant, Peer } from '../support/chat-contest.ts';

/** One of those compared, running. */
export interface ChatPeer extends Peer {
  /** Resident memory of the service's process, of what is in use: collects garbage where one can ask for it. */
  memoryBytes(): Promise<number>;
}

export type ChatEntrant = Entrant<ChatPeer>;

/** What the load generator's accounts are called, each with a number from 0 on; for peers that have to be told before. */
export const accountNames = ['sender', 'receiver', 'lonely', 'away', 'login', 'idle'] as const;
export const mostAccounts = 5_000;
