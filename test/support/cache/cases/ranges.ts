import { type Case, failing, notModified, type Script, type Step } from '../messages.ts';

const ten = '0123456789';
const digits = (...fields: string[]): Script => ({ fields: ['Cache-Control: max-age=60', ...fields], body: ten });
const tagged = digits('ETag: "a"');

/** A second later: a request for ranges that the cache answers with a part. */
const part = (range: string, body: string, contentRange: string, ...send: string[]): Step => ({
  after: 1,
  send: [`Range: ${range}`, ...send],
  from: 'cache',
  status: 206,
  body,
  age: 1,
  fields: { 'Content-Range': contentRange, 'Content-Length': String(body.length), 'Content-Type': 'text/plain' },
});

/** A second later: a Range that counts for nothing. */
const whole = (...send: string[]): Step => ({
  after: 1,
  send,
  from: 'cache',
  age: 1,
  fields: { 'Content-Range': null, 'Content-Length': '10' },
});

const unsatisfiable = (range: string): Step => ({
  after: 1,
  send: [`Range: ${range}`],
  from: 'cache',
  status: 416,
  fields: { 'Content-Range': 'bytes */10' },
});

const one = (id: string, section: string, name: string, step: Step, origin: Script = tagged): Case => ({
  id: `range-${id}`,
  section,
  name,
  steps: [{ origin, from: 'origin' }, step],
});

const byteSection = 'RFC 9110 §14.1.2';

