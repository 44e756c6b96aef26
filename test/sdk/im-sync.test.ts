import t from 'tap';
import { type ImError, textOf } from '../../src/sdk/im/index.ts';
import { lasting, loggedIn, until, watchClient } from '../support/im-client.ts';
import { openScript, type ScriptedRequest } from '../support/link-script.ts';

const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

t.test(
  '[M4] [M5] [M9] login: offline messages, last messages of recent contacts, refresh, and then what came meanwhile',
  async (t) => {
    const service = await openScript(t);
    service.post('carol', 'alice', 'c1');
    service.post('carol', 'alice', 'c2');
    service.read('alice', 'carol', 2);
    service.now += 1;
    for (const text of ['b1', 'b2', 'b3']) service.post('bob', 'alice', text);
    service.pageMessages = 2;
    service.now += 1;
    // It comes while the login is under way.
    service.script = ({ do: what }) => {
      if (what === 'recents') service.post('dave', 'alice', 'd1');
      return undefined;
    };
    const { client, told, until } = watchClient(t, { url: service.url });
    t.same(await client.login('alice', 'sig'), { account: 'alice', kickedWhileAway: undefined });
    t.equal(client.account, 'alice');
    t.equal(client.connectionState, 'connected');
    await until('new d1');
    t.same(told, ['connecting', 'connected', 'new b1', 'new b2', 'new b3', 'new c2', 'refresh', 'new d1']);
    t.equal(service.count('offline'), 2);
    const conversations = await client.getConversations();
    t.same(
      conversations.map(({ peer, unread, last }) => [peer, unread, last && textOf(last)]),
      [
        ['dave', 1, 'd1'],
        ['bob', 3, 'b3'],
        ['carol', 0, 'c2'],
      ],
    );
    t.equal(await untilDelivered(), 3, '[M7] what was stored is acknowledged');
    async function untilDelivered(): Promise<number> {
      await waitFor(() => service.delivered('alice', 'dave') === 1);
      return service.delivered('alice', 'bob');
    }
  },
);

t.test(
  '[M5] what belongs between offline messages, sent by another terminal meanwhile, is shown in its place',
  async (t) => {
    const service = await openScript(t);
    service.post('bob', 'alice', '1');
    service.script = ({ do: what }) => {
      if (what === 'offline') {
        service.post('alice', 'bob', '2');
        service.post('bob', 'alice', '3');
      }
      return undefined;
    };
    const { texts, messages, until } = await loggedIn(t, service);
    await until('new 3');
    t.same(texts(), ['1', '2', '3']);
    t.same(
      messages.map(({ isSelf }) => isSelf),
      [false, true, false],
    );
  },
);

t.test('[M5] a message that is in the recent contacts before its event came', async (t) => {
  const service = await openScript(t);
  service.post('bob', 'alice', '1');
  service.read('alice', 'bob', 1);
  service.now += 10;
  const late: object[] = [];
  service.script = ({ do: what, link }) => {
    if (what === 'recents') {
      for (const text of ['2', '3'])
        late.push(service.event('alice', service.post('bob', 'alice', text, { isSilent: true })));
    }
    if (what === 'beat') for (const event of late) link.send(event);
    return undefined;
  };
  const { texts, client, until } = await loggedIn(t, service);
  await until('new 3');
  t.same(texts(), ['2', '3'], 'in their order, and once');
  t.equal(client.getConversation('bob').unread, 2);
});

t.test('a message that is recalled while the login is under way', async (t) => {
  const service = await openScript(t);
  service.script = ({ do: what }) => {
    if (what === 'offline') {
      service.post('bob', 'alice', '1');
      service.recall('bob', 'alice', 1);
    }
    return undefined;
  };
  const { client, until } = await loggedIn(t, service);
  await until('recalled c2c:bob 1');
  t.match((await client.getConversation('bob').getMessage()).messages, [{ status: 'recalled', body: [] }]);
});

