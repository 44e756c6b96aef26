import t from 'tap';
import { openTestDatabase, until } from '../support/database.ts';
import { imAppId, openIm } from '../support/im.ts';

const database = await openTestDatabase(t);
const im = await openIm(t, { database });

let made = 0;
/** A name that no other test has. */
const name = (prefix: string) => `${prefix}${++made}`;

async function stateOf(identifier: string): Promise<unknown> {
  const account = await im.im.accounts.find(imAppId, identifier as never);
  return account && (await im.im.presence.query([account])).get(account.no)?.state;
}

t.test('any field of any request may be anything', async (t) => {
  const [alice, bob] = [name('alice'), name('bob')];
  await im.link(bob);
  const link = await im.link(alice);
  const good: Record<string, Record<string, unknown>> = {
    beat: {},
    send: { conversation: `c2c:${bob}`, clientId: 'x', body: [], push: {}, custom: '', random: 1, lifetimeSec: 1 },
    ack: { items: [[`c2c:${bob}`, 1]] },
    read: { conversation: `c2c:${bob}`, seq: 1 },
    recall: { conversation: `c2c:${bob}`, seq: 1 },
    offline: { after: 'x' },
    recents: {},
    sync: { conversation: `c2c:${bob}`, since: 0, recallNo: 0, limit: 1 },
    history: { conversation: `c2c:${bob}`, before: 1, limit: 1 },
    unread: { conversations: [`c2c:${bob}`] },
    hide: { conversation: `c2c:${bob}`, clear: false },
    profiles: { accounts: [bob], fields: ['nick'] },
    setProfile: { fields: { nick: 'x' } },
    report: { state: 'background', unread: 1 },
    login: { sdkAppId: imAppId, identifier: alice, userSig: '', platform: 'Web', resume: '' },
  };
  const strange: unknown[] = [
    null,
    true,
    -1,
    1e300,
    '',
    'c2c:',
    'c2c:\u0000',
    '\ud800',
    'c2c:a\u0000b',
    'x'.repeat(20_000),
    [],
    {},
    [[]],
    [[[[]]]],
    [null],
    [[null, null]],
    [[`c2c:${bob}`, {}]],
    { toString: 1, valueOf: 1 },
    { length: 3, toJSON: 1 },
    { nick: { toString: 1 } },
    { nick: [1], constructor: 'x', Tag_Profile_IM_Nick: {} },
  ];
  const names = new Set<unknown>();
  for (const [what, fields] of Object.entries(good)) {
    for (const field of ['conversation', ...Object.keys(fields)]) {
      const asked = strange.map((value) => link.ask(what, { ...fields, [field]: value }));
      for (const { error } of await Promise.all(asked)) names.add(error?.name);
    }
  }
  t.notOk(names.has('INTERNAL'), [...names].join());
  t.notOk(names.has('DATABASE_UNAVAILABLE'), [...names].join());
  t.ok(await link.ok('beat'));
});

t.test('[P4] of two reports at once the last one counts', async (t) => {
  const carl = name('carl');
  const link = await im.link(carl, { platform: 'iOS' });
  await Promise.all([link.ok('report', { state: 'background' }), link.ok('report', { state: 'foreground' })]);
  t.equal(await stateOf(carl), 'online');
  await Promise.all([link.ok('report', { state: 'foreground' }), link.ok('report', { state: 'background' })]);
  t.equal(await stateOf(carl), 'push-online');
  await link.close();
  await until(async () => (await stateOf(carl)) === 'push-online');
});

t.test('[M15] every send of a queue is answered in its time while the database hangs', async (t) => {
  const [alice, bob] = [name('alice'), name('bob')];
  const other = await im.link(bob);
  const link = await im.link(alice);
  const send = (i: number) =>
    link.ask('send', {
      conversation: `c2c:${bob}`,
      clientId: `hang-${alice}-${i}`,
      body: [{ MsgType: 'TIMTextElem', MsgContent: { Text: `${i}` } }],
    });
  const numbers = [0, 1, 2, 3, 4, 5, 6, 7];
  t.match(await send(100), { ok: { seq: 1 } });
  const client = await im.db.pool.connect();
  await client.query('begin');
  await client.query('lock table conversation in access exclusive mode');
  const startedMs = performance.now();
  const answers = await Promise.all(numbers.map(send));
  const tookMs = performance.now() - startedMs;
  t.ok(tookMs < 5_000, `${tookMs} ms`);
  for (const { error } of answers) t.match(error, { name: 'TIMED_OUT', retryable: true });
  t.ok(await link.ok('beat'));
  await client.query('rollback');
  client.release();
  for (const { ok } of await Promise.all(numbers.map(send))) t.ok(ok);
  await other.event(({ seq }) => seq === 9);
  t.strictSame(
    other.events.filter(({ on }) => on === 'message').map(({ seq, body }) => `${seq} ${JSON.stringify(body)}`),
    ['100', ...numbers].map(
      (words, i) => `${i + 1} ${JSON.stringify([{ MsgType: 'TIMTextElem', MsgContent: { Text: String(words) } }])}`,
    ),
    'stored once, in order',
  );
});

t.test('a flood of pongs ends a link as any flood does', async (t) => {
  const small = await openIm(t, { database, options: { framesPerSec: 5 } });
  const link = await small.link(name('dora'));
  for (let i = 0; i < 80; i++) link.socket.pong();
  t.equal((await link.closed).code, 4004);
});

t.test('[P5] a login whose link is gone before its turn ends nobody else', async (t) => {
  const other = await openIm(t, { database });
  const many = await openIm(t, { database });
  const erin = name('erin');
  const place = async () => {
    const { rows } = await im.db.pool.query<{ link_id: string }>(
      'select link_id from terminal t join account a on a.id = t.account_id where a.identifier = $1',
      [erin],
    );
    return rows.map(({ link_id }) => link_id);
  };
  // Logins of others that hang, as many as are looked at at once.
  const client = await im.db.pool.connect();
  await client.query('begin');
  await client.query('lock table account in exclusive mode');
  const hanging = await Promise.all(Array.from({ length: 16 }, () => many.openLink()));
  for (const link of hanging) {
    const identifier = name('hanging');
    link.sendText(
      JSON.stringify({ do: 'login', sdkAppId: imAppId, identifier, userSig: im.userSig(identifier), platform: 'Web' }),
    );
  }
  const early = await many.openLink();
  const login = { sdkAppId: imAppId, identifier: erin, userSig: im.userSig(erin), platform: 'Web' };
  early.sendText(JSON.stringify({ do: 'login', ...login }));
  early.sendText(JSON.stringify({ do: 'beat' }));
  const connections = async () =>
    (await many.metrics.registry.getSingleMetric('qalgate_im_link_connections')?.get())?.values[0]?.value;
  await until(async () => (await connections()) === 17);
  early.socket.terminate();
  await until(async () => (await connections()) === 16);
  await client.query('rollback');
  client.release();
  // It came back by another process.
  const link = await other.link(erin, { platform: 'Web' });
  await until(async () => {
    const found = await many.metrics.registry.getSingleMetric('qalgate_im_logins_total')?.get();
    return (found?.values ?? []).reduce((sum, { value }) => sum + value, 0) === 16;
  });
  t.strictSame(await place(), [link.login.link]);
  t.ok(await link.ok('beat'));
  t.strictSame(link.events, []);
});
