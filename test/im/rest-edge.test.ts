import { once } from 'node:events';
import net from 'node:net';
import t, { type Test } from 'tap';
import { mayCall, signUserSig } from '../../src/auth/index.ts';
import { commands } from '../../src/im/rest/index.ts';
import { createRateLimits } from '../../src/im/rest/rate-limits.ts';
import { createMetrics } from '../../src/observe/index.ts';
import { openDatabase } from '../../src/store/index.ts';
import type { AccountId } from '../../src/wire/index.ts';
import { openTestDatabase, until } from '../support/database.ts';
import { imAppId, openIm } from '../support/im.ts';
import { ok, openEdge, snapshot, text } from '../support/rest.ts';

const database = await openTestDatabase(t);
const service = await openIm(t, { database });

/** What each service calls an error (API reference §15). */
const codes = {
  im_open_login_svc: { body: 70402, notAdmin: 70403, away: 70500, late: 70169 },
  openim: { body: 90001, notAdmin: 90009, away: 91000, late: 90992 },
  recentcontact: { body: 50002, notAdmin: 50003, away: 50004, late: 50005 },
  group_open_http_svc: { body: 10011, notAdmin: 10007, away: 10002, late: 60008 },
  profile: { body: 40001, notAdmin: 40004, away: 40006, late: 60008 },
  openim_dirty_words: { body: 10004, notAdmin: 10007, away: 10002, late: 60008 },
} as const;
const pathOf = ({ service, name }: (typeof commands)[number]) => `${service}/${name}`;
const oneOfEach = Object.entries({
  im_open_login_svc: 'account_check',
  openim: 'querystate',
  recentcontact: 'get_list',
  group_open_http_svc: 'get_group_info',
  profile: 'portrait_get',
  openim_dirty_words: 'get',
} satisfies Record<keyof typeof codes, string>).map(
  ([service, name]) => ({ path: `${service}/${name}`, ...codes[service as keyof typeof codes] }) as const,
);

const query = (more: Record<string, string> = {}) =>
  new URLSearchParams({
    sdkappid: String(imAppId),
    identifier: 'admin',
    usersig: service.userSig('admin'),
    random: '4017',
    contenttype: 'json',
    ...more,
  });

async function request(path: string, init: RequestInit & { duplex?: 'half' } = {}) {
  const response = await fetch(`${service.url}${path}`, { method: 'POST', body: '{}', ...init });
  return { status: response.status, headers: response.headers, text: await response.text() };
}
async function answer(path: string, init: RequestInit & { duplex?: 'half' } = {}) {
  const { status, text: body } = await request(path, init);
  if (status !== 200) throw new Error(`HTTP ${status}`);
  return JSON.parse(body) as Record<string, unknown>;
}

t.test("the administrator's account is made at its first use, others' are not", async (t) => {
  const find = (name: string) => service.im.accounts.find(imAppId, name as AccountId);
  t.equal(await find('admin'), undefined);
  t.match(await service.call('openim_dirty_words/get', {}), ok);
  t.match(await find('admin'), { identifier: 'admin' });
  t.match(await service.call('openim_dirty_words/get', {}, { identifier: 'stranger' }), { ErrorCode: 10007 });
  t.equal(await find('stranger'), undefined);
  await service.im.accounts.delete(imAppId, ['admin' as AccountId]);
  const later = { usersig: service.userSig('admin', { ago: -5 }) };
  t.match(await service.call('openim_dirty_words/get', {}, later), ok);
  t.match(await find('admin'), { identifier: 'admin' }, 'and made again');
  service.clock.advance(20);
});

