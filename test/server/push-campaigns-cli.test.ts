import { randomBytes } from 'node:crypto';
import t from 'tap';
import { createControlBus } from '../../src/store/index.ts';
import { runInProcess } from '../support/cli.ts';
import { openTestDatabase, until } from '../support/database.ts';

const { db, dataDir, logger } = await openTestDatabase(t);
const app = 1_400_000_000;
const secret = 'a secret of sixteen or more';
const env = {
  QALGATE_DATA: dataDir,
  QALGATE_MASTER_KEY: randomBytes(32).toString('base64'),
  QALGATE_APPS: JSON.stringify([
    { sdkAppId: app, secret },
    { sdkAppId: 9, secret },
  ]),
  USER: 'lin',
};
const run = (...args: string[]) => runInProcess(['push', 'campaigns', ...args, '--app', String(app)], env);
async function json(...args: string[]): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await run(...args, '--json');
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

const { rows: accounts } = await db.pool.query<{ id: number }>(
  `insert into account (sdk_app_id, identifier, created_ms) values ($1, 'shop', 0) returning id`,
  [app],
);
let made = 0;
/** One to a hundred, of whom some got it. */
async function campaign(state: string, more: { condition?: object; finished?: number } = {}): Promise<number> {
  const { condition, finished = 0 } = more;
  const { rows } = await db.pool.query<{ id: number }>(
    `insert into campaign (
       sdk_app_id, task_id, admin, sender_id, random, msg_seq, day, condition, terms, body, lifetime_sec, state, selected, finished,
       created_ms, started_ms, ended_ms
     ) values (
       $1, $2, 'admin', $3, 1, 1, 1, $4, '{}', '[{"MsgType":"TIMTextElem","MsgContent":{"Text":"secret words"}}]', 600, $5, 100, $6,
       1543500000000, case when $5 <> 'waiting' then 1543500001000 end, case when $5 = 'done' then 1543500002000 end
     ) returning id`,
    [
      app,
      `${app}_admin_1543500000_${++made}`,
      accounts[0]?.id,
      condition === undefined ? null : JSON.stringify(condition),
      state,
      finished,
    ],
  );
  return rows[0]?.id ?? 0;
}

