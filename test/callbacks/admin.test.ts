import { randomUUID } from 'node:crypto';
import t from 'tap';
import {
  createReplays,
  keyFingerprint,
  parseDrop,
  parseList,
  parsePause,
  parseReplay,
  parseResume,
  parseRetry,
  urlHash,
} from '../../src/callbacks/index.ts';
import { createMetrics } from '../../src/observe/index.ts';
import type { Result } from '../../src/store/index.ts';
import { appWithCallbacks, bury, callbackKey, openAdmin, stateBody, writeEvent } from '../support/callback-admin.ts';
import { callbackApp, openCallbacks, openRecordingBackend } from '../support/callbacks.ts';
import { openTestDatabase, until } from '../support/database.ts';

const { db, logger } = await openTestDatabase(t);
const { admin, control, circuits } = await openAdmin(t, db);
let sdkAppId = 1_400_000_000;
/** An app of the test alone. */
const newApp = (callbacks: object = {}) => appWithCallbacks(++sdkAppId, callbacks);

function must<T>(read: Result<T>): T {
  if (!read.ok) throw new Error(JSON.stringify(read));
  return read.value;
}
const list = (query: object) => must(parseList(query, Date.now()));
const drop = (order: object) => must(parseDrop(order, Date.now()));
const replay = (order: object) => must(parseReplay(order, Date.now()));
const selection = (order: object) => must(parseRetry(order, Date.now()));

/** A process that carries out replays, by hand unless it may run by itself. */
function openReplays(t: { teardown(fn: () => unknown): void }, everyMs = 3_600_000, leaseSec = 10) {
  const woken: string[] = [];
  const nodeId = randomUUID();
  const replays = createReplays(
    {
      db,
      control,
      wake: (app, key, command, { probe } = { probe: false }) =>
        woken.push(`${app} ${key} ${command}${probe ? ' probe' : ''}`),
      nodeId,
      clock: Date.now,
      logger,
      metrics: createMetrics(),
    },
    { everyMs, leaseSec },
  );
  t.teardown(() => replays.close());
  return { replays, woken, nodeId };
}
const rowsOf = async (app: number, where = 'true') =>
  (await db.pool.query(`select * from outbox where sdk_app_id = $1 and ${where} order by id`, [app])).rows;
const waiting = 'done_ms is null';
const named = (id: number) => ({ id, epoch: undefined });

t.test('[O1] the summary: endpoints, keys, what waits, what was given up, what is stopped', async (t) => {
  const old = `whsec_${Buffer.alloc(24, 7).toString('base64')}`;
  const app = newApp({
    secret: [callbackKey, old],
    commands: [{ command: 'State.StateChange', url: 'https://states.example.com/' }],
  });
  const nowMs = Date.now();
  await writeEvent(db, app.sdkAppId, { key: 'a1', atMs: nowMs - 5_000 });
  await writeEvent(db, app.sdkAppId, { key: 'a2', atMs: nowMs - 9_000 });
  await writeEvent(db, app.sdkAppId, { key: 'a2', command: 'C2C.CallbackAfterSendMsg', atMs: nowMs - 1_000 });
  await bury(db, app.sdkAppId, await writeEvent(db, app.sdkAppId, { key: 'a3' }));
  await db.pool.query('insert into callback_key_use values ($1, $2, $3), ($1, $4, $3)', [
    app.sdkAppId,
    keyFingerprint(callbackKey),
    nowMs,
    'gone-before',
  ]);
  const hash = urlHash('https://states.example.com/');
  await admin.pause(app, must(parsePause({ url: 'https://states.example.com/' }, app, nowMs)), 'oncall');
  circuits.open.add(`${app.sdkAppId}-${hash}`);
  circuits.open.add('1-00000000');

  const summary = await admin.summary(app);
  t.match(summary, {
    keys: [
      { fingerprint: keyFingerprint(callbackKey), isCurrent: true, lastUsedAt: new Date(nowMs).toISOString() },
      { fingerprint: keyFingerprint(old), isCurrent: true, lastUsedAt: null },
      { fingerprint: 'gone-before', isCurrent: false },
    ],
    waiting: [
      { command: 'C2C.CallbackAfterSendMsg', count: 1 },
      { command: 'State.StateChange', count: 2, oldestAt: new Date(nowMs - 9_000).toISOString() },
    ],
    oldestWaitingAt: new Date(nowMs - 9_000).toISOString(),
    deadLetters: { count: 1, newestAt: String },
    pauses: [{ command: null, urlHash: hash, reason: 'operator', actor: 'oncall' }],
    circuits: [{ endpointId: `${app.sdkAppId}-${hash}`, of: 'after', state: 'open', parkedLanes: 3 }],
    relay: { isRunning: false },
    replaysRunning: 0,
  });
  t.equal(summary.circuits?.length, 1);
  t.match(
    summary.endpoints.find(({ urlHash }) => urlHash === hash),
    { url: 'https://states.example.com/', commands: ['State.StateChange'] },
  );
  t.notMatch(JSON.stringify(summary), /hidden|whsec_/, 'no query, no key');
  t.match(await admin.resume(app, must(parseResume({ urlHash: hash }, nowMs))), { resumed: 1, pauses: [] });
});

