import { spawn } from 'node:child_process';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, statSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { verifyUserSig } from '../../src/auth/index.ts';
import { mergePatch, parseRouteOption } from '../../src/server/cli/app-input.ts';
import { parseDurationSec } from '../../src/server/cli/arguments.ts';
import { checkClock } from '../../src/server/cli/doctor-database.ts';
import { checkNode } from '../../src/server/cli/doctor-machine.ts';
import type { AppSettings } from '../../src/store/index.ts';
import { createCertificate } from '../support/certificates.ts';
import { runInProcess } from '../support/cli.ts';
import { spawnService } from '../support/service.ts';

const main = fileURLToPath(new URL('../../src/server/main.ts', import.meta.url));
const folder = t.testdir();
const key = Buffer.alloc(32, 7).toString('base64');

type Env = Record<string, string>;

function write(name: string, content: string): string {
  const file = join(folder, name);
  writeFileSync(file, content);
  return file;
}

/** Runs the program as a process. Of the environment it gets only what is given. */
async function run(args: string[], env: Env = {}, input = '') {
  const child = spawn(process.execPath, [main, ...args], { cwd: folder, env: { PATH: process.env.PATH, ...env } });
  child.stdin.end(input);
  const closed = once(child, 'close');
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const [code] = await closed;
  return { code, stdout, stderr };
}

t.test('help and usage', async (t) => {
  const help = await run(['--help']);
  t.equal(help.code, 0);
  t.match(
    help.stdout,
    /serve[\s\S]*doctor[\s\S]*Exit codes:[\s\S]*3 {2}the configuration or the master key is invalid/,
  );
  t.match(await runInProcess(['app', 'create', '--help']), { code: 0, stdout: /Examples:\n {2}\$ qalgate app create/ });
  t.match(await runInProcess(['version']), { code: 0, stdout: /^qalgate \d+\.\d+\.\d+, Node v\d+/ });

  const wrong: [string[], RegExp][] = [
    [['sreve'], /^qalgate: unknown command 'sreve'\n\(Did you mean serve\?\)/],
    [['config', 'check', '--confg', 'x'], /unknown option '--confg'/],
    [['serve', '--roles', 'access,relais'], /Roles are access, im, relay, push, ops/],
    [['usersig', 'alice'], /required option '-a, --app <number>' not specified/],
    [['usersig', 'a\u0007', '--app', '5'], /must hold no control characters/],
    [['usersig', 'alice', '--app', '0'], /whole number from 1 to 4294967295/],
    [['usersig', 'alice', '--app', '5', '--expire', '3w'], /a number and a unit/],
    [['app', 'create', '--route', '/=ftp://x'], /A route is written host\/prefix=upstream/],
    [['app', 'create', '--secret', 'a', '--secret-file', 'b'], /cannot be used with option '--secret <secret>'/],
    [['app', 'delete', '5'], /repeat with --yes/],
  ];
  for (const [args, message] of wrong) {
    const { code, stdout, stderr } = await runInProcess(args);
    t.equal(code, 2, args.join(' '));
    t.match(stderr, message);
    t.equal(stdout, '');
  }
});

t.test('config check', async (t) => {
  const file = write(
    'wrong.yaml',
    'limits: { headerBites: 1 }\nlisten: { access: here }\ndatabase: postgres://u:hush@db/q\n',
  );
  const wrong = await run(['config', 'check'], { QALGATE_CONFIG: file, QALGATE_LOG_LEVL: 'debug' });
  t.equal(wrong.code, 3);
  t.equal(wrong.stdout, '');
  t.equal(
    wrong.stderr,
    `qalgate: the configuration has 4 problems:
  ${file}:1:11: limits.headerBites: is not a known field; did you mean headerBytes?
  ${file}:2:11: listen.access: "here" is not an address such as 127.0.0.1:8080 or [::1]:8080; allowed: an address such as 127.0.0.1:8080 or [::1]:8080, a map of \`address\` and \`tls\`, none or false
  masterKey: is missing: a database elsewhere needs the same key on every process; allowed: masterKey or masterKeyFile with 32 random bytes in base64, as \`openssl rand -base64 32\` makes them
  QALGATE_LOG_LEVL: is not a known variable; did you mean QALGATE_LOG_LEVEL?
`,
  );
  t.match(await run(['serve', '--config', file]), { code: 3, stderr: /4 problems|3 problems/ }, 'nothing starts on it');

  const right = write('right.yaml', 'apps: [{ sdkAppId: 1400000000, secret: 0123456789abcdef }]\n');
  t.match(await runInProcess(['config', 'check', '-c', right]), { code: 0, stdout: `${right} is valid: 1 app\n` });
});

