import { spawn, spawnSync } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { createCallbackChecks } from '../../src/callbacks/checks/checks.ts';
import { curlLine, shellQuoted } from '../../src/callbacks/checks/curl-line.ts';
import type { TestReport } from '../../src/callbacks/checks/test-event.ts';
import { createPoster } from '../../src/callbacks/endpoint/poster.ts';
import { createSigner } from '../../src/callbacks/endpoint/signing.ts';
import { sampleBody } from '../../src/callbacks/sample.ts';
import { allow, refuse, refuseMembers, rewrite, verifyCallback } from '../../src/sdk/backend/index.ts';
import type { AppSettings, Refusal, Result } from '../../src/store/index.ts';
import { type CallbackCommand, callbackCommands } from '../../src/wire/index.ts';
import { completeApp } from '../support/app-settings.ts';
import { openTestDatabase } from '../support/database.ts';

const { db, logger, metrics } = await openTestDatabase(t);
const secret = `whsec_${randomBytes(24).toString('base64')}`;
const listening = { host: '127.0.0.1', port: 1 };
const poster = createPoster({ clock: Date.now, ownAddresses: () => [listening], logger, metrics });
t.teardown(() => poster.close());
const checks = createCallbackChecks({ db, poster, clock: Date.now, randomUuid: randomUUID });

function appWith(callbacks: object, sdkAppId = 1_400_000_000): AppSettings {
  return completeApp({
    sdkAppId,
    secret: 'a secret of sixteen or more',
    callbacks: { secret, events: 'all', ...callbacks },
  });
}

interface Got {
  method: string;
  path: string;
  headers: string[];
  body: Buffer;
}

