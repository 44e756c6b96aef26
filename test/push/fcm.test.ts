import { generateKeyPairSync, sign } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { createLogger } from '../../src/observe/index.ts';
import { createAccessTokens, grant, readToken } from '../../src/push/fcm/access-token.ts';
import { judge } from '../../src/push/fcm/answers.ts';
import { exchange } from '../../src/push/fcm/exchange.ts';
import { createLines } from '../../src/push/fcm/lines.ts';
import { fcmMetrics } from '../../src/push/fcm/metrics.ts';
import { createPace } from '../../src/push/fcm/pace.ts';
import { fcmPayload } from '../../src/push/payload/fcm.ts';
import type { Outcome } from '../../src/push/provider.ts';
import { retryAfterMs } from '../../src/push/retry-after.ts';
import { fcmRefusal, fcmRefusals } from '../../src/push/sandbox/fcm-answers.ts';
import { fcmBreaks, parseFcmFault } from '../../src/push/sandbox/fcm-faults.ts';
import { readFcmRequest } from '../../src/push/sandbox/fcm-message.ts';
import { createFcmOauth } from '../../src/push/sandbox/fcm-oauth.ts';
import { listen, urlOf } from '../../src/push/sandbox/listener.ts';
import { parseServiceAccount } from '../../src/store/index.ts';
import { createCertificate } from '../support/certificates.ts';
import { until } from '../support/database.ts';
import { fcmPush, openFcmBench } from '../support/fcm.ts';
import { freePort } from '../support/free-port.ts';
import { metricOf } from '../support/metrics.ts';
import { openTcpNetwork } from '../support/tcp-network.ts';

t.setTimeout(240_000);

const sent = { status: undefined, isSure: false } as const;
const channel = { kind: 'retry', scope: 'channel' } as const;

/** What each answer comes to, and what of the message a device shows then. */
const faultTable: readonly [fault: string, outcome: Outcome, shows: number][] = [
  ['UNREGISTERED', { kind: 'gone', reason: 'UNREGISTERED', status: 404, sinceMs: undefined, isSure: true }, 0],
  [
    'INVALID_ARGUMENT:token',
    { kind: 'gone', reason: 'INVALID_ARGUMENT', status: 400, sinceMs: undefined, isSure: true },
    0,
  ],
  ['INVALID_ARGUMENT', { kind: 'bad', reason: 'INVALID_ARGUMENT', status: 400 }, 0],
  [
    'SENDER_ID_MISMATCH',
    { kind: 'gone', reason: 'SENDER_ID_MISMATCH', status: 403, sinceMs: undefined, isSure: false },
    0,
  ],
  ['QUOTA_EXCEEDED', { ...channel, reason: 'QUOTA_EXCEEDED', status: 429, afterMs: 60_000, isSure: true }, 0],
  ['QUOTA_EXCEEDED:90', { ...channel, reason: 'QUOTA_EXCEEDED', status: 429, afterMs: 90_000, isSure: true }, 0],
  ['QUOTA_EXCEEDED:fcm:5', { ...channel, reason: 'QUOTA_EXCEEDED', status: 429, afterMs: 5_000, isSure: true }, 0],
  [
    'QUOTA_EXCEEDED:device',
    { kind: 'retry', scope: 'device', reason: 'QUOTA_EXCEEDED', status: 429, afterMs: 60_000, isSure: true },
    0,
  ],
  ['UNAVAILABLE', { ...channel, reason: 'UNAVAILABLE', status: 503, afterMs: 10_000, isSure: true }, 0],
  ['UNAVAILABLE:33', { ...channel, reason: 'UNAVAILABLE', status: 503, afterMs: 33_000, isSure: true }, 0],
  ['INTERNAL', { kind: 'retry', scope: 'push', reason: 'INTERNAL', status: 500, afterMs: 10_000, isSure: false }, 0],
  ['INTERNAL:25', { kind: 'retry', scope: 'push', reason: 'INTERNAL', status: 500, afterMs: 25_000, isSure: false }, 0],
  ['THIRD_PARTY_AUTH_ERROR', { kind: 'halt', reason: 'THIRD_PARTY_AUTH_ERROR', status: 401 }, 0],
  ['PERMISSION_DENIED', { kind: 'halt', reason: 'PERMISSION_DENIED', status: 403 }, 0],
  ['NOT_FOUND', { kind: 'halt', reason: 'NOT_FOUND', status: 404 }, 0],
  ['UNSPECIFIED_ERROR', { kind: 'bad', reason: 'UNSPECIFIED_ERROR', status: 500 }, 0],
  ['429', { ...channel, reason: 'http-429', status: 429, afterMs: 60_000, isSure: true }, 0],
  ['502', { kind: 'retry', scope: 'push', reason: 'http-502', status: 502, afterMs: 10_000, isSure: false }, 0],
  ['504', { kind: 'retry', scope: 'push', reason: 'http-504', status: 504, afterMs: 10_000, isSure: false }, 0],
  ['garbage', { kind: 'retry', scope: 'push', reason: 'malformed', status: 200, afterMs: 10_000, isSure: false }, 1],
  ['endless', { kind: 'retry', scope: 'push', reason: 'malformed', status: 200, afterMs: 10_000, isSure: false }, 1],
  ['silent', { kind: 'retry', scope: 'push', reason: 'timeout', afterMs: 10_000, ...sent }, 0],
  ['slow:60000', { kind: 'retry', scope: 'push', reason: 'timeout', afterMs: 10_000, ...sent }, 1],
  ['reset', { kind: 'retry', scope: 'push', reason: 'reset', afterMs: 10_000, ...sent }, 0],
  ['lost', { kind: 'retry', scope: 'push', reason: 'reset', afterMs: 10_000, ...sent }, 1],
  ['half', { kind: 'retry', scope: 'push', reason: 'reset', afterMs: 10_000, ...sent }, 1],
];

