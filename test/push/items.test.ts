import t from 'tap';
import { createMetrics } from '../../src/observe/index.ts';
import { createPauses } from '../../src/push/index.ts';
import { createItems, type Item, queueSettings, type Wanted } from '../../src/push/queue/items.ts';
import type { Lane } from '../../src/push/queue/lane.ts';
import { quietUntilMs } from '../../src/push/queue/quiet-time.ts';
import { createUpkeep } from '../../src/push/queue/upkeep.ts';
import { makeTestLogger, openTestDatabase, until } from '../support/database.ts';
import { metricOf } from '../support/metrics.ts';

/** The table in which pushes wait, as those who send see it. */
t.setTimeout(60_000);
const { db } = await openTestDatabase(t);
const { pool } = db;
const own = db.another({ max: 4, statementMs: 10_000, settings: queueSettings });
t.teardown(() => own.close());
const nowMs = Date.now();
const clock = () => nowMs;
const items = createItems({ pool: own.pool, clock });
const pauses = createPauses({ db, clock });

let made = 0;
/** An app of its own. */
const newApp = () => (1_500_000_000 + ++made) as Lane['sdkAppId'];
const laneOf = (channel: Lane['channel'], sdkAppId = newApp()): Lane => ({ sdkAppId, channel });

interface Waiting {
  ageMs?: number;
  dueMs?: number;
  deadlineMs?: number;
  priority?: number;
  device?: number;
}
async function add(
  { sdkAppId, channel }: Lane,
  { ageMs = 0, dueMs = nowMs - ageMs, deadlineMs = nowMs + 60_000, priority = 0, device }: Waiting = {},
): Promise<{ id: number; day: number }> {
  const day = Math.floor(nowMs / 86_400_000);
  const { rows } = await pool.query<{ id: number }>(
    `insert into push_item (day, sdk_app_id, channel, kind, priority, device_id, due_ms, deadline_ms, created_ms)
     values ($1, $2, $3, 1, $4, $5, $6, $7, $8) returning id`,
    [day, sdkAppId, channel, priority, device ?? null, Math.round(dueMs), deadlineMs, nowMs - ageMs],
  );
  return { id: rows[0]?.id ?? 0, day };
}
async function device(): Promise<{ id: number; token: string }> {
  const token = `token-${++made}`;
  const { rows } = await pool.query<{ id: number }>(
    `with a as (insert into account (sdk_app_id, identifier, created_ms) values ($1, $2, 0) returning id)
     insert into push_device (sdk_app_id, account_id, platform, generation, channel, token, registered_ms, seen_ms)
     select $1, id, 'iOS', 1, 'apns', $2, 1, $3 from a returning id`,
    [newApp(), token, nowMs],
  );
  return { id: rows[0]?.id ?? 0, token };
}
const read = async ({ id }: { id: number }) =>
  (await pool.query('select * from push_item where id = $1', [id])).rows[0] as Record<string, unknown>;
const idsOf = (found: readonly Pick<Item, 'id'>[]) => found.map(({ id }) => id);
const wanted = (limit: number, more: Partial<Wanted> = {}): Wanted => ({
  limit,
  campaigns: limit,
  quietUntilMs: undefined,
  ...more,
});
const due = async (lane: Lane, limit = 100, more: Partial<Wanted> = {}) =>
  idsOf(await items.due(lane, wanted(limit, more), [], []));

t.test('[B5] what is due goes by age, whether it is tried again or not; campaigns come after all of it', async (t) => {
  const lane = laneOf('apns');
  const sale = await add(lane, { ageMs: 90_000, priority: 5 });
  const fresh = await add(lane, { ageMs: 10_000 });
  const again = await add(lane, { ageMs: 80_000, dueMs: nowMs - 20_000 });
  const old = await add(lane, { ageMs: 30_000 });
  const late = await add(lane, { ageMs: 90_000, dueMs: nowMs });
  await add(lane, { ageMs: 90_000, dueMs: nowMs + 1 });
  t.same(await due(lane), idsOf([old, again, fresh, late, sale]));
  t.same(await due(lane, 2), idsOf([old, again]));
  t.same(
    idsOf(await items.due(lane, wanted(100), [old.id], [])),
    idsOf([again, fresh, late, sale]),
    'without what is under way',
  );
});