t.test('every answer has status 200, the headers and the envelope', async (t) => {
  const good = await request(`/v4/openim_dirty_words/get?${query()}`);
  const bad = await request(`/v4/openim_dirty_words/add?${query()}`);
  for (const { status, headers } of [good, bad]) {
    t.equal(status, 200);
    t.equal(headers.get('access-control-allow-origin'), '*');
    t.equal(headers.get('access-control-allow-headers'), 'X-Requested-With');
    t.equal(headers.get('access-control-allow-methods'), 'POST');
    t.match(headers.get('content-type'), /^application\/json/);
    t.equal(headers.get('cache-control'), 'no-store');
  }
  t.equal(good.text, '{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":"","DirtyWordsList":[]}');
  t.equal(
    bad.text,
    '{"ActionStatus":"FAIL","ErrorCode":10004,"ErrorInfo":"DirtyWordsList: is missing; allowed: 1 … 50 entries"}',
  );
  for (const { path } of oneOfEach) {
    const fields = Object.keys(await service.call(path, { To_Account: 5 }));
    const hasDisplay = path.startsWith('profile/') || path.startsWith('recentcontact/');
    t.equal(fields.includes('ErrorDisplay'), hasDisplay, path);
    t.strictSame(fields.slice(0, 3), ['ActionStatus', 'ErrorCode', 'ErrorInfo']);
  }
});

