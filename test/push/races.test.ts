import t from 'tap';
import { createMetrics } from '../../src/observe/index.ts';
import { createPauses, createPushAdmin } from '../../src/push/index.ts';
import { createItems, queueSettings } from '../../src/push/queue/items.ts';
import type { Lane } from '../../src/push/queue/lane.ts';
import { createUpkeep } from '../../src/push/queue/upkeep.ts';
import { makeTestLogger, openTestDatabase, until } from '../support/database.ts';
import { openPushWorld } from '../support/push-world.ts';

t.setTimeout(60_000);
const database = await openTestDatabase(t);
const { db } = database;
const world = await openPushWorld(t, database, { options: { tuning: { lookMs: 200 } } });
const { im } = world;

t.test(
  'nobody who counts, marks, reads, recalls, sets tokens, drops or retries waits for one who waits for him',
  async (t) => {
    const sdkAppId = im.app.sdkAppId as Lane['sdkAppId'];
    await world.push.pauses.pause({ sdkAppId, channel: undefined, reason: 'a test', actor: 'tester' });
    const names = Array.from({ length: 12 }, (_, index) => `bob${index}`);
    const links = await Promise.all(names.map((name) => im.link(name, { platform: 'iOS' })));
    for (const [index, link] of links.entries()) {
      await link.ok('setToken', { channel: 'apns', token: index.toString(16).padStart(64, 'a') });
      await link.ok('report', { state: 'background', unread: 0 });
    }
    const alice = await im.link('alice');
    const { group } = await alice.ok('createGroup', { type: 'Private', name: 'Tea', members: names });
    for (let n = 0; n < 150; n++) {
      await alice.ok('send', {
        conversation: `group:${group}`,
        clientId: `id-${n}`,
        body: [{ MsgType: 'TIMTextElem', MsgContent: { Text: `no ${n}` } }],
      });
    }
    const many = 150 * names.length;
    await until(
      async () => (await db.pool.query('select 1 from push_item where done_ms is null')).rows.length === many,
    );
    const one = async <T>(text: string, values: unknown[] = []) => (await db.pool.query(text, values)).rows as T[];
    const [{ id: conversation = 0 } = {}] = await one<{ id: number }>(
      'select conversation_id as id from chat_group where group_id = $1',
      [group],
    );
    const terminals = await one<{ account: number; link: string }>(
      "select account_id as account, link_id as link from terminal where platform = 'iOS'",
    );

    const own = db.another({ max: 8, statementMs: 10_000, settings: queueSettings });
    t.teardown(() => own.close());
    const pauses = createPauses({ db, clock: Date.now });
    const admin = createPushAdmin({ db, pauses, wake() {}, clock: world.clock });
    const upkeep = createUpkeep(
      {
        pool: own.pool,
        apps: { list: () => [world.app()] },
        pauses: async () => 0,
        clock: world.clock,
        logger: makeTestLogger().logger,
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
          Math.ceil(Math.random() * 160),
        ])),
      recall: async () => void (await one('select im_recall($1, $2)', [conversation, Math.ceil(Math.random() * 160)])),
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
    };
    // Of the others two each.
    const workers: Partial<Record<string, number>> = { token: 8, count: 4 };
    const errors = new Map<string, number>();
    const done = new Map<string, number>();
    const end = performance.now() + 4_000;
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
            if (what === 'drop' || what === 'upkeep') await new Promise((resolve) => setTimeout(resolve, 100));
          }
        }),
    );
    t.comment(JSON.stringify(Object.fromEntries(done)));
    t.same(Object.fromEntries(errors), {});
  },
);
