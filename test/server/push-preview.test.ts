import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { runInProcess } from '../support/cli.ts';

const folder = t.testdir();

interface Request {
  channel: string;
  url?: string;
  headers?: Record<string, string>;
  body?: string;
  bytes?: number;
  cuts?: string[];
  notes?: string[];
  noPush?: string;
  why?: string;
}

const text = (Text: string) => ({ MsgType: 'TIMTextElem', MsgContent: { Text } });

async function run(message: unknown, ...more: string[]) {
  const input = typeof message === 'string' ? message : JSON.stringify(message);
  return await runInProcess(['push', 'preview', '-', ...more], {}, input);
}

async function preview(message: unknown, ...more: string[]): Promise<Request[]> {
  const { code, stdout, stderr } = await run(message, '--json', ...more);
  if (code !== 0) throw new Error(stderr);
  return (JSON.parse(stdout) as { requests: Request[] }).requests;
}

t.test('[S2] push preview: the request as the service would get it', async (t) => {
  const message = { From_Account: 'lin', nick: 'Lin', To_Account: 'wei', MsgRandom: 7, MsgBody: [text('hello')] };
  const [apns, fcm] = await preview(message, '--badge', '4');
  t.match(apns, { channel: 'apns', method: 'POST', url: 'https://api.push.apple.com/3/device/<token>', cuts: [] });
  t.equal(apns?.body, '{"aps":{"alert":"Lin: hello","badge":4,"sound":"default","thread-id":"c2c_lin"},"seq":1}');
  t.equal(apns?.bytes, Buffer.byteLength(apns?.body ?? ''));
  t.match(apns?.headers, {
    authorization: 'bearer <provider token>',
    'apns-topic': 'com.example.app',
    'apns-push-type': 'alert',
    'apns-priority': '10',
    'apns-expiration': /^[0-9]{10}$/,
  });
  t.match(apns?.notes, [/bundle id/]);

  t.match(fcm, { channel: 'fcm', url: 'https://fcm.googleapis.com/v1/projects/<project>/messages:send' });
  t.match(JSON.parse(fcm?.body ?? ''), { message: { notification: { title: 'Lin', body: 'hello' } } });
  t.equal(fcm?.bytes, Buffer.byteLength(fcm?.body ?? ''));
  t.match(fcm?.notes, [/token/]);
  const [own] = await preview(message, '--channel', 'fcm', '--token', 'abc:123');
  t.match(JSON.parse(own?.body ?? ''), { message: { token: 'abc:123' } });
  t.same(own?.notes, []);

  const { stdout, code } = await run(message, '--channel', 'apns');
  t.equal(code, 0);
  t.match(
    stdout,
    /^APNs: POST https:\/\/api\.push\.apple\.com\/3\/device\/<token>\nauthorization: .*\n\n\{"aps":.*\}\n\n[0-9]+ bytes of 4096\nnote: /s,
  );
  t.notMatch(stdout, /FCM/);
});

t.test('[S2] push preview: of a group, from a file, in YAML, in the language of the device', async (t) => {
  const file = join(folder, 'message.yaml');
  const image = '{ UUID: x, ImageFormat: 1, ImageInfoArray: [{ Type: 1, URL: u }] }';
  writeFileSync(
    file,
    `From_Account: wang\ncard: 2栋\nGroupId: owners\ngroup: 业主\nMsgBody: [{ MsgType: TIMImageElem, MsgContent: ${image} }]\n`,
  );
  const shown = async (...more: string[]) =>
    (await runInProcess(['push', 'preview', file, '--channel', 'apns', ...more])).stdout;
  t.match(await shown(), '"alert":"2栋(业主): [图片]"');
  t.match(await shown(), '"thread-id":"group_owners"');
  t.match(await shown('--language', 'en-GB'), '"alert":"2栋(业主): [image]"');
  t.match((await preview({ group: 'g', MsgBody: [text('a')] }))[0]?.body, '"alert":"admin(g): a"');
});

t.test('push preview: what was cut, and why', async (t) => {
  const long = { nick: 'n'.repeat(40), MsgBody: [text('x'.repeat(300))] };
  const [apns] = await preview(long, '--channel', 'apns');
  t.same(apns?.cuts, [
    "the sender's name, to the length that such have",
    'the text, to 200 characters (push.textLength)',
  ]);
  t.match((await run(long)).stdout, '\ncut: the text, to 200 characters (push.textLength)\n');

  const full = (ext: number) => ({
    OfflinePushInfo: { Ext: 'e'.repeat(ext), Desc: '中'.repeat(20) },
    MsgBody: [text('a')],
  });
  const custom = (ext: number) => [
    text('x'.repeat(100)),
    { MsgType: 'TIMCustomElem', MsgContent: { Data: '', Ext: 'e'.repeat(ext) } },
  ];
  t.same((await preview(full(2_000), '--channel', 'apns'))[0]?.cuts, []);
  const [cut] = await preview({ MsgBody: custom(4_000) }, '--channel', 'apns');
  t.same(cut?.cuts, ['the text, so that all has 4096 bytes']);
  t.equal(cut?.bytes, 4_096);
});

