import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import t, { type Test } from 'tap';
import { createBackend } from '../../examples/backend/server.ts';
import { openAccess, testApp } from '../support/access.ts';
import { type Handler, openBackend, openService, type Service } from '../support/sdk-service.ts';

const program = '/usr/bin/chromium';
const skip = existsSync(program) ? false : `${program} is not there: install the Debian package chromium`;
const sources = fileURLToPath(new URL('../../src', import.meta.url));

const pageHtml =
  '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><script type="module" src="/app.js"></script>';
const pageScript = `
import { createQalClient, indexedDbStorage } from '/src/sdk/index.ts';
globalThis.events = [];
globalThis.client = createQalClient({
  baseUrl: location.origin, sdkAppId: 1400000000, device: { os: 'Web' }, storage: indexedDbStorage(),
  onEvent: (event) => globalThis.events.push(event.type),
});
globalThis.get = async (path, init) => {
  const response = await client.fetch(path, init);
  const status = response.headers.get('cache-status');
  return { status: response.status, text: await response.text(), cache: status.slice(status.lastIndexOf('qal-sdk; ') + 9) };
};
globalThis.codeOf = (promise) => promise.then(() => 'none', (error) => error.code);
globalThis.ready = true;
`;

/** The page and the modules that it needs; everything else is for the test to answer. */
function withPage(handler: Handler): Handler {
  return (request, response) => {
    const { url = '' } = request;
    const send = (type: string, text: string): void => {
      response.setHeader('Content-Type', `${type}; charset=utf-8`);
      response.end(text);
    };
    if (url === '/') return send('text/html', pageHtml);
    if (url === '/app.js') return send('text/javascript', pageScript);
    if (url.startsWith('/src/')) {
      return send(
        'text/javascript',
        stripTypeScriptTypes(readFileSync(join(sources, url.slice('/src'.length)), 'utf8')),
      );
    }
    return handler(request, response);
  };
}

async function openBrowser(t: Test, profile: string): Promise<BrowserContext> {
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: program,
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  t.teardown(() => context.close());
  return context;
}

function makeProfile(t: Test): string {
  const profile = mkdtempSync(join(tmpdir(), 'qalgate-chromium-'));
  t.teardown(() => rmSync(profile, { recursive: true, force: true, maxRetries: 5 }));
  return profile;
}

/** What the browser’s network log says of the app’s requests: method, path, status, and the validator that was sent. */
interface LoggedRequest {
  path: string;
  status: number | undefined;
  ifNoneMatch: string | undefined;
  /** The status is there. */
  answered: Promise<unknown>;
}

async function openPage(
  context: BrowserContext,
  service: Pick<Service, 'baseUrl'>,
): Promise<{ page: Page; log: LoggedRequest[] }> {
  const page = await context.newPage();
  const log: LoggedRequest[] = [];
  page.on('request', (request) => {
    const path = new URL(request.url()).pathname;
    if (!path.startsWith('/data/')) return;
    const entry: LoggedRequest = {
      path,
      status: undefined,
      ifNoneMatch: request.headers()['if-none-match'],
      answered: request.response().then(
        (response) => {
          entry.status = response?.status();
        },
        () => {}, // the page went first
      ),
    };
    log.push(entry);
  });
  await page.goto(service.baseUrl);
  await page.waitForFunction('globalThis.ready === true');
  return { page, log };
}

interface Got {
  status: number;
  text: string;
  cache: string;
}

const get = (page: Page, path: string): Promise<Got> => page.evaluate(`get(${JSON.stringify(path)})`);