t.test('what is no command is answered 60009, another method 60002', async (t) => {
  for (const path of [
    '/v4',
    '/v4/',
    '/v4/openim',
    '/v4/openim/',
    '/v4/openim/nothing',
    '/v4/nothing/sendmsg',
    '/v4/openim/sendmsg/',
    '/v4/OpenIM/sendmsg',
    '/v4/openim/sendmsg/more',
    '/v4/openim/im_push2',
    '/v4/openim/%zz',
    '/v4/constructor/__proto__',
  ]) {
    t.match(await answer(`${path}?${query()}`), { ActionStatus: 'FAIL', ErrorCode: 60009 }, path);
    t.match(await answer(path, { body: 'not json' }), { ErrorCode: 60009 }, `${path} without credentials`);
  }
  for (const path of ['/v4/group_open_http_svc', '/v4/group_open_http_svc/nothing']) {
    t.match(await answer(`${path}?${query()}`), { ActionStatus: 'FAIL', ErrorCode: 10003 }, path);
  }
  for (const method of ['GET', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
    const bodyless = method === 'GET' ? { body: null } : {};
    const got = await answer(`/v4/openim/querystate?${query()}`, { method, ...bodyless });
    t.match(got, { ActionStatus: 'FAIL', ErrorCode: 60002, ErrorInfo: /^method: .*POST/ }, method);
  }
  t.equal((await request(`/v4/openim/querystate?${query()}`, { method: 'HEAD', body: null })).status, 200);
  for (const path of ['/', '/v5/openim/querystate', '/im/v1/nothing', '/v4x']) {
    const { status, text: body } = await request(path);
    t.equal(status, 404, path);
    t.match(JSON.parse(body), { error: { code: 'NOT_FOUND' } });
  }
});

t.test('any Content-Type will do, or none', async (t) => {
  const url = `${service.url}/v4/openim_dirty_words/get?${query()}`;
  for (const type of [
    'application/json',
    'application/json; charset=utf-8',
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'no type',
    '/',
  ]) {
    const response = await fetch(url, { method: 'POST', body: '{}', headers: { 'Content-Type': type } });
    t.match(await response.json(), ok, type);
  }
  const bare = await fetch(url, { method: 'POST', body: new TextEncoder().encode('{}') });
  t.match(await bare.json(), ok, 'none');
  t.match(await answer(`/v4/openim_dirty_words/get?${query()}`, { body: '\ufeff{}' }), ok, 'a byte order mark');
  const chunked = await answer(`/v4/openim_dirty_words/get?${query()}`, {
    body: new Blob(['{', '}']).stream(),
    duplex: 'half',
  });
  t.match(chunked, ok, 'in chunks');
});

t.test('a body that is no JSON object is refused with the number of the service', async (t) => {
  const before = await snapshot(service.db);
  for (const { path, body: code } of oneOfEach) {
    for (const body of ['', 'x', '{', '[]', 'null', '"x"', '1', '{"a":1}x', new Uint8Array([123, 255, 125])]) {
      const got = await answer(`/v4/${path}?${query()}`, { body });
      t.match(got, { ActionStatus: 'FAIL', ErrorCode: code, ErrorInfo: /^body: .*JSON/ }, `${path} ${body}`);
    }
  }
  const { status, text: none } = await request(`/v4/openim/querystate?${query()}`, { body: null });
  t.equal(status, 200);
  t.match(JSON.parse(none), { ErrorCode: 90001, ErrorInfo: /^body: must not be empty/ });
  t.equal(await snapshot(service.db), before);
});

t.test('a body over the limit is answered 93000, in one piece or in chunks', async (t) => {
  const edge = await openEdge(t, service, { options: { bodyBytes: 16_384 } });
  const url = `${edge.url}/v4/openim_dirty_words/get?${query()}`;
  const pad = (bytes: number) => `{"x":"${'x'.repeat(bytes - 8)}"}`;
  const post = async (body: string | ReadableStream) => {
    const response = await fetch(url, { method: 'POST', body, duplex: 'half' } as RequestInit);
    t.equal(response.status, 200);
    t.not(response.headers.get('connection'), 'close', 'the answer is not lost with its connection');
    return (await response.json()) as object;
  };
  t.match(await post(pad(16_384)), ok);
  t.match(await post(new Blob([pad(16_384)]).stream()), ok);
  const refused = { ActionStatus: 'FAIL', ErrorCode: 93000, ErrorInfo: 'body: is too long; allowed: 16384 bytes' };
  for (const bytes of [16_385, 100_000, 5_000_000]) {
    t.strictSame(await post(pad(bytes)), refused);
    t.strictSame(await post(new Blob([pad(bytes)]).stream()), refused);
  }
  t.match(await post('{}'), ok);
});

t.test('credentials are checked in order, each with its number', async (t) => {
  const before = await snapshot(service.db);
  const nowSec = Math.floor(service.clock() / 1_000);
  const sign = (more: object = {}) =>
    signUserSig({
      sdkAppId: imAppId,
      identifier: 'admin',
      secret: String(service.app.secret),
      expireSec: 100,
      issuedAtSec: nowSec - 10,
      ...more,
    });
  const cases: [query: string, code: number, field: string][] = [
    ['', 60012, 'sdkappid'],
    ['sdkappid=', 60012, 'sdkappid'],
    ['sdkappid=abc', 60006, 'sdkappid'],
    ['sdkappid=0', 60006, 'sdkappid'],
    ['sdkappid=-1', 60006, 'sdkappid'],
    [`sdkappid=${imAppId}.0`, 60006, 'sdkappid'],
    [`sdkappid=${imAppId}&sdkAppId=1`, 60006, 'sdkappid'],
    ['sdkappid=1400000001', 70020, 'sdkappid'],
    [`sdkappid=${imAppId}`, 60004, 'identifier'],
    [`sdkappid=${imAppId}&identifier=`, 60004, 'identifier'],
    [`sdkappid=${imAppId}&identifier=${'x'.repeat(33)}`, 60004, 'identifier'],
    [`sdkappid=${imAppId}&identifier=admin&identifier=lin`, 60004, 'identifier'],
    [`sdkappid=${imAppId}&Identifier=admin`, 60004, 'identifier'],
    [`sdkappid=${imAppId}&identifier=admin`, 60004, 'usersig'],
    [`sdkappid=${imAppId}&identifier=admin&accesstoken=${sign()}`, 60004, 'usersig'],
    [`sdkappid=${imAppId}&identifier=admin&usersig=`, 70002, 'usersig'],
    [`sdkappid=${imAppId}&identifier=admin&usersig=x`, 70003, 'usersig'],
    [`sdkappid=${imAppId}&identifier=lin&usersig=${sign()}`, 70013, 'usersig'],
    [`sdkappid=${imAppId}&identifier=admin&usersig=${sign({ sdkAppId: 5 })}`, 70014, 'usersig'],
    [`sdkappid=${imAppId}&identifier=admin&usersig=${sign({ secret: 'some other secret' })}`, 70009, 'usersig'],
    [`sdkappid=${imAppId}&identifier=admin&usersig=${sign({ expireSec: 10 })}`, 70001, 'usersig'],
  ];
  for (const [parameters, code, field] of cases) {
    const got = await answer(`/v4/openim_dirty_words/add?${parameters}`, { body: '{"DirtyWordsList":["never"]}' });
    const shown = parameters.replace(/=eJ[^&]+/, '=…');
    t.match(got, { ActionStatus: 'FAIL', ErrorCode: code, ErrorInfo: new RegExp(`^${field}: `) }, shown);
  }
  for (const name of ['sdkappid', 'sdkAppid', 'SDKAPPID']) {
    const url = `/v4/openim_dirty_words/get?${name}=${imAppId}&identifier=admin&usersig=${sign()}`;
    t.match(await answer(url), ok, name);
  }
  for (const { path, notAdmin } of oneOfEach) {
    t.match(await service.call(path, {}, { identifier: 'lin' }), { ActionStatus: 'FAIL', ErrorCode: notAdmin }, path);
  }
  t.equal(await snapshot(service.db), before);
});

t.test('[I5] every route stands under the permission table', async (t) => {
  t.equal(commands.length, 57);
  const before = await snapshot(service.db);
  for (const command of commands) {
    const path = pathOf(command);
    t.ok(mayCall('administrator', command.permission), path);
    for (const caller of ['guest', 'self', 'terminal', 'viewer', 'operator', 'local'] as const) {
      t.notOk(mayCall(caller, command.permission), `${path} by ${caller}`);
    }
    const { notAdmin } = codes[command.service];
    t.match(await service.call(path, {}, { identifier: 'lin' }), { ErrorCode: notAdmin }, `${path} by an account`);
    t.match(await answer(`/v4/${path}`), { ErrorCode: 60012 }, `${path} by nobody`);
    const got = await service.call(path, { DirtyWordsList: 5 });
    t.not(got.ErrorCode, notAdmin, `${path} by the administrator`);
  }
  t.equal(await snapshot(service.db), before);
});

t.test('each command has its calls a second, and the app all of them together', async (t) => {
  let nowMs = 1_000_000;
  const limited = (im: object) => ({ get: () => ({ ...service.app, im: { ...service.app.im, ...im } }) });
  const codeOf = async (edge: Awaited<ReturnType<typeof openEdge>>, path: string, body: object = {}) =>
    (await edge.call(path, body)).ErrorCode;
  const edge = await openEdge(t, service, {
    deps: { apps: limited({ commandPerSec: 5, appPerSec: 0 }), clock: () => nowMs },
  });
  const get = () => codeOf(edge, 'openim_dirty_words/get');
  for (let i = 0; i < 5; i++) t.equal(await get(), 0);
  t.equal(await get(), 60007, 'the sixth');
  t.equal(await codeOf(edge, 'openim/querystate', { To_Account: ['x'] }), 0, 'another command');
  t.equal(
    await edge.call('openim_dirty_words/get', {}, { identifier: 'lin' }).then(({ ErrorCode }) => ErrorCode),
    10007,
  );
  nowMs += 200;
  t.equal(await get(), 0, 'a fifth of a second is one call');
  t.equal(await get(), 60007);
  nowMs += 60_000;
  for (let i = 0; i < 5; i++) t.equal(await get(), 0, 'no more than a second saves up');
  t.equal(await get(), 60007);

  const kick = () => codeOf(edge, 'im_open_login_svc/kick', { Identifier: 'ghost' });
  for (let i = 0; i < 50; i++) if ((await kick()) !== 70107) t.fail(`kick ${i}`);
  t.equal(await kick(), 60007, 'kick: ten times as many');
  const many = () => codeOf(edge, 'im_open_login_svc/multiaccount_import', { Accounts: [''] });
  t.equal(await many(), 0);
  t.equal(await many(), 60007, 'multiaccount_import: a tenth');
  nowMs += 1_999;
  t.equal(await many(), 60007);
  nowMs += 1;
  t.equal(await many(), 0);

  const together = await openEdge(t, service, {
    deps: { apps: limited({ commandPerSec: 5, appPerSec: 7 }), clock: () => nowMs },
  });
  for (let i = 0; i < 5; i++) t.equal(await codeOf(together, 'openim_dirty_words/get'), 0);
  t.equal(await codeOf(together, 'openim_dirty_words/get'), 60007);
  for (let i = 0; i < 2; i++) t.equal(await codeOf(together, 'openim/querystate', { To_Account: ['x'] }), 0);
  t.equal(await codeOf(together, 'openim/querystate', { To_Account: ['x'] }), 60011);
  const metric = await together.metrics.registry.getSingleMetricAsString('qalgate_im_rest_requests_total');
  t.match(metric, /command="openim_dirty_words\/get",outcome="COMMAND_RATE"\} 1/);
  t.match(metric, /command="openim\/querystate",outcome="APP_RATE"\} 1/);
  t.equal(together.lines.length, 0, 'they are counted, not logged');

  const unlimited = await openEdge(t, service, {
    deps: { apps: limited({ commandPerSec: 0, appPerSec: 0 }), clock: () => nowMs },
  });
  for (let i = 0; i < 20; i++) if ((await codeOf(unlimited, 'openim_dirty_words/get')) !== 0) t.fail(`call ${i}`);
});