t.test('[H4] [M15] events that are lost, repeated or out of order: each message once, in order', async (t) => {
  const service = await openScript(t);
  const { texts, client, until } = await loggedIn(t, service);
  const quiet = { isSilent: true };
  const post = (text: string) => service.event('alice', service.post('bob', 'alice', text, quiet));
  const [one, two, three, four, five] = numbers(1, 5).map(post);
  service.say('alice', one ?? {});
  service.say('alice', [three, two, three, one] as object);
  service.say('alice', [five, five, four] as object);
  await until('new 5');
  service.post('bob', 'alice', '6');
  await until('new 6');
  t.same(texts(), numbers(1, 6));
  t.equal(client.getConversation('bob').unread, 6);
  t.ok(service.count('sync') <= 2, 'one question a hole');
});

t.test('[H4] a hole of several pages is filled before what came after it', async (t) => {
  const service = await openScript(t);
  service.post('bob', 'alice', '0');
  const { texts, until } = await loggedIn(t, service);
  for (const text of numbers(1, 250)) service.post('bob', 'alice', text, { isSilent: true });
  service.post('carol', 'alice', 'c');
  service.post('bob', 'alice', '251');
  await until('new 251');
  t.same(texts(), ['0', 'c', ...numbers(1, 251)]);
  t.equal(service.count('sync'), 3);
});

t.test(
  '[H4] an old conversation that is none of the recent ones: what was before the login is not shown as new',
  async (t) => {
    const service = await openScript(t);
    for (const text of numbers(1, 30)) service.post('bob', 'alice', text);
    service.read('alice', 'bob', 30);
    service.now += 100;
    service.script = ({ do: what }) => (what === 'recents' ? { ok: { conversations: [] } } : undefined);
    const { texts, client, until } = await loggedIn(t, service);
    service.post('bob', 'alice', '31', { isSilent: true });
    service.post('bob', 'alice', '32');
    await until('new 32');
    t.same(texts(), ['31', '32']);
    await waitFor(() => client.getConversation('bob').unread === 2);
  },
);

t.test('[M10] seqs that the account does not see are no holes', async (t) => {
  const service = await openScript(t);
  const { texts, until } = await loggedIn(t, service);
  service.post('bob', 'alice', '1');
  service.post('bob', 'alice', 'hidden', { isHidden: true });
  service.post('bob', 'alice', '2');
  await until('new 2');
  t.same(texts(), ['1', '2']);
  t.equal(service.count('sync'), 0);
});

t.test(
  '[H4] a link cut at any step of the login, before or after it was carried out: nothing lost, nothing twice',
  async (t) => {
    const steps = ['login', 'offline', 'offline 2', 'offline 3', 'recents', 'ack'];
    for (const how of ['cut-before', 'cut-after'] as const) {
      for (const step of steps) {
        const service = await openScript(t);
        service.pageMessages = 2;
        for (const text of ['1', '2', '3', '4', '5']) service.post('bob', 'alice', text);
        service.post('carol', 'alice', 'c1');
        service.read('alice', 'carol', 1);
        service.now += 10;
        const [what, no = '1'] = step.split(' ');
        let isCut = false;
        service.script = ({ do: one }) => {
          if (isCut || one !== what || service.count(one) < Number(no)) return undefined;
          isCut = true;
          return how;
        };
        const { client, texts, until } = watchClient(t, { url: service.url });
        await client.login('alice', 'sig');
        await until('refresh');
        await waitFor(() => isCut);
        service.post('bob', 'alice', '6');
        await until('new 6');
        t.same(texts().sort(), ['1', '2', '3', '4', '5', '6', 'c1'], `${step}, ${how}`);
        t.equal(client.getConversation('bob').unread, 6);
        await client.close();
      }
    }
  },
);

