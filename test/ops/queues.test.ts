import { existsSync } from 'node:fs';
import { chromium, type Page } from 'playwright-core';
import t, { type Test } from 'tap';
import { createDrainQueue, type DrainQueue } from '../../src/callbacks/relay/queue.ts';
import { createHealth, createLogger, createMetrics } from '../../src/observe/index.ts';
import { createOps, type OpsDeps } from '../../src/ops/index.ts';
import { createListenerMetrics, openListener } from '../../src/server/listeners.ts';
import { migrateQueues } from '../../src/store/index.ts';
import { openTestDatabase } from '../support/database.ts';
import { skipWithoutRedis, startRedis } from '../support/redis.ts';

const program = '/usr/bin/chromium';
const withoutBrowser =
  process.env.CI === 'true' || existsSync(program)
    ? false
    : `${program} is not there: install the Debian package chromium`;
const operator = 'operator-token-of-the-test';
const viewer = 'viewer-token-of-the-test';

const lane = (drainKey: string) => ({ sdkAppId: 1_400_000_000, endpointId: '0123456789abcdef', drainKey }) as const;

/** A queue with one lane that waits, and one that waits for its time. */
async function fill(t: Test, queue: DrainQueue): Promise<void> {
  t.teardown(() => queue.close());
  await queue.wake([lane('4711')]);
  await queue.queue.add('drain', lane('4712'), { delay: 600_000 });
}

const { db, logger: quiet } = await openTestDatabase(t);

async function onPostgres(): Promise<DrainQueue> {
  const client = await db.pool.connect();
  await migrateQueues(client).finally(() => client.release());
  const { target } = db;
  return await createDrainQueue(
    { logger: quiet, metrics: createMetrics() },
    { kind: 'postgres', connection: 'host' in target ? { ssl: false, ...target } : target },
    { concurrency: 1, prefix: '{board}', isAlone: true },
  );
}

async function onRedis(t: Test): Promise<DrainQueue> {
  const { url } = await startRedis(t);
  const deps = { logger: createLogger({ level: 'silent' }), metrics: createMetrics() };
  return await createDrainQueue(deps, { kind: 'redis', url }, { concurrency: 1, prefix: '{board}', isAlone: true });
}