for (const protocol of ['h2', 'http/1.1'] as const) {
  t.test(`[S7] what each answer of FCM comes to, over ${protocol}`, async (t) => {
    const { fcm, faults, sender } = await openFcmBench(t, { protocols: [protocol] });
    for (const [fault, outcome, shows] of faultTable) {
      const parsed = parseFcmFault(fault);
      if (parsed === undefined) throw new Error(fault);
      const token = `of-${fault.replaceAll(':', '-')}`;
      faults.set(token, [parsed]);
      const isLate = fault === 'silent' || fault === 'slow:60000';
      const one = sender(isLate ? { deadlineMs: 3_000 } : {});
      const before = fcm.received;
      t.same(await one.send(fcmPush(token)), outcome, fault);
      t.equal(fcm.received - before, 1, `${fault}: one attempt`);
      t.equal(fcm.shown(token).length, shows, `${fault}: shows`);
      const isTrouble = outcome.kind === 'halt' || (outcome.kind === 'retry' && outcome.scope !== 'device');
      t.match(
        one.figures(),
        { inFlight: 0, trouble: isTrouble ? outcome.reason : undefined },
        `${fault}: what ails the sender`,
      );
      t.match(await one.send(fcmPush(token)), { kind: 'ok', status: 200 }, `${fault}: the next attempt gets through`);
      t.same(
        fcm.shown(token).map(({ key, times }) => [key, times]),
        [['m1', shows + 1]],
        `${fault}: shown in its place`,
      );
      t.equal(one.figures().trouble, undefined);
      await one.close();
    }
    t.ok(fcm.arrivals.every((arrival) => arrival.protocol === protocol));
  });
}

t.test(
  '[S7] HTTP/2 refuses streams, says farewell with many under way: sent again where it was not looked at, shown once',
  async (t) => {
    const { fcm, faults, sender } = await openFcmBench(t, { protocols: ['h2'], latencyMs: 30 });
    const one = sender();
    t.match(await one.send(fcmPush('first')), { kind: 'ok' });
    faults.set('refused', [{ word: 'refused' }]);
    t.match(await one.send(fcmPush('refused')), { kind: 'ok' }, 'a stream that is refused is opened once more');
    faults.set('refused', [{ word: 'refused' }, { word: 'refused' }]);
    t.same(
      await one.send(fcmPush('refused')),
      { kind: 'retry', reason: 'refused', status: undefined, afterMs: 1_000, scope: 'push', isSure: true },
      'and then it is certain that nothing was shown',
    );
    faults.set('d50', [{ word: 'goaway' }]);
    const outcomes = await Promise.all(Array.from({ length: 200 }, (_, i) => one.send(fcmPush(`d${i}`))));
    const again = outcomes.filter(({ kind }) => kind !== 'ok');
    t.ok(
      again.every((outcome) => outcome.kind === 'retry' && outcome.isSure),
      'no outcome of a farewell is uncertain',
    );
    t.equal(again.length, 0, 'what was not looked at went out again on another connection');
    const shown = Array.from({ length: 200 }, (_, i) => fcm.shown(`d${i}`));
    t.ok(shown.every((list) => list.length === 1 && list[0]?.times === 1));
  },
);

t.test('a connection that is dead without a word costs its pushes one deadline, and is not used again', async (t) => {
  const { fcm, settings, sender } = await openFcmBench(t);
  const network = await openTcpNetwork(t, { host: '127.0.0.1', port: fcm.port });
  const one = sender({ deadlineMs: 3_000 }, { ...settings, endpoint: `https://127.0.0.1:${network.port}` });
  t.match(await one.send(fcmPush('a')), { kind: 'ok' });
  network.silence();
  const lost = await Promise.all([one.send(fcmPush('b')), one.send(fcmPush('c'))]);
  t.match(lost, [
    { kind: 'retry', reason: 'timeout', isSure: false },
    { kind: 'retry', reason: 'timeout', isSure: false },
  ]);
  t.match(await one.send(fcmPush('b')), { kind: 'ok' });
  t.match(await one.send(fcmPush('c')), { kind: 'ok' });
  network.cut();
  // That of the access tokens is another.
  await until(() => one.figures().connections === 1);
  t.match(
    await one.send(fcmPush('d')),
    { kind: 'retry', isSure: true, scope: 'channel', afterMs: 10_000 },
    'nobody there',
  );
  network.join();
  t.match(await one.send(fcmPush('d')), { kind: 'ok' });
});

t.test(
  'connections that are given up for one push without an answer still serve what is under way on them',
  async (t) => {
    const { fcm, faults, sender } = await openFcmBench(t);
    const one = sender({ deadlineMs: 4_000 });
    await one.send(fcmPush('a'));
    faults.set('silent', [{ word: 'silent' }]);
    // Begins before the other is given up, and ends after it.
    faults.set('slow', [{ word: 'slow', amount: 3_000 }]);
    const silent = one.send(fcmPush('silent'));
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    const slow = one.send(fcmPush('slow'));
    t.match(await silent, { kind: 'retry', reason: 'timeout' });
    t.match(await one.send(fcmPush('b')), { kind: 'ok' }, 'on another connection');
    t.match(await slow, { kind: 'ok' });
    await until(() => fcm.connections === 2);

    // Nothing is left of a push that has been given up: a connection with nothing else on it can go at once.
    const other = sender({ deadlineMs: 4_000 });
    faults.set('silent', [{ word: 'silent' }]);
    t.match(await other.send(fcmPush('silent')), { kind: 'retry', reason: 'timeout' });
    // Two of the first sender, and one for the access tokens of this.
    await until(() => fcm.connections === 3, 3_500);
  },
);

t.test('no connection: certain, and of the whole channel; the wait doubles, and is one for all', async (t) => {
  const { clock, settings, sender } = await openFcmBench(t);
  const refused = { ...settings, endpoint: `https://127.0.0.1:${await freePort()}` };
  const one = sender({}, refused);
  const failed = { kind: 'retry', reason: 'connect', status: undefined, scope: 'channel', isSure: true } as const;
  t.same(await one.send(fcmPush('a')), { ...failed, afterMs: 10_000 });
  clock.nowMs += 4_000;
  t.same(await one.send(fcmPush('a')), { ...failed, afterMs: 6_000 }, 'the same wait');
  for (const afterMs of [20_000, 40_000, 80_000, 160_000, 300_000, 300_000]) {
    clock.nowMs += 300_000;
    t.same(await one.send(fcmPush('a')), { ...failed, afterMs });
  }
  t.equal(one.figures().trouble, 'connect');

  // Takes the connection, and is silent in the handshake.
  const mute = await listen(
    createServer((socket) => void socket.resume()),
    { host: '127.0.0.1', port: 0 },
  );
  t.teardown(mute.close);
  const silent = sender({ deadlineMs: 1_500 }, { ...settings, endpoint: urlOf('127.0.0.1', mute.address.port) });
  t.match(await silent.send(fcmPush('a')), { ...failed, afterMs: 10_000 });
});

