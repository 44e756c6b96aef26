import { createHmac } from 'node:crypto';
import { createRequire } from 'node:module';
import { deflateRawSync, deflateSync, gzipSync, inflateSync } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { signUserSig, userSigSecretId, verifyUserSig } from '../../src/auth/index.ts';

/** The vendor's own package, as app backends use it. */
interface VendorApi {
  genSig(userid: string, expire: number, userBuf: Buffer | null): string;
  genUserSig(userid: string, expire: number): string;
  genPrivateMapKey(userid: string, expire: number, roomid: number, privilegeMap: number): string;
  genPrivateMapKeyWithStringRoomID(userid: string, expire: number, roomstr: string, privilegeMap: number): string;
}
const { Api } = createRequire(import.meta.url)('tls-sig-api-v2') as {
  Api: new (sdkAppId: number | string, key: string) => VendorApi;
};

const sdkAppId = 1_400_000_000;
const secret = 'a secret of the app, 32 characters';
const vendor = new Api(sdkAppId, secret);
const nowSec = Math.floor(Date.now() / 1_000);
const input = { sdkAppId, identifier: 'alice', secrets: [secret], nowSec };

const decode = (userSig: string): Record<string, unknown> =>
  JSON.parse(
    inflateSync(
      Buffer.from(userSig.replaceAll('*', '+').replaceAll('-', '/').replaceAll('_', '='), 'base64'),
    ).toString(),
  );
const urlBase64 = (bytes: Buffer): string =>
  bytes.toString('base64').replaceAll('+', '*').replaceAll('/', '-').replaceAll('=', '_');
const encode = (document: unknown): string => urlBase64(deflateSync(JSON.stringify(document)));

/** A document whose signature fits what it says, with fields changed before or after signing. */
function forge(before: Record<string, unknown>, after: Record<string, unknown> = {}): string {
  const document: Record<string, unknown> = {
    'TLS.ver': '2.0',
    'TLS.identifier': 'alice',
    'TLS.sdkappid': sdkAppId,
    'TLS.time': nowSec,
    'TLS.expire': 60,
    ...before,
  };
  let text = '';
  for (const name of ['identifier', 'sdkappid', 'time', 'expire', 'userbuf']) {
    if (document[`TLS.${name}`] !== undefined) text += `TLS.${name}:${document[`TLS.${name}`]}\n`;
  }
  document['TLS.sig'] = createHmac('sha256', secret).update(text).digest('base64');
  return encode({ ...document, ...after });
}
const codeOf = (userSig: unknown, change: Partial<typeof input> = {}): string => {
  const result = verifyUserSig(userSig, { ...input, ...change });
  return result.ok ? 'ok' : result.code;
};

t.test('[A13] what the vendor package makes is accepted', async (t) => {
  const made = verifyUserSig(vendor.genUserSig('alice', 86_400), input);
  t.match(made, { ok: true, secretIndex: 0 });
  if (made.ok) {
    t.ok(Math.abs(made.issuedAtSec - nowSec) <= 5, 'issue time in seconds');
    t.equal(made.expiresAtSec, made.issuedAtSec + 86_400);
  }
  t.equal(codeOf(vendor.genSig('alice', 60, null)), 'ok');
  t.equal(codeOf(vendor.genSig('alice', 60, Buffer.from([0, 1, 250, 255]))), 'ok', 'binary userbuf');
  t.equal(codeOf(vendor.genSig('alice', 60, Buffer.alloc(0))), 'ok', 'empty userbuf');
  t.equal(codeOf(vendor.genPrivateMapKey('alice', 60, 4_711, 255)), 'ok');
  t.equal(codeOf(vendor.genPrivateMapKeyWithStringRoomID('alice', 60, 'room', 42)), 'ok');
  for (const identifier of ['张三', 'Zoë 🎈', '"quoted"\\', 'a']) {
    t.equal(codeOf(vendor.genUserSig(identifier, 60), { identifier }), 'ok', identifier);
  }
  t.equal(codeOf(new Api(String(sdkAppId), secret).genUserSig('alice', 60)), 'ok', 'app id given as text');
  t.equal(codeOf(forge({ 'TLS.sdkappid': String(sdkAppId) })), 'ok', 'app id as text in the document');
  t.equal(codeOf(forge({}, { 'TLS.more': [1] })), 'ok', 'unknown fields do not matter');
});

