import t from 'tap';
import { createMetrics } from '../../src/observe/index.ts';
import { createExpand } from '../../src/push/queue/expand.ts';
import { queueSettings } from '../../src/push/queue/items.ts';
import { completeApp } from '../support/app-settings.ts';
import { openTestDatabase, until } from '../support/database.ts';
import { imAppId, openIm } from '../support/im.ts';
import { apnsIds, apnsKey } from '../support/push-credentials.ts';
import { text } from '../support/rest.ts';

const database = await openTestDatabase(t);
const { db } = database;
const sdkAppId = imAppId;
const app = completeApp({
  sdkAppId,
  secret: 'a secret of sixteen or more',
  im: { campaignPerSec: 0 },
  push: { apns: { key: apnsKey, ...apnsIds } },
});
// Pushes of all messages, and nobody who looks at them.
const consumers = (_: number, command: string) => (command.endsWith('CallbackAfterSendMsg') ? 2 : 0);
const im = await openIm(t, { database, apps: [app], deps: { ports: { consumers } } });
const looking = db.another({ max: 1, statementMs: 10_000, settings: queueSettings });
t.teardown(() => looking.close());

t.test('[B5] people’s messages are looked at before those of a campaign that wait', async (t) => {
  const receivers = 250;
  const alice = await im.link('alice');
  const bob = await im.link('bob', { platform: 'Mac' });
  await db.pool.query(
    `insert into account (sdk_app_id, identifier, created_ms) select $1, 'u' || i, 0 from generate_series(1, $2::integer) as i`,
    [sdkAppId, receivers],
  );
  await db.pool.query(
    `insert into push_device (sdk_app_id, account_id, platform, generation, channel, token, registered_ms, seen_ms, badge)
     select $1, id, 'iOS', 1, 'apns', lpad(to_hex(id), 64, '0'), 0, 0, 5 from account where identifier <> 'admin'`,
    [sdkAppId],
  );
  const { TaskId } = await im.call('openim/im_push', { MsgRandom: 1, MsgLifeTime: 600, MsgBody: [text('sale')] });
  await until(async () => {
    const { Reports } = await im.call('openim/im_get_push_report', { TaskIds: [TaskId] });
    return (Reports as { Status: number }[])[0]?.Status === 2;
  });
  const badgeOfBob = async () => {
    const { rows } = await db.pool.query<{ badge: number }>(
      `select badge from push_device d join account a on a.id = d.account_id where a.identifier = 'bob'`,
    );
    return rows[0]?.badge;
  };
  t.equal((await bob.ok('read', { conversation: 'c2c:admin', seq: 1 })).unread, 0);
  t.equal(await badgeOfBob(), 5, 'what was not even looked at is in no badge, and not taken from it');
  // By its number alone it would be the last.
  await db.pool.query('alter table conversation alter id restart with 9000');
  await alice.ok('send', { conversation: 'c2c:bob', clientId: 'id-1', body: [text('hi')] });

  const expand = createExpand({
    pool: looking.pool,
    apps: { get: () => app },
    skipped: { inc() {} },
    clock: im.clock,
    metrics: createMetrics(),
  });
  const expanded = async () => {
    const { rows } = await db.pool.query<{ people: number; all: number }>(
      'select count(*) filter (where campaign_id is null) as people, count(*) as all from push_item',
    );
    return rows[0];
  };
  // The first of several looks.
  const stop = new AbortController();
  const more = expand.run(stop.signal, () => {});
  stop.abort();
  await more;
  t.match(await expanded(), { people: 1, all: 200 });
  await expand.run(new AbortController().signal, () => {});
  const accounts = await db.pool.query('select from push_device');
  t.match(await expanded(), { people: 1, all: accounts.rows.length + 1 });
});
