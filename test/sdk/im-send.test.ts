import t from 'tap';
import { ImError, textOf } from '../../src/sdk/im/index.ts';
import { lasting, loggedIn, until, watchClient } from '../support/im-client.ts';
import { openScript, type Script } from '../support/link-script.ts';

const texts = (messages: readonly Parameters<typeof textOf>[0][]): string[] => messages.map(textOf);

t.test('a message is there at once, sending; then sent, in its place', async (t) => {
  const service = await openScript(t);
  const { client, told, until } = await loggedIn(t, service);
  const conversation = client.getConversation('bob');
  const message = conversation.sendMessage('hi', { custom: 'extra' });
  t.match(message, {
    status: 'sending',
    seq: 0,
    from: 'alice',
    isSelf: true,
    conversation: 'c2c:bob',
    custom: 'extra',
    key: '',
  });
  t.equal(textOf(message), 'hi');
  t.match((await conversation.getLocalMessage()).messages, [{ status: 'sending', clientId: message.clientId }]);
  t.equal(conversation.last?.clientId, message.clientId);
  const sent = await message.done;
  t.match(sent, { status: 'sent', seq: 1, time: service.now, key: `1_7_${service.now}`, clientId: message.clientId });
  t.match(message, { status: 'sent', seq: 1 }, 'what the caller holds follows');
  t.notOk('done' in sent);
  await until('status hi sent');
  t.same(
    told.filter((one) => one.startsWith('status') || one.startsWith('new')),
    ['status hi sending', 'status hi sent'],
    'and it is no new message to its sender',
  );
  service.post('bob', 'alice', 'hello');
  await until('new hello');
  t.equal(service.count('sync'), 0, 'what was sent from here makes no hole');
  const { messages } = await conversation.getMessage();
  t.same(
    messages.map((one) => [textOf(one), one.isSelf, one.status]),
    [
      ['hi', true, 'sent'],
      ['hello', false, 'sent'],
    ],
  );
  const [request] = service.requests.filter((one) => one.do === 'send');
  t.match(request?.fields, { conversation: 'c2c:bob', custom: 'extra', clientId: /^[0-9a-f]{32}$/ });
});

t.test('elements, and what the caller does with them later', async (t) => {
  const service = await openScript(t);
  const { client } = await loggedIn(t, service);
  const conversation = client.getConversation('bob');
  const elements = [
    { MsgType: 'TIMTextElem', MsgContent: { Text: 'a' } },
    { MsgType: 'TIMFaceElem', MsgContent: { Index: 1 } },
  ];
  const { done } = conversation.sendMessage(elements, { lifetimeSec: 60, push: { PushFlag: 1 } });
  Object.assign(elements[0]?.MsgContent ?? {}, { Text: 'b' });
  t.equal(textOf(await done), 'a');
  t.match(service.requests.at(-1)?.fields, {
    lifetimeSec: 60,
    push: { PushFlag: 1 },
    body: [{ MsgContent: { Text: 'a' } }, {}],
  });
  const circle: unknown[] = [];
  circle.push(circle);
  for (const wrong of [undefined, 7, {}, [7], [{}], circle]) {
    t.throws(() => conversation.sendMessage(wrong as string), { code: 'INVALID_ARGUMENT', field: 'content' });
  }
});

t.test('[M13] an answer that is lost: the message is sent again under its name, and is one', async (t) => {
  for (const how of ['cut-before', 'cut-after', 'silence'] as const) {
    const service = await openScript(t);
    const { client, texts: shown } = await loggedIn(t, service, { limits: { requestTimeoutMs: 50 } });
    let times = 2;
    service.script = ({ do: what }): Script => {
      if (what !== 'send' || times === 0) return undefined;
      times -= 1;
      return how;
    };
    const { done, clientId } = client.getConversation('bob').sendMessage('once');
    await done;
    t.same(texts(service.messages('alice', 'bob').map(({ text }) => bodyOf(text))), ['once'], how);
    const { messages } = await client.getConversation('bob').getMessage();
    t.match(messages, [{ clientId, seq: 1, status: 'sent' }], how);
    t.equal(messages.length, 1);
    t.same(shown(), []);
    await client.close();
  }
});

t.test('[M13] an answer that is lost, and the message comes back by sync before it was sent again', async (t) => {
  const service = await openScript(t);
  const storage = lasting();
  const { client } = await loggedIn(t, service, { storage });
  service.script = ({ do: what }) => (what === 'send' ? 'cut-after' : undefined);
  const message = client.getConversation('bob').sendMessage('once');
  await until(() => service.messages('alice', 'bob').length === 1);
  service.script = ({ do: what }) => (what === 'send' ? 'silence' : undefined);
  await message.done;
  t.equal(message.seq, 1);
  t.equal(message.status, 'sent');
});

