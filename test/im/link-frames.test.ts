import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import * as ws from 'ws';
import { createDeadlines } from '../../src/im/link/deadlines.ts';
import { createDispatcher } from '../../src/im/link/dispatcher.ts';
import { allowsOrigin, createEntrance } from '../../src/im/link/entrance.ts';
import { FieldReader, parseConversation } from '../../src/im/link/field-reader.ts';
import { type Frame, maxFrameBytes, parseFrame } from '../../src/im/link/frame.ts';
import { FrameRate } from '../../src/im/link/frame-rate.ts';
import { createGate } from '../../src/im/link/gate.ts';
import { Link, type LinkHost, type Terminal } from '../../src/im/link/link.ts';
import type { LinkSocket } from '../../src/im/link/link-socket.ts';
import { byeText, errorText, eventText, messageFields, viewText } from '../../src/im/link/outgoing.ts';
import { emptyOk, type RequestHandler } from '../../src/im/link/request.ts';
import { SentSeqs } from '../../src/im/link/sent-seqs.ts';
import { type ReadyFrame, WaitingFrames } from '../../src/im/link/waiting-frames.ts';
import type { AccountNo, ConversationId, StoredMessage } from '../../src/im/model.ts';
import { type AccountId, type ImResult, imErrorCatalogue, linkEnds } from '../../src/wire/index.ts';
import { completeApp } from '../support/app-settings.ts';
import { makeTestLogger, until } from '../support/database.ts';

const bob = 'bob' as AccountId;
const alice = 'alice' as AccountId;
const parse = (text: string) => parseFrame(Buffer.from(text));

t.test('a frame is an object with a `do`, and an `id` if it wants an answer', async (t) => {
  t.match(parse('{"id":7,"do":"beat","x":1}'), { ok: true, value: { id: 7, do: 'beat', fields: { x: 1 } } });
  t.match(parse('{"do":"beat"}'), { ok: true, value: { id: undefined, do: 'beat' } });
  t.match(parse('{"id":0,"do":""}'), { ok: true });
  t.match(parse(`{"id":${2 ** 53 - 1},"do":"x"}`), { ok: true });
  const bad: [string, RegExp][] = [
    ['', /not JSON/],
    ['{"do":"beat"', /not JSON/],
    ['\u0000', /not JSON/],
    ['NaN', /not JSON/],
    ["{'do':'beat'}", /not JSON/],
    ['\ufeff{"do":"beat"}', /not JSON/],
    ['null', /not a JSON object/],
    ['7', /not a JSON object/],
    ['"beat"', /not a JSON object/],
    ['[{"do":"beat"}]', /not a JSON object/],
    ['{}', /no do/],
    ['{"id":1}', /no do/],
    ['{"do":1}', /no do/],
    ['{"do":null}', /no do/],
    ['{"do":["beat"]}', /no do/],
    ['{"__proto__":{"do":"beat"}}', /no do/],
    ['{"id":"1","do":"beat"}', /id/],
    ['{"id":1.5,"do":"beat"}', /id/],
    ['{"id":-1,"do":"beat"}', /id/],
    ['{"id":null,"do":"beat"}', /id/],
    [`{"id":${2 ** 53},"do":"beat"}`, /id/],
    [`{"do":"x","a":${'['.repeat(24)}${']'.repeat(24)}}`, /nested/],
    ['['.repeat(maxFrameBytes), /nested/],
    [`{"a":`.repeat(5_000), /nested/],
  ];
  for (const [text, reason] of bad) {
    const result = parse(text);
    t.match(result.ok ? 'taken' : result.reason, reason, JSON.stringify(text.slice(0, 40)));
  }
  t.match(parse(`{"do":"x","a":${'['.repeat(23)}${']'.repeat(23)}}`), { ok: true }, '24 levels');
  t.match(parse(`{"do":"x","a":"${'[{\\"'.repeat(5_000)}"}`), { ok: true }, 'brackets in a text are none');
  t.match(parse(`{"do":"x","a":[${'[],'.repeat(5_000)}[]]}`), { ok: true }, 'many, but not deep');
});

