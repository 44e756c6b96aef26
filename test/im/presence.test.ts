import { randomUUID } from 'node:crypto';
import t from 'tap';
import type { Account, AccountNo } from '../../src/im/model.ts';
import { createPresence, makeLinkId, type PresenceOptions } from '../../src/im/presence/index.ts';
import {
  bestOf,
  conflictsOf,
  pushOnlineMs,
  stateOf,
  stateWithLink,
  type TerminalFacts,
} from '../../src/im/presence/terminal-state.ts';
import { type KickedBy, type LinkEnd, type Platform, type Presence, platforms } from '../../src/im/services.ts';
import { createMetrics } from '../../src/observe/index.ts';
import { type AppSettings, type ControlBus, createControlBus } from '../../src/store/index.ts';
import type { AccountId } from '../../src/wire/index.ts';
import { completeApp } from '../support/app-settings.ts';
import { openTestDatabase, until } from '../support/database.ts';

const { db, logger } = await openTestDatabase(t);
const pool = db.pool;

const apps = new Map<number, AppSettings>(
  (['single', 'pc-phone', 'all'] as const).map((multiTerminal, index) => [
    index + 1,
    completeApp({ sdkAppId: index + 1, secret: 'a secret of sixteen or more', im: { multiTerminal } }),
  ]),
);
const appOf = { single: 1, 'pc-phone': 2, all: 3 } as const;
type Policy = keyof typeof appOf;

interface Ended {
  linkId: string;
  end: LinkEnd;
  by: KickedBy | undefined;
}
interface TestNode {
  presence: Presence;
  nodeId: string;
  ended: Ended[];
  bus: ControlBus;
  metric(name: string, labels?: Record<string, string>): Promise<number>;
}

let aheadMs = 0;
const clock = () => Date.now() + aheadMs;

async function openNode(
  options: Partial<PresenceOptions> = {},
  settings: { bus?: ControlBus; consumers?: number } = {},
): Promise<TestNode> {
  const bus = settings.bus ?? createControlBus(db, { logger });
  if (settings.bus === undefined) {
    await bus.ready();
    t.teardown(() => bus.close());
  }
  const metrics = createMetrics();
  const nodeId = randomUUID();
  const presence = await createPresence(
    {
      db,
      bus,
      apps: { get: (sdkAppId) => apps.get(sdkAppId), list: () => [...apps.values()] },
      ports: {
        ...(settings.consumers === undefined ? {} : { consumers: () => settings.consumers ?? 0 }),
        written: (_, drainKey) => void written.set(drainKey, (written.get(drainKey) ?? 0) + 1),
      },
      nodeId,
      clock,
      logger,
      metrics,
    },
    options,
  );
  t.teardown(() => presence.close());
  const ended: Ended[] = [];
  presence.onEnd((linkId, end, by) => ended.push({ linkId, end, by }));
  return {
    presence,
    nodeId,
    ended,
    bus,
    async metric(name, labels = {}) {
      const found = await metrics.registry.getSingleMetric(name)?.get();
      const values = found?.values.filter((value) =>
        Object.entries(labels).every(([key, label]) => (value.labels as Record<string, unknown>)[key] === label),
      );
      return values?.reduce((sum, { value }) => sum + value, 0) ?? 0;
    },
  };
}

let accounts = 0;
async function makeAccount(policy: Policy = 'single'): Promise<Account> {
  const identifier = `account-${++accounts}` as AccountId;
  const { rows } = await pool.query<{ id: AccountNo }>(
    'insert into account (sdk_app_id, identifier, created_ms) values ($1, $2, 0) returning id',
    [appOf[policy], identifier],
  );
  return { no: rows[0]?.id as AccountNo, sdkAppId: appOf[policy], identifier };
}

/** Logs in; gives the link's id. Throws a refusal. */
async function login(node: TestNode, account: Account, platform: Platform, resume?: string): Promise<string> {
  const linkId = makeLinkId(resume);
  const result = await node.presence.login({ account, platform, linkId, ...(resume === undefined ? {} : { resume }) });
  if (!result.ok) throw new Error(result.error);
  return linkId;
}

