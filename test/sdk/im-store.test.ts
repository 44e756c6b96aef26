import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { memoryStorage, type QalStorage, textOf } from '../../src/sdk/im/index.ts';
import { directoryStorage } from '../../src/sdk/im/node/index.ts';
import { lasting, loggedIn, until, type WatchedClient, watchClient } from '../support/im-client.ts';
import { openScript } from '../support/link-script.ts';

const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

async function local({ client }: WatchedClient, peer = 'bob'): Promise<string[]> {
  return (await client.getConversation(peer).getLocalMessage({ count: 200 })).messages.map(textOf);
}

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'qalgate-im-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

t.test('[H1] [H4] a restart: what was stored is there without a connection, and is not shown again', async (t) => {
  for (const storage of [lasting(), directoryStorage(join(folder(t), 'im'))]) {
    const service = await openScript(t);
    for (const text of ['1', '2']) service.post('bob', 'alice', text);
    const first = await loggedIn(t, service, { storage });
    first.client.getConversation('bob').sendMessage('mine');
    await first.until('status mine sent');
    service.post('bob', 'alice', '3');
    await first.until('new 3');
    // It is gone before it could acknowledge.
    service.script = ({ do: what }) => (what === 'ack' ? 'silence' : undefined);
    await first.client.close();
    service.stop();
    const second = watchClient(t, { url: service.url, storage });
    const login = second.client.login('alice', 'sig');
    await until(() => second.client.account === 'alice');
    t.same(await local(second), ['1', '2', 'mine', '3']);
    t.equal(second.client.getConversation('bob').unread, 3);
    const [conversation] = await second.client.getConversations();
    t.equal(conversation?.last && textOf(conversation.last), '3');
    service.start();
    await login;
    await second.until('refresh');
    t.same(second.texts(), []);
    service.post('bob', 'alice', '4');
    await second.until('new 4');
    t.same(second.texts(), ['4']);
    await second.client.close();
  }
});

t.test('[H4] [M16] killed at any write: no message is shown twice, and none is missing in the history', async (t) => {
  for (let writes = 0; writes < 14; writes += 1) {
    const service = await openScript(t);
    const inner = memoryStorage();
    let left = writes;
    // From the kill on nothing reaches the disk.
    const storage: QalStorage = {
      ...inner,
      set: async (key, value) => {
        left -= 1;
        if (left >= 0) await inner.set(key, value);
      },
      close: async () => {},
    };
    const shown: string[] = [];
    const first = await loggedIn(t, service, { storage });
    first.client.onNewMessage((message) => left >= 0 && shown.push(textOf(message)));
    for (const text of numbers(1, 6)) {
      service.post('bob', 'alice', text);
      await first.until(`new ${text}`);
    }
    service.script = ({ do: what }) => (what === 'ack' ? 'silence' : undefined);
    await first.client.close();
    service.script = () => undefined;
    const second = await loggedIn(t, service, { storage: lasting(inner) });
    const all = [...shown, ...second.texts()];
    t.same(all.toSorted(), [...new Set(all)].sort(), `once, killed after ${writes} writes`);
    const { messages } = await second.client.getConversation('bob').getMessage({ count: 50 });
    t.same(messages.map(textOf), numbers(1, 6));
    await second.client.close();
  }
});

t.test(
  'a storage that throws, is full, or does not answer: told of once, and nothing of this session is lost',
  async (t) => {
    const inner = memoryStorage();
    const fail = async (): Promise<never> => {
      throw new Error('QuotaExceededError');
    };
    const hang = (): Promise<never> => new Promise(() => {});
    let sets = 0;
    const storages: [string, Partial<QalStorage>, string][] = [
      ['every read fails', { get: fail }, 'get'],
      ['every write fails', { set: fail }, 'set'],
      ['full after a while', { set: (key, value) => (++sets > 5 ? fail() : inner.set(key, value)) }, 'set'],
      ['reads hang', { get: hang }, 'get'],
      ['writes hang', { set: hang }, 'set'],
      [
        'throws at once',
        {
          get() {
            throw new Error('no');
          },
        },
        'get',
      ],
    ];
    for (const [name, wrong, operation] of storages) {
      const service = await openScript(t);
      service.post('bob', 'alice', '1');
      const watched = await loggedIn(t, service, {
        storage: { ...memoryStorage(), ...wrong },
        limits: { storageTimeoutMs: 30 },
      });
      for (const text of numbers(2, 90)) service.post('bob', 'alice', text);
      await watched.until('new 90');
      t.same(watched.texts(), numbers(1, 90), name);
      t.same(await local(watched), numbers(1, 90), name);
      const failures = watched.events.filter(({ type }) => type === 'storage-failed');
      t.match(failures, [{ operation }], name);
      t.equal(failures.length, 1, name);
      t.equal(service.count('history'), 0);
      await watched.client.close();
    }
  },
);

