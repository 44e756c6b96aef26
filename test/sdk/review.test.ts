import t from 'tap';
import { createQalClient, memoryStorage, QalError, type QalStorage } from '../../src/sdk/node/index.ts';
import { testAppId } from '../support/access.ts';
import { get, openBackend, openService, userSig } from '../support/sdk-service.ts';

/** What a review of the SDK found. */

const forAccount = (request: { headers: Record<string, unknown> }): string =>
  `for ${request.headers['qal-account'] ?? 'nobody'}`;

const outcomeOf = (promise: Promise<Response>): Promise<unknown> =>
  promise.then(
    (response) => response.text(),
    (error: unknown) => (error instanceof QalError ? error.code : error),
  );

t.test('[C0] who asked as alice never gets what bob asked for, however slow the storage is', async (t) => {
  const gate = Promise.withResolvers<void>();
  const inner = memoryStorage();
  let isSlow = false;
  const storage: QalStorage = {
    ...inner,
    async get(key) {
      if (isSlow && key.includes('=alice')) await gate.promise;
      return inner.get(key);
    },
  };
  const held = Promise.withResolvers<void>();
  const service = await openService(t, async (request, response) => {
    if (request.url === '/x') await held.promise;
    response.setHeader('Cache-Control', 'max-age=60');
    response.end(forAccount(request));
  });
  const client = service.client({ storage, account: { identifier: 'alice', getUserSig: () => userSig('alice') } });
  await get(client, '/warm');
  isSlow = true;
  const alices = outcomeOf(client.fetch('/x'));
  await client.login('bob', () => userSig('bob'));
  const bobs = outcomeOf(client.fetch('/x'));
  await service.backend.until(2);
  gate.resolve();
  t.equal(await alices, 'ACCOUNT_CHANGED', 'while his request is still under way');
  held.resolve();
  t.equal(await bobs, 'for bob');
});

t.test('[C0] a request of the next account does not fail with one of the last', async (t) => {
  const service = await openService(t, (request, response) => {
    response.setHeader('Cache-Control', 'max-age=60');
    response.end(forAccount(request));
  });
  const client = service.client({ account: { identifier: 'alice', getUserSig: () => userSig('alice') } });
  await get(client, '/warm');
  const alices = outcomeOf(client.fetch('/x'));
  const login = client.login('bob', () => userSig('bob'));
  const bobs = outcomeOf(client.fetch('/x'));
  await login;
  t.equal(await bobs, 'for bob');
  t.equal(await alices, 'ACCOUNT_CHANGED');
});

t.test('who leaves a body that was cut off already leaves no rejection behind', async (t) => {
  const unhandled: unknown[] = [];
  const note = (error: unknown): number => unhandled.push(error);
  process.on('unhandledRejection', note);
  t.teardown(() => process.off('unhandledRejection', note));
  const service = await openService(t, (_, response) => {
    response.setHeader('Cache-Control', 'max-age=60');
    response.setHeader('Content-Length', '1000');
    response.write('abc', () => setTimeout(() => response.destroy(), 10));
  });
  const response = await service.client().fetch('/cut');
  await service.event('not-stored');
  await response.body?.cancel();
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.same(unhandled, []);
});

t.test('a body that ends after close is not written any more', async (t) => {
  const keys: string[] = [];
  const inner = memoryStorage();
  const storage: QalStorage = {
    ...inner,
    async set(key, value) {
      keys.push(key);
      return inner.set(key, value);
    },
  };
  const gate = Promise.withResolvers<void>();
  const service = await openService(t, async (_, response) => {
    response.setHeader('Cache-Control', 'max-age=60');
    response.write('a');
    await gate.promise;
    response.end('b');
  });
  const client = service.client({ storage });
  const response = await client.fetch('/late');
  await client.close();
  const before = keys.length;
  gate.resolve();
  t.equal(await response.text(), 'ab', 'its reader has it all the same');
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.equal(keys.length, before);
});

t.test('a redirect whose body has no end is followed without it', async (t) => {
  let written = 0;
  const backend = await openBackend(t, (request, response) => {
    if (request.url?.startsWith('/.qal/')) {
      const terminal = { id: 'a', secret: 'b' };
      response.setHeader('Content-Type', 'application/json');
      response.end(JSON.stringify({ session: 's', qalIdentifier: '@v_tls#a', terminal, expiresIn: 900 }));
    } else if (request.url === '/endless') {
      response.writeHead(302, { Location: '/there' });
      const more = setInterval(() => {
        if (response.destroyed) clearInterval(more);
        else written += response.write('x'.repeat(65_536)) ? 1 : 0;
      }, 1);
    } else response.end('there');
  });
  const client = createQalClient({ baseUrl: backend.url, sdkAppId: testAppId });
  t.teardown(() => client.close());
  const response = await client.fetch('/endless');
  t.same([await response.text(), response.redirected], ['there', true]);
  t.ok(written < 1_000, 'and not read to the end of memory');
});

t.test('[C0] what a storage has that cannot be written any more is dropped on logout, too', async (t) => {
  const inner = memoryStorage();
  let isFull = false;
  const storage: QalStorage = {
    ...inner,
    async set(key, value) {
      if (isFull) throw new Error('full');
      return inner.set(key, value);
    },
  };
  const service = await openService(t, (request, response) => {
    response.setHeader('Cache-Control', 'max-age=60');
    response.end(forAccount(request));
  });
  const client = service.client({ storage, account: { identifier: 'alice', getUserSig: () => userSig('alice') } });
  await get(client, '/1');
  isFull = true;
  await get(client, '/2');
  await service.event('storage-failed');
  t.equal(client.cacheStats().storageDegraded, true);
  t.equal((await inner.keys('cache/')).length, 1);
  await client.logout();
  t.same(await inner.keys('cache/'), []);
});
