import { type Case, neverStored, notModified, type Script, type Step } from '../messages.ts';

const fresh: Script = ['Cache-Control: max-age=60'];
const basic = ['Authorization: Basic YWxpY2U6eA=='];

/** Fetched by alice; then everybody else is served from the cache. */
const shared = (origin: Script): Step[] => [
  { origin, session: 'alice', from: 'origin', cs: 'stored' },
  { session: 'bob', from: 'cache' },
  { session: 'guest', from: 'cache' },
  { from: 'cache' },
  { session: 'alice', from: 'cache' },
];

/** Who may get whose response (C12, RFC 9111 §3.5, §7.3). */
export const sharing: Case[] = [
  {
    id: 'share-session-alone',
    section: 'C12',
    name: '[C12] a response to a session is stored for its terminal and account alone',
    steps: [
      { origin: fresh, session: 'alice', from: 'origin', cs: 'stored' },
      { session: 'bob', from: 'origin' },
      { from: 'origin' },
      { session: 'guest', from: 'origin' },
      { after: 1, session: 'alice', from: 'cache', age: 1, answer: 1 },
      { session: 'bob', from: 'cache', age: 1, answer: 2 },
      { from: 'cache', age: 1, answer: 3 },
      { session: 'guest', from: 'cache', age: 1, answer: 4 },
    ],
  },
  {
    id: 'share-same-account',
    section: 'C12',
    name: '[C12] the same account on another terminal is another',
    steps: [
      { origin: fresh, session: 'alice', from: 'origin' },
      { session: 'elsewhere', from: 'origin' },
      { session: 'alice', from: 'cache', answer: 1 },
    ],
  },
  {
    id: 'share-same-terminal',
    section: 'C12',
    name: '[C12] another account on the same terminal is another',
    steps: [
      { origin: fresh, session: 'alice', from: 'origin' },
      { session: 'carol', from: 'origin' },
      { session: 'alice', from: 'cache', answer: 1 },
      { session: 'carol', from: 'cache', answer: 2 },
    ],
  },
  {
    id: 'share-renewed',
    section: 'C12',
    name: '[C12] a renewed token of the same terminal and account is the same',
    steps: [
      { origin: ['Cache-Control: max-age=6000'], session: 'alice', from: 'origin' },
      { after: 1_000, session: 'alice', from: 'cache', age: 1_000 },
    ],
  },
  {
    id: 'share-public',
    section: 'C12',
    name: '[C12] public: for everybody',
    steps: shared(['Cache-Control: public, max-age=60']),
  },
  {
    id: 'share-s-maxage',
    section: 'C12',
    name: '[C12] s-maxage: for everybody',
    steps: shared(['Cache-Control: s-maxage=60']),
  },
  {
    id: 'share-route',
    section: 'C12',
    name: '[C12] a route that is shared: for everybody',
    setting: 'sharedRoute',
    steps: shared(fresh),
  },
  {
    id: 'share-route-private',
    section: 'C12',
    name: '[C12] private, of a route that is shared: for nobody',
    setting: 'sharedRoute',
    steps: [
      { origin: ['Cache-Control: private, max-age=60'], session: 'alice', from: 'origin', cs: '!stored' },
      { session: 'bob', from: 'origin' },
      { from: 'origin' },
    ],
  },
  {
    id: 'share-private-session',
    section: 'RFC 9111 §5.2.2.7',
    name: '[C12] private: not stored, for its own session neither',
    steps: [
      { origin: ['Cache-Control: private, max-age=60'], session: 'alice', from: 'origin', cs: '!stored' },
      { session: 'alice', from: 'origin' },
    ],
  },
  {
    id: 'share-public-anonymous-first',
    section: 'C12',
    name: '[C12] public, fetched by somebody without a session: for sessions too',
    steps: [
      { origin: ['Cache-Control: public, max-age=60'], from: 'origin' },
      { session: 'alice', from: 'cache' },
    ],
  },
  {
    id: 'share-anonymous-first',
    section: 'C12',
    name: '[C12] what was stored for nobody in particular is no answer to a session, which its backend may know',
    steps: [
      { origin: fresh, from: 'origin' },
      { session: 'alice', from: 'origin' },
      { from: 'cache', answer: 1 },
      { session: 'alice', from: 'cache', answer: 2 },
    ],
  },
  {
    id: 'share-validates-own',
    section: 'C12',
    name: "[C3,C12] a session validates what is its own, never with another's tag",
    steps: [
      { origin: ['Cache-Control: max-age=60', 'ETag: "alice"'], session: 'alice', from: 'origin' },
      {
        origin: ['Cache-Control: max-age=60', 'ETag: "bob"'],
        session: 'bob',
        from: 'origin',
        saw: { 'If-None-Match': null },
      },
      {
        after: 61,
        origin: notModified('ETag: "alice"'),
        session: 'alice',
        from: 'revalidated',
        answer: 1,
        saw: { 'If-None-Match': '"alice"' },
      },
      {
        origin: notModified('ETag: "bob"'),
        session: 'bob',
        from: 'revalidated',
        answer: 2,
        saw: { 'If-None-Match': '"bob"' },
      },
    ],
  },
  {
    id: 'share-stale-own',
    section: 'C12',
    name: "[C9,C12] a stale response is its session's own too",
    steps: [
      {
        origin: ['Cache-Control: max-age=15', 'QAL-Cache-Control: max-stale-age=60'],
        session: 'alice',
        from: 'origin',
      },
      { after: 20, session: 'bob', from: 'origin' },
      { session: 'alice', from: 'cache', age: 20, answer: 1, refresh: true, saw: { 'QAL-Account': 'alice' } },
      { session: 'alice', from: 'cache', age: 0, poll: true, answer: 3 },
    ],
  },
  {
    id: 'share-error-own',
    section: 'C12',
    name: "[C12] what may be served on an error is its session's own",
    steps: [
      { origin: ['Cache-Control: max-age=10, stale-if-error=600'], session: 'alice', from: 'origin' },
      { after: 20, origin: { status: '503 Service Unavailable' }, session: 'bob', from: 'origin' },
      { session: 'alice', from: 'fallback', answer: 1 },
    ],
  },
  {
    id: 'share-condition-other',
    section: 'C12',
    name: "[C12] a tag that matches another's response is no 304",
    steps: [
      { origin: ['Cache-Control: max-age=60', 'ETag: "a"'], session: 'alice', from: 'origin' },
      {
        session: 'bob',
        send: ['If-None-Match: "a"'],
        origin: ['Cache-Control: max-age=60', 'ETag: "b"'],
        from: 'origin',
        saw: { 'If-None-Match': '"a"' },
      },
    ],
  },
  {
    id: 'share-only-if-cached-other',
    section: 'C12',
    name: "[C12] only-if-cached does not find another's response",
    steps: [
      { origin: fresh, session: 'alice', from: 'origin' },
      { session: 'bob', send: ['Cache-Control: only-if-cached'], from: 'proxy', status: 504 },
      { session: 'alice', send: ['Cache-Control: only-if-cached'], from: 'cache' },
    ],
  },
  {
    id: 'share-vary-account',
    section: 'C12',
    name: '[C12] public with Vary: QAL-Account: every account has its own, on all its terminals',
    steps: [
      { origin: ['Cache-Control: public, max-age=60', 'Vary: QAL-Account'], session: 'alice', from: 'origin' },
      { session: 'bob', from: 'origin', cs: 'fwd=vary-miss' },
      { session: 'elsewhere', from: 'cache', answer: 1 },
      { from: 'origin', cs: 'fwd=vary-miss' },
    ],
  },
  {
    id: 'share-authorization',
    section: 'RFC 9111 §3.5',
    name: '[C12] a response to Authorization is not stored on the strength of max-age',
    steps: [
      { origin: ['Cache-Control: max-age=60', 'ETag: "a"'], send: basic, from: 'origin', cs: '!stored' },
      { send: basic, from: 'origin', saw: { 'If-None-Match': null } },
      { from: 'origin', saw: { 'If-None-Match': null } },
    ],
  },
  {
    id: 'share-authorization-expires',
    section: 'RFC 9111 §3.5',
    name: '[C12] a response to Authorization is not stored on the strength of Expires',
    steps: [
      { origin: ['Expires: {now+60}', 'Last-Modified: {start-1000}'], send: basic, from: 'origin', cs: '!stored' },
      { from: 'origin', saw: { 'If-Modified-Since': null } },
    ],
  },
  {
    id: 'share-authorization-public',
    section: 'RFC 9111 §5.2.2.9',
    name: 'a response to Authorization that says public is stored, for everybody',
    steps: [
      { origin: ['Cache-Control: public, max-age=60'], send: basic, from: 'origin', cs: 'stored' },
      { from: 'cache' },
      { send: ['Authorization: Bearer other'], from: 'cache' },
    ],
  },
  {
    id: 'share-authorization-s-maxage',
    section: 'RFC 9111 §5.2.2.10',
    name: 'a response to Authorization that says s-maxage is stored, for everybody',
    steps: [{ origin: ['Cache-Control: s-maxage=60'], send: basic, from: 'origin', cs: 'stored' }, { from: 'cache' }],
  },
  {
    id: 'share-authorization-s-maxage-0',
    section: 'RFC 9111 §3.5',
    name: 's-maxage=0 lets it be stored and validated for every request',
    steps: [
      { origin: ['Cache-Control: s-maxage=0', 'ETag: "a"'], send: basic, from: 'origin' },
      {
        send: basic,
        origin: notModified('ETag: "a"'),
        from: 'revalidated',
        saw: { 'If-None-Match': '"a"', Authorization: 'Basic YWxpY2U6eA==' },
      },
    ],
  },
  {
    id: 'share-authorization-must-revalidate',
    section: 'RFC 9111 §5.2.2.2',
    name: '[C2] a response to Authorization that says must-revalidate is stored by the RFC, not in mode qal',
    steps: [
      { origin: ['Cache-Control: max-age=60, must-revalidate'], send: basic, from: 'origin' },
      { send: basic, from: 'cache', qal: { from: 'origin' } },
      { after: 61, send: basic, from: 'origin' },
    ],
  },
  {
    id: 'share-authorization-proxy-revalidate',
    section: 'RFC 9111 §3.5',
    name: '[C12] proxy-revalidate is not among the directives that let it be stored',
    steps: [
      { origin: ['Cache-Control: max-age=60, proxy-revalidate'], send: basic, from: 'origin', cs: '!stored' },
      { send: basic, from: 'origin' },
    ],
  },
  {
    id: 'share-authorization-private',
    section: 'RFC 9111 §3',
    name: '[C12] private wins over public for a request with Authorization',
    steps: [
      { origin: ['Cache-Control: public, private, max-age=60'], send: basic, from: 'origin', cs: '!stored' },
      { send: basic, from: 'origin' },
    ],
  },
  {
    id: 'share-authorization-route',
    section: 'RFC 9111 §3.5',
    name: '[C12] a route that is shared does not stand above Authorization',
    setting: 'sharedRoute',
    steps: [
      { origin: fresh, send: basic, from: 'origin', cs: '!stored' },
      { send: basic, from: 'origin' },
      { session: 'alice', send: basic, from: 'origin', cs: '!stored' },
    ],
  },
  {
    id: 'share-authorization-session',
    section: 'RFC 9111 §3.5',
    name: '[C12] a session with Authorization: not stored for itself either',
    steps: [
      { origin: fresh, session: 'alice', send: basic, from: 'origin', cs: '!stored' },
      { session: 'alice', send: basic, from: 'origin' },
    ],
  },
  {
    id: 'share-cookie',
    section: 'C12',
    name: '[C12] a response to a Cookie is not stored on the strength of max-age',
    steps: [
      { origin: ['Cache-Control: max-age=60', 'ETag: "a"'], send: ['Cookie: user=1'], from: 'origin', cs: '!stored' },
      { send: ['Cookie: user=2'], from: 'origin', saw: { 'If-None-Match': null } },
      { from: 'origin', saw: { 'If-None-Match': null } },
    ],
  },
  {
    id: 'share-cookie-session',
    section: 'C12',
    name: '[C12] a Cookie of a session: not stored',
    steps: [
      { origin: fresh, session: 'alice', send: ['Cookie: user=1'], from: 'origin', cs: '!stored' },
      { session: 'alice', send: ['Cookie: user=2'], from: 'origin' },
    ],
  },
  {
    id: 'share-cookie-public',
    section: 'C12',
    name: '[C12] a response to a Cookie that says public is stored',
    steps: [
      { origin: ['Cache-Control: public, max-age=60'], send: ['Cookie: user=1'], from: 'origin', cs: 'stored' },
      { send: ['Cookie: user=2'], from: 'cache' },
      { from: 'cache' },
    ],
  },
  {
    id: 'share-cookie-s-maxage',
    section: 'C12',
    name: '[C12] a response to a Cookie that says s-maxage is stored',
    steps: [
      { origin: ['Cache-Control: s-maxage=60'], send: ['Cookie: user=1'], from: 'origin', cs: 'stored' },
      { from: 'cache' },
    ],
  },
  {
    id: 'share-cookie-route',
    section: 'C12',
    name: '[C12] a response to a Cookie, of a route that is shared, is stored',
    setting: 'sharedRoute',
    steps: [
      { origin: fresh, send: ['Cookie: user=1'], from: 'origin', cs: 'stored' },
      { send: ['Cookie: user=2'], from: 'cache' },
    ],
  },
  {
    id: 'share-set-cookie-session',
    section: 'C12',
    name: '[C12] Set-Cookie to a session: not stored for itself either',
    steps: neverStored(['Cache-Control: max-age=60', 'Set-Cookie: user=1', 'ETag: "a"']).map((step) => ({
      ...step,
      session: 'alice' as const,
    })),
  },
  {
    id: 'share-set-cookie-304',
    section: 'C12',
    name: '[C12] a cookie that comes with a 304 goes to that client and to no other',
    steps: [
      { origin: ['Cache-Control: max-age=60', 'ETag: "a"'], from: 'origin' },
      {
        after: 61,
        origin: notModified('ETag: "a"', 'Set-Cookie: user=1'),
        from: 'revalidated',
        fields: { 'Set-Cookie': 'user=1' },
      },
      { origin: ['Cache-Control: max-age=60'], from: 'origin', fields: { 'Set-Cookie': null } },
      { from: 'cache', fields: { 'Set-Cookie': null } },
    ],
  },
];