t.test('whatever comes is read without an error, and pollutes nothing', async (t) => {
  const valid =
    '{"id":7,"do":"send","conversation":"c2c:bob","clientId":"a","body":[{"MsgType":"T","MsgContent":{"Text":"\\"[é\\u0000"}}]}';
  const bytes = [...Buffer.from(valid)];
  const mutated = fc
    .array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255), fc.constantFrom('set', 'cut', 'add')), { maxLength: 6 })
    .map((changes) => {
      const copy = [...bytes];
      for (const [at, byte, how] of changes) {
        if (how === 'set') copy[at] = byte;
        else copy.splice(at, how === 'cut' ? 1 : 0, ...(how === 'add' ? [byte] : []));
      }
      return Buffer.from(copy);
    });
  const anyJson = fc.oneof(fc.jsonValue(), fc.object({ key: fc.constantFrom('do', 'id', '__proto__', 'constructor') }));
  const any = fc.oneof(
    mutated,
    anyJson.map((value) => Buffer.from(JSON.stringify(value) ?? '')),
    fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array)),
  );
  fc.assert(
    fc.property(any, (data) => {
      const result = parseFrame(data);
      if (!result.ok) return result.reason.length > 0;
      const { id, do: what, fields } = result.value;
      const isId = id === undefined || (Number.isSafeInteger(id) && id >= 0);
      return isId && typeof what === 'string' && Object.hasOwn(fields, 'do');
    }),
    { numRuns: 3_000 },
  );
  t.equal(({} as Record<string, unknown>).do, undefined);
});

