import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { openApnsSandbox } from '../../src/push/sandbox/apns.ts';
import { createCertificate } from '../../src/push/sandbox/certificate.ts';
import { openTestDatabase, until } from '../support/database.ts';
import { freePort } from '../support/free-port.ts';
import { conversations, sdkAppId, secret, sendAll, urlOf } from '../support/send-all.ts';
import { runCommand, type ServiceOptions, spawnService } from '../support/service.ts';

t.setTimeout(400_000);

/** Twenty thousand, at full size. */
const messages = Number(process.env.PUSHES ?? 20_000);
const kills = 5;
const opsToken = 'ops-token-of-the-test';

t.test(
  '[S7][S3] workers killed -9 again and again: each phone shows each message once, and counts right',
  async (t) => {
    const database = await openTestDatabase(t);
    const { db } = database;
    const folder = await mkdtemp(path.join(tmpdir(), 'qalgate push '));
    t.teardown(() => rm(folder, { recursive: true, force: true }));
    const tls = createCertificate('localhost');
    const caFile = path.join(folder, 'ca.pem');
    await writeFile(caFile, tls.cert);
    // Now and then it fails, is slow, or loses what it was asked.
    let asked = 0;
    const apns = await openApnsSandbox({
      tls,
      maxArrivals: 3 * messages,
      fault() {
        asked += 1;
        if (asked % 500 === 0) return { word: 'ServiceUnavailable' };
        if (asked % 777 === 0) return { word: 'lost' };
        return asked % 97 === 0 ? { word: 'slow', amount: 20 } : undefined;
      },
    });
    t.teardown(() => apns.close());
    const { key, keyId, teamId } = apns.credentials;
    const port = await freePort();
    const app = {
      sdkAppId,
      secret,
      im: { appPerSec: 0, commandPerSec: 0 },
      push: {
        apns: { key, keyId, teamId, topic: 'com.example.chat', endpoint: apns.url, sandboxEndpoint: apns.url, caFile },
      },
    };
    const common = {
      QALGATE_DATABASE: urlOf(db),
      QALGATE_MASTER_KEY: randomBytes(32).toString('base64'),
      QALGATE_APPS: JSON.stringify([app]),
      QALGATE_LOG_ACCESS: 'false',
      QALGATE_OPS_TOKENS: JSON.stringify([{ name: 'test', role: 'viewer', token: opsToken }]),
    };
    const imOptions: ServiceOptions = {
      dataDir: database.dataDir,
      args: ['--roles', 'im'],
      env: { ...common, QALGATE_LISTEN_IM: `127.0.0.1:${port}` },
    };
    const workerOptions: ServiceOptions = { dataDir: database.dataDir, args: ['--roles', 'push,ops'], env: common };
    t.match(await runCommand(['migrate'], imOptions), { code: 0 });
    const im = await spawnService(imOptions);
    let worker = await spawnService(workerOptions);
    t.teardown(() => {
      im.process.kill('SIGKILL');
      worker.process.kill('SIGKILL');
    });

    const { sent, done } = await sendAll(
      t,
      () => `http://127.0.0.1:${port}`,
      messages,
      async () => {
        // Every receiver has an iPhone that was cut off a minute ago.
        const { rowCount } = await db.pool.query(
          `with phones as (
         insert into terminal (account_id, platform, generation, state, link_id, last_there_ms)
         select id, 'iOS', 1, 'push-online', 'lost.1', $1 from account where identifier ~ '^p[0-9]*[13579]$'
         returning account_id
       )
       insert into push_device (sdk_app_id, account_id, platform, generation, channel, token, badge, registered_ms, seen_ms)
       select $2, account_id, 'iOS', 1, 'apns', lpad(to_hex(account_id), 64, '0'), 0, $1, $1 from phones`,
          [Date.now() - 60_000, sdkAppId],
        );
        t.equal(rowCount, conversations);
      },
    );
    const share = Math.floor(messages / (kills + 1));
    for (let kill = 1; kill <= kills; kill++) {
      await until(() => apns.taken >= share * kill, 120_000);
      worker.process.kill('SIGKILL');
      await worker.exited;
      worker = await spawnService(workerOptions);
      const before = apns.received;
      await until(() => apns.received > before, 5_000);
    }
    await done;
    t.equal(sent.length, messages);

    const count = async (where: string): Promise<number> =>
      (await db.pool.query<{ n: number }>(`select count(*) as n from push_item where ${where}`)).rows[0]?.n ?? -1;
    await until(async () => (await count("outcome = 'accepted'")) >= messages, 120_000).catch(() => {});
    const { rows: outcomes } = await db.pool.query('select outcome, count(*) as n from push_item group by outcome');
    t.strictSame(
      outcomes,
      [{ outcome: 'accepted', n: messages }],
      'one push a message and phone, and every one was taken',
    );

    const { rows: devices } = await db.pool.query<{ token: string; badge: number }>(
      'select token, badge from push_device',
    );
    t.equal(devices.length, conversations);
    for (const { token, badge } of devices) {
      const shown = apns.shown(token);
      const texts = shown.map(({ body }) => (JSON.parse(body) as { aps: { alert: string } }).aps.alert);
      const wanted = messages / conversations;
      if (shown.length !== wanted || new Set(texts).size !== wanted || badge !== wanted) {
        t.fail('a phone does not show each message once', {
          token,
          shown: shown.length,
          texts: new Set(texts).size,
          badge,
        });
      }
    }
    t.comment(`${apns.taken - messages} of ${messages} were taken twice, and showed once`);
    // What was under way at each kill, and on each connection that was lost.
    t.ok(apns.taken - messages < messages / 10 + 100 * kills, 'few were sent twice');

    // What this process has of queues, operators see here.
    const board = await fetch(`${worker.ops}/ops/queues/api/queues`, {
      headers: { authorization: `Bearer ${opsToken}` },
      signal: AbortSignal.timeout(10_000),
    });
    const { queues } = (await board.json()) as { queues: { name: string }[] };
    t.strictSame(
      queues.map(({ name }) => name),
      ['push'],
    );

    for (const service of [im, worker]) {
      service.process.kill('SIGTERM');
      t.match(await service.exited, { code: 0 });
    }
  },
);
