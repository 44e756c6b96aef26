import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { createHealth, createLogger, createMetrics } from '../../src/observe/index.ts';
import { runCli } from '../../src/server/cli/run-cli.ts';
import { watchRedis } from '../../src/server/redis-health.ts';
import { createCertificate } from '../support/certificates.ts';
import { until } from '../support/database.ts';
import { skipWithoutRedis, startRedis } from '../support/redis.ts';
import { runCommand } from '../support/service.ts';

const skip = skipWithoutRedis();

t.test('health says whether Redis answers; a wrong setting has one line', { skip }, async (t) => {
  const redis = await startRedis(t, { settings: ['appendonly no'] });
  const lines: Record<string, unknown>[] = [];
  const logger = createLogger({
    level: 'info',
    destination: { write: (line: string) => void lines.push(JSON.parse(line)) },
  });
  const health = createHealth({ logger, metrics: createMetrics() });
  const state = () => health.readiness().checks[0];
  const wrong = () => lines.filter(({ event }) => event === 'redis.setting.wrong');

  await redis.kill9();
  const watch = watchRedis({ url: redis.url, reporter: health.check('redis'), logger }, { intervalMs: 20 });
  t.teardown(() => watch.close());
  t.match(state(), { state: 'starting' }, 'the start does not wait');
  await until(() => state()?.state === 'failing');
  t.match(state(), { reason: /ECONNREFUSED/ });
  t.same(wrong(), []);

  await redis.restart();
  await until(() => state()?.state === 'ok');
  t.match(wrong(), [{ level: 'warn', setting: 'appendonly', reason: /forgets the queues/, remedy: /appendonly yes/ }]);
  await redis.kill9();
  await until(() => state()?.state === 'failing');
  await redis.restart();
  await until(() => state()?.state === 'ok');
  t.equal(wrong().length, 1, 'what is still wrong is not said again');
  t.notMatch(JSON.stringify(lines), redis.password);
});

t.test('doctor looks at Redis', { skip }, async (t) => {
  const folder = t.testdir();
  const certificate = createCertificate('redis');
  const authorities = join(folder, 'authorities.pem');
  writeFileSync(authorities, certificate.cert);
  const dataDir = join(folder, 'data');
  const read = (redis: string, text: string) => {
    t.notMatch(text, URL.parse(redis)?.password || 'no password');
    const checks = JSON.parse(text) as { name: string; state: string; detail: string; remedy?: string }[];
    return checks.filter(({ name }) => name === 'redis');
  };
  const doctor = async (redis: string) => {
    const lines: string[] = [];
    const say = (line: string) => void lines.push(line);
    const env = {
      QALGATE_DATA: dataDir,
      QALGATE_LISTEN: '{ access: none, im: none, ops: none }',
      QALGATE_REDIS: redis,
    };
    await runCli(['doctor', '--json'], { env, print: say, warn: () => {}, readInput: async () => '' });
    return read(redis, lines.join('\n'));
  };
  /** Authorities are read when a process starts. */
  const doctorOf = async (redis: string, authorities: string) => {
    const env = { QALGATE_REDIS: redis, NODE_EXTRA_CA_CERTS: authorities };
    return read(redis, (await runCommand(['doctor', '--json'], { dataDir, env })).stdout);
  };
  const [good, loose, secure] = await Promise.all([
    startRedis(t),
    startRedis(t, { settings: ['appendonly no', 'maxmemory-policy allkeys-lru', 'cluster-enabled yes'] }),
    startRedis(t, { tls: certificate }),
  ]);
  const where = (port: number) => `127\\.0\\.0\\.1:${port}`;
  const [none, ok, wrong, away, trusted, untrusted] = await Promise.all([
    doctor('none'),
    doctor(good.url),
    doctor(loose.url),
    doctor('redis://u:hush-hush@127.0.0.1:1/0'),
    doctorOf(secure.url, authorities),
    doctor(secure.url),
  ]);
  t.same(none, []);
  t.match(ok, [{ state: 'ok', detail: new RegExp(`^${where(good.port)} answers: redis \\d`) }]);
  t.match(wrong, [
    { state: 'fail', detail: /node of a Redis Cluster/ },
    { state: 'warn', detail: /allkeys-lru/, remedy: /noeviction/ },
    { state: 'warn', detail: new RegExp(`^${where(loose.port)} .*appendonly is no`), remedy: /appendonly yes/ },
  ]);
  t.match(away, [{ state: 'fail', detail: /^127\.0\.0\.1:1 cannot be used \(.*ECONNREFUSED/, remedy: /start it/ }]);
  t.match(trusted, [{ state: 'ok', detail: new RegExp(where(secure.port)) }]);
  t.match(untrusted, [{ state: 'fail', detail: /self-signed certificate/ }]);
});
