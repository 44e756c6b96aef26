import { randomBytes, randomUUID } from 'node:crypto';
import net from 'node:net';
import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import t, { type Test } from 'tap';
import {
  type Caller,
  type Command,
  commands,
  createRevocations,
  type SessionClaims,
  userSigSecretId,
} from '../../src/auth/index.ts';
import { createCache, createPurges, type Purge } from '../../src/cache/index.ts';
import {
  createAdmin,
  createCallbackChecks,
  createPauses,
  createPoster,
  keyFingerprint,
  urlHash,
} from '../../src/callbacks/index.ts';
import { createCampaignAdmin } from '../../src/im/index.ts';
import { createHealth, createLogger, createMetrics } from '../../src/observe/index.ts';
import { createOps, type OpsDeps, type OpsOptions } from '../../src/ops/index.ts';
import { createPushAdmin, createPauses as createPushPauses } from '../../src/push/index.ts';
import { checkApp } from '../../src/server/config/index.ts';
import {
  createListenerMetrics,
  type Listener,
  type ListenerOptions,
  openListener,
} from '../../src/server/listeners.ts';
import {
  type AppSettings,
  createAppStore,
  createControlBus,
  createSealer,
  type Schema,
} from '../../src/store/index.ts';
import type { AccountId, TerminalId } from '../../src/wire/index.ts';
import { bury, stateBody, writeEvent } from '../support/callback-admin.ts';
import { openTestDatabase } from '../support/database.ts';
import {
  apnsCertificate,
  apnsIds,
  apnsKey,
  makeApnsKey,
  serviceAccount,
  traceOf,
} from '../support/push-credentials.ts';

const operator = 'operator-token-of-the-test';
const viewer = 'viewer-token-of-the-test';
const tokens: OpsOptions['tokens'] = [
  { name: 'oncall', role: 'operator', token: operator },
  { name: 'dashboards', role: 'viewer', token: viewer },
];
const secret = 'a secret that nobody may see';

/** One database for the file; every test has its own apps in it. */
const { db, logger: quiet, metrics: storeMetrics } = await openTestDatabase(t);
const sealer = createSealer([randomBytes(32)]);
const bus = createControlBus(db, { logger: quiet });
const apps = createAppStore(db, { sealer, bus });
const revocations = await createRevocations(
  { db, bus, clock: Date.now, logger: quiet, metrics: storeMetrics },
  { sessionLifetimeMs: 900_000 },
);
const purges = createPurges({ db, bus, logger: quiet, metrics: storeMetrics });
const poster = createPoster({ clock: Date.now, ownAddresses: () => [], logger: quiet, metrics: storeMetrics });
const callbackChecks = createCallbackChecks({ db, poster, clock: Date.now, randomUuid: randomUUID });
const pauses = await createPauses({ db, control: bus, clock: Date.now, logger: quiet, metrics: storeMetrics });
const campaignAdmin = createCampaignAdmin({ db, clock: Date.now });
const callbackAdmin = createAdmin({ db, control: bus, pauses, clock: Date.now, logger: quiet });
const pushAdmin = createPushAdmin({
  db,
  pauses: createPushPauses({ db, clock: Date.now }),
  wake() {},
  clock: Date.now,
});
t.teardown(async () => {
  await pauses.close();
  await poster.close();
  await purges.close();
  await revocations.close();
  await bus.close();
});

