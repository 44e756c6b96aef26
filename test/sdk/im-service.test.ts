import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type ImClient, type ImClientOptions, type MessagePage, textOf } from '../../src/sdk/im/index.ts';
import { directoryStorage } from '../../src/sdk/im/node/index.ts';
import { openIm, type TestIm } from '../support/im.ts';
import { lasting, until, type WatchedClient, watchClient } from '../support/im-client.ts';

/** `ImClient` against the service itself: real links, a real database. */
const im: TestIm = await openIm(t, { app: { multiTerminal: 'all' } });
let names = 0;
/** Accounts that no other test knows. */
const fresh = (name: string): string => `${name}${++names}`;

async function login(t: Test, account: string, options: Partial<ImClientOptions> = {}): Promise<WatchedClient> {
  const watched = watchClient(t, { url: im.url, platform: 'Web', random: Math.random, ...options });
  await watched.client.login(account, im.userSig(account));
  await watched.until('refresh');
  return watched;
}

/** The account exists; nobody is logged in. */
async function make(...accounts: string[]): Promise<void> {
  for (const account of accounts) {
    const answer = await im.call('im_open_login_svc/account_import', { Identifier: account, UserID: account });
    if (answer.ErrorCode !== 0) throw new Error(JSON.stringify(answer));
  }
}

const texts = ({ messages }: MessagePage): string[] => messages.map(textOf);
const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

/** Cuts the links of a client without a goodbye. */
function cuttable(): { readonly WebSocket: NonNullable<ImClientOptions['WebSocket']>; cut(): void } {
  const sockets = new Set<WebSocket>();
  return {
    WebSocket: class extends WebSocket {
      constructor(url: string) {
        super(url);
        sockets.add(this);
      }
    } as unknown as NonNullable<ImClientOptions['WebSocket']>,
    cut() {
      for (const socket of sockets) socket.close();
      sockets.clear();
    },
  };
}

t.test('[M1] [M4] two users chat: statuses, order, unread numbers, read marks', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  await make(a, b);
  const alice = await login(t, a);
  const bob = await login(t, b);
  const withBob = alice.client.getConversation(b);
  const withAlice = bob.client.getConversation(a);
  const sent = numbers(1, 20).map((text) => withBob.sendMessage(text).done);
  await Promise.all(sent);
  await bob.until('new 20');
  t.same(bob.texts(), numbers(1, 20));
  t.equal(withAlice.unread, 20);
  t.match(bob.messages[0], {
    from: a,
    isSelf: false,
    status: 'sent',
    conversation: `c2c:${a}`,
    seq: 1,
    clientId: undefined,
  });
  withAlice.sendMessage('back');
  await alice.until('new back');
  t.equal(withAlice.unread, 20, '[M14] own messages never count');
  await withAlice.setReadMessage();
  await alice.until(`read c2c:${b} 21 peer`);
  t.equal(withBob.peerReadSeq, 21);
  t.equal(withAlice.unread, 0);
  t.equal(withBob.unread, 1);
  for (const one of [alice, bob]) {
    const other = one === alice ? b : a;
    t.same(texts(await one.client.getConversation(other).getMessage({ count: 50 })), [...numbers(1, 20), 'back']);
  }
  t.same(alice.events, []);
  t.same(bob.events, []);
});

t.test('[M5] [M6] [M7] offline and back: offline messages, last of recent contacts, each once', async (t) => {
  const [a, b, c] = [fresh('alice'), fresh('bob'), fresh('carol')];
  await make(a, b, c);
  const bob = await login(t, b);
  const carol = await login(t, c);
  await carol.client.getConversation(a).sendMessage('c1').done;
  await carol.client.getConversation(a).sendMessage('c2').done;
  const first = await login(t, a, { platform: 'Mac' });
  await until(() => first.texts().length === 2);
  await first.client.getConversation(c).setReadMessage();
  await carol.until(`read c2c:${a} 2 peer`);
  await first.client.close();
  for (const text of numbers(1, 5)) await bob.client.getConversation(a).sendMessage(text).done;
  const storage = lasting();
  const second = await login(t, a, { storage });
  t.same(second.texts(), [...numbers(1, 5), 'c2'], 'carol’s last one is neither offline nor stored here');
  t.equal(second.client.getConversation(b).unread, 5);
  t.equal(second.client.getConversation(c).unread, 0);
  await second.client.close();
  const third = await login(t, a, { storage });
  t.same(third.texts(), [], '[H4] not again after a restart');
  const { messages } = await third.client.getConversation(c).getMessage();
  t.same(messages.map(textOf), ['c1', 'c2']);
});

