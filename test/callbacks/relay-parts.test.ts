import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { type Endpoint, endpointOf } from '../../src/callbacks/endpoint/endpoint.ts';
import type { PostFailure, PostResult } from '../../src/callbacks/endpoint/post.ts';
import { bodyOf, statePlatform } from '../../src/callbacks/relay/bodies.ts';
import { type Attempt, type Entry, withAttempt, withGap } from '../../src/callbacks/relay/entry.ts';
import { createGate, type Gate, type GateOptions, type Slot } from '../../src/callbacks/relay/gate.ts';
import type { Lane } from '../../src/callbacks/relay/lane.ts';
import { judge, retryDelayMs } from '../../src/callbacks/relay/retry.ts';
import { createWaker, type Waker, type WakerOptions } from '../../src/callbacks/relay/waker.ts';
import { createMetrics } from '../../src/observe/index.ts';
import { createBatcher } from '../../src/store/index.ts';
import { callbackApp } from '../support/callbacks.ts';
import { makeTestLogger, until } from '../support/database.ts';
import { metricOf } from '../support/metrics.ts';

const { logger } = makeTestLogger();

// ── What to make of an attempt, and when to try again ──

const answer = (status: number, retryAfterMs?: number): PostResult => ({
  kind: 'answer',
  status,
  body: '',
  isEncoded: false,
  tookMs: 1,
  ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
});

t.test('[K6] any 2xx is an acknowledgement, 410 an end, 413 in vain; everything else is tried again', async (t) => {
  for (let status = 200; status < 300; status++) t.strictSame(judge(answer(status)), { kind: 'delivered', status });
  t.strictSame(judge(answer(410)), { kind: 'gone' });
  t.strictSame(judge(answer(413)), { kind: 'never', reason: 'too-large' });
  // Against the endpoint speaks what stands in front of a backend that is not there.
  for (const status of [429, 502, 503, 504]) t.strictSame(judge(answer(status)), { kind: 'again', endpoint: true });
  for (const status of [301, 302, 304, 307, 400, 401, 403, 404, 408, 409, 411, 422, 499, 500, 501, 505, 599]) {
    t.strictSame(judge(answer(status)), { kind: 'again', endpoint: false }, String(status));
  }
  for (const failure of ['refused', 'timeout', 'reset'] as PostFailure[]) {
    t.strictSame(judge({ kind: 'failed', failure, detail: '', tookMs: 1 }), { kind: 'again', endpoint: true });
  }
  t.strictSame(judge(answer(500, 7_000)), { kind: 'again', endpoint: false, afterMs: 7_000 });
  t.strictSame(judge(answer(503, 10 ** 12)), { kind: 'again', endpoint: true, afterMs: 3_600_000 }, 'an hour at most');
});

t.test('[K6] pauses between attempts double from a second to five minutes, a quarter more or less', async (t) => {
  const bases = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300].map((sec) => sec * 1_000);
  for (const [index, baseMs] of bases.entries()) {
    t.equal(retryDelayMs(index + 1, 0), baseMs * 0.75);
    t.equal(retryDelayMs(index + 1, 0.5), baseMs);
    t.equal(retryDelayMs(index + 1, 1), baseMs * 1.25);
  }
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1_000_000 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.integer({ min: 0, max: 3_600_000 }),
      (failures, random, askedMs) => {
        const ms = retryDelayMs(failures, random, askedMs);
        const plain = retryDelayMs(failures, random);
        return (
          Number.isInteger(plain) &&
          ms === Math.max(plain, askedMs) &&
          plain >= 750 &&
          plain <= 375_000 &&
          retryDelayMs(failures + 1, random) >= plain &&
          retryDelayMs(failures, Math.min(1, random + 0.1)) >= plain
        );
      },
    ),
  );
});

// ── What is remembered of attempts and of what was given up ──

t.test('of many failed attempts the first and the last seven are kept', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), (count) => {
      let log: Attempt[] = [];
      for (let n = 0; n < count; n++) log = withAttempt(log, { atMs: n, tookMs: 1, status: 500 });
      const kept = log.map(({ atMs }) => atMs);
      const expected = Array.from({ length: count }, (_, n) => n);
      return String(kept) === String(count <= 8 ? expected : [0, ...expected.slice(-7)]);
    }),
  );
});

t.test('[K6] a gap names the last ten that were given up, each by the id of its first entry', async (t) => {
  const one = (id: number, originId: number | null = null) => ({ id, originId });
  t.equal(withGap(undefined, one(7)), '7');
  t.equal(withGap('7', one(9, 3)), '7,3');
  let gap: string | undefined;
  for (let id = 1; id <= 25; id++) gap = withGap(gap, one(id));
  t.equal(gap, '16,17,18,19,20,21,22,23,24,25');
});

// ── Bodies ──

const entryOf = (more: Partial<Entry>): Entry => ({
  id: 77,
  day: 20_000,
  sdkAppId: 1,
  drainKey: '5',
  command: 'Group.CallbackAfterSendMsg',
  conversationId: null,
  seq: null,
  originId: null,
  body: null,
  message: undefined,
  createdMs: 0,
  nextAttemptMs: 0,
  attempts: 0,
  log: [],
  ...more,
});