t.test('what is counted of apps and commands is bounded', async (t) => {
  const limits = createRateLimits({ clock: () => 0 }, { maxBuckets: 2 });
  const take = (sdkAppId: number) => limits.take({ sdkAppId, command: 'x', commandPerSec: 1, appPerSec: 0 });
  t.equal(take(1), 'ok');
  t.equal(take(1), 'command');
  t.equal(take(2), 'ok');
  t.equal(take(3), 'ok');
  t.equal(take(1), 'ok', 'it was forgotten for two others');
});

/** Holds a lock that every send to this conversation waits for. */
async function holdConversation(t: Test, from: string, to: string) {
  const sent = await service.call('openim/sendmsg', {
    From_Account: from,
    To_Account: to,
    MsgRandom: 1,
    MsgBody: [text('first')],
  });
  t.match(sent, ok);
  const client = await service.db.pool.connect();
  await client.query('begin');
  await client.query(
    `select 1 from conversation where account_a in (select id from account where identifier = $1)
     or account_b in (select id from account where identifier = $1) for update`,
    [from],
  );
  let held = true;
  const release = async () => {
    if (!held) return;
    held = false;
    await client.query('rollback');
    client.release();
  };
  t.teardown(release);
  return release;
}

t.test('[M13] a command that hangs is answered in time, and its repeat finds what became of it', async (t) => {
  await service.call('im_open_login_svc/multiaccount_import', { Accounts: ['slow-1', 'slow-2'] });
  const release = await holdConversation(t, 'slow-1', 'slow-2');
  const edge = await openEdge(t, service, { options: { commandMs: 200, maxInFlight: 2 } });
  const message = { From_Account: 'slow-1', To_Account: 'slow-2', MsgRandom: 2, MsgBody: [text('second')] };
  const startedMs = performance.now();
  const [single, batch] = await Promise.all([
    edge.call('openim/sendmsg', message),
    edge.call('openim/batchsendmsg', { ...message, To_Account: ['slow-2'], MsgRandom: 3 }),
  ]);
  const tookMs = performance.now() - startedMs;
  t.match(single, { ActionStatus: 'FAIL', ErrorCode: 90992 });
  t.match(batch, { ActionStatus: 'FAIL', ErrorCode: 90992 });
  t.ok(tookMs > 190 && tookMs < 1_500, `${tookMs} ms`);
  await release();
  const inFlight = edge.metrics.registry.getSingleMetric('qalgate_im_rest_in_flight');
  await until(async () => (await inFlight?.get())?.values[0]?.value === 0);
  const counted = await edge.metrics.registry.getSingleMetricAsString('qalgate_im_rest_requests_total');
  t.strictSame(
    counted.split('\n').filter((line) => line.startsWith('qalgate')),
    ['sendmsg', 'batchsendmsg'].map(
      (name) => `qalgate_im_rest_requests_total{command="openim/${name}",outcome="TIMED_OUT"} 1`,
    ),
    'what comes later is no second answer',
  );
  const repeated = await until(async () => {
    const again = await edge.call('openim/sendmsg', message);
    return again.ErrorCode === 0 && again;
  });
  t.match(repeated.MsgKey, /_2_/);
  const history = { From_Account: 'slow-2', To_Account: 'slow-1', MaxCnt: 10, MinTime: 0, MaxTime: 4_294_967_295 };
  const seconds = async () =>
    ((await service.call('openim/admin_getroammsg', history)).MsgList as { MsgRandom: number }[]).filter(
      ({ MsgRandom }) => MsgRandom === 2,
    ).length;
  t.equal(await seconds(), 1);
});

