import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import fc from 'fast-check';
import { Webhook } from 'standardwebhooks';
import t, { type Test } from 'tap';
import {
  allow,
  type CallbackHandlerOptions,
  createCallbackHandler,
  drop,
  refuse,
  refuseFriends,
  refuseMembers,
  rewrite,
  type VerifyFailure,
  type VerifyInput,
  verifyCallback,
  verifySign,
} from '../../src/sdk/backend/index.ts';
import { signatureOf } from '../../src/sdk/backend/signature.ts';

const nowMs = 1_795_686_921_500;
const now = () => nowMs;
const timestamp = String(Math.floor(nowMs / 1_000));
const makeSecret = (bytes = 24) => `whsec_${randomBytes(bytes).toString('base64')}`;
const secret = makeSecret();
const id = 'cb_0a1b2c3d_42';
const event = {
  CallbackCommand: 'State.StateChange',
  Info: { Action: 'Login', To_Account: '小米', Reason: 'Register' },
};
const body = JSON.stringify(event);

/** Header fields as npm's standardwebhooks makes them. */
function signed(key = secret, text = body, at = timestamp, by = id): Record<string, string> {
  const signature = new Webhook(key).sign(by, new Date(Number(at) * 1_000), text);
  return { 'webhook-id': by, 'webhook-timestamp': at, 'webhook-signature': signature };
}

function codeOf(input: Partial<VerifyInput>): VerifyFailure | 'ok' {
  const verified = verifyCallback({ secret, headers: signed(), body, now, ...input });
  return verified.ok ? 'ok' : verified.code;
}

t.test('[K5] what standardwebhooks signs verifies here, and what is signed here verifies there', async (t) => {
  const property = fc.property(
    fc.uint8Array({ minLength: 24, maxLength: 64 }),
    fc.string({ unit: fc.constantFrom(...'abcXYZ019_.-'), minLength: 1, maxLength: 60 }),
    fc.jsonValue(),
    (key, by, value) => {
      const theirs = `whsec_${Buffer.from(key).toString('base64')}`;
      const text = JSON.stringify({ CallbackCommand: 'X', value });
      const ours = verifyCallback({ secret: theirs, headers: signed(theirs, text, timestamp, by), body: text, now });
      if (!ours.ok || ours.id !== by) return false;
      const at = String(Math.floor(Date.now() / 1_000));
      const signature = signatureOf(Buffer.from(key), by, at, text);
      const headers = { 'webhook-id': by, 'webhook-timestamp': at, 'webhook-signature': signature };
      new Webhook(theirs).verify(text, headers);
      return true;
    },
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: 200 }));
});

t.test('[K5] the published vectors', async (t) => {
  const vectors = [
    {
      secret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
      id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      timestamp: '1614265330',
      body: '{"test": 2432232314}',
      signature: 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    },
    {
      secret: 'whsec_plJ3nmyCDGBKInavdOK15jsl',
      id: 'msg_loFOjxBNrRLzqYUf',
      timestamp: '1731705121',
      body: '{"event_type":"ping","data":{"success":true}}',
      signature: 'v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=',
    },
  ];
  for (const vector of vectors) {
    const headers = {
      'webhook-id': vector.id,
      'webhook-timestamp': vector.timestamp,
      'webhook-signature': vector.signature,
    };
    const input = { secret: vector.secret, headers, body: vector.body, now: () => Number(vector.timestamp) * 1_000 };
    // Rightly signed; it is only no callback.
    t.equal(codeOf(input), 'BODY_MALFORMED');
    t.equal(codeOf({ ...input, body: `${vector.body} ` }), 'SIGNATURE_MISMATCH');
  }
  const query = { Sign: '17773bc39a671d7b9aa835458704d2a6db81360a5940292b587d6d760d484061', RequestTime: '1669872112' };
  t.same(verifySign({ token: 'xxxxyyyy', query, now: () => 1_669_872_112_000 }), {
    ok: true,
    requestTime: 1_669_872_112,
  });
});

t.test('what verified is given back', async (t) => {
  t.same(verifyCallback({ secret, headers: signed(), body: Buffer.from(body), now }), {
    ok: true,
    id,
    timestamp: Number(timestamp),
    command: 'State.StateChange',
    event,
  });
});

