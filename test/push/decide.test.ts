import fc from 'fast-check';
import t from 'tap';
import { type DeviceFacts, decide, type MessageFacts, type ReadingFacts } from '../../src/push/decide.ts';
import type { Outcome } from '../../src/push/index.ts';
import { createBrake } from '../../src/push/queue/brake.ts';
import type { Item } from '../../src/push/queue/items.ts';
import { settle } from '../../src/push/queue/settle.ts';

const nowMs = 1_800_000_000_000;
const dayMs = 86_400_000;
const away: DeviceFacts = {
  isOfOtherLogin: false,
  hasLogin: true,
  wasKicked: false,
  isLinked: false,
  isBackground: false,
  lastThereMs: nowMs - 60_000,
  isOn: true,
  hasDesktop: false,
};
const fresh: MessageFacts = { isRecalled: false, storedMs: nowMs };
const unread: ReadingFacts = { readSeq: 4, deliveredSeq: 4, member: undefined };
const asked = { seq: 5, nowMs, awayDays: 7, notWithDesktop: false };

interface Case {
  device?: Partial<DeviceFacts> | undefined;
  message?: Partial<MessageFacts>;
  reading?: Partial<ReadingFacts>;
  asked?: Partial<typeof asked>;
  is: ReturnType<typeof decide>;
}

const skip = (reason: string) => ({ kind: 'skip', reason }) as Case['is'];
const push = { kind: 'push' } as const;

const cases: Record<string, Case> = {
  '[S1] cut off': { is: push },
  '[S1] in the background, with its link': { device: { isLinked: true, isBackground: true }, is: push },
  '[S1] in the foreground': { device: { isLinked: true }, is: { kind: 'wait', untilMs: nowMs + 10_000 } },
  'in the foreground, and has it': { device: { isLinked: true }, reading: { deliveredSeq: 5 }, is: skip('delivered') },
  'in the foreground, unheard for almost long enough': {
    device: { isLinked: true },
    message: { storedMs: nowMs - 9_999 },
    is: { kind: 'wait', untilMs: nowMs + 1 },
  },
  'in the foreground, unheard for too long': {
    device: { isLinked: true },
    message: { storedMs: nowMs - 10_000 },
    is: push,
  },
  'in the background, though a terminal has it': {
    device: { isLinked: true, isBackground: true },
    reading: { deliveredSeq: 9 },
    is: push,
  },
  'read elsewhere [S7]': { reading: { readSeq: 5 }, is: skip('read') },
  'all but this one read': { reading: { readSeq: 4 }, is: push },
  'recalled [S7]': { message: { isRecalled: true }, is: skip('recalled') },
  'logged out [S1]': { device: { hasLogin: false }, is: skip('logged-out') },
  'kicked [S1]': { device: { wasKicked: true }, is: skip('kicked') },
  'logged in elsewhere since [S9]': { device: { isOfOtherLogin: true }, is: skip('other-login') },
  'away for 7 days [S1]': { device: { lastThereMs: nowMs - 7 * dayMs }, is: skip('away') },
  'away for almost 7 days': { device: { lastThereMs: nowMs - 7 * dayMs + 1 }, is: push },
  'away for 7 days where the app says 30': {
    device: { lastThereMs: nowMs - 7 * dayMs },
    asked: { awayDays: 30 },
    is: push,
  },
  'in the background with its link for 8 days': {
    device: { lastThereMs: nowMs - 8 * dayMs, isLinked: true, isBackground: true },
    is: push,
  },
  'wants none [S4]': { device: { isOn: false }, is: skip('switched-off') },
  'no device': { device: undefined, is: skip('no-device') },
  'a quiet group [S6]': { reading: { member: 'quiet' }, is: skip('receive-option') },
  'left the group': { reading: { member: 'left' }, is: skip('left') },
  'a group': { reading: { member: 'notify' }, is: push },
  'a desktop in front, where the app says so': {
    device: { hasDesktop: true },
    asked: { notWithDesktop: true },
    is: skip('desktop'),
  },
  'a desktop in front': { device: { hasDesktop: true }, is: push },
};
t.test('who is pushed to, and why not', async (t) => {
  for (const [what, one] of Object.entries(cases)) {
    const device = 'device' in one && one.device === undefined ? undefined : { ...away, ...one.device };
    t.strictSame(
      decide(device, { ...fresh, ...one.message }, { ...unread, ...one.reading }, { ...asked, ...one.asked }),
      one.is,
      what,
    );
  }
});

