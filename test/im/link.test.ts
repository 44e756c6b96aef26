import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { Bus, SendDecision } from '../../src/im/index.ts';
import type { LinkEvent } from '../../src/im/services.ts';
import { createMetrics } from '../../src/observe/index.ts';
import { openDatabase } from '../../src/store/index.ts';
import type { CallbackOrigin } from '../../src/wire/index.ts';
import { completeApp } from '../support/app-settings.ts';
import { openTestDatabase, until } from '../support/database.ts';
import { createTestLink, imAppId, openIm, type TestIm, type TestLink } from '../support/im.ts';
import { asks } from '../support/im-draft.ts';

// Terminals that take nothing, and deadlines, need their time; more of it on a machine that does other things, too.
t.setTimeout(240_000);
const database = await openTestDatabase(t);
const quick = { sweepMs: 20 };
const open = (t: Test, settings: Parameters<typeof openIm>[1] = {}) => openIm(t, { database, ...settings });

let made = 0;
/** A name that no other test has. */
const name = (prefix: string) => `${prefix}${++made}`;
const text = (words: string) => [{ MsgType: 'TIMTextElem', MsgContent: { Text: words } }];
const wordsOf = (body: unknown) => (body as ReturnType<typeof text>)[0]?.MsgContent.Text ?? '';
let clientIds = 0;
const messageTo = (peer: string, words: string, more: object = {}) => ({
  conversation: `c2c:${peer}`,
  clientId: `id-${++clientIds}`,
  body: text(words),
  ...more,
});
const isMessage = (words: string) => (event: Record<string, unknown>) =>
  event.on === 'message' && JSON.stringify(event.body) === JSON.stringify(text(words));

async function metric(im: TestIm, metricName: string, labels: Record<string, string> = {}): Promise<number> {
  const found = await im.metrics.registry.getSingleMetric(metricName)?.get();
  const values = (found?.values ?? []) as { labels: Record<string, unknown>; value: number }[];
  return values
    .filter((value) => Object.entries(labels).every(([key, label]) => value.labels[key] === label))
    .reduce((sum, { value }) => sum + value, 0);
}

async function stateOf(im: TestIm, identifier: string): Promise<string | undefined> {
  const account = await im.im.accounts.find(imAppId, identifier as never);
  return account && (await im.im.presence.query([account])).get(account.no)?.state;
}

/** The bye of a link that has ended. */
async function byeOf(link: TestLink): Promise<Record<string, unknown> & { closed: number }> {
  const { code } = await link.closed;
  return { ...link.events.find(({ on }) => on === 'bye'), closed: code };
}

/** Stops reading a link's socket, as a terminal does whose network or main thread hangs. */
function hang(link: TestLink): { resume(): void } {
  const { _socket: socket } = link.socket as unknown as { _socket: { pause(): void; resume(): void } };
  socket.pause();
  return socket;
}

t.test('login: every error by its code, and how the link ends', async (t) => {
  const im = await open(t, { app: { origins: ['https://good.example'] } });
  const alice = name('alice');
  const good = { sdkAppId: imAppId, identifier: alice, userSig: im.userSig(alice), platform: 'Web' };
  const cases: [object, object, number][] = [
    [{ sdkAppId: 7 }, { name: 'APP_UNKNOWN', code: 70020 }, 4104],
    [{ sdkAppId: '7' }, { name: 'INVALID_FIELD', field: 'sdkAppId', allowed: '1 … 4294967295' }, 4105],
    [{ sdkAppId: undefined }, { name: 'INVALID_FIELD', field: 'sdkAppId' }, 4105],
    [{ identifier: '' }, { name: 'INVALID_FIELD', field: 'identifier' }, 4105],
    [{ identifier: 7 }, { name: 'INVALID_FIELD', field: 'identifier', reason: 'must be a string' }, 4105],
    [{ identifier: 'x'.repeat(33) }, { name: 'INVALID_FIELD', field: 'identifier' }, 4105],
    [{ platform: 'web' }, { name: 'INVALID_FIELD', field: 'platform', allowed: /iOS, iPad, Android, Web/ }, 4105],
    [{ platform: undefined }, { name: 'INVALID_FIELD', field: 'platform' }, 4105],
    [{ autoReport: 1 }, { name: 'INVALID_FIELD', field: 'autoReport' }, 4105],
    [{ resume: 'x' }, { name: 'INVALID_FIELD', field: 'resume' }, 4105],
    [{ resume: 7 }, { name: 'INVALID_FIELD', field: 'resume' }, 4105],
    [{ userSig: undefined }, { name: 'USERSIG_EMPTY', code: 70002, field: 'userSig' }, 4103],
    [{ userSig: 'x' }, { name: 'USERSIG_MALFORMED', code: 70003 }, 4103],
    [{ userSig: im.userSig('bob') }, { name: 'USERSIG_IDENTIFIER_MISMATCH', code: 70013 }, 4103],
    [{ userSig: im.userSig(alice, { sdkAppId: 5 }) }, { name: 'USERSIG_APP_MISMATCH', code: 70014 }, 4103],
    [{ userSig: im.userSig(alice, { ago: 100, life: 50 }) }, { name: 'USERSIG_EXPIRED', code: 70001 }, 4102],
  ];
  for (const [change, error, closed] of cases) {
    const link = await im.openLink();
    const answer = await link.ask('login', { ...good, ...change });
    t.match(answer.error, error, JSON.stringify(change).slice(0, 60));
    t.match(await byeOf(link), { on: 'bye', code: closed, closed, final: true });
  }
  t.equal(await stateOf(im, alice), undefined, 'nothing was made of it');

  const link = await im.link(alice, { platform: 'Web' });
  t.match(link.login, {
    account: alice,
    epoch: /^[0-9a-f-]{36}$/,
    link: String,
    heartbeatSec: 60,
    offlineSec: 400,
    messageBytes: 8_000,
    frameBytes: 32_768,
  });
  t.ok(Math.abs(Number(link.login.serverTime) - Date.now() / 1_000) < 60, 'seconds');
  t.notOk('kickedWhileAway' in link.login);
  t.match((await link.ask('login', good)).error, { name: 'INVALID_FIELD', field: 'do' }, 'once a link');
  t.equal((await link.ok('beat')).time !== undefined, true, 'which is left open');

  const page = await im.openLink({ origin: 'https://good.example' });
  t.match(await page.ok('login', { ...good, platform: 'Mac' }), { account: alice });
});