t.test('[H4] a link that is lost is made anew with resume, and what came meanwhile comes once', async (t) => {
  const service = await openScript(t);
  service.post('bob', 'alice', '1');
  const { texts, until } = await loggedIn(t, service);
  service.links[0]?.cut();
  for (const text of numbers(2, 4)) service.post('bob', 'alice', text, { isSilent: true });
  service.post('erin', 'alice', 'e1', { isSilent: true });
  service.post('alice', 'bob', '5', { isSilent: true });
  await until('refresh', 2);
  service.post('bob', 'alice', '6');
  await until('new 6');
  t.same(
    texts().filter((text) => text !== 'e1'),
    numbers(1, 6),
  );
  t.equal(texts().filter((text) => text === 'e1').length, 1);
  const logins = service.requests.filter((request) => request.do === 'login');
  t.same(
    logins.map(({ fields }) => fields.resume),
    [undefined, 'link-1'],
  );
  t.equal(service.count('offline'), 1, 'no new login');
});

t.test('[H4] a half-open link is noticed, and left', async (t) => {
  const service = await openScript(t);
  service.heartbeatSec = 0.05;
  const { until, texts } = await loggedIn(t, service, { limits: { beatTimeoutMs: 60 } });
  await waitFor(() => service.count('beat') > 1);
  service.heartbeatSec = 60;
  service.links[0]?.freeze();
  service.post('bob', 'alice', '1');
  await until('disconnected');
  await until('new 1');
  t.same(texts(), ['1']);
});

t.test('[H4] a request without an answer has the link tried at once', async (t) => {
  const service = await openScript(t);
  const { until, client } = await loggedIn(t, service, { limits: { requestTimeoutMs: 50, beatTimeoutMs: 50 } });
  service.links[0]?.freeze();
  await t.rejects(client.setProfile({ nick: 'A' }), { code: 'TIMEOUT', retryable: true });
  await until('connected', 2);
  t.equal(service.count('login'), 2);
});

t.test('[H4] resync: the service says that something was lost', async (t) => {
  const service = await openScript(t);
  const { until, events, texts } = await loggedIn(t, service);
  service.post('bob', 'alice', '1');
  service.post('bob', 'alice', '2', { isSilent: true });
  service.post('carol', 'alice', 'c', { isSilent: true });
  service.say('alice', { on: 'resync' });
  await until('refresh', 2);
  t.same(texts().sort(), ['1', '2', 'c']);
  t.ok(events.some(({ type }) => type === 'resync'));
});

t.test('the service goes on refusing a conversation: the others go on, and it is told of', async (t) => {
  const service = await openScript(t);
  service.post('bob', 'alice', '1');
  service.post('carol', 'alice', 'c1');
  const { until, events, texts } = await loggedIn(t, service);
  service.post('bob', 'alice', '2', { isSilent: true });
  service.post('carol', 'alice', 'c2', { isSilent: true });
  service.script = ({ do: what, fields }) =>
    what === 'sync' && fields.conversation === 'c2c:bob'
      ? { error: { name: 'RECEIVER_UNKNOWN', retryable: false } }
      : undefined;
  service.links[0]?.cut();
  await until('refresh', 2);
  t.same(texts().sort(), ['1', 'c1', 'c2']);
  t.match(events, [{ type: 'request-failed', request: 'sync', error: { code: 'RECEIVER_UNKNOWN' } }]);
  t.equal(service.count('login'), 2, 'and no link is given up for it');
});

t.test('the service cannot answer during the login: another link, later', async (t) => {
  const service = await openScript(t);
  service.post('bob', 'alice', '1');
  let failures = 3;
  service.script = ({ do: what }) => {
    if (what !== 'recents' || failures === 0) return undefined;
    failures -= 1;
    return { error: { name: 'DATABASE_UNAVAILABLE', retryable: true } };
  };
  const { texts } = await loggedIn(t, service);
  t.equal(service.count('login'), 4);
  t.same(texts(), ['1']);
});

