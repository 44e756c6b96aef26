import { BlockList } from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import { addTrusted, clientAddress, normalizeAddress, userSigSecretId } from '../../src/auth/index.ts';
import { createFieldClasses } from '../../src/proxy/header-fields.ts';
import { encodeHeaderValue } from '../../src/proxy/injected-headers.ts';
import { createRouter } from '../../src/proxy/router.ts';
import type { AppSettings, Route } from '../../src/store/index.ts';
import {
  type AccountId,
  type DeviceReport,
  type ErrorBody,
  type Rat,
  rats,
  type TerminalId,
} from '../../src/wire/index.ts';
import { openAccess, testApp, testAppId, testRoute } from '../support/access.ts';
import { openProxied, type Proxied } from '../support/proxied.ts';
import { fieldOf, type Message, openClient, openOrigin, readResponse, statusOf } from '../support/wire.ts';

const get = (fields = '', target = '/') => `GET ${target} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;
const account = (name: string) => name as AccountId;

/** Sends a request; what the origin got of it, and the answer. */
async function ask(
  proxied: Pick<Proxied, 'client' | 'origin'>,
  bytes: string,
): Promise<{ answer: Message; request: Message | undefined }> {
  const count = proxied.origin.requests.length;
  const wire = await proxied.client();
  wire.send(bytes);
  const answer = await readResponse(wire);
  wire.socket.destroy();
  return { answer, request: proxied.origin.requests[count] };
}

/** The fields that the proxy has added, in order, the serial number aside. */
function injectedOf(request: Message | undefined): string[] {
  return (request?.fields ?? [])
    .filter(([name]) => /^(?:qal-|x-forwarded-for$)/i.test(name) && name !== 'QAL-Req-Seq-No')
    .map(([name, value]) => `${name}: ${value}`);
}

const errorOf = (answer: Message) => `${statusOf(answer)} ${(JSON.parse(answer.body) as ErrorBody).error.code}`;

// ——— A2: whose request it is ———

const trustedEntries = ['10.0.0.0/8', '192.0.2.7', '2001:db8:1::/48', '::1'];
const trusted = new BlockList();
for (const entry of trustedEntries) addTrusted(trusted, entry);

/** An address with what is known of it by how it was made, not by what the code under test says. */
interface Hop {
  /** As it should stand in X-Forwarded-For. */
  address: string | undefined;
  trusted: boolean;
  /** As proxies may write it. */
  text: string;
}

const octet = fc.nat(255);
const v4 = (first: fc.Arbitrary<number>) => fc.tuple(first, octet, octet, octet).map((parts) => parts.join('.'));
const v4Texts = (address: string) => [
  address,
  ` ${address} `,
  `\t${address}`,
  `${address}:8080`,
  `"${address}"`,
  `"${address}:80"`,
  `::ffff:${address}`,
  `[::FFFF:${address}]:9`,
];
const v6Texts = (address: string) => [
  address,
  address.toUpperCase(),
  `[${address}]`,
  `"[${address}]:443"`,
  `[${address}]:443`,
];
const hopOf = (
  address: fc.Arbitrary<string>,
  isTrusted: boolean,
  texts: (address: string) => string[],
): fc.Arbitrary<Hop> =>
  address.chain((value) =>
    fc.constantFrom(...texts(value)).map((text) => ({ address: value, trusted: isTrusted, text })),
  );
const group = fc.integer({ min: 0x1000, max: 0xffff }).map((n) => n.toString(16));
const hops: fc.Arbitrary<Hop> = fc.oneof(
  hopOf(v4(fc.constant(10)), true, v4Texts),
  hopOf(fc.constant('192.0.2.7'), true, v4Texts),
  hopOf(v4(fc.integer({ min: 11, max: 100 })), false, v4Texts),
  hopOf(
    group.map((g) => `2001:db8:1::${g}`),
    true,
    v6Texts,
  ),
  hopOf(
    group.map((g) => `2001:db8:2::${g}`),
    false,
    v6Texts,
  ),
  fc
    .constantFrom(
      'unknown',
      '_hidden',
      '',
      ' ',
      'a.example',
      '1.2.3',
      '1.2.3.4.5',
      '1.2.3.256',
      '01.2.3.4',
      'fe80::1%eth0',
      '[::1',
      '"1.2.3.4',
      '<script>',
      'for=1.2.3.4',
      '1.2.3.4;',
    )
    .map((text) => ({ address: undefined, trusted: false, text })),
);

t.test('[A2] the rightmost hop that is no trusted proxy, whatever hops are written how', async (t) => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(
        hops.filter((hop) => hop.address !== undefined),
        fc.array(hops, { maxLength: 6 }),
        fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
        (peer, chain, splits) => {
          // One field or several; a split stands before the hop.
          const fields: string[] = [];
          for (const [i, hop] of chain.entries()) {
            if (i === 0 || splits[i] === true) fields.push(hop.text);
            else fields[fields.length - 1] += `,${hop.text}`;
          }
          const believed = [...chain, peer];
          let expected = peer.address;
          for (let i = believed.length - 1; i >= 0 && believed[i]?.address !== undefined; i -= 1) {
            expected = believed[i]?.address;
            if (believed[i]?.trusted === false) break;
          }
          return clientAddress(peer.address ?? '', fields, trusted) === expected;
        },
      ),
      { numRuns: 2_000 },
    ),
  );
});

t.test('[A2] any bytes in X-Forwarded-For give one address', async (t) => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary-ascii', maxLength: 40 }), { maxLength: 4 }), (fields) => {
        const address = clientAddress('10.0.0.1', fields, trusted);
        return normalizeAddress(address) === address;
      }),
      { numRuns: 2_000 },
    ),
  );
});

t.test('[A2] X-Forwarded-For is one address: of the connection, or as trusted proxies say', async (t) => {
  await t.test('a client that is no trusted proxy', async (t) => {
    const proxied = await openProxied(t);
    const { request } = await ask(
      proxied,
      get(
        'X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nForwarded: for=1.2.3.4\r\n',
      ),
    );
    t.strictSame(injectedOf(request), [`QAL-SDK-APP-Id: ${testAppId}`, 'X-Forwarded-For: 127.0.0.1']);
    t.notMatch(request?.raw, /evil|https|1\.2\.3\.4/);
  });
  await t.test('a trusted proxy', async (t) => {
    const proxied = await openProxied(t, {}, { options: { trustedProxies: ['127.0.0.0/8', '10.0.0.0/8'] } });
    const cases: [fields: string, expected: string][] = [
      ['', '127.0.0.1'],
      ['X-Forwarded-For: 1.2.3.4\r\n', '1.2.3.4'],
      ['X-Forwarded-For: 6.6.6.6, 1.2.3.4\r\n', '1.2.3.4'],
      ['X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.1.1.1\r\n', '1.2.3.4'],
      ['X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 1.2.3.4\r\nX-Forwarded-For: 10.1.1.1\r\n', '1.2.3.4'],
      ['X-Forwarded-For: 10.2.2.2, 10.1.1.1\r\n', '10.2.2.2'],
      ['X-Forwarded-For: 1.2.3.4, unknown\r\n', '127.0.0.1'],
      ['X-Forwarded-For: 1.2.3.4, unknown, 10.1.1.1\r\n', '10.1.1.1'],
      ['X-Forwarded-For: [2001:DB8::1]:443\r\n', '2001:db8::1'],
      [
        'X_Forwarded_For: 6.6.6.6\r\nX-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n',
        '1.2.3.4',
      ],
    ];
    for (const [fields, expected] of cases) {
      const { request } = await ask(proxied, get(fields));
      t.strictSame(injectedOf(request), [`QAL-SDK-APP-Id: ${testAppId}`, `X-Forwarded-For: ${expected}`], fields);
      t.notMatch(request?.raw, /6\.6\.6\.6/);
    }
    const { request } = await ask(
      proxied,
      get(
        'X-Forwarded-Proto: https\r\nX-Forwarded-Host: a\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Server: gone\r\nX_Forwarded_Proto: gone\r\n',
      ),
    );
    t.strictSame(
      request?.fields.filter(([name]) => /^x.forwarded/i.test(name)),
      [
        ['X-Forwarded-Proto', 'https'],
        ['X-Forwarded-Host', 'a'],
        ['X-Forwarded-Port', '443'],
        ['X-Forwarded-For', '127.0.0.1'],
      ],
    );
  });
});

// ——— A5–A10: what a session stands for ———

const device: DeviceReport = {
  sdkVersion: '2.1.0',
  appVersion: '3.2.1-beta "x"',
  appChannel: '应用宝',
  os: 'Android',
  osVersion: '14',
  device: '小米 14 Ultra 📱',
  brand: ' Xiaomi ',
  screenWidth: 1_440,
  screenHeight: 3_200,
  imei: '490154203237518',
  imsi: '460001234567890',
};

t.test('[A3] [A5] [A6] [A7] [A8] [A9] [A13] the whole set of a session, in this order', async (t) => {
  const proxied = await openProxied(t);
  const session = proxied.access.session({
    account: account("UTF-8''x"),
    device,
    network: { apn: 'cmnet', rat: 'EVDO Rev. A' },
  });
  const { answer, request } = await ask(proxied, get(`QAL-Session: ${session}\r\n`));
  t.equal(answer.body, 'ok');
  t.strictSame(injectedOf(request), [
    'QAL-Identifier: @v_tls#tarqqnwfrcdx',
    `QAL-SDK-APP-Id: ${testAppId}`,
    // A name that looks like an encoded one is encoded, so that a backend cannot take it for another's.
    "QAL-Account: UTF-8''UTF-8%27%27x",
    'QAL-SDK-Version: 2.1.0',
    'QAL-APP-Version: 3.2.1-beta "x"',
    "QAL-APP-Channel: UTF-8''%E5%BA%94%E7%94%A8%E5%AE%9D",
    'QAL-APN: cmnet',
    'QAL-RAT: EVDO Rev. A',
    'QAL-RAT-Generation: 3',
    'QAL-OS: Android',
    'QAL-OS-Version: 14',
    "QAL-Device: UTF-8''%E5%B0%8F%E7%B1%B3%2014%20Ultra%20%F0%9F%93%B1",
    "QAL-Brand: UTF-8''%20Xiaomi%20",
    'QAL-Screen-Width: 1440',
    'QAL-Screen-Height: 3200',
    'X-Forwarded-For: 127.0.0.1',
  ]);
  t.match(fieldOf(request as Message, 'QAL-Req-Seq-No'), /^\d+$/);
  t.notMatch(request?.raw, /QAL-Session/i, 'the session itself stays here');
});

t.test('[A10] IMEI and IMSI go on only for an app that wants them', async (t) => {
  const proxied = await openProxied(t, {}, { access: { sendImei: true } });
  const session = proxied.access.session({ device: { imei: device.imei ?? '', imsi: device.imsi ?? '' } });
  const own = ['QAL-Identifier: @v_tls#tarqqnwfrcdx', `QAL-SDK-APP-Id: ${testAppId}`];
  const { request } = await ask(proxied, get(`QAL-Session: ${session}\r\n`));
  t.strictSame(injectedOf(request), [
    ...own,
    'QAL-IMEI: 490154203237518',
    'QAL-IMSI: 460001234567890',
    'X-Forwarded-For: 127.0.0.1',
  ]);
  proxied.access.setApps([testApp([proxied.origin.url], { sendImei: false })]);
  const { request: after } = await ask(proxied, get(`QAL-Session: ${session}\r\n`));
  t.strictSame(
    injectedOf(after),
    [...own, 'X-Forwarded-For: 127.0.0.1'],
    'switched off, also for sessions that brought them',
  );
});

t.test('[A7] [A8] each radio technology has its generation', async (t) => {
  const generations: Record<Rat, string | undefined> = {
    GPRS: '2',
    EDGE: '2',
    CDMA: '2',
    CDMA1x: '2',
    '1xRTT': '2',
    iDEN: '2',
    UMTS: '3',
    WCDMA: '3',
    'EVDO Rel. 0': '3',
    'EVDO Rev. A': '3',
    'EVDO Rev. B': '3',
    eHRPD: '3',
    HSDPA: '3',
    HSUPA: '3',
    HSPA: '3',
    'HSPA+': '3',
    LTE: '4',
    NR: '5',
    UNKNOWN: undefined,
    Undefine: undefined,
  };
  t.strictSame([...rats].sort(), Object.keys(generations).sort());
  const proxied = await openProxied(t);
  for (const rat of rats) {
    const { request } = await ask(proxied, get(`QAL-Session: ${proxied.access.session({ network: { rat } })}\r\n`));
    t.equal(fieldOf(request as Message, 'QAL-RAT'), rat);
    t.equal(fieldOf(request as Message, 'QAL-RAT-Generation'), generations[rat], rat);
  }
});

t.test('[A12] [A3] a network report changes what backends see, and the terminal stays the same', async (t) => {
  const proxied = await openProxied(t);
  const call = async (method: string, target: string, body: object, fields = '') => {
    const text = JSON.stringify(body);
    const { answer } = await ask(
      proxied,
      `${method} ${target} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: ${text.length}\r\n${fields}\r\n${text}`,
    );
    t.equal(statusOf(answer), 200);
    return JSON.parse(answer.body);
  };
  const first = await call('POST', '/.qal/v1/session', { sdkAppId: testAppId, network: { apn: 'wifi' } });
  const second = await call(
    'PUT',
    '/.qal/v1/session/network',
    { apn: 'cmnet', rat: 'LTE' },
    `QAL-Session: ${first.session}\r\n`,
  );
  const seen = async (session: string) => injectedOf((await ask(proxied, get(`QAL-Session: ${session}\r\n`))).request);
  t.strictSame(await seen(first.session), [
    `QAL-Identifier: ${first.qalIdentifier}`,
    `QAL-SDK-APP-Id: ${testAppId}`,
    'QAL-APN: wifi',
    'X-Forwarded-For: 127.0.0.1',
  ]);
  t.strictSame(await seen(second.session), [
    `QAL-Identifier: ${first.qalIdentifier}`,
    `QAL-SDK-APP-Id: ${testAppId}`,
    'QAL-APN: cmnet',
    'QAL-RAT: LTE',
    'QAL-RAT-Generation: 4',
    'X-Forwarded-For: 127.0.0.1',
  ]);
});

t.test('[A11] an encoded value is one line of ASCII, can be read back, and is no other value’s', async (t) => {
  const decode = (value: string) => (value.startsWith("UTF-8''") ? decodeURIComponent(value.slice(7)) : value);
  const values = fc.oneof(
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 64 }),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 64 }),
    fc.string({ unit: 'binary-ascii', minLength: 1, maxLength: 64 }),
    fc.constantFrom(
      "UTF-8''",
      "utf-8''x",
      "UTF-8''%41",
      '\r\nQAL-Account: admin',
      '\0',
      ' ',
      'a ',
      '\t',
      '%41',
      "'",
      '(x)*',
      '\u2028',
      '\xa0',
    ),
  );
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(values, (value) => {
        const encoded = encodeHeaderValue(value);
        // RFC 8187's attr-char and percent for encoded ones; what is plain has no white space at its ends.
        const safe = encoded.startsWith("UTF-8''")
          ? /^UTF-8''[A-Za-z0-9!#$&+.^_`|~%-]+$/
          : /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/;
        return safe.test(encoded) && decode(encoded) === value;
      }),
      { numRuns: 3_000 },
    ),
  );
  t.match(encodeHeaderValue('\ud800'), /^UTF-8''%EF%BF%BD$/, 'a lone surrogate too, though no report may bring one');
});

