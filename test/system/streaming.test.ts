import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import type { AccessProcessOptions, AccessStarted } from '../support/access-process.ts';
import { until } from '../support/database.ts';
import { startMeasured } from '../support/measured-process.ts';
import { PatternCheck, patternAt } from '../support/pattern.ts';

const mib = 2 ** 20;
const pieceBytes = 65_536;
const maxGrowthBytes = 64 * mib;

/** An origin that sends and checks generated bodies, and counts what it could hand to its sockets. */
async function startOrigin(t: Test) {
  const counts = { handedOver: 0 };
  const server = http.createServer(async (req, res) => {
    if (req.method === 'GET') {
      const total = Number(req.url?.slice(1));
      res.writeHead(200, { 'Content-Length': total });
      let sent = 0;
      const send = (): void => {
        while (sent < total) {
          const bytes = Math.min(pieceBytes, total - sent);
          const piece = patternAt(sent, bytes);
          sent += bytes;
          if (!res.write(piece, () => void (counts.handedOver += bytes))) return;
        }
        res.end();
      };
      res.on('drain', send);
      send();
      return;
    }
    const check = new PatternCheck();
    for await (const piece of req) check.take(piece as Buffer);
    res.end(JSON.stringify({ bytes: check.bytes, wrongAt: check.wrongAt }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  t.teardown(() => server.closeAllConnections());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, counts };
}

async function startProxy(t: Test, upstream: string) {
  const options: AccessProcessOptions = { upstream: [upstream], sessions: 1, idleTimeoutMs: 60_000 };
  const proxy = await startMeasured<AccessStarted>(new URL('../support/access-process.ts', import.meta.url), options);
  t.teardown(proxy.close);
  return proxy;
}

const get = async (agent: http.Agent, port: number, total: number): Promise<IncomingMessage> => {
  const request = http.get({ agent, port, host: '127.0.0.1', path: `/${total}` });
  const [response] = await once(request, 'response');
  return response as IncomingMessage;
};

async function download(agent: http.Agent, port: number, total: number): Promise<PatternCheck> {
  const check = new PatternCheck();
  for await (const piece of await get(agent, port, total)) check.take(piece as Buffer);
  return check;
}

/** Sends a generated body in chunks; gives back what the origin says that it got. */
async function upload(agent: http.Agent, port: number, total: number): Promise<{ bytes: number; wrongAt?: number }> {
  const request = http.request({ agent, port, host: '127.0.0.1', method: 'PUT', path: '/' });
  const response = once(request, 'response');
  for (let sent = 0; sent < total; ) {
    const bytes = Math.min(pieceBytes, total - sent);
    const more = request.write(patternAt(sent, bytes));
    sent += bytes;
    if (!more) await once(request, 'drain');
  }
  request.end();
  let text = '';
  for await (const piece of (await response)[0]) text += piece;
  return JSON.parse(text);
}

t.test('[A1] bodies stream through in little memory', async (t) => {
  const origin = await startOrigin(t);
  const proxy = await startProxy(t, origin.url);
  const { port } = proxy.started;
  const agent = new http.Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());

  /** Highest growth of the proxy's RSS, in bytes, while `work` runs. */
  async function growthDuring(work: () => Promise<void>): Promise<number> {
    const { rssBytes } = await proxy.usage();
    await work();
    const { peakRssBytes } = await proxy.usage();
    return peakRssBytes - rssBytes;
  }

  // Compilers and heaps take what they need.
  await upload(agent, port, 64 * mib);
  await download(agent, port, 64 * mib);

  await t.test('[A1] an upload of 1 GiB', async (t) => {
    const growth = await growthDuring(async () => {
      t.strictSame(await upload(agent, port, 1_024 * mib), { bytes: 1_024 * mib });
    });
    t.comment(`RSS grew by ${(growth / mib).toFixed(1)} MiB`);
    t.ok(growth < maxGrowthBytes, `RSS grew by ${growth} bytes`);
  });

  await t.test('[A1] a download of 1 GiB', async (t) => {
    const growth = await growthDuring(async () => {
      t.match(await download(agent, port, 1_024 * mib), { bytes: 1_024 * mib, wrongAt: undefined });
    });
    t.comment(`RSS grew by ${(growth / mib).toFixed(1)} MiB`);
    t.ok(growth < maxGrowthBytes, `RSS grew by ${growth} bytes`);
  });

  await t.test('[A1] 200 slow readers at once', async (t) => {
    const readers = 200;
    const total = 10 * mib;
    const before = origin.counts.handedOver;
    const handedOver = (): number => origin.counts.handedOver - before;
    const growth = await growthDuring(async () => {
      const responses = await Promise.all(Array.from({ length: readers }, () => get(agent, port, total)));
      const checks = responses.map(() => new PatternCheck());
      await until(async () => { const a = handedOver(); await new Promise((r) => setTimeout(r, 1000)); console.error(a / mib, (await proxy.usage()).rssBytes / mib); return a === handedOver(); }, 60000);
    });
    t.comment(`RSS grew by ${(growth / mib).toFixed(1)} MiB`);
  });
});