t.test(
  '[S1][S9] whatever else holds, nobody is pushed to who has logged out, was kicked, or logged in elsewhere',
  async (t) => {
    const facts = fc.record({
      isOfOtherLogin: fc.boolean(),
      hasLogin: fc.boolean(),
      wasKicked: fc.boolean(),
      isLinked: fc.boolean(),
      isBackground: fc.boolean(),
      lastThereMs: fc.integer({ min: nowMs - 20 * dayMs, max: nowMs }),
      isOn: fc.boolean(),
      hasDesktop: fc.boolean(),
    });
    let pushes = 0;
    fc.assert(
      fc.property(facts, fc.integer({ min: 0, max: 10 }), fc.boolean(), (device, readSeq, isRecalled) => {
        const decision = decide(device, { ...fresh, isRecalled }, { ...unread, readSeq }, asked);
        if (decision.kind !== 'push') return true;
        pushes += 1;
        return (
          device.hasLogin &&
          !device.wasKicked &&
          !device.isOfOtherLogin &&
          device.isOn &&
          !isRecalled &&
          readSeq < 5 &&
          (device.isLinked ? device.isBackground : nowMs - device.lastThereMs < 7 * dayMs)
        );
      }),
      { numRuns: 10_000 },
    );
    t.ok(pushes > 20, 'some are pushed to');
  },
);

const item = (more: Partial<Item> = {}): Item =>
  ({
    id: 7,
    day: 20_000,
    kind: 1,
    deadlineMs: nowMs + dayMs,
    attempts: 0,
    reason: undefined,
    device: { device_id: 3, token: 'abc', environment: 'production' },
    ...more,
  }) as Item;
const at = { nowMs, tookMs: 12, random: 1, isTokenSound: true };
const after = (outcome: Outcome, more: Partial<Item> = {}, how: Partial<typeof at> = {}) =>
  settle(item(more), outcome, { ...at, ...how });
const retry = (more: Partial<Extract<Outcome, { kind: 'retry' }>> = {}): Outcome => ({
  kind: 'retry',
  reason: 'busy',
  status: 503,
  afterMs: 0,
  scope: 'push',
  isSure: true,
  ...more,
});

t.test('[S7] what one attempt means for its push, its device and its lane', async (t) => {
  const of = { id: 7, day: 20_000 };
  const attempt = (status: number | undefined) => ({ status, tookMs: 12 });
  t.strictSame(after({ kind: 'ok', id: 'x', status: 200 }), {
    mark: { ...of, outcome: 'accepted', reason: undefined, attempt: { ...attempt(200), id: 'x' } },
  });
  t.strictSame(after({ kind: 'gone', reason: 'Unregistered', status: 410, sinceMs: 5, isSure: true }), {
    mark: {
      ...of,
      outcome: 'gone',
      reason: 'Unregistered',
      attempt: attempt(410),
      device: { id: 3, token: 'abc', do: 'drop', sinceMs: 5 },
    },
  });
  t.strictSame(after({ kind: 'bad', reason: 'BadTopic', status: 400 }), {
    mark: { ...of, outcome: 'dead', reason: 'BadTopic', attempt: attempt(400) },
  });
  t.strictSame(
    after({ kind: 'halt', reason: 'InvalidProviderToken', status: 403 }),
    { mark: { ...of, outcome: undefined, reason: 'InvalidProviderToken' }, halt: 'InvalidProviderToken' },
    'it was no attempt of this push, which keeps its place',
  );
  t.match(
    after(retry()).mark,
    { outcome: undefined, dueMs: nowMs, attempt: attempt(503) },
    'the first repeat is at once',
  );
  t.equal(after(retry(), { attempts: 1 }).mark.dueMs, nowMs + 2_000);
  t.equal(after(retry(), { attempts: 1 }, { random: 0 }).mark.dueMs, nowMs + 1_000, 'with jitter');
  t.equal(after(retry(), { attempts: 50 }).mark.dueMs, nowMs + 300_000, 'and a bound');
  t.equal(after(retry({ afterMs: 900_000 })).mark.dueMs, nowMs + 900_000, 'as its service says');
  const error = retry({ reason: 'InternalServerError', afterMs: 15_000, againMs: 900_000 });
  t.equal(after(error, { attempts: 1, reason: 'busy' }).mark.dueMs, nowMs + 15_000);
  t.equal(
    after(error, { attempts: 1, reason: 'InternalServerError' }).mark.dueMs,
    nowMs + 900_000,
    'the same once more',
  );
  t.match(
    after(retry(), { attempts: 3, deadlineMs: nowMs + 7_999 }).mark,
    { outcome: 'expired', reason: 'busy' },
    'until the deadline',
  );
  t.match(after(retry({ scope: 'device', afterMs: 1 })).mark, {
    dueMs: nowMs + 60_000,
    device: { do: 'rest', untilMs: nowMs + 60_000 },
  });
  t.match(after(retry({ scope: 'channel', afterMs: 10_000 })), {
    laneRestMs: 10_000,
    mark: { dueMs: nowMs + 10_000, device: undefined },
  });
});

