import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import t from 'tap';
import { referencePages } from '../../scripts/generate-reference.ts';
import {
  ConfigSchema,
  fieldName,
  formatProblem,
  isLeaf,
  listFields,
  loadConfig,
  parseAddress,
  printConfig,
  readMasterKeys,
  variableName,
} from '../../src/server/config/index.ts';
import { queueOptionsOf } from '../../src/server/queue-options.ts';
import { apnsCertificate, apnsIds, apnsKey } from '../support/push-credentials.ts';

const key = Buffer.alloc(32, 7).toString('base64');
const folder = t.testdir();
const root = fileURLToPath(new URL('../../', import.meta.url));

let files = 0;
function write(text: string | Uint8Array): string {
  files += 1;
  const file = join(folder, `file-${files}`);
  writeFileSync(file, text);
  return file;
}

type Env = Record<string, string>;
const load = (yaml?: string, env: Env = {}) => loadConfig({ file: yaml === undefined ? undefined : write(yaml), env });

function config(yaml?: string, env: Env = {}) {
  const loaded = load(yaml, env);
  if (!loaded.ok) throw new Error(loaded.problems.map(formatProblem).join('\n'));
  return loaded.config;
}

function problems(yaml?: string, env: Env = {}) {
  const loaded = load(yaml, env);
  return loaded.ok ? [] : loaded.problems;
}

const paths = (yaml?: string, env: Env = {}) => problems(yaml, env).map(({ path }) => path);

t.test('without file and environment the defaults hold', async (t) => {
  const defaults = config();
  t.same(defaults.listen, {
    access: { host: '127.0.0.1', port: 8080 },
    im: { host: '127.0.0.1', port: 8081 },
    ops: { host: '127.0.0.1', port: 8082 },
  });
  t.equal(defaults.data, join(process.cwd(), 'data'));
  t.equal(defaults.database, 'embedded');
  t.same(defaults.masterKeys, []);
  t.same(defaults.apps, []);
  t.equal(defaults.limits.headerBytes, 16_384);
  t.equal(defaults.sessions.lifetimeSec, 900);
  t.equal(defaults.timeouts.connectMs, 5_000);
  t.same(config('limits:\nops:\n# only comments\n'), defaults, 'an empty field counts as not given');
});

t.test('a file is read, and every form of a field understood', async (t) => {
  const read = config(`
    data: /var/lib/qalgate
    listen:
      access: { address: "[::1]:443", tls: { certFile: /etc/hosts, keyFile: /etc/hosts } }
      im: 0.0.0.0:8443
      ops: none
    database: postgres://u:p@db.example/q
    masterKey: [${key}, ${Buffer.alloc(32, 8).toString('base64url')}]
    trustedProxies: [10.0.0.0/8, 192.0.2.1, "2001:db8::1"]
    apps:
      - sdkAppId: 1400000000
        secret: [0123456789abcdef, fedcba9876543210]
        access:
          routes: [{ upstream: ["http://127.0.0.1:9000"], timeouts: { headMs: 5 } }]
  `);
  const tls = { certFile: '/etc/hosts', keyFile: '/etc/hosts' };
  t.same(read.listen, { access: { host: '::1', port: 443, tls }, im: { host: '0.0.0.0', port: 8443 } });
  t.same(read.masterKeys, [Buffer.alloc(32, 7), Buffer.alloc(32, 8)]);
  t.same(read.trustedProxies, ['10.0.0.0/8', '192.0.2.1/32', '2001:db8::1/128']);
  const [app] = read.apps;
  t.same(app?.secret, ['0123456789abcdef', 'fedcba9876543210']);
  t.equal(app?.access.sessions, 'optional');
  t.same(app?.admins, ['admin']);
  t.match(app?.im, { multiTerminal: 'single', roamingDays: 7, messageBytes: 8_000, profileFields: [] });
  t.match(app?.access.routes[0], { host: '*', prefix: '/', maxConnections: 256 });
  t.same(app?.access.routes[0]?.timeouts, { headMs: 5 }, 'what a route does not name stays the server-wide limit');
});