t.test('config print', async (t) => {
  const secretFile = write('secret', 'from-a-file-012345\n');
  const file = write('print.yaml', `apps: [{ sdkAppId: 1, secretFile: ${secretFile} }]\n`);
  const env = { QALGATE_DATABASE: 'postgres://u:hush@db/q', QALGATE_MASTER_KEY: key };
  const { code, stdout } = await run(['config', 'print', '--config', file], env);
  t.equal(code, 0);
  t.match(stdout, 'database: postgres://u:[redacted]@db/q # QALGATE_DATABASE\n');
  t.match(stdout, 'masterKey: "[redacted]" # QALGATE_MASTER_KEY\n');
  t.match(stdout, 'sdkAppId: 1 # file\n');
  t.match(stdout, `secret: "[redacted]" # file, read from ${secretFile}\n`);
  t.notMatch(stdout, /hush|from-a-file/);
  t.notOk(stdout.includes(key));
});

t.test('usersig of a configured app needs no database', async (t) => {
  const secret = 'configured-secret-0123';
  const env = { QALGATE_APPS: `[{ sdkAppId: 1400000000, secret: [${secret}, older-secret-0123456] }]` };
  const { code, stdout } = await runInProcess(['usersig', 'älice', '--app', '1400000000', '--expire', '2h'], env);
  t.equal(code, 0);
  const nowSec = Math.floor(Date.now() / 1_000);
  const verified = verifyUserSig(stdout.trim(), {
    sdkAppId: 1_400_000_000,
    identifier: 'älice',
    secrets: [secret],
    nowSec,
  });
  t.ok(verified.ok);
  if (verified.ok) t.equal(verified.expiresAtSec - verified.issuedAtSec, 7_200);
});

