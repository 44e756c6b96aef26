import { getEventListeners } from 'node:events';
import fc from 'fast-check';
import t from 'tap';
import type { DropReason } from '../../../src/im/groups/dropped.ts';
import { Heap, type HeapItem } from '../../../src/im/groups/heap.ts';
import type { Priority } from '../../../src/im/groups/model.ts';
import {
  createPacer,
  type GroupLimits,
  type PacedMessage,
  type PacerOptions,
  type Timekeeper,
  type Verdict,
} from '../../../src/im/groups/pacer.ts';
import type { ConversationId } from '../../../src/im/model.ts';
import { createMetrics } from '../../../src/observe/index.ts';
import type { AccountId } from '../../../src/wire/index.ts';
import { metricOf } from '../../support/metrics.ts';

const epochMs = Date.UTC(2026, 10, 26);
const startMs = 5_000;
const cycleMs = 1_000;
const club = 1 as ConversationId;
const usual: GroupLimits = { perSec: 40, normalPerSec: 40, lowPerSec: 40, lowestPerSec: 40 };
const priorities: readonly Priority[] = ['Lowest', 'Low', 'Normal', 'High'];
const rankOf = (priority: Priority) => priorities.indexOf(priority);
const never = new AbortController().signal;

/** Of all together, and as many of each priority. */
const upTo = (perSec: number, more: Partial<GroupLimits> = {}): GroupLimits => ({
  perSec,
  normalPerSec: perSec,
  lowPerSec: perSec,
  lowestPerSec: perSec,
  ...more,
});

/** Random numbers that are the same every time (mulberry32). */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 4_294_967_296;
  };
}

interface TestTime extends Timekeeper {
  /** Calls that are to come. */
  readonly pending: number;
  /** Time goes on, with the calls that fall into it. Whoever was decided about knows it then. */
  advance(ms: number): Promise<void>;
  /** Time goes on, and nobody is called: the process does something else. */
  block(ms: number): void;
}

function createTime(): TestTime {
  let nowMs = startMs;
  const calls = new Set<{ atMs: number; call: () => void }>();
  return {
    nowMs: () => nowMs,
    callAt(atMs, call) {
      const one = { atMs, call };
      calls.add(one);
      return () => calls.delete(one);
    },
    get pending() {
      return calls.size;
    },
    async advance(ms) {
      const endMs = nowMs + ms;
      for (;;) {
        const [next] = [...calls].filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs);
        if (next === undefined) break;
        calls.delete(next);
        nowMs = Math.max(nowMs, next.atMs);
        next.call();
        await undefined;
      }
      nowMs = endMs;
      await undefined;
    },
    block(ms) {
      nowMs += ms;
    },
  };
}

/** A message that was offered, and what became of it. */
interface Offer extends PacedMessage {
  readonly atMs: number;
  /** Whether the answer was there at once. */
  readonly isDirect: boolean;
  verdict?: Verdict;
  decidedMs?: number;
  /** Numbers that rise with each offer and each decision. */
  readonly offered: number;
  decided?: number;
}

type OfferInput = Partial<PacedMessage> & { group?: ConversationId; limits?: GroupLimits; deadline?: AbortSignal };

function openPacer(options: PacerOptions & { seed?: number } = {}) {
  const time = createTime();
  const metrics = createMetrics();
  const clock = () => epochMs + time.nowMs() - startMs;
  const pacer = createPacer({ clock, random: createRandom(options.seed ?? 1), metrics, time }, options);
  let lastNumber = 0;
  let limitsNow = usual;

  function decided(offer: Offer, verdict: Verdict): void {
    offer.verdict = verdict;
    offer.decidedMs = time.nowMs();
    offer.decided = ++lastNumber;
  }

  function offer(input: OfferInput = {}): Offer {
    const { priority = 'Normal', isExempt = false, sender = 'lin' as AccountId } = input;
    const message = { priority, isExempt, sender };
    const offered = ++lastNumber;
    const answer = pacer.admit(input.group ?? club, input.limits ?? limitsNow, message, input.deadline ?? never);
    const one: Offer = { ...message, atMs: time.nowMs(), isDirect: typeof answer === 'string', offered };
    if (typeof answer === 'string') decided(one, answer);
    else void answer.then((verdict) => decided(one, verdict));
    return one;
  }

  return {
    time,
    metrics,
    pacer,
    offer,
    offerMany: (count: number, input: OfferInput = {}) => Array.from({ length: count }, () => offer(input)),
    /** Limits of what is offered from now on. */
    limit(limits: GroupLimits) {
      limitsNow = limits;
    },
    droppedCount: (labels: { reason?: DropReason; priority?: Priority } = {}) =>
      metricOf(metrics, 'qalgate_im_group_messages_dropped_total', labels),
    waiting: () => metricOf(metrics, 'qalgate_im_group_messages_waiting'),
    groups: () => metricOf(metrics, 'qalgate_im_groups_paced'),
    withDrops: () => metricOf(metrics, 'qalgate_im_groups_with_drops'),
  };
}

