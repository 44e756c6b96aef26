import { Webhook } from 'standardwebhooks';
import t, { type Test } from 'tap';
import { urlHash } from '../../src/callbacks/index.ts';
import type { AppSettings } from '../../src/store/index.ts';
import type { AfterCommand } from '../../src/wire/index.ts';
import {
  type Behaviour,
  callbackApp,
  callbackSecret,
  entriesOf,
  lettersOf,
  numbersOf,
  openCallbacks,
  openRecordingBackend,
  type Received,
  type WrittenEvent,
  writeEvents,
} from '../support/callbacks.ts';
import { openTestDatabase, until } from '../support/database.ts';
import { createMovableClock } from '../support/im.ts';
import { metricOf } from '../support/metrics.ts';

t.setTimeout(240_000);
const database = await openTestDatabase(t);
const { db } = database;
// What a test leaves waiting is nothing to those after it.
t.beforeEach(async () => {
  await db.pool.query(`update outbox set done_ms = 0, outcome = 'dropped' where done_ms is null`);
});
let nextApp = 1;
/** Keys of lanes are numbers of conversations and accounts, which no two apps share. */
let nextKey = 1;
const newKey = (): string => String(nextKey++);
const newAccount = (): string => `a${nextKey++}`;
/** What nobody is woken for is found at once. */
const eager = { sweep: { everyMs: 20, graceMs: 0 } };
/** Only who is woken goes. */
const lazy = { sweep: { everyMs: 600_000 } };
const group: AfterCommand = 'Group.CallbackAfterSendMsg';
const full: AfterCommand = 'Group.CallbackAfterGroupFull';
const range = (count: number, from = 0): number[] => Array.from({ length: count }, (_, n) => n + from);
const slowly: Behaviour = async () => {
  await new Promise((resolve) => setTimeout(resolve, 10));
  return 200;
};

interface One {
  settings?: object;
  behaviour?: Behaviour;
  options?: Parameters<typeof openCallbacks>[3];
}

/** An app of its own at a backend of its own, and the relay. */
async function openOne(t: Test, { settings = {}, behaviour, options = {} }: One = {}) {
  const backend = await openRecordingBackend(t, behaviour);
  const app = callbackApp(nextApp++, { url: backend.url, ...settings });
  const relay = await openCallbacks(t, database, [app], { ...options, tuning: { ...eager, ...options.tuning } });
  const numbered = (
    key: string,
    numbers: readonly number[],
    more: Partial<WrittenEvent> & { fields?: object } = {},
  ) => {
    const { fields, ...rest } = more;
    return writeEvents(
      database,
      numbers.map((number) => ({ app: app.sdkAppId, key, body: { fields: { number, ...fields } }, ...rest })),
    );
  };
  const rows = () => entriesOf(database, app.sdkAppId);
  return {
    backend,
    app,
    ...relay,
    rows,
    letters: () => lettersOf(database, app.sdkAppId),
    /** Writes events, and tells of them. */
    async tell(key: string, numbers: readonly number[], more: Parameters<typeof numbered>[2] = {}) {
      const ids = await numbered(key, numbers, more);
      relay.callbacks.written(app.sdkAppId, key, more.command ?? group);
      return ids;
    },
    /** Waits until all that was written is marked. */
    async allDone() {
      await until(async () => (await rows()).every(({ outcome }) => outcome !== null), 20_000);
    },
  };
}

const idsOf = (received: readonly Received[]): number[] => received.map(({ id }) => Number(id.split('_')[2]));