t.test('fields: the first that is wrong is named, with why and what would be right', async (t) => {
  const read = (fields: object) => new FieldReader(JSON.parse(JSON.stringify(fields)));
  const cases: [object, (fields: FieldReader) => unknown, object | undefined][] = [
    [{ n: 5 }, (f) => f.integer('n', { min: 1, max: 5 }), undefined],
    [{}, (f) => f.integer('n', { min: 1, max: 5 }), { field: 'n', reason: 'is missing' }],
    [{ n: 6 }, (f) => f.integer('n', { min: 1, max: 5 }), { field: 'n', allowed: '1 … 5' }],
    [{ n: '5' }, (f) => f.integer('n', { min: 1, max: 5 }), { field: 'n', reason: 'must be an integer' }],
    [{ n: 1.5 }, (f) => f.optionalInteger('n', { min: 1, max: 5 }), { field: 'n' }],
    [{ n: null }, (f) => f.optionalInteger('n', { min: 1, max: 5 }), { field: 'n' }],
    [{ n: -1 }, (f) => f.integer('n', { min: 0, max: 2 ** 53 - 1 }), { allowed: '0 … 2^53 - 1' }],
    [{}, (f) => f.optionalInteger('n', { min: 1, max: 5 }), undefined],
    [{ b: true }, (f) => f.boolean('b', false), undefined],
    [{ b: 1 }, (f) => f.boolean('b', false), { field: 'b', reason: 'must be a boolean' }],
    [{ w: 'on' }, (f) => f.word('w', ['on', 'off']), undefined],
    [{ w: 'toString' }, (f) => f.word('w', ['on', 'off']), { field: 'w', allowed: 'on, off' }],
    [{}, (f) => f.word('w', ['on', 'off']), { reason: 'is missing' }],
    [{ s: 'ab' }, (f) => f.text('s', { pattern: /^a/, allowed: 'a…' }), undefined],
    [{ s: 'b' }, (f) => f.text('s', { pattern: /^a/, allowed: 'a…' }), { field: 's', allowed: 'a…' }],
    [{ s: ['a'] }, (f) => f.text('s', { pattern: /^a/, allowed: 'a…' }), { reason: 'must be a string' }],
    [{}, (f) => f.text('s', { pattern: /^a/, allowed: 'a…' }), { reason: 'is missing' }],
    [{ o: {} }, (f) => f.object('o'), undefined],
    [{ o: [] }, (f) => f.object('o'), { field: 'o', reason: 'must be an object' }],
    [{ o: null }, (f) => f.object('o'), { field: 'o' }],
    [{}, (f) => f.object('o'), { reason: 'is missing' }],
    [{ l: ['c2c:a', 'c2c:b'] }, (f) => f.list('l', 2, parseConversation), undefined],
    [{ l: ['c2c:a', 'b'] }, (f) => f.list('l', 2, parseConversation), { field: 'l[1]' }],
    [
      { l: ['c2c:a', 'c2c:b', 'c2c:c'] },
      (f) => f.list('l', 2, parseConversation),
      { field: 'l', allowed: 'at most 2' },
    ],
    [{ l: 'c2c:a' }, (f) => f.list('l', 2, parseConversation), { reason: 'must be an array' }],
    [{}, (f) => f.list('l', 2, parseConversation), { reason: 'is missing' }],
    [{ conversation: 'c2c:é' }, (f) => f.conversation(), undefined],
    [{}, (f) => f.conversation(), { field: 'conversation', reason: 'is missing' }],
    [{ conversation: 7 }, (f) => f.conversation(), { field: 'conversation', allowed: 'c2c: and an account' }],
    [{ conversation: 'group:g' }, (f) => f.conversation(), { reason: 'is no conversation that there is' }],
    [{ conversation: 'c2c:' }, (f) => f.conversation(), { reason: /must not be empty/ }],
    [{ conversation: `c2c:${'é'.repeat(17)}` }, (f) => f.conversation(), { reason: /32 bytes/ }],
    [{ conversation: 'c2c:a\u0001' }, (f) => f.conversation(), { reason: /control/ }],
    [{ conversation: 'c2c:\ud800' }, (f) => f.conversation(), { reason: /Unicode/ }],
  ];
  for (const [fields, use, refusal] of cases) {
    const reader = read(fields);
    use(reader);
    if (refusal === undefined) t.equal(reader.refusal, undefined, JSON.stringify(fields));
    else t.match(reader.refusal, { ok: false, error: 'INVALID_FIELD', ...refusal }, JSON.stringify(fields));
  }
  const two = read({ a: 'x', b: 'x' });
  two.integer('a', { min: 0, max: 1 });
  two.integer('b', { min: 0, max: 1 });
  t.equal(two.refusal?.field, 'a', 'the first one');
  t.equal(read({}).raw('constructor'), undefined, 'nothing inherited');
});

t.test('frames a second: an average over 4 seconds, and three times that is a flood', async (t) => {
  const run = (perSec: number, seconds: number) => {
    const rate = new FrameRate();
    const verdicts = { ok: 0, limited: 0, flood: 0 };
    for (let i = 0; i < perSec * seconds; i++) verdicts[rate.take(1_000_000 + (i * 1_000) / perSec, 50)] += 1;
    return verdicts;
  };
  t.same(run(50, 60), { ok: 3_000, limited: 0, flood: 0 });
  const over = run(100, 60);
  t.equal(over.flood, 0, 'twice as much is refused, not ended');
  t.ok(Math.abs(over.ok - 3_200) < 5 && over.limited > 2_500);
  t.ok(run(149, 60).flood === 0);
  t.ok(run(200, 60).flood > 0);
  const burst = new FrameRate();
  const verdicts = Array.from({ length: 601 }, () => burst.take(5, 50));
  t.equal(verdicts.indexOf('limited'), 200, '4 seconds at once');
  t.equal(verdicts.indexOf('flood'), 600, 'three times that');
});

