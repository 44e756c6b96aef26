import { type Case, failing, notModified, type Step } from '../messages.ts';

const fresh = 'Cache-Control: max-age=60';
const tagged = [fresh, 'ETag: "a"'];
const control = (value: string): string[] => [`Cache-Control: ${value}`];

/** Stored for 60 s; then a request with this Cache-Control at this age. */
const at = (
  id: string,
  section: string,
  name: string,
  age: number,
  directives: string,
  step: Step,
  origin = [fresh],
): Case => ({
  id: `request-${id}`,
  section,
  name: `${name}: ${directives} at age ${age}`,
  steps: [
    { origin, from: 'origin' },
    { after: age, send: control(directives), ...step },
  ],
});

const hit: Step = { from: 'cache' };
/** Served stale because the client allows it; whether the cache then refreshes it for others is its own affair. */
const staleHit: Step = { from: 'cache', asked: [0, 1] };
const forwarded: Step = { from: 'origin', cs: 'fwd=request' };
const stale: Step = { from: 'origin', cs: 'fwd=stale' };
/** The cache has nothing to give, and is not allowed to ask. */
const refused: Step = {
  from: 'proxy',
  status: 504,
  body: /"code":"CACHE_ONLY_MISS"/,
  fields: { 'Content-Type': /^application\/json/ },
};

const maxAge = 'RFC 9111 §5.2.1.1';
const maxStale = 'RFC 9111 §5.2.1.2';
const minFresh = 'RFC 9111 §5.2.1.3';
const noCache = 'RFC 9111 §5.2.1.4';
const noStore = 'RFC 9111 §5.2.1.5';
const onlyIfCached = 'RFC 9111 §5.2.1.7';