t.test('more requests than may wait are refused here', async (t) => {
  const service = await openScript(t);
  const { client } = await loggedIn(t, service);
  service.script = ({ do: what }) => (what === 'setProfile' ? 'silence' : undefined);
  const asked = Array.from({ length: 300 }, () => client.setProfile({}));
  const refused = asked.slice(256).map((one) => t.rejects(one, { code: 'BUSY', retryable: true }));
  await Promise.all(refused);
  service.links[0]?.cut();
  for (const one of asked.slice(0, 256))
    await one.catch((error: ImError) => error.code === 'NETWORK' || t.fail(error.code));
});

t.test('bye: codes to reconnect after, with the wait that the service asks for', async (t) => {
  const service = await openScript(t);
  const waits: (number | undefined)[] = [];
  const { client, until } = await loggedIn(t, service);
  client.onConnection((state, reason) => {
    if (state === 'disconnected') waits.push(reason?.retryInMs);
  });
  service.links[0]?.bye(4000, 'SHUTDOWN', { reconnectMs: 30 });
  await until('connected', 2);
  service.links[0]?.bye(4001, 'TOO_SLOW');
  await until('connected', 3);
  t.same(waits, [30, 0]);
});

t.test('[P5] kicked: told so, and not back by itself', async (t) => {
  const service = await openScript(t);
  const { client, until, told } = await loggedIn(t, service);
  const reasons: unknown[] = [];
  client.onForceOffline((notice) => reasons.push([notice.error.code, notice.platform]));
  client.onConnection((state, reason) => reasons.push([state, reason?.retryInMs, reason?.error.retryable]));
  service.links[0]?.bye(4100, 'KICKED', { platform: 'Android', at: 1 });
  await until('disconnected');
  t.same(reasons, [
    ['KICKED', 'Android'],
    ['disconnected', undefined, false],
  ]);
  t.equal(service.count('login'), 1);
  t.equal(client.account, 'alice', 'what is stored can be read');
  service.post('bob', 'alice', '1');
  await client.login('alice', 'sig');
  await until('new 1');
  t.equal(service.requests.findLast((request) => request.do === 'login')?.fields.resume, undefined, 'a new login');
  t.equal(told.filter((one) => one === 'forced KICKED').length, 1);
});

t.test('[P5] kicked while the link was lost: resume is refused, and that is the end', async (t) => {
  const service = await openScript(t);
  const { until, client } = await loggedIn(t, service);
  service.script = ({ do: what, link, id }) => {
    if (what !== 'login') return undefined;
    link.send({ id, error: { name: 'KICKED_WHILE_AWAY', code: 6208, retryable: true } });
    link.bye(4100, 'KICKED', { platform: 'iOS' });
    return 'silence';
  };
  service.links[0]?.cut();
  await until('forced KICKED_WHILE_AWAY');
  t.equal(client.connectionState, 'disconnected');
  service.script = ({ do: what }) =>
    what === 'login'
      ? {
          ok: { account: 'alice', epoch: 'one', link: 'x', serverTime: 1, kickedWhileAway: { platform: 'iOS', at: 7 } },
        }
      : undefined;
  t.same(await client.login('alice', 'sig'), { account: 'alice', kickedWhileAway: { platform: 'iOS', at: 7 } });
});

t.test('UserSig: refused at login, and expired later', async (t) => {
  const service = await openScript(t);
  const refuse = (name: string) => (request: ScriptedRequest) => {
    if (request.do !== 'login') return undefined;
    request.link.send({
      id: request.id,
      error: { name, code: 70_001, reason: 'no good', field: 'userSig', retryable: false },
    });
    request.link.bye(4102, 'USERSIG_EXPIRED');
    return 'silence' as const;
  };
  service.script = refuse('USERSIG_EXPIRED');
  const { client, told, until } = watchClient(t, { url: service.url });
  await t.rejects(client.login('alice', 'old'), {
    name: 'ImError',
    code: 'USERSIG_EXPIRED',
    number: 70_001,
    message: 'no good',
    field: 'userSig',
    retryable: false,
  });
  t.same(told, ['connecting', 'disconnected'], 'what login throws is not told twice');
  service.script = () => undefined;
  await client.login('alice', 'new');
  await until('refresh');
  service.links[0]?.bye(4102, 'USERSIG_EXPIRED');
  await until('expired USERSIG_EXPIRED');
  await client.login('alice', 'newer');
  await until('refresh', 2);
  t.equal(service.count('login'), 3);
});