t.test('push preview: a push that is too large is none, and fails the command', async (t) => {
  const MsgBody = [text('hello'), { MsgType: 'TIMCustomElem', MsgContent: { Data: '', Ext: 'e'.repeat(5_000) } }];
  const { code, stdout, stderr } = await run({ MsgBody }, '--channel', 'apns');
  t.equal(code, 1);
  t.match(stdout, /^APNs: no push \(PAYLOAD_TOO_LARGE\): .* has 5[0-9]{3} bytes; 4096 are allowed; shorten Ext/);
  t.match(stderr, 'too large');
});

t.test('[S5] push preview: why there is none', async (t) => {
  const MsgBody = [text('a')];
  const custom = [{ MsgType: 'TIMCustomElem', MsgContent: { Data: 'd' } }];
  const cases: [message: object, noPush: string, why: RegExp][] = [
    [{ MsgBody, OfflinePushInfo: { PushFlag: 1 }, MsgLifeTime: 0 }, 'push-flag', /PushFlag/],
    [{ MsgBody: custom }, 'no-text', /nothing to show/],
    [{ MsgBody, MsgLifeTime: 0 }, 'online-only', /MsgLifeTime 0/],
    [{ MsgBody, GroupId: 'g', OnlineOnlyFlag: 1 }, 'online-only', /OnlineOnlyFlag/],
  ];
  for (const [message, noPush, why] of cases) {
    for (const request of await preview(message)) t.match(request, { noPush, why });
    const { code, stdout } = await run(message);
    t.equal(code, 0);
    t.match(stdout, `FCM: no push (${noPush}): `);
  }
  t.notOk((await preview({ MsgBody, MsgLifeTime: 1 }))[0]?.noPush);
  t.notOk(
    (await preview({ MsgBody, GroupId: 'g', OnlineOnlyFlag: 0, MsgLifeTime: 0 }))[0]?.noPush,
    'no field of groups',
  );
});

t.test('push preview: how long it is worth sending', async (t) => {
  const left = async (message: object) => {
    const [fcm] = await preview({ MsgBody: [text('a')], ...message }, '--channel', 'fcm');
    return (JSON.parse(fcm?.body ?? '') as { message: { android: { ttl: string } } }).message.android.ttl;
  };
  t.equal(await left({}), '86400s');
  t.equal(await left({ MsgLifeTime: 600 }), '600s');
  t.equal(await left({ MsgLifeTime: 604_800 }), '86400s');
});

t.test("push preview: an app's settings", async (t) => {
  const pem = generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey.export({
    type: 'pkcs8',
    format: 'pem',
  });
  const account = {
    type: 'service_account',
    project_id: 'chat-17',
    client_email: 'a@b.example',
    private_key: pem,
    token_uri: 'https://oauth2.googleapis.com/token',
  };
  const file = join(folder, 'qalgate.yaml');
  const app = (sdkAppId: number, push: object) => ({ sdkAppId, secret: 'k'.repeat(64), push });
  const apns = { key: pem, keyId: 'ABCDE12345', teamId: 'TEAM123456', topic: 'com.shop.chat' };
  const fcm = { serviceAccount: JSON.stringify(account), channelId: 'im', endpoint: 'https://push.example/' };
  const certificate = '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n';
  const apps = [
    app(16, { apns: { certificate, certificateKey: pem, topic: 'com.shop.chat' } }),
    app(17, { fcm, line: 'vendor', textLength: 10, dropExt: true }),
    app(18, {
      apns: { ...apns, endpoint: 'https://127.0.0.1:9443' },
      iosTitle: true,
      language: 'en',
      sound: 'ding.caf',
    }),
  ];
  writeFileSync(file, JSON.stringify({ data: join(folder, 'data'), apps }));
  const of = (id: string, message: object, ...more: string[]) => preview(message, '-c', file, '--app', id, ...more);

  const message = { nick: 'Lin', group: 'g', MsgBody: [text('0123456789x')] };
  const requests = await of('17', message);
  t.same(
    requests.map(({ channel }) => channel),
    ['fcm'],
    'the services that the app has',
  );
  t.equal(requests[0]?.url, 'https://push.example/v1/projects/chat-17/messages:send');
  t.match(JSON.parse(requests[0]?.body ?? ''), {
    message: { notification: { title: 'g', body: 'Lin：012345678…' }, android: { notification: { channel_id: 'im' } } },
  });
  t.notMatch(JSON.stringify(requests), /PRIVATE KEY/);
  const big = { MsgBody: [text('hi'), { MsgType: 'TIMCustomElem', MsgContent: { Data: '', Ext: 'e'.repeat(5_000) } }] };
  t.same((await of('17', big))[0]?.cuts, ['ext, because it left no room for the text (push.dropExt)']);

  const [ios] = await of('18', { nick: 'Lin', MsgBody: [{ MsgType: 'TIMFaceElem', MsgContent: { Index: 1 } }] });
  t.match(ios, {
    channel: 'apns',
    url: 'https://127.0.0.1:9443/3/device/<token>',
    headers: { 'apns-topic': 'com.shop.chat' },
    notes: [],
  });
  t.match(JSON.parse(ios?.body ?? ''), { aps: { alert: { title: 'Lin', body: '[Face]' }, sound: 'ding.caf' } });
  t.equal((await of('18', message, '--channel', 'fcm'))[0]?.channel, 'fcm');

  const [certified] = await of('16', message);
  t.equal(certified?.headers?.authorization, undefined, 'the connection says who it is');
  const unknown = await run(message, '-c', file, '--app', '19');
  t.equal(unknown.code, 1);
  t.match(unknown.stderr, /no database/);
});