t.test('[H4] cut at any moment: nothing is lost, nothing comes twice, and what was sent is one', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  await make(a, b);
  const cutA = cuttable();
  const cutB = cuttable();
  const alice = await login(t, a, { WebSocket: cutA.WebSocket });
  const bob = await login(t, b, { WebSocket: cutB.WebSocket });
  const conversation = alice.client.getConversation(b);
  const back = bob.client.getConversation(a);
  const sent: Promise<unknown>[] = [];
  for (let i = 1; i <= 60; i += 1) {
    sent.push(conversation.sendMessage(`a${i}`).done, back.sendMessage(`b${i}`).done);
    if (i % 7 === 0) cutA.cut();
    if (i % 11 === 0) cutB.cut();
    if (i % 5 === 0) await new Promise((resolve) => setTimeout(resolve, 3));
  }
  await Promise.all(sent);
  await bob.until('new a60');
  await alice.until('new b60');
  t.same(
    bob.texts(),
    numbers(1, 60).map((no) => `a${no}`),
  );
  t.same(
    alice.texts(),
    numbers(1, 60).map((no) => `b${no}`),
  );
  const [ofAlice, ofBob] = [
    texts(await conversation.getMessage({ count: 200 })),
    texts(await back.getMessage({ count: 200 })),
  ];
  t.same(ofAlice, ofBob, '[M15] both see the same order');
  t.equal(ofAlice.length, 120);
  await until(() => conversation.unread === 60 && back.unread === 60);
});

t.test('[P6] [M14] a second terminal: the same messages, own ones included; read on one, read on both', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  await make(a, b);
  const phone = await login(t, a, { platform: 'iOS' });
  const web = await login(t, a);
  const bob = await login(t, b);
  phone.client.getConversation(b).sendMessage('from the phone');
  await web.until('new from the phone');
  t.match(web.messages, [{ isSelf: true, from: a }]);
  bob.client.getConversation(a).sendMessage('hi');
  await Promise.all([web.until('new hi'), phone.until('new hi')]);
  t.equal(web.client.getConversation(b).unread, 1);
  await phone.client.getConversation(b).setReadMessage();
  await web.until(`read c2c:${b} 2 self`);
  t.equal(web.client.getConversation(b).unread, 0);
  t.same(phone.texts(), ['hi'], 'and the one that sent is told nothing new');
  const late = await login(t, a, { platform: 'Windows' });
  t.same(late.texts(), ['hi'], 'a third one gets the last message');
  t.same(texts(await late.client.getConversation(b).getMessage()), ['from the phone', 'hi']);
});

t.test('[P5] two terminals of one kind: the older is told, and stays away', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  await make(a, b);
  const storage = directoryStorage(folder(t));
  const one = await login(t, a, { storage });
  const two = await login(t, a, { storage });
  await one.until('forced KICKED');
  t.equal(one.client.connectionState, 'disconnected');
  const bob = await login(t, b);
  bob.client.getConversation(a).sendMessage('hi');
  await two.until('new hi');
  t.same(one.texts(), []);
});

t.test('[P5] kicked while its link was lost: told at the next attempt', async (t) => {
  const a = fresh('alice');
  const cut = cuttable();
  const one = await login(t, a, { WebSocket: cut.WebSocket, random: () => 1, limits: { backoffMs: 200 } });
  cut.cut();
  await one.until('disconnected');
  const two = await login(t, a);
  await one.until('forced KICKED_WHILE_AWAY');
  t.notOk(two.told.includes('disconnected'), 'the one that came after it stays');
});

t.test('[I4] kicked by the administrator, and logged in again with a new UserSig', async (t) => {
  const a = fresh('alice');
  const { client, until: told } = await login(t, a);
  const old = im.userSig(a);
  await im.call('im_open_login_svc/kick', { Identifier: a });
  await told('forced KICKED_BY_ADMIN');
  await t.rejects(client.login(a, old), { code: 'USERSIG_REVOKED' });
  im.clock.advance(20);
  await client.login(a, im.userSig(a, { ago: 0 }));
  await told('refresh', 2);
});

