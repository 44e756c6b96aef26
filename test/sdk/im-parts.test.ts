import fc from 'fast-check';
import t from 'tap';
import { reconnectDelayMs } from '../../src/sdk/im/backoff.ts';
import { blockOf, decodeBlock, encodeBlock, insertMessage, spanOf } from '../../src/sdk/im/block.ts';
import { within } from '../../src/sdk/im/deadline.ts';
import { type Frame, readArrival, readFrames, readRecents } from '../../src/sdk/im/frames.ts';
import {
  countMessage,
  decodeHead,
  encodeHead,
  isAnew,
  isNew,
  know,
  missedRecalls,
  moveShown,
  newHead,
  noteMessage,
  noteOwn,
  noteRecalled,
  noteRecent,
  noteUnread,
  skipRecalls,
} from '../../src/sdk/im/head.ts';
import { createImClient, ImError, textOf } from '../../src/sdk/im/index.ts';
import { emptied, type Stored, showMessage, toBody } from '../../src/sdk/im/message.ts';
import {
  addRange,
  clipRanges,
  type Ranges,
  rangeAt,
  rangeBelow,
  readRanges,
  removeRange,
  subtractRanges,
} from '../../src/sdk/im/ranges.ts';

const top = 60;
const rangeArb = fc.tuple(fc.nat(top), fc.nat(top));
const stepsArb = fc.array(fc.tuple(fc.boolean(), rangeArb), { maxLength: 30 });

function build(steps: readonly (readonly [boolean, readonly [number, number]])[]): [Ranges, Set<number>] {
  let ranges: Ranges = [];
  const truth = new Set<number>();
  for (const [isAdded, [from, to]] of steps) {
    ranges = isAdded ? addRange(ranges, from, to) : removeRange(ranges, from, to);
    for (let seq = from; seq <= to; seq += 1) {
      if (isAdded) truth.add(seq);
      else truth.delete(seq);
    }
  }
  return [ranges, truth];
}

const seqsOf = (ranges: Ranges): number[] =>
  ranges.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, i) => from + i));
const sorted = (seqs: Iterable<number>): number[] => [...seqs].sort((a, b) => a - b);

t.test('ranges hold what a set of seqs holds, ascending and apart', async (t) => {
  fc.assert(
    fc.property(stepsArb, stepsArb, rangeArb, (steps, others, [from, to]) => {
      const [ranges, truth] = build(steps);
      const [taken, takenTruth] = build(others);
      t.strictSame(seqsOf(ranges), sorted(truth));
      t.ok(ranges.every(([a, b], i) => a <= b && (i === 0 || a > (ranges[i - 1]?.[1] ?? 0) + 1)));
      t.strictSame(
        seqsOf(clipRanges(ranges, from, to)),
        sorted(truth).filter((seq) => seq >= from && seq <= to),
      );
      t.strictSame(
        seqsOf(subtractRanges(ranges, taken)),
        sorted(truth).filter((seq) => !takenTruth.has(seq)),
      );
      t.equal(rangeAt(ranges, from) !== undefined, truth.has(from));
      const below = rangeBelow(ranges, from);
      t.equal(
        below?.[1],
        sorted(truth).findLast((seq) => seq < from && !truth.has(seq + 1)),
      );
      t.strictSame(readRanges(JSON.parse(JSON.stringify(ranges))), ranges);
    }),
    { numRuns: 100 },
  );
  t.equal(addRange([[1, 5]], 2, 4).length, 1);
  const same: Ranges = [[1, 5]];
  t.equal(addRange(same, 2, 5), same, 'nothing new is nothing changed');
  for (const wrong of [
    undefined,
    7,
    {},
    [1],
    [[1]],
    [[2, 1]],
    [[1, 'x']],
    [
      [5, 6],
      [1, 2],
    ],
    [
      [1, 2],
      [3, 4],
    ],
    [[1, 2, 3]],
    [[0.5, 1]],
  ]) {
    t.equal(readRanges(wrong), undefined, JSON.stringify(wrong));
  }
});

t.test('back-off: full jitter that doubles up to its limit; not before the service asks for', async (t) => {
  const limits = { backoffMs: 500, maxBackoffMs: 30_000 };
  t.same(
    [0, 1, 2, 5, 6, 1_000].map((attempt) => reconnectDelayMs(attempt, 1, limits)),
    [500, 1_000, 2_000, 16_000, 30_000, 30_000],
  );
  t.equal(reconnectDelayMs(3, 0, limits), 0);
  t.equal(reconnectDelayMs(3, 0.25, limits), 1_000);
  t.equal(reconnectDelayMs(0, 0.5, limits, 5_000), 5_000);
  t.equal(reconnectDelayMs(6, 1, limits, 5_000), 30_000);
  t.equal(reconnectDelayMs(0, 0, limits, 1e12), 600_000, 'and not for ever');
});

