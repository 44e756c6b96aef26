import t, { type Test } from 'tap';
import { answersOf, cacheStatusOf, type Live, openLive, request } from '../support/cache/live.ts';
import type { ProxiedOptions } from '../support/proxied.ts';
import { fieldOf, type Message, readResponse, readResponses, respond, statusOf } from '../support/wire.ts';

/** Hits and misses on one connection, old clients, upgrades, and the end of the listener. */

const fresh = 'Cache-Control: max-age=60\r\n';
const isCached = (target: string): boolean => !target.startsWith('/miss');

async function openByTarget(t: Test, settings: ProxiedOptions = {}): Promise<Live> {
  return await openLive(
    t,
    {
      onRequest(wire, message) {
        const target = message.start.split(' ')[1] ?? '';
        const bytes = Number(/bytes=(\d+)/.exec(target)?.[1] ?? 0);
        const body = bytes === 0 ? target : target.padEnd(bytes, '.:');
        wire.send(respond(body, isCached(target) ? fresh : 'Cache-Control: no-store\r\n'));
      },
    },
    settings,
  );
}

t.test('[A1, C5] pipelined hits and misses are answered in their order, of every size', async (t) => {
  const live = await openByTarget(t);
  const targets = [
    '/a',
    '/miss1',
    '/b',
    '/c?bytes=20000',
    '/miss2',
    '/d?bytes=300000',
    '/a',
    '/a',
    '/miss3?bytes=100000',
    '/b',
  ];
  for (const target of targets) await live.get(target);
  // Whatever piece the requests come in, and with whatever before.
  const text = [...targets, ...targets.toReversed(), '/a'].map((target) => request(target)).join('');
  const expected = [...targets, ...targets.toReversed(), '/a'];
  for (const cutAt of [0, 30, 41, 60, 100, 117, 240, 500]) {
    const wire = await live.client();
    wire.send(text.slice(0, cutAt));
    if (cutAt > 0) await new Promise(setImmediate);
    wire.send(text.slice(cutAt));
    const answers = await readResponses(wire, expected.length);
    t.strictSame(
      answers.map(({ body }) => body.replace(/[.:]+$/, '')),
      expected,
    );
    t.equal(answers.map(({ raw }) => raw).join(''), wire.received, 'and nothing between them');
    wire.socket.destroy();
  }
});

t.test('[A1] a client of HTTP/1.0 gets hits whole, and its connection ends', async (t) => {
  const live = await openByTarget(t);
  for (const target of ['/a', '/b?bytes=20000', '/c?bytes=300000']) {
    const { body } = await live.get(target);
    for (const fields of ['', 'Connection: keep-alive\r\n']) {
      const wire = await live.client();
      wire.send(`GET ${target} HTTP/1.0\r\nHost: cache.test\r\n${fields}\r\n`);
      const answer = await readResponse(wire);
      t.ok(answer.body === body);
      t.match(cacheStatusOf(answer), /; hit/);
      t.equal(fieldOf(answer, 'Transfer-Encoding'), undefined);
      if (fields === '') t.equal(await wire.end(), 'end');
      wire.socket.destroy();
    }
    // Without a length at the origin: the end of the connection is the end of the body.
    const wire = await live.client();
    wire.send(`GET ${target}&again HTTP/1.0\r\nHost: cache.test\r\n\r\n`);
    t.equal(await wire.end(), 'end');
    t.ok(answersOf(wire)[0]?.body.startsWith(target));
    wire.socket.destroy();
  }
});

t.test('[C5] large hits come byte for byte, many at once', async (t) => {
  const live = await openByTarget(t, { options: { cache: { entryBytes: 8_000_000 } } });
  for (const bytes of [16_384, 100_000, 262_144, 262_145, 5_000_000]) {
    const { body } = await live.get(`/x?bytes=${bytes}`);
    t.equal(body.length, bytes);
    const answers = await Promise.all(Array.from({ length: 5 }, () => live.get(`/x?bytes=${bytes}`)));
    t.ok(answers.every((answer) => answer.body === body && cacheStatusOf(answer).includes('; hit')));
  }
  t.equal(live.origin.requests.length, 5);
});

t.test('[A1] a connection ends at its limit of requests, hits counted', async (t) => {
  const live = await openByTarget(t, { limits: { requestsPerConnection: 3 } });
  await live.get('/a');
  for (const burst of [true, false]) {
    const wire = await live.client();
    if (burst) wire.send(request('/a').repeat(5));
    else {
      for (let i = 0; i < 3; i += 1) {
        wire.send(request('/a'));
        await readResponses(wire, i + 1);
      }
    }
    t.not(await wire.end(), 'no');
    const answers = answersOf(wire);
    t.strictSame(
      answers.map((answer) => fieldOf(answer, 'Connection')),
      ['keep-alive', 'keep-alive', 'close'],
    );
    wire.socket.destroy();
  }
});

t.test('[A1] an upgrade behind hits on the same connection reaches the origin', async (t) => {
  const live = await openLive(t, {
    onRequest(wire, message: Message) {
      if (fieldOf(message, 'Upgrade') === undefined) wire.send(respond('hit me', fresh));
      else
        wire.send(
          'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello',
        );
    },
  });
  const wire = await live.client();
  for (let i = 0; i < 4; i += 1) {
    wire.send(request('/x'));
    await readResponses(wire, i + 1);
  }
  const skip = wire.received.length;
  wire.send(
    request(
      '/x',
      'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n',
    ),
  );
  await wire.until('the upgrade', () => wire.received.slice(skip).endsWith('hello'));
  t.match(wire.received.slice(skip), /^HTTP\/1\.1 101 /);
  t.equal(live.origin.requests.length, 2);
  wire.socket.destroy();
});

t.test('[C5] the listener closes while hits are served: answers under way come whole, connections end', async (t) => {
  const live = await openByTarget(t);
  await live.get('/a');
  await live.get('/b?bytes=300000');
  const wires = await live.clients(30);
  let closing = false;
  let asked = 0;
  /** Asks again as soon as there is an answer, until the connection ends. */
  const run = async (i: number): Promise<void> => {
    const wire = wires[i];
    if (wire === undefined) return;
    for (let count = 1; wire.ended === 'no'; count += 1) {
      wire.send(request(i % 3 === 0 ? '/b?bytes=300000' : '/a'));
      asked += 1;
      await wire.until('an answer or the end', () => wire.ended !== 'no' || answersOf(wire).length >= count);
      if (count > 10 && !closing) await new Promise((resolve) => setTimeout(resolve, 1));
    }
  };
  const runs = wires.map((_, i) => run(i));
  await Promise.all(wires.map((wire) => wire.until('some answers', () => answersOf(wire).length >= 3)));
  closing = true;
  const closed = live.access.listener.close(5_000);
  await Promise.all([...runs, closed]);
  for (const wire of wires) {
    const answers = answersOf(wire);
    t.equal(answers.map(({ raw }) => raw).join('').length, wire.received.length, 'no answer is cut off');
    t.ok(answers.every((answer) => statusOf(answer) === 200));
  }
  t.ok(asked > 100);
});
