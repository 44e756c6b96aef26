import { type Case, failing, notModified, type Script } from '../messages.ts';

const sie = 'Cache-Control: max-age=60, stale-if-error=120';
const down: Script = failing('503 Service Unavailable');

const ifError = 'RFC 5861 §4';

/** Stale responses that stand in for an error, and when none may (RFC 9111 §4.2.4, RFC 5861 §4). */
export const staleIfError: Case[] = [
  {
    id: 'stale-no-permission',
    section: 'RFC 9111 §4.2.4',
    name: 'without permission nothing stale is served: a 503 goes through',
    steps: [
      { origin: ['Cache-Control: max-age=60'], from: 'origin' },
      { after: 61, origin: down, from: 'origin', cs: 'fwd=stale' },
    ],
  },
  {
    id: 'stale-no-permission-closed',
    section: 'RFC 9111 §4.2.4',
    name: 'without permission nothing stale is served: no answer is an error of ours',
    steps: [
      { origin: ['Cache-Control: max-age=60'], from: 'origin' },
      { after: 61, origin: 'close', from: 'origin', status: 502 },
    ],
  },
  ...['500 Internal Server Error', '502 Bad Gateway', '503 Service Unavailable', '504 Gateway Timeout'].map(
    (status): Case => ({
      id: `sie-${status.slice(0, 3)}`,
      section: ifError,
      name: `a ${status} is an error: what is stored is served`,
      steps: [
        { origin: [sie], from: 'origin' },
        {
          after: 70,
          origin: failing(status),
          from: 'fallback',
          age: 70,
          cs: `fwd=stale; fwd-status=${status.slice(0, 3)}; ttl=-10`,
        },
        { origin: [sie], from: 'origin' },
        { after: 1, from: 'cache', age: 1 },
      ],
    }),
  ),
  ...[
    '400 Bad Request',
    '404 Not Found',
    '429 Too Many Requests',
    '501 Not Implemented',
    '505 HTTP Version Not Supported',
  ].map(
    (status): Case => ({
      id: `sie-${status.slice(0, 3)}`,
      section: ifError,
      name: `a ${status} is none of its errors: it goes through`,
      steps: [
        { origin: [sie], from: 'origin' },
        { after: 70, origin: failing(status), from: 'origin', cs: 'fwd=stale' },
      ],
    }),
  ),
  {
    id: 'sie-closed',
    section: ifError,
    name: 'a connection that breaks is an error',
    steps: [
      { origin: [sie], from: 'origin' },
      { after: 70, origin: 'close', from: 'fallback', age: 70, cs: 'fwd=stale' },
    ],
  },
  {
    id: 'sie-garbage',
    section: ifError,
    name: 'an answer that is no HTTP is an error',
    steps: [
      { origin: [sie], from: 'origin' },
      { after: 70, origin: { raw: 'garbage\r\n\r\n' }, from: 'fallback', age: 70 },
    ],
  },
  {
    id: 'sie-timeout',
    section: ifError,
    name: 'an origin that does not answer in time is an error',
    setting: 'impatient',
    steps: [
      { origin: [sie], from: 'origin' },
      { after: 70, origin: 'hang', from: 'fallback', age: 70 },
      { origin: [sie], from: 'origin' },
    ],
  },
  {
    id: 'stale-timeout',
    section: 'RFC 9111 §4.2.4',
    name: 'an origin that does not answer in time: 504 where nothing stale may be served',
    setting: 'impatient',
    steps: [
      { origin: ['Cache-Control: max-age=60'], from: 'origin' },
      { after: 70, origin: 'hang', from: 'origin', status: 504 },
    ],
  },
  {
    id: 'sie-late',
    section: ifError,
    name: 'a second before its end',
    steps: [
      { origin: [sie], from: 'origin' },
      { after: 179, origin: down, from: 'fallback', age: 179 },
    ],
  },
  {
    id: 'sie-over',
    section: ifError,
    name: 'after its end the error goes through',
    steps: [
      { origin: [sie], from: 'origin' },
      { after: 181, origin: down, from: 'origin' },
    ],
  },
  {
    id: 'sie-over-closed',
    section: ifError,
    name: 'after its end no answer is an error of ours',
    steps: [
      { origin: [sie], from: 'origin' },
      { after: 181, origin: 'close', from: 'origin', status: 502 },
    ],
  },
  {
    id: 'sie-validates',
    section: ifError,
    name: '[C3] the origin is asked with the stored tag',
    steps: [
      { origin: [sie, 'ETag: "a"'], from: 'origin' },
      { after: 70, origin: down, from: 'fallback', saw: { 'If-None-Match': '"a"' } },
      { origin: notModified('ETag: "a"'), from: 'revalidated' },
    ],
  },
  {
    id: 'sie-fresh',
    section: ifError,
    name: 'what is fresh needs no error to be served, and no origin',
    steps: [
      { origin: [sie], from: 'origin' },
      { after: 30, origin: down, from: 'cache', age: 30 },
    ],
  },
  {
    id: 'sie-after-swr',
    section: ifError,
    name: 'between the end of stale-while-revalidate and that of stale-if-error the origin is asked first',
    steps: [
      { origin: ['Cache-Control: max-age=60, stale-while-revalidate=30, stale-if-error=120'], from: 'origin' },
      { after: 100, origin: down, from: 'fallback', age: 100 },
    ],
  },
  {
    id: 'sie-must-revalidate',
    section: 'RFC 9111 §5.2.2.2',
    name: 'must-revalidate forbids it: the error goes through',
    steps: [
      { origin: [`${sie}, must-revalidate`], from: 'origin' },
      { after: 70, origin: down, from: 'origin' },
    ],
  },
  {
    id: 'sie-must-revalidate-closed',
    section: 'RFC 9111 §5.2.2.2',
    name: 'must-revalidate and no answer: an error, not the stale response',
    steps: [
      { origin: [`${sie}, must-revalidate`], from: 'origin' },
      { after: 70, origin: 'close', from: 'origin', status: [502, 504] },
    ],
  },
  {
    id: 'sie-proxy-revalidate',
    section: 'RFC 9111 §5.2.2.8',
    name: 'proxy-revalidate forbids it',
    steps: [
      { origin: [`${sie}, proxy-revalidate`], from: 'origin' },
      { after: 70, origin: down, from: 'origin' },
    ],
  },
  {
    id: 'sie-s-maxage',
    section: 'RFC 9111 §4.2.4',
    name: 's-maxage forbids it by the RFC; in mode qal it is served',
    steps: [
      { origin: ['Cache-Control: s-maxage=60, stale-if-error=120'], from: 'origin' },
      { after: 70, origin: down, from: 'origin', qal: { from: 'fallback', age: 70 } },
    ],
  },
  {
    id: 'sie-request',
    section: ifError,
    name: 'the client may allow it too',
    steps: [
      { origin: ['Cache-Control: max-age=60'], from: 'origin' },
      { after: 70, send: ['Cache-Control: stale-if-error=120'], origin: down, from: 'fallback', age: 70 },
    ],
  },
  {
    id: 'sie-request-over',
    section: ifError,
    name: 'within the seconds that the client says',
    steps: [
      { origin: ['Cache-Control: max-age=60'], from: 'origin' },
      { after: 70, send: ['Cache-Control: stale-if-error=5'], origin: down, from: 'origin' },
    ],
  },
  {
    id: 'sie-request-forbidden',
    section: 'RFC 9111 §5.2.2.8',
    name: 'the client cannot allow what proxy-revalidate forbids',
    steps: [
      { origin: ['Cache-Control: max-age=60, proxy-revalidate'], from: 'origin' },
      { after: 70, send: ['Cache-Control: stale-if-error=120'], origin: down, from: 'origin' },
    ],
  },
];