/** An ops listener on a free port of this machine, its audit lines and its clock. */
async function open(
  t: Test,
  given: {
    deps?: Partial<OpsDeps>;
    options?: Partial<OpsOptions>;
    connection?: ListenerOptions['handlers']['connection'];
  } = {},
) {
  const lines: Record<string, unknown>[] = [];
  const logger = createLogger({
    level: 'info',
    destination: { write: (line: string) => void lines.push(JSON.parse(line)) },
  });
  const metrics = createMetrics();
  const clock = { ms: 1_000_000 };
  const health = createHealth({ logger, metrics });
  const ops = await createOps(
    {
      logger,
      metrics,
      health,
      apps,
      revocations,
      purges,
      callbackChecks,
      queues: [],
      groupDrops: async () => undefined,
      pushAdmin,
      callbackAdmin,
      campaignAdmin,
      checkApp,
      effectiveConfig: () => ({ data: './data', ops: { tokens: '[redacted]' } }),
      now: () => clock.ms,
      ...given.deps,
    },
    { tokens, ...given.options },
  );
  const listener: Listener = await openListener(
    { logger, metrics: createListenerMetrics(metrics) },
    {
      name: 'ops',
      address: { host: '127.0.0.1', port: 0 },
      handlers: { request: ops.handler, ...(given.connection && { connection: given.connection }) },
    },
  );
  t.teardown(async () => {
    await listener.close(0);
    await ops.close();
  });

  /** One request; a body is sent as JSON. */
  async function call(
    method: string,
    path: string,
    options: { token?: string; body?: unknown; headers?: Record<string, string> } = {},
  ) {
    const headers = new Headers(options.headers);
    if (options.token !== undefined) headers.set('authorization', `Bearer ${options.token}`);
    if (options.body !== undefined && !headers.has('content-type')) headers.set('content-type', 'application/json');
    const body = typeof options.body === 'string' ? options.body : JSON.stringify(options.body);
    const response = await fetch(`${listener.url}${path}`, {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.startsWith('application/json') && text !== '';
    return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined };
  }
  const audit = () => lines.filter(({ event }) => event === 'ops.audit');
  return { call, audit, lines, metrics, health, clock, listener, ops };
}

let nextApp = 1_000;
/** Settings of an app that no other test has. */
function newApp(more: object = {}) {
  nextApp += 1;
  return { sdkAppId: nextApp, secret, access: { routes: [] }, ...more };
}

function claimsOf(sdkAppId: number, account: string): SessionClaims {
  return {
    sdkAppId,
    terminalId: 'tarqqnwfrcdx' as TerminalId,
    account: account as AccountId,
    secretId: 'x',
    issuedAtMs: Date.now() - 1,
    expiresAtMs: Date.now() + 900_000,
    device: {},
    network: {},
  };
}

t.test('health: live while a part fails, ready only when all are ok', async (t) => {
  const { call, health } = await open(t);
  const database = health.check('database');
  t.match(await call('GET', '/healthz'), { status: 200, json: { status: 'ok', since: /^\d{4}-/ } });
  t.match(await call('GET', '/readyz'), {
    status: 503,
    json: { status: 'not ready', checks: [{ name: 'database', state: 'starting', since: /^\d{4}-/ }] },
  });
  database.ok();
  t.match(await call('GET', '/readyz'), { status: 200, json: { status: 'ready', checks: [{ state: 'ok' }] } });
  database.failing('connection refused');
  t.match(await call('GET', '/readyz'), { status: 503, json: { checks: [{ reason: 'connection refused' }] } });
  t.match(await call('GET', '/healthz'), { status: 200, json: { status: 'ok' } });
  health.stop();
  t.match(await call('GET', '/readyz'), { status: 503, json: { checks: [{ state: 'stopping' }] } });
  t.match(await call('HEAD', '/healthz'), { status: 200, text: '' });
});

t.test('metrics are Prometheus text', async (t) => {
  const { call } = await open(t);
  const { status, headers, text } = await call('GET', '/metrics');
  t.equal(status, 200);
  t.match(headers.get('content-type'), /^text\/plain; version=0\.0\.4/);
  t.match(text, /^# TYPE qalgate_ops_actions_total counter$/m);
});

/** Every route, its command, and who may call it. */
const table: [method: string, path: string, command: Command, allowed: Caller[]][] = [
  ['GET', '/healthz', 'ops.health.read', ['local', 'viewer', 'operator']],
  ['GET', '/readyz', 'ops.health.read', ['local', 'viewer', 'operator']],
  ['GET', '/metrics', 'ops.metrics.read', ['local', 'viewer', 'operator']],
  ['GET', '/ops/v1/config', 'ops.config.read', ['viewer', 'operator']],
  ['GET', '/ops/v1/apps', 'ops.app.list', ['viewer', 'operator']],
  ['GET', '/ops/v1/apps/7', 'ops.app.read', ['viewer', 'operator']],
  ['POST', '/ops/v1/apps', 'ops.app.create', ['operator']],
  ['PUT', '/ops/v1/apps/7', 'ops.app.update', ['operator']],
  ['DELETE', '/ops/v1/apps/7', 'ops.app.delete', ['operator']],
  ['POST', '/ops/v1/apps/7/kick', 'ops.session.kick', ['operator']],
  ['GET', '/ops/v1/cache', 'ops.cache.read', ['viewer', 'operator']],
  ['POST', '/ops/v1/apps/7/cache/purge', 'ops.cache.purge', ['operator']],
  ['GET', '/ops/v1/apps/7/callbacks', 'ops.callback.read', ['viewer', 'operator']],
  ['GET', '/ops/v1/apps/7/callbacks/explain', 'ops.callback.read', ['viewer', 'operator']],
  ['GET', '/ops/v1/apps/7/callbacks/events', 'ops.callback.read', ['viewer', 'operator']],
  ['GET', '/ops/v1/apps/7/callbacks/events/1', 'ops.callback.read', ['viewer', 'operator']],
  ['GET', '/ops/v1/apps/7/callbacks/dead-letters', 'ops.callback.read', ['viewer', 'operator']],
  ['GET', '/ops/v1/apps/7/callbacks/dead-letters/1', 'ops.callback.read', ['viewer', 'operator']],
  ['GET', '/ops/v1/apps/7/callbacks/replays', 'ops.callback.read', ['viewer', 'operator']],
  ['POST', '/ops/v1/apps/7/callbacks/replays', 'ops.callback.write', ['operator']],
  ['POST', '/ops/v1/apps/7/callbacks/replays/1/cancel', 'ops.callback.write', ['operator']],
  ['POST', '/ops/v1/apps/7/callbacks/drop', 'ops.callback.write', ['operator']],
  ['POST', '/ops/v1/apps/7/callbacks/retry', 'ops.callback.write', ['operator']],
  ['POST', '/ops/v1/apps/7/callbacks/pause', 'ops.callback.write', ['operator']],
  ['POST', '/ops/v1/apps/7/callbacks/resume', 'ops.callback.write', ['operator']],
  ['POST', '/ops/v1/apps/7/callbacks/verify', 'ops.callback.verify', ['operator']],
  ['POST', '/ops/v1/apps/7/callbacks/test', 'ops.callback.test', ['operator']],
  ['GET', '/ops/v1/apps/7/groups/dropped?group=tea', 'ops.group.read', ['viewer', 'operator']],
  ['GET', '/ops/v1/apps/7/campaigns', 'ops.campaign.read', ['viewer', 'operator']],
  ['GET', '/ops/v1/apps/7/campaigns/1', 'ops.campaign.read', ['viewer', 'operator']],
  ['POST', '/ops/v1/apps/7/campaigns/dry-run', 'ops.campaign.read', ['viewer', 'operator']],
  ['POST', '/ops/v1/apps/7/campaigns/1/pause', 'ops.campaign.write', ['operator']],
  ['POST', '/ops/v1/apps/7/campaigns/1/resume', 'ops.campaign.write', ['operator']],
  ['POST', '/ops/v1/apps/7/campaigns/1/cancel', 'ops.campaign.write', ['operator']],
  ['GET', '/ops/v1/apps/7/pushes', 'ops.push.read', ['viewer', 'operator']],
  ['GET', '/ops/v1/apps/7/pushes/items', 'ops.push.read', ['viewer', 'operator']],
  ['GET', '/ops/v1/apps/7/pushes/devices?account=bob', 'ops.push.read', ['viewer', 'operator']],
  ['POST', '/ops/v1/apps/7/pushes/retry', 'ops.push.write', ['operator']],
  ['POST', '/ops/v1/apps/7/pushes/drop', 'ops.push.write', ['operator']],
  ['POST', '/ops/v1/apps/7/pushes/pause', 'ops.push.write', ['operator']],
  ['POST', '/ops/v1/apps/7/pushes/resume', 'ops.push.write', ['operator']],
  ['GET', '/ops/queues', 'ops.queue.page', ['guest', 'local', 'viewer', 'operator']],
  ['GET', '/ops/queues/token.js', 'ops.queue.page', ['guest', 'local', 'viewer', 'operator']],
  ['GET', '/ops/queues/api/queues', 'ops.queue.read', ['viewer', 'operator']],
  ['PUT', '/ops/queues/api/queues/none/promote', 'ops.queue.write', ['operator']],
];

t.test('[I5] every route lets in exactly the callers of its command, and says why not', async (t) => {
  const { call, audit } = await open(t, { options: { maxFailuresPerMinute: 1_000 } });
  const callers = {
    local: {},
    proxied: { headers: { 'x-forwarded-for': '127.0.0.1' } },
    stranger: { token: 'a token that nobody has' },
    viewer: { token: viewer },
    operator: { token: operator },
  };
  let refusals = 0;
  for (const [method, path, command, allowed] of table) {
    for (const [caller, options] of Object.entries(callers)) {
      const { status, json, headers } = await call(method, path, options);
      const role = caller === 'proxied' || caller === 'stranger' ? 'guest' : caller;
      if ((allowed as readonly string[]).includes(role)) {
        t.notOk([401, 403, 405, 429].includes(status), `${method} ${path} for ${caller}: ${status}`);
        continue;
      }
      refusals += 1;
      const [code, expected] = caller === 'viewer' ? ['FORBIDDEN', 403] : ['UNAUTHORIZED', 401];
      t.match({ status, json }, { status: expected, json: { error: { code } } }, `${method} ${path} for ${caller}`);
      t.equal(headers.has('www-authenticate'), expected === 401);
      t.match(audit().at(-1), { command, outcome: code });
    }
  }
  const refused = audit().filter(({ outcome }) => outcome === 'UNAUTHORIZED' || outcome === 'FORBIDDEN');
  t.equal(refused.length, refusals);
  const ofOps = commands.filter((command) => command.startsWith('ops.'));
  t.same(new Set(table.map(([, , command]) => command)), new Set(ofOps), 'no command of the table is left out');
});

t.test('from another machine health and metrics need a token too', async (t) => {
  // A peer elsewhere: the address is what the operating system says, so the socket has to say it.
  const elsewhere = (socket: net.Socket) =>
    Object.defineProperty(socket, 'remoteAddress', { value: '::ffff:192.0.2.9' });
  const { call, audit } = await open(t, { connection: (socket) => void elsewhere(socket) });
  for (const path of ['/healthz', '/readyz', '/metrics']) {
    t.match(await call('GET', path), { status: 401, json: { error: { code: 'UNAUTHORIZED' } } });
    t.not((await call('GET', path, { token: viewer })).status, 401);
  }
  t.match(audit()[0], {
    actor: 'anonymous',
    role: 'guest',
    command: 'ops.health.read',
    outcome: 'UNAUTHORIZED',
    address: '192.0.2.9',
  });
});

t.test('a token counts in the Authorization field only, whole and under the scheme Bearer', async (t) => {
  const { call } = await open(t, { options: { maxFailuresPerMinute: 1_000 } });
  const path = '/ops/v1/apps';
  const refused: [string, Record<string, string>][] = [
    [`${path}?access_token=${operator}&token=${operator}`, {}],
    [path, { cookie: `token=${operator}` }],
    [path, { authorization: operator }],
    [path, { authorization: `Basic ${operator}` }],
    [path, { authorization: 'Bearer' }],
    [path, { authorization: `Bearer ${operator.slice(0, -1)}` }],
    [path, { authorization: `Bearer ${operator}x` }],
    [path, { authorization: `Bearer ${operator} ${operator}` }],
    [path, { authorization: `Bearer ${operator.toUpperCase()}` }],
  ];
  for (const [target, headers] of refused) t.equal((await call('GET', target, { headers })).status, 401);
  t.equal((await call('GET', path, { headers: { authorization: `bearer  ${operator}` } })).status, 200);
});

t.test('without a configured token the API says so', async (t) => {
  const { call } = await open(t, { options: { tokens: [] } });
  for (const options of [{}, { token: operator }, { token: '' }]) {
    t.match(await call('GET', '/ops/v1/apps', options), {
      status: 401,
      json: { error: { code: 'UNAUTHORIZED', reason: 'no token is configured: set ops.tokens in the configuration' } },
    });
  }
  t.equal((await call('GET', '/healthz')).status, 200);
});

t.test('ten wrong tokens a minute from an address stop it, right ones included', async (t) => {
  const { call, clock, metrics, audit } = await open(t);
  const path = '/ops/v1/config';
  for (let attempt = 0; attempt < 10; attempt += 1) {
    t.match(await call('GET', path, { token: `wrong ${attempt}` }), {
      status: 401,
      json: { error: { reason: 'the token is not known' } },
    });
    clock.ms += 1_000;
  }
  for (const token of ['wrong again', operator]) {
    const { status, headers, json } = await call('GET', path, { token });
    t.match({ status, json }, { status: 429, json: { error: { code: 'RATE_LIMITED', retryable: true } } });
    t.equal(headers.get('retry-after'), '50');
  }
  t.equal((await call('GET', '/healthz')).status, 200, 'who presents nothing guesses nothing');
  t.match(await metrics.registry.metrics(), 'qalgate_ops_failing_addresses 1');
  t.match(
    await metrics.registry.metrics(),
    'qalgate_ops_actions_total{command="ops.config.read",outcome="RATE_LIMITED"} 2',
  );
  t.equal(audit().length, 10, 'the lock-out is counted, not written down knock by knock');
  clock.ms += 50_000;
  for (const [token, status] of [
    ['wrong in a new minute', 401],
    [operator, 200],
  ] as const) {
    t.equal((await call('GET', path, { token })).status, status);
  }
});

t.test('apps are created, listed, read, replaced and deleted; the secret is never shown', async (t) => {
  const { call, audit, lines } = await open(t);
  const settings = newApp({ name: 'shop' });
  const path = `/ops/v1/apps/${settings.sdkAppId}`;
  const seen: string[] = [];
  const act = async (...args: Parameters<typeof call>) => {
    const answer = await call(...args);
    seen.push(answer.text);
    return answer;
  };

  const created = await act('POST', '/ops/v1/apps', { token: operator, body: settings });
  t.match(created, { status: 201, json: { origin: 'api' } });
  t.equal(created.headers.get('location'), path);
  t.strictSame(created.json.settings, {
    sdkAppId: settings.sdkAppId,
    name: 'shop',
    admins: ['admin'],
    timeZone: '+08:00',
    access: { sessions: 'optional', sendImei: false, cache: 'qal', cacheDebug: false, routes: [] },
    im: {
      origins: ['*'],
      multiTerminal: 'single',
      roamingDays: 7,
      offlineBytes: 30_720,
      messageBytes: 8_000,
      recallSec: 120,
      commandPerSec: 100,
      appPerSec: 2_000,
      campaignsPerDay: 100,
      campaignPerSec: 2_000,
      profileFields: [],
      dirtyWords: 50,
      wordLists: [],
      checkedCustomFields: [],
      groupTypes: [],
      groupsPerDay: 5_000,
      groupRoamingDays: 7,
      groupRate: { perSec: 40, normalPerSec: 40, lowPerSec: 40, lowestPerSec: 40 },
      groupTellsDropped: false,
      groupFields: [],
      groupMemberFields: [],
      groupSenderFields: { account: [], group: [], member: [] },
    },
    callbacks: {
      events: [],
      commands: [],
      onSilence: 'allow',
      allowPrivateNetwork: false,
      beforeConcurrency: 1_000,
      concurrency: 8,
      timeoutMs: 5_000,
      retry: true,
      backlogRows: 1_000_000,
      backlogHours: 72,
      deadLetters: 100_000,
      stateNames: '2018',
      stateDebounceMs: 1_000,
    },
    push: {
      line: 'standard',
      iosTitle: false,
      language: 'zh',
      sound: 'default',
      dropExt: false,
      textLength: 200,
      lifetimeSec: 86_400,
      awayDays: 7,
      notWithDesktop: false,
    },
  });
  t.strictSame(created.json.secret, { count: 1, fingerprints: [userSigSecretId(secret)] });

  const read = await act('GET', path, { token: viewer });
  t.strictSame(read.json, created.json);
  t.equal(read.headers.get('etag'), created.headers.get('etag'));
  const list = await act('GET', '/ops/v1/apps', { token: viewer });
  t.strictSame(
    list.json.apps.find((app: { settings: AppSettings }) => app.settings.sdkAppId === settings.sdkAppId),
    created.json,
  );

  const routes = [{ host: 'shop.example', prefix: '/', upstream: ['http://127.0.0.1:1'] }];
  const replaced = await act('PUT', path, { token: operator, body: { access: { sessions: 'required', routes } } });
  t.match(replaced, {
    status: 200,
    json: { settings: { access: { sessions: 'required', routes: [{ host: 'shop.example', maxConnections: 256 }] } } },
  });
  t.notOk('name' in replaced.json.settings, 'what is left out is gone');
  t.equal((await apps.get(settings.sdkAppId))?.settings.secret, secret, 'a secret that is left out stays');

  const rotated = await act('PUT', path, { token: operator, body: { secret: [`new ${secret}`, secret], access: {} } });
  t.equal(rotated.json.secret.count, 2);
  t.equal(rotated.json.secret.fingerprints[1], userSigSecretId(secret));

  t.match(await act('DELETE', path, { token: operator }), { status: 204, text: '' });
  t.match(await act('GET', path, { token: viewer }), { status: 404, json: { error: { code: 'APP_UNKNOWN' } } });
  t.notMatch([...seen, ...lines.map((line) => JSON.stringify(line))].join('\n'), secret);
  t.match(
    audit().map(({ actor, role, command, target, outcome, address }) => [
      actor,
      role,
      command,
      target,
      outcome,
      address,
    ]),
    [
      ['oncall', 'operator', 'ops.app.create', String(settings.sdkAppId), 'ok', '127.0.0.1'],
      ['oncall', 'operator', 'ops.app.update', String(settings.sdkAppId), 'ok', '127.0.0.1'],
      ['oncall', 'operator', 'ops.app.update', String(settings.sdkAppId), 'ok', '127.0.0.1'],
      ['oncall', 'operator', 'ops.app.delete', String(settings.sdkAppId), 'ok', '127.0.0.1'],
    ],
  );
});

t.test('[K5] what signs callbacks is never shown, and stays where a replacement leaves it out', async (t) => {
  const { call, lines } = await open(t);
  const keys = [randomBytes(24), randomBytes(24)].map((bytes) => `whsec_${bytes.toString('base64')}`);
  const signToken = 'a token that nobody may see';
  const url = 'https://backend.example.com/callbacks?key=hidden-too';
  const commands = [{ command: 'State.StateChange', url: 'https://states.example.com/?key=hidden-too' }];
  const settings = newApp({ callbacks: { url, secret: keys, signToken, events: 'all', commands } });
  const path = `/ops/v1/apps/${settings.sdkAppId}`;
  const stored = async () => (await apps.get(settings.sdkAppId))?.settings.callbacks;
  const seen: string[] = [];
  const act = async (method: string, target: string, body?: object) => {
    const answer = await call(method, target, { token: method === 'GET' ? viewer : operator, body });
    seen.push(answer.text);
    return answer;
  };

  t.match(await act('POST', '/ops/v1/apps', settings), {
    status: 201,
    json: {
      settings: { callbacks: { url } },
      callbackSecret: { count: 2, fingerprints: keys.map(keyFingerprint) },
      callbackSignToken: true,
    },
  });
  const shown = {
    url: 'https://backend.example.com/callbacks?…',
    commands: [{ url: 'https://states.example.com/?…' }],
  };
  t.match(await act('GET', path), { json: { settings: { callbacks: shown } } }, 'what may be a key of the backend');
  const listed = await act('GET', '/ops/v1/apps');
  t.match(
    listed.json.apps.find((one: { settings: { sdkAppId: number } }) => one.settings.sdkAppId === settings.sdkAppId),
    { settings: { callbacks: shown } },
  );
  t.match((await call('GET', path, { token: operator })).json, { settings: { callbacks: { url, commands } } });
  await act('PUT', path, { access: {}, callbacks: { url: `${url}/2` } });
  t.match(await stored(), { url: `${url}/2`, secret: keys, signToken });
  await act('PUT', path, { access: {} });
  t.match(await stored(), { url: undefined, secret: keys, signToken });
  t.match(await act('PUT', path, { access: {}, callbacks: { url, secret: keys[0], signToken: null } }), {
    json: { callbackSecret: { count: 1 }, callbackSignToken: false },
  });
  t.match(await stored(), { secret: keys[0], signToken: undefined });
  t.match(await act('PUT', path, { access: {}, callbacks: { url, secret: null } }), {
    status: 400,
    json: { error: { field: 'callbacks.secret', reason: /missing/ } },
  });
  t.match(await act('PUT', path, { access: {}, callbacks: { url, secret: `${keys[0]}!` } }), {
    status: 400,
    json: { error: { field: 'callbacks.secret' } },
  });

  const all = [...seen, ...lines.map((line) => JSON.stringify(line))].join('\n');
  for (const hidden of [...keys, signToken]) t.notOk(all.includes(hidden));
});

t.test(
  '[S1] credentials of pushes are named and never shown, and stay where a replacement of their service leaves them out',
  async (t) => {
    const { call, lines } = await open(t);
    const { cert: certificate, key: certificateKey } = apnsCertificate;
    const settings = newApp({ push: { apns: { key: apnsKey, ...apnsIds }, fcm: { serviceAccount } } });
    const path = `/ops/v1/apps/${settings.sdkAppId}`;
    const stored = async () => (await apps.get(settings.sdkAppId))?.settings.push;
    const seen: string[] = [];
    const act = async (method: string, target: string, body?: object) => {
      const answer = await call(method, target, { token: method === 'GET' ? viewer : operator, body });
      seen.push(answer.text);
      return answer;
    };
    const put = (push?: object) => act('PUT', path, { access: {}, ...(push === undefined ? {} : { push }) });

    const whole = {
      settings: { push: { apns: apnsIds, fcm: { perMin: 600_000 } } },
      pushKeys: ['apnsKey', 'fcmServiceAccount'],
    };
    t.match(await act('POST', '/ops/v1/apps', settings), { status: 201, json: whole });
    t.match(await act('GET', path), { status: 200, json: whole });
    t.notMatch(seen.join(), /"(key|serviceAccount|certificate|certificateKey)":/);
    t.same((await act('GET', '/ops/v1/apps')).status, 200);

    t.match(await put({ apns: { ...apnsIds, connections: 4 }, fcm: { perMin: 60 }, line: 'vendor' }), { status: 200 });
    t.match(await stored(), {
      apns: { key: apnsKey, connections: 4 },
      fcm: { serviceAccount, perMin: 60 },
      line: 'vendor',
    });
    const another = makeApnsKey();
    await put({ apns: { ...apnsIds, key: another }, fcm: {} });
    t.match(await stored(), { apns: { key: another }, fcm: { serviceAccount } });
    const { topic } = apnsIds;
    t.match(await put({ apns: { topic, certificate, certificateKey } }), {
      json: { pushKeys: ['apnsCertificate', 'apnsCertificateKey'], settings: { push: { fcm: undefined } } },
    });
    t.match(
      await stored(),
      { apns: { key: undefined, certificate }, fcm: undefined },
      'a service that is not named goes',
    );
    t.match(await put({ apns: { topic } }), {
      status: 200,
      json: { pushKeys: ['apnsCertificate', 'apnsCertificateKey'] },
    });
    await put({ apns: { ...apnsIds, key: apnsKey } });
    t.match(await stored(), { apns: { key: apnsKey, certificate: undefined, certificateKey: undefined } });
    for (const [push, error] of [
      [{ apns: { ...apnsIds, key: null } }, { field: 'push.apns.key', reason: /is missing/ }],
      [{ apns: { ...apnsIds, key: 'no key' } }, { field: 'push.apns.key' }],
      [{ apns: { ...apnsIds, key: serviceAccount } }, { field: 'push.apns.key' }],
      [{ apns: { ...apnsIds, key: certificate } }, { field: 'push.apns.key', reason: /is no key that signs/ }],
      [{ fcm: {} }, { field: 'push.fcm.serviceAccount', reason: /is missing/ }],
      [{ fcm: { serviceAccount: null } }, { field: 'push.fcm.serviceAccount', reason: /is missing/ }],
      [{ fcm: 'x' }, { field: 'push.fcm' }],
    ] as const) {
      t.match(await put(push), { status: 400, json: { error } }, JSON.stringify(push));
    }
    t.match(await stored(), { apns: { key: apnsKey } }, 'nothing of that was stored');
    t.match(await put(), { json: { pushKeys: [] } });
    t.match(await stored(), { apns: undefined, fcm: undefined });

    const all = [...seen, ...lines.map((line) => JSON.stringify(line))].join('\n');
    for (const hidden of [apnsKey, another, certificate, certificateKey]) t.notOk(all.includes(traceOf(hidden)));
    t.notOk(all.includes('gserviceaccount'));
  },
);

t.test(
  '[O2] [O3] callbacks: looked into by viewers, without content; changed by operators, each change audited',
  async (t) => {
    const { call, audit } = await open(t);
    const url = 'https://backend.example.com/cb?k=hidden';
    const key = `whsec_${randomBytes(24).toString('base64')}`;
    const app = newApp({ callbacks: { url, secret: key, events: ['State.StateChange'] } });
    const path = `/ops/v1/apps/${app.sdkAppId}/callbacks`;
    t.equal((await call('POST', '/ops/v1/apps', { token: operator, body: app })).status, 201);
    const dead = await writeEvent(db, app.sdkAppId, { key: 'a1' });
    await bury(db, app.sdkAppId, dead, {
      request: '{"CallbackCommand":"State.StateChange","Info":{"To_Account":"alice"}}',
    });
    const waits = await writeEvent(db, app.sdkAppId, { key: 'a2', body: stateBody('bob') });
    const look = async (rest: string, token = viewer) => (await call('GET', `${path}${rest}`, { token })).json;
    const act = (rest: string, body?: object) => call('POST', `${path}/${rest}`, { token: operator, body });

    t.match(await look(''), {
      settings: { url: 'https://backend.example.com/cb?…', events: ['State.StateChange'] },
      keys: [{ fingerprint: keyFingerprint(key), isCurrent: true, lastUsedAt: null }],
      waiting: [{ command: 'State.StateChange', count: 1 }],
      deadLetters: { count: 1 },
      circuits: null,
    });
    t.match(await look('/events?state=waiting'), { events: [{ id: waits, about: { account: 'bob' } }], next: null });
    t.match(await look(`/events/${waits}`), {
      event: { id: waits },
      deadLetter: null,
      explanations: [{ told: [{ code: 'waiting' }] }],
    });
    t.match(await look('/explain?command=State.StateChange&limit=1'), {
      explanations: [{ told: [{ eventId: waits }] }],
      next: String,
    });
    t.match(await look('/dead-letters'), {
      deadLetters: [{ id: dead, reason: 'failing-alone', url: 'https://backend.example.com/cb' }],
    });
    t.match(
      await look(`/dead-letters/${dead}`),
      { deadLetter: { id: dead, content: null } },
      'content is not for viewers',
    );
    t.match(await look(`/events/${dead}`), { deadLetter: { content: null } });
    t.match(await look(`/dead-letters/${dead}`, operator), {
      deadLetter: { content: { request: /alice/, response: 'an error page' } },
    });

    t.match(await act('pause', { url }), {
      status: 200,
      json: { pauses: [{ urlHash: urlHash(url), actor: 'oncall', reason: 'operator' }] },
    });
    t.match(await look(`/events/${waits}`), {
      event: { waits: [{ code: 'paused', text: /since .*, by oncall/ }, { code: 'no-relay' }] },
    });
    const one = { command: 'State.StateChange' };
    t.match(await act('resume', one), { status: 200, json: { resumed: 0, pauses: [{ urlHash: urlHash(url) }] } });
    t.strictSame((await act('resume')).json, { resumed: 1, pauses: [] });
    t.match(await look('', operator), { settings: { url } });
    t.match(await act('replays', { all: true, preview: true }), { status: 200, json: { total: 1, replays: [] } });
    const begun = await act('replays', { ids: [dead], perSec: 10 });
    t.match(begun, { status: 201, json: { total: 1, replays: [{ state: 'running', perSec: 10, actor: 'oncall' }] } });
    const [replay] = begun.json.replays;
    t.match(await look('/replays'), { replays: [{ id: replay.id, filter: { ids: [dead] } }] });
    t.equal((await act(`replays/${replay.id}/cancel`)).status, 204);
    t.equal((await act(`replays/${replay.id}/cancel`)).status, 404);
    t.match(await act('retry', { all: true }), { status: 200, json: { retried: 0, isAll: true } });
    const ofGroup = { state: 'waiting', group: '@TGS#1' };
    t.match(await act('drop', ofGroup), { json: { dropped: { waiting: 0, dead: 0 } } }, 'none is of a group');
    t.match(await act('drop', { state: 'waiting', command: 'State.StateChange' }), {
      json: { dropped: { waiting: 1, dead: 0 } },
    });
    t.match(await look(`/events/${waits}`), { event: { state: 'dropped' }, log: [{ by: 'oncall' }] });

    t.strictSame(
      audit()
        .filter(({ command }) => command === 'ops.callback.write')
        .map(({ target, outcome }) => [target, outcome]),
      [
        [`${app.sdkAppId}/pause`, 'ok'],
        [`${app.sdkAppId}/resume command=State.StateChange`, 'ok'],
        [`${app.sdkAppId}/resume`, 'ok'],
        [`${app.sdkAppId}/replays all=true preview=true`, 'ok'],
        [`${app.sdkAppId}/replays ids=${dead}`, 'ok'],
        [`${app.sdkAppId}/replays/${replay.id}/cancel`, 'ok'],
        [`${app.sdkAppId}/replays/${replay.id}/cancel`, 'NOT_FOUND'],
        [`${app.sdkAppId}/retry all=true`, 'ok'],
        [`${app.sdkAppId}/drop state=waiting group=@TGS#1`, 'ok'],
        [`${app.sdkAppId}/drop state=waiting command=State.StateChange`, 'ok'],
      ],
    );

    const refusals: [rest: string, body: object | undefined, status: number, error: object][] = [
      ['/events?state=lost', undefined, 400, { field: 'state', allowed: /waiting, delivered/ }],
      ['/events?limit=0', undefined, 400, { field: 'limit', allowed: /1 to 1000/ }],
      ['/dead-letters?state=dead', undefined, 400, { field: 'state', reason: /not a known field/ }],
      ['/events/x', undefined, 400, { field: 'id' }],
      ['/events/987654', undefined, 404, { code: 'NOT_FOUND' }],
      ['/events/cb_00000000_1', undefined, 404, { reason: /cb_00000000_1/ }],
      ['/replays/cb_00000000_1/cancel', {}, 400, { field: 'id', allowed: /replay/ }],
      ['/dead-letters/987654', undefined, 404, { code: 'NOT_FOUND' }],
      ['/explain?from=a&to=b&key=1', undefined, 400, { field: 'key', allowed: /MsgSeq_MsgRandom_MsgTime/ }],
      ['/replays', {}, 400, { field: 'all' }],
      ['/drop', { all: true }, 400, { field: 'state' }],
      ['/pause', { urlHash: '00000000' }, 400, { field: 'urlHash', reason: /no URL of the app/ }],
    ];
    for (const [rest, body, status, error] of refusals) {
      const method = body === undefined ? 'GET' : 'POST';
      t.match(
        await call(method, `${path}${rest}`, { token: operator, body }),
        { status, json: { error } },
        `${method} ${rest}`,
      );
    }
    t.equal((await call('GET', '/ops/v1/apps/4/callbacks', { token: viewer })).status, 404);

    await call('POST', `${path}/test`, {
      token: operator,
      body: { url: 'http://u:p@127.0.0.1:1/x?hidden', send: false },
    });
    t.equal(
      audit().at(-1)?.target,
      `${app.sdkAppId}/to http://127.0.0.1:1/x`,
      'whoever sends elsewhere is known by where',
    );
  },
);

t.test('[O2] of changes of pushes the audit says which', async (t) => {
  const { call, audit } = await open(t);
  const app = newApp();
  t.equal((await call('POST', '/ops/v1/apps', { token: operator, body: app })).status, 201);
  const path = `/ops/v1/apps/${app.sdkAppId}/pushes`;
  const act = async (change: string, body: object) =>
    t.equal((await call('POST', `${path}/${change}`, { token: operator, body })).status, 200, change);
  await act('retry', { ids: [1, 2, 3, 4, 5, 6] });
  await act('drop', { state: 'waiting', channel: 'fcm', campaign: 7 });
  await act('pause', { channel: 'apns' });
  await act('resume', {});
  t.strictSame(
    audit()
      .slice(1)
      .map(({ command, target }) => [command, target]),
    ['retry ids=1,2,3,4,5,…', 'drop state=waiting channel=fcm campaign=7', 'pause channel=apns', 'resume'].map(
      (what) => ['ops.push.write', `${app.sdkAppId}/${what}`],
    ),
  );
});

t.test('[O2] a look at callbacks that takes longer than it may is asked for too much', async (t) => {
  const hurried = db.another({ max: 2, statementMs: 50 });
  t.teardown(() => hurried.close());
  const admin = createAdmin({ db: hurried, control: bus, pauses, clock: Date.now, logger: quiet });
  const { call } = await open(t, { deps: { callbackAdmin: admin } });
  const app = newApp();
  const path = `/ops/v1/apps/${app.sdkAppId}/callbacks`;
  await call('POST', '/ops/v1/apps', { token: operator, body: app });
  const holder = await db.pool.connect();
  try {
    await holder.query('begin');
    await holder.query('lock table outbox, dead_letter in access exclusive mode');
    for (const rest of ['/explain', '/events', '/dead-letters']) {
      const error = { code: 'INVALID_FIELD', field: 'since', reason: /in time/, allowed: /shorter/ };
      t.match(await call('GET', `${path}${rest}`, { token: viewer }), { status: 400, json: { error } }, rest);
    }
    const body = { source: 'outbox', since: '1d', preview: true };
    t.match(await call('POST', `${path}/replays`, { token: operator, body }), { json: { error: { field: 'since' } } });
    t.match(await call('POST', `${path}/drop`, { token: operator, body: { state: 'waiting', all: true } }), {
      status: 503,
      json: { error: { code: 'DATABASE_UNAVAILABLE', reason: /whether anything was changed/ } },
    });
  } finally {
    await holder.query('rollback');
    holder.release();
  }
});

t.test('If-Match: a change is made only to the app that was read', async (t) => {
  const { call, audit } = await open(t);
  const settings = newApp();
  const path = `/ops/v1/apps/${settings.sdkAppId}`;
  const change = (method: string, ifMatch: string) =>
    call(method, path, {
      token: operator,
      headers: { 'if-match': ifMatch },
      ...(method === 'PUT' ? { body: { access: {} } } : {}),
    });
  const first = (await call('POST', '/ops/v1/apps', { token: operator, body: settings })).headers.get('etag') ?? '';
  const second = (await change('PUT', `"other", ${first}`)).headers.get('etag') ?? '';
  t.not(second, first);
  for (const [method, ifMatch] of [
    ['PUT', first],
    ['DELETE', first],
    ['PUT', `W/${second}`],
    ['DELETE', '"*"'],
  ] as const) {
    t.match(await change(method, ifMatch), {
      status: 412,
      json: { error: { code: 'PRECONDITION_FAILED', allowed: second } },
    });
  }
  t.match(audit().at(-1), { command: 'ops.app.delete', outcome: 'PRECONDITION_FAILED' });
  t.equal((await change('PUT', '*')).status, 200);
  const third = (await call('HEAD', path, { token: viewer })).headers.get('etag') ?? '';
  const race = await Promise.all(Array.from({ length: 4 }, () => change('PUT', third)));
  t.same(race.map(({ status }) => status).sort(), [200, 412, 412, 412], 'one of several at once');
  const fourth = (await call('HEAD', path, { token: viewer })).headers.get('etag') ?? '';
  t.equal((await change('DELETE', fourth)).status, 204);
  t.equal((await change('DELETE', fourth)).status, 404);
});

t.test('wrong settings are refused with field, reason and what is allowed', async (t) => {
  const { call, audit } = await open(t);
  const settings = newApp();
  const path = `/ops/v1/apps/${settings.sdkAppId}`;
  await call('POST', '/ops/v1/apps', { token: operator, body: settings });
  const cases: [method: string, path: string, body: unknown, error: object][] = [
    ['POST', '/ops/v1/apps', newApp({ sdkAppId: 0 }), { field: 'sdkAppId', reason: /too small/, allowed: /from 1 to/ }],
    [
      'POST',
      '/ops/v1/apps',
      newApp({ secret: 'short' }),
      { field: 'secret', reason: 'the value is too short', allowed: /16/ },
    ],
    ['POST', '/ops/v1/apps', newApp({ colour: 'red' }), { field: 'colour', reason: /not a known field/ }],
    [
      'POST',
      '/ops/v1/apps',
      newApp({ access: { sessions: 'maybe' } }),
      { field: 'access.sessions', allowed: /optional/ },
    ],
    ['POST', '/ops/v1/apps', [], { field: '', reason: /list/ }],
    ['PUT', path, 'null', { field: '', reason: String }],
    ['PUT', path, { sdkAppId: 5, access: {} }, { field: 'sdkAppId', allowed: String(settings.sdkAppId) }],
    ['PUT', '/ops/v1/apps/0x10', { access: {} }, { field: 'sdkAppId', allowed: /whole number/ }],
    ['DELETE', '/ops/v1/apps/4294967296', undefined, { field: 'sdkAppId', allowed: /whole number/ }],
    ['POST', `${path}/kick`, {}, { field: 'account', reason: 'must be a string' }],
    ['POST', `${path}/kick`, undefined, { field: 'account', reason: 'must be a string' }],
    ['POST', `${path}/kick`, { account: 'x'.repeat(33) }, { field: 'account', reason: /32 bytes/ }],
  ];
  for (const [method, target, body, error] of cases) {
    const answer = await call(method, target, { token: operator, ...(body === undefined ? {} : { body }) });
    t.match(
      answer,
      { status: 400, json: { error: { code: 'INVALID_FIELD', ...error } } },
      `${method} ${JSON.stringify(body)}`,
    );
    t.match(audit().at(-1), { outcome: 'INVALID_FIELD' });
  }
  t.equal(audit().length, cases.length + 1);
});

t.test('what clashes is refused: taken numbers and routes, and apps of the configuration file', async (t) => {
  const { call, audit } = await open(t);
  const routes = [{ host: 'clash.example', prefix: '/', upstream: ['http://127.0.0.1:1'] }];
  const [first, second] = [newApp({ access: { routes } }), newApp({ access: { routes } })];
  const configured = checkApp(newApp());
  if (!configured.ok) throw new Error(configured.reason);
  await apps.applyConfigured([configured.value]);
  t.teardown(() => apps.applyConfigured([]));
  const conflict = (reason: RegExp) => ({ status: 409, json: { error: { code: 'CONFLICT', reason } } });
  t.equal((await call('POST', '/ops/v1/apps', { token: operator, body: first })).status, 201);
  t.match(await call('POST', '/ops/v1/apps', { token: operator, body: first }), conflict(/exists already/));
  t.match(
    await call('POST', '/ops/v1/apps', { token: operator, body: second }),
    conflict(new RegExp(`${first.sdkAppId}`)),
  );

  const path = `/ops/v1/apps/${configured.value.sdkAppId}`;
  t.match(await call('GET', path, { token: viewer }), { status: 200, json: { origin: 'config' } });
  t.match(await call('PUT', path, { token: operator, body: { access: {} } }), conflict(/comes from the configuration/));
  t.match(await call('DELETE', path, { token: operator }), conflict(/comes from the configuration/));
  t.match(await call('PUT', '/ops/v1/apps/999', { token: operator, body: { access: {} } }), { status: 404 });
  t.match(
    audit().map(({ outcome }) => outcome),
    ['ok', 'CONFLICT', 'CONFLICT', 'CONFLICT', 'CONFLICT', 'APP_UNKNOWN'],
  );
});

t.test("kick ends the account's sessions", async (t) => {
  const { call, audit } = await open(t);
  const app = newApp();
  await call('POST', '/ops/v1/apps', { token: operator, body: app });
  const claims = claimsOf(app.sdkAppId, '小明');
  t.notOk(revocations.isRevoked(claims));
  const kick = (sdkAppId: number) =>
    call('POST', `/ops/v1/apps/${sdkAppId}/kick`, { token: operator, body: { account: '小明' } });
  t.match(await kick(app.sdkAppId), { status: 204, text: '' });
  t.ok(revocations.isRevoked(claims));
  t.notOk(revocations.isRevoked(claimsOf(app.sdkAppId, '小红')), 'nobody else');
  t.match(audit().at(-1), { command: 'ops.session.kick', target: `${app.sdkAppId}/小明`, outcome: 'ok' });
  t.match(await kick(999), { status: 404, json: { error: { code: 'APP_UNKNOWN' } } });
});

t.test('the effective configuration is what the process says it is', async (t) => {
  const { call } = await open(t);
  t.match(await call('GET', '/ops/v1/config', { token: viewer }), {
    status: 200,
    json: { data: './data', ops: { tokens: '[redacted]' } },
  });
  const callbacks = {
    url: 'https://a.example.com/cb?key=hidden',
    commands: [{ command: 'x', url: 'https://b/?hidden' }],
  };
  const config = { apps: [{ sdkAppId: 1, callbacks }, { sdkAppId: 2 }, 'odd'] };
  const { call: ask } = await open(t, { deps: { effectiveConfig: () => config } });
  t.same((await ask('GET', '/ops/v1/config', { token: operator })).json, config);
  t.same((await ask('GET', '/ops/v1/config', { token: viewer })).json.apps, [
    {
      sdkAppId: 1,
      callbacks: { url: 'https://a.example.com/cb?…', commands: [{ command: 'x', url: 'https://b/?…' }] },
    },
    { sdkAppId: 2 },
    'odd',
  ]);
});

t.test('bad requests get their own error, and every answer its security headers', async (t) => {
  const { call, audit } = await open(t);
  const post = (body: string, headers: Record<string, string> = { 'content-type': 'application/json' }) =>
    call('POST', '/ops/v1/apps', { token: operator, body, headers });
  const cases: [ReturnType<typeof call>, number, string][] = [
    [call('GET', '/'), 404, 'NOT_FOUND'],
    [call('GET', '/ops/v1/apps/', { token: viewer }), 400, 'INVALID_FIELD'],
    [call('GET', `/ops/v1/apps/${'1'.repeat(101)}`, { token: viewer }), 400, 'BAD_TARGET'],
    [call('GET', '/ops/v1/apps/%zz', { token: viewer }), 400, 'BAD_TARGET'],
    [call('POST', '/healthz'), 405, 'METHOD_NOT_ALLOWED'],
    [call('OPTIONS', '/ops/v1/apps'), 405, 'METHOD_NOT_ALLOWED'],
    [call('PROPFIND', '/ops/v1/apps/7'), 405, 'METHOD_NOT_ALLOWED'],
    [post('{'), 400, 'BAD_REQUEST'],
    [post(''), 400, 'BAD_REQUEST'],
    [post('{"__proto__":{"x":1}}'), 400, 'BAD_REQUEST'],
    [post('{}', { 'content-type': 'text/plain' }), 415, 'UNSUPPORTED_MEDIA_TYPE'],
    [post('{}', { 'content-type': 'application/x-www-form-urlencoded' }), 415, 'UNSUPPORTED_MEDIA_TYPE'],
    [post(JSON.stringify('x'.repeat(65_536))), 413, 'BODY_TOO_LARGE'],
    [call('GET', '/healthz'), 200, ''],
    [call('GET', '/ops/v1/apps'), 401, 'UNAUTHORIZED'],
  ];
  for (const [sent, status, code] of cases) {
    const answer = await sent;
    t.equal(answer.status, status, code);
    if (code !== '') t.match(answer.json, { error: { code, message: String, requestId: /^[0-9a-f-]{36}$/ } });
    t.match(Object.fromEntries(answer.headers), {
      'content-security-policy': /default-src 'none'.*frame-ancestors 'none'/,
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'cache-control': 'no-store',
    });
  }
  t.equal((await call('PATCH', '/ops/v1/apps/7')).headers.get('allow'), 'GET, HEAD, PUT, DELETE');
  t.equal(audit().filter(({ command }) => command === 'ops.app.create').length, 6, 'refused bodies are audited');
});

t.test('a body that does not arrive is not waited for', async (t) => {
  const { listener, audit } = await open(t, { options: { requestTimeoutMs: 50 } });
  const socket = net.connect(listener.address.port, '127.0.0.1').setEncoding('latin1');
  socket.write(
    `POST /ops/v1/apps HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${operator}\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{`,
  );
  const answer = (await socket.toArray()).join('');
  t.match(answer, /^HTTP\/1\.1 408 /);
  t.match(answer, '"code":"REQUEST_TIMEOUT"');
  t.same(audit(), []);
});

t.test('a database that is away is said to be so, and logged', async (t) => {
  // Port 1: nothing listens there.
  const pool = new pg.Pool({ host: '127.0.0.1', port: 1 });
  t.teardown(() => pool.end());
  const away = { ...db, pool, kysely: new Kysely<Schema>({ dialect: new PostgresDialect({ pool }) }) };
  const { call, audit, lines } = await open(t, {
    deps: {
      apps: createAppStore(away, { sealer, bus }),
      purges: createPurges({ db: away, bus, logger: quiet, metrics: createMetrics() }),
    },
  });
  for (const [method, path] of [
    ['GET', '/ops/v1/apps'],
    ['DELETE', '/ops/v1/apps/7'],
  ] as const) {
    t.match(await call(method, path, { token: operator }), {
      status: 503,
      json: { error: { code: 'DATABASE_UNAVAILABLE', retryable: true } },
    });
  }
  t.match(audit(), [{ command: 'ops.app.delete', outcome: 'DATABASE_UNAVAILABLE' }]);
  t.equal(lines.filter(({ event }) => event === 'ops.database.failed').length, 2);
});

t.test('[C14,O2] a purge is published, audited, and answered with what it ended here', async (t) => {
  const seen: Purge[] = [];
  const own = createPurges({ db, bus, logger: quiet, metrics: createMetrics() });
  t.teardown(() => own.close());
  await own.listen(
    (purge) => seen.push(purge),
    () => t.fail('nothing was missed'),
  );
  const { call, audit } = await open(t, { deps: { purges: own } });
  const app = newApp();
  const { sdkAppId } = app;
  t.equal((await call('POST', '/ops/v1/apps', { token: operator, body: app })).status, 201);
  const path = `/ops/v1/apps/${sdkAppId}/cache/purge`;
  const cases: [body: object, purged: object, purge: object, target: string][] = [
    [
      { url: 'HTTPS://API.example.com:443/x?key=hush' },
      { url: 'https://api.example.com/x?key=hush' },
      { by: 'url', url: 'https://api.example.com/x?key=hush' },
      'url HTTPS://API.example.com:443/x',
    ],
    [
      { prefix: 'https://api.example.com/static/' },
      { prefix: 'https://api.example.com/static/' },
      { by: 'prefix', url: 'https://api.example.com/static/' },
      'prefix https://api.example.com/static/',
    ],
    [{ tag: 'product-17' }, { tag: 'product-17' }, { by: 'tag', tag: 'product-17' }, 'tag product-17'],
    [{ all: true }, { all: true }, { by: 'app' }, 'all'],
  ];
  let before = 0;
  for (const [body, purged, purge, target] of cases) {
    const { status, json } = await call('POST', path, { token: operator, body });
    t.equal(status, 200);
    t.same(json, { purged, generation: json.generation, ended: seen.length });
    t.ok(json.generation > before, 'each has its number');
    before = json.generation;
    t.same(seen.at(-1), { sdkAppId, ...purge }, 'it holds here when it is answered');
    t.match(audit().at(-1), {
      actor: 'oncall',
      command: 'ops.cache.purge',
      target: `${sdkAppId}/${target}`,
      outcome: 'ok',
    });
  }
  t.notMatch(JSON.stringify(audit()), 'hush');
  t.equal(seen.length, cases.length);

  const { call: elsewhere } = await open(t);
  t.match(
    await elsewhere('POST', path, { token: operator, body: { all: true } }),
    { status: 200, json: { ended: null } },
    'a process without a cache ends nothing itself',
  );
});

t.test('[C14] a purge that says too little or too much is refused, with what would be right', async (t) => {
  const { call, audit } = await open(t);
  const app = newApp();
  t.equal((await call('POST', '/ops/v1/apps', { token: operator, body: app })).status, 201);
  const path = `/ops/v1/apps/${app.sdkAppId}/cache/purge`;
  const cases: [body: unknown, field: string | undefined, reason: RegExp][] = [
    [[], undefined, /no object/],
    [{}, 'url', /is missing/],
    [{ url: 'https://a/', tag: 'b' }, 'tag', /stands beside url/],
    [{ everything: true }, 'everything', /not a known field/],
    [{ all: false }, 'all', /is not true/],
    [{ url: 17 }, 'url', /no text/],
    [{ url: '/x' }, 'url', /does not begin with http/],
    [{ url: 'ftp://a/x' }, 'url', /does not begin with http/],
    [{ url: 'https://a/x#y' }, 'url', /fragment/],
    [{ url: 'https://user:hush@a/x' }, 'url', /user name/],
    [{ url: 'https:///x' }, 'url', /names no host/],
    [{ url: 'https://a:65536/x' }, 'url', /wrong port/],
    [{ url: 'https://a/ x' }, 'url', /percent-encoded/],
    [{ url: 'https://a/ü' }, 'url', /percent-encoded/],
    [{ url: `https://a/${'x'.repeat(4_087)}` }, 'url', /longer than 4096/],
    [{ url: `https://a/${'"'.repeat(4_000)}` }, 'url', /longer than 4096/],
    [{ prefix: 'https://api.example' }, 'prefix', /does not reach to the \/ of the path/],
    [{ prefix: 'https://api.example?x' }, 'prefix', /does not reach/],
    [{ prefix: '' }, 'prefix', /does not begin with http/],
    [{ tag: '' }, 'tag', /cannot have, or none/],
    [{ tag: 'a,b' }, 'tag', /cannot have/],
    [{ tag: ' a' }, 'tag', /cannot have/],
    [{ tag: 'ä' }, 'tag', /cannot have/],
    [{ tag: 'x'.repeat(257) }, 'tag', /longer than 256/],
  ];
  for (const [body, field, reason] of cases) {
    const { status, json } = await call('POST', path, { token: operator, body });
    const { error } = json;
    t.match({ status, error }, { status: 400, error: { code: 'INVALID_FIELD', reason, allowed: /./ } }, `${reason}`);
    t.equal(error.field, field);
    t.match(audit().at(-1), { command: 'ops.cache.purge', outcome: 'INVALID_FIELD' });
  }
  t.notMatch(JSON.stringify(audit()), 'hush');
  for (const url of [`https://a/${'x'.repeat(4_086)}`, `https://a/${'"'.repeat(2_043)}`]) {
    t.equal((await call('POST', path, { token: operator, body: { url } })).status, 200, 'the longest one fits');
  }
  t.match(await call('POST', '/ops/v1/apps/999999/cache/purge', { token: operator, body: { all: true } }), {
    status: 404,
    json: { error: { code: 'APP_UNKNOWN' } },
  });
});

t.test('[C14] a purge while the database is away is refused', async (t) => {
  const pool = new pg.Pool({ host: '127.0.0.1', port: 1 });
  t.teardown(() => pool.end());
  const away = { kysely: new Kysely<Schema>({ dialect: new PostgresDialect({ pool }) }) };
  const { call, audit } = await open(t, {
    deps: { purges: createPurges({ db: away, bus, logger: quiet, metrics: createMetrics() }) },
  });
  const app = newApp();
  t.equal((await call('POST', '/ops/v1/apps', { token: operator, body: app })).status, 201);
  const body = { all: true };
  t.match(await call('POST', `/ops/v1/apps/${app.sdkAppId}/cache/purge`, { token: operator, body }), {
    status: 503,
    json: { error: { code: 'DATABASE_UNAVAILABLE', retryable: true } },
  });
  t.match(audit().at(-1), { command: 'ops.cache.purge', outcome: 'DATABASE_UNAVAILABLE' });
});

t.test('[C13,O1] the figures of the cache, where there is one', async (t) => {
  const { call, metrics } = await open(t);
  t.match(await call('GET', '/ops/v1/cache', { token: viewer }), { status: 200, json: { cache: null } });

  const logger = createLogger({ level: 'silent' });
  createCache({ clock: Date.now, logger, metrics }, { bytes: 1_000_000, entryBytes: 100_000 });
  const none = await call('GET', '/ops/v1/cache', { token: viewer });
  t.same(none.json.cache, {
    bytes: 0,
    entries: 0,
    evictions: 0,
    hits: 0,
    staleHits: {},
    misses: {},
    collapsed: 0,
    hitRatio: null,
    purgeGeneration: 0,
  });
  const counter = (name: string) =>
    metrics.registry.getSingleMetric(`qalgate_cache_${name}_total`) as unknown as {
      inc(labels: object, by: number): void;
    };
  counter('misses').inc({ reason: 'uri-miss' }, 2);
  counter('misses').inc({ reason: 'stale' }, 2);
  counter('misses').inc({ reason: 'method' }, 100);
  counter('misses').inc({ reason: 'bypass' }, 100);
  counter('stale_hits').inc({ rule: 'max-stale-age' }, 5);
  counter('stale_hits').inc({ rule: 'stale-if-error' }, 1);
  t.match((await call('GET', '/ops/v1/cache', { token: viewer })).json.cache, {
    staleHits: { 'max-stale-age': 5, 'stale-if-error': 1 },
    misses: { 'uri-miss': 2, stale: 2, method: 100, bypass: 100 },
    // 5 of 9: what stood in for an error had waited for the origin, and what passes the cache by is no miss of its.
    hitRatio: 0.5556,
  });
});

t.test(
  '[K5] callbacks: a dry run and a test event over the API, audited, without a key in answers and log',
  async (t) => {
    const { call, audit, lines } = await open(t);
    const key = `whsec_${randomBytes(24).toString('base64')}`;
    const settings = newApp({ callbacks: { url: 'http://127.0.0.1:9/cb', secret: key, events: 'all' } });
    const path = `/ops/v1/apps/${settings.sdkAppId}/callbacks`;
    await call('POST', '/ops/v1/apps', { token: operator, body: settings });
    const tested = await call('POST', `${path}/test`, { token: operator, body: { command: 'State.StateChange' } });
    t.match(tested, {
      status: 200,
      json: { command: 'State.StateChange', curl: /^curl -q /, result: { failure: 'blocked-address', isGood: false } },
    });
    t.match(audit().at(-1), { command: 'ops.callback.test', outcome: 'ok', target: String(settings.sdkAppId) });
    const { fields: headers, body } = tested.json as { fields: object; body: string };
    const checked = await call('POST', `${path}/verify`, { token: operator, body: { headers, body: `${body}\n` } });
    t.match(checked, {
      status: 200,
      json: { verifies: false, findings: [{ code: 'BODY_REWRITTEN' }], keys: [String] },
    });
    t.match(audit().at(-1), { command: 'ops.callback.verify', outcome: 'ok' });
    t.match(await call('POST', `${path}/test`, { token: operator, body: { command: 'x' } }), {
      status: 400,
      json: { error: { field: 'command', reason: 'is no callback command' } },
    });
    t.match(await call('POST', '/ops/v1/apps/99999/callbacks/test', { token: operator, body: {} }), { status: 404 });
    const said = [tested.text, checked.text, ...lines.map((line) => JSON.stringify(line))].join('\n');
    t.notOk(said.includes(key.slice('whsec_'.length)));
    t.notOk(
      lines.some((line) => JSON.stringify(line).includes('To_Account')),
      'nor a body in the log',
    );
  },
);
