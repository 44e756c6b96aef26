import { type Case, failing, notModified, type Script, type Step } from '../messages.ts';

const swr = 'Cache-Control: max-age=60, stale-while-revalidate=30';

/** Stale and served at once, while a refresh runs; then what the refresh brought is served. */
const refreshed = (after: number, age: number, origin: Script): Step[] => [
  { after, origin, from: 'cache', age, refresh: true },
  { from: 'cache', age: 0, poll: true },
];

const whileRevalidate = 'RFC 5861 §3';

/** Stale responses that are served while they are refreshed (RFC 5861 §3). */
export const staleWhileRevalidate: Case[] = [
  {
    id: 'swr-within',
    section: whileRevalidate,
    name: '[C7] fresh to A; from A on stale and at once, with one refresh; the next request gets the new one',
    steps: [
      { origin: [swr], from: 'origin' },
      { after: 59, from: 'cache', age: 59, cs: 'hit; ttl=1' },
      { after: 1, from: 'cache', age: 60, refresh: true, cs: 'hit; ttl=0' },
      { from: 'cache', age: 0, poll: true },
      { after: 59, from: 'cache', age: 59 },
    ],
  },
  {
    id: 'swr-late',
    section: whileRevalidate,
    name: '[C7] a second before A + B it is still served',
    steps: [{ origin: [swr], from: 'origin' }, ...refreshed(89, 89, [swr])],
  },
  {
    id: 'swr-over',
    section: whileRevalidate,
    name: '[C7] after A + B the origin is asked first',
    steps: [
      { origin: [swr], from: 'origin' },
      { after: 91, from: 'origin', cs: 'fwd=stale' },
    ],
  },
  {
    id: 'swr-seed',
    section: 'C7',
    name: '[C7] max-age=60, stale-while-revalidate=15 as RFC 5861 reads it, not as the seed words it: fresh to 60, stale to 75',
    steps: [
      { origin: ['Cache-Control: max-age=60, stale-while-revalidate=15'], from: 'origin' },
      { after: 16, from: 'cache', age: 16 },
      { after: 43, from: 'cache', age: 59 },
      { after: 15, from: 'cache', age: 74, refresh: true },
      { from: 'cache', age: 0, poll: true },
      { after: 76, from: 'origin' },
    ],
  },
  {
    id: 'swr-304',
    section: whileRevalidate,
    name: '[C3,C7] the refresh is a validation; a 304 makes the stored response fresh',
    steps: [
      { origin: [swr, 'ETag: "a"'], from: 'origin' },
      {
        after: 70,
        origin: notModified('ETag: "a"'),
        from: 'cache',
        age: 70,
        refresh: true,
        saw: { 'If-None-Match': '"a"' },
      },
      { from: 'cache', age: 0, poll: true, answer: 1 },
      { after: 59, from: 'cache', age: 59, answer: 1 },
    ],
  },
  {
    id: 'swr-304-date',
    section: whileRevalidate,
    name: '[C4,C7] a refresh by Last-Modified',
    steps: [
      { origin: [swr, 'Last-Modified: {start-1000}'], from: 'origin' },
      {
        after: 70,
        origin: notModified('Last-Modified: {start-1000}'),
        from: 'cache',
        refresh: true,
        saw: { 'If-Modified-Since': '{start-1000}' },
      },
      { from: 'cache', age: 0, poll: true, answer: 1 },
    ],
  },
  {
    id: 'swr-expires',
    section: whileRevalidate,
    name: '[C7] with a lifetime from Expires',
    steps: [
      { origin: ['Expires: {now+60}', 'Cache-Control: stale-while-revalidate=30'], from: 'origin' },
      { after: 59, from: 'cache', age: 59 },
      { after: 20, origin: [swr], from: 'cache', age: 79, refresh: true },
      { from: 'cache', age: 0, poll: true },
    ],
  },
  {
    id: 'swr-one-refresh',
    section: whileRevalidate,
    name: '[C11] any number of requests while one refresh runs, and no second refresh',
    steps: [
      { origin: [swr], from: 'origin' },
      { after: 70, origin: { fields: [swr], hold: true }, from: 'cache', answer: 1, refresh: true },
      { from: 'cache', age: 70, answer: 1 },
      { after: 5, from: 'cache', age: 75, answer: 1 },
      { release: true, from: 'cache', answer: 2, poll: true },
    ],
  },
  {
    id: 'swr-refresh-fails',
    section: whileRevalidate,
    name: '[C11] a refresh that fails takes the stale response away from nobody',
    steps: [
      { origin: [swr], from: 'origin' },
      { after: 70, origin: failing('500 Internal Server Error'), from: 'cache', age: 70, refresh: true },
      { after: 10, from: 'cache', age: 80, asked: [0, 1] },
      { after: 9, from: 'cache', age: 89, asked: [0, 1] },
      { after: 2, from: 'origin', asked: [1, 2] },
    ],
  },
  {
    id: 'swr-refresh-cut',
    section: whileRevalidate,
    name: '[C11] a refresh that finds no answer takes the stale response away from nobody',
    steps: [
      { origin: [swr], from: 'origin' },
      { after: 70, origin: 'close', from: 'cache', age: 70, refresh: true },
      { after: 10, origin: [swr], from: 'cache', age: 80, answer: 1, asked: [0, 1] },
    ],
  },
  {
    id: 'swr-proxy-revalidate',
    section: 'RFC 9111 §5.2.2.8',
    name: 'proxy-revalidate forbids it',
    steps: [
      { origin: [`${swr}, proxy-revalidate`], from: 'origin' },
      { after: 61, from: 'origin', cs: 'fwd=stale' },
    ],
  },
  {
    id: 'swr-must-revalidate',
    section: 'RFC 9111 §5.2.2.2',
    name: 'must-revalidate forbids it',
    steps: [
      { origin: [`${swr}, must-revalidate`], from: 'origin' },
      { after: 61, from: 'origin' },
    ],
  },
  {
    id: 'swr-no-cache',
    section: 'RFC 9111 §4.2.4',
    name: 'no-cache forbids it',
    steps: [
      { origin: [`${swr}, no-cache`, 'ETag: "a"'], from: 'origin' },
      { after: 61, from: 'origin' },
    ],
  },
  {
    id: 'swr-s-maxage',
    section: 'RFC 9111 §4.2.4',
    name: 's-maxage forbids it by the RFC; in mode qal it is served',
    steps: [
      { origin: ['Cache-Control: s-maxage=60, stale-while-revalidate=30'], from: 'origin' },
      { after: 61, from: 'origin', qal: { from: 'cache', age: 61, refresh: true } },
      { from: 'cache', age: 0, poll: true },
    ],
  },
  {
    id: 'swr-quoted',
    section: 'RFC 9111 §5.2',
    name: 'both forms of an argument, names without regard to case',
    steps: [
      { origin: ['Cache-Control: max-age=60, STALE-while-Revalidate="30"'], from: 'origin' },
      ...refreshed(70, 70, [swr]),
    ],
  },
  {
    id: 'swr-invalid',
    section: 'RFC 9111 §4.2.1',
    name: 'no number of seconds, no permission',
    steps: [
      { origin: ['Cache-Control: max-age=60, stale-while-revalidate=abc'], from: 'origin' },
      { after: 61, from: 'origin' },
    ],
  },
  {
    id: 'swr-0',
    section: whileRevalidate,
    name: 'zero seconds are none',
    steps: [
      { origin: ['Cache-Control: max-age=60, stale-while-revalidate=0'], from: 'origin' },
      { after: 61, from: 'origin' },
    ],
  },
  {
    id: 'swr-age',
    section: 'RFC 9111 §4.2.3',
    name: '[C7] the age at which it came counts',
    steps: [{ origin: [swr, 'Age: 50'], from: 'origin' }, ...refreshed(30, 80, [swr]), { after: 91, from: 'origin' }],
  },
];
