import { createSecureServer, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import { createServer, type Server } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { ConnectPace } from '../../src/push/apns/connect-pace.ts';
import type { Attempt } from '../../src/push/apns/exchange.ts';
import { createProviderTokens } from '../../src/push/apns/index.ts';
import { apnsReasons } from '../../src/push/apns/reasons.ts';
import type { ApnsSenderOptions } from '../../src/push/apns/sender.ts';
import { Waiting } from '../../src/push/apns/waiting.ts';
import type { Outcome, Sendable } from '../../src/push/index.ts';
import type { ApnsSandbox, ApnsSandboxOptions } from '../../src/push/sandbox/apns.ts';
import { type ApnsFault, apnsFaultWords, parseApnsFault } from '../../src/push/sandbox/apns-faults.ts';
import { type ApnsRequest, checkRequest } from '../../src/push/sandbox/apns-rules.ts';
import { listen, urlOf } from '../../src/push/sandbox/listener.ts';
import { type ApnsSettings, createSealer } from '../../src/store/index.ts';
import { deliver, deviceToken, makeApnsSender, openApns, pushTo, topic, writeCa } from '../support/apns.ts';
import { createCertificate } from '../support/certificates.ts';
import { openTestDatabase, until } from '../support/database.ts';
import { metricOf } from '../support/metrics.ts';
import { openTcpNetwork } from '../support/tcp-network.ts';

t.setTimeout(240_000);

const { db, logger, metrics: dbMetrics } = await openTestDatabase(t);
const sealer = createSealer([Buffer.alloc(32, 7)]);

/** The service, with faults by device, and a client of it. */
async function start(
  t: Test,
  options: Partial<ApnsSandboxOptions> = {},
  senderOptions: ApnsSenderOptions & { settings?: Partial<ApnsSettings>; clock?: () => number } = {},
) {
  const faults = new Map<string, ApnsFault>();
  const apns = await openApns(t, { fault: ({ token }) => faults.get(token), ...options });
  const { clock = Date.now } = senderOptions;
  const tokens = createProviderTokens({ db, sealer, clock, logger, metrics: dbMetrics });
  const made = await makeApnsSender(t, apns, { tokens, clock }, senderOptions);
  return { apns, faults, tokens, ...made, count: counterOf(made.metrics) };
}

/** The same with a way between the two that can be cut. */
async function startBehind(t: Test) {
  const apns = await openApns(t);
  const network = await openTcpNetwork(t, { host: '127.0.0.1', port: apns.port });
  const there = { url: urlOf('127.0.0.1', network.port), credentials: apns.credentials };
  const tokens = createProviderTokens({ db, sealer, clock: Date.now, logger, metrics: dbMetrics });
  const made = await makeApnsSender(t, there, { tokens });
  return { apns, network, ...made, count: counterOf(made.metrics) };
}

/** Something that listens, ended behind the test. */
async function open(t: Test, server: Server): Promise<string> {
  const host = '127.0.0.1';
  const { address, close } = await listen(server, { host, port: 0 });
  t.teardown(close);
  return urlOf(host, address.port);
}

/** A client of a service that does with each stream what it is told, and is not as good as Apple's. */
async function startStrange(
  t: Test,
  onStream: (stream: ServerHttp2Stream) => void,
  { streams = 100, ...options }: ApnsSenderOptions & { streams?: number } = {},
) {
  const { cert, key } = createCertificate('strange');
  const sessions: ServerHttp2Session[] = [];
  const server = createSecureServer({ cert, key, settings: { maxConcurrentStreams: streams } });
  server.on('session', (session) => void sessions.push(session));
  server.on('stream', (stream: ServerHttp2Stream) => onStream(stream.on('error', () => {})));
  const settings = { endpoint: await open(t, server), caFile: await writeCa(t, cert) };
  return { sessions, ...(await start(t, {}, { ...options, settings })) };
}

function counterOf(metrics: Parameters<typeof metricOf>[0]) {
  return (name: string, labels: Record<string, string> = {}) => metricOf(metrics, `qalgate_push_apns_${name}`, labels);
}

const pushes = (count: number, from = 1): Sendable[] =>
  Array.from({ length: count }, (_, i) => pushTo(deviceToken(from + i)));

/** How often each device shows its push. */
const timesShown = (apns: ApnsSandbox, sent: readonly Sendable[]): number[] =>
  sent.map(({ token }) => apns.shown(token).reduce((sum, { times }) => sum + times, 0));

const retry = (reason: string, more: Partial<Extract<Outcome, { kind: 'retry' }>> = {}) => ({
  kind: 'retry',
  reason,
  isSure: true,
  ...more,
});

t.test('[S1] a push arrives as it was given, and its name comes back', async (t) => {
  const { apns, sender } = await start(t);
  const push = pushTo('ab'.repeat(40));
  t.equal(sender.room(), 1, 'the first one gets a connection made');
  const outcome = await sender.send(push);
  t.same(outcome, { kind: 'ok', id: push.headers['apns-id']?.toUpperCase(), status: 200 });
  const [arrival] = apns.arrivals;
  t.equal(arrival?.path, `/3/device/${'ab'.repeat(40)}`, 'a token of any length');
  t.match(arrival?.headers, push.headers);
  t.match(arrival?.headers.authorization, /^bearer [\w-]+\.[\w-]+\.[\w-]+$/);
  t.equal(arrival?.body, push.body);
  t.match(sender.figures(), { connections: 1, trouble: undefined });
});

t.test(
  '[S7] each answer in words over the wire: what was sent again, and what becomes of the connection',
  async (t) => {
    const { apns, faults, sender, count } = await start(t, {}, { settings: { connections: 4 } });
    const kinds: Record<string, number> = {};
    let device = 0;
    for (const reason of Object.keys(apnsReasons) as (keyof typeof apnsReasons)[]) {
      // Of the sandbox's own tests.
      if (reason === 'ExpiredProviderToken') continue;
      device += 1;
      const push = pushTo(deviceToken(device));
      faults.set(push.token, { word: reason, timestampMs: 1_700_000_000_000 });
      const outcome = await sender.send(push);
      t.match(outcome, { reason, status: apnsReasons[reason] }, reason);
      kinds[outcome.kind] = (kinds[outcome.kind] ?? 0) + 1;
      if (outcome.kind === 'gone' && outcome.isSure) t.equal(outcome.sinceMs, 1_700_000_000_000);
      t.equal(apns.arrivals.filter(({ token }) => token === push.token).length, 1, 'once');
      t.same(apns.shown(push.token), []);
      t.equal(await count('answers_total', { reason }), 1);
      const [others] = await deliver(sender, [pushTo(deviceToken(1_000 + device))]);
      t.equal(others?.at(-1)?.kind, 'ok', 'others get through');
    }
    t.same(kinds, { gone: 4, bad: 14, halt: 6, retry: 6 });
    t.equal(sender.figures().trouble, undefined);
  },
);

t.test('[S7] a service that asks for time gets it from all that wait', async (t) => {
  const { apns, faults, sender } = await start(t);
  const all = pushes(20);
  faults.set(all[0]?.token ?? '', { word: 'ServiceUnavailable', amount: 40 });
  const outcomes = await Promise.all(all.map((push) => sender.send(push)));
  for (const outcome of outcomes) {
    t.match(outcome, retry('ServiceUnavailable', { scope: 'channel', afterMs: 40_000 }));
  }
  t.equal(apns.received, 1, 'the others were not even sent');
});

t.test('[S7] a page instead of an answer decides nothing, whatever its status', async (t) => {
  const { faults, sender } = await start(t);
  await sender.send(pushTo(deviceToken(1)));
  for (const [status, isSure] of [
    [502, false],
    [504, false],
    [410, true],
    [403, true],
  ] as const) {
    faults.set(deviceToken(2), { word: 'html', amount: status });
    t.match(await sender.send(pushTo(deviceToken(2))), retry(`http-${status}`, { isSure, status }));
  }
  t.equal(sender.figures().connections, 1);
});

t.test(
  '[S7] a page that asks for time: of the push that it answers nothing is certain, of those that wait all',
  async (t) => {
    const { sender, count } = await startStrange(t, (stream) =>
      stream.respond({ ':status': 502, 'retry-after': '40' }, { endStream: true }),
    );
    const [first, ...others] = await Promise.all(pushes(3).map((push) => sender.send(push)));
    t.match(first, retry('http-502', { isSure: false, scope: 'channel', afterMs: 40_000 }));
    for (const other of others) t.match(other, retry('http-502', { isSure: true, scope: 'channel', afterMs: 40_000 }));
    t.equal(await count('answers_total', { reason: 'other' }), 1);
  },
);

t.test('slow answers are waited for, on a connection that says that it is alive', async (t) => {
  const { apns, faults, sender } = await start(t, {}, { timing: { quietMs: 100, tickMs: 20 } });
  await sender.send(pushTo(deviceToken(1)));
  faults.set(deviceToken(2), { word: 'slow', amount: 1_500 });
  t.match(await sender.send(pushTo(deviceToken(2))), { kind: 'ok' });
  t.equal(apns.opened, 1);
});

t.test('[S7] no answer: uncertain, and the connection stays if it is alive', async (t) => {
  const { apns, faults, sender } = await start(t, {}, { timing: { requestMs: 1_500, tickMs: 20 } });
  await deliver(sender, pushes(3));
  faults.set(deviceToken(9), { word: 'silent' });
  const startedMs = performance.now();
  const outcome = await Promise.race([sender.send(pushTo(deviceToken(9))), delay(8_000).then(() => 'much too late')]);
  t.ok(performance.now() - startedMs >= 1_450, 'not before its time');
  t.match(outcome, retry('timeout', { isSure: false, scope: 'push', status: undefined }));
  t.match(await sender.send(pushTo(deviceToken(10))), { kind: 'ok' });
  t.equal(apns.opened, 1);
  await until(() => sender.figures().inFlight === 0);
});

t.test(
  '[S7] GOAWAY with 200 in flight: what is below its last id is answered, what is above is sent again, all once',
  async (t) => {
    const { apns, sender, count, logged } = await start(t);
    await deliver(sender, pushes(300, 1_000));
    const all = pushes(200);
    apns.hold();
    const sent = Promise.all(all.map((push) => sender.send(push)));
    await until(() => apns.inFlight === 200);
    apns.goaway(80, { reason: 'Shutdown' });
    await until(async () => (await count('resent_total', { reason: 'goaway' })) === 120);
    apns.letGo();
    for (const outcome of await sent) t.equal(outcome.kind, 'ok');
    t.same(new Set(timesShown(apns, all)), new Set([1]), 'nothing lost, nothing doubled');
    const arrived = apns.arrivals.filter(({ token }) => all.some((push) => push.token === token));
    t.equal(arrived.filter(({ connection }) => connection === 1).length, 80);
    t.equal(arrived.filter(({ connection }) => connection === 2).length, 120);
    t.equal(apns.opened, 2);
    await until(async () => (await count('connections_ended_total', { reason: 'goaway' })) === 1);
    t.match(
      logged.find(({ event }) => event === 'push.apns.goaway'),
      { reason: 'Shutdown', environment: 'production' },
    );
    t.equal(apns.violations, 0);
  },
);

t.test(
  'the service of the tests looks at nothing above the last id that it has said, though it has read it',
  async (t) => {
    const { apns, sender } = await start(t);
    await deliver(sender, pushes(300, 1_000));
    const all = pushes(50);
    apns.hold();
    const sent = Promise.all(all.map((push) => sender.send(push)));
    await until(() => apns.inFlight === 50);
    apns.goaway(20);
    apns.letGo();
    for (const { kind } of await sent) t.equal(kind, 'ok');
    t.same(new Set(timesShown(apns, all)), new Set([1]));
  },
);

t.test('[S7] GOAWAY of an unfriendly end: what is below is uncertain, what is above is sent again', async (t) => {
  const { apns, sender } = await start(t);
  await deliver(sender, pushes(300, 1_000));
  const all = pushes(200);
  apns.hold();
  const sent = Promise.all(all.map((push) => sender.send(push)));
  await until(() => apns.inFlight === 200);
  apns.goaway(80, { code: 2 });
  apns.letGo();
  const outcomes = await sent;
  const lost = outcomes.filter(({ kind }) => kind === 'retry');
  for (const outcome of lost) t.match(outcome, retry('goaway', { isSure: false }));
  t.equal(lost.length, 80);
  t.equal(outcomes.filter(({ kind }) => kind === 'ok').length, 120);
  const again = all.filter((_, i) => outcomes[i]?.kind === 'retry');
  await deliver(sender, again);
  for (const times of timesShown(apns, all)) t.ok(times === 1 || times === 2);
  for (const { token } of all) t.equal(apns.shown(token).length, 1, 'a double replaces the first');
});

t.test('GOAWAY of everything, again and again while there is work: all get through once', async (t) => {
  const { apns, sender } = await start(t, { latencyMs: 5 }, { settings: { connections: 2 } });
  const all = pushes(1_500);
  const sent = deliver(sender, all);
  for (const part of [200, 600, 1_000]) {
    await until(() => apns.taken >= part);
    apns.goaway(part === 600 ? 0 : 3);
  }
  for (const outcomes of await sent) t.equal(outcomes.at(-1)?.kind, 'ok');
  t.same(new Set(timesShown(apns, all)), new Set([1]));
  t.equal(apns.violations, 0);
});

t.test('[S7] refused streams are sent again at once; when there is no end to it, the queue has to wait', async (t) => {
  const { apns, sender, count } = await start(t, {
    fault: ({ token }) =>
      (token === deviceToken(2) && apns.arrivals.every((arrival) => arrival.token !== token)) ||
      token === deviceToken(3)
        ? { word: 'refused' }
        : undefined,
  });
  t.match(await sender.send(pushTo(deviceToken(2))), { kind: 'ok' });
  t.same(
    apns.arrivals.map(({ answered }) => answered),
    ['refused', 'ok'],
  );
  t.match(await sender.send(pushTo(deviceToken(3))), retry('refused', { isSure: true, scope: 'push', afterMs: 1_000 }));
  t.equal(apns.received, 6, 'one and three again');
  t.equal(await count('resent_total', { reason: 'refused' }), 4);
  t.equal(apns.opened, 1);
});

t.test('a service that refuses more than it says gets no more than it takes', async (t) => {
  const { apns, sender } = await start(t, {
    latencyMs: 20,
    fault: () => (apns.inFlight > 20 && apns.received > 300 ? { word: 'refused' } : undefined),
  });
  await deliver(sender, pushes(300, 1_000));
  await sender.send(pushTo(deviceToken(2_000)));
  const outcomes = await Promise.all(pushes(200).map((push) => sender.send(push)));
  const refused = outcomes.filter(({ kind }) => kind !== 'ok');
  t.ok(refused.length < 60, `${refused.length} were refused four times`);
  t.equal(apns.opened, 1);
});

t.test('[S7] a stream that the service breaks off is uncertain, the others go on', async (t) => {
  const { apns, faults, sender } = await start(t);
  faults.set(deviceToken(2), { word: 'broken' });
  t.match(await sender.send(pushTo(deviceToken(1))), { kind: 'ok' });
  t.match(await sender.send(pushTo(deviceToken(2))), retry('lost', { isSure: false }));
  t.match(await sender.send(pushTo(deviceToken(3))), { kind: 'ok' });
  t.equal(apns.opened, 1);
});

t.test(
  '[S7] a reset connection: all in flight is uncertain; sent again, what shows twice replaces itself',
  async (t) => {
    const { apns, faults, sender, count } = await start(t);
    await deliver(sender, pushes(100, 1_000));
    const all = pushes(50);
    apns.hold();
    const sent = Promise.all(all.map((push) => sender.send(push)));
    await until(() => apns.inFlight === 50);
    // The first ten are taken, the eleventh takes the connection along.
    faults.set(all[10]?.token ?? '', { word: 'lost' });
    apns.letGo();
    const outcomes = await sent;
    const lost = all.filter((_, i) => outcomes[i]?.kind === 'retry');
    for (const outcome of outcomes) if (outcome.kind === 'retry') t.match(outcome, retry('lost', { isSure: false }));
    t.ok(lost.length >= 40);
    faults.clear();
    for (const again of await deliver(sender, lost)) t.equal(again.at(-1)?.kind, 'ok');
    for (const { token } of all) t.equal(apns.shown(token).length, 1, 'one on the screen');
    t.equal(apns.shown(all[10]?.token ?? '')[0]?.times, 2);
    t.equal(await count('connections_ended_total', { reason: 'lost' }), 1);
  },
);

t.test('[S7] a connection that died in silence is found by its silence, and nothing is lost', async (t) => {
  const { apns, sender, count } = await start(
    t,
    { canSilence: true },
    { timing: { quietMs: 300, pingMs: 700, tickMs: 20 } },
  );
  await deliver(sender, pushes(100, 1_000));
  const all = pushes(100);
  apns.hold();
  const first = Promise.all(all.slice(0, 50).map((push) => sender.send(push)));
  await until(() => apns.inFlight === 50);
  t.equal(apns.silence(), 1);
  apns.letGo();
  const rest = deliver(sender, all.slice(50));
  // At their own deadline it would be `timeout`.
  for (const outcome of await first) t.match(outcome, retry('lost', { isSure: false }));
  for (const again of await deliver(sender, all.slice(0, 50))) t.equal(again.at(-1)?.kind, 'ok');
  for (const again of await rest) t.equal(again.at(-1)?.kind, 'ok');
  for (const { token } of all) t.equal(apns.shown(token).length, 1);
  t.equal(await count('connections_ended_total', { reason: 'dead' }), 1);
  t.equal(apns.opened, 2);
});

t.test('a connection that dies while nothing is sent is found by a ping, before a push is lost on it', async (t) => {
  const { apns, sender, count } = await start(
    t,
    { canSilence: true },
    { timing: { idleMs: 200, pingMs: 700, tickMs: 20 } },
  );
  await sender.send(pushTo(deviceToken(1)));
  // Longer than that: a living one is kept.
  await delay(1_300);
  t.equal(sender.figures().connections, 1);
  apns.silence();
  await until(() => sender.figures().connections === 0);
  t.equal(await count('connections_ended_total', { reason: 'dead' }), 1);
  t.match(await sender.send(pushTo(deviceToken(2))), { kind: 'ok' });
});

t.test('a process that stands still itself takes no connection for dead', async (t) => {
  const { apns, sender, count } = await start(t, {}, { timing: { idleMs: 30, pingMs: 200, tickMs: 20 } });
  await sender.send(pushTo(deviceToken(1)));
  for (let i = 0; i < 10; i += 1) {
    await delay(25);
    const until = performance.now() + 250;
    while (performance.now() < until);
  }
  t.equal(await count('connections_ended_total'), 0);
  t.match(await sender.send(pushTo(deviceToken(2))), { kind: 'ok' });
  t.equal(apns.opened, 1);
});

t.test('one stream until the first good answer, whatever is allowed; then twice as many each time', async (t) => {
  const { apns, sender } = await start(t, { startsWithOne: false });
  apns.hold();
  const sent = Promise.all(pushes(40).map((push) => sender.send(push)));
  for (const atOnce of [1, 2, 4, 8]) {
    await until(() => apns.inFlight === atOnce);
    await delay(50);
    t.equal(apns.inFlight, atOnce);
    apns.letGo();
    apns.hold();
  }
  apns.letGo();
  for (const { kind } of await sent) t.equal(kind, 'ok');
  t.equal(apns.violations, 0);
});

t.test('answers that are no good ones open no more streams', async (t) => {
  const { apns, faults, sender } = await start(t, { startsWithOne: false });
  const all = pushes(10);
  for (const { token } of all) faults.set(token, { word: 'BadDeviceToken' });
  for (const { kind } of await Promise.all(all.map((push) => sender.send(push)))) t.equal(kind, 'gone');
  t.equal(apns.mostInFlight, 1);
  // After a good one, errors of the service do not either.
  t.match(await sender.send(pushTo(deviceToken(20))), { kind: 'ok' });
  for (const { token } of all) faults.set(token, { word: 'InternalServerError' });
  for (const { kind } of await Promise.all(all.map((push) => sender.send(push)))) t.equal(kind, 'retry');
  t.equal(apns.mostInFlight, 2);
});

t.test('every SETTINGS is obeyed: 500 streams, then 1, then 500, then 1', async (t) => {
  const { apns, sender } = await start(t);
  await deliver(sender, pushes(300, 1_000));
  for (const limit of [500, 1, 500, 1]) {
    apns.limitStreams(limit);
    const expected = limit === 1 ? 1 : 100;
    // It is heard of with the next answer at the latest.
    await sender.send(pushTo(deviceToken(2_000)));
    apns.hold();
    const sent = Promise.all(pushes(100).map((push) => sender.send(push)));
    await until(() => apns.inFlight === expected);
    await delay(50);
    t.equal(apns.inFlight, expected);
    apns.letGo();
    for (const { kind } of await sent) t.equal(kind, 'ok');
  }
  t.equal(apns.violations, 0);
  t.equal(apns.opened, 1);
});

t.test(
  'SETTINGS that leave no stream hold everything up until there are others; what waits too long was not sent',
  async (t) => {
    const { apns, sender } = await start(t, {}, { timing: { requestMs: 1_500, tickMs: 20 } });
    await deliver(sender, pushes(1));
    apns.limitStreams(0);
    await until(() => sender.room() === 1);
    const received = apns.received;
    t.match(await sender.send(pushTo(deviceToken(2))), retry('no-room', { isSure: true, scope: 'push' }));
    t.equal(apns.received, received);
    const later = sender.send(pushTo(deviceToken(3)));
    apns.limitStreams(10);
    t.match(await later, { kind: 'ok' });
  },
);

t.test('10,000 at once go through the gate, over two connections; more are refused', async (t) => {
  const { apns, sender, count } = await start(t, {}, { settings: { connections: 2 }, timing: { requestMs: 60_000 } });
  const all = pushes(10_000);
  const sent = Promise.all(all.map((push) => sender.send(push)));
  t.match(
    await sender.send(pushTo(deviceToken(20_000))),
    retry('no-room', { isSure: true, scope: 'push', afterMs: 1_000 }),
  );
  t.equal(sender.room(), 0);
  await until(async () => (await count('waiting')) > 1_000);
  const kinds = new Set((await sent).map(({ kind }) => kind));
  t.same(kinds, new Set(['ok']));
  t.same(new Set(timesShown(apns, all)), new Set([1]));
  t.ok(apns.mostInFlight <= 500);
  t.equal(apns.violations, 0);
  t.equal(apns.opened, 2);
  t.same(new Set(apns.arrivals.map(({ connection }) => connection)), new Set([1, 2]));
  await until(async () => (await count('waiting')) === 0);
});

t.test('there is room for as many again as there are streams, and never for more than 500 a connection', async (t) => {
  const { apns, sender } = await start(t, { maxConcurrentStreams: 10_000 });
  await deliver(sender, pushes(3_000));
  t.equal(sender.room(), 1_000);
  apns.hold();
  const sent = pushes(700).map((push) => sender.send(push));
  await until(() => apns.inFlight === 500);
  await delay(50);
  t.equal(apns.inFlight, 500);
  t.equal(sender.room(), 300);
  t.match(sender.figures(), { inFlight: 700 });
  apns.letGo();
  for (const { kind } of await Promise.all(sent)) t.equal(kind, 'ok');
});

t.test('[S7] nobody there: certain, everybody waits as long as the client does, and then it goes on', async (t) => {
  const { apns, network, sender, count } = await startBehind(t);
  network.cut();
  const outcomes = await Promise.all(pushes(20).map((push) => sender.send(push)));
  for (const outcome of outcomes) t.match(outcome, retry('connect', { scope: 'channel', isSure: true }));
  const [first] = outcomes;
  // 1 s, shortened by a quarter.
  t.ok(first?.kind === 'retry' && first.afterMs > 500 && first.afterMs <= 750);
  t.equal(await count('connections_opened_total'), 1, 'one attempt for all');
  t.match(sender.figures(), { trouble: 'connect: ECONNRESET', connections: 0 });
  const at = { environment: 'sandbox' } as const;
  t.match(
    await sender.send(pushTo(deviceToken(1), at)),
    retry('connect', { scope: 'push' }),
    "developers' phones hold up nobody",
  );
  network.join();
  const [delivered] = await deliver(sender, pushes(1), { waitMs: 1_000 });
  t.equal(delivered?.at(-1)?.kind, 'ok');
  t.equal(sender.figures().trouble, 'connect: ECONNRESET', 'of the other side');
  t.equal(apns.taken, 1);
});

t.test('waits between connections that come to nothing grow, and begin anew after a good one', async (t) => {
  const { network, sender } = await startBehind(t);
  network.cut();
  const wait = async (): Promise<number> => {
    const outcome = await sender.send(pushTo(deviceToken(1)));
    if (outcome.kind !== 'retry' || outcome.reason !== 'connect') throw new Error(JSON.stringify(outcome));
    return outcome.afterMs;
  };
  // 1 s, then 2, each shortened by a quarter.
  const first = await wait();
  await delay(first + 10);
  const second = await wait();
  t.ok(first > 500 && first <= 750 && second > 1_000 && second <= 1_500, `${first}, ${second}`);
  network.join();
  await delay(second + 10);
  t.match(await sender.send(pushTo(deviceToken(1))), { kind: 'ok' });
  network.cut();
  await until(() => sender.figures().connections === 0);
  t.ok((await wait()) <= 750);
});

t.test('connections have an equal part of the load', async (t) => {
  const { apns, sender } = await start(t, {}, { settings: { connections: 2 } });
  // Until both are as wide as they get here.
  while (sender.room() < 1_200) await deliver(sender, pushes(500, 1_000));
  const before = apns.received;
  apns.hold();
  const sent = Promise.all(pushes(100).map((push) => sender.send(push)));
  await until(() => apns.inFlight === 100);
  apns.letGo();
  for (const { kind } of await sent) t.equal(kind, 'ok');
  const parts = [1, 2].map((number) => apns.arrivals.slice(before).filter((one) => one.connection === number).length);
  t.same(parts, [50, 50]);
});

t.test('a service that says farewell and keeps the connection open is left all the same', async (t) => {
  const { sessions, sender, count } = await startStrange(t, (stream) =>
    stream.respond({ ':status': 200 }, { endStream: true }),
  );
  t.match(await sender.send(pushTo(deviceToken(1))), { kind: 'ok', id: undefined });
  sessions[0]?.goaway();
  await until(async () => (await count('connections_ended_total', { reason: 'goaway' })) === 1);
  t.equal(await count('connections'), 0);
});

t.test('a connection that is idle is asked whether it is alive as often as it should be', async (t) => {
  const idleMs = 300;
  const { sessions, sender } = await startStrange(
    t,
    (stream) => stream.respond({ ':status': 200 }, { endStream: true }),
    { timing: { idleMs, tickMs: 20, pingMs: 5_000 } },
  );
  t.match(await sender.send(pushTo(deviceToken(1))), { kind: 'ok' });
  let pings = 0;
  const startedMs = performance.now();
  sessions[0]?.on('ping', () => {
    pings += 1;
  });
  await until(() => pings >= 3);
  t.ok(pings <= 1 + (performance.now() - startedMs) / idleMs, `${pings} pings`);
});

t.test('an answer that does not end holds no stream for longer than a push may take', async (t) => {
  const statuses = [200, 400];
  const { sessions, sender, count } = await startStrange(
    t,
    (stream) => stream.respond({ ':status': statuses.shift() ?? 200 }),
    {
      streams: 1,
      timing: { requestMs: 400, tickMs: 20 },
    },
  );
  t.match(await sender.send(pushTo(deviceToken(1))), { kind: 'ok' });
  await until(() => sender.figures().inFlight === 0);
  t.match(await sender.send(pushTo(deviceToken(2))), retry('http-400'), 'as far as it has come');
  await until(() => sender.figures().inFlight === 0);
  t.match(await sender.send(pushTo(deviceToken(3))), { kind: 'ok' });
  t.equal(sessions.length, 1);
  t.equal(await count('answers_total', { reason: 'ok' }), 2, 'each is told once');
});

t.test('a connection that had nothing to do and is ended is no failure', async (t) => {
  const { apns, sender, logged, count } = await start(t, {}, { settings: { connections: 2 } });
  await Promise.all(pushes(2).map((push) => sender.send(push)));
  await until(() => apns.connections === 2);
  apns.goaway(0);
  await until(() => apns.connections === 0);
  t.equal(await count('connections'), 0, 'nothing of it is left');
  t.equal(sender.figures().trouble, undefined);
  t.match(await sender.send(pushTo(deviceToken(3))), { kind: 'ok' });
  t.notOk(logged.some(({ event }) => event === 'push.apns.connect.failed'));
});

t.test('a connection that is not what it should be: certain, with the reason for operators', async (t) => {
  const strangers = createCertificate('somebody');
  const elsewhere = createCertificate('elsewhere', undefined, ['elsewhere.example']);
  const dumb = await open(
    t,
    createServer((socket) => void socket.resume()),
  );
  const plain = await open(
    t,
    createServer((socket) => void socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')),
  );
  const cases: [options: Partial<ApnsSandboxOptions>, settings: Partial<ApnsSettings>, trouble: string | RegExp][] = [
    [{ tls: strangers }, {}, 'connect: DEPTH_ZERO_SELF_SIGNED_CERT'],
    [{ tls: elsewhere }, { caFile: await writeCa(t, elsewhere.cert) }, 'connect: ERR_TLS_CERT_ALTNAME_INVALID'],
    [{}, { caFile: '/no/such/file.pem' }, 'credentials: ENOENT'],
    [{}, { endpoint: dumb }, 'connect: timeout'],
    [{}, { endpoint: plain }, /^connect: \w+/],
  ];
  for (const [options, settings, trouble] of cases) {
    const connectMs = settings.endpoint === dumb ? 300 : 10_000;
    const { sender, logged, count } = await start(t, options, { settings, timing: { connectMs, tickMs: 20 } });
    t.match(await sender.send(pushTo(deviceToken(1))), retry('connect', { isSure: true, scope: 'channel' }));
    t.match(sender.figures(), { trouble, connections: 0 });
    t.equal(logged.filter(({ event }) => event === 'push.apns.connect.failed').length, 1);
    t.equal(await count('connections'), 0);
    await sender.close();
  }
});

/** Clocks of the two sides. */
const startMs = Date.UTC(2026, 10, 26, 12);
const minMs = 60_000;

t.test(
  '[S7] an expired provider token: one new one for all that are in flight, and each is sent again once',
  async (t) => {
    const now = { apnsMs: startMs, ourMs: startMs };
    const { apns, sender, tokens, count } = await start(t, { clock: () => now.apnsMs }, { clock: () => now.ourMs });
    await deliver(sender, pushes(300, 1_000));
    const before = await metricOf(dbMetrics, 'qalgate_push_apns_provider_tokens_total', { event: 'minted' });
    // By our clock it is good for a while yet.
    now.apnsMs += 61 * minMs;
    now.ourMs += 25 * minMs;
    const all = pushes(100);
    const outcomes = await Promise.all(all.map((push) => sender.send(push)));
    t.same(new Set(outcomes.map(({ kind }) => kind)), new Set(['ok']));
    const expired = apns.arrivals.filter(({ answered }) => answered === 'ExpiredProviderToken').length;
    t.ok(expired >= 1 && expired <= 100);
    t.equal(await count('resent_total', { reason: 'provider-token' }), expired);
    t.equal(await metricOf(dbMetrics, 'qalgate_push_apns_provider_tokens_total', { event: 'minted' }), before + 1);
    t.equal(apns.opened, 1);
    t.ok(tokens);
  },
);

t.test(
  '[S7] where even a new token is expired our clock is wrong: everybody waits until there may be another',
  async (t) => {
    const now = { apnsMs: startMs + 2 * 60 * minMs, ourMs: startMs };
    const { apns, sender } = await start(t, { clock: () => now.apnsMs }, { clock: () => now.ourMs });
    const outcomes = await Promise.all(pushes(20).map((push) => sender.send(push)));
    for (const outcome of outcomes) {
      t.match(outcome, retry('ExpiredProviderToken', { scope: 'channel', isSure: true, afterMs: 20 * minMs }));
    }
    t.equal(apns.received, 1);
    t.equal(sender.figures().trouble, 'ExpiredProviderToken');
    // Somebody has set it.
    now.ourMs = now.apnsMs;
    t.match(await sender.send(pushTo(deviceToken(1))), { kind: 'ok' });
    t.equal(sender.figures().trouble, undefined);
  },
);

t.test('[S7] a clock that is ahead, a key that is not known: all is halted, nobody finds out one by one', async (t) => {
  const { apns, sender, count } = await start(t, { clock: () => startMs }, { clock: () => startMs + 10 * minMs });
  const outcomes = await Promise.all(pushes(30).map((push) => sender.send(push)));
  for (const outcome of outcomes) t.match(outcome, { kind: 'halt', reason: 'InvalidProviderToken', status: 403 });
  t.equal(apns.received, 1);
  t.equal(sender.figures().trouble, 'InvalidProviderToken');
  await until(async () => (await count('connections')) === 0);
  t.match(
    await sender.send(pushTo(deviceToken(1))),
    retry('connect'),
    'nor does one connection after the other come to nothing',
  );
  const other = await start(t, { credentials: { ...apns.credentials, keyId: 'OTHERKEYID' } });
  const { sender: stranger } = await start(t, {}, { settings: { endpoint: other.apns.url } });
  t.match(await stranger.send(pushTo(deviceToken(1))), { kind: 'halt', reason: 'InvalidProviderToken' });
});

t.test(
  '[S7] too many provider tokens: that connection is left, no new token is made, the newest old one goes on',
  async (t) => {
    const now = { ms: startMs };
    const clock = () => now.ms;
    const { apns, sender } = await start(t, { clock }, { clock });
    t.match(await sender.send(pushTo(deviceToken(1))), { kind: 'ok' });
    // Another installation with the same key, which knows nothing of our row.
    now.ms += 5 * minMs;
    const strangers = createSealer([Buffer.alloc(32, 8)]);
    const tokens = createProviderTokens({ db, sealer: strangers, clock, logger, metrics: dbMetrics });
    const held = () => metricOf(dbMetrics, 'qalgate_push_apns_provider_tokens_total', { event: 'held' });
    const heldBefore = await held();
    const other = await makeApnsSender(t, apns, { tokens, clock });
    t.match(
      await other.sender.send(pushTo(deviceToken(2))),
      retry('TooManyProviderTokenUpdates', { scope: 'push', isSure: true, status: 429 }),
    );
    await until(() => other.sender.figures().connections === 0);
    t.equal(await held(), heldBefore + 1);
    t.match(await sender.send(pushTo(deviceToken(3))), { kind: 'ok' }, 'the first goes on with its own');
  },
);

t.test('a credential that is taken back ends all connections that stand on it', async (t) => {
  const { apns, faults, sender } = await start(t, {}, { settings: { connections: 2 } });
  for (const outcomes of await deliver(sender, pushes(1_000))) t.equal(outcomes.at(-1)?.kind, 'ok');
  t.equal(sender.figures().connections, 2);
  faults.set(deviceToken(1), { word: 'InvalidProviderToken' });
  t.match(await sender.send(pushTo(deviceToken(1))), { kind: 'halt' });
  t.equal(sender.figures().connections, 0);
  await until(() => apns.connections === 0);
  t.match(await sender.send(pushTo(deviceToken(2))), { kind: 'ok' }, 'another one may be taken');
});

t.test('with a certificate: no token, more than one stream at once, its topics', async (t) => {
  const ours = createCertificate('com.example.chat');
  const unknown = createCertificate('somebody');
  const { apns } = await start(t, { certificates: [{ cert: ours.cert, topics: [topic] }] });
  const tokens = createProviderTokens({ db, sealer, clock: Date.now, logger, metrics: dbMetrics });
  const withCertificate = async (certificate?: string, certificateKey?: string) => {
    const settings = { certificate, certificateKey, key: undefined, keyId: undefined, teamId: undefined };
    return (await makeApnsSender(t, apns, { tokens }, { settings: settings as object })).sender;
  };
  const sender = await withCertificate(ours.cert, ours.key);
  apns.hold();
  const sent = Promise.all(pushes(20).map((push) => sender.send(push)));
  await until(() => apns.inFlight === 8);
  apns.letGo();
  for (const { kind } of await sent) t.equal(kind, 'ok');
  t.equal(apns.arrivals[0]?.headers.authorization, undefined);
  t.match(await sender.send(pushTo(deviceToken(1), { headers: { 'apns-topic': 'com.example.other' } })), {
    kind: 'bad',
    reason: 'TopicDisallowed',
  });
  const stranger = await withCertificate(unknown.cert, unknown.key);
  t.match(await stranger.send(pushTo(deviceToken(1))), { kind: 'halt', reason: 'BadCertificate' });
  const nobody = await withCertificate();
  t.match(await nobody.send(pushTo(deviceToken(1))), { kind: 'halt', reason: 'MissingProviderToken' });
  const broken = await withCertificate('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----', ours.key);
  t.match(await broken.send(pushTo(deviceToken(1))), retry('connect'));
  t.match(broken.figures().trouble, /^credentials: \w+/);
});

t.test('closed: what is in flight ends, what waits was not sent, and nothing new is taken', async (t) => {
  const { apns, sender } = await start(t);
  await deliver(sender, pushes(100, 1_000));
  apns.limitStreams(30);
  await sender.send(pushTo(deviceToken(1)));
  apns.hold();
  const all = pushes(50);
  const sent = Promise.all(all.map((push) => sender.send(push)));
  await until(() => apns.inFlight === 30);
  const closed = sender.close();
  t.match(await sender.send(pushTo(deviceToken(1))), retry('closing', { afterMs: 0, isSure: true, scope: 'push' }));
  t.equal(sender.room(), 0);
  apns.letGo();
  const outcomes = await sent;
  t.equal(outcomes.filter(({ kind }) => kind === 'ok').length, 30);
  for (const outcome of outcomes) if (outcome.kind !== 'ok') t.match(outcome, retry('closing', { isSure: true }));
  await closed;
  t.equal(sender.close(), sender.close());
  await until(() => apns.connections === 0);
  t.match(sender.figures(), { connections: 0, inFlight: 0 });
});

t.test(
  'closed, and then the service says farewell: what it has not looked at is told so, and is not sent again',
  async (t) => {
    const { apns, sender } = await start(t);
    await deliver(sender, pushes(20, 1_000));
    apns.hold();
    const sent = Promise.all(pushes(10).map((push) => sender.send(push)));
    await until(() => apns.inFlight === 10);
    const closed = sender.close();
    apns.goaway(0);
    for (const outcome of await sent) t.match(outcome, retry('goaway', { isSure: true, afterMs: 0 }));
    await closed;
  },
);

t.test(
  'closed while the service says nothing: it ends all the same, and what was in flight is uncertain',
  async (t) => {
    const { apns, sender } = await start(t, {}, { timing: { closeMs: 200 } });
    await sender.send(pushTo(deviceToken(1)));
    apns.hold();
    const sent = sender.send(pushTo(deviceToken(2)));
    await until(() => apns.inFlight === 1);
    await sender.close();
    t.match(await sent, retry('lost', { isSure: false }));
    t.equal(sender.figures().inFlight, 0);
  },
);

t.test('closed while it connects, and before it ever did', async (t) => {
  const { apns, sender } = await start(t);
  const sent = sender.send(pushTo(deviceToken(1)));
  await sender.close();
  t.match(await sent, retry('closing', { isSure: true }));
  await delay(200);
  t.equal(apns.opened, 0, 'nor does it connect afterwards');
  const { sender: idle } = await start(t);
  await idle.close();
  t.match(idle.figures(), { connections: 0, inFlight: 0 });
});

t.test('a connection makes room for another one before its stream ids end', async (t) => {
  const { apns, sender, count } = await start(t, {}, { maxRequests: 20 });
  for (const outcomes of await deliver(sender, pushes(70))) t.equal(outcomes.at(-1)?.kind, 'ok');
  t.equal(apns.opened, 4);
  t.equal(await count('resent_total'), 0);
  await until(async () => (await count('connections_ended_total', { reason: 'retired' })) === 3);
});

t.test('a service that ends every connection after one push is not stormed', async (t) => {
  const { apns, sender } = await start(t, { fault: () => ({ word: 'goaway' }) });
  const startedMs = performance.now();
  let last: Outcome | undefined;
  for (let i = 0; i < 10 && last?.kind !== 'retry'; i += 1) {
    last = await sender.send(pushTo(deviceToken(i)));
    await until(() => sender.figures().connections === 0);
  }
  t.ok(apns.opened >= 4 && apns.opened <= 5 + (performance.now() - startedMs) / 1_000, `${apns.opened} connections`);
  // On a machine that is slow enough there is always one to be had.
  if (last?.kind === 'retry') {
    t.match(last, retry('connect', { scope: 'channel' }));
    t.ok(last.afterMs > 0 && last.afterMs <= 1_000);
  }
});

t.test(
  'when connections may be made: four for each at once, then one a second, and later after each failure',
  async (t) => {
    const pace = new ConnectPace(2, () => 0.5);
    for (let i = 0; i < 8; i += 1) {
      t.equal(pace.waitMs(50_000) <= 0, true, `${i + 1} at once`);
      pace.take();
    }
    t.equal(pace.waitMs(50_000), 1_000);
    t.equal(pace.waitMs(50_400), 600);
    t.ok(pace.waitMs(51_000) <= 0);
    pace.take();
    t.equal(pace.waitMs(51_000), 1_000);
    t.ok(pace.waitMs(200_000) <= 0);
    for (let i = 0; i < 8; i += 1) pace.take();
    t.equal(pace.waitMs(200_000), 1_000, 'what nobody made does not pile up');
    const waits = Array.from({ length: 8 }, () => pace.failed(300_000));
    t.ok(
      waits.every((waitMs, i) => i === 0 || waitMs > (waits[i - 1] ?? 0) || waitMs === waits.at(-1)),
      waits.join(),
    );
    t.equal(pace.waitMs(300_000), Math.ceil(waits.at(-1) ?? 0));
    pace.worked();
    t.equal(pace.failed(400_000), waits[0]);
  },
);

t.test('what waits: first what was sent already, then what came first', async (t) => {
  const waiting = new Waiting();
  const attempt = () => ({ push: pushTo(deviceToken(1)) }) as Attempt;
  const [a, b, c, d, e] = [attempt(), attempt(), attempt(), attempt(), attempt()];
  for (const attempt of [a, b, c]) waiting.add(attempt);
  waiting.addAgain(d);
  t.equal(waiting.size, 4);
  t.equal(waiting.take(), d);
  waiting.putBack(d);
  waiting.addAgain(e);
  t.same(
    waiting.remove((attempt) => attempt === d || attempt === b).map((attempt) => attempt === d),
    [true, false],
  );
  t.equal(waiting.size, 3);
  for (const next of [e, a, c, undefined]) t.equal(waiting.take(), next);
});

t.test('what cannot be a request is bad, and harms no other', async (t) => {
  const { apns, sender } = await start(t);
  t.match(await sender.send(pushTo(deviceToken(1))), { kind: 'ok' });
  t.match(await sender.send(pushTo('no/../such token\n\ud800')), { kind: 'gone', reason: 'BadDeviceToken' });
  for (const headers of [{ connection: 'close' }, { 'apns-collapse-id': '聊天' }, { 'apns-collapse-id': 'a\nb' }]) {
    t.match(await sender.send(pushTo(deviceToken(2), { headers: headers as Record<string, string> })), {
      kind: 'bad',
      reason: 'malformed',
    });
  }
  t.match(await sender.send(pushTo('')), { kind: 'bad', reason: 'MissingDeviceToken' });
  t.match(await sender.send(pushTo(deviceToken(3))), { kind: 'ok' });
  t.equal(apns.opened, 1);
});

t.test('the service of the tests is as strict as Apple says it is', async (t) => {
  const { sender } = await start(t);
  const cases: [reason: string, headers: Record<string, string>][] = [
    ['BadCollapseId', { 'apns-collapse-id': 'c'.repeat(65) }],
    ['BadCollapseId', { 'apns-collapse-id': '' }],
    ['BadPriority', { 'apns-priority': '7' }],
    ['BadPriority', { 'apns-push-type': 'background', 'apns-priority': '10' }],
    ['InvalidPushType', { 'apns-push-type': 'loud' }],
    ['BadExpirationDate', { 'apns-expiration': 'tomorrow' }],
    ['BadMessageId', { 'apns-id': 'A' }],
    ['BadTopic', { 'apns-topic': '-' }],
    ['TopicDisallowed', { 'apns-topic': 'com.example.other' }],
  ];
  for (const [reason, headers] of cases) {
    t.match(await sender.send(pushTo(deviceToken(1), { headers })), { kind: 'bad', reason }, reason);
  }
  const { 'apns-topic': _, ...headers } = pushTo('').headers;
  t.match(await sender.send({ ...pushTo(deviceToken(1)), headers }), { kind: 'bad', reason: 'MissingTopic' });
  const sized = (bytes: number): Sendable => {
    const body = JSON.stringify({ aps: { alert: 'x'.repeat(bytes - '{"aps":{"alert":""}}'.length) } });
    return { ...pushTo(deviceToken(1)), body };
  };
  t.match(await sender.send(sized(4_096)), { kind: 'ok' });
  t.match(await sender.send(sized(4_097)), { kind: 'bad', reason: 'PayloadTooLarge', status: 413 });
  for (const body of ['', '{}', '{"aps":', '{"aps":"hello"}']) {
    t.match(await sender.send({ ...pushTo(deviceToken(1)), body }), { kind: 'bad', reason: 'PayloadEmpty' });
  }
  t.match(await sender.send(pushTo('abc')), { kind: 'gone', reason: 'BadDeviceToken', isSure: false });
  const background = { 'apns-push-type': 'background', 'apns-priority': '5' };
  t.match(await sender.send(pushTo(deviceToken(1), { headers: background })), { kind: 'ok' });
});

t.test('the two sides of APNs have connections of their own', async (t) => {
  const development = await openApns(t);
  const { apns, sender } = await start(t, {}, { settings: { sandboxEndpoint: development.url } });
  t.match(await sender.send(pushTo(deviceToken(1))), { kind: 'ok' });
  t.match(await sender.send(pushTo(deviceToken(1), { environment: 'sandbox' })), { kind: 'halt' }, 'of another key');
  t.equal(apns.received, 1);
  t.equal(development.received, 1);
});

t.test('neither tokens nor texts get into the log', async (t) => {
  const { apns, faults, sender, logged } = await start(t);
  const push = pushTo(deviceToken(0xfeed));
  faults.set(deviceToken(2), { word: 'InvalidProviderToken' });
  await sender.send(push);
  await sender.send(pushTo(deviceToken(2)));
  await until(() => logged.length >= 1);
  const text = JSON.stringify(logged);
  for (const secret of ['feed', 'hello', apns.arrivals[0]?.headers.authorization ?? '?', apns.credentials.keyId]) {
    t.notOk(text.includes(secret), secret);
  }
});

t.test('what no client of ours asks is refused by the service of the tests too', async (t) => {
  const { token, headers, body } = pushTo(deviceToken(1));
  const good: ApnsRequest = {
    connection: 1,
    stream: 1,
    method: 'POST',
    path: `/3/device/${token}`,
    token,
    headers,
    repeated: [],
    body,
    atMs: 0,
  };
  const cases: [expected: number | string, more: Partial<ApnsRequest>][] = [
    [200, {}],
    ['MethodNotAllowed', { method: 'GET' }],
    ['BadPath', { path: '/4/device/00' }],
    ['BadPath', { path: '/3/device/00/11' }],
    ['DuplicateHeaders', { repeated: ['apns-topic'] }],
    [
      200,
      { headers: { ...headers, 'apns-push-type': 'voip' }, body: JSON.stringify({ aps: {}, a: 'x'.repeat(5_000) }) },
    ],
    ['PayloadTooLarge', { body: JSON.stringify({ aps: {}, a: '聊'.repeat(1_400) }) }],
  ];
  for (const [expected, more] of cases) {
    const { status, reason } = checkRequest({ ...good, ...more }, [topic]);
    t.equal(reason ?? status, expected);
  }
  t.match(checkRequest(good, undefined), { status: 200 }, 'any topic');
});

t.test('faults of the service have a form in text', async (t) => {
  for (const word of apnsFaultWords) t.equal(parseApnsFault(word)?.word, word);
  t.same(parseApnsFault('ServiceUnavailable:30'), { word: 'ServiceUnavailable', amount: 30 });
  t.same(parseApnsFault('slow:5000'), { word: 'slow', amount: 5_000 });
  t.same(parseApnsFault('slow'), { word: 'slow', amount: 1_000 });
  t.same(parseApnsFault('html'), { word: 'html', amount: 502 });
  for (const text of ['', 'Unregistered:', 'unregistered', 'constructor', 'slow:1234567', '503']) {
    t.equal(parseApnsFault(text), undefined, text);
  }
});
