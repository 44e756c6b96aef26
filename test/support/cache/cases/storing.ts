import { type Case, neverFresh, neverStored, stored } from '../messages.ts';

const fresh = 'Cache-Control: max-age=60';

/** Which responses are stored (RFC 9111 §3), by their directives. */
export const storing: Case[] = [
  {
    id: 'store-no-store',
    section: 'RFC 9111 §5.2.2.5',
    name: '[C2] no-store: not stored, whatever else stands there',
    steps: neverStored(['Cache-Control: max-age=60, no-store', 'ETag: "a"', 'Expires: {now+60}']),
  },
  {
    id: 'store-no-store-alone',
    section: 'RFC 9111 §5.2.2.5',
    name: '[C2] no-store with validators: nothing is kept to validate',
    steps: neverStored(['Cache-Control: no-store', 'ETag: "a"', 'Last-Modified: {start-1000}']),
  },
  {
    id: 'store-no-store-case',
    section: 'RFC 9111 §5.2',
    name: 'no-store in capitals',
    steps: neverStored(['Cache-Control: Max-Age=60, NO-STORE', 'ETag: "a"']),
  },
  {
    id: 'store-no-store-argument',
    section: 'RFC 9111 §5.2',
    name: 'no-store with an argument that it does not have',
    steps: neverStored(['Cache-Control: max-age=60, no-store="x"', 'ETag: "a"']),
  },
  {
    id: 'store-no-store-public',
    section: 'RFC 9111 §3',
    name: 'no-store with public and s-maxage',
    steps: neverStored(['Cache-Control: public, s-maxage=60, no-store', 'ETag: "a"']),
  },
  {
    id: 'store-private',
    section: 'RFC 9111 §5.2.2.7',
    name: '[C12] private: not for a shared cache',
    steps: neverStored(['Cache-Control: private, max-age=60', 'ETag: "a"']),
  },
  {
    id: 'store-private-case',
    section: 'RFC 9111 §5.2',
    name: '[C12] private in capitals',
    steps: neverStored(['Cache-Control: PRIVATE, max-age=60', 'ETag: "a"']),
  },
  {
    id: 'store-private-s-maxage',
    section: 'RFC 9111 §3',
    name: '[C12] private with s-maxage: not stored',
    steps: neverStored(['Cache-Control: s-maxage=60, private', 'ETag: "a"']),
  },
  {
    id: 'store-private-expires',
    section: 'RFC 9111 §3',
    name: '[C12] private with Expires: not stored',
    steps: neverStored(['Cache-Control: private', 'Expires: {now+60}', 'Last-Modified: {start-100}']),
  },
  {
    id: 'store-no-cache',
    section: 'RFC 9111 §5.2.2.4',
    name: '[C2] no-cache: stored and asked for every time by the RFC, not stored in mode qal',
    steps: [
      { origin: ['Cache-Control: no-cache', 'ETag: "a"'], from: 'origin', qal: { from: 'origin', cs: '!stored' } },
      {
        origin: (request) =>
          request.fields.some(([name]) => name === 'If-None-Match')
            ? { status: '304 Not Modified', fields: ['ETag: "a"'] }
            : { fields: ['Cache-Control: no-cache', 'ETag: "a"'] },
        from: 'revalidated',
        saw: { 'If-None-Match': '"a"' },
        qal: { from: 'origin', saw: { 'If-None-Match': null } },
      },
    ],
  },
  {
    id: 'store-no-cache-max-age',
    section: 'RFC 9111 §5.2.2.4',
    name: 'no-cache with max-age: never answered without asking',
    steps: neverFresh(['Cache-Control: no-cache, max-age=60', 'ETag: "a"']),
  },
  {
    id: 'store-no-cache-fields',
    section: 'RFC 9111 §5.2.2.4',
    name: '[C2] no-cache with names: stored without those fields by the RFC, not stored in mode qal',
    steps: [
      {
        origin: ['Cache-Control: max-age=60, no-cache="X-One, x-two"', 'X-One: 1', 'X-Two: 2', 'X-Three: 3'],
        from: 'origin',
        fields: { 'X-One': '1', 'X-Two': '2' },
      },
      {
        from: 'cache',
        fields: { 'X-One': null, 'X-Two': null, 'X-Three': '3' },
        qal: { from: 'origin', fields: {} },
      },
    ],
  },
  {
    id: 'store-no-cache-fields-token',
    section: 'RFC 9111 §5.2',
    name: 'no-cache with a name that is not quoted',
    modes: ['rfc9111'],
    steps: [
      { origin: ['Cache-Control: max-age=60, no-cache=x-one', 'X-One: 1'], from: 'origin' },
      { from: 'cache', fields: { 'X-One': null } },
    ],
  },
  {
    id: 'store-private-fields',
    section: 'RFC 9111 §5.2.2.7',
    name: '[C12] private with names: the rest is stored without those fields',
    modes: ['rfc9111'],
    steps: [
      {
        origin: ['Cache-Control: max-age=60, private="X-One, X-TWO"', 'X-One: 1', 'x-two: 2', 'X-Three: 3'],
        from: 'origin',
        fields: { 'X-One': '1', 'X-Two': '2' },
      },
      { from: 'cache', fields: { 'X-One': null, 'X-Two': null, 'X-Three': '3' } },
    ],
  },
  {
    id: 'store-private-fields-token',
    section: 'RFC 9111 §5.2',
    name: '[C12] private with a name that is not quoted',
    modes: ['rfc9111'],
    steps: [
      { origin: ['Cache-Control: max-age=60, private=X-One', 'X-One: 1'], from: 'origin' },
      { from: 'cache', fields: { 'X-One': null } },
    ],
  },
  {
    id: 'store-private-twice',
    section: 'RFC 9111 §4.2.1',
    name: '[C12] private with names and private without: the stricter counts',
    steps: neverFresh(['Cache-Control: max-age=60, private="X-One"', 'Cache-Control: private', 'X-One: 1']),
  },
  {
    id: 'store-must-revalidate',
    section: 'RFC 9111 §5.2.2.2',
    name: '[C2] must-revalidate: fresh as long as max-age says by the RFC, not stored in mode qal',
    steps: [
      {
        origin: ['Cache-Control: max-age=60, must-revalidate'],
        from: 'origin',
        qal: { from: 'origin', cs: '!stored' },
      },
      { after: 59, from: 'cache', age: 59, qal: { from: 'origin' } },
      { after: 1, from: 'origin' },
    ],
  },
  {
    id: 'store-proxy-revalidate',
    section: 'RFC 9111 §5.2.2.8',
    name: 'proxy-revalidate: fresh as long as max-age says',
    steps: stored(['Cache-Control: max-age=60, proxy-revalidate']),
  },
  {
    id: 'store-proxy-revalidate-alone',
    section: 'RFC 9111 §5.2.2.8',
    name: 'proxy-revalidate alone is no lifetime',
    steps: neverFresh(['Cache-Control: proxy-revalidate']),
  },
  {
    id: 'store-no-transform',
    section: 'RFC 9111 §5.2.2.6',
    name: 'no-transform: stored, and passed on',
    steps: stored(['Cache-Control: max-age=60, no-transform'], {
      fields: { 'Cache-Control': 'max-age=60, no-transform' },
    }),
  },
  {
    id: 'store-must-understand',
    section: 'RFC 9111 §5.2.2.3',
    name: '[C2] must-understand with no-store and a status that is understood: stored; not in mode qal',
    steps: [
      { origin: ['Cache-Control: must-understand, no-store, max-age=60'], from: 'origin' },
      { from: 'cache', qal: { from: 'origin' } },
    ],
  },
  {
    id: 'store-must-understand-no-store-first',
    section: 'RFC 9111 §5.2.2.3',
    name: 'must-understand behind no-store: the order makes no difference',
    modes: ['rfc9111'],
    steps: stored(['Cache-Control: no-store, max-age=60, must-understand']),
  },
  ...['302 Found', '303 See Other', '307 Temporary Redirect', '404 Not Found', '410 Gone'].map(
    (status): Case => ({
      id: `store-must-understand-${status.slice(0, 3)}`,
      section: 'RFC 9111 §5.2.2.3',
      name: `must-understand with no-store and ${status}: understood, stored`,
      modes: ['rfc9111'],
      steps: [
        { origin: { status, fields: ['Cache-Control: must-understand, no-store, max-age=60'] }, from: 'origin' },
        { from: 'cache' },
      ],
    }),
  ),
  ...['201 Created', '299 Strange', '418 Teapot', '499 Strange', '599 Strange'].map(
    (status): Case => ({
      id: `store-must-understand-${status.slice(0, 3)}`,
      section: 'RFC 9111 §3',
      name: `must-understand and ${status}, which the cache does not understand: not stored, without no-store too`,
      steps: neverStored({ status, fields: ['Cache-Control: must-understand, max-age=60', 'ETag: "a"'] }),
    }),
  ),
  {
    id: 'store-set-cookie',
    section: 'C12',
    name: '[C12] a response with Set-Cookie is not stored, though it is fresh: stricter than RFC 9111 §7.3',
    steps: neverStored([fresh, 'Set-Cookie: user=1', 'ETag: "a"']),
  },
  {
    id: 'store-set-cookie-public',
    section: 'RFC 9111 §7.3',
    name: '[C12] a response with Set-Cookie that says public is stored',
    steps: stored(['Cache-Control: public, max-age=60', 'Set-Cookie: theme=1']),
  },
  {
    id: 'store-set-cookie-s-maxage',
    section: 'RFC 9111 §7.3',
    name: '[C12] a response with Set-Cookie that says s-maxage is stored',
    steps: stored(['Cache-Control: s-maxage=60', 'Set-Cookie: theme=1']),
  },
  {
    id: 'store-set-cookie-private-field',
    section: 'RFC 9111 §5.2.2.7',
    name: '[C12] public, private="Set-Cookie": stored, the cookie goes to the first client alone',
    modes: ['rfc9111'],
    steps: [
      {
        origin: ['Cache-Control: public, max-age=60, private="Set-Cookie"', 'Set-Cookie: user=1'],
        from: 'origin',
        fields: { 'Set-Cookie': 'user=1' },
      },
      { from: 'cache', fields: { 'Set-Cookie': null } },
    ],
  },
  {
    id: 'store-off',
    section: 'C13',
    name: 'mode off: everything goes to the origin, and nothing of the cache shows',
    modes: ['off'],
    steps: [
      { origin: ['Cache-Control: public, max-age=60', 'ETag: "a"'], from: 'origin', age: null },
      { from: 'origin', age: null, fields: { 'Cache-Status': null, Age: null }, saw: { 'If-None-Match': null } },
      {
        after: 61,
        origin: ['Cache-Status: Other; hit', 'Age: 7'],
        from: 'origin',
        fields: { 'Cache-Status': 'Other; hit', Age: '7' },
      },
    ],
  },
];
