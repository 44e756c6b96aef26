import t from 'tap';
import { type ImConversation, type MessagePage, type PageOptions, textOf } from '../../src/sdk/im/index.ts';
import { lasting, loggedIn, until, watchClient } from '../support/im-client.ts';
import { openScript, type ScriptedService } from '../support/link-script.ts';

const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

function fill(service: ScriptedService, from: number, to: number): void {
  for (const text of numbers(from, to)) service.post('bob', 'alice', text, { isSilent: true });
}

/** Texts of a page, `…` before them when there are more, `?` when some are missing. */
function texts({ messages, isComplete, hasGap }: MessagePage): string[] {
  return [...(hasGap ? ['?'] : []), ...(isComplete ? [] : ['…']), ...messages.map(textOf)];
}

async function all(conversation: ImConversation, options: PageOptions = {}): Promise<string[]> {
  const found: string[] = [];
  let before: PageOptions['before'];
  for (;;) {
    const page = await conversation.getMessage({ count: 7, ...options, ...(before !== undefined && { before }) });
    found.unshift(...page.messages.map(textOf));
    before = page.messages[0];
    if (page.isComplete || before === undefined) return found;
  }
}

t.test('[H1] [M8] getMessage: what is here first, gaps from the service, each asked for once', async (t) => {
  const service = await openScript(t);
  fill(service, 1, 100);
  service.read('alice', 'bob', 100);
  const { client, texts: shown } = await loggedIn(t, service);
  t.same(shown(), ['100'], 'of a history that another terminal has read the last message alone comes by itself');
  const conversation = client.getConversation('bob');
  t.same(texts(await conversation.getLocalMessage({ count: 3 })), ['?', '…', '100']);
  t.same(texts(await conversation.getMessage({ count: 3 })), ['…', '98', '99', '100']);
  t.equal(service.count('history'), 1);
  t.same(texts(await conversation.getMessage({ count: 3, before: 98 })), ['…', '95', '96', '97']);
  t.equal(service.count('history'), 1, 'more was asked for than was needed');
  t.same(await all(conversation), numbers(1, 100));
  const asked = service.count('history');
  t.same(await all(conversation), numbers(1, 100));
  t.same(await all(conversation, { count: 200 }), numbers(1, 100));
  t.equal(service.count('history'), asked);
  for (const count of [0, 201, 1.5, Number.NaN]) {
    await t.rejects(conversation.getMessage({ count }), { code: 'INVALID_ARGUMENT', field: 'count' });
  }
});

t.test('[H1] several gaps, and a conversation that has none', async (t) => {
  const service = await openScript(t);
  const storage = lasting();
  for (const at of [10, 20, 30]) {
    fill(service, at - 9, at);
    const { client } = await loggedIn(t, service, { storage });
    await client.getConversation('bob').getLocalMessage();
    await until(() => service.delivered('alice', 'bob') >= at);
    await client.close();
    // Another terminal had them.
    fill(service, at + 1, at + 9);
    service.read('alice', 'bob', at + 9);
    service.messages('bob', 'alice').length = at;
  }
  service.messages('bob', 'alice').length = 0;
  fill(service, 1, 60);
  service.read('alice', 'bob', 60);
  const { client, texts: shown } = await loggedIn(t, service, { storage });
  t.same(shown(), ['60']);
  t.same(await all(client.getConversation('bob')), numbers(1, 60));
  t.same(texts(await client.getConversation('nobody').getMessage()), []);
});

t.test('[H1] without a connection: what is here, and that some is missing', async (t) => {
  const service = await openScript(t);
  fill(service, 1, 50);
  service.read('alice', 'bob', 50);
  const { client, until } = await loggedIn(t, service);
  const conversation = client.getConversation('bob');
  await conversation.getMessage({ count: 20 });
  service.stop();
  await until('disconnected');
  t.same(texts(await conversation.getMessage({ count: 20 })), ['…', ...numbers(31, 50)]);
  t.same(texts(await conversation.getMessage({ count: 30 })), ['?', '…', ...numbers(30, 50)]);
  t.same(texts(await conversation.getMessage({ count: 10, before: 30 })), ['?', '…']);
  t.same(texts(await client.getConversation('carol').getMessage()), []);
});