const verdicts = (offers: readonly Offer[]) => offers.map(({ verdict }) => verdict ?? 'waits');
const served = (offers: readonly Offer[]) => offers.filter(({ verdict }) => verdict === 'go');
const inOrder = (offers: readonly Offer[]) => [...offers].sort((a, b) => (a.decided ?? 0) - (b.decided ?? 0));
/** Those who were there when it was decided about, and were decided about later. */
const waitedWith = <T extends Offer>({ decided = 0 }: Offer, offers: readonly T[]) =>
  offers.filter((other) => other.offered < decided && (other.decided ?? 0) > decided);
const countOf = <T>(values: readonly T[], value: T) => values.filter((one) => one === value).length;

t.test('[G29] 400 messages a second of mixed priority for 10 s: 40 a cycle, higher ones first', async (t) => {
  const { time, offer, waiting, droppedCount } = openPacer();
  const random = createRandom(2);
  const offers: Offer[] = [];
  for (let i = 0; i < 4_000; i++) {
    const priority = priorities[Math.floor(random() * 4)] as Priority;
    offers.push(offer({ priority, sender: `user-${i % 7}` as AccountId }));
    await time.advance(0);
    await time.advance(2.5);
  }
  await time.advance(2_000);

  const perCycle = Array.from({ length: 12 }, () => 0);
  for (const { decidedMs = 0 } of served(offers)) {
    const cycle = Math.floor((decidedMs - startMs) / cycleMs);
    perCycle[cycle] = (perCycle[cycle] ?? 0) + 1;
  }
  t.strictSame(perCycle, [...Array.from({ length: 11 }, () => 40), 0], 'each cycle serves all it may');

  // Where one was served that waited, every higher one that waited with it was served before it.
  let compared = 0;
  const byMoment = Map.groupBy(
    offers.filter(({ isDirect }) => !isDirect),
    ({ decidedMs }) => decidedMs,
  );
  for (const together of byMoment.values()) {
    for (const low of served(together)) {
      for (const high of together.filter(({ priority }) => rankOf(priority) > rankOf(low.priority))) {
        compared += 1;
        if (high.verdict !== 'go' || (high.decided ?? 0) > (low.decided ?? 0))
          t.fail('a lower one passed a higher one');
      }
    }
  }
  // Whoever went before the cycle's end was the lowest of those who waited.
  for (const evicted of offers.filter(({ verdict, decidedMs = 0 }) => verdict === 'dropped' && decidedMs % 1_000 > 0)) {
    compared += 1;
    const lower = waitedWith(evicted, offers).some(({ priority }) => rankOf(priority) < rankOf(evicted.priority));
    if (lower) t.fail('a lower one stayed');
  }
  t.ok(compared > 1_000);

  const longestMs = Math.max(...offers.map(({ atMs, decidedMs = 0 }) => decidedMs - atMs));
  t.ok(longestMs <= cycleMs, 'nobody waits longer than a cycle');
  t.equal(served(offers).length + (await droppedCount()), 4_000);
  t.equal(await waiting(), 0);
});

t.test('[G29] equal ones are served with equal chances, whenever in the cycle they came', async (t) => {
  const { time, offer, limit } = openPacer({ seed: 3 });
  const places = 10;
  const slots = 100;
  limit(upTo(places));
  const bySlot = Array.from({ length: slots }, () => 0);
  let cycles = 0;
  for (let cycle = 0; cycle < 1_001; cycle++) {
    const offers: Offer[] = [];
    for (let slot = 0; slot < slots; slot++) {
      offers.push(offer({ priority: 'Low', isExempt: slot % 2 === 0 }));
      await time.advance(cycleMs / slots);
    }
    // In the first one some are served as they come.
    if (cycle === 0) continue;
    cycles += 1;
    for (const [slot, { verdict, isDirect }] of offers.entries()) {
      if (isDirect) t.fail('all places are taken by those who waited');
      if (verdict === 'go') bySlot[slot] = (bySlot[slot] ?? 0) + 1;
    }
  }

  /** Of counts of equal cells; each cycle draws without putting back. Distributed as chi-square, of one degree less than there are cells. */
  function chiSquare(counts: readonly number[]): number {
    const expected = (cycles * places) / counts.length;
    const sum = counts.reduce((squares, count) => squares + (count - expected) ** 2 / expected, 0);
    return (sum * (slots - 1)) / (slots - places);
  }
  const inCells = (cells: number, cellOf: (slot: number) => number) => {
    const counts = Array.from({ length: cells }, () => 0);
    for (const [slot, count] of bySlot.entries()) counts[cellOf(slot)] = (counts[cellOf(slot)] ?? 0) + count;
    return counts;
  };
  // One in a thousand is beyond these.
  t.ok(chiSquare(bySlot) < 148.2, 'each moment of the cycle');
  t.ok(chiSquare(inCells(10, (slot) => Math.floor(slot / 10))) < 27.9, 'early and late');
  t.ok(chiSquare(inCells(5, (slot) => slot % 5)) < 18.5, 'five senders');
  t.ok(chiSquare(inCells(2, (slot) => slot % 2)) < 10.8, 'exempt ones are no better off');
});