t.test('login without a service: it says so in time, and goes on', async (t) => {
  const service = await openScript(t);
  service.stop();
  const { client, until } = watchClient(t, { url: service.url, limits: { loginTimeoutMs: 100 } });
  await t.rejects(client.login('alice', 'sig'), { code: 'NETWORK', retryable: true });
  service.start();
  await until('refresh');
  t.equal(client.connectionState, 'connected');
});

t.test('a service that lets the link open and says nothing', async (t) => {
  const service = await openScript(t);
  service.script = () => 'silence';
  const { client, told } = watchClient(t, { url: service.url, limits: { connectTimeoutMs: 30, loginTimeoutMs: 200 } });
  await t.rejects(client.login('alice', 'sig'), { code: 'TIMEOUT' });
  t.ok(told.filter((one) => one === 'disconnected').length > 1, 'each link has its deadline');
});

t.test('another epoch of the store: what is known of seqs is dropped, and fetched anew', async (t) => {
  const service = await openScript(t);
  const storage = lasting();
  service.post('bob', 'alice', '1');
  service.post('bob', 'alice', '2');
  const first = await loggedIn(t, service, { storage });
  service.epoch = 'two';
  const [conversation] = [service.messages('bob', 'alice')];
  conversation.length = 0;
  service.post('bob', 'alice', 'other 1', { isSilent: true });
  service.links[0]?.cut();
  await first.until('refresh', 2);
  t.ok(first.events.some(({ type }) => type === 'store-changed'));
  t.same(first.texts(), ['1', '2', 'other 1']);
  const { messages } = await first.client.getConversation('bob').getMessage();
  t.same(messages.map(textOf), ['other 1']);
  await first.client.close();
  const second = await loggedIn(t, service, { storage });
  t.same(second.texts(), [], 'and it is known after a restart');
});

t.test('[M15] a conversation that begins anew, because its peer is another account of that name', async (t) => {
  const service = await openScript(t);
  const storage = lasting();
  for (const text of numbers(1, 5)) service.post('bob', 'alice', text);
  const first = await loggedIn(t, service, { storage });
  const restart = (): void => {
    service.restart('bob', 'alice');
    service.now += 100;
  };
  // While it is there; the end of the old one comes along.
  const end = service.event('alice', service.post('bob', 'alice', '6', { isSilent: true }));
  restart();
  const begin = ['new 1', 'new 2'].map((text) =>
    service.event('alice', service.post('bob', 'alice', text, { isSilent: true })),
  );
  service.say('alice', [end, ...begin] as object);
  await first.until('new new 2');
  t.same(first.texts(), [...numbers(1, 6), 'new 1', 'new 2']);
  t.match(first.events, [{ type: 'conversation-restarted', conversation: 'c2c:bob' }]);
  const page = await first.client.getConversation('bob').getMessage();
  t.same(page.messages.map(textOf), ['new 1', 'new 2']);
  // While the link is lost.
  service.links[0]?.cut();
  restart();
  service.post('bob', 'alice', 'newer', { isSilent: true });
  await first.until('new newer');
  await waitFor(() => service.delivered('alice', 'bob') === 1);
  await first.client.close();
  // While it is away.
  restart();
  for (const text of ['newest 1', 'newest 2']) service.post('bob', 'alice', text);
  const second = await loggedIn(t, service, { storage });
  t.same(second.texts(), ['newest 1', 'newest 2']);
});

