import t, { type Test } from 'tap';
import type { AccountId, TerminalId } from '../../src/wire/index.ts';
import { testApp, testRoute } from '../support/access.ts';
import { allAnswered, answersOf, cacheStatusOf, type Live, openLive, request, until } from '../support/cache/live.ts';
import { freePort } from '../support/free-port.ts';
import { fieldOf, type Message, respond, statusOf, type Wire } from '../support/wire.ts';

/** Any number of clients and one request to the backend, on real sockets (C11). */

const fresh = 'Cache-Control: max-age=60\r\n';
const crowd = 1_000;

/** An origin that answers when it is told to. */
function createHolding() {
  const held: { wire: Wire; message: Message }[] = [];
  return {
    held,
    script: { onRequest: (wire: Wire, message: Message) => void held.push({ wire, message }) },
    /** Answers all that are held. */
    answer(bytes: string) {
      for (const { wire } of held.splice(0)) wire.send(bytes);
    },
  };
}

const misses = (live: Live): Promise<number> => live.metric('qalgate_cache_misses_total');

/** Sends the request on each connection and waits until the cache has them all. */
async function askAll(live: Live, wires: readonly Wire[], target: string, fields: (i: number) => string = () => '') {
  const before = await misses(live);
  for (const [i, wire] of wires.entries()) wire.send(request(target, fields(i)));
  await until('all requests to wait', async () => (await misses(live)) === before + wires.length);
}

function assertAll(t: Test, answers: readonly Message[], count: number, body: string): void {
  t.equal(answers.length, count);
  t.ok(
    answers.every((answer) => answer.body === body && statusOf(answer) === 200),
    `all got ${body}`,
  );
}

t.test('[C11] 1,000 clients on a missing key, on one that a 304 confirms, and on a stale one', async (t) => {
  const origin = createHolding();
  const live = await openLive(t, origin.script);
  const wires = await live.clients(crowd);

  await askAll(live, wires, '/x');
  await live.origin.until('the request', () => origin.held.length > 0);
  origin.answer(respond('first', 'Cache-Control: max-age=10, stale-while-revalidate=20\r\nETag: "1"\r\n'));
  assertAll(t, await allAnswered(wires), crowd, 'first');
  t.equal(live.origin.requests.length, 1, 'one request for the missing key');

  live.time.nowMs += 40_000;
  await askAll(live, wires, '/x');
  await live.origin.until('the request', () => origin.held.length > 0);
  t.equal(fieldOf(live.origin.requests[1] as Message, 'If-None-Match'), '"1"');
  origin.answer('HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n');
  assertAll(t, await allAnswered(wires, 2), crowd, 'first');
  t.equal(live.origin.requests.length, 2, 'one request to confirm it');

  live.time.nowMs += 15_000;
  for (const wire of wires) wire.send(request('/x'));
  assertAll(t, await allAnswered(wires, 3), crowd, 'first');
  await live.origin.until('the refresh', () => origin.held.length > 0);
  t.equal(origin.held.length, 1, 'all were answered while one refresh is unanswered');
  origin.answer(respond('second', fresh));
  await until('the new one', async () => (await live.metric('qalgate_cache_refreshes_total')) === 1);
  t.equal((await live.get('/x')).body, 'second');
  t.equal(live.origin.requests.length, 3, 'one refresh');
});

t.test('[C11] followers wait for the head only: all get the first half of a body that stops', async (t) => {
  const origin = createHolding();
  const live = await openLive(t, origin.script);
  const wires = await live.clients(50);
  await askAll(live, wires, '/x');
  await live.origin.until('the request', () => origin.held.length > 0);
  origin.held[0]?.wire.send(`HTTP/1.1 200 OK\r\n${fresh}Content-Length: 10\r\n\r\nhalf `);
  await Promise.all(wires.map((wire) => wire.until('half of it', () => wire.received.endsWith('half '))));
  // Who comes now gets it, too.
  const late = await live.client();
  late.send(request('/x'));
  await late.until('half of it', () => late.received.endsWith('half '));
  t.equal(live.origin.requests.length, 1);
  origin.held[0]?.wire.send('whole');
  assertAll(t, await allAnswered([...wires, late]), 51, 'half whole');
  late.socket.destroy();
});

