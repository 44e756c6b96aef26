import type { Redis, RedisOptions } from 'ioredis';
import type { Logger } from '../observe/index.ts';
import { withDeadline } from './deadline.ts';
import { reasonOf } from './store-error.ts';

/**
 * What a connection is for.
 * `producer`: fails at once, or within 2 s, when Redis is away; what it had to say waits in the database.
 * `worker`: waits for Redis to come back, and goes on.
 * `check`: one try, no more.
 */
export type RedisRole = 'producer' | 'worker' | 'check';

type ConnectionOptions = Omit<RedisOptions, 'replyMapping'>;

const connectMs = 2_000;
const commandMs = 2_000;
const retryMs = { min: 50, max: 2_000 };
/** Above the longest that a worker's blocking command waits, 10 s: a connection that is silent for so long is dead. */
const silenceMs = 30_000;
const endMs = 1_000;

/**
 * What ioredis is to do for a URL of the configuration. Pure but for `random`.
 * @throws TypeError when it is no URL
 */
export function redisOptions(url: string, role: RedisRole, random: () => number = Math.random): ConnectionOptions {
  const { protocol, hostname, port, username, password, pathname } = new URL(url);
  const target: ConnectionOptions = {
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? 6_379 : Number(port),
    db: Number(pathname.replace('/', '') || 0),
    ...(username === '' ? {} : { username: decodeURIComponent(username) }),
    ...(password === '' ? {} : { password: decodeURIComponent(password) }),
    ...(protocol === 'rediss:' ? { tls: {} } : {}),
    connectTimeout: connectMs,
    clientInfoTag: 'qalgate',
  };
  const retryStrategy = (times: number): number =>
    Math.min(retryMs.min * 2 ** Math.min(times, 10), retryMs.max) * (1 - random() / 2);
  switch (role) {
    case 'producer':
      return {
        ...target,
        retryStrategy,
        enableOfflineQueue: false,
        maxRetriesPerRequest: 1,
        commandTimeout: commandMs,
        // A command that is given up leaves its connection open; one that says nothing for longer is dead.
        socketTimeout: 2 * commandMs,
      };
    case 'worker':
      return { ...target, retryStrategy, maxRetriesPerRequest: null, socketTimeout: silenceMs };
    case 'check':
      return { ...target, retryStrategy: null, maxRetriesPerRequest: 0, commandTimeout: commandMs, lazyConnect: true };
  }
}

/**
 * Opens a connection; it resolves before Redis has answered, and an unreachable one is no error: it is tried again for as
 * long as the connection is not ended (`endRedis`), `check` aside. One line in the log when it is lost or not to be had,
 * one when it is back. No error of it holds credentials.
 */
export async function connectRedis(url: string, deps: { role: RedisRole; logger?: Logger }): Promise<Redis> {
  const { role, logger } = deps;
  // Loaded here: whoever runs without Redis does not pay for its client.
  const { Redis } = await import('ioredis');
  const client = new Redis(redisOptions(url, role));
  let isAway = false;
  const lose = (reason: string): void => {
    if (!isAway) logger?.warn({ role, reason }, 'store.redis.lost');
    isAway = true;
  };
  // The first listener: it has the error before anybody logs it.
  client.on('error', (error: unknown) => {
    dropCommand(error);
    lose(reasonOf(error));
  });
  // A connection that merely closes is no error of the client's.
  client.on('reconnecting', () => lose('the connection was closed'));
  client.on('ready', () => {
    if (!isAway) return;
    isAway = false;
    logger?.info({ role }, 'store.redis.back');
  });
  return client;
}

/** Ends a connection: lets what is under way finish, for a second at most. Never rejects. */
export async function endRedis(client: Redis): Promise<void> {
  if (client.status === 'end') return;
  if (client.status === 'ready')
    await withDeadline(
      client.quit().catch(() => {}),
      endMs,
    );
  client.disconnect();
}

/** ioredis hangs the refused command on its errors, with its arguments: of HELLO and AUTH those are the credentials. */
function dropCommand(error: unknown): void {
  if (typeof error === 'object' && error !== null && 'command' in error) delete error.command;
}
