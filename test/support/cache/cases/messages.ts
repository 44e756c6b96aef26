import { type Case, stored } from '../messages.ts';

const fresh = 'Cache-Control: max-age=60';

/** What of a response is kept (RFC 9111 §3.1), and whether all of it came (§3.3). */
export const messages: Case[] = [
  {
    id: 'store-all-fields',
    section: 'RFC 9111 §3.1',
    name: 'all fields are stored, the unknown ones too, with all their lines in order',
    steps: stored(
      [
        fresh,
        'X-Unknown: 1',
        'Link: </a>; rel=x',
        'X-Other: \xe4',
        'Link: </b>; rel=y',
        'Content-Language: en',
        'Content-Location: /elsewhere',
        'Vary:',
        'Allow: GET',
      ],
      {
        fields: {
          'X-Unknown': '1',
          'X-Other': '\xe4',
          Link: '</a>; rel=x, </b>; rel=y',
          'Content-Language': 'en',
          'Content-Location': '/elsewhere',
          Allow: 'GET',
          'Content-Type': 'text/plain',
        },
      },
    ),
  },
  {
    id: 'store-content-encoding',
    section: 'RFC 9111 §3.1',
    name: 'a body comes back in the coding in which it came',
    steps: stored([fresh, 'Content-Encoding: gzip'], { fields: { 'Content-Encoding': 'gzip' } }),
  },
  {
    id: 'store-connection-named',
    section: 'RFC 9111 §3.1',
    name: 'what Connection names is not stored',
    steps: stored([fresh, 'Connection: X-Hop, keep-alive', 'X-Hop: 1', 'X-End: 2'], {
      fields: { 'X-Hop': null, 'X-End': '2' },
    }),
  },
  {
    id: 'store-hop-by-hop',
    section: 'RFC 9110 §7.6.1',
    name: 'fields of one connection are not stored',
    steps: stored([fresh, 'Keep-Alive: timeout=77', 'Proxy-Connection: keep-alive', 'Upgrade: h2c', 'TE: trailers'], {
      fields: { 'Keep-Alive': /^(?!.*77)/, 'Proxy-Connection': null, Upgrade: null, TE: null },
    }),
  },
  {
    id: 'store-proxy-fields',
    section: 'RFC 9111 §3.1',
    name: 'fields of a proxy are not stored',
    steps: stored([fresh, 'Proxy-Authenticate: Basic', 'Proxy-Authorization: x', 'Proxy-Authentication-Info: y'], {
      fields: { 'Proxy-Authenticate': null, 'Proxy-Authorization': null, 'Proxy-Authentication-Info': null },
    }),
  },
  {
    id: 'store-chunked',
    section: 'RFC 9112 §8',
    name: 'a chunked response is complete with its last chunk: stored',
    steps: [
      { origin: { fields: [fresh], framing: 'chunked' }, from: 'origin' },
      { from: 'cache', age: 0 },
    ],
  },
  {
    id: 'store-until-close',
    section: 'RFC 9112 §8',
    name: 'a response that ends with its connection may be cut short: it goes through and is not stored (ours; a MAY)',
    steps: [
      { origin: { fields: [fresh, 'ETag: "a"'], framing: 'close' }, from: 'origin', cs: '!stored' },
      { from: 'origin', saw: { 'If-None-Match': null } },
    ],
  },
  {
    id: 'store-empty-body',
    section: 'RFC 9111 §3',
    name: 'an empty body is a body',
    steps: [
      { origin: { fields: [fresh], body: '' }, from: 'origin' },
      { from: 'cache', fields: { 'Content-Length': '0' } },
    ],
  },
  {
    id: 'store-cut-length',
    section: 'RFC 9111 §3.3',
    name: 'a body shorter than its Content-Length: the client is cut off, nothing is stored',
    steps: [
      {
        origin: { raw: `HTTP/1.1 200 OK\r\nDate: {now}\r\n${fresh}\r\nContent-Length: 100\r\n\r\nshort` },
        from: 'cut',
      },
      { origin: [fresh], from: 'origin', cs: 'fwd=uri-miss' },
    ],
  },
  {
    id: 'store-cut-chunked',
    section: 'RFC 9111 §3.3',
    name: 'a chunked body without its last chunk: the client is cut off, nothing is stored',
    steps: [
      {
        origin: {
          raw: `HTTP/1.1 200 OK\r\nDate: {now}\r\n${fresh}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n`,
        },
        from: 'cut',
      },
      { origin: [fresh], from: 'origin', cs: 'fwd=uri-miss' },
    ],
  },
  {
    id: 'store-cut-in-chunk',
    section: 'RFC 9111 §3.3',
    name: 'a body that ends within a chunk: the client is cut off, nothing is stored',
    steps: [
      {
        origin: { raw: `HTTP/1.1 200 OK\r\nDate: {now}\r\n${fresh}\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nshort` },
        from: 'cut',
      },
      { origin: [fresh], from: 'origin', cs: 'fwd=uri-miss' },
    ],
  },
  {
    id: 'store-cut-keeps-old',
    section: 'RFC 9111 §3.3',
    name: 'an incomplete response does not come in place of a stored one as if it were whole',
    steps: [
      { origin: [fresh, 'ETag: "a"'], from: 'origin' },
      {
        after: 61,
        origin: { raw: `HTTP/1.1 200 OK\r\nDate: {now}\r\n${fresh}\r\nContent-Length: 100\r\n\r\nshort` },
        from: 'cut',
      },
      { origin: [fresh, 'ETag: "b"'], from: 'origin' },
      { from: 'cache', fields: { ETag: '"b"' } },
    ],
  },
  {
    id: 'store-interim',
    section: 'RFC 9111 §3',
    name: 'of a 103 and a 200 the final one is stored',
    steps: [
      { origin: { interim: 'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n', fields: [fresh] }, from: 'origin' },
      { from: 'cache', fields: { Link: null } },
    ],
  },
  {
    id: 'store-206-unasked',
    section: 'RFC 9111 §3.3',
    name: 'a 206 that nobody asked for goes through and is not stored',
    steps: [
      {
        origin: { status: '206 Partial Content', fields: [fresh, 'Content-Range: bytes 0-3/10'], body: '0123' },
        from: 'origin',
        cs: '!stored',
      },
      { origin: [fresh], from: 'origin' },
    ],
  },
  {
    id: 'store-304-unasked',
    section: 'RFC 9111 §3',
    name: 'a 304 to a request without conditions goes through and is not stored',
    steps: [
      { origin: { status: '304 Not Modified', fields: [fresh, 'ETag: "a"'] }, from: 'origin', cs: '!stored' },
      { origin: [fresh], from: 'origin', saw: { 'If-None-Match': null } },
      { from: 'cache' },
    ],
  },
];