async function placeOf({ no }: Account): Promise<string | null | undefined> {
  const { rows } = await pool.query<{ node_id: string | null }>('select node_id from terminal where account_id = $1', [
    no,
  ]);
  return rows[0]?.node_id;
}

async function stateOfAccount(node: TestNode, account: Account): Promise<string> {
  return (await node.presence.query([account])).get(account.no)?.state ?? 'none';
}

/** How often callbacks were told that there is something of an account, and how much there was at the last look. */
const written = new Map<string, number>();
const looked = new Map<string, { transitions: number; written: number }>();

async function transitions(account: Account): Promise<string[]> {
  const { rows } = await pool.query<{ body: string; sdk_app_id: number }>(
    `select body, sdk_app_id from outbox where event = 'State.StateChange' and drain_key = $1 order by id`,
    [`a${account.no}`],
  );
  const before = looked.get(`a${account.no}`) ?? { transitions: 0, written: 0 };
  const told = () => written.get(`a${account.no}`) ?? 0;
  if (rows.length > before.transitions) await until(() => told() > before.written);
  looked.set(`a${account.no}`, { transitions: rows.length, written: told() });
  return rows.map(({ body, sdk_app_id }) => {
    const event = JSON.parse(body);
    if (event.account !== account.identifier || sdk_app_id !== account.sdkAppId) throw new Error(body);
    // Milliseconds.
    if (Math.abs(event.timeMs - clock()) > 60_000) throw new Error(body);
    return `${event.platform} ${event.state} ${event.reason}`;
  });
}

t.test('[P5] every policy, every pair of kinds', async (t) => {
  const computers: Platform[] = ['Windows', 'Mac', 'Linux', 'Web'];
  const mayStay: Record<Policy, (a: Platform, b: Platform) => boolean> = {
    single: () => false,
    'pc-phone': (a, b) => computers.includes(a) !== computers.includes(b),
    all: (a, b) => a !== b,
  };
  const node = await openNode();
  for (const policy of Object.keys(appOf) as Policy[]) {
    for (const first of platforms) {
      const wrong: Platform[] = [];
      await Promise.all(
        platforms.map(async (second) => {
          const account = await makeAccount(policy);
          const older = await login(node, account, first);
          const newer = await login(node, account, second);
          const kicked = node.ended.find(({ linkId }) => linkId === older);
          if ((kicked === undefined) !== mayStay[policy](first, second)) wrong.push(second);
          if (kicked !== undefined && (kicked.end !== 'kicked' || kicked.by?.platform !== second)) wrong.push(second);
          if (node.ended.some(({ linkId }) => linkId === newer)) wrong.push(second);
          const found = (await node.presence.query([account])).get(account.no);
          const online = found?.terminals.filter(({ state }) => state === 'online').length;
          if (online !== (mayStay[policy](first, second) ? 2 : 1)) wrong.push(second);
        }),
      );
      t.same(wrong, [], `${policy}: ${first}, then each kind`);
    }
  }
  t.equal(await node.metric('qalgate_im_logins_total', { outcome: 'login' }), 3 * 7 * 7 * 2);
  t.equal(await node.metric('qalgate_im_kicks_total', { kind: 'kicked' }), node.ended.length);
});

t.test('[P5] the kinds that a login ends', async (t) => {
  t.same(conflictsOf('single', 'Web'), platforms);
  t.same(conflictsOf('pc-phone', 'Mac'), ['Windows', 'Mac', 'Linux', 'Web']);
  t.same(conflictsOf('pc-phone', 'iPad'), ['iOS', 'iPad', 'Android']);
  t.same(conflictsOf('all', 'Android'), ['Android']);
});