t.test('[G29] a High that arrives late in a full cycle is served in the next one before any Low', async (t) => {
  const { time, offer, offerMany } = openPacer();
  const first = offerMany(40, { priority: 'Low' });
  const lows = offerMany(39, { priority: 'Low' });
  await time.advance(999);
  const high = offer({ priority: 'High' });
  t.strictSame(new Set(verdicts(first)), new Set(['go']));
  t.strictSame(new Set(verdicts([...lows, high])), new Set(['waits']));
  await time.advance(1);
  t.strictSame(new Set(verdicts([...lows, high])), new Set(['go']));
  t.equal(inOrder([...lows, high])[0], high);

  // All its places are gone: it has to wait, but for the next one it is the first again.
  await time.advance(500);
  const more = offerMany(100, { priority: 'Normal' });
  await time.advance(499);
  const last = offer({ priority: 'High' });
  await time.advance(1);
  t.equal(inOrder(served([...more, last]))[0], last);
  t.equal(served(more).length, 39);
});

t.test('[G29] who waits comes before who arrives; what the one full cycle has no place for is dropped', async (t) => {
  const { time, offerMany, droppedCount } = openPacer();
  offerMany(40);
  await time.advance(300);
  const waiting = offerMany(10);
  await time.advance(700);
  t.strictSame(new Set(verdicts(waiting)), new Set(['go']));
  const arriving = offerMany(31);
  t.strictSame(countOf(verdicts(arriving), 'go'), 30);
  t.equal(arriving.at(-1)?.verdict, undefined, 'the cycle has 40 with those who waited');

  await time.advance(500);
  const low = offerMany(60, { priority: 'Low' });
  const normal = offerMany(20);
  const high = offerMany(25, { priority: 'High' });
  await time.advance(499);
  t.equal(await droppedCount(), 0);
  await time.advance(1);
  // 25 High, then 15 of the 21 Normal ones; nobody is left waiting.
  t.strictSame(countOf(verdicts(high), 'go'), 25);
  t.strictSame(countOf(verdicts([...normal, ...arriving.slice(-1)]), 'go'), 15);
  t.strictSame(new Set(verdicts(low)), new Set(['dropped']));
  t.equal(await droppedCount({ reason: 'total', priority: 'Low' }), 60);
  t.equal(await droppedCount({ reason: 'total', priority: 'Normal' }), 6);
  t.equal(await droppedCount(), 66);

  // A quarter of the offer more than the limit: nothing is dropped before the next cycle is full with those who wait.
  const slight = offerMany(1);
  t.strictSame(verdicts(slight), ['waits'], 'this cycle is full');
  await time.advance(cycleMs);
  t.strictSame(verdicts(slight), ['go']);
});

t.test('[G29] four times the quota may wait; beyond that the lowest one goes', async (t) => {
  const { time, offer, offerMany, droppedCount, waiting, limit } = openPacer();
  limit(upTo(2));
  offerMany(2);
  const lows = offerMany(8, { priority: 'Low' });
  t.equal(await waiting(), 8);
  const lowest = offer({ priority: 'Lowest' });
  const highs = offerMany(3, { priority: 'High' });
  await time.advance(1);
  t.equal(lowest.verdict, 'dropped');
  t.equal(countOf(verdicts(lows), 'dropped'), 3);
  t.strictSame(new Set(verdicts(highs)), new Set(['waits']));
  t.equal(await droppedCount({ reason: 'evicted', priority: 'Lowest' }), 1);
  t.equal(await droppedCount({ reason: 'evicted', priority: 'Low' }), 3);
  t.equal(await waiting(), 8);
  await time.advance(999);
  t.equal(served(highs).length, 2);
  t.equal(served(lows).length, 0);
  t.equal(await waiting(), 0);
});

t.test('[G30] what passes is held to the limit of its priority, but High', async (t) => {
  const { offerMany, droppedCount, limit } = openPacer();
  limit({ perSec: 100, normalPerSec: 5, lowPerSec: 3, lowestPerSec: 1 });
  for (const [priority, passing] of [
    ['High', 40],
    ['Normal', 5],
    ['Low', 3],
    ['Lowest', 1],
  ] as const) {
    const offers = offerMany(40, { priority });
    t.equal(served(offers).length, passing, priority);
    t.ok(
      offers.every(({ isDirect }) => isDirect),
      'they have their answer at once',
    );
    t.equal(await droppedCount({ reason: 'priority', priority }), 40 - passing);
  }
});

t.test('[G30] a message that the limit of its priority drops gives its place back', async (t) => {
  const { time, offer, offerMany, limit, droppedCount } = openPacer();
  limit(upTo(4, { lowPerSec: 1 }));
  t.equal(served(offerMany(10, { priority: 'Low' })).length, 1);
  t.equal(served(offerMany(3)).length, 3);
  const waiting = [...offerMany(5, { priority: 'Low' }), offer({ priority: 'Lowest' })];
  await time.advance(cycleMs);
  t.equal(countOf(verdicts(waiting), 'go'), 2, 'one Low, and the lowest one for all that');
  t.equal(waiting.at(-1)?.verdict, 'go');
  t.equal(await droppedCount({ reason: 'priority', priority: 'Low' }), 9 + 4);
  t.equal(await droppedCount(), 13);
});