t.test('[P3] state changes: action and reason by their names of 2018 and 2020', async (t) => {
  const names = {
    '2018': {
      login: ['Login', 'Register'],
      logout: ['Logout', 'Unregister'],
      'link-closed': ['Logout', 'LinkClose'],
      timeout: ['Logout', 'Timeout'],
      kicked: ['Logout', 'LinkClose'],
    },
    '2020': {
      login: ['Login', 'Register'],
      logout: ['Logout', 'Unregister'],
      'link-closed': ['Disconnect', 'LinkClose'],
      timeout: ['Disconnect', 'TimeOut'],
      kicked: ['Logout', 'LinkClose'],
    },
  } as const;
  for (const stateNames of ['2018', '2020'] as const) {
    for (const [reason, [Action, Reason]] of Object.entries(names[stateNames])) {
      const body = JSON.stringify({ account: 'al"ice', platform: 'iPad', state: 'offline', reason, timeMs: 1_234 });
      const told = bodyOf(entryOf({ command: 'State.StateChange', drainKey: 'a5', body }), { stateNames });
      t.strictSame(told, {
        body: `{"CallbackCommand":"State.StateChange","Info":{"Action":"${Action}","To_Account":"al\\"ice","Reason":"${Reason}"},"EventTime":1234,"Version":77}`,
        origin: { platform: 'IPad', address: '' },
      });
    }
  }
  const again = entryOf({
    command: 'State.StateChange',
    originId: 12,
    body: JSON.stringify({ account: 'a', platform: 'Toaster', state: 'online', reason: 'login', timeMs: 1 }),
  });
  t.match(bodyOf(again, { stateNames: '2018' }), { body: /"Version":12\}$/, origin: { platform: 'Unkown' } });
});

t.test('[K3] messages and other events, byte for byte', async (t) => {
  const message = {
    from: 'alice',
    to: 'bob',
    body: '[{"MsgType":"TIMTextElem","MsgContent":{"Text":"gr\\u0000üß 😀 \\u2028"}},{"MsgType":"TIMCustomElem","MsgContent":{"Data":"{\\"a\\": 1}"}}]',
    msgSeq: 3,
    random: 4,
    time: 5,
    custom: null,
  };
  const entry = entryOf({
    command: 'C2C.CallbackAfterSendMsg',
    conversationId: 5,
    seq: 9,
    body: '{"platform":"Web","address":"10.0.0.9"}',
    message,
  });
  const head =
    '{"CallbackCommand":"C2C.CallbackAfterSendMsg","From_Account":"alice","To_Account":"bob","MsgSeq":3,"MsgRandom":4,"MsgTime":5,"MsgKey":"3_4_5","OnlineOnlyFlag":0,"MsgBody":';
  const told = bodyOf(entry, { stateNames: '2018' });
  t.equal(told?.body, `${head}${JSON.stringify(JSON.parse(message.body))},"SendMsgResult":0,"ErrorInfo":""}`);
  t.strictSame(told?.origin, { platform: 'Web', address: '10.0.0.9' });
  const withCustom = { ...entry, body: null, message: { ...message, body: '[]', custom: '{"x":1}' } };
  t.strictSame(bodyOf(withCustom, { stateNames: '2018' }), {
    body: `${head}[],"CloudCustomData":"{\\"x\\":1}","SendMsgResult":0,"ErrorInfo":""}`,
    origin: { platform: 'Unkown', address: '' },
  });
  t.equal(bodyOf({ ...entry, message: undefined }, { stateNames: '2018' }), undefined, 'its message has expired');

  const fields = { GroupId: '@TGS#1', nested: { list: [1, null, 'ü'] } };
  const origin = { platform: 'RESTAPI', address: '::1' };
  t.strictSame(bodyOf(entryOf({ body: JSON.stringify({ fields, origin }) }), { stateNames: '2018' }), {
    body: '{"CallbackCommand":"Group.CallbackAfterSendMsg","GroupId":"@TGS#1","nested":{"list":[1,null,"ü"]}}',
    origin,
  });
  // What a dead letter keeps is sent as it was, with spaces, order and all; whatever its command.
  const raw = '{ "CallbackCommand" : "State.StateChange", "n": 1.0,\n"z":"\\u00fc" }';
  for (const command of ['Group.CallbackAfterSendMsg', 'State.StateChange'] as const) {
    t.strictSame(bodyOf(entryOf({ command, body: JSON.stringify({ raw, origin }) }), { stateNames: '2018' }), {
      body: raw,
      origin,
    });
  }
});

/** Bodies that no part of ours writes. */
const malformed = [null, '', '{', 'null', '[]', '"text"', '7', '{"reason":"bored"}', '{"fields":'];

t.test('what is malformed is said to be, and is nobody else’s state', async (t) => {
  for (const body of malformed) {
    const state = entryOf({ command: 'State.StateChange', body });
    t.throws(() => bodyOf(state, { stateNames: '2018' }), `state ${body}`);
    t.doesNotThrow(() => statePlatform(state));
  }
  t.not(statePlatform(entryOf({ body: '{1' })), statePlatform(entryOf({ body: '{2' })));
  t.equal(statePlatform(entryOf({ body: '{"platform":"iOS"}' })), 'iOS');
});

// ── The gate ──

const endpoints = new Map<string, Endpoint>();

function endpoint(name: string, concurrency = 8): Endpoint {
  let one = endpoints.get(`${name} ${concurrency}`);
  if (one === undefined) {
    const made = endpointOf(
      callbackApp(1, { url: `https://${name}.example/`, concurrency }),
      'Group.CallbackAfterSendMsg',
    );
    if (made === undefined) throw new Error('no endpoint');
    one = made;
    endpoints.set(`${name} ${concurrency}`, one);
  }
  return one;
}

const lane = (key: number | string, { id }: Endpoint = endpoint('a')): Lane => ({
  sdkAppId: 1,
  endpointId: id,
  drainKey: String(key),
});

function openGate(t: Test, options: Partial<GateOptions> = {}) {
  const woken: Lane[] = [];
  const looks = { count: 0 };
  const luck = { number: 0.5 };
  const metrics = createMetrics();
  let nowMs = 1_000;
  const gate = createGate(
    {
      wake: (lanes) => woken.push(...lanes),
      lookForAll: () => {
        looks.count += 1;
      },
      clock: () => nowMs++,
      random: () => luck.number,
      metrics,
    },
    { concurrency: 32, ...options },
  );
  t.teardown(() => gate.close());
  return { gate, woken, looks, luck, metrics };
}

async function mustEnter(gate: Gate, one: Endpoint): Promise<Slot> {
  const slot = await gate.enter(one);
  if (slot === undefined) throw new Error('no place');
  return slot;
}