t.test('[P5] two logins at the same instant on two nodes leave one', async (t) => {
  const nodes = await Promise.all([openNode(), openNode()]);
  for (const policy of ['single', 'pc-phone', 'all'] as const) {
    for (let round = 0; round < 25; round++) {
      const account = await makeAccount(policy);
      // The first login ever, so that there is no row yet which both would wait for.
      const kinds: Platform[] = policy === 'all' ? ['iOS', 'iOS'] : ['iOS', round % 2 === 0 ? 'Android' : 'iOS'];
      const linkIds = await Promise.all(nodes.map((node, i) => login(node, account, kinds[i] ?? 'iOS')));
      const { rows } = await pool.query<{ link_id: string }>(
        'select link_id from terminal where account_id = $1 and node_id is not null',
        [account.no],
      );
      const [left] = rows;
      if (rows.length !== 1) t.fail(`${policy}: ${rows.length} links are left`);
      const loser = linkIds.find((linkId) => linkId !== left?.link_id);
      await until(() => nodes.some((node) => node.ended.some((one) => one.linkId === loser)));
      if (nodes.some((node) => node.ended.some((one) => one.linkId === left?.link_id))) t.fail('both were told');
    }
  }
  t.pass('75 rounds');
});

t.test('[P5] a login at the same instant as logins of other kinds deadlocks with none', async (t) => {
  const nodes = await Promise.all([openNode(), openNode()]);
  const account = await makeAccount('pc-phone');
  await Promise.all(
    Array.from({ length: 120 }, (_, i) => {
      const node = nodes[i % 2] as TestNode;
      if (i % 10 === 9) return node.presence.endAll(account, 'kicked-by-admin');
      return login(node, account, platforms[i % 7] as Platform);
    }),
  );
  const { rows } = await pool.query('select platform from terminal where account_id = $1 and node_id is not null', [
    account.no,
  ]);
  t.ok(rows.length <= 2);
});

t.test('resume: the same login goes on over another link', async (t) => {
  const [a, b] = await Promise.all([openNode({}, { consumers: 1 }), openNode({}, { consumers: 1 })]);
  const account = await makeAccount();

  const first = await login(a, account, 'Web');
  const second = await login(b, account, 'Web', first);
  await until(() => a.ended.length > 0);
  t.same(a.ended, [{ linkId: first, end: 'replaced', by: undefined }], 'the old link is ended as its own successor');
  t.same(await transitions(account), ['Web online login'], 'no second login');
  const generation = await pool.query('select login_generation from account where id = $1', [account.no]);
  t.equal(generation.rows[0].login_generation, 1, 'no new generation');

  await a.presence.leave(account, 'Web', first, 'link-closed');
  t.equal(await stateOfAccount(a, account), 'online', 'the old link says nothing any more');

  t.test('when the answer to a resume was lost it is repeated', async (t) => {
    const third = await login(a, account, 'Web', second);
    const again = await login(a, account, 'Web', second);
    t.same(a.ended.at(-1), { linkId: third, end: 'replaced', by: undefined });
    await a.presence.leave(account, 'Web', again, 'link-closed');
    t.equal(await stateOfAccount(a, account), 'offline');
    const back = await login(b, account, 'Web', second);
    t.equal(await stateOfAccount(a, account), 'online');
    t.same(
      await transitions(account),
      ['Web online login', 'Web offline link-closed', 'Web online login'],
      'an end that was told is followed by a return that is told',
    );
    await b.presence.leave(account, 'Web', back, 'logout');
  });

  t.test('after a logout it is a login like any', async (t) => {
    t.same(await a.presence.login({ account, platform: 'Web', linkId: makeLinkId(second), resume: second }), {
      ok: true,
      value: { isResumed: false },
    });
  });
});