const stored = (seq: number, more: Partial<Stored> = {}): Stored => ({
  seq,
  from: 'bob',
  time: 1_000 + seq,
  msgSeq: seq,
  random: 1,
  body: [{ MsgType: 'TIMTextElem', MsgContent: { Text: String(seq) } }],
  ...more,
});

t.test('a head: what is new, what was shown, what is one’s own', async (t) => {
  const head = newHead('c2c:bob');
  t.ok(isNew(head, 1));
  know(head, 1, 3);
  moveShown(head, 3);
  t.notOk(isNew(head, 3));
  t.ok(isNew(head, 4));
  moveShown(head, 2);
  t.equal(head.shown, 3, 'never back');
  noteOwn(head, 6, 5);
  noteOwn(head, 5, 4);
  t.equal(head.shown, 3, 'there may be something before them');
  moveShown(head, 4);
  t.equal(head.shown, 6, 'and on over what is one’s own');
  t.same(head.ownAhead, []);
  noteOwn(head, 9, 6);
  t.equal(head.shown, 9, 'seqs that the account does not see are no hole');
  // A login that left something out: what comes late is shown.
  Object.assign(head, { base: 9 });
  moveShown(head, 20);
  know(head, 20, 20);
  t.ok(isNew(head, 15));
  t.notOk(isNew(head, 20));
  t.notOk(isNew(head, 8));
  for (let seq = 100; seq < 1_000; seq += 2) {
    noteOwn(head, seq, seq - 1);
    noteRecalled(head, seq + 1);
    know(head, seq, seq);
  }
  t.ok(head.ownAhead.length <= 256 && head.recalledAhead.length <= 256 && head.known.length <= 256, 'bounded');
});

t.test('[M15] a head: a message that is none of its conversation', async (t) => {
  const head = newHead('c2c:bob');
  noteMessage(head, stored(5));
  t.notOk(isAnew(head, stored(6)));
  t.notOk(isAnew(head, stored(5)));
  t.notOk(isAnew(head, stored(4)), 'late, and of its time');
  t.ok(isAnew(head, stored(4, { time: 1_006 })));
  t.ok(isAnew(head, stored(5, { time: 1_006 })));
});

t.test('[M14] a head: unread numbers', async (t) => {
  const head = newHead('c2c:bob');
  const recent = {
    conversation: 'c2c:bob',
    last: stored(10),
    seq: 10,
    readSeq: 4,
    unread: 5,
    recallNo: 2,
    peerReadSeq: 3,
  };
  noteRecent(head, recent);
  t.match(head, { seq: 10, unread: 5, readSeq: 4, peerReadSeq: 3, recallNo: 0, time: 1_010, last: { seq: 10 } });
  countMessage(head, 9);
  t.equal(head.unread, 5, 'it is in the number');
  countMessage(head, 11);
  t.equal(head.unread, 6);
  head.readSeq = 12;
  countMessage(head, 12);
  t.equal(head.unread, 6, 'it was read');
  noteMessage(head, stored(12));
  noteRecent(head, { ...recent, unread: 1 });
  t.match(head, { seq: 12, readSeq: 12, unread: 1, last: { seq: 12 } }, 'an older number is a number all the same');
  noteUnread(head, 0, 77);
  t.match(head, { unread: 0, countedTo: 12, countedMs: 77 });
  head.owedRead = 20;
  noteRecent(head, { ...recent, seq: 20, unread: 8 });
  t.equal(head.unread, 0, 'what was read here and not told yet is read');
  Object.assign(head, { isHidden: true, owedHide: 'hide' });
  noteRecent(head, { ...recent, seq: 20 });
  t.ok(head.isHidden);
  noteRecent(head, { ...recent, seq: 21 });
  t.notOk(head.isHidden);
  t.equal(head.owedHide, undefined, 'news bring it back');
});