t.test('a connection that comes too late carries nothing of a push that has been given up', async (t) => {
  const { fcm, settings, sender } = await openFcmBench(t);
  const bytes: (() => void)[] = [];
  const server = createServer((near) => {
    const far = connect(fcm.port, '127.0.0.1').on('error', () => {});
    far.once('close', () => near.destroy());
    near.once('close', () => far.destroy());
    far.pipe(near);
    near.on('data', (chunk) => bytes.push(() => far.write(chunk)));
  });
  const slow = await listen(server, { host: '127.0.0.1', port: 0 });
  t.teardown(slow.close);
  const one = sender({ deadlineMs: 1_000 }, { ...settings, endpoint: urlOf('127.0.0.1', slow.address.port) });
  t.match(await one.send(fcmPush('a')), { kind: 'retry', reason: 'connect', isSure: true });
  // Now the handshake goes on: what would have been said before may be said.
  const pump = setInterval(() => bytes.splice(0).forEach((write) => void write()), 5);
  t.teardown(() => clearInterval(pump));
  t.match(await one.send(fcmPush('b')), { kind: 'ok' });
  t.same(
    fcm.arrivals.map(({ token }) => token),
    ['b'],
  );
});

t.test(
  'who vouches for the endpoint: a file that is wrong, missing, and then right, without a new sender',
  async (t) => {
    const { fcm, clock, settings, sender } = await openFcmBench(t);
    const right = settings.caFile as string;
    const caFile = join(dirname(right), 'other.pem');
    writeFileSync(caFile, createCertificate('somebody').cert);
    const one = sender({}, { caFile });
    const failed = { kind: 'retry', reason: 'token-tls', scope: 'channel', isSure: true };
    t.match(await one.send(fcmPush('a')), failed);
    const noFile = join(dirname(right), 'none.pem');
    const missing = sender({}, { caFile: noFile });
    t.match(await missing.send(fcmPush('a')), failed);
    t.equal(fcm.received, 0);
    for (const file of [caFile, noFile]) writeFileSync(file, readFileSync(right));
    clock.nowMs += 10_000;
    t.match(await one.send(fcmPush('a')), { kind: 'ok' });
    t.match(await missing.send(fcmPush('a')), { kind: 'ok' });
  },
);

t.test('a clock that is set back makes no rest longer', async (t) => {
  let tokenFault: '503' | undefined;
  const { clock, faults, sender } = await openFcmBench(t, { tokenFault: () => tokenFault });
  const one = sender();
  faults.set('a', [{ word: 'UNAVAILABLE' }, { word: 'UNAVAILABLE' }]);
  t.match(await one.send(fcmPush('a')), { afterMs: 10_000 });
  clock.nowMs -= 3_000_000;
  t.match(await one.send(fcmPush('a')), { afterMs: 20_000 });

  tokenFault = '503';
  const other = sender();
  t.match(await other.send(fcmPush('b')), { reason: 'token-http-503', afterMs: 10_000 });
  clock.nowMs -= 3_000_000;
  tokenFault = undefined;
  t.match(await other.send(fcmPush('b')), { kind: 'ok' });
});

t.test("many failures with nothing good in between are the service's, not their pushes'", async (t) => {
  const { clock, faults, sender } = await openFcmBench(t);
  const one = sender();
  const fail = (word: 'INTERNAL' | '502' | 'UNAVAILABLE', token: string) => {
    faults.set(token, [{ word }]);
    return one.send(fcmPush(token));
  };
  for (let i = 0; i < 5; i += 1) t.match(await fail('INTERNAL', `p${i}`), { scope: 'push' });
  t.match(await fail('502', 'p5'), { scope: 'channel', afterMs: 10_000, isSure: false });
  faults.set('dead', [{ word: 'UNREGISTERED' }]);
  t.match(await one.send(fcmPush('dead')), { kind: 'gone' }, 'it answers: it is there');
  t.match(await fail('INTERNAL', 'p6'), { scope: 'push' });
  clock.nowMs += 10_000;
  t.match(await fail('UNAVAILABLE', 'p7'), { afterMs: 10_000 }, 'and the wait begins anew, too');
  clock.nowMs += 10_000;
  t.match(await fail('UNAVAILABLE', 'p8'), { afterMs: 20_000 });
  clock.nowMs += 20_000;
  faults.set('p9', [{ word: 'UNAVAILABLE', amount: 5 }]);
  t.match(await one.send(fcmPush('p9')), { afterMs: 5_000 });
  t.match(await fail('UNAVAILABLE', 'p10'), { afterMs: 40_000 }, 'what the service says makes ours no longer');
});

