import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { Webhook } from 'standardwebhooks';
import t from 'tap';
import { callbackPath, parseCallbackUrl } from '../../src/callbacks/endpoint/callback-url.ts';
import { createSigner, vendorSign } from '../../src/callbacks/endpoint/signing.ts';
import { keyFingerprint } from '../../src/callbacks/index.ts';
import { callbackCommands, type SdkAppId } from '../../src/wire/index.ts';

const secretOf = (bytes: Buffer): string => `whsec_${bytes.toString('base64')}`;
const signer = createSigner();

t.test('[K5] the published vector of Standard Webhooks', async (t) => {
  const fields = signer.sign(
    ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'],
    'msg_p5jXN8AQM9LWM0D4loKWxJek',
    1_614_265_330,
    '{"test": 2432232314}',
  );
  t.same(fields, {
    'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
    'webhook-timestamp': '1614265330',
    'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
  });
});

t.test('[K5] npm standardwebhooks verifies ours, and ours is what it signs', async (t) => {
  const nowSec = Math.floor(Date.now() / 1_000);
  const key = fc.uint8Array({ minLength: 24, maxLength: 64 }).map((bytes) => secretOf(Buffer.from(bytes)));
  const id = fc.stringMatching(/^cb_[0-9a-f]{8}_[0-9]{1,12}$/);
  fc.assert(
    fc.property(key, key, id, fc.json(), (newer, older, webhookId, body) => {
      const fields = signer.sign([newer, older], webhookId, nowSec, Buffer.from(body));
      for (const secret of [newer, older]) {
        const theirs = new Webhook(secret);
        theirs.verify(body, fields);
        const signature = theirs.sign(webhookId, new Date(nowSec * 1_000), body);
        t.ok(fields['webhook-signature']?.split(' ').includes(signature));
      }
      t.throws(() => new Webhook(secretOf(randomBytes(24))).verify(body, fields));
      t.throws(() => new Webhook(newer).verify(`${body} `, fields));
    }),
    { numRuns: 50 },
  );
});

t.test('[K5] while a key rotates the newest comes first, and each has its name', async (t) => {
  const [newer, older] = [secretOf(randomBytes(24)), secretOf(randomBytes(32))] as const;
  const both = signer.sign([newer, older], 'cb_1', 1, 'é')['webhook-signature'];
  const alone = (secret: string) => signer.sign([secret], 'cb_1', 1, Buffer.from('é'))['webhook-signature'];
  t.equal(both, `${alone(newer)} ${alone(older)}`);
  t.equal(signer.fingerprintOf(newer), keyFingerprint(newer));
  t.not(signer.fingerprintOf(newer), signer.fingerprintOf(older));
});

t.test("the vendor's sample of Sign", async (t) => {
  t.equal(vendorSign('xxxxyyyy', 1_669_872_112), '17773bc39a671d7b9aa835458704d2a6db81360a5940292b587d6d760d484061');
});

const query = {
  sdkAppId: 1_400_000_000 as SdkAppId,
  command: 'State.StateChange',
  origin: { platform: 'Web', address: '127.0.0.1' },
} as const;
const ours =
  'SdkAppid=1400000000&CallbackCommand=State.StateChange&contenttype=json&ClientIP=127.0.0.1&OptPlatform=Web';

t.test('our parameters go behind whatever path and query the URL has', async (t) => {
  const cases: [string, string, string][] = [
    ['http://backend.example', 'http://backend.example', `/?${ours}`],
    ['https://backend.example:8443/', 'https://backend.example:8443', `/?${ours}`],
    ['http://backend.example/cb', 'http://backend.example', `/cb?${ours}`],
    ['http://backend.example/cb?', 'http://backend.example', `/cb?${ours}`],
    ['http://backend.example/cb?a=1', 'http://backend.example', `/cb?a=1&${ours}`],
    ['http://backend.example/cb?a=1&', 'http://backend.example', `/cb?a=1&${ours}`],
    ['http://backend.example/cb?a=?%26', 'http://backend.example', `/cb?a=?%26&${ours}`],
    ['http://backend.example/cb#part', 'http://backend.example', `/cb?${ours}`],
    ['HTTP://Backend.Example:80/%E4%BD%A0/a"b', 'http://backend.example', `/%E4%BD%A0/a%22b?${ours}`],
  ];
  for (const [url, origin, path] of cases) {
    const target = parseCallbackUrl(url);
    t.equal(target.origin, origin, url);
    t.equal(callbackPath(target, query), path, url);
  }
  const signed = {
    ...query,
    origin: { platform: 'iOS', address: '2001:db8::1' },
    sign: { sign: 'ab', requestTimeSec: 7 },
  } as const;
  t.match(
    callbackPath(parseCallbackUrl('http://x/'), signed),
    /&ClientIP=2001%3Adb8%3A%3A1&OptPlatform=iOS&Sign=ab&RequestTime=7$/,
  );
  const unknown = { ...query, origin: { platform: 'RESTAPI', address: '' } } as const;
  t.match(callbackPath(parseCallbackUrl('http://x/'), unknown), /&ClientIP=&OptPlatform=RESTAPI$/);
  t.throws(() => parseCallbackUrl('ftp://x/'), /neither http nor https/);
  t.throws(() => parseCallbackUrl('x'));
});

t.test('whatever stands in the URL and in the origin stays as it is, and ours can be read', async (t) => {
  const configured = fc.webUrl({ withQueryParameters: true, validSchemes: ['http', 'https'] });
  fc.assert(
    fc.property(
      configured,
      fc.constantFrom(...callbackCommands),
      fc.string({ unit: 'binary' }),
      (url, command, address) => {
        const target = parseCallbackUrl(url);
        const path = callbackPath(target, { ...query, command, origin: { platform: 'Web', address } });
        const was = new URL(url);
        const is = new URL(target.origin + path);
        t.equal(is.origin, was.origin);
        t.equal(is.pathname, was.pathname);
        t.ok(is.search.startsWith(was.search));
        t.match(path, /^\/[\x21-\x7e]*$/);
        t.equal(is.searchParams.getAll('CallbackCommand').at(-1), command);
        t.equal(is.searchParams.getAll('ClientIP').at(-1), address.toWellFormed());
      },
    ),
    { numRuns: 200 },
  );
});
