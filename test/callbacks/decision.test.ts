import fc from 'fast-check';
import t from 'tap';
import { type AskedOf, type Reading, readDecision, refusalOfSilence } from '../../src/callbacks/before/decision.ts';
import type { PostFailure, PostResult } from '../../src/callbacks/index.ts';
import { type BeforeCommand, beforeCommands } from '../../src/wire/index.ts';

const text = (Text: string) => ({ MsgType: 'TIMTextElem', MsgContent: { Text } });
const MsgBody = [text('hi')];
const fields = {
  From_Account: 'lin',
  MsgBody,
  DestinationMembers: [{ Member_Account: 'zed' }, { Member_Account: 'kay' }, { Member_Account: 'lee' }],
  FriendItem: [{ To_Account: 'zed' }, { To_Account: 'kay' }],
  ResponseFriendItem: [{ To_Account: 'lin' }],
};
const c2c = 'C2C.CallbackBeforeSendMsg';
const groupSend = 'Group.CallbackBeforeSendMsg';
const create = 'Group.CallbackBeforeCreateGroup';
const apply = 'Group.CallbackBeforeApplyJoinGroup';
const invite = 'Group.CallbackBeforeInviteJoinGroup';
const friendAdd = 'Sns.CallbackPrevFriendAdd';
const friendResponse = 'Sns.CallbackPrevFriendResponse';

function answered(body: string, more: Partial<Extract<PostResult, { kind: 'answer' }>> = {}): PostResult {
  return { kind: 'answer', status: 200, body, isEncoded: false, tookMs: 1, ...more };
}
function read(command: BeforeCommand, result: PostResult, asked: Partial<AskedOf> = {}): Reading {
  return readDecision({ command, fields, messageBytes: 8_000, ...asked }, result);
}
const readJson = (command: BeforeCommand, answer: object, asked: Partial<AskedOf> = {}) =>
  read(command, answered(JSON.stringify({ ActionStatus: 'OK', ErrorInfo: '', ...answer })), asked);

const allows = { kind: 'decided', decision: { kind: 'allow', outcome: 'allowed' } };
const refuses = (code: number, reason?: string) => ({
  kind: 'decided',
  decision: { kind: 'refuse', outcome: 'refused', code, ...(reason !== undefined && { reason }) },
  detail: /^ErrorCode \d+$/,
});
const drops = { kind: 'decided', decision: { kind: 'drop', outcome: 'dropped' } };
const isSilent = (reason: string, detail: RegExp | string, isReadable = false) => ({
  kind: 'silent',
  outcome: 'error',
  reason,
  detail,
  isReadable,
});
const noMeaning = isSilent('code', /has no meaning/, true);
const goesOn = { kind: 'decided', decision: { kind: 'allow', outcome: 'error' }, reason: 'code', detail: /ErrorCode/ };

t.test('[K1] each ErrorCode does to each command what the API reference says', async (t) => {
  const table: [BeforeCommand, [ErrorCode: number, meaning: object][]][] = [
    [
      c2c,
      [
        [0, allows],
        [1, refuses(20006, "the app's backend refused it")],
        [120001, refuses(120001)],
        [130000, refuses(130000)],
        ...[2, -1, 3, 120000, 130001, 120001.5, 10016, 10100, 38000, 2 ** 53].map((code): [number, object] => [
          code,
          noMeaning,
        ]),
      ],
    ],
    [
      groupSend,
      [
        [0, allows],
        [1, refuses(10016)],
        [2, drops],
        [10100, refuses(10100)],
        [10200, refuses(10200)],
        ...[-1, 3, 10099, 10201, 120001].map((code): [number, object] => [code, noMeaning]),
      ],
    ],
    ...[create, apply, invite].map((command): [BeforeCommand, [number, object][]] => [
      command as BeforeCommand,
      [
        [0, allows],
        [1, refuses(10016)],
        [10150, refuses(10150)],
        ...[2, 10099, 10201, 120001].map((code): [number, object] => [code, noMeaning]),
      ],
    ]),
    ...[friendAdd, friendResponse].map((command): [BeforeCommand, [number, object][]] => [
      command as BeforeCommand,
      [[0, allows], ...[1, 2, -1, 38000, 120001].map((code): [number, object] => [code, goesOn])],
    ]),
  ];
  t.same(table.map(([command]) => command).sort(), [...beforeCommands].sort(), 'every command has its lines');
  for (const [command, lines] of table) {
    for (const [ErrorCode, meaning] of lines) {
      t.match(readJson(command, { ErrorCode }), meaning, `${command} ${ErrorCode}`);
      // What an answer adds counts with 0 alone.
      if (ErrorCode === 0) continue;
      const added = { MsgBody: [text('h*')], RefusedMembers_Account: ['kay'], ResultItem: [{ To_Account: 'kay' }] };
      t.match(readJson(command, { ErrorCode, ...added }), meaning);
    }
  }
});

