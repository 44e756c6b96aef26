import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import Fastify from 'fastify';
import t, { type Test } from 'tap';
import {
  createKeyRing,
  createRevocations,
  createSessionCheck,
  createSessionTokens,
  createTerminals,
  isCommand,
  type SessionClaims,
  signUserSig,
  userSigSecretId,
} from '../../src/auth/index.ts';
import { createLogger, createMetrics } from '../../src/observe/index.ts';
import { registerSessionEndpoints } from '../../src/proxy/session-endpoints.ts';
import { type AppSettings, createControlBus, createSerials, openDatabase } from '../../src/store/index.ts';
import type { AccountId, ErrorBody } from '../../src/wire/index.ts';
import { completeApp } from '../support/app-settings.ts';
import { openTestDatabase, until } from '../support/database.ts';

const { dataDir } = await openTestDatabase(t);
const logger = createLogger({ level: 'silent' });
const masterKey = randomBytes(32);
const secret = 'the first secret of the app';

interface SessionAnswer {
  session: string;
  qalIdentifier: string;
  terminal: { id: string; secret: string };
  expiresIn: number;
}

function appOf(sdkAppId: number, change: { secret?: string | string[]; sendImei?: boolean } = {}): AppSettings {
  return completeApp({
    sdkAppId,
    secret: change.secret ?? secret,
    access: { sendImei: change.sendImei ?? false, cache: 'off' },
  });
}

/** One process that serves the session endpoints on a port of its own. */
async function startProcess(t: Test) {
  const metrics = createMetrics();
  const db = await openDatabase({ logger, metrics }, { dataDir, database: 'embedded', use: 'command' });
  const bus = createControlBus(db, { logger });
  await bus.ready();
  const clock = Date.now;
  const keyRing = createKeyRing([masterKey]);
  const tokens = createSessionTokens({ keyRing, clock }, { lifetimeSec: 900, rotationSec: 86_400 });
  const serials = createSerials(db, { sequence: 'terminal_serial', logger });
  await serials.ready();
  const revocations = await createRevocations(
    { db, bus, clock, logger, metrics },
    { sessionLifetimeMs: tokens.lifetimeMs },
  );
  const apps = new Map<number, AppSettings>();
  const sessionCheck = createSessionCheck(
    { tokens, revocations, apps, clock, metrics },
    { maxCached: 100, maxCachedBytes: 1_000_000 },
  );
  const limit = { creations: Number.POSITIVE_INFINITY, askedFor: '' };
  const routes: { method: string | string[]; url: string; command: unknown }[] = [];
  const fastify = Fastify();
  fastify.addHook('onRoute', ({ method, url, config }) => {
    routes.push({ method, url, command: config?.command });
  });
  registerSessionEndpoints(fastify, {
    apps,
    tokens,
    terminals: createTerminals({ keyRing, serials }),
    revocations,
    sessionCheck,
    clock,
    logger,
    metrics,
    clientAddress: (request) => request.socket.remoteAddress ?? '',
    requestId: () => '4711',
    note: () => {},
    allowSessionCreation(address) {
      limit.askedFor = address;
      return limit.creations-- > 0;
    },
  });
  await fastify.listen({ host: '127.0.0.1', port: 0 });
  const url = `http://127.0.0.1:${(fastify.server.address() as AddressInfo).port}`;
  t.teardown(async () => {
    await fastify.close();
    await serials.close();
    await revocations.close();
    await bus.close();
    await db.close();
  });

  async function ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      text,
      json: text === '' ? undefined : JSON.parse(text),
    };
  }

  return {
    db,
    apps,
    limit,
    routes,
    revocations,
    metrics,
    url,
    ask,
    /** Asks for a session that must be given. */
    async create(body: Record<string, unknown>): Promise<SessionAnswer> {
      const answer = await ask('POST', '/.qal/v1/session', body);
      if (answer.status !== 200) throw new Error(answer.text);
      return answer.json;
    },
    /** Asks for a session that must be refused. */
    async refused(body: unknown): Promise<ErrorBody['error']> {
      const answer = await ask('POST', '/.qal/v1/session', body);
      if (answer.status === 200) throw new Error(`a session was given for ${JSON.stringify(body)}`);
      return answer.json.error;
    },
    network: (session: string, body: unknown) =>
      ask('PUT', '/.qal/v1/session/network', body, { 'QAL-Session': session }),
    end: (session: string) => ask('DELETE', '/.qal/v1/session', undefined, { 'QAL-Session': session }),
    claims(session: string): SessionClaims {
      const result = sessionCheck.check(session);
      if (!result.ok) throw new Error(result.code);
      return result.claims;
    },
    verdict(session: string): string {
      const result = sessionCheck.check(session);
      return result.ok ? 'ok' : result.code;
    },
  };
}

