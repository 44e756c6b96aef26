import t from 'tap';
import { createHealth, createLogger, createMetrics, createProcessMetrics } from '../../src/observe/index.ts';
import { until } from '../support/database.ts';

/** A health registry with a clock that is moved by hand, and its log lines. */
function setUp() {
  const events: Record<string, unknown>[] = [];
  const clock = { ms: Date.UTC(2026, 0, 1) };
  const metrics = createMetrics();
  const health = createHealth({
    logger: createLogger({
      level: 'info',
      destination: { write: (line: string) => void events.push(JSON.parse(line)) },
    }),
    metrics,
    now: () => new Date(clock.ms),
  });
  const metric = async (name: string) =>
    (await metrics.registry.metrics()).split('\n').filter((line) => line.startsWith(name));
  return { health, events, clock, metric };
}

t.test('ready only while every part is ok, and not before one has been entered', async (t) => {
  const { health, metric } = setUp();
  t.same(health.readiness(), { ready: false, checks: [] });
  const database = health.check('database');
  const listeners = health.check('listeners');
  t.match(health.readiness(), {
    ready: false,
    checks: [
      { name: 'database', state: 'starting' },
      { name: 'listeners', state: 'starting' },
    ],
  });
  t.same(await metric('qalgate_observe_ready'), ['qalgate_observe_ready 0']);
  database.ok();
  t.equal(health.readiness().ready, false);
  listeners.ok();
  t.equal(health.readiness().ready, true);
  t.same(await metric('qalgate_observe_ready'), ['qalgate_observe_ready 1']);
  database.failing('connection refused');
  t.match(health.readiness(), { ready: false, checks: [{ state: 'failing', reason: 'connection refused' }, {}] });
  t.same(await metric('qalgate_observe_check_ok'), [
    'qalgate_observe_check_ok{check="database"} 0',
    'qalgate_observe_check_ok{check="listeners"} 1',
  ]);
  database.remove();
  database.failing('gone');
  t.match(health.readiness(), { ready: true, checks: [{ name: 'listeners' }] });
  t.same(await metric('qalgate_observe_check_ok'), ['qalgate_observe_check_ok{check="listeners"} 1']);
});

t.test('no failing part makes the process less alive', async (t) => {
  const { health } = setUp();
  health.check('database').failing('away');
  t.same(health.liveness(), { status: 'ok', since: new Date('2026-01-01T00:00:00Z') });
});

t.test('a state keeps the time of its beginning, a change is logged once', async (t) => {
  const { health, clock, events } = setUp();
  const bus = health.check('bus');
  clock.ms += 1_000;
  bus.failing('x'.repeat(500));
  clock.ms += 1_000;
  bus.failing('still away');
  const [check] = health.readiness().checks;
  t.same(check, { name: 'bus', state: 'failing', since: new Date('2026-01-01T00:00:01Z'), reason: 'still away' });
  t.match(events, [
    { event: 'health.check.changed', level: 'warn', check: 'bus', state: 'failing', reason: /^x{200}$/ },
  ]);
  bus.ok();
  bus.ok();
  t.same(health.readiness().checks, [{ name: 'bus', state: 'ok', since: new Date('2026-01-01T00:00:02Z') }]);
  t.equal(events.length, 2);
  t.match(events[1], { level: 'info', state: 'ok', before: 'failing' });
});

t.test('once stopping, nothing becomes ready again', async (t) => {
  const { health } = setUp();
  const database = health.check('database');
  database.ok();
  health.stop();
  t.match(health.readiness(), { ready: false, checks: [{ name: 'database', state: 'stopping' }] });
  database.ok();
  health.check('late').ok();
  t.match(health.readiness(), { ready: false, checks: [{ state: 'stopping' }, { name: 'late', state: 'stopping' }] });
  t.equal(health.liveness().status, 'ok');
});

t.test('names are unique and bounded', async (t) => {
  const { health } = setUp();
  health.check('part 0');
  t.throws(() => health.check('part 0'), { message: 'health check part 0 is entered twice' });
  for (let n = 1; n < 64; n += 1) health.check(`part ${n}`);
  t.throws(() => health.check('part 64'), { message: 'health check part 64 is one more than 64' });
});

t.test('a stall of the event loop shows, however often it is read, until its window has passed', async (t) => {
  const metrics = createMetrics();
  const windowMs = 1_000;
  const processMetrics = createProcessMetrics({ metrics }, { windowMs });
  t.teardown(() => processMetrics.close());
  await until(() => processMetrics.eventLoopDelay().p50 > 0);
  const end = performance.now() + 400;
  while (performance.now() < end);
  await until(() => processMetrics.eventLoopDelay().max > 0.3);
  const seenMs = performance.now();
  for (let scrape = 0; scrape < 2; scrape += 1) {
    const text = await metrics.registry.metrics();
    const max = Number(/^qalgate_observe_event_loop_delay_seconds\{quantile="1"\} (\S+)$/m.exec(text)?.[1]);
    t.ok(max > 0.3, `scrape ${scrape} shows ${max}`);
    t.match(text, /^qalgate_observe_event_loop_delay_seconds\{quantile="0.99"\} \d/m);
    t.match(text, /^process_resident_memory_bytes \d+$/m);
    t.match(text, /^nodejs_eventloop_lag_p99_seconds \d/m);
  }
  await until(() => processMetrics.eventLoopDelay().max < 0.3);
  t.ok(performance.now() - seenMs > 0.9 * windowMs, 'it was shown for a whole window at least');
});