t.test('everything wrong is told at once, with place, reason, nearest name and what is allowed', async (t) => {
  const file = write(`listen:
  acess: 127.0.0.1:8080
  access: 8080
database: embeded
trustedProxies: [10.0.0.0/8, nope]
ops: { tokens: [{ name: a, role: admin, token: short }] }
sessions: { lifetimeSec: 5000 }
log: { level: inf, access: yes }
limits: { headerBytes: 1.5 }
apps:
  - sdkAppId: 1400000000
    secret: 12345678901234567890
    access: { routes: [{ upstream: ["127.0.0.1:9000"] }] }
  - sdkAppId: 1400000000
    access: { routes: [{}] }
`);
  const loaded = loadConfig({ file, env: { QALGATE_LIMITS_HEADR_COUNT: '5', QALGATE_SHUTDOWN_GRACE_MS: 'soon' } });
  t.notOk(loaded.ok);
  const told = loaded.ok ? [] : loaded.problems.map((problem) => formatProblem(problem).replaceAll(`${file}:`, ''));
  const address = 'an address such as 127.0.0.1:8080 or [::1]:8080, a map of `address` and `tls`, none or false';
  t.strictSame(told, [
    '2:3: listen.acess: is not a known field; did you mean access?',
    `3:3: listen.access: 8080 is a number; allowed: ${address}`,
    '4:1: database: the value is not a URL `postgres://…`; did you mean embedded?; allowed: embedded or a URL `postgres://…`',
    '5:30: trustedProxies[1]: "nope" is not an IP address or a CIDR block; allowed: an IP address or a CIDR block',
    '6:28: ops.tokens[0].role: "admin" is none of the allowed values; allowed: viewer or operator',
    '6:41: ops.tokens[0].token: the value is too short; allowed: a text of 16 to 256 visible ASCII characters',
    '7:13: sessions.lifetimeSec: 5000 is too large; allowed: a whole number from 60 to 3600',
    '8:8: log.level: "inf" is none of the allowed values; did you mean info?; allowed: trace, debug, info, warn, error, fatal or silent',
    '8:20: log.access: "yes" is a text; allowed: true or false',
    '9:11: limits.headerBytes: 1.5 is not a whole number; allowed: a whole number from 1024 to 1048576',
    '12:5: apps[0].secret: the value is a number: put it in quotes; allowed: a text of 16 to 256 characters or a list of 1 to 2 entries: a text of 16 to 256 characters',
    '13:37: apps[0].access.routes[0].upstream[0]: "127.0.0.1:9000" has not the right form; allowed: Origins of the app\'s backend: `http://host:port` or `https://host:port`',
    '14:5: apps[1].secret: is missing; allowed: a text of 16 to 256 characters or a list of 1 to 2 entries: a text of 16 to 256 characters',
    '14:5: apps[1].sdkAppId: is the same as apps[0].sdkAppId',
    '15:24: apps[1].access.routes[0].upstream: is missing; allowed: a list of 1 to 64 entries: a text of at most 300 characters',
    '15:24: apps[1].access.routes[0]: serves the same host and prefix as apps[0].access.routes[0]',
    'QALGATE_SHUTDOWN_GRACE_MS: shutdown.graceMs: "soon" is a text; allowed: a whole number from 0 to 3600000',
    'QALGATE_LIMITS_HEADR_COUNT: is not a known variable; did you mean QALGATE_LIMITS_HEADER_COUNT?',
  ]);
});