t.test('login comes first, and soon', async (t) => {
  const im = await open(t, { options: { link: { ...quick, loginMs: 100 } } });
  for (const frame of ['{"id":1,"do":"beat"}', '{"id":1,"do":"constructor"}']) {
    const link = await im.openLink();
    const answers: unknown[] = [];
    link.socket.on('message', (data: Buffer) => answers.push(JSON.parse(data.toString())));
    link.sendText(frame);
    t.match(await byeOf(link), { name: 'PROTOCOL', closed: 4105 });
    t.match(answers.flat(), [{ id: 1, error: { name: 'NOT_LOGGED_IN', code: 6014 } }, { on: 'bye' }]);
  }
  const silent = await im.openLink();
  t.match(await byeOf(silent), { name: 'LOGIN_TIMEOUT', closed: 4003, final: false });

  const alice = name('alice');
  const hasty = await im.openLink();
  const login = { sdkAppId: imAppId, identifier: alice, userSig: im.userSig(alice), platform: 'Web' };
  const [, beat, recents] = await Promise.all([hasty.ok('login', login), hasty.ok('beat'), hasty.ok('recents')]);
  t.match({ ...beat, ...recents }, { time: Number, conversations: [] }, 'what is sent behind a login waits for it');
  await delay(150);
  await hasty.ok('beat');
  t.pass('and the login clock stops');
});

t.test('frames that are not of this protocol end the link', async (t) => {
  const im = await open(t);
  const cases: [string, (link: TestLink) => void, object][] = [
    ['not JSON', (link) => link.sendText('hello'), { closed: 4105, reason: /not JSON/ }],
    ['an array', (link) => link.sendText('[{"id":1,"do":"beat"}]'), { closed: 4105, reason: /not a JSON object/ }],
    ['no do', (link) => link.sendText('{"id":1}'), { closed: 4105, reason: /no do/ }],
    ['an id that is none', (link) => link.sendText('{"id":"1","do":"beat"}'), { closed: 4105, reason: /id/ }],
    ['nested', (link) => link.sendText(`{"do":"send","body":${'['.repeat(9_000)}`), { closed: 4105, reason: /nested/ }],
    ['binary', (link) => link.socket.send(Buffer.from('{"id":1,"do":"beat"}')), { closed: 4105, reason: /binary/ }],
    ['no UTF-8', (link) => link.socket.send(Buffer.from([0xff, 0xfe]), { binary: false }), { closed: 4105 }],
    [
      'too big',
      (link) => link.sendText(`{"do":"beat","x":"${'x'.repeat(32_768)}"}`),
      { closed: 4106, name: 'FRAME_TOO_BIG' },
    ],
  ];
  for (const [what, act, bye] of cases) {
    const link = await im.link(name('user'));
    act(link);
    t.match(await byeOf(link), { on: 'bye', final: true, ...bye }, what);
    await until(async () => (await stateOf(im, String(link.login.account))) === 'offline');
  }
  const link = await im.link(name('user'));
  link.sendText(`{"id":99,"do":"beat","x":"${'x'.repeat(32_768 - 30)}"}`);
  t.match(await link.ok('beat'), { time: Number }, 'a frame as big as may be');
  const unknown = await link.ask('nothing');
  t.match(unknown, { error: { name: 'NO_SUCH_COMMAND', field: 'do' } });
  const page = await readFile(new URL('../../docs/reference/link.md', import.meta.url), 'utf8');
  /** Those of the first table of a section. */
  const documented = (section: string) => [
    ...(page
      .split(`\n## ${section}\n`)[1]
      ?.match(/\n\|[\s\S]*?\n\n/)?.[0]
      .matchAll(/^\| `(\w+)` +\| (?!fields)/gm) ?? []),
  ];
  t.same(
    [...documented('Requests'), ...documented('Groups')].map(([, request]) => request).toSorted(),
    String(unknown.error?.allowed).split(', ').toSorted(),
    'the reference page has them all',
  );
});