/** Fails so often in a row that the endpoint counts as dead. */
async function kill(gate: Gate, one: Endpoint, failures = 5): Promise<void> {
  const slots = [];
  for (let n = 0; n < failures; n++) slots.push(await mustEnter(gate, one));
  for (const slot of slots) slot.release('dead');
}

const circuitOf = (gate: Gate, { id }: Endpoint) => gate.circuits().find(({ endpointId }) => endpointId === id);

t.test('[K7] so many places as the endpoint has, whoever asks, and each is given back once', async (t) => {
  const { gate } = openGate(t);
  const a = endpoint('a', 3);
  let held = 0;
  let most = 0;
  let done = 0;
  const worker = async (): Promise<void> => {
    for (let n = 0; n < 20; n++) {
      const slot = await gate.enter(a);
      if (slot === undefined) {
        await delay(1);
        continue;
      }
      held += 1;
      most = Math.max(most, held);
      await delay(n % 3);
      held -= 1;
      slot.release(n % 4 === 0 ? 'alive' : 'delivered');
      slot.release('dead');
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: 12 }, worker));
  t.equal(most, 3);
  const slot = await mustEnter(gate, a);
  slot.release('delivered');
  for (let n = 0; n < 10; n++) slot.release('dead');
  t.equal(gate.isDead(a.id), false);
  t.ok(done > 50, `${done} had a place`);
  t.match(circuitOf(gate, a), { inFlight: 0, state: 'closed' });
});

t.test(
  '[K7] a quarter of the runs waits for a place, and not for long; the others are sent away and come in turn',
  async (t) => {
    const { gate, woken } = openGate(t);
    const a = endpoint('a', 1);
    const held = await mustEnter(gate, a);
    const startedMs = performance.now();
    const results: (Slot | undefined)[] = [];
    const waiting = Array.from({ length: 20 }, async () => {
      const slot = await gate.enter(a);
      results.push(slot);
      return slot;
    });
    await new Promise((resolve) => setImmediate(resolve));
    t.equal(results.length, 12, 'eight of 32 wait');
    t.ok(results.every((slot) => slot === undefined));
    t.ok((gate.away(a, lane(1)) ?? 0) >= 15_000, 'a lane that comes now is sent away at its beginning');
    held.release('delivered');
    await until(() => results.length === 13);
    t.ok(results[12], 'one that waited has the place');
    await until(() => woken.length === 1);
    t.strictSame(woken, [lane(1)], 'and a lane that was sent away may wait in its stead');
    await Promise.all(waiting);
    t.ok(performance.now() - startedMs < 5_000);
    t.equal(results.filter((slot) => slot !== undefined).length, 1, 'the others have lost patience');
    results[12]?.release('delivered');
    t.ok(await gate.enter(a));
  },
);

t.test('where places come quickly any number waits for one, until they no longer do', async (t) => {
  const { gate } = openGate(t);
  // So many places that a machine which stands still for a moment makes it no slow one.
  const places = 32;
  const a = endpoint('a', places);
  const b = endpoint('b', 1);
  for (let n = 0; n < 40; n++) (await mustEnter(gate, a)).release('delivered');
  const held = await Promise.all(Array.from({ length: places }, () => mustEnter(gate, a)));
  let answers = 0;
  const waiting = Array.from({ length: 12 }, async () => {
    const slot = await gate.enter(a);
    answers += 1;
    return slot;
  });
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(answers, 0, 'more than a quarter of the runs wait');
  await mustEnter(gate, b);
  let others = 0;
  const atOther = Array.from({ length: 9 }, async () => {
    await gate.enter(b);
    others += 1;
  });
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(others, 1, 'and as many as ever may at another endpoint');
  await until(() => gate.away(a, lane(1)) !== undefined);
  for (const slot of held) slot.release('delivered');
  await Promise.all([...waiting.map(async (one) => (await one)?.release('delivered')), ...atOther]);
});

t.test('[K7] a slow endpoint sends lanes away at once, and has them back one for each free place', async (t) => {
  const { gate, woken } = openGate(t);
  const a = endpoint('a', 2);
  const slots = [await mustEnter(gate, a), await mustEnter(gate, a)];
  t.equal(gate.away(a, lane(0)), undefined, 'full, but quick so far');
  await until(() => gate.away(a, lane(0)) !== undefined);
  for (const key of [1, 2, 3, 4, 1]) t.ok((gate.away(a, lane(key)) ?? 0) >= 15_000);
  const beforeMs = performance.now();
  t.equal(await gate.enter(a), undefined);
  t.ok(performance.now() - beforeMs < 200);
  t.equal(circuitOf(gate, a)?.parkedLanes, 5);
  t.strictSame(woken, []);
  slots[0]?.release('delivered');
  t.strictSame(woken, [lane(0)]);
  slots[1]?.release('alive');
  t.strictSame(woken, [lane(0), lane(2), lane(3)], 'as many as there is room for; 1 has come again since');
  t.equal(gate.away(a, lane(9)), undefined, 'there is room');
  // Those that were woken do not come: their wakes may be lost. Lane 4 and 1 are called all the same.
  await until(() => woken.length === 5);
  t.strictSame(woken.slice(3), [lane(4), lane(1)]);
});