t.test('[O1] lists of pushes to many, and one of them', async (t) => {
  t.match(await run(), { code: 0, stdout: 'no campaigns\n', stderr: '' });
  const done = await campaign('done', { finished: 99 });
  const running = await campaign('running', { finished: 40, condition: { TagsAnd: ['gold', 'a\u202eb'] } });
  const { stdout } = await run();
  t.match(
    stdout,
    /^CAMPAIGN +ASKED FOR +STATE +RECEIVERS +FROM +TO\n\d+ +2018-11-29T14:00:00.000Z +running +40 of 100 +shop +\{"TagsAnd":\["gold","a\\u202eb"\]\}\n.* +done +99 of 99 +shop +everybody\n$/,
  );
  t.equal((await run('list')).stdout, stdout, 'a list is what there is to see where nothing else is asked for');
  t.match(await run('list', '--state', 'done'), { stdout: new RegExp(`\\n${done} .*\\n$`) });
  t.match(await run('--state', 'paused'), { code: 0, stdout: 'no campaigns\n' });
  t.match(await run('list', '--limit', '1'), { stdout: new RegExp(`\\nmore: --after ${running}\\n$`) });
  t.match(await json('list', '--limit', '1'), { campaigns: [{ id: running, total: 100 }], next: running });
  t.match(await json('list', '--after', String(running)), { campaigns: [{ id: done }], next: null });
  t.match(await runInProcess(['push', 'campaigns', '--app', '9'], env), { code: 0, stdout: 'no campaigns\n' });

  const day = Math.floor(Date.now() / 86_400_000);
  await db.pool.query(
    `insert into push_item (day, sdk_app_id, channel, kind, campaign_id, deadline_ms, created_ms, outcome, reason, done_ms, opened_ms)
     select $1, $2, 'apns', 1, $3, 0, 0, o, case when o = 'dead' then 'BadTopic' end, case when o is not null then 1 end,
       case when o = 'accepted' then 2 end
     from unnest($4::text[]) as o`,
    [day, app, running, [null, 'accepted', 'dead', 'dead', 'expired']],
  );
  const shown = await run('show', String(running));
  t.equal(shown.code, 0);
  t.match(
    shown.stdout,
    [
      `campaign ${running}, ${app}_admin_1543500000_${made}`,
      'state: running',
      'receivers: 40 of 100',
      'from: shop, sent by admin',
      'to: {"TagsAnd":["gold","a\\u202eb"]}',
      'kept: 600 s for whoever is away',
      'times: asked for 2018-11-29T14:00:00.000Z, begun 2018-11-29T14:00:01.000Z',
      'pushes: 1 waiting, 1 accepted, 1 opened',
      '  2  dead     BadTopic',
      '  1  expired',
      '',
    ].join('\n'),
  );
  t.equal((await run('show', `${app}_admin_1543500000_${made}`)).stdout, shown.stdout, 'by its TaskId as well');
  t.match(await json('show', String(done)), { campaign: { id: done, state: 'done', pushes: { others: [] } } });
  t.match(await run('show', String(done)), { stdout: /, ended 2018-11-29T14:00:02.000Z\npushes: 0 waiting/ });
  for (const output of [stdout, shown.stdout, JSON.stringify(await json('show', String(running)))]) {
    t.notMatch(output, /secret words/, 'never what is sent');
  }

  const bad: [args: string[], code: number, stderr: RegExp][] = [
    [['--state', 'away'], 2, /Allowed choices are waiting, running, paused, done, cancelled/],
    [['--limit', '0'], 2, /--limit: is out of range; allowed: 1 … 100/],
    [['--limit', '101'], 2, /--limit: is out of range/],
    [['--after', 'x'], 2, /--after: is no place; allowed: `next` of the page before/],
    [['show'], 2, /missing required argument 'campaign'/],
    [['show', '999'], 1, /app 1400000000 has no push to many 999/],
    [['show', 'a\u001b[2J'], 1, /no push to many a\\u001b\[2J/],
    [['pause', 'none'], 1, /app 1400000000 has no push to many none/],
    [['stop', String(running)], 2, /too many arguments/],
  ];
  for (const [args, code, stderr] of bad) t.match(await run(...args), { code, stderr, stdout: '' }, args.join(' '));
  t.match(await runInProcess(['push', 'campaigns', 'show', String(running), '--app', '9'], env), {
    code: 1,
    stderr: /app 9 has no push to many/,
  });
  t.match(await runInProcess(['push', 'campaigns'], env), { code: 2, stderr: /'-a, --app <number>' not specified/ });
});

t.test('[O2] pause, resume and cancel', async (t) => {
  const control = createControlBus(db, { logger });
  t.teardown(() => control.close());
  await control.ready();
  const told: unknown[] = [];
  control.subscribe('audit', (change) => told.push(change));
  const running = String(await campaign('running', { finished: 40 }));
  const waiting = String(await campaign('waiting'));
  t.match(await run('pause', running), { code: 0, stdout: `campaign ${running} is paused: 40 of 100\n` });
  t.match(await run('show', running), { stdout: /\nstate: paused\nchanged: cli \(lin\)\n/ });
  t.match(await run('pause', running), {
    code: 1,
    stderr: /a campaign that is paused cannot be paused; possible: waiting, running/,
  });
  t.match(await json('resume', running), { campaign: { state: 'running', actor: 'cli (lin)' } });
  t.match(await run('resume', waiting), { code: 1, stderr: /waiting cannot be resumed; possible: paused/ });
  t.match(await run('cancel', waiting), { code: 0, stdout: `campaign ${waiting} is cancelled: 0 of 100\n` });
  t.match(await run('cancel', running), { code: 0, stdout: `campaign ${running} is cancelled: 40 of 100\n` });
  t.match(await run('resume', running), { code: 1, stderr: /is cancelled cannot be resumed/ });
  const { rows } = await db.pool.query(
    'select state, ended_ms is not null as ended from campaign where id = any ($1)',
    [[running, waiting]],
  );
  t.strictSame(rows, [
    { state: 'cancelled', ended: true },
    { state: 'cancelled', ended: true },
  ]);
  const changes = [
    ['pause', running, 'ok'],
    ['pause', running, 'failed'],
    ['resume', running, 'ok'],
    ['resume', waiting, 'failed'],
    ['cancel', waiting, 'ok'],
    ['cancel', running, 'ok'],
    ['resume', running, 'failed'],
  ];
  await until(() => told.length >= changes.length);
  t.strictSame(
    told,
    changes.map(([change, name, outcome]) => ({
      actor: 'cli (lin)',
      command: 'ops.campaign.write',
      target: `${app}/${change} ${name}`,
      outcome,
    })),
    'for the audit log',
  );
});
