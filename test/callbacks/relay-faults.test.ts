import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { urlHash } from '../../src/callbacks/index.ts';
import { clusterFolder } from '../../src/server/config/index.ts';
import type { AccountId, AfterCommand } from '../../src/wire/index.ts';
import {
  type Behaviour,
  callbackApp,
  entriesOf,
  lettersOf,
  numbersOf,
  openCallbacks,
  openRecordingBackend,
  writeEvents,
} from '../support/callbacks.ts';
import { makeDataDir, openTestDatabase, until } from '../support/database.ts';
import { createFaultServer, type Fault, faults } from '../support/fault-server.ts';
import { imAppId, openIm } from '../support/im.ts';
import { sendInput } from '../support/im-draft.ts';
import { metricOf } from '../support/metrics.ts';

t.setTimeout(240_000);
const database = await openTestDatabase(t);
const { db } = database;
let nextApp = 1;
/** Keys of lanes are numbers of conversations and accounts, which no two apps share: none of those that im makes here. */
let nextKey = 1_000;
const key = (): string => String(nextKey++);
/** What nobody is woken for is found at once. */
const eager = { sweep: { everyMs: 20, graceMs: 0 } };

const failedBy = (failure: string) => ({ failure });
const answered = (status: number) => ({ status });

/** What becomes of an after-callback at each fault: the status with which it is delivered, or what its attempts say. */
const outcomes: Record<Fault, number | { failure: string } | { status: number; leastMs?: number }> = {
  refused: failedBy('refused'),
  unaccepted: failedBy('timeout'),
  'slow-tls': failedBy('timeout'),
  'no-tls': failedBy('tls'),
  'bad-certificate': failedBy('tls'),
  'wrong-host': failedBy('tls'),
  expired: failedBy('tls'),
  good: 200,
  // What the answer says does not matter after the fact, nor whether it can be read (API §10.1).
  refuse: 200,
  'own-code': 200,
  silent: failedBy('timeout'),
  'slow-head': failedBy('timeout'),
  'drip-body': 200,
  'endless-body': 200,
  'reset-before': failedBy('reset'),
  'reset-within': 200,
  'close-before': failedBy('reset'),
  'close-in-head': failedBy('reset'),
  'close-within': 200,
  redirect: answered(302),
  '400': answered(400),
  '404': answered(404),
  '410': answered(410),
  '429': { status: 429, leastMs: 7_000 },
  '500': answered(500),
  '503': { status: 503, leastMs: 3_600_000 },
  'half-json': 200,
  array: 200,
  number: 200,
  string: 200,
  empty: 200,
  'no-content': 204,
  'gzip-bomb': 200,
  'huge-head': failedBy('answer-too-large'),
  garbage: failedBy('malformed'),
  informational: 200,
  upgrade: failedBy('malformed'),
  'until-close': 200,
  chunked: 200,
  'short-body': 200,
};
const onlyTls = new Set<Fault>(['slow-tls', 'no-tls', 'bad-certificate', 'wrong-host', 'expired']);
/** The time of an attempt that is answered, or ends otherwise, before it is over. */
const patientMs = 10_000;
/** What nobody can see in the requests that came. */
const unseen = new Set<Fault>(['refused', 'unaccepted', ...onlyTls]);