t.test('[K7] a dead endpoint gets one probe at a time, with growing pauses', async (t) => {
  const { gate, woken } = openGate(t, { probeMs: 60, maxProbeMs: 200 });
  const a = endpoint('a');
  for (let key = 0; key < 100; key++) t.equal(gate.away(a, lane(key)), undefined);
  await kill(gate, a, 4);
  t.equal(gate.isDead(a.id), false);
  (await mustEnter(gate, a)).release('alive');
  await kill(gate, a, 4);
  t.equal(gate.isDead(a.id), false, 'an answer between begins the count anew');
  const turnedMs = performance.now();
  (await mustEnter(gate, a)).release('dead');
  t.equal(gate.isDead(a.id), true);
  t.equal(circuitOf(gate, a)?.state, 'open');
  for (let key = 0; key < 100; key++) {
    const awayMs = gate.away(a, lane(key));
    if (performance.now() - turnedMs < 60 * 0.9) t.ok((awayMs ?? 0) >= 30_000);
  }

  const calledMs: number[] = [turnedMs];
  for (const [probe, leastMs] of [60, 120, 200, 200].entries()) {
    const early = await gate.enter(a);
    // On a busy machine the pause may be over by now.
    if (performance.now() - (calledMs.at(-1) ?? 0) < leastMs * 0.9) t.equal(early, undefined, 'nobody before that');
    early?.release('unused');
    await until(() => woken.length === probe + 1);
    t.ok(performance.now() - (calledMs.at(-1) ?? 0) >= leastMs, `after ${leastMs} ms`);
    const slot = await mustEnter(gate, a);
    t.equal(circuitOf(gate, a)?.state, 'half-open');
    t.equal(await gate.enter(a), undefined, 'one at a time');
    t.ok((gate.away(a, lane('other')) ?? 0) >= 30_000);
    calledMs.push(performance.now());
    slot.release('dead');
  }
  t.equal(circuitOf(gate, a)?.inFlight, 0);
});

t.test('[K7] the lane that is called as a probe came last; if it does not come, another is called', async (t) => {
  const { gate, woken } = openGate(t, { probeMs: 10, maxProbeMs: 20 });
  const a = endpoint('a');
  await kill(gate, a);
  for (const key of [1, 2, 3]) gate.away(a, lane(key));
  await until(() => woken.length === 3);
  t.strictSame(woken, [lane(3), lane(2), lane(1)]);
  const slot = await mustEnter(gate, a);
  slot.release('delivered');
  t.equal(gate.isDead(a.id), false);
});

t.test(
  '[O2] [K7] a dead endpoint that is said to answer gets its probe without the pause, and others soon',
  async (t) => {
    const { gate, woken, luck } = openGate(t, { probeMs: 10 });
    const a = endpoint('a');
    gate.probe(a.id);
    // A number that no generator gives: the pauses are days now.
    luck.number = 1e8;
    await kill(gate, a);
    gate.away(a, lane(1));
    gate.probe(endpoint('b').id);
    await until(() => (circuitOf(gate, a)?.state === 'open' ? true : undefined));
    t.equal(await gate.enter(a), undefined);
    gate.probe(a.id);
    // As soon as a probe may follow at all.
    const early = await until(() => gate.enter(a));
    t.strictSame(woken, [], 'without being called');
    t.equal(await gate.enter(a), undefined, 'one at a time');
    luck.number = 0.5;
    gate.probe(a.id);
    early.release('dead');
    await until(() => woken.length === 1);
    (await until(() => gate.enter(a))).release('alive');
    t.equal(gate.isDead(a.id), false, 'what was said while a probe was out holds for the next one');
  },
);

t.test('[K7] when it answers again every lane that was sent away is woken', async (t) => {
  const { gate, woken, looks, metrics } = openGate(t, { probeMs: 60_000 });
  const a = endpoint('a');
  const [early, late] = [await mustEnter(gate, a), await mustEnter(gate, a)];
  await kill(gate, a);
  for (let key = 0; key < 1_000; key++) gate.away(a, lane(key));
  t.equal(await metricOf(metrics, 'qalgate_callbacks_parked_lanes'), 1_000);
  t.equal(await metricOf(metrics, 'qalgate_callbacks_dead_endpoints'), 1);
  t.equal(gate.recoveredMs(a.id), 0);
  t.equal(gate.lastSuccessMs(a.id), 0);
  early.release('alive');
  t.equal(new Set(woken.map(({ drainKey }) => drainKey)).size, 1_000);
  t.equal(woken.length, 1_000, 'each once');
  t.ok(gate.recoveredMs(a.id) > 0);
  t.equal(gate.lastSuccessMs(a.id), 0, 'an answer is no success yet');
  late.release('dead');
  for (let n = 0; n < 3; n++) (await mustEnter(gate, a)).release('dead');
  t.equal(gate.isDead(a.id), false, 'what was sent before the end says nothing of now');
  (await mustEnter(gate, a)).release('delivered');
  t.ok(gate.lastSuccessMs(a.id) > 0);
  t.equal(looks.count, 0);
});

t.test('[K7] of more lanes than are remembered the others are looked for', async (t) => {
  const { gate, woken, looks } = openGate(t, { probeMs: 60_000 });
  const a = endpoint('a');
  const early = await mustEnter(gate, a);
  await kill(gate, a);
  for (let key = 0; key < 20_050; key++) gate.away(a, lane(key));
  t.equal(circuitOf(gate, a)?.parkedLanes, 20_000);
  early.release('delivered');
  t.equal(looks.count, 1);
  t.equal(woken.length, 20_000);
  t.equal(gate.isDead(a.id), false, 'any answer shows that it lives');
});

t.test('[K7] lanes of a dead endpoint come back by themselves, the later the more they are', async (t) => {
  const { gate } = openGate(t, { probeMs: 10_000 });
  const a = endpoint('a');
  await kill(gate, a);
  t.equal(gate.away(a, lane(0)), 45_000);
  for (let key = 1; key < 10_000; key++) gate.away(a, lane(key));
  t.equal(gate.away(a, lane(0)), 300_000, '50 a second');
});

t.test('[K7] a place that was not used says nothing', async (t) => {
  const { gate } = openGate(t, { probeMs: 5 });
  const a = endpoint('a');
  for (let n = 0; n < 4; n++) (await mustEnter(gate, a)).release('dead');
  (await mustEnter(gate, a)).release('unused');
  (await mustEnter(gate, a)).release('dead');
  t.equal(gate.isDead(a.id), true, 'it did not interrupt the row');
  await delay(7);
  (await mustEnter(gate, a)).release('unused');
  t.equal(gate.isDead(a.id), true, 'and is no probe that succeeded');
});