t.test('commands at once are bounded', async (t) => {
  const gate = Promise.withResolvers<string[]>();
  const words = { ...service.im.words, list: () => gate.promise };
  const edge = await openEdge(t, service, { deps: { words }, options: { maxInFlight: 2 } });
  const held = [edge.call('openim_dirty_words/get', {}), edge.call('openim_dirty_words/get', {})];
  await until(async () => {
    const { values = [] } = (await edge.metrics.registry.getSingleMetric('qalgate_im_rest_in_flight')?.get()) ?? {};
    return values[0]?.value === 2;
  });
  t.match(await edge.call('openim/querystate', { To_Account: ['x'] }), { ActionStatus: 'FAIL', ErrorCode: 90994 });
  gate.resolve(['word']);
  for (const one of await Promise.all(held)) t.match(one, { ...ok, DirtyWordsList: ['word'] });
  t.match(await edge.call('openim/querystate', { To_Account: ['x'] }), ok);
});

t.test('whoever hangs, the caller is answered: the check of his UserSig, or he himself', async (t) => {
  const never = new Promise<never>(() => {});
  const stuck = await openEdge(t, service, { deps: { checkUserSig: () => never }, options: { commandMs: 100 } });
  for (const { path, late } of oneOfEach) t.match(await stuck.call(path, {}), { ErrorCode: late }, path);

  const edge = await openEdge(t, service, { options: { commandMs: 100 } });
  const { port } = new URL(edge.url);
  const socket = net.connect(Number(port), '127.0.0.1');
  t.teardown(() => socket.destroy());
  await once(socket, 'connect');
  socket.write(`POST /v4/openim/querystate?${query()} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"To_`);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  await once(socket, 'close');
  const answered = Buffer.concat(chunks).toString();
  t.match(answered, /^HTTP\/1\.1 200 /);
  t.match(answered, /\r\nconnection: close\r\n/i);
  t.match(answered, /"ErrorCode":90992/);
});