t.test('[C11] a leader that does not read holds up neither followers nor the store', async (t) => {
  const body = 'x'.repeat(6_000_000);
  const origin = createHolding();
  const live = await openLive(t, origin.script, { options: { cache: { entryBytes: 8_000_000 } } });
  const [leader, ...followers] = await live.clients(4);
  leader?.socket.pause();
  leader?.send(request('/x'));
  await live.origin.until('the request', () => origin.held.length > 0);
  await askAll(live, followers, '/x');
  origin.answer(respond(body, fresh));
  assertAll(t, await allAnswered(followers), 3, body);
  const hit = await live.get('/x');
  t.match(cacheStatusOf(hit), /; hit/);
  t.ok((leader?.receivedBytes ?? 0) < body.length, 'the leader has not read');
  leader?.socket.resume();
  assertAll(t, await allAnswered(leader === undefined ? [] : [leader]), 1, body);
});

t.test('[C11] the leader leaves, before the head or within the body: everybody else gets everything', async (t) => {
  for (const when of ['before the head', 'within the body'] as const) {
    const origin = createHolding();
    const live = await openLive(t, origin.script);
    const [leader, ...followers] = await live.clients(5);
    leader?.send(request('/x'));
    await live.origin.until('the request', () => origin.held.length > 0);
    await askAll(live, followers, '/x');
    const wire = origin.held[0]?.wire;
    const head = `HTTP/1.1 200 OK\r\n${fresh}Transfer-Encoding: chunked\r\n\r\n5\r\nhalf \r\n`;
    if (when === 'within the body') {
      wire?.send(head);
      await leader?.until('half of it', () => leader.received.includes('half '));
    }
    leader?.socket.destroy();
    await until('its end', async () => (await live.metric('qalgate_proxy_client_closed_total')) === 1);
    if (when === 'before the head') wire?.send(head);
    wire?.send('5\r\nwhole\r\n0\r\n\r\n');
    assertAll(t, await allAnswered(followers), 4, 'half whole');
    t.equal((await live.get('/x')).body, 'half whole', when);
    t.equal(live.origin.requests.length, 1);
  }
});

t.test('[C11] everybody leaves: the fetch goes on, and a newcomer joins it', async (t) => {
  const origin = createHolding();
  const live = await openLive(t, origin.script);
  const [leader] = await live.clients(1);
  leader?.send(request('/x'));
  await live.origin.until('the request', () => origin.held.length > 0);
  leader?.socket.destroy();
  await until('its end', async () => (await live.metric('qalgate_proxy_client_closed_total')) === 1);
  const newcomers = await live.clients(2);
  await askAll(live, newcomers, '/x');
  origin.answer(respond('body', fresh));
  assertAll(t, await allAnswered(newcomers), 2, 'body');
  t.equal(live.origin.requests.length, 1);
});

for (const [what, fields, ask] of [
  ['private', 'Cache-Control: private, max-age=60\r\n', () => ''],
  ['no-store', 'Cache-Control: no-store\r\n', () => ''],
  ['Set-Cookie', `${fresh}Set-Cookie: a=b\r\n`, () => ''],
  ['Vary', `${fresh}Vary: X-Who\r\n`, (i: number) => `X-Who: ${i}\r\n`],
  ['sessions', fresh, undefined],
] as const) {
  t.test(`[C11, C12] ${what}: followers go upstream all at once, and for 60 s nobody waits`, async (t) => {
    const origin = createHolding();
    const live = await openLive(t, origin.script);
    const session = (i: number): string =>
      `QAL-Session: ${live.access.session({ terminalId: 'tarqqnwfrcda' as TerminalId, account: `a${i}` as AccountId })}\r\n`;
    const fieldsOf = ask ?? session;
    const wires = await live.clients(100);
    await askAll(live, wires, '/x', fieldsOf);
    await live.origin.until('the first request', () => origin.held.length === 1);
    origin.answer(respond('first', fields));
    await live.origin.until('all others, while none of them is answered', () => origin.held.length === 99);
    origin.answer(respond('other', fields));
    const answers = await allAnswered(wires);
    t.strictSame(answers.map(({ body }) => body).sort(), ['first', ...Array.from({ length: 99 }, () => 'other')]);

    live.time.nowMs += 59_000;
    const others = await live.clients(20);
    await askAll(live, others, '/x', (i) => fieldsOf(200 + i));
    await live.origin.until('all that come later', () => origin.held.length === 20);
    origin.answer(respond('later', fields));
    await allAnswered(others);

    live.time.nowMs += 61_000;
    await askAll(live, others, '/x', (i) => fieldsOf(300 + i));
    await live.origin.until('the first request', () => origin.held.length > 0);
    t.equal(origin.held.length, 1, 'after 60 s they wait again');
  });
}