t.test('redis: none, or a URL with nothing in it that the client library would read on its own', async (t) => {
  const secretFile = write('redis://:hush@cache.internal:6380/3\n');
  t.equal(config().redis, 'none');
  for (const url of ['redis://127.0.0.1', 'redis://u:p@[::1]:6379/0', 'rediss://:p%40ss@cache.internal:6380/15']) {
    t.equal(config(`redis: "${url}"`).redis, url);
  }
  const given = load(`redisFile: ${secretFile}`);
  t.ok(given.ok);
  if (given.ok) {
    t.equal(given.config.redis, 'redis://:hush@cache.internal:6380/3');
    const printed = printConfig(given.settings, given.sources);
    t.match(printed, /^redis: redis:\/\/:\[redacted\]@cache\.internal:6380\/3 # file, read from /m);
    t.notMatch(printed, 'hush');
  }
  t.match(problems('redis: nnoe').map(formatProblem), [
    /redis: .*; did you mean none\?; allowed: none or a URL `redis:\/\/…` or `rediss:\/\/…`$/,
  ]);
  for (const wrong of [
    'http://127.0.0.1:6379',
    'redis://',
    'redis:127.0.0.1',
    'redis://127.0.0.1:99999',
    'redis://127.0.0.1/zero',
    'redis://127.0.0.1/0?commandTimeout=0',
    'redis://u:hush@127.0.0.1/0#x',
  ]) {
    const [problem, ...more] = problems(`redis: "${wrong}"`);
    t.same([problem?.path, more.length], ['redis', 0], wrong);
    t.notMatch(problem && formatProblem(problem), 'hush');
  }
  t.same(paths(`redis: redis://a\nredisFile: ${secretFile}`), ['redisFile']);
});

t.test('queues run on the database, or on Redis where there is one', async (t) => {
  t.strictSame(queueOptionsOf(config()), { kind: 'postgres' });
  t.strictSame(queueOptionsOf(config('redis: redis://a:1')), { kind: 'redis', url: 'redis://a:1' });
  for (const part of ['callbacks', 'push'] as const) {
    t.same(config()[part], { concurrency: 64 });
    t.same(config(`${part}: { concurrency: 1000 }`)[part], { concurrency: 1_000 });
    t.same(paths(`${part}: { concurrency: 0 }`), [`${part}.concurrency`]);
    t.same(paths(`${part}: { concurrency: 1001 }`), [`${part}.concurrency`]);
  }
});

t.test('fields that are right in themselves but not together', async (t) => {
  const app = (id: number, route: string) =>
    `{ sdkAppId: ${id}, secret: 0123456789abcdef, access: { routes: [${route}] } }`;
  const pushing = (push: object) => JSON.stringify({ apps: [{ sdkAppId: 5, secret: '0123456789abcdef', push }] });
  const cases: Record<string, { yaml: string; path: string; reason: RegExp }> = {
    'rotation shorter than a session': {
      yaml: 'sessions: { lifetimeSec: 900, keyRotationSec: 600 }',
      path: 'sessions.keyRotationSec',
      reason: /shorter than a session lasts/,
    },
    'external database without key': {
      yaml: 'database: postgres://db/q',
      path: 'masterKey',
      reason: /same key on every process/,
    },
    'ops open to others without a token': {
      yaml: 'listen: { ops: "0.0.0.0:8082" }',
      path: 'listen.ops',
      reason: /open to other machines, and ops.tokens is empty/,
    },
    'two listeners at one address': {
      yaml: 'listen: { ops: 127.0.0.1:8080 }',
      path: 'listen.ops',
      reason: /address of listen.access too/,
    },
    'the IM listener at the address of another': {
      yaml: 'listen: { im: 127.0.0.1:8080 }',
      path: 'listen.im',
      reason: /address of listen.access too/,
    },
    'two tokens of one name': {
      yaml: 'ops: { tokens: [{ name: a, role: viewer, token: 0123456789abcdef }, { name: a, role: viewer, token: 1123456789abcdef }] }',
      path: 'ops.tokens[1].name',
      reason: /same as ops.tokens\[0\].name/,
    },
    'one token twice': {
      yaml: 'ops: { tokens: [{ name: a, role: viewer, token: 0123456789abcdef }, { name: b, role: operator, token: 0123456789abcdef }] }',
      path: 'ops.tokens[1].token',
      reason: /same as ops.tokens\[0\].token/,
    },
    'one app twice': {
      yaml: `apps: [${app(5, '')}, ${app(5, '')}]`,
      path: 'apps[1].sdkAppId',
      reason: /same as apps\[0\].sdkAppId/,
    },
    'one route twice, host in another case': {
      yaml: `apps: [${app(5, '{ host: A.example, prefix: /x, upstream: ["http://b"] }')}, ${app(6, '{ host: a.EXAMPLE, prefix: /x, upstream: ["http://c"] }')}]`,
      path: 'apps[1].access.routes[0]',
      reason: /same host and prefix as apps\[0\].access.routes\[0\]/,
    },
    'a profile field twice': {
      yaml: `apps: [{ sdkAppId: 5, secret: 0123456789abcdef, im: { profileFields: [{ keyword: Team }, { keyword: team }, { keyword: Team }] } }]`,
      path: 'apps[0].im.profileFields[2].keyword',
      reason: /same as apps\[0\].im.profileFields\[0\].keyword/,
    },
    'a category of words twice': {
      yaml: 'im: { wordLists: [{ category: a, wordsFile: /etc/hosts }, { category: a, wordsFile: /etc/hosts }] }',
      path: 'im.wordLists[1].category',
      reason: /same as im.wordLists\[0\].category/,
    },
    'a category of words that there is not': {
      yaml: `im: { wordLists: [{ category: a, wordsFile: /etc/hosts }] }
apps: [{ sdkAppId: 5, secret: 0123456789abcdef, im: { wordLists: [a, b] } }]`,
      path: 'apps[0].im.wordLists[1]',
      reason: /"b" is no category of im.wordLists/,
    },
    'upstream that is our listener': {
      yaml: `apps: [${app(5, '{ upstream: ["http://127.0.0.1:9", "http://localhost:8080/"] }')}]`,
      path: 'apps[0].access.routes[0].upstream[1]',
      reason: /our own listener listen.access/,
    },
    'upstream that our wildcard listener takes': {
      yaml: `listen: { access: "0.0.0.0:80" }\napps: [${app(5, '{ upstream: ["http://127.0.0.1"] }')}]`,
      path: 'apps[0].access.routes[0].upstream[0]',
      reason: /our own listener listen.access/,
    },
    'upstream with an impossible port': {
      yaml: `apps: [${app(5, '{ upstream: ["http://b:99999"] }')}]`,
      path: 'apps[0].access.routes[0].upstream[0]',
      reason: /not a URL/,
    },
    'a key for pushes without its id': {
      yaml: pushing({ apns: { key: apnsKey, teamId: apnsIds.teamId, topic: apnsIds.topic } }),
      path: 'apps[0].push.apns.keyId',
      reason: /^is missing$/,
    },
    'a key for pushes beside a certificate': {
      yaml: pushing({ apns: { ...apnsIds, key: apnsKey, certificate: apnsCertificate.cert } }),
      path: 'apps[0].push.apns.certificate',
      reason: /^excludes key: give one of the two$/,
    },
    'a service account that is none': {
      yaml: pushing({ fcm: { serviceAccount: '{}' } }),
      path: 'apps[0].push.fcm.serviceAccount',
      reason: /^is no service account$/,
    },
    'callbacks without a key': {
      yaml: 'apps: [{ sdkAppId: 5, secret: 0123456789abcdef, callbacks: { url: "http://b" } }]',
      path: 'apps[0].callbacks.secret',
      reason: /^is missing: every callback is signed/,
    },
    'a command of callbacks twice': {
      yaml: `apps: [{ sdkAppId: 5, secret: 0123456789abcdef, callbacks: { commands: [${'{ command: State.StateChange }, '.repeat(2)}] } }]`,
      path: 'apps[0].callbacks.commands[1].command',
      reason: /^stands twice$/,
    },
  };
  for (const [name, { yaml, path, reason }] of Object.entries(cases)) {
    const found = problems(yaml);
    t.same([found.length, found[0]?.path], [1, path], name);
    t.match(found[0]?.reason, reason, name);
  }
  t.same(
    paths(`listen: { ops: "0.0.0.0:1" }\nops: { tokens: [{ name: a, role: viewer, token: 0123456789abcdef }] }`),
    [],
  );
});

t.test('variables win over the file', async (t) => {
  const yaml = 'limits: { headerBytes: 2048, headerCount: 20 }\ntrustedProxies: [10.0.0.1]\nlog: { access: true }';
  const read = config(yaml, {
    QALGATE_LIMITS_HEADER_BYTES: '4096',
    QALGATE_TRUSTED_PROXIES: '[192.0.2.0/24, 192.0.2.1]',
    QALGATE_LOG_ACCESS: 'false',
    QALGATE_LISTEN_ACCESS: '0.0.0.0:80',
    QALGATE_LISTEN_IM: '127.0.0.1:81',
    QALGATE_LISTEN_OPS: 'false',
    QALGATE_DATA: '/var/a: b # c',
    QALGATE_APPS: `[{ sdkAppId: 1, secret: ${'s'.repeat(16)} }]`,
    QALGATE_APPS_0_SECRET: '12345678901234567890',
    QALGATE_APPS_1_SDK_APP_ID: '2',
    QALGATE_APPS_1_SECRET: '[aaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbb]',
    QALGATE_SHUTDOWN_GRACE_MS: '',
  });
  t.match(read.limits, { headerBytes: 4_096, headerCount: 20 });
  t.same(read.trustedProxies, ['192.0.2.0/24', '192.0.2.1/32']);
  t.equal(read.log.access, false);
  t.same(read.listen, { access: { host: '0.0.0.0', port: 80 }, im: { host: '127.0.0.1', port: 81 } });
  t.equal(read.data, '/var/a: b # c', 'a text is taken as it stands');
  t.equal(read.shutdown.graceMs, 10_000, 'an empty variable counts as not set');
  t.match(read.apps, [
    { sdkAppId: 1, secret: '12345678901234567890' },
    { sdkAppId: 2, secret: ['aaaaaaaaaaaaaaaa', 'bbbbbbbbbbbbbbbb'] },
  ]);

  const reason = (env: Env) => problems(undefined, env).map(formatProblem).join('\n');
  t.match(reason({ QALGATE_FOO: '1' }), /^QALGATE_FOO: is not a known variable/);
  t.match(reason({ QALGATE_DATABSE: '1' }), /did you mean QALGATE_DATABASE\?/);
  t.match(reason({ QALGATE_APPS_3_NAME: 'x' }), /leaves a gap: the list has 0 entries/);
  t.match(reason({ QALGATE_LIMITS: '{ headerBytes: ' }), /QALGATE_LIMITS: limits: cannot be read as YAML/);
  t.match(reason({ QALGATE_TRUSTED_PROXIES: '[*a]' }), /cannot be read as YAML/);
  const inText = problems('listen: { access: 127.0.0.1:1 }', { QALGATE_LISTEN_ACCESS_TLS_KEY_FILE: 'x' });
  t.match(inText.map(formatProblem).join(), /write the field around it as a map/);
});

t.test('each field has a variable of its own, and it works', async (t) => {
  const fields = listFields(ConfigSchema);
  const names = fields.map(variableName);
  t.equal(new Set(names).size, names.length);
  for (const field of fields) {
    // A value that no field takes: the variable is known, so the problem is told of its field.
    const variable = variableName(field).replaceAll('<n>', '0');
    const path = fieldName(field).replaceAll('[]', '[0]');
    const told = problems(undefined, { [variable]: '{ wrong: [' });
    const first = told.find((problem) => problem.at === variable);
    if (field.node.type === 'string') t.not(first?.reason, 'is not a known variable', variable);
    else t.equal(first?.path, path, variable);
  }
});

t.test('secrets come from files', async (t) => {
  const master = write(`${key}\n`);
  const token = write('token-0123456789\r\n\n');
  const secret = write('new-secret-0123456\nold-secret-0123456\n');
  const url = write('postgres://u:p@db/q\n');
  const yaml = `
    masterKeyFile: ${master}
    ops: { tokens: [{ name: a, role: viewer, tokenFile: ${token} }] }
    apps: [{ sdkAppId: 1, secretFile: ${secret} }]`;
  const read = config(yaml, { QALGATE_DATABASE_FILE: url });
  t.same(read.masterKeys, [Buffer.alloc(32, 7)]);
  t.equal(read.ops.tokens[0]?.token, 'token-0123456789');
  t.same(read.apps[0]?.secret, ['new-secret-0123456', 'old-secret-0123456']);
  t.equal(read.database, 'postgres://u:p@db/q');
  t.notOk('secretFile' in (read.apps[0] ?? {}));

  const only = (yaml: string, env: Env = {}) => problems(yaml, env).map(({ path, reason }) => `${path} ${reason}`);
  t.same(only(`masterKey: ${key}\nmasterKeyFile: ${master}`), [
    'masterKeyFile excludes masterKey: give one of the two',
  ]);
  t.same(only(`masterKey: ${key}`, { QALGATE_MASTER_KEY_FILE: master }), [
    'masterKeyFile excludes masterKey: give one of the two',
  ]);
  t.same(only('apps: [{ sdkAppId: 1, secretFile: /does/not/exist }]'), [
    'apps[0].secretFile /does/not/exist does not exist',
  ]);
  t.same(only(`masterKeyFile: ${folder}`), [`masterKeyFile ${folder} is a folder, not a file`]);
  t.same(only(`masterKeyFile: ${write('\n')}`).length, 1, 'an empty file');
  t.match(only(`masterKeyFile: ${write('c2hvcnQ=')}`), [/masterKey the value is not 32 random bytes in base64/]);
  t.match(only('listen: { access: { tls: { certFile: /nope, keyFile: /etc/hosts } } }'), [
    /listen.access.tls.certFile \/nope does not exist/,
  ]);
});

t.test('a file that cannot be read as a map', async (t) => {
  const one = (text: string | Uint8Array) => {
    const file = write(text);
    const loaded = loadConfig({ file, env: {} });
    return loaded.ok ? '' : loaded.problems.map((problem) => formatProblem(problem).replaceAll(file, 'f')).join('\n');
  };
  t.match(one('data: a\ndata: b\n'), /^f:2:1: the field is given twice$/);
  t.match(one('- a\n- b\n'), /^f:1:1: must be a map of fields/);
  t.match(one('just words'), /must be a map of fields/);
  t.match(one('data: a\n---\ndata: b\n'), /several documents/);
  t.match(one('data: [a\n'), /^f:\d+:\d+: /);
  t.match(one('data: !secret a\n'), /^f:1:7: unresolved tag/);
  t.match(one(Uint8Array.of(0x64, 0x3a, 0x20, 0xff)), /^f: is not UTF-8 text$/);
  t.match(one(`data: ${'x'.repeat(1_048_576)}`), /^f: is larger than 1048576 bytes$/);
  const bomb = [
    'a: &a [x, x, x, x, x, x, x, x, x]',
    ...'bcdefgh'.split('').map((c, i) => `${c}: &${c} [${`*${'abcdefg'[i]}, `.repeat(9)}]`),
  ];
  t.match(one(bomb.join('\n')), /aliases multiply beyond reason/);
  t.match(
    one('__proto__: { data: x }\nconstructor: 1\n'),
    /__proto__: is not a known field[\s\S]*constructor: is not a known field/,
  );
  t.match(loadConfig({ file: '/does/not/exist', env: {} }), { ok: false, problems: [{ reason: 'does not exist' }] });
  t.match(loadConfig({ env: { QALGATE_CONFIG: folder } }), {
    ok: false,
    problems: [{ reason: 'is a folder, not a file' }],
  });
  t.match(loadConfig({ file: write(''), env: {} }), { ok: true });
});

t.test('whatever is configured, loading gives a result', async (t) => {
  let valid = 0;
  const names = [...new Set(listFields(ConfigSchema).flatMap(({ steps }) => steps))];
  const tree = fc.letrec((tie) => ({
    any: fc.oneof({ maxDepth: 5 }, fc.jsonValue(), tie('map'), fc.array(tie('any'), { maxLength: 3 })),
    map: fc.dictionary(
      fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...names) }, { weight: 1, arbitrary: fc.string() }),
      tie('any'),
      { maxKeys: 6 },
    ),
  })).map;
  fc.assert(
    fc.property(tree, (value) => {
      const loaded = load(JSON.stringify(value));
      if (loaded.ok) valid += 1;
      return loaded.ok ? loaded.config.limits.headerBytes > 0 : loaded.problems.every(({ reason }) => reason !== '');
    }),
    { numRuns: 300 },
  );
  t.ok(valid < 300, 'most are wrong');
});

