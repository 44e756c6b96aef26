import { type Case, notModified, validated } from '../messages.ts';

const lifetime = 'Cache-Control: max-age=60';
const tagged = [lifetime, 'ETag: "a"'];

/** What a 304 does to the stored response (RFC 9111 §3.2). */
export const updates: Case[] = [
  {
    id: 'update-fields',
    section: 'RFC 9111 §3.2',
    name: '[C3] a 304 replaces the fields that it has; the others stay',
    steps: [
      ...validated(
        [...tagged, 'X-Old: 1', 'X-Both: 1', 'X-Lines: 1', 'X-Lines: 2', 'Content-Language: de'],
        ['ETag: "a"', 'x-both: 2', 'X-Lines: 3', 'X-New: 4', 'Content-Language: en'],
        { fields: { 'X-Old': '1', 'X-Both': '2', 'X-Lines': '3', 'X-New': '4', 'Content-Language': 'en' } },
      ),
      {
        from: 'cache',
        fields: { 'X-Old': '1', 'X-Both': '2', 'X-Lines': '3', 'X-New': '4', 'Content-Language': 'en' },
      },
    ],
  },
  {
    id: 'update-lines',
    section: 'RFC 9111 §3.2',
    name: 'all lines of a 304 replace all lines that were there',
    steps: [
      ...validated([...tagged, 'Link: </a>'], ['ETag: "a"', 'Link: </b>', 'Link: </c>']),
      { from: 'cache', fields: { Link: '</b>, </c>' } },
    ],
  },
  {
    id: 'update-date',
    section: 'RFC 9111 §3.2',
    name: 'Date is that of the 304',
    steps: [
      ...validated([...tagged, 'Date: {start}'], ['ETag: "a"', 'Date: {start+61}'], { fields: { Date: '{start+61}' } }),
      { after: 5, from: 'cache', age: 5, fields: { Date: '{start+61}' } },
    ],
  },
  {
    id: 'update-lifetime',
    section: 'RFC 9111 §3.2',
    name: 'the lifetime is that of the 304',
    steps: [
      ...validated(tagged, ['ETag: "a"', 'Cache-Control: max-age=10'], { fields: { 'Cache-Control': 'max-age=10' } }),
      { after: 9, from: 'cache', age: 9 },
      { after: 1, from: 'revalidated' },
    ],
  },
  {
    id: 'update-expires',
    section: 'RFC 9111 §3.2',
    name: 'Expires is that of the 304',
    steps: [
      ...validated(['Expires: {start+60}', 'ETag: "a"'], ['ETag: "a"', 'Expires: {start+91}']),
      { after: 29, from: 'cache', age: 29, fields: { Expires: '{start+91}' } },
      { after: 1, from: 'revalidated' },
    ],
  },
  {
    id: 'update-keeps-lifetime',
    section: 'RFC 9111 §4.3.4',
    name: 'a 304 without a lifetime leaves the stored one, from the moment of the 304',
    steps: [
      ...validated(tagged, ['ETag: "a"']),
      { after: 59, from: 'cache', age: 59, cs: 'hit; ttl=1' },
      { after: 1, from: 'revalidated' },
    ],
  },
  {
    id: 'update-no-store',
    section: 'RFC 9111 §5.2.2.5',
    name: 'a 304 that says no-store ends the storing',
    steps: [...validated(tagged, ['ETag: "a"', 'Cache-Control: no-store']), { origin: tagged, from: 'origin' }],
  },
  {
    id: 'update-private',
    section: 'RFC 9111 §5.2.2.7',
    name: '[C12] a 304 that says private ends the storing in a shared cache',
    steps: [
      ...validated(tagged, ['ETag: "a"', 'Cache-Control: private, max-age=60']),
      { origin: tagged, from: 'origin' },
    ],
  },
  {
    id: 'update-content-length',
    section: 'RFC 9111 §3.2',
    name: 'the Content-Length of a 304 changes nothing',
    steps: [
      ...validated([...tagged], ['ETag: "a"', 'Content-Length: 999'], {
        fields: { 'Content-Length': String('update-content-length answer 1'.length) },
      }),
      { from: 'cache', fields: { 'Content-Length': String('update-content-length answer 1'.length) } },
    ],
  },
  {
    id: 'update-content-encoding',
    section: 'RFC 9111 §3.2',
    name: 'the stored bytes depend on Content-Encoding: a 304 does not change it',
    steps: [
      ...validated([...tagged, 'Content-Encoding: br'], ['ETag: "a"', 'Content-Encoding: gzip']),
      { from: 'cache', fields: { 'Content-Encoding': 'br' } },
    ],
  },
  {
    id: 'update-content-range',
    section: 'RFC 9111 §3.2',
    name: 'a 304 brings no Content-Range',
    steps: [
      ...validated(tagged, ['ETag: "a"', 'Content-Range: bytes 0-1/2']),
      { from: 'cache', fields: { 'Content-Range': null } },
    ],
  },
  {
    id: 'update-connection',
    section: 'RFC 9111 §3.2',
    name: 'what Connection of a 304 names is not taken over',
    steps: [
      ...validated(tagged, ['ETag: "a"', 'Connection: X-Hop', 'X-Hop: 1'], { fields: { 'X-Hop': null } }),
      { from: 'cache', fields: { 'X-Hop': null } },
    ],
  },
  {
    id: 'update-hop-by-hop',
    section: 'RFC 9111 §3.2',
    name: 'fields of one connection are not taken over from a 304',
    steps: [
      ...validated(tagged, ['ETag: "a"', 'Keep-Alive: timeout=77', 'Proxy-Authenticate: Basic', 'Upgrade: h2c']),
      { from: 'cache', fields: { 'Keep-Alive': /^(?!.*77)/, 'Proxy-Authenticate': null, Upgrade: null } },
    ],
  },
  {
    id: 'update-twice',
    section: 'RFC 9111 §3.2',
    name: 'every validation updates what the one before has left',
    steps: [
      ...validated([...tagged, 'X-One: 1'], ['ETag: "a"', 'X-Two: 2']),
      { after: 61, origin: notModified('ETag: "a"', 'X-One: 3'), from: 'revalidated' },
      { from: 'cache', fields: { 'X-One': '3', 'X-Two': '2' } },
    ],
  },
  {
    id: 'update-vary',
    section: 'RFC 9111 §3.2',
    name: 'a Vary that comes with a 304 counts from then on',
    steps: [
      { origin: tagged, send: ['X-A: 1'], from: 'origin' },
      { after: 61, send: ['X-A: 1'], origin: notModified('ETag: "a"', 'Vary: X-A'), from: 'revalidated' },
      { send: ['X-A: 1'], from: 'cache' },
      { send: ['X-A: 2'], origin: tagged, from: 'origin' },
    ],
  },
];