t.test('[K7] endpoints in trouble have half of the runs, all of them together', async (t) => {
  const { gate } = openGate(t, { concurrency: 6 });
  const [a, b, good] = [endpoint('a'), endpoint('b'), endpoint('good')];
  for (const one of [a, b]) (await mustEnter(gate, one)).release('dead');
  const held = [await mustEnter(gate, a), await mustEnter(gate, a), await mustEnter(gate, b)];
  t.equal(await gate.enter(a), undefined);
  t.equal(await gate.enter(b), undefined);
  t.ok((gate.away(b, lane(1, b)) ?? 0) >= 15_000, 'its lanes are sent away');
  t.equal(gate.away(good, lane(1, good)), undefined);
  const others = await Promise.all(Array.from({ length: 8 }, () => mustEnter(gate, good)));
  t.equal(others.length, 8, 'the others are not bounded by it');
  held[0]?.release('delivered');
  t.ok(await gate.enter(a), 'out of trouble');
  for (const place of [2, 3]) t.ok(await gate.enter(b), `and so there is room for the other: ${place}`);
  t.equal(await gate.enter(b), undefined);
});

t.test('[K7] what is no endpoint any more is forgotten, when nothing is under way to it', async (t) => {
  const { gate, woken } = openGate(t, { probeMs: 5 });
  const [a, b, c] = [endpoint('a'), endpoint('b'), endpoint('c')];
  await kill(gate, a);
  gate.away(a, lane(1));
  const slot = await mustEnter(gate, b);
  (await mustEnter(gate, c)).release('delivered');
  gate.keep(new Set([c.id]));
  t.strictSame(
    gate.circuits().map(({ url }) => url),
    [b.url, c.url],
  );
  slot.release('delivered');
  gate.keep(new Set([c.id]));
  t.strictSame(
    gate.circuits().map(({ url }) => url),
    [c.url],
  );
  await delay(20);
  t.strictSame(woken, [], 'and gets no probes');
  t.equal(gate.away(a, lane(1)), undefined, 'it would begin anew');
});

t.test('who waits for a place when the gate is closed waits no longer', async (t) => {
  const { gate } = openGate(t);
  const a = endpoint('a', 1);
  await mustEnter(gate, a);
  const waiting = Promise.all([gate.enter(a), gate.enter(a)]);
  gate.close();
  t.strictSame(await waiting, [undefined, undefined]);
});

// ── Waking lanes ──

interface QueueCall {
  keys: string[];
  now: boolean;
  delayMs?: number;
}

function openWaker(
  wake: (lanes: readonly Lane[], now: boolean) => Promise<void> = async () => {},
  options: WakerOptions = {},
) {
  const calls: QueueCall[] = [];
  const metrics = createMetrics();
  const waker = createWaker(
    {
      queue: {
        wake: async (lanes, { now = false, delayMs } = {}) => {
          const keys = lanes.map(({ drainKey }) => drainKey);
          calls.push({ keys, now, ...(delayMs === undefined ? {} : { delayMs }) });
          await wake(lanes, now);
        },
      },
      logger,
      metrics,
    },
    options,
  );
  return { waker, calls, metrics };
}

/** Runs lanes here, each until the test lets it go. */
function runHere(waker: Waker, max: number) {
  const held = new Map<string, (delayMs?: number) => void>();
  const runs = {
    started: [] as string[],
    ended: [] as string[],
    signals: new Map<string, AbortSignal>(),
    async release(key: string | number, delayMs?: number) {
      held.get(String(key))?.(delayMs);
      await until(() => runs.ended.includes(String(key)));
    },
  };
  waker.runHere(async (one, signal) => {
    const running = waker.begin(one);
    const key = one.drainKey;
    runs.started.push(key);
    runs.signals.set(key, signal);
    const { promise, resolve } = Promise.withResolvers<number | undefined>();
    held.set(key, resolve);
    const delayMs = await promise;
    runs.ended.push(key);
    running.end(delayMs);
  }, max);
  return runs;
}

t.test('lanes that are woken in one turn go together, each once; the more urgent word holds', async (t) => {
  const { waker, calls } = openWaker();
  waker.wake(lane(1));
  waker.wake(lane(2));
  waker.wake(lane(1));
  waker.wakeNow([lane(3), lane(2)]);
  waker.wake(lane(3));
  t.strictSame(calls, []);
  await until(() => calls.length === 2);
  t.strictSame(calls, [
    { keys: ['1'], now: false },
    { keys: ['2', '3'], now: true },
  ]);
  waker.wake(lane(4));
  await waker.close();
  t.strictSame(calls.slice(2), [{ keys: ['4'], now: false }], 'closing hands over what waits');
  waker.wake(lane(5));
  await waker.close();
  t.equal(calls.length, 3);
});

t.test('a lane that runs here is not woken in the queue: its run hears of it', async (t) => {
  const { waker, calls } = openWaker();
  const run = waker.begin(lane(1));
  const during = (wakes: () => void) => {
    wakes();
    return run.woken();
  };
  t.equal(
    during(() => {}),
    'no',
  );
  t.equal(
    during(() => waker.wake(lane(1))),
    'yes',
  );
  t.equal(run.woken(), 'no', 'once');
  t.equal(
    during(() => waker.wakeNow([lane(1)])),
    'now',
  );
  t.equal(
    during(() => {
      waker.wakeNow([lane(1)]);
      waker.wake(lane(1));
    }),
    'now',
  );
  t.equal(
    during(() => waker.wake(lane(2))),
    'no',
    'another one is nothing to it',
  );
  // After it was asked, and before the queue has it as waiting for its time: then it need not wait.
  waker.wakeNow([lane(1)]);
  run.end();
  run.end();
  await until(() => calls.length === 2);
  t.strictSame(calls, [
    { keys: ['2'], now: false },
    { keys: ['1'], now: true },
  ]);
  // What waits for its time goes on waiting when there is only more of it.
  const second = waker.begin(lane(1));
  waker.wake(lane(1));
  second.end(60_000);
  waker.wake(lane(3));
  await until(() => calls.length === 3);
  t.strictSame(calls.at(-1)?.keys, ['3']);
  // Between its last look and its end: nobody else would have it run.
  const third = waker.begin(lane(4));
  waker.wake(lane(4));
  third.end();
  await until(() => calls.length === 4);
  t.strictSame(calls.at(-1)?.keys, ['4']);
  await waker.close();
});