let nextApp = 1_400_000_000;
const nowSec = () => Math.floor(Date.now() / 1_000);

function userSigOf(
  sdkAppId: number,
  identifier: string,
  change: Partial<Parameters<typeof signUserSig>[0]> = {},
): string {
  return signUserSig({ sdkAppId, identifier, secret, expireSec: 3_600, issuedAtSec: nowSec(), ...change });
}

const device = {
  sdkVersion: '2.1.0',
  appVersion: '3.2.1-beta "x"',
  appChannel: '应用宝',
  os: 'Android',
  osVersion: '14',
  device: '小米 14 Ultra 📱',
  brand: 'Xiaomi',
  screenWidth: 1_440,
  screenHeight: 3_200,
};
const network = { apn: 'cmnet', rat: 'EVDO Rev. A' };

const one = await startProcess(t);
const other = await startProcess(t);

/** An app that no other test uses, known to both processes. */
function addApp(change: Parameters<typeof appOf>[1] = {}): number {
  const sdkAppId = nextApp++;
  for (const { apps } of [one, other]) apps.set(sdkAppId, appOf(sdkAppId, change));
  return sdkAppId;
}

t.test('[A13] a terminal that is not logged in gets an anonymous session with an id of its own', async (t) => {
  const sdkAppId = addApp();
  const before = Date.now();
  const answer = await one.ask('POST', '/.qal/v1/session', { sdkAppId, device, network });
  t.equal(answer.status, 200);
  t.match(answer.headers.get('content-type'), /^application\/json/);
  t.equal(answer.headers.get('cache-control'), 'no-store');
  const { session, qalIdentifier, terminal, expiresIn } = answer.json as SessionAnswer;
  t.strictSame(Object.keys(answer.json).sort(), ['expiresIn', 'qalIdentifier', 'session', 'terminal']);
  t.match(qalIdentifier, /^@v_tls#[a-z]{12}$/);
  t.equal(qalIdentifier, `@v_tls#${terminal.id}`);
  t.match(terminal.secret, /^[A-Za-z0-9_-]{43}$/);
  t.equal(expiresIn, 900);
  const claims = one.claims(session);
  t.strictSame(
    { ...claims, issuedAtMs: 0, expiresAtMs: 0 },
    {
      sdkAppId,
      terminalId: terminal.id,
      issuedAtMs: 0,
      expiresAtMs: 0,
      device,
      network,
    },
  );
  t.ok(claims.issuedAtMs >= before && claims.issuedAtMs <= Date.now());
  t.equal(claims.expiresAtMs, claims.issuedAtMs + 900_000);
  t.equal(other.verdict(session), 'ok', 'every process takes it');

  const bare = await one.create({ sdkAppId });
  t.not(bare.terminal.id, terminal.id);
  t.match(one.claims(bare.session), { device: {}, network: {} }, 'reports are optional');
});

t.test('[A3] the same terminal keeps its id over sessions, and nobody takes it without its secret', async (t) => {
  const sdkAppId = addApp();
  const { terminal } = await one.create({ sdkAppId });
  const again = await other.create({ sdkAppId, terminal, device });
  t.strictSame(again.terminal, terminal, 'on another process, too');
  const login = { identifier: 'alice', userSig: userSigOf(sdkAppId, 'alice') };
  t.strictSame((await one.create({ sdkAppId, terminal, ...login })).terminal, terminal, 'with a login, too');

  const stranger = await one.create({ sdkAppId });
  const attempts = {
    'wrong secret': { id: terminal.id, secret: stranger.terminal.secret },
    'no secret': { id: terminal.id },
    'empty secret': { id: terminal.id, secret: '' },
    'no id': { secret: terminal.secret },
    'header form of the id': { id: again.qalIdentifier, secret: terminal.secret },
    nothing: {},
  };
  const ids = new Set([terminal.id, stranger.terminal.id]);
  for (const [what, claimed] of Object.entries(attempts)) {
    const answer = await one.create({ sdkAppId, terminal: claimed });
    t.notOk(ids.has(answer.terminal.id), `${what}: a new terminal`);
    ids.add(answer.terminal.id);
  }
  const elsewhere = await one.create({ sdkAppId: addApp(), terminal });
  t.not(elsewhere.terminal.id, terminal.id, 'another app: another terminal');
});

t.test('[A13] a login by UserSig binds the session to its account', async (t) => {
  const sdkAppId = addApp();
  for (const identifier of ['alice', '张三', 'a b+c/d=']) {
    const answer = await one.create({ sdkAppId, identifier, userSig: userSigOf(sdkAppId, identifier) });
    t.match(one.claims(answer.session), { account: identifier, secretId: userSigSecretId(secret) });
    t.equal(answer.expiresIn, 900);
  }
  const short = await one.create({
    sdkAppId,
    identifier: 'alice',
    userSig: userSigOf(sdkAppId, 'alice', { expireSec: 60 }),
  });
  t.ok(short.expiresIn <= 60 && short.expiresIn >= 55, `${short.expiresIn} s: it ends with its UserSig`);
});

t.test('[A13] each defect of a login has its own error, and no session', async (t) => {
  const sdkAppId = addApp();
  const good = userSigOf(sdkAppId, 'alice');
  const cases: [Record<string, unknown>, Partial<ErrorBody['error']>][] = [
    [{ identifier: 'alice' }, { code: 'INVALID_FIELD', field: 'userSig' }],
    [{ userSig: good }, { code: 'INVALID_FIELD', field: 'identifier' }],
    [
      { identifier: 'alice', userSig: 5 },
      { code: 'INVALID_FIELD', field: 'userSig', reason: 'must be string' },
    ],
    [
      { identifier: '', userSig: good },
      { code: 'INVALID_FIELD', field: 'identifier', reason: 'must not be empty' },
    ],
    [
      { identifier: 'x'.repeat(33), userSig: good },
      { code: 'INVALID_FIELD', field: 'identifier' },
    ],
    [
      { identifier: 'a\nb', userSig: good },
      { code: 'INVALID_FIELD', field: 'identifier' },
    ],
    [
      { identifier: 'e\u0301', userSig: good },
      { code: 'INVALID_FIELD', field: 'identifier' },
    ],
    [
      { identifier: 'alice', userSig: '' },
      { code: 'USERSIG_EMPTY', vendorCode: 70002 },
    ],
    [
      { identifier: 'alice', userSig: good.slice(0, -4) },
      { code: 'USERSIG_MALFORMED', vendorCode: 70003 },
    ],
    [
      { identifier: 'bob', userSig: good },
      { code: 'USERSIG_IDENTIFIER_MISMATCH', vendorCode: 70013 },
    ],
    [
      { identifier: 'alice', userSig: userSigOf(1, 'alice') },
      { code: 'USERSIG_APP_MISMATCH', vendorCode: 70014 },
    ],
    [
      { identifier: 'alice', userSig: userSigOf(sdkAppId, 'alice', { secret: 'a secret of somebody else' }) },
      { code: 'USERSIG_KEY_MISMATCH', vendorCode: 70009 },
    ],
    [
      { identifier: 'alice', userSig: userSigOf(sdkAppId, 'alice', { issuedAtSec: 1_000 }) },
      { code: 'USERSIG_EXPIRED', vendorCode: 70001 },
    ],
  ];
  for (const [login, error] of cases) {
    t.match(
      await one.refused({ sdkAppId, ...login }),
      { ...error, requestId: '4711' },
      `${error.code} ${error.field ?? ''}`,
    );
  }
  const unknown = await one.ask('POST', '/.qal/v1/session', { sdkAppId: 99 });
  t.equal(unknown.status, 404);
  t.match(unknown.json, { error: { code: 'APP_UNKNOWN', vendorCode: 70020 } });
  const expired = await one.ask('POST', '/.qal/v1/session', { sdkAppId, identifier: 'alice', userSig: '' });
  t.equal(expired.status, 401);
  t.equal(expired.headers.get('www-authenticate'), 'QAL-Session');
});

t.test('[A14] a kick ends the sessions of the account on every process, and its UserSigs until then', async (t) => {
  const sdkAppId = addApp();
  const userSig = userSigOf(sdkAppId, 'alice');
  const login = (process: typeof one, sig = userSig) => process.create({ sdkAppId, identifier: 'alice', userSig: sig });
  const sessions = [await login(one), await login(other)];
  const bob = await one.create({ sdkAppId, identifier: 'bob', userSig: userSigOf(sdkAppId, 'bob') });
  const anonymous = await one.create({ sdkAppId, terminal: sessions[0]?.terminal });
  await one.revocations.revokeAccount(sdkAppId, 'alice' as AccountId);
  for (const { session } of sessions) {
    t.equal(one.verdict(session), 'SESSION_REVOKED');
    t.ok(await until(() => other.verdict(session) === 'SESSION_REVOKED'), 'on the other process, too');
  }
  for (const { session } of [bob, anonymous]) {
    t.equal(one.verdict(session), 'ok', 'nobody else is touched');
    t.equal(other.verdict(session), 'ok');
  }
  for (const process of [one, other]) {
    t.match(await process.refused({ sdkAppId, identifier: 'alice', userSig }), {
      code: 'USERSIG_REVOKED',
      vendorCode: 70052,
    });
  }
  const kickedMs = (await one.revocations.accountRevokedBeforeMs(sdkAppId, 'alice' as AccountId)) ?? 0;
  const kickSec = Math.floor(kickedMs / 1_000);
  const sameSecond = userSigOf(sdkAppId, 'alice', { issuedAtSec: kickSec });
  t.match(await one.refused({ sdkAppId, identifier: 'alice', userSig: sameSecond }), { code: 'USERSIG_REVOKED' });
  const fresh = await login(other, userSigOf(sdkAppId, 'alice', { issuedAtSec: kickSec + 1 }));
  t.equal(one.verdict(fresh.session), 'ok', 'a UserSig made after the kick logs in');
  t.equal(other.verdict(fresh.session), 'ok');
});

t.test('[A14] rotating the secret ends the sessions that the old one bound', async (t) => {
  const sdkAppId = addApp();
  const next = 'the next secret of the app';
  const old = await one.create({ sdkAppId, identifier: 'alice', userSig: userSigOf(sdkAppId, 'alice') });
  one.apps.set(sdkAppId, appOf(sdkAppId, { secret: [next, secret] }));
  t.equal(one.verdict(old.session), 'ok');
  const stillOld = await one.create({ sdkAppId, identifier: 'bob', userSig: userSigOf(sdkAppId, 'bob') });
  const alreadyNew = await one.create({
    sdkAppId,
    identifier: 'carol',
    userSig: userSigOf(sdkAppId, 'carol', { secret: next }),
  });
  one.apps.set(sdkAppId, appOf(sdkAppId, { secret: next }));
  t.equal(one.verdict(old.session), 'SESSION_REVOKED');
  t.equal(one.verdict(stillOld.session), 'SESSION_REVOKED');
  t.equal(one.verdict(alreadyNew.session), 'ok');
  const { json } = await one.network(old.session, network);
  t.match(json, { error: { code: 'SESSION_REVOKED' } });
  one.apps.delete(sdkAppId);
  t.equal(one.verdict(alreadyNew.session), 'SESSION_REVOKED', 'the app is gone');
});

t.test(
  '[A14] logout ends the sessions of this terminal on every process, and the terminal may come back',
  async (t) => {
    const sdkAppId = addApp();
    const login = { identifier: 'alice', userSig: userSigOf(sdkAppId, 'alice') };
    const first = await one.create({ sdkAppId, ...login });
    const { terminal } = first;
    const second = await other.create({ sdkAppId, ...login, terminal });
    const otherDevice = await one.create({ sdkAppId, ...login });

    const ended = await one.end(first.session);
    t.equal(ended.status, 204);
    t.equal(ended.text, '');
    t.equal(ended.headers.get('cache-control'), 'no-store');
    for (const { session } of [first, second]) {
      t.equal(one.verdict(session), 'SESSION_REVOKED');
      t.ok(await until(() => other.verdict(session) === 'SESSION_REVOKED'), 'on the other process, too');
    }
    t.equal(one.verdict(otherDevice.session), 'ok', "the account's other terminal stays logged in");
    const repeated = await one.end(first.session);
    t.equal(repeated.status, 401);
    t.match(repeated.json, { error: { code: 'SESSION_REVOKED' } });

    for (const process of [one, other]) {
      const back = await process.create({ sdkAppId, terminal });
      t.equal(back.terminal.id, terminal.id);
      t.equal(one.verdict(back.session), 'ok', 'a session made right after the logout lives');
      t.equal(other.verdict(back.session), 'ok');
      t.equal((await one.end(back.session)).status, 204);
      t.ok(await until(() => other.verdict(back.session) === 'SESSION_REVOKED'), 'and can be ended in its turn');
    }
  },
);

t.test('[A12] the network report changes during a session, and nothing else', async (t) => {
  const sdkAppId = addApp({ sendImei: true });
  const login = { identifier: 'alice', userSig: userSigOf(sdkAppId, 'alice') };
  const first = await one.create({ sdkAppId, ...login, device: { ...device, imei: '490154203237518' }, network });
  const before = one.claims(first.session);

  const answer = await other.network(first.session, { apn: 'wifi', rat: 'NR', more: 1 });
  t.equal(answer.status, 200);
  t.equal(answer.headers.get('cache-control'), 'no-store');
  t.strictSame(Object.keys(answer.json).sort(), ['expiresIn', 'session']);
  t.ok(answer.json.expiresIn <= 900 && answer.json.expiresIn >= 890);
  t.strictSame(other.claims(answer.json.session), { ...before, network: { apn: 'wifi', rat: 'NR' } });
  const emptied = await one.network(answer.json.session, {});
  t.strictSame(one.claims(emptied.json.session), { ...before, network: {} }, 'the report is replaced as a whole');

  for (const [body, field] of [
    [{ rat: '6G' }, 'rat'],
    [{ apn: '' }, 'apn'],
    [{ apn: 'a\r\nb' }, 'apn'],
    [[], 'body'],
    [undefined, 'body'],
  ] as const) {
    const { status, json } = await one.network(first.session, body);
    t.equal(status, 400);
    t.match(json, { error: { code: 'INVALID_FIELD', field } }, `${JSON.stringify(body)}`);
  }
  t.equal((await one.end(first.session)).status, 204);
  t.equal(one.verdict(answer.json.session), 'SESSION_REVOKED', 'a logout reaches what was made from the session');
});

t.test('[I5] without a session, or with one that is none, network and logout are refused', async (t) => {
  const { session } = await one.create({ sdkAppId: addApp() });
  const tampered = session.slice(0, -1) + (session.endsWith('A') ? 'B' : 'A');
  for (const [method, path] of [
    ['PUT', '/.qal/v1/session/network'],
    ['DELETE', '/.qal/v1/session'],
  ] as const) {
    for (const [headers, code] of [
      [{}, 'SESSION_REQUIRED'],
      [{ 'QAL-Session': '' }, 'SESSION_INVALID'],
      [{ 'QAL-Session': tampered }, 'SESSION_INVALID'],
      [{ 'QAL-Session': `${session}, ${session}` }, 'SESSION_INVALID'],
      [{ QAL_Session: session }, 'SESSION_REQUIRED'],
      [{ 'QAL-Session': 'x'.repeat(5_000) }, 'SESSION_INVALID'],
    ] as [Record<string, string>, string][]) {
      const { status, json } = await one.ask(method, path, '{"rat":"no json', headers);
      t.equal(status, 401);
      t.match(json, { error: { code, requestId: '4711' } }, `${method}: ${code}, before the body is read`);
    }
  }
  t.equal(one.verdict(session), 'ok');
});

t.test('[I5] every route of the session endpoints stands in the permission table', async (t) => {
  t.strictSame(
    one.routes.map(({ method, url, command }) => [method, url, command]),
    [
      ['POST', '/.qal/v1/session', 'session.create'],
      ['PUT', '/.qal/v1/session/network', 'session.network.update'],
      ['DELETE', '/.qal/v1/session', 'session.delete'],
    ],
  );
  t.ok(one.routes.every(({ command }) => isCommand(command)));
});

t.test('[A11] what could not stand in a header gets into no session', async (t) => {
  const sdkAppId = addApp({ sendImei: true });
  const texts = ['sdkVersion', 'appVersion', 'appChannel', 'osVersion', 'device', 'brand'].map(
    (name) => `device.${name}`,
  );
  const badTexts = ['', 'a\r\nQAL-Account: root', 'a\u0000', '\u007f', '\u0085', '\ud800', 'x'.repeat(65), 5, null, {}];
  const cases: [string, unknown[]][] = [
    ...[...texts, 'network.apn'].map((field): [string, unknown[]] => [field, badTexts]),
    ['device.os', ['ios', 'BeOS', '', 5, null, ['iOS']]],
    ['device.screenWidth', [0, -1, 1.5, 100_001, '1080', null, 1e300]],
    ['device.screenHeight', [0, 100_001]],
    ['device.imei', ['', '49 01', '4'.repeat(33), 490_154_203_237_518]],
    ['device.imsi', ['46000-1', 'ä']],
    ['network.rat', ['lte', '5G', 'toString', null]],
    ['terminal.id', [5, null]],
    ['terminal.secret', [[]]],
    ['sdkAppId', [0, -1, 1.5, 4_294_967_296, '1400000000', null]],
    ['device', [null, 'iPhone', []]],
    ['network', [null, 'wifi']],
    ['terminal', [null, 'tarqqnwfrcdx']],
  ];
  for (const [field, values] of cases) {
    const [outer = '', inner] = field.split('.');
    for (const value of values) {
      const error = await one.refused({ sdkAppId, [outer]: inner === undefined ? value : { [inner]: value } });
      t.match(
        error,
        { code: 'INVALID_FIELD', field, reason: String, requestId: '4711' },
        `${field} ${JSON.stringify(value)}`,
      );
      t.not(error.reason, '');
    }
  }
  t.match(await one.refused({ sdkAppId, device: { os: 'ios' } }), {
    reason: 'is none of the allowed values',
    allowed: /^Android, iOS, OS X, /,
  });
  t.match(await one.refused({ sdkAppId, device: { brand: '' } }), { allowed: /^1 to 64 characters/ });
  t.match(await one.refused({}), { field: 'sdkAppId', reason: 'is missing', allowed: /4294967295/ });
  t.match(await one.refused([]), { field: 'body', reason: 'must be object' });
  t.match(await one.refused('null'), { field: 'body', reason: 'must be object' });

  const longest = '📱'.repeat(64);
  const full = Object.fromEntries(texts.map((field) => [field.slice(7), longest]));
  const largest = await one.create({
    sdkAppId,
    device: { ...full, imei: 'x'.repeat(32), imsi: 'x'.repeat(32) },
    network: { apn: longest },
  });
  t.match(one.claims(largest.session), { device: full, network: { apn: longest } }, '64 characters are 64 characters');
});

t.test('fields that it does not know are ignored and not kept', async (t) => {
  const sdkAppId = addApp();
  const answer = await one.create({
    sdkAppId,
    device: { ...device, battery: 80, ['__proto__']: { os: 'x' }, constructor: 1 },
    network: { ...network, ssid: 'home' },
    later: true,
  });
  t.match(one.claims(answer.session), { device, network });
  t.strictSame(Object.keys(one.claims(answer.session).device).sort(), Object.keys(device).sort());
  t.strictSame(Object.keys(one.claims(answer.session).network), ['apn', 'rat']);
});

t.test('[A10] IMEI and IMSI are taken only for an app that switched them on', async (t) => {
  const ids = { imei: '490154203237518', imsi: '460001234567890' };
  const off = await one.create({ sdkAppId: addApp(), device: { ...device, ...ids } });
  t.strictSame(one.claims(off.session).device, device);
  const on = await one.create({ sdkAppId: addApp({ sendImei: true }), device: { ...device, ...ids } });
  t.strictSame(one.claims(on.session).device, { ...device, ...ids });
});

t.test('paths, methods and bodies that are wrong get JSON errors', async (t) => {
  const sdkAppId = addApp();
  const expectError = async (
    what: string,
    asked: ReturnType<typeof one.ask>,
    status: number,
    code: string,
    more: Record<string, unknown> = {},
  ) => {
    const answer = await asked;
    t.equal(answer.status, status, what);
    t.match(answer.json, { error: { code, requestId: '4711', ...more } }, what);
    t.match(answer.headers.get('content-type'), /^application\/json/);
    t.equal(answer.headers.get('cache-control'), 'no-store');
    return answer;
  };
  for (const path of [
    '/.qal/',
    '/.qal/v1',
    '/.qal/v1/session/',
    '/.qal/v2/session',
    '/.qal/v1/session/network/x?a=1',
  ]) {
    await expectError(path, one.ask('GET', path), 404, 'NOT_FOUND');
    await expectError(path, one.ask('POST', path, 'text', { 'content-type': 'text/plain' }), 404, 'NOT_FOUND');
  }
  for (const [method, path, allow] of [
    ['GET', '/.qal/v1/session', 'POST, DELETE'],
    ['PUT', '/.qal/v1/session?x=1', 'POST, DELETE'],
    ['OPTIONS', '/.qal/v1/session', 'POST, DELETE'],
    ['POST', '/.qal/v1/session/network', 'PUT'],
    ['DELETE', '/.qal/v1/session/network', 'PUT'],
  ] as const) {
    const answer = await expectError(`${method} ${path}`, one.ask(method, path), 405, 'METHOD_NOT_ALLOWED');
    t.equal(answer.headers.get('allow'), allow);
  }
  const post = (body: string, type = 'application/json') =>
    one.ask('POST', '/.qal/v1/session', body, { 'content-type': type });
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonp', 'nonsense']) {
    await expectError(type, post(`{"sdkAppId":${sdkAppId}}`, type), 415, 'UNSUPPORTED_MEDIA_TYPE');
  }
  t.equal((await post(`{"sdkAppId":${sdkAppId}}`, 'application/json; charset=utf-8')).status, 200);
  for (const body of ['{', 'sdkAppId=1', '{"sdkAppId":1,}', '\u0000', '{}{}']) {
    await expectError(JSON.stringify(body), post(body), 400, 'BAD_REQUEST', { reason: /JSON/ });
  }
  const latin1 = await fetch(`${one.url}/.qal/v1/session`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: Buffer.from(`{"sdkAppId":${sdkAppId},"device":{"brand":"Zo\u00eb"}}`, 'latin1'),
  });
  t.equal(latin1.status, 400, 'not UTF-8');
  await expectError('empty body', post(''), 400, 'INVALID_FIELD', { field: 'body' });
  const fits = JSON.stringify({ sdkAppId, pad: 'x'.repeat(16_000) });
  t.equal((await post(fits)).status, 200);
  await expectError('over 16 KiB', post(JSON.stringify({ sdkAppId, pad: 'x'.repeat(17_000) })), 413, 'BODY_TOO_LARGE');
  const { session } = await one.create({ sdkAppId });
  const deleted = await fetch(`${one.url}/.qal/v1/session`, {
    method: 'DELETE',
    headers: { 'QAL-Session': session, 'content-type': 'application/json' },
  });
  t.equal(deleted.status, 204, 'clients name a type on DELETE, too');
});