/** Ranges from a stored complete 200 (RFC 9110 §14), and If-Range (§13.1.5). */
export const ranges: Case[] = [
  one('first', byteSection, 'the first bytes', part('bytes=0-3', '0123', 'bytes 0-3/10')),
  one('one-byte', byteSection, 'one byte', part('bytes=0-0', '0', 'bytes 0-0/10')),
  one('last-byte', byteSection, 'the last byte', part('bytes=9-9', '9', 'bytes 9-9/10')),
  one('middle', byteSection, 'some in the middle', part('bytes=4-6', '456', 'bytes 4-6/10')),
  one('all', byteSection, 'all bytes are a part too', part('bytes=0-9', ten, 'bytes 0-9/10')),
  one('open', byteSection, 'from one on', part('bytes=7-', '789', 'bytes 7-9/10')),
  one('open-all', byteSection, 'from the first on', part('bytes=0-', ten, 'bytes 0-9/10')),
  one('suffix', byteSection, 'the last three', part('bytes=-3', '789', 'bytes 7-9/10')),
  one('suffix-long', byteSection, 'more from the end than there are', part('bytes=-99', ten, 'bytes 0-9/10')),
  one('end-over', byteSection, 'an end behind the last byte', part('bytes=5-99', '56789', 'bytes 5-9/10')),
  one(
    'end-huge',
    byteSection,
    'an end that overflows',
    part('bytes=5-99999999999999999999999', '56789', 'bytes 5-9/10'),
  ),
  one('unit-case', 'RFC 9110 §14.1', 'units are read without regard to case', part('BYTES=1-2', '12', 'bytes 1-2/10')),
  one('empty-member', 'RFC 9110 §5.6.1', 'an empty member is none', part('bytes=1-2,', '12', 'bytes 1-2/10')),
  one('unsatisfiable', 'RFC 9110 §15.5.17', 'from behind the last byte: 416', unsatisfiable('bytes=10-')),
  one('unsatisfiable-far', 'RFC 9110 §15.5.17', 'far behind the last byte: 416', unsatisfiable('bytes=100-200')),
  one(
    'unsatisfiable-huge',
    'RFC 9110 §15.5.17',
    'a start that overflows: 416',
    unsatisfiable('bytes=99999999999999999999999-'),
  ),
  one('unsatisfiable-suffix', 'RFC 9110 §14.1.2', 'the last zero bytes: 416', unsatisfiable('bytes=-0')),
  one(
    'unsatisfiable-all',
    'RFC 9110 §15.5.17',
    'no range of several can be met: 416',
    unsatisfiable('bytes=10-11, 50-'),
  ),
  one('unit-unknown', 'RFC 9110 §14.2', 'an unknown unit is ignored', whole('Range: items=0-3')),
  one('unit-none', 'RFC 9110 §14.2', 'no unit: ignored', whole('Range: 0-3')),
  ...(
    [
      ['word', 'bytes=abc'],
      ['reversed', 'bytes=5-3'],
      ['nothing', 'bytes='],
      ['dash', 'bytes=-'],
      ['negative', 'bytes=--3'],
      ['hex', 'bytes=0x1-3'],
      ['one-bad', 'bytes=0-1, x'],
    ] as const
  ).map(([id, range]) =>
    one(`invalid-${id}`, 'RFC 9110 §14.2', `a Range that is none is ignored or refused, never half obeyed: ${range}`, {
      send: [`Range: ${range}`],
      from: 'cache',
      status: [200, 416],
      fields: { 'Content-Range': /^(?!bytes \d)/ },
    }),
  ),
  one('several', 'RFC 9110 §14.6', 'several ranges are one multipart body', {
    send: ['Range: bytes=0-1, 4-5,-2'],
    from: 'cache',
    status: 206,
    body: /^(?:\r\n)?--([^\r]+)\r\n(?=[\s\S]*?\r\n\r\n01\r\n)(?=[\s\S]*?\r\n\r\n45\r\n)(?=[\s\S]*?\r\n\r\n89\r\n)[\s\S]*\r\n--\1--(?:\r\n)?$/,
    fields: { 'Content-Type': /^multipart\/byteranges; ?boundary=/, 'Content-Range': null },
  }),
  one('several-heads', 'RFC 9110 §14.6', 'every part says its range and its type', {
    send: ['Range: bytes=0-1,8-9'],
    from: 'cache',
    status: 206,
    body: /^(?=[\s\S]*\r\nContent-Range: bytes 0-1\/10\r\n)(?=[\s\S]*\r\nContent-Range: bytes 8-9\/10\r\n)(?:[\s\S]*?\r\nContent-Type: text\/plain\r\n){2}/i,
    fields: { 'Content-Length': /^\d+$/ },
  }),
  one('several-one-met', 'RFC 9110 §15.3.7', 'of several the ones that can be met', {
    send: ['Range: bytes=2-3, 50-60'],
    from: 'cache',
    status: 206,
    body: /(?:^|\r\n\r\n)23(?:\r\n--|$)/,
  }),
  one(
    'keeps-fields',
    'RFC 9110 §15.3.7',
    'a 206 carries what the 200 would carry',
    {
      after: 1,
      send: ['Range: bytes=0-0'],
      from: 'cache',
      status: 206,
      body: '0',
      age: 1,
      fields: {
        ETag: '"a"',
        Date: '{start}',
        'Cache-Control': 'max-age=60',
        Expires: '{start+60}',
        Vary: 'X-A',
        'Content-Location': '/y',
      },
    },
    digits('ETag: "a"', 'Date: {start}', 'Expires: {start+60}', 'Vary: X-A', 'Content-Location: /y'),
  ),
  one(
    'chunked',
    'RFC 9111 §3.3',
    'a part of a response that came in chunks',
    part('bytes=2-4', '234', 'bytes 2-4/10'),
    {
      fields: ['Cache-Control: max-age=60'],
      body: ten,
      framing: 'chunked',
    },
  ),
  one(
    'no-validator',
    'RFC 9110 §14.2',
    'a part of a response without a validator',
    part('bytes=2-4', '234', 'bytes 2-4/10'),
    digits(),
  ),
  one('head', 'RFC 9110 §14.2', 'HEAD knows no ranges', { ...whole('Range: bytes=0-3'), method: 'HEAD' }),
  {
    id: 'range-404',
    section: 'RFC 9110 §14.2',
    name: 'a Range says nothing of a stored 404',
    modes: ['rfc9111'],
    steps: [
      { origin: { status: '404 Not Found', fields: ['Cache-Control: max-age=60'], body: ten }, from: 'origin' },
      { send: ['Range: bytes=0-3'], from: 'cache', fields: { 'Content-Range': null } },
    ],
  },
  one(
    'if-range',
    'RFC 9110 §13.1.5',
    'If-Range with the stored tag: the part',
    part('bytes=0-3', '0123', 'bytes 0-3/10', 'If-Range: "a"'),
  ),
  one(
    'if-range-other',
    'RFC 9110 §13.1.5',
    'If-Range with another tag: the whole',
    whole('Range: bytes=0-3', 'If-Range: "b"'),
  ),
  one(
    'if-range-weak',
    'RFC 9110 §13.1.5',
    'If-Range compares strongly: a weak tag of the client',
    whole('Range: bytes=0-3', 'If-Range: W/"a"'),
  ),
  one(
    'if-range-weak-both',
    'RFC 9110 §13.1.5',
    'If-Range compares strongly: weak tags that are equal',
    whole('Range: bytes=0-3', 'If-Range: W/"a"'),
    digits('ETag: W/"a"'),
  ),
  one(
    'if-range-no-tag',
    'RFC 9110 §13.1.5',
    'If-Range with a tag where none is stored',
    whole('Range: bytes=0-3', 'If-Range: "a"'),
    digits(),
  ),
  one(
    'if-range-unsatisfiable',
    'RFC 9110 §14.2',
    'If-Range that fails comes before 416',
    whole('Range: bytes=99-', 'If-Range: "b"'),
  ),
  one(
    'if-range-date',
    'RFC 9110 §13.1.5',
    'If-Range with the stored date, a strong one: the part',
    part('bytes=0-3', '0123', 'bytes 0-3/10', 'If-Range: {start-1000}'),
    digits('Last-Modified: {start-1000}'),
  ),
  one(
    'if-range-date-later',
    'RFC 9110 §13.1.5',
    'If-Range with a later date: equal is what counts',
    whole('Range: bytes=0-3', 'If-Range: {start-900}'),
    digits('Last-Modified: {start-1000}'),
  ),
  one(
    'if-range-date-earlier',
    'RFC 9110 §13.1.5',
    'If-Range with an earlier date',
    whole('Range: bytes=0-3', 'If-Range: {start-1001}'),
    digits('Last-Modified: {start-1000}'),
  ),
  one(
    'if-range-date-weak',
    'RFC 9110 §8.8.2.2',
    'If-Range with a date that is Date itself: it may have changed twice in that second',
    whole('Range: bytes=0-3', 'If-Range: {start}'),
    digits('Date: {start}', 'Last-Modified: {start}'),
  ),
  one('not-modified', 'RFC 9110 §13.2.2', 'If-None-Match comes before Range: 304', {
    send: ['Range: bytes=0-3', 'If-None-Match: "a"'],
    from: 'cache',
    status: 304,
  }),
  one(
    'modified',
    'RFC 9110 §13.2.2',
    'If-None-Match that holds leaves the Range',
    part('bytes=0-3', '0123', 'bytes 0-3/10', 'If-None-Match: "b"'),
  ),
  one(
    'not-modified-date',
    'RFC 9110 §13.2.2',
    'If-Modified-Since comes before Range: 304',
    { send: ['Range: bytes=0-3', 'If-Modified-Since: {start}'], from: 'cache', status: 304 },
    digits('Last-Modified: {start-1000}'),
  ),
  {
    id: 'range-miss',
    section: 'RFC 9111 §3.3',
    name: 'with nothing stored a Range goes to the origin as it is; the 206 is not stored',
    steps: [
      {
        send: ['Range: bytes=0-3', 'If-Range: "a"'],
        origin: {
          status: '206 Partial Content',
          fields: ['Cache-Control: max-age=60', 'ETag: "a"', 'Content-Range: bytes 0-3/10'],
          body: '0123',
        },
        from: 'origin',
        cs: '!stored',
        saw: { Range: 'bytes=0-3', 'If-Range': '"a"' },
      },
      { send: ['Range: bytes=0-3'], from: 'origin' },
      { origin: tagged, from: 'origin', saw: { Range: null, 'If-None-Match': null } },
      part('bytes=0-3', '0123', 'bytes 0-3/10'),
    ],
  },
  {
    id: 'range-miss-200',
    section: 'RFC 9110 §14.2',
    name: 'an origin that ignores the Range: its 200 goes to the client',
    steps: [
      { send: ['Range: bytes=0-3'], origin: tagged, from: 'origin', fields: { 'Content-Range': null } },
      { origin: tagged, from: 'origin' },
    ],
  },
  {
    id: 'range-miss-416',
    section: 'RFC 9110 §15.5.17',
    name: 'with nothing stored the 416 is that of the origin',
    steps: [
      {
        send: ['Range: bytes=99-'],
        origin: failing('416 Range Not Satisfiable', 'Content-Range: bytes */10'),
        from: 'origin',
      },
      { origin: tagged, from: 'origin' },
    ],
  },
  {
    id: 'range-stale',
    section: 'RFC 9111 §4.3.1',
    name: 'a part of a stale response: validated first, then served',
    steps: [
      { origin: tagged, from: 'origin' },
      {
        after: 61,
        send: ['Range: bytes=2-4'],
        origin: notModified('ETag: "a"'),
        from: 'revalidated',
        status: 206,
        body: '234',
        saw: { 'If-None-Match': '"a"' },
        fields: { 'Content-Range': 'bytes 2-4/10' },
      },
      { after: 5, from: 'cache', age: 5, answer: 1 },
    ],
  },
  {
    id: 'range-keeps-entry',
    section: 'RFC 9111 §3.3',
    name: 'parts leave what is stored as it is',
    steps: [
      { origin: tagged, from: 'origin' },
      part('bytes=0-3', '0123', 'bytes 0-3/10'),
      { after: 1, from: 'cache', age: 2, fields: { 'Content-Length': '10' } },
    ],
  },
];