t.test('access tokens: one for all, renewed early, anew where they are refused, never by more than one', async (t) => {
  const { fcm, clock, log, metrics, sender, settings } = await openFcmBench(t);
  const one = sender();
  const all = (count: number, name: string) =>
    Promise.all(Array.from({ length: count }, (_, i) => one.send(fcmPush(`${name}${i}`))));
  const isOk = (outcomes: Outcome[]) => outcomes.every(({ kind }) => kind === 'ok');
  t.ok(isOk(await all(300, 'a')));
  t.equal(fcm.grants, 1);
  clock.nowMs += 3_599_000 - 300_000 - 1_000;
  t.ok(isOk(await all(10, 'b')));
  t.equal(fcm.grants, 1, 'still good for five minutes and a second');
  clock.nowMs += 1_000;
  t.ok(isOk(await all(100, 'c')));
  await until(() => fcm.grants === 2);
  clock.nowMs += 3_599_000;
  t.ok(isOk(await all(100, 'd')), 'it had ended: all wait for the next');
  t.equal(fcm.grants, 3);
  fcm.revokeTokens();
  t.ok(isOk(await all(100, 'e')));
  t.equal(fcm.grants, 4, 'refused a hundred times, made once');
  t.equal(fcm.taken, 610);
  const counted = (name: string, labels = {}) => metricOf(metrics, `qalgate_push_fcm_${name}`, labels);
  t.same(
    [
      await counted('access_tokens_total', { event: 'made' }),
      await counted('access_tokens_total', { event: 'refused' }),
    ],
    [4, 100],
  );
  t.equal(await counted('answers_total', { reason: 'ok' }), 610);
  t.equal(await counted('in_flight'), 0);
  const account = parseServiceAccount(settings.serviceAccount ?? '');
  for (const secret of ['ya29', 'Bearer', account?.privateKey.slice(40, 80) ?? '', 'eyJ'])
    t.notOk(log().includes(secret));
});

t.test('access tokens that cannot be had: what can be mended by waiting waits, what cannot halts', async (t) => {
  let fault: 'invalid_grant' | 'unauthorized_client' | '503' | 'dead-token' | 'no-token' | 'silent' | undefined;
  const { fcm, clock, log, metrics, sender, settings } = await openFcmBench(t, { tokenFault: () => fault });
  const waits = { kind: 'retry', scope: 'channel', isSure: true } as const;
  for (const [asked, outcome] of [
    ['invalid_grant', { kind: 'halt', reason: 'invalid_grant', status: 400 }],
    ['unauthorized_client', { kind: 'halt', reason: 'unauthorized_client', status: 401 }],
    ['dead-token', { kind: 'halt', reason: 'UNAUTHENTICATED', status: 401 }],
    ['503', { ...waits, reason: 'token-http-503', status: 503, afterMs: 10_000 }],
    ['no-token', { ...waits, reason: 'token-malformed', status: 200, afterMs: 10_000 }],
    ['silent', { ...waits, reason: 'token-timeout', status: undefined, afterMs: 10_000 }],
  ] as const) {
    fault = asked;
    const before = fcm.grants;
    const one = sender(asked === 'silent' ? { deadlineMs: 1_500 } : {});
    t.same(await one.send(fcmPush('a')), outcome, asked);
    t.equal(fcm.grants - before, asked === 'dead-token' ? 2 : 1, `${asked}: requests`);
    fault = undefined;
    if (outcome.kind === 'halt') {
      t.match(await one.send(fcmPush('a')), { kind: 'ok' }, `${asked}: mended`);
    } else {
      clock.nowMs += 4_000;
      t.match(await one.send(fcmPush('a')), { ...waits, reason: outcome.reason, afterMs: 6_000 }, 'it is left alone');
      t.equal(fcm.grants - before, 1);
      clock.nowMs += 6_000;
      t.match(await one.send(fcmPush('a')), { kind: 'ok' });
    }
    await one.close();
  }
  t.match(log(), /push\.fcm\.token\.failed/);
  t.equal(await metricOf(metrics, 'qalgate_push_fcm_access_tokens_total', { event: 'failed' }), 5);
  const { values = [] } = (await metrics.registry.getSingleMetric('qalgate_push_fcm_answers_total')?.get()) ?? {};
  t.same(values.map(({ labels }) => labels.reason).sort(), ['UNAUTHENTICATED', 'ok', 'other', 'token']);

  const off = await openFcmBench(t, { clock: Date.now });
  off.clock.nowMs = Date.now() + 7_200_000;
  t.match(await off.sender().send(fcmPush('a')), { kind: 'halt', reason: 'clock-off', status: 400 });

  for (const serviceAccount of [undefined, '{}', settings.serviceAccount?.replace('BEGIN', 'BEGUN')]) {
    const { serviceAccount: _, ...rest } = settings;
    const one = sender(
      {},
      serviceAccount === undefined ? { ...rest, serviceAccount: '' } : { ...rest, serviceAccount },
    );
    t.same(await one.send(fcmPush('a')), { kind: 'halt', reason: 'service-account', status: undefined });
  }
});

t.test(
  'a token whose renewal fails is used to its end, and the token endpoint is not asked at each push',
  async (t) => {
    for (const [asked, end] of [
      ['503', { kind: 'retry', reason: 'token-http-503', scope: 'channel', isSure: true }],
      ['unauthorized_client', { kind: 'halt', reason: 'unauthorized_client' }],
    ] as const) {
      let fault: typeof asked | undefined;
      const { fcm, clock, log, sender } = await openFcmBench(t, { tokenFault: () => fault });
      const one = sender();
      t.match(await one.send(fcmPush('a')), { kind: 'ok' });
      fault = asked;
      clock.nowMs += 3_400_000;
      t.match(await one.send(fcmPush('a')), { kind: 'ok' });
      await until(() => log().includes('push.fcm.token.failed'));
      for (let i = 0; i < 5; i += 1) t.match(await one.send(fcmPush('a')), { kind: 'ok' });
      t.equal(fcm.grants, 2, 'not at each push');
      clock.nowMs += 300_000;
      t.match(await one.send(fcmPush('a')), end, asked);
    }
  },
);

t.test('a token endpoint that fails is left alone for longer each time, and begins anew when it works', async (t) => {
  let fault: '503' | undefined = '503';
  const { fcm, clock, sender } = await openFcmBench(t, { tokenFault: () => fault });
  const one = sender();
  for (const afterMs of [10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]) {
    t.match(await one.send(fcmPush('a')), { reason: 'token-http-503', afterMs });
    clock.nowMs += afterMs;
  }
  fault = undefined;
  t.match(await one.send(fcmPush('a')), { kind: 'ok' });
  fcm.revokeTokens();
  fault = '503';
  t.match(await one.send(fcmPush('a')), { reason: 'token-http-503', afterMs: 10_000 });
});