t.test('[K5] header fields are found in whatever form and case they come', async (t) => {
  const fields = signed();
  const upper = Object.fromEntries(Object.entries(fields).map(([name, value]) => [name.toUpperCase(), value]));
  const forms: [string, unknown][] = [
    ['Node', { host: 'a', 'set-cookie': ['x'], ...fields } satisfies IncomingHttpHeaders],
    ['upper case', upper],
    ['Fetch', new Headers(upper)],
    ['a map', new Map(Object.entries(upper))],
    ['pairs', Object.entries(fields)],
    ['lists', Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, [value]]))],
  ];
  for (const [name, headers] of forms) t.equal(codeOf({ headers: headers as VerifyInput['headers'] }), 'ok', name);

  for (const name of Object.keys(fields)) {
    const { [name]: _, ...rest } = fields;
    t.match(verifyCallback({ secret, headers: rest, body, now }), { code: 'HEADER_MISSING', reason: new RegExp(name) });
    const twice = { ...fields, [name]: [fields[name] ?? '', fields[name] ?? ''] };
    t.equal(codeOf({ headers: twice }), 'HEADER_MALFORMED', `${name} twice`);
    t.equal(codeOf({ headers: { ...fields, [name]: '' } }), 'HEADER_MALFORMED', `${name} is empty`);
  }
  for (const time of ['now', '-1', '1e9', '1795686921.5', ` ${timestamp}`, '9999999999999']) {
    t.equal(codeOf({ headers: { ...fields, 'webhook-timestamp': time } }), 'HEADER_MALFORMED', time);
  }
  const many = `${'v1,x '.repeat(20)}${fields['webhook-signature']}`;
  t.equal(codeOf({ headers: { ...fields, 'webhook-signature': many } }), 'HEADER_MALFORMED');
  t.equal(codeOf({ headers: { ...fields, 'webhook-id': 'x'.repeat(257) } }), 'HEADER_MALFORMED');
});

t.test('[K5] a change of any one byte is noticed', async (t) => {
  const fields = signed();
  const bytes = Buffer.from(body);
  for (let at = 0; at < bytes.length; at += 1) {
    for (const flip of [0x01, 0x20, 0x80]) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ flip;
      if (codeOf({ body: changed }) !== 'SIGNATURE_MISMATCH') t.fail(`body, byte ${at}`);
    }
  }
  for (const changed of [bytes.subarray(1), bytes.subarray(0, -1), Buffer.concat([bytes, Buffer.from('\n')])]) {
    t.equal(codeOf({ body: changed }), 'SIGNATURE_MISMATCH');
  }
  for (const [name, value] of Object.entries(fields)) {
    for (let at = 0; at < value.length; at += 1) {
      // Every other base64 digit in its place too: the last one holds bits that no byte has.
      const digits =
        name === 'webhook-signature' ? 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=' : '0~';
      for (const digit of digits) {
        if (digit === value[at]) continue;
        const changed = `${value.slice(0, at)}${digit}${value.slice(at + 1)}`;
        if (codeOf({ headers: { ...fields, [name]: changed } }) === 'ok') t.fail(`${name}, character ${at}: ${digit}`);
      }
    }
  }
  const [first = ''] = (fields['webhook-signature'] ?? '').split(' ');
  for (const other of [
    first.replace('v1,', 'v1a,'),
    first.replace('v1,', 'v2,'),
    first.slice(3),
    `v1 ${first.slice(3)}`,
  ]) {
    t.equal(codeOf({ headers: { ...fields, 'webhook-signature': other } }), 'HEADER_MALFORMED', other);
  }
});