t.test('[G30] owner, admins and the administrator are exempt from it, and not from the limit of all', async (t) => {
  const { time, offerMany, offer, limit } = openPacer();
  limit(upTo(6, { lowPerSec: 2 }));
  t.equal(served(offerMany(3, { priority: 'Low', isExempt: true })).length, 3);
  t.equal(served(offerMany(5, { priority: 'Low' })).length, 2, 'theirs do not count');
  t.equal(served(offerMany(1, { priority: 'Low', isExempt: true })).length, 1);
  const own = offer({ priority: 'Low', isExempt: true });
  t.equal(own.verdict, undefined, 'the cycle is full');
  const normal = offerMany(6);
  await time.advance(cycleMs);
  t.equal(served(normal).length, 6);
  t.equal(own.verdict, 'dropped');
});

t.test('[G32] limits that change hold at once', async (t) => {
  const { time, offer, offerMany, limit, droppedCount, waiting } = openPacer();
  limit(upTo(4));
  offerMany(4);
  const lows = offerMany(10, { priority: 'Low' });
  limit(upTo(7));
  const high = offer({ priority: 'High' });
  await time.advance(1);
  t.equal(inOrder(served([...lows, high]))[0], high, 'it competes with those who wait');
  t.equal(served(lows).length, 2);
  t.equal(await waiting(), 8);
  await time.advance(999);
  t.equal(served(lows).length, 2 + 7);

  limit(upTo(1));
  await time.advance(cycleMs);
  t.equal(served(offerMany(1)).length, 1);
  const normals = offerMany(3);
  t.equal(await waiting(), 3);
  limit(upTo(0));
  offer();
  await time.advance(1);
  t.strictSame(verdicts(normals), ['dropped', 'dropped', 'dropped']);
  t.equal(await waiting(), 0);
  t.equal(await droppedCount({ reason: 'evicted' }), 4);
  await time.advance(cycleMs);
  t.equal(served(offerMany(3)).length, 0, '0 lets none pass');

  // Fewer than were served already.
  limit(upTo(5));
  await time.advance(3 * cycleMs);
  offerMany(4);
  limit(upTo(2));
  const over = offerMany(3);
  t.equal(served(over).length, 0);
  await time.advance(cycleMs);
  t.equal(served(over).length, 2);
});

t.test('[G31] whoever waits is dropped at the deadline, and leaves nothing behind', async (t) => {
  const { time, offer, offerMany, limit, droppedCount, waiting, pacer } = openPacer();
  limit(upTo(1));
  offer();
  const deadline = new AbortController();
  const patient = new AbortController();
  const cut = offer({ priority: 'High', deadline: deadline.signal, sender: 'mei' as AccountId });
  const next = offer({ priority: 'Low', deadline: patient.signal });
  await time.advance(400);
  deadline.abort();
  await time.advance(0);
  t.equal(cut.verdict, 'dropped');
  t.equal(next.verdict, undefined);
  t.equal(await waiting(), 1);
  t.equal(await droppedCount({ reason: 'deadline', priority: 'High' }), 1);
  await time.advance(600);
  t.equal(next.verdict, 'go', 'its place is another’s');
  t.strictSame([getEventListeners(deadline.signal, 'abort'), getEventListeners(patient.signal, 'abort')], [[], []]);

  // Over already.
  await time.advance(cycleMs);
  t.equal(offer({ deadline: deadline.signal }).verdict, 'dropped');
  t.equal(served(offerMany(1)).length, 1, 'it took no place');
  t.equal((await pacer.dropped(club)).lines.find(({ sender }) => sender === 'mei')?.reason, 'deadline');
  await time.advance(cycleMs);
  t.equal(time.pending, 1);
});

t.test('[G31] what was dropped lately can be seen: whose, of which priority, and why', async (t) => {
  const { time, offerMany, limit, pacer, withDrops } = openPacer();
  const lin = 'lin' as AccountId;
  const mei = 'mei/总' as AccountId;
  t.strictSame(await pacer.dropped(club), { sinceMs: undefined, messages: 0, lines: [] });
  limit(upTo(2, { lowPerSec: 1 }));
  offerMany(3, { priority: 'Low', sender: mei });
  offerMany(1);
  await time.advance(200);
  offerMany(9, { sender: lin });
  await time.advance(800);
  await time.advance(50);
  const line = { sender: lin, priority: 'Normal' as const };
  t.strictSame(await pacer.dropped(club), {
    sinceMs: epochMs,
    messages: 9,
    lines: [
      { ...line, reason: 'total', messages: 6, firstMs: epochMs + 1_000, lastMs: epochMs + 1_000 },
      { ...line, reason: 'evicted', messages: 1, firstMs: epochMs + 200, lastMs: epochMs + 200 },
      { sender: mei, priority: 'Low', reason: 'priority', messages: 2, firstMs: epochMs, lastMs: epochMs },
    ],
  });
  t.strictSame((await pacer.dropped(2 as ConversationId)).lines, [], 'of another group');

  // Bounded: of a group, and of all. Those go that were not added to for longest.
  limit(upTo(2, { lowPerSec: 0 }));
  const dropOf = (group: number, user: number) =>
    offerMany(1, { priority: 'Low', sender: `user-${user}` as AccountId, group: group as ConversationId });
  for (let user = 0; user < 100; user++) dropOf(3, user);
  dropOf(3, 0);
  for (let user = 100; user < 150; user++) dropOf(3, user);
  const { messages, lines } = await pacer.dropped(3 as ConversationId);
  t.strictSame([messages, lines.length, lines[0]?.sender], [151, 100, 'user-149']);
  t.strictSame(
    ['user-0', 'user-1', 'user-50', 'user-51'].map((name) => lines.find(({ sender }) => sender === name)?.messages),
    [2, undefined, undefined, 1],
  );
  for (let group = 10; group < 1_000; group++) dropOf(group, 1);
  dropOf(3, 1);
  for (let group = 1_000; group < 1_100; group++) dropOf(group, 1);
  t.equal(await withDrops(), 1_000);
  const counts = [];
  for (const group of [club, 3, 10, 1_099]) counts.push((await pacer.dropped(group as ConversationId)).messages);
  t.strictSame(counts, [0, 152, 0, 1]);
  await time.advance(600_000);
  t.equal((await pacer.dropped(1_099 as ConversationId)).messages, 0);
  t.equal(await withDrops(), 0);
  t.equal(time.pending, 0);
});