t.test('an access token of a short life is renewed when half of it is over', async (t) => {
  const { fcm, clock, sender } = await openFcmBench(t, { tokenLifeSec: 60 });
  const one = sender();
  for (let i = 0; i < 5; i += 1) t.match(await one.send(fcmPush('a')), { kind: 'ok' });
  t.equal(fcm.grants, 1);
  clock.nowMs += 30_000;
  t.match(await one.send(fcmPush('a')), { kind: 'ok' });
  await until(() => fcm.grants === 2);
});

t.test('what is no access token is not used as one', async (t) => {
  const read = (body: unknown) =>
    readToken(
      { kind: 'answer', answer: { status: 200, retryAfter: undefined, body: JSON.stringify(body) }, date: undefined },
      0,
    );
  t.same(read({ access_token: 'ya29.x', expires_in: 3_599 }), { token: 'ya29.x', lifeSec: 3_599 });
  t.match(read({ access_token: 'ya29.x', expires_in: 10 ** 9 }), { lifeSec: 86_400 }, 'a day at most');
  for (const access_token of ['', 'a b', 'a\r\nHost: b', 'ä', 'x'.repeat(8_193), 7, undefined]) {
    t.match(read({ access_token, expires_in: 3_599 }), { reason: 'token-malformed', isFinal: false });
  }
  for (const expires_in of [0, -1, '3599', undefined]) {
    t.match(read({ access_token: 'x', expires_in }), { reason: 'token-malformed' });
  }
  for (const body of [null, [], 'x']) t.match(read(body), { reason: 'token-malformed' });
});

t.test('a token endpoint that asks for years gets an hour', async (t) => {
  const asked = (retryAfter: string) =>
    readToken({ kind: 'answer', answer: { status: 503, retryAfter, body: '' }, date: undefined }, 0);
  t.match(asked('30'), { isFinal: false, afterMs: 30_000 });
  t.match(asked('9999999999'), { isFinal: false, afterMs: 3_600_000 });
  t.match(asked('Thu, 01 Jan 2099 00:00:00 GMT'), { isFinal: false, afterMs: 3_600_000 });
});

t.test('an access token that was refused long ago takes no new one along', async (t) => {
  const { fcm, clock, metrics, settings } = await openFcmBench(t);
  const account = parseServiceAccount(settings.serviceAccount ?? '');
  if (account === undefined) throw new Error('no account');
  const { tokens: counter } = fcmMetrics(metrics);
  const lines = createLines({
    origin: fcm.url,
    caFile: settings.caFile,
    connections: 1,
    connectMs: 5_000,
    retireMs: 0,
  });
  t.teardown(() => lines.close());
  const tokens = createAccessTokens(
    account,
    {
      clock: () => clock.nowMs,
      random: () => 0,
      logger: createLogger({ level: 'silent' }),
      tokens: counter,
      async post(request, deadline) {
        const found = await lines.pool();
        if ('code' in found) throw new Error(found.code);
        return exchange(found.pool, request, deadline);
      },
    },
    { deadlineMs: 5_000 },
  );
  const get = async (): Promise<string> => {
    const got = await tokens.get(performance.now() + 5_000);
    return 'token' in got ? got.token : got.outcome.kind;
  };
  const first = await get();
  t.equal(await get(), first);
  tokens.drop(first);
  const second = await get();
  t.not(second, first);
  tokens.drop(first);
  t.equal(await get(), second);
  t.equal(fcm.grants, 2);
});

t.test('10,000 at once: no more than there is room for, one token, few connections, each shown once', async (t) => {
  const { fcm, sender } = await openFcmBench(t, { protocols: ['h2'], maxDevices: 20_000 });
  const one = sender({ deadlineMs: 60_000 });
  let next = 0;
  let most = 0;
  let connections = 0;
  const outcomes: Outcome[] = [];
  await new Promise<void>((resolve) => {
    const more = (): void => {
      for (let room = one.room(); room > 0 && next < 10_000; room -= 1) {
        one.send(fcmPush(`d${next++}`)).then((outcome) => {
          outcomes.push(outcome);
          connections = Math.max(connections, one.figures().connections);
          if (outcomes.length === 10_000) resolve();
          else more();
        });
      }
      most = Math.max(most, one.figures().inFlight);
    };
    more();
  });
  t.same(new Set(outcomes.map((outcome) => (outcome.kind === 'ok' ? 'ok' : outcome.reason))), new Set(['ok']));
  t.equal(most, 400);
  t.equal(fcm.grants, 1);
  t.ok(connections <= 6, `${connections} connections`);
  t.ok(Array.from({ length: 10_000 }, (_, i) => fcm.shown(`d${i}`)).every((shown) => shown[0]?.times === 1));
});

t.test('the end: what is under way may end, what is stuck may not; nothing begins', async (t) => {
  const { fcm, faults, sender } = await openFcmBench(t, { latencyMs: 100 });
  const one = sender({ closeGraceMs: 500 });
  t.match(await one.send(fcmPush('a')), { kind: 'ok' });
  faults.set('stuck', [{ word: 'silent' }]);
  const fine = one.send(fcmPush('fine'));
  const stuck = one.send(fcmPush('stuck'));
  const closed = one.close();
  t.equal(one.room(), 0);
  t.match(await one.send(fcmPush('b')), { kind: 'retry', reason: 'closed', isSure: true });
  t.match(await fine, { kind: 'ok' });
  t.match(await stuck, { kind: 'retry', reason: 'reset', isSure: false });
  await closed;
  await one.close();
  t.match(one.figures(), { connections: 0, inFlight: 0 });
  await until(() => fcm.connections === 0);
});

t.test("the project's quota slows the sender, a device's own does not", async (t) => {
  const { faults, sender } = await openFcmBench(t);
  const one = sender({}, { perMin: 6_000 });
  t.equal(one.room(), 10);
  faults.set('a', [{ word: 'QUOTA_EXCEEDED:device' }]);
  await one.send(fcmPush('a'));
  t.ok(one.room() > 0);
  for (const word of ['QUOTA_EXCEEDED', '429'] as const) {
    const one = sender({}, { perMin: 6_000 });
    faults.set('a', [{ word }]);
    await one.send(fcmPush('a'));
    t.equal(one.room(), 0, word);
  }
});