t.test('[M15] sends keep their order over refusals for a while, cuts and answers that are lost', async (t) => {
  const service = await openScript(t);
  const { client } = await loggedIn(t, service, { limits: { backoffMs: 5 } });
  const scripts: Script[] = [
    { error: { name: 'BUSY', retryable: true } },
    undefined,
    'cut-after',
    { error: { name: 'RATE_LIMITED', retryable: true } },
    'cut-before',
  ];
  service.script = ({ do: what }) => (what === 'send' ? scripts.shift() : undefined);
  const conversation = client.getConversation('bob');
  const sent = ['1', '2', '3', '4', '5'].map((text) => conversation.sendMessage(text).done);
  t.same(texts((await conversation.getLocalMessage()).messages), ['1', '2', '3', '4', '5']);
  await Promise.all(sent);
  t.same(
    service.messages('alice', 'bob').map(({ text }) => text),
    ['1', '2', '3', '4', '5'],
  );
  t.same(texts((await conversation.getMessage()).messages), ['1', '2', '3', '4', '5']);
});

t.test('a refusal for good: failed, with the reason; the next goes on; it can be sent again', async (t) => {
  const service = await openScript(t);
  const { client, told } = await loggedIn(t, service);
  service.script = ({ do: what, fields }) =>
    what === 'send' && JSON.stringify(fields.body).includes('dirty')
      ? { error: { name: 'DIRTY_WORD', code: 80_001, retryable: false, reason: 'not that' } }
      : undefined;
  const conversation = client.getConversation('bob');
  const bad = conversation.sendMessage('dirty');
  const good = conversation.sendMessage('clean');
  await t.rejects(bad.done, { code: 'DIRTY_WORD', number: 80_001, message: 'not that', retryable: false });
  await good.done;
  t.equal(bad.status, 'failed');
  t.ok(bad.error instanceof ImError);
  t.same(texts((await conversation.getMessage()).messages), ['clean', 'dirty'], 'what failed stands at the end');
  t.throws(() => conversation.resend({ ...good, clientId: 'other' }), { code: 'MESSAGE_NOT_FOUND' });
  service.script = () => undefined;
  const again = conversation.resend(bad);
  t.equal(again.clientId, bad.clientId);
  t.equal(again.status, 'sending');
  t.equal((await again.done).seq, 2);
  t.equal(again.error, undefined);
  t.same(
    told.filter((one) => one.startsWith('status dirty')),
    ['status dirty sending', 'status dirty failed', 'status dirty sending', 'status dirty sent'],
  );
  conversation.sendMessage('dirty 2');
});

t.test('a message that cannot be sent until its deadline has failed, and a late answer has it sent', async (t) => {
  const service = await openScript(t);
  const { client, until } = await loggedIn(t, service, { limits: { sendTimeoutMs: 60 } });
  const conversation = client.getConversation('bob');
  service.stop();
  await until('disconnected');
  const message = conversation.sendMessage('a');
  await t.rejects(message.done, { code: 'TIMEOUT', retryable: true });
  t.equal(message.status, 'failed');
  service.start();
  await until('connected', 2);
  service.script = async ({ do: what }) => {
    if (what === 'send') await until('status a failed', 2);
    return undefined;
  };
  await t.rejects(conversation.resend(message).done, { code: 'TIMEOUT' });
  await until('status a sent');
  t.equal(message.seq, 1);
  t.same(texts((await conversation.getMessage()).messages), ['a']);
});

t.test('a message whose deadline passes while another is sent by a listener: each is sent once', async (t) => {
  const service = await openScript(t);
  let nowMs = 1_000_000;
  const { client, until } = await loggedIn(t, service, { clock: () => nowMs });
  service.stop();
  await until('disconnected');
  const old = client.getConversation('bob').sendMessage('old');
  nowMs += 50_000;
  const young = client.getConversation('carol').sendMessage('young');
  nowMs += 11_000;
  client.onStatus((message) => {
    if (textOf(message) === 'old' && message.status === 'failed') client.getConversation('dave').sendMessage('instead');
  });
  service.start();
  await t.rejects(old.done, { code: 'TIMEOUT' });
  await young.done;
  await until('status instead sent');
  await client.setProfile({});
  t.equal(service.count('send'), 2);
});

t.test('without a connection messages wait, and are sent when there is one', async (t) => {
  const service = await openScript(t);
  const { client, until } = await loggedIn(t, service);
  service.stop();
  await until('disconnected');
  const conversation = client.getConversation('bob');
  const messages = ['1', '2', '3'].map((text) => conversation.sendMessage(text));
  const other = client.getConversation('carol').sendMessage('c');
  t.same(texts((await conversation.getMessage()).messages), ['1', '2', '3']);
  service.start();
  await Promise.all([...messages, other].map(({ done }) => done));
  t.same(
    messages.map(({ seq }) => seq),
    [1, 2, 3],
  );
});