t.test('[K3] [K5] [K6] events of a key come in order, signed, each with its own id', async (t) => {
  const { backend, event, rows, metrics, allDone } = await openOne(t);
  const key = newKey();
  for (let number = 0; number < 20; number++) await event({ key, fields: { number } });
  await until(() => backend.received.length === 20);
  t.strictSame(numbersOf(backend.received), range(20));
  t.equal(new Set(backend.received.map(({ id }) => id)).size, 20);
  for (const { raw, headers } of backend.received) {
    t.doesNotThrow(() => new Webhook(callbackSecret).verify(raw, headers as Record<string, string>));
    t.notOk('qalgate-gap' in headers || 'qalgate-replay' in headers);
  }
  t.match(
    backend.received[0]?.url,
    /^\/cb\?SdkAppid=\d+&CallbackCommand=Group\.CallbackAfterSendMsg&contenttype=json&ClientIP=10\.0\.0\.1&OptPlatform=Android$/,
  );
  await allDone();
  const done = await rows();
  t.strictSame(
    idsOf(backend.received),
    done.map(({ id }) => id),
  );
  t.ok(done.every(({ outcome, attempts, status }) => outcome === 'delivered' && attempts === 1 && status === 200));
  const { store_epoch } = (await db.pool.query<{ store_epoch: string }>('select store_epoch from meta')).rows[0] ?? {};
  t.equal(backend.received[0]?.id, `cb_${store_epoch?.replaceAll('-', '').slice(0, 8)}_${done[0]?.id}`);
  t.equal(await metricOf(metrics, 'qalgate_callbacks_after_total', { outcome: 'delivered', command: group }), 20);
});

t.test('[K6] what nobody was woken for is found, whichever of its key’s URLs it goes to', async (t) => {
  const elsewhere = await openRecordingBackend(t);
  const { backend, app } = await openOne(t, {
    settings: { commands: [{ command: full, url: elsewhere.url }] },
  });
  const key = newKey();
  const later = Date.now() + 600_000;
  const events = [
    // The head of one lane waits for its time, and many do behind it.
    { nextAttemptMs: later, attempts: 3, log: '[{"atMs":1,"tookMs":1,"status":500}]' },
    ...range(200).map(() => ({})),
    { command: full },
  ];
  await writeEvents(
    database,
    events.map((one) => ({ app: app.sdkAppId, key, ...one })),
  );
  await writeEvents(database, [{ app: app.sdkAppId, key: newKey(), command: 'Sns.CallbackFriendAdd' }]);
  await until(() => elsewhere.received.length === 1 && backend.received.length === 1);
  t.equal(backend.received[0]?.command, 'Sns.CallbackFriendAdd');
});

t.test(
  '[K6] while lanes wait for their turn, only those that are older than what is told are looked for',
  async (t) => {
    const nowMs = Date.now();
    const hold = Promise.withResolvers<void>();
    const { backend, app, metrics, tell, allDone } = await openOne(t, {
      behaviour: async ({ body }) => {
        if (body.number === 10) await hold.promise;
        return 200;
      },
      options: { clock: () => nowMs, concurrency: 1 },
    });
    await tell(newKey(), [1], { atMs: nowMs - 80_000 });
    await allDone();
    await tell(newKey(), [10], { atMs: nowMs });
    await until(() => backend.received.length === 2);
    await tell(newKey(), [11], { atMs: nowMs });
    const [young = '', old = ''] = [newKey(), newKey()];
    await writeEvents(database, [
      { app: app.sdkAppId, key: young, body: { fields: { number: 2 } }, atMs: nowMs - 5_000 },
      { app: app.sdkAppId, key: old, body: { fields: { number: 3 } }, atMs: nowMs - 70_000 },
    ]);
    const pending = () => metricOf(metrics, 'qalgate_callbacks_pending_lanes');
    await until(async () => (await pending()) === 2);
    await new Promise((resolve) => setTimeout(resolve, 200));
    t.equal(await pending(), 2, 'the one that was woken, and the old one');
    hold.resolve();
    // When nothing waits for its turn any more, the young one was not woken.
    await allDone();
    t.equal(backend.received.length, 5);
  },
);

t.test('[K6] a queue that loses its jobs loses no events', async (t) => {
  const { backend, tell, callbacks, allDone } = await openOne(t, {
    behaviour: slowly,
    options: { tuning: { lockMs: 1_000 } },
  });
  const keys = range(30).map(newKey);
  for (const [lane, key] of keys.entries()) await tell(key, range(10), { fields: { lane } });
  for (let round = 0; round < 3; round++) {
    await until(() => backend.received.length > 75 * (round + 1));
    await callbacks.queue.obliterate({ force: true });
  }
  await allDone();
  for (const some of Map.groupBy(backend.received, ({ body }) => body.lane).values()) {
    t.strictSame([...new Set(numbersOf(some))], range(10));
  }
});