t.test('the life of an app, with the service stopped', async (t) => {
  const configFile = write(
    'apps.yaml',
    `data: ${join(folder, 'data')}
listen: { access: 127.0.0.1:18080 }
apps: [{ sdkAppId: 1400000001, name: fixed, secret: config-secret-0123, access: { routes: [{ host: a.example, upstream: ["http://127.0.0.1:9"] }] } }]
`,
  );
  const app = (args: string[], input = '') => runInProcess(['app', ...args, '--config', configFile], {}, input);
  const shown = async (args: string[], input = '') => {
    const { code, stdout, stderr } = await app([...args, '--json'], input);
    if (code !== 0) throw new Error(stderr);
    return JSON.parse(stdout);
  };

  t.match(await app(['show', '1400000001']), { code: 0 }, 'an app of the configuration needs no database');
  t.match(await app(['delete', '7', '--yes']), { code: 1, stderr: /there is no database in .*data yet/ });
  t.notOk(existsSync(join(folder, 'data')), 'looking makes nothing');

  const made = await shown(['create', '--name', 'shop', '--route', '/=http://127.0.0.1:9000']);
  t.match(
    made.settings,
    { sdkAppId: 1_400_000_002, name: 'shop', secret: /^[0-9a-f]{64}$/ },
    'the next free number behind the demo app',
  );
  t.same(Object.keys(made.settings), [
    'sdkAppId',
    'name',
    'secret',
    'admins',
    'timeZone',
    'access',
    'im',
    'callbacks',
    'push',
  ]);
  const fromInput = await shown(
    ['create', '--file', '-', '--sessions', 'required'],
    '{"sdkAppId": 7, "secret": "given-secret-01234", "access": {"sendImei": true, "sessions": "optional"}}',
  );
  t.match(fromInput.settings, {
    sdkAppId: 7,
    secret: '[redacted]',
    access: { sendImei: true, sessions: 'required', routes: [] },
  });

  const list = await app(['list']);
  t.match(
    list.stdout,
    /^APP +NAME +FROM +SESSIONS +ROUTES\n7 .*database +required\n1400000001 +fixed +configuration +optional +a\.example\/\n1400000002 +shop +database +optional +\*\/\n$/,
  );
  t.notMatch(list.stdout, 'given-secret');
  t.match((await app(['show', '7'])).stdout, /secret: "\[redacted\]"/);
  t.match((await app(['show', '7', '--show-secret'])).stdout, /secret: given-secret-01234\n/);
  t.match((await app(['show', '1400000001'])).stdout, /^# of the configuration\nsdkAppId: 1400000001\nname: fixed\n/);

  const rotated = await shown(['set', '7', '--rotate-secret', '--name', 'seven']);
  t.match(rotated.settings, {
    name: 'seven',
    secret: [/^[0-9a-f]{64}$/, 'given-secret-01234'],
    access: { sendImei: true },
  });
  const patched = await shown(
    ['set', '7', '--drop-old-secret', '--file', '-'],
    'name: null\naccess: { sendImei: false }\n',
  );
  t.notOk('name' in patched.settings, 'null removes');
  t.match(patched.settings, { access: { sendImei: false, sessions: 'required' } }, 'what is not named stays');
  t.match((await shown(['show', '7', '--show-secret'])).settings.secret, rotated.settings.secret[0]);

  const wordsFile = write('words.yaml', 'im: { wordLists: [obscene] }\n');
  const refused: [string[], number, RegExp][] = [
    [['create', '--id', '7'], 1, /app 7 exists already/],
    [['create', '--id', '8', '--route', '*/=http://127.0.0.1:9'], 1, /app 1400000002 \(shop\) has it/],
    [['create', '--id', '1400000001'], 1, /app 1400000001 is one of the configuration: change it in .*apps\.yaml/],
    [
      ['create', '--id', '8', '--route', 'A.example/=http://127.0.0.1:9'],
      1,
      /apps\.yaml\): access\.routes\[0\]: serves the same host and prefix as apps\[0\]\.access\.routes\[0\]$/m,
    ],
    [['create', '--id', '8', '--route', '/x=http://127.0.0.1:18080'], 1, /our own listener listen\.access/],
    [['create', '--id', '8', '--secret', 'short'], 2, /secret: the value is too short; allowed: a text of 16 to 256/],
    [['create', '--id', '8', '--secret-file', '/does/not/exist'], 2, /\/does\/not\/exist does not exist/],
    [['create', '--id', '8', '--file', wordsFile], 1, /im\.wordLists\[0\]: "obscene" is no category of im\.wordLists/],
    [['set', '1400000001', '--name', 'x'], 1, /app 1400000001 is one of the configuration: change it in .*apps\.yaml/],
    [['set', '99', '--name', 'x'], 1, /there is no app 99/],
    [['delete', '1400000001', '--yes'], 1, /one of the configuration/],
    [['delete', '99', '--yes'], 1, /there is no app 99/],
    [['show', '99'], 1, /there is no app 99/],
  ];
  for (const [args, expected, message] of refused) {
    const { code, stderr } = await app(args);
    t.equal(code, expected, args.join(' '));
    t.match(stderr, message);
  }
  const inFile = await app(['set', '7', '--file', '-'], 'name: x\naccess:\n  sesions: required\n');
  t.equal(inFile.code, 2);
  t.match(inFile.stderr, /standard input:3:3: access\.sesions: is not a known field; did you mean sessions\?/);

  await pushCredentials(t, shown, app);

  t.match(await app(['delete', '7', '--yes']), { code: 0, stdout: 'app 7 is deleted\n' });
  t.match(await app(['show', '7']), { code: 1 });
  t.match(await runInProcess(['kick', 'alice', '--app', '7', '-c', configFile]), {
    code: 1,
    stderr: /there is no app 7/,
  });
  t.match(await runInProcess(['kick', 'alice', '--app', '1400000002', '-c', configFile]), { code: 0 });
  t.match(await runInProcess(['migrate', '-c', configFile]), { code: 0, stdout: /migrates itself at start/ });
  t.equal(statSync(join(folder, 'data', 'master.key')).mode & 0o777, 0o600);

  const otherKey = await runInProcess(['app', 'list', '-c', configFile], { QALGATE_MASTER_KEY: key });
  t.match(otherKey, { code: 3, stderr: /cannot be opened/ }, 'another master key');
});

