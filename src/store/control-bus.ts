import { setTimeout as delay } from 'node:timers/promises';
import { type Kysely, sql } from 'kysely';
import type { Logger } from '../observe/index.ts';
import { createBackoff } from './backoff.ts';
import type { Database } from './connection.ts';
import { withDeadline } from './deadline.ts';
import type { Schema } from './schema.ts';
import { reasonOf } from './store-error.ts';

const topics = ['apps', 'revocations', 'cache', 'accounts', 'links', 'words', 'callbacks', 'audit'] as const;
export type ControlTopic = (typeof topics)[number];

/**
 * Tells every process of a store, this one too, that something changed: PostgreSQL's LISTEN/NOTIFY, because processes may
 * run without Redis. Best effort: a message that comes while a process is not listening is lost to it. So a subscriber
 * reads the whole state again in `onReconnect`, and every now and then besides.
 */
export interface ControlBus {
  /**
   * Sends to all subscribers of the topic. With `within` it is sent when that transaction commits, and only then.
   * `payload` as JSON must stay below 7,900 bytes (RangeError otherwise); rejects if the database does not answer.
   */
  publish(topic: ControlTopic, payload: object, within?: Kysely<Schema>): Promise<void>;
  /** Calls `fn` with each payload of the topic, as parsed JSON; returns how to stop that. */
  subscribe(topic: ControlTopic, fn: (payload: unknown) => void): () => void;
  /** Calls `fn` whenever listening begins, the first time included: what was sent before may have been missed. */
  onReconnect(fn: () => void): () => void;
  /** Resolves once the bus listens for the first time. */
  ready(): Promise<void>;
  close(): Promise<void>;
}

const channel = 'qalgate_control';
/** PostgreSQL takes payloads below 8,000 bytes; the rest is for the topic around ours. */
const maxPayloadBytes = 7_900;
const closeMs = 1_000;

export function createControlBus(
  db: Database,
  deps: { logger: Logger },
  options: { keepaliveMs?: number; answerMs?: number } = {},
): ControlBus {
  const { logger } = deps;
  const { keepaliveMs = 10_000, answerMs = 5_000 } = options;
  const subscribers = new Map(topics.map((topic) => [topic, new Set<(payload: unknown) => void>()]));
  const reconnectListeners = new Set<() => void>();
  const stop = new AbortController();
  const backoff = createBackoff({ minMs: 50, maxMs: 5_000 });
  const first = Promise.withResolvers<void>();
  const running = run();

  async function run(): Promise<void> {
    while (!stop.signal.aborted) {
      try {
        await listen();
      } catch (error) {
        if (stop.signal.aborted) return;
        logger.warn({ reason: reasonOf(error) }, 'store.bus.disconnected');
      }
      await pause(backoff.nextMs());
    }
  }

  /** One connection's life: returns or throws when it is over. */
  async function listen(): Promise<void> {
    const client = db.createClient();
    const lost = Promise.withResolvers<never>();
    lost.promise.catch(() => {});
    client.on('error', lost.reject);
    client.on('end', () => lost.reject(new Error('the connection ended')));
    client.on('notification', (message) => deliver(message.payload ?? ''));
    try {
      await client.connect();
      await client.query(`listen ${channel}`);
      backoff.reset();
      db.metrics.busUp.set(1);
      db.metrics.busConnects.inc();
      logger.debug('store.bus.listening');
      first.resolve();
      for (const fn of reconnectListeners) guard(fn);
      while (!stop.signal.aborted) {
        await Promise.race([pause(keepaliveMs), lost.promise]);
        // A connection whose other side is gone without a word looks idle; only an answer shows that it lives.
        const answered = await withDeadline(Promise.race([client.query('select 1'), lost.promise]), answerMs);
        if (!answered) throw new Error(`no answer within ${answerMs} ms`);
      }
    } finally {
      db.metrics.busUp.set(0);
      await withDeadline(client.end(), closeMs).catch(() => {});
    }
  }

  function deliver(text: string): void {
    let message: { topic?: unknown; payload?: unknown };
    try {
      message = JSON.parse(text);
    } catch {
      message = {};
    }
    const { topic, payload } = message;
    // A newer release may send topics that this one does not know.
    const listeners = subscribers.get(topic as ControlTopic);
    if (listeners === undefined) return;
    db.metrics.busMessages.inc({ direction: 'received', topic: topic as ControlTopic });
    for (const fn of listeners) guard(() => fn(payload));
  }

  function guard(fn: () => void): void {
    try {
      fn();
    } catch (error) {
      logger.error({ err: error }, 'store.bus.subscriber.failed');
    }
  }

  const pause = (ms: number) => delay(ms, undefined, { signal: stop.signal }).catch(() => {});

  return {
    async publish(topic, payload, within = db.kysely) {
      const text = JSON.stringify(payload);
      const bytes = Buffer.byteLength(text);
      if (bytes > maxPayloadBytes) {
        throw new RangeError(
          `a control message holds at most ${maxPayloadBytes} bytes, this one for ${topic} ${bytes}`,
        );
      }
      await sql`select pg_notify(${channel}, ${`{"topic":"${topic}","payload":${text}}`})`.execute(within);
      db.metrics.busMessages.inc({ direction: 'sent', topic });
    },
    subscribe(topic, fn) {
      subscribers.get(topic)?.add(fn);
      return () => subscribers.get(topic)?.delete(fn);
    },
    onReconnect(fn) {
      reconnectListeners.add(fn);
      return () => reconnectListeners.delete(fn);
    },
    ready: () => first.promise,
    async close() {
      stop.abort();
      await withDeadline(running, closeMs);
    },
  };
}
