import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text as readText } from 'node:stream/consumers';
import { Webhook } from 'standardwebhooks';
import t, { type Test } from 'tap';
import { createPoster } from '../../src/callbacks/endpoint/poster.ts';
import {
  type BeforeCalls,
  type BeforeCallsOptions,
  createBeforeCalls,
  type Decision,
  type Pause,
  type Poster,
  type Question,
  type Trace,
} from '../../src/callbacks/index.ts';
import { createMetrics } from '../../src/observe/index.ts';
import type { AppSettings } from '../../src/store/index.ts';
import { type BeforeCommand, beforeCommands, type SdkAppId } from '../../src/wire/index.ts';
import { completeApp } from '../support/app-settings.ts';
import { makeTestLogger, until } from '../support/database.ts';
import { createFaultServer, type Fault, faults } from '../support/fault-server.ts';

const secret = `whsec_${Buffer.from('a key for the tests, 32 bytes ok').toString('base64')}`;
const c2c = 'C2C.CallbackBeforeSendMsg';
const text = (Text: string) => ({ MsgType: 'TIMTextElem', MsgContent: { Text } }) as const;

let lastApp = 1_400_000_000;
/** Another app each time, so that tests do not share circuits and counts. */
function makeApp(url: string, callbacks: object = {}, im: object = {}): AppSettings {
  lastApp += 1;
  return completeApp({
    sdkAppId: lastApp,
    secret: 'a secret of the test',
    im,
    callbacks: { url, secret, events: 'all', allowPrivateNetwork: true, ...callbacks },
  });
}

/** Fields as im gives them for each command. */
const fieldsOf: Record<BeforeCommand, Record<string, unknown>> = {
  'C2C.CallbackBeforeSendMsg': {
    From_Account: 'lin',
    To_Account: 'mo',
    MsgSeq: 1,
    MsgRandom: 7,
    MsgTime: 1_543_500_123,
    MsgKey: '1_7_1543500123',
    MsgBody: [text('hi')],
  },
  'Group.CallbackBeforeCreateGroup': {
    Operator_Account: 'lin',
    Owner_Account: 'lin',
    Type: 'Public',
    Name: 'Tea club',
    CreatedNum: 3,
    MemberList: [{ Member_Account: 'mo' }],
  },
  'Group.CallbackBeforeApplyJoinGroup': { GroupId: 'club', Type: 'Public', Requestor_Account: 'zed' },
  'Group.CallbackBeforeInviteJoinGroup': {
    GroupId: 'club',
    Type: 'Public',
    Operator_Account: 'lin',
    DestinationMembers: [{ Member_Account: 'zed' }, { Member_Account: 'kay' }],
  },
  'Group.CallbackBeforeSendMsg': {
    GroupId: 'club',
    Type: 'Public',
    From_Account: 'lin',
    Operator_Account: 'admin',
    Random: 90_211,
    MsgBody: [text('hi')],
  },
  'Sns.CallbackPrevFriendAdd': {
    Requester_Account: 'lin',
    From_Account: 'lin',
    AddType: 'Add_Type_Both',
    FriendItem: [{ To_Account: 'zed', Remark: '', GroupName: '', AddSource: 'AddSource_Type_Web', AddWording: 'hi' }],
    ForceAddFlags: 0,
  },
  'Sns.CallbackPrevFriendResponse': {
    Requester_Account: 'mo',
    From_Account: 'mo',
    ResponseFriendItem: [{ To_Account: 'lin', Remark: '', TagName: '', ResponseAction: 'Response_Action_Agree' }],
  },
};

function questionOf(app: AppSettings, command: BeforeCommand = c2c, more: Partial<Question> = {}): Question {
  return {
    sdkAppId: app.sdkAppId as SdkAppId,
    command,
    fields: fieldsOf[command],
    origin: { platform: 'Android', address: '198.51.100.7' },
    about: { from: 'lin', to: 'mo', messageKey: '1_7_1543500123' },
    ...more,
  };
}

