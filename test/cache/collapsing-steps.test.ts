import t, { type Test } from 'tap';
import { firstOf } from '../../src/cache/index.ts';
import { type Asked, type Asking, type InProcess, openInProcess } from '../support/cache/in-process.ts';

/** Collapsing one call at a time (C11), where the order of things matters more than their number. */

const fresh = ['Cache-Control', 'max-age=60'];

const nth = (asked: readonly Asked[], i: number): Asked => {
  const one = asked[i];
  if (one === undefined) throw new Error(`the origin got ${asked.length} requests, not ${i + 1}`);
  return one;
};
const many = (count: number, make: (i: number) => Asking): Asking[] => Array.from({ length: count }, (_, i) => make(i));

function assertAll(t: Test, clients: readonly Asking[], body: string): void {
  t.ok(
    clients.every((one) => one.done && one.body === body),
    `all got ${JSON.stringify(body)}: ${JSON.stringify(clients.filter((one) => one.body !== body).slice(0, 3))}`,
  );
}

/** Stores a response in the ordinary way. */
function fill(one: InProcess, body: string, fields: readonly string[]): void {
  one.ask();
  nth(one.asked, one.asked.length - 1).answer(body, fields);
}

t.test('[C11] followers of another variant ask for themselves; each variant is asked for once', async (t) => {
  const one = openInProcess();
  const vary = [...fresh, 'Vary', 'Accept-Language'];
  const english = many(5, () => one.ask({ fields: ['Accept-Language', 'en'] }));
  const german = many(5, () => one.ask({ fields: ['Accept-Language', 'de'] }));
  t.equal(one.asked.length, 1);
  nth(one.asked, 0).answer('english', vary);
  assertAll(t, english, 'english');
  t.ok(german.every(({ state }) => state === 'waiting'));
  t.equal(one.asked.length, 2, 'the others together');
  const french = one.ask({ fields: ['Accept-Language', 'fr'] });
  t.equal(one.asked.length, 3, 'who is like neither does not wait: the fields are known by now');
  nth(one.asked, 1).answer('german', vary);
  assertAll(t, german, 'german');
  nth(one.asked, 2).answer('french', vary);
  t.equal(french.body, 'french');

  one.time.nowMs += 61_000;
  const again = many(10, (i) => one.ask({ fields: ['Accept-Language', i % 2 === 0 ? 'en' : 'de'] }));
  t.equal(one.asked.length, 5, 'one request for each of the two variants, which are stale');
  nth(one.asked, 3).answer('english', vary);
  nth(one.asked, 4).answer('german', vary);
  assertAll(
    t,
    again.filter((_, i) => i % 2 === 0),
    'english',
  );
  assertAll(
    t,
    again.filter((_, i) => i % 2 === 1),
    'german',
  );
});

for (const [what, fields, body, status, sec] of [
  ['private', ['Cache-Control', 'private, max-age=60'], 'x', 200, 60],
  ['no-store', ['Cache-Control', 'no-store'], 'x', 200, 60],
  ['Set-Cookie', [...fresh, 'Set-Cookie', 'a=b'], 'x', 200, 60],
  ['Vary: *', [...fresh, 'Vary', '*'], 'x', 200, 60],
  // What follows an error is another answer: an origin that comes back is not met by everybody at once.
  ['an error', [], 'x', 500, 1],
] as const) {
  t.test(`[C11] ${what}: the others go upstream at once, and for ${sec} s nobody waits`, async (t) => {
    const one = openInProcess();
    const clients = many(10, () => one.ask());
    t.equal(one.asked.length, 1);
    nth(one.asked, 0).answer(body, fields, status);
    t.equal(one.asked.length, 10, 'while none of them has an answer');
    one.time.nowMs += sec * 1_000 - 100;
    clients.push(...many(5, () => one.ask()));
    t.equal(one.asked.length, 15, 'who comes within that time does not wait');
    for (const asked of one.asked.slice(1)) asked.answer(body, fields, status);
    assertAll(t, clients, body);
    one.time.nowMs += sec * 1_000 + 200;
    many(5, () => one.ask());
    t.equal(one.asked.length, 16, 'then they do again');
  });
}