t.test('what a link was sent is known for two looks, within bounds', async (t) => {
  const sent = new SentSeqs();
  t.equal(sent.covers(bob, 1), false);
  sent.note(bob, 5);
  sent.note(bob, 3);
  t.equal(sent.covers(bob, 5), true, 'the newest counts');
  t.equal(sent.covers(bob, 6), false);
  sent.turn();
  t.equal(sent.covers(bob, 5), true);
  sent.note(bob, 2);
  t.equal(sent.covers(bob, 5), true);
  sent.turn();
  t.equal(sent.covers(bob, 5), false);
  for (let i = 0; i < 1_000; i++) sent.note(`a${i}` as AccountId, 1);
  t.equal(sent.covers('a0' as AccountId, 1), true);
  t.equal(sent.covers('a999' as AccountId, 1), false, 'what did not fit counts as not sent');
});

const message: StoredMessage = {
  conversationId: 1 as ConversationId,
  seq: 13,
  from: bob,
  time: 1_795_391_090,
  msgSeq: 8,
  random: 77,
  body: '[{"MsgType":"TIMTextElem","MsgContent":{"Text":"h\\"i"}}]',
  recalled: false,
};

t.test('frames of the service are JSON that says what the protocol says', async (t) => {
  const event = (...args: Parameters<typeof eventText>) => JSON.parse(eventText(...args));
  const shown = {
    conversation: 'c2c:bob',
    seq: 13,
    prev: 12,
    from: 'bob',
    time: 1_795_391_090,
    msgSeq: 8,
    random: 77,
    key: '8_77_1795391090',
    body: [{ MsgType: 'TIMTextElem', MsgContent: { Text: 'h"i' } }],
  };
  t.strictSame(event({ kind: 'message', message, peer: bob, prev: 12 }, alice), { on: 'message', ...shown });
  t.strictSame(
    event({ kind: 'message', message, peer: bob, prev: 12, uncounted: true }, alice),
    { on: 'message', ...shown, uncounted: true },
    '[M14] one that does not count as unread says so',
  );
  const rich = { ...message, custom: '"c"', clientId: 'x"y', recalled: true, body: '[]', push: '{}' };
  t.strictSame(event({ kind: 'message', message: rich, peer: alice, prev: 0 }, bob), {
    on: 'message',
    ...shown,
    conversation: 'c2c:alice',
    prev: 0,
    body: [],
    custom: '"c"',
    clientId: 'x"y',
    recalled: true,
  });
  const { clientId: _, ...others } = event({ kind: 'message', message: rich, peer: bob, prev: 0 }, alice);
  t.equal(_, undefined, 'the client id is for the sender alone');
  t.notOk('push' in others);
  const online = event({ kind: 'message', message: { ...message, seq: 0 }, peer: bob, prev: 0 }, alice);
  t.notOk('seq' in online || 'prev' in online, 'one for online terminals alone has no seq');
  t.notOk('prev' in JSON.parse(`{${messageFields(message, bob, alice)}}`), 'nor has an answer a prev');
  const odd = 'a"b\\ü' as AccountId;
  t.equal(JSON.parse(`{${messageFields(message, odd, alice)}}`).conversation, `c2c:${odd}`);

  t.strictSame(event({ kind: 'recalled', peer: bob, seqs: [1, 2], recallNo: 3 }, alice), {
    on: 'recalled',
    conversation: 'c2c:bob',
    seqs: [1, 2],
    recallNo: 3,
  });
  t.strictSame(event({ kind: 'read', peer: bob, readSeq: 4, unread: 0 }, alice), {
    on: 'read',
    conversation: 'c2c:bob',
    readSeq: 4,
    unread: 0,
  });
  t.strictSame(event({ kind: 'read', peer: bob, readSeq: 4 }, alice), {
    on: 'read',
    conversation: 'c2c:bob',
    readSeq: 4,
    peer: true,
  });
  t.strictSame(event({ kind: 'profile', account: alice, fields: { nick: 'A' } }, alice), {
    on: 'profile',
    account: 'alice',
    fields: { nick: 'A' },
  });

  const view = {
    conversationId: 1 as ConversationId,
    peer: bob,
    seq: 13,
    time: 5,
    readSeq: 2,
    unread: 3,
    recallNo: 0,
    deliveredSeq: 4,
    peerReadSeq: 5,
  };
  const viewed = {
    conversation: 'c2c:bob',
    seq: 13,
    readSeq: 2,
    unread: 3,
    recallNo: 0,
    deliveredSeq: 4,
    peerReadSeq: 5,
  };
  t.strictSame(JSON.parse(viewText(view, alice)), viewed);
  const { prev: __, ...last } = shown;
  t.strictSame(JSON.parse(viewText({ ...view, last: message }, alice)), { ...viewed, last });

  t.strictSame(JSON.parse(errorText(7, { ok: false, error: 'RECEIVER_UNKNOWN', field: 'conversation' })), {
    id: 7,
    error: {
      code: 90012,
      name: 'RECEIVER_UNKNOWN',
      reason: imErrorCatalogue.RECEIVER_UNKNOWN.message,
      field: 'conversation',
      retryable: false,
    },
  });
  t.strictSame(JSON.parse(byeText('KICKED', { by: { platform: 'Web', at: 5 } })), {
    on: 'bye',
    code: 4100,
    name: 'KICKED',
    reason: linkEnds.KICKED.message,
    final: true,
    platform: 'Web',
    at: 5,
  });
});