t.test('[A13] what we sign is what the vendor package would sign', async (t) => {
  for (const [identifier, userbuf] of [['alice'], ['李四'], ['bob', Buffer.from([1, 2, 255])]] as const) {
    const theirs = decode(vendor.genSig(identifier, 3_600, userbuf ?? null));
    const issuedAtSec = Number(theirs['TLS.time']);
    const ours = signUserSig({
      sdkAppId,
      identifier,
      secret,
      expireSec: 3_600,
      issuedAtSec,
      ...(userbuf === undefined ? {} : { userbuf }),
    });
    t.match(ours, /^[A-Za-z0-9*_-]+$/);
    t.strictSame(decode(ours), theirs);
    t.equal(codeOf(ours, { identifier }), 'ok');
  }
});

t.test('[A13] each defect has its code, in the order of the reference', async (t) => {
  const good = vendor.genUserSig('alice', 60);
  for (const empty of [undefined, null, '']) t.equal(codeOf(empty), 'USERSIG_EMPTY');

  const json = JSON.stringify(decode(good));
  const malformed: [string, unknown][] = [
    ['a number', 5],
    ['an object', {}],
    ['truncated', good.slice(0, -8)],
    ['one character short', good.slice(0, -1)],
    ['RFC 4648 alphabet', `${good.slice(0, -4)}ab+/`],
    ['white space', `${good.slice(0, 8)}\n${good.slice(8)}`],
    ['padding inside', `__${good.slice(2)}`],
    ['not zlib', urlBase64(Buffer.from(json))],
    ['raw deflate', urlBase64(deflateRawSync(json))],
    ['gzip', urlBase64(gzipSync(json))],
    ['not JSON', urlBase64(deflateSync('{"TLS.ver":'))],
    ['not UTF-8', urlBase64(deflateSync(Buffer.from([0x22, 0xff, 0xfe, 0x22])))],
    ['null', encode(null)],
    ['an array', encode([])],
    ['no fields', encode({})],
    ['version 1', forge({ 'TLS.ver': undefined, 'TLS.version': '201610110000' })],
    ['another version', forge({ 'TLS.ver': '3.0' })],
    ['identifier a number', forge({ 'TLS.identifier': 5 })],
    ['line break in the identifier', forge({ 'TLS.identifier': 'alice\nTLS.sdkappid:1' })],
    ['app id a fraction', forge({ 'TLS.sdkappid': 1.5 })],
    ['app id with a sign', forge({ 'TLS.sdkappid': `+${sdkAppId}` })],
    ['time a text', forge({ 'TLS.time': String(nowSec) })],
    ['time negative', forge({ 'TLS.time': -1 })],
    ['expire missing', forge({ 'TLS.expire': undefined })],
    ['expire beyond integers', forge({ 'TLS.expire': 1e300 })],
    ['userbuf no base64', forge({ 'TLS.userbuf': 'a\nb' })],
    ['userbuf null', forge({ 'TLS.userbuf': null })],
    ['sig missing', forge({}, { 'TLS.sig': undefined })],
    ['sig short', forge({}, { 'TLS.sig': 'AAAA' })],
    ['over the length cap', 'AAAA'.repeat(3_000)],
  ];
  for (const [what, userSig] of malformed) t.equal(codeOf(userSig), 'USERSIG_MALFORMED', what);

  const otherKey = new Api(sdkAppId, 'another secret, not the one of it');
  const otherApp = new Api(1_400_000_001, secret);
  t.equal(codeOf(vendor.genUserSig('bob', 60)), 'USERSIG_IDENTIFIER_MISMATCH');
  t.equal(codeOf(good, { identifier: 'Alice' }), 'USERSIG_IDENTIFIER_MISMATCH', 'case-sensitive');
  t.equal(codeOf(otherApp.genUserSig('alice', 60)), 'USERSIG_APP_MISMATCH');
  t.equal(codeOf(otherApp.genUserSig('bob', 60)), 'USERSIG_IDENTIFIER_MISMATCH', 'identifier before app');
  t.equal(codeOf(otherKey.genUserSig('alice', 60)), 'USERSIG_KEY_MISMATCH');
  t.equal(codeOf(otherKey.genUserSig('alice', -60)), 'USERSIG_KEY_MISMATCH', 'key before expiry');
  t.equal(codeOf(good, { secrets: [] }), 'USERSIG_KEY_MISMATCH');
  t.equal(codeOf(vendor.genUserSig('alice', -60)), 'USERSIG_EXPIRED');
  for (const field of ['TLS.time', 'TLS.expire']) {
    const document = decode(good);
    t.equal(codeOf(encode({ ...document, [field]: Number(document[field]) + 1 })), 'USERSIG_KEY_MISMATCH', field);
  }
  t.equal(
    codeOf(forge({ 'TLS.userbuf': 'AQI=' }, { 'TLS.userbuf': undefined })),
    'USERSIG_KEY_MISMATCH',
    'userbuf cut',
  );
});

