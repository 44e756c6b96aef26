import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import { request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import pg from 'pg';
import t, { type Test } from 'tap';
import { createCertificate } from '../support/certificates.ts';
import { makeDataDir, openTestDatabase, until } from '../support/database.ts';
import { runCommand, type Service, spawnService } from '../support/service.ts';

const appId = 1_400_000_000;
const opsToken = 'operator-token-of-the-test';

t.test('two processes on an external database, configured by a file, with TLS', async (t) => {
  // A PostgreSQL that is not theirs: they know it by its URL.
  const { db, dataDir } = await openTestDatabase(t);
  await db.pool.query('create database shared');
  const password = (await readFile(join(dataDir, 'pg.password'), 'utf8')).trim();
  const { options } = db.pool;
  const url = `postgres://${options.user}:${password}@${encodeURIComponent(String(options.host))}:${options.port}/shared`;

  let asked = 0;
  const backend = createServer((req, res) => {
    if (!req.url?.startsWith('/cached')) {
      res.end(JSON.stringify(req.headers));
      return;
    }
    asked += 1;
    res.setHeader('Cache-Control', 'public, max-age=600');
    res.setHeader('Cache-Tag', 'a-tag');
    res.end(JSON.stringify({ asked }));
  });
  backend.listen(0, '127.0.0.1');
  await once(backend, 'listening');
  t.teardown(() => {
    backend.closeAllConnections();
    backend.close();
  });
  const upstream = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`;

  const certificate = createCertificate('access');
  const files = {
    cert: `${dataDir}.cert.pem`,
    key: `${dataDir}.key.pem`,
    master: `${dataDir}.master`,
    url: `${dataDir}.url`,
  };
  await writeFile(files.cert, certificate.cert);
  await writeFile(files.key, certificate.key);
  await writeFile(files.master, randomBytes(32).toString('base64'), { mode: 0o600 });
  await writeFile(files.url, url, { mode: 0o600 });
  const config = `${dataDir}.yaml`;
  const tls = `{ certFile: ${JSON.stringify(files.cert)}, keyFile: ${JSON.stringify(files.key)} }`;
  await writeFile(
    config,
    [
      `databaseFile: ${JSON.stringify(files.url)}`,
      `masterKeyFile: ${JSON.stringify(files.master)}`,
      'listen:',
      `  access: { address: "127.0.0.1:0", tls: ${tls} }`,
      `  im: { address: "127.0.0.1:0", tls: ${tls} }`,
      `  ops: { address: "127.0.0.1:0", tls: ${tls} }`,
      'trustedProxies: [127.0.0.1]',
      `ops: { tokens: [{ name: test, role: operator, token: ${opsToken} }] }`,
      'log: { access: false }',
    ].join('\n'),
  );
  const process = async () => ({ dataDir: await makeDataDir(t), env: { QALGATE_CONFIG: config } });
  // The file says where they listen.
  const env = { QALGATE_LISTEN_ACCESS: '', QALGATE_LISTEN_IM: '', QALGATE_LISTEN_OPS: '' };
  const command = async (...args: string[]) => {
    const options = await process();
    const result = await runCommand(args, { ...options, env: { ...options.env, ...env } });
    t.equal(result.code, 0, `${args[0]} ${args[1] ?? ''} ${result.stderr}`);
    return result.stdout;
  };

  const early = await runCommand(['serve'], await process());
  t.equal(early.code, 5);
  t.match(early.stderr, /qalgate migrate/, '[O5] an external database is migrated by command only');
  await command('migrate');
  await command('app', 'create', '--id', String(appId), '--route', `/=${upstream}`);

  const services: Service[] = [];
  for (let i = 0; i < 2; i += 1) {
    const options = await process();
    const service = await spawnService({ ...options, env: { ...options.env, ...env } });
    t.teardown(() => service.process.kill('SIGKILL'));
    services.push(service);
  }
  const [first, second] = services as [Service, Service];

  const call = (service: Service, path: string, headers: Record<string, string> = {}, body?: object) =>
    send(service.access + path, headers, body);
  const send = async (url: string, headers: Record<string, string>, body?: object) => {
    const sent = request(url, {
      ca: certificate.cert,
      servername: 'localhost',
      agent: false,
      method: body === undefined ? 'GET' : 'POST',
      headers: { ...headers, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) },
    });
    sent.end(body === undefined ? undefined : JSON.stringify(body));
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    return { status: response.statusCode, json: (await json(response)) as Record<string, string> };
  };
  const userSig = (await command('usersig', 'alice', '--app', String(appId))).trim();
  const login = async (service: Service, extra: object = {}) => {
    const { status, json } = await call(service, '/.qal/v1/session', {}, { sdkAppId: appId, ...extra });
    t.equal(status, 200);
    return json as unknown as { session: string; qalIdentifier: string; terminal: { id: string; secret: string } };
  };

  await t.test('[A2] a trusted proxy in front is believed, over TLS', async (t) => {
    const { json } = await call(first, '/', { 'X-Forwarded-For': '6.6.6.6, 14.17.43.51' });
    t.equal(json['x-forwarded-for'], '14.17.43.51');
  });

  await t.test('[A3,A13] a session of one process is one of the other', async (t) => {
    const made = await login(first, { identifier: 'alice', userSig });
    t.match((await call(second, '/', { 'QAL-Session': made.session })).json, {
      'qal-identifier': made.qalIdentifier,
      'qal-account': 'alice',
      'qal-sdk-app-id': String(appId),
    });
    const again = await login(second, { terminal: made.terminal });
    t.equal(again.qalIdentifier, made.qalIdentifier, 'a terminal keeps its id on another process');
    const stranger = await login(second, { terminal: { ...made.terminal, secret: 'guessed' } });
    t.not(stranger.qalIdentifier, made.qalIdentifier, 'nobody takes it without the secret');
  });

  await t.test('[A4] serial numbers are unique over processes', async (t) => {
    const serials: string[] = [];
    const ask = async (service: Service) => {
      for (let i = 0; i < 50; i += 1) serials.push((await call(service, '/')).json['qal-req-seq-no'] ?? '');
    };
    await Promise.all([ask(first), ask(second)]);
    t.equal(new Set(serials).size, 100);
  });

  await t.test('[A14] kick, logout and a rotated secret end sessions on every process', async (t) => {
    const everywhere = async (status: number, session: string): Promise<void> => {
      for (const service of services) {
        await until(async () => (await call(service, '/', { 'QAL-Session': session })).status === status);
      }
    };
    const kicked = await login(first, { identifier: 'alice', userSig });
    await everywhere(200, kicked.session);
    await command('kick', 'alice', '--app', String(appId));
    await everywhere(401, kicked.session);

    const gone = await login(first);
    const bystander = await login(first);
    const logout = request(`${first.access}/.qal/v1/session`, {
      ca: certificate.cert,
      agent: false,
      method: 'DELETE',
      headers: { 'QAL-Session': gone.session },
    });
    logout.end();
    const [{ statusCode }] = (await once(logout, 'response')) as [IncomingMessage];
    t.equal(statusCode, 204);
    await everywhere(401, gone.session);
    await everywhere(200, bystander.session);

    const bobSig = (await command('usersig', 'bob', '--app', String(appId))).trim();
    const bob = await login(second, { identifier: 'bob', userSig: bobSig });
    await command('app', 'set', String(appId), '--rotate-secret');
    await everywhere(200, bob.session);
    await command('app', 'set', String(appId), '--drop-old-secret');
    await everywhere(401, bob.session);
    t.match(await call(first, '/.qal/v1/session', {}, { sdkAppId: appId, identifier: 'bob', userSig: bobSig }), {
      status: 401,
      json: { error: { code: 'USERSIG_KEY_MISMATCH' } },
    });
  });

  const host = 'api.example.com';
  const cached = async (service: Service) => (await call(service, '/cached?a=1', { Host: host })).json.asked;
  /** What each of them has stored. */
  const stored = async (t: Test) => {
    const answers = [await cached(first), await cached(second)];
    t.same([await cached(first), await cached(second)], answers, 'both answer from their store');
    t.not(answers[0], answers[1]);
    return answers;
  };

  await t.test('[C14] a purge on one process ends what is stored on every one, within a second', async (t) => {
    const purge = async (service: Service, body: object) => {
      const headers = { Authorization: `Bearer ${opsToken}` };
      const answer = await send(`${service.ops}/ops/v1/apps/${appId}/cache/purge`, headers, body);
      t.match(answer, { status: 200, json: { ended: 1 } });
      return answer.json.generation;
    };
    const bodies = [
      { url: `https://${host}/cached?a=1` },
      { prefix: `https://${host}/c` },
      { tag: 'a-tag' },
      { all: true },
    ];
    let generation: unknown = 0;
    for (const [index, body] of bodies.entries()) {
      const [service, other] = index % 2 === 0 ? [first, second] : [second, first];
      await stored(t);
      const before = [await cached(service), await cached(other)];
      generation = await purge(service, body);
      t.not(await cached(service), before[0], 'here at once');
      await until(async () => (await cached(other)) !== before[1], 1_000);
    }
    await stored(t);
    await command('cache', 'purge', '--app', String(appId), '--prefix', `https://${host}/other/`);
    const [mine] = await stored(t);
    await command('cache', 'purge', '--app', String(appId), '--all');
    for (const service of services) {
      await until(async () => {
        const { json } = await send(`${service.ops}/ops/v1/cache`, { Authorization: `Bearer ${opsToken}` });
        const { cache } = json as unknown as { cache: { purgeGeneration: number; entries: number } };
        return cache.purgeGeneration === Number(generation) + 2 && cache.entries === 0;
      }, 1_000);
    }
    t.not(await cached(first), mine);
  });

  await t.test(
    '[C14] with the database away answers are served on; a purge missed meanwhile has them asked about',
    async (t) => {
      const elsewhere = new pg.Client({ ...options, database: 'shared', password });
      await elsewhere.connect();
      t.teardown(() => elsewhere.end());
      const answers = await stored(t);
      // Nobody gets in any more, and all who are in but us are put out.
      await db.pool.query('alter database shared with allow_connections false');
      await elsewhere.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'shared' and pid <> pg_backend_pid()",
      );
      await elsewhere.query('update cache_generation set generation = generation + 1');
      t.same(await stored(t), answers, 'nothing says that anything has changed');
      await db.pool.query('alter database shared with allow_connections true');
      await until(async () => (await cached(first)) !== answers[0] && (await cached(second)) !== answers[1]);
      for (const { log } of services)
        t.match(
          log.filter(({ event }) => event === 'cache.distrusted'),
          [{ reason: 'missed' }],
        );
    },
  );

  for (const service of services) {
    service.process.kill('SIGTERM');
    t.same(await service.exited, { code: 0, signal: null });
  }
});