t.test('in a browser: hits, stale hits, a 304, and a cache that outlasts page and browser', { skip }, async (t) => {
  let version = 0;
  const held = { promise: Promise.resolve() };
  const service = await openService(
    t,
    withPage(async (request, response) => {
      const { url = '' } = request;
      if (!url.startsWith('/data/')) return response.writeHead(404).end();
      await held.promise;
      if (url === '/data/fresh') response.setHeader('Cache-Control', 'max-age=600');
      if (url === '/data/stale') response.setHeader('QAL-Cache-Control', 'max-stale-age=600');
      if (url === '/data/etag') {
        response.setHeader('ETag', '"one"');
        if (request.headers['if-none-match'] === '"one"') return response.writeHead(304).end();
      }
      version += 1;
      return response.end(`v${version}`);
    }),
  );
  const asked = (path: string): number => service.backend.paths().filter((other) => other === path).length;
  const profile = makeProfile(t);
  const context = await openBrowser(t, profile);
  const { page, log } = await openPage(context, service);
  const loggedFor = async (path: string): Promise<LoggedRequest[]> => {
    const entries = log.filter((entry) => entry.path === path);
    await Promise.all(entries.map(({ answered }) => answered));
    return entries;
  };

  t.match(await get(page, '/data/fresh'), { text: 'v1', cache: /^fwd=uri-miss; stored/ }, 'first from the network');
  t.match(await loggedFor('/data/fresh'), [{ status: 200 }]);
  t.match(await get(page, '/data/fresh'), { text: 'v1', cache: /^hit; .*detail=max-age/ }, '[C5] then from the store');
  t.equal((await loggedFor('/data/fresh')).length, 1, 'with no request in the network log');
  t.equal(asked('/data/fresh'), 1);

  t.match(await get(page, '/data/stale'), { text: 'v2' });
  const holding = Promise.withResolvers<void>();
  held.promise = holding.promise;
  const stale = await Promise.all([1, 2, 3].map(() => get(page, '/data/stale')));
  t.same([...new Set(stale.map(({ text }) => text))], ['v2'], '[C8] stale answers do not wait for the refresh');
  t.match(stale[0]?.cache, /^hit; .*detail=max-stale-age/);
  holding.resolve();
  await page.waitForFunction(`events.includes('refreshed')`);
  t.match(
    await loggedFor('/data/stale'),
    [{ status: 200 }, { status: 200 }],
    'exactly one refresh goes out behind them',
  );
  t.equal(asked('/data/stale'), 2);
  t.match(await get(page, '/data/stale'), { text: 'v3' }, 'the next one gets the new answer');

  const { status, text } = await get(page, '/data/etag');
  t.match({ status, text }, { status: 200, text: /^v/ });
  t.match(
    await get(page, '/data/etag'),
    { status: 200, text, cache: /^fwd=stale; fwd-status=304/ },
    '[C3] the body comes from the store',
  );
  t.match(await loggedFor('/data/etag'), [
    { status: 200, ifNoneMatch: undefined },
    { status: 304, ifNoneMatch: '"one"' },
  ]);

  const control = service.backend.requests.filter(({ url }) => url?.startsWith('/data/'));
  t.notOk(
    control.some(({ headers }) => /no-cache/.test(`${headers['cache-control']} ${headers.pragma}`)),
    'the caches on the way are not passed by',
  );
  const { qalIdentifier } = await page.evaluate<{ qalIdentifier: string }>('client.session()');

  await page.reload();
  await page.waitForFunction('globalThis.ready === true');
  t.match(await get(page, '/data/fresh'), { text: 'v1', cache: /^hit/ }, 'it outlasts the page');
  const other = await openPage(context, service);
  t.match(await get(other.page, '/data/fresh'), { text: 'v1', cache: /^hit/ }, 'other tabs have it, too');
  t.same(other.log, []);
  await context.close();

  const again = await openPage(await openBrowser(t, profile), service);
  t.match(await get(again.page, '/data/fresh'), { text: 'v1', cache: /^hit/ }, 'it outlasts the browser');
  t.same(again.log, []);
  t.equal(
    (await again.page.evaluate<{ qalIdentifier: string }>('client.session()')).qalIdentifier,
    qalIdentifier,
    '[A3]',
  );
});