t.test('[K5] secrets rotate without a gap: several on either side', async (t) => {
  const [old, next, foreign] = [makeSecret(), makeSecret(64), makeSecret()];
  const both = [next, old].map((key) => signed(key)['webhook-signature']).join(' ');
  const headers = { ...signed(), 'webhook-signature': both };
  t.equal(codeOf({ headers, secret: old }), 'ok', 'the service has two, the backend the old one');
  t.equal(codeOf({ headers, secret: next }), 'ok');
  t.equal(codeOf({ headers, secret: [foreign, old] }), 'ok');
  t.equal(codeOf({ headers: signed(old), secret: [next, old] }), 'ok', 'the backend was first');
  t.equal(codeOf({ headers, secret: foreign }), 'SIGNATURE_MISMATCH');
  t.equal(codeOf({ headers: { ...headers, 'webhook-signature': `v1a,x  ${both} v9,y` } }), 'SIGNATURE_MISMATCH');
  t.equal(codeOf({ headers: { ...headers, 'webhook-signature': `v1a,x  ${both} v9,y` }, secret: old }), 'ok');
  t.equal(codeOf({ secret: secret.slice('whsec_'.length) }), 'ok', 'the prefix is no part of the key');
  for (const wrong of ['', 'whsec_', 'whsec_!', 'whsec_a', [], [secret, 'whsec_%']]) {
    t.equal(codeOf({ secret: wrong }), 'SECRET_MALFORMED');
    t.throws(() => createCallbackHandler({ secret: wrong, on: {} }), TypeError);
  }
});

t.test('[K5] clocks may be apart by the tolerance, either way', async (t) => {
  const at = (sec: number) => codeOf({ headers: signed(secret, body, String(Number(timestamp) + sec)) });
  t.same([-301, -300, 0, 300, 301].map(at), ['TIMESTAMP_TOO_OLD', 'ok', 'ok', 'ok', 'TIMESTAMP_TOO_NEW']);
  t.match(verifyCallback({ secret, headers: signed(), body, now: () => nowMs + 400_000 }), { reason: / 400 s ago/ });
  const late = signed(secret, body, String(Number(timestamp) - 2));
  t.equal(codeOf({ headers: late, toleranceSec: 1 }), 'TIMESTAMP_TOO_OLD');
  t.equal(
    codeOf({ headers: late, toleranceSec: Number.NaN }),
    'TIMESTAMP_TOO_OLD',
    'what is no number lets nothing in',
  );
  t.equal(
    codeOf({ headers: { ...late, 'webhook-id': 'x' }, toleranceSec: 1 }),
    'SIGNATURE_MISMATCH',
    'a refusal for the time means that it was rightly signed',
  );
});

t.test('a body that is rightly signed but is no callback', async (t) => {
  for (const text of ['', '{', '[]', 'null', '"x"', '{}', '{"CallbackCommand":1}']) {
    t.equal(codeOf({ headers: signed(secret, text), body: text }), 'BODY_MALFORMED', text);
  }
  const latin1 = Buffer.from('{"CallbackCommand":"l\xedn"}', 'latin1');
  const signature = signatureOf(Buffer.from(secret.slice('whsec_'.length), 'base64'), id, timestamp, latin1);
  t.equal(codeOf({ headers: { ...signed(), 'webhook-signature': signature }, body: latin1 }), 'BODY_MALFORMED');
  for (const parsed of [undefined, null, event, 7, [1]]) {
    t.equal(codeOf({ body: parsed as unknown as string }), 'BODY_NOT_RAW');
  }
});

t.test('nothing that comes makes it throw', async (t) => {
  const anything = fc.anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withSparseArray: true,
    withTypedArray: true,
  });
  const text = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('v1,', timestamp, id, ','));
  const fields = fc.record(
    {
      'webhook-id': fc.oneof(text, anything),
      'webhook-timestamp': fc.oneof(text, anything),
      'webhook-signature': fc.oneof(text, anything),
    },
    { requiredKeys: [] },
  );
  const property = fc.property(
    fc.oneof(fields, anything),
    fc.oneof(text, fc.uint8Array(), anything),
    anything,
    (headers, content, key) => {
      const loose = verifyCallback as (input: unknown) => { ok: boolean };
      const answers = [
        loose({ secret, headers, body: content, now }),
        loose({ secret: key, headers: signed(), body: content, now }),
        (verifySign as (input: unknown) => { ok: boolean })({ token: key, query: headers }),
        (verifySign as (input: unknown) => { ok: boolean })({ token: 'x', query: content }),
      ];
      return answers.every(({ ok }) => ok === false);
    },
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: 2_000 }));
});