t.test('session creations are limited by address', async (t) => {
  const sdkAppId = addApp();
  const { session } = await one.create({ sdkAppId });
  one.limit.creations = 2;
  t.equal((await one.ask('POST', '/.qal/v1/session', { sdkAppId })).status, 200);
  t.equal((await one.ask('POST', '/.qal/v1/session', 'no json')).status, 400, 'bad ones count');
  const limited = await one.ask('POST', '/.qal/v1/session', 'no json');
  t.equal(limited.status, 429, 'before the body is read');
  t.match(limited.json, { error: { code: 'RATE_LIMITED', retryable: true } });
  t.match(limited.headers.get('retry-after'), /^[1-9][0-9]*$/);
  t.equal(one.limit.askedFor, '127.0.0.1');
  t.equal((await one.network(session, network)).status, 200, 'only creations');
  one.limit.creations = Number.POSITIVE_INFINITY;
});

t.test('whatever comes as JSON gets a session or a refusal, never a fault', async (t) => {
  const sdkAppId = addApp();
  const anyField = fc.constantFrom(...Object.keys(device), 'imei', 'imsi', 'apn', 'rat', 'id', 'secret');
  const anyBody = fc.record(
    {
      sdkAppId: fc.oneof({ weight: 9, arbitrary: fc.constant(sdkAppId) }, { weight: 1, arbitrary: fc.jsonValue() }),
      identifier: fc.oneof(fc.string({ unit: 'binary' }), fc.jsonValue()),
      userSig: fc.oneof(fc.string(), fc.jsonValue()),
      terminal: fc.oneof(fc.dictionary(anyField, fc.jsonValue()), fc.jsonValue()),
      device: fc.oneof(
        fc.dictionary(anyField, fc.oneof(fc.string({ unit: 'binary' }), fc.jsonValue())),
        fc.jsonValue(),
      ),
      network: fc.oneof(fc.dictionary(anyField, fc.string()), fc.jsonValue()),
    },
    { requiredKeys: [] },
  );
  const property = fc.asyncProperty(anyBody, async (body) => {
    const { status, json } = await one.ask('POST', '/.qal/v1/session', body);
    return status === 200 ? one.verdict(json.session) === 'ok' : status >= 400 && status < 500 && 'code' in json.error;
  });
  await t.resolves(fc.assert(property, { numRuns: 200, interruptAfterTimeLimit: 5_000 }));
});

