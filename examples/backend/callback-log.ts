/** The newest callbacks, for the page that shows them, and whoever watches that page. */
import type { ServerResponse } from 'node:http';

/** A callback as the page shows it. */
export interface Seen {
  /** ISO 8601. */
  at: string;
  command: string;
  id: string;
  /** Which time this id is here, from 1. */
  attempt: number;
  verified: boolean;
  /** Why it does not verify. */
  reason?: string;
  /** What it is about, in a line. */
  about: string;
  /** How it was answered, in words. */
  answered: string;
  /** Absent: it was not answered. */
  tookMs?: number;
  /** Ids that were given up right before it. */
  gap?: readonly string[];
  isReplay?: boolean;
  /** JSON text, cut. */
  body: string;
}

export interface CallbackLog {
  /** How often that id has been here, with this time. */
  count(id: string): number;
  add(seen: Seen): void;
  /** The newest first. */
  list(): Seen[];
  /** Sends what is there, and what comes, as server-sent events. False: too many watch already. */
  watch(response: ServerResponse): boolean;
  /** Tells those who watch something else. */
  tell(event: string, data: unknown): void;
  close(): void;
}

const maxSeen = 100;
const maxIds = 10_000;
const maxWatching = 20;
const maxWaitingBytes = 1_000_000;
/** Proxies cut what says nothing for a minute. */
const heartbeatMs = 20_000;

export function createCallbackLog(): CallbackLog {
  const seen: Seen[] = [];
  const attempts = new Map<string, number>();
  const watching = new Set<ServerResponse>();
  let heartbeat: NodeJS.Timeout | undefined;

  function write(response: ServerResponse, text: string): void {
    response.write(text);
    // Whoever does not read is not kept in memory.
    if (response.writableLength > maxWaitingBytes) response.destroy();
  }
  const writeAll = (text: string): void => {
    for (const response of watching) write(response, text);
  };
  const eventText = (event: string, data: unknown): string => `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;

  return {
    count(id) {
      const attempt = (attempts.get(id) ?? 0) + 1;
      attempts.delete(id);
      attempts.set(id, attempt);
      if (attempts.size > maxIds) attempts.delete(attempts.keys().next().value as string);
      return attempt;
    },
    add(one) {
      seen.unshift(one);
      if (seen.length > maxSeen) seen.pop();
      writeAll(eventText('callback', one));
    },
    list: () => [...seen],
    watch(response) {
      if (watching.size >= maxWatching) return false;
      response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
      watching.add(response);
      response.once('close', () => {
        watching.delete(response);
        if (watching.size === 0) clearInterval(heartbeat);
      });
      if (watching.size === 1) heartbeat = setInterval(() => writeAll(':\n\n'), heartbeatMs).unref();
      write(response, eventText('all', seen));
      return true;
    },
    tell: (event, data) => writeAll(eventText(event, data)),
    close() {
      clearInterval(heartbeat);
      for (const response of watching) response.destroy();
    },
  };
}