t.test('[H1] a service that refuses, or answers strangely', async (t) => {
  const service = await openScript(t);
  const { client, until } = await loggedIn(t, service);
  const conversation = client.getConversation('bob');
  service.script = ({ do: what }) =>
    what === 'history' ? { error: { name: 'RECEIVER_UNKNOWN', retryable: false, field: 'conversation' } } : undefined;
  await t.rejects(conversation.getMessage(), { code: 'RECEIVER_UNKNOWN', field: 'conversation' });
  service.script = ({ do: what }) => (what === 'history' ? { ok: { messages: 7, complete: 'x' } } : undefined);
  t.same(texts(await conversation.getMessage()), []);
  fill(service, 1, 5);
  const wrong = service.messages('bob', 'alice').map((message) => service.event('alice', message));
  service.script = ({ do: what }) => (what === 'history' ? { ok: { messages: wrong, complete: false } } : undefined);
  service.post('bob', 'alice', '6');
  await until('new 6');
  t.same((await conversation.getMessage({ count: 3 })).messages.map(textOf).slice(-1), ['6']);
});

t.test('[H2] deleteMessage: gone here for good, also when it would come back from the service', async (t) => {
  const service = await openScript(t);
  const storage = lasting();
  fill(service, 1, 5);
  const { client } = await loggedIn(t, service, { storage });
  const conversation = client.getConversation('bob');
  const { messages } = await conversation.getMessage();
  for (const message of messages.slice(3)) await conversation.deleteMessage(message);
  t.same(texts(await conversation.getMessage()), ['1', '2', '3']);
  t.equal(conversation.last && textOf(conversation.last), '3');
  await client.close();
  for (const key of await storage.keys('im/')) await storage.delete(key);
  const second = await loggedIn(t, service, { storage });
  t.same(texts(await second.client.getConversation('bob').getMessage()), ['1', '2', '3']);
  t.ok(service.count('history') > 0);
  t.equal(service.messages('bob', 'alice').length, 5, 'the service keeps it');
});

t.test('[H2] delete: out of the list until the next message; with messages, all of them', async (t) => {
  const service = await openScript(t);
  const storage = lasting();
  fill(service, 1, 3);
  const { client, until: told } = await loggedIn(t, service, { storage });
  const conversation = client.getConversation('bob');
  const list = async (): Promise<string[]> => (await client.getConversations()).map(({ peer }) => peer);
  t.same(await list(), ['bob']);
  await conversation.delete();
  t.same(await list(), []);
  await until(() => service.count('hide') === 1);
  t.same(texts(await conversation.getMessage()), ['1', '2', '3'], 'its messages are there');
  service.post('bob', 'alice', '4');
  await told('new 4');
  t.same(await list(), ['bob']);
  await conversation.delete({ messages: true });
  await until(() => service.count('hide') === 2);
  t.same(await list(), []);
  t.equal(conversation.unread, 0);
  t.equal(conversation.last, undefined);
  t.same(texts(await conversation.getMessage()), []);
  service.post('bob', 'alice', '5');
  await told('new 5');
  t.same(texts(await conversation.getMessage()), ['5']);
  await client.close();
  const second = await loggedIn(t, service, { storage });
  t.same(texts(await second.client.getConversation('bob').getMessage()), ['5']);
});

t.test('[H2] delete without a connection: the service is told later, unless there is news', async (t) => {
  const service = await openScript(t);
  service.post('bob', 'alice', 'b1');
  service.post('carol', 'alice', 'c1');
  const { client, until: told } = await loggedIn(t, service);
  service.stop();
  await told('disconnected');
  await client.getConversation('bob').delete({ messages: true });
  await client.getConversation('carol').delete({ messages: true });
  t.same(await client.getConversations(), []);
  service.post('carol', 'alice', 'c2');
  service.start();
  await told('refresh', 2);
  await until(() => service.count('hide') === 1);
  t.equal(service.requests.find((request) => request.do === 'hide')?.fields.conversation, 'c2c:bob');
  t.same(
    (await client.getConversations()).map(({ peer }) => peer),
    ['carol'],
  );
  t.same(texts(await client.getConversation('carol').getMessage()), ['c2'], 'what was deleted stays so');
});

t.test('[M14] unread: of the peer, not read on any terminal; read reports and receipts', async (t) => {
  const service = await openScript(t);
  fill(service, 1, 3);
  const { client, until: told } = await loggedIn(t, service);
  const bob = await loggedIn(t, service, {}, 'bob');
  const conversation = client.getConversation('bob');
  t.equal(conversation.unread, 3);
  conversation.sendMessage('mine');
  await told('status mine sent');
  t.equal(conversation.unread, 3, 'own messages never count');
  service.post('alice', 'bob', 'from elsewhere');
  await told('new from elsewhere');
  t.equal(conversation.unread, 3);
  service.post('bob', 'alice', 'quiet', { isUncounted: true });
  await told('new quiet');
  t.equal(conversation.unread, 3, 'nor those that do not count');
  await conversation.setReadMessage(2);
  await until(() => conversation.unread === 1);
  t.equal(service.unread('alice', 'bob'), 1);
  await bob.told.includes('read c2c:alice 2 peer');
  await bob.until('read c2c:alice 2 peer');
  t.equal(bob.client.getConversation('alice').peerReadSeq, 2);
  // On another terminal.
  service.read('alice', 'bob', 3);
  await told('read c2c:bob 3 self');
  t.equal(conversation.unread, 0);
  t.equal(conversation.readSeq, 3);
  service.post('bob', 'alice', 'new');
  await told('new new');
  t.equal(conversation.unread, 1);
  await conversation.setReadMessage();
  t.equal(conversation.unread, 0, 'at once');
  await until(() => service.unread('alice', 'bob') === 0);
  const reads = service.count('read');
  await conversation.setReadMessage();
  await conversation.setReadMessage(1);
  t.equal(service.count('read'), reads, 'nothing to tell');
});