t.test('[K1] the reason of a refusal goes to the caller with a code of the app alone, fit to be shown', async (t) => {
  const reasonOf = (ErrorInfo: unknown, ErrorCode = 120001) => {
    const reading = readJson(c2c, { ErrorCode, ErrorInfo });
    return reading.kind === 'decided' && reading.decision.kind === 'refuse' ? reading.decision.reason : undefined;
  };
  const plain = "the app's backend refused it";
  t.equal(reasonOf('not now'), 'not now');
  t.equal(reasonOf('not now', 1), plain);
  for (const none of ['', ' \n ', '\u0000', null, 7, ['no'], {}]) t.equal(reasonOf(none), plain);
  t.equal(reasonOf('no\r\n\u0000\u001b[31mway\u2028!'), 'no [31mway !');
  t.equal(reasonOf('half \ud83d'), 'half \ufffd');
  t.equal(reasonOf('稍后再试'), '稍后再试');
  t.equal(reasonOf('x'.repeat(10_000)), 'x'.repeat(500));
  t.equal(reasonOf(`${'x'.repeat(499)}😀`), 'x'.repeat(499), 'a character is not cut in two');
  const noInfo = read(c2c, answered('{"ErrorCode":120001}'));
  t.match(noInfo, refuses(120001, plain));
  t.match(readJson(c2c, { ErrorCode: 120001, ErrorInfo: 'about bob' }), { detail: 'ErrorCode 120001' });
});

t.test('[K1] [M12] a rewrite replaces the content, and is checked like what is sent', async (t) => {
  for (const command of [c2c, groupSend] as const) {
    const rewrite = (MsgBody: unknown) => readJson(command, { ErrorCode: 0, MsgBody });
    t.strictSame(rewrite([text('h*')]), {
      kind: 'decided',
      decision: { kind: 'allow', outcome: 'rewritten', body: [text('h*')] },
    });
    t.match(rewrite(null), allows);
    t.strictSame(rewrite(MsgBody), allows, 'the same again is no rewrite');
    t.match(rewrite([{ ...text('hi'), MsgContent: { Text: 'hi', More: 1 } }]), { decision: { outcome: 'rewritten' } });
    const wrong: [unknown, RegExp][] = [
      [[], /^MsgBody: must not be empty/],
      ['h*', /^MsgBody: must be an array/],
      [{ Text: 'h*' }, /^MsgBody: must be an array/],
      [false, /^MsgBody: must be an array/],
      [[{ MsgType: 'TIMTextElem', MsgContent: {} }], /^MsgBody\[0\]\.MsgContent\.Text: is missing/],
      [[text('a'), { MsgType: 'TIMFuture', MsgContent: {} }], /^MsgBody\[1\]\.MsgType: is no type/],
      [[text('a\u0000')], /^MsgBody\[0\]\.MsgContent\.Text: must not hold U\+0000/],
      [[text('\ud800')], /^MsgBody\[0\]\.MsgContent\.Text: must be well-formed/],
      [[text('x'.repeat(8_000))], /^MsgBody: is too long; allowed: 8000 bytes/],
    ];
    for (const [body, detail] of wrong) {
      t.match(rewrite(body), isSilent('rewrite', detail, true), JSON.stringify(body).slice(0, 60));
    }
  }
  const long = [text('x'.repeat(200))];
  t.match(readJson(c2c, { ErrorCode: 0, MsgBody: long }), { decision: { outcome: 'rewritten' } });
  t.match(readJson(c2c, { ErrorCode: 0, MsgBody: long }, { messageBytes: 100 }), { reason: 'rewrite' });
  for (const command of [create, apply, invite, friendAdd, friendResponse] as const) {
    t.match(readJson(command, { ErrorCode: 0, MsgBody: 'nonsense' }), allows, `${command} has nothing to rewrite`);
  }
});