t.test('[O2] lists by state, command, account and time, page by page', async (t) => {
  const app = newApp();
  const nowMs = Date.now();
  const write = (more: object) => writeEvent(db, app.sdkAppId, { key: 'a1', atMs: nowMs - 1_000, ...more });
  const delivered = [
    await write({ state: 'delivered', status: 200 }),
    await write({ state: 'delivered', status: 201 }),
  ];
  const first = await write({
    attempts: 2,
    nextAttemptMs: nowMs + 60_000,
    log: [{ atMs: nowMs, tookMs: 3, failure: 'refused', detail: 'connection refused' }],
  });
  const second = await write({ body: stateBody('bob', 'online') });
  await write({ state: 'superseded' });
  const old = await write({ state: 'delivered', status: 200, atMs: nowMs - 100_000_000 });

  const waitingOnes = await admin.list(app, list({ state: 'waiting' }));
  t.match(waitingOnes.events, [
    {
      id: first,
      state: 'waiting',
      attempts: 2,
      lastError: /connection refused at/,
      nextAttemptAt: String,
      waits: [{ code: 'no-relay' }, { code: 'retry' }],
    },
    {
      id: second,
      subject: 'State.StateChange of bob (Android online login)',
      waits: [{ code: 'no-relay' }, { code: 'behind-failing' }],
    },
  ]);
  t.match(await admin.list(app, list({ state: 'delivered' })), {
    events: delivered.toReversed().map((id) => ({ id })),
    next: undefined,
  });
  t.equal((await admin.list(app, list({ state: 'delivered', since: '2d' }))).events.at(-1)?.id, old);
  t.equal((await admin.list(app, list({}))).events.length, 5);
  t.equal((await admin.list(app, list({ command: 'C2C.CallbackAfterSendMsg' }))).events.length, 0);
  t.equal((await admin.list(app, list({ account: 'nobody' }))).events.length, 0);
  for (const state of ['waiting', undefined]) {
    const paged: number[] = [];
    let after: string | undefined;
    do {
      const page = await admin.list(
        app,
        list({ limit: 1, since: '2d', ...(state && { state }), ...(after && { after }) }),
      );
      paged.push(...page.events.map(({ id }) => id));
      after = page.next;
    } while (after !== undefined);
    t.equal(new Set(paged).size, state === undefined ? 6 : 2, `${state} page by page`);
    t.equal(paged.length, new Set(paged).size, 'each once');
  }
  t.match(await admin.show(app, named(first)), {
    event: { id: first },
    log: [{ failure: 'refused' }],
    letter: undefined,
    explained: { explanations: [{}] },
  });
  t.equal(await admin.show(app, named(1_000_000)), undefined);
  t.equal(await admin.show(newApp(), named(first)), undefined, 'another app has no such event');
});

