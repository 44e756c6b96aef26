import t, { type Test } from 'tap';
import { answersOf, cacheStatusOf, type Live, openLive, request, until } from '../support/cache/live.ts';
import { countBytes, kernelBytes, pour, standstill } from '../support/flood.ts';
import type { ProxiedOptions } from '../support/proxied.ts';
import { fieldOf, type Message, readResponse, respond, statusOf, type Wire } from '../support/wire.ts';

/** Origins that break, lie or change their mind, and clients that do not read: what the cache makes of it. */

const fresh = 'Cache-Control: max-age=60\r\n';

/** An origin that does one thing after another, each for one request; the last one again and again. */
async function openSteps(
  t: Test,
  steps: ((wire: Wire, message: Message) => void)[],
  settings: ProxiedOptions = {},
): Promise<Live> {
  let next = 0;
  return await openLive(
    t,
    {
      onRequest(wire, message) {
        const step = steps[Math.min(next, steps.length - 1)];
        next += 1;
        step?.(wire, message);
      },
    },
    { timeouts: { headMs: 300, bodyIdleMs: 300 }, ...settings },
  );
}

const send =
  (bytes: string, then: 'keep' | 'end' | 'reset' = 'keep') =>
  (wire: Wire): void => {
    wire.send(bytes);
    if (then === 'end') wire.socket.end();
    if (then === 'reset') setImmediate(() => wire.socket.resetAndDestroy());
  };
const whole = send(respond('whole', fresh));

/** What a client gets: an answer, or what came before its connection was cut. */
async function ask(live: Live, target = '/x', fields = ''): Promise<{ answer: Message | undefined; received: string }> {
  const wire = await live.client();
  wire.send(request(target, fields));
  await wire.until('an answer or the end', () => answersOf(wire).length > 0 || wire.ended !== 'no');
  const [answer] = answersOf(wire);
  const { received } = wire;
  wire.socket.destroy();
  return { answer, received };
}

for (const [what, step, expected] of [
  ['closes without a word', send('', 'end'), 502],
  ['resets', send('', 'reset'), 502],
  ['says nothing', () => {}, 504],
  ['stops within its head', send('HTTP/1.1 200 OK\r\nCache-'), 504],
  ['closes within its head', send('HTTP/1.1 200 OK\r\nCache-', 'end'), 502],
  ['is no HTTP', send('220 smtp\r\n'), 502],
  ['answers 503', send(respond('down', '', '503 Down')), 503],
  [
    'answers 206 to no range',
    send(respond('part', `${fresh}Content-Range: bytes 0-3/9\r\n`, '206 Partial Content')),
    206,
  ],
  ['answers 304 to no condition', send(`HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n${fresh}\r\n`), 304],
  ['gives no end but the end of its connection', send(`HTTP/1.1 200 OK\r\n${fresh}\r\nclosed`, 'end'), 200],
] as const) {
  t.test(`[C11] an origin that ${what}: the client is told, nothing is stored`, async (t) => {
    const live = await openSteps(t, [step, whole]);
    const { answer } = await ask(live);
    t.equal(answer === undefined ? undefined : statusOf(answer), expected);
    if (expected === 200) t.equal(answer?.body, 'closed');
    t.equal((await ask(live)).answer?.body, 'whole');
    t.equal(live.origin.requests.length, 2);
    t.match(cacheStatusOf((await ask(live)).answer as Message), /; hit/);
    t.equal(await live.metric('qalgate_cache_fetches'), 0);
    t.equal(await live.metric('qalgate_cache_filling_bytes'), 0);
  });
}

for (const [what, step] of [
  ['says a longer body than it sends', send(`HTTP/1.1 200 OK\r\n${fresh}Content-Length: 10\r\n\r\nhalf`, 'end')],
  ['says a longer body than it sends, and waits', send(`HTTP/1.1 200 OK\r\n${fresh}Content-Length: 10\r\n\r\nhalf`)],
  ['is reset within its body', send(`HTTP/1.1 200 OK\r\n${fresh}Content-Length: 10\r\n\r\nhalf`, 'reset')],
  ['ends within its chunks', send(`HTTP/1.1 200 OK\r\n${fresh}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n`, 'end')],
  ['breaks its chunks', send(`HTTP/1.1 200 OK\r\n${fresh}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nxyz\r\n`)],
  [
    'breaks its trailers',
    send(`HTTP/1.1 200 OK\r\n${fresh}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n: x\r\n\r\n`),
  ],
] as const) {
  t.test(`[C11] an origin that ${what}: the client's answer is cut off visibly, nothing is stored`, async (t) => {
    const live = await openSteps(t, [step, whole]);
    const { answer, received } = await ask(live);
    t.equal(answer, undefined, received);
    t.equal((await ask(live)).answer?.body, 'whole');
    t.equal(await live.metric('qalgate_cache_not_stored_total', { reason: 'cut-off' }), 1);
    t.equal(await live.metric('qalgate_cache_filling_bytes'), 0);
  });
}