t.test('[P5] a resume never takes back a place that another login took', async (t) => {
  const node = await openNode();
  const away = async (kind: Platform, newer: Platform) => {
    const account = await makeAccount('single');
    const lost = await login(node, account, kind);
    await node.presence.leave(account, kind, lost, 'link-closed');
    const place = await login(node, account, newer);
    return { account, lost, place };
  };
  for (const newer of ['Web', 'Android'] as const) {
    const { account, lost, place } = await away('Android', newer);
    const resume = { account, platform: 'Android' as const, resume: lost };
    const refused = await node.presence.login({ ...resume, linkId: makeLinkId(lost) });
    t.match(refused, { ok: false, error: 'KICKED_WHILE_AWAY', by: { platform: newer } }, `${newer} took it`);
    t.equal(
      node.ended.some(({ linkId }) => linkId === place),
      false,
      'and keeps it',
    );
  }
  const { account, lost } = await away('Android', 'Web');
  const resume = { account, platform: 'Android' as const, linkId: makeLinkId(lost), resume: lost };
  t.match(await node.presence.login(resume), { ok: false });
  const fresh = await node.presence.login({ account, platform: 'Android', linkId: makeLinkId() });
  t.same(fresh, { ok: true, value: { isResumed: false } }, 'and is not told twice');
});

t.test('[P5] who was unreachable is told at its next login, once', async (t) => {
  const node = await openNode({}, { consumers: 1 });
  const account = await makeAccount('single');
  const kick = async (phone: 'iOS' | 'Android', reason: 'link-closed' | 'logout' | 'timeout') => {
    const lost = await login(node, account, phone);
    await node.presence.leave(account, phone, lost, reason);
    await login(node, account, 'Web');
    return node.presence.login({ account, platform: phone, linkId: makeLinkId() });
  };
  for (const phone of ['iOS', 'Android'] as const) {
    const told = await kick(phone, 'link-closed');
    t.match(told, { ok: true, value: { isResumed: false, kickedWhileAway: { platform: 'Web' } } });
    const at = told.ok ? told.value.kickedWhileAway?.at : undefined;
    t.ok(Math.abs((at ?? 0) - clock() / 1_000) < 60, 'in seconds');
    t.same(await node.presence.login({ account, platform: phone, linkId: makeLinkId() }), {
      ok: true,
      value: { isResumed: false },
    });
    t.match(await kick(phone, 'timeout'), { value: { kickedWhileAway: {} } }, 'lost');
    t.same(await kick(phone, 'logout'), { ok: true, value: { isResumed: false } }, 'logged out: nothing to tell');
  }

  t.test('a link that lives is told by its link, or else at its next login', async (t) => {
    const account = await makeAccount('single');
    const heard = await login(node, account, 'iOS');
    await login(node, account, 'Web');
    t.ok(node.ended.some(({ linkId }) => linkId === heard));
    await node.presence.leave(account, 'iOS', heard, 'kicked');
    t.same(await node.presence.login({ account, platform: 'iOS', linkId: makeLinkId() }), {
      ok: true,
      value: { isResumed: false },
    });
    await login(node, account, 'Web');
    t.match(
      await node.presence.login({ account, platform: 'iOS', linkId: makeLinkId() }),
      { value: { kickedWhileAway: { platform: 'Web' } } },
      'its socket was dead: nobody confirmed',
    );
    t.same(
      (await transitions(account)).slice(0, 3),
      ['iOS online login', 'iOS offline kicked', 'Web online login'],
      'one transition each',
    );
  });
});

t.test('[P4] iOS without a link is PushOnline for 7 days since it was last there', async (t) => {
  const node = await openNode();
  t.teardown(() => {
    aheadMs = 0;
  });
  for (const kind of ['iOS', 'iPad', 'Android', 'Web'] as const) {
    const isApple = kind === 'iOS' || kind === 'iPad';
    const account = await makeAccount();
    const linkId = await login(node, account, kind);
    t.equal(await stateOfAccount(node, account), 'online', `${kind}: there`);
    await node.presence.report(account, kind, linkId, true);
    t.equal(await stateOfAccount(node, account), isApple ? 'push-online' : 'online', `${kind}: in the background`);
    await node.presence.report(account, kind, linkId, false);
    t.equal(await stateOfAccount(node, account), 'online', `${kind}: in the foreground`);
    await node.presence.report(account, kind, linkId, true);
    await node.presence.leave(account, kind, linkId, 'link-closed');
    t.equal(await stateOfAccount(node, account), isApple ? 'push-online' : 'offline', `${kind}: gone`);
    aheadMs += pushOnlineMs - 60_000;
    t.equal(await stateOfAccount(node, account), isApple ? 'push-online' : 'offline', `${kind}: almost 7 days`);
    aheadMs += 60_000;
    t.equal(await stateOfAccount(node, account), 'offline', `${kind}: 7 days`);
  }
});