/** A backend that keeps what it gets, as it came. */
async function openBackend(
  t: Test,
  answer: (got: Got, response: ServerResponse) => void = (_, response) => response.end(JSON.stringify(allow())),
) {
  const got: Got[] = [];
  const server = createServer(async (request: IncomingMessage, response) => {
    const one = {
      method: request.method ?? '',
      path: request.url ?? '',
      headers: request.rawHeaders,
      body: await buffer(request),
    };
    got.push(one);
    answer(one, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/cb?x=1`, port, got };
}

const fieldsOf = ({ headers }: Got) =>
  Object.fromEntries(headers.flatMap((name, i) => (i % 2 === 0 ? [[name.toLowerCase(), headers[i + 1] ?? '']] : [])));

function unwrap<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(JSON.stringify(result));
  return result.value;
}

t.test('samples: of every command, and what is signed verifies', async (t) => {
  for (const command of callbackCommands) {
    const body = sampleBody(command, Date.now());
    const headers = createSigner().sign([secret], 'cb_test_1', Math.floor(Date.now() / 1_000), body);
    t.match(verifyCallback({ secret, headers, body }), { ok: true, command, event: { CallbackCommand: command } });
  }
});

t.test('the reference names every command and every field', async (t) => {
  const page = readFileSync(new URL('../../docs/reference/callbacks.md', import.meta.url), 'utf8');
  const words = new Set(page.match(/[\w.]+/g));
  for (const command of callbackCommands) {
    t.ok(words.has(command), command);
    const fields = Object.keys(JSON.parse(sampleBody(command, 0)) as object);
    const missing = fields.filter((field) => !words.has(field) && !words.has(`${field}.Action`));
    t.same(missing, [], command);
  }
});

t.test('[K5] a test event: the exact bytes, the answer, and what it means', async (t) => {
  const backend = await openBackend(t);
  const app = appWith({ url: backend.url, allowPrivateNetwork: true, events: ['State.StateChange'] });
  const report = unwrap(await checks.test(app, {}));
  const [got] = backend.got;
  t.match(report, { command: 'State.StateChange', isSwitchedOn: true, webhookId: /^cb_test_[0-9a-f-]{36}$/ });
  t.match(report.result, {
    status: 200,
    answer: JSON.stringify(allow()),
    meaning: 'It counts as delivered.',
    isGood: true,
  });
  t.ok(got?.body.equals(Buffer.from(report.body)), 'the body is what was shown');
  t.equal(`http://127.0.0.1:${backend.port}${got?.path}`, report.url);
  t.match(got === undefined ? {} : fieldsOf(got), report.fields);
  t.equal(report.signedText, `${report.webhookId}.${report.fields['webhook-timestamp']}.${report.body}`);
  t.match(verifyCallback({ secret, headers: report.fields, body: report.body }), { ok: true, id: report.webhookId });
  t.notOk(JSON.stringify(report).includes(secret.slice(6)), 'without the key');

  const other = unwrap(await checks.test(app, { command: 'C2C.CallbackBeforeSendMsg' }));
  t.match(other, { isSwitchedOn: false, result: { meaning: 'The action goes on.', isGood: true } });
  const shown = unwrap(await checks.test(app, { send: false, url: 'http://backend.example/x' }));
  t.match(shown, { url: /^http:\/\/backend\.example\/x\?SdkAppid=1400000000&/, result: undefined });
  t.equal(backend.got.length, 2);
});

t.test('[K8] test events reach no address that callbacks may not', async (t) => {
  const backend = await openBackend(t);
  const guarded = await checks.test(appWith({ url: backend.url }), {});
  t.match(guarded, { value: { result: { failure: 'blocked-address', isGood: false } } });
  const toUs = await checks.test(appWith({ url: backend.url, allowPrivateNetwork: true }), {
    url: 'http://127.0.0.1:1/',
  });
  t.match(toUs, { value: { result: { failure: 'blocked-address' } } }, 'nor our own listeners');
  t.equal(backend.got.length, 0);
});

t.test('[K1] [K2] what an answer means, by command', async (t) => {
  let answer: [status: number, body: unknown] = [200, {}];
  const backend = await openBackend(t, (_, response) => {
    response.writeHead(answer[0], { 'Content-Type': 'application/json' });
    response.end(typeof answer[1] === 'string' ? answer[1] : JSON.stringify(answer[1]));
  });
  const app = appWith({ url: backend.url, allowPrivateNetwork: true });
  const strict = appWith({ url: backend.url, allowPrivateNetwork: true, onSilence: 'refuse', retry: false });
  const c2c = 'C2C.CallbackBeforeSendMsg';
  const element = { MsgType: 'TIMTextElem', MsgContent: { Text: '***' } } as const;
  const cases: [AppSettings, CallbackCommand, number, unknown, RegExp, boolean][] = [
    [app, c2c, 200, refuse(120_001, 'be kind'), /refused; the caller gets 120001: be kind/, true],
    [app, c2c, 200, refuse(), /refused; the caller gets 20006/, true],
    [app, c2c, 200, rewrite([element]), /goes on with the other content/, true],
    [app, c2c, 200, { ErrorCode: 2 }, /No usable answer .*the action goes on/, false],
    [app, c2c, 503, 'oops', /No usable answer \(HTTP 503\): the action goes on/, false],
    [strict, c2c, 200, 'not json', /refused with 20006, as the app has it/, false],
    [app, 'Group.CallbackBeforeSendMsg', 200, { ErrorCode: 2 }, /dropped/, true],
    [
      app,
      'Group.CallbackBeforeInviteJoinGroup',
      200,
      refuseMembers(['test-bob']),
      /not for all \(1 of 2 refused\)/,
      true,
    ],
    [app, 'Sns.CallbackPrevFriendAdd', 200, { ErrorCode: 5 }, /goes on \(ErrorCode 5/, false],
    [app, 'State.StateChange', 204, '', /delivered/, true],
    [app, 'State.StateChange', 500, '', /tried again/, false],
    [strict, 'State.StateChange', 401, '', /dead letter: the app has retries off/, false],
    [app, 'State.StateChange', 410, '', /wants no more/, false],
    [app, 'State.StateChange', 413, '', /dead letter: trying again cannot help/, false],
  ];
  for (const [settings, command, status, body, meaning, isGood] of cases) {
    answer = [status, body];
    t.match(
      unwrap(await checks.test(settings, { command })).result,
      { status, meaning, isGood },
      `${command} ${status}`,
    );
  }
  answer = [200, 'x'.repeat(5_000)];
  t.equal(unwrap(await checks.test(app, {})).result?.answer?.length, 2_001, 'a long answer is cut');
});

t.test('bad input is refused by field', async (t) => {
  const app = appWith({ url: 'http://192.0.2.1/' });
  const tests: [unknown, Partial<Refusal>][] = [
    [[], { code: 'BAD_REQUEST' }],
    [{ x: 1 }, { field: 'x' }],
    [{ command: 'State' }, { field: 'command', allowed: callbackCommands.join(', ') }],
    [{ url: 'ftp://x/' }, { field: 'url' }],
    [{ url: 'http://u:p@x/' }, { field: 'url' }],
    [{ url: 'http://x:99999/' }, { field: 'url' }],
    [{ send: 1 }, { field: 'send' }],
  ];
  for (const [input, refusal] of tests) t.match(await checks.test(app, input), { ok: false, ...refusal });
  t.match(await checks.test(completeApp({ sdkAppId: 1, secret: 'a secret of sixteen or more' }), {}), {
    field: 'callbacks.secret',
  });
  t.match(await checks.test(appWith({ events: [] }), {}), { field: 'callbacks.url' });

  const verifies: [unknown, Partial<Refusal>][] = [
    [null, { code: 'BAD_REQUEST' }],
    [{ body: '' }, { field: 'headers' }],
    [{ headers: [], body: '' }, { field: 'headers' }],
    [{ headers: { a: 1 }, body: '' }, { field: 'headers' }],
    [
      { headers: Object.fromEntries(Array.from({ length: 201 }, (_, i) => [`x-${i}`, ''])), body: '' },
      { field: 'headers' },
    ],
    [{ headers: {} }, { field: 'body' }],
    [{ headers: {}, body: {} }, { field: 'body' }],
    [{ headers: {}, body: '', bodyBase64: '' }, { field: 'body' }],
    [{ headers: {}, bodyBase64: '!' }, { field: 'bodyBase64' }],
    [{ headers: {}, bodyBase64: `${' '.repeat(1_000_000)}!` }, { field: 'bodyBase64' }],
    [{ headers: {}, body: '', receivedAt: '2026-11-26 10:00' }, { field: 'receivedAt' }],
    [{ headers: {}, body: '', computed: 1 }, { field: 'computed' }],
    [{ headers: {}, body: '', secret: 1 }, { field: 'secret' }],
  ];
  for (const [input, refusal] of verifies) t.match(await checks.verify(app, input), { ok: false, ...refusal });
  for (const receivedAt of ['2026-11-26T10:00:00Z', '1795687000', 1_795_687_000, 'Thu, 26 Nov 2026 10:00:00 GMT']) {
    t.match(await checks.verify(app, { headers: {}, body: '', receivedAt }), { ok: true });
  }
});

t.test('[K5] a dry run knows what was sent: from the outbox, and from dead letters', async (t) => {
  const app = appWith({ url: 'http://192.0.2.1/' }, 7);
  const { rows: meta } = await db.pool.query<{ store_epoch: string }>('select store_epoch from meta');
  const epoch = (meta[0]?.store_epoch ?? '').replaceAll('-', '').slice(0, 8);
  const day = Math.floor(Date.now() / 86_400_000);
  const content = JSON.stringify({ account: 'lin', platform: 'iOS', state: 'online', reason: 'login', timeMs: 1 });
  const { rows } = await db.pool.query<{ id: number }>(
    `insert into outbox (day, consumer, sdk_app_id, drain_key, event, body, created_ms, done_ms, outcome)
     values ($1, 1, 7, 'a1', 'State.StateChange', $2, $3, $3, 'delivered') returning id`,
    [day, content, Date.now()],
  );
  const [{ id } = { id: 0 }] = rows;
  const webhookId = `cb_${epoch}_${id}`;
  const info = { Action: 'Login', To_Account: 'lin', Reason: 'Register' };
  const sent = JSON.stringify({ CallbackCommand: 'State.StateChange', Info: info, EventTime: 1, Version: id });
  const headers = createSigner().sign([secret], webhookId, Math.floor(Date.now() / 1_000), sent);
  t.match(await checks.verify(app, { headers, body: sent }), { value: { verifies: true } });
  const bodyBase64 = Buffer.from(sent.replace('lin', 'lim')).toString('base64');
  const changed = await checks.verify(app, { headers, bodyBase64 });
  t.match(changed, {
    value: { verifies: false, findings: [{ code: 'BODY_REWRITTEN', text: /Info\.To_Account differs/ }] },
  });
  const ofOther = await checks.verify({ ...app, sdkAppId: 8 }, { headers, bodyBase64 });
  t.match(
    ofOther,
    { value: { findings: [{ code: 'SIGNATURE_BY_OTHER_KEY' }] } },
    'what another app was sent is not told',
  );

  await db.pool.query(
    `insert into dead_letter (sdk_app_id, outbox_id, origin_id, command, drain_key, reason, request_body, attempts, created_ms, died_ms)
     values (7, $1, $1, 'State.StateChange', 'a1', 'too-old', $2, 1, 1, 1)`,
    [id + 1, sent],
  );
  const letter = createSigner().sign([secret], `cb_${epoch}_${id + 1}`, Math.floor(Date.now() / 1_000), sent);
  t.match(await checks.verify(app, { headers: letter, bodyBase64 }), {
    value: { findings: [{ code: 'BODY_REWRITTEN' }] },
  });
  t.match(
    await checks.verify({ ...app, sdkAppId: 8 }, { headers: letter, bodyBase64 }),
    { value: { findings: [{ code: 'SIGNATURE_BY_OTHER_KEY' }] } },
    'nor are the dead letters of another app',
  );
  for (const unknown of [`cb_ffffffff_${id}`, `cb_${epoch}_999999`, 'cb_test_x', "cb_'; drop table outbox"]) {
    const named = createSigner().sign([secret], unknown, Math.floor(Date.now() / 1_000), sent);
    t.match(await checks.verify(app, { headers: named, bodyBase64 }), {
      value: { findings: [{ code: 'SIGNATURE_BY_OTHER_KEY' }] },
    });
  }
});

t.test('words of a shell stay what they are', async (t) => {
  const texts: string[] = [];
  const property = fc.property(fc.string({ unit: 'binary', minLength: 1 }), (text) => {
    texts.push(text.replaceAll('\0', '').toWellFormed());
  });
  fc.assert(property, { numRuns: 300 });
  texts.push("it's", "'", "''", '$(id)', '`id`', '"', '\\', '\n', '-n', '*', '~', '!', '#', ';&|<>', 'é你好', '');
  const script = `printf '%s\\0' ${texts.map(shellQuoted).join(' ')}`;
  const { stdout, status } = spawnSync('sh', ['-c', script], { encoding: 'buffer' });
  t.equal(status, 0);
  t.same(stdout.toString().split('\0').slice(0, -1), texts);
});

const curl = spawnSync('curl', ['--version']).status === 0;
t.test('[K5] the curl line sends the same to the byte', { skip: curl ? false : 'curl is not there' }, async (t) => {
  const backend = await openBackend(t);
  const app = appWith({
    url: `${backend.url}&y=[a-c]{1,2}'$HOME`,
    allowPrivateNetwork: true,
    signToken: 'a token of ours',
  });
  const run = async (line: string) => {
    const child = spawn('sh', ['-c', line], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, http_proxy: 'http://127.0.0.1:9' },
    });
    child.stdout.resume();
    return ((await once(child, 'close')) as [number])[0];
  };
  const report = unwrap(await checks.test(app, { command: 'C2C.CallbackAfterSendMsg' })) as TestReport;
  t.equal(await run(report.curl), 0);
  const [ours, theirs] = backend.got;
  if (ours === undefined || theirs === undefined) return t.fail('two requests');
  t.same([theirs.method, theirs.path], [ours.method, ours.path]);
  t.ok(theirs.body.equals(ours.body));
  t.match(fieldsOf(theirs), report.fields);
  t.match(verifyCallback({ secret, headers: fieldsOf(theirs), body: theirs.body }), { ok: true });

  const nasty = `@/etc/passwd '"\\ $(id) \`id\` %41 \r\n\t é你好 ${'x'.repeat(2_000)}\n`;
  const fields = { 'content-type': 'text/plain', 'x-quote': `it's "$HOME"`, 'x-empty': '' };
  t.equal(await run(curlLine({ url: backend.url, fields, body: nasty, signedText: '' })), 0);
  t.equal(backend.got[2]?.body.toString(), nasty);
  t.match(backend.got[2] === undefined ? {} : fieldsOf(backend.got[2]), fields);
  t.match(
    curlLine(
      { url: 'https://x/', fields: {}, body: '', signedText: '' },
      { caFile: '/a b', clientCertFile: '/c', clientKeyFile: '/k' },
    ),
    "--cacert '/a b' --cert /c --key /k",
  );
  return undefined;
});
