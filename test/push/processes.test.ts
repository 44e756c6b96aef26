import t, { type Test } from 'tap';
import type { PushOptions } from '../../src/push/index.ts';
import { openTestDatabase, until } from '../support/database.ts';
import { openPushWorld } from '../support/push-world.ts';
import { skipWithoutRedis, startRedis, type TestRedis } from '../support/redis.ts';

t.setTimeout(120_000);

/** A process that stores messages, and has others send their pushes. */
async function openProcesses(t: Test, queue: PushOptions['queue']) {
  const world = await openPushWorld(t, await openTestDatabase(t), { options: { queue, sends: false } });
  const alice = await world.im.link('alice');
  let made = 0;
  const phone = async () => {
    const account = `bob${++made}`;
    const link = await world.im.link(account, { platform: 'iOS' });
    const token = made.toString(16).padStart(64, 'a');
    await link.ok('setToken', { channel: 'apns', token });
    await link.ok('report', { state: 'background', unread: 0 });
    return { account, token };
  };
  return {
    world,
    phone,
    /** Until its phone has it, in milliseconds. */
    async ring({ account, token }: { account: string; token: string }): Promise<number> {
      const before = world.apns.shown(token).length;
      const startMs = performance.now();
      const body = [{ MsgType: 'TIMTextElem', MsgContent: { Text: `no ${++made}` } }];
      await alice.ok('send', { conversation: `c2c:${account}`, clientId: `id-${made}`, body });
      await until(() => world.apns.shown(token).length > before, 20_000);
      return Math.round(performance.now() - startMs);
    },
  };
}

/** Looks come once a minute: whoever has it sooner was called. */
const rarely = { isAlone: false, sends: true, tuning: { lookMs: 60_000 } };

function calls(open: (t: Test) => Promise<PushOptions['queue']>) {
  return async (t: Test) => {
    const { world, phone, ring } = await openProcesses(t, await open(t));
    const sender = await world.another(rarely);
    const bob = await phone();
    const took = [];
    for (let n = 0; n < 10; n++) took.push(await ring(bob));
    t.comment(`from send to phone, over another process: ${took.join(', ')} ms`);
    t.equal(world.apns.shown(bob.token).length, 10);

    const sdkAppId = world.im.app.sdkAppId as never;
    await world.push.pauses.pause({ sdkAppId, channel: 'apns', reason: 'a test', actor: 'tester' });
    const held = ring(bob);
    await until(async () => (await world.items(bob.account)).length === 11);
    await world.push.pauses.resume(sdkAppId);
    world.push.wake({ sdkAppId, channel: 'apns' });
    await held;
    t.same(world.push.services(), [], 'it sends nothing itself');
    t.match(sender.services(), [{ channel: 'apns' }]);

    await sender.close();
    const late = ring(bob);
    await until(
      async () => (await world.im.db.pool.query('select 1 from outbox where done_ms is null')).rows.length === 1,
    );
    await world.another(rarely);
    await late;
    t.equal(world.apns.arrivals.length, 12, 'nothing was sent twice');
  };
}

t.test(
  'a process that stores calls one that sends',
  calls(async () => ({ kind: 'postgres' })),
);

t.test(
  'a process that stores calls one that sends, through Redis',
  { skip: skipWithoutRedis() },
  calls(async (t) => ({ kind: 'redis', url: (await startRedis(t)).url })),
);

t.test('Redis is killed and comes back: pushes go on', { skip: skipWithoutRedis() }, async (t) => {
  const redis: TestRedis = await startRedis(t);
  const { world, phone, ring } = await openProcesses(t, { kind: 'redis', url: redis.url });
  await world.another({ isAlone: false, sends: true, tuning: { lookMs: 300 } });
  const bob = await phone();
  await ring(bob);
  await redis.kill9();
  for (let n = 0; n < 5; n++) await ring(bob);
  await redis.restart();
  for (let n = 0; n < 5; n++) await ring(bob);
  t.equal(world.apns.arrivals.length, 11, 'each once');
});
