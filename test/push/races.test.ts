import t from 'tap';
import { createMetrics } from '../../src/observe/index.ts';
import { createPauses, createPushAdmin } from '../../src/push/index.ts';
import { createItems, queueSettings } from '../../src/push/queue/items.ts';
import type { Lane } from '../../src/push/queue/lane.ts';
import { createUpkeep } from '../../src/push/queue/upkeep.ts';
import { createAppStore, createControlBus, createSealer } from '../../src/store/index.ts';
import { makeTestLogger, openTestDatabase, until } from '../support/database.ts';
import { openPushWorld } from '../support/push-world.ts';

t.setTimeout(90_000);
/** Of a command about accounts that took too long. */
const lateCode = 70169;
const database = await openTestDatabase(t);
const { db } = database;
const world = await openPushWorld(t, database, { options: { tuning: { lookMs: 200 } } });
const { im } = world;

t.test(
  'nobody who counts, marks, reads, recalls, sets tokens, drops, retries or deletes waits for one who waits for him',
  async (t) => {
    const sdkAppId = im.app.sdkAppId as Lane['sdkAppId'];
    await world.push.pauses.pause({ sdkAppId, channel: undefined, reason: 'a test', actor: 'tester' });
    const names = Array.from({ length: 12 }, (_, index) => `bob${index}`);
    const links = await Promise.all(names.map((name) => im.link(name, { platform: 'iOS' })));
    for (const [index, link] of links.entries()) {
      await link.ok('setToken', { channel: 'apns', token: index.toString(16).padStart(64, 'a') });
      await link.ok('report', { state: 'background', unread: 0 });
    }
    // Each with several devices, and deleted in the end.
    const leavers = Array.from({ length: 12 }, (_, index) => `leaver${index}`);
    await im.call('im_open_login_svc/multiaccount_import', { Accounts: leavers });
    await db.pool.query(
      `with phones as (
         insert into terminal (account_id, platform, generation, state, link_id, last_there_ms)
         select id, platform, 1, 'push-online', 'lost.1', $1 from account, unnest(array['iOS', 'iPad']) as platform
         where identifier like 'leaver%' returning account_id, platform
       )
       insert into push_device (sdk_app_id, account_id, platform, generation, channel, token, registered_ms, seen_ms)
       select $2, account_id, platform, 1, 'apns', platform || account_id, 0, $1 from phones order by md5(account_id || platform)`,
      [Date.now(), sdkAppId],
    );
    const alice = await im.link('alice');
    const { group } = await alice.ok('createGroup', { type: 'Private', name: 'Tea', members: [...names, ...leavers] });
    for (let n = 0; n < 60; n++) {
      await alice.ok('send', {
        conversation: `group:${group}`,
        clientId: `id-${n}`,
        body: [{ MsgType: 'TIMTextElem', MsgContent: { Text: `no ${n}` } }],
      });
    }
    const many = 60 * (names.length + 2 * leavers.length);
    await until(
      async () => (await db.pool.query('select 1 from push_item where done_ms is null')).rows.length === many,
    );
    const one = async <T>(text: string, values: unknown[] = []) => (await db.pool.query(text, values)).rows as T[];
    const [{ id: conversation = 0 } = {}] = await one<{ id: number }>(
      'select conversation_id as id from chat_group where group_id = $1',
      [group],
    );
    const terminals = await one<{ account: number; link: string }>(
      "select account_id as account, link_id as link from terminal where platform = 'iOS' and node_id is not null",
    );

    const own = db.another({ max: 8, statementMs: 10_000, settings: queueSettings });
    t.teardown(() => own.close());
    const pauses = createPauses({ db, clock: Date.now });
    const { logger } = makeTestLogger();
    const admin = createPushAdmin({ db, pauses, wake() {}, clock: world.clock });
    const upkeep = createUpkeep(
      {
        pool: own.pool,
        apps: { list: () => [world.app()] },
        pauses: async () => 0,
        clock: world.clock,
        logger,
        metrics: createMetrics(),
      },
      { everyMs: 10_000_000, bound: 1_000 },
    );
    t.teardown(() => upkeep.close());
    const queues = [1, 2].map(() => createItems({ pool: own.pool, clock: world.clock }));
    const pick = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T;
    const some = () =>
      one<{ id: number; day: number; device: number }>(
        'select id, day, device_id as device from push_item where done_ms is null order by random() limit 60',
      );
    const bus = createControlBus(db, { logger });
    t.teardown(() => bus.close());
    const apps = createAppStore(db, { sealer: createSealer([Buffer.alloc(32)]), bus });
    t.match(await apps.create(world.app()), { ok: true });
    let isRemoved = false;
    let end = 0;
    const everything = { ids: undefined, channel: undefined, campaign: undefined };
    const works = {
      count: async () => void (await pick(queues).count(await some())),
      async mark() {
        const items = pick(queues);
        await Promise.all(
          (await some()).map(({ id, day, device }) =>
            items.mark({
              id,
              day,
              outcome: pick(['accepted', 'dead', undefined, undefined]),
              reason: 'a test\0',
              dueMs: 0,
              attempt: { status: 200, tookMs: 1 },
              device: { id: device, token: 'another', do: 'rest', untilMs: 1 },
            }),
          ),
        );
      },
      read: async () =>
        void (await one('select im_read($1, $2, $3)', [
          conversation,
          pick(terminals).account,
          Math.ceil(Math.random() * 70),
        ])),
      recall: async () => void (await one('select im_recall($1, $2)', [conversation, Math.ceil(Math.random() * 70)])),
      async token() {
        // Some fight for two tokens; the others keep devices, whose badges can be counted.
        const at = Math.floor(Math.random() * terminals.length);
        const { account, link } = terminals[at] as (typeof terminals)[number];
        const token = (at < 4 ? Math.floor(Math.random() * 2) : at).toString(16).padStart(64, 'a');
        await one("select push_device_set($1, $2, 'iOS', $3, 'apns', $4, 'production', null, 1)", [
          sdkAppId,
          account,
          link,
          token,
        ]);
      },
      drop: async () =>
        void (await admin.drop(world.app(), {
          ...everything,
          ids: (await some()).map(({ id }) => id),
          state: 'waiting',
        })),
      retry: async () => void (await admin.retry(world.app(), everything)),
      upkeep: () => upkeep.run(),
      async delete() {
        const DeleteItem = leavers.splice(0, 3).map((UserID) => ({ UserID }));
        if (DeleteItem.length === 0) return;
        const { ErrorCode, ErrorInfo } = await im.call('im_open_login_svc/account_delete', { DeleteItem });
        // Late is not refused: it waited in its turn.
        if (ErrorCode !== 0 && ErrorCode !== lateCode) throw new Error(String(ErrorInfo));
      },
      async remove() {
        await until(() => performance.now() > end - 1_000);
        if (isRemoved) return;
        isRemoved = true;
        t.match(await apps.delete(sdkAppId), { ok: true });
      },
    };
    const rare = new Set(['drop', 'upkeep', 'delete', 'remove']);
    // Of the others two each.
    const workers: Partial<Record<string, number>> = { token: 8, count: 4 };
    const errors = new Map<string, number>();
    const done = new Map<string, number>();
    end = performance.now() + 4_000;
    await Promise.all(
      Object.entries(works)
        .flatMap((entry) => new Array<typeof entry>(workers[entry[0]] ?? 2).fill(entry))
        .map(async ([what, work]) => {
          while (performance.now() < end) {
            await work().then(
              () => done.set(what, (done.get(what) ?? 0) + 1),
              (error: Error) => {
                const key = `${what}: ${error.message}`;
                errors.set(key, (errors.get(key) ?? 0) + 1);
              },
            );
            if (rare.has(what)) await new Promise((resolve) => setTimeout(resolve, 100));
          }
        }),
    );
    t.comment(JSON.stringify(Object.fromEntries(done)));
    t.same(Object.fromEntries(errors), {});
  },
);

