import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { createWords, type WordsOptions } from '../../src/im/words/index.ts';
import { building, buildMatcher } from '../../src/im/words/matcher.ts';
import { normalise } from '../../src/im/words/normalise.ts';
import { parseWordList } from '../../src/im/words/word-lists.ts';
import { createMetrics } from '../../src/observe/index.ts';
import { type AppSettings, createControlBus } from '../../src/store/index.ts';
import { describeRefusal, type ImResult } from '../../src/wire/index.ts';
import { completeApp } from '../support/app-settings.ts';
import { openTestDatabase, until } from '../support/database.ts';

const { db, logger, events } = await openTestDatabase(t);
const text = (Text: string) => ({ MsgType: 'TIMTextElem', MsgContent: { Text } });
const custom = (Data: string, more: object = {}) => ({ MsgType: 'TIMCustomElem', MsgContent: { Data, ...more } });

let lastApp = 0;
function app(im: object = {}): AppSettings {
  lastApp += 1;
  return completeApp({ sdkAppId: lastApp, secret: 'a secret of the test', im });
}

/** One process of the service: its words, over a control bus of its own. */
async function openProcess(t: Test, apps: readonly AppSettings[], options: Partial<WordsOptions> = {}) {
  const bus = createControlBus(db, { logger }, { keepaliveMs: 20 });
  t.teardown(() => bus.close());
  await bus.ready();
  const metrics = createMetrics();
  const byId = new Map(apps.map((one) => [one.sdkAppId, one]));
  const words = await createWords(
    { db, bus, apps: byId, clock: Date.now, logger, metrics },
    { wordLists: [], rereadMs: 3_600_000, retryMs: 20, ...options },
  );
  t.teardown(() => words.close());
  const value = async (name: string) => (await metrics.registry.getSingleMetric(name)?.get())?.values[0]?.value;
  return { words, apps: byId, value };
}

function lineOf(result: ImResult): string {
  if (result.ok) throw new Error('it was not refused');
  t.equal(result.error, 'WORDS_INVALID');
  return describeRefusal(result);
}

/** The word of the occurrence that ends first, the longest of those: by looking at every word at every place. */
function findNaively(words: readonly string[], normalised: string): string | undefined {
  const looked = words.map((word) => ({ word, units: normalise(word) })).filter(({ units }) => units !== '');
  for (let end = 1; end <= normalised.length; end += 1) {
    const ending = looked.filter(({ units }) => normalised.slice(0, end).endsWith(units));
    const longest = Math.max(...ending.map(({ units }) => units.length));
    const first = ending.find(({ units }) => units.length === longest);
    if (first !== undefined) return first.word;
  }
  return undefined;
}

t.test('[D3] case and width make no difference, accents do', async (t) => {
  const same = [
    ['CHEAP Pills', 'cheap pills'],
    ['ｃｈｅａｐ　ＰＩＬＬＳ', 'cheap pills'],
    ['STRASSE', 'straße'],
    ['ΟΔΟΣ', 'οδος', 'οδός'.replace('ό', 'ο')],
    ['ſecret', 'SECRET'],
    ['ﬁne', 'FINE'],
    ['ｶﾞｯﾂ', 'ガッツ'],
    ['he\u200bll\u00ado', 'hello'],
    ['ЁЛКА', 'ёлка'],
    ['e\u0301TÉ', 'été'],
  ];
  for (const group of same) t.equal(new Set(group.map(normalise)).size, 1, group.join(' = '));
  t.not(normalise('café'), normalise('cafe'));
  const unicode = fc.string({ unit: 'binary', maxLength: 40 });
  fc.assert(
    fc.property(unicode, (value) => {
      const once = normalise(value);
      return normalise(once) === once;
    }),
    { numRuns: 3_000 },
  );
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'abzABZäÖéñçłŁßøΩωяЯ语言 １ａＺ') }), (value) => {
      return normalise(value.toUpperCase()) === normalise(value) && normalise(value.toLowerCase()) === normalise(value);
    }),
    { numRuns: 1_000 },
  );
});