t.test('[K6] a job that was left behind, to run in an hour, holds up nothing', async (t) => {
  const { backend, app, tell, callbacks, allDone } = await openOne(t);
  await tell(newKey(), [1]);
  await allDone();
  const [{ endpointId = '' } = {}] = callbacks.circuits();
  const drainKey = newKey();
  // As another process leaves it that has run the lane since.
  const job = await callbacks.queue.add(
    'drain',
    { sdkAppId: app.sdkAppId, endpointId, drainKey },
    { delay: 3_600_000, deduplication: { id: `${endpointId}-${drainKey}`, keepLastIfActive: true } },
  );
  await writeEvents(database, [{ app: app.sdkAppId, key: drainKey, body: { fields: { number: 2 } } }]);
  await allDone();
  t.strictSame(numbersOf(backend.received), [1, 2]);
  t.equal(await job.getState(), 'delayed');
});

t.test('[K6] a failed event is sent again under its id, before those behind it', async (t) => {
  let failures = 2;
  const { backend, tell, rows, allDone } = await openOne(t, {
    behaviour: ({ body }) => (body.number === 1 && failures-- > 0 ? 500 : 200),
  });
  await tell(newKey(), [0, 1, 2]);
  await until(() => backend.received.length === 5, 15_000);
  t.strictSame(numbersOf(backend.received), [0, 1, 1, 1, 2]);
  t.equal(new Set(backend.received.map(({ id }) => id)).size, 3);
  const [, first, second, third] = backend.received.map(({ atMs }) => atMs);
  t.ok((second ?? 0) - (first ?? 0) >= 700 && (third ?? 0) - (second ?? 0) >= 1_400, 'with growing pauses');
  await allDone();
  t.match(await rows(), [{ attempts: 1 }, { attempts: 3, status: 200, outcome: 'delivered' }, { attempts: 1 }]);
  t.equal(JSON.parse((await rows())[1]?.attempt_log ?? '').length, 2);
});

t.test('[K6] an event that fails alone for 15 minutes becomes a dead letter, and the lane goes on', async (t) => {
  const clock = createMovableClock();
  const { backend, tell, rows, letters, events, metrics } = await openOne(t, {
    behaviour: ({ body }) => (body.bad === true ? 500 : 200),
    options: { clock },
  });
  const [key, other] = [newKey(), newKey()];
  const at = { atMs: clock() };
  await tell(other, [100], at);
  await until(() => backend.received.length === 1);
  const [bad = 0] = await tell(key, [0], { fields: { bad: true }, ...at });
  await tell(key, [1, 2], at);
  await until(async () => (await rows()).find(({ id }) => id === bad)?.attempts === 1);
  // A success before it failed first says nothing; an hour goes by in which nothing else is told.
  clock.advance(3_600);
  await until(async () => (await rows()).find(({ id }) => id === bad)?.attempts === 2);
  t.strictSame(await letters(), [], 'who fails while nobody succeeds is kept');
  await tell(other, [101], at);
  await until(async () => (await letters()).length === 1, 15_000);
  await until(() => numbersOf(backend.received).includes(2));
  t.match(await letters(), [
    {
      outbox_id: bad,
      origin_id: bad,
      reason: 'failing-alone',
      attempts: 3,
      response_status: 500,
      drain_key: key,
      url: backend.url,
      request_body: `{"CallbackCommand":"${group}","number":0,"bad":true}`,
    },
  ]);
  t.equal(JSON.parse(String((await letters())[0]?.attempt_log)).length, 3);
  const gaps = backend.received.filter(({ headers }) => headers['qalgate-gap'] !== undefined);
  t.strictSame(numbersOf(gaps), [1], 'the next one says so, and it alone');
  t.equal(gaps[0]?.headers['qalgate-gap'], backend.received.find(({ body }) => body.bad === true)?.id);
  t.ok(events.includes('callbacks.entry.buried'));
  t.equal(await metricOf(metrics, 'qalgate_callbacks_after_total', { outcome: 'dead' }), 1);
});