t.test('[B5] campaigns have no more places than they may, and leave quiet times alone', async (t) => {
  const lane = laneOf('fcm');
  const hello = await add(lane);
  const minuteMs = 60_000;
  const sales = [
    await add(lane, { ageMs: 3, priority: 5, deadlineMs: nowMs + 60 * minuteMs }),
    await add(lane, { ageMs: 2, priority: 5, deadlineMs: nowMs + minuteMs }),
    await add(lane, { ageMs: 1, priority: 5, deadlineMs: nowMs + 3 * minuteMs }),
  ];
  const [long, short] = sales;
  t.same(await due(lane), idsOf([hello, ...sales]));
  t.same(await due(lane, 100, { campaigns: 1 }), idsOf([hello, ...sales.slice(0, 1)]));
  t.same(await due(lane, 100, { campaigns: 0 }), [hello.id]);
  t.same(await due(lane, 2, { campaigns: 2 }), idsOf([hello, ...sales.slice(0, 1)]));
  t.same(
    await due(lane, 100, { quietUntilMs: nowMs + 2 * minuteMs }),
    idsOf([hello, short as never]),
    'what cannot wait goes',
  );
  const quiet = nowMs + 2 * minuteMs;
  t.equal(await items.nextDueMs(lane, quiet), nowMs);
  await pool.query('update push_item set done_ms = 1 where id = any ($1)', [[hello.id, short?.id]]);
  t.equal(await items.nextDueMs(lane, quiet), quiet, 'campaigns go on when it is over');
  t.equal(await items.nextDueMs(lane, undefined), nowMs - 3);
  t.same(await due(lane, 100, { quietUntilMs: quiet }), []);
  t.same(await due(lane, 1), [long?.id]);
});

t.test('quiet times are two minutes round the quarters of an hour, and of FCM alone (PUSH §2.3)', async (t) => {
  const [fcm, apns] = [laneOf('fcm'), laneOf('apns')];
  const at = (time: string) => Date.parse(`2026-11-26T${time}Z`);
  for (const [from, time, until] of [
    ['08:58:00.000', '09:00:00.000', '09:02:00.000'],
    ['09:13:00.000', '09:15:00.000', '09:17:00.000'],
    ['09:28:00.000', '09:29:59.999', '09:32:00.000'],
    ['09:43:00.000', '09:46:59.999', '09:47:00.000'],
    ['23:58:00.000', '23:59:00.000', '24:00:00.000'],
  ] as const) {
    const end = until === '24:00:00.000' ? at('23:58:00.000') + 240_000 : at(until);
    for (const one of [from, time]) t.equal(quietUntilMs(fcm, at(one)), end, one);
    for (const one of [at(from) - 1, end]) t.equal(quietUntilMs(fcm, one), undefined);
    t.equal(quietUntilMs(apns, at(time)), undefined);
  }
});

t.test('[O2] a pause holds its service alone, one of the app both; other apps go on', async (t) => {
  const [apns, other] = [laneOf('apns'), laneOf('apns')];
  const fcm = laneOf('fcm', apns.sdkAppId);
  const lanes = [apns, fcm, other];
  for (const lane of lanes) await add(lane);
  const going = async (): Promise<Lane[]> => {
    const found = await items.dueLanes(lanes);
    for (const lane of lanes) {
      const goes = found.includes(lane);
      t.equal((await due(lane)).length, goes ? 1 : 0);
      t.equal(await items.nextDueMs(lane, undefined), goes ? nowMs : undefined);
    }
    return found;
  };
  const by = { reason: 'operator', actor: 'oncall' };
  const { sdkAppId } = apns;
  t.same(await going(), lanes);
  await pauses.pause({ sdkAppId, channel: 'apns', ...by });
  t.same(await going(), [fcm, other]);
  await pauses.pause({ sdkAppId, channel: undefined, ...by });
  t.same(await going(), [other]);
  t.equal(await pauses.resume(sdkAppId, 'apns'), 1);
  t.same(await going(), [other], 'that of the app holds both as before');
  t.equal(await pauses.resume(sdkAppId), 1);
  t.same(await going(), lanes);
});

t.test("[O2] an operator's pause takes the place of a service's own, which never ends or changes it", async (t) => {
  const lane = laneOf('fcm');
  const { sdkAppId } = lane;
  const actors = async () => (await pauses.list(sdkAppId)).map(({ actor, reason }) => [actor, reason]);
  const byService = () => pauses.pause({ ...lane, reason: 'PERMISSION_DENIED', actor: 'service' });
  await byService();
  await pauses.pause({ ...lane, reason: 'THIRD_PARTY_AUTH_ERROR', actor: 'service' });
  t.strictSame(await actors(), [['service', 'PERMISSION_DENIED']], 'what it said first');
  await pauses.mended({ ...lane, channel: 'apns' });
  t.equal((await actors()).length, 1, 'of the other service');
  await pauses.mended(lane);
  t.strictSame(await actors(), [], 'mended');

  await byService();
  await pauses.pause({ ...lane, reason: 'operator', actor: 'oncall' });
  t.strictSame(await actors(), [['oncall', 'operator']]);
  await byService();
  await pauses.pause({ ...lane, reason: 'operator', actor: 'another' });
  await pauses.mended(lane);
  await pauses.mendedAll();
  t.strictSame(await actors(), [['oncall', 'operator']]);
  await pauses.resume(sdkAppId);
  await byService();
  await pauses.mendedAll();
  t.strictSame(await actors(), [], 'who starts tries all that services had stopped');
});