t.test('[P1] logout, a closed link, a timeout', async (t) => {
  const node = await openNode({}, { consumers: 1 });
  t.teardown(() => {
    aheadMs = 0;
  });
  const cases: [Platform, 'logout' | 'link-closed' | 'timeout', string, string][] = [
    ['iOS', 'logout', 'offline', 'iOS offline logout'],
    ['iOS', 'link-closed', 'push-online', 'iOS push-online link-closed'],
    ['iOS', 'timeout', 'push-online', 'iOS push-online timeout'],
    ['Web', 'logout', 'offline', 'Web offline logout'],
    ['Web', 'link-closed', 'offline', 'Web offline link-closed'],
    ['Web', 'timeout', 'offline', 'Web offline timeout'],
  ];
  for (const [kind, reason, state, event] of cases) {
    const account = await makeAccount();
    const linkId = await login(node, account, kind);
    await node.presence.leave(account, kind, linkId, reason);
    t.equal(await stateOfAccount(node, account), state);
    await node.presence.leave(account, kind, linkId, reason);
    t.same(await transitions(account), [`${kind} online login`, event], `${event}, once`);
  }
  const account = await makeAccount();
  await node.presence.leave(account, 'iOS', await login(node, account, 'iOS'), 'timeout');
  aheadMs = pushOnlineMs - 400_000;
  t.equal(await stateOfAccount(node, account), 'offline', 'after a timeout the 7 days began 400 s ago');
});

t.test('[P2] many accounts in one query; the best terminal counts', async (t) => {
  const node = await openNode();
  const [both, none, phone] = await Promise.all([makeAccount('all'), makeAccount(), makeAccount()]);
  const iPhone = await login(node, both, 'iOS');
  await login(node, both, 'Web');
  await node.presence.leave(both, 'iOS', iPhone, 'link-closed');
  await node.presence.leave(phone, 'iPad', await login(node, phone, 'iPad'), 'link-closed');
  t.same(
    await node.presence.query([both, none, phone]),
    new Map([
      [
        both.no,
        {
          state: 'online',
          terminals: [
            { platform: 'Web', state: 'online' },
            { platform: 'iOS', state: 'push-online' },
          ],
        },
      ],
      [none.no, { state: 'offline', terminals: [] }],
      [phone.no, { state: 'push-online', terminals: [{ platform: 'iPad', state: 'push-online' }] }],
    ]),
  );
  t.equal(bestOf([]), 'offline');
});

t.test('a terminal of a process that is dead and not found yet', async (t) => {
  const facts: TerminalFacts = { platform: 'Web', state: 'online', isLinked: true, isNodeAlive: false, lastThereMs: 0 };
  t.equal(stateOf(facts, 1_000), 'offline');
  t.equal(stateOf({ ...facts, platform: 'iOS' }, 1_000), 'push-online');
  t.equal(stateOf({ ...facts, platform: 'iOS' }, pushOnlineMs), 'offline');
  t.equal(stateOf({ ...facts, isNodeAlive: true }, pushOnlineMs), 'online');
  t.equal(stateWithLink('Android', true), 'online');
});