t.test('[O2] dead letters: lists without content, one with all of it', async (t) => {
  const app = newApp();
  const ids: number[] = [];
  for (let i = 0; i < 3; i++) {
    ids.push(await writeEvent(db, app.sdkAppId, { key: `a${i}` }));
    await bury(db, app.sdkAppId, ids[i] ?? 0, { reason: 'failing-alone', response: 'an error page' });
  }
  const { letters } = await admin.letters(app, list({}));
  t.match(
    letters,
    ids.toReversed().map((id) => ({
      id,
      reason: 'failing-alone',
      reasonText: /others got through/,
      url: 'https://backend.example.com/cb',
      status: 500,
      attempts: 7,
      about: { account: 'alice' },
      log: [{ status: 500 }],
    })),
  );
  t.notMatch(JSON.stringify(letters), /error page|CallbackCommand/);
  const page = await admin.letters(app, list({ limit: 2 }));
  t.match(await admin.letters(app, list({ limit: 2, after: page.next })), {
    letters: [{ id: ids[0] }],
    next: undefined,
  });
  t.match(await admin.letter(app, named(ids[1] ?? 0)), {
    id: ids[1],
    content: { request: /"To_Account":"alice"/, response: 'an error page', origin: /1.2.3.4/ },
  });
  t.match(await admin.show(app, named(ids[1] ?? 0)), { event: { state: 'dead' }, letter: { content: {} } });
});

t.test('[O2] dropping ends what waits, names the gap, wakes what stood behind, and removes dead letters', async (t) => {
  const app = newApp();
  const { woken } = openReplays(t);
  const ids = [];
  for (let i = 0; i < 4; i++)
    ids.push(await writeEvent(db, app.sdkAppId, { key: 'a7', log: [{ atMs: 1, tookMs: 1, status: 500 }] }));
  const other = await writeEvent(db, app.sdkAppId, { key: 'a8', command: 'C2C.CallbackAfterSendMsg' });
  const dead = await writeEvent(db, app.sdkAppId, { key: 'a9' });
  await bury(db, app.sdkAppId, dead);

  const both = drop({ ids: [ids[0], dead] });
  t.match(await admin.drop(newApp(), both, 'oncall'), { waiting: 0, dead: 0 }, 'none of them is of another app');
  t.strictSame(await admin.drop(app, both, 'oncall'), { waiting: 1, dead: 1, isAll: true });
  t.match(await rowsOf(app.sdkAppId, `id = ${ids[0]}`), [{ outcome: 'dropped', done_ms: Number }]);
  t.match(await admin.show(app, named(ids[0] ?? 0)), {
    event: { state: 'dropped', lastError: /HTTP 500/ },
    log: [{ status: 500 }, { by: 'oncall' }],
  });
  await until(() => woken.includes(`${app.sdkAppId} a7 State.StateChange`));
  t.strictSame(await admin.drop(app, drop({ state: 'waiting', command: 'State.StateChange' }), 'oncall'), {
    waiting: 3,
    dead: 0,
    isAll: true,
  });
  const { rows } = await db.pool.query('select ids from callback_gap where sdk_app_id = $1', [app.sdkAppId]);
  t.strictSame(rows, [{ ids: ids.join(',') }]);
  t.match(await rowsOf(app.sdkAppId, waiting), [{ id: other }]);
  t.strictSame(await admin.drop(newApp(), drop({ ids: [other] }), 'oncall'), { waiting: 0, dead: 0, isAll: true });

  for (let i = 0; i < 30; i++) await writeEvent(db, app.sdkAppId, { key: 'a7' });
  t.match(await admin.drop(app, drop({ state: 'waiting', all: true }), 'oncall'), { waiting: 31 });
  const gap = (
    await db.pool.query(`select ids from callback_gap where sdk_app_id = $1 and drain_key = 'a7'`, [app.sdkAppId])
  ).rows[0]?.ids;
  t.ok(gap.length <= 200);
  for (const id of gap.split(','))
    t.match(await rowsOf(app.sdkAppId, `id = ${Number(id)}`), [{ outcome: 'dropped' }], 'whole numbers');
});