t.test('[K6] an event that fails among others is kept for less than 15 minutes, and they wait behind it', async (t) => {
  const clock = createMovableClock();
  const { backend, tell, rows, letters } = await openOne(t, {
    behaviour: ({ body }) => (body.bad === true ? 500 : 200),
    options: { clock },
  });
  const [key, other] = [newKey(), newKey()];
  const at = { atMs: clock() };
  const [bad = 0] = await tell(key, [0], { fields: { bad: true }, ...at });
  await tell(key, [1], at);
  const attempts = async () => (await rows()).find(({ id }) => id === bad)?.attempts ?? 0;
  await until(async () => (await attempts()) === 1);
  await tell(other, [100], at);
  await until(() => numbersOf(backend.received).includes(100));
  clock.advance(14 * 60);
  await until(async () => (await attempts()) === 2);
  t.strictSame(await letters(), []);
  t.notOk(numbersOf(backend.received).includes(1));
});

t.test('[K7] more than may wait: the oldest are given up, counted and said; what is live goes on', async (t) => {
  const settings = { backlogRows: 100, backlogHours: 2, deadLetters: 25 };
  const { backend, app, callbacks, rows, letters, events, metrics, tell, allDone } = await openOne(t, { settings });
  await callbacks.pauses.pause({ sdkAppId: app.sdkAppId, reason: 'operator', actor: 'test' });
  const keys = [newKey(), newKey(), newKey()];
  const nowMs = Date.now();
  const written = range(130).map((n) => ({
    app: app.sdkAppId,
    key: keys[n % 3] ?? '',
    body: { fields: { number: n } },
    // The latest ones stand first.
    atMs: nowMs - n * 1_000,
  }));
  const ids = await writeEvents(database, written);
  await callbacks.maintain();
  const dead = await letters();
  // Five more than are kept have gone already.
  t.strictSame(
    dead.map(({ outbox_id }) => outbox_id),
    ids.slice(105),
  );
  t.ok(dead.every(({ reason, attempts, request_body }) => reason === 'too-many' && attempts === 0 && request_body));
  t.equal(dead[0]?.request_body, `{"CallbackCommand":"${group}","number":105}`);
  t.strictSame(
    (await rows()).filter(({ outcome }) => outcome === null).map(({ id }) => id),
    ids.slice(0, 100),
  );
  t.equal(await metricOf(metrics, 'qalgate_callbacks_buried_total', { bound: 'rows' }), 30);
  t.equal(await metricOf(metrics, 'qalgate_callbacks_dead_letters_trimmed_total', { bound: 'rows' }), 5);
  t.ok(events.includes('callbacks.backlog.over') && events.includes('callbacks.dead_letters.trimmed'));
  t.strictSame(
    callbacks.backlog().map(({ rows: count }) => count),
    [130],
    'as it was at the look',
  );
  await callbacks.maintain();
  t.match(callbacks.backlog(), [{ sdkAppId: app.sdkAppId, command: group, rows: 100, oldestMs: nowMs - 99_000 }]);
  t.equal(await metricOf(metrics, 'qalgate_callbacks_waiting', { command: group }), 100);
  const ageSec = await metricOf(metrics, 'qalgate_callbacks_oldest_waiting_seconds');
  t.ok(ageSec >= 99 && ageSec < 200);
  t.equal(await metricOf(metrics, 'qalgate_callbacks_buried_total'), 30, 'and no more');

  await callbacks.pauses.resume(app.sdkAppId);
  await tell(keys[0] ?? '', [1_000]);
  await allDone();
  t.equal(backend.received.length, 101);
  for (const key of keys) {
    const own = backend.received.filter(
      ({ body }) => Number(body.number) % 3 === keys.indexOf(key) && body.number !== 1_000,
    );
    const gaps = own.filter(({ headers }) => 'qalgate-gap' in headers);
    t.strictSame(numbersOf(gaps), [own[0]?.body.number], 'the first one that goes says what did not');
    t.equal(String(gaps[0]?.headers['qalgate-gap']).split(',').length, 10);
  }
  t.strictSame(backend.received.filter(({ body }) => body.number === 1_000).length, 1);

  await callbacks.pauses.pause({ sdkAppId: app.sdkAppId, reason: 'operator', actor: 'test' });
  const oldMs = Date.now() - 2 * 3_600_000;
  const old = await writeEvents(database, [
    { app: app.sdkAppId, key: keys[0] ?? '', atMs: oldMs - 1_000, command: full },
    { app: app.sdkAppId, key: keys[0] ?? '', atMs: oldMs + 60_000, command: full },
  ]);
  await db.pool.query('update dead_letter set died_ms = died_ms - 30::bigint * 86400000 where outbox_id = any($1)', [
    ids.slice(0, 110),
  ]);
  await callbacks.maintain();
  t.match(
    (await rows()).filter(({ id }) => old.includes(id)),
    [{ outcome: 'dead' }, { outcome: null }],
  );
  t.match((await letters()).at(-1), { outbox_id: old[0], reason: 'too-old', command: full });
  t.equal(await metricOf(metrics, 'qalgate_callbacks_buried_total', { bound: 'age' }), 1);
  t.equal(await metricOf(metrics, 'qalgate_callbacks_dead_letters_trimmed_total', { bound: 'age' }), 5);
  t.equal((await letters()).length, 21);
});

