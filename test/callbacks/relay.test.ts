import { Webhook } from 'standardwebhooks';
import t from 'tap';
import { callbackApp, callbackSecret, openCallbacks, openRecordingBackend } from '../support/callbacks.ts';
import { openTestDatabase, until } from '../support/database.ts';

t.setTimeout(60_000);
const database = await openTestDatabase(t);
const { db } = database;
let nextApp = 1;

t.test('[K3] [K5] [K6] events of a key come in order, signed, each with its own id', async (t) => {
  const backend = await openRecordingBackend(t);
  const app = callbackApp(nextApp++, { url: `${backend.url}?a=1` });
  const { event } = await openCallbacks(t, database, [app]);
  for (let number = 0; number < 20; number++) await event({ key: '7', fields: { number } });
  await until(() => backend.received.length === 20);
  t.same(
    backend.received.map(({ body }) => body.number),
    Array.from({ length: 20 }, (_, number) => number),
  );
  t.equal(new Set(backend.received.map(({ id }) => id)).size, 20);
  for (const { raw, headers } of backend.received) {
    t.doesNotThrow(() => new Webhook(callbackSecret).verify(raw, headers as Record<string, string>));
  }
  const [first] = backend.received;
  t.match(
    first?.url,
    /^\/cb\?a=1&SdkAppid=\d+&CallbackCommand=Group\.CallbackAfterSendMsg&contenttype=json&ClientIP=10\.0\.0\.1&OptPlatform=Android$/,
  );
  await until(async () => {
    const { rows } = await db.pool.query<{ outcome: string; attempts: number }>(
      `select outcome, attempts from outbox where sdk_app_id = $1`,
      [app.sdkAppId],
    );
    return rows.length === 20 && rows.every(({ outcome, attempts }) => outcome === 'delivered' && attempts === 1);
  });
});

t.test('[K6] what nobody was woken for is found', async (t) => {
  const backend = await openRecordingBackend(t);
  const app = callbackApp(nextApp++, { url: backend.url });
  const { event } = await openCallbacks(t, database, [app], { tuning: { sweep: { everyMs: 20, graceMs: 0 } } });
  await event({ key: '8', silent: true });
  await event({ key: 'a9', command: 'State.StateChange', silent: true, fields: {} }).catch(() => {});
  await until(() => backend.received.length >= 1);
  t.pass('it came');
});

t.test('[K6] a failed event is sent again under its id, before those behind it', async (t) => {
  let failures = 2;
  const backend = await openRecordingBackend(t, ({ body }) => (body.number === 1 && failures-- > 0 ? 500 : 200));
  const app = callbackApp(nextApp++, { url: backend.url });
  const { event } = await openCallbacks(t, database, [app]);
  for (const number of [0, 1, 2]) await event({ key: '10', fields: { number } });
  await until(() => backend.received.length === 5, 15_000);
  t.same(
    backend.received.map(({ body }) => body.number),
    [0, 1, 1, 1, 2],
  );
  t.equal(new Set(backend.received.map(({ id }) => id)).size, 3);
});