t.test(
  '[O2] an event that was sent again is named by what its backend got: its later entries are meant, too',
  async (t) => {
    const app = newApp();
    const first = await writeEvent(db, app.sdkAppId, { key: 'a1', state: 'dead' });
    const again = { key: 'a1', originId: first, body: stateBody('carol') };
    const second = await writeEvent(db, app.sdkAppId, again);
    await bury(db, app.sdkAppId, second, { response: 'the second time' });
    const { webhookId = '' } = (await admin.letter(app, named(second))) ?? {};
    t.match(webhookId, new RegExp(`_${first}$`));
    const [, epoch = ''] = webhookId.split('_');
    const ours = { id: first, epoch };
    t.match(await admin.letter(app, ours), { id: second, content: { response: 'the second time' } });
    t.match(await admin.show(app, ours), { event: { id: first }, letter: { id: second } });
    t.match(must(await admin.replay(app, replay({ ids: [webhookId], preview: true }), 'oncall')), { total: 1 });

    const foreign = { id: first, epoch: epoch === '00000000' ? '11111111' : '00000000' };
    t.equal(await admin.letter(app, foreign), undefined, 'of another database');
    t.equal(await admin.show(app, foreign), undefined);
    const foreignId = `cb_${foreign.epoch}_${second}`;
    t.match(await admin.replay(app, replay({ ids: [foreignId] }), 'oncall'), { ok: false, field: 'ids' });
    t.match(await admin.drop(app, drop({ ids: [foreignId] }), 'oncall'), { waiting: 0, dead: 0, isAll: true });

    const third = await writeEvent(db, app.sdkAppId, { ...again, attempts: 1, nextAttemptMs: Date.now() + 60_000 });
    t.match(await admin.retry(app, selection({ ids: [foreignId] })), { retried: 0 });
    t.match(await admin.retry(app, selection({ ids: [webhookId] })), { retried: 1 });
    t.match(await admin.drop(app, drop({ ids: [webhookId] }), 'oncall'), { waiting: 1, dead: 1 });
    t.match(await rowsOf(app.sdkAppId, `id = ${third}`), [{ outcome: 'dropped' }]);
  },
);

t.test('what somebody has damaged can be seen, and dropped', async (t) => {
  const app = newApp();
  const logs = ['[{"atMs":1,"tookMs":2,"failure":"tls","detail":"\\u0000 \\ud800"}]', '[{}]', '{"a', '', '[]', 'null'];
  const ids = [];
  for (const log of logs) {
    ids.push(await writeEvent(db, app.sdkAppId, { key: 'a1', attempts: 1 }));
    await db.pool.query('update outbox set attempt_log = $2 where id = $1', [ids.at(-1), log]);
  }
  const lasts = (events: readonly { lastError?: string }[]) => events.map(({ lastError = '' }) => lastError.slice(-28));
  const seen = ['at 1970-01-01T00:00:00.001Z', '', '', '', '', ''];
  t.match(
    lasts((await admin.list(app, list({ state: 'waiting' }))).events),
    seen.map((one) => new RegExp(`${one}$`)),
  );
  t.match(await admin.drop(app, drop({ state: 'waiting', all: true }), 'oncall'), {
    waiting: logs.length,
    isAll: true,
  });
  for (const id of ids) t.match((await admin.show(app, named(id)))?.log.at(-1), { by: 'oncall' });
  t.equal((await admin.show(app, named(ids[0] ?? 0)))?.log.length, 2);
});