t.test('in a browser: what goes wrong', { skip }, async (t) => {
  const elsewhere = await openBackend(t, (_, response) => {
    response.setHeader('Access-Control-Allow-Origin', '*');
    response.setHeader('Access-Control-Allow-Headers', '*');
    response.end('stolen');
  });
  const service = await openService(
    t,
    withPage((request, response) => {
      const { url = '' } = request;
      if (url === '/data/away') return response.writeHead(302, { Location: elsewhere.url }).end();
      if (url === '/data/moved') return response.writeHead(302, { Location: '/data/here' }).end();
      response.setHeader('Cache-Control', 'max-age=600');
      return response.end('x'.repeat(url.startsWith('/data/large') ? 300_000 : 10));
    }),
  );
  const context = await openBrowser(t, makeProfile(t));
  const { page } = await openPage(context, service);
  t.equal(
    await page.evaluate(`codeOf(client.fetch('/data/away'))`),
    'NETWORK',
    'QAL-Session does not follow a redirect elsewhere',
  );
  t.equal(elsewhere.requests.length, 0);
  t.match(await get(page, '/data/moved'), { status: 200, cache: /detail=redirected$/ });
  t.match(await get(page, '/data/moved'), { cache: /^fwd=uri-miss/ }, 'what was found elsewhere is not stored here');

  const fetched = async (code: string): Promise<unknown> =>
    page.evaluate(`(async () => {
      const { createQalClient, indexedDbStorage } = await import('/src/sdk/index.ts');
      const make = (storage) => createQalClient({ baseUrl: location.origin, sdkAppId: 1400000000, storage });
      ${code}
    })()`);
  t.same(
    await fetched(`
      const storage = indexedDbStorage({ name: 'small', maxBytes: 1_000_000 });
      const client = make(storage);
      for (let i = 0; i < 6; i += 1) {
        await (await client.fetch('/data/large?' + i)).text();
        await (await client.fetch('/data/small')).text();
      }
      await client.close();
      const keys = await storage.keys('');
      await storage.close();
      return [keys.some((key) => key.endsWith('/data/large?0')), keys.some((key) => key.endsWith('?5')), keys.some((key) => key.startsWith('keep/'))];
    `),
    [false, true, true],
    '[C14] it is bounded: the oldest goes, the terminal stays',
  );
  t.same(
    await fetched(`
      const open = indexedDB.open;
      IDBFactory.prototype.open = () => { throw new DOMException('private', 'SecurityError'); };
      const client = make(indexedDbStorage({ name: 'none' }));
      const texts = [];
      for (let i = 0; i < 3; i += 1) texts.push((await (await client.fetch('/data/a')).text()).length);
      IDBFactory.prototype.open = open;
      const { hits, storageDegraded } = client.cacheStats();
      return [texts, hits, storageDegraded];
    `),
    [[10, 10, 10], 2, true],
    'without IndexedDB everything goes on in memory',
  );
  t.same(
    await fetched(`
      const future = await new Promise((resolve) => {
        const request = indexedDB.open('newer', 99);
        request.onsuccess = () => resolve(request.result);
      });
      future.close();
      const client = make(indexedDbStorage({ name: 'newer' }));
      return [(await client.fetch('/data/b')).status, client.cacheStats().storageDegraded];
    `),
    [200, true],
    'what a newer release made is not touched',
  );
});

t.test('the example page shows the cache at work', { skip }, async (t) => {
  const server = createBackend().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const access = await openAccess([testApp([`http://127.0.0.1:${(server.address() as AddressInfo).port}`])]);
  t.teardown(async () => {
    await access.close();
    server.close();
    server.closeAllConnections();
  });
  const page = await (await openBrowser(t, makeProfile(t))).newPage();
  const problems: string[] = [];
  page.on('console', (message) => problems.push(message.text()));
  page.on('pageerror', (error) => problems.push(String(error)));
  await page.goto(`http://127.0.0.1:${access.port}/cache/`);
  const shows = (kind: string, from: string): Promise<unknown> =>
    page.waitForSelector(`tr[data-kind="${kind}"][data-from="${from}"]`);
  for (const kind of ['fresh', 'swr', 'max-stale-age', 'etag', 'no-store']) await shows(kind, 'network');
  await page.click('#all');
  for (const kind of ['fresh', 'swr', 'max-stale-age']) await shows(kind, 'cache');
  await shows('etag', 'cache, after a 304');
  await shows('no-store', 'network');
  t.match(await page.textContent('#session'), /This terminal is @v_tls#[a-z]{12}\./);
  t.same(problems, []);
});