t.test('[D3] the matcher finds what a naive search finds', async (t) => {
  const letters = fc.constantFrom('a', 'b', 'B', 'ｂ', 'ß', 's', '语', '😀', '\ud83d');
  const word = fc.string({ unit: letters, minLength: 0, maxLength: 5 });
  let found = 0;
  fc.assert(
    fc.property(fc.array(word, { maxLength: 12 }), fc.string({ unit: letters, maxLength: 60 }), (words, raw) => {
      const normalised = normalise(raw);
      const expected = findNaively(words, normalised);
      if (expected !== undefined) found += 1;
      return buildMatcher(words).find(normalised) === expected;
    }),
    { numRuns: 4_000 },
  );
  t.ok(found > 500, `${found} with a word`);
  t.equal(buildMatcher([]).find('a'), undefined);
  t.equal(buildMatcher(['abcd', 'bc']).find('xabcx'), 'bc', 'a word within the beginning of another');
  t.equal(buildMatcher(['aab', 'ab']).find('aab'), 'aab', 'the longest that ends first');
});

t.test('[D3] ten thousand words cost no more per message than ten', async (t) => {
  // Real enough: words of two to six of 3,000 characters, texts of the same characters, so that beginnings of words are everywhere.
  let seed = 1;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff;
    return seed % below;
  };
  const character = () => String.fromCharCode(0x4e00 + random(3_000));
  const characters = (count: number) => Array.from({ length: count }, character).join('');
  // Each ends with a character that no text has: the work is that of texts which are let through.
  const vocabulary = Array.from({ length: 10_000 }, () => `${characters(1 + random(5))}\u9fff`);
  const texts = Array.from({ length: 300 }, () => characters(200));
  const length = texts.join('').length;
  const stepsOf = (words: readonly string[]) => {
    const matcher = buildMatcher(words);
    for (const one of texts) if (matcher.find(one) !== undefined) throw new Error('nothing is to be found');
    return matcher.steps();
  };
  const few = stepsOf(vocabulary.slice(0, 10));
  const many = stepsOf(vocabulary);
  t.ok(few >= length, 'every character is read');
  // A character is looked up at most twice, and a look-up takes 1.4 slots on average.
  t.ok(many <= 3 * length, `${many} steps for ${length} characters and 10,000 words`);
  t.ok(many <= 3 * few, `${few} with 10 words`);
  t.ok(many < (length * vocabulary.length) / 1_000, 'a thousandth of a naive search');

  // The worst text: nearly the word, over and over.
  const nearly = buildMatcher([`${'a'.repeat(60)}b`]);
  t.equal(nearly.find('a'.repeat(8_000)), undefined);
  t.ok(nearly.steps() <= 3 * 8_000, `${nearly.steps()} steps for 8,000 characters`);

  let turns = 0;
  const steps = building(vocabulary);
  while (!steps.next().done) turns += 1;
  t.ok(turns > 10, `it is built in ${turns} turns, so that nobody waits for all of it`);
});

t.test('[D1] words are added, listed and removed, and hold on every process', async (t) => {
  const one = app();
  const other = app();
  const first = await openProcess(t, [one, other]);
  const second = await openProcess(t, [one, other]);
  const id = one.sdkAppId;
  t.same(await first.words.list(id), []);
  t.equal(first.words.find(id, 'cheap pills'), undefined);

  t.same(await first.words.add(id, ['  Cheap pills ', '违禁', '违禁']), { ok: true, value: undefined });
  t.equal(first.words.find(id, 'buy CHEAP ｐｉｌｌｓ now'), 'Cheap pills', 'at once where it was added');
  t.equal(await until(() => second.words.find(id, '这是违禁品')), '违禁', 'and elsewhere');
  t.equal(second.words.find(other.sdkAppId, '违禁'), undefined, 'not in another app');
  t.same(new Set(await second.words.list(id)), new Set(['Cheap pills', '违禁']));
  t.same(await second.words.list(other.sdkAppId), []);
  t.same(await second.words.add(id, ['违禁', 'x1']), { ok: true, value: undefined }, 'a word that is there already');
  t.equal((await second.words.list(id)).length, 3);
  t.equal(await first.value('qalgate_im_dirty_word_hits_total'), 1);

  t.same(await second.words.remove(id, [' 违禁', 'not there']), { ok: true, value: undefined });
  t.equal(second.words.find(id, '违禁'), undefined);
  await until(() => first.words.find(id, '违禁') === undefined);
  t.same(new Set(await first.words.list(id)), new Set(['Cheap pills', 'x1']));
  await first.words.remove(id, ['Cheap pills', 'x1']);
  t.equal(first.words.find(id, 'cheap pills'), undefined, 'the last one, too');

  await first.words.add(id, ['kept']);
  const third = await openProcess(t, [one]);
  t.equal(third.words.find(id, 'Kept.'), 'kept', 'a process knows them from the start');
});