t.test('[O2] what waits for its next attempt can be tried now', async (t) => {
  const app = newApp();
  const { woken } = openReplays(t);
  const later = Date.now() + 300_000;
  await writeEvent(db, app.sdkAppId, { key: 'a1', attempts: 4, nextAttemptMs: later });
  await writeEvent(db, app.sdkAppId, { key: 'a2', attempts: 4, nextAttemptMs: later });
  await writeEvent(db, app.sdkAppId, { key: 'a3' });
  t.strictSame(await admin.retry(app, selection({ all: true })), { retried: 2, isAll: true });
  await until(() => woken.length === 2);
  t.strictSame(
    woken.toSorted(),
    ['a1', 'a2'].map((key) => `${app.sdkAppId} ${key} State.StateChange probe`),
  );
  t.equal((await rowsOf(app.sdkAppId, 'next_attempt_ms > 0')).length, 0);
});

t.test('[K6] dead letters are sent again: previewed, at a bounded rate, to the byte, under the same id', async (t) => {
  const app = newApp();
  const { replays, woken } = openReplays(t);
  const request = '{"CallbackCommand":"State.StateChange","Info":{"To_Account":"爱丽丝 \\"quoted\\"\\u0001"} }';
  const ids: number[] = [];
  for (let i = 0; i < 5; i++) {
    ids.push(await writeEvent(db, app.sdkAppId, { key: `a${i % 2}` }));
    await bury(db, app.sdkAppId, ids[i] ?? 0, { request });
    // Nothing was made of it, so nothing can be sent.
    if (i === 2) await bury(db, app.sdkAppId, await writeEvent(db, app.sdkAppId, { key: 'a1' }), { request: null });
  }
  await bury(db, app.sdkAppId, await writeEvent(db, app.sdkAppId, { key: 'a1', command: 'C2C.CallbackAfterSendMsg' }), {
    request: '{}',
  });

  const order = { command: 'State.StateChange', perSec: 2 };
  t.match(await admin.replay(app, replay({ ...order, preview: true }), 'oncall'), {
    ok: true,
    value: { total: 5, byCommand: { 'State.StateChange': 5 }, replays: [] },
  });
  t.strictSame(await admin.replays(app), []);
  const begun = must(await admin.replay(app, replay(order), 'oncall'));
  t.match(begun, {
    total: 5,
    replays: [{ state: 'running', perSec: 2, total: 5, done: 0, actor: 'oncall', source: 'dead' }],
  });

  await replays.run();
  t.equal((await rowsOf(app.sdkAppId, waiting)).length, 2, 'so many a second');
  t.match(await admin.replays(app), [{ done: 2, state: 'running' }]);
  await replays.run();
  await replays.run();
  t.match(await admin.replays(app), [{ done: 5, state: 'done', finishedAt: String }]);
  const again = await rowsOf(app.sdkAppId, waiting);
  t.strictSame(
    again.map(({ origin_id, drain_key }) => [origin_id, drain_key]),
    ids.map((id, i) => [id, `a${i % 2}`]),
  );
  const { raw, origin } = JSON.parse(again[0]?.body ?? '');
  t.equal(raw, request);
  t.strictSame(origin, { platform: 'Android', address: '1.2.3.4' });
  t.equal(again[0]?.day, Math.floor(Date.now() / 86_400_000));
  t.ok(Math.abs(again[0]?.created_ms - Date.now()) < 60_000, 'new, so that it is not too old at once');
  t.equal(woken.length, 5);
  t.equal((await admin.letters(app, list({}))).letters.length, 2, 'what was sent again is no dead letter any more');
  await replays.run();
  t.equal((await rowsOf(app.sdkAppId, waiting)).length, 5);
});