t.test('[P7] a node that dies takes its terminals with it within seconds; one survivor tells it', async (t) => {
  const options = { leaseMs: 400, renewMs: 100 };
  const survivors = await Promise.all([openNode(options, { consumers: 3 }), openNode(options, { consumers: 3 })]);
  const survivor = survivors[0] as TestNode;
  const dead = `dead-${randomUUID()}`;
  await pool.query(
    `insert into node (id, started_ms, lease_until) values ($1, 0, clock_timestamp() + interval '300 milliseconds')`,
    [dead],
  );
  const [phone, web] = await Promise.all([makeAccount(), makeAccount()]);
  for (const [account, kind] of [
    [phone, 'iOS'],
    [web, 'Web'],
  ] as const) {
    const linkId = await login(survivor, account, kind);
    await pool.query('update terminal set node_id = $1 where link_id = $2', [dead, linkId]);
  }
  t.equal(await stateOfAccount(survivor, web), 'online', 'its lease is good');
  await until(async () => (await transitions(web)).length > 2, 3_000);
  t.equal(await stateOfAccount(survivor, web), 'offline');
  t.equal(await stateOfAccount(survivor, phone), 'push-online');
  const login2 = 'Web online login';
  t.same(
    await transitions(web),
    [login2, login2, 'Web offline link-closed', 'Web offline link-closed'],
    'two consumers',
  );
  t.same((await transitions(phone)).slice(2), ['iOS push-online link-closed', 'iOS push-online link-closed']);
  await until(async () => (await pool.query('select 1 from node where id = $1', [dead])).rows.length === 0);
  const found = await Promise.all(survivors.map((node) => node.metric('qalgate_im_nodes_expired_total')));
  t.equal(
    found.reduce((sum, count) => sum + count, 0),
    1,
    'one survivor did it',
  );
});

t.test('[P7] when the database was away from all, nobody is taken for dead', async (t) => {
  const options = { leaseMs: 500, renewMs: 50 };
  const [a, b] = await Promise.all([openNode(options, { consumers: 1 }), openNode(options, { consumers: 1 })]);
  const account = await makeAccount();
  await login(a, account, 'Web');
  const dead = `dead-${randomUUID()}`;
  await pool.query(
    `with was as (update node set lease_until = clock_timestamp() - interval '10 seconds')
     insert into node (id, started_ms, lease_until) values ($1, 0, clock_timestamp() - interval '20 seconds')`,
    [dead],
  );
  await until(async () => (await pool.query('select 1 from node where id = $1', [dead])).rows.length === 0);
  await until(async () => {
    const { rows } = await pool.query('select 1 from node where id = any ($1) and lease_until > clock_timestamp()', [
      [a.nodeId, b.nodeId],
    ]);
    return rows.length === 2;
  });
  t.equal(await stateOfAccount(b, account), 'online');
  t.same(await transitions(account), ['Web online login'], 'but for one that was dead before');
});

t.test('[P7] what a former run left is ended at the start', async (t) => {
  const account = await makeAccount();
  const before = await openNode();
  const linkId = await login(before, account, 'Web');
  const dead = `dead-${randomUUID()}`;
  await pool.query(`insert into node (id, started_ms, lease_until) values ($1, 0, now() - interval '3 days')`, [dead]);
  await pool.query('update terminal set node_id = $1, last_there_ms = 5 where link_id = $2', [dead, linkId]);
  const orphan = await makeAccount();
  await pool.query(`update terminal set node_id = 'nobody' where link_id = $1`, [await login(before, orphan, 'Web')]);
  await openNode();
  const { rows } = await pool.query('select node_id, state, last_there_ms from terminal where account_id = $1', [
    account.no,
  ]);
  t.match(rows, [{ node_id: null, state: 'offline' }]);
  const agoMs = clock() - rows[0].last_there_ms;
  t.ok(Math.abs(agoMs - 3 * 86_400_000) < 60_000, 'it was there as long as its process was');
  const orphans = await pool.query('select node_id, state from terminal where account_id = $1', [orphan.no]);
  t.same(orphans.rows, [{ node_id: null, state: 'offline' }], 'nor does a process without a row have any');
});

