import { setImmediate as turn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { createMetrics } from '../../src/observe/index.ts';
import type { Outcome, Sendable, Sender } from '../../src/push/index.ts';
import { createBrake } from '../../src/push/queue/brake.ts';
import type { Item, Items, Mark, MessageRow } from '../../src/push/queue/items.ts';
import type { Lane } from '../../src/push/queue/lane.ts';
import { createLanes } from '../../src/push/queue/lanes.ts';
import { createLaneRun } from '../../src/push/queue/run.ts';
import { completeApp } from '../support/app-settings.ts';
import { makeTestLogger, until } from '../support/database.ts';
import { imAppId } from '../support/im.ts';

t.setTimeout(30_000);

const lane: Lane = { sdkAppId: imAppId as Lane['sdkAppId'], channel: 'fcm' };
/** 2027-01-15T08:00:00Z, a full hour. */
const nowMs = 1_800_000_000_000;
const ok: Outcome = { kind: 'ok', id: 'x', status: 200 };

interface Waiting {
  id: number;
  device: number;
  dueMs?: number;
  done?: Mark['outcome'];
  more?: Partial<Item>;
  deviceMore?: object;
}

/** A lane on items in memory, and a service that answers when it is told to. */
function openLane({ room = 1_000 }: { room?: number } = {}) {
  const app = completeApp({
    sdkAppId: imAppId,
    secret: 'a secret of sixteen or more',
    push: { fcm: { serviceAccount: '{}', perMin: 1_000 } },
  });
  const rows: Waiting[] = [];
  const sent: { push: Sendable; answer(outcome: Outcome): void }[] = [];
  const marks: Mark[] = [];
  const halts: string[] = [];
  const looks: number[][] = [];
  const state = {
    nowMs,
    isLost: false,
    most: 0,
    isAway: false,
    /** Of devices, after all that is counted. */
    badges: [] as [device: number, badge: number][],
    auto: undefined as ((push: Sendable) => Outcome | undefined) | undefined,
  };
  const makeSender = (): Sender => ({
    room: () => room - sent.length,
    send: (push) =>
      new Promise((resolve) => {
        const outcome = state.auto?.(push);
        if (outcome !== undefined) return resolve(outcome);
        const one = {
          push,
          answer(answer: Outcome) {
            sent.splice(sent.indexOf(one), 1);
            resolve(answer);
          },
        };
        sent.push(one);
        state.most = Math.max(state.most, sent.length);
      }),
    figures: () => ({ connections: 1, inFlight: 0, trouble: undefined }),
    close: async () => {},
  });
  let sender: Sender | undefined = makeSender();
  const itemOf = ({ id, device, dueMs = 0, more, deviceMore }: Waiting): Item =>
    ({
      id,
      day: 1,
      kind: 1,
      conversationId: 1,
      seq: id,
      messageDay: 1,
      dueMs,
      deadlineMs: state.nowMs + 1_000_000,
      attempts: 0,
      isCounted: false,
      createdMs: state.nowMs,
      is_member: true,
      msg_flag: null,
      read_seq: 0,
      delivered_seq: 0,
      device: {
        device_id: device,
        channel: 'fcm',
        token: `token-${device}`,
        environment: 'production',
        badge: 0,
        generation: 1,
        login: 1,
        has_login: true,
        last_there_ms: state.nowMs,
        is_on: true,
        not_before_ms: 0,
        ...deviceMore,
      },
      ...more,
    }) as unknown as Item;
  const isSale = ({ more }: Waiting) => more?.campaignId !== undefined;
  const items: Omit<Items, 'dueLanes'> = {
    async due(_, { limit, campaigns, quietUntilMs }, underWay, full) {
      const found = rows.filter(
        ({ id, device, dueMs = 0, done }) =>
          done === undefined && dueMs <= state.nowMs && !underWay.includes(id) && !full.includes(device),
      );
      const sales = quietUntilMs === undefined ? found.filter(isSale).slice(0, campaigns) : [];
      const page = [...found.filter((row) => !isSale(row)), ...sales].slice(0, limit);
      looks.push(page.map(({ id }) => id));
      return page.map(itemOf);
    },
    async nextDueMs(_, quietUntilMs = 0) {
      const waiting = rows
        .filter(({ done }) => done === undefined)
        .map((row) => Math.max(row.dueMs ?? 0, isSale(row) ? quietUntilMs : 0));
      return waiting.length === 0 ? undefined : Math.min(...waiting);
    },
    async messages(page) {
      return new Map(
        page.map(({ seq }) => [
          `1 ${seq}`,
          {
            conversation_id: 1,
            seq,
            kind: 1,
            recall_no: 0,
            stored_ms: state.nowMs,
            body: JSON.stringify([{ MsgType: 'TIMTextElem', MsgContent: { Text: `no ${seq}` } }]),
            push: null,
            extra: null,
            sender: 'alice',
            nick: null,
            group_id: null,
            group_name: null,
          } satisfies MessageRow,
        ]),
      );
    },
    count: async () => new Map(state.badges),
    async mark(mark) {
      await turn();
      if (state.isAway) throw new Error('the database is away');
      marks.push(mark);
      const row = rows.find(({ id }) => id === mark.id);
      if (row === undefined) return;
      if (mark.outcome !== undefined) row.done = mark.outcome;
      if (mark.dueMs !== undefined) row.dueMs = mark.dueMs;
    },
  };
  const brake = createBrake();
  const { run } = createLaneRun({
    items,
    apps: { get: () => app },
    senderOf: () => sender,
    brakeOf: () => brake,
    async halt(_, reason) {
      halts.push(reason);
    },
    skipped: { inc() {} },
    clock: () => state.nowMs,
    random: () => 1,
    logger: makeTestLogger().logger,
    metrics: createMetrics(),
  });
  return {
    rows,
    sent,
    marks,
    halts,
    looks,
    state,
    brake,
    /** New credentials. */
    renew() {
      sender = makeSender();
    },
    run: (woken: () => Promise<void> = () => new Promise(() => {})) => run(lane, () => state.isLost, woken),
  };
}

const wait: Outcome = { kind: 'retry', reason: 'busy', status: 429, afterMs: 60_000, scope: 'channel', isSure: true };
const halt: Outcome = { kind: 'halt', reason: 'InvalidProviderToken', status: 403 };
const settle = async () => {
  for (let i = 0; i < 20; i++) await turn();
};

for (const [what, end] of Object.entries({
  'the lock is lost': (world: ReturnType<typeof openLane>) => {
    world.state.isLost = true;
    return ok;
  },
  'its service wants no more': () => wait,
  'its service says what has to be mended': () => halt,
})) {
  t.test(`what waits for its turn behind another of its device is not sent once ${what}`, async (t) => {
    const world = openLane();
    for (const id of [1, 2, 3]) world.rows.push({ id, device: 1 });
    const run = world.run();
    await until(() => world.sent.length === 1);
    world.sent[0]?.answer(end(world));
    await run;
    t.equal(world.sent.length, 0);
    t.same(
      world.marks.map(({ id }) => id),
      [1],
    );
    t.match(world.rows.slice(1), [{ done: undefined, dueMs: undefined }, { done: undefined }], 'it is due as before');
  });
}

t.test('a service that wants no more for a while is left alone, also by the next run', async (t) => {
  const world = openLane();
  world.rows.push({ id: 1, device: 1 }, { id: 2, device: 2 });
  world.state.auto = ({ token }) => (token === 'token-1' ? wait : ok);
  t.equal(await world.run(), nowMs + 60_000);
  world.rows.push({ id: 3, device: 3 });
  world.state.nowMs += 59_999;
  t.equal(await world.run(), nowMs + 60_000);
  t.equal(world.rows[2]?.done, undefined);
  world.state.nowMs += 1;
  world.state.auto = () => ok;
  t.equal(await world.run(), undefined);
  t.same(
    world.rows.map(({ done }) => done),
    ['accepted', 'accepted', 'accepted'],
  );
});

t.test('a device with thousands that wait holds up nobody else', async (t) => {
  const world = openLane();
  for (let id = 1; id <= 3_000; id++) world.rows.push({ id, device: Math.ceil(id / 1_000) });
  world.rows.push({ id: 3_001, device: 9 });
  const run = world.run();
  await until(() => world.sent.some(({ push }) => push.token === 'token-9'));
  t.equal(world.sent.length, 4, 'one of each device is under way');
  world.state.auto = () => ok;
  for (const one of world.sent.slice()) one.answer(ok);
  await run;
  t.ok(world.rows.every(({ done }) => done === 'accepted'));
  const order = world.marks.filter(({ id }) => id <= 1_000).map(({ id }) => id);
  t.same(
    order,
    order.toSorted((a, b) => a - b),
    'those of a device keep their order',
  );
});

t.test('[S3] of several that go to a device at once each shows what was unread by then', async (t) => {
  const world = openLane();
  for (const id of [1, 2, 3]) world.rows.push({ id, device: 1, ...(id === 2 ? { more: { isCounted: true } } : {}) });
  world.state.badges = [[1, 7]];
  const shown: unknown[] = [];
  world.state.auto = ({ body }) => {
    shown.push(JSON.parse(body).message.android.notification.notification_count);
    return ok;
  };
  await world.run();
  t.same(shown, [6, 6, 7], 'the second was counted by the attempt before');
});

t.test('few places: whoever is slow holds up nobody who comes after', async (t) => {
  const world = openLane({ room: 10 });
  for (let id = 1; id <= 50; id++) world.rows.push({ id, device: id });
  world.state.auto = ({ token }) => (token === 'token-3' ? undefined : ok);
  const run = world.run();
  await until(() => world.rows.filter(({ done }) => done !== undefined).length === 49);
  t.equal(world.sent.length, 1);
  world.sent[0]?.answer(ok);
  await run;
});

t.test('no more are sent at once than their service takes, also where devices have many', async (t) => {
  const world = openLane({ room: 10 });
  for (let id = 1; id <= 60; id++) world.rows.push({ id, device: id % 20 });
  const run = world.run();
  while (world.rows.some(({ done }) => done === undefined)) {
    await turn();
    world.sent[0]?.answer(ok);
  }
  await run;
  t.equal(world.state.most, 10);
});

t.test('[B5] half of the places are a campaign’s at most: people’s messages find one at once', async (t) => {
  const world = openLane({ room: 10 });
  world.state.nowMs += 2 * 60_000;
  for (let id = 1; id <= 40; id++) world.rows.push({ id, device: id, more: { campaignId: 7 } });
  let wake = () => {};
  const run = world.run(
    () =>
      new Promise((resolve) => {
        wake = resolve;
      }),
  );
  await until(() => world.sent.length === 5);
  await settle();
  world.rows.push({ id: 41, device: 41 });
  wake();
  await until(() => world.sent.some(({ push }) => push.token === 'token-41'));
  t.equal(world.sent.length, 6, 'nothing of the campaign has ended, and no more of it goes');
  world.sent[0]?.answer(ok);
  world.sent[0]?.answer(ok);
  await settle();
  t.ok(
    world.sent.some(({ push }) => push.token === 'token-6'),
    'it goes on as soon as some of its places are free',
  );
  world.state.auto = () => ok;
  for (const one of world.sent.slice()) one.answer(ok);
  await run;
  t.ok(world.rows.every(({ done }) => done === 'accepted'));
});

t.test(
  'at a full hour campaigns wait until it is over for two minutes, people’s messages go (PUSH §2.3)',
  async (t) => {
    const world = openLane();
    world.rows.push({ id: 1, device: 1, more: { campaignId: 7 } }, { id: 2, device: 2 });
    world.state.auto = () => ok;
    const overMs = Date.parse('2027-01-15T08:02:00Z');
    t.equal(await world.run(), overMs);
    t.match(world.rows, [{ done: undefined }, { done: 'accepted' }]);
    world.state.nowMs = overMs;
    t.equal(await world.run(), undefined);
    t.match(world.rows, [{ done: 'accepted' }, {}]);
  },
);

t.test('a service that takes nothing at the moment is asked again a second later', async (t) => {
  const world = openLane({ room: 0 });
  world.rows.push({ id: 1, device: 1 });
  t.equal(await world.run(), nowMs + 1_000);
  t.strictSame(world.looks, []);
});

t.test('a database that goes away ends the run: what is under way is waited for, nothing more is sent', async (t) => {
  const world = openLane();
  world.rows.push({ id: 1, device: 1 }, { id: 2, device: 1 }, { id: 3, device: 3 });
  const run = world.run();
  await until(() => world.sent.length === 2);
  world.state.isAway = true;
  world.sent[0]?.answer(ok);
  await settle();
  t.match(
    world.sent.map(({ push }) => push.token),
    ['token-3'],
  );
  world.sent[0]?.answer(ok);
  await t.rejects(run, { message: 'the database is away' });
  t.equal(world.sent.length, 0);
});

t.test('what was mended is tried at once, however long its service wanted to be left alone', async (t) => {
  const world = openLane();
  world.rows.push({ id: 1, device: 1 });
  world.state.auto = () => wait;
  t.equal(await world.run(), nowMs + 60_000);
  world.brake.reset();
  world.state.auto = () => ok;
  world.rows.push({ id: 2, device: 2 });
  t.equal(await world.run(), nowMs + 60_000, 'but for what has its own time');
  t.match(world.rows, [{ done: undefined }, { done: 'accepted' }]);
});

t.test('refusals of credentials that have been replaced meanwhile stop nothing', async (t) => {
  const world = openLane();
  world.rows.push({ id: 1, device: 1 }, { id: 2, device: 2 });
  const run = world.run();
  await until(() => world.sent.length === 2);
  world.sent[0]?.answer(halt);
  await settle();
  world.renew();
  world.sent[0]?.answer(halt);
  t.equal(await run, nowMs, 'it goes on at once');
  t.strictSame(world.halts, []);
  world.state.auto = () => halt;
  t.equal(await world.run(), undefined);
  t.strictSame(world.halts, ['InvalidProviderToken']);
});

/** Lanes whose runs are what the test says. */
function openLanes(
  t: Test,
  run: Parameters<typeof createLanes>[0]['run'],
  options: Partial<Parameters<typeof createLanes>[1]> = {},
) {
  const later: { lane: Lane; delayMs: number }[] = [];
  const lanes = createLanes(
    {
      async callLater(lane, delayMs) {
        later.push({ lane, delayMs });
      },
      locks: { take: async () => ({ isLost: () => false, release() {} }) },
      run,
      look: async () => [],
      clock: () => nowMs,
      logger: makeTestLogger().logger,
      metrics: createMetrics(),
    },
    { concurrency: 1, ...options },
  );
  t.teardown(() => lanes.close());
  return { lanes, later };
}

t.test('a lane that was woken while one push is slow looks once, not over and over', async (t) => {
  const world = openLane();
  world.rows.push({ id: 1, device: 1 });
  const { lanes } = openLanes(t, (_, isLost, woken) => {
    world.state.isLost = isLost();
    return world.run(woken);
  });
  lanes.wake(lane);
  await until(() => world.sent.length === 1);
  await settle();
  const before = world.looks.length;
  world.rows.push({ id: 2, device: 2 });
  lanes.wake(lane);
  await until(() => world.sent.length === 2);
  await settle();
  t.ok(world.looks.length - before <= 4, `${world.looks.length - before} looks`);
  for (const one of world.sent.slice()) one.answer(ok);
  await until(() => world.rows.every(({ done }) => done === 'accepted'));
});

t.test('a lane that always has something to send makes room for one that waits for its place', async (t) => {
  const ran: string[] = [];
  const { lanes, later } = openLanes(
    t,
    async ({ channel }, isLost) => {
      ran.push(channel);
      if (channel === 'apns') return undefined;
      while (!isLost()) await new Promise((resolve) => setTimeout(resolve, 5));
      return undefined;
    },
    { turnMs: 50 },
  );
  lanes.wake(lane);
  await until(() => ran.length === 1);
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.strictSame(later, [], 'where nobody waits it goes on');
  lanes.wake({ ...lane, channel: 'apns' });
  await until(() => ran.includes('apns'));
  t.match(later, [{ lane, delayMs: 0 }], 'and comes again');
});

t.test('a lane that is woken as its run ends runs again', async (t) => {
  let runs = 0;
  const { lanes, later } = openLanes(t, async () => {
    runs += 1;
    if (runs === 1) lanes.wake(lane);
    return undefined;
  });
  lanes.wake(lane);
  await until(() => runs === 2);
  await settle();
  t.equal(runs, 2);
  t.strictSame(later, []);
});

t.test('what is not sent now, and what becomes of it', async (t) => {
  const world = openLane();
  const linked = { is_linked: true, is_background: false };
  const badge = { kind: 2, conversationId: undefined, seq: 0 } as const;
  const cases: [Pick<Waiting, 'more' | 'deviceMore'>, Partial<Mark>][] = [
    [{ more: { campaignState: 'cancelled' } }, { outcome: 'dropped', reason: 'cancelled' }],
    [{ more: { campaignState: 'paused' } }, { outcome: undefined, dueMs: nowMs + 60_000 }],
    [{ deviceMore: { not_before_ms: nowMs + 7 } }, { outcome: undefined, dueMs: nowMs + 7 }],
    [{ more: { deadlineMs: nowMs, reason: 'busy' } }, { outcome: 'expired', reason: 'busy' }],
    [{ more: { device: undefined } }, { outcome: 'skipped', reason: 'no-device' }],
    [
      { more: badge, deviceMore: linked },
      { outcome: 'skipped', reason: 'delivered' },
    ],
    [{ more: { ...badge, device: undefined } }, { outcome: 'skipped', reason: 'no-device' }],
    [
      { more: badge, deviceMore: { has_login: false } },
      { outcome: 'skipped', reason: 'logged-out' },
    ],
    [{ deviceMore: linked }, { outcome: undefined, dueMs: nowMs + 10_000 }],
    // Another terminal has it; it never waited for this one.
    [{ more: { delivered_seq: 99 } }, { outcome: 'accepted' }],
  ];
  for (const [index, [more]] of cases.entries()) world.rows.push({ id: index + 1, device: index + 1, ...more });
  world.state.auto = () => ok;
  await world.run();
  t.match(
    world.marks.toSorted((a, b) => a.id - b.id),
    cases.map(([, mark]) => mark),
  );
});