t.test(
  '[S7] a token that may be refused for our own fault is asked for at the other side, then dropped only where others get through',
  async (t) => {
    const refused: Outcome = { kind: 'gone', reason: 'BadDeviceToken', status: 400, sinceMs: undefined, isSure: false };
    t.match(after(refused).mark, { outcome: undefined, dueMs: nowMs, device: { do: 'move', environment: 'sandbox' } });
    const twice = { reason: 'BadDeviceToken' };
    t.match(after(refused, twice).mark, { outcome: 'gone', device: { do: 'drop' } });
    t.match(after(refused, twice, { isTokenSound: false }).mark, { outcome: 'gone', device: undefined });
    const topic: Outcome = { ...refused, reason: 'DeviceTokenNotForTopic' };
    t.match(after(topic, {}, { isTokenSound: false }).mark, { outcome: 'gone', device: undefined });
    t.match(after(topic).mark, { outcome: 'gone', device: { do: 'drop' } });
  },
);

t.test('the brake: token after token refused is no fault of tokens', async (t) => {
  const ok: Outcome = { kind: 'ok', id: undefined, status: 200 };
  const gone: Outcome = { kind: 'gone', reason: 'Unregistered', status: 410, sinceMs: 1, isSure: true };
  const noteAll = (brake: ReturnType<typeof createBrake>, outcomes: Outcome[]) =>
    outcomes.map((outcome) => brake.note(outcome)).filter((reason) => reason !== undefined);
  const many = (outcome: Outcome, count: number) => Array.from({ length: count }, () => outcome);

  const fresh = createBrake();
  t.notOk(fresh.isTokenSound());
  t.strictSame(noteAll(fresh, many(gone, 49)), [], 'a few say nothing');
  t.strictSame(noteAll(fresh, [gone]), ['too-many-tokens-refused: Unregistered']);
  fresh.reset();
  t.strictSame(noteAll(fresh, many(gone, 49)), []);

  const unsure: Outcome = { kind: 'gone', reason: 'BadDeviceToken', status: 400, sinceMs: undefined, isSure: false };
  const healthy = createBrake();
  t.strictSame(noteAll(healthy, [...many(ok, 101), ...many(unsure, 99)]), [], 'others get through');
  t.ok(healthy.isTokenSound());
  t.equal(healthy.note(unsure), 'too-many-tokens-refused: BadDeviceToken', 'half of the last 200');
  t.strictSame(noteAll(healthy, [...many(ok, 200), ...many(unsure, 99)]), [], 'what was long ago counts no more');

  const old = createBrake();
  t.strictSame(noteAll(old, [...many(ok, 11), ...many(gone, 189)]), [], 'many have left, of which the service is sure');
  t.equal(old.note(gone), 'too-many-tokens-refused: Unregistered', 'but not nearly all');
  const other: Outcome = { kind: 'retry', reason: 'x', status: 503, afterMs: 0, scope: 'push', isSure: true };
  t.strictSame(noteAll(createBrake(), many(other, 500)), [], 'failures of another kind are no refusals');
});