t.test('UserSigs that are no good, an app that is none', async (t) => {
  const a = fresh('alice');
  const { client, told } = watchClient(t, { url: im.url });
  await t.rejects(client.login(a, im.userSig(a, { ago: 100, life: 50 })), { code: 'USERSIG_EXPIRED', number: 70_001 });
  await t.rejects(client.login(a, im.userSig('other')), { code: 'USERSIG_IDENTIFIER_MISMATCH' });
  await t.rejects(client.login(a, 'nonsense'), { code: 'USERSIG_MALFORMED' });
  t.equal(told.filter((one) => one === 'connected').length, 0);
  const other = watchClient(t, { url: im.url, sdkAppId: 5 });
  await t.rejects(other.client.login(a, im.userSig(a)), { code: 'APP_UNKNOWN' });
});

t.test('[H1] [M8] roaming: gaps between what is here are filled, whatever made them', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  await make(a, b);
  const bob = await login(t, b);
  const storage = lasting();
  const toAlice = bob.client.getConversation(a);
  for (let round = 0; round < 3; round += 1) {
    const phone = await login(t, a, { platform: 'iOS' });
    for (const text of numbers(round * 20 + 1, round * 20 + 15)) await toAlice.sendMessage(text).done;
    await phone.until(`new ${round * 20 + 15}`);
    await phone.client.getConversation(b).setReadMessage();
    await phone.client.close();
    const web = await login(t, a, { storage });
    for (const text of numbers(round * 20 + 16, round * 20 + 20)) await toAlice.sendMessage(text).done;
    await web.until(`new ${round * 20 + 20}`);
    await web.client.close();
  }
  const { client } = await login(t, a, { storage });
  const conversation = client.getConversation(b);
  t.equal((await conversation.getLocalMessage({ count: 200 })).messages.length, 18, 'what came by itself');
  t.same(texts(await conversation.getMessage({ count: 60 })), numbers(1, 60));
  t.same(await conversation.getLocalMessage({ count: 60 }), await conversation.getMessage({ count: 60 }));
  t.equal((await conversation.getMessage({ count: 61 })).isComplete, true);
  t.same(await client.getConversation(b).getMessage({ before: 1 }), { messages: [], isComplete: true, hasGap: false });
  await t.rejects(client.getConversation('nobody at all').getMessage(), { code: /UNKNOWN|NOT_REGISTERED/ });
});

t.test('recall: within its time, everywhere, also for who was away', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  await make(a, b);
  const alice = await login(t, a);
  const storage = lasting();
  const bob = await login(t, b, { storage });
  const toBob = alice.client.getConversation(b);
  const one = await toBob.sendMessage('one').done;
  const two = await toBob.sendMessage('two').done;
  await bob.until('new two');
  await toBob.recall(one);
  await bob.until(`recalled c2c:${a} 1`);
  await until(() => bob.client.getConversation(a).unread === 1);
  await bob.client.close();
  await toBob.recall(two);
  await t.rejects(toBob.recall(two), { code: 'ALREADY_RECALLED' });
  const again = watchClient(t, { url: im.url, storage });
  await again.client.login(b, im.userSig(b));
  await again.until(`recalled c2c:${a} 2`);
  const { messages } = await again.client.getConversation(a).getMessage();
  t.match(messages, [
    { status: 'recalled', body: [] },
    { status: 'recalled', body: [] },
  ]);
  t.equal(again.client.getConversation(a).unread, 0);
  await t.rejects(again.client.getConversation(a).recall(one), { name: 'ImError' }, 'somebody else’s');
  const old = await toBob.sendMessage('old').done;
  im.clock.advance(121);
  await t.rejects(toBob.recall(old), { code: 'RECALL_TOO_LATE' });
});