t.test('[P7] a node whose lease ran out takes its links back, but for those that lost their place', async (t) => {
  const options = { leaseMs: 60_000, renewMs: 50 };
  const [node, other] = await Promise.all([openNode(options, { consumers: 1 }), openNode()]);
  const [kept, taken, gone, behind] = await Promise.all([makeAccount(), makeAccount(), makeAccount(), makeAccount()]);
  await login(node, kept, 'Web');
  await node.presence.report(behind, 'iOS', await login(node, behind, 'iOS'), true);
  const lost = await login(node, taken, 'Web');
  const deleted = await login(node, gone, 'Web');
  // As a survivor does it, and then what happens while this one cannot reach the database.
  const client = await pool.connect();
  try {
    await client.query('begin');
    await client.query('delete from node where id = $1', [node.nodeId]);
    const left = `case when platform = 'iOS' then 'push-online' else 'offline' end`;
    await client.query(`update terminal set node_id = null, state = ${left} where node_id = $1`, [node.nodeId]);
    await client.query('update account set deleted_ms = 1 where id = $1', [gone.no]);
    await client.query('commit');
  } finally {
    client.release();
  }
  await login(other, taken, 'iOS');
  await until(() => node.ended.length >= 2);
  await until(async () => (await stateOfAccount(other, kept)) === 'online');
  t.match(
    node.ended.toSorted((a, b) => (a.end < b.end ? -1 : 1)),
    [
      { linkId: deleted, end: 'account-deleted' },
      { linkId: lost, end: 'kicked', by: { platform: 'iOS' } },
    ],
  );
  t.same((await transitions(kept)).at(-1), 'Web online login');
  await until(async () => (await placeOf(behind)) === node.nodeId);
  t.same(await transitions(behind), ['iOS online login'], '[P4] PushOnline is no login');
  t.equal(await stateOfAccount(other, behind), 'push-online');
  t.equal(await stateOfAccount(other, taken), 'online');
});

t.test('a lost bus message heals; a link whose end was not written down is ended', async (t) => {
  const deaf: ControlBus = {
    publish: async () => {},
    subscribe: () => () => {},
    onReconnect: () => () => {},
    ready: async () => {},
    close: async () => {},
  };
  const options = { leaseMs: 300, renewMs: 50 };
  const [node, other] = await Promise.all([openNode(options, { bus: deaf }), openNode({}, { bus: deaf })]);
  const [web, phone, kicked, resumed] = await Promise.all([makeAccount(), makeAccount(), makeAccount(), makeAccount()]);
  const [a, b, c, d] = [
    await login(node, web, 'Web'),
    await login(node, phone, 'iOS'),
    await login(node, kicked, 'Mac'),
    await login(node, resumed, 'Linux'),
  ];
  const stays = await login(node, await makeAccount(), 'Web');
  await login(other, web, 'Web');
  await login(other, phone, 'Android');
  await other.presence.endAll(kicked, 'kicked-by-admin');
  await login(other, resumed, 'Linux', d);
  t.same(node.ended, [], 'nobody told it');
  await until(() => node.ended.length === 4);
  const endOf = (linkId: string) => node.ended.find((one) => one.linkId === linkId);
  t.match(endOf(a), { end: 'kicked', by: { platform: 'Web' } });
  t.match(endOf(b), { end: 'kicked', by: { platform: 'Android' } });
  t.match(endOf(c), { end: 'kicked-by-admin' });
  t.match(endOf(d), { end: 'replaced' });
  t.equal(await node.metric('qalgate_im_links_healed_total'), 4);
  t.equal(endOf(stays), undefined);

  const account = await makeAccount();
  await pool.query(
    `insert into terminal (account_id, platform, generation, state, node_id, link_id, last_there_ms)
     values ($1, 'Web', 1, 'online', $2, 'forgotten', 0)`,
    [account.no, node.nodeId],
  );
  await until(async () => (await stateOfAccount(node, account)) === 'offline');
  t.pass('forgotten');
});