// ——— A13, A14: who may ———

t.test('[A13] sessions serve only their own app; where one is required 401 without', async (t) => {
  const origin = await openOrigin();
  t.teardown(origin.close);
  const route = (host: string): Route => testRoute([origin.url], { host });
  const apps: AppSettings[] = [
    testApp([], { routes: [route('optional.example')] }),
    { ...testApp([], { sessions: 'required', routes: [route('required.example')] }), sdkAppId: testAppId + 1 },
  ];
  const access = await openAccess(apps);
  t.teardown(() => access.close());
  const proxied = { origin, client: () => openClient(access.port) };
  const request = (host: string, session?: string) =>
    `GET / HTTP/1.1\r\nHost: ${host}\r\n${session === undefined ? '' : `QAL-Session: ${session}\r\n`}\r\n`;
  const mine = access.session({ sdkAppId: testAppId + 1 });
  const others = access.session();

  const anonymous = await ask(proxied, request('optional.example'));
  t.strictSame(injectedOf(anonymous.request), [`QAL-SDK-APP-Id: ${testAppId}`, 'X-Forwarded-For: 127.0.0.1']);
  const bound = await ask(proxied, request('required.example', mine));
  t.strictSame(injectedOf(bound.request), [
    'QAL-Identifier: @v_tls#tarqqnwfrcdx',
    `QAL-SDK-APP-Id: ${testAppId + 1}`,
    'X-Forwarded-For: 127.0.0.1',
  ]);

  const count = origin.requests.length;
  const refused: [bytes: string, expected: string][] = [
    [request('required.example'), '401 SESSION_REQUIRED'],
    [request('required.example', others), '403 SESSION_WRONG_APP'],
    [request('optional.example', mine), '403 SESSION_WRONG_APP'],
    // Not even where none is needed: its client believes that it has one.
    [request('optional.example', 'x.y.z'), '401 SESSION_INVALID'],
    [request('optional.example', ''), '401 SESSION_INVALID'],
    [request('optional.example', `${others.slice(0, -1)}A`.replace(others, 'x')), '401 SESSION_INVALID'],
    [request('optional.example', `${others} `.padEnd(8_000, 'x')), '401 SESSION_INVALID'],
    [request('optional.example', access.session({ expiresAtMs: Date.now() - 1 })), '401 SESSION_EXPIRED'],
    [request('required.example', access.session({ sdkAppId: 7 })), '401 SESSION_REVOKED'],
    [request('other.example', mine), '404 NO_ROUTE'],
  ];
  for (const [bytes, expected] of refused) {
    const { answer } = await ask(proxied, bytes);
    t.equal(errorOf(answer), expected);
    t.equal(fieldOf(answer, 'WWW-Authenticate'), expected.startsWith('401') ? 'QAL-Session' : undefined);
  }
  t.equal(origin.requests.length, count, 'none of them reached the origin');
});

