import {
  type Case,
  failing,
  freshFor,
  neverFresh,
  neverStored,
  notModified,
  type Script,
  type Step,
} from '../messages.ts';

/** Stale and served at this age, with a refresh; what that brings is fresh for a minute. */
const servedStale = (age: number): Step[] => [
  { after: age, origin: ['Cache-Control: max-age=60'], from: 'cache', age, refresh: true },
  { from: 'cache', age: 0, poll: true },
  { after: 1, from: 'cache', age: 1 },
];

/** With these fields it is served stale a second before `until`, and not a second after. */
const staleUntil = (id: string, rules: string, name: string, until: number, origin: Script): Case[] => [
  {
    id: `qal-${id}`,
    section: rules,
    name: `[${rules}] ${name}: served to ${until - 1} s`,
    steps: [{ origin, from: 'origin' }, ...servedStale(until - 1)],
  },
  {
    id: `qal-${id}-over`,
    section: rules,
    name: `[${rules}] ${name}: not at ${until + 1} s`,
    steps: [
      { origin, from: 'origin' },
      { after: until + 1, from: 'origin', cs: 'fwd=stale' },
    ],
  },
];

/** These fields give no permission: a second later the origin is asked first. */
const ignored = (id: string, name: string, ...fields: string[]): Case => ({
  id: `qal-ignored-${id}`,
  section: 'C8',
  name: `[C8] ${name}`,
  steps: [
    { origin: ['Cache-Control: max-age=10', ...fields], from: 'origin' },
    { after: 9, from: 'cache', age: 9 },
    { after: 2, from: 'origin' },
  ],
});

const extension = (value: string): string => `QAL-Cache-Control: ${value}`;