t.test('a bus message of a later release is passed over', async (t) => {
  const node = await openNode();
  for (const payload of [
    {},
    { nodeId: node.nodeId },
    { nodeId: node.nodeId, linkId: 7, accountNo: 1, end: 'kicked' },
    { nodeId: node.nodeId, linkId: 'x', accountNo: 1, end: 'something new' },
    { nodeId: 'another', linkId: 'x', accountNo: 1, end: 'kicked' },
  ]) {
    await node.bus.publish('links', payload);
  }
  await node.bus.publish('links', {
    nodeId: node.nodeId,
    linkId: 'y',
    accountNo: 1,
    end: 'kicked',
    platform: 'Web',
    at: 5,
  });
  await until(() => node.ended.length > 0);
  t.same(node.ended, [{ linkId: 'y', end: 'kicked', by: { platform: 'Web', at: 5 } }]);
});

t.test('[I4] a kick ends all links, and refuses a login that it overtook', async (t) => {
  const [a, b] = await Promise.all([openNode({}, { consumers: 1 }), openNode()]);
  const account = await makeAccount('all');
  const links = [await login(a, account, 'Web'), await login(b, account, 'iOS')];
  await a.presence.leave(account, 'Android', await login(a, account, 'Android'), 'link-closed');
  await a.presence.endAll(account, 'kicked-by-admin');
  await until(() => b.ended.length > 0);
  t.same(
    [...a.ended, ...b.ended],
    links.map((linkId) => ({ linkId, end: 'kicked-by-admin', by: undefined })),
  );
  t.equal(await stateOfAccount(a, account), 'offline');
  t.same((await transitions(account)).slice(-2), ['Web offline kicked', 'iOS offline kicked']);

  const atSec = Math.floor(clock() / 1_000);
  await pool.query(
    `insert into session_revocation (sdk_app_id, scope, subject, revoked_before) values ($1, 'account', $2, $3)`,
    [account.sdkAppId, account.identifier, new Date(atSec * 1_000 + 400)],
  );
  const tryLogin = (issuedAtSec: number) =>
    a.presence.login({ account, platform: 'Web', linkId: makeLinkId(), issuedAtSec });
  t.match(await tryLogin(atSec), { ok: false, error: 'USERSIG_REVOKED' });
  t.match(await tryLogin(atSec + 1), { ok: true });

  await pool.query('update account set deleted_ms = 1 where id = $1', [account.no]);
  t.match(await tryLogin(atSec + 1), { ok: false, error: 'ACCOUNT_NOT_REGISTERED' });
});

t.test('a login that another one ends before it is done is told', async (t) => {
  const node = await openNode();
  const account = await makeAccount();
  const linkIds = Array.from({ length: 20 }, () => makeLinkId());
  await Promise.all(linkIds.map((linkId) => node.presence.login({ account, platform: 'Web', linkId })));
  const { rows } = await pool.query<{ link_id: string }>('select link_id from terminal where account_id = $1', [
    account.no,
  ]);
  t.same(
    node.ended.map(({ linkId }) => linkId).toSorted(),
    linkIds.filter((linkId) => linkId !== rows[0]?.link_id).toSorted(),
    'all but the last',
  );
  t.equal(await node.metric('qalgate_im_links', { platform: 'Web' }), 1);
});

t.test('closing a node ends its terminals as link closed, and keeps their places', async (t) => {
  const [node, other] = await Promise.all([openNode({}, { consumers: 1 }), openNode({}, { consumers: 1 })]);
  const account = await makeAccount();
  const linkId = await login(node, account, 'Web');
  await node.presence.close();
  await node.presence.close();
  t.equal(await stateOfAccount(other, account), 'offline');
  t.same((await pool.query('select 1 from node where id = $1', [node.nodeId])).rows, []);
  t.same((await transitions(account)).at(-1), 'Web offline link-closed');
  await login(other, account, 'Web', linkId);
  t.equal(await stateOfAccount(other, account), 'online', 'it resumes elsewhere');
});