t.test('[C11] an origin that sends more than it says: what is over answers nobody', async (t) => {
  const live = await openSteps(t, [
    send(`${respond('abc', fresh)}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`),
    whole,
  ]);
  t.equal((await ask(live)).answer?.body, 'abc');
  t.equal((await ask(live, '/y')).answer?.body, 'whole');
  t.equal((await ask(live)).answer?.body, 'abc');
});

t.test('[C3] a 304 that speaks of another tag: asked once more for the whole, and never for ever', async (t) => {
  const live = await openSteps(t, [
    send(respond('one', 'Cache-Control: max-age=10\r\nETag: "1"\r\n')),
    send('HTTP/1.1 304 Not Modified\r\nETag: "2"\r\n\r\n'),
    send(respond('two', 'Cache-Control: max-age=10\r\nETag: "2"\r\n')),
    send('HTTP/1.1 304 Not Modified\r\nETag: "3"\r\n\r\n'),
  ]);
  await ask(live);
  live.time.nowMs += 20_000;
  t.equal((await ask(live)).answer?.body, 'two');
  t.equal(fieldOf(live.origin.requests[1] as Message, 'If-None-Match'), '"1"');
  t.equal(fieldOf(live.origin.requests[2] as Message, 'If-None-Match'), undefined);
  live.time.nowMs += 20_000;
  t.equal(statusOf((await ask(live)).answer as Message), 304, 'what the origin says to no condition goes on as it is');
  t.equal(live.origin.requests.length, 5);
});

t.test(
  '[A1] trailers that were not announced go on as without a cache, and keep the response from being stored',
  async (t) => {
    const answer = `HTTP/1.1 200 OK\r\n${fresh}Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\nConnection: x\r\nTransfer-Encoding: gzip\r\nContent-Length: 9\r\n\r\n`;
    const trailers: unknown[] = [];
    for (const cache of ['off', 'rfc9111'] as const) {
      const live = await openSteps(t, [send(answer)], { access: { cache } });
      const wire = await live.client();
      wire.send(request('/x', 'TE: trailers\r\n'));
      const got = await readResponse(wire);
      trailers.push(got.trailers);
      t.equal(got.body, 'body');
      await ask(live);
      t.equal(live.origin.requests.length, 2, cache);
      wire.socket.destroy();
    }
    t.strictSame(trailers[1], trailers[0]);
  },
);

t.test('[C14] what is over the limit goes through and is not stored, its length known or not', async (t) => {
  const body = 'x'.repeat(3_000_000);
  const chunks = body.match(/.{1,100000}/g) ?? [];
  const chunked = `${chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join('')}0\r\n\r\n`;
  for (const answer of [
    respond(body, fresh),
    `HTTP/1.1 200 OK\r\n${fresh}Transfer-Encoding: chunked\r\n\r\n${chunked}`,
  ]) {
    const live = await openSteps(t, [send(answer)], { options: { cache: { entryBytes: 1_000_000 } } });
    for (let i = 1; i <= 2; i += 1) {
      t.ok((await ask(live)).answer?.body === body);
      t.equal(live.origin.requests.length, i);
    }
    t.equal(await live.metric('qalgate_cache_not_stored_total', { reason: 'too-large' }), 2);
    t.equal(await live.metric('qalgate_cache_filling_bytes'), 0);
  }
});

t.test('[C14] the origin of an endless body waits for its only reader, however large the store is', async (t) => {
  const flood: { wire?: Wire; poured?: ReturnType<typeof pour> } = {};
  const live = await openLive(
    t,
    {
      onRequest(wire) {
        wire.send(
          `HTTP/1.1 200 OK\r\n${fresh}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n${(160_000_000).toString(16)}\r\n`,
        );
        flood.poured = pour(wire, 160_000_000);
      },
    },
    { options: { cache: { bytes: 100_000_000, entryBytes: 2_000_000 } } },
  );
  const client = await live.client();
  client.socket.pause();
  client.send(request('/x'));
  await live.origin.until('the flood', () => flood.poured !== undefined);
  const taken = await standstill(() => flood.poured?.taken() ?? 0);
  t.ok(taken < kernelBytes, `${taken} bytes were taken`);
  t.ok((await live.metric('qalgate_cache_filling_bytes')) <= 8_000_000);
  client.socket.destroy();
  await until('the end of the fetch', async () => (await live.metric('qalgate_cache_filling_bytes')) === 0);
  await live.origin.until('the end of its connection', () =>
    live.origin.connections.every(({ ended }) => ended !== 'no'),
  );
});

