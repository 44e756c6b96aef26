import type { LoadOptions } from './load.ts';

/** One of those compared, running. */
export interface ChatPeer {
  load: LoadOptions;
  cpuMicros(): Promise<CpuMicros>;
  /** Resident memory of the service's process, of what is in use: collects garbage where one can ask for it. */
  memoryBytes(): Promise<number>;
}

/** CPU time, so far or for each message. */
export interface CpuMicros {
  service: number;
  database: number;
}

/** A way to start one of them. */
export interface ChatEntrant {
  name: string;
  /** @param stack ends what was started */
  start(stack: AsyncDisposableStack): Promise<ChatPeer>;
}

/** What the load generator's accounts are called, each with a number from 0 on; for peers that have to be told before. */
export const accountNames = ['sender', 'receiver', 'lonely', 'away', 'login', 'idle'] as const;
export const mostAccounts = 5_000;