t.test('[K6] each fault has its one outcome, tried again or given up; nothing is sent twice at once', async (t) => {
  const server = await createFaultServer(t);
  const dir = await makeDataDir(t);
  await mkdir(dir);
  const caFile = path.join(dir, 'ca.pem');
  await writeFile(caFile, server.ca);
  const cases = faults.map((fault) => {
    const expected = outcomes[fault];
    const isSilent = typeof expected === 'object' && 'failure' in expected && expected.failure === 'timeout';
    const settings = {
      url: server.url(fault, onlyTls.has(fault) ? 'https' : 'http'),
      caFile,
      // Silence has to be silence, and not a busy machine.
      timeoutMs: isSilent ? 1_500 : patientMs,
    };
    const [again, once] = [nextApp++, nextApp++];
    return {
      fault,
      again,
      once,
      apps: [callbackApp(again, settings), callbackApp(once, { ...settings, retry: false })],
    };
  });
  const { callbacks, metrics, events, close } = await openCallbacks(
    t,
    database,
    cases.flatMap(({ apps }) => apps),
    { concurrency: 200 },
  );
  for (const { again, once } of cases) {
    for (const app of [again, once]) {
      const drainKey = key();
      await writeEvents(database, [
        { app, key: drainKey, body: { fields: { number: 0 } } },
        { app, key: drainKey, body: { fields: { number: 1 } } },
      ]);
      callbacks.written(app, drainKey, 'Group.CallbackAfterSendMsg');
    }
  }

  const checkAgain = async (fault: Fault, app: number): Promise<void> => {
    const expected = outcomes[fault];
    const [first, second] = await until(async () => {
      const rows = await entriesOf(database, app);
      const isOver =
        typeof expected === 'number' ? rows.every(({ outcome }) => outcome !== null) : (rows[0]?.attempts ?? 0) > 0;
      return isOver && rows;
    }, 30_000);
    if (first === undefined || second === undefined) throw new Error('two events');
    if (typeof expected === 'number') {
      for (const row of [first, second]) {
        t.match(row, { outcome: 'delivered', status: expected, attempts: 1, attempt_log: null }, fault);
        t.type(row.done_ms, 'number');
        t.ok((row.took_ms ?? patientMs) < patientMs, fault);
      }
      return;
    }
    const log = JSON.parse(first.attempt_log ?? '') as { atMs: number; tookMs: number }[];
    t.match(first, { outcome: null, done_ms: null, status: 'status' in expected ? expected.status : null }, fault);
    t.match(second, { outcome: null, attempts: 0, attempt_log: null, next_attempt_ms: 0 }, `${fault}: it waits behind`);
    t.equal(log.length, first.attempts, fault);
    for (const attempt of log) {
      t.match(attempt, 'failure' in expected ? { failure: expected.failure } : { status: expected.status }, fault);
      t.equal('status' in attempt, 'status' in expected, fault);
      // From the POST on: what the run took before it comes off its time.
      if ('failure' in expected && expected.failure === 'timeout') t.ok(attempt.tookMs > 1_000, fault);
    }
    const waitMs = first.next_attempt_ms - (log.at(-1)?.atMs ?? 0);
    if (fault === '410') {
      t.equal(first.next_attempt_ms, 0, fault);
      return;
    }
    const leastMs = 'leastMs' in expected ? expected.leastMs : undefined;
    if (leastMs !== undefined) {
      t.equal(waitMs, leastMs, `${fault}: as it asked, an hour at most`);
      return;
    }
    const baseMs = 1_000 * 2 ** (first.attempts - 1);
    t.ok(waitMs >= baseMs * 0.75 && waitMs <= baseMs * 1.25, `${fault}: ${waitMs} ms after attempt ${first.attempts}`);
  };
  const checkOnce = async (fault: Fault, app: number): Promise<void> => {
    const expected = outcomes[fault];
    // Of 410 the endpoint is paused, and nothing is given up.
    if (typeof expected === 'number' || fault === '410') return checkAgain(fault, app);
    const rows = await until(async () => {
      const some = await entriesOf(database, app);
      return some.every(({ outcome }) => outcome !== null) && some;
    }, 30_000);
    const letters = await lettersOf(database, app);
    t.equal(letters.length, 2, fault);
    for (const [index, row] of rows.entries()) {
      t.match(row, { outcome: 'dead', attempts: 1, status: 'status' in expected ? expected.status : null }, fault);
      t.match(
        letters[index],
        {
          outbox_id: row.id,
          origin_id: row.id,
          reason: 'retry-off',
          command: 'Group.CallbackAfterSendMsg',
          request_body: `{"CallbackCommand":"Group.CallbackAfterSendMsg","number":${index}}`,
          response_status: 'status' in expected ? expected.status : null,
          attempts: 1,
          attempt_log: row.attempt_log,
        },
        fault,
      );
    }
    const texts: Partial<Record<Fault, string>> = {
      '400': '{"error":"what?"}',
      '404': 'no such page',
      '500': 'stack trace',
    };
    t.equal(letters[0]?.response_text, 'failure' in expected ? null : (texts[fault] ?? ''), fault);
  };
  await Promise.all(cases.flatMap(({ fault, again, once }) => [checkAgain(fault, again), checkOnce(fault, once)]));
  await close();

  const ids = new Map<string, number>();
  for (const { fault, again, once } of cases) {
    const expected = outcomes[fault];
    for (const app of [again, once]) {
      const rows = await entriesOf(database, app);
      const requests = server.requests.filter(
        ({ path: at, query }) => at === `/${fault}` && query.get('SdkAppid') === String(app),
      );
      const attempts = rows.reduce((sum, row) => sum + row.attempts, 0);
      const name = `${fault}: what came is what was counted`;
      if (unseen.has(fault)) t.equal(requests.length, 0);
      // The one that was under way when it was closed is not counted: it will be made again.
      else
        t.ok(
          requests.length === attempts || requests.length === attempts + 1,
          `${name}: ${requests.length}, ${attempts}`,
        );
      for (const { fields } of requests) {
        const id = Number(fields['webhook-id']?.split('_')[2]);
        ids.set(`${fault} ${id}`, (ids.get(`${fault} ${id}`) ?? 0) + 1);
        t.ok(rows.some((row) => row.id === id));
      }
      const starts = requests.map(({ atMs }) => atMs);
      if (typeof expected === 'number' || app === once) continue;
      for (const [index, atMs] of starts.entries()) {
        if (index > 0) t.ok(atMs - (starts[index - 1] ?? 0) >= 700, `${fault}: not before the pause is over`);
      }
    }
  }
  t.equal(server.requests.filter(({ path: at }) => at === '/good').length, 4, 'no redirect is followed');
  const [gone, other] = [callbacks.pauses.list(), cases.find(({ fault }) => fault === '410')];
  t.match(
    gone.map(({ sdkAppId, reason, actor, urlHash }) => ({ sdkAppId, reason, actor, urlHash })),
    [other?.again, other?.once].map((sdkAppId) => ({
      sdkAppId,
      reason: 'gone',
      actor: 'backend',
      urlHash: urlHash(server.url('410')),
    })),
  );
  t.equal(events.filter((event) => event === 'callbacks.endpoint.gone').length, 2);

  const { rows } = await db.pool.query<{ attempts: number; delivered: number; dead: number }>(
    `select coalesce(sum(attempts) filter (where outcome is distinct from 'delivered'), 0)::integer as attempts,
       count(*) filter (where outcome = 'delivered')::integer as delivered, count(*) filter (where outcome = 'dead')::integer as dead
     from outbox`,
  );
  const command = 'Group.CallbackAfterSendMsg';
  const told = (outcome: string) => metricOf(metrics, 'qalgate_callbacks_after_total', { outcome, command });
  t.equal(await told('delivered'), rows[0]?.delivered);
  t.equal(await told('dead'), rows[0]?.dead);
  t.equal(await metricOf(metrics, 'qalgate_callbacks_attempts_failed_total'), rows[0]?.attempts);
});