t.test('close codes: below 4100 connect again, from there on final', async (t) => {
  const codes = Object.values(linkEnds).map(({ code }) => code);
  t.equal(new Set(codes).size, codes.length);
  const page = readFileSync(new URL('../../docs/reference/link.md', import.meta.url), 'utf8');
  const documented = [...page.matchAll(/^\| (4\d\d\d) +\| `(\w+)`/gm)].map(([, code, name]) => [name, Number(code)]);
  t.same(
    documented,
    Object.entries(linkEnds).map(([name, { code }]) => [name, code]),
    'the reference page has them all',
  );
  for (const [name, { code, isFinal }] of Object.entries(linkEnds)) {
    t.ok(isFinal ? code >= 4_100 && code < 4_200 : code >= 4_000 && code < 4_100, name);
  }
});

t.test('a gate lets so many through at once, in order, whatever becomes of them', async (t) => {
  const gate = createGate(2);
  const begun: number[] = [];
  const ends: PromiseWithResolvers<number>[] = [];
  const all = Array.from({ length: 5 }, (_, i) =>
    gate(() => {
      begun.push(i);
      ends[i] = Promise.withResolvers<number>();
      return ends[i].promise;
    }),
  );
  await until(() => begun.length === 2);
  ends[1]?.reject(new Error('no'));
  await t.rejects(all[1] as Promise<number>);
  await until(() => begun.length === 3);
  t.same(begun, [0, 1, 2]);
  for (const i of [0, 2, 3, 4]) {
    await until(() => ends[i] !== undefined);
    ends[i]?.resolve(i);
    t.equal(await all[i], i);
  }
  t.equal(await gate(async () => 7), 7, 'and is as open as before');
});

t.test('deadlines are shared, and come', async (t) => {
  const deadlines = createDeadlines({ afterMs: 20 });
  const signal = deadlines.next();
  t.equal(deadlines.next(), signal);
  await until(() => signal.aborted);
  t.equal(signal.reason.name, 'TimeoutError');
  t.not(deadlines.next(), signal);
  deadlines.close();
});