t.test('[A13] the last second of a UserSig', async (t) => {
  const userSig = signUserSig({ sdkAppId, identifier: 'alice', secret, expireSec: 100, issuedAtSec: 1_000 });
  t.equal(codeOf(userSig, { nowSec: 1_099 }), 'ok');
  t.equal(codeOf(userSig, { nowSec: 1_100 }), 'USERSIG_EXPIRED');
});

t.test('[A13] a UserSig that inflates to megabytes is refused after 4 KiB', async (t) => {
  const padded = (bytes: number): string =>
    urlBase64(deflateSync(JSON.stringify({ ...decode(vendor.genUserSig('alice', 60)), pad: 'x'.repeat(bytes) })));
  t.equal(codeOf(padded(3_000)), 'ok', 'padding within the cap does no harm');
  const bomb = padded(5_000_000);
  t.ok(bomb.length < 8_192, `${bomb.length} characters, within the length cap`);
  t.equal(codeOf(bomb), 'USERSIG_MALFORMED');
});

t.test('[A14] while a key rotates both are good, and which one it was is known', async (t) => {
  const newest = 'the next secret of the application';
  const signed = (key: string) =>
    verifyUserSig(new Api(sdkAppId, key).genUserSig('alice', 60), { ...input, secrets: [newest, secret] });
  t.match(signed(newest), { ok: true, secretIndex: 0 });
  t.match(signed(secret), { ok: true, secretIndex: 1 });
  t.not(userSigSecretId(newest), userSigSecretId(secret));
  t.equal(userSigSecretId(secret), userSigSecretId(secret));
  t.match(userSigSecretId(secret), /^[A-Za-z0-9_-]{12}$/);
});

t.test('[A13] any input gives a result, and none but the signed text is accepted', async (t) => {
  const good = vendor.genUserSig('alice', 60);
  const holds = <T>(property: fc.IRawProperty<T>) => t.doesNotThrow(() => fc.assert(property));
  const neverOk = (userSig: unknown) => !verifyUserSig(userSig, input).ok;
  holds(fc.property(fc.anything(), neverOk));
  holds(fc.property(fc.string({ unit: 'binary' }), neverOk));
  holds(fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => neverOk(urlBase64(deflateSync(bytes)))));
  holds(fc.property(fc.json(), (text) => neverOk(urlBase64(deflateSync(text)))));
  const field = fc.constantFrom('ver', 'identifier', 'sdkappid', 'time', 'expire', 'userbuf', 'sig');
  holds(
    fc.property(field, fc.jsonValue(), (name, value) => {
      const document = decode(good);
      const result = verifyUserSig(encode({ ...document, [`TLS.${name}`]: value }), input);
      return !result.ok || value === document[`TLS.${name}`];
    }),
  );
  holds(
    fc.property(fc.nat({ max: good.length - 1 }), fc.string({ minLength: 1, maxLength: 1 }), (at, letter) => {
      const result = verifyUserSig(good.slice(0, at) + letter + good.slice(at + 1), input);
      // zlib has a few bits that no reader looks at; whatever is accepted must say what was signed.
      return !result.ok || result.expiresAtSec - result.issuedAtSec === 60;
    }),
  );
});