/** An app of its own at a backend of its own, and the relay. */
async function openOne(
  t: Parameters<typeof openCallbacks>[0],
  settings: object = {},
  behaviour?: Behaviour,
  options: Parameters<typeof openCallbacks>[3] = {},
) {
  const backend = await openRecordingBackend(t, behaviour);
  const app = callbackApp(nextApp++, { url: backend.url, ...settings });
  const relay = await openCallbacks(t, database, [app], { ...options, tuning: { ...eager, ...options.tuning } });
  return { backend, app, ...relay };
}

t.test('[K6] 410 stops what goes to the URL; it waits, and goes out in order when that is ended', async (t) => {
  let isGone = false;
  const { backend, app, callbacks, event, events } = await openOne(t, {}, () => (isGone ? 410 : 200));
  const [one, other] = [key(), key()];
  await event({ key: one, fields: { number: 0 } });
  await until(() => backend.received.length === 1);
  isGone = true;
  for (const number of [1, 2]) await event({ key: one, fields: { number } });
  await until(() => callbacks.pauses.list(app.sdkAppId).length === 1);
  for (const number of [3, 4]) await event({ key: other, fields: { number } });
  t.match(callbacks.pauses.list(app.sdkAppId), [
    { reason: 'gone', actor: 'backend', urlHash: urlHash(backend.url), command: undefined },
  ]);
  t.ok(events.includes('callbacks.endpoint.gone') && events.includes('callbacks.paused'));
  const came = backend.received.length;
  t.match(await entriesOf(database, app.sdkAppId), [
    { outcome: 'delivered' },
    { outcome: null, attempts: 1, status: 410 },
    { outcome: null, attempts: 0 },
    { outcome: null },
    { outcome: null },
  ]);
  isGone = false;
  t.equal(backend.received.length, came, 'nothing goes there meanwhile');
  await callbacks.pauses.resume(app.sdkAppId);
  await until(() => new Set(numbersOf(backend.received)).size === 5);
  t.strictSame(numbersOf(backend.received.filter(({ body }) => Number(body.number) <= 2)), [0, 1, 1, 2]);
  t.equal(new Set(backend.received.map(({ id }) => id)).size, 5);
  t.strictSame(await lettersOf(database, app.sdkAppId), []);
});

