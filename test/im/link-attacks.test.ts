import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
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
    groupStates: { after: 1 },
    groups: { type: 'Public', offset: 0, limit: 1 },
    group: { group: 'g' },
    findGroup: { group: 'g' },
    createGroup: {
      type: 'Public',
      name: 'x',
      introduction: '',
      notification: '',
      faceUrl: '',
      maxMembers: 5,
      applyOption: 'FreeAccess',
      custom: {},
      members: [bob],
    },
    modifyGroup: { group: 'g', name: 'x', maxMembers: 5, applyOption: 'FreeAccess', muted: true, custom: {} },
    transferGroup: { group: 'g', to: 'nobody' },
    // One that is not there: the others want theirs.
    dismissGroup: { group: 'none' },
    groupMembers: { group: 'g', roles: ['Owner'], accounts: [bob], offset: 0, limit: 1 },
    inviteMembers: { group: 'g', accounts: [bob] },
    removeMembers: { group: 'g', accounts: [bob], reason: '' },
    quitGroup: { group: 'g' },
    modifyMember: { group: 'g', account: bob, role: 'Admin', receive: 'Discard', nameCard: '', custom: {}, muteSec: 1 },
    muteMembers: { group: 'g', accounts: [bob], seconds: 1 },
    mutedMembers: { group: 'g' },
    applyToGroup: { group: 'g', words: '', userField: '' },
    answerApplication: { group: 'g', key: '1', auth: 'x', agrees: true, words: '' },
    answerInvitation: { group: 'g', key: '1', auth: 'x', agrees: true, words: '' },
    groupRequests: { before: '1', limit: 1 },
    login: { sdkAppId: imAppId, identifier: alice, userSig: '', platform: 'Web', resume: '' },
  };
  const { group } = await link.ok('createGroup', { type: 'Public', name: 'g', members: [bob] });
  for (const fields of Object.values(good)) if (fields.group === 'g') fields.group = group;
  const conversation = `group:${group}`;
  const cases = [
    ...Object.entries(good),
    ['send', { ...good.send, conversation, priority: 'High', online: true }],
    ...['sync', 'history', 'recall', 'read'].map((what) => [what, { ...good[what], conversation }]),
  ] as [string, Record<string, unknown>][];
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
    'group:',
    'group:\u0000',
    'system',
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
  for (const [what, fields] of cases) {
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
  const quick = await openIm(t, { database, options: { commandMs: 1_000 } });
  const other = await quick.link(bob);
  const link = await quick.link(alice);
  const send = (i: number) =>
    link.ask('send', {
      conversation: `c2c:${bob}`,
      clientId: `hang-${alice}-${i}`,
      body: [{ MsgType: 'TIMTextElem', MsgContent: { Text: `${i}` } }],
    });
  const numbers = [0, 1, 2, 3, 4, 5, 6, 7];
  t.match(await send(100), { ok: { seq: 1 } });
  const client = await quick.db.pool.connect();
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

t.test('an upgrade to anything but a WebSocket is an ordinary request', async (t) => {
  const query = new URLSearchParams({
    sdkappid: String(imAppId),
    identifier: 'admin',
    usersig: im.userSig('admin'),
    random: '1',
    contenttype: 'json',
  });
  const body = JSON.stringify({ To_Account: ['nobody'] });
  // As Java's HttpClient does by default.
  const lines = [
    `POST /v4/openim/querystate?${query} HTTP/1.1`,
    'Host: x',
    'Connection: Upgrade, HTTP2-Settings',
    'Upgrade: h2c',
    'HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA',
    `Content-Length: ${body.length}`,
  ];
  const answer = await exchange(`${lines.join('\r\n')}\r\n\r\n${body}`);
  t.match(answer, /^HTTP\/1.1 200 OK\r\n/);
  t.match(answer, /"ActionStatus"/);
});

t.test('whatever bytes come, the listener and its other links go on', async (t) => {
  const link = await im.link(name('frank'));
  const upgrade = (...more: string[]) =>
    ['GET /im/v1/link HTTP/1.1', 'Host: x', 'Connection: Upgrade', 'Upgrade: websocket', ...more].join('\r\n');
  const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==';
  const good = upgrade(key, 'Sec-WebSocket-Version: 13');
  for (const [head, status] of [
    [upgrade(), 400],
    [upgrade(key), 400],
    [upgrade(key, 'Sec-WebSocket-Version: 99'), 400],
    [upgrade('Sec-WebSocket-Key: x', 'Sec-WebSocket-Version: 13'), 400],
    [upgrade(key, 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Protocol: ,;,'), 400],
    [good.replace('GET', 'POST'), 405],
    [good.replace('/im/v1/link', '/v4/openim/sendmsg'), 404],
    [good.replace('/im/v1/link', 'http://[/'), 404],
    [good.replace('/im/v1/link', '*'), 404],
  ] as const) {
    t.match(await exchange(`${head}\r\n\r\n`), new RegExp(`^HTTP/1.1 ${status} `), head);
  }
  t.equal(await exchange(`${good.replace('GET', 'CONNECT')}\r\n\r\n`), '', 'Node closes it');
  let seed = 7;
  const byte = () => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return (seed >> 16) & 0xff;
  };
  const noises = Array.from({ length: 60 }, (_, i) => {
    const noise = Buffer.from(Array.from({ length: 1 + (byte() % 300) }, byte));
    // Half of them begin as a masked text frame, a ping, a close, a fragment or a long length do.
    const firsts = [0x81, 0x89, 0x88, 0x01, 0x80, 0x82, 0xf1];
    if (i % 2 === 0) noise[0] = firsts[(i / 2) % firsts.length] as number;
    if (noise.length > 1 && i % 4 === 0) noise[1] = 0x80 | (byte() % 128);
    return exchange(Buffer.concat([Buffer.from(`${good}\r\n\r\n`), noise]), true);
  });
  await Promise.all(noises);
  t.ok(await link.ok('beat'));
  await until(async () => (await openLinks()) === (await loggedIn()));
});

const total = async (metric: string) =>
  ((await im.metrics.registry.getSingleMetric(metric)?.get())?.values ?? []).reduce((sum, { value }) => sum + value, 0);
const openLinks = () => total('qalgate_im_link_connections');
const loggedIn = () => total('qalgate_im_links');

/** Sends bytes; gives what came until the other side ended it, or until it has answered. `half`: our side ends first. */
async function exchange(bytes: string | Buffer, half = false): Promise<string> {
  const socket = connect(Number(new URL(im.url).port), '127.0.0.1');
  let answer = '';
  socket.on('data', (data) => {
    answer += data.toString('latin1');
  });
  socket.on('error', () => {});
  socket.write(bytes);
  if (half) socket.end();
  const closed = new Promise((resolve) => socket.once('close', resolve));
  await Promise.race([closed, until(() => !half && /\r\n\r\n./.test(answer))]).catch(() => {});
  socket.destroy();
  return answer;
}

t.test('connections beyond the limits are cut before a byte of them is read', async (t) => {
  const tight = await openIm(t, { database, options: { connections: 3, connectionsPerAddress: 2 } });
  const { port } = new URL(tight.url);
  const open = async () => {
    const socket = connect(Number(port), '127.0.0.1');
    t.teardown(() => socket.destroy());
    socket.on('error', () => {});
    await once(socket, 'connect');
    return socket;
  };
  const first = await open();
  await open();
  await once(await open(), 'close');
  first.destroy();
  await until(async () => {
    const socket = await open();
    return Promise.race([once(socket, 'close').then(() => false), delay(50).then(() => true)]);
  });
  const found = await tight.metrics.registry.getSingleMetric('qalgate_im_connections_cut_total')?.get();
  t.ok(found?.values.some(({ labels, value }) => labels.limit === 'connections-per-address' && value > 0));
});