t.test('[C11] hit-for-miss of sessions is none of those who have none', async (t) => {
  const one = openInProcess();
  many(3, (i) => one.ask({ owner: `t${i}` }));
  t.equal(one.asked.length, 1);
  nth(one.asked, 0).answer('mine', fresh);
  t.equal(one.asked.length, 3);
  many(3, (i) => one.ask({ owner: `u${i}` }));
  t.equal(one.asked.length, 6, 'sessions do not wait');
  many(3, () => one.ask());
  t.equal(one.asked.length, 7, 'others do');
});

t.test('[C11, C12] sessions share one request where the response says public', async (t) => {
  const one = openInProcess();
  const clients = many(20, (i) => one.ask({ owner: `terminal account${i}` }));
  nth(one.asked, 0).answer('for all', ['Cache-Control', 'public, max-age=60']);
  t.equal(one.asked.length, 1);
  assertAll(t, clients, 'for all');
});

t.test('[C11, C12] s-maxage that is no number opens nothing', async (t) => {
  for (const mode of ['qal', 'rfc9111'] as const) {
    for (const directive of ['s-maxage', 's-maxage=x', 's-maxage=-1', 's-maxage="']) {
      const one = openInProcess(mode);
      one.ask({ owner: 'a' });
      nth(one.asked, 0).answer('of a', ['ETag', '"1"', 'Cache-Control', `max-age=60, ${directive}`]);
      const other = one.ask({ owner: 'b' });
      t.equal(other.state, 'waiting', directive);
      t.equal(one.asked.length, 2, directive);
      t.strictSame(nth(one.asked, 1).etags, [], 'nor does anybody ask whether it still holds');
    }
  }
});

t.test('[C11] own conditions among followers', async (t) => {
  const one = openInProcess();
  const plain = one.ask();
  const same = one.ask({ fields: ['If-None-Match', '"1"'] });
  const other = one.ask({ fields: ['If-None-Match', '"0"'] });
  nth(one.asked, 0).answer('body', [...fresh, 'ETag', '"1"']);
  t.equal(one.asked.length, 1);
  assertAll(t, [plain, other], 'body');
  t.strictSame([same.status, same.body, same.done], [304, '', true]);

  // The leader's own condition holds: a 304 says nothing to those who have another one, or none.
  const second = openInProcess();
  const clients = [['"1"'], ['"1"'], ['"2"'], []].map(([tag]) =>
    second.ask({ fields: tag === undefined ? [] : ['If-None-Match', tag] }),
  );
  nth(second.asked, 0).answer('', [...fresh, 'ETag', '"1"'], 304);
  t.strictSame(
    clients.map(({ state, status }) => [state, status]),
    [
      ['taken', 304],
      ['answered', 304],
      ['waiting', 0],
      ['waiting', 0],
    ],
  );
  t.equal(second.asked.length, 3);
  for (const asked of second.asked.slice(1)) asked.answer('body', [...fresh, 'ETag', '"1"']);
  assertAll(t, clients.slice(2), 'body');
});

t.test('[C11] a failed leader fails nobody who may have what is stale; the others ask for themselves', async (t) => {
  for (const how of ['fails', 'answers 503'] as const) {
    const one = openInProcess();
    fill(one, 'old', ['Cache-Control', 'max-age=10, stale-if-error=100', 'ETag', '"1"']);
    one.time.nowMs += 20_000;
    const patient = many(3, () => one.ask());
    const strict = many(2, () => one.ask({ fields: ['Cache-Control', 'no-cache'] }));
    t.equal(one.asked.length, 2);
    if (how === 'fails') nth(one.asked, 1).fail();
    else nth(one.asked, 1).answer('down', [], 503);
    assertAll(t, patient, 'old');
    t.ok(strict.every(({ state }) => state === 'waiting'));
    t.equal(one.asked.length, 4, 'each of the others has asked');
    for (const asked of one.asked.slice(2)) asked.answer('new', fresh);
    assertAll(t, strict, 'new');
  }
});

