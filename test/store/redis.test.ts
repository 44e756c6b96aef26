import { performance } from 'node:perf_hooks';
import { Redis } from 'ioredis';
import t, { type Test } from 'tap';
import { createLogger } from '../../src/observe/index.ts';
import { checkRedis, type RedisRole, redisOptions } from '../../src/store/index.ts';
import { judgeRedis, readRedisFacts } from '../../src/store/redis-check.ts';
import { createCertificate } from '../support/certificates.ts';
import { until } from '../support/database.ts';
import { skipWithoutRedis, startRedis } from '../support/redis.ts';

const skip = skipWithoutRedis();

function connect(t: Test, url: string, role: RedisRole): Redis {
  const client = new Redis(redisOptions(url, role));
  client.on('error', () => {});
  t.teardown(() => client.disconnect());
  return client;
}

t.test('what INFO says is read, of relatives of Redis too', async (t) => {
  const good = ['# Server', 'redis_version:7.0.15', 'role:master', 'maxmemory_policy:noeviction', 'aof_enabled:1'];
  const judge = (lines: string[], fsync?: string) =>
    judgeRedis(readRedisFacts(lines.join('\r\n'), fsync)).map(({ setting, isFatal }) => [setting, isFatal]);
  t.same(judge(good), []);
  t.same(judge(good, 'everysec'), []);
  t.same(judge(good, 'always'), []);
  t.same(judge(good, 'no'), [['appendfsync', false]]);
  t.same(judge([...good, 'cluster_enabled:1', 'role:slave']), [
    ['cluster', true],
    ['replica', true],
  ]);
  t.same(judge([...good, 'maxmemory_policy:volatile-lru', 'aof_enabled:0'], 'no'), [
    ['maxmemory-policy', false],
    ['appendonly', false],
  ]);
  for (const [version, isOld] of Object.entries({
    '5.0.14': true,
    '6.1.999': true,
    '6.2': false,
    '6.2.0': false,
    '6.10.1': false,
    '7.0.0-rc1': false,
    '10.0.0': false,
    '': true,
    nonsense: true,
  })) {
    t.same(judge([...good, `redis_version:${version}`]), isOld ? [['version', true]] : [], version);
  }
  t.equal(readRedisFacts('redis_version:7.2.4\r\nvalkey_version:8.1.1').product, 'valkey 8.1.1');
  for (const odd of ['', ':', '#', 'a', '\r\n\r\n', 'a:b:c\nrole:']) t.ok(Array.isArray(judge([odd])), 'never throws');
});

t.test('a URL becomes options; nothing of it is options of the client', async (t) => {
  t.match(redisOptions('redis://[::1]', 'producer'), { host: '::1', port: 6_379, db: 0, enableOfflineQueue: false });
  const given = redisOptions('rediss://us%40er:p%3Ass@cache.internal:6380/7', 'worker');
  t.match(given, { host: 'cache.internal', port: 6_380, db: 7, username: 'us@er', password: 'p:ss', tls: {} });
  t.equal(given.maxRetriesPerRequest, null);
  t.notOk('commandTimeout' in given, 'a blocking command takes its time');
  const { retryStrategy } = redisOptions('redis://a', 'worker', () => 0.5);
  t.same(
    [1, 2, 6, 50].map((times) => retryStrategy?.(times)),
    [75, 150, 1_500, 1_500],
  );
});