/** An ops listener over the queue, as the server opens one. */
async function open(t: Test, { queue }: DrainQueue) {
  const lines: Record<string, unknown>[] = [];
  const destination = { write: (line: string) => void lines.push(JSON.parse(line)) };
  const logger = createLogger({ level: 'info', destination });
  const metrics = createMetrics();
  const nothing = {} as Pick<OpsDeps, 'apps' | 'revocations' | 'purges' | 'checkApp'>;
  const ops = await createOps(
    {
      ...nothing,
      logger,
      metrics,
      health: createHealth({ logger, metrics }),
      effectiveConfig: () => ({}),
      queues: [queue],
    },
    {
      tokens: [
        { name: 'oncall', role: 'operator', token: operator },
        { name: 'dashboards', role: 'viewer', token: viewer },
      ],
    },
  );
  const listener = await openListener(
    { logger, metrics: createListenerMetrics(metrics) },
    { name: 'ops', address: { host: '127.0.0.1', port: 0 }, handlers: { request: ops.handler } },
  );
  t.teardown(async () => {
    await listener.close(0);
    await ops.close();
  });
  const call = async (method: string, path: string, token?: string, body?: object) => {
    const response = await fetch(`${listener.url}/ops/queues${path}`, {
      method,
      headers: {
        ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.startsWith('application/json') === true;
    return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined };
  };
  return { call, url: listener.url, audit: () => lines.filter(({ event }) => event === 'ops.audit') };
}

function board(make: (t: Test) => Promise<DrainQueue>) {
  return async (t: Test) => {
    const queue = await make(t);
    await fill(t, queue);
    const { call, audit } = await open(t, queue);
    const list = '/api/queues?activeQueue=callbacks&status=latest&page=1&jobsPerPage=10';

    await t.test('the page holds no data and takes nothing from elsewhere', async (t) => {
      for (const path of ['', '/', '/queue/callbacks', '/queue/callbacks/1?status=latest']) {
        const page = await call('GET', path);
        t.match(page, { status: 200, text: /<base href="\/ops\/queues\/">/ });
        t.match(
          page.headers.get('content-security-policy'),
          /^default-src 'none'; script-src 'self'; style-src 'self' 'sha256-[\w+/=]+';/,
        );
        t.notMatch(page.text, /https?:|style=|<style|4711|\son[a-z]+=/);
      }
      const script = await call('GET', '/token.js');
      t.match(script, { status: 200, text: /sessionStorage/ });
      for (const path of [
        '/../healthz',
        '/static/../index.ejs',
        '/static/%2e%2e/index.ejs',
        '/index.ejs',
        '/static/none.js',
      ]) {
        t.equal((await call('GET', path)).status, 404, path);
      }
    });

    await t.test('data only with a token in the header', async (t) => {
      for (const path of [
        list,
        '/api/redis/stats',
        '/api/queues/callbacks/1',
        '/api/none',
        `${list}&token=${viewer}`,
      ]) {
        const answer = await call('GET', path);
        t.equal(answer.status, 401, path);
        t.match(answer.headers.get('www-authenticate'), /^Bearer/);
        t.notMatch(answer.text, /callbacks|4711/);
      }
      t.equal((await call('GET', list, 'a wrong one')).status, 401);
      t.equal((await call('PUT', '/api/queues/callbacks/promote')).status, 401);
    });

    await t.test('a viewer sees the queue, and may do nothing', async (t) => {
      const { json, status } = await call('GET', list, viewer);
      t.equal(status, 200);
      t.match(json.queues, [{ name: 'callbacks', readOnlyMode: true, counts: { waiting: 1, delayed: 1, active: 0 } }]);
      const jobs = json.queues[0].jobs as { data: object }[];
      t.same(
        jobs.map(({ data }) => data).toSorted((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b))),
        [lane('4711'), lane('4712')],
      );
      t.equal((await call('GET', '/api/redis/stats', viewer)).status, 200);
      t.equal((await call('GET', '/api/queues/none/metrics', viewer)).status, 404);
      for (const path of ['/promote', '/clean/delayed', '/2/clean', '/pause', '/obliterate']) {
        t.equal((await call('PUT', `/api/queues/callbacks${path}`, viewer)).status, 403, path);
      }
      t.match(audit().at(-1), {
        actor: 'dashboards',
        command: 'ops.queue.write',
        outcome: 'FORBIDDEN',
        target: 'queues/callbacks/obliterate',
      });
    });

    await t.test('an operator may bring jobs forward and remove them, and nothing else', async (t) => {
      for (const [method, path, status, body] of [
        ['PUT', '/api/queues/callbacks/pause', 403],
        ['PUT', '/api/queues/pause', 403],
        ['PUT', '/api/queues/callbacks/obliterate', 403, { force: true }],
        ['PUT', '/api/queues/callbacks/empty', 403],
        ['PUT', '/api/queues/callbacks/clean/active', 403],
        ['PUT', '/api/queues/callbacks/concurrency', 403, { concurrency: 1 }],
        ['POST', '/api/queues/callbacks/add', 405, { name: 'drain', data: {} }],
        ['PATCH', '/api/queues/callbacks/1/update-data', 405, { jobData: {} }],
        ['PUT', '/api/queues/none/promote', 404],
      ] as const) {
        t.equal((await call(method, path, operator, body)).status, status, `${method} ${path}`);
      }
      t.match(await queue.queue.getJobCounts(), { waiting: 1, delayed: 1 });
      t.match((await call('GET', list, operator)).json.queues, [{ readOnlyMode: false }]);
      t.equal((await call('PUT', '/api/queues/callbacks/promote', operator)).status, 200);
      t.match(await queue.queue.getJobCounts(), { waiting: 2, delayed: 0 });
      t.match(audit().at(-1), { actor: 'oncall', outcome: 'ok', target: 'queues/callbacks/promote' });
      const [job] = await queue.queue.getJobs(['waiting']);
      t.equal((await call('PUT', `/api/queues/callbacks/${job?.id}/clean`, operator)).status, 204);
      t.match(await queue.queue.getJobCounts(), { waiting: 1, delayed: 0 });
    });
  };
}

t.test('the board over a queue on PostgreSQL', board(onPostgres));
t.test('the board over a queue on Redis', { skip: skipWithoutRedis() }, board(onRedis));

const textOf = async (page: Page) => (await page.locator('body').textContent()) ?? '';

t.test('the board in a browser', { skip: withoutBrowser }, async (t) => {
  const queue = await onPostgres();
  await fill(t, queue);
  const { url } = await open(t, queue);
  const browser = await chromium.launch({ executablePath: program, args: ['--no-sandbox', '--disable-gpu'] });
  t.teardown(() => browser.close());
  const page = await browser.newPage({ locale: 'en-US' });
  const problems: string[] = [];
  const asked: string[] = [];
  page.on(
    'console',
    (message) => void (['error', 'warning'].includes(message.type()) && problems.push(message.text())),
  );
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('request', (request) => asked.push(request.url()));

  await page.goto(`${url}/ops/queues`);
  await page.getByLabel('Ops token').waitFor();
  t.equal((await textOf(page)).includes('callbacks'), false, 'without a token there is a form alone');
  t.notOk(asked.some((one) => one.includes('/api/')));
  await page.getByLabel('Ops token').fill('a-wrong-token-of-somebody');
  await page.getByRole('button').click();
  await page.getByText('the token is not known').waitFor();
  problems.length = 0;

  await page.getByLabel('Ops token').fill(viewer);
  await page.getByRole('button').click();
  await page.getByText('callbacks').first().waitFor();
  await page.goto(`${url}/ops/queues/queue/callbacks?status=delayed`);
  await page.getByText('4712').first().waitFor();
  await page.getByText('Options').first().click();
  t.match(await textOf(page), /Delayed\s*1/i, 'its counts are there');
  t.same(await page.context().cookies(), []);
  t.notMatch(await page.evaluate('JSON.stringify(localStorage)'), viewer);
  const refused = await page.evaluate(`new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open('PUT', 'api/queues/callbacks/promote');
    request.addEventListener('load', () => resolve(request.status));
    request.send();
  })`);
  t.equal(refused, 403, 'and a viewer changes nothing');
  t.ok(
    asked.every((one) => one.startsWith(url) || one.startsWith('data:')),
    'nothing came from elsewhere',
  );
  t.notOk(asked.some((one) => one.includes(viewer)));
  t.same(
    problems.filter((text) => !text.includes('403')),
    [],
  );
  // Whoever opens it anew is asked again.
  const another = await browser.newPage();
  await another.goto(`${url}/ops/queues`);
  await another.getByLabel('Ops token').waitFor();
});
