import type { Message } from '../../wire.ts';
import { type Answer, type Case, failing, fieldValue, notModified, validated } from '../messages.ts';

const lifetime = 'Cache-Control: max-age=60';
const tagged = [lifetime, 'ETag: "a"'];

/** An origin that knows the tag: 304 to whoever has it, the whole to others. */
const knows =
  (tag: string, ...fields: string[]) =>
  (request: Message): Answer =>
    (fieldValue(request, 'If-None-Match') ?? '').includes(tag)
      ? { status: '304 Not Modified', fields: [`ETag: ${tag}`, ...fields] }
      : { fields: [`ETag: ${tag}`, ...fields] };

/** How a stored response is validated (RFC 9111 §4.3.1), and which one the answer is about (§4.3.3, §4.3.4). */
export const validation: Case[] = [
  {
    id: 'validate-etag',
    section: 'RFC 9111 §4.3.1',
    name: '[C3] the ETag goes back as If-None-Match; a 304 makes the stored response fresh again',
    steps: [
      ...validated(tagged, ['ETag: "a"'], { saw: { 'If-None-Match': '"a"', 'If-Modified-Since': null } }),
      { after: 59, from: 'cache', age: 59 },
    ],
  },
  {
    id: 'validate-weak',
    section: 'RFC 9111 §4.3.1',
    name: '[C3] a weak ETag goes back as it came',
    steps: [
      ...validated([lifetime, 'ETag: W/"a"'], ['ETag: W/"a"'], { saw: { 'If-None-Match': 'W/"a"' } }),
      { after: 59, from: 'cache', age: 59 },
    ],
  },
  {
    id: 'validate-tag-comma',
    section: 'RFC 9110 §8.8.3',
    name: '[C3] an ETag with a comma and a bracket in it is one tag',
    steps: validated([lifetime, 'ETag: "a,b{c}"'], ['ETag: "a,b{c}"'], { saw: { 'If-None-Match': '"a,b{c}"' } }),
  },
  {
    id: 'validate-tag-latin1',
    section: 'RFC 9110 §8.8.3',
    name: '[C3] an ETag with bytes over 0x7f goes back as it came',
    steps: validated([lifetime, 'ETag: "\xe4\xff"'], ['ETag: "\xe4\xff"'], { saw: { 'If-None-Match': '"\xe4\xff"' } }),
  },
  {
    id: 'validate-tag-empty',
    section: 'RFC 9110 §8.8.3',
    name: '[C3] an empty tag is a tag',
    steps: validated([lifetime, 'ETag: ""'], ['ETag: ""'], { saw: { 'If-None-Match': '""' } }),
  },
  {
    id: 'validate-last-modified',
    section: 'RFC 9111 §4.3.1',
    name: '[C4] Last-Modified goes back as If-Modified-Since; a 304 makes the stored response fresh again',
    steps: [
      ...validated([lifetime, 'Last-Modified: {start-1000}'], ['Last-Modified: {start-1000}'], {
        saw: { 'If-Modified-Since': '{start-1000}', 'If-None-Match': null },
      }),
      { after: 59, from: 'cache', age: 59 },
    ],
  },
  {
    id: 'validate-both',
    section: 'RFC 9111 §4.3.1',
    name: '[C3,C4] both validators go back',
    steps: validated([...tagged, 'Last-Modified: {start-1000}'], ['ETag: "a"'], {
      saw: { 'If-None-Match': '"a"', 'If-Modified-Since': '{start-1000}' },
    }),
  },
  {
    id: 'validate-none',
    section: 'RFC 9111 §4.3.1',
    name: 'without a validator the request has no condition',
    steps: [
      { origin: [lifetime], from: 'origin' },
      { after: 61, from: 'origin', saw: { 'If-None-Match': null, 'If-Modified-Since': null }, cs: 'fwd=stale' },
    ],
  },
  {
    id: 'validate-etag-alone',
    section: 'RFC 9111 §4.3',
    name: '[C2] an ETag without a lifetime: stored, and validated every time',
    steps: [
      { origin: ['ETag: "a"'], from: 'origin' },
      { origin: notModified('ETag: "a"'), from: 'revalidated', saw: { 'If-None-Match': '"a"' } },
      { after: 5, from: 'revalidated', saw: { 'If-None-Match': '"a"' } },
    ],
  },
  {
    id: 'validate-changed',
    section: 'RFC 9111 §4.3.3',
    name: 'a full response takes the place of the stored one, and its ETag is the one that goes back',
    steps: [
      { origin: tagged, from: 'origin' },
      {
        after: 61,
        origin: [lifetime, 'ETag: "b"'],
        from: 'origin',
        saw: { 'If-None-Match': '"a"' },
        cs: 'fwd=stale; stored',
      },
      { after: 59, from: 'cache', age: 59, fields: { ETag: '"b"' } },
      { after: 2, origin: notModified('ETag: "b"'), from: 'revalidated', saw: { 'If-None-Match': '"b"' } },
    ],
  },
  {
    id: 'validate-loses-etag',
    section: 'RFC 9111 §4.3.3',
    name: 'a full response without an ETag leaves nothing of the old one',
    steps: [
      { origin: tagged, from: 'origin' },
      { after: 61, origin: [lifetime], from: 'origin' },
      { after: 61, from: 'origin', saw: { 'If-None-Match': null } },
    ],
  },
  {
    id: 'validate-changed-no-store',
    section: 'RFC 9111 §4.3.3',
    name: 'a full response that is not stored: what is stored is not suitable any more either',
    steps: [
      { origin: tagged, from: 'origin' },
      {
        after: 1,
        send: ['Cache-Control: no-cache'],
        origin: ['Cache-Control: no-store'],
        from: 'origin',
        cs: '!stored',
      },
      { origin: [lifetime], from: 'origin' },
    ],
  },
  {
    id: 'validate-500',
    section: 'RFC 9111 §4.3.3',
    name: 'a 500 goes through where no stale answer is allowed; the stored response is validated the next time',
    steps: [
      { origin: tagged, from: 'origin' },
      { after: 61, origin: failing('500 Internal Server Error'), from: 'origin', cs: 'fwd=stale' },
      { origin: notModified('ETag: "a"'), from: 'revalidated', answer: 1, saw: { 'If-None-Match': '"a"' } },
    ],
  },
  {
    id: 'validate-404',
    section: 'RFC 9111 §4.3.3',
    name: '[C2] a 404 with a lifetime takes the place of the stored 200 by the RFC',
    modes: ['rfc9111'],
    steps: [
      { origin: tagged, from: 'origin' },
      { after: 61, origin: failing('404 Not Found', lifetime), from: 'origin' },
      { after: 1, from: 'cache', age: 1 },
    ],
  },
  {
    id: 'validate-closed',
    section: 'RFC 9111 §4.2.4',
    name: 'an origin that does not answer: an error, for no stale answer is allowed',
    steps: [
      { origin: tagged, from: 'origin' },
      { after: 61, origin: 'close', from: 'origin', status: 502 },
      { origin: notModified('ETag: "a"'), from: 'revalidated' },
    ],
  },
  {
    id: 'select-other-tag',
    section: 'RFC 9111 §4.3.4',
    name: 'a 304 with the ETag of no stored response is not used: asked again without conditions',
    steps: [
      { origin: tagged, from: 'origin' },
      {
        after: 61,
        origin: (request) =>
          fieldValue(request, 'If-None-Match') === undefined
            ? { fields: [lifetime, 'ETag: "b"'] }
            : { status: '304 Not Modified', fields: ['ETag: "b"'] },
        from: 'origin',
        asked: 2,
        saw: { 'If-None-Match': null, 'If-Modified-Since': null },
      },
      { after: 1, from: 'cache', fields: { ETag: '"b"' } },
    ],
  },
  {
    // Not by the letter (§4.3.4 wants strong comparison here): servers that compress on the way out, nginx for one, weaken
    // the tag of a 200 only, so nothing that they compress could ever be confirmed.
    id: 'select-strong-for-weak',
    section: 'RFC 9111 §4.3.4',
    name: 'deviation: a strong ETag in a 304 confirms the stored weak one of the same text',
    steps: [
      { origin: [lifetime, 'ETag: W/"a"'], from: 'origin' },
      { after: 61, origin: { status: '304 Not Modified', fields: ['ETag: "a"'] }, from: 'revalidated' },
      { after: 59, from: 'cache', age: 59 },
    ],
  },
  {
    id: 'select-no-tag',
    section: 'RFC 9111 §4.3.3',
    name: 'a 304 without an ETag to a request with one tag means that one',
    steps: [...validated(tagged, []), { after: 59, from: 'cache', age: 59 }],
  },
  {
    id: 'select-last-modified',
    section: 'RFC 9111 §4.3.4',
    name: 'a 304 with the same Last-Modified selects the stored response',
    steps: validated([lifetime, 'Last-Modified: {start-1000}'], ['Last-Modified: {start-1000}']),
  },
  {
    id: 'select-no-validator',
    section: 'RFC 9111 §4.3.3',
    name: 'a 304 without any validator to If-Modified-Since',
    steps: validated([lifetime, 'Last-Modified: {start-1000}'], []),
  },
  {
    id: 'select-client-tag',
    section: 'RFC 9111 §4.3.2',
    name: "the client's tags and the stored one go on together; a 304 with the stored one gives the client a 200",
    steps: [
      { origin: tagged, from: 'origin' },
      {
        after: 61,
        send: ['If-None-Match: "x", W/"y"'],
        origin: notModified('ETag: "a"'),
        from: 'revalidated',
        saw: { 'If-None-Match': /^(?=.*"a")(?=.*"x")(?=.*W\/"y")/ },
      },
      { after: 59, from: 'cache', age: 59 },
    ],
  },
  {
    id: 'select-clients-own',
    section: 'RFC 9111 §4.3.2',
    name: "a 304 with a tag of the client's is the client's",
    steps: [
      { origin: tagged, from: 'origin' },
      {
        after: 61,
        send: ['If-None-Match: "x"'],
        origin: notModified('ETag: "x"'),
        from: 'origin',
        saw: { 'If-None-Match': /^(?=.*"a")(?=.*"x")/ },
        fields: { ETag: '"x"' },
      },
      { origin: tagged, from: 'origin' },
    ],
  },
  {
    id: 'select-same-tag',
    section: 'RFC 9111 §4.3.2',
    name: 'a client with the stored tag: the 304 updates what is stored and goes to the client too',
    steps: [
      { origin: tagged, from: 'origin' },
      {
        after: 61,
        send: ['If-None-Match: "a"'],
        origin: notModified('ETag: "a"'),
        from: 'revalidated',
        status: 304,
        saw: { 'If-None-Match': '"a"' },
      },
      { after: 59, from: 'cache', age: 59, answer: 1 },
    ],
  },
  {
    id: 'select-changed',
    section: 'RFC 9111 §4.3.3',
    name: 'a client with an old tag gets the full response that came, and it is stored',
    steps: [
      { origin: tagged, from: 'origin' },
      { after: 61, send: ['If-None-Match: "a"'], origin: knows('"b"', lifetime), from: 'origin' },
      { after: 59, from: 'cache', age: 59, fields: { ETag: '"b"' } },
    ],
  },
  {
    id: 'select-same-date',
    section: 'RFC 9111 §4.3.2',
    name: "a client's If-Modified-Since of the stored date: the 304 updates what is stored and goes to the client too",
    steps: [
      { origin: [lifetime, 'Last-Modified: {start-1000}'], from: 'origin' },
      {
        after: 61,
        send: ['If-Modified-Since: {start-1000}'],
        origin: notModified('Last-Modified: {start-1000}'),
        from: 'revalidated',
        status: 304,
        saw: { 'If-Modified-Since': '{start-1000}' },
      },
      { after: 59, from: 'cache', age: 59, answer: 1 },
    ],
  },
];