t.test('Sign and RequestTime of the vendor', async (t) => {
  const token = 'xxxxyyyy';
  const Sign = '17773bc39a671d7b9aa835458704d2a6db81360a5940292b587d6d760d484061';
  const RequestTime = '1669872112';
  const check = (query: VerifyQuery, more: object = {}) => {
    const verified = verifySign({ token, query, now: () => 1_669_872_112_000, ...more });
    return verified.ok ? 'ok' : verified.code;
  };
  const text = `SdkAppid=1&Sign=${Sign}&RequestTime=${RequestTime}`;
  t.same(
    [{ Sign, RequestTime }, text, `?${text}`, new URLSearchParams(text)].map((query) => check(query)),
    ['ok', 'ok', 'ok', 'ok'],
  );
  t.equal(check(text, { token: ['another', token] }), 'ok');
  t.equal(check(text, { token: 'another' }), 'SIGN_MISMATCH');
  t.equal(check({ Sign, RequestTime: '1669872113' }), 'SIGN_MISMATCH');
  t.equal(check({ Sign }), 'PARAMETER_MISSING');
  t.equal(check({ RequestTime }), 'PARAMETER_MISSING');
  t.equal(check(`${text}&Sign=${Sign}`), 'PARAMETER_MALFORMED');
  t.equal(check({ Sign: [Sign, Sign], RequestTime }), 'PARAMETER_MALFORMED');
  t.equal(check({ Sign: Sign.slice(1), RequestTime }), 'PARAMETER_MALFORMED');
  t.equal(check(text, { token: '' }), 'TOKEN_MISSING');
  const skewed = (sec: number) => check(text, { now: () => 1_669_872_112_000 + sec * 1_000 });
  t.same([-61, -60, 60, 61].map(skewed), ['TIME_TOO_NEW', 'ok', 'ok', 'TIME_TOO_OLD']);
});
type VerifyQuery = Parameters<typeof verifySign>[0]['query'];

t.test('answers are what the service reads', async (t) => {
  const text = { MsgType: 'TIMTextElem', MsgContent: { Text: 'h*' } } as const;
  t.same(
    [allow(), refuse(), refuse(120_001, 'not now'), rewrite([text]), drop(), refuseMembers(['kay'])],
    [
      { ActionStatus: 'OK', ErrorCode: 0, ErrorInfo: '' },
      { ActionStatus: 'OK', ErrorCode: 1, ErrorInfo: '' },
      { ActionStatus: 'OK', ErrorCode: 120_001, ErrorInfo: 'not now' },
      { ActionStatus: 'OK', ErrorCode: 0, ErrorInfo: '', MsgBody: [text] },
      { ActionStatus: 'OK', ErrorCode: 2, ErrorInfo: '' },
      { ActionStatus: 'OK', ErrorCode: 0, ErrorInfo: '', RefusedMembers_Account: ['kay'] },
    ],
  );
  t.same(refuseFriends([{ account: 'zed', code: 38_001 }]).ResultItem, [
    { To_Account: 'zed', ResultCode: 38_001, ResultInfo: '' },
  ]);
  for (const code of [0, 2, -1, 1.5, 120_001.5, 120_000, 130_001, 10_201, Number.NaN])
    t.throws(() => refuse(code), RangeError);
  t.throws(() => refuseFriends([{ account: 'zed', code: 1 }]), RangeError);
});