t.test('refusals: an unknown receiver, an element that is none, too long a message', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  await make(a, b);
  const { client } = await login(t, a);
  await t.rejects(client.getConversation('nobody').sendMessage('x').done, {
    code: 'RECEIVER_UNKNOWN',
    field: 'conversation',
  });
  const conversation = client.getConversation(b);
  const wrong = conversation.sendMessage([{ MsgType: 'TIMNoElem', MsgContent: {} }]);
  await t.rejects(wrong.done, { code: 'BODY_ELEMENT', field: 'body[0].MsgType' });
  await t.rejects(conversation.sendMessage('x'.repeat(9_000)).done, { code: 'MESSAGE_TOO_LONG', retryable: false });
  await t.rejects(conversation.sendMessage('x'.repeat(40_000)).done, { code: 'MESSAGE_TOO_LONG', retryable: false });
  await conversation.sendMessage('still here').done;
  t.equal(client.connectionState, 'connected');
});

t.test('[M7] disableAutoReport: another terminal gets the offline messages, too, until they are read', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  await make(a, b);
  const bob = await login(t, b);
  for (const text of ['1', '2']) await bob.client.getConversation(a).sendMessage(text).done;
  const one = await login(t, a, { platform: 'Mac', disableAutoReport: true });
  t.same(one.texts(), ['1', '2']);
  const two = await login(t, a, { platform: 'iOS', disableAutoReport: true });
  t.same(two.texts(), ['1', '2']);
  await two.client.getConversation(b).setReadMessage();
  await one.until(`read c2c:${b} 2 self`);
  const three = await login(t, a, { platform: 'Android', disableAutoReport: true, disableRecentContact: true });
  t.same(three.texts(), []);
});

t.test('[M14] [M17] what REST sends: in another’s name, not counted, to the receiver alone', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  await make(a, b);
  const alice = await login(t, a);
  const bob = await login(t, b);
  const send = (text: string, more: object) =>
    im.call('openim/sendmsg', {
      From_Account: b,
      To_Account: a,
      MsgRandom: Math.floor(Math.random() * 2 ** 31),
      MsgBody: [{ MsgType: 'TIMTextElem', MsgContent: { Text: text } }],
      ...more,
    });
  await send('synced', { SyncOtherMachine: 1 });
  await Promise.all([alice.until('new synced'), bob.until('new synced')]);
  await send('alone', { SyncOtherMachine: 2 });
  await send('quiet', { SyncOtherMachine: 2, SendMsgControl: ['NoUnread'] });
  await send('now', { MsgLifeTime: 0, SyncOtherMachine: 2 });
  await alice.until('new now');
  t.same(alice.texts(), ['synced', 'alone', 'quiet', 'now']);
  t.equal(alice.client.getConversation(b).unread, 2);
  t.same(bob.texts(), ['synced']);
  await bob.client.getConversation(a).sendMessage('mine').done;
  await alice.until('new mine');
  t.equal(alice.client.getConversation(b).unread, 3);
  t.same(texts(await bob.client.getConversation(a).getMessage()), ['synced', 'mine'], 'and no hole in it');
  t.same(texts(await alice.client.getConversation(b).getMessage()), ['synced', 'alone', 'quiet', 'mine']);
});

t.test('[M15] an account that was deleted and is there again is another peer', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  await make(a, b);
  const alice = await login(t, a);
  const old = await login(t, b);
  for (const text of ['1', '2', '3']) await old.client.getConversation(a).sendMessage(text).done;
  await alice.until('new 3');
  await im.call('im_open_login_svc/account_delete', { DeleteItem: [{ UserID: b }] });
  await old.until('forced ACCOUNT_DELETED');
  await t.rejects(alice.client.getConversation(b).sendMessage('x').done, { code: 'RECEIVER_UNKNOWN' });
  t.same(
    texts(await alice.client.getConversation(b).getLocalMessage()).slice(0, 3),
    ['1', '2', '3'],
    'what is here stays',
  );
  im.clock.advance(20);
  await make(b);
  const bob = watchClient(t, { url: im.url });
  await bob.client.login(b, im.userSig(b, { ago: 0 }));
  await bob.client.getConversation(a).sendMessage('anew').done;
  await alice.until('new anew');
  t.same(alice.texts(), ['1', '2', '3', 'anew']);
});