t.test('push preview: what is wrong with the message, and where', async (t) => {
  const MsgBody = [text('a')];
  const cases: [message: unknown, stderr: RegExp][] = [
    [{}, /MsgBody: is missing; allowed: a list of elements/],
    [{ MsgBody: [] }, /standard input:1:2: MsgBody: must not be empty; allowed: one element at least/],
    [{ MsgBody: [{ MsgType: 'TIMTextElem', MsgContent: {} }] }, /MsgBody\[0\]\.MsgContent\.Text: is missing/],
    [{ MsgBody: [{ MsgType: 'TIMTxtElem', MsgContent: {} }] }, /MsgBody\[0\]\.MsgType: .*allowed: TIMTextElem, /],
    [{ MsgBody, OfflinePushinfo: {} }, /OfflinePushinfo: is not a known field; did you mean OfflinePushInfo\?/],
    [
      { MsgBody, OfflinePushInfo: { PushFlag: 2 } },
      /OfflinePushInfo\.PushFlag: has a value that there is not; allowed: 0, 1/,
    ],
    [{ MsgBody, OfflinePushInfo: [] }, /OfflinePushInfo: must be an object/],
    [{ MsgBody, OfflinePushInfo: { Ext: 'e'.repeat(3_100) } }, /OfflinePushInfo: is too long; allowed: 3072 bytes/],
    [{ MsgBody, From_Account: 'x'.repeat(33) }, /From_Account: must be at most 32 bytes/],
    [{ MsgBody, From_Account: '' }, /From_Account: must not be empty/],
    [{ MsgBody, nick: 7 }, /nick: 7 is a number: put it in quotes/],
    [{ MsgBody, MsgLifeTime: -1 }, /MsgLifeTime: -1 is too small; allowed: .*0/],
    [{ MsgBody: [text('x'.repeat(8_000))] }, /MsgBody: is too long; allowed: 8000 bytes of JSON text/],
    ['[1]', /must be a map of fields/],
    ['{"MsgBody": ', /standard input:1:/],
    ['', /MsgBody: is missing/],
  ];
  for (const [message, expected] of cases) {
    const { code, stdout, stderr } = await run(message);
    t.equal(code, 2, JSON.stringify(message));
    t.equal(stdout, '');
    t.match(stderr, /^qalgate: the message is not valid:\n {2}/);
    t.match(stderr, expected);
  }
  const tabs = '{\n\t"MsgBody":\t[{"MsgType":"TIMTextElem","MsgContent":{"Text":"a\\ud83d\\ude00"}}]\n}\n';
  t.match((await preview(tabs))[0]?.body, /a😀/, 'JSON as any program writes it');

  const missing = await runInProcess(['push', 'preview', join(folder, 'nothing.json')]);
  t.equal(missing.code, 2);
  t.match(missing.stderr, /nothing\.json: does not exist/);
});

t.test('push preview: wrong options', async (t) => {
  const message = { MsgBody: [text('a')] };
  for (const [option, value, expected] of [
    ['--channel', 'sms', /Allowed choices are apns, fcm/],
    ['--language', 'deutsch!', /A language is a tag/],
    ['--badge', '-1', /whole number from 0 to 999999/],
    ['--badge', '1.5', /whole number/],
    ['--token', 'a b', /printable ASCII/],
    ['--app', 'x', /An app is named by its number/],
  ] as const) {
    const { code, stderr } = await run(message, option, value);
    t.equal(code, 2, option);
    t.match(stderr, expected);
  }
  t.equal((await runInProcess(['push', 'preview'])).code, 2);
});

t.test('push preview: nothing of a message acts on the terminal', async (t) => {
  const { stdout } = await run({ nick: 'a\u001b[2Jb', MsgBody: [text('x\u202ey\u009bz')] });
  t.notMatch(stdout, /[\u001b\u202e\u009b]/);
  t.match(stdout, 'x\\u202ey\\u009bz');
});