t.test('printing hides secrets and names sources', async (t) => {
  const secretFile = write('filesecret-01234567');
  const yaml = `
    database: postgres://u:pass%40word@db/q?sslpassword=hush
    masterKey: [${key}]
    ops: { tokens: [{ name: oncall, role: operator, token: token-0123456789 }] }
    apps:
      - { sdkAppId: 1, secret: appsecret-01234567 }
      - { sdkAppId: 2, secretFile: ${secretFile} }`;
  const loaded = load(yaml, { QALGATE_LOG_LEVEL: 'debug' });
  const printed = loaded.ok ? printConfig(loaded.settings, loaded.sources) : '';
  for (const secret of ['pass%40word', 'hush', key, 'token-0123456789', 'appsecret', 'filesecret']) {
    t.notOk(printed.includes(secret), secret);
  }
  t.match(printed, 'database: postgres://u:[redacted]@db/q?sslpassword=[redacted] # file\n');
  t.match(printed, 'level: debug # QALGATE_LOG_LEVEL\n');
  t.match(printed, 'headerBytes: 16384 # default\n');
  t.match(printed, `secret: "[redacted]" # file, read from ${secretFile}\n`);
  t.match(printed, 'trustedProxies: [] # default\n');
});

t.test('no problem ever shows a secret', async (t) => {
  const marker = 'MARKER';
  const told = [
    problems(`masterKey: ${marker}`),
    problems(`masterKey: [${marker}, ${marker}, ${marker}]`),
    problems(`database: mysql://u:${marker}@db/q`),
    problems(`ops: { tokens: [{ name: a, role: viewer, token: ${marker} }] }`),
    problems(`ops: { tokens: [{ name: a, role: viewer, token: "${marker.repeat(9)} ü" }] }`),
    problems(`apps: [{ sdkAppId: 1, secret: ${marker} }]`),
    problems(`apps: [{ sdkAppId: 1, secret: { ${marker}: 1 } }]`),
    problems(undefined, { QALGATE_MASTER_KEY: marker, QALGATE_DATABASE: marker }),
    problems(undefined, { QALGATE_MASTER_KEY_FILE: write(marker) }),
  ];
  for (const list of told) {
    t.ok(list.length > 0);
    t.notMatch(list.map(formatProblem).join('\n'), marker);
  }
});