t.test('every request: what it gives, and what is wrong with its fields', async (t) => {
  const im = await open(t);
  const [alice, bob] = [name('alice'), name('bob')];
  const [a, b] = [await im.link(alice), await im.link(bob)];
  const peer = `c2c:${bob}`;
  const sent = await a.ok('send', messageTo(bob, 'one', { random: 5, custom: 'c', push: { Title: 'T' } }));
  t.match(sent, { seq: 1, time: Number, msgSeq: Number, random: 5, key: `${sent.msgSeq}_5_${sent.time}` });
  t.notOk('repeat' in sent);
  const event = await b.event(isMessage('one'));
  t.match(event, { conversation: `c2c:${alice}`, seq: 1, prev: 0, from: alice, key: sent.key, custom: 'c' });
  t.notOk('clientId' in event || 'push' in event);

  t.match(await b.ok('recents'), {
    conversations: [{ conversation: `c2c:${alice}`, seq: 1, unread: 1, last: { seq: 1 } }],
  });
  t.match(await b.ok('offline'), { messages: [{ conversation: `c2c:${alice}`, seq: 1 }] });
  t.match(await b.ok('sync', { conversation: `c2c:${alice}`, since: 0 }), {
    messages: [{ seq: 1, body: text('one') }],
    throughSeq: 1,
    more: false,
    recalled: [],
    recallNo: 0,
  });
  t.match(await b.ok('history', { conversation: `c2c:${alice}` }), { messages: [{ seq: 1 }], complete: true });
  t.match(
    (await a.ok('history', { conversation: peer })).messages,
    [{ clientId: /^id-/ }],
    'own messages have their name',
  );
  t.same(await b.ok('unread'), { total: 1 });
  t.same(await b.ok('unread', { conversations: [`c2c:${alice}`, 'c2c:nobody'] }), {
    conversations: [
      [`c2c:${alice}`, 1],
      ['c2c:nobody', 0],
    ],
  });
  t.same(await b.ok('ack', { items: [[`c2c:${alice}`, 1]] }), {});
  await until(async () => ((await b.ok('offline')).messages as unknown[]).length === 0);
  t.same(await b.ok('read', { conversation: `c2c:${alice}` }), { readSeq: 1, unread: 0 });
  t.match(await a.event(({ on }) => on === 'read'), { conversation: peer, readSeq: 1, peer: true });
  t.same(await a.ok('recall', { conversation: peer, seq: 1 }), { recallNo: 1 });
  t.match(await b.event(({ on }) => on === 'recalled'), { conversation: `c2c:${alice}`, seqs: [1], recallNo: 1 });
  t.match(await b.ok('sync', { conversation: `c2c:${alice}`, since: 1, recallNo: 0 }), { recalled: [1], recallNo: 1 });
  t.match(await b.ok('history', { conversation: `c2c:${alice}`, before: 2, limit: 1 }), {
    messages: [{ body: [], recalled: true }],
  });
  t.same(await b.ok('setProfile', { fields: { nick: 'Bob' } }), {});
  t.match(await a.ok('profiles', { accounts: [bob, 'nobody'], fields: ['nick'] }), {
    profiles: [{ account: bob, fields: { nick: 'Bob' } }],
    unknown: ['nobody'],
  });
  t.same(await b.ok('hide', { conversation: `c2c:${alice}`, clear: true }), {});
  t.same(await b.ok('recents'), { conversations: [] });
  t.same(await b.ok('report', { state: 'background', unread: 3 }), {});
  t.same(await b.ok('logout'), {});
  t.match(await byeOf(b), { name: 'LOGGED_OUT', closed: 4107 });
  t.equal(await stateOf(im, bob), 'offline');

  const body = text('x');
  const bad: [string, object, object][] = [
    ['send', { conversation: peer, body }, { field: 'clientId', reason: 'is missing' }],
    ['send', { conversation: peer, body, clientId: '' }, { field: 'clientId' }],
    ['send', { conversation: peer, body, clientId: 'é' }, { field: 'clientId', allowed: /64 printable/ }],
    ['send', { conversation: peer, body, clientId: 'x'.repeat(65) }, { field: 'clientId' }],
    ['send', { body, clientId: 'x' }, { field: 'conversation', reason: 'is missing' }],
    ['send', { conversation: 'group:x', body, clientId: 'x' }, { field: 'conversation' }],
    ['send', { conversation: 'c2c:nobody', body, clientId: 'x' }, { name: 'RECEIVER_UNKNOWN', field: 'conversation' }],
    ['send', { conversation: peer, clientId: 'x' }, { name: 'BODY_NOT_ARRAY', field: 'body' }],
    [
      'send',
      { conversation: peer, body: [{ MsgType: 'No' }], clientId: 'x' },
      { name: 'BODY_ELEMENT', field: /^body\[0\]/ },
    ],
    ['send', { conversation: peer, body: text('x'.repeat(8_000)), clientId: 'x' }, { name: 'MESSAGE_TOO_LONG' }],
    ['send', messageTo(bob, 'x', { random: -1 }), { field: 'random', allowed: '0 … 4294967295' }],
    ['send', messageTo(bob, 'x', { lifetimeSec: 604_801 }), { field: 'lifetimeSec', allowed: '0 … 604800' }],
    ['send', messageTo(bob, 'x', { online: 'yes' }), { field: 'online' }],
    ['send', messageTo(bob, 'x', { push: { PushFlag: 5 } }), { name: 'OFFLINE_PUSH_INFO', field: 'push.PushFlag' }],
    ['send', messageTo(bob, 'x', { custom: 7 }), { field: 'custom' }],
    ['ack', {}, { field: 'items' }],
    ['ack', { items: [[peer]] }, { field: 'items[0]' }],
    ['ack', { items: [['x', 1]] }, { field: 'items[0][0]' }],
    ['ack', { items: [[peer, -1]] }, { field: 'items[0][1]' }],
    ['ack', { items: Array(201).fill([peer, 1]) }, { field: 'items', allowed: 'at most 200' }],
    ['read', {}, { field: 'conversation' }],
    ['read', { conversation: peer, seq: 1.5 }, { field: 'seq' }],
    ['read', { conversation: 'c2c:nobody' }, { name: 'ACCOUNT_NOT_REGISTERED', field: 'conversation' }],
    ['recall', { conversation: peer }, { field: 'seq' }],
    ['recall', { conversation: peer, seq: 0 }, { field: 'seq' }],
    ['recall', { conversation: peer, seq: 99 }, { name: 'MESSAGE_NOT_FOUND' }],
    ['offline', { after: 7 }, { field: 'after' }],
    ['sync', { conversation: peer }, { field: 'since' }],
    ['sync', { conversation: peer, since: 0, limit: 201 }, { field: 'limit', allowed: '1 … 200' }],
    ['sync', { conversation: peer, since: 0, recallNo: '0' }, { field: 'recallNo' }],
    ['history', { conversation: peer, limit: 101 }, { field: 'limit', allowed: '1 … 100' }],
    ['history', { conversation: peer, before: 0 }, { field: 'before' }],
    ['unread', { conversations: 'x' }, { field: 'conversations' }],
    ['unread', { conversations: Array(101).fill(peer) }, { field: 'conversations' }],
    ['hide', { conversation: peer, clear: 1 }, { field: 'clear' }],
    ['profiles', { fields: ['nick'] }, { field: 'accounts' }],
    ['profiles', { accounts: [bob] }, { field: 'fields' }],
    ['profiles', { accounts: [''], fields: ['nick'] }, { field: 'accounts[0]' }],
    ['profiles', { accounts: Array(101).fill(bob), fields: ['nick'] }, { field: 'accounts' }],
    ['profiles', { accounts: [bob], fields: [7] }, { field: 'fields[0]' }],
    ['profiles', { accounts: [bob], fields: ['no such'] }, { name: 'PROFILE_TAG' }],
    ['setProfile', {}, { field: 'fields' }],
    ['setProfile', { fields: [] }, { field: 'fields' }],
    ['setProfile', { fields: { __proto__x: 1 } }, { name: 'PROFILE_TAG' }],
    ['report', {}, { field: 'state' }],
    ['report', { state: 'asleep' }, { field: 'state', allowed: 'background, foreground' }],
    ['report', { state: 'background', unread: -1 }, { field: 'unread' }],
  ];
  for (const [what, fields, error] of bad) {
    const answer = await a.ask(what, fields);
    t.match(
      answer.error,
      { code: Number, retryable: false, reason: String, ...error },
      `${what} ${JSON.stringify(fields).slice(0, 70)}`,
    );
  }
  t.match((await a.ok('recents')).conversations, [{ seq: 1 }], 'none of them did anything');
});