t.test('[K6] what is too large is given up at once, and the next event says so, once', async (t) => {
  const { backend, app, metrics, event } = await openOne(t, {}, ({ body }) => (body.large === true ? 413 : 200));
  const [one, other] = [key(), key()];
  const ids: number[] = [];
  await writeEvents(database, [{ app: app.sdkAppId, key: other, atMs: Date.now() + 60_000 }]);
  for (const large of [true, true, false, false, true, false]) {
    const body = { fields: { number: ids.length, large } };
    ids.push(...(await writeEvents(database, [{ app: app.sdkAppId, key: one, body }])));
  }
  await event({ key: one, fields: { number: 6 } });
  await until(() => numbersOf(backend.received).includes(6));
  t.strictSame(numbersOf(backend.received.filter(({ body }) => body.number !== undefined)), [0, 1, 2, 3, 4, 5, 6]);
  const idOf = (number: number) => backend.received.find(({ body }) => body.number === number)?.id;
  const gaps = backend.received.map(({ body, headers }) => [body.number, headers['qalgate-gap']]);
  t.strictSame(
    gaps.filter(([, gap]) => gap !== undefined),
    [
      // The second one was told of the first, but did not get through.
      [1, idOf(0)],
      [2, `${idOf(0)},${idOf(1)}`],
      [5, idOf(4)],
    ],
  );
  await until(async () => {
    const { rowCount } = await db.pool.query('select from callback_gap where sdk_app_id = $1', [app.sdkAppId]);
    return rowCount === 0;
  });
  t.match(await lettersOf(database, app.sdkAppId), [
    { outbox_id: ids[0], reason: 'too-large', attempts: 1, response_status: 413, url: backend.url },
    { outbox_id: ids[1], reason: 'too-large', attempts: 1 },
    { outbox_id: ids[4], reason: 'too-large', attempts: 1 },
  ]);
  t.equal(await metricOf(metrics, 'qalgate_callbacks_after_total', { outcome: 'dead' }), 3);
});

t.test('[K6] a gap that was not told yet is told by the next run; others’ URLs do not hear of it', async (t) => {
  const elsewhere = await openRecordingBackend(t);
  const { backend, app, event } = await openOne(
    t,
    { commands: [{ command: 'Group.CallbackAfterGroupFull', url: elsewhere.url }] },
    ({ body }) => (body.large === true ? 413 : 200),
  );
  const one = key();
  const command: AfterCommand = 'Group.CallbackAfterGroupFull';
  const id = await event({ key: one, fields: { number: 0, large: true } });
  await until(async () => (await lettersOf(database, app.sdkAppId)).length === 1);
  await event({ key: one, command, fields: { number: 1 } });
  await until(() => elsewhere.received.length === 1);
  t.equal(elsewhere.received[0]?.headers['qalgate-gap'], undefined);
  for (const number of [2, 3]) await event({ key: one, fields: { number } });
  await until(() => backend.received.length === 3);
  t.equal(backend.received[1]?.headers['qalgate-gap'], backend.received[0]?.id);
  t.match(backend.received[0]?.id, new RegExp(`_${id}$`));
  t.equal(backend.received[2]?.headers['qalgate-gap'], undefined);
});