t.test('[A14] logout, kick, rotation of the secret and the end of the app end sessions at once', async (t) => {
  const proxied = await openProxied(t);
  const { access } = proxied;
  const app = testApp([proxied.origin.url]);
  const verdict = async (session: string) => {
    const { answer } = await ask(proxied, get(`QAL-Session: ${session}\r\n`));
    return answer.body === 'ok' ? 'ok' : errorOf(answer);
  };
  const secretId = userSigSecretId('a secret of sixteen or more');
  const terminal = access.session({ terminalId: 'aaaaaaaaaaaa' as TerminalId });
  const alice = access.session({ terminalId: 'bbbbbbbbbbbb' as TerminalId, account: account('alice'), secretId });
  const bob = access.session({ terminalId: 'cccccccccccc' as TerminalId, account: account('bob'), secretId });
  for (const session of [terminal, alice, bob]) t.equal(await verdict(session), 'ok');
  access.revoke('aaaaaaaaaaaa');
  t.equal(await verdict(terminal), '401 SESSION_REVOKED');
  access.revoke('alice');
  t.equal(await verdict(alice), '401 SESSION_REVOKED');
  t.equal(await verdict(bob), 'ok');
  access.setApps([{ ...app, secret: ['the newest secret of all', 'a secret of sixteen or more'] }]);
  t.equal(await verdict(bob), 'ok', 'while both secrets are known');
  access.setApps([{ ...app, secret: 'the newest secret of all' }]);
  t.equal(await verdict(bob), '401 SESSION_REVOKED');
  const anonymous = access.session();
  t.equal(await verdict(anonymous), 'ok', 'an anonymous session has no secret');
  access.setApps([]);
  t.equal(await verdict(anonymous), '404 NO_ROUTE');
});