t.test('what is in memory when a storage fails outlasts the memory that is given up', async (t) => {
  const service = await openScript(t);
  const inner = memoryStorage();
  let isFull = false;
  const storage: QalStorage = {
    ...inner,
    set: async (key, value) => {
      if (isFull) throw new Error('full');
      await inner.set(key, value);
    },
    get: async (key) => {
      if (isFull) throw new Error('broken');
      return inner.get(key);
    },
  };
  const watched = await loggedIn(t, service, { storage, limits: { cacheBytes: 1 } });
  service.post('bob', 'alice', 'b');
  await watched.until('new b');
  isFull = true;
  for (const peer of ['carol', 'dave', 'erin', 'frank']) {
    service.post(peer, 'alice', peer);
    await watched.until(`new ${peer}`);
    await watched.client.getConversation(peer).setReadMessage();
  }
  t.same(await local(watched), ['b']);
});

t.test('what is damaged, given up for room, or of another version is fetched again', async (t) => {
  const service = await openScript(t);
  for (const text of numbers(1, 200)) service.post('bob', 'alice', text);
  const damages: [string, (storage: QalStorage) => Promise<unknown>][] = [
    ['a block is gone', async (storage) => storage.delete((await storage.keys('im/'))[1] ?? '')],
    [
      'all blocks are damaged',
      async (storage) => {
        for (const key of await storage.keys('im/')) await storage.set(key, new TextEncoder().encode('{"known":[[5'));
      },
    ],
    [
      'a block is older',
      async (storage) => {
        const [key = ''] = await storage.keys('im/');
        await storage.set(
          key,
          new TextEncoder().encode('{"known":[[1,2]],"messages":[{"seq":1,"from":"bob","time":1}]}'),
        );
      },
    ],
    [
      'the heads are of another version',
      async (storage) => {
        const [key = ''] = await storage.keys('keep/im/');
        await storage.set(key, new TextEncoder().encode('{"version":99,"heads":[7]}'));
      },
    ],
    [
      'the heads are half right',
      async (storage) => {
        const [key = ''] = await storage.keys('keep/im/');
        const heads = [
          null,
          7,
          { id: 5 },
          { id: 'c2c:bob', known: [[9, 3]], deleted: [] },
          { id: 'c2c:x', known: [], deleted: [], blocks: [[1], 'x'] },
        ];
        await storage.set(key, new TextEncoder().encode(JSON.stringify({ version: 1, epoch: 'one', heads })));
      },
    ],
  ];
  for (const [name, damage] of damages) {
    const storage = lasting();
    const first = await loggedIn(t, service, { storage });
    await first.client.getConversation('bob').getMessage({ count: 200 });
    await first.client.close();
    await damage(storage);
    const second = await loggedIn(t, service, { storage });
    const { messages } = await second.client.getConversation('bob').getMessage({ count: 200 });
    t.same(messages.map(textOf).slice(2), numbers(1, 200).slice(2), name);
    t.equal(messages.length, 200, name);
    await second.client.close();
  }
});

t.test('messages of a conversation are bounded; what is older comes from the service each time', async (t) => {
  const service = await openScript(t);
  const keysSet: string[] = [];
  const inner = lasting();
  const storage: QalStorage = {
    ...inner,
    set(key, value) {
      keysSet.push(key);
      return inner.set(key, value);
    },
  };
  const { client, until: told } = await loggedIn(t, service, { storage, limits: { messagesPerConversation: 100 } });
  for (const text of numbers(1, 400)) service.post('bob', 'alice', text);
  await told('new 400');
  const stored = async (): Promise<number> => {
    let count = 0;
    for (const key of await storage.keys('im/')) {
      const value = await storage.get(key);
      count += (JSON.parse(new TextDecoder().decode(value)) as { messages: unknown[] }).messages.length;
    }
    return count;
  };
  await client.getConversation('bob').setReadMessage();
  t.ok((await stored()) <= 164, `${await stored()}`);
  const conversation = client.getConversation('bob');
  const found: string[] = [];
  for (let before = 401; before > 1; before -= 50) {
    const { messages } = await conversation.getMessage({ count: 50, before });
    found.unshift(...messages.map(textOf));
  }
  t.same(found, numbers(1, 400));
  const sets = keysSet.filter((key) => key.startsWith('im/')).length;
  await conversation.getMessage({ count: 100, before: 150 });
  t.equal(keysSet.filter((key) => key.startsWith('im/')).length, sets, 'what would be pushed out again is not stored');
  t.ok((await stored()) <= 164, `${await stored()}`);
});