t.test('[D1] a text element that holds a word is found, each for itself', async (t) => {
  const one = app();
  const { words } = await openProcess(t, [one]);
  const id = one.sdkAppId;
  await words.add(id, ['pills']);
  t.equal(words.findInBody(id, [text('hello'), text('no PILLS')]), 'pills');
  t.equal(words.findInBody(id, [text('pi'), text('lls')]), undefined, 'not across elements');
  t.equal(
    words.findInBody(id, [custom('pills', { Desc: 'pills', Ext: 'pills' })]),
    undefined,
    '[D2] text elements only',
  );
  const place = { MsgType: 'TIMLocationElem', MsgContent: { Desc: 'pills', Latitude: 1, Longitude: 2 } };
  t.equal(words.findInBody(id, [place]), undefined);
  t.equal(words.findInBody(id, []), undefined);
});

t.test('[D2] an app may name fields of its custom elements', async (t) => {
  const cases: [string[], object, string | undefined][] = [
    [['Desc'], custom('', { Desc: 'pills' }), 'pills'],
    [['Desc'], custom('pills', { Ext: 'pills' }), undefined],
    [['Desc'], custom('pills'), undefined],
    [['Ext'], custom('', { Ext: 'pills' }), 'pills'],
    [['Data'], custom('no pills'), 'pills'],
    [['Data'], custom('{"title":"PILLS"}'), 'pills'],
    [['Data'], custom('{"title":"\\u0070ills"}'), 'pills'],
    [['Data.title'], custom('{"title":"pills"}'), 'pills'],
    [['Data.title'], custom('{"title":"\\u0070ills"}'), 'pills'],
    [['Data.title'], custom('{"other":"pills"}'), undefined],
    [['Data.title'], custom('pills'), undefined],
    [['Data.title'], custom('{"title":5}'), undefined],
    [['Data.title'], custom('null'), undefined],
    [['Data.tags'], custom('{"tags":["a",{"b":"pills"}]}'), 'pills'],
    [['Data.a.b'], custom('{"a":{"b":"pills"}}'), 'pills'],
    [['Data.a.b'], custom('{"a":"pills"}'), undefined],
    [['Data.length'], custom('{"title":"pills"}'), undefined],
    [['Data.title', 'Ext'], custom('{"title":"x"}', { Ext: 'pills' }), 'pills'],
    [['Data.title', 'Data.text'], custom('{"title":"pi","text":"lls"}'), undefined],
    [['Data'], custom(`${'['.repeat(7_900)}`), undefined],
    [['Data'], custom(`${'['.repeat(3_900)}"pills"${']'.repeat(3_900)}`), 'pills'],
  ];
  const apps = cases.map(([checkedCustomFields]) => app({ checkedCustomFields }));
  const { words } = await openProcess(t, apps);
  for (const [index, [fields, element, expected]] of cases.entries()) {
    const id = apps[index]?.sdkAppId ?? 0;
    await words.add(id, ['pills']);
    const shown = JSON.stringify(element).slice(0, 100);
    t.equal(words.findInBody(id, [text('a'), element]), expected, `${fields}: ${shown}`);
  }
});

