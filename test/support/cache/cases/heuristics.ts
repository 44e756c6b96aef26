import { type Case, freshFor, type Step } from '../messages.ts';

const phrases: Record<number, string> = {
  200: 'OK',
  203: 'Non-Authoritative Information',
  204: 'No Content',
  300: 'Multiple Choices',
  301: 'Moved Permanently',
  308: 'Permanent Redirect',
  404: 'Not Found',
  405: 'Method Not Allowed',
  410: 'Gone',
  414: 'URI Too Long',
  501: 'Not Implemented',
};

const old = 'Last-Modified: {start-1000}';
const only: Pick<Case, 'modes'> = { modes: ['rfc9111'] };

/** Modified 1000 s ago: 10 % of that, 100 s, is the lifetime. */
const hundredSec = (...fields: string[]): Step[] => freshFor(100, [old, ...fields]);

/** The same fields, from which no heuristic lifetime may come: every request goes to the origin. */
const none = (...fields: string[]): Step[] => [
  { origin: fields, from: 'origin' },
  { after: 1, from: 'origin' },
];

/** Lifetimes that nobody said (RFC 9111 §4.2.2), of mode rfc9111 alone. */
export const heuristics: Case[] = [
  {
    id: 'heuristic-tenth',
    section: 'RFC 9111 §4.2.2',
    name: '[C2] a tenth of the time since Last-Modified; mode qal asks every time',
    steps: [
      { origin: [old], from: 'origin' },
      { after: 99, from: 'cache', age: 99, qal: { from: 'origin', saw: { 'If-Modified-Since': '{start-1000}' } } },
      { after: 1, from: 'origin', saw: { 'If-Modified-Since': '{start-1000}' } },
    ],
  },
  {
    id: 'heuristic-most',
    section: 'RFC 9111 §4.2.2',
    name: 'a day at most',
    ...only,
    steps: freshFor(86_400, ['Last-Modified: {start-864000000}']),
  },
  ...[203, 204, 300, 301, 308, 404, 405, 410, 414, 501].map(
    (status): Case => ({
      id: `heuristic-status-${status}`,
      section: 'RFC 9110 §15.1',
      name: `[C2] ${status} is heuristically cacheable; mode qal stores 200 only`,
      steps: [
        { origin: { status: `${status} ${phrases[status]}`, fields: [old] }, from: 'origin' },
        { after: 99, from: 'cache', age: 99, qal: { from: 'origin' } },
      ],
    }),
  ),
  ...[
    '201 Created',
    '202 Accepted',
    '302 Found',
    '303 See Other',
    '307 Temporary Redirect',
    '400 Bad Request',
    '403 Forbidden',
    '429 Too Many Requests',
    '500 Internal Server Error',
    '502 Bad Gateway',
    '503 Service Unavailable',
    '504 Gateway Timeout',
    '299 Strange',
    '499 Strange',
  ].map(
    (status): Case => ({
      id: `heuristic-status-${status.slice(0, 3)}`,
      section: 'RFC 9110 §15.1',
      name: `${status} is not heuristically cacheable`,
      steps: [
        { origin: { status, fields: [old] }, from: 'origin', cs: '!stored' },
        { after: 1, from: 'origin' },
      ],
    }),
  ),
  {
    id: 'heuristic-public-status',
    section: 'RFC 9111 §4.2.2',
    name: 'public makes any status heuristically cacheable',
    ...only,
    steps: [
      { origin: { status: '302 Found', fields: [old, 'Cache-Control: public', 'Location: /x'] }, from: 'origin' },
      { after: 99, from: 'cache', age: 99 },
      { after: 1, from: 'origin' },
    ],
  },
  {
    id: 'heuristic-public',
    section: 'RFC 9111 §5.2.2.9',
    name: 'public with Last-Modified',
    ...only,
    steps: hundredSec('Cache-Control: public'),
  },
  {
    id: 'heuristic-unknown-directive',
    section: 'RFC 9111 §4.2.2',
    name: 'a directive that is no lifetime leaves room for one',
    ...only,
    steps: hundredSec('Cache-Control: foo, no-transform'),
  },
  {
    id: 'heuristic-query',
    section: 'RFC 9111 §4.2.2',
    name: 'a query forbids nothing any more',
    ...only,
    steps: [
      { path: '?a=b', origin: [old], from: 'origin' },
      { path: '?a=b', after: 50, from: 'cache', age: 50 },
    ],
  },
  {
    id: 'heuristic-no-date',
    section: 'RFC 9110 §6.6.1',
    name: 'without Date the time of receipt counts',
    ...only,
    steps: freshFor(100, { fields: [old], noDate: true }),
  },
  {
    id: 'heuristic-age',
    section: 'RFC 9111 §4.2.3',
    name: 'Age counts against a heuristic lifetime',
    ...only,
    steps: freshFor(40, [old, 'Age: 60'], 60),
  },
  {
    id: 'heuristic-weak-etag',
    section: 'RFC 9111 §4.2.2',
    name: 'an ETag beside Last-Modified changes nothing',
    ...only,
    steps: hundredSec('ETag: W/"a"'),
  },
  {
    id: 'heuristic-expires-past',
    section: 'RFC 9111 §4.2.2',
    name: 'not where there is an Expires, be it over',
    steps: none(old, 'Expires: {now-1}'),
  },
  {
    id: 'heuristic-expires-invalid',
    section: 'RFC 9111 §4.2.2',
    name: 'not where there is an Expires, be it no date',
    steps: none(old, 'Expires: 0'),
  },
  {
    id: 'heuristic-max-age-0',
    section: 'RFC 9111 §4.2.2',
    name: 'not where there is a max-age, be it 0',
    steps: none(old, 'Cache-Control: max-age=0'),
  },
  {
    id: 'heuristic-s-maxage-0',
    section: 'RFC 9111 §4.2.2',
    name: 'not where there is an s-maxage, be it 0',
    steps: none(old, 'Cache-Control: s-maxage=0'),
  },
  {
    id: 'heuristic-max-age-invalid',
    section: 'RFC 9111 §4.2.1',
    name: 'not where there is a max-age, be it no number',
    steps: none(old, 'Cache-Control: max-age=abc'),
  },
  {
    id: 'heuristic-no-cache',
    section: 'RFC 9111 §5.2.2.4',
    name: 'not with no-cache',
    steps: none(old, 'Cache-Control: no-cache'),
  },
  {
    id: 'heuristic-no-store',
    section: 'RFC 9111 §5.2.2.5',
    name: 'not with no-store',
    steps: none(old, 'Cache-Control: no-store'),
  },
  {
    id: 'heuristic-private',
    section: 'RFC 9111 §5.2.2.7',
    name: 'not with private',
    steps: none(old, 'Cache-Control: private'),
  },
  {
    id: 'heuristic-etag-alone',
    section: 'RFC 9111 §4.2.2',
    name: 'no Last-Modified, no lifetime: an ETag says nothing of age',
    steps: none('ETag: "a"'),
  },
  {
    id: 'heuristic-modified-now',
    section: 'RFC 9111 §4.2.2',
    name: 'modified this moment: no lifetime',
    steps: none('Last-Modified: {start}'),
  },
  {
    id: 'heuristic-modified-later',
    section: 'RFC 9111 §4.2.2',
    name: 'modified after Date: no lifetime',
    steps: none('Last-Modified: {start+1000}'),
  },
  {
    id: 'heuristic-modified-invalid',
    section: 'RFC 9110 §8.8.2',
    name: 'a Last-Modified that is no date: no lifetime',
    steps: none('Last-Modified: long ago'),
  },
  {
    id: 'heuristic-stale-forbidden',
    section: 'RFC 9111 §4.2.4',
    name: 'over a heuristic lifetime it is stale like any other: without permission an error goes through',
    ...only,
    steps: [
      { origin: [old], from: 'origin' },
      { after: 101, origin: { status: '503 Service Unavailable' }, from: 'origin', cs: 'fwd=stale' },
    ],
  },
  {
    id: 'heuristic-ttl',
    section: 'RFC 9211 §2.4',
    name: '[C13] ttl tells the heuristic lifetime that is left',
    ...only,
    steps: [
      { origin: [old], from: 'origin' },
      { after: 30, from: 'cache', cs: 'hit; ttl=70' },
    ],
  },
];