t.test('[K7] a lane that waits for its time costs nothing until then, unless it need not wait any more', async (t) => {
  const { waker, calls } = openWaker();
  const keys = (): string[] => calls.flatMap((call) => call.keys);
  waker.begin(lane(1)).end(60_000);
  waker.begin(lane(2)).end(60_000);
  waker.begin(lane(3)).end(30);
  waker.begin(lane(4)).end();
  t.strictSame(
    [1, 2, 3, 4, 5].map((key) => waker.knows(lane(key))),
    [true, true, true, false, false],
  );
  for (const key of [1, 2, 4]) waker.wake(lane(key));
  await until(() => calls.length === 1);
  t.strictSame(keys(), ['4']);
  waker.wakeNow([lane(1)]);
  await until(() => calls.length === 2);
  t.strictSame(calls[1], { keys: ['1'], now: true });
  t.equal(waker.knows(lane(1)), false);
  waker.wake(lane(1));
  await until(() => calls.length === 3);
  await until(() => !waker.knows(lane(3)));
  waker.wake(lane(3));
  await until(() => calls.length === 4);
  // It runs earlier than was said, as another one woke it: what is said after that holds.
  waker.begin(lane(2)).end();
  waker.wake(lane(2));
  await until(() => calls.length === 5);
  t.strictSame(keys(), ['4', '1', '1', '3', '2']);
  for (let key = 0; key < 50_100; key++) waker.begin(lane(`many ${key}`)).end(60_000);
  t.equal(waker.knows(lane('many 99')), false, 'so many are known, the last ones');
  t.equal(waker.knows(lane('many 100')), true);
  await waker.close();
});

t.test('wakes that do not reach the queue are counted, and there is a bound to those that wait', async (t) => {
  let isAway = true;
  const { waker, calls, metrics } = openWaker(async () => {
    if (isAway) throw new Error('away');
  });
  const lost = (reason: string) => metricOf(metrics, 'qalgate_callbacks_wakes_lost_total', { reason });
  for (let key = 0; key < 50_010; key++) waker.wake(lane(key));
  waker.wake(lane(0));
  t.equal(await lost('full'), 10);
  await until(async () => (await lost('queue-away')) === 50_000);
  t.equal(calls.length, 100);
  t.ok(calls.every(({ keys }) => keys.length === 500));
  isAway = false;
  waker.wake(lane('later'));
  await until(() => calls.length === 101);
  t.equal(await lost('queue-away'), 50_000);
  await waker.close();
});

t.test('lanes run where they are woken, in that order, so many at once; each once, and not by the queue', async (t) => {
  const { waker, calls, metrics } = openWaker();
  const waiting = () => metricOf(metrics, 'qalgate_callbacks_pending_lanes');
  const runs = runHere(waker, 2);
  for (const key of [1, 2, 3, 4, 5, 3]) waker.wake(lane(key));
  waker.wakeNow([lane(5), lane(4)]);
  t.strictSame(runs.started, ['1', '2'], 'at once');
  t.equal(await waiting(), 3);
  t.strictSame([waker.isBusy(), waker.isRunning(lane(2)), waker.isRunning(lane(3))], [true, true, false]);
  t.strictSame([waker.knows(lane(2)), waker.knows(lane(3)), waker.knows(lane(6))], [true, true, false]);
  await runs.release(2);
  t.strictSame(runs.started, ['1', '2', '3'], 'the next when one ends');
  waker.wake(lane(2));
  await runs.release(1);
  await runs.release(3);
  t.strictSame(runs.started, ['1', '2', '3', '4', '5']);
  await runs.release(4);
  t.strictSame(runs.started.slice(5), ['2'], 'what is woken again has its turn again, behind the others');
  t.equal(waker.isBusy(), false);
  runs.ended.length = 0;
  for (const key of [5, 2]) await runs.release(key);
  waker.wake(lane(3));
  t.strictSame(runs.started.slice(6), ['3'], 'and at once where nobody waits');
  await runs.release(3);
  t.equal(waker.knows(lane(3)), false);
  await waker.close();
  t.strictSame(calls, []);
});

t.test('[K6] a lane that waits here and that the queue runs first is not run a second time', async (t) => {
  const { waker, calls } = openWaker();
  const runs = runHere(waker, 1);
  for (const key of [1, 2, 3]) waker.wake(lane(key));
  const ofQueue = waker.begin(lane(2));
  t.equal(waker.isRunning(lane(2)), true);
  await runs.release(1);
  t.strictSame(runs.started, ['1', '3'], 'the run of the queue has a place of its own');
  waker.wake(lane(2));
  t.equal(ofQueue.woken(), 'yes');
  ofQueue.end();
  await runs.release(3);
  t.strictSame(runs.started, ['1', '3']);
  t.equal(waker.isBusy(), false);
  await waker.close();
  t.strictSame(calls, []);
});

t.test('[K6] lanes that were to be handed over, and that the queue does not take, have their turn here', async (t) => {
  const { waker, metrics } = openWaker(
    async () => {
      throw new Error('away');
    },
    { handOverMs: 40 },
  );
  const runs = runHere(waker, 1);
  for (const key of [1, 2, 3]) waker.wake(lane(key));
  await until(async () => runs.started.length === 1 && waker.isBusy());
  await new Promise((resolve) => setTimeout(resolve, 120));
  t.ok(waker.knows(lane(2)) && waker.knows(lane(3)), 'neither is lost');
  await runs.release(1);
  await until(() => runs.started.length === 2);
  await runs.release(runs.started[1] ?? '');
  await until(() => runs.started.length === 3);
  t.strictSame(runs.started.toSorted(), ['1', '2', '3']);
  t.equal(await metricOf(metrics, 'qalgate_callbacks_wakes_lost_total'), 0);
  await runs.release(runs.started[2] ?? '');
  await waker.close();
});