t.test('addresses', async (t) => {
  t.same(parseAddress('[::1]:0'), { host: '::1', port: 0 });
  t.same(parseAddress('Example.com:80'), { host: 'example.com', port: 80 });
  for (const wrong of [
    '',
    '8080',
    ':8080',
    '127.0.0.1',
    '::1:80',
    '[127.0.0.1]:80',
    'a:65536',
    'a:-1',
    'a b:1',
    'a:1\n',
  ]) {
    t.equal(parseAddress(wrong), undefined, JSON.stringify(wrong));
  }
});

t.test('the master key of an embedded database is made once', async (t) => {
  const data = join(t.testdir(), 'new', 'data');
  const own = { data, database: 'embedded', masterKeys: [] };
  const all = await Promise.all(Array.from({ length: 8 }, () => readMasterKeys(own)));
  const [first] = all;
  t.equal(first?.[0]?.length, 32);
  for (const keys of all) t.same(keys, first, 'whoever starts at the same time gets the same key');
  t.same(await readMasterKeys(own), first);
  const file = join(data, 'master.key');
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.same(readdirSync(data), ['master.key'], 'no draft is left');
  const configured = [Buffer.alloc(32, 1)];
  t.same(await readMasterKeys({ ...own, masterKeys: configured }), configured);
  writeFileSync(file, 'torn');
  await t.rejects(readMasterKeys(own), /holds no master key: restore it/);
  t.equal(readFileSync(file, 'utf8'), 'torn', 'a file is never replaced');
  rmSync(file);
  mkdirSync(file);
  await t.rejects(readMasterKeys(own), /cannot be read/);
  await t.rejects(readMasterKeys({ ...own, database: 'postgres://db/q' }), /masterKey is missing/);
});