t.test('[K7] what waits of an app that is gone is kept for 72 hours, then dropped, counted and said', async (t) => {
  const { app, callbacks, rows, events, metrics, setApps } = await openOne(t, { options: { tuning: lazy } });
  const hourMs = 3_600_000;
  const ages = [73, 71];
  await writeEvents(
    database,
    ages.map((hours) => ({ app: app.sdkAppId, key: newKey(), body: {}, atMs: Date.now() - hours * hourMs })),
  );
  setApps([]);
  await callbacks.maintain();
  t.match(await rows(), [{ outcome: 'dropped' }, { outcome: null }]);
  t.equal(await metricOf(metrics, 'qalgate_callbacks_buried_total', { bound: 'no-app' }), 1);
  t.ok(events.includes('callbacks.entries.without_app'));
});

t.test('[K7] one process at a time does away with anything; all of them count', async (t) => {
  const { app, callbacks, letters } = await openOne(t, { settings: { backlogHours: 1 } });
  await callbacks.pauses.pause({ sdkAppId: app.sdkAppId, reason: 'operator', actor: 'test' });
  await writeEvents(database, [{ app: app.sdkAppId, key: newKey(), atMs: Date.now() - 7_200_000 }]);
  await db.pool.query(
    `insert into task_lease (task, holder, lease_until) values ('callbacks-backlog', 'another', now() + interval '1 minute')
     on conflict (task) do update set holder = excluded.holder, lease_until = excluded.lease_until`,
  );
  await callbacks.maintain();
  t.match(callbacks.backlog(), [{ rows: 1 }]);
  t.strictSame(await letters(), []);
  await db.pool.query(`update task_lease set lease_until = now() - interval '1 second' where holder = 'another'`);
  await callbacks.maintain();
  t.match(await letters(), [{ reason: 'too-old' }]);
});

// ── State changes ──

let version = 0;
const change = (
  app: number,
  key: string,
  platform: string,
  reason: string,
  more: Partial<WrittenEvent> = {},
): WrittenEvent => ({
  app,
  key,
  command: 'State.StateChange',
  body: { account: key, platform, state: reason === 'login' ? 'online' : 'offline', reason, timeMs: ++version },
  ...more,
});
const told = (received: readonly Received[]) =>
  received.map(({ url, body }) => {
    const info = body.Info as { Action: string } | undefined;
    return `${new URL(url, 'http://x').searchParams.get('OptPlatform')} ${info?.Action ?? body.number}`;
  });

