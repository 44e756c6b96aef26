import type { Case } from '../messages.ts';

const fresh = ['Cache-Control: max-age=60'];

/** Which URLs are the same (RFC 9111 §2, RFC 9110 §4.2.3, §7.1). */
export const keys: Case[] = [
  {
    id: 'key-query',
    section: 'RFC 9111 §2',
    name: 'another query is another URL',
    steps: [
      { path: '?a=1', origin: fresh, from: 'origin' },
      { path: '?a=2', from: 'origin', cs: 'fwd=uri-miss' },
      { from: 'origin', cs: 'fwd=uri-miss' },
      { path: '?a=1', from: 'cache' },
      { path: '?a=2', from: 'cache' },
      { from: 'cache' },
    ],
  },
  {
    id: 'key-query-order',
    section: 'RFC 9111 §2',
    name: 'the order of a query makes a difference unless the route says that it does not',
    steps: [
      { path: '?a=1&b=2', origin: fresh, from: 'origin' },
      { path: '?b=2&a=1', from: 'origin' },
    ],
  },
  {
    id: 'key-empty-query',
    section: 'RFC 9111 §2',
    name: 'an empty query is not no query',
    steps: [
      { origin: fresh, from: 'origin' },
      { path: '?', from: 'origin' },
    ],
  },
  {
    id: 'key-path-case',
    section: 'RFC 9110 §4.2.3',
    name: 'paths differ by case',
    steps: [
      { path: '/a', origin: fresh, from: 'origin' },
      { path: '/A', from: 'origin' },
      { path: '/a', from: 'cache' },
    ],
  },
  {
    id: 'key-trailing-slash',
    section: 'RFC 9110 §4.2.3',
    name: 'a slash at the end makes another path',
    steps: [
      { path: '/a', origin: fresh, from: 'origin' },
      { path: '/a/', from: 'origin' },
    ],
  },
  {
    id: 'key-host',
    section: 'RFC 9110 §7.2',
    name: 'another host is another URL',
    steps: [
      { origin: fresh, from: 'origin' },
      { host: 'other.test', from: 'origin', cs: 'fwd=uri-miss' },
      { from: 'cache', answer: 1 },
      { host: 'other.test', from: 'cache', answer: 2 },
    ],
  },
  {
    id: 'key-host-case',
    section: 'RFC 9110 §4.2.3',
    name: 'hosts are the same in capitals',
    steps: [
      { origin: fresh, from: 'origin' },
      { host: 'CACHE.Test', from: 'cache' },
    ],
  },
  {
    id: 'key-port',
    section: 'RFC 9110 §4.2.3',
    name: 'another port is another URL',
    steps: [
      { origin: fresh, from: 'origin' },
      { host: 'cache.test:8080', from: 'origin' },
    ],
  },
  {
    id: 'key-absolute-form',
    section: 'RFC 9110 §7.1',
    name: 'a target in absolute form is the same URL',
    steps: [
      { path: '?x=y', origin: fresh, from: 'origin' },
      { path: '?x=y', absolute: true, from: 'cache' },
    ],
  },
  {
    id: 'key-options',
    section: 'RFC 9110 §9.3.7',
    name: 'OPTIONS is neither stored nor answered from the cache',
    steps: [
      { method: 'OPTIONS', origin: fresh, from: 'origin', cs: 'fwd=method; !stored' },
      { from: 'origin', cs: 'fwd=uri-miss; stored' },
      { method: 'OPTIONS', from: 'origin', cs: 'fwd=method' },
      { from: 'cache', answer: 2 },
    ],
  },
  {
    id: 'key-post',
    section: 'RFC 9111 §4',
    name: '[C1] POST is written through, and its response is not stored for GET',
    steps: [
      {
        method: 'POST',
        upload: 'x',
        origin: ['Cache-Control: public, max-age=60'],
        from: 'origin',
        cs: 'fwd=method; !stored',
      },
      { from: 'origin', cs: 'fwd=uri-miss; stored' },
      { method: 'POST', upload: 'x', from: 'origin', cs: 'fwd=method' },
    ],
  },
  {
    id: 'key-post-twice',
    section: 'RFC 9111 §4',
    name: '[C1] a POST is never answered by what another POST got',
    steps: [
      {
        method: 'POST',
        upload: 'x',
        origin: ['Cache-Control: public, max-age=60', 'Content-Location: /key-post-twice'],
        from: 'origin',
      },
      { method: 'POST', upload: 'x', from: 'origin' },
    ],
  },
  {
    id: 'key-put',
    section: 'RFC 9110 §9.3.4',
    name: '[C1] the response to PUT is not stored',
    steps: [
      {
        method: 'PUT',
        upload: 'x',
        origin: ['Cache-Control: public, max-age=60'],
        from: 'origin',
        cs: 'fwd=method; !stored',
      },
      { from: 'origin' },
    ],
  },
];