t.test(
  '[K6] Retry-After is waited for, as seconds or as a date, an hour at most; never less than our pause',
  async (t) => {
    const inSec = (sec: number): string => new Date(Date.now() + sec * 1_000).toUTCString();
    const cases: [field: string, least: number, most: number][] = [
      ['3', 3_000, 3_000],
      ['3600', 3_600_000, 3_600_000],
      ['3601', 3_600_000, 3_600_000],
      ['99999999999', 750, 1_250],
      [inSec(40), 38_000, 41_000],
      [inSec(-40), 750, 1_250],
      [inSec(90_000), 3_600_000, 3_600_000],
      ['0', 750, 1_250],
      ['soon', 750, 1_250],
    ];
    const backend = await openRecordingBackend(t, ({ body }, response) => {
      response.writeHead(body.status as number, { 'Retry-After': String(body.after) }).end();
      return undefined;
    });
    const apps = cases.flatMap(() => [429, 503, 500].map(() => callbackApp(nextApp++, { url: backend.url })));
    const { callbacks } = await openCallbacks(t, database, apps);
    for (const [index, { sdkAppId: app }] of apps.entries()) {
      const [after] = cases[Math.floor(index / 3)] ?? [];
      const drainKey = key();
      const status = [429, 503, 500][index % 3];
      await writeEvents(database, [{ app, key: drainKey, body: { fields: { status, after } } }]);
      callbacks.written(app, drainKey, 'Group.CallbackAfterSendMsg');
    }
    for (const [index, { sdkAppId }] of apps.entries()) {
      const [after, least, most] = cases[Math.floor(index / 3)] ?? ['', 0, 0];
      const row = await until(async () => {
        const [first] = await entriesOf(database, sdkAppId);
        return (first?.attempts ?? 0) > 0 && first;
      });
      if (row.attempts > 1) {
        t.ok(most < 5_000, `${after}: again already`);
        continue;
      }
      const [{ atMs } = { atMs: 0 }] = JSON.parse(row.attempt_log ?? '[]') as { atMs: number }[];
      const waitMs = row.next_attempt_ms - atMs;
      t.ok(waitMs >= least && waitMs <= most, `Retry-After: ${after}: ${waitMs} ms`);
    }
  },
);

t.test('[K6] what is malformed becomes a dead letter; lane and process go on', async (t) => {
  const { backend, app, event, events } = await openOne(t);
  const bodies = [null, '', '{', 'null', '[]', '"text"', '7', '{"fields":', '{"raw":"\\"odd\\""}', '{"raw":"{}"}'];
  const lanes: string[] = [];
  const wrong: { key: string; id: number }[] = [];
  for (const command of ['Group.CallbackAfterSendMsg', 'State.StateChange', 'Sns.CallbackFriendAdd'] as const) {
    for (const body of bodies) {
      const drainKey = key();
      const written = { app: app.sdkAppId, key: drainKey, command, body };
      const [id = 0] = await writeEvents(database, [written]);
      lanes.push(drainKey);
      wrong.push({ key: drainKey, id });
    }
  }
  // A message that is not there (any more), and one that says nothing of where it came from.
  for (const body of [null, '{', '{"platform":"Web","address":"::1"}']) {
    const drainKey = key();
    const message = { conversationId: 9_999_999, seq: 1 };
    const command = 'C2C.CallbackAfterSendMsg';
    const [id = 0] = await writeEvents(database, [{ app: app.sdkAppId, key: drainKey, command, body, message }]);
    lanes.push(drainKey);
    wrong.push({ key: drainKey, id });
  }
  for (const log of ['{', '7', '[null, 7, {}]', 'null', '[{"atMs":"then"}]']) {
    const drainKey = key();
    await writeEvents(database, [{ app: app.sdkAppId, key: drainKey, log, attempts: 3 }]);
    lanes.push(drainKey);
  }
  for (const [number, drainKey] of lanes.entries()) await event({ key: drainKey, fields: { number, last: true } });
  await until(() => backend.received.filter(({ body }) => body.last === true).length === lanes.length);
  await until(async () => (await entriesOf(database, app.sdkAppId)).every(({ outcome }) => outcome !== null));
  const letters = await lettersOf(database, app.sdkAppId);
  const dead = new Map(letters.map((letter) => [letter.outbox_id, letter]));
  const told = new Set(backend.received.map(({ id }) => Number(id.split('_')[2])));
  const isRaw = new Set(wrong.filter(({ id }) => told.has(id)).map(({ id }) => id));
  // Text that only looks odd is sent as it is; an object without fields is an event without.
  t.ok(isRaw.size >= 2 && isRaw.size < wrong.length / 2, `${isRaw.size} could be told`);
  for (const { id, key: drainKey } of wrong) {
    if (isRaw.has(id)) continue;
    t.match(dead.get(id), { reason: 'content-gone', drain_key: drainKey, request_body: null, attempts: 0 });
  }
  t.equal(letters.length + isRaw.size, wrong.length);
  t.ok(events.includes('callbacks.entry.malformed'));
  t.notOk(events.includes('callbacks.lane.failed'));
  for (const { id } of wrong.filter((one) => !isRaw.has(one.id))) {
    t.equal(backend.received.filter(({ headers }) => headers['qalgate-gap']?.includes(`_${id}`)).length, 1);
  }
});