/** The extensions of the seed, in both modes (C8–C10, DESIGN §5). */
export const qalExtensions: Case[] = [
  ...staleUntil('alone', 'C8', 'max-stale-age alone', 15, [extension('max-stale-age=15')]),
  {
    id: 'qal-alone-every-hit',
    section: 'C8',
    name: '[C8] max-stale-age alone: stale from the start, so every hit refreshes',
    steps: [
      { origin: [extension('max-stale-age=15')], from: 'origin', cs: 'stored' },
      { after: 1, from: 'cache', age: 1, answer: 1, refresh: true },
      { from: 'cache', newerThan: 1, poll: true, asked: [0, 500] },
      { after: 14, from: 'cache', asked: [0, 500], newerThan: 1 },
    ],
  },
  {
    id: 'qal-fresh-first',
    section: 'C9',
    name: '[C9] max-age=15 with max-stale-age=60: no refresh while it is fresh, one after',
    steps: [
      { origin: ['Cache-Control: max-age=15', extension('max-stale-age=60')], from: 'origin' },
      { after: 14, from: 'cache', age: 14, cs: 'hit; ttl=1' },
      { after: 2, from: 'cache', age: 16, cs: 'hit; ttl=-1', refresh: true },
      { from: 'cache', age: 0, poll: true },
      { after: 14, from: 'cache', age: 14 },
    ],
  },
  ...staleUntil('with-max-age', 'C9', 'max-age=15 with max-stale-age=60, an age since the response', 60, [
    'Cache-Control: max-age=15',
    extension('max-stale-age=60'),
  ]),
  {
    id: 'qal-shorter',
    section: 'C9',
    name: '[C9] a max-stale-age under max-age shortens nothing',
    steps: freshFor(60, ['Cache-Control: max-age=60', extension('max-stale-age=15')]),
  },
  ...staleUntil('with-expires', 'C9', 'Expires with max-stale-age', 60, [
    'Expires: {now+15}',
    extension('max-stale-age=60'),
  ]),
  ...staleUntil('date-alone', 'C10', 'QAL-Stale-Expires alone', 60, ['QAL-Stale-Expires: {now+60}']),
  ...staleUntil('date-with-max-age', 'C10', 'QAL-Stale-Expires with max-age', 60, [
    'Cache-Control: max-age=15',
    'QAL-Stale-Expires: {now+60}',
  ]),
  {
    id: 'qal-date-fresh-first',
    section: 'C10',
    name: '[C10] QAL-Stale-Expires with max-age: no refresh while it is fresh',
    steps: [
      { origin: ['Cache-Control: max-age=15', 'QAL-Stale-Expires: {now+60}'], from: 'origin' },
      { after: 14, from: 'cache', age: 14, cs: 'hit; ttl=1' },
      { after: 2, origin: ['Cache-Control: max-age=15'], from: 'cache', age: 16, refresh: true },
      { from: 'cache', age: 0, poll: true },
    ],
  },
  ...staleUntil('date-rfc850', 'C10', 'QAL-Stale-Expires in RFC 850', 60, ['QAL-Stale-Expires: {now+60|rfc850}']),
  ...staleUntil('date-asctime', 'C10', 'QAL-Stale-Expires in asctime', 60, ['QAL-Stale-Expires: {now+60|asctime}']),
  ...staleUntil('latest-swr', 'C7', 'the latest bound holds: stale-while-revalidate', 90, [
    'Cache-Control: max-age=60, stale-while-revalidate=30',
    extension('max-stale-age=70'),
  ]),
  ...staleUntil('latest-age', 'C9', 'the latest bound holds: max-stale-age', 120, [
    'Cache-Control: max-age=60, stale-while-revalidate=30',
    extension('max-stale-age=120'),
  ]),
  ...staleUntil('latest-date', 'C10', 'the latest bound holds: QAL-Stale-Expires', 150, [
    'Cache-Control: max-age=60, stale-while-revalidate=30',
    extension('max-stale-age=120'),
    'QAL-Stale-Expires: {now+150}',
  ]),
  ...staleUntil('date-earlier', 'C8', 'an earlier QAL-Stale-Expires shortens nothing', 60, [
    extension('max-stale-age=60'),
    'QAL-Stale-Expires: {now+10}',
  ]),
  ...staleUntil('case', 'C8', 'names without regard to case', 15, ['qal-cache-CONTROL: MAX-Stale-Age=15']),
  ...staleUntil('quoted', 'C8', 'a quoted number', 15, [extension('max-stale-age="15"')]),
  ...staleUntil('list', 'C8', 'beside directives that nobody knows', 15, [
    extension('foo, max-stale-age=15 , bar="a, b"'),
  ]),
  ...staleUntil('repeated', 'C8', 'repeated: the latest', 60, [extension('max-stale-age=60, max-stale-age=15')]),
  ...staleUntil('repeated-later', 'C8', 'repeated: the latest, the other way round', 60, [
    extension('max-stale-age=15, max-stale-age=60'),
  ]),
  ...staleUntil('lines', 'C8', 'in two lines: the latest', 60, [
    extension('max-stale-age=15'),
    extension('max-stale-age=60'),
  ]),
  ...staleUntil('date-lines', 'C10', 'two lines of QAL-Stale-Expires: the latest', 60, [
    'QAL-Stale-Expires: {now+60}',
    'QAL-Stale-Expires: {now+15}',
  ]),
  ...staleUntil('one-malformed', 'C8', 'a malformed one beside a good one', 15, [
    extension('max-stale-age=abc, max-stale-age=15'),
    'QAL-Stale-Expires: never',
  ]),
  ...staleUntil('upstream-age', 'C8', 'an age since the origin: 10 of 25 seconds are over on arrival', 15, [
    extension('max-stale-age=25'),
    'Age: 10',
  ]).map(
    (entry): Case => ({
      ...entry,
      steps: entry.steps.map((step) => (step.age === 14 ? { ...step, age: 24 } : step)),
    }),
  ),
  {
    id: 'qal-overflow',
    section: 'C8',
    name: '[C8] a number that overflows everything is a long time',
    steps: [
      { origin: [extension('max-stale-age=99999999999999999999999')], from: 'origin' },
      ...servedStale(1_000_000),
    ],
  },
  ignored('word', 'no number: ignored', extension('max-stale-age=abc')),
  ignored('negative', 'a negative number: ignored', extension('max-stale-age=-60')),
  ignored('fraction', 'a fraction: ignored', extension('max-stale-age=60.5')),
  ignored('unit', 'a number with a unit: ignored', extension('max-stale-age=60s')),
  ignored('no-value', 'no value: ignored', extension('max-stale-age')),
  ignored('empty', 'an empty field: ignored', extension('')),
  ignored('other-name', 'another name: ignored', extension('max-stale-agex=60, xmax-stale-age=60')),
  ignored('in-quotes', 'within quotes it is none', extension('foo="max-stale-age=60"')),
  ignored('wrong-field', 'in Cache-Control it means nothing', 'Cache-Control: max-stale-age=60'),
  ignored('date-word', 'a QAL-Stale-Expires that is no date: ignored', 'QAL-Stale-Expires: tomorrow'),
  ignored('date-number', 'a QAL-Stale-Expires that is a number: ignored', 'QAL-Stale-Expires: 60'),
  ignored('date-iso', 'a QAL-Stale-Expires in another format: ignored', 'QAL-Stale-Expires: {now+60|iso}'),
  ignored('date-past', 'a QAL-Stale-Expires that is over: no permission', 'QAL-Stale-Expires: {now-60}'),
  {
    id: 'qal-304',
    section: 'C3',
    name: '[C3,C9] the refresh is a validation; the bound counts from the 304 on',
    steps: [
      { origin: ['Cache-Control: max-age=15', extension('max-stale-age=60'), 'ETag: "a"'], from: 'origin' },
      {
        after: 50,
        origin: notModified('ETag: "a"'),
        from: 'cache',
        age: 50,
        refresh: true,
        saw: { 'If-None-Match': '"a"' },
      },
      { from: 'cache', age: 0, poll: true },
      { after: 59, from: 'cache', age: 59, refresh: true },
      { from: 'cache', age: 0, poll: true },
    ],
  },
  {
    id: 'qal-refresh-fails',
    section: 'C11',
    name: '[C11] a refresh that fails takes the stale response away from nobody',
    steps: [
      { origin: ['Cache-Control: max-age=15', extension('max-stale-age=60')], from: 'origin' },
      { after: 20, origin: failing('502 Bad Gateway'), from: 'cache', age: 20, refresh: true },
      { after: 30, from: 'cache', age: 50, asked: [0, 1] },
    ],
  },
  {
    id: 'qal-passes',
    section: 'C8',
    name: '[C8,C10] clients see the QAL fields, from the origin and from the cache',
    steps: [
      {
        origin: ['Cache-Control: max-age=15', extension('max-stale-age=60'), 'QAL-Stale-Expires: {start+60}'],
        from: 'origin',
        fields: { 'QAL-Cache-Control': 'max-stale-age=60', 'QAL-Stale-Expires': '{start+60}' },
      },
      { from: 'cache', fields: { 'QAL-Cache-Control': 'max-stale-age=60', 'QAL-Stale-Expires': '{start+60}' } },
    ],
  },
  {
    id: 'qal-no-store',
    section: 'C2',
    name: '[C2] no-store wins over the extensions',
    steps: neverStored(['Cache-Control: no-store', extension('max-stale-age=60'), 'QAL-Stale-Expires: {now+60}']),
  },
  {
    id: 'qal-private',
    section: 'C12',
    name: '[C12] private wins over the extensions in a shared cache',
    steps: neverStored(['Cache-Control: private', extension('max-stale-age=60')]),
  },
  {
    id: 'qal-no-cache',
    section: 'C2',
    name: '[C2] no-cache forbids to serve anything stale',
    steps: neverFresh(['Cache-Control: no-cache', extension('max-stale-age=60')]),
  },
  {
    id: 'qal-must-revalidate',
    section: 'C2',
    name: '[C2] must-revalidate forbids to serve anything stale',
    steps: [
      { origin: ['Cache-Control: max-age=15, must-revalidate', extension('max-stale-age=60')], from: 'origin' },
      { after: 20, from: 'origin' },
    ],
  },
  {
    id: 'qal-proxy-revalidate',
    section: 'RFC 9111 §5.2.2.8',
    name: 'proxy-revalidate forbids to serve anything stale',
    steps: [
      { origin: ['Cache-Control: max-age=15, proxy-revalidate', extension('max-stale-age=60')], from: 'origin' },
      { after: 14, from: 'cache' },
      { after: 6, from: 'origin' },
    ],
  },
  {
    id: 'qal-s-maxage',
    section: 'RFC 9111 §4.2.4',
    name: 's-maxage forbids to serve anything stale by the RFC, not in mode qal',
    steps: [
      { origin: ['Cache-Control: s-maxage=15', extension('max-stale-age=60')], from: 'origin' },
      { after: 20, from: 'origin', qal: { from: 'cache', age: 20, refresh: true } },
      { from: 'cache', age: 0, poll: true },
    ],
  },
];