t.test('the way in: origins, limits, and whose address counts', async (t) => {
  const app = (origins?: string[]) =>
    completeApp({ sdkAppId: 1, secret: 'x'.repeat(16), ...(origins && { im: { origins } }) });
  t.equal(allowsOrigin(app(), 'https://a.example'), true);
  t.equal(allowsOrigin(app(['https://A.example']), 'https://a.example'), true);
  t.equal(allowsOrigin(app(['https://a.example']), 'https://a.example.evil'), false);
  t.equal(allowsOrigin(app([]), 'null'), false);

  const enter = (entrance: ReturnType<typeof createEntrance>, address: string, headers = {}, url = '/im/v1/link?x') =>
    entrance.enter({ url, headers, socket: { remoteAddress: address } } as never);
  const limits = { links: 4, linksPerAddress: 2, trustedProxies: ['10.0.0.0/8'] };
  const entrance = createEntrance({ apps: { list: () => [app(['https://a.example'])] } }, limits);
  t.match(enter(entrance, '1.1.1.1', {}, '/im/v1/linked'), { ok: false, status: 404 });
  t.match(enter(entrance, '1.1.1.1', { origin: 'https://b.example' }), { ok: false, status: 403 });
  t.match(enter(entrance, '2001:db8::1', { origin: 'https://a.example' }), { ok: true, origin: 'https://a.example' });
  t.match(enter(entrance, '2001:db8::2'), { ok: true });
  t.match(enter(entrance, '2001:db8::3'), { ok: false, status: 429 }, 'one /64 is one address');
  t.match(enter(entrance, '2001:db8:0:1::3'), { ok: true });
  t.match(enter(entrance, '10.0.0.1', { 'x-forwarded-for': '6.6.6.6, 7.7.7.7' }), { ok: true, network: '7.7.7.7' });
  t.match(enter(entrance, '8.8.8.8'), { ok: false, status: 503 });
  entrance.leave('7.7.7.7');
  t.match(
    enter(entrance, '9.9.9.9', { 'x-forwarded-for': '7.7.7.7' }),
    { ok: true, network: '9.9.9.9' },
    'who is no trusted proxy speaks for himself alone',
  );
  t.equal(entrance.size, 4);
});

/** A link whose socket is a list. */
function fakeLink(): { link: Link; sent: string[] } {
  const sent: string[] = [];
  const socket = {
    bufferedAmount: 0,
    sendReady: ({ text }: ReadyFrame) => sent.push(text),
    pause() {},
    resume() {},
    close(code: number) {
      sent.push(String(code));
    },
  };
  const host: LinkHost = {
    queueBytes: 100,
    nothingWaits: new WaitingFrames(),
    queued: (link) => setImmediate(() => link.flush()),
    fellBehind(link) {
      link.isBehind = true;
    },
    dropped: () => sent.push('dropped'),
    ending() {},
    sent() {},
  };
  const facts = { address: '', network: '', origin: undefined, openedMs: 0, heardMs: 0 };
  const link = new Link(host, { socket: socket as unknown as LinkSocket, ...facts });
  link.state = 'open';
  return { link, sent };
}

t.test('frames of one turn of the event loop leave as one array', async (t) => {
  const { link, sent } = fakeLink();
  link.send('1');
  link.sendEvent('2');
  t.same(sent, []);
  await until(() => sent.length > 0);
  link.send('3');
  await until(() => sent.length > 1);
  t.same(sent, ['[1,2]', '3']);
  link.sendEvent('4'.repeat(90));
  link.sendEvent('5'.repeat(20));
  link.send('6');
  await until(() => sent.length > 3);
  t.same(sent.slice(2), ['dropped', `[${'4'.repeat(90)},6]`], 'an event that is too much is dropped, an answer is not');
  link.end('SHUTDOWN', { reconnectMs: 5 });
  link.end('KICKED', {});
  link.send('7');
  link.sendEvent('8');
  t.match(sent.slice(4), [/"bye".*"SHUTDOWN".*"reconnectMs":5/, '4000'], 'goodbye is said once, and last');
});