t.test('a Redis is looked at', { skip }, async (t) => {
  const redis = await startRedis(t);
  t.match(await checkRedis(redis.url), { isReachable: true, product: /^redis \d+\.\d+\.\d+$/, findings: [] });

  const loose = await startRedis(t, {
    settings: ['appendonly no', 'maxmemory-policy allkeys-lru', 'requirepass ""', 'rename-command CONFIG ""'],
  });
  const report = await checkRedis(loose.url.replace(/:\w+@/, ''));
  t.match(report, { isReachable: true, findings: [{ setting: 'maxmemory-policy' }, { setting: 'appendonly' }] });
  t.match(JSON.stringify(report), /allkeys-lru: .*appendonly yes/);

  const secure = await startRedis(t, { tls: createCertificate('redis') });
  const wrong: Record<string, [url: string, reason: RegExp]> = {
    'a wrong password': [redis.url.replace(redis.password, 'hush-hush'), /^WRONGPASS/],
    'a wrong user': [redis.url.replace('//:', '//who:'), /^WRONGPASS/],
    'no password': [redis.url.replace(/:\w+@/, ''), /^NOAUTH/],
    'a database that it has not': [redis.url.replace(/0$/, '99'), /DB index is out of range/],
    'a certificate that nobody vouches for': [secure.url, /self-signed certificate/],
    'no TLS where TLS is asked for': [redis.url.replace('redis:', 'rediss:'), /^no answer within 500 ms$/],
    'TLS where none is asked for': [secure.url.replace('rediss:', 'redis:'), /ECONNRESET|EPIPE|closed/],
    'a name that there is not': ['redis://qalgate.invalid', /ENOTFOUND|EAI_AGAIN|no answer/],
  };
  await Promise.all(
    Object.entries(wrong).map(async ([name, [url, reason]]) => {
      const found = await checkRedis(url, { timeoutMs: 500 });
      t.match(found, { isReachable: false, reason }, name);
      for (const word of ['hush-hush', redis.password]) t.notMatch(JSON.stringify(found), word, name);
    }),
  );

  redis.signal('SIGSTOP');
  const startedMs = performance.now();
  t.match(await checkRedis(redis.url, { timeoutMs: 200 }), { isReachable: false, reason: 'no answer within 200 ms' });
  t.ok(performance.now() - startedMs < 1_500, 'one that hangs is not waited for');
  redis.signal('SIGCONT');
  await redis.kill9();
  t.match(await checkRedis(redis.url), { isReachable: false, reason: /ECONNREFUSED/ });
});

t.test('a producer fails at once while Redis is away, a worker waits for it', { skip }, async (t) => {
  const redis = await startRedis(t);
  const producer = connect(t, redis.url, 'producer');
  const worker = connect(t, redis.url, 'worker');
  await until(() => producer.status === 'ready');
  t.equal(await producer.set('key', 'value'), 'OK');
  // As BullMQ makes one of its worker's.
  const blocking = worker.duplicate();
  t.teardown(() => blocking.disconnect());
  blocking.on('error', () => {});
  const popped = blocking.blpop('list', 0);

  await redis.kill9();
  await until(() => producer.status !== 'ready');
  const startedMs = performance.now();
  await t.rejects(producer.get('key'), /Stream isn't writeable|Connection is closed/);
  t.ok(performance.now() - startedMs < 500);
  const waiting = worker.get('key');
  await redis.restart();
  t.equal(await waiting, 'value', 'AOF kept it');
  await until(async () => producer.rpush('list', 'late').catch(() => undefined));
  t.same(await popped, ['list', 'late'], 'the blocking command was asked again');

  redis.signal('SIGSTOP');
  const askedMs = performance.now();
  await t.rejects(producer.get('key'), /timed out/);
  t.ok(performance.now() - askedMs < 4_000, 'one that hangs is given up');
  await until(() => producer.status !== 'ready');
  t.pass('and its connection after a while');
  redis.signal('SIGCONT');
});

t.test('credentials get into no log line', { skip }, async (t) => {
  const redis = await startRedis(t);
  const lines: string[] = [];
  const logger = createLogger({ level: 'debug', destination: { write: (line: string) => void lines.push(line) } });
  const client = connect(t, redis.url.replace(redis.password, 'hush-hush'), 'worker');
  const errors: unknown[] = [];
  client.on('error', (error) => {
    errors.push(error);
    logger.error({ err: error }, 'plain');
    logger.error({ err: new Error('it failed', { cause: error }) }, 'wrapped');
  });
  await until(() => errors.length > 0);
  t.match(JSON.stringify(errors), 'hush-hush', 'there it is');
  t.match(lines[0], /WRONGPASS/);
  t.notMatch(lines.join(), 'hush-hush');
});
