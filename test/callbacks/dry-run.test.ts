import { createHmac, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { type Diagnosis, diagnose, type FindingCode, type Received } from '../../src/callbacks/dry-run/diagnose.ts';
import { createSigner, signingKey } from '../../src/callbacks/endpoint/signing.ts';
import { keyFingerprint } from '../../src/callbacks/key-fingerprint.ts';
import { sampleBody } from '../../src/callbacks/sample.ts';
import { verifyCallback } from '../../src/sdk/backend/index.ts';
import { callbackCommands } from '../../src/wire/index.ts';

const nowMs = 1_795_686_921_500;
const sentSec = Math.floor(nowMs / 1_000);
const makeSecret = () => `whsec_${randomBytes(24).toString('base64')}`;
const [newest, older, foreign] = [makeSecret(), makeSecret(), makeSecret()];
const id = 'cb_0a1b2c3d_42';
const message = {
  CallbackCommand: 'C2C.CallbackAfterSendMsg',
  From_Account: 'lin',
  To_Account: 'mö',
  MsgSeq: 1,
  MsgRandom: 771_231,
  MsgTime: sentSec,
  MsgKey: `1_771231_${sentSec}`,
  OnlineOnlyFlag: 0,
  MsgBody: [{ MsgType: 'TIMTextElem', MsgContent: { Text: 'see <b>/café/</b> & ü' } }],
  SendMsgResult: 0,
  ErrorInfo: '',
};
const sent = JSON.stringify(message);
const ascii = (text: string) =>
  text.replace(/[\u0080-\uffff]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`);
const sortKeys = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(sortKeys)
    : typeof value === 'object' && value !== null
      ? Object.fromEntries(
          Object.entries(value)
            .sort(([a], [b]) => (a < b ? -1 : 1))
            .map(([key, one]) => [key, sortKeys(one)]),
        )
      : value;

function sign(body: string, secrets = [newest, older], at = sentSec) {
  return createSigner().sign(secrets, id, at, body);
}

function look(given: Partial<Omit<Received, 'body'>> & { body?: string | Buffer } = {}): Diagnosis {
  const { body = sent, ...rest } = given;
  return diagnose({ headers: sign(sent), secrets: [newest, older], nowMs, ...rest, body: Buffer.from(body) });
}
const codes = ({ findings }: Diagnosis): FindingCode[] => findings.map(({ code }) => code);
const words = ({ findings }: Diagnosis): string => findings.map(({ text }) => text).join('\n');

/** One finding, that and no other, and what it says. */
function only(t: Test, diagnosis: Diagnosis, code: FindingCode, ...texts: RegExp[]): void {
  t.same(codes(diagnosis), [code], words(diagnosis));
  for (const text of texts) t.match(words(diagnosis), text);
  t.equal(diagnosis.verifies, code === 'SIGNATURE_RIGHT');
}

t.test('[K5] what is right is said to be right, and by which key', async (t) => {
  only(t, look(), 'SIGNATURE_RIGHT', new RegExp(`newest key \\(${keyFingerprint(newest)}\\)`));
  only(t, look({ secrets: [newest] }), 'SIGNATURE_RIGHT', /the app's key/);
  t.same(look().keys, [keyFingerprint(newest), keyFingerprint(older)]);
  const upper = Object.fromEntries(Object.entries(sign(sent)).map(([name, value]) => [name.toUpperCase(), value]));
  t.same(codes(look({ headers: upper })), ['SIGNATURE_RIGHT'], 'case is no matter');
  t.same(codes(look({ headers: Object.entries(sign(sent)) })), ['SIGNATURE_RIGHT']);
});

t.test('[K5] fields that are missing or malformed', async (t) => {
  const fields = sign(sent);
  for (const name of Object.keys(fields)) {
    const { [name]: _, ...rest } = fields;
    only(t, look({ headers: rest }), 'HEADER_MISSING', new RegExp(`no ${name}`));
  }
  const by = (changes: Record<string, string | string[]>) => look({ headers: { ...fields, ...changes } });
  const signature = fields['webhook-signature'] ?? '';
  t.same(codes(by({ 'webhook-signature': signature.slice(3).split(' ')[0] ?? '' })), [
    'HEADER_MALFORMED',
    'SIGNATURE_ALTERED',
  ]);
  t.match(words(by({ 'webhook-timestamp': `${sentSec}000` })), /in milliseconds/);
  t.match(words(by({ 'webhook-timestamp': new Date(sentSec * 1_000).toISOString() })), /written as a date/);
  t.match(words(by({ 'webhook-id': [id, id] })), /stands there 2 times.*several times in one field/s);
  t.match(words(by({ 'webhook-id': ` ${id}` })), /white space around it/);
  t.match(words(by({ 'webhook-id': `"${id}"` })), /in quotes/);
  t.match(words(by({ 'webhook-signature': '' })), /is empty/);
  for (const [damaged, how] of [
    [signature.replace(' ', ', '), /separated by something else/],
    [signature.replaceAll('v1,', 'v1='), /instead of a comma/],
    [signature.replaceAll('=', ''), /at the end of the base64 is missing/],
  ] as const) {
    const diagnosis = by({ 'webhook-signature': damaged });
    t.match(words(diagnosis), how, damaged);
    t.equal(diagnosis.verifies, false);
  }
  // A signature with both `+` and `/` in it.
  let at = sentSec;
  const one = () => sign(sent, [newest], at)['webhook-signature'] ?? '';
  while (!/\+.*\/|\/.*\+/.test(one())) at -= 1;
  const late = { secrets: [newest], receivedMs: at * 1_000 };
  const of = (text: string) =>
    look({ ...late, headers: { ...fields, 'webhook-timestamp': String(at), 'webhook-signature': text } });
  t.match(words(of(one().replaceAll('+', ' '))), /a `\+` of the base64 became a space/);
  t.match(words(of(one().replaceAll('+', '-').replaceAll('/', '_'))), /alphabet for URLs/);
  t.match(words(of(one().replaceAll('+', '%2B'))), /percent-encoded/);

  const environment = Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [`HTTP_${name.toUpperCase().replaceAll('-', '_')}`, value]),
  );
  t.same(codes(look({ headers: environment })), [
    'HEADER_RENAMED',
    'HEADER_RENAMED',
    'HEADER_RENAMED',
    'SIGNATURE_RIGHT',
  ]);
  only(t, look({ secrets: [] }), 'NO_KEY');
  t.same(codes(look({ body: '' })), ['BODY_EMPTY', 'SIGNATURE_BY_OTHER_KEY']);
});

t.test('[K5] clocks: the time is measured by when it was received, where that is known', async (t) => {
  const at = (sec: number) => look({ nowMs: nowMs + 86_400_000, receivedMs: (sentSec + sec) * 1_000 });
  t.same(
    [-301, -300, 300, 301].map((sec) => codes(at(sec)).slice(1)),
    [['TIMESTAMP_TOO_NEW'], [], [], ['TIMESTAMP_TOO_OLD']],
  );
  t.match(words(at(301)), /301 s before it was received, by the backend's clock/);
  t.same([at(300).verifies, at(301).verifies], [true, false]);
  const unknown = look({ nowMs: nowMs + 400_000 });
  t.same(codes(unknown), ['SIGNATURE_RIGHT', 'TIMESTAMP_TOO_OLD']);
  t.match(words(unknown), /400 s before now, by our clock; 300 s are tolerated.*tell when/);
});

t.test('[K5] keys: the older of two, and one that is none of the app', async (t) => {
  const old = look({ headers: sign(sent, [older]) });
  t.same(codes(old), ['SIGNATURE_BY_OLDER_KEY', 'SIGNATURE_RIGHT']);
  t.match(words(old), new RegExp(`older key \\(${keyFingerprint(older)}\\)`));
  const other = look({ headers: sign(sent, [foreign]) });
  only(t, other, 'SIGNATURE_BY_OTHER_KEY', new RegExp(keyFingerprint(newest)), new RegExp(keyFingerprint(older)));
  const certain = look({ headers: sign(sent, [foreign]), sent: { id, body: sent } });
  only(t, certain, 'SIGNATURE_BY_OTHER_KEY', /Not even for the id and the body that we sent/);
  only(t, look({ headers: { ...sign(sent), 'webhook-timestamp': String(sentSec + 1) } }), 'SIGNATURE_BY_OTHER_KEY');
});

t.test('[K5] an id that is another is named where we know what was sent', async (t) => {
  const headers = { ...sign(sent), 'webhook-id': 'cb_0a1b2c3d_43' };
  only(t, look({ headers }), 'SIGNATURE_BY_OTHER_KEY');
  only(t, look({ headers, sent: { id, body: sent } }), 'ID_ALTERED', /"cb_0a1b2c3d_42" was sent/);
});

const { CallbackCommand, MsgBody, ...others } = message;
const rewritings: [name: string, body: string | Buffer, ...says: RegExp[]][] = [
  ['parsed and indented by 2', JSON.stringify(message, undefined, 2), /written anew indented by 2 spaces/],
  [
    'by 4, with a line end',
    `${JSON.stringify(message, undefined, 4)}\n`,
    /indented by 4/,
    /a line end was put behind it/,
  ],
  ['by tabs', JSON.stringify(message, undefined, '\t'), /indented by tabs/],
  ['a line end', `${sent}\n`, /a line end was put behind it/],
  ['spaces at its ends', ` ${sent}  `, /white space at its end/],
  ['CRLF', JSON.stringify(message, undefined, 2).replaceAll('\n', '\r\n'), /CRLF/, /indented by 2/],
  ['a byte order mark', `\ufeff${sent}`, /a byte order mark/],
  ['escaped characters', ascii(sent), /non-ASCII characters as \\uXXXX/],
  [
    'escaped in upper case',
    ascii(sent).replace(/\\u00(..)/g, (_, two: string) => `\\u00${two.toUpperCase()}`),
    /upper case/,
  ],
  ['escaped slashes', sent.replaceAll('/', '\\/'), /with \/ as \\\//],
  ["PHP's json_encode", ascii(sent).replaceAll('/', '\\/'), /with \/ as \\\/ and non-ASCII/],
  [
    "Go's encoding/json",
    `${sent.replace(/[<>&]/g, (one) => `\\u00${one.charCodeAt(0).toString(16)}`)}\n`,
    /<, > and &/,
  ],
  [
    "Python's json.dumps",
    ascii(`{${sent.slice(1).replaceAll('":', '": ').replaceAll(',"', ', "')}`),
    /spaces behind commas and colons, with non-ASCII/,
  ],
  ['Latin-1', Buffer.from(sent, 'latin1'), /encoded as Latin-1/],
  ['read as Latin-1', Buffer.from(Buffer.from(sent).toString('latin1')), /UTF-8 was read as Latin-1/],
  ['other key order', JSON.stringify({ MsgBody, ...others, CallbackCommand }), /another order/],
  ['sorted keys', JSON.stringify(sortKeys(message)), /keys were sorted/],
  ['sorted and indented', JSON.stringify(sortKeys(message), undefined, 2), /keys were sorted/, /indented by 2/],
  ['decimals', sent.replace('"MsgSeq":1,', '"MsgSeq":1.0,'), /written as 1\.0/],
  ['other escapes', sent.replace('café', 'caf\\u00e9'), /other spaces or escapes/],
  ['base64', Buffer.from(sent).toString('base64'), /in base64/],
  ['a form', encodeURIComponent(sent), /percent-encoded/],
  ['written twice', JSON.stringify(sent), /written twice/],
];

t.test('[K5] a body that was rewritten on the way: how, and where it first differs', async (t) => {
  for (const [name, body, ...says] of rewritings) {
    for (const known of [undefined, { id, body: sent }]) {
      const diagnosis = look({ body, ...(known === undefined ? {} : { sent: known }) });
      t.same(codes(diagnosis), ['BODY_REWRITTEN'], `${name}: ${words(diagnosis)}`);
      for (const say of says) t.match(words(diagnosis), say, name);
      const [{ difference } = {}] = diagnosis.findings;
      const received = Buffer.from(body);
      const offset = difference?.offset ?? -1;
      t.ok(
        received.subarray(0, offset).equals(Buffer.from(sent).subarray(0, offset)),
        `${name}: agrees until ${offset}`,
      );
      t.not(difference?.sent, difference?.received);
    }
  }
  const tail = look({ body: sent.slice(0, -5), sent: { id, body: sent } });
  t.match(words(tail), /it was cut off.*offset \d+: 0x.. was sent, nothing more came/s);
});

t.test('[K5] a body whose content is another: only our own record tells', async (t) => {
  const changed = sent.replace('"lin"', '"lim"');
  only(t, look({ body: changed }), 'SIGNATURE_BY_OTHER_KEY');
  const diagnosis = look({ body: changed, sent: { id, body: sent } });
  only(t, diagnosis, 'BODY_REWRITTEN', /content is another: From_Account differs/);
  const offset = sent.indexOf('"lin"') + 3;
  t.match(diagnosis.findings[0]?.difference, {
    offset,
    sent: '6e',
    received: '6d',
    sentExcerpt: /lin/,
    receivedExcerpt: /lim/,
  });
  const says = (body: string) => words(look({ body, sent: { id, body: sent } }));
  t.match(says(sent.replace(',"ErrorInfo":""', '')), /ErrorInfo is missing/);
  t.match(says(sent.replace('"MsgSeq":1', '"MsgSeq":"1"')), /MsgSeq is a string and was a number/);
  t.match(says(sent.replace('{', '{"x":1,')), /x came in addition/);
  t.match(says(sent.replace('ü', 'u')), /MsgBody\[0\]\.MsgContent\.Text differs/);
  t.match(says(sent.replace(/[^\x00-\x7f]/g, '\ufffd')), /characters were lost/);
  t.match(says('CallbackCommand=x'), /no JSON any more/);
});

t.test('[K5] bodies of every command are found again behind sorted keys', async (t) => {
  for (const command of callbackCommands) {
    const body = sampleBody(command, nowMs);
    const diagnosis = look({ headers: sign(body), body: JSON.stringify(sortKeys(JSON.parse(body))) });
    const expected = diagnosis.findings[0]?.difference === undefined ? 'SIGNATURE_RIGHT' : 'BODY_REWRITTEN';
    t.same(codes(diagnosis), [expected], command);
  }
});

t.test('[K5] mistakes in what a backend computes itself', async (t) => {
  const [bare, at] = [newest.slice('whsec_'.length), String(sentSec)];
  const mac = (key: string | Buffer, text: string, algorithm = 'sha256') => createHmac(algorithm, key).update(text);
  const right = `${id}.${at}.${sent}`;
  const key = signingKey(newest);
  const cases: [computed: string, RegExp][] = [
    [mac(bare, right).digest('base64'), /used as text/],
    [`v1,${mac(newest, right).digest('base64')}`, /`whsec_` included/],
    [mac(Buffer.from(newest, 'base64'), right).digest('base64'), /`whsec_` was decoded/],
    [mac(key, right).digest('hex'), /hexadecimal/],
    [mac(key, right).digest('hex').toUpperCase(), /hexadecimal/],
    [mac(key, right).digest('base64url'), /base64 for URLs|at the end of the base64/],
    [mac(key, sent).digest('base64'), /id and time are missing/],
    [mac(key, `${at}.${sent}`).digest('base64'), /id is missing/],
    [mac(key, `${at}.${id}.${sent}`).digest('base64'), /wrong way round/],
    [mac(key, right, 'sha1').digest('hex'), /HMAC-SHA1.*hexadecimal/],
    [mac(foreign, right).digest('base64'), /another key, or signed other bytes/],
    ['', /another key, or signed other bytes/],
  ];
  for (const [computed, says] of cases) {
    const diagnosis = look({ computed });
    t.same(codes(diagnosis), ['SIGNATURE_RIGHT', 'COMPUTED_WRONG'], computed);
    t.match(words(diagnosis), says);
  }
  t.same(codes(look({ computed: mac(key, right).digest('base64') })), ['SIGNATURE_RIGHT', 'COMPUTED_RIGHT']);
  const pretty = JSON.stringify(message, undefined, 2);
  const onPretty = look({ body: pretty, computed: mac(key, `${id}.${at}.${pretty}`).digest('base64') });
  t.same(codes(onPretty), ['BODY_REWRITTEN', 'COMPUTED_RIGHT']);
});

t.test('[K5] it agrees with the check for backends, never throws, and shows no secret', async (t) => {
  const anyBody = fc.oneof(
    fc.constantFrom(sent, `${sent}\n`, JSON.stringify(message, undefined, 2), ...rewritings.map(([, body]) => body)),
    fc.string({ unit: 'binary' }),
    fc.uint8Array(),
    fc.json(),
  );
  const anyField = (...usual: string[]) => fc.oneof(fc.constantFrom(...usual), fc.string({ unit: 'binary' }));
  const fields = sign(sent);
  const headers = fc.record(
    {
      'webhook-id': anyField(id, ` ${id}`, 'constructor'),
      'webhook-timestamp': anyField(String(sentSec), String(sentSec - 301), `${sentSec}000`),
      'webhook-signature': anyField(fields['webhook-signature'] ?? '', 'v1,', 'v1=x, v1,y'),
    },
    { requiredKeys: [] },
  );
  const property = fc.property(headers, anyBody, fc.boolean(), (given, content, isKnown) => {
    const body = Buffer.from(content as string);
    const diagnosis = diagnose({
      headers: given,
      body,
      secrets: [newest, older],
      nowMs,
      ...(isKnown ? { sent: { id, body: sent } } : {}),
      computed: 'x',
    });
    const verified = verifyCallback({ secret: [newest, older], headers: given, body, now: () => nowMs });
    const said = JSON.stringify(diagnosis);
    const shows = [newest, older].some((secret) => said.includes(secret.slice('whsec_'.length)));
    return (
      diagnosis.findings.length > 0 &&
      !shows &&
      diagnosis.verifies === (verified.ok || verified.code === 'BODY_MALFORMED')
    );
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 150 }));
  const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
  t.same(codes(look({ body: deep })), ['SIGNATURE_BY_OTHER_KEY']);
  t.same(codes(look({ body: deep, sent: { id, body: sent } })), ['BODY_REWRITTEN']);
});

t.test('[K5] what is long and means nothing takes no long time: it comes from outside', async (t) => {
  const blank = ' '.repeat(1_000_000);
  const fields = sign(sent);
  t.same(codes(look({ body: `A${blank}!` })), ['SIGNATURE_BY_OTHER_KEY']);
  t.same(codes(look({ body: `{"a":"${blank}"}`, sent: { id, body: sent } })), ['BODY_REWRITTEN']);
  const text = `v1,${blank}x`;
  t.same(codes(look({ headers: { ...fields, 'webhook-signature': text } })), ['SIGNATURE_BY_OTHER_KEY']);
  t.same(codes(look({ headers: { ...fields, 'webhook-id': `"${blank}`, 'webhook-timestamp': `"${blank}` } })), [
    'HEADER_MALFORMED',
    'SIGNATURE_BY_OTHER_KEY',
  ]);
});