/** The options by which an app gets what it pushes with. */
async function pushCredentials(
  t: Test,
  shown: (args: string[], input?: string) => Promise<{ settings: AppSettings }>,
  app: (args: string[], input?: string) => ReturnType<typeof runInProcess>,
): Promise<void> {
  const pem = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString();
  const p8 = () => pem(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
  const [first, second] = [p8(), p8()];
  const account = (projectId: string) =>
    JSON.stringify({
      project_id: projectId,
      client_email: `push@${projectId}.example`,
      private_key: pem(generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey),
    });
  const [firstAccount, secondAccount] = [account('one'), account('two')];
  const keyFile = write('first.p8', first);
  const accountFile = write('first.json', firstAccount);
  const ids = ['--apns-key-id', 'ABCDEFGHIJ', '--apns-team-id', '0123456789', '--apns-topic', 'com.example.chat'];

  const made = await shown(['create', '--id', '8', '--apns-key-file', keyFile, ...ids]);
  t.match(made.settings.push, {
    apns: { key: '[redacted]', keyId: 'ABCDEFGHIJ', teamId: '0123456789', topic: 'com.example.chat', connections: 2 },
    fcm: undefined,
  });
  const both = await shown(['set', '8', '--fcm-service-account-file', accountFile]);
  t.match(both.settings.push, { apns: { key: '[redacted]' }, fcm: { serviceAccount: '[redacted]', perMin: 600_000 } });
  const plain = await app(['show', '8']);
  t.match(plain.stdout, /key: "\[redacted\]"[\s\S]*serviceAccount: "\[redacted\]"/);
  t.notMatch(plain.stdout, /PRIVATE KEY/);
  const secret = async () => (await shown(['show', '8', '--show-secret'])).settings.push;
  t.match(await secret(), { apns: { key: first.trimEnd() }, fcm: { serviceAccount: firstAccount } });

  await shown(['set', '8', '--apns-key-file', write('second.p8', second), '--apns-key-id', 'KLMNOPQRST']);
  t.match(await secret(), {
    apns: { key: second.trimEnd(), keyId: 'KLMNOPQRST', teamId: '0123456789' },
    fcm: { serviceAccount: firstAccount },
  });
  await shown(
    ['set', '8', '--file', '-', '--fcm-service-account-file', write('second.json', secondAccount)],
    'push: { apns: null }',
  );
  t.same((await secret()).apns, undefined);
  t.match(await secret(), { fcm: { serviceAccount: secondAccount } });

  const certified = { topic: 'com.example.chat', certificate: '-----BEGIN CERTIFICATE-----', certificateKey: first };
  await shown(['set', '8', '--file', '-'], JSON.stringify({ push: { apns: certified } }));
  const keyed = await shown(['set', '8', '--apns-key-file', keyFile, ...ids]);
  t.match(keyed.settings.push.apns, { key: '[redacted]', certificate: undefined, certificateKey: undefined });

  const garbage = write('garbage.p8', 'no key at all');
  const broken = write('broken.p8', first.replace(/\n.{20}/, '\n'));
  const rsa = write('rsa.p8', JSON.parse(firstAccount).private_key);
  const refused: [string[], number, RegExp][] = [
    [['--apns-key-file', keyFile], 2, /push\.apns\.topic: .*is missing/],
    [
      ['--apns-key-file', keyFile, '--apns-topic', 'x'],
      1,
      /push\.apns\.keyId: is missing; allowed: key, keyId and teamId/,
    ],
    [['--apns-key-file', '/does/not/exist', ...ids], 2, /--apns-key-file: \/does\/not\/exist does not exist/],
    [['--apns-key-file', garbage, ...ids], 2, /push\.apns\.key: /],
    [['--apns-key-file', broken, ...ids], 1, /push\.apns\.key: is no key that signs provider tokens; allowed: a P-256/],
    [['--apns-key-file', rsa, ...ids], 1, /push\.apns\.key: is no key that signs provider tokens/],
    [['--apns-key-file', keyFile, ...ids, '--apns-key-id', 'short'], 2, /push\.apns\.keyId/],
    [['--apns-key-file', keyFile, ...ids, '--apns-topic', 'a b'], 2, /push\.apns\.topic/],
    [
      ['--fcm-service-account-file', keyFile],
      1,
      /push\.fcm\.serviceAccount: is no service account; allowed: the JSON file/,
    ],
    [['--fcm-service-account-file', '/does/not/exist'], 2, /--fcm-service-account-file: \/does\/not\/exist does not/],
  ];
  for (const [options, expected, message] of refused) {
    const { code, stderr } = await app(['create', '--id', '9', ...options]);
    t.equal(code, expected, options.join(' '));
    t.match(stderr, message);
    t.notMatch(stderr, /PRIVATE|no key at all/, 'what it was is not shown');
  }
  t.match(await app(['delete', '8', '--yes']), { code: 0 });
}

t.test('a database that is not there', async (t) => {
  const env = { QALGATE_DATABASE: 'postgres://u:hush@127.0.0.1:1/q', QALGATE_MASTER_KEY: key };
  for (const args of [['app', 'list'], ['migrate'], ['serve']]) {
    const { code, stdout, stderr } = await (args[0] === 'serve' ? run(args, env) : runInProcess(args, env));
    t.equal(code, 5, args.join(' '));
    t.match(stderr.trim().split('\n'), { length: 1, 0: /^qalgate: .*127\.0\.0\.1:1.*ECONNREFUSED/ }, 'one sentence');
    t.notMatch(stdout + stderr, /hush/);
  }
  t.match((await runInProcess(['migrate', '--debug'], env)).stderr, /\n\s+at .*\n/, 'the stack on demand');
});

t.test('[O5] doctor tells what is wrong and what to do', async (t) => {
  const doctor = async (env: Env) => {
    const { code, stdout } = await runInProcess(['doctor', '--json'], env);
    const checks: { name: string; state: string; detail: string; remedy?: string }[] = JSON.parse(stdout);
    return { code, checks, of: (name: string) => checks.filter((check) => check.name === name) };
  };
  const data = join(folder, 'doctor');
  const backend = createServer().listen(0, '127.0.0.1');
  t.teardown(() => backend.close());
  await once(backend, 'listening');
  const { port } = backend.address() as AddressInfo;
  const origin = `http://127.0.0.1:${port}`;
  const env = {
    QALGATE_DATA: data,
    QALGATE_LISTEN_ACCESS: '127.0.0.1:0',
    QALGATE_LISTEN_IM: 'none',
    QALGATE_LISTEN_OPS: 'none',
  };

  const fresh = await doctor(env);
  t.equal(fresh.code, 0);
  t.match(fresh.of('database'), [{ state: 'ok', detail: /will be made at the first start/ }]);
  t.match(fresh.of('master key'), [{ state: 'ok', detail: /will be made/ }]);
  t.notOk(existsSync(data), 'looking makes nothing');

  const { cert, key: certKey } = createCertificate('expired', new Date('2025-01-01T00:00:00Z'));
  const tls = `{ certFile: ${write('expired.pem', cert)}, keyFile: ${write('expired.key', certKey)} }`;
  const bad = await doctor({
    QALGATE_DATA: write('no-folder', ''),
    QALGATE_LISTEN_ACCESS: `{ address: "127.0.0.1:0", tls: ${tls} }`,
    QALGATE_LISTEN_IM: '127.0.0.1:0',
    QALGATE_LISTEN_OPS: `127.0.0.1:${port}`,
    QALGATE_LIMITS_CONNECTIONS: '1000000',
    QALGATE_APPS: `[{ sdkAppId: 1, secret: 0123456789abcdef, access: { routes: [{ upstream: ["http://127.0.0.1:1"] }] } }]`,
  });
  t.equal(bad.code, 1);
  t.match(bad.of('data folder'), [{ state: 'fail', detail: /is not a folder/, remedy: /set `data`/ }]);
  t.match(bad.of('tls access'), [{ state: 'fail', detail: /^expired on/, remedy: /renew/ }]);
  t.match(bad.of('listen.ops'), [{ state: 'warn', detail: /is in use/ }]);
  t.match(bad.of('open files'), [{ state: 'warn', remedy: /ulimit -n 2000200/ }]);
  t.match(bad.of('upstream'), [{ state: 'warn', detail: /127\.0\.0\.1:1 of app 1 does not answer \(ECONNREFUSED\)/ }]);

  t.match(await runInProcess(['doctor'], { QALGATE_LOG_LEVEL: 'loud' }), {
    code: 1,
    stdout: /fail {2}configuration +QALGATE_LOG_LEVEL: log\.level: "loud" is none of/,
    stderr: 'qalgate: 1 check failed\n',
  });

  const apps = `[{ sdkAppId: 1, secret: 0123456789abcdef, access: { routes: [{ upstream: ["${origin}"] }] } }]`;
  const service = await spawnService({ dataDir: data, env: { QALGATE_APPS: apps } });
  t.teardown(() => service.process.kill('SIGKILL'));
  chmodSync(join(data, 'master.key'), 0o644);
  const busy = new URL(service.access).host;
  const running = await doctor({ ...env, QALGATE_LISTEN_ACCESS: busy });
  t.equal(running.code, 0);
  t.match(running.of('database'), [
    { state: 'ok', detail: new RegExp(`pid ${service.process.pid}\\): reachable.*apps: 1`) },
  ]);
  t.match(running.of('listen.access'), [{ state: 'ok', detail: /in use, and the service runs/ }]);
  t.match(running.of('upstream'), [{ state: 'ok', detail: `${origin} of app 1 accepts connections` }]);
  t.match(running.of('master key'), [{ state: 'warn', remedy: /^chmod 600/ }]);
  t.match(running.of('clock'), [{ state: 'ok', detail: /(behind|ahead of) the database/ }]);
  service.process.kill('SIGTERM');
  t.match(await service.exited, { code: 0 });
});

t.test('the pure parts', async (t) => {
  t.same(parseRouteOption('a.example/x=http://u:1, https://v'), {
    host: 'a.example',
    prefix: '/x',
    upstream: ['http://u:1', 'https://v'],
  });
  t.same(parseRouteOption('=http://u'), { host: '*', prefix: '/', upstream: ['http://u'] });
  t.same(parseRouteOption('/a=b=http://u'), { host: '*', prefix: '/a=b', upstream: ['http://u'] });
  t.equal(parseRouteOption('a.example/x'), undefined);
  t.same([parseDurationSec('90s'), parseDurationSec('2h'), parseDurationSec('180d')], [90, 7_200, 15_552_000]);
  for (const wrong of ['', '5', '0s', '-1h', '1.5h', '99999d']) t.throws(() => parseDurationSec(wrong), wrong);
  t.same(mergePatch({ a: { b: 1, c: 2 }, d: [1, 2] }, { a: { b: null, e: 3 }, d: [3] }), { a: { c: 2, e: 3 }, d: [3] });
  t.same(JSON.stringify(mergePatch({}, JSON.parse('{"__proto__":{"x":1}}'))), '{"__proto__":{"x":1}}');
  t.match(checkNode('20.1.0'), { state: 'fail', remedy: /Node 24/ });
  const nowMs = Date.UTC(2027, 0, 1);
  t.match(
    [0, -5_000, 60_000].map((skewMs) => checkClock(nowMs, skewMs).state),
    ['ok', 'warn', 'fail'],
  );
  t.match(checkClock(Date.UTC(2020, 0, 1), undefined), { state: 'fail', remedy: /NTP/ });
});