t.test('a head: recalls', async (t) => {
  const head = newHead('c2c:bob');
  noteRecalled(head, 5);
  t.match(noteMessage(head, stored(5, { custom: 'x' })), { recalled: true, body: [], seq: 5 });
  t.notOk('custom' in emptied(stored(1, { custom: 'x' })));
  head.recallNo = 3;
  t.notOk(missedRecalls(head, 4, 1));
  t.ok(missedRecalls(head, 5, 1));
  t.notOk(missedRecalls(head, 5, 2));
  skipRecalls(head, 9);
  t.equal(head.recallNo, 9, 'nothing is here');
  know(head, 5, 6);
  skipRecalls(head, 10);
  t.equal(head.recallNo, 9);
  noteMessage(head, stored(6));
  noteRecalled(head, 6);
  t.equal(head.last?.recalled, true);
});

t.test('a head outlasts a restart as far as it has to', async (t) => {
  const head = newHead('c2c:bob');
  Object.assign(head, {
    shown: 5,
    base: 3,
    isSynced: true,
    seq: 6,
    time: 7,
    unread: 1,
    countedTo: 6,
    countedMs: 9,
    readSeq: 2,
  });
  Object.assign(head, { peerReadSeq: 1, recallNo: 4, floor: 2, known: [[1, 6]], deleted: [[3, 3]], blocks: [[0, 5]] });
  Object.assign(head, {
    isHidden: true,
    owedRead: 5,
    owedHide: 'clear',
    last: stored(6),
    ownAhead: [8],
    recalledAhead: [9],
  });
  const { last: _, ...lasting } = head;
  t.strictSame(decodeHead(JSON.parse(JSON.stringify(encodeHead(head)))), {
    ...lasting,
    base: 0,
    isSynced: false,
    countedMs: 0,
    recalledAhead: [],
  });
  for (const wrong of [null, 7, {}, { id: 1 }, { id: 'x', known: 5, deleted: [] }])
    t.equal(decodeHead(wrong), undefined);
  t.match(decodeHead({ id: 'x', known: [], deleted: [], shown: -1, unread: 'x', owedHide: 'y', ownAhead: ['z', 3] }), {
    shown: 0,
    unread: 0,
    owedHide: undefined,
    ownAhead: [3],
  });
});

t.test('blocks say what they have', async (t) => {
  t.same([0, 63, 64, 200].map(blockOf), [0, 0, 1, 3]);
  t.same(spanOf(1), [64, 127]);
  let messages: Stored[] = [];
  for (const seq of [5, 1, 9, 3]) messages = insertMessage(messages, stored(seq));
  messages = insertMessage(messages, stored(3, { from: 'x' }));
  t.same(
    messages.map(({ seq, from }) => `${seq} ${from}`),
    ['1 bob', '3 x', '5 bob', '9 bob'],
  );
  const block = {
    known: [[1, 9]] as const,
    messages: [stored(1), stored(2, { custom: 'c', clientId: 'i', recalled: true })],
  };
  t.strictSame(decodeBlock(encodeBlock(block)), block);
  t.equal(decodeBlock(undefined), undefined);
  for (const text of ['', '{', '7', '{"known":[[3,1]]}', '\ud800'])
    t.equal(decodeBlock(new TextEncoder().encode(text)), undefined);
});

t.test('frames are read with care', async (t) => {
  const bye = { on: 'bye', code: 4100, name: 'KICKED', reason: 'r', final: true, platform: 'iOS', reconnectMs: 'x' };
  t.match(readFrames(JSON.stringify([{ id: 1, ok: { a: 1 } }, { on: 'message', x: 1 }, bye])), [
    { kind: 'answer', id: 1, ok: { a: 1 }, error: undefined },
    { kind: 'event', on: 'message', fields: { x: 1 } },
    { kind: 'bye', bye: { name: 'KICKED', reason: 'r', isFinal: true, platform: 'iOS', reconnectMs: undefined } },
  ]);
  const [answer] =
    readFrames(
      '{"id":2,"error":{"code":20003,"name":"X","reason":"why","field":"f","allowed":"a","retryable":true}}',
    ) ?? [];
  t.match(answer?.kind === 'answer' ? answer.error : undefined, {
    code: 'X',
    number: 20_003,
    message: 'why',
    field: 'f',
    allowed: 'a',
    retryable: true,
  });
  t.match(readFrames('{"id":2,"error":7}')?.[0], { error: { code: 'BAD_RESPONSE', retryable: false } });
  t.equal(readFrames('no'), undefined);
  t.equal(readFrames(new Uint8Array(3)), undefined);
  t.match(
    readArrival({
      conversation: 'c2c:b',
      seq: 3,
      prev: 1,
      from: 'b',
      time: 5,
      body: [7, { MsgType: 'a' }, { MsgType: 'a', MsgContent: {} }],
      uncounted: true,
    }),
    {
      conversation: 'c2c:b',
      prev: 1,
      isUncounted: true,
      message: { seq: 3, body: [{ MsgType: 'a', MsgContent: {} }] },
    },
  );
  t.equal(readArrival({ seq: 3, from: 'b', time: 5 }), undefined);
  t.equal(readArrival({ seq: 3, from: 'b', time: 5 }, 'c2c:b')?.conversation, 'c2c:b');
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const frames: Frame[] = readFrames(JSON.stringify(value)) ?? [];
      for (const frame of frames) t.match(frame.kind, /answer|event|bye/);
      readArrival(value, 'c2c:x');
      for (const recent of readRecents(value)) t.ok(recent.unread >= 0);
      decodeHead(value);
      readRanges(value);
    }),
    { numRuns: 500 },
  );
});