t.test('[K7] what is malformed cannot hold up the bounds of the backlog either', async (t) => {
  const { backend, app, callbacks } = await openOne(t, { backlogHours: 1 }, undefined, {
    tuning: { sweep: { everyMs: 600_000 } },
  });
  const atMs = Date.now() - 2 * 3_600_000;
  const bodies = ['{', null, '{"raw":"a\\u0000b"}', '{"fields":{}}'];
  await writeEvents(
    database,
    bodies.map((body, index) => ({ app: app.sdkAppId, key: key(), body, atMs, log: index === 0 ? '{' : '[]' })),
  );
  await callbacks.maintain();
  t.match(
    await lettersOf(database, app.sdkAppId),
    [null, null, 'a\uFFFDb', '{"CallbackCommand":"Group.CallbackAfterSendMsg"}'].map((text) => ({
      reason: 'too-old',
      request_body: text,
    })),
  );
  t.strictSame(backend.received, []);
});

t.test('[K3] a stored message is told of as it was sent; when it has expired, as a dead letter', async (t) => {
  const backend = await openRecordingBackend(t);
  const app = callbackApp(imAppId, { url: backend.url });
  const service = await openIm(t, { database, apps: [app], deps: { ports: { consumers: () => 1 } } });
  const account = (name: string) => service.im.accounts.ensure(imAppId, name as AccountId);
  const [alice, bob] = [await account('alice'), await account('bob')];
  const text = 'gr\\u00fc\\u00df "quoted" 😀';
  const sent = [];
  for (const number of [0, 1, 2]) {
    const body = [{ MsgType: 'TIMTextElem', MsgContent: { Text: `${text} ${number}` } }];
    sent.push(
      await service.im.messages.send(sendInput(number === 1 ? bob : alice, number === 1 ? alice : bob, { body })),
    );
  }
  await db.pool.query('delete from message where seq = 3');
  const { event } = await openCallbacks(t, database, [app], { tuning: eager });
  await until(() => backend.received.length === 2);
  for (const [index, { raw }] of backend.received.entries()) {
    const one = sent[index];
    if (one?.ok !== true) throw new Error('it was sent');
    const { msgSeq, random, time } = one.value;
    t.strictSame(JSON.parse(raw), {
      CallbackCommand: 'C2C.CallbackAfterSendMsg',
      From_Account: ['alice', 'bob'][index],
      To_Account: ['bob', 'alice'][index],
      MsgSeq: msgSeq,
      MsgRandom: random,
      MsgTime: time,
      MsgKey: `${msgSeq}_${random}_${time}`,
      OnlineOnlyFlag: 0,
      MsgBody: [{ MsgType: 'TIMTextElem', MsgContent: { Text: `${text} ${index}` } }],
      SendMsgResult: 0,
      ErrorInfo: '',
    });
  }
  await until(async () => (await lettersOf(database, imAppId)).length === 1);
  t.match(await lettersOf(database, imAppId), [{ reason: 'content-gone', seq: 3, request_body: null }]);
  await event({ key: (await entriesOf(database, imAppId))[0]?.drain_key ?? '', fields: { number: 9 } });
  await until(() => backend.received.length === 3);
  t.match(backend.received[2]?.headers['qalgate-gap'], /^cb_[0-9a-f]{8}_[0-9]+$/);
});