t.test('[K1] an invitation leaves out those whom the app refuses, of those who are invited', async (t) => {
  const refused = (RefusedMembers_Account: unknown) => readJson(invite, { ErrorCode: 0, RefusedMembers_Account });
  t.strictSame(refused(['kay']), {
    kind: 'decided',
    decision: { kind: 'allow', outcome: 'refused', refusedMembers: ['kay'] },
    detail: '1 of 3 refused',
  });
  t.match(refused(['lee', 'nobody', 'zed', 'lee', 'Kay']), { decision: { refusedMembers: ['zed', 'lee'] } });
  for (const none of [null, [], ['nobody'], ['KAY'], ['constructor']]) t.match(refused(none), allows);
  t.match(refused('kay'), isSilent('list', 'RefusedMembers_Account must be an array', true));
  t.match(refused({ kay: true }), isSilent('list', /must be an array/, true));
  t.match(
    refused(['kay', { Member_Account: 'zed' }]),
    isSilent('list', 'RefusedMembers_Account[1] must be a string', true),
  );
  t.match(readJson(create, { ErrorCode: 0, RefusedMembers_Account: ['kay'] }), allows);
  t.strictSame(readJson(invite, { ErrorCode: 0, RefusedMembers_Account: ['kay'] }, { fields: {} }), allows);
});

t.test('[K1] of a friend request single accounts are refused, with the code of the app', async (t) => {
  const refused = (ResultItem: unknown, command: BeforeCommand = friendAdd) =>
    readJson(command, { ErrorCode: 0, ResultItem });
  const item = (To_Account: unknown, ResultCode: unknown, ResultInfo: unknown = 'slow\ndown') => ({
    To_Account,
    ResultCode,
    ResultInfo,
  });
  t.strictSame(refused([item('zed', 38001), item('kay', 0)]), {
    kind: 'decided',
    decision: { kind: 'allow', outcome: 'refused', results: new Map([['zed', { code: 38001, reason: 'slow down' }]]) },
    detail: '1 of 2 refused',
  });
  t.strictSame(refused([item('lin', 39000, null)], friendResponse), {
    kind: 'decided',
    decision: {
      kind: 'allow',
      outcome: 'refused',
      results: new Map([['lin', { code: 39000, reason: "the app's backend refused it" }]]),
    },
    detail: '1 of 1 refused',
  });
  const twice = refused([item('zed', 0), item('zed', 38000, 'first'), item('zed', 38005), item('zed', 0)]);
  t.match(twice, { decision: { results: new Map([['zed', { code: 38000, reason: 'first' }]]) } });
  for (const none of [null, [], [item('nobody', 38001)], [item('kay', 0)]]) t.match(refused(none), allows);
  t.match(refused([item('lin', 38001)]), allows, 'who asks is not who is asked about');
  t.match(refused({}), isSilent('list', 'ResultItem must be an array', true));
  t.match(refused([item(7, 38001)]), isSilent('list', 'ResultItem[0].To_Account must be a string', true));
  t.match(refused([null]), isSilent('list', /To_Account/, true));
  for (const code of [1, 37999, 39001, 38000.5, '38001', null, undefined]) {
    const detail = 'ResultItem[1].ResultCode must be 0 or 38000 … 39000';
    t.match(refused([item('zed', 38001), item('kay', code)]), isSilent('list', detail, true));
  }
});

