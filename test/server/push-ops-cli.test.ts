import { generateKeyPairSync, randomBytes } from 'node:crypto';
import t from 'tap';
import { createControlBus } from '../../src/store/index.ts';
import { runInProcess } from '../support/cli.ts';
import { openTestDatabase, until } from '../support/database.ts';

const { db, dataDir, logger } = await openTestDatabase(t);
const app = 1_400_000_000;
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' });
const env = {
  QALGATE_DATA: dataDir,
  QALGATE_MASTER_KEY: randomBytes(32).toString('base64'),
  QALGATE_APPS: JSON.stringify([
    {
      sdkAppId: app,
      secret: 'a secret of sixteen or more',
      push: { apns: { key, keyId: 'ABCDEFGHIJ', teamId: 'TEAMTEAMID', topic: 'com.example.chat' } },
    },
    { sdkAppId: 9, secret: 'a secret of sixteen or more' },
  ]),
  USER: 'lin',
};
const run = (...args: string[]) => runInProcess(['push', ...args, '--app', String(app)], env);
async function json(...args: string[]): Promise<Record<string, never>> {
  const { code, stdout, stderr } = await run(...args, '--json');
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

const nowMs = Date.now();
const day = Math.floor(nowMs / 86_400_000);
const { rows: accounts } = await db.pool.query(
  "insert into account (sdk_app_id, identifier, created_ms) values ($1, 'bob', $2) returning id",
  [app, nowMs],
);
const bob = accounts[0].id;
/** A push of bob's, ended or not. */
async function item(outcome: string | null, reason: string | null): Promise<number> {
  const { rows } = await db.pool.query(
    `insert into push_item (day, sdk_app_id, channel, kind, account_id, platform, due_ms, deadline_ms, created_ms, done_ms, outcome, reason)
     values ($1, $2, 'apns', 1, $3, 'iOS', $4, $5, $4, case when $6::text is null then null else $4::bigint end, $6, $7) returning id`,
    [day, app, bob, nowMs, nowMs + 3_600_000, outcome, reason],
  );
  return rows[0].id;
}

t.test('[O1][O3] status, list and devices', async (t) => {
  t.match(await run('list'), { code: 0, stdout: 'no pushes\n' });
  t.match(await run('list', '--account', 'bob'), { code: 0, stdout: /no device of a receiver had a token/ });
  t.match(await runInProcess(['push', 'list', '--app', '9'], env), {
    stdout: /neither push\.apns nor push\.fcm is set/,
  });
  const [dead] = [await item('dead', 'BadTopic'), await item('skipped', 'read'), await item(null, null)];
  t.match(await run('list', '--state', 'dead'), {
    code: 0,
    stdout: new RegExp(`^${dead} .*bob iOS .*given up: BadTopic; retry sends it again\n$`),
  });
  t.match(await json('list'), {
    pushes: [{ state: 'waiting' }, { why: /had read it/ }, { state: 'dead' }],
    next: null,
  });
  t.match(await run('list', '--limit', '1'), { stdout: /more: --before \d+\n$/ });
  const status = (await run('status')).stdout;
  t.match(
    status,
    /^services: apns\ndevices: none\nwaiting:\n {2}apns {2}1 {2}of messages {2}since .*\nwithin the last hour:\n/,
  );
  t.match(status, /given up: 1\npaused: nothing\n$/);
  t.match(await run('devices', 'bob'), { code: 0, stdout: 'no terminal of it has set a token\n' });
  t.match(await run('devices', 'nobody'), { code: 1, stderr: /the app has no account nobody/ });
  t.match(await run('list', '--key', '1_2_3'), { code: 2, stderr: /--account: is missing/ });
  t.match(await run('list', '--state', 'sent'), { code: 2, stderr: /Allowed choices are waiting/ });
});

t.test('nothing that others have written acts on the terminal', async (t) => {
  const { rows } = await db.pool.query(
    "insert into account (sdk_app_id, identifier, created_ms) values ($1, E'\\x1b[2Jeve', 1) returning id",
    [app],
  );
  await db.pool.query('update push_item set account_id = $2 where id = $1', [
    await item('dead', 'a\u009bword'),
    rows[0].id,
  ]);
  for (const [command, shown] of [
    ['list', /\\u001b\[2Jeve iOS .*a\\u009bword/],
    ['status', /dead {5}a\\u009bword/],
  ] as const) {
    const { stdout } = await run(command);
    t.match(stdout, shown);
    t.notMatch(stdout, /[\u001b\u009b]/);
  }
  t.match((await run('devices', '\u001b[2Jbob')).stderr, /no account \\u001b\[2Jbob/);
  await db.pool.query('delete from push_item where account_id = $1', [rows[0].id]);
});

t.test('[O2] retry, drop, pause and resume', async (t) => {
  const control = createControlBus(db, { logger });
  t.teardown(() => control.close());
  await control.ready();
  const told: unknown[] = [];
  control.subscribe('audit', (change) => told.push(change));
  t.match(await run('retry'), { code: 2, stderr: /--all: is missing/ });
  t.match(await run('retry', '--all'), { code: 0, stdout: '1 are sent again\n' });
  const ids = [await item('dead', 'BadTopic'), await item('dead', 'BadTopic')];
  t.match(await run('drop', '--state', 'dead', '--all'), { code: 2, stderr: /repeat with --yes/ });
  t.match(await run('drop', String(ids[0]), '--state', 'dead', '--yes'), { code: 0, stdout: '1 dropped\n' });
  t.match(await json('drop', '--state', 'waiting', '--channel', 'apns', '--yes'), { dropped: 2 });
  t.match(await run('drop', 'x', '--state', 'dead', '--yes'), {
    code: 2,
    stderr: /<push>: is no list of pushes; allowed: 1 to 1000 numbers/,
  });
  t.match(await run('pause', '--channel', 'apns'), {
    code: 0,
    stdout: /^paused:\n {2}apns {2}by cli \(lin\) {2}since /,
  });
  t.match(await run('pause', '--channel', 'sms'), { code: 2 });
  t.match(await json('status'), { pauses: [{ channel: 'apns', reason: 'operator', actor: 'cli (lin)' }] });
  t.match(await run('resume'), { code: 0, stdout: '1 pause ended\n' });
  t.match(await run('resume'), { code: 0, stdout: 'nothing was paused\n' });
  const changes = [
    'retry all=true',
    `drop state=dead ids=${ids[0]}`,
    'drop state=waiting channel=apns',
    'pause channel=apns',
    'resume',
    'resume',
  ];
  await until(() => told.length >= changes.length);
  t.strictSame(
    told,
    changes.map((change) => ({
      actor: 'cli (lin)',
      command: 'ops.push.write',
      target: `${app}/${change}`,
      outcome: 'ok',
    })),
    'for the audit log',
  );
});