t.test('groups cost one another nothing', async (t) => {
  const { time, offerMany, limit } = openPacer();
  limit(upTo(5));
  for (let second = 0; second < 5; second++) {
    for (let group = 100; group < 150; group++) offerMany(40, { group: group as ConversationId });
    const calm = offerMany(5);
    t.ok(
      calm.every(({ isDirect, verdict }) => isDirect && verdict === 'go'),
      'it has its places, at once',
    );
    t.equal(time.pending, 1, 'one timer');
    await time.advance(cycleMs);
  }
});

t.test('the one timer strikes for whoever is next', async (t) => {
  const { time, offerMany, limit } = openPacer();
  limit(upTo(1));
  const [early, late] = [1 as ConversationId, 2 as ConversationId];
  offerMany(1, { group: early });
  await time.advance(500);
  offerMany(1, { group: late });
  await time.advance(700);
  const waiting = offerMany(2, { group: late });
  const after = offerMany(2, { group: early });
  t.equal(time.pending, 1);
  await time.advance(299);
  t.strictSame(verdicts([...waiting, ...after]), ['waits', 'waits', 'go', 'waits']);
  await time.advance(1);
  t.equal(served(waiting).length, 1);
  t.equal(time.pending, 1);
  await time.advance(500);
  t.strictSame(verdicts(after), ['go', 'go']);
  t.equal(time.pending, 1);
});

t.test('a cycle begins with the first message, and they follow each other until one is empty', async (t) => {
  const { time, offerMany, limit } = openPacer();
  limit(upTo(3));
  const goes = () => served(offerMany(1)).length === 1;
  await time.advance(730);
  t.equal(served(offerMany(2)).length, 2);
  await time.advance(999);
  t.ok(goes());
  const waiting = offerMany(1);
  t.strictSame(verdicts(waiting), ['waits'], 'the first lasts a second');
  await time.advance(1);
  t.strictSame(verdicts(waiting), ['go'], 'the second begins');
  t.equal(served(offerMany(2)).length, 2);
  await time.advance(1_999);
  t.equal(served(offerMany(3)).length, 3, 'the end of the third');
  await time.advance(1);
  t.equal(served(offerMany(3)).length, 3, 'the beginning of the fourth');
  await time.advance(1_999);
  t.equal(served(offerMany(3)).length, 3, 'the end of the fifth');
  await time.advance(1);
  t.equal(served(offerMany(3)).length, 3, 'the beginning of the sixth');
  // The seventh is without a message.
  await time.advance(2_500);
  t.equal(served(offerMany(3)).length, 3, 'a first one again');
  await time.advance(999);
  t.notOk(goes());
  await time.advance(1);
  t.ok(goes());
});

t.test('when the timer is late nobody is dropped for that, and no cycle has more', async (t) => {
  for (const lateMs of [1, 400, 999, 1_000, 2_600]) {
    const { time, offerMany, offer, limit } = openPacer();
    limit(upTo(4));
    offerMany(4);
    const waiting = offerMany(3, { priority: 'Low' });
    time.block(cycleMs + lateMs);
    // It comes before the timer does.
    const high = offer({ priority: 'High' });
    const next = offer({ priority: 'High' });
    await time.advance(0);
    t.strictSame(verdicts([...waiting, high, next]), ['go', 'go', 'go', 'go', 'waits'], `${lateMs} ms`);
    t.equal(inOrder([...waiting, high])[3], high, 'behind those who waited');
    const restMs = cycleMs - (lateMs % cycleMs);
    await time.advance(restMs - 1);
    t.equal(next.verdict, undefined);
    await time.advance(1);
    t.equal(next.verdict, 'go', 'cycles stay where they are');
  }
});