t.test('[C11] a leader who may not have what is stale gets the error, his followers what is stale', async (t) => {
  const one = openInProcess();
  fill(one, 'old', ['Cache-Control', 'max-age=10, stale-if-error=100', 'ETag', '"1"']);
  one.time.nowMs += 20_000;
  const leader = one.ask({ fields: ['Cache-Control', 'no-cache'] });
  const followers = many(3, () => one.ask());
  t.equal(one.asked.length, 2);
  nth(one.asked, 1).fail();
  t.equal(leader.state, 'failed');
  assertAll(t, followers, 'old');
});

t.test('[C11] a body that is cut off is cut off for all who read it, and not stored', async (t) => {
  const one = openInProcess();
  const clients = many(3, () => one.ask());
  nth(one.asked, 0).head(fresh, { lengthBytes: 10 });
  nth(one.asked, 0).body('half ');
  nth(one.asked, 0).fail();
  t.ok(clients.every(({ cut, body }) => cut && body === 'half '));
  one.ask();
  t.equal(one.asked.length, 2);
});

t.test('[C11] the leader leaves before the head: followers get theirs, and so does the store', async (t) => {
  const one = openInProcess();
  const leader = one.ask();
  const followers = many(3, () => one.ask());
  leader.leave();
  t.notOk(nth(one.asked, 0).destroyed);
  nth(one.asked, 0).answer('body', fresh);
  assertAll(t, followers, 'body');
  t.equal(one.ask().body, 'body');
  t.equal(one.asked.length, 1);
});

t.test('[C11] everybody leaves before the head: the fetch goes on, is joined, and ends with the store', async (t) => {
  const one = openInProcess();
  one.ask().leave();
  t.notOk(nth(one.asked, 0).destroyed, 'it goes on for the store');
  const newcomer = one.ask();
  t.equal(one.asked.length, 1, 'a newcomer joins it');
  nth(one.asked, 0).answer('body', fresh);
  assertAll(t, [newcomer], 'body');
});

t.test('[C11] who joins and leaves an orphaned fetch uses up no place of other orphans', async (t) => {
  const one = openInProcess();
  one.ask().leave();
  for (let i = 0; i < 300; i += 1) one.ask().leave();
  t.equal(one.asked.length, 1);
  nth(one.asked, 0).answer('body', fresh);
  for (let i = 0; i < 300; i += 1) one.ask({ target: `/${i}` }).leave();
  const goingOn = one.asked.filter(({ over, destroyed }) => !over && !destroyed).length;
  t.equal(goingOn, 256, 'as many as there may be');
});

t.test('[C11] the leader leaves in the middle of the body: followers and the store get everything', async (t) => {
  const one = openInProcess();
  const leader = one.ask();
  const follower = one.ask();
  const asked = nth(one.asked, 0);
  asked.head(fresh);
  asked.body('half ');
  leader.leave();
  asked.body('whole');
  asked.end();
  assertAll(t, [follower], 'half whole');
  t.equal(one.ask().body, 'half whole');
});

t.test('[C11] who comes while the body arrives reads it from its beginning, as long as it is fresh', async (t) => {
  const one = openInProcess();
  one.ask();
  const asked = nth(one.asked, 0);
  asked.head(['Cache-Control', 'max-age=10']);
  asked.body('half ');
  one.time.nowMs += 9_000;
  const early = one.ask();
  t.strictSame([early.body, firstOf(early.raw, 'age')], ['half ', '9']);
  const strict = one.ask({ fields: ['Cache-Control', 'max-age=5'] });
  t.equal(strict.state, 'waiting', 'too old for this one');
  t.equal(one.asked.length, 2);
  strict.leave();
  one.time.nowMs += 2_000;
  one.ask();
  t.equal(one.asked.length, 2, 'stale by now: the other fetch goes on without its client, and is joined');
  asked.body('whole');
  asked.end();
  assertAll(t, [early], 'half whole');
});