t.test('[M14] read without a connection, or with an answer that is lost: told with the next connection', async (t) => {
  const service = await openScript(t);
  const storage = lasting();
  fill(service, 1, 3);
  const first = await loggedIn(t, service, { storage });
  service.stop();
  await first.until('disconnected');
  await first.client.getConversation('bob').setReadMessage();
  await first.client.close();
  service.start();
  t.equal(service.unread('alice', 'bob'), 3);
  const second = watchClient(t, { url: service.url, storage });
  let times = 1;
  service.script = ({ do: what }) => (what === 'read' && times-- > 0 ? 'cut-before' : undefined);
  await second.client.login('alice', 'sig');
  await until(() => service.unread('alice', 'bob') === 0);
  t.equal(second.client.getConversation('bob').unread, 0);
});

t.test('[M14] what has not been shown yet is not read by setReadMessage', async (t) => {
  const service = await openScript(t);
  fill(service, 1, 1);
  const { client, until: told } = await loggedIn(t, service);
  service.links[0]?.cut();
  fill(service, 2, 3);
  const conversation = client.getConversation('bob');
  service.script = async ({ do: what }) => {
    if (what === 'sync') await conversation.setReadMessage();
    return undefined;
  };
  await told('new 3');
  await until(() => service.count('read') === 1);
  t.equal(service.requests.find((request) => request.do === 'read')?.fields.seq, 1);
  await until(() => conversation.unread === 2);
});

t.test('[M14] a read position that the service cannot take just now is told again', async (t) => {
  const service = await openScript(t);
  fill(service, 1, 2);
  const { client, events } = await loggedIn(t, service, { limits: { backoffMs: 2 } });
  let times = 2;
  service.script = ({ do: what }) =>
    what === 'read' && times-- > 0 ? { error: { name: 'BUSY', retryable: true } } : undefined;
  await client.getConversation('bob').setReadMessage();
  await until(() => service.unread('alice', 'bob') === 0);
  t.match(events, Array(2).fill({ type: 'request-failed', request: 'read', error: { code: 'BUSY' } }));
});

t.test('[M14] a message that comes while the read position is told is unread', async (t) => {
  const service = await openScript(t);
  fill(service, 1, 3);
  const { client, until: told } = await loggedIn(t, service);
  const conversation = client.getConversation('bob');
  service.script = async ({ do: what, fields, id, link }) => {
    if (what !== 'read') return undefined;
    const ok = service.read('alice', 'bob', Number(fields.seq), link);
    service.post('bob', 'alice', '4');
    await told('new 4');
    link.send({ id, ok });
    return 'silence';
  };
  await conversation.setReadMessage();
  await until(() => service.count('unread') > 0);
  await client.setProfile({});
  t.equal(conversation.unread, 1);
  t.equal(conversation.readSeq, 3);
});

t.test('[M14] a number of another terminal’s reading that is older than what came since', async (t) => {
  const service = await openScript(t);
  fill(service, 1, 3);
  const { client, until: told } = await loggedIn(t, service);
  const conversation = client.getConversation('bob');
  const [link] = service.links;
  service.read('alice', 'bob', 1, link);
  service.say('alice', { on: 'read', conversation: 'c2c:bob', readSeq: 1, unread: 0 });
  await told('read c2c:bob 1 self');
  await until(() => conversation.unread === 2);
});

t.test('[M14] the service’s number holds a message whose event comes after it', async (t) => {
  const service = await openScript(t);
  fill(service, 1, 3);
  const { client, until: told } = await loggedIn(t, service);
  const conversation = client.getConversation('bob');
  let late: object | undefined;
  service.script = ({ do: what, link }) => {
    if (what !== 'unread' || late !== undefined) return undefined;
    late = service.event('alice', service.post('bob', 'alice', '4', { isSilent: true }));
    setImmediate(() => link.send(late));
    return undefined;
  };
  await conversation.setReadMessage(1);
  await told('new 4');
  await until(() => service.count('unread') > 1);
  await until(() => conversation.unread === 3);
  t.equal(service.unread('alice', 'bob'), 3);
});