/** Before-calls as in the program, but traces and pauses stay in the test. */
function openBefore(
  t: Test,
  apps: readonly AppSettings[],
  options: BeforeCallsOptions & { poster?: Pick<Poster, 'post'> } = {},
) {
  const { poster: given, ...rest } = options;
  const { logger, events } = makeTestLogger();
  const metrics = createMetrics();
  const own = createPoster({ clock: Date.now, ownAddresses: () => [], logger, metrics });
  t.teardown(() => own.close());
  const byId = new Map(apps.map((app) => [app.sdkAppId, app]));
  const traces: Trace[] = [];
  const pauses: Pause[] = [];
  const before = createBeforeCalls(
    {
      apps: byId,
      poster: given ?? own,
      pauses: { find: (sdkAppId) => pauses.find((one) => one.sdkAppId === sdkAppId) },
      traces: { write: (trace) => traces.push(trace) },
      clock: () => 1_543_500_123_000,
      logger,
      metrics,
    },
    rest,
  );
  /** Of a series: its labels' values in alphabetical order of the labels. */
  const series = async (name: string) => {
    const values = (await metrics.registry.getSingleMetric(name)?.get())?.values ?? [];
    return Object.fromEntries(
      values.map(({ labels, value }) => [
        Object.entries(labels)
          .sort(([a], [b]) => (a < b ? -1 : 1))
          .map(([, value]) => value)
          .join(' '),
        value,
      ]),
    );
  };
  return {
    before,
    apps: byId,
    traces,
    pauses,
    events,
    series,
    total: () => series('qalgate_callbacks_before_total'),
    errors: () => series('qalgate_callbacks_before_errors_total'),
  };
}