t.test('[C11, C12] sessions on one key share one request where the response or the route says so', async (t) => {
  for (const how of ['public', 'route'] as const) {
    const origin = createHolding();
    const live = await openLive(t, origin.script, { route: { cacheScope: how === 'route' ? 'shared' : 'standard' } });
    const wires = await live.clients(50);
    await askAll(
      live,
      wires,
      '/x',
      (i) => `QAL-Session: ${live.access.session({ account: `a${i}` as AccountId })}\r\n`,
    );
    await live.origin.until('the request', () => origin.held.length > 0);
    origin.answer(respond('for all', how === 'public' ? 'Cache-Control: public, max-age=60\r\n' : fresh));
    assertAll(t, await allAnswered(wires), 50, 'for all');
    t.equal(live.origin.requests.length, 1);
  }
});

t.test(
  '[C11] a leader that fails fails nobody who may have what is stale, nor those who ask for themselves',
  async (t) => {
    const closed = await freePort();
    const failures: Record<string, (wire: Wire) => void> = {
      reset: (wire) => void wire.socket.resetAndDestroy(),
      end: (wire) => void wire.socket.end(),
      'no head in time': () => {},
      'no HTTP': (wire) => wire.send('hello\r\n'),
      '500': (wire) => wire.send(respond('no', '', '500 Oops')),
      'nobody there': () => {},
    };
    for (const [how, fail] of Object.entries(failures)) {
      let failing = false;
      const live = await openLive(
        t,
        {
          onRequest(wire) {
            if (failing) fail(wire);
            else wire.send(respond('old', 'Cache-Control: max-age=10, stale-if-error=1000\r\nConnection: close\r\n'));
          },
        },
        { timeouts: { headMs: 200 } },
      );
      await live.get('/x');
      failing = true;
      live.time.nowMs += 20_000;
      if (how === 'nobody there') {
        const upstream = [`http://127.0.0.1:${closed}`];
        const { routes: _, ...access } = testApp(upstream).access;
        // The same route by its prefix and host, with another origin: what is stored stays.
        live.access.setApps([testApp(upstream, { ...access, cache: 'rfc9111', routes: [testRoute(upstream)] })]);
      }
      const wires = await live.clients(20);
      for (const wire of wires) wire.send(request('/x'));
      assertAll(t, await allAnswered(wires), 20, 'old');
      const strict = await live.clients(3);
      for (const wire of strict) wire.send(request('/x', 'Cache-Control: no-cache\r\n'));
      const answers = await allAnswered(strict);
      t.ok(
        answers.length === 3 && answers.every((answer) => statusOf(answer) >= 500),
        `${how}: who may not have it gets the error`,
      );
    }
  },
);

t.test('[C11] a body that is cut off is cut off for every reader; the next one asks anew', async (t) => {
  let count = 0;
  const origin = createHolding();
  const live = await openLive(t, {
    onRequest(wire, message) {
      count += 1;
      if (count === 1) origin.script.onRequest(wire, message);
      else wire.send(respond('whole', fresh));
    },
  });
  const wires = await live.clients(10);
  await askAll(live, wires, '/x');
  await live.origin.until('the request', () => origin.held.length > 0);
  origin.held[0]?.wire.send(`HTTP/1.1 200 OK\r\n${fresh}Content-Length: 10\r\n\r\nhalf `);
  await Promise.all(wires.map((wire) => wire.until('half of it', () => wire.received.endsWith('half '))));
  origin.held[0]?.wire.socket.destroy();
  for (const wire of wires) t.equal(await wire.end(), 'reset');
  t.ok(wires.every((wire) => answersOf(wire).length === 0));
  t.equal((await live.get('/x')).body, 'whole');
});

t.test('[C11] own conditions of followers are answered from what came', async (t) => {
  const origin = createHolding();
  const live = await openLive(t, origin.script);
  const wires = await live.clients(30);
  const conditions = ['', 'If-None-Match: "1"\r\n', 'If-None-Match: "0"\r\n'];
  wires[0]?.send(request('/x'));
  await live.origin.until('the request', () => origin.held.length > 0);
  await askAll(live, wires.slice(1), '/x', (i) => conditions[(i + 1) % 3] ?? '');
  origin.answer(respond('body', `${fresh}ETag: "1"\r\n`));
  const answers = await allAnswered(wires);
  t.strictSame(
    answers.map((answer) => [statusOf(answer), answer.body]),
    answers.map((_, i) => (i % 3 === 1 ? [304, ''] : [200, 'body'])),
  );
  t.equal(live.origin.requests.length, 1);
});