t.test('[K6] events that were told are sent again; a crash or a lost lease moves nothing twice', async (t) => {
  const app = newApp();
  const nowMs = Date.now();
  const one = openReplays(t);
  const told: number[] = [];
  for (let i = 0; i < 6; i++) {
    told.push(
      await writeEvent(db, app.sdkAppId, { key: `a${i}`, state: 'delivered', status: 200, atMs: nowMs - 60_000 }),
    );
  }
  await writeEvent(db, app.sdkAppId, { key: 'a1', state: 'delivered', status: 200, atMs: nowMs - 7_200_000 });
  await writeEvent(db, app.sdkAppId, { key: 'a1', state: 'superseded', atMs: nowMs - 60_000 });
  await writeEvent(db, app.sdkAppId, { key: 'a1' });
  const order = replay({ source: 'outbox', since: '1h', perSec: 4 });
  t.match(await admin.replay(app, order, 'oncall'), { ok: true, value: { total: 6 } });
  await one.replays.run();

  // Another takes the lease from one that has looked at it already, and was stopped before it moved anything.
  const moved = (await rowsOf(app.sdkAppId, 'origin_id is not null')).length;
  const thief = await db.pool.connect();
  await thief.query('begin');
  await thief.query(`update task_lease set token = token + 1, holder = 'thief' where task = 'callbacks-replays'`);
  const stopped = one.replays.run();
  await until(async () => {
    const { rows } = await db.pool.query(`select from pg_stat_activity where wait_event_type = 'Lock'`);
    return rows.length > 0;
  });
  await thief.query('commit');
  thief.release();
  await stopped;
  t.equal(
    (await rowsOf(app.sdkAppId, 'origin_id is not null')).length,
    moved,
    'what is not its own any more it leaves alone',
  );

  // Another process takes over when the lease has run out; the one that was stopped goes on and finds that it lost it.
  await db.pool.query(`update task_lease set lease_until = now() - interval '1 s' where task = 'callbacks-replays'`);
  const two = openReplays(t);
  await two.replays.run();
  await Promise.all([one.replays.run(), two.replays.run(), one.replays.run()]);
  const again = await rowsOf(app.sdkAppId, `${waiting} and origin_id is not null`);
  t.strictSame(
    again.map(({ origin_id }) => origin_id),
    told,
  );
  t.match(again[0], { body: /alice/ }, 'with what it said');
  t.match(await admin.replays(app), [{ state: 'done', done: 6, filter: { states: ['delivered'], since: String } }]);
  await one.replays.close();
  await two.replays.close();
  const { rows } = await db.pool.query(
    `select token from task_lease where task = 'callbacks-replays' and lease_until <= now()`,
  );
  t.equal(rows.length, 1, 'the lease is given back');

  const three = openReplays(t);
  await db.pool.query(
    `update outbox set done_ms = $2, outcome = 'delivered' where sdk_app_id = $1 and origin_id is not null`,
    [app.sdkAppId, nowMs],
  );
  t.match(
    await admin.replay(app, replay({ source: 'outbox', since: '1h', preview: true }), 'oncall'),
    { ok: true, value: { total: 6 } },
    'each event once, however often it was sent again',
  );
  const upTo = new Date(nowMs - 1_000).toISOString();
  t.match(
    await admin.replay(app, replay({ source: 'outbox', since: '1h', until: upTo, preview: true }), 'oncall'),
    { ok: true, value: { total: 6 } },
    'and those of the time asked for, though they were sent again later',
  );
  must(await admin.replay(app, order, 'oncall'));
  for (let i = 0; i < 3; i++) await three.replays.run();
  t.equal((await rowsOf(app.sdkAppId, waiting)).length, 7, 'one that waits, and each of the others once');
  await db.pool.query(
    `update outbox set done_ms = $2, outcome = 'delivered' where sdk_app_id = $1 and origin_id is not null`,
    [app.sdkAppId, nowMs],
  );
  const superseded = replay({ ids: [told[0]] });
  t.match(await admin.replay(app, superseded, 'oncall'), { ok: true, value: { total: 1 } });
  await three.replays.run();
  t.equal((await rowsOf(app.sdkAppId, `${waiting} and origin_id = ${told[0]}`)).length, 1, 'one by its number');
});

