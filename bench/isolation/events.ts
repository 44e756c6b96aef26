export type Kind = 'healthy' | 'failing' | 'hanging';

/** A conversation of a run. */
export interface Conversation {
  readonly app: number;
  readonly kind: Kind;
}

export const apps = 3;
/** The app whose endpoint hangs. */
export const hangingApp = 3;
/** One conversation of so many fails for ever. */
const failingOf = 20;

/** Spread over the apps, and those that fail over all of them. */
export function conversationsOf(count: number): Conversation[] {
  return Array.from({ length: count }, (_, n): Conversation => {
    const app = (n % apps) + 1;
    const isFailing = Math.floor(n / apps) % failingOf === failingOf - 1;
    return { app, kind: isFailing ? 'failing' : app === hangingApp ? 'hanging' : 'healthy' };
  });
}

/** What the process that sends is asked: to forget what was before; then a run with so many events of each conversation. */
export interface BeginQuestion {
  run: number;
}

export interface RelayQuestion {
  run: number;
  conversations: Conversation[];
  /** Whether the backends want to hear of the bad ones; their events are written down in any case. */
  tellsBad: boolean;
  each: number;
}

export interface RelayAnswer {
  problem?: string;
  startedMs: number;
}
