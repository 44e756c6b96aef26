import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import type { AccessProcessOptions, AccessStarted } from '../support/access-process.ts';
import { until } from '../support/database.ts';
import { startMeasured } from '../support/measured-process.ts';
import { PatternCheck, patternAt } from '../support/pattern.ts';

const mib = 2 ** 20;
const gib = 2 ** 30;
const pieceBytes = 65_536;
const maxGrowthMib = 64;

/**
 * An origin that sends generated bodies (`GET /<bytes>`), checks those that it gets (PUT), or leaves them unread (POST).
 * Counts what its sockets have taken of what it sends, by size of the body.
 */
async function startOrigin(t: Test) {
  const taken = new Map<number, number>();
  const server = http.createServer(async (req, res) => {
    if (req.method === 'POST') return;
    if (req.method === 'GET') {
      const total = Number(req.url?.slice(1));
      const onTaken = (bytes: number): void => void taken.set(total, (taken.get(total) ?? 0) + bytes);
      res.writeHead(200, { 'Content-Length': total });
      let sent = 0;
      const send = (): void => {
        while (sent < total) {
          const bytes = Math.min(pieceBytes, total - sent);
          const piece = patternAt(sent, bytes);
          sent += bytes;
          if (!res.write(piece, (error) => error ?? onTaken(bytes))) return;
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
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    takenOf: (total: number): number => taken.get(total) ?? 0,
  };
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

/** Waits until a count stands still: what goes on rising would have risen in twenty looks. */
async function untilStill(count: () => number): Promise<void> {
  let last = -1;
  let looks = 0;
  await until(() => {
    const now = count();
    looks = now === last ? looks + 1 : 0;
    last = now;
    return looks === 20;
  }, 30_000);
}

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

  /** Does `work` and checks how far the proxy's RSS rises above its value before. */
  async function checkGrowth(t: Test, work: () => Promise<void>): Promise<void> {
    const { rssBytes } = await proxy.usage();
    await work();
    const { peakRssBytes } = await proxy.usage();
    const growthMib = (peakRssBytes - rssBytes) / mib;
    t.ok(growthMib < maxGrowthMib, `RSS grew by ${growthMib.toFixed(1)} MiB`);
  }

  // Compilers and heaps first take what they will keep.
  await upload(agent, port, 128 * mib);
  await download(agent, port, 128 * mib);

  await t.test('[A1] an upload of 1 GiB', async (t) => {
    await checkGrowth(t, async () => {
      t.strictSame(await upload(agent, port, gib), { bytes: gib });
    });
  });

  await t.test('[A1] a download of 1 GiB', async (t) => {
    await checkGrowth(t, async () => {
      t.match(await download(agent, port, gib), { bytes: gib, wrongAt: undefined });
    });
  });

  await t.test('[A1] 200 slow readers of 10 MiB at once', async (t) => {
    const total = 10 * mib;
    await checkGrowth(t, async () => {
      const readers = await Promise.all(
        Array.from({ length: 200 }, async () => {
          const response = await get(agent, port, total);
          return { pieces: response[Symbol.asyncIterator](), check: new PatternCheck() };
        }),
      );
      // At a crawl: a piece each, and only when nothing moves any more.
      for (let turn = 0; turn < 5; turn += 1) {
        await untilStill(() => origin.takenOf(total));
        for (const { pieces, check } of readers) check.take((await pieces.next()).value);
      }
      await Promise.all(
        readers.map(async ({ pieces, check }) => {
          for await (const piece of pieces) check.take(piece);
        }),
      );
      const wrong = readers.filter(({ check }) => check.bytes !== total || check.wrongAt !== undefined);
      t.strictSame(wrong.length, 0, 'each got its whole body');
    });
  });

  await t.test('[A1] a reader that stops stops the origin', async (t) => {
    await checkGrowth(t, async () => {
      const responses = await Promise.all(Array.from({ length: 10 }, () => get(agent, port, gib + 1)));
      await untilStill(() => origin.takenOf(gib + 1));
      const takenMib = origin.takenOf(gib + 1) / mib;
      // What lies between is what the kernel's socket buffers hold.
      t.ok(takenMib < 10 * 64, `of 10 bodies of 1 GiB the origin could send ${takenMib.toFixed(0)} MiB`);
      for (const response of responses) response.destroy();
    });
  });

  await t.test('[A1] an origin that does not read stops its client', async (t) => {
    await checkGrowth(t, async () => {
      const request = http.request({ agent, port, host: '127.0.0.1', method: 'POST', path: '/' });
      request.on('error', () => {});
      let written = 0;
      const send = (): void => {
        let more = true;
        while (more && written < gib) {
          more = request.write(patternAt(written, pieceBytes));
          written += pieceBytes;
        }
      };
      request.on('drain', send);
      send();
      await untilStill(() => written);
      t.ok(written < 64 * mib, `the client could send ${(written / mib).toFixed(0)} MiB`);
      request.destroy();
    });
  });
});