t.test('a timer that is early is set again', async (t) => {
  const { time, offer, limit } = openPacer();
  limit(upTo(1));
  offer();
  const early = createPacer(
    {
      clock: time.nowMs,
      random: Math.random,
      metrics: createMetrics(),
      time: {
        nowMs: time.nowMs,
        callAt: (atMs, call) => time.callAt(Math.max(time.nowMs() + 0.25, atMs - 0.75), call),
      },
    },
    {},
  );
  const message: PacedMessage = { priority: 'Normal', isExempt: false, sender: 'lin' as AccountId };
  t.equal(early.admit(club, upTo(1), message, never), 'go');
  let verdict: Verdict | undefined;
  void Promise.resolve(early.admit(club, upTo(1), message, never)).then((value) => {
    verdict = value;
  });
  await time.advance(999.5);
  t.equal(verdict, undefined);
  await time.advance(0.5);
  t.equal(verdict, 'go');
});

t.test('bounds: groups at once, and messages that wait in all of them', async (t) => {
  const { time, offer, offerMany, limit, metrics, groups, waiting, droppedCount } = openPacer({
    maxGroups: 3,
    maxWaiting: 5,
  });
  limit(upTo(1));
  const group = (n: number) => n as ConversationId;
  for (const n of [1, 2, 3]) offer({ group: group(n) });
  t.equal(served(offerMany(4, { group: group(4) })).length, 4, 'not counted, so not limited');
  t.equal(await metricOf(metrics, 'qalgate_im_group_messages_unpaced_total'), 4);
  t.equal(await groups(), 3);

  const first = offerMany(4, { group: group(1), priority: 'Low' });
  const second = offerMany(1, { group: group(2), priority: 'Lowest' });
  const third = offer({ group: group(3), priority: 'High' });
  const high = offer({ group: group(2), priority: 'High' });
  await time.advance(0);
  t.equal(third.verdict, 'dropped', 'none of its group waits that could make room');
  t.strictSame(verdicts([...second, high]), ['dropped', 'waits'], 'its own group makes room');
  t.strictSame(new Set(verdicts(first)), new Set(['waits']), 'others do not');
  t.equal(await waiting(), 5);
  t.equal(await droppedCount({ reason: 'evicted' }), 2);
  await time.advance(3 * cycleMs);
  t.equal(await waiting(), 0);
  offer({ group: group(4) });
  t.equal(await groups(), 1);
});

t.test('groups that are idle again leave nothing', async (t) => {
  const { time, offerMany, limit, groups, waiting, withDrops } = openPacer();
  limit(upTo(2));
  for (let group = 1; group <= 10_000; group++) {
    offerMany(group % 3 === 0 ? 12 : 1, { group: group as ConversationId });
    if (group % 100 === 0) await time.advance(10);
    if (time.pending !== 1) t.fail('one timer for all');
  }
  t.equal(await groups(), 10_000);
  t.ok((await waiting()) > 20_000);
  await time.advance(4 * cycleMs);
  t.equal(await groups(), 0);
  t.equal(await waiting(), 0);
  t.equal(await withDrops(), 1_000, 'what was dropped can be seen for a while');
  await time.advance(600_000);
  t.equal(await withDrops(), 0);
  t.equal(time.pending, 0, 'no timer');
});

t.test('a group of which nothing but a late message came leaves nothing either', async (t) => {
  const { time, offer, groups, withDrops } = openPacer();
  offer({ deadline: AbortSignal.abort() });
  t.strictSame([await groups(), await withDrops()], [0, 1]);
  await time.advance(600_000);
  t.strictSame([await withDrops(), time.pending], [0, 0]);
});

t.test('one deadline of many is cheap', async (t) => {
  const { time, offer, limit, waiting, droppedCount } = openPacer();
  limit(upTo(2));
  const shared = new AbortController();
  const other = new AbortController();
  for (let group = 1; group <= 5_000; group++) {
    for (let i = 0; i < 6; i++) {
      offer({ group: group as ConversationId, deadline: (i === 5 ? other : shared).signal });
    }
  }
  t.equal(await waiting(), 20_000);
  t.equal(getEventListeners(shared.signal, 'abort').length, 1);
  shared.abort();
  await time.advance(0);
  t.equal(await droppedCount({ reason: 'deadline' }), 15_000);
  t.equal(await waiting(), 5_000);
  t.equal(getEventListeners(other.signal, 'abort').length, 1);
  await time.advance(cycleMs);
  t.equal(await waiting(), 0);
  t.equal(await droppedCount(), 15_000);
  t.equal(getEventListeners(other.signal, 'abort').length, 0);
});

t.test('closing drops whoever waits, and whoever comes', async (t) => {
  const { time, offer, offerMany, limit, pacer, waiting, groups, droppedCount } = openPacer();
  limit(upTo(1));
  const deadline = new AbortController();
  offer();
  const waiters = offerMany(3, { deadline: deadline.signal });
  const elsewhere = [2, 3].flatMap((n) => offerMany(2, { group: n as ConversationId }));
  await pacer.close();
  t.strictSame(verdicts(waiters), ['dropped', 'dropped', 'dropped']);
  t.equal(countOf(verdicts(elsewhere), 'dropped'), 2);
  t.strictSame(verdicts(offerMany(2)), ['dropped', 'dropped']);
  t.equal(await droppedCount({ reason: 'closed' }), 7);
  t.strictSame([await waiting(), await groups(), time.pending], [0, 0, 0]);
  t.equal(getEventListeners(deadline.signal, 'abort').length, 0);
  await pacer.close();
});