t.test('[K6] while it rests nothing begins, and then what waits has its turn', async (t) => {
  const { waker } = openWaker();
  const runs = runHere(waker, 2);
  waker.rest();
  const restingMs = performance.now();
  waker.wake(lane(1));
  t.strictSame(runs.started, []);
  t.ok(waker.knows(lane(1)));
  await until(() => runs.started.length === 1);
  t.ok(performance.now() - restingMs >= 200, 'after a while');
  await runs.release(1);
  await waker.close();
});

t.test(
  '[K7] what is left to do for a lane takes no place of others, and the lane is nobody else’s until it is done',
  async (t) => {
    const { waker } = openWaker();
    const started: string[] = [];
    const left = Promise.withResolvers<void>();
    waker.runHere(async (one) => {
      const running = waker.begin(one);
      started.push(one.drainKey);
      return async () => {
        await left.promise;
        running.end();
      };
    }, 1);
    waker.wake(lane(1));
    waker.wake(lane(2));
    await until(() => started.length === 2);
    waker.wake(lane(1));
    t.strictSame(started, ['1', '2']);
    t.equal(waker.isRunning(lane(1)), true);
    left.resolve();
    await until(() => started.length === 3);
    t.strictSame(started, ['1', '2', '1'], 'it was woken meanwhile');
    await waker.close();
  },
);

t.test('[K6] a lane that is woken between its last look and its end runs again, when it is its turn', async (t) => {
  const { waker, calls } = openWaker();
  const runs = runHere(waker, 1);
  waker.wake(lane(1));
  waker.wake(lane(2));
  waker.wake(lane(1));
  await runs.release(1);
  t.strictSame(runs.started, ['1', '2']);
  await runs.release(2);
  t.strictSame(runs.started, ['1', '2', '1']);
  // The same of a run of the queue.
  const ofQueue = waker.begin(lane(3));
  waker.wake(lane(3));
  ofQueue.end();
  runs.ended.length = 0;
  await runs.release(1);
  t.strictSame(runs.started, ['1', '2', '1', '3']);
  await runs.release(3);
  await waker.close();
  t.strictSame(calls, []);
});

t.test('a lane that the queue has as waiting is called there, and not run here before', async (t) => {
  let isAway = false;
  const { waker, calls, metrics } = openWaker(async () => {
    if (isAway) throw new Error('away');
  });
  const runs = runHere(waker, 4);
  for (const key of [1, 2, 3]) waker.wake(lane(key));
  t.equal(await waker.callLater(lane(1), 60_000), true);
  t.strictSame(calls, [{ keys: ['1'], now: false, delayMs: 60_000 }]);
  await runs.release(1, 60_000);
  waker.wakeNow([lane(2)]);
  await runs.release(2, 60_000);
  await runs.release(3, 200);
  t.strictSame(
    [1, 2, 3].map((key) => waker.knows(lane(key))),
    [true, false, true],
    '2 is called: it was told so before it was known to wait',
  );
  t.strictSame(calls[1], { keys: ['2'], now: true });
  for (const key of [1, 3]) waker.wake(lane(key));
  waker.wakeNow([lane(1)]);
  await until(() => calls.length === 3);
  t.strictSame(calls[2], { keys: ['1'], now: true });
  t.strictSame(runs.started, ['1', '2', '3']);
  await until(() => !waker.knows(lane(3)));
  waker.wake(lane(3));
  t.strictSame(runs.started.slice(3), ['3'], 'its time is over');
  isAway = true;
  t.equal(await waker.callLater(lane(3), 60_000), false);
  t.equal(await metricOf(metrics, 'qalgate_callbacks_wakes_lost_total', { reason: 'queue-away' }), 1);
  runs.ended.length = 0;
  await runs.release(3);
  await waker.close();
  t.equal(calls.length, 4);
});

t.test('lanes that have waited here for too long go to the queue; younger ones stay', async (t) => {
  const handOverMs = 400;
  const { waker, calls } = openWaker(undefined, { handOverMs });
  const runs = runHere(waker, 1);
  const wokenMs = performance.now();
  for (const key of [1, 2, 3]) waker.wake(lane(key));
  await until(() => performance.now() - wokenMs >= handOverMs / 2);
  waker.wake(lane(4));
  await until(() => calls.length === 1);
  t.ok(performance.now() - wokenMs >= handOverMs, 'not before');
  t.strictSame(calls, [{ keys: ['2', '3'], now: false }]);
  await runs.release(1);
  t.strictSame(runs.started, ['1', '4'], 'what went is not run here');
  await runs.release(4);
  t.strictSame(runs.started, ['1', '4']);
  await waker.close();
  t.equal(calls.length, 1);
});

t.test(
  '[K6] a call that need not wait is handed over until the queue has taken it; others the look finds',
  async (t) => {
    let isAway = true;
    const times: number[] = [];
    const answer = Promise.withResolvers<void>();
    const { waker, calls, metrics } = openWaker(async (_, now) => {
      times.push(performance.now());
      if (now) await answer.promise;
      if (isAway) throw new Error('away');
    });
    const lost = () => metricOf(metrics, 'qalgate_callbacks_wakes_lost_total', { reason: 'queue-away' });
    waker.wakeNow([lane(1), lane(2)]);
    waker.wake(lane(3));
    await until(() => calls.length === 2);
    // While they are being handed over: they still need not wait.
    waker.wake(lane(1));
    answer.resolve();
    await until(() => calls.length === 3);
    t.strictSame(calls[0], { keys: ['3'], now: false });
    t.strictSame(calls[1], { keys: ['1', '2'], now: true });
    t.strictSame(calls[2], { keys: ['1', '2'], now: true });
    t.ok((times[2] ?? 0) - (times[1] ?? 0) >= 495, 'after a rest');
    isAway = false;
    t.equal(await lost(), 1);
    await until(() => calls.length === 4);
    t.strictSame(calls[3], { keys: ['1', '2'], now: true });
    waker.wake(lane(4));
    await until(() => calls.length === 5);
    t.strictSame(calls[4], { keys: ['4'], now: false }, 'and no more');

    isAway = true;
    waker.wakeNow([lane(5)]);
    await until(() => calls.length === 6);
    const closingMs = performance.now();
    await waker.close();
    t.equal(await lost(), 2, 'unless it closes');
    t.equal(calls.length, 7, 'after a last try');
    t.ok(performance.now() - closingMs < 400, 'which waits for nothing');
  },
);

