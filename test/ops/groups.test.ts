import t from 'tap';
import { createHealth, createLogger, createMetrics } from '../../src/observe/index.ts';
import { createOps, type OpsDeps } from '../../src/ops/index.ts';
import { createListenerMetrics, openListener } from '../../src/server/listeners.ts';
import { imAppId, openIm } from '../support/im.ts';

const viewer = 'viewer-token-of-the-test';

t.test('[G31] [O3] whose messages the rate limit of a group dropped, of which priority, and why', async (t) => {
  const { im, call, app } = await openIm(t, {
    app: { groupRate: { perSec: 2, normalPerSec: 2, lowPerSec: 2, lowestPerSec: 2 } },
  });
  for (const Identifier of ['lin', 'mo']) await call('im_open_login_svc/account_import', { Identifier });
  const made = await call('group_open_http_svc/create_group', { Type: 'Public', Name: 'tea', Owner_Account: 'lin' });
  const group = String(made.GroupId);
  const MsgBody = [{ MsgType: 'TIMTextElem', MsgContent: { Text: 'tea' } }];
  const answers = await Promise.all(
    Array.from({ length: 9 }, (_, Random) =>
      call('group_open_http_svc/send_group_msg', {
        GroupId: group,
        From_Account: 'mo',
        Random,
        MsgPriority: 'Low',
        MsgBody,
      }),
    ),
  );
  t.ok(
    answers.every(({ ActionStatus }) => ActionStatus === 'OK'),
    'every sender has success',
  );
  const dropped = answers.filter(({ MsgSeq }) => MsgSeq === 0).length;
  t.equal(dropped, 5, 'two go in their second, two in the next');

  const logger = createLogger({ level: 'silent' });
  const metrics = createMetrics();
  const ops = await createOps(
    {
      apps: { get: async (id: number) => (id === imAppId ? { settings: app } : undefined) },
      logger,
      metrics,
      health: createHealth({ logger, metrics }),
      effectiveConfig: () => ({}),
      groupDrops: im.groupDrops,
    } as unknown as OpsDeps,
    { tokens: [{ name: 'viewer', role: 'viewer', token: viewer }] },
  );
  t.teardown(() => ops.close());
  const listener = await openListener(
    { logger, metrics: createListenerMetrics(metrics) },
    { name: 'ops', address: { host: '127.0.0.1', port: 0 }, handlers: { request: ops.handler } },
  );
  t.teardown(() => listener.close(0));
  const ask = async (path: string, token = viewer) => {
    const answer = await fetch(`${listener.url}/ops/v1/apps/${path}`, {
      headers: { Authorization: `Bearer ${token}` },
    });
    return { status: answer.status, body: await answer.json() };
  };
  const page = `${imAppId}/groups/dropped?group=${encodeURIComponent(group)}`;
  t.match(await ask(page), {
    status: 200,
    body: { messages: 5, lines: [{ sender: 'mo', priority: 'Low', reason: 'total', messages: 5 }] },
  });
  t.match(await ask(page, 'nobody'), { status: 401 });
  t.match(await ask(`${imAppId}/groups/dropped`), { status: 400, body: { error: { field: 'group' } } });
  t.match(await ask(`${imAppId}/groups/dropped?group=none`), { status: 404 });
  for (const wrong of ['%00', '%C3%A9', 'x'.repeat(49), 'a&group=b']) {
    const answer = await ask(`${imAppId}/groups/dropped?group=${wrong}`);
    t.match(answer, { status: 400, body: { error: { field: 'group', allowed: /printable ASCII/ } } }, wrong);
  }
  t.match(await ask(`${imAppId + 1}/groups/dropped?group=none`), { status: 404 });
});