t.test('[C11] a client that stops reading a large hit is cut in time; nobody else is held up', async (t) => {
  const body = Buffer.alloc(64_000_000, 'x');
  const live = await openSteps(
    t,
    [
      (wire) => {
        wire.send(`HTTP/1.1 200 OK\r\n${fresh}Content-Length: ${body.length}\r\n\r\n`);
        wire.send(body);
      },
    ],
    {
      limits: { responseWriteTimeoutMs: 300 },
      timeouts: {},
      options: { cache: { bytes: 300_000_000, entryBytes: 70_000_000 } },
    },
  );
  const first = await live.client();
  const counted = countBytes(first);
  first.send(request('/x'));
  await counted.until(body.length);
  await until('it is stored', async () => (await live.metric('qalgate_cache_entries')) === 1);
  const stuck = await live.client();
  stuck.socket.pause();
  stuck.send(request('/x'));
  const other = await live.client();
  const otherCounted = countBytes(other);
  other.send(request('/x'));
  await otherCounted.until(body.length);
  await until('the stuck one is cut', async () => (await live.metric('qalgate_proxy_client_closed_total')) === 1);
  t.equal(live.origin.requests.length, 1);
  for (const wire of [first, stuck, other]) wire.socket.destroy();
});

t.test('[C14] an unsafe method while a fetch is under way: what it brings is not stored', async (t) => {
  for (const when of ['before the head', 'within the body'] as const) {
    const held: Wire[] = [];
    const live = await openLive(t, {
      onRequest(wire, message) {
        if (message.start.startsWith('POST')) wire.send(respond('done'));
        else if (held.length === 0) held.push(wire);
        else wire.send(respond('new', fresh));
      },
    });
    const head = `HTTP/1.1 200 OK\r\n${fresh}Content-Length: 3\r\n\r\n`;
    const early = await live.client();
    early.send(request('/x'));
    await live.origin.until('the request', () => held.length === 1);
    if (when === 'within the body') {
      held[0]?.send(`${head}o`);
      await early.until('a byte of it', () => early.received.endsWith('\r\n\r\no'));
    }
    const poster = await live.client();
    poster.send(request('/x', 'Content-Length: 0\r\n', 'POST'));
    await readResponse(poster);
    held[0]?.send(when === 'within the body' ? 'ld' : `${head}old`);
    t.equal((await readResponse(early)).body, 'old');
    t.equal((await ask(live)).answer?.body, 'new', when);
    t.equal(await live.metric('qalgate_cache_not_stored_total', { reason: 'outdated' }), 1);
    early.socket.destroy();
    poster.socket.destroy();
  }
});

t.test('[C14] a purge or a lost bus while a body arrives', async (t) => {
  for (const how of ['purge', 'distrust'] as const) {
    const held: Wire[] = [];
    const live = await openLive(t, {
      onRequest(wire) {
        if (held.length === 0) held.push(wire);
        else wire.send(respond('new', fresh));
      },
    });
    const early = await live.client();
    early.send(request('/x'));
    await live.origin.until('the request', () => held.length === 1);
    held[0]?.send(`HTTP/1.1 200 OK\r\n${fresh}Content-Length: 3\r\n\r\no`);
    await early.until('a byte of it', () => early.received.endsWith('\r\n\r\no'));
    if (how === 'purge')
      live.access.proxy.purge({ by: 'url', sdkAppId: 1_400_000_000 as never, url: 'http://cache.test/x' });
    else live.access.cache.distrust();
    live.time.nowMs += 10;
    held[0]?.send('ld');
    t.equal((await readResponse(early)).body, 'old');
    t.equal((await ask(live)).answer?.body, 'new', how);
    early.socket.destroy();
  }
});

t.test('[C1] HEAD is answered from a stored GET, and stores nothing itself', async (t) => {
  const live = await openLive(t, {
    onRequest(wire, message) {
      const bytes = respond('whole', fresh);
      wire.send(message.start.startsWith('HEAD') ? bytes.slice(0, -5) : bytes);
    },
  });
  const wire = await live.client();
  let skip = 0;
  const head = async (): Promise<Message> => {
    wire.send(request('/x', '', 'HEAD'));
    const answer = await readResponse(wire, { skip, noBody: true });
    skip += answer.raw.length;
    return answer;
  };
  await head();
  t.equal((await ask(live)).answer?.body, 'whole');
  t.equal(live.origin.requests.length, 2);
  const hit = await head();
  t.match(cacheStatusOf(hit), /; hit/);
  t.equal(fieldOf(hit, 'Content-Length'), '5');
  t.equal(live.origin.requests.length, 2);
  t.equal(wire.received.length, skip, 'no body came with it');
  wire.socket.destroy();
});

t.test('[C11] origin timeouts hold for those who wait for another one’s request', async (t) => {
  const live = await openSteps(t, [() => {}], { timeouts: { headMs: 200 } });
  const answers = await Promise.all(Array.from({ length: 5 }, () => ask(live)));
  t.ok(answers.every(({ answer }) => answer !== undefined && statusOf(answer) === 504));
  const limited = await openSteps(t, [() => {}], { timeouts: { headMs: 5_000, totalMs: 200 } });
  const late = await Promise.all(Array.from({ length: 3 }, () => ask(limited)));
  t.ok(late.every(({ answer }) => answer !== undefined && statusOf(answer) === 504));
});