// ——— where a request goes, and which fields are whose ———

/** A router of one app a route, which gives back the route's name. */
function routerOf(routes: Record<string, [host: string, prefix: string]>) {
  const apps = Object.entries(routes).map(([name, [host, prefix]], i) => ({
    ...testApp(['http://127.0.0.1:9'], { routes: [testRoute(['http://127.0.0.1:9'], { host, prefix })] }),
    sdkAppId: i + 1,
    name,
  }));
  const router = createRouter(apps, (app) => app.name);
  return (host: string, target: string) => router.match(host, target)?.target;
}

t.test('routes: the exact host before the longest wildcard before any', async (t) => {
  const match = routerOf({
    any: ['*', '/'],
    exact: ['api.example', '/'],
    upper: ['UPPER.example', '/'],
    below: ['*.example', '/'],
    deeper: ['*.eu.example', '/'],
    v6: ['[::1]', '/'],
  });
  const cases: [host: string, expected: string][] = [
    ['api.example', 'exact'],
    ['API.Example:8080', 'exact'],
    ['api.example.', 'exact'],
    ['upper.EXAMPLE', 'upper'],
    ['www.example', 'below'],
    ['a.b.example', 'below'],
    ['eu.example', 'below'],
    ['a.eu.example', 'deeper'],
    ['a.b.eu.example:1', 'deeper'],
    ['example', 'any'],
    ['.example', 'any'],
    ['example.com', 'any'],
    ['xapi.example.com', 'any'],
    ['api.example.evil', 'any'],
    ['[::1]', 'v6'],
    ['[::1]:80', 'v6'],
    ['[::2]', 'any'],
    ['', 'any'],
  ];
  for (const [host, expected] of cases) t.equal(match(host, '/'), expected, host);
  t.equal(routerOf({ exact: ['a', '/'] })('b', '/'), undefined);
  t.equal(routerOf({ exact: ['a', '/'] })('', '/'), undefined);
});

