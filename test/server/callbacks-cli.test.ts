import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Webhook } from 'standardwebhooks';
import t, { type Test } from 'tap';
import { type Arrival, openCallbackReceiver } from '../../src/server/cli/callback-receiver.ts';
import { formatArrival, parseAnswer, parseFailure } from '../../src/server/cli/callbacks-listen.ts';
import { parseHeaders } from '../../src/server/cli/callbacks-verify.ts';
import { printable, readableBody } from '../../src/server/cli/printable.ts';
import { runInProcess } from '../support/cli.ts';
import { openTestDatabase, until } from '../support/database.ts';

const main = fileURLToPath(new URL('../../src/server/main.ts', import.meta.url));
const folder = t.testdir();
const secret = `whsec_${randomBytes(24).toString('base64')}`;
const bare = secret.slice('whsec_'.length);
const masterKey = randomBytes(32).toString('base64');
const keyFile = join(folder, 'whsec.key');
writeFileSync(keyFile, `${secret}\n`);

/** `callbacks listen` as a process. */
async function listen(t: Test, ...args: string[]) {
  const command = [main, 'callbacks', 'listen', '--port', '0', ...args];
  const child = spawn(process.execPath, command, {
    env: { PATH: process.env.PATH },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const out: string[] = [];
  const err: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => out.push(line));
  createInterface({ input: child.stderr }).on('line', (line) => err.push(line));
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  const url = await until(() => /http:\/\/127\.0\.0\.1:\d+/.exec(err.join('\n'))?.[0]);
  const post = (body: string, options: { id?: string; key?: string; headers?: Record<string, string> } = {}) => {
    const { id = 'cb_0a1b2c3d_1', key = secret, headers = {} } = options;
    const at = new Date();
    const signed = {
      'webhook-id': id,
      'webhook-timestamp': String(Math.floor(at.getTime() / 1_000)),
      'webhook-signature': new Webhook(key).sign(id, at, body),
    };
    return fetch(`${url}/any?SdkAppid=1&OptPlatform=iOS&ClientIP=192.0.2.7`, {
      method: 'POST',
      headers: { ...signed, ...headers },
      body,
    });
  };
  return { url, post, out, err, child, exited };
}

const question = JSON.stringify({
  CallbackCommand: 'C2C.CallbackBeforeSendMsg',
  From_Account: 'lin',
  To_Account: 'mo\u001b[31m\u202e',
  MsgBody: [],
});
const report = question.replace('Before', 'After');

t.test('[K5] listen: prints what comes, verified or what is wrong, repeats, and answers; Ctrl-C ends it', async (t) => {
  const { post, out, err, child, exited } = await listen(
    t,
    '--secret-file',
    keyFile,
    '--answer',
    'refuse:120001:not here',
  );
  t.match(await (await post(question)).json(), { ErrorCode: 120_001, ErrorInfo: 'not here' });
  const headers = { 'qalgate-gap': 'cb_a,cb_b', 'qalgate-replay': 'true' };
  t.match(
    await (await post(report, { id: 'cb_2', headers })).json(),
    { ErrorCode: 0 },
    'there is nothing to refuse after',
  );
  await post(report, { id: 'cb_2' });
  t.equal((await post(report, { id: 'cb_3', key: `whsec_${randomBytes(24).toString('base64')}` })).status, 401);
  await until(() => out.filter((line) => line.includes('cb_')).length >= 5);
  const text = out.join('\n');
  t.match(
    text,
    /^\S+Z {2}C2C\.CallbackBeforeSendMsg {2}cb_0a1b2c3d_1\n {2}verified, from 127\.0\.0\.1 for iOS 192\.0\.2\.7, answered 200, ErrorCode 120001$/m,
  );
  t.match(text, /^ {4}"From_Account": "lin",$/m);
  t.match(text, /"mo\\u001b\[31m\\u202e"/, 'nothing in a body acts on the terminal');
  t.match(text, /sent again by an operator\n {2}given up before it: cb_a,cb_b/);
  t.match(text, /cb_2, attempt 2\n/);
  t.match(text, /cb_3\n {2}DOES NOT VERIFY, .*answered 401\n {2}! No signature fits/);
  t.notOk(text.includes(bare) || err.join().includes(bare), 'without the key');
  child.kill('SIGINT');
  t.same(await exited, [0, null]);
});

t.test('listen: fails as it is asked to, for the first attempts', async (t) => {
  const { post, out, child, exited } = await listen(t, '--json', '--fail', '503', '--times', '2');
  t.same([(await post(report)).status, (await post(report)).status, (await post(report)).status], [503, 503, 200]);
  await until(() => out.length >= 3);
  t.match(
    out.map((line) => JSON.parse(line)),
    [
      { id: 'cb_0a1b2c3d_1', attempt: 1, verified: null, answered: '503', command: 'C2C.CallbackAfterSendMsg' },
      { attempt: 2, answered: '503' },
      { attempt: 3, answered: '200, ErrorCode 0', body: { From_Account: 'lin' } },
    ],
  );
  child.kill('SIGTERM');
  t.same(await exited, [0, null]);
});

t.test('listen: each way to answer and to fail', async (t) => {
  const open = async (answer: string, fail?: string) => {
    const arrivals: Arrival[] = [];
    const behaviour = { answer: parseAnswer(answer), ...(fail === undefined ? {} : { failure: parseFailure(fail) }) };
    const onArrival = (arrival: Arrival) => arrivals.push(arrival);
    const receiver = await openCallbackReceiver({ host: '127.0.0.1', port: 0, secrets: [], behaviour, onArrival });
    t.teardown(() => receiver.close());
    const post = (body: string, signal?: AbortSignal) =>
      fetch(receiver.url, { method: 'POST', body, ...(signal === undefined ? {} : { signal }) });
    return { ...receiver, post, arrivals };
  };
  const silent = await open('allow', 'silent');
  const gone = new AbortController();
  const answer = silent.post('{', gone.signal);
  await until(() => silent.arrivals.length === 1);
  t.match(silent.arrivals, [{ id: '', command: '(no CallbackCommand)', answered: 'with silence', body: '{' }]);
  t.match(formatArrival(silent.arrivals[0] as Arrival), /\(no webhook-id\)\n {2}not verified: no key, .*\n {2}\{\n/);
  gone.abort();
  await t.rejects(answer);
  await t.rejects((await open('allow', 'reset')).post(report));
  t.equal(await (await (await open('allow', 'garbage')).post(report)).text(), '<html>oops</html>');
  t.equal(await (await (await open('{"ErrorCode":2,"x":1}', 'slow:1')).post(question)).text(), '{"ErrorCode":2,"x":1}');
  t.match(await (await (await open('drop')).post(question)).json(), { ErrorCode: 2 });
  const friends = JSON.stringify({
    CallbackCommand: 'Sns.CallbackPrevFriendAdd',
    FriendItem: [{ To_Account: 'zed' }, null],
  });
  const refused = await open('refuse');
  t.match(await (await refused.post(friends)).json(), {
    ErrorCode: 0,
    ResultItem: [{ To_Account: 'zed', ResultCode: 38_000 }, {}],
  });
  t.equal((await fetch(refused.url)).status, 405);
  const big = connect(Number(new URL(refused.url).port), '127.0.0.1');
  big.on('error', () => {});
  big.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n');
  big.write('x'.repeat(2 * 1_048_576 + 1));
  const [head] = (await once(big, 'data')) as [Buffer];
  t.match(head.toString(), /^HTTP\/1\.1 413 /);
  big.destroy();
});

t.test('listen, test and verify: wrong options are told', async (t) => {
  const listen = (...args: string[]) => ['callbacks', 'listen', ...args];
  const cases: [string[], RegExp][] = [
    [listen('--port', '70000'), /A port is a whole number/],
    [listen('--answer', 'maybe'), /Answers are allow/],
    [listen('--answer', 'refuse:2'), /codes are 1, 120001 to 130000/],
    [listen('--answer', '{x'), /no JSON/],
    [listen('--fail', '600'), /Failures are/],
    [listen('--fail', '503', '--times', '0'), /from 1 on/],
    [listen('--secret', 'my secret'), /has not the form needed/],
    [listen('--secret-file', join(folder, 'none')), /--secret-file: .*none/],
    [['callbacks', 'test'], /--app/],
    [
      ['callbacks', 'verify', '--headers-file', keyFile, '--body-file', keyFile],
      /--app or --secret-file|is neither a header/,
    ],
    [
      ['callbacks', 'verify', '--secret-file', keyFile, '--headers-file', '-', '--body-file', join(folder, 'none')],
      /--body-file: .*ENOENT/,
    ],
    [
      ['callbacks', 'verify', '--secret-file', keyFile, '--headers-file', join(folder, 'none'), '--body-file', keyFile],
      /--headers-file: .*ENOENT/,
    ],
    [
      [
        'callbacks',
        'verify',
        '--secret-file',
        keyFile,
        '--headers-file',
        '-',
        '--body-file',
        keyFile,
        '--received',
        'noon',
      ],
      /receivedAt: is no time/,
    ],
  ];
  for (const [args, says] of cases) {
    const { code, stderr } = await runInProcess(args, {}, 'a: b');
    t.equal(code, 2, args.join(' '));
    t.match(stderr, says);
    t.notOk(stderr.includes(bare) || stderr.includes('my secret'));
  }
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.teardown(() => taken.close());
  const { port } = taken.address() as AddressInfo;
  t.match(await runInProcess(listen('--port', String(port))), {
    code: 1,
    stderr: /cannot listen on 127\.0\.0\.1:\d+: EADDRINUSE/,
  });
});

t.test('[K5] verify: from files, without a database', async (t) => {
  const at = new Date();
  const body = JSON.stringify({ CallbackCommand: 'State.StateChange', x: 1 });
  const headers = [
    'POST /cb HTTP/1.1',
    `Webhook-Id: cb_1`,
    `webhook-timestamp: ${Math.floor(at.getTime() / 1_000)}`,
    `webhook-signature: ${new Webhook(secret).sign('cb_1', at, body)}`,
  ].join('\n');
  const bodyFile = join(folder, 'body.json');
  writeFileSync(bodyFile, body);
  const verify = (...more: string[]) =>
    runInProcess(
      ['callbacks', 'verify', '--secret-file', keyFile, '--headers-file', '-', '--body-file', bodyFile, ...more],
      {},
      headers,
    );
  t.match(await verify(), { code: 0, stdout: /^It verifies\.\n- SIGNATURE_RIGHT: / });
  writeFileSync(bodyFile, JSON.stringify(JSON.parse(body), undefined, 2));
  const { code, stdout, stderr } = await verify();
  t.equal(code, 1);
  t.match(
    stdout,
    /^It does not verify\.\n- BODY_REWRITTEN: .*indented by 2 spaces.*offset 1: 0x22 was sent, 0x0a came/,
  );
  t.match(stderr, /the callback does not verify/);
  t.notOk(`${stdout}${stderr}`.includes(bare));
  t.match(JSON.parse((await verify('--json')).stdout), { verifies: false, findings: [{ code: 'BODY_REWRITTEN' }] });
  t.same(parseHeaders('> A: 1\n> a: 2\n< A: 3\n', 'x'), { A: ['1', '3'], a: '2' });
  t.same(parseHeaders('{"a":["1"]}', 'x'), { a: ['1'] });
});

t.test('[K5] [K8] test and verify: with an app, and the database of the service', async (t) => {
  const { dataDir } = await openTestDatabase(t);
  const arrivals: Arrival[] = [];
  const receiver = await openCallbackReceiver({
    host: '127.0.0.1',
    port: 0,
    secrets: [secret],
    behaviour: { answer: parseAnswer('refuse:120001:not here') },
    onArrival: (arrival) => arrivals.push(arrival),
  });
  t.teardown(() => receiver.close());
  const callbacks = { url: `${receiver.url}/cb`, secret, events: 'all' };
  const apps = JSON.stringify([
    { sdkAppId: 7, secret: 'a secret of sixteen or more', callbacks: { ...callbacks, allowPrivateNetwork: true } },
    { sdkAppId: 8, secret: 'a secret of sixteen or more', callbacks },
    { sdkAppId: 9, secret: 'a secret of sixteen or more' },
  ]);
  const said: string[] = [];
  const run = async (...args: string[]) => {
    const answer = await runInProcess(['callbacks', ...args], {
      QALGATE_DATA: dataDir,
      QALGATE_APPS: apps,
      QALGATE_MASTER_KEY: masterKey,
    });
    said.push(answer.stdout, answer.stderr);
    return answer;
  };
  const tested = await run('test', '--app', '7', '--command', 'C2C.CallbackBeforeSendMsg');
  t.equal(tested.code, 0, tested.stderr);
  t.match(tested.stdout, /^POST http:\/\/127\.0\.0\.1:\d+\/cb\?SdkAppid=7&CallbackCommand=C2C\.CallbackBeforeSendMsg&/);
  t.match(tested.stdout, /^webhook-id: cb_test_/m);
  t.match(tested.stdout, /^ {2}curl -q .*--data-raw '\{"CallbackCommand"/m);
  t.match(tested.stdout, /Answer: HTTP 200 .*The action is refused; the caller gets 120001: not here\.\n$/s);
  t.match(arrivals, [{ command: 'C2C.CallbackBeforeSendMsg', id: /^cb_test_/, verified: true, attempt: 1 }]);
  t.match(await run('test', '--app', '8'), { code: 1, stdout: /No answer: blocked-address/, stderr: /no good one/ });
  t.match(await run('test', '--app', '7', '--print', '--json'), { code: 0, stdout: /"signedText"/ });
  t.equal(arrivals.length, 1, 'what is only shown is not sent');
  t.match(await run('test', '--app', '9'), { code: 2, stderr: /callbacks\.secret: of the app is missing/ });
  t.match(await run('test', '--app', '10'), { code: 1, stderr: /there is no app 10/ });
  t.match(await run('test', '--app', '7', '--command', 'x'), { code: 2, stderr: /command: is no callback command/ });

  const at = new Date();
  const headersFile = join(folder, 'headers.json');
  const id = 'cb_1';
  const headers = { 'webhook-id': id, 'webhook-timestamp': String(Math.floor(at.getTime() / 1_000)) };
  writeFileSync(
    headersFile,
    JSON.stringify({ ...headers, 'webhook-signature': new Webhook(secret).sign(id, at, report) }),
  );
  const bodyFile = join(folder, 'report.json');
  writeFileSync(bodyFile, report);
  const verify = ['verify', '--headers-file', headersFile, '--body-file', bodyFile];
  t.match(await run(...verify, '--app', '7'), { code: 0, stdout: /It verifies/ });
  t.match(await run(...verify, '--app', '9'), { code: 1, stdout: /NO_KEY/ });
  t.match(await run('verify', '--app', '7', '--headers-file', keyFile, '--body-file', keyFile), {
    code: 2,
    stderr: /"whsec_…", is neither a header field/,
  });
  t.match(await run('listen', '--app', '10'), { code: 1, stderr: /there is no app 10/ });
  t.match(await run('listen', '--app', '9'), { code: 1, stderr: /no key for callbacks/ });
  t.notOk(said.join('').includes(bare), 'without the key');
});

t.test('what is printed cannot act on a terminal', async (t) => {
  t.equal(
    printable('a\tb\nc\r\u001b]0;x\u0007\u009b1m\u2066\u200e'),
    'a\tb\nc\\u000d\\u001b]0;x\\u0007\\u009b1m\\u2066\\u200e',
  );
  t.equal(readableBody('{"a":"\u009b"}'), '{\n  "a": "\\u009b"\n}');
  t.equal(readableBody('x'.repeat(30), 10), `${'x'.repeat(10)}… (30 characters)`);
});
