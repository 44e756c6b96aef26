import { spawn } from 'node:child_process';
import { sign, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect, type IncomingHttpHeaders } from 'node:http2';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { parse } from 'yaml';
import { createLogger, createMetrics } from '../../src/observe/index.ts';
import { createFcmSender } from '../../src/push/fcm/index.ts';
import { parseFaultRule } from '../../src/push/index.ts';
import { createFaultRules } from '../../src/push/sandbox/fault-rules.ts';
import { formatPush, shortened } from '../../src/server/cli/push-sandbox.ts';
import { createCertificate } from '../support/certificates.ts';
import { runInProcess } from '../support/cli.ts';
import { until } from '../support/database.ts';
import { fcmPush } from '../support/fcm.ts';
import { makeApnsKey, traceOf } from '../support/push-credentials.ts';

const main = fileURLToPath(new URL('../../src/server/main.ts', import.meta.url));
const folder = t.testdir();

interface Snippet {
  apns: { keyFile: string; keyId: string; teamId: string; topic: string; endpoint: string; caFile: string };
  fcm: { serviceAccountFile: string; endpoint: string; caFile: string };
}

/** The command as a process, and what it says an app needs. */
async function sandbox(t: Test, ...args: string[]) {
  const command = [
    main,
    'push',
    'sandbox',
    '--folder',
    join(folder, 'two words'),
    '--apns-port',
    '0',
    '--fcm-port',
    '0',
  ];
  const child = spawn(process.execPath, [...command, ...args], {
    env: { PATH: process.env.PATH },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const out: string[] = [];
  const err: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => out.push(line));
  createInterface({ input: child.stderr }).on('line', (line) => err.push(line));
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  await until(() => err.some((line) => line.startsWith('Ctrl-C')));
  const text = err.join('\n');
  const snippet = /^ {2}push:\n(?: {4}.*\n)+/m.exec(text)?.[0] ?? '';
  const { push } = parse(snippet) as { push: Snippet };
  const { serviceAccountFile, ...fcm } = push.fcm;
  const sender = createFcmSender(
    { clock: Date.now, logger: createLogger({ level: 'silent' }), metrics: createMetrics() },
    { ...fcm, serviceAccount: readFileSync(serviceAccountFile, 'utf8'), perMin: 600_000 },
  );
  t.teardown(() => sender.close());
  return { out, text, snippet, push, sender, child, exited };
}

/** What APNs says to a push; with a provider token of that key. */
async function askApns({ endpoint, caFile, topic, keyId, teamId }: Snippet['apns'], key: string, token: string) {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: 'ES256', kid: keyId })}.${part({ iss: teamId, iat: Math.floor(Date.now() / 1_000) })}`;
  const signature = sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url');
  const session = connect(endpoint, { ca: readFileSync(caFile) });
  // What goes wrong is the stream's, too; and after the answer nothing is.
  session.on('error', () => {});
  try {
    const stream = session.request({
      ':method': 'POST',
      ':path': `/3/device/${token}`,
      'apns-topic': topic,
      'apns-push-type': 'alert',
      authorization: `bearer ${signed}.${signature}`,
    });
    stream.end('{"aps":{"alert":"hello"}}');
    const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders];
    let body = '';
    for await (const chunk of stream) body += chunk;
    return { status: headers[':status'], body, signature };
  } finally {
    session.destroy();
  }
}

const longToken = `dead${'0123456789abcdef'.repeat(8)}`;

t.test(
  'push sandbox: an app that has what it says gets through; pushes are shown, tokens and credentials are not',
  async (t) => {
    const { out, text, snippet, push, sender, child, exited } = await sandbox(t, '--fault', 'dead=UNREGISTERED*1');
    t.match(await sender.send(fcmPush(longToken, 'm\u001b[31m\u202e')), { kind: 'gone', reason: 'UNREGISTERED' });
    t.match(await sender.send(fcmPush(longToken)), { kind: 'ok' });
    const key = readFileSync(push.apns.keyFile, 'utf8');
    const taken = await askApns(push.apns, key, longToken);
    t.match(taken, { status: 200, body: '' });
    t.match(await askApns(push.apns, makeApnsKey(), longToken), { status: 403, body: /InvalidProviderToken/ });
    await until(() => out.filter((line) => line.includes('dead0123…cdef')).length >= 5);
    const printed = out.join('\n');
    t.match(printed, /^\S+Z {2}fcm {2}dead0123…cdef {2}404 UNREGISTERED\n {2}\{\n {4}"message": \{$/m);
    t.match(printed, /^\S+Z {2}fcm {2}dead0123…cdef {2}200 ok$/m);
    t.match(
      printed,
      /^\S+Z {2}apns {2}dead0123…cdef {2}200 ok\n {2}apns-topic: com\.example\.chat\n {2}apns-push-type: alert$/m,
    );
    t.match(printed, /"tag": "m\\u001b\[31m\\u202e"/, 'nothing in a payload acts on the terminal');
    for (const secret of [longToken, 'earer', 'ya29', traceOf(key), taken.signature])
      t.notOk((printed + text).includes(secret), secret);
    t.equal(statSync(push.apns.keyFile).mode & 0o777, 0o600);
    child.kill('SIGINT');
    t.same(await exited, [0, null]);

    const config = join(folder, 'qalgate.yaml');
    const app = `apps:\n  - sdkAppId: 1400000001\n    secret: 0123456789abcdef\n${snippet.replace(/^/gm, '  ')}`;
    writeFileSync(config, app);
    t.match(await runInProcess(['config', 'check', '-c', config]), { code: 0, stdout: /is valid: 1 app/ });
    const { stdout } = await runInProcess(['config', 'print', '-c', config]);
    t.match(stdout, /key: "\[redacted\]" # file, read from .*apns\.p8\n/);
    t.match(stdout, /serviceAccount: "\[redacted\]" # file, read from .*service-account\.json\n/);
    t.notOk(stdout.includes(traceOf(key)) || stdout.includes('BEGIN'));
    t.match(text, /qalgate app set <app> --file '.*two words.*push\.yaml' --apns-key-file '.*apns\.p8' \\\n/);
  },
);

t.test('push sandbox: the same folder gives the same credentials; JSON for programs', async (t) => {
  const files = ['apns.p8', 'ca.pem'].map((name) => readFileSync(join(folder, 'two words', name), 'utf8'));
  const account = JSON.parse(readFileSync(join(folder, 'two words', 'service-account.json'), 'utf8'));
  const { out, push, sender, child, exited } = await sandbox(t, '--json', '--fault', '=slow:1', '--topic', 'org.x');
  t.same(
    ['apns.p8', 'ca.pem'].map((name) => readFileSync(join(folder, 'two words', name), 'utf8')),
    files,
  );
  const again = JSON.parse(readFileSync(push.fcm.serviceAccountFile, 'utf8'));
  t.equal(again.private_key, account.private_key);
  t.equal(again.token_uri, `${push.fcm.endpoint}/token`);
  t.equal(push.apns.topic, 'org.x');
  t.match(await sender.send(fcmPush('short')), { kind: 'ok' });
  await until(() => out.length >= 1);
  t.match(JSON.parse(out[0] ?? ''), {
    time: /Z$/,
    service: 'fcm',
    token: 'short',
    status: 200,
    answered: 'slow',
    body: { message: { token: 'short', android: { priority: 'HIGH' } } },
  });
  child.kill('SIGTERM');
  t.same(await exited, [0, null]);
});

t.test(
  'push sandbox: its certificate is for the address that it listens on, and is made anew where it is not',
  async (t) => {
    const certOf = () => new X509Certificate(readFileSync(join(folder, 'two words', 'ca.pem')));
    t.equal(certOf().checkIP('127.0.0.2'), undefined);
    const { push, sender, child, exited } = await sandbox(t, '--host', '127.0.0.2');
    t.match(push.apns.endpoint, /^https:\/\/127\.0\.0\.2:/);
    t.match(await sender.send(fcmPush('short')), { kind: 'ok' });
    const key = readFileSync(push.apns.keyFile, 'utf8');
    t.match(await askApns(push.apns, key, longToken), { status: 200 });
    child.kill('SIGTERM');
    await exited;
    const made = certOf();
    // Then it is kept, for all of this machine too.
    const everywhere = await sandbox(t, '--host', '0.0.0.0');
    t.match(everywhere.push.fcm.endpoint, /^https:\/\/127\.0\.0\.1:/, 'no address is all of them');
    t.match(await everywhere.sender.send(fcmPush('short')), { kind: 'ok' });
    t.equal(certOf().fingerprint256, made.fingerprint256);

    const { cert } = createCertificate('names', undefined, [
      'push.example',
      '192.0.2.7',
      '2001:db8::a:1',
      '::ffff:1.2.3.4',
    ]);
    const names = new X509Certificate(cert);
    t.equal(names.checkHost('push.example'), 'push.example');
    for (const address of ['192.0.2.7', '2001:db8::a:1', '::ffff:1.2.3.4']) t.equal(names.checkIP(address), address);
    t.equal(names.checkIP('127.0.0.1'), undefined);
  },
);

t.test('push sandbox: what it cannot do is said', async (t) => {
  for (const [args, code, said] of [
    [
      ['--fault', 'dead=Unregisterd'],
      2,
      /A rule is written <beginning of the token>=<what>\[:<number>\]\[\*<times>\], with 1 to 6 digits each\. APNs: .*Unregistered.* FCM: /,
    ],
    [['--fault', 'dead'], 2, /A rule is written/],
    [['--topic', ''], 2, /'' is invalid. A bundle id is 1 to 200 letters, digits, dots and hyphens/],
    [['--apns-port', '65536'], 2, /A port is a whole number from 0 to 65535/],
    [['--fcm-port', 'x'], 2, /A port is a whole number/],
    [['--host', '192.0.2.1', '--folder', join(folder, 'other')], 1, /cannot open the sandbox: .*EADDRNOTAVAIL/],
    [['--folder', main], 1, /cannot open the sandbox: EEXIST/],
  ] as const) {
    const { code: actual, stderr, stdout } = await runInProcess(['push', 'sandbox', ...args]);
    t.equal(actual, code, args.join(' '));
    t.match(stderr.replaceAll('\n', ' '), said);
    t.equal(stdout, '');
  }
});

t.test('push sandbox: rules of faults', async (t) => {
  t.match(parseFaultRule('ab=410 Unregistered'), { prefix: 'ab', apns: { word: 'Unregistered' }, fcm: undefined });
  t.match(parseFaultRule('=UNAVAILABLE:10*3'), { prefix: '', fcm: { word: 'UNAVAILABLE', amount: 10 }, times: 3 });
  t.match(parseFaultRule('x=silent'), { apns: { word: 'silent' }, fcm: { word: 'silent' }, times: Infinity });
  for (const wrong of ['', 'x', 'x=', 'x=silent*0', 'x=silent*', 'x=nonsense'])
    t.equal(parseFaultRule(wrong), undefined);
  const rules = ['ab=UNAVAILABLE*2', 'ab=Unregistered', 'a=INTERNAL'].map(parseFaultRule).filter((rule) => !!rule);
  const { take } = createFaultRules(rules);
  const words = ['abc', 'abc', 'abc', 'b'].map((token) => take('fcm', token)?.word);
  t.same(words, ['UNAVAILABLE', 'UNAVAILABLE', 'INTERNAL', undefined], 'the first that fits, as often as it says');
  t.equal(take('apns', 'abc')?.word, 'Unregistered', 'a word of one service is nothing to the other');
  t.equal(take('apns', 'a'), undefined);
  t.equal(shortened('0123456789abcdef'), '0123456789abcdef');
  t.equal(shortened('0123456789abcdefg'), '01234567…defg');
  const push = {
    service: 'apns',
    atMs: 0,
    token: '',
    headers: { 'apns-id': 'x' },
    body: 'no json',
    status: 0,
    answered: 'silent',
  } as const;
  t.equal(
    formatPush(push),
    '1970-01-01T00:00:00.000Z  apns  (no token)  not answered: silent\n  apns-id: x\n  no json\n',
  );
});