t.test('[K6] [O2] with the relay: given up, sent again to the byte; paused and resumed; dropped', async (t) => {
  const backend = await openRecordingBackend(t, () => 500);
  const app = callbackApp(++sdkAppId, { url: backend.url, retry: false });
  const relay = await openCallbacks(t, { db }, [app]);
  const received = () => backend.received.map(({ id, raw }) => [id, raw]);

  const first = await relay.event({ key: 'g1', fields: { GroupId: '@TGS#1', Text: 'a "b" \u2028 汉' } });
  await until(async () => (await admin.letters(app, list({}))).letters.length === 1);
  t.match(await admin.letter(app, named(first)), {
    reason: 'retry-off',
    content: { request: backend.received[0]?.raw },
  });
  backend.behave(() => 200);
  must(await admin.replay(app, replay({ all: true }), 'oncall'));
  await until(() => backend.received.length === 2);
  t.strictSame(received()[1], received()[0], 'the same event');
  t.equal(backend.received[1]?.headers['qalgate-replay'], 'true');
  await until(
    async () =>
      (await admin.explain(app, { by: 'event', event: named(first) })).explanations[0]?.told[1]?.code === 'delivered',
  );

  await admin.pause(app, {}, 'oncall');
  await until(() => relay.callbacks.pauses.list().length === 1);
  const held = [await relay.event({ key: 'g2' }), await relay.event({ key: 'g2' })];
  t.match(await admin.list(app, list({ state: 'waiting' })), {
    events: held.map((id) => ({ id, waits: [{ code: 'paused' }] })),
  });
  t.strictSame(await admin.drop(app, drop({ ids: [held[0]] }), 'oncall'), { waiting: 1, dead: 0, isAll: true });
  t.match(await admin.resume(app, {}), { resumed: 1 });
  await until(() => backend.received.length === 3);
  t.match(backend.received[2], {
    id: new RegExp(`_${held[1]}$`),
    headers: { 'qalgate-gap': new RegExp(`_${held[0]}$`) },
  });
});

t.test('[O2] [K7] a retry has an endpoint tried at once that counts as dead, and with it all that waits', async (t) => {
  const backend = await openRecordingBackend(t, () => 503);
  const app = callbackApp(++sdkAppId, { url: backend.url });
  // A number that no generator gives: whoever waits for his time waits for days.
  const relay = await openCallbacks(t, { db }, [app], { random: () => 1e6, tuning: { gate: { probeMs: 1 } } });
  for (let key = 0; key < 5; key++) await relay.event({ key: `d${key}` });
  await until(() => relay.callbacks.circuits()[0]?.state === 'open');
  await relay.event({ key: 'behind' });
  await until(async () => (await rowsOf(app.sdkAppId, 'next_attempt_ms > 0')).length === 5);
  backend.behave(() => 200);
  t.match(await admin.retry(app, selection({ all: true })), { retried: 5 });
  await until(async () => (await rowsOf(app.sdkAppId, waiting)).length === 0);
});

