import { type Case, type FieldExpectations, failing, notModified, type Step } from '../messages.ts';

const fresh = 'Cache-Control: max-age=60';
const tagged = [fresh, 'ETag: "a"'];
const dated = [fresh, 'Last-Modified: {start-1000}'];

/** What no 304 carries. */
const bare: FieldExpectations = { 'Content-Length': null, 'Content-Type': null };

/** A second later: a request with conditions, answered 304 by the cache. */
const not = (...send: string[]): Step => ({ after: 1, send, from: 'cache', status: 304, age: 1, fields: bare });
/** A second later: a request whose conditions hold, answered by the cache with what is stored. */
const whole = (...send: string[]): Step => ({ after: 1, send, from: 'cache', age: 1 });

/** Of one stored response a request and its answer. */
const one = (id: string, section: string, name: string, origin: readonly string[], step: Step): Case => ({
  id: `condition-${id}`,
  section,
  name,
  steps: [{ origin, from: 'origin' }, step],
});

/** The client's own conditions, answered from what is stored (RFC 9111 §4.3.2, RFC 9110 §13). */
export const conditions: Case[] = [
  one('tag', 'RFC 9110 §13.1.2', 'If-None-Match with the stored tag: 304', tagged, not('If-None-Match: "a"')),
  one(
    'other-tag',
    'RFC 9110 §13.1.2',
    'If-None-Match with another tag: the whole',
    tagged,
    whole('If-None-Match: "b"'),
  ),
  one('list', 'RFC 9110 §13.1.2', 'a list with the stored tag: 304', tagged, not('If-None-Match: "x", "a" , "y"')),
  one('list-others', 'RFC 9110 §13.1.2', 'a list of others: the whole', tagged, whole('If-None-Match: "x","y"')),
  one('lines', 'RFC 9110 §5.3', 'two lines are one list: 304', tagged, not('If-None-Match: "x"', 'If-None-Match: "a"')),
  one('star', 'RFC 9110 §13.1.2', 'If-None-Match: * where something is stored: 304', tagged, not('If-None-Match: *')),
  one(
    'star-no-tag',
    'RFC 9110 §13.1.2',
    'If-None-Match: * where it has no ETag: 304',
    [fresh],
    not('If-None-Match: *'),
  ),
  one(
    'weak-client',
    'RFC 9110 §13.1.2',
    'a weak tag of the client: weak comparison',
    tagged,
    not('If-None-Match: W/"a"'),
  ),
  one(
    'weak-stored',
    'RFC 9110 §13.1.2',
    'a weak tag that is stored',
    [fresh, 'ETag: W/"a"'],
    not('If-None-Match: "a"'),
  ),
  one('weak-both', 'RFC 9110 §13.1.2', 'weak tags both', [fresh, 'ETag: W/"a"'], not('If-None-Match: W/"a"')),
  one('weak-case', 'RFC 9110 §8.8.3', 'W/ is a capital letter', tagged, whole('If-None-Match: w/"a"')),
  one('tag-case', 'RFC 9110 §8.8.3', 'tags differ by case', tagged, whole('If-None-Match: "A"')),
  one('tag-part', 'RFC 9110 §8.8.3', 'a part of a tag is another', tagged, whole('If-None-Match: "aa"')),
  one('tag-unquoted', 'RFC 9110 §8.8.3', 'a tag without quotes is none', tagged, whole('If-None-Match: a')),
  one('tag-absent', 'RFC 9110 §13.1.2', 'a tag where it has no ETag: the whole', [fresh], whole('If-None-Match: "a"')),
  one(
    'tag-comma',
    'RFC 9110 §8.8.3',
    'a comma within a tag ends nothing',
    [fresh, 'ETag: "a,b"'],
    not('If-None-Match: "x", "a,b"'),
  ),
  one(
    'tag-comma-parts',
    'RFC 9110 §8.8.3',
    'the parts of a tag with a comma are not the tag',
    [fresh, 'ETag: "b"'],
    whole('If-None-Match: "a", "x,b,y"'),
  ),
  one('date', 'RFC 9110 §13.1.3', 'the stored date: 304', dated, not('If-Modified-Since: {start-1000}')),
  one('date-later', 'RFC 9110 §13.1.3', 'a later date: 304', dated, not('If-Modified-Since: {start-999}')),
  one('date-future', 'RFC 9110 §13.1.3', 'a date to come: 304', dated, not('If-Modified-Since: {start+9999}')),
  one(
    'date-earlier',
    'RFC 9110 §13.1.3',
    'an earlier date: the whole',
    dated,
    whole('If-Modified-Since: {start-1001}'),
  ),
  one('date-rfc850', 'RFC 9110 §5.6.7', 'in RFC 850', dated, not('If-Modified-Since: {start-1000|rfc850}')),
  one('date-asctime', 'RFC 9110 §5.6.7', 'in asctime', dated, not('If-Modified-Since: {start-1000|asctime}')),
  one('date-invalid', 'RFC 9110 §13.1.3', 'no date: ignored', dated, whole('If-Modified-Since: yesterday')),
  one('date-iso', 'RFC 9110 §13.1.3', 'no HTTP-date: ignored', dated, whole('If-Modified-Since: {start|iso}')),
  one('date-number', 'RFC 9110 §13.1.3', 'a number: ignored', dated, whole('If-Modified-Since: 0')),
  {
    id: 'condition-date-by-date',
    section: 'RFC 9111 §4.3.2',
    name: 'without Last-Modified the stored Date is compared, not the time of receipt',
    steps: [
      { origin: ['Cache-Control: max-age=100', 'Date: {start-50}'], from: 'origin' },
      { send: ['If-Modified-Since: {start-51}'], from: 'cache', age: 50 },
      { send: ['If-Modified-Since: {start-50}'], from: 'cache', status: 304, age: 50 },
      { send: ['If-Modified-Since: {start-10}'], from: 'cache', status: 304, age: 50 },
    ],
  },
  {
    id: 'condition-date-by-receipt',
    section: 'RFC 9111 §4.3.2',
    name: 'without Last-Modified and Date the time of receipt is compared',
    steps: [
      { origin: { fields: [fresh], noDate: true }, from: 'origin' },
      { after: 1, send: ['If-Modified-Since: {start-1}'], from: 'cache', age: 1 },
      { after: 1, send: ['If-Modified-Since: {start}'], from: 'cache', status: 304, age: 2 },
    ],
  },
  one(
    'both-tag-differs',
    'RFC 9110 §13.2.2',
    'If-None-Match wins over If-Modified-Since: another tag, a later date',
    [...dated, 'ETag: "a"'],
    whole('If-None-Match: "b"', 'If-Modified-Since: {start}'),
  ),
  one(
    'both-tag-matches',
    'RFC 9110 §13.2.2',
    'If-None-Match wins over If-Modified-Since: the stored tag, an earlier date',
    [...dated, 'ETag: "a"'],
    not('If-None-Match: "a"', 'If-Modified-Since: {start-5000}'),
  ),
  one(
    'both-no-tag',
    'RFC 9110 §13.2.2',
    'If-None-Match wins over If-Modified-Since, where no ETag is stored too',
    dated,
    whole('If-None-Match: "a"', 'If-Modified-Since: {start}'),
  ),
  {
    id: 'condition-304-fields',
    section: 'RFC 9110 §15.4.5',
    name: '[C13] what a 304 of the cache carries',
    steps: [
      {
        origin: [
          'Cache-Control: max-age=60, public',
          'ETag: "a"',
          'Date: {start}',
          'Expires: {start+60}',
          'Vary: X-A',
          'Content-Location: /here',
          'Content-Language: en',
        ],
        from: 'origin',
      },
      {
        after: 7,
        send: ['If-None-Match: "a"'],
        from: 'cache',
        status: 304,
        age: 7,
        cs: 'hit; ttl=53',
        fields: {
          'Cache-Control': 'max-age=60, public',
          ETag: '"a"',
          Date: '{start}',
          Expires: '{start+60}',
          Vary: 'X-A',
          'Content-Location': '/here',
          ...bare,
        },
      },
      { after: 1, from: 'cache', age: 8, fields: { 'Content-Language': 'en', 'Content-Type': 'text/plain' } },
    ],
  },
  {
    id: 'condition-404',
    section: 'RFC 9110 §13.2.1',
    name: 'conditions say nothing of a stored 404',
    modes: ['rfc9111'],
    steps: [
      { origin: failing('404 Not Found', ...tagged, 'Last-Modified: {start-1000}'), from: 'origin' },
      { send: ['If-None-Match: "a"'], from: 'cache' },
      { send: ['If-Modified-Since: {start}'], from: 'cache' },
      { send: ['If-None-Match: *'], from: 'cache' },
    ],
  },
  {
    id: 'condition-301',
    section: 'RFC 9110 §13.2.1',
    name: 'conditions say nothing of a stored redirect',
    modes: ['rfc9111'],
    steps: [
      { origin: { status: '301 Moved Permanently', fields: [...tagged, 'Location: /x'] }, from: 'origin' },
      { send: ['If-None-Match: "a"'], from: 'cache', fields: { Location: '/x' } },
    ],
  },
  {
    id: 'condition-203',
    section: 'RFC 9110 §13.2.1',
    name: 'conditions count for every 2xx',
    modes: ['rfc9111'],
    steps: [
      { origin: { status: '203 Non-Authoritative Information', fields: tagged }, from: 'origin' },
      { send: ['If-None-Match: "a"'], from: 'cache', status: 304 },
    ],
  },
  {
    id: 'condition-if-match',
    section: 'RFC 9111 §4.3.2',
    name: 'If-Match is for the origin, though it matches what is stored; its 412 comes through',
    steps: [
      { origin: tagged, from: 'origin' },
      {
        send: ['If-Match: "a"'],
        origin: failing('412 Precondition Failed'),
        from: 'origin',
        saw: { 'If-Match': '"a"', 'If-None-Match': null },
      },
      { from: 'cache', answer: 1 },
    ],
  },
  {
    id: 'condition-if-match-other',
    section: 'RFC 9111 §4.3.2',
    name: 'If-Match with another tag is for the origin too: no 412 of the cache',
    steps: [
      { origin: tagged, from: 'origin' },
      { send: ['If-Match: "b"'], origin: [fresh, 'ETag: "b"'], from: 'origin', saw: { 'If-Match': '"b"' } },
    ],
  },
  {
    id: 'condition-if-unmodified',
    section: 'RFC 9111 §4.3.2',
    name: 'If-Unmodified-Since is for the origin; its 412 comes through',
    steps: [
      { origin: dated, from: 'origin' },
      {
        send: ['If-Unmodified-Since: {start-2000}'],
        origin: failing('412 Precondition Failed'),
        from: 'origin',
        saw: { 'If-Unmodified-Since': '{start-2000}', 'If-Modified-Since': null },
      },
      { from: 'cache', answer: 1 },
    ],
  },
  {
    id: 'condition-if-match-miss',
    section: 'RFC 9111 §4.3.2',
    name: 'If-Match with nothing stored goes on as it is',
    steps: [
      {
        send: ['If-Match: "a"'],
        origin: failing('412 Precondition Failed'),
        from: 'origin',
        saw: { 'If-Match': '"a"' },
      },
    ],
  },
  {
    id: 'condition-miss-tag',
    section: 'RFC 9111 §4.3.2',
    name: "with nothing stored the client's If-None-Match goes on; the 304 is the client's and is not stored",
    steps: [
      {
        send: ['If-None-Match: "a"'],
        origin: notModified('ETag: "a"', fresh),
        from: 'origin',
        saw: { 'If-None-Match': '"a"' },
        cs: '!stored',
      },
      { origin: tagged, from: 'origin', saw: { 'If-None-Match': null } },
    ],
  },
  {
    id: 'condition-miss-date',
    section: 'RFC 9111 §4.3.2',
    name: "with nothing stored the client's If-Modified-Since goes on; the 304 is the client's and is not stored",
    steps: [
      {
        send: ['If-Modified-Since: {start-1000}'],
        origin: notModified('Last-Modified: {start-1000}', fresh),
        from: 'origin',
        saw: { 'If-Modified-Since': '{start-1000}' },
        cs: '!stored',
      },
      { origin: dated, from: 'origin', saw: { 'If-Modified-Since': null } },
    ],
  },
  {
    id: 'condition-miss-star',
    section: 'RFC 9111 §4.3.2',
    name: 'with nothing stored If-None-Match: * goes on',
    steps: [
      { send: ['If-None-Match: *'], origin: notModified('ETag: "a"'), from: 'origin', saw: { 'If-None-Match': '*' } },
    ],
  },
  {
    id: 'condition-miss-200',
    section: 'RFC 9111 §3',
    name: "a 200 to the client's condition is stored",
    steps: [
      { send: ['If-None-Match: "old"'], origin: tagged, from: 'origin', cs: 'fwd=uri-miss; stored' },
      { after: 1, from: 'cache', age: 1 },
    ],
  },
  {
    id: 'condition-miss-not-evaluated',
    section: 'RFC 9111 §4.3.2',
    name: "with nothing stored the condition is the origin's to evaluate: its 200 goes to the client, whatever its tag",
    steps: [{ send: ['If-None-Match: "a"'], origin: tagged, from: 'origin', saw: { 'If-None-Match': '"a"' } }],
  },
  {
    id: 'condition-keeps-entry',
    section: 'RFC 9111 §4.3.2',
    name: 'a 304 of the cache leaves what is stored as it is',
    steps: [
      { origin: tagged, from: 'origin' },
      { send: ['If-None-Match: "a"'], from: 'cache', status: 304 },
      { after: 59, from: 'cache', age: 59 },
    ],
  },
  {
    id: 'condition-if-range-alone',
    section: 'RFC 9110 §13.1.5',
    name: 'If-Range without Range means nothing',
    steps: [
      { origin: tagged, from: 'origin' },
      { send: ['If-Range: "b"'], from: 'cache' },
    ],
  },
];
