import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { clusterFolder } from '../../src/server/config/index.ts';
import { callbackSecret, openRecordingBackend, type Received } from '../support/callbacks.ts';
import { openTestDatabase, until } from '../support/database.ts';
import { freePort } from '../support/free-port.ts';
import { skipWithoutRedis, startRedis } from '../support/redis.ts';
import { conversations, sdkAppId, secret, sendAll, urlOf } from '../support/send-all.ts';
import { runCommand, type Service, type ServiceOptions, spawnService } from '../support/service.ts';

// The whole file, also when it runs by itself.
t.setTimeout(800_000);

interface Run {
  readonly messages: number;
  /** Who is killed, one after another. */
  readonly kills: readonly ('relay' | 'program' | 'postgres' | 'redis')[];
  readonly withRedis: boolean;
}

/**
 * K6, DESIGN §9: two processes on one database, one that takes messages and one that tells of them, are killed again and again, and
 * so is what they stand on. Nothing acknowledged may be lost, nothing told under two ids, and each conversation is told in order.
 */
async function survive(t: Test, { messages, kills, withRedis }: Run): Promise<void> {
  const database = await openTestDatabase(t);
  const { db } = database;
  const redis = withRedis ? await startRedis(t) : undefined;
  // Now and then slow, or failing: that must not disturb the order either.
  let asked = 0;
  const backend = await openRecordingBackend(t, async () => {
    asked += 1;
    if (asked % 500 === 0) return 503;
    if (asked % 97 === 0) await delay(20);
    return 200;
  });
  const port = await freePort();
  const app = {
    sdkAppId,
    secret,
    im: { appPerSec: 0, commandPerSec: 0 },
    callbacks: {
      url: backend.url,
      secret: callbackSecret,
      events: ['C2C.CallbackAfterSendMsg'],
      allowPrivateNetwork: true,
    },
  };
  const common = {
    QALGATE_DATABASE: urlOf(db),
    QALGATE_MASTER_KEY: randomBytes(32).toString('base64'),
    QALGATE_APPS: JSON.stringify([app]),
    QALGATE_LOG_ACCESS: 'false',
    ...(redis === undefined ? {} : { QALGATE_REDIS: redis.url }),
  };
  const programOptions: ServiceOptions = {
    dataDir: database.dataDir,
    args: ['--roles', 'im'],
    env: { ...common, QALGATE_LISTEN_IM: `127.0.0.1:${port}` },
  };
  const relayOptions: ServiceOptions = { dataDir: database.dataDir, args: ['--roles', 'relay'], env: common };
  t.match(await runCommand(['migrate'], programOptions), { code: 0 });
  let program: Service = await spawnService(programOptions);
  let relay: Service = await spawnService(relayOptions);
  t.teardown(() => {
    program.process.kill('SIGKILL');
    relay.process.kill('SIGKILL');
  });

  const { sent, done } = await sendAll(t, () => `http://127.0.0.1:${port}`, messages);
  const share = Math.floor(messages / (kills.length + 1));
  for (const [index, victim] of kills.entries()) {
    await until(() => sent.length >= share * (index + 1), 60_000);
    if (victim === 'relay') {
      relay.process.kill('SIGKILL');
      await relay.exited;
      relay = await spawnService(relayOptions);
    } else if (victim === 'program') {
      program.process.kill('SIGKILL');
      await program.exited;
      program = await spawnService(programOptions);
    } else if (victim === 'redis') {
      await redis?.kill9();
      await delay(200);
      await redis?.restart();
    } else {
      const readPid = async () =>
        (await readFile(path.join(clusterFolder(database.dataDir), 'postmaster.pid'), 'utf8')).split('\n')[0];
      const pid = await readPid();
      process.kill(Number(pid), 'SIGKILL');
      // Who is started next needs it: a program does not wait for a database that is not there.
      await until(async () => (await readPid().catch(() => pid)) !== pid, 30_000);
      await until(
        () =>
          db.pool.query('select').then(
            () => true,
            () => false,
          ),
        30_000,
      );
    }
  }
  await done;
  t.equal(sent.length, messages);

  const deliveries = (): Received[] => backend.received;
  const distinct = (): number => new Set(deliveries().map(({ body }) => body.MsgKey)).size;
  await until(() => distinct() >= messages, 120_000).catch(() => {});
  const told = Map.groupBy(deliveries(), ({ body }) => String(body.MsgKey));
  t.strictSame(
    [...told.keys()].sort(),
    sent.map(({ key }) => key).sort(),
    'what was sent was told of, and nothing else',
  );
  t.equal(
    [...told.values()].filter((some) => new Set(some.map(({ id }) => id)).size > 1).length,
    0,
    'repeats have one id',
  );
  t.equal(new Set(deliveries().map(({ id }) => id)).size, messages, 'no id stands for two messages');
  t.comment(`${deliveries().length - messages} repeats of ${messages}`);

  const { rows } = await db.pool.query<{ conversation: number; key: string }>(
    `select conversation_id as conversation, msg_seq || '_' || msg_random || '_' || msg_time as key
     from message order by conversation_id, seq`,
  );
  const firsts = [...told.keys()];
  const place = new Map(firsts.map((key, index) => [key, index]));
  let disorder = 0;
  for (const some of Map.groupBy(rows, ({ conversation }) => conversation).values()) {
    for (const [index, { key }] of some.entries()) {
      const before = some[index - 1];
      if (before !== undefined && (place.get(before.key) ?? 0) > (place.get(key) ?? 0)) disorder += 1;
    }
  }
  t.equal(disorder, 0, 'each conversation was told in order');

  // What explain says is what the receiver saw.
  const waiting = async (): Promise<number> =>
    (await db.pool.query<{ n: number }>('select count(*) as n from outbox where done_ms is null')).rows[0]?.n ?? -1;
  await until(async () => (await waiting()) === 0, 60_000);
  const { rows: outcomes } = await db.pool.query<{ outcome: string; n: number }>(
    'select outcome, count(*) as n from outbox group by outcome',
  );
  t.strictSame(outcomes, [{ outcome: 'delivered', n: messages }]);
  const args = ['callbacks', 'explain', '--app', String(sdkAppId), '--account', 'p0', '--limit', '1000', '--json'];
  const { stdout } = await runCommand(args, relayOptions);
  const { explanations } = JSON.parse(stdout) as {
    explanations: { key: string; told: { code: string; webhookId: string }[] }[];
  };
  t.equal(explanations.length, messages / conversations);
  const wrong = explanations.filter(
    ({ key, told: [step] }) => step?.code !== 'delivered' || told.get(key)?.[0]?.id !== step.webhookId,
  );
  t.strictSame(wrong, [], 'explain says of each message what the receiver saw');

  for (const service of [program, relay]) {
    service.process.kill('SIGTERM');
    t.match(await service.exited, { code: 0 });
  }
}

t.test(
  '[K6] relay, program and PostgreSQL are killed fourteen times under 10,000 messages',
  { timeout: 480_000 },
  (t) =>
    survive(t, {
      messages: 10_000,
      kills: Array.from(
        { length: 14 },
        (_, kill) => (['relay', 'program', 'relay', 'postgres'] as const)[kill % 4] ?? 'relay',
      ),
      withRedis: false,
    }),
);

t.test(
  '[K6] relay, program, PostgreSQL and Redis are killed eight times under 5,000 messages',
  { skip: skipWithoutRedis(), timeout: 400_000 },
  (t) =>
    survive(t, {
      messages: 5_000,
      kills: ['redis', 'relay', 'redis', 'program', 'redis', 'postgres', 'redis', 'relay'],
      withRedis: true,
    }),
);