t.test('messages: bodies, texts, how they are shown', async (t) => {
  t.same(toBody('x'), [{ MsgType: 'TIMTextElem', MsgContent: { Text: 'x' } }]);
  t.equal(
    textOf({ body: [...(toBody('a') ?? []), { MsgType: 'TIMFaceElem', MsgContent: {} }, ...(toBody('b') ?? [])] }),
    'ab',
  );
  t.strictSame(showMessage('c2c:bob', stored(3), 'alice'), {
    conversation: 'c2c:bob',
    seq: 3,
    from: 'bob',
    isSelf: false,
    time: 1_003,
    body: stored(3).body,
    status: 'sent',
    key: '3_1_1003',
  });
  t.match(showMessage('c2c:bob', stored(0, { recalled: true, from: 'alice' }), 'alice'), {
    isOnline: true,
    isSelf: true,
    status: 'recalled',
  });
});

t.test('a deadline', async (t) => {
  t.equal(await within(1_000, 'it', Promise.resolve(7)), 7);
  await t.rejects(within(1_000, 'it', Promise.reject(new Error('x'))), { message: 'x' });
  await t.rejects(within(5, 'it', new Promise(() => {})), {
    code: 'TIMEOUT',
    retryable: true,
    message: 'it took more than 5 ms',
  });
});

t.test('createImClient: options that are wrong are named; addresses', async (t) => {
  const good = { url: 'https://im.example.com', sdkAppId: 1_400_000_000, platform: 'Web' } as const;
  const wrong: [object, string][] = [
    [{ url: 'nonsense' }, 'url'],
    [{ url: 'ftp://x' }, 'url'],
    [{ sdkAppId: 0 }, 'sdkAppId'],
    [{ sdkAppId: 1.5 }, 'sdkAppId'],
    [{ sdkAppId: 2 ** 32 }, 'sdkAppId'],
    [{ platform: 'BeOS' }, 'platform'],
  ];
  for (const [options, field] of wrong) {
    t.throws(() => createImClient({ ...good, ...options }), { name: 'ImError', code: 'INVALID_ARGUMENT', field });
  }
  const urls: string[] = [];
  class Refusing {
    onopen = null;
    onmessage = null;
    onerror = null;
    onclose = null;
    constructor(url: string) {
      urls.push(url);
      throw new TypeError('no');
    }
    send(): void {}
    close(): void {}
  }
  for (const url of [
    'https://im.example.com',
    'http://127.0.0.1:81/',
    'wss://im.example.com/link?x=1#y',
    new URL('ws://[::1]:5'),
  ]) {
    const client = createImClient({ ...good, url, WebSocket: Refusing, limits: { loginTimeoutMs: 20 } });
    const error = await client.login('alice', 'sig').catch((error: unknown) => error);
    t.ok(error instanceof ImError && error.code === 'NETWORK' && error.cause instanceof TypeError, String(url));
    await client.close();
  }
  t.same(
    [...new Set(urls)],
    [
      'wss://im.example.com/im/v1/link',
      'ws://127.0.0.1:81/im/v1/link',
      'wss://im.example.com/link?x=1',
      'ws://[::1]:5/im/v1/link',
    ],
  );
  const client = createImClient(good);
  t.teardown(() => client.close());
  for (const [identifier, userSig] of [
    ['', 'x'],
    ['alice', ''],
    [7, 'x'],
    ['alice', undefined],
  ]) {
    await t.rejects(client.login(identifier as string, userSig as string), { code: 'INVALID_ARGUMENT' });
  }
  t.throws(() => client.getConversation('bob'), { code: 'NOT_LOGGED_IN' });
  t.equal(client.account, undefined);
  t.equal(client.connectionState, 'disconnected');
});