t.test(
  '[P3] a terminal that comes and goes: the first change is told at once, of the rest where it stands then',
  async (t) => {
    const { backend, app, callbacks, rows, allDone, metrics } = await openOne(t, {
      settings: { stateDebounceMs: 400 },
    });
    const key = newAccount();
    const tellAll = async (reasons: readonly string[]) => {
      const ids = await writeEvents(
        database,
        reasons.map((reason) => change(app.sdkAppId, key, 'Android', reason)),
      );
      callbacks.written(app.sdkAppId, key, 'State.StateChange');
      return ids;
    };
    const ids = await tellAll(range(11).map((n) => (n % 2 === 0 ? 'login' : 'timeout')));
    await until(() => backend.received.length === 2);
    t.strictSame(told(backend.received), ['Android Login', 'Android Login']);
    t.strictSame(idsOf(backend.received), [ids[0], ids[10]]);
    t.strictSame(
      backend.received.map(({ body }) => body.Version),
      [ids[0], ids[10]],
      'versions rise',
    );
    const [first, last] = backend.received.map(({ atMs }) => atMs);
    t.ok((last ?? 0) - (first ?? 0) >= 380, 'with a pause between');
    await allDone();
    t.strictSame(
      (await rows()).map(({ outcome }) => outcome),
      range(11).map((n) => (n === 0 || n === 10 ? 'delivered' : 'superseded')),
    );
    t.equal(await metricOf(metrics, 'qalgate_callbacks_after_total', { outcome: 'superseded' }), 9);
    // What comes when the pause is over is told at once; the pause is the account's alone.
    await until(() => performance.now() - (last ?? 0) > 420);
    const beforeMs = performance.now();
    await tellAll(['timeout']);
    const another = newAccount();
    await writeEvents(database, [change(app.sdkAppId, another, 'Android', 'login')]);
    callbacks.written(app.sdkAppId, another, 'State.StateChange');
    await until(() => backend.received.length === 4);
    t.ok(backend.received.slice(2).every(({ atMs }) => atMs - beforeMs < 380));
  },
);

t.test('[P3] several terminals, and other events of the account, in order; each terminal is told of', async (t) => {
  const { backend, app, callbacks, allDone, rows } = await openOne(t, { settings: { stateDebounceMs: 300 } });
  const key = newAccount();
  const other = (number: number): WrittenEvent => ({
    app: app.sdkAppId,
    key,
    command: 'Sns.CallbackFriendAdd',
    body: { fields: { number }, origin: { platform: 'Web', address: '' } },
  });
  const state = (platform: string, reason: string, more = {}) => change(app.sdkAppId, key, platform, reason, more);
  await writeEvents(database, [
    other(1),
    state('Android', 'login'),
    state('iOS', 'login'),
    other(2),
    state('Android', 'timeout'),
    other(3),
    state('iOS', 'logout'),
    state('Android', 'login'),
    other(4),
    // Sent again by an operator: that is not debounced.
    state('Android', 'kicked', { originId: 1 }),
    state('Android', 'kicked', { originId: 2 }),
  ]);
  callbacks.written(app.sdkAppId, key, 'State.StateChange');
  await allDone();
  t.strictSame(told(backend.received), [
    'Web 1',
    'Android Login',
    'iOS Login',
    'Web 2',
    // After the pause; what Android did between is superseded.
    'Web 3',
    'iOS Logout',
    'Android Login',
    'Web 4',
    'Android Logout',
    'Android Logout',
  ]);
  t.ok((backend.received[4]?.atMs ?? 0) - (backend.received[3]?.atMs ?? 0) >= 250);
  t.equal((await rows()).filter(({ outcome }) => outcome === 'superseded').length, 1);
  t.strictSame(
    backend.received.slice(8).map(({ headers, body }) => [headers['qalgate-replay'], body.Version]),
    [
      ['true', 1],
      ['true', 2],
    ],
  );
});

t.test('[P3] without a pause each change is told, by the names that the app has', async (t) => {
  const { backend, app, callbacks, setApps, allDone } = await openOne(t, { settings: { stateDebounceMs: 0 } });
  const key = newAccount();
  const reasons = ['login', 'logout', 'login', 'link-closed', 'login', 'timeout', 'login', 'kicked'];
  const tellAll = async () => {
    await writeEvents(
      database,
      reasons.map((reason) => change(app.sdkAppId, key, 'iPad', reason)),
    );
    callbacks.written(app.sdkAppId, key, 'State.StateChange');
    await allDone();
  };
  await tellAll();
  t.strictSame(
    told(backend.received),
    ['Login', 'Logout', 'Login', 'Logout', 'Login', 'Logout', 'Login', 'Logout'].map((name) => `IPad ${name}`),
  );
  setApps([callbackApp(app.sdkAppId, { url: backend.url, stateDebounceMs: 0, stateNames: '2020' })]);
  await tellAll();
  t.strictSame(
    backend.received.slice(8).map(({ body }) => Object.values(body.Info as object)),
    [
      ['Login', key, 'Register'],
      ['Logout', key, 'Unregister'],
      ['Login', key, 'Register'],
      ['Disconnect', key, 'LinkClose'],
      ['Login', key, 'Register'],
      ['Disconnect', key, 'TimeOut'],
      ['Login', key, 'Register'],
      ['Logout', key, 'LinkClose'],
    ],
  );
});