t.test(
  'what waits for several links is shared, whatever else waits for others, and is written as ws would',
  async (t) => {
    const nothing = new WaitingFrames();
    const both = nothing.with('"a"').with('"b"');
    const alone = nothing.with('"c"');
    t.equal(nothing.with('"c"').with('"d"').text, '["c","d"]');
    t.equal(alone.text, '"c"', 'what is added later is added for whoever adds it');
    t.equal(nothing.with('"c"'), alone);
    t.equal(both.text, '["a","b"]');
    t.same([both.count, both.chars, nothing.count, nothing.chars], [2, 6, 0, 0]);
    const known = nothing.with('"e"');
    t.equal(nothing.with('"e"').bytes, known.bytes, 'the same bytes, not only equal ones');
    nothing.forget();
    t.not(nothing.with('"e"'), known);

    // Not in the library's types, which are not the library's.
    const { Sender } = ws as unknown as { Sender: { frame(data: Buffer, options: object): Buffer[] } };
    const framed = (text: string) => Buffer.concat(Sender.frame(Buffer.from(text), { fin: true, opcode: 1 }));
    for (const length of [1, 125, 126, 65_535, 65_536, 70_000]) {
      const texts = ['x'.repeat(length), '你'.repeat(Math.ceil(length / 3)), '\u{1f600}'.repeat(Math.ceil(length / 4))];
      for (const text of texts) t.ok(nothing.with(text).bytes.equals(framed(text)), `${text.slice(0, 2)} × ${length}`);
    }
    // Of several links, each with its own choice of what the turn brings: everybody gets what is its own, in order.
    fc.assert(
      fc.property(fc.array(fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }), { maxLength: 20 }), (turn) => {
        const links = [0, 1, 2, 3].map(() => nothing);
        const wanted = links.map((): number[] => []);
        turn.forEach((gets, number) => {
          gets.forEach((isFor, link) => {
            if (!isFor) return;
            links[link] = (links[link] ?? nothing).with(String(number));
            wanted[link]?.push(number);
          });
        });
        links.forEach((list, link) => {
          const own = wanted[link] ?? [];
          if (own.length > 0) t.equal(list.text, own.length === 1 ? String(own[0]) : JSON.stringify(own));
        });
      }),
    );
  },
);