t.test('[K2] what is no answer decides nothing, and says why without quoting it', async (t) => {
  const secret = 'hush';
  const bad: [string, object][] = [
    ['', isSilent('not-json', 'the answer is empty')],
    [' \n', isSilent('not-json', 'the answer is empty')],
    ['\ufeff', isSilent('not-json', 'the answer is empty')],
    [`<html>${secret}`, isSilent('not-json', 'the answer is no JSON')],
    [`{"ErrorCode":0,"ErrorInfo":"${secret}`, isSilent('not-json', 'the answer is no JSON')],
    [`{"ErrorCode":0}${secret}`, isSilent('not-json', 'the answer is no JSON')],
    ["{'ErrorCode':0}", isSilent('not-json', 'the answer is no JSON')],
    ['\ufeff\ufeff{"ErrorCode":0}', isSilent('not-json', 'the answer is no JSON')],
    ['['.repeat(200_000), isSilent('not-json', 'the answer is no JSON')],
    ['null', isSilent('not-json', 'the answer is no JSON object')],
    ['0', isSilent('not-json', 'the answer is no JSON object')],
    ['"OK"', isSilent('not-json', 'the answer is no JSON object')],
    ['[{"ErrorCode":0}]', isSilent('not-json', 'the answer is no JSON object')],
    ['{}', isSilent('fields', 'ErrorCode is missing')],
    ['{"ActionStatus":"OK"}', isSilent('fields', 'ErrorCode is missing')],
    ['{"errorCode":0}', isSilent('fields', 'ErrorCode is missing')],
    ['{"__proto__":{"ErrorCode":0}}', isSilent('fields', 'ErrorCode is missing')],
    ['{"ErrorCode":"0"}', isSilent('fields', 'ErrorCode is no number')],
    ['{"ErrorCode":null}', isSilent('fields', 'ErrorCode is no number')],
    ['{"ErrorCode":false}', isSilent('fields', 'ErrorCode is no number')],
    ['{"ErrorCode":1e999}', isSilent('code', /Infinity/, true)],
    ['{"ActionStatus":"FAIL","ErrorCode":0}', isSilent('fields', /FAIL/)],
  ];
  for (const [body, reading] of bad) t.match(read(c2c, answered(body)), reading, body.slice(0, 40));
  t.notOk(JSON.stringify(bad.map(([body]) => read(c2c, answered(body)))).includes(secret));

  const good: [string, object][] = [
    ['{"ErrorCode":0}', allows],
    ['\ufeff{"ErrorCode":0}', allows],
    [' {"ErrorCode": 0.0 , "Extra": [[]]}\r\n', allows],
    ['{"ErrorCode":-0}', allows],
    ['{"ActionStatus":"ok","ErrorCode":0}', allows],
    ['{"ActionStatus":null,"ErrorCode":0}', allows],
    ['{"ActionStatus":"FAIL","ErrorCode":1}', refuses(20006)],
    ['{"ActionStatus":"OK","ErrorCode":1}', refuses(20006)],
    ['{"ErrorCode":0,"ErrorCode":1}', refuses(20006)],
  ];
  for (const [body, reading] of good) t.match(read(c2c, answered(body)), reading, body);

  const right = '{"ErrorCode":1}';
  for (const status of [201, 204, 206, 302, 400, 410, 429, 500, 503]) {
    t.match(read(c2c, answered(right, { status })), isSilent('status', `HTTP ${status}`));
  }
  t.match(read(c2c, answered(right, { isEncoded: true })), isSilent('encoded', /Content-Encoding/));
});

t.test('[K2] a call that failed decides nothing, and says which way', async (t) => {
  const failed = (failure: PostFailure, detail: string): PostResult => ({ kind: 'failed', failure, detail, tookMs: 3 });
  t.match(read(c2c, failed('timeout', 'connecting')), {
    kind: 'silent',
    outcome: 'timeout',
    reason: 'timeout',
    detail: 'no answer in time: connecting',
    isReadable: false,
  });
  t.match(read(c2c, failed('timeout', '')), { detail: 'no answer in time' });
  for (const failure of [
    'refused',
    'reset',
    'dns',
    'tls',
    'blocked-address',
    'answer-too-large',
    'malformed',
  ] as const) {
    t.match(read(c2c, failed(failure, 'why\nso')), isSilent(failure, `${failure}: why so`));
  }
  t.match(read(c2c, failed('tls', '')), isSilent('tls', 'tls'));
  t.match(read(c2c, failed('tls', 'x'.repeat(10_000))), isSilent('tls', /^tls: x{300}$/));
});

t.test('[K2] where an app has silence refuse, each command has a code for it', async (t) => {
  const codes = beforeCommands.map((command) => {
    const decision = refusalOfSilence(command, 'timeout');
    t.match(decision, { kind: 'refuse', outcome: 'timeout', reason: /no usable answer/ });
    return decision.kind === 'refuse' ? decision.code : 0;
  });
  t.same(codes, [20006, 10016, 10016, 10016, 10016, 38000, 38000]);
});

