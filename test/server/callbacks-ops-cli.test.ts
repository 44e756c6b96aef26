import { randomBytes } from 'node:crypto';
import t from 'tap';
import { createReplays, keyFingerprint, urlHash } from '../../src/callbacks/index.ts';
import { createLogger, createMetrics } from '../../src/observe/index.ts';
import { formatExplained } from '../../src/server/cli/callbacks-explain.ts';
import { logCommandChanges } from '../../src/server/command-audit.ts';
import { createControlBus } from '../../src/store/index.ts';
import { bury, callbackKey, stateBody, writeEvent } from '../support/callback-admin.ts';
import { runInProcess } from '../support/cli.ts';
import { openTestDatabase, until } from '../support/database.ts';

const { db, dataDir, logger } = await openTestDatabase(t);
const app = 1_400_000_000;
const url = 'https://backend.example.com/cb?k=hidden';
const env = {
  QALGATE_DATA: dataDir,
  QALGATE_MASTER_KEY: randomBytes(32).toString('base64'),
  QALGATE_APPS: JSON.stringify([
    {
      sdkAppId: app,
      secret: 'a secret of sixteen or more',
      callbacks: { url, secret: callbackKey, events: ['State.StateChange'] },
    },
    { sdkAppId: 9, secret: 'a secret of sixteen or more' },
  ]),
  USER: 'lin',
};