t.test('[K6] the database goes away while events are told: they stay, and are told later, in order', async (t) => {
  const own = await openTestDatabase(t);
  const backend = await openRecordingBackend(t);
  const app = callbackApp(nextApp++, { url: backend.url });
  // Runs that ended with the database hold their lanes until then.
  const { callbacks } = await openCallbacks(t, own, [app], { tuning: { ...eager, lockMs: 1_000, idleMs: 1_000 } });
  const lanes = 20;
  const each = 30;
  await writeEvents(
    own,
    Array.from({ length: lanes * each }, (_, n) => ({
      app: app.sdkAppId,
      key: `${n % lanes}`,
      body: { fields: { lane: n % lanes, number: Math.floor(n / lanes) } },
    })),
  );
  for (let lane = 0; lane < lanes; lane++) callbacks.written(app.sdkAppId, `${lane}`, 'Group.CallbackAfterSendMsg');
  for (const share of [0.3, 0.7]) {
    await until(() => backend.received.length >= share * lanes * each, 30_000);
    // Until it is there again there is nothing to kill.
    await until(async () => {
      try {
        const file = await readFile(path.join(clusterFolder(own.dataDir), 'postmaster.pid'), 'utf8');
        return process.kill(Number(file.split('\n')[0]), 'SIGKILL');
      } catch {
        return false;
      }
    });
  }
  await until(() => new Set(backend.received.map(({ id }) => id)).size === lanes * each, 60_000);
  await until(async () => {
    const rows = await entriesOf(own, app.sdkAppId).catch(() => []);
    return rows.length === lanes * each && rows.every(({ outcome }) => outcome === 'delivered');
  }, 30_000);
  t.comment(`${backend.received.length - lanes * each} repeats`);
  for (const some of Map.groupBy(backend.received, ({ body }) => body.lane).values()) {
    const firsts = [...new Set(numbersOf(some))];
    t.strictSame(
      firsts,
      Array.from({ length: each }, (_, n) => n),
      'in order',
    );
    let last = 0;
    for (const number of numbersOf(some) as number[]) {
      t.ok(number <= last + 1, 'no event before one that has not been told');
      last = Math.max(last, number);
    }
  }
});

t.test('[K6] closing while events are under way ends in time, loses nothing, repeats only what hung', async (t) => {
  let hangs = true;
  const behaviour: Behaviour = ({ body }) => (hangs && body.hangs === true ? undefined : 200);
  const { backend, app, callbacks, close } = await openOne(t, { timeoutMs: 60_000 }, behaviour);
  const written = Array.from({ length: 400 }, (_, n) => ({
    app: app.sdkAppId,
    key: `1000${n % 40}`,
    body: { fields: { number: n, hangs: n % 40 === 0 && n >= 40 } },
  }));
  await writeEvents(database, written);
  for (let lane = 0; lane < 40; lane++) callbacks.written(app.sdkAppId, `1000${lane}`, 'Group.CallbackAfterSendMsg');
  await until(() => backend.received.some(({ body }) => body.hangs === true) && backend.received.length > 50);
  const startedMs = performance.now();
  await close();
  const tookMs = performance.now() - startedMs;
  t.ok(tookMs < 12_000, `closed in ${Math.round(tookMs)} ms`);
  const first = [...backend.received];
  const rows = await entriesOf(database, app.sdkAppId);
  const delivered = rows.filter(({ outcome }) => outcome === 'delivered').map(({ id }) => id);
  t.strictSame(
    delivered,
    first
      .filter(({ body }) => body.hangs !== true)
      .map(({ id }) => Number(id.split('_')[2]))
      .sort((a, b) => a - b),
    'what was answered is marked, so nothing of it is told again',
  );
  hangs = false;
  await openCallbacks(t, database, [app], { tuning: eager });
  await until(() => new Set(backend.received.map(({ id }) => id)).size === 400);
  t.equal(backend.received.length, 401);
});
