import t from 'tap';
import { createKeyUse, createTraces, type Trace } from '../../src/callbacks/index.ts';
import { createMetrics } from '../../src/observe/index.ts';
import { openTestDatabase, until } from '../support/database.ts';

const { db, logger, events } = await openTestDatabase(t);
const app = 1_400_000_000;

const trace = (more: Partial<Trace> = {}): Trace => ({
  sdkAppId: app,
  atMs: 1_700_000_000_000,
  command: 'C2C.CallbackBeforeSendMsg',
  outcome: 'timeout',
  ...more,
});
async function rows(sdkAppId = app) {
  const { rows } = await db.pool.query('select * from callback_trace where sdk_app_id = $1 order by id', [sdkAppId]);
  return rows;
}
const lost = async (metrics: ReturnType<typeof createMetrics>) =>
  (await metrics.registry.getSingleMetric('qalgate_callbacks_traces_lost_total')?.get())?.values[0]?.value;

t.beforeEach(() => db.pool.query('delete from callback_trace'));

t.test('[O3] traces are written down whole, in order', async (t) => {
  const traces = createTraces({ db, logger, metrics: createMetrics() });
  traces.write(
    trace({
      detail: 'no answer within 2000 ms',
      tookMs: 2_000.4,
      url: 'https://backend.example.com/',
      from: 'alice',
      to: 'bob',
      groupId: '@TGS#1',
      messageKey: '1_2_1700000000',
      webhookId: 'cb_1',
    }),
  );
  for (let i = 0; i < 1_200; i++) traces.write(trace({ from: `a${i}` }));
  await until(async () => (await rows()).length === 1_201);
  const [first, ...others] = await rows();
  t.match(first, {
    at_ms: 1_700_000_000_000,
    command: 'C2C.CallbackBeforeSendMsg',
    outcome: 'timeout',
    detail: 'no answer within 2000 ms',
    took_ms: 2_000,
    url: 'https://backend.example.com/',
    from_account: 'alice',
    to_account: 'bob',
    group_id: '@TGS#1',
    message_key: '1_2_1700000000',
    webhook_id: 'cb_1',
  });
  t.strictSame(
    others.map((row) => row.from_account),
    Array.from({ length: 1_200 }, (_, i) => `a${i}`),
  );
  await traces.close();
});

t.test('the newest of each app are kept', async (t) => {
  const traces = createTraces({ db, logger, metrics: createMetrics() }, { flushMs: 1, kept: 100 });
  for (let i = 0; i < 500; i++) traces.write(trace({ from: `a${i}` }));
  for (let i = 0; i < 50; i++) traces.write(trace({ sdkAppId: app + 1, from: `b${i}` }));
  await until(async () => (await rows(app + 1)).length === 50);
  await until(async () => (await rows()).length === 100);
  for (let i = 500; i < 509; i++) traces.write(trace({ from: `a${i}` }));
  await until(async () => (await rows()).length === 109);
  for (let i = 509; i < 520; i++) traces.write(trace({ from: `a${i}` }));
  await until(async () => (await rows()).length === 100);
  t.equal((await rows())[0]?.from_account, 'a420');
  t.equal((await rows(app + 1)).length, 50);
  await traces.close();
});

t.test('while the database is away they wait; what does not fit is counted, and nothing throws', async (t) => {
  const metrics = createMetrics();
  const traces = createTraces({ db, logger, metrics }, { flushMs: 1, retryMs: 5, maxWaiting: 20 });
  await db.pool.query('alter table callback_trace rename to away');
  const back = () => db.pool.query('alter table if exists away rename to callback_trace');
  t.teardown(back);
  for (let i = 0; i < 25; i++) traces.write(trace({ from: `a${i}` }));
  await until(() => events.includes('callbacks.traces.write.failed'));
  t.equal(await lost(metrics), 5);
  t.match(await metrics.registry.metrics(), /qalgate_callbacks_traces_waiting 20/);
  await back();
  await until(async () => (await rows()).length === 20);
  await traces.close();
});

t.test('text that no table takes is made right, and what still is none holds nobody up', async (t) => {
  const metrics = createMetrics();
  const traces = createTraces({ db, logger, metrics }, { flushMs: 1 });
  traces.write(trace({ from: 'a\0b\ud800', detail: 'x'.repeat(1_000) }));
  await until(async () => (await rows()).length === 1);
  t.match((await rows())[0], { from_account: 'a\ufffdb\ufffd', detail: /^x{500}$/ });
  traces.write(trace({ atMs: 1e19 }));
  await until(async () => (await lost(metrics)) === 1);
  traces.write(trace({ from: 'next' }));
  await until(async () => (await rows()).length === 2);
  await traces.close();
  t.equal(await lost(metrics), 1);
});

t.test('closing writes what waits', async (t) => {
  const traces = createTraces({ db, logger, metrics: createMetrics() });
  traces.write(trace());
  await traces.close();
  t.equal((await rows()).length, 1);
});

t.test('[K5] the last use of a key is written down once a minute', async (t) => {
  const clock = { ms: 1_700_000_000_000 };
  const written = async () => {
    const { rows } = await db.pool.query('select fingerprint, last_used_ms from callback_key_use order by fingerprint');
    return rows.map(({ fingerprint, last_used_ms }) => [fingerprint, last_used_ms - 1_700_000_000_000]);
  };
  const keyUse = createKeyUse({ db, clock: () => clock.ms, logger, metrics: createMetrics() }, { flushMs: 1 });
  for (let i = 0; i < 100; i++) keyUse.note(app, 'newest');
  keyUse.note(app, 'before');
  await until(async () => (await written()).length === 2);
  clock.ms += 59_999;
  keyUse.note(app, 'newest');
  clock.ms += 1;
  keyUse.note(app, 'before');
  await until(async () => (await written())[0]?.[1] === 60_000);
  t.strictSame(await written(), [
    ['before', 60_000],
    ['newest', 0],
  ]);

  await db.pool.query('alter table callback_key_use rename to away');
  keyUse.note(app, 'newest');
  await until(() => events.includes('callbacks.key_use.write.failed'));
  await db.pool.query('alter table away rename to callback_key_use');
  clock.ms += 1;
  keyUse.note(app, 'newest');
  await keyUse.close();
  t.strictSame((await written())[1], ['newest', 60_001], 'a failure is made good by the next use');
});