t.test('it closes when its runs have ended, and tells those to stop that take too long', async (t) => {
  const closeMs = 200;
  const { waker, calls } = openWaker(undefined, { closeMs });
  const runs = runHere(waker, 2);
  for (const key of ['short', 'heeds', 'waits']) waker.wake(lane(key));
  let isClosed = false;
  const startedMs = performance.now();
  const closed = waker.close().then(() => {
    isClosed = true;
  });
  await runs.release('short');
  const { promise: stopped, resolve: stop } = Promise.withResolvers<number>();
  const signal = runs.signals.get('heeds');
  t.equal(signal?.aborted, false);
  signal?.addEventListener('abort', () => stop(performance.now() - startedMs));
  t.ok((await stopped) >= closeMs - 1, 'not before');
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(isClosed, false, 'it waits for what is left to do');
  await runs.release('heeds');
  await closed;
  t.strictSame(runs.started, ['short', 'heeds'], 'nothing is begun any more');
  waker.wake(lane('late'));
  t.strictSame([runs.started.length, calls.length], [2, 0]);

  const prompt = openWaker(undefined, { closeMs: 20_000 });
  const last = runHere(prompt.waker, 1);
  prompt.waker.wake(lane(1));
  const closing = prompt.waker.close();
  t.equal(last.signals.get('1')?.aborted, false);
  await last.release(1);
  await closing;
  t.ok(performance.now() - startedMs < 10_000, 'who has ended is not waited for');

  const stuck = openWaker(undefined, { closeMs: 10 });
  runHere(stuck.waker, 1);
  stuck.waker.wake(lane(1));
  const stuckMs = performance.now();
  await stuck.waker.close();
  t.ok(performance.now() - stuckMs < 5_000, 'nor who never ends');
});

t.test('there is a bound to lanes that wait here or for the queue, together', async (t) => {
  const { waker, calls, metrics } = openWaker(undefined, { closeMs: 10 });
  const full = () => metricOf(metrics, 'qalgate_callbacks_wakes_lost_total', { reason: 'full' });
  const runs = runHere(waker, 1);
  waker.wake(lane('runs'));
  for (let key = 0; key < 20; key++) waker.begin(lane(`in queue ${key}`)).end(60_000);
  waker.wakeNow(Array.from({ length: 20 }, (_, key) => lane(`in queue ${key}`)));
  for (let key = 0; key < 50_000; key++) waker.wake(lane(key));
  t.strictSame(calls, []);
  t.equal(await full(), 20);
  t.equal(await metricOf(metrics, 'qalgate_callbacks_pending_lanes'), 49_980);
  t.strictSame([waker.knows(lane(49_979)), waker.knows(lane(49_980))], [true, false]);
  waker.wake(lane(0));
  t.equal(await full(), 20, 'what waits already is not lost');
  await until(() => calls.length === 1);
  waker.wake(lane('more'));
  t.equal(waker.knows(lane('more')), true, 'there is room again');
  const closed = waker.close();
  await runs.release('runs');
  await closed;
});

// ── Batches ──

t.test('a batcher asks at once, then for all that came meanwhile, in order and no more than it may', async (t) => {
  const batches: number[][] = [];
  let open = Promise.withResolvers<void>();
  const batcher = createBatcher(
    async (items: readonly number[]) => {
      batches.push([...items]);
      await open.promise;
      return items.map((item) => item * 2);
    },
    { max: 3, spacingMs: 0 },
  );
  const first = batcher.add(1);
  const second = batcher.add(2);
  await until(() => batches.length === 1);
  const rest = [3, 4, 5, 6].map((item) => batcher.add(item));
  open.resolve();
  t.strictSame(await Promise.all([first, second, ...rest]), [2, 4, 6, 8, 10, 12]);
  t.strictSame(batches, [[1, 2], [3, 4, 5], [6]]);
  open = Promise.withResolvers();
  const failing = [batcher.add(7), batcher.add(8)];
  await until(() => batches.length === 4);
  const later = batcher.add(9);
  open.reject(new Error('broken'));
  for (const one of failing) await t.rejects(one, { message: 'broken' });
  open = Promise.withResolvers();
  open.resolve();
  t.equal(await later.catch(() => batcher.add(9)), 18, 'it goes on');
});

t.test('a batcher keeps a distance between batches, but not for as many as it may', async (t) => {
  const batches: number[][] = [];
  const run = async (items: readonly number[]): Promise<readonly number[]> => {
    batches.push([...items]);
    return items;
  };
  const batcher = createBatcher(run, { max: 3, spacingMs: 1_000 });
  const startedMs = performance.now();
  t.equal(await batcher.add(1), 1);
  t.ok(performance.now() - startedMs < 1_000, 'the first at once');
  const second = batcher.add(2);
  await new Promise((resolve) => setTimeout(resolve, 20));
  await Promise.all([second, batcher.add(3)]);
  t.ok(performance.now() - startedMs >= 950);
  await Promise.all([4, 5, 6, 7, 8, 9].map((item) => batcher.add(item)));
  t.strictSame(batches, [[1], [2, 3], [4, 5, 6], [7, 8, 9]]);
});