const said: string[] = [];
function run(...args: string[]) {
  const [command = '', ...rest] = args;
  return call('callbacks', command, '--app', String(app), ...rest);
}
async function call(...args: string[]) {
  const answer = await runInProcess(args, env);
  if (args[0] === 'callbacks') said.push(answer.stdout, answer.stderr);
  return answer;
}
async function json(...args: string[]) {
  const { code, stdout, stderr } = await run(...args, '--json');
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

t.test('[O1] [O3] status, list, show and explain', async (t) => {
  t.match(await run('list'), { code: 0, stdout: /^There are no such events\n$/ });
  const nowMs = Date.now();
  const told = await writeEvent(db, app, {
    key: 'a1',
    state: 'delivered',
    status: 200,
    attempts: 1,
    body: stateBody('alice', 'online'),
  });
  const waits = await writeEvent(db, app, {
    key: 'a1',
    attempts: 2,
    nextAttemptMs: nowMs + 3_600_000,
    log: [{ atMs: nowMs, tookMs: 3, status: 503 }],
  });
  const dead = await writeEvent(db, app, { key: 'a2', body: stateBody('bob') });
  await bury(db, app, dead, { response: 'an\u001b[31m error\u009b31m' });

  const status = await run('status');
  t.match(status.stdout, new RegExp(`endpoints:\n  ${urlHash(url)}  https://backend.example.com/cb  1 commands`));
  t.match(status.stdout, new RegExp(`keys:\n  ${keyFingerprint(callbackKey)}  signs +never used`));
  t.match(
    status.stdout,
    /waiting:\n {2}1 {2}State\.StateChange {2}since .*\ndead letters: 1, the newest of .*\npaused: nothing\nreplays running: 0\nsent by a running process: no\n/,
  );
  t.match(await json('status'), { waiting: [{ count: 1 }], circuits: null });

  const listed = await run('list', '--limit', '2');
  t.match(listed.stdout, /^EVENT +SINCE +STATE +CALLBACK +ABOUT +ATTEMPTS +LAST\n/);
  const [, after] = /There is more: --after (\S+)\n$/.exec(listed.stdout) ?? [];
  t.match(await json('list', '--after', after ?? ''), { events: [{ id: told }], next: null });
  t.match(await run('list', '--state', 'waiting'), {
    stdout: new RegExp(`${waits} .* waiting .* 2 +no-relay, retry\n`),
  });
  t.match(await run('list', '--state', 'dead'), {
    stdout: new RegExp(`GIVEN UP .*\n${dead} .*failing-alone, HTTP 500\n`),
  });
  t.match(await json('list', '--state', 'dead', '--account', 'alice'), { deadLetters: [], next: null });
  t.match(
    await run('list', '--group', 'tea'),
    { code: 0, stdout: /^There are no such events\n/ },
    'none is of a group',
  );

  const shown = await run('show', String(dead));
  t.match(
    shown.stdout,
    /dead letter since .*: it failed for a long time.*\nsent to https:\/\/backend\.example\.com\/cb\n/,
  );
  t.match(shown.stdout, /sent:\n {2}\{\n {4}"CallbackCommand": "State\.StateChange",/);
  t.match(shown.stdout, /answered:\n {2}an\\u001b\[31m error\\u009b31m\n/, 'nothing that acts on a terminal');
  t.match(await json('show', String(waits)), { event: { id: waits }, log: [{ status: 503 }], deadLetter: null });
  const whole = (await run('show', String(dead), '--json')).stdout;
  t.match(JSON.parse(whole).deadLetter, { content: { response: 'an\u001b[31m error\u009b31m' } });
  t.notMatch(whole, /[\u001b\u009b]/);
  t.match(await run('show', '99999'), { code: 1, stderr: /has no event 99999/ });
  t.match(await run('show', 'x'), { code: 2, stderr: /<event>: is no number of an event; allowed: 17 or/ });

  const explained = await run('explain', '--command', 'State.StateChange');
  t.match(
    explained.stdout,
    /State\.StateChange of alice \(Android online login\)\n {2}happened {2}It happened at .*\n {2}told {6}The backend was told at .*: HTTP 200 after 12 ms, at attempt 1\. \(event \d+, cb_[0-9a-f]{8}_\d+\)/,
  );
  t.match(
    explained.stdout,
    /has not been told yet, 2 attempts failed\. \(event .*\n {12}It waits because no process.*\n {12}It waits for its next attempt, due at .* \(last: HTTP 503 at/,
  );
  t.match(await json('explain', '--id', String(told)), { explanations: [{ told: [{ eventId: told }] }], notes: [] });
  t.match(await run('explain', '--from', 'alice', '--to', 'bob', '--key', '1_2_1700000000'), {
    code: 0,
    stdout:
      /^There is no account alice\.\n\nThere is no account bob\.\n\nNo message 1_2_1700000000 of alice to bob is known/,
  });
  t.equal(formatExplained({ explanations: [], notes: [], next: undefined }), 'Nothing is known that fits.');
});

t.test('[O2] replay, cancel, retry, drop, pause, resume', async (t) => {
  const control = createControlBus(db, { logger });
  await control.ready();
  const replays = createReplays(
    { db, control, wake: () => {}, nodeId: 'a test', clock: Date.now, logger, metrics: createMetrics() },
    { everyMs: 20 },
  );
  const audit: unknown[] = [];
  const write = (line: string) => {
    const { time: _, level: __, ...said } = JSON.parse(line);
    audit.push(said);
  };
  logCommandChanges(control, createLogger({ level: 'info', destination: { write } }));
  t.teardown(async () => {
    await replays.close();
    await control.close();
  });
  const dead = [];
  for (let i = 0; i < 3; i++) {
    dead.push(await writeEvent(db, app, { key: 'a7', body: stateBody('carol') }));
    await bury(db, app, dead[i] ?? 0);
  }
  t.match(await run('replay', '--all', '--dry-run'), {
    code: 0,
    stdout: /^4 events, from .*\n {2}4 {2}State\.StateChange\n$/,
    stderr: '',
  });
  t.match(await run('replay', String(dead[0])), {
    code: 0,
    stdout: /^1 event, .*\n.*\nreplay \d+ is running, 50 a second\n$/,
  });
  await until(async () => (await json('replays'))[0].state === 'done');
  t.match(await run('replays'), { stdout: new RegExp(`done +1 of 1 +50 +dead +ids ${dead[0]} +cli \\(lin\\)\n`) });
  t.match(await run('replay', String(dead[0])), {
    code: 1,
    stderr: /nothing that fits can be sent again; possible: dead letters/,
  });
  t.match(await run('cancel', '1'), { code: 1, stderr: /no replay 1 that is running/ });

  const ofGroup = ['--group', 'tea'];
  t.match(await run('replay', ...ofGroup), { code: 1, stderr: /nothing that fits/ }, 'none is of a group');
  t.match(await run('retry', ...ofGroup), { code: 0, stdout: /^0 do not wait/ });
  t.match(await run('drop', '--state', 'waiting', ...ofGroup, '--yes'), { code: 0, stdout: /^dropped: 0 that waited/ });
  t.match(await run('retry', ...ofGroup, '--account', 'carol'), { code: 2, stderr: /cannot be used with/ });
  t.match(await run('retry', '--all'), {
    code: 0,
    stdout: /^1 do not wait for their time any more; .* one of them now/,
  });
  t.match(await run('drop', '--state', 'dead', '--all'), { code: 2, stderr: /repeat with --yes/ });
  t.match(await run('drop', '--state', 'dead', '--all', '--yes'), {
    code: 0,
    stdout: 'dropped: 0 that waited, 3 dead letters\n',
  });
  t.match(await json('drop', '--state', 'waiting', '--command', 'State.StateChange', '--yes'), {
    dropped: { waiting: 2, dead: 0 },
  });
  t.match(await json('list', '--state', 'dropped'), { events: [{ state: 'dropped' }, { state: 'dropped' }] });

  t.match(await run('pause', '--url', url), {
    code: 0,
    stdout: new RegExp(`paused:\n  all to ${urlHash(url)}  by cli \\(lin\\)  since`),
  });
  t.match(await run('pause', '--command', 'State.StateChange'), { stdout: /State\.StateChange {2}by cli/ });
  t.match(await run('resume', '--command', 'C2C.CallbackAfterSendMsg'), {
    code: 0,
    stdout: /^no pause was exactly that\nstill paused:\n {2}all to [0-9a-f]{8} .*\n {2}State\.StateChange /,
  });
  t.match(await run('resume', '--command', 'State.StateChange'), { stdout: /^1 pause ended\nstill paused:\n.*\n$/ });
  t.match(await run('resume'), { code: 0, stdout: '1 pause ended\n' });
  t.match(await run('resume'), { code: 0, stdout: 'nothing was paused\n' });

  const changes = [
    ['replays all=true preview=true', 'ok'],
    [`replays ids=${dead[0]}`, 'ok'],
    [`replays ids=${dead[0]}`, 'failed'],
    ['replays/1/cancel', 'failed'],
    ['replays group=tea', 'failed'],
    ['retry group=tea', 'ok'],
    ['drop state=waiting group=tea', 'ok'],
    ['retry all=true', 'ok'],
    ['drop state=dead all=true', 'ok'],
    ['drop state=waiting command=State.StateChange', 'ok'],
    ['pause', 'ok'],
    ['pause command=State.StateChange', 'ok'],
    ['resume command=C2C.CallbackAfterSendMsg', 'ok'],
    ['resume command=State.StateChange', 'ok'],
    ['resume', 'ok'],
    ['resume', 'ok'],
  ];
  await until(() => audit.length >= changes.length);
  t.strictSame(
    audit,
    changes.map(([change, outcome]) => ({
      actor: 'cli (lin)',
      role: 'cli',
      command: 'ops.callback.write',
      target: `${app}/${change}`,
      outcome,
      event: 'ops.audit',
    })),
    'a service that runs has it in its log',
  );
  await control.publish('audit', [7]);
  await until(() => audit.length > changes.length);
  t.match(audit.at(-1), { actor: '', target: '' });
});

t.test('[K4] [K5] app create and set: where callbacks go, what signs them, and how that changes', async (t) => {
  const act = (...args: string[]) => call('app', ...args);
  const shown = async (...args: string[]) => {
    const { code, stdout, stderr } = await act(...args, '--json');
    if (code !== 0) throw new Error(stderr);
    return { ...JSON.parse(stdout), said: stderr };
  };
  const secret = 'a secret of sixteen or more';
  const to = [
    '--callback-url',
    'https://backend.example.com/cb',
    '--callback-events',
    'State.StateChange, C2C.CallbackAfterSendMsg',
  ];
  const made = await shown('create', '--id', '50', '--secret', secret, ...to, '--callback-private-network');
  t.match(made, {
    callbackKeys: [String],
    settings: {
      secret: '[redacted]',
      callbacks: {
        url: 'https://backend.example.com/cb',
        secret: /^whsec_[A-Za-z0-9+/]{43}=$/,
        events: ['State.StateChange', 'C2C.CallbackAfterSendMsg'],
        allowPrivateNetwork: true,
      },
    },
    said: /^The key that signs callbacks \(callbacks\.secret\) was made just now; .*--show-secret\.\n$/,
  });
  const first = made.settings.callbacks.secret;
  t.strictSame(made.callbackKeys, [keyFingerprint(first)]);

  const later = await shown('show', '50');
  t.match(later, { callbackKeys: made.callbackKeys, settings: { callbacks: { secret: '[redacted]' } } });
  t.match(await act('show', '50'), { stdout: new RegExp(`# callbacks are signed by ${keyFingerprint(first)}\n`) });
  t.notMatch((await act('list', '--json')).stdout, /whsec_/);
  t.equal((await shown('show', '50', '--show-secret')).settings.callbacks.secret, first);

  const rotated = await shown(
    'set',
    '50',
    '--rotate-callback-secret',
    '--callback-events',
    'all',
    '--no-callback-private-network',
  );
  t.match(rotated.settings.callbacks, { secret: [/^whsec_/, first], events: 'all', allowPrivateNetwork: false });
  t.equal(rotated.settings.secret, '[redacted]', 'the other secret is not shown');
  const dropped = await shown('set', '50', '--drop-old-callback-secret');
  t.match(dropped, { callbackKeys: [keyFingerprint(rotated.settings.callbacks.secret[0])], said: '' });
  t.match((await shown('set', '50', '--callback-url', '')).settings.callbacks, {
    url: undefined,
    secret: '[redacted]',
  });

  const given = ['--callback-url', 'http://b.example.com/', '--callback-secret', callbackKey];
  t.match(await shown('create', '--id', '51', '--secret', secret, ...given), {
    callbackKeys: [keyFingerprint(callbackKey)],
    said: '',
  });
  t.match(await act('create', '--id', '52', '--callback-url', 'ftp://b.example.com/'), {
    code: 2,
    stderr: /callbacks\.url: /,
  });
  t.match(await act('create', '--id', '52', '--callback-events', 'all,x'), {
    code: 2,
    stderr: /callbacks\.events\[0\]: /,
  });
  const wrong = await act(
    'create',
    '--id',
    '52',
    '--callback-url',
    'http://b.example.com/',
    '--callback-secret',
    'whsec_hush!',
  );
  t.match(wrong, { code: 2, stderr: /callbacks\.secret: the value/ });
  t.notMatch(wrong.stderr, /hush/);
});

t.test('wrong options are told, by the name of the option', async (t) => {
  const cases: [args: string[], stderr: RegExp][] = [
    [['list', '--state', 'lost'], /--state/],
    [['list', '--since', 'yesterday'], /^qalgate: --since: is no time; allowed: .*2h/],
    [['list', '--from', 'alice'], /--to: is missing/],
    [['list', '--group', 'tea', '--account', 'alice'], /--group.*--account|--account.*--group/],
    [['list', '--command', 'C2C.Callback'], /--command: is no callback; allowed: .*C2C\.CallbackAfterSendMsg/],
    [
      ['explain', '--from', 'a', '--to', 'b', '--key', '1'],
      /--key: has not the right form; allowed: MsgSeq_MsgRandom_MsgTime/,
    ],
    [['explain', '--key', '1_2_3', '--seq', '4'], /--key.*--seq|--seq.*--key/],
    [['replay'], /--all: is missing, and so are ids/],
    [['replay', 'x'], /<event>: is no number of an event/],
    [['replay', '--all', '--per-sec', '0'], /--per-sec: is out of bounds; allowed: a whole number from 1 to 1000/],
    [['replay', '--all', '--source', 'outbox'], /--since: is missing/],
    [['drop', '--all', '--yes'], /--state: is missing; allowed: waiting, dead/],
    [['pause', '--url', 'https://elsewhere.example.com/'], /--url: is no URL of the app/],
    [['cancel', 'x'], /<replay>: is no number/],
  ];
  for (const [args, stderr] of cases) t.match(await run(...args), { code: 2, stderr }, args.join(' '));
  t.match(await call('callbacks', 'status', '--app', '10'), { code: 1, stderr: /there is no app 10/ });
  t.notMatch(said.join(''), /hidden|whsec_/);
});
