import { type Case, neverFresh, type Script, type Step } from '../messages.ts';

const vary = (...lines: string[]): Script => ['Cache-Control: max-age=60', ...lines.map((line) => `Vary: ${line}`)];

/** Stored for `first`, answered from the cache for `second`. */
const same = (id: string, name: string, origin: Script, first: string[], second: string[]): Case => ({
  id: `vary-${id}`,
  section: 'RFC 9111 §4.1',
  name,
  steps: [
    { origin, send: first, from: 'origin' },
    { send: second, from: 'cache' },
  ],
});

/** Stored for `first`, not for `second`; then both have theirs. */
const differs = (id: string, name: string, origin: Script, first: string[], second: string[]): Case => ({
  id: `vary-${id}`,
  section: 'RFC 9111 §4.1',
  name,
  steps: [
    { origin, send: first, from: 'origin' },
    { send: second, from: 'origin', cs: 'fwd=vary-miss; stored' },
    { send: first, from: 'cache', answer: 1 },
    { send: second, from: 'cache', answer: 2 },
  ],
});

const language = vary('Accept-Language');

/** Responses that depend on fields of their request (RFC 9111 §4.1). */
export const varying: Case[] = [
  same('same', 'the same value: a hit', language, ['Accept-Language: en'], ['Accept-Language: en']),
  differs(
    'other',
    'another value is another response; both are kept',
    language,
    ['Accept-Language: en'],
    ['Accept-Language: de'],
  ),
  same('absent', 'absent both times: a hit', language, [], []),
  differs('absent-first', 'absent matches only absent', language, [], ['Accept-Language: en']),
  differs('absent-second', 'absent matches only absent, the other way round', language, ['Accept-Language: en'], []),
  differs('empty', 'an empty field is not an absent one', language, ['Accept-Language:'], []),
  same(
    'unnamed',
    'fields that Vary does not name make no difference',
    language,
    ['Accept: a'],
    ['Accept: b', 'X-Y: z'],
  ),
  same(
    'name-case',
    'names are read without regard to case',
    vary('ACCEPT-language'),
    ['accept-Language: en'],
    ['Accept-LANGUAGE: en'],
  ),
  same(
    'spaces',
    'white space around commas makes no difference',
    language,
    ['Accept-Language: en,de'],
    ['Accept-Language: en ,\t de'],
  ),
  same(
    'outer-spaces',
    'white space around the value makes no difference',
    language,
    ['Accept-Language:en'],
    ['Accept-Language:   en  '],
  ),
  same(
    'lines',
    'two lines are one list',
    language,
    ['Accept-Language: en', 'Accept-Language: de'],
    ['Accept-Language: en, de'],
  ),
  differs(
    'order',
    'the order of a list makes a difference',
    language,
    ['Accept-Language: en, de'],
    ['Accept-Language: de, en'],
  ),
  differs('value-case', 'values differ by case', vary('X-A'), ['X-A: one'], ['X-A: ONE']),
  differs('prefix', 'a longer value is another', vary('X-A'), ['X-A: one'], ['X-A: one1']),
  differs('list-longer', 'a longer list is another', vary('X-A'), ['X-A: one'], ['X-A: one, two']),
  differs('moved', 'the same value in another field is another request', vary('X-A, X-B'), ['X-A: one'], ['X-B: one']),
  same('two-names', 'two names, both the same', vary('X-A, X-B'), ['X-A: 1', 'X-B: 2'], ['X-B: 2', 'X-A: 1']),
  differs(
    'two-names-one',
    'two names, one of them differs',
    vary('X-A, X-B'),
    ['X-A: 1', 'X-B: 2'],
    ['X-A: 1', 'X-B: 3'],
  ),
  same('two-lines', 'two lines of Vary, both the same', vary('X-A', 'X-B'), ['X-A: 1', 'X-B: 2'], ['X-A: 1', 'X-B: 2']),
  differs(
    'two-lines-second',
    'two lines of Vary: the second counts',
    vary('X-A', 'X-B'),
    ['X-A: 1', 'X-B: 2'],
    ['X-A: 1', 'X-B: 3'],
  ),
  differs('empty-members', 'empty members of Vary are none', vary(', X-A,,'), ['X-A: 1'], ['X-A: 2']),
  same('empty-vary', 'an empty Vary names nothing', vary(''), ['X-A: 1'], ['X-A: 2']),
  same('not-sent', 'a name that no request has', vary('X-Nowhere'), ['X-A: 1'], ['X-A: 2']),
  differs('encoding', 'Accept-Encoding', vary('Accept-Encoding'), ['Accept-Encoding: gzip'], ['Accept-Encoding: br']),
  differs('user-agent', 'User-Agent', vary('User-Agent'), ['User-Agent: a/1'], ['User-Agent: b/2']),
  differs('origin', 'Origin', vary('Origin'), ['Origin: https://a.test'], ['Origin: https://b.test']),
  ...[['*'], ['X-A, *'], ['X-A', '*'], [' * ']].map(
    (lines, i): Case => ({
      id: `vary-star-${i}`,
      section: 'RFC 9111 §4.1',
      name: `[C12] a Vary with a star matches nothing: ${lines.join(' and ')}`,
      steps: [{ origin: vary(...lines), from: 'origin', cs: '!stored' }, { from: 'origin' }],
    }),
  ),
  ...['QAL-Req-Seq-No', 'X-Forwarded-For', 'qal-req-seq-no', 'Accept, x-forwarded-for'].map(
    (line, i): Case => ({
      id: `vary-each-${i}`,
      section: 'C12',
      name: `[C12] a Vary on what differs for every request or client is not stored: ${line}`,
      steps: [{ origin: vary(line), from: 'origin', cs: '!stored' }, ...neverFresh(vary(line))],
    }),
  ),
  {
    id: 'vary-stripped',
    section: 'C12',
    name: '[C12] Vary is about the request as the backend saw it: a QAL field that a client made up is not there',
    steps: [
      { origin: vary('QAL-OS'), send: ['QAL-OS: iOS'], from: 'origin', saw: { 'QAL-OS': null } },
      { send: ['QAL-OS: Android'], from: 'cache' },
      { from: 'cache' },
    ],
  },
  {
    id: 'vary-os',
    section: 'C12',
    name: '[C12] Vary: QAL-OS, from sessions on different systems',
    steps: [
      {
        origin: ['Cache-Control: public, max-age=60', 'Vary: QAL-OS'],
        session: 'android',
        from: 'origin',
        saw: { 'QAL-OS': 'Android' },
      },
      { session: 'ios', from: 'origin', cs: 'fwd=vary-miss', saw: { 'QAL-OS': 'iOS' } },
      { from: 'origin', cs: 'fwd=vary-miss', saw: { 'QAL-OS': null } },
      { session: 'android', from: 'cache', answer: 1 },
      { session: 'ios', from: 'cache', answer: 2 },
      { session: 'alice', from: 'cache', answer: 3 },
    ],
  },
  {
    id: 'vary-identifier',
    section: 'C12',
    name: '[C12] public with Vary: QAL-Identifier: every terminal has its own',
    steps: [
      { origin: ['Cache-Control: public, max-age=60', 'Vary: QAL-Identifier'], session: 'alice', from: 'origin' },
      { session: 'bob', from: 'origin' },
      { session: 'alice', from: 'cache', answer: 1 },
      { session: 'bob', from: 'cache', answer: 2 },
    ],
  },
  {
    id: 'vary-cookie',
    section: 'RFC 9111 §4.1',
    name: '[C12] public with Vary: Cookie: every cookie has its own',
    steps: [
      { origin: ['Cache-Control: public, max-age=60', 'Vary: Cookie'], send: ['Cookie: a=1'], from: 'origin' },
      { send: ['Cookie: a=2'], from: 'origin', cs: 'fwd=vary-miss' },
      { send: ['Cookie: a=1'], from: 'cache', answer: 1 },
    ],
  },
  {
    id: 'vary-authorization',
    section: 'RFC 9111 §4.1',
    name: '[C12] public with Vary: Authorization: every user has its own',
    steps: [
      {
        origin: ['Cache-Control: public, max-age=60', 'Vary: Authorization'],
        send: ['Authorization: Basic YTph'],
        from: 'origin',
      },
      { send: ['Authorization: Basic YjpiCg=='], from: 'origin', cs: 'fwd=vary-miss' },
      { send: ['Authorization: Basic YTph'], from: 'cache', answer: 1 },
    ],
  },
  {
    id: 'vary-ages',
    section: 'RFC 9111 §4.1',
    name: 'every variant has its own age',
    steps: [
      { origin: vary('X-A'), send: ['X-A: 1'], from: 'origin' },
      { after: 30, send: ['X-A: 2'], from: 'origin' },
      { after: 29, send: ['X-A: 1'], from: 'cache', age: 59, answer: 1 },
      { after: 1, send: ['X-A: 1'], from: 'origin', cs: 'fwd=stale' },
      { send: ['X-A: 2'], from: 'cache', age: 30, answer: 2 },
    ],
  },
  {
    id: 'vary-replaced',
    section: 'RFC 9111 §4',
    name: 'a newer response to the same request takes the place of the older one',
    steps: [
      { origin: vary('X-A'), send: ['X-A: 1'], from: 'origin' },
      { after: 10, send: ['X-A: 1', 'Cache-Control: no-cache'], from: 'origin' },
      { after: 5, send: ['X-A: 1'], from: 'cache', age: 5, answer: 2 },
    ],
  },
  {
    id: 'vary-prefers-vary',
    section: 'RFC 9111 §4.1',
    name: 'of a response with Vary that matches and a newer one without, the former is chosen',
    steps: [
      { origin: vary('X-A'), send: ['X-A: 1'], from: 'origin' },
      { after: 1, origin: ['Cache-Control: max-age=60'], send: ['X-A: 2'], from: 'origin' },
      { after: 1, send: ['X-A: 1'], from: 'cache', answer: 1 },
      { send: ['X-A: 3'], from: 'cache', answer: 2 },
    ],
  },
  {
    id: 'vary-most-recent',
    section: 'RFC 9111 §4.1',
    name: 'where several match, the most recent by Date is chosen',
    steps: [
      { origin: vary('X-A'), send: ['X-A: 1', 'X-B: 1'], from: 'origin' },
      { after: 5, origin: vary('X-B'), send: ['X-A: 2', 'X-B: 2'], from: 'origin' },
      { after: 5, send: ['X-A: 1', 'X-B: 2'], from: 'cache', age: 5, answer: 2 },
    ],
  },
  {
    id: 'vary-tags',
    section: 'RFC 9111 §4.3.1',
    name: '[C3] no variant matches: the tags of all go in one If-None-Match, and a 304 selects one',
    steps: [
      { origin: ['Cache-Control: max-age=60', 'Vary: X-A', 'ETag: "one"'], send: ['X-A: 1'], from: 'origin' },
      { origin: ['Cache-Control: max-age=60', 'Vary: X-A', 'ETag: "two"'], send: ['X-A: 2'], from: 'origin' },
      {
        origin: { status: '304 Not Modified', fields: ['ETag: "one"', 'Vary: X-A'] },
        send: ['X-A: 3'],
        from: 'revalidated',
        answer: 1,
        cs: 'fwd=vary-miss; fwd-status=304',
        saw: { 'If-None-Match': /^(?=.*"one")(?=.*"two")/, 'If-Modified-Since': null },
        fields: { ETag: '"one"' },
      },
      { send: ['X-A: 2'], from: 'cache', answer: 2 },
    ],
  },
  {
    id: 'vary-tags-new',
    section: 'RFC 9111 §4.3.3',
    name: 'no variant matches, and the origin has a new one: it is stored beside the others',
    steps: [
      { origin: ['Cache-Control: max-age=60', 'Vary: X-A', 'ETag: "one"'], send: ['X-A: 1'], from: 'origin' },
      {
        origin: ['Cache-Control: max-age=60', 'Vary: X-A', 'ETag: "two"'],
        send: ['X-A: 2'],
        from: 'origin',
        saw: { 'If-None-Match': '"one"' },
        cs: 'fwd=vary-miss; stored',
      },
      { send: ['X-A: 1'], from: 'cache', answer: 1 },
      { send: ['X-A: 2'], from: 'cache', answer: 2 },
    ],
  },
  {
    id: 'vary-tags-client',
    section: 'RFC 9111 §4.3.2',
    name: "no variant matches: the client's own tag stays in the list, and a 304 with it is the client's",
    steps: [
      { origin: ['Cache-Control: max-age=60', 'Vary: X-A', 'ETag: "one"'], send: ['X-A: 1'], from: 'origin' },
      {
        origin: { status: '304 Not Modified', fields: ['ETag: "mine"', 'Vary: X-A'] },
        send: ['X-A: 2', 'If-None-Match: "mine"'],
        from: 'origin',
        saw: { 'If-None-Match': /"mine"/ },
      },
    ],
  },
  {
    id: 'vary-tags-many',
    section: 'RFC 9111 §4.3.1',
    name: 'of many variants at most 16 tags go on',
    steps: [
      ...Array.from(
        { length: 20 },
        (_, i): Step => ({
          origin: ['Cache-Control: max-age=600', 'Vary: X-A', `ETag: "v${i}"`],
          send: [`X-A: ${i}`],
          from: 'origin',
          saw: { 'If-None-Match': i === 0 ? null : /^(?:"v\d+"(?:, ?|$)){1,16}$/ },
        }),
      ),
    ],
  },
  {
    id: 'vary-origin-error',
    section: 'RFC 9111 §4.1',
    name: 'no variant matches and the origin fails: a variant of others is no answer',
    steps: [
      { origin: ['Cache-Control: max-age=60, stale-if-error=600', 'Vary: X-A'], send: ['X-A: 1'], from: 'origin' },
      { origin: { status: '503 Service Unavailable' }, send: ['X-A: 2'], from: 'origin' },
      { send: ['X-A: 1'], from: 'cache', answer: 1 },
    ],
  },
];