t.test('bad input: a list of words that is not right changes nothing', async (t) => {
  const one = app({ dirtyWords: 60 });
  const { words } = await openProcess(t, [one]);
  const id = one.sdkAppId;
  const list = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `word${from + i}`);
  const cases: [unknown[], string][] = [
    [[], 'DirtyWordsList: has 0 words; allowed: 1 … 50 in a request'],
    [list(51), 'DirtyWordsList: has 51 words; allowed: 1 … 50 in a request'],
    [['ok', 5], 'DirtyWordsList[1]: must be a string'],
    [[''], 'DirtyWordsList[0]: must not be empty; allowed: 1 … 200 bytes of UTF-8'],
    [['ok', ' \t\u3000'], 'DirtyWordsList[1]: must not be empty; allowed: 1 … 200 bytes of UTF-8'],
    [['好'.repeat(67)], 'DirtyWordsList[0]: is too long; allowed: 1 … 200 bytes of UTF-8'],
    [['\u200b\u200d'], 'DirtyWordsList[0]: holds nothing that can be looked for'],
    [
      ['ﷺ'.repeat(60)],
      'DirtyWordsList[0]: is too long once width and case are taken away; allowed: 1 … 200 bytes of UTF-8',
    ],
    [['a\ud800'], 'DirtyWordsList[0]: must be well-formed Unicode'],
    [['a\0b'], 'DirtyWordsList[0]: must not hold U+0000'],
  ];
  for (const [input, line] of cases) {
    t.equal(lineOf(await words.add(id, input as string[])), line);
    t.equal(lineOf(await words.remove(id, input as string[])), line);
  }
  t.same(await words.list(id), []);
  t.ok((await words.add(id, [...list(49), '好'.repeat(66)])).ok, '50 words, one of 198 bytes');
  const over = 'DirtyWordsList: the app has 50 words already, and 11 of these are new; allowed: 60 in all';
  t.equal(lineOf(await words.add(id, list(13, 47))), over);
  t.equal((await words.list(id)).length, 50);
  t.ok((await words.add(id, list(12, 47))).ok, 'as many as there may be');
  t.equal((await words.list(id)).length, 60);
  t.ok((await words.add(id, list(20))).ok, 'those that are there already need no room');
  t.match(
    lineOf(await words.add(id, ['one more'])),
    /has 60 words already, and 1 of these are new; allowed: 60 in all/,
  );
  t.match(await words.add(4_000_000_000, ['x']), { ok: false, error: 'APP_UNKNOWN' });
});

t.test('processes that add at once keep the limit together', async (t) => {
  const one = app({ dirtyWords: 50 });
  const first = await openProcess(t, [one]);
  const second = await openProcess(t, [one]);
  const results = await Promise.all(
    Array.from({ length: 10 }, (_, i) =>
      (i % 2 === 0 ? first : second).words.add(
        one.sdkAppId,
        Array.from({ length: 10 }, (_, j) => `w${i}x${j}`),
      ),
    ),
  );
  t.equal(results.filter(({ ok }) => ok).length, 5);
  t.equal((await first.words.list(one.sdkAppId)).length, 50);
});

