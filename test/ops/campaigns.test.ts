import t from 'tap';
import { createCampaignAdmin } from '../../src/im/index.ts';
import { createHealth, createLogger, createMetrics } from '../../src/observe/index.ts';
import { createOps, type OpsDeps } from '../../src/ops/index.ts';
import { createListenerMetrics, openListener } from '../../src/server/listeners.ts';
import { until } from '../support/database.ts';
import { imAppId, openIm } from '../support/im.ts';

const viewer = 'viewer-token-of-the-test';
const operator = 'operator-token-of-the-test';

t.test('[O1] [O2] pushes to many: lists, dry runs, pause, resume and cancel, with their audit', async (t) => {
  const { call, app, db, clock } = await openIm(t, { app: { campaignPerSec: 4 } });
  await call('im_open_login_svc/multiaccount_import', { Accounts: ['lin', 'mo', 'zed'] });
  await call('openim/im_add_tag', { UserTags: [{ To_Account: 'mo', Tags: ['gold'] }] });
  const MsgBody = [{ MsgType: 'TIMTextElem', MsgContent: { Text: 'secret words' } }];
  const push = async (MsgRandom: number, more: object) => {
    clock.advance(2);
    return String((await call('openim/im_push', { MsgRandom, MsgBody, MsgLifeTime: 600, ...more })).TaskId);
  };
  const first = await push(1, { Condition: { TagsAnd: ['gold'] } });

  const lines: Record<string, unknown>[] = [];
  const destination = { write: (line: string) => void lines.push(JSON.parse(line)) };
  const logger = createLogger({ level: 'info', destination });
  const metrics = createMetrics();
  const ops = await createOps(
    {
      apps: { get: async (id: number) => (id === imAppId ? { settings: app } : undefined) },
      logger,
      metrics,
      health: createHealth({ logger, metrics }),
      effectiveConfig: () => ({}),
      campaignAdmin: createCampaignAdmin({ db, clock: Date.now }),
    } as unknown as OpsDeps,
    {
      tokens: [
        { name: 'looks', role: 'viewer', token: viewer },
        { name: 'oncall', role: 'operator', token: operator },
      ],
    },
  );
  t.teardown(() => ops.close());
  const listener = await openListener(
    { logger, metrics: createListenerMetrics(metrics) },
    { name: 'ops', address: { host: '127.0.0.1', port: 0 }, handlers: { request: ops.handler } },
  );
  t.teardown(() => listener.close(0));
  const ask = async (path: string, body?: unknown, token = operator, sdkAppId = imAppId) => {
    const answer = await fetch(`${listener.url}/ops/v1/apps/${sdkAppId}/campaigns${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    t.notMatch(text, /secret words/, 'never what is sent');
    return { status: answer.status, body: JSON.parse(text) };
  };

  const id = (await ask('', undefined, viewer)).body.campaigns[0].id;
  await until(async () => (await ask(`/${id}`, undefined, viewer)).body.campaign.state === 'done');
  t.match(await ask(`/${first}`, undefined, viewer), {
    status: 200,
    body: {
      campaign: {
        ...{ id, taskId: first, state: 'done', admin: 'admin', from: 'admin', lifetimeSec: 600 },
        ...{ condition: { TagsAnd: ['gold'] }, selected: 1, finished: 1, total: 1, actor: null },
        pushes: { queued: 0, accepted: 0, others: [] },
      },
    },
  });
  // It takes a second to reach three.
  const second = await push(2, {});
  await until(async () => (await ask(`/${second}`)).body.campaign.state === 'running');
  t.match(await ask(`/${second}/pause`, {}), { status: 200, body: { campaign: { state: 'paused', actor: 'oncall' } } });
  t.match(await ask(`/${second}/pause`, {}), { status: 409, body: { error: { code: 'CONFLICT' } } });
  t.match(await ask(`/${second}/resume`, {}), { status: 200, body: { campaign: { state: 'running' } } });
  await until(async () => (await ask(`/${second}`)).body.campaign.state === 'done');
  t.match(await ask(`/${second}/cancel`, {}), { status: 409, body: { error: { reason: /done cannot be cancelled/ } } });
  t.match(await ask('?state=done&limit=1'), { body: { campaigns: [{ taskId: second }], next: id + 1 } });
  t.match(await ask(`?after=${id + 1}`), { body: { campaigns: [{ taskId: first }], next: null } });
  t.match(await ask('?state=paused'), { status: 200, body: { campaigns: { length: 0 } } });

  t.match(await ask('/dry-run', { condition: { TagsOr: ['gold', 'none'] } }, viewer), { body: { accounts: 1 } });
  t.match(await ask('/dry-run', {}, viewer), { status: 200, body: { accounts: 4 } });
  t.match(await ask('/dry-run', { isOnline: true }), { status: 200, body: { accounts: 0 } });

  const bad: [path: string, body: unknown, status: number, field: string | undefined][] = [
    ['?state=away', undefined, 400, 'state'],
    ['?limit=0', undefined, 400, 'limit'],
    ['?limit=101', undefined, 400, 'limit'],
    ['?after=x', undefined, 400, 'after'],
    ['?before=5', undefined, 400, 'before'],
    ['/999', undefined, 404, undefined],
    ['/none/pause', {}, 404, undefined],
    ['/dry-run', [], 400, undefined],
    ['/dry-run', { conditions: {} }, 400, 'conditions'],
    ['/dry-run', { isOnline: 1 }, 400, 'isOnline'],
    ['/dry-run', { condition: {} }, 400, 'condition'],
    ['/dry-run', { condition: { TagsOr: [''] } }, 400, 'condition.TagsOr[0]'],
    ['/dry-run', { condition: { AttrsOr: { hat: 'x' } } }, 400, 'condition.AttrsOr.hat'],
  ];
  for (const [path, body, status, field] of bad) {
    t.match(await ask(path, body), { status, body: { error: field === undefined ? {} : { field } } }, path);
  }
  for (const path of ['', '/1', '?limit=1']) t.match(await ask(path, undefined, operator, 7), { status: 404 }, path);
  for (const what of ['pause', 'resume', 'cancel']) {
    t.match(await ask(`/${id}/${what}`, {}, viewer), { status: 403 }, what);
    t.match(await ask(`/${id}/${what}`, {}, operator, 7), { status: 404, body: { error: { code: 'APP_UNKNOWN' } } });
  }
  const audited = lines.filter(({ event, command }) => event === 'ops.audit' && command === 'ops.campaign.write');
  t.match(audited[0], { actor: 'oncall', target: `${imAppId}/pause ${second}`, outcome: 'ok' });
  t.match(audited[1], { target: `${imAppId}/pause ${second}`, outcome: 'CONFLICT' });
});