t.test('conversations are bounded; the ones that had no message for longest go', async (t) => {
  const service = await openScript(t);
  const storage = lasting();
  const { client, until: told, texts } = await loggedIn(t, service, { storage, limits: { conversations: 5 } });
  for (const name of numbers(1, 12)) {
    service.now += 1;
    service.post(`peer${name}`, 'alice', name);
  }
  await told('new 12');
  await client.getConversation('peer12').setReadMessage();
  t.same(
    (await client.getConversations()).map(({ peer }) => peer),
    ['peer12', 'peer11', 'peer10', 'peer9', 'peer8'],
  );
  t.equal((await storage.keys('im/')).length, 5);
  service.post('peer1', 'alice', '13');
  await told('new 13');
  t.same(texts(), numbers(1, 13), '[H4] and nothing is shown again');
  t.same((await client.getConversation('peer1').getMessage()).messages.map(textOf), ['1', '13']);
});

t.test('memory is bounded: what was written is read again', async (t) => {
  const service = await openScript(t);
  let reads = 0;
  const inner = memoryStorage();
  const storage: QalStorage = { ...inner, get: (key) => inner.get(key).finally(() => reads++) };
  const watched = await loggedIn(t, service, { storage, limits: { cacheBytes: 1_000 } });
  for (let i = 1; i <= 5; i += 1) {
    for (const peer of ['bob', 'carol', 'dave']) service.post(peer, 'alice', `${peer} ${i}`);
  }
  await watched.until('new dave 5');
  for (const peer of ['bob', 'carol', 'dave']) await watched.client.getConversation(peer).setReadMessage();
  const before = reads;
  for (const peer of ['bob', 'carol', 'dave']) {
    t.same(
      await local(watched, peer),
      numbers(1, 5).map((i) => `${peer} ${i}`),
    );
  }
  t.ok(reads > before);
});

t.test('[H1] disableStorage: nothing is kept, getMessage asks, and nothing is shown twice all the same', async (t) => {
  const service = await openScript(t);
  const storage = lasting();
  service.post('bob', 'alice', '1');
  const watched = await loggedIn(t, service, { storage, disableStorage: true });
  service.post('bob', 'alice', '2');
  await watched.until('new 2');
  service.links[0]?.cut();
  await watched.until('refresh', 2);
  service.say('alice', service.event('alice', service.messages('bob', 'alice')[1] ?? fail()));
  const conversation = watched.client.getConversation('bob');
  conversation.sendMessage('3');
  t.same((await conversation.getMessage()).messages.map(textOf).slice(0, 2), ['1', '2']);
  await watched.until('status 3 sent');
  t.same((await conversation.getMessage()).messages.map(textOf), ['1', '2', '3']);
  t.same(await local(watched), []);
  t.equal(conversation.last && textOf(conversation.last), '3');
  t.same(watched.texts(), ['1', '2']);
  await until(
    () => service.delivered('alice', 'bob') === 2,
    () => '[M7] acknowledged when shown',
  );
  t.same(await storage.keys(''), []);
});

t.test('[M7] disableAutoReport is told to the service', async (t) => {
  const service = await openScript(t);
  await loggedIn(t, service, { disableAutoReport: true });
  t.equal(service.requests[0]?.fields.autoReport, false);
});

t.test('[M9] disableRecentContact: no last messages at login, and unread numbers are right', async (t) => {
  const service = await openScript(t);
  const storage = lasting();
  for (const text of numbers(1, 5)) service.post('bob', 'alice', text);
  service.read('alice', 'bob', 5);
  const first = await loggedIn(t, service, { storage, disableRecentContact: true });
  t.same(first.texts(), []);
  t.equal(service.count('recents'), 0);
  service.now += 10;
  service.post('bob', 'alice', '6');
  await first.until('new 6');
  t.equal(first.client.getConversation('bob').unread, 1);
  await first.client.close();
  service.read('alice', 'bob', 6);
  service.now += 10;
  for (const text of numbers(7, 8)) service.post('bob', 'alice', text);
  service.read('alice', 'bob', 7);
  service.now += 10;
  const second = await loggedIn(t, service, { storage, disableRecentContact: true });
  t.same(second.texts(), ['8'], 'offline messages come');
  t.equal(second.client.getConversation('bob').unread, 1);
  service.post('bob', 'alice', '9');
  await second.until('new 9');
  t.same(second.texts(), ['8', '9'], 'what another terminal had does not');
  t.equal(second.client.getConversation('bob').unread, 2);
});

