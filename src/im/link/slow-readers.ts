import type { Link } from './link.ts';
import { waitingBytes } from './link-socket.ts';
import { resyncText } from './outgoing.ts';

/** With no more than this waiting a link has caught up. */
const caughtUpBytes = 4_096;

interface Behind {
  buffered: number;
  unsent: number;
  /** When it last took something. */
  movedMs: number;
}

export interface SlowReaders {
  /** Nothing more is read of it, and no event is sent to it, until it has caught up. */
  add(link: Link): void;
  delete(link: Link): void;
  /** Resolves when the link is not behind, or is gone. */
  caughtUp(link: Link): Promise<void>;
  /** Looks at all of them. */
  sweep(nowMs: number): void;
  readonly size: number;
}

/**
 * Links whose terminal takes less than it is sent: bounded, then resynced rather than buffered without end. Bounded by the
 * number of links.
 */
export function createSlowReaders(
  deps: { onResync(): void; now(): number },
  { stallMs }: { stallMs: number },
): SlowReaders {
  const links = new Map<Link, Behind>();
  const waiting = new Map<Link, (() => void)[]>();

  function release(link: Link): void {
    links.delete(link);
    const wakes = waiting.get(link);
    waiting.delete(link);
    for (const wake of wakes ?? []) wake();
  }

  return {
    add(link) {
      link.isBehind = true;
      // Whoever does not read gets no more answers, either.
      link.socket.pause();
      links.set(link, { ...waitingBytes(link.socket), movedMs: deps.now() });
    },
    delete: release,
    caughtUp(link) {
      if (!links.has(link)) return Promise.resolve();
      return new Promise((resolve) => {
        const wakes = waiting.get(link);
        if (wakes === undefined) waiting.set(link, [resolve]);
        else wakes.push(resolve);
      });
    },
    sweep(nowMs) {
      for (const [link, behind] of links) {
        const { buffered, unsent } = waitingBytes(link.socket);
        if (buffered <= caughtUpBytes) {
          link.isBehind = false;
          link.send(resyncText);
          link.socket.resume();
          deps.onResync();
          release(link);
        } else if (buffered < behind.buffered || unsent !== behind.unsent) {
          behind.buffered = buffered;
          behind.unsent = unsent;
          behind.movedMs = nowMs;
        } else if (nowMs - behind.movedMs >= stallMs) link.end('TOO_SLOW', {});
      }
    },
    get size() {
      return links.size;
    },
  };
}