t.test('[S7] what has ended stays as it ended, whatever is found out later', async (t) => {
  const lane = laneOf('apns');
  const item = await add(lane);
  const attempt = { status: 200, tookMs: 3 };
  await items.mark({ ...item, outcome: 'accepted', reason: undefined, attempt: { ...attempt, id: 'its name' } });
  const before = await read(item);
  t.match(before, { outcome: 'accepted', attempts: 1, provider_id: 'its name', done_ms: nowMs });
  await items.mark({ ...item, outcome: 'dead', reason: 'late', attempt: { status: 400, tookMs: 9 } });
  await items.mark({ ...item, outcome: undefined, reason: 'late', dueMs: nowMs });
  t.strictSame(await read(item), before);
});

t.test('what is to be tried without a time of its own keeps its place', async (t) => {
  const lane = laneOf('apns');
  const item = await add(lane, { ageMs: 5_000 });
  await items.mark({ ...item, outcome: undefined, reason: 'InvalidProviderToken' });
  t.match(await read(item), { due_ms: nowMs - 5_000, reason: 'InvalidProviderToken', attempts: 0, done_ms: null });
});

t.test(
  '[S7] what became of a push is not lost where PostgreSQL takes its mark back for the sake of another',
  async (t) => {
    const lane = laneOf('apns');
    const phone = await device();
    const item = await add(lane, { device: phone.id });
    const other = await pool.connect();
    try {
      // In the wrong order, and with more patience: so it is the mark that is taken back.
      await other.query("set deadlock_timeout = '20s'");
      await other.query('begin');
      await other.query('select 1 from push_item where id = $1 for update', [item.id]);
      const marked = items.mark({
        ...item,
        outcome: 'accepted',
        reason: undefined,
        attempt: { status: 200, tookMs: 1 },
        device: { ...phone, do: 'rest', untilMs: 7 },
      });
      await until(async () => {
        const { rows } = await pool.query(
          "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%update push_item%'",
        );
        return rows.length > 0;
      });
      await other.query('update push_device set badge = badge where id = $1', [phone.id]);
      await other.query('commit');
      await marked;
    } finally {
      await other.query('rollback; reset deadlock_timeout').catch(() => {});
      other.release();
    }
    t.match(await read(item), { outcome: 'accepted', attempts: 1 });
    const { rows } = await pool.query('select not_before_ms from push_device where id = $1', [phone.id]);
    t.strictSame(rows, [{ not_before_ms: 7 }]);
  },
);

t.test('what waits has a bound: campaigns’ first, then the oldest; what is late, or of no app, ends too', async (t) => {
  const [full, paused, gone] = [laneOf('apns'), laneOf('fcm'), laneOf('apns')];
  const metrics = createMetrics();
  const upkeep = createUpkeep(
    {
      pool: own.pool,
      apps: { list: () => [full, paused].map(({ sdkAppId }) => ({ sdkAppId }) as never) },
      pauses: async () => 1,
      clock,
      logger: makeTestLogger().logger,
      metrics,
    },
    { everyMs: 10_000_000, bound: 2 },
  );
  t.teardown(() => upkeep.close());
  await upkeep.run();
  const [newest, oldest, middle] = [
    await add(full, { ageMs: 1_000 }),
    await add(full, { ageMs: 3_000 }),
    await add(full, { ageMs: 2_000 }),
  ];
  const sale = await add(full, { ageMs: 500, priority: 5 });
  const [late, soon] = [await add(paused, { deadlineMs: nowMs - 1 }), await add(paused)];
  const nobodys = await add(gone);
  await pauses.pause({ ...paused, reason: 'operator', actor: 'oncall' });
  await upkeep.run();
  const ends = async (...some: { id: number }[]) =>
    (await Promise.all(some.map(read))).map(({ outcome, reason }) => [outcome, reason]);
  const waits = [null, null];
  t.strictSame(await ends(newest, oldest, middle, sale), [
    waits,
    ['dropped', 'backlog'],
    waits,
    ['dropped', 'backlog'],
  ]);
  t.strictSame(await ends(late, soon, nobodys), [['expired', 'expired'], waits, ['dropped', 'no-app']]);
  t.equal(await metricOf(metrics, 'qalgate_push_buried_total', { reason: 'backlog' }), 2);
});