/** Answers as backends might write them, right and wrong. */
const account = fc.constantFrom('zed', 'kay', 'lee', 'lin', 'nobody', '', '__proto__');
const code = fc.oneof(
  fc.constantFrom(0, 1, 2, 10016, 10100, 10200, 120001, 130000, 38000, 39000),
  fc.double(),
  fc.integer(),
);
const junk = fc.jsonValue();
const answerJson = fc.record(
  {
    ActionStatus: fc.oneof(fc.constantFrom('OK', 'FAIL'), junk),
    ErrorCode: fc.oneof({ weight: 8, arbitrary: code }, junk),
    ErrorInfo: fc.oneof(fc.string({ unit: 'binary', maxLength: 700 }), junk),
    MsgBody: fc.oneof(fc.constant([text('h*')]), fc.array(fc.record({ MsgType: junk, MsgContent: junk })), junk),
    RefusedMembers_Account: fc.oneof(fc.array(account), junk),
    ResultItem: fc.oneof(
      fc.array(fc.record({ To_Account: account, ResultCode: code, ResultInfo: fc.string({ unit: 'binary' }) })),
      junk,
    ),
  },
  { requiredKeys: [] },
);
const body = fc.oneof(
  { weight: 4, arbitrary: answerJson.map((value) => JSON.stringify(value)) },
  junk.map((value) => JSON.stringify(value)),
  fc.string({ unit: 'binary' }),
  fc.tuple(answerJson, fc.nat(), fc.string({ unit: 'binary', maxLength: 3 })).map(([value, at, put]) => {
    const json = JSON.stringify(value);
    return json.slice(0, at % (json.length + 1)) + put + json.slice((at % (json.length + 1)) + 1);
  }),
);

t.test(
  '[K1] [K2] whatever a backend answers, there is one decision of the command, and no more than it may say',
  async (t) => {
    const isFit = (line: string, max: number) => line.length <= max && line.isWellFormed() && !/\p{Cc}/u.test(line);
    const asked = fc.constantFrom(...beforeCommands);
    const isRight = (command: BeforeCommand, body: string): boolean => {
      const reading = read(command, answered(body));
      if (reading.detail !== undefined && !isFit(reading.detail, 320)) return false;
      if (reading.kind === 'silent') return reading.outcome === 'error' && reading.detail !== '';
      const { decision } = reading;
      if (decision.kind === 'drop') return command === groupSend;
      if (decision.kind === 'refuse') {
        const { code, reason } = decision;
        const isOwn = command === c2c ? code > 120000 && code <= 130000 : code >= 10100 && code <= 10200;
        const isPlain = code === (command === c2c ? 20006 : 10016);
        return !command.startsWith('Sns.') && (isOwn || isPlain) && reason !== '' && isFit(reason, 500);
      }
      if (decision.body !== undefined && command !== c2c && command !== groupSend) return false;
      if (decision.refusedMembers !== undefined) {
        const isInvited = decision.refusedMembers.every((one) => ['zed', 'kay', 'lee'].includes(one));
        if (command !== invite || !isInvited || decision.refusedMembers.length === 0) return false;
      }
      for (const [one, { code, reason }] of decision.results ?? []) {
        const isAsked =
          command === friendAdd ? ['zed', 'kay'].includes(one) : command === friendResponse && one === 'lin';
        if (!isAsked || code < 38000 || code > 39000 || !isFit(reason, 500)) return false;
      }
      return true;
    };
    t.doesNotThrow(() => fc.assert(fc.property(asked, body, isRight), { numRuns: 2_000 }));
    // The question is ours, but nothing of it is trusted to be there.
    const anyFields = fc.oneof(
      fc.record({ DestinationMembers: junk, FriendItem: junk, ResponseFriendItem: junk, MsgBody: junk }),
      fc.record({ FriendItem: fc.array(junk), DestinationMembers: fc.array(junk), ResponseFriendItem: fc.array(junk) }),
    ) as fc.Arbitrary<AskedOf['fields']>;
    const never = fc.property(asked, body, anyFields, (command, body, fields) => {
      read(command, answered(body), { fields });
    });
    t.doesNotThrow(() => fc.assert(never, { numRuns: 800 }));
    t.equal(({} as Record<string, unknown>).ErrorCode, undefined);
  },
);