t.test('results are counted', async (t) => {
  const fresh = await startProcess(t);
  const sdkAppId = nextApp++;
  fresh.apps.set(sdkAppId, appOf(sdkAppId));
  const { session, terminal } = await fresh.create({ sdkAppId });
  await fresh.create({ sdkAppId, terminal });
  await fresh.network(session, {});
  await fresh.end(session);
  await fresh.end(session);
  await fresh.refused({ sdkAppId, identifier: 'alice', userSig: '' });
  const counted = (await fresh.metrics.registry.getSingleMetric('qalgate_proxy_sessions_total')?.get())?.values;
  t.strictSame(Object.fromEntries((counted ?? []).map(({ labels, value }) => [labels.result, value])), {
    created: 1,
    resumed: 1,
    network_updated: 1,
    ended: 1,
    SESSION_REVOKED: 1,
    USERSIG_EMPTY: 1,
  });
});

t.test('while the database is away login and logout say so, and anonymous sessions go on', async (t) => {
  const lonely = await startProcess(t);
  const sdkAppId = nextApp++;
  lonely.apps.set(sdkAppId, appOf(sdkAppId));
  const { session, terminal } = await lonely.create({ sdkAppId });
  await lonely.db.close();
  const login = await lonely.ask('POST', '/.qal/v1/session', {
    sdkAppId,
    identifier: 'alice',
    userSig: userSigOf(sdkAppId, 'alice'),
  });
  t.equal(login.status, 503);
  t.match(login.json, { error: { code: 'DATABASE_UNAVAILABLE', retryable: true } });
  t.match(login.headers.get('retry-after'), /^[1-9][0-9]*$/);
  t.equal((await lonely.create({ sdkAppId, terminal })).terminal.id, terminal.id);
  t.not((await lonely.create({ sdkAppId })).terminal.id, terminal.id);
  t.equal((await lonely.network(session, network)).status, 200);
  const logout = await lonely.end(session);
  t.equal(logout.status, 503, 'a logout that is not stored is not acknowledged');
  t.equal(lonely.verdict(session), 'SESSION_REVOKED', 'but holds here');
});