interface Heard {
  readonly url: URL;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** A backend that answers as the test says; undefined: never. */
async function openBackend(
  t: Test,
  answer: (heard: Heard) => Promise<object | number | undefined> | object | number | undefined,
) {
  const heard: Heard[] = [];
  const server = createServer(async (request, response) => {
    const one = {
      url: new URL(request.url ?? '', 'http://backend'),
      headers: request.headers,
      body: await readText(request),
    };
    heard.push(one);
    const result = await answer(one);
    if (result === undefined) return;
    if (typeof result === 'number') response.writeHead(result).end();
    else response.end(JSON.stringify({ ActionStatus: 'OK', ErrorInfo: '', ...result }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/cb?key=k1`, heard };
}

async function timed(before: BeforeCalls, question: Question): Promise<{ decision: Decision; tookMs: number }> {
  const startedMs = performance.now();
  const decision = await before.ask(question);
  return { decision, tookMs: performance.now() - startedMs };
}

t.test('[K1] [K5] [M12] the backend is asked once, signed, and what it says holds', async (t) => {
  const backend = await openBackend(t, () => ({ ErrorCode: 0, MsgBody: [text('h*')] }));
  const app = makeApp(backend.url);
  const { before, total, traces } = openBefore(t, [app]);
  t.strictSame(await before.ask(questionOf(app)), { kind: 'allow', outcome: 'rewritten', body: [text('h*')] });
  t.equal(backend.heard.length, 1);
  const [{ url, headers, body } = {} as Heard] = backend.heard;
  t.strictSame(
    [...url.searchParams],
    [
      ['key', 'k1'],
      ['SdkAppid', String(app.sdkAppId)],
      ['CallbackCommand', c2c],
      ['contenttype', 'json'],
      ['ClientIP', '198.51.100.7'],
      ['OptPlatform', 'Android'],
    ],
  );
  t.equal(body, JSON.stringify({ CallbackCommand: c2c, ...fieldsOf[c2c] }));
  t.match(headers['webhook-id'], /^cb_[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/);
  t.doesNotThrow(() => new Webhook(secret).verify(body, headers as Record<string, string>));
  t.strictSame(await total(), { [`${c2c} rewritten`]: 1 });
  t.match(traces, [{ outcome: 'rewritten', webhookId: headers['webhook-id'] }]);
});

t.test('[K1] [K3] each command decides what it may, and nothing else', async (t) => {
  const answers: [BeforeCommand, object, Decision][] = [
    [c2c, { ErrorCode: 0 }, { kind: 'allow', outcome: 'allowed' }],
    [
      c2c,
      { ErrorCode: 120_001, ErrorInfo: 'not now' },
      { kind: 'refuse', outcome: 'refused', code: 120_001, reason: 'not now' },
    ],
    [
      'Group.CallbackBeforeSendMsg',
      { ErrorCode: 0, MsgBody: [text('h*')] },
      { kind: 'allow', outcome: 'rewritten', body: [text('h*')] },
    ],
    ['Group.CallbackBeforeSendMsg', { ErrorCode: 2 }, { kind: 'drop', outcome: 'dropped' }],
    [
      'Group.CallbackBeforeCreateGroup',
      { ErrorCode: 1, ErrorInfo: 'no' },
      { kind: 'refuse', outcome: 'refused', code: 10_016, reason: "the app's backend refused it" },
    ],
    [
      'Group.CallbackBeforeApplyJoinGroup',
      { ErrorCode: 10_150, ErrorInfo: 'members only' },
      { kind: 'refuse', outcome: 'refused', code: 10_150, reason: 'members only' },
    ],
    [
      'Group.CallbackBeforeInviteJoinGroup',
      { ErrorCode: 0, RefusedMembers_Account: ['kay', 'nobody'] },
      { kind: 'allow', outcome: 'refused', refusedMembers: ['kay'] },
    ],
    [
      'Sns.CallbackPrevFriendAdd',
      { ErrorCode: 0, ResultItem: [{ To_Account: 'zed', ResultCode: 38_001, ResultInfo: 'slow down' }] },
      { kind: 'allow', outcome: 'refused', results: new Map([['zed', { code: 38_001, reason: 'slow down' }]]) },
    ],
    ['Sns.CallbackPrevFriendResponse', { ErrorCode: 5, ResultItem: 7 }, { kind: 'allow', outcome: 'error' }],
  ];
  t.strictSame(new Set(answers.map(([command]) => command)), new Set(beforeCommands));
  let answer: object = {};
  const backend = await openBackend(t, () => answer);
  const app = makeApp(backend.url);
  const { before, errors, total } = openBefore(t, [app]);
  for (const [command, said, decision] of answers) {
    answer = said;
    t.ok(before.wants(app.sdkAppId as SdkAppId, command));
    t.strictSame(await before.ask(questionOf(app, command)), decision, command);
    t.match(JSON.parse(backend.heard.at(-1)?.body ?? ''), { CallbackCommand: command, ...fieldsOf[command] });
  }
  t.strictSame(await errors(), { code: 1 });
  t.match(await total(), { [`${c2c} allowed`]: 1, 'Group.CallbackBeforeSendMsg dropped': 1 });
});

t.test('[K4] an app is asked what it wants to be asked, where it wants, from its next settings on', async (t) => {
  const [one, other] = [await openBackend(t, () => ({ ErrorCode: 0 })), await openBackend(t, () => ({ ErrorCode: 1 }))];
  const groupSend = 'Group.CallbackBeforeSendMsg';
  const app = makeApp(one.url, { events: [c2c, groupSend], commands: [{ command: groupSend, url: other.url }] });
  const { before, apps, total, traces } = openBefore(t, [app]);
  const id = app.sdkAppId as SdkAppId;
  const wanted = () => beforeCommands.filter((command) => before.wants(id, command));
  t.strictSame(wanted(), [c2c, groupSend]);
  t.match(await before.ask(questionOf(app)), { outcome: 'allowed' });
  t.match(await before.ask(questionOf(app, groupSend)), { kind: 'refuse', code: 10_016 });
  t.strictSame([one.heard.length, other.heard.length], [1, 1]);
  const off = { kind: 'allow', outcome: 'unasked-off' };
  t.strictSame(await before.ask(questionOf(app, 'Group.CallbackBeforeCreateGroup')), off);

  const { url: _, secret: __, ...none } = app.callbacks;
  apps.set(id, { ...app, callbacks: none });
  t.strictSame(wanted(), [groupSend], 'that has a URL of its own');
  t.strictSame(await before.ask(questionOf(app)), off);
  apps.delete(id);
  t.strictSame(wanted(), []);
  t.strictSame(await before.ask(questionOf(app)), off);
  t.match(await total(), { [`${c2c} unasked-off`]: 2 });
  t.strictSame(
    traces.map(({ outcome }) => outcome),
    ['refused'],
    'of what is off nothing is written down',
  );
});

t.test('[K2] silence means what the app wants it to, for all commands or for one', async (t) => {
  const backend = await openBackend(t, () => 503);
  const allowing = makeApp(backend.url);
  const refusing = makeApp(backend.url, { onSilence: 'refuse', commands: [{ command: c2c, onSilence: 'allow' }] });
  const onlyC2c = makeApp(backend.url, { commands: [{ command: c2c, onSilence: 'refuse' }] });
  const { before } = openBefore(t, [allowing, refusing, onlyC2c], { failures: Number.POSITIVE_INFINITY });
  /** The code of each command's refusal, 0 where it goes on. */
  const codes = async (app: AppSettings) => {
    const decisions = await Promise.all(beforeCommands.map((command) => before.ask(questionOf(app, command))));
    return decisions.map((decision) => {
      t.equal(decision.outcome, 'error');
      if (decision.kind === 'refuse') t.match(decision.reason, /no usable answer/);
      return decision.kind === 'refuse' ? decision.code : 0;
    });
  };
  t.strictSame(await codes(allowing), [0, 0, 0, 0, 0, 0, 0]);
  t.strictSame(await codes(refusing), [0, 10_016, 10_016, 10_016, 10_016, 38_000, 38_000]);
  t.strictSame(await codes(onlyC2c), [20_006, 0, 0, 0, 0, 0, 0]);
});

t.test('[K7] five silent calls in a row, and nobody asks but one a second, until there is an answer', async (t) => {
  let status: object | number = 500;
  const backend = await openBackend(t, () => status);
  const app = makeApp(backend.url);
  const elsewhere = makeApp((await openBackend(t, () => ({ ErrorCode: 0 }))).url);
  const { before, events, series, total, traces } = openBefore(t, [app, elsewhere], { probeEveryMs: 100 });
  const ask = () => before.ask(questionOf(app));
  const state = async () => Object.values(await series('qalgate_callbacks_before_circuit_state'));
  for (let i = 0; i < 4; i += 1) await ask();
  // A refusal is an answer.
  status = { ErrorCode: 1 };
  await ask();
  status = 500;
  for (let i = 0; i < 4; i += 1) await ask();
  t.strictSame(await state(), [0]);
  t.match(before.circuits(), [{ sdkAppId: app.sdkAppId, state: 'closed', nextProbeInMs: undefined }]);
  await ask();
  t.match(before.circuits(), [{ endpointId: /^14\d+-[0-9a-f]{8}$/, state: 'open', nextProbeInMs: Number }]);
  t.strictSame(await state(), [2]);

  const openedMs = performance.now();
  const asked = backend.heard.length;
  const outcomes = (await Promise.all(Array.from({ length: 50 }, ask))).map(({ outcome }) => outcome);
  // On a machine that hangs for that long, one may have been the probe.
  if (performance.now() - openedMs < 90) {
    t.strictSame(new Set(outcomes), new Set(['circuit-open']));
    t.equal(backend.heard.length, asked, 'nobody was asked');
  }
  t.match(traces.at(-1), { outcome: 'circuit-open', detail: /circuit/, webhookId: undefined });
  t.match(await before.ask(questionOf(elsewhere)), { outcome: 'allowed' }, 'which concerns nobody else');

  // Its answer is silence again: it stays open.
  await until(async () => (await ask()).outcome === 'error');
  const stateOf = (one: AppSettings) => before.circuits().find(({ sdkAppId }) => sdkAppId === one.sdkAppId)?.state;
  t.equal(stateOf(elsewhere), 'closed');
  t.equal(stateOf(app), 'open');
  status = { ErrorCode: 0 };
  await until(async () => (await ask()).outcome === 'allowed');
  const sure = await Promise.all(Array.from({ length: 20 }, ask));
  t.ok(sure.every(({ outcome }) => outcome === 'allowed'));
  t.strictSame(await state(), [0, 0]);
  t.match(await total(), { [`${c2c} refused`]: 1 });
  t.strictSame(
    events.filter((event) => event.startsWith('callbacks.before.circuit')),
    ['callbacks.before.circuit.opened', 'callbacks.before.circuit.closed'],
  );
});

t.test('[K7] what hung while an endpoint was dead says nothing once it is back', async (t) => {
  const held: (() => void)[] = [];
  const hold = () => new Promise<number>((resolve) => held.push(() => resolve(500)));
  let answer: () => Promise<number> | object | number = hold;
  const backend = await openBackend(t, () => answer());
  const app = makeApp(backend.url);
  const { before } = openBefore(t, [app], { failures: 2, probeEveryMs: 20, deadlineMs: 20_000 });
  const ask = () => before.ask(questionOf(app));
  const hung = [ask(), ask()];
  await until(() => held.length === 2);
  answer = () => 500;
  await ask();
  await ask();
  t.match(before.circuits(), [{ state: 'open' }]);
  answer = () => ({ ErrorCode: 0 });
  await until(async () => (await ask()).outcome === 'allowed');
  for (const release of held) release();
  t.match(await Promise.all(hung), [{ outcome: 'error' }, { outcome: 'error' }]);
  t.match(before.circuits(), [{ state: 'closed' }]);
});

t.test('[K7] an endpoint that answers readably is not dead, whatever it says', async (t) => {
  const answers = [{ ErrorCode: 99 }, { ErrorCode: 0, MsgBody: 'x' }, { ErrorCode: 0, MsgBody: [] }];
  let next = 0;
  const backend = await openBackend(t, () => answers[next++ % answers.length]);
  const app = makeApp(backend.url);
  const { before, errors, traces } = openBefore(t, [app]);
  for (let i = 0; i < 12; i += 1) t.strictSame(await before.ask(questionOf(app)), { kind: 'allow', outcome: 'error' });
  t.equal(backend.heard.length, 12);
  t.strictSame(await errors(), { code: 4, rewrite: 8 });
  t.match(traces.slice(0, 2), [
    { outcome: 'error', detail: 'ErrorCode 99 has no meaning for this command' },
    { outcome: 'error', detail: 'MsgBody: must be an array' },
  ]);
});

t.test('[K7] an app has so many questions under way, and what is more waits for nothing', async (t) => {
  const held: (() => void)[] = [];
  const backend = await openBackend(t, () => new Promise((resolve) => held.push(() => resolve({ ErrorCode: 0 }))));
  const app = makeApp(backend.url, { beforeConcurrency: 2 });
  const strict = makeApp(backend.url, { beforeConcurrency: 1, onSilence: 'refuse' });
  const { before, series, errors, traces } = openBefore(t, [app, strict], { deadlineMs: 20_000 });
  const first = [before.ask(questionOf(app)), before.ask(questionOf(app)), before.ask(questionOf(strict))];
  await until(() => held.length === 3);
  const inFlight = async () => (await series('qalgate_callbacks_before_in_flight'))[''];
  t.equal(await inFlight(), 3);
  t.strictSame(await before.ask(questionOf(app)), { kind: 'allow', outcome: 'error' });
  t.match(await before.ask(questionOf(strict)), { kind: 'refuse', outcome: 'error', code: 20_006 });
  t.equal(backend.heard.length, 3);
  t.strictSame(await errors(), { overloaded: 2 });
  t.match(traces, [
    { outcome: 'error', detail: 'not asked: 2 questions are under way' },
    { outcome: 'error', detail: 'not asked: 1 questions are under way' },
  ]);
  for (const release of held.splice(0)) release();
  for (const decision of await Promise.all(first)) t.match(decision, { outcome: 'allowed' });
  t.equal(await inFlight(), 0);
  const again = before.ask(questionOf(app));
  await until(() => held.length === 1);
  held[0]?.();
  t.match(await again, { outcome: 'allowed' });
});

t.test('[K2] while callbacks are paused nobody is asked', async (t) => {
  const backend = await openBackend(t, () => ({ ErrorCode: 1 }));
  const app = makeApp(backend.url, { onSilence: 'refuse' });
  const { before, pauses, traces, total } = openBefore(t, [app]);
  const pause = (reason: Pause['reason']) =>
    pauses.splice(0, 1, { sdkAppId: app.sdkAppId as SdkAppId, reason, actor: 'oncall', sinceMs: 0 });
  pause('operator');
  t.strictSame(await before.ask(questionOf(app)), { kind: 'allow', outcome: 'unasked-paused' });
  pause('gone');
  t.match(await before.ask(questionOf(app)), { kind: 'refuse', outcome: 'unasked-paused', code: 20_006 });
  pauses.length = 0;
  t.match(await before.ask(questionOf(app)), { kind: 'refuse', outcome: 'refused' });
  t.equal(backend.heard.length, 1);
  t.match(traces, [
    { outcome: 'unasked-paused', detail: 'paused by an operator' },
    { outcome: 'unasked-paused', detail: /410/ },
    { outcome: 'refused' },
  ]);
  t.match(await total(), { [`${c2c} unasked-paused`]: 2 });
});

t.test(
  '[O3] what was not simply allowed is written down, with what one has to know and nothing that is secret',
  async (t) => {
    const backend = await openBackend(t, () => ({ ErrorCode: 120_001, ErrorInfo: 'about mo' }));
    const app = makeApp(backend.url);
    const { before, traces, events } = openBefore(t, [app]);
    await before.ask(questionOf(app));
    const [trace] = traces;
    t.match(trace, { tookMs: Number, webhookId: /^cb_/ });
    const { tookMs: _, webhookId: __, ...rest } = trace as Trace;
    t.strictSame(rest, {
      sdkAppId: app.sdkAppId,
      atMs: 1_543_500_123_000,
      command: c2c,
      outcome: 'refused',
      detail: 'ErrorCode 120001',
      url: backend.url.replace('?key=k1', ''),
      from: 'lin',
      to: 'mo',
      messageKey: '1_7_1543500123',
    });
    t.strictSame(
      events.filter((event) => event.startsWith('callbacks.before')),
      ['callbacks.before.decided'],
    );
  },
);

t.test('[K2] neither a timer that comes early nor an error of ours makes a decision early or late', async (t) => {
  const app = makeApp('http://127.0.0.1:9/cb', { onSilence: 'refuse' });
  const timeout = { kind: 'failed', failure: 'timeout', detail: 'no answer', tookMs: 0 } as const;
  const posters: Record<string, [Pick<Poster, 'post'>['post'], Partial<Decision>]> = {
    'says too early that time is over': [async () => timeout, { outcome: 'timeout' }],
    'never says anything': [() => new Promise(() => {}), { outcome: 'timeout' }],
    rejects: [async () => Promise.reject(new Error('broken')), { outcome: 'error' }],
    throws: [
      () => {
        throw new Error('broken');
      },
      { outcome: 'error' },
    ],
  };
  const deadlineMs = 60;
  for (const [what, [post, expected]] of Object.entries(posters)) {
    const { before, series } = openBefore(t, [app], { poster: { post }, deadlineMs });
    for (let i = 0; i < 5; i += 1) {
      const { decision, tookMs } = await timed(before, questionOf(app));
      t.match(decision, { kind: 'refuse', code: 20_006, ...expected }, what);
      if (expected.outcome === 'timeout') t.ok(tookMs >= deadlineMs, `${what}: not before its time: ${tookMs}`);
    }
    t.equal((await series('qalgate_callbacks_before_in_flight'))[''], 0, what);
  }
  const { before, errors } = openBefore(t, [app]);
  const unsendable = questionOf(app, c2c, { fields: { MsgSeq: 1n } });
  t.match(await before.ask(unsendable), { kind: 'refuse', outcome: 'error' });
  t.strictSame(await errors(), { internal: 1 });
  t.match(before.circuits(), [{ state: 'closed' }]);
});

t.test('[K7] as many circuits are known as is allowed, and of no app that is gone', async (t) => {
  const poster: Pick<Poster, 'post'> = {
    post: async () => ({ kind: 'answer', status: 500, body: '', isEncoded: false, tookMs: 1 }),
  };
  const all = Array.from({ length: 1_010 }, (_, i) => makeApp(`http://127.0.0.1:9/${i}`));
  const { before, apps, series } = openBefore(t, all, { poster });
  for (const app of all) await before.ask(questionOf(app));
  t.equal(before.circuits().length, 1_000);
  const state = () => series('qalgate_callbacks_before_circuit_state');
  t.equal(Object.keys(await state()).length, 1_000);
  const [moved, ...left] = all.slice(-3) as [AppSettings, ...AppSettings[]];
  for (const app of all.slice(0, -3)) apps.delete(app.sdkAppId);
  apps.set(moved.sdkAppId, { ...moved, callbacks: { ...moved.callbacks, url: 'http://127.0.0.1:9/elsewhere' } });
  const ids = Object.keys(await state()).map((endpoint) => Number(endpoint.split('-')[0]));
  t.strictSame(new Set(ids), new Set(left.map(({ sdkAppId }) => sdkAppId)));
});

/** What each fault comes to: a decision, or silence: which, and what explain shows. */
type Verdict = { decides: Decision } | { outcome: 'timeout' | 'error'; reason: string; detail: RegExp | string };
const allowed: Verdict = { decides: { kind: 'allow', outcome: 'allowed' } };
const refused = (code: number, reason: string): Verdict => ({
  decides: { kind: 'refuse', outcome: 'refused', code, reason },
});
/** In what it was stuck is for the poster to say, if it does so in time itself. */
const late: Verdict = { outcome: 'timeout', reason: 'timeout', detail: /^no answer in time(?:: .|$)/ };
const bad = (reason: string, detail: RegExp | string = new RegExp(`^${reason}: .`)): Verdict => ({
  outcome: 'error',
  reason,
  detail,
});
const status = (code: number): Verdict => bad('status', `HTTP ${code}`);
const noObject = bad('not-json', 'the answer is no JSON object');
const verdicts: Record<Fault, Verdict> = {
  refused: bad('refused'),
  unaccepted: late,
  'slow-tls': late,
  'no-tls': bad('tls'),
  'bad-certificate': bad('tls'),
  'wrong-host': bad('tls'),
  expired: bad('tls'),
  good: allowed,
  refuse: refused(20_006, "the app's backend refused it"),
  'own-code': refused(120_001, 'not at night'),
  silent: late,
  'slow-head': late,
  'drip-body': late,
  'endless-body': bad('answer-too-large'),
  'reset-before': bad('reset'),
  'reset-within': bad('reset'),
  'close-before': bad('reset'),
  'close-in-head': bad('reset'),
  'close-within': bad('reset'),
  redirect: status(302),
  '400': status(400),
  '404': status(404),
  '410': status(410),
  '429': status(429),
  '500': status(500),
  '503': status(503),
  'half-json': bad('not-json', 'the answer is no JSON'),
  array: noObject,
  number: noObject,
  string: noObject,
  empty: bad('not-json', 'the answer is empty'),
  'no-content': status(204),
  'gzip-bomb': bad('encoded', 'the answer is encoded (Content-Encoding)'),
  'huge-head': bad('answer-too-large'),
  garbage: bad('malformed'),
  informational: allowed,
  upgrade: bad('malformed'),
  'until-close': allowed,
  chunked: allowed,
  'short-body': late,
};
const tlsAlone: readonly Fault[] = ['slow-tls', 'no-tls', 'bad-certificate', 'wrong-host', 'expired'];

t.test('[K1] [K2] [K7] [M12] whatever a backend does, there is one decision, in its time', async (t) => {
  const server = await createFaultServer(t);
  const dir = await mkdtemp(path.join(tmpdir(), 'qalgate-test-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  const caFile = path.join(dir, 'ca.pem');
  await writeFile(caFile, server.ca);
  const cases = faults.flatMap((fault) =>
    (tlsAlone.includes(fault) ? (['https'] as const) : (['http', 'https'] as const)).flatMap((protocol) =>
      (['allow', 'refuse'] as const).map((onSilence) => ({
        name: `${fault} over ${protocol}, ${onSilence} on silence`,
        verdict: verdicts[fault],
        onSilence,
        app: makeApp(server.url(fault, protocol), { onSilence, ...(protocol === 'https' && { caFile }) }),
      })),
    ),
  );
  const { before, total, errors, traces } = openBefore(
    t,
    cases.map(({ app }) => app),
  );
  const took: Awaited<ReturnType<typeof timed>>[] = [];
  const run = async (i: number) => {
    took[i] = await timed(before, questionOf((cases[i] as (typeof cases)[number]).app));
  };
  const [silent = [], others = []] = [true, false].map((isSilent) =>
    [...cases.keys()].filter((i) => (cases[i]?.verdict === late) === isSilent),
  );
  await Promise.all(silent.map(run));
  // Few at once: what answers shall have its time on a machine that does other things, too.
  while (others.length > 0) await Promise.all(others.splice(0, 8).map(run));

  const outcomes: Record<string, number> = {};
  const reasons: Record<string, number> = {};
  for (const [i, { name, verdict, onSilence, app }] of cases.entries()) {
    const { decision, tookMs } = took[i] as (typeof took)[number];
    const trace = traces.find(({ sdkAppId }) => sdkAppId === app.sdkAppId);
    const key = `${c2c} ${decision.outcome}`;
    outcomes[key] = (outcomes[key] ?? 0) + 1;
    if ('decides' in verdict) {
      t.strictSame(decision, verdict.decides, name);
      t.equal(trace?.outcome, verdict.decides.outcome === 'allowed' ? undefined : verdict.decides.outcome, name);
      continue;
    }
    const { outcome, reason, detail } = verdict;
    if (onSilence === 'allow') t.strictSame(decision, { kind: 'allow', outcome }, name);
    else t.match(decision, { kind: 'refuse', outcome, code: 20_006, reason: /no usable answer/ }, name);
    t.match(trace, { outcome, detail }, name);
    if (outcome === 'error') reasons[reason] = (reasons[reason] ?? 0) + 1;
    else {
      t.ok(tookMs >= 2_000, `${name}: not before its time: ${tookMs} ms`);
      t.ok(tookMs < 4_000, `${name}: nor long after it: ${tookMs} ms`);
    }
  }
  t.strictSame(await total(), outcomes);
  t.strictSame(await errors(), reasons);
});
