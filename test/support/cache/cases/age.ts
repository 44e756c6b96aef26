import { type Case, freshFor, neverFresh, notModified, type Step } from '../messages.ts';

/** Stored with an age that is no zero: the Age of hits at once and after 20 s, for a lifetime of 100 s. */
const startsAt = (age: number, origin: readonly string[], noDate?: true): Step[] => [
  { origin: { fields: ['Cache-Control: max-age=100', ...origin], ...(noDate ? { noDate } : {}) }, from: 'origin' },
  { from: 'cache', age, cs: `hit; ttl=${100 - age}` },
  { after: 20, from: 'cache', age: age + 20, cs: `hit; ttl=${80 - age}` },
];

/** How old a response is (RFC 9111 §4.2.3), and what Age says of it (§5.1). */
export const age: Case[] = [
  {
    id: 'age-upstream',
    section: 'RFC 9111 §4.2.3',
    name: 'the Age that an upstream cache says is where ours begins',
    steps: freshFor(30, ['Cache-Control: max-age=60', 'Age: 30'], 30),
  },
  {
    id: 'age-upstream-all',
    section: 'RFC 9111 §4.2.3',
    name: 'an Age of the whole lifetime: stale on arrival',
    steps: neverFresh(['Cache-Control: max-age=60', 'Age: 60']),
  },
  {
    id: 'age-upstream-over',
    section: 'RFC 9111 §4.2.3',
    name: 'an Age over the lifetime: stale on arrival',
    steps: neverFresh(['Cache-Control: max-age=60', 'Age: 7200']),
  },
  {
    id: 'age-expires',
    section: 'RFC 9111 §4.2.3',
    name: 'Age counts against a lifetime from Expires too',
    steps: freshFor(30, ['Expires: {now+60}', 'Age: 30'], 30),
  },
  {
    id: 'age-s-maxage',
    section: 'RFC 9111 §4.2.3',
    name: 'Age counts against s-maxage too',
    steps: freshFor(30, ['Cache-Control: s-maxage=60', 'Age: 30'], 30),
  },
  {
    id: 'age-apparent',
    section: 'RFC 9111 §4.2.3',
    name: 'without Age the apparent age counts: now minus Date',
    steps: startsAt(40, ['Date: {now-40}']),
  },
  {
    id: 'age-apparent-over',
    section: 'RFC 9111 §4.2.3',
    name: 'a Date of long ago: stale on arrival',
    steps: neverFresh(['Cache-Control: max-age=60', 'Date: {now-100}']),
  },
  {
    id: 'age-larger-date',
    section: 'RFC 9111 §4.2.3',
    name: 'the larger of both ages counts: that from Date',
    steps: startsAt(40, ['Date: {now-40}', 'Age: 10']),
  },
  {
    id: 'age-larger-age',
    section: 'RFC 9111 §4.2.3',
    name: 'the larger of both ages counts: that from Age',
    steps: startsAt(40, ['Date: {now-10}', 'Age: 40']),
  },
  {
    id: 'age-fast-origin',
    section: 'RFC 9111 §4.2.3',
    name: 'a Date in the future makes no negative age',
    steps: startsAt(0, ['Date: {now+300}']),
  },
  {
    id: 'age-fast-origin-age',
    section: 'RFC 9111 §4.2.3',
    name: 'a Date in the future takes nothing off Age',
    steps: startsAt(25, ['Date: {now+300}', 'Age: 25']),
  },
  {
    id: 'age-delay',
    section: 'RFC 9111 §4.2.3',
    name: 'the time from request to response counts as age',
    steps: [
      { origin: { fields: ['Cache-Control: max-age=60'], takesSec: 5 }, from: 'origin' },
      { from: 'cache', age: 5 },
      { after: 54, from: 'cache', age: 59 },
      { after: 1, from: 'origin' },
    ],
  },
  {
    id: 'age-delay-age',
    section: 'RFC 9111 §4.2.3',
    name: 'the time from request to response is added to Age',
    steps: [
      { origin: { fields: ['Cache-Control: max-age=60', 'Age: 10'], takesSec: 5 }, from: 'origin' },
      { from: 'cache', age: 15 },
    ],
  },
  {
    id: 'age-delay-no-date',
    section: 'RFC 9111 §4.2.3',
    name: 'the time from request to response counts without Date too',
    steps: [
      { origin: { fields: ['Cache-Control: max-age=60'], takesSec: 5, noDate: true }, from: 'origin' },
      { from: 'cache', age: 5 },
    ],
  },
  {
    id: 'age-no-date',
    section: 'RFC 9110 §6.6.1',
    name: 'without Date the response is as old as Age says',
    steps: startsAt(7, ['Age: 7'], true),
  },
  {
    id: 'age-bad-date',
    section: 'RFC 9110 §6.6.1',
    name: 'a Date that is none counts as absent',
    steps: startsAt(0, ['Date: yesterday']),
  },
  {
    id: 'age-list',
    section: 'RFC 9111 §5.1',
    name: 'of a list the first member counts',
    steps: startsAt(30, ['Age: 30, 90']),
  },
  {
    id: 'age-list-first-large',
    section: 'RFC 9111 §5.1',
    name: 'of a list the first member counts, though it is larger',
    steps: startsAt(60, ['Age: 60, 3']),
  },
  {
    id: 'age-two-lines',
    section: 'RFC 9111 §5.1',
    name: 'of two lines the first counts, and one goes to the client',
    steps: startsAt(30, ['Age: 30', 'Age: 90']),
  },
  ...(
    [
      ['word', 'abc'],
      ['negative', '-90'],
      ['fraction', '90.5'],
      ['unit', '90s'],
      ['empty', ''],
      ['quoted', '"90"'],
      ['list', 'abc, 90'],
      ['parameter', '90;foo=bar'],
    ] as const
  ).map(
    ([id, value]): Case => ({
      id: `age-invalid-${id}`,
      section: 'RFC 9111 §5.1',
      name: `an Age that is no number of seconds is ignored: ${JSON.stringify(value)}`,
      steps: startsAt(0, [`Age: ${value}`]),
    }),
  ),
  {
    id: 'age-overflow',
    section: 'RFC 9111 §1.2.2',
    name: 'an Age that overflows everything is very old, not young',
    steps: neverFresh(['Cache-Control: max-age=60', 'Age: 99999999999999999999999999']),
  },
  {
    id: 'age-overflow-32',
    section: 'RFC 9111 §1.2.2',
    name: 'an Age of 2^32 is very old, not 0',
    steps: neverFresh(['Cache-Control: max-age=60', 'Age: 4294967296']),
  },
  {
    id: 'age-whole-seconds',
    section: 'RFC 9111 §5.1',
    name: 'Age is a whole number between two seconds too',
    steps: [
      { origin: ['Cache-Control: max-age=60'], from: 'origin' },
      { after: 1.5, from: 'cache', fields: { Age: /^[12]$/ } },
    ],
  },
  {
    id: 'age-replaced',
    section: 'RFC 9111 §4',
    name: 'Age of a hit replaces the one that was stored',
    steps: [
      { origin: ['Cache-Control: max-age=60', 'Age: 5'], from: 'origin' },
      { after: 10, from: 'cache', age: 15 },
    ],
  },
  {
    id: 'age-date-kept',
    section: 'RFC 9110 §6.6.1',
    name: 'a hit carries the Date of the origin, not that of the moment',
    steps: [
      { origin: ['Cache-Control: max-age=60', 'Date: {now-7}'], from: 'origin' },
      { after: 20, from: 'cache', fields: { Date: '{now-27}' } },
    ],
  },
  {
    id: 'age-after-304',
    section: 'RFC 9111 §4.2.3',
    name: 'a validation starts the age anew',
    steps: [
      { origin: ['Cache-Control: max-age=60', 'ETag: "a"'], from: 'origin' },
      { after: 70, origin: notModified('ETag: "a"'), from: 'revalidated' },
      { after: 10, from: 'cache', age: 10, cs: 'hit; ttl=50' },
      { after: 49, from: 'cache', age: 59 },
      { after: 1, from: 'revalidated' },
    ],
  },
  {
    id: 'age-of-304',
    section: 'RFC 9111 §4.2.3',
    name: 'the Age that a 304 says is where the age begins',
    steps: [
      { origin: ['Cache-Control: max-age=60', 'ETag: "a"'], from: 'origin' },
      { after: 70, origin: notModified('ETag: "a"', 'Age: 20'), from: 'revalidated' },
      { after: 10, from: 'cache', age: 30 },
    ],
  },
  {
    id: 'age-304-delay',
    section: 'RFC 9111 §4.2.3',
    name: 'the time that a validation took counts as age',
    steps: [
      { origin: ['Cache-Control: max-age=60', 'ETag: "a"'], from: 'origin' },
      { after: 70, origin: { ...notModified('ETag: "a"'), takesSec: 8 }, from: 'revalidated' },
      { after: 1, from: 'cache', age: 9 },
    ],
  },
  {
    id: 'age-304-forgets',
    section: 'RFC 9111 §4.2.3',
    name: 'the Age of the first response is over with a validation',
    steps: [
      { origin: ['Cache-Control: max-age=60', 'ETag: "a"', 'Age: 50'], from: 'origin' },
      { after: 20, origin: notModified('ETag: "a"'), from: 'revalidated' },
      { after: 30, from: 'cache', age: 30 },
    ],
  },
];