t.test('[H2] delete with messages ends the history at the service, too', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  await make(a, b);
  const bob = await login(t, b);
  const one = await login(t, a);
  await bob.client.getConversation(a).sendMessage('gone').done;
  await one.until('new gone');
  await one.client.getConversation(b).delete({ messages: true });
  const look = async (): Promise<number> => {
    const other = await login(t, a, { platform: 'Mac' });
    const { length } = await other.client.getConversations();
    await other.client.close();
    return length;
  };
  let left = 1;
  while (left > 0) left = await look();
  await bob.client.getConversation(a).sendMessage('new').done;
  await one.until('new new');
  t.same(texts(await one.client.getConversation(b).getMessage()), ['new']);
  t.same(texts(await bob.client.getConversation(a).getMessage()), ['gone', 'new']);
});

t.test('profiles over the link', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  await make(a, b);
  const web = await login(t, a);
  const mac = await login(t, a, { platform: 'Mac' });
  const notices: unknown[] = [];
  mac.client.onProfile((notice) => notices.push(notice));
  await web.client.setProfile({ nick: 'Alice' });
  await until(() => notices.length === 1);
  t.match(notices, [{ account: a, fields: { nick: 'Alice' } }]);
  t.match(await web.client.getProfiles([a, b, 'nobody'], ['nick']), [
    { account: a, fields: { nick: 'Alice' } },
    { account: b },
  ]);
  await web.client.report('background', 3);
  await web.client.report('foreground');
});

t.test('[H4] [M16] the service goes and comes back, and then its store is another one', async (t) => {
  const [a, b] = [fresh('alice'), fresh('bob')];
  await make(a, b);
  let url = '';
  const start = async (): Promise<TestIm> => {
    const one = await openIm(t, { app: { multiTerminal: 'all' }, database: { db: im.db } });
    url = one.url.replace('http', 'ws');
    return one;
  };
  // Whoever connects finds the service where it is now.
  const Moving = class extends WebSocket {
    constructor(given: string) {
      super(given.replace('ws://moving', url));
    }
  } as unknown as NonNullable<ImClientOptions['WebSocket']>;
  const first = await start();
  const alice = await login(t, a, { url: 'ws://moving', WebSocket: Moving });
  const bob = await login(t, b, { url: 'ws://moving', WebSocket: Moving });
  const toBob = alice.client.getConversation(b);
  await toBob.sendMessage('1').done;
  await first.close();
  await alice.until('disconnected');
  const waiting = toBob.sendMessage('2');
  t.equal(waiting.status, 'sending');
  t.same(texts(await toBob.getMessage()), ['1', '2']);
  const second = await start();
  await waiting.done;
  await bob.until('new 2');
  t.same(bob.texts(), ['1', '2']);
  await second.close();
  await im.db.pool.query('update meta set store_epoch = gen_random_uuid()');
  await start();
  await until(() => bob.events.some(({ type }) => type === 'store-changed'));
  await until(() => bob.told.lastIndexOf('refresh') > bob.told.lastIndexOf('connected'));
  t.same(texts(await bob.client.getConversation(a).getMessage()), ['1', '2']);
});

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'qalgate-im-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

t.test('the guide’s example for Node does what it says', async (t) => {
  const guide = readFileSync(new URL('../../docs/guide/im-client.md', import.meta.url), 'utf8');
  const [, text = ''] = /## In Node\n\n```js\n(.*?)```/s.exec(guide) ?? [];
  const [a, b] = [fresh('alice'), fresh('bob')];
  await make(a, b);
  const path = folder(t);
  const module = join(path, 'example.mjs');
  const replaced: [string, string][] = [
    ['qalgate/sdk/im/node', new URL('../../src/sdk/im/node/index.ts', import.meta.url).href],
    ['http://127.0.0.1:8081', im.url],
    ['./im', join(path, 'im')],
    ["'bob'", `'${b}'`],
    ['process.env.USERSIG', `'${im.userSig(b)}'`],
  ];
  const changed = replaced.reduce((all, [from, to]) => {
    t.ok(all.includes(from), from);
    return all.replace(from, to);
  }, text);
  writeFileSync(module, `${changed}\nexport { client };\n`);
  const { client } = (await import(module)) as { client: ImClient };
  t.teardown(() => client.close());
  const alice = await login(t, a);
  alice.client.getConversation(b).sendMessage('hello');
  await alice.until('new You said: hello');
});