t.test('by the time of the process', async (t) => {
  const pacer = createPacer({ clock: Date.now, random: Math.random, metrics: createMetrics() });
  // The pacer's own timer keeps no process.
  const alive = setInterval(() => {}, 1_000);
  t.teardown(() => clearInterval(alive));
  const message: PacedMessage = { priority: 'Normal', isExempt: false, sender: 'lin' as AccountId };
  const beforeMs = performance.now();
  t.equal(pacer.admit(club, upTo(1), message, never), 'go');
  t.equal(await pacer.admit(club, upTo(1), message, never), 'go');
  t.ok(performance.now() - beforeMs >= cycleMs);
  t.equal(await Promise.race([pacer.admit(club, upTo(1), message, AbortSignal.timeout(20)), undefined]), undefined);
  await pacer.close();
});

// ── Whatever comes ──

interface Step {
  readonly afterMs: number;
  readonly priority: Priority;
  readonly isExempt: boolean;
  /** Its deadline passes so long after it was offered. */
  readonly patienceMs: number | undefined;
  /** Which of the limits hold from here on. */
  readonly limits: number | undefined;
}

const someLimits = [upTo(3), upTo(6, { lowPerSec: 1, normalPerSec: 4 }), upTo(1), upTo(2, { lowestPerSec: 0 })];
const steps = fc.array(
  fc.record<Step>({
    afterMs: fc.oneof(
      { weight: 6, arbitrary: fc.constant(0) },
      { weight: 6, arbitrary: fc.integer({ min: 1, max: 120 }) },
      { weight: 2, arbitrary: fc.constantFrom(999, 1_000, 1_001, 1_999, 2_000) },
      { weight: 1, arbitrary: fc.integer({ min: 500, max: 3_000 }) },
    ),
    priority: fc.constantFrom(...priorities),
    isExempt: fc.integer({ min: 0, max: 5 }).map((n) => n === 0),
    patienceMs: fc.oneof(
      { weight: 5, arbitrary: fc.constant(undefined) },
      { weight: 1, arbitrary: fc.integer({ min: 0, max: 1_500 }) },
    ),
    limits: fc.oneof(
      { weight: 12, arbitrary: fc.constant(undefined) },
      { weight: 1, arbitrary: fc.nat(someLimits.length - 1) },
    ),
  }),
  { minLength: 1, maxLength: 90, size: 'max' },
);

interface ModelOffer extends Offer {
  readonly limits: GroupLimits;
  reason?: DropReason | 'none';
}

interface ModelCycle {
  readonly startMs: number;
  /** The limits that held in it. */
  readonly limits: Set<GroupLimits>;
}

/** The cycles, in order, as they follow from when each message came and left. */
function cyclesOf(offers: readonly ModelOffer[]): ModelCycle[] {
  const cycles = new Map<number, ModelCycle>();
  let anchorMs = Number.NEGATIVE_INFINITY;
  let lastMs = Number.NEGATIVE_INFINITY;
  for (const { atMs, decidedMs = 0, reason, limits } of offers) {
    if (atMs - lastMs >= 2 * cycleMs) anchorMs = atMs;
    // One that gave up may have left a cycle without a message.
    for (const ms of reason === 'deadline' ? [atMs] : [atMs, decidedMs]) {
      const startMs = anchorMs + Math.floor((ms - anchorMs) / cycleMs) * cycleMs;
      lastMs = Math.max(lastMs, startMs);
      const before = offers.findLast((other) => other.atMs < startMs)?.limits ?? limits;
      const cycle = cycles.get(startMs) ?? { startMs, limits: new Set([before]) };
      cycles.set(startMs, cycle);
      if (ms === atMs) cycle.limits.add(limits);
    }
  }
  return [...cycles.values()].sort((a, b) => a.startMs - b.startMs);
}

const limitOf = ({ normalPerSec, lowPerSec, lowestPerSec }: GroupLimits, priority: Priority) =>
  ({ High: Number.POSITIVE_INFINITY, Normal: normalPerSec, Low: lowPerSec, Lowest: lowestPerSec })[priority];