t.test('more than can wait: the link is made anew, and nothing is missing', async (t) => {
  const service = await openScript(t);
  service.post('bob', 'alice', '0');
  const { until, texts } = await loggedIn(t, service, { limits: { waitingEvents: 10, requestTimeoutMs: 60_000 } });
  service.post('bob', 'alice', '1', { isSilent: true });
  service.script = ({ do: what, link }) => (what === 'sync' && link.name === 'link-1' ? 'silence' : undefined);
  for (const text of numbers(2, 40)) service.post('bob', 'alice', text);
  await until('refresh', 2);
  t.same(texts(), numbers(0, 40));
});

t.test('frames that are none, of unknown kinds, or with parts missing', async (t) => {
  const service = await openScript(t);
  const { until, events, texts } = await loggedIn(t, service);
  for (const frame of ['nonsense', '3', 'null', '[]', '[null,7]', '{}', '{"id":99,"ok":{}}'])
    service.say('alice', frame as unknown as object);
  service.say('alice', { on: 'newer', x: 1 });
  service.say('alice', { on: 'message' });
  service.say('alice', { on: 'message', conversation: 'c2c:bob', seq: 'x', from: 'bob' });
  service.say('alice', { on: 'recalled', conversation: 'c2c:bob', seqs: 'x' });
  service.say('alice', { on: 'read', conversation: 7 });
  service.post('bob', 'alice', '1');
  await until('new 1');
  t.same(events, [{ type: 'bad-frame' }]);
  t.same(texts(), ['1']);
});

t.test('[M5] a last message that getMessage has stored before is not shown', async (t) => {
  const service = await openScript(t);
  const storage = lasting();
  for (const text of numbers(1, 5)) service.post('bob', 'alice', text);
  service.read('alice', 'bob', 5);
  const first = await loggedIn(t, service, { storage, disableRecentContact: true });
  await first.client.getConversation('bob').getMessage();
  await first.client.close();
  service.post('carol', 'alice', 'c');
  const second = await loggedIn(t, service, { storage });
  t.same(second.texts(), ['c']);
});

t.test('[H4] more conversations with news than the service tells of', async (t) => {
  const service = await openScript(t);
  const { until, texts } = await loggedIn(t, service);
  service.links[0]?.cut();
  for (const text of numbers(1, 120)) service.post(`peer${text}`, 'alice', text, { isSilent: true });
  await until('refresh', 2);
  t.same(
    texts().sort((a, b) => Number(a) - Number(b)),
    numbers(1, 120),
  );
});

t.test('[H4] what this terminal sent into a hole is no news when the hole is filled', async (t) => {
  const service = await openScript(t);
  service.post('bob', 'alice', '1');
  const { client, until, texts } = await loggedIn(t, service);
  service.post('bob', 'alice', '2', { isSilent: true });
  service.post('bob', 'alice', 'unseen', { isHidden: true });
  await client.getConversation('bob').sendMessage('mine').done;
  service.post('bob', 'alice', '3');
  await until('new 3');
  t.same(texts(), ['1', '2', '3']);
});

t.test('[M14] unread of a conversation that the login did not tell of', async (t) => {
  const service = await openScript(t);
  const storage = lasting();
  service.post('bob', 'alice', '1');
  const first = await loggedIn(t, service, { storage });
  await first.client.close();
  service.read('alice', 'bob', 1);
  service.script = ({ do: what }) => (what === 'recents' ? { ok: { conversations: [] } } : undefined);
  const { client, until } = await loggedIn(t, service, { storage });
  service.post('bob', 'alice', '2');
  await until('new 2');
  await waitFor(() => client.getConversation('bob').unread === 1);
});