t.test('routes: the longest prefix by whole segments of the path as a backend would resolve it', async (t) => {
  const match = routerOf({
    root: ['*', '/'],
    api: ['*', '/api'],
    deep: ['*', '/api/v1'],
    slash: ['*', '/static/'],
    admin: ['*', '/admin'],
  });
  const cases: [target: string, expected: string][] = [
    ['/', 'root'],
    ['*', 'root'],
    ['/?/api', 'root'],
    ['/api', 'api'],
    ['/api?x', 'api'],
    ['/api/', 'api'],
    ['/api/x', 'api'],
    ['/apix', 'root'],
    ['/API', 'root'],
    ['/api/v1', 'deep'],
    ['/api/v1/', 'deep'],
    ['/api/v10', 'api'],
    ['/static', 'root'],
    ['/static/', 'slash'],
    ['/static/x', 'slash'],
    ['/static/.', 'slash'],
    ['/static/x/..', 'slash'],
    ['/static/..', 'root'],
    ['//api', 'api'],
    ['/x//..//api/', 'api'],
    ['/x\\..\\api', 'api'],
    ['/./api', 'api'],
    ['/api/../admin', 'admin'],
    ['/api/%2e%2e/admin', 'admin'],
    ['/api/.%2E/admin', 'admin'],
    ['/api/%2e/x', 'api'],
    ['/api/v1/../../admin/x?y', 'admin'],
    ['/../../admin', 'admin'],
    ['/api/...', 'api'],
    ['/api/..x', 'api'],
    ['/api%2fv1', 'deep'],
    ['/%61pi', 'api'],
    ['/%2561pi', 'root'],
    ['/%zzapi', 'root'],
    ['/x?/../admin', 'root'],
    ['/admin;x', 'root'],
  ];
  for (const [target, expected] of cases) t.equal(match('a', target), expected, target);
});