t.test(
  'the pace: a minute from nothing to all, never more than the quota in any minute, down again when idle',
  async (t) => {
    const perMin = 60_000;
    const pace = createPace(perMin);
    const perSec: number[] = [];
    for (let second = 0; second < 300; second += 1) {
      let sent = 0;
      for (let ms = 0; ms < 1_000; ms += 50) {
        const nowMs = second * 1_000 + ms;
        for (let room = pace.room(nowMs); room > 0; room -= 1) {
          pace.take(nowMs);
          sent += 1;
        }
      }
      perSec.push(sent);
    }
    const from = (second: number) => perSec.slice(second, second + 60).reduce((sum, count) => sum + count, 0);
    t.ok((perSec[0] ?? 0) <= 60, `${perSec[0]} in the first second`);
    t.ok((perSec[30] ?? 0) > 400 && (perSec[30] ?? 0) < 600, `${perSec[30]} half way`);
    t.ok((perSec[55] ?? 0) < 1_000, 'not before a minute');
    t.ok((perSec[70] ?? 0) >= 990, 'then all of it');
    t.ok(Array.from({ length: 240 }, (_, second) => from(second)).every((sum) => sum <= perMin));
    t.ok(from(100) > perMin * 0.99);
    t.equal(pace.room(299_950 + 30_000), 1_000, 'what nobody used does not pile up');
    t.ok(pace.room(300_000 + 120_000) <= 34, 'after idle time it begins anew');

    const half = createPace(perMin);
    for (let ms = 0; ms < 200_000; ms += 50) for (let room = half.room(ms); room > 0; room -= 1) half.take(ms);
    half.slow(200_000);
    t.equal(half.room(200_000), 0);
    const after = half.room(201_000);
    t.ok(after > 400 && after <= 500, `${after}: half as much`);

    const small = createPace(3);
    t.equal(small.room(0), 1);
    small.take(0);
    t.equal(small.room(19_000), 0);
    t.equal(small.room(20_001), 1, 'three a minute are one every twenty seconds');
    const ten = createPace(600);
    t.equal(ten.room(0), 10, 'few a second need no ramp');
    t.equal(ten.room(5_000), 20);
    t.equal(ten.room(1_000), 20, 'a clock that goes back changes nothing');
  },
);