t.test('send: repeats, online-only ones, order, other terminals', async (t) => {
  const im = await open(t, { app: { multiTerminal: 'all' } });
  const [alice, bob] = [name('alice'), name('bob')];
  const phone = await im.link(alice);
  const web = await im.link(alice, { platform: 'Web' });
  const b = await im.link(bob);

  const message = messageTo(bob, 'hello');
  const first = await phone.ok('send', message);
  const { prev, ...stored } = first;
  t.equal(prev, 0, 'the seq before it');
  t.same(await web.ok('send', message), { ...stored, repeat: true }, '[M13] a repeat over whatever link');
  t.match(await web.event(isMessage('hello')), { conversation: `c2c:${bob}`, from: alice, clientId: message.clientId });
  await b.event(isMessage('hello'));
  t.equal(b.events.filter(isMessage('hello')).length, 1);
  t.equal(phone.events.filter(isMessage('hello')).length, 0, '[P6] but not the one that sent it');

  const online = await phone.ok('send', messageTo(bob, 'now', { online: true }));
  t.notOk('seq' in online);
  t.notOk('seq' in (await b.event(isMessage('now'))));
  t.same((await phone.ok('send', messageTo(bob, 'now too', { lifetimeSec: 0 }))).seq, undefined);
  t.equal(((await b.ok('history', { conversation: `c2c:${alice}` })).messages as unknown[]).length, 1);

  const words = Array.from({ length: 60 }, (_, i) => `m${i}`);
  const answers = await Promise.all(words.map((word) => phone.ok('send', messageTo(bob, word))));
  t.same(
    answers.map(({ seq }) => seq),
    words.map((_, i) => i + 2),
    '[M15] stored in the order in which they were sent',
  );
  await b.event(isMessage('m59'));
  const got = b.events.filter(({ on, seq }) => on === 'message' && Number(seq) > 1);
  t.same(
    got.map(({ seq, prev }) => [seq, prev]),
    words.map((_, i) => [i + 2, i + 1]),
    'each says which seq was before it',
  );
});

t.test('[M7] acknowledgements end offline delivery only with automatic reports', async (t) => {
  const im = await open(t);
  const [alice, bob] = [name('alice'), name('bob')];
  const a = await im.link(alice);
  const manual = await im.link(bob, { autoReport: false });
  await a.ok('send', messageTo(bob, 'keep'));
  await manual.ok('ack', { items: [[`c2c:${alice}`, 1]] });
  const automatic = await im.link(bob);
  t.match(await automatic.ok('offline'), { messages: [{ seq: 1 }] });
  await automatic.ok('ack', {
    items: [
      [`c2c:${alice}`, 1],
      ['c2c:nobody', 4],
    ],
  });
  await until(async () => ((await automatic.ok('offline')).messages as unknown[]).length === 0);
});

t.test('events of one turn leave in one WebSocket message', async (t) => {
  const im = await open(t);
  const [alice, bob] = [name('alice'), name('bob')];
  const [a, b] = [await im.link(alice), await im.link(bob)];
  let frames = 0;
  b.socket.on('message', () => {
    frames += 1;
  });
  await Promise.all(Array.from({ length: 64 }, (_, i) => a.ok('send', messageTo(bob, `w${i}`, { online: true }))));
  await b.event(isMessage('w63'));
  t.ok(frames < 64, `64 messages came in ${frames}`);
});

t.test('too many frames are refused, far too many end the link', async (t) => {
  const im = await open(t, { options: { framesPerSec: 10 } });
  const link = await im.link(name('user'));
  const limited = await Promise.all(Array.from({ length: 60 }, () => link.ask('beat')));
  const refused = limited.filter(({ error }) => error !== undefined);
  t.ok(refused.length >= 19 && refused.length <= 22, `${refused.length} of 60 were over 4 seconds' worth`);
  t.match(refused[0]?.error, { name: 'RATE_LIMITED', code: 60018, retryable: true });
  for (let i = 0; i < 100; i++) link.sendText('{"do":"beat"}');
  t.match(await byeOf(link), { name: 'RATE_LIMITED', closed: 4004, final: false, reconnectMs: Number });
  const pinger = await im.link(name('user'));
  for (let i = 0; i < 200; i++) pinger.socket.ping();
  const { code } = await pinger.closed;
  t.ok(code === 4004 || code === 1006, 'pings count, too');
});

t.test('64 requests of a link are worked on at once', async (t) => {
  const gate = Promise.withResolvers<void>();
  const beforeSend = asks(async () => {
    await gate.promise;
    return { kind: 'allow', outcome: 'allowed' };
  });
  const im = await open(t, { deps: { ports: { beforeSend } } });
  const [alice, bob] = [name('alice'), name('bob')];
  const [link] = [await im.link(alice), await im.link(bob)];
  const answers = Array.from({ length: 66 }, (_, i) => link.ask('send', messageTo(bob, `w${i}`)));
  const busy = await Promise.all(answers.slice(64));
  t.match(busy[1]?.error, { name: 'BUSY', code: 90994, retryable: true });
  t.equal(await metric(im, 'qalgate_im_link_requests_in_flight'), 64);
  await link.ok('beat');
  gate.resolve();
  t.ok((await Promise.all(answers.slice(0, 64))).every(({ ok }) => ok !== undefined));
  t.equal(await metric(im, 'qalgate_im_link_requests_in_flight'), 0);
});

