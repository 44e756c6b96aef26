import { setTimeout as delay } from 'node:timers/promises';
import { redisOptions } from './redis.ts';
import { reasonOf } from './store-error.ts';

/** What INFO, and CONFIG where it may be asked, say of a server. */
export interface RedisFacts {
  /** `redis 7.0.15`, `valkey 8.1.0`. */
  product: string;
  version: string;
  isCluster: boolean;
  isReplica: boolean;
  /** undefined: the server does not say. */
  maxmemoryPolicy: string | undefined;
  appendOnly: boolean | undefined;
  appendFsync: string | undefined;
}

/** Something about a Redis that should be otherwise. */
export interface RedisFinding {
  setting: 'version' | 'cluster' | 'replica' | 'maxmemory-policy' | 'appendonly' | 'appendfsync';
  /** Queues do not work on it at all; else it works, and may lose what is in it. */
  isFatal: boolean;
  reason: string;
  remedy: string;
}

export type RedisReport =
  | { isReachable: false; reason: string }
  | { isReachable: true; product: string; findings: RedisFinding[] };

const leastVersion = '6.2.0';

/** Reads the answer to INFO. Pure and total. */
export function readRedisFacts(info: string, appendFsync?: string): RedisFacts {
  const fields = new Map(
    info.split(/\r?\n/).flatMap((line) => {
      const at = line.indexOf(':');
      return at > 0 && !line.startsWith('#') ? [[line.slice(0, at), line.slice(at + 1)] as const] : [];
    }),
  );
  const name = ['valkey', 'dragonfly'].find((product) => fields.has(`${product}_version`)) ?? 'redis';
  const aof = fields.get('aof_enabled');
  return {
    product: `${name} ${fields.get(`${name}_version`) ?? '?'}`,
    // Relatives say for whom they can stand in.
    version: fields.get('redis_version') ?? '',
    isCluster: fields.get('cluster_enabled') === '1',
    isReplica: fields.get('role') === 'slave',
    maxmemoryPolicy: fields.get('maxmemory_policy'),
    appendOnly: aof === undefined ? undefined : aof === '1',
    appendFsync,
  };
}

/** What should be otherwise. Pure. */
export function judgeRedis(facts: RedisFacts): RedisFinding[] {
  const findings: RedisFinding[] = [];
  const found = (setting: RedisFinding['setting'], isFatal: boolean, reason: string, remedy: string): void => {
    findings.push({ setting, isFatal, reason, remedy });
  };
  const { version, maxmemoryPolicy: policy, appendFsync: fsync } = facts;
  if (isOlder(version, leastVersion)) {
    found('version', true, `it speaks as Redis ${version || '?'}`, `run Redis ${leastVersion.slice(0, 3)} or newer`);
  }
  if (facts.isCluster) found('cluster', true, 'it is a node of a Redis Cluster', 'give the URL of a single Redis');
  if (facts.isReplica) found('replica', true, 'it is a replica, which takes no writes', 'give the URL of the primary');
  if (policy !== undefined && policy !== 'noeviction') {
    const reason = `maxmemory-policy is ${policy}: when memory is short it drops parts of the queues`;
    found('maxmemory-policy', false, reason, 'set `maxmemory-policy noeviction` (CONFIG SET, and redis.conf)');
  }
  if (facts.appendOnly === false) {
    const reason =
      'appendonly is no: a restart of Redis forgets the queues, and what waited is found again only bit by bit';
    found('appendonly', false, reason, 'set `appendonly yes` (CONFIG SET, and redis.conf)');
  } else if (fsync === 'no') {
    const reason = 'appendfsync is no: a crash of its machine forgets half a minute';
    found('appendfsync', false, reason, 'set `appendfsync everysec` (CONFIG SET, and redis.conf)');
  }
  return findings;
}

function isOlder(version: string, than: string): boolean {
  const [a, b] = [version, than].map((text) => text.split('.').map((part) => Number.parseInt(part, 10) || 0));
  for (const [index, part] of (b ?? []).entries()) {
    const own = a?.[index] ?? 0;
    if (own !== part) return own < part;
  }
  return false;
}

/**
 * Looks whether a Redis can be reached and is set up for queues. Never rejects; takes `timeoutMs` at most. Reasons hold no
 * credentials.
 */
export async function checkRedis(
  url: string,
  { timeoutMs = 3_000 }: { timeoutMs?: number } = {},
): Promise<RedisReport> {
  // Loaded here: whoever runs without Redis does not pay for its client.
  const { Redis } = await import('ioredis');
  const client = new Redis(redisOptions(url, 'check'));
  // The error that ended it says why; that of the call only that it was ended.
  let failure: unknown;
  client.on('error', (error) => {
    failure ??= error;
  });
  const asking = async (): Promise<RedisReport> => {
    await client.connect();
    const info = await client.info();
    // Who hosts a Redis may forbid CONFIG.
    const answer: unknown = await client.config('GET', 'appendfsync').catch(() => []);
    const fsync = Array.isArray(answer) && typeof answer[1] === 'string' ? answer[1] : undefined;
    // Such as a database number that it does not have: the connection goes on, in another one.
    if (failure !== undefined) throw failure;
    const facts = readRedisFacts(info, fsync);
    return { isReachable: true, product: facts.product, findings: judgeRedis(facts) };
  };
  const late = new AbortController();
  try {
    return await Promise.race([
      asking(),
      delay(timeoutMs, undefined, { signal: late.signal }).then(() => {
        throw new Error(`no answer within ${timeoutMs} ms`);
      }),
    ]);
  } catch (error) {
    return { isReachable: false, reason: reasonOf(failure ?? error) };
  } finally {
    late.abort();
    client.disconnect();
  }
}