// ── Changes while it runs ──

t.test('[K4] a new URL holds from the next event on, also for what waits', async (t) => {
  const next = await openRecordingBackend(t);
  const { backend, app, tell, setApps, allDone } = await openOne(t, { behaviour: slowly });
  const moved = callbackApp(app.sdkAppId, { url: next.url });
  const key = newKey();
  await tell(key, range(40));
  await until(() => backend.received.length >= 5);
  setApps([moved]);
  const came = backend.received.length;
  await allDone();
  t.ok(backend.received.length <= came + 1, 'one was under way');
  const both = numbersOf([...backend.received, ...next.received]);
  t.strictSame([...new Set(both)], range(40));
  // The one that was under way, and what was not marked by then, may be told at both, under one id.
  t.equal(new Set([...backend.received, ...next.received].map(({ id }) => id)).size, 40);
  t.ok(both.length <= 40 + 11, `${both.length - 40} repeats`);

  // One that fails at the old URL goes to the new one at its next attempt.
  setApps([app]);
  backend.behave(() => 500);
  const before = [backend.received.length, next.received.length];
  await tell(key, [100, 101]);
  await until(() => backend.received.length > (before[0] ?? 0));
  setApps([moved]);
  await allDone();
  t.strictSame(numbersOf(next.received.slice(before[1])), [100, 101]);
  t.equal(backend.received.length, (before[0] ?? 0) + 1);
});

t.test('[K4] a command that is switched off waits until it is on again, and the others go on', async (t) => {
  const { backend, app, tell, setApps, allDone } = await openOne(t, { behaviour: slowly });
  const key = newKey();
  await tell(key, range(40));
  await until(() => backend.received.length >= 5);
  setApps([callbackApp(app.sdkAppId, { url: backend.url, events: [full] })]);
  const came = backend.received.length;
  await tell(key, [100], { command: full });
  await until(() => numbersOf(backend.received).includes(100));
  t.ok(backend.received.length <= came + 2);
  setApps([app]);
  await allDone();
  t.strictSame(
    numbersOf(backend.received).filter((number) => number !== 100),
    range(40),
  );
});

t.test('[K4] of an app that is deleted nothing more is told', async (t) => {
  const { backend, tell, setApps, events, callbacks } = await openOne(t, { behaviour: slowly });
  await tell(newKey(), range(40));
  await until(() => backend.received.length >= 5);
  setApps([]);
  const came = backend.received.length;
  await until(async () => {
    const { active, waiting, delayed } = await callbacks.queue.getJobCounts();
    return active === 0 && waiting === 0 && delayed === 0;
  });
  t.ok(backend.received.length <= came + 1);
  t.notOk(events.includes('callbacks.lane.failed'));
});

t.test(
  '[O2] what is paused stops within an event, by command, by URL or all of it, and goes on in order',
  async (t) => {
    const elsewhere = await openRecordingBackend(t, slowly);
    const { backend, app, callbacks, tell, allDone } = await openOne(t, {
      behaviour: slowly,
      settings: { commands: [{ command: full, url: elsewhere.url }] },
    });
    const { sdkAppId } = app;
    const [key, other] = [newKey(), newKey()];
    const reason = 'operator' as const;
    let next = 0;
    for (const which of [
      { command: group },
      { urlHash: urlHash(backend.url) },
      {},
      { command: group, urlHash: urlHash(backend.url) },
    ]) {
      const start = next;
      next += 30;
      const before = backend.received.length;
      await tell(key, range(30, start));
      await until(() => backend.received.length >= before + 5);
      await callbacks.pauses.pause({ sdkAppId, ...which, reason, actor: 'test' });
      const came = backend.received.length;
      const isAll = Object.keys(which).length === 0;
      await tell(other, [start], { command: full });
      if (isAll) await until(async () => (await callbacks.queue.getJobCounts('active')).active === 0);
      else await until(() => numbersOf(elsewhere.received).includes(start), 5_000);
      t.ok(backend.received.length <= came + 1, `${Object.keys(which)}: one was under way`);
      await callbacks.pauses.resume(sdkAppId, which);
      await allDone();
    }
    t.strictSame(numbersOf(backend.received), range(next));
    t.strictSame(numbersOf(elsewhere.received), [0, 30, 60, 90]);
  },
);

