import type { Test } from 'tap';
import { openProxied, type Proxied, type ProxiedOptions } from '../proxied.ts';
import { fieldOf, type Message, type OriginScript, readResponse, splitMessages, statusOf, type Wire } from '../wire.ts';

/** The real proxy with a clock that the test moves, and small words for what these tests do all the time. */

export interface Live extends Proxied {
  /** Milliseconds since the epoch. */
  time: { nowMs: number };
  /** Asks, and waits for the answer. */
  get(target: string, fields?: string): Promise<Message>;
  /** Sum of a metric over its labels; with `labels`, of those alone. */
  metric(name: string, labels?: Record<string, string>): Promise<number>;
  clients(count: number): Promise<Wire[]>;
}

export const request = (target: string, fields = '', method = 'GET'): string =>
  `${method} ${target} HTTP/1.1\r\nHost: cache.test\r\n${fields}\r\n`;

/** Asks on connections that are used again, and waits for the answer. */
export function createGetter(t: Test, proxied: Proxied): Live['get'] {
  const idle: Wire[] = [];
  t.teardown(() => {
    for (const wire of idle) wire.socket.destroy();
  });
  return async (target, fields = '') => {
    let wire = idle.pop();
    if (wire === undefined || wire.ended !== 'no') wire = await proxied.client();
    const skip = wire.received.length;
    wire.send(request(target, fields));
    const answer = await readResponse(wire, { skip });
    // All that ever came is kept with it.
    if (wire.receivedBytes < 200_000) idle.push(wire);
    else wire.socket.destroy();
    return answer;
  };
}

export async function openLive(
  t: Test,
  scripts: OriginScript | OriginScript[],
  settings: ProxiedOptions = {},
): Promise<Live> {
  const time = { nowMs: Date.UTC(2026, 10, 1, 12) };
  const proxied = await openProxied(t, scripts, {
    ...settings,
    access: { cache: 'rfc9111', ...settings.access },
    options: { ...settings.options, clock: () => time.nowMs },
  });
  return {
    ...proxied,
    time,
    get: createGetter(t, proxied),
    async metric(name, labels = {}) {
      const values = (await proxied.access.metrics.registry.getSingleMetric(name)?.get())?.values ?? [];
      const isMeant = (of: Partial<Record<string, string | number>>): boolean =>
        Object.entries(labels).every(([key, value]) => of[key] === value);
      return values.reduce((sum, one) => sum + (isMeant(one.labels) ? one.value : 0), 0);
    },
    async clients(count) {
      const wires: Wire[] = [];
      while (wires.length < count) {
        const batch = Math.min(100, count - wires.length);
        wires.push(...(await Promise.all(Array.from({ length: batch }, () => proxied.client()))));
      }
      t.teardown(() => {
        for (const wire of wires) wire.socket.destroy();
      });
      return wires;
    },
  };
}

/** Asks again until it holds. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 10_000;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** The complete answers so far, interim ones aside. */
export const answersOf = (wire: Wire): Message[] =>
  splitMessages(wire.received, { ended: wire.ended === 'end' }).filter((message) => statusOf(message) >= 200);

export async function allAnswered(wires: readonly Wire[], count = 1): Promise<Message[]> {
  await Promise.all(
    wires.map((wire) => wire.until('the answer', () => answersOf(wire).length >= count || wire.ended === 'reset')),
  );
  return wires.flatMap((wire) => answersOf(wire)[count - 1] ?? []);
}

export const cacheStatusOf = (message: Message): string => fieldOf(message, 'Cache-Status') ?? '';