/** A server with the handler, and what sends to it. */
async function serve(
  t: Test,
  options: Partial<CallbackHandlerOptions>,
  prepare?: (request: IncomingMessage) => Promise<unknown>,
) {
  const handler = createCallbackHandler({ secret, on: {}, ...options });
  const server = createServer((request, response) => {
    void Promise.resolve(prepare?.(request)).then(() => handler(request, response));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const post = async (text: string, given: { by?: string; headers?: Record<string, string>; method?: string } = {}) => {
    const at = String(Math.floor(Date.now() / 1_000));
    const headers = {
      ...signed(secret, text, at, given.by ?? `cb_${randomBytes(4).toString('hex')}`),
      ...given.headers,
    };
    const method = given.method ?? 'POST';
    const target = `http://127.0.0.1:${port}/callbacks?SdkAppid=1&ClientIP=192.0.2.7&OptPlatform=iOS`;
    const response = await fetch(target, { method, headers, ...(method === 'GET' ? {} : { body: text }) });
    return { status: response.status, allow: response.headers.get('allow'), json: (await response.json()) as object };
  };
  return { post, port };
}

const message = (command: string, text = 'hi') =>
  JSON.stringify({
    CallbackCommand: command,
    From_Account: 'lin',
    To_Account: 'mo',
    MsgBody: [{ MsgType: 'TIMTextElem', MsgContent: { Text: text } }],
  });

t.test('the handler verifies, calls the listener of the command, and answers', async (t) => {
  const contexts: unknown[] = [];
  const { post } = await serve(t, {
    on: {
      'C2C.CallbackBeforeSendMsg': async ({ From_Account, MsgBody }, context) => {
        contexts.push(context);
        const [first] = MsgBody;
        if (first?.MsgType !== 'TIMTextElem') return allow();
        return first.MsgContent.Text === 'bad' ? refuse(120_001, `no, ${From_Account}`) : rewrite([first]);
      },
      'C2C.CallbackAfterSendMsg': (event, context) => contexts.push([event.To_Account, context]),
    },
  });
  t.match(await post(message('C2C.CallbackBeforeSendMsg', 'bad'), { by: 'cb_1' }), {
    status: 200,
    json: { ErrorCode: 120_001, ErrorInfo: 'no, lin' },
  });
  t.match(await post(message('C2C.CallbackBeforeSendMsg')), { status: 200, json: { ErrorCode: 0, MsgBody: [{}] } });
  const headers = { 'qalgate-gap': 'cb_a_1, cb_a_2', 'qalgate-replay': 'true' };
  t.match(await post(message('C2C.CallbackAfterSendMsg'), { headers }), { status: 200, json: allow() });
  t.match(contexts, [
    { id: 'cb_1', timestamp: Number, clientIp: '192.0.2.7', platform: 'iOS', gap: [], isReplay: false },
    {},
    ['mo', { gap: ['cb_a_1', 'cb_a_2'], isReplay: true }],
  ]);
  t.match(await post(message('Group.CallbackBeforeSendMsg')), { status: 200, json: allow() }, 'nobody listens');
  for (const command of ['constructor', '__proto__']) {
    t.match(await post(message(command)), { status: 200, json: allow() }, 'nor to what a newer service sends');
  }
});

t.test('the handler refuses what does not verify, and what is no callback', async (t) => {
  const refused: string[] = [];
  let calls = 0;
  const { post } = await serve(t, {
    maxBodyBytes: 1_000,
    on: { 'State.StateChange': () => (calls += 1) },
    onHandled: ({ verified, status, isRepeat }) => {
      if (!verified.ok) refused.push(verified.code);
      t.match({ status, isRepeat }, { status: 401, isRepeat: false });
    },
  });
  const other = signed(makeSecret(), body, String(Math.floor(Date.now() / 1_000)));
  const answer = await post(body, { headers: other });
  t.match(answer, { status: 401, json: { ActionStatus: 'FAIL', ErrorInfo: /^SIGNATURE_MISMATCH: / } });
  t.match(await post(body, { headers: signed() }), { status: 401, json: { ErrorInfo: /^TIMESTAMP_TOO_/ } });
  t.match(await post(body, { method: 'GET' }), { status: 405, allow: 'POST' });
  t.match(await post(JSON.stringify({ x: 'y'.repeat(1_000) })), { status: 413 });
  t.same(refused, ['SIGNATURE_MISMATCH', refused[1]]);
  t.equal(calls, 0);

  const parsed = await serve(t, {}, async (request) => {
    for await (const _ of request);
  });
  t.match(await parsed.post(body), { status: 500, json: { ErrorInfo: /before any body parser/ } });
});

t.test(
  '[K6] an event that comes again does not reach its listener again, and is answered like the first time',
  async (t) => {
    const seen: string[] = [];
    const failing = { left: 1 };
    const errors: unknown[] = [];
    const handled: unknown[] = [];
    const { promise: gate, resolve: open } = Promise.withResolvers<void>();
    const { post } = await serve(t, {
      remember: 3,
      on: {
        'State.StateChange': async (_, { id: by }) => {
          seen.push(by);
          if (by === 'cb_slow') await gate;
          if (by === 'cb_failing' && failing.left-- > 0) throw new Error('not today');
        },
        'C2C.CallbackBeforeSendMsg': (_, { id: by }) => {
          seen.push(by);
          return refuse(120_000 + seen.length);
        },
      },
      onError: (error, { command, id: by }) => errors.push([(error as Error).message, command, by]),
      onHandled: ({ context, status, isRepeat, answer }) => {
        handled.push([context?.id, status, isRepeat, answer?.ErrorCode]);
      },
    });
    const first = post(body, { by: 'cb_slow' });
    const repeat = post(body, { by: 'cb_slow' });
    await post(body, { by: 'cb_other' });
    open();
    t.match(await Promise.all([first, repeat]), [{ status: 200 }, { status: 200 }], 'while the first is handled');
    t.same(seen.splice(0).sort(), ['cb_other', 'cb_slow']);

    t.match(await post(body, { by: 'cb_failing' }), { status: 500, json: { ErrorInfo: 'the listener failed' } });
    t.match(await post(body, { by: 'cb_failing' }), { status: 200 });
    t.match(await post(body, { by: 'cb_failing' }), { status: 200 });
    t.same(seen.splice(0), ['cb_failing', 'cb_failing'], 'what failed is done again');
    t.same(errors, [['not today', 'State.StateChange', 'cb_failing']]);
    t.same(handled.slice(-3), [
      ['cb_failing', 500, false, undefined],
      ['cb_failing', 200, false, 0],
      ['cb_failing', 200, true, 0],
    ]);

    const question = message('C2C.CallbackBeforeSendMsg');
    const answers = [await post(question, { by: 'cb_q' }), await post(question, { by: 'cb_q' })];
    t.match(answers, [{ json: { ErrorCode: 120_001 } }, { json: { ErrorCode: 120_001 } }]);
    for (const by of ['cb_3', 'cb_4', 'cb_5']) await post(body, { by });
    seen.length = 0;
    await post(body, { by: 'cb_3' });
    await post(body, { by: 'cb_failing' });
    t.same(seen, ['cb_failing'], 'the oldest are forgotten first');
  },
);

t.test('[K6] a store of the backend knows repeats over restarts', async (t) => {
  const known = new Set<string>();
  const calls: string[] = [];
  const start = () =>
    serve(t, {
      seen: { has: async (by) => known.has(by), add: (by) => known.add(by) },
      on: { 'State.StateChange': (_, { id: by }) => calls.push(by) },
    });
  const before = await start();
  await before.post(body, { by: 'cb_1' });
  const after = await start();
  t.match(await after.post(body, { by: 'cb_1' }), { status: 200, json: allow() });
  await after.post(body, { by: 'cb_2' });
  t.same(calls, ['cb_1', 'cb_2']);
});

t.test('a listener without an answer to a question, and a client that stalls', async (t) => {
  const errors: unknown[] = [];
  const { post, port } = await serve(t, {
    bodyTimeoutMs: 50,
    on: { 'C2C.CallbackBeforeSendMsg': (() => undefined) as unknown as () => ReturnType<typeof allow> },
    onError: (error) => errors.push(error),
  });
  t.match(await post(message('C2C.CallbackBeforeSendMsg')), { status: 500 });
  t.match(errors, [{ message: /gave no answer/ }]);
  const socket = connect(port, '127.0.0.1');
  socket.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc');
  socket.on('error', () => {});
  await once(socket, 'close');
  t.pass('its connection is cut');
});

t.test('a question takes its own answers alone, by type', async (t) => {
  const listeners: CallbackHandlerOptions['on'] = {
    'Group.CallbackBeforeSendMsg': () => drop(),
    'Group.CallbackBeforeInviteJoinGroup': ({ DestinationMembers }) =>
      refuseMembers(DestinationMembers.map(({ Member_Account }) => Member_Account)),
    // @ts-expect-error only group messages are dropped
    'C2C.CallbackBeforeSendMsg': () => drop(),
    // @ts-expect-error a group is no message
    'Group.CallbackBeforeCreateGroup': async () => rewrite([]),
    // @ts-expect-error one request may be for several: each is refused by itself
    'Sns.CallbackPrevFriendAdd': () => refuse(),
  };
  // @ts-expect-error no such command
  const unknown: CallbackHandlerOptions['on'] = { 'C2C.CallbackNone': () => allow() };
  t.same([Object.keys(listeners).length, Object.keys(unknown).length], [5, 1]);
});