t.test(
  'routes: dot segments are resolved as a URL parser does, once slashes are merged and letters decoded',
  async (t) => {
    const match = routerOf({
      none: ['*', '/'],
      a: ['*', '/a'],
      ab: ['*', '/a/b'],
      slash: ['*', '/a/b/'],
      b: ['*', '/b'],
    });
    const segments = fc.constantFrom('a', 'b', '', '.', '..', '%2e', '%2E', '.%2e', '%2e%2E', '...', '%61');
    t.doesNotThrow(() =>
      fc.assert(
        fc.property(fc.array(segments, { minLength: 1, maxLength: 8 }), (parts) => {
          const target = `/${parts.join('/')}`;
          const plain = target.replaceAll(/%61/g, 'a').replaceAll(/\/{2,}/g, '/');
          return match('h', target) === match('h', new URL(`http://h${plain}`).pathname);
        }),
        { numRuns: 3_000 },
      ),
    );
  },
);

t.test('[A11] no field name is taken for end-to-end that a backend could take for one of ours', async (t) => {
  const classes = createFieldClasses();
  // Any token that becomes one of our names when everything but letters and digits counts as a hyphen.
  const marks = fc.constantFrom(..."-_.!#$%&'*+^`|~");
  const ours = fc.constantFrom(
    'qal-identifier',
    'qal-x',
    'qal-req-seq-no',
    'qal-session',
    'x-forwarded-for',
    'x-forwarded-x',
    'x-real-ip',
    'content-length',
    'transfer-encoding',
    'http2-settings',
  );
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(
        ours,
        fc.array(marks, { minLength: 4, maxLength: 4 }),
        fc.array(fc.boolean(), { minLength: 20, maxLength: 20 }),
        (name, replacements, upper) => {
          let at = 0;
          const spelled = [...name]
            .map((c, i) => (c === '-' ? (replacements[at++ % 4] ?? '-') : upper[i % 20] === true ? c.toUpperCase() : c))
            .join('');
          return classes.of(spelled) !== 'end-to-end';
        },
      ),
      { numRuns: 3_000 },
    ),
  );
  for (let i = 0; i < 10_000; i += 1) classes.of(`x-${i}`);
  t.equal(classes.of('QAL_Identifier'), 'qal', 'also behind more names than are remembered');
});