t.test('[C11] a refresh that fails is not repeated for a second, however it failed', async (t) => {
  const failures: Record<string, (asked: Asked) => void> = {
    'no answer': (asked) => asked.fail(),
    '503': (asked) => asked.answer('down', [], 503),
    '403': (asked) => asked.answer('no', ['Cache-Control', 'no-store'], 403),
    'cut off': (asked) => {
      asked.head(fresh, { lengthBytes: 10 });
      asked.body('half');
      asked.fail();
    },
  };
  for (const [how, failing] of Object.entries(failures)) {
    const one = openInProcess();
    fill(one, 'old', ['Cache-Control', 'max-age=10, stale-while-revalidate=1000']);
    one.time.nowMs += 20_000;
    for (const waitMs of [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
      const before = one.asked.length;
      assertAll(
        t,
        many(3, () => one.ask()),
        'old',
      );
      t.equal(one.asked.length, before + 1, `${how}: one refresh`);
      failing(nth(one.asked, before));
      one.time.nowMs += waitMs - 1;
      assertAll(
        t,
        many(3, () => one.ask()),
        'old',
      );
      t.equal(one.asked.length, before + 1, `${how}: none for ${waitMs} ms`);
      one.time.nowMs += 1;
    }
    t.equal(await one.metric('qalgate_cache_refreshes_total'), 7, `${how}: all are counted`);
  }
});

t.test('[C11] a refresh that brings what cannot be stored is not repeated for each request', async (t) => {
  const stale = ['Cache-Control', 'max-age=10, stale-while-revalidate=1000'];
  const large = Buffer.alloc(600_000, 'x');
  const unstorable: Record<string, (asked: Asked) => void> = {
    'known to be too large': (asked) => asked.head(fresh, { lengthBytes: 2_000_000 }),
    'too large after all': (asked) => {
      asked.head(fresh);
      asked.body(large);
      asked.body(large);
    },
    'with trailers': (asked) => {
      asked.head(fresh);
      asked.body('new');
      asked.end(['A', 'b']);
    },
    private: (asked) => asked.answer('new', ['Cache-Control', 'private']),
  };
  for (const [how, answering] of Object.entries(unstorable)) {
    const one = openInProcess();
    fill(one, 'old', stale);
    one.time.nowMs += 20_000;
    t.equal(one.ask().body, 'old');
    answering(nth(one.asked, 1));
    const next = one.ask();
    t.equal(next.state, 'waiting', `${how}: what was replaced is not served any more`);
    t.equal(one.asked.length, 3);
    t.equal(await one.metric('qalgate_cache_filling_bytes'), 0);
  }
});

t.test(
  '[C14, C11] a purge while many wait: they get what they asked for, it is not stored, and newcomers ask anew',
  async (t) => {
    const ends: Record<string, (one: InProcess) => void> = {
      purge: (one) => void one.cache.purge({ by: 'url', sdkAppId: 1 as never, url: 'http://a/' }),
      distrust: (one) => one.cache.distrust(),
      POST: (one) => one.observe({ method: 'POST' }, 200, []),
    };
    for (const [what, end] of Object.entries(ends)) {
      const one = openInProcess();
      const early = many(10, () => one.ask());
      end(one);
      const late = many(10, () => one.ask());
      t.equal(one.asked.length, 2, `${what}: one request before, one after it`);
      nth(one.asked, 0).answer('old', fresh);
      assertAll(t, early, 'old');
      t.equal(one.asked.length, 2, `${what}: who asked before it has his answer`);
      one.time.nowMs += 2;
      nth(one.asked, 1).answer('new', fresh);
      assertAll(t, late, 'new');
      t.equal(one.ask().body, 'new');
      t.equal(one.asked.length, 2);
    }
  },
);

t.test('[C14, C11] a purge while many wait for a 304: the same', async (t) => {
  const one = openInProcess();
  fill(one, 'old', [...fresh, 'ETag', '"1"']);
  one.time.nowMs += 61_000;
  const early = many(10, () => one.ask());
  one.cache.purge({ by: 'app', sdkAppId: 1 as never });
  nth(one.asked, 1).answer('', ['ETag', '"1"'], 304);
  assertAll(t, early, 'old');
  t.equal(one.asked.length, 2);
  const late = many(10, () => one.ask());
  t.equal(one.asked.length, 3, 'it was not stored again');
  nth(one.asked, 2).answer('new', fresh);
  assertAll(t, late, 'new');
});

t.test('[C14] a purge while the body arrives: readers get it all, the store nothing, and nobody joins', async (t) => {
  const one = openInProcess();
  const early = one.ask();
  nth(one.asked, 0).head(fresh);
  nth(one.asked, 0).body('old ');
  one.cache.purge({ by: 'prefix', sdkAppId: 1 as never, url: 'http://a/' });
  const late = one.ask();
  t.equal(one.asked.length, 2);
  nth(one.asked, 0).body('body');
  nth(one.asked, 0).end();
  assertAll(t, [early], 'old body');
  nth(one.asked, 1).answer('new', fresh);
  assertAll(t, [late], 'new');
  t.equal(one.ask().body, 'new');
});

t.test('[C11] a follower that reads slowly holds up nobody', async (t) => {
  const one = openInProcess('rfc9111', { bytes: 40_000_000, entryBytes: 8_000_000 });
  const slow = many(3, () => one.ask({ slow: true }));
  const quick = many(3, () => one.ask());
  const asked = nth(one.asked, 0);
  asked.head(fresh);
  for (let i = 0; i < 60; i += 1) asked.body(Buffer.alloc(100_000, i));
  asked.end();
  t.notOk(asked.paused);
  t.ok(quick.every(({ done, body }) => done && body.length === 6_000_000));
  t.equal(one.ask().body.length, 6_000_000, 'stored');
  for (const client of slow) client.read();
  t.ok(slow.every(({ done, body }) => done && body === quick[0]?.body));
});

t.test(
  '[C14] the origin waits for the slowest reader of a body that outgrew its limit; whoever is left gets all',
  async (t) => {
    const one = openInProcess('rfc9111', { bytes: 100_000_000, entryBytes: 1_000_000 });
    const slow = one.ask({ slow: true });
    const quick = one.ask();
    const asked = nth(one.asked, 0);
    asked.head(fresh);
    for (let i = 0; i < 30 && !asked.paused; i += 1) asked.body(Buffer.alloc(100_000, 65 + i));
    t.ok(asked.paused, 'it waits');
    slow.leave();
    t.notOk(asked.paused, 'not for one who has gone');
    for (let i = 0; i < 300; i += 1) asked.body(Buffer.alloc(100_000, i));
    t.notOk(asked.paused);
    asked.end();
    t.ok(quick.done && quick.body.length > 30_000_000);
    one.ask();
    t.equal(one.asked.length, 2, 'nothing was stored');
  },
);

t.test('[C11] who leaves a body that is not stored any more ends it', async (t) => {
  const one = openInProcess('rfc9111', { entryBytes: 100_000 });
  const clients = many(2, () => one.ask());
  nth(one.asked, 0).head(fresh);
  nth(one.asked, 0).body(Buffer.alloc(200_000));
  clients[0]?.leave();
  t.notOk(nth(one.asked, 0).destroyed);
  clients[1]?.leave();
  t.ok(nth(one.asked, 0).destroyed);
  t.equal(await one.metric('qalgate_cache_filling_bytes'), 0);
  t.equal(await one.metric('qalgate_cache_fetches'), 0);
});

t.test('[C11] a response that nobody waits for has a limited time, until somebody does again', async (t) => {
  const one = openInProcess();
  const first = one.ask();
  nth(one.asked, 0).head(fresh, { lengthBytes: 10 });
  nth(one.asked, 0).body('12345');
  t.equal(nth(one.asked, 0).limitMs, undefined);
  first.leave();
  t.equal(nth(one.asked, 0).destroyed, false, 'the store wants it');
  t.equal(nth(one.asked, 0).limitMs, 60_000);
  const second = one.ask();
  t.equal(one.asked.length, 1, 'a newcomer reads along');
  t.equal(nth(one.asked, 0).limitMs, undefined);
  nth(one.asked, 0).body('67890');
  nth(one.asked, 0).end();
  t.equal(second.body, '1234567890');
});

t.test('[C11] so has a refresh in the background, also after somebody has read along', async (t) => {
  const one = openInProcess();
  fill(one, 'old', ['Cache-Control', 'max-age=1, stale-while-revalidate=600']);
  one.time.nowMs += 2_000;
  t.equal(one.ask().body, 'old');
  const refresh = nth(one.asked, 1);
  refresh.head(fresh, { lengthBytes: 10 });
  t.equal(refresh.limitMs, 60_000);
  const reader = one.ask({ fields: ['Cache-Control', 'max-age=1'] });
  const other = one.ask({ fields: ['Cache-Control', 'max-age=1'] });
  t.equal(one.asked.length, 2, 'both read along');
  t.equal(refresh.limitMs, undefined);
  reader.leave();
  t.equal(refresh.limitMs, undefined, 'one still reads');
  other.leave();
  t.equal(refresh.limitMs, 60_000);
  t.equal(refresh.destroyed, false, 'the store wants it');
});

t.test('[C11] of a route only so many go on for the store alone', async (t) => {
  const one = openInProcess();
  const clients = many(300, (i) => one.ask({ target: `/${i}` }));
  for (const asked of one.asked) asked.head(fresh, { lengthBytes: 10 });
  for (const client of clients) client.leave();
  t.equal(one.asked.filter(({ destroyed }) => !destroyed).length, 256);
  t.equal(await one.metric('qalgate_cache_not_stored_total'), 300 - 256, 'the others are counted');
});

t.test('[C11] no more than 1,024 refreshes run at once; all are answered all the same', async (t) => {
  const one = openInProcess();
  const targets = Array.from({ length: 1_030 }, (_, i) => `/${i}`);
  for (const target of targets) {
    one.ask({ target });
    nth(one.asked, one.asked.length - 1).answer('old', ['Cache-Control', 'max-age=1, stale-while-revalidate=600']);
  }
  one.time.nowMs += 2_000;
  assertAll(
    t,
    targets.map((target) => one.ask({ target })),
    'old',
  );
  t.equal(one.asked.length - targets.length, 1_024);
  t.equal(await one.metric('qalgate_cache_refreshes_total'), 6, 'the others are counted');
});

t.test('[C11] a kind of requests that turns out to share waits together again', async (t) => {
  const one = openInProcess();
  many(3, () => one.ask());
  nth(one.asked, 0).answer('x', ['Cache-Control', 'no-store']);
  t.equal(one.asked.length, 3);
  nth(one.asked, 1).answer('x', fresh);
  one.time.nowMs += 61_000 - 30_000;
  one.cache.purge({ sdkAppId: 1 as never, by: 'app' });
  many(5, () => one.ask());
  t.equal(one.asked.length, 4, 'within the 60 s of the first answer, which the second one took back');
});

t.test('[C11] who would wait a third time, as each head names another Vary, asks for himself', async (t) => {
  const one = openInProcess();
  const clients = many(6, (i) => one.ask({ fields: ['X-1', i < 1 ? 'a' : 'b', 'X-2', i < 2 ? 'a' : 'b'] }));
  t.equal(one.asked.length, 1);
  nth(one.asked, 0).answer('first', [...fresh, 'Vary', 'X-1']);
  t.equal(one.asked.length, 2, 'the others wait together once more');
  nth(one.asked, 1).answer('second', [...fresh, 'Vary', 'X-2']);
  t.equal(one.asked.length, 2 + 4, 'and then no more');
  for (const asked of one.asked.slice(2)) asked.answer('third', [...fresh, 'Vary', 'X-2']);
  assertAll(t, clients.slice(2), 'third');
});

t.test('[C11] of the fetches of one URL a request looks at 64 to find one that it can share', async (t) => {
  for (const [others, fetches] of [
    [63, 1],
    [64, 2],
  ] as const) {
    const one = openInProcess();
    const withCookie = () => one.ask({ fields: ['Cookie', 'a=b'] });
    withCookie();
    nth(one.asked, 0).answer('x', fresh);
    many(others, withCookie);
    t.equal(one.asked.length, 1 + others, 'those with cookies do not wait any more');
    many(2, () => one.ask());
    t.equal(one.asked.length, 1 + others + fetches);
  }
});

t.test(
  '[C14] what arrives takes a quarter of the memory besides; without room a response goes by unstored',
  async (t) => {
    const one = openInProcess('rfc9111', { bytes: 1_000_000, entryBytes: 100_000 });
    const clients = many(3, (i) => one.ask({ target: `/${i}` }));
    for (const asked of one.asked) asked.head(fresh, { lengthBytes: 100_000 });
    t.equal(clients.map(({ state }) => state).join(), 'answered,answered,taken');
    t.equal(await one.metric('qalgate_cache_filling_bytes'), 200_000);
    t.equal(await one.metric('qalgate_cache_not_stored_total'), 1);
    for (const asked of one.asked) {
      asked.body(Buffer.alloc(100_000, 'x'));
      asked.end();
    }
    assertAll(t, clients, 'x'.repeat(100_000));
    t.equal(await one.metric('qalgate_cache_filling_bytes'), 0);
  },
);

t.test('[C14] 404 and 410 end what was stored; other errors leave it to stand in', async (t) => {
  for (const [status, after] of [
    [404, 'failed'],
    [410, 'failed'],
    [403, 'answered'],
    [501, 'answered'],
  ] as const) {
    const one = openInProcess();
    fill(one, 'old', ['Cache-Control', 'max-age=1, stale-if-error=600']);
    one.time.nowMs += 2_000;
    t.equal(one.ask().state, 'waiting');
    nth(one.asked, 1).answer('other', ['Cache-Control', 'no-store'], status);
    one.time.nowMs += 2_000;
    const next = one.ask();
    nth(one.asked, 2).fail();
    t.equal(next.state, after, String(status));
  }
});

t.test(
  '[C14] what a purge may have been missed of is not used unasked, not for an error, not after a HEAD',
  async (t) => {
    const stored = ['Cache-Control', 'public, max-age=60, stale-if-error=600', 'ETag', '"a"'];
    const one = openInProcess();
    fill(one, 'old', stored);
    one.cache.distrust();
    const first = one.ask();
    t.equal(first.state, 'waiting', 'at the very same time');
    one.time.nowMs += 2;
    nth(one.asked, 1).answer('', ['Cache-Control', 'no-store'], 503);
    t.same([first.state, first.status], ['taken', 503]);
    one.time.nowMs += 2_000;
    const second = one.ask();
    nth(one.asked, 2).fail();
    t.equal(second.state, 'failed');
    one.observe({ method: 'HEAD' }, 200, stored);
    const third = one.ask();
    t.equal(third.state, 'waiting', 'a HEAD shows no body');
    nth(one.asked, 3).answer('', stored, 304);
    t.equal(third.body, 'old', 'the origin has said that it holds');
    t.equal(one.ask().body, 'old');
    t.equal(one.asked.length, 4);
  },
);