t.test('answers that nobody expects: always an outcome, of a word and a time', async (t) => {
  const at = { nowMs: 0, random: 0.5, channelMs: () => 12_345, isRow: false };
  const of = (status: number, body: unknown = '', retryAfter?: string) =>
    judge({ status, body: typeof body === 'string' ? body : JSON.stringify(body), retryAfter }, at);
  const error = (status: string, message: string, ...details: object[]) => ({ error: { status, message, details } });
  const violations = (...fields: string[]) => ({
    '@type': 'type.googleapis.com/google.rpc.BadRequest',
    fieldViolations: fields.map((field) => ({ field })),
  });
  const invalid = 'INVALID_ARGUMENT';
  t.match(of(400, error(invalid, 'The registration token is not a valid FCM registration token')), { kind: 'gone' });
  t.match(of(400, error(invalid, 'Request contains an invalid argument.')), { kind: 'bad' }, 'a bare one is ours');
  t.match(of(400, error(invalid, 'not a valid FCM registration token', violations('message.data'))), { kind: 'bad' });
  t.match(of(400, error(invalid, '', violations('message.token', 'message.android'))), { kind: 'bad' });
  t.match(of(400, error(invalid, '', violations('message.token'))), { kind: 'gone', isSure: true });
  t.match(of(400, error(invalid, '', violations('message.topic'))), { kind: 'bad' });
  t.match(of(404, '<html>no such page</html>'), { kind: 'halt', reason: 'http-404' });
  t.match(of(404, error('NOT_FOUND', 'Requested entity was not found.')), { kind: 'halt', reason: 'NOT_FOUND' });
  t.match(of(401), { kind: 'reauthorize' });
  t.match(of(403, '<html>'), { kind: 'halt', reason: 'http-403' });
  t.match(of(400, '<html>'), { kind: 'bad', reason: 'http-400' });
  t.match(of(413), { kind: 'bad', reason: 'http-413' });
  t.match(of(302), { kind: 'retry', scope: 'channel', afterMs: 12_345 });
  t.match(of(408), { kind: 'retry', scope: 'push', isSure: false });
  t.match(of(499, error('CANCELLED', '')), { kind: 'retry', reason: 'CANCELLED', isSure: false });
  t.match(of(504, error('DEADLINE_EXCEEDED', '')), { kind: 'retry', reason: 'DEADLINE_EXCEEDED', isSure: false });
  t.match(of(429, '<html>'), { kind: 'retry', reason: 'http-429', scope: 'channel', afterMs: 63_000, isSure: true });
  t.match(of(503, '<html>'), { kind: 'retry', reason: 'http-503', scope: 'channel', afterMs: 12_345, isSure: true });
  t.match(of(200, { name: '' }), { kind: 'retry', reason: 'malformed' });
  t.match(of(200, { name: 'projects/p/messages/1' }), { kind: 'ok', id: 'projects/p/messages/1' });
  const info = { '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: '100.5s' };
  t.match(of(429, error('RESOURCE_EXHAUSTED', '', info)), { afterMs: 105_525 }, 'the details say when');
  t.match(of(503, error('UNAVAILABLE', '', info), '7'), { afterMs: 105_525 }, 'the longer of the two');
  t.match(of(503, '', '0'), { afterMs: 1_050 }, 'never at once');
  t.match(of(503, '', '999999999'), { afterMs: 3_780_000 }, 'nor never');
  t.match(of(500, error('a secret of somebody', '')), { reason: 'http-500' }, 'what is no code is not told on');
  t.match(of(500, error('x'.repeat(100), '')), { reason: 'http-500' });
  t.equal(retryAfterMs('Thu, 01 Jan 1970 00:00:09 GMT', 2_000), 7_000);
  t.equal(retryAfterMs('Thu, 01 Jan 1970 00:00:01 GMT', 2_000), 0);
  for (const wrong of ['', '-1', '1.5', 'soon', '1e3', undefined])
    t.equal(retryAfterMs(wrong, 0), undefined, `${wrong}`);

  const status = fc.integer({ min: 200, max: 599 });
  const details = fc.array(
    fc.record({
      '@type': fc.constantFrom('x.FcmError', 'x.BadRequest', 'x.QuotaFailure', 'x.RetryInfo', ''),
      errorCode: fc.option(fc.oneof(fc.constantFrom('UNREGISTERED', 'INTERNAL', 'QUOTA_EXCEEDED'), fc.jsonValue())),
      fieldViolations: fc.jsonValue(),
      violations: fc.jsonValue(),
      retryDelay: fc.oneof(fc.constant('3s'), fc.jsonValue()),
    }),
  );
  const body = fc.oneof(
    fc.string(),
    fc.json(),
    fc
      .record({
        error: fc.record({
          status: fc.jsonValue(),
          message: fc.jsonValue(),
          details: fc.oneof(details, fc.jsonValue()),
        }),
      })
      .map((value) => JSON.stringify(value)),
  );
  fc.assert(
    fc.property(status, body, fc.option(fc.string(), { nil: undefined }), (status, body, retryAfter) => {
      const outcome = judge({ status, body, retryAfter }, at);
      if (outcome.kind === 'retry') {
        t.ok((outcome.afterMs >= 1_000 && outcome.afterMs <= 3_960_000) || t.fail(JSON.stringify(outcome)));
      }
      if (outcome.kind === 'gone' && !body.includes('FcmError') && !body.includes('INVALID_ARGUMENT')) return false;
      return outcome.kind === 'ok' || outcome.kind === 'reauthorize' || /^[A-Za-z][\w-]{0,63}$/.test(outcome.reason);
    }),
    { numRuns: 2_000 },
  );
});

t.test('the sandbox refuses what Google refuses, by field', async (t) => {
  const check = (message: unknown, rest: object = {}): string => {
    const read = readFcmRequest(JSON.stringify({ message, ...rest }));
    if (read.ok) return 'ok';
    return `${read.answer.status} ${JSON.parse(read.answer.body).error.message}`;
  };
  const token = 'fGx:APA91b-_~.1';
  for (const [message, said] of [
    [{ token }, /^ok$/],
    [{ token, data: { ext: '{"a":1}' }, android: { ttl: '0s', priority: 'NORMAL', collapse_key: 'c' } }, /^ok$/],
    [
      { token, android: { ttl: '2419200s', notification: { tag: 'm', notification_count: 4, channel_id: 'im' } } },
      /^ok$/,
    ],
    [{}, /Exactly one of token, topic or condition/],
    [{ token, topic: 'news' }, /Exactly one/],
    [{ token: 'no token' }, /^400 The registration token is not a valid FCM registration token/],
    [{ token, data: { badge: 4 } }, /Invalid value at 'message\.data\[0\]\.value' \(TYPE_STRING\), 4/],
    [{ token, data: ['x'] }, /Invalid value at 'message\.data'/],
    [{ token, data: { from: 'x' } }, /Invalid data payload key: from/],
    [{ token, data: { message_type: 'x' } }, /key: message_type/],
    [{ token, data: { 'google.x': 'x' } }, /key: google\.x/],
    [{ token, data: { gcm: 'x' } }, /key: gcm/],
    [{ token, android: { data: { gcm: 'x' } } }, /key: gcm/],
    [{ token, android: { ttl: '2419201s' } }, /message\.android\.ttl/],
    [{ token, android: { ttl: 60 } }, /message\.android\.ttl/],
    [{ token, android: { priority: 'URGENT' } }, /message\.android\.priority/],
    [{ token, android: { notification: { sound: 1 } } }, /message\.android\.notification\.sound/],
    [{ token, android: { notification: { notification_count: -1 } } }, /notification_count/],
    [{ token, android: { notification: { badge: 1 } } }, /Unknown name "badge" at 'message\.android\.notification'/],
    [{ token, notification: { text: 'x' } }, /Unknown name "text" at 'message\.notification'/],
    [{ token, alert: 'x' }, /Unknown name "alert" at 'message'/],
    [{ token, android: 'x' }, /Invalid value at 'message\.android'/],
    [{ token, notification: { body: 'x'.repeat(4_050) } }, /^400 Android message is too big/],
    ['x', /Message is not set/],
  ] as const) {
    t.match(check(message), said);
  }
  t.match(check({ token }, { dry_run: true }), /Unknown name "dry_run"/);
  const room = 4_096 - JSON.stringify({ token, notification: { body: '' } }).length;
  t.equal(check({ token, notification: { body: 'x'.repeat(room) } }), 'ok');
  t.match(check({ token, notification: { body: 'x'.repeat(room + 1) } }), /too big/);
  t.match(readFcmRequest('{'), { ok: false, answer: { status: 400 } });

  for (const word of fcmRefusals) {
    const { status, headers, body } = fcmRefusal(word, 'p', 5);
    t.equal(headers['retry-after'], '5');
    if (/^[0-9]+$/.test(word)) t.match(headers['content-type'], /^text\/html/);
    else t.match(JSON.parse(body), { error: { code: status, status: /^[A-Z_]+$/ } });
    t.same(parseFcmFault(word), { word });
  }
  for (const word of fcmBreaks) if (word !== 'slow') t.same(parseFcmFault(word), { word });
  t.same(parseFcmFault('slow:20'), { word: 'slow', amount: 20 });
  t.same(parseFcmFault('QUOTA_EXCEEDED:device:9'), { word: 'QUOTA_EXCEEDED:device', amount: 9 });
  for (const wrong of ['', 'slow', 'slow:', 'UNAVAILABLE:soon', 'reset:5', 'Unregistered']) {
    t.equal(parseFcmFault(wrong), undefined, wrong);
  }
});

t.test('[S8] whatever the payload of a push holds, the sandbox finds nothing to refuse in it', async (t) => {
  const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 3_000 }), fc.string({ maxLength: 5_000 }));
  const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
  const texts = fc.record({
    title: maybe(fc.string({ unit: 'grapheme', maxLength: 50 })),
    subtitle: fc.constant(undefined),
    prefix: fc.string({ maxLength: 60 }),
    content: text,
    ext: maybe(fc.string({ maxLength: 500 })),
    sound: maybe(fc.string({ maxLength: 100 })),
    counts: fc.boolean(),
    image: fc.constant(undefined),
    isMutable: fc.boolean(),
    channelId: maybe(fc.string({ minLength: 1, maxLength: 100 })),
    thread: fc.string({ minLength: 1, maxLength: 60 }),
  });
  const token = fc.stringMatching(/^[\w:-]{1,250}$/);
  fc.assert(
    fc.property(texts, token, fc.integer({ min: 0, max: 10 ** 12 }), fc.integer(), (text, token, deadlineMs, badge) => {
      const payload = fcmPayload({ text, seq: 1, token, collapseId: 'c', deadlineMs, nowMs: 0, dropExt: true, badge });
      if (!payload.ok) return true;
      const read = readFcmRequest(payload.body);
      return read.ok || t.fail(read.answer.body);
    }),
    { numRuns: 1_000 },
  );
  t.pass();
});