t.test('a caller that goes away in the middle harms nobody', async (t) => {
  const edge = await openEdge(t, service);
  const { port } = new URL(edge.url);
  const socket = net.connect(Number(port), '127.0.0.1');
  await once(socket, 'connect');
  socket.write(`POST /v4/openim/querystate?${query()} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"To_`);
  socket.destroySoon();
  await once(socket, 'close');
  await until(async () => {
    const counted = await edge.metrics.registry.getSingleMetricAsString('qalgate_im_rest_requests_total');
    return /outcome="NOT_JSON"\} 1/.test(counted);
  });
  t.match(await edge.call('openim/querystate', { To_Account: ['x'] }), ok);
});

t.test('without the database commands fail with the number of the service, and say so in the log', async (t) => {
  // Another process' connections to the same database.
  const { dataDir } = database;
  const own = await openDatabase(
    { logger: database.logger, metrics: createMetrics() },
    { dataDir, database: 'embedded', use: 'command' },
  );
  t.teardown(() => own.close());
  const lonely = await openIm(t, { database: { db: own } });
  const edge = await openEdge(t, lonely);
  t.match(await edge.call('openim_dirty_words/get', {}), ok);
  await own.close();
  const bodies: Record<string, object> = {
    im_open_login_svc: { CheckItem: [{ UserID: 'x' }] },
    openim: { To_Account: ['x'] },
    recentcontact: { From_Account: 'x' },
    group_open_http_svc: { GroupIdList: ['x'] },
    profile: { To_Account: ['x'], TagList: ['Tag_Profile_IM_Nick'] },
  };
  for (const { path, away } of oneOfEach) {
    const body = bodies[path.split('/')[0] ?? ''];
    if (body === undefined) continue;
    t.match(await edge.call(path, body), { ActionStatus: 'FAIL', ErrorCode: away }, path);
    t.match(
      await lonely.call(path, body),
      { ActionStatus: 'FAIL', ErrorCode: away },
      `${path}: nobody is let in unseen`,
    );
  }
  t.equal(edge.lines.length, 5);
  t.match(edge.lines[0], { event: 'im.rest.failed', level: 'error', command: 'im_open_login_svc/account_check' });
});