t.test('requests: order where it counts, parallel else, 64 at once, every one answered', async (t) => {
  const { link, sent } = fakeLink();
  const { logger, events } = makeTestLogger();
  const terminal: Terminal = {
    account: { no: 1 as AccountNo, sdkAppId: 1, identifier: alice },
    platform: 'Web',
    autoReport: true,
    expiresAtMs: Number.MAX_SAFE_INTEGER,
  };
  const waiting: { name: unknown; resolve: (result: ImResult<string>) => void; reject: (error: unknown) => void }[] =
    [];
  const begun: unknown[] = [];
  const handler = (order: RequestHandler['order']): RequestHandler => ({
    permission: 'im.link.message.send',
    order,
    async run({ fields, turn }) {
      const name = fields.raw('name');
      begun.push(name);
      if (!(await turn)) return { ok: false, error: 'NOT_LOGGED_IN' };
      return new Promise((resolve, reject) => waiting.push({ name, resolve, reject }));
    },
  });
  const outcomes: string[] = [];
  let isIdle = 0;
  const dispatcher = createDispatcher({
    handlers: {
      send: handler('conversation'),
      page: handler('page'),
      any: handler('parallel'),
      words: { ...handler('parallel'), permission: 'im.words.write' },
    },
    deadlines: { next: () => new AbortController().signal },
    caughtUp: async () => {},
    onIdle: () => {
      isIdle += 1;
    },
    metrics: { request: (what, outcome) => outcomes.push(`${what} ${outcome}`) },
    logger,
  });
  let id = 0;
  const ask = (what: string, fields: object = {}) => {
    const frame: Frame = { id: ++id, do: what, fields: fields as Frame['fields'] };
    dispatcher.dispatch(link, terminal, frame);
  };
  const names = () => waiting.map(({ name }) => name);

  ask('send', { name: 'b1', conversation: 'c2c:b' });
  ask('send', { name: 'b2', conversation: 'c2c:b' });
  ask('send', { name: 'c1', conversation: 'c2c:c' });
  ask('any', { name: 'any' });
  ask('page', { name: 'p1' });
  ask('page', { name: 'p2' });
  await until(() => waiting.length === 4);
  t.same(names(), ['b1', 'c1', 'any', 'p1'], '[M15] b2 waits for b1, p2 for p1');
  t.same(begun, ['b1', 'b2', 'c1', 'any', 'p1'], 'but b2 has begun');
  t.equal(dispatcher.inFlight, 6);
  waiting[0]?.reject(new Error('Connection terminated unexpectedly'));
  await until(() => names().includes('b2'));
  waiting[3]?.resolve(emptyOk);
  await until(() => names().includes('p2'));
  for (const { resolve } of waiting) resolve(emptyOk);
  await until(() => dispatcher.inFlight === 0);
  t.equal(isIdle, 1);
  t.equal(link.chains, undefined, 'nothing is kept of a link that waits for nothing');
  const answers = () => sent.flatMap((text) => [JSON.parse(text)].flat()) as { id: number; error?: { name: string } }[];
  await until(() => answers().length === 6);
  t.match(answers().find((answer) => answer.id === 1)?.error, { name: 'DATABASE_UNAVAILABLE', retryable: true });

  waiting.length = 0;
  // A field is anything until it is checked: none of these is a text, and one cannot be made one.
  for (const conversation of [{ toString: 1, valueOf: 1 }, [[]], null, 7, '']) ask('send', { conversation });
  for (let i = 0; i < 5; i++) {
    await until(() => waiting.length > i);
    waiting[i]?.resolve(emptyOk);
  }
  await until(() => dispatcher.inFlight === 0);

  waiting.length = 0;
  for (let i = 0; i < 70; i++) ask('any');
  await until(() => waiting.length === 64 && answers().filter(({ error }) => error?.name === 'BUSY').length === 6);
  for (const { resolve } of waiting) resolve(emptyOk);
  await until(() => dispatcher.inFlight === 0);
  ask('words');
  await until(() => answers().some(({ error }) => error?.name === 'FORBIDDEN'), 1_000);
  t.equal(
    waiting.some(({ name: what }) => what === 'words'),
    false,
    '[I5] what the table does not allow is not done',
  );
  for (const what of ['constructor', '__proto__', 'toString', 'sends', '']) ask(what);
  await until(() => answers().filter(({ error }) => error?.name === 'NO_SUCH_COMMAND').length === 5);
  waiting.length = 0;
  ask('any');
  await until(() => waiting.length === 1);
  waiting.at(-1)?.reject(new TypeError('a mistake of ours'));
  await until(() => answers().some(({ error }) => error?.name === 'INTERNAL'));
  t.ok(events.includes('im.link.request.failed'));
  t.equal(new Set(outcomes).size < 12, true, 'names of requests that there are not are one label');
  dispatcher.dispatch(link, terminal, { id: undefined, do: 'any', fields: {} });
  const count = answers().length;
  await until(() => waiting.length === 2);
  waiting.at(-1)?.resolve(emptyOk);
  await until(() => dispatcher.inFlight === 0);
  t.equal(answers().length, count, 'one without an id is carried out and not answered');

  waiting.length = 0;
  begun.length = 0;
  ask('send', { name: 'd1', conversation: 'c2c:d' });
  ask('send', { name: 'd2', conversation: 'c2c:d' });
  await until(() => waiting.length === 1);
  link.end('KICKED', {});
  waiting[0]?.resolve(emptyOk);
  await until(() => dispatcher.inFlight === 0);
  t.same([begun, names()], [['d1', 'd2'], ['d1']], 'the turn of what waited does not come once its terminal is kicked');
});
