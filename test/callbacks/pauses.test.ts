import t from 'tap';
import { createPauses, type Pauses, urlHash } from '../../src/callbacks/index.ts';
import { createMetrics } from '../../src/observe/index.ts';
import { createControlBus } from '../../src/store/index.ts';
import { openTestDatabase, until } from '../support/database.ts';

const { db, logger, events } = await openTestDatabase(t);
const app = 1_400_000_000;
const after = 'C2C.CallbackAfterSendMsg';
const state = 'State.StateChange';
const [here, there] = [urlHash('https://here.example.com/'), urlHash('https://there.example.com/')];

/** One process's pauses. */
async function open(options: Parameters<typeof createPauses>[1] = {}) {
  const control = createControlBus(db, { logger });
  await control.ready();
  const metrics = createMetrics();
  let nowMs = 1_700_000_000_000;
  const pauses = await createPauses({ db, control, clock: () => nowMs++, logger, metrics }, options);
  t.teardown(async () => {
    await pauses.close();
    await control.close();
  });
  return { pauses, control, metrics };
}
const [one, other] = await Promise.all([open(), open()]);
t.beforeEach(async () => {
  await one.pauses.resume(app);
  await until(() => other.pauses.list(app).length === 0);
});

/** Which of four kinds of callbacks go out: both commands to both URLs. */
const held = (pauses: Pauses) =>
  [after, state]
    .flatMap((command) => [here, there].map((hash) => [command, hash] as const))
    .map(([command, hash]) => (pauses.find(app, command as typeof after, hash) === undefined ? '-' : 'x'))
    .join('');

t.test('[O2] a pause holds for the app, a command, a URL, or a command at a URL, on every process', async (t) => {
  const by = { sdkAppId: app, reason: 'operator', actor: 'oncall' } as const;
  const cases = [
    [{}, 'xxxx'],
    [{ command: after }, 'xx--'],
    [{ urlHash: here }, 'x-x-'],
    [{ command: state, urlHash: there }, '---x'],
  ] as const;
  for (const [what, expected] of cases) {
    await one.pauses.pause({ ...by, ...what });
    t.equal(held(one.pauses), expected, `${JSON.stringify(what)} holds here at once`);
    await until(() => held(other.pauses) === expected);
    t.equal(other.pauses.find(app + 1, after, here), undefined, 'and no other app');
    t.equal(await other.pauses.resume(app, what), 1);
    t.equal(held(other.pauses), '----');
    await until(() => held(one.pauses) === '----');
  }
});

t.test('resuming names exactly what was paused, or all of the app', async (t) => {
  const by = { sdkAppId: app, reason: 'operator', actor: 'oncall' } as const;
  await one.pauses.pause(by);
  await one.pauses.pause({ ...by, command: after });
  await one.pauses.pause({ ...by, command: after, urlHash: here });
  await one.pauses.pause({ ...by, sdkAppId: app + 1 });
  t.teardown(() => one.pauses.resume(app + 1));
  t.equal(await one.pauses.resume(app, { urlHash: here }), 0);
  t.equal(await one.pauses.resume(app, { command: after }), 1);
  t.equal(one.pauses.list(app).length, 2);
  t.equal(await one.pauses.resume(app), 2);
  t.match(one.pauses.list(), [{ sdkAppId: app + 1 }]);
});

t.test('what is paused stays as it was first said, but an operator stands above a backend that is gone', async (t) => {
  const what = { sdkAppId: app, urlHash: here };
  await one.pauses.pause({ ...what, reason: 'gone', actor: 'relay' });
  const [gone] = one.pauses.list(app);
  await one.pauses.pause({ ...what, reason: 'gone', actor: 'another relay' });
  t.strictSame(one.pauses.list(app), [gone]);
  await one.pauses.pause({ ...what, reason: 'operator', actor: 'oncall' });
  const [byOperator] = one.pauses.list(app);
  t.match(byOperator, { reason: 'operator', actor: 'oncall' });
  await one.pauses.pause({ ...what, reason: 'gone', actor: 'relay' });
  t.strictSame(one.pauses.list(app), [byOperator]);
  t.match(await one.metrics.registry.metrics(), /qalgate_callbacks_pauses\{reason="operator"\} 1/);
});

t.test('who listens hears of changes, of each once, and of nothing else', async (t) => {
  const heard: number[] = [];
  const stop = other.pauses.onChange((apps) => heard.push(...apps));
  await one.pauses.pause({ sdkAppId: app, reason: 'operator', actor: 'oncall' });
  await until(() => heard.length > 0);
  await other.control.publish('callbacks', { sdkAppId: app });
  await one.pauses.resume(app);
  await until(() => heard.length > 1);
  t.strictSame(heard, [app, app]);
  stop();
});

t.test('what the bus did not tell is read every now and then; while the database is away, pauses stay', async (t) => {
  const { pauses } = await open({ rereadMs: 20, retryMs: 20 });
  await db.pool.query(`insert into callback_pause values ($1, '', '', 'operator', 'by hand', 5)`, [app]);
  await until(() => pauses.list(app).length === 1);
  await db.pool.query('alter table callback_pause rename to away');
  const back = () => db.pool.query('alter table if exists away rename to callback_pause');
  t.teardown(back);
  await until(() => events.includes('callbacks.pauses.read.failed'));
  t.equal(held(pauses), 'xxxx');
  await back();
  await db.pool.query('delete from callback_pause');
  await until(() => held(pauses) === '----');
});
