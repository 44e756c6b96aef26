import t from 'tap';
import type { Sender } from '../../src/push/index.ts';
import type { Lane } from '../../src/push/queue/lane.ts';
import { createSenders } from '../../src/push/senders.ts';
import type { AppSettings } from '../../src/store/index.ts';

/** Which clients of services there are, and when they end. */

function open() {
  const apps = new Map<number, AppSettings>();
  const log: string[] = [];
  let made = 0;
  let closing = Promise.resolve();
  const make = (name: string): Sender => {
    const what = `${name} ${++made}`;
    log.push(`made ${what}`);
    return {
      room: () => 1,
      send: async () => ({ kind: 'ok', id: undefined, status: 200 }),
      figures: () => ({ connections: 0, inFlight: 0, trouble: undefined }),
      async close() {
        log.push(`closing ${what}`);
        await closing;
        log.push(`closed ${what}`);
      },
    };
  };
  const senders = createSenders({
    apps,
    make: { apns: () => make('apns'), fcm: () => make('fcm') },
    onChange: ({ sdkAppId, channel }) => log.push(`changed ${sdkAppId} ${channel}`),
  });
  return {
    senders,
    /** What an app has from now on, as settings that are read anew each time. */
    set(sdkAppId: number, push: object) {
      apps.set(sdkAppId, { sdkAppId, push } as AppSettings);
    },
    remove: (sdkAppId: number) => apps.delete(sdkAppId),
    holdClosing(promise: Promise<void>) {
      closing = promise;
    },
    /** Since it was asked before. */
    news: () => log.splice(0),
  };
}
const laneOf = (sdkAppId: number, channel: Lane['channel'] = 'apns') => ({ sdkAppId, channel }) as Lane;

t.test('a client is made when it is needed, and anew when credentials have changed', async (t) => {
  const { senders, set, remove, news } = open();
  t.equal(senders.get(laneOf(1)), undefined, 'no app');
  set(1, { apns: { key: 'a' } });
  t.equal(senders.get(laneOf(1, 'fcm')), undefined, 'no such service');
  const first = senders.get(laneOf(1));
  set(1, { apns: { key: 'a' } });
  senders.refresh();
  t.equal(senders.get(laneOf(1)), first, 'the same settings, read again');
  t.same(news(), ['made apns 1']);

  set(1, { apns: { key: 'b' } });
  senders.refresh();
  t.same(news(), ['closing apns 1', 'changed 1 apns']);
  senders.refresh();
  const second = senders.get(laneOf(1));
  t.not(second, first);
  set(1, { apns: { key: 'c' } });
  t.not(senders.get(laneOf(1)), second, 'whoever needs it finds out by himself');
  t.same(
    news().filter((one) => !one.startsWith('closed')),
    ['made apns 2', 'closing apns 2', 'changed 1 apns', 'made apns 3'],
  );

  remove(1);
  senders.refresh();
  t.equal(senders.get(laneOf(1)), undefined);
  t.same(senders.list(), []);
  await senders.close();
});

t.test('what a client has under way ends before the process does', async (t) => {
  const { senders, set, holdClosing, news } = open();
  const held = Promise.withResolvers<void>();
  holdClosing(held.promise);
  set(1, { apns: {}, fcm: {} });
  senders.get(laneOf(1));
  senders.get(laneOf(1, 'fcm'));
  set(1, { fcm: {} });
  senders.refresh();
  let isClosed = false;
  const closed = senders.close().then(() => {
    isClosed = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  t.notOk(isClosed);
  held.resolve();
  await closed;
  t.same(news().slice(-2), ['closed apns 1', 'closed fcm 2'], 'also of what was replaced before');
});

t.test('of more than a thousand the one that was not needed for longest makes room', async (t) => {
  const { senders, set, news } = open();
  for (let app = 1; app <= 1_001; app++) set(app, { fcm: {} });
  for (let app = 1; app <= 1_000; app++) senders.get(laneOf(app, 'fcm'));
  senders.get(laneOf(1, 'fcm'));
  news();
  senders.get(laneOf(1_001, 'fcm'));
  t.same(news(), ['closing fcm 2', 'made fcm 1001']);
  t.equal(senders.list().length, 1_000);
  await senders.close();
});
