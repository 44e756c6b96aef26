import { type Case, failing, notModified } from '../messages.ts';

const fresh = 'Cache-Control: max-age=60';

/** What Cache-Status says (RFC 9211); most other cases look at it too. */
export const cacheStatus: Case[] = [
  {
    id: 'says-miss-hit',
    section: 'RFC 9211 §2.2',
    name: '[C13] a miss that is stored, then a hit with what is left and which rule',
    steps: [
      { origin: [fresh], from: 'origin', cs: 'fwd=uri-miss; stored', age: null },
      { after: 3, from: 'cache', age: 3, cs: 'hit; ttl=57; detail=max-age' },
    ],
  },
  {
    id: 'says-hit-exactly',
    section: 'RFC 9211 §2',
    name: '[C13] the whole field of a hit',
    steps: [
      { origin: [fresh], from: 'origin' },
      { after: 3, from: 'cache', fields: { 'Cache-Status': 'qalgate; hit; ttl=57; detail=max-age' } },
    ],
  },
  {
    id: 'says-not-stored',
    section: 'RFC 9211 §2.5',
    name: '[C13] a miss that is not stored',
    steps: [{ origin: ['Cache-Control: no-store'], from: 'origin', cs: 'fwd=uri-miss; !stored' }],
  },
  {
    id: 'says-stale',
    section: 'RFC 9211 §2.3',
    name: '[C13] stale, and what the origin said of it',
    steps: [
      { origin: [fresh, 'ETag: "a"'], from: 'origin' },
      { after: 61, origin: notModified('ETag: "a"'), from: 'revalidated', cs: 'fwd=stale; fwd-status=304' },
    ],
  },
  {
    id: 'says-replaced',
    section: 'RFC 9211 §2.5',
    name: '[C13] stale, and replaced',
    steps: [
      { origin: [fresh], from: 'origin' },
      { after: 61, from: 'origin', cs: 'fwd=stale; stored' },
    ],
  },
  {
    id: 'says-negative-ttl',
    section: 'RFC 9211 §2.4',
    name: '[C13] a stale hit: what is left is less than nothing',
    steps: [
      { origin: ['Cache-Control: max-age=10, stale-while-revalidate=60'], from: 'origin' },
      { after: 25, from: 'cache', age: 25, refresh: true, cs: 'hit; ttl=-15' },
      { from: 'cache', age: 0, poll: true },
    ],
  },
  {
    id: 'says-ttl-age',
    section: 'RFC 9211 §2.4',
    name: '[C13] what is left takes the age on arrival into account',
    steps: [
      { origin: ['Cache-Control: s-maxage=100', 'Age: 40'], from: 'origin' },
      { after: 10, from: 'cache', age: 50, cs: 'hit; ttl=50' },
    ],
  },
  {
    id: 'says-ttl-expires',
    section: 'RFC 9211 §2.4',
    name: '[C13] what is left of an Expires',
    steps: [
      { origin: ['Expires: {now+100}'], from: 'origin' },
      { after: 10, from: 'cache', cs: 'hit; ttl=90' },
    ],
  },
  {
    id: 'says-method',
    section: 'RFC 9211 §2.2',
    name: '[C13] a method that the cache does not answer',
    steps: [
      { origin: [fresh], from: 'origin' },
      { method: 'DELETE', from: 'origin', cs: 'fwd=method; !stored' },
    ],
  },
  {
    id: 'says-request',
    section: 'RFC 9211 §2.2',
    name: '[C13] a fresh response that the request does not want',
    steps: [
      { origin: [fresh], from: 'origin' },
      { after: 1, send: ['Cache-Control: no-cache'], from: 'origin', cs: 'fwd=request; stored' },
    ],
  },
  {
    id: 'says-304',
    section: 'RFC 9211 §2.1',
    name: '[C13] a 304 of the cache is a hit',
    steps: [
      { origin: [fresh, 'ETag: "a"'], from: 'origin' },
      { send: ['If-None-Match: "a"'], from: 'cache', status: 304, cs: 'hit; ttl=60' },
    ],
  },
  {
    id: 'says-206',
    section: 'RFC 9211 §2.1',
    name: '[C13] a 206 of the cache is a hit',
    steps: [
      { origin: { fields: [fresh], body: '0123456789' }, from: 'origin' },
      { send: ['Range: bytes=0-1'], from: 'cache', status: 206, cs: 'hit; ttl=60' },
    ],
  },
  {
    id: 'says-behind-upstream',
    section: 'RFC 9211 §2',
    name: '[C13] our member comes behind those of caches nearer to the origin',
    steps: [
      {
        origin: [fresh, 'Cache-Status: OriginCache; hit; ttl=100'],
        from: 'origin',
        fields: { 'Cache-Status': /^OriginCache; hit; ttl=100, qalgate; fwd=uri-miss; stored/ },
      },
      { from: 'cache', fields: { 'Cache-Status': /^OriginCache; hit; ttl=100, qalgate; hit/ } },
    ],
  },
  {
    id: 'says-behind-upstream-304',
    section: 'RFC 9211 §2',
    name: '[C13] members do not pile up with validations',
    steps: [
      { origin: [fresh, 'ETag: "a"', 'Cache-Status: OriginCache; hit'], from: 'origin' },
      {
        after: 61,
        origin: notModified('ETag: "a"', 'Cache-Status: OriginCache; fwd=stale'),
        from: 'revalidated',
        fields: { 'Cache-Status': /^OriginCache; fwd=stale, qalgate; fwd=stale[^,]*$/ },
      },
      { from: 'cache', fields: { 'Cache-Status': /^OriginCache; fwd=stale, qalgate; hit[^,]*$/ } },
    ],
  },
  {
    id: 'says-error',
    section: 'RFC 9211 §2.5',
    name: '[C13] an error of the origin: not stored',
    steps: [{ origin: failing('500 Internal Server Error'), from: 'origin', cs: 'fwd=uri-miss; !stored' }],
  },
  {
    id: 'says-nothing-local',
    section: 'RFC 9211 §2',
    name: '[C13] an answer that the proxy made up says nothing of the cache',
    steps: [{ origin: 'close', from: 'origin', status: 502, fields: { 'Cache-Status': null, Age: null } }],
  },
];