t.test(
  '[M15] backends are asked about messages of one conversation at once; they are stored as they were sent',
  async (t) => {
    const answers = new Map<string, (decision: SendDecision) => void>();
    const origins: CallbackOrigin[] = [];
    const beforeSend = asks(({ origin, body }) => {
      origins.push(origin);
      return new Promise((resolve) => answers.set(wordsOf(body), resolve));
    });
    const im = await open(t, { options: { trustedProxies: ['127.0.0.1'] }, deps: { ports: { beforeSend } } });
    const [alice, bob] = [name('alice'), name('bob')];
    const login = { sdkAppId: imAppId, identifier: alice, userSig: im.userSig(alice), platform: 'iPad' };
    const a = await im.openLink({ 'x-forwarded-for': '203.0.113.5, 2001:db8::7' });
    await a.ok('login', login);
    const b = await im.link(bob);
    const words = Array.from({ length: 10 }, (_, i) => `m${i}`);
    const sends = words.map((word) => a.ask('send', messageTo(bob, word)));
    // All at once, or the condition never comes true.
    await until(() => answers.size === 10);
    t.same(new Set(origins.map((origin) => JSON.stringify(origin))).size, 1);
    t.same(origins[0], { platform: 'IPad', address: '2001:db8::7' });
    const allow: SendDecision = { kind: 'allow', outcome: 'allowed' };
    answers.get('m4')?.({ kind: 'refuse', code: 120_004, reason: 'not this one' });
    const { error } = (await sends[4]) ?? {};
    const refused = { code: 120_004, name: 'REFUSED_BY_CALLBACK', reason: 'not this one', retryable: false };
    t.same(error, refused, '[K1] with the number of the app, at once');
    for (const answer of [...answers.values()].toReversed()) answer(allow);
    const stored = await Promise.all(sends.toSpliced(4, 1));
    t.same(
      stored.map(({ ok }) => ok?.seq),
      [1, 2, 3, 4, 5, 6, 7, 8, 9],
      'whoever was answered first',
    );
    await b.event(isMessage('m9'));
    const got = b.events.filter(({ on }) => on === 'message').map(({ body }) => wordsOf(body));
    t.same(got, words.toSpliced(4, 1));
  },
);

t.test('[I4] what waits for its turn when its terminal is kicked is not stored', async (t) => {
  const answers: ((decision: SendDecision) => void)[] = [];
  const beforeSend = asks(() => new Promise((resolve) => answers.push(resolve)));
  const im = await open(t, { deps: { ports: { beforeSend } } });
  const [alice, bob] = [name('alice'), name('bob')];
  const [a, b] = [await im.link(alice), await im.link(bob)];
  for (const word of ['m0', 'm1', 'm2']) void a.ask('send', messageTo(bob, word)).catch(() => {});
  await until(() => answers.length === 3);
  await im.im.accounts.kick(imAppId, alice as never);
  await a.closed;
  for (const answer of answers) answer({ kind: 'allow', outcome: 'allowed' });
  await until(async () => (await metric(im, 'qalgate_im_messages_asking')) === 0);
  await b.event(isMessage('m0'));
  const { messages } = (await b.ok('history', { conversation: `c2c:${alice}` })) as { messages: { body: unknown }[] };
  t.same(
    messages.map(({ body }) => wordsOf(body)),
    ['m0'],
    'it was its turn when it came',
  );
});

t.test('[M13] a message that is sent again over the next link is asked about once, and stored once', async (t) => {
  const answers: ((decision: SendDecision) => void)[] = [];
  const beforeSend = asks(() => new Promise((resolve) => answers.push(resolve)));
  const im = await open(t, { deps: { ports: { beforeSend } } });
  const [alice, bob] = [name('alice'), name('bob')];
  const [first] = [await im.link(alice), await im.link(bob)];
  const messages = Array.from({ length: 5 }, (_, i) => messageTo(bob, `m${i}`));
  for (const message of messages) void first.ask('send', message).catch(() => {});
  await until(() => answers.length === 5);
  const second = await im.link(alice, { resume: first.login.link });
  t.match(await byeOf(first), { name: 'REPLACED' });
  const sends = [...messages, messageTo(bob, 'm5')].map((message) => second.ask('send', message));
  await until(() => answers.length === 6);
  for (const answer of answers.toReversed()) answer({ kind: 'allow', outcome: 'allowed' });
  t.same(
    (await Promise.all(sends)).map(({ ok }) => ok?.seq),
    [1, 2, 3, 4, 5, 6],
  );
});

t.test('a slow reader is bounded, resynced when it has caught up, and ended when it takes nothing', async (t) => {
  const bus = lossyBus();
  const options = { queueBytes: 200_000, link: { ...quick, stallMs: 600 } };
  const im = await open(t, { options, deps: { bus } });
  const [alice, bob, carol] = [name('alice'), name('bob'), name('carol')];
  const [a, b, c] = [await im.link(alice), await im.link(bob), await im.link(carol)];
  const fill = async (peer: string) => {
    const account = await im.im.accounts.find(imAppId, peer as never);
    if (account === undefined) throw new Error(`no ${peer}`);
    const body = JSON.stringify(text('x'.repeat(7_000)));
    const message = { seq: 0, from: alice as never, time: 1, msgSeq: 1, random: 1, body, recalled: false };
    const event: LinkEvent = {
      kind: 'message',
      message: { ...message, conversationId: 0 as never },
      peer: alice as never,
      prev: 0,
    };
    // The kernel takes some megabytes before anything waits here for longer than a few sweeps.
    await until(async () => {
      for (let i = 0; i < 100; i++) bus.publish(account.no, event);
      await delay(60);
      return (await metric(im, 'qalgate_im_links_behind')) === 1;
    });
  };
  const socket = hang(b);
  await fill(bob);
  b.sendText('{"id":777,"do":"beat"}');
  socket.resume();
  await b.event(({ on }) => on === 'resync');
  t.ok((await metric(im, 'qalgate_im_link_events_dropped_total')) > 0);
  t.equal(
    b.events.filter(({ on }) => on === 'resync').length,
    await metric(im, 'qalgate_im_link_resyncs_total', { cause: 'slow' }),
    'once each time that it was behind',
  );
  await b.ok('beat');
  await a.ok('send', messageTo(bob, 'after', { online: true }));
  await b.event(isMessage('after'));
  t.pass('events flow again');

  hang(c);
  await fill(carol);
  await until(async () => (await metric(im, 'qalgate_im_link_ends_total', { name: 'TOO_SLOW' })) === 1);
  await until(async () => (await stateOf(im, carol)) === 'offline');
  c.socket.terminate();
});

t.test('[P1] what is not heard of is offline', async (t) => {
  const im = await open(t, { options: { link: quick } });
  const [alice, phone] = [name('alice'), name('phone')];
  const a = await im.link(alice, { platform: 'Web' });
  const p = await im.link(phone, { platform: 'iOS' });
  const d = await im.link(name('d'), { userSig: undefined }).catch(() => undefined);
  t.equal(d, undefined);
  im.clock.advance(200);
  await a.ok('beat');
  im.clock.advance(201);
  t.match(await byeOf(p), { name: 'NO_HEARTBEAT', closed: 4002, final: false });
  await until(async () => (await stateOf(im, phone)) === 'push-online');
  t.equal(await stateOf(im, alice), 'online', 'any frame counts');
  im.clock.advance(400);
  t.match(await byeOf(a), { name: 'NO_HEARTBEAT' });
  await until(async () => (await stateOf(im, alice)) === 'offline');
});

