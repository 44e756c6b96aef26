import { type Case, failing, type Script } from '../messages.ts';

const ten = '0123456789';
const page = (...fields: string[]): Script => ({ fields: ['Cache-Control: max-age=60', ...fields], body: ten });
const fetch: readonly string[] = ['Cache-Control: no-cache'];

/** GET, a HEAD past the cache which says `fields` of a body of this length, and whether the GET is still good. */
const freshens = (id: string, name: string, stored: Script, head: Script, freshened: boolean): Case => ({
  id: `head-${id}`,
  section: 'RFC 9111 §4.3.5',
  name,
  steps: [
    { origin: stored, from: 'origin' },
    { after: 30, method: 'HEAD', send: fetch, origin: head, from: 'origin', sawMethod: 'HEAD' },
    { after: 10, origin: page('ETag: "new"'), ...(freshened ? { from: 'cache', age: 10 } : { from: 'origin' }) },
  ],
});

/** HEAD from a stored GET (RFC 9111 §4), and what a HEAD says of it (§4.3.5). */
export const headCases: Case[] = [
  {
    id: 'head-hit',
    section: 'RFC 9111 §4',
    name: '[C1] HEAD is answered from a stored GET, with its length and without its body',
    steps: [
      { origin: page('ETag: "a"', 'X-Kept: 1'), from: 'origin' },
      {
        after: 5,
        method: 'HEAD',
        from: 'cache',
        age: 5,
        cs: 'hit; ttl=55',
        fields: { 'Content-Length': '10', ETag: '"a"', 'X-Kept': '1', 'Content-Type': 'text/plain' },
      },
      { from: 'cache', age: 5 },
    ],
  },
  {
    id: 'head-hit-chunked',
    section: 'RFC 9111 §4',
    name: '[C1] HEAD from a stored GET that came in chunks',
    steps: [
      { origin: { fields: ['Cache-Control: max-age=60'], framing: 'chunked' }, from: 'origin' },
      { method: 'HEAD', from: 'cache' },
      { from: 'cache' },
    ],
  },
  {
    id: 'head-miss',
    section: 'RFC 9110 §9.3.2',
    name: '[C1] with nothing stored HEAD goes on as HEAD, and its answer is not stored',
    steps: [
      {
        method: 'HEAD',
        origin: page('ETag: "a"'),
        from: 'origin',
        sawMethod: 'HEAD',
        cs: 'fwd=uri-miss; !stored',
        fields: { 'Content-Length': '10' },
      },
      { method: 'HEAD', from: 'origin', sawMethod: 'HEAD', saw: { 'If-None-Match': null } },
      { from: 'origin', sawMethod: 'GET', saw: { 'If-None-Match': null } },
      { from: 'cache' },
    ],
  },
  {
    id: 'head-not-modified',
    section: 'RFC 9110 §13.1.2',
    name: 'conditions count for HEAD too',
    steps: [
      { origin: page('ETag: "a"', 'Last-Modified: {start-1000}'), from: 'origin' },
      { method: 'HEAD', send: ['If-None-Match: "a"'], from: 'cache', status: 304 },
      { method: 'HEAD', send: ['If-None-Match: "b"'], from: 'cache' },
      { method: 'HEAD', send: ['If-Modified-Since: {start}'], from: 'cache', status: 304 },
    ],
  },
  {
    id: 'head-vary',
    section: 'RFC 9111 §4.1',
    name: 'Vary counts for HEAD too',
    steps: [
      { origin: page('Vary: X-A'), send: ['X-A: 1'], from: 'origin' },
      { method: 'HEAD', send: ['X-A: 2'], from: 'origin', cs: 'fwd=vary-miss; !stored' },
      { method: 'HEAD', send: ['X-A: 1'], from: 'cache' },
    ],
  },
  {
    id: 'head-404',
    section: 'RFC 9111 §4',
    name: '[C1] HEAD from a stored 404',
    modes: ['rfc9111'],
    steps: [
      { origin: failing('404 Not Found', 'Cache-Control: max-age=60'), from: 'origin' },
      { method: 'HEAD', from: 'cache', status: 404 },
    ],
  },
  {
    id: 'head-max-age',
    section: 'RFC 9111 §5.2.1.1',
    name: 'directives of the request count for HEAD too',
    steps: [
      { origin: page(), from: 'origin' },
      { after: 10, method: 'HEAD', send: ['Cache-Control: max-age=5'], from: 'origin', sawMethod: 'HEAD' },
    ],
  },
  {
    id: 'head-stale',
    section: 'RFC 9111 §4.3.5',
    name: 'a stored GET that is stale: HEAD goes on, and its answer makes the GET fresh again',
    steps: [
      { origin: page('ETag: "a"'), from: 'origin' },
      { after: 70, method: 'HEAD', from: 'origin', sawMethod: 'HEAD', cs: 'fwd=stale' },
      { after: 10, from: 'cache', age: 10 },
    ],
  },
  freshens('same-tag', 'the same ETag and length: fresh from then on', page('ETag: "a"'), page('ETag: "a"'), true),
  freshens('other-tag', 'another ETag: not good any more', page('ETag: "a"'), page('ETag: "b"'), false),
  freshens('weak-tag', 'the same weak ETag', page('ETag: W/"a"'), page('ETag: W/"a"'), true),
  freshens(
    'same-date',
    'the same Last-Modified',
    page('Last-Modified: {start-1000}'),
    page('Last-Modified: {start-1000}'),
    true,
  ),
  freshens(
    'other-date',
    'another Last-Modified: not good any more',
    page('Last-Modified: {start-1000}'),
    page('Last-Modified: {start-500}'),
    false,
  ),
  freshens(
    'same-tag-other-date',
    'the same ETag and another Last-Modified: any validator received must match',
    page('ETag: "a"', 'Last-Modified: {start-1000}'),
    page('ETag: "a"', 'Last-Modified: {start-500}'),
    false,
  ),
  freshens('same-length', 'no validators and the same length: nothing speaks against it', page(), page(), true),
  freshens(
    'other-length',
    'another length: not good any more',
    page(),
    { fields: ['Cache-Control: max-age=60'], body: '01234' },
    false,
  ),
  freshens(
    'same-tag-other-length',
    'the same ETag and another length',
    page('ETag: "a"'),
    { fields: ['Cache-Control: max-age=60', 'ETag: "a"'], body: '01234' },
    false,
  ),
  freshens('new-tag', 'an ETag that the stored response does not have', page(), page('ETag: "a"'), false),
  {
    id: 'head-updates',
    section: 'RFC 9111 §4.3.5',
    name: 'a HEAD that matches updates the stored fields',
    steps: [
      { origin: page('ETag: "a"', 'X-Old: 1', 'X-Both: 1'), from: 'origin' },
      {
        after: 30,
        method: 'HEAD',
        send: fetch,
        origin: { fields: ['Cache-Control: max-age=100', 'ETag: "a"', 'X-Both: 2', 'X-New: 3'], body: ten },
        from: 'origin',
      },
      {
        after: 99,
        from: 'cache',
        age: 99,
        fields: { 'X-Old': '1', 'X-Both': '2', 'X-New': '3', 'Content-Length': '10' },
      },
      { after: 1, from: 'origin' },
    ],
  },
  {
    id: 'head-error',
    section: 'RFC 9111 §4.3.5',
    name: 'a HEAD that fails says nothing of the stored GET',
    steps: [
      { origin: page('ETag: "a"'), from: 'origin' },
      { after: 30, method: 'HEAD', send: fetch, origin: failing('503 Service Unavailable'), from: 'origin' },
      { after: 10, from: 'cache', age: 40 },
    ],
  },
  {
    id: 'head-other-variant',
    section: 'RFC 9111 §4.3.5',
    name: 'a HEAD says nothing of variants that it would not have got',
    steps: [
      { origin: page('Vary: X-A', 'ETag: "a"'), send: ['X-A: 1'], from: 'origin' },
      { after: 30, method: 'HEAD', send: [...fetch, 'X-A: 2'], origin: page('Vary: X-A', 'ETag: "b"'), from: 'origin' },
      { after: 10, send: ['X-A: 1'], from: 'cache', age: 40 },
    ],
  },
];