t.test('the reference pages are those that the generator makes', async (t) => {
  for (const [path, page] of Object.entries(referencePages())) {
    t.equal(readFileSync(join(root, path), 'utf8'), page, `${path}: run \`npm run reference\``);
  }
  for (const field of listFields(ConfigSchema)) t.ok(field.node.description, `${fieldName(field)} says what it is`);
});

/**
 * Finds fields that nothing reads, by name: a leaf counts as read when the sources outside of schema and loader take a
 * property of that name, as `.name` or in a destructuring pattern. It sees no types, so a property of the same name of
 * another object hides an unread field (`name`, `role`), and it does not see that a value read is also obeyed; the tests
 * of the part that obeys show that.
 */
t.test('every field is read by something', async (t) => {
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .filter((file) => !file.startsWith('server/config/') && !/^store\/\w+-settings\.ts$/.test(file))
    // Commands look at the configuration too; what counts is that the service does.
    .filter((file) => !file.startsWith('server/cli/') || file === 'server/cli/serve-command.ts')
    .map((file) => readFileSync(join(root, 'src', file), 'utf8'))
    .map((text) => text.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, ''))
    .join('\n');
  const isRead = (name: string) =>
    new RegExp(`\\.${name}\\b`).test(sources) ||
    new RegExp(`\\{[^{}]*\\b${name}\\b[^{}]*\\}\\s*(=(?![=>])|:|\\)\\s*=>)`).test(sources);
  /** What the loader turns into something of another name. */
  const parsed: Record<string, string[]> = { address: ['host', 'port'] };
  const leaves = listFields(ConfigSchema).filter(isLeaf);
  const names = new Set(leaves.map(fieldName));
  const unread = leaves.filter((field) => {
    const name = field.steps.at(-1) ?? '';
    if (name === 'masterKey') return !sources.includes('readMasterKeys(config)');
    // The loader itself reads the files of secrets.
    if (name.endsWith('File') && names.has(fieldName(field).slice(0, -'File'.length))) return false;
    return !(parsed[name] ?? [name]).every(isRead);
  });
  t.same(unread.map(fieldName), []);
});