t.test('a link ends with its UserSig', async (t) => {
  const im = await open(t, { options: { link: quick } });
  const alice = name('alice');
  const link = await im.link(alice, { userSig: im.userSig(alice, { ago: 0, life: 300 }) });
  im.clock.advance(290);
  await link.ok('beat');
  im.clock.advance(11);
  t.match(await byeOf(link), { name: 'USERSIG_EXPIRED', closed: 4102, final: true });
});

t.test('[P5] a kick is told clearly, by the link or at the next login', async (t) => {
  const im = await open(t, { options: { link: quick } });
  const alice = name('alice');
  const phone = await im.link(alice, { platform: 'iOS' });
  const web = await im.link(alice, { platform: 'Web' });
  t.match(await byeOf(phone), {
    name: 'KICKED',
    closed: 4100,
    final: true,
    platform: 'Web',
    at: Number,
    reason: /Web/,
  });
  await until(async () => {
    const { rows } = await im.db.pool.query('select 1 from terminal where kicked_ms is not null');
    return rows.length === 0;
  });
  const again = await im.link(alice, { platform: 'iOS' });
  t.notOk('kickedWhileAway' in again.login, 'it was told');
  t.match(await byeOf(web), { name: 'KICKED', platform: 'iOS' });

  const socket = hang(again);
  const third = await im.link(alice, { platform: 'Web' });
  again.socket.terminate();
  socket.resume();
  const fourth = await im.link(alice, { platform: 'iOS' });
  t.match(fourth.login, { kickedWhileAway: { platform: 'Web', at: Number } }, 'nobody confirmed, so it is told now');
  t.match(await byeOf(third), { name: 'KICKED' });
  await fourth.close();
  await until(async () => (await stateOf(im, alice)) === 'push-online');
  t.notOk('kickedWhileAway' in (await im.link(alice, { platform: 'iOS' })).login, 'once');
});

t.test('[P5] two terminals by policy', async (t) => {
  const im = await open(t, { app: { multiTerminal: 'pc-phone' } });
  const alice = name('alice');
  const phone = await im.link(alice, { platform: 'Android' });
  const web = await im.link(alice, { platform: 'Web' });
  await im.link(alice, { platform: 'Mac' });
  t.match(await byeOf(web), { name: 'KICKED', platform: 'Mac' });
  await phone.ok('beat');
});

t.test('[H4] resume: the terminal keeps its place, unless another took it', async (t) => {
  const im = await open(t, { options: { link: quick } });
  const alice = name('alice');
  const first = await im.link(alice, { platform: 'Web' });
  const second = await im.link(alice, { platform: 'Web', resume: first.login.link });
  t.match(await byeOf(first), { name: 'REPLACED', closed: 4109 });
  second.socket.terminate();
  await until(async () => (await stateOf(im, alice)) === 'offline');
  const third = await im.link(alice, { platform: 'Web', resume: second.login.link });
  t.same(
    [first, second, third].map(({ login }) => login.resumed),
    [undefined, true, true],
    'and is told so',
  );
  t.equal(await stateOf(im, alice), 'online');
  await im.link(alice, { platform: 'Android' });
  await third.closed;
  await third.closed;
  const { rows } = await im.db.pool.query<{ login_generation: number }>(
    'select login_generation from account where identifier = $1',
    [alice],
  );
  t.equal(rows[0]?.login_generation, 2, 'a resume is no login');

  const away = name('away');
  const lost = await im.link(away, { platform: 'Web' });
  lost.socket.terminate();
  await until(async () => (await stateOf(im, away)) === 'offline');
  const place = await im.link(away, { platform: 'iPad' });
  const back = await im.openLink();
  const login = { sdkAppId: imAppId, identifier: away, userSig: im.userSig(away), platform: 'Web' };
  const refused = await back.ask('login', { ...login, resume: lost.login.link });
  t.match(refused.error, { name: 'KICKED_WHILE_AWAY', code: 6208 });
  t.match(await byeOf(back), { name: 'KICKED', closed: 4100, platform: 'iPad', at: Number });
  await place.ok('beat');
});

t.test('[I4] a kick over REST, and a deletion, end links; older UserSigs are no good', async (t) => {
  const im = await open(t, { app: { multiTerminal: 'all' } });
  const alice = name('alice');
  const links = [await im.link(alice, { platform: 'Web' }), await im.link(alice, { platform: 'iOS' })];
  const old = im.userSig(alice);
  t.equal(await im.im.accounts.kick(imAppId, alice as never), true);
  for (const link of links) t.match(await byeOf(link), { name: 'KICKED_BY_ADMIN', closed: 4101, final: true });
  t.equal(await stateOf(im, alice), 'offline');
  const refused = await im.openLink();
  const login = { sdkAppId: imAppId, identifier: alice, platform: 'Web' };
  t.match((await refused.ask('login', { ...login, userSig: old })).error, { name: 'USERSIG_REVOKED', code: 70052 });
  t.match(await byeOf(refused), { name: 'KICKED_BY_ADMIN', closed: 4101 });
  im.clock.advance(5);
  const link = await im.link(alice, { userSig: im.userSig(alice, { ago: 0 }) });
  await im.im.accounts.delete(imAppId, [alice as never]);
  t.match(await byeOf(link), { name: 'ACCOUNT_DELETED', closed: 4108, final: true });
});

t.test('a link ends with its app', async (t) => {
  const im = await open(t, { options: { link: quick } });
  const alice = name('alice');
  const link = await im.link(alice);
  im.setApps([]);
  t.match(await byeOf(link), { name: 'APP_UNKNOWN', closed: 4104, final: true });
  await until(async () => (await stateOf(im, alice)) === 'offline');
});