t.test('a replay can be cancelled; runs by itself; refuses what cannot be', async (t) => {
  const app = newApp();
  for (let i = 0; i < 3; i++) await bury(db, app.sdkAppId, await writeEvent(db, app.sdkAppId, { key: 'a1' }));
  const { replays: [first] = [] } = must(await admin.replay(app, replay({ all: true, perSec: 1 }), 'oncall'));
  t.match(await admin.cancel(newApp(), first?.id ?? 0), { ok: false, code: 'NOT_FOUND' });
  t.match(await admin.cancel(app, first?.id ?? 0), { ok: true });
  t.match(await admin.cancel(app, first?.id ?? 0), { ok: false, code: 'NOT_FOUND' });
  must(await admin.replay(app, replay({ all: true, perSec: 1_000 }), 'oncall'));
  const { woken } = openReplays(t, 20);
  await until(async () => (await admin.replays(app))[0]?.state === 'done');
  t.equal(woken.length, 3);
  t.match(await admin.replay(app, replay({ all: true }), 'oncall'), {
    ok: false,
    code: 'INVALID_FIELD',
    reason: /nothing/,
  });
  t.match(await admin.replay(app, replay({ ids: [1] }), 'oncall'), { ok: false, field: 'ids' });

  const busy = newApp();
  await writeEvent(db, busy.sdkAppId, { key: 'a1', state: 'delivered' });
  const { rows } = await db.pool.query<{ id: number }>(
    `insert into callback_replay (sdk_app_id, source, filter, per_sec, total, through_id, state, actor, created_ms)
     select $1, 'dead', '{"selection":{"filter":{}},"places":{},"states":[]}', 1, 1, 0,
       case when n <= 9 then 'running' else 'done' end, 'oncall', 1 from generate_series(1, 120) n returning id`,
    [busy.sdkAppId],
  );
  // As long as nobody has carried them out.
  await db.pool.query(
    `update task_lease set holder = 'nobody', lease_until = now() + interval '1 h' where task = 'callbacks-replays'`,
  );
  await db.pool.query(`update callback_replay set state = 'running', finished_ms = null where id = any ($1)`, [
    rows.slice(0, 9).map(({ id }) => id),
  ]);
  const again = replay({ source: 'outbox', since: '1h' });
  t.match(await admin.replay(busy, again, 'oncall'), { ok: true }, 'the tenth');
  t.match(await admin.replay(busy, again, 'oncall'), { ok: false, code: 'CONFLICT', reason: /10 replays/ });
  t.match(await admin.replay(busy, { ...again, preview: true }, 'oncall'), { ok: true }, 'counted all the same');
  const left = await db.pool.query<{ running: number; done: number }>(
    `select count(*) filter (where state = 'running') as running, count(*) filter (where state = 'done') as done
     from callback_replay where sdk_app_id = $1`,
    [busy.sdkAppId],
  );
  t.match(left.rows, [{ running: 10, done: 99 }], 'finished ones are forgotten, none that runs');
});

t.test('bad orders say which field, why, and what would be right', async (t) => {
  const app = newApp();
  const now = Date.now();
  const cases: [read: Result<unknown>, field: string | undefined, reason: RegExp][] = [
    [parseReplay({}, now), 'all', /missing/],
    [parseReplay({ ids: [] }, now), 'ids', /too few/],
    [parseReplay({ ids: ['x'] }, now), 'ids[0]', /number/],
    [parseReplay({ ids: [1], command: 'State.StateChange' }, now), 'command', /beside ids/],
    [parseReplay({ all: true, perSec: 0 }, now), 'perSec', /bounds/],
    [parseReplay({ all: true, perSec: 1_001 }, now), 'perSec', /bounds/],
    [parseReplay({ all: true, source: 'queue' }, now), 'source', /none of/],
    [parseReplay({ all: true, source: 'outbox' }, now), 'since', /missing/],
    [parseReplay({ all: true, state: 'delivered' }, now), 'state', /dead letter/],
    [parseReplay({ all: 'yes' }, now), 'all', /neither/],
    [parseReplay({ since: '1h', until: '2h' }, now), 'since', /after/],
    [parseDrop({ all: true }, now), 'state', /missing/],
    [parseDrop({ state: 'delivered', all: true }, now), 'state', /none of/],
    [parseDrop({ state: 'dead' }, now), 'all', /missing/],
    [parseRetry('all', now), undefined, /no object/],
    [parsePause({ url: 'https://elsewhere.example.com/?k=hidden' }, app, now), 'url', /no URL of the app/],
    [parsePause({ urlHash: '00000000' }, app, now), 'urlHash', /no URL of the app/],
    [parsePause({ url: app.callbacks.url, urlHash: '00000000' }, app, now), 'urlHash', /beside/],
    [parsePause({ command: 'x' }, app, now), 'command', /no callback/],
    [parseResume({ urlHash: 'x' }, now), 'urlHash', /form/],
  ];
  for (const [read, field, reason] of cases) {
    t.match(read, { ok: false, code: 'INVALID_FIELD', reason, allowed: String });
    t.equal(read.ok ? '' : read.field, field);
    t.notMatch(JSON.stringify(read), /hidden/);
  }
});