/** What of the rules does not hold; undefined: all do. */
function findFault(offers: readonly ModelOffer[]): string | undefined {
  const cycles = cyclesOf(offers);
  const cycleOf = ({ decidedMs = 0 }: Offer) => cycles.findLast(({ startMs }) => startMs <= decidedMs);
  for (const cycle of cycles) {
    const of = served(offers).filter((one) => cycleOf(one) === cycle);
    const most = Math.max(...[...cycle.limits].map(({ perSec }) => perSec));
    if (of.length > most) return `a cycle has ${of.length} messages and not ${most}`;
    for (const priority of priorities) {
      const limited = of.filter((one) => one.priority === priority && !one.isExempt).length;
      const mostLimited = Math.max(...[...cycle.limits].map((limits) => limitOf(limits, priority)));
      if (limited > mostLimited) return `a cycle has ${limited} ${priority} ones and not ${mostLimited}`;
    }
  }
  for (const one of offers) {
    const { reason, priority, isExempt, atMs, decidedMs = 0, decided = 0 } = one;
    const others = waitedWith(one, offers);
    if (decidedMs - atMs > cycleMs) return 'one waited longer than a cycle';
    if (reason === 'none' && others.some((other) => rankOf(other.priority) > rankOf(priority))) {
      return 'a lower one passed a higher one';
    }
    // The one that came learns it last.
    const stay = others.filter((other) => other.reason !== 'evicted' || other.decidedMs !== decidedMs);
    if (reason === 'evicted' && stay.some((other) => rankOf(other.priority) < rankOf(priority))) {
      return 'a higher one went, a lower one stayed';
    }
    if (reason === 'priority' && (isExempt || priority === 'High')) return 'one was not exempt';
    if (reason !== 'total' && reason !== 'evicted') continue;
    if (reason === 'total' && others.some((other) => other.decidedMs === decidedMs && other.verdict === 'go')) {
      return 'one was served after another had no place';
    }
    const cycle = cycleOf(one);
    const places = served(offers).filter((other) => cycleOf(other) === cycle && (other.decided ?? 0) < decided);
    if (places.length < Math.min(...[...(cycle?.limits ?? [])].map(({ perSec }) => perSec))) return 'there was a place';
  }
  return undefined;
}

t.test('[G29, G30, G31] whatever is offered: the rules hold, and each message is served or dropped once', async (t) => {
  const seen = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(steps, fc.integer(), async (run, seed) => {
      const { time, offer, pacer, waiting, groups, droppedCount } = openPacer({ seed });
      let limits = someLimits[0] as GroupLimits;
      const offers: ModelOffer[] = [];
      for (const [i, step] of run.entries()) {
        await time.advance(step.afterMs);
        if (step.limits !== undefined) limits = someLimits[step.limits] as GroupLimits;
        const deadline = new AbortController();
        const { priority, isExempt, patienceMs } = step;
        if (patienceMs !== undefined) time.callAt(time.nowMs() + patienceMs, () => deadline.abort());
        const sender = `user-${i}` as AccountId;
        const one = offer({ priority, isExempt, sender, limits, deadline: deadline.signal });
        // The same object: what becomes of it is written there.
        offers.push(Object.assign(one, { limits }));
        await time.advance(0);
      }
      await time.advance(4 * cycleMs);

      const { lines, messages } = await pacer.dropped(club);
      const reasons = new Map(lines.map(({ sender, reason }) => [sender, reason]));
      for (const one of offers) {
        one.reason = reasons.get(one.sender) ?? 'none';
        seen.set(one.reason, (seen.get(one.reason) ?? 0) + 1);
        if ((one.verdict === 'go') !== (one.reason === 'none'))
          throw new Error(`${one.verdict}, and in the view ${one.reason}`);
      }
      const drops = countOf(verdicts(offers), 'dropped');
      if (served(offers).length + drops !== offers.length) throw new Error('one has no answer');
      if (drops !== messages || drops !== (await droppedCount())) throw new Error('dropped ones are counted otherwise');
      if ((await waiting()) + (await groups()) > 0) throw new Error('something is left');
      const fault = findFault(offers);
      if (fault !== undefined) throw new Error(fault);
    }),
    { numRuns: 1_000, seed: 6 },
  );
  for (const reason of ['none', 'total', 'priority', 'evicted', 'deadline'])
    t.ok((seen.get(reason) ?? 0) > 500, `${reason}: ${seen.get(reason)}`);
});

t.test('a heap gives back the first, any other, and all in order', (t) => {
  interface Item extends HeapItem {
    readonly value: number;
  }
  const step = fc.record({
    what: fc.constantFrom('add', 'add', 'add', 'first', 'any'),
    value: fc.nat(30),
    pick: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120, size: 'max' }), (run) => {
      const heap = new Heap<Item>((a, b) => a.value < b.value);
      let model: Item[] = [];
      const sorted = () => [...model].sort((a, b) => a.value - b.value);
      const isSame = (a: Item | undefined, b: Item | undefined) => a?.value === b?.value;
      for (const { what, value, pick } of run) {
        if (what === 'add' || model.length === 0) {
          const item = { value, heapAt: -1 };
          heap.add(item);
          model.push(item);
        } else if (what === 'first') {
          const first = heap.takeFirst();
          if (!isSame(first, sorted()[0])) return false;
          model = model.filter((one) => one !== first);
        } else {
          const one = model[pick % model.length] as Item;
          heap.remove(one);
          heap.remove(one);
          model = model.filter((other) => other !== one);
          if (one.heapAt !== -1) return false;
        }
        if (heap.size !== model.length || !isSame(heap.first, sorted()[0])) return false;
      }
      const all = heap.takeAll();
      return (
        heap.size === 0 &&
        all.length === model.length &&
        new Set(all).size === all.length &&
        all.every((one, i) => isSame(one, sorted()[i]) && model.includes(one) && one.heapAt === -1)
      );
    }),
    { numRuns: 2_000 },
  );
  t.end();
});