t.test('the sandbox: quotas, dry runs, other projects, what a device shows, and what it keeps', async (t) => {
  const { fcm, settings, sender } = await openFcmBench(t, { perMin: 8, perDeviceMin: 3, maxArrivals: 4 });
  const one = sender();
  const shows = (token: string) => fcm.shown(token).map(({ key, times }) => `${key} ${times}`);
  await one.send(fcmPush('a', 'm1'));
  await one.send(fcmPush('a', 'm2'));
  await one.send(fcmPush('a', 'm1'));
  t.same(shows('a'), ['m2 1', 'm1 2'], 'the same tag in the same place');
  t.match(fcm.shown('a')[1], { title: 'lin', body: 'hello' });
  t.match(await one.send(fcmPush('a')), { kind: 'retry', scope: 'device', afterMs: 60_000 });
  const data = { android: { collapse_key: 'c' }, data: { ext: 'x' } };
  t.match(await one.send(fcmPush('b', '', data)), { kind: 'ok' });
  t.same(shows('b'), [], 'data alone shows nothing');
  const collapsed = { android: { collapse_key: 'c' }, notification: { body: 'plain' } };
  await one.send(fcmPush('b', '', collapsed));
  t.same(shows('b'), ['c 1']);
  const dry = {
    ...fcmPush('c'),
    body: JSON.stringify({ validate_only: true, message: { token: 'c', notification: {} } }),
  };
  t.match(await one.send(dry), { kind: 'ok' });
  t.same([fcm.taken, fcm.received, shows('c')], [5, 7, []]);
  await one.send(fcmPush('d'));
  t.match(
    await one.send(fcmPush('d')),
    { kind: 'retry', scope: 'channel', afterMs: 60_000 },
    'the ninth of the minute',
  );
  t.ok(fcm.arrivals.length < 8);
  t.match(fcm.arrivals.at(-1), { token: 'd', status: 429, answered: 'QUOTA_EXCEEDED' });

  const elsewhere = settings.serviceAccount?.replace('"qalgate-sandbox"', '"another"') as string;
  t.match(await sender({}, { serviceAccount: elsewhere }).send(fcmPush('a')), {
    kind: 'halt',
    reason: 'PERMISSION_DENIED',
  });
});

t.test(
  'the sandbox gives access tokens for a grant that is right in each of its parts, and for no other',
  async (t) => {
    const pair = () => generateKeyPairSync('rsa', { modulusLength: 2_048 });
    const pem = (key: ReturnType<typeof pair>) => key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const [own, other] = [pair(), pair()];
    const clock = { nowMs: 1_800_000_000_000 };
    const clientEmail = 'push@p.iam.gserviceaccount.com';
    const tokenUri = 'https://127.0.0.1:1/token';
    const oauth = createFcmOauth({
      clientEmail,
      privateKey: pem(own),
      tokenUri: () => tokenUri,
      clock: () => clock.nowMs,
      lifeSec: 60,
    });
    const ask = (assertion: string, type = 'urn:ietf:params:oauth:grant-type:jwt-bearer') =>
      JSON.parse(oauth.answer(new URLSearchParams({ grant_type: type, assertion }).toString()).body);
    const account = { projectId: 'p', clientEmail, privateKey: '', tokenUri };
    const good = grant(account, own.privateKey, clock.nowMs);
    const { access_token: token, expires_in: lifeSec } = ask(good);
    t.equal(lifeSec, 60);
    t.ok(oauth.isValid(`Bearer ${token}`));
    t.notOk(oauth.isValid(token) || oauth.isValid('Bearer x') || oauth.isValid(''));
    clock.nowMs += 60_000;
    t.notOk(oauth.isValid(`Bearer ${token}`), 'it ends');

    const claims = (change: object): string => {
      const [, middle = ''] = good.split('.');
      const changed = { ...JSON.parse(Buffer.from(middle, 'base64url').toString()), ...change };
      const signed = `${good.split('.')[0]}.${Buffer.from(JSON.stringify(changed)).toString('base64url')}`;
      return `${signed}.${sign('sha256', Buffer.from(signed), own.privateKey).toString('base64url')}`;
    };
    const nowSec = clock.nowMs / 1_000;
    t.match(ask(claims({})), { token_type: 'Bearer' });
    for (const [assertion, said] of [
      ['', /header/],
      [`${Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url')}.e30.`, /header/],
      [grant(account, other.privateKey, clock.nowMs), /Signature/],
      [claims({ iss: 'somebody@else' }), /account not found/],
      [claims({ aud: 'https://oauth2.googleapis.com/token' }), /audience/],
      [claims({ exp: nowSec + 3_700, iat: nowSec }), /short-lived/],
      [claims({ exp: nowSec - 301, iat: nowSec - 400 }), /short-lived/],
      [claims({ iat: nowSec + 301, exp: nowSec + 400 }), /short-lived/],
      [claims({ exp: undefined }), /short-lived/],
      [claims({ scope: 'https://www.googleapis.com/auth/devstorage.read_only' }), /scope/],
    ] as const) {
      t.match(ask(assertion), { error: /^invalid_(grant|scope)$/, error_description: said });
    }
    t.match(ask(good, 'password'), { error: 'unsupported_grant_type' });
  },
);