t.test('[C0] another account has a partition of its own; forget removes what is stored of one', async (t) => {
  const service = await openScript(t);
  const storage = lasting();
  service.post('bob', 'alice', 'to alice');
  service.post('bob', 'carol', 'to carol');
  const watched = await loggedIn(t, service, { storage });
  const ofAlice = watched.client.getConversation('bob');
  await watched.client.login('carol', 'sig');
  await watched.until('refresh', 2);
  t.equal(watched.client.account, 'carol');
  t.same(await local(watched), ['to carol']);
  t.throws(() => ofAlice.sendMessage('x'), { code: 'CLOSED' });
  await t.rejects(ofAlice.getMessage(), { code: 'CLOSED' });
  t.equal(service.count('logout'), 1, 'the other one was logged out');
  await watched.client.login('alice', 'sig');
  await watched.until('refresh', 3);
  t.same(await local(watched), ['to alice']);
  await watched.client.logout({ forget: true });
  t.same(
    (await storage.keys('')).map((key) => key.split('=')[1]?.split('/')[0]),
    ['carol', 'carol', 'carol'].slice(0, (await storage.keys('')).length),
    'nothing of alice is left',
  );
  t.equal(watched.client.account, undefined);
  t.equal(watched.client.connectionState, 'disconnected');
  t.throws(() => watched.client.getConversation('bob'), { code: 'NOT_LOGGED_IN' });
  await t.rejects(watched.client.setProfile({}), { code: 'NOT_LOGGED_IN' });
});

t.test('logout without a connection ends it here; close ends all', async (t) => {
  const service = await openScript(t);
  const { client, until: told, told: list } = await loggedIn(t, service);
  service.stop();
  await told('disconnected');
  await client.logout();
  t.equal(client.account, undefined);
  service.start();
  await client.login('alice', 'sig');
  await told('refresh', 2);
  await client.logout();
  t.notOk(
    list.some((one) => one.startsWith('forced')),
    'one’s own logout is no kick',
  );
  await client.close();
  await client.close();
  await t.rejects(client.login('alice', 'sig'), { code: 'CLOSED' });
  await t.rejects(client.logout(), { code: 'CLOSED' });
  t.throws(() => client.getConversation('bob'), { code: 'CLOSED' });
});

t.test('login that is overtaken by another, by logout, or by close', async (t) => {
  const service = await openScript(t);
  service.stop();
  const { client } = watchClient(t, { url: service.url });
  const first = t.rejects(client.login('alice', 'sig'), { code: 'CLOSED' });
  await until(() => client.account === 'alice');
  const second = t.rejects(client.login('alice', 'sig 2'), { code: 'CLOSED' });
  await first;
  const third = t.rejects(client.login('bob', 'sig'), { code: 'CLOSED' });
  await second;
  await until(() => client.account === 'bob');
  await client.logout();
  await third;
  const last = t.rejects(client.login('alice', 'sig'), { code: 'CLOSED' });
  await until(() => client.account === 'alice');
  await client.close();
  await last;
});

t.test(
  '[P5] two clients over one storage, as two tabs: one is kicked, and neither spoils what is stored',
  async (t) => {
    const service = await openScript(t);
    const storage = lasting();
    const kickOthers = (): void => {
      service.script = ({ do: what, link }) => {
        if (what === 'login') for (const other of [...service.links]) if (other !== link) other.bye(4100, 'KICKED');
        return undefined;
      };
    };
    kickOthers();
    for (const text of numbers(1, 70)) service.post('bob', 'alice', text);
    const one = await loggedIn(t, service, { storage });
    const two = await loggedIn(t, service, { storage });
    await one.until('forced KICKED');
    service.post('bob', 'alice', '71');
    await two.until('new 71');
    // The first goes on reading and deleting, with what it has in memory.
    const { messages } = await one.client.getConversation('bob').getLocalMessage({ count: 3 });
    await one.client.getConversation('bob').deleteMessage(messages[0] ?? fail());
    await one.client.close();
    service.post('bob', 'alice', '72');
    await two.until('new 72');
    await two.client.close();
    const three = await loggedIn(t, service, { storage });
    t.same(three.texts(), []);
    const page = await three.client.getConversation('bob').getMessage({ count: 200 });
    t.same(page.messages.map(textOf), numbers(1, 72), 'and what the last one wrote holds');
  },
);

function fail(): never {
  throw new Error('there is none');
}