t.test('online messages: asked for once, in no history', async (t) => {
  const service = await openScript(t);
  const alice = await loggedIn(t, service);
  const bob = await loggedIn(t, service, {}, 'bob');
  const conversation = alice.client.getConversation('bob');
  const message = conversation.sendOnlineMessage('typing');
  t.match(message, { isOnline: true, status: 'sending' });
  t.match(await message.done, { isOnline: true, status: 'sent', seq: 0 });
  await bob.until('new typing');
  t.match(bob.messages, [{ seq: 0, isOnline: true, from: 'alice' }]);
  t.same((await conversation.getMessage()).messages, []);
  t.same((await bob.client.getConversation('alice').getMessage()).messages, []);
  t.equal(bob.client.getConversation('alice').unread, 0);
  service.script = ({ do: what }) => (what === 'send' ? 'cut-before' : undefined);
  const lost = conversation.sendOnlineMessage('x');
  await t.rejects(lost.done, { code: 'NETWORK' });
  t.equal(service.count('send'), 2, 'not asked for again');
  service.stop();
  await until(() => alice.client.connectionState !== 'connected');
  t.equal(conversation.sendOnlineMessage('y').status, 'failed');
});

t.test('what is too long for a frame is refused here, because the service would end the link', async (t) => {
  const service = await openScript(t);
  const { client, told } = await loggedIn(t, service);
  const message = client.getConversation('bob').sendMessage('é'.repeat(16_500));
  await t.rejects(message.done, { code: 'MESSAGE_TOO_LONG', retryable: false });
  t.equal(service.count('send'), 0);
  t.notOk(told.includes('disconnected'));
});

t.test('the number of unsent messages is bounded; failed ones make room', async (t) => {
  const service = await openScript(t);
  const { client, until } = await loggedIn(t, service, { limits: { unsent: 3, sendTimeoutMs: 60_000 } });
  service.script = ({ do: what }) =>
    what === 'send' ? { error: { name: 'DIRTY_WORD', retryable: false } } : undefined;
  const conversation = client.getConversation('bob');
  const first = conversation.sendMessage('1');
  await until('status 1 failed');
  service.script = ({ do: what }) => (what === 'send' ? 'silence' : undefined);
  conversation.sendMessage('2');
  conversation.sendMessage('3');
  conversation.sendMessage('4');
  const one = conversation.sendMessage('5');
  await t.rejects(one.done, { code: 'BUSY', retryable: true });
  t.same(texts((await conversation.getLocalMessage()).messages), ['2', '3', '4']);
  t.throws(() => conversation.resend(first), { code: 'MESSAGE_NOT_FOUND' });
});

t.test('many conversations at once, and no more requests at a time than the service takes', async (t) => {
  const service = await openScript(t);
  const { client } = await loggedIn(t, service);
  service.script = ({ do: what }) => (what === 'send' ? 'silence' : undefined);
  const sent = Array.from({ length: 100 }, (_, i) => client.getConversation(`peer${i}`).sendMessage('x').done);
  await until(() => service.count('send') === 16);
  await client.setProfile({});
  t.equal(service.count('send'), 16);
  service.script = () => undefined;
  service.links[0]?.cut();
  await Promise.all(sent);
  t.equal(service.count('send'), 116);
});

t.test('[H4] after a restart: what was on its way goes on, what had failed waits, nothing is sent twice', async (t) => {
  const service = await openScript(t);
  const storage = lasting();
  const first = await loggedIn(t, service, { storage });
  service.script = ({ do: what, fields }) => {
    if (what !== 'send') return undefined;
    const text = JSON.stringify(fields.body);
    if (text.includes('bad')) return { error: { name: 'DIRTY_WORD', retryable: false } };
    return text.includes('stored') ? 'cut-after' : 'silence';
  };
  await t.rejects(first.client.getConversation('carol').sendMessage('bad').done);
  const stored = first.client.getConversation('bob').sendMessage('stored');
  first.client.getConversation('dave').sendMessage('waiting');
  await until(() => service.messages('alice', 'bob').length === 1);
  service.script = ({ do: what }) => (what === 'send' ? 'silence' : undefined);
  await first.client.close();
  await t.rejects(stored.done, { code: 'CLOSED' });
  service.script = () => undefined;
  const second = watchClient(t, { url: service.url, storage });
  await second.client.login('alice', 'sig');
  await second.until('refresh');
  await until(() => service.messages('alice', 'dave').length === 1);
  t.equal(service.messages('alice', 'bob').length, 1);
  t.match((await second.client.getConversation('carol').getMessage()).messages, [
    { status: 'failed', error: { code: 'DIRTY_WORD' } },
  ]);
  t.match((await second.client.getConversation('bob').getMessage()).messages, [{ status: 'sent', seq: 1 }]);
  t.same(second.texts(), [], 'own messages are no new ones');
});

t.test('a message that waits or has failed can be deleted', async (t) => {
  const service = await openScript(t);
  const { client, until } = await loggedIn(t, service);
  service.stop();
  await until('disconnected');
  const conversation = client.getConversation('bob');
  const message = conversation.sendMessage('no');
  await conversation.deleteMessage(message);
  await t.rejects(message.done, { code: 'CLOSED' });
  t.same((await conversation.getMessage()).messages, []);
  service.start();
  await until('refresh', 2);
  t.equal(service.count('send'), 0);
});

function bodyOf(text: string) {
  return { body: [{ MsgType: 'TIMTextElem', MsgContent: { Text: text } }] };
}
