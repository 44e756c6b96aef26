import type { RedisOptions } from 'ioredis';

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