t.test('recall: an answer that is faster than its event, and one that is told of twice', async (t) => {
  const service = await openScript(t);
  const { client, told: list } = await loggedIn(t, service);
  const conversation = client.getConversation('bob');
  const mine = await conversation.sendMessage('mine').done;
  service.script = ({ do: what, id, link }) => {
    if (what !== 'recall') return undefined;
    service.recall('alice', 'bob', 1, { isSilent: true });
    link.send({ id, ok: { recallNo: 1 } });
    link.send({ on: 'recalled', conversation: 'c2c:bob', seqs: [1], recallNo: 1 });
    link.send({ on: 'recalled', conversation: 'c2c:bob', seqs: [1], recallNo: 1 });
    return 'silence';
  };
  await conversation.recall(mine);
  await client.setProfile({});
  t.same(
    list.filter((one) => one.startsWith('recalled')),
    ['recalled c2c:bob 1'],
  );
});

t.test('recall: one’s own, the peer’s, before it arrived, and while one was away', async (t) => {
  const service = await openScript(t);
  const storage = lasting();
  const { client, until: told, texts: shown, told: list } = await loggedIn(t, service, { storage });
  const conversation = client.getConversation('bob');
  const mine = await conversation.sendMessage('mine').done;
  await conversation.recall(mine);
  await told('recalled c2c:bob 1');
  await client.setProfile({});
  t.same(
    list.filter((one) => one.startsWith('recalled')),
    ['recalled c2c:bob 1'],
    'told of once',
  );
  t.match((await conversation.getMessage()).messages, [{ status: 'recalled', body: [], seq: 1 }]);
  fill(service, 2, 3);
  for (const message of service.messages('alice', 'bob').slice(1))
    service.say('alice', service.event('alice', message));
  await told('new 3');
  t.equal(conversation.unread, 2);
  service.recall('bob', 'alice', 3);
  await told('recalled c2c:bob 3');
  await until(() => conversation.unread === 1);
  t.equal(conversation.last?.status, 'recalled');
  // An event that comes after the recall of its message.
  const late = service.event('alice', service.post('bob', 'alice', '4', { isSilent: true }));
  service.recall('bob', 'alice', 4);
  await told('recalled c2c:bob 4');
  service.say('alice', late);
  // One recall is lost; the next shows it.
  service.recall('bob', 'alice', 2, { isSilent: true });
  service.post('bob', 'alice', '5');
  service.recall('bob', 'alice', 5);
  await told('recalled c2c:bob 2,5');
  t.same(shown(), ['2', '3', '5']);
  await until(() => conversation.unread === 0);
  service.post('bob', 'alice', '6');
  await told('new 6');
  await client.close();
  service.recall('bob', 'alice', 6);
  const second = watchClient(t, { url: service.url, storage });
  await second.client.login('alice', 'sig');
  await second.until('recalled c2c:bob 6');
  const { messages } = await second.client.getConversation('bob').getMessage();
  t.same(
    messages.map(({ status }) => status),
    Array(6).fill('recalled'),
  );
  service.script = ({ do: what }) =>
    what === 'recall' ? { error: { name: 'RECALL_TOO_LATE', retryable: false } } : undefined;
  await t.rejects(second.client.getConversation('bob').recall(mine), { code: 'RECALL_TOO_LATE' });
});

t.test('profiles, background and foreground', async (t) => {
  const service = await openScript(t);
  const { client } = await loggedIn(t, service);
  const notices: unknown[] = [];
  client.onProfile((notice) => notices.push(notice));
  t.same(await client.getProfiles(['bob', 'carol'], ['nick']), [
    { account: 'bob', fields: { nick: 'bob' } },
    { account: 'carol', fields: { nick: 'carol' } },
  ]);
  await client.setProfile({ nick: 'Alice' });
  await client.report('background', 3);
  await client.report('foreground');
  t.same(
    service.requests.slice(-3).map(({ do: what, fields }) => [what, fields]),
    [
      ['setProfile', { fields: { nick: 'Alice' } }],
      ['report', { state: 'background', unread: 3 }],
      ['report', { state: 'foreground' }],
    ],
  );
  service.say('alice', { on: 'profile', account: 'alice', fields: { nick: 'A' } });
  await until(() => notices.length === 1);
  t.same(notices, [{ account: 'alice', fields: { nick: 'A' } }]);
});