t.test('limits before a link opens', async (t) => {
  const app = (sdkAppId: number, origins: string[]) =>
    completeApp({ sdkAppId, secret: 'a secret of sixteen or more', im: { origins } });
  const im = await open(t, {
    apps: [app(imAppId, ['https://good.example']), app(2, ['https://other.example'])],
    options: { links: 4, linksPerAddress: 2, trustedProxies: ['127.0.0.1'] },
  });
  const refused = async (headers: Record<string, string>, path = '/im/v1/link') => {
    const link = createTestLink(`${im.url.replace('http', 'ws')}${path}`, headers);
    const [, response] = await once(link.socket, 'unexpected-response');
    const { statusCode, headers: answered } = response as { statusCode: number; headers: Record<string, string> };
    response.resume();
    link.socket.terminate();
    return [statusCode, answered['retry-after'] !== undefined];
  };
  t.same(await refused({}, '/im/v1/other'), [404, false]);
  t.same(await refused({ origin: 'https://evil.example' }), [403, false]);
  const wrong = await im.openLink({ origin: 'https://other.example' });
  const alice = name('alice');
  const login = { sdkAppId: imAppId, identifier: alice, userSig: im.userSig(alice), platform: 'Web' };
  t.match((await wrong.ask('login', login)).error, { name: 'FORBIDDEN', reason: /im\.origins/ });
  t.match(await byeOf(wrong), { closed: 4103 }, 'a page that another app lists');
  await until(async () => (await metric(im, 'qalgate_im_link_connections')) === 0);

  const from = (address: string) => ({ 'x-forwarded-for': address });
  const two = [await im.openLink(from('1.1.1.1')), await im.openLink(from('1.1.1.1'))];
  t.same(await refused(from('1.1.1.1')), [429, true]);
  await im.openLink(from('2001:db8::1'));
  await im.openLink(from('2001:db8::2'));
  t.same(await refused(from('2.2.2.2')), [503, true]);
  await two[0]?.close();
  await until(async () => (await metric(im, 'qalgate_im_link_connections')) === 3);
  const last = await im.openLink(from('2.2.2.2'));
  t.ok(last);

  const socket = connect(Number(new URL(im.url).port), '127.0.0.1');
  socket.write('GET /im/v1/link HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
  const [head] = await once(socket, 'data');
  t.match(String(head), /^HTTP\/1\.1 (400|503)/);
  socket.destroy();
  t.equal(await metric(im, 'qalgate_im_link_connections'), 4, 'a handshake that fails holds nothing');
});

t.test('shutdown: goodbye to all, answers to what is in flight, no new ones', async (t) => {
  const gate = Promise.withResolvers<void>();
  const beforeSend = asks(async () => {
    await gate.promise;
    return { kind: 'allow', outcome: 'allowed' };
  });
  const im = await open(t, { deps: { ports: { beforeSend } } });
  const [alice, bob] = [name('alice'), name('bob')];
  const [a, b] = [await im.link(alice), await im.link(bob)];
  const fresh = await im.openLink();
  const answer = a.ok('send', messageTo(bob, 'last words'));
  await until(async () => (await metric(im, 'qalgate_im_link_requests_in_flight')) === 1);
  const ended = im.im.endLinks();
  t.match(await byeOf(b), { name: 'SHUTDOWN', closed: 4000, final: false, reconnectMs: Number });
  t.match(await byeOf(fresh), { name: 'SHUTDOWN' });
  const late = createTestLink(`${im.url.replace('http', 'ws')}/im/v1/link`);
  const [, response] = await once(late.socket, 'unexpected-response');
  t.equal((response as { statusCode: number }).statusCode, 503);
  gate.resolve();
  t.match(await answer, { seq: 1 }, 'what was in flight is answered first');
  t.match(await byeOf(a), { name: 'SHUTDOWN', closed: 4000 });
  await ended;
  await im.im.endLinks();
  t.equal(await metric(im, 'qalgate_im_link_connections'), 0);
});

t.test('shutdown does not wait for those who do not answer', async (t) => {
  const im = await open(t);
  const link = await im.link(name('alice'));
  hang(link);
  await im.im.endLinks();
  t.equal(await metric(im, 'qalgate_im_link_connections'), 0);
  link.socket.terminate();
});

/** A bus that loses events while it is told to. */
function lossyBus(): Bus & { isLossy: boolean; gap(): void } {
  const subscribers = new Set<Parameters<Bus['subscribe']>[0]>();
  const gaps = new Set<() => void>();
  return {
    isLossy: false,
    publish(to: Parameters<Bus['publish']>[0], event: LinkEvent, exceptLink?: string) {
      if (!this.isLossy) for (const fn of subscribers) fn(to, event, exceptLink);
    },
    publishMany(to, event, exceptLink) {
      for (const account of to) this.publish(account, event, exceptLink);
    },
    subscribe(fn) {
      subscribers.add(fn);
      return () => subscribers.delete(fn);
    },
    onGap(fn) {
      gaps.add(fn);
      return () => gaps.delete(fn);
    },
    gap() {
      for (const fn of gaps) fn();
    },
  };
}

t.test('after a gap of the bus all links are told to look again', async (t) => {
  const bus = lossyBus();
  const im = await open(t, { deps: { bus } });
  const links = [await im.link(name('a')), await im.link(name('b'))];
  const fresh = await im.openLink();
  bus.gap();
  for (const link of links) await link.event(({ on }) => on === 'resync');
  t.equal(await metric(im, 'qalgate_im_link_resyncs_total', { cause: 'gap' }), 2);
  t.same(fresh.events, []);
});

t.test('a lost wake heals with a heartbeat; what was not lost costs no resync', async (t) => {
  const bus = lossyBus();
  const im = await open(t, { deps: { bus }, app: { multiTerminal: 'all' } });
  const [alice, bob] = [name('alice'), name('bob')];
  const a = await im.link(alice);
  await a.ok('send', messageTo('admin', 'x')).catch(() => {});
  const b = await im.link(bob);
  await a.ok('send', messageTo(bob, 'seen'));
  await b.event(isMessage('seen'));
  /** A beat of both a period later, and what came of it. */
  const beat = async () => {
    im.clock.advance(61);
    const looks = await im.db.pool.query('select 1');
    await Promise.all([a.ok('beat'), b.ok('beat')]);
    return looks;
  };
  const resyncs = (link: TestLink) => link.events.filter(({ on }) => on === 'resync').length;
  await beat();

  bus.isLossy = true;
  await a.ok('send', messageTo(bob, 'lost'));
  bus.isLossy = false;
  await beat();
  await b.event(({ on }) => on === 'resync');
  t.equal(resyncs(b), 1);
  t.equal(resyncs(a), 0, 'who sent it has its answer');
  t.match(await b.ok('sync', { conversation: `c2c:${alice}`, since: 1 }), { messages: [{ seq: 2 }] });

  await beat();
  const done = await im.link(name('done'));
  await beat();
  await a.ok('send', messageTo(bob, 'again'));
  await b.event(isMessage('again'));
  await beat();
  // The looks before this one are over when this one is.
  bus.isLossy = true;
  await a.ok('send', messageTo(bob, 'lost too'));
  await beat();
  await until(() => resyncs(b) === 2);
  t.equal(resyncs(a), 0);
  t.equal(resyncs(done), 0);
  t.equal(await metric(im, 'qalgate_im_link_resyncs_total', { cause: 'missed' }), 2);

  // Any frame counts as a heartbeat, so a terminal that has much to say may send none.
  await a.ok('send', messageTo(bob, 'lost as well'));
  im.clock.advance(61);
  await b.ok('ack', { items: [] });
  await until(() => resyncs(b) === 3);
});

t.test('what a login finds by itself is no reason for a resync', async (t) => {
  const im = await open(t);
  const [alice, bob] = [name('alice'), name('bob')];
  const a = await im.link(alice);
  await (await im.link(bob)).close();
  await a.ok('send', messageTo(bob, 'while away'));
  const b = await im.link(bob);
  await b.ok('recents');
  im.clock.advance(61);
  await b.ok('beat');
  await b.ok('beat');
  await delay(400);
  t.same(b.events, []);
});

t.test('links that are cut at any moment leave nothing behind', async (t) => {
  const im = await open(t, { app: { multiTerminal: 'all' } });
  const accounts = Array.from({ length: 6 }, () => name('cut'));
  for (const account of accounts) await (await im.link(account)).close();
  const url = `${im.url.replace('http', 'ws')}/im/v1/link`;
  await Promise.all(
    Array.from({ length: 120 }, async (_, i) => {
      const account = accounts[i % accounts.length] as string;
      const link = createTestLink(url);
      // Somewhere between the handshake, the login, and the answers to the requests behind it.
      setTimeout(() => (i % 3 === 0 ? link.socket.close() : link.socket.terminate()), i % 40);
      link.socket.once('open', () => {
        const platform = ['Web', 'iOS', 'Android', 'Mac'][i % 4];
        const login = { sdkAppId: imAppId, identifier: account, userSig: im.userSig(account), platform };
        link.sendText(JSON.stringify({ id: 1, do: 'login', ...login }));
        for (let n = 0; n < 5; n++) {
          link.sendText(
            JSON.stringify({ id: 2 + n, do: 'send', ...messageTo(accounts[(i + 1) % 6] as string, `${i}/${n}`) }),
          );
          link.sendText(JSON.stringify({ do: 'recents' }));
        }
      });
      await link.closed;
    }),
  );
  await until(async () => (await metric(im, 'qalgate_im_link_connections')) === 0);
  await until(async () => (await metric(im, 'qalgate_im_link_requests_in_flight')) === 0);
  await until(async () => (await metric(im, 'qalgate_im_links')) === 0);
  for (const account of accounts) {
    await until(async () => ['offline', 'push-online'].includes((await stateOf(im, account)) ?? ''));
  }
  t.pass('no link, no request, nobody online');
});

t.test('the database is away: requests say so, a login is told to come back', async (t) => {
  const { dataDir, logger } = database;
  // A pool of its own on the same server: that one can be taken away.
  const settings = { dataDir, database: 'embedded', use: 'command' } as const;
  const db = await openDatabase({ logger, metrics: createMetrics() }, settings);
  const im = await openIm(t, { database: { db } });
  const [alice, bob] = [name('alice'), name('bob')];
  const [a] = [await im.link(alice), await im.link(bob)];
  await db.close();
  for (const [what, fields] of [
    ['send', messageTo(bob, 'x')],
    ['recents', {}],
    ['read', { conversation: `c2c:${bob}` }],
    ['report', { state: 'background' }],
    ['logout', {}],
  ] as const) {
    t.match((await a.ask(what, fields)).error, { name: 'DATABASE_UNAVAILABLE', retryable: true }, what);
  }
  await a.ok('beat');
  const link = await im.openLink();
  const carol = name('carol');
  const login = { sdkAppId: imAppId, identifier: carol, userSig: im.userSig(carol), platform: 'Web' };
  t.match((await link.ask('login', login)).error, { name: 'DATABASE_UNAVAILABLE' });
  t.match(await byeOf(link), { name: 'UNAVAILABLE', closed: 4005, final: false, reconnectMs: Number });
});

t.test('metrics name no account', async (t) => {
  const im = await open(t);
  const alice = name('secretive');
  const link = await im.link(alice);
  await link.ok('send', messageTo(alice, 'to myself'));
  t.notOk((await im.metrics.registry.metrics()).includes(alice));
  t.match(await im.metrics.registry.metrics(), /qalgate_im_link_requests_total\{do="send"\} 1/);
});

t.test('[I4] a kick by command line or ops API ends links, too, but none of a newer UserSig', async (t) => {
  const im = await open(t, { app: { multiTerminal: 'all' } });
  const alice = name('alice');
  const old = await im.link(alice, { platform: 'iOS' });
  const newer = await im.link(alice, { platform: 'Web', userSig: im.userSig(alice, { ago: -60 }) });
  await im.revocations.revokeAccount(imAppId, alice as never);
  t.match(await byeOf(old), { name: 'KICKED_BY_ADMIN', closed: 4101 });
  await newer.ok('beat');
  t.strictSame(await stateOf(im, alice), 'online');
});

t.test('[I4] a kick that the bus did not tell of is found when it listens again', async (t) => {
  const im = await open(t);
  const alice = name('alice');
  const link = await im.link(alice);
  await im.db.pool.query(
    `insert into session_revocation (sdk_app_id, scope, subject, revoked_before) values ($1, 'account', $2, now())`,
    [imAppId, alice],
  );
  await link.ok('beat');
  await im.db.pool.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where query like 'listen %' or query = 'select 1'`,
  );
  t.match(await byeOf(link), { name: 'KICKED_BY_ADMIN', closed: 4101 });
});

t.test('[I4] links of a deleted account end, also where nobody was left to say so', async (t) => {
  const im = await open(t, { options: { presence: { leaseMs: 300, renewMs: 100 } } });
  const alice = name('alice');
  const link = await im.link(alice);
  await im.db.pool.query('update account set deleted_ms = 1 where identifier = $1', [alice]);
  t.match(await byeOf(link), { name: 'ACCOUNT_DELETED', closed: 4108 });
});
