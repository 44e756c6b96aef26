import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { signUserSig } from '../../src/auth/index.ts';
import { createMetrics } from '../../src/observe/index.ts';
import { openApnsSandbox } from '../../src/push/sandbox/apns.ts';
import { createCertificate } from '../../src/push/sandbox/certificate.ts';
import { openDatabase } from '../../src/store/index.ts';
import { makeDataDir, makeTestLogger, until } from '../support/database.ts';
import { freePort } from '../support/free-port.ts';
import { type Service, spawnService } from '../support/service.ts';

/** Receivers; the full show has 200,000. */
const count = Number(process.env.CAMPAIGN_RECIPIENTS ?? 20_000);
const kills = 5;
const limitMs = 120_000 + count * 10;

// The whole file, also when it runs by itself.
t.setTimeout(limitMs);

const sdkAppId = 1_400_000_000;
const secret = 'a secret of sixteen or more';
/** Two campaigns at once: to everybody, and to those with a tag, every third account. */
const campaigns = [
  { MsgRandom: 1, receivers: count },
  { MsgRandom: 2, receivers: Math.floor(count / 3), Condition: { TagsAnd: ['third'] } },
];

t.test(
  `[B5][S7] two pushes to ${count} phones and a third of them, with the program killed ${kills} times`,
  { timeout: limitMs },
  async (t) => {
    const dataDir = await makeDataDir(t);
    const port = await freePort();
    // Every receiver has an iPhone that is cut off.
    const tls = createCertificate('localhost');
    const caFile = path.join(t.testdir(), 'ca.pem');
    await writeFile(caFile, tls.cert);
    const apns = await openApnsSandbox({ tls, maxDevices: 2 * count, maxArrivals: 1 });
    t.teardown(() => apns.close());
    const { key, keyId, teamId } = apns.credentials;
    const phones = { key, keyId, teamId, topic: 'com.example.chat', endpoint: apns.url, caFile };
    const apps = [
      { sdkAppId, secret, im: { appPerSec: 0, commandPerSec: 0, campaignPerSec: 0 }, push: { apns: phones } },
    ];
    const options = {
      dataDir,
      args: ['--roles', 'im,push,ops'],
      env: { QALGATE_LISTEN_IM: `127.0.0.1:${port}`, QALGATE_APPS: JSON.stringify(apps), QALGATE_LOG_ACCESS: 'false' },
    };
    let service: Service = await spawnService(options);
    t.teardown(() => service.process.kill('SIGKILL'));

    /** The database of the program, for as long as it runs. */
    async function query<Row extends object>(text: string, values: unknown[] = []): Promise<Row[]> {
      const { logger } = makeTestLogger();
      const db = await openDatabase(
        { logger, metrics: createMetrics() },
        { dataDir, database: 'embedded', use: 'command' },
      );
      try {
        // Of all messages, where there are many.
        const client = await db.pool.connect();
        try {
          await client.query('set statement_timeout = 0');
          const { rows } = await client.query<Row>({ text, values, query_timeout: limitMs } as never);
          return rows;
        } finally {
          client.release(true);
        }
      } finally {
        await db.close();
      }
    }

    async function call(command: string, body: object): Promise<Record<string, unknown>> {
      const identifier = 'admin';
      const issuedAtSec = Math.floor(Date.now() / 1_000) - 10;
      const usersig = signUserSig({ sdkAppId, identifier, secret, expireSec: 86_400, issuedAtSec });
      const parameters = new URLSearchParams({ sdkappid: String(sdkAppId), identifier, usersig, random: '1' });
      const response = await fetch(`http://127.0.0.1:${port}/v4/openim/${command}?${parameters}`, {
        method: 'POST',
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(10_000),
      });
      return (await response.json()) as Record<string, unknown>;
    }

    await query(
      `insert into account (sdk_app_id, identifier, created_ms) select $1, 'u' || i, 0 from generate_series(1, $2::int) as i`,
      [sdkAppId, count],
    );
    await query(
      `with phones as (
         insert into terminal (account_id, platform, generation, state, link_id, last_there_ms)
         select id, 'iOS', 1, 'push-online', 'lost.1', $1 from account where identifier like 'u%' returning account_id
       )
       insert into push_device (sdk_app_id, account_id, platform, generation, channel, token, registered_ms, seen_ms)
       select $2, account_id, 'iOS', 1, 'apns', lpad(to_hex(account_id), 64, '0'), $1, $1 from phones`,
      [Date.now() - 60_000, sdkAppId],
    );
    await query(
      `insert into audience_mark (account_id, slot, value, sdk_app_id)
     select id, -1, 'third', $1 from account where identifier like 'u%' and substr(identifier, 2)::int % 3 = 0`,
      [sdkAppId],
    );

    const TaskIds: string[] = [];
    for (const { receivers: _, ...push } of campaigns) {
      const started = await until(async () => {
        const answer = await call('im_push', {
          ...push,
          MsgLifeTime: 86_400,
          MsgBody: [{ MsgType: 'TIMTextElem', MsgContent: { Text: 'sale' } }],
        });
        // They have to be more than a second apart.
        return answer.ErrorCode === 90024 ? undefined : answer;
      });
      t.match(started, { ActionStatus: 'OK', ErrorCode: 0 });
      TaskIds.push(String(started.TaskId));
    }

    /** Progress as it was told, each campaign's own. */
    const told = TaskIds.map(() => [0]);
    const isBackwards = () => told.some((list) => list.some((finished, i) => finished < (list[i - 1] ?? 0)));
    async function progress(): Promise<{ total: number; isDone: boolean }> {
      const { Reports } = (await call('im_get_push_report', { TaskIds })) as {
        Reports: { Status: number; Finished: number }[];
      };
      for (const [i, { Finished }] of Reports.entries()) told[i]?.push(Finished);
      return {
        total: Reports.reduce((sum, { Finished }) => sum + Finished, 0),
        isDone: Reports.every(({ Status }) => Status === 2),
      };
    }

    const all = campaigns.reduce((sum, { receivers }) => sum + receivers, 0);
    const startedMs = performance.now();
    let awayMs = 0;
    const resumedMs: number[] = [];
    for (let kill = 1; kill <= kills; kill++) {
      await until(async () => (await progress()).total >= (all * kill) / (kills + 1), limitMs);
      service.process.kill('SIGKILL');
      const killedMs = performance.now();
      await service.exited;
      service = await spawnService(options);
      awayMs += performance.now() - killedMs;
      const upMs = performance.now();
      const { total } = await progress();
      await until(async () => {
        const now = await progress();
        return now.isDone || now.total > total;
      }, 60_000);
      resumedMs.push(Math.round(performance.now() - upMs));
    }
    await until(async () => (await progress()).isDone, limitMs);
    const tookMs = performance.now() - startedMs - awayMs;
    t.comment(
      `${all} messages in ${(tookMs / 1_000).toFixed(1)} s (${Math.round((all / tookMs) * 1_000)}/s), besides ${kills} starts; went on after ${resumedMs.join(', ')} ms`,
    );
    t.notOk(isBackwards(), 'progress never ran backwards');

    for (const [i, { MsgRandom, receivers }] of campaigns.entries()) {
      t.equal(told[i]?.at(-1), receivers, 'the report counts every receiver');
      // Exactly one message a receiver, and nobody else.
      const [row] = await query<{ messages: number; accounts: number; others: number }>(
        `select count(*) as messages, count(distinct r.id) as accounts, count(*) filter (
         where r.identifier not like 'u%' or ($2 and substr(r.identifier, 2)::int % 3 <> 0)
       ) as others
       from message m join conversation c on c.id = m.conversation_id
       join account r on r.id = case when c.account_a = m.sender_id then c.account_b else c.account_a end
       where m.msg_random = $1`,
        [MsgRandom, i === 1],
      );
      t.strictSame(row, { messages: receivers, accounts: receivers, others: 0 });
    }
    const [rows] = await query<{ conversations: number; members: number; unread: number }>(
      `select (select count(*) from conversation where kind = 1) as conversations,
       (select count(*) from member) as members,
       (select sum(c.counted - m.read_counted - m.uncounted_after_read) from conversation c
        join member m on m.conversation_id = c.id join account a on a.id = m.account_id
        where a.identifier like 'u%')::int as unread`,
    );
    t.strictSame(rows, { conversations: count, members: count * 2, unread: all }, 'nothing is left half done');

    // Exactly one push a receiver and campaign, whatever was killed meanwhile.
    const pushed = async () =>
      await query<{ campaign: number; outcome: string | null; pushes: number; devices: number }>(
        `select campaign_id as campaign, outcome, count(*) as pushes, count(distinct device_id) as devices
         from push_item group by 1, 2 order by 1, 2`,
      );
    await until(async () => (await pushed()).every(({ outcome }) => outcome === 'accepted'), limitMs);
    t.strictSame(
      (await pushed()).map(({ pushes, devices, outcome }) => ({ pushes, devices, outcome })),
      campaigns.map(({ receivers }) => ({ pushes: receivers, devices: receivers, outcome: 'accepted' })),
    );
    const devices = await query<{ token: string; badge: number; third: boolean }>(
      `select d.token, d.badge, substr(a.identifier, 2)::int % 3 = 0 as third
       from push_device d join account a on a.id = d.account_id`,
    );
    const wrong = devices.filter(({ token, badge, third }) => {
      const shown = apns.shown(token).length;
      return shown !== (third ? 2 : 1) || badge !== shown;
    });
    t.strictSame(wrong.slice(0, 5), [], 'each phone shows each campaign once, and counts it once');
    t.comment(`${apns.taken - all} of ${all} pushes were taken twice, and showed once`);
    service.process.kill('SIGTERM');
    t.match(await service.exited, { code: 0 });
  },
);