t.test('[K5] a new key signs from the next event on, beside the old one', async (t) => {
  const newSecret = `whsec_${Buffer.alloc(24, 9).toString('base64')}`;
  const { backend, app, tell, setApps, allDone } = await openOne(t, { behaviour: slowly });
  const with_ = (secret: string | string[]): AppSettings => callbackApp(app.sdkAppId, { url: backend.url, secret });
  const key = newKey();
  await tell(key, range(60));
  await until(() => backend.received.length >= 5);
  setApps([with_([newSecret, callbackSecret])]);
  const both = backend.received.length + 1;
  await until(() => backend.received.length >= both + 5);
  setApps([with_(newSecret)]);
  const one = backend.received.length + 1;
  await allDone();
  t.strictSame(numbersOf(backend.received), range(60));
  const verifies = ({ raw, headers }: Received, secret: string): boolean => {
    try {
      new Webhook(secret).verify(raw, headers as Record<string, string>);
      return true;
    } catch {
      return false;
    }
  };
  for (const [index, received] of backend.received.entries()) {
    const count = String(received.headers['webhook-signature']).split(' ').length;
    if (index < both - 1) t.ok(count === 1 && verifies(received, callbackSecret));
    else if (index >= both && index < one - 1) {
      t.ok(count === 2 && verifies(received, callbackSecret) && verifies(received, newSecret));
    } else if (index >= one) t.ok(count === 1 && verifies(received, newSecret) && !verifies(received, callbackSecret));
  }
});

t.test(
  '[K7] commands of one conversation to different URLs keep their own order, and do not wait for one another',
  async (t) => {
    const elsewhere = await openRecordingBackend(t);
    let isDown = true;
    const { backend, tell, allDone } = await openOne(t, {
      behaviour: () => (isDown ? 500 : 200),
      settings: { commands: [{ command: full, url: elsewhere.url }] },
    });
    const key = newKey();
    for (let n = 0; n < 30; n++) await tell(key, [n], { command: n % 2 === 0 ? group : full });
    await until(() => elsewhere.received.length === 15);
    t.ok(backend.received.every(({ body }) => body.number === 0));
    isDown = false;
    await allDone();
    t.strictSame(
      numbersOf(elsewhere.received),
      range(15).map((n) => n * 2 + 1),
    );
    t.strictSame(
      [...new Set(numbersOf(backend.received))],
      range(15).map((n) => n * 2),
    );
  },
);

// ── Several processes ──

t.test('[K6] two relays share the work: nothing is told twice, everything in order', async (t) => {
  const backend = await openRecordingBackend(t);
  const app = callbackApp(nextApp++, { url: backend.url });
  const options = { isAlone: false, concurrency: 8, tuning: lazy };
  const relays = [
    await openCallbacks(t, database, [app], options),
    await openCallbacks(t, database, [app], options),
  ] as const;
  // One that takes messages, and tells none of them.
  const { callbacks } = await openCallbacks(t, database, [app], { ...options, relay: false });
  t.strictSame([callbacks.circuits(), callbacks.backlog()], [[], []]);
  const keys = range(40).map(newKey);
  for (let round = 0; round < 10; round++) {
    await writeEvents(
      database,
      keys.flatMap((key, lane) =>
        [0, 1].map((n) => ({ app: app.sdkAppId, key, body: { fields: { lane, number: round * 2 + n } } })),
      ),
    );
    for (const key of keys) callbacks.written(app.sdkAppId, key, group);
  }
  await until(() => backend.received.length >= 800, 30_000);
  await until(async () => (await entriesOf(database, app.sdkAppId)).every(({ outcome }) => outcome === 'delivered'));
  t.equal(backend.received.length, 800);
  for (const some of Map.groupBy(backend.received, ({ body }) => body.lane).values())
    t.strictSame(numbersOf(some), range(20));
  const shares = await Promise.all(
    relays.map(({ metrics }) => metricOf(metrics, 'qalgate_callbacks_after_total', { outcome: 'delivered' })),
  );
  t.ok(
    shares.every((share) => share > 0),
    `shares: ${shares}`,
  );
});