t.test('[M7] an acknowledgement that was lost is said again', async (t) => {
  const service = await openScript(t);
  let times = 1;
  service.script = ({ do: what }) => (what === 'ack' && times-- > 0 ? 'cut-before' : undefined);
  const { until } = await loggedIn(t, service);
  service.post('bob', 'alice', '1');
  await until('refresh', 2);
  await waitFor(() => service.delivered('alice', 'bob') === 1);
  times = 1;
  service.script = ({ do: what }) => {
    if (what !== 'ack' || times-- <= 0) return undefined;
    return { error: { name: 'BUSY', retryable: true } };
  };
  service.post('bob', 'alice', '2');
  await waitFor(() => service.delivered('alice', 'bob') === 2);
});

t.test('a goodbye that no end follows is the end all the same', async (t) => {
  const service = await openScript(t);
  const { until } = await loggedIn(t, service, { limits: { beatTimeoutMs: 60 } });
  const [link] = service.links;
  link?.send({ on: 'bye', code: 4100, name: 'KICKED', reason: 'r', final: true });
  service.post('bob', 'alice', '1');
  await until('new 1');
  await until('forced KICKED');
});

t.test('back-off: doubles with failures, begins anew after a link that lived', async (t) => {
  const service = await openScript(t);
  let nowMs = 1_000_000;
  const { client, until } = await loggedIn(t, service, {
    random: () => 1,
    clock: () => nowMs,
    limits: { backoffMs: 4 },
  });
  const waits: (number | undefined)[] = [];
  client.onConnection((state, reason) => {
    if (state === 'disconnected') waits.push(reason?.retryInMs);
  });
  for (let times = 2; times <= 5; times += 1) {
    if (times === 5) nowMs += 11_000;
    service.links[0]?.cut();
    await until('refresh', times);
  }
  t.same(waits, [4, 8, 16, 4]);
});

t.test(
  'the browser is online again, or its page is looked at: no waiting, unless the service asked for it',
  async (t) => {
    const listeners = new Map<string, () => void>();
    const source = {
      addEventListener: (type: string, listener: () => void) => listeners.set(type, listener),
      removeEventListener: (type: string) => listeners.delete(type),
    };
    Object.assign(globalThis, source, { document: source });
    t.teardown(() => {
      for (const name of ['addEventListener', 'removeEventListener', 'document'])
        Reflect.deleteProperty(globalThis, name);
    });
    const service = await openScript(t);
    let nowMs = 0;
    const limits = { backoffMs: 1e6, maxBackoffMs: 1e6 };
    const { client, until } = await loggedIn(t, service, { random: () => 1, clock: () => nowMs, limits });
    t.same([...listeners.keys()], ['online', 'visibilitychange']);
    service.links[0]?.cut();
    await until('disconnected');
    listeners.get('online')?.();
    await until('connected', 2);
    await until('refresh', 2);
    const beats = service.count('beat');
    listeners.get('visibilitychange')?.();
    await waitFor(() => service.count('beat') === beats + 1);
    service.links[0]?.bye(4000, 'SHUTDOWN', { reconnectMs: 30_000 });
    await until('disconnected', 2);
    listeners.get('online')?.();
    t.equal(client.connectionState, 'disconnected');
    nowMs += 2e6;
    listeners.get('online')?.();
    await until('connected', 3);
    await client.close();
    t.equal(listeners.size, 0);
  },
);

t.test('listeners: taken off, throwing, and calling back', async (t) => {
  const service = await openScript(t);
  const { client, until, events, texts } = await loggedIn(t, service);
  const seen: string[] = [];
  const off = client.onNewMessage((message) => seen.push(textOf(message)));
  client.onNewMessage(() => {
    throw new Error('mine');
  });
  client.onNewMessage(async () => {
    throw new Error('later');
  });
  service.post('bob', 'alice', '1');
  await until('new 1');
  off();
  off();
  service.post('bob', 'alice', '2');
  await until('new 2');
  t.same(seen, ['1']);
  t.same(texts(), ['1', '2']);
  await waitFor(() => events.length === 4);
  t.ok(events.every((event) => event.type === 'listener-failed' && event.listener === 'onNewMessage'));
});

async function waitFor(isSo: () => boolean): Promise<void> {
  await until(isSo, String);
}