t.test('what the bus lost is found again', async (t) => {
  const one = app();
  const id = one.sdkAppId;
  const add = (word: string) =>
    db.pool.query('insert into dirty_word (sdk_app_id, word, added_ms) values ($1, $2, 0)', [id, word]);

  const { words } = await openProcess(t, [one]);
  await add('lost');
  t.equal(words.find(id, 'lost'), undefined);
  await db.pool.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and query in ('listen qalgate_control', 'select 1')`,
  );
  t.equal(await until(() => words.find(id, 'lost')), 'lost', 'once the bus is back');

  const patient = await openProcess(t, [one], { rereadMs: 20 });
  await add('quiet');
  t.equal(await until(() => patient.words.find(id, 'quiet')), 'quiet', 'and by looking every now and then');
  await db.pool.query('delete from dirty_word where sdk_app_id = $1', [id]);
  await until(() => patient.words.find(id, 'lost quiet') === undefined);
  t.pass('words that are gone, too');
});

t.test('while the database is away the words stay', async (t) => {
  const one = app();
  const id = one.sdkAppId;
  const { words, value } = await openProcess(t, [one], { rereadMs: 20 });
  await words.add(id, ['stays']);
  await db.pool.query('alter table dirty_word rename to dirty_word_away');
  await until(async () => ((await value('qalgate_im_word_reads_failed_total')) ?? 0) > 1);
  t.ok(events.includes('im.words.read.failed'));
  t.equal(words.find(id, 'stays'), 'stays');
  await t.rejects(words.add(id, ['more']));
  await db.pool.query('alter table dirty_word_away rename to dirty_word');
  await db.pool.query(`update dirty_word set word = 'changed' where sdk_app_id = $1`, [id]);
  t.equal(await until(() => words.find(id, 'changed')), 'changed', 'and are read again afterwards');
});

t.test('[D4] category lists hold for the apps that switch them on, and are read again when they change', async (t) => {
  const folder = join(t.testdir(), 'lists');
  mkdirSync(folder);
  const write = (name: string, content: string | Uint8Array) => {
    writeFileSync(join(folder, `${name}.new`), content);
    renameSync(join(folder, `${name}.new`), join(folder, name));
  };
  write('one.txt', '\ufeff# a comment\r\nForbidden\r\n\r\n  two words  \r\n');
  write('two.txt', '# nothing yet\n');
  const wordLists = ['one', 'two'].map((category) => ({ category, wordsFile: join(folder, `${category}.txt`) }));
  const [both, none, unknown] = [app({ wordLists: ['one', 'two'] }), app(), app({ wordLists: ['three', 'one'] })];
  const apps = [both, none, unknown];
  const { words, value, apps: byId } = await openProcess(t, apps, { wordLists, pollMs: 10 });
  const find = (one: AppSettings | undefined, value: string) => words.find(one?.sdkAppId ?? 0, value);
  t.equal(find(both, 'a ＦＯＲＢＩＤＤＥＮ thing'), 'Forbidden');
  t.equal(find(both, 'two words'), 'two words');
  t.equal(find(both, 'a comment'), undefined);
  t.equal(find(none, 'forbidden'), undefined);
  t.equal(find(unknown, 'forbidden'), 'Forbidden', 'a list that there is not is told and passed over');
  t.equal(events.filter((event) => event === 'im.words.list.unknown').length, 1, 'once');
  t.equal(await value('qalgate_im_dirty_words'), 2 + (await db.pool.query('select * from dirty_word')).rows.length);
  t.ok(((await value('qalgate_im_dirty_words_bytes')) ?? 0) > 0);

  await words.add(both.sdkAppId, ['own']);
  t.equal(find(both, 'my own'), 'own', "beside the app's own words");
  write('two.txt', 'fresh\n');
  t.equal(await until(() => find(both, 'fresh')), 'fresh');
  byId.set(none.sdkAppId, { ...none, im: { ...none.im, wordLists: ['two'] } });
  t.equal(find(none, 'fresh'), 'fresh', 'an app that switches it on has it at once');

  const failed = async () => (await value('qalgate_im_word_list_reads_failed_total')) ?? 0;
  for (const [what, content] of Object.entries({
    'a word that is too long': `fine\n${'x'.repeat(201)}\n`,
    'no UTF-8': new Uint8Array([0x66, 0xff]),
    'too big': `${'a\n'.repeat(2_100_000)}`,
  })) {
    const before = await failed();
    write('two.txt', content);
    await until(async () => (await failed()) > before);
    t.equal(find(both, 'fresh'), 'fresh', `${what}: the words stay`);
  }
  const before = await failed();
  rmSync(join(folder, 'two.txt'));
  await until(async () => (await failed()) > before);
  t.equal(find(both, 'fresh'), 'fresh', 'away: the words stay');
  write('two.txt', 'back\n');
  t.equal(await until(() => find(both, 'back')), 'back');
  t.equal(find(both, 'fresh'), undefined);

  write('bad.txt', `# comment\nok\n${'x'.repeat(300)}\n`);
  const bad = [{ category: 'bad', wordsFile: join(folder, 'bad.txt') }];
  await t.rejects(openProcess(t, [], { wordLists: bad }), {
    message: /word list bad: .*bad\.txt:3: is too long; allowed: 1 … 200/,
  });
  await t.rejects(
    openProcess(t, [], { wordLists: [{ category: 'away', wordsFile: join(folder, 'away.txt') }] }),
    /ENOENT/,
  );
});

t.test('[D4] the lists of the examples are empty and right', async (t) => {
  for (const name of ['political', 'obscene']) {
    const content = readFileSync(new URL(`../../examples/word-lists/${name}.txt`, import.meta.url));
    t.same(parseWordList(content), { ok: true, words: [] });
  }
});