t.test('whoever locks several devices does so in the order of their ids', async (t) => {
  const sdkAppId = im.app.sdkAppId as Lane['sdkAppId'];
  const { pool } = db;
  await world.push.pauses.pause({ sdkAppId, channel: undefined, reason: 'a test', actor: 'tester' });
  const platforms = ['iOS', 'iPad', 'Android'];
  let made = 0;
  const phones = async (account: string) => {
    const links = [];
    for (const platform of platforms) {
      const link = await im.link(account, { platform });
      await link.ok('setToken', { channel: 'apns', token: (++made).toString(16).padStart(64, 'b') });
      await link.ok('report', { state: 'background', unread: 5 });
      links.push(link);
    }
    return links;
  };
  await phones('zoe');
  const [phone] = await phones('yan');
  const desktop = await im.link('zoe', { platform: 'Mac' });
  const bert = await im.link('bert');
  const { seq } = await bert.ok('send', {
    conversation: 'c2c:zoe',
    clientId: 'id-zoe',
    body: [{ MsgType: 'TIMTextElem', MsgContent: { Text: 'hello' } }],
  });
  const itemsOf = async () => (await world.items('zoe')) as { id: number; day: number; device_id: number }[];
  await until(async () => (await itemsOf()).length === platforms.length);
  const items = createItems({ pool, clock: world.clock });
  const devicesOf = async (...accounts: string[]) =>
    (
      await pool.query<{ id: number; token: string }>(
        `select d.id, d.token from push_device d join account a on a.id = d.account_id
         where d.sdk_app_id = $1 and ($2::text[] = '{}' or a.identifier = any ($2)) order by d.id`,
        [sdkAppId, accounts],
      )
    ).rows;
  const tokenOfZoe = (await devicesOf('zoe'))[0]?.token;
  await world.push.pauses.pause({ sdkAppId, channel: undefined, reason: 'a test', actor: 'tester' });
  const { logger } = makeTestLogger();
  const bus = createControlBus(db, { logger });
  t.teardown(() => bus.close());
  const apps = createAppStore(db, { sealer: createSealer([Buffer.alloc(32)]), bus });
  t.match(await apps.create(world.app()), { ok: true });

  const works: [what: string, whose: string[], work: () => Promise<unknown>][] = [
    ['counts', ['zoe'], async () => items.count(await itemsOf())],
    [
      'marks',
      ['zoe'],
      async () => {
        const devices = await devicesOf('zoe');
        const all = (await itemsOf()).toReversed();
        await Promise.all(
          all.map(({ id, day, device_id }) => {
            const token = devices.find((device) => device.id === device_id)?.token ?? '';
            const device = { id: device_id, token, do: 'rest', untilMs: 1 } as const;
            return items.mark({ id, day, outcome: undefined, reason: 'busy', device });
          }),
        );
      },
    ],
    ['recalls', ['zoe'], () => bert.ok('recall', { conversation: 'c2c:zoe', seq })],
    [
      'reads',
      ['zoe'],
      async () => {
        const next = await bert.ok('send', {
          conversation: 'c2c:zoe',
          clientId: 'id-zoe-2',
          body: [{ MsgType: 'TIMTextElem', MsgContent: { Text: 'again' } }],
        });
        await desktop.ok('read', { conversation: 'c2c:bert', seq: next.seq });
      },
    ],
    ['sets a token', ['zoe', 'yan'], async () => phone?.ok('setToken', { channel: 'apns', token: tokenOfZoe })],
    [
      'deletes an account',
      ['zoe'],
      () => im.call('im_open_login_svc/account_delete', { DeleteItem: [{ UserID: 'zoe' }] }),
    ],
    ['deletes an app', [], () => apps.delete(sdkAppId)],
  ];
  for (const [what, whose, work] of works) {
    const [first = 0, ...others] = (await devicesOf(...whose)).map(({ id }) => id);
    // It stands last in the table.
    await pool.query('update push_device set badge = badge where id = $1', [first]);
    const holder = await pool.connect();
    let working: Promise<unknown> | undefined;
    try {
      const { rows: own } = await holder.query<{ pid: number }>('select pg_backend_pid() as pid');
      await holder.query('begin');
      await holder.query('select 1 from push_device where id = $1 for update', [first]);
      working = work();
      await until(async () => {
        const { rows } = await pool.query('select 1 from pg_stat_activity where $1 = any (pg_blocking_pids(pid))', [
          own[0]?.pid,
        ]);
        return rows.length > 0;
      });
      const { rows } = await pool.query('select id from push_device where id = any ($1) for update skip locked', [
        others,
      ]);
      t.equal(rows.length, others.length, `whoever ${what} holds none of the others while he waits for the first`);
      t.ok(others.length > 0);
    } finally {
      await holder.query('rollback');
      holder.release();
    }
    await working;
  }
});