/** Directives of requests (RFC 9111 §5.2.1), and Pragma (§5.4). */
export const requests: Case[] = [
  at('max-age-under', maxAge, 'younger than asked for', 4, 'max-age=5', hit),
  at('max-age-equal', maxAge, 'as old as asked for', 5, 'max-age=5', hit),
  at('max-age-over', maxAge, 'older than asked for', 6, 'max-age=5', forwarded),
  at('max-age-0', maxAge, 'nothing is young enough', 1, 'max-age=0', forwarded),
  at('max-age-larger', maxAge, 'an age asked for that is over the lifetime prolongs nothing', 61, 'max-age=600', stale),
  at('max-age-quoted', 'RFC 9111 §5.2', 'both forms of an argument', 6, 'max-age="5"', forwarded),
  at('max-age-case', 'RFC 9111 §5.2', 'names without regard to case', 6, 'MAX-AGE=5', forwarded),
  at('max-age-beside', 'RFC 9111 §5.2', 'beside an unknown directive', 6, 'foo=bar, max-age=5', forwarded),
  at('max-age-upstream', maxAge, 'the age is that since the origin', 1, 'max-age=5', forwarded, [fresh, 'Age: 10']),
  at(
    'max-age-no-stale',
    maxAge,
    'who asks for an age wants nothing stale, though the response allows it',
    61,
    'max-age=600',
    { from: 'origin' },
    control('max-age=60, stale-while-revalidate=600'),
  ),
  at(
    'max-age-no-stale-qal',
    maxAge,
    '[C9] who asks for an age wants nothing stale, though QAL-Cache-Control allows it',
    20,
    'max-age=600',
    { from: 'origin' },
    ['Cache-Control: max-age=15', 'QAL-Cache-Control: max-stale-age=60'],
  ),
  at('max-age-and-stale', maxAge, 'with max-stale a stale one is wanted', 65, 'max-age=600, max-stale=10', staleHit),
  at('max-age-and-stale-old', maxAge, 'with max-stale the age asked for still counts', 65, 'max-age=62, max-stale=10', {
    from: 'origin',
  }),
  {
    id: 'request-max-age-validates',
    section: maxAge,
    name: 'what is too old is validated, and the 304 makes it young',
    steps: [
      { origin: tagged, from: 'origin' },
      {
        after: 10,
        send: control('max-age=5'),
        origin: notModified('ETag: "a"'),
        from: 'revalidated',
        saw: { 'If-None-Match': '"a"', 'Cache-Control': 'max-age=5' },
        cs: 'fwd=request; fwd-status=304',
      },
      { after: 5, send: control('max-age=5'), from: 'cache', age: 5 },
    ],
  },
  at('max-stale-any', maxStale, 'any stale response', 5_000, 'max-stale', {
    ...staleHit,
    age: 5_000,
    cs: 'hit; ttl=-4940',
  }),
  at('max-stale-within', maxStale, 'stale by less', 65, 'max-stale=10', {
    ...staleHit,
    age: 65,
    cs: 'hit; ttl=-5',
  }),
  at('max-stale-equal', maxStale, 'stale by just as much', 70, 'max-stale=10', staleHit),
  at('max-stale-over', maxStale, 'stale by more', 71, 'max-stale=10', stale),
  at('max-stale-quoted', 'RFC 9111 §5.2', 'both forms of an argument', 65, 'max-stale="10"', staleHit),
  at('max-stale-fresh', maxStale, 'a fresh one is as good', 30, 'max-stale=10', hit),
  at('max-stale-proxy-revalidate', 'RFC 9111 §5.2.2.8', 'proxy-revalidate forbids it', 61, 'max-stale', stale, [
    'Cache-Control: max-age=60, proxy-revalidate',
  ]),
  at(
    'max-stale-must-revalidate',
    'RFC 9111 §5.2.2.2',
    'must-revalidate forbids it',
    61,
    'max-stale',
    { from: 'origin' },
    ['Cache-Control: max-age=60, must-revalidate'],
  ),
  at(
    'max-stale-s-maxage',
    'RFC 9111 §5.2.2.10',
    's-maxage forbids it by the RFC, not in mode qal',
    61,
    'max-stale',
    { ...stale, qal: { ...staleHit, cs: 'hit; ttl=-1' } },
    ['Cache-Control: s-maxage=60'],
  ),
  at('max-stale-no-cache', 'RFC 9111 §4.2.4', 'no-cache forbids it', 1, 'max-stale', { from: 'origin' }, [
    'Cache-Control: no-cache, max-age=60',
    'ETag: "a"',
  ]),
  at('max-stale-expires', maxStale, 'a lifetime from Expires', 65, 'max-stale=10', staleHit, ['Expires: {start+60}']),
  at('min-fresh-more', minFresh, 'fresh for longer', 49, 'min-fresh=10', hit),
  at('min-fresh-equal', minFresh, 'fresh for just as long', 50, 'min-fresh=10', hit),
  at('min-fresh-less', minFresh, 'fresh for less', 51, 'min-fresh=10', forwarded),
  at('min-fresh-over', minFresh, 'no response is fresh for so long', 0, 'min-fresh=61', forwarded),
  at('min-fresh-quoted', 'RFC 9111 §5.2', 'both forms of an argument', 51, 'min-fresh="10"', forwarded),
  at('min-fresh-stale', minFresh, 'what may be served stale is not fresh', 61, 'min-fresh=0', { from: 'origin' }, [
    'Cache-Control: max-age=60, stale-while-revalidate=600',
  ]),
  at('no-cache', noCache, 'the origin is asked', 1, 'no-cache', { ...forwarded, saw: { 'Cache-Control': 'no-cache' } }),
  at('no-cache-case', 'RFC 9111 §5.2', 'names without regard to case', 1, 'No-Cache', forwarded),
  at('no-cache-list', 'RFC 9111 §5.2', 'in a list', 1, 'max-stale, no-cache', forwarded),
  at('no-cache-stale-allowed', noCache, 'nothing stale either', 61, 'no-cache', { from: 'origin' }, [
    'Cache-Control: max-age=60, stale-while-revalidate=600',
  ]),
  {
    id: 'request-no-cache-validates',
    section: noCache,
    name: '[C3] no-cache validates what is stored; the 304 starts its age anew',
    steps: [
      { origin: tagged, from: 'origin' },
      {
        after: 30,
        send: control('no-cache'),
        origin: notModified('ETag: "a"'),
        from: 'revalidated',
        saw: { 'If-None-Match': '"a"' },
        cs: 'fwd=request; fwd-status=304',
      },
      { after: 10, from: 'cache', age: 10 },
    ],
  },
  {
    id: 'request-no-cache-replaces',
    section: noCache,
    name: 'what comes for no-cache takes the place of what is stored',
    steps: [
      { origin: tagged, from: 'origin' },
      { after: 30, send: control('no-cache'), from: 'origin' },
      { after: 10, from: 'cache', age: 10 },
    ],
  },
  {
    id: 'request-no-cache-miss',
    section: noCache,
    name: 'what comes for no-cache is stored where nothing was',
    steps: [
      { send: control('no-cache'), origin: [fresh], from: 'origin' },
      { after: 10, from: 'cache', age: 10 },
    ],
  },
  {
    id: 'request-pragma',
    section: 'RFC 9111 §5.4',
    name: 'Pragma: no-cache without Cache-Control is no-cache',
    steps: [
      { origin: [fresh], from: 'origin' },
      { after: 1, send: ['Pragma: no-cache'], from: 'origin', cs: 'fwd=request', saw: { Pragma: 'no-cache' } },
      { after: 1, send: ['pragma: No-Cache'], from: 'origin' },
    ],
  },
  {
    id: 'request-pragma-with-control',
    section: 'RFC 9111 §5.4',
    name: 'Pragma: no-cache beside a Cache-Control means nothing',
    steps: [
      { origin: [fresh], from: 'origin' },
      { after: 1, send: ['Pragma: no-cache', 'Cache-Control: max-age=60'], from: 'cache', age: 1 },
    ],
  },
  {
    id: 'request-pragma-other',
    section: 'RFC 9111 §5.4',
    name: 'another Pragma means nothing',
    steps: [
      { origin: [fresh], from: 'origin' },
      { after: 1, send: ['Pragma: foo'], from: 'cache', age: 1 },
    ],
  },
  {
    id: 'request-no-store-miss',
    section: noStore,
    name: 'what comes for no-store is not stored',
    steps: [
      {
        send: control('no-store'),
        origin: tagged,
        from: 'origin',
        cs: 'fwd=uri-miss; !stored',
        saw: { 'Cache-Control': 'no-store' },
      },
      { origin: tagged, from: 'origin', saw: { 'If-None-Match': null } },
    ],
  },
  at('no-store-hit', noStore, 'no-store says nothing of what is already stored', 5, 'no-store', {
    from: 'cache',
    age: 5,
  }),
  {
    id: 'request-no-store-stale',
    section: noStore,
    name: 'what comes for no-store is not stored in place of something stale either',
    steps: [
      { origin: [fresh], from: 'origin' },
      { after: 61, send: control('no-store'), from: 'origin', cs: 'fwd=stale; !stored' },
      { from: 'origin' },
    ],
  },
  at('only-if-cached', onlyIfCached, 'what is stored and fresh', 5, 'only-if-cached', { from: 'cache', age: 5 }),
  at('only-if-cached-stale', onlyIfCached, 'what is stored and stale is no answer', 61, 'only-if-cached', refused),
  at('only-if-cached-max-stale', onlyIfCached, 'consistent with max-stale', 61, 'only-if-cached, max-stale', staleHit),
  at('only-if-cached-max-age', onlyIfCached, 'consistent with max-age', 10, 'only-if-cached, max-age=5', refused),
  at(
    'only-if-cached-min-fresh',
    onlyIfCached,
    'consistent with min-fresh',
    55,
    'only-if-cached, min-fresh=10',
    refused,
  ),
  at('only-if-cached-no-cache', onlyIfCached, 'consistent with no-cache', 1, 'only-if-cached, no-cache', refused),
  at(
    'only-if-cached-no-cache-response',
    onlyIfCached,
    'what must be validated is no answer',
    1,
    'only-if-cached',
    refused,
    ['Cache-Control: no-cache, max-age=60', 'ETag: "a"'],
  ),
  {
    id: 'request-only-if-cached-miss',
    section: onlyIfCached,
    name: 'nothing stored: 504 without asking the origin, of which nothing is kept',
    steps: [
      { send: control('only-if-cached'), origin: [fresh], ...refused, fields: { 'Cache-Status': null, Age: null } },
      { from: 'origin', cs: 'fwd=uri-miss; stored' },
      { send: control('only-if-cached'), from: 'cache' },
    ],
  },
  {
    id: 'request-only-if-cached-vary',
    section: onlyIfCached,
    name: 'nothing stored for these fields: 504',
    steps: [
      { origin: [fresh, 'Vary: X-A'], send: ['X-A: 1'], from: 'origin' },
      { send: ['X-A: 2', ...control('only-if-cached')], ...refused },
      { send: ['X-A: 1', ...control('only-if-cached')], from: 'cache' },
    ],
  },
  {
    id: 'request-only-if-cached-head',
    section: onlyIfCached,
    name: 'HEAD from a stored GET, or 504',
    steps: [
      { method: 'HEAD', send: control('only-if-cached'), ...refused, body: '' },
      { origin: [fresh], from: 'origin' },
      { method: 'HEAD', send: control('only-if-cached'), from: 'cache' },
    ],
  },
  {
    id: 'request-only-if-cached-range',
    section: onlyIfCached,
    name: 'a part of what is stored, or 504',
    steps: [
      { send: ['Range: bytes=0-1', ...control('only-if-cached')], ...refused },
      { origin: { fields: [fresh], body: '0123456789' }, from: 'origin' },
      { send: ['Range: bytes=0-1', ...control('only-if-cached')], from: 'cache', status: 206, body: '01' },
    ],
  },
  at('unknown', 'RFC 9111 §5.2.3', 'an unknown directive changes nothing', 5, 'foo, bar="no-cache"', hit),
  at('no-transform', 'RFC 9111 §5.2.1.6', 'no-transform changes nothing', 5, 'no-transform', hit),
  {
    id: 'request-passes-directives',
    section: 'RFC 9111 §5.2',
    name: 'directives are passed on, known or not',
    steps: [
      {
        send: control('max-stale=5, foo="bar, baz", no-transform'),
        origin: [fresh],
        from: 'origin',
        saw: { 'Cache-Control': 'max-stale=5, foo="bar, baz", no-transform' },
      },
    ],
  },
  {
    id: 'request-error-for-no-cache',
    section: noCache,
    name: 'no-cache and an origin that fails: what is stored is not lost',
    steps: [
      { origin: tagged, from: 'origin' },
      { after: 5, send: control('no-cache'), origin: failing('503 Service Unavailable'), from: 'origin' },
      { after: 5, from: 'cache', age: 10, answer: 1 },
    ],
  },
  {
    id: 'request-body',
    section: 'RFC 9110 §9.3.1',
    name: 'a GET with a body goes past the cache, both ways',
    steps: [
      { upload: 'query', origin: [fresh], from: 'origin', cs: 'fwd=bypass; !stored' },
      { from: 'origin', cs: 'fwd=uri-miss; stored' },
      { upload: 'query', from: 'origin', cs: 'fwd=bypass; !stored' },
      { after: 1, from: 'cache', age: 1, answer: 2 },
    ],
  },
];