const stored200 = (id: string, name: string, origin: Script, step: Step): Case => ({
  id: `qal-store-${id}`,
  section: 'C2',
  name: `[C2] ${name}`,
  modes: ['qal'],
  steps: [{ origin, from: 'origin' }, step],
});
const tag: Step = { origin: notModified('ETag: "a"'), from: 'revalidated', saw: { 'If-None-Match': '"a"' } };
const notStored: Step = { from: 'origin', saw: { 'If-None-Match': null, 'If-Modified-Since': null } };

/** What mode qal stores (C2). */
export const qalStoring: Case[] = [
  stored200('etag', 'an ETag is enough, and validated every time', ['ETag: "a"'], tag),
  stored200('etag-public', 'an ETag with public', ['ETag: "a"', 'Cache-Control: public'], tag),
  stored200('last-modified', 'a Last-Modified is enough, and validated every time', ['Last-Modified: {start-100000}'], {
    after: 1,
    origin: notModified('Last-Modified: {start-100000}'),
    from: 'revalidated',
    saw: { 'If-Modified-Since': '{start-100000}' },
  }),
  stored200('expires', 'an Expires is enough', ['Expires: {now+60}'], { after: 59, from: 'cache' }),
  stored200('max-age', 'a max-age is enough', ['Cache-Control: max-age=60'], { after: 59, from: 'cache' }),
  stored200('nothing', 'without any of its fields: not stored', [], notStored),
  stored200('public', 'public is neither lifetime nor validator: not stored', ['Cache-Control: public'], notStored),
  stored200('bad-etag', 'a malformed ETag counts as absent', ['ETag: a'], notStored),
  stored200('bad-etag-quote', 'an ETag with a quote in it counts as absent', ['ETag: "a"b"'], notStored),
  stored200('bad-last-modified', 'a malformed Last-Modified counts as absent', ['Last-Modified: yesterday'], notStored),
  stored200('bad-expires', 'a malformed Expires counts as absent', ['Expires: 0'], notStored),
  stored200('bad-max-age', 'a malformed max-age counts as absent', ['Cache-Control: max-age=abc'], notStored),
  stored200(
    'bad-qal',
    'malformed extensions count as absent',
    [extension('max-stale-age=x'), 'QAL-Stale-Expires: x'],
    notStored,
  ),
  stored200(
    'bad-beside-good',
    'malformed ones beside a good ETag',
    ['ETag: "a"', 'Expires: 0', 'Last-Modified: x'],
    tag,
  ),
  stored200('no-cache', 'no-cache: not stored', ['Cache-Control: no-cache', 'ETag: "a"'], notStored),
  stored200('no-cache-case', 'No-Cache: not stored', ['Cache-Control: max-age=60, No-Cache', 'ETag: "a"'], notStored),
  stored200(
    'no-cache-fields',
    'no-cache with names: not stored',
    ['Cache-Control: max-age=60, no-cache="x"', 'ETag: "a"'],
    notStored,
  ),
  stored200(
    'must-revalidate',
    'must-revalidate: not stored',
    ['Cache-Control: max-age=60, must-revalidate', 'ETag: "a"'],
    notStored,
  ),
  stored200(
    'pragma',
    'Pragma: no-cache: not stored',
    ['Cache-Control: max-age=60', 'Pragma: no-cache', 'ETag: "a"'],
    notStored,
  ),
  stored200(
    'pragma-case',
    'pragma: No-Cache: not stored',
    ['Cache-Control: max-age=60', 'pragma: No-Cache', 'ETag: "a"'],
    notStored,
  ),
  stored200('pragma-other', 'another Pragma: stored', ['Pragma: foo', 'ETag: "a"'], tag),
  stored200(
    'in-qal',
    'no-cache in QAL-Cache-Control is none of its directives',
    ['ETag: "a"', extension('no-cache')],
    tag,
  ),
];