t.test('a mistake of ours is answered as one, without telling it to the caller', async (t) => {
  const words = {
    ...service.im.words,
    list: () => {
      throw new TypeError('the inner side of it');
    },
  };
  const edge = await openEdge(t, service, { deps: { words } });
  const got = await edge.call('openim_dirty_words/get', {});
  t.strictSame(got, { ActionStatus: 'FAIL', ErrorCode: 10002, ErrorInfo: 'an error on our side' });
  t.match(edge.lines, [{ event: 'im.rest.failed', error: 'INTERNAL', err: { message: 'the inner side of it' } }]);
});

t.test('a failure is one line of the log, without UserSig, body or names', async (t) => {
  const edge = await openEdge(t, service);
  const secrets = ['private text', 'very-private-name'];
  await edge.call('openim_dirty_words/get', {});
  t.strictSame(edge.lines, []);
  await edge.call('openim/sendmsg', {
    To_Account: 'very-private-name',
    MsgRandom: 1,
    MsgBody: [text('private text')],
  });
  await edge.call('openim/sendmsg', {
    To_Account: 'x',
    MsgRandom: 1,
    MsgBody: [{ MsgType: 'TIMTextElem', MsgContent: { Text: 'a', 'private text': { 'private text': '\0' } } }],
  });
  await edge.call('openim/querystate', {}, { usersig: 'eJwprivate*' });
  t.match(edge.lines, [
    {
      event: 'im.rest.refused',
      command: 'openim/sendmsg',
      error: 'RECEIVER_UNKNOWN',
      code: 90012,
      field: 'To_Account',
    },
    { event: 'im.rest.refused', sdkAppId: imAppId, error: 'BODY_ELEMENT', field: 'MsgBody' },
    { event: 'im.rest.refused', command: 'openim/querystate', error: 'USERSIG_MALFORMED', field: 'usersig' },
  ]);
  t.equal(edge.lines.length, 3);
  const log = JSON.stringify(edge.lines);
  for (const secret of [...secrets, 'eJw', 'usersig=']) t.notOk(log.includes(secret), secret);
});

