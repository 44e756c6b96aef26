import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { Agent, createServer, get, type IncomingMessage, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { runCommand, spawnService } from '../support/service.ts';

const appId = 1_400_000_000;

/** A backend that answers with the headers it got; `/hold` answers when released. */
async function openBackend(): Promise<{ url: string; server: Server; held: number; release(): void }> {
  const waiting: (() => void)[] = [];
  const server = createServer((request, response) => {
    const answer = (): void => {
      response.end(JSON.stringify(request.headers));
    };
    if (request.url === '/hold') waiting.push(answer);
    else answer();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    server,
    get held() {
      return waiting.length;
    },
    release: () => {
      for (const answer of waiting.splice(0)) answer();
    },
  };
}

async function fetchVia(url: string, path: string, options: { agent?: Agent; headers?: Record<string, string> } = {}) {
  const request = get(url + path, { agent: false, ...options });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return { status: response.statusCode, body: await text(response) };
}

async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = Date.now() + 20_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`timed out: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

t.test('the service as a process', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'qalgate system '));
  const backend = await openBackend();
  t.teardown(async () => {
    backend.server.closeAllConnections();
    backend.server.close();
    await rm(dataDir, { recursive: true, force: true });
  });
  const options = { dataDir, env: { QALGATE_LOG_ACCESS: 'false' } };

  await t.test('[O5] apps come by the CLI, with the service running and stopped', async (t) => {
    const created = await runCommand(['app', 'create', '--id', String(appId), '--route', `/=${backend.url}`], options);
    t.equal(created.code, 0, created.stderr);

    const service = await spawnService(options);
    t.teardown(() => service.process.kill('SIGKILL'));
    const seen = await fetchVia(service.access, '/x', { headers: { 'QAL-Identifier': 'forged' } });
    t.equal(seen.status, 200);
    const headers = JSON.parse(seen.body);
    t.match(headers, { 'qal-sdk-app-id': String(appId), 'x-forwarded-for': '127.0.0.1', 'qal-req-seq-no': /^[0-9]+$/ });
    t.notOk('qal-identifier' in headers, 'the forged value is gone');

    const other = await runCommand(['app', 'create', '--id', '7', '--route', `other.example/=${backend.url}`], options);
    t.equal(other.code, 0, other.stderr);
    await until(async () => {
      const { body } = await fetchVia(service.access, '/', { headers: { host: 'other.example' } });
      return JSON.parse(body)['qal-sdk-app-id'] === '7';
    }, 'the new app is served');
    t.equal((await runCommand(['app', 'delete', '7', '--yes'], options)).code, 0);
    await until(async () => {
      const { body } = await fetchVia(service.access, '/', { headers: { host: 'other.example' } });
      return JSON.parse(body)['qal-sdk-app-id'] === String(appId);
    }, 'the deleted app is served no more');
    const changes = () => service.log.filter(({ event }) => event === 'apps.changed');
    await until(() => changes().length === 3, 'each change is in the log');
    t.match(changes(), [
      { apps: 1, changed: [appId], removed: [] },
      { apps: 2, changed: [7], removed: [] },
      { apps: 1, changed: [], removed: [7] },
    ]);

    const second = await runCommand(['serve'], options);
    t.equal(second.code, 4, 'the data folder has one owner');
    t.match(second.stderr, new RegExp(String(service.process.pid)), 'which is named');

    service.process.kill('SIGTERM');
    t.same(await service.exited, { code: 0, signal: null });
  });

  await t.test('[O1] each metric has its line in the README of its folder, and what pages name is there', async (t) => {
    const service = await spawnService(options);
    t.teardown(() => service.process.kill('SIGKILL'));
    const told = (await fetchVia(service.ops, '/metrics')).body;
    const there = [...told.matchAll(/^# TYPE (qalgate_[a-z0-9_]+)/gm)].map(([, name = '']) => name).sort();
    t.ok(there.length > 100);
    const root = new URL('../../', import.meta.url);
    const named = new Set<string>();
    for (const folder of await readdir(new URL('src', root))) {
      const page = await readFile(new URL(`src/${folder}/README.md`, root), 'utf8').catch(() => '');
      const [, metrics = ''] = page.split('## Metrics');
      for (const [, name = ''] of metrics.matchAll(/`([a-z][a-z0-9_]*[a-z0-9])(?:\{[a-z_,]+\})?`/g)) {
        named.add(name.startsWith('qalgate_') ? name : `qalgate_${folder}_${name}`);
      }
    }
    t.same(
      there.filter((name) => !named.has(name)),
      [],
      'written down',
    );
    for (const page of await readdir(new URL('docs/', root), { recursive: true })) {
      if (!page.endsWith('.md')) continue;
      const text = await readFile(new URL(`docs/${page}`, root), 'utf8');
      for (const [name] of text.matchAll(/qalgate_[a-z0-9_]*[a-z0-9](?![a-z0-9_])/g)) {
        t.ok(there.includes(name.replace(/_(bucket|sum|count)$/, '')), `${page}: ${name}`);
      }
    }
    service.process.kill('SIGTERM');
    await service.exited;
  });

  await t.test('[A14] a kick ends sessions in the running service', async (t) => {
    const service = await spawnService(options);
    t.teardown(() => service.process.kill('SIGKILL'));
    const { stdout: userSig } = await runCommand(['usersig', 'alice', '--app', String(appId)], options);
    const answer = await fetch(`${service.access}/.qal/v1/session`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ sdkAppId: appId, identifier: 'alice', userSig: userSig.trim(), network: { rat: 'LTE' } }),
    });
    t.equal(answer.status, 200);
    const { session, qalIdentifier } = (await answer.json()) as { session: string; qalIdentifier: string };
    const headers = { 'QAL-Session': session };
    t.match(JSON.parse((await fetchVia(service.access, '/', { headers })).body), {
      'qal-account': 'alice',
      'qal-identifier': qalIdentifier,
      'qal-rat-generation': '4',
    });

    t.equal((await runCommand(['kick', 'alice', '--app', String(appId)], options)).code, 0);
    await until(async () => (await fetchVia(service.access, '/', { headers })).status === 401, 'the session has ended');
    t.match(
      await service.logged('ops.audit'),
      { actor: /^cli/, role: 'cli', command: 'ops.session.kick', target: `${appId}/alice`, outcome: 'ok' },
      'and the log of the service says who did it',
    );
    service.process.kill('SIGTERM');
    await service.exited;
  });

  // SIGHUP: the terminal was closed.
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) {
    await t.test(`[O5] ${signal} stops accepting and finishes what is in flight`, async (t) => {
      const service = await spawnService(options);
      t.teardown(() => service.process.kill('SIGKILL'));
      const inFlight = fetchVia(service.access, '/hold');
      await until(() => backend.held === 1, 'the request is at the backend');
      service.process.kill(signal);
      await service.logged('server.stopping');
      const { port } = new URL(service.access);
      await until(
        () =>
          new Promise((resolve) => {
            const socket = connect(Number(port), '127.0.0.1');
            socket.once('connect', () => resolve(false));
            socket.once('error', () => resolve(true));
          }),
        'no connection is accepted any more',
      );
      t.equal((await fetch(`${service.ops}/readyz`)).status, 503, 'not ready while stopping');
      t.equal((await fetch(`${service.ops}/healthz`)).status, 200);
      backend.release();
      t.equal((await inFlight).status, 200);
      t.same(await service.exited, { code: 0, signal: null });
    });
  }

  await t.test('[O5] a second signal ends at once', async (t) => {
    const service = await spawnService(options);
    t.teardown(() => service.process.kill('SIGKILL'));
    const inFlight = fetchVia(service.access, '/hold').catch(() => 'cut');
    await until(() => backend.held === 1, 'the request is at the backend');
    service.process.kill('SIGTERM');
    await service.logged('server.stopping');
    const again = setInterval(() => service.process.kill('SIGTERM'), 200);
    t.same(await service.exited, { code: 1, signal: null });
    clearInterval(again);
    t.equal(await inFlight, 'cut');
    backend.release();
  });

  await t.test('[A4,O5] kill -9 under load: serves again, apps are there, no serial repeats', async (t) => {
    const serials: string[] = [];
    for (let round = 0; round < 3; round += 1) {
      const startedMs = performance.now();
      const service = await spawnService(options);
      t.teardown(() => service.process.kill('SIGKILL'));
      t.equal((await fetchVia(service.access, '/')).status, 200);
      t.comment(`served ${Math.round(performance.now() - startedMs)} ms after its start`);
      const agent = new Agent({ keepAlive: true });
      let killed = false;
      const load = Array.from({ length: 8 }, async () => {
        while (!killed) {
          try {
            serials.push(JSON.parse((await fetchVia(service.access, '/', { agent })).body)['qal-req-seq-no']);
          } catch {
            return;
          }
        }
      });
      const enough = serials.length + 500;
      await until(() => serials.length > enough, 'some load');
      service.process.kill('SIGKILL');
      await service.exited;
      killed = true;
      await Promise.all(load);
      agent.destroy();
    }
    // The last one ends in order, so that no database of a killed one is left running.
    const last = await spawnService(options);
    t.teardown(() => last.process.kill('SIGKILL'));
    serials.push(JSON.parse((await fetchVia(last.access, '/')).body)['qal-req-seq-no']);
    last.process.kill('SIGTERM');
    t.same(await last.exited, { code: 0, signal: null });
    t.ok(serials.length > 1_500);
    t.equal(new Set(serials).size, serials.length);
  });
});
