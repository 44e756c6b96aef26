import type { Case, Script, Step } from '../messages.ts';

const fresh: Script = ['Cache-Control: max-age=60'];
const section = 'RFC 9111 §4.4';

/** A stored response, a request of another method, and whether what was stored is still there. */
const around = (id: string, name: string, unsafe: Partial<Step>, survives: boolean, path = ''): Case => ({
  id: `invalidate-${id}`,
  section,
  name: `[C14] ${name}`,
  steps: [
    { path, origin: fresh, from: 'origin' },
    { method: 'POST', upload: 'x', from: 'origin', cs: 'fwd=method', ...unsafe },
    { path, origin: fresh, after: 1, from: survives ? 'cache' : 'origin' },
  ],
});

const answers = (status: string, ...fields: string[]): Partial<Step> => ({ origin: { status, fields } });
const created = (...fields: string[]): Partial<Step> => answers('201 Created', ...fields);

/** What requests that change something do to stored responses (RFC 9111 §4.4). */
export const invalidation: Case[] = [
  ...['POST', 'PUT', 'DELETE', 'PATCH', 'LOCK', 'MKCOL', 'M-SEARCH'].map((method) =>
    around(method.toLowerCase(), `${method} that succeeds`, { method, ...answers('200 OK') }, false),
  ),
  ...['201 Created', '202 Accepted', '204 No Content', '205 Reset Content', '299 Strange'].map((status) =>
    around(`status-${status.slice(0, 3)}`, `POST answered ${status}`, answers(status, 'Content-Type: x/y'), false),
  ),
  ...['301 Moved Permanently', '302 Found', '303 See Other', '307 Temporary Redirect'].map((status) =>
    around(
      `status-${status.slice(0, 3)}`,
      `POST answered ${status}: a redirection is no error`,
      answers(status, 'Location: /x'),
      false,
    ),
  ),
  ...[
    '400 Bad Request',
    '403 Forbidden',
    '404 Not Found',
    '409 Conflict',
    '422 Unprocessable Content',
    '500 Internal Server Error',
    '503 Service Unavailable',
  ].map((status) =>
    around(`status-${status.slice(0, 3)}`, `POST answered ${status}: an error changes nothing`, answers(status), true),
  ),
  around('no-store', 'POST whose response says no-store', answers('200 OK', 'Cache-Control: no-store'), false),
  around(
    'options',
    'OPTIONS is safe',
    { method: 'OPTIONS', upload: undefined, ...answers('200 OK') } as Partial<Step>,
    true,
  ),
  around('other-query', 'POST to another query', { path: '?other', ...answers('200 OK') }, true),
  around('other-path', 'POST to a path below', { path: '/below', ...answers('200 OK') }, true),
  around('other-host', 'POST to another host', { host: 'other.test', ...answers('200 OK') }, true),
  around('host-case', 'POST to the same host in capitals', { host: 'CACHE.TEST', ...answers('200 OK') }, false),
  around('location', 'Location, a path', created('Location: /invalidate-location/item'), false, '/item'),
  around(
    'location-relative',
    'Location, relative to the target',
    created('Location: invalidate-location-relative/item'),
    false,
    '/item',
  ),
  around(
    'location-absolute',
    'Location, a URL',
    created('Location: http://cache.test/invalidate-location-absolute/item'),
    false,
    '/item',
  ),
  around(
    'location-capitals',
    'Location, a URL with its host in capitals',
    created('Location: HTTP://CACHE.test/invalidate-location-capitals/item'),
    false,
    '/item',
  ),
  around(
    'location-port',
    'Location, a URL with the port that goes without saying',
    created('Location: http://cache.test:80/invalidate-location-port/item'),
    false,
    '/item',
  ),
  around(
    'location-query',
    'Location with a query',
    created('Location: /invalidate-location-query/item?a=b'),
    false,
    '/item?a=b',
  ),
  around(
    'location-fragment',
    'Location with a fragment',
    created('Location: /invalidate-location-fragment/item#part'),
    false,
    '/item',
  ),
  around(
    'location-scheme-relative',
    'Location without a scheme',
    created('Location: //cache.test/invalidate-location-scheme-relative/item'),
    false,
    '/item',
  ),
  around(
    'location-other-host',
    'Location on another host is none of its business',
    created('Location: http://other.test/invalidate-location-other-host/item'),
    true,
    '/item',
  ),
  around(
    'location-other-port',
    'Location on another port',
    created('Location: http://cache.test:8080/invalidate-location-other-port/item'),
    true,
    '/item',
  ),
  around(
    'location-user',
    'Location with another host behind a name',
    created('Location: http://cache.test@other.test/invalidate-location-user/item'),
    true,
    '/item',
  ),
  around(
    'location-error',
    'Location of an error',
    answers('409 Conflict', 'Location: /invalidate-location-error/item'),
    true,
    '/item',
  ),
  around('location-bad', 'Location that is no URL: the target goes all the same', created('Location: http://['), false),
  around(
    'content-location',
    'Content-Location, a path',
    answers('200 OK', 'Content-Location: /invalidate-content-location/item'),
    false,
    '/item',
  ),
  around(
    'content-location-absolute',
    'Content-Location, a URL',
    answers('200 OK', 'Content-Location: http://cache.test/invalidate-content-location-absolute/item'),
    false,
    '/item',
  ),
  around(
    'content-location-other-host',
    'Content-Location on another host',
    answers('200 OK', 'Content-Location: http://other.test/invalidate-content-location-other-host/item'),
    true,
    '/item',
  ),
  {
    id: 'invalidate-other-host-stored',
    section,
    name: '[C14] Location on another host leaves what is stored of that host',
    steps: [
      { host: 'other.test', path: '/item', origin: fresh, from: 'origin' },
      {
        method: 'POST',
        upload: 'x',
        origin: { status: '201 Created', fields: ['Location: http://other.test/invalidate-other-host-stored/item'] },
        from: 'origin',
      },
      { host: 'other.test', path: '/item', from: 'cache' },
    ],
  },
  {
    id: 'invalidate-both',
    section,
    name: '[C14] target, Location and Content-Location all at once',
    steps: [
      { origin: fresh, from: 'origin' },
      { path: '/a', from: 'origin' },
      { path: '/b', from: 'origin' },
      { path: '/c', from: 'origin' },
      {
        method: 'PUT',
        origin: {
          status: '201 Created',
          fields: ['Location: /invalidate-both/a', 'Content-Location: /invalidate-both/b'],
        },
        from: 'origin',
      },
      { origin: fresh, from: 'origin' },
      { path: '/a', from: 'origin' },
      { path: '/b', from: 'origin' },
      { path: '/c', from: 'cache' },
    ],
  },
  {
    id: 'invalidate-variants',
    section,
    name: '[C14] all variants of the URL',
    steps: [
      { origin: ['Cache-Control: max-age=60', 'Vary: X-A'], send: ['X-A: 1'], from: 'origin' },
      { send: ['X-A: 2'], from: 'origin' },
      { method: 'POST', upload: 'x', from: 'origin' },
      { send: ['X-A: 1'], from: 'origin' },
      { send: ['X-A: 2'], from: 'origin' },
    ],
  },
  {
    id: 'invalidate-sessions',
    section,
    name: '[C14] what is stored for one terminal alone, by whomever it is changed',
    steps: [
      { session: 'alice', origin: fresh, from: 'origin' },
      { session: 'bob', from: 'origin' },
      { method: 'POST', upload: 'x', session: 'bob', from: 'origin' },
      { session: 'alice', from: 'origin' },
      { session: 'bob', from: 'origin' },
      { session: 'alice', from: 'cache', answer: 4 },
    ],
  },
  {
    id: 'invalidate-get-location',
    section,
    name: '[C14] a Location of a GET changes nothing',
    steps: [
      { path: '/item', origin: fresh, from: 'origin' },
      { origin: { status: '302 Found', fields: ['Location: /invalidate-get-location/item'] }, from: 'origin' },
      { path: '/item', from: 'cache' },
    ],
  },
  {
    id: 'invalidate-closed',
    section,
    name: '[C14] a POST that nobody answered: no response, no non-error response',
    steps: [
      { origin: fresh, from: 'origin' },
      { method: 'POST', upload: 'x', origin: 'close', from: 'origin', status: 502 },
      { from: 'cache', answer: 1 },
    ],
  },
  {
    id: 'invalidate-then-stored',
    section,
    name: '[C14] what is fetched after the change is stored again',
    steps: [
      { origin: fresh, from: 'origin' },
      { method: 'DELETE', from: 'origin' },
      { from: 'origin', cs: 'stored' },
      { after: 59, from: 'cache', age: 59, answer: 3 },
    ],
  },
];