t.test('requests are counted by command and outcome, and nothing else', async (t) => {
  const edge = await openEdge(t, service);
  await edge.call('openim_dirty_words/get', {});
  await edge.call('openim_dirty_words/add', {});
  await edge.call('made-up/command', {});
  await edge.call('openim/batchsendmsg', {
    To_Account: ['admin', 'ghost'],
    MsgRandom: 1,
    MsgBody: [text('x')],
  });
  const counted = await edge.metrics.registry.getSingleMetricAsString('qalgate_im_rest_requests_total');
  t.strictSame(
    counted.split('\n').filter((line) => line.startsWith('qalgate')),
    [
      'qalgate_im_rest_requests_total{command="openim_dirty_words/get",outcome="ok"} 1',
      'qalgate_im_rest_requests_total{command="openim_dirty_words/add",outcome="INVALID_FIELD"} 1',
      'qalgate_im_rest_requests_total{command="none",outcome="NO_SUCH_COMMAND"} 1',
      'qalgate_im_rest_requests_total{command="openim/batchsendmsg",outcome="partly"} 1',
    ],
  );
  const durations = await edge.metrics.registry.getSingleMetricAsString('qalgate_im_rest_duration_seconds');
  t.match(durations, /_count\{command="openim\/batchsendmsg"\} 1/);
});

interface OpenApi {
  openapi: string;
  paths: Record<string, { post: { requestBody: object; responses: object; parameters: { $ref: string }[] } }>;
}

t.test('OpenAPI and the docs page list every command, to anybody', async (t) => {
  const api = await fetch(`${service.url}/im/v1/openapi.json`);
  t.equal(api.status, 200);
  t.match(api.headers.get('content-type'), /^application\/json/);
  const document = (await api.json()) as OpenApi;
  t.equal(document.openapi, '3.1.0');
  t.strictSame(
    Object.keys(document.paths),
    commands.map((command) => `/v4/${pathOf(command)}`),
  );
  for (const [path, { post }] of Object.entries(document.paths)) {
    t.match(post, { requestBody: { content: { 'application/json': { schema: { type: 'object' } } } } }, path);
  }
  const resolve = (ref: string) =>
    ref
      .replace(/^#\//, '')
      .split('/')
      .reduce<unknown>((node, key) => (node as Record<string, unknown> | undefined)?.[key], document);
  const refs = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(([, ref = '']) => ref);
  t.ok(refs.length > 100 && refs.every((ref) => resolve(ref) !== undefined), 'each reference leads somewhere');
  const schema = (path: string) => {
    const { requestBody } = document.paths[path]?.post ?? {};
    const { content } = requestBody as { content: Record<string, { schema: object }> };
    return content['application/json']?.schema;
  };
  t.match(schema('/v4/im_open_login_svc/kick'), {
    properties: { Identifier: { type: 'string' }, UserID: { type: 'string' } },
    required: [],
    allOf: [{ anyOf: [{ required: ['Identifier'] }, { required: ['UserID'] }] }],
  });
  t.match(schema('/v4/openim/sendmsg'), { required: ['To_Account', 'MsgRandom', 'MsgBody'] });
  t.notMatch(JSON.stringify(document), /x-opaque|x-account|x-group-id|x-any-text/);

  const docs = await fetch(`${service.url}/im/v1/docs`);
  t.equal(docs.status, 200);
  t.match(docs.headers.get('content-type'), /^text\/html/);
  const policy = docs.headers.get('content-security-policy') ?? '';
  t.match(policy, /^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]+'; frame-ancestors 'none'/);
  const page = await docs.text();
  for (const command of commands) t.ok(page.includes(`<code>/v4/${pathOf(command)}</code>`), pathOf(command));
  t.notMatch(page, /<script|https?:|src=|style="/);
  t.equal((await fetch(`${service.url}/im/v1/docs`, { method: 'POST' })).status, 404);
});
